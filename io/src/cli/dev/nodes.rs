//! The three child processes: their ports, files, lives and deaths.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use quorate_core::ids::NodeId;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

use crate::access::MintedToken;
use crate::authority;
use crate::cli::client::Client;
use crate::cli::demo::{MODEL, listen_from};
use crate::cli::local::new_key;

/// The nodes, in order.
pub(super) const NAMES: [&str; 3] = ["a", "b", "c"];
/// Accounts that there are at first, by provider.
pub(super) const ACCOUNTS: [(&str, u32); 2] = [("codex", 3), ("claude", 2)];
/// A tick of the log. On one machine nodes need not wait as long for each other as over a network.
const TICK_MS: u64 = 25;
/// Where the authority of the three and what it issued is kept.
const AUTHORITY: &str = "ca";
/// What seals their datagrams.
const KEYRING: &str = "keyring";
/// What signs the notices.
const NOTICES: &str = "notices.key";
const CERTIFICATE_YEARS: u32 = 1;
/// The exit code by which a node asks to be started again.
const RESTART: i32 = 75;
/// How long a node may take to leave.
const LEAVE_WITHIN: Duration = Duration::from_secs(4);

/// One node of the demonstration.
pub(super) struct Node {
    pub(super) name: &'static str,
    pub(super) http: SocketAddr,
    pub(super) client: Client,
    pub(super) log: PathBuf,
    config: PathBuf,
    child: Option<Child>,
}

/// What runs beside the nodes.
pub(super) struct Outside {
    /// Workers, each of which one node owns.
    pub(super) workers: Vec<SocketAddr>,
    /// Pools by name, and where their providers are.
    pub(super) providers: Vec<(&'static str, String)>,
    /// Who hears what people are told.
    pub(super) notices: SocketAddr,
}

/// What was decided before anything started.
pub(super) struct Plan {
    pub(super) directory: PathBuf,
    pub(super) token: String,
    token_hash: String,
    addresses: Vec<(SocketAddr, SocketAddr)>,
    outside: Outside,
}

impl Plan {
    /// Finds free ports and mints a token.
    pub(super) async fn new(directory: &Path, outside: Outside) -> io::Result<Plan> {
        let minted = MintedToken::mint().map_err(|error| io::Error::other(error.to_string()))?;
        let mut held = Vec::new();
        let mut addresses = Vec::new();
        for index in 0..NAMES.len() {
            let step = u16::try_from(index * 10).map_err(io::Error::other)?;
            let http = listen_from(8420 + step).await?;
            let peers = listen_from(7420 + step).await?;
            addresses.push((http.local_addr()?, peers.local_addr()?));
            // Held until all are chosen, so that no two nodes are given the same port.
            held.push((http, peers));
        }
        Ok(Plan {
            directory: directory.to_owned(),
            token: minted.token,
            token_hash: crate::access::hex(&minted.hash),
            addresses,
            outside,
        })
    }

    /// Where the first node's HTTP surface is.
    pub(super) fn first_address(&self) -> String {
        self.addresses.first().map_or_else(String::new, |(http, _)| format!("http://{http}"))
    }

    /// The folder of credentials that all three watch.
    pub(super) fn accounts(&self) -> PathBuf {
        self.directory.join("auths")
    }

    /// Writes the accounts of the demonstration, unless a folder with some is there.
    fn write_accounts(&self) -> io::Result<()> {
        let folder = self.accounts();
        if folder.exists() {
            return Ok(());
        }
        std::fs::DirBuilder::new().mode(0o700).create(&folder)?;
        for (provider, count) in ACCOUNTS {
            for number in 1..=count {
                let name = format!("{provider}-{number}");
                let account = json!({
                    "type": provider,
                    "label": format!("demonstration account {number}"),
                    "access_token": format!("demo-{name}"),
                });
                write_private(&folder.join(format!("{name}.json")), &format!("{account:#}\n"))?;
            }
        }
        Ok(())
    }

    /// Writes the configuration files and starts all three.
    pub(super) fn start(&self) -> io::Result<Vec<Node>> {
        self.write_accounts()?;
        self.protect()?;
        let mut nodes = Vec::new();
        for (index, (name, (http, _))) in NAMES.into_iter().zip(&self.addresses).enumerate() {
            let config = self.directory.join(format!("{name}.toml"));
            write_private(&config, &self.config(index, name))?;
            let mut node = Node {
                name,
                http: *http,
                client: Client::at(&http.to_string(), &self.token),
                log: self.directory.join(format!("{name}.log")),
                config,
                child: None,
            };
            node.start()?;
            nodes.push(node);
        }
        Ok(nodes)
    }

    /// An authority of its own, a certificate for each node, and what seals their datagrams: as on three
    /// machines. The authority and the keyring of an earlier run stay; certificates are issued anew.
    fn protect(&self) -> io::Result<()> {
        let folder = self.folder(AUTHORITY);
        if !folder.join("ca.key").exists() {
            authority::init(&folder).map_err(io::Error::other)?;
        }
        for name in NAMES {
            let node = name.parse::<NodeId>().map_err(io::Error::other)?;
            authority::issue(&folder, &node, CERTIFICATE_YEARS).map_err(io::Error::other)?;
        }
        for name in [KEYRING, NOTICES] {
            let secret = self.folder(name);
            if !secret.exists() {
                write_private(&secret, &new_key()?)?;
            }
        }
        Ok(())
    }

    fn folder(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// A node's configuration: what a person would write, nothing hidden.
    fn config(&self, index: usize, name: &str) -> String {
        let quoted = |address: &SocketAddr| format!("\"{address}\"");
        let seeds = self.addresses.iter().enumerate().filter(|(other, _)| *other != index);
        let seeds: Vec<String> = seeds.map(|(_, (_, peers))| quoted(peers)).collect();
        let (http, peers) = self.addresses.get(index).expect("an address was chosen per name");
        let directory = self.directory.join(name);
        let authority = self.folder(AUTHORITY);
        let authority = authority.display();
        let mut text = format!(
            "schema = 1\ndata = \"{}\"\nlisten.http = \"{http}\"\n\n[node]\nid = \"{name}\"\n\n\
             [cluster]\nid = \"dev\"\nlisten = \"{peers}\"\njoin = [{}]\nexpect = {}\n\
             keyring_file = \"{}\"\n\n\
             [tls]\nca = \"{authority}/ca.pem\"\ncert = \"{authority}/{name}.pem\"\n\
             key = \"{authority}/{name}.key\"\n\n\
             [membership]\nprofile = \"local\"\n\n\
             [raft]\ntick_ms = {TICK_MS}\n\n\
             [[access.tokens]]\nhash = \"{}\"\nscopes = [\"admin\", \"use\"]\nlabel = \"dev\"\n\n\
             [credentials]\nfolder = \"{}\"\n\n\
             [workers]\nallow = [\"127.0.0.0/8\"]\n",
            directory.display(),
            seeds.join(", "),
            NAMES.len(),
            self.folder(KEYRING).display(),
            self.token_hash,
            self.accounts().display(),
        );
        for (name, url) in &self.outside.providers {
            text += &format!(
                "\n[pools.{name}]\nmembers = {{ provider = \"{name}\" }}\nupstream = \"{url}\"\n"
            );
        }
        text += &format!(
            "\n[[notices.sinks]]\nkind = \"webhook\"\nname = \"dev\"\nurl = \"http://{}/notices\"\n\
             secret = \"file:{}\"\n",
            self.outside.notices,
            self.folder(NOTICES).display(),
        );
        // The first node owns the first worker, the second the second; the third only hears of both.
        if let Some(worker) = self.outside.workers.get(index) {
            let health = "health = { interval_ms = 1000, timeout_ms = 500, rise = 1, fall = 2 }";
            let models = format!("models = [{{ id = \"{MODEL}\" }}]");
            text +=
                &format!("\n[[workers.register]]\nurl = \"http://{worker}\"\n{models}\n{health}\n");
        }
        text
    }
}

impl Node {
    fn start(&mut self) -> io::Result<()> {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(&self.log)?;
        let child = Command::new(std::env::current_exe()?)
            .args(["serve", "--with-parent", "--config"])
            .arg(&self.config)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::null())
            .stderr(log)
            // Ctrl-C is for the parent, which then stops its children in order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        self.child = Some(child);
        Ok(())
    }

    /// How the process ended, if it has.
    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.as_mut()?.try_wait().ok()?
    }

    fn signal(&self, signal: Signal) {
        let id = self.child.as_ref().and_then(Child::id).and_then(|id| i32::try_from(id).ok());
        if let Some(pid) = id.and_then(Pid::from_raw)
            && let Err(error) = kill_process(pid, signal)
        {
            eprintln!("node {}: {error}", self.name);
        }
    }
}

/// Kills a node without a word, or starts it again.
pub(super) fn toggle_life(nodes: &mut [Node], index: usize) {
    let Some(node) = nodes.get_mut(index) else { return };
    let alive = node.child.is_some() && node.ended().is_none();
    if alive {
        node.signal(Signal::KILL);
        node.child = None;
        println!("  node {} was killed; k starts it again", node.name);
    } else if let Err(error) = node.start() {
        println!("  node {} does not start: {error}", node.name);
    } else {
        println!("  node {} starts again", node.name);
    }
}

/// Stops a node's process in its tracks.
pub(super) fn freeze(nodes: &[Node], index: usize) {
    if let Some(node) = nodes.get(index) {
        node.signal(Signal::STOP);
        println!("  node {} is frozen for 10 s", node.name);
    }
}

/// Lets a frozen process go on.
pub(super) fn thaw(nodes: &[Node], index: usize) {
    if let Some(node) = nodes.get(index) {
        node.signal(Signal::CONT);
        println!("  node {} goes on", node.name);
    }
}

/// Starts nodes again that asked for it.
pub(super) fn restart_wanted(nodes: &mut [Node]) {
    for node in nodes {
        if node.ended().is_some_and(|status| status.code() == Some(RESTART))
            && let Err(error) = node.start()
        {
            println!("  node {} does not start: {error}", node.name);
        }
    }
}

/// Lets all nodes leave; kills whoever takes too long.
pub(super) async fn stop(nodes: &mut [Node]) {
    for node in nodes.iter() {
        node.signal(Signal::CONT);
        node.signal(Signal::TERM);
    }
    for node in nodes {
        let Some(child) = node.child.as_mut() else { continue };
        if tokio::time::timeout(LEAVE_WITHIN, child.wait()).await.is_err() {
            eprintln!("node {} took too long to leave and is killed", node.name);
            if let Err(error) = child.kill().await {
                eprintln!("node {}: {error}", node.name);
            }
        }
    }
}

/// Returns when Ctrl-C or SIGTERM arrives.
pub(super) async fn asked_to_stop() {
    let interrupt = signal(SignalKind::interrupt());
    let terminate = signal(SignalKind::terminate());
    match (interrupt, terminate) {
        (Ok(mut interrupt), Ok(mut terminate)) => {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        }
        _ => std::future::pending().await,
    }
}

/// Writes a file that only its owner may read.
pub(super) fn write_private(path: &Path, text: &str) -> io::Result<()> {
    use std::io::Write as _;
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text.as_bytes())
}

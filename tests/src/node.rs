//! Real `quorate serve` processes, each with its own directory, ports and signals.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use quorate::authority;
use serde_json::Value;

use crate::http::{self, Answer};
use crate::{PATIENCE, eventually};

/// The token of every test node, and its SHA-256.
pub const TOKEN: &str = "qt_testtest_0000000000000000000000000000000000000000000";
const TOKEN_HASH: &str = "a8620136c0951dec95b024a767ed199f60e383c1ff7b478c6e3cd422173b333d";

/// The binary under test: what `QUORATE_BINARY` names, else built once in the profile of the test.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| match std::env::var_os("QUORATE_BINARY") {
        Some(path) => PathBuf::from(path),
        None => built("quorate", own_profile()),
    })
}

/// The profile that the running test was built with.
fn own_profile() -> &'static str {
    if profile_folder().ends_with("release") { "release" } else { "dev" }
}

/// The simulator, optimised: what `QUORATE_SIMULATOR` names, else built once.
pub fn simulator() -> &'static Path {
    static SIMULATOR: OnceLock<PathBuf> = OnceLock::new();
    SIMULATOR.get_or_init(|| match std::env::var_os("QUORATE_SIMULATOR") {
        Some(path) => PathBuf::from(path),
        None => built("quorate-sim", "release"),
    })
}

/// A binary of this workspace, named like its package and built with `profile`, in the target folder of the test.
fn built(package: &str, profile: &str) -> PathBuf {
    let target = profile_folder().parent().expect("target/<profile>").to_owned();
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--package", package, "--bin", package, "--locked"]);
    build.args(["--profile", profile]);
    // What cargo tells a running test about its package would make build scripts run again.
    for (name, _) in std::env::vars_os() {
        let told = name.to_str().is_some_and(|name| {
            name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
        });
        if told {
            build.env_remove(name);
        }
    }
    build.env("CARGO_TARGET_DIR", &target);
    build.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a workspace"));
    let built = build.output().expect("cargo runs");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    target.join(if profile == "dev" { "debug" } else { profile }).join(package)
}

/// The folder of the authority of all tests, kept beside what was built.
fn authority() -> &'static Path {
    static AUTHORITY: OnceLock<PathBuf> = OnceLock::new();
    AUTHORITY.get_or_init(|| {
        let folder = profile_folder().join("test-authority");
        if !folder.exists() {
            let fresh = profile_folder().join(format!("test-authority-{}", std::process::id()));
            authority::init(&fresh).expect("a fresh folder");
            if std::fs::rename(&fresh, &folder).is_err() {
                // Another test was faster.
                std::fs::remove_dir_all(&fresh).expect("its own folder");
            }
        }
        folder
    })
}

/// Where reports of long runs are kept, in the target folder of the test.
pub fn reports() -> PathBuf {
    let reports = profile_folder().parent().expect("target/<profile>").join("sim");
    std::fs::create_dir_all(&reports).expect("a target folder can be written");
    reports
}

fn profile_folder() -> PathBuf {
    let test = std::env::current_exe().expect("a test is a program");
    test.ancestors().nth(2).expect("target/<profile>/deps/<test>").to_owned()
}

/// What a command said, and its exit code.
#[derive(Debug)]
pub struct Said {
    /// The exit code; none, if a signal ended it.
    pub code: Option<i32>,
    /// Standard output: data.
    pub data: String,
    /// Standard error: words.
    pub words: String,
}

impl Said {
    /// Runs `command` to its end.
    pub fn of(command: &mut Command) -> Said {
        // What the caller's own shell says must not reach the command.
        command.env_remove("QUORATE_ADDR").env_remove("QUORATE_TOKEN").stdin(Stdio::null());
        let output = command.output().expect("the binary runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Said { code: output.status.code(), data: text(&output.stdout), words: text(&output.stderr) }
    }

    /// Its data as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }
}

/// A directory of its own below the system's temporary one, removed when it goes.
#[derive(Debug)]
pub struct Directory(pub PathBuf);

impl Directory {
    /// A fresh one.
    pub fn new(name: &str) -> Directory {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("quorate-{name}-{}-{count}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("a temporary directory");
        Directory(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            eprintln!("{} stays behind: {error}", self.0.display());
        }
    }
}

/// A port of loopback that is free, and stays so: the system gives outgoing connections ports from 32768 on, and one
/// of those could take a port of its choice before the node that is to listen there has started.
pub fn free_address() -> SocketAddr {
    static TRIED: AtomicU32 = AtomicU32::new(0);
    let next = || {
        let tried = TRIED.fetch_add(1, Ordering::Relaxed);
        // Tests of several processes begin at different places.
        let port = 12_000 + (std::process::id().wrapping_mul(61).wrapping_add(tried)) % PORTS;
        SocketAddr::from(([127, 0, 0, 1], u16::try_from(port).expect("it is below 32768")))
    };
    let is_free = |at: &SocketAddr| TcpListener::bind(at).is_ok() && UdpSocket::bind(at).is_ok();
    std::iter::repeat_with(next)
        .take(PORTS as usize)
        .find(is_free)
        .expect("one of twenty thousand ports of loopback is free")
}

/// As many ports as are tried, from 12000 on.
const PORTS: u32 = 20_000;

/// One node: its configuration, and its process while it runs. Killed when it goes.
#[derive(Debug)]
pub struct Node {
    /// Its node id.
    pub name: String,
    /// Its HTTP surface.
    pub http: SocketAddr,
    /// Where peers reach it.
    pub peers: SocketAddr,
    directory: Directory,
    child: Option<Child>,
}

impl Node {
    /// A node that is not yet started, with a certificate of the authority of all tests. `seeds` are joined;
    /// `extra` is appended to its file.
    pub fn new(name: &str, seeds: &[SocketAddr], extra: &str) -> Node {
        Node::of_cluster("test", name, seeds, extra)
    }

    /// As [`Node::new`], in a cluster of another name.
    pub fn of_cluster(cluster: &str, name: &str, seeds: &[SocketAddr], extra: &str) -> Node {
        Node::unprotected(cluster, name, seeds, extra).protected()
    }

    /// As [`Node::new`], listening for callers and peers at these addresses.
    pub fn at(name: &str, listens: [SocketAddr; 2], seeds: &[SocketAddr]) -> Node {
        Node::listening("test", name, listens, seeds, "").protected()
    }

    fn protected(self) -> Node {
        let (node, name) = (&self, &self.name);
        std::fs::create_dir(node.certificates()).expect("its own directory");
        for file in ["ca.pem", "ca.key"] {
            let copied = std::fs::copy(authority().join(file), node.certificates().join(file));
            copied.expect("the authority of all tests");
        }
        node.issue(1);
        let folder = node.certificates().display().to_string();
        let tls = format!(
            "tls.ca = \"{folder}/ca.pem\"\ntls.cert = \"{folder}/{name}.pem\"\n\
             tls.key = \"{folder}/{name}.key\"\n"
        );
        let text = std::fs::read_to_string(node.config()).expect("its own file");
        std::fs::write(node.config(), format!("{tls}{text}")).expect("its own file");
        self
    }

    /// As [`Node::of_cluster`], with links that are not secured.
    pub fn unprotected(cluster: &str, name: &str, seeds: &[SocketAddr], extra: &str) -> Node {
        Node::listening(cluster, name, [free_address(), free_address()], seeds, extra)
    }

    fn listening(
        cluster: &str,
        name: &str,
        [http, peers]: [SocketAddr; 2],
        seeds: &[SocketAddr],
        extra: &str,
    ) -> Node {
        let node = Node {
            name: name.to_owned(),
            http,
            peers,
            directory: Directory::new(name),
            child: None,
        };
        let seeds: Vec<String> = seeds.iter().map(|seed| format!("\"{seed}\"")).collect();
        let text = format!(
            "schema = 1\ndata = \"{}\"\nlisten.http = \"{}\"\n\
             [node]\nid = \"{name}\"\n\
             [cluster]\nid = \"{cluster}\"\nlisten = \"{}\"\njoin = [{}]\n\
             [membership]\nprofile = \"local\"\nforget_after_ms = 5000\n\
             [workers]\nallow = [\"127.0.0.0/8\"]\n\
             [[access.tokens]]\nhash = \"{TOKEN_HASH}\"\nscopes = [\"admin\", \"use\"]\nlabel = \"test\"\n\
             {extra}\n",
            node.data().display(),
            node.http,
            node.peers,
            seeds.join(", "),
        );
        std::fs::write(node.config(), text).expect("a configuration file");
        node
    }

    /// The folder of its certificate and of the authority that issued it.
    pub fn certificates(&self) -> PathBuf {
        self.directory.0.join("tls")
    }

    /// Issues its certificate anew, for so many years; with 0 it has ended already.
    pub fn issue(&self, years: u32) {
        let name = self.name.parse().expect("a node id");
        authority::issue(&self.certificates(), &name, years).expect("its own folder");
    }

    /// Its configuration file.
    pub fn config(&self) -> PathBuf {
        self.directory.0.join("quorate.toml")
    }

    /// Its data directory.
    pub fn data(&self) -> PathBuf {
        self.directory.0.join("data")
    }

    /// Starts its process.
    pub fn start(&mut self) {
        self.start_by(Command::new(binary()));
    }

    /// Starts its process by a command that stands for the binary.
    pub fn start_by(&mut self, command: Command) {
        self.start_with(command, &[]);
    }

    /// The same, with more words after those of `serve`.
    pub fn start_with(&mut self, mut command: Command, more: &[&str]) {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.log_file());
        let child = command
            .args(["serve", "--config"])
            .arg(self.config())
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.expect("a log file"))
            .spawn();
        self.child = Some(child.expect("the binary runs"));
    }

    /// Waits until its process, which was started, is ready.
    pub fn comes_up(&self) {
        eventually(&format!("{} is ready", self.name), || self.is_ready());
    }

    /// Starts its process and waits until it is ready.
    pub fn start_ready(&mut self) {
        self.start();
        self.comes_up();
    }

    /// Runs `serve` to its end; for starts that must fail.
    pub fn run_to_end(&self) -> Output {
        let mut serve = Command::new(binary());
        serve.args(["serve", "--config"]).arg(self.config()).stdin(Stdio::null());
        serve.output().expect("the binary runs")
    }

    fn is_ready(&self) -> Result<(), String> {
        let answer = http::ask(self.http, "GET", "/readyz?verbose", None, None)?;
        if answer.status == 200 { Ok(()) } else { Err(format!("{}\n{}", answer.body, self.log())) }
    }

    fn log_file(&self) -> PathBuf {
        self.directory.0.join("log")
    }

    /// Everything that it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// Sends a signal by its name, as `KILL`.
    pub fn signal(&self, name: &str) {
        let id = self.child.as_ref().expect("it runs").id().to_string();
        let sent = Command::new("kill").args([&format!("-{name}"), &id]).status();
        assert!(sent.expect("kill runs").success(), "no {name} for {}", self.name);
    }

    /// The id of its process, while it runs.
    pub fn process_id(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Kills it without a word.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().expect("its own child");
        child.wait().expect("its own child");
    }

    /// Waits for its end.
    pub fn ended(&mut self) -> ExitStatus {
        let child = self.child.as_mut().expect("it was started");
        let name = &self.name;
        let status = eventually(&format!("{name} ends"), || {
            let status = child.try_wait().map_err(|error| error.to_string())?;
            status.ok_or_else(|| format!("it runs on after {PATIENCE:?}"))
        });
        self.child = None;
        status
    }

    /// How it ended, if it has.
    pub fn try_ended(&mut self) -> Option<ExitStatus> {
        self.child.as_mut()?.try_wait().expect("its own child")
    }

    /// Runs a verb of the command line against it, with the test's token.
    pub fn run(&self, words: &[&str]) -> Said {
        Said::of(Command::new(binary()).args(words).args([
            "--address",
            &self.http.to_string(),
            "--token",
            TOKEN,
        ]))
    }

    /// The value of a series, by its whole name with labels.
    pub fn metric(&self, series: &str) -> Result<u64, String> {
        let metrics = self.ask("GET", "/metrics", None)?.body;
        let value = metrics.lines().find_map(|line| line.strip_prefix(&format!("{series} ")));
        let value = value.ok_or_else(|| format!("there is no {series}"))?;
        value.parse().map_err(|_| format!("{series} is {value}"))
    }

    /// Asks with the test's token.
    pub fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Answer, String> {
        let body = body.map(Value::to_string);
        http::ask(self.http, method, path, Some(TOKEN), body.as_deref())
    }

    /// Reads JSON; the node must be there.
    #[track_caller]
    pub fn get(&self, path: &str) -> Value {
        let answer = self.ask("GET", path, None).expect("the node answers");
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        answer.json()
    }

    /// Members as `id state`, in order.
    pub fn members(&self) -> Result<Vec<String>, String> {
        let answer = self.ask("GET", "/v1/cluster/members", None)?;
        Ok(rows(&answer.json(), "id", "state"))
    }

    /// Workers as `url status`, in order.
    pub fn workers(&self) -> Result<Vec<String>, String> {
        let answer = self.ask("GET", "/v1/workers?limit=1000", None)?;
        Ok(rows(&answer.json(), "url", "status"))
    }

    /// Waits until the members are as given.
    pub fn sees_members(&self, expected: &[&str]) {
        eventually(&format!("{} sees {expected:?}", self.name), || {
            let members = self.members()?;
            if members == expected { Ok(()) } else { Err(format!("{members:?}")) }
        });
    }

    /// Waits until the workers are as given.
    pub fn sees_workers(&self, expected: &[String]) {
        eventually(&format!("{} sees {expected:?}", self.name), || {
            let workers = self.workers()?;
            if workers == expected { Ok(()) } else { Err(format!("{workers:?}")) }
        });
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("---- log of {}\n{}", self.name, self.log());
        }
        if let Some(mut child) = self.child.take() {
            drop(child.kill()); // It may have ended by itself.
            drop(child.wait());
        }
    }
}

fn rows(list: &Value, name: &str, state: &str) -> Vec<String> {
    let items = list.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
    let text =
        |row: &Value, key: &str| row.get(key).and_then(Value::as_str).unwrap_or("?").to_owned();
    items.iter().map(|row| format!("{} {}", text(row, name), text(row, state))).collect()
}

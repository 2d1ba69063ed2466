//! A node as a process: configuration, loop, surfaces, signals, and the order of its end.
//!
//! | signal | effect |
//! | --- | --- |
//! | TERM, INT | orderly stop, exit 0; a second one exits at once with 143 or 130 |
//! | HUP | reads keyring, tokens and live keys again; valid as a whole, or the last good stays |
//! | USR1 | a state dump without secrets into `<data>/dump/`, 8 kept |
//! | PIPE | ignored by the runtime |
//!
//! Absent on purpose: anything about a protocol.

mod dump;
mod signals;

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use quorate_core::node::Request;
use tokio::net::{TcpListener, UnixListener};

use crate::access::{Access, Scope, StaticToken};
use crate::audit::{Audit, Record};
use crate::clock;
use crate::config::{Config, Problem, Secret, Sources, TokenConfig};
use crate::datagrams::SharedKeyring;
use crate::health::{Phase, Vitals};
use crate::http::{self, Host, HttpSettings, Listener, Parts, Surface};
use crate::log::{Format, Log};
use crate::perform::End;
use crate::serve::{Running, ServeSettings, SharedKeys, StartError, start};

use signals::{Ask, Signals};

/// The process cannot be used as configured.
pub(crate) const EXIT_CONFIG: u8 = 78;
/// Another process uses the node's id.
const EXIT_DUPLICATE: u8 = 4;
/// How long the cluster's goodbye may take.
const LEAVE_WITHIN: Duration = Duration::from_secs(15);

/// Why a process did not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    /// The node did not.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The HTTP surface has no place.
    #[error("failed to listen for HTTP at {place}: {error}")]
    Listen {
        /// An address or a path.
        place: String,
        /// Why.
        error: std::io::Error,
    },
    /// The audit log cannot be written.
    #[error(transparent)]
    Audit(#[from] crate::audit::AuditError),
    /// The log filter is none.
    #[error(transparent)]
    Log(#[from] crate::log::FilterError),
    /// No signal can be heard.
    #[error("failed to listen for signals: {0}")]
    Signals(std::io::Error),
}

/// Runs a node until it ends; tells the exit code.
pub(crate) async fn run(config: Config, sources: Sources, with_parent: bool) -> Result<u8, Refused> {
    let format = match config.log_format.as_str() {
        "text" => Format::Text,
        "json" => Format::Json,
        _ => Format::of_stderr(),
    };
    let node = config.node.membership.node.clone();
    let log = Log::install(node.as_str(), &config.log_filter, format)?;
    let mut signals = Signals::open(with_parent).map_err(Refused::Signals)?;
    let (mut process, listeners) = Process::start(config, sources, log).await?;
    let router = http::router(process.surface.clone());
    let stopping = process.vitals.clone();
    let serving = tokio::spawn(http::serve(listeners, router, async move {
        // The sender lives in the vitals themselves, which this task holds.
        drop(stopping.phases().wait_for(|phase| *phase == Phase::Stopping).await);
    }));
    let tending = tokio::spawn(http::tend(process.surface.clone()));
    let told = tokio::spawn(crate::log::follow(process.running.handle.clone()));
    let code = process.attend(&mut signals).await;
    process.vitals.enter(Phase::Stopping);
    // Each ends by itself once the stop has begun; a panic in one was logged where it happened.
    drop(tokio::join!(serving, tending));
    told.abort();
    process.release();
    Ok(code)
}

/// Everything that runs.
struct Process {
    running: Running,
    surface: Arc<Surface>,
    vitals: Arc<Vitals>,
    audit: Audit,
    config: Config,
    sources: Sources,
    log: Log,
    socket: PathBuf,
}

impl Process {
    async fn start(
        mut config: Config,
        sources: Sources,
        log: Log,
    ) -> Result<(Process, Vec<Listener>), Refused> {
        let listen = config.http.listen;
        let place = listen.to_string();
        let tcp = TcpListener::bind(listen).await;
        let tcp = tcp.map_err(|error| Refused::Listen { place, error })?;
        let address = tcp.local_addr().unwrap_or(listen);
        config.node.membership.http = format!("http://{address}");
        let running = start(ServeSettings::from(&config), vec![Arc::new(log.clone())]).await?;
        let vitals = running.vitals.clone();
        let audit = Audit::open(&config.data, running.meters.audit_observer())?;
        let socket = config.data.join("quorate.sock");
        let unix = listen_unix(&socket)?;
        let surface = Surface::new(Parts {
            handle: running.handle.clone(),
            settings: http_settings(&config),
            host: Arc::new(ProcessHost::new(&running, &log)),
            access: Access::new(tokens(&config.http.tokens), rustix::process::getuid().as_raw()),
            audit: Some(audit.clone()),
            meters: running.meters.clone(),
            vitals: vitals.clone(),
        });
        vitals.booted();
        tracing::info!(%address, peers = %running.address, "the node is up");
        let process = Process { running, surface, vitals, audit, config, sources, log, socket };
        Ok((process, vec![Listener::Tcp(tcp), Listener::Unix(unix)]))
    }

    /// Obeys signals until the end; tells the exit code.
    async fn attend(&mut self, signals: &mut Signals) -> u8 {
        loop {
            tokio::select! {
                biased;
                end = self.running.ended() => return exit_code(&end),
                ask = signals.next() => match ask {
                    Ask::Stop(name) => {
                        self.note("signal", name, "accepted").await;
                        signals.second_one_exits();
                        return self.stop().await;
                    }
                    Ask::Reload => self.reload().await,
                    Ask::Dump => self.dump().await,
                },
            }
        }
    }

    /// The orderly stop: readiness off, new mutations refused, the cluster left.
    async fn stop(&mut self) -> u8 {
        tracing::info!("the node stops");
        self.vitals.enter(Phase::Delaying);
        tokio::time::sleep(self.config.shutdown_delay).await;
        self.vitals.enter(Phase::Stopping);
        exit_code(&self.running.leave(false, LEAVE_WITHIN).await)
    }

    /// Reads the configuration again: all of it is right, or nothing is changed.
    async fn reload(&mut self) {
        let loaded = Config::load(&self.sources).map_err(|problems| problems_in_a_line(&problems));
        let outcome = match loaded {
            Ok((config, _)) => self.apply(config).await,
            Err(words) => Err(words),
        };
        match outcome {
            Ok(()) => {
                tracing::info!("the configuration was read again");
                self.note("reload", "configuration", "done").await;
            }
            Err(words) => {
                tracing::warn!("the configuration stays as it was: {words}");
                self.note("reload", "configuration", "refused").await;
            }
        }
    }

    async fn apply(&mut self, config: Config) -> Result<(), String> {
        let serve = ServeSettings::from(&config);
        let cluster = &self.config.node.link.cluster;
        let ring = serve.keyring.load(cluster).map_err(|error| error.to_string())?;
        self.log.set_filter(&config.log_filter).map_err(|error| error.to_string())?;
        self.running.keyring.store(Arc::new(ring));
        self.running.worker_keys.store(Arc::new(serve.worker_keys));
        self.surface.access().replace(tokens(&config.http.tokens));
        let settings = Box::new(config.node.clone());
        let request = Request::Reload { settings };
        let reply = self.running.handle.ask(request, Duration::from_secs(10)).await;
        reply.map_err(|error| error.to_string())?;
        self.config = Config { http: config.http, ..self.config.clone() };
        Ok(())
    }

    async fn dump(&self) {
        match dump::write(&self.config.data, &http::dump(&self.surface)) {
            Ok(path) => tracing::info!("the state was dumped to {}", path.display()),
            Err(error) => tracing::error!("the state could not be dumped: {error}"),
        }
    }

    /// A line in the audit log for what no request asked.
    async fn note(&self, verb: &str, object: &str, outcome: &str) {
        let local = self.running.handle.published().members.load().local.clone();
        let record = Record {
            at: clock::rfc3339(clock::wall()),
            node: local.node.to_string(),
            actor: "process".to_owned(),
            verb: format!("process.{verb}"),
            object: object.to_owned(),
            outcome: outcome.to_owned(),
            ..Record::default()
        };
        if let Err(error) = self.audit.append(record).await {
            tracing::error!("the audit log refused a line: {error}");
        }
    }

    fn release(&self) {
        if let Err(error) = std::fs::remove_file(&self.socket) {
            tracing::warn!("{} stays behind: {error}", self.socket.display());
        }
    }
}

/// What the surface asks of this process.
struct ProcessHost {
    keyring: SharedKeyring,
    worker_keys: SharedKeys,
    log: Log,
    falls_back: Mutex<Option<tokio::task::JoinHandle<()>>>,
}

impl ProcessHost {
    fn new(running: &Running, log: &Log) -> ProcessHost {
        ProcessHost {
            keyring: running.keyring.clone(),
            worker_keys: running.worker_keys.clone(),
            log: log.clone(),
            falls_back: Mutex::default(),
        }
    }
}

impl Host for ProcessHost {
    fn key_ids(&self) -> Vec<String> {
        self.keyring.load().ids()
    }

    fn set_log(&self, filter: &str, lasts: Duration) -> Result<(), String> {
        self.log.set_filter(filter).map_err(|error| error.to_string())?;
        let log = self.log.clone();
        let back = tokio::spawn(async move {
            tokio::time::sleep(lasts).await;
            if let Err(error) = log.set_filter(crate::log::FILTER_DEFAULT) {
                tracing::error!("the log filter stays: {error}");
            }
        });
        let mut held = self.falls_back.lock().expect("no holder of this lock panics");
        if let Some(earlier) = held.replace(back) {
            earlier.abort();
        }
        Ok(())
    }

    fn keeps_worker_keys(&self) -> bool {
        true
    }

    fn keep_worker_key(&self, url: &str, key: &str) {
        self.worker_keys.rcu(|keys| {
            let mut keys = keys.as_ref().clone();
            keys.insert(url.to_owned(), Secret::new(key));
            keys
        });
    }
}

fn exit_code(end: &End) -> u8 {
    match end {
        End::Left | End::Halted => 0,
        End::Duplicate { address } => {
            let place = address.map_or("an unknown address".to_owned(), |address| address.to_string());
            tracing::error!("node id in use by {place}");
            EXIT_DUPLICATE
        }
        End::Store(error) => {
            tracing::error!("{error}");
            1
        }
    }
}

fn http_settings(config: &Config) -> HttpSettings {
    HttpSettings {
        cluster: config.node.link.cluster.0.to_string(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started_at: clock::wall(),
        hosts: config.http.hosts.clone(),
        metrics_open: config.http.metrics_open,
        ready_exclude: config.http.ready_exclude.clone(),
        has_seeds: !config.node.membership.join.is_empty(),
    }
}

fn tokens(configured: &[TokenConfig]) -> Vec<StaticToken> {
    let scope = |name: &String| Scope::ALL.into_iter().find(|scope| scope.name() == name);
    let token = |token: &TokenConfig| {
        Some(StaticToken {
            hash: crate::access::unhex(&token.hash)?,
            scopes: token.scopes.iter().filter_map(scope).collect(),
            label: token.label.clone(),
        })
    };
    configured.iter().filter_map(token).collect()
}

/// The socket for this host's operators; one that a dead process left is replaced (the data directory's
/// lock is held).
fn listen_unix(path: &Path) -> Result<UnixListener, Refused> {
    let refused = |error| Refused::Listen { place: path.display().to_string(), error };
    if path.exists() {
        std::fs::remove_file(path).map_err(refused)?;
    }
    let listener = UnixListener::bind(path).map_err(refused)?;
    let private = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(path, private).map_err(refused)?;
    Ok(listener)
}

fn problems_in_a_line(problems: &[Problem]) -> String {
    let words: Vec<&str> = problems.iter().map(|problem| problem.message.as_str()).collect();
    words.join("; ")
}


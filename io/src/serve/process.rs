//! The process around a node: its log, its surfaces, its signals and its orderly end.
//!
//! An orderly stop has 25 s and the time for load balancers: readiness off, then no new mutations and
//! streams end, requests in flight at most 10 s, the goodbye to the cluster at most 15 s, then store and
//! audit log are closed. A step that is late holds up none behind it. A second signal ends the process
//! at once.
//!
//! Absent on purpose: parts that this build does not have, such as leases and stores of others.

mod host;

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use quorate_core::node::Request;
use quorate_core::node::settings::{SETTINGS, Setting};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tracing::{error, info, warn};

use super::keys::{self, WorkerKeys};
use super::signals::{Signals, Wish};
use super::supervisor::Supervisor;
use super::{Running, ServeSettings, StartError, advertised, release, start};
use crate::access::{Access, Scope, StaticToken};
use crate::audit::{Audit, AuditError, Record};
use crate::clock;
use crate::config::{self, Config, Problem, Sources, TokenConfig};
use crate::health::Phase;
use crate::http::{self, HttpSettings, Listener, Parts, Surface};
use crate::log::{self, Format, Log};
use crate::metrics::Source;
use crate::perform::End;
use crate::pools;
use crate::record::TraceSettings;
use host::{ProcessHost, Reloaded, Reloads, Tracing};

/// The whole of an orderly stop, after readiness was off for as long as configured.
const STOP_TIME: Duration = Duration::from_secs(25);
/// Requests in flight have so long.
const REQUESTS_TIME: Duration = Duration::from_secs(10);
/// The goodbye has so long.
const LEAVE_TIME: Duration = Duration::from_secs(15);
/// How often the files of keyring and certificates are looked at.
const KEYRING_INTERVAL: Duration = Duration::from_secs(5);
/// How long a request of the process itself may wait for the loop.
const ASK_TIME: Duration = Duration::from_secs(5);
/// State dumps that are kept.
const DUMPS_MAX: usize = 8;

/// How the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// In order.
    Done,
    /// The store failed, or the loop ended for no reason.
    Failed,
    /// Another process uses the node's id.
    Duplicate,
    /// It cannot be used as configured.
    Unusable,
    /// A second signal, by its number and 128.
    Killed(u8),
}

impl Exit {
    /// The code that a supervisor sees.
    pub fn code(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Duplicate => 4,
            Exit::Unusable => 78,
            Exit::Killed(code) => code,
        }
    }
}

/// Why the process did not come up.
#[derive(Debug, thiserror::Error)]
enum BootError {
    #[error(transparent)]
    Node(#[from] StartError),
    #[error("failed to listen at `listen.http` = {0}: {1}")]
    Http(SocketAddr, io::Error),
    #[error("failed to start the threads that serve callers: {0}")]
    Threads(io::Error),
    #[error("failed to make the socket {0}: {1}")]
    Socket(PathBuf, io::Error),
    #[error("failed to read the keys of workers below {0}: {1}")]
    Keys(PathBuf, io::Error),
    #[error(transparent)]
    Audit(#[from] AuditError),
}

/// Runs a node until it ends or is told to. `sources` are read again at each reload.
pub async fn run(config: Config, sources: Sources) -> Exit {
    let node = config.node.membership.node.to_string();
    let log = match Log::install(&node, &config.log_filter, format(&config.log_format)) {
        Ok(log) => log,
        Err(error) => {
            eprintln!("quorate: {error}"); // There is no log to write it to.
            return Exit::Unusable;
        }
    };
    let mut signals = match Signals::new() {
        Ok(signals) => signals,
        Err(error) => {
            error!(%error, "failed to hear signals");
            return Exit::Failed;
        }
    };
    let mut process = match Process::boot(config, sources, log).await {
        Ok(process) => process,
        Err(error) => {
            error!("{error}");
            return Exit::Unusable;
        }
    };
    let mut keyring_looks = tokio::time::interval(KEYRING_INTERVAL);
    process.write_down("process.start").await;
    loop {
        tokio::select! {
            end = process.running.ended() => return process.gone(&end, &mut signals).await,
            wish = signals.next() => {
                process.write_down(wish.name()).await;
                match wish {
                    Wish::Stop(_) => return process.stop(&mut signals).await,
                    Wish::Reload => drop(process.reload().await), // The outcome is in the log.
                    Wish::Dump => process.dump(),
                }
            }
            Some(done) = process.reloads.recv() => {
                let _ = done.send(process.reload().await); // The caller's deadline has passed.
            }
            () = process.supervisor.due() => process.tell_supervisor(),
            _ = keyring_looks.tick() => {
                process.watch_keyring();
                process.watch_certificates();
            }
        }
    }
}

fn format(configured: &str) -> Format {
    match configured {
        "text" => Format::Text,
        "json" => Format::Json,
        _ => Format::of_stderr(),
    }
}

struct Process {
    config: Config,
    sources: Sources,
    running: Running,
    surface: Arc<Surface>,
    serving: JoinHandle<()>,
    tending: JoinHandle<()>,
    stop_serving: Option<oneshot::Sender<()>>,
    keyring_seen: Option<(SystemTime, u64)>,
    certificates_seen: Vec<Option<(SystemTime, u64)>>,
    audit: Audit,
    worker_keys: Arc<WorkerKeys>,
    reloads: Reloads,
    supervisor: Supervisor,
}

impl Process {
    async fn boot(mut config: Config, sources: Sources, log: Log) -> Result<Process, BootError> {
        let listen = config.http.listen;
        let tcp =
            TcpListener::bind(listen).await.map_err(|error| BootError::Http(listen, error))?;
        let bound = tcp.local_addr().map_err(|error| BootError::Http(listen, error))?;
        config.node.membership.http = format!("http://{}", advertised(bound, None));
        let counted: Vec<Source> = vec![Arc::new(log.clone())];
        let running = start(settings(&config)?, counted).await?;
        config.node.membership.address = running.advertised;
        config.node.link.address = running.advertised;
        tokio::spawn(log::follow(running.handle.clone()));

        let path = config.data.join("quorate.sock");
        let unix = local_socket(&path).map_err(|error| BootError::Socket(path, error))?;
        let audit = Audit::open(&config.data, told)?;
        let worker_keys = worker_keys(&config, &running)?;
        let filter = config.log_filter.clone();
        let tracing = Tracing {
            tracer: running.tracer.clone(),
            settings: trace_settings(&config),
            handle: running.handle.clone(),
        };
        let (host, reloads) =
            ProcessHost::new(running.keyring.clone(), worker_keys.clone(), log, filter, tracing);
        let surface = Surface::new(Parts {
            handle: running.handle.clone(),
            settings: http_settings(&config),
            host: Arc::new(host),
            access: Access::new(tokens(&config.http.tokens), own_uid()),
            audit: Some(audit.clone()),
            meters: running.meters.clone(),
            vitals: running.vitals.clone(),
            vault: running.vault.clone(),
            gateway: config.gateway.clone(),
        });
        look_outward(&config, &running, &audit);
        tokio::spawn(pools::definitions::follow(running.handle.clone()));
        let tending = tokio::spawn(http::tend(surface.clone()));
        let (stop_serving, stopped) = oneshot::channel();
        let listeners = vec![Listener::Tcp(tcp), Listener::Unix(unix)];
        let serving = http::serve(listeners, http::router(surface.clone()), async {
            let _ = stopped.await; // Dropped is told as well.
        });
        let serving = tokio::spawn(serving.map_err(BootError::Threads)?);
        running.vitals.booted();
        let local = running.handle.published().members.load().local.clone();
        info!(replica = %local, peers = %running.address, http = %bound, "this node runs");
        let keyring_seen = config.keyring_file.as_deref().and_then(seen);
        let certificates_seen = certificates_seen(&config);
        let stop_serving = Some(stop_serving);
        let supervisor = Supervisor::of(&sources.environment);
        Ok(Process {
            config,
            sources,
            running,
            surface,
            serving,
            tending,
            stop_serving,
            keyring_seen,
            certificates_seen,
            audit,
            worker_keys,
            reloads,
            supervisor,
        })
    }

    /// What came from the machine and not by request is a line of the audit log too.
    async fn write_down(&self, verb: &str) {
        let node = self.config.node.membership.node.to_string();
        let record = Record {
            at: clock::rfc3339(clock::wall()),
            node: node.clone(),
            actor: "system".to_owned(),
            verb: verb.to_owned(),
            object: node,
            outcome: "ok".to_owned(),
            ..Record::default()
        };
        if let Err(error) = self.audit.append(record).await {
            warn!(%error, verb, "it is not in the audit log");
        }
    }

    /// The orderly stop.
    async fn stop(mut self, signals: &mut Signals) -> Exit {
        info!("stopping; a second signal ends the process at once");
        self.supervisor.stopping();
        let delay = self.config.shutdown_delay;
        let stopping = async {
            self.running.vitals.enter(Phase::Delaying);
            tokio::time::sleep(delay).await;
            self.close().await;
            self.running.leave(false, LEAVE_TIME).await
        };
        tokio::select! {
            biased;
            code = signals.stop() => Exit::Killed(code),
            end = tokio::time::timeout(delay + STOP_TIME, stopping) => match end {
                Ok(End::Left | End::Halted) | Err(_) => Exit::Done,
                Ok(end) => exit(&end),
            },
        }
    }

    /// The loop has ended by itself; callers are still told.
    async fn gone(mut self, end: &End, signals: &mut Signals) -> Exit {
        if let End::Store(error) = end {
            error!(%error, "the store failed; this process ends");
        }
        tokio::select! {
            biased;
            code = signals.stop() => Exit::Killed(code),
            () = self.close() => exit(end),
        }
    }

    /// No new mutations, no streams, and what is in flight finishes.
    async fn close(&mut self) {
        self.running.vitals.enter(Phase::Stopping);
        self.stop_serving = None;
        let finished = async {
            let _ = (&mut self.serving).await; // A panic in it has been reported.
            let _ = (&mut self.tending).await;
        };
        let _ = tokio::time::timeout(REQUESTS_TIME, finished).await; // Late: the end goes on.
    }

    /// Reads everything again; valid as a whole, or nothing changes.
    async fn reload(&mut self) -> Reloaded {
        let loaded = Config::load(&self.sources).map_err(|problems| sentence(&problems));
        let loaded = loaded.and_then(|(config, _)| {
            let ring = ServeSettings::from(&config).keyring.load(&self.config.node.link.cluster);
            ring.map(|ring| (config, ring)).map_err(|error| error.to_string())
        });
        let (config, ring) = match loaded {
            Ok(loaded) => loaded,
            Err(error) => {
                error!(error, "the configuration was not reloaded; the last good one stays");
                return Err(error);
            }
        };
        self.running.keyring.store(Arc::new(ring));
        self.worker_keys.configure(config.worker_keys.clone());
        self.surface.access().replace(tokens(&config.http.tokens));
        let restart = needs_restart(&self.config, &config);
        let config = self.merged(config);
        let request = Request::Reload { settings: Box::new(config.node.clone()) };
        let taken = self.running.handle.ask(request, ASK_TIME).await;
        self.config = config;
        self.certificates_seen = certificates_seen(&self.config);
        self.load_certificates();
        match taken {
            Ok(_) if restart.is_empty() => info!("the configuration was reloaded"),
            Ok(_) => {
                let keys = restart.join(", ");
                warn!(keys, "the configuration was reloaded; these keys need a restart");
            }
            Err(error) => {
                error!(%error, "the node did not take the reloaded configuration");
                return Err(error.to_string());
            }
        }
        Ok(restart)
    }

    /// Whoever started this process hears that the node is ready and that its loop turns.
    fn tell_supervisor(&mut self) {
        let [ready, live] = http::ready_and_live(&self.surface);
        self.supervisor.look(ready, live);
    }

    /// `config`, but for what needs a restart: that stays as it runs.
    fn merged(&self, mut config: Config) -> Config {
        let present = &self.config;
        for number in fixed_numbers() {
            number.keep(&mut config.node, &present.node);
        }
        config.node.membership.node = present.node.membership.node.clone();
        config.node.membership.address = present.node.membership.address;
        config.node.membership.http = present.node.membership.http.clone();
        config.node.link.cluster = present.node.link.cluster.clone();
        config.node.link.address = present.node.link.address;
        config.data = present.data.clone();
        config.credentials = present.credentials.clone();
        config.cluster_listen = present.cluster_listen;
        config.http.listen = present.http.listen;
        config.fixed = present.fixed.clone();
        config
    }

    /// The keyring file is read again when it changed.
    fn watch_keyring(&mut self) {
        let Some(path) = self.config.keyring_file.clone() else { return };
        let now = seen(&path);
        if now.is_none() || now == self.keyring_seen {
            return;
        }
        self.keyring_seen = now;
        match ServeSettings::from(&self.config).keyring.load(&self.config.node.link.cluster) {
            Ok(ring) => {
                info!(keys = ?ring.ids(), "the keyring was reloaded");
                self.running.keyring.store(Arc::new(ring));
            }
            Err(error) => error!(%error, "the keyring was not reloaded; the last good one stays"),
        }
    }

    /// The certificates are read again when one of their files changed.
    fn watch_certificates(&mut self) {
        let now = certificates_seen(&self.config);
        if now != self.certificates_seen {
            self.certificates_seen = now;
            self.load_certificates();
        }
    }

    /// New connections use what the files hold now.
    fn load_certificates(&self) {
        let Some(files) = &self.config.tls else { return };
        match self.running.secure.load(files, &self.config.node.link.cluster) {
            Ok(()) => info!("the certificates were reloaded"),
            Err(error) => {
                error!(%error, "the certificates were not reloaded; the last good ones stay");
            }
        }
    }

    fn dump(&self) {
        let text = http::dump(&self.surface);
        match write_dump(&self.config.data.join("dump"), &text) {
            Ok(path) => info!(path = %path.display(), "state written"),
            Err(error) => error!(%error, "failed to write a state dump"),
        }
    }
}

/// As configured, and with the keys that came by request: the first probes need them already.
fn settings(config: &Config) -> Result<ServeSettings, BootError> {
    let mut settings = ServeSettings::from(config);
    let kept = keys::kept(&config.data);
    settings.worker_keys.extend(kept.map_err(|error| unreadable(config, error))?);
    Ok(settings)
}

fn trace_settings(config: &Config) -> TraceSettings {
    let (directory, bytes_max) = (config.data.join("trace"), config.record_bytes_max);
    TraceSettings { directory, bytes_max, build: release() }
}

fn unreadable(config: &Config, error: io::Error) -> BootError {
    BootError::Keys(config.data.clone(), error)
}

fn worker_keys(config: &Config, running: &Running) -> Result<Arc<WorkerKeys>, BootError> {
    let (configured, used) = (config.worker_keys.clone(), running.worker_keys.clone());
    let keys = WorkerKeys::open(&config.data, configured, used);
    keys.map(Arc::new).map_err(|error| unreadable(config, error))
}

/// When the files of the certificates changed last.
fn certificates_seen(config: &Config) -> Vec<Option<(SystemTime, u64)>> {
    let files = config.tls.iter().flat_map(|files| [&files.ca, &files.cert, &files.key]);
    files.map(|path| seen(path)).collect()
}

/// What recoveries of pools set off, if anything is configured; it ends with the node.
fn look_outward(config: &Config, running: &Running, audit: &Audit) {
    if let Some(settings) = config.outward.reset.clone() {
        let (handle, meters) = (running.handle.clone(), running.meters.clone());
        tokio::spawn(pools::reset::tend(handle, settings, Some(audit.clone()), meters));
    }
    let sinks = config.outward.sinks.clone();
    if !sinks.is_empty() {
        let (handle, meters) = (running.handle.clone(), running.meters.clone());
        tokio::spawn(pools::notices::tend(handle, sinks, meters));
    }
}

fn exit(end: &End) -> Exit {
    match end {
        End::Left => Exit::Done,
        End::Halted | End::Store(_) => Exit::Failed,
        End::Duplicate { .. } => Exit::Duplicate,
    }
}

fn http_settings(config: &Config) -> HttpSettings {
    HttpSettings {
        cluster: config.node.link.cluster.0.to_string(),
        version: config.node.membership.version.clone(),
        started_at: clock::wall(),
        hosts: config.http.hosts.clone(),
        metrics_open: config.http.metrics_open,
        ready_exclude: config.http.ready_exclude.clone(),
        ready_require: config.http.ready_require.clone(),
        has_seeds: !config.node.membership.join.is_empty(),
        loopback: config.http.listen.ip().is_loopback(),
        chat: config.outward.chat.clone(),
    }
}

/// The configuration has checked hash and scopes.
fn tokens(configured: &[TokenConfig]) -> Vec<StaticToken> {
    let tokens = configured.iter().filter_map(|token| {
        let mut hash = [0; 32];
        for (at, byte) in hash.iter_mut().enumerate() {
            *byte = u8::from_str_radix(token.hash.get(2 * at..2 * at + 2)?, 16).ok()?;
        }
        let scopes = SCOPES.into_iter();
        let scopes = scopes.filter(|scope| token.scopes.iter().any(|name| name == scope.name()));
        Some(StaticToken { hash, scopes: scopes.collect(), label: token.label.clone() })
    });
    tokens.collect()
}

const SCOPES: [Scope; 5] = [Scope::Read, Scope::Use, Scope::Operate, Scope::Admin, Scope::Secrets];

fn own_uid() -> u32 {
    #[expect(unsafe_code, reason = "the standard library does not say who we are")]
    // SAFETY: the call takes nothing, cannot fail and touches no memory.
    unsafe {
        libc::geteuid()
    }
}

/// The data directory is ours, so a socket that is there is of a process that ended.
fn local_socket(path: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

fn told(outcome: Result<usize, &AuditError>) {
    if let Err(error) = outcome {
        error!(%error, "the audit log cannot be written; mutations are refused");
    }
}

fn seen(path: &Path) -> Option<(SystemTime, u64)> {
    let file = std::fs::metadata(path).ok()?;
    Some((file.modified().ok()?, file.len()))
}

fn sentence(problems: &[Problem]) -> String {
    let texts: Vec<String> =
        problems.iter().map(|problem| format!("{} ({})", problem.message, problem.place)).collect();
    texts.join("; ")
}

/// Keys whose change is not taken at run time.
fn needs_restart(old: &Config, new: &Config) -> Vec<&'static str> {
    let keys = new.fixed.iter().map(|(key, said)| (*key, old.fixed.get(key) != Some(said)));
    let numbers =
        fixed_numbers().map(|number| (number.key, number.of(&old.node) != number.of(&new.node)));
    keys.chain(numbers).filter(|(_, changed)| *changed).map(|(key, _)| key).collect()
}

/// Numbers of protocols that stay as they are while the node runs.
fn fixed_numbers() -> impl Iterator<Item = &'static Setting> {
    SETTINGS.iter().filter(|setting| !config::is_live(setting))
}

fn write_dump(directory: &Path, text: &str) -> io::Result<PathBuf> {
    std::fs::create_dir_all(directory)?;
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o700))?;
    let name = format!("{}.json", clock::rfc3339(clock::wall()).replace(':', "-"));
    let path = directory.join(name);
    std::fs::write(&path, text)?;
    let entries = std::fs::read_dir(directory)?.filter_map(|entry| Some(entry.ok()?.path()));
    let mut dumps: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|kind| kind == "json")).collect();
    dumps.sort();
    let surplus = dumps.len().saturating_sub(DUMPS_MAX);
    dumps.iter().take(surplus).try_for_each(std::fs::remove_file)?;
    Ok(path)
}

#[cfg(test)]
mod tests;

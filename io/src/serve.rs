//! A node of this machine: its sockets, its directory, its loop, and its end.
//!
//! Absent on purpose: where settings come from, and the surfaces. Both are handed in or built on the
//! [`Handle`] of what runs.

mod ground;
mod keys;
mod process;
mod signals;
mod supervisor;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use quorate_core::ids::Incarnation;
use quorate_core::node::flight::Head;
use quorate_core::node::{Image, Node, Published, Request, Settings};
use quorate_core::time::Instant;
use tokio::sync::mpsc::unbounded_channel;
use tokio::sync::{mpsc, oneshot, watch};

use crate::clock;
use crate::config::{Config, Secret};
use crate::datagrams::{self, SharedKeyring};
use crate::handle::Handle;
use crate::health::Vitals;
use crate::metrics::{Build, Meters, Source};
use crate::net::{self, Net, TokioNet};
use crate::outside::World;
use crate::peers;
use crate::perform::{Hands, Replies};
use crate::record::{Endings, RecordError, RecordSettings, Recorder, Tracer};
use crate::seal::{KeyringError, KeyringSource};
use crate::secure::{Secure, SecureError, TlsFiles};
use crate::shell::{Ears, Shell, Wall};
use crate::store::{StoreError, Watch};
use crate::threads::Own;
use crate::traffic::Traffic;
use crate::vault::Vault;

use ground::Kept;
pub use ground::{Ground, Medium, start_in};
pub use process::{Exit, run};

pub use crate::outside::{Answering, Outside};
pub use crate::perform::End;
pub use crate::shell::Mind;

/// Answers of calls that wait for the loop.
const ANSWERS_MAX: usize = 256;

/// Everything that a process is told about its node.
#[derive(Debug, Clone)]
pub struct ServeSettings {
    /// The node itself. Its addresses are set to where it is reached once its sockets are bound.
    pub node: Settings,
    /// Where it keeps its store; a node without one begins each life with the wall clock.
    pub data: Option<PathBuf>,
    /// Where peers reach it, by datagram and by link.
    pub listen: SocketAddr,
    /// What peers are told instead of the bound address; a port 0 means the bound one.
    pub advertise: Option<SocketAddr>,
    /// What seals datagrams.
    pub keyring: KeyringSource,
    /// Whether peers beyond this machine may be spoken to without protection.
    pub insecure: bool,
    /// What secures links; without it they are not.
    pub tls: Option<TlsFiles>,
    /// Bearer keys of workers by URL prefix.
    pub worker_keys: BTreeMap<String, Secret>,
    /// The folder of credentials, if the node keeps any.
    pub credentials: Option<PathBuf>,
    /// Where every turn is recorded, if anywhere.
    pub record: Option<RecordSettings>,
}

impl From<&Config> for ServeSettings {
    fn from(config: &Config) -> ServeSettings {
        ServeSettings {
            node: config.node.clone(),
            data: Some(config.data.clone()),
            listen: config.cluster_listen,
            advertise: config.advertised.then_some(config.node.membership.address),
            keyring: KeyringSource {
                keys: config.keyring.clone(),
                file: config.keyring_file.clone(),
            },
            // A configuration that opens the peers' port by accident was not loaded.
            insecure: true,
            tls: config.tls.clone(),
            worker_keys: config.worker_keys.clone(),
            credentials: config.credentials.clone(),
            record: config
                .record
                .clone()
                .map(|directory| RecordSettings { directory, bytes_max: config.record_bytes_max }),
        }
    }
}

/// Secrets by URL prefix; a reload swaps them.
pub(crate) type SharedKeys = Arc<ArcSwap<BTreeMap<String, Secret>>>;

/// Why a node did not start. Nothing is held when this is returned.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Others could read and write what the node says.
    #[error(
        "listening for peers at {listen}, beyond this machine, needs a keyring and `tls.ca`, or \
         `cluster.insecure = true`"
    )]
    Unprotected {
        /// Where.
        listen: SocketAddr,
    },
    /// The certificates are none.
    #[error(transparent)]
    Secure(#[from] SecureError),
    /// The keys are none.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    /// The sockets are not to be had.
    #[error("failed to listen for peers at {listen}: {error}")]
    Listen {
        /// Where.
        listen: SocketAddr,
        /// Why.
        error: std::io::Error,
    },
    /// The store is not to be had.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The folder of credentials is not to be had.
    #[error("failed to open the folder of credentials {path}: {error}; see `credentials.folder`")]
    Credentials {
        /// Which.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// No record can be written there.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The machine gives no thread.
    #[error("failed to start the thread of the node: {0}")]
    Thread(std::io::Error),
}

/// A node that runs. Dropping it ends the loop at once, without a goodbye.
#[derive(Debug)]
pub struct Running {
    /// What surfaces hold.
    pub handle: Handle,
    /// Where its sockets are bound.
    pub address: SocketAddr,
    /// Where peers are told to reach it.
    pub advertised: SocketAddr,
    /// What is measured, and the page of it.
    pub meters: Arc<Meters>,
    /// What the shell knows of itself.
    pub vitals: Arc<Vitals>,
    /// Bearer keys of workers by URL prefix, in use.
    pub(crate) worker_keys: SharedKeys,
    /// The bodies of credentials.
    pub vault: Vault,
    /// The keys in use.
    pub(crate) keyring: SharedKeyring,
    /// The certificates in use.
    pub(crate) secure: Secure,
    /// What makes recordings to look at.
    pub(crate) tracer: Arc<Tracer>,
    #[cfg(test)]
    pub(crate) traffic: Arc<Traffic>,
    ended: oneshot::Receiver<End>,
    released: oneshot::Receiver<()>,
    halt: Option<oneshot::Sender<()>>,
    /// The thread that it runs on, where it has one of its own.
    _thread: Option<Own>,
}

impl Running {
    /// Waits until the loop has ended and the data directory is free.
    pub async fn ended(&mut self) -> End {
        let end = (&mut self.ended).await.unwrap_or(End::Halted);
        let _ = (&mut self.released).await; // Only ever dropped.
        end
    }

    /// Leaves the cluster and waits for the end. After `within` the loop is ended as it is.
    pub async fn leave(&mut self, restarting: bool, within: Duration) -> End {
        let (handle, ended) = (&self.handle, &mut self.ended);
        let left = tokio::time::timeout(within, async {
            let request = Request::Leave { remove_workers: false, restarting };
            // Refused, or no answer: what counts is whether the node ends, and that is waited for.
            let _ = handle.ask(request, within).await;
            ended.await.unwrap_or(End::Halted)
        });
        match left.await {
            Ok(end) => {
                let _ = (&mut self.released).await; // Only ever dropped.
                end
            }
            Err(_) => self.halt().await,
        }
    }

    /// Ends the loop without a goodbye, as a crash would.
    pub async fn halt(&mut self) -> End {
        self.halt = None;
        self.ended().await
    }
}

/// Starts a node on the network of this machine; `counted` is shown among its metrics.
///
/// Its loop and its connections with peers have a thread of their own, since each of them has work for the other. What
/// it asks of the world beyond its peers runs where this is called: a handshake there holds no turn up.
pub async fn start(mut serve: ServeSettings, counted: Vec<Source>) -> Result<Running, StartError> {
    serve.node.credentials.enabled = serve.credentials.is_some();
    let vault = vault(serve.credentials.as_deref())?;
    let boot = |settings, incarnation, image: &Image, seed, now| {
        Node::boot(settings, incarnation, image, seed, now)
    };
    let (listens, here, bodies) =
        (serve.listen.ip(), tokio::runtime::Handle::current(), vault.clone());
    let world = move |published: &Arc<Published>, meters: &Arc<Meters>, keys: &SharedKeys| {
        let (meters, keys) = (meters.clone(), keys.clone());
        let world = World::new(here, published.clone(), keys, meters, bodies, listens);
        Arc::new(world) as Arc<dyn Outside>
    };
    let thread = Own::start("node".to_owned(), peers::CLOSE_TIME).map_err(StartError::Thread)?;
    let starting = thread.runtime().spawn(start_on(TokioNet, serve, counted, boot, world));
    let running = starting.await.expect("nothing panics on the way")?;
    vault.watch(running.handle.clone());
    Ok(Running { vault, _thread: Some(thread), ..running })
}

fn vault(folder: Option<&Path>) -> Result<Vault, StartError> {
    let Some(path) = folder else { return Ok(Vault::default()) };
    Vault::open(path).map_err(|error| StartError::Credentials { path: path.to_owned(), error })
}

/// Starts a node on `net` and this machine: `boot` makes it, `outside` performs its calls.
pub(crate) async fn start_on<N: Net, M: Mind + Send + 'static>(
    net: N,
    serve: ServeSettings,
    counted: Vec<Source>,
    boot: impl FnOnce(Settings, Incarnation, &Image, [u8; 32], Instant) -> M,
    outside: impl FnOnce(&Arc<Published>, &Arc<Meters>, &SharedKeys) -> Arc<dyn Outside>,
) -> Result<Running, StartError> {
    start_at(net, serve, Ground::here(), counted, boot, outside).await
}

/// Starts a node on `net` and `ground`.
async fn start_at<N: Net, M: Mind + Send + 'static>(
    net: N,
    mut serve: ServeSettings,
    ground: Ground,
    mut counted: Vec<Source>,
    boot: impl FnOnce(Settings, Incarnation, &Image, [u8; 32], Instant) -> M,
    outside: impl FnOnce(&Arc<Published>, &Arc<Meters>, &SharedKeys) -> Arc<dyn Outside>,
) -> Result<Running, StartError> {
    let (keyring, secure) = protection(&serve)?;
    let worker_keys: SharedKeys = Arc::new(ArcSwap::from_pointee(serve.worker_keys));
    let listen = serve.listen;
    let (listener, udp, address) = net::bind_peers(&net, listen)
        .await
        .map_err(|error| StartError::Listen { listen, error })?;
    let reached = advertised(address, serve.advertise);
    serve.node.membership.address = reached;
    serve.node.link.address = reached;

    let seed = ground.seed;
    let kept = Kept::open(&net, serve.data.as_deref(), &serve.node.membership.node, ground)?;
    let now = net.now();
    let made_of = (&serve.node, seed, now);
    let (recorder, tracer) = recorder(serve.record.as_ref(), made_of, &kept, &mut counted)?;
    let mind = boot(serve.node, kept.incarnation, &kept.image, seed, now);

    let traffic = Arc::new(Traffic::default());
    counted.push(traffic.clone());
    let vitals = Arc::new(Vitals::new(net.now()));
    let (handle, asks, announcements) = Handle::new(mind.published().clone());
    let meters = Arc::new(Meters::new(&handle, &build(), counted));
    let outside = outside(mind.published(), &meters, &worker_keys);
    let watch = Watch { meters: meters.clone(), vitals: vitals.clone() };
    let (released, when_released) = oneshot::channel();
    let keeper = kept.keeper(&net, watch, released);
    let ((open, closed), (events, heard)) = (watch::channel(()), unbounded_channel());
    let (answers, answered) = mpsc::channel(ANSWERS_MAX);
    let (outbox, incoming) =
        datagrams::start(&net, udp, keyring.clone(), traffic.clone(), closed.clone());
    net.spawn(peers::accept_all(net.clone(), listener, secure.clone(), events.clone(), closed));
    let ((halt, halted), (end, ended)) = (oneshot::channel(), oneshot::channel());
    let hands = Hands {
        net: net.clone(),
        outbox,
        keeper,
        lanes: BTreeMap::new(),
        secure: secure.clone(),
        events,
        outside,
        answers,
        replies: Replies::default(),
        announcements,
    };
    let ears = Ears { answers: answered, datagrams: incoming, events: heard, asks, halted };
    let running = Running {
        handle,
        address,
        advertised: reached,
        meters: meters.clone(),
        vitals: vitals.clone(),
        worker_keys,
        vault: Vault::default(),
        keyring,
        secure,
        tracer: Arc::new(tracer),
        #[cfg(test)]
        traffic: traffic.clone(),
        ended,
        released: when_released,
        halt: Some(halt),
        _thread: None,
    };
    let wall = Wall::default();
    let shell = Shell { mind, ears, hands, meters, vitals, traffic, recorder, wall };
    net.spawn(async move {
        let _open = open; // Sockets close when the loop has ended.
        let _ = end.send(shell.run().await); // Nobody waits.
    });
    Ok(running)
}

/// Begins a flight record, if one is wanted, and makes what begins traces.
fn recorder(
    record: Option<&RecordSettings>,
    (settings, seed, now): (&Settings, [u8; 32], Instant),
    kept: &Kept,
    counted: &mut Vec<Source>,
) -> Result<(Recorder, Tracer), RecordError> {
    let endings = Arc::new(Endings::default());
    counted.push(endings.clone());
    let (tracer, wanted) = Tracer::new(endings.clone());
    let Some(record) = record else { return Ok((Recorder::off(wanted), tracer)) };
    let (incarnation, settings) = (kept.incarnation, settings.clone());
    let head = Head { build: release(), incarnation, seed, now, settings };
    Ok((Recorder::start(record, head, &kept.image, endings, wanted)?, tracer))
}

/// What this build is called in records, as the simulator calls its own.
fn release() -> String {
    let commit = option_env!("QUORATE_COMMIT").unwrap_or("unknown");
    format!("{}+{commit}", env!("CARGO_PKG_VERSION"))
}

fn build() -> Build {
    let version = env!("CARGO_PKG_VERSION").to_owned();
    Build { version, started_seconds: clock::wall().0 / 1000 }
}

/// What seals datagrams, and what secures links.
fn protection(serve: &ServeSettings) -> Result<(SharedKeyring, Secure), StartError> {
    check_protection(serve)?;
    let cluster = &serve.node.link.cluster;
    let keyring = serve.keyring.load(cluster)?;
    let secure = Secure::default();
    if let Some(files) = &serve.tls {
        secure.load(files, cluster)?;
    }
    Ok((Arc::new(ArcSwap::from_pointee(keyring)), secure))
}

/// Beyond this machine datagrams are sealed and links secured, or somebody said that it is fine without.
fn check_protection(serve: &ServeSettings) -> Result<(), StartError> {
    let sealed = !serve.keyring.keys.is_empty() || serve.keyring.file.is_some();
    let protected = sealed && serve.tls.is_some();
    if serve.listen.ip().is_loopback() || protected || serve.insecure {
        return Ok(());
    }
    Err(StartError::Unprotected { listen: serve.listen })
}

/// What peers are told. A wildcard cannot be dialled: it becomes the address from which this machine
/// would speak to the world.
fn advertised(bound: SocketAddr, configured: Option<SocketAddr>) -> SocketAddr {
    let mut address = configured.unwrap_or(bound);
    if address.port() == 0 {
        address.set_port(bound.port());
    }
    if address.ip().is_unspecified() {
        address.set_ip(outward(address.ip()));
    }
    address
}

/// Connecting a datagram socket sends nothing, but chooses a route.
fn outward(wildcard: IpAddr) -> IpAddr {
    // Addresses that are reserved for documentation: every route to the world leads to them.
    let far: IpAddr = match wildcard {
        IpAddr::V4(_) => Ipv4Addr::new(192, 0, 2, 1).into(),
        IpAddr::V6(_) => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into(),
    };
    let probe = UdpSocket::bind((wildcard, 0)).and_then(|socket| {
        socket.connect((far, 9))?;
        socket.local_addr()
    });
    let loopback = if wildcard.is_ipv4() {
        IpAddr::from(Ipv4Addr::LOCALHOST)
    } else {
        IpAddr::from(Ipv6Addr::LOCALHOST)
    };
    probe.map_or(loopback, |address| address.ip())
}

#[cfg(test)]
mod tests;

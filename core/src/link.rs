//! One connection per pair.

mod snapshot;

use std::net::SocketAddr;
use std::time::Duration;

use crate::ids::{ClusterId, ConnectionId, Incarnation, NodeId, Notice, Replica};
use crate::machine::{Count, Counted, Machine, Wake};
use crate::random::Rng;
use crate::time::Instant;
use crate::wire::Blob;
use crate::wire::frame::{Class, Frame};
use crate::wire::message::{Control, Gossip};

pub use snapshot::{Queued, Row, Snapshot, State};

/// How links are kept.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Settings {
    /// Only nodes of this cluster are spoken to.
    pub cluster: ClusterId,
    /// Where we are reached, as advertised.
    pub address: SocketAddr,
    /// Time between pings.
    pub ping_interval: Duration,
    /// Silence after which a connection is closed.
    pub idle_timeout: Duration,
    /// All of a handshake.
    pub handshake_timeout: Duration,
    /// All of a dial.
    pub connect_timeout: Duration,
    /// Shortest wait before a redial.
    pub redial_min: Duration,
    /// Longest wait before a redial.
    pub redial_max: Duration,
    /// Bytes that wait in all queues.
    pub queue_bytes_max: usize,
    /// Handshakes at a time.
    pub accepts_max: usize,
}

/// What can happen to links.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// `Output::Connect` succeeded.
    Connected { connection: ConnectionId },
    /// `Output::Connect` failed.
    ConnectFailed { connection: ConnectionId },
    /// Somebody connected.
    Accepted { connection: ConnectionId, from: SocketAddr },
    /// A whole frame arrived.
    Frame { connection: ConnectionId, frame: Frame },
    /// The stream is no sequence of frames.
    Broken { connection: ConnectionId, what: &'static str },
    /// The connection ended.
    Closed { connection: ConnectionId },
    /// The host can take this many more bytes.
    Writable { connection: ConnectionId, bytes: usize },
    /// Send to a peer.
    Send { to: NodeId, message: Message },
    /// Dial a seed.
    DialSeed { address: SocketAddr },
    /// What membership noticed.
    Notice(Notice),
    /// A datagram of `peer` arrived (after silence it resets the redial delay).
    Heard { peer: NodeId },
    /// We are `replica` from now on.
    Raised { replica: Replica },
    /// A pair that slept starts afresh: close everything.
    Slept,
    /// Say goodbye on every link and close it once it is written.
    Leave { restarting: bool },
    /// `next_wake` has passed.
    Tick,
}

/// What a link carries for other machines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Class `control`.
    Control(Control),
    /// Class `gossip`.
    Gossip(Gossip),
    /// Class `gossip`, already encoded: one encoding serves every peer of a push.
    Encoded(Blob),
}

/// What links ask of the world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Dial.
    Connect { connection: ConnectionId, to: SocketAddr },
    /// Write an encoded frame.
    Write { connection: ConnectionId, bytes: Blob },
    /// Close, after what was written has left.
    Disconnect { connection: ConnectionId },
    /// A pair is connected; this is the connection used from now on.
    Up { peer: Replica, born: Incarnation, address: SocketAddr },
    /// A pair is not connected any more.
    Down { peer: NodeId },
    /// A frame arrived of a peer whose handshake is finished. Comes before `Message`.
    Heard { peer: Replica },
    /// A message arrived.
    Message { from: Replica, message: Message },
    /// A ping is due: the node fills in what it has of the peer's maps and sends it.
    PingDue { peer: Replica, number: u64 },
    /// A round trip was measured.
    RoundTrip { peer: NodeId, took: Duration },
    /// A peer said goodbye.
    Bye { peer: Replica, restarting: bool },
    /// A handshake of ours was refused: a newer life of ours is known.
    Stale { known: Incarnation, address: SocketAddr },
    /// A seed's dial came to nothing.
    SeedFailed { address: SocketAddr, refused: bool },
    /// A message was refused: no link, or its queue is full.
    Refused { to: NodeId, class: Class, why: &'static str },
    /// A peer broke the rules.
    Misbehaved { peer: Option<NodeId>, address: Option<SocketAddr>, what: &'static str },
}

/// Every link of one node.
#[derive(Debug, Clone)]
pub struct Links {
    settings: Settings,
    local: Replica,
    born: Incarnation,
    rng: Rng,
}

impl Links {
    /// The links of `local`, whose process started as `born`; none yet.
    pub fn new(
        settings: Settings,
        local: Replica,
        born: Incarnation,
        _now: Instant,
        rng: Rng,
    ) -> Links {
        Links { settings, local, born, rng }
    }

    /// Every peer and how it is connected, for an operator.
    pub fn snapshot(&self, _now: Instant) -> Snapshot {
        Snapshot::default()
    }

    /// Checks every invariant by a full scan; the error is the sentence that is false.
    pub fn check(&self) -> Result<(), String> {
        Ok(())
    }
}

impl Machine for Links {
    type Input = Input;
    type Output = Output;

    fn handle(&mut self, _now: Instant, _input: Input, _out: &mut Vec<Output>) {}

    fn next_wake(&self) -> Option<Wake> {
        None
    }
}

impl Counted for Links {
    fn counts(&self, _visit: &mut dyn FnMut(Count)) {}
}

//! One connection per pair.

use std::net::SocketAddr;
use std::time::Duration;

use crate::ids::{ClusterId, ConnectionId, Incarnation, NodeId, Notice, Replica};
use crate::wire::Blob;
use crate::wire::frame::{Class, Frame};
use crate::wire::message::{Control, Gossip};

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

/// Links by peer.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {}

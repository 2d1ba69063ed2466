//! One connection per pair.
//!
//! A link carries frames between two replicas over one connection. It owns the queues, so that every
//! byte that waits is counted here; the host holds a window per connection and says `Writable` when it
//! wants more.
//!
//! ```text
//!   dial ──► Connecting ──► Greeting ──┐  Hello, Welcome
//!                                      ├──► Open ──► in use, or spare until one of two is closed
//! accept ──► Accepted ─────────────────┘
//! ```
//!
//! Of two finished handshakes for one pair, the newer life wins; else the one dialled by the lower node
//! id; else the newer. Both sides send on the winner at once, but only the lower node id closes the
//! loser (`Bye duplicate`): two sides that see the handshakes end in different orders never close both.
//!
//! Invariants (L-5, L-6, L-9 are held where they apply; `check` scans the rest):
//! - L-1: per class and node, what waits stays within its bounds, and the gauges say what waits.
//! - L-2: at most one connection of a pair is sent on; when all is quiet there is exactly one.
//! - L-3: frames of `broadcast` arrive in order, without gap or repetition, per pair of lives.
//! - L-4: classes that all wait share a connection by weight.
//! - L-5: an event of a connection that is gone changes nothing.
//! - L-6: a peer has a connection, a dial under way, or a next dial.
//! - L-7: through a half-open breaker goes one probe; nothing is kept of whoever is no peer.
//! - L-8: every request ends exactly once, at or before its deadline.
//! - L-9: before a handshake is finished nothing but session frames is written, and to a stranger
//!   nothing at all.
//! - L-10: a full queue acts on its own class; every frame that is not delivered is counted once.
//!
//! Absent on purpose: TLS (the host's), exactly-once effects (requests carry ids), ordering across classes,
//! routing (one relay hop excepted).

mod agenda;
mod asks;
mod breaker;
mod connection;
mod counts;
mod dial;
mod handshake;
mod notices;
mod opening;
mod pairing;
mod peer;
mod queue;
mod relay;
mod sequenced;
mod snapshot;
#[cfg(test)]
mod tests;
mod traffic;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::time::Duration;

use crate::fences::Fences;
use crate::ids::{ClusterId, ConnectionId, Incarnation, NodeId, Notice, Replica, Ticket};
use crate::machine::{Machine, Wake};
use crate::random::Rng;
use crate::time::Instant;
use crate::wire::Blob;
use crate::wire::frame::{Class, Frame};
use crate::wire::message::{Control, Gossip};
use crate::wire::raft::Genesis;

use agenda::{Agenda, Subject};
use asks::Asks;
use connection::{Connection, Stage, Target};
use counts::Counts;
use peer::{Peer, Standing};
use queue::Lane;
use sequenced::Stream;

pub use asks::{AskError, backoff};
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
    /// Fences kept: as many as membership keeps.
    pub fences_max: usize,
    /// Wire versions that are spoken, lowest and highest.
    pub protocol: (u16, u16),
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
    /// The connection could not be secured.
    Unsecured { connection: ConnectionId },
    /// The connection's certificate names another node than the one that speaks.
    Misnamed { connection: ConnectionId },
    /// The connection ended.
    Closed { connection: ConnectionId },
    /// The host can take this many more bytes.
    Writable { connection: ConnectionId, bytes: usize },
    /// Send to a peer.
    Send { to: NodeId, message: Message },
    /// Send to a peer, unless it waits longer than that.
    SendBy { to: NodeId, message: Message, deadline: Instant },
    /// Ask a peer; `ticket` comes back in one `Ended`, at or before `deadline`.
    Ask { to: NodeId, ticket: Ticket, deadline: Instant, body: Blob },
    /// The answer to `Output::Asked`.
    Answer { to: Replica, number: u64, body: Blob },
    /// Dial a seed.
    DialSeed { address: SocketAddr },
    /// What membership noticed.
    Notice(Notice),
    /// A replica that was never met here is known to be failed, and may be reached at `address`.
    LookFor { replica: Replica, address: SocketAddr },
    /// A datagram of `peer` arrived (after silence it resets the redial delay).
    Heard { peer: NodeId },
    /// Which log this node keeps, if it keeps one: greetings say so.
    Genesis(Option<Genesis>),
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
    /// Class `control`: a message of the agreed log. When there is no room the oldest goes.
    Raft(Blob),
    /// Class `bulk`: a piece of a snapshot. When there is no room it is refused, and `Output::Room` says when
    /// there is.
    Bulk(Blob),
    /// Class `broadcast`: arrives once and in order, or comes back as `Output::Undelivered`.
    Broadcast(Blob),
    /// Class `gossip`.
    Gossip(Gossip),
    /// Class `gossip`, already a whole frame: one encoding serves every peer of a push.
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
    /// A peer asks; answer with `Input::Answer`, or not at all after `deadline`.
    Asked { from: Replica, number: u64, deadline: Instant, body: Blob },
    /// The one end of an `Input::Ask`.
    Ended { ticket: Ticket, end: Result<Blob, AskError> },
    /// A peer was refused a piece of `bulk`; now there is room.
    Room { to: NodeId },
    /// A message in `broadcast` may not have arrived, and never will: a life ended.
    Undelivered { to: Replica, body: Blob },
    /// A ping is due: the node fills in what it has of the peer's maps and sends it.
    PingDue { peer: Replica, number: u64 },
    /// A round trip was measured.
    RoundTrip { peer: NodeId, took: Duration },
    /// A peer said goodbye.
    Bye { peer: Replica, restarting: bool },
    /// A handshake of ours was refused: a newer life of ours is known.
    Stale { known: Incarnation, address: SocketAddr },
    /// A handshake was refused, by us or there: two different logs were founded in one cluster.
    Conflict { node: Option<NodeId>, address: SocketAddr },
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
    peers: BTreeMap<NodeId, Peer>,
    connections: BTreeMap<ConnectionId, Connection>,
    /// Accepted connections that have not said who they are, by address.
    accepting: BTreeMap<IpAddr, usize>,
    fences: Fences,
    /// Addresses at which we met ourselves, and until when they are not dialled.
    shunned: BTreeMap<SocketAddr, Instant>,
    agenda: Agenda,
    asks: Asks,
    /// How far the frames of each peer's life are here.
    streams: BTreeMap<NodeId, Stream>,
    leaving: bool,
    genesis: Option<Genesis>,
    dials: u64,
    pings: u64,
    queued_bytes: usize,
    counts: Counts,
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
        Links {
            fences: Fences::new(settings.fences_max),
            settings,
            local,
            born,
            rng,
            peers: BTreeMap::new(),
            connections: BTreeMap::new(),
            accepting: BTreeMap::new(),
            shunned: BTreeMap::new(),
            agenda: Agenda::default(),
            asks: Asks::default(),
            streams: BTreeMap::new(),
            leaving: false,
            genesis: None,
            dials: 0,
            pings: 0,
            queued_bytes: 0,
            counts: Counts::default(),
        }
    }
}

impl Machine for Links {
    type Input = Input;
    type Output = Output;

    fn handle(&mut self, now: Instant, input: Input, out: &mut Vec<Output>) {
        match input {
            Input::Connected { connection } => self.connected(now, connection, out),
            Input::ConnectFailed { connection } => self.lost(now, connection, "connect", out),
            Input::Accepted { connection, from } => self.accepted(now, connection, from, out),
            Input::Frame { connection, frame } => self.frame(now, connection, &frame, out),
            Input::Broken { connection, what } => self.misbehaved(now, connection, what, out),
            Input::Unsecured { connection } => self.unsecured(now, connection, out),
            Input::Misnamed { connection } => self.misnamed(now, connection, out),
            Input::Closed { connection } => self.lost(now, connection, "closed", out),
            Input::Writable { connection, bytes } => self.writable(now, connection, bytes, out),
            Input::Send { to, message } => self.send(now, &to, &message, None, out),
            Input::SendBy { to, message, deadline } => {
                self.send(now, &to, &message, Some(deadline), out);
            }
            Input::Ask { to, ticket, deadline, body } => {
                self.ask(now, &to, ticket, deadline, body, out);
            }
            Input::Answer { to, number, body } => self.answer(now, to, number, body, out),
            Input::DialSeed { address } => self.dial_seed(now, address, out),
            Input::Notice(notice) => self.notice(now, notice, out),
            Input::LookFor { replica, address } => self.look_for(now, &replica, address, out),
            Input::Heard { peer } => self.heard_datagram(now, &peer),
            Input::Genesis(genesis) => self.genesis = genesis,
            Input::Raised { replica } => self.raised(now, replica, out),
            Input::Slept => self.slept(now, out),
            Input::Leave { restarting } => self.leave(now, restarting, out),
            Input::Tick => self.tick(now, out),
        }
        self.assert_invariants();
    }

    fn next_wake(&self) -> Option<Wake> {
        let (at, subject) = self.agenda.first()?;
        let what = match subject {
            Subject::Connection(_) => "a connection's deadline",
            Subject::Peer(_) => "a dial or a ping",
            Subject::Acknowledgement(_) => "an acknowledgement",
            Subject::Asks => "a request's deadline",
            Subject::Sweep => "a sweep of peers that nobody confirmed",
        };
        Some(Wake { at, what })
    }
}

impl Links {
    fn tick(&mut self, now: Instant, out: &mut Vec<Output>) {
        for subject in self.agenda.take_due(now) {
            if self.agenda.of(&subject).is_some() {
                continue; // One before it in this turn gave it a later moment.
            }
            match subject {
                Subject::Connection(connection) => self.connection_due(now, connection, out),
                Subject::Peer(peer) => self.peer_due(now, &peer, out),
                Subject::Acknowledgement(peer) => self.acknowledge(now, &peer, out),
                Subject::Asks => self.asks_due(now, out),
                Subject::Sweep => self.sweep(now, out),
            }
        }
    }

    /// A peer is due for a ping while it is connected, else for a dial.
    fn peer_due(&mut self, now: Instant, node: &NodeId, out: &mut Vec<Output>) {
        let Some(peer) = self.peers.get(node) else { return };
        if peer.up.is_some() {
            self.ping(now, node, out);
        } else if peer.dialling.is_none() {
            self.dial_peer(now, node, out);
        }
    }

    fn assert_invariants(&self) {
        let subjects = 2 * self.peers.len() + self.connections.len() + 2;
        assert!(self.agenda.len() <= subjects, "L-6: a moment is kept for nobody");
        // The simulator calls `check` at its own pace.
        #[cfg(test)]
        self.check().expect("every link invariant holds after every input");
    }

    /// Checks every invariant by a full scan; the error is the sentence that is false.
    pub fn check(&self) -> Result<(), String> {
        self.asks.check(|node| self.peers.contains_key(node))?;
        let (mut waiting, mut used) = ([Queued::default(); 4], 0);
        for (node, peer) in &self.peers {
            peer.queues.check()?;
            peer.queues.add_to(&mut waiting);
            used += usize::from(peer.up.is_some()) + peer.spares.len();
            self.check_peer(node, peer)?;
        }
        let queued: usize = waiting.iter().map(|held| held.bytes).sum();
        if queued != self.queued_bytes {
            return Err(format!("L-1: {queued} bytes wait, {} are told", self.queued_bytes));
        }
        for (lane, held) in Lane::ALL.into_iter().zip(waiting) {
            self.counts.check(lane, held.frames)?;
        }
        self.check_connections(used)?;
        let accepted = self.connections.values().filter(|one| one.stage == Stage::Accepted).count();
        if accepted != self.accepting.values().sum::<usize>() {
            return Err(format!("L-1: {accepted} handshakes are awaited, others are counted"));
        }
        Ok(())
    }

    fn check_peer(&self, node: &NodeId, peer: &Peer) -> Result<(), String> {
        let waits = || self.agenda.of(&Subject::Peer(node.clone())).is_some();
        let alive = peer.up.is_some() || peer.dialling.is_some() || waits();
        if !alive && !self.leaving {
            return Err(format!("L-6: {node} has no connection, no dial and no next dial"));
        }
        if peer.up.is_none() && (!peer.spares.is_empty() || !peer.queues.is_cleared()) {
            return Err(format!("L-2: {node} has a spare connection or frames, but no link"));
        }
        if peer.up.is_some_and(|up| peer.spares.contains(&up)) {
            return Err(format!("L-2: {node} has a spare connection that is in use"));
        }
        for id in peer.up.iter().chain(&peer.spares) {
            let pair = self.connections.get(id).and_then(Connection::pair);
            let life =
                pair.filter(|pair| pair.peer.node == *node).map(|pair| pair.peer.incarnation);
            if life != Some(peer.life) {
                return Err(format!(
                    "L-2: {node} is said to be on {id:?}, which is not open to it"
                ));
            }
        }
        Ok(())
    }

    /// Each connection has a deadline, and a peer that knows it. What peers are on is open to them, says
    /// `check_peer`: so as many open connections as the `used` that peers are on are those.
    fn check_connections(&self, used: usize) -> Result<(), String> {
        let mut deadlines = self.agenda.connections().peekable();
        let mut open = 0;
        for (id, connection) in &self.connections {
            while deadlines.next_if(|other| other < id).is_some() {}
            if deadlines.next_if_eq(id).is_none() {
                return Err(format!("L-6: {id:?} has no deadline"));
            }
            open += usize::from(connection.pair().is_some());
            if let Stage::Connecting(Target::Peer(node)) | Stage::Greeting(Target::Peer(node)) =
                &connection.stage
                && self.peers.get(node).is_none_or(|peer| peer.dialling != Some(*id))
            {
                return Err(format!("L-2: nobody knows the connection {id:?}"));
            }
        }
        if open != used {
            return Err(format!("L-2: {open} connections are open, and peers are on {used}"));
        }
        Ok(())
    }

    fn is_lower_than(&self, node: &NodeId) -> bool {
        self.local.node < *node
    }
}

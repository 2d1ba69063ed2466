//! What goes into a node and what comes out: the whole interface of a host.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ids::{ConnectionId, NodeId, Notice, Replica, Ticket};
use crate::time::UnixTime;
use crate::wire::frame::Frame;
use crate::wire::{Blob, Transport};
use crate::{credentials, gossip, kv, link, membership, pools, raft, workers};

/// Everything that a node is configured to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Who it is and how it watches others.
    pub membership: membership::Settings,
    /// How it spreads news.
    pub gossip: gossip::Settings,
    /// How it keeps connections.
    pub link: link::Settings,
    /// Which workers it registers and may call.
    pub workers: workers::Settings,
    /// Which pools its document defines.
    #[serde(default)]
    pub pools: pools::Settings,
    /// How it keeps the agreed log.
    pub raft: raft::Settings,
    /// What it asks of the consistent store.
    pub kv: kv::Settings,
    /// Whether it keeps credentials.
    #[serde(default)]
    pub credentials: credentials::Settings,
    /// Tombstones of one owner map.
    pub tombstones_max: usize,
    /// How long a node's old maps wait for its new life.
    pub ready_timeout: Duration,
    /// Shortest time between two publications of the counts.
    pub counts_interval: Duration,
}

/// What storage gave at the start: every durable row. Empty without a store.
pub type Image = BTreeMap<(Keyspace, String), Blob>;

/// What can happen to a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Input {
    /// The sockets are bound and the incarnation is durable: begin. Once, first.
    Start,
    /// `next_wake` has passed.
    Wake,
    /// What the wall clock reads now. Said before `Start`, and whenever it parted from the monotonic one:
    /// deadlines that nodes share are in its terms.
    Clock {
        /// Milliseconds since 1970.
        unix: UnixTime,
    },
    /// The plain text of a datagram that opened.
    Datagram {
        /// Where it came from.
        from: SocketAddr,
        /// Its plain text.
        bytes: Blob,
    },
    /// `Effect::Connect` succeeded.
    Connected {
        /// Which.
        connection: ConnectionId,
    },
    /// `Effect::Connect` failed.
    ConnectFailed {
        /// Which.
        connection: ConnectionId,
    },
    /// Somebody connected to the peers' listener.
    Accepted {
        /// The host's number for it, odd.
        connection: ConnectionId,
        /// Whence.
        from: SocketAddr,
    },
    /// A whole frame arrived.
    Frame {
        /// On which connection.
        connection: ConnectionId,
        /// It.
        frame: Frame,
    },
    /// The bytes of a connection are no frames; the host has stopped reading it.
    Broken {
        /// Which.
        connection: ConnectionId,
        /// Why.
        what: String,
    },
    /// The host can take this many more bytes; once after a connection is there, then as bytes leave.
    Writable {
        /// Which.
        connection: ConnectionId,
        /// How many more.
        bytes: usize,
    },
    /// A connection ended.
    Closed {
        /// Which.
        connection: ConnectionId,
    },
    /// A batch is durable.
    Stored {
        /// Which.
        ticket: Ticket,
    },
    /// An outside call ended.
    Answered {
        /// Which.
        ticket: Ticket,
        /// How.
        answer: Answer,
    },
    /// A caller wants something of the node.
    Request {
        /// Echoed by the reply.
        ticket: Ticket,
        /// What.
        request: Request,
    },
    /// A connection could not be secured; the host has let it go.
    Unsecured {
        /// Which.
        connection: ConnectionId,
        /// Why, in the host's words.
        what: String,
    },
    /// The certificate of a connection names another node than the one that speaks on it; the host has
    /// stopped reading it.
    Misnamed {
        /// Which.
        connection: ConnectionId,
    },
}

/// What a node asks of its host. Performed in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Effect {
    /// Send a datagram's plain text; the host seals it.
    Datagram {
        /// Whereto.
        to: SocketAddr,
        /// Its plain text.
        bytes: Blob,
    },
    /// Write an encoded frame.
    Send {
        /// On which connection.
        connection: ConnectionId,
        /// Header and payload.
        bytes: Blob,
    },
    /// Dial; answered by `Connected` or `ConnectFailed`.
    Connect {
        /// The node's number for it, even.
        connection: ConnectionId,
        /// Whereto.
        to: SocketAddr,
    },
    /// Close a connection once what was sent has left.
    Disconnect {
        /// Which.
        connection: ConnectionId,
    },
    /// Make a batch durable, whole or not at all, in order; answered by `Stored`. A failure ends the
    /// process.
    Store {
        /// Echoed.
        ticket: Ticket,
        /// Rows to write or, without a value, to delete.
        batch: Vec<(Keyspace, String, Option<Blob>)>,
    },
    /// Ask the outside world; answered by `Answered`.
    Call {
        /// Echoed.
        ticket: Ticket,
        /// What.
        call: Call,
    },
    /// Answer a caller.
    Reply {
        /// The request's.
        ticket: Ticket,
        /// The answer.
        reply: Reply,
    },
    /// Tell observers.
    Announce(Announcement),
}

/// A room of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Keyspace {
    /// What the node knows about itself: incarnation and fences.
    Meta,
    /// What a domain keeps for itself: `<domain>/<key>`.
    Local,
    /// Entries of the agreed log, by index.
    Log,
    /// Whose copy of which log this is; its term, vote and commit.
    Hard,
    /// Snapshots of the log's state, in pieces.
    Snapshot,
}

/// A question to the outside world.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Call {
    /// Resolve `host:port` to all its addresses.
    Resolve {
        /// As configured.
        name: String,
    },
    /// Probe a worker.
    Probe(workers::Probe),
    /// Ask the store of credentials.
    Credential(credentials::Errand),
}

/// The answer to a [`Call`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// The addresses; none if the name does not resolve.
    Resolved(Vec<SocketAddr>),
    /// How the probe ended.
    Probed {
        /// What was seen.
        outcome: workers::ProbeOutcome,
        /// How long it took.
        took: Duration,
    },
    /// What the store of credentials says.
    Credential(credentials::Found),
}

/// What a caller may ask of a node. Everything that can be read from [`Published`] is not here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Try these seeds as well.
    Join {
        /// `host:port` each.
        addresses: Vec<String>,
    },
    /// Leave the cluster.
    Leave {
        /// Withdraw our workers first.
        remove_workers: bool,
        /// A new process will take over at once.
        restarting: bool,
    },
    /// Forget a failed node now.
    Evict {
        /// Whom.
        node: NodeId,
    },
    /// Replace this node's labels.
    SetLabels {
        /// By these.
        labels: BTreeMap<String, String>,
    },
    /// Publish the head of this node's audit log as the fact `audit`, so that a cut tail shows.
    TellAudit {
        /// The last durable line's number.
        sequence: u64,
        /// Its hash, in hex.
        hash: String,
    },
    /// Something about workers.
    Worker(workers::Command),
    /// Something about credentials.
    Credential(credentials::Command),
    /// Something about pools.
    Pool(Box<pools::Command>),
    /// Something about the agreed log.
    Raft(raft::Operation),
    /// Something of the consistent store.
    Kv {
        /// What.
        request: Box<kv::Request>,
        /// How long the caller waits; `None` is the configured time.
        within: Option<Duration>,
        /// What makes a retry recognisable.
        once: Option<kv::Once>,
    },
    /// Something of the consistent store for a surface of Quorate's own: it may write where callers may not.
    Agree {
        /// What.
        request: Box<kv::Request>,
    },
    /// Hear of changes in the consistent store. The request's ticket names the watch.
    Watch(kv::WatchRequest),
    /// Everything of a watch through this revision was taken off the host's hands.
    Taken {
        /// Which watch.
        watch: Ticket,
        /// Through where.
        revision: u64,
    },
    /// Hear no more.
    Unwatch {
        /// Which watch.
        watch: Ticket,
    },
    /// Turn readiness off, or on again.
    Drain {
        /// Off?
        on: bool,
    },
    /// New settings were read; those that can change at run time do.
    Reload {
        /// All of them.
        settings: Box<Settings>,
    },
}

/// The answer to a [`Request`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// Done.
    Done,
    /// Membership refused.
    Refused(membership::Refusal),
    /// The answer of workers.
    Worker(workers::Answer),
    /// The answer of credentials.
    Credential(credentials::Answer),
    /// The answer of pools.
    Pool(pools::Answer),
    /// The answer of the agreed log.
    Raft(Result<(), raft::Refusal>),
    /// The answer of the consistent store.
    Kv(kv::Answer),
    /// The watch is open.
    Watching {
        /// Its name.
        watch: Ticket,
    },
}

impl Reply {
    /// Whether it may leave only when everything that was to be stored before it is durable here: its caller
    /// may believe that what it asked for survives a loss of power. What the log answers is durable on a
    /// majority by then, this node's own copy among it or not; a row that is written here for something else
    /// makes it no safer.
    pub fn awaits_store(&self) -> bool {
        match self {
            Reply::Raft(_) | Reply::Kv(_) | Reply::Watching { .. } => false,
            Reply::Done
            | Reply::Refused(_)
            | Reply::Worker(_)
            | Reply::Credential(_)
            | Reply::Pool(_) => true,
        }
    }
}

/// What observers hear: logs, watches, events and the host's own supervision are made of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Announcement {
    /// Something became of a replica.
    Member(Notice),
    /// The row of a member changed in any way; its snapshot is published.
    MemberChanged {
        /// Whose.
        node: NodeId,
    },
    /// We are a new replica now.
    Raised {
        /// Which.
        replica: Replica,
    },
    /// A link came up or went.
    Link {
        /// To whom.
        peer: NodeId,
        /// Up?
        up: bool,
    },
    /// A ping of a link was answered.
    RoundTrip {
        /// By whom.
        peer: NodeId,
        /// After this long.
        took: Duration,
    },
    /// A transport to a peer is silent while the other flows (`None`: no longer).
    Asymmetric {
        /// Whose.
        peer: NodeId,
        /// Which is missing.
        missing: Option<Transport>,
    },
    /// The view of members changed and was then still for a second.
    Converged {
        /// From first change to last.
        took: Duration,
    },
    /// A worker's status changed.
    Worker(workers::StatusChange),
    /// A worker's entry changed in any way (`removed`: is gone); its snapshot is published.
    WorkerChanged {
        /// Canonical URL.
        url: String,
    },
    /// Something about a credential, or about where they are kept.
    Credential(credentials::Event),
    /// Something became of a pool; its snapshot is published.
    Pool(pools::Event),
    /// Who leads the agreed log, as far as is known here.
    Led {
        /// In which term.
        term: u64,
        /// Who, if anybody.
        leader: Option<NodeId>,
        /// Whether this node does, and knows all that is committed.
        here: bool,
    },
    /// A watch of the consistent store hears something.
    Watched {
        /// Which.
        watch: Ticket,
        /// What.
        event: kv::Event,
    },
    /// The log holds an entry that this build does not understand: nothing behind it is applied.
    NeedsUpgrade {
        /// Where it stands.
        index: u64,
    },
    /// Another log was founded in this cluster: nothing merges them, an operator decides.
    GenesisConflict {
        /// Who keeps it: a node, or where it is.
        with: String,
    },
    /// A peer broke the rules.
    Misbehaved {
        /// Who, if known.
        peer: Option<NodeId>,
        /// Which rule.
        what: String,
    },
    /// A join attempt failed.
    JoinFailed {
        /// Whereto.
        seed: String,
        /// How often in a row.
        failures: u32,
    },
    /// The leave has ended: the process may stop.
    Stopped,
    /// Another process uses this node id: the process must end with exit 4.
    Duplicate {
        /// Where it is, if known.
        address: Option<SocketAddr>,
    },
}

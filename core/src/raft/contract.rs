//! What the log takes and gives: the whole interface of its services and of the node around it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use super::group::Timing;
use crate::ids::{MemberId, NodeId, Notice, Replica, Ticket};
use crate::limits;
use crate::time::Instant;
use crate::wire::Blob;
use crate::wire::raft::{Genesis, Idempotency, LogTime, Raft as Wire, Refusal, RequestId, Subject};

/// How the log is kept.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Settings {
    /// Whether this node may keep a copy.
    pub eligible: bool,
    /// Lower is chosen first.
    pub priority: u32,
    /// How many found the log together, at least; 0 waits to be added.
    pub expect: u8,
    /// How many may vote, at formation.
    pub voters_max: u8,
    /// How many may stand by.
    pub standbys_max: usize,
    /// Entries after which a snapshot is taken, if they are as many bytes as the last one was.
    pub snapshot_entries: u64,
    /// Bytes of entries after which a snapshot is taken in any case.
    pub snapshot_bytes: u64,
    /// Entries that are kept behind a snapshot.
    pub trailing_entries: u64,
    /// How long a failed member may return.
    pub dead_grace: Duration,
    /// Fences kept: as many as membership keeps.
    pub fences_max: usize,
    /// One tick.
    pub tick: Duration,
    /// Ticks between heartbeats.
    pub heartbeat_ticks: u64,
    /// Ticks without a leader before an election, at least; at most twice that.
    pub election_ticks: u64,
}

impl Settings {
    /// The defaults of one site.
    pub fn new() -> Settings {
        Settings {
            eligible: true,
            priority: 100,
            expect: 0,
            voters_max: 5,
            standbys_max: limits::RAFT_STANDBYS_MAX,
            snapshot_entries: 8192,
            snapshot_bytes: 64 * 1024 * 1024,
            trailing_entries: 4096,
            dead_grace: Duration::from_secs(30),
            fences_max: limits::FENCES_MAX,
            tick: Duration::from_millis(100),
            heartbeat_ticks: 3,
            election_ticks: 20,
        }
    }

    /// An election takes at least four heartbeats, whatever was asked for.
    pub(super) fn timing(&self) -> Timing {
        let heartbeat = self.heartbeat_ticks.max(1);
        let low = self.election_ticks.max(4 * heartbeat);
        Timing { heartbeat, election: (low, 2 * low) }
    }

    /// The shortest time without a leader before an election.
    pub(super) fn election_min(&self) -> Duration {
        let ticks = self.timing().election.0;
        self.tick.saturating_mul(u32::try_from(ticks).unwrap_or(u32::MAX))
    }
}

impl Default for Settings {
    fn default() -> Settings {
        Settings::new()
    }
}

/// What can happen to the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// Everything stands: begin. Once, first.
    Start,
    /// A service wants `payload` in the log; answered once, by `Output::Proposed`, at or before `deadline`.
    Propose {
        /// Whose business.
        subject: Subject,
        /// Echoed; unique within the subject.
        ticket: Ticket,
        /// The version of the payload.
        version: u8,
        /// The business.
        payload: Blob,
        /// When the caller stops waiting.
        deadline: Instant,
        /// The caller's own key, if it gave one.
        idempotency: Option<Idempotency>,
    },
    /// A service wants to read its own state here, linearizably; answered once, by `Output::ReadReady`.
    Read {
        /// Whose business.
        subject: Subject,
        /// Echoed; unique within the subject.
        ticket: Ticket,
        /// When the caller stops waiting.
        deadline: Instant,
    },
    /// A service wants an answer from the log's state, wherever a copy of that is; answered once, by
    /// `Output::Queried`.
    Query {
        /// Whose business.
        subject: Subject,
        /// Echoed; unique within the subject.
        ticket: Ticket,
        /// The business.
        question: Blob,
        /// When the caller stops waiting.
        deadline: Instant,
    },
    /// The service has applied the entry at `index`: the answer to `Output::Apply`. Nothing else of the log
    /// is applied before it.
    Applied {
        /// Which entry.
        index: u64,
        /// What the requester is told, now and whenever it asks again.
        outcome: Blob,
    },
    /// The answer to `Output::Answer`: what a service says to a query of another node.
    Answered {
        /// Echoed.
        number: u64,
        /// The business.
        answer: Blob,
    },
    /// The answer to `Output::NextPiece`.
    Piece {
        /// Echoed.
        number: u64,
        /// The next bytes of a service's state; none, if that was all of it.
        piece: Option<(Subject, Blob)>,
    },
    /// Whether a service waits for a moment of log time: while one does, the log's time moves visibly.
    Waiting {
        /// Which.
        subject: Subject,
        /// Does it?
        waits: bool,
    },
    /// A batch is durable.
    Stored {
        /// Which.
        number: u64,
    },
    /// A peer says something.
    Peer {
        /// Who.
        from: Replica,
        /// What.
        message: Wire,
    },
    /// What a node says about its copy of the log; nothing if it says nothing any more.
    Known {
        /// Who.
        node: NodeId,
        /// What.
        peer: Option<Peer>,
    },
    /// Who is behind the configured seeds.
    Seeds {
        /// Members; nothing, unless every address there is one's.
        behind: Option<BTreeSet<NodeId>>,
    },
    /// A link came up or went.
    Linked {
        /// To whom.
        node: NodeId,
        /// Up?
        up: bool,
    },
    /// A handshake came to nothing: whoever is there keeps another log.
    Conflict {
        /// Who, if that was said.
        node: Option<NodeId>,
        /// Where.
        address: SocketAddr,
    },
    /// What became of a replica.
    Notice(Notice),
    /// We are `replica` from now on.
    Raised {
        /// Which.
        replica: Replica,
    },
    /// An operator wants something.
    Operate {
        /// Echoed.
        ticket: Ticket,
        /// What.
        operation: Operation,
    },
    /// `next_wake` has passed.
    Tick,
}

/// What a node says about its copy of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Whose copy it would be, or is.
    pub member: Option<MemberId>,
    /// Which log it is, if it has begun.
    pub genesis: Option<Genesis>,
    /// Whether it may keep a copy.
    pub eligible: bool,
    /// Lower is chosen first.
    pub priority: u32,
    /// What fails together.
    pub zone: String,
    /// Whether it is about to leave.
    pub leaving: bool,
    /// With how many others it wants to form the log.
    pub expect: u8,
}

/// What an operator may ask of the log.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Operation {
    /// Hand the lead to this node, or to the best.
    Transfer {
        /// To whom.
        to: Option<NodeId>,
    },
    /// So many may vote from now on: 1, 3, 5 or 7.
    VotersMax {
        /// How many.
        voters_max: u8,
    },
}

/// What the log asks of the world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Apply this entry now, and answer with `Input::Applied`: a pure function of the state and this.
    /// Never given twice for one request.
    Apply {
        /// Where it stands.
        index: u64,
        /// The log's time at which it was written.
        log_time: LogTime,
        /// Whose business.
        subject: Subject,
        /// The version of the payload.
        version: u8,
        /// The business.
        payload: Blob,
        /// Who asked for it.
        request: Option<RequestId>,
    },
    /// Log time moved; nothing else happened at `index`. Needs no answer.
    Clock {
        /// Where it stands.
        index: u64,
        /// The log's time.
        log_time: LogTime,
    },
    /// The answer to `Propose`.
    Proposed {
        /// The caller's.
        subject: Subject,
        /// The caller's.
        ticket: Ticket,
        /// Where it stands and what its service said, or why not.
        result: Result<Committed, Refusal>,
    },
    /// The answer to `Read`: whatever was committed before the read is applied here.
    ReadReady {
        /// The caller's.
        subject: Subject,
        /// The caller's.
        ticket: Ticket,
        /// Through which index the state here is certain, or why not.
        result: Result<u64, Refusal>,
    },
    /// Answer a query from the state as it is now, with `Input::Answered`.
    Answer {
        /// Echoed.
        number: u64,
        /// Whose business.
        subject: Subject,
        /// The business.
        question: Blob,
    },
    /// The answer to `Query`.
    Queried {
        /// The caller's.
        subject: Subject,
        /// The caller's.
        ticket: Ticket,
        /// The answer and the index that it includes, or why not.
        result: Result<Committed, Refusal>,
    },
    /// Hold every service's state as it is now: pieces of it are asked for, until its end or another one is to be held.
    Freeze {
        /// Of the snapshot.
        number: u64,
    },
    /// Give the next piece of what is held, of at most [`PIECE_BYTES`](limits::RAFT_PIECE_BYTES).
    NextPiece {
        /// Of the snapshot.
        number: u64,
    },
    /// The state of every service is this from now on; one that is not mentioned is empty.
    Restore {
        /// The last entry included.
        index: u64,
        /// The log's time there.
        log_time: LogTime,
        /// By subject.
        sections: BTreeMap<Subject, Blob>,
    },
    /// Who leads, as far as is known here.
    Led {
        /// In which term.
        term: u64,
        /// Who, if anybody.
        leader: Option<NodeId>,
        /// Whether it is this node, and it may propose.
        here: bool,
    },
    /// Make rows durable, whole or not at all and in order; answered by `Stored`.
    Store {
        /// Echoed.
        number: u64,
        /// Rows to write or, without a value, to delete.
        rows: Vec<Row>,
    },
    /// Tell a peer.
    Send {
        /// Whom.
        to: NodeId,
        /// What.
        message: Wire,
    },
    /// The answer to `Operate`.
    Operated {
        /// The operator's.
        ticket: Ticket,
        /// Done, or why not.
        result: Result<(), Refusal>,
    },
    /// What this node says about its copy of the log has changed.
    Tell,
    /// An entry that this build does not understand: it applies nothing more.
    NeedsUpgrade {
        /// Where it stands.
        index: u64,
    },
    /// Another log was founded in this cluster: nothing merges them.
    Conflict {
        /// Who keeps it: a node, or where it is.
        with: String,
    },
    /// A peer broke the rules.
    Misbehaved {
        /// Who.
        peer: NodeId,
        /// Which rule.
        what: &'static str,
    },
}

/// An entry that stands in the log and was applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// Where.
    pub index: u64,
    /// What its service said.
    pub outcome: Blob,
}

/// One row of what is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Where it is kept.
    pub room: Room,
    /// Its key there.
    pub key: String,
    /// Its value; none deletes it.
    pub value: Option<Blob>,
}

/// A room of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Room {
    /// Entries, by index.
    Log,
    /// Term, vote and commit; which log this is and whose copy.
    Hard,
    /// Pieces of snapshots, and which one is current.
    Snapshot,
}

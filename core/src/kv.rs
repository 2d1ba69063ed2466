//! Keys and values that everybody agrees on.
//!
//! A small linearizable store: keys with revisions, transactions, leases, watches and locks. What is agreed
//! is a log of [`Command`]s; every replica applies them to the same [`State`], and any clone of that state is
//! a consistent view which costs nothing to keep.
//!
//! ```text
//!   caller ─ Request ─▶ Kv ─ Propose ─▶ the log ─ Apply ─▶ State ─▶ Outcome ─ Proposed ─▶ Answer ─▶ caller
//!                        └─ Read ─▶ ReadReady ─▶ State ─▶ Answer        └─▶ watches, lines of locks
//!                        └─ Query ─▶ another node's State ─▶ Queried     where no copy is kept
//! ```
//!
//! Reading order: [`name`] says what a key is, [`command`] what the log carries, [`state`] what it makes,
//! [`ask`] what can be read, [`watch`] who hears of changes, and [`machine`] is the one `match` that holds
//! them together.
//!
//! Invariants held here: KV-2 to KV-6 and KV-8 of the specification; each is named where it is kept. KV-1 and
//! KV-9 are properties of histories.
//!
//! Absent on purpose: how agreement is reached, sessions, secondary indexes, locks that end with membership,
//! and a clock: leases live in log time.

pub mod ask;
pub mod command;
pub mod machine;
pub mod name;
pub mod state;
pub mod view;
pub mod watch;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ids::Ticket;
use crate::limits;
use crate::time::Instant;
use crate::wire::Blob;

pub use ask::{Changed, Found, LeaseTold, Line, Question, Told, Waiting};
pub use command::{
    Acquire, Binding, Bounds, Command, Compare, Done, Hold, Holder, Invalid, Item, LeaseId, Limit,
    Operation, Outcome, Refusal, Relation, Than, Transaction, Version,
};
pub use machine::Kv;
pub use name::{Key, Keys, Lock, LockName, NameError, Namespace, Path};
pub use state::{Cause, Compacted, Page, State, What};
pub use view::View;
pub use watch::WatchRequest;

/// The version of commands and outcomes that this build writes.
pub const VERSION: u8 = 1;

/// What a node asks of the store, and what the store may hold if this node leads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// How long a call waits, where the caller does not say.
    pub deadline: Duration,
    /// What may be held.
    pub bounds: Bounds,
    /// Bytes of a value that callers here may write.
    pub value_max: usize,
    /// Operations of a transaction of callers here.
    pub transaction_operations_max: usize,
    /// Bytes of a transaction of callers here.
    pub transaction_bytes_max: usize,
    /// Revisions of history to leave.
    pub history_revisions: u64,
    /// Time of history to leave.
    pub history: Duration,
    /// Bytes of history beyond which more is forgotten.
    pub history_bytes: u64,
    /// Watches.
    pub watches_max: usize,
    /// Changes that wait for a watcher.
    pub watch_buffer_changes: usize,
    /// Bytes that wait for a watcher.
    pub watch_buffer_bytes: u64,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            deadline: Duration::from_secs(5),
            bounds: Bounds::default(),
            value_max: limits::KV_VALUE_BYTES_MAX,
            transaction_operations_max: limits::KV_TRANSACTION_OPERATIONS_MAX,
            transaction_bytes_max: limits::KV_TRANSACTION_BYTES_MAX,
            history_revisions: limits::KV_HISTORY_REVISIONS,
            history: limits::KV_HISTORY,
            history_bytes: limits::KV_HISTORY_BYTES,
            watches_max: limits::KV_WATCHES_MAX,
            watch_buffer_changes: limits::KV_WATCH_BUFFER_CHANGES,
            watch_buffer_bytes: limits::KV_WATCH_BUFFER_BYTES,
        }
    }
}

/// What can happen to the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A caller wants something; answered once.
    Request {
        /// Echoed.
        ticket: Ticket,
        /// What.
        request: Request,
        /// Who.
        origin: Origin,
        /// How long the caller waits; `None` is the configured time.
        within: Option<Duration>,
        /// What makes a retry recognisable.
        once: Option<Once>,
    },
    /// An entry of the log; answered at once.
    Apply {
        /// Where it stands.
        index: u64,
        /// The log's time.
        log_time: u64,
        /// Of the payload.
        version: u8,
        /// An encoded [`Command`].
        payload: Blob,
    },
    /// The log's time moved.
    Clock {
        /// Where it stands.
        index: u64,
        /// The log's time.
        log_time: u64,
    },
    /// What became of a proposal.
    Proposed {
        /// Ours.
        ticket: Ticket,
        /// An encoded [`Outcome`], or why not.
        result: Result<Blob, Unavailable>,
    },
    /// The state here may be read.
    ReadReady {
        /// Ours.
        ticket: Ticket,
        /// Or why not.
        result: Result<(), Unavailable>,
    },
    /// Another node answered.
    Queried {
        /// Ours.
        ticket: Ticket,
        /// An encoded [`Told`], or why not.
        result: Result<Blob, Unavailable>,
    },
    /// Another node asks; answered at once.
    Answer {
        /// Echoed.
        number: u64,
        /// An encoded [`Question`].
        question: Blob,
    },
    /// Whether this node leads: then it sees to time and history.
    Led {
        /// Does it?
        here: bool,
    },
    /// Whether this node keeps a copy of the log.
    Copy {
        /// Does it?
        here: bool,
    },
    /// The state as it is now is to be held, for a snapshot.
    Freeze {
        /// Of the snapshot.
        number: u64,
    },
    /// The next piece of what is held is wanted; answered at once.
    NextPiece {
        /// Of the snapshot.
        number: u64,
    },
    /// The state is this from now on.
    Restore {
        /// The last entry included.
        index: u64,
        /// The log's time there.
        log_time: u64,
        /// What `Output::Section` gave; `None` is nothing.
        section: Option<Blob>,
    },
    /// A caller wants to hear of changes.
    Watch {
        /// Names the watch.
        ticket: Ticket,
        /// Of which.
        request: WatchRequest,
    },
    /// Everything through `revision` was taken off the host's hands.
    Taken {
        /// Which watch.
        ticket: Ticket,
        /// Through where.
        revision: u64,
    },
    /// A caller wants no more.
    Unwatch {
        /// Which watch.
        ticket: Ticket,
    },
    /// New settings were read.
    Reload {
        /// All of them.
        settings: Box<Settings>,
    },
    /// `next_wake` has passed.
    Tick,
}

/// What the store asks of the world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Put this into the log; answered by `Proposed`.
    Propose {
        /// Ours.
        ticket: Ticket,
        /// An encoded [`Command`].
        payload: Blob,
        /// When we stop waiting.
        deadline: Instant,
        /// The caller's own key.
        once: Option<Once>,
    },
    /// Make sure that our state is not behind; answered by `ReadReady`.
    Read {
        /// Ours.
        ticket: Ticket,
        /// When we stop waiting.
        deadline: Instant,
    },
    /// Ask a node with a copy; answered by `Queried`.
    Query {
        /// Ours.
        ticket: Ticket,
        /// An encoded [`Question`].
        question: Blob,
        /// When we stop waiting.
        deadline: Instant,
    },
    /// The answer to `Apply`.
    Applied {
        /// Which entry.
        index: u64,
        /// An encoded [`Outcome`].
        outcome: Blob,
    },
    /// The answer to `Answer`.
    Answered {
        /// Echoed.
        number: u64,
        /// An encoded [`Told`]; empty if the question was none.
        answer: Blob,
    },
    /// The answer to `NextPiece`.
    Piece {
        /// Echoed.
        number: u64,
        /// The next bytes; none at the end.
        piece: Option<Blob>,
    },
    /// Whether a lease waits for a moment of log time.
    Waiting {
        /// Does one?
        waits: bool,
    },
    /// Answer a caller.
    Reply {
        /// The request's.
        ticket: Ticket,
        /// The answer.
        answer: Answer,
    },
    /// Tell a watcher.
    Watched {
        /// Which watch.
        ticket: Ticket,
        /// What.
        event: Event,
    },
    /// A peer broke the rules.
    Misbehaved {
        /// Which rule.
        what: &'static str,
    },
}

/// Who wants something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// Somebody outside: reserved namespaces cannot be written.
    Caller,
    /// Quorate's own domains.
    Domain,
}

/// What makes a caller's retry recognisable, at any node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Once {
    /// Hash of actor, key, method and path.
    pub key: [u8; 16],
    /// Hash of the body.
    pub body: [u8; 8],
}

/// A caller's wish.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Read something.
    Ask {
        /// What.
        question: Question,
        /// How fresh.
        mode: Mode,
        /// Wait until the state has come so far.
        min_revision: u64,
    },
    /// Write one key.
    Put {
        /// Whose.
        namespace: Namespace,
        /// Which.
        key: Key,
        /// Its bytes.
        value: Blob,
        /// What it is bound to.
        lease: Binding,
        /// Only then.
        condition: Option<Condition>,
        /// Answer with the version before.
        previous: bool,
    },
    /// Delete keys.
    Delete {
        /// Whose.
        namespace: Namespace,
        /// Which.
        keys: Keys,
        /// Only then; with one key.
        condition: Option<Condition>,
    },
    /// Reads and writes under conditions.
    Transact(Transaction),
    /// A new lease.
    Grant {
        /// How long it lives without a renewal.
        ttl_ms: u64,
    },
    /// The lease lives on.
    KeepAlive(LeaseId),
    /// The lease ends.
    Revoke(LeaseId),
    /// Forget older versions.
    Compact {
        /// Older than those visible at this revision.
        revision: u64,
    },
    /// Hold a lock or semaphore.
    Acquire {
        /// Which, by what, how many.
        acquire: Acquire,
        /// How long to stand in line.
        wait: Duration,
    },
    /// Give a permit back.
    Release {
        /// Of what.
        lock: Lock,
        /// Which.
        hold: Hold,
    },
}

/// How fresh an answer must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// It holds everything that was acknowledged before.
    Linearizable,
    /// What is here, at once.
    Local,
}

/// What must hold for a single write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// There is no such key.
    Absent,
    /// There is one.
    Present,
    /// Its last change is of this revision.
    ModRevision(u64),
    /// It was put so often.
    Version(u64),
    /// Its bytes are these.
    Value(Blob),
}

/// The answer to a [`Request`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// What was read.
    Told(Told),
    /// What a transaction, a put or a delete did.
    Transacted {
        /// Whether the conditions held.
        succeeded: bool,
        /// The revision after it.
        revision: u64,
        /// One for each operation.
        results: Vec<Done>,
    },
    /// A lease was granted or renewed.
    Lease {
        /// Which.
        lease: LeaseId,
        /// How long it lives.
        ttl_ms: u64,
    },
    /// A lease ended.
    Ended {
        /// The revision after it.
        revision: u64,
        /// How many keys went.
        deleted: u64,
    },
    /// Older versions are forgotten.
    Compacted(Compacted),
    /// The caller holds.
    Held {
        /// By this lease.
        lease: LeaseId,
        /// Greater than that of every holder before.
        fence: u64,
    },
    /// The permit was given back.
    Released {
        /// The revision after it.
        revision: u64,
    },
    /// It was done before; what it said then was too long to be kept.
    Forgotten {
        /// The revision after it.
        revision: u64,
    },
    /// No.
    Failed(Failure),
}

/// Why a caller did not get what it wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// The state refused.
    #[error(transparent)]
    Refused(Refusal),
    /// The namespace is changed by calls of its own.
    #[error("the namespace `{0}` belongs to Quorate and is changed by calls of its own")]
    Reserved(Namespace),
    /// More than this node takes of a caller.
    #[error("more than `{}` allows", .0.key())]
    TooLarge(Size),
    /// The condition of a single write does not hold.
    #[error("the key is not as the condition wants it; read it again")]
    Precondition {
        /// The revision that was looked at.
        revision: u64,
        /// The key as it is.
        current: Option<Item>,
    },
    /// Others hold, and did not let go in time.
    #[error("others hold it; wait longer, or try again")]
    Contended {
        /// Who stood there when the wait began.
        line: Line,
        /// How many stood before.
        position: u64,
    },
    /// This node keeps no copy to read.
    #[error("this node keeps no copy; ask one that does, or read linearizably")]
    NotHere,
    /// The state did not come so far in time.
    #[error("the revision {min_revision} did not arrive in time; it is {revision}")]
    Behind {
        /// Asked for.
        min_revision: u64,
        /// Here.
        revision: u64,
    },
    /// Too many watches.
    #[error("`kv.watches_max` is reached at this node; close one, or watch at another")]
    Watches,
    /// The log did not do it, or nobody knows.
    #[error(transparent)]
    Unavailable(Unavailable),
}

/// How much one call may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Size {
    /// Bytes of a value.
    Value,
    /// Operations of a transaction.
    Operations,
    /// Bytes of a transaction.
    Bytes,
}

impl Size {
    /// Its key in a configuration.
    pub fn key(self) -> &'static str {
        match self {
            Size::Value => "kv.value_max",
            Size::Operations => "kv.txn_operations_max",
            Size::Bytes => "kv.txn_bytes_max",
        }
    }
}

/// Why the log did not do something.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, thiserror::Error,
)]
#[serde(rename_all = "snake_case")]
pub enum Unavailable {
    /// Too much waits.
    #[error("too many calls wait; try again later")]
    QueueFull,
    /// It may have happened.
    #[error(
        "it may or may not have happened; read before repeating, or repeat it with the same key"
    )]
    Ambiguous,
    /// Nothing was done: no leader with a quorum answered.
    #[error("no leader with a quorum answered in time; nothing was done")]
    NoQuorum,
    /// The key of a retry was used with another body.
    #[error("the idempotency key was used with another body")]
    IdempotencyMismatch,
    /// Not every member understands it yet.
    #[error("not every member understands this yet; finish the upgrade")]
    NeedsUpgrade,
    /// This node keeps no copy.
    #[error("this node keeps no copy")]
    NotHere,
}

/// What a watcher hears.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// Everything that matches and was changed at one revision.
    Changes {
        /// Which.
        revision: u64,
        /// In order of key.
        changes: Vec<Changed>,
    },
    /// Nothing at or below this revision is still to come.
    Progress {
        /// Which.
        revision: u64,
    },
    /// What should come next is forgotten; the watch has ended.
    Compacted(Compacted),
    /// The watch was refused; it has ended.
    Refused(Box<Failure>),
}

#[cfg(test)]
mod tests;

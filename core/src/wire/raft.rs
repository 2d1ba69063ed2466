//! What members of the agreed log say to each other, and what others ask of them.
//!
//! These are our own values in the codec of [`super`]: the engine's own encoding of messages never crosses
//! the network or the disk.

use serde::{Deserialize, Serialize};

use super::founding::Word;
use super::{Blob, List};
use crate::ids::{MemberId, NodeId, Replica};
use crate::limits;

/// A subject of the log, by number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Subject(pub u8);

impl Subject {
    /// The log's own entries: settings, retirements, the clock.
    pub const RAFT: Subject = Subject(0);
    /// Who owns which name.
    pub const NAMES: Subject = Subject(1);
    /// The consistent store.
    pub const KV: Subject = Subject(2);
    /// All that this build knows.
    pub const ALL: [Subject; 3] = [Subject::RAFT, Subject::NAMES, Subject::KV];

    /// Its name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Subject::RAFT => "raft",
            Subject::NAMES => "names",
            Subject::KV => "kv",
            Subject(_) => "unknown",
        }
    }

    /// Whether this build knows it.
    pub fn is_known(self) -> bool {
        Subject::ALL.contains(&self)
    }
}

impl std::fmt::Debug for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.name(), self.0)
    }
}

/// Which log it is: drawn when the cluster formed it.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
pub struct Genesis(pub u128);

/// Milliseconds since genesis, moved by monotonic clocks alone.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
pub struct LogTime(pub u64);

/// A request to the log, unique for ever.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct RequestId {
    /// Who asks.
    pub replica: Replica,
    /// Its number, from 1.
    pub number: u64,
}

/// What makes a caller's retry through another node recognisable.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Idempotency {
    /// Hash of actor, key, method and path.
    pub key: [u8; 16],
    /// Hash of the body.
    pub body: [u8; 8],
}

/// Everything that is said about the log over a link.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Raft {
    /// Between members.
    Message(Message),
    /// A request to the leader, or to any member for a read.
    Request(Request),
    /// Its answer.
    Reply(Reply),
    /// A piece of a snapshot; class `bulk`.
    Chunk(Chunk),
    /// A piece arrived.
    ChunkTaken(ChunkTaken),
    /// Before there is a log.
    Founding(Word),
}

/// The engine's message.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Message {
    /// Of which log.
    pub genesis: Genesis,
    /// What it says.
    pub kind: MessageKind,
    /// Which copy of the log sent it.
    pub from: MemberId,
    /// Which copy it is for.
    pub to: MemberId,
    /// The sender's term; 0 where the engine treats the message as local.
    pub term: u64,
    /// Term of the entry at `index`.
    pub log_term: u64,
    /// What follows stands behind this index.
    pub index: u64,
    /// Entries, contiguous.
    pub entries: List<Entry, { limits::RAFT_MESSAGE_ENTRIES_MAX }>,
    /// Commit index.
    pub commit: u64,
    /// Term of the entry at `commit`.
    pub commit_term: u64,
    /// Whether it refuses.
    pub reject: bool,
    /// Where to try next.
    pub reject_hint: u64,
    /// The engine's own context: a read's number, or why an election is held.
    pub context: Blob,
    /// The snapshot that the receiver already holds, piece by piece.
    pub snapshot: Option<SnapshotId>,
    /// Election priority.
    pub priority: i64,
}

/// See [`Message::kind`]. The engine's local messages, and proposals, never travel.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum MessageKind {
    /// Entries of a leader.
    Append,
    /// What became of them.
    AppendReply,
    /// Vote for me.
    Vote,
    /// The vote.
    VoteReply,
    /// Would you vote for me?
    PreVote,
    /// The answer.
    PreVoteReply,
    /// A leader lives.
    Heartbeat,
    /// It was heard.
    HeartbeatReply,
    /// Take the snapshot.
    Snapshot,
    /// Hold an election now.
    TimeoutNow,
    /// Through where is the log certain?
    ReadIndex,
    /// Through here.
    ReadIndexReply,
}

/// One entry of the log.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// Term of the leader that wrote it.
    pub term: u64,
    /// Where it stands.
    pub index: u64,
    /// Whether it changes the configuration.
    pub configuration: bool,
    /// An encoded [`Proposal`], an encoded [`Change`], or nothing.
    pub payload: Blob,
}

/// What an entry of a service holds.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Proposal {
    /// Its subject.
    pub subject: Subject,
    /// The version of its payload.
    pub version: u8,
    /// Which request it is.
    pub request: Option<RequestId>,
    /// Every request of this replica below this number has been answered to its caller.
    pub done_below: u64,
    /// The log's time.
    pub log_time: LogTime,
    /// The caller's own key.
    pub idempotency: Option<Idempotency>,
    /// The subject's business.
    pub payload: Blob,
}

/// What an entry that changes the configuration holds.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Change {
    /// In order.
    pub steps: List<ChangeStep, { limits::RAFT_CHANGE_STEPS_MAX }>,
    /// Through a joint configuration, or in one step.
    pub joint: bool,
    /// Where the members named here are.
    pub nodes: List<(MemberId, NodeId), { limits::RAFT_CHANGE_STEPS_MAX }>,
}

/// One step of a [`Change`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum ChangeStep {
    /// Becomes a voter.
    Voter(MemberId),
    /// Becomes a learner.
    Learner(MemberId),
    /// Leaves.
    Remove(MemberId),
}

/// Who a snapshot is of, and of which point.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct SnapshotId {
    /// The last entry it includes.
    pub index: u64,
    /// That entry's term.
    pub term: u64,
    /// Which of several of the same point: they may differ in configuration.
    pub number: u64,
}

/// A piece of a snapshot.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Chunk {
    /// Of which log.
    pub genesis: Genesis,
    /// For which copy of the log.
    pub to: MemberId,
    /// Of which snapshot.
    pub snapshot: SnapshotId,
    /// All of its bytes.
    pub size_bytes: u64,
    /// Where this piece stands.
    pub offset: u64,
    /// xxh3-64 of `bytes`.
    pub checksum: u64,
    /// The piece.
    pub bytes: Blob,
}

/// The answer to a [`Chunk`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ChunkTaken {
    /// Of which log.
    pub genesis: Genesis,
    /// Whose answer.
    pub from: MemberId,
    /// Of which snapshot.
    pub snapshot: SnapshotId,
    /// How much of it is here, from its beginning on.
    pub offset: u64,
}

/// What a node asks of another about the log.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Request {
    /// Which request; the reply names it.
    pub id: RequestId,
    /// How long its caller still waits.
    pub remaining_ms: u64,
    /// What.
    pub ask: Ask,
}

/// See [`Request::ask`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Ask {
    /// Put this into the log.
    Propose {
        /// Its subject.
        subject: Subject,
        /// The version of its payload.
        version: u8,
        /// See [`Proposal::done_below`].
        done_below: u64,
        /// The caller's own key.
        idempotency: Option<Idempotency>,
        /// The subject's business.
        payload: Blob,
    },
    /// Answer this from the state of the log as it is now or later.
    Query {
        /// Of which subject.
        subject: Subject,
        /// The subject's business.
        question: Blob,
    },
}

/// The answer to a [`Request`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Reply {
    /// The request's.
    pub id: RequestId,
    /// What became of it.
    pub answer: Answer,
}

/// See [`Reply::answer`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Answer {
    /// It stands in the log and was applied.
    Committed {
        /// Where.
        index: u64,
        /// What the subject said.
        outcome: Blob,
    },
    /// The answer to a query.
    Answered {
        /// The state that it is of includes this entry.
        index: u64,
        /// The subject's business.
        answer: Blob,
    },
    /// Ask somebody else; the leader, if known.
    NotLeader {
        /// Who leads.
        hint: Option<NodeId>,
    },
    /// It was not put into the log, or nobody will know whether it was.
    Refused(Refusal),
}

/// Why a request came to nothing.
#[derive(
    Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize, thiserror::Error,
)]
pub enum Refusal {
    /// Too much waits; ask again later.
    #[error("too many requests wait for the log; try again later")]
    QueueFull,
    /// It may or may not have happened: repeating it with the same key is safe.
    #[error("nobody knows whether it was applied; repeat it with the same idempotency key")]
    Ambiguous,
    /// No leader with a quorum was found within the deadline; nothing was done.
    #[error("no leader with a quorum answered in time")]
    NoQuorum,
    /// The payload is larger than an entry may be.
    #[error("{bytes} bytes are more than the {max} of an entry")]
    TooLarge {
        /// What was there.
        bytes: u64,
        /// What is allowed.
        max: u64,
    },
    /// The id lies below what its replica has declared done.
    #[error("the request is older than what its sender declared done")]
    TooOld,
    /// The id lies above what may be outstanding.
    #[error("the request is too far ahead of what its sender declared done")]
    TooNew,
    /// Its replica is gone for good.
    #[error("the replica that asked is gone for good")]
    Retired,
    /// The key was used with another body.
    #[error("the idempotency key was used with another body")]
    IdempotencyMismatch,
    /// Not every member understands this subject or version yet.
    #[error("not every member understands this request yet")]
    NeedsUpgrade,
    /// Only the leader can do it.
    #[error("this node does not lead the log")]
    NotLeader,
    /// No log was formed yet.
    #[error("the cluster has no log yet")]
    NotFormed,
    /// This node keeps no copy of the log; ask one that does.
    #[error("this node keeps no copy of the log")]
    NotHere,
}

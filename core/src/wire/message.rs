//! What nodes say to each other, over links and in datagram sections alike.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::segment::{Progress, Segment, Topic};
use super::{Blob, List};
use crate::ids::{Incarnation, NodeId, Replica};
use crate::limits;

/// The payload of a `control` frame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Control {
    /// Are you there? With what the sender has of the receiver's own maps, and the floors of its own.
    Ping(Ping),
    /// The answer, with the floors of the answerer's own maps.
    Pong(Pong),
    /// The receiver was given up for dead.
    Departed(Departed),
    /// A replica was forgotten and will not be heard again.
    Retired(Retired),
    /// What members of the agreed log say to each other, as they encode it.
    Raft(Blob),
    /// A question that waits for its reply.
    Request(Request),
    /// The reply.
    Reply(Reply),
    /// Sequenced frames arrived.
    Acknowledged(Acknowledged),
    /// A message of somebody who has no link to its target.
    Relay(Relay),
}

/// The payload of a `gossip` frame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Gossip {
    /// Fresh segments of the sender, or the answer to a pull.
    Segments(Segments),
    /// A digest; it goes by link only where datagrams do not get through.
    Digest(Digest),
    /// What the sender has, for the buckets that differed.
    Rows(Rows),
    /// What the sender wants.
    Pull(Pull),
    /// The member list of one side.
    Members(Members),
    /// A SWIM packet that fell back to the link.
    Swim(Blob),
}

/// See [`Control::Ping`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ping {
    /// Echoed by the pong.
    pub number: u64,
    /// Per topic, through where the sender is complete of the receiver's map.
    pub complete: List<(Topic, u64), { limits::TOPICS_MAX }>,
    /// Per topic, the floor of the sender's own map.
    pub floors: List<(Topic, u64), { limits::TOPICS_MAX }>,
}

/// See [`Control::Pong`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pong {
    /// The ping's number.
    pub number: u64,
    /// As in the ping: what the answerer has of the pinger's maps.
    pub complete: List<(Topic, u64), { limits::TOPICS_MAX }>,
    /// Per topic, the floor of the answerer's own map.
    pub floors: List<(Topic, u64), { limits::TOPICS_MAX }>,
}

/// You, in this incarnation, are held failed by the sender.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Departed {
    /// Which life is over.
    pub incarnation: Incarnation,
}

/// No replica of `node` at or below `fence` is accepted any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retired {
    /// Whose.
    pub node: NodeId,
    /// Through which life.
    pub fence: Incarnation,
}

/// See [`Control::Request`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Who asks.
    pub from: Replica,
    /// Which of its requests; never used again.
    pub number: u64,
    /// How long it still waits.
    pub remaining_ms: u64,
    /// The question, as its domain encodes it.
    pub body: Blob,
}

/// See [`Control::Reply`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// Who asked.
    pub to: Replica,
    /// Which of its requests.
    pub number: u64,
    /// The answer, as its domain encodes it.
    pub body: Blob,
}

/// See [`Control::Acknowledged`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledged {
    /// Whose frames.
    pub sender: Incarnation,
    /// Through which of them everything has arrived.
    pub sequence: u64,
}

/// See [`Control::Relay`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relay {
    /// For whom.
    pub to: NodeId,
    /// Of whom.
    pub from: Replica,
    /// An encoded [`Control`] that may be relayed.
    pub body: Blob,
}

/// See [`Gossip::Segments`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segments {
    /// At most [`limits::SEGMENTS_BYTES_MAX`] together.
    pub segments: List<Segment, { limits::SEGMENTS_MAX }>,
    /// The pull that this answers, and for which replicas there is more to ask on for.
    pub answers: Option<u64>,
}

/// Bucket hashes over the progress of every owner map held, and of the shared map's groups.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digest {
    /// Members that the sender knows.
    pub members: u16,
    /// One xxh3-64 per bucket of owner maps, each 8 bytes little endian.
    pub owners: Blob,
    /// One xxh3-64 per group of shards, each 8 bytes little endian.
    pub shared: Blob,
}

/// What one node has of some maps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rows {
    /// A final answer is not answered.
    pub last: bool,
    /// Which buckets of the digest these rows are all of.
    pub buckets: u64,
    /// One row per map.
    pub rows: List<Row, { limits::ROWS_MAX }>,
}

/// Progress on one map.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// Of what.
    pub topic: Topic,
    /// Whose.
    pub replica: Replica,
    /// How far.
    pub progress: Progress,
}

/// See [`Gossip::Pull`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pull {
    /// Echoed by the answer.
    pub number: u64,
    /// From where on, per map.
    pub wants: List<Want, { limits::PULLS_PER_MESSAGE_MAX }>,
}

/// One map that is behind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Want {
    /// Of what.
    pub topic: Topic,
    /// Whose.
    pub replica: Replica,
    /// Exclusive lower end of what is wanted.
    pub from: u64,
}

/// See [`Gossip::Members`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Members {
    /// What the list is meant for.
    pub purpose: Purpose,
    /// Whom the sender knows, itself included; of a question and its answer, whom it is about.
    pub members: List<Listed, { limits::LISTED_MAX }>,
}

/// What a member list is meant for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Purpose {
    /// To be taken in.
    News,
    /// To be taken in, and answered with the receiver's list.
    Exchange,
    /// These are held failed by the sender: does the receiver know better?
    Question,
    /// The answer to a question: what is known better.
    Correction,
}

/// One member as another sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// Who, in which life.
    pub replica: Replica,
    /// The life in which its process started.
    pub born: Incarnation,
    /// Where its links and datagrams arrive.
    pub address: SocketAddr,
    /// The refutation counter inside this life.
    pub refutation: u16,
    /// What is thought of it.
    pub state: ListedState,
}

/// See [`Listed`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ListedState {
    /// Not doubted.
    Alive,
    /// Doubted.
    Suspect,
    /// Given up, or gone by itself.
    Down,
}

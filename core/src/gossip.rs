//! Who still owes whom what: bytes and progress, never meaning.

use std::time::Duration;

use crate::ids::{NodeId, Notice, Replica};
use crate::machine::{Count, Counted, Machine, Wake};
use crate::random::Rng;
use crate::time::Instant;
use crate::wire::Transport;
use crate::wire::datagram::Kind;
use crate::wire::message::{Digest, Pull, Rows};
use crate::wire::segment::{Progress, Segment, Topic};

/// How gossip is paced.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Settings {
    /// Time between two rounds, ± 10 %.
    pub interval: Duration,
    /// Members a round goes to.
    pub fanout: usize,
    /// Datagrams per target and round.
    pub burst: u32,
    /// Time between two digests, ± 10 %.
    pub digest_interval: Duration,
    /// Members up to which direct push is used.
    pub direct_max: usize,
    /// How long a pull waits.
    pub pull_timeout: Duration,
    /// Items that wait per topic.
    pub backlog_max: usize,
}

/// What can happen to gossip.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// Our own map has grown by `(from, upto]`.
    Written { topic: Topic, replica: Replica, from: u64, upto: u64 },
    /// A foreign map moved and changed.
    Applied { topic: Topic, replica: Replica, from: u64, upto: u64, learnt_from: NodeId },
    /// What is held of a map now; `None` when it was dropped.
    Progress { topic: Topic, replica: Replica, progress: Option<Progress> },
    /// A segment lies beyond our progress.
    Gap { topic: Topic, replica: Replica, from: NodeId, through: u64 },
    /// What membership noticed.
    Notice(Notice),
    /// The link to `peer` came up or went.
    Link { peer: NodeId, up: bool },
    /// A peer acknowledged a map through `complete` (in a ping, say).
    Acknowledged { peer: Replica, topic: Topic, replica: Replica, complete: u64 },
    /// A digest arrived.
    Digest { from: Replica, transport: Transport, digest: Digest },
    /// Rows arrived.
    Rows { from: Replica, transport: Transport, rows: Rows },
    /// A pull arrived.
    Pull { from: Replica, transport: Transport, pull: Pull },
    /// The segments that answer our pull `number` were applied.
    Pulled { from: Replica, number: u64, changed: bool },
    /// We are `replica` from now on.
    Raised { replica: Replica },
    /// Every foreign map is dropped.
    Slept,
    /// The link refused a direct push, or nobody could carry it: it becomes a rumour.
    PushRefused { topic: Topic, replica: Replica, from: u64, upto: u64 },
    /// Segments of `topic` arrived, or left by link; what the drain produced is counted by itself.
    Carried { topic: Topic, direction: Direction, bytes: usize },
    /// A segment changed nothing, or was refused.
    Unused { why: Unused },
    /// `next_wake` has passed.
    Tick,
}

/// Which way bytes went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// From here.
    Sent,
    /// To here.
    Received,
}

/// Why a segment that arrived moved nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unused {
    /// It named nothing new.
    Duplicate,
    /// Its producer knows less than a sweep demands.
    Stale,
    /// It broke its domain's rule.
    Foreign,
    /// Its owner is fenced.
    Fenced,
    /// Its owner is not known here, or not yet.
    Unknown,
}

/// What gossip asks of the world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Send `target` up to `datagrams` datagrams filled by the drain, stopping when it is empty.
    Round { target: NodeId, datagrams: u32 },
    /// Send one digest, by link only where datagrams do not get through.
    Digest { to: NodeId, digest: Digest },
    /// Send rows the way the digest came.
    Rows { to: NodeId, transport: Transport, rows: Rows },
    /// Ask for what is missing.
    Pull { to: NodeId, transport: Transport, pull: Pull },
    /// Answer a pull over the link, with at most 256 KiB of segments from the maps.
    Serve { to: NodeId, pull: Pull },
    /// Push these fresh intervals of our own maps to every connected peer, in one frame each.
    Push { fresh: Vec<(Topic, Replica, u64, u64)> },
    /// A peer has a map of ours, or of somebody, through `complete`: a digest's buckets were equal.
    Level { peer: Replica, topic: Topic, replica: Replica, complete: u64 },
    /// Rows of a peer show this of a map.
    Shown { topic: Topic, replica: Replica, head: u64, floor: u64 },
    /// A peer broke the rules.
    Misbehaved { peer: NodeId, what: &'static str },
}

/// Where the drain reads the bytes of an item when it is sent.
pub trait Source {
    /// The longest segment of `(from, upto]` whose encoding is at most `budget` bytes, cut by entry;
    /// `None` if not even its first entry fits, or the map is gone. An interval in which nothing
    /// survives gives a segment without entries.
    fn segment(
        &self,
        topic: Topic,
        replica: &Replica,
        from: u64,
        upto: u64,
        budget: usize,
    ) -> Option<Segment>;
}

/// What gossip holds back and owes.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Snapshot {
    /// One row per topic of this build.
    pub topics: Vec<TopicRow>,
    /// One row per member.
    pub peers: Vec<PeerRow>,
}

/// The backlog of one topic.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct TopicRow {
    /// Its name.
    pub topic: &'static str,
    /// Items that wait.
    pub queued: u64,
    /// Items that ever waited.
    pub enqueued: u64,
    /// Items that were sent often enough.
    pub retired: u64,
    /// Items that went for any other reason.
    pub dropped: u64,
}

/// What is known of one member.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct PeerRow {
    /// Who.
    pub id: NodeId,
    /// Entries that its last rows lacked, as far as these told.
    pub behind: u64,
    /// When its last digest arrived, on this node's clock.
    pub last_digest: Option<Instant>,
}

/// Gossip, as a machine. It never holds a map: progress arrives as [`Input::Progress`], bytes come from a
/// [`Source`] when a datagram is filled.
#[derive(Debug)]
pub struct Gossip {
    settings: Settings,
    local: Replica,
    rng: Rng,
}

impl Gossip {
    /// Gossip of `local`, which knows nobody yet.
    pub fn new(settings: Settings, local: Replica, _now: Instant, rng: Rng) -> Gossip {
        Gossip { settings, local, rng }
    }

    /// New settings, for whatever comes next.
    pub fn reload(&mut self, settings: Settings) {
        self.settings = settings;
    }

    /// Ends a turn: what it wrote is pushed, or becomes rumours. Once per turn, after all inputs.
    pub fn flush(&mut self, _now: Instant, _out: &mut Vec<Output>) {
        let _ = (&self.local, &mut self.rng);
    }

    /// Sections for a datagram to `target`, framed within `budget` bytes together. Called again within a
    /// turn for the same target it goes on where it stopped; nothing comes when nothing is left.
    pub fn drain(
        &mut self,
        _target: &NodeId,
        _budget: usize,
        _source: &impl Source,
    ) -> Vec<(Kind, Vec<u8>)> {
        Vec::new()
    }

    /// What is held back and owed, for `GET /v0/operations/gossip`.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::default()
    }
}

impl Machine for Gossip {
    type Input = Input;
    type Output = Output;

    fn handle(&mut self, _now: Instant, _input: Input, _out: &mut Vec<Output>) {}

    fn next_wake(&self) -> Option<Wake> {
        None
    }
}

impl Counted for Gossip {
    fn counts(&self, _visit: &mut dyn FnMut(Count)) {}
}

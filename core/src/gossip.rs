//! Who still owes whom what: bytes and progress, never meaning.
//!
//! Three mechanisms move segments of owner maps, each enough for a different reason:
//!
//! | mechanism | carries | makes it |
//! | --- | --- | --- |
//! | direct push ([`Gossip::flush`]) | a turn's fresh intervals, to every connected peer | immediate |
//! | rumour (`backlog`, `drain`) | fresh intervals to a few random members, forwarded on first receipt | fast, through any path |
//! | digest → rows → pull (`ledger`, `exchange`, `pull`) | what differs | certain |
//!
//! Invariants:
//! - G-1 … G-5, G-8: the drain keeps its budget, is fair, makes progress, starves nobody, keeps order and
//!   empties any backlog (`drain`, by properties).
//! - G-6, G-7: accounts balance; nothing is sent more often than the limit (`backlog`, after every input).
//! - G-10: every chain of answers ends (`exchange`).
//! - G-12: items, questions and lanes stay within their bounds, and are none for departed peers.
//! - G-13: when all are level, nothing is sent but one digest per interval: no timer runs but its.
//! - G-15: equal bucket hashes mean equal progress (`ledger`).
//!
//! Absent on purpose: retries of single messages, acknowledgements of single messages, outboxes per peer.
//! A lost message is repaired by state. The maps themselves are elsewhere too: progress arrives as
//! [`Input::Progress`], bytes come from a [`Source`] when a datagram is filled.

mod backlog;
mod counts;
mod drain;
mod exchange;
mod lane;
mod ledger;
mod members;
mod pull;
mod push;
mod rounds;
#[cfg(feature = "simulation")]
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::ids::{Incarnation, NodeId, Notice, Replica};
use crate::limits;
use crate::machine::{Machine, Wake};
use crate::random::Rng;
use crate::time::Instant;
use crate::wire::Transport;
use crate::wire::datagram::Kind;
use crate::wire::message::{Digest, Pull, Rows};
use crate::wire::segment::{Progress, Segment, Topic, Unused};

#[cfg(feature = "simulation")]
pub use self::watch::Waiting;

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

/// Gossip, as a machine.
#[derive(Debug)]
pub struct Gossip {
    settings: Settings,
    local: Replica,
    rng: Rng,
    /// The other members by name, and in the order of rounds and digests.
    peers: BTreeMap<NodeId, Peer>,
    roster: rounds::Roster,
    /// The newest life known of every node that is not forgotten.
    known: BTreeMap<NodeId, Incarnation>,
    linked: BTreeSet<NodeId>,
    ledger: ledger::Ledger,
    backlog: backlog::Backlog,
    lanes: lane::Lanes,
    told: drain::Told,
    drains: u64,
    pulls: pull::Pulls,
    /// What this turn wrote, by map.
    fresh: BTreeMap<(Topic, Replica), (u64, u64)>,
    round_at: Option<Instant>,
    digest_at: Option<Instant>,
    tally: counts::Tally,
}

/// What is kept about a member.
#[derive(Debug)]
struct Peer {
    incarnation: Incarnation,
    /// The first bucket to answer next.
    cursor: usize,
    behind: u64,
    last_digest: Option<Instant>,
}

impl Gossip {
    /// Gossip of `local`, which knows nobody yet.
    pub fn new(settings: Settings, local: Replica, _now: Instant, rng: Rng) -> Gossip {
        Gossip {
            backlog: backlog::Backlog::new(settings.backlog_max),
            settings,
            local,
            rng,
            peers: BTreeMap::new(),
            roster: rounds::Roster::default(),
            known: BTreeMap::new(),
            linked: BTreeSet::new(),
            ledger: ledger::Ledger::new(),
            lanes: lane::Lanes::default(),
            told: drain::Told::default(),
            drains: 0,
            pulls: pull::Pulls::default(),
            fresh: BTreeMap::new(),
            round_at: None,
            digest_at: None,
            tally: counts::Tally::default(),
        }
    }

    /// New settings, for whatever comes next.
    pub fn reload(&mut self, settings: Settings) {
        self.backlog.set_items_max(settings.backlog_max);
        self.settings = settings;
    }

    /// Whether anything waits to be told as a rumour.
    pub fn has_backlog(&self) -> bool {
        !self.backlog.is_empty()
    }

    /// Segments of `topic` arrived, or left by link; what the drain produced is counted by itself.
    pub fn carried(&mut self, topic: Topic, direction: Direction, bytes: usize) {
        self.tally.carried(topic, direction, bytes);
    }

    /// Members, ourselves included.
    fn members(&self) -> usize {
        self.roster.len() + 1
    }

    /// Bytes of the largest possible section of one of our datagrams.
    fn section_max(&self) -> usize {
        let sender = 1 + self.local.node.as_str().len() + 8;
        let datagram = limits::DATAGRAM_BYTES_MAX - limits::SEAL_BYTES;
        datagram - sender - limits::SECTION_HEADER_BYTES
    }

    /// A round, and the time of the next one if anything waits.
    fn round(&mut self, now: Instant, out: &mut Vec<Output>) {
        self.round_at = None;
        self.told.clear();
        self.backlog.retire_known(self.roster.nodes());
        let mut targets: Vec<NodeId> = self.lanes.targets().cloned().collect();
        if !self.backlog.is_empty() {
            let drawn = self.roster.draw(self.settings.fanout, &mut self.rng);
            targets.extend(drawn.into_iter().filter(|node| !self.lanes.waits(node)));
        }
        let datagrams = self.settings.burst;
        out.extend(targets.into_iter().map(|target| Output::Round { target, datagrams }));
        self.await_round(now);
    }

    /// Makes sure that a round comes if anything waits.
    fn await_round(&mut self, now: Instant) {
        if self.round_at.is_none() && !(self.backlog.is_empty() && self.lanes.is_empty()) {
            self.round_at = Some(now + self.rng.jitter(self.settings.interval, 10));
        }
    }

    /// Sections for a datagram to `target`, framed within `budget` bytes together. Called again within a
    /// turn for the same target it goes on where it stopped; nothing comes when nothing is left.
    pub fn drain(
        &mut self,
        target: &NodeId,
        budget: usize,
        source: &impl Source,
    ) -> Vec<(Kind, Vec<u8>)> {
        if self.backlog.is_empty() && self.lanes.is_empty() {
            self.tally.drained(drain::Outcome::Empty);
            return Vec::new();
        }
        let largest = self.section_max();
        let mut load = drain::Load::new(source, budget);
        let mut lane = self.lanes.take(target);
        load.put_owed(&mut lane, largest);
        self.lanes.put_back(target, lane);
        self.told.turn_to(target);
        self.drains += 1;
        let number = self.drains;
        let (backlog, told) = (&mut self.backlog, &mut self.told);
        let mut drain = drain::Drain { backlog, told, target, load, largest, number };
        let outcome = drain.run();
        let sections = drain.load.finish(budget);
        self.tally.drained(outcome);
        for (topic, bytes) in &sections {
            self.tally.carried(*topic, Direction::Sent, bytes.len());
        }
        self.backlog.assert_invariants();
        sections.into_iter().map(|(_, bytes)| (Kind::Segment, bytes)).collect()
    }

    fn assert_invariants(&self) {
        self.backlog.assert_invariants();
        self.lanes.assert_invariants();
        self.pulls.assert_invariants();
    }
}

impl Machine for Gossip {
    type Input = Input;
    type Output = Output;

    fn handle(&mut self, now: Instant, input: Input, out: &mut Vec<Output>) {
        match input {
            Input::Written { topic, replica, from, upto } => {
                self.written(topic, replica, from, upto);
            }
            Input::Applied { topic, replica, from, upto, learnt_from } => {
                self.applied(now, topic, &replica, (from, upto), &learnt_from);
            }
            Input::Progress { topic, replica, progress } => {
                self.progressed(topic, &replica, progress);
            }
            Input::Gap { topic, replica, from, through } => {
                self.gap(now, topic, &replica, &from, through);
                self.replan(now, out);
            }
            Input::Notice(notice) => {
                self.noticed(now, notice);
                self.replan(now, out);
            }
            Input::Link { peer, up } => {
                self.link(now, peer, up);
                self.replan(now, out);
            }
            Input::Acknowledged { peer, topic, replica, complete } => {
                self.backlog.known(&peer.node, topic, &replica, complete);
            }
            Input::Digest { from, transport, digest } => {
                self.compare(now, &from, transport, &digest, out);
            }
            Input::Rows { from, transport, rows } => {
                self.read_rows(now, &from, transport, &rows, out);
                self.replan(now, out);
            }
            Input::Pull { from, transport, pull } => {
                self.answer_pull(&from, transport, pull, out);
                self.await_round(now);
            }
            Input::Pulled { from, number, changed } => {
                self.pulls.pulled(now, &from.node, number, changed);
                self.replan(now, out);
            }
            Input::Raised { replica } => self.raised(replica),
            Input::Slept => self.slept(),
            Input::PushRefused { topic, replica, from, upto } => {
                sometimes!("gossip.push_refused");
                self.rumour(now, topic, &replica, from, upto);
            }
            Input::Unused { why } => self.tally.unused(why),
            Input::Tick => self.tick(now, out),
        }
        self.assert_invariants();
    }

    fn next_wake(&self) -> Option<Wake> {
        let wake = |at: Option<Instant>, what| at.map(|at| Wake { at, what });
        let round = wake(self.round_at, "gossip: a round");
        let digest = wake(self.digest_at, "gossip: a digest");
        let pull = wake(self.pulls.next_wake(), "gossip: a pull begins or times out");
        Wake::earlier(Wake::earlier(round, digest), pull)
    }
}

impl Gossip {
    fn progressed(&mut self, topic: Topic, replica: &Replica, progress: Option<Progress>) {
        let complete = progress.map_or(0, |progress| progress.complete);
        if complete < self.ledger.set(topic, replica, progress) {
            self.backlog.cut(topic, replica, complete);
        }
        self.pulls.progressed(topic, replica, complete);
    }

    /// A segment lies beyond what is held: another path gets a moment, then its sender is asked.
    fn gap(&mut self, now: Instant, topic: Topic, replica: &Replica, from: &NodeId, through: u64) {
        self.tally.gaps += 1;
        let is_ahead = through > self.ledger.complete(topic, replica);
        sometimes!("gossip.gap", is_ahead);
        if is_ahead && self.peers.contains_key(from) && self.may_want(topic, replica) {
            let wait = self.rng.between(limits::GAP_WAIT_MIN, limits::GAP_WAIT_MAX);
            self.pulls.want(topic, replica, from, through, now + wait, true);
        }
    }

    fn tick(&mut self, now: Instant, out: &mut Vec<Output>) {
        if self.round_at.is_some_and(|at| at <= now) {
            self.round(now, out);
        }
        if self.digest_at.is_some_and(|at| at <= now) {
            self.digest_at = Some(now + self.rng.jitter(self.settings.digest_interval, 10));
            self.send_digest(out);
        }
        self.replan(now, out);
    }
}

#[cfg(test)]
mod tests;

//! Several copies of a log in one virtual time: messages that may be lost, disks that are slow and lose
//! what is not synced, a service that counts.
//!
//! After every turn the invariants of the log are checked that a bystander can see: RF-1, RF-2, RF-3,
//! RF-4, RF-7, RF-8.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::super::durable::{self, Rows};
use super::super::*;
use crate::ids::Incarnation;
use crate::wire::raft::{Message, MessageKind};

/// A service: the texts that were applied, in order.
pub(super) type Service = Vec<(u64, String)>;

/// Bytes of a piece of a service's state: a snapshot of some texts has several.
const SERVICE_PIECE_BYTES: usize = 1 << 18;

#[derive(Default)]
struct Disk {
    durable: Rows,
    pending: VecDeque<(u64, Vec<Row>)>,
    /// Batches that it took in its life.
    stored: usize,
}

enum Event {
    Peer(usize, Replica, Box<Wire>),
    Synced(usize, u64, u64),
    Wake(usize),
}

/// What a service was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Told {
    Proposed(Result<Committed, Refusal>),
    Read(Result<u64, Refusal>),
    Queried(Result<Committed, Refusal>),
    Operated(Result<(), Refusal>),
}

pub(super) struct World {
    pub(super) now: Instant,
    pub(super) nodes: Vec<Option<Raft>>,
    pub(super) services: Vec<Service>,
    /// Of each service, the state that is held for a snapshot.
    frozen: Vec<(u64, VecDeque<Blob>)>,
    pub(super) told: BTreeMap<(usize, u64), (Instant, Told)>,
    pub(super) loss_percent: u64,
    pub(super) disk_max: Duration,
    /// Whose disk takes a minute for what it is given now.
    pub(super) slow: Option<usize>,
    /// Ordered pairs between which nothing passes.
    pub(super) cut: BTreeSet<(usize, usize)>,
    pub(super) misbehaved: Vec<(usize, &'static str)>,
    pub(super) settings: Settings,
    /// Whether leaders follow the ladder.
    pub(super) climbs: bool,
    /// How often each message was sent.
    pub(super) sent: BTreeMap<MessageKind, u64>,
    pub(super) leaders: BTreeMap<u64, usize>,
    pub(super) restored: usize,
    lives: Vec<u64>,
    disks: Vec<Disk>,
    queue: BTreeMap<(Instant, u64), Event>,
    sequence: u64,
    rng: Rng,
    seed: u64,
    committed: BTreeMap<u64, (u64, u64)>,
    hashes: BTreeMap<u64, u64>,
    log_time: BTreeMap<u64, LogTime>,
    pub(super) began: Instant,
    /// Tickets whose proposal somebody was told to be committed.
    pub(super) acknowledged: BTreeSet<String>,
    proposals: BTreeMap<(usize, u64), String>,
}

pub(super) fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

impl World {
    pub(super) fn new(seed: u64, nodes: usize) -> World {
        let mut world = World {
            now: Instant::from_millis(1000),
            nodes: Vec::new(),
            services: Vec::new(),
            frozen: Vec::new(),
            told: BTreeMap::new(),
            loss_percent: 0,
            disk_max: millis(10),
            slow: None,
            cut: BTreeSet::new(),
            misbehaved: Vec::new(),
            settings: Settings { expect: 0, ..Settings::new() },
            climbs: false,
            sent: BTreeMap::new(),
            leaders: BTreeMap::new(),
            restored: 0,
            lives: vec![0; nodes],
            disks: Vec::new(),
            queue: BTreeMap::new(),
            sequence: 0,
            rng: Rng::from_number(seed).child("world"),
            seed,
            committed: BTreeMap::new(),
            hashes: BTreeMap::new(),
            log_time: BTreeMap::new(),
            began: Instant::from_millis(1000),
            acknowledged: BTreeSet::new(),
            proposals: BTreeMap::new(),
        };
        for _ in 0..nodes {
            world.nodes.push(None);
            world.services.push(Service::new());
            world.frozen.push(Default::default());
            world.disks.push(Disk::default());
        }
        world
    }

    /// `count` nodes of which the first `voters` have formed a log, and a leader.
    pub(super) fn formed(seed: u64, count: usize, voters: usize) -> World {
        let mut world = World::new(seed, count);
        world.begin(voters);
        world
    }

    pub(super) fn begin(&mut self, voters: usize) {
        for index in 0..self.nodes.len() {
            self.start(index);
        }
        let places: BTreeMap<MemberId, NodeId> =
            (0..voters).map(|index| (self.member(index), name(index))).collect();
        for index in 0..voters {
            let (genesis, voters, voters_max) = (Genesis(7), places.clone(), 5);
            let raft = self.nodes[index].as_mut().expect("it runs");
            let mut out = Vec::new();
            raft.form(self.now, genesis, voters, voters_max, &mut out);
            self.perform(index, out);
            self.flush(index);
        }
        self.introduce();
        self.run_until("somebody leads", |world| world.leader().is_some());
    }

    /// Tells everybody what everybody says about its copy, as gossip would.
    pub(super) fn introduce(&mut self) {
        for of in 0..self.nodes.len() {
            let Some(node) = &self.nodes[of] else { continue };
            let peer = Peer {
                member: Some(node.member()),
                genesis: node.genesis(),
                eligible: true,
                priority: 100,
                zone: String::new(),
                leaving: false,
                expect: self.settings.expect,
            };
            for to in 0..self.nodes.len() {
                self.hand(to, Input::Known { node: name(of), peer: Some(peer.clone()) });
            }
        }
    }

    pub(super) fn start(&mut self, index: usize) {
        self.lives[index] += 1;
        let local = Replica { node: name(index), incarnation: Incarnation(self.lives[index]) };
        let label = format!("{local}");
        let rng = Rng::from_number(self.seed).child(&label);
        let rows = &self.disks[index].durable;
        let raft = Raft::new(self.settings.clone(), local, rows, self.now, rng);
        let mut raft = raft.expect("the rows are a log");
        raft.ladder.held = !self.climbs;
        self.nodes[index] = Some(raft);
        self.services[index].clear();
        self.hand(index, Input::Start);
    }

    /// The process is gone; the first `kept` batches that waited reached the disk.
    pub(super) fn crash(&mut self, index: usize, kept: usize) {
        self.nodes[index] = None;
        for _ in 0..kept.min(self.disks[index].pending.len()) {
            self.sync(index);
        }
        self.disks[index].pending.clear();
        let mine = |event: &Event| match event {
            Event::Peer(to, _, _) | Event::Synced(to, _, _) | Event::Wake(to) => *to == index,
        };
        self.queue.retain(|_, event| !mine(event));
    }

    pub(super) fn wipe(&mut self, index: usize) {
        self.disks[index] = Disk::default();
    }

    pub(super) fn pending(&self, index: usize) -> usize {
        self.disks[index].pending.len()
    }

    /// An operator changes a disk.
    pub(super) fn apply(&mut self, index: usize, rows: Vec<Row>) {
        self.disks[index].pending.push_back((0, rows));
        self.sync(index);
    }

    /// Another log begins: what was seen of the one before says nothing about it.
    pub(super) fn forget_what_was_seen(&mut self) {
        self.leaders.clear();
        self.committed.clear();
        self.hashes.clear();
        self.log_time.clear();
    }

    pub(super) fn stored(&self, index: usize) -> usize {
        self.disks[index].stored
    }

    pub(super) fn rows(&self, index: usize) -> &Rows {
        &self.disks[index].durable
    }

    pub(super) fn member(&self, index: usize) -> MemberId {
        self.node(index).member()
    }

    pub(super) fn node(&self, index: usize) -> &Raft {
        self.nodes[index].as_ref().expect("it runs")
    }

    /// Who leads in the highest term.
    pub(super) fn leader(&self) -> Option<usize> {
        let leads = |index: usize| {
            let raft = self.nodes[index].as_ref()?;
            raft.leads().map(|term| (term, index))
        };
        (0..self.nodes.len()).filter_map(leads).max().map(|(_, index)| index)
    }

    pub(super) fn isolate(&mut self, index: usize) {
        for other in 0..self.nodes.len() {
            self.cut.insert((index, other));
            self.cut.insert((other, index));
        }
    }

    pub(super) fn propose(&mut self, index: usize, ticket: u64, text: &str, wait: Duration) {
        self.propose_with(index, ticket, text, wait, None);
    }

    pub(super) fn propose_with(
        &mut self,
        index: usize,
        ticket: u64,
        text: &str,
        wait: Duration,
        idempotency: Option<Idempotency>,
    ) {
        self.proposals.insert((index, ticket), text.to_owned());
        let input = Input::Propose {
            subject: Subject::KV,
            ticket: Ticket(ticket),
            version: 1,
            payload: Blob::from(text),
            deadline: self.now + wait,
            idempotency,
        };
        self.hand(index, input);
    }

    pub(super) fn read(&mut self, index: usize, ticket: u64, wait: Duration) {
        let (subject, deadline) = (Subject::KV, self.now + wait);
        self.hand(index, Input::Read { subject, ticket: Ticket(ticket), deadline });
    }

    pub(super) fn answer(&self, index: usize, ticket: u64) -> Option<&Told> {
        self.told.get(&(index, ticket)).map(|(_, told)| told)
    }

    /// Changes the configuration through its leader, and waits until it is in force there.
    pub(super) fn change(&mut self, change: &crate::wire::raft::Change) {
        self.run_until("a change is taken", |world| {
            let Some(leader) = world.leader() else { return false };
            let now = world.now;
            let raft = world.nodes[leader].as_mut().expect("it leads");
            let taken = raft.change(change);
            world.flush(leader);
            let _ = now;
            taken
        });
    }

    pub(super) fn hand(&mut self, index: usize, input: Input) {
        let Some(raft) = &mut self.nodes[index] else { return };
        let mut out = Vec::new();
        raft.handle(self.now, input, &mut out);
        self.perform(index, out);
        self.flush(index);
    }

    pub(super) fn flush(&mut self, index: usize) {
        let Some(raft) = &mut self.nodes[index] else { return };
        let mut out = Vec::new();
        raft.flush(self.now, &mut out);
        self.perform(index, out);
        self.check(index);
        if let Some(wake) = self.nodes[index].as_ref().and_then(Raft::next_wake) {
            self.schedule(wake.at.max(self.now), Event::Wake(index));
        }
    }

    fn perform(&mut self, index: usize, outputs: Vec<Output>) {
        let mut waiting: VecDeque<Output> = outputs.into();
        while let Some(output) = waiting.pop_front() {
            let Some(input) = self.perform_one(index, output) else { continue };
            let Some(raft) = &mut self.nodes[index] else { return };
            let mut out = Vec::new();
            raft.handle(self.now, input, &mut out);
            waiting.extend(out);
        }
    }

    /// Does one output; what the service answers at once is an input.
    fn perform_one(&mut self, index: usize, output: Output) -> Option<Input> {
        match output {
            Output::Apply { index: at, log_time, payload, .. } => {
                let text = String::from_utf8(payload.to_vec()).expect("texts are proposed");
                let service = &mut self.services[index];
                let twice = service.iter().any(|(_, applied)| *applied == text);
                assert!(!twice || text.starts_with("again"), "RF-7: {text} is applied twice");
                assert!(service.last().is_none_or(|(last, _)| *last < at), "RF-3: out of order");
                service.push((at, text.clone()));
                let known = *self.log_time.entry(at).or_insert(log_time);
                assert_eq!(known, log_time, "RF-3: two times of entry {at}");
                let real = LogTime(crate::time::millis(self.now.since(self.began)));
                assert!(log_time <= real, "RF-8: the log's time {log_time:?} is past {real:?}");
                let outcome = Blob::from(format!("{text} as {}", service.len()).as_str());
                return Some(Input::Applied { index: at, outcome });
            }
            Output::Freeze { number } => {
                let texts = serde_json::to_vec(&self.services[index]).expect("texts are values");
                let pieces = texts.chunks(SERVICE_PIECE_BYTES).map(Blob::from).collect();
                self.frozen[index] = (number, pieces);
            }
            Output::NextPiece { number } => {
                let (of, pieces) = &mut self.frozen[index];
                assert_eq!(*of, number, "it is the last one that was frozen");
                let piece = pieces.pop_front().map(|piece| (Subject::KV, piece));
                return Some(Input::Piece { number, piece });
            }
            Output::Answer { number, .. } => {
                let answer = Blob::from(format!("{} texts", self.services[index].len()).as_str());
                return Some(Input::Answered { number, answer });
            }
            Output::Restore { sections, .. } => {
                self.restored += 1;
                let section = sections.get(&Subject::KV);
                self.services[index] = section.map_or_else(Vec::new, |section| {
                    serde_json::from_slice(section).expect("a section is what was taken")
                });
            }
            Output::Proposed { ticket, result, .. } => {
                if result.is_ok() {
                    let text = self.proposals.get(&(index, ticket.0)).cloned();
                    self.acknowledged.extend(text);
                }
                self.tell(index, ticket, Told::Proposed(result));
            }
            Output::ReadReady { ticket, result, .. } => {
                self.tell(index, ticket, Told::Read(result));
            }
            Output::Queried { ticket, result, .. } => {
                self.tell(index, ticket, Told::Queried(result));
            }
            Output::Operated { ticket, result } => {
                self.tell(index, ticket, Told::Operated(result));
            }
            Output::Store { number, rows } => {
                self.disks[index].pending.push_back((number, rows));
                let quick = self.rng.between(millis(1), self.disk_max);
                let slow = if self.slow == Some(index) { millis(60_000) } else { quick };
                let newest = self.disks[index].pending.len() as u64;
                let at = self.now + slow + Duration::from_micros(newest);
                self.schedule(at, Event::Synced(index, self.lives[index], number));
            }
            Output::Send { to, message } => self.send(index, &to, message),
            Output::Misbehaved { peer: _, what } => self.misbehaved.push((index, what)),
            Output::Led { .. }
            | Output::Clock { .. }
            | Output::Tell
            | Output::Conflict { .. }
            | Output::NeedsUpgrade { .. } => {}
        }
        None
    }

    fn tell(&mut self, index: usize, ticket: Ticket, told: Told) {
        let before = self.told.insert((index, ticket.0), (self.now, told));
        assert_eq!(before, None, "a request ends exactly once");
    }

    fn send(&mut self, from: usize, to: &NodeId, message: Wire) {
        let to = index_of(to);
        if let Wire::Message(message) = &message {
            *self.sent.entry(message.kind).or_default() += 1;
            self.assert_durable(from, message);
        }
        // What crosses the network is what it decodes to.
        let bytes = crate::wire::encode(&message);
        let decoded =
            crate::wire::decode::<Wire, { crate::limits::FRAME_CONTROL_BYTES_MAX }>(&bytes);
        assert_eq!(decoded.as_ref(), Ok(&message), "it crosses the network unchanged");
        if self.cut.contains(&(from, to)) || self.rng.chance(self.loss_percent, 100) {
            return;
        }
        let delay = self.rng.between(millis(1), millis(5));
        let replica = Replica { node: name(from), incarnation: Incarnation(self.lives[from]) };
        self.schedule(self.now + delay, Event::Peer(to, replica, Box::new(message)));
    }

    /// RF-4: what a message says of votes, terms and entries is on the disk.
    fn assert_durable(&self, from: usize, message: &Message) {
        let rows = &self.disks[from].durable;
        let found = durable::read(rows).expect("what is durable is a log");
        let hard = found.as_ref().map(|(found, _)| found.hard).unwrap_or_default();
        let pre = matches!(message.kind, MessageKind::PreVote | MessageKind::PreVoteReply);
        if !pre {
            assert!(
                message.term <= hard.term,
                "RF-4: {message:?} tells a term that is not durable: {hard:?}"
            );
        }
        if message.kind == MessageKind::VoteReply && !message.reject {
            assert_eq!(hard.vote, message.to.0, "RF-4: a vote that is not durable");
        }
        if message.kind == MessageKind::AppendReply && !message.reject {
            let last = found.map_or(0, |(found, _)| {
                let point = found.image.map_or(0, |(image, _)| image.state.applied.index);
                found.entries.last().map_or(point, |entry| entry.index)
            });
            assert!(message.index <= last, "RF-4: entries through {} of {last}", message.index);
        }
    }

    fn sync(&mut self, index: usize) -> Option<u64> {
        let disk = &mut self.disks[index];
        let (number, rows) = disk.pending.pop_front()?;
        disk.stored += 1;
        for Row { room, key, value } in rows {
            match value {
                Some(value) => disk.durable.insert((room, key), value),
                None => disk.durable.remove(&(room, key)),
            };
        }
        Some(number)
    }

    fn schedule(&mut self, at: Instant, event: Event) {
        self.sequence += 1;
        self.queue.insert((at, self.sequence), event);
    }

    /// Takes everything off the network that is on its way from one node to another.
    pub(super) fn intercept(&mut self, from: usize, to: usize) -> Vec<Input> {
        let between = |event: &Event| matches!(event, Event::Peer(at, of, _) if *at == to && of.node == name(from));
        let taken: Vec<Event> =
            self.queue.extract_if(.., |_, event| between(event)).map(|(_, event)| event).collect();
        let input = |event| match event {
            Event::Peer(_, from, message) => Some(Input::Peer { from, message: *message }),
            Event::Synced(..) | Event::Wake(_) => None,
        };
        taken.into_iter().filter_map(input).collect()
    }

    pub(super) fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        while self.step(end) {}
        self.now = end;
    }

    #[track_caller]
    pub(super) fn run_until(&mut self, what: &str, mut holds: impl FnMut(&mut World) -> bool) {
        let end = self.now + Duration::from_secs(120);
        while !holds(self) {
            assert!(self.step(end), "never in two minutes: {what}");
        }
    }

    fn step(&mut self, end: Instant) -> bool {
        let Some(entry) = self.queue.first_entry().filter(|entry| entry.key().0 <= end) else {
            return false;
        };
        self.now = entry.key().0;
        match entry.remove() {
            Event::Peer(to, from, message) => {
                self.hand(to, Input::Peer { from, message: *message });
            }
            Event::Synced(index, life, number) => {
                if self.nodes[index].is_none() || self.lives[index] != life {
                    return true;
                }
                // A later batch may be done first: batches are reported in order all the same.
                while self.disks[index].pending.front().is_some_and(|(first, _)| *first <= number) {
                    if let Some(number) = self.sync(index) {
                        self.hand(index, Input::Stored { number });
                    }
                }
            }
            Event::Wake(index) => {
                let wake = self.nodes[index].as_ref().and_then(Raft::next_wake);
                if wake.is_some_and(|wake| wake.at <= self.now) {
                    self.hand(index, Input::Tick);
                }
            }
        }
        true
    }

    fn check(&mut self, index: usize) {
        let Some(raft) = &self.nodes[index] else { return };
        if let Some(term) = raft.leads() {
            let known = *self.leaders.entry(term).or_insert(index);
            assert_eq!(known, index, "RF-1: two lead in term {term}");
        }
        let (applied, hash) = raft.applied_hash();
        let known = *self.hashes.entry(applied).or_insert(hash);
        assert_eq!(known, hash, "RF-3: two states at {applied}");
        let first = raft.first_index().max(raft.commit().saturating_sub(20));
        for at in first..=raft.commit() {
            if let Some(entry) = raft.entry_hash(at) {
                let known = *self.committed.entry(at).or_insert(entry);
                assert_eq!(known, entry, "RF-2: two entries are committed at {at}");
            }
        }
    }

    /// Every running member has applied the same, and whatever was acknowledged.
    #[track_caller]
    pub(super) fn assert_agreed(&mut self, members: &[usize]) {
        let members: Vec<usize> = members.to_vec();
        self.run_until("all have applied the same", |world| {
            let applied: BTreeSet<(u64, u64)> =
                members.iter().map(|index| world.node(*index).applied_hash()).collect();
            let commit = members.iter().map(|index| world.node(*index).commit()).max();
            applied.len() == 1 && applied.first().map(|(index, _)| *index) == commit
        });
        let first = &self.services[members[0]];
        for index in &members {
            assert_eq!(&self.services[*index], first, "RF-3: node {index}");
        }
        let held: BTreeSet<&String> = first.iter().map(|(_, text)| text).collect();
        for text in &self.acknowledged {
            assert!(held.contains(text), "RF-12: {text} was acknowledged and is lost");
        }
    }
}

pub(super) fn name(index: usize) -> NodeId {
    format!("n{index}").parse().expect("a node id")
}

fn index_of(node: &NodeId) -> usize {
    node.as_str().trim_start_matches('n').parse().expect("a node of this world")
}

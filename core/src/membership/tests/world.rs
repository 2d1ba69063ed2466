//! Several memberships in one virtual time: datagrams that may be lost, links that are reliable while
//! nothing is cut, facts that spread over links.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use super::super::*;
use crate::ids::{Notice, Reason};
use crate::limits;

pub(super) fn settings(name: &str, address: SocketAddr, join: Vec<String>) -> Settings {
    Settings {
        node: name.parse().expect("a node id"),
        address,
        http: String::new(),
        version: "1.0.0".into(),
        protocol: crate::wire::PROTOCOL,
        zone: String::new(),
        labels: BTreeMap::new(),
        join,
        probe_interval: Duration::from_secs(1),
        probe_timeout: Duration::from_millis(500),
        indirect_probes: 3,
        suspicion_mult: 4,
        sync_interval: Duration::from_secs(30),
        forget_after: Duration::from_secs(1800),
        restart_grace: Duration::from_secs(30),
        leave_timeout: Duration::from_secs(15),
        members_max: 2048,
        fences_max: 65_536,
        dial_timeout: Duration::from_secs(10),
    }
}

/// What a node told, by instant.
pub(super) type Log = Vec<(Instant, usize, Output)>;

enum Event {
    Input(usize, Box<Input>),
    Wake(usize),
    Link(usize, usize),
}

pub(super) struct World {
    pub(super) nodes: Vec<Option<Membership>>,
    pub(super) now: Instant,
    pub(super) loss_percent: u64,
    /// Whether links exist at all.
    pub(super) links: bool,
    /// Ordered pairs between which no datagram passes.
    pub(super) cut: BTreeSet<(usize, usize)>,
    pub(super) log: Log,
    pub(super) sent_bytes: u64,
    pub(super) sent: u64,
    seed: u64,
    linked: BTreeSet<(usize, usize)>,
    facts: Vec<BTreeMap<Key, Blob>>,
    queue: BTreeMap<(Instant, u64), Event>,
    sequence: u64,
    wakes: Vec<Option<Instant>>,
    rng: Rng,
    folded: Vec<BTreeMap<Replica, &'static str>>,
    /// Each node's rows as somebody holds them who reads only what is said to have changed.
    watched: Vec<BTreeMap<NodeId, Member>>,
}

impl World {
    pub(super) fn new(seed: u64, links: bool) -> World {
        World {
            nodes: Vec::new(),
            now: Instant::from_millis(1000),
            loss_percent: 0,
            links,
            cut: BTreeSet::new(),
            log: Vec::new(),
            sent_bytes: 0,
            sent: 0,
            seed,
            linked: BTreeSet::new(),
            facts: Vec::new(),
            queue: BTreeMap::new(),
            sequence: 0,
            wakes: Vec::new(),
            rng: Rng::from_number(seed),
            folded: Vec::new(),
            watched: Vec::new(),
        }
    }

    pub(super) fn address(index: usize) -> SocketAddr {
        let (high, low) = (u8::try_from(index / 250), u8::try_from(index % 250));
        SocketAddr::from(([10, 0, high.expect("few nodes"), low.expect("few nodes")], 7420))
    }

    pub(super) fn name(index: usize) -> NodeId {
        format!("n{index}").parse().expect("a node id")
    }

    /// Starts another node, which joins through the first.
    pub(super) fn start(&mut self) -> usize {
        let index = self.nodes.len();
        self.nodes.push(None);
        self.wakes.push(None);
        self.facts.push(BTreeMap::new());
        self.folded.push(BTreeMap::new());
        self.watched.push(BTreeMap::new());
        self.restart(index, 1);
        index
    }

    pub(super) fn restart(&mut self, index: usize, incarnation: u64) {
        let join = if index == 0 { vec![] } else { vec![World::address(0).to_string()] };
        let name = World::name(index);
        let settings = settings(name.as_str(), World::address(index), join);
        let rng = Rng::from_number(self.seed).child(&format!("{name}/{incarnation}"));
        let incarnation = Incarnation(incarnation);
        let node = Membership::new(settings, incarnation, BTreeMap::new(), self.now, rng);
        self.nodes[index] = Some(node);
        self.folded[index].clear();
        self.facts[index].clear();
        let node = self.nodes[index].as_ref().expect("it was just made");
        self.watched[index] = node.members().map(|row| (row.node.clone(), row)).collect();
        self.hand(index, Input::Start);
    }

    /// Ends a node without a word.
    pub(super) fn crash(&mut self, index: usize) {
        self.nodes[index] = None;
        self.wakes[index] = None;
        for other in 0..self.nodes.len() {
            self.unlink(index, other);
        }
    }

    pub(super) fn unlink(&mut self, one: usize, other: usize) {
        if self.linked.remove(&(one.min(other), one.max(other))) {
            self.hand(other, Input::Unlinked { peer: World::name(one) });
            self.hand(one, Input::Unlinked { peer: World::name(other) });
        }
    }

    pub(super) fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        while let Some(entry) = self.queue.first_entry()
            && entry.key().0 <= end
        {
            self.now = entry.key().0;
            match entry.remove() {
                Event::Input(to, input) => self.arrive(to, *input),
                Event::Wake(node) if self.wakes[node] == Some(self.now) => {
                    self.wakes[node] = None;
                    self.hand(node, Input::Tick);
                }
                Event::Wake(_) => {}
                Event::Link(one, other) => self.link(one, other),
            }
        }
        self.now = end;
    }

    fn arrive(&mut self, to: usize, input: Input) {
        if let Input::Swim { from, transport, .. } = &input {
            let (from, transport) = (from.clone(), *transport);
            let address = None;
            self.hand(to, Input::Heard { from, transport, address });
        }
        self.hand(to, input);
    }

    pub(super) fn hand(&mut self, index: usize, input: Input) {
        let Some(node) = self.nodes[index].as_mut() else { return };
        let mut out = Vec::new();
        node.handle(self.now, input, &mut out);
        for output in &out {
            if let Output::Changed { node: changed } = output {
                let watched = &mut self.watched[index];
                match node.member(changed) {
                    Some(row) => watched.insert(changed.clone(), row),
                    None => watched.remove(changed),
                };
            }
        }
        for output in out {
            self.perform(index, output);
        }
        let Some(node) = self.nodes[index].as_ref() else { return };
        let wake = node.next_wake().map(|wake| wake.at.max(self.now));
        if wake != self.wakes[index]
            && let Some(at) = wake
        {
            self.wakes[index] = wake;
            self.post(at, Event::Wake(index));
        }
    }

    fn post(&mut self, at: Instant, event: Event) {
        self.sequence += 1;
        self.queue.insert((at, self.sequence), event);
    }

    fn later(&mut self) -> Instant {
        self.now + self.rng.between(Duration::from_micros(200), Duration::from_millis(3))
    }

    fn index(node: &NodeId) -> usize {
        node.as_str()[1..].parse().expect("our names end in a number")
    }

    fn perform(&mut self, from: usize, output: Output) {
        let sender = self.nodes[from].as_ref().expect("it runs").local().clone();
        match output.clone() {
            Output::Swim { to, transport, packet, .. } => {
                self.sent += 1;
                let frame = limits::SEAL_BYTES + 10 + sender.node.as_str().len() + 3;
                self.sent_bytes += (packet.len() + frame) as u64;
                let input = Input::Swim { from: sender, transport, packet };
                self.send(from, World::index(&to), transport, input);
            }
            Output::SendDeparted { to, transport, notice, .. } => {
                let input = Input::Departed { from: sender, notice };
                self.send(from, World::index(&to.node), transport, input);
            }
            Output::SendRetired { to, transport, notice, .. } => {
                let input = Input::Retired { from: sender, notice };
                self.send(from, World::index(&to), transport, input);
            }
            Output::SendList { to, list } => {
                let input = Input::List { from: sender, list };
                self.send(from, World::index(&to), Transport::Link, input);
            }
            Output::Resolve { seed } => {
                let addresses = vec![seed.parse().expect("an address")];
                self.post(
                    self.now,
                    Event::Input(from, Box::new(Input::Resolved { seed, addresses })),
                );
            }
            Output::DialSeed { address } => {
                let to = (0..self.nodes.len()).find(|node| World::address(*node) == address);
                self.dial(from, to.expect("every seed is a node"));
            }
            Output::Persist { incarnation, .. } => {
                let at = self.later();
                self.post(at, Event::Input(from, Box::new(Input::Persisted { incarnation })));
            }
            Output::WriteFact { key, value } => self.write(from, &sender, key, value),
            Output::Notice(notice) => self.fold(from, &notice),
            Output::Left { restarting } => {
                for other in 0..self.nodes.len() {
                    if self.linked.contains(&(from.min(other), from.max(other))) {
                        let peer = sender.clone();
                        self.send(from, other, Transport::Link, Input::Bye { peer, restarting });
                    }
                }
            }
            Output::Slept => self.folded[from].clear(),
            Output::FactsReady
            | Output::Raised { .. }
            | Output::Answer { .. }
            | Output::Stopped
            | Output::Duplicate { .. }
            | Output::Misbehaved { .. }
            | Output::Changed { .. }
            | Output::Asymmetric { .. }
            | Output::Converged { .. }
            | Output::JoinFailed { .. }
            | Output::LookFor { .. } => {} // `redial` stands for links.
        }
        if !matches!(output, Output::Swim { .. } | Output::Changed { .. } | Output::SendList { .. })
        {
            self.log.push((self.now, from, output));
        }
    }

    fn send(&mut self, from: usize, to: usize, transport: Transport, input: Input) {
        let passes = match transport {
            Transport::Datagram => {
                !self.cut.contains(&(from, to)) && !self.rng.chance(self.loss_percent, 100)
            }
            Transport::Link => self.linked.contains(&(from.min(to), from.max(to))),
        };
        if passes {
            let at = self.later();
            self.post(at, Event::Input(to, Box::new(input)));
        }
    }

    fn dial(&mut self, from: usize, to: usize) {
        let pair = (from.min(to), from.max(to));
        if self.links && !self.linked.contains(&pair) {
            let at = self.later();
            self.post(at, Event::Link(from, to));
        }
    }

    fn link(&mut self, one: usize, other: usize) {
        let pair = (one.min(other), one.max(other));
        let severed = self.cut.contains(&(one, other)) && self.cut.contains(&(other, one));
        let alive = self.nodes[one].is_some() && self.nodes[other].is_some();
        if one == other || severed || !alive || !self.linked.insert(pair) {
            return;
        }
        for (local, remote) in [(one, other), (other, one)] {
            let node = self.nodes[remote].as_ref().expect("it runs");
            let (peer, born) = (node.local().clone(), node.born());
            let facts = self.facts[remote].clone();
            let address = World::address(remote);
            self.hand(local, Input::Linked { peer: peer.clone(), born, address });
            for (key, value) in facts {
                self.hand(local, Input::Fact { owner: peer.clone(), key, value: Some(value) });
            }
        }
    }

    fn write(&mut self, from: usize, owner: &Replica, key: Key, value: Option<Blob>) {
        match value.clone() {
            Some(value) => self.facts[from].insert(key.clone(), value),
            None => self.facts[from].remove(&key),
        };
        for to in 0..self.nodes.len() {
            let (owner, key, value) = (owner.clone(), key.clone(), value.clone());
            self.send(from, to, Transport::Link, Input::Fact { owner, key, value });
        }
    }

    /// M-14, and what links do on a notice.
    fn fold(&mut self, observer: usize, notice: &Notice) {
        let states = &mut self.folded[observer];
        let (replica, from, to): (_, &[&str], _) = match notice {
            Notice::Up { replica, .. } => (replica, &[""], "up"),
            Notice::Suspect { replica } => (replica, &["up"], "suspect"),
            Notice::Refuted { replica } => (replica, &["suspect"], "up"),
            Notice::Departed { replica, .. } => (replica, &["up", "suspect"], "departed"),
            Notice::Renamed { old, .. } => (old, &["up", "suspect", "departed"], "renamed"),
            Notice::Forgotten { .. } => return,
        };
        let before = states.insert(replica.clone(), to).unwrap_or_default();
        assert!(
            from.contains(&before),
            "M-14: {replica} is {before:?} at {observer}, then {notice:?}"
        );
        match notice {
            Notice::Up { replica, .. } => self.dial(observer, World::index(&replica.node)),
            Notice::Departed { replica, reason: Reason::Failed } => {
                self.unlink(observer, World::index(&replica.node));
            }
            Notice::Suspect { .. }
            | Notice::Refuted { .. }
            | Notice::Departed { .. }
            | Notice::Renamed { .. }
            | Notice::Forgotten { .. } => {}
        }
    }

    /// Dials everybody again, as links do with failed peers.
    pub(super) fn redial(&mut self) {
        for one in 0..self.nodes.len() {
            for other in 0..one {
                self.dial(one, other);
            }
        }
    }

    pub(super) fn running(&self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|node| self.nodes[*node].is_some()).collect()
    }

    /// M-9: every view is exactly the running nodes, each in its newest life.
    pub(super) fn is_settled(&self) -> bool {
        let running = self.running();
        let lives: BTreeSet<Replica> = running
            .iter()
            .filter_map(|node| Some(self.nodes[*node].as_ref()?.local().clone()))
            .collect();
        running.iter().all(|node| {
            let node = self.nodes[*node].as_ref().expect("it runs");
            let members = node.members().filter(|member| matches!(member.state, State::Alive));
            let view: BTreeSet<Replica> = members
                .map(|member| Replica { node: member.node, incarnation: member.incarnation })
                .collect();
            view == lives
        })
    }

    /// Runs until the view is settled, and says how long it took.
    pub(super) fn settle(&mut self, at_most: Duration) -> Duration {
        let start = self.now;
        while !self.is_settled() {
            assert!(self.now.since(start) < at_most, "not one view within {at_most:?}");
            self.run(Duration::from_millis(100));
        }
        self.now.since(start)
    }

    /// Deaths told since `since`, of replicas for which `is_false` holds.
    pub(super) fn deaths(&self, since: Instant, is_false: impl Fn(&Replica) -> bool) -> usize {
        let told = self.log.iter().filter(|(at, _, output)| {
            *at >= since
                && matches!(output, Output::Notice(Notice::Departed { replica, .. }) if is_false(replica))
        });
        told.count()
    }

    pub(super) fn suspicions(&self, since: Instant) -> u64 {
        let told = self.log.iter().filter(|(at, _, output)| {
            *at >= since && matches!(output, Output::Notice(Notice::Suspect { .. }))
        });
        told.count() as u64
    }

    pub(super) fn check(&self) {
        for (index, node) in self.nodes.iter().enumerate() {
            let Some(node) = node else { continue };
            node.check().expect("an invariant");
            let rows: BTreeMap<_, _> = node.members().map(|row| (row.node.clone(), row)).collect();
            assert_eq!(rows, self.watched[index], "M-6: what changed at n{index} was not told");
            let own = &rows[&node.local().node];
            assert_eq!(own.incarnation, node.local().incarnation, "M-1");
        }
    }
}

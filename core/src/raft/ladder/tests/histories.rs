//! Long lives: nodes come, fail, return, restart without a disk and change their minds, while the first
//! step of every plan is executed.

use super::*;
use crate::random::Rng;

/// A cluster that lives: who is up, who leads, and what was counted.
struct Cluster {
    view: View,
    rng: Rng,
    up: BTreeMap<NodeId, bool>,
    changes: u64,
    causes: u64,
    /// Who may vote with which priority, and the bound: what may cause changes.
    eligible: (BTreeSet<(MemberId, u32)>, usize),
    losses: u64,
}

impl Cluster {
    fn new(seed: u64) -> Cluster {
        let mut rng = Rng::from_number(seed);
        let mut view = described(&[]);
        view.voters_max = voters_max(1 + rng.index(7));
        let mut up = BTreeMap::new();
        for index in 0..1 + rng.index(9) {
            let name = format!("n{index}");
            add_node(
                &mut view,
                &name,
                ["", "x", "y", "z"][rng.index(4)],
                99 + u32::from(rng.chance(3, 4)),
            );
            up.insert(node_id(&name), true);
        }
        view.leader = give_role(&mut view, "voters", "n0");
        let mut cluster = Cluster {
            view,
            rng,
            up,
            changes: 0,
            causes: 0,
            eligible: Default::default(),
            losses: 0,
        };
        cluster.note_causes();
        cluster
    }

    /// One event of the world, then a while in which the ladder works.
    fn live(&mut self) {
        self.disturb();
        for _ in 0..self.rng.index(12) {
            let seconds = 1 + self.rng.below(20);
            self.pass(Duration::from_secs(seconds));
            self.note_causes();
            self.work();
        }
    }

    fn disturb(&mut self) {
        let names: Vec<NodeId> = self.view.nodes.keys().cloned().collect();
        let name = self.rng.pick(&names).cloned().expect("a cluster has nodes");
        let spare = self.failures_left();
        let is_up = self.up.get(&name).copied().unwrap_or(false);
        match self.rng.below(8) {
            0 | 1 if is_up && spare => drop(self.up.insert(name, false)),
            0..=2 => drop(self.up.insert(name, true)),
            3 if is_up && spare => self.restart_diskless(&name),
            4 => self.view.voters_max = voters_max(1 + self.rng.index(7)),
            5 => self.change_facts(&name, |facts| facts.eligible = !facts.eligible),
            6 => self.change_facts(&name, |facts| facts.priority = 199 - facts.priority),
            _ => self.lead(),
        }
    }

    /// Whether one more voter may fail: losses are to be the ladder's own fault.
    fn failures_left(&self) -> bool {
        let spare = self.view.spare(&self.view.voters).unwrap_or(0);
        spare > 0 && self.view.outgoing.is_empty()
    }

    fn restart_diskless(&mut self, name: &NodeId) {
        let id = MemberId(self.rng.word() | 1);
        self.change_facts(name, |facts| facts.member = Some(id));
        self.lead();
    }

    fn change_facts(&mut self, name: &NodeId, change: impl FnOnce(&mut Facts)) {
        let facts = self.view.nodes.get_mut(name).and_then(|node| node.facts.as_mut());
        change(facts.expect("every node says something"));
    }

    /// Another live, caught-up voter leads, if there is one and the present one is down.
    fn lead(&mut self) {
        let rows = &self.view.members;
        let heirs =
            self.view.voters.iter().filter(|id| self.is_well(**id) && rows.contains_key(id));
        if !self.is_well(self.view.leader)
            && let Some(heir) = heirs.copied().next()
        {
            self.view.leader = heir;
        }
    }

    fn is_well(&self, id: MemberId) -> bool {
        let Some(member) = self.view.members.get(&id) else { return false };
        let facts = self.view.nodes.get(&member.node).and_then(|node| node.facts.as_ref());
        let runs = facts.is_some_and(|facts| facts.member == Some(id));
        runs && self.up.get(&member.node).copied().unwrap_or(false)
            && member.caught_up_for.is_some()
    }

    fn pass(&mut self, time: Duration) {
        self.lead();
        for (name, node) in &mut self.view.nodes {
            let is_up = self.up.get(name).copied().unwrap_or(false);
            node.unheard = if is_up { Duration::ZERO } else { node.unheard + time };
            node.standing = match node.standing {
                _ if is_up => Standing::Alive,
                Standing::Failed(ago) => Standing::Failed(ago + time),
                Standing::Alive | Standing::Left => Standing::Failed(Duration::ZERO),
            };
        }
        let ids: Vec<MemberId> = self.view.members.keys().copied().collect();
        for id in ids {
            let runs = self.runs(id);
            let member = self.view.members.get_mut(&id).expect("it was just seen");
            member.silent = if runs { Duration::ZERO } else { member.silent + time };
            let slow = self.rng.chance(1, 8);
            member.caught_up_for = match member.caught_up_for {
                Some(before) if runs => Some(before + time),
                None if runs && !slow => Some(Duration::ZERO),
                _ => None,
            };
        }
    }

    fn runs(&self, id: MemberId) -> bool {
        let Some(member) = self.view.members.get(&id) else { return false };
        let facts = self.view.nodes.get(&member.node).and_then(|node| node.facts.as_ref());
        self.up.get(&member.node) == Some(&true)
            && facts.is_some_and(|facts| facts.member == Some(id))
    }

    /// Executes what is due, if the leader lives.
    fn work(&mut self) {
        if !self.runs(self.view.leader) {
            return;
        }
        let quorate = self.view.is_quorate();
        let Some(step) = rules::next(&self.view) else { return };
        let is_transfer = matches!(step, Step::Transfer { .. });
        self.view.apply(&step);
        self.changes += u64::from(!is_transfer);
        self.losses += u64::from(quorate && !self.view.is_quorate());
    }

    fn note_causes(&mut self) {
        let priority = |place: &Place| {
            let facts = self.view.nodes[&place.node].facts.as_ref().expect("a candidate has facts");
            facts.priority
        };
        let candidates = choice::choose(&self.view).into_iter();
        let eligible = candidates.map(|place| (place.member, priority(&place))).collect();
        let (before, max) = &self.eligible;
        self.causes += before.symmetric_difference(&eligible).count() as u64;
        self.causes += u64::from(*max != self.view.voters_max);
        self.eligible = (eligible, self.view.voters_max);
    }
}

#[test]
fn long_histories_lose_no_quorum_by_reconfiguration_and_change_little() {
    let changes = live_through(HISTORIES);
    assert!(changes > 5 * HISTORIES, "{changes} changes are hardly a history");
}

/// `cargo test --release -p quorate-core --lib -- --ignored --nocapture a_hundred_thousand`
#[test]
#[ignore = "a minute or two; the same with fewer histories is always run"]
fn a_hundred_thousand_histories_lose_no_quorum_by_reconfiguration() {
    let changes = live_through(100_000);
    println!("100000 histories, {changes} changes by the ladder, 0 quorum losses");
}

/// Lives so many histories, each of which keeps its promises; how many changes there were.
fn live_through(histories: u64) -> u64 {
    let mut changes = 0;
    for seed in 0..histories {
        let mut cluster = Cluster::new(seed);
        for _ in 0..12 {
            cluster.live();
            let (changes, causes) = (cluster.changes, cluster.causes);
            assert_eq!(cluster.losses, 0, "RF-6: history {seed} loses its quorum by a step");
            assert!(changes <= 6 * causes, "RF-13: history {seed}: {changes} for {causes}");
        }
        changes += cluster.changes;
    }
    changes
}

/// The reason: a second's worth.
const HISTORIES: u64 = 1000;

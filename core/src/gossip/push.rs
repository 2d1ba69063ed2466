//! What is fresh: pushed to every connected peer at the end of the turn that wrote it, or made a rumour.
//!
//! A change that every direct push delivered is not also a rumour, neither here nor at its receivers. If any
//! member is not connected, or a link refused the frame, it is one too.
//!
//! Invariant G-11: a local write is first sent in the turn that made it.

use std::collections::BTreeMap;

use super::{Gossip, Output};
use crate::ids::{NodeId, Replica};
use crate::time::Instant;
use crate::wire::segment::Topic;

impl Gossip {
    /// Ends a turn: what it wrote is pushed, or becomes rumours. Once per turn, after all inputs.
    pub fn flush(&mut self, now: Instant, out: &mut Vec<Output>) {
        self.told.clear();
        let fresh = std::mem::take(&mut self.fresh);
        if !fresh.is_empty() && !self.roster.is_empty() {
            self.spread(now, fresh, out);
        }
        self.replan(now, out);
        self.assert_invariants();
    }

    /// Whether the end of this turn would change anything.
    pub fn awaits_flush(&self, now: Instant) -> bool {
        !self.fresh.is_empty() || !self.told.is_clear() || self.pulls.is_due(now)
    }

    /// Whether our members are few enough to be told one by one.
    fn is_direct(&self) -> bool {
        self.members() <= self.settings.direct_max
    }

    fn spread(
        &mut self,
        now: Instant,
        fresh: BTreeMap<(Topic, Replica), (u64, u64)>,
        out: &mut Vec<Output>,
    ) {
        let reached = self.roster.nodes().iter().filter(|node| self.linked.contains(*node)).count();
        let pushes = self.is_direct() && reached > 0;
        let reaches_all = reached == self.roster.len();
        let was_idle = self.backlog.is_empty();
        let mut pushed = Vec::new();
        let mut rumours = false;
        for ((topic, replica), (from, upto)) in fresh {
            let is_pushed = pushes && topic.is_prompt();
            if !is_pushed || !reaches_all {
                sometimes!("gossip.rumour");
                self.backlog.enqueue(topic, &replica, from, upto);
                rumours = true;
            }
            if is_pushed {
                sometimes!("gossip.pushed_to_some", !reaches_all);
                sometimes!("gossip.pushed");
                pushed.push((topic, replica, from, upto));
            }
        }
        if !pushed.is_empty() {
            out.push(Output::Push { fresh: pushed });
        }
        if rumours {
            self.send_at_once(now, was_idle, out);
        }
    }

    /// The first transmission of a fresh rumour does not wait for the next round (G-11): an idle node
    /// makes it its round, a busy one sends a single datagram more.
    fn send_at_once(&mut self, now: Instant, was_idle: bool, out: &mut Vec<Output>) {
        if was_idle {
            self.round(now, out);
        } else {
            sometimes!("gossip.rumour_while_busy");
            let target = self.roster.draw(1, &mut self.rng).into_iter();
            out.extend(target.map(|target| Output::Round { target, datagrams: 1 }));
            self.await_round(now);
        }
    }

    pub(super) fn written(&mut self, topic: Topic, replica: Replica, from: u64, upto: u64) {
        let fresh = self.fresh.entry((topic, replica)).or_insert((from, upto));
        *fresh = (from.min(fresh.0), upto.max(fresh.1));
    }

    /// News of somebody else is passed on once, unless its owner has just told everybody, or it is old
    /// news that we asked for.
    pub(super) fn applied(
        &mut self,
        now: Instant,
        topic: Topic,
        replica: &Replica,
        (from, upto): (u64, u64),
        learnt_from: &NodeId,
    ) {
        self.tally.applied += 1;
        let pushed = topic.is_prompt()
            && self.is_direct()
            && *learnt_from == replica.node
            && self.linked.contains(learnt_from);
        sometimes!("gossip.not_passed_on", pushed);
        if !pushed && !self.pulls.answers(topic, replica, learnt_from) {
            sometimes!("gossip.passed_on");
            self.rumour(now, topic, replica, from, upto);
            // Whoever told us has it.
            self.backlog.known(learnt_from, topic, replica, upto);
        }
    }

    pub(super) fn rumour(
        &mut self,
        now: Instant,
        topic: Topic,
        replica: &Replica,
        from: u64,
        upto: u64,
    ) {
        if self.roster.nodes().iter().any(|node| *node != replica.node) {
            self.backlog.enqueue(topic, replica, from, upto);
            self.await_round(now);
        }
    }
}

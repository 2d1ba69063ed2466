//! One turn: what an input leads to beyond its own noun.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

#[cfg(any(test, feature = "simulation"))]
use super::swim::Seen;
use super::swim::{self, Identity, Known};
use super::table::Row;
use super::{Membership, Output, Refusal, Seed, State, contact};
use crate::ids::NodeId;
use crate::limits;
use crate::time::Instant;
use crate::wire::Transport;
use crate::wire::message::{Purpose, Retired};

impl Membership {
    pub(super) fn start(&mut self, now: Instant, out: &mut Vec<Output>) {
        if !self.started {
            self.started = true;
            self.write_facts(out);
            if self.kept.len() > self.fences.len() {
                self.persist(out);
            }
            self.seeds.pursue(now, true);
            self.try_seeds(now, out);
        }
    }

    pub(super) fn tick(&mut self, now: Instant, out: &mut Vec<Output>) {
        self.swim.tick(now, &self.linked);
        self.try_seeds(now, out);
        self.expire_rows(now, out);
        self.continue_departed(now, out);
        self.expire_evictions(now, out);
        self.end_burst(now, out);
        self.joined |= self.join_deadline <= now;
        if self.sweep_at <= now {
            self.sweep_at = now + contact::SWEEP_INTERVAL;
            self.sweep(now, out);
            self.ask(out);
        }
        if self.sync_at <= now {
            self.sync_at = now + self.rng.jitter(self.settings.sync_interval, SYNC_JITTER_PERCENT);
            if !sim_point!("membership.sync_skipped") {
                self.sync(out);
            }
        }
    }

    pub(super) fn sync(&mut self, out: &mut Vec<Output>) {
        let peers: Vec<&NodeId> = self.linked.iter().filter(|node| self.is_member(node)).collect();
        if let Some(&peer) = self.rng.pick(&peers)
            && self.may_send()
        {
            out.push(Output::SendList { to: peer.clone(), list: self.listed(Purpose::Exchange) });
        }
    }

    pub(super) fn linked(&mut self, now: Instant, peer: Identity, out: &mut Vec<Output>) {
        let node = peer.replica.node.clone();
        if node == self.identity.replica.node {
            return;
        }
        self.seeds.linked(peer.address);
        if self.fences.holds(&peer.replica) {
            sometimes!("membership.linked_fenced");
            self.tell_retired(now, &node, Transport::Link, None, out);
            return;
        }
        self.linked.insert(node.clone());
        if self.rows.get(&node).is_some_and(|row| row.replica == peer.replica && row.is_down()) {
            sometimes!("membership.linked_failed");
            self.tell_departed(now, &node, out);
            return;
        }
        let met = Known::alive(peer.clone());
        if !self.listens_to(&peer.replica) || !self.admits(now, &met, &mut BTreeSet::new(), out) {
            return;
        }
        self.swim.learn(now, [met], true);
        if let Some(row) = self.rows.get_mut(&node) {
            row.heard.frame = now;
        }
        if self.may_send() {
            out.push(Output::SendList { to: node, list: self.listed(Purpose::News) });
        }
        if !self.joined {
            self.swim.announce(now, peer);
        }
    }

    pub(super) fn retired(&mut self, now: Instant, notice: &Retired, out: &mut Vec<Output>) {
        if notice.node == self.identity.replica.node {
            sometimes!("membership.told_retired");
            self.meet(now, notice.fence, None, out);
        }
    }

    pub(super) fn resolved(
        &mut self,
        now: Instant,
        seed: &str,
        addresses: Vec<SocketAddr>,
        out: &mut Vec<Output>,
    ) {
        let known = self.known_addresses();
        self.seeds.resolved(now, seed, addresses, |address| known.contains(address), out);
    }

    pub(super) fn try_seeds(&mut self, now: Instant, out: &mut Vec<Output>) {
        if self.seeds.next_wake() <= now {
            let known = self.known_addresses();
            self.seeds.tick(now, |address| known.contains(address), out);
        }
    }

    fn known_addresses(&self) -> BTreeSet<SocketAddr> {
        let members = self.rows.values().filter(|row| row.is_member()).map(|row| row.address);
        members.chain([self.identity.address]).collect()
    }

    pub(super) fn join(
        &mut self,
        addresses: Vec<String>,
        out: &mut Vec<Output>,
    ) -> Result<(), Refusal> {
        if self.leave.is_some() {
            sometimes!("membership.join_leaving");
            return Err(Refusal::Leaving);
        }
        for address in &addresses {
            address.parse::<Seed>().map_err(|what| Refusal::Addresses { what })?;
        }
        if !self.seeds.add(addresses.iter().cloned()) {
            let what = format!("more than {} seeds are known already", limits::SEEDS_MAX);
            return Err(Refusal::Addresses { what });
        }
        sometimes!("membership.join");
        self.seeds.attempt(&addresses, out);
        Ok(())
    }

    pub(super) fn evict(
        &mut self,
        now: Instant,
        node: &NodeId,
        out: &mut Vec<Output>,
    ) -> Result<(), Refusal> {
        if self.leave.is_some() {
            sometimes!("membership.evict_leaving");
            return Err(Refusal::Leaving);
        }
        let not_failed = |state: State| {
            let (node, state) = (node.clone(), state.name().to_owned());
            Err(Refusal::NotFailed { node, state })
        };
        if *node == self.identity.replica.node {
            sometimes!("membership.evict_ourselves");
            return not_failed(State::Alive);
        }
        let Some(row) = self.rows.get(node) else {
            sometimes!("membership.evict_unknown");
            return Err(Refusal::Unknown { node: node.clone() });
        };
        if row.state != State::Failed {
            sometimes!("membership.evict_not_failed");
            return not_failed(row.state);
        }
        let replica = row.replica.clone();
        sometimes!("membership.evict");
        self.evicted(now, &replica, out);
        self.publish_eviction(now, &replica, out);
        Ok(())
    }

    pub(super) fn relabel(
        &mut self,
        labels: BTreeMap<String, String>,
        out: &mut Vec<Output>,
    ) -> Result<(), Refusal> {
        if self.leave.is_some() {
            sometimes!("membership.labels_leaving");
            return Err(Refusal::Leaving);
        }
        self.set_labels(labels, out)
    }

    /// Carries out what the engine wants, and follows it with the table.
    pub(super) fn settle(&mut self, now: Instant, out: &mut Vec<Output>) {
        let mut changed = false;
        loop {
            let effects = self.swim.take_effects();
            if effects.sends.is_empty() && effects.touched.is_empty() && !effects.exhausted {
                break;
            }
            if effects.exhausted {
                self.meet(now, self.identity.replica.incarnation, None, out);
            }
            self.send(effects.sends, out);
            let touched: BTreeSet<NodeId> = effects.touched.into_iter().collect();
            changed |= !touched.is_empty();
            for (identity, seen) in self.swim.seen_of(&touched) {
                self.reconcile(now, identity, seen, out);
            }
            for node in effects.doubted {
                self.rows.entry(node).and_modify(|row| row.heard.doubted = true);
            }
        }
        if changed {
            self.swim.resize(&self.settings);
        }
        self.continue_leaving(now, out);
        let effects = self.swim.take_effects();
        self.send(effects.sends, out);
        let alone = self.leave.is_none() && self.started && !self.rows.values().any(Row::is_member);
        self.seeds.pursue(now, alone);
    }

    pub(super) fn send(&self, sends: Vec<swim::Send>, out: &mut Vec<Output>) {
        if !self.may_send() {
            return;
        }
        for swim::Send { to, transport, packet } in sends {
            if transport == Transport::Datagram || self.linked.contains(&to.replica.node) {
                let (to, address, packet) = (to.replica.node, to.address, packet.into());
                out.push(Output::Swim { to, address, transport, packet });
            }
        }
    }

    pub(super) fn assert_invariants(&self) {
        assert!(
            self.rows.len() < self.settings.members_max.max(1),
            "M-7: {} rows are more than allowed",
            self.rows.len()
        );
        assert!(self.newest() >= self.identity.replica.incarnation, "M-2: a raise goes up");
    }

    /// What is too much to assert after each input: for the simulator and for tests.
    #[cfg(any(test, feature = "simulation"))]
    pub fn check(&self) -> Result<(), String> {
        for row in self.rows.values() {
            if row.is_member() && self.fences.holds(&row.replica) {
                return Err(format!("M-2: {} is fenced and a member", row.replica));
            }
            let seen = self.swim.seen(&row.replica.node).map(Known::state);
            let down = seen.is_none_or(|state| state == Seen::Down);
            if down != (row.is_down() || !row.is_member()) {
                return Err(format!(
                    "M-9: {} is {:?} but SWIM says {seen:?}",
                    row.replica, row.state
                ));
            }
        }
        if self.fences.len() > self.settings.fences_max || self.departing.len() > self.rows.len() {
            return Err("M-7: a table is beyond its bound".into());
        }
        self.swim.check()
    }
}

const SYNC_JITTER_PERCENT: u32 = 20;

//! When a node takes up a new life.
//!
//! A life that somebody gave up for dead cannot be refuted, only replaced: by a higher incarnation,
//! durable before it is used (M-3). A word about an older life teaches nothing, so any number of notices
//! about one life cause one raise (M-5).

use std::collections::VecDeque;
use std::net::SocketAddr;

use super::swim::{Identity, Swim};
use super::{Membership, Output};
use crate::ids::{Incarnation, Replica};
use crate::limits;
use crate::time::Instant;

/// A raise on its way, and those that point to a second process with our name.
#[derive(Debug, Default)]
pub(super) struct Raise {
    /// What is being made durable.
    pub(super) pending: Option<Incarnation>,
    /// When we were told of lives of ours that were never ours.
    strange: VecDeque<Instant>,
    reported: bool,
}

impl Membership {
    /// The life that we are in, or are about to be in.
    pub(super) fn newest(&self) -> Incarnation {
        self.raise.pending.unwrap_or(self.identity.replica.incarnation)
    }

    /// Somebody holds our life `known` failed or fenced, or it is not ours alone.
    pub(super) fn meet(
        &mut self,
        now: Instant,
        known: Incarnation,
        address: Option<SocketAddr>,
        out: &mut Vec<Output>,
    ) {
        sometimes!("membership.old_word", known < self.newest());
        // The last number there is has no successor: nobody comes to it but by a lie.
        if known < self.newest() || known.next() == known || self.leave.is_some() {
            return;
        }
        sometimes!("membership.raise_begins");
        if known > self.identity.replica.incarnation {
            self.meet_stranger(now, address, out);
        }
        if canary!("membership.ignores_its_death") {
            return;
        }
        self.raise.pending = Some(known.next());
        self.persist(out);
        if canary!("membership.raises_without_disk") {
            self.persisted(now, known.next(), out);
        }
    }

    fn meet_stranger(&mut self, now: Instant, address: Option<SocketAddr>, out: &mut Vec<Output>) {
        sometimes!("membership.strange_life");
        let strange = &mut self.raise.strange;
        strange.retain(|at| now.since(*at) < limits::DUPLICATE_WINDOW);
        strange.push_back(now);
        if strange.len() >= limits::DUPLICATE_RAISES_MAX && !self.raise.reported {
            self.raise.reported = true;
            out.push(Output::Duplicate { address });
        }
    }

    /// Asks for incarnation and fences to be made durable.
    pub(super) fn persist(&mut self, out: &mut Vec<Output>) {
        let (incarnation, fences) = (self.newest(), self.fences.image());
        let kept = std::mem::replace(&mut self.kept, fences.keys().cloned().collect());
        let dropped = kept.into_iter().filter(|node| !fences.contains_key(node)).collect();
        out.push(Output::Persist { incarnation, fences, dropped });
    }

    pub(super) fn persisted(
        &mut self,
        now: Instant,
        incarnation: Incarnation,
        out: &mut Vec<Output>,
    ) {
        if self.raise.pending != Some(incarnation) {
            sometimes!("membership.raise_overtaken", self.raise.pending.is_some());
            return; // Fences alone, or a raise that a higher one overtook.
        }
        self.raise.pending = None;
        assert!(
            incarnation > self.identity.replica.incarnation,
            "M-2: {incarnation} is no raise of {}",
            self.identity.replica
        );
        self.identity.replica.incarnation = incarnation;
        self.swim.rename(now, self.identity.clone());
        // Whoever led to a seed that held our life for over need not wait to be heard in the new one (M-10).
        self.seeds.begin_anew();
        sometimes!("membership.raised");
        self.events.raised += 1;
        let replica = self.identity.replica.clone();
        out.push(Output::Raised { replica: replica.clone() });
        out.push(Output::Changed { node: replica.node });
    }

    /// We slept so long that everybody has forgotten us, and we must not remind anybody of last week:
    /// everything foreign goes, addresses stay as seeds.
    pub(super) fn slept(&mut self, now: Instant, out: &mut Vec<Output>) {
        sometimes!("membership.slept");
        let rows = std::mem::take(&mut self.rows);
        self.seeds.add(rows.values().map(|row| row.address.to_string()));
        let own = self.identity.replica.node.clone();
        self.facts.retain(|node, _| *node == own);
        self.expiries.clear();
        self.departing.clear();
        self.linked.clear();
        self.full = false;
        self.sleeps += 1;
        let rng = self.rng.child(&format!("swim/{}", self.sleeps));
        self.swim = Swim::new(self.identity.clone(), &self.settings, rng);
        out.push(Output::Slept);
        out.extend(rows.into_keys().map(|node| Output::Changed { node }));
        self.meet(now, self.identity.replica.incarnation, None, out);
    }

    /// Looks for our own name in somebody's words about us; true if the words may enter the engine.
    pub(super) fn names_us(
        &mut self,
        now: Instant,
        said: &Identity,
        down: bool,
        out: &mut Vec<Output>,
    ) -> bool {
        let Replica { incarnation, .. } = said.replica;
        let exact = *said == self.identity;
        let ours = self.identity.replica.incarnation;
        sometimes!("membership.named_down", down && incarnation == ours);
        if incarnation > ours || (incarnation == ours && (down || !exact)) {
            self.meet(now, incarnation, Some(said.address), out);
        }
        exact && !down
    }
}

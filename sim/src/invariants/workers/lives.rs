//! W-8: the claims that an observer saw, kept over the lives of their owners.
//!
//! An owner that restarts, or takes a higher incarnation because it was given up, registers again what it
//! owned, and its old map stays in view until the new one says `ready`. So no observer may lose a claim that
//! its owner owns throughout, unless it was told that the owner left, was evicted or is forgotten, had to
//! drop everything itself, or waited for the new life as long as it waits.

use std::collections::BTreeMap;

use quorate_core::ids::{Incarnation, NodeId, Notice, Reason};
use quorate_core::node::workers::view::{ClaimView, EntryView};
use quorate_core::time::Instant;

use crate::clock::Micros;

/// What one process saw of others.
#[derive(Debug, Default)]
pub(super) struct Lives {
    /// Since when, by the world's time, a claim of a node is in view here.
    seen: BTreeMap<NodeId, BTreeMap<String, Micros>>,
    /// When the present life of a node appeared here.
    since: BTreeMap<NodeId, Instant>,
    /// The last life of a node that this process was told is over. What lingers of it ends when it ends.
    over: BTreeMap<NodeId, Incarnation>,
}

impl Lives {
    /// Membership noticed something.
    pub(super) fn notice(&mut self, now: Instant, notice: &Notice) {
        match notice {
            Notice::Renamed { new: replica, .. } => {
                _ = self.since.insert(replica.node.clone(), now);
            }
            Notice::Departed { replica, reason: Reason::Left | Reason::Evicted } => {
                self.end(&replica.node, replica.incarnation);
            }
            Notice::Forgotten { node, fence } => self.end(node, *fence),
            Notice::Up { .. }
            | Notice::Suspect { .. }
            | Notice::Refuted { .. }
            | Notice::Departed { reason: Reason::Failed, .. } => {}
        }
    }

    fn end(&mut self, node: &NodeId, life: Incarnation) {
        self.seen.remove(node);
        let over = self.over.entry(node.clone()).or_default();
        *over = life.max(*over);
    }

    /// Everything foreign was dropped.
    pub(super) fn slept(&mut self) {
        self.seen.clear();
    }

    /// The entry of `url` as it is now, or that there is none: whose claims are no longer among it, with
    /// the time since when their owners are in the life that they are in, and since when they were seen.
    pub(super) fn entry(&mut self, now: Micros, url: &str, entry: Option<&EntryView>) -> Vec<Lost> {
        let claims = entry.map(|entry| entry.claims.as_slice()).unwrap_or_default();
        let mut lost = Vec::new();
        for (owner, seen) in &mut self.seen {
            if claims.iter().any(|claim| claim.owner == *owner) {
                continue;
            }
            if let Some(seen) = seen.remove(url) {
                lost.push((owner.clone(), self.since.get(owner).copied(), seen));
            }
        }
        let over = |claim: &ClaimView| self.over.get(&claim.owner) >= Some(&claim.incarnation);
        for claim in claims.iter().filter(|claim| !over(claim)) {
            let seen = self.seen.entry(claim.owner.clone()).or_default();
            if !seen.contains_key(url) {
                seen.insert(url.to_owned(), now);
            }
        }
        lost
    }
}

/// Whose claim is gone, since when that node is in its present life, and since when the claim was seen.
type Lost = (NodeId, Option<Instant>, Micros);

//! W-8: the claims that an observer saw, kept over the lives of their owners.
//!
//! An owner that restarts, or takes a higher incarnation because it was given up, registers again what it
//! owned, and its old map stays in view until the new one says `ready`. So no observer may lose a claim that
//! its owner owns throughout, unless it was told that the owner left, was evicted or is forgotten, had to
//! drop everything itself, or waited for a life newer than the claim's as long as it waits. A wait that was over
//! when a still newer life appeared counts: both may come to light in the turn in which a paused process goes on.

use std::collections::BTreeMap;
use std::time::Duration;

use quorate_core::ids::{Incarnation, NodeId, Notice, Reason};
use quorate_core::node::workers::view::{ClaimView, EntryView};
use quorate_core::time::Instant;

/// What one process saw of others.
#[derive(Debug, Default)]
pub(super) struct Lives {
    /// By URL, since one entry is looked at at a time.
    seen: BTreeMap<String, BTreeMap<NodeId, Version>>,
    /// The present life of a node, and when it appeared here.
    present: BTreeMap<NodeId, (Incarnation, Instant)>,
    /// The last life of a node that was waited for as long as this process waits, before a newer one appeared.
    waited: BTreeMap<NodeId, Incarnation>,
    /// The last life of a node that this process was told is over. What lingers of it ends when it ends.
    over: BTreeMap<NodeId, Incarnation>,
}

/// A claim as it was last: of which life, and its version there. An owner that gives a URL up and registers it anew goes on
/// counting, so what belongs to which of the two is told apart however late it is heard.
pub(super) type Version = (Incarnation, u64);

impl Lives {
    /// Membership noticed something; this process waits for a new life for `patience`.
    pub(super) fn notice(&mut self, now: Instant, patience: Duration, notice: &Notice) {
        match notice {
            Notice::Renamed { new, .. } => {
                let present = (new.incarnation, now);
                let former = self.present.insert(new.node.clone(), present);
                let over = former.filter(|(_, since)| now.since(*since) >= patience);
                if let Some((life, _)) = over {
                    self.waited.insert(new.node.clone(), life);
                }
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
        self.seen.retain(|_, owners| {
            owners.remove(node);
            !owners.is_empty()
        });
        let over = self.over.entry(node.clone()).or_default();
        *over = life.max(*over);
    }

    /// Everything foreign was dropped.
    pub(super) fn slept(&mut self) {
        self.seen.clear();
    }

    /// The entry of `url` as it is now, or that there is none: whose claims are no longer among it though they
    /// should be, and what they were.
    pub(super) fn entry(
        &mut self,
        local: Instant,
        patience: Duration,
        url: &str,
        entry: Option<&EntryView>,
    ) -> Vec<(NodeId, Version)> {
        let claims = entry.map(|entry| entry.claims.as_slice()).unwrap_or_default();
        let mut lost = Vec::new();
        let mut seen = self.seen.remove(url).unwrap_or_default();
        let here = |owner: &NodeId| claims.iter().any(|claim| claim.owner == *owner);
        for (owner, last) in seen.extract_if(.., |owner, _| !here(owner)) {
            let waited = self.waited.get(&owner).is_some_and(|waited| *waited > last.0);
            let waits = self.present.get(&owner).is_some_and(|(present, since)| {
                *present > last.0 && local.since(*since) >= patience
            });
            if !waited && !waits {
                lost.push((owner, last));
            }
        }
        let over = |claim: &ClaimView| self.over.get(&claim.owner) >= Some(&claim.incarnation);
        for claim in claims.iter().filter(|claim| !over(claim)) {
            seen.insert(claim.owner.clone(), (claim.incarnation, claim.version));
        }
        if !seen.is_empty() {
            self.seen.insert(url.to_owned(), seen);
        }
        lost
    }
}

//! Who is there to be told, and whose maps are told of.
//!
//! Invariant G-12: for a departed peer nothing is kept, asked or owed.

use std::time::Duration;

use super::{Gossip, Peer};
use crate::ids::{NodeId, Notice, Replica};
use crate::time::Instant;

impl Gossip {
    pub(super) fn noticed(&mut self, now: Instant, notice: Notice) {
        match notice {
            Notice::Up { replica, .. } | Notice::Renamed { new: replica, .. } => {
                self.joined(now, &replica);
            }
            Notice::Departed { replica, .. } => self.departed(&replica),
            Notice::Forgotten { node, fence } => {
                self.departed(&Replica { node: node.clone(), incarnation: fence });
                self.known.retain(|other, newest| *other != node || *newest > fence);
                self.drop_sources(|source| source.node == node && source.incarnation <= fence);
            }
            Notice::Suspect { .. } | Notice::Refuted { .. } => {}
        }
    }

    fn joined(&mut self, now: Instant, replica: &Replica) {
        let Replica { node, incarnation } = replica;
        if *node == self.local.node {
            return;
        }
        let newest = self.known.entry(node.clone()).or_default();
        *newest = (*newest).max(*incarnation);
        if self.peers.get(node).is_some_and(|peer| peer.incarnation >= *incarnation) {
            return;
        }
        sometimes!("gossip.peer_lives_anew", self.peers.contains_key(node));
        // A new life has heard of nothing.
        self.forget(node);
        let peer = Peer { incarnation: *incarnation, cursor: 0, behind: 0, last_digest: None };
        if self.peers.insert(node.clone(), peer).is_none() {
            self.roster.insert(node, &mut self.rng);
            self.backlog.resize(self.members());
        }
        if self.digest_at.is_none() {
            let wait = self.rng.between(Duration::ZERO, self.settings.digest_interval);
            self.digest_at = Some(now + wait);
        }
    }

    fn departed(&mut self, replica: &Replica) {
        let node = &replica.node;
        if self.peers.get(node).is_none_or(|peer| peer.incarnation > replica.incarnation) {
            return;
        }
        self.depart(node);
    }

    fn depart(&mut self, node: &NodeId) {
        self.peers.remove(node);
        self.forget(node);
        self.roster.remove(node);
        self.backlog.resize(self.members());
        if self.roster.is_empty() {
            sometimes!("gossip.alone");
            self.backlog.retire_known(&[]);
            self.round_at = None;
            self.digest_at = None;
        }
    }

    /// What was known of a peer and owed to it is void (G-12).
    fn forget(&mut self, node: &NodeId) {
        self.backlog.forget(node);
        self.lanes.forget(node);
        self.pulls.forget(node);
    }

    fn drop_sources(&mut self, is_gone: impl Fn(&Replica) -> bool) {
        self.backlog.drop_sources(&is_gone);
        self.lanes.drop_sources(&is_gone);
        self.pulls.drop_sources(&is_gone);
        self.ledger.drop_sources(&is_gone);
        self.fresh.retain(|(_, source), _| !is_gone(source));
    }

    pub(super) fn link(&mut self, now: Instant, peer: NodeId, up: bool) {
        if up {
            self.linked.insert(peer);
        } else if self.linked.remove(&peer) {
            self.pulls.unlinked(now, &peer);
        }
    }

    pub(super) fn raised(&mut self, replica: Replica) {
        sometimes!("gossip.raised");
        self.local = replica;
        let local = self.local.clone();
        self.drop_sources(|source| source.node == local.node && *source != local);
    }

    /// Nobody departed, and nobody is here any more: whoever still is comes up again.
    pub(super) fn slept(&mut self) {
        sometimes!("gossip.slept");
        let local = self.local.clone();
        self.drop_sources(|source| *source != local);
        for node in self.peers.keys().cloned().collect::<Vec<_>>() {
            self.depart(&node);
        }
        self.known.clear();
    }
}

//! Two logs in one cluster: nodes that share no seed founded one each, or a survivor was made to begin anew.
//!
//! Nothing merges them, and no node gives up its own: links between the two are refused, and both say so
//! until an operator has decided.
//!
//! Absent on purpose: that decision.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use super::{NodeId, Output, Raft};
use crate::limits;
use crate::time::Instant;

/// Whoever keeps another log: where a handshake failed for that, and whom facts show.
#[derive(Debug, Default)]
pub(super) struct Strangers {
    met: BTreeMap<SocketAddr, (Option<NodeId>, Instant)>,
    /// As told, by name or else by address.
    pub(super) all: BTreeSet<String>,
}

impl Strangers {
    /// A handshake failed for it.
    pub(super) fn note(&mut self, now: Instant, address: SocketAddr, node: Option<NodeId>) {
        if self.met.len() < limits::RAFT_STRANGERS_MAX || self.met.contains_key(&address) {
            let known = self.met.remove(&address).and_then(|(node, _)| node);
            self.met.insert(address, (node.or(known), now + REMEMBERED_FOR));
        }
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        self.met.values().map(|(_, until)| *until).min()
    }

    /// Forgets whoever was not met again; whether there was one.
    pub(super) fn expire(&mut self, now: Instant) -> bool {
        let before = self.met.len();
        self.met.retain(|_, (_, until)| *until > now);
        self.met.len() < before
    }
}

impl Raft {
    /// Who keeps another log than this node, as far as is known now; whoever is new is told.
    pub(super) fn compare_logs(&mut self, out: &mut Vec<Output>) {
        let Some(genesis) = self.identity.genesis else { return };
        let other = self.peers.iter().filter(|(node, peer)| {
            let another = peer.genesis.is_some_and(|theirs| theirs != genesis);
            another && self.ladder.is_alive(node)
        });
        let mut all: BTreeSet<String> = other.map(|(node, _)| node.to_string()).collect();
        for (address, (node, _)) in &self.strangers.met {
            all.insert(node.as_ref().map_or_else(|| address.to_string(), NodeId::to_string));
        }
        for with in all.difference(&self.strangers.all) {
            out.push(Output::Conflict { with: with.clone() });
        }
        self.strangers.all = all;
    }
}

/// A refused node is dialled once a minute.
const REMEMBERED_FOR: Duration = Duration::from_secs(150);

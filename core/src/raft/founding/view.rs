//! What a founder sees of the others, and what follows from it alone.
//!
//! Absent on purpose: time; how long a view has stood is the founder's to know.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::ids::{MemberId, NodeId};
use crate::raft::ladder::first_voters;

/// How a node stands to logs, as its facts say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::raft) enum State {
    /// It has none and waits to be added.
    None,
    /// It wants to found one, when so many are there.
    Pre {
        /// How many it expects.
        expect: u8,
    },
    /// It has one.
    In,
}

/// One member of the cluster, this node included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::raft) struct Founder {
    /// The member id of its log.
    pub(in crate::raft) member: MemberId,
    /// Whether it may vote.
    pub(in crate::raft) eligible: bool,
    /// Lower is chosen first.
    pub(in crate::raft) priority: u32,
    /// What fails together.
    pub(in crate::raft) zone: Arc<str>,
    /// How it stands to logs.
    pub(in crate::raft) state: State,
}

/// Everything that a founder sees.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::raft) struct View {
    /// How many we expect; 0 is never.
    pub(in crate::raft) expect: u8,
    /// How many may vote: 1, 3, 5 or 7.
    pub(in crate::raft) voters_max: u8,
    /// The members whose facts are known, this node included.
    pub(in crate::raft) founders: BTreeMap<NodeId, Founder>,
    /// Whether anybody who is remembered has a log, members or not: a log that is cut off or down is one.
    pub(in crate::raft) has_log: bool,
    /// The members behind the configured seeds; none, unless every address there is a member's.
    pub(in crate::raft) behind_seeds: Option<BTreeSet<NodeId>>,
}

impl View {
    /// Whether a node that is here has a log.
    pub(super) fn is_in(&self, node: &NodeId) -> bool {
        self.founders.get(node).is_some_and(|founder| founder.state == State::In)
    }

    /// The voters of the log that could be begun now; nobody if it is not the time.
    pub(super) fn voters(&self) -> Vec<(MemberId, NodeId)> {
        if self.expect == 0 || self.has_log || self.behind_seeds.is_none() {
            return Vec::new();
        }
        let willing = |founder: &Founder| {
            founder.eligible && founder.state == State::Pre { expect: self.expect }
        };
        let willing = self.founders.iter().filter(|(_, founder)| willing(founder));
        let candidates: Vec<_> = willing
            .map(|(node, founder)| (node, founder.member, founder.priority, &*founder.zone))
            .collect();
        if candidates.len() < usize::from(self.expect) {
            return Vec::new();
        }
        let places = first_voters(candidates.into_iter(), usize::from(self.voters_max));
        places.into_iter().map(|place| (place.member, place.node)).collect()
    }

    /// Who proposes: the voter with the least priority, then name.
    pub(super) fn proposer(&self) -> Option<(MemberId, NodeId)> {
        let priority = |node: &NodeId| self.founders.get(node).map(|founder| founder.priority);
        let mut voters = self.voters();
        voters.sort_by_key(|(_, node)| (priority(node), node.clone()));
        voters.into_iter().next()
    }
}

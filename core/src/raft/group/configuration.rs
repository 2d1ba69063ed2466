//! Who votes in a group, and who listens.
//!
//! Absent on purpose: who should, which the ladder says.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::ids::MemberId;

/// Who votes and who listens.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Configuration {
    /// The voters; while a joint change is open, the ones to come.
    pub voters: BTreeSet<MemberId>,
    /// The voters that a joint change leaves behind.
    pub outgoing: BTreeSet<MemberId>,
    /// The learners.
    pub learners: BTreeSet<MemberId>,
    /// Voters that will be learners when the joint change is over.
    pub learners_next: BTreeSet<MemberId>,
}

impl Configuration {
    /// Whether `member` has any role.
    pub fn contains(&self, member: MemberId) -> bool {
        self.votes(member) || self.learners.contains(&member)
    }

    /// Whether `member` votes, now or until a joint change is over.
    pub fn votes(&self, member: MemberId) -> bool {
        self.voters.contains(&member) || self.outgoing.contains(&member)
    }

    /// Whether nobody but `member` votes: it has nobody to wait for.
    pub fn is_only(&self, member: MemberId) -> bool {
        self.outgoing.is_empty() && self.voters.iter().eq([&member])
    }

    /// Everybody in any role.
    pub fn members(&self) -> BTreeSet<MemberId> {
        let roles = [&self.voters, &self.outgoing, &self.learners];
        roles.into_iter().flatten().copied().collect()
    }
}

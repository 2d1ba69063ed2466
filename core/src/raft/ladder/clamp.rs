//! What no step may do, whatever its rule says.
//!
//! Absent on purpose: which step is wanted.

use std::collections::BTreeSet;

use super::View;
use crate::ids::MemberId;

impl View {
    /// Whether every present configuration has a majority of live voters that are caught up.
    pub(super) fn is_quorate(&self) -> bool {
        self.has_majority(&self.voters)
            && (self.outgoing.is_empty() || self.has_majority(&self.outgoing))
    }

    /// Whether the configuration may become `voters`.
    pub(super) fn may_become(&self, voters: &BTreeSet<MemberId>) -> bool {
        let removes_live = self.voters.difference(voters).any(|id| !self.fate(*id).is_over());
        let keeps_gone = voters.iter().any(|id| self.fate(*id).is_over());
        self.has_majority(voters) && !(removes_live && keeps_gone)
    }

    /// How many of `voters` may fail before they are no majority.
    pub(super) fn spare(&self, voters: &BTreeSet<MemberId>) -> Option<usize> {
        let live = voters.iter().filter(|id| self.counts(**id)).count();
        live.checked_sub(majority(voters.len()))
    }

    fn has_majority(&self, voters: &BTreeSet<MemberId>) -> bool {
        !voters.is_empty() && self.spare(voters).is_some()
    }
}

fn majority(voters: usize) -> usize {
    voters / 2 + 1
}

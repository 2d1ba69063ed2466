//! How a member of the configuration is doing.
//!
//! Absent on purpose: what follows from it, which is the rules'.

use std::time::Duration;

use super::{Standing, View};
use crate::ids::MemberId;

/// How a member is doing, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fate {
    /// It answers.
    Live,
    /// It may only be slow, or restarting.
    Silent,
    /// It was given time, and may still return with its log.
    Lost,
    /// Its log is no more, or its node has left.
    Gone,
}

impl Fate {
    /// Lost or gone: nobody waits for it any more.
    pub(super) fn is_over(self) -> bool {
        self >= Fate::Lost
    }
}

impl View {
    pub(super) fn fate(&self, id: MemberId) -> Fate {
        if id == self.leader {
            return Fate::Live;
        }
        let Some(member) = self.members.get(&id) else { return Fate::Silent };
        let node = self.nodes.get(&member.node);
        let standing = node.map(|node| node.standing);
        let facts = node.and_then(|node| node.facts.as_ref());
        let failed_for = match standing {
            Some(Standing::Failed(ago)) => Some(ago),
            Some(Standing::Alive | Standing::Left) | None => None,
        };
        if standing == Some(Standing::Left) || facts.is_some_and(|facts| facts.member != Some(id)) {
            Fate::Gone
        } else if failed_for.is_some_and(|ago| ago >= self.dead_grace)
            || (failed_for.is_none() && member.silent >= LOST_AFTER.max(self.silent_after))
        {
            Fate::Lost
        } else if failed_for.is_some() || member.silent >= self.silent_after {
            Fate::Silent
        } else {
            Fate::Live
        }
    }

    /// Whether it answers and is within 64 entries of the leader.
    pub(super) fn counts(&self, id: MemberId) -> bool {
        let caught_up = self.members.get(&id).is_some_and(|member| member.caught_up_for.is_some());
        id == self.leader || (caught_up && self.fate(id) == Fate::Live)
    }

    /// Whether a learner may vote: it has been caught up for a while.
    pub(super) fn is_ready(&self, id: MemberId) -> bool {
        let caught_up_for = self.members.get(&id).and_then(|member| member.caught_up_for);
        caught_up_for.is_some_and(|time| time >= READY_AFTER) && self.fate(id) == Fate::Live
    }
}

/// Silence towards the leader after which a voter is lost although membership believes in it. Whom membership
/// holds failed has the operator's grace, however long that is.
const LOST_AFTER: Duration = Duration::from_secs(60);
/// How long a learner stays caught up before it votes: one burst does not make it one of ours.
const READY_AFTER: Duration = Duration::from_secs(2);

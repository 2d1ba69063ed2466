//! The ladder: who votes, who stands by, and the next step towards that.
//!
//! `plan` is a function of what the leader sees. The leader executes its first step, waits until that
//! is applied, and plans anew; the rest is for people who ask where this leads.
//!
//! | # | step | when |
//! | --- | --- | --- |
//! | 1 | `FinishJoint` | a joint change is open; first `Transfer` if it leaves the leader out |
//! | 2 | `AddLearner` | a chosen candidate is in no role |
//! | 3 | `Promote` | there are fewer voters than the target, and a chosen learner is ready |
//! | 4 | `Swap` | a voter other than the leader is gone or not chosen, and a chosen learner is ready |
//! | 5 | `Transfer` | the leader itself is the one whom 4 or 6 would take |
//! | 6 | `Remove` | there are more voters than the target: one gone for good, else a live one |
//! | 7 | `RemoveLost` | nobody can replace the lost, and the live can spare more without them |
//! | 8 | `AddStandby`, `RemoveLearner` | the standbys are others than the next in rank |
//!
//! The clamp holds for each: in every configuration that a step passes through, live voters that are
//! caught up are a majority; no live voter goes while a gone one stays; somebody votes. What it forbids
//! does not apply, so a lost majority has no steps.
//!
//! Invariants (held by this module's tests over every small configuration and over long histories):
//! - RF-6: no step leaves fewer live, caught-up voters than a majority; a plan on its own result is
//!   empty.
//! - RF-13: an ineligible or a new node costs a bounded number of configuration changes.
//! - RF-14: no zone holds more voters than the most even choice gives it.
//!
//! Absent on purpose: time (the view says how long), memory (nothing is remembered between two plans),
//! and the execution of steps, which is the group's.

mod choice;
mod clamp;
mod fate;
mod rules;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::ids::{MemberId, NodeId};
use crate::limits;

pub(super) use choice::first_voters;
pub use choice::{ranked, voters_max};

/// What the leader sees when it plans.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// Who leads, and so who plans.
    pub leader: MemberId,
    /// The voters; while a joint change is open, the ones to come.
    pub voters: BTreeSet<MemberId>,
    /// The voters that a joint change leaves behind; empty if none is open.
    pub outgoing: BTreeSet<MemberId>,
    /// The learners.
    pub learners: BTreeSet<MemberId>,
    /// Everybody in one of these roles.
    pub members: BTreeMap<MemberId, Member>,
    /// Everybody whom membership knows.
    pub nodes: BTreeMap<NodeId, Node>,
    /// Whose log this is.
    pub genesis: u128,
    /// How many may vote: 1, 3, 5 or 7.
    pub voters_max: usize,
    /// How many may stand by.
    pub standbys_max: usize,
    /// How long a failed node may return.
    pub dead_grace: Duration,
    /// Silence after which a voter does not count: the shortest election timeout. Whoever is silent longer
    /// may be starting an election.
    pub silent_after: Duration,
}

/// A member of the configuration, as the leader sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// On which node its log is, as the configuration says.
    pub node: NodeId,
    /// The last entry that it is known to hold.
    pub matched: u64,
    /// How long it has said nothing to the leader. Zero for the leader.
    pub silent: Duration,
    /// How long it has been within 64 entries of the leader; absent if it is not.
    pub caught_up_for: Option<Duration>,
}

/// A node, as membership sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// What membership believes.
    pub standing: Standing,
    /// How long the leader has heard nothing of it on any connection. It is what keeps a node that is
    /// unreachable for the leader alone from being added again as soon as it was removed.
    pub unheard: Duration,
    /// What it says about itself; absent as long as it has said nothing.
    pub facts: Option<Facts>,
}

/// What membership believes of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is a member.
    Alive,
    /// It was given up for dead, so long ago.
    Failed(Duration),
    /// It left or was evicted.
    Left,
}

/// What a node says about itself, as far as the ladder is concerned. Unreadable facts are those of a
/// node that is not eligible.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The member id of its log; absent if it keeps none.
    pub member: Option<MemberId>,
    /// The genesis of its log, if it has begun.
    pub genesis: Option<u128>,
    /// Whether it may vote.
    pub eligible: bool,
    /// Lower is chosen first.
    pub priority: u32,
    /// What fails together. Nodes without a zone share the empty one.
    pub zone: Arc<str>,
    /// Whether it speaks our protocol.
    pub supported: bool,
    /// Whether it is about to leave.
    pub leaving: bool,
}

/// A member and the node on which its log is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The log.
    pub member: MemberId,
    /// The node.
    pub node: NodeId,
}

/// One change towards the goal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Leave the joint configuration.
    FinishJoint,
    /// Send the log to a node that is to vote.
    AddLearner(Place),
    /// Let a learner vote.
    Promote(Place),
    /// Let one vote in place of another, by a joint change.
    Swap {
        /// The learner.
        promote: Place,
        /// The voter.
        remove: Place,
    },
    /// Hand the lead over; done when another leads.
    Transfer {
        /// To this voter.
        to: Place,
    },
    /// Take a vote away.
    Remove(Place),
    /// Take the votes of lost members away, by a joint change.
    RemoveLost(Vec<Place>),
    /// Send the log to a node that is to stand by.
    AddStandby(Place),
    /// Send the log no more.
    RemoveLearner(Place),
}

/// The steps from `view` to its goal, as far as they follow from it. The first is to be executed, then
/// the rest is planned anew.
pub fn plan(view: &View) -> Vec<Step> {
    let mut view = view.clone();
    let mut steps = Vec::new();
    while let Some(step) = rules::next(&view) {
        if steps.len() == limits::LADDER_STEPS_MAX {
            break;
        }
        view.apply(&step);
        steps.push(step);
    }
    steps
}

/// Whether nothing is due: no step, and none once the learners have caught up. Nothing is settled while
/// no quorum is caught up.
pub fn settled(view: &View) -> bool {
    let mut later = view.clone();
    for (id, member) in &mut later.members {
        if later.learners.contains(id) {
            member.caught_up_for = Some(Duration::MAX);
        }
    }
    view.is_quorate() && rules::next(view).is_none() && rules::next(&later).is_none()
}

impl View {
    /// What the configuration is once `step` is done.
    fn apply(&mut self, step: &Step) {
        match step {
            Step::FinishJoint => self.outgoing.clear(),
            Step::AddLearner(place) | Step::AddStandby(place) => {
                self.learners.insert(place.member);
                self.members.insert(place.member, Member::new(place.node.clone()));
            }
            Step::Promote(place) => self.promote(place.member),
            Step::Swap { promote, remove } => {
                self.outgoing = self.voters.clone();
                self.promote(promote.member);
                self.voters.remove(&remove.member);
            }
            Step::Transfer { to } => self.leader = to.member,
            Step::Remove(place) => {
                self.voters.remove(&place.member);
            }
            Step::RemoveLost(places) => {
                self.outgoing = self.voters.clone();
                self.voters.retain(|voter| places.iter().all(|place| place.member != *voter));
            }
            Step::RemoveLearner(place) => {
                self.learners.remove(&place.member);
            }
        }
        let roles = [&self.voters, &self.outgoing, &self.learners];
        self.members.retain(|id, _| roles.iter().any(|role| role.contains(id)));
    }

    fn promote(&mut self, member: MemberId) {
        self.learners.remove(&member);
        self.voters.insert(member);
    }

    /// The member with its node; a member that nobody placed has none.
    fn place(&self, member: MemberId) -> Option<Place> {
        self.members.get(&member).map(|row| Place { member, node: row.node.clone() })
    }
}

impl Member {
    fn new(node: NodeId) -> Member {
        Member { node, matched: 0, silent: Duration::ZERO, caught_up_for: None }
    }
}

impl Step {
    /// Its name among the labels of the metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Step::FinishJoint => "finish_joint",
            Step::AddLearner(_) => "add_learner",
            Step::Promote(_) => "promote",
            Step::Swap { .. } => "swap",
            Step::Transfer { .. } => "transfer",
            Step::Remove(_) => "remove",
            Step::RemoveLost(_) => "remove_lost",
            Step::AddStandby(_) => "add_standby",
            Step::RemoveLearner(_) => "remove_learner",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::FinishJoint => f.write_str("finish the joint change"),
            Step::AddLearner(place) => write!(f, "add {} as learner", place.node),
            Step::Promote(place) => write!(f, "promote {}", place.node),
            Step::Swap { promote, remove } => {
                write!(f, "swap {} for {}", remove.node, promote.node)
            }
            Step::Transfer { to } => write!(f, "transfer to {}", to.node),
            Step::Remove(place) => write!(f, "remove {}", place.node),
            Step::RemoveLost(places) => {
                f.write_str("remove lost")?;
                places.iter().try_for_each(|place| write!(f, " {}", place.node))
            }
            Step::AddStandby(place) => write!(f, "add {} as standby", place.node),
            Step::RemoveLearner(place) => write!(f, "remove learner {}", place.node),
        }
    }
}

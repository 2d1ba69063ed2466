//! The eight rules, in the order in which they are asked.
//!
//! Absent on purpose: how the order of candidates arises, and what the clamp forbids.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use super::choice::{choose, target};
use super::fate::Fate;
use super::{Place, Step, View};
use crate::ids::MemberId;

/// The one step that is due, if any.
pub(super) fn next(view: &View) -> Option<Step> {
    if !view.is_quorate() {
        return None;
    }
    if !view.outgoing.is_empty() {
        return finish(view);
    }
    let candidates = choose(view);
    if candidates.is_empty() {
        return None; // Nobody says that it may vote: whoever votes keeps the log.
    }
    // A voter of whom nothing was heard yet keeps its place: a leader that has just started knows few.
    let unheard = unheard(view);
    let target = target(candidates.len() + unheard, view.voters_max);
    let places = target.saturating_sub(unheard).clamp(1, candidates.len());
    let (chosen, rest) = candidates.split_at(places);
    let standbys = rest.get(..view.standbys_max.min(rest.len())).unwrap_or_default();
    let goal = Goal { view, target, chosen, standbys };
    goal.add_learner()
        .or_else(|| goal.promote())
        .or_else(|| goal.swap())
        .or_else(|| goal.transfer())
        .or_else(|| goal.remove())
        .or_else(|| goal.remove_lost())
        .or_else(|| goal.change_standbys())
}

/// The voters that may well live and have not said yet who they are.
fn unheard(view: &View) -> usize {
    let says = |id: &MemberId| {
        let node = view.members.get(id).and_then(|member| view.nodes.get(&member.node));
        node.is_some_and(|node| node.facts.is_some())
    };
    view.voters.iter().filter(|id| !view.fate(**id).is_over() && !says(id)).count()
}

/// The configuration that the view calls for.
struct Goal<'a> {
    view: &'a View,
    target: usize,
    /// The voters to be, best first.
    chosen: &'a [Place],
    /// The learners to be, best first.
    standbys: &'a [Place],
}

/// Ends a joint change. One that leaves the leader out ends after another leads.
fn finish(view: &View) -> Option<Step> {
    if view.voters.contains(&view.leader) {
        return Some(Step::FinishJoint);
    }
    let heirs = view.voters.iter().copied().filter(|id| view.counts(*id));
    let places = heirs.filter_map(|id| view.place(id));
    let to =
        places.max_by_key(|place| (matched(view, place.member), Reverse(place.node.clone())))?;
    Some(Step::Transfer { to })
}

impl Goal<'_> {
    /// RF-5: where former lives of nodes that keep no store still listen, one of them goes first.
    fn add_learner(&self) -> Option<Step> {
        let idle = self.chosen.iter().find(|place| !self.has_role(place.member))?;
        let full = self.view.learners.len() >= self.view.standbys_max + self.target;
        let removed = full.then(|| self.remove_learner()).flatten();
        removed.or_else(|| Some(Step::AddLearner(idle.clone())))
    }

    fn promote(&self) -> Option<Step> {
        if self.view.voters.len() >= self.target {
            return None;
        }
        let grown = |place: &&Place| {
            let mut voters = self.view.voters.clone();
            voters.insert(place.member);
            self.view.may_become(&voters)
        };
        self.ready().find(grown).cloned().map(Step::Promote)
    }

    fn swap(&self) -> Option<Step> {
        let promote = self.ready().next()?;
        let remove = self.unwanted().into_iter().find(|id| {
            (*id != self.view.leader || self.view.voters.len() == 1)
                && self.view.may_become(&self.swapped(*id, promote.member))
        })?;
        Some(Step::Swap { promote: promote.clone(), remove: self.view.place(remove)? })
    }

    fn transfer(&self) -> Option<Step> {
        let leader = self.view.leader;
        if !self.unwanted().contains(&leader) || !self.would_go(leader) {
            return None;
        }
        let heirs = self.chosen.iter().filter(|place| {
            self.view.voters.contains(&place.member) && self.view.counts(place.member)
        });
        // The reason for `rev`: of several with the highest match, `max_by_key` keeps the last.
        let to = heirs.rev().max_by_key(|place| matched(self.view, place.member))?;
        Some(Step::Transfer { to: to.clone() })
    }

    fn remove(&self) -> Option<Step> {
        let removable = |id: &MemberId| *id != self.view.leader && self.is_removable(*id);
        let removed = self.unwanted().into_iter().find(removable)?;
        Some(Step::Remove(self.view.place(removed)?))
    }

    fn remove_lost(&self) -> Option<Step> {
        let view = self.view;
        if self.chosen.iter().any(|place| !view.voters.contains(&place.member)) {
            return None; // Somebody is on the way to replace one.
        }
        let mut lost: Vec<MemberId> =
            view.voters.iter().copied().filter(|id| view.fate(*id).is_over()).collect();
        lost.sort_by_key(|id| {
            let member = view.members.get(id);
            Reverse((view.fate(*id), member.map(|member| (member.silent, member.node.clone()))))
        });
        // The reason: the fewest that help most; another that is removed could not return.
        let mut best = (view.spare(&view.voters)?, 0);
        for count in 1..=lost.len() {
            let spare = view.spare(&without(&view.voters, &lost, count)).unwrap_or(0);
            if spare > best.0 {
                best = (spare, count);
            }
        }
        let count = best.1;
        let allowed = count > 0 && view.may_become(&without(&view.voters, &lost, count));
        let places = lost.into_iter().take(count).filter_map(|id| view.place(id));
        allowed.then(|| Step::RemoveLost(places.collect()))
    }

    fn change_standbys(&self) -> Option<Step> {
        self.remove_learner().or_else(|| {
            let idle = self.standbys.iter().find(|place| !self.has_role(place.member))?;
            Some(Step::AddStandby(idle.clone()))
        })
    }

    /// Removes a learner that is neither chosen nor a standby.
    fn remove_learner(&self) -> Option<Step> {
        let wanted = |id: &MemberId| {
            self.chosen.iter().chain(self.standbys).any(|place| place.member == *id)
        };
        let unwanted = self.view.learners.iter().copied().filter(|id| !wanted(id));
        let unwanted = unwanted.filter_map(|id| self.view.place(id));
        unwanted.min_by(|one, other| one.node.cmp(&other.node)).map(Step::RemoveLearner)
    }

    /// The chosen learners that may vote, best first.
    fn ready(&self) -> impl Iterator<Item = &Place> {
        self.chosen.iter().filter(|place| {
            self.view.learners.contains(&place.member) && self.view.is_ready(place.member)
        })
    }

    /// The voters that are gone or not chosen, the first to go first. A live one that has not said yet
    /// who it is stays.
    fn unwanted(&self) -> Vec<MemberId> {
        let view = self.view;
        let unchosen = view.voters.iter().copied();
        let unchosen = unchosen.filter(|id| self.rank(*id) >= self.target && self.is_known(*id));
        let mut unwanted: Vec<MemberId> = unchosen.collect();
        unwanted.sort_by_key(|id| {
            let node = view.members.get(id).map(|member| &member.node);
            Reverse((view.fate(*id), self.rank(*id), node))
        });
        unwanted
    }

    fn is_known(&self, id: MemberId) -> bool {
        let node = self.view.members.get(&id).and_then(|member| self.view.nodes.get(&member.node));
        self.view.fate(id).is_over() || node.is_some_and(|node| node.facts.is_some())
    }

    /// Its position among the chosen and the standbys; whoever is neither comes last.
    fn rank(&self, id: MemberId) -> usize {
        let mut ranks = self.chosen.iter().chain(self.standbys);
        ranks.position(|place| place.member == id).unwrap_or(usize::MAX)
    }

    /// Whether rule 4 or 6 would take `id` if it did not lead.
    fn would_go(&self, id: MemberId) -> bool {
        let replaced = self
            .ready()
            .next()
            .is_some_and(|ready| self.view.may_become(&self.swapped(id, ready.member)));
        replaced || self.is_removable(id)
    }

    fn is_removable(&self, id: MemberId) -> bool {
        let fate = self.view.fate(id);
        self.view.voters.len() > self.target
            && (fate == Fate::Live || fate == Fate::Gone)
            && self.view.may_become(&without(&self.view.voters, &[id], 1))
    }

    fn swapped(&self, remove: MemberId, promote: MemberId) -> BTreeSet<MemberId> {
        let mut voters = self.view.voters.clone();
        voters.remove(&remove);
        voters.insert(promote);
        voters
    }

    fn has_role(&self, id: MemberId) -> bool {
        self.view.voters.contains(&id) || self.view.learners.contains(&id)
    }
}

fn matched(view: &View, id: MemberId) -> u64 {
    view.members.get(&id).map_or(0, |member| member.matched)
}

/// `voters` without the first `count` of `removed`.
fn without(voters: &BTreeSet<MemberId>, removed: &[MemberId], count: usize) -> BTreeSet<MemberId> {
    let mut left = voters.clone();
    for id in removed.iter().take(count) {
        left.remove(id);
    }
    left
}

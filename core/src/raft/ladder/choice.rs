//! Who is chosen: how many, and in which order.
//!
//! Voters are picked one by one: the candidate whose zone has the fewest picked already, then the least
//! priority, then whoever votes or learns now, then the node id. Zones so fill evenly, an operator's
//! priority beats habit, and habit beats names. Picking like that is the same as sorting by (position in
//! the own zone's order, order), which is how it is done here.
//!
//! Absent on purpose: standbys as such; they are the next of the same order.

use std::collections::BTreeMap;
use std::time::Duration;

use super::fate::Fate;
use super::{Facts, Node, Place, Standing, View};
use crate::ids::{MemberId, NodeId};
use crate::limits;

/// What becomes of an asked number of voters: 0 is the default, an even one the next lower odd one.
pub fn voters_max(asked: usize) -> usize {
    match asked.min(limits::VOTERS_MAX) {
        0 => DEFAULT_VOTERS_MAX,
        even if even.is_multiple_of(2) => even - 1,
        odd => odd,
    }
}

/// Every eligible node, best first, from facts alone: the order in which anybody looks for the leader.
pub fn ranked(nodes: &BTreeMap<NodeId, Node>, genesis: Option<u128>) -> Vec<NodeId> {
    let candidates = nodes.iter().filter_map(|(node, row)| {
        let facts = eligible(row, genesis)?;
        (row.standing == Standing::Alive).then(|| Candidate::new(node, facts, Role::None))
    });
    order(candidates.flatten().collect()).into_iter().map(|place| place.node).collect()
}

/// The voters of a log that has none yet, best first. A candidate is (node, member, priority, zone).
pub(in crate::raft) fn first_voters<'a>(
    candidates: impl Iterator<Item = (&'a NodeId, MemberId, u32, &'a str)>,
    voters_max: usize,
) -> Vec<Place> {
    let candidates = candidates.map(|(node, member, priority, zone)| Candidate {
        zone,
        order: (priority, Role::None, node),
        place: Place { member, node: node.clone() },
    });
    let mut voters = order(candidates.collect());
    voters.truncate(target(voters.len(), voters_max));
    voters
}

/// The candidates of a view, best first.
pub(super) fn choose(view: &View) -> Vec<Place> {
    order(view.nodes.iter().filter_map(|(node, row)| candidate(view, node, row)).collect())
}

/// How many of `eligible` candidates vote.
pub(super) fn target(eligible: usize, voters_max: usize) -> usize {
    match eligible.min(voters_max) {
        0 => 0,
        // The reason: two voters are no safer than one, but the second is there when the third comes.
        2 => 2,
        even if even.is_multiple_of(2) => even - 1,
        odd => odd,
    }
}

/// Better first: whoever votes now stays at equal priority.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Role {
    Voter,
    Learner,
    None,
}

struct Candidate<'a> {
    zone: &'a str,
    order: (u32, Role, &'a NodeId),
    place: Place,
}

impl<'a> Candidate<'a> {
    fn new(node: &'a NodeId, facts: &'a Facts, role: Role) -> Option<Candidate<'a>> {
        let place = Place { member: facts.member?, node: node.clone() };
        Some(Candidate { zone: &facts.zone, order: (facts.priority, role, node), place })
    }
}

fn candidate<'a>(view: &View, node: &'a NodeId, row: &'a Node) -> Option<Candidate<'a>> {
    let facts = eligible(row, Some(view.genesis))?;
    let member = facts.member?;
    let placed = view.members.get(&member);
    if placed.is_some_and(|placed| placed.node != *node) {
        return None; // Two nodes claim one log; the configuration says whose it is.
    }
    let (role, there) = if view.voters.contains(&member) {
        (Role::Voter, !view.fate(member).is_over())
    } else if view.learners.contains(&member) {
        let silent = placed.map_or(Duration::ZERO, |placed| placed.silent);
        (Role::Learner, silent < view.dead_grace && view.fate(member) < Fate::Lost)
    } else {
        (Role::None, row.standing == Standing::Alive && row.unheard < view.dead_grace)
    };
    there.then(|| Candidate::new(node, facts, role))?
}

fn eligible(row: &Node, genesis: Option<u128>) -> Option<&Facts> {
    let facts = row.facts.as_ref()?;
    let ours = facts.genesis.is_none() || facts.genesis == genesis;
    let willing = facts.eligible && facts.supported && !facts.leaving;
    (willing && ours && row.standing != Standing::Left).then_some(facts)
}

fn order(mut candidates: Vec<Candidate<'_>>) -> Vec<Place> {
    candidates.sort_by(|one, other| (one.zone, one.order).cmp(&(other.zone, other.order)));
    let mut picked: BTreeMap<&str, usize> = BTreeMap::new();
    let mut positioned: Vec<_> = candidates
        .into_iter()
        .map(|candidate| {
            let count = picked.entry(candidate.zone).or_default();
            *count += 1;
            ((*count, candidate.order), candidate.place)
        })
        .collect();
    positioned.sort_by_key(|(order, _)| *order);
    positioned.into_iter().map(|(_, place)| place).collect()
}

const DEFAULT_VOTERS_MAX: usize = 5;

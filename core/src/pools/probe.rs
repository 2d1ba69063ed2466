//! One try of a half-open target in the whole fleet, without agreement.
//!
//! Nodes whose requests could use the target publish *demand*. Of the members with demand the one with the
//! greatest hash over target, rest, attempt, node and life sends the try, once it has seen the same
//! candidates for half a second and nobody else's try. The request that takes the slot publishes it before it
//! leaves; it counts until its outcome, for two minutes at most, and not for a node that failed. Each of
//! these ends spends the attempt in every view, so another node may win the next one.
//!
//! P-6: in one agreed view at most one try per target is out; each, whatever its end, raises the attempt.
//!
//! Absent on purpose: the request.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::rest::Folded;
use super::said::{Book, ProbeSaid};
use super::target::Target;
use crate::ids::{Incarnation, NodeId};

/// What this node knows of the tries of one target. Times are Unix ms.
#[derive(Debug, Default)]
pub(super) struct Tries {
    /// Of which rest: its folded `rest_until`.
    rest: u64,
    candidates: BTreeSet<(NodeId, Incarnation)>,
    /// Since when these.
    stable_since: u64,
    /// The highest attempt that was seen, and the highest that is spent.
    seen: Option<u64>,
    spent: Option<u64>,
    /// How many in a row taught nothing, and when the next may follow.
    idle: u32,
    next_at: u64,
    /// In which interval of early tries it was spent.
    early: u64,
    /// The slot of an attempt, while it is ours.
    slot: Option<(u64, Arc<AtomicBool>)>,
}

/// What follows from the tries at a moment.
#[derive(Debug, Clone, Default)]
pub(super) struct Turn {
    /// The attempt that comes next.
    pub(super) attempt: u64,
    /// Who sends it, as seen from here.
    pub(super) prober: Option<NodeId>,
    /// Whose is on its way.
    pub(super) out: Option<NodeId>,
    /// Whether this node may send it now; the slot is free until a request takes it.
    pub(super) slot: Option<Arc<AtomicBool>>,
    /// Not before this.
    pub(super) next_at: u64,
    /// How many in a row taught nothing.
    pub(super) idle: u32,
    /// Whether an operator wants it, whatever else rests.
    pub(super) asked: bool,
    /// When any of this may be otherwise.
    pub(super) wake: Option<u64>,
}

/// What a target's tries are judged by.
pub(super) struct Scene<'a> {
    pub(super) now: u64,
    pub(super) local: &'a NodeId,
    /// Alive or suspect, ourselves included.
    pub(super) members: &'a BTreeMap<NodeId, Incarnation>,
    /// Every author's, ours included.
    pub(super) books: Vec<(&'a NodeId, &'a Book)>,
    /// How often the lane allows a try before the rest is over, in ms.
    pub(super) early: Option<u64>,
}

impl Turn {
    /// P-15: of a member of which so many targets rest. Beside another one a try is too early, unless an
    /// operator asks for it.
    pub(super) fn beside(mut self, resting: usize) -> Turn {
        if resting > 1 && !self.asked {
            self.slot = None;
        }
        self
    }

    fn wakes(&mut self, now: u64, at: u64) -> bool {
        let ahead = at > now;
        if ahead {
            self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
        }
        ahead
    }
}

impl Tries {
    /// Whose turn it is, and whether it is now.
    pub(super) fn turn(&mut self, target: &Target, folded: &Folded, scene: &Scene<'_>) -> Turn {
        if self.rest != folded.rest_until {
            *self = Tries { rest: folded.rest_until, stable_since: scene.now, ..Tries::default() };
        }
        let mut turn = Turn::default();
        self.attempts(target, folded, scene, &mut turn);
        turn.asked = self.gather(target, scene, &mut turn);
        let due = if turn.asked { 0 } else { self.due(folded, scene) };
        turn.next_at = self.next_at.max(due);
        turn.prober = self.prober(target, turn.attempt);
        let mut waits = turn.wakes(scene.now, turn.next_at);
        if !self.candidates.is_empty() {
            waits |= turn.wakes(scene.now, self.stable_since.saturating_add(STABLE_MS));
        }
        let ours = (turn.prober.as_ref() == Some(scene.local) && turn.out.is_none())
            || canary!("pools.tries_out_of_turn");
        if !ours || waits {
            self.slot = None;
            return turn;
        }
        let kept = self.slot.take().filter(|(attempt, _)| *attempt == turn.attempt);
        let kept = kept.unwrap_or_else(|| (turn.attempt, Arc::new(AtomicBool::new(true))));
        turn.slot = Some(Arc::clone(&kept.1));
        self.slot = Some(kept);
        turn
    }

    /// What has been tried, and what is being tried.
    fn attempts(&mut self, target: &Target, folded: &Folded, scene: &Scene<'_>, turn: &mut Turn) {
        for (author, book) in &scene.books {
            let said = book.probes.get(target).filter(|(said, _)| said.rest == self.rest);
            let Some((said, seen)) = said else { continue };
            self.seen = self.seen.max(Some(said.attempt));
            let present = scene.members.contains_key(*author) && !book.failed;
            if !said.spent && present && turn.wakes(scene.now, seen.saturating_add(OUT_MS_MAX)) {
                turn.out = Some((*author).clone());
            } else if self.spent < Some(said.attempt) {
                self.spent = Some(said.attempt);
                self.early = interval(folded, scene);
                self.idle = if said.spent { said.idle } else { said.idle.saturating_add(1) };
                let pause = scene.now.saturating_add(pause(self.idle));
                self.next_at = if said.spent { said.next_at } else { pause };
            }
        }
        if turn.out.is_none() && self.spent < self.seen {
            // Its author says it no more: that life is over, and its try with it.
            self.spent = self.seen;
            self.early = interval(folded, scene);
            self.idle = self.idle.saturating_add(1);
            self.next_at = scene.now.saturating_add(pause(self.idle));
        }
        turn.idle = self.idle;
        turn.attempt = self.spent.map_or(0, |attempt| attempt.saturating_add(1));
    }

    /// Who could send it; whether one of them was asked to by an operator.
    fn gather(&mut self, target: &Target, scene: &Scene<'_>, turn: &mut Turn) -> bool {
        let (mut candidates, mut asked) = (BTreeSet::new(), false);
        for (author, book) in &scene.books {
            let Some(incarnation) = scene.members.get(*author) else { continue };
            let Some((said, seen)) = book.demands.get(target) else { continue };
            if turn.wakes(scene.now, seen.saturating_add(DEMAND_MS)) {
                candidates.insert(((*author).clone(), *incarnation));
                asked |= said.asked;
            }
        }
        if self.candidates != candidates {
            self.candidates = candidates;
            self.stable_since = scene.now;
        }
        asked
    }

    /// When the rest allows a try.
    fn due(&self, folded: &Folded, scene: &Scene<'_>) -> u64 {
        if canary!("pools.tries_early") {
            return 0;
        }
        match scene.early.filter(|_| folded.is_long() && scene.now < folded.rest_until) {
            Some(every) => {
                let next = folded.since.saturating_add(every.saturating_mul(self.early + 1));
                next.min(folded.rest_until)
            }
            None => folded.rest_until,
        }
    }

    fn prober(&self, target: &Target, attempt: u64) -> Option<NodeId> {
        let rank = |(node, incarnation): &&(NodeId, Incarnation)| {
            let mut hasher = blake3::Hasher::new();
            hasher.update(target.to_string().as_bytes());
            hasher.update(&self.rest.to_be_bytes());
            hasher.update(&attempt.to_be_bytes());
            hasher.update(node.as_str().as_bytes());
            hasher.update(&incarnation.0.to_be_bytes());
            hasher.finalize().as_bytes().first_chunk::<8>().copied()
        };
        self.candidates.iter().max_by_key(rank).map(|(node, _)| node.clone())
    }
}

fn interval(folded: &Folded, scene: &Scene<'_>) -> u64 {
    let passed = scene.now.saturating_sub(folded.since);
    scene.early.map_or(0, |every| passed / every.max(1))
}

/// How long to wait after `idle` tries in a row that taught nothing.
pub(super) fn pause(idle: u32) -> u64 {
    if idle == 0 {
        return 0;
    }
    let doubled = PAUSE_MS.checked_shl(idle.saturating_sub(1).min(16)).unwrap_or(PAUSE_MS_MAX);
    doubled.min(PAUSE_MS_MAX)
}

/// What a try says once it is over; `taught`: by an answer about the member.
pub(super) fn spent(now: u64, out: ProbeSaid, taught: bool) -> ProbeSaid {
    let idle = if taught { 0 } else { out.idle.saturating_add(1) };
    let next_at = if taught { 0 } else { now.saturating_add(pause(idle)) };
    ProbeSaid { spent: true, idle, next_at, ..out }
}

/// How long the same candidates must be in view.
const STABLE_MS: u64 = 500;
/// How long a try counts without an outcome.
pub(super) const OUT_MS_MAX: u64 = 120_000;
/// How long demand is good for, and how often it is renewed.
pub(super) const DEMAND_MS: u64 = 60_000;
pub(super) const DEMAND_EVERY_MS: u64 = 15_000;
const PAUSE_MS: u64 = 30_000;
const PAUSE_MS_MAX: u64 = 600_000;

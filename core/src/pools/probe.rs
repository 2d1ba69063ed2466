//! One try of a half-open target in the whole fleet, without agreement.
//!
//! Nodes whose requests could use the target publish *demand*. Of the members with demand the one with the
//! greatest hash over target, rest, attempt, node and life sends the try, once it has seen the same
//! candidates for half a second and nobody else's try. The request that takes the slot publishes it before it
//! leaves; it counts until its outcome, for two minutes at most, and not for a node that failed. Each of
//! these ends spends the attempt in every view, so another node may win the next one.
//!
//! A pool may have a request of its own. Once nobody has asked for a minute in which somebody might have tried,
//! the member with the greatest hash wants the try itself, and sends that request when its turn comes; a second
//! later the next one would, and so on, so that one word is said and not one by every node.
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
    /// When that one was: its interval of early tries is used up.
    spent_at: u64,
    /// How many in a row taught nothing, and when the next may follow.
    idle: u32,
    next_at: u64,
    /// The slot of an attempt, while it is ours.
    slot: Option<(u64, Arc<AtomicBool>)>,
    /// When anybody was last heard to want one.
    wanted_at: u64,
    /// Whether it is wanted here for the pool's own request alone, and for which attempt that was sent.
    alone: bool,
    sent: Option<u64>,
}

/// What becomes of the pool's own request at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) enum Own {
    /// Nothing.
    #[default]
    Waits,
    /// Nobody asks: this node wants the try for it.
    Wants,
    /// The try is this node's: it leaves.
    Leaves,
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
    /// What becomes of the pool's own request.
    pub(super) own: Own,
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
    /// Whether the pool has a request of its own that would be a try of this target.
    pub(super) has_own: bool,
}

impl Turn {
    /// P-15: of a member of which so many targets rest. Beside another one a try is too early, unless an
    /// operator asks for it.
    pub(super) fn beside(mut self, resting: usize) -> Turn {
        if resting > 1 && !self.asked {
            (self.slot, self.own) = (None, Own::Waits);
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
        self.renew(scene.now, folded);
        let mut turn = Turn::default();
        self.attempts(target, scene, &mut turn);
        turn.asked = self.gather(target, scene, &mut turn);
        // A clock may have been set back since.
        let next_at = self.next_at.min(scene.now.saturating_add(PAUSE_MS_MAX));
        turn.next_at = if turn.asked { 0 } else { next_at.max(self.due(folded, scene)) };
        turn.prober = self.prober(target, turn.attempt);
        let mut waits = turn.wakes(scene.now, turn.next_at);
        if !self.candidates.is_empty() {
            waits |= turn.wakes(scene.now, self.stable_since.saturating_add(STABLE_MS));
        } else if scene.has_own && turn.out.is_none() {
            self.volunteer(target, scene, &mut turn);
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
        if scene.has_own && (self.alone || turn.asked) && self.sent != Some(turn.attempt) {
            turn.own = Own::Leaves;
        }
        turn
    }

    /// Another rest is tried anew.
    fn renew(&mut self, now: u64, folded: &Folded) {
        if self.rest != folded.rest_until {
            let (rest, stable_since, wanted_at) = (folded.rest_until, now, now);
            let spent_at = self.spent_at;
            *self = Tries { rest, stable_since, wanted_at, spent_at, ..Tries::default() };
        }
    }

    /// Whether nobody has wanted a try for so long that this node does, for the pool's own request. The others
    /// wait for their word by their places.
    fn volunteer(&self, target: &Target, scene: &Scene<'_>, turn: &mut Turn) {
        // A clock may have been set back since.
        let wanted_at = self.wanted_at.min(scene.now);
        let quiet_at = turn.next_at.max(wanted_at).saturating_add(QUIET_MS);
        if turn.wakes(scene.now, quiet_at) {
            return;
        }
        let rank = |node, incarnation| self.rank(target, turn.attempt, node, incarnation);
        let Some(life) = scene.members.get(scene.local) else { return };
        let ours = rank(scene.local, *life);
        let before = scene.members.iter().filter(|(node, life)| rank(node, **life) > ours).count();
        let place = u64::try_from(before).unwrap_or(u64::MAX);
        if !turn.wakes(scene.now, quiet_at.saturating_add(place.saturating_mul(PLACE_MS))) {
            turn.own = Own::Wants;
        }
    }

    /// From now on a try is wanted here for the pool's own request.
    pub(super) fn stand_in(&mut self, now: u64, folded: &Folded) {
        self.renew(now, folded);
        (self.alone, self.sent) = (true, None);
    }

    /// When a try was last spent, whatever became of the rest by it: who asked before that has had it. By a clock
    /// that was set back nobody asks until it has caught up; an ask that was had would be good again otherwise.
    pub(super) fn used_at<'a>(
        &self,
        target: &Target,
        books: impl Iterator<Item = &'a Book>,
    ) -> u64 {
        let said = books.filter_map(|book| book.probes.get(target));
        let spent = said.filter(|(said, _)| said.spent).map(|(_, seen)| *seen);
        spent.max().unwrap_or_default().max(self.spent_at)
    }

    /// The word that a try is wanted here found no room: not before another minute.
    pub(super) fn give_up(&mut self, now: u64) {
        self.wanted_at = now;
    }

    /// A caller wants one, or one has taught something: the pool's own request stands back.
    pub(super) fn stand_back(&mut self) {
        self.alone = false;
    }

    /// The pool's own request leaves; for which of so many members: of a group one after another, for the first may
    /// have no key.
    pub(super) fn leave(&mut self, members: usize) -> usize {
        let attempt = self.next_attempt();
        self.sent = Some(attempt);
        usize::try_from(attempt).unwrap_or_default().checked_rem(members).unwrap_or_default()
    }

    /// Whether the pool's own request is the try that is out.
    pub(super) fn is_own(&self) -> bool {
        self.sent == Some(self.next_attempt())
    }

    fn next_attempt(&self) -> u64 {
        self.spent.map_or(0, |attempt| attempt.saturating_add(1))
    }

    /// What has been tried, and what is being tried.
    fn attempts(&mut self, target: &Target, scene: &Scene<'_>, turn: &mut Turn) {
        for (author, book) in &scene.books {
            let said = book.probes.get(target).filter(|(said, _)| said.rest == self.rest);
            let Some((said, seen)) = said else { continue };
            self.seen = self.seen.max(Some(said.attempt));
            let present = scene.members.contains_key(*author) && !book.failed;
            if !said.spent && present && turn.wakes(scene.now, seen.saturating_add(OUT_MS_MAX)) {
                turn.out = Some((*author).clone());
            } else if self.spent < Some(said.attempt) {
                (self.spent, self.spent_at) = (Some(said.attempt), scene.now);
                self.idle = if said.spent { said.idle } else { said.idle.saturating_add(1) };
                let pause = scene.now.saturating_add(pause(self.idle));
                self.next_at = if said.spent { said.next_at } else { pause };
            }
        }
        if turn.out.is_none() && self.spent < self.seen {
            // Its author says it no more: that life is over, and its try with it.
            (self.spent, self.spent_at) = (self.seen, scene.now);
            self.idle = self.idle.saturating_add(1);
            self.next_at = scene.now.saturating_add(pause(self.idle));
        }
        turn.idle = self.idle;
        turn.attempt = self.next_attempt();
    }

    /// Who could send it; whether one of them was asked to by an operator.
    fn gather(&mut self, target: &Target, scene: &Scene<'_>, turn: &mut Turn) -> bool {
        let (mut candidates, mut asked) = (BTreeSet::new(), false);
        let used_at = self.used_at(target, scene.books.iter().map(|(_, book)| *book));
        for (author, book) in &scene.books {
            let Some(incarnation) = scene.members.get(*author) else { continue };
            let Some((said, seen)) = book.demands.get(target) else { continue };
            self.wanted_at = self.wanted_at.max(*seen);
            if turn.wakes(scene.now, seen.saturating_add(DEMAND_MS)) {
                candidates.insert(((*author).clone(), *incarnation));
                asked |= said.asked && *seen > used_at;
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
        let early = scene.early.filter(|_| folded.is_long() && scene.now < folded.rest_until);
        let Some(every) = early.filter(|every| *every > 0) else { return folded.rest_until };
        let spent = self.spent.filter(|_| !canary!("pools.tries_again_at_once"));
        let spent = spent.map_or(0, |_| self.spent_at.saturating_sub(folded.since) / every);
        let next = folded.since.saturating_add(every.saturating_mul(spent.saturating_add(1)));
        next.min(folded.rest_until)
    }

    fn prober(&self, target: &Target, attempt: u64) -> Option<NodeId> {
        let rank = |(node, life): &&(NodeId, Incarnation)| self.rank(target, attempt, node, *life);
        self.candidates.iter().max_by_key(rank).map(|(node, _)| node.clone())
    }

    fn rank(&self, target: &Target, attempt: u64, node: &NodeId, life: Incarnation) -> [u8; 8] {
        let mut hasher = blake3::Hasher::new();
        hasher.update(target.to_string().as_bytes());
        hasher.update(&self.rest.to_be_bytes());
        hasher.update(&attempt.to_be_bytes());
        hasher.update(node.as_str().as_bytes());
        hasher.update(&life.0.to_be_bytes());
        let [a, b, c, d, e, f, g, h, ..] = *hasher.finalize().as_bytes();
        [a, b, c, d, e, f, g, h]
    }
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
/// How long nobody asks before the pool's own request is sent, and how much later by each further place.
const QUIET_MS: u64 = 60_000;
const PLACE_MS: u64 = 1000;
const PAUSE_MS: u64 = 30_000;
const PAUSE_MS_MAX: u64 = 600_000;

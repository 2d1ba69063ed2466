//! What is known of a target's rest: the fold of what every node says, and what it amounts to at a moment.
//!
//! P-8: the fold takes maxima and the class of the longest, so the same maps give the same view in any order,
//! and a rest that a clear covers is in none.
//!
//! | when `rest_until` passes | then |
//! | --- | --- |
//! | stated and served; first throttle without a stated wait; overloaded | it is over |
//! | `stated_reset` still ahead | half-open until it passes |
//! | a quota, or a second throttle in a row, without a stated wait | half-open; untried for `half_open_max` it is over |
//! | money, credential, permission, model | half-open until somebody proves otherwise |
//!
//! Absent on purpose: who says it to whom.

use std::sync::Arc;

use super::Class;
use super::said::{ClearSaid, Origin, RestSaid};
use crate::ids::NodeId;
use crate::limits;

/// What all nodes together say of a target. Times are Unix ms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Folded {
    pub(super) class: Class,
    pub(super) source: Arc<str>,
    pub(super) rest_until: u64,
    pub(super) stated_reset: Option<u64>,
    pub(super) n: u32,
    pub(super) since: u64,
    pub(super) evidence: Arc<str>,
    /// Who says the longest.
    pub(super) seen_by: NodeId,
    /// Everything that a clear would cover.
    pub(super) origins: Vec<Origin>,
}

/// What a rest amounts to at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Condition {
    /// Ordinary traffic stays away.
    Rests,
    /// One request may try; `None`: no timer ends it.
    HalfOpen { until: Option<u64> },
    /// It covers nothing any more.
    Over,
}

impl Folded {
    pub(super) fn condition(&self, now: u64, half_open_max: u64) -> Condition {
        if now < self.rest_until {
            return Condition::Rests;
        }
        if self.class.needs_proof() {
            return Condition::HalfOpen { until: None };
        }
        let hintless = self.stated_reset.is_none();
        let doubtful = match self.class {
            Class::QuotaExhausted => hintless,
            Class::RateLimited => hintless && self.n >= 2,
            Class::Ok
            | Class::ClientError
            | Class::Transient
            | Class::Overloaded
            | Class::Billing
            | Class::AuthFailed
            | Class::PermissionDenied
            | Class::ModelUnavailable => false,
        };
        let untried = self.rest_until.saturating_add(half_open_max);
        let until = if doubtful { Some(untried) } else { self.stated_reset };
        match until {
            Some(until) if now < until => Condition::HalfOpen { until: Some(until) },
            _ => Condition::Over,
        }
    }
}

/// Folds what authors say of one target: rests that no clear covers.
pub(super) fn fold<'a>(
    rests: impl Iterator<Item = (&'a NodeId, &'a RestSaid)>,
    clears: &[&ClearSaid],
) -> Option<Folded> {
    let mut all: Option<Folded> = None;
    for (author, rest) in rests.filter(|(_, rest)| !clears.iter().any(|clear| clear.voids(rest))) {
        let Some(folded) = &mut all else {
            all = Some(Folded::alone(author, rest));
            continue;
        };
        // Ties are decided by what every node sees alike, so that no order of arrival shows.
        let mine = (folded.rest_until, folded.since, &*folded.source, &folded.seen_by);
        if (rest.rest_until, rest.since, &*rest.source, author) > mine {
            folded.class = rest.class;
            folded.source = Arc::clone(&rest.source);
            folded.rest_until = rest.rest_until;
            folded.since = rest.since;
            folded.evidence = Arc::clone(&rest.evidence);
            folded.seen_by = author.clone();
        }
        folded.stated_reset = folded.stated_reset.max(rest.stated_reset);
        folded.n = folded.n.max(rest.n);
        folded.origins.push(rest.origin.clone());
    }
    if let Some(folded) = &mut all {
        folded.origins.sort();
        folded.origins.dedup();
    }
    all
}

/// One word for two rests of a target, which folds to what both fold to.
pub(super) fn both(ours: &RestSaid, theirs: &RestSaid) -> RestSaid {
    let longer = (theirs.rest_until, theirs.since) > (ours.rest_until, ours.since);
    RestSaid {
        stated_reset: ours.stated_reset.max(theirs.stated_reset),
        n: ours.n.max(theirs.n),
        ..if longer { theirs } else { ours }.clone()
    }
}

impl Folded {
    /// Whether it is long enough to be tried before it is over.
    pub(super) fn is_long(&self) -> bool {
        self.rest_until.saturating_sub(self.since) > LONG_MS
    }

    fn alone(author: &NodeId, rest: &RestSaid) -> Folded {
        Folded {
            class: rest.class,
            source: Arc::clone(&rest.source),
            rest_until: rest.rest_until,
            stated_reset: rest.stated_reset,
            n: rest.n,
            since: rest.since,
            evidence: Arc::clone(&rest.evidence),
            seen_by: author.clone(),
            origins: vec![rest.origin.clone()],
        }
    }
}

/// Cuts what no honest clock can say; tells whether anything was cut.
pub(super) fn cut(now: u64, rest: &mut RestSaid) -> bool {
    let before = rest.clone();
    let within = |at: u64, most: u64| {
        let end = now.saturating_add(most);
        // Whose clock is ahead, within what clocks may be, says what is true by it.
        if at > end.saturating_add(CLOCKS_APART_MS) { end } else { at }
    };
    rest.rest_until = within(rest.rest_until, REST_AHEAD_MS_MAX);
    rest.stated_reset = rest.stated_reset.map(|at| within(at, STATED_AHEAD_MS_MAX));
    rest.n = rest.n.min(limits::POOL_LEVEL_MAX);
    *rest != before
}

/// What covers more: for each life, everything through the greater sequence.
pub(super) fn cover(covers: &mut Vec<Origin>, more: &[Origin]) {
    for origin in more {
        let same =
            |one: &&mut Origin| one.node == origin.node && one.incarnation == origin.incarnation;
        match covers.iter_mut().find(same) {
            Some(one) => one.sequence = one.sequence.max(origin.sequence),
            None => covers.push(origin.clone()),
        }
    }
    covers.sort();
    // A word must fit its entry. The oldest lives go: they are the first to be forgotten, too.
    let over = covers.len().saturating_sub(limits::POOL_COVERS_MAX);
    covers.drain(..over);
}

/// How often a target failed in a row without a stated wait, and whether that still counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Level {
    pub(super) class: Class,
    pub(super) n: u32,
    /// When the last rest began.
    pub(super) since: u64,
    /// When it ended, or will.
    pub(super) over_at: u64,
}

impl Level {
    /// Failures of this class that count at `now`.
    pub(super) fn count(&self, now: u64, class: Class) -> u32 {
        let forgotten = now >= self.over_at.saturating_add(LEVEL_AGE_MS);
        if forgotten || self.class != class { 0 } else { self.n.min(limits::POOL_LEVEL_MAX) }
    }
}

/// No rest is longer than 8 days.
const REST_AHEAD_MS_MAX: u64 = 8 * 24 * 3_600_000;
/// No stated wait is longer than 31 days.
const STATED_AHEAD_MS_MAX: u64 = 31 * 24 * 3_600_000;
/// Clocks further apart are reported. `pools.md` §10.
const CLOCKS_APART_MS: u64 = 2000;
/// Only longer rests are tried early.
const LONG_MS: u64 = 3_600_000;
/// So long servable, failures are forgotten.
const LEVEL_AGE_MS: u64 = 6 * 3_600_000;

#[cfg(test)]
mod tests;

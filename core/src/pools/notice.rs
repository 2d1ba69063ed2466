//! What is worth telling people about a pool, and which node tells it.
//!
//! Every node sees the edges of every pool, and notes what is worth telling. One of them, the *announcer* of the
//! pool, tells; what a sink took is said to everybody ([`NoticeSaid`]), and then nobody else tells it. If the
//! announcer goes before, the next one still has it to tell.
//!
//! A lane that is exhausted again within ten minutes of a recovery that was only presumed is in an *episode*: its
//! first repeat is told as `still_exhausted`, later ones at least 10, 20, 40 … minutes apart (at most 6 h), and
//! the recovery is held back until an answer confirmed it or the lane was open for ten minutes. What needs a
//! person (`billing`, `auth_failed`) is told once per credential and chain of rests.
//!
//! | to be told | is told already if the last word of it |
//! | --- | --- |
//! | `exhausted` | is that, or `still_exhausted`: people think so |
//! | `still_exhausted`, `recovered` | is the same, and of this edge: nodes see one within ten seconds |
//! | `billing`, `auth_failed` | is there: it goes with the rests |
//!
//! P-10: one announcer per pool in one view; an episode is told as begun once, and as over once. P-18: of a
//! pool that is gone nothing is told.
//!
//! Absent on purpose: sending; and whether a sink took what a node was telling as it died: then it is told twice.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::said::NoticeSaid;
use super::view::LaneView;
use super::{Class, Event, Name, Pool, Snapshot};
use crate::ids::{CredentialHandle, Incarnation, NodeId};
use crate::time::Instant;

/// Something worth telling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Of which pool.
    pub pool: Name,
    /// Of which model; empty: of all.
    pub lane: Arc<str>,
    /// What.
    pub kind: Kind,
    /// When the edge was, Unix ms.
    pub of: u64,
}

impl Notice {
    /// What it is about, among what is told of its pool: a lane, or a credential's trouble.
    pub fn what(&self) -> Arc<str> {
        match self.kind {
            Kind::Person { credential, class } => format!("{credential}/{class}").into(),
            Kind::Exhausted | Kind::Recovered | Kind::StillExhausted { .. } => self.lane.clone(),
        }
    }

    /// What a node says once a sink took it.
    pub fn said(&self) -> NoticeSaid {
        NoticeSaid { of: self.of, kind: self.kind.name().into() }
    }
}

/// What became of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Nobody is servable.
    Exhausted,
    /// Somebody is again.
    Recovered,
    /// It came back, and went again.
    StillExhausted {
        /// How often.
        attempts: u32,
    },
    /// A credential needs a person.
    Person {
        /// Whose.
        credential: CredentialHandle,
        /// `billing` or `auth_failed`.
        class: Class,
    },
}

impl Kind {
    /// The word on every surface.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Exhausted => "exhausted",
            Kind::Recovered => "recovered",
            Kind::StillExhausted { .. } => "still_exhausted",
            Kind::Person { class, .. } => class.name(),
        }
    }
}

/// Which node tells people about `pool`: that with the greatest hash over pool, node and incarnation.
pub fn announcer<'a>(
    pool: &Name,
    members: impl Iterator<Item = (&'a NodeId, Incarnation)>,
) -> Option<&'a NodeId> {
    let rank = |(node, incarnation): &(&NodeId, Incarnation)| {
        let mut hash = blake3::Hasher::new();
        hash.update(format!("notice/{pool}").as_bytes());
        hash.update(node.as_str().as_bytes());
        hash.update(&incarnation.0.to_be_bytes());
        *hash.finalize().as_bytes()
    };
    members.max_by_key(rank).map(|(node, _)| node)
}

/// What is to be told, and what was.
#[derive(Debug, Default)]
pub struct Notices {
    lanes: BTreeMap<(Name, Arc<str>), Lane>,
    /// Credentials that need a person.
    troubles: BTreeMap<(CredentialHandle, Class), Name>,
    /// What nobody is known to have told; the latest of each thing.
    untold: BTreeMap<(Name, Arc<str>), Untold>,
    /// Pools to be looked through for credentials that need a person; `None`: all.
    changed: Option<BTreeSet<Name>>,
}

#[derive(Debug)]
struct Untold {
    notice: Notice,
    /// Whether this node is telling it.
    going: bool,
    /// Whether it was preceded by what this node was telling: then the last word is about to be another one.
    follows: bool,
}

#[derive(Debug, Default)]
struct Lane {
    exhausted: bool,
    /// When it opened last, if that was only presumed.
    presumed_at: Option<Instant>,
    /// How often it was exhausted again; 0 outside an episode.
    attempts: u32,
    told_at: Option<Instant>,
    gap: Duration,
    /// Whether its recovery is held back.
    held: bool,
}

impl Notices {
    /// Notes what `event` makes worth telling; `unix` is its moment by the wall clock, in ms.
    pub fn hear(&mut self, now: Instant, unix: u64, event: &Event) {
        let (pool, lane, kind) = match event {
            Event::Exhausted { pool, lane, .. } => {
                (pool, lane, self.lane(pool, lane).exhausted(now))
            }
            Event::Recovered { pool, lane, confirmed, .. } => {
                (pool, lane, self.lane(pool, lane).recovered(now, *confirmed))
            }
            Event::Changed { pool } => {
                self.changed.iter_mut().for_each(|pools| _ = pools.insert(pool.clone()));
                return;
            }
            Event::Failover { .. }
            | Event::Rested { .. }
            | Event::Shared { .. }
            | Event::Parked { .. }
            | Event::ProbeDue { .. } => return,
        };
        if let Some(kind) = kind {
            self.note(Notice { pool: pool.clone(), lane: lane.clone(), kind, of: unix });
        }
    }

    /// Events were missed: everything is looked at.
    pub fn missed(&mut self) {
        self.changed = None;
    }

    /// What this node tells now, where `ours` says of which pools it is the announcer.
    pub fn due(
        &mut self,
        now: Instant,
        pools: &Snapshot,
        ours: impl Fn(&Name) -> bool,
    ) -> Vec<Notice> {
        self.elapse(now, pools);
        self.untold.retain(|(pool, what), untold| {
            let pool = pools.pool(pool.as_str());
            pool.is_some_and(|pool| !untold.is_told(pool.told.get(what)))
        });
        let going = self.untold.values_mut().filter(|one| !one.going && ours(&one.notice.pool));
        going
            .map(|untold| {
                untold.going = true;
                untold.notice.clone()
            })
            .collect()
    }

    fn note(&mut self, notice: Notice) {
        let at = (notice.pool.clone(), notice.what());
        let follows = self.untold.get(&at).is_some_and(|before| before.going || before.follows);
        self.untold.insert(at, Untold { notice, going: false, follows });
    }

    fn lane(&mut self, pool: &Name, lane: &Arc<str>) -> &mut Lane {
        self.lanes.entry((pool.clone(), lane.clone())).or_default()
    }

    /// Notes what time, and what is shown, have made worth telling; forgets what is gone and what has ended.
    fn elapse(&mut self, now: Instant, pools: &Snapshot) {
        let unix = pools.unix(now);
        let there = |pool: &Name| pools.pool(pool.as_str()).is_some();
        self.lanes.retain(|(pool, _), lane| there(pool) && !lane.is_over(now));
        // Who was told of nothing for so long need not hear that all is well.
        self.untold.retain(|_, one| one.notice.kind != Kind::Recovered || one.is_fresh(unix));
        self.troubles.retain(|(credential, class), pool| {
            let shown = pools.pool(pool.as_str());
            shown.is_some_and(|pool| troubles(pool).any(|one| one == (*credential, *class)))
        });
        self.untold.retain(|_, one| match one.notice.kind {
            Kind::Person { credential, class } => self.troubles.contains_key(&(credential, class)),
            Kind::Exhausted | Kind::Recovered | Kind::StillExhausted { .. } => true,
        });
        let mut news = Vec::new();
        let changed = self.changed.replace(BTreeSet::new());
        let all = changed.is_none().then(|| pools.pools.keys().cloned().collect());
        for name in changed.or(all).unwrap_or_default() {
            let Some(pool) = pools.pool(name.as_str()) else { continue };
            for view in pool.views.iter().filter(|view| view.is_told) {
                news.extend(self.found(now, &name, view));
            }
            for trouble in troubles(pool) {
                if self.troubles.insert(trouble, name.clone()).is_none() {
                    let (credential, class) = trouble;
                    let kind = Kind::Person { credential, class };
                    news.push(Notice { pool: name.clone(), lane: "".into(), kind, of: unix });
                }
            }
        }
        // Who is found to be exhausted again is not back.
        for ((pool, lane), state) in &mut self.lanes {
            if state.held && state.open_for(now) >= SETTLED {
                *state = Lane::default();
                let (pool, lane) = (pool.clone(), lane.clone());
                news.push(Notice { pool, lane, kind: Kind::Recovered, of: unix });
            }
        }
        news.into_iter().for_each(|notice| self.note(notice));
    }

    /// A lane is exhausted, and its edge was not heard: it was before this node listened.
    fn found(&mut self, now: Instant, pool: &Name, view: &LaneView) -> Option<Notice> {
        let of = view.exhausted_since?;
        let lane = self.lane(pool, &view.model);
        if lane.exhausted {
            return None;
        }
        let kind = lane.exhausted(now)?;
        Some(Notice { pool: pool.clone(), lane: view.model.clone(), kind, of })
    }
}

/// The credentials of a pool that need a person.
fn troubles(pool: &Pool) -> impl Iterator<Item = (CredentialHandle, Class)> {
    pool.rows.iter().flat_map(|row| {
        let classes = row.rests.iter().map(|rest| rest.class);
        let person = classes.filter(|class| matches!(class, Class::Billing | Class::AuthFailed));
        person.map(|class| (row.handle, class))
    })
}

impl Untold {
    /// Whether the last word says that people know it.
    fn is_told(&self, last: Option<&NoticeSaid>) -> bool {
        let Some(last) = last else { return false };
        let exhausted = [Kind::Exhausted.name(), Kind::StillExhausted { attempts: 0 }.name()]
            .contains(&&*last.kind);
        let this_edge = last.of.saturating_add(APART_MS) >= self.notice.of;
        match self.notice.kind {
            Kind::Exhausted => exhausted && (this_edge || !self.follows),
            Kind::StillExhausted { .. } => exhausted && this_edge,
            Kind::Recovered => *last.kind == *Kind::Recovered.name() && this_edge,
            Kind::Person { .. } => true,
        }
    }

    fn is_fresh(&self, unix: u64) -> bool {
        unix < self.notice.of.saturating_add(crate::time::millis(SETTLED))
    }
}

impl Lane {
    /// Exhausted, and people know.
    fn told(now: Instant) -> Lane {
        Lane { exhausted: true, told_at: Some(now), gap: GAP_MIN, ..Lane::default() }
    }

    fn open_for(&self, now: Instant) -> Duration {
        self.presumed_at.map_or(Duration::ZERO, |at| now.since(at))
    }

    /// Nothing that was said of it matters any more.
    fn is_over(&self, now: Instant) -> bool {
        !self.exhausted && !self.held && self.presumed_at.is_none_or(|at| now.since(at) >= SETTLED)
    }

    fn exhausted(&mut self, now: Instant) -> Option<Kind> {
        if self.exhausted {
            return None; // It was found to be so before its edge was heard.
        }
        let again = self.presumed_at.is_some_and(|at| now.since(at) < SETTLED);
        if self.held || again {
            (self.exhausted, self.held) = (true, false);
            self.attempts = self.attempts.saturating_add(1);
            return self.still(now);
        }
        *self = Lane::told(now);
        Some(Kind::Exhausted)
    }

    /// The first repeat, and later ones that are far enough apart.
    fn still(&mut self, now: Instant) -> Option<Kind> {
        let far = self.told_at.is_none_or(|at| now.since(at) >= self.gap);
        if self.attempts > 1 {
            if !far {
                return None;
            }
            self.gap = (self.gap * 2).min(GAP_MAX);
        }
        self.told_at = Some(now);
        if canary!("pools.tells_anew") {
            return Some(Kind::Recovered);
        }
        Some(Kind::StillExhausted { attempts: self.attempts })
    }

    fn recovered(&mut self, now: Instant, confirmed: bool) -> Option<Kind> {
        self.exhausted = false;
        if confirmed {
            *self = Lane::default();
            return Some(Kind::Recovered);
        }
        self.presumed_at = Some(now);
        if self.attempts > 0 {
            self.held = true;
            return None;
        }
        Some(Kind::Recovered)
    }
}

/// Two nodes see one edge so far apart at most: wall clocks that differ more are reported.
const APART_MS: u64 = 10_000;
/// So long after a presumed recovery the lane counts as well.
const SETTLED: Duration = Duration::from_secs(600);
/// Between two repeats that are told, at first.
const GAP_MIN: Duration = Duration::from_secs(600);
/// The same, at most.
const GAP_MAX: Duration = Duration::from_secs(6 * 3600);

#[cfg(test)]
mod tests;

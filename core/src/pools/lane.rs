//! Who may be picked for one model, or for any: standings, the active member, and the layout of a pick.
//!
//! P-3: with `failover` the active member changes only in a turn in which it is not preferred, or by rotate.
//! P-4: a park is a field of its own; no rest is made of it, and none is read as one.
//!
//! Absent on purpose: what a rest is, and the tries themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::pick::{Gate, Lane, Load, Refused, Shares, Slot, Why};
use super::probe::Own;
use super::target::Target;
use super::{Class, Degrade, Strategy};
use crate::ids::CredentialHandle;
use crate::time::Instant;

/// A credential under an epoch.
pub(super) type Who = (CredentialHandle, u64);

/// What one lane makes of a member. Times are Unix ms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    /// Disabled, in need of a person, or not known at all.
    Off,
    /// Stays away until then.
    Rests { until: u64, class: Class },
    /// One request may try it, from then on.
    HalfOpen { due: u64, class: Class },
    /// Could serve.
    Servable,
}

/// A member as a lane sees it.
#[derive(Debug, Clone)]
pub(super) struct Judged {
    pub(super) who: Who,
    pub(super) standing: Standing,
    pub(super) parked_until: Option<u64>,
    pub(super) priority: i64,
    pub(super) weight: u32,
    /// The try that this node may send.
    pub(super) slot: Option<Arc<std::sync::atomic::AtomicBool>>,
    /// Whether an `ok` of it teaches something.
    pub(super) tells: bool,
    /// What the pool's own request is to do about which target, once.
    pub(super) own: Option<(Target, Own)>,
    /// When any of this may be otherwise by time alone.
    pub(super) wake: Option<u64>,
}

impl Judged {
    pub(super) fn servable(&self) -> bool {
        self.standing == Standing::Servable
    }

    fn preferred(&self) -> bool {
        (self.servable() || (canary!("pools.picks_who_rests") && self.standing != Standing::Off))
            && self.parked_until.is_none()
    }
}

/// One lane of one pool.
#[derive(Debug, Default)]
pub(super) struct LaneState {
    /// Who is active, and where that stood in the definition.
    pub(super) active: Option<(Who, usize)>,
    /// Since when, and instead of whom because of what.
    pub(super) active_since: u64,
    pub(super) instead_of: Option<(CredentialHandle, Option<Class>)>,
    /// Since when nothing is servable.
    pub(super) exhausted: Option<u64>,
    /// Whether that was told: a lane is silent while the common one is exhausted.
    pub(super) told: bool,
    /// Since when it was, if its end is not told yet: others may know better.
    pub(super) held: Option<u64>,
    pub(super) judged: Vec<Judged>,
    /// Members that came back a moment ago.
    pub(super) ramps: BTreeMap<Who, Ramp>,
    /// When something of this lane alone last rested.
    pub(super) rested_at: u64,
    /// Whether it is of a family of models.
    pub(super) is_family: bool,
    /// How often its members were allowed to be tried early when they were judged.
    pub(super) early: Option<u64>,
}

/// A member that came back: how many requests it takes at once.
#[derive(Debug, Clone)]
pub(super) struct Ramp {
    pub(super) limit: u32,
    pub(super) load: Arc<Load>,
}

/// The active member gave way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Moved {
    pub(super) from: CredentialHandle,
    pub(super) to: CredentialHandle,
    pub(super) class: Option<Class>,
}

impl LaneState {
    /// Takes in how all its members stand now: who came back is let in slowly.
    pub(super) fn judge(&mut self, judged: Vec<Judged>) {
        let before = std::mem::replace(&mut self.judged, judged);
        let before: BTreeMap<Who, Judged> =
            before.into_iter().map(|member| (member.who, member)).collect();
        let LaneState { judged, ramps, .. } = self;
        for member in judged.iter() {
            let_in(ramps, before.get(&member.who), member);
        }
        let whos: BTreeSet<Who> = judged.iter().map(|member| member.who).collect();
        ramps.retain(|who, _| whos.contains(who));
    }

    /// Takes in how one of them stands now, the others as before.
    pub(super) fn judge_one(&mut self, place: usize, judged: Judged) {
        let Some(member) = self.judged.get_mut(place) else { return };
        let before = std::mem::replace(member, judged);
        let_in(&mut self.ramps, Some(&before), member);
    }

    /// An `ok` of a member that came back: it takes twice as many.
    pub(super) fn proved(&mut self, who: &Who) -> bool {
        let Some(ramp) = self.ramps.get_mut(who) else { return false };
        ramp.limit = ramp.limit.saturating_mul(2);
        if ramp.limit >= RAMP_FREE {
            self.ramps.remove(who);
        }
        true
    }

    pub(super) fn servable(&self) -> usize {
        self.judged.iter().filter(|member| member.servable()).count()
    }

    /// It serves again, and nothing more is to be told of that.
    pub(super) fn reopen(&mut self) {
        (self.exhausted, self.told, self.held) = (None, false, None);
    }

    /// Since when nothing is servable as far as was told; a recovery that is held back is not told yet.
    pub(super) fn told_since(&self) -> Option<u64> {
        self.exhausted.filter(|_| self.told).or(self.held)
    }

    /// Positions of preferred members: those of the highest priority that has one.
    fn open(&self) -> Vec<usize> {
        let preferred = self.judged.iter().filter(|member| member.preferred());
        let highest = preferred.map(|member| member.priority).max();
        let rows = self.judged.iter().enumerate();
        let open = rows.filter(|(_, one)| one.preferred() && Some(one.priority) == highest);
        open.map(|(position, _)| position).collect()
    }

    /// Positions of parked members that could serve, soonest unparked first.
    fn parked(&self) -> Vec<usize> {
        let rows = self.judged.iter().enumerate();
        let parked = rows.filter(|(_, one)| one.servable() && one.parked_until.is_some());
        let mut parked: Vec<(Option<u64>, usize)> =
            parked.map(|(position, one)| (one.parked_until, position)).collect();
        parked.sort_unstable();
        parked.into_iter().map(|(_, position)| position).collect()
    }

    /// Moves the pointer where it must move; with nobody preferred it stays, but for a parked member that
    /// serves in their stead.
    pub(super) fn follow(&mut self, now: u64) -> Option<Moved> {
        let open = self.open();
        let at = self.active.and_then(|(who, _)| self.place(&who));
        if let (Some((who, _)), Some(at)) = (self.active, at) {
            self.active = Some((who, at));
            let returns = canary!("pools.snaps_back") && open.first() != Some(&at);
            if open.contains(&at) && !returns {
                return None;
            }
        }
        // A member that left: its successor stands where it stood.
        let gone = at.is_none();
        let after = self.active.map_or(0, |(_, place)| place + usize::from(!gone));
        let after = if canary!("pools.snaps_back") { 0 } else { after };
        let next = open.iter().find(|place| **place >= after).or(open.first()).copied();
        let next = next.or_else(|| self.parked().first().copied())?;
        let to = self.judged.get(next)?.who;
        let from = self.active.replace((to, next)).map(|(who, _)| who);
        self.active_since = now;
        let from = from.filter(|from| from.0 != to.0)?;
        let class = self.judged.iter().find(|one| one.who == from);
        let class = class.and_then(|one| match one.standing {
            Standing::Rests { class, .. } | Standing::HalfOpen { class, .. } => Some(class),
            Standing::Off | Standing::Servable => None,
        });
        self.instead_of = Some((from.0, class));
        Some(Moved { from: from.0, to: to.0, class })
    }

    fn place(&self, who: &Who) -> Option<usize> {
        self.judged.iter().position(|member| member.who == *who)
    }

    /// When the soonest member may be back: the end of its rest, or its next try. Unix ms.
    pub(super) fn retry_at(&self) -> Option<u64> {
        let ends = self.judged.iter().filter_map(|member| match member.standing {
            Standing::Rests { until, .. } => Some(until),
            Standing::HalfOpen { due, .. } => Some(due),
            Standing::Off | Standing::Servable => None,
        });
        ends.min()
    }

    /// When the soonest member is back by time alone. Unix ms.
    pub(super) fn wake_at(&self) -> Option<u64> {
        let ends = self.judged.iter().filter_map(|member| match member.standing {
            Standing::Rests { until, .. } => Some(until),
            Standing::HalfOpen { .. } | Standing::Off | Standing::Servable => None,
        });
        ends.min()
    }

    fn refusal(&self, instant: impl Fn(u64) -> Instant) -> Refused {
        let blocking = || {
            self.judged.iter().filter_map(|member| match member.standing {
                Standing::Rests { class, .. } | Standing::HalfOpen { class, .. } => Some(class),
                Standing::Off | Standing::Servable => None,
            })
        };
        let throttled = |class| matches!(class, Class::RateLimited | Class::QuotaExhausted);
        let exhausted = blocking().next().is_some() && blocking().all(throttled);
        let why = if exhausted { Why::Exhausted } else { Why::Unavailable };
        let tells = self.judged.iter().any(|member| member.tells);
        Refused { why, retry_at: self.retry_at().map(instant), tells }
    }

    /// What a pick sees.
    pub(super) fn lay_out(
        &self,
        strategy: Strategy,
        degrade: Degrade,
        instant: impl Fn(u64) -> Instant,
    ) -> Lane {
        let open = self.open();
        let row = |place: &usize| self.judged.get(*place);
        let small = |place: usize| u32::try_from(place).expect("a pool has few members");
        let active = self.active.map(|(_, place)| place);
        let start = open.iter().position(|place| Some(*place) == active).unwrap_or(0);
        let start = if canary!("pools.passes_over_the_active") { 0 } else { start };
        let shares = match strategy {
            Strategy::Weighted => Shares::of(open.iter().filter_map(row).map(|one| one.weight)),
            Strategy::Failover
            | Strategy::RoundRobin
            | Strategy::FillFirst
            | Strategy::LeastUsed => Shares::default(),
        };
        let gate = |(place, member): (usize, &Judged)| {
            let ramp = self.ramps.get(&member.who)?;
            let load = Arc::clone(&ramp.load);
            Some(Gate { position: small(place), limit: ramp.limit, load })
        };
        let slot = |(place, member): (usize, &Judged)| {
            let free = Arc::clone(member.slot.as_ref()?);
            Some(Slot { position: small(place), free })
        };
        let rows = || self.judged.iter().enumerate();
        let until = |member: &Judged| match member.standing {
            Standing::Rests { until, .. } => Some(until),
            Standing::HalfOpen { due, .. } => Some(due),
            Standing::Off | Standing::Servable => None,
        };
        let soonest = rows().filter_map(|(place, one)| Some((until(one)?, small(place)))).min();
        let forward = soonest.filter(|_| degrade == Degrade::Forward && open.is_empty());
        let parked = self.parked();
        let forward = forward.filter(|_| parked.is_empty());
        Lane {
            strategy,
            start,
            shares,
            gates: rows().filter_map(gate).collect(),
            slots: rows().filter_map(slot).collect(),
            forward: forward.map(|(_, place)| place),
            refusal: self.refusal(instant),
            tells: self.judged.iter().any(|member| member.tells),
            parked: parked.into_iter().map(small).collect(),
            closed: rows()
                .filter(|(_, one)| self.is_family && !one.servable())
                .map(|(place, _)| small(place))
                .collect(),
            open: open.into_iter().map(small).collect(),
        }
    }
}

/// Who came back is let in slowly; of who is away that is forgotten.
fn let_in(ramps: &mut BTreeMap<Who, Ramp>, before: Option<&Judged>, now: &Judged) {
    let away =
        |one: &Judged| matches!(one.standing, Standing::Rests { .. } | Standing::HalfOpen { .. });
    if !now.servable() {
        ramps.remove(&now.who);
    } else if before.is_some_and(away) {
        ramps.insert(now.who, Ramp { limit: 1, load: Arc::default() });
    }
}

/// From so many requests at once on, a member that came back takes as many as come.
const RAMP_FREE: u32 = 64;

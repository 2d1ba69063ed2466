//! The snapshot: what the turn touched, laid out for picks and for whoever looks.
//!
//! Only touched pools are looked at.

use super::super::lane::{Judged, Standing};
use super::super::rest::Condition;
use super::super::target::Target;
use super::super::view::{LaneView, MemberView, RestView, State};
use super::super::{Pool, Snapshot};
use super::review::whoms;
use super::*;

impl Pools {
    /// Lays out what the turn touched; `None` if nothing was.
    pub fn publish(&mut self, now: Instant) -> Option<Arc<Snapshot>> {
        assert!(self.touched.is_empty(), "P-17: {:?} were not looked at", self.touched);
        if self.dirty.is_empty() {
            return None;
        }
        let unix = self.unix(now);
        for name in std::mem::take(&mut self.dirty) {
            self.show_rows(unix, &name);
            match self.laid_out(&name) {
                Some(pool) => self.snapshot.pools.insert(name, Arc::new(pool)),
                None => self.snapshot.pools.remove(&name),
            };
        }
        self.snapshot.wall = self.wall;
        Some(Arc::new(self.snapshot.clone()))
    }

    fn laid_out(&self, name: &Name) -> Option<Pool> {
        let pool = self.pools.get(name)?;
        let Definition { strategy, degrade, .. } = &*pool.definition;
        let lane = |state: &LaneState| {
            Arc::new(state.lay_out(*strategy, *degrade, |unix| self.instant(unix)))
        };
        let lanes = pool.lanes.iter().filter(|(model, _)| !model.is_empty());
        let families = pool.lanes.iter().filter(|(_, state)| state.is_family);
        let families = families.map(|(family, _)| Arc::clone(family)).collect();
        Some(Pool {
            name: name.clone(),
            definition: Arc::clone(&pool.definition),
            from_document: pool.from_document,
            members: Arc::clone(&pool.shown),
            any: pool.lanes.get("").map(lane).unwrap_or_default(),
            lanes: lanes.map(|(model, state)| (Arc::clone(model), lane(state))).collect(),
            families,
            views: pool.lanes.iter().map(|(model, state)| lane_view(model, state)).collect(),
            told: self.notices_of(name),
            rows: pool.members.iter().filter_map(|member| member.row.clone()).collect(),
        })
    }

    /// Makes the rows of those members that are seen otherwise.
    fn show_rows(&mut self, unix: u64, name: &Name) {
        let Some(pool) = self.pools.get(name) else { return };
        let common = pool.lanes.get("");
        // A lane has judged its members in their order.
        let judged = |place| common.and_then(|lane| lane.judged.get(place));
        let rows = pool.members.iter().enumerate();
        let rows = rows.filter_map(|(place, member)| {
            let state = state_of(common, judged(place), member.who);
            let same = member.row.as_ref().is_some_and(|row| row.state == state);
            let row = || self.member_view(unix, pool, member, judged(place), state);
            (!same).then(|| (place, Arc::new(row())))
        });
        let rows: Vec<(usize, Arc<MemberView>)> = rows.collect();
        let Some(pool) = self.pools.get_mut(name) else { return };
        for (place, row) in rows {
            if let Some(member) = pool.members.get_mut(place) {
                member.row = Some(row);
            }
        }
    }

    fn member_view(
        &self,
        unix: u64,
        pool: &PoolState,
        member: &MemberState,
        judged: Option<&Judged>,
        state: State,
    ) -> MemberView {
        let credential = self.credentials.get(&member.who.0);
        let half_open_max = pool.definition.profile.half_open_max_ms;
        let mut rests = Vec::new();
        for whom in whoms(member.who, credential) {
            for (reach, rest) in self.folded.get(&whom).into_iter().flatten() {
                let condition = rest.condition(unix, half_open_max);
                if condition == Condition::Over {
                    continue;
                }
                let target = Target { whom: whom.clone(), reach: reach.clone() };
                rests.push(RestView {
                    target: target.to_string().into(),
                    scope: reach.to_string().into(),
                    class: rest.class,
                    source: Arc::clone(&rest.source),
                    half_open: condition != Condition::Rests,
                    rest_until: rest.rest_until,
                    stated_reset: rest.stated_reset,
                    since: rest.since,
                    n: rest.n,
                    evidence: Arc::clone(&rest.evidence),
                    seen_by: rest.seen_by.clone(),
                });
            }
        }
        let parked_until = judged.and_then(|one| one.parked_until);
        let (handle, epoch) = member.who;
        let next_probe = judged.and_then(|one| match one.standing {
            Standing::HalfOpen { due, .. } => Some(due),
            Standing::Rests { until, .. } => Some(until),
            Standing::Off | Standing::Servable => None,
        });
        MemberView { handle, epoch, state, parked_until, next_probe, rests }
    }
}

/// How a member stands in the lane for requests of no model.
fn state_of(common: Option<&LaneState>, judged: Option<&Judged>, who: Who) -> State {
    let Some(judged) = judged else { return State::Disabled };
    let is_active = common.and_then(|lane| lane.active).is_some_and(|(active, _)| active == who);
    match judged.standing {
        Standing::Off => State::Disabled,
        Standing::Rests { .. } => State::Cooling,
        Standing::HalfOpen { .. } => State::HalfOpen,
        Standing::Servable if judged.parked_until.is_some() => State::Parked,
        Standing::Servable if common.is_some_and(|lane| lane.ramps.contains_key(&who)) => {
            State::Ramping
        }
        Standing::Servable if is_active => State::Active,
        Standing::Servable => State::Ready,
    }
}

fn lane_view(model: &Arc<str>, state: &LaneState) -> LaneView {
    LaneView {
        model: Arc::clone(model),
        active: state.active.map(|(who, _)| who.0),
        active_since: state.active_since,
        instead_of: state.instead_of,
        exhausted_since: state.exhausted,
        is_told: state.told,
        servable: state.servable(),
        retry_at: if state.servable() == 0 { state.retry_at() } else { None },
        members: state.judged.iter().map(|one| (one.who.0, reason(one))).collect(),
    }
}

/// Why a lane skips a member; `None`: it may be picked.
fn reason(one: &Judged) -> Option<super::super::view::Skipped> {
    use super::super::view::Skipped;
    match one.standing {
        Standing::Off => Some(Skipped::Disabled),
        Standing::Rests { until, class } => Some(Skipped::Cooling { until, class }),
        Standing::HalfOpen { due, class } => Some(Skipped::HalfOpen { due, class }),
        Standing::Servable => one.parked_until.map(|until| Skipped::Parked { until }),
    }
}

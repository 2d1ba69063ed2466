//! How every member of a touched pool stands in each lane, and what follows from it.
//!
//! P-5: exhausted iff no member is servable; of a lane one edge follows the other. All lanes are judged
//! before anybody hears of any.

use super::super::lane::{Judged, Standing};
use super::super::probe::Own;
use super::super::rest::Condition;
use super::super::{Event, Strategy};
use super::*;

/// What covers a member in a lane.
pub(super) struct Cover {
    pub(super) standing: Standing,
    /// The half-open target that a try is of, or the resting one that may be tried early.
    pub(super) tried: Option<Target>,
    /// How many of its targets rest: beside another one a try is too early, unless an operator asks for it.
    pub(super) resting: usize,
    wake: Option<u64>,
    /// Whether anything at all is known of it.
    known: bool,
}

/// A member with what covers it.
struct Covered {
    place: usize,
    who: Who,
    weight: Option<u32>,
    /// Whether it may be used at all.
    on: bool,
    cover: Cover,
}

impl PoolState {
    /// How far apart tries of who rests for long are, if they are wanted: while a lane is exhausted, and nobody
    /// has just come back.
    pub(super) fn early(&self, lane: &str, servable: bool) -> Option<u64> {
        let exhausted = self.lanes.get(lane).is_some_and(|state| state.exhausted.is_some());
        let wanted = (exhausted && !servable) || canary!("pools.tries_while_others_serve");
        Some(self.definition.early_probe_ms).filter(|every| *every > 0 && wanted)
    }

    /// Whether a lane was judged before its edge, by which its members may be tried early now.
    fn was_judged_before(&self, lane: &str) -> bool {
        let early = |state: &LaneState| self.early(lane, state.servable() > 0);
        self.lanes.get(lane).is_some_and(|state| state.early != early(state))
    }
}

impl Pools {
    pub(super) fn review_touched(&mut self, unix: u64, out: &mut Vec<Output>) {
        let mut told = Vec::new();
        while let Some((name, because)) = self.touched.pop_first() {
            self.because = because;
            self.review(unix, &name, &mut told, out);
        }
        out.append(&mut told);
    }

    /// Judges one pool before the turn ends, if the turn touched it: something asks how it stands now.
    pub(super) fn review_now(&mut self, unix: u64, name: &Name, out: &mut Vec<Output>) {
        let Some(because) = self.touched.remove(name) else { return };
        let after = std::mem::replace(&mut self.because, because);
        let mut told = Vec::new();
        self.review(unix, name, &mut told, out);
        out.append(&mut told);
        self.because = after;
    }

    fn review(&mut self, unix: u64, name: &Name, told: &mut Vec<Output>, out: &mut Vec<Output>) {
        self.tidy(unix, name, out);
        let Some(pool) = self.pools.get(name) else { return };
        let strategy = pool.definition.strategy;
        let stale = self.stale_places(unix, pool);
        let lanes: Vec<Arc<str>> = pool.lanes.keys().cloned().collect();
        let mut wake: Option<u64> = None;
        let mut kept = false;
        // The common lane comes first: others are silent while it is exhausted.
        for lane in lanes {
            self.judge_lane(unix, name, &lane, &stale);
            kept |= self.settle_lane(unix, name, &lane, strategy, told);
            if self.pools.get(name).is_some_and(|pool| pool.was_judged_before(&lane)) {
                self.judge_lane(unix, name, &lane, &stale);
            }
            let judged = self.pools.get(name).and_then(|pool| pool.lanes.get(&lane));
            let wakes = judged.into_iter().flat_map(|lane| &lane.judged);
            wake = wakes.filter_map(|one| one.wake).chain(wake).min();
        }
        let Some(pool) = self.pools.get_mut(name) else { return };
        pool.stale = false;
        for place in stale {
            let Some(member) = pool.members.get_mut(place) else { continue };
            member.row = None;
            self.stale.remove(&member.who.0);
        }
        if let Some(at) = pool.due.take() {
            self.due.remove(&(at, name.clone()));
        }
        let wake = if canary!("pools.wakes_late") { wake.map(|at| at + 3000) } else { wake };
        pool.due = wake;
        self.due.extend(wake.map(|at| (at, name.clone())));
        self.dirty.insert(name.clone());
        if kept {
            self.keep(name, out);
        }
        self.ask_alone(unix, name, told, out);
        told.push(Output::Announce(Event::Changed { pool: name.clone() }));
    }

    /// Judges those members of a lane of which something may be otherwise, or all where that is of the lane.
    fn judge_lane(&mut self, unix: u64, name: &Name, lane: &Arc<str>, stale: &[usize]) {
        let Some(pool) = self.pools.get(name) else { return };
        let Some(state) = pool.lanes.get(lane) else { return };
        let known = !pool.stale && state.judged.len() == pool.members.len();
        let every = || (0..pool.members.len()).collect::<Vec<usize>>();
        let places = if known { stale.to_vec() } else { every() };
        let own = pool.own.clone().filter(|model| pool.lane_of(model) == *lane);
        let mut covers = self.covers_of(unix, pool, lane, &places);
        // P-15: somebody who has come back by now ends early tries in this turn, not after its edge.
        let servable = |covers: &[Covered]| {
            covers.iter().any(|one| one.on && one.cover.standing == Standing::Servable)
        };
        let changed: BTreeSet<usize> = covers.iter().map(|one| one.place).collect();
        let others = state.judged.iter().enumerate().filter(|_| known);
        let mut others = others.filter(|(place, _)| !changed.contains(place));
        let serves = servable(&covers) || others.any(|(_, one)| one.servable());
        let early = pool.early(lane, serves);
        let all = !known || early != state.early;
        if all && known {
            covers = self.covers_of(unix, pool, lane, &every());
        }
        let judged: Vec<(usize, Judged)> = covers
            .into_iter()
            .map(|one| (one.place, self.judge(unix, one, early, own.as_deref())))
            .collect();
        let state = self.pools.get_mut(name).and_then(|pool| pool.lanes.get_mut(lane));
        let Some(state) = state else { return };
        state.early = early;
        if all {
            state.judge(judged.into_iter().map(|(_, judged)| judged).collect());
        } else {
            judged.into_iter().for_each(|(place, judged)| state.judge_one(place, judged));
        }
    }

    fn covers_of(&self, unix: u64, pool: &PoolState, lane: &str, places: &[usize]) -> Vec<Covered> {
        let members = places.iter().filter_map(|place| Some((*place, pool.members.get(*place)?)));
        let covers = members.map(|(place, member)| {
            let credential = self.credentials.get(&member.who.0);
            let on = credential.is_some_and(|one| !one.disabled && !one.needs_login);
            let cover = self.cover(unix, member.who, pool, lane);
            Covered { place, who: member.who, weight: member.weight, on, cover }
        });
        covers.collect()
    }

    fn judge(
        &mut self,
        unix: u64,
        covered: Covered,
        early: Option<u64>,
        own: Option<&str>,
    ) -> Judged {
        let Covered { who, weight, on, mut cover, place: _ } = covered;
        let mut wake: Option<u64> = None;
        let mut wakes = |at: Option<u64>| {
            let at = at.filter(|at| *at > unix);
            wake = [wake, at].into_iter().flatten().min();
        };
        let credential = self.credentials.get(&who.0).cloned();
        let park = self.parks.get(&who).map(|park| park.until).filter(|until| *until > unix);
        wakes(park);
        wakes(cover.wake);
        let (mut slot, mut acts) = (None, None);
        let mut tells = cover.known && cover.standing == Standing::Servable;
        if let Some(target) = cover.tried.take().filter(|_| on) {
            let has_own = own.is_some_and(|model| target.reach.covers(model));
            let turn = self.turn(unix, &target, early, has_own).beside(cover.resting);
            wakes(turn.wake);
            if let Standing::HalfOpen { due, .. } = &mut cover.standing {
                *due = turn.next_at.max(*due);
                tells = self.is_demand_due(unix, &target);
                wakes(self.demand_due(&target));
            } else if early.is_some() {
                tells = self.is_demand_due(unix, &target);
                wakes(self.demand_due(&target));
            }
            slot = turn.slot;
            acts = (turn.own != Own::Waits).then_some((target, turn.own));
        }
        Judged {
            who,
            standing: if on { cover.standing } else { Standing::Off },
            parked_until: park,
            priority: credential.as_ref().map_or(0, |one| one.priority),
            weight: weight.or(credential.as_ref().map(|one| one.weight)).unwrap_or(1),
            slot,
            tells,
            own: acts,
            wake,
        }
    }

    /// What covers a member in a lane: the longest rest, else the longest half-open state.
    pub(super) fn cover(&self, unix: u64, who: Who, pool: &PoolState, lane: &str) -> Cover {
        let half_open_max = pool.definition.profile.half_open_max_ms;
        let mut cover = Cover {
            standing: Standing::Servable,
            tried: None,
            resting: 0,
            wake: None,
            known: false,
        };
        let (mut longest, mut resting) = (0, false);
        let credential = self.credentials.get(&who.0);
        for whom in whoms(who, credential) {
            let Some(reaches) = self.folded.get(&whom) else { continue };
            for (reach, rest) in reaches.iter().filter(|(reach, _)| pool.covers(reach, lane)) {
                cover.known = true;
                let condition = rest.condition(unix, half_open_max);
                let (standing, end, rests) = match condition {
                    Condition::Over => continue,
                    Condition::Rests => {
                        let until = rest.rest_until;
                        (Standing::Rests { until, class: rest.class }, Some(until), true)
                    }
                    Condition::HalfOpen { until } => {
                        let due = rest.rest_until;
                        (Standing::HalfOpen { due, class: rest.class }, until, false)
                    }
                };
                cover.wake = [cover.wake, end].into_iter().flatten().min();
                cover.resting += usize::from(rests);
                if (rests, rest.rest_until) >= (resting, longest) {
                    (resting, longest) = (rests, rest.rest_until);
                    cover.standing = standing;
                    cover.tried = Some(Target { whom: whom.clone(), reach: reach.clone() });
                }
            }
            if !cover.known {
                cover.known = self.has_level(&whom, lane);
            }
        }
        cover
    }

    fn has_level(&self, whom: &Whom, lane: &str) -> bool {
        let from = Target { whom: whom.clone(), reach: Reach::All };
        let levels = self.levels.range(from..).take_while(|(target, _)| target.whom == *whom);
        levels.into_iter().any(|(target, level)| level.n > 0 && target.reach.covers(lane))
    }

    /// Takes in the new standings of a lane; tells whether its pointer or its edge must be kept.
    fn settle_lane(
        &mut self,
        unix: u64,
        name: &Name,
        lane: &Arc<str>,
        strategy: Strategy,
        told: &mut Vec<Output>,
    ) -> bool {
        let ((cause, proved), loaded) = (self.because, self.loaded);
        // What time ended here, another node may know to rest for longer: its word is waited for.
        let awaits = !self.awaited.is_empty() && !proved && cause != Cause::Cleared;
        let Some(pool) = self.pools.get_mut(name) else { return false };
        let target = pool.definition.auth_reset_target.clone();
        let common = pool.lanes.get("").is_some_and(|state| state.exhausted.is_some());
        let silent = common && !lane.is_empty();
        let Some(state) = pool.lanes.get_mut(lane) else { return false };
        let kept = |state: &LaneState| (state.active.map(|(who, _)| who), state.told_since());
        let before = kept(state);
        let rests = |one: &Judged| !matches!(one.standing, Standing::Servable | Standing::Off);
        if state.rested_at == 0 || state.judged.iter().any(rests) {
            state.rested_at = unix;
        }
        let follows = strategy == Strategy::Failover && loaded;
        let moved = follows.then(|| state.follow(unix)).flatten();
        let (pool, lane) = (name.clone(), Arc::clone(lane));
        if let Some(moved) = moved {
            self.counters.failed_over(moved.class);
            let (pool, lane) = (pool.clone(), Arc::clone(&lane));
            let super::super::lane::Moved { from, to, class } = moved;
            told.push(Output::Announce(Event::Failover { pool, lane, from, to, class }));
        }
        match (state.exhausted.or(state.held), state.servable(), state.judged.len()) {
            (since, 0, members) if members > 0 => {
                (state.exhausted, state.held) = (since.or(Some(unix)), None);
                let wake_at = state.wake_at().map(UnixTime);
                if loaded
                    && !silent
                    && (!std::mem::replace(&mut state.told, true)
                        || canary!("pools.tells_every_time"))
                {
                    told.push(Output::Announce(Event::Exhausted { pool, lane, wake_at, members }));
                }
            }
            (Some(_), 0, 0) => state.reopen(),
            (Some(_), servable, _) if servable > 0 && !state.told => state.reopen(),
            (Some(since), servable, _) if servable > 0 && awaits => {
                (state.exhausted, state.held) = (None, Some(since));
            }
            (Some(since), servable, _) if servable > 0 => {
                state.reopen();
                let member = state.judged.iter().find(|member| member.servable());
                let member = member.map_or(CredentialHandle(0), |member| member.who.0);
                let (confirmed, after_ms) = (proved, unix.saturating_sub(since));
                let auth_reset_target = if silent { String::new() } else { target };
                told.push(Output::Announce(Event::Recovered {
                    pool,
                    lane,
                    member,
                    cause,
                    confirmed,
                    after_ms,
                    auth_reset_target,
                }));
            }
            _ => {}
        }
        before != kept(state)
    }
}

/// Of whom something may be known that covers a member.
pub(super) fn whoms(who: Who, credential: Option<&Arc<Credential>>) -> impl Iterator<Item = Whom> {
    let group = credential.and_then(|one| one.group().cloned());
    let provider = credential.map(|one| Arc::clone(&one.provider));
    let own = std::iter::once((Subject::Credential(who.0), who.1));
    let group = group.map(|group| (Subject::Group(group), 0));
    let provider = provider.map(|provider| (Subject::Provider(provider), 0));
    own.chain(group).chain(provider)
}

//! Which lanes a pool has, and what its node need not say any more.
//!
//! A model or a family gets a lane with its first rest and keeps it while anything of that name rests, and an
//! hour longer. Where there is no room for one, its rests count in the common lane: rather a member too few
//! than one that rests. A name in which several families rest uses the lane of the first, and of that only
//! members that none of the others holds back (see [`super::super::pick`]); once it is asked for it gets a
//! lane of its own.
//!
//! P-1: whatever rests is seen in the lane that a request for it uses. P-14: lanes, and our own map, keep
//! their bounds; what has ended goes first.

use super::super::lane::Who;
use super::super::rest::Condition;
use super::super::target::{Reach, Target, words};
use super::review::whoms;
use super::*;

impl PoolState {
    /// The lane that a request for `model` uses, as [`super::super::Pool::lane`] finds it.
    pub(super) fn lane_of(&self, model: &str) -> Arc<str> {
        if let Some((own, _)) = self.lanes.get_key_value(model) {
            return Arc::clone(own);
        }
        let family = |word| self.lanes.get_key_value(word).filter(|(_, lane)| lane.is_family);
        let family = words(model).find_map(family);
        family.map_or_else(|| Arc::from(""), |(lane, _)| Arc::clone(lane))
    }

    /// Whether what rests with this reach holds a member back in a lane.
    pub(super) fn covers(&self, reach: &Reach, lane: &str) -> bool {
        let has_lane = || match reach {
            Reach::All => false,
            Reach::Model(model) => self.lanes.contains_key(model),
            Reach::Family(family) => self.lanes.get(family).is_some_and(|lane| lane.is_family),
        };
        reach.covers(lane) || (lane.is_empty() && !has_lane())
    }

    /// Opens a lane, if there is room for it.
    fn open(&mut self, name: &Arc<str>, is_family: bool, needed: &BTreeSet<(Arc<str>, bool)>) {
        if let Some(lane) = self.lanes.get_mut(name) {
            lane.is_family |= is_family;
            return;
        }
        if self.lanes.len() >= limits::POOL_LANES_MAX {
            let idle = self.lanes.iter().filter(|(lane, state)| {
                let is_needed = |one: &(Arc<str>, bool)| one.0 == **lane;
                !lane.is_empty() && !state.told && !needed.iter().any(is_needed)
            });
            let oldest = idle.min_by_key(|(_, state)| state.rested_at);
            let Some(lane) = oldest.map(|(lane, _)| Arc::clone(lane)) else { return };
            self.lanes.remove(&lane);
        }
        let active = self.lanes.get("").and_then(|lane| lane.active);
        let lane = LaneState { active, is_family, ..LaneState::default() };
        self.lanes.insert(Arc::clone(name), lane);
    }
}

impl Pools {
    /// Drops what is over, opens lanes for what rests, and closes those that nothing was heard of for an hour.
    /// Only members are looked at of which something is known otherwise, or may be by now.
    pub(super) fn tidy(&mut self, unix: u64, name: &Name, out: &mut Vec<Output>) {
        let Some(pool) = self.pools.get(name) else { return };
        let half_open_max = pool.definition.profile.half_open_max_ms;
        let forget_after = crate::time::millis(self.settings.forget_after);
        let places = self.stale_places(unix, pool);
        let whos: Vec<Who> =
            places.iter().filter_map(|at| Some(pool.members.get(*at)?.who)).collect();
        let mut drops: BTreeMap<Whom, u64> = BTreeMap::new();
        let all = whos.iter().flat_map(|who| whoms(*who, self.credentials.get(&who.0)));
        for whom in all.collect::<BTreeSet<Whom>>() {
            let clear = self.drop_clears(unix, forget_after, &whom, out);
            let park = self.drop_parks(unix, &whom, out);
            for target in self.spoken_of(&whom) {
                self.drop_ended(unix, half_open_max, &target, out);
            }
            let next = [clear, park].into_iter().flatten().min();
            drops.extend(next.map(|at| (whom, at)));
        }
        self.cover_on(unix, name);
        self.stale.extend(whos.iter().map(|(handle, _)| *handle));
        self.renew_needs(unix, name, &drops);
        let Some(pool) = self.pools.get_mut(name) else { return };
        let needed = pool.members.iter().flat_map(|member| member.needs.iter().cloned());
        let needed: BTreeSet<(Arc<str>, bool)> = needed.collect();
        pool.lanes.retain(|lane, state| {
            let meant = |is_family| needed.contains(&(Arc::clone(lane), is_family));
            let is_needed = meant(false) || meant(true);
            let fresh = state.rested_at == 0 || unix < state.rested_at.saturating_add(LANE_IDLE_MS);
            // P-5: an edge that was told of a lane is followed by the other one.
            lane.is_empty() || is_needed || fresh || state.told
        });
        for (lane, is_family) in &needed {
            pool.open(lane, *is_family, &needed);
        }
        // What rests for a name without a lane counts in the common one.
        let lanes = pool.lanes.iter().map(|(lane, state)| (Arc::clone(lane), state.is_family));
        let lanes: Vec<(Arc<str>, bool)> = lanes.collect();
        if pool.judged_for != lanes {
            (pool.judged_for, pool.stale) = (lanes, true);
        }
        self.drop_notices(unix, name, out);
        self.touched.remove(name);
    }

    /// Where members stand of which something is known otherwise, or may be by now.
    pub(super) fn stale_places(&self, unix: u64, pool: &PoolState) -> Vec<usize> {
        let over = |at: Option<u64>| at.is_some_and(|at| at <= unix);
        let mut stale: Vec<bool> = pool
            .members
            .iter()
            .map(|member| pool.stale || over(member.drops_at) || self.stale.contains(&member.who.0))
            .collect();
        for lane in pool.lanes.values() {
            for (stale, judged) in stale.iter_mut().zip(&lane.judged) {
                *stale |= over(judged.wake);
            }
        }
        let rows = stale.into_iter().enumerate();
        rows.filter(|(_, stale)| *stale).map(|(place, _)| place).collect()
    }

    /// What rests of members that were looked at now, or of which that changed meanwhile.
    fn renew_needs(&mut self, unix: u64, name: &Name, drops: &BTreeMap<Whom, u64>) {
        let Some(pool) = self.pools.get(name) else { return };
        let half_open_max = pool.definition.profile.half_open_max_ms;
        let mut renewed = Vec::new();
        for place in self.stale_places(unix, pool) {
            let Some(member) = pool.members.get(place) else { continue };
            let (mut needs, mut drops_at) = (Vec::new(), None::<u64>);
            for whom in whoms(member.who, self.credentials.get(&member.who.0)) {
                drops_at = [drops_at, drops.get(&whom).copied()].into_iter().flatten().min();
                for (reach, rest) in self.folded.get(&whom).into_iter().flatten() {
                    if rest.condition(unix, half_open_max) == Condition::Over {
                        continue;
                    }
                    match reach {
                        Reach::All => {}
                        Reach::Model(model) => needs.push((Arc::clone(model), false)),
                        Reach::Family(family) => needs.push((Arc::clone(family), true)),
                    }
                }
            }
            renewed.push((place, needs, drops_at));
        }
        let Some(pool) = self.pools.get_mut(name) else { return };
        for (place, needs, drops_at) in renewed {
            if let Some(member) = pool.members.get_mut(place) {
                (member.needs, member.drops_at) = (needs, drops_at);
            }
        }
    }

    /// A name in which several families rest gets a lane of its own.
    pub(super) fn open_combined(&mut self, name: &Name, model: &Arc<str>) {
        let Some(pool) = self.pools.get_mut(name) else { return };
        let family = |word: &&str| pool.lanes.get(*word).is_some_and(|lane| lane.is_family);
        let families = words(model).filter(family).count();
        if families < 2 || pool.lanes.contains_key(model) {
            return;
        }
        let open = pool.lanes.keys().map(|lane| (Arc::clone(lane), false)).collect();
        pool.open(model, false, &open);
        self.look_at(name.clone());
    }

    /// Every target of `whom` of which anybody rests, or of which we say anything that may end.
    fn spoken_of(&self, whom: &Whom) -> BTreeSet<Target> {
        let from = || Target { whom: whom.clone(), reach: Reach::All }..;
        let mut targets: BTreeSet<Target> = BTreeSet::new();
        let reaches = self.folded.get(whom).into_iter().flat_map(BTreeMap::keys);
        targets.extend(reaches.map(|reach| Target { whom: whom.clone(), reach: reach.clone() }));
        if let Some(own) = self.books.get(&self.local.node) {
            let of = |target: &&Target| target.whom == *whom;
            targets.extend(own.rests.range(from()).map(|row| row.0).take_while(of).cloned());
            targets.extend(own.demands.range(from()).map(|row| row.0).take_while(of).cloned());
            targets.extend(own.probes.range(from()).map(|row| row.0).take_while(of).cloned());
        }
        targets
    }
}

/// A lane that nothing rested in for so long goes.
const LANE_IDLE_MS: u64 = 3_600_000;

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
    pub(super) fn tidy(&mut self, unix: u64, name: &Name, out: &mut Vec<Output>) {
        let Some(pool) = self.pools.get(name) else { return };
        let half_open_max = pool.definition.profile.half_open_max_ms;
        let members = pool.members.iter();
        let whoms: BTreeSet<Whom> = members
            .flat_map(|member| whoms(member.who, self.credentials.get(&member.who.0)))
            .collect();
        let forget_after = crate::time::millis(self.settings.forget_after);
        let mut needed: BTreeSet<(Arc<str>, bool)> = BTreeSet::new();
        for whom in whoms {
            self.drop_clears(unix, forget_after, &whom, out);
            self.drop_parks(unix, &whom, out);
            for target in self.spoken_of(&whom) {
                self.drop_ended(unix, half_open_max, &target, out);
            }
            for (reach, rest) in self.folded.get(&whom).into_iter().flatten() {
                if rest.condition(unix, half_open_max) == Condition::Over {
                    continue;
                }
                match reach {
                    Reach::All => {}
                    Reach::Model(model) => _ = needed.insert((Arc::clone(model), false)),
                    Reach::Family(family) => _ = needed.insert((Arc::clone(family), true)),
                }
            }
        }
        let Some(pool) = self.pools.get_mut(name) else { return };
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
        self.drop_notices(unix, name, out);
        self.touched.remove(name);
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
        self.touched.insert(name.clone());
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

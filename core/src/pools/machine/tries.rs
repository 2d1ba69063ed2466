//! Whose turn it is to try a member, and what a try says before and after.
//!
//! P-6: who takes the slot says so before the request leaves; however it ends, the attempt is spent.
//!
//! Absent on purpose: the turns themselves, which [`super::super::probe`] reckons.

use super::super::Event;
use super::super::lane::Standing;
use super::super::probe::{self, Own, Scene, Turn};
use super::report::About;
use super::review::Cover;
use super::*;

impl Pools {
    pub(super) fn is_demand_due(&self, unix: u64, target: &Target) -> bool {
        self.demand_due(target).is_none_or(|at| unix >= at)
    }

    /// When our demand for a target is worth saying again.
    pub(super) fn demand_due(&self, target: &Target) -> Option<u64> {
        let own = self.books.get(&self.local.node)?;
        let (_, at) = own.demands.get(target)?;
        Some(at.saturating_add(super::super::probe::DEMAND_EVERY_MS))
    }

    /// Whose turn it is to try a target. `has_own`: whether a request of the pool's own would.
    pub(super) fn turn(
        &mut self,
        unix: u64,
        target: &Target,
        early: Option<u64>,
        has_own: bool,
    ) -> Turn {
        let Some(folded) = self.folded.get(&target.whom).and_then(|all| all.get(&target.reach))
        else {
            return Turn::default();
        };
        let scene = Scene {
            now: unix,
            local: &self.local.node,
            members: &self.members,
            books: self.books.iter().collect(),
            early,
            has_own,
        };
        self.tries.entry(target.clone()).or_default().turn(target, folded, &scene)
    }

    /// The target of a member that a request for `model` would try, and whose turn it is.
    fn tried(
        &mut self,
        unix: u64,
        who: Who,
        name: &Name,
        model: &Arc<str>,
    ) -> Option<(Target, Turn)> {
        let pool = self.pools.get(name)?;
        let lane = pool.lane_of(model);
        let early = pool.early(&lane, false);
        let Cover { tried, resting, .. } = self.cover(unix, who, pool, &lane);
        let target = tried?;
        let turn = self.turn(unix, &target, early, false).beside(resting);
        Some((target, turn))
    }

    /// Requests of a lane could use whoever of it is half-open.
    pub(super) fn want(&mut self, unix: u64, name: &Name, model: &Arc<str>, out: &mut Vec<Output>) {
        self.open_combined(name, model);
        let Some(pool) = self.pools.get(name) else { return };
        let lane = pool.lane_of(model);
        let early = pool.early(&lane, false).is_some();
        let judged = pool.lanes.get(&lane).map_or(&[][..], |lane| &lane.judged);
        let known = !pool.stale && judged.len() == pool.members.len();
        let mut wanted = Vec::new();
        for (place, member) in pool.members.iter().enumerate() {
            // Of whom nothing is known otherwise since, the last judgement holds.
            let fresh = known && !self.stale.contains(&member.who.0);
            let standing = judged.get(place).filter(|_| fresh).map(|one| &one.standing);
            match standing {
                Some(Standing::Off | Standing::Servable) => continue,
                Some(Standing::Rests { .. }) if !early => continue,
                Some(Standing::Rests { .. } | Standing::HalfOpen { .. }) | None => {}
            }
            let cover = self.cover(unix, member.who, pool, &lane);
            let long = |target: &Target| self.folded_rest(target).is_some_and(Folded::is_long);
            let could = |target: &Target| match cover.standing {
                Standing::HalfOpen { .. } => true,
                Standing::Rests { .. } => early && long(target),
                Standing::Off | Standing::Servable => false,
            };
            wanted.extend(cover.tried.filter(could));
        }
        for target in wanted {
            if let Some(tries) = self.tries.get_mut(&target) {
                tries.stand_back();
            }
            self.say_demand(unix, &target, false, out);
        }
    }

    /// Does what the pool's own request is to do, where nobody asks.
    pub(super) fn ask_alone(
        &mut self,
        unix: u64,
        name: &Name,
        told: &mut Vec<Output>,
        out: &mut Vec<Output>,
    ) {
        let Some(pool) = self.pools.get_mut(name) else { return };
        let Some(lane) = pool.own.as_ref().map(|model| pool.lane_of(model)) else { return };
        let judged = pool.lanes.get_mut(&lane).into_iter().flat_map(|lane| &mut lane.judged);
        let acts = judged.filter_map(|one| Some((one.who.0, one.own.take()?)));
        let mut members: BTreeMap<(Target, Own), Vec<CredentialHandle>> = BTreeMap::new();
        for (member, act) in acts {
            members.entry(act).or_default().push(member);
        }
        for ((target, own), members) in members {
            match own {
                Own::Waits => {}
                Own::Wants if self.say_demand(unix, &target, false, out) => {
                    self.stand_in(unix, &target);
                }
                Own::Wants => {
                    if let Some(tries) = self.tries.get_mut(&target) {
                        tries.give_up(unix);
                    }
                    self.touch(&target.whom);
                }
                Own::Leaves => {
                    let tries = self.tries.entry(target).or_default();
                    let Some(member) = members.get(tries.leave(members.len())) else { continue };
                    sometimes!("pools.asks_alone");
                    let (pool, member) = (name.clone(), *member);
                    told.push(Output::Announce(Event::ProbeDue { pool, member }));
                }
            }
        }
    }

    /// A try is wanted here for the request that some pool sends by itself.
    pub(super) fn stand_in(&mut self, unix: u64, target: &Target) {
        let Some(folded) = self.folded.get(&target.whom).and_then(|all| all.get(&target.reach))
        else {
            return;
        };
        self.tries.entry(target.clone()).or_default().stand_in(unix, folded);
        self.touch(&target.whom);
    }

    /// Whether the try of this member that is out is the pool's own request: that is no demand.
    pub(super) fn is_own_try(&self, who: Who, model: &str) -> bool {
        let mut tries = self.tries.iter();
        tries.any(|(target, tries)| tries.is_own() && self.covers(target, who, model))
    }

    /// A request took the slot: everybody hears of it before it leaves.
    pub(super) fn probing(
        &mut self,
        unix: u64,
        who: Who,
        pool: &Name,
        model: &Arc<str>,
        out: &mut Vec<Output>,
    ) -> bool {
        self.review_now(unix, pool, out);
        let Some((target, turn)) = self.tried(unix, who, pool, model) else { return false };
        if turn.slot.is_none() {
            return false;
        }
        let Some(rest) = self.folded_rest(&target).map(|folded| folded.rest_until) else {
            return false;
        };
        if self.is_full() {
            return false;
        }
        let (attempt, idle) = (turn.attempt, turn.idle);
        let said = super::super::said::ProbeSaid { rest, attempt, spent: false, idle, next_at: 0 };
        self.say_probe(unix, &target, said, out);
        true
    }

    pub(super) fn probe_ended(
        &mut self,
        unix: u64,
        about: &About,
        taught: bool,
        out: &mut Vec<Output>,
    ) {
        self.counters.probed(taught);
        let own = self.books.get(&self.local.node);
        let probes = own.into_iter().flat_map(|own| own.probes.iter());
        let ours = probes.filter(|(target, (said, _))| {
            !said.spent && self.covers(target, about.who, &about.model)
        });
        let ours: Vec<_> = ours.map(|(target, (said, _))| (target.clone(), *said)).collect();
        for (target, said) in ours {
            if let Some(tries) = self.tries.get_mut(&target).filter(|_| taught) {
                tries.stand_back();
            }
            self.say_probe(unix, &target, probe::spent(unix, said, taught), out);
        }
    }
}

//! What a run is compared with: computed from books alone, without anything that a machine keeps.

use super::world::{Fleet, Host, ORIGIN, Weather};
use crate::pools::lane::Standing;
use crate::pools::machine::tests::harness::name;
use crate::pools::machine::*;
use crate::pools::target::words;

impl Fleet {
    /// P-8: the same maps are the same view, whatever the order in which they came.
    pub(super) fn check_equal(&self) {
        assert!(self.words.is_empty(), "{} words are on their way", self.words.len());
        let shared = |host: &Host| {
            let mut folded = host.pools.folded.clone();
            for ((subject, _), reaches) in &mut folded {
                if matches!(subject, Subject::Provider(_)) {
                    reaches.remove(&Reach::All);
                }
            }
            folded.retain(|_, reaches| !reaches.is_empty());
            folded
        };
        let [first, others @ ..] = self.hosts.as_slice() else { return };
        for other in others {
            assert_eq!(shared(first), shared(other), "P-8: {} and {}", first.local, other.local);
        }
    }

    /// P-6: at most one try per target and rest is out, where everybody hears everybody in time.
    pub(super) fn check_one_probe(&self) {
        if self.weather != Weather::Calm {
            return;
        }
        let mut out: BTreeMap<(&Target, u64), usize> = BTreeMap::new();
        for host in &self.hosts {
            let own = host.pools.books.get(&host.local.node).expect("its own book");
            for (target, (said, seen)) in &own.probes {
                let fresh = ORIGIN + self.now < seen + crate::pools::probe::OUT_MS_MAX;
                let current =
                    host.pools.folded_rest(target).is_some_and(|rest| rest.rest_until == said.rest);
                if !said.spent && fresh && current {
                    *out.entry((target, said.rest)).or_default() += 1;
                }
            }
        }
        for (target, count) in out {
            assert!(count <= 1, "P-6: {count} tries of {target:?} at {} ms", self.now);
        }
    }

    /// P-17: nothing that time alone changes is shown otherwise than it is before the timer that was asked for.
    pub(super) fn check_timely(&self, index: usize) {
        let pools = &self.hosts[index].pools;
        let unix = ORIGIN + self.now;
        let Some(pool) = pools.pools.get(&name("p")) else { return };
        for (lane, state) in &pool.lanes {
            for member in &state.judged {
                let resting = rests(pools, unix, member.who, lane);
                let shown = matches!(member.standing, Standing::Rests { .. });
                assert_eq!(
                    shown, resting,
                    "P-17: n{index} `{lane}` {:?} at {} ms",
                    member.who, self.now
                );
            }
        }
    }
}

/// Who is active in each lane, and at which place.
pub(super) type Actives = BTreeMap<Arc<str>, Option<(Who, usize)>>;

/// P-3 and P-5 of every lane, after an input.
pub(super) fn check_lanes(index: usize, at: Instant, pool: &PoolState, before: Option<&Actives>) {
    for (lane, state) in &pool.lanes {
        let open = state.lay_out(Default::default(), Default::default(), |_| at).open;
        let was = before.and_then(|lanes| lanes.get(lane)).copied().flatten();
        if let (Some((was, place)), Some((is, _))) = (was, state.active)
            && was != is
        {
            let open = open.iter().any(|open| usize::try_from(*open) == Ok(place));
            assert!(!open, "P-3: n{index} `{lane}` leaves {was:?}, which is preferred");
        }
        let servable = state.servable() > 0 || state.judged.is_empty();
        assert_eq!(state.exhausted.is_none(), servable, "P-5: n{index} `{lane}`");
    }
}

/// Whether a node's books say that a member rests for a model: no cache, no index, word by word.
pub(super) fn rests(pools: &Pools, unix: u64, who: Who, model: &str) -> bool {
    let meant = |target: &Target| {
        let of = match &target.whom.0 {
            Subject::Credential(handle) => (*handle, target.whom.1) == who,
            Subject::Group(_) => false,
            Subject::Provider(provider) => &**provider == "fake",
        };
        let within = match &target.reach {
            Reach::All => true,
            Reach::Model(one) => **one == *model,
            Reach::Family(family) => words(model).any(|word| *word == **family),
        };
        of && within
    };
    let voided = |target: &Target, rest: &crate::pools::said::RestSaid| {
        let clears = pools.books.values().filter_map(|book| book.clears.get(target));
        clears.into_iter().any(|clear| clear.voids(rest))
    };
    let said = pools.books.values().flat_map(|book| &book.rests);
    let known = said.filter(|(target, rest)| meant(target) && !voided(target, rest));
    let until = known.map(|(_, rest)| rest.rest_until).max().unwrap_or(0);
    unix < until
}

//! What is worth telling people about a pool, and which node tells it.
//!
//! Every node sees the edges of every pool. One of them, the *announcer* of the pool, tells; if it goes,
//! another one is. An edge is told once. A lane that is exhausted again within ten minutes of a recovery that
//! was only presumed is in an *episode*: its first repeat is told as `still_exhausted`, later ones at least
//! 10, 20, 40 … minutes apart (at most 6 h), and the recovery is held back until an answer confirmed it or
//! the lane was open for ten minutes. What needs a person (`billing`, `auth_failed`) is told once per
//! credential and chain of rests.
//!
//! P-10: one announcer per pool in one view; an episode is told as begun once, and as over once. P-18: of a
//! pool that is gone nothing is told.
//!
//! Absent on purpose: sending, and what a sink took; a notice that was on its way when its node died is lost.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::{Class, Event, Name, Snapshot};
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

/// What was told of every lane.
#[derive(Debug, Default)]
pub struct Notices {
    lanes: BTreeMap<(Name, Arc<str>), Lane>,
    /// Credentials of whose trouble people know.
    troubles: BTreeMap<(CredentialHandle, Class), Name>,
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
    /// What `event` makes worth telling.
    pub fn hear(&mut self, now: Instant, event: &Event) -> Option<Notice> {
        match event {
            Event::Exhausted { pool, lane, .. } => {
                let kind = self.lane(pool, lane).exhausted(now)?;
                Some(Notice { pool: pool.clone(), lane: lane.clone(), kind })
            }
            Event::Recovered { pool, lane, confirmed, .. } => {
                let kind = self.lane(pool, lane).recovered(now, *confirmed)?;
                Some(Notice { pool: pool.clone(), lane: lane.clone(), kind })
            }
            Event::Rested { pool, credential, class, .. } => {
                let (credential, class) = (*credential, *class);
                let person = matches!(class, Class::Billing | Class::AuthFailed);
                if !person || self.troubles.contains_key(&(credential, class)) {
                    return None;
                }
                self.troubles.insert((credential, class), pool.clone());
                let kind = Kind::Person { credential, class };
                Some(Notice { pool: pool.clone(), lane: Arc::from(""), kind })
            }
            Event::Failover { .. }
            | Event::Shared { .. }
            | Event::Parked { .. }
            | Event::Changed { .. } => None,
        }
    }

    fn lane(&mut self, pool: &Name, lane: &Arc<str>) -> &mut Lane {
        self.lanes.entry((pool.clone(), lane.clone())).or_default()
    }

    /// What time has made worth telling; forgets what is gone and what has ended.
    pub fn tick(&mut self, now: Instant, pools: &Snapshot) -> Vec<Notice> {
        self.lanes
            .retain(|(pool, _), lane| pools.pool(pool.as_str()).is_some() && !lane.is_over(now));
        self.troubles.retain(|(credential, class), pool| {
            let rows = pools.pool(pool.as_str()).map(|pool| pool.rows.as_slice());
            let row = rows.unwrap_or_default().iter().find(|row| row.handle == *credential);
            row.is_some_and(|row| row.rests.iter().any(|rest| rest.class == *class))
        });
        let mut told = Vec::new();
        for ((pool, lane), state) in &mut self.lanes {
            if state.held && state.open_for(now) >= SETTLED {
                *state = Lane::default();
                let kind = Kind::Recovered;
                told.push(Notice { pool: pool.clone(), lane: lane.clone(), kind });
            }
        }
        told
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
        let again = self.presumed_at.is_some_and(|at| now.since(at) < SETTLED);
        if self.held || (again && !self.exhausted) {
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

/// So long after a presumed recovery the lane counts as well.
const SETTLED: Duration = Duration::from_secs(600);
/// Between two repeats that are told, at first.
const GAP_MIN: Duration = Duration::from_secs(600);
/// The same, at most.
const GAP_MAX: Duration = Duration::from_secs(6 * 3600);

#[cfg(test)]
mod tests {
    use super::super::pick;
    use super::super::{Cause, Definition, Pool};
    use super::*;

    fn name(text: &str) -> Name {
        text.parse().expect("a name")
    }

    fn minute(number: u64) -> Instant {
        Instant::from_millis(number * 60_000)
    }

    fn exhausted() -> Event {
        let wake_at = Some(crate::time::UnixTime(1));
        Event::Exhausted { pool: name("codex"), lane: "".into(), wake_at, members: 2 }
    }

    fn recovered(confirmed: bool) -> Event {
        Event::Recovered {
            pool: name("codex"),
            lane: "".into(),
            member: CredentialHandle(1),
            cause: Cause::RestOver,
            confirmed,
            after_ms: 1,
            auth_reset_target: String::new(),
        }
    }

    fn rested(credential: u64, class: Class) -> Event {
        Event::Rested {
            pool: name("codex"),
            credential: CredentialHandle(credential),
            class,
            scope: "*".into(),
            source: "default".into(),
            rest_until: crate::time::UnixTime(1),
            stated_reset: None,
        }
    }

    fn pools(names: &[&str]) -> Snapshot {
        let pool = |text: &&str| {
            let pool = Pool {
                name: name(text),
                definition: Arc::new(Definition::default()),
                from_document: true,
                members: Arc::from([]),
                any: Arc::new(pick::Lane::default()),
                lanes: BTreeMap::new(),
                families: Vec::new(),
                views: Vec::new(),
                rows: Vec::new(),
            };
            (name(text), Arc::new(pool))
        };
        Snapshot { wall: 0, pools: names.iter().map(pool).collect() }
    }

    fn heard(notices: &mut Notices, at: u64, event: &Event) -> Option<Kind> {
        notices.hear(minute(at), event).map(|notice| notice.kind)
    }

    fn ticked(notices: &mut Notices, at: u64) -> Vec<Kind> {
        let told = notices.tick(minute(at), &pools(&["codex"]));
        told.into_iter().map(|notice| notice.kind).collect()
    }

    #[test]
    fn an_edge_is_told_once_and_its_end_once() {
        let mut notices = Notices::default();
        assert_eq!(heard(&mut notices, 0, &exhausted()), Some(Kind::Exhausted));
        assert_eq!(heard(&mut notices, 5, &recovered(false)), Some(Kind::Recovered));
        assert_eq!(ticked(&mut notices, 14), []);
        assert_eq!(ticked(&mut notices, 15), []);
        assert!(notices.lanes.is_empty(), "what is over is forgotten");
        assert_eq!(heard(&mut notices, 16, &exhausted()), Some(Kind::Exhausted));
        assert_eq!(heard(&mut notices, 17, &recovered(true)), Some(Kind::Recovered));
        assert_eq!(heard(&mut notices, 18, &exhausted()), Some(Kind::Exhausted), "it was proved");
    }

    #[test]
    fn a_lane_that_flaps_is_told_ever_more_rarely_and_its_recovery_is_held_back() {
        let mut notices = Notices::default();
        let still = |attempts| Some(Kind::StillExhausted { attempts });
        assert_eq!(heard(&mut notices, 0, &exhausted()), Some(Kind::Exhausted));
        assert_eq!(heard(&mut notices, 1, &recovered(false)), Some(Kind::Recovered));
        assert_eq!(heard(&mut notices, 2, &exhausted()), still(1), "the first repeat");
        let mut told = Vec::new();
        for at in (3..100).step_by(2) {
            assert_eq!(heard(&mut notices, at, &recovered(false)), None, "held back at {at}");
            assert_eq!(ticked(&mut notices, at), []);
            told.extend(heard(&mut notices, at + 1, &exhausted()).map(|_| at + 1));
        }
        assert_eq!(told, [12, 32, 72], "10, 20 and 40 minutes apart");
        assert_eq!(heard(&mut notices, 101, &recovered(false)), None);
        assert_eq!(ticked(&mut notices, 110), []);
        assert_eq!(ticked(&mut notices, 111), [Kind::Recovered], "open for ten minutes");
        assert_eq!(ticked(&mut notices, 200), []);
    }

    #[test]
    fn a_lane_that_no_timer_ends_is_told_of_at_once() {
        let untimed =
            Event::Exhausted { pool: name("codex"), lane: "".into(), wake_at: None, members: 2 };
        let mut notices = Notices::default();
        assert_eq!(heard(&mut notices, 0, &untimed), Some(Kind::Exhausted));
        assert_eq!(heard(&mut notices, 0, &recovered(true)), Some(Kind::Recovered));
    }

    #[test]
    fn an_answer_ends_an_episode_at_once() {
        let mut notices = Notices::default();
        for (at, event) in [(0, exhausted()), (1, recovered(false)), (2, exhausted())] {
            heard(&mut notices, at, &event);
        }
        assert_eq!(heard(&mut notices, 3, &recovered(true)), Some(Kind::Recovered));
        assert_eq!(ticked(&mut notices, 60), []);
    }

    #[test]
    fn of_a_pool_that_is_gone_nothing_is_told() {
        let mut notices = Notices::default();
        for (at, event) in
            [(0, exhausted()), (1, recovered(false)), (2, exhausted()), (3, recovered(false))]
        {
            heard(&mut notices, at, &event);
        }
        assert_eq!(notices.tick(minute(30), &pools(&[])), []);
        assert!(notices.lanes.is_empty());
    }

    #[test]
    fn a_person_is_called_once_per_chain_of_rests() {
        let mut notices = Notices::default();
        let person = |credential, class| {
            Some(Kind::Person { credential: CredentialHandle(credential), class })
        };
        assert_eq!(heard(&mut notices, 0, &rested(1, Class::RateLimited)), None);
        let billing = rested(1, Class::Billing);
        assert_eq!(heard(&mut notices, 0, &billing), person(1, Class::Billing));
        assert_eq!(heard(&mut notices, 1, &billing), None);
        let refused = rested(1, Class::AuthFailed);
        assert_eq!(heard(&mut notices, 1, &refused), person(1, Class::AuthFailed));
        assert_eq!(heard(&mut notices, 1, &rested(2, Class::Billing)), person(2, Class::Billing));
        assert_eq!(ticked(&mut notices, 2), [], "nothing of them rests any more");
        assert_eq!(heard(&mut notices, 3, &billing), person(1, Class::Billing));
    }

    #[test]
    fn one_node_tells_and_pools_are_shared_out() {
        let nodes: Vec<NodeId> =
            ["a", "b", "c"].iter().map(|node| node.parse().expect("an id")).collect();
        let members = || nodes.iter().map(|node| (node, Incarnation(7)));
        let mut told = std::collections::BTreeSet::new();
        for number in 0..64 {
            let pool = name(&format!("p{number}"));
            let first = announcer(&pool, members()).expect("somebody");
            assert_eq!(
                announcer(&pool, members().collect::<Vec<_>>().into_iter().rev()),
                Some(first)
            );
            let without = announcer(&pool, members().filter(|(node, _)| *node != first));
            assert!(without.is_some_and(|other| other != first), "somebody else goes on");
            told.insert(first.clone());
        }
        assert_eq!(told.len(), 3, "each tells of some pools");
        assert_eq!(announcer(&name("p"), std::iter::empty()), None);
    }
}

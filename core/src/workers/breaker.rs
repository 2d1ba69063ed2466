//! Ejecting a worker by the outcomes of requests.
//!
//! Five bad outcomes in a row, or at least half of the last 20 or more within 10 s, eject for
//! 10 s × 2^k, at most 300 s; k falls by one per 60 s without an ejection. Then one request is let
//! through, and its outcome decides. The window is kept in ten buckets of a second, so its size does not
//! follow the traffic.
//!
//! Absent on purpose: how many of a lane may be ejected at a time. That is [`super::lane`]'s.

use std::time::Duration;

use super::Outcome;
use crate::time::Instant;

/// The breaker of one entry.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Breaker {
    state: State,
    bad_in_row: u32,
    buckets: [Bucket; BUCKETS],
    strength: u32,
    calm_since: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    #[default]
    Closed,
    /// Nothing goes there.
    Ejected { since: Instant, until: Instant },
    /// One request may go there.
    Trial { since: Instant },
    /// The trial was cancelled: nothing goes there for a moment.
    Held { since: Instant, until: Instant },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Bucket {
    second: u64,
    good: u32,
    bad: u32,
}

/// What an outcome or the passing of time led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shift {
    /// Out.
    Ejected,
    /// One request may try.
    Trial,
    /// In again, or (a cancelled trial) waiting.
    Other,
}

impl Breaker {
    /// Since when nothing, or only a trial, goes there.
    pub fn ejected_since(&self) -> Option<Instant> {
        match self.state {
            State::Closed => None,
            State::Ejected { since, .. } | State::Trial { since } | State::Held { since, .. } => {
                Some(since)
            }
        }
    }

    /// Whether one request is let through.
    pub fn on_trial(&self) -> bool {
        matches!(self.state, State::Trial { .. })
    }

    /// When the passing of time changes something.
    pub(super) fn wake(&self) -> Option<Instant> {
        match self.state {
            State::Ejected { until, .. } | State::Held { until, .. } => Some(until),
            State::Closed | State::Trial { .. } => None,
        }
    }

    pub(super) fn tick(&mut self, now: Instant) -> Option<Shift> {
        match self.state {
            State::Ejected { since, until } | State::Held { since, until } if until <= now => {
                self.state = State::Trial { since };
                Some(Shift::Trial)
            }
            State::Closed | State::Trial { .. } | State::Ejected { .. } | State::Held { .. } => {
                None
            }
        }
    }

    /// A request ended. What was sent before an ejection and ends within it says nothing new.
    pub(super) fn report(&mut self, now: Instant, outcome: Outcome) -> Option<Shift> {
        match (self.state, outcome) {
            (State::Closed, Outcome::Cancelled)
            | (State::Ejected { .. } | State::Held { .. }, _) => None,
            (State::Closed, Outcome::Good | Outcome::Bad) => self.count(now, outcome),
            (State::Trial { .. }, Outcome::Good) => {
                *self = Breaker { strength: self.strength, calm_since: now, ..Breaker::default() };
                Some(Shift::Other)
            }
            (State::Trial { .. }, Outcome::Bad) => Some(self.eject(now)),
            (State::Trial { since }, Outcome::Cancelled) => {
                self.state = State::Held { since, until: now + CANCELLED_WAIT };
                Some(Shift::Other)
            }
        }
    }

    fn count(&mut self, now: Instant, outcome: Outcome) -> Option<Shift> {
        let second = now.as_micros() / 1_000_000;
        let index = usize::try_from(second % BUCKETS as u64).expect("a remainder below ten");
        let bucket = self.buckets.get_mut(index).expect("an index below the number of buckets");
        if bucket.second != second {
            *bucket = Bucket { second, good: 0, bad: 0 };
        }
        if outcome == Outcome::Good {
            bucket.good = bucket.good.saturating_add(1);
            self.bad_in_row = 0;
            // A good outcome never ejects, though it may complete twenty.
        } else {
            bucket.bad = bucket.bad.saturating_add(1);
            self.bad_in_row += 1;
        }
        let recent = self
            .buckets
            .iter()
            .filter(|bucket| second.saturating_sub(bucket.second) < BUCKETS as u64);
        let (good, bad) = recent.fold((0_u64, 0_u64), |(good, bad), bucket| {
            (good + u64::from(bucket.good), bad + u64::from(bucket.bad))
        });
        let often = good + bad >= WINDOW_MIN && bad * 2 >= good + bad;
        let ejects = outcome == Outcome::Bad && (self.bad_in_row >= BAD_IN_ROW || often);
        ejects.then(|| self.eject(now))
    }

    fn eject(&mut self, now: Instant) -> Shift {
        let calm = now.since(self.calm_since).as_secs() / CALM.as_secs();
        let strength = self.strength.saturating_sub(u32::try_from(calm).unwrap_or(u32::MAX)).min(8);
        let rest = EJECTION.saturating_mul(1 << strength).min(EJECTION_MAX);
        let since = self.ejected_since().unwrap_or(now);
        *self = Breaker {
            state: State::Ejected { since, until: now + rest },
            strength: strength + 1,
            calm_since: now + rest,
            ..Breaker::default()
        };
        Shift::Ejected
    }
}

const BUCKETS: usize = 10;
const BAD_IN_ROW: u32 = 5;
const WINDOW_MIN: u64 = 20;
const EJECTION: Duration = Duration::from_secs(10);
const EJECTION_MAX: Duration = Duration::from_secs(300);
const CALM: Duration = Duration::from_secs(60);
const CANCELLED_WAIT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::from_millis(seconds * 1000)
    }

    fn trip(breaker: &mut Breaker, now: Instant) -> u64 {
        let shifts: Vec<_> = (0..5).map(|_| breaker.report(now, Outcome::Bad)).collect();
        assert_eq!(shifts, [None, None, None, None, Some(Shift::Ejected)]);
        breaker.wake().expect("an end").since(now).as_secs()
    }

    #[test]
    fn five_bad_in_a_row_eject_and_four_with_a_good_one_between_do_not() {
        let mut breaker = Breaker::default();
        for _ in 0..3 {
            for outcome in [Outcome::Bad, Outcome::Bad, Outcome::Bad, Outcome::Bad, Outcome::Good] {
                // Ten good ones beside keep the share of bad ones below a half.
                assert_eq!(breaker.report(at(1), outcome), None);
                (0..4).for_each(|_| assert_eq!(breaker.report(at(1), Outcome::Good), None));
            }
        }
        assert_eq!(trip(&mut breaker, at(1)), 10);
    }

    #[test]
    fn half_of_twenty_within_ten_seconds_eject_and_nineteen_do_not() {
        let mut breaker = Breaker::default();
        for step in 0..19 {
            let outcome = if step % 2 == 0 { Outcome::Good } else { Outcome::Bad };
            assert_eq!(breaker.report(at(step / 2), outcome), None, "{step}");
        }
        assert_eq!(breaker.report(at(9), Outcome::Bad), Some(Shift::Ejected));

        let mut slow = Breaker::default();
        for step in 0..100 {
            let outcome = if step % 2 == 0 { Outcome::Good } else { Outcome::Bad };
            assert_eq!(slow.report(at(step), outcome), None, "ten a window are too few");
        }
    }

    #[test]
    fn ejections_double_to_five_minutes_and_calm_minutes_take_that_back() {
        let mut breaker = Breaker::default();
        let mut now = at(0);
        let mut rests = vec![trip(&mut breaker, now)];
        for _ in 0..6 {
            now = breaker.wake().expect("an end");
            assert_eq!(breaker.tick(now), Some(Shift::Trial));
            assert_eq!(breaker.report(now, Outcome::Bad), Some(Shift::Ejected));
            rests.push(breaker.wake().expect("an end").since(now).as_secs());
        }
        assert_eq!(rests, [10, 20, 40, 80, 160, 300, 300]);
        now = breaker.wake().expect("an end");
        breaker.tick(now);
        assert_eq!(breaker.report(now, Outcome::Good), Some(Shift::Other));
        assert_eq!(breaker.ejected_since(), None);
        assert_eq!(trip(&mut breaker, now + Duration::from_secs(240)), 80, "7 less 4");
    }

    #[test]
    fn a_cancelled_trial_waits_five_seconds_and_is_tried_again() {
        let mut breaker = Breaker::default();
        trip(&mut breaker, at(0));
        assert_eq!(breaker.report(at(3), Outcome::Good), None, "sent before the ejection");
        breaker.tick(at(10));
        assert_eq!(breaker.report(at(11), Outcome::Cancelled), Some(Shift::Other));
        assert!(!breaker.on_trial());
        assert_eq!(breaker.tick(at(15)), None);
        assert_eq!(breaker.tick(at(16)), Some(Shift::Trial));
        assert!(breaker.on_trial());
    }
}

//! One breaker per peer: who owes too many answers is left alone for a while.
//!
//! ```text
//! closed ── 5 failures in a row within 30 s ──▶ open ── its wait passes ──▶ half open
//!    ▲                                           ▲                            │
//!    └──────────────── success ──────────────────┼────────────────────────────┤
//!                                                └── failure, twice the wait ─┘
//! ```
//!
//! Invariant: L-7: through a half-open breaker goes exactly one probe.
//!
//! Absent on purpose: what a failure is. A full queue is none.

use std::time::Duration;

use crate::random::Rng;
use crate::time::Instant;

/// Whether a peer is asked.
#[derive(Debug, Clone, Default)]
pub(super) struct Breaker {
    state: State,
    /// Failures in a row, and when the first of them was.
    failures: Option<(u32, Instant)>,
    /// How long it was open last.
    wait: Duration,
}

/// See [`Breaker`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum State {
    /// Everything passes.
    #[default]
    Closed,
    /// Nothing passes until then.
    Open(Instant),
    /// One probe is on its way: this request.
    HalfOpen(u64),
}

impl Breaker {
    pub(super) fn state(&self) -> State {
        self.state
    }

    /// Whether request `number` may go; one that comes when an open breaker has waited is its probe.
    pub(super) fn admits(&mut self, now: Instant, number: u64) -> bool {
        match self.state {
            State::Closed => true,
            State::Open(until) if until <= now => {
                self.state = State::HalfOpen(number);
                true
            }
            State::Open(_) | State::HalfOpen(_) => false,
        }
    }

    /// A request was answered, or the peer is new to us in some way.
    pub(super) fn close(&mut self) {
        *self = Breaker::default();
    }

    /// Request `number` was not answered.
    pub(super) fn fail(&mut self, now: Instant, number: u64, rng: &mut Rng) {
        match self.state {
            State::Closed => {
                let recent = self.failures.filter(|(_, first)| now.since(*first) <= WITHIN);
                let (count, first) = recent.map_or((1, now), |(count, first)| (count + 1, first));
                self.failures = Some((count, first));
                if count >= FAILURES_MAX {
                    self.open(now, OPEN_MIN, rng);
                }
            }
            State::HalfOpen(probe) if probe == number => {
                self.open(now, (self.wait * 2).min(OPEN_MAX), rng);
            }
            State::Open(_) | State::HalfOpen(_) => {} // It was sent before the breaker opened.
        }
    }

    /// Request `number` ended without telling anything about the peer.
    pub(super) fn spare(&mut self, now: Instant, number: u64) {
        if self.state == State::HalfOpen(number) {
            self.state = State::Open(now);
        }
    }

    fn open(&mut self, now: Instant, wait: Duration, rng: &mut Rng) {
        self.wait = wait;
        self.failures = None;
        self.state = State::Open(now + rng.jitter(wait, 25));
    }
}

const FAILURES_MAX: u32 = 5;
const WITHIN: Duration = Duration::from_secs(30);
const OPEN_MIN: Duration = Duration::from_secs(1);
const OPEN_MAX: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(count: u64) -> Instant {
        Instant::from_millis(count * 1000)
    }

    #[test]
    fn five_failures_within_half_a_minute_open_it() {
        let (mut breaker, mut rng) = (Breaker::default(), Rng::from_number(1));
        for at in [0, 10, 20, 31, 32, 33] {
            breaker.fail(seconds(at), 1, &mut rng);
            assert!(breaker.admits(seconds(at), 2), "the first failures are too long ago");
        }
        for at in [34, 35] {
            breaker.fail(seconds(at), 1, &mut rng);
        }
        assert!(!breaker.admits(seconds(35), 3));
    }

    #[test]
    fn a_half_open_breaker_admits_exactly_one_and_waits_twice_as_long() {
        let (mut breaker, mut rng) = (Breaker::default(), Rng::from_number(1));
        (0..5).for_each(|_| breaker.fail(seconds(0), 1, &mut rng));
        let mut at = seconds(0);
        let mut waited = Vec::new();
        for probe in 10..17 {
            let State::Open(until) = breaker.state() else { panic!("{:?}", breaker.state()) };
            waited.push(until.since(at).as_millis() / 100);
            at = until;
            assert!(breaker.admits(at, probe));
            assert!(!breaker.admits(at, probe + 100), "one probe is enough");
            breaker.fail(at, probe + 100, &mut rng);
            assert_eq!(breaker.state(), State::HalfOpen(probe), "an old request tells nothing");
            breaker.fail(at, probe, &mut rng);
        }
        for (waited, center) in waited.into_iter().zip([10, 20, 40, 80, 160, 300, 300]) {
            assert!((center * 3 / 4..=center * 5 / 4).contains(&waited), "{waited} of {center}");
        }
        breaker.close();
        assert!(breaker.admits(at, 99) && breaker.admits(at, 100));
    }

    #[test]
    fn a_probe_that_found_a_full_queue_lets_another_try() {
        let (mut breaker, mut rng) = (Breaker::default(), Rng::from_number(1));
        (0..5).for_each(|_| breaker.fail(seconds(0), 1, &mut rng));
        assert!(breaker.admits(seconds(9), 7));
        breaker.spare(seconds(9), 7);
        assert!(breaker.admits(seconds(9), 8));
    }
}

//! How many lines a place in the code, and the process, may write.

use std::collections::HashMap;
use std::time::Duration;

use quorate_core::time::Instant;
use tracing::callsite::Identifier;

/// Lines of one place in [`BURST_TIME`].
const BURST_LINES: u32 = 5;
const BURST_TIME: Duration = Duration::from_secs(10);
/// After a burst a place writes once in this time, and is free again when it was silent for as long.
const PAUSE: Duration = Duration::from_secs(60);
/// Lines of the process in a second.
const PROCESS_LINES: u32 = 50;
const PROCESS_TIME: Duration = Duration::from_secs(1);

/// What becomes of a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is written, and says how many of its place were not.
    Write {
        /// How many since the last.
        suppressed: u64,
    },
    /// It is counted.
    Suppress,
}

/// All places that have written. There are as many as the code has, so the table is bounded by it.
#[derive(Debug, Default)]
pub(super) struct Limit {
    places: HashMap<Identifier, Place>,
    process: Window,
}

#[derive(Debug, Default)]
struct Place {
    window: Window,
    /// When it last wanted to write more than it may.
    muted: Option<Muted>,
    suppressed: u64,
}

#[derive(Debug, Clone, Copy)]
struct Muted {
    wrote: Instant,
    wanted: Instant,
}

/// Lines since a beginning.
#[derive(Debug, Default)]
struct Window {
    since: Option<Instant>,
    lines: u32,
}

impl Limit {
    /// Whether a line of `place` may be written now.
    pub(super) fn ask(&mut self, place: Identifier, now: Instant) -> Verdict {
        let place = self.places.entry(place).or_default();
        let allowed = place.allows(now) && self.process.allows(now, PROCESS_TIME, PROCESS_LINES);
        if allowed {
            return Verdict::Write { suppressed: std::mem::take(&mut place.suppressed) };
        }
        place.suppressed += 1;
        Verdict::Suppress
    }
}

impl Place {
    fn allows(&mut self, now: Instant) -> bool {
        if let Some(muted) = self.muted {
            if now.since(muted.wanted) < PAUSE {
                let due = now.since(muted.wrote) >= PAUSE;
                let wrote = if due { now } else { muted.wrote };
                self.muted = Some(Muted { wrote, wanted: now });
                return due;
            }
            *self = Place { suppressed: self.suppressed, ..Place::default() };
        }
        if self.window.allows(now, BURST_TIME, BURST_LINES) {
            return true;
        }
        self.muted = Some(Muted { wrote: now, wanted: now });
        false
    }
}

impl Window {
    fn allows(&mut self, now: Instant, time: Duration, lines: u32) -> bool {
        if self.since.is_none_or(|since| now.since(since) >= time) {
            *self = Window { since: Some(now), lines: 0 };
        }
        self.lines += 1;
        self.lines <= lines
    }
}

#[cfg(test)]
mod tests {
    use tracing::Callsite as _;

    use super::*;

    fn place() -> Identifier {
        let place = tracing::callsite!(
            name: "a",
            kind: tracing::metadata::Kind::EVENT,
            fields: message
        );
        place.metadata().callsite()
    }

    fn second(second: u64) -> Instant {
        Instant::from_millis(second * 1000)
    }

    #[test]
    fn a_place_writes_five_lines_then_one_a_minute_with_the_number_left_out() {
        let mut limit = Limit::default();
        let mut written = Vec::new();
        for tenth in 0..1800_u64 {
            let verdict = limit.ask(place(), Instant::from_millis(1_000_000 + tenth * 100));
            if let Verdict::Write { suppressed } = verdict {
                written.push((tenth, suppressed));
            }
        }
        assert_eq!(written, [(0, 0), (1, 0), (2, 0), (3, 0), (4, 0), (605, 600), (1205, 599)]);
    }

    #[test]
    fn a_place_that_was_silent_for_a_minute_is_free_again() {
        let mut limit = Limit::default();
        for _ in 0..20 {
            limit.ask(place(), second(0));
        }
        assert_eq!(limit.ask(place(), second(61)), Verdict::Write { suppressed: 15 });
        assert_eq!(limit.ask(place(), second(61)), Verdict::Write { suppressed: 0 });
    }

    #[test]
    fn slow_lines_are_all_written() {
        let mut limit = Limit::default();
        for number in 0..100 {
            let verdict = limit.ask(place(), second(number * 3));
            assert_eq!(verdict, Verdict::Write { suppressed: 0 });
        }
    }
}

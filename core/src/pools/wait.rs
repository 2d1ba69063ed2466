//! How long: the wait that an answer states.
//!
//! Three kinds of evidence, in this order: **A** the answer states a wait, or a plan's window is proved
//! full ([`stated`]); **B** the windows of a rate limit ([`buckets`]); **C** a sentence of its message
//! ([`prose`]). The first kind with a usable wait decides, and within it the longest wait; of equal ones
//! the first. A wait is *usable* when it is greater than zero: garbage, zero, negative and past are one
//! thing. Waits are whole milliseconds, rounded half up, and saturate at [`limits::STATED_WAIT_MS_MAX`].
//!
//! Moments are measured from the answer's own `Date` where that is within a day of our clock, because the
//! upstream wrote both with one clock.
//!
//! Absent on purpose: searching a body or a message for something that looks like a time.

pub(super) mod buckets;
pub(super) mod date;
pub mod number;
pub(super) mod prose;
pub(super) mod stated;

use std::fmt;

use super::answer::heard::Heard;
use super::verdict::Rejected;
use crate::limits;
use crate::time::UnixTime;

pub use number::Unit;
use number::{Number, duration, trim};

/// Which kinds of evidence a class of failure listens to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Evidence {
    /// A, B and C.
    All,
    /// What is said about capacity: the fields of A that name a delay, and prose.
    Capacity,
    /// None.
    Nothing,
}

/// A usable wait and where it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wait<'a> {
    /// 1 to [`limits::STATED_WAIT_MS_MAX`].
    pub(super) ms: u64,
    pub(super) place: Place<'a>,
    /// The text it was read from.
    pub(super) line: &'a str,
}

/// Where a wait was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place<'a> {
    /// The header of this name, in lower case.
    Header(&'a str),
    /// A field of the body.
    Body(Field),
    /// A sentence of the message.
    Message,
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Header(name) => write!(f, "header:{name}"),
            Place::Body(field) => write!(f, "body:{}", field.name()),
            Place::Message => f.write_str("message"),
        }
    }
}

/// A field of a body that states a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    /// When a plan's window is free again.
    ResetsAt,
    /// In how many seconds.
    ResetsInSeconds,
    /// Google's delay.
    RetryDelay,
    /// When Google's quota is free again.
    QuotaResetTimeStamp,
    /// In how long.
    QuotaResetDelay,
    /// `Retry-After` of an upstream's upstream.
    CarriedRetryAfter,
    /// `X-RateLimit-Reset` of an upstream's upstream.
    CarriedReset,
}

impl Field {
    /// Its path in the body.
    fn name(self) -> &'static str {
        match self {
            Field::ResetsAt => "resets_at",
            Field::ResetsInSeconds => "resets_in_seconds",
            Field::RetryDelay => "RetryInfo.retryDelay",
            Field::QuotaResetTimeStamp => "quotaResetTimeStamp",
            Field::QuotaResetDelay => "quotaResetDelay",
            Field::CarriedRetryAfter => "metadata.headers.Retry-After",
            Field::CarriedReset => "metadata.headers.X-RateLimit-Reset",
        }
    }
}

/// The wait that decides, if any is usable.
pub(super) fn read<'a>(heard: &'a Heard<'_>, evidence: Evidence) -> Option<Wait<'a>> {
    match evidence {
        Evidence::Nothing => None,
        Evidence::Capacity => stated::delays(heard).or_else(|| prose::read(heard)),
        Evidence::All => {
            stated::read(heard).or_else(|| buckets::read(heard)).or_else(|| prose::read(heard))
        }
    }
}

/// Why a delay that the answer states is none, where delays are listened to and one is not.
pub(super) fn rejected(heard: &Heard<'_>, evidence: Evidence) -> Option<Rejected> {
    match evidence {
        Evidence::Nothing => None,
        Evidence::Capacity | Evidence::All => stated::rejected(heard),
    }
}

/// The milliseconds of `text`: a number where a bare one has a unit, or a duration; `None` if it is
/// neither. Saturates at [`limits::STATED_WAIT_MS_MAX`].
pub fn duration_ms(text: &str, bare: Option<Unit>) -> Option<u64> {
    let number = bare.and_then(|unit| Some(Number::parse(text)?.in_unit(unit)));
    let exact = number.or_else(|| duration(text))?;
    Some(exact.rounded().min(limits::STATED_WAIT_MS_MAX))
}

/// From when moments are measured.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    /// Milliseconds since 1970.
    base: i64,
    year: i64,
}

impl Clock {
    /// Our clock, set right by the answer's `Date` if that is near it.
    pub(super) fn new(now: UnixTime, date: Option<&str>) -> Clock {
        let now = i64::try_from(now.0).unwrap_or(i64::MAX);
        let year = date::year_of(now);
        let date = date.and_then(|date| date::http(trim(date), year));
        let base = date.filter(|date| date.abs_diff(now) <= limits::ANSWER_DATE_SKEW_MS_MAX);
        Clock { base: base.unwrap_or(now), year }
    }

    /// How long it is until `moment`, in milliseconds since 1970.
    fn until(self, moment: i64) -> Option<u64> {
        usable(u64::try_from(moment.saturating_sub(self.base)).ok()?)
    }

    /// How long it is until the moment in milliseconds that `number` of `unit` is.
    fn until_number(self, number: Number<'_>, unit: Unit) -> Option<u64> {
        let moment = number.in_unit(unit).rounded();
        self.until(i64::try_from(moment).unwrap_or(i64::MAX))
    }

    /// *E*: a number as seconds since 1970.
    pub(super) fn epoch(self, text: &str) -> Option<u64> {
        self.until_number(Number::parse(text)?, Unit::Seconds)
    }

    /// *H*: a date of HTTP.
    pub(super) fn http(self, text: &str) -> Option<u64> {
        self.until(date::http(trim(text), self.year)?)
    }

    /// *R*: a date of RFC 3339.
    pub(super) fn rfc3339(self, text: &str) -> Option<u64> {
        self.until(date::rfc3339(trim(text))?)
    }

    /// *N* seconds, or *H*.
    pub(super) fn seconds_or_http(self, text: &str) -> Option<u64> {
        match Number::parse(text) {
            Some(number) => usable(number.in_unit(Unit::Seconds).rounded()),
            None => self.http(text),
        }
    }

    /// *V*: a number whose size tells what it counts, a duration, or a date of either kind.
    pub(super) fn reset(self, text: &str) -> Option<u64> {
        if let Some(number) = Number::parse(text) {
            let size = number.whole();
            return match size {
                _ if size < 1_000_000_000 => usable(number.in_unit(Unit::Seconds).rounded()),
                _ if size < 100_000_000_000 => self.until_number(number, Unit::Seconds),
                _ if size < 100_000_000_000_000 => self.until_number(number, Unit::Milliseconds),
                _ => None,
            };
        }
        let text = trim(text);
        span(text).or_else(|| self.rfc3339(text)).or_else(|| self.http(text))
    }
}

/// *D*: a duration.
pub(super) fn span(text: &str) -> Option<u64> {
    usable(duration(text)?.rounded())
}

/// *N* of `unit`.
pub(super) fn count(text: &str, unit: Unit) -> Option<u64> {
    usable(Number::parse(text)?.in_unit(unit).rounded())
}

/// A wait is greater than zero, and no longer than a month.
pub(super) fn usable(ms: u64) -> Option<u64> {
    (ms > 0).then(|| ms.min(limits::STATED_WAIT_MS_MAX))
}

/// The longest of `waits`, the first of equal ones.
pub(super) fn longest<'a>(waits: impl IntoIterator<Item = Wait<'a>>) -> Option<Wait<'a>> {
    let longer = |best: Wait<'a>, next: Wait<'a>| if next.ms > best.ms { next } else { best };
    waits.into_iter().reduce(longer)
}

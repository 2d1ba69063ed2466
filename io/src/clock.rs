//! The only clocks: one that never goes back and counts suspend, and the wall.
//!
//! Every other file takes an [`Instant`] from [`crate::net::Net::now`], so that a simulated network
//! brings its own.
//!
//! Absent on purpose: waiting. That is `Net::sleep_until`.

use std::time::{SystemTime, UNIX_EPOCH};

use quorate_core::time::{Instant, UnixTime};

/// Now, on a clock whose origin is the start of the machine. Time spent suspended counts, so that a
/// node that slept knows that it did.
pub fn now() -> Instant {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    const CLOCK: libc::clockid_t = libc::CLOCK_BOOTTIME;
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    const CLOCK: libc::clockid_t = libc::CLOCK_MONOTONIC;
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    #[expect(unsafe_code, reason = "the standard library has no clock that counts suspend")]
    // SAFETY: the pointer is to a live `timespec` of this frame, which the call only writes.
    let outcome = unsafe { libc::clock_gettime(CLOCK, &mut time) };
    assert_eq!(outcome, 0, "the machine has a monotonic clock");
    let seconds = u64::try_from(time.tv_sec).expect("time since start is not negative");
    let nanos = u64::try_from(time.tv_nsec).expect("a part of a second is not negative");
    Instant::from_micros(seconds * 1_000_000 + nanos / 1000)
}

/// The wall clock. A clock before 1970 reads as 1970.
pub fn wall() -> UnixTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixTime(quorate_core::time::millis(since))
}

/// Microseconds since 1970: the incarnation of a node that keeps nothing.
pub fn wall_micros() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    quorate_core::time::micros(since)
}

/// `time` as RFC 3339 in UTC with milliseconds.
pub fn rfc3339(time: UnixTime) -> String {
    let (days, in_day) = (time.0 / 86_400_000, time.0 % 86_400_000);
    let (year, month, day) = civil(days);
    let (hour, minute) = (in_day / 3_600_000, in_day / 60_000 % 60);
    let (second, millis) = (in_day / 1000 % 60, in_day % 1000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

/// Reads what [`rfc3339`] wrote; `None` for any other form of a time.
pub fn parse_rfc3339(text: &str) -> Option<UnixTime> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let (time, millis) = time.split_once('.')?;
    let numbers = |text: &str, joint| -> Option<Vec<u64>> {
        text.split(joint).map(|number| number.parse().ok()).collect()
    };
    let (date, time) = (numbers(date, '-')?, numbers(time, ':')?);
    let ([year, month, day], [hour, minute, second]) = (date.as_slice(), time.as_slice()) else {
        return None;
    };
    let near = (year.checked_sub(1970)?.checked_mul(365)?)..=year.checked_mul(366)?;
    let days = near.take(366 * 500).find(|days| civil(*days) == (*year, *month, *day))?;
    let seconds = ((days * 24 + hour) * 60 + minute) * 60 + second;
    Some(UnixTime(seconds * 1000 + millis.parse::<u64>().ok()?))
}

/// The proleptic Gregorian date of a day since 1970-01-01. Years are counted from March, so that the
/// leap day ends one; an era is 400 years of 146 097 days.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468; // From 0000-03-01 to 1970-01-01.
    let (era, in_era) = (days / 146_097, days % 146_097);
    let leap_days = in_era / 1460 + in_era / 146_096 - in_era / 36_524;
    let year_in_era = (in_era - leap_days) / 365;
    let day_in_year = in_era - (365 * year_in_era + year_in_era / 4 - year_in_era / 100);
    let month_from_march = (5 * day_in_year + 2) / 153;
    let day = day_in_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_in_era + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_again() {
        for millis in [0, 951_782_400_001, 1_700_000_000_123, 4_102_444_799_999] {
            assert_eq!(parse_rfc3339(&rfc3339(UnixTime(millis))), Some(UnixTime(millis)));
        }
        for wrong in ["", "2026-11-21", "2026-13-01T00:00:00.000Z", "x-y-zT0:0:0.0Z"] {
            assert_eq!(parse_rfc3339(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_date_is_written_as_rfc_3339() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_709_251_199_999, "2024-02-29T23:59:59.999Z"),
            (1_709_251_200_000, "2024-03-01T00:00:00.000Z"),
            (4_102_444_799_123, "2099-12-31T23:59:59.123Z"),
        ] {
            assert_eq!(rfc3339(UnixTime(millis)), text);
        }
    }

    #[test]
    fn the_clock_does_not_go_back() {
        let first = now();
        assert!(now() >= first);
        assert!(wall_micros() / 1000 >= wall().0 - 1);
    }
}

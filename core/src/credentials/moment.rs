//! How records write moments: RFC 3339, `YYYY-MM-DD HH:MM[:SS]` as UTC, or a number of Unix time.
//!
//! Absent on purpose: guesses. What is written in no such form is no moment, and the next key is read.

use serde_json::Value;

use crate::time::UnixTime;

/// A number beyond this is milliseconds; it would be the year 33658 in seconds.
const MILLIS_FROM: u64 = 1_000_000_000_000;

/// The moment that `value` names.
pub fn read(value: &Value) -> Option<UnixTime> {
    match value {
        Value::Number(number) => of_number(number.as_u64().or_else(|| whole(number.as_f64()?))?),
        Value::String(text) => {
            let text = text.trim();
            match text.parse::<u64>() {
                Ok(number) if text.bytes().all(|byte| byte.is_ascii_digit()) => of_number(number),
                _ => of_text(text),
            }
        }
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// The whole part of a number of seconds; a fraction of one does not matter.
fn whole(number: f64) -> Option<u64> {
    let fits = (0.0..9.0e15).contains(&number);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the range was looked at, and the fraction is meant to go"
    )]
    fits.then_some(number as u64)
}

fn of_number(number: u64) -> Option<UnixTime> {
    let millis = if number > MILLIS_FROM { number } else { number.checked_mul(1000)? };
    Some(UnixTime(millis))
}

fn of_text(text: &str) -> Option<UnixTime> {
    let mut rest = Rest(text.as_bytes());
    let (year, month, day) = rest.date()?;
    let divider = rest.byte()?;
    let (hour, minute) = (rest.number(2)?, rest.after(b':')?);
    let mut second = 0;
    let mut millis = 0;
    if rest.0.first() == Some(&b':') {
        second = rest.after(b':')?;
        millis = rest.fraction()?;
    }
    let offset = rest.offset(divider)?;
    // A leap second is the last one of its minute, as Unix time counts.
    let fits = hour < 24 && minute < 60 && second <= 60 && rest.0.is_empty();
    let fits = fits && (1..=12).contains(&month) && (1..=days_in(year, month)).contains(&day);
    let seconds = days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second.min(59);
    let total = (seconds - offset * 60).checked_mul(1000)?.checked_add(millis)?;
    fits.then(|| u64::try_from(total).ok().map(UnixTime)).flatten()
}

/// What is left of a text.
struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn number(&mut self, digits: usize) -> Option<i64> {
        let (head, rest) = self.0.split_at_checked(digits)?;
        let all = head.iter().all(u8::is_ascii_digit);
        let value =
            head.iter().fold(0, |value, digit| value * 10 + i64::from(digit - b'0'.min(*digit)));
        self.0 = rest;
        all.then_some(value)
    }

    fn after(&mut self, mark: u8) -> Option<i64> {
        (self.byte()? == mark).then(|| self.number(2)).flatten()
    }

    fn date(&mut self) -> Option<(i64, i64, i64)> {
        let year = self.number(4)?;
        Some((year, self.after(b'-')?, self.after(b'-')?))
    }

    /// Milliseconds behind a point, if there is one: at least one digit, and of them the first three.
    fn fraction(&mut self) -> Option<i64> {
        if self.0.first() != Some(&b'.') {
            return Some(0);
        }
        self.byte();
        let digits = self.0.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (head, rest) = self.0.split_at_checked(digits)?;
        self.0 = rest;
        let padded = head.iter().copied().chain([b'0'; 3]).take(3);
        let millis = padded.fold(0, |value, digit| value * 10 + i64::from(digit - b'0'));
        (digits > 0).then_some(millis)
    }

    /// Minutes east of Greenwich. Without a zone only the form with a blank is a moment, in UTC.
    fn offset(&mut self, divider: u8) -> Option<i64> {
        let sign = match (divider, self.byte()) {
            (b' ', None) => return Some(0),
            (b'T' | b't' | b' ', Some(b'Z' | b'z')) => return Some(0),
            (b'T' | b't' | b' ', Some(b'+')) => 1,
            (b'T' | b't' | b' ', Some(b'-')) => -1,
            _ => return None,
        };
        let (hours, minutes) = (self.number(2)?, self.after(b':')?);
        (hours < 24 && minutes < 60).then_some(sign * (hours * 60 + minutes))
    }
}

/// Days from 1970-01-01 to a date of the Gregorian calendar (Hinnant, `days_from_civil`).
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

fn days_in(year: i64, month: i64) -> i64 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_form_of_a_moment_is_read() {
        let noon = Some(UnixTime(1_767_268_800_000));
        for form in [
            json!("2026-01-01T12:00:00Z"),
            json!("2026-01-01t14:00:00.000+02:00"),
            json!("2026-01-01 09:30:00-02:30"),
            json!("2026-01-01 12:00"),
            json!(" 2026-01-01 12:00:00 "),
            json!(1_767_268_800),
            json!(1_767_268_800.7),
            json!("1767268800"),
            json!(1_767_268_800_000_u64),
        ] {
            assert_eq!(read(&form), noon, "{form}");
        }
        assert_eq!(read(&json!("2026-01-01T12:00:00.0625Z")), Some(UnixTime(1_767_268_800_062)));
        assert_eq!(read(&json!("1970-01-01T00:00:00Z")), Some(UnixTime(0)));
        assert_eq!(read(&json!("2024-02-29T23:59:60Z")), Some(UnixTime(1_709_251_199_000)));
    }

    #[test]
    fn what_is_written_otherwise_is_no_moment() {
        for form in [
            json!(null),
            json!(true),
            json!(-1),
            json!(1e300),
            json!(""),
            json!("soon"),
            json!("2026-01-01"),
            json!("2026-01-01T12:00:00"),
            json!("2026-13-01T12:00:00Z"),
            json!("2026-02-29T12:00:00Z"),
            json!("2026-01-01T24:00:00Z"),
            json!("2026-01-01T12:00:00.Z"),
            json!("2026-01-01T12:00:00Zx"),
            json!("1969-12-31T23:59:59Z"),
            json!("+1767268800"),
            json!({"at": 1}),
        ] {
            assert_eq!(read(&form), None, "{form}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_is_too_strange(text in ".{0,40}", near in "[0-9TZ:. +-]{0,30}") {
            let _ = (read(&json!(text)), read(&json!(near)));
        }
    }
}

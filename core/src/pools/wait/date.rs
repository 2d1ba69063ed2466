//! Moments as upstreams write them: the three date forms of HTTP (RFC 9110 §5.6.7) and RFC 3339.
//!
//! Both give milliseconds since 1970, before it negative. Day names are not compared, a date that no
//! calendar has is none, and a time without a zone is none either.

/// Milliseconds since 1970 of an HTTP date. `year` is the present one: a year of two digits is at most
/// fifty years after it.
pub(super) fn http(text: &str, year: i64) -> Option<i64> {
    let mut scan = Scan(text);
    let name = scan.letters();
    match (name.len(), scan.first()) {
        (3, Some(',')) => imf(scan),
        (3, Some(' ')) => asctime(scan),
        (6..=9, Some(',')) => rfc850(scan, year),
        _ => None,
    }
}

/// `, 06 Nov 1994 08:49:37 GMT`
fn imf(mut scan: Scan<'_>) -> Option<i64> {
    scan.literal(", ")?;
    let day = scan.number(2)?;
    scan.literal(" ")?;
    let month = scan.month()?;
    scan.literal(" ")?;
    let year = scan.number(4)?;
    scan.literal(" ")?;
    let seconds = scan.clock()?;
    scan.literal(" GMT")?;
    scan.end()?;
    moment(year, month, day, seconds)
}

/// `, 06-Nov-94 08:49:37 GMT`
fn rfc850(mut scan: Scan<'_>, present: i64) -> Option<i64> {
    scan.literal(", ")?;
    let day = scan.number(2)?;
    scan.literal("-")?;
    let month = scan.month()?;
    scan.literal("-")?;
    let short = scan.number(2)?;
    scan.literal(" ")?;
    let seconds = scan.clock()?;
    scan.literal(" GMT")?;
    scan.end()?;
    let latest = present + YEARS_AHEAD_MAX;
    moment(latest - (latest - short).rem_euclid(100), month, day, seconds)
}

/// ` Nov  6 08:49:37 1994`
fn asctime(mut scan: Scan<'_>) -> Option<i64> {
    scan.literal(" ")?;
    let month = scan.month()?;
    scan.literal(" ")?;
    let day = match scan.literal(" ") {
        Some(()) => scan.number(1)?,
        None => scan.number(2)?,
    };
    scan.literal(" ")?;
    let seconds = scan.clock()?;
    scan.literal(" ")?;
    let year = scan.number(4)?;
    scan.end()?;
    moment(year, month, day, seconds)
}

/// Milliseconds since 1970, to the nearest, half up, of an RFC 3339 date and time with `Z` or an offset.
pub(super) fn rfc3339(text: &str) -> Option<i64> {
    let mut scan = Scan(text);
    let year = scan.number(4)?;
    scan.literal("-")?;
    let month = scan.number(2)?;
    scan.literal("-")?;
    let day = scan.number(2)?;
    scan.literal("T").or_else(|| scan.literal("t"))?;
    let seconds = scan.clock()?;
    let fraction = match scan.literal(".") {
        Some(()) => Some(scan.digits()).filter(|digits| !digits.is_empty())?,
        None => "",
    };
    let offset = scan.offset()?;
    scan.end()?;
    let at = moment(year, month, day, seconds)?;
    Some(at + rounded(fraction) - offset * 60_000)
}

/// The milliseconds that digits after a point are, half up.
fn rounded(fraction: &str) -> i64 {
    let mut digits = fraction.bytes().map(|digit| i64::from(digit - b'0'));
    let mut next = || digits.next().unwrap_or(0);
    let ms = next() * 100 + next() * 10 + next();
    ms + i64::from(next() >= 5)
}

fn moment(year: i64, month: i64, day: i64, seconds: i64) -> Option<i64> {
    let is_there = (1..=12).contains(&month) && (1..=days_of(year, month)).contains(&day);
    is_there.then(|| (days_since_1970(year, month, day) * 86_400 + seconds) * 1000)
}

fn days_of(year: i64, month: i64) -> i64 {
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 => 28 + i64::from(is_leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 in the Gregorian calendar, by eras of 400 years that begin in March.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The year in which a moment of the wall clock lies.
pub(super) fn year_of(unix_ms: i64) -> i64 {
    let days = unix_ms.div_euclid(86_400_000);
    // A year has 365.2425 days; from the estimate on at most one step is missing.
    let year = 1970 + days * 400 / 146_097;
    let begins = |year| days_since_1970(year, 1, 1);
    year - i64::from(days < begins(year)) + i64::from(days >= begins(year + 1))
}

/// A text that is taken apart from the left; what does not fit leaves it as it was.
struct Scan<'a>(&'a str);

impl<'a> Scan<'a> {
    fn first(&self) -> Option<char> {
        self.0.chars().next()
    }

    fn literal(&mut self, literal: &str) -> Option<()> {
        self.0 = self.0.strip_prefix(literal)?;
        Some(())
    }

    fn end(&self) -> Option<()> {
        self.0.is_empty().then_some(())
    }

    fn while_true(&mut self, is_part: impl Fn(&u8) -> bool) -> &'a str {
        let (head, rest) = self.0.split_at(self.0.bytes().take_while(is_part).count());
        self.0 = rest;
        head
    }

    fn letters(&mut self) -> &'a str {
        self.while_true(u8::is_ascii_alphabetic)
    }

    fn digits(&mut self) -> &'a str {
        self.while_true(u8::is_ascii_digit)
    }

    /// Exactly `places` digits.
    fn number(&mut self, places: usize) -> Option<i64> {
        let head =
            self.0.get(..places).filter(|head| head.bytes().all(|byte| byte.is_ascii_digit()));
        let number = head?.parse().ok()?;
        self.0 = self.0.get(places..)?;
        Some(number)
    }

    fn month(&mut self) -> Option<i64> {
        let name = self.0.get(..3)?;
        let index = MONTHS.iter().position(|month| *month == name)?;
        self.0 = self.0.get(3..)?;
        i64::try_from(index + 1).ok()
    }

    /// `08:49:37`, a leap second included.
    fn clock(&mut self) -> Option<i64> {
        let hour = self.number(2).filter(|hour| *hour < 24)?;
        self.literal(":")?;
        let minute = self.number(2).filter(|minute| *minute < 60)?;
        self.literal(":")?;
        let second = self.number(2).filter(|second| *second <= 60)?;
        Some(hour * 3600 + minute * 60 + second)
    }

    /// `Z`, `+01:00` or `-01:00`, in minutes.
    fn offset(&mut self) -> Option<i64> {
        if self.literal("Z").or_else(|| self.literal("z")).is_some() {
            return Some(0);
        }
        let sign = match self.first()? {
            '+' => 1,
            '-' => -1,
            _ => return None,
        };
        self.0 = self.0.get(1..)?;
        let hours = self.number(2).filter(|hours| *hours < 24)?;
        self.literal(":")?;
        let minutes = self.number(2).filter(|minutes| *minutes < 60)?;
        Some(sign * (hours * 60 + minutes))
    }
}

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// RFC 9110 §5.6.7.
const YEARS_AHEAD_MAX: i64 = 50;

#[cfg(test)]
mod tests {
    use super::*;

    const NOVEMBER_1994: i64 = 784_111_777_000;

    #[test]
    fn the_three_forms_of_http_are_one_moment() {
        let forms = [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
            "Fri, 06 Nov 1994 08:49:37 GMT",
        ];
        assert_eq!(forms.map(|form| http(form, 2026)), [Some(NOVEMBER_1994); 4]);
    }

    #[test]
    fn what_is_no_http_date_is_none() {
        for wrong in [
            "Sun, 06 Nov 1994 08:49:37",
            "Sun, 06 Nov 1994 08:49:37 UTC",
            "Sun, 06 Nov 1994 08:49:37 +0000",
            "Sun, 6 Nov 1994 08:49:37 GMT",
            "Sun, 06 nov 1994 08:49:37 GMT",
            "Sun, 31 Jun 1994 08:49:37 GMT",
            "Sun, 29 Feb 2026 08:49:37 GMT",
            "Sun, 06 Nov 1994 24:00:00 GMT",
            "Sun Nov 6 08:49:37 1994",
            "06 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37 GMT, ",
            "",
        ] {
            assert_eq!(http(wrong, 2026), None, "{wrong}");
        }
    }

    #[test]
    fn a_year_of_two_digits_is_at_most_fifty_years_ahead() {
        let year = |short: &str, present| {
            let date = format!("Monday, 01-Jan-{short} 00:00:00 GMT");
            year_of(http(&date, present).expect("a date"))
        };
        assert_eq!([year("76", 2026), year("77", 2026)], [2076, 1977]);
        assert_eq!([year("26", 2026), year("01", 2099), year("49", 2099)], [2026, 2101, 2149]);
        assert_eq!(year("50", 2099), 2050);
    }

    #[test]
    fn rfc_3339_needs_its_zone() {
        let z = rfc3339("2026-02-21T08:00:47Z").expect("a moment");
        assert_eq!(z, 1_771_660_847_000);
        assert_eq!(rfc3339("2026-02-21T09:00:47+01:00"), Some(z));
        assert_eq!(rfc3339("2026-02-21t07:30:47.4996-00:30"), Some(z + 500));
        assert_eq!(rfc3339("2026-02-21T08:00:47.49949999Z"), Some(z + 499));
        assert_eq!(rfc3339("2026-02-21T07:59:60Z"), Some(z - 47_000));
        for wrong in [
            "2026-02-21T08:00:47",
            "2026-02-21 08:00:47Z",
            "2026-02-21T08:00:47.Z",
            "2026-02-21T08:00Z",
            "2026-02-30T08:00:47Z",
            "2026-13-01T08:00:47Z",
            "2026-02-21T08:00:47+0100",
            "2026-02-21T08:00:47Z ",
            "2026-02-21",
        ] {
            assert_eq!(rfc3339(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn years_begin_where_the_calendar_says() {
        for year in [1600, 1900, 1970, 1999, 2000, 2024, 2026, 2100, 9999] {
            let begin = days_since_1970(year, 1, 1) * 86_400_000;
            assert_eq!([year_of(begin - 1), year_of(begin)], [year - 1, year]);
        }
    }
}

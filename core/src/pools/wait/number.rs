//! Numbers and durations as upstreams write them, exact to their last digit.
//!
//! A number (*N*) is `digits[.digits]` of any length; a duration (*D*) is one or more numbers with a unit
//! each. Nothing here goes through a floating-point number: a digit string is multiplied as it stands, and
//! only whole milliseconds saturate.
//!
//! Absent on purpose: signs, exponents, hexadecimal, underscores, and units in capitals.

use std::cmp::Ordering;

/// `digits[.digits]`, as written.
#[derive(Debug, Clone, Copy)]
pub(in crate::pools) struct Number<'a> {
    whole: &'a [u8],
    fraction: &'a [u8],
}

/// What a bare number counts, and by how much it is scaled to milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Seconds.
    Seconds,
    /// Milliseconds.
    Milliseconds,
}

impl Unit {
    fn scale(self) -> Scale {
        match self {
            Unit::Seconds => Scale { factor: 1000, shift: 0 },
            Unit::Milliseconds => Scale { factor: 1, shift: 0 },
        }
    }
}

/// Milliseconds are a number times `factor`, its point moved left by `shift` digits.
#[derive(Debug, Clone, Copy)]
struct Scale {
    factor: u64,
    shift: usize,
}

/// Units of a duration. `ms` stands before `m`, which begins like it.
const UNITS: [(&str, Scale); 8] = [
    ("ns", Scale { factor: 1, shift: 6 }),
    ("us", Scale { factor: 1, shift: 3 }),
    ("\u{b5}s", Scale { factor: 1, shift: 3 }),
    ("ms", Scale { factor: 1, shift: 0 }),
    ("s", Scale { factor: 1000, shift: 0 }),
    ("m", Scale { factor: 60_000, shift: 0 }),
    ("h", Scale { factor: 3_600_000, shift: 0 }),
    ("d", Scale { factor: 86_400_000, shift: 0 }),
];

/// Words for units in prose; a plural is one letter longer.
const WORDS: [(&str, u64); 4] =
    [("second", 1000), ("minute", 60_000), ("hour", 3_600_000), ("day", 86_400_000)];

impl<'a> Number<'a> {
    /// The number that `text` is, blanks and tabs around it aside.
    pub(in crate::pools) fn parse(text: &'a str) -> Option<Number<'a>> {
        match Number::prefix(trim(text)) {
            Some((number, "")) => Some(number),
            Some(_) | None => None,
        }
    }

    /// The longest number that `text` begins with, and what follows it.
    fn prefix(text: &'a str) -> Option<(Number<'a>, &'a str)> {
        let (whole, rest) = digits(text);
        if whole.is_empty() {
            return None;
        }
        let (fraction, after) = rest.strip_prefix('.').map_or(("", rest), digits);
        let rest = if fraction.is_empty() { rest } else { after };
        Some((Number { whole: whole.as_bytes(), fraction: fraction.as_bytes() }, rest))
    }

    /// The part before the point, saturating.
    pub(in crate::pools) fn whole(self) -> u64 {
        fold(self.whole)
    }

    /// Whether every digit is 0.
    pub(in crate::pools) fn is_zero(self) -> bool {
        self.whole.iter().chain(self.fraction).all(|digit| *digit == b'0')
    }

    /// Milliseconds that so many of `unit` are.
    pub(in crate::pools) fn in_unit(self, unit: Unit) -> Exact {
        self.times(unit.scale())
    }

    fn times(self, scale: Scale) -> Exact {
        let mut carry = 0;
        let mut fraction: Vec<u8> = self.fraction.iter().map(|digit| digit - b'0').collect();
        for digit in fraction.iter_mut().rev() {
            carry += u64::from(*digit) * scale.factor;
            *digit = low_digit(carry);
            carry /= 10;
        }
        let mut whole = fold(self.whole).saturating_mul(scale.factor).saturating_add(carry);
        for _ in 0..scale.shift {
            fraction.insert(0, low_digit(whole));
            whole /= 10;
        }
        Exact { whole, fraction }
    }

    /// How this number of `limit` compares with `other` of `other_limit`, by cross multiplication.
    pub(in crate::pools) fn compare_ratio(
        self,
        limit: Number<'_>,
        other: Number<'_>,
        other_limit: Number<'_>,
    ) -> Ordering {
        let left = Magnitude::of(self).times(&Magnitude::of(other_limit));
        let right = Magnitude::of(other).times(&Magnitude::of(limit));
        left.compare(&right)
    }

    /// Whether this number is below a tenth of `limit`.
    pub(in crate::pools) fn is_below_a_tenth_of(self, limit: Number<'_>) -> bool {
        let mut tenfold = Magnitude::of(self);
        tenfold.exponent += i64::from(!tenfold.digits.is_empty());
        tenfold.compare(&Magnitude::of(limit)) == Ordering::Less
    }
}

/// A count of milliseconds to the last digit; the whole ones saturate, far beyond every bound on a wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::pools) struct Exact {
    whole: u64,
    /// Digits after the point, 0 to 9.
    fraction: Vec<u8>,
}

impl Exact {
    fn plus(mut self, mut other: Exact) -> Exact {
        let length = self.fraction.len().max(other.fraction.len());
        self.fraction.resize(length, 0);
        other.fraction.resize(length, 0);
        let mut carry = 0;
        for (digit, more) in self.fraction.iter_mut().zip(other.fraction).rev() {
            let sum = *digit + more + carry;
            *digit = sum % 10;
            carry = sum / 10;
        }
        self.whole = self.whole.saturating_add(other.whole).saturating_add(u64::from(carry));
        self
    }

    /// The nearest whole millisecond, half up.
    pub(in crate::pools) fn rounded(&self) -> u64 {
        let up = self.fraction.first().is_some_and(|tenths| *tenths >= 5);
        self.whole.saturating_add(u64::from(up))
    }
}

/// The duration that `text` is, blanks and tabs around it aside.
pub(in crate::pools) fn duration(text: &str) -> Option<Exact> {
    match duration_prefix(trim(text)) {
        Some((exact, "")) => Some(exact),
        Some(_) | None => None,
    }
}

/// The longest duration that `text` begins with, and what follows it.
pub(in crate::pools) fn duration_prefix(text: &str) -> Option<(Exact, &str)> {
    let (mut sum, mut rest) = part(text)?;
    while let Some((more, after)) = part(rest) {
        sum = sum.plus(more);
        rest = after;
    }
    Some((sum, rest))
}

/// One number with its unit.
fn part(text: &str) -> Option<(Exact, &str)> {
    let (number, rest) = Number::prefix(text)?;
    let unit = |(unit, scale): &(&str, Scale)| Some((rest.strip_prefix(unit)?, *scale));
    let (after, scale) = UNITS.iter().find_map(unit)?;
    Some((number.times(scale), after))
}

/// A number, a blank and the word of a unit that `text` begins with, and what follows them.
pub(in crate::pools) fn words_prefix(text: &str) -> Option<(Exact, &str)> {
    let (number, rest) = Number::prefix(text)?;
    let rest = rest.strip_prefix(' ')?;
    let word = |(word, factor): &(&str, u64)| {
        let head = rest.get(..word.len())?;
        head.eq_ignore_ascii_case(word).then(|| (rest.split_at(word.len()).1, *factor))
    };
    let (after, factor) = WORDS.iter().find_map(word)?;
    let after = after.strip_prefix(['s', 'S']).unwrap_or(after);
    Some((number.times(Scale { factor, shift: 0 }), after))
}

/// Without the blanks and tabs around it.
pub(in crate::pools) fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

fn digits(text: &str) -> (&str, &str) {
    let end = text.bytes().take_while(u8::is_ascii_digit).count();
    text.split_at(end)
}

fn fold(digits: &[u8]) -> u64 {
    let add = |sum: u64, digit: &u8| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0'));
    digits.iter().fold(0, add)
}

fn low_digit(number: u64) -> u8 {
    u8::try_from(number % 10).expect("a remainder of ten is one digit")
}

/// A number as its leading significant digits and a power of ten, for comparing ratios. What stands beyond
/// [`SIGNIFICANT_MAX`] digits moves no ratio that anybody means.
#[derive(Debug)]
struct Magnitude {
    /// Without zeros in front or behind; empty is zero.
    digits: Vec<u8>,
    /// The number is `digits` × 10^`exponent`.
    exponent: i64,
}

const SIGNIFICANT_MAX: usize = 64;

impl Magnitude {
    fn of(number: Number<'_>) -> Magnitude {
        let all = number.whole.iter().chain(number.fraction);
        let zeros = all.clone().take_while(|digit| **digit == b'0').count();
        let significant = (number.whole.len() + number.fraction.len()).saturating_sub(zeros);
        let kept = significant.min(SIGNIFICANT_MAX);
        let mut digits: Vec<u8> = all.skip(zeros).take(kept).map(|digit| digit - b'0').collect();
        let dropped = significant - kept;
        let mut exponent = length(dropped) - length(number.fraction.len());
        while digits.last() == Some(&0) {
            digits.pop();
            exponent += 1;
        }
        Magnitude { digits, exponent }
    }

    fn times(&self, other: &Magnitude) -> Magnitude {
        let mut product = vec![0_u64; self.digits.len() + other.digits.len()];
        for (place, digit) in self.digits.iter().rev().enumerate() {
            for (cell, more) in product.iter_mut().skip(place).zip(other.digits.iter().rev()) {
                *cell += u64::from(*digit) * u64::from(*more);
            }
        }
        let mut carry = 0;
        for cell in &mut product {
            carry += *cell;
            *cell = carry % 10;
            carry /= 10;
        }
        let digits: Vec<u8> = product.iter().rev().map(|cell| low_digit(*cell)).collect();
        let zeros = digits.iter().take_while(|digit| **digit == 0).count();
        let digits = digits.split_at(zeros).1.to_vec();
        Magnitude { digits, exponent: self.exponent + other.exponent }
    }

    fn compare(&self, other: &Magnitude) -> Ordering {
        let top = |one: &Magnitude| length(one.digits.len()) + one.exponent;
        match (self.digits.is_empty(), other.digits.is_empty()) {
            (true, true) => return Ordering::Equal,
            (true, false) => return Ordering::Less,
            (false, true) => return Ordering::Greater,
            (false, false) => {}
        }
        top(self).cmp(&top(other)).then_with(|| {
            let places = self.digits.len().max(other.digits.len());
            let padded = |one: &Magnitude| {
                let zeros = std::iter::repeat_n(0, places - one.digits.len());
                one.digits.iter().copied().chain(zeros).collect::<Vec<u8>>()
            };
            padded(self).cmp(&padded(other))
        })
    }
}

fn length(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounded(text: &str) -> Option<u64> {
        duration(text).map(|exact| exact.rounded())
    }

    #[test]
    fn a_duration_is_numbers_with_units_and_nothing_else() {
        let read = ["1h2m3.5s", "1m2m", "500us", "499.999us", "1ns", "\u{b5}s", "2\u{b5}s", "1d"];
        let read = read.map(rounded);
        let ms = [Some(3_723_500), Some(180_000), Some(1), Some(0), Some(0), None, Some(0)];
        assert_eq!(read[..7], ms);
        assert_eq!(read[7], Some(86_400_000));
        for wrong in ["", "1", "-1m", "1m2x", "1M", "1 s", "1s ,", ".5s", "5.s", "1e3s", "1_0s"] {
            assert_eq!(rounded(wrong), None, "{wrong}");
        }
        assert_eq!(rounded("\t1.5s "), Some(1500));
    }

    #[test]
    fn halves_are_found_across_parts_and_at_any_depth() {
        let nines = "9".repeat(4000);
        assert_eq!(rounded("0.25ms0.25ms"), Some(1));
        assert_eq!(rounded(&format!("0.4{nines}ms")), Some(0));
        let last = format!("0.4{nines}ms0.0{}1ms", "0".repeat(3999));
        assert_eq!(rounded(&last), Some(1), "the two parts make exactly a half");
        assert_eq!(rounded("1.4999999999999999999999999ms"), Some(1));
    }

    #[test]
    fn whole_parts_saturate() {
        let long = format!("{}d{}ns", "9".repeat(100), "9".repeat(100));
        assert_eq!(rounded(&long), Some(u64::MAX));
        assert_eq!(rounded(&format!("{}1s", "0".repeat(9000))), Some(1000));
    }

    #[test]
    fn ratios_are_compared_without_dividing() {
        let number = |text| Number::parse(text).expect("a number");
        let below = |one, limit| number(one).is_below_a_tenth_of(number(limit));
        assert!(below("9.99", "100") && below("0", "1") && below("0.0999", "1"));
        assert!(!below("10", "100") && !below("0.1", "1.0") && !below("0", "0"));
        let long = "9".repeat(200);
        assert!(below("1", &long) && !below(&long, &long));
        let ratio = |a, b, c, d| number(a).compare_ratio(number(b), number(c), number(d));
        assert_eq!(ratio("1", "3", "2", "6"), Ordering::Equal);
        assert_eq!(ratio("1", "30", "1", "29.9"), Ordering::Less);
        assert_eq!(ratio("0.50", "10", "5", "100"), Ordering::Equal);
        assert_eq!(ratio("0", "10", "5", "100"), Ordering::Less);
    }
}

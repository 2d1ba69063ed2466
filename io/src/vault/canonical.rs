//! The one form of a JSON value in which two bodies are equal when their bytes are: RFC 8785.
//!
//! Keys are ordered by their UTF-16 code units (§3.2.3), numbers are written as ECMAScript does (§3.2.2.3),
//! texts escape what they must and nothing else (§3.2.2.2).
//!
//! Absent on purpose: what is no JSON of I-JSON. The readers of bodies have refused it.

use std::fmt::Write as _;

use serde_json::{Number, Value};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// The canonical form of `value`, wiped after use.
pub fn form(value: &Value) -> Zeroizing<String> {
    // A text that grows leaves its former place behind unwiped: once is large enough for what is read.
    let mut text = Zeroizing::new(String::with_capacity(2 * capacity(value)));
    write(value, &mut text);
    text
}

/// The SHA-256 of a canonical form.
pub fn digest(form: &str) -> [u8; 32] {
    Sha256::digest(form).into()
}

/// At least the bytes of the form, but for escapes.
fn capacity(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) => 5,
        Value::Number(_) => 25,
        Value::String(text) => text.len() + 2,
        Value::Array(items) => 2 + items.iter().map(|item| capacity(item) + 1).sum::<usize>(),
        Value::Object(members) => {
            let member = |(name, value): (&String, &Value)| name.len() + 4 + capacity(value);
            2 + members.iter().map(member).sum::<usize>()
        }
    }
}

fn write(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(true) => out.push_str("true"),
        Value::Bool(false) => out.push_str("false"),
        Value::Number(number) => out.push_str(&numeral(number)),
        Value::String(text) => write_text(text, out),
        Value::Array(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                out.push_str(if at == 0 { "" } else { "," });
                write(item, out);
            }
            out.push(']');
        }
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by(|(left, _), (right, _)| left.encode_utf16().cmp(right.encode_utf16()));
            out.push('{');
            for (at, (name, member)) in members.into_iter().enumerate() {
                out.push_str(if at == 0 { "" } else { "," });
                write_text(name, out);
                out.push(':');
                write(member, out);
            }
            out.push('}');
        }
    }
}

fn write_text(text: &str, out: &mut String) {
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\u{c}' => out.push_str("\\f"),
            '\r' => out.push_str("\\r"),
            '\0'..='\u{1f}' => write!(out, "\\u{:04x}", letter as u32).expect("a text takes it"),
            _ => out.push(letter),
        }
    }
    out.push('"');
}

/// ECMA-262 §6.1.6.1.20: the shortest digits, placed by their exponent.
fn numeral(number: &Number) -> String {
    let value = number.as_f64().unwrap_or_default();
    if value == 0.0 {
        return "0".to_owned(); // Minus zero too.
    }
    let sign = if value < 0.0 { "-" } else { "" };
    let scientific = format!("{:e}", value.abs());
    let (mantissa, exponent) = scientific.split_once('e').expect("it was written with one");
    let exponent: i32 = exponent.parse().expect("it was written as a number");
    let digits = even(value.abs(), mantissa.replace('.', ""));
    let count = i32::try_from(digits.len()).expect("a double has 17 digits at most");
    let point = exponent + 1;
    let zeros = |count: i32| "0".repeat(usize::try_from(count).unwrap_or_default());
    let text = match point {
        1..=21 if count <= point => format!("{digits}{}", zeros(point - count)),
        1..=21 => {
            let (whole, rest) = digits.split_at(usize::try_from(point).unwrap_or_default());
            format!("{whole}.{rest}")
        }
        -5..=0 => format!("0.{}{digits}", zeros(-point)),
        _ => {
            let mark = if exponent < 0 { '-' } else { '+' };
            let (first, rest) = digits.split_at(1);
            let point = if rest.is_empty() { "" } else { "." };
            format!("{first}{point}{rest}e{mark}{}", exponent.abs())
        }
    };
    format!("{sign}{text}")
}

/// The shortest digits, of which ECMAScript takes the even ones where two are equally near.
fn even(value: f64, digits: String) -> String {
    let exact = format!("{value:.770e}").replace('.', ""); // No double has more.
    let Some((head, tail)) = exact.split_at_checked(digits.len()) else { return digits };
    let tail = tail.split('e').next().unwrap_or_default();
    let between =
        tail.strip_prefix('5').is_some_and(|rest| rest.bytes().all(|digit| digit == b'0'));
    let is_even = head.bytes().last().is_some_and(|digit| digit % 2 == 0);
    if between && is_even { head.to_owned() } else { digits }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> String {
        form(&serde_json::from_str(text).expect(text)).to_string()
    }

    #[test]
    fn numbers_are_written_as_the_rfc_shows() {
        // RFC 8785, appendix B, by their bits.
        for (bits, shown) in [
            (0x0000_0000_0000_0000_u64, "0"),
            (0x8000_0000_0000_0000, "0"),
            (0x0000_0000_0000_0001, "5e-324"),
            (0x8000_0000_0000_0001, "-5e-324"),
            (0x7fef_ffff_ffff_ffff, "1.7976931348623157e+308"),
            (0x4340_0000_0000_0000, "9007199254740992"),
            (0xc340_0000_0000_0000, "-9007199254740992"),
            (0x4430_0000_0000_0000, "295147905179352830000"),
            (0x44b5_2d02_c7e1_4af5, "9.999999999999997e+22"),
            (0x44b5_2d02_c7e1_4af6, "1e+23"),
            (0x44b5_2d02_c7e1_4af7, "1.0000000000000001e+23"),
            (0x444b_1ae4_d6e2_ef4e, "999999999999999700000"),
            (0x444b_1ae4_d6e2_ef4f, "999999999999999900000"),
            (0x444b_1ae4_d6e2_ef50, "1e+21"),
            (0x3eb0_c6f7_a0b5_ed8c, "9.999999999999997e-7"),
            (0x3eb0_c6f7_a0b5_ed8d, "0.000001"),
            (0x41b3_de43_5555_5553, "333333333.3333332"),
            (0xbecb_f647_612f_3696, "-0.0000033333333333333333"),
            (0x4314_3ff3_c1cb_0959, "1424953923781206.2"),
        ] {
            let number = Number::from_f64(f64::from_bits(bits)).expect("finite");
            assert_eq!(numeral(&number), shown, "{bits:x}");
        }
        assert_eq!(of("[1, 1.0, 1e2, 0.5, -0]"), "[1,1,100,0.5,0]");
    }

    #[test]
    fn keys_are_ordered_by_their_utf_16_units() {
        // RFC 8785 §3.2.3: the letter beyond the basic plane comes before U+FB33.
        let text = r#"{"\u20ac":1,"\r":2,"\ufb33":3,"1":4,"\ud83d\ude00":5,"\u0080":6,"\u00f6":7}"#;
        let expected = "{\"\\r\":2,\"1\":4,\"\u{80}\":6,\"ö\":7,\"€\":1,\"😀\":5,\"\u{fb33}\":3}";
        assert_eq!(of(text), expected);
    }

    #[test]
    fn texts_escape_what_they_must() {
        let text = r#""\u20ac$\u000f\u000aA'\u0042\u0022\u005c\\\"\/\b\t\f\r\u007f""#;
        assert_eq!(of(text), "\"€$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\\b\\t\\f\\r\u{7f}\"");
    }

    #[test]
    fn blanks_and_order_do_not_matter() {
        let (left, right) =
            (of(r#"{"b": [true, null], "a": {}}"#), of(r#"{"a":{},"b":[true,null]}"#));
        assert_eq!(left, right);
        assert_eq!(digest(&left), digest(&right));
        assert_ne!(digest(&left), digest("{}"));
    }

    proptest::proptest! {
        #[test]
        fn a_form_is_its_own_form(bits: u64, text in ".{0,20}") {
            let number = f64::from_bits(bits);
            let value = serde_json::json!({"n": number, (text.clone()): [text]});
            let once = form(&value);
            let read: Value = serde_json::from_str(&once).expect("it is JSON");
            proptest::prop_assert_eq!(form(&read), once);
        }
    }
}

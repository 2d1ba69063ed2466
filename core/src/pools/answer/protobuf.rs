//! `google.rpc.Status` in its binary form, as far as the rules name its fields.
//!
//! The wire format is that of Protocol Buffers: a field is a tag and a value of one of four shapes. A field
//! that is not named is passed over, of a repeated single field the last counts, and a message that does
//! not decode as a whole is none. The longest is [`crate::limits::ANSWER_BODY_BYTES_MAX`]; nesting is that
//! of the named fields alone.

use std::borrow::Cow;

/// What the rules name of a status.
#[derive(Debug, Default)]
pub(super) struct Status<'a> {
    pub(super) code: i32,
    pub(super) message: &'a str,
    pub(super) reasons: Vec<&'a str>,
    pub(super) retry_delays: Vec<Cow<'a, str>>,
    pub(super) reset_time_stamps: Vec<&'a str>,
    pub(super) reset_delays: Vec<&'a str>,
    pub(super) violations: Vec<Violation<'a>>,
}

/// One violation of a quota.
#[derive(Debug, Default)]
pub(super) struct Violation<'a> {
    pub(super) quota_id: &'a str,
    pub(super) has_model: bool,
}

/// The status that `bytes` are.
pub(super) fn status(bytes: &[u8]) -> Option<Status<'_>> {
    let mut status = Status::default();
    for field in Fields(bytes) {
        match field? {
            (1, Value::Number(code)) => status.code = low_32_bits(code),
            (2, Value::Bytes(message)) => status.message = text(message)?,
            (3, Value::Bytes(any)) => detail(any, &mut status)?,
            _ => {}
        }
    }
    Some(status)
}

fn detail<'a>(any: &'a [u8], status: &mut Status<'a>) -> Option<()> {
    let (mut kind, mut message) = ("", &[][..]);
    for field in Fields(any) {
        match field? {
            (1, Value::Bytes(url)) => kind = text(url)?,
            (2, Value::Bytes(value)) => message = value,
            _ => {}
        }
    }
    match super::heard::kind_of(kind) {
        "google.rpc.RetryInfo" => retry_info(message, status),
        "google.rpc.ErrorInfo" => error_info(message, status),
        "google.rpc.QuotaFailure" => quota_failure(message, status),
        _ => Some(()),
    }
}

fn retry_info<'a>(message: &'a [u8], status: &mut Status<'a>) -> Option<()> {
    let mut delay = None;
    for field in Fields(message) {
        if let (1, Value::Bytes(duration)) = field? {
            let (mut seconds, mut nanos) = delay.unwrap_or((0, 0));
            for field in Fields(duration) {
                match field? {
                    (1, Value::Number(number)) => seconds = number.cast_signed(),
                    (2, Value::Number(number)) => nanos = low_32_bits(number),
                    _ => {}
                }
            }
            delay = Some((seconds, nanos));
        }
    }
    // A negative delay is written with a sign, which no duration has: it is not usable.
    status.retry_delays.extend(delay.map(|(seconds, nanos)| match (seconds, nanos) {
        (0.., 0..) => Cow::Owned(format!("{seconds}.{nanos:09}s")),
        _ => Cow::Borrowed("-"),
    }));
    Some(())
}

fn error_info<'a>(message: &'a [u8], status: &mut Status<'a>) -> Option<()> {
    let mut reason = None;
    let (mut stamp, mut delay) = (None, None);
    for field in Fields(message) {
        match field? {
            (1, Value::Bytes(bytes)) => reason = Some(text(bytes)?),
            (3, Value::Bytes(entry)) => match pair(entry)? {
                ("quotaResetTimeStamp", value) => stamp = Some(value),
                ("quotaResetDelay", value) => delay = Some(value),
                _ => {}
            },
            _ => {}
        }
    }
    status.reasons.extend(reason);
    status.reset_time_stamps.extend(stamp);
    status.reset_delays.extend(delay);
    Some(())
}

fn quota_failure<'a>(message: &'a [u8], status: &mut Status<'a>) -> Option<()> {
    for field in Fields(message) {
        let (1, Value::Bytes(bytes)) = field? else { continue };
        let mut violation = Violation::default();
        for field in Fields(bytes) {
            match field? {
                (5, Value::Bytes(id)) => violation.quota_id = text(id)?,
                (6, Value::Bytes(entry)) => violation.has_model |= pair(entry)?.0 == "model",
                _ => {}
            }
        }
        status.violations.push(violation);
    }
    Some(())
}

/// An entry of a map from text to text.
fn pair(entry: &[u8]) -> Option<(&str, &str)> {
    let (mut key, mut value) = ("", "");
    for field in Fields(entry) {
        match field? {
            (1, Value::Bytes(bytes)) => key = text(bytes)?,
            (2, Value::Bytes(bytes)) => value = text(bytes)?,
            _ => {}
        }
    }
    Some((key, value))
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

fn low_32_bits(number: u64) -> i32 {
    let low = number & u64::from(u32::MAX);
    u32::try_from(low).expect("the high bits were taken off").cast_signed()
}

/// The value of a field.
enum Value<'a> {
    Number(u64),
    /// Four or eight bytes that no named field is.
    Fixed,
    Bytes(&'a [u8]),
}

/// The fields of a message in order; after what does not decode nothing comes.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = Option<(u64, Value<'a>)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_none() {
            self.0 = &[];
        }
        Some(field)
    }
}

impl<'a> Fields<'a> {
    fn field(&mut self) -> Option<(u64, Value<'a>)> {
        let tag = self.number()?;
        let value = match tag & 7 {
            0 => Value::Number(self.number()?),
            1 => self.bytes(8).map(|_| Value::Fixed)?,
            2 => {
                let length = usize::try_from(self.number()?).ok()?;
                Value::Bytes(self.bytes(length)?)
            }
            5 => self.bytes(4).map(|_| Value::Fixed)?,
            // Groups are of a time before this message.
            _ => return None,
        };
        let number = tag >> 3;
        (number > 0).then_some((number, value))
    }

    fn bytes(&mut self, length: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    /// A number in groups of seven bits, the lowest first.
    fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let (first, rest) = self.0.split_first()?;
            self.0 = rest;
            number |= u64::from(first & 0x7f).checked_shl(shift).unwrap_or(0);
            if first & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }
}

//! Target `answer`: what an upstream answered, of which every byte is somebody else's.
//!
//! An input is a status (two bytes), then lines of headers up to an empty one, then the body.

use quorate_core::limits;
use quorate_core::node::pools::answer::{Answer, Endpoint, judge};
use quorate_core::node::pools::wait::{Unit, duration_ms};
use quorate_core::node::pools::{Profile, Verdict};
use quorate_core::time::UnixTime;

/// Any answer has one meaning, within its bounds, that nothing beyond the limit changes.
pub fn bytes(input: &[u8]) {
    let (head, rest) = input.split_at(input.len().min(2));
    let status = head.iter().fold(0, |status, byte| status * 256 + u16::from(*byte));
    let (lines, body) = split(rest);
    let headers = headers(lines);
    for endpoint in [Endpoint::Api, Endpoint::Token] {
        let read = |body: &[u8]| {
            judge(&Answer {
                provider: "zai",
                endpoint,
                model: if status % 2 == 0 { "" } else { "claude-opus" },
                now: UnixTime(1_771_660_800_000),
                status: 100 + status % 500,
                headers: &headers,
                body,
            })
        };
        let verdict = read(body);
        within_bounds(&verdict);
        if body.len() > limits::ANSWER_BODY_BYTES_MAX {
            let seen = body.get(..limits::ANSWER_BODY_BYTES_MAX).unwrap_or_default();
            assert_eq!(verdict, read(seen), "P-9");
        }
    }
    let text = String::from_utf8_lossy(body);
    for unit in [None, Some(Unit::Seconds), Some(Unit::Milliseconds)] {
        let wait = duration_ms(&text, unit);
        assert!(wait.is_none_or(|wait| wait <= limits::STATED_WAIT_MS_MAX));
    }
}

fn within_bounds(verdict: &Verdict) {
    let profile = Profile::default();
    let (least, most) = profile.clamp_of(verdict.class);
    for count in [1, 7, u32::MAX] {
        let rest = profile.rest_ms(verdict, count);
        assert!(rest.is_none_or(|rest| (least..=most).contains(&rest)), "P-16: {rest:?}");
    }
    let wait = verdict.stated_wait_ms;
    assert!(wait.is_none_or(|wait| (1..=limits::STATED_WAIT_MS_MAX).contains(&wait)), "P-16");
    assert_eq!(verdict.source.is_some(), verdict.rests());
}

/// The lines before the first empty one, and what follows it.
fn split(rest: &[u8]) -> (&[u8], &[u8]) {
    let end = rest.windows(2).position(|pair| pair == b"\n\n").unwrap_or(rest.len());
    let (lines, rest) = rest.split_at(end);
    (lines, rest.get(2..).unwrap_or_default())
}

fn headers(lines: &[u8]) -> Vec<(String, String)> {
    let lines = lines.split(|byte| *byte == b'\n').take(HEADERS_MAX);
    let line = |line: &[u8]| {
        let line = String::from_utf8_lossy(line);
        let (name, value) = line.split_once(':')?;
        Some((name.to_owned(), value.to_owned()))
    };
    lines.filter_map(line).collect()
}

const HEADERS_MAX: usize = 100;

#[cfg(test)]
mod tests {
    use crate::{replay, search};

    #[test]
    fn seeds() {
        replay::every_file("answer", super::bytes);
        replay::every_damage("answer", super::bytes);
    }

    #[test]
    fn search_answers() {
        search::few("answer");
    }

    #[test]
    fn bytes() {
        bolero::check!().with_iterations(2000).for_each(super::bytes);
    }
}

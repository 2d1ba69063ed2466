//! B: the windows of a rate limit, each with what remains of it, and which of them binds.
//!
//! Of the windows that say when they reset, the empty ones bind; if nobody says what remains, all of them
//! do; else the one that is fullest in proportion, if less than a tenth of it is left. A window that is
//! half full explains no refusal, whenever it resets.

use std::cmp::Ordering;

use super::number::{Number, Unit, trim};
use super::{Place, Wait, count, longest, span};
use crate::pools::answer::heard::Heard;

/// A window with a usable reset.
#[derive(Debug, Clone, Copy)]
struct Window<'a> {
    wait: Wait<'a>,
    remaining: Option<Number<'a>>,
    limit: Option<Number<'a>>,
}

/// The wait of the window that binds.
pub(super) fn read<'a>(heard: &'a Heard<'_>) -> Option<Wait<'a>> {
    if !heard.headers.has_buckets() {
        return None;
    }
    let mut windows = Vec::new();
    anthropic(heard, &mut windows);
    named(heard, &mut windows);
    unnamed(heard, &mut windows);
    listed(heard, &mut windows);
    binding(&windows)
}

fn binding<'a>(windows: &[Window<'a>]) -> Option<Wait<'a>> {
    let is_empty = |window: &&Window<'_>| window.remaining.is_some_and(Number::is_zero);
    let empty = longest(windows.iter().filter(is_empty).map(|window| window.wait));
    if empty.is_some() {
        return empty;
    }
    if windows.iter().all(|window| window.remaining.is_none()) {
        return longest(windows.iter().map(|window| window.wait));
    }
    let mut fullest: Option<(&Window<'a>, Number<'a>, Number<'a>)> = None;
    for window in windows {
        let (Some(remaining), Some(limit)) = (window.remaining, window.limit) else { continue };
        if limit.is_zero() {
            continue;
        }
        let is_fuller = fullest.is_none_or(|(best, least, of)| {
            match remaining.compare_ratio(limit, least, of) {
                Ordering::Less => true,
                Ordering::Equal => window.wait.ms > best.wait.ms,
                Ordering::Greater => false,
            }
        });
        if is_fuller {
            fullest = Some((window, remaining, limit));
        }
    }
    let (window, remaining, limit) = fullest?;
    remaining.is_below_a_tenth_of(limit).then_some(window.wait)
}

/// A window from the header that says when it resets and the two beside it.
fn window<'a>(
    heard: &'a Heard<'_>,
    reset: &str,
    counts: Option<[&str; 2]>,
    read: impl Fn(&str) -> Option<u64>,
) -> Option<Window<'a>> {
    let (name, line) = heard.headers.entry(reset)?;
    let wait = Wait { ms: read(line)?, place: Place::Header(name), line };
    let number = |name: &str| heard.headers.first(name).and_then(Number::parse);
    let (remaining, limit) = match counts {
        Some([remaining, limit]) => (number(remaining), number(limit)),
        None => (None, None),
    };
    Some(Window { wait, remaining, limit })
}

/// B1: Anthropic's four.
fn anthropic<'a>(heard: &'a Heard<'_>, into: &mut Vec<Window<'a>>) {
    for [reset, remaining, limit] in ANTHROPIC {
        let read = |text: &str| heard.clock.rfc3339(text);
        into.extend(window(heard, reset, Some([remaining, limit]), read));
    }
}

const ANTHROPIC: [[&str; 3]; 4] = [
    [
        "anthropic-ratelimit-requests-reset",
        "anthropic-ratelimit-requests-remaining",
        "anthropic-ratelimit-requests-limit",
    ],
    [
        "anthropic-ratelimit-tokens-reset",
        "anthropic-ratelimit-tokens-remaining",
        "anthropic-ratelimit-tokens-limit",
    ],
    [
        "anthropic-ratelimit-input-tokens-reset",
        "anthropic-ratelimit-input-tokens-remaining",
        "anthropic-ratelimit-input-tokens-limit",
    ],
    [
        "anthropic-ratelimit-output-tokens-reset",
        "anthropic-ratelimit-output-tokens-remaining",
        "anthropic-ratelimit-output-tokens-limit",
    ],
];

/// B2: `x-ratelimit-reset-<window>`, in the order in which they came.
fn named<'a>(heard: &'a Heard<'_>, into: &mut Vec<Window<'a>>) {
    for of in heard.headers.suffixes("x-ratelimit-reset-") {
        if of == "after" {
            continue;
        }
        let name = |what| format!("x-ratelimit-{what}-{of}");
        let counts = [name("remaining"), name("limit")];
        let counts = counts.each_ref().map(String::as_str);
        let reset = |text: &str| heard.clock.reset(text);
        into.extend(window(heard, &name("reset"), Some(counts), reset));
    }
}

/// B3 to B5: windows without a name of their own.
fn unnamed<'a>(heard: &'a Heard<'_>, into: &mut Vec<Window<'a>>) {
    for [reset, remaining, limit] in [
        ["ratelimit-reset", "ratelimit-remaining", "ratelimit-limit"],
        ["ratelimitbysize-reset", "ratelimitbysize-remaining", "ratelimitbysize-limit"],
        ["x-ratelimit-reset", "x-ratelimit-remaining", "x-ratelimit-limit"],
    ] {
        let read = |text: &str| heard.clock.reset(text);
        into.extend(window(heard, reset, Some([remaining, limit]), read));
    }
    let counts = ["x-ratelimit-remaining", "x-ratelimit-limit"];
    let after = |text: &str| count(text, Unit::Seconds).or_else(|| span(text));
    into.extend(window(heard, "x-ratelimit-reset-after", Some(counts), after));
    let remaining = |text: &str| count(text, Unit::Seconds);
    into.extend(window(heard, "x-ratelimit-timeremaining", None, remaining));
}

/// B6: `ratelimit`, as the IETF's drafts wrote it: a list of named windows, or one window in three parts.
fn listed<'a>(heard: &'a Heard<'_>, into: &mut Vec<Window<'a>>) {
    let Some((name, line)) = heard.headers.entry("ratelimit") else { return };
    let make = |reset: Option<&'a str>, remaining: Option<&'a str>, limit: Option<&'a str>| {
        let ms = count(reset?, Unit::Seconds)?;
        let wait = Wait { ms, place: Place::Header(name), line };
        let (remaining, limit) = (remaining.and_then(Number::parse), limit.and_then(Number::parse));
        Some(Window { wait, remaining, limit })
    };
    let items = split_outside_quotes(line, b',');
    if items.first().is_some_and(|item| trim(item).starts_with('"')) {
        for item in items {
            let parts = split_outside_quotes(item, b';');
            if parts.first().is_some_and(|name| is_quoted(trim(name))) {
                into.extend(make(member(&parts, "t"), member(&parts, "r"), None));
            }
        }
    } else {
        let [reset, remaining, limit] =
            ["reset", "remaining", "limit"].map(|key| member(&items, key));
        into.extend(make(reset, remaining, limit));
    }
}

/// The digits that `key=digits` among `parts` gives.
fn member<'a>(parts: &[&'a str], key: &str) -> Option<&'a str> {
    let value = |part: &&'a str| trim(part).strip_prefix(key)?.strip_prefix('=');
    let value = parts.iter().find_map(value)?;
    let is_digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    is_digits.then_some(value)
}

fn is_quoted(text: &str) -> bool {
    text.len() >= 2 && text.starts_with('"') && text.ends_with('"')
}

/// The parts of `text` between separators, those in quotes aside; a backslash in quotes hides one byte.
fn split_outside_quotes(text: &str, separator: u8) -> Vec<&str> {
    let (mut parts, mut start) = (Vec::new(), 0);
    let (mut in_quotes, mut is_hidden) = (false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if is_hidden => is_hidden = false,
            b'\\' if in_quotes => is_hidden = true,
            b'"' => in_quotes = !in_quotes,
            _ if byte == separator && !in_quotes => {
                parts.extend(text.get(start..at));
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.extend(text.get(start..));
    parts
}

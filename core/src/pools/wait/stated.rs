//! A: the answer states a wait, or a plan's window is proved full.
//!
//! One function per row of the table, in its order; each gives every usable wait of its row.

use super::number::Unit;
use super::{Field, Place, Wait, count, longest, span};
use crate::limits;
use crate::pools::answer::heard::Heard;
use crate::pools::answer::plans::{AnthropicWindows, CodexWindow};
use crate::pools::verdict::Rejected;

/// The longest wait of all rows.
pub(super) fn read<'a>(heard: &'a Heard<'_>) -> Option<Wait<'a>> {
    let waits = usage_limit(heard).into_iter().chain(delays(heard));
    longest(waits.chain(anthropic_plan(heard)).chain(codex_plan(heard)))
}

/// A2 to A9: what is said about a delay, and not about a plan.
pub(in crate::pools) fn delays<'a>(heard: &'a Heard<'_>) -> Option<Wait<'a>> {
    let usable = |(place, line, ms): Line<'a>| Some(Wait { ms: ms.ok()?, place, line });
    longest(lines(heard).filter_map(usable))
}

/// Why a delay that is stated there is none, if one is not.
pub(super) fn rejected(heard: &Heard<'_>) -> Option<Rejected> {
    lines(heard).find_map(|(_, _, ms)| ms.err())
}

/// Where a delay is stated, as what, and what that is worth.
type Line<'a> = (Place<'a>, &'a str, Result<u64, Rejected>);

fn lines<'a>(heard: &'a Heard<'_>) -> impl Iterator<Item = Line<'a>> {
    details(heard).chain(carried_headers(heard)).chain(headers(heard))
}

/// A1: the usage limit of a plan, as a moment or else as a delay; JSON numbers only.
fn usage_limit<'a>(heard: &'a Heard<'_>) -> Option<Wait<'a>> {
    let usage = heard.said.usage_limit.as_ref()?;
    let wait = |field, text: &Option<&'a str>, read: &dyn Fn(&str) -> Option<u64>| {
        let line = (*text)?;
        Some(Wait { ms: read(line)?, place: Place::Body(field), line })
    };
    wait(Field::ResetsAt, &usage.resets_at, &|text| heard.clock.epoch(text)).or_else(|| {
        wait(Field::ResetsInSeconds, &usage.resets_in_seconds, &|text| count(text, Unit::Seconds))
    })
}

/// A2 to A4: Google's error details. A retry delay of seconds is no answer to a daily quota.
fn details<'a>(heard: &'a Heard<'_>) -> impl Iterator<Item = Line<'a>> {
    let said = &heard.said;
    let believed = |ms: u64| match said.is_daily() && ms < limits::DAILY_WAIT_MS_MIN {
        true => Err(Rejected::Daily),
        false => Ok(ms),
    };
    let body = |field, text: &'a str, ms: Option<u64>| {
        (Place::Body(field), text, ms.ok_or(Rejected::Unusable))
    };
    let delays = said.retry_delays.iter().map(move |text| {
        let ms = span(text).ok_or(Rejected::Unusable);
        (Place::Body(Field::RetryDelay), &**text, ms.and_then(believed))
    });
    let moments = said.quota_reset_time_stamps.iter();
    let moments =
        moments.map(move |text| body(Field::QuotaResetTimeStamp, text, heard.clock.rfc3339(text)));
    let resets = said.quota_reset_delays.iter();
    let resets = resets.map(move |text| body(Field::QuotaResetDelay, text, span(text)));
    delays.chain(moments).chain(resets)
}

/// A5, A6: headers of the upstream's upstream, carried in the body.
fn carried_headers<'a>(heard: &'a Heard<'_>) -> impl Iterator<Item = Line<'a>> {
    let after = heard.said.carried_retry_after.iter().map(|text| {
        let ms = heard.clock.seconds_or_http(text).ok_or(Rejected::Unusable);
        (Place::Body(Field::CarriedRetryAfter), &**text, ms)
    });
    let resets = heard.said.carried_resets.iter().map(|text| {
        let ms = heard.clock.reset(text).ok_or(Rejected::Unusable);
        (Place::Body(Field::CarriedReset), &**text, ms)
    });
    after.chain(resets)
}

/// A7 to A9: every line of the headers that name a delay.
fn headers<'a>(heard: &'a Heard<'_>) -> impl Iterator<Item = Line<'a>> {
    let read = |name: &'static str, read: fn(&Heard<'_>, &str) -> Option<u64>| {
        heard.headers.every(name).map(move |line| {
            (Place::Header(name), line, read(heard, line).ok_or(Rejected::Unusable))
        })
    };
    read("retry-after-ms", |_, text| count(text, Unit::Milliseconds))
        .chain(read("x-ms-retry-after-ms", |_, text| count(text, Unit::Milliseconds)))
        .chain(read("retry-after", |heard, text| heard.clock.seconds_or_http(text)))
}

/// A10: the rejected windows of an Anthropic plan; if none says until when, the plan as a whole.
fn anthropic_plan<'a>(heard: &'a Heard<'_>) -> Vec<Wait<'a>> {
    let read = |name: &'a str, line: &'a str| {
        Some(Wait { ms: heard.clock.epoch(line)?, place: Place::Header(name), line })
    };
    let windows = AnthropicWindows::of(&heard.headers);
    let waits: Vec<Wait<'a>> = windows
        .rejected()
        .filter_map(|window| {
            heard.headers.entry(&format!("{}{window}-reset", AnthropicWindows::STEM))
        })
        .filter_map(|(name, line)| read(name, line))
        .collect();
    if waits.is_empty() && windows.is_rejected_as_a_whole() {
        let whole = heard.headers.entry("anthropic-ratelimit-unified-reset");
        return whole.and_then(|(name, line)| read(name, line)).into_iter().collect();
    }
    waits
}

/// A11: the full windows of a Codex plan, by moment or else by delay.
fn codex_plan<'a>(heard: &'a Heard<'_>) -> impl Iterator<Item = Wait<'a>> {
    CodexWindow::full(&heard.headers).filter_map(|window| {
        let read = |suffix: &str, read: &dyn Fn(&str) -> Option<u64>| {
            let (name, line) = heard.headers.entry(&format!("{}-{suffix}", window.stem))?;
            Some(Wait { ms: read(line)?, place: Place::Header(name), line })
        };
        read("reset-at", &|text| heard.clock.epoch(text))
            .or_else(|| read("reset-after-seconds", &|text| count(text, Unit::Seconds)))
    })
}

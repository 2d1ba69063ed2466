//! A: the answer states a wait, or a plan's window is proved full.
//!
//! One function per row of the table, in its order; each gives every usable wait of its row.

use super::number::Unit;
use super::{Field, Place, Wait, count, longest, span};
use crate::limits;
use crate::pools::answer::heard::Heard;
use crate::pools::answer::plans::{AnthropicWindows, CodexWindow};

/// The longest wait of all rows.
pub(super) fn read<'a>(heard: &'a Heard<'_>) -> Option<Wait<'a>> {
    let waits = usage_limit(heard).into_iter().chain(delays(heard));
    longest(waits.chain(anthropic_plan(heard)).chain(codex_plan(heard)))
}

/// A2 to A9: what is said about a delay, and not about a plan.
pub(in crate::pools) fn delays<'a>(heard: &'a Heard<'_>) -> Option<Wait<'a>> {
    longest(details(heard).chain(carried_headers(heard)).chain(headers(heard)))
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
fn details<'a>(heard: &'a Heard<'_>) -> impl Iterator<Item = Wait<'a>> {
    let said = &heard.said;
    let believed = |ms: &u64| !said.is_daily() || *ms >= limits::DAILY_WAIT_MS_MIN;
    let delays = said.retry_delays.iter();
    let delays = delays.filter_map(move |text| {
        let ms = span(text).filter(believed)?;
        Some(Wait { ms, place: Place::Body(Field::RetryDelay), line: text })
    });
    let moments = said.quota_reset_time_stamps.iter().filter_map(|text| {
        let ms = heard.clock.rfc3339(text)?;
        Some(Wait { ms, place: Place::Body(Field::QuotaResetTimeStamp), line: text })
    });
    let resets = said.quota_reset_delays.iter().filter_map(|text| {
        Some(Wait { ms: span(text)?, place: Place::Body(Field::QuotaResetDelay), line: text })
    });
    delays.chain(moments).chain(resets)
}

/// A5, A6: headers of the upstream's upstream, carried in the body.
fn carried_headers<'a>(heard: &'a Heard<'_>) -> impl Iterator<Item = Wait<'a>> {
    let after = heard.said.carried_retry_after.iter().filter_map(|text| {
        let ms = heard.clock.seconds_or_http(text)?;
        Some(Wait { ms, place: Place::Body(Field::CarriedRetryAfter), line: text })
    });
    let resets = heard.said.carried_resets.iter().filter_map(|text| {
        let ms = heard.clock.reset(text)?;
        Some(Wait { ms, place: Place::Body(Field::CarriedReset), line: text })
    });
    after.chain(resets)
}

/// A7 to A9: every line of the headers that name a delay.
fn headers<'a>(heard: &'a Heard<'_>) -> impl Iterator<Item = Wait<'a>> {
    let read = |name: &'static str, read: fn(&Heard<'_>, &str) -> Option<u64>| {
        heard.headers.every(name).filter_map(move |line| {
            Some(Wait { ms: read(heard, line)?, place: Place::Header(name), line })
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

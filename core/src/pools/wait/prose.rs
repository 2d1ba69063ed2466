//! C: a sentence of the message that asks to wait.
//!
//! A sentence is read where a *clause* starts: at the beginning, after a newline, or after one of `.,;:!`
//! and a blank. What stands inside a clause was perhaps written by a user and is never searched.

use super::number::{duration_prefix, words_prefix};
use super::{Place, Wait, longest, usable};
use crate::limits;
use crate::pools::answer::heard::{Heard, Trial, strip};

/// The longest wait that a clause asks for. Seconds are no answer to a daily quota.
pub(super) fn read<'a>(heard: &'a Heard<'_>) -> Option<Wait<'a>> {
    let message = heard.said.message();
    let wait = |ms| Some(Wait { ms, place: Place::Message, line: message });
    let clauses = clauses(message).filter_map(clause).filter_map(usable);
    let until = strip(message, CLAUDE_LIMIT).and_then(|epoch| heard.clock.epoch(epoch));
    let trial = (Trial::of(message) == Some(Trial::Minute)).then_some(60_000);
    let believed = |ms: &u64| !heard.said.is_daily() || *ms >= limits::DAILY_WAIT_MS_MIN;
    longest(clauses.chain(until).chain(trial).filter(believed).filter_map(wait))
}

/// `Claude AI usage limit reached|<seconds since 1970>`, the message as a whole.
const CLAUDE_LIMIT: &str = "Claude AI usage limit reached|";

/// The places at which a clause starts.
fn clauses(message: &str) -> impl Iterator<Item = &str> {
    let bytes = message.as_bytes();
    let before = move |at: usize| bytes.get(at).copied().unwrap_or_default();
    let starts = (0..bytes.len()).filter(move |at| match at {
        0 => true,
        1 => before(0) == b'\n',
        at => {
            let is_blank = before(at - 1) == b' ';
            before(at - 1) == b'\n' || (is_blank && b".,;:!".contains(&before(at - 2)))
        }
    });
    starts.filter_map(|at| message.get(at..))
}

/// The milliseconds that the clause at the beginning of `text` asks for.
fn clause(text: &str) -> Option<u64> {
    let text = strip(text, "please ").unwrap_or(text);
    let rest = if let Some(rest) = strip(text, "try again ").or_else(|| strip(text, "retry ")) {
        in_or_after(rest)?
    } else if let Some(rest) = strip(text, "wait ") {
        strip(rest, "for ").unwrap_or(rest)
    } else {
        let owned = ["your quota will ", "your limit will ", "it "];
        let text = owned.iter().find_map(|owner| strip(text, owner)).unwrap_or(text);
        let rest = strip(text, "resets ").or_else(|| strip(text, "reset "))?;
        in_or_after(rest)?
    };
    let (exact, after) = words_prefix(rest).or_else(|| duration_prefix(rest))?;
    let ends = !after.chars().next().is_some_and(char::is_alphanumeric);
    ends.then(|| exact.rounded())
}

fn in_or_after(text: &str) -> Option<&str> {
    strip(text, "in ").or_else(|| strip(text, "after "))
}

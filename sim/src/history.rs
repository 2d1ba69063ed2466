//! Whether what callers saw can be told as one story, in which every call happens at one moment between its
//! question and its answer.
//!
//! First the *witness*: answers carry revisions, and in that order the history must replay and respect real
//! time. That is linear work, and a wrong answer is named. Calls that nobody answered have no witness: with
//! those, each group of keys goes to the search of Wing and Gong ("Testing and Verifying Concurrent Objects",
//! 1993) with the memo of Lowe ("Testing for linearizability", 2017): a set of calls already placed, with the
//! state they led to, is looked at once.
//!
//! A call without an answer may take effect at any later moment, or never. A definite refusal is no call:
//! whoever records a history leaves it out.
//!
//! Absent on purpose: time and network. A history is data, however it came about.

use std::collections::{BTreeMap, BTreeSet};

mod search;

/// One call of one caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Who; nobody has two calls open.
    pub caller: u32,
    /// When it was asked.
    pub called: u64,
    /// When it was answered.
    pub returned: Option<u64>,
    /// What was asked.
    pub operation: Operation,
    /// What was answered; `None`: nobody knows whether it happened.
    pub answer: Option<Answer>,
}

/// Reads and writes at one moment, under conditions. Reads see the state before.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Operation {
    /// The revisions that keys must be of; 0 is absent.
    pub expect: BTreeMap<String, u64>,
    /// What is written if they are; `None` deletes.
    pub write: BTreeMap<String, Option<String>>,
    /// What is read.
    pub read: BTreeSet<String>,
}

/// What the store says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answer {
    /// The revision after it.
    pub revision: u64,
    /// Whether the conditions held.
    pub succeeded: bool,
    /// Whether it made that revision.
    pub changed: bool,
    /// The value and revision of each key that was read; `None` is absent.
    pub read: BTreeMap<String, Option<(String, u64)>>,
}

/// What is known of a history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// There is such a story.
    Linear,
    /// There is none; the first answer that does not fit, in words.
    Wrong(String),
    /// It was too much to look at; never a pass.
    Undecided(String),
}

/// How much is looked at.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Callers of a group.
    pub callers_max: usize,
    /// Calls of a group.
    pub calls_max: usize,
    /// Calls without an answer, per hundred.
    pub unknown_percent_max: usize,
    /// Steps of all searches together.
    pub steps_max: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { callers_max: 6, calls_max: 500, unknown_percent_max: 3, steps_max: 5_000_000 }
    }
}

/// Judges the calls on one store.
pub fn check(calls: &[Call], limits: Limits) -> Verdict {
    let known: Vec<&Call> = calls.iter().filter(|call| call.answer.is_some()).collect();
    let unknown: Vec<&Call> = calls.iter().filter(|call| call.answer.is_none()).collect();
    if let Err(wrong) = witness(&known, &unknown) {
        return Verdict::Wrong(wrong);
    }
    // With every answer known, the order of revisions *is* the story.
    if unknown.is_empty() {
        return Verdict::Linear;
    }
    let mut steps = limits.steps_max;
    for group in groups(calls) {
        let verdict = search::search(&group, limits, &mut steps);
        if verdict != Verdict::Linear {
            return verdict;
        }
    }
    Verdict::Linear
}

/// A counter's second opinion: what it stands at lies between the successes and the attempts.
pub fn counted(value: u64, successes: u64, unknown: u64) -> Result<(), String> {
    let possible = successes..=successes + unknown;
    if possible.contains(&value) {
        return Ok(());
    }
    Err(format!("the counter is {value}, after {successes} successes and {unknown} unknown"))
}

/// Writes by revision, and what each key was at which.
struct Replay<'a> {
    /// Who made a revision.
    makers: BTreeMap<u64, &'a Call>,
    /// By key and revision: what was written.
    written: BTreeMap<&'a str, BTreeMap<u64, Option<&'a str>>>,
    unknown: &'a [&'a Call],
}

fn witness(known: &[&Call], unknown: &[&Call]) -> Result<(), String> {
    check_real_time(known)?;
    let mut replay = Replay { makers: BTreeMap::new(), written: BTreeMap::new(), unknown };
    for call in known {
        replay.note(call)?;
    }
    known.iter().try_for_each(|call| replay.fits(call))
}

/// A call that begins after another has ended has no smaller revision, and a greater one if it made it.
fn check_real_time(known: &[&Call]) -> Result<(), String> {
    let mut ends: Vec<(u64, u64)> = known
        .iter()
        .filter_map(|call| Some((call.returned?, call.answer.as_ref()?.revision)))
        .collect();
    ends.sort_unstable();
    let mut starts: Vec<&&Call> = known.iter().collect();
    starts.sort_by_key(|call| call.called);
    let (mut ended, mut newest) = (ends.into_iter().peekable(), 0);
    for call in starts {
        while let Some((_, revision)) = ended.next_if(|(at, _)| *at < call.called) {
            newest = newest.max(revision);
        }
        let Some(answer) = &call.answer else { continue };
        if answer.revision < newest + u64::from(answer.changed) {
            let word = if answer.changed { "made" } else { "saw" };
            return Err(format!(
                "caller {} {word} revision {} after revision {newest} was answered: {:?}",
                call.caller, answer.revision, call.operation
            ));
        }
    }
    Ok(())
}

impl<'a> Replay<'a> {
    fn note(&mut self, call: &'a Call) -> Result<(), String> {
        let answer = call.answer.as_ref().expect("only known calls are noted");
        if !answer.changed {
            return Ok(());
        }
        if let Some(other) = self.makers.insert(answer.revision, call) {
            return Err(format!(
                "callers {} and {} both made revision {}",
                other.caller, call.caller, answer.revision
            ));
        }
        for (key, value) in &call.operation.write {
            let key = self.written.entry(key).or_default();
            key.insert(answer.revision, value.as_deref());
        }
        Ok(())
    }

    fn fits(&self, call: &Call) -> Result<(), String> {
        let answer = call.answer.as_ref().expect("only known calls are judged");
        // What made a revision saw the state before it.
        let seen = answer.revision - u64::from(answer.changed);
        for (key, shown) in &answer.read {
            let shown = shown.as_ref().map(|(value, revision)| (value.as_str(), *revision));
            if !self.may_show(key, seen, shown, call) {
                return Err(format!(
                    "caller {} was shown {key} = {shown:?} at revision {seen}, where it was {:?}",
                    call.caller,
                    self.last(key, seen)
                ));
            }
        }
        let mut expected = call.operation.expect.iter();
        let holds = expected.try_fold(true, |all, (key, revision)| {
            self.is_of(key, seen, *revision, call).map(|holds| all && holds)
        });
        if holds.is_some_and(|holds| holds != answer.succeeded) {
            return Err(format!(
                "caller {} was told {} at revision {seen} of {:?}",
                call.caller, answer.succeeded, call.operation.expect
            ));
        }
        Ok(())
    }

    /// The last known write of a key, at or before a revision.
    fn last(&self, key: &str, seen: u64) -> Option<(u64, Option<&'a str>)> {
        let writes = self.written.get(key)?;
        writes.range(..=seen).next_back().map(|(revision, value)| (*revision, *value))
    }

    fn may_show(&self, key: &str, seen: u64, shown: Option<(&str, u64)>, call: &Call) -> bool {
        let last = self.last(key, seen);
        match shown {
            Some((value, revision)) => match last {
                Some((written, held)) if written == revision => held == Some(value),
                Some((written, _)) if written > revision => false,
                _ => revision <= seen && self.somebody_wrote(key, Some(value), revision, call),
            },
            None => match last {
                None | Some((_, None)) => true,
                Some((written, Some(_))) => {
                    (written + 1..=seen).any(|free| self.somebody_wrote(key, None, free, call))
                }
            },
        }
    }

    /// Whether a key was of this revision; `None` if that hangs on a call that nobody answered.
    fn is_of(&self, key: &str, seen: u64, revision: u64, call: &Call) -> Option<bool> {
        let unknown = self.unknown.iter().any(|other| {
            other.operation.write.contains_key(key)
                && call.returned.is_none_or(|end| other.called <= end)
        });
        if unknown {
            return None;
        }
        let current = self.last(key, seen).filter(|(_, value)| value.is_some());
        Some(current.map_or(0, |(revision, _)| revision) == revision)
    }

    /// Whether an unanswered call can have made this revision, with this value.
    fn somebody_wrote(&self, key: &str, value: Option<&str>, revision: u64, call: &Call) -> bool {
        !self.makers.contains_key(&revision)
            && self.unknown.iter().any(|other| {
                let wrote = other.operation.write.get(key);
                wrote.is_some_and(|wrote| wrote.as_deref() == value)
                    && call.returned.is_none_or(|end| other.called <= end)
            })
    }
}

impl Operation {
    /// Every key that is named.
    fn keys(&self) -> impl Iterator<Item = &str> {
        let named = self.expect.keys().chain(self.write.keys()).chain(self.read.iter());
        named.map(String::as_str)
    }
}

/// Calls by groups of keys that no call joins.
fn groups(calls: &[Call]) -> Vec<Vec<&Call>> {
    let mut leader: BTreeMap<&str, &str> = BTreeMap::new();
    for call in calls {
        let mut keys = call.operation.keys();
        let Some(first) = keys.next() else { continue };
        let root = find(&leader, first);
        leader.insert(root, root);
        for key in keys {
            let other = find(&leader, key);
            leader.insert(other, root);
        }
    }
    let mut groups: BTreeMap<&str, Vec<&Call>> = BTreeMap::new();
    for call in calls {
        if let Some(key) = call.operation.keys().next() {
            groups.entry(find(&leader, key)).or_default().push(call);
        }
    }
    groups.into_values().collect()
}

fn find<'a>(leader: &BTreeMap<&'a str, &'a str>, key: &'a str) -> &'a str {
    let mut at = key;
    while let Some(next) = leader.get(at).filter(|next| **next != at) {
        at = next;
    }
    at
}

#[cfg(test)]
mod tests;

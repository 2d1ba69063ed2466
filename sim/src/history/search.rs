//! The search for a story: which call comes next, tried in every order that real time leaves open.

use std::collections::{BTreeMap, BTreeSet};

use super::{Call, Limits, Verdict};

/// What the keys of a group are, as far as the story tells.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
struct State {
    /// Value and revision; a revision that nobody answered with is not known.
    keys: BTreeMap<String, (String, Option<u64>)>,
    /// The greatest revision that an answer named.
    revision: u64,
}

/// Which calls were placed.
type Placed = [u64; 8];

/// Tries to place every answered call of a group.
pub(super) fn search(group: &[&Call], limits: Limits, steps: &mut u64) -> Verdict {
    let callers: BTreeSet<u32> = group.iter().map(|call| call.caller).collect();
    let unknown = group.iter().filter(|call| call.answer.is_none()).count();
    if unknown == 0 {
        return Verdict::Linear; // The witness has told this story.
    }
    let calls_max = limits.calls_max.min(Placed::default().len() * 64);
    if callers.len() > limits.callers_max || group.len() > calls_max {
        let (callers, calls) = (callers.len(), group.len());
        return Verdict::Undecided(format!("{callers} callers with {calls} calls are too many"));
    }
    if unknown * 100 > group.len() * limits.unknown_percent_max {
        return Verdict::Undecided(format!("{unknown} of {} calls are unknown", group.len()));
    }
    let mut calls = group.to_vec();
    calls.sort_by_key(|call| call.called);
    Search { calls, seen: BTreeSet::new(), deepest: (0, None) }.run(steps)
}

struct Search<'a> {
    calls: Vec<&'a Call>,
    seen: BTreeSet<(Placed, State)>,
    /// How many were placed at most, and what could not come next.
    deepest: (u32, Option<usize>),
}

impl Search<'_> {
    fn run(mut self, steps: &mut u64) -> Verdict {
        let mut open = vec![(Placed::default(), State::default())];
        while let Some((placed, state)) = open.pop() {
            if *steps == 0 {
                return Verdict::Undecided("the search took too many steps".to_owned());
            }
            *steps -= 1;
            let due = self.due(&placed);
            if due.is_none() {
                return Verdict::Linear;
            }
            let end = due.and_then(|due| self.calls.get(due)?.returned).unwrap_or(u64::MAX);
            let mut next: Vec<_> = Vec::new();
            for (place, call) in self.calls.iter().enumerate() {
                // Whoever asked after the next answer was given comes after it.
                if call.called > end {
                    break;
                }
                if is_placed(&placed, place) {
                    continue;
                }
                if let Some(after) = state.after(call) {
                    let mut placed = placed;
                    place_in(&mut placed, place);
                    next.push((placed, after));
                }
            }
            let depth = placed.iter().map(|word| word.count_ones()).sum::<u32>();
            if depth >= self.deepest.0 {
                self.deepest = (depth, due);
            }
            // The last pushed is tried first: what was asked first.
            for found in next.into_iter().rev() {
                if self.seen.insert(found.clone()) {
                    open.push(found);
                }
            }
        }
        let stuck = self.deepest.1.and_then(|place| self.calls.get(place));
        Verdict::Wrong(format!("no order explains {stuck:?}"))
    }

    /// Of the answered calls that are not placed, the one that was answered first.
    fn due(&self, placed: &Placed) -> Option<usize> {
        let open = self.calls.iter().enumerate();
        let open = open.filter(|(place, call)| call.answer.is_some() && !is_placed(placed, *place));
        open.min_by_key(|(_, call)| call.returned).map(|(place, _)| place)
    }
}

impl State {
    /// What is after `call`, if it can come now.
    fn after(&self, call: &Call) -> Option<State> {
        let Some(answer) = &call.answer else {
            // Nobody answered: it comes now if it could have succeeded; that it failed is that it never came.
            let mut expected = call.operation.expect.iter();
            let may = expected.all(|(key, revision)| self.may_be_of(key, *revision));
            return may.then(|| {
                let mut state = self.clone();
                state.write(call, None);
                state
            });
        };
        if answer.revision < self.revision + u64::from(answer.changed) {
            return None;
        }
        let shows = |(key, shown): (&String, &Option<(String, u64)>)| {
            let held = self.keys.get(key).map(|(value, _)| value);
            held == shown.as_ref().map(|(value, _)| value)
        };
        if !answer.read.iter().all(shows) {
            return None; // Most calls end here: nothing was copied for them.
        }
        let mut state = self.clone();
        for (key, shown) in &answer.read {
            match (shown, state.keys.get_mut(key)) {
                (None, None) => {}
                (Some((value, revision)), Some((held, known))) if value == held => {
                    if known.is_some_and(|known| known != *revision) {
                        return None;
                    }
                    *known = Some(*revision);
                }
                _ => return None,
            }
        }
        let expect = &call.operation.expect;
        let holds = if answer.succeeded {
            expect.iter().all(|(key, revision)| state.may_be_of(key, *revision))
        } else {
            expect.iter().any(|(key, revision)| !state.must_be_of(key, *revision))
        };
        if !holds {
            return None;
        }
        state.revision = answer.revision;
        if answer.succeeded {
            state.write(call, Some(answer.revision));
        }
        Some(state)
    }

    fn write(&mut self, call: &Call, revision: Option<u64>) {
        for (key, value) in &call.operation.write {
            match value {
                Some(value) => self.keys.insert(key.clone(), (value.clone(), revision)),
                None => self.keys.remove(key),
            };
        }
    }

    fn may_be_of(&self, key: &str, revision: u64) -> bool {
        match self.keys.get(key) {
            None => revision == 0,
            Some((_, known)) => revision != 0 && known.is_none_or(|known| known == revision),
        }
    }

    fn must_be_of(&self, key: &str, revision: u64) -> bool {
        match self.keys.get(key) {
            None => revision == 0,
            Some((_, known)) => *known == Some(revision),
        }
    }
}

fn is_placed(placed: &Placed, place: usize) -> bool {
    placed.get(place / 64).is_some_and(|word| word & (1 << (place % 64)) != 0)
}

fn place_in(placed: &mut Placed, place: usize) {
    let word = placed.get_mut(place / 64).expect("a group of calls fits the bits of its search");
    *word |= 1 << (place % 64);
}

//! The same lines with simpler values: whole seconds, fewer words, shorter spans, everyday rates.

use crate::clock::Micros;
use crate::plan::{Load, Plan, What, When};

/// Everything from `moment` on, `gap` earlier.
pub(super) fn pulled(plan: &Plan, moment: Micros, gap: Micros) -> Plan {
    let mut earlier = plan.clone();
    for when in earlier.events.iter_mut().filter(|when| when.at >= moment) {
        when.at -= gap;
    }
    for load in &mut earlier.loads {
        if load.from >= moment {
            load.from -= gap;
        }
        if load.upto >= moment + gap {
            load.upto -= gap;
        }
    }
    earlier
}

/// One thing about an event that could be simpler, or none.
type EventEdit = fn(&mut When) -> bool;
/// The same for a load.
type LoadEdit = fn(&mut Load) -> bool;

const EVENT_EDITS: [EventEdit; 7] = [
    |when| when.every.take().is_some(),
    |when| drop_key(when, 0),
    |when| drop_key(when, 1),
    |when| rounded(&mut when.at, 1_000_000),
    |when| rounded(&mut when.at, 1000),
    |when| when.lasts.as_mut().is_some_and(|lasts| rounded(lasts, 1_000_000)),
    |when| when.lasts.as_mut().is_some_and(|lasts| rounded(lasts, 1000)),
];

const LOAD_EDITS: [LoadEdit; 7] = [
    |load| changed(&mut load.rate_milli, 1000),
    |load| load.keys.remove("value").is_some(),
    |load| load.keys.remove("settle").is_some(),
    |load| load.keys.remove("by").is_some(),
    |load| load.keys.insert("keys".to_owned(), "1".to_owned()).is_none_or(|old| old != "1"),
    |load| {
        let half = (load.upto - load.from) / 2;
        load.upto -= half;
        rounded(&mut load.upto, 1_000_000) || half > 0
    },
    |load| {
        let half = (load.upto - load.from) / 2;
        load.from += half;
        half > 1_000_000
    },
];

/// Candidate `number`: `None` if there are no more, `Some(None)` if it would change nothing.
pub(super) fn simpler(plan: &Plan, number: usize) -> Option<Option<Plan>> {
    let mut simpler = plan.clone();
    let loads = plan.loads.len() * LOAD_EDITS.len();
    let is_other = match number.checked_sub(loads) {
        None => {
            let load = simpler.loads.get_mut(number / LOAD_EDITS.len())?;
            LOAD_EDITS.get(number % LOAD_EDITS.len())?(load)
        }
        Some(number) => {
            let when = simpler.events.get_mut(number / EVENT_EDITS.len())?;
            EVENT_EDITS.get(number % EVENT_EDITS.len())?(when)
        }
    };
    Some(is_other.then_some(simpler))
}

fn drop_key(when: &mut When, position: usize) -> bool {
    let (What::Fault { keys, .. } | What::Act { keys, .. }) = &mut when.what;
    let Some(key) = keys.keys().nth(position).cloned() else { return false };
    keys.remove(&key).is_some()
}

/// To a multiple of `unit`: the nearest above, where there is none below but nothing.
fn rounded(value: &mut Micros, unit: Micros) -> bool {
    let down = *value / unit * unit;
    let whole = if down == 0 { value.div_ceil(unit) * unit } else { down };
    changed(value, whole)
}

fn changed(value: &mut u64, to: u64) -> bool {
    let is_other = *value != to;
    *value = to;
    is_other
}

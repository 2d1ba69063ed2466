//! What happens too often for a line each: counted per actor and verb, one line a minute.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use quorate_core::time::Instant;

use super::{Counted, Record};

/// How long a count grows before it becomes a line.
const PERIOD: Duration = Duration::from_secs(60);
/// Pairs of actor and verb counted at a time; whoever comes later is counted as `other`.
const PAIRS_MAX: usize = 4096;
/// See [`PAIRS_MAX`].
const OTHER: &str = "other";

/// The counts that are not lines yet.
#[derive(Debug, Default)]
pub(super) struct Tally {
    counts: Mutex<Counts>,
}

/// A verb, and its outcome.
type What = (&'static str, &'static str);
/// What becomes a line, and since when it is counted.
type ByActor = BTreeMap<String, (Instant, Record)>;

#[derive(Debug, Default)]
struct Counts {
    records: BTreeMap<What, ByActor>,
    pairs: usize,
}

impl Tally {
    /// Adds one. The first of a period lends the line its details, and only then is `record` asked for them.
    pub(super) fn count(&self, what: Counted<'_>, now: Instant, record: impl FnOnce() -> Record) {
        let Counted { actor, verb, outcome } = what;
        let mut counts = self.counts.lock().expect("no holder of this lock panics");
        let is_full = counts.pairs >= PAIRS_MAX;
        let actors = counts.records.entry((verb, outcome)).or_default();
        let actor = if is_full && !actors.contains_key(actor) { OTHER } else { actor };
        if let Some((_, record)) = actors.get_mut(actor) {
            *record.count.get_or_insert(0) += 1;
            return;
        }
        let record = Record {
            actor: actor.to_owned(),
            verb: verb.to_owned(),
            outcome: outcome.to_owned(),
            count: Some(1),
            ..record()
        };
        actors.insert(actor.to_owned(), (now, record));
        counts.pairs += 1;
    }

    /// Takes what is due.
    pub(super) fn due(&self, now: Instant, all: bool) -> Vec<Record> {
        let mut counts = self.counts.lock().expect("no holder of this lock panics");
        let mut taken = Vec::new();
        for actors in counts.records.values_mut() {
            let due = actors.extract_if(.., |_, (since, _)| all || now.since(*since) >= PERIOD);
            taken.extend(due.map(|(_, (_, record))| record));
        }
        counts.records.retain(|_, actors| !actors.is_empty());
        counts.pairs -= taken.len();
        taken
    }
}

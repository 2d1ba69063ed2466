//! What happens too often for a line each: counted per actor and verb, one line a minute.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use quorate_core::time::Instant;

use super::Record;

/// How long a count grows before it becomes a line.
const PERIOD: Duration = Duration::from_secs(60);
/// Pairs of actor and verb counted at a time; whoever comes later is counted as `other`.
const PAIRS_MAX: usize = 4096;

/// Actor, verb and outcome.
type Pair = (String, String, String);

/// The counts that are not lines yet.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pairs: Mutex<BTreeMap<Pair, (Instant, Record)>>,
}

impl Tally {
    /// Adds one. The first of a period lends the line its details.
    pub(super) fn count(&self, mut record: Record, now: Instant) {
        let mut pairs = self.pairs.lock().expect("no holder of this lock panics");
        let mut key = (record.actor.clone(), record.verb.clone(), record.outcome.clone());
        if !pairs.contains_key(&key) && pairs.len() >= PAIRS_MAX {
            record.actor = "other".to_owned();
            key.0.clone_from(&record.actor);
        }
        let (_, record) = pairs.entry(key).or_insert((now, record));
        *record.count.get_or_insert(0) += 1;
    }

    /// Takes what is due.
    pub(super) fn due(&self, now: Instant, all: bool) -> Vec<Record> {
        let mut pairs = self.pairs.lock().expect("no holder of this lock panics");
        let due = pairs.extract_if(.., |_, (since, _)| all || now.since(*since) >= PERIOD);
        due.map(|(_, (_, record))| record).collect()
    }
}

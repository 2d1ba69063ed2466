//! What readers see of credentials.
//!
//! Absent on purpose: bodies, and anything personal.

use std::sync::Arc;
use std::time::Duration;

use imbl::OrdMap;

use super::Head;
use super::key::Key;
use super::queue::Counters;
use crate::time::Instant;

/// Credentials as they are at the end of a turn.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Whether there is a store.
    pub enabled: bool,
    /// Rises with every change of what is in use.
    pub version: u64,
    /// Every head, deleted ones included.
    pub heads: OrdMap<Key, Arc<Head>>,
    /// What is there and is no record.
    pub troubles: OrdMap<Key, Trouble>,
    /// Whether the store was read once, whole.
    pub loaded: bool,
    /// What the store said when it failed last; none while it answers.
    pub failure: Option<Arc<str>>,
    /// What the breaker holds, and since when it is open.
    pub breaker: Option<(Instant, Arc<[Key]>)>,
    /// Files whose names are no ids.
    pub misnamed: u64,
    /// Records that are not in use because there are too many.
    pub left_out: u64,
    /// Records that differed from what is in use when all were listed last.
    pub drift: u64,
    /// How many wait to be looked at.
    pub depth: usize,
    /// How many ever waited at once.
    pub depth_max: usize,
    /// Since when the first of them waits.
    pub oldest: Option<Instant>,
    /// Whether everything is to be looked at, because the queue was full.
    pub rescan_owed: bool,
    /// The last batch that was taken from the queue.
    pub drained: Option<Drain>,
    /// What became of hints so far.
    pub counters: Counters,
}

/// One batch that was taken from the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drain {
    /// When it was done.
    pub at: Instant,
    /// How many were in it.
    pub batch: usize,
    /// From the first look to the last.
    pub took: Duration,
}

/// Something that is no record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// Since when.
    pub since: Instant,
    /// Why, without a word of what is there.
    pub what: Arc<str>,
    /// Whether observers were told.
    pub reported: bool,
}

impl Snapshot {
    /// Those that are not deleted, in order of tenant and id.
    pub fn live(&self) -> impl Iterator<Item = &Arc<Head>> {
        self.heads.values().filter(|head| !head.deleted)
    }
}

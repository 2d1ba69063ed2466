//! Topics, and the pieces of owner maps that travel.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Blob, List, integer_bytes};
use crate::ids::Replica;
use crate::limits;

/// A subject of replication, by its number on the wire.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Topic(pub u8);

impl Topic {
    /// What each node says of itself.
    pub const FACTS: Topic = Topic(1);
    /// Which model servers each node knows.
    pub const WORKERS: Topic = Topic(2);

    /// What each node knows of rests, parks and tries of credentials.
    pub const POOLS: Topic = Topic(3);

    /// The topics that this build replicates, in order of number.
    pub const ALL: [Topic; 3] = [Topic::FACTS, Topic::WORKERS, Topic::POOLS];

    /// Its name in metrics and views.
    pub fn name(self) -> &'static str {
        match self {
            Topic::FACTS => "facts",
            Topic::WORKERS => "workers",
            Topic::POOLS => "pools",
            _ => "unknown",
        }
    }

    /// Whether its changes are pushed to every connected peer at the end of the turn.
    pub fn is_prompt(self) -> bool {
        matches!(self, Topic::FACTS | Topic::WORKERS | Topic::POOLS)
    }
}

impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            "unknown" => write!(f, "topic {}", self.0),
            name => f.write_str(name),
        }
    }
}

/// The key of an entry; the empty one is the marker `ready`.
pub type Key = Arc<str>;

/// One surviving write of an owner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its place in the owner's order, from 1.
    pub sequence: u64,
    /// What was written.
    pub key: Key,
    /// The value, or `None` for a tombstone.
    pub value: Option<Blob>,
}

impl Entry {
    /// Its encoded length.
    pub fn encoded_bytes(&self) -> usize {
        let text = |length: usize| integer_bytes(length as u64) + length;
        let value = self.value.as_ref().map_or(1, |value| 1 + text(value.len()));
        integer_bytes(self.sequence) + text(self.key.len()) + value
    }
}

/// *All* entries of one replica's map with `from < sequence ≤ upto` that survive as far as the producer
/// knows, ascending. Cut anywhere, both halves are segments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// Of what.
    pub topic: Topic,
    /// Whose map.
    pub replica: Replica,
    /// Exclusive lower end.
    pub from: u64,
    /// Inclusive upper end.
    pub upto: u64,
    /// Tombstones at or below this may be gone.
    pub floor: u64,
    /// Through where the producer itself is complete.
    pub through: u64,
    /// The highest sequence that the producer has heard of.
    pub head: u64,
    /// What survives, ascending.
    pub entries: List<Entry, { limits::SEGMENT_ENTRIES_MAX }>,
}

impl Segment {
    /// The encoded length of everything but the entries, for a segment that will hold `count` of them.
    pub fn header_bytes(&self, count: usize) -> usize {
        let node = self.replica.node.as_str().len();
        let numbers = [
            self.replica.incarnation.0,
            self.from,
            self.upto,
            self.floor,
            self.through,
            self.head,
            count as u64,
        ];
        let numbers: usize = numbers.into_iter().map(integer_bytes).sum();
        1 + integer_bytes(node as u64) + node + numbers
    }

    /// Its encoded length.
    pub fn encoded_bytes(&self) -> usize {
        let entries: usize = self.entries.iter().map(Entry::encoded_bytes).sum();
        self.header_bytes(self.entries.len()) + entries
    }
}

/// What one node holds of one map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct Progress {
    /// Told what survives through here.
    pub complete: u64,
    /// Heard of as the highest.
    pub head: u64,
    /// Tombstones at or below may be gone.
    pub floor: u64,
}

/// Why a segment that arrived moved nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unused {
    /// It named nothing new.
    Duplicate,
    /// Its producer knows less than a sweep demands.
    Stale,
    /// It broke its domain's rule.
    Foreign,
    /// Its owner is fenced.
    Fenced,
    /// Its owner is not known here, or not yet.
    Unknown,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Incarnation;
    use crate::wire::encode;

    #[test]
    fn the_computed_length_is_the_encoded_one() {
        for (sequence, key, value) in
            [(1, "", Some("")), (300, "w/1", None), (70_000, "k", Some("v"))]
        {
            let value = value.map(Blob::from);
            let entry = Entry { sequence, key: Key::from(key), value };
            assert_eq!(entry.encoded_bytes(), encode(&entry).len());
            let node = "n1".parse().expect("a node id");
            let replica = Replica { node, incarnation: Incarnation(1 << 40) };
            let segment = Segment {
                topic: Topic::FACTS,
                replica,
                from: 0,
                upto: sequence,
                floor: 251,
                through: sequence,
                head: sequence,
                entries: vec![entry; 3].into(),
            };
            assert_eq!(segment.encoded_bytes(), encode(&segment).len());
        }
    }
}

//! What one process held of every map after its last turn, and how far that is, in sums.
//!
//! The sums stand for what a digest should tell: one per bucket, over each map with how far it is complete. A sum
//! asks for no order, and follows every map that moves, so nobody has to look at all maps to know it.
//!
//! Absent on purpose: judgement.

use std::collections::BTreeMap;

use quorate_core::ids::{Incarnation, NodeId, Replica};
use quorate_core::limits::DIGEST_BUCKETS;
use quorate_core::node::gossip::Gossip;
use quorate_core::node::replica::{Held, HeldEntry, Maps};
use quorate_core::wire::segment::{Key, Progress, Topic};
use xxhash_rust::xxh3::xxh3_64;

use super::{MapId, Table};

/// One map.
#[derive(Debug, Clone, Default)]
pub(super) struct Shadow {
    pub(super) seen: Seen,
    pub(super) entries: Vec<Kept>,
    /// The highest sequence that each key ever showed here.
    pub(super) shown: BTreeMap<Key, u64>,
    /// The head at which this process was last level with the owner.
    pub(super) level: u64,
}

/// What changes with every change of a map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Seen {
    pub(super) progress: Progress,
    pub(super) sweeping: bool,
    pub(super) sizes: (usize, usize, usize),
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) sequence: u64,
    pub(super) key: Key,
    pub(super) live: bool,
    pub(super) doubtful: bool,
}

/// A map's entries beside those that were seen last.
pub(super) struct Renewed<'a> {
    /// All of them.
    pub(super) now: Vec<Kept>,
    /// Those that were not held before.
    pub(super) fresh: Vec<HeldEntry<'a>>,
    /// Values that are held no more.
    pub(super) missing: Vec<Kept>,
}

impl<'a> Renewed<'a> {
    pub(super) fn of(former: Vec<Kept>, held: &Held<'a>) -> Renewed<'a> {
        let now = Vec::with_capacity(former.len() + 1);
        let mut renewed = Renewed { now, fresh: Vec::new(), missing: Vec::new() };
        let mut former = former.into_iter().peekable();
        for entry in held.entries(0) {
            while let Some(gone) = former.next_if(|kept| kept.sequence < entry.sequence) {
                renewed.missing.extend(Some(gone).filter(|gone| gone.live));
            }
            match former.next_if(|kept| kept.sequence == entry.sequence) {
                Some(mut kept) => {
                    (kept.live, kept.doubtful) = (entry.value.is_some(), entry.doubtful);
                    if kept.key.as_ptr() != entry.key.as_ptr() {
                        kept.key = entry.key.clone();
                    }
                    renewed.now.push(kept);
                }
                None => {
                    renewed.now.push(Kept::of(&entry));
                    renewed.fresh.push(entry);
                }
            }
        }
        renewed.missing.extend(former.filter(|gone| gone.live));
        renewed
    }
}

/// Every map of one process.
#[derive(Debug, Clone)]
pub(super) struct Shadows {
    maps: Table<(Topic, NodeId), Lives>,
    sums: [u64; DIGEST_BUCKETS],
}

/// The maps of one node and topic, by life. There are seldom two.
#[derive(Debug, Clone)]
struct Lives {
    bucket: usize,
    shadows: Vec<(Incarnation, Shadow)>,
}

impl Default for Shadows {
    fn default() -> Shadows {
        Shadows { maps: Table::default(), sums: [0; DIGEST_BUCKETS] }
    }
}

impl Shadows {
    /// How a map was seen last.
    pub(super) fn seen(&self, topic: Topic, replica: &Replica) -> Option<Seen> {
        let lives = self.maps.get(&(topic, replica.node.clone()))?;
        let mut shadows = lives.shadows.iter();
        let found = shadows.find(|(life, _)| *life == replica.incarnation)?;
        Some(found.1.seen)
    }

    /// Takes a map out, to come back by `put`; a new one if there was none.
    pub(super) fn take(&mut self, (topic, replica): &MapId) -> Shadow {
        let Some(lives) = self.maps.get_mut(&(*topic, replica.node.clone())) else {
            return Shadow::default();
        };
        let place = lives.shadows.iter().position(|(life, _)| *life == replica.incarnation);
        let Some(place) = place else { return Shadow::default() };
        let (_, shadow) = lives.shadows.remove(place);
        let weight = weight(*topic, &replica.node, replica.incarnation, &shadow);
        if let Some(sum) = self.sums.get_mut(lives.bucket) {
            *sum = sum.wrapping_sub(weight);
        }
        shadow
    }

    pub(super) fn put(&mut self, (topic, replica): MapId, shadow: Shadow) {
        let weight = weight(topic, &replica.node, replica.incarnation, &shadow);
        let bucket = || Gossip::bucket_of(&replica.node);
        let key = (topic, replica.node.clone());
        let lives = self.maps.entry(key);
        let lives = lives.or_insert_with(|| Lives { bucket: bucket(), shadows: Vec::new() });
        lives.shadows.push((replica.incarnation, shadow));
        lives.shadows.sort_by_key(|(life, _)| *life);
        if let Some(sum) = self.sums.get_mut(lives.bucket) {
            *sum = sum.wrapping_add(weight);
        }
    }

    /// Forgets every map that is not kept.
    pub(super) fn retain(&mut self, keep: impl Fn(Topic, &NodeId, Incarnation) -> bool) {
        let Shadows { maps, sums } = self;
        maps.retain(|(topic, node), lives| {
            retain_lives(sums, (*topic, node), lives, |life| keep(*topic, node, life));
            !lives.shadows.is_empty()
        });
    }

    /// Forgets the maps of `node` in `topic` that are not among `held`.
    pub(super) fn retain_held(&mut self, topic: Topic, node: &NodeId, held: &[Held<'_>]) {
        let key = (topic, node.clone());
        let Some(lives) = self.maps.get_mut(&key) else { return };
        let is_held = |life| held.iter().any(|map| map.replica.incarnation == life);
        retain_lives(&mut self.sums, (topic, node), lives, is_held);
        if lives.shadows.is_empty() {
            self.maps.remove(&key);
        }
    }

    /// Foreign maps that are not as they were seen last, and whether all that were seen are there still.
    pub(super) fn moved<'a>(&self, maps: &'a Maps) -> (Vec<Held<'a>>, bool) {
        let local = maps.local();
        let (mut moved, mut found) = (Vec::new(), 0);
        for held in maps.held().filter(|held| held.replica.node != local.node) {
            let seen = self.seen(held.topic, held.replica);
            found += usize::from(seen.is_some());
            if seen != Some(Seen::of(&held)) {
                moved.push(held);
            }
        }
        let foreign = self.maps.iter().filter(|((_, node), _)| *node != local.node);
        (moved, foreign.map(|(_, lives)| lives.shadows.len()).sum::<usize>() == found)
    }

    /// Whether there is a map of another life of `local`'s node.
    pub(super) fn hold_former(&self, local: &Replica) -> bool {
        Topic::ALL.into_iter().any(|topic| {
            let lives = self.maps.get(&(topic, local.node.clone()));
            let mut lives = lives.into_iter().flat_map(|lives| &lives.shadows);
            lives.any(|(life, _)| *life != local.incarnation)
        })
    }

    /// A sum per bucket.
    pub(super) fn sums(&self) -> &[u64; DIGEST_BUCKETS] {
        &self.sums
    }
}

impl Seen {
    pub(super) fn of(held: &Held<'_>) -> Seen {
        Seen { progress: held.progress, sweeping: held.sweeping, sizes: held.sizes() }
    }
}

impl Kept {
    pub(super) fn of(entry: &HeldEntry<'_>) -> Kept {
        Kept {
            sequence: entry.sequence,
            key: entry.key.clone(),
            live: entry.value.is_some(),
            doubtful: entry.doubtful,
        }
    }
}

fn retain_lives(
    sums: &mut [u64; DIGEST_BUCKETS],
    (topic, node): (Topic, &NodeId),
    lives: &mut Lives,
    keep: impl Fn(Incarnation) -> bool,
) {
    let bucket = lives.bucket;
    lives.shadows.retain(|(life, shadow)| {
        let kept = keep(*life);
        if !kept && let Some(sum) = sums.get_mut(bucket) {
            *sum = sum.wrapping_sub(weight(topic, node, *life, shadow));
        }
        kept
    });
}

/// What a map adds to its sum; nothing while nothing of it is complete.
fn weight(topic: Topic, node: &NodeId, life: Incarnation, shadow: &Shadow) -> u64 {
    let complete = shadow.seen.progress.complete;
    if complete == 0 {
        return 0;
    }
    let mut row = [0; 1 + 8 + 8 + 63];
    let name = node.as_str().as_bytes();
    let parts = [&[topic.0][..], &life.0.to_le_bytes(), &complete.to_le_bytes(), name];
    let bytes = parts.into_iter().flatten();
    row.iter_mut().zip(bytes).for_each(|(place, byte)| *place = *byte);
    xxh3_64(row.get(..17 + name.len()).unwrap_or(&row))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shadow(complete: u64) -> Shadow {
        let progress = Progress { complete, head: complete, floor: 0 };
        Shadow { seen: Seen { progress, ..Seen::default() }, ..Shadow::default() }
    }

    fn map(topic: Topic, node: &str, life: u64) -> MapId {
        let node = node.parse().expect("a name");
        (topic, Replica { node, incarnation: Incarnation(life) })
    }

    #[test]
    fn sums_are_those_of_what_is_there_whatever_was_there_before() {
        let mut moved = Shadows::default();
        for (node, life) in [("a", 1), ("b", 1), ("a", 2)] {
            moved.put(map(Topic::FACTS, node, life), shadow(7));
            moved.put(map(Topic::WORKERS, node, life), shadow(life));
        }
        assert_eq!(moved.take(&map(Topic::FACTS, "b", 1)).seen, shadow(7).seen);
        moved.put(map(Topic::FACTS, "b", 1), shadow(9));
        moved.retain(|topic, node, life| {
            topic == Topic::FACTS && (node.as_str(), life.0) != ("a", 1)
        });
        moved.retain_held(Topic::FACTS, &"a".parse().expect("a name"), &[]);

        let mut fresh = Shadows::default();
        fresh.put(map(Topic::FACTS, "b", 1), shadow(9));
        assert_eq!(moved.sums(), fresh.sums());
        assert_ne!(moved.sums(), Shadows::default().sums());
        fresh.take(&map(Topic::FACTS, "b", 1));
        assert_eq!(fresh.sums(), Shadows::default().sums(), "nothing is left of nothing");
    }

    #[test]
    fn a_map_of_which_nothing_is_complete_counts_as_absent() {
        let mut shadows = Shadows::default();
        shadows.put(map(Topic::FACTS, "a", 1), shadow(0));
        assert_eq!(shadows.sums(), Shadows::default().sums());
    }
}

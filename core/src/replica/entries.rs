//! The table inside every owner map: one entry per key, ordered by sequence.
//!
//! Entries stand under their sequence, so that an interval costs what it holds; a second index finds a
//! key's place. Doubtful entries stay where they are and are only marked.
//!
//! Absent on purpose: any opinion on which entry may enter. That is the owner's order or a segment's.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use super::places::Places;
use crate::wire::Blob;
use crate::wire::segment::{Entry, Key};

/// One change of what is visible.
pub(super) type Change = (Key, Option<Blob>);

/// What one owner wrote, a key once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Entries {
    slots: BTreeMap<u64, Slot>,
    places: Places,
    tombstones: BTreeSet<u64>,
    doubtful: BTreeSet<u64>,
    unchecked: Unchecked,
}

/// Whether anything changed since the indexes were last compared. Tables are equal whatever it says.
#[derive(Debug, Clone, Default)]
struct Unchecked(Cell<bool>);

impl PartialEq for Unchecked {
    fn eq(&self, _: &Unchecked) -> bool {
        true
    }
}

impl Eq for Unchecked {}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Slot {
    key: Key,
    value: Option<Blob>,
}

/// The key of the marker `ready`, which no domain ever sees.
pub(super) fn marker() -> Key {
    Key::from("")
}

impl Entries {
    /// How many values are held, doubtful ones and the marker included.
    pub(super) fn live(&self) -> usize {
        self.slots.len() - self.tombstones.len()
    }

    /// How many deletions are remembered.
    pub(super) fn tombstones(&self) -> usize {
        self.tombstones.len()
    }

    /// How many entries are in doubt.
    pub(super) fn doubtful(&self) -> usize {
        self.doubtful.len()
    }

    /// Where the lowest deletion stands.
    pub(super) fn first_tombstone(&self) -> Option<u64> {
        self.tombstones.first().copied()
    }

    /// Where the deletion in the middle stands.
    pub(super) fn median_tombstone(&self) -> Option<u64> {
        self.tombstones.iter().nth(self.tombstones.len() / 2).copied()
    }

    /// The value of `key`.
    pub(super) fn value(&self, key: &str) -> Option<&Blob> {
        self.slots.get(&self.places.get(key)?)?.value.as_ref()
    }

    /// Whether exactly `entry` is held.
    pub(super) fn holds(&self, entry: &Entry) -> bool {
        let held = self.slots.get(&entry.sequence);
        held.is_some_and(|slot| slot.key == entry.key && slot.value == entry.value)
    }

    /// What domains see, by key.
    pub(super) fn visible(&self) -> impl Iterator<Item = (&Key, &Blob)> {
        let places = self.places.iter().filter(|(key, _)| !key.is_empty());
        places.filter_map(|(key, place)| Some((key, self.slots.get(&place)?.value.as_ref()?)))
    }

    /// Places and keys with `from < place ≤ upto`, ascending.
    pub(super) fn places(&self, from: u64, upto: u64) -> impl Iterator<Item = (u64, &Key)> {
        let range = interval(from, upto).map(|range| self.slots.range(range));
        range.into_iter().flatten().map(|(place, slot)| (*place, &slot.key))
    }

    /// What is beyond doubt with `from < sequence ≤ upto`, ascending.
    pub(super) fn certain(&self, from: u64, upto: u64) -> impl Iterator<Item = Entry> {
        let range = interval(from, upto).map(|range| self.slots.range(range));
        let slots = range.into_iter().flatten();
        slots.filter(|(place, _)| !self.doubtful.contains(place)).map(|(place, slot)| Entry {
            sequence: *place,
            key: slot.key.clone(),
            value: slot.value.clone(),
        })
    }

    /// Everything above `from`, ascending, with its doubt.
    #[cfg(feature = "simulation")]
    pub(super) fn held(&self, from: u64) -> impl Iterator<Item = super::watch::HeldEntry<'_>> {
        self.slots.range(from.saturating_add(1)..).map(|(place, slot)| super::watch::HeldEntry {
            sequence: *place,
            key: &slot.key,
            value: slot.value.as_ref(),
            doubtful: self.doubtful.contains(place),
        })
    }

    /// Puts `entry` in place of whatever its key had, and tells how the visible value changed.
    pub(super) fn put(&mut self, entry: Entry) -> Option<Change> {
        let Entry { sequence, key, value } = entry;
        self.unchecked.0.set(true);
        let former = self.places.insert(key.clone(), sequence).and_then(|place| {
            self.tombstones.remove(&place);
            self.doubtful.remove(&place);
            self.slots.remove(&place)?.value
        });
        if value.is_none() {
            self.tombstones.insert(sequence);
        }
        let change = (former != value && !key.is_empty()).then(|| (key.clone(), value.clone()));
        let displaced = self.slots.insert(sequence, Slot { key, value });
        assert!(displaced.is_none(), "RP-12: sequence {sequence} stands for two writes");
        change
    }

    /// Marks what stands at `place` as doubtful; it stays visible.
    pub(super) fn doubt(&mut self, place: u64) {
        self.unchecked.0.set(true);
        self.doubtful.insert(place);
    }

    /// What stands at `place` is certain.
    pub(super) fn believe(&mut self, place: u64) {
        self.unchecked.0.set(true);
        self.doubtful.remove(&place);
    }

    /// Forgets deletions at or below `floor`.
    pub(super) fn drop_tombstones(&mut self, floor: u64) {
        while let Some(place) = self.tombstones.first().copied().filter(|place| *place <= floor) {
            self.remove(place);
        }
    }

    /// Drops doubtful entries, oldest first, until `keep` are left, and tells what vanished from sight.
    pub(super) fn drop_doubtful(&mut self, keep: usize) -> Vec<Change> {
        let mut changes = Vec::new();
        while let Some(place) = self.doubtful.first().copied() {
            if self.doubtful.len() <= keep {
                break;
            }
            let slot = self.remove(place);
            changes.extend(slot.filter(|slot| slot.value.is_some() && !slot.key.is_empty()));
        }
        changes.into_iter().map(|slot| (slot.key, None)).collect()
    }

    fn remove(&mut self, place: u64) -> Option<Slot> {
        self.unchecked.0.set(true);
        self.tombstones.remove(&place);
        self.doubtful.remove(&place);
        let slot = self.slots.remove(&place)?;
        self.places.remove(&slot.key);
        Some(slot)
    }

    /// Whether both indexes and all marks tell the same story. What did not change since this was last
    /// asked is not compared again.
    pub(super) fn check(&self) -> Result<(), String> {
        if !self.unchecked.0.replace(false) {
            return Ok(());
        }
        let agreed = self.places.len() == self.slots.len()
            && self.slots.iter().all(|(place, slot)| {
                self.places.get(&slot.key) == Some(*place)
                    && self.tombstones.contains(place) == slot.value.is_none()
            })
            && self
                .tombstones
                .iter()
                .chain(&self.doubtful)
                .all(|place| self.slots.contains_key(place));
        if agreed { Ok(()) } else { Err(String::from("RP-1: the indexes of a map disagree")) }
    }

    /// The highest place taken, 0 if there is none.
    pub(super) fn last(&self) -> u64 {
        self.slots.last_key_value().map_or(0, |(place, _)| *place)
    }
}

/// The range `(from, upto]`, unless it is empty.
fn interval(from: u64, upto: u64) -> Option<std::ops::RangeInclusive<u64>> {
    (from < upto).then(|| from + 1..=upto)
}

//! What owners wrote: every write, noted in the turn that gave it its sequence.
//!
//! A write is in the record even where nothing else is left of it at the end of its turn: a life that is
//! raised away by then, a tombstone that a floor took along.
//!
//! Absent on purpose: what anybody holds. That is compared with this.

use std::collections::{BTreeMap, BTreeSet};

use quorate_core::node::replica::{Held, Wrote};
use quorate_core::wire::Blob;
use quorate_core::wire::segment::Key;

use super::{MapId, Table};
use crate::invariants::{Id, Ledger};
use crate::verdict::Failure;

/// What owners wrote, by map.
#[derive(Debug, Default)]
pub(super) struct Record {
    maps: Table<MapId, Written>,
    nothing: Written,
}

/// What one owner wrote to one map.
#[derive(Debug, Default)]
pub(super) struct Written {
    /// Every write ever, by sequence.
    pub(super) writes: BTreeMap<u64, (Key, Option<Blob>)>,
    /// The newest write of each key, and since which sequence it lives without a break.
    pub(super) newest: BTreeMap<Key, (u64, Option<u64>)>,
    /// The newest writes, by sequence.
    pub(super) current: BTreeMap<u64, Key>,
    live: usize,
    /// Deletions that no floor has reached.
    tombstones: BTreeSet<u64>,
    /// Where the bound on tombstones had to put the floor.
    pub(super) floor_by_bound: u64,
}

impl Record {
    /// What was written to the map `id`.
    pub(super) fn of(&self, id: &MapId) -> &Written {
        self.maps.get(id).unwrap_or(&self.nothing)
    }

    /// A process on `machine` wrote. RP-12: no sequence is given twice, and none is left out.
    pub(super) fn note(
        &mut self,
        machine: usize,
        wrote: &Wrote,
        tombstones_max: usize,
        ledger: &mut Ledger,
    ) -> Result<(), Failure> {
        let Wrote { topic, replica, entry, floor } = wrote;
        let written = self.maps.entry((*topic, replica.clone())).or_default();
        let last = written.writes.last_key_value().map_or(0, |(last, _)| *last);
        ledger.hold(Id::RP12, machine, entry.sequence == last + 1, || {
            let (sequence, key) = (entry.sequence, &entry.key);
            format!("{topic:?} of {replica} gives sequence {sequence} to `{key}` after {last}")
        })?;
        written.floor_rose(*floor);
        written.write(entry.sequence, &entry.key, entry.value.as_ref());
        written.keep_bound(tombstones_max);
        Ok(())
    }

    /// The owner's floor is there.
    pub(super) fn floor_rose(&mut self, id: &MapId, floor: u64) {
        if let Some(written) = self.maps.get_mut(id) {
            written.floor_rose(floor);
        }
    }
}

impl Written {
    fn floor_rose(&mut self, floor: u64) {
        self.tombstones = self.tombstones.split_off(&(floor + 1));
    }

    fn write(&mut self, sequence: u64, key: &Key, value: Option<&Blob>) {
        let former = self.newest.get(key).copied();
        if let Some((sequence, since)) = former {
            self.current.remove(&sequence);
            self.live -= usize::from(since.is_some());
            self.tombstones.remove(&sequence);
        }
        if value.is_none() {
            self.tombstones.insert(sequence);
        }
        let alive = former.and_then(|(_, since)| since);
        let since = value.is_some().then(|| alive.unwrap_or(sequence));
        self.live += usize::from(since.is_some());
        self.newest.insert(key.clone(), (sequence, since));
        self.current.insert(sequence, key.clone());
        self.writes.insert(sequence, (key.clone(), value.cloned()));
    }

    /// The rule of the bound: with too many deletions the floor rises to the one in the middle.
    fn keep_bound(&mut self, tombstones_max: usize) {
        if self.tombstones.len() <= tombstones_max {
            return;
        }
        let median = self.tombstones.iter().nth(self.tombstones.len() / 2).copied();
        self.floor_by_bound = self.floor_by_bound.max(median.unwrap_or_default());
        self.tombstones = self.tombstones.split_off(&(self.floor_by_bound + 1));
    }

    /// In what way an owner's map is not what was written, as far as it is news above `from`.
    pub(super) fn difference(&self, held: &Held<'_>, from: u64) -> Option<String> {
        let head = self.writes.last_key_value().map_or(0, |(last, _)| *last);
        if held.progress.head != head || held.sizes().0 != self.live {
            let (live, sizes) = (self.live, held.sizes());
            return Some(format!("{live} keys live at {head}, it shows {sizes:?}"));
        }
        let differs = held.entries(from).find(|entry| {
            let written = self.writes.get(&entry.sequence);
            written.is_none_or(|(key, value)| key != entry.key || value.as_ref() != entry.value)
        });
        differs.map(|entry| format!("`{}` of {} was never written", entry.key, entry.sequence))
    }
}

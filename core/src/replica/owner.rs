//! One map of our own: every write takes the next sequence.
//!
//! The floor says which tombstones may be gone. It rises to what every member has acknowledged
//! (*stable*), or to the median tombstone when there are too many (*bound*); neither can resurrect
//! anything, because whoever is behind a floor is swept (`copy.rs`).
//!
//! Invariants:
//! - RP-2: `floor ≤ head`; neither falls.
//! - RP-7: a stable floor is acknowledged by every member.
//! - RP-12: no sequence is given twice.
//! - RP-13: at most `tombstones_max` tombstones are held.
//!
//! Absent on purpose: storage. A new incarnation mints its maps anew.

use std::collections::BTreeMap;
use std::time::Duration;

use super::entries::{Entries, marker};
use crate::ids::{Incarnation, NodeId, Replica};
use crate::time::Instant;
use crate::wire::Blob;
use crate::wire::segment::{Entry, Key, Progress};

/// The map of one topic that this life of this node writes.
#[derive(Debug, Clone, Default)]
pub(super) struct Owner {
    entries: Entries,
    head: u64,
    floor: u64,
    acknowledged: BTreeMap<NodeId, (Incarnation, u64)>,
    raised_at: Option<Instant>,
    /// Every write since the simulator last asked, and where the floor was before it.
    #[cfg(feature = "simulation")]
    pub(super) log: Vec<(Entry, u64)>,
}

impl Owner {
    /// Writes or deletes `key`; `false` when there was nothing to delete.
    pub(super) fn write(&mut self, key: Key, value: Option<Blob>) -> bool {
        if value.is_none() && self.entries.value(&key).is_none() {
            return false;
        }
        self.head += 1;
        let entry = Entry { sequence: self.head, key, value };
        #[cfg(feature = "simulation")]
        self.log.push((entry.clone(), self.floor));
        self.entries.put(entry);
        true
    }

    /// Says that everything this life owns has been written; `false` if it was said before.
    pub(super) fn ready(&mut self) -> bool {
        !self.is_ready() && self.write(marker(), Some(Blob::default()))
    }

    /// Whether the marker was written.
    pub(super) fn is_ready(&self) -> bool {
        self.entries.value("").is_some()
    }

    /// The same live entries, minted in key order by a new life; `ready` again if it was.
    pub(super) fn mint(&self) -> Owner {
        let mut minted = Owner::default();
        for (key, value) in self.entries.visible() {
            minted.write(key.clone(), Some(value.clone()));
        }
        if self.is_ready() {
            sometimes!("replica.minted_anew");
            minted.ready();
        }
        minted
    }

    /// `peer` is complete through `complete`. The last word counts: a peer in a sweep fell back.
    pub(super) fn acknowledge(&mut self, peer: NodeId, incarnation: Incarnation, complete: u64) {
        assert!(complete <= self.head, "RP-2: {peer} acknowledged {complete} of {}", self.head);
        self.acknowledged.insert(peer, (incarnation, complete));
    }

    /// `peer` is not asked any more.
    pub(super) fn forget(&mut self, peer: &NodeId) {
        self.acknowledged.remove(peer);
    }

    /// What `peer` has acknowledged in this life of its.
    pub(super) fn acknowledged(&self, peer: &NodeId, incarnation: Incarnation) -> u64 {
        let known = self.acknowledged.get(peer).filter(|(life, _)| *life == incarnation);
        known.map_or(0, |(_, complete)| *complete)
    }

    /// Whether exactly that was the last word of `peer`.
    pub(super) fn is_acknowledged(&self, peer: &Replica, complete: u64) -> bool {
        self.acknowledged.get(&peer.node) == Some(&(peer.incarnation, complete))
    }

    /// The floor that all of `members` have acknowledged, if a tombstone would go.
    pub(super) fn stable<'a>(
        &self,
        members: impl Iterator<Item = (&'a NodeId, Incarnation)>,
    ) -> Option<u64> {
        let first = self.entries.first_tombstone()?;
        let mut least = self.head;
        if canary!("replica.floor_waits_for_nobody") {
            return Some(least);
        }
        for (peer, incarnation) in members {
            least = least.min(self.acknowledged(peer, incarnation));
            if least < first {
                return None;
            }
        }
        Some(least)
    }

    /// When the floor may rise next.
    pub(super) fn rises_from(&self) -> Instant {
        self.raised_at.map_or(Instant::ZERO, |at| at + FLOOR_PACE)
    }

    /// The floor might rise now, and waits for the next time.
    pub(super) fn put_off(&mut self, now: Instant) {
        self.raised_at = Some(now);
    }

    /// Raises the floor to what all members acknowledged.
    pub(super) fn raise_stable(&mut self, now: Instant, floor: u64) {
        sometimes!("replica.floor_stable");
        self.raised_at = Some(now);
        self.raise(floor);
    }

    /// Raises the floor if more than `tombstones_max` tombstones are held; whether it did.
    pub(super) fn raise_bound(&mut self, tombstones_max: usize) -> bool {
        let full = self.entries.tombstones() > tombstones_max;
        let median = full.then(|| self.entries.median_tombstone()).flatten();
        sometimes!("replica.floor_bound", median.is_some());
        median.map(|floor| self.raise(floor)).is_some()
    }

    fn raise(&mut self, floor: u64) {
        self.floor = self.floor.max(floor);
        self.entries.drop_tombstones(self.floor);
        assert!(self.floor <= self.head, "RP-2: floor {} above head {}", self.floor, self.head);
    }

    /// What we hold, which is everything.
    pub(super) fn progress(&self) -> Progress {
        Progress { complete: self.head, head: self.head, floor: self.floor }
    }

    /// What stands in it.
    pub(super) fn entries(&self) -> &Entries {
        &self.entries
    }

    /// What is always true.
    pub(super) fn check(&self, tombstones_max: usize) -> Result<(), String> {
        self.entries.check()?;
        if self.floor > self.head || self.entries.last() > self.head {
            return Err(format!("RP-2: floor {} or an entry above head {}", self.floor, self.head));
        }
        if self.entries.tombstones() > tombstones_max {
            return Err(format!("RP-13: {} tombstones", self.entries.tombstones()));
        }
        if self.entries.first_tombstone().is_some_and(|first| first <= self.floor) {
            return Err(format!("RP-13: a tombstone at or below floor {}", self.floor));
        }
        Ok(())
    }
}

// The reason: every rise is news for all; a busy map would tell little else.
const FLOOR_PACE: Duration = Duration::from_secs(1);

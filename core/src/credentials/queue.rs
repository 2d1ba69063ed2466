//! Credentials that somebody says have changed, each once, in the order in which that was first said.
//!
//! An entry is a name: what is there is looked at when its turn comes, so a hint that repeats, comes late or
//! is wrong costs one look. A full queue refuses new names and owes a look at everything instead: nothing
//! blocks, nothing passes it by.
//!
//! Absent on purpose: content, and the highest revision that was hinted: a folder has none to hint.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::key::Key;
use crate::limits;
use crate::machine::{Count, Labels};
use crate::time::Instant;

/// Who says that something changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Source {
    /// The watcher of the folder.
    Watch,
    /// A look at everything, and the looks that make sure of an absence.
    Rescan,
}

/// What became of an offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offered {
    /// It waits now.
    Queued,
    /// It waited already.
    Coalesced,
    /// There was no room: everything is looked at later.
    Overflowed,
}

/// The queue. See the module.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: BTreeMap<Key, Instant>,
    order: VecDeque<Key>,
    rescan_owed: bool,
    depth_max: usize,
    pub(super) counters: Counters,
}

/// Numbers that only rise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counters {
    /// Offers that were queued, by [`Source`].
    pub enqueued: [u64; 2],
    /// Offers of what waited already.
    pub coalesced: u64,
    /// Offers to a full queue.
    pub overflowed: u64,
    /// Looks that changed what is in use.
    pub applied: u64,
    /// Looks that the store did not answer.
    pub failed: u64,
    /// Looks that found nothing new.
    pub stale: u64,
    /// Entries that were not looked at because the node ended.
    pub dropped: u64,
}

impl Queue {
    /// Offers `key`, which `source` says has changed.
    pub(super) fn offer(&mut self, now: Instant, key: &Key, source: Source) -> Offered {
        if self.waiting.contains_key(key) {
            self.counters.coalesced += 1;
            return Offered::Coalesced;
        }
        if self.order.len() >= limits::AUTH_UPDATES_MAX {
            self.counters.overflowed += 1;
            self.rescan_owed = true;
            return Offered::Overflowed;
        }
        self.waiting.insert(key.clone(), now);
        self.order.push_back(key.clone());
        let [watch, rescan] = &mut self.counters.enqueued;
        match source {
            Source::Watch => *watch += 1,
            Source::Rescan => *rescan += 1,
        }
        self.depth_max = self.depth_max.max(self.order.len());
        self.assert_invariants();
        Offered::Queued
    }

    /// Takes whatever is first, at most `count`.
    pub(super) fn take(&mut self, count: usize) -> Vec<Key> {
        let count = count.min(self.order.len());
        let taken: Vec<Key> = self.order.drain(..count).collect();
        for key in &taken {
            self.waiting.remove(key);
        }
        self.assert_invariants();
        taken
    }

    /// How many wait.
    pub(super) fn depth(&self) -> usize {
        self.order.len()
    }

    /// How many ever waited at once.
    pub(super) fn depth_max(&self) -> usize {
        self.depth_max
    }

    /// How many more fit.
    pub(super) fn room(&self) -> usize {
        limits::AUTH_UPDATES_MAX.saturating_sub(self.order.len())
    }

    /// Since when the first one waits.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.waiting.get(self.order.front()?).copied()
    }

    /// Whether everything must be looked at, because an offer found no room.
    pub(super) fn owes_rescan(&self) -> bool {
        self.rescan_owed
    }

    /// Whether the owed look may begin; then it is owed no more.
    pub(super) fn take_rescan(&mut self) -> bool {
        let ready = self.rescan_owed && self.order.len() <= limits::AUTH_UPDATES_RESUME;
        self.rescan_owed &= !ready;
        ready
    }

    pub(super) fn counts(&self, now: Instant, visit: &mut dyn FnMut(Count)) {
        let mut show = |name, labels, value| visit(Count { name, labels, value });
        let counters = &self.counters;
        let [watch, rescan] = counters.enqueued;
        let age = self.oldest().map_or(0, |since| now.since(since).as_secs());
        show("auth_updates_depth", Labels::None, self.order.len() as u64);
        show("auth_updates_capacity", Labels::None, limits::AUTH_UPDATES_MAX as u64);
        show("auth_updates_depth_max", Labels::None, self.depth_max as u64);
        show("auth_updates_oldest_age_seconds", Labels::None, age);
        show("auth_updates_enqueued_total", Labels::One("source", "watch"), watch);
        show("auth_updates_enqueued_total", Labels::One("source", "rescan"), rescan);
        show("auth_updates_coalesced_total", Labels::None, counters.coalesced);
        show("auth_updates_overflowed_total", Labels::None, counters.overflowed);
        show("auth_updates_applied_total", Labels::None, counters.applied);
        show("auth_updates_failed_total", Labels::None, counters.failed);
        show("auth_updates_stale_total", Labels::None, counters.stale);
        show("auth_updates_dropped_total", Labels::None, counters.dropped);
    }

    /// K5, and a key waits once.
    fn assert_invariants(&self) {
        assert!(self.order.len() <= limits::AUTH_UPDATES_MAX, "K5: {} wait", self.order.len());
        assert!(self.order.len() == self.waiting.len(), "K5: a key waits twice, or never");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: usize) -> Key {
        Key::of_default(&format!("k{number}")).expect("an id")
    }

    #[test]
    fn a_full_queue_refuses_new_names_and_owes_a_look_at_everything() {
        let (mut queue, now) = (Queue::default(), Instant::from_millis(1));
        for number in 0..limits::AUTH_UPDATES_MAX {
            assert_eq!(queue.offer(now, &key(number), Source::Watch), Offered::Queued);
        }
        assert_eq!(queue.offer(now, &key(3), Source::Rescan), Offered::Coalesced);
        assert_eq!(queue.offer(now, &key(999), Source::Watch), Offered::Overflowed);
        assert!(queue.owes_rescan() && !queue.take_rescan(), "too many wait for it");
        assert_eq!(queue.take(64).first(), Some(&key(0)));
        assert!(!queue.take_rescan());
        assert_eq!(queue.take(64).len(), 64);
        assert!(queue.take_rescan() && !queue.take_rescan(), "owed once");
        assert_eq!((queue.depth(), queue.depth_max(), queue.room()), (128, 256, 128));
        assert_eq!((queue.counters.coalesced, queue.counters.overflowed), (1, 1));
        assert_eq!(queue.offer(now, &key(0), Source::Watch), Offered::Queued, "it waits no more");
    }

    proptest::proptest! {
        /// Against the model: a list without repeats.
        #[test]
        fn names_leave_in_the_order_in_which_they_first_came(steps in proptest::collection::vec(0usize..400, 0..900)) {
            let (mut queue, mut model) = (Queue::default(), Vec::<Key>::new());
            for step in steps {
                if step >= 380 {
                    let taken = queue.take(step - 379);
                    let expected: Vec<Key> = model.drain(..model.len().min(step - 379)).collect();
                    proptest::prop_assert_eq!(taken, expected);
                    continue;
                }
                let offered = queue.offer(Instant::ZERO, &key(step), Source::Watch);
                let waits = model.contains(&key(step));
                let expected = match (waits, model.len() < limits::AUTH_UPDATES_MAX) {
                    (true, _) => Offered::Coalesced,
                    (false, true) => Offered::Queued,
                    (false, false) => Offered::Overflowed,
                };
                proptest::prop_assert_eq!(offered, expected);
                if offered == Offered::Queued {
                    model.push(key(step));
                }
            }
        }
    }
}

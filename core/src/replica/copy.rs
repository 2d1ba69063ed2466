//! One map of somebody else, as far as we were told: the receiver's table of segments.
//!
//! A copy is told intervals of the owner's order, whole and in turn. What an interval does not name any
//! more becomes *doubtful*: it stays visible until the stream has caught up with everything that the
//! owner was known to have written by then. A floor above what we are complete through starts a
//! *sweep*: the stream begins again at 0 and every entry is verified, without being missing meanwhile.
//!
//! | row | condition | step |
//! | --- | --- | --- |
//! | 3 | the floor is above `complete` and above the sweep | a sweep begins; continue |
//! | 4 | sweeping, and the server knows less than the sweep demands | [`Step::Weak`] |
//! | 5 | the segment begins beyond `complete` | [`Step::Gap`] |
//! | 6 | it ends at or below `complete` | [`Step::Known`] |
//! | 7, 8 | otherwise | [`Step::Advanced`] |
//!
//! Rows 1 and 2 stand before the copy: `admission.rs` and `life.rs`.
//!
//! Invariants:
//! - RP-1: what is held and not doubtful was the owner's newest at `complete`.
//! - RP-2: `complete ≤ head`; `floor`, `seen` and `head` never fall; `complete` falls only by a sweep.
//! - RP-3: what was seen deleted never returns. RP-4: what lives throughout never vanishes.
//! - RP-13: at most `tombstones_max` tombstones, but for those a sweep has yet to pass.

use super::entries::{Change, Entries};
use crate::ids::Replica;
use crate::wire::segment::{Progress, Segment};

/// What is known of one foreign map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Copy {
    replica: Replica,
    entries: Entries,
    complete: u64,
    seen: u64,
    head: u64,
    floor: u64,
    sweep: Option<u64>,
}

/// What a copy may hold beside the owner's live entries.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Deletions.
    pub(super) tombstones_max: usize,
    /// Entries in doubt. One sweep needs no more than an owner may have live entries; an owner that
    /// replaces all its keys between many sweeps would otherwise fill our memory.
    pub(super) doubtful_max: usize,
}

/// What a segment did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Merge {
    /// A sweep began.
    pub(super) sweep: Option<Sweep>,
    /// The row that ended it.
    pub(super) step: Step,
    /// What changed in sight, if it is this copy that is looked at.
    pub(super) changes: Vec<Change>,
}

/// Why a sweep began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Sweep {
    /// Nothing was held yet: the floor rose before we came.
    Stable,
    /// The owner did not wait for us.
    Bound,
    /// A still higher floor overtook a sweep.
    Restart,
}

/// The row of the table that ended a merge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Row 4: the server cannot vouch for what our sweep asks.
    Weak,
    /// Row 5: something between is missing.
    Gap,
    /// Row 6: nothing new.
    Known,
    /// Row 8: complete through more than `from`.
    Advanced { from: u64 },
}

impl Copy {
    /// Nothing is known of `replica` yet.
    pub(super) fn new(replica: Replica) -> Copy {
        let entries = Entries::default();
        Copy { replica, entries, complete: 0, seen: 0, head: 0, floor: 0, sweep: None }
    }

    /// Takes in a segment of this map that passed admission. §2, rows 3 to 8.
    pub(super) fn merge(&mut self, segment: &Segment, bounds: Bounds) -> Merge {
        self.head = self.head.max(segment.head);
        let sweep = self.begin_sweep(segment.floor);
        let mut changes = Vec::new();
        let step = self.step(segment);
        match step {
            Step::Weak | Step::Gap => {}
            Step::Known => self.learn_floor(segment.floor),
            Step::Advanced { .. } => self.apply(segment, &mut changes),
        }
        changes.extend(self.entries.drop_doubtful(bounds.doubtful_max));
        self.bound(bounds.tombstones_max);
        self.assert_invariants();
        Merge { sweep, step, changes }
    }

    /// Row 3.
    fn begin_sweep(&mut self, floor: u64) -> Option<Sweep> {
        if floor <= self.complete || Some(floor) <= self.sweep {
            return None;
        }
        let cause = match self.sweep {
            Some(_) => Sweep::Restart,
            None if self.seen == 0 => Sweep::Stable,
            None => Sweep::Bound,
        };
        self.sweep = Some(floor);
        self.complete = 0;
        Some(cause)
    }

    /// Rows 4 to 7.
    fn step(&self, segment: &Segment) -> Step {
        let demanded = self.sweep.unwrap_or(0);
        if segment.floor < demanded && segment.through < demanded {
            Step::Weak
        } else if segment.from > self.complete {
            Step::Gap
        } else if segment.upto <= self.complete {
            Step::Known
        } else {
            Step::Advanced { from: self.complete }
        }
    }

    /// Rows 7 and 8.
    fn apply(&mut self, segment: &Segment, changes: &mut Vec<Change>) {
        self.take_in(segment, changes);
        self.doubt_unnamed(segment);
        self.complete = segment.upto;
        self.seen = self.seen.max(self.complete);
        self.learn_floor(segment.floor);
        if let Some(sweep) = self.sweep.filter(|sweep| *sweep <= self.complete) {
            self.learn_floor(sweep);
            sometimes!("replica.sweep_done");
            self.sweep = None;
        }
        // The goal is whatever we ever heard of, not what this server knows: an earlier one may have kept
        // silent about a key because of a write that this one has not heard of.
        if self.complete >= self.head {
            sometimes!("replica.doubt_ends", self.entries.doubtful() > 0);
            changes.extend(self.entries.drop_doubtful(0));
        }
    }

    /// Row 7, rules (b) to (d). Nothing held lies beyond `seen`, so (c) is a case of (b).
    fn take_in(&mut self, segment: &Segment, changes: &mut Vec<Change>) {
        let first = segment.entries.partition_point(|entry| entry.sequence <= self.complete);
        for entry in segment.entries.iter().skip(first) {
            if self.entries.holds(entry) {
                sometimes!("replica.held_already");
                self.entries.believe(entry.sequence);
                continue;
            }
            // No mark: an honest server names nothing that we saw superseded, since row 4 keeps out whoever
            // knows less than our sweep demands, and that is more than we have seen.
            if entry.sequence > self.seen {
                changes.extend(self.entries.put(entry.clone()));
            }
        }
    }

    /// Row 7, rule (a): what the interval held and the segment does not name just so. A key that is named
    /// at another place is no exception: where (b) ignored that, a still newer write is on its way.
    fn doubt_unnamed(&mut self, segment: &Segment) {
        let named = |place| segment.entries.binary_search_by_key(&place, |e| e.sequence).is_ok();
        let held = self.entries.places(self.complete, segment.upto).map(|(place, _)| place);
        let unnamed: Vec<u64> = held.filter(|place| !named(*place)).collect();
        for place in unnamed {
            if canary!("replica.doubts_nothing") {
                break;
            }
            sometimes!("replica.doubted");
            self.entries.doubt(place);
        }
    }

    /// The owner, or whoever serves, may have dropped tombstones up to `floor`; so may we, as far as we
    /// have been told everything.
    pub(super) fn learn_floor(&mut self, floor: u64) {
        if floor <= self.complete && floor > self.floor {
            self.floor = floor;
            self.entries.drop_tombstones(floor);
        }
    }

    /// An owner with more patience than we have room: our own floor rises. Whoever learns from us is
    /// swept where it must be.
    fn bound(&mut self, tombstones_max: usize) {
        // Each turn halves them, where we may drop them at all.
        while self.entries.tombstones() > tombstones_max {
            let median = self.entries.median_tombstone().unwrap_or(0);
            if median > self.complete {
                return;
            }
            sometimes!("replica.tombstones_halved");
            self.learn_floor(median);
        }
    }

    /// Whose it is.
    pub(super) fn replica(&self) -> &Replica {
        &self.replica
    }

    /// The highest `complete` ever.
    pub(super) fn seen(&self) -> u64 {
        self.seen
    }

    /// Whether a sweep is under way.
    pub(super) fn is_sweeping(&self) -> bool {
        self.sweep.is_some()
    }

    /// Whether the owner has said that everything of it is here, and all of it is.
    pub(super) fn is_ready(&self) -> bool {
        self.entries.value("").is_some() && self.is_level()
    }

    /// Whether everything we ever heard of is told and certain.
    pub(super) fn is_level(&self) -> bool {
        self.complete == self.head && self.entries.doubtful() == 0
    }

    /// What it holds, as segments tell it.
    pub(super) fn progress(&self) -> Progress {
        let floor = self.floor.max(self.sweep.unwrap_or(0));
        Progress { complete: self.complete, head: self.head, floor }
    }

    /// What stands in it.
    pub(super) fn entries(&self) -> &Entries {
        &self.entries
    }

    fn assert_invariants(&self) {
        assert!(self.complete <= self.head, "RP-2: complete beyond head in {}", self.replica);
        assert!(self.floor <= self.seen, "RP-2: a floor beyond what was told in {}", self.replica);
        let swept = self.sweep.is_none_or(|sweep| self.complete < sweep);
        assert!(swept, "RP-2: a sweep that ended is still demanded in {}", self.replica);
    }

    /// What is always true.
    pub(super) fn check(&self, tombstones_max: usize) -> Result<(), String> {
        self.entries.check()?;
        if self.entries.last() > self.seen || self.seen > self.head {
            return Err(format!("RP-1: {} holds more than it was told", self.replica));
        }
        if self.entries.doubtful() > 0 && self.complete == self.head {
            return Err(format!("RP-1: {} doubts though it heard all", self.replica));
        }
        if self.sweep.is_none() && self.entries.tombstones() > tombstones_max {
            return Err(format!("RP-13: {} tombstones", self.entries.tombstones()));
        }
        Ok(())
    }
}

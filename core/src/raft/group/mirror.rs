//! The log as the engine reads it: in memory, while the durable copy is an effect.
//!
//! The engine reads synchronously, a store does not: so everything behind the last snapshot is held here
//! as well. What stands here may not be durable yet; the group knows what is.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};

use raft::eraftpb::{Entry, HardState, Snapshot};
use raft::{GetEntriesContext, RaftState, Storage, StorageError};

use super::convert;
use super::{Configuration, Hard, Point};

/// What a snapshot is of, without its state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::raft) struct ImageHead {
    pub(in crate::raft) point: Point,
    /// Which of several of one point.
    pub(in crate::raft) number: u64,
    pub(in crate::raft) configuration: Configuration,
}

/// The log in memory.
pub(super) struct Mirror {
    /// What stands before the first entry.
    point: Point,
    entries: VecDeque<Entry>,
    hard: Hard,
    configuration: Configuration,
    image: Option<ImageHead>,
    /// Whether somebody needs a snapshot that names it. Set through a shared reference, which is all that
    /// the engine gives.
    wants_image: AtomicBool,
}

impl Mirror {
    pub(super) fn new(
        point: Point,
        configuration: Configuration,
        hard: Hard,
        entries: Vec<crate::wire::raft::Entry>,
        image: Option<ImageHead>,
    ) -> Mirror {
        let entries = entries.into_iter().map(convert::entry_in).collect();
        let wants_image = AtomicBool::new(false);
        Mirror { point, entries, hard, configuration, image, wants_image }
    }

    pub(super) fn point(&self) -> Point {
        self.point
    }

    pub(super) fn hard(&self) -> Hard {
        self.hard
    }

    pub(super) fn set_hard(&mut self, hard: Hard) {
        self.hard = hard;
    }

    pub(super) fn last(&self) -> u64 {
        self.point.index + self.entries.len() as u64
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Appends, over whatever stood there; tells what was cut off behind the new end.
    pub(super) fn append(&mut self, entries: &[Entry]) -> std::ops::Range<u64> {
        let old_last = self.last();
        let Some(first) = entries.first() else { return old_last + 1..old_last + 1 };
        assert!(
            self.point.index < first.index && first.index <= old_last + 1,
            "RF-2: an entry at {} would leave a hole behind {old_last}",
            first.index
        );
        let kept = usize::try_from(first.index - self.point.index - 1);
        self.entries.truncate(kept.expect("the log fits into memory"));
        self.entries.extend(entries.iter().cloned());
        let last = self.last();
        last + 1..old_last.max(last) + 1
    }

    /// The log begins anew behind `head`.
    pub(super) fn install(&mut self, head: ImageHead) {
        self.entries.clear();
        self.point = head.point;
        self.configuration = head.configuration.clone();
        self.image = Some(head);
    }

    /// Forgets the entries through `index`; tells which.
    pub(super) fn compact(&mut self, index: u64) -> std::ops::Range<u64> {
        let first = self.point.index + 1;
        while self.point.index < index
            && let Some(entry) = self.entries.pop_front()
        {
            self.point = Point { index: entry.index, term: entry.term };
        }
        first..self.point.index + 1
    }

    pub(super) fn set_image(&mut self, head: ImageHead) {
        self.image = Some(head);
    }

    pub(super) fn image(&self) -> Option<&ImageHead> {
        self.image.as_ref()
    }

    /// Whether the engine asked for a snapshot that there is not, since this was last asked.
    pub(super) fn take_wants_image(&self) -> bool {
        self.wants_image.swap(false, Ordering::Relaxed)
    }

    pub(super) fn get(&self, index: u64) -> Option<&Entry> {
        let position = index.checked_sub(self.point.index + 1)?;
        self.entries.get(usize::try_from(position).ok()?)
    }
}

impl Storage for Mirror {
    fn initial_state(&self) -> raft::Result<RaftState> {
        let Hard { term, vote, commit } = self.hard;
        let hard = HardState { term, vote, commit };
        Ok(RaftState::new(hard, convert::configuration_out(&self.configuration)))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _context: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        if low <= self.point.index {
            return Err(raft::Error::Store(StorageError::Compacted));
        }
        let limit = max_size.into().unwrap_or(u64::MAX);
        let (mut taken, mut bytes) = (Vec::new(), 0_u64);
        for entry in (low..high).map_while(|index| self.get(index)) {
            bytes += (entry.data.len() + entry.context.len()) as u64;
            if bytes > limit && !taken.is_empty() {
                break;
            }
            taken.push(entry.clone());
        }
        Ok(taken)
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        if index == self.point.index {
            return Ok(self.point.term);
        }
        if index < self.point.index {
            return Err(raft::Error::Store(StorageError::Compacted));
        }
        let entry = self.get(index).ok_or(raft::Error::Store(StorageError::Unavailable))?;
        Ok(entry.term)
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.point.index + 1)
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.last())
    }

    /// Rule 5: a receiver ignores in silence a snapshot whose configuration lacks it. So it gets one that
    /// names it, or none yet.
    fn snapshot(&self, request_index: u64, to: u64) -> raft::Result<Snapshot> {
        let image = self.image.as_ref().filter(|image| {
            image.point.index >= request_index.max(self.point.index)
                && image.configuration.contains(crate::ids::MemberId(to))
        });
        let Some(image) = image else {
            self.wants_image.store(true, Ordering::Relaxed);
            return Err(raft::Error::Store(StorageError::SnapshotTemporarilyUnavailable));
        };
        Ok(convert::head_out(image))
    }
}

//! What the simulator looks at: every map held, entry by entry, doubt included.
//!
//! Absent on purpose: judgement. What was written, and by whom, the simulator knows by itself.

use super::Maps;
use super::copy::Copy;
use super::entries::Entries;
use crate::ids::Replica;
use crate::wire::Blob;
use crate::wire::segment::{Key, Progress, Topic};

/// One map as it is held.
#[derive(Debug, Clone, Copy)]
pub struct Held<'a> {
    /// Of what.
    pub topic: Topic,
    /// Whose.
    pub replica: &'a Replica,
    /// How far it is known.
    pub progress: Progress,
    /// Whether its stream began anew under a floor.
    pub sweeping: bool,
    /// Whether it is the one that domains see of its node.
    pub shown: bool,
    entries: &'a Entries,
}

/// One entry as it is held.
#[derive(Debug, Clone, Copy)]
pub struct HeldEntry<'a> {
    /// Its place in the owner's order.
    pub sequence: u64,
    /// What was written.
    pub key: &'a Key,
    /// `None` for a tombstone.
    pub value: Option<&'a Blob>,
    /// Whether it may be gone.
    pub doubtful: bool,
}

impl<'a> Held<'a> {
    /// How many values and tombstones are held, and how many of the values are in doubt.
    pub fn sizes(&self) -> (usize, usize, usize) {
        (self.entries.live(), self.entries.tombstones(), self.entries.doubtful())
    }

    /// All entries above `from`, ascending.
    pub fn entries(&self, from: u64) -> impl Iterator<Item = HeldEntry<'a>> {
        self.entries.held(from)
    }
}

impl Maps {
    /// Inputs taken so far: while there is no other, nothing can have moved.
    pub fn handled(&self) -> u64 {
        self.handled
    }

    /// Every map held, by topic: our own first, then by node and life.
    pub fn held(&self) -> impl Iterator<Item = Held<'_>> {
        self.rooms.iter().flat_map(move |(topic, room)| {
            let own = Held {
                topic: *topic,
                replica: &self.local,
                progress: room.own.progress(),
                sweeping: false,
                shown: true,
                entries: room.own.entries(),
            };
            let copies = room.views.values().flat_map(|view| {
                let next = view.next.as_ref().map(|(copy, _)| (copy, false));
                std::iter::once((&view.shown, true)).chain(next)
            });
            let topic = *topic;
            std::iter::once(own).chain(copies.map(move |(copy, shown)| copy.held(topic, shown)))
        })
    }
}

impl Copy {
    fn held(&self, topic: Topic, shown: bool) -> Held<'_> {
        Held {
            topic,
            replica: self.replica(),
            progress: self.progress(),
            sweeping: self.is_sweeping(),
            shown,
            entries: self.entries(),
        }
    }
}

//! What the simulator looks at: every map held, entry by entry, doubt included.
//!
//! [`Touched`] tells which maps a turn could have moved, so that looking costs what happened and not what
//! is held. It follows from the inputs alone: a machine that moves another map than its input names is
//! found by the full look that the simulator takes now and then. Its writes are every write of our own, in
//! order, noted where the sequence is given: a life that is raised away within its turn, and a tombstone that
//! is dropped within it, have left no other trace by the time anybody looks.
//!
//! Absent on purpose: judgement. What was written, and by whom, the simulator knows by itself.

use std::collections::BTreeSet;

use super::copy::Copy;
use super::entries::Entries;
use super::life::View;
use super::{Input, Maps, Room};
use crate::ids::{NodeId, Notice, Replica};
use crate::wire::Blob;
use crate::wire::segment::{Entry, Key, Progress, Topic};

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

/// Whose maps the inputs since the last question could have moved, and what they wrote to our own.
#[derive(Debug, Clone, Default)]
pub struct Touched {
    /// The foreign maps named.
    pub maps: BTreeSet<(NodeId, Topic)>,
    /// An input named nobody: every map may have moved.
    pub all: bool,
    /// An input spoke of more than foreign maps: our own may have moved.
    pub own: bool,
    /// What was written to our own maps.
    pub writes: Vec<Wrote>,
}

/// A write of our own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrote {
    /// To the map of what.
    pub topic: Topic,
    /// In which life.
    pub replica: Replica,
    /// What, under which sequence.
    pub entry: Entry,
    /// Where the floor was: it may have risen in the same turn, before or after.
    pub floor: u64,
}

impl Touched {
    pub(super) fn note(&mut self, input: &Input) {
        // What others say of their maps moves none of ours.
        let foreign =
            matches!(input, Input::Segment { .. } | Input::Floor { .. } | Input::Shown { .. });
        self.own |= !foreign;
        let node = match input {
            Input::Segment { segment, .. } => {
                return self.name(&segment.replica.node, segment.topic);
            }
            Input::Floor { owner, topic, .. } => return self.name(&owner.node, *topic),
            Input::Notice(Notice::Suspect { .. } | Notice::Refuted { .. })
            | Input::Write { .. }
            | Input::Ready { .. }
            | Input::Acknowledged { .. }
            | Input::Shown { .. } => return,
            Input::Notice(
                Notice::Up { replica, .. }
                | Notice::Departed { replica, .. }
                | Notice::Renamed { new: replica, .. },
            ) => &replica.node,
            Input::Notice(Notice::Forgotten { node, .. }) => node,
            Input::Raised { .. } | Input::Slept | Input::Tick => {
                self.all = true;
                return;
            }
        };
        Topic::ALL.into_iter().for_each(|topic| self.name(node, topic));
    }

    fn name(&mut self, node: &NodeId, topic: Topic) {
        self.maps.insert((node.clone(), topic));
    }
}

impl Maps {
    /// Every map held, by topic: our own first, then by node and life.
    pub fn held(&self) -> impl Iterator<Item = Held<'_>> {
        self.rooms.values().flat_map(|room| {
            let topic = room.registration.topic;
            let copies = room.views.values().flat_map(View::copies);
            std::iter::once(room.held(&self.local))
                .chain(copies.map(move |(copy, shown)| copy.held(topic, shown)))
        })
    }

    /// Our own maps, by topic.
    pub fn held_own(&self) -> impl Iterator<Item = Held<'_>> {
        self.rooms.values().map(|room| room.held(&self.local))
    }

    /// The maps of a foreign node in one topic, by life.
    pub fn held_in(&self, topic: Topic, node: &NodeId) -> impl Iterator<Item = Held<'_>> {
        let view = self.rooms.get(&topic).and_then(|room| room.views.get(node));
        let copies = view.into_iter().flat_map(View::copies);
        copies.map(move |(copy, shown)| copy.held(topic, shown))
    }

    /// The maps of a foreign node, by topic and life.
    pub fn held_of(&self, node: &NodeId) -> impl Iterator<Item = Held<'_>> {
        self.rooms.values().flat_map(move |room| {
            let topic = room.registration.topic;
            let copies = room.views.get(node).into_iter().flat_map(View::copies);
            copies.map(move |(copy, shown)| copy.held(topic, shown))
        })
    }

    /// Takes what was written by the input that ends.
    pub(super) fn note_writes(&mut self) {
        let replica = &self.local;
        for (topic, room) in &mut self.rooms {
            let writes = room.own.log.drain(..);
            self.touched.writes.extend(writes.map(|(entry, floor)| {
                let replica = replica.clone();
                Wrote { topic: *topic, replica, entry, floor }
            }));
        }
    }

    /// Whose maps may have moved since this was last asked.
    pub fn take_touched(&mut self) -> Touched {
        std::mem::take(&mut self.touched)
    }
}

impl Room {
    fn held<'a>(&'a self, local: &'a Replica) -> Held<'a> {
        Held {
            topic: self.registration.topic,
            replica: local,
            progress: self.own.progress(),
            sweeping: false,
            shown: true,
            entries: self.own.entries(),
        }
    }
}

impl View {
    /// The map in view, then the one that waits.
    fn copies(&self) -> impl Iterator<Item = (&Copy, bool)> {
        let next = self.next.as_ref().map(|(copy, _)| (copy, false));
        std::iter::once((&self.shown, true)).chain(next)
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

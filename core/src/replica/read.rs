//! What other machines and callers read from the maps.

use std::collections::BTreeSet;

use super::copy::Copy;
use super::life::{Known, View};
use super::{Counts, Maps, Room};
use crate::ids::{NodeId, Replica};
use crate::limits;
use crate::machine::{Count, Counted, Labels};
use crate::wire::Blob;
use crate::wire::segment::{Entry, Key, Progress, Segment, Topic};

/// One map as operators see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Of what.
    pub topic: Topic,
    /// Whose.
    pub replica: Replica,
    /// Whether its owner failed.
    pub orphaned: bool,
    /// Values held, the marker `ready` and doubtful ones included.
    pub live: usize,
    /// Deletions remembered.
    pub tombstones: usize,
    /// Values in doubt.
    pub doubtful: usize,
    /// How far it is known.
    pub progress: Progress,
}

impl Maps {
    /// Under which life this node writes.
    pub fn local(&self) -> &Replica {
        &self.local
    }

    /// What is held of a map; `None` if there is no such map here.
    pub fn progress(&self, topic: Topic, replica: &Replica) -> Option<Progress> {
        if *replica == self.local {
            return Some(self.rooms.get(&topic)?.own.progress());
        }
        self.copy(topic, replica).map(Copy::progress)
    }

    /// Through where we are complete of `peer`'s own maps, for a ping. A map in a sweep counts as 0.
    pub fn acknowledgements_for(&self, peer: &Replica) -> Vec<(Topic, u64)> {
        let copies = self.rooms.keys().filter_map(|topic| Some((*topic, self.copy(*topic, peer)?)));
        let complete = |copy: &Copy| if copy.is_sweeping() { 0 } else { copy.progress().complete };
        copies.map(|(topic, copy)| (topic, complete(copy))).collect()
    }

    /// The floors of our own maps, for a pong.
    pub fn floors(&self) -> Vec<(Topic, u64)> {
        self.rooms.iter().map(|(topic, room)| (*topic, room.own.progress().floor)).collect()
    }

    /// Whether an acknowledgement of our own map differs from what `peer` told last.
    pub fn is_acknowledgement_news(&self, topic: Topic, peer: &Replica, complete: u64) -> bool {
        self.rooms.get(&topic).is_some_and(|room| !room.own.is_acknowledged(peer, complete))
    }

    /// Whether the owner of a map that is held here tells a higher floor than is known of it.
    pub fn is_floor_news(&self, topic: Topic, owner: &Replica, floor: u64) -> bool {
        self.copy(topic, owner).is_some_and(|copy| copy.progress().floor < floor)
    }

    /// Whose map is in view for `node`.
    pub fn owner(&self, topic: Topic, node: &NodeId) -> Option<&Replica> {
        if *node == self.local.node {
            return Some(&self.local);
        }
        Some(self.rooms.get(&topic)?.views.get(node)?.shown.replica())
    }

    /// What is in view for `node`, by key; our own map included.
    pub fn visible(&self, topic: Topic, node: &NodeId) -> impl Iterator<Item = (&Key, &Blob)> {
        let room = self.rooms.get(&topic);
        let own = room.filter(|_| *node == self.local.node).map(|room| room.own.entries());
        let shown = || Some(room?.views.get(node)?.shown.entries());
        own.or_else(shown).into_iter().flat_map(|entries| entries.visible())
    }

    /// Every map held, by topic: our own first, then by node and life.
    pub fn maps(&self) -> impl Iterator<Item = Row> {
        self.rooms.values().flat_map(move |room| {
            let topic = room.registration.topic;
            let own = room.own.entries();
            let own = Row {
                topic,
                replica: self.local.clone(),
                orphaned: false,
                live: own.live(),
                tombstones: own.tombstones(),
                doubtful: 0,
                progress: room.own.progress(),
            };
            let copies = room.copies().map(move |copy| Row {
                topic,
                replica: copy.replica().clone(),
                orphaned: self.nodes.get(&copy.replica().node).is_some_and(|known| known.failed),
                live: copy.entries().live(),
                tombstones: copy.entries().tombstones(),
                doubtful: copy.entries().doubtful(),
                progress: copy.progress(),
            });
            std::iter::once(own).chain(copies)
        })
    }

    /// The longest segment of `(from, upto]`, as far as we are complete, whose encoding is at most
    /// `budget` bytes, cut by entry. `None` if not even its first entry fits, if the map is gone, or if
    /// we know nothing beyond `from`. An interval in which nothing survives gives a segment without
    /// entries. Costs what it gives.
    pub fn segment(
        &self,
        topic: Topic,
        replica: &Replica,
        from: u64,
        upto: u64,
        budget: usize,
    ) -> Option<Segment> {
        let room = self.rooms.get(&topic)?;
        let (progress, entries) = if *replica == self.local {
            (room.own.progress(), room.own.entries())
        } else {
            let copy = self.copy(topic, replica)?;
            (copy.progress(), copy.entries())
        };
        let upto = upto.min(progress.complete);
        let segment = Segment {
            topic,
            replica: replica.clone(),
            from,
            upto,
            floor: progress.floor,
            through: progress.complete,
            head: progress.head,
            entries: Vec::new().into(),
        };
        (from < upto).then(|| fill(segment, entries.certain(from, upto), budget)).flatten()
    }

    pub(super) fn copy(&self, topic: Topic, replica: &Replica) -> Option<&Copy> {
        let view = self.rooms.get(&topic)?.views.get(&replica.node)?;
        let next = view.next.as_ref().map(|(copy, _)| copy);
        std::iter::once(&view.shown).chain(next).find(|copy| copy.replica() == replica)
    }

    pub(super) fn copy_mut(&mut self, topic: Topic, replica: &Replica) -> Option<&mut Copy> {
        let view = self.rooms.get_mut(&topic)?.views.get_mut(&replica.node)?;
        let next = view.next.as_mut().map(|(copy, _)| copy);
        std::iter::once(&mut view.shown).chain(next).find(|copy| copy.replica() == replica)
    }

    /// What is always true of every map held: RP-1, RP-2, RP-5, RP-6 and RP-13, as far as one node can
    /// see them.
    pub fn check(&self) -> Result<(), String> {
        self.check_own()?;
        for room in self.rooms.values() {
            let waiting = room.views.values().filter(|view| view.next.is_some()).count();
            if waiting != room.waits.len() || room.views.len() != self.nodes.len() {
                return Err(String::from("RP-6: views, members and waits do not match"));
            }
            // As many views as nodes, so that the two go in step.
            for ((node, view), (other, known)) in room.views.iter().zip(&self.nodes) {
                self.check_view(node, view, Some(known).filter(|_| node == other))?;
            }
        }
        Ok(())
    }

    /// The same of our own maps alone.
    pub fn check_own(&self) -> Result<(), String> {
        let bound = self.settings.tombstones_max;
        self.rooms.values().try_for_each(|room| room.own.check(bound))
    }

    /// The same of a foreign node's maps in one topic alone.
    pub fn check_in(&self, topic: Topic, node: &NodeId) -> Result<(), String> {
        let view = self.rooms.get(&topic).and_then(|room| room.views.get(node));
        view.map_or(Ok(()), |view| self.check_view(node, view, self.nodes.get(node)))
    }

    fn check_view(&self, node: &NodeId, view: &View, known: Option<&Known>) -> Result<(), String> {
        let next = view.next.as_ref().map(|(copy, _)| copy);
        let newest = next.unwrap_or(&view.shown).replica();
        let known = known.map(|known| known.incarnation);
        if newest.node != *node || known != Some(newest.incarnation) {
            return Err(format!("RP-5: {newest} stands where {node} is {known:?}"));
        }
        if next.is_some_and(|next| next.is_ready() || next.replica() <= view.shown.replica()) {
            return Err(format!("RP-6: {newest} is ready and not in view"));
        }
        for copy in std::iter::once(&view.shown).chain(next) {
            copy.check(self.settings.tombstones_max)?;
            if self.fences.holds(copy.replica()) {
                return Err(format!("RP-6: {} is fenced", copy.replica()));
            }
        }
        Ok(())
    }
}

/// Adds entries while they fit. A cut segment ends right before the first entry that it leaves out.
fn fill(
    mut segment: Segment,
    entries: impl Iterator<Item = Entry>,
    budget: usize,
) -> Option<Segment> {
    let upto = segment.upto;
    let mut bytes = 0;
    // The longest prefix that is known to fit: how many entries, and where it ends.
    let mut fitting = None;
    let mut taken = Vec::new();
    for entry in entries {
        if !taken.is_empty() {
            segment.upto = entry.sequence - 1;
            if segment.header_bytes(taken.len()) + bytes > budget {
                break;
            }
            fitting = Some((taken.len(), segment.upto));
        }
        bytes += entry.encoded_bytes();
        taken.push(entry);
        if bytes > budget || taken.len() > limits::SEGMENT_ENTRIES_MAX {
            break;
        }
    }
    segment.upto = upto;
    let all = taken.len() <= limits::SEGMENT_ENTRIES_MAX;
    if all && bytes <= budget && segment.header_bytes(taken.len()) + bytes <= budget {
        fitting = Some((taken.len(), upto));
    }
    let (count, upto) = fitting?;
    taken.truncate(count);
    segment.upto = upto;
    segment.entries = taken.into();
    Some(segment)
}

impl Room {
    /// Every foreign map, by node and life.
    pub(super) fn copies(&self) -> impl Iterator<Item = &Copy> {
        self.views.values().flat_map(|view| {
            std::iter::once(&view.shown).chain(view.next.as_ref().map(|(copy, _)| copy))
        })
    }
}

impl Counted for Maps {
    fn counts(&self, visit: &mut dyn FnMut(Count)) {
        for room in self.rooms.values() {
            room.counts(visit);
        }
        let copies = || self.rooms.values().flat_map(Room::copies);
        let failed = self.nodes.iter().filter(|(_, known)| known.failed);
        let failed: BTreeSet<&NodeId> = failed.map(|(node, _)| node).collect();
        let orphaned = copies().filter(|copy| failed.contains(&copy.replica().node)).count();
        let live = self.rooms.len() + copies().count() - orphaned;
        for (state, value) in [("live", live), ("orphaned", orphaned)] {
            let labels = Labels::One("state", state);
            visit(Count { name: "replica_maps", labels, value: value as u64 });
        }
        for (name, value) in
            [("replica_remints_total", self.remints), ("replica_retired_total", self.retired)]
        {
            visit(Count { name, labels: Labels::None, value });
        }
    }
}

impl Room {
    fn counts(&self, visit: &mut dyn FnMut(Count)) {
        let topic = self.registration.topic.name();
        let tables = || self.copies().map(Copy::entries).chain([self.own.entries()]);
        let doubtful: usize = tables().map(|entries| entries.doubtful()).sum();
        let tombstones: usize = tables().map(|entries| entries.tombstones()).sum();
        let live: usize = tables().map(|entries| entries.live()).sum();
        for (state, value) in [("live", live), ("tombstone", tombstones), ("doubtful", doubtful)] {
            let labels = Labels::Two("topic", topic, "state", state);
            visit(Count { name: "replica_entries", labels, value: value as u64 });
        }
        let Counts { writes, applied, ignored, refused, .. } = self.counts;
        let Counts { sweeps_stable, sweeps_bound, sweeps_restart, .. } = self.counts;
        let Counts { raises_stable, raises_bound, .. } = self.counts;
        let labels = Labels::One("topic", topic);
        visit(Count { name: "replica_writes_total", labels, value: writes });
        for (name, label, state, value) in [
            ("replica_merged_total", "outcome", "applied", applied),
            ("replica_merged_total", "outcome", "ignored", ignored),
            ("replica_merged_total", "outcome", "refused", refused),
            ("replica_sweeps_total", "cause", "stable", sweeps_stable),
            ("replica_sweeps_total", "cause", "bound", sweeps_bound),
            ("replica_sweeps_total", "cause", "restart", sweeps_restart),
            ("replica_floor_raises_total", "cause", "stable", raises_stable),
            ("replica_floor_raises_total", "cause", "bound", raises_bound),
        ] {
            visit(Count { name, labels: Labels::Two("topic", topic, label, state), value });
        }
    }
}

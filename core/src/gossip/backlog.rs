//! What waits to be told: references to intervals of maps, in the order in which they are told.
//!
//! An item names an interval; its bytes are read from the map when a datagram has room, so it is never
//! old news and weighs the same whatever it stands for. Within a topic the least told comes first, then
//! the oldest.
//!
//! Invariants:
//! - G-5: an item keeps its place until it is sent; the rest of a cut item keeps the whole one's.
//! - G-6: per topic, enqueued = retired + queued + dropped.
//! - G-7: no queued item was sent [`Backlog::sent_max`] times or more.
//! - G-12: at most `items_max` items per topic, none without a topic's queue.
//!
//! Absent on purpose: bytes, clocks, and a list of who got what: a peer either showed its progress or is
//! told again.

use std::collections::{BTreeMap, BTreeSet};

use crate::ids::{NodeId, Replica};
use crate::limits;
use crate::wire::segment::Topic;

/// A reference to an interval of somebody's map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Item {
    /// Whose map.
    pub(super) source: Replica,
    /// Exclusive lower end.
    pub(super) from: u64,
    /// Inclusive upper end.
    pub(super) upto: u64,
    /// Transmissions so far.
    pub(super) sent: u32,
    /// Drains that looked at it and had no room.
    pub(super) skipped: u32,
    /// In which drain it was skipped once too often.
    pub(super) aged_at: u64,
    /// Its age: lower is older. Pieces of one item share it.
    pub(super) sequence: u64,
}

impl Item {
    pub(super) fn place(&self) -> Place {
        Place { sent: self.sent, sequence: self.sequence, from: self.from }
    }

    fn is_aged(&self) -> bool {
        self.skipped >= limits::DRAIN_SKIPS_MAX
    }

    /// Its turn among the aged: whoever aged first, so that an item waits for no one that aged after it.
    pub(super) fn turn(&self) -> (u64, u64) {
        (self.aged_at, self.sequence)
    }
}

/// Where an item stands in its topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) sent: u32,
    pub(super) sequence: u64,
    pub(super) from: u64,
}

/// Why an item is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Drop {
    /// There was no room.
    Full,
    /// Newer writes replaced every entry of it.
    Superseded,
    /// Its map is gone, or fell behind it.
    Gone,
    /// Its first entry fits no datagram: push and pull carry it.
    LinkOnly,
}

/// Where the items of one topic went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) enqueued: u64,
    pub(super) retired: u64,
    pub(super) full: u64,
    pub(super) superseded: u64,
    pub(super) gone: u64,
    pub(super) link_only: u64,
}

impl Tally {
    pub(super) fn dropped(&self) -> u64 {
        self.full + self.superseded + self.gone + self.link_only
    }
}

/// The items of one map, and who needs none of them.
#[derive(Debug, Default)]
struct Standing {
    /// The places of its items, by `from`.
    starts: BTreeSet<(u64, Place)>,
    /// Through where peers are known to have it.
    peers: BTreeMap<NodeId, u64>,
}

/// The items of one topic.
#[derive(Debug, Default)]
pub(super) struct Queue {
    items: BTreeMap<Place, Item>,
    /// Items that were skipped too often, by turn.
    aged: BTreeSet<((u64, u64), Place)>,
    sources: BTreeMap<Replica, Standing>,
    pub(super) tally: Tally,
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    /// Items in order.
    pub(super) fn items(&self) -> impl Iterator<Item = &Item> {
        self.items.values()
    }

    /// Items that were skipped too often, whoever aged first at the front.
    pub(super) fn aged(&self) -> impl Iterator<Item = &Item> {
        self.aged.iter().filter_map(|(_, place)| self.items.get(place))
    }

    /// Whether `item` may be news to `target`.
    pub(super) fn is_for(&self, item: &Item, target: &NodeId) -> bool {
        if item.source.node == *target {
            return false;
        }
        let standing = self.sources.get(&item.source);
        let known = standing.and_then(|standing| standing.peers.get(target));
        known.is_none_or(|complete| *complete < item.upto)
    }

    fn insert(&mut self, mut item: Item) {
        let place = item.place();
        // Pieces of one item meet again where one was widened to start where another does: one says it all.
        if let Some(other) = self.take(place) {
            sometimes!("gossip.pieces_met");
            item.upto = item.upto.max(other.upto);
            self.tally.superseded += 1;
        }
        if item.is_aged() {
            self.aged.insert((item.turn(), place));
        }
        let standing = self.sources.entry(item.source.clone()).or_default();
        standing.starts.insert((item.from, place));
        let former = self.items.insert(place, item);
        assert!(former.is_none(), "G-6: two items at one place");
    }

    /// Takes an item out; what is known of its map stays, for it may come back.
    fn take(&mut self, place: Place) -> Option<Item> {
        let item = self.items.remove(&place)?;
        self.aged.remove(&(item.turn(), place));
        if let Some(standing) = self.sources.get_mut(&item.source) {
            standing.starts.remove(&(item.from, place));
        }
        Some(item)
    }

    /// Takes an item out for good, and its map with its last.
    fn remove(&mut self, place: Place) -> Option<Item> {
        let item = self.take(place)?;
        self.tidy(&item.source);
        Some(item)
    }

    fn tidy(&mut self, source: &Replica) {
        if self.sources.get(source).is_some_and(|standing| standing.starts.is_empty()) {
            self.sources.remove(source);
        }
    }

    /// An item goes unsent.
    pub(super) fn drop(&mut self, place: Place, why: Drop) {
        if self.remove(place).is_none() {
            return;
        }
        sometimes!("gossip.dropped_full", why == Drop::Full);
        sometimes!("gossip.superseded", why == Drop::Superseded);
        sometimes!("gossip.source_gone", why == Drop::Gone);
        sometimes!("gossip.link_only", why == Drop::LinkOnly);
        let tally = &mut self.tally;
        let count = match why {
            Drop::Full => &mut tally.full,
            Drop::Superseded => &mut tally.superseded,
            Drop::Gone => &mut tally.gone,
            Drop::LinkOnly => &mut tally.link_only,
        };
        *count += 1;
    }

    fn retire(&mut self, place: Place) {
        if self.remove(place).is_some() {
            self.tally.retired += 1;
        }
    }

    /// An item had no room once more, in the drain of this number.
    pub(super) fn skip(&mut self, place: Place, drain: u64) {
        let Some(item) = self.items.get_mut(&place) else { return };
        if item.is_aged() {
            return;
        }
        item.skipped += 1;
        if item.is_aged() {
            sometimes!("gossip.aged");
            item.aged_at = drain;
            self.aged.insert((item.turn(), place));
        }
    }

    /// `item` starts at `from` now: what stood before it was superseded, and says so by its header.
    pub(super) fn widen(&mut self, place: Place, from: u64) {
        let Some(mut item) = self.take(place) else { return };
        item.from = item.from.min(from);
        self.insert(item);
    }

    /// The item of `source` that continues at `from`.
    pub(super) fn continues(&self, source: &Replica, from: u64) -> Option<Place> {
        let standing = self.sources.get(source)?;
        let least = Place { sent: 0, sequence: 0, from: 0 };
        let next = standing.starts.range((from, least)..).next();
        next.filter(|(start, _)| *start == from).map(|(_, place)| *place)
    }

    /// An item was sent through `upto`: that part was sent once more, the rest keeps the place. Returns
    /// where the sent part stands now, if it has not retired.
    pub(super) fn sent(&mut self, place: Place, upto: u64, sent_max: u32) -> Option<Place> {
        let mut item = self.take(place)?;
        if upto < item.upto {
            sometimes!("gossip.cut");
            self.tally.enqueued += 1;
            self.insert(Item { from: upto, skipped: 0, ..item.clone() });
        }
        item.upto = upto;
        item.sent += 1;
        item.skipped = 0;
        if item.sent >= sent_max {
            sometimes!("gossip.told_often_enough");
            self.tally.retired += 1;
            self.tidy(&item.source);
            return None;
        }
        let place = item.place();
        self.insert(item);
        Some(place)
    }

    /// Makes room: the most told goes first, the oldest among equals.
    fn shrink_to(&mut self, items_max: usize) {
        while self.items.len() > items_max {
            let Some((most, _)) = self.items.last_key_value() else { return };
            let first = Place { sent: most.sent, sequence: 0, from: 0 };
            let Some((place, _)) = self.items.range(first..).next() else { return };
            self.drop(*place, Drop::Full);
        }
    }

    fn places_of(&self, source: &Replica, above: u64) -> Vec<Place> {
        let Some(standing) = self.sources.get(source) else { return Vec::new() };
        let places = standing.starts.iter().map(|(_, place)| *place);
        places.filter(|place| self.items.get(place).is_some_and(|item| item.upto > above)).collect()
    }

    /// Retires what every other member has.
    fn retire_known(&mut self, members: &[NodeId]) {
        let sources = self.sources.iter().filter(|(_, standing)| {
            // The owner may be among the members without being among the peers.
            standing.peers.len() + 1 >= members.len()
        });
        let levels: Vec<(Replica, u64)> = sources
            .filter_map(|(source, standing)| {
                let others = members.iter().filter(|member| **member != source.node);
                let known = others.map(|member| standing.peers.get(member).copied().unwrap_or(0));
                let level = known.min().unwrap_or(u64::MAX);
                (level > 0).then(|| (source.clone(), level))
            })
            .collect();
        for (source, level) in levels {
            for place in self.places_of(&source, 0) {
                if self.items.get(&place).is_some_and(|item| item.upto <= level) {
                    sometimes!("gossip.known_to_all");
                    self.retire(place);
                }
            }
        }
    }

    fn assert_invariants(&self, items_max: usize, sent_max: u32) {
        let (tally, queued) = (&self.tally, self.items.len());
        let balance = tally.retired + tally.dropped() + queued as u64;
        assert!(tally.enqueued == balance, "G-6: {} enqueued, {balance} found", tally.enqueued);
        let most = self.items.last_key_value().map_or(0, |(place, _)| place.sent);
        assert!(most < sent_max, "G-7: an item waits that was sent {most} of {sent_max} times");
        assert!(queued <= items_max, "G-12: {queued} items of {items_max}");
    }
}

/// The queues of all topics.
#[derive(Debug)]
pub(super) struct Backlog {
    queues: BTreeMap<Topic, Queue>,
    items_max: usize,
    sequence: u64,
    sent_max: u32,
}

impl Backlog {
    pub(super) fn new(items_max: usize) -> Backlog {
        Backlog { queues: BTreeMap::new(), items_max, sequence: 0, sent_max: sent_max(1) }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queues.values().all(|queue| queue.items.is_empty())
    }

    /// Topics that ever had an item, in order.
    pub(super) fn topics(&self) -> impl Iterator<Item = Topic> + '_ {
        self.queues.keys().copied()
    }

    pub(super) fn queue(&self, topic: Topic) -> Option<&Queue> {
        self.queues.get(&topic)
    }

    pub(super) fn queue_mut(&mut self, topic: Topic) -> Option<&mut Queue> {
        self.queues.get_mut(&topic)
    }

    /// A new item, unless one that was never sent says the same.
    pub(super) fn enqueue(&mut self, topic: Topic, source: &Replica, from: u64, upto: u64) {
        if upto <= from {
            return;
        }
        assert!(self.queues.len() < limits::TOPICS_MAX || self.queues.contains_key(&topic), "G-12");
        let queue = self.queues.entry(topic).or_default();
        let same = queue.continues(source, from).and_then(|place| queue.items.get(&place));
        if same.is_some_and(|item| item.sent == 0 && item.upto >= upto) {
            sometimes!("gossip.said_already");
            return;
        }
        self.sequence += 1;
        let sequence = self.sequence;
        queue.tally.enqueued += 1;
        // Room first, so that the newcomer is never the one to go.
        queue.shrink_to(self.items_max.saturating_sub(1));
        let source = source.clone();
        queue.insert(Item { source, from, upto, sent: 0, skipped: 0, aged_at: 0, sequence });
    }

    /// A piece of an item was sent; see [`Queue::sent`].
    pub(super) fn sent(&mut self, topic: Topic, place: Place, upto: u64) -> Option<Place> {
        let queue = self.queues.get_mut(&topic)?;
        let sent = queue.sent(place, upto, self.sent_max);
        queue.shrink_to(self.items_max);
        sent.filter(|place| queue.items.contains_key(place))
    }

    /// The map of `source` reaches no further than `complete`: items beyond it have nothing to say.
    pub(super) fn cut(&mut self, topic: Topic, source: &Replica, complete: u64) {
        let Some(queue) = self.queues.get_mut(&topic) else { return };
        for place in queue.places_of(source, complete) {
            sometimes!("gossip.fell_behind");
            queue.drop(place, Drop::Gone);
        }
    }

    /// The maps that `is_gone` names are not told of any more.
    pub(super) fn drop_sources(&mut self, is_gone: impl Fn(&Replica) -> bool) {
        for queue in self.queues.values_mut() {
            let gone: Vec<Replica> =
                queue.sources.keys().filter(|source| is_gone(source)).cloned().collect();
            for place in
                gone.iter().flat_map(|source| queue.places_of(source, 0)).collect::<Vec<_>>()
            {
                queue.drop(place, Drop::Gone);
            }
        }
    }

    /// `peer` has the map of `source` through `complete`.
    pub(super) fn known(&mut self, peer: &NodeId, topic: Topic, source: &Replica, complete: u64) {
        let queue = self.queues.get_mut(&topic);
        let Some(standing) = queue.and_then(|queue| queue.sources.get_mut(source)) else { return };
        let known = standing.peers.entry(peer.clone()).or_default();
        *known = complete.max(*known);
    }

    /// The maps that have items, with their topics.
    pub(super) fn sources(&self) -> impl Iterator<Item = (Topic, &Replica)> {
        self.queues
            .iter()
            .flat_map(|(topic, queue)| queue.sources.keys().map(|source| (*topic, source)))
    }

    /// Nothing is known of `peer` any more: it left, or lives anew.
    pub(super) fn forget(&mut self, peer: &NodeId) {
        for standing in self.queues.values_mut().flat_map(|queue| queue.sources.values_mut()) {
            standing.peers.remove(peer);
        }
    }

    /// There are `members` of us; what was sent often enough for that retires (G-7).
    pub(super) fn resize(&mut self, members: usize) {
        self.sent_max = sent_max(members);
        let first = Place { sent: self.sent_max, sequence: 0, from: 0 };
        for queue in self.queues.values_mut() {
            let places: Vec<Place> = queue.items.range(first..).map(|(place, _)| *place).collect();
            places.into_iter().for_each(|place| queue.retire(place));
        }
    }

    /// Retires what all of `members` have or own.
    pub(super) fn retire_known(&mut self, members: &[NodeId]) {
        self.queues.values_mut().for_each(|queue| queue.retire_known(members));
    }

    pub(super) fn set_items_max(&mut self, items_max: usize) {
        self.items_max = items_max;
        self.queues.values_mut().for_each(|queue| queue.shrink_to(items_max));
    }

    pub(super) fn assert_invariants(&self) {
        let queues = self.queues.values();
        queues.for_each(|queue| queue.assert_invariants(self.items_max, self.sent_max));
    }
}

/// The transmission limit among `members`: three times ⌈log₂(members + 1)⌉, since an epidemic that
/// doubles per step needs that many steps, and loss costs some of them.
fn sent_max(members: usize) -> u32 {
    3 * (usize::BITS - members.max(1).leading_zeros())
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod pieces {
    use super::*;
    use crate::ids::Incarnation;

    /// Found by `quorate-sim run --seed 62`.
    #[test]
    fn a_piece_that_is_widened_to_where_another_starts_takes_it_in() {
        let source =
            Replica { node: "n1".parse().expect("a node id"), incarnation: Incarnation(1) };
        let mut backlog = Backlog::new(16);
        backlog.resize(5);
        backlog.enqueue(Topic::FACTS, &source, 0, 10);
        let queue = backlog.queue_mut(Topic::FACTS).expect("it has an item");
        let whole = queue.items().next().expect("one item").place();
        let first = queue.sent(whole, 5, 9).expect("sent once of nine");
        let rest = Place { sent: 0, from: 5, ..first };
        let rest = queue.sent(rest, 10, 9).expect("sent once of nine");
        queue.widen(rest, 0);
        let left: Vec<(u64, u64)> = queue.items().map(|item| (item.from, item.upto)).collect();
        assert_eq!(left, [(0, 10)]);
        backlog.assert_invariants();
    }
}

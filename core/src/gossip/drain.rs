//! The budget-aware drain: what a datagram to one target takes along.
//!
//! ```text
//! lane     what the target pulled goes first
//! pass 0   of the items skipped too often the longest aged whose unit fits: its unit, one item per call
//! pass 1   topics with something for this target, in rotation order; each may spend ⌊left / k⌋
//! pass 2   the same topics in the same order; each may spend all that is left
//! ```
//!
//! The *framed size* of an emission is everything it adds to the datagram: section header, segment header,
//! entries. The *unit* of an item is the framed size of a segment with its first entry only.
//!
//! Invariants: G-1 (never a byte over the budget, asserted on the finished sections), G-2 (shares), G-3
//! (progress), G-4 (no starving), each shown by properties in `drain/tests.rs`.
//!
//! Absent on purpose: a choice of targets, and what is sent meaning anything.

use std::collections::BTreeSet;

use super::Source;
use super::backlog::{Backlog, Drop, Item, Place};
use super::lane::Owed;
use crate::ids::{NodeId, Replica};
use crate::limits;
use crate::wire::encode;
use crate::wire::segment::{Segment, Topic};

/// What was put into one datagram so far.
pub(super) struct Load<'a, S> {
    maps: &'a S,
    left: usize,
    emissions: Vec<Emission>,
}

struct Emission {
    segment: Segment,
    encoded_bytes: usize,
}

/// An interval went into the load through `upto`.
struct Put {
    upto: u64,
    framed_bytes: usize,
    entries: usize,
    /// Whether it is an emission of its own, the last one.
    is_new: bool,
}

impl<'a, S: Source> Load<'a, S> {
    pub(super) fn new(maps: &'a S, budget: usize) -> Load<'a, S> {
        Load { maps, left: budget, emissions: Vec::new() }
    }

    /// Puts the longest prefix of `(from, upto]` that adds at most `allowance` bytes.
    fn put(
        &mut self,
        topic: Topic,
        source: &Replica,
        (from, upto): (u64, u64),
        allowance: usize,
    ) -> Option<Put> {
        let allowance = allowance.min(self.left);
        let touching = self.emissions.iter().position(|emission| {
            let segment = &emission.segment;
            segment.upto == from && segment.topic == topic && segment.replica == *source
        });
        let (index, start, held_bytes, held_entries, budget) = match touching {
            Some(index) => {
                let emission = self.emissions.get(index)?;
                let (bytes, segment) = (emission.encoded_bytes, &emission.segment);
                (Some(index), segment.from, bytes, segment.entries.len(), bytes + allowance)
            }
            None => (None, from, 0, 0, allowance.checked_sub(limits::SECTION_HEADER_BYTES)?),
        };
        let segment = self.maps.segment(topic, source, start, upto, budget)?;
        if segment.upto <= from {
            return None;
        }
        let encoded_bytes = segment.encoded_bytes();
        let header_bytes = if index.is_some() { 0 } else { limits::SECTION_HEADER_BYTES };
        let put = Put {
            upto: segment.upto,
            framed_bytes: header_bytes + encoded_bytes.saturating_sub(held_bytes),
            entries: segment.entries.len().saturating_sub(held_entries),
            is_new: index.is_none(),
        };
        self.left =
            self.left.checked_sub(put.framed_bytes).expect("G-1: a source keeps its budget");
        let emission = Emission { segment, encoded_bytes };
        sometimes!("gossip.lengthened", index.is_some());
        match index.and_then(|index| self.emissions.get_mut(index)) {
            Some(longer) => *longer = emission,
            None => self.emissions.push(emission),
        }
        Some(put)
    }

    /// Takes an emission that says nothing out again.
    fn retract(&mut self, put: &Put) {
        if put.is_new && self.emissions.pop().is_some() {
            self.left += put.framed_bytes;
        }
    }

    /// Puts the unit of an interval, if it fits.
    fn put_unit(&mut self, topic: Topic, source: &Replica, from: u64, upto: u64) -> Option<u64> {
        let budget = self.left.checked_sub(limits::SECTION_HEADER_BYTES)?;
        let mut segment = self.maps.segment(topic, source, from, upto, budget)?;
        if segment.entries.len() > 1 {
            segment.entries.0.truncate(1);
            segment.upto = segment.entries.first()?.sequence;
        }
        let upto = segment.upto;
        let encoded_bytes = segment.encoded_bytes();
        self.left -= limits::SECTION_HEADER_BYTES + encoded_bytes;
        self.emissions.push(Emission { segment, encoded_bytes });
        Some(upto)
    }

    /// Why `(from, upto]` can never be told by datagram, if so.
    fn hopeless(
        &self,
        topic: Topic,
        source: &Replica,
        from: u64,
        upto: u64,
        largest: usize,
    ) -> Option<Drop> {
        if self.maps.segment(topic, source, from, upto, largest).is_some() {
            return None;
        }
        let whole = self.maps.segment(topic, source, from, upto, usize::MAX);
        Some(if whole.is_some() { Drop::LinkOnly } else { Drop::Gone })
    }

    /// Puts what the target pulled, in order; what has no room stays.
    pub(super) fn put_owed(&mut self, owed: &mut Vec<Owed>, largest: usize) {
        owed.retain_mut(|owed| {
            let Owed { topic, replica, from, upto } = owed;
            match self.put(*topic, replica, (*from, *upto), self.left) {
                Some(put) => *from = put.upto,
                None => return self.hopeless(*topic, replica, *from, *upto, largest).is_none(),
            }
            from < upto
        });
    }

    /// The sections, each map's in order of sequence, and the topics' bytes.
    pub(super) fn finish(mut self, budget: usize) -> Vec<(Topic, Vec<u8>)> {
        self.emissions.sort_by(|left, right| {
            let key = |emission: &Emission| (emission.segment.topic, emission.segment.from);
            key(left).cmp(&key(right))
        });
        let sections: Vec<(Topic, Vec<u8>)> = self
            .emissions
            .iter()
            .map(|emission| (emission.segment.topic, encode(&emission.segment)))
            .collect();
        let framed: usize =
            sections.iter().map(|(_, bytes)| limits::SECTION_HEADER_BYTES + bytes.len()).sum();
        assert!(framed <= budget, "G-1: {framed} bytes of sections in a budget of {budget}");
        sections
    }
}

/// What the present turn has already told its present target: a burst of datagrams goes on where the one
/// before it stopped.
#[derive(Debug, Default)]
pub(super) struct Told {
    target: Option<NodeId>,
    places: BTreeSet<(Topic, Place)>,
}

impl Told {
    /// The next datagram goes to `target`.
    pub(super) fn turn_to(&mut self, target: &NodeId) {
        if self.target.as_ref() != Some(target) {
            self.target = Some(target.clone());
            self.places.clear();
        }
    }

    /// Whether nobody was told anything.
    pub(super) fn is_clear(&self) -> bool {
        self.target.is_none()
    }

    /// The turn is over.
    pub(super) fn clear(&mut self) {
        self.target = None;
        self.places.clear();
    }
}

/// How a drain ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Something waits on.
    Full,
    /// All that was there is in it, and room is left.
    Partial,
    /// Nothing was there for this target.
    Empty,
    /// Something was there, and nothing of it fitted.
    TooSmall,
}

/// An item as one call sees it.
struct Candidate {
    item: Item,
    place: Place,
    /// Sent through here so far.
    reached: u64,
    /// Its next unit is known to be larger than this.
    unit_above: usize,
    fate: Fate,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Waits,
    Skipped,
    Dropped(Drop),
}

impl Candidate {
    fn new(item: &Item) -> Candidate {
        let place = item.place();
        let reached = item.from;
        Candidate { item: item.clone(), place, reached, unit_above: 0, fate: Fate::Waits }
    }

    fn is_over(&self) -> bool {
        self.reached == self.item.upto || matches!(self.fate, Fate::Dropped(_))
    }

    fn is_untouched(&self) -> bool {
        self.reached == self.item.from && !matches!(self.fate, Fate::Dropped(_))
    }
}

/// The first items of one topic that may be news to the target.
struct Window {
    topic: Topic,
    candidates: Vec<Candidate>,
}

/// One call of the drain.
pub(super) struct Drain<'a, S> {
    pub(super) backlog: &'a mut Backlog,
    pub(super) told: &'a mut Told,
    pub(super) target: &'a NodeId,
    pub(super) load: Load<'a, S>,
    /// Bytes of the largest possible section.
    pub(super) largest: usize,
    /// Which drain this is; the rotation starts one topic later at each.
    pub(super) number: u64,
}

impl<S: Source> Drain<'_, S> {
    /// Passes 0 to 2.
    pub(super) fn run(&mut self) -> Outcome {
        self.pass_aged();
        let mut windows = self.windows();
        let share = self.load.left.checked_div(windows.len()).unwrap_or(0);
        for window in &mut windows {
            self.spend(window, share, false);
        }
        for window in &mut windows {
            self.spend(window, self.load.left, true);
        }
        let waits = windows.iter().flat_map(|window| &window.candidates).any(|one| !one.is_over());
        let had_something = !windows.is_empty();
        for window in windows {
            self.settle(window);
        }
        sometimes!("gossip.too_small", self.load.emissions.is_empty() && had_something);
        sometimes!("gossip.datagram_full", !self.load.emissions.is_empty() && waits);
        match (self.load.emissions.is_empty(), waits) {
            (false, true) => Outcome::Full,
            (false, false) => Outcome::Partial,
            (true, _) if had_something => Outcome::TooSmall,
            (true, _) => Outcome::Empty,
        }
    }

    /// Pass 0. An item that does not fit keeps its turn for a larger datagram.
    fn pass_aged(&mut self) {
        let mut aged: Vec<(Topic, Item)> = Vec::new();
        for topic in self.backlog.topics() {
            let Some(queue) = self.backlog.queue(topic) else { continue };
            let offered = queue.aged().filter(|item| self.is_offered(topic, item));
            aged.extend(offered.take(limits::DRAIN_WALK_MAX).map(|item| (topic, item.clone())));
        }
        aged.sort_by_key(|(_, item)| item.turn());
        for (topic, item) in aged {
            let Item { source, from, upto, .. } = &item;
            if let Some(reached) = self.load.put_unit(topic, source, *from, *upto) {
                sometimes!("gossip.aged_first");
                self.mark_sent(topic, item.place(), reached);
                return;
            }
        }
    }

    /// What each topic has for the target, in rotation order.
    fn windows(&self) -> Vec<Window> {
        let mut order: Vec<Topic> = self.backlog.topics().collect();
        let start = self.number.checked_rem(order.len() as u64).unwrap_or(0);
        order.rotate_left(usize::try_from(start).expect("a remainder is below its divisor"));
        let windows =
            order.iter().map(|topic| Window { topic: *topic, candidates: self.offers(*topic) });
        windows.filter(|window| !window.candidates.is_empty()).collect()
    }

    fn offers(&self, topic: Topic) -> Vec<Candidate> {
        let Some(queue) = self.backlog.queue(topic) else { return Vec::new() };
        let looked_at = queue.items().take(limits::DRAIN_WALK_MAX + limits::DRAIN_PASSED_MAX);
        let offered = looked_at.filter(|item| self.is_offered(topic, item));
        offered.take(limits::DRAIN_WALK_MAX).map(Candidate::new).collect()
    }

    fn is_offered(&self, topic: Topic, item: &Item) -> bool {
        let queue = self.backlog.queue(topic);
        !self.told.places.contains(&(topic, item.place()))
            && queue.is_some_and(|queue| queue.is_for(item, self.target))
    }

    /// Walks a topic's order and puts what fits into `allowance`.
    fn spend(&mut self, window: &mut Window, mut allowance: usize, last: bool) {
        for index in 0..window.candidates.len() {
            let Some(candidate) = window.candidates.get_mut(index) else { return };
            if candidate.is_over() {
                continue;
            }
            let room = allowance.min(self.load.left);
            if room <= candidate.unit_above {
                self.miss(window.topic, candidate, last);
                continue;
            }
            let Item { source, upto, .. } = &candidate.item;
            let Some(put) = self.load.put(window.topic, source, (candidate.reached, *upto), room)
            else {
                candidate.unit_above = room;
                self.miss(window.topic, candidate, last);
                continue;
            };
            if put.entries == 0 {
                self.load.retract(&put);
                candidate.fate = Fate::Dropped(Drop::Superseded);
                let (source, from, upto) = (source.clone(), candidate.item.from, put.upto);
                widen_successor(window, &source, from, upto);
                continue;
            }
            sometimes!("gossip.second_pass", last);
            candidate.reached = put.upto;
            candidate.unit_above = 0;
            allowance = allowance.saturating_sub(put.framed_bytes);
        }
    }

    /// A candidate had no room. The first time, it is asked whether it ever will.
    fn miss(&self, topic: Topic, candidate: &mut Candidate, last: bool) {
        if !last || !candidate.is_untouched() {
            return;
        }
        let Item { source, from, upto, skipped, .. } = &candidate.item;
        let hopeless = (*skipped == 0)
            .then(|| self.load.hopeless(topic, source, *from, *upto, self.largest))
            .flatten();
        candidate.fate = hopeless.map_or(Fate::Skipped, Fate::Dropped);
    }

    /// Writes a window's fates back into the backlog.
    fn settle(&mut self, window: Window) {
        let topic = window.topic;
        for candidate in window.candidates {
            let Candidate { item, mut place, reached, fate, .. } = candidate;
            let Some(queue) = self.backlog.queue_mut(topic) else { return };
            if item.from != place.from {
                queue.widen(place, item.from);
                place.from = item.from;
            }
            match fate {
                _ if reached > item.from && fate != Fate::Dropped(Drop::Superseded) => {
                    self.mark_sent(topic, place, reached);
                }
                Fate::Dropped(Drop::Superseded) => {
                    if reached > item.from {
                        // Its beginning went out before; what is left says nothing any more.
                        self.mark_sent(topic, place, item.upto);
                        continue;
                    }
                    let successor = queue.continues(&item.source, item.upto);
                    queue.drop(place, Drop::Superseded);
                    if let Some(successor) = successor {
                        queue.widen(successor, item.from);
                    }
                }
                Fate::Dropped(why) => queue.drop(place, why),
                Fate::Skipped => queue.skip(place, self.number),
                Fate::Waits => {}
            }
        }
    }

    fn mark_sent(&mut self, topic: Topic, place: Place, reached: u64) {
        if let Some(place) = self.backlog.sent(topic, place, reached) {
            self.told.places.insert((topic, place));
        }
    }
}

/// The candidate that goes on where a superseded one ends takes over its interval, so that its receivers
/// see no gap.
fn widen_successor(window: &mut Window, source: &Replica, from: u64, upto: u64) {
    let successor = window.candidates.iter_mut().find(|candidate| {
        candidate.is_untouched() && candidate.item.from == upto && candidate.item.source == *source
    });
    if let Some(successor) = successor {
        sometimes!("gossip.successor_widened");
        successor.item.from = from;
        successor.reached = from;
    }
}

#[cfg(test)]
mod tests;

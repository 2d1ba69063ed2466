//! What waits for one peer: a bounded queue per class, drained by weight.
//!
//! Deficit round robin: each visit of a lane adds `weight × 4 KiB` to its credit, and frames leave
//! while the credit covers them. So a frame of `control` waits for at most one round of the others
//! and a frame already begun, however much waits there.
//!
//! | lane | full |
//! | --- | --- |
//! | `control` | the oldest message of the log goes; anything else is refused, but for a reserve that keeps the link alive |
//! | `bulk` | refused; its producer waits for room |
//! | `gossip` | refused: a rumour or a digest covers it |
//! | `broadcast` | refused; frames that left stay until they are acknowledged |
//!
//! Invariants (held by `offer` and `take`):
//! - L-1: a lane holds no more than its frames and bytes; the reserve has bounds of its own.
//! - L-4: lanes that all wait share by weight.
//! - L-10: a full lane acts on its own frames and touches no other.
//!
//! Absent on purpose: whose frames these are, and who hears of what became of them.

mod lane;

use std::collections::VecDeque;

use super::Queued;
use crate::time::Instant;
use crate::wire::Blob;
use crate::wire::frame::numbered;

pub(super) use lane::Lane;
use lane::RESERVE;

/// How a frame competes for its lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// Like any other.
    Plain,
    /// Newer ones of its kind are worth more: it goes when there is no room.
    Replaceable,
    /// It keeps the link or a promise alive: pings, replies, acknowledgements. It uses the reserve.
    Essential,
}

/// An encoded frame that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Waiting {
    pub(super) need: Need,
    /// Nobody wants it after this.
    pub(super) deadline: Option<Instant>,
    /// Its number, once it left in `broadcast`; else 0.
    pub(super) sequence: u64,
    pub(super) bytes: Blob,
}

/// What became of an offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Offered {
    /// It waits.
    pub(super) accepted: bool,
    /// What went for it.
    pub(super) displaced: Queued,
}

/// All lanes of one peer.
#[derive(Debug, Clone)]
pub(super) struct Queues {
    control: Queue,
    bulk: Queue,
    gossip: Queue,
    broadcast: Queue,
    /// What left in `broadcast` and may have to leave again, in order.
    unacknowledged: VecDeque<Waiting>,
    /// The last number given in `broadcast`.
    given: u64,
    turn: Lane,
    credited: bool,
}

#[derive(Debug, Clone, Default)]
struct Queue {
    frames: VecDeque<Waiting>,
    plain: Queued,
    essential: Queued,
    credit: usize,
}

impl Default for Queues {
    fn default() -> Queues {
        Queues {
            control: Queue::default(),
            bulk: Queue::default(),
            gossip: Queue::default(),
            broadcast: Queue::default(),
            unacknowledged: VecDeque::new(),
            given: 0,
            turn: Lane::Control,
            credited: false,
        }
    }
}

impl Queues {
    /// Puts an encoded frame behind those that wait. `room` is what the whole node may still hold.
    pub(super) fn offer(&mut self, lane: Lane, frame: Waiting, room: usize) -> Offered {
        let (bound, mut room) = match frame.need {
            Need::Plain | Need::Replaceable => (lane.bound(), room),
            Need::Essential => (RESERVE, usize::MAX),
        };
        let (queue, length) = (self.lane_mut(lane), frame.bytes.len());
        let mut displaced = Queued::default();
        loop {
            let held = queue.held_mut(frame.need);
            let fits = held.frames < bound.frames && held.bytes + length <= bound.bytes;
            if fits && length <= room {
                held.add(length);
                queue.frames.push_back(frame);
                return Offered { accepted: true, displaced };
            }
            let gone = if frame.need == Need::Replaceable { queue.displace() } else { None };
            let Some(bytes) = gone else { return Offered { accepted: false, displaced } };
            displaced.add(bytes);
            room = room.saturating_add(bytes);
        }
    }

    /// The frame whose turn it is. Frames that nobody wants any more go to `expired`.
    pub(super) fn take(
        &mut self,
        now: Instant,
        expired: &mut Vec<(Lane, usize)>,
    ) -> Option<(Lane, Blob)> {
        let waits = |lane: &Lane| self.leaving(*lane) > 0;
        sometimes!("link.classes_share", Lane::ALL.iter().filter(|lane| waits(lane)).count() > 1);
        // Each round adds a quantum to a lane that waits, so the largest frame leaves within 129 rounds.
        while !self.is_empty() {
            let (lane, credited) = (self.turn, self.credited);
            let queue = self.lane_mut(lane);
            while let Some(bytes) = queue.pop_expired(now) {
                expired.push((lane, bytes));
            }
            if !credited && !queue.frames.is_empty() {
                queue.credit += lane.quantum();
                if canary!("link.drains_a_class_at_once") {
                    queue.credit += crate::limits::BROADCAST_BYTES_MAX;
                }
            }
            if let Some(frame) = queue.pop_covered() {
                self.credited = true;
                return Some((lane, self.leave(lane, frame)));
            }
            self.turn = lane.next();
            self.credited = false;
        }
        None
    }

    fn leave(&mut self, lane: Lane, mut frame: Waiting) -> Blob {
        if lane != Lane::Broadcast {
            self.lane_mut(lane).held_mut(frame.need).subtract(frame.bytes.len());
            return frame.bytes;
        }
        if frame.sequence == 0 {
            self.given += 1;
            frame.sequence = self.given;
            frame.bytes = numbered(&frame.bytes, self.given);
        }
        let bytes = frame.bytes.clone();
        self.unacknowledged.push_back(frame);
        bytes
    }

    /// Drops what does not outlive a connection and tells what it was.
    pub(super) fn clear(&mut self) -> [(Lane, Queued); 3] {
        [Lane::Control, Lane::Bulk, Lane::Gossip].map(|lane| {
            let held = self.held(lane);
            *self.lane_mut(lane) = Queue::default();
            (lane, held)
        })
    }

    /// The peer has everything through `sequence`; tells what is let go.
    pub(super) fn acknowledge(&mut self, sequence: u64) -> Queued {
        let mut freed = Queued::default();
        if sequence > self.given {
            return freed; // It was never given.
        }
        // After a reconnect what was received may wait to be sent again.
        for frames in [&mut self.unacknowledged, &mut self.broadcast.frames] {
            let received = |frame: &Waiting| (1..=sequence).contains(&frame.sequence);
            while let Some(frame) = pop_front_if(frames, received) {
                freed.add(frame.bytes.len());
                self.broadcast.plain.subtract(frame.bytes.len());
            }
        }
        freed
    }

    /// Another connection is used: what was not acknowledged is to be sent again. Tells how many.
    pub(super) fn rewind(&mut self) -> usize {
        let count = self.unacknowledged.len();
        while let Some(frame) = self.unacknowledged.pop_back() {
            self.broadcast.frames.push_front(frame);
        }
        count
    }

    /// Another life begins, of the peer or of ours: numbers begin anew.
    pub(super) fn begin_anew(&mut self) {
        self.given = 0;
    }

    /// Drops everything of `broadcast` and gives it back, in order. Numbers go on: a frame that was given
    /// back may be on its way still.
    pub(super) fn clear_broadcast(&mut self) -> Vec<Blob> {
        self.rewind();
        let frames = std::mem::take(&mut self.broadcast).frames;
        frames.into_iter().map(|frame| frame.bytes).collect()
    }

    /// What is held in `lane`: what waits, and what may have to be sent again.
    pub(super) fn held(&self, lane: Lane) -> Queued {
        let queue = self.lane(lane);
        Queued {
            frames: queue.plain.frames + queue.essential.frames,
            bytes: queue.plain.bytes + queue.essential.bytes,
        }
    }

    /// Adds what is held in each lane to the sum of that lane.
    pub(super) fn add_to(&self, sums: &mut [Queued; 4]) {
        for (sum, lane) in sums.iter_mut().zip(Lane::ALL) {
            let held = self.held(lane);
            sum.frames += held.frames;
            sum.bytes += held.bytes;
        }
    }

    /// Frames of `lane` that have not left.
    pub(super) fn leaving(&self, lane: Lane) -> usize {
        self.lane(lane).frames.len()
    }

    /// Bytes that are held in all lanes.
    pub(super) fn bytes(&self) -> usize {
        Lane::ALL.iter().map(|lane| self.held(*lane).bytes).sum()
    }

    /// Whether nothing waits to leave.
    pub(super) fn is_empty(&self) -> bool {
        Lane::ALL.iter().all(|lane| self.lane(*lane).frames.is_empty())
    }

    /// Whether a connection that ended left something behind that it should have taken along.
    pub(super) fn is_cleared(&self) -> bool {
        self.bytes() == self.held(Lane::Broadcast).bytes && self.unacknowledged.is_empty()
    }

    /// Counts every frame again; the error is the sentence that is false.
    pub(super) fn check(&self) -> Result<(), String> {
        for lane in Lane::ALL {
            let queue = self.lane(lane);
            let none = queue.frames.is_empty() && self.unacknowledged.is_empty();
            if none && queue.plain == Queued::default() && queue.essential == Queued::default() {
                continue;
            }
            let again = self.unacknowledged.iter().filter(|_| lane == Lane::Broadcast);
            let frames: Vec<&Waiting> = again.chain(&queue.frames).collect();
            for (essential, told, bound) in
                [(false, queue.plain, lane.bound()), (true, queue.essential, RESERVE)]
            {
                let mut held = Queued::default();
                let counted =
                    frames.iter().filter(|one| (one.need == Need::Essential) == essential);
                counted.for_each(|frame| held.add(frame.bytes.len()));
                if held != told || held.frames > bound.frames || held.bytes > bound.bytes {
                    return Err(format!(
                        "L-1: {lane:?} holds {held:?}, told {told:?} of {bound:?}"
                    ));
                }
            }
            let numbers = frames.iter().map(|frame| frame.sequence).filter(|number| *number > 0);
            let last = numbers.clone().count() as u64;
            if numbers.rev().zip(0..last).any(|(number, back)| number + back != self.given) {
                return Err("L-3: what waits in broadcast has a gap".to_owned());
            }
        }
        Ok(())
    }

    fn lane(&self, lane: Lane) -> &Queue {
        match lane {
            Lane::Control => &self.control,
            Lane::Bulk => &self.bulk,
            Lane::Gossip => &self.gossip,
            Lane::Broadcast => &self.broadcast,
        }
    }

    fn lane_mut(&mut self, lane: Lane) -> &mut Queue {
        match lane {
            Lane::Control => &mut self.control,
            Lane::Bulk => &mut self.bulk,
            Lane::Gossip => &mut self.gossip,
            Lane::Broadcast => &mut self.broadcast,
        }
    }
}

impl Queue {
    /// Takes the oldest frame that newer ones of its kind replace; tells its bytes.
    fn displace(&mut self) -> Option<usize> {
        let oldest = self.frames.iter().position(|frame| frame.need == Need::Replaceable)?;
        let bytes = self.frames.remove(oldest)?.bytes.len();
        self.plain.subtract(bytes);
        Some(bytes)
    }

    fn pop_expired(&mut self, now: Instant) -> Option<usize> {
        let late = |frame: &Waiting| frame.deadline.is_some_and(|deadline| deadline <= now);
        let frame = pop_front_if(&mut self.frames, late)?;
        self.held_mut(frame.need).subtract(frame.bytes.len());
        self.rest();
        Some(frame.bytes.len())
    }

    fn pop_covered(&mut self) -> Option<Waiting> {
        let credit = self.credit;
        let frame = pop_front_if(&mut self.frames, |frame| frame.bytes.len() <= credit)?;
        self.credit -= frame.bytes.len();
        self.rest();
        Some(frame)
    }

    /// A lane in which nothing waits saves no credit.
    fn rest(&mut self) {
        if self.frames.is_empty() {
            self.credit = 0;
        }
    }

    fn held_mut(&mut self, need: Need) -> &mut Queued {
        match need {
            Need::Plain | Need::Replaceable => &mut self.plain,
            Need::Essential => &mut self.essential,
        }
    }
}

fn pop_front_if(
    frames: &mut VecDeque<Waiting>,
    wanted: impl Fn(&Waiting) -> bool,
) -> Option<Waiting> {
    if frames.front().is_some_and(wanted) { frames.pop_front() } else { None }
}

impl Queued {
    fn add(&mut self, bytes: usize) {
        self.frames += 1;
        self.bytes += bytes;
    }

    fn subtract(&mut self, bytes: usize) {
        self.frames -= 1;
        self.bytes -= bytes;
    }
}

#[cfg(test)]
mod tests;

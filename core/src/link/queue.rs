//! What waits for one peer: a bounded queue per class, drained by weight.
//!
//! Deficit round robin: each visit of a lane adds `weight × 4 KiB` to its credit, and frames leave
//! while the credit covers them. So a frame of `control` waits for at most one round of the others
//! and a frame already begun, however much waits there.
//!
//! Invariants (held by `offer`):
//! - L-1: a lane holds no more than its frames and bytes; pings and pongs have a reserve of their own.
//! - L-10: a full lane refuses its own frames and touches no other.
//!
//! Absent on purpose: the rules of `bulk` and `broadcast`, whose lanes stand here when they exist.

use std::collections::VecDeque;

use super::Queued;
use crate::limits;
use crate::wire::Blob;
use crate::wire::frame::Class;

/// A class that waits. The handshake never does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Lane {
    Control,
    Gossip,
}

impl Lane {
    pub(super) const ALL: [Lane; 2] = [Lane::Control, Lane::Gossip];

    pub(super) fn class(self) -> Class {
        match self {
            Lane::Control => Class::Control,
            Lane::Gossip => Class::Gossip,
        }
    }

    fn quantum(self) -> usize {
        let weight = match self {
            Lane::Control => limits::CONTROL_WEIGHT,
            Lane::Gossip => limits::GOSSIP_WEIGHT,
        };
        weight * limits::QUANTUM_BYTES
    }

    fn bound(self) -> Queued {
        match self {
            Lane::Control => {
                Queued { frames: limits::CONTROL_FRAMES_MAX, bytes: limits::CONTROL_BYTES_MAX }
            }
            Lane::Gossip => {
                Queued { frames: limits::GOSSIP_FRAMES_MAX, bytes: limits::GOSSIP_BYTES_MAX }
            }
        }
    }

    fn next(self) -> Lane {
        match self {
            Lane::Control => Lane::Gossip,
            Lane::Gossip => Lane::Control,
        }
    }
}

/// Whether a frame may use the reserve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// It competes for the lane.
    Plain,
    /// It keeps the link alive: pings and pongs.
    Essential,
}

/// All lanes of one peer.
#[derive(Debug, Clone)]
pub(super) struct Queues {
    control: Queue,
    gossip: Queue,
    turn: Lane,
    credited: bool,
}

#[derive(Debug, Clone, Default)]
struct Queue {
    frames: VecDeque<(Need, Blob)>,
    plain: Queued,
    essential: Queued,
    credit: usize,
}

impl Default for Queues {
    fn default() -> Queues {
        let (control, gossip) = (Queue::default(), Queue::default());
        Queues { control, gossip, turn: Lane::Control, credited: false }
    }
}

impl Queues {
    /// Puts an encoded frame behind those that wait. `room` is what the whole node may still hold.
    /// False if there is no place for it.
    pub(super) fn offer(&mut self, lane: Lane, need: Need, bytes: Blob, room: usize) -> bool {
        let (bound, room) = match need {
            Need::Plain => (lane.bound(), room),
            Need::Essential => (RESERVE, usize::MAX),
        };
        let queue = self.lane_mut(lane);
        let held = queue.held_mut(need);
        let grown = Queued { frames: held.frames + 1, bytes: held.bytes + bytes.len() };
        if grown.frames > bound.frames || grown.bytes > bound.bytes || bytes.len() > room {
            return false;
        }
        *held = grown;
        queue.frames.push_back((need, bytes));
        true
    }

    /// The frame whose turn it is.
    pub(super) fn take(&mut self) -> Option<(Lane, Blob)> {
        if self.is_empty() {
            return None;
        }
        // Each round adds a quantum to a lane that waits, so the largest frame leaves within 33 rounds.
        loop {
            let (lane, credited) = (self.turn, self.credited);
            let queue = self.lane_mut(lane);
            if !credited && !queue.frames.is_empty() {
                queue.credit += lane.quantum();
            }
            if let Some(bytes) = queue.pop_covered() {
                self.credited = true;
                return Some((lane, bytes));
            }
            self.turn = lane.next();
            self.credited = false;
        }
    }

    /// Drops everything and tells what it was.
    pub(super) fn clear(&mut self) -> [(Lane, Queued); 2] {
        let dropped = Lane::ALL.map(|lane| (lane, self.waiting(lane)));
        *self = Queues::default();
        dropped
    }

    /// What waits in `lane`.
    pub(super) fn waiting(&self, lane: Lane) -> Queued {
        let queue = match lane {
            Lane::Control => &self.control,
            Lane::Gossip => &self.gossip,
        };
        Queued {
            frames: queue.plain.frames + queue.essential.frames,
            bytes: queue.plain.bytes + queue.essential.bytes,
        }
    }

    /// Bytes that wait in all lanes.
    pub(super) fn bytes(&self) -> usize {
        Lane::ALL.iter().map(|lane| self.waiting(*lane).bytes).sum()
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.control.frames.is_empty() && self.gossip.frames.is_empty()
    }

    /// Counts every frame again; the error is the sentence that is false.
    pub(super) fn check(&self) -> Result<(), String> {
        for (lane, queue) in [(Lane::Control, &self.control), (Lane::Gossip, &self.gossip)] {
            for (need, told, bound) in [
                (Need::Plain, queue.plain, lane.bound()),
                (Need::Essential, queue.essential, RESERVE),
            ] {
                let sizes = queue.frames.iter().filter(|(one, _)| *one == need);
                let sizes: Vec<usize> = sizes.map(|(_, bytes)| bytes.len()).collect();
                let held = Queued { frames: sizes.len(), bytes: sizes.iter().sum() };
                if held != told || held.frames > bound.frames || held.bytes > bound.bytes {
                    return Err(format!(
                        "L-1: {lane:?} holds {held:?}, told {told:?} of {bound:?}"
                    ));
                }
            }
        }
        Ok(())
    }

    fn lane_mut(&mut self, lane: Lane) -> &mut Queue {
        match lane {
            Lane::Control => &mut self.control,
            Lane::Gossip => &mut self.gossip,
        }
    }
}

impl Queue {
    fn pop_covered(&mut self) -> Option<Blob> {
        let length = self.frames.front()?.1.len();
        if length > self.credit {
            return None;
        }
        let (need, bytes) = self.frames.pop_front()?;
        self.credit = if self.frames.is_empty() { 0 } else { self.credit - length };
        let held = self.held_mut(need);
        held.frames -= 1;
        held.bytes -= length;
        Some(bytes)
    }

    fn held_mut(&mut self, need: Need) -> &mut Queued {
        match need {
            Need::Plain => &mut self.plain,
            Need::Essential => &mut self.essential,
        }
    }
}

const RESERVE: Queued =
    Queued { frames: limits::RESERVE_FRAMES_MAX, bytes: limits::RESERVE_BYTES_MAX };

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn blob(bytes: usize) -> Blob {
        Blob::from(vec![0; bytes])
    }

    #[test]
    fn a_full_lane_refuses_its_own_frames_and_no_others() {
        let mut queues = Queues::default();
        for _ in 0..limits::GOSSIP_FRAMES_MAX {
            assert!(queues.offer(Lane::Gossip, Need::Plain, blob(1), usize::MAX));
        }
        assert!(!queues.offer(Lane::Gossip, Need::Plain, blob(1), usize::MAX));
        for _ in 0..8 {
            assert!(queues.offer(Lane::Control, Need::Plain, blob(1 << 20), usize::MAX));
        }
        assert!(!queues.offer(Lane::Control, Need::Plain, blob(1), usize::MAX));
        for _ in 0..limits::RESERVE_FRAMES_MAX {
            assert!(queues.offer(Lane::Control, Need::Essential, blob(40), usize::MAX));
        }
        assert!(!queues.offer(Lane::Control, Need::Essential, blob(40), usize::MAX));
        queues.check().expect("the bounds hold");
    }

    #[test]
    fn without_room_in_the_node_only_what_keeps_the_link_alive_fits() {
        let mut queues = Queues::default();
        assert!(queues.offer(Lane::Gossip, Need::Plain, blob(10), 10));
        assert!(!queues.offer(Lane::Gossip, Need::Plain, blob(10), 9));
        assert!(queues.offer(Lane::Control, Need::Essential, blob(10), 0));
    }

    #[test]
    fn a_control_frame_waits_for_one_round_of_gossip_at_most() {
        let mut queues = Queues::default();
        for _ in 0..100 {
            assert!(queues.offer(Lane::Gossip, Need::Plain, blob(1000), usize::MAX));
        }
        assert_eq!(queues.take().map(|(lane, _)| lane), Some(Lane::Gossip));
        assert!(queues.offer(Lane::Control, Need::Plain, blob(1000), usize::MAX));
        let before = std::iter::from_fn(|| queues.take()).take_while(|one| one.0 == Lane::Gossip);
        assert!(before.count() <= 16, "one round of gossip is 16 KiB");
    }

    #[test]
    fn a_frame_of_the_largest_size_leaves() {
        let mut queues = Queues::default();
        assert!(queues.offer(Lane::Gossip, Need::Plain, blob(256 * 1024 + 16), usize::MAX));
        assert!(queues.offer(Lane::Control, Need::Plain, blob((1 << 20) + 16), usize::MAX));
        assert_eq!(std::iter::from_fn(|| queues.take()).count(), 2);
        assert_eq!(queues.bytes(), 0);
    }

    proptest! {
        /// L-4, for the two lanes that exist: eight parts to four.
        #[test]
        fn lanes_that_both_wait_share_by_weight(
            control in proptest::collection::vec(1_usize..40_000, 400..600),
            gossip in proptest::collection::vec(1_usize..40_000, 300..400),
        ) {
            let mut queues = Queues::default();
            let mut fill = |lane, sizes: &[usize]| {
                for size in sizes {
                    queues.offer(lane, Need::Plain, blob(*size), usize::MAX);
                }
            };
            fill(Lane::Control, &control);
            fill(Lane::Gossip, &gossip);
            let mut sent = [0_usize; 2];
            while Lane::ALL.iter().all(|lane| queues.waiting(*lane).frames > 1)
                && sent.iter().sum::<usize>() < 1 << 20
            {
                let (lane, bytes) = queues.take().expect("both wait");
                sent[lane as usize] += bytes.len();
            }
            let all = sent.iter().sum::<usize>();
            // Less one frame, and less the round that was begun.
            let slack = 40_000 + 12 * limits::QUANTUM_BYTES;
            prop_assert!(sent[0] + slack >= all * 8 / 12, "control sent {} of {all}", sent[0]);
            prop_assert!(sent[1] + slack >= all * 4 / 12, "gossip sent {} of {all}", sent[1]);
            queues.check().expect("the bounds hold");
        }
    }
}

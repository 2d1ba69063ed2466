//! L-4: how classes that wait share a connection.
//!
//! A class that waits all the time gets its weight's part of the bytes, but for what a round in the making, the
//! largest frames and its own next frame may put off. It is looked at with each frame, so a class that is passed
//! over is seen with the first frame too many of another.

use quorate_core::limits::{
    self, BROADCAST_WEIGHT, BULK_WEIGHT, CONTROL_WEIGHT, GOSSIP_WEIGHT, QUANTUM_BYTES,
};
use quorate_core::wire::frame::Class;

use super::super::{Id, Ledger};
use crate::verdict::Failure;

/// One connection on which something waits.
#[derive(Debug, Default)]
pub(super) struct Share {
    lanes: [Lane; 4],
}

/// One class, since it waits.
#[derive(Debug, Default, Clone, Copy)]
struct Lane {
    /// Frames that have waited since the last turn, at least.
    waiting: usize,
    sent: u64,
    others: u64,
    /// The largest frame of any.
    largest: u64,
}

/// Classes that wait, with their weights and largest payloads.
const CLASSES: [(Class, usize, usize); 4] = [
    (Class::Control, CONTROL_WEIGHT, limits::FRAME_CONTROL_BYTES_MAX),
    (Class::Bulk, BULK_WEIGHT, limits::FRAME_BULK_BYTES_MAX),
    (Class::Gossip, GOSSIP_WEIGHT, limits::FRAME_GOSSIP_BYTES_MAX),
    (Class::Broadcast, BROADCAST_WEIGHT, limits::FRAME_BROADCAST_BYTES_MAX),
];

const WEIGHTS: usize = CONTROL_WEIGHT + BULK_WEIGHT + GOSSIP_WEIGHT + BROADCAST_WEIGHT;

impl Share {
    /// A frame left.
    pub(super) fn sent(
        &mut self,
        machine: usize,
        class: Option<u8>,
        bytes: usize,
        ledger: &mut Ledger,
    ) -> Result<(), Failure> {
        let bytes = bytes as u64;
        for ((kind, weight, payload), lane) in CLASSES.into_iter().zip(&mut self.lanes) {
            if lane.waiting == 0 {
                continue;
            }
            let own = class == Some(kind.number());
            lane.largest = lane.largest.max(bytes);
            if own {
                lane.sent += bytes;
            } else if class != Some(Class::Session.number()) {
                lane.others += bytes;
            }
            if lane.others > 0 {
                let next = if own { 0 } else { payload + limits::FRAME_HEADER_BYTES };
                ledger.hold(Id::L4, machine, lane.is_fair(weight as u64, next as u64), || {
                    let (sent, others) = (lane.sent, lane.others);
                    format!("{kind:?} waits, and got {sent} bytes while others got {others}")
                })?;
            }
            if own {
                lane.waiting -= 1;
            }
        }
        Ok(())
    }

    /// A turn has ended: a class whose last frame left in it has begun anew, if it waits.
    pub(super) fn waits(&mut self, frames: &[(Class, usize); 4]) {
        for (lane, (_, frames)) in self.lanes.iter_mut().zip(frames) {
            let all_the_time = lane.waiting > 0 && *frames > 0;
            *lane = Lane { waiting: *frames, ..if all_the_time { *lane } else { Lane::default() } };
        }
    }
}

impl Lane {
    /// With `n` visits behind it a class has got `n - 1` of its quanta, but for its `next` frame. The others got
    /// `n + 1` of theirs, and a frame each for which they had saved; one quantum is left for a lane that emptied
    /// and filled in between.
    fn is_fair(&self, weight: u64, next: u64) -> bool {
        let rest = WEIGHTS as u64 - weight;
        let put_off = weight * (3 * rest * QUANTUM_BYTES as u64 + 4 * self.largest) + rest * next;
        weight * self.others <= rest * self.sent + put_off
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Control and gossip wait, and `pattern` says who sends a frame of 1000 bytes: the first frame at which that
    /// is not fair any more.
    fn unfair_at(pattern: &[Class]) -> Option<usize> {
        let mut share = Share::default();
        let mut ledger = Ledger::default();
        let waiting = [
            (Class::Control, 10_000),
            (Class::Bulk, 0),
            (Class::Gossip, 10_000),
            (Class::Broadcast, 0),
        ];
        share.waits(&waiting);
        let turns = pattern.iter().cycle().take(5000).enumerate();
        turns
            .map(|(turn, class)| (turn, share.sent(0, Some(class.number()), 1000, &mut ledger)))
            .find_map(|(turn, held)| held.is_err().then_some(turn))
    }

    #[test]
    fn a_class_that_waits_gets_its_part_or_somebody_is_told() {
        let fair: Vec<Class> =
            [vec![Class::Control; 32], vec![Class::Gossip; 16]].into_iter().flatten().collect();
        assert_eq!(unfair_at(&fair), None);
        let unfair: Vec<Class> =
            [vec![Class::Control; 64], vec![Class::Gossip; 2]].into_iter().flatten().collect();
        assert!(
            unfair_at(&unfair).is_some(),
            "gossip gets one byte in 33 where 4 in 18 are its own"
        );
        assert!(unfair_at(&[Class::Control]).is_some(), "gossip gets nothing");
    }
}

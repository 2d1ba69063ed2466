//! Bounds, policies and shares of the lanes of one peer.

use proptest::prelude::*;

use super::*;
use crate::limits;

const START: Instant = Instant::ZERO;

fn frame(need: Need, bytes: usize) -> Waiting {
    Waiting { need, deadline: None, sequence: 0, bytes: Blob::from(vec![0; bytes]) }
}

fn offered(queues: &mut Queues, lane: Lane, need: Need, bytes: usize) -> bool {
    queues.offer(lane, frame(need, bytes), usize::MAX).accepted
}

fn taken(queues: &mut Queues) -> Option<(Lane, usize)> {
    queues.take(START, &mut Vec::new()).map(|(lane, bytes)| (lane, bytes.len()))
}

#[test]
fn a_full_lane_refuses_its_own_frames_and_no_others() {
    let mut queues = Queues::default();
    for _ in 0..limits::GOSSIP_FRAMES_MAX {
        assert!(offered(&mut queues, Lane::Gossip, Need::Plain, 1));
    }
    assert!(!offered(&mut queues, Lane::Gossip, Need::Plain, 1));
    for _ in 0..8 {
        assert!(offered(&mut queues, Lane::Control, Need::Plain, 1 << 20));
    }
    assert!(!offered(&mut queues, Lane::Control, Need::Plain, 1));
    for _ in 0..limits::RESERVE_FRAMES_MAX {
        assert!(offered(&mut queues, Lane::Control, Need::Essential, 40));
    }
    assert!(!offered(&mut queues, Lane::Control, Need::Essential, 40));
    for _ in 0..limits::BULK_FRAMES_MAX {
        assert!(offered(&mut queues, Lane::Bulk, Need::Plain, 60 * 1024));
    }
    assert!(!offered(&mut queues, Lane::Bulk, Need::Plain, 1));
    queues.check().expect("the bounds hold");
}

#[test]
fn in_a_full_control_lane_the_oldest_message_of_the_log_goes() {
    let mut queues = Queues::default();
    assert!(offered(&mut queues, Lane::Control, Need::Plain, 10));
    assert!(offered(&mut queues, Lane::Control, Need::Replaceable, 11));
    for _ in 2..limits::CONTROL_FRAMES_MAX {
        assert!(offered(&mut queues, Lane::Control, Need::Replaceable, 20));
    }
    let newest = queues.offer(Lane::Control, frame(Need::Replaceable, 30), usize::MAX);
    assert_eq!((newest.accepted, newest.displaced), (true, Queued { frames: 1, bytes: 11 }));
    assert!(!offered(&mut queues, Lane::Control, Need::Plain, 10), "a request displaces nothing");
    assert_eq!(taken(&mut queues), Some((Lane::Control, 10)));
    assert_eq!(taken(&mut queues), Some((Lane::Control, 20)), "the oldest went");
    queues.check().expect("the bounds hold");
}

#[test]
fn without_room_in_the_node_only_what_keeps_the_link_alive_fits() {
    let mut queues = Queues::default();
    assert!(queues.offer(Lane::Gossip, frame(Need::Plain, 10), 10).accepted);
    assert!(!queues.offer(Lane::Gossip, frame(Need::Plain, 10), 9).accepted);
    assert!(queues.offer(Lane::Control, frame(Need::Essential, 10), 0).accepted);
    assert!(queues.offer(Lane::Control, frame(Need::Replaceable, 10), 10).accepted);
    // What is displaced makes room.
    assert!(queues.offer(Lane::Control, frame(Need::Replaceable, 10), 0).accepted);
}

#[test]
fn a_frame_whose_deadline_passed_is_dropped_at_the_head() {
    let mut queues = Queues::default();
    let late = |millis| Waiting {
        deadline: Some(Instant::from_millis(millis)),
        ..frame(Need::Replaceable, 10)
    };
    for deadline in [10, 30, 10] {
        assert!(queues.offer(Lane::Control, late(deadline), usize::MAX).accepted);
    }
    let mut expired = Vec::new();
    let first = queues.take(Instant::from_millis(10), &mut expired);
    assert_eq!((first.is_some(), expired.len()), (true, 1));
    assert_eq!(queues.take(Instant::from_millis(10), &mut expired), None);
    assert_eq!((expired.len(), queues.bytes()), (2, 0));
}

#[test]
fn a_control_frame_waits_for_one_round_of_the_others_at_most() {
    let mut queues = Queues::default();
    for lane in [Lane::Bulk, Lane::Gossip, Lane::Broadcast] {
        for _ in 0..16 {
            assert!(offered(&mut queues, lane, Need::Plain, 2000));
        }
    }
    assert_eq!(taken(&mut queues).map(|(lane, _)| lane), Some(Lane::Bulk));
    assert!(offered(&mut queues, Lane::Control, Need::Plain, 1000));
    let before = std::iter::from_fn(|| taken(&mut queues)).take_while(|one| one.0 != Lane::Control);
    assert!(before.map(|(_, bytes)| bytes).sum::<usize>() <= 40 * 1024, "one round is 40 KiB");
}

#[test]
fn a_frame_of_the_largest_size_leaves() {
    let mut queues = Queues::default();
    for lane in Lane::ALL {
        let size = lane.class().payload_bytes_max() + limits::FRAME_HEADER_BYTES;
        assert!(offered(&mut queues, lane, Need::Plain, size));
    }
    assert_eq!(std::iter::from_fn(|| taken(&mut queues)).count(), 4);
    assert_eq!(queues.clear_broadcast().len(), 1, "it stays until it is acknowledged");
    assert_eq!(queues.bytes(), 0);
}

#[test]
fn what_is_not_acknowledged_is_sent_again_in_order() {
    let mut queues = Queues::default();
    for size in 101..=106 {
        assert!(offered(&mut queues, Lane::Broadcast, Need::Plain, size));
    }
    let sizes = |queues: &mut Queues, count| {
        std::iter::from_fn(|| taken(queues)).take(count).map(|(_, bytes)| bytes).collect::<Vec<_>>()
    };
    assert_eq!(sizes(&mut queues, 4), [101, 102, 103, 104]);
    assert_eq!(queues.acknowledge(2).frames, 2);
    assert_eq!(queues.rewind(), 2);
    queues.check().expect("L-3: no gap");
    assert_eq!(queues.acknowledge(3).frames, 1, "the other side says where it is");
    assert_eq!(sizes(&mut queues, 9), [104, 105, 106]);
    assert_eq!(queues.acknowledge(6).frames, 3);
    assert_eq!(queues.bytes(), 0);
}

proptest! {
    /// L-4: less one frame, and less the round that was begun.
    #[test]
    fn lanes_that_all_wait_share_by_weight(
        sizes in proptest::collection::vec(1_usize..40_000, 900..1200),
    ) {
        let mut queues = Queues::default();
        for (lane, sizes) in Lane::ALL.iter().zip(sizes.chunks(sizes.len() / 4)) {
            for size in sizes {
                offered(&mut queues, *lane, Need::Plain, *size);
            }
        }
        let mut sent = [0_usize; 4];
        while Lane::ALL.iter().all(|lane| queues.lane(*lane).frames.len() > 1)
            && sent.iter().sum::<usize>() < 1 << 20
        {
            let (lane, bytes) = taken(&mut queues).expect("all wait");
            sent[lane as usize] += bytes;
        }
        let all = sent.iter().sum::<usize>();
        let slack = 40_000 + 18 * limits::QUANTUM_BYTES;
        for lane in Lane::ALL {
            let share = all * lane.quantum() / (18 * limits::QUANTUM_BYTES);
            prop_assert!(sent[lane as usize] + slack >= share, "{lane:?}: {sent:?} of {all}");
        }
        queues.check().expect("the bounds hold");
    }
}

#[test]
fn a_number_is_not_given_again_when_its_frame_came_back() {
    let mut queues = Queues::default();
    for size in 101..=104 {
        assert!(offered(&mut queues, Lane::Broadcast, Need::Plain, size));
    }
    for _ in 0..3 {
        taken(&mut queues);
    }
    assert_eq!(queues.acknowledge(1).frames, 1);
    let sizes = queues.clear_broadcast().iter().map(|frame| frame.len()).collect::<Vec<_>>();
    assert_eq!(sizes, [102, 103, 104]);
    assert!(offered(&mut queues, Lane::Broadcast, Need::Plain, 105));
    assert_eq!(taken(&mut queues), Some((Lane::Broadcast, 105)));
    assert_eq!(queues.acknowledge(3).frames, 0, "of frames that came back");
    assert_eq!(queues.acknowledge(4).frames, 1, "it left as number 4");
    queues.check().expect("the bounds hold");
}

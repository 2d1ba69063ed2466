//! What must stay true of the queue of one topic.

use super::*;
use crate::gossip::tests::replica;

#[test]
fn the_transmission_limit_grows_with_the_logarithm() {
    let limits = [1, 2, 3, 4, 7, 60, 1000].map(sent_max);
    assert_eq!(limits, [3, 6, 6, 9, 9, 18, 30]);
}

#[test]
fn a_smaller_cluster_retires_at_once_what_was_sent_often_enough_for_it() {
    let mut backlog = Backlog::new(8);
    backlog.resize(60);
    backlog.enqueue(Topic::FACTS, &replica("n1"), 0, 4);
    let mut place = Place { sent: 0, sequence: 1, from: 0 };
    for _ in 0..7 {
        place = backlog.sent(Topic::FACTS, place, 4).expect("18 are allowed");
    }
    backlog.resize(3);
    backlog.assert_invariants();
    assert!(backlog.is_empty());
    let tally = backlog.queue(Topic::FACTS).expect("it had an item").tally;
    assert_eq!(tally, Tally { enqueued: 1, retired: 1, ..Tally::default() });
}

#[test]
fn pieces_of_one_item_that_meet_at_one_place_become_one() {
    let mut backlog = Backlog::new(8);
    backlog.resize(9);
    backlog.enqueue(Topic::FACTS, &replica("n1"), 0, 4);
    let whole = Place { sent: 0, sequence: 1, from: 0 };
    backlog.sent(Topic::FACTS, whole, 2);
    let rest = Place { sent: 0, sequence: 1, from: 2 };
    backlog.sent(Topic::FACTS, rest, 4);
    let queue = backlog.queue_mut(Topic::FACTS).expect("it has two items");
    queue.widen(Place { sent: 1, sequence: 1, from: 2 }, 0);
    let queue = backlog.queue(Topic::FACTS).expect("it has an item");
    let items: Vec<(u64, u64)> = queue.items().map(|item| (item.from, item.upto)).collect();
    assert_eq!(items, [(0, 4)]);
    backlog.assert_invariants();
}

#[test]
fn what_is_known_of_a_peer_outlives_a_transmission() {
    let mut backlog = Backlog::new(8);
    backlog.resize(9);
    backlog.enqueue(Topic::FACTS, &replica("n1"), 0, 4);
    let peer = replica("n2").node;
    backlog.known(&peer, Topic::FACTS, &replica("n1"), 4);
    backlog.sent(Topic::FACTS, Place { sent: 0, sequence: 1, from: 0 }, 4);
    let queue = backlog.queue(Topic::FACTS).expect("it has an item");
    let item = queue.items().next().expect("it waits for its second transmission");
    assert!(!queue.is_for(item, &peer));
}

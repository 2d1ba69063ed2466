//! Scripts of queues, windows and pings.
//! `a` is below `m`, `z` above it.

use std::collections::BTreeMap;

use super::{LinkScript, input, node, settings};
use crate::ids::Incarnation;
use crate::link::Links;
use crate::machine::{Counted, Machine};
use crate::random::Rng;
use crate::script::check;
use crate::time::Instant;

#[test]
fn the_ends_ping_in_turns_every_ten_seconds_and_measure_the_round_trip() {
    check::<LinkScript>(
        "
        given  local=m/1
        when   0ms     accepted a1 z
        when   0ms     frame a1 hello z/5
        then   write a1 welcome m/1 protocol=1
        then   up z/5 at 10.0.0.122:7420
        when   0ms     writable a1 10000
        when   0ms     next
        then   1.114284s a dial or a ping
        when   10s     tick
        then   ping_due 1 to z/5
        when   10s     send z ping 1
        then   write a1 Ping(Ping { number: 1, complete: List([]), floors: List([]) })
        when   10010ms frame a1 pong 7
        then   heard z/5
        then   message of z/5: Control(Pong(Pong { number: 7, complete: List([]), floors: List([]) }))
        when   10020ms frame a1 pong 1
        then   heard z/5
        then   round_trip z 20ms
        then   message of z/5: Control(Pong(Pong { number: 1, complete: List([]), floors: List([]) }))
        when   10030ms frame a1 pong 1
        then   heard z/5
        then   message of z/5: Control(Pong(Pong { number: 1, complete: List([]), floors: List([]) }))
        when   10030ms row z
        then   up generation=Some(3) at=10.0.0.122:7420 dialed_by=Some(z) since_ms=10030 round_trip_ms=Some(20) control=(0, 0) gossip=(0, 0) last_error=None next_dial_ms=None
        when   24s     tick
        when   25s     tick
        then   ping_due 2 to z/5
        when   34s     frame a1 ping 9
        then   heard z/5
        then   message of z/5: Control(Ping(Ping { number: 9, complete: List([]), floors: List([]) }))
        when   43s     tick
        when   44s     tick
        then   ping_due 3 to z/5
        ",
    );
}

#[test]
fn a_ping_goes_along_with_what_is_sent_and_wakes_nobody() {
    check::<LinkScript>(
        "
        given  local=m/1
        when   0ms     accepted a1 z
        when   0ms     frame a1 hello z/5
        then   write a1 welcome m/1 protocol=1
        then   up z/5 at 10.0.0.122:7420
        when   0ms     writable a1 10000
        when   1s      frame a1 ping 1
        then   heard z/5
        then   message of z/5: Control(Ping(Ping { number: 1, complete: List([]), floors: List([]) }))
        # Half an interval has not passed since the last.
        when   5999ms  send z gossip 3
        then   write a1 gossip of 3 bytes
        when   6s      send z gossip 3
        then   write a1 gossip of 3 bytes
        then   ping_due 1 to z/5
        when   6s      send z ping 1
        then   write a1 Ping(Ping { number: 1, complete: List([]), floors: List([]) })
        # The next is the peer's, whatever is sent.
        when   20s     send z gossip 3
        then   write a1 gossip of 3 bytes
        when   20s     frame a1 ping 2
        then   heard z/5
        then   message of z/5: Control(Ping(Ping { number: 2, complete: List([]), floors: List([]) }))
        # Where something went in the last interval, ours waits half an interval longer for company.
        when   34999ms tick
        when   35s     tick
        then   ping_due 2 to z/5
        ",
    );
}

#[test]
fn silence_with_frames_waiting_asks_for_a_ping_early() {
    check::<LinkScript>(
        "
        given  local=m/1
        when   0ms     accepted a1 z
        when   0ms     frame a1 hello z/5
        then   write a1 welcome m/1 protocol=1
        then   up z/5 at 10.0.0.122:7420
        when   10s     tick
        then   ping_due 1 to z/5
        when   10s     send z ping 1
        when   10s     next
        then   15s a dial or a ping
        when   15s     tick
        then   ping_due 2 to z/5
        when   15s     next
        then   20s a dial or a ping
        ",
    );
}

#[test]
fn thirty_seconds_without_a_frame_close_the_connection() {
    check::<LinkScript>(
        "
        given  local=m/1
        when   0ms     member z/5
        when   0ms     accepted a1 z
        when   0ms     frame a1 hello z/5
        then   write a1 welcome m/1 protocol=1
        then   up z/5 at 10.0.0.122:7420
        when   1s      frame a1 garbage gossip
        then   heard z/5
        then   misbehaved z: an undecodable gossip frame
        when   30s     tick
        then   ping_due 1 to z/5
        when   31s     tick
        then   disconnect a1
        then   down z
        when   31s     row z
        then   backoff generation=None at=10.0.0.122:7420 dialed_by=None since_ms=0 round_trip_ms=None control=(0, 0) gossip=(0, 0) last_error=Some(idle) next_dial_ms=Some(44)
        ",
    );
}

#[test]
fn a_full_queue_refuses_by_its_own_rule_and_pings_always_fit() {
    check::<LinkScript>(
        "
        given  local=m/1
        when   0ms     accepted a1 z
        when   0ms     frame a1 hello z/5
        then   write a1 welcome m/1 protocol=1
        then   up z/5 at 10.0.0.122:7420
        when   1ms     send z gossip 4000 ×1024
        when   2ms     send z gossip 4000
        then   refused gossip to z: queue_full
        when   3ms     send z departed 4 ×4096
        when   4ms     send z departed 4
        then   refused control to z: queue_full
        when   5ms     send z pong 1 ×256
        when   6ms     send z pong 1
        then   refused control to z: queue_full
        when   7ms     row z
        then   up generation=Some(3) at=10.0.0.122:7420 dialed_by=Some(z) since_ms=7 round_trip_ms=None control=(4352, 78848) gossip=(1024, 4112384) last_error=None next_dial_ms=None
        ",
    );
}

#[test]
fn the_whole_node_has_one_bound_as_well() {
    check::<LinkScript>(
        "
        given  local=m/1 queue_bytes=100
        when   0ms     accepted a1 z
        when   0ms     frame a1 hello z/5
        then   write a1 welcome m/1 protocol=1
        then   up z/5 at 10.0.0.122:7420
        when   0ms     accepted a2 y
        when   0ms     frame a2 hello y/5
        then   write a2 welcome m/1 protocol=1
        then   up y/5 at 10.0.0.121:7420
        when   1ms     send z gossip 60
        when   2ms     send y gossip 60
        then   refused gossip to y: queue_full
        when   2ms     send y gossip 8
        when   3ms     send y ping 1
        when   4ms     closed a1
        then   down z
        when   5ms     send y gossip 60
        then   refused gossip to y: queue_full
        when   6ms     send y gossip 300000
        then   refused gossip to y: too_large
        ",
    );
}

#[test]
fn a_message_without_a_link_is_refused_and_never_silent() {
    check::<LinkScript>(
        "
        given  local=m/1
        when   0ms     send z gossip 10
        then   refused gossip to z: not_a_member
        when   0ms     member z/5
        when   0ms     send z departed 4
        then   refused control to z: unreachable
        ",
    );
}

#[test]
fn the_window_is_filled_and_one_frame_more() {
    check::<LinkScript>(
        "
        given  local=m/1
        when   0ms     accepted a1 z
        when   0ms     frame a1 hello z/5
        then   write a1 welcome m/1 protocol=1
        then   up z/5 at 10.0.0.122:7420
        when   1ms     send z gossip 100 ×3
        when   2ms     writable a1 60
        then   write a1 gossip of 100 bytes
        when   3ms     writable a1 30
        when   4ms     writable a1 116
        then   write a1 gossip of 100 bytes
        when   5ms     writable a1 1
        ",
    );
}

fn counts(links: &Links) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    links.counts(&mut |count| {
        let name = format!("{} {:?}", count.name, count.labels);
        assert!(counts.insert(name.replace('"', ""), count.value).is_none(), "a series twice");
    });
    counts
}

#[test]
fn every_series_is_there_from_the_start_and_every_frame_is_counted_once() {
    let local = super::replica("m/1");
    let rng = Rng::from_number(1);
    let mut links = Links::new(settings(&node("m")), local, Incarnation(1), Instant::ZERO, rng);
    let fresh = counts(&links);
    assert_eq!(fresh.len(), 74);
    assert!(fresh.values().all(|value| *value == 0));
    for line in [
        "accepted a1 z",
        "frame a1 hello z/5",
        "send z gossip 84",
        "send z gossip 84",
        "writable a1 200",
        "send z gossip 84",
        "send z gossip 300000",
        "frame a1 ping 1",
        "closed a1",
        "accepted a2 z",
        "frame a2 hello z/5 cluster=test",
    ] {
        let words: Vec<&str> = line.split_whitespace().collect();
        links.handle(Instant::ZERO, input(&words), &mut Vec::new());
    }
    let mut changed = counts(&links);
    changed.retain(|_, value| *value != 0);
    let expected = [
        ("link_bytes_total Two(class, control, direction, received)", 20),
        ("link_bytes_total Two(class, gossip, direction, sent)", 200),
        ("link_dropped_total Two(class, gossip, reason, reconnect)", 1),
        ("link_frames_total Two(class, control, direction, received)", 1),
        ("link_frames_total Two(class, gossip, direction, sent)", 2),
        ("link_handshakes_total One(outcome, cluster)", 1),
        ("link_handshakes_total One(outcome, ok)", 1),
        ("link_refused_total One(class, gossip)", 1),
    ];
    let expected: BTreeMap<String, u64> =
        expected.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    assert_eq!(changed, expected);
}

//! Scripts of sequenced delivery: numbers, acknowledgements, reconnects and the end of a life.

use super::LinkScript;
use crate::script::check;

#[test]
fn frames_are_numbered_and_kept_until_they_are_acknowledged() {
    check::<LinkScript>(
        "
        given  local=m/1
        when   0ms     member z/5
        when   0ms     accepted a1 z
        when   0ms     frame a1 hello z/5
        then   write a1 welcome m/1 protocol=1
        then   up z/5 at 10.0.0.122:7420
        when   0ms     writable a1 100000
        when   1ms     send z broadcast one
        then   write a1 broadcast 1 one
        when   1ms     send z broadcast two
        then   write a1 broadcast 2 two
        when   2ms     row z
        then   up generation=Some(3) at=10.0.0.122:7420 dialed_by=Some(z) since_ms=2 round_trip_ms=None control=(0, 0) gossip=(0, 0) last_error=None next_dial_ms=None
        when   3ms     frame a1 acknowledged 1 1
        then   heard z/5
        when   3ms     row z
        then   up generation=Some(3) at=10.0.0.122:7420 dialed_by=Some(z) since_ms=3 round_trip_ms=None control=(0, 0) gossip=(0, 0) last_error=None next_dial_ms=None
        # Of a life of ours that is over, or never given: nothing is let go.
        when   4ms     frame a1 acknowledged 9 2
        then   heard z/5
        when   4ms     frame a1 acknowledged 1 3
        then   heard z/5
        when   4ms     row z
        then   up generation=Some(3) at=10.0.0.122:7420 dialed_by=Some(z) since_ms=4 round_trip_ms=None control=(0, 0) gossip=(0, 0) last_error=None next_dial_ms=None
        when   5ms     frame a1 acknowledged 1 2
        then   heard z/5
        when   5ms     row z
        then   up generation=Some(3) at=10.0.0.122:7420 dialed_by=Some(z) since_ms=5 round_trip_ms=None control=(0, 0) gossip=(0, 0) last_error=None next_dial_ms=None
        ",
    );
}

#[test]
fn half_a_batch_that_arrived_is_not_sent_again() {
    check::<LinkScript>(
        "
        given  local=m/1
        when   0ms     member z/5
        when   0ms     accepted a1 z
        when   0ms     frame a1 hello z/5
        then   write a1 welcome m/1 protocol=1
        then   up z/5 at 10.0.0.122:7420
        when   0ms     writable a1 100000
        when   1ms     send z broadcast one
        then   write a1 broadcast 1 one
        when   1ms     send z broadcast two
        then   write a1 broadcast 2 two
        when   1ms     send z broadcast three
        then   write a1 broadcast 3 three
        when   2ms     closed a1
        then   down z
        # It waits for the next connection.
        when   3ms     send z broadcast four
        when   4ms     accepted a2 z
        when   4ms     frame a2 hello z/5 resume=1:2
        then   write a2 welcome m/1 protocol=1
        then   up z/5 at 10.0.0.122:7420
        when   4ms     writable a2 100000
        then   write a2 broadcast 3 three
        then   write a2 broadcast 4 four
        when   5ms     frame a2 acknowledged 1 4
        then   heard z/5
        when   5ms     row z
        then   up generation=Some(5) at=10.0.0.122:7420 dialed_by=Some(z) since_ms=1 round_trip_ms=None control=(0, 0) gossip=(0, 0) last_error=Some(closed) next_dial_ms=None
        ",
    );
}

#[test]
fn what_arrives_twice_is_dropped_and_told_again() {
    check::<LinkScript>(
        "
        given  local=m/1
        when   0ms     accepted a1 z
        when   0ms     frame a1 hello z/5
        then   write a1 welcome m/1 protocol=1
        then   up z/5 at 10.0.0.122:7420
        when   0ms     writable a1 100000
        when   1ms     frame a1 broadcast 1 one
        then   heard z/5
        then   message of z/5: Broadcast(one)
        when   2ms     frame a1 broadcast 2 two
        then   heard z/5
        then   message of z/5: Broadcast(two)
        when   2ms     next
        then   0.051s an acknowledgement
        when   51ms    tick
        then   write a1 Acknowledged(Acknowledged { sender: 5, sequence: 2 })
        when   60ms    frame a1 broadcast 2 two
        then   heard z/5
        when   110ms   tick
        then   write a1 Acknowledged(Acknowledged { sender: 5, sequence: 2 })
        ",
    );
}

#[test]
fn sixty_four_frames_are_acknowledged_at_once() {
    let mut script = String::from(
        "
        given  local=m/1
        when   0ms     accepted a1 z
        when   0ms     frame a1 hello z/5
        then   write a1 welcome m/1 protocol=1
        then   up z/5 at 10.0.0.122:7420
        when   0ms     writable a1 100000
        ",
    );
    for number in 1..=64 {
        script += &format!(
            "when 1ms frame a1 broadcast {number} x\nthen heard z/5\nthen message of z/5: Broadcast(x)\n"
        );
    }
    script += "then write a1 Acknowledged(Acknowledged { sender: 5, sequence: 64 })";
    check::<LinkScript>(&script);
}

#[test]
fn a_gap_closes_the_connection_and_a_handshake_tells_where_we_are() {
    check::<LinkScript>(
        "
        given  local=m/1
        when   0ms     member z/5
        when   0ms     accepted a1 z
        when   0ms     frame a1 hello z/5
        then   write a1 welcome m/1 protocol=1
        then   up z/5 at 10.0.0.122:7420
        when   0ms     writable a1 100000
        when   1ms     frame a1 broadcast 1 one
        then   heard z/5
        then   message of z/5: Broadcast(one)
        when   2ms     frame a1 broadcast 3 three
        then   heard z/5
        then   disconnect a1
        then   down z
        when   3ms     accepted a2 z
        when   3ms     frame a2 hello z/5
        then   write a2 welcome m/1 protocol=1
        then   up z/5 at 10.0.0.122:7420
        when   3ms     writable a2 100000
        when   4ms     frame a2 broadcast 2 two
        then   heard z/5
        then   message of z/5: Broadcast(two)
        # A frame of another class has no number, and one of this class has one.
        when   5ms     frame a2 broadcast 0 zero
        then   misbehaved z: flags that this class does not have
        then   disconnect a2
        then   down z
        ",
    );
}

#[test]
fn what_came_back_to_its_sender_is_not_waited_for_on_the_next_connection() {
    check::<LinkScript>(
        "
        given  local=m/1
        when   0ms     member z/5
        when   0ms     accepted a1 z
        when   0ms     frame a1 hello z/5
        then   write a1 welcome m/1 protocol=1
        then   up z/5 at 10.0.0.122:7420
        when   1ms     frame a1 broadcast 1 one
        then   heard z/5
        then   message of z/5: Broadcast(one)
        # It gave us up and came back; two and three came back to it, and two is late.
        when   2ms     accepted a2 z
        when   2ms     frame a2 hello z/5
        then   write a2 welcome m/1 protocol=1
        then   write a1 bye Duplicate
        then   disconnect a1
        when   3ms     frame a1 broadcast 2 two
        when   4ms     frame a2 broadcast 4 four
        then   heard z/5
        then   message of z/5: Broadcast(four)
        when   5ms     frame a1 broadcast 3 three
        when   6ms     frame a2 broadcast 5 five
        then   heard z/5
        then   message of z/5: Broadcast(five)
        when   7ms     frame a2 broadcast 7 seven
        then   heard z/5
        then   disconnect a2
        then   down z
        ",
    );
}

#[test]
fn when_a_life_ends_what_was_not_acknowledged_comes_back() {
    check::<LinkScript>(
        "
        given  local=m/1
        when   0ms     member z/5
        when   0ms     accepted a1 z
        when   0ms     frame a1 hello z/5
        then   write a1 welcome m/1 protocol=1
        then   up z/5 at 10.0.0.122:7420
        when   0ms     writable a1 100000
        when   1ms     send z broadcast one
        then   write a1 broadcast 1 one
        when   1ms     send z broadcast two
        then   write a1 broadcast 2 two
        when   2ms     frame a1 acknowledged 1 1
        then   heard z/5
        # The successor gets numbers of its own.
        when   3ms     accepted a2 z
        when   3ms     frame a2 hello z/6
        then   write a2 welcome m/1 protocol=1
        then   write a1 bye Duplicate
        then   disconnect a1
        then   down z
        then   undelivered to z/5: two
        then   up z/6 at 10.0.0.122:7420
        when   3ms     writable a2 100000
        when   4ms     send z broadcast three
        then   write a2 broadcast 1 three
        when   5ms     failed z/6
        then   write a2 Departed(Departed { incarnation: 6 })
        then   write a2 bye Closing
        then   disconnect a2
        then   down z
        then   undelivered to z/6: three
        when   6ms     send z broadcast four
        then   refused broadcast to z: unreachable
        # It was not dead: what came back may be on its way still, so its number is not given again.
        when   7ms     accepted a3 z
        when   7ms     frame a3 hello z/6
        then   write a3 welcome m/1 protocol=1
        then   up z/6 at 10.0.0.122:7420
        when   7ms     writable a3 100000
        when   8ms     member z/6
        when   8ms     send z broadcast five
        then   write a3 broadcast 2 five
        ",
    );
}

#[test]
fn our_own_new_life_starts_from_one() {
    check::<LinkScript>(
        "
        given  local=m/1
        when   0ms     member z/5
        when   0ms     accepted a1 z
        when   0ms     frame a1 hello z/5
        then   write a1 welcome m/1 protocol=1
        then   up z/5 at 10.0.0.122:7420
        when   0ms     writable a1 100000
        when   1ms     send z broadcast one
        then   write a1 broadcast 1 one
        when   2ms     raised m/2
        then   write a1 bye Closing
        then   disconnect a1
        then   down z
        then   undelivered to z/5: one
        when   3ms     accepted a2 z
        when   3ms     frame a2 hello z/5 resume=1:1
        then   write a2 welcome m/2 protocol=1
        then   up z/5 at 10.0.0.122:7420
        when   3ms     writable a2 100000
        when   4ms     send z broadcast two
        then   write a2 broadcast 1 two
        ",
    );
}

#[test]
fn a_full_queue_refuses_the_newest_and_counts_what_is_not_acknowledged() {
    check::<LinkScript>(
        "
        given  local=m/1
        when   0ms     member z/5
        when   0ms     send z broadcast x ×4096
        when   1ms     send z broadcast y
        then   refused broadcast to z: queue_full
        when   1ms     row z
        then   backoff generation=None at=10.0.0.122:7420 dialed_by=None since_ms=1 round_trip_ms=None control=(0, 0) gossip=(0, 0) last_error=None next_dial_ms=Some(0)
        ",
    );
}

//! Scripts of dials and duplicates: when somebody is dialled and which connection stays.
//! `a` is below `m`, `z` above it.

use super::LinkScript;
use crate::script::check;

#[test]
fn the_lower_node_dials_at_once_and_the_handshake_names_both() {
    check::<LinkScript>(
        "
        given  local=m/1
        when   0ms     member z/5
        when   0ms     tick
        then   connect d1 to 10.0.0.122:7420
        when   5ms     connected d1
        then   write d1 hello m/1 calls z
        when   10ms    frame d1 welcome z/5
        then   up z/5 at 10.0.0.122:7420
        when   10ms    row z
        then   up generation=Some(2) at=10.0.0.122:7420 dialed_by=Some(m) since_ms=0 round_trip_ms=None control=(0, 0) gossip=(0, 0) last_error=None next_dial_ms=None
        when   11ms    writable d1 1000
        ",
    );
}

#[test]
fn the_higher_node_waits_half_a_second() {
    check::<LinkScript>(
        "
        given  local=m/1
        when   0ms     member a/5
        when   499ms   tick
        when   500ms   tick
        then   connect d1 to 10.0.0.97:7420
        ",
    );
}

#[test]
fn who_is_only_known_to_be_failed_is_dialled_every_ten_seconds() {
    // Its next life is heard of, and failed as well: that puts off nothing.
    check::<LinkScript>(
        "
        given  local=m/1
        when   0ms     look_for z/5
        when   0ms     next
        then   8.445713s a dial or a ping
        when   5s      look_for z/6
        when   5s      next
        then   8.445713s a dial or a ping
        when   12s     tick
        then   connect d1 to 10.0.0.122:7420
        when   13s     connect_failed d1
        when   13s     next
        then   22.196911s a dial or a ping
        when   20s     forgotten z 6
        when   20s     row z
        ",
    );
}

#[test]
fn a_dialer_waits_as_the_refusal_says() {
    // In the middle a new address ends the wait.
    check::<LinkScript>(
        "
        given  local=m/1
        when   0ms     member z/5
        when   0ms     tick
        then   connect d1 to 10.0.0.122:7420
        when   1ms     connected d1
        then   write d1 hello m/1 calls z
        when   1ms     frame d1 refused wrong_node
        then   disconnect d1
        when   1ms     next
        then   60.001s a dial or a ping
        when   60001ms tick
        then   connect d2 to 10.0.0.122:7420
        when   60002ms connected d2
        then   write d2 hello m/1 calls z
        when   60002ms frame d2 refused leaving
        then   disconnect d2
        when   60002ms next
        then   70.002s a dial or a ping
        when   70002ms tick
        then   connect d3 to 10.0.0.122:7420
        when   70003ms connected d3
        then   write d3 hello m/1 calls z
        when   70003ms frame d3 refused self
        then   disconnect d3
        when   70003ms next
        then   670.003s a dial or a ping
        when   70004ms moved z/5 10.0.0.1:7420
        when   70004ms tick
        then   connect d4 to 10.0.0.1:7420
        when   70005ms connected d4
        then   write d4 hello m/1 calls z
        when   70005ms frame d4 refused stale 9
        then   stale known=9 by 10.0.0.1:7420
        then   disconnect d4
        when   70005ms next
        then   70.051943s a dial or a ping
        when   71s     tick
        then   connect d5 to 10.0.0.1:7420
        when   71s     connected d5
        then   write d5 hello m/1 calls z
        when   71s     frame d5 refused settings names.lease_ms
        then   disconnect d5
        when   71s     next
        then   131s a dial or a ping
        ",
    );
}

#[test]
fn closed_without_a_byte_keeps_the_schedule() {
    check::<LinkScript>(
        "
        given  local=m/1
        when   0ms     member z/5
        when   0ms     tick
        then   connect d1 to 10.0.0.122:7420
        when   1ms     connected d1
        then   write d1 hello m/1 calls z
        when   2ms     closed d1
        when   2ms     row z
        then   backoff generation=None at=10.0.0.122:7420 dialed_by=None since_ms=2 round_trip_ms=None control=(0, 0) gossip=(0, 0) last_error=Some(closed) next_dial_ms=Some(40)
        ",
    );
}

#[test]
fn a_dial_that_nobody_answers_ends_after_five_seconds_and_is_repeated() {
    check::<LinkScript>(
        "
        given  local=m/1
        when   0ms     member z/5
        when   0ms     tick
        then   connect d1 to 10.0.0.122:7420
        when   5s      tick
        then   disconnect d1
        when   5s      row z
        then   backoff generation=None at=10.0.0.122:7420 dialed_by=None since_ms=5000 round_trip_ms=None control=(0, 0) gossip=(0, 0) last_error=Some(timeout) next_dial_ms=Some(40)
        when   5100ms  tick
        then   connect d2 to 10.0.0.122:7420
        when   5101ms  connect_failed d2
        when   5101ms  row z
        then   backoff generation=None at=10.0.0.122:7420 dialed_by=None since_ms=5101 round_trip_ms=None control=(0, 0) gossip=(0, 0) last_error=Some(connect) next_dial_ms=Some(89)
        ",
    );
}

#[test]
fn both_sides_dial_at_once_and_the_lower_ones_connection_stays() {
    // Seen from the lower side: it closes the loser.
    check::<LinkScript>(
        "
        given  local=m/1
        when   0ms     member z/5
        when   0ms     tick
        then   connect d1 to 10.0.0.122:7420
        when   1ms     accepted a1 z
        when   2ms     connected d1
        then   write d1 hello m/1 calls z
        when   3ms     frame a1 hello z/5 called=m
        then   write a1 welcome m/1 protocol=1
        then   up z/5 at 10.0.0.122:7420
        when   4ms     frame d1 welcome z/5
        then   write a1 bye Duplicate
        then   disconnect a1
        when   5ms     closed a1
        when   6ms     row z
        then   up generation=Some(2) at=10.0.0.122:7420 dialed_by=Some(m) since_ms=3 round_trip_ms=None control=(0, 0) gossip=(0, 0) last_error=None next_dial_ms=None
        ",
    );
    // Seen from the higher side: it sends on the winner and waits for the other's goodbye.
    check::<LinkScript>(
        "
        given  local=m/1
        when   0ms     member a/5
        when   500ms   tick
        then   connect d1 to 10.0.0.97:7420
        when   501ms   connected d1
        then   write d1 hello m/1 calls a
        when   502ms   accepted a1 a
        when   503ms   frame d1 welcome a/5
        then   up a/5 at 10.0.0.97:7420
        when   504ms   frame a1 hello a/5 called=m
        then   write a1 welcome m/1 protocol=1
        when   505ms   writable a1 100
        when   505ms   send a gossip 10
        then   write a1 gossip of 10 bytes
        when   506ms   frame d1 bye duplicate
        then   disconnect d1
        when   507ms   row a
        then   up generation=Some(3) at=10.0.0.97:7420 dialed_by=Some(a) since_ms=4 round_trip_ms=None control=(0, 0) gossip=(0, 0) last_error=None next_dial_ms=None
        ",
    );
}

#[test]
fn a_dial_without_transport_is_given_up_when_the_peer_comes_first() {
    check::<LinkScript>(
        "
        given  local=m/1
        when   0ms     member z/5
        when   0ms     tick
        then   connect d1 to 10.0.0.122:7420
        when   1ms     accepted a1 z
        when   2ms     frame a1 hello z/5 called=m
        then   write a1 welcome m/1 protocol=1
        then   disconnect d1
        then   up z/5 at 10.0.0.122:7420
        when   3ms     connected d1
        ",
    );
}

#[test]
fn from_one_side_the_newer_connection_wins_and_what_waits_moves() {
    check::<LinkScript>(
        "
        given  local=m/1
        when   0ms     accepted a1 z
        when   0ms     frame a1 hello z/5
        then   write a1 welcome m/1 protocol=1
        then   up z/5 at 10.0.0.122:7420
        when   1ms     send z gossip 10
        when   1ms     send z departed 4
        when   2ms     accepted a2 z
        when   2ms     frame a2 hello z/5
        then   write a2 welcome m/1 protocol=1
        then   write a1 bye Duplicate
        then   disconnect a1
        when   3ms     writable a2 1000
        then   write a2 Departed(Departed { incarnation: 4 })
        then   write a2 gossip of 10 bytes
        when   4ms     closed a1
        ",
    );
}

#[test]
fn when_the_connection_in_use_ends_the_spare_takes_over() {
    check::<LinkScript>(
        "
        given  local=m/1
        when   0ms     accepted a1 a
        when   0ms     frame a1 hello a/5
        then   write a1 welcome m/1 protocol=1
        then   up a/5 at 10.0.0.97:7420
        when   1ms     accepted a2 a
        when   1ms     frame a2 hello a/5
        then   write a2 welcome m/1 protocol=1
        when   2ms     send a gossip 10
        when   3ms     closed a2
        when   4ms     writable a1 1000
        then   write a1 gossip of 10 bytes
        when   5ms     accepted a3 a
        when   5ms     frame a3 hello a/5
        then   write a3 welcome m/1 protocol=1
        when   6ms     accepted a4 a
        when   6ms     frame a4 hello a/5
        then   write a4 welcome m/1 protocol=1
        when   7ms     accepted a5 a
        when   7ms     frame a5 hello a/5
        then   write a5 welcome m/1 protocol=1
        when   8ms     accepted a6 a
        when   8ms     frame a6 hello a/5
        then   write a6 welcome m/1 protocol=1
        then   write a1 bye Duplicate
        then   disconnect a1
        ",
    );
}

#[test]
fn a_reborn_peer_is_dialled_at_once_and_inherits_no_wait() {
    // First membership hears of a new life; then one comes by itself, before anybody noticed that the
    // last one ended; then membership hears of one before the link does.
    check::<LinkScript>(
        "
        given  local=m/1 redial_ms=4000
        when   0ms     member z/5
        when   0ms     tick
        then   connect d1 to 10.0.0.122:7420
        when   1ms     connect_failed d1
        when   2ms     next
        then   3.223856s a dial or a ping
        when   3ms     member z/6
        when   3ms     tick
        then   connect d2 to 10.0.0.122:7420
        when   4ms     connected d2
        then   write d2 hello m/1 calls z
        when   5ms     frame d2 welcome z/6
        then   up z/6 at 10.0.0.122:7420
        when   6ms     send z gossip 10
        when   7ms     accepted a1 z
        when   8ms     frame a1 hello z/7
        then   write a1 welcome m/1 protocol=1
        then   write d2 bye Duplicate
        then   disconnect d2
        then   down z
        then   up z/7 at 10.0.0.122:7420
        when   9ms     closed d2
        when   10ms    member z/8
        then   write a1 bye Closing
        then   disconnect a1
        then   down z
        when   10ms    tick
        then   connect d3 to 10.0.0.122:7420
        ",
    );
}

#[test]
fn a_link_that_breaks_early_is_redialled_later_each_time() {
    check::<LinkScript>(
        "
        given  local=m/1
        when   0ms     member z/5
        when   0ms     tick
        then   connect d1 to 10.0.0.122:7420
        when   1ms     connected d1
        then   write d1 hello m/1 calls z
        when   1ms     frame d1 welcome z/5
        then   up z/5 at 10.0.0.122:7420
        when   2ms     closed d1
        then   down z
        when   2ms     next
        then   0.04698s a dial or a ping
        when   200ms   tick
        then   connect d2 to 10.0.0.122:7420
        when   201ms   connected d2
        then   write d2 hello m/1 calls z
        when   201ms   frame d2 welcome z/5
        then   up z/5 at 10.0.0.122:7420
        when   202ms   closed d2
        then   down z
        when   202ms   next
        then   0.295886s a dial or a ping
        when   500ms   tick
        then   connect d3 to 10.0.0.122:7420
        when   501ms   connected d3
        then   write d3 hello m/1 calls z
        when   501ms   frame d3 welcome z/5
        then   up z/5 at 10.0.0.122:7420
        when   10501ms closed d3
        then   down z
        when   10501ms next
        then   10.553847s a dial or a ping
        ",
    );
}

#[test]
fn a_datagram_after_a_long_silence_ends_the_wait() {
    check::<LinkScript>(
        "
        given  local=m/1 redial_ms=4000
        when   0ms     member z/5
        when   0ms     tick
        then   connect d1 to 10.0.0.122:7420
        when   1s      connect_failed d1
        when   1s      heard z
        when   1s      next
        then   4.222856s a dial or a ping
        when   2s      failed z/5
        when   2s      next
        then   11.196911s a dial or a ping
        when   3s      member z/5
        when   3s      tick
        then   connect d2 to 10.0.0.122:7420
        when   40s     connect_failed d2
        when   41s     heard z
        when   41s     tick
        then   connect d3 to 10.0.0.122:7420
        ",
    );
}

#[test]
fn an_event_of_an_older_generation_changes_nothing() {
    check::<LinkScript>(
        "
        given  local=m/1
        when   0ms     member z/5
        when   0ms     tick
        then   connect d1 to 10.0.0.122:7420
        when   1ms     connected d1
        then   write d1 hello m/1 calls z
        when   1ms     connected d1
        when   1ms     frame d1 welcome z/5
        then   up z/5 at 10.0.0.122:7420
        when   2ms     closed d1
        then   down z
        when   3ms     closed d1
        when   3ms     frame d1 ping 1
        when   3ms     connected d1
        when   3ms     connect_failed d1
        when   3ms     writable d1 1000
        when   3ms     broken d1
        when   3ms     frame d9 hello z/5
        when   3ms     row z
        then   backoff generation=None at=10.0.0.122:7420 dialed_by=None since_ms=1 round_trip_ms=None control=(0, 0) gossip=(0, 0) last_error=Some(closed) next_dial_ms=Some(43)
        ",
    );
}

#[test]
fn a_seed_answers_with_a_link_or_a_failure() {
    // A seed that is linked already gives a duplicate, and still an answer.
    check::<LinkScript>(
        "
        given  local=m/1
        when   0ms     seed z
        then   connect d1 to 10.0.0.122:7420
        when   0ms     seed z
        when   1ms     connect_failed d1
        then   seed_failed 10.0.0.122:7420 refused=false
        when   2ms     seed z
        then   connect d2 to 10.0.0.122:7420
        when   3ms     connected d2
        then   write d2 hello m/1 calls anybody
        when   3ms     frame d2 welcome z/5
        then   up z/5 at 10.0.0.122:7420
        when   4ms     seed z
        then   connect d3 to 10.0.0.122:7420
        when   5ms     connected d3
        then   write d3 hello m/1 calls anybody
        when   5ms     frame d3 welcome z/5
        then   write d2 bye Duplicate
        then   disconnect d2
        then   up z/5 at 10.0.0.122:7420
        when   6ms     seed m
        then   connect d4 to 10.0.0.109:7420
        when   7ms     connected d4
        then   write d4 hello m/1 calls anybody
        when   7ms     frame d4 refused self
        then   disconnect d4
        then   seed_failed 10.0.0.109:7420 refused=true
        when   8ms     seed m
        then   seed_failed 10.0.0.109:7420 refused=true
        when   600008ms seed m
        then   connect d5 to 10.0.0.109:7420
        ",
    );
}

//! Scripts of the handshake: who comes in, and what the others are told.
//! `a` is below `m`, `z` above it.

use super::LinkScript;
use crate::script::check;

#[test]
fn somebody_unknown_who_can_greet_is_connected() {
    check::<LinkScript>(
        "
        given  local=m/1
        when   0ms     accepted a1 z
        when   1ms     frame a1 hello z/5 called=m
        then   write a1 welcome m/1 protocol=1
        then   up z/5 at 10.0.0.122:7420
        when   2ms     send z gossip 10
        when   3ms     writable a1 100
        then   write a1 gossip of 10 bytes
        when   4ms     frame a1 garbage gossip
        then   heard z/5
        then   misbehaved z: an undecodable gossip frame
        ",
    );
}

#[test]
fn a_life_whose_fence_had_no_room_is_welcome_again() {
    check::<LinkScript>(
        "
        given  local=m/3 fences=1
        when   0ms     forgotten y 7
        when   1ms     forgotten x 2
        when   2ms     member y/7
        when   3ms     accepted a1 y
        when   3ms     frame a1 hello y/7
        then   write a1 welcome m/3 protocol=1
        then   up y/7 at 10.0.0.121:7420
        ",
    );
}

#[test]
fn each_refusal_of_a_hello_is_told_and_a_stranger_hears_nothing() {
    check::<LinkScript>(
        "
        given  local=m/3
        when   0ms     forgotten y 7
        when   0ms     member z/5
        when   0ms     accepted a1 z
        when   1ms     frame a1 hello z/5 magic=bad
        then   disconnect a1
        when   2ms     accepted a2 z
        when   2ms     frame a2 hello z/5 cluster=test
        then   disconnect a2
        when   3ms     accepted a3 z
        when   3ms     frame a3 hello z/5 called=n
        then   write a3 refused WrongNode
        then   disconnect a3
        when   4ms     accepted a4 m
        when   4ms     frame a4 hello m/3
        then   write a4 refused SelfCall
        then   disconnect a4
        when   5ms     accepted a5 z
        when   5ms     frame a5 hello z/5 protocol=2
        then   write a5 refused Version { min: 1, max: 1 }
        then   disconnect a5
        when   6ms     accepted a6 z
        when   6ms     frame a6 hello z/5 lease_ms=7
        then   write a6 refused Settings { name: names.lease_ms }
        then   disconnect a6
        when   7ms     accepted a7 z
        when   7ms     frame a7 hello z/4
        then   write a7 refused Stale { known: 5 }
        then   disconnect a7
        when   8ms     accepted a8 y
        when   8ms     frame a8 hello y/7
        then   write a8 refused Stale { known: 7 }
        then   disconnect a8
        when   9ms     accepted a9 z
        when   10ms    leave
        then   disconnect a9
        when   10ms    accepted a9 z
        when   11ms    frame a9 hello z/5
        then   write a9 refused Leaving
        then   disconnect a9
        ",
    );
}

#[test]
fn what_cannot_be_secured_is_closed_and_dialled_again_and_a_false_name_is_told() {
    check::<LinkScript>(
        "
        given  local=m/1
        when   0ms     member b/1
        when   500ms   tick
        then   connect d1 to 10.0.0.98:7420
        when   501ms   unsecured d1
        then   disconnect d1
        when   502ms   closed d1
        when   600ms   accepted a1 z
        when   601ms   unsecured a1
        then   disconnect a1
        when   610ms   accepted a2 z
        when   611ms   misnamed a2
        then   write a2 refused WrongNode
        then   misbehaved Some(10.0.0.122:7420): a certificate that names another node
        then   disconnect a2
        when   620ms   seed y
        then   connect d2 to 10.0.0.121:7420
        when   621ms   connected d2
        then   write d2 hello m/1 calls anybody
        when   622ms   misnamed d2
        then   misbehaved Some(10.0.0.121:7420): a certificate that names another node
        then   disconnect d2
        then   seed_failed 10.0.0.121:7420 refused=true
        when   1100ms  tick
        then   connect d3 to 10.0.0.98:7420
        ",
    );
}

#[test]
fn whoever_keeps_another_log_is_refused_and_both_sides_hear_of_it() {
    check::<LinkScript>(
        "
        given  local=m/1
        when   0ms     genesis 7
        when   1ms     accepted a1 z
        when   2ms     frame a1 hello z/5 genesis=8
        then   conflict with z at 10.0.0.122:7420
        then   write a1 refused Genesis
        then   disconnect a1
        when   3ms     accepted a2 z
        when   4ms     frame a2 hello z/5 genesis=7
        then   write a2 welcome m/1 protocol=1
        then   up z/5 at 10.0.0.122:7420
        when   10ms    seed y
        then   connect d1 to 10.0.0.121:7420
        when   11ms    connected d1
        then   write d1 hello m/1 calls anybody
        when   12ms    frame d1 refused genesis
        then   conflict with somebody at 10.0.0.121:7420
        then   disconnect d1
        then   seed_failed 10.0.0.121:7420 refused=true
        ",
    );
}

#[test]
fn a_full_house_refuses_newcomers_and_admits_those_it_knows() {
    check::<LinkScript>(
        "
        given  local=m/1 strangers=2048
        when   0ms     accepted a1 z
        when   1ms     frame a1 hello z/5
        then   write a1 refused Full
        then   disconnect a1
        when   2ms     accepted a2 x
        when   3ms     frame a2 hello x7/1
        then   write a2 welcome m/1 protocol=1
        then   up x7/1 at 10.0.0.120:7420
        ",
    );
}

#[test]
fn somebody_else_who_answers_is_not_the_one_we_called() {
    check::<LinkScript>(
        "
        given  local=m/1
        when   0ms     member z/5
        when   0ms     tick
        then   connect d1 to 10.0.0.122:7420
        when   1ms     connected d1
        then   write d1 hello m/1 calls z
        when   1ms     frame d1 welcome y/5
        then   disconnect d1
        when   1ms     next
        then   60.001s a dial or a ping
        when   60001ms tick
        then   connect d2 to 10.0.0.122:7420
        when   60001ms connected d2
        then   write d2 hello m/1 calls z
        when   60001ms frame d2 welcome z/5 cluster=test
        then   disconnect d2
        when   61s     tick
        then   connect d3 to 10.0.0.122:7420
        when   61s     connected d3
        then   write d3 hello m/1 calls z
        when   61s     frame d3 welcome z/4
        then   disconnect d3
        ",
    );
}

#[test]
fn a_handshake_that_says_nothing_ends_after_five_seconds() {
    check::<LinkScript>(
        "
        given  local=m/1
        when   0ms     accepted a1 z
        when   0ms     seed a
        then   connect d1 to 10.0.0.97:7420
        when   1ms     connected d1
        then   write d1 hello m/1 calls anybody
        when   5s      tick
        then   disconnect a1
        when   5001ms  tick
        then   disconnect d1
        then   seed_failed 10.0.0.97:7420 refused=false
        when   5002ms  frame a1 hello z/5
        ",
    );
}

#[test]
fn nothing_but_session_frames_is_understood_before_the_handshake() {
    check::<LinkScript>(
        "
        given  local=m/1
        when   0ms     accepted a1 z
        when   1ms     frame a1 ping 1
        then   misbehaved Some(10.0.0.122:7420): a frame before the handshake
        then   disconnect a1
        when   2ms     accepted a2 z
        when   3ms     frame a2 garbage session
        then   misbehaved Some(10.0.0.122:7420): an undecodable or misplaced session frame
        then   disconnect a2
        when   4ms     accepted a3 z
        when   5ms     frame a3 hello z/5 addresses=none
        then   misbehaved Some(10.0.0.122:7420): a greeting without an address
        then   disconnect a3
        when   6ms     accepted a4 z
        when   7ms     frame a4 welcome z/5
        then   misbehaved Some(10.0.0.122:7420): an undecodable or misplaced session frame
        then   disconnect a4
        ",
    );
}

#[test]
fn handshakes_at_a_time_are_bounded_in_all_and_per_address() {
    check::<LinkScript>(
        "
        given  local=m/1 accepts=9
        when   0ms     accepted a1 z
        when   0ms     accepted a2 z
        when   0ms     accepted a3 z
        when   0ms     accepted a4 z
        when   0ms     accepted a5 z
        when   0ms     accepted a6 z
        when   0ms     accepted a7 z
        when   0ms     accepted a8 z
        when   0ms     accepted a9 z
        then   disconnect a9
        when   0ms     accepted a10 y
        when   0ms     accepted a11 y
        then   disconnect a11
        when   1ms     closed a1
        when   2ms     accepted a12 y
        ",
    );
}

#[test]
fn who_is_late_with_its_hello_gives_way_to_the_next() {
    check::<LinkScript>(
        "
        given  local=m/1 accepts=2
        when   0ms     accepted a1 z
        when   500ms   accepted a2 y
        when   999ms   accepted a3 x
        then   disconnect a3
        when   1s      accepted a4 x
        then   disconnect a1
        when   1100ms  accepted a5 w
        then   disconnect a5
        when   1500ms  frame a2 hello y/1
        then   write a2 welcome m/1 protocol=1
        then   up y/1 at 10.0.0.121:7420
        when   1501ms  accepted a6 w
        ",
    );
}

#[test]
fn a_peer_that_breaks_the_rules_is_closed_and_left_alone_for_a_minute() {
    check::<LinkScript>(
        "
        given  local=m/1
        when   0ms     member z/5
        when   0ms     accepted a1 z
        when   0ms     frame a1 hello z/5
        then   write a1 welcome m/1 protocol=1
        then   up z/5 at 10.0.0.122:7420
        when   1ms     frame a1 garbage control
        then   heard z/5
        then   misbehaved z: an undecodable control frame
        then   disconnect a1
        then   down z
        when   1ms     next
        then   60.001s a dial or a ping
        when   60001ms tick
        then   connect d1 to 10.0.0.122:7420
        when   60001ms connected d1
        then   write d1 hello m/1 calls z
        when   60001ms frame d1 welcome z/5
        then   up z/5 at 10.0.0.122:7420
        when   60002ms frame d1 sequenced
        then   misbehaved z: flags that this class does not have
        then   disconnect d1
        then   down z
        when   60003ms accepted a2 z
        when   60003ms frame a2 hello z/5
        then   write a2 welcome m/1 protocol=1
        then   up z/5 at 10.0.0.122:7420
        when   60004ms frame a2 hello z/5
        then   misbehaved z: a second handshake on one connection
        then   disconnect a2
        then   down z
        when   60005ms accepted a3 z
        when   60005ms frame a3 hello z/5
        then   write a3 welcome m/1 protocol=1
        then   up z/5 at 10.0.0.122:7420
        when   60006ms broken a3
        then   misbehaved z: unknown frame class
        then   disconnect a3
        then   down z
        ",
    );
}

#[test]
fn a_peer_that_membership_never_confirms_is_swept() {
    check::<LinkScript>(
        "
        given  local=m/1
        when   0ms     accepted a1 z
        when   0ms     frame a1 hello z/5
        then   write a1 welcome m/1 protocol=1
        then   up z/5 at 10.0.0.122:7420
        when   30s     accepted a2 y
        when   30s     frame a2 hello y/5
        then   write a2 welcome m/1 protocol=1
        then   up y/5 at 10.0.0.121:7420
        when   31s     frame a1 ping 1
        then   heard z/5
        then   message of z/5: Control(Ping(Ping { number: 1, complete: List([]), floors: List([]) }))
        when   31s     member y/5
        when   59s     frame a1 ping 2
        then   heard z/5
        then   message of z/5: Control(Ping(Ping { number: 2, complete: List([]), floors: List([]) }))
        when   59s     frame a2 ping 2
        then   heard y/5
        then   message of y/5: Control(Ping(Ping { number: 2, complete: List([]), floors: List([]) }))
        when   60s     tick
        then   write a1 bye Closing
        then   disconnect a1
        then   down z
        ",
    );
}

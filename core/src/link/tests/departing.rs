//! Scripts of peers that go, and of a node that is somebody else from now on.
//! `a` is below `m`, `z` above it.

use super::LinkScript;
use crate::script::check;

#[test]
fn a_failed_peer_is_told_and_dialled_every_ten_seconds() {
    // At the end it comes back as it was, to be told that it is held failed.
    check::<LinkScript>(
        "
        given  local=m/1
        when   0ms     member z/5
        when   0ms     accepted a1 z
        when   0ms     frame a1 hello z/5
        then   write a1 welcome m/1 protocol=1
        then   up z/5 at 10.0.0.122:7420
        when   1s      send z gossip 10
        when   2s      failed z/5
        then   write a1 Departed(Departed { incarnation: 5 })
        then   write a1 bye Closing
        then   disconnect a1
        then   down z
        when   2s      next
        then   11.196911s a dial or a ping
        when   14s     tick
        then   connect d1 to 10.0.0.122:7420
        when   14s     connect_failed d1
        when   14s     next
        then   24.115399s a dial or a ping
        when   27s     tick
        then   connect d2 to 10.0.0.122:7420
        when   27s     connected d2
        then   write d2 hello m/1 calls z
        when   27s     frame d2 welcome z/5
        then   up z/5 at 10.0.0.122:7420
        when   28s     failed z/4
        when   29s     frame d2 bye closing
        then   disconnect d2
        then   down z
        when   30s     forgotten z 5
        when   30s     next
        ",
    );
}

#[test]
fn who_left_is_closed_and_may_not_return_in_that_life() {
    check::<LinkScript>(
        "
        given  local=m/1
        when   0ms     member z/5
        when   0ms     accepted a1 z
        when   0ms     frame a1 hello z/5
        then   write a1 welcome m/1 protocol=1
        then   up z/5 at 10.0.0.122:7420
        when   1s      frame a1 bye leaving
        then   bye z/5 restarting=false
        then   disconnect a1
        then   down z
        when   1s      next
        then   11s a dial or a ping
        when   2s      left z/5
        when   2s      next
        when   3s      accepted a2 z
        when   3s      frame a2 hello z/5
        then   write a2 refused Stale { known: 5 }
        then   disconnect a2
        when   4s      accepted a3 z
        when   4s      frame a3 hello z/6
        then   write a3 welcome m/1 protocol=1
        then   up z/6 at 10.0.0.122:7420
        when   5s      frame a3 bye restarting
        then   bye z/6 restarting=true
        then   disconnect a3
        then   down z
        ",
    );
}

#[test]
fn a_raise_makes_every_connection_anew_under_the_new_name() {
    check::<LinkScript>(
        "
        given  local=m/1
        when   0ms     member z/5
        when   0ms     member y/5
        when   0ms     tick
        then   connect d1 to 10.0.0.121:7420
        then   connect d2 to 10.0.0.122:7420
        when   0ms     accepted a1 x
        when   0ms     frame a1 hello x/1
        then   write a1 welcome m/1 protocol=1
        then   up x/1 at 10.0.0.120:7420
        when   1ms     connected d1
        then   write d1 hello m/1 calls y
        when   1ms     frame d1 welcome y/5
        then   up y/5 at 10.0.0.121:7420
        when   2ms     raised m/9
        then   write a1 bye Closing
        then   disconnect a1
        then   down x
        then   write d1 bye Closing
        then   disconnect d1
        then   down y
        then   disconnect d2
        when   2ms     tick
        then   connect d3 to 10.0.0.121:7420
        then   connect d4 to 10.0.0.122:7420
        when   3ms     connected d3
        then   write d3 hello m/9 calls y
        ",
    );
}

#[test]
fn after_a_long_sleep_nothing_is_left() {
    check::<LinkScript>(
        "
        given  local=m/1
        when   0ms     member z/5
        when   0ms     tick
        then   connect d1 to 10.0.0.122:7420
        when   0ms     seed y
        then   connect d2 to 10.0.0.121:7420
        when   1ms     connected d1
        then   write d1 hello m/1 calls z
        when   1ms     frame d1 welcome z/5
        then   up z/5 at 10.0.0.122:7420
        when   2ms     slept
        then   write d1 bye Closing
        then   disconnect d1
        then   down z
        then   disconnect d2
        then   seed_failed 10.0.0.121:7420 refused=false
        when   2ms     next
        when   3ms     send z gossip 10
        then   refused gossip to z: not_a_member
        ",
    );
}

#[test]
fn leaving_says_goodbye_once_everything_has_left() {
    check::<LinkScript>(
        "
        given  local=m/1
        when   0ms     accepted a1 z
        when   0ms     frame a1 hello z/5
        then   write a1 welcome m/1 protocol=1
        then   up z/5 at 10.0.0.122:7420
        when   0ms     writable a1 1000
        when   0ms     accepted a2 y
        when   0ms     frame a2 hello y/5
        then   write a2 welcome m/1 protocol=1
        then   up y/5 at 10.0.0.121:7420
        when   0ms     accepted a3 x
        when   0ms     frame a3 hello x/5
        then   write a3 welcome m/1 protocol=1
        then   up x/5 at 10.0.0.120:7420
        when   1ms     send y gossip 10
        when   1ms     send x gossip 10
        when   2ms     restart
        then   write a1 bye Restarting
        then   disconnect a1
        then   down z
        when   3ms     writable a2 1000
        then   write a2 gossip of 10 bytes
        then   write a2 bye Restarting
        then   disconnect a2
        then   down y
        when   5002ms  tick
        then   ping_due 1 to x/5
        then   write a3 bye Restarting
        then   disconnect a3
        then   down x
        when   6s      member z/5
        when   6s      seed z
        then   seed_failed 10.0.0.122:7420 refused=false
        ",
    );
}

#[test]
fn who_called_though_it_failed_is_dialled_again_once_its_next_life_is_said_to_have_failed_too() {
    check::<LinkScript>(
        "
        given  local=m/1
        when   0ms     member z/5
        when   0ms     failed z/5
        when   1s      accepted a1 z
        when   1s      frame a1 hello z/5 called=m
        then   write a1 welcome m/1 protocol=1
        then   up z/5 at 10.0.0.122:7420
        when   2s      look_for z/6
        then   write a1 bye Closing
        then   disconnect a1
        then   down z
        when   2s      next
        then   12.115399s a dial or a ping
        ",
    );
}

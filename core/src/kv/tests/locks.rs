//! Every row of the table of locks and semaphores.

use super::harness::KvScript;
use crate::script::check;

#[test]
fn the_first_to_come_holds_and_the_next_is_served_in_order() {
    check::<KvScript>(
        "
        when   0ms     grant 60s
        then   #1 lease 1 for 60000ms
        when   0ms     grant 60s
        then   #2 lease 2 for 60000ms
        when   0ms     grant 60s
        then   #3 lease 3 for 60000ms
        when   1s      acquire app/db lease=1
        then   #4 held fence=1 lease=1
        when   1s      acquire app/db lease=2 wait=10s
        when   2s      acquire app/db lease=3 wait=10s
        when   3s      line app/db
        then   #7 r3 1 permits [1:holds 57000ms, 2:waits 57000ms, 3:waits 57000ms]
        when   4s      release app/db lease=1
        then   #5 held fence=2 lease=2
        then   #8 released r4
        when   5s      release app/db fence=2
        then   #6 held fence=3 lease=3
        then   #9 released r5
        when   6s      line app/db
        then   #10 r5 1 permits [3:holds 54000ms]
        ",
    );
}

#[test]
fn acquiring_again_is_the_same_hold() {
    check::<KvScript>(
        "
        when   0ms     acquire app/db ttl=60s
        then   #1 held fence=1 lease=1
        when   1s      acquire app/db lease=1
        then   #2 held fence=1 lease=1
        when   1s      acquire app/db lease=1 wait=5s
        then   #3 held fence=1 lease=1
        when   1s      line app/db
        then   #4 r1 1 permits [1:holds 59000ms]
        ",
    );
}

#[test]
fn who_has_waited_enough_leaves_the_line_with_its_lease() {
    check::<KvScript>(
        "
        when   0ms     acquire app/db ttl=60s
        then   #1 held fence=1 lease=1
        when   0ms     acquire app/db ttl=60s
        then   #2 contended, 1 before: 1 permits [1:holds 60000ms, 2:waits 60000ms]
        when   1s      acquire app/db ttl=60s wait=2s
        when   2900ms  tick
        when   3s      tick
        then   #3 contended, 1 before: 1 permits [1:holds 59000ms, 4:waits 60000ms]
        when   3s      line app/db
        then   #4 r5 1 permits [1:holds 57000ms]
        when   3s      lease 2
        then   #5 r5 no such lease
        when   3s      lease 4
        then   #6 r5 no such lease
        when   3s      grant 60s
        then   #7 lease 6 for 60000ms
        when   3s      acquire app/db lease=7
        then   #8 refused: lease 7 does not exist; grant a new one
        when   3s      lease 7
        then   #9 r5 no such lease
        ",
    );
}

#[test]
fn a_turn_that_comes_while_leaving_is_taken() {
    check::<KvScript>(
        "
        when   0ms     grant 60s
        then   #1 lease 1 for 60000ms
        when   0ms     acquire app/db lease=1
        then   #2 held fence=1 lease=1
        when   1s      acquire app/db ttl=60s wait=2s
        when   2s      log off
        when   2s      release app/db lease=1
        when   3s      tick
        when   4s      log on
        then   #4 released r3
        then   #3 held fence=2 lease=3
        when   4s      line app/db
        then   #5 r3 1 permits [2:holds 57000ms]
        ",
    );
}

#[test]
fn a_release_takes_exactly_that_contender() {
    check::<KvScript>(
        "
        when   0ms     grant 60s
        then   #1 lease 1 for 60000ms
        when   0ms     grant 60s
        then   #2 lease 2 for 60000ms
        when   0ms     release app/db lease=1
        then   #3 refused: there is no such hold; it was released, or its lease ended
        when   0ms     acquire app/db lease=1
        then   #4 held fence=1 lease=1
        when   0ms     release app/db fence=9
        then   #5 refused: there is no such hold; it was released, or its lease ended
        when   0ms     release app/db lease=2
        then   #6 refused: there is no such hold; it was released, or its lease ended
        when   0ms     release app/db fence=1
        then   #7 released r2
        when   0ms     acquire app/db lease=2
        then   #8 held fence=3 lease=2
        when   1s      release app/db fence=1
        then   #9 refused: there is no such hold; it was released, or its lease ended
        when   1s      line app/db
        then   #10 r3 1 permits [3:holds 59000ms]
        ",
    );
}

#[test]
fn a_lock_ends_with_its_lease_and_the_next_has_a_greater_fence() {
    check::<KvScript>(
        "
        when   0ms     lead on
        when   0ms     acquire app/db ttl=5s
        then   #1 held fence=1 lease=1
        when   1s      acquire app/db ttl=60s wait=20s
        when   4900ms  tick
        when   5s      tick
        then   #2 held fence=2 lease=2
        when   6s      tick
        when   6s      line app/db
        then   #3 r3 1 permits [2:holds 55000ms]
        ",
    );
}

#[test]
fn somebody_in_line_whose_lease_ends_is_told() {
    check::<KvScript>(
        "
        when   0ms     acquire app/db ttl=60s
        then   #1 held fence=1 lease=1
        when   0ms     grant 60s
        then   #2 lease 2 for 60000ms
        when   0ms     acquire app/db lease=2 wait=20s
        when   1s      revoke 2
        then   #3 refused: there is no such hold; it was released, or its lease ended
        then   #4 ended r3, 1 keys
        when   1s      line app/db
        then   #5 r3 1 permits [1:holds 59000ms]
        ",
    );
}

#[test]
fn a_semaphore_has_so_many_holders() {
    check::<KvScript>(
        "
        when   0ms     acquire app/pool ttl=60s permits=2
        then   #1 held fence=1 lease=1
        when   0ms     acquire app/pool ttl=60s permits=2
        then   #2 held fence=2 lease=2
        when   0ms     acquire app/pool ttl=60s permits=2 wait=9s
        when   0ms     acquire app/pool ttl=60s permits=3
        then   #4 refused: the semaphore has 2 permits while it is in use
        when   0ms     acquire app/pool ttl=60s
        then   #5 refused: the semaphore has 2 permits while it is in use
        when   1s      line app/pool
        then   #6 r3 2 permits [1:holds 59000ms, 2:holds 59000ms, 3:waits 59000ms]
        when   2s      release app/pool lease=2
        then   #3 held fence=3 lease=3
        then   #7 released r4
        when   3s      release app/pool lease=1
        then   #8 released r5
        when   3s      release app/pool lease=3
        then   #9 released r6
        when   4s      acquire app/pool ttl=60s permits=3
        then   #10 held fence=7 lease=9
        when   4s      acquire app/pool ttl=60s permits=0
        then   #11 refused: a semaphore has 1 to 1024 permits
        ",
    );
}

#[test]
fn a_line_has_a_bound() {
    check::<KvScript>(
        "
        given  contenders_max=2
        when   0ms     acquire app/db ttl=60s wait=20s
        then   #1 held fence=1 lease=2
        when   0ms     acquire app/db ttl=60s wait=20s
        when   0ms     acquire app/db ttl=60s wait=20s
        then   #3 refused: kv.contenders_max is reached; delete something first
        when   0ms     state
        then   r2 from 0, bytes (160, 158)
        ",
    );
}

#[test]
fn a_line_survives_a_snapshot() {
    check::<KvScript>(
        "
        when   0ms     acquire app/pool ttl=60s permits=2
        then   #1 held fence=1 lease=1
        when   0ms     acquire app/pool ttl=60s permits=2
        then   #2 held fence=2 lease=2
        when   0ms     acquire app/pool ttl=60s permits=2 wait=20s
        when   1s      compact 2
        then   #4 compacted 2
        when   1s      restore
        when   1s      line app/pool
        then   #5 r3 2 permits [1:holds 59000ms, 2:holds 59000ms, 3:waits 59000ms]
        when   2s      release app/pool lease=3
        then   #3 refused: there is no such hold; it was released, or its lease ended
        then   #6 released r4
        ",
    );
}

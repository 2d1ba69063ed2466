//! A node without a copy: it proposes like any other, and asks one that has a copy for what it reads.

use super::harness::KvScript;
use crate::script::check;

#[test]
fn a_node_without_a_copy_reads_at_another() {
    check::<KvScript>(
        "
        given  outside=true
        when   0ms     put app/a=1
        then   #1 done r1 [put c1 v1]
        when   0ms     get app/a
        then   #2 r1 1 c1 m1 v1
        when   0ms     get app/a local
        then   #3 failed: this node keeps no copy; ask one that does, or read linearizably
        when   0ms     list app/*
        then   #4 r1 at r1 [a=1 c1 m1 v1]
        when   0ms     grant 5s
        then   #5 lease 2 for 5000ms
        when   0ms     lease 2
        then   #6 r1 5000 of 5000ms left, keys []
        when   1s      get app/a min=2 within=1s
        when   1500ms  put app/b=1
        then   #8 done r2 [put c2 v1]
        then   #7 r2 1 c1 m1 v1
        when   1500ms  tick
        when   3s      get app/a min=9 within=1s
        when   3500ms  tick
        when   4s      tick
        then   #9 failed: the revision 9 did not arrive in time; it is 0
        ",
    );
}

#[test]
fn a_watch_of_a_node_without_a_copy_hears_the_same() {
    check::<KvScript>(
        "
        given  outside=true
        when   0ms     put app/a=0
        then   #1 done r1 [put c1 v1]
        when   0ms     watch 1 app/*
        when   100ms   put app/a=1
        then   #2 done r2 [put c1 v2]
        when   100ms   txn app a=2 b=2
        then   #3 done r3 [put c1 v3, put c3 v1]
        when   250ms   tick
        then   watch 1: r2 [a=1 c1 m2 v2]
        then   watch 1: r3 [a=2 c1 m3 v3, b=2 c3 m3 v1]
        when   1s      tick
        when   40s     tick
        then   watch 1: progress r3
        when   41s     watch 2 app/a from=1
        then   watch 2: r1 [a=0 c1 m1 v1]
        then   watch 2: r2 [a=1 c1 m2 v2]
        then   watch 2: r3 [a=2 c1 m3 v3]
        when   42s     compact 3
        then   #4 compacted 3
        when   43s     watch 3 app/a from=2
        then   watch 3: compacted 3
        ",
    );
}

#[test]
fn a_watch_moves_when_the_node_becomes_a_member() {
    check::<KvScript>(
        "
        given  outside=true
        when   0ms     put app/a=0
        then   #1 done r1 [put c1 v1]
        when   0ms     watch 1 app/*
        when   1s      put app/a=1
        then   #2 done r2 [put c1 v2]
        then   watch 1: r2 [a=1 c1 m2 v2]
        when   1s      tick
        when   2s      put app/a=2
        then   #3 done r3 [put c1 v3]
        then   watch 1: r3 [a=2 c1 m3 v3]
        when   2s      restore
        when   2s      member on
        when   3s      tick
        ",
    );
}

#[test]
fn a_caller_in_line_at_a_node_without_a_copy_is_served() {
    check::<KvScript>(
        "
        given  outside=true
        when   0ms     grant 60s
        then   #1 lease 1 for 60000ms
        when   0ms     acquire app/db lease=1
        then   #2 held fence=1 lease=1
        when   0ms     acquire app/db ttl=60s wait=10s
        when   1s      tick
        when   1s      release app/db lease=1
        then   #4 released r3
        when   2s      tick
        then   #3 held fence=2 lease=3
        when   3s      acquire app/db ttl=60s wait=1s
        when   3500ms  tick
        when   4s      tick
        then   #5 contended, 1 before: 1 permits [2:holds 56500ms, 4:waits 59500ms]
        when   5s      tick
        when   6s      line app/db
        then   #6 r5 1 permits [2:holds 54000ms]
        ",
    );
}

#[test]
fn a_caller_in_line_that_went_on_does_not_hear_what_it_asked() {
    check::<KvScript>(
        "
        given  outside=true
        when   0ms     grant 60s
        then   #1 lease 1 for 60000ms
        when   0ms     acquire app/db lease=1
        then   #2 held fence=1 lease=1
        when   0ms     acquire app/db ttl=60s wait=10s
        when   0ms     answers off
        when   1s      tick
        when   2s      release app/db lease=1
        then   #4 released r3
        when   3s      restore
        when   3s      member on
        when   3500ms  tick
        then   #3 held fence=2 lease=3
        when   4s      answers on
        when   5s      tick
        ",
    );
}

#[test]
fn a_watch_that_moved_does_not_hear_what_it_asked_before() {
    check::<KvScript>(
        "
        given  outside=true
        when   0ms     put app/a=0
        then   #1 done r1 [put c1 v1]
        when   0ms     answers off
        when   0ms     watch 1 app/a from=1
        when   1s      restore
        when   1s      member on
        then   watch 1: r1 [a=0 c1 m1 v1]
        when   2s      member off
        when   3s      answers on
        when   4s      tick
        ",
    );
}

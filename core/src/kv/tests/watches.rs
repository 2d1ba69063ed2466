//! Watches: resumed, slow, compacted, restored.

use super::harness::KvScript;
use crate::script::check;

#[test]
fn a_watch_hears_whole_revisions_in_order_of_what_matches() {
    check::<KvScript>(
        "
        when   0ms     put app/a=0
        then   #1 done r1 [put c1 v1]
        when   0ms     watch 1 app/a
        when   0ms     watch 2 app/* previous
        when   0ms     watch 3 app/b..c
        when   0ms     put other/a=1
        then   #2 done r2 [put c2 v1]
        when   0ms     txn app a=1 b=2 c=3
        then   watch 1: r3 [a=1 c1 m3 v2]
        then   watch 2: r3 [a=1 c1 m3 v2 was 0 c1 m1 v1, b=2 c3 m3 v1, c=3 c3 m3 v1]
        then   watch 3: r3 [b=2 c3 m3 v1]
        then   #3 done r3 [put c1 v2, put c3 v1, put c3 v1]
        when   0ms     delete app/a*
        then   watch 1: r4 [a deleted]
        then   watch 2: r4 [a deleted was 1 c1 m3 v2]
        then   #4 done r4 [deleted 1]
        when   0ms     unwatch 2
        when   0ms     put app/a=2
        then   watch 1: r5 [a=2 c5 m5 v1]
        then   #5 done r5 [put c5 v1]
        ",
    );
}

#[test]
fn a_watch_resumes_where_it_was_or_meets_compaction() {
    check::<KvScript>(
        "
        when   0ms     put app/a=1
        then   #1 done r1 [put c1 v1]
        when   0ms     put app/a=2
        then   #2 done r2 [put c1 v2]
        when   0ms     delete app/a
        then   #3 done r3 [deleted 1]
        when   0ms     watch 1 app/* from=2 previous
        when   1s      watch 2 app/* from=9
        then   watch 1: r2 [a=2 c1 m2 v2 was 1 c1 m1 v1]
        then   watch 1: r3 [a deleted was 2 c1 m2 v2]
        when   1s      put app/a=4
        then   watch 1: r4 [a=4 c4 m4 v1]
        then   #4 done r4 [put c4 v1]
        when   1s      compact 2
        then   #5 compacted 2
        when   2s      watch 3 app/* from=2
        then   watch 3: compacted 2
        when   2s      watch 4 app/* from=3
        when   3s      tick
        then   watch 4: r3 [a deleted]
        then   watch 4: r4 [a=4 c4 m4 v1]
        ",
    );
}

#[test]
fn a_watch_from_a_later_revision_never_hears_what_was_before() {
    check::<KvScript>(
        "
        when   0ms     put app/a=1
        then   #1 done r1 [put c1 v1]
        when   0ms     watch 1 app/* from=4
        when   0ms     put app/a=2
        then   #2 done r2 [put c1 v2]
        when   0ms     put app/a=3
        then   #3 done r3 [put c1 v3]
        when   0ms     put app/a=4
        then   watch 1: r4 [a=4 c1 m4 v4]
        then   #4 done r4 [put c1 v4]
        when   0ms     restore
        when   1ms     put app/a=5
        then   watch 1: r5 [a=5 c1 m5 v5]
        then   #5 done r5 [put c1 v5]
        ",
    );
}

#[test]
fn a_slow_watcher_lags_and_catches_up_with_nothing_skipped() {
    check::<KvScript>(
        "
        given  watch_buffer=2
        when   0ms     watch 1 app/*
        when   0ms     put app/a=1
        then   watch 1: r1 [a=1 c1 m1 v1]
        then   #1 done r1 [put c1 v1]
        when   0ms     put app/a=2
        then   watch 1: r2 [a=2 c1 m2 v2]
        then   #2 done r2 [put c1 v2]
        when   0ms     put app/a=3
        then   #3 done r3 [put c1 v3]
        when   0ms     put app/a=4
        then   #4 done r4 [put c1 v4]
        when   1s      taken 1 1
        then   watch 1: r3 [a=3 c1 m3 v3]
        when   2s      taken 1 2
        then   watch 1: r4 [a=4 c1 m4 v4]
        when   3s      taken 1 4
        when   4s      put app/a=5
        then   watch 1: r5 [a=5 c1 m5 v5]
        then   #5 done r5 [put c1 v5]
        ",
    );
}

#[test]
fn a_slow_watcher_may_meet_compaction() {
    check::<KvScript>(
        "
        given  watch_buffer=1
        when   0ms     watch 1 app/*
        when   0ms     put app/a=1
        then   watch 1: r1 [a=1 c1 m1 v1]
        then   #1 done r1 [put c1 v1]
        when   0ms     put app/a=2
        then   #2 done r2 [put c1 v2]
        when   0ms     put app/a=3
        then   #3 done r3 [put c1 v3]
        when   1s      compact 2
        then   #4 compacted 2
        when   2s      taken 1 1
        then   watch 1: compacted 2
        when   3s      put app/a=4
        then   #5 done r4 [put c1 v4]
        ",
    );
}

#[test]
fn a_revision_larger_than_the_buffer_arrives_whole() {
    check::<KvScript>(
        "
        given  watch_buffer=2
        when   0ms     watch 1 app/*
        when   0ms     txn app a=1 b=2 c=3
        then   watch 1: r1 [a=1 c1 m1 v1, b=2 c1 m1 v1, c=3 c1 m1 v1]
        then   #1 done r1 [put c1 v1, put c1 v1, put c1 v1]
        when   0ms     put app/a=2
        then   #2 done r2 [put c1 v2]
        when   1s      taken 1 1
        then   watch 1: r2 [a=2 c1 m2 v2]
        ",
    );
}

#[test]
fn a_quiet_watch_hears_how_far_it_is() {
    check::<KvScript>(
        "
        when   0ms     watch 1 app/a
        when   10s     put app/a=1
        then   watch 1: r1 [a=1 c1 m1 v1]
        then   #1 done r1 [put c1 v1]
        when   30s     put app/b=1
        then   #2 done r2 [put c2 v1]
        when   40s     tick
        then   watch 1: progress r2
        when   70s     tick
        then   watch 1: progress r2
        ",
    );
}

#[test]
fn watches_have_a_bound() {
    check::<KvScript>(
        "
        given  watches_max=1
        when   0ms     watch 1 app/a
        when   0ms     watch 2 app/a
        then   watch 2: refused: `kv.watches_max` is reached at this node; close one, or watch at another
        when   0ms     unwatch 1
        when   0ms     watch 3 app/a
        when   0ms     put app/a=1
        then   watch 3: r1 [a=1 c1 m1 v1]
        then   #1 done r1 [put c1 v1]
        ",
    );
}

#[test]
fn a_watch_goes_on_over_a_restore() {
    check::<KvScript>(
        "
        when   0ms     watch 1 app/*
        when   0ms     put app/a=1
        then   watch 1: r1 [a=1 c1 m1 v1]
        then   #1 done r1 [put c1 v1]
        when   0ms     restore
        when   1s      put app/a=2
        then   watch 1: r2 [a=2 c1 m2 v2]
        then   #2 done r2 [put c1 v2]
        ",
    );
}

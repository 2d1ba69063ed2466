//! Every row T1 to T20.

use super::harness::WorkersScript;
use crate::script::check;

#[test]
fn t1_an_own_worker_is_pending_and_probed_at_once() {
    check::<WorkersScript>(
        "
        when   0ms     start
        then   ready
        when   1s      post w7
        then   keep own
        then   w7 - > Pending Registered
        then   write w7 active unknown v1 r1
        then   reply created w7
        then   probe #1 w7 own
        ",
    );
}

#[test]
fn t2_an_own_worker_that_is_not_probed_is_ready() {
    check::<WorkersScript>(
        "
        when   0ms     start
        then   ready
        when   1s      post w7 enabled=false
        then   keep own
        then   w7 - > Ready Registered
        then   write w7 active healthy v2 r1
        then   reply created w7
        when   2s      tick
        ",
    );
}

#[test]
fn t3_an_import_is_pending_and_one_good_probe_is_enough_where_its_owner_says_healthy() {
    check::<WorkersScript>(
        "
        when   0ms     start
        then   ready
        when   1s      peer b/1 lease 1
        when   1s      peer b/1 claims w7 healthy v2
        then   w7 - > Pending Imported
        then   probe #1 w7
        when   1s      view w7
        then   Pending by b of b/1:Fresh:Healthy good=1 bad=0 next=-
        when   2s      good w7
        then   w7 Pending > Ready ProbesGood
        when   3s      peer b/1 claims w8 unknown v1
        then   w8 - > Pending Imported
        then   probe #2 w8
        when   4s      good w8
        when   5s      tick
        then   probe #3 w8
        when   5s      good w8
        then   w8 Pending > Ready ProbesGood
        ",
    );
}

#[test]
fn t4_an_import_judged_by_its_owner_is_what_the_statement_says() {
    check::<WorkersScript>(
        "
        when   0ms     start
        then   ready
        when   1s      peer b/1 lease 1
        when   1s      peer b/1 claims o7 healthy v2
        then   w7 - > Ready Imported
        when   1s      peer b/1 claims o8 unhealthy v2
        then   w8 - > NotReady Imported
        when   1s      peer b/1 claims o9 unknown v1
        then   w9 - > Pending Imported
        when   1s      peer b/1 claims w10 healthy v2 enabled=false
        then   w10 - > Ready Imported
        when   1s      peer b/1 claims w11 healthy v2 auth=required
        then   w11 - > Ready Imported
        when   1s      peer c/1 claims o12 healthy v2
        then   w12 - > Pending Imported
        ",
    );
}

#[test]
fn t5_pending_becomes_ready_after_rise_good_probes_in_a_row() {
    check::<WorkersScript>(
        "
        when   0ms     start
        then   ready
        when   1s      post w7
        then   keep own
        then   w7 - > Pending Registered
        then   write w7 active unknown v1 r1
        then   reply created w7
        then   probe #1 w7 own
        when   1s      good w7
        when   3s      tick
        then   probe #2 w7 own
        when   3s      bad w7
        when   5s      tick
        then   probe #3 w7 own
        when   5s      good w7
        when   7s      tick
        then   probe #4 w7 own
        when   7s      good w7
        then   w7 Pending > Ready ProbesGood
        then   write w7 active healthy v2 r1
        ",
    );
}

#[test]
fn t6_pending_becomes_failed_after_ten_times_fall_probes_good_ones_counted() {
    check::<WorkersScript>(
        "
        when   0ms     start
        then   ready
        when   0s      post w7 fall=1
        then   keep own
        then   w7 - > Pending Registered
        then   write w7 active unknown v1 r1
        then   reply created w7
        then   probe #1 w7 own
        when   1s      bad w7
        when   2s      tick
        then   probe #2 w7 own
        when   2s      good w7
        when   4s      tick
        then   probe #3 w7 own
        when   4s      bad w7
        when   6s      tick
        then   probe #4 w7 own
        when   6s      good w7
        when   8s      tick
        then   probe #5 w7 own
        when   8s      bad w7
        when   10s     tick
        then   probe #6 w7 own
        when   10s     good w7
        when   12s     tick
        then   probe #7 w7 own
        when   12s     bad w7
        when   14s     tick
        then   probe #8 w7 own
        when   14s     good w7
        when   16s     tick
        then   probe #9 w7 own
        when   16s     bad w7
        when   18s     tick
        then   probe #10 w7 own
        when   18s     good w7
        then   w7 Pending > Failed Unproven
        then   write w7 active unhealthy v2 r1
        ",
    );
}

#[test]
fn t7_t8_t9_t10_ready_falls_rises_falls_to_failed_and_rises_again() {
    check::<WorkersScript>(
        "
        when   0ms     start
        then   ready
        when   0s      post w7 rise=1 fall=1
        then   keep own
        then   w7 - > Pending Registered
        then   write w7 active unknown v1 r1
        then   reply created w7
        then   probe #1 w7 own
        when   0s      good w7
        then   w7 Pending > Ready ProbesGood
        then   write w7 active healthy v2 r1
        when   20s     tick
        then   probe #2 w7 own
        when   20s     bad w7
        then   w7 Ready > NotReady ProbesBad
        then   write w7 active unhealthy v3 r1
        when   40s     tick
        then   probe #3 w7 own
        when   40s     good w7
        then   w7 NotReady > Ready ProbesGood
        then   write w7 active healthy v4 r1
        when   60s     tick
        then   probe #4 w7 own
        when   60s     bad w7
        then   w7 Ready > NotReady ProbesBad
        then   write w7 active unhealthy v5 r1
        when   80s     tick
        then   probe #5 w7 own
        when   80s     bad w7
        when   100s    tick
        then   probe #6 w7 own
        when   100s    bad w7
        when   120s    tick
        then   probe #7 w7 own
        when   120s    bad w7
        then   w7 NotReady > Failed ProbesBad
        when   120s    view w7
        then   Failed by a of a/1:Own:Unhealthy good=0 bad=0 next=20000ms
        when   140s    tick
        then   probe #8 w7 own
        when   140s    bad w7
        when   140s    view w7
        then   Failed by a of a/1:Own:Unhealthy good=0 bad=1 next=40000ms
        when   180s    tick
        then   probe #9 w7 own
        when   180s    good w7
        then   w7 Failed > Ready ProbesGood
        then   write w7 active healthy v6 r1
        ",
    );
}

#[test]
fn t10_after_the_first_good_probe_a_failed_worker_is_probed_at_its_normal_interval() {
    check::<WorkersScript>(
        "
        when   0ms     start
        then   ready
        when   0s      post w7 fall=1
        then   keep own
        then   w7 - > Pending Registered
        then   write w7 active unknown v1 r1
        then   reply created w7
        then   probe #1 w7 own
        when   1s      bad w7
        when   3s      tick
        then   probe #2 w7 own
        when   3s      bad w7
        when   5s      tick
        then   probe #3 w7 own
        when   5s      bad w7
        when   7s      tick
        then   probe #4 w7 own
        when   7s      bad w7
        when   9s      tick
        then   probe #5 w7 own
        when   9s      bad w7
        when   11s     tick
        then   probe #6 w7 own
        when   11s     bad w7
        when   13s     tick
        then   probe #7 w7 own
        when   13s     bad w7
        when   15s     tick
        then   probe #8 w7 own
        when   15s     bad w7
        when   17s     tick
        then   probe #9 w7 own
        when   17s     bad w7
        when   19s     tick
        then   probe #10 w7 own
        when   19s     bad w7
        then   w7 Pending > Failed Unproven
        then   write w7 active unhealthy v2 r1
        when   19s     view w7
        then   Failed by a of a/1:Own:Unhealthy good=0 bad=0 next=20000ms
        when   39s     tick
        then   probe #11 w7 own
        when   39s     good w7
        when   39s     view w7
        then   Failed by a of a/1:Own:Unhealthy good=1 bad=0 next=4688ms
        when   50s     tick
        then   probe #12 w7 own
        when   50s     good w7
        then   w7 Failed > Ready ProbesGood
        then   write w7 active healthy v3 r1
        ",
    );
}

#[test]
fn t11_a_new_unhealthy_statement_takes_a_ready_import_out_once() {
    check::<WorkersScript>(
        "
        when   0ms     start
        then   ready
        when   1s      peer b/1 lease 1
        when   1s      peer b/1 claims w7 healthy v2
        then   w7 - > Pending Imported
        then   probe #1 w7
        when   1s      good w7
        then   w7 Pending > Ready ProbesGood
        when   2s      peer b/1 claims w7 unhealthy v3
        then   w7 Ready > NotReady Statement
        when   20s     tick
        then   probe #2 w7
        when   20s     good w7
        when   30s     tick
        then   probe #3 w7
        when   30s     good w7
        then   w7 NotReady > Ready ProbesGood
        when   30s     peer b/1 lease 2
        when   30s     peer b/1 claims w7 unhealthy v2
        when   31s     peer b/1 claims w7 unhealthy v3
        ",
    );
}

#[test]
fn t12_a_new_healthy_statement_leaves_one_good_probe_to_ready() {
    check::<WorkersScript>(
        "
        when   0ms     start
        then   ready
        when   1s      peer b/1 lease 1
        when   1s      peer b/1 claims w7 unhealthy v2 rise=4
        then   w7 - > Pending Imported
        then   probe #1 w7
        when   1s      bad w7
        when   1s      peer b/1 claims w7 healthy v3 rise=4
        then   probe #2 w7
        when   1s      good w7
        then   w7 Pending > Ready ProbesGood
        ",
    );
}

#[test]
fn t13_a_new_healthy_statement_only_makes_a_failed_worker_be_probed() {
    check::<WorkersScript>(
        "
        when   0ms     start
        then   ready
        when   1s      peer b/1 lease 1
        when   1s      peer b/1 claims w7 healthy v2 rise=1 fall=1
        then   w7 - > Pending Imported
        then   probe #1 w7
        when   1s      good w7
        then   w7 Pending > Ready ProbesGood
        when   20s     tick
        then   probe #2 w7
        when   20s     peer b/1 lease 2
        when   20s     bad w7
        then   w7 Ready > NotReady ProbesBad
        when   40s     tick
        then   probe #3 w7
        when   40s     peer b/1 lease 3
        when   40s     bad w7
        when   60s     tick
        then   probe #4 w7
        when   60s     peer b/1 lease 4
        when   60s     bad w7
        when   80s     tick
        then   probe #5 w7
        when   80s     peer b/1 lease 5
        when   80s     bad w7
        then   w7 NotReady > Failed ProbesBad
        when   81s     peer b/1 claims w7 healthy v4 rise=1 fall=1
        then   probe #6 w7
        when   81s     bad w7
        when   82s     peer b/1 claims w7 unhealthy v5 rise=1 fall=1
        ",
    );
}

#[test]
fn t14_t15_where_the_owner_judges_its_word_and_its_silence_count() {
    check::<WorkersScript>(
        "
        when   0ms     start
        then   ready
        when   1s      peer b/1 lease 1
        when   1s      peer b/1 claims o7 healthy v2
        then   w7 - > Ready Imported
        when   2s      peer b/1 claims o7 unhealthy v3
        then   w7 Ready > NotReady Statement
        when   3s      peer b/1 claims o7 healthy v4
        then   w7 NotReady > Ready Statement
        when   4s      peer b/1 claims o7 unknown v5
        when   5s      peer b/1 claims o7 healthy v6
        when   31s     tick
        then   w7 Ready > NotReady OwnerSilent
        when   32s     peer b/1 claims o7 unhealthy v7
        when   33s     peer b/1 claims o7 healthy v8
        when   40s     peer b/1 lease 2
        then   w7 NotReady > Ready Statement
        when   70s     tick
        then   w7 Ready > NotReady OwnerSilent
        when   75s     peer b/1 lease 3
        then   w7 NotReady > Ready Statement
        ",
    );
}

#[test]
fn t16_t17_an_operator_takes_a_worker_out_and_in_again() {
    check::<WorkersScript>(
        "
        when   0ms     start
        then   ready
        when   0s      post w7 rise=1
        then   keep own
        then   w7 - > Pending Registered
        then   write w7 active unknown v1 r1
        then   reply created w7
        then   probe #1 w7 own
        when   0s      good w7
        then   w7 Pending > Ready ProbesGood
        then   write w7 active healthy v2 r1
        when   1s      drain w7
        then   keep own
        then   w7 Ready > Draining Drained
        then   write w7 draining healthy v2 r2
        then   reply w7 r2
        when   1s      drain w7
        then   reply w7 r2
        when   30s     tick
        when   31s     undrain w7
        then   keep own
        then   w7 Draining > Pending Undrained
        then   write w7 active unknown v3 r3
        then   reply w7 r3
        then   probe #2 w7 own
        when   31s     good w7
        then   w7 Pending > Ready ProbesGood
        then   write w7 active healthy v4 r3
        ",
    );
}

#[test]
fn t16_t17_importers_follow_the_chosen_claim() {
    check::<WorkersScript>(
        "
        when   0ms     start
        then   ready
        when   1s      peer b/1 lease 1
        when   1s      peer c/1 lease 1
        when   1s      peer b/1 claims w7 healthy v2 rise=1
        then   w7 - > Pending Imported
        then   probe #1 w7
        when   1s      good w7
        then   w7 Pending > Ready ProbesGood
        when   2s      peer b/1 claims w7 healthy v2 draining rise=1
        then   w7 Ready > Draining Drained
        when   3s      peer c/1 claims w7 unknown v1 rise=1
        then   w7 Draining > Pending Undrained
        then   probe #2 w7
        when   3s      good w7
        then   w7 Pending > Ready ProbesGood
        when   4s      peer c/1 unclaims w7
        then   w7 Ready > Draining Drained
        when   5s      peer b/1 unclaims w7
        then   w7 Draining > - Removed
        ",
    );
}

#[test]
fn t17_an_undrained_worker_that_its_owner_judges_is_what_the_owner_says() {
    check::<WorkersScript>(
        "
        when   0ms     start
        then   ready
        when   1s      peer b/1 lease 1
        when   1s      peer b/1 claims o7 healthy v2 draining
        then   w7 - > Ready Imported
        then   w7 Ready > Draining Drained
        when   2s      peer b/1 claims o7 healthy v2
        then   w7 Draining > Ready Undrained
        ",
    );
}

#[test]
fn t18_an_edit_keeps_the_status_and_equal_health_keeps_the_counters() {
    check::<WorkersScript>(
        "
        when   0ms     start
        then   ready
        when   0s      post w7 rise=1 fall=3
        then   keep own
        then   w7 - > Pending Registered
        then   write w7 active unknown v1 r1
        then   reply created w7
        then   probe #1 w7 own
        when   0s      good w7
        then   w7 Pending > Ready ProbesGood
        then   write w7 active healthy v2 r1
        when   15s     tick
        then   probe #2 w7 own
        when   15s     bad w7
        when   16s     put 1 w7 rise=1 fall=3 weight=7
        then   keep own
        then   write w7 active healthy v2 r2
        then   reply w7 r2
        when   16s     view w7
        then   Ready by a of a/1:Own:Healthy good=0 bad=1 next=7688ms
        when   17s     put 2 w7 rise=1 fall=2 weight=7
        then   keep own
        then   write w7 active healthy v2 r3
        then   reply w7 r3
        then   probe #3 w7 own
        when   17s     view w7
        then   Ready by a of a/1:Own:Healthy good=0 bad=0 next=-
        when   17s     good w7
        ",
    );
}

#[test]
fn t18_an_edit_that_ends_probing_leaves_a_worker_ready() {
    check::<WorkersScript>(
        "
        when   0ms     start
        then   ready
        when   0s      post w7
        then   keep own
        then   w7 - > Pending Registered
        then   write w7 active unknown v1 r1
        then   reply created w7
        then   probe #1 w7 own
        when   1s      put 1 w7 enabled=false
        then   keep own
        then   w7 Pending > Ready Spec
        then   write w7 active healthy v2 r2
        then   reply w7 r2
        when   2s      good w7
        when   3s      put 2 w7 enabled=true
        then   keep own
        then   write w7 active healthy v2 r3
        then   reply w7 r3
        then   probe #2 w7 own
        ",
    );
}

#[test]
fn t19_a_local_claim_on_an_import_keeps_its_status_and_is_published_at_once() {
    check::<WorkersScript>(
        "
        when   0ms     start
        then   ready
        when   1s      peer b/1 lease 1
        when   1s      peer b/1 claims w7 healthy v2
        then   w7 - > Pending Imported
        then   probe #1 w7
        when   1s      good w7
        then   w7 Pending > Ready ProbesGood
        when   2s      post w7
        then   keep own
        then   write w7 active healthy v1 r1
        then   reply created w7
        when   2s      view w7
        then   Ready by a of a/1:Own:Healthy b/1:Fresh:Healthy good=0 bad=0 next=6860ms
        when   3s      peer b/1 unclaims w7
        when   3s      view w7
        then   Ready by a of a/1:Own:Healthy good=0 bad=0 next=5860ms
        ",
    );
}

#[test]
fn t20_an_entry_goes_with_its_last_claim_and_never_with_the_first() {
    check::<WorkersScript>(
        "
        when   0ms     start
        then   ready
        when   1s      peer b/1 lease 1
        when   1s      peer b/1 claims w7 healthy v2
        then   w7 - > Pending Imported
        then   probe #1 w7
        when   1s      post w7
        then   keep own
        then   write w7 active unknown v1 r1
        then   reply created w7
        when   2s      remove w7
        then   unwrite
        then   forget own
        then   reply removing 1 after 0ms
        when   2s      view w7
        then   Pending by b of b/1:Fresh:Healthy good=1 bad=0 next=-
        when   3s      peer b/1 unclaims w7
        then   w7 Pending > - Removed
        when   3s      peer b/1 unclaims w7
        when   3s      view w7
        then   gone
        ",
    );
}

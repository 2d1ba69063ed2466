//! Removing: by command, by configuration, after a long failure.

use super::harness::WorkersScript;
use crate::script::check;

#[test]
fn a_removal_drains_settles_and_deletes_and_is_one_removal_however_often_asked() {
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
        when   1s      remove w7
        then   keep own
        then   w7 Ready > Draining Drained
        then   write w7 draining healthy v2 r2
        then   reply removing 1 after 5000ms
        when   2s      remove w7
        then   reply removing 1 after 4000ms
        when   2s      undrain w7
        then   reply removing
        when   2s      drain w7
        then   reply removing
        when   2s      put 2 w7
        then   reply removing
        when   2s      post w7 rise=1
        then   reply removing
        when   6s      tick
        then   unwrite
        then   forget own
        then   w7 Draining > - Removed
        when   7s      post w7 rise=1
        then   keep own
        then   w7 - > Pending Registered
        then   write w7 active unknown v3 r3
        then   reply created w7
        then   probe #2 w7 own
        ",
    );
}

#[test]
fn a_settle_of_zero_and_a_removal_now_delete_at_once() {
    check::<WorkersScript>(
        "
        when   0ms     start
        then   ready
        when   0s      post w7 rise=1 settle=0
        then   keep own
        then   w7 - > Pending Registered
        then   write w7 active unknown v1 r1
        then   reply created w7
        then   probe #1 w7 own
        when   0s      good w7
        then   w7 Pending > Ready ProbesGood
        then   write w7 active healthy v2 r1
        when   1s      remove w7
        then   unwrite
        then   forget own
        then   w7 Ready > - Removed
        then   reply removing 1 after 0ms
        when   2s      post w8 rise=1
        then   keep own
        then   w8 - > Pending Registered
        then   write w8 active unknown v3 r2
        then   reply created w8
        then   probe #2 w8 own
        when   2s      good w8
        then   w8 Pending > Ready ProbesGood
        then   write w8 active healthy v4 r2
        when   3s      remove w8 now
        then   unwrite
        then   forget own
        then   w8 Ready > - Removed
        then   reply removing 1 after 0ms
        when   4s      post w9 rise=1
        then   keep own
        then   w9 - > Pending Registered
        then   write w9 active unknown v5 r3
        then   reply created w9
        then   probe #3 w9 own
        when   4s      good w9
        then   w9 Pending > Ready ProbesGood
        then   write w9 active healthy v6 r3
        when   5s      remove w9
        then   keep own
        then   w9 Ready > Draining Drained
        then   write w9 draining healthy v6 r4
        then   reply removing 1 after 5000ms
        when   6s      remove w9 now
        then   unwrite
        then   forget own
        then   w9 Draining > - Removed
        then   reply removing 1 after 0ms
        ",
    );
}

#[test]
fn a_batch_shares_the_greatest_settle_and_a_base_url_removes_its_ranks() {
    check::<WorkersScript>(
        "
        when   0ms     start
        then   ready
        when   0s      post w7 enabled=false settle=1000
        then   keep own
        then   w7 - > Ready Registered
        then   write w7 active healthy v2 r1
        then   reply created w7
        when   0s      post w8 enabled=false settle=3000
        then   keep own
        then   w8 - > Ready Registered
        then   write w8 active healthy v2 r1
        then   reply created w8
        when   1s      remove w7 w8
        then   keep own
        then   w7 Ready > Draining Drained
        then   write w7 draining healthy v2 r2
        then   keep own
        then   w8 Ready > Draining Drained
        then   write w8 draining healthy v2 r2
        then   reply removing 2 after 3000ms
        when   4s      tick
        then   unwrite
        then   forget own
        then   w7 Draining > - Removed
        then   unwrite
        then   forget own
        then   w8 Draining > - Removed
        when   5s      post w9 enabled=false rank=0 settle=0
        then   keep own
        then   w9@0 - > Ready Registered
        then   write w9@0 active healthy v4 r3
        then   reply created w9@0
        when   5s      post w9 enabled=false rank=1 settle=0
        then   keep own
        then   w9@1 - > Ready Registered
        then   write w9@1 active healthy v4 r3
        then   reply created w9@1
        when   5s      post w90 enabled=false settle=0
        then   keep own
        then   w90 - > Ready Registered
        then   write w90 active healthy v4 r3
        then   reply created w90
        when   6s      remove w9
        then   unwrite
        then   forget own
        then   w9@0 Ready > - Removed
        then   unwrite
        then   forget own
        then   w9@1 Ready > - Removed
        then   reply removing 2 after 0ms
        when   6s      remove w90 w91
        then   reply not_found
        when   6s      view w90
        then   Ready by a of a/1:Own:Healthy good=0 bad=0 next=-
        ",
    );
}

#[test]
fn configuration_applies_a_set_and_leaves_what_the_api_made() {
    check::<WorkersScript>(
        "
        given  configured=w1,w2
        when   0ms     start
        then   w1 - > Pending Registered
        then   write w1 active unknown v1 r1
        then   w2 - > Pending Registered
        then   write w2 active unknown v1 r1
        then   ready
        then   probe #1 w1 own
        then   probe #2 w2 own
        when   0s      post w3
        then   keep own
        then   w3 - > Pending Registered
        then   write w3 active unknown v1 r1
        then   reply created w3
        then   probe #3 w3 own
        when   1s      configure w2 w4
        then   unwrite
        then   forget own
        then   w1 Pending > - Removed
        then   w4 - > Pending Registered
        then   write w4 active unknown v2 r2
        then   probe #4 w4 own
        when   2s      view w1
        then   gone
        when   2s      view w3
        then   Pending by a of a/1:Own:Unknown good=0 bad=0 next=-
        ",
    );
}

#[test]
fn what_configuration_names_again_while_it_settles_is_registered_again() {
    check::<WorkersScript>(
        "
        given  configured=w1
        when   0ms     start
        then   w1 - > Pending Registered
        then   write w1 active unknown v1 r1
        then   ready
        then   probe #1 w1 own
        when   0s      good w1
        when   1s      tick
        then   probe #2 w1 own
        when   1s      good w1
        then   w1 Pending > Ready ProbesGood
        then   write w1 active healthy v2 r1
        when   2s      configure
        then   keep own
        then   w1 Ready > Draining Drained
        then   write w1 draining healthy v2 r2
        when   3s      configure w1
        when   7s      tick
        then   unwrite
        then   forget own
        then   w1 Draining > - Removed
        then   w1 - > Pending Registered
        then   write w1 active unknown v3 r3
        then   probe #3 w1 own
        ",
    );
}

#[test]
fn a_failed_worker_is_removed_by_its_owner_after_the_configured_time() {
    check::<WorkersScript>(
        "
        given  remove_failed_ms=60000
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
        when   40s     bad w7
        when   60s     tick
        then   probe #4 w7 own
        when   60s     bad w7
        when   80s     tick
        then   probe #5 w7 own
        when   80s     bad w7
        then   w7 NotReady > Failed ProbesBad
        when   139s    tick
        then   probe #6 w7 own
        when   140s    tick
        then   unwrite
        then   forget own
        then   w7 Failed > - Removed
        ",
    );
}

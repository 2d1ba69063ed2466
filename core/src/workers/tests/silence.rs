//! The owner's silence, row by row, restarts, and the rules of evidence.

use super::harness::WorkersScript;
use crate::script::check;

#[test]
fn a_statement_on_a_stale_lease_waits_and_the_newest_is_applied_once_when_it_is_fresh() {
    check::<WorkersScript>(
        "
        when   0ms     start
        then   ready
        when   1s      peer b/1 claims w7 unhealthy v2 rise=1
        then   w7 - > Pending Imported
        then   probe #1 w7
        when   1s      good w7
        then   w7 Pending > Ready ProbesGood
        when   2s      peer b/1 claims w7 unhealthy v4 rise=1
        when   3s      peer b/1 lease 9
        then   w7 Ready > NotReady Statement
        when   3s      peer b/1 claims w7 unhealthy v4 rise=1
        when   4s      peer b/1 claims w7 unhealthy v3 rise=1
        ",
    );
}

#[test]
fn on_a_stale_lease_local_probes_decide_alone() {
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
        when   32s     tick
        then   probe #2 w7
        when   33s     view w7
        then   Ready by b of b/1:Stale:Healthy good=0 bad=0 next=-
        when   33s     bad w7
        then   w7 Ready > NotReady ProbesBad
        when   60s     tick
        then   probe #3 w7
        when   60s     good w7
        then   w7 NotReady > Ready ProbesGood
        ",
    );
}

#[test]
fn the_claims_of_a_failed_owner_are_kept_until_it_is_forgotten() {
    check::<WorkersScript>(
        "
        when   0ms     start
        then   ready
        when   1s      peer b/1 lease 1
        when   1s      peer b/1 claims w7 healthy v2 rise=1
        then   w7 - > Pending Imported
        then   probe #1 w7
        when   1s      peer b/1 claims o8 healthy v2
        then   w8 - > Ready Imported
        when   1s      good w7
        then   w7 Pending > Ready ProbesGood
        when   2s      orphaned b/1
        then   w8 Ready > NotReady OwnerSilent
        when   2s      view w7
        then   Ready by b of b/1:Orphaned:Healthy good=0 bad=0 next=6860ms
        when   2s      peer b/1 claims w7 unhealthy v3 rise=1
        when   3s      dropped b/1
        then   w7 Ready > - Removed
        then   w8 NotReady > - Removed
        when   3s      peer b/1 unclaims w7
        when   3s      view w7
        then   gone
        ",
    );
}

#[test]
fn the_claims_of_a_node_that_left_linger_and_then_go() {
    check::<WorkersScript>(
        "
        given  linger_ms=60000
        when   0ms     start
        then   ready
        when   1s      peer b/1 lease 1
        when   1s      peer b/1 claims w7 healthy v2 rise=1
        then   w7 - > Pending Imported
        then   probe #1 w7
        when   1s      good w7
        then   w7 Pending > Ready ProbesGood
        when   2s      dropped b/1 left
        when   2s      view w7
        then   Ready by b of b/1:Lingering:Healthy good=0 bad=0 next=6860ms
        when   62s     tick
        then   w7 Ready > - Removed
        ",
    );
}

#[test]
fn a_node_that_removed_its_workers_before_it_left_leaves_nothing() {
    check::<WorkersScript>(
        "
        when   0ms     start
        then   ready
        when   1s      peer b/1 lease 1
        when   1s      peer b/1 claims w7 healthy v2
        then   w7 - > Pending Imported
        then   probe #1 w7
        when   2s      peer b/1 unclaims w7
        then   w7 Pending > - Removed
        when   2s      dropped b/1 left
        when   2s      view w7
        then   gone
        ",
    );
}

#[test]
fn a_node_that_comes_back_while_its_workers_linger_takes_them_over_when_it_is_ready() {
    check::<WorkersScript>(
        "
        given  linger_ms=60000
        when   0ms     start
        then   ready
        when   1s      peer b/1 lease 1
        when   1s      peer b/1 claims w7 healthy v2 rise=1
        then   w7 - > Pending Imported
        then   probe #1 w7
        when   1s      good w7
        then   w7 Pending > Ready ProbesGood
        when   1s      peer b/1 claims w8 healthy v2 rise=1
        then   w8 - > Pending Imported
        then   probe #2 w8
        when   1s      good w8
        then   w8 Pending > Ready ProbesGood
        when   2s      dropped b/1 left
        when   3s      peer b/2 lease 1
        when   3s      peer b/2 claims w7 unknown v1 rise=1
        when   3s      view w7
        then   Ready by b of b/2:Fresh:Unknown good=0 bad=0 next=5860ms
        when   3s      view w8
        then   Ready by b of b/1:Lingering:Healthy good=0 bad=0 next=521ms
        when   4s      peer b/2 ready
        then   w8 Ready > - Removed
        when   4s      view w8
        then   gone
        when   4s      view w7
        then   Ready by b of b/2:Fresh:Unknown good=0 bad=0 next=4860ms
        when   70s     tick
        then   probe #3 w7
        when   70s     view w7
        then   Ready by b of b/2:Stale:Unknown good=0 bad=0 next=-
        ",
    );
}

#[test]
fn a_life_that_said_nothing_hands_nothing_of_a_lingering_one_on_to_the_next() {
    check::<WorkersScript>(
        "
        given  linger_ms=60000
        when   0ms     start
        then   ready
        when   1s      peer b/1 lease 1
        when   1s      peer b/1 claims w7 healthy v9 rise=1
        then   w7 - > Pending Imported
        then   probe #1 w7
        when   1s      good w7
        then   w7 Pending > Ready ProbesGood
        when   2s      dropped b/1 left
        when   3s      peer b/2 lease 1
        when   4s      switched b/2 b/3
        when   5s      view w7
        then   Ready by b of b/1:Lingering:Healthy good=0 bad=0 next=3860ms
        when   5s      peer b/3 claims w7 unhealthy v2 rise=1
        then   w7 Ready > NotReady Statement
        when   5s      view w7
        then   NotReady by b of b/3:Fresh:Unhealthy good=0 bad=0 next=3860ms
        when   6s      peer b/3 ready
        ",
    );
}

#[test]
fn a_restarted_owner_leaves_no_gap_and_its_statements_count_anew() {
    check::<WorkersScript>(
        "
        when   0ms     start
        then   ready
        when   1s      peer b/1 lease 1
        when   1s      peer b/1 claims w7 healthy v9 rise=1
        then   w7 - > Pending Imported
        then   probe #1 w7
        when   1s      good w7
        then   w7 Pending > Ready ProbesGood
        when   1s      peer b/1 claims w8 healthy v9 rise=1
        then   w8 - > Pending Imported
        then   probe #2 w8
        when   1s      good w8
        then   w8 Pending > Ready ProbesGood
        when   2s      orphaned b/1
        when   3s      switched b/1 b/2
        when   3s      peer b/2 claims w7 unknown v1 rise=1
        when   3s      peer b/2 unclaims w8
        then   w8 Ready > - Removed
        when   3s      view w7
        then   Ready by b of b/2:Fresh:Unknown good=0 bad=0 next=5860ms
        when   4s      peer b/1 claims w7 unhealthy v10 rise=1
        when   5s      peer b/2 claims w7 unhealthy v2 rise=1
        then   w7 Ready > NotReady Statement
        when   5s      view w7
        then   NotReady by b of b/2:Fresh:Unhealthy good=0 bad=0 next=3860ms
        ",
    );
}

#[test]
fn a_claim_that_did_not_change_over_a_restart_is_the_new_lifes_word() {
    check::<WorkersScript>(
        "
        when   0ms     start
        then   ready
        when   1s      peer b/1 lease 1
        when   1s      peer b/1 claims w7 unhealthy v1 rise=1
        then   w7 - > Pending Imported
        then   probe #1 w7
        when   1s      good w7
        then   w7 Pending > Ready ProbesGood
        when   2s      switched b/1 b/2
        when   2s      switched b/1 b/2
        when   2001ms  tick
        then   w7 Ready > NotReady Statement
        when   3s      view w7
        then   NotReady by b of b/2:Fresh:Unhealthy good=0 bad=0 next=5860ms
        ",
    );
}

#[test]
fn a_restarted_node_writes_all_its_claims_before_it_says_ready() {
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
        when   1s      good w1
        when   1s      post w3 settle=7000 rise=1 enabled=false
        then   keep own
        then   w3 - > Ready Registered
        then   write w3 active healthy v2 r1
        then   reply created w3
        when   1s      drain w1
        then   keep own
        then   w1 Pending > Draining Drained
        then   write w1 draining unknown v1 r2
        then   reply w1 r2
        when   2s      remove w3
        then   keep own
        then   w3 Ready > Draining Drained
        then   write w3 draining healthy v2 r2
        then   reply removing 1 after 7000ms
        when   3s      restart
        then   w1 - > Pending Registered
        then   write w1 active unknown v1 r1
        then   w2 - > Pending Registered
        then   write w2 active unknown v1 r1
        then   keep own
        then   w3 - > Ready Registered
        then   write w3 active healthy v2 r1
        then   keep own
        then   w3 Ready > Draining Drained
        then   write w3 draining healthy v2 r2
        then   keep own
        then   w1 Pending > Draining Drained
        then   write w1 draining unknown v1 r2
        then   ready
        then   probe #1 w2 own
        when   10s     tick
        then   unwrite
        then   forget own
        then   w3 Draining > - Removed
        when   11s     restart
        then   w1 - > Pending Registered
        then   write w1 active unknown v1 r1
        then   w2 - > Pending Registered
        then   write w2 active unknown v1 r1
        then   keep own
        then   w1 Pending > Draining Drained
        then   write w1 draining unknown v1 r2
        then   ready
        then   probe #1 w2 own
        when   12s     start
        ",
    );
}

#[test]
fn our_own_former_life_teaches_nothing() {
    check::<WorkersScript>(
        "
        when   0ms     start
        then   ready
        when   1s      peer a/0 claims w7 healthy v9
        when   1s      switched a/0 a/1
        when   1s      view w7
        then   gone
        ",
    );
}

#[test]
fn a_raised_node_numbers_its_statements_anew() {
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
        when   1s      raised a/5
        then   write w7 active healthy v1 r1
        when   1s      view w7
        then   Ready by a of a/5:Own:Healthy good=0 bad=0 next=2688ms
        ",
    );
}

#[test]
fn a_worker_that_its_owner_judges_is_ready_again_when_the_owner_is_back() {
    check::<WorkersScript>(
        "
        when   0ms     start
        then   ready
        when   1s      peer b/1 lease 1
        when   1s      peer b/1 claims o7 healthy v5
        then   w7 - > Ready Imported
        when   1s      peer b/1 claims o8 healthy v5
        then   w8 - > Ready Imported
        when   2s      orphaned b/1
        then   w7 Ready > NotReady OwnerSilent
        then   w8 Ready > NotReady OwnerSilent
        when   3s      switched b/1 b/2
        when   3s      peer b/2 claims o7 unhealthy v2
        when   3001ms  tick
        then   w8 NotReady > Ready Statement
        ",
    );
}

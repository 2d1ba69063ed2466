//! Rests: how long, what climbs the ladder, what a success clears.

use super::PoolScript;
use crate::script::check;

#[test]
fn a_failed_member_rests_and_recovery_never_snaps_back() {
    check::<PoolScript>(
        "
        given  members=a,b
        when   0ms     pick
        then   a
        when   10ms    429 a 60s
        then   says r/a *
        then   rests a * rate_limited until 60.01s of 60.01s
        then   failover * a to b rate_limited
        when   20ms    pick
        then   b
        when   60010ms tick
        then   unsays r/a *
        when   60011ms pick
        then   b
        ",
    );
}

#[test]
fn without_a_stated_wait_each_failure_climbs_and_flight_mates_do_not() {
    check::<PoolScript>(
        "
        given  members=a,b,c
        when   1s      429 a
        then   says r/a *
        then   rests a * rate_limited until 61s
        then   failover * a to b rate_limited
        when   2s      429 a sent=500ms
        then   says r/a *
        then   rests a * rate_limited until 62s
        when   100s    429 a sent=99s
        then   unsays r/a *
        then   says r/a *
        then   rests a * rate_limited until 220s
        when   101s    429 a sent=99s
        then   says r/a *
        then   rests a * rate_limited until 221s
        when   400s    429 a sent=399s
        then   says d/a *
        then   says r/a *
        then   rests a * rate_limited until 640s
        ",
    );
}

#[test]
fn only_what_was_sent_after_the_rest_began_proves_anything() {
    check::<PoolScript>(
        "
        given  members=a,b
        when   1s      429 a 600s
        then   says r/a *
        then   rests a * rate_limited until 601s of 601s
        then   failover * a to b rate_limited
        when   2s      ok a sent=500ms
        then   taught nothing
        when   3s      pick
        then   b
        when   4s      ok a sent=3s
        then   says c/a *
        then   unsays r/a *
        when   5s      429 b 60s
        then   says r/b *
        then   rests b * rate_limited until 65s of 65s
        then   failover * b to a rate_limited
        when   6s      pick
        then   a
        ",
    );
}

#[test]
fn a_model_rests_alone_and_a_family_with_its_kin() {
    check::<PoolScript>(
        "
        given  members=a,b
        when   1s      429 a 60s model=claude-opus-4 scope=model
        then   says r/a m:claude-opus-4
        then   rests a m:claude-opus-4 rate_limited until 61s of 61s
        then   failover claude-opus-4 a to b rate_limited
        when   2s      pick model=claude-opus-4
        then   b
        when   3s      pick
        then   a
        when   4s      quota a 600s model=claude-opus-4 scope=opus
        then   says r/a f:opus
        then   rests a f:opus quota_exhausted until 604s of 604s
        then   failover opus a to b quota_exhausted
        when   5s      pick model=claude-opus-3
        then   b
        when   6s      pick model=claude-haiku
        then   a
        ",
    );
}

#[test]
fn keys_of_one_bucket_rest_together_and_a_refused_one_alone() {
    check::<PoolScript>(
        "
        given  members=a,b,c groups=a:g,b:g
        when   1s      429 a 60s
        then   says r/g:g/0/*
        then   rests g:g/0/* rate_limited until 61s of 61s
        then   failover * a to c rate_limited
        when   2s      pick
        then   c
        when   3s      auth c
        then   says r/c *
        then   rests c * auth_failed until 303s
        then   exhausted * until 61s
        when   4s      pick
        then   nobody: unavailable, in 57s
        ",
    );
}

#[test]
fn a_report_of_another_epoch_blames_nobody() {
    check::<PoolScript>(
        "
        given  members=a,b
        when   1s      429 a 60s epoch=2
        then   taught nothing
        when   2s      429 c 60s
        then   taught nothing
        when   3s      pick
        then   a
        when   4s      define a,b epoch=2
        when   5s      429 a 60s
        then   taught nothing
        when   6s      429 a 60s epoch=2
        then   says r/a/2/*
        then   rests a/2/* rate_limited until 66s of 66s
        then   failover * a to b rate_limited
        ",
    );
}

#[test]
fn a_quota_without_a_wait_is_tried_before_it_returns() {
    check::<PoolScript>(
        "
        given  members=a
        when   0ms     quota a
        then   says r/a *
        then   rests a * quota_exhausted until 900s
        then   exhausted * until 900s
        when   1s      pick
        then   nobody: exhausted, in 899s
        when   900s    tick
        when   901s    wanted
        then   says d/a *
        when   901600ms tick
        when   902s    pick hold
        then   a as a probe
        when   902s    probing a
        then   says p/a *
        when   903s    quota a probe
        then   says r/a *
        then   rests a * quota_exhausted until 2703s
        then   says p/a *
        when   904s    pick
        then   nobody: exhausted, in 1799s
        ",
    );
}

#[test]
fn a_long_rest_is_not_tried_early_while_another_one_of_the_member_runs() {
    check::<PoolScript>(
        "
        given  members=a
        when   1s      429 a 2h model=m scope=model
        then   says r/a m:m
        then   rests a m:m rate_limited until 7201s of 7201s
        then   exhausted m until 7201s
        when   1700s   429 a 600s
        then   says r/a *
        then   rests a * rate_limited until 2300s of 2300s
        then   exhausted * until 2300s
        when   1801s   wanted model=m
        then   says d/a m:m
        when   1803s   tick
        when   1804s   pick model=m
        then   nobody: exhausted, in 5397s
        when   2300s   tick
        then   unsays r/a *
        then   recovered * by a RestOver presumed
        when   2301s   wanted model=m
        then   says d/a m:m
        when   2303s   tick
        when   2304s   pick model=m
        then   a as a probe
        ",
    );
}

#[test]
fn an_early_try_ends_in_the_turn_in_which_the_lane_has_somebody_else() {
    check::<PoolScript>(
        "
        given  members=a,b strategy=least_used
        when   1s      429 a 2h
        then   says r/a *
        then   rests a * rate_limited until 7201s of 7201s
        when   2s      429 b 1801s
        then   says r/b *
        then   rests b * rate_limited until 1803s of 1803s
        then   exhausted * until 1803s
        when   1801s   wanted
        then   says d/a *
        when   1802s   tick
        when   1803s   tick
        then   unsays r/b *
        then   recovered * by b RestOver presumed
        when   1804s   pick
        then   b
        ",
    );
}

#[test]
fn an_early_try_uses_up_its_interval_whichever_lane_hears_of_it_first() {
    // The common lane has b, and no early tries; the lane of m has nobody.
    check::<PoolScript>(
        "
        given  members=a,b strategy=least_used
        when   1s      429 a 2h
        then   says r/a *
        then   rests a * rate_limited until 7201s of 7201s
        when   2s      429 b 3500s model=m scope=model
        then   says r/b m:m
        then   rests b m:m rate_limited until 3502s of 3502s
        then   exhausted m until 3502s
        when   1801s   wanted model=m
        then   says d/a *
        when   1802s   tick
        when   1803s   probing a model=m
        then   says p/a *
        when   1804s   transient a probe model=m
        then   says p/a *
        then   taught nothing
        when   1850s   wanted model=m
        then   says d/a *
        when   1851s   tick
        when   1852s   pick model=m
        then   nobody: exhausted, in 1650s
        ",
    );
}

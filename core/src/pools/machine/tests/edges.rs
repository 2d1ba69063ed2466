//! The two moments that people hear of.

use super::PoolScript;
use crate::script::check;

#[test]
fn a_pool_is_exhausted_once_and_open_once() {
    check::<PoolScript>(
        "
        given  members=a,b reset=codex
        when   1s      429 a 60s
        then   says r/a *
        then   rests a * rate_limited until 61s of 61s
        then   failover * a to b rate_limited
        when   2s      429 b 30s
        then   says r/b *
        then   rests b * rate_limited until 32s of 32s
        then   exhausted * until 32s
        when   3s      429 b 40s
        then   says r/b *
        then   rests b * rate_limited until 43s of 43s
        when   4s      pick
        then   nobody: exhausted, in 39s
        when   5s      wake
        then   43s
        when   43s     tick
        then   unsays r/b *
        then   recovered * by b RestOver presumed, resets codex
        when   44s     pick
        then   b
        ",
    );
}

#[test]
fn what_only_proof_ends_opens_no_lane() {
    check::<PoolScript>(
        "
        given  members=a
        when   1s      auth a
        then   says r/a *
        then   rests a * auth_failed until 301s
        then   exhausted * until 301s
        when   2s      pick
        then   nobody: unavailable, in 299s
        when   301s    tick
        when   400s    pick
        then   nobody: unavailable, in 0ns
        when   500s    credential a changed
        then   says c/a *
        then   unsays r/a *
        then   recovered * by a Credential presumed
        when   501s    pick
        then   a
        ",
    );
}

#[test]
fn a_refusal_of_the_body_before_says_nothing_of_this_one() {
    check::<PoolScript>(
        "
        given  members=a,b
        when   5s      credential a changed
        when   6s      auth a sent=5s
        then   taught nothing
        when   6s      counted pool_reports_ignored_total
        then   One(reason, renewed) 1
        # A window to wait for is the account's, whatever the body.
        when   7s      429 a 60s sent=4s
        then   says r/a *
        then   rests a * rate_limited until 67s of 67s
        then   failover * a to b rate_limited
        when   67s     tick
        then   unsays r/a *
        when   70s     auth a sent=69s
        then   says r/a *
        then   rests a * auth_failed until 370s
        ",
    );
}

#[test]
fn another_body_ends_what_only_proof_ends_though_the_credential_was_gone_for_a_while() {
    check::<PoolScript>(
        "
        given  members=a
        when   1s      auth a
        then   says r/a *
        then   rests a * auth_failed until 301s
        then   exhausted * until 301s
        when   2s      429 a 60s model=m scope=model
        then   says r/a m:m
        then   rests a m:m rate_limited until 62s of 62s
        when   3s      credential a gone
        # The same one again proves nothing.
        when   4s      credential a
        when   5s      pick
        then   nobody: unavailable, in 296s
        when   6s      credential a gone
        # Another one has the same windows to wait for, perhaps; it was not refused.
        when   7s      credential a changed
        then   says c/a *
        then   unsays r/a *
        then   recovered * by a Credential presumed
        then   exhausted m until 62s
        when   8s      pick
        then   a
        when   9s      pick model=m
        then   nobody: exhausted, in 53s
        ",
    );
}

#[test]
fn a_pool_that_is_gone_says_nothing_and_begins_anew_open() {
    check::<PoolScript>(
        "
        given  members=a
        when   1s      429 a 60s
        then   says r/a *
        then   rests a * rate_limited until 61s of 61s
        then   exhausted * until 61s
        when   2s      undefine
        when   3s      wake
        then   never
        when   70s     tick
        ",
    );
}

#[test]
fn a_restart_remembers_rests_the_pointer_and_the_edge() {
    check::<PoolScript>(
        "
        given  members=a,b
        when   1s      429 a 60s
        then   says r/a *
        then   rests a * rate_limited until 61s of 61s
        then   failover * a to b rate_limited
        when   2s      429 b 90s
        then   says r/b *
        then   rests b * rate_limited until 92s of 92s
        then   exhausted * until 61s
        when   10s     restart
        then   says r/a *
        then   says r/b *
        when   11s     pick
        then   nobody: exhausted, in 50s
        when   61s     tick
        then   unsays r/a *
        then   failover * b to a rate_limited
        then   recovered * by a RestOver presumed
        when   62s     pick
        then   a
        ",
    );
}

#[test]
fn a_member_that_came_back_takes_one_at_a_time_until_it_proves_itself() {
    check::<PoolScript>(
        "
        given  members=a
        when   1s      429 a 10s
        then   says r/a *
        then   rests a * rate_limited until 11s of 11s
        then   exhausted * until 11s
        when   11s     tick
        then   unsays r/a *
        then   recovered * by a RestOver presumed
        when   12s     pick hold
        then   a
        when   12s     pick
        then   nobody: ramping, in never
        when   13s     ok a sent=12s
        then   taught nothing
        when   13s     pick hold
        then   a
        when   13s     pick
        then   nobody: ramping, in never
        when   14s     pick
        then   nobody: ramping, in never
        ",
    );
}

#[test]
fn a_restart_does_not_prove_that_a_refused_account_is_well() {
    check::<PoolScript>(
        "
        given  members=a,b
        when   1s      billing a
        then   says r/a *
        then   rests a * billing until 901s
        then   failover * a to b billing
        when   1000s   restart
        then   says r/a *
        when   1001s   429 b 60s
        then   says d/a *
        then   says r/b *
        then   rests b * rate_limited until 1061s of 1061s
        then   exhausted * until 1061s
        ",
    );
}

#[test]
fn a_lane_that_was_exhausted_in_silence_is_told_of_once_the_common_one_is_open() {
    check::<PoolScript>(
        "
        given  members=a,b
        when   1s      429 a 10s
        then   says r/a *
        then   rests a * rate_limited until 11s of 11s
        then   failover * a to b rate_limited
        when   2s      429 b 10s
        then   says r/b *
        then   rests b * rate_limited until 12s of 12s
        then   exhausted * until 11s
        when   3s      429 a 100s model=m scope=model
        then   says r/a m:m
        then   rests a m:m rate_limited until 103s of 103s
        when   3s      429 b 90s model=m scope=model
        then   says r/b m:m
        then   rests b m:m rate_limited until 93s of 93s
        when   11s     tick
        then   unsays r/a *
        then   failover * b to a rate_limited
        then   recovered * by a RestOver presumed
        then   exhausted m until 93s
        when   12s     tick
        then   unsays r/b *
        when   93s     tick
        then   unsays r/b m:m
        then   recovered m by b RestOver presumed
        ",
    );
}

#[test]
fn what_was_never_told_is_no_edge_after_a_restart_either() {
    check::<PoolScript>(
        "
        given  members=a,b
        when   1s      429 a 10s
        then   says r/a *
        then   rests a * rate_limited until 11s of 11s
        then   failover * a to b rate_limited
        when   2s      429 b 50s
        then   says r/b *
        then   rests b * rate_limited until 52s of 52s
        then   exhausted * until 11s
        when   3s      429 a 100s model=m scope=model
        then   says r/a m:m
        then   rests a m:m rate_limited until 103s of 103s
        when   4s      restart
        then   says r/a *
        then   says r/a m:m
        then   says r/b *
        when   11s     tick
        then   unsays r/a *
        then   failover * b to a rate_limited
        then   recovered * by a RestOver presumed
        then   exhausted m until 52s
        when   52s     tick
        then   unsays r/b *
        then   recovered m by b RestOver presumed
        when   103s    tick
        then   unsays r/a m:m
        ",
    );
}

#[test]
fn while_credentials_are_being_read_nobody_is_said_to_be_missing() {
    check::<PoolScript>(
        "
        given  members=a,b loaded=false
        when   1s      credential a gone
        when   1s      credential b gone
        when   2s      pick
        then   nobody: unavailable, in never
        when   3s      credential b
        when   4s      pick
        then   b
        when   5s      credential a
        when   6s      loaded
        when   7s      credential a gone
        then   failover * a to b operator
        when   7s      credential b gone
        then   exhausted * until no timer
        ",
    );
}

#[test]
fn a_pool_whose_credentials_are_not_there_is_exhausted_once_they_were_looked_for() {
    check::<PoolScript>(
        "
        given  members=e,f loaded=false
        when   1s      tick
        when   2s      loaded
        then   exhausted * until no timer
        when   3s      credential e
        then   recovered * by bc7aad1058bf8c98 Credential presumed
        ",
    );
}

#[test]
fn a_start_that_takes_longer_than_any_guess_tells_nobody() {
    check::<PoolScript>(
        "
        given  members=a,b reset=codex loaded=false
        when   1s      credential a gone
        when   1s      credential b gone
        when   60s     tick
        when   61s     credential a
        when   61s     loaded
        when   62s     credential a gone
        then   exhausted * until no timer
        ",
    );
}

#[test]
fn a_restart_reads_credentials_one_by_one_and_the_pointer_waits_for_its_own() {
    check::<PoolScript>(
        "
        given  members=a,b
        when   1s      429 a 10s
        then   says r/a *
        then   rests a * rate_limited until 11s of 11s
        then   failover * a to b rate_limited
        when   12s     tick
        then   unsays r/a *
        when   20s     restart
        when   21s     pick
        then   b
        ",
    );
}

#[test]
fn what_is_over_by_a_clock_that_is_set_right_in_that_instant_is_not_over() {
    check::<PoolScript>(
        "
        given  members=a,b
        when   1s      429 a 60s
        then   says r/a *
        then   rests a * rate_limited until 61s of 61s
        then   failover * a to b rate_limited
        when   100s    clock 30s
        when   100s    wake
        then   131s
        when   130s    tick
        when   131s    tick
        then   unsays r/a *
        ",
    );
}

#[test]
fn after_a_restart_nobody_recovers_by_what_others_have_not_said_yet() {
    check::<PoolScript>(
        "
        given  members=a reset=login
        when   0ms     up n2
        when   1s      peer n2 r/@a {'class':'rate_limited','source':'default','rest_until':@60000,'n':1,'since':@1000,'evidence':'','origin':{'node':'n2','incarnation':1,'sequence':1}}
        then   exhausted * until 60s
        when   10s     restart
        when   10s     pick
        then   a
        when   11s     up n2
        when   11s     peer n2 r/@a {'class':'rate_limited','source':'default','rest_until':@60000,'n':1,'since':@1000,'evidence':'','origin':{'node':'n2','incarnation':1,'sequence':1}}
        when   11s     ready n2
        when   11s     pick
        then   nobody: exhausted, in 49s
        when   60s     tick
        then   recovered * by a RestOver presumed, resets login
        ",
    );
}

#[test]
fn what_ended_while_a_node_was_down_is_told_once_everybody_is_heard() {
    check::<PoolScript>(
        "
        given  members=a
        when   0ms     up n2
        when   0ms     up n3
        when   1s      peer n2 r/@a {'class':'rate_limited','source':'default','rest_until':@60000,'n':1,'since':@1000,'evidence':'','origin':{'node':'n2','incarnation':1,'sequence':1}}
        then   exhausted * until 60s
        when   10s     restart
        when   70s     restart
        when   71s     ready n2
        when   71s     forgotten n3
        then   recovered * by a RestOver presumed
        ",
    );
}

#[test]
fn an_answer_tells_of_a_recovery_whoever_is_awaited() {
    check::<PoolScript>(
        "
        given  members=a
        when   0ms     up n2
        when   1s      peer n2 r/@a {'class':'rate_limited','source':'default','rest_until':@60000,'n':1,'since':@1000,'evidence':'','origin':{'node':'n2','incarnation':1,'sequence':1}}
        then   exhausted * until 60s
        when   10s     restart
        when   11s     ok a
        then   taught nothing
        then   recovered * by a Success confirmed
        when   12s     peer n2 r/@a {'class':'rate_limited','source':'default','rest_until':@60000,'n':1,'since':@1000,'evidence':'','origin':{'node':'n2','incarnation':1,'sequence':1}}
        then   exhausted * until 60s
        ",
    );
}

#[test]
fn what_comes_and_goes_within_a_turn_is_nobodys_news() {
    check::<PoolScript>(
        "
        given  members=a,b
        when   0ms     up n2
        when   0ms     up n3
        when   1s      peer n3 c/@a {'covers':[{'node':'n2','incarnation':1,'sequence':1}],'cause':'success'}
        when   1s      peer n2 r/@a {'class':'rate_limited','source':'default','rest_until':@600000,'n':1,'since':@1000,'evidence':'','origin':{'node':'n2','incarnation':1,'sequence':1}}
        when   2s      more peer n3 forgets c/@a
        when   2s      peer n2 forgets r/@a
        when   2s      pick
        then   a
        when   3s      more peer n2 r/@a {'class':'rate_limited','source':'default','rest_until':@600000,'n':1,'since':@1000,'evidence':'','origin':{'node':'n2','incarnation':1,'sequence':1}}
        when   3s      tick
        then   failover * a to b rate_limited
        ",
    );
}

#[test]
fn who_slept_tells_nothing_of_a_rest_whose_clear_is_dropped_with_it() {
    check::<PoolScript>(
        "
        given  members=a,b
        when   0ms     up n2
        when   0ms     up n3
        when   1s      peer n3 c/@a {'covers':[{'node':'n2','incarnation':1,'sequence':1}],'cause':'success'}
        when   1s      peer n2 r/@a {'class':'rate_limited','source':'default','rest_until':@600000,'n':1,'since':@1000,'evidence':'','origin':{'node':'n2','incarnation':1,'sequence':1}}
        when   2s      pick
        then   a
        when   300s    slept
        when   300s    dropped n3
        when   300s    dropped n2
        when   301s    pick
        then   a
        ",
    );
}

#[test]
fn a_clear_of_a_peer_that_ends_nothing_here_is_no_news() {
    check::<PoolScript>(
        "
        given  members=a
        when   0ms     up n2
        when   0ms     up n3
        when   1s      peer n3 r/@a {'class':'rate_limited','source':'default','rest_until':@600000,'n':1,'since':@1000,'evidence':'','origin':{'node':'n3','incarnation':1,'sequence':1}}
        then   exhausted * until 600s
        when   10s     restart
        when   10s     up n2
        when   10s     up n3
        # It is of an earlier rest, and n3's word is not here again.
        when   11s     peer n2 c/@a {'covers':[{'node':'n2','incarnation':1,'sequence':1}],'cause':'success'}
        when   11s     ready n2
        when   12s     peer n3 r/@a {'class':'rate_limited','source':'default','rest_until':@600000,'n':1,'since':@1000,'evidence':'','origin':{'node':'n3','incarnation':1,'sequence':1}}
        when   12s     ready n3
        when   13s     pick
        then   nobody: exhausted, in 587s
        when   14s     peer n2 c/@a {'covers':[{'node':'n3','incarnation':1,'sequence':1}],'cause':'success'}
        then   recovered * by a Success confirmed
        ",
    );
}

#[test]
fn nobody_is_awaited_for_longer_than_anything_is_remembered() {
    check::<PoolScript>(
        "
        given  members=a
        when   0ms     up n2
        when   1s      peer n2 r/@a {'class':'rate_limited','source':'default','rest_until':@60000,'n':1,'since':@1000,'evidence':'','origin':{'node':'n2','incarnation':1,'sequence':1}}
        then   exhausted * until 60s
        # n2 leaves meanwhile: nobody speaks of it any more.
        when   10s     restart
        when   70s     tick
        when   70s     wake
        then   1810s
        when   1810s   tick
        then   recovered * by a RestOver presumed
        ",
    );
}

#[test]
fn while_maps_are_dropped_and_read_anew_nobody_recovers() {
    check::<PoolScript>(
        "
        given  members=a
        when   0ms     up n2
        when   0ms     up n3
        when   1s      peer n2 r/@a {'class':'rate_limited','source':'default','rest_until':@60000,'n':1,'since':@1000,'evidence':'','origin':{'node':'n2','incarnation':1,'sequence':1}}
        then   exhausted * until 60s
        when   2s      dropped n2
        when   3s      peer n2 r/@a {'class':'rate_limited','source':'default','rest_until':@60000,'n':1,'since':@1000,'evidence':'','origin':{'node':'n2','incarnation':1,'sequence':1}}
        when   3s      ready n2
        when   4s      pick
        then   nobody: exhausted, in 56s
        ",
    );
}

//! Picks for callers outside this process, and whom their answers blame.

use super::PoolScript;
use crate::script::check;

#[test]
fn only_the_leased_member_is_blamed_and_a_second_report_changes_nothing() {
    check::<PoolScript>(
        "
        given  members=a,b
        when   1s      lease a
        then   leased
        when   2s      lease a
        then   leased
        when   3s      answered 1 429
        then   says r/a *
        then   rests a * rate_limited until 63s
        then   judged rate_limited, applied true
        then   failover * a to b rate_limited
        when   4s      pick
        then   b
        when   5s      answered 2 429
        then   says r/a *
        then   rests a * rate_limited until 65s
        then   judged rate_limited, applied true
        when   6s      answered 1 429
        then   judged rate_limited, applied true
        when   7s      answered 9 429
        then   refused not_found
        ",
    );
}

#[test]
fn a_lease_ends_after_a_quarter_of_an_hour() {
    check::<PoolScript>(
        "
        given  members=a,b
        when   1s      lease a
        then   leased
        when   901s    answered 1 429
        then   refused lease_expired
        when   902s    lease a
        then   leased
        when   1802s   tick
        when   1803s   answered 1 429
        then   refused not_found
        when   1804s   restart
        when   1805s   answered 2 429
        then   refused not_found
        ",
    );
}

#[test]
fn what_a_credential_may_not_do_counts_once_another_served_the_request() {
    check::<PoolScript>(
        "
        given  members=a,b
        when   1s      lease a model=m request=r1
        then   leased
        when   2s      answered 1 403
        then   judged permission_denied, applied false
        when   3s      pick model=m
        then   a
        when   4s      lease b model=m request=r1
        then   leased
        when   5s      answered 2 200
        then   says r/a m:m
        then   rests a m:m permission_denied until 1805s
        then   judged ok, applied false
        then   failover m a to b permission_denied
        when   6s      pick model=m
        then   b
        when   7s      lease a model=m
        then   leased
        when   8s      answered 3 403
        then   judged permission_denied, applied false
        ",
    );
}

#[test]
fn a_delay_that_is_stated_and_is_none_is_counted() {
    check::<PoolScript>(
        "
        given  members=a,b
        when   0ms     lease a
        then   leased
        when   0ms     lease a
        then   leased
        when   0ms     lease a
        then   leased
        when   1s      answered 1 429 retry-after=0
        then   says r/a *
        then   rests a * rate_limited until 61s
        then   judged rate_limited, applied true
        then   failover * a to b rate_limited
        when   2s      answered 2 429 retry-after=120s
        then   says r/a *
        then   rests a * rate_limited until 62s
        then   judged rate_limited, applied true
        when   3s      counted hint_rejected_total
        then   One(reason, unusable) 2
        when   3s      answered 3 429 retry-after=120
        then   says r/a *
        then   rests a * rate_limited until 123s of 123s
        then   judged rate_limited, applied true
        when   3s      answered 3 429 retry-after=0
        then   judged rate_limited, applied true
        when   4s      counted hint_rejected_total
        then   One(reason, unusable) 2
        ",
    );
}

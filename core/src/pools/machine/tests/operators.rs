//! Verbs of operators, each with its effect on the next pick.

use super::PoolScript;
use crate::script::check;

#[test]
fn rotate_parks_the_active_member_and_goes_on() {
    check::<PoolScript>(
        "
        given  members=a,b
        when   1s      pick
        then   a
        when   2s      rotate
        then   says k/a *
        then   failover * a to b operator
        then   rotated a to b until 302s
        when   3s      pick
        then   b
        when   4s      429 b 60s
        then   says r/b *
        then   rests b * rate_limited until 64s of 64s
        then   failover * b to a rate_limited
        when   5s      pick
        then   a
        when   6s      rotate
        then   refused nowhere_to_rotate
        when   302s    tick
        then   unsays r/b *
        when   303s    pick
        then   a
        ",
    );
}

#[test]
fn a_park_is_no_rest_and_a_rest_no_park() {
    check::<PoolScript>(
        "
        given  members=a,b
        when   1s      park a 100s
        then   says k/a *
        then   failover * a to b operator
        when   2s      pick
        then   b
        when   3s      429 a 10s
        then   says r/a *
        then   rests a * rate_limited until 13s of 13s
        when   4s      unpark a
        then   says k/a *
        when   5s      pick
        then   b
        when   6s      429 b 10s
        then   says r/b *
        then   rests b * rate_limited until 16s of 16s
        then   exhausted * until 13s
        when   7s      pick
        then   nobody: exhausted, in 6s
        ",
    );
}

#[test]
fn clear_voids_what_is_in_view_and_needs_something_to_void() {
    check::<PoolScript>(
        "
        given  members=a,b
        when   1s      clear a
        then   refused not_resting
        when   2s      429 a 600s
        then   says r/a *
        then   rests a * rate_limited until 602s of 602s
        then   failover * a to b rate_limited
        when   3s      clear a
        then   says c/a *
        then   unsays r/a *
        then   changed a *
        when   4s      429 b 60s
        then   says r/b *
        then   rests b * rate_limited until 64s of 64s
        then   failover * b to a rate_limited
        when   5s      pick
        then   a
        when   6s      clear d
        then   refused not_found
        ",
    );
}

#[test]
fn a_provider_is_cooled_and_recovered_as_a_whole() {
    check::<PoolScript>(
        "
        given  members=a,b elsewhere=b
        when   1s      cool fake 60s
        then   says r/a *
        then   rests a * rate_limited until 61s of 61s
        then   changed a *
        then   failover * a to b rate_limited
        when   2s      pick
        then   b
        when   3s      recover fake
        then   says c/a *
        then   unsays r/a *
        then   changed a *
        when   4s      cool nobody 60s
        then   refused not_found
        when   5s      cool fake 2d
        then   refused invalid_request
        ",
    );
}

#[test]
fn a_rotation_knows_what_its_turn_has_brought() {
    check::<PoolScript>(
        "
        given  members=a,b
        when   1s      more 429 b 60s
        when   1s      rotate
        then   says r/b *
        then   rests b * rate_limited until 61s of 61s
        then   refused nowhere_to_rotate
        ",
    );
}

#[test]
fn a_credential_that_is_switched_off_is_not_servable_whatever_its_rests_say() {
    check::<PoolScript>(
        "
        given  members=a,b
        when   1s      credential a disabled
        then   failover * a to b operator
        when   2s      pick
        then   b
        when   3s      credential b needs_login
        then   exhausted * until no timer
        when   4s      pick
        then   nobody: unavailable, in never
        when   5s      credential a
        then   failover * b to a operator
        then   recovered * by a Credential presumed
        when   6s      pick
        then   a
        when   7s      credential b priority=5
        then   failover * a to b operator
        when   8s      pick
        then   b
        ",
    );
}

#[test]
fn with_nothing_servable_forward_takes_whose_rest_ends_first() {
    check::<PoolScript>(
        "
        given  members=a,b forward=true
        when   1s      429 a 60s
        then   says r/a *
        then   rests a * rate_limited until 61s of 61s
        then   failover * a to b rate_limited
        when   2s      429 b 30s
        then   says r/b *
        then   rests b * rate_limited until 32s of 32s
        then   exhausted * until 32s
        when   3s      pick
        then   b
        ",
    );
}

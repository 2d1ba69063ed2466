//! Leases: in log time, never early, and late by so much.

use super::harness::KvScript;
use crate::script::check;

#[test]
fn a_key_ends_with_its_lease_by_a_word() {
    check::<KvScript>(
        "
        when   0ms     grant 10s
        then   #1 lease 1 for 10000ms
        when   0ms     put app/a=1 lease=1
        then   #2 done r1 [put c1 v1 lease=1]
        when   0ms     put app/b=2 lease=1
        then   #3 done r2 [put c2 v1 lease=1]
        when   0ms     put app/c=3 lease=9
        then   #4 refused: lease 9 does not exist; grant a new one
        when   1s      lease 1
        then   #5 r2 9000 of 10000ms left, keys [app/a, app/b]
        when   1s      watch 7 app/*
        when   2s      revoke 1
        then   watch 7: r3 [a revoked, b revoked]
        then   #6 ended r3, 2 keys
        when   2s      list app/*
        then   #7 r3 at r3 []
        when   2s      revoke 1
        then   #8 refused: lease 1 does not exist; grant a new one
        when   2s      lease 1
        then   #9 r3 no such lease
        when   2s      keep 1
        then   #10 refused: lease 1 does not exist; grant a new one
        ",
    );
}

#[test]
fn a_lease_ends_by_time_and_a_renewal_ordered_first_wins() {
    check::<KvScript>(
        "
        when   0ms     lead on
        when   0ms     grant 10s
        then   #1 lease 1 for 10000ms
        when   0ms     put app/a=1 lease=1
        then   #2 done r1 [put c1 v1 lease=1]
        when   0ms     watch 7 app/*
        when   8s      keep 1
        then   #3 lease 1 for 10000ms
        when   10s     tick
        when   17s     lease 1
        then   #4 r1 1000 of 10000ms left, keys [app/a]
        when   17900ms tick
        when   17900ms entry expire
        then   Ended { revision: 1, leases: 0, deleted: 0, cause: Expired }
        when   18s     log off
        when   18s     tick
        when   18s     keep 1
        when   18100ms log on
        then   watch 7: r2 [a expired]
        then   #5 refused: lease 1 does not exist; grant a new one
        when   18100ms get app/a
        then   #6 r2 absent
        ",
    );
}

#[test]
fn an_expiry_that_comes_late_in_the_log_spares_what_was_renewed() {
    check::<KvScript>(
        "
        when   0ms     grant 10s
        then   #1 lease 1 for 10000ms
        when   0ms     put app/a=1 lease=1
        then   #2 done r1 [put c1 v1 lease=1]
        when   9s      keep 1
        then   #3 lease 1 for 10000ms
        when   11s     entry expire
        then   Ended { revision: 1, leases: 0, deleted: 0, cause: Expired }
        when   18999ms entry expire
        then   Ended { revision: 1, leases: 0, deleted: 0, cause: Expired }
        when   19s     entry expire
        then   Ended { revision: 2, leases: 1, deleted: 1, cause: Expired }
        ",
    );
}

#[test]
fn nothing_ends_in_the_first_seconds_of_a_leader() {
    check::<KvScript>(
        "
        when   0ms     grant 1s
        then   #1 lease 1 for 1000ms
        when   0ms     put app/a=1 lease=1
        then   #2 done r1 [put c1 v1 lease=1]
        when   0ms     watch 7 app/*
        when   20s     lead on
        when   24900ms tick
        when   25s     tick
        then   watch 7: r2 [a expired]
        ",
    );
}

#[test]
fn a_put_moves_a_key_from_lease_to_lease() {
    check::<KvScript>(
        "
        when   0ms     grant 10s
        then   #1 lease 1 for 10000ms
        when   0ms     grant 10s
        then   #2 lease 2 for 10000ms
        when   0ms     put app/a=1 lease=1
        then   #3 done r1 [put c1 v1 lease=1]
        when   0ms     put app/a=2 lease=2
        then   #4 done r2 [put c1 v2 lease=2]
        when   0ms     lease 1
        then   #5 r2 10000 of 10000ms left, keys []
        when   0ms     put app/a=3 lease=keep
        then   #6 done r3 [put c1 v3 lease=2]
        when   0ms     lease 2
        then   #7 r3 10000 of 10000ms left, keys [app/a]
        when   0ms     put app/a=4
        then   #8 done r4 [put c1 v4]
        when   0ms     lease 2
        then   #9 r4 10000 of 10000ms left, keys []
        when   0ms     revoke 2
        then   #10 ended r4, 0 keys
        when   0ms     get app/a
        then   #11 r4 4 c1 m4 v4
        ",
    );
}

#[test]
fn leases_have_bounds() {
    check::<KvScript>(
        "
        given  leases_max=2 lease_keys_max=2
        when   0ms     grant 999ms
        then   #1 refused: a lease lives from 1 s to 24 h
        when   0ms     grant 86401s
        then   #2 refused: a lease lives from 1 s to 24 h
        when   0ms     grant 1s
        then   #3 lease 4 for 1000ms
        when   0ms     grant 24h
        then   #4 lease 5 for 86400000ms
        when   0ms     grant 10s
        then   #5 refused: kv.leases_max is reached; delete something first
        when   0ms     acquire app/l ttl=5s
        then   #6 refused: kv.leases_max is reached; delete something first
        when   0ms     put app/a=1 lease=4
        then   #7 done r1 [put c1 v1 lease=4]
        when   0ms     put app/b=1 lease=4
        then   #8 done r2 [put c2 v1 lease=4]
        when   0ms     put app/c=1 lease=4
        then   #9 refused: kv.lease_keys_max is reached; delete something first
        when   0ms     acquire app/l lease=4
        then   #10 refused: kv.lease_keys_max is reached; delete something first
        when   0ms     txn app c=1@4 -a
        then   #11 done r3 [put c3 v1 lease=4, deleted 1]
        when   0ms     list app/*
        then   #12 r3 at r3 [b=1@4 c2 m2 v1, c=1@4 c3 m3 v1]
        ",
    );
}

#[test]
fn keep_alives_of_many_are_one_entry_in_a_quarter_of_a_second() {
    check::<KvScript>(
        "
        when   0ms     grant 10s
        then   #1 lease 1 for 10000ms
        when   0ms     grant 20s
        then   #2 lease 2 for 20000ms
        when   1s      keep 1
        then   #3 lease 1 for 10000ms
        when   1100ms  keep 2
        when   1150ms  keep 1
        when   1200ms  keep 7
        when   1249ms  tick
        when   1250ms  tick
        then   #5 lease 1 for 10000ms
        then   #4 lease 2 for 20000ms
        then   #6 refused: lease 7 does not exist; grant a new one
        when   1250ms  lease 2
        then   #7 r0 20000 of 20000ms left, keys []
        ",
    );
}

#[test]
fn a_lease_survives_a_snapshot_with_its_deadline_and_keys() {
    check::<KvScript>(
        "
        when   0ms     grant 10s
        then   #1 lease 1 for 10000ms
        when   0ms     put app/a=1 lease=1
        then   #2 done r1 [put c1 v1 lease=1]
        when   4s      keep 1
        then   #3 lease 1 for 10000ms
        when   5s      put app/b=1
        then   #4 done r2 [put c2 v1]
        when   5s      restore
        when   5s      lease 1
        then   #5 r2 9000 of 10000ms left, keys [app/a]
        when   13900ms entry expire
        then   Ended { revision: 2, leases: 0, deleted: 0, cause: Expired }
        when   14s     entry expire
        then   Ended { revision: 3, leases: 1, deleted: 1, cause: Expired }
        ",
    );
}

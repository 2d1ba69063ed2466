//! Every row of the table of operations.

use std::time::Duration;

use super::harness::KvScript;
use crate::kv::{Input, Kv, Settings};
use crate::machine::Machine;
use crate::script::check;
use crate::time::Instant;

#[test]
fn a_put_is_a_new_version_and_a_deletion_resets_it() {
    check::<KvScript>(
        "
        when   0ms     put app/a=1
        then   #1 done r1 [put c1 v1]
        when   0ms     put app/a=2 previous
        then   #2 done r2 [put c1 v2 was 1 c1 m1 v1]
        when   0ms     put app/b=3
        then   #3 done r3 [put c3 v1]
        when   0ms     get app/a
        then   #4 r3 2 c1 m2 v2
        when   0ms     delete app/a
        then   #5 done r4 [deleted 1]
        when   0ms     get app/a
        then   #6 r4 absent
        when   0ms     put app/a=4
        then   #7 done r5 [put c5 v1]
        when   0ms     get app/a
        then   #8 r5 4 c5 m5 v1
        ",
    );
}

#[test]
fn a_delete_tells_how_many_went_and_none_changes_no_revision() {
    check::<KvScript>(
        "
        when   0ms     txn app a=1 aa=2 ab=3 b=4 c=5
        then   #1 done r1 [put c1 v1, put c1 v1, put c1 v1, put c1 v1, put c1 v1]
        when   0ms     delete app/x
        then   #2 done r1 [deleted 0]
        when   0ms     delete app/a*
        then   #3 done r2 [deleted 3]
        when   0ms     delete app/b..c
        then   #4 done r3 [deleted 1]
        when   0ms     list app/*
        then   #5 r3 at r3 [c=5 c1 m1 v1]
        when   0ms     delete app/c..a
        then   #6 done r3 [deleted 0]
        when   0ms     delete app/*
        then   #7 done r4 [deleted 1]
        when   0ms     delete app/*
        then   #8 done r4 [deleted 0]
        ",
    );
}

#[test]
fn a_list_goes_in_order_of_key_and_all_its_pages_are_of_one_revision() {
    check::<KvScript>(
        "
        when   0ms     txn app a=1 b=2 c=3 d=4
        then   #1 done r1 [put c1 v1, put c1 v1, put c1 v1, put c1 v1]
        when   0ms     list app/* limit=2
        then   #2 r1 at r1 [a=1 c1 m1 v1, b=2 c1 m1 v1 …]
        when   0ms     txn app a=x -c bb=5
        then   #3 done r2 [put c1 v2, deleted 1, put c2 v1]
        when   0ms     list app/* limit=2 after=b at=1
        then   #4 r2 at r1 [c=3 c1 m1 v1, d=4 c1 m1 v1]
        when   0ms     list app/* limit=2
        then   #5 r2 at r2 [a=x c1 m2 v2, b=2 c1 m1 v1 …]
        when   0ms     list app/b* keys
        then   #6 r2 at r2 [b= c1 m1 v1, bb= c2 m2 v1]
        when   0ms     list app/b..d
        then   #7 r2 at r2 [b=2 c1 m1 v1, bb=5 c2 m2 v1]
        ",
    );
}

#[test]
fn a_read_at_a_past_revision_is_exact_or_compacted() {
    check::<KvScript>(
        "
        when   0ms     put app/a=1
        then   #1 done r1 [put c1 v1]
        when   0ms     put app/a=2
        then   #2 done r2 [put c1 v2]
        when   0ms     delete app/a
        then   #3 done r3 [deleted 1]
        when   0ms     put app/a=3
        then   #4 done r4 [put c4 v1]
        when   0ms     get app/a at=1
        then   #5 r4 1 c1 m1 v1
        when   0ms     get app/a at=2
        then   #6 r4 2 c1 m2 v2
        when   0ms     get app/a at=3
        then   #7 r4 absent
        when   0ms     get app/a at=4
        then   #8 r4 3 c4 m4 v1
        when   0ms     compact 2
        then   #9 compacted 2
        when   0ms     get app/a at=1
        then   #10 r4 compacted 2
        when   0ms     get app/a at=2
        then   #11 r4 2 c1 m2 v2
        when   0ms     get app/a at=3
        then   #12 r4 absent
        when   0ms     list app/* at=1
        then   #13 r4 compacted 2
        when   0ms     list app/* at=2
        then   #14 r4 at r2 [a=2 c1 m2 v2]
        when   0ms     compact 2
        then   #15 compacted 2
        when   0ms     compact 9
        then   #16 refused: the revision is 4; a later one cannot be compacted
        when   0ms     state
        then   r4 from 2, bytes (70, 139)
        when   0ms     restore
        when   0ms     list app/* at=2
        then   #17 r4 at r2 [a=2 c1 m2 v2]
        ",
    );
}

#[test]
fn a_condition_that_does_not_hold_writes_nothing_and_shows_the_key() {
    check::<KvScript>(
        "
        when   0ms     put app/a=1 if=present
        then   #1 precondition r0: absent
        when   0ms     put app/a=1 if=absent
        then   #2 done r1 [put c1 v1]
        when   0ms     put app/a=2 if=absent
        then   #3 precondition r1: a=1 c1 m1 v1
        when   0ms     put app/a=2 if=mod:7
        then   #4 precondition r1: a=1 c1 m1 v1
        when   0ms     put app/a=2 if=mod:1
        then   #5 done r2 [put c1 v2]
        when   0ms     put app/a=3 if=version:2
        then   #6 done r3 [put c1 v3]
        when   0ms     put app/a=4 if=value:x
        then   #7 precondition r3: a=3 c1 m3 v3
        when   0ms     put app/a=4 if=value:3
        then   #8 done r4 [put c1 v4]
        when   0ms     delete app/a if=mod:3
        then   #9 precondition r4: a=4 c1 m4 v4
        when   0ms     delete app/a if=mod:4
        then   #10 done r5 [deleted 1]
        ",
    );
}

#[test]
fn a_transaction_sees_the_state_before_and_writes_at_one_revision() {
    check::<KvScript>(
        "
        when   0ms     txn app a=1 b=2
        then   #1 done r1 [put c1 v1, put c1 v1]
        when   0ms     txn app ?a.version=1 ?b.value=2 a=3 .a -b .b | .a
        then   #2 done r2 [put c1 v2, got a=1 c1 m1 v1, deleted 1, got b=2 c1 m1 v1]
        when   0ms     txn app ?a.version=1 a=9 | .a c=1
        then   #3 else r3 [got a=3 c1 m2 v2, put c3 v1]
        when   0ms     txn app ?a.mod>1 ?a.create<2 ?a.lease=0 ?a.value!=4 .a*
        then   #4 done r3 [got a=3 c1 m2 v2]
        when   0ms     txn app ?x.version=0 ?x.mod=0 ?x.value!=1 x=1 | .x
        then   #5 else r3 [got ]
        when   0ms     txn app .a
        then   #6 done r3 [got a=3 c1 m2 v2]
        ",
    );
}

#[test]
fn a_key_written_twice_in_one_branch_is_refused() {
    check::<KvScript>(
        "
        when   0ms     txn app a=1 a=2
        then   #1 refused: the key `a` is written twice in one branch; write it once
        when   0ms     txn app a=1 -a
        then   #2 refused: the key `a` is written twice in one branch; write it once
        when   0ms     txn app ab=1 -a*
        then   #3 refused: the key `ab` is written twice in one branch; write it once
        when   0ms     txn app -a* -ab..ac
        then   #4 refused: the key `ab` is written twice in one branch; write it once
        when   0ms     txn app a=1 | a=2
        then   #5 done r1 [put c1 v1]
        when   0ms     txn app a=1 -b..c -aa*
        then   #6 done r2 [put c1 v2, deleted 0, deleted 0]
        ",
    );
}

#[test]
fn reserved_namespaces_refuse_every_caller_and_obey_their_own_calls() {
    check::<KvScript>(
        "
        when   0ms     put config/a=1
        then   #1 failed: the namespace `config` belongs to Quorate and is changed by calls of its own
        when   0ms     put _locks/a=1
        then   #2 failed: the namespace `_locks` belongs to Quorate and is changed by calls of its own
        when   0ms     delete access/*
        then   #3 failed: the namespace `access` belongs to Quorate and is changed by calls of its own
        when   0ms     txn pools a=1
        then   #4 failed: the namespace `pools` belongs to Quorate and is changed by calls of its own
        when   0ms     txn pools .a
        then   #5 done r0 [got ]
        when   0ms     quorate put config/a=1
        then   #6 done r1 [put c1 v1]
        when   0ms     get config/a
        then   #7 r1 1 c1 m1 v1
        when   0ms     acquire _x/a ttl=5s
        then   #8 failed: the namespace `_x` belongs to Quorate and is changed by calls of its own
        ",
    );
}

#[test]
fn a_namespace_sees_only_itself() {
    check::<KvScript>(
        "
        when   0ms     put a/k=1
        then   #1 done r1 [put c1 v1]
        when   0ms     put aa/k=2
        then   #2 done r2 [put c2 v1]
        when   0ms     put a-/k=3
        then   #3 done r3 [put c3 v1]
        when   0ms     list a/*
        then   #4 r3 at r3 [k=1 c1 m1 v1]
        when   0ms     delete a/*
        then   #5 done r4 [deleted 1]
        when   0ms     list aa/*
        then   #6 r4 at r4 [k=2 c2 m2 v1]
        when   0ms     list a-/*
        then   #7 r4 at r4 [k=3 c3 m3 v1]
        ",
    );
}

#[test]
fn what_is_too_large_is_refused_and_changes_nothing() {
    check::<KvScript>(
        "
        given  value_max=8 txn_operations_max=2 txn_bytes_max=12
        when   0ms     put app/a=x*9
        then   #1 failed: more than `kv.value_max` allows
        when   0ms     txn app a=1 b=2 c=3
        then   #2 failed: more than `kv.txn_operations_max` allows
        when   0ms     txn app a=123456 b=123456
        then   #3 failed: more than `kv.txn_bytes_max` allows
        when   0ms     put app/a=x*8
        then   #4 done r1 [put c1 v1]
        when   0ms     state
        then   r1 from 0, bytes (77, 69)
        ",
    );
}

#[test]
fn a_full_store_refuses_puts_and_lets_deletes_go() {
    check::<KvScript>(
        "
        given  keys_max=2 bytes_max=1000
        when   0ms     txn app a=1 b=2
        then   #1 done r1 [put c1 v1, put c1 v1]
        when   0ms     put app/c=3
        then   #2 refused: kv.keys_max is reached; delete something first
        when   0ms     put app/b=3
        then   #3 done r2 [put c1 v2]
        when   0ms     txn app c=3 -a
        then   #4 done r3 [put c3 v1, deleted 1]
        when   0ms     put app/b=x*900
        then   #5 refused: kv.bytes_max is reached; delete something first
        when   0ms     state
        then   r3 from 0, bytes (140, 347)
        when   0ms     delete app/*
        then   #6 done r4 [deleted 2]
        when   0ms     compact 4
        then   #7 compacted 4
        when   0ms     state
        then   r4 from 4, bytes (0, 0)
        when   0ms     put app/b=x*700
        then   #8 done r5 [put c5 v1]
        ",
    );
}

#[test]
fn a_local_read_answers_at_once_and_waits_for_the_revision_it_names() {
    check::<KvScript>(
        "
        when   0ms     put app/a=1
        then   #1 done r1 [put c1 v1]
        when   0ms     get app/a local
        then   #2 r1 1 c1 m1 v1
        when   1s      get app/a local min=2
        when   2s      put app/a=2
        then   #3 r2 2 c1 m2 v2
        then   #4 done r2 [put c1 v2]
        when   3s      get app/a local min=9 within=1s
        when   3900ms  tick
        when   4s      tick
        then   #5 failed: the revision 9 did not arrive in time; it is 2
        when   5s      get app/a at=3
        when   6s      put app/b=1
        then   #6 r3 2 c1 m2 v2
        then   #7 done r3 [put c3 v1]
        ",
    );
}

#[test]
fn what_the_log_does_not_do_is_said_so() {
    check::<KvScript>(
        "
        when   0ms     log off
        when   0ms     put app/a=1
        when   1s      lose ambiguous
        then   #1 failed: it may or may not have happened; read before repeating, or repeat it with the same key
        when   1s      put app/a=2
        when   2s      lose no_quorum
        then   #2 failed: no leader with a quorum answered in time; nothing was done
        when   2s      log on
        when   3s      get app/a
        then   #3 r0 absent
        when   3s      entry nonsense
        then   Refused(Invalid(Senseless))
        when   3s      state
        then   r0 from 0, bytes (0, 0)
        ",
    );
}

#[test]
fn a_leader_keeps_so_much_history_and_no_more() {
    check::<KvScript>(
        "
        given  history_revisions=3 history_ms=10000
        when   0ms     lead on
        when   1s      put app/a=1
        then   #1 done r1 [put c1 v1]
        when   2s      put app/a=2
        then   #2 done r2 [put c1 v2]
        when   3s      put app/a=3
        then   #3 done r3 [put c1 v3]
        when   4s      put app/a=4
        then   #4 done r4 [put c1 v4]
        when   5s      put app/a=5
        then   #5 done r5 [put c1 v5]
        when   5s      state
        then   r5 from 0, bytes (70, 349)
        when   12s     put app/a=6
        then   #6 done r6 [put c1 v6]
        when   12s     state
        then   r6 from 2, bytes (70, 280)
        when   20s     put app/a=7
        then   #7 done r7 [put c1 v7]
        when   20s     state
        then   r7 from 4, bytes (70, 210)
        ",
    );
}

#[test]
fn history_that_weighs_too_much_goes_early() {
    check::<KvScript>(
        "
        given  history_bytes=300
        when   0ms     lead on
        when   1s      put app/a=x*50
        then   #1 done r1 [put c1 v1]
        when   2s      put app/a=x*50
        then   #2 done r2 [put c1 v2]
        when   2s      state
        then   r2 from 0, bytes (119, 188)
        when   3s      put app/a=x*50
        then   #3 done r3 [put c1 v3]
        when   3s      state
        then   r3 from 1, bytes (119, 238)
        when   4s      put app/a=x*50
        then   #4 done r4 [put c1 v4]
        when   4s      state
        then   r4 from 2, bytes (119, 238)
        ",
    );
}

#[test]
fn the_view_says_how_long_calls_wait_and_follows_a_reload() {
    let mut kv = Kv::new(Settings::default());
    let seconds = Duration::from_secs;
    let shown = kv.publish(Instant::ZERO).map(|view| view.deadline);
    assert_eq!(shown, Some(seconds(5)));
    let settings = Box::new(Settings { deadline: seconds(40), ..Settings::default() });
    kv.handle(Instant::ZERO, Input::Reload { settings }, &mut Vec::new());
    let shown = kv.publish(Instant::ZERO).map(|view| view.deadline);
    assert_eq!(shown, Some(seconds(40)));
}

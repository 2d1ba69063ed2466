//! The request that a pool sends by itself, where nobody asks.

use super::PoolScript;
use crate::script::check;

#[test]
fn after_a_minute_in_which_nobody_asked_the_pool_asks_itself() {
    check::<PoolScript>(
        "
        given  members=a,b own=POST:m
        when   0ms       quota a
        then   says r/a *
        then   rests a * quota_exhausted until 900s
        then   failover * a to b quota_exhausted
        when   900s      tick
        when   959999ms  tick
        when   959999ms  wake
        then   960s
        when   960s      tick
        then   says d/a *
        when   960s      wake
        then   960.5s
        when   960500ms  tick
        then   sends its own to a
        when   960501ms  tick
        when   960510ms  probing a model=m
        then   says p/a *
        when   961s      ok a probe model=m
        then   says c/a *
        then   unsays r/a *
        then   unsays p/a *
        then   unsays d/a *
        ",
    );
}

#[test]
fn whoever_asks_is_waited_for_a_minute_more() {
    check::<PoolScript>(
        "
        given  members=a own=POST:m
        when   0ms       quota a
        then   says r/a *
        then   rests a * quota_exhausted until 900s
        then   exhausted * until 900s
        when   930s      wanted
        then   says d/a *
        when   960s      tick
        when   989999ms  wake
        then   990s
        when   990s      tick
        then   says d/a *
        when   990500ms  tick
        then   sends its own to a
        ",
    );
}

#[test]
fn a_caller_that_asks_meanwhile_sends_the_try_itself() {
    check::<PoolScript>(
        "
        given  members=a own=POST:m
        when   0ms       quota a
        then   says r/a *
        then   rests a * quota_exhausted until 900s
        then   exhausted * until 900s
        when   960s      tick
        then   says d/a *
        when   960100ms  wanted
        when   960500ms  tick
        when   961s      pick
        then   a as a probe
        ",
    );
}

#[test]
fn a_try_that_taught_nothing_is_sent_again_after_its_pause_and_is_no_demand() {
    check::<PoolScript>(
        "
        given  members=a own=POST:m
        when   0ms       quota a
        then   says r/a *
        then   rests a * quota_exhausted until 900s
        then   exhausted * until 900s
        when   960s      tick
        then   says d/a *
        when   960500ms  tick
        then   sends its own to a
        when   961s      probing a model=m
        then   says p/a *
        when   980s      transient a probe model=m
        then   says p/a *
        then   taught nothing
        when   1009999ms tick
        when   1010s     tick
        then   sends its own to a
        ",
    );
}

#[test]
fn what_is_lost_on_its_way_is_sent_again_once_nobody_wants_it() {
    check::<PoolScript>(
        "
        given  members=a own=POST:m
        when   0ms       quota a
        then   says r/a *
        then   rests a * quota_exhausted until 900s
        then   exhausted * until 900s
        when   960s      tick
        then   says d/a *
        when   960500ms  tick
        then   sends its own to a
        when   1019999ms tick
        when   1020s     tick
        then   says d/a *
        when   1020500ms tick
        then   sends its own to a
        ",
    );
}

#[test]
fn an_operator_who_asks_for_a_try_gets_it_at_once() {
    check::<PoolScript>(
        "
        given  members=a own=POST:m
        when   0ms       billing a
        then   says r/a *
        then   rests a * billing until 900s
        then   exhausted * until 900s
        when   100s      probe a
        then   says d/a *
        when   100500ms  tick
        then   sends its own to a
        when   100510ms  pick model=m
        then   a as a probe
        ",
    );
}

#[test]
fn an_ask_means_first_what_the_pools_own_request_would_try() {
    check::<PoolScript>(
        "
        given  members=a own=POST:m
        when   0ms       billing a
        then   says r/a *
        then   rests a * billing until 900s
        then   exhausted * until 900s
        when   1s        quota a 2000s scope=model model=x
        then   says r/a m:x
        then   rests a m:x quota_exhausted until 2001s of 2001s
        when   100s      probe a
        then   says d/a *
        ",
    );
}

#[test]
fn what_rests_for_another_model_is_not_asked_about() {
    check::<PoolScript>(
        "
        given  members=a own=POST:m
        when   0ms       quota a scope=model model=x
        then   says r/a m:x
        then   rests a m:x quota_exhausted until 900s
        then   exhausted x until 900s
        when   960s      tick
        when   961s      tick
        when   1500s     tick
        then   unsays r/a m:x
        then   recovered x by a RestOver presumed
        ",
    );
}

#[test]
fn of_several_members_the_first_by_the_hash_asks_and_the_next_a_second_later() {
    check::<PoolScript>(
        "
        given  members=a own=POST:m
        when   0ms       up n2/1
        when   1ms       up n3/1
        when   2ms       up n4/1
        when   3ms       quota a
        then   says r/a *
        then   rests a * quota_exhausted until 900.003s
        then   exhausted * until 900.003s
        when   960003ms  tick
        when   960003ms  wake
        then   963.003s
        when   961s      peer n3/1 d/@a {'count':1,'asked':false}
        when   963003ms  tick
        when   964s      failed n2/1
        when   1021s     tick
        when   1021s     wake
        then   1023s
        when   1023s     tick
        then   says d/a *
        when   1023500ms tick
        then   sends its own to a
        ",
    );
}

#[test]
fn an_ask_of_an_operator_is_used_up_by_its_try() {
    check::<PoolScript>(
        "
        given  members=a own=POST:m
        when   0ms       billing a
        then   says r/a *
        then   rests a * billing until 900s
        then   exhausted * until 900s
        when   100s      probe a
        then   says d/a *
        when   100500ms  tick
        then   sends its own to a
        when   100510ms  probing a model=m
        then   says p/a *
        when   101s      billing a probe model=m
        then   says r/a *
        then   says p/a *
        when   102s      tick
        when   103s      probe a
        then   says d/a *
        then   sends its own to a
        ",
    );
}

#[test]
fn members_of_one_group_are_tried_by_one_request_of_the_pools_own() {
    check::<PoolScript>(
        "
        given  members=a,b groups=a:g,b:g own=POST:m
        when   0ms       quota a
        then   says r/g:g/0/*
        then   rests g:g/0/* quota_exhausted until 900s
        then   exhausted * until 900s
        when   960s      tick
        then   says d/g:g/0/*
        when   960500ms  tick
        then   sends its own to a
        ",
    );
}

#[test]
fn where_no_word_has_room_nobody_is_asked_and_an_operator_is_told() {
    check::<PoolScript>(
        "
        given  members=a own=POST:m
        when   0ms       quota a
        then   says r/a *
        then   rests a * quota_exhausted until 900s
        then   exhausted * until 900s
        when   1s        full
        when   960s      tick
        when   960s      wake
        then   1020s
        when   961s      probe a
        then   refused limit_reached
        ",
    );
}

#[test]
fn an_ask_of_an_operator_is_used_up_by_a_try_that_learns_of_another_deadline() {
    check::<PoolScript>(
        "
        given  members=a own=POST:m
        when   0ms       429 a 2h
        then   says r/a *
        then   rests a * rate_limited until 7200s of 7200s
        then   exhausted * until 7200s
        when   100s      probe a
        then   says d/a *
        when   100500ms  tick
        then   sends its own to a
        when   100510ms  probing a model=m
        then   says p/a *
        when   101s      429 a 2h probe model=m
        then   says r/a *
        then   rests a * rate_limited until 7301s of 7301s
        then   says p/a *
        when   102s      wanted model=m
        when   103s      tick
        when   104s      pick model=m
        then   nobody: exhausted, in 7197s
        ",
    );
}

#[test]
fn whoever_may_try_sends_what_an_operator_asked_for_at_another_node() {
    check::<PoolScript>(
        "
        given  members=a,b own=POST:m
        when   0ms       up n2
        when   0ms       billing a
        then   says r/a *
        then   rests a * billing until 900s
        then   failover * a to b billing
        when   900s      wanted model=m
        then   says d/a *
        when   901s      tick
        when   902s      peer n2 d/@a {'count':1,'asked':true}
        when   903s      tick
        then   sends its own to a
        ",
    );
}

#[test]
fn an_ask_does_not_wait_for_the_pause_after_tries_that_taught_nothing() {
    check::<PoolScript>(
        "
        given  members=a own=POST:m
        when   0ms       quota a
        then   says r/a *
        then   rests a * quota_exhausted until 900s
        then   exhausted * until 900s
        when   960s      tick
        then   says d/a *
        when   960500ms  tick
        then   sends its own to a
        when   961s      probing a model=m
        then   says p/a *
        when   962s      transient a probe model=m
        then   says p/a *
        then   taught nothing
        when   963s      probe a
        then   says d/a *
        then   sends its own to a
        ",
    );
}

#[test]
fn of_a_group_another_member_is_tried_after_the_first() {
    check::<PoolScript>(
        "
        given  members=a,b groups=a:g,b:g own=POST:m
        when   0ms       quota a
        then   says r/g:g/0/*
        then   rests g:g/0/* quota_exhausted until 900s
        then   exhausted * until 900s
        when   960s      tick
        then   says d/g:g/0/*
        when   960500ms  tick
        then   sends its own to a
        when   961s      probing a model=m
        then   says p/g:g/0/*
        when   962s      transient a probe model=m
        then   says p/g:g/0/*
        then   taught nothing
        when   992s      tick
        then   sends its own to b
        ",
    );
}

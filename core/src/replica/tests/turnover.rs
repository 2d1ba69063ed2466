//! The rows about the life of a map, one by one: restarts, deaths, goodbyes, sleep and raises.

use super::grammar::MapsScript;
use crate::script::check;

#[test]
fn a_restart_switches_in_one_turn_and_reports_only_what_differs() {
    check::<MapsScript>(
        "
        given  up=o/5
        when   0ms     segment o/5 0..4 a@1=x b@2=x c@3=x @4
        then   applied o/5 0..4 from peer
        then   changed o/5 a=x
        then   changed o/5 b=x
        then   changed o/5 c=x
        then   ready o/5
        when   1ms     renamed o/5 o/6 born 6
        when   2ms     segment o/6 0..2 through=4 a@1=x b@2=y
        then   applied o/6 0..2 from peer
        when   3ms     segment o/5 4..5 d@5=x
        then   applied o/5 4..5 from peer
        then   changed o/5 d=x
        when   4ms     segment o/6 2..4 e@3=x @4
        then   applied o/6 2..4 from peer
        then   switched o/5 to o/6
        then   changed o/6 c gone
        then   changed o/6 d gone
        then   changed o/6 b=y
        then   changed o/6 e=x
        when   5ms     segment o/5 5..6 f@6=x
        then   unknown
        when   6ms     segment o/6 4..5 b@5=z
        then   applied o/6 4..5 from peer
        then   changed o/6 b=z
        when   7ms     wake
        ",
    );
}

#[test]
fn a_marker_that_overtook_a_rewritten_key_does_not_switch_yet() {
    check::<MapsScript>(
        "
        given  up=o/5
        when   0ms     segment o/5 0..2 a@1=x @2
        then   applied o/5 0..2 from peer
        then   changed o/5 a=x
        then   ready o/5
        when   1ms     renamed o/5 o/6 born 6
        when   2ms     segment o/6 0..2 through=3 @2
        then   applied o/6 0..2 from peer
        when   3ms     segment o/6 2..3 a@3=x
        then   applied o/6 2..3 from peer
        then   switched o/5 to o/6
        ",
    );
}

#[test]
fn an_old_map_waits_for_ready_no_longer_than_the_timeout() {
    check::<MapsScript>(
        "
        given  up=o/5 ready_timeout_ms=1000
        when   0ms     segment o/5 0..2 a@1=x b@2=x
        then   applied o/5 0..2 from peer
        then   changed o/5 a=x
        then   changed o/5 b=x
        when   10ms    renamed o/5 o/6 born 6
        when   20ms    segment o/6 0..1 a@1=x
        then   applied o/6 0..1 from peer
        when   20ms    wake
        then   1.01s an old map gives way to a new life's
        when   1010ms  tick
        then   switched o/5 to o/6
        then   changed o/6 b gone
        when   1010ms  look o
        then   o/6 complete=1 head=1 floor=0 a@1
        when   1010ms  wake
        ",
    );
}

#[test]
fn values_that_die_with_their_process_go_at_once_and_a_raise_keeps_them() {
    check::<MapsScript>(
        "
        given  up=o/5 dies_with_process=true
        when   0ms     segment o/5 0..1 a@1=x
        then   applied o/5 0..1 from peer
        then   changed o/5 a=x
        when   1ms     renamed o/5 o/6 born 5
        when   2ms     segment o/6 0..2 a@1=x @2
        then   applied o/6 0..2 from peer
        then   switched o/5 to o/6
        when   3ms     renamed o/6 o/7 born 7
        then   switched o/6 to o/7
        then   changed o/7 a gone
        ",
    );
}

#[test]
fn a_node_that_showed_nothing_has_nothing_to_wait_for() {
    check::<MapsScript>(
        "
        given  up=o/5
        when   0ms     renamed o/5 o/6 born 6
        then   switched o/5 to o/6
        when   1ms     segment o/6 0..1 through=2 a@1=x
        then   applied o/6 0..1 from peer
        then   changed o/6 a=x
        ",
    );
}

#[test]
fn a_failed_owner_is_orphaned_and_its_map_still_grows_until_it_is_forgotten() {
    check::<MapsScript>(
        "
        given  up=o/5
        when   0ms     segment o/5 0..1 a@1=x
        then   applied o/5 0..1 from peer
        then   changed o/5 a=x
        when   1ms     suspect o/5
        when   1ms     refuted o/5
        when   2ms     failed o/5
        then   orphaned o/5
        when   2ms     failed o/5
        when   3ms     segment o/5 1..2 b@2=x
        then   applied o/5 1..2 from peer
        then   changed o/5 b=x
        when   4ms     forgotten o/5
        then   dropped o/5 a=x b=x
        when   5ms     look o
        ",
    );
}

#[test]
fn a_failed_owner_that_comes_back_raised_stays_in_view_until_ready() {
    check::<MapsScript>(
        "
        given  up=o/5
        when   0ms     segment o/5 0..2 a@1=x @2
        then   applied o/5 0..2 from peer
        then   changed o/5 a=x
        then   ready o/5
        when   1ms     failed o/5
        then   orphaned o/5
        when   2ms     renamed o/5 o/6 born 5
        when   3ms     segment o/6 0..2 a@1=x @2
        then   applied o/6 0..2 from peer
        then   switched o/5 to o/6
        ",
    );
}

#[test]
fn who_left_or_was_evicted_is_dropped_with_its_last_view_and_may_return_above_the_fence() {
    check::<MapsScript>(
        "
        given  up=o/5,q/1
        when   0ms     segment o/5 0..2 a@1=x b@2=x
        then   applied o/5 0..2 from peer
        then   changed o/5 a=x
        then   changed o/5 b=x
        when   0ms     segment q/1 0..1 a@1=x
        then   applied q/1 0..1 from peer
        then   changed q/1 a=x
        when   1ms     left o/5
        then   dropped o/5 left a=x b=x
        when   1ms     evicted q/1
        then   dropped q/1 a=x
        when   1ms     forgotten o/5
        when   2ms     up o/6
        when   3ms     segment o/6 0..1 a@1=y
        then   applied o/6 0..1 from peer
        then   changed o/6 a=y
        ",
    );
}

#[test]
fn who_sleeps_drops_everything_foreign_and_nothing_own() {
    check::<MapsScript>(
        "
        given  up=o/5
        when   0ms     write a=1
        then   written me/1 0..1
        when   0ms     segment o/5 0..1 a@1=x
        then   applied o/5 0..1 from peer
        then   changed o/5 a=x
        when   1ms     slept
        then   dropped o/5 a=x
        when   2ms     look o
        when   2ms     look me
        then   me/1 complete=1 head=1 floor=0 a@1
        ",
    );
}

#[test]
fn a_raise_mints_what_lives_anew_in_key_order_then_ready() {
    check::<MapsScript>(
        "
        given  up=p/1 progress=true
        when   0ms     write b=1
        then   written me/1 0..1
        then   progress me/1 complete=1 head=1 floor=0
        when   0ms     write c=1
        then   written me/1 1..2
        then   progress me/1 complete=2 head=2 floor=0
        when   0ms     write a=1
        then   written me/1 2..3
        then   progress me/1 complete=3 head=3 floor=0
        when   0ms     ready
        then   written me/1 3..4
        then   progress me/1 complete=4 head=4 floor=0
        when   0ms     delete c
        then   written me/1 4..5
        then   progress me/1 complete=5 head=5 floor=0
        when   1ms     raised me/2
        then   progress me/1 gone
        then   written me/2 0..3
        then   progress me/2 complete=3 head=3 floor=0
        when   1ms     look me
        then   me/2 complete=3 head=3 floor=0 a@1 b@2 @3
        when   2ms     ready
        when   2ms     ack p/1 me/1 5
        when   3ms     ack p/1 me/2 3
        ",
    );
}

#[test]
fn a_former_life_with_our_incarnation_is_noticed_however_it_shows() {
    check::<MapsScript>(
        "
        given  local=me/3 up=p/1
        when   0ms     write a=1
        then   written me/3 0..1
        when   0ms     segment me/3 0..1 a@1
        when   0ms     segment me/2 0..9 a@1
        when   0ms     segment me/3 0..1 through=2 a@1
        then   overtaken 3
        when   0ms     segment me/3 0..1 floor=2 head=2 a@1
        then   overtaken 3
        when   0ms     segment me/4 0..1 a@1
        then   overtaken 4
        when   0ms     shown me/3 1
        when   0ms     shown me/3 2
        then   overtaken 3
        when   0ms     shown me/2 9
        when   0ms     ack p/1 me/3 2
        then   overtaken 3
        when   0ms     segment me/3 0..1 head=72057594037927936
        then   misbehaved peer: a segment's head is absurd
        ",
    );
}

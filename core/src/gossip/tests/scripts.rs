//! Behaviour, sentence by sentence.

use super::*;

#[test]
fn a_write_is_pushed_when_everybody_is_connected_and_is_then_no_rumour() {
    check::<GossipScript>(
        "
        given  members=3
        when   0ms     linked n2
        when   0ms     linked n3
        when   1ms     write facts 0..2 77
        when   1ms     flush
        then   push facts n1 0..2
        when   1ms     items
        when   2ms     drain n2 1398
        ",
    );
}

#[test]
fn a_push_that_cannot_reach_everybody_is_a_rumour_too() {
    check::<GossipScript>(
        "
        given  members=3
        when   0ms     linked n2
        when   1ms     write facts 0..1 77
        when   1ms     flush
        then   push facts n1 0..1
        then   round n2 datagrams=4
        then   round n3 datagrams=4
        when   1ms     items
        then   facts n1 0..1 sent=0
        when   2ms     drain n3 1398
        then   facts n1 0..1 entries=1 bytes=91
        when   3ms     drain n3 1398
        when   4ms     items
        then   facts n1 0..1 sent=1
        ",
    );
}

#[test]
fn whoever_was_here_before_a_sleep_is_not_told_of_what_follows_it() {
    check::<GossipScript>(
        "
        given  members=3
        when   0ms     linked n2
        when   0ms     linked n3
        when   1ms     slept
        when   1ms     unlinked n2
        when   1ms     unlinked n3
        when   2ms     up n2
        when   2ms     linked n2
        when   3ms     write facts 0..1 77
        when   3ms     flush
        then   push facts n1 0..1
        when   3ms     items
        ",
    );
}

#[test]
fn a_push_that_a_link_refused_becomes_a_rumour_once() {
    check::<GossipScript>(
        "
        given  members=3
        when   0ms     linked n2
        when   0ms     linked n3
        when   1ms     write facts 0..1 77
        when   1ms     flush
        then   push facts n1 0..1
        when   1ms     refused facts n1 0..1
        when   1ms     refused facts n1 0..1
        when   1ms     items
        then   facts n1 0..1 sent=0
        ",
    );
}

#[test]
fn a_cluster_beyond_direct_max_gossips_only() {
    check::<GossipScript>(
        "
        given  members=3 direct_max=0
        when   0ms     linked n2
        when   0ms     linked n3
        when   1ms     write facts 0..1 77
        when   1ms     flush
        then   round n2 datagrams=4
        then   round n3 datagrams=4
        ",
    );
}

#[test]
fn two_topics_share_a_datagram_alike_and_the_first_takes_what_is_left() {
    check::<GossipScript>(
        "
        given  members=3 direct_max=0 local=gateway-001
        when   1ms     write facts 0..20 77
        when   1ms     write workers 0..20 77
        when   1ms     flush
        then   round n2 datagrams=4
        then   round n3 datagrams=4
        when   2ms     drain n2 1398
        then   facts gateway-001 0..8 entries=8 bytes=639
        then   workers gateway-001 0..9 entries=9 bytes=716
        ",
    );
}

#[test]
fn one_topic_with_half_a_datagram_takes_eight_entries() {
    check::<GossipScript>(
        "
        given  members=3 direct_max=0 local=gateway-001
        when   1ms     write facts 0..20 77
        when   1ms     flush
        then   round n2 datagrams=4
        then   round n3 datagrams=4
        when   2ms     drain n2 699
        then   facts gateway-001 0..8 entries=8 bytes=639
        ",
    );
}

#[test]
fn a_budget_below_the_unit_takes_nothing_and_the_unit_takes_one() {
    check::<GossipScript>(
        "
        given  members=3 direct_max=0 local=gateway-001
        when   1ms     write facts 0..20 77
        when   1ms     flush
        then   round n2 datagrams=4
        then   round n3 datagrams=4
        when   2ms     drain n2 99
        when   2ms     drain n2 100
        then   facts gateway-001 0..1 entries=1 bytes=100
        ",
    );
}

#[test]
fn a_large_item_first_in_line_does_not_block_small_ones_and_is_itself_sent() {
    check::<GossipScript>(
        "
        given  members=3 direct_max=0
        when   1ms     write facts 0..1 1000
        when   1ms     flush
        then   round n2 datagrams=4
        then   round n3 datagrams=4
        when   2ms     write facts 1..2 77
        when   2ms     flush
        then   round n3 datagrams=1
        when   3ms     drain n2 700
        then   facts n1 1..2 entries=1 bytes=91
        when   4ms     drain n2 1300
        then   facts n1 0..1 entries=1 bytes=1014
        when   5ms     flush
        ",
    );
}

#[test]
fn an_entry_that_fits_no_datagram_is_left_to_links() {
    check::<GossipScript>(
        "
        given  members=3 direct_max=0
        when   1ms     write facts 0..1 1400
        when   1ms     flush
        then   round n2 datagrams=4
        then   round n3 datagrams=4
        when   1ms     items
        then   facts n1 0..1 sent=0
        when   2ms     drain n2 1300
        when   2ms     items
        ",
    );
}

#[test]
fn overflow_drops_the_most_sent() {
    check::<GossipScript>(
        "
        given  members=3 direct_max=0 backlog_max=2
        when   1ms     write facts 0..1 77
        when   1ms     flush
        then   round n2 datagrams=4
        then   round n3 datagrams=4
        when   2ms     drain n2 1300
        then   facts n1 0..1 entries=1 bytes=91
        when   3ms     write facts 1..2 77
        when   3ms     flush
        then   round n3 datagrams=1
        when   4ms     write facts 2..3 77
        when   4ms     flush
        then   round n3 datagrams=1
        when   4ms     items
        then   facts n1 1..2 sent=0
        then   facts n1 2..3 sent=0
        ",
    );
}

#[test]
fn a_superseded_item_is_dropped_and_its_successor_leaves_no_gap() {
    check::<GossipScript>(
        "
        given  members=3 direct_max=0
        when   1ms     write facts 0..1 77
        when   1ms     flush
        then   round n2 datagrams=4
        then   round n3 datagrams=4
        when   2ms     write facts 1..2 77
        when   2ms     flush
        then   round n3 datagrams=1
        when   2ms     supersede facts n1 1
        when   3ms     drain n2 1300
        then   facts n1 0..2 entries=1 bytes=91
        when   3ms     items
        then   facts n1 0..2 sent=1
        ",
    );
}

#[test]
fn an_item_is_sent_six_times_among_three_and_then_retires() {
    check::<GossipScript>(
        "
        given  members=3 direct_max=0
        when   1ms     write facts 0..1 77
        when   1ms     flush
        then   round n2 datagrams=4
        then   round n3 datagrams=4
        when   2ms     drain n2 1300
        then   facts n1 0..1 entries=1 bytes=91
        when   2ms     drain n3 1300
        then   facts n1 0..1 entries=1 bytes=91
        when   3ms     flush
        when   3ms     drain n2 1300
        then   facts n1 0..1 entries=1 bytes=91
        when   3ms     drain n3 1300
        then   facts n1 0..1 entries=1 bytes=91
        when   4ms     flush
        when   4ms     drain n2 1300
        then   facts n1 0..1 entries=1 bytes=91
        when   4ms     items
        then   facts n1 0..1 sent=5
        when   4ms     drain n3 1300
        then   facts n1 0..1 entries=1 bytes=91
        when   4ms     items
        ",
    );
}

#[test]
fn news_is_passed_on_but_not_to_its_owner_nor_to_whoever_told_it_nor_to_whoever_has_it() {
    check::<GossipScript>(
        "
        given  members=5 direct_max=0
        when   1ms     hold facts n2 0..3 77
        when   1ms     progress facts n2 3
        when   1ms     applied facts n2 0..3 from n3
        when   1ms     acknowledged n4 facts n2 3
        when   1ms     items
        then   facts n2 0..3 sent=0
        when   2ms     drain n2 1300
        when   2ms     drain n3 1300
        when   2ms     drain n4 1300
        when   2ms     drain n5 1300
        then   facts n2 0..3 entries=3 bytes=245
        when   3ms     acknowledged n5 facts n2 3
        when   300ms   tick
        when   300ms   items
        ",
    );
}

#[test]
fn a_direct_push_from_its_owner_is_not_passed_on() {
    check::<GossipScript>(
        "
        given  members=4
        when   0ms     linked n2
        when   1ms     applied facts n2 0..3 from n2
        when   1ms     items
        when   2ms     applied facts n2 3..4 from n3
        when   2ms     items
        then   facts n2 3..4 sent=0
        ",
    );
}

#[test]
fn old_news_that_was_asked_for_is_not_passed_on_but_a_gap_that_was_filled_is() {
    check::<GossipScript>(
        "
        given  members=4
        when   1ms     rows n3 facts n2 4
        then   pull n3 Datagram number=1 facts n2 0
        when   2ms     applied facts n2 0..4 from n3
        when   2ms     progress facts n2 4
        when   2ms     flush
        when   2ms     items
        when   3ms     gap facts n2 from n4 9
        when   200ms   tick
        then   pull n4 Datagram number=2 facts n2 4
        when   201ms   applied facts n2 4..9 from n4
        when   201ms   items
        then   facts n2 4..9 sent=0
        ",
    );
}

#[test]
fn a_rumour_is_first_sent_in_its_own_turn_and_rounds_go_on_until_it_has_retired() {
    check::<GossipScript>(
        "
        given  members=2 direct_max=0
        when   1ms     write facts 0..1 77
        when   1ms     flush
        then   round n2 datagrams=4
        when   1ms     drain n2 1300
        then   facts n1 0..1 entries=1 bytes=91
        when   225ms   tick
        then   round n2 datagrams=4
        when   225ms   drain n2 1300
        then   facts n1 0..1 entries=1 bytes=91
        when   226ms   flush
        when   226ms   drain n2 1300
        then   facts n1 0..1 entries=1 bytes=91
        when   227ms   flush
        when   450ms   tick
        then   round n2 datagrams=4
        when   450ms   drain n2 1300
        then   facts n1 0..1 entries=1 bytes=91
        when   451ms   flush
        when   451ms   drain n2 1300
        then   facts n1 0..1 entries=1 bytes=91
        when   452ms   flush
        when   452ms   drain n2 1300
        then   facts n1 0..1 entries=1 bytes=91
        when   453ms   flush
        when   453ms   items
        when   700ms   tick
        when   950ms   tick
        ",
    );
}

#[test]
fn a_fenced_source_takes_its_items_along() {
    check::<GossipScript>(
        "
        given  members=5 direct_max=0
        when   1ms progress facts n2 3
        when   1ms applied facts n2 0..3 from n3
        when   2ms forgotten n2
        when   2ms items
        ",
    );
}

#[test]
fn rows_that_show_more_are_pulled_from_their_sender_and_rows_that_show_less_are_answered_once() {
    check::<GossipScript>(
        "
        given  members=3
        when   1ms     progress facts n1 5
        when   2ms     rows n2 facts n3 4
        then   pull n2 Datagram number=1 facts n3 0
        when   3ms     progress facts n3 4
        when   3ms     flush
        when   4ms     rows n2 facts n1 2
        then   rows n2 Datagram last=true facts n1 5
        when   5ms     final n2 facts n1 2
        when   6ms     rows n2 facts n1 9
        then   shown facts n1 9
        ",
    );
}

#[test]
fn a_pull_moves_on_to_the_next_peer_when_its_time_is_up() {
    check::<GossipScript>(
        "
        given  members=4
        when   1ms     rows n2 facts n4 4
        then   pull n2 Datagram number=1 facts n4 0
        when   2ms     rows n3 facts n4 4
        when   1999ms  tick
        when   2001ms  tick
        then   pull n3 Datagram number=2 facts n4 0
        when   2100ms  progress facts n4 4
        when   2100ms  flush
        when   9000ms  tick
        ",
    );
}

#[test]
fn a_peer_that_answers_with_nothing_new_three_times_rests() {
    check::<GossipScript>(
        "
        given  members=3
        when   0ms     linked n2
        when   1ms     rows n2 facts n3 4
        then   pull n2 Link number=1 facts n3 0
        when   2ms     pulled n2 1 empty
        when   3ms     rows n2 facts n3 4
        then   pull n2 Link number=2 facts n3 0
        when   4ms     pulled n2 2 empty
        when   5ms     rows n2 facts n3 4
        then   pull n2 Link number=3 facts n3 0
        when   6ms     pulled n2 3 empty
        when   7ms     rows n2 facts n3 4
        when   5005ms  tick
        when   5006ms  tick
        then   pull n2 Link number=4 facts n3 0
        ",
    );
}

#[test]
fn a_gap_waits_for_another_path_before_it_is_pulled() {
    check::<GossipScript>(
        "
        given  members=3
        when   1ms     gap facts n3 from n2 9
        when   50ms    tick
        when   152ms   tick
        then   pull n2 Datagram number=1 facts n3 0
        ",
    );
}

#[test]
fn a_gap_that_another_path_closed_is_not_pulled() {
    check::<GossipScript>(
        "
        given  members=3
        when   1ms gap facts n3 from n2 9
        when   40ms progress facts n3 9
        when   40ms flush
        when   152ms tick
        ",
    );
}

#[test]
fn a_pull_is_served_over_the_link_if_it_is_up_and_else_by_a_lane_that_goes_first() {
    check::<GossipScript>(
        "
        given  members=3 direct_max=0
        when   0ms     linked n3
        when   1ms     write facts 0..20 77
        when   1ms     progress facts n1 20
        when   2ms     pull n3 facts n1 0
        then   serve n3 number=1
        when   3ms     write workers 0..1 77
        when   3ms     flush
        then   round n2 datagrams=4
        then   round n3 datagrams=4
        when   4ms     pull n2 facts n1 10
        then   round n2 datagrams=4
        when   4ms     drain n2 300
        then   facts n1 10..13 entries=3 bytes=245
        when   5ms     drain n2 1300
        then   facts n1 0..8 entries=8 bytes=630
        then   facts n1 13..20 entries=7 bytes=553
        then   workers n1 0..1 entries=1 bytes=91
        when   6ms     drain n3 100
        then   workers n1 0..1 entries=1 bytes=91
        ",
    );
}

#[test]
fn nothing_is_kept_for_a_node_alone_and_the_last_one_leaves_no_backlog() {
    check::<GossipScript>(
        "
        given  members=2 direct_max=0
        when   1ms     write facts 0..1 77
        when   1ms     flush
        then   round n2 datagrams=4
        when   2ms     departed n2
        when   2ms     items
        when   3ms     write facts 1..2 77
        when   3ms     flush
        when   3ms     items
        ",
    );
}

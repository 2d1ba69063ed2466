//! The rows about segments, floors and bounds, one by one, in the grammar of `grammar.rs`.

use super::grammar::{MapsScript, segment};
use super::*;
use crate::script::check;
use crate::wire::segment::Entry;

#[test]
fn an_owner_gives_each_write_the_next_sequence_and_a_key_has_one_entry() {
    check::<MapsScript>(
        "
        given  up=peer/1 progress=true
        when   0ms     write a=1
        then   written me/1 0..1
        then   progress me/1 complete=1 head=1 floor=0
        when   0ms     write b=2
        then   written me/1 1..2
        then   progress me/1 complete=2 head=2 floor=0
        when   0ms     write c=3
        then   written me/1 2..3
        then   progress me/1 complete=3 head=3 floor=0
        when   0ms     delete b
        then   written me/1 3..4
        then   progress me/1 complete=4 head=4 floor=0
        when   0ms     write a=5
        then   written me/1 4..5
        then   progress me/1 complete=5 head=5 floor=0
        when   0ms     delete absent
        when   0ms     delete b
        when   0ms     look me
        then   me/1 complete=5 head=5 floor=0 c@3 b@4! a@5
        ",
    );
}

// §3, line by line.

#[test]
fn an_empty_receiver_takes_the_whole() {
    check::<MapsScript>(
        "
        given  up=o/5
        when   0ms     segment o/5 0..5 c@3 b@4! a@5
        then   applied o/5 0..5 from peer
        then   changed o/5 c=c3
        then   changed o/5 a=a5
        when   0ms     look o
        then   o/5 complete=5 head=5 floor=0 c@3 b@4! a@5
        ",
    );
}

#[test]
fn pieces_end_where_the_whole_does_and_the_first_shows_nothing() {
    check::<MapsScript>(
        "
        given  up=o/5
        when   0ms     segment o/5 0..2 through=5
        then   applied o/5 0..2 from peer
        when   0ms     look o
        then   o/5 complete=2 head=5 floor=0
        when   0ms     segment o/5 2..4 through=5 c@3 b@4!
        then   applied o/5 2..4 from peer
        then   changed o/5 c=c3
        when   0ms     segment o/5 4..5 a@5
        then   applied o/5 4..5 from peer
        then   changed o/5 a=a5
        when   0ms     look o
        then   o/5 complete=5 head=5 floor=0 c@3 b@4! a@5
        ",
    );
}

#[test]
fn a_gap_keeps_nothing() {
    check::<MapsScript>(
        "
        given  up=o/5
        when   0ms     segment o/5 3..5 b@4! a@5
        then   gap o/5 at peer through 5
        when   0ms     look o
        then   o/5 complete=0 head=5 floor=0
        ",
    );
}

#[test]
fn a_follower_takes_the_rest() {
    check::<MapsScript>(
        "
        given  up=o/5
        when   0ms     segment o/5 0..2 a@1 b@2
        then   applied o/5 0..2 from peer
        then   changed o/5 a=a1
        then   changed o/5 b=b2
        when   0ms     segment o/5 2..5 c@3 b@4! a@5
        then   applied o/5 2..5 from peer
        then   changed o/5 c=c3
        then   changed o/5 b gone
        then   changed o/5 a=a5
        when   0ms     look o
        then   o/5 complete=5 head=5 floor=0 c@3 b@4! a@5
        ",
    );
}

#[test]
fn a_sweep_keeps_what_it_doubts_visible_until_the_goal() {
    check::<MapsScript>(
        "
        given  up=o/5
        when   0ms     segment o/5 0..2 a@1 b@2
        then   applied o/5 0..2 from peer
        then   changed o/5 a=a1
        then   changed o/5 b=b2
        when   1ms     segment o/5 0..3 floor=5 through=5 c@3
        then   applied o/5 0..3 from peer
        then   changed o/5 c=c3
        when   1ms     look o
        then   o/5 complete=3 head=5 floor=5 a@1~ b@2~ c@3
        when   2ms     segment o/5 3..5 floor=5 a@5
        then   applied o/5 3..5 from peer
        then   changed o/5 a=a5
        then   changed o/5 b gone
        when   2ms     look o
        then   o/5 complete=5 head=5 floor=5 c@3 a@5
        ",
    );
}

#[test]
fn the_goal_follows_an_owner_that_keeps_rewriting() {
    check::<MapsScript>(
        "
        given  up=o/5
        when   0ms     segment o/5 0..2 a@1 b@2
        then   applied o/5 0..2 from peer
        then   changed o/5 a=a1
        then   changed o/5 b=b2
        when   1ms     segment o/5 0..3 floor=5 through=5 c@3
        then   applied o/5 0..3 from peer
        then   changed o/5 c=c3
        when   2ms     segment o/5 3..5 floor=5 through=6
        then   applied o/5 3..5 from peer
        when   2ms     look o
        then   o/5 complete=5 head=6 floor=5 a@1~ b@2~ c@3
        when   3ms     segment o/5 5..6 floor=5 a@6
        then   applied o/5 5..6 from peer
        then   changed o/5 a=a6
        then   changed o/5 b gone
        when   3ms     look o
        then   o/5 complete=6 head=6 floor=5 c@3 a@6
        ",
    );
}

#[test]
fn a_sweep_is_not_vouched_for_by_one_who_never_heard_of_it() {
    check::<MapsScript>(
        "
        given  up=o/5
        when   0ms     segment o/5 0..8 a@5=a c@6! d@7! b@8!
        then   applied o/5 0..8 from peer
        then   changed o/5 a=a
        when   0ms     segment o/5 0..8 floor=8 a@5=a
        then   duplicate
        when   1ms     segment o/5 8..10 floor=10 d@9
        then   gap o/5 at peer through 10
        when   1ms     look o
        then   o/5 complete=0 head=10 floor=10 a@5
        when   2ms     segment o/5 0..5 c@3 a@5=a
        then   stale
        when   2ms     look o
        then   o/5 complete=0 head=10 floor=10 a@5
        when   3ms     segment o/5 0..10 floor=10 c@3 a@5=a d@9
        then   applied o/5 0..10 from peer
        then   changed o/5 d=d9
        when   3ms     look o
        then   o/5 complete=10 head=10 floor=10 a@5 d@9
        ",
    );
}

// `a` is written again at 4 and at 9. The second server knows both, the third knows of 4 alone, which may
// not be taken: it was superseded here.
#[test]
fn a_server_that_missed_a_rewrite_neither_confirms_nor_removes_what_we_hold() {
    check::<MapsScript>(
        "
        given  up=o/5
        when   0ms     segment o/5 0..1 a@1
        then   applied o/5 0..1 from peer
        then   changed o/5 a=a1
        when   0ms     segment o/5 1..5 through=9 b@3
        then   applied o/5 1..5 from peer
        then   changed o/5 b=b3
        when   1ms     segment o/5 0..7 floor=6 b@3 a@4
        then   applied o/5 0..7 from peer
        when   1ms     look o
        then   o/5 complete=7 head=9 floor=6 a@1~ b@3
        when   2ms     segment o/5 7..9 floor=6 a@9
        then   applied o/5 7..9 from peer
        then   changed o/5 a=a9
        when   2ms     look o
        then   o/5 complete=9 head=9 floor=6 b@3 a@9
        ",
    );
}

// §2, the rows that §3 does not show.

#[test]
fn row_1_refuses_what_no_honest_node_sends() {
    check::<MapsScript>(
        "
        given  up=o/5
        when   0ms     segment o/5 0..2 a@1 b@2
        then   applied o/5 0..2 from peer
        then   changed o/5 a=a1
        then   changed o/5 b=b2
        when   1ms     segment o/5 5..3
        then   foreign
        then   misbehaved peer: a segment's bounds contradict each other
        when   1ms     segment o/5 2..5 through=4 head=5
        then   foreign
        then   misbehaved peer: a segment's bounds contradict each other
        when   1ms     segment o/5 2..5 head=4
        then   foreign
        then   misbehaved peer: a segment's bounds contradict each other
        when   1ms     segment o/5 2..5 floor=6
        then   foreign
        then   misbehaved peer: a segment's bounds contradict each other
        when   1ms     segment o/5 2..5 a@2
        then   foreign
        then   misbehaved peer: a segment's entries do not ascend inside its interval
        when   1ms     segment o/5 2..5 a@6
        then   foreign
        then   misbehaved peer: a segment's entries do not ascend inside its interval
        when   1ms     segment o/5 2..5 a@4 b@4
        then   foreign
        then   misbehaved peer: a segment's entries do not ascend inside its interval
        when   1ms     segment o/5 2..5 a@3 a@4
        then   foreign
        then   misbehaved peer: a segment names a key twice
        when   1ms     segment o/5 2..5 foreign@3
        then   foreign
        then   misbehaved peer: a key of another author
        when   1ms     segment o/5 2..5 @3=loud
        then   foreign
        then   misbehaved peer: the marker `ready` carries something
        when   1ms     segment o/5 2..5 head=72057594037927936
        then   foreign
        then   misbehaved peer: a segment's head is absurd
        when   1ms     segment o/5 2..5 head=4294967299
        then   foreign
        then   misbehaved peer: a segment's head is absurd
        when   1ms     look o
        then   o/5 complete=2 head=2 floor=0 a@1 b@2
        ",
    );
}

#[test]
fn a_fresh_receiver_takes_any_plausible_head() {
    check::<MapsScript>(
        "
        given  up=o/5
        when   0ms     segment o/5 0..9000000000 a@8999999999=old
        then   applied o/5 0..9000000000 from peer
        then   changed o/5 a=old
        ",
    );
}

#[test]
fn an_entry_beyond_the_bounds_is_refused() {
    let maps = |entries: Vec<Entry>| {
        let registrations = vec![registration(Topic::FACTS, 2, false)];
        let settings =
            Settings { tombstones_max: 4, fences_max: 100, ready_timeout: Duration::from_secs(60) };
        let mut maps = Maps::new(replica("me/1"), registrations, settings);
        let mut out = Vec::new();
        maps.handle(
            Instant::ZERO,
            Input::Notice(up(replica("o/5"), Incarnation(5))),
            &mut Vec::new(),
        );
        let upto = entries.len() as u64;
        let mut segment = segment(Topic::FACTS, replica("o/5"), &[&format!("0..{upto}")]);
        segment.entries = entries.into();
        let from = "peer".parse().expect("a node id");
        maps.handle(
            Instant::ZERO,
            Input::Segment { from, transport: Transport::Link, segment },
            &mut out,
        );
        out.iter().any(|output| matches!(output, Output::Misbehaved { .. }))
    };
    let entry = |sequence: u64, key: &str, bytes| Entry {
        sequence,
        key: Key::from(key),
        value: Some(Blob::from(vec![0; bytes])),
    };
    assert!(!maps(vec![entry(1, &"k".repeat(512), 64 * 1024)]));
    assert!(maps(vec![entry(1, &"k".repeat(513), 1)]));
    assert!(maps(vec![entry(1, "k", 64 * 1024 + 1)]));
    let many = |count: u64| (1..=count).map(|at| entry(at, &format!("k{at}"), 1)).collect();
    assert!(!maps(many(6)), "twice the live entries and two markers may stand side by side");
    assert!(maps(many(7)));
    assert!(maps(many(5000)));
}

#[test]
fn row_2_ignores_the_unknown_and_answers_the_fenced_once_a_second() {
    check::<MapsScript>(
        "
        given  up=o/5
        when   0ms     segment u/1 0..1 a@1
        then   unknown
        when   0ms     segment o/6 0..1 a@1
        then   unknown
        when   0ms     segment o/4 0..1 a@1
        then   unknown
        when   0ms     forgotten o/5
        then   dropped o/5
        when   0ms     segment o/5 0..1 a@1
        then   fenced
        then   retired o through 5 to peer
        when   10ms    segment o/5 0..1 a@1
        then   fenced
        when   1000ms  segment o/4 0..1 a@1
        then   fenced
        then   retired o through 5 to peer
        when   1000ms  up o/5
        when   1000ms  look o
        ",
    );
}

#[test]
fn whom_membership_may_name_again_has_maps_again() {
    check::<MapsScript>(
        "
        given  up=o/5,p/1 fences_max=1
        when   0ms     forgotten o/5
        then   dropped o/5
        when   1ms     up o/5
        when   2ms     segment o/5 0..1 a@1
        then   fenced
        then   retired o through 5 to peer
        when   3ms     forgotten p/1
        then   dropped p/1
        when   4ms     up o/5
        when   5ms     segment o/5 0..1 a@1
        then   applied o/5 0..1 from peer
        then   changed o/5 a=a1
        ",
    );
}

#[test]
fn row_3_begins_again_only_for_a_still_higher_floor() {
    check::<MapsScript>(
        "
        given  up=o/5 progress=true
        when   0ms     segment o/5 0..4 a@1 b@4
        then   progress o/5 complete=4 head=4 floor=0
        then   applied o/5 0..4 from peer
        then   changed o/5 a=a1
        then   changed o/5 b=b4
        when   1ms     segment o/5 4..6 floor=6 c@6
        then   progress o/5 complete=0 head=6 floor=6
        then   gap o/5 at peer through 6
        when   2ms     segment o/5 0..3 floor=6 through=7 a@1
        then   progress o/5 complete=3 head=7 floor=6
        then   applied o/5 0..3 from peer
        when   3ms     segment o/5 3..7 floor=9 through=12
        then   progress o/5 complete=0 head=12 floor=9
        then   gap o/5 at peer through 12
        when   4ms     segment o/5 0..12 floor=9 a@1 b@4 c@6 d@12
        then   progress o/5 complete=12 head=12 floor=9
        then   applied o/5 0..12 from peer
        then   changed o/5 c=c6
        then   changed o/5 d=d12
        when   4ms     look o
        then   o/5 complete=12 head=12 floor=9 a@1 b@4 c@6 d@12
        ",
    );
}

#[test]
fn row_6_learns_a_floor_and_nothing_else() {
    check::<MapsScript>(
        "
        given  up=o/5
        when   0ms     segment o/5 0..4 a@1 b@3! c@4
        then   applied o/5 0..4 from peer
        then   changed o/5 a=a1
        then   changed o/5 c=c4
        when   1ms     segment o/5 0..4 floor=3 a@1 c@4
        then   duplicate
        when   1ms     look o
        then   o/5 complete=4 head=4 floor=3 a@1 c@4
        when   2ms     segment o/5 0..4 a@1 b@3! c@4
        then   duplicate
        when   2ms     look o
        then   o/5 complete=4 head=4 floor=3 a@1 c@4
        ",
    );
}

#[test]
fn the_owners_pong_frees_tombstones_as_far_as_we_are_complete() {
    check::<MapsScript>(
        "
        given  up=o/5
        when   0ms     segment o/5 0..4 a@1 b@3! c@4
        then   applied o/5 0..4 from peer
        then   changed o/5 a=a1
        then   changed o/5 c=c4
        when   1ms     floor o/5 9
        when   1ms     look o
        then   o/5 complete=4 head=4 floor=0 a@1 b@3! c@4
        when   1ms     floor o/5 3
        when   1ms     look o
        then   o/5 complete=4 head=4 floor=3 a@1 c@4
        ",
    );
}

#[test]
fn an_equal_value_written_again_changes_nothing_in_sight() {
    check::<MapsScript>(
        "
        given  up=o/5
        when   0ms     segment o/5 0..1 a@1=x
        then   applied o/5 0..1 from peer
        then   changed o/5 a=x
        when   1ms     segment o/5 1..2 a@2=x
        then   applied o/5 1..2 from peer
        ",
    );
}

// §4.

#[test]
fn a_floor_is_stable_when_every_member_has_acknowledged_it() {
    check::<MapsScript>(
        "
        given  up=p/1,q/1
        when   0ms     write a=1
        then   written me/1 0..1
        when   0ms     write b=2
        then   written me/1 1..2
        when   0ms     delete a
        then   written me/1 2..3
        when   1ms     ack p/1 me/1 3
        when   2ms     ack q/1 me/1 2
        when   2ms     look me
        then   me/1 complete=3 head=3 floor=0 b@2 a@3!
        when   3ms     ack q/1 me/1 3
        when   3ms     look me
        then   me/1 complete=3 head=3 floor=3 b@2
        when   4ms     delete b
        then   written me/1 3..4
        when   5ms     ack p/1 me/1 4
        when   5ms     ack q/1 me/1 4
        when   5ms     look me
        then   me/1 complete=4 head=4 floor=3 b@4!
        when   5ms     wake
        then   1.003s a floor may rise
        when   1003ms  tick
        when   1003ms  look me
        then   me/1 complete=4 head=4 floor=4
        when   1003ms  wake
        ",
    );
}

#[test]
fn a_restarted_peer_has_acknowledged_nothing_and_a_failed_one_does_not_count() {
    check::<MapsScript>(
        "
        given  up=p/1,q/1
        when   0ms     write a=1
        then   written me/1 0..1
        when   0ms     delete a
        then   written me/1 1..2
        when   1ms     ack p/1 me/1 2
        when   2ms     renamed p/1 p/2 born 2
        then   switched p/1 to p/2
        when   3ms     ack q/1 me/1 2
        when   3ms     look me
        then   me/1 complete=2 head=2 floor=0 a@2!
        when   4ms     ack p/1 me/1 2
        when   4ms     look me
        then   me/1 complete=2 head=2 floor=0 a@2!
        when   5ms     failed p/2
        then   orphaned p/2
        when   5ms     look me
        then   me/1 complete=2 head=2 floor=2
        ",
    );
}

#[test]
fn too_many_tombstones_raise_the_floor_to_the_median() {
    check::<MapsScript>(
        "
        given  up=p/1 tombstones_max=2
        when   0ms     write a=1
        then   written me/1 0..1
        when   0ms     write b=2
        then   written me/1 1..2
        when   0ms     write c=3
        then   written me/1 2..3
        when   0ms     delete a
        then   written me/1 3..4
        when   0ms     delete b
        then   written me/1 4..5
        when   0ms     delete c
        then   written me/1 5..6
        when   0ms     look me
        then   me/1 complete=6 head=6 floor=5 c@6!
        ",
    );
}

#[test]
fn a_node_alone_keeps_no_tombstone_longer_than_a_second() {
    check::<MapsScript>(
        "
        given  local=me/1
        when   0ms     write a=1
        then   written me/1 0..1
        when   0ms     write b=1
        then   written me/1 1..2
        when   1ms     delete a
        then   written me/1 2..3
        when   2ms     delete b
        then   written me/1 3..4
        when   2ms     look me
        then   me/1 complete=4 head=4 floor=3 b@4!
        when   2ms     wake
        then   1.001s a floor may rise
        when   1001ms  tick
        when   1001ms  look me
        then   me/1 complete=4 head=4 floor=4
        ",
    );
}

#[test]
fn a_full_map_refuses_a_new_key_and_takes_a_rewrite() {
    check::<MapsScript>(
        "
        given  up=p/1 entries_max=2
        when   0ms     ready
        then   written me/1 0..1
        when   0ms     write a=1
        then   written me/1 1..2
        when   0ms     write b=1
        then   written me/1 2..3
        when   0ms     write c=1
        then   full c
        when   0ms     write a=2
        then   written me/1 3..4
        when   0ms     delete b
        then   written me/1 4..5
        when   0ms     write c=1
        then   written me/1 5..6
        ",
    );
}

// §5.

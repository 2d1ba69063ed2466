//! Segments are cut to the byte, and cost what they give.

use proptest::prelude::*;

use super::*;
use crate::machine::{Counted, Labels};

const TOPIC: Topic = Topic::FACTS;

fn maps(entries_max: usize) -> Maps {
    let settings =
        Settings { tombstones_max: 4096, fences_max: 100, ready_timeout: Duration::from_secs(60) };
    let registrations = vec![registration(TOPIC, entries_max, false)];
    let mut maps = Maps::new(replica("me/1"), registrations, settings);
    let peer = Input::Notice(up(replica("peer/1"), Incarnation(1)));
    maps.handle(Instant::ZERO, peer, &mut Vec::new());
    maps
}

fn write(maps: &mut Maps, key: &str, value: Option<Vec<u8>>) {
    let (key, value) = (Key::from(key), value.map(Blob::from));
    maps.handle(Instant::ZERO, Input::Write { topic: TOPIC, key, value }, &mut Vec::new());
}

/// The longest segment that fits, by trying every end.
fn longest(maps: &Maps, from: u64, upto: u64, budget: usize) -> Option<Segment> {
    let roomy = |upto| maps.segment(TOPIC, maps.local(), from, upto, usize::MAX);
    let whole = roomy(upto)?;
    let first = whole.entries.first().map_or(whole.upto, |entry| entry.sequence);
    let ends = (first..=whole.upto).rev().filter_map(roomy);
    ends.into_iter().find(|segment| segment.encoded_bytes() <= budget)
}

proptest! {
    #[test]
    fn a_segment_is_the_longest_that_fits_its_budget(
        writes in prop::collection::vec((0_u8..40, prop::option::of(0_usize..300)), 0..300),
        from in 0_u64..300,
        span in 1_u64..300,
        budget in 0_usize..1500,
    ) {
        let mut maps = maps(100);
        for (key, bytes) in writes {
            write(&mut maps, &format!("k{key}"), bytes.map(|bytes| vec![7; bytes]));
        }
        let cut = maps.segment(TOPIC, maps.local(), from, from + span, budget);
        prop_assert_eq!(&cut, &longest(&maps, from, from + span, budget));
        let Some(cut) = cut else { return Ok(()) };
        // A budget that is met exactly is enough, one byte less is not.
        let bytes = crate::wire::encode(&cut).len();
        prop_assert!(bytes <= budget && bytes == cut.encoded_bytes());
        prop_assert_eq!(maps.segment(TOPIC, maps.local(), from, cut.upto, bytes), Some(cut.clone()));
        let less = maps.segment(TOPIC, maps.local(), from, cut.upto, bytes - 1);
        prop_assert!(less.is_none_or(|less| less.upto < cut.upto));
    }
}

#[test]
fn an_interval_in_which_nothing_survived_says_so_and_an_unknown_one_is_none() {
    let mut maps = maps(10);
    write(&mut maps, "a", Some(vec![1]));
    write(&mut maps, "a", Some(vec![2]));
    let local = maps.local().clone();
    let empty = maps.segment(TOPIC, &local, 0, 1, 1000).expect("it is ours");
    assert!(empty.entries.is_empty());
    assert_eq!((empty.upto, empty.through, empty.head), (1, 2, 2));
    assert_eq!(maps.segment(TOPIC, &local, 2, 9, 1000), None, "nothing is known beyond 2");
    assert_eq!(maps.segment(TOPIC, &replica("me/2"), 0, 9, 1000), None, "no such map");
    assert_eq!(maps.segment(Topic(31), &local, 0, 9, 1000), None, "no such topic");
}

#[test]
fn a_segment_never_names_more_entries_than_a_message_may_hold() {
    let mut maps = maps(10_000);
    for key in 0..limits::SEGMENT_ENTRIES_MAX + 1 {
        write(&mut maps, &format!("k{key}"), Some(vec![]));
    }
    let local = maps.local().clone();
    let cut = maps.segment(TOPIC, &local, 0, u64::MAX, usize::MAX).expect("it is ours");
    assert_eq!(cut.entries.len(), limits::SEGMENT_ENTRIES_MAX);
    assert_eq!(cut.upto, limits::SEGMENT_ENTRIES_MAX as u64);
}

#[test]
fn what_is_in_doubt_or_beyond_complete_is_not_served() {
    let mut maps = maps(10);
    let peer = replica("peer/1");
    let segment = |from, upto, head, floor, names: &[(u64, &str)]| Segment {
        topic: TOPIC,
        replica: peer.clone(),
        from,
        upto,
        floor,
        through: head,
        head,
        entries: names
            .iter()
            .map(|(sequence, key)| crate::wire::segment::Entry {
                sequence: *sequence,
                key: Key::from(*key),
                value: Some(Blob::from(*key)),
            })
            .collect::<Vec<_>>()
            .into(),
    };
    for segment in [segment(0, 2, 2, 0, &[(1, "a"), (2, "b")]), segment(0, 1, 5, 5, &[])] {
        let from = peer.node.clone();
        let input = Input::Segment { from, transport: Transport::Link, segment };
        maps.handle(Instant::ZERO, input, &mut Vec::new());
    }
    let node = &peer.node;
    assert_eq!(maps.visible(TOPIC, node).count(), 2, "both are in view, one of them in doubt");
    let served = maps.segment(TOPIC, &peer, 0, 9, 1000).expect("complete through 1");
    assert_eq!(served, Segment { through: 1, ..segment(0, 1, 5, 5, &[]) });
    assert_eq!(maps.acknowledgements_for(&peer), [(TOPIC, 0)], "a sweep acknowledges nothing");
    assert_eq!(maps.owner(TOPIC, node), Some(&peer));
}

#[test]
fn every_series_is_there_from_the_start_and_counts_what_happens() {
    let mut maps = maps(10);
    let series = |maps: &Maps| {
        let mut lines = Vec::new();
        maps.counts(&mut |count| {
            let labels = match count.labels {
                Labels::None => String::new(),
                Labels::One(key, value) => format!("{key}={value}"),
                Labels::Two(_, topic, key, value) => format!("{topic} {key}={value}"),
                Labels::Three(_) => panic!("no series has three labels"),
            };
            lines.push(format!("{} {labels} {}", count.name, count.value));
        });
        lines
    };
    let fresh = series(&maps);
    write(&mut maps, "a", Some(vec![1]));
    write(&mut maps, "a", None);
    let failed =
        Notice::Departed { replica: replica("peer/1"), reason: crate::ids::Reason::Failed };
    let raised = Input::Raised { replica: replica("me/2") };
    for input in [Input::Notice(failed), raised] {
        maps.handle(Instant::from_millis(5000), input, &mut Vec::new());
    }
    let later = series(&maps);
    assert_eq!(fresh.len(), later.len());
    let changed: Vec<_> = later.iter().filter(|line| !fresh.contains(line)).collect();
    assert_eq!(
        changed,
        [
            "replica_writes_total topic=facts 2",
            "replica_floor_raises_total facts cause=stable 1",
            "replica_maps state=live 1",
            "replica_maps state=orphaned 1",
            "replica_remints_total  1",
        ]
    );
}

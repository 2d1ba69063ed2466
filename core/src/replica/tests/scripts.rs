//! The tables of the specification, row by row.
//!
//! Entries are written `a@5` (value `a5`), `a@5=value`, `b@4!` (a tombstone), `@6` (the marker `ready`).
//! `look` is no input: it prints what is held, `~` marking what is in doubt.

use super::*;
use crate::ids::Reason;
use crate::script::{self, Script, check};
use crate::wire::segment::Entry;

struct MapsScript {
    maps: Maps,
    shows_progress: bool,
}

impl Script for MapsScript {
    fn given(settings: &script::Settings) -> Self {
        let local = replica(&settings.get("local", String::from("me/1")));
        let entries_max = settings.get("entries_max", 100);
        let registrations =
            vec![registration(Topic::FACTS, entries_max, settings.get("dies_with_process", false))];
        let limits = Settings {
            tombstones_max: settings.get("tombstones_max", 100),
            ready_timeout: settings.millis("ready_timeout_ms", 60_000),
        };
        let mut maps = Maps::new(local, registrations, limits);
        for name in settings.get("up", String::new()).split(',').filter(|name| !name.is_empty()) {
            let owner = replica(name);
            let born = owner.incarnation;
            maps.handle(Instant::ZERO, Input::Notice(up(owner, born)), &mut Vec::new());
        }
        MapsScript { maps, shows_progress: settings.get("progress", false) }
    }

    fn when(&mut self, now: Instant, words: &[&str]) -> Vec<String> {
        if let ["look", node] = words {
            return self.look(node);
        }
        if let ["wake"] = words {
            let wake = self.maps.next_wake();
            return wake.map(|wake| format!("{} {}", wake.at, wake.what)).into_iter().collect();
        }
        let mut out = Vec::new();
        self.maps.handle(now, input(words), &mut out);
        self.maps.check().expect("the maps are sound");
        let shown = out
            .iter()
            .filter(|output| self.shows_progress || !matches!(output, Output::Progress { .. }));
        shown.map(print).collect()
    }
}

impl MapsScript {
    fn look(&self, node: &str) -> Vec<String> {
        let mut lines = Vec::new();
        let room = &self.maps.rooms[&Topic::FACTS];
        let print = |name: &Replica, entries: &entries::Entries, progress: Progress| {
            let Progress { complete, head, floor } = progress;
            let mut line = format!("{name} complete={complete} head={head} floor={floor}");
            let certain: BTreeSet<u64> =
                entries.certain(0, u64::MAX).map(|entry| entry.sequence).collect();
            for (place, key) in entries.places(0, u64::MAX) {
                let doubt = if certain.contains(&place) { "" } else { "~" };
                let gone = if entries.value(key).is_some() { "" } else { "!" };
                line += &format!(" {key}@{place}{gone}{doubt}");
            }
            line
        };
        if self.maps.local().node.as_str() == node {
            lines.push(print(self.maps.local(), room.own.entries(), room.own.progress()));
        }
        for copy in room.copies().filter(|copy| copy.replica().node.as_str() == node) {
            lines.push(print(copy.replica(), copy.entries(), copy.progress()));
        }
        lines
    }
}

fn input(words: &[&str]) -> Input {
    let topic = Topic::FACTS;
    let number = |text: &str| text.parse::<u64>().expect("a number");
    match *words {
        ["write", pair] => {
            let (key, value) = pair.split_once('=').expect("key=value");
            Input::Write { topic, key: Key::from(key), value: Some(Blob::from(value)) }
        }
        ["delete", key] => Input::Write { topic, key: Key::from(key), value: None },
        ["ready"] => Input::Ready { topic },
        ["segment", owner, ref rest @ ..] => Input::Segment {
            from: "peer".parse().expect("a node id"),
            transport: Transport::Link,
            segment: segment(topic, replica(owner), rest),
        },
        ["ack", peer, whose, complete] => Input::Acknowledged {
            peer: replica(peer),
            topic,
            replica: replica(whose),
            complete: number(complete),
        },
        ["floor", owner, floor] => {
            Input::Floor { owner: replica(owner), topic, floor: number(floor) }
        }
        ["shown", owner, head] => {
            Input::Shown { topic, replica: replica(owner), head: number(head) }
        }
        ["raised", local] => Input::Raised { replica: replica(local) },
        ["slept"] => Input::Slept,
        ["tick"] => Input::Tick,
        ref notice => Input::Notice(parse_notice(notice)),
    }
}

fn parse_notice(words: &[&str]) -> Notice {
    let departed = |owner: &str, reason| Notice::Departed { replica: replica(owner), reason };
    match *words {
        ["up", owner] => up(replica(owner), replica(owner).incarnation),
        ["renamed", old, new, "born", born] => Notice::Renamed {
            old: replica(old),
            new: replica(new),
            born: Incarnation(born.parse().expect("an incarnation")),
            address: std::net::SocketAddr::from(([10, 0, 0, 1], 7400)),
        },
        ["failed", owner] => departed(owner, Reason::Failed),
        ["left", owner] => departed(owner, Reason::Left),
        ["evicted", owner] => departed(owner, Reason::Evicted),
        ["suspect", owner] => Notice::Suspect { replica: replica(owner) },
        ["refuted", owner] => Notice::Refuted { replica: replica(owner) },
        ["forgotten", owner] => {
            let Replica { node, incarnation: fence } = replica(owner);
            Notice::Forgotten { node, fence }
        }
        ref other => panic!("no input reads {other:?}"),
    }
}

/// `0..5 a@5 …`, with `floor=`, `through=`, `head=`; the last two are the upper end if not given.
fn segment(topic: Topic, replica: Replica, words: &[&str]) -> Segment {
    let mut words = words.iter();
    let (from, upto) = words.next().and_then(|word| word.split_once("..")).expect("from..upto");
    let (from, upto) = (from.parse().expect("a number"), upto.parse().expect("a number"));
    let mut segment = Segment {
        topic,
        replica,
        from,
        upto,
        floor: 0,
        through: upto,
        head: upto,
        entries: Vec::new().into(),
    };
    for word in words {
        match word.split_once('=') {
            Some(("floor", floor)) => segment.floor = floor.parse().expect("a number"),
            Some(("through", through)) => {
                segment.through = through.parse().expect("a number");
                segment.head = segment.head.max(segment.through);
            }
            Some(("head", head)) => segment.head = head.parse().expect("a number"),
            _ => segment.entries.0.push(parse_entry(word)),
        }
    }
    segment
}

fn parse_entry(word: &str) -> Entry {
    let (place, value) = word.split_once('=').map_or((word, None), |(p, v)| (p, Some(v)));
    let (key, sequence) = place.split_once('@').expect("key@sequence");
    let number = sequence.trim_end_matches('!').parse().expect("a number");
    let plain = if key.is_empty() { String::new() } else { format!("{key}{number}") };
    let value = (!sequence.ends_with('!')).then(|| Blob::from(value.unwrap_or(&plain)));
    Entry { sequence: number, key: Key::from(key), value }
}

fn print(output: &Output) -> String {
    let text = |value: &Blob| String::from_utf8_lossy(value).into_owned();
    match output {
        Output::Written { replica, from, upto, .. } => format!("written {replica} {from}..{upto}"),
        Output::Applied { replica, from, upto, learnt_from, .. } => {
            format!("applied {replica} {from}..{upto} from {learnt_from}")
        }
        Output::Progress { replica, progress: None, .. } => format!("progress {replica} gone"),
        Output::Progress {
            replica, progress: Some(Progress { complete, head, floor }), ..
        } => {
            format!("progress {replica} complete={complete} head={head} floor={floor}")
        }
        Output::Gap { replica, from, through, .. } => {
            format!("gap {replica} at {from} through {through}")
        }
        Output::Unused { why, .. } => format!("{why:?}").to_lowercase(),
        Output::Changed { owner, key, value: Some(value), .. } => {
            format!("changed {owner} {key}={}", text(value))
        }
        Output::Changed { owner, key, value: None, .. } => format!("changed {owner} {key} gone"),
        Output::Orphaned { owner, .. } => format!("orphaned {owner}"),
        Output::Dropped { owner, left, last, .. } => {
            let mut line = format!("dropped {owner}{}", if *left { " left" } else { "" });
            for (key, value) in last {
                line += &format!(" {key}={}", text(value));
            }
            line
        }
        Output::Switched { old, new, .. } => format!("switched {old} to {new}"),
        Output::SendRetired { to, notice, .. } => {
            format!("retired {} through {} to {to}", notice.node, notice.fence)
        }
        Output::Overtaken { known } => format!("overtaken {known}"),
        Output::Full { key, .. } => format!("full {key}"),
        Output::Misbehaved { peer, what } => format!("misbehaved {peer}: {what}"),
    }
}

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
        let settings = Settings { tombstones_max: 4, ready_timeout: Duration::from_secs(60) };
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

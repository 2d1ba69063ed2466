//! What there is to look at.

use super::*;
use crate::plan::text::parse;

fn failing() -> Picture {
    let plan = parse(
        "a.scn",
        "scenario a/b\ngiven nodes=3 time=20s+60s\nwhen 10s cut n1<->n2 for 3s\nwhen 12s crash n3 for 2s\n\
         then count quorate_membership_members{state=\"alive\"} > 999 by 15s\n",
    );
    look(&plan.expect("a plan"), 1, "quorate-sim scenario a.scn")
}

#[test]
fn the_first_wrong_event_has_turns_before_and_after_it() {
    let picture = failing();
    let failure = picture.failure.as_ref().expect("nobody counts that many");
    assert_eq!(failure.at, 20_000_000);
    let before = picture.lens.turns.iter().filter(|turn| turn.number < picture.centre).count();
    let after = picture.lens.turns.iter().filter(|turn| turn.number > picture.centre).count();
    assert!(before > 100 && after > 10, "{before} before, {after} after");
    assert_eq!(picture.headline(), "The plan expected something else");
}

#[test]
fn messages_are_followed_from_end_to_end_and_lost_ones_are_not_read() {
    let picture = failing();
    let during = |message: &&lens::Message| (15_500_000..17_500_000).contains(&message.sent.2);
    let between = |message: &lens::Message, pair: [usize; 2]| {
        message.to.is_some_and(|to| pair == [message.sent.0, to] || pair == [to, message.sent.0])
    };
    let cut = picture.lens.messages.iter().filter(during).filter(|one| between(one, [0, 1]));
    let cut: Vec<_> = cut.collect();
    assert!(cut.iter().any(|message| message.read.is_none()), "{cut:?}");
    // A stream keeps its bytes until the link carries again.
    let healed = |message: &&&lens::Message| message.read.is_some_and(|(_, at)| at < 18_000_000);
    assert_eq!(cut.iter().filter(healed).count(), 0, "{cut:?}");
    let open = picture.lens.messages.iter().filter(during).filter(|one| between(one, [0, 2]));
    assert!(open.clone().any(|message| message.read.is_some()));
    for message in picture.lens.messages.iter().filter(|message| message.read.is_some()) {
        assert!(message.read.expect("filtered").1 > message.sent.2, "{message:?}");
    }
}

#[test]
fn a_story_has_at_most_twenty_lines_names_the_faults_and_ends_with_what_is_wrong() {
    let picture = failing();
    assert!(picture.story.len() <= story::LINES_MAX);
    let texts: Vec<&str> = picture.story.iter().map(|line| line.text.as_str()).collect();
    assert!(texts.contains(&"cut n1 ↔ n2 for 3.0 s"), "{texts:?}");
    assert!(texts.contains(&"crash n3 for 2.0 s"), "{texts:?}");
    assert_eq!(picture.story.last().map(|line| line.kind), Some("wrong"));
    assert!(picture.story.is_sorted_by_key(|line| line.at));
}

#[test]
fn states_are_those_of_the_nodes() {
    let picture = failing();
    let mut states = picture.lens.before.clone();
    for turn in &picture.lens.turns {
        let state = states.entry(turn.machine).or_default();
        if turn.fresh {
            state.clear();
        }
        state::apply(state, &turn.change);
    }
    let n1 = states.get(&0).expect("n1 ran");
    assert!(n1.get("member n3").is_some_and(|row| row.starts_with("alive")), "{n1:?}");
    assert_eq!(n1.get("link n3").map(String::as_str), Some("up"));
    assert!(n1.contains_key("map facts of n2"), "{n1:?}");
}

#[test]
fn the_page_is_one_file_within_its_bound_that_asks_for_nothing() {
    let page = failing().html();
    assert!(page.len() <= page::BYTES_MAX);
    for outside in ["http:", "https:", "src=", "@import", "url(h", "url(/"] {
        let own = page.replace("http://www.w3.org/2000/svg", "");
        let found = own.find(outside).map(|at| own.get(at..at + 60));
        // Addresses of workers are data, and nothing follows them.
        assert!(found.is_none(), "{outside}: {found:?}");
    }
    assert!(page.contains("<title>The plan expected something else: a/b</title>"));
    assert!(!page.contains("{{"), "a place was not filled");
}

#[test]
fn lanes_in_a_terminal_mark_the_first_wrong_event() {
    let text = failing().text();
    assert!(text.lines().any(|line| line.contains("s ") && line.contains('✗')), "{text}");
    assert!(text.lines().all(|line| line.chars().count() < 240));
}

/// Two turns that a node recorded of itself: somebody's datagram, and a dial with its first frame.
fn recorded(tail: &str) -> std::path::PathBuf {
    use quorate_core::ids::{ConnectionId, Incarnation, Replica};
    use quorate_core::node::{Effect, Input};
    use quorate_core::wire::Blob;
    use quorate_core::wire::datagram::Writer;

    let sender = Replica { node: "b".parse().expect("a node id"), incarnation: Incarnation(1) };
    let (from, other) = ("10.0.0.2:1", "10.0.0.3:1");
    let from = from.parse().expect("an address");
    let bytes = Blob::from(Writer::new(&sender).finish());
    let frame = Blob::from(&[1_u8, 2, 3][..]);
    let inputs = [vec![Input::Datagram { from, bytes: bytes.clone() }], vec![Input::Wake]];
    let to = other.parse().expect("an address");
    let outputs = [
        vec![Effect::Datagram { to: from, bytes }],
        vec![
            Effect::Connect { connection: ConnectionId(4), to },
            Effect::Send { connection: ConnectionId(4), bytes: frame.clone() },
            Effect::Send { connection: ConnectionId(7), bytes: frame.clone() },
            Effect::Send { connection: ConnectionId(9), bytes: frame },
        ],
    ];
    let links = serde_json::json!([{"peer": "c", "connection": 7, "address": "10.0.0.9:1"}]);
    let mut text = serde_json::json!({
        "trace": 1, "kind": "node", "build": "other", "command": "POST /v0/operations/trace",
        "seed": null, "plan": null, "node": "a", "started_at": "then", "links": links,
    })
    .to_string();
    for (place, (input, outputs)) in inputs.iter().zip(&outputs).enumerate() {
        let line = serde_json::json!({
            "n": place + 1, "t_us": 9_000_000 + place, "node": "a", "input": input,
            "outputs": outputs, "hash": "0",
        });
        text.push_str(&format!("\n{line}"));
    }
    text.push_str(tail);
    let name = format!("quorate-view-{}-{}.jsonl", std::process::id(), tail.len());
    let path = std::env::temp_dir().join(name);
    std::fs::write(&path, text).expect("a temporary file");
    path
}

#[test]
fn a_node_s_own_trace_is_shown_with_those_it_spoke_with_and_is_not_replayed() {
    let path = recorded("\n{\"end\":\"time\"}\n");
    let picture = node::look(&path).expect("it is a trace");
    assert_eq!(picture.nodes, ["a", "b", "10.0.0.3:1", "c", "unknown"]);
    assert_eq!(picture.headline(), "What a heard and said");
    let lanes: Vec<(usize, Option<usize>)> =
        picture.lens.messages.iter().map(|message| (message.sent.0, message.to)).collect();
    assert_eq!(lanes, [(1, Some(0)), (0, Some(1)), (0, Some(2)), (0, Some(3)), (0, Some(4))]);
    let text = picture.text();
    assert!(text.contains("a, from then on") && text.contains("which ended: time"), "{text}");
    assert!(text.contains("from b: "), "{text}");
    assert!(picture.html().contains("<title>What a heard and said: a, from then on</title>"));
    let refused = crate::replay::world(&path, true).expect_err("it has no beginning");
    assert!(refused.to_string().contains("no beginning"), "{refused}");
    assert!(crate::trace::read::plan(&path).is_err());
    std::fs::remove_file(path).expect("it is ours");
}

#[test]
fn what_a_killed_node_left_of_a_trace_is_shown_and_nonsense_is_told_with_its_line() {
    let path = recorded("\n{\"n\":3,\"t_us\":9");
    let picture = node::look(&path).expect("what is whole of it counts");
    assert_eq!(picture.lens.turns.len(), 2);
    assert!(picture.text().contains("which ended: killed"));
    std::fs::remove_file(path).expect("it is ours");
    for tail in ["\n{\"n\":3}\n", "\n[]\n", "\n{\"n\":3,\"t_us\":9,\"input\":[7]}\n"] {
        let path = recorded(tail);
        let refused = node::look(&path).expect_err("it is no turn").to_string();
        assert!(refused.contains("line 4: "), "{refused}");
        std::fs::remove_file(path).expect("it is ours");
    }
}

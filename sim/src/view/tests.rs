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

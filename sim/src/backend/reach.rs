//! What real shells in a simulated network cannot be made to do.
//!
//! A plan that asks for it is refused by name, so that no scenario holds because nothing happened; of a drawn plan
//! those lines are left out.

use crate::plan::{Plan, Then, What, When};

/// Classes of faults that no shell can be given, and why.
const BEYOND: [(&str, &str); 8] = [
    ("lie", "a shell does not lie"),
    ("upgrade", "there is one build of the shell"),
    ("point", "rare choices are counted in turns of the other backend"),
    ("crash_effect", "a shell performs a turn whole"),
    ("disk_lost_sync", "the disk of sectors is true to its syncs"),
    ("disk_bit", "the disk of sectors flips none"),
    ("disk_sector", "the disk of sectors loses none that was synced"),
    ("disk_misdirect", "the disk of sectors finds every place"),
];

/// Promises that are never looked at where shells run, and why.
const UNSEEN: [(&str, &str); 1] =
    [("L-5", "a shell hands its node nothing of a connection that is over")];

/// Why `when` is beyond the reach of shells, if it is.
pub fn beyond(when: &When) -> Option<String> {
    let What::Fault { class, keys, .. } = &when.what else { return None };
    let why = BEYOND.iter().find(|(name, _)| *name == class.0).map(|(_, why)| *why);
    let why = why.or_else(|| match class.0 {
        "crash" if keys.contains_key("effect") => Some("a shell performs a turn whole"),
        "restart" if keys.contains_key("address") => {
            Some("a machine of that network keeps its address")
        }
        _ => None,
    });
    why.map(|why| format!("`{}`: {why}", class.0))
}

/// What of a plan is beyond the reach of shells: the line of its text, counted from 1, and why.
///
/// `text` is what the plan was read from; its `when` lines are the plan's events in order.
pub fn refused(plan: &Plan, text: &str) -> Option<(usize, String)> {
    let lines = |word: &'static str| {
        let is = move |line: &&str| line.split_whitespace().next() == Some(word);
        text.lines().enumerate().filter(move |(_, line)| is(line)).map(|(index, _)| index + 1)
    };
    if plan.given.contains_key("wire") {
        let line = text.lines().position(|line| line.contains("wire=")).map_or(0, |at| at + 1);
        return Some((line, "`wire`: there is one build of the shell".to_owned()));
    }
    for (then, line) in
        plan.thens.iter().zip(lines("then").map(Some).chain(std::iter::repeat(None)))
    {
        let Then::Always(ids) = then else { continue };
        if let Some((id, why)) = UNSEEN.iter().find(|(id, _)| ids.iter().any(|one| one == id)) {
            return Some((line.unwrap_or(0), format!("`{id}`: {why}")));
        }
    }
    let events = plan.events.iter().zip(lines("when").map(Some).chain(std::iter::repeat(None)));
    let beyond = events.filter_map(|(when, line)| Some((line.unwrap_or(0), beyond(when)?)));
    beyond.into_iter().next()
}

/// `plan` without what is beyond the reach of shells.
pub fn within(mut plan: Plan) -> Plan {
    plan.events.retain(|when| beyond(when).is_none());
    plan.given.remove("wire");
    plan
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::text::parse;

    #[test]
    fn what_cannot_be_done_is_named_with_its_line_and_a_drawn_plan_does_without() {
        let text = "scenario a/b\nabout x\ngiven nodes=3 time=9s+9s\n\
                    when 1s crash n1 for 2s\n# a word\nwhen 2s disk_bit n2\nseeds 1..1\n";
        let plan = parse("a/b.scn", text).expect("a plan");
        let (line, why) = refused(&plan, text).expect("a flipped bit");
        assert_eq!(line, 6);
        assert_eq!(why, "`disk_bit`: the disk of sectors flips none");
        let plan = within(plan);
        assert_eq!(plan.events.len(), 1);
        assert_eq!(refused(&plan, &plan.to_string()), None);
        let text = "scenario a/b\nabout x\ngiven nodes=3 time=9s+9s\nthen end M-9\nthen always L-2 L-5\nseeds 1..1\n";
        let plan = parse("a/b.scn", text).expect("a plan");
        let (line, why) =
            refused(&plan, text).expect("a promise that no shell gives an occasion for");
        assert_eq!(line, 5);
        assert_eq!(why, "`L-5`: a shell hands its node nothing of a connection that is over");
    }
}

//! Histories known to be good, and each way of being bad.

use super::*;

/// `1 0..10 put a=x r1`, `2 5..9 get a=x@1 r1`, `1 3..? put a=x`, `2 5..9 cas a@1=y r2`, `… fails r2`.
fn history(lines: &str) -> Vec<Call> {
    lines.lines().map(str::trim).filter(|line| !line.is_empty()).map(call).collect()
}

fn call(line: &str) -> Call {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [caller, span, verb, what, rest @ ..] = words.as_slice() else { panic!("`{line}`") };
    let (called, returned) = span.split_once("..").expect("from..to");
    let number = |text: &str| -> u64 { text.parse().unwrap_or_else(|_| panic!("`{text}`")) };
    let revision = rest.iter().find_map(|word| word.strip_prefix('r')).map(number);
    let succeeded = !rest.contains(&"fails");
    let (mut operation, mut read) = (Operation::default(), BTreeMap::new());
    for part in what.split(',') {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        let (key, expected) = key.split_once('@').unwrap_or((key, ""));
        match *verb {
            "get" => {
                let shown = value.split_once('@').map(|(v, r)| (v.to_owned(), number(r)));
                operation.read.insert(key.to_owned());
                read.insert(key.to_owned(), shown);
            }
            "put" | "cas" => {
                operation.write.insert(key.to_owned(), Some(value.to_owned()));
            }
            "delete" => {
                operation.write.insert(key.to_owned(), None);
            }
            verb => panic!("`{verb}` is no verb"),
        }
        if *verb == "cas" {
            operation.expect.insert(key.to_owned(), number(expected));
        }
    }
    let changed = succeeded && !operation.write.is_empty() && !rest.contains(&"same");
    let answer = revision.map(|revision| Answer { revision, succeeded, changed, read });
    let returned = (returned != "?").then(|| number(returned));
    Call {
        caller: u32::try_from(number(caller)).expect("a caller of a few"),
        called: number(called),
        returned,
        operation,
        answer,
    }
}

fn judge(lines: &str) -> Verdict {
    check(&history(lines), Limits { unknown_percent_max: 100, ..Limits::default() })
}

#[track_caller]
fn good(lines: &str) {
    assert_eq!(judge(lines), Verdict::Linear);
}

#[track_caller]
fn bad(lines: &str, word: &str) {
    let verdict = judge(lines);
    let Verdict::Wrong(why) = &verdict else { panic!("{verdict:?}") };
    assert!(why.contains(word), "{why}");
}

#[test]
fn calls_that_overlap_may_come_in_any_order() {
    good("1 0..10 put a=x r1\n 2 5..15 put a=y r2\n 3 6..7 get a= r0\n 3 8..9 get a=y@2 r2");
    good("1 0..10 put a=x r2\n 2 5..15 put a=y r1\n 3 16..17 get a=x@2 r2");
    good("1 0..1 put a=x r1\n 1 2..3 delete a r2\n 2 2..3 get a=x@1 r1\n 2 4..5 get a= r2");
}

#[test]
fn a_stale_read_is_wrong() {
    bad("1 0..1 put a=x r1\n 1 2..3 put a=y r2\n 2 4..5 get a=x@1 r1", "after revision 2");
    // The revision lies as well.
    bad("1 0..1 put a=x r1\n 1 2..3 put a=y r2\n 2 4..5 get a=x@1 r2", "where it was");
}

#[test]
fn a_lost_write_is_wrong() {
    bad("1 0..1 put a=x r1\n 2 2..3 get a= r1", "where it was");
    bad("1 0..5 put a=x r1\n 2 2..3 put a=y r1", "both made");
}

#[test]
fn a_value_from_nowhere_is_wrong() {
    bad("1 0..1 put a=x r1\n 2 2..3 get a=z@1 r1", "where it was");
    bad("1 0..1 put a=x r1\n 2 2..3 get a=z@2 r2", "where it was");
}

#[test]
fn two_winners_of_one_revision_are_wrong() {
    good("1 0..1 put a=x r1\n 1 2..9 cas a@1=y r2\n 2 3..8 cas a@1=z r2 fails");
    bad("1 0..1 put a=x r1\n 1 2..9 cas a@1=y r2\n 2 3..8 cas a@1=z r3", "was told true");
    bad("1 0..1 put a=x r1\n 2 3..8 cas a@1=z r1 fails", "was told false");
    bad("1 0..1 put a=x r1\n 2 3..8 cas a@0=z r2", "was told true");
}

#[test]
fn a_second_page_of_another_revision_is_wrong() {
    good("1 0..1 put a=x,b=x r1\n 1 2..3 put a=y,b=y r2\n 2 2..9 get a=x@1,b=x@1 r1");
    bad(
        "1 0..1 put a=x,b=x r1\n 1 2..3 put a=y,b=y r2\n 2 2..9 get a=x@1,b=y@2 r1",
        "where it was",
    );
}

#[test]
fn an_unanswered_write_may_have_happened_or_not() {
    good("1 0..? put a=x\n 2 5..6 get a= r0\n 2 7..8 get a=x@1 r1");
    good("1 0..? put a=x\n 2 5..6 get a= r0\n 2 7..8 put a=y r1");
    good("1 0..1 put a=x r1\n 3 2..? delete a\n 2 5..6 get a=x@1 r1\n 2 7..8 get a= r2");
    good("1 0..? put a=x\n 2 5..6 cas a@1=y r2\n 2 7..8 get a=y@2 r2");
}

#[test]
fn an_unanswered_write_does_not_come_and_go() {
    bad("1 0..? put a=x\n 2 5..6 get a=x@1 r1\n 2 7..8 get a= r1", "no order explains");
    bad("1 0..? put a=x\n 2 5..6 get a=x@1 r1\n 2 7..8 get a=x@2 r2", "no order explains");
    // Nor before it was asked.
    bad("2 5..6 get a=x@1 r1\n 1 7..? put a=x", "where it was");
    // Once only, though two readers would like it twice.
    bad(
        "1 0..? put a=x\n 2 5..6 get a=x@1 r1\n 2 7..8 put a=y r2\n 2 9..10 get a=x@3 r3",
        "no order explains",
    );
}

#[test]
fn groups_are_what_no_call_joins() {
    let calls = history("1 0..1 put a=x,b=x r1\n 1 2..3 put c=x r2\n 2 2..3 put b=y r3");
    let sizes: Vec<usize> = groups(&calls).iter().map(Vec::len).collect();
    assert_eq!(sizes, [2, 1]);
}

#[test]
fn too_much_is_undecided_and_never_passed() {
    let many: String = (0..10).map(|n| format!("{n} {n}0..{n}5 put a=v{n} r{n}1\n")).collect();
    let many = many + "11 0..? put a=z";
    assert!(matches!(judge(&many), Verdict::Undecided(_)), "ten callers");
    let calls = history("1 0..? put a=x\n 2 5..6 get a= r0");
    assert!(matches!(check(&calls, Limits::default()), Verdict::Undecided(_)), "half is unknown");
    let limits = Limits { unknown_percent_max: 100, steps_max: 1, ..Limits::default() };
    assert!(matches!(check(&calls, limits), Verdict::Undecided(_)), "one step");
}

#[test]
fn a_long_history_with_a_few_unknown_is_decided_in_few_steps() {
    let mut lines = String::new();
    for n in 0..160 {
        let at = n * 10;
        lines += &format!("1 {at}..{} put a=v{n} r{}\n", at + 8, n * 2 + 1);
        lines += &format!("2 {}..{} get a=v{n}@{} r{}\n", at + 2, at + 9, n * 2 + 1, n * 2 + 1);
        lines += &format!("3 {}..{} put b=w{n} r{}\n", at + 1, at + 9, n * 2 + 2);
    }
    lines += "4 5..? put a=lost\n 5 7..? put a=gone\n 6 3..? delete b";
    let limits = Limits { steps_max: 20_000, ..Limits::default() };
    assert_eq!(check(&history(&lines), limits), Verdict::Linear);
}

#[test]
fn a_counter_lies_between_what_succeeded_and_what_was_tried() {
    assert!(counted(5, 3, 2).is_ok() && counted(3, 3, 2).is_ok());
    assert!(counted(2, 3, 2).is_err() && counted(6, 3, 2).is_err());
}

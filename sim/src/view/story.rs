//! The story beside the picture: at most twenty lines that lead to the first wrong event.
//!
//! A line is kept by its weight: the failure itself, then what was done to the world, then what the node
//! concerned and those it heard from noticed. Among equals the later one stays.

use std::collections::BTreeSet;

use super::lens::{Band, Lens, Turn};
use crate::clock::Micros;
use crate::run::BOOT_US;
use crate::settings::node_id;
use crate::verdict::Failure;

/// Lines of a story.
pub const LINES_MAX: usize = 20;
/// Characters of a line.
const LINE_CHARS_MAX: usize = 160;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// World time.
    pub at: Micros,
    /// Whose it is.
    pub machine: Option<usize>,
    /// The turn to look at.
    pub turn: u64,
    /// What it is: `fault`, `life`, `news`, `asked` or `wrong`.
    pub kind: &'static str,
    /// In words.
    pub text: String,
}

/// The lines, in order of time.
pub fn tell(lens: &Lens, failure: Option<&Failure>, centre: u64) -> Vec<Line> {
    let end = lens.turns.iter().find(|turn| turn.number == centre).map_or(0, |turn| turn.at);
    let concerned = concerned(lens, failure, centre);
    let mut lines: Vec<(u32, Line)> = Vec::new();
    let bands = lens.bands.iter().filter(|band| band.from <= end);
    lines.extend(bands.map(|band| (weight_of_band(band, end), of_band(lens, band))));
    for turn in lens.turns.iter().filter(|turn| turn.number <= centre && turn.notable) {
        let near = concerned.contains(&turn.machine);
        lines.extend(of_turn(turn).map(|line| (weight(&line, near), line)));
    }
    lines.extend(failure.map(|failure| (100, wrong(failure, centre))));
    let latest = |(weight, line): &(u32, Line)| std::cmp::Reverse((*weight, line.at, line.turn));
    lines.sort_by_key(latest);
    lines.truncate(LINES_MAX);
    let mut lines: Vec<Line> = lines.into_iter().map(|(_, line)| line).collect();
    lines.sort_by_key(|line| (line.at, line.turn, line.kind == "wrong"));
    lines
}

/// The machine that is wrong, and those whose messages it read last.
fn concerned(lens: &Lens, failure: Option<&Failure>, centre: u64) -> BTreeSet<usize> {
    let own = lens.turns.iter().find(|turn| turn.number == centre).map(|turn| turn.machine);
    let own = failure.and_then(|failure| failure.machine).or(own);
    let mut found: BTreeSet<usize> = own.into_iter().collect();
    let read = lens.messages.iter().rev().filter(|message| {
        message.read.is_some_and(|(turn, _)| turn <= centre) && message.to == own
    });
    found.extend(read.take(20).map(|message| message.sent.0));
    found
}

fn weight_of_band(band: &Band, end: Micros) -> u32 {
    let on = band.upto.is_none_or(|upto| upto >= end);
    let small = ["loss", "dup", "reorder", "replay", "delay", "disk_slow", "service"];
    match (on, small.contains(&band.class)) {
        (true, false) => 70,
        (false, false) => 50,
        (true, true) => 45,
        (false, true) => 20,
    }
}

fn weight(line: &Line, near: bool) -> u32 {
    let base = match line.kind {
        // The first process of a machine is no news, a later one is.
        "life" if line.at < BOOT_US => 10,
        "life" => 55,
        "asked" => 30,
        _ if line.text.contains("given up") || line.text.contains("takes up") => 48,
        _ if line.text.contains("misbehaves") => 60,
        _ => 32,
    };
    base + if near { 12 } else { 0 }
}

fn of_turn(turn: &Turn) -> impl Iterator<Item = Line> + '_ {
    let line = |kind: &'static str, text: &str| Line {
        at: turn.at,
        machine: Some(turn.machine),
        turn: turn.number,
        kind,
        text: cut(text),
    };
    let inputs = turn.inputs.iter().filter_map(move |input| match input.as_str() {
        "starts" => Some(line("life", "starts")),
        text if text.starts_with("is asked") => Some(line("asked", text)),
        _ => None,
    });
    inputs.chain(turn.news.iter().map(move |news| line("news", news)))
}

fn of_band(lens: &Lens, band: &Band) -> Line {
    let text = format!("{}{}", described(band), lasting(band));
    let next = lens.turns.iter().find(|turn| turn.at >= band.from).map_or(0, |turn| turn.number);
    let machine = band.machines.first().copied().filter(|_| band.machines.len() == 1);
    Line { at: band.from, machine, turn: next, kind: "fault", text: cut(&text) }
}

/// What is done to whom.
pub fn described(band: &Band) -> String {
    let names = |machines: &BTreeSet<usize>| -> String {
        let names: Vec<String> = machines.iter().map(|index| node_id(*index).to_string()).collect();
        names.join(", ")
    };
    let machines: BTreeSet<usize> = band.machines.iter().copied().collect();
    let all: BTreeSet<usize> = band.links.iter().flat_map(|(from, to)| [*from, *to]).collect();
    let packets = ["loss", "dup", "reorder", "replay", "delay", "mtu", "slow_reader"];
    if packets.contains(&band.class) && machines.len() == all.len() {
        return format!("{} on every link", band.class);
    }
    if !["cut", "clog", "reset", "isolate"].contains(&band.class) {
        return format!("{} {}", band.class, names(&machines));
    }
    let from: BTreeSet<usize> = band.links.iter().map(|(from, _)| *from).collect();
    let to: BTreeSet<usize> = band.links.iter().map(|(_, to)| *to).collect();
    if from.is_disjoint(&to) {
        return format!("{} {} → {}", band.class, names(&from), names(&to));
    }
    let others: BTreeSet<usize> = all.difference(&machines).copied().collect();
    format!("{} {} ↔ {}", band.class, names(&machines), names(&others))
}

fn lasting(band: &Band) -> String {
    let lasts = band.upto.map(|upto| upto - band.from);
    lasts.map_or(String::new(), |lasts| format!(" for {}", seconds(lasts)))
}

/// A time in seconds, with as many digits as it needs.
pub fn seconds(time: Micros) -> String {
    match time {
        0..1_000_000 => format!("{} ms", time as f64 / 1e3),
        _ => format!("{:.1} s", time as f64 / 1e6),
    }
}

fn wrong(failure: &Failure, turn: u64) -> Line {
    let text = cut(&failure.message);
    Line { at: failure.at, machine: failure.machine, turn, kind: "wrong", text }
}

fn cut(text: &str) -> String {
    if text.chars().count() <= LINE_CHARS_MAX {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(LINE_CHARS_MAX - 1).collect();
    short.push('…');
    short
}

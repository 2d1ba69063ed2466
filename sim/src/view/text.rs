//! Lanes in a terminal: a column per node, a row per turn that says something.

use std::fmt::Write as _;

use super::Picture;
use super::lens::Turn;

/// Rows around the first wrong event.
const ROWS_MAX: usize = 60;
/// Characters of a row's words.
const WORDS_MAX: usize = 100;
const COLUMN: usize = 5;

/// The story, then the lanes around the first wrong event.
pub(super) fn lanes(picture: &Picture) -> String {
    let mut text = format!("{}: {}", picture.title, picture.headline());
    if !picture.statement.is_empty() {
        let _ = write!(text, " ({})", picture.statement);
    }
    let seed = picture.seed.map_or(String::new(), |seed| format!("seed {seed}, "));
    let _ = writeln!(text, "\n{seed}{}\n", picture.command);
    // Peers of a node that recorded itself have no turns to show.
    let nodes = picture.nodes.iter().take(picture.recorded.as_ref().map_or(usize::MAX, |_| 1));
    for line in &picture.story {
        let node = line.machine.and_then(|machine| picture.nodes.get(machine));
        let node = node.map_or("", String::as_str);
        let mark = if line.kind == "wrong" { '✗' } else { ' ' };
        let _ = writeln!(text, "{mark} {:>13} {node:<4} {}", clock(line.at), line.text);
    }
    let _ = write!(text, "\n{:>15} ", "");
    for node in nodes.clone() {
        let _ = write!(text, "{node:^COLUMN$}");
    }
    text.push('\n');
    for turn in shown(picture) {
        let _ = write!(text, "{:>15} ", clock(turn.at));
        for lane in 0..nodes.len() {
            let mark = match (lane == turn.machine, turn.number == picture.centre) {
                (true, true) => '✗',
                (true, false) if turn.notable => '◆',
                (true, false) => '●',
                (false, _) => '│',
            };
            let _ = write!(text, "{mark:^COLUMN$}");
        }
        let _ = writeln!(text, " {}", words(turn));
    }
    text
}

/// Turns near the centre; a bare wake says nothing.
fn shown(picture: &Picture) -> Vec<&Turn> {
    let speaks =
        |turn: &&Turn| turn.number == picture.centre || !turn.outputs.is_empty() || turn.notable;
    let turns: Vec<&Turn> = picture.lens.turns.iter().filter(speaks).collect();
    let centre = turns.partition_point(|turn| turn.number < picture.centre);
    let first = centre.saturating_sub(ROWS_MAX * 3 / 4);
    turns.into_iter().skip(first).take(ROWS_MAX).collect()
}

fn words(turn: &Turn) -> String {
    let heard = turn.inputs.iter().filter(|input| !input.contains("takes")).take(2);
    let said = turn.news.iter().chain(turn.outputs.iter()).take(3);
    let join =
        |words: Vec<&String>| words.into_iter().map(String::as_str).collect::<Vec<_>>().join("; ");
    let text = format!("{} ⇒ {}", join(heard.collect()), join(said.collect()));
    text.chars().take(WORDS_MAX).collect()
}

fn clock(at: u64) -> String {
    format!("{:.6} s", at as f64 / 1e6)
}

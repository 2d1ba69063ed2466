//! The page: a template, its style and its script, and what was seen as one JSON object.
//!
//! Strings stand once, in a table. If the page would be larger than [`BYTES_MAX`], the eldest turns go.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::lens::{Lens, Turn};
use super::words::Family;
use super::{Picture, state, story};

/// The most bytes of a page.
pub(super) const BYTES_MAX: usize = 5 << 20;

const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// The page of a picture.
pub(super) fn html(picture: &Picture) -> String {
    let mut skipped = 0;
    loop {
        // Inside a script element only `<` could end it.
        let data = data(picture, skipped).to_string().replace('<', "\\u003c");
        let title = escaped(&format!("{}: {}", picture.headline(), picture.title));
        let page = PAGE
            .replace("{{title}}", &title)
            .replace("{{style}}", STYLE)
            .replace("{{script}}", SCRIPT)
            .replace("{{data}}", &data);
        let turns = picture.lens.turns.len();
        if page.len() <= BYTES_MAX || skipped >= turns {
            return page;
        }
        skipped += (turns / 8).max(1);
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Every string once.
#[derive(Default)]
struct Strings {
    places: BTreeMap<String, usize>,
    all: Vec<String>,
}

impl Strings {
    fn place(&mut self, text: &str) -> usize {
        if let Some(place) = self.places.get(text) {
            return *place;
        }
        self.places.insert(text.to_owned(), self.all.len());
        self.all.push(text.to_owned());
        self.all.len() - 1
    }

    fn places(&mut self, texts: &[String]) -> Vec<usize> {
        texts.iter().map(|text| self.place(text)).collect()
    }
}

/// Everything but the first `skipped` turns, which are folded into the states before.
fn data(picture: &Picture, skipped: usize) -> Value {
    let lens = &picture.lens;
    let mut strings = Strings::default();
    let turns: Vec<Value> =
        lens.turns.iter().skip(skipped).map(|turn| of_turn(turn, &mut strings)).collect();
    let first = lens.turns.get(skipped).map_or(0, |turn| turn.number);
    let last = lens.turns.back().map_or(0, |turn| turn.number);
    let seen = |turn: u64| (first..=last).contains(&turn);
    let messages = lens
        .messages
        .iter()
        .filter(|message| seen(message.sent.1) || message.read.is_some_and(|(turn, _)| seen(turn)));
    let messages: Vec<Value> = messages
        .map(|message| {
            let family = Family::ALL.iter().position(|family| *family == message.family);
            let read = message.read.filter(|(turn, _)| *turn <= last);
            json!([
                family,
                strings.place(&message.label),
                message.sent.0,
                message.sent.1,
                message.sent.2,
                message.to,
                read.map(|(turn, _)| turn),
                read.map(|(_, at)| at)
            ])
        })
        .collect();
    let bands: Vec<Value> = lens
        .bands
        .iter()
        .map(|band| {
            json!([band.class, story::described(band), band.from, band.upto, band.machines])
        })
        .collect();
    let gaps: Vec<Value> =
        lens.gaps.iter().map(|gap| json!([gap.machine, gap.from, gap.upto])).collect();
    let story: Vec<Value> = picture
        .story
        .iter()
        .map(|line| json!([line.at, line.machine, line.turn, line.kind, line.text]))
        .collect();
    let failure = picture.failure.as_ref().map(|failure| {
        json!({
            "id": failure.id, "kind": failure.kind.name(), "message": failure.message,
            "at": failure.at, "node": failure.machine,
        })
    });
    json!({
        "format": 1, "title": picture.title, "headline": picture.headline(),
        "statement": picture.statement, "command": picture.command, "build": crate::build(),
        "seed": picture.seed, "recorded": picture.recorded, "nodes": picture.nodes, "failure": failure, "centre": picture.centre,
        "families": Family::ALL.map(Family::name), "before": before(lens, picture, skipped),
        "turns": turns, "messages": messages, "bands": bands, "gaps": gaps, "story": story,
        "plan": picture.plan, "strings": strings.all,
    })
}

fn of_turn(turn: &Turn, strings: &mut Strings) -> Value {
    let change: Vec<Value> = turn
        .change
        .iter()
        .map(|(key, value)| {
            let value = value.as_ref().map(|value| strings.place(value));
            json!([strings.place(key), value])
        })
        .collect();
    json!([
        turn.number,
        turn.at,
        turn.machine,
        strings.places(&turn.inputs),
        strings.places(&turn.outputs),
        u8::from(turn.notable) + 2 * u8::from(turn.fresh),
        change
    ])
}

/// The state of every node before the first turn that is shown.
fn before(lens: &Lens, picture: &Picture, skipped: usize) -> Vec<state::State> {
    let mut before = lens.before.clone();
    for turn in lens.turns.iter().take(skipped) {
        let state = before.entry(turn.machine).or_default();
        if turn.fresh {
            state.clear();
        }
        state::apply(state, &turn.change);
    }
    (0..picture.nodes.len()).map(|node| before.remove(&node).unwrap_or_default()).collect()
}

//! A run to look at: text for a terminal, or one page for a browser.
//!
//! A plan is run twice: once to see whether and where it fails, and once with a [`lens`](lens::Lens) and
//! without judgement, so that what came after the first wrong event is there as well. The page needs no
//! network and no other file. What a running node recorded of itself is shown the same way, from its [`node`] lines.
//!
//! Absent on purpose: opinions. The story beside the picture picks lines; it draws no conclusion.

pub mod lens;
pub mod node;
mod page;
pub mod state;
pub mod story;
mod text;
pub mod words;

use crate::clock::Micros;
use crate::invariants::{self, TABLE};
use crate::plan::Plan;
use crate::run::{self, Options};
use crate::settings;
use crate::verdict::Failure;
use lens::Lens;

pub use story::Line;

/// How much is shown after the first wrong event.
const AFTER_US: Micros = 2_000_000;
/// Turns after the first wrong event that are kept.
const TURNS_AFTER_MAX: usize = 1200;

/// Everything that there is to show of one run.
#[derive(Debug)]
pub struct Picture {
    /// The plan as text.
    pub plan: String,
    /// What it is called.
    pub title: String,
    /// The command that does it again.
    pub command: String,
    /// Its seed; a trace of a real node has none.
    pub seed: Option<u64>,
    /// The node that recorded itself, if that is what is shown.
    pub recorded: Option<String>,
    /// Names of the nodes.
    pub nodes: Vec<String>,
    /// What did not hold.
    pub failure: Option<Failure>,
    /// What the promise was.
    pub statement: String,
    /// The number of the first wrong turn; of the last one, if all held.
    pub centre: u64,
    /// What was seen.
    pub lens: Lens,
    /// At most twenty lines.
    pub story: Vec<Line>,
}

/// Runs `plan` under `seed` and looks on. `command` does the same again.
pub fn look(plan: &Plan, seed: u64, command: &str) -> Picture {
    let judged = run::run(plan, seed, &Options::default());
    let end = judged.failure.as_ref().map_or(judged.virtual_us, |failure| failure.at + AFTER_US);
    let watched = Options { lens: true, blind: true, until: Some(end), ..Options::default() };
    let mut lens = *run::run(plan, seed, &watched).lens.expect("it was asked for");
    let failure = judged.failure;
    let centre = centre(&lens, failure.as_ref());
    let surplus = lens.turns.iter().filter(|turn| turn.number > centre).count();
    let surplus = surplus.saturating_sub(TURNS_AFTER_MAX);
    lens.turns.truncate(lens.turns.len() - surplus);
    let statement = failure.as_ref().and_then(|failure| invariants::find(&failure.id));
    let statement = statement.and_then(|row| TABLE.get(row)).map_or("", |row| row.statement);
    let nodes = (0..plan.nodes()).map(|index| settings::node_id(index).to_string()).collect();
    let story = story::tell(&lens, failure.as_ref(), centre);
    Picture {
        plan: plan.to_string(),
        title: plan.name.clone(),
        command: command.to_owned(),
        seed: Some(seed),
        recorded: None,
        nodes,
        failure,
        statement: statement.to_owned(),
        centre,
        lens,
        story,
    }
}

impl Picture {
    /// What went wrong in a few words, or that nothing did.
    pub fn headline(&self) -> String {
        match &self.failure {
            Some(failure) if failure.message.starts_with("then ") => {
                "The plan expected something else".to_owned()
            }
            Some(failure) => match failure.kind.name() {
                "panic" => "A node gave up".to_owned(),
                "liveness" => format!("{} does not come true in time", failure.id),
                _ => format!("{} does not hold", failure.id),
            },
            None => match &self.recorded {
                Some(node) => format!("What {node} heard and said"),
                None => "Everything held".to_owned(),
            },
        }
    }

    /// Lanes in a terminal.
    pub fn text(&self) -> String {
        text::lanes(self)
    }

    /// One page, at most five mebibytes.
    pub fn html(&self) -> String {
        page::html(self)
    }
}

/// The turn after which the failure was noticed, on its machine if it names one.
fn centre(lens: &Lens, failure: Option<&Failure>) -> u64 {
    let last = lens.turns.back().map_or(0, |turn| turn.number);
    let Some(failure) = failure else { return last };
    let before = || lens.turns.iter().rev().filter(|turn| turn.number <= failure.event);
    let of_machine = |turn: &&lens::Turn| failure.machine.is_none_or(|of| of == turn.machine);
    before().find(of_machine).or_else(|| before().next()).map_or(last, |turn| turn.number)
}

#[cfg(test)]
mod tests;

//! The contract that every protocol follows.
//!
//! Absent on purpose: errors (a refusal is an output), polling order, async.

use crate::time::Instant;

/// A deterministic state machine: one input at one instant, every consequence in `out`.
pub trait Machine {
    /// What can happen to it.
    type Input;
    /// What it asks of the world.
    type Output;

    /// Applies `input` to the end. Never blocks, never fails: a refusal is an output.
    fn handle(&mut self, now: Instant, input: Self::Input, out: &mut Vec<Self::Output>);

    /// When `Tick` would next change something, and what it would be.
    fn next_wake(&self) -> Option<Wake>;
}

/// A moment at which a machine wants to be ticked, and the reason, for whoever asks why a cluster
/// is not quiet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wake {
    /// The moment.
    pub at: Instant,
    /// What would happen then, in a few words.
    pub what: &'static str,
}

impl Wake {
    /// The earlier of two optional wakes.
    pub fn earlier(left: Option<Wake>, right: Option<Wake>) -> Option<Wake> {
        match (left, right) {
            (Some(left), Some(right)) => Some(left.min(right)),
            (left, right) => left.or(right),
        }
    }
}

/// One number that a machine keeps for its observers. `name` follows the metric conventions: a
/// `_total` only rises, anything else is a level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    /// The metric, without the `quorate_` prefix.
    pub name: &'static str,
    /// Its labels, a closed set.
    pub labels: Labels,
    /// Its present value.
    pub value: u64,
}

/// At most three labels: more would be a table, not a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Labels {
    /// The metric has no labels.
    None,
    /// `{key="value"}`.
    One(&'static str, &'static str),
    /// `{key="value", key="value"}`.
    Two(&'static str, &'static str, &'static str, &'static str),
    /// Three pairs, in order.
    Three([(&'static str, &'static str); 3]),
}

/// Something that can be counted: it visits *every* series it can ever have, those at 0 included, so
/// that a scrape of a fresh node shows them all.
pub trait Counted {
    /// Calls `visit` once per series.
    fn counts(&self, visit: &mut dyn FnMut(Count));
}

//! How a run ends.

use crate::clock::Micros;

/// What kind of promise was broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// An invariant is false.
    Invariant,
    /// The code under test gave up.
    Panic,
    /// The cluster did not become quiet in time.
    Liveness,
    /// What callers saw has no explanation.
    History,
    /// A bound was passed.
    Bound,
    /// A secret was found where none belongs.
    Secret,
    /// Time stood still.
    Livelock,
    /// A second run went another way.
    Determinism,
    /// Something was logged as an error.
    Log,
}

impl Kind {
    /// As written in reports.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Invariant => "invariant",
            Kind::Panic => "panic",
            Kind::Liveness => "liveness",
            Kind::History => "history",
            Kind::Bound => "bound",
            Kind::Secret => "secret",
            Kind::Livelock => "livelock",
            Kind::Determinism => "determinism",
            Kind::Log => "log",
        }
    }
}

/// What did not hold, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Of what kind.
    pub kind: Kind,
    /// Which invariant, or what of the world.
    pub id: String,
    /// On which machine, if it was one.
    pub machine: Option<usize>,
    /// In words.
    pub message: String,
    /// World time.
    pub at: Micros,
    /// The turn after which it was noticed.
    pub event: u64,
}

impl Failure {
    /// A failure whose time is still to be said.
    pub fn new(kind: Kind, id: &str, machine: Option<usize>, message: String) -> Failure {
        Failure { kind, id: id.to_owned(), machine, message, at: 0, event: 0 }
    }

    /// An invariant that is false on a machine.
    pub fn invariant(id: &str, machine: usize, message: String) -> Failure {
        Failure::new(Kind::Invariant, id, Some(machine), message)
    }

    /// The same, at that time.
    pub fn at(mut self, at: Micros, event: u64) -> Failure {
        self.at = at;
        self.event = event;
        self
    }
}

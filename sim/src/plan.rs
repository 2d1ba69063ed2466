//! What a run does to its world: an explicit list of settings, load, faults and operations.
//!
//! A scenario file is a plan written by hand, a seed draws one by the swarm rules; both run the same way
//! and print as the same text, so whatever failed can be kept. `print` and `parse` are inverse.
//!
//! Absent on purpose: anything drawn while a plan runs, but for targets that are named by a role.

pub mod draw;
pub mod names;
pub mod text;

use std::collections::BTreeMap;

use crate::clock::Micros;

pub use names::{Class, Operation};

/// A plan.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// `<domain>/<name>`.
    pub name: String,
    /// What the story is, in one sentence.
    pub about: String,
    /// Settings of the world and of every node, as written.
    pub given: BTreeMap<String, String>,
    /// What callers do all the time.
    pub loads: Vec<Load>,
    /// What happens when.
    pub events: Vec<When>,
    /// What must have come of it.
    pub thens: Vec<Then>,
    /// First and last seed.
    pub seeds: Option<(u64, u64)>,
}

/// Callers that repeat one operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Load {
    /// Its beginning.
    pub from: Micros,
    /// Its end.
    pub upto: Micros,
    /// What they do.
    pub operation: Operation,
    /// How often in a thousand seconds.
    pub rate_milli: u64,
    /// With what.
    pub keys: BTreeMap<String, String>,
}

/// One thing that happens, perhaps more than once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct When {
    /// The first time.
    pub at: Micros,
    /// The distance to the next, and how often in all.
    pub every: Option<(Micros, u32)>,
    /// What.
    pub what: What,
    /// After how long it is undone.
    pub lasts: Option<Micros>,
}

/// See [`When`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// Something breaks.
    Fault {
        /// Of which class.
        class: Class,
        /// Where.
        targets: Targets,
        /// How.
        keys: BTreeMap<String, String>,
    },
    /// Somebody does something.
    Act {
        /// Who; a service has a name of its own.
        actor: Actor,
        /// What the answer is known by.
        tag: Option<String>,
        /// What.
        operation: Operation,
        /// Its arguments in order.
        words: Vec<String>,
        /// Its named arguments.
        keys: BTreeMap<String, String>,
    },
}

/// Who acts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Actor {
    /// A node, by its surface.
    Node(Pick),
    /// The model servers.
    Service,
}

/// Where a fault strikes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Targets {
    /// Everywhere, or where the class says.
    #[default]
    None,
    /// These nodes, and every link from and to them.
    Nodes(Vec<Pick>),
    /// The links from the first to the second.
    OneWay(Vec<Pick>, Vec<Pick>),
    /// The links between the first and the second.
    Between(Vec<Pick>, Vec<Pick>),
    /// The same, written as two halves.
    Halves(Vec<Pick>, Vec<Pick>),
}

/// Which nodes; resolved when it happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pick {
    /// `n<number>`, from 1.
    Node(usize),
    /// From one to another.
    Range(usize, usize),
    /// Every one.
    All,
    /// Any one that runs.
    Random,
    /// Any one that runs and is this to the agreed log.
    Role(Role),
}

/// What a node is to the agreed log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It leads.
    Leader,
    /// It votes and does not lead.
    Voter,
    /// It listens.
    Standby,
    /// It keeps no copy.
    Outside,
}

impl Role {
    /// All of them, by their words.
    pub const ALL: [(&'static str, Role); 4] = [
        ("leader", Role::Leader),
        ("voter", Role::Voter),
        ("standby", Role::Standby),
        ("outside", Role::Outside),
    ];
}

/// What must have come of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Then {
    /// These were evaluated and never false.
    Always(Vec<String>),
    /// These were true at that time.
    By(Micros, Vec<String>),
    /// These were true at the end.
    End(Vec<String>),
    /// The answer known by a tag begins with this.
    Answer(String, String),
    /// This place in the machines was reached.
    Mark(String),
    /// A number that nodes keep.
    Count {
        /// Its name and labels, as exported.
        metric: String,
        /// `=`, `<`, `<=`, `>`, `>=`.
        comparison: Comparison,
        /// The bound.
        number: u64,
        /// Of one node; else summed over those that run.
        node: Option<usize>,
        /// When; at the end if not said.
        by: Option<Micros>,
    },
}

/// How a count is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// `=`
    Equal,
    /// `<`
    Less,
    /// `<=`
    AtMost,
    /// `>`
    More,
    /// `>=`
    AtLeast,
}

impl Comparison {
    /// All of them, by their signs.
    pub const ALL: [(&'static str, Comparison); 5] = [
        ("=", Comparison::Equal),
        ("<", Comparison::Less),
        ("<=", Comparison::AtMost),
        (">", Comparison::More),
        (">=", Comparison::AtLeast),
    ];

    /// Whether `left` stands so to `right`.
    pub fn holds(self, left: u64, right: u64) -> bool {
        match self {
            Comparison::Equal => left == right,
            Comparison::Less => left < right,
            Comparison::AtMost => left <= right,
            Comparison::More => left > right,
            Comparison::AtLeast => left >= right,
        }
    }
}

/// Virtual seconds that a plan spends in its two long phases, unless it says otherwise.
pub const TIME_DEFAULT_US: (Micros, Micros) = (60_000_000, 120_000_000);

impl Plan {
    /// How many nodes there are.
    pub fn nodes(&self) -> usize {
        self.given.get("nodes").and_then(|text| text.parse().ok()).unwrap_or(3)
    }

    /// How long the safety and the liveness phase last.
    pub fn time(&self) -> (Micros, Micros) {
        let text = self.given.get("time").map(String::as_str);
        text.and_then(text::parse_phases).unwrap_or(TIME_DEFAULT_US)
    }

    /// How many machines must be spare: every twin has its own.
    pub fn twins(&self) -> usize {
        let one = |pick: &Pick| match pick {
            Pick::Range(first, last) => last + 1 - first,
            Pick::All => self.nodes(),
            Pick::Node(_) | Pick::Random | Pick::Role(_) => 1,
        };
        let of = |when: &When| match &when.what {
            What::Fault { class: Class("twin"), targets, .. } => {
                let machines = match targets {
                    Targets::None => self.nodes(),
                    Targets::Nodes(picks)
                    | Targets::OneWay(picks, _)
                    | Targets::Between(picks, _)
                    | Targets::Halves(picks, _) => picks.iter().map(one).sum(),
                };
                machines * when.every.map_or(1, |(_, count)| count as usize)
            }
            What::Fault { .. } | What::Act { .. } => 0,
        };
        self.events.iter().map(of).sum()
    }

    /// The faults of a class.
    pub fn faults(&self, class: Class) -> usize {
        let is =
            |when: &&When| matches!(&when.what, What::Fault { class: this, .. } if *this == class);
        self.events
            .iter()
            .filter(is)
            .map(|when| when.every.map_or(1, |(_, count)| count as usize))
            .sum()
    }
}

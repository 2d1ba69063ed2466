//! A failing plan made small: the fewest lines after which the same promise is still broken.
//!
//! ```text
//!   clip ──▶ faults and operations ──▶ load ──▶ nodes ──▶ time ──▶ values ──▶ settings ─┐
//!     ▲                                                                                 │
//!     └───────────────── until nothing goes any more, or the budget is spent ───────────┘
//! ```
//!
//! Every candidate is run; it counts as the same failure only if it breaks the same promise in the same way
//! (a panic: at the same place). Draws are keyed by what they are for, so leaving a line out moves no draw
//! of another, and what is left fails for the old reason.
//!
//! Absent on purpose: anything clever about causes. Runs are cheap and exact.

mod ddmin;
mod nodes;
mod values;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::clock::Micros;
use crate::plan::text::Time;
use crate::plan::{Plan, TIME_DEFAULT_US, text};
use crate::run::{self, BOOT_US, Options};
use crate::settings;
use crate::verdict::{Failure, Kind};

pub use ddmin::ddmin;

/// How much later than before a candidate may fail and still be worth running to that point.
const GRACE_US: Micros = 10_000_000;
/// Seeds beside its own with which a world of fewer nodes is tried: their draws are other ones anyway.
const SEEDS_TRIED: u64 = 3;
/// How often everything is gone through.
const ROUNDS_MAX: usize = 4;

/// What a shrink may cost.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    /// Time on the wall.
    pub time: Duration,
    /// Runs.
    pub runs: u64,
}

impl Default for Budget {
    fn default() -> Budget {
        Budget { time: Duration::from_secs(60), runs: 4000 }
    }
}

/// What is left of a failing plan.
#[derive(Debug, Clone)]
pub struct Shrunk {
    /// The plan; its `seeds` line names the one that fails.
    pub plan: Plan,
    /// That seed.
    pub seed: u64,
    /// How it fails.
    pub failure: Failure,
    /// Runs that it took.
    pub runs: u64,
}

impl Shrunk {
    /// Lines of the plan as text.
    pub fn lines(&self) -> usize {
        self.plan.to_string().lines().count()
    }
}

/// Makes `plan`, which fails under `seed`, small. `None`: it does not fail.
pub fn shrink(plan: &Plan, seed: u64, budget: Budget) -> Option<Shrunk> {
    let failure = run::run(plan, seed, &Options::default()).failure?;
    let mut shrinker = Shrinker::new(plan, seed, failure, budget);
    shrinker.go();
    Some(shrinker.done())
}

/// The name that the plan in a file must have: where it lies, up to the first dot.
pub fn name_of(path: &Path) -> String {
    let last = |path: &Path| {
        let name = path.file_name().map(|name| name.to_string_lossy().to_lowercase());
        let name = name.unwrap_or_default();
        let stem = name.split('.').next().unwrap_or_default();
        let legal = |c: char| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '_' };
        stem.chars().map(legal).collect::<String>()
    };
    let folder = path.parent().map(last).filter(|name| !name.is_empty());
    format!("{}/{}", folder.unwrap_or_else(|| "plan".to_owned()), last(path))
}

/// What must stay the same about a failure.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Symptom {
    kind: Kind,
    id: String,
    /// Of a panic: where; of a `then` line: which.
    place: Option<String>,
}

impl Symptom {
    fn of(failure: &Failure) -> Symptom {
        let message = failure.message.as_str();
        let place = if failure.kind == Kind::Panic {
            message.rsplit_once('(').map(|(_, place)| place)
        } else {
            message.strip_prefix("then ").and_then(|then| then.split(": ").next())
        };
        Symptom { kind: failure.kind, id: failure.id.clone(), place: place.map(str::to_owned) }
    }

    /// Whether it can only show at the end of a run.
    fn is_late(&self) -> bool {
        self.kind == Kind::Liveness || (self.kind != Kind::Panic && self.place.is_some())
    }
}

struct Shrinker {
    best: Plan,
    seed: u64,
    failure: Failure,
    symptom: Symptom,
    deadline: Instant,
    budget: Budget,
    runs: u64,
    tried: BTreeSet<(String, u64)>,
}

impl Shrinker {
    fn new(plan: &Plan, seed: u64, failure: Failure, budget: Budget) -> Shrinker {
        let best = Plan { seeds: Some((seed, seed)), ..plan.clone() };
        Shrinker {
            best,
            seed,
            symptom: Symptom::of(&failure),
            failure,
            deadline: Instant::now() + budget.time,
            budget,
            runs: 1,
            tried: BTreeSet::new(),
        }
    }

    fn go(&mut self) {
        for _ in 0..ROUNDS_MAX {
            let before = self.best.clone();
            self.clip();
            self.fewer_events();
            self.fewer_loads();
            self.clip();
            self.fewer_nodes();
            self.less_time();
            self.simpler_values();
            self.fewer_settings();
            self.clip();
            if self.best == before || self.is_spent() {
                return;
            }
        }
    }

    fn is_spent(&self) -> bool {
        self.runs >= self.budget.runs || Instant::now() >= self.deadline
    }

    /// Keeps `plan` if it breaks the same promise.
    fn takes(&mut self, plan: Plan) -> bool {
        let seed = self.seed;
        self.takes_with(plan, seed)
    }

    fn takes_with(&mut self, mut plan: Plan, seed: u64) -> bool {
        plan.seeds = Some((seed, seed));
        let text = plan.to_string();
        if self.is_spent() || text::parse("candidate", &text).as_ref() != Ok(&plan) {
            return false;
        }
        if !self.tried.insert((text, seed)) {
            return false;
        }
        self.runs += 1;
        let until = (!self.symptom.is_late()).then_some(self.failure.at + GRACE_US);
        let outcome = run::run(&plan, seed, &Options { until, ..Options::default() });
        let Some(failure) = outcome.failure.filter(|failure| Symptom::of(failure) == self.symptom)
        else {
            return false;
        };
        (self.best, self.seed, self.failure) = (plan, seed, failure);
        true
    }

    /// What comes after the failure cannot have caused it.
    fn clip(&mut self) {
        let mut plan = self.best.clone();
        let end = self.failure.at.saturating_sub(BOOT_US).max(1);
        let (safety, liveness) = plan.time();
        plan.events.retain(|when| when.at <= end);
        plan.loads.retain(|load| load.from <= end);
        plan.thens.retain(|then| {
            self.symptom.place.as_ref().is_some_and(|place| *place == then.to_string())
        });
        if end < safety {
            let whole = end.div_ceil(1_000_000) * 1_000_000;
            for load in &mut plan.loads {
                load.upto = load.upto.min(whole);
            }
            set_time(&mut plan, whole.min(safety), liveness);
        }
        self.takes(plan);
    }

    fn fewer_events(&mut self) {
        let events = self.best.events.clone();
        ddmin(events, |events| self.takes(Plan { events: events.to_vec(), ..self.best.clone() }));
    }

    fn fewer_loads(&mut self) {
        let loads = self.best.loads.clone();
        ddmin(loads, |loads| self.takes(Plan { loads: loads.to_vec(), ..self.best.clone() }));
    }

    fn fewer_nodes(&mut self) {
        let mut number = self.best.nodes();
        while number > 0 {
            if self.best.nodes() > 1
                && let Some(plan) = nodes::without(&self.best, number)
            {
                let seed = self.seed;
                let taken =
                    (seed..=seed + SEEDS_TRIED).any(|seed| self.takes_with(plan.clone(), seed));
                if taken {
                    self.clip();
                }
            }
            number -= 1;
        }
    }

    /// Everything earlier, gap by gap.
    fn less_time(&mut self) {
        let mut moments: Vec<Micros> = self.best.events.iter().map(|when| when.at).collect();
        moments.extend(self.best.loads.iter().map(|load| load.from));
        moments.sort_unstable();
        moments.dedup();
        let mut earlier = 0;
        let mut last = 0;
        for moment in moments {
            let moment = moment - earlier;
            for gap in [moment - last, (moment - last) / 2] {
                if gap > 0 && self.takes(values::pulled(&self.best, moment, gap)) {
                    earlier += gap;
                    break;
                }
            }
            last = moment.max(last);
        }
        self.clip();
        let (safety, liveness) = self.best.time();
        let mut shorter = self.best.clone();
        for part in [8, 4, 2] {
            set_time(&mut shorter, safety / part / 1_000_000 * 1_000_000, liveness);
            let (whole, _) = shorter.time();
            shorter.loads.iter_mut().for_each(|load| load.upto = load.upto.min(whole));
            if whole > 0 && self.takes(shorter.clone()) {
                break;
            }
            shorter = self.best.clone();
        }
    }

    fn simpler_values(&mut self) {
        let mut number = 0;
        while let Some(simpler) = values::simpler(&self.best, number) {
            // What was taken may be simplified further in the same way; what was not, is left alone.
            if simpler.is_none_or(|plan| !self.takes(plan)) {
                number += 1;
            }
        }
    }

    /// Everything that nodes are told, and where they keep it, as it is without a word.
    fn fewer_settings(&mut self) {
        let fixed = ["nodes", "time"];
        let keys = self.best.given.keys().filter(|key| !fixed.contains(&key.as_str()));
        let keys: Vec<String> = keys.cloned().collect();
        ddmin(keys, |kept| {
            let mut plan = self.best.clone();
            plan.given.retain(|key, _| fixed.contains(&key.as_str()) || kept.contains(key));
            self.takes(plan)
        });
    }

    fn done(self) -> Shrunk {
        let Failure { id, machine, at, .. } = &self.failure;
        let node = machine.map(|machine| format!(" on {}", settings::node_id(machine)));
        let seconds = *at as f64 / 1e6;
        let about = format!("{id} does not hold{} at {seconds:.3}s", node.unwrap_or_default());
        let plan = Plan { about, ..self.best };
        Shrunk { plan, seed: self.seed, failure: self.failure, runs: self.runs }
    }
}

fn set_time(plan: &mut Plan, safety: Micros, liveness: Micros) {
    let mut time = Time(safety).to_string();
    if liveness != TIME_DEFAULT_US.1 {
        time.push_str(&format!("+{}", Time(liveness)));
    }
    plan.given.insert("time".to_owned(), time);
}

#[cfg(test)]
mod tests;

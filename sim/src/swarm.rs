//! Many seeds, and what came of them together.

pub mod leave;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::backend::{Backend, reach};
use crate::invariants::pools::Calls;
use crate::invariants::{Ledger, TABLE};
use crate::marks::Reached;
use crate::plan::{Plan, draw};
use crate::run::{self, Options, Outcome};
use crate::trace::hex;
use crate::world::faults::{FaultCounts, Level};

/// Which plan a seed runs.
pub trait Plans: Sync {
    /// The plan of `seed`.
    fn of(&self, seed: u64) -> Plan;
}

impl Plans for draw::World {
    fn of(&self, seed: u64) -> Plan {
        draw::plan(seed, self)
    }
}

impl Plans for Plan {
    fn of(&self, _: u64) -> Plan {
        self.clone()
    }
}

/// What seeds run, without what is beyond the reach of real shells.
pub struct Within<'a>(pub &'a dyn Plans);

impl Plans for Within<'_> {
    fn of(&self, seed: u64) -> Plan {
        reach::within(self.0.of(seed))
    }
}

/// A run: its seed and, where there are several plans, the place of its own.
pub type RunId = (u64, usize);

/// What came of a set of seeds.
#[derive(Debug, Default)]
pub struct Summary {
    /// What ran, and the hashes of it.
    pub hashes: BTreeMap<RunId, u64>,
    /// Runs in which something did not hold.
    pub failures: BTreeMap<RunId, Outcome>,
    /// Virtual time of all.
    pub virtual_us: u64,
    /// Inputs of all nodes of all.
    pub events: u64,
    /// What was done to the worlds.
    pub faults: FaultCounts,
    /// What was looked at.
    pub ledger: Ledger,
    /// What was reached in the machines, and by whom.
    pub marks: Reached,
    /// What callers of pools got.
    pub calls: Calls,
    /// How long each seed took to become quiet.
    pub converged: Vec<u64>,
    /// Failing seeds whose plan was made small.
    pub shrunk: BTreeSet<u64>,
}

impl Summary {
    /// Adds a run.
    pub fn add(&mut self, outcome: Outcome) {
        let run = (outcome.seed, 0);
        self.hashes.insert(run, outcome.hash);
        self.virtual_us += outcome.virtual_us;
        self.events += outcome.events;
        self.faults.add(&outcome.faults);
        self.ledger.add(&outcome.ledger);
        self.marks.add(outcome.seed, &outcome.marks);
        self.calls.add(outcome.calls);
        self.converged.extend(outcome.converged);
        if outcome.failure.is_some() {
            self.failures.insert(run, outcome);
        }
    }

    /// The same runs, of the plan that has this place among several.
    #[must_use]
    pub fn of_plan(mut self, place: usize) -> Summary {
        fn moved<T>(runs: BTreeMap<RunId, T>, place: usize) -> BTreeMap<RunId, T> {
            runs.into_iter().map(|((seed, _), of)| ((seed, place), of)).collect()
        }
        self.hashes = moved(self.hashes, place);
        self.failures = moved(self.failures, place);
        self
    }

    /// Adds another set.
    pub fn join(&mut self, other: Summary) {
        self.hashes.extend(other.hashes);
        self.virtual_us += other.virtual_us;
        self.events += other.events;
        self.faults.add(&other.faults);
        self.ledger.add(&other.ledger);
        self.marks.join(&other.marks);
        self.calls.add(other.calls);
        self.converged.extend(other.converged);
        self.failures.extend(other.failures);
    }

    /// One hash of all, whatever the order in which they ran.
    pub fn hash(&self) -> u64 {
        self.hashes.values().fold(0, |all, one| xxh3_64_with_seed(&one.to_le_bytes(), all))
    }

    /// Whether everything held and something was run.
    pub fn is_clean(&self) -> bool {
        self.failures.is_empty() && !self.hashes.is_empty()
    }

    /// The one object of `--json`. `again` writes the command that repeats a run.
    pub fn json(
        &self,
        command: &str,
        cpu: f64,
        again: &dyn Fn(RunId) -> String,
        out: Option<&Path>,
    ) -> Value {
        let failures = self.failures.iter();
        let failures: Vec<Value> =
            failures.map(|(run, outcome)| self.failure_json(outcome, again(*run), out)).collect();
        let virtual_seconds = self.virtual_us as f64 / 1e6;
        let faults: BTreeMap<_, _> = self.faults.all().collect();
        let levels = Level::ALL.map(|level| (level.name(), self.faults.total(level)));
        let levels: BTreeMap<&str, u64> = levels.into_iter().collect();
        let rare: Vec<&str> =
            Level::ALL.into_iter().flat_map(|level| self.faults.rare(level)).collect();
        json!({
            "format": 1, "command": command, "build": crate::build(), "seeds": self.hashes.len(),
            "first_seed": self.hashes.keys().next().map(|(seed, _)| seed), "failures": failures,
            "virtual_seconds": virtual_seconds, "cpu_seconds": cpu,
            "compression": ratio(virtual_seconds, cpu), "events": self.events,
            "events_per_cpu_second": ratio(self.events as f64, cpu).round(),
            "messages_per_commit": Value::Null, "faults": faults, "faults_by_level": levels,
            "faults_rare": rare,
            "invariants": invariants_json(&self.ledger),
            "histories": {"checked": 0, "undecided": 0},
            "pool_calls": {
                "sent": self.calls.sent, "tries": self.calls.tries, "refused": self.calls.refused,
                "cooling_while_another_could_serve": self.calls.cooling,
            },
            "marks": self.marks.json(),
            "trace_hash": hex(self.hash()),
        })
    }

    fn failure_json(&self, outcome: &Outcome, again: String, out: Option<&Path>) -> Value {
        let Some(failure) = &outcome.failure else { return Value::Null };
        let place = |name: &str| out.map(|out| leave::left_in(out, outcome.seed).join(name));
        let shrunk = place("small.scn").filter(|_| self.shrunk.contains(&outcome.seed));
        json!({
            "seed": outcome.seed, "kind": failure.kind.name(), "id": failure.id, "at_us": failure.at,
            "event": failure.event,
            "node": failure.machine.map(|machine| crate::settings::node_id(machine).to_string()),
            "message": failure.message, "command": again, "plan": place("plan.scn"),
            "shrunk": shrunk, "trace": place("trace.jsonl"),
        })
    }
}

fn ratio(left: f64, right: f64) -> f64 {
    if right > 0.0 { (left / right * 10.0).round() / 10.0 } else { 0.0 }
}

/// Every invariant with its counts, zeros included.
pub fn invariants_json(ledger: &Ledger) -> Value {
    let rows = TABLE.iter().enumerate().map(|(index, row)| {
        let (evaluated, failed) = ledger.counts(index);
        let value = json!({"evaluated": evaluated, "failed": failed, "when": row.when.name()});
        (row.id.to_owned(), value)
    });
    Value::Object(rows.collect())
}

/// Runs `seeds` (half open) on `jobs` threads, telling `heard` of each run.
pub fn swarm(
    plans: &dyn Plans,
    backend: Backend,
    seeds: (u64, u64),
    jobs: usize,
    heard: &(dyn Fn(&Outcome) + Sync),
) -> Summary {
    let next = AtomicU64::new(seeds.0);
    let all = Mutex::new(Summary::default());
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                let mut mine = Summary::default();
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.1 {
                        break;
                    }
                    let plan = plans.of(seed);
                    let options = Options { backend, ..Options::default() };
                    let outcome = run::run(&plan, seed, &options);
                    heard(&outcome);
                    mine.add(outcome);
                }
                all.lock().expect("no thread of a swarm panics with the summary").join(mine);
            });
        }
    });
    all.into_inner().expect("no thread of a swarm panics with the summary")
}

/// Processor seconds of this process so far; for reports alone.
pub fn cpu_seconds() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    #[expect(unsafe_code, reason = "the only clock of processor time there is")]
    // SAFETY: `time` is a valid place for the answer, and the clock exists on every system we build for.
    let told = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    if told == 0 { time.tv_sec as f64 + time.tv_nsec as f64 / 1e9 } else { 0.0 }
}

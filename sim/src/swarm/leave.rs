//! What failing seeds leave behind: a plan to keep, a small one to understand, a trace and a page to look at.
//!
//! The first seed of each broken promise is made small, a bounded number of them and for a bounded time: a
//! swarm in which everything fails must end as well.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::Plans;
use crate::plan::Plan;
use crate::run::{self, Options, Outcome};
use crate::shrink::{self, Budget};
use crate::verdict::Failure;

/// Failures that are made small, each of another kind.
const SHRINKS_MAX: usize = 8;
/// The longest that one of them takes.
const SHRINK_TIME: Duration = Duration::from_secs(60);
/// The longest that all of them take.
const SHRINKS_TIME: Duration = Duration::from_secs(240);
/// Failures that leave a trace. The others leave their plan, from which a trace follows.
const TRACES_MAX: usize = 32;

/// Where a failing seed leaves what it has to show.
pub fn left_in(out: &Path, seed: u64) -> PathBuf {
    out.join(seed.to_string())
}

/// Leaves what `failures` have to show in `out`; the seeds of those that were made small.
pub fn leave(
    out: &Path,
    plans: &dyn Plans,
    failures: &BTreeMap<u64, Outcome>,
    jobs: usize,
) -> std::io::Result<BTreeSet<u64>> {
    for (place, seed) in failures.keys().enumerate() {
        let folder = left_in(out, *seed);
        std::fs::create_dir_all(&folder)?;
        let plan = named(plans.of(*seed), &folder.join("plan.scn"));
        std::fs::write(folder.join("plan.scn"), plan.to_string())?;
        if place < TRACES_MAX {
            let trace = Some(folder.join("trace.jsonl"));
            run::run(&plan, *seed, &Options { trace, ..Options::default() });
        }
    }
    let chosen: Vec<u64> = kinds(failures).into_values().take(SHRINKS_MAX).collect();
    let (queue, small) = (Mutex::new(chosen), Mutex::new(BTreeSet::new()));
    let end = Instant::now() + SHRINKS_TIME;
    let results: Mutex<std::io::Result<()>> = Mutex::new(Ok(()));
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                while let Some(seed) = queue.lock().expect("nobody panics with it").pop() {
                    let time = SHRINK_TIME.min(end.saturating_duration_since(Instant::now()));
                    match shrink_one(out, plans, seed, time) {
                        Ok(true) => {
                            small.lock().expect("nobody panics with it").insert(seed);
                        }
                        Ok(false) => {}
                        Err(error) => {
                            *results.lock().expect("nobody panics with it") = Err(error);
                        }
                    }
                }
            });
        }
    });
    results.into_inner().expect("nobody panics with it")?;
    Ok(small.into_inner().expect("nobody panics with it"))
}

/// The first seed of each broken promise.
fn kinds(failures: &BTreeMap<u64, Outcome>) -> BTreeMap<(&'static str, String), u64> {
    let mut kinds = BTreeMap::new();
    for (seed, outcome) in failures {
        if let Some(Failure { kind, id, .. }) = &outcome.failure {
            kinds.entry((kind.name(), id.clone())).or_insert(*seed);
        }
    }
    kinds
}

fn shrink_one(out: &Path, plans: &dyn Plans, seed: u64, time: Duration) -> std::io::Result<bool> {
    let budget = Budget { time, ..Budget::default() };
    let Some(shrunk) = shrink::shrink(&plans.of(seed), seed, budget) else { return Ok(false) };
    let path = left_in(out, seed).join("small.scn");
    let plan = named(shrunk.plan, &path);
    std::fs::write(path, plan.to_string())?;
    Ok(true)
}

/// The plan under the name of the place where it lies.
fn named(plan: Plan, path: &Path) -> Plan {
    Plan { name: shrink::name_of(path), ..plan }
}

//! What failing seeds leave behind: a plan to keep, a small one to understand, a trace and a page to look at.
//!
//! The first seed of each broken promise is made small, a bounded number of them and for a bounded time: a
//! swarm in which everything fails must end as well.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::{Plans, RunId};
use crate::backend::Backend;
use crate::plan::Plan;
use crate::run::{self, Options, Outcome};
use crate::shrink::{self, Budget};
use crate::verdict::Failure;
use crate::view;

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

/// Leaves what `failures` have to show in `out`; the seeds of those that were made small. Only the direct backend runs
/// fast enough to make anything small.
pub fn leave(
    out: &Path,
    plans: &dyn Plans,
    backend: Backend,
    failures: &BTreeMap<RunId, Outcome>,
    jobs: usize,
) -> std::io::Result<BTreeSet<u64>> {
    for (place, (seed, _)) in failures.keys().enumerate() {
        let folder = left_in(out, *seed);
        std::fs::create_dir_all(&folder)?;
        let plan = named(plans.of(*seed), &folder.join("plan.scn"));
        std::fs::write(folder.join("plan.scn"), plan.to_string())?;
        if place < TRACES_MAX {
            let trace = Some(folder.join("trace.jsonl"));
            run::run(&plan, *seed, &Options { trace, backend, ..Options::default() });
        }
    }
    if backend != Backend::Direct {
        return Ok(BTreeSet::new());
    }
    let chosen = kinds(failures).into_values().take(SHRINKS_MAX).collect();
    let queue: Mutex<Vec<u64>> = Mutex::new(chosen);
    let end = Instant::now() + SHRINKS_TIME;
    let shrink = || {
        let mut small = BTreeSet::new();
        while let Some(seed) = take(&queue) {
            let time = SHRINK_TIME.min(end.saturating_duration_since(Instant::now()));
            if shrink_one(out, plans, seed, time)? {
                small.insert(seed);
            }
        }
        Ok(small)
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..jobs.max(1)).map(|_| scope.spawn(shrink)).collect();
        let ended =
            threads.into_iter().map(|one| one.join().expect("a panic in a run is a verdict"));
        let all: std::io::Result<Vec<BTreeSet<u64>>> = ended.collect();
        Ok(all?.into_iter().flatten().collect())
    })
}

fn take(queue: &Mutex<Vec<u64>>) -> Option<u64> {
    queue.lock().expect("nobody panics with it").pop()
}

/// The first seed of each broken promise.
fn kinds(failures: &BTreeMap<RunId, Outcome>) -> BTreeMap<(&'static str, String), u64> {
    let mut kinds = BTreeMap::new();
    for ((seed, _), outcome) in failures {
        if let Some(Failure { kind, id, .. }) = &outcome.failure {
            kinds.entry((kind.name(), id.clone())).or_insert(*seed);
        }
    }
    kinds
}

/// Leaves the small plan of a seed, and the page of it.
fn shrink_one(out: &Path, plans: &dyn Plans, seed: u64, time: Duration) -> std::io::Result<bool> {
    let budget = Budget { time, ..Budget::default() };
    let Some(shrunk) = shrink::shrink(&plans.of(seed), seed, budget) else { return Ok(false) };
    let folder = left_in(out, seed);
    let path = folder.join("small.scn");
    let plan = named(shrunk.plan, &path);
    std::fs::write(&path, plan.to_string())?;
    let command = format!("quorate-sim scenario {}", path.display());
    let page = view::look(&plan, shrunk.seed, &command).html();
    std::fs::write(folder.join("view.html"), page)?;
    Ok(true)
}

/// The plan under the name of the place where it lies.
fn named(plan: Plan, path: &Path) -> Plan {
    Plan { name: shrink::name_of(path), ..plan }
}

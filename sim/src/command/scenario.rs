//! `scenario`: files, and what came of each.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use quorate_sim::backend::{Backend, reach};
use quorate_sim::plan::Plan;
use quorate_sim::run::Outcome;
use quorate_sim::swarm::{self, Summary};
use quorate_sim::trace::hex;

use super::{Refused, files, named_as_it_lies, read, say};

/// Runs a file, or every file of a folder.
pub(super) fn run(
    path: &Path,
    seeds: Option<(u64, u64)>,
    (jobs, backend): (usize, Backend),
    json: bool,
) -> Result<bool, Refused> {
    let mut plans = Vec::new();
    for file in files(path)? {
        let plan = read(&file)?;
        named_as_it_lies(&file, &plan)?;
        plans.push((file, plan));
    }
    let (plans, left_out) = within_reach(plans, backend)?;
    let mut all = Summary::default();
    let mut clean = true;
    let mut commands = BTreeMap::new();
    let mut heard = |place: usize, (file, plan): &(PathBuf, Plan), one: Summary| {
        clean &= one.is_clean();
        if !json {
            say(&line(plan, &one));
        }
        let one = one.of_plan(place);
        for run in one.failures.keys() {
            commands.insert(*run, again(file, backend, run.0));
        }
        all.join(one);
    };
    let one = |(_, plan): &(PathBuf, Plan), jobs| {
        let seeds = seeds.unwrap_or_else(|| own_seeds(plan, backend));
        swarm::swarm(plan, backend, seeds, jobs, &|_: &Outcome| {})
    };
    if backend == Backend::Direct {
        plans.iter().enumerate().for_each(|(place, file)| heard(place, file, one(file, jobs)));
    } else {
        // Few seeds of many files: whole files run beside each other.
        let ran = beside(&plans, jobs, &|file| one(file, 1));
        let ran = plans.iter().zip(ran).enumerate();
        ran.for_each(|(place, (file, one))| heard(place, file, one));
    }
    if json {
        let again = |run| commands.get(&run).cloned().unwrap_or_default();
        say(&all.json("scenario", swarm::cpu_seconds(), &again, None).to_string());
    } else if backend != Backend::Direct {
        left_out.iter().for_each(|line| say(line));
        let (ran, name) = (plans.len(), backend.name());
        let (virtual_s, cpu) = (all.virtual_us as f64 / 1e6, swarm::cpu_seconds());
        say(&format!(
            "{ran} scenarios ran on {name}, {} are beyond it; {virtual_s:.0} virtual seconds in \
             {cpu:.1} CPU seconds ({:.0} to 1)",
            left_out.len(),
            virtual_s / cpu,
        ));
    }
    Ok(clean && !plans.is_empty())
}

type Files = Vec<(PathBuf, Plan)>;

/// What `one` makes of each file, in their order, on so many threads.
fn beside(
    files: &Files,
    jobs: usize,
    one: &(dyn Fn(&(PathBuf, Plan)) -> Summary + Sync),
) -> Vec<Summary> {
    let next = AtomicUsize::new(0);
    let done: Mutex<BTreeMap<usize, Summary>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                while let Some((place, file)) = take(files, &next) {
                    let summary = one(file);
                    done.lock().expect("nobody panics with it").insert(place, summary);
                }
            });
        }
    });
    done.into_inner().expect("nobody panics with it").into_values().collect()
}

fn take<'a>(files: &'a Files, next: &AtomicUsize) -> Option<(usize, &'a (PathBuf, Plan))> {
    let place = next.fetch_add(1, Ordering::Relaxed);
    files.get(place).map(|file| (place, file))
}

/// The files that `backend` can run, and a line for each that it cannot.
fn within_reach(plans: Files, backend: Backend) -> Result<(Files, Vec<String>), Refused> {
    if backend == Backend::Direct {
        return Ok((plans, Vec::new()));
    }
    let (mut kept, mut left_out) = (Vec::new(), Vec::new());
    for (file, plan) in plans {
        let shown = file.display();
        let text = std::fs::read_to_string(&file).map_err(|error| format!("{shown}: {error}"))?;
        match reach::refused(&plan, &text) {
            Some((at, why)) => {
                left_out.push(format!("{shown}:{at}: not on {}: {why}", backend.name()))
            }
            None => kept.push((file, plan)),
        }
    }
    Ok((kept, left_out))
}

/// The seeds that a file names. Whoever runs real shells runs the first: the story is the same.
fn own_seeds(plan: &Plan, backend: Backend) -> (u64, u64) {
    let (first, last) = plan.seeds.unwrap_or((1, 1));
    if backend == Backend::Direct { (first, last + 1) } else { (first, first + 1) }
}

fn again(file: &Path, backend: Backend, seed: u64) -> String {
    let mut command =
        format!("quorate-sim scenario {} --seeds {seed}..{}", file.display(), seed + 1);
    if backend != Backend::Direct {
        command.push_str(" --backend ");
        command.push_str(backend.name());
    }
    command
}

fn line(plan: &Plan, summary: &Summary) -> String {
    let seeds = summary.hashes.len();
    let mut line = format!("{} {seeds} seeds hash {}", plan.name, hex(summary.hash()));
    line.push_str(if summary.is_clean() { " ok" } else { " FAILED" });
    for outcome in summary.failures.values() {
        line.push_str("\n    ");
        line.push_str(&outcome.line());
    }
    line
}

//! The shell holds over madsim what every scenario promises that a shell can express, and a seed fixes the run.
//!
//! `MADSIM_TEST_SEED` is the first seed of what is run twice (1), `MADSIM_TEST_NUM` how many there are (1).
#![cfg(madsim)]

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use quorate_madsim::shells;
use quorate_sim::backend::{Host, reach};
use quorate_sim::plan::{Plan, text};
use quorate_sim::run::{Options, Outcome, run_on};

/// What is run twice. The shell has a part in these: founding, cuts, crashes with their disks, writes that must be
/// found again.
const TWICE: [&str; 6] = [
    "kv/one_story",
    "links/half_a_batch",
    "membership/crash_is_known",
    "raft/isolated_voter_returns",
    "raft/power_lost_everywhere",
    "replica/disk_lost",
];

fn number(name: &str) -> u64 {
    let said = std::env::var(name).ok();
    said.map_or(1, |text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/scenarios")
}

/// The plan of a file, unless it asks for what no shell can do.
fn plan(path: &Path) -> Option<Plan> {
    let text = std::fs::read_to_string(path).expect("a readable scenario");
    let plan = text::parse(&path.display().to_string(), &text).expect("a scenario");
    reach::refused(&plan, &text).is_none().then_some(plan)
}

fn run(plan: &Plan, seed: u64) -> Outcome {
    let options = Options::default();
    run_on(plan, seed, &options, |world, seed| Some(Box::new(shells(world, seed)) as Box<dyn Host>))
}

#[test]
fn a_seed_fixes_the_run() {
    let first = number("MADSIM_TEST_SEED");
    for name in TWICE {
        let plan = plan(&folder().join(format!("{name}.scn")));
        let plan = plan.unwrap_or_else(|| panic!("{name} asks for what no shell can do"));
        for seed in first..first + number("MADSIM_TEST_NUM") {
            let (once, again) = (run(&plan, seed), run(&plan, seed));
            assert!(once.failure.is_none(), "{name}: {}", once.line());
            assert_eq!(once.line(), again.line(), "{name}");
        }
    }
}

#[test]
fn every_scenario_that_a_shell_can_express_holds() {
    let entries = |folder: &Path| {
        let entries = std::fs::read_dir(folder).expect("a folder of scenarios");
        entries.map(|entry| entry.expect("a readable entry").path()).collect::<Vec<_>>()
    };
    let files = entries(&folder()).into_iter().flat_map(|domain| entries(&domain));
    let plans: Vec<Plan> = files.filter_map(|path| plan(&path)).collect();
    assert!(plans.len() > TWICE.len(), "{} can be expressed", plans.len());
    let (waiting, failed) = (Mutex::new(plans.iter()), Mutex::new(Vec::new()));
    let work = || {
        while let Some(plan) = { waiting.lock().expect("nobody panics with it").next() } {
            let outcome = run(plan, plan.seeds.map_or(1, |(first, _)| first));
            if outcome.failure.is_some() {
                let line = format!("{}: {}", plan.name, outcome.line());
                failed.lock().expect("nobody panics with it").push(line);
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    let failed = failed.into_inner().expect("nobody panics with it");
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

//! The daemon's own shell holds the promises of scenarios in a simulated network, over a store on a simulated disk.
//!
//! Those that are run here were chosen for what the shell has a part in: frames in pieces, connections that break,
//! disks that lose what was not synced, clocks that it reads, ends and starts. Each is run twice, and its seed fixes
//! the run. All that a shell can express:
//! `cargo run --release --package quorate-sim --features turmoil -- scenario tests/scenarios --backend turmoil`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use quorate_sim::backend::{Backend, reach};
use quorate_sim::plan::{Plan, text};
use quorate_sim::run::{Options, Outcome, run};

/// What is run here, one after the other.
const RUN: [&str; 6] = [
    "kv/one_story",
    "links/half_a_batch",
    "pools/clocks_apart",
    "raft/power_lost_everywhere",
    "replica/disk_lost",
    "workers/answered_then_crashed",
];

/// What no shell can be told to do, and why.
const BEYOND: [(&str, &str); 10] = [
    ("links/said_too_late", "`L-5`: a shell hands its node nothing of a connection that is over"),
    ("links/strangers", "`lie`: a shell does not lie"),
    ("membership/a_peer_that_lies", "`lie`: a shell does not lie"),
    ("membership/new_address", "`restart`: a machine of that network keeps its address"),
    ("node/rolling_upgrade", "`wire`: there is one build of the shell"),
    ("raft/one_bit_on_two_of_five", "`disk_bit`: the disk of sectors flips none"),
    ("replica/away_ten_times_the_grace", "`restart`: a machine of that network keeps its address"),
    ("replica/owner_restarts", "`restart`: a machine of that network keeps its address"),
    ("workers/half_registered", "`crash`: a shell performs a turn whole"),
    ("workers/spec_across_versions", "`wire`: there is one build of the shell"),
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios")
}

/// Every scenario by its name, with its text.
fn scenarios() -> BTreeMap<String, (Plan, String)> {
    let entries = |folder: &Path| {
        let entries = std::fs::read_dir(folder).expect("a folder of scenarios");
        entries.map(|entry| entry.expect("a readable entry").path()).collect::<Vec<_>>()
    };
    let files = entries(&folder()).into_iter().flat_map(|domain| entries(&domain));
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).expect("a readable scenario");
        let plan = text::parse(&path.display().to_string(), &text).expect("a scenario");
        (plan.name.clone(), (plan, text))
    };
    files.map(read).collect()
}

fn on_turmoil(plan: &Plan) -> Outcome {
    let (seed, _) = plan.seeds.unwrap_or((1, 1));
    run(plan, seed, &Options { backend: Backend::Turmoil, ..Options::default() })
}

#[test]
fn the_shell_holds_its_promises_over_turmoil() {
    let scenarios = scenarios();
    for name in RUN {
        let (plan, text) = scenarios.get(name).expect("a scenario of the folder");
        assert_eq!(reach::refused(plan, text), None, "{name}");
        let (once, again) = std::thread::scope(|scope| {
            let once = scope.spawn(|| on_turmoil(plan));
            let again = on_turmoil(plan);
            (once.join().expect("a run that fails is told, and does not panic"), again)
        });
        assert!(once.failure.is_none(), "{name}: {}", once.line());
        assert_eq!(once.line(), again.line(), "{name}: a seed fixes the run");
    }
}

#[test]
fn what_is_beyond_a_shell_is_known_with_its_reason() {
    let refused: Vec<(String, String)> = scenarios()
        .into_iter()
        .filter_map(|(name, (plan, text))| Some((name, reach::refused(&plan, &text)?.1)))
        .collect();
    let refused: Vec<_> = refused.iter().map(|(name, why)| (name.as_str(), why.as_str())).collect();
    assert_eq!(refused, BEYOND);
}

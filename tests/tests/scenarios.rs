//! Every scenario of `tests/scenarios/` holds, with the seeds that it names.
//!
//! Simulated clusters want optimised code: the simulator is built for speed, once. What it tells of the runs stays as
//! `sim/scenarios.json` in the target folder, for whoever counts what was reached.

use std::path::Path;
use std::process::Command;

use quorate_tests::node::{reports, simulator};
use serde_json::Value;

#[test]
fn every_scenario_holds() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let mut simulator = Command::new(simulator());
    let run = simulator.arg("scenario").arg(&folder).arg("--json").output();
    let run = run.expect("the simulator runs");
    let told = String::from_utf8_lossy(&run.stdout).into_owned();
    let words = String::from_utf8_lossy(&run.stderr).into_owned();
    assert!(run.status.success(), "{told}\n{words}");
    std::fs::write(reports().join("scenarios.json"), &told).expect("our own folder");
    let report: Value = serde_json::from_str(&told).expect("a report");
    let files = scenarios(&folder);
    assert!(files > 20, "{files} files");
    let seeds = report.get("seeds").and_then(Value::as_u64);
    assert!(seeds >= Some(files), "{seeds:?} runs of {files} files");
}

/// How many scenarios are under a folder.
fn scenarios(folder: &Path) -> u64 {
    let entries =
        std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("a file").path());
    entries
        .map(|path| match path.extension() {
            _ if path.is_dir() => scenarios(&path),
            Some(end) if end == "scn" => 1,
            _ => 0,
        })
        .sum()
}

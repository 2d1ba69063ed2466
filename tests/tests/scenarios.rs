//! Every scenario of `tests/scenarios/` holds, with the seeds that it names.
//!
//! Simulated clusters want optimised code: the simulator is built for speed, once.

use std::path::Path;
use std::process::Command;

use quorate_tests::node::simulator;

#[test]
fn every_scenario_holds() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let mut simulator = Command::new(simulator());
    let run = simulator.arg("scenario").arg(folder).output().expect("the simulator runs");
    let told = String::from_utf8_lossy(&run.stdout).into_owned();
    let words = String::from_utf8_lossy(&run.stderr).into_owned();
    assert!(run.status.success(), "{told}\n{words}");
    assert!(told.lines().count() > 20, "a line for every file:\n{told}");
}

//! A seed fixes its trace: the same in a debug and in an optimised build, and until a machine behaves differently (D-1).
//!
//! `tests/golden/traces.txt` holds a hash per seed. A change of behaviour changes them, and says so in its diff;
//! `UPDATE_EXPECT=1 cargo test` writes them anew. A change that only tidies must leave them as they are.

use std::path::Path;
use std::process::Command;

use quorate_sim::plan::draw;
use quorate_sim::run::{Options, run};
use quorate_tests::node::simulator;

const SEEDS: std::ops::Range<u64> = 1..9;
const SECONDS: u64 = 10;

/// The line that `quorate-sim run` prints for `seed`, from this build.
fn here(seed: u64) -> String {
    let world = draw::World { seconds: Some(SECONDS), ..draw::World::default() };
    run(&draw::plan(seed, &world), seed, &Options::default()).line()
}

/// The same line from the optimised build.
fn optimised(seed: u64) -> String {
    let run = Command::new(simulator())
        .args(["run", "--seed", &seed.to_string(), "--time", &SECONDS.to_string()])
        .output()
        .expect("the simulator runs");
    String::from_utf8_lossy(&run.stdout).trim_end().to_owned()
}

#[test]
fn a_seed_has_one_trace_however_it_is_built() {
    let lines: Vec<String> = SEEDS.map(here).collect();
    for (seed, line) in SEEDS.zip(&lines) {
        assert_eq!(*line, optimised(seed), "debug and optimised part at seed {seed}");
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/traces.txt");
    let found = lines.join("\n") + "\n";
    if std::env::var("UPDATE_EXPECT").is_ok_and(|value| value == "1") {
        std::fs::write(&path, &found).expect("the golden file can be written");
    }
    let expected = std::fs::read_to_string(&path).expect("tests/golden/traces.txt");
    assert_eq!(found, expected, "behaviour changed: UPDATE_EXPECT=1 writes the hashes anew");
}

//! What must stay true, across the crates: the harness for real processes on loopback.
//!
//! Waiting is always for a condition with a generous deadline; no test asserts how long anything took.

pub mod backend;
pub mod browser;
pub mod dev;
pub mod http;
pub mod hunt;
pub mod namespaces;
pub mod node;
pub mod provider;

use std::io::Write as _;
use std::time::{Duration, Instant};

/// How long any condition may take to come true on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Says that `what` is not tested here, and why. Not by a macro: what those print is not shown where a test passes.
pub fn not_tested(what: &str, why: &str) {
    writeln!(std::io::stderr(), "NOT TESTED: {what}: {why}").expect("somebody reads");
}

/// The median, the worst of ten and of a hundred, and the worst of all that was measured.
pub fn spread(mut took: Vec<Duration>) -> String {
    took.sort_unstable();
    let at = |percent: usize| {
        let place = (took.len() * percent).div_ceil(100).saturating_sub(1);
        took.get(place).copied().unwrap_or_default()
    };
    let [p50, p90, p99, most] = [50, 90, 99, 100].map(at);
    format!("{} times: p50 {p50:?}, p90 {p90:?}, p99 {p99:?}, max {most:?}", took.len())
}

/// Waits until `condition` gives a value; the panic names what was waited for and the last `state`.
#[track_caller]
pub fn eventually<T>(what: &str, mut condition: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match condition() {
            Ok(value) => return value,
            Err(state) if Instant::now() > deadline => {
                panic!("{what} did not come true within {PATIENCE:?}; last: {state}")
            }
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

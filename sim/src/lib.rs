//! What could happen: the same node in a false world.
//!
//! ```text
//!   plan ──▶ run ──▶ world ──▶ node (the real one)
//!                      │  ▲
//!                      ▼  │  network, clocks, disks, outside
//!                    trace, invariants ──▶ verdict ──▶ swarm ──▶ shrink
//! ```
//!
//! A node is a function of its inputs, so a whole cluster is a function of a seed. [`world`] holds the
//! machines and what is between them, [`plan`] says what goes wrong, [`run`] leads through the phases,
//! [`invariants`] hold what must be true, [`swarm`] runs many seeds, [`shrink`] makes a failing plan small,
//! [`replay`] does it again, [`view`] shows it.
//!
//! Absent on purpose: real sleeping, mocks of our own machines, retries of a failed run, any list of known
//! failures that are tolerated.

pub mod backend;
#[cfg(feature = "canary")]
pub mod canaries;
pub mod clock;
pub mod disk;
pub mod folder;
pub mod history;
pub mod invariants;
pub mod marks;
pub mod net;
pub mod outside;
pub mod plan;
pub mod replay;
pub mod run;
pub mod settings;
pub mod shrink;
pub mod subject;
pub mod surfaces;
pub mod swarm;
pub mod trace;
pub mod verdict;
pub mod view;
pub mod world;

/// What this build is called in reports.
pub fn build() -> String {
    let commit = option_env!("QUORATE_COMMIT").unwrap_or("unknown");
    format!("{}+{commit}", env!("CARGO_PKG_VERSION"))
}

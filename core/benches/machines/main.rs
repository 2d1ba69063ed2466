//! How fast the machines are, beside the goals of their specifications: `docs/BENCHMARKS.md`.
//!
//! Absent on purpose: thresholds. A shared machine would fail them at random; the table is read by people.

mod answers;
mod fixtures;
mod gossip;
mod keys;
mod membership;
mod node;
mod picks;
mod pools;
mod replica;

fn main() {
    divan::main();
}

//! What nobody would write: decoders and machines against arbitrary bytes.
//!
//! Each target has a *bytes* form, which takes any input as it would come from a socket, and a *typed*
//! form, which builds well-formed values out of the input: a byte fuzzer alone does not get past a
//! length field. Both are plain functions that panic when a law is broken, so any engine can drive them;
//! [`TARGETS`] lists them all.
//!
//! `cargo test -p quorate-fuzz` replays `fuzz/corpus/<target>/` and `fuzz/regress/<target>/`, damages
//! every seed of a codec in every bit, and runs a few hundred inputs. The gate searches for longer:
//! `cargo run --release -p quorate-fuzz -- --seconds 20`. A coverage-guided search is optional:
//! `cargo bolero test <target>::tests::bytes --corpus-dir fuzz/corpus/<target>`.
//!
//! Absent on purpose: test targets outside this library, which engines would fail to link.

pub mod answer;
pub mod datagram;
pub mod entry;
pub mod frame;
pub mod material;
pub mod node;
pub mod owner_map;
pub mod request;
pub mod scenario;
pub mod schedule;
pub mod search;
pub mod trace;

#[cfg(test)]
mod heap;
mod replay;

use search::Target;

/// Everything that is searched, in order of name.
pub const TARGETS: &[Target] = &[
    Target { name: "answer", few: 2000, bytes_max: 4096, check: answer::bytes },
    Target {
        name: "datagram",
        few: 500,
        bytes_max: 2048,
        check: |input| {
            datagram::bytes(input);
            datagram::typed(input);
        },
    },
    Target {
        name: "entry",
        few: 500,
        bytes_max: 4096,
        check: |input| {
            entry::bytes(input);
            entry::typed(input);
        },
    },
    Target {
        name: "frame",
        few: 500,
        bytes_max: 4096,
        check: |input| {
            frame::bytes(input);
            frame::typed(input);
        },
    },
    Target { name: "node", few: 300, bytes_max: 1024, check: node::typed },
    Target { name: "owner_map", few: 200, bytes_max: 1024, check: owner_map::typed },
    Target { name: "request", few: 2000, bytes_max: 4096, check: request::bytes },
    Target { name: "scenario", few: 2000, bytes_max: 4096, check: scenario::bytes },
    Target { name: "schedule", few: 20, bytes_max: 96, check: schedule::bytes },
    Target { name: "trace", few: 2000, bytes_max: 4096, check: trace::bytes },
];

//! What nobody would write: decoders and machines against arbitrary bytes.
//!
//! Each target has a *bytes* form, which takes any input as it would come from a socket, and a *typed*
//! form, which builds well-formed values out of the input: a byte fuzzer alone does not get past a
//! length field. Both are plain functions that panic when a law is broken, so any engine can drive them.
//!
//! `cargo test -p quorate-fuzz` replays `fuzz/corpus/<target>/` and `fuzz/regress/<target>/`, damages
//! every seed of a codec in every bit, and runs a few hundred inputs. The gate searches for longer:
//! `QUORATE_FUZZ_SECONDS=20 cargo test --release -p quorate-fuzz search -- --nocapture`. A
//! coverage-guided search is optional:
//! `cargo bolero test <target>::tests::bytes --corpus-dir fuzz/corpus/<target>`.
//!
//! Absent on purpose: test targets outside this library, which engines would fail to link.

pub mod datagram;
pub mod entry;
pub mod frame;
pub mod material;
pub mod node;
pub mod owner_map;
pub mod request;
pub mod scenario;
pub mod schedule;
pub mod trace;

#[cfg(test)]
mod heap;
#[cfg(test)]
mod replay;
#[cfg(test)]
mod search;

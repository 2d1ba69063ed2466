//! What nobody would write: decoders and machines against arbitrary bytes.
//!
//! Each target has a *bytes* form, which takes any input as it would come from a socket, and a *typed*
//! form, which builds well-formed values out of the input: a byte fuzzer alone does not get past a
//! length field. Both are plain functions that panic when a law is broken, so any engine can drive them.
//!
//! `cargo test -p quorate-fuzz` replays `fuzz/corpus/<target>/` and `fuzz/regress/<target>/`, damages
//! every seed in every bit, and runs a bounded number of random inputs. A coverage-guided search is
//! optional: `cargo bolero test <target>::tests::bytes --corpus-dir fuzz/corpus/<target>`.
//!
//! Absent on purpose: test targets outside this library, which engines would fail to link.

pub mod datagram;
pub mod entry;
pub mod frame;
pub mod material;

#[cfg(test)]
mod heap;
#[cfg(test)]
mod replay;

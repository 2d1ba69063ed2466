//! Scripts for every row of the tables, laws against a simple model, and codecs on any bytes.

#![expect(
    clippy::wildcard_enum_match_arm,
    clippy::cast_possible_truncation,
    reason = "scripts and models read the few answers that they made, with small numbers"
)]

mod anything;
mod harness;
mod keys;
mod leases;
mod locks;
mod model;
mod outside;
mod watches;

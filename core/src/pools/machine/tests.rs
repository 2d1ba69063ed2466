//! What pools promise, as scripts.

mod edges;
mod harness;
mod ladder;
mod leases;
mod operators;
mod sharing;

use harness::PoolScript;

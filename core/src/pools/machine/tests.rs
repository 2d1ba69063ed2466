//! What pools promise, as scripts.

mod alone;
mod edges;
mod fleet;
mod harness;
mod ladder;
mod lanes;
mod leases;
mod operators;
mod sharing;

use harness::PoolScript;

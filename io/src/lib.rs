//! What is done: the shell that performs a node's effects, its surfaces and its command line.
//!
//! Nothing here decides anything about the protocols: whatever needs a test about *what* to do lives in
//! `quorate-core`.

pub mod access;
pub mod audit;
pub mod authority;
pub mod cli;
pub mod clock;
pub mod config;
mod datagrams;
pub mod encoding;
pub mod gateway;
pub mod handle;
pub mod health;
pub mod http;
pub mod log;
pub mod metrics;
pub mod net;
mod outside;
mod peers;
mod perform;
mod pools;
mod probe;
pub mod record;
mod resolve;
pub mod seal;
pub mod secure;
pub mod serve;
mod shell;
pub mod store;
pub mod threads;
pub mod traffic;
pub mod vault;

const _: () = assert!(
    !quorate_core::canary::BUILT,
    "a daemon is never built with the feature `canary`: it contains deliberate mistakes"
);

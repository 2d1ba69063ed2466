//! What is decided: every protocol of a Quorate node as a pure, deterministic state machine.
//!
//! Nothing here has a clock, a socket, a thread or an environment. A machine takes one input at one
//! instant and returns every consequence as data; `io` carries the consequences out in production,
//! `sim` in a false world. Start reading at [`node`], then follow one output in `node/route.rs`.
//!
//! The modules below stand in reading order: foundation, mechanisms, services, composition. A module
//! uses only groups above its own, those of the foundation also each other, and of those only their values.

#![forbid(unsafe_code)]

// Foundation: values and the contract.
#[macro_use]
pub mod canary;
mod fences;
pub mod ids;
pub mod limits;
pub mod machine;
#[macro_use]
pub mod mark;
pub mod random;
pub mod time;
pub mod wire;

// Mechanisms: how nodes reach each other.
pub mod gossip;
pub mod link;
pub mod membership;
pub mod raft;
pub mod replica;

// Services: what callers come for.
pub mod credentials;
pub mod kv;
pub mod pools;
pub mod workers;

// Composition: routes outputs to inputs.
pub mod node;

#[cfg(test)]
mod script;

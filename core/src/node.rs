//! One node: the machines of all domains, and what they say to each other.
//!
//! ```text
//!   host ── Input ──▶ Node::handle ──▶ machine ──▶ its outputs ──▶ route ──▶ machine … ──▶ Effect ──▶ host
//!                     Node::flush  ──▶ fresh gossip is pushed, snapshots are published
//! ```
//!
//! The host hands in inputs, at most [`limits::TURN_INPUTS_MAX`] a turn, calls [`Node::flush`] once, and
//! performs the effects in order. Between machines only data passes, in `node/route.rs`: every output of
//! one machine is an input of others or an effect, and a queue applies them in the order in which they
//! arose.
//!
//! Absent on purpose: protocol. A rule found here belongs into a machine.

mod contract;
mod publish;
pub mod settings;

pub use contract::{
    Announcement, Answer, Call, Effect, Image, Input, Keyspace, Reply, Request, Settings,
};
pub use publish::{Members, Published};

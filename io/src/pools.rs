//! What pools ask of the world besides upstreams: telling people, and resetting logins.
//!
//! Absent on purpose: decisions. Who tells, what is worth telling and when to reset is the node's.

pub(crate) mod chat;
pub(crate) mod definitions;
pub(crate) mod figures;
pub(crate) mod gauges;
pub(crate) mod notices;
mod post;
pub(crate) mod reset;
pub(crate) mod sinks;

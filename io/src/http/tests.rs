//! The surface, asked without sockets.

mod classify;
mod conventions;
mod description;
pub(crate) mod harness;
mod operators;
mod pools;
mod streams;
mod surfaces;

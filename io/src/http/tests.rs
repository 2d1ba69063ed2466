//! The surface, asked without sockets; the gateway, with them.

mod classify;
mod conventions;
mod description;
mod gateway;
pub(crate) mod harness;
mod operators;
mod pools;
mod store;
mod streams;
mod surfaces;
mod upstream;

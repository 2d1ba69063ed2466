//! The surface, asked without sockets.

mod classify;
mod conventions;
mod description;
mod harness;
mod streams;
mod surfaces;

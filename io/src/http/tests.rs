//! The surface, asked without sockets.

mod classify;
mod conventions;
mod description;
mod harness;
mod pools;
mod streams;
mod surfaces;

//! The surface, asked without sockets.

mod conventions;
mod description;
mod harness;
mod streams;
mod surfaces;

//! Who drives the nodes of a run.

pub mod direct;

//! Real shells over madsim: an executor that draws the order of tasks, and a network between them.
//!
//! A second opinion about what the turmoil backend sees: here whatever is ready runs in an order that the seed draws,
//! where turmoil's runtimes keep a queue. What links do is the world's
//! ([`quorate_sim::backend::shell::frayed`]), disks are the same, and so are plans and promises.
//!
//! Absent on purpose: madsim's drop-in for tokio. It is none ([`quorate::net::Net`] is the seam instead), and its
//! file system knows no loss of power.

#[cfg(not(madsim))]
compile_error!(
    "this package is built with `--cfg madsim`: run cargo in its folder, or with RUSTFLAGS='--cfg madsim'"
);

#[cfg(madsim)]
mod engine;
#[cfg(madsim)]
mod net;

#[cfg(madsim)]
pub use engine::{Madsim, shells};

//! Places that some run of the simulator must reach, and rare choices that it may force.
//!
//! A *mark* is put with `sometimes!("domain.what", condition)` at a refusal, a repair or a row of a decision
//! table: a set of runs that never reached it has not tested what stands there. A *point* is asked with
//! `sim_point!("domain.what")` where the code has a legal choice that it seldom makes (give up early, the
//! shortest batch): the simulator arms a quarter of them per run, and an armed one says yes to a quarter of
//! its questions. Both are empty without the feature `simulation`.
//!
//! Every name stands in [`names`]; one that does not is no mark, and the build says so. What was reached
//! and what is armed belongs to the thread, because one thread runs one seed: whoever drives a run takes
//! the hits of its own thread and nobody else's.
//!
//! Absent on purpose: state that a decision could see. A mark returns nothing, a point that nobody armed
//! says no.

pub mod names;

#[cfg(feature = "simulation")]
mod armed;
#[cfg(feature = "simulation")]
mod hits;

#[cfg(feature = "simulation")]
pub use armed::{Points, fires};
#[cfg(feature = "simulation")]
pub use hits::{Hits, reached};

/// Notes that a place was reached: `sometimes!("gossip.cut")`, or only when a condition holds.
#[cfg(feature = "simulation")]
#[macro_export]
macro_rules! sometimes {
    ($name:literal) => {
        $crate::sometimes!($name, true)
    };
    ($name:literal, $condition:expr) => {{
        const MARK: usize = $crate::mark::names::place($crate::mark::names::MARKS, $name);
        if $condition {
            $crate::mark::reached(MARK);
        }
    }};
}

/// Notes that a place was reached; empty in this build.
#[cfg(not(feature = "simulation"))]
#[macro_export]
macro_rules! sometimes {
    ($name:literal) => {{}};
    ($name:literal, $condition:expr) => {{
        if false {
            let _ = $condition;
        }
    }};
}

/// Whether the rare choice is made here: `if sim_point!("gossip.one_want") { … }`.
#[cfg(feature = "simulation")]
#[macro_export]
macro_rules! sim_point {
    ($name:literal) => {{
        const POINT: usize = $crate::mark::names::place($crate::mark::names::POINTS, $name);
        $crate::mark::fires(POINT)
    }};
}

/// Whether the rare choice is made here; never in this build.
#[cfg(not(feature = "simulation"))]
#[macro_export]
macro_rules! sim_point {
    ($name:literal) => {
        false
    };
}

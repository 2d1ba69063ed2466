//! What happened once, done again: a trace through the present binary.
//!
//! The inputs of a world follow from its plan and its seed, so a trace is compared, not fed: the first event
//! that differs is where this build and that one, or this machine and that one, part. A flight record holds the
//! inputs of one node of the real world: they are fed to a node made of the same settings, image and seed.
//!
//! Absent on purpose: tolerance. Another build may differ rightly, and is refused unless it is demanded.

mod record;

use std::path::Path;

use crate::run::{self, Options};
use crate::trace::Difference;
use crate::trace::read::{self, ReadError};
pub use record::{Flight, records};

/// Runs the plan of a trace again: the first event that differs. `force`: whatever build wrote it.
pub fn world(path: &Path, force: bool) -> Result<Option<Difference>, ReadError> {
    let (head, _) = read::open(path)?;
    let plan = read::plan_of(path, &head)?;
    let seed = head.seed.ok_or_else(|| ReadError::foreign(path, "its head names no seed"))?;
    same_build(path, &head.build, force)?;
    let compare = Some(path.to_owned());
    Ok(run::run(&plan, seed, &Options { compare, ..Options::default() }).difference)
}

fn same_build(path: &Path, build: &str, force: bool) -> Result<(), ReadError> {
    let own = crate::build();
    if force || build == own {
        return Ok(());
    }
    let what = format!(
        "build {build} wrote it and this is {own}, which may differ rightly; `--force` replays it"
    );
    Err(ReadError::foreign(path, what))
}

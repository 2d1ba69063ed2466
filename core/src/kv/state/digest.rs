//! One number for all that ever happened to a state: equal logs make equal numbers.
//!
//! Absent on purpose: the entries that changed nothing. Two states that differ only in those are one.

use serde::Serialize;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::super::command::{Bounds, LeaseId};
use super::super::name::Path;
use super::What;
use crate::wire::encode;

/// A chain of hashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Digest(u64);

impl Digest {
    /// The chain that a snapshot carried on.
    pub(super) fn resumed(value: u64) -> Digest {
        Digest(value)
    }

    pub(super) fn value(self) -> u64 {
        self.0
    }

    pub(super) fn change(&mut self, revision: u64, path: &Path, what: &What) {
        self.link(&(revision, path, what));
    }

    /// A lease lives until `deadline`; 0 says that it ended.
    pub(super) fn lease(&mut self, lease: LeaseId, deadline: u64) {
        self.link(&(lease, deadline));
    }

    pub(super) fn compaction(&mut self, revision: u64) {
        self.link(&revision);
    }

    pub(super) fn bounds(&mut self, bounds: &Bounds) {
        self.link(bounds);
    }

    fn link<T: Serialize>(&mut self, value: &T) {
        self.0 = xxh3_64_with_seed(&encode(value), self.0);
    }
}

//! How long keys live that are bound to a lease: KV-4.
//!
//! A deadline that any member shows is one that the lease had before its end, so its end, whose log time is in the
//! history, must not come before it. Which keys a lease holds is written down from the history alone.
//!
//! Absent on purpose: how late an expiry may be. It is told in time of the leader, of which there may be several
//! meanwhile; at the end of a run every lease has to be gone.

use std::collections::{BTreeMap, BTreeSet};

use quorate_core::node::kv::state::{Revision, State};
use quorate_core::node::kv::{Cause, LeaseId, Path, What};

use super::super::{Id, Ledger};
use crate::verdict::Failure;
use crate::world::machine::Machine;

/// All leases.
#[derive(Debug, Default)]
pub struct Leases {
    /// The latest deadline of each that a member showed, in log time.
    deadlines: BTreeMap<LeaseId, u64>,
    bound: BTreeMap<LeaseId, BTreeSet<Path>>,
    holder: BTreeMap<Path, LeaseId>,
    ended: BTreeSet<LeaseId>,
    /// What was found false and is still to be said.
    wrong: Vec<String>,
    looked: u64,
}

impl Leases {
    /// A member's state is like this.
    pub(super) fn shown(&mut self, state: &State) {
        for (id, lease) in state.leases() {
            let latest = self.deadlines.entry(id).or_default();
            *latest = lease.deadline.max(*latest);
        }
    }

    /// Revisions are missing in what members showed: which keys a lease holds is not known any more.
    pub(super) fn missed(&mut self) {
        (self.bound, self.holder) = Default::default();
    }

    /// What a revision changed, as the first member applied it.
    pub(super) fn applied(&mut self, revision: &Revision) {
        let mut ends = BTreeSet::new();
        for change in &revision.changes {
            let before = self.holder.remove(&change.path);
            if let Some(keys) = before.and_then(|lease| self.bound.get_mut(&lease)) {
                keys.remove(&change.path);
            }
            match &change.what {
                What::Put(version) => {
                    let Some(lease) = version.lease else { continue };
                    self.looked += 1;
                    if self.ended.contains(&lease) {
                        self.wrong.push(format!(
                            "{:?} is bound to {lease:?}, which has ended",
                            change.path
                        ));
                    }
                    self.bound.entry(lease).or_default().insert(change.path.clone());
                    self.holder.insert(change.path.clone(), lease);
                }
                What::Delete(Cause::Deleted) => {}
                What::Delete(cause) => {
                    let lease = change.previous.as_ref().and_then(|version| version.lease);
                    ends.extend(lease.map(|lease| (lease, *cause)));
                }
            }
        }
        for (lease, cause) in ends {
            self.end(lease, cause, revision.log_time);
        }
    }

    fn end(&mut self, lease: LeaseId, cause: Cause, at: u64) {
        self.looked += 1;
        self.ended.insert(lease);
        let deadline = self.deadlines.get(&lease).copied().unwrap_or_default();
        if cause == Cause::Expired && at < deadline {
            self.wrong.push(format!("{lease:?} expired at {at}, its deadline was {deadline}"));
        }
        let left = self.bound.remove(&lease).unwrap_or_default();
        if !left.is_empty() {
            self.wrong.push(format!("{left:?} outlive {lease:?}"));
        }
    }

    /// Nothing that was found says anything.
    pub(super) fn forget(&mut self) {
        self.wrong.clear();
    }

    /// What was found since the last look.
    pub(super) fn look(&mut self, ledger: &mut Ledger) -> Result<(), Failure> {
        (0..std::mem::take(&mut self.looked)).for_each(|_| ledger.note(Id::KV4));
        self.wrong.drain(..).try_for_each(|what| ledger.hold(Id::KV4, 0, false, || what))
    }
}

/// Where one of the core leads, no lease is left of callers that have been gone for so long.
pub fn ended(core: &[usize], machines: &[Machine], ledger: &mut Ledger) -> Result<(), Failure> {
    for index in core {
        let process = machines.get(*index).and_then(|machine| machine.process.as_ref());
        let Some(process) = process.filter(|process| process.node.raft().leads().is_some()) else {
            continue;
        };
        let left = process.node.kv().state().lease_count();
        ledger.hold(Id::KV4, *index, left == 0, || {
            format!("{left} leases are there still, which nobody has renewed for long")
        })?;
    }
    Ok(())
}

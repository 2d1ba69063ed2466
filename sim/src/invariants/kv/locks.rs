//! Who holds, and what fences protect: KV-5 and KV-9.
//!
//! Who stands in line is what members were seen to apply. A caller is told that it holds when everybody before it is
//! gone, and goes by a release or with its lease. A *resource* is somebody outside who obeys whoever shows the
//! greatest fence so far, and knows nothing else.
//!
//! Absent on purpose: semaphores of several permits; callers of the simulator ask for locks.

use std::collections::{BTreeMap, BTreeSet};

use quorate_core::ids::Ticket;
use quorate_core::node::kv::state::Revision;
use quorate_core::node::kv::{Answer, Cause, LeaseId, What};

use super::super::{Id, Ledger};
use crate::surfaces::NAMESPACE;
use crate::verdict::Failure;

/// Where contenders are kept.
const CONTENDERS: &str = "_locks";

/// All locks, and who was told what.
#[derive(Debug, Default)]
pub struct Locks {
    /// Which lock a caller asked for, and where.
    asked: BTreeMap<Ticket, (usize, String)>,
    held: BTreeMap<Ticket, (LeaseId, u64)>,
    /// By lock, who stands in line.
    lines: BTreeMap<String, BTreeSet<u64>>,
    /// By lock, who was first in line, in that order.
    firsts: BTreeMap<String, Vec<u64>>,
    /// Who was told that it holds, and is still believed to.
    told: BTreeSet<u64>,
    /// By resource, the greatest fence that it was shown, and the last whom it obeyed.
    resources: BTreeMap<String, (u64, usize)>,
    /// What was found false and is still to be said.
    wrong: Vec<(usize, String)>,
    looked: u64,
}

impl Locks {
    /// A caller asks for `lock` at `machine`.
    pub fn asked(&mut self, ticket: Ticket, machine: usize, lock: &str) {
        self.asked.insert(ticket, (machine, lock.to_owned()));
    }

    /// The lease of whoever asked under `ticket`, if it was told that it holds.
    pub fn lease(&self, ticket: Ticket) -> Option<LeaseId> {
        self.held.get(&ticket).map(|(lease, _)| *lease)
    }

    /// What a revision changed, as the first member applied it.
    pub(super) fn applied(&mut self, revision: &Revision) {
        for change in revision.changes.iter().filter(|one| one.path.namespace() == CONTENDERS) {
            let Some(lock) = lock_of(change.path.key()) else { continue };
            let line = self.lines.entry(lock.clone()).or_default();
            match (&change.what, &change.previous) {
                (What::Put(version), _) => _ = line.insert(version.create_revision),
                (What::Delete(cause), Some(before)) => {
                    line.remove(&before.create_revision);
                    let told = self.told.remove(&before.create_revision);
                    self.looked += 1;
                    if told && *cause == Cause::Deleted {
                        let fence = before.create_revision;
                        self.wrong.push((0, format!("the hold {fence} of {lock} was taken away")));
                    }
                }
                (What::Delete(_), None) => {}
            }
            let first = self.lines.get(&lock).and_then(|line| line.first().copied());
            let firsts = self.firsts.entry(lock).or_default();
            if let Some(first) = first.filter(|first| firsts.last() != Some(first)) {
                firsts.push(first);
            }
        }
    }

    /// A caller hears.
    pub(super) fn answered(&mut self, ticket: Ticket, answer: &Answer) {
        let (Some((machine, lock)), Answer::Held { lease, fence }) =
            (self.asked.get(&ticket), answer)
        else {
            return;
        };
        self.held.insert(ticket, (*lease, *fence));
        self.looked += 1;
        let line = self.lines.get(lock);
        let before = line.and_then(|line| line.range(..*fence).next());
        if let Some(before) = before {
            let what = format!("{fence} was told that it holds {lock}, where {before} does");
            self.wrong.push((*machine, what));
        }
        if line.is_some_and(|line| line.contains(fence)) {
            self.told.insert(*fence);
        }
    }

    /// Nothing that was found says anything.
    pub(super) fn forget(&mut self) {
        self.wrong.clear();
    }

    /// KV-5: what was found since the last look.
    pub(super) fn look(&mut self, ledger: &mut Ledger) -> Result<(), Failure> {
        (0..std::mem::take(&mut self.looked)).for_each(|_| ledger.note(Id::KV5));
        self.wrong
            .drain(..)
            .try_for_each(|(machine, what)| ledger.hold(Id::KV5, machine, false, || what))
    }

    /// KV-9: whoever asked under `ticket` acts on `resource` with what it was told; whether it is obeyed.
    pub fn write(
        &mut self,
        machine: usize,
        resource: &str,
        ticket: Option<Ticket>,
        ledger: &mut Ledger,
    ) -> Result<bool, Failure> {
        let Some((_, fence)) = ticket.and_then(|ticket| self.held.get(&ticket)).copied() else {
            return Ok(false);
        };
        let firsts = self.firsts.get(resource).map(Vec::as_slice).unwrap_or_default();
        let turn = firsts.iter().position(|first| *first == fence).unwrap_or_default();
        let (greatest, obeyed) = self.resources.entry(resource.to_owned()).or_default();
        if fence < *greatest {
            ledger.note(Id::KV9);
            return Ok(false);
        }
        let before = std::mem::replace(obeyed, turn);
        *greatest = fence;
        ledger.hold(Id::KV9, machine, before <= turn, || {
            format!("{resource} obeys holder {turn} with {fence} after holder {before}")
        })?;
        Ok(true)
    }
}

/// The lock in whose line a contender stands, of the callers' namespace.
fn lock_of(key: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(key).ok()?;
    let (lock, _) = text.strip_prefix(NAMESPACE)?.strip_prefix('/')?.rsplit_once('/')?;
    Some(lock.to_owned())
}

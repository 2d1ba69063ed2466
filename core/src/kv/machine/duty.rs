//! What a leader sees to: that leases end in time, that history stays short, that its bounds hold.
//!
//! A leader only proposes. Whether a lease is due is decided by the entry's own time, so a leader that is
//! mistaken about the time, or is no leader any more, ends nothing early.

use super::super::Output;
use super::super::command::Command;
use super::call::{Call, Pending};
use super::{Kv, Operation};
use crate::limits;
use crate::machine::Wake;
use crate::time::{Instant, millis};
use std::time::Duration;

/// What is proposed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Duty {
    Expire,
    Compact,
    Bound,
}

/// What this node sees to, if it leads.
#[derive(Debug, Default)]
pub(super) struct Duties {
    /// Since when it leads.
    since: Option<Instant>,
    /// When leases were last proposed to end.
    expired_at: Option<Instant>,
    /// When bounds were last proposed.
    bounded_at: Option<Instant>,
    /// Proposed and not answered.
    open: std::collections::BTreeSet<Duty>,
}

impl Duties {
    pub(super) fn lead(&mut self, now: Instant, here: bool) {
        self.since = here.then(|| self.since.unwrap_or(now));
    }

    pub(super) fn done(&mut self, _now: Instant, duty: Duty) {
        self.open.remove(&duty);
    }

    pub(super) fn leads(&self) -> bool {
        self.since.is_some()
    }
}

impl Kv {
    pub(super) fn do_duties(&mut self, now: Instant, out: &mut Vec<Output>) {
        if !self.duties.leads() {
            return;
        }
        if self.bounds_due().is_some_and(|due| due <= now) {
            self.duties.bounded_at = Some(now);
            self.see_to(now, Duty::Bound, &Command::Bound(self.settings.bounds), out);
        }
        if self.expiry_due().is_some_and(|due| due <= now) {
            self.duties.expired_at = Some(now);
            self.see_to(now, Duty::Expire, &Command::Expire, out);
        }
        if let Some(revision) = self.compaction_due(now) {
            self.see_to(now, Duty::Compact, &Command::Compact { revision }, out);
        }
    }

    fn see_to(&mut self, now: Instant, duty: Duty, command: &Command, out: &mut Vec<Output>) {
        self.duties.open.insert(duty);
        let until = now + self.settings.deadline;
        let what = Pending::Duty(duty);
        let call = Call { caller: None, operation: Operation::Other, until, what };
        self.propose(call, command, None, out);
    }

    pub(super) fn next_duty(&self) -> Option<Wake> {
        let expiry = self.expiry_due().map(|at| Wake { at, what: "leases are due" });
        let bounds = self.bounds_due().map(|at| Wake { at, what: "the bounds are not ours" });
        Wake::earlier(expiry, bounds)
    }

    /// When leases are to end next: not before the grace is over, nor twice a second.
    fn expiry_due(&self) -> Option<Instant> {
        let since = self.duties.since.filter(|_| !self.duties.open.contains(&Duty::Expire))?;
        let left = self.state.next_deadline()?.saturating_sub(self.state.log_time());
        let due = self.clock_at + Duration::from_millis(left);
        let last = self.duties.expired_at.map(|at| at + limits::KV_EXPIRE_INTERVAL);
        Some(due.max(since + limits::KV_LEADER_GRACE).max(last.unwrap_or(Instant::ZERO)))
    }

    fn bounds_due(&self) -> Option<Instant> {
        let since = self.duties.since.filter(|_| !self.duties.open.contains(&Duty::Bound))?;
        let wrong = *self.state.bounds() != self.settings.bounds;
        let last = self.duties.bounded_at.map(|at| at + limits::KV_EXPIRE_INTERVAL);
        wrong.then(|| last.unwrap_or(since))
    }

    /// Through which revision history is long enough to be forgotten.
    fn compaction_due(&self, now: Instant) -> Option<u64> {
        if self.duties.open.contains(&Duty::Compact) {
            return None;
        }
        let from = self.state.compact_revision();
        let forced = self.forced_compaction();
        let keep = self.settings.history_revisions;
        let upto = self.state.revision().saturating_sub(keep);
        let upto = upto.min(from + limits::KV_COMPACTION_REVISIONS_MAX);
        // By tenths, so that not every write is followed by a compaction of one revision.
        if forced.is_none() && upto < from + (keep / 10).max(1) {
            return None;
        }
        let oldest = self.log_time(now).saturating_sub(millis(self.settings.history));
        let aged = self.aged(from, upto, oldest);
        let revision = aged.max(forced.unwrap_or(from));
        (revision > from).then_some(revision)
    }

    /// The last revision of `from..=upto` that was made at or before `oldest`.
    fn aged(&self, from: u64, upto: u64, oldest: u64) -> u64 {
        let old = |revision| {
            self.state.changes(revision).is_some_and(|changed| changed.log_time <= oldest)
        };
        let (mut low, mut high) = (from, upto.max(from));
        while low < high {
            let middle = high - (high - low) / 2;
            if old(middle) {
                low = middle;
            } else {
                high = middle - 1;
            }
        }
        low
    }

    /// Through which revision must be forgotten for history to weigh little enough.
    fn forced_compaction(&self) -> Option<u64> {
        let mut bytes = self.state.history_bytes();
        if bytes <= self.settings.history_bytes {
            return None;
        }
        let from = self.state.compact_revision() + 1;
        let step = usize::try_from(limits::KV_COMPACTION_REVISIONS_MAX).unwrap_or(usize::MAX);
        let mut last = from;
        for (revision, changed) in self.state.since(from).take(step) {
            bytes = bytes.saturating_sub(changed.bytes());
            last = revision;
            if bytes <= self.settings.history_bytes {
                break;
            }
        }
        Some(last)
    }
}

//! Keep-alives of this node's callers, gathered: one entry renews many leases.

use std::collections::BTreeSet;

use super::super::command::{Command, LeaseId, Outcome, Refusal};
use super::super::{Answer, Failure, Output, Unavailable};
use super::call::{Call, Pending};
use super::{Kv, Operation, unavailable};
use crate::ids::Ticket;
use crate::limits;
use crate::time::Instant;

/// Who waits for the next entry.
#[derive(Debug, Default)]
pub(super) struct Renewals {
    waiting: Vec<(LeaseId, Ticket)>,
    /// When the last entry was proposed.
    last: Option<Instant>,
}

impl Renewals {
    /// When the next entry is due; `None` while nobody waits.
    pub(super) fn due(&self) -> Option<Instant> {
        let next = self.last.map_or(Instant::ZERO, |last| last + limits::KV_KEEP_ALIVE_INTERVAL);
        (!self.waiting.is_empty()).then_some(next)
    }
}

impl Kv {
    pub(super) fn gather(&mut self, lease: LeaseId, caller: Ticket) {
        self.renewals.waiting.push((lease, caller));
    }

    pub(super) fn renew_due(&mut self, now: Instant, out: &mut Vec<Output>) {
        if self.renewals.due().is_none_or(|due| due > now) {
            return;
        }
        self.renewals.last = Some(now);
        let many = self.renewals.waiting.len().min(limits::KV_RENEWALS_MAX);
        let mut renewed: Vec<_> = self.renewals.waiting.drain(..many).collect();
        renewed.sort();
        let leases: BTreeSet<LeaseId> = renewed.iter().map(|(lease, _)| *lease).collect();
        let leases: Vec<LeaseId> = leases.into_iter().collect();
        let until = now + self.settings.deadline;
        let what = Pending::Renewing(renewed);
        let call = Call { caller: None, operation: Operation::Other, until, what };
        self.propose(call, &Command::KeepAlive { leases: leases.into() }, None, out);
    }

    pub(super) fn renewed(
        &mut self,
        renewed: &[(LeaseId, Ticket)],
        outcome: Result<Outcome, Unavailable>,
        out: &mut Vec<Output>,
    ) {
        // The outcome lists the leases in the order of the command: ascending, each once.
        let leases: BTreeSet<LeaseId> = renewed.iter().map(|(lease, _)| *lease).collect();
        let ttls = match outcome {
            Ok(Outcome::Renewed { ttls_ms }) if ttls_ms.len() == leases.len() => Ok(ttls_ms),
            Ok(_) => Err(Unavailable::Ambiguous),
            Err(why) => Err(why),
        };
        for (lease, caller) in renewed {
            let place = leases.range(..lease).count();
            let ttl = ttls.as_ref().map(|ttls| ttls.get(place).copied().unwrap_or(0));
            let answer = match ttl {
                Err(why) => unavailable(*why),
                Ok(0) => Answer::Failed(Failure::Refused(Refusal::LeaseNotFound(*lease))),
                Ok(ttl_ms) => Answer::Lease { lease: *lease, ttl_ms },
            };
            self.reply(*caller, Operation::Other, answer, out);
        }
    }
}

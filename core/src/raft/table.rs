//! Which requests were applied, and what came of them: part of the replicated state.
//!
//! Everything here is a function of the applied entries: the window of a requester moves with what the
//! requester itself declares done, keys age in log time, and what must go for room goes in one order.
//!
//! - RF-7: each request id is applied at most once, and its outcome is the first one for as long as
//!   anybody may ask.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ids::{Incarnation, NodeId, Replica};
use crate::limits;
use crate::time;
use crate::wire::Blob;
use crate::wire::raft::{Idempotency, LogTime, Proposal, Refusal, RequestId};

/// What a request came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Outcome {
    /// Where its entry stands.
    pub(super) index: u64,
    /// What the service said, if that is short enough to be kept.
    pub(super) said: Blob,
}

/// What is to be done with an entry.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nobody has seen it: apply it.
    Fresh,
    /// It was applied before.
    Known(Outcome),
    /// It is not applied.
    Refused(Refusal),
}

/// One requester's window.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Requester {
    /// Everything below has been answered to its caller.
    pub(super) done_below: u64,
    pub(super) outcomes: BTreeMap<u64, Outcome>,
    /// The last entry of this requester.
    pub(super) last_index: u64,
}

/// A caller's key that was used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Used {
    pub(super) key: [u8; 16],
    pub(super) body: [u8; 8],
    pub(super) at: LogTime,
    pub(super) outcome: Outcome,
}

/// The table.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Table {
    pub(super) requesters: BTreeMap<Replica, Requester>,
    /// Lives of nodes that are gone for good.
    pub(super) retired: BTreeMap<NodeId, Incarnation>,
    /// Keys by the entry that used them.
    pub(super) used: BTreeMap<u64, Used>,
    /// The entry that used a key.
    keys: BTreeMap<[u8; 16], u64>,
}

impl Table {
    /// Judges an entry before it is applied, and moves its requester's window.
    pub(super) fn judge(&mut self, index: u64, now: LogTime, proposal: &Proposal) -> Verdict {
        self.age(now);
        if let Some(id) = &proposal.request {
            match self.known(id) {
                Verdict::Fresh => {}
                known @ (Verdict::Known(_) | Verdict::Refused(_)) => return known,
            }
            let requester = self.requesters.entry(id.replica.clone()).or_default();
            requester.declare(proposal.done_below);
            requester.last_index = index;
            if id.number < requester.done_below {
                return Verdict::Refused(Refusal::TooOld);
            }
            if id.number >= requester.done_below.saturating_add(limits::RAFT_WINDOW) {
                return Verdict::Refused(Refusal::TooNew);
            }
        }
        let Some(key) = &proposal.idempotency else { return Verdict::Fresh };
        match self.keys.get(&key.key).and_then(|at| self.used.get(at)) {
            None => Verdict::Fresh,
            Some(used) if used.body != key.body => Verdict::Refused(Refusal::IdempotencyMismatch),
            Some(used) => Verdict::Known(used.outcome.clone()),
        }
    }

    /// What is known of a request, without a word of its requester.
    pub(super) fn known(&self, id: &RequestId) -> Verdict {
        let fence = self.retired.get(&id.replica.node);
        if fence.is_some_and(|fence| id.replica.incarnation <= *fence) {
            return Verdict::Refused(Refusal::Retired);
        }
        let Some(requester) = self.requesters.get(&id.replica) else { return Verdict::Fresh };
        if let Some(outcome) = requester.outcomes.get(&id.number) {
            return Verdict::Known(outcome.clone());
        }
        if id.number < requester.done_below {
            return Verdict::Refused(Refusal::TooOld);
        }
        Verdict::Fresh
    }

    /// Notes what came of an entry that was applied.
    pub(super) fn note(
        &mut self,
        at: LogTime,
        request: Option<&RequestId>,
        key: Option<Idempotency>,
        outcome: &Outcome,
    ) {
        let long = outcome.said.len() > limits::RAFT_OUTCOME_BYTES_MAX;
        let said = if long { Blob::default() } else { outcome.said.clone() };
        let outcome = Outcome { index: outcome.index, said };
        if let Some(id) = request {
            let requester = self.requesters.entry(id.replica.clone()).or_default();
            requester.outcomes.insert(id.number, outcome.clone());
            self.make_room();
        }
        if let Some(Idempotency { key, body }) = key {
            self.keys.insert(key, outcome.index);
            self.used.insert(outcome.index, Used { key, body, at, outcome });
            if self.used.len() > limits::RAFT_KEYS_MAX {
                self.forget_eldest_key();
            }
        }
    }

    /// A replica is gone for good.
    pub(super) fn retire(&mut self, replica: &Replica) {
        self.requesters
            .retain(|one, _| one.node != replica.node || one.incarnation > replica.incarnation);
        let fence = self.retired.entry(replica.node.clone()).or_insert(replica.incarnation);
        *fence = (*fence).max(replica.incarnation);
        // Their requests are refused by membership as well, for as long as it has room for their fences.
        while self.retired.len() > limits::RAFT_REQUESTERS_MAX {
            self.retired.pop_first();
        }
    }

    /// Puts back a key that a snapshot held.
    pub(super) fn restore_key(&mut self, used: Used) {
        self.keys.insert(used.key, used.outcome.index);
        self.used.insert(used.outcome.index, used);
    }

    fn age(&mut self, now: LogTime) {
        let age = time::millis(limits::RAFT_KEY_AGE);
        while let Some((_, eldest)) = self.used.first_key_value()
            && eldest.at.0.saturating_add(age) < now.0
        {
            self.forget_eldest_key();
        }
    }

    fn forget_eldest_key(&mut self) {
        if let Some((index, used)) = self.used.pop_first()
            && self.keys.get(&used.key) == Some(&index)
        {
            self.keys.remove(&used.key);
        }
    }

    /// The longest idle go first.
    fn make_room(&mut self) {
        while self.requesters.len() > limits::RAFT_REQUESTERS_MAX {
            let idle = self.requesters.iter().min_by_key(|(_, row)| row.last_index);
            let Some(replica) = idle.map(|(replica, _)| replica.clone()) else { return };
            self.requesters.remove(&replica);
        }
    }
}

impl Requester {
    fn declare(&mut self, done_below: u64) {
        if done_below > self.done_below {
            self.done_below = done_below;
            self.outcomes = self.outcomes.split_off(&done_below);
        }
    }
}

/// The log's time after a while.
pub(super) fn later(time: LogTime, elapsed: Duration) -> LogTime {
    LogTime(time.0.saturating_add(time::millis(elapsed)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::raft::Subject;

    fn replica(incarnation: u64) -> Replica {
        Replica { node: "n1".parse().expect("a node id"), incarnation: Incarnation(incarnation) }
    }

    fn proposal(number: u64, done_below: u64, key: Option<(u8, u8)>) -> Proposal {
        Proposal {
            subject: Subject::KV,
            version: 1,
            request: Some(RequestId { replica: replica(1), number }),
            done_below,
            log_time: LogTime(0),
            idempotency: key.map(|(key, body)| Idempotency { key: [key; 16], body: [body; 8] }),
            payload: Blob::default(),
        }
    }

    fn apply(table: &mut Table, index: u64, at: u64, proposal: &Proposal) -> Verdict {
        let verdict = table.judge(index, LogTime(at), proposal);
        if verdict == Verdict::Fresh {
            let outcome = Outcome { index, said: Blob::from("said") };
            table.note(LogTime(at), proposal.request.as_ref(), proposal.idempotency, &outcome);
        }
        verdict
    }

    fn known(index: u64) -> Verdict {
        Verdict::Known(Outcome { index, said: Blob::from("said") })
    }

    #[test]
    fn a_request_is_applied_once_and_told_its_first_outcome_again() {
        let mut table = Table::default();
        assert_eq!(apply(&mut table, 5, 0, &proposal(1, 1, None)), Verdict::Fresh);
        assert_eq!(apply(&mut table, 6, 0, &proposal(1, 1, None)), known(5));
        assert_eq!(apply(&mut table, 7, 0, &proposal(2, 2, None)), Verdict::Fresh);
        let old = Verdict::Refused(Refusal::TooOld);
        assert_eq!(apply(&mut table, 8, 0, &proposal(1, 1, None)), old, "it was declared done");
    }

    #[test]
    fn a_request_beyond_the_window_is_not_applied() {
        let mut table = Table::default();
        let far = proposal(limits::RAFT_WINDOW + 1, 1, None);
        assert_eq!(apply(&mut table, 5, 0, &far), Verdict::Refused(Refusal::TooNew));
        let near = proposal(limits::RAFT_WINDOW, 1, None);
        assert_eq!(apply(&mut table, 6, 0, &near), Verdict::Fresh);
    }

    #[test]
    fn a_key_makes_a_retry_under_another_id_safe_for_a_day() {
        let mut table = Table::default();
        assert_eq!(apply(&mut table, 5, 0, &proposal(1, 1, Some((7, 1)))), Verdict::Fresh);
        assert_eq!(apply(&mut table, 6, 0, &proposal(2, 1, Some((7, 1)))), known(5));
        let mismatch = Verdict::Refused(Refusal::IdempotencyMismatch);
        assert_eq!(apply(&mut table, 7, 0, &proposal(3, 1, Some((7, 2)))), mismatch);
        let day = time::millis(limits::RAFT_KEY_AGE);
        assert_eq!(apply(&mut table, 8, day, &proposal(4, 1, Some((7, 1)))), known(5));
        assert_eq!(apply(&mut table, 9, day + 1, &proposal(5, 1, Some((7, 1)))), Verdict::Fresh);
    }

    #[test]
    fn a_retired_replica_is_heard_no_more() {
        let mut table = Table::default();
        apply(&mut table, 5, 0, &proposal(1, 1, None));
        table.retire(&replica(1));
        assert!(table.requesters.is_empty());
        let retired = Verdict::Refused(Refusal::Retired);
        assert_eq!(apply(&mut table, 6, 0, &proposal(2, 1, None)), retired);
    }

    #[test]
    fn the_longest_idle_requester_makes_room() {
        let mut table = Table::default();
        for life in 0..=limits::RAFT_REQUESTERS_MAX as u64 {
            let mut one = proposal(1, 1, None);
            one.request = Some(RequestId { replica: replica(life), number: 1 });
            assert_eq!(apply(&mut table, 5 + life, 0, &one), Verdict::Fresh);
        }
        assert_eq!(table.requesters.len(), limits::RAFT_REQUESTERS_MAX);
        assert!(!table.requesters.contains_key(&replica(0)), "it spoke first");
    }
}

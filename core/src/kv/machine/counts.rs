//! What is counted.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use super::super::command::Outcome;
use super::super::state::Cause;
use super::super::view::Served;
use super::super::{Answer, Failure, Question, Request, Unavailable};
use super::Kv;
use crate::machine::{Count, Counted, Labels};

/// What callers do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Operation {
    Get,
    List,
    Put,
    Delete,
    Cas,
    Transaction,
    /// Leases, locks, and what a leader sees to: counted elsewhere.
    Other,
}

/// How it went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Ending {
    Ok,
    /// A condition did not hold.
    Failed,
    Refused,
    /// Nobody knows.
    Unknown,
}

const OPERATIONS: [(Operation, &str); 6] = [
    (Operation::Get, "get"),
    (Operation::List, "list"),
    (Operation::Put, "put"),
    (Operation::Delete, "delete"),
    (Operation::Cas, "cas"),
    (Operation::Transaction, "txn"),
];

const ENDINGS: [(Ending, &str); 4] = [
    (Ending::Ok, "ok"),
    (Ending::Failed, "failed"),
    (Ending::Refused, "refused"),
    (Ending::Unknown, "unknown"),
];

/// Numbers that only rise.
#[derive(Debug, Default)]
pub(super) struct Counters {
    operations: BTreeMap<(Operation, Ending), u64>,
    expired: u64,
    revoked: u64,
}

impl Operation {
    pub(super) fn of(request: &Request) -> Operation {
        match request {
            Request::Ask { question, .. } => match question {
                Question::Get { .. } => Operation::Get,
                Question::List { .. } => Operation::List,
                Question::Lease(_) | Question::Line(_) | Question::Changes { .. } => {
                    Operation::Other
                }
            },
            Request::Put { condition: Some(_), .. }
            | Request::Delete { condition: Some(_), .. } => Operation::Cas,
            Request::Put { .. } => Operation::Put,
            Request::Delete { .. } => Operation::Delete,
            Request::Transact(_) => Operation::Transaction,
            Request::Grant { .. }
            | Request::KeepAlive(_)
            | Request::Revoke(_)
            | Request::Compact { .. }
            | Request::Acquire { .. }
            | Request::Release { .. } => Operation::Other,
        }
    }
}

impl Counters {
    pub(super) fn answered(&mut self, operation: Operation, answer: &Answer) {
        #[expect(clippy::wildcard_enum_match_arm, reason = "whatever else is answered was done")]
        let ending = match answer {
            Answer::Failed(Failure::Precondition { .. }) => Ending::Failed,
            Answer::Transacted { succeeded: false, .. } => Ending::Failed,
            Answer::Failed(Failure::Unavailable(Unavailable::Ambiguous)) => Ending::Unknown,
            Answer::Failed(_) => Ending::Refused,
            _ => Ending::Ok,
        };
        *self.operations.entry((operation, ending)).or_default() += 1;
    }

    /// So many leases ended by this entry.
    pub(super) fn ended(&mut self, leases: u64, outcome: &Outcome) {
        let expired = matches!(outcome, Outcome::Ended { cause: Cause::Expired, .. });
        let total = if expired { &mut self.expired } else { &mut self.revoked };
        *total += leases;
    }
}

impl Served {
    /// What was told without a word to the machine.
    fn count(&self, operation: Operation, ending: Ending) -> u64 {
        match (operation, ending) {
            (Operation::Get, Ending::Ok) => self.gets.load(Ordering::Relaxed),
            (Operation::List, Ending::Ok) => self.lists.load(Ordering::Relaxed),
            _ => 0,
        }
    }
}

impl Counted for Kv {
    fn counts(&self, visit: &mut dyn FnMut(Count)) {
        let mut show = |name, labels, value| visit(Count { name, labels, value });
        for (operation, op) in OPERATIONS {
            for (ending, outcome) in ENDINGS {
                let value = self.counters.operations.get(&(operation, ending)).copied();
                let value = value.unwrap_or(0) + self.served.count(operation, ending);
                let labels = [("store", "consistent"), ("op", op), ("outcome", outcome)];
                show("kv_operations_total", Labels::Three(labels), value);
            }
        }
        let state = &self.state;
        show("kv_revision", Labels::None, state.revision());
        show("kv_compact_revision", Labels::None, state.compact_revision());
        show("kv_keys", Labels::One("store", "consistent"), state.keys());
        let bytes = [("live", state.live_bytes()), ("history", state.history_bytes())];
        for (kind, value) in bytes {
            show("kv_bytes", Labels::Two("store", "consistent", "kind", kind), value);
        }
        show("kv_leases", Labels::None, state.lease_count());
        let ended = [("expired", self.counters.expired), ("revoked", self.counters.revoked)];
        for (cause, value) in ended {
            show("kv_leases_ended_total", Labels::One("cause", cause), value);
        }
        let lagging = self.watches.lagging();
        let watches = [
            ("current", self.watches.len() - lagging),
            ("lagging", lagging),
            ("proxied", self.proxies.len()),
        ];
        for (state, value) in watches {
            show("kv_watches", Labels::One("state", state), value as u64);
        }
        show("kv_watch_changes_total", Labels::None, self.watches.changes_total);
        let (held, waiting) = state.line_counts();
        for (state, value) in [("held", held), ("waiting", waiting)] {
            show("kv_locks", Labels::One("state", state), value);
        }
    }
}

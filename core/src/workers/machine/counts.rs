//! What is counted.

use std::collections::BTreeMap;

use super::super::ProbeOutcome;
use super::super::status::{Cause, Change, Status};
use super::super::view::Lease;
use super::Workers;
use crate::machine::{Count, Counted, Labels};

/// Numbers that only rise.
#[derive(Debug, Default)]
pub(super) struct Counters {
    transitions: BTreeMap<(Option<Status>, Option<Status>, Cause), u64>,
    probes: BTreeMap<ProbeOutcome, u64>,
    refused: BTreeMap<&'static str, u64>,
    pub(super) late_probes: u64,
    pub(super) statements: Statements,
    pub(super) ejections: u64,
    pub(super) foreign_writes: u64,
    /// Refused because a bound is reached.
    pub(super) full: u64,
}

#[derive(Debug, Default)]
pub(super) struct Statements {
    pub(super) applied: u64,
    pub(super) repeated: u64,
    pub(super) unknown: u64,
    pub(super) stale_lease: u64,
}

impl Counters {
    /// W-6: a change that is no row of the table is a bug.
    pub(super) fn transition(&mut self, change: Change) {
        let row = (change.old, change.new, change.cause);
        assert!(ROWS.contains(&row), "W-6: {change:?} is no row of the table");
        *self.transitions.entry(row).or_default() += 1;
    }

    pub(super) fn probe(&mut self, outcome: ProbeOutcome) {
        *self.probes.entry(outcome).or_default() += 1;
    }

    pub(super) fn refuse(&mut self, code: &'static str) {
        *self.refused.entry(code).or_default() += 1;
    }
}

impl Counted for Workers {
    fn counts(&self, visit: &mut dyn FnMut(Count)) {
        let mut show = |name, labels, value| visit(Count { name, labels, value });
        for status in STATUSES {
            let held = self.entries.values();
            let count = held.filter(|entry| entry.condition.status() == status).count();
            show("worker_entries", Labels::One("status", status_word(status)), count as u64);
        }
        for (lease, word) in LEASES {
            let count = self.entries.values().flat_map(|entry| {
                entry
                    .claims
                    .iter()
                    .filter(|(node, claim)| self.lease_of(node, claim.incarnation) == lease)
            });
            let own = if lease == Lease::Fresh { self.own_claims } else { 0 };
            let value = (count.count() + own) as u64;
            show("worker_claims", Labels::One("owner_state", word), value);
        }
        for row in ROWS {
            let (old, new, cause) = row;
            let word = |status: Option<Status>| status.map_or("none", status_word);
            let labels = [("from", word(old)), ("to", word(new)), ("cause", cause_word(cause))];
            let value = self.counters.transitions.get(&row).copied().unwrap_or_default();
            show("worker_transitions_total", Labels::Three(labels), value);
        }
        for (outcome, word) in OUTCOMES {
            let value = self.counters.probes.get(&outcome).copied().unwrap_or_default();
            show("worker_probes_total", Labels::One("result", word), value);
        }
        show("worker_probes_total", Labels::One("result", "late"), self.counters.late_probes);
        show("worker_probes_in_flight", Labels::None, self.in_flight.len() as u64);
        let statements = &self.counters.statements;
        for (word, value) in [
            ("applied", statements.applied),
            ("repeated", statements.repeated),
            ("unknown", statements.unknown),
            ("stale_lease", statements.stale_lease),
        ] {
            show("worker_statements_total", Labels::One("result", word), value);
        }
        for reason in REASONS {
            let value = self.counters.refused.get(reason).copied().unwrap_or_default();
            show("worker_refused_total", Labels::One("reason", reason), value);
        }
        show("worker_ejections_total", Labels::None, self.counters.ejections);
        show("worker_foreign_writes_total", Labels::None, self.counters.foreign_writes);
    }
}

fn status_word(status: Status) -> &'static str {
    match status {
        Status::Pending => "pending",
        Status::Ready => "ready",
        Status::NotReady => "not_ready",
        Status::Failed => "failed",
        Status::Draining => "draining",
    }
}

fn cause_word(cause: Cause) -> &'static str {
    match cause {
        Cause::Registered => "registered",
        Cause::Imported => "imported",
        Cause::ProbesGood => "probes_good",
        Cause::ProbesBad => "probes_bad",
        Cause::Unproven => "unproven",
        Cause::Statement => "statement",
        Cause::OwnerSilent => "owner_silent",
        Cause::Drained => "drained",
        Cause::Undrained => "undrained",
        Cause::Spec => "spec",
        Cause::Removed => "removed",
    }
}

use Status::{Draining, Failed, NotReady, Pending, Ready};

const STATUSES: [Status; 5] = [Pending, Ready, NotReady, Failed, Draining];

const LEASES: [(Lease, &str); 4] = [
    (Lease::Fresh, "fresh"),
    (Lease::Stale, "stale"),
    (Lease::Orphaned, "orphaned"),
    (Lease::Lingering, "lingering"),
];

const OUTCOMES: [(ProbeOutcome, &str); 8] = [
    (ProbeOutcome::Good, "good"),
    (ProbeOutcome::Connect, "connect"),
    (ProbeOutcome::Tls, "tls"),
    (ProbeOutcome::Status, "status"),
    (ProbeOutcome::Timeout, "timeout"),
    (ProbeOutcome::Protocol, "protocol"),
    (ProbeOutcome::Policy, "policy"),
    (ProbeOutcome::Local, "local"),
];

/// Every change that the table of statuses allows.
const ROWS: [(Option<Status>, Option<Status>, Cause); 34] = [
    (None, Some(Pending), Cause::Registered),
    (None, Some(Ready), Cause::Registered),
    (None, Some(Pending), Cause::Imported),
    (None, Some(Ready), Cause::Imported),
    (None, Some(NotReady), Cause::Imported),
    (Some(Pending), Some(Ready), Cause::ProbesGood),
    (Some(NotReady), Some(Ready), Cause::ProbesGood),
    (Some(Failed), Some(Ready), Cause::ProbesGood),
    (Some(Pending), Some(Failed), Cause::Unproven),
    (Some(Ready), Some(NotReady), Cause::ProbesBad),
    (Some(NotReady), Some(Failed), Cause::ProbesBad),
    (Some(Ready), Some(NotReady), Cause::Statement),
    (Some(Pending), Some(Ready), Cause::Statement),
    (Some(Pending), Some(NotReady), Cause::Statement),
    (Some(NotReady), Some(Ready), Cause::Statement),
    (Some(Ready), Some(NotReady), Cause::OwnerSilent),
    (Some(Pending), Some(Draining), Cause::Drained),
    (Some(Ready), Some(Draining), Cause::Drained),
    (Some(NotReady), Some(Draining), Cause::Drained),
    (Some(Failed), Some(Draining), Cause::Drained),
    (Some(Draining), Some(Pending), Cause::Undrained),
    (Some(Draining), Some(Ready), Cause::Undrained),
    (Some(Draining), Some(NotReady), Cause::Undrained),
    (Some(Pending), Some(Ready), Cause::Spec),
    (Some(Pending), Some(NotReady), Cause::Spec),
    (Some(Ready), Some(NotReady), Cause::Spec),
    (Some(NotReady), Some(Ready), Cause::Spec),
    (Some(Failed), Some(Ready), Cause::Spec),
    (Some(Failed), Some(NotReady), Cause::Spec),
    (Some(Pending), None, Cause::Removed),
    (Some(Ready), None, Cause::Removed),
    (Some(NotReady), None, Cause::Removed),
    (Some(Failed), None, Cause::Removed),
    (Some(Draining), None, Cause::Removed),
];

/// Why something was refused: the codes of [`super::super::Refusal`] and what only a peer can do.
const REASONS: [&str; 38] = [
    "url_malformed",
    "url_scheme",
    "url_userinfo",
    "url_query",
    "url_host",
    "url_port",
    "url_path",
    "url_rank",
    "spec_rank",
    "spec_models",
    "spec_kind",
    "spec_mode",
    "spec_runtime",
    "spec_provider",
    "spec_labels",
    "label_secret",
    "spec_priority",
    "spec_weight",
    "spec_cost",
    "spec_max_in_flight",
    "spec_health",
    "spec_drain_settle",
    "spec_auth",
    "spec_secret",
    "spec_url",
    "spec_too_large",
    "invalid_request",
    "url_denied",
    "worker_exists",
    "owned_by",
    "removing",
    "workers_full",
    "not_found",
    "precondition_failed",
    "precondition_required",
    "version_fell",
    "persisted",
    "lanes_full",
];

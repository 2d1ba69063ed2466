//! The figures of the log.

use std::collections::BTreeMap;

use crate::machine::{Count, Counted, Labels};
use crate::wire::raft::{Refusal, Subject};

use super::Raft;
use super::status::Standing;

/// How a proposal ended for whoever made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    Committed,
    QueueFull,
    Ambiguous,
    NoQuorum,
    TooLarge,
    Refused,
}

const ENDED: [(Ended, &str); 6] = [
    (Ended::Committed, "committed"),
    (Ended::QueueFull, "queue_full"),
    (Ended::Ambiguous, "ambiguous"),
    (Ended::NoQuorum, "no_quorum"),
    (Ended::TooLarge, "too_large"),
    (Ended::Refused, "refused"),
];

/// How an election ended for whoever stood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Election {
    Won,
    Lost,
    PreVoteLost,
}

const ELECTIONS: [(Election, &str); 3] =
    [(Election::Won, "won"), (Election::Lost, "lost"), (Election::PreVoteLost, "prevote_lost")];

/// What became of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moved {
    Taken,
    Sent,
    SendFailed,
    Received,
    ReceiveFailed,
}

const MOVED: [(Moved, &str, &str); 5] = [
    (Moved::Taken, "taken", "ok"),
    (Moved::Sent, "sent", "ok"),
    (Moved::SendFailed, "sent", "failed"),
    (Moved::Received, "received", "ok"),
    (Moved::ReceiveFailed, "received", "failed"),
];

/// The names of the ladder's steps.
const STEPS: [&str; 9] = [
    "finish_joint",
    "add_learner",
    "promote",
    "swap",
    "transfer",
    "remove",
    "remove_lost",
    "add_standby",
    "remove_learner",
];

/// What is only counted.
#[derive(Debug, Default)]
pub(super) struct Counts {
    proposals: [[u64; ENDED.len()]; Subject::ALL.len()],
    elections: [u64; ELECTIONS.len()],
    snapshots: [u64; MOVED.len()],
    steps: BTreeMap<(&'static str, bool), u64>,
    pub(super) reads_ok: u64,
    pub(super) reads_failed: u64,
    pub(super) leader_changes: u64,
    pub(super) deduplicated: u64,
    pub(super) foreign: u64,
}

impl Ended {
    pub(super) fn of(refusal: &Refusal) -> Ended {
        match refusal {
            Refusal::QueueFull => Ended::QueueFull,
            Refusal::Ambiguous => Ended::Ambiguous,
            Refusal::NoQuorum | Refusal::NotFormed => Ended::NoQuorum,
            Refusal::TooLarge { .. } => Ended::TooLarge,
            Refusal::TooOld
            | Refusal::TooNew
            | Refusal::Retired
            | Refusal::IdempotencyMismatch
            | Refusal::NeedsUpgrade
            | Refusal::NotLeader
            | Refusal::NotHere => Ended::Refused,
        }
    }
}

impl Counts {
    pub(super) fn proposal(&mut self, subject: Subject, ended: Ended) {
        for (row, of) in self.proposals.iter_mut().zip(Subject::ALL) {
            for (total, (one, _)) in row.iter_mut().zip(ENDED) {
                *total += u64::from(of == subject && one == ended);
            }
        }
    }

    pub(super) fn ladder_step(&mut self, step: &'static str, taken: bool) {
        *self.steps.entry((step, taken)).or_default() += 1;
    }

    pub(super) fn election(&mut self, ended: Election) {
        for (total, (one, _)) in self.elections.iter_mut().zip(ELECTIONS) {
            *total += u64::from(one == ended);
        }
    }

    pub(super) fn snapshot(&mut self, moved: Moved) {
        for (total, (one, _, _)) in self.snapshots.iter_mut().zip(MOVED) {
            *total += u64::from(one == moved);
        }
    }
}

impl Counted for Raft {
    fn counts(&self, visit: &mut dyn FnMut(Count)) {
        let mut put = |name, labels, value| visit(Count { name, labels, value });
        let state = self.standing();
        for one in Standing::ALL {
            put("raft_state", Labels::One("state", one.name()), u64::from(state == one));
        }
        let group = self.group.as_ref();
        put("raft_term", Labels::None, group.map_or(0, |group| group.term()));
        put("raft_commit_index", Labels::None, group.map_or(0, |group| group.commit()));
        put("raft_applied_index", Labels::None, self.state.applied.index);
        put("raft_log_entries", Labels::None, group.map_or(0, |group| group.len() as u64));
        let configuration = &self.state.configuration;
        put("raft_voters", Labels::None, configuration.voters.len() as u64);
        put("raft_standbys", Labels::None, configuration.learners.len() as u64);
        put("raft_pending", Labels::None, self.requests.len() as u64);
        put("raft_leader_changes_total", Labels::None, self.counts.leader_changes);
        put("raft_deduplicated_total", Labels::None, self.counts.deduplicated);
        put("raft_genesis_conflict", Labels::None, self.strangers.all.len() as u64);
        put("raft_foreign_total", Labels::None, self.counts.foreign);
        put("raft_reads_total", Labels::One("outcome", "ok"), self.counts.reads_ok);
        put("raft_reads_total", Labels::One("outcome", "failed"), self.counts.reads_failed);
        let founding = &self.founders.counts;
        let outcomes = [
            ("proposed", founding.proposed),
            ("formed", founding.formed),
            ("withdrawn", founding.withdrawn),
        ];
        for (outcome, total) in outcomes {
            put("raft_foundings_total", Labels::One("outcome", outcome), total);
        }
        for (outcome, total) in [("given", founding.promised), ("denied", founding.denied)] {
            put("raft_promises_total", Labels::One("outcome", outcome), total);
        }
        for (total, (_, name)) in self.counts.elections.into_iter().zip(ELECTIONS) {
            put("raft_elections_total", Labels::One("outcome", name), total);
        }
        for (row, subject) in self.counts.proposals.into_iter().zip(Subject::ALL) {
            for (total, (_, ended)) in row.into_iter().zip(ENDED) {
                let labels = Labels::Two("topic", subject.name(), "outcome", ended);
                put("raft_proposals_total", labels, total);
            }
        }
        for step in STEPS {
            for (taken, outcome) in [(true, "taken"), (false, "refused")] {
                let total = self.counts.steps.get(&(step, taken)).copied().unwrap_or_default();
                put(
                    "raft_ladder_steps_total",
                    Labels::Two("step", step, "outcome", outcome),
                    total,
                );
            }
        }
        for (total, (_, direction, outcome)) in self.counts.snapshots.into_iter().zip(MOVED) {
            let labels = Labels::Two("direction", direction, "outcome", outcome);
            put("raft_snapshots_total", labels, total);
        }
    }
}

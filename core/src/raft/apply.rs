//! Applying what is committed, one entry at a time and in order.
//!
//! An entry of a service is handed over and waited for; nothing behind it is applied before its answer. So
//! a repetition always finds what came of the first, and a snapshot, which is begun between two entries, is
//! always of one point.
//!
//! - RF-3: what is applied is a function of the applied prefix: neither clock nor chance is asked here.
//! - RF-8: log time never falls.

use serde::{Deserialize, Serialize};

use super::table::{Outcome, Verdict};
use super::{Blob, EntryRow, Output, Raft, Replica, RequestId, Subject};
use crate::limits::{self, FRAME_CONTROL_BYTES_MAX};
use crate::time::Instant;
use crate::wire::raft::{Change, Entry, Idempotency, Proposal};
use crate::wire::{decode, encode};

/// An entry that a service has in its hands.
#[derive(Debug)]
pub(super) struct Applying {
    entry: Entry,
    subject: Subject,
    request: Option<RequestId>,
    idempotency: Option<Idempotency>,
}

/// The log's own business, subject 0.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Command {
    /// Time passes, and some service waits for it.
    Clock,
    /// Nothing more will come of this replica.
    Retire(Replica),
    /// So many may vote.
    VotersMax(u8),
}

/// The version of [`Command`].
pub(super) const VERSION: u8 = 1;

impl Command {
    pub(super) fn encode(&self) -> Blob {
        Blob::from(encode(self))
    }
}

impl Raft {
    /// Applies what is committed, until a service is asked or nothing is left.
    pub(super) fn advance(&mut self, now: Instant, out: &mut Vec<Output>) {
        while self.applying.is_none() && self.halted.is_none() {
            self.freeze_if_wanted(out);
            let Some(entry) = self.committed.pop_front() else { break };
            self.apply(now, entry, out);
        }
        self.finish_reads(out);
    }

    fn apply(&mut self, now: Instant, entry: Entry, out: &mut Vec<Output>) {
        if entry.configuration {
            self.apply_change(&entry);
            self.ladder.applied(now);
            return self.done(now, &entry, "configuration", out);
        }
        if entry.payload.is_empty() {
            return self.done(now, &entry, "none", out); // What a new leader begins with.
        }
        let Ok(proposal) = decode::<Proposal, FRAME_CONTROL_BYTES_MAX>(&entry.payload) else {
            return self.halt(&entry, out);
        };
        let own = proposal.subject == Subject::RAFT;
        if !proposal.subject.is_known() || (own && proposal.version != VERSION) {
            return self.halt(&entry, out);
        }
        self.state.log_time = self.state.log_time.max(proposal.log_time);
        let log_time = self.state.log_time;
        let verdict = self.state.table.judge(entry.index, log_time, &proposal);
        let Proposal { subject, version, request, idempotency, payload, .. } = proposal;
        match verdict {
            Verdict::Fresh if own => {
                match decode::<Command, FRAME_CONTROL_BYTES_MAX>(&payload) {
                    Ok(command) => self.apply_own(now, entry.index, command, out),
                    Err(_) => return self.halt(&entry, out),
                }
                let outcome = Outcome { index: entry.index, said: Blob::default() };
                let applying = Applying { entry, subject, request, idempotency };
                self.conclude(now, applying, outcome, out);
            }
            Verdict::Fresh => {
                let index = entry.index;
                let asked = request.clone();
                self.applying = Some(Applying { entry, subject, request, idempotency });
                out.push(Output::Apply {
                    index,
                    log_time,
                    subject,
                    version,
                    payload,
                    request: asked,
                });
            }
            Verdict::Known(outcome) => {
                self.counts.deduplicated += 1;
                if let Some(id) = &request {
                    self.conclude_known(id, Ok(outcome), out);
                }
                self.done(now, &entry, subject.name(), out);
            }
            Verdict::Refused(refusal) => {
                if let Some(id) = &request {
                    self.conclude_known(id, Err(refusal), out);
                }
                self.done(now, &entry, subject.name(), out);
            }
        }
    }

    fn apply_own(&mut self, now: Instant, index: u64, command: Command, out: &mut Vec<Output>) {
        match command {
            Command::Clock => {
                out.push(Output::Clock { index, log_time: self.state.log_time });
            }
            Command::Retire(replica) => self.state.table.retire(&replica),
            Command::VotersMax(voters_max) => {
                self.state.voters_max = voters_max;
                self.ladder.changed(now);
            }
        }
    }

    fn apply_change(&mut self, entry: &Entry) {
        let change = decode::<Change, FRAME_CONTROL_BYTES_MAX>(&entry.payload).unwrap_or_default();
        let Some(group) = &mut self.group else { return };
        // A change that contradicts the configuration does nothing, on every member alike.
        let Some(configuration) = group.apply_change(&change) else { return };
        let nodes = &mut self.state.nodes;
        nodes.extend(change.nodes.iter().cloned());
        let members = configuration.members();
        nodes.retain(|member, _| members.contains(member));
        self.state.configuration = configuration;
        self.outgoing.retain(&members);
    }

    /// The service's answer to `Output::Apply`.
    pub(super) fn applied(&mut self, now: Instant, index: u64, said: Blob, out: &mut Vec<Output>) {
        // A snapshot may have replaced what the service was at.
        let Some(applying) = self.applying.take_if(|applying| applying.entry.index == index) else {
            return;
        };
        self.conclude(now, applying, Outcome { index, said }, out);
    }

    fn conclude(
        &mut self,
        now: Instant,
        applying: Applying,
        outcome: Outcome,
        out: &mut Vec<Output>,
    ) {
        let Applying { entry, subject, request, idempotency } = applying;
        let log_time = self.state.log_time;
        self.state.table.note(log_time, request.as_ref(), idempotency, &outcome);
        if let Some(id) = request {
            self.conclude_known(&id, Ok(outcome), out);
        }
        self.done(now, &entry, subject.name(), out);
    }

    /// The entry is applied.
    fn done(&mut self, now: Instant, entry: &Entry, subject: &'static str, out: &mut Vec<Output>) {
        self.state.advance(entry);
        let (index, term, hash) = (entry.index, entry.term, self.state.hash);
        self.recent.push_back(EntryRow { index, term, subject, hash });
        while self.recent.len() > limits::RAFT_RECENT_MAX {
            self.recent.pop_front();
        }
        if let Some(group) = &mut self.group {
            group.applied(entry.index);
        }
        let (entries, bytes) = &mut self.since_image;
        *entries += 1;
        *bytes += entry.payload.len() as u64;
        if self.image_is_due() {
            self.want_image();
        }
        self.answer_committed(out);
        self.changed(now);
    }

    fn halt(&mut self, entry: &Entry, out: &mut Vec<Output>) {
        self.halted = Some(entry.index);
        out.push(Output::NeedsUpgrade { index: entry.index });
        out.push(Output::Tell);
    }
}

//! What the consistent store says: proposals and reads for the log, answers to callers, news for watchers.

use super::{Announcement, Effect, Node, Reply, Step};
use crate::node::misbehaviour::Domain;
use crate::time::Instant;
use crate::wire::raft::{Idempotency, Subject};
use crate::{kv, raft};

impl Node {
    pub(super) fn kv_says(&mut self, output: kv::Output, out: &mut Vec<Effect>) {
        use kv::Output;
        let subject = Subject::KV;
        match output {
            Output::Propose { ticket, payload, deadline, once } => {
                let version = kv::VERSION;
                let idempotency = once.map(|kv::Once { key, body }| Idempotency { key, body });
                self.raft_step(raft::Input::Propose {
                    subject,
                    ticket,
                    version,
                    payload,
                    deadline,
                    idempotency,
                });
            }
            Output::Read { ticket, deadline } => {
                self.raft_step(raft::Input::Read { subject, ticket, deadline });
            }
            Output::Query { ticket, question, deadline } => {
                self.raft_step(raft::Input::Query { subject, ticket, question, deadline });
            }
            Output::Applied { index, outcome } => {
                self.raft_step(raft::Input::Applied { index, outcome });
            }
            Output::Answered { number, answer } => {
                self.raft_step(raft::Input::Answered { number, answer });
            }
            Output::Piece { number, piece } => {
                let piece = piece.map(|piece| (subject, piece));
                self.raft_step(raft::Input::Piece { number, piece });
            }
            Output::Waiting { waits } => {
                self.raft_step(raft::Input::Waiting { subject, waits });
            }
            Output::Reply { ticket, answer } => {
                out.push(Effect::Reply { ticket, reply: Reply::Kv(answer) });
            }
            Output::Watched { ticket: watch, event } => {
                out.push(Effect::Announce(Announcement::Watched { watch, event }));
            }
            Output::Misbehaved { what } => self.misbehaved(Domain::Kv, None, what, out),
        }
    }

    /// Ends the turn of the store: it knows whether the log is applied here.
    pub(in crate::node) fn flush_kv(&mut self, now: Instant, out: &mut Vec<Effect>) {
        let here = self.raft.is_member();
        if here != self.kv.keeps_copy() {
            self.kv_step(kv::Input::Copy { here });
            self.settle(now, out);
            self.flush_raft(now, out);
        }
    }

    pub(super) fn kv_step(&mut self, input: kv::Input) {
        self.steps.push_back(Step::Kv(input));
    }
}

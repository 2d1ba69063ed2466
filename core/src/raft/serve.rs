//! Requests of other nodes: the leader puts them into the log, a member answers from its state.
//!
//! A node that does not lead says who does, and never forwards on.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::forward::Proposing;
use super::reads::Reader;
use super::{Blob, Committed, NodeId, Output, Raft, Refusal, Replica, RequestId, Wire};
use crate::limits;
use crate::time::Instant;
use crate::wire::raft::{Answer, Ask, Reply, Request};

/// Requests of others that are in the log and not applied.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    waiting: BTreeMap<RequestId, (NodeId, Instant)>,
    /// Requests that this leader has put into the log in its term.
    in_log: BTreeSet<RequestId>,
}

impl Waiters {
    pub(super) fn in_log(&self, id: &RequestId) -> bool {
        self.in_log.contains(id)
    }

    pub(super) fn put_in_log(&mut self, id: Option<RequestId>) {
        self.in_log.extend(id);
    }

    /// What another leader may have cut off is not in the log any more.
    pub(super) fn new_term(&mut self) {
        self.in_log.clear();
    }

    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    pub(super) fn expire(&mut self, now: Instant) {
        self.waiting.retain(|_, (_, deadline)| *deadline > now);
    }
}

impl Raft {
    /// Another node asks.
    pub(super) fn serve(
        &mut self,
        now: Instant,
        from: &Replica,
        request: Request,
        out: &mut Vec<Output>,
    ) {
        let Request { id, remaining_ms, ask } = request;
        if id.replica.node != from.node {
            let what = "a request in another's name";
            return out.push(Output::Misbehaved { peer: from.node.clone(), what });
        }
        let remaining = Duration::from_millis(remaining_ms).min(limits::RAFT_DEADLINE_MAX);
        let deadline = now + remaining;
        match ask {
            Ask::Propose { subject, version, done_below, idempotency, payload } => {
                let answer = if !self.group.as_ref().is_some_and(|group| group.leads()) {
                    Some(self.not_leader())
                } else if payload.len() > limits::RAFT_PAYLOAD_BYTES_MAX || !subject.is_known() {
                    let max = limits::RAFT_PAYLOAD_BYTES_MAX as u64;
                    let bytes = payload.len() as u64;
                    Some(Answer::Refused(Refusal::TooLarge { bytes, max }))
                } else if self.waiters.waiting.len() >= WAITERS_MAX {
                    Some(Answer::Refused(Refusal::QueueFull))
                } else {
                    self.waiters.waiting.insert(id.clone(), (from.node.clone(), deadline));
                    let result = self.propose(
                        now,
                        subject,
                        version,
                        Some(&id),
                        done_below,
                        idempotency,
                        payload,
                    );
                    answer_of(result)
                };
                if let Some(answer) = answer {
                    self.waiters.waiting.remove(&id);
                    self.reply(&from.node, id, answer, out);
                }
            }
            Ask::Query { subject, question } => {
                let node = from.node.clone();
                let reader = Reader::Remote { node, id: id.clone(), subject, question };
                if !self.is_member() {
                    let answer = self.not_leader();
                    self.reply(&from.node, id, answer, out);
                } else if !self.reads.insert(reader, deadline) {
                    self.reply(&from.node, id, Answer::Refused(Refusal::QueueFull), out);
                }
            }
        }
    }

    fn not_leader(&self) -> Answer {
        let leader = self.group.as_ref().and_then(|group| group.leader());
        let hint = leader.and_then(|member| self.node_of(member));
        Answer::NotLeader { hint: hint.filter(|node| *node != self.local.node) }
    }

    fn reply(&self, to: &NodeId, id: RequestId, answer: Answer, out: &mut Vec<Output>) {
        let message = Wire::Reply(Reply { id, answer });
        out.push(Output::Send { to: to.clone(), message });
    }

    /// An entry of a request is applied, or is known not to be: whoever waits hears of it.
    pub(super) fn reply_to(
        &mut self,
        id: &RequestId,
        result: Result<Committed, Refusal>,
        out: &mut Vec<Output>,
    ) {
        self.waiters.in_log.remove(id);
        let Some((node, _)) = self.waiters.waiting.remove(id) else { return };
        let answer = match result {
            Ok(Committed { index, outcome }) => Answer::Committed { index, outcome },
            Err(refusal) => Answer::Refused(refusal),
        };
        self.reply(&node, id.clone(), answer, out);
    }

    /// Reads that may be answered by now.
    pub(super) fn finish_reads(&mut self, out: &mut Vec<Output>) {
        for (number, index, reader) in self.reads.ready(self.state.applied.index) {
            match reader {
                Reader::Local { subject, ticket } => {
                    self.reads.take(number);
                    self.count_read(true);
                    out.push(Output::ReadReady { subject, ticket, result: Ok(index) });
                }
                Reader::Own { subject, question, .. }
                | Reader::Remote { subject, question, .. } => {
                    out.push(Output::Answer { number, subject, question });
                }
            }
        }
    }

    /// A service answers a query.
    pub(super) fn answered(&mut self, number: u64, answer: Blob, out: &mut Vec<Output>) {
        let index = self.state.applied.index;
        match self.reads.take(number) {
            Some(Reader::Own { subject, ticket, .. }) => {
                self.count_read(true);
                let result = Ok(Committed { index, outcome: answer });
                out.push(Output::Queried { subject, ticket, result });
            }
            Some(Reader::Remote { node, id, .. }) => {
                self.count_read(true);
                self.reply(&node, id, Answer::Answered { index, answer }, out);
            }
            Some(Reader::Local { .. }) | None => {} // Its deadline has passed.
        }
    }

    pub(super) fn expire_reads(&mut self, now: Instant, out: &mut Vec<Output>) {
        for reader in self.reads.expired(now) {
            self.count_read(false);
            let refusal = Refusal::NoQuorum;
            match reader {
                Reader::Local { subject, ticket } => {
                    out.push(Output::ReadReady { subject, ticket, result: Err(refusal) });
                }
                Reader::Own { subject, ticket, .. } => {
                    out.push(Output::Queried { subject, ticket, result: Err(refusal) });
                }
                Reader::Remote { .. } => {} // Its caller has given up as well.
            }
        }
    }
}

fn answer_of(result: Result<Proposing, Refusal>) -> Option<Answer> {
    match result {
        Ok(Proposing::InLog | Proposing::Waits) => None,
        Ok(Proposing::Known(outcome)) => {
            let Committed { index, outcome } = outcome.committed();
            Some(Answer::Committed { index, outcome })
        }
        Err(Refusal::NoQuorum | Refusal::NotFormed) => Some(Answer::NotLeader { hint: None }),
        Err(refusal) => Some(Answer::Refused(refusal)),
    }
}

/// Requests of others that wait at a leader.
const WAITERS_MAX: usize = 4 * limits::RAFT_PENDING_MAX;

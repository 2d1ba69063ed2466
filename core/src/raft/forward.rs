//! Local requests on their way to an answer: put into the log here, or asked of another node.

use super::counts::Ended;
use super::group::Dropped;
use super::pending::{Key, Pending, What};
use super::reads::Reader;
use super::table::{Outcome, Verdict};
use super::{Blob, Committed, NodeId, Output, Raft, Refusal, RequestId, Subject, Ticket, Wire};
use crate::limits;
use crate::time::Instant;
use crate::wire::encode;
use crate::wire::raft::{Answer, Idempotency, Proposal, Reply};

impl Raft {
    /// A local service wants something of the log.
    pub(super) fn submit(
        &mut self,
        now: Instant,
        subject: Subject,
        ticket: Ticket,
        deadline: Instant,
        what: What,
        out: &mut Vec<Output>,
    ) {
        let bytes = match &what {
            What::Propose { payload, .. } => payload.len(),
            What::Query { question } => question.len(),
        };
        let max = limits::RAFT_PAYLOAD_BYTES_MAX;
        let refusal = if bytes > max {
            Some(Refusal::TooLarge { bytes: bytes as u64, max: max as u64 })
        } else if self.requests.is_full() {
            Some(Refusal::QueueFull)
        } else {
            None
        };
        if let Some(refusal) = refusal {
            return self.tell(subject, ticket, &what, Err(refusal), out);
        }
        let key = self.requests.insert(now, subject, ticket, deadline, what);
        self.try_request(now, key, out);
    }

    /// A local service wants to read for itself.
    pub(super) fn read(
        &mut self,
        subject: Subject,
        ticket: Ticket,
        deadline: Instant,
        out: &mut Vec<Output>,
    ) {
        let refusal = if !self.is_member() {
            Some(Refusal::NotHere)
        } else if !self.reads.insert(Reader::Local { subject, ticket }, deadline) {
            Some(Refusal::QueueFull)
        } else {
            None
        };
        if let Some(refusal) = refusal {
            self.counts.reads_failed += 1;
            out.push(Output::ReadReady { subject, ticket, result: Err(refusal) });
        }
    }

    /// A local service wants an answer from wherever the log's state is.
    pub(super) fn query(
        &mut self,
        now: Instant,
        subject: Subject,
        ticket: Ticket,
        question: Blob,
        deadline: Instant,
        out: &mut Vec<Output>,
    ) {
        if !self.is_member() {
            return self.submit(now, subject, ticket, deadline, What::Query { question }, out);
        }
        if !self.reads.insert(Reader::Own { subject, ticket, question }, deadline) {
            let result = Err(Refusal::QueueFull);
            self.counts.reads_failed += 1;
            out.push(Output::Queried { subject, ticket, result });
        }
    }

    /// Whatever is due is tried again, or given up.
    pub(super) fn retry_requests(&mut self, now: Instant, out: &mut Vec<Output>) {
        for key in self.requests.due(now) {
            self.try_request(now, key, out);
        }
    }

    fn try_request(&mut self, now: Instant, key: Key, out: &mut Vec<Output>) {
        let committed = self.requests.is_committed(key);
        let Some(pending) = self.requests.get_mut(key) else { return };
        if pending.deadline <= now {
            let proposed = matches!(pending.what, What::Propose { .. });
            let unknown = proposed && (pending.unanswered > 0 || committed);
            let refusal = if unknown { Refusal::Ambiguous } else { Refusal::NoQuorum };
            return self.answer(key, Err(refusal), out);
        }
        let proposes = matches!(pending.what, What::Propose { .. });
        let leads = self.group.as_ref().is_some_and(|group| group.leads());
        if proposes && !self.requests.in_window(key) {
            self.requests.retry(now, &mut self.rng, key, false);
        } else if proposes && leads {
            self.propose_own(now, key, out);
        } else {
            self.ask_another(now, key, out);
        }
    }

    /// This node leads.
    fn propose_own(&mut self, now: Instant, key: Key, out: &mut Vec<Output>) {
        let id = self.requests.id_of(key);
        let done_below = self.requests.done_below(key.0);
        let Some(pending) = self.requests.get_mut(key) else { return };
        let What::Propose { version, payload, idempotency } = &pending.what else { return };
        let (subject, version) = (pending.subject, *version);
        let (payload, idempotency) = (payload.clone(), *idempotency);
        let result =
            self.propose(now, subject, version, Some(&id), done_below, idempotency, payload);
        match result {
            Ok(Proposing::InLog) => {
                if let Some(pending) = self.requests.get_mut(key) {
                    pending.unanswered += 1;
                }
                self.requests.retry(now, &mut self.rng, key, true);
            }
            Ok(Proposing::Waits) => self.requests.retry(now, &mut self.rng, key, true),
            Ok(Proposing::Known(outcome)) => self.answer(key, Ok(outcome.committed()), out),
            Err(refusal) => self.refused(now, key, refusal, out),
        }
    }

    /// Refused for certain: that is the answer, unless an earlier try may still come true.
    fn refused(&mut self, now: Instant, key: Key, refusal: Refusal, out: &mut Vec<Output>) {
        let unanswered = self.requests.get_mut(key).is_some_and(|one| one.unanswered > 0);
        let passing = matches!(refusal, Refusal::NoQuorum | Refusal::NotFormed | Refusal::NotHere);
        if passing || (unanswered && refusal == Refusal::QueueFull) {
            self.requests.retry(now, &mut self.rng, key, false);
        } else {
            self.answer(key, Err(refusal), out);
        }
    }

    fn ask_another(&mut self, now: Instant, key: Key, out: &mut Vec<Output>) {
        let tries = self.requests.get_mut(key).map_or(0, |pending| pending.tries);
        let target = self.whom_to_ask(tries);
        let request = target.as_ref().and_then(|_| self.requests.request(now, key));
        let sent = request.is_some();
        if let (Some(to), Some(request)) = (target, request) {
            out.push(Output::Send { to, message: Wire::Request(request) });
        }
        if let Some(pending) = self.requests.get_mut(key) {
            pending.tries += 1;
            pending.unanswered += u32::from(sent);
        }
        self.requests.retry(now, &mut self.rng, key, sent);
    }

    /// The leader as far as that is known here, else one member after the other, in the order in which
    /// everybody looks.
    fn whom_to_ask(&self, tries: u32) -> Option<NodeId> {
        let own = self.group.as_ref().filter(|_| self.is_member());
        if let Some(group) = own {
            // A member waits for its own group to find a leader.
            let leader = group.leader().and_then(|member| self.node_of(member));
            return leader.filter(|node| *node != self.local.node);
        }
        if let Some(hint) = self.hint.as_ref().filter(|_| tries.is_multiple_of(2)) {
            return Some(hint.clone());
        }
        let mut ranked: Vec<(u32, &NodeId)> = self
            .peers
            .iter()
            .filter(|(node, peer)| peer.genesis.is_some() && **node != self.local.node)
            .map(|(node, peer)| (peer.priority, node))
            .collect();
        ranked.sort_unstable();
        let turn = usize::try_from(tries).unwrap_or(0) % ranked.len().max(1);
        ranked.get(turn).map(|(_, node)| (*node).clone())
    }

    /// Another node answers a request of ours.
    pub(super) fn replied(
        &mut self,
        now: Instant,
        from: &NodeId,
        reply: Reply,
        out: &mut Vec<Output>,
    ) {
        let Some(key) = self.requests.key_of(&reply.id) else { return };
        let member = self.is_member();
        let applied = self.state.applied.index;
        let Some(pending) = self.requests.get_mut(key) else { return };
        pending.unanswered = pending.unanswered.saturating_sub(1);
        match reply.answer {
            Answer::Committed { index, outcome } => {
                self.hint = Some(from.clone());
                let committed = Committed { index, outcome };
                if member && applied < index {
                    // Who is answered here may read here what it wrote.
                    self.requests.commit(key, committed);
                } else {
                    self.answer(key, Ok(committed), out);
                }
            }
            Answer::Answered { index, answer } => {
                self.answer(key, Ok(Committed { index, outcome: answer }), out);
            }
            Answer::NotLeader { hint } => {
                if hint.is_some() || self.hint.as_ref() == Some(from) {
                    self.hint = hint.filter(|node| *node != self.local.node);
                }
                self.requests.retry(now, &mut self.rng, key, false);
            }
            Answer::Refused(refusal) => self.refused(now, key, refusal, out),
        }
    }

    /// An entry of a request is applied, or is known not to be.
    pub(super) fn conclude_known(
        &mut self,
        id: &RequestId,
        result: Result<Outcome, Refusal>,
        out: &mut Vec<Output>,
    ) {
        let result = result.map(Outcome::committed);
        if let Some(key) = self.requests.key_of(id) {
            self.answer(key, result.clone(), out);
        }
        self.reply_to(id, result, out);
    }

    /// Requests whose entries the leader said are committed, and that are applied here by now.
    pub(super) fn answer_committed(&mut self, out: &mut Vec<Output>) {
        let applied = self.state.applied.index;
        while let Some((key, committed)) = self.requests.take_committed(applied) {
            self.answer(key, Ok(committed), out);
        }
    }

    fn answer(&mut self, key: Key, result: Result<Committed, Refusal>, out: &mut Vec<Output>) {
        let Some(pending) = self.requests.remove(key) else { return };
        let Pending { subject, ticket, what, .. } = pending;
        self.tell(subject, ticket, &what, result, out);
    }

    fn tell(
        &mut self,
        subject: Subject,
        ticket: Ticket,
        what: &What,
        result: Result<Committed, Refusal>,
        out: &mut Vec<Output>,
    ) {
        match what {
            What::Propose { .. } => {
                let ended = result.as_ref().map_or_else(Ended::of, |_| Ended::Committed);
                self.counts.proposal(subject, ended);
                if subject == Subject::RAFT {
                    let result = result.map(drop);
                    return out.push(Output::Operated { ticket, result });
                }
                out.push(Output::Proposed { subject, ticket, result });
            }
            What::Query { .. } => {
                self.count_read(result.is_ok());
                out.push(Output::Queried { subject, ticket, result });
            }
        }
    }

    pub(super) fn count_read(&mut self, ok: bool) {
        self.counts.reads_ok += u64::from(ok);
        self.counts.reads_failed += u64::from(!ok);
    }

    /// Puts a request into the log, unless it is there or was applied.
    #[expect(clippy::too_many_arguments, reason = "an entry has as many parts")]
    pub(super) fn propose(
        &mut self,
        now: Instant,
        subject: Subject,
        version: u8,
        request: Option<&RequestId>,
        done_below: u64,
        idempotency: Option<Idempotency>,
        payload: Blob,
    ) -> Result<Proposing, Refusal> {
        if let Some(id) = request {
            match self.state.table.known(id) {
                Verdict::Known(outcome) => return Ok(Proposing::Known(outcome)),
                Verdict::Refused(refusal) => return Err(refusal),
                Verdict::Fresh if self.waiters.in_log(id) => return Ok(Proposing::Waits),
                Verdict::Fresh => {}
            }
        }
        let log_time = self.leading.now(now);
        let request = request.cloned();
        let proposal = Proposal {
            subject,
            version,
            request: request.clone(),
            done_below,
            log_time,
            idempotency,
            payload,
        };
        let group = self.group.as_mut().ok_or(Refusal::NotFormed)?;
        match group.propose(encode(&proposal)) {
            Ok(_) => {
                self.leading.proposed(now, log_time);
                self.waiters.put_in_log(request);
                Ok(Proposing::InLog)
            }
            Err(Dropped::Full) => Err(Refusal::QueueFull),
            Err(Dropped::NotLeader) => Err(Refusal::NoQuorum),
        }
    }

    /// Whether this node keeps a copy whose state may be read.
    pub fn is_member(&self) -> bool {
        self.group.is_some() && self.state.configuration.contains(self.identity.member)
    }
}

/// Where a proposal stands.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Proposing {
    /// It was put into the log.
    InLog,
    /// It is in the log already.
    Waits,
    /// It was applied.
    Known(Outcome),
}

impl Outcome {
    pub(super) fn committed(self) -> Committed {
        Committed { index: self.index, outcome: self.said }
    }
}

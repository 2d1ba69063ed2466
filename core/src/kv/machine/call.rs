//! Calls: from a caller's wish to a command, and from an outcome to an answer.

use std::time::Duration;

use super::super::ask::Question;
use super::super::command::{
    Command, Compare, Done, LeaseId, Operation as Step, Outcome, Refusal, Relation, Than,
    Transaction,
};
use super::super::name::{Key, Keys, Lock, Namespace};
use super::super::state::Compacted;
use super::super::{Answer, Condition, Failure, Once, Origin, Output, Request, Size, Unavailable};
use super::duty::Duty;
use super::line::{Standing, Withdrawal};
use super::{Kv, Operation, unavailable};
use crate::ids::Ticket;
use crate::limits;
use crate::time::Instant;
use crate::wire::{Blob, decode, encode};

/// Something that waits.
#[derive(Debug)]
pub(super) struct Call {
    /// Who is answered; none for what we want ourselves.
    pub(super) caller: Option<Ticket>,
    pub(super) operation: Operation,
    /// When its caller stops waiting.
    pub(super) until: Instant,
    pub(super) what: Pending,
}

/// What it waits for.
#[derive(Debug)]
pub(super) enum Pending {
    /// An outcome that is the answer.
    Write(Shape),
    /// The log's word that the state here is not behind.
    Reading { question: Question, min_revision: u64 },
    /// The state here to come so far.
    Behind { question: Question, min_revision: u64 },
    /// The answer of a node with a copy.
    Querying { question: Question, min_revision: u64 },
    /// A while, to ask it again.
    AskAgain { question: Question, min_revision: u64 },
    /// The outcome of keep-alives, of these leases for these callers.
    Renewing(Vec<(LeaseId, Ticket)>),
    /// A place in line.
    Acquiring(Standing),
    /// Our turn.
    InLine(Standing),
    /// The outcome of leaving the line.
    Withdrawing(Withdrawal),
    /// The outcome of a leader's proposal.
    Duty(Duty),
    /// What a watch at a node with a copy brings.
    Poll(Ticket),
    /// An answer for nobody: who asked has gone on without it.
    Unheard,
}

/// How an outcome becomes an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// As it is.
    Plain,
    /// A condition that does not hold is a failure that shows this key.
    Conditional,
}

/// Of one request: who, on whose behalf, for how long, and what recognises its retry.
pub(super) type Head = (Ticket, Origin, Option<Duration>, Option<Once>);

impl Kv {
    pub(super) fn request(
        &mut self,
        now: Instant,
        (ticket, origin, within, once): Head,
        request: Request,
        out: &mut Vec<Output>,
    ) {
        let operation = Operation::of(&request);
        let within = within.unwrap_or(self.settings.deadline).min(limits::KV_DEADLINE_MAX);
        let head = (ticket, operation, now + within);
        if self.calls.len() >= limits::KV_CALLS_MAX {
            return self.reply(head.0, operation, unavailable(Unavailable::QueueFull), out);
        }
        let command = match self.prepare(now, head, origin, request, out) {
            Ok(Some(command)) => command,
            Ok(None) => return,
            Err(failure) => return self.reply(ticket, operation, Answer::Failed(failure), out),
        };
        let (command, what) = command;
        let call = Call { caller: Some(ticket), operation, until: now + within, what };
        self.propose(call, &command, once, out);
    }

    /// The command that a request becomes; none if it became something else.
    fn prepare(
        &mut self,
        now: Instant,
        head: (Ticket, Operation, Instant),
        origin: Origin,
        request: Request,
        out: &mut Vec<Output>,
    ) -> Result<Option<(Command, Pending)>, Failure> {
        let plain = Pending::Write(Shape::Plain);
        Ok(Some(match request {
            Request::Ask { question, mode, min_revision } => {
                self.ask(now, head, question, (mode, min_revision), out);
                return Ok(None);
            }
            Request::KeepAlive(lease) => {
                self.gather(lease, head.0);
                return Ok(None);
            }
            Request::Put { namespace, key, value, lease, condition, previous } => {
                let put = Step::Put { key: key.clone(), value, lease, previous };
                self.single(origin, namespace, (key, condition), put)?
            }
            Request::Delete { namespace, keys, condition } => {
                let key = match &keys {
                    Keys::One(key) => Some(key.clone()),
                    Keys::Prefix(_) | Keys::Range { .. } => None,
                };
                match key {
                    Some(key) => {
                        self.single(origin, namespace, (key, condition), Step::Delete(keys))?
                    }
                    None => {
                        let transaction = alone(namespace, Step::Delete(keys));
                        self.admit(origin, &transaction)?;
                        (Command::Transact(transaction), plain)
                    }
                }
            }
            Request::Transact(transaction) => {
                self.admit(origin, &transaction)?;
                (Command::Transact(transaction), plain)
            }
            Request::Grant { ttl_ms } => (Command::Grant { ttl_ms }, plain),
            Request::Revoke(lease) => (Command::Revoke { lease }, plain),
            Request::Compact { revision } => (Command::Compact { revision }, plain),
            Request::Acquire { acquire, wait } => {
                check_lock(origin, &acquire.lock)?;
                let standing = Standing::new(&acquire, now + wait.min(limits::KV_LOCK_WAIT_MAX));
                (Command::Acquire(acquire), Pending::Acquiring(standing))
            }
            Request::Release { lock, hold } => {
                check_lock(origin, &lock)?;
                (Command::Release { lock, hold }, plain)
            }
        }))
    }

    /// One write under a condition, as a transaction that shows the key if the condition does not hold.
    fn single(
        &self,
        origin: Origin,
        namespace: Namespace,
        (key, condition): (Key, Option<Condition>),
        step: Step,
    ) -> Result<(Command, Pending), Failure> {
        let mut transaction = alone(namespace, step);
        let Some(condition) = condition else {
            self.admit(origin, &transaction)?;
            return Ok((Command::Transact(transaction), Pending::Write(Shape::Plain)));
        };
        let (is, than) = match condition {
            Condition::Absent => (Relation::Equal, Than::CreateRevision(0)),
            Condition::Present => (Relation::Greater, Than::CreateRevision(0)),
            Condition::ModRevision(revision) => (Relation::Equal, Than::ModRevision(revision)),
            Condition::Version(version) => (Relation::Equal, Than::Version(version)),
            Condition::Value(value) => (Relation::Equal, Than::Value(value)),
        };
        transaction.otherwise = vec![Step::Get(Keys::One(key.clone()))].into();
        transaction.compare = vec![Compare { key, is, than }].into();
        self.admit(origin, &transaction)?;
        Ok((Command::Transact(transaction), Pending::Write(Shape::Conditional)))
    }

    /// Whether a caller here may ask for it.
    fn admit(&self, origin: Origin, transaction: &Transaction) -> Result<(), Failure> {
        let namespace = &transaction.namespace;
        if origin == Origin::Caller && namespace.is_reserved() && transaction.writes() {
            return Err(Failure::Reserved(namespace.clone()));
        }
        let invalid = |invalid| Failure::Refused(Refusal::Invalid(invalid));
        transaction.check().map_err(invalid)?;
        let settings = &self.settings;
        let sizes = [
            (transaction.value_bytes(), settings.value_max, Size::Value),
            (transaction.operations(), settings.transaction_operations_max, Size::Operations),
            (transaction.bytes(), settings.transaction_bytes_max, Size::Bytes),
        ];
        let wrong = sizes.into_iter().find(|(size, max, _)| size > max);
        wrong.map_or(Ok(()), |(_, _, size)| Err(Failure::TooLarge(size)))
    }

    pub(super) fn propose(
        &mut self,
        call: Call,
        command: &Command,
        once: Option<Once>,
        out: &mut Vec<Output>,
    ) -> Ticket {
        let deadline = call.until;
        let ticket = self.open(call);
        let payload = Blob::from(encode(command));
        out.push(Output::Propose { ticket, payload, deadline, once });
        ticket
    }

    pub(super) fn open(&mut self, call: Call) -> Ticket {
        self.last_ticket += 1;
        let ticket = Ticket(self.last_ticket);
        self.calls.insert(ticket, call);
        ticket
    }

    pub(super) fn proposed(
        &mut self,
        now: Instant,
        ticket: Ticket,
        result: Result<Blob, Unavailable>,
        out: &mut Vec<Output>,
    ) {
        let call = self.calls.remove(&ticket).expect("the log answers what was proposed, once");
        let outcome = result.and_then(|bytes| outcome(&bytes));
        match call.what {
            Pending::Write(shape) => {
                let answer = outcome.map_or_else(unavailable, |outcome| answer(shape, outcome));
                self.answer_call(call.caller, call.operation, answer, out);
            }
            Pending::Renewing(renewed) => self.renewed(&renewed, outcome, out),
            Pending::Acquiring(ref standing) => {
                let standing = standing.clone();
                self.acquired(now, call, standing, outcome, out);
            }
            Pending::Withdrawing(ref withdrawal) => {
                let answer = withdrawal.answer(outcome);
                self.answer_call(call.caller, call.operation, answer, out);
            }
            Pending::Duty(duty) => self.duties.done(now, duty),
            Pending::Reading { .. }
            | Pending::Behind { .. }
            | Pending::Querying { .. }
            | Pending::AskAgain { .. }
            | Pending::InLine(_)
            | Pending::Unheard
            | Pending::Poll(_) => panic!("the log answered {ticket:?}, which proposed nothing"),
        }
    }

    pub(super) fn answer_call(
        &mut self,
        caller: Option<Ticket>,
        operation: Operation,
        answer: Answer,
        out: &mut Vec<Output>,
    ) {
        if let Some(ticket) = caller {
            self.reply(ticket, operation, answer, out);
        }
    }

    pub(super) fn reply(
        &mut self,
        ticket: Ticket,
        operation: Operation,
        answer: Answer,
        out: &mut Vec<Output>,
    ) {
        self.counters.answered(operation, &answer);
        out.push(Output::Reply { ticket, answer });
    }
}

fn alone(namespace: Namespace, step: Step) -> Transaction {
    Transaction {
        namespace,
        compare: Vec::new().into(),
        then: vec![step].into(),
        otherwise: Vec::new().into(),
    }
}

fn check_lock(origin: Origin, lock: &Lock) -> Result<(), Failure> {
    let reserved = origin == Origin::Caller && lock.namespace.is_reserved();
    if reserved { Err(Failure::Reserved(lock.namespace.clone())) } else { Ok(()) }
}

/// Reads what the log says of a proposal; nothing at all is what is left of a long outcome.
fn outcome(bytes: &[u8]) -> Result<Outcome, Unavailable> {
    if bytes.is_empty() {
        return Ok(Outcome::Forgotten { revision: 0 });
    }
    decode::<Outcome, { limits::KV_OUTCOME_BYTES_MAX }>(bytes).map_err(|_| Unavailable::Ambiguous)
}

fn answer(shape: Shape, outcome: Outcome) -> Answer {
    match outcome {
        Outcome::Transacted { succeeded: false, revision, results }
            if shape == Shape::Conditional =>
        {
            let current = results.0.into_iter().next().and_then(|done| match done {
                Done::Got { items, .. } => items.0.into_iter().next(),
                Done::Put { .. } | Done::Deleted { .. } => None,
            });
            Answer::Failed(Failure::Precondition { revision, current })
        }
        Outcome::Transacted { succeeded, revision, results } => {
            Answer::Transacted { succeeded, revision, results: results.0 }
        }
        Outcome::Granted { lease, ttl_ms } => Answer::Lease { lease, ttl_ms },
        Outcome::Ended { revision, deleted, .. } => Answer::Ended { revision, deleted },
        Outcome::Compacted { compact_revision } => {
            Answer::Compacted(Compacted { compact_revision })
        }
        Outcome::Left { revision } => Answer::Released { revision },
        Outcome::Refused(refusal) => Answer::Failed(Failure::Refused(refusal)),
        Outcome::Forgotten { revision } => Answer::Forgotten { revision },
        // None of these answers what was proposed: whoever said so speaks another version.
        Outcome::Renewed { .. } | Outcome::Contends { .. } | Outcome::Bounded => {
            unavailable(Unavailable::Ambiguous)
        }
    }
}

//! Reads: from the state here once it is fresh enough, or from a node with a copy.

use super::super::ask::{Found, Question, heard};
use super::super::{Answer, Failure, Mode, Output, Unavailable};
use super::call::{Call, Pending};
use super::{Kv, Operation, unavailable};
use crate::ids::Ticket;
use crate::limits;
use crate::time::Instant;
use crate::wire::{Blob, encode};

impl Kv {
    pub(super) fn ask(
        &mut self,
        now: Instant,
        (caller, operation, until): (Ticket, Operation, Instant),
        question: Question,
        (mode, min_revision): (Mode, u64),
        out: &mut Vec<Output>,
    ) {
        // A past revision may still be to come here.
        let min_revision = min_revision.max(question.at());
        let call = |what| Call { caller: Some(caller), operation, until, what };
        match mode {
            Mode::Local if !self.copy => {
                self.reply(caller, operation, Answer::Failed(Failure::NotHere), out);
            }
            Mode::Local => {
                let ticket = self.open(call(Pending::Behind { question, min_revision }));
                self.tell_when_there(now, ticket, out);
            }
            Mode::Linearizable if self.copy => {
                let ticket = self.open(call(Pending::Reading { question, min_revision }));
                out.push(Output::Read { ticket, deadline: until });
            }
            Mode::Linearizable => {
                let bytes = Blob::from(encode(&question));
                let ticket = self.open(call(Pending::Querying { question, min_revision }));
                out.push(Output::Query { ticket, question: bytes, deadline: until });
            }
        }
    }

    pub(super) fn read_ready(
        &mut self,
        now: Instant,
        ticket: Ticket,
        result: Result<(), Unavailable>,
        out: &mut Vec<Output>,
    ) {
        let mut call = self.calls.remove(&ticket).expect("the log answers what was read, once");
        let Pending::Reading { question, min_revision } = call.what else {
            panic!("the log answered {ticket:?}, which read nothing");
        };
        match result {
            Ok(()) => {
                call.what = Pending::Behind { question, min_revision };
                self.calls.insert(ticket, call);
                self.tell_when_there(now, ticket, out);
            }
            // The copy here is no more: another will know.
            Err(Unavailable::NotHere) => {
                let (deadline, bytes) = (call.until, Blob::from(encode(&question)));
                call.what = Pending::Querying { question, min_revision };
                self.calls.insert(ticket, call);
                out.push(Output::Query { ticket, question: bytes, deadline });
            }
            Err(why) => self.answer_call(call.caller, call.operation, unavailable(why), out),
        }
    }

    /// Answers from the state here, now or when it has come so far.
    fn tell_when_there(&mut self, now: Instant, ticket: Ticket, out: &mut Vec<Output>) {
        let call = self.calls.get(&ticket).expect("the call waits");
        let Pending::Behind { question, min_revision } = &call.what else {
            panic!("{ticket:?} does not wait for the state here");
        };
        let (min_revision, until) = (*min_revision, call.until);
        if self.state.revision() < min_revision {
            self.behind.insert((min_revision, ticket));
            self.set_timer(until, ticket);
            return;
        }
        let answer = self.tell(now, question);
        let call = self.calls.remove(&ticket).expect("it was there a moment ago");
        self.answer_call(call.caller, call.operation, answer, out);
    }

    /// The state has come further: whoever waited for that is answered.
    pub(super) fn catch_up(&mut self, now: Instant, out: &mut Vec<Output>) {
        let revision = self.state.revision();
        while self.behind.first().is_some_and(|(wanted, _)| *wanted <= revision) {
            let (_, ticket) = self.behind.pop_first().expect("the first was just there");
            let call = self.calls.get(&ticket).expect("who waits is a call");
            self.timers.remove(&(call.until, ticket));
            self.tell_when_there(now, ticket, out);
        }
    }

    /// The state here did not come so far in time.
    pub(super) fn gave_up(&mut self, ticket: Ticket, out: &mut Vec<Output>) {
        let call = self.calls.remove(&ticket).expect("a timer of a call");
        let Pending::Behind { min_revision, .. } = call.what else { return };
        self.behind.remove(&(min_revision, ticket));
        let revision = self.state.revision();
        let answer = Answer::Failed(Failure::Behind { min_revision, revision });
        self.answer_call(call.caller, call.operation, answer, out);
    }

    pub(super) fn queried(
        &mut self,
        now: Instant,
        ticket: Ticket,
        result: Result<Blob, Unavailable>,
        out: &mut Vec<Output>,
    ) {
        let call = self.calls.remove(&ticket).expect("the log answers what was asked, once");
        let told = result.and_then(|bytes| heard(&bytes).ok_or(Unavailable::NoQuorum));
        #[expect(clippy::wildcard_enum_match_arm, reason = "no other asks; that would be a bug")]
        match call.what {
            Pending::Querying { ref question, min_revision } => match told {
                Err(why) => self.answer_call(call.caller, call.operation, unavailable(why), out),
                Ok(told) if told.revision < min_revision => {
                    let what = Pending::AskAgain { question: question.clone(), min_revision };
                    let until = call.until;
                    self.calls.insert(ticket, Call { what, ..call });
                    self.set_timer(until.min(now + limits::KV_POLL_INTERVAL), ticket);
                }
                Ok(told) => {
                    self.answer_call(call.caller, call.operation, Answer::Told(told), out);
                }
            },
            Pending::InLine(ref standing) => {
                let standing = standing.clone();
                let line = told.ok().and_then(|told| {
                    let Found::Line(line) = told.what else { return None };
                    Some((told.revision, line))
                });
                self.line_told(now, (ticket, call), standing, line, out);
            }
            Pending::Poll(watch) => self.polled(now, (ticket, watch), told, out),
            Pending::Unheard => {}
            what => panic!("the log answered {ticket:?}, which asked nothing: {what:?}"),
        }
    }

    /// A node with a copy was behind: it is asked once more, until there is no time left.
    pub(super) fn ask_again(&mut self, now: Instant, ticket: Ticket, out: &mut Vec<Output>) {
        let mut call = self.calls.remove(&ticket).expect("a timer of a call");
        let Pending::AskAgain { question, min_revision } = call.what else { return };
        if now >= call.until {
            let revision = self.state.revision();
            let answer = Answer::Failed(Failure::Behind { min_revision, revision });
            return self.answer_call(call.caller, call.operation, answer, out);
        }
        let (deadline, bytes) = (call.until, Blob::from(encode(&question)));
        call.what = Pending::Querying { question, min_revision };
        self.calls.insert(ticket, call);
        out.push(Output::Query { ticket, question: bytes, deadline });
    }
}

impl Question {
    /// The revision that it is about; 0 is the present.
    pub(in crate::kv) fn at(&self) -> u64 {
        match self {
            Question::Get { revision, .. } | Question::List { revision, .. } => {
                revision.unwrap_or(0)
            }
            Question::Lease(_) | Question::Line(_) | Question::Changes { .. } => 0,
        }
    }
}

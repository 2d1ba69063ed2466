//! Standing in line for a lock: the caller waits here, its contender in the state.
//!
//! Nobody passes a lock on. Whoever waits looks at the state after each change of the line, or asks a node
//! with a copy now and then, and knows from the order of contenders whether it is its turn. Who has waited
//! enough leaves by its own revision, so that it can take nobody's place with it.

use super::super::ask::{Line, Question, tell};
use super::super::command::{Acquire, Command, Holder, LeaseId, Outcome, Refusal};
use super::super::name::Lock;
use super::super::state::Revision;
use super::super::{Answer, Failure, Found, Output, Unavailable};
use super::call::{Call, Pending};
use super::{Kv, unavailable};
use crate::ids::Ticket;
use crate::limits;
use crate::time::Instant;
use crate::wire::{Blob, encode};

/// A caller in line.
#[derive(Debug, Clone)]
pub(super) struct Standing {
    lock: Lock,
    lease: LeaseId,
    fence: u64,
    /// Whether the lease was granted for this alone.
    granted: bool,
    /// When it has waited enough.
    until: Instant,
    /// The line as it was last seen.
    line: Option<Line>,
    /// A node with a copy was asked for it.
    asked: bool,
}

/// A caller that leaves the line.
#[derive(Debug)]
pub(super) struct Withdrawal {
    standing: Standing,
}

/// Whose turn it is.
enum Turn {
    Ours,
    Others,
    /// The contender is gone: its lease ended, or it was released.
    Gone,
}

impl Standing {
    pub(super) fn new(acquire: &Acquire, until: Instant) -> Standing {
        let (lease, granted) = match acquire.lease {
            Holder::Lease(lease) => (lease, false),
            Holder::Grant(_) => (LeaseId(0), true),
        };
        let lock = acquire.lock.clone();
        Standing { lock, lease, fence: 0, granted, until, line: None, asked: false }
    }

    fn turn(&self, revision: u64, line: &Line) -> Turn {
        let ours = line.contenders.iter().find(|waiting| waiting.contender.fence == self.fence);
        match ours {
            Some(waiting) if waiting.contender.held => Turn::Ours,
            Some(_) => Turn::Others,
            // The state may be one from before we came.
            None if revision < self.fence => Turn::Others,
            None => Turn::Gone,
        }
    }

    fn held(&self) -> Answer {
        Answer::Held { lease: self.lease, fence: self.fence }
    }
}

impl Withdrawal {
    pub(super) fn answer(&self, outcome: Result<Outcome, Unavailable>) -> Answer {
        let standing = &self.standing;
        match outcome {
            Err(why) => unavailable(why),
            Ok(Outcome::Refused(Refusal::Held)) => standing.held(),
            Ok(Outcome::Refused(refusal)) => Answer::Failed(Failure::Refused(refusal)),
            Ok(_) => {
                let empty = Line { permits: 1, contenders: Vec::new().into() };
                let line = standing.line.clone().unwrap_or(empty);
                let before = line.contenders.iter();
                let before = before.filter(|other| other.contender.fence < standing.fence);
                let position = before.count() as u64;
                Answer::Failed(Failure::Contended { line, position })
            }
        }
    }
}

impl Kv {
    /// The log has put us into the line, or not.
    pub(super) fn acquired(
        &mut self,
        now: Instant,
        call: Call,
        mut standing: Standing,
        outcome: Result<Outcome, Unavailable>,
        out: &mut Vec<Output>,
    ) {
        let answer = match outcome {
            Ok(Outcome::Contends { lease, fence, held }) => {
                (standing.lease, standing.fence) = (lease, fence);
                if !held {
                    return self.stand_in_line(now, call, standing, out);
                }
                standing.held()
            }
            Ok(Outcome::Refused(refusal)) => Answer::Failed(Failure::Refused(refusal)),
            Ok(Outcome::Forgotten { revision }) => Answer::Forgotten { revision },
            Ok(_) => unavailable(Unavailable::Ambiguous),
            Err(why) => unavailable(why),
        };
        self.answer_call(call.caller, call.operation, answer, out);
    }

    fn stand_in_line(
        &mut self,
        now: Instant,
        call: Call,
        standing: Standing,
        out: &mut Vec<Output>,
    ) {
        let prefix = standing.lock.prefix();
        let ticket = self.open(Call { what: Pending::InLine(standing), ..call });
        self.lines.entry(prefix).or_default().insert(ticket);
        self.look_at_line(now, ticket, out);
    }

    /// Looks at the state here, or sees to it that another's is asked.
    fn look_at_line(&mut self, now: Instant, ticket: Ticket, out: &mut Vec<Output>) {
        let Some(standing) = self.standing(ticket) else { return };
        let (until, question) = (standing.until, Question::Line(standing.lock.clone()));
        if !self.copy {
            self.set_timer(until.min(now + limits::KV_POLL_INTERVAL), ticket);
            return;
        }
        let told = tell(&self.state, self.log_time(now), &question);
        let Found::Line(line) = told.what else { return };
        self.set_timer(until, ticket);
        self.line_seen(now, ticket, (told.revision, line), out);
    }

    fn standing(&mut self, ticket: Ticket) -> Option<&mut Standing> {
        let Pending::InLine(standing) = &mut self.calls.get_mut(&ticket)?.what else {
            return None;
        };
        Some(standing)
    }

    fn line_seen(
        &mut self,
        now: Instant,
        ticket: Ticket,
        (revision, line): (u64, Line),
        out: &mut Vec<Output>,
    ) {
        let Some(standing) = self.standing(ticket) else { return };
        let answer = match standing.turn(revision, &line) {
            Turn::Ours => standing.held(),
            Turn::Gone => Answer::Failed(Failure::Refused(Refusal::NotHeld)),
            Turn::Others => {
                standing.line = Some(line);
                if now >= standing.until {
                    self.withdraw(now, ticket, out);
                }
                return;
            }
        };
        let call = self.leave_line(ticket);
        self.answer_call(call.caller, call.operation, answer, out);
    }

    /// The call goes on elsewhere, or ends.
    fn leave_line(&mut self, ticket: Ticket) -> Call {
        let call = self.calls.remove(&ticket).expect("who stands in line is a call");
        let Pending::InLine(standing) = &call.what else { panic!("{ticket:?} stands in no line") };
        let prefix = standing.lock.prefix();
        self.timers.remove(&(standing.until, ticket));
        let line = self.lines.get_mut(&prefix).expect("who stands in line is in its index");
        line.remove(&ticket);
        if line.is_empty() {
            self.lines.remove(&prefix);
        }
        if standing.asked {
            let (operation, until) = (call.operation, call.until);
            let unheard = Call { caller: None, operation, until, what: Pending::Unheard };
            self.calls.insert(ticket, unheard);
        }
        call
    }

    fn withdraw(&mut self, now: Instant, ticket: Ticket, out: &mut Vec<Output>) {
        let call = self.leave_line(ticket);
        let Pending::InLine(standing) = call.what else { return };
        let (lock, fence, revoke) = (standing.lock.clone(), standing.fence, standing.granted);
        let what = Pending::Withdrawing(Withdrawal { standing });
        let until = now + self.settings.deadline;
        let call = Call { caller: call.caller, operation: call.operation, until, what };
        self.propose(call, &Command::Withdraw { lock, fence, revoke }, None, out);
    }

    /// A timer of somebody in line: it has waited enough, or asks how the line stands.
    pub(super) fn line_timer(&mut self, now: Instant, ticket: Ticket, out: &mut Vec<Output>) {
        let copy = self.copy;
        let Some(standing) = self.standing(ticket) else { return };
        if now >= standing.until && (copy || standing.line.is_some()) {
            return self.withdraw(now, ticket, out);
        }
        if copy {
            return self.look_at_line(now, ticket, out);
        }
        if std::mem::replace(&mut standing.asked, true) {
            return;
        }
        let question = Blob::from(encode(&Question::Line(standing.lock.clone())));
        let deadline = now + self.settings.deadline;
        out.push(Output::Query { ticket, question, deadline });
    }

    /// A node with a copy told how the line stands, or nobody did.
    pub(super) fn line_told(
        &mut self,
        now: Instant,
        (ticket, call): (Ticket, Call),
        mut standing: Standing,
        told: Option<(u64, Line)>,
        out: &mut Vec<Output>,
    ) {
        standing.asked = false;
        let until = standing.until;
        self.calls.insert(ticket, Call { what: Pending::InLine(standing), ..call });
        match told {
            Some(seen) => self.line_seen(now, ticket, seen, out),
            None if now >= until => return self.withdraw(now, ticket, out),
            None => {}
        }
        if self.standing(ticket).is_some() {
            self.look_at_line(now, ticket, out);
        }
    }

    /// Some contenders came or went.
    pub(super) fn lines_moved(&mut self, now: Instant, changed: &Revision, out: &mut Vec<Output>) {
        if self.lines.is_empty() {
            return;
        }
        let prefixes = changed.changes.iter().filter_map(|change| Lock::prefix_of(&change.path));
        let tickets: Vec<Ticket> =
            prefixes.filter_map(|prefix| self.lines.get(&prefix)).flatten().copied().collect();
        for ticket in tickets {
            self.look_at_line(now, ticket, out);
        }
    }

    /// Another state took the place of the one here.
    pub(super) fn all_lines_moved(&mut self, now: Instant, out: &mut Vec<Output>) {
        let tickets: Vec<Ticket> = self.lines.values().flatten().copied().collect();
        for ticket in tickets {
            self.look_at_line(now, ticket, out);
        }
    }
}

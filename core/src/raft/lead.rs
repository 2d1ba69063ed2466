//! What a leader does of itself: time that passes visibly, requesters that are gone, changes to finish.

use std::collections::BTreeSet;
use std::time::Duration;

use super::apply::{Command, VERSION};
use super::pending::What;
use super::table::later;
use super::{LogTime, Operation, Output, Raft, Refusal, Replica, Subject, Ticket};
use crate::ids::MemberId;
use crate::limits::FRAME_CONTROL_BYTES_MAX;
use crate::time::Instant;
use crate::wire::decode;
use crate::wire::raft::{Change, Entry, Proposal};

/// A leader's memory, and the clock that it would go by.
#[derive(Debug)]
pub(super) struct Leading {
    /// Log time of the last entry held, and when it came.
    held: (LogTime, Instant),
    waiting: BTreeSet<Subject>,
    clock_at: Instant,
    retired_at: Instant,
    pub(super) since: Instant,
    /// Snapshots of one point may differ: each has its own number.
    pub(super) image_number: u64,
}

impl Leading {
    pub(super) fn new(now: Instant) -> Leading {
        Leading {
            held: (LogTime(0), now),
            waiting: BTreeSet::new(),
            clock_at: now,
            retired_at: now,
            since: now,
            image_number: 0,
        }
    }

    pub(super) fn begins(&mut self, now: Instant) {
        self.since = now;
    }

    /// The log ends with `entries` now. Those without a time leave the clock running.
    pub(super) fn held(&mut self, now: Instant, entries: &[Entry]) {
        let services = entries.iter().rev().filter(|entry| !entry.configuration);
        let mut proposals = services
            .filter_map(|entry| decode::<Proposal, FRAME_CONTROL_BYTES_MAX>(&entry.payload).ok());
        if let Some(proposal) = proposals.next() {
            self.held = (proposal.log_time, now);
        }
    }

    pub(super) fn proposed(&mut self, now: Instant, time: LogTime) {
        self.held = (time, now);
    }

    pub(super) fn restored(&mut self, now: Instant, time: LogTime) {
        self.held = (time, now);
    }

    /// The log's time, as this node would write it: what its last entry says, and what has passed here
    /// since that came. So elections do not stop it, and no wall clock moves it.
    pub(super) fn now(&self, now: Instant) -> LogTime {
        let (time, at) = self.held;
        later(time, now.since(at))
    }

    pub(super) fn waiting(&mut self, subject: Subject, waits: bool) {
        if waits {
            self.waiting.insert(subject);
        } else {
            self.waiting.remove(&subject);
        }
    }
}

impl Raft {
    /// A tick of a leader.
    pub(super) fn lead(&mut self, now: Instant) {
        let Some(group) = &self.group else { return };
        if !group.leads() || !group.is_current() {
            return;
        }
        if !self.leading.waiting.is_empty() && now.since(self.leading.clock_at) >= CLOCK_EVERY {
            self.leading.clock_at = now;
            self.command(now, &Command::Clock);
        }
        if now.since(self.leading.retired_at) >= RETIRE_EVERY {
            self.leading.retired_at = now;
            if let Some(replica) = self.forgotten() {
                self.command(now, &Command::Retire(replica));
            }
        }
        self.finish_joint();
        self.climb(now);
    }

    /// The log's own command. One that is lost is proposed again when its time has come again.
    fn command(&mut self, now: Instant, command: &Command) -> bool {
        let payload = command.encode();
        self.propose(now, Subject::RAFT, VERSION, None, 0, None, payload).is_ok()
    }

    /// A requester whom membership has forgotten.
    fn forgotten(&self) -> Option<Replica> {
        let requesters = self.state.table.requesters.keys();
        requesters.into_iter().find(|replica| self.gone.holds(replica)).cloned()
    }

    /// A joint configuration ends as soon as it is in force.
    fn finish_joint(&mut self) {
        if self.state.configuration.outgoing.is_empty() {
            return;
        }
        if let Some(group) = &mut self.group {
            // Refused while a change is on its way; the next tick asks again.
            let _ = group.propose_change(&Change::default());
        }
    }

    /// Proposes a change of the configuration.
    pub(super) fn change(&mut self, change: &Change) -> bool {
        let proposed = self.group.as_mut().map(|group| group.propose_change(change));
        matches!(proposed, Some(Ok(_)))
    }

    /// Something was applied that a leader may act on.
    pub(super) fn changed(&mut self, _now: Instant) {
        if self.group.as_ref().is_some_and(|group| group.leads()) {
            self.finish_joint();
        }
    }

    /// An operator wants something. Settings go through the log, from wherever they are asked for; only the
    /// leader can hand over its lead.
    pub(super) fn operate(
        &mut self,
        now: Instant,
        ticket: Ticket,
        operation: &Operation,
        out: &mut Vec<Output>,
    ) {
        let to = match operation {
            Operation::VotersMax { voters_max } => {
                let payload = Command::VotersMax(*voters_max).encode();
                let what = What::Propose { version: VERSION, payload, idempotency: None };
                return self.submit(now, Subject::RAFT, ticket, now + OPERATED_WITHIN, what, out);
            }
            Operation::Transfer { to } => to,
        };
        let leads = self.group.as_ref().is_some_and(|group| group.leads());
        let result = match self.successor(to.as_ref()) {
            _ if !leads => Err(Refusal::NotLeader),
            Some(member) => {
                self.hand_over(member);
                Ok(())
            }
            None => Err(Refusal::NotHere),
        };
        out.push(Output::Operated { ticket, result });
    }

    /// Hands the lead over; done when another leads.
    pub(super) fn hand_over(&mut self, to: MemberId) {
        if let Some(group) = &mut self.group {
            group.transfer(to);
        }
    }

    /// The voter on `node`, or the one that holds most.
    fn successor(&self, node: Option<&crate::ids::NodeId>) -> Option<MemberId> {
        let group = self.group.as_ref()?;
        let others = self.state.configuration.voters.iter().copied();
        let others = others.filter(|member| !self.identity.is(*member));
        match node {
            Some(node) => others.into_iter().find(|one| self.node_of(*one).as_ref() == Some(node)),
            None => {
                others.max_by_key(|member| (group.matched(*member), std::cmp::Reverse(*member)))
            }
        }
    }
}

const OPERATED_WITHIN: Duration = Duration::from_secs(5);
const CLOCK_EVERY: Duration = Duration::from_secs(1);
const RETIRE_EVERY: Duration = Duration::from_secs(2);

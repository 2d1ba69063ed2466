//! Promises of the consistent store: KV-1 to KV-6, KV-9, and RF-7 as its callers see it.
//!
//! What callers asked and heard is written down as it happens, and judged when the run is over. Who was not
//! answered, or was told that nobody knows, may have been served at any later moment, or never; who was
//! refused was not served.
//!
//! Absent on purpose: bounds of the store (KV-8), which its own scripts and models hold.

pub mod leases;
pub mod locks;
pub mod spaces;
pub mod watches;

use std::collections::BTreeMap;

use quorate_core::ids::Ticket;
use quorate_core::node::kv::{self, Failure as Refused, Found, Question, Told, Unavailable, What};
use quorate_core::node::raft::Genesis;
use quorate_core::node::{Reply, Request};

use super::{Id, Ledger, Turn};
use crate::clock::Micros;
use crate::history::{Answer, Call, Limits, Operation, Verdict, check};
use crate::verdict::Failure;
use crate::world::machine::Machine;

/// See the module.
#[derive(Debug, Default)]
pub struct Watch {
    calls: BTreeMap<Ticket, Call>,
    states: BTreeMap<(Genesis, u64), u64>,
    /// Per process.
    revisions: BTreeMap<u64, u64>,
    /// What watchers heard.
    pub watches: watches::Watches,
    /// Who holds.
    pub locks: locks::Locks,
    leases: leases::Leases,
    spaces: spaces::Spaces,
    /// Through which revision it is known what members applied.
    through: u64,
}

impl Watch {
    pub(super) fn asked(&mut self, now: Micros, machine: usize, ticket: Ticket, request: &Request) {
        let Request::Kv { request, .. } = request else { return };
        self.spaces.asked(machine, ticket, request);
        let Some(operation) = operation(request) else { return };
        // Everybody asks once: a node may have many calls open.
        let caller = u32::try_from(self.calls.len()).unwrap_or(u32::MAX);
        let call = Call { caller, called: now, returned: None, operation, answer: None };
        self.calls.insert(ticket, call);
    }

    pub(super) fn answered(&mut self, now: Micros, ticket: Ticket, reply: &Reply) {
        if let Reply::Kv(reply) = reply {
            self.locks.answered(ticket, reply);
            self.spaces.answered(ticket, reply);
        }
        let (Reply::Kv(reply), Some(call)) = (reply, self.calls.get_mut(&ticket)) else { return };
        if *reply == kv::Answer::Failed(Refused::Unavailable(Unavailable::Ambiguous)) {
            return;
        }
        match answer(&call.operation, reply) {
            Some(answer) => {
                call.returned = Some(now);
                call.answer = Some(answer);
            }
            None => drop(self.calls.remove(&ticket)),
        }
    }

    /// KV-2.
    pub(super) fn turn(&mut self, turn: &Turn<'_>, ledger: &mut Ledger) -> Result<(), Failure> {
        let Some(genesis) = turn.process.node.raft().genesis() else { return Ok(()) };
        let state = turn.process.node.kv().state();
        self.watches.of_log(genesis);
        if state.revision() > self.through {
            if state.compact_revision() > self.through {
                self.leases.missed();
                self.spaces.missed();
            }
            for (revision, changed) in state.since(self.through + 1) {
                self.watches.applied(revision, changed);
                self.locks.applied(changed);
                self.leases.applied(changed);
                self.spaces.applied(revision, changed);
            }
            self.through = state.revision();
        }
        self.leases.shown(state);
        // Two logs have two lines for one lock; what founds a second one is another promise's business.
        if self.watches.one_log() {
            self.locks.look(ledger)?;
            self.leases.look(ledger)?;
            self.spaces.look(ledger)?;
        } else {
            self.locks.forget();
            self.leases.forget();
            self.spaces.forget();
        }
        let (index, digest) = (state.index(), state.digest());
        let known = *self.states.entry((genesis, index)).or_insert(digest);
        ledger.hold(Id::KV2, turn.machine, known == digest, || {
            format!("the state at {index} is {digest:016x} here and was {known:016x}")
        })?;
        let before = self.revisions.insert(turn.process.number, state.revision()).unwrap_or(0);
        ledger.hold(Id::KV2, turn.machine, before <= state.revision(), || {
            format!("the revision fell from {before} to {}", state.revision())
        })
    }

    /// The run is over.
    pub fn ended(&self, machines: &[Machine], ledger: &mut Ledger) -> Result<(), Failure> {
        self.once(machines, ledger)?;
        self.one_story(ledger)
    }

    /// RF-7, seen from outside: the history holds no write more often than callers asked for it.
    fn once(&self, machines: &[Machine], ledger: &mut Ledger) -> Result<(), Failure> {
        let mut asked: BTreeMap<(String, &str), u64> = BTreeMap::new();
        for (key, value) in self.calls.values().flat_map(|call| &call.operation.write) {
            let value = value.as_deref().unwrap_or_default();
            *asked.entry((key.clone(), value)).or_default() += 1;
        }
        for (index, machine) in machines.iter().enumerate() {
            let Some(process) = &machine.process else { continue };
            let mut done: BTreeMap<(String, Vec<u8>), u64> = BTreeMap::new();
            let history = process.node.kv().state().since(0);
            for change in history.flat_map(|(_, revision)| &revision.changes) {
                let What::Put(version) = &change.what else { continue };
                let key = String::from_utf8_lossy(change.path.key());
                let write = (named(change.path.namespace(), &key), version.value.to_vec());
                *done.entry(write).or_default() += 1;
            }
            for ((key, value), most) in &asked {
                let write = (key.clone(), value.as_bytes().to_vec());
                let times = done.get(&write).copied().unwrap_or(0);
                ledger.hold(Id::RF7, index, times <= *most, || {
                    format!("{key} = {value} was put {times} times and asked for {most} times")
                })?;
            }
        }
        Ok(())
    }

    /// KV-1. What is too much to look at is not counted as looked at.
    fn one_story(&self, ledger: &mut Ledger) -> Result<(), Failure> {
        let told = |call: &&Call| call.answer.is_some() || !call.operation.write.is_empty();
        let calls: Vec<Call> = self.calls.values().filter(told).cloned().collect();
        if calls.iter().all(|call| call.answer.is_none()) {
            return Ok(());
        }
        match check(&calls, LIMITS) {
            Verdict::Linear => ledger.hold(Id::KV1, 0, true, String::new),
            Verdict::Wrong(why) => ledger.hold(Id::KV1, 0, false, || why),
            Verdict::Undecided(_) => Ok(()),
        }
    }
}

/// What a call is to a history; `None` for what callers of the simulator do not ask.
fn operation(request: &kv::Request) -> Option<Operation> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut operation = Operation::default();
    match request {
        kv::Request::Put { namespace, key, value, condition, .. } => {
            let key = named(namespace.as_str(), &text(key.as_slice()));
            let revision = match condition {
                Some(kv::Condition::Absent) => Some(0),
                Some(kv::Condition::ModRevision(revision)) => Some(*revision),
                None => None,
                Some(_) => return None,
            };
            operation.expect.extend(revision.map(|revision| (key.clone(), revision)));
            operation.write.insert(key, Some(text(value)));
        }
        kv::Request::Ask {
            question: Question::Get { namespace, key, revision: None },
            mode,
            ..
        } => {
            if *mode != kv::Mode::Linearizable {
                return None;
            }
            operation.read.insert(named(namespace.as_str(), &text(key.as_slice())));
        }
        _ => return None,
    }
    Some(operation)
}

/// A key as a history knows it.
fn named(namespace: &str, key: &str) -> String {
    format!("{namespace}/{key}")
}

/// What a reply is to a history; `None` if it is a refusal.
fn answer(operation: &Operation, reply: &kv::Answer) -> Option<Answer> {
    match reply {
        kv::Answer::Transacted { succeeded, revision, .. } => {
            let (succeeded, revision) = (*succeeded, *revision);
            Some(Answer { revision, succeeded, changed: succeeded, read: BTreeMap::new() })
        }
        kv::Answer::Failed(Refused::Precondition { revision, .. }) => {
            Some(Answer { revision: *revision, ..Answer::default() })
        }
        kv::Answer::Told(Told { revision, what: Found::Key(held) }) => {
            let key = operation.read.first()?.clone();
            let shown = held.as_ref().map(|version| {
                (String::from_utf8_lossy(&version.value).into_owned(), version.mod_revision)
            });
            let read = BTreeMap::from([(key, shown)]);
            Some(Answer { revision: *revision, succeeded: true, changed: false, read })
        }
        _ => None,
    }
}

const LIMITS: Limits = Limits {
    callers_max: usize::MAX,
    calls_max: 500,
    unknown_percent_max: 100,
    steps_max: 100_000,
};

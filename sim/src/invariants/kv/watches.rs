//! What watchers hear: KV-3.
//!
//! A watcher is a caller that watches the keys of callers wherever it is sent, and goes on there behind what it has
//! heard, as one does that lost its connection. What it is told is compared with what any member was seen to apply.
//!
//! Absent on purpose: how soon. A copy that has applied a change tells its watchers in the same turn; one that asks
//! others is told within a poll.

use std::collections::{BTreeMap, BTreeSet};

use quorate_core::ids::Ticket;
use quorate_core::node::kv::state::Revision;
use quorate_core::node::kv::{Event, Key, Keys, WatchRequest, What};
use quorate_core::node::raft::Genesis;
use quorate_core::wire::Blob;

use super::super::{Id, Ledger};
use crate::surfaces::NAMESPACE;
use crate::verdict::Failure;

/// All watchers, and what there was to hear.
#[derive(Debug, Default)]
pub struct Watches {
    watchers: BTreeMap<u64, Watcher>,
    /// Whose watch a ticket is.
    open: BTreeMap<Ticket, u64>,
    /// By revision, what was changed of the keys of callers.
    history: BTreeMap<u64, Vec<(Vec<u8>, What)>>,
    logs: BTreeSet<Genesis>,
}

/// One caller that watches.
#[derive(Debug, Default)]
struct Watcher {
    key: Option<Key>,
    /// Everything below was told; `None` until the first word.
    next: Option<u64>,
    /// Where it watches now.
    open: Option<(usize, Ticket)>,
}

impl Watches {
    /// Whoever watches as `number` does so at `machine` now, under `ticket`; all keys if none is named.
    pub fn opened(&mut self, number: u64, machine: usize, ticket: Ticket, key: Option<Key>) {
        let watcher = self.watchers.entry(number).or_default();
        watcher.key = key;
        watcher.open = Some((machine, ticket));
        self.open.insert(ticket, number);
    }

    /// What `number` watches, once it does: for ever the same.
    pub fn key_of(&self, number: u64) -> Option<Option<Key>> {
        self.watchers.get(&number).map(|watcher| watcher.key.clone())
    }

    /// The watch that `number` has open and gives up.
    pub fn close(&mut self, number: u64) -> Option<(usize, Ticket)> {
        let (machine, ticket) = self.watchers.get_mut(&number)?.open.take()?;
        self.open.remove(&ticket);
        Some((machine, ticket))
    }

    /// What `number` asks for, who watches `key`.
    pub fn request(&self, number: u64, key: Option<Key>) -> WatchRequest {
        let watcher = self.watchers.get(&number);
        let namespace = NAMESPACE.parse().expect("the simulator's namespace is one");
        let from = watcher.and_then(|watcher| watcher.next);
        let keys = key.map_or(Keys::Prefix(Blob::default()), Keys::One);
        WatchRequest { namespace, keys, from, previous: false }
    }

    /// A member has a copy of this log.
    pub(super) fn of_log(&mut self, genesis: Genesis) {
        self.logs.insert(genesis);
    }

    /// Whether all copies are of one log.
    pub(super) fn one_log(&self) -> bool {
        self.logs.len() == 1
    }

    /// What a revision changed, as the first member applied it.
    pub(super) fn applied(&mut self, revision: u64, changed: &Revision) {
        let ours = changed.changes.iter().filter(|change| change.path.namespace() == NAMESPACE);
        let ours = ours.map(|change| (change.path.key().to_vec(), change.what.clone()));
        self.history.insert(revision, ours.collect());
    }

    /// A watcher is told something.
    pub fn told(
        &mut self,
        machine: usize,
        ticket: Ticket,
        event: &Event,
        ledger: &mut Ledger,
    ) -> Result<(), Failure> {
        let Some(number) = self.open.get(&ticket).copied() else { return Ok(()) };
        let Some(watcher) = self.watchers.get_mut(&number) else { return Ok(()) };
        let (revision, changes) = match event {
            Event::Changes { revision, changes } => (*revision, changes.as_slice()),
            Event::Progress { revision } => (*revision, [].as_slice()),
            Event::Compacted(_) | Event::Refused(_) => {
                // It lists anew, and watches from there.
                (watcher.next, watcher.open) = (None, None);
                self.open.remove(&ticket);
                return Ok(());
            }
        };
        let next = watcher.next;
        watcher.next = next.max(Some(revision + 1));
        if next.is_none() && changes.is_empty() {
            return Ok(()); // Where it began is known only now.
        }
        // Two logs have two histories; what founds a second one is another promise's business.
        if self.logs.len() > 1 {
            return Ok(());
        }
        let key = watcher.key.as_ref().map(Key::as_slice);
        let wanted = |name: &[u8]| key.is_none_or(|key| key == name);
        let told: Vec<_> = changes
            .iter()
            .map(|change| (revision, change.key.as_slice().to_vec(), change.what.clone()))
            .collect();
        let repeated = next.is_some_and(|next| revision < next) && !changes.is_empty();
        let from = next.unwrap_or(revision).min(revision + 1);
        let there = self.history.range(from..revision + 1).flat_map(|(at, changed)| {
            let wanted = changed.iter().filter(|(name, _)| wanted(name));
            wanted.map(|(name, what)| (*at, name.clone(), what.clone()))
        });
        let there: Vec<_> = there.collect();
        // What a member has forgotten by now, nobody compares.
        let known = (from..=revision).all(|at| self.history.contains_key(&at)) || repeated;
        if !known {
            return Ok(());
        }
        ledger.hold(Id::KV3, machine, !repeated && told == there, || {
            format!(
                "watcher {number}, who had heard all below {next:?}, was told {told:?} where {there:?} happened"
            )
        })
    }
}

//! What a namespace holds: KV-6.
//!
//! Callers use the same keys in two namespaces, of which one begins like the other. What a member commits was asked
//! for in that namespace; what a caller reads was put there; and a list is everything that was there at the
//! revision that it names.
//!
//! Absent on purpose: pages. Callers of the simulator have fewer keys than a page holds.

use std::collections::{BTreeMap, BTreeSet};

use quorate_core::ids::Ticket;
use quorate_core::node::kv::state::Revision;
use quorate_core::node::kv::{self, Found, Question, Told, What};

use super::super::{Id, Ledger};
use crate::surfaces::NAMESPACES;
use crate::verdict::Failure;

/// A key and what it holds.
type Held = (Vec<u8>, Vec<u8>);
/// At a revision: namespace, key, and what is there from then on.
type Written = (u64, String, Vec<u8>, Option<Vec<u8>>);

/// All namespaces of callers.
#[derive(Debug, Default)]
pub struct Spaces {
    /// What callers wanted to put, and where.
    asked: BTreeSet<(String, Held)>,
    /// Who reads where.
    reads: BTreeMap<Ticket, (usize, String, Option<Vec<u8>>)>,
    /// What was committed, in order.
    history: Vec<Written>,
    /// Through which revision that is all.
    through: u64,
    /// Whether revisions are missing.
    holes: bool,
    /// What was found false and is still to be said.
    wrong: Vec<(usize, String)>,
    looked: u64,
}

impl Spaces {
    /// A caller asks at `machine`.
    pub(super) fn asked(&mut self, machine: usize, ticket: Ticket, request: &kv::Request) {
        match request {
            kv::Request::Put { namespace, key, value, .. } => {
                let held = (key.as_slice().to_vec(), value.to_vec());
                self.asked.insert((namespace.to_string(), held));
            }
            kv::Request::Ask { question: Question::Get { namespace, key, .. }, .. } => {
                let key = Some(key.as_slice().to_vec());
                self.reads.insert(ticket, (machine, namespace.to_string(), key));
            }
            kv::Request::Ask { question: Question::List { namespace, .. }, .. } => {
                self.reads.insert(ticket, (machine, namespace.to_string(), None));
            }
            _ => {}
        }
    }

    /// What a revision changed, as the first member applied it.
    pub(super) fn applied(&mut self, number: u64, revision: &Revision) {
        for change in &revision.changes {
            let space = change.path.namespace().to_owned();
            if !NAMESPACES.contains(&space.as_str()) {
                continue;
            }
            let key = change.path.key().to_vec();
            let value = match &change.what {
                What::Put(version) => Some(version.value.to_vec()),
                What::Delete(_) => None,
            };
            if let Some(value) = &value {
                self.wanted(0, &space, (key.clone(), value.clone()));
            }
            self.history.push((number, space, key, value));
        }
        self.through = number;
    }

    /// Revisions are missing in what members showed.
    pub(super) fn missed(&mut self) {
        self.holes = true;
    }

    fn wanted(&mut self, machine: usize, space: &str, held: Held) {
        self.looked += 1;
        let asked = (space.to_owned(), held);
        if !self.asked.contains(&asked) {
            let (space, (key, value)) = asked;
            let (key, value) = (key.escape_ascii(), value.escape_ascii());
            self.wrong
                .push((machine, format!("{space} shows {key} = {value}, which nobody put there")));
        }
    }

    /// A caller hears.
    pub(super) fn answered(&mut self, ticket: Ticket, answer: &kv::Answer) {
        let kv::Answer::Told(Told { what, .. }) = answer else { return };
        let Some((machine, space, key)) = self.reads.remove(&ticket) else { return };
        match (what, key) {
            (Found::Key(Some(version)), Some(key)) => {
                self.wanted(machine, &space, (key, version.value.to_vec()));
            }
            (Found::Page { revision, page }, None) if *revision <= self.through && !self.holes => {
                let told: Vec<Held> = page
                    .items
                    .iter()
                    .map(|item| (item.key.as_slice().to_vec(), item.held.value.to_vec()))
                    .collect();
                self.looked += 1;
                let there = self.at(&space, *revision);
                if told != there {
                    let what =
                        format!("{space} at {revision} was told as {told:?} and is {there:?}");
                    self.wrong.push((machine, what));
                }
            }
            _ => {}
        }
    }

    /// Everything in a namespace at a revision, in order.
    fn at(&self, space: &str, revision: u64) -> Vec<Held> {
        let mut held = BTreeMap::new();
        let upto = self.history.iter().take_while(|(number, ..)| *number <= revision);
        for (_, _, key, value) in upto.filter(|(_, this, ..)| this == space) {
            match value {
                Some(value) => _ = held.insert(key.clone(), value.clone()),
                None => _ = held.remove(key),
            }
        }
        held.into_iter().collect()
    }

    /// Nothing that was found says anything.
    pub(super) fn forget(&mut self) {
        self.wrong.clear();
    }

    /// What was found since the last look.
    pub(super) fn look(&mut self, ledger: &mut Ledger) -> Result<(), Failure> {
        (0..std::mem::take(&mut self.looked)).for_each(|_| ledger.note(Id::KV6));
        self.wrong
            .drain(..)
            .try_for_each(|(machine, what)| ledger.hold(Id::KV6, machine, false, || what))
    }
}

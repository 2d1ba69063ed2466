//! What looks find, in the order in which that counts: K3, K9 and K10.
//!
//! Looks are answered in any order and count in the order in which they began; what a surface wrote counts at
//! once. So the simulator knows by which look each key must be known, without a word of the node.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use quorate_core::ids::Ticket;
use quorate_core::limits;
use quorate_core::machine::Counted as _;
use quorate_core::node::credentials::{Command, Credentials, Found, Head, Key, Look, Seen};
use quorate_core::node::{Answer, Input, Request};
use quorate_core::time::Instant;

use crate::invariants::{Id, Ledger};
use crate::verdict::Failure;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Looks {
    /// Those that do not count yet, in the order in which they began.
    open: VecDeque<Open>,
    /// By which look each key is known.
    known: BTreeMap<Key, u64>,
    /// Since when a file is no record.
    invalid: BTreeMap<Key, Instant>,
    /// What counts in this turn.
    counted: Vec<News>,
}

#[derive(Debug)]
struct Open {
    asked: Ticket,
    key: Key,
    /// What it found, and when that came.
    found: Option<(Instant, Look)>,
}

/// What came in, when it counts.
#[derive(Debug)]
enum News {
    Look(Counts),
    /// The store listed these, as of a look.
    Listed(u64, Vec<Key>),
}

/// A look whose turn it is.
#[derive(Debug)]
struct Counts {
    key: Key,
    /// When what it found came.
    at: Instant,
    look: Look,
    /// A surface wrote it.
    is_word: bool,
}

/// A node's credentials around one turn.
pub(super) struct Around<'a> {
    pub(super) machine: usize,
    pub(super) now: Instant,
    pub(super) before: &'a BTreeMap<Key, Arc<Head>>,
    pub(super) after: &'a Credentials,
    /// What was removed because it was missed, if anything.
    pub(super) removed: BTreeSet<Key>,
}

impl Looks {
    /// A look begins. K9: a hint that repeats makes no second one.
    pub(super) fn begins(
        &mut self,
        machine: usize,
        ticket: Ticket,
        key: &Key,
        ledger: &mut Ledger,
    ) -> Result<(), Failure> {
        let twice = self.open.iter().any(|other| other.key == *key);
        ledger.hold(Id::K9, machine, !twice, || format!("{key} is looked at twice at once"))?;
        self.open.push_back(Open { asked: ticket, key: key.clone(), found: None });
        Ok(())
    }

    /// Notes what came in.
    pub(super) fn hear(&mut self, now: Instant, input: &Input) {
        match input {
            Input::Answered { ticket, answer: Answer::Credential(Found::Look(look)) } => {
                let open = self.open.iter_mut().find(|open| open.asked == *ticket);
                if let Some(open) = open {
                    open.found = Some((now, look.clone()));
                }
                while self.open.front().is_some_and(|open| open.found.is_some()) {
                    let Some(Open { key, found, .. }) = self.open.pop_front() else { break };
                    let counts = |(at, look)| News::Look(Counts { key, at, look, is_word: false });
                    self.counted.extend(found.map(counts));
                }
            }
            Input::Answered { answer: Answer::Credential(Found::Listing(Ok(listing))), .. } => {
                let keys = listing.found.iter().map(|(key, _)| key.clone()).collect();
                self.counted.push(News::Listed(listing.order, keys));
            }
            Input::Request {
                request: Request::Credential(Command::Wrote { key, look }), ..
            } => {
                let (key, look) = (key.clone(), look.clone());
                self.counted.push(News::Look(Counts { key, at: now, look, is_word: true }));
            }
            _ => {}
        }
    }

    /// Compares what a turn made of what counted in it.
    pub(super) fn judge(
        &mut self,
        around: &Around<'_>,
        ledger: &mut Ledger,
    ) -> Result<(), Failure> {
        let counted = std::mem::take(&mut self.counted);
        let mut often: BTreeMap<Key, usize> = BTreeMap::new();
        for one in &counted {
            if let News::Look(one) = one {
                *often.entry(one.key.clone()).or_default() += 1;
            }
        }
        let mut found = BTreeSet::new();
        for news in counted {
            let one = match news {
                News::Look(one) => one,
                News::Listed(order, keys) => {
                    self.listed(order, keys, around);
                    continue;
                }
            };
            let late = self.known.get(&one.key).is_some_and(|order| *order >= one.look.order);
            let alone = often.get(&one.key) == Some(&1) && !around.removed.contains(&one.key);
            // Of several in one turn only the last state is to be seen.
            if alone {
                one.judge(late, around, ledger)?;
            }
            if !late && matches!(one.look.seen, Seen::Record { .. }) {
                found.insert(one.key.clone());
            }
            self.count(one, late, around);
        }
        // Whatever else a turn did, no record comes back that was not found in it.
        for (key, _) in around.before.iter().filter(|(key, head)| {
            head.deleted && around.after.head(key).is_some_and(|head| !head.deleted)
        }) {
            ledger.hold(Id::K3, around.machine, found.contains(key), || {
                format!("{key} was deleted, and is back without having been found")
            })?;
        }
        self.invalid.retain(|key, _| !around.removed.contains(key));
        self.tell(around, ledger)
    }

    /// What is listed is known by that, and not by an earlier look.
    fn listed(&mut self, order: u64, keys: Vec<Key>, around: &Around<'_>) {
        for key in keys {
            if self.known.contains_key(&key) || around.before.contains_key(&key) {
                let known = self.known.entry(key).or_default();
                *known = order.max(*known);
            }
        }
    }

    fn count(&mut self, one: Counts, late: bool, around: &Around<'_>) {
        let Counts { key, at, look, is_word } = one;
        if late {
            return;
        }
        let known = self.known.contains_key(&key) || around.before.contains_key(&key);
        match look.seen {
            Seen::Record { .. } => {
                self.invalid.remove(&key);
                self.known.insert(key, look.order);
            }
            Seen::Absent => {
                self.invalid.remove(&key);
                if is_word && known {
                    self.known.insert(key, look.order);
                }
            }
            Seen::Invalid { .. } => {
                self.invalid.entry(key).or_insert(at);
            }
            Seen::Failed { .. } => {}
        }
    }

    /// K10: so many files are reported as no records as there are, once each was one for long enough.
    fn tell(&self, around: &Around<'_>, ledger: &mut Ledger) -> Result<(), Failure> {
        let mut told = 0;
        around.after.counts(&mut |count| {
            if count.name == "credentials_watch_invalid_files" {
                told += count.value;
            }
        });
        let late = |since: &&Instant| **since + limits::CREDENTIAL_INVALID_REPORT <= around.now;
        let there = self.invalid.values().filter(late).count() as u64;
        ledger.hold(Id::K10, around.machine, told == there, || {
            format!("{told} files are counted as no records, and there are {there}")
        })
    }
}

impl Counts {
    fn judge(&self, late: bool, around: &Around<'_>, ledger: &mut Ledger) -> Result<(), Failure> {
        let Counts { key, look, .. } = self;
        let before = around.before.get(key);
        let after = around.after.head(key);
        let is_deleted = |head: Option<&Arc<Head>>| head.is_some_and(|head| head.deleted);
        let found = match &look.seen {
            Seen::Record { digest, .. } if !late => Some(*digest),
            _ => None,
        };
        if is_deleted(before) && found.is_none() {
            ledger.hold(Id::K3, around.machine, is_deleted(after), || {
                format!("{key} was deleted, and is back by look {} of {:?}", look.order, look.seen)
            })?;
        }
        let in_use = |head: &Arc<Head>| (!head.deleted).then_some(head.digest);
        let read = before.filter(|head| head.record.is_some());
        let repeats = found.is_some() && read.and_then(in_use) == found;
        if repeats || late {
            ledger.hold(Id::K9, around.machine, before == after, || {
                format!("{key} was {before:?}, nothing new was found, and it is {after:?}")
            })?;
        }
        if found.is_some() {
            let holds = after.filter(|head| head.record.is_some()).and_then(in_use) == found;
            ledger.hold(Id::K10, around.machine, holds, || {
                format!("it was the turn of {key}, and what was found is not in use")
            })?;
        }
        if matches!(look.seen, Seen::Invalid { .. }) {
            ledger.hold(Id::K10, around.machine, before == after, || {
                format!("a file that is no record changed {key} from {before:?} to {after:?}")
            })?;
        }
        Ok(())
    }
}

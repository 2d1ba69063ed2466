//! What can be read, and what is told.
//!
//! A [`Question`] is answered from one state, here or by a node that keeps a copy: both ways by the same
//! function. Both are wire types.
//!
//! Absent on purpose: how fresh the state is. Who asks sees to that.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::command::{LeaseId, Version};
use super::name::{Key, Keys, Lock, Namespace, Path, Span};
use super::state::{Cause, Compacted, Contender, Page, State, Wanted, What};
use crate::limits;
use crate::wire::{Blob, List, decode, encode};

/// Something to read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Question {
    /// One key.
    Get {
        /// Whose.
        namespace: Namespace,
        /// Which.
        key: Key,
        /// As it was; `None` as it is.
        revision: Option<u64>,
    },
    /// Keys in order, a page of them.
    List {
        /// Whose.
        namespace: Namespace,
        /// Which.
        keys: Keys,
        /// Those behind this one.
        after: Option<Key>,
        /// As they were; `None` as they are.
        revision: Option<u64>,
        /// At most so many.
        limit: u16,
        /// Leave the values out.
        keys_only: bool,
    },
    /// A lease and its keys.
    Lease(LeaseId),
    /// Who stands in line.
    Line(Lock),
    /// What was changed.
    Changes {
        /// Whose.
        namespace: Namespace,
        /// Which.
        keys: Keys,
        /// From this revision on; `None` tells the revision alone.
        from: Option<u64>,
        /// So many of the first one's changes were told already.
        skip: u64,
        /// With the versions before.
        previous: bool,
    },
}

/// What a [`Question`] is answered with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// The revision of the state that answered.
    pub revision: u64,
    /// The answer.
    pub what: Found,
}

/// See [`Told::what`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Found {
    /// A key, or that there is none.
    Key(Option<Arc<Version>>),
    /// A page, all of it as it was at `revision`.
    Page {
        /// Which every page of the list shares.
        revision: u64,
        /// It.
        page: Page,
    },
    /// A lease, or that there is none.
    Lease(Option<LeaseTold>),
    /// A line.
    Line(Line),
    /// Changes, in order of revision.
    Changes(Changes),
    /// That revision is forgotten.
    Compacted(Compacted),
}

/// A lease, for a reader.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseTold {
    /// How long it lives without a renewal.
    pub ttl_ms: u64,
    /// How much of that is left, at most.
    pub remaining_ms: u64,
    /// What ends with it; no more than a page.
    pub keys: List<Path, { limits::KV_PAGE_ITEMS_MAX }>,
}

/// A lock or semaphore, for a reader.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// How many may hold at a time; 1 if nobody stands there.
    pub permits: u32,
    /// In order.
    pub contenders: List<Waiting, { limits::KV_LINE_TOLD_MAX }>,
}

/// A contender, for a reader.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// Who.
    pub contender: Contender,
    /// How much of its lease is left, at most.
    pub remaining_ms: u64,
}

/// See [`Found::Changes`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Changes {
    /// Nothing at or below is still to come.
    pub through: u64,
    /// In order. What is above `through` is the first part of a revision that fits no message.
    pub changed: List<Changed, { limits::KV_WATCH_CHANGES_PER_TURN }>,
}

/// A change, for a watcher.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// At which revision.
    pub revision: u64,
    /// Of which key.
    pub key: Key,
    /// What.
    pub what: What,
    /// The version before, if it was asked for and there was one.
    pub previous: Option<Arc<Version>>,
}

impl Changed {
    /// Why the key went; `None` if it was put.
    pub fn cause(&self) -> Option<Cause> {
        match self.what {
            What::Put(_) => None,
            What::Delete(cause) => Some(cause),
        }
    }

    /// Its bytes in a buffer.
    pub(super) fn bytes(&self) -> usize {
        let put = match &self.what {
            What::Put(held) => held.value.len(),
            What::Delete(_) => 0,
        };
        let before = self.previous.as_ref().map_or(0, |held| held.value.len());
        self.key.as_slice().len() + put + before
    }
}

/// Answers `question` from `state`, whose log time is `log_time` by now.
pub(super) fn tell(state: &State, log_time: u64, question: &Question) -> Told {
    let found = match question {
        Question::Get { namespace, key, revision } => {
            let found = state.get(&Path::new(namespace, key), *revision);
            found.map(|held| Found::Key(held.cloned())).unwrap_or_else(Found::Compacted)
        }
        Question::List { namespace, keys, after, revision, limit, keys_only } => {
            let at = revision.unwrap_or(state.revision());
            let page = state.page(&Wanted {
                namespace,
                keys,
                after: after.as_ref(),
                revision: Some(at),
                limit: usize::from(*limit),
                keys_only: *keys_only,
            });
            page.map_or_else(Found::Compacted, |page| Found::Page { revision: at, page })
        }
        Question::Lease(lease) => Found::Lease(tell_lease(state, log_time, *lease)),
        Question::Line(lock) => Found::Line(tell_line(state, log_time, lock)),
        Question::Changes { namespace, keys, from, skip, previous } => {
            let span = keys.span(namespace);
            tell_changes(state, &span, from.map(|from| (from, *skip)), *previous)
        }
    };
    Told { revision: state.revision(), what: found }
}

fn tell_lease(state: &State, log_time: u64, lease: LeaseId) -> Option<LeaseTold> {
    let held = state.lease(lease)?;
    let keys: Vec<Path> = held.keys.iter().take(limits::KV_PAGE_ITEMS_MAX).cloned().collect();
    let remaining_ms = held.deadline.saturating_sub(log_time);
    Some(LeaseTold { ttl_ms: held.ttl_ms, remaining_ms, keys: keys.into() })
}

fn tell_line(state: &State, log_time: u64, lock: &Lock) -> Line {
    let line = state.contenders(lock).into_iter().take(limits::KV_LINE_TOLD_MAX);
    let contenders = line.map(|contender| {
        let deadline = state.lease(contender.lease).map_or(0, |lease| lease.deadline);
        Waiting { contender, remaining_ms: deadline.saturating_sub(log_time) }
    });
    let permits = state.permits(lock).unwrap_or(1);
    Line { permits, contenders: contenders.collect::<Vec<_>>().into() }
}

/// As many changes as fit a message; a revision that does not fit is told in parts.
fn tell_changes(state: &State, span: &Span, from: Option<(u64, u64)>, previous: bool) -> Found {
    let mut told = Changes { through: state.revision(), changed: Vec::new().into() };
    let Some((from, skip)) = from else { return Found::Changes(told) };
    if from <= state.compact_revision() {
        return Found::Compacted(Compacted { compact_revision: state.compact_revision() });
    }
    let mut bytes = 0;
    for (revision, changed) in state.since(from) {
        let skip = if revision == from { usize::try_from(skip).unwrap_or(usize::MAX) } else { 0 };
        let matching = changed.changes.iter().filter(|change| span.holds(&change.path));
        for change in matching.skip(skip) {
            let change = change.told(revision, previous);
            bytes += change.bytes();
            let many = told.changed.len() == limits::KV_WATCH_CHANGES_PER_TURN;
            if many || (bytes > limits::KV_RESULT_BYTES_MAX && !told.changed.is_empty()) {
                told.through = revision - 1;
                return Found::Changes(told);
            }
            told.changed.0.push(change);
        }
    }
    Found::Changes(told)
}

/// Reads a question of another node; `None` if it is none.
pub(super) fn question(bytes: &[u8]) -> Option<Question> {
    let question = decode::<Question, { limits::FRAME_SESSION_BYTES_MAX }>(bytes).ok()?;
    let legal = match &question {
        Question::List { keys, .. } | Question::Changes { keys, .. } => keys.is_legal(),
        Question::Get { .. } | Question::Lease(_) | Question::Line(_) => true,
    };
    legal.then_some(question)
}

/// An answer on its way to another node.
pub(super) fn told(answer: &Told) -> Blob {
    Blob::from(encode(answer))
}

/// Reads an answer of another node; `None` if it is none.
pub(super) fn heard(bytes: &[u8]) -> Option<Told> {
    decode::<Told, { limits::FRAME_CONTROL_BYTES_MAX }>(bytes).ok()
}

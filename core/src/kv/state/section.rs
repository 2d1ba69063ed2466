//! The state as bytes, piece by piece, and back.
//!
//! A section holds what was visible at `compact_revision` and every change since, so a restore makes the
//! same changes again and arrives at the same state: history, leases and deadlines included (KV-2).
//!
//! ```text
//!   length u32 · Head     length u32 · Lease …     length u32 · Base …     length u32 · Revision · Change …     End
//! ```
//!
//! Encoding is lazy: a [`Section`] is a clone of the state and a place in it. Decoding is total: whatever the
//! bytes are, they are a state that [`State::apply`] could have made, or an error.

mod restore;

use std::ops::Bound;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::super::command::{Bounds, LeaseId, Version};
use super::super::name::Path;
use super::{State, What};
use crate::wire::encode;

pub use restore::{RestoreError, Restoring};

/// One piece.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Piece {
    Head(Head),
    Lease { lease: LeaseId, ttl_ms: u64, deadline: u64 },
    Base { path: Path, held: Arc<Version> },
    Revision { log_time: u64, changes: u64 },
    Change { path: Path, what: What },
    End { keys: u64 },
}

/// The numbers of a state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Head {
    index: u64,
    log_time: u64,
    revision: u64,
    compact_revision: u64,
    bounds: Bounds,
    digest: u64,
}

/// A state on its way into bytes.
#[derive(Debug, Clone)]
pub struct Section {
    state: State,
    place: Place,
    /// Encoded and not yet taken.
    ready: Vec<u8>,
}

/// Which piece is next.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Head,
    Lease(Bound<LeaseId>),
    Base(Option<Path>),
    Revision(u64),
    Change(u64, usize),
    End,
    Over,
}

impl State {
    /// The state as it is now, to be taken in chunks while it goes on.
    pub fn section(&self) -> Section {
        Section { state: self.clone(), place: Place::Head, ready: Vec::new() }
    }
}

impl Section {
    /// The next `bytes_max` bytes; fewer at the end, then none.
    pub fn chunk(&mut self, bytes_max: usize) -> Option<Vec<u8>> {
        while self.ready.len() < bytes_max {
            let Some(piece) = self.piece() else { break };
            let bytes = encode(&piece);
            let length = u32::try_from(bytes.len()).expect("a piece is a key and a value");
            self.ready.extend_from_slice(&length.to_le_bytes());
            self.ready.extend_from_slice(&bytes);
        }
        let rest = self.ready.split_off(self.ready.len().min(bytes_max));
        let chunk = std::mem::replace(&mut self.ready, rest);
        (!chunk.is_empty()).then_some(chunk)
    }

    /// All of it.
    pub fn bytes(mut self) -> Vec<u8> {
        self.chunk(usize::MAX).unwrap_or_default()
    }

    fn piece(&mut self) -> Option<Piece> {
        loop {
            let (piece, next) = self.at(&self.place);
            self.place = next;
            if piece.is_some() || self.place == Place::Over {
                return piece;
            }
        }
    }

    /// The piece at `place`, if there is one, and the place behind it.
    fn at(&self, place: &Place) -> (Option<Piece>, Place) {
        match place {
            Place::Head => (Some(self.head()), Place::Lease(Bound::Unbounded)),
            Place::Lease(after) => self.lease(*after),
            Place::Base(after) => match self.state.base_after(after.as_ref()) {
                Some((path, held)) => {
                    let next = Place::Base(Some(path.clone()));
                    (Some(Piece::Base { path, held }), next)
                }
                None => (None, Place::Revision(self.state.compact_revision + 1)),
            },
            Place::Revision(revision) => match self.state.log.get(revision) {
                Some(changed) => {
                    let changes = changed.changes.len() as u64;
                    let piece = Piece::Revision { log_time: changed.log_time, changes };
                    (Some(piece), Place::Change(*revision, 0))
                }
                None => (None, Place::End),
            },
            Place::Change(revision, place) => self.change(*revision, *place),
            Place::End => (Some(Piece::End { keys: self.state.keys() }), Place::Over),
            Place::Over => (None, Place::Over),
        }
    }

    fn head(&self) -> Piece {
        let state = &self.state;
        Piece::Head(Head {
            index: state.index,
            log_time: state.log_time,
            revision: state.revision,
            compact_revision: state.compact_revision,
            bounds: state.bounds,
            digest: state.digest.value(),
        })
    }

    fn lease(&self, after: Bound<LeaseId>) -> (Option<Piece>, Place) {
        let next = self.state.leases.range((after, Bound::Unbounded)).next();
        let Some((lease, held)) = next else { return (None, Place::Base(None)) };
        let (ttl_ms, deadline) = (held.ttl_ms, held.deadline);
        let piece = Piece::Lease { lease: *lease, ttl_ms, deadline };
        (Some(piece), Place::Lease(Bound::Excluded(*lease)))
    }

    fn change(&self, revision: u64, place: usize) -> (Option<Piece>, Place) {
        let changed = self.state.log.get(&revision).expect("it was there at the piece before");
        match changed.changes.get(place) {
            Some(change) => {
                let piece = Piece::Change { path: change.path.clone(), what: change.what.clone() };
                (Some(piece), Place::Change(revision, place + 1))
            }
            None => (None, Place::Revision(revision + 1)),
        }
    }
}

impl State {
    /// The first key behind `after` that was visible at `compact_revision`.
    fn base_after(&self, after: Option<&Path>) -> Option<(Path, Arc<Version>)> {
        let mut after = after.cloned();
        loop {
            let live = match &after {
                Some(path) => {
                    let behind = (Bound::Excluded(path.as_slice()), Bound::Unbounded);
                    self.live.range::<_, [u8]>(behind).next()
                }
                None => self.live.iter().next(),
            };
            let gone = match &after {
                Some(path) => self.past.range((path.clone(), u64::MAX)..).next(),
                None => self.past.iter().next(),
            };
            let live = live.map(|(path, _)| path);
            let path = live.into_iter().chain(gone.map(|((path, _), _)| path)).min()?.clone();
            if let Some(held) = self.visible(&path, self.compact_revision) {
                return Some((path, Arc::clone(held)));
            }
            after = Some(path);
        }
    }
}

//! Bytes become a state again, or an error that says where they are none.

use std::sync::Arc;

use imbl::OrdSet;

use super::super::super::command::{LeaseId, Version};
use super::super::super::name::Path;
use super::super::digest::Digest;
use super::super::{Change, Lease, Revision, State, What, weight};
use super::{Head, Piece};
use crate::limits;
use crate::wire::decode;

/// Why bytes are no section.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// A piece is longer than any.
    #[error("a piece is longer than any")]
    Length,
    /// A piece is none.
    #[error("a piece is none of this version")]
    Piece,
    /// A piece stands where it cannot.
    #[error("the pieces are out of order")]
    Order,
    /// The bytes end before the section does, or go on behind it.
    #[error("the section is not whole")]
    Whole,
    /// The pieces contradict each other.
    #[error("{0}")]
    Contradiction(&'static str),
}

/// A state on its way out of bytes.
#[derive(Debug, Default)]
pub struct Restoring {
    state: State,
    head: Option<Head>,
    stage: Stage,
    /// The last path of the base, or of the revision being read.
    last: Option<Path>,
    open: Vec<Change>,
    /// Of the revision being read: its log time, and how many changes are still to come.
    owed: Option<(u64, u64)>,
    bytes: Vec<u8>,
}

/// Pieces come in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
enum Stage {
    #[default]
    Head,
    Leases,
    Base,
    Log,
    Over,
}

impl Restoring {
    /// Takes the next bytes, cut anywhere.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), RestoreError> {
        self.bytes.extend_from_slice(bytes);
        let mut from = 0;
        while let Some(piece) = next_piece(&self.bytes, &mut from)? {
            self.take(piece)?;
        }
        self.bytes.drain(..from);
        Ok(())
    }

    /// The state, if that was all of it.
    pub fn finish(self) -> Result<State, RestoreError> {
        let whole = self.stage == Stage::Over && self.bytes.is_empty();
        if whole { Ok(self.state) } else { Err(RestoreError::Whole) }
    }

    fn take(&mut self, piece: Piece) -> Result<(), RestoreError> {
        match piece {
            Piece::Head(head) => {
                self.enter(Stage::Head, Stage::Leases)?;
                self.begin(head)
            }
            Piece::Lease { lease, ttl_ms, deadline } => {
                self.enter(Stage::Leases, Stage::Leases)?;
                self.lease(lease, ttl_ms, deadline)
            }
            Piece::Base { path, held } => {
                self.enter(Stage::Leases, Stage::Base)?;
                self.base(path, held)
            }
            Piece::Revision { log_time, changes } => {
                self.enter(Stage::Leases, Stage::Log)?;
                if changes == 0 || log_time > self.head()?.log_time {
                    return Err(RestoreError::Contradiction(
                        "a revision without a change or a time",
                    ));
                }
                self.last = None;
                self.owed = Some((log_time, changes));
                Ok(())
            }
            Piece::Change { path, what } => self.change(path, what),
            Piece::End { keys } => {
                self.enter(Stage::Leases, Stage::Over)?;
                self.end(keys)
            }
        }
    }

    /// Goes to the stage `to`, which can be reached from `least` on.
    fn enter(&mut self, least: Stage, to: Stage) -> Result<(), RestoreError> {
        let head = to == Stage::Leases && least == Stage::Head;
        let in_order = least <= self.stage && self.stage <= to && (!head || self.head.is_none());
        if !in_order || self.owed.is_some() || self.stage == Stage::Over {
            return Err(RestoreError::Order);
        }
        self.stage = to;
        Ok(())
    }

    fn head(&self) -> Result<&Head, RestoreError> {
        self.head.as_ref().ok_or(RestoreError::Order)
    }

    fn begin(&mut self, head: Head) -> Result<(), RestoreError> {
        if head.compact_revision > head.revision {
            return Err(RestoreError::Contradiction("more is compacted than was written"));
        }
        self.state.index = head.index;
        self.state.log_time = head.log_time;
        self.state.revision = head.compact_revision;
        self.state.compact_revision = head.compact_revision;
        self.state.bounds = head.bounds;
        self.head = Some(head);
        Ok(())
    }

    fn lease(&mut self, id: LeaseId, ttl_ms: u64, deadline: u64) -> Result<(), RestoreError> {
        let rising = self.state.leases.get_max().is_none_or(|(last, _)| *last < id);
        let state = &mut self.state;
        if !rising || id.0 > state.index || State::check_ttl(ttl_ms).is_err() {
            return Err(RestoreError::Contradiction("a lease that nobody granted"));
        }
        state.leases.insert(id, Lease { ttl_ms, deadline, keys: OrdSet::new() });
        state.due.insert((deadline, id));
        Ok(())
    }

    fn base(&mut self, path: Path, held: Arc<Version>) -> Result<(), RestoreError> {
        let rising = self.last.as_ref().is_none_or(|last| *last < path);
        let state = &mut self.state;
        let dated = held.mod_revision <= state.compact_revision
            && held.create_revision <= held.mod_revision
            && (1..=held.mod_revision).contains(&held.version);
        if !rising || !dated || held.value.len() > limits::KV_VALUE_BYTES_MAX {
            return Err(RestoreError::Contradiction("a key that was not written so"));
        }
        state.live_bytes += weight(&path, &held);
        state.bind(&path, None, Some(&held));
        state.stand(&path, None, Some(&held));
        state.live.insert(path.clone(), held);
        self.last = Some(path);
        Ok(())
    }

    fn change(&mut self, path: Path, what: What) -> Result<(), RestoreError> {
        let (log_time, changes) = self.owed.ok_or(RestoreError::Order)?;
        let rising = self.last.as_ref().is_none_or(|last| *last < path);
        let revision = self.state.revision + 1;
        if !rising || revision > self.head()?.revision || !self.follows(revision, &path, &what) {
            return Err(RestoreError::Contradiction("a change that nobody made"));
        }
        self.last = Some(path.clone());
        let change = self.state.record(revision, path, what);
        self.open.push(change);
        self.owed = Some((log_time, changes - 1)).filter(|(_, changes)| *changes > 0);
        if self.owed.is_none() {
            let changes = std::mem::take(&mut self.open);
            self.state.log.insert(revision, Arc::new(Revision { log_time, changes }));
            self.state.revision = revision;
        }
        Ok(())
    }

    /// Whether `what` can come after what is there.
    fn follows(&self, revision: u64, path: &Path, what: &What) -> bool {
        let before = self.state.live.get(path);
        match (what, before) {
            (What::Delete(_), before) => before.is_some(),
            (What::Put(held), before) => {
                held.mod_revision == revision
                    && held.create_revision == before.map_or(revision, |b| b.create_revision)
                    && held.version == before.map_or(1, |before| before.version + 1)
                    && held.value.len() <= limits::KV_VALUE_BYTES_MAX
            }
        }
    }

    fn end(&mut self, keys: u64) -> Result<(), RestoreError> {
        let head = self.head()?.clone();
        if self.state.revision != head.revision || self.state.keys() != keys {
            return Err(RestoreError::Contradiction("changes are missing"));
        }
        let leases = &self.state.leases;
        let mut bound = self.state.live.values().filter_map(|held| held.lease);
        if bound.any(|lease| !leases.contains_key(&lease)) {
            return Err(RestoreError::Contradiction("a key outlives its lease"));
        }
        self.state.digest = Digest::resumed(head.digest);
        Ok(())
    }
}

/// The piece at `from`, if all of it is there.
fn next_piece(bytes: &[u8], from: &mut usize) -> Result<Option<Piece>, RestoreError> {
    let rest = bytes.get(*from..).unwrap_or_default();
    let Some((length, rest)) = rest.split_first_chunk::<4>() else { return Ok(None) };
    let length = usize::try_from(u32::from_le_bytes(*length)).map_err(|_| RestoreError::Length)?;
    if length > limits::KV_SECTION_ITEM_BYTES_MAX {
        return Err(RestoreError::Length);
    }
    let Some(piece) = rest.get(..length) else { return Ok(None) };
    *from += 4 + length;
    let piece = decode::<Piece, { limits::KV_SECTION_ITEM_BYTES_MAX }>(piece);
    piece.map(Some).map_err(|_| RestoreError::Piece)
}

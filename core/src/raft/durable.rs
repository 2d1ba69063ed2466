//! The rows in which a copy of the log is kept, and how it is read back at a start.
//!
//! | room | key | value |
//! | --- | --- | --- |
//! | `hard` | `identity` | whose copy of which log |
//! | `hard` | `state` | term, vote, commit |
//! | `hard` | `promise` | which founding has this node's promise |
//! | `log` | 16 hex digits of the index | an entry |
//! | `snapshot` | `current` | which snapshot the log stands on, its size and checksum |
//! | `snapshot` | 16 hex digits of a slot, `/`, 8 of a position | a piece of it |
//!
//! A snapshot is written piece by piece beside the old one and becomes current in one batch with the cut of
//! the log; the old one is readable until then.
//!
//! - RF-12: what does not add up is no log: the start is refused, by name, rather than a vote cast on what
//!   was lost.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::group::{Hard, Point};
use super::state::Image;
use super::{Room, Row};
use crate::ids::MemberId;
use crate::limits::{FRAME_CONTROL_BYTES_MAX, RAFT_CHUNK_BYTES, RAFT_PIECE_BYTES};
use crate::wire::founding::Promise;
use crate::wire::raft::{Entry, Genesis};
use crate::wire::{Blob, decode, encode};

/// Whose copy of which log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    pub(super) member: MemberId,
    /// None before the log is formed, or found.
    pub(super) genesis: Option<Genesis>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Current {
    slot: u64,
    size_bytes: u64,
    checksum: u64,
}

/// The rows that were stored, by room and key.
pub type Rows = BTreeMap<(Room, String), Blob>;

/// What a start found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) identity: Identity,
    pub(super) hard: Hard,
    pub(super) image: Option<(Image, Blob)>,
    pub(super) before: Point,
    pub(super) entries: Vec<Entry>,
}

/// Where snapshots are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Slots {
    current: Option<(u64, u64)>,
    next: u64,
}

/// Why rows are no log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Damaged {
    /// A row says nothing that was ever stored.
    #[error("the row `{0}` of the log does not decode")]
    Row(String),
    /// Rows are missing.
    #[error("the log is damaged: {0}")]
    Missing(&'static str),
}

/// Reads what is kept; `None` if nothing is.
pub(super) fn read(rows: &Rows) -> Result<Option<(Found, Slots)>, Damaged> {
    let Some(identity) = row::<Identity>(rows, Room::Hard, IDENTITY)? else {
        // Whoever keeps no copy may have promised all the same.
        let empty = rows.keys().all(|(room, key)| *room == Room::Hard && key == PROMISE);
        return if empty { Ok(None) } else { Err(Damaged::Missing("it has rows and no identity")) };
    };
    let hard = row::<Hard>(rows, Room::Hard, STATE)?.unwrap_or_default();
    let (slots, image) = read_image(rows)?;
    let mut entries = read_entries(rows)?;
    let point = image.as_ref().map_or(Point::default(), |(image, _)| image.state.applied);
    let before = before(&mut entries, point)?;
    let last = entries.last().map_or(before.index.max(point.index), |entry| entry.index);
    if hard.commit > last {
        return Err(Damaged::Missing("entries that were committed"));
    }
    Ok(Some((Found { identity, hard, image, before, entries }, slots)))
}

/// The promise that was given before there was a log.
pub(super) fn promise(rows: &Rows) -> Result<Promise, Damaged> {
    row::<Promise>(rows, Room::Hard, PROMISE).map(Option::unwrap_or_default)
}

/// Whether the row of this key says what was promised.
pub(super) fn is_promise(key: &str) -> bool {
    key == PROMISE
}

/// Whether rows are a log, or none at all.
pub fn check(rows: &Rows) -> Result<(), Damaged> {
    promise(rows)?;
    read(rows).map(drop)
}

/// What stands before the first entry. Where entries reach back behind the snapshot's end, the term before
/// the first is not known, and must not be guessed: the first entry itself becomes the point.
fn before(entries: &mut Vec<Entry>, point: Point) -> Result<Point, Damaged> {
    let Some(first) = entries.first() else { return Ok(point) };
    if first.index == point.index + 1 {
        return Ok(point);
    }
    if first.index > point.index || entries.last().is_some_and(|last| last.index < point.index) {
        return Err(Damaged::Missing("entries between the snapshot and the log"));
    }
    let before = Point { index: first.index, term: first.term };
    entries.remove(0);
    Ok(before)
}

fn read_entries(rows: &Rows) -> Result<Vec<Entry>, Damaged> {
    let mut entries: Vec<Entry> = Vec::new();
    for ((_, key), value) in rows.iter().filter(|((room, _), _)| *room == Room::Log) {
        let entry = decode::<Entry, FRAME_CONTROL_BYTES_MAX>(value);
        let entry = entry.map_err(|_| Damaged::Row(key.clone()))?;
        if log_key(entry.index) != *key {
            return Err(Damaged::Row(key.clone()));
        }
        if entries.last().is_some_and(|last| last.index + 1 != entry.index) {
            return Err(Damaged::Missing("entries in its middle"));
        }
        entries.push(entry);
    }
    Ok(entries)
}

fn read_image(rows: &Rows) -> Result<(Slots, Option<(Image, Blob)>), Damaged> {
    let Some(current) = row::<Current>(rows, Room::Snapshot, CURRENT)? else {
        return Ok((Slots::default(), None));
    };
    let mut bytes = Vec::new();
    for position in 0..pieces(current.size_bytes) {
        let piece = rows.get(&(Room::Snapshot, piece_key(current.slot, position)));
        bytes.extend_from_slice(piece.ok_or(Damaged::Missing("a piece of the snapshot"))?);
    }
    if bytes.len() as u64 != current.size_bytes || xxh3_64(&bytes) != current.checksum {
        return Err(Damaged::Missing("the snapshot does not match its checksum"));
    }
    let image = Image::decode(&bytes).map_err(|_| Damaged::Row(CURRENT.to_owned()))?;
    let slots = Slots { current: Some((current.slot, current.size_bytes)), next: current.slot + 1 };
    Ok((slots, Some((image, bytes.into()))))
}

fn row<T: serde::de::DeserializeOwned + Serialize>(
    rows: &Rows,
    room: Room,
    key: &str,
) -> Result<Option<T>, Damaged> {
    let Some(value) = rows.get(&(room, key.to_owned())) else { return Ok(None) };
    let decoded = decode::<T, FRAME_CONTROL_BYTES_MAX>(value);
    decoded.map(Some).map_err(|_| Damaged::Row(key.to_owned()))
}

/// Rows of snapshots that never became current, and of entries that no longer count.
pub(super) fn leftovers(rows: &Rows, slots: Slots, before: Point) -> Vec<Row> {
    let mine = slots.current.map(|(slot, _)| format!("{slot:016x}/"));
    let keys = rows.keys().filter(|(room, key)| *room == Room::Snapshot && key != CURRENT);
    let stale = keys.filter(|(_, key)| mine.as_ref().is_none_or(|mine| !key.starts_with(mine)));
    let stale = stale.map(|(_, key)| Row { room: Room::Snapshot, key: key.clone(), value: None });
    let voided = (Room::Log, log_key(before.index));
    let voided = rows.contains_key(&voided).then_some(before.index..before.index + 1);
    stale.chain(voided.into_iter().flat_map(cut_rows)).collect()
}

/// A snapshot on its way to the store.
pub(super) struct Writing {
    slot: u64,
    /// Pieces that have rows.
    written: u64,
    /// What fills no piece yet.
    rest: Vec<u8>,
    size_bytes: u64,
    checksum: Xxh3,
}

impl Slots {
    /// Begins a snapshot beside the current one.
    pub(super) fn begin(&mut self) -> Writing {
        let slot = self.next;
        self.next += 1;
        Writing { slot, written: 0, rest: Vec::new(), size_bytes: 0, checksum: Xxh3::new() }
    }

    /// The last batch of a snapshot: with it this one is current, and the one before gone.
    pub(super) fn finish(&mut self, mut writing: Writing) -> Vec<Row> {
        let rest = std::mem::take(&mut writing.rest);
        let mut last: Vec<Row> =
            rest.chunks(RAFT_CHUNK_BYTES).map(|rest| writing.row(rest)).collect();
        let Writing { slot, size_bytes, checksum, .. } = writing;
        let current = Current { slot, size_bytes, checksum: checksum.digest() };
        last.push(written(Room::Snapshot, CURRENT.to_owned(), &current));
        if let Some((old, old_bytes)) = self.current.replace((slot, size_bytes)) {
            last.extend(gone(old, pieces(old_bytes)));
        }
        last
    }

    /// The batches in which a whole snapshot is written.
    pub(super) fn write(&mut self, image: &Blob) -> Vec<Vec<Row>> {
        let mut writing = self.begin();
        let parts = image.chunks(RAFT_PIECE_BYTES);
        let mut batches: Vec<Vec<Row>> = parts.map(|part| writing.add(part)).collect();
        let last = self.finish(writing);
        match batches.last_mut() {
            Some(batch) => batch.extend(last),
            None => batches.push(last),
        }
        batches
    }
}

impl Writing {
    /// Rows of the pieces that `bytes` complete.
    pub(super) fn add(&mut self, bytes: &[u8]) -> Vec<Row> {
        self.size_bytes += bytes.len() as u64;
        self.checksum.update(bytes);
        self.rest.extend_from_slice(bytes);
        let rest = std::mem::take(&mut self.rest);
        let whole = rest.chunks_exact(RAFT_CHUNK_BYTES);
        self.rest = whole.remainder().to_vec();
        whole.map(|piece| self.row(piece)).collect()
    }

    fn row(&mut self, piece: &[u8]) -> Row {
        let key = piece_key(self.slot, self.written);
        self.written += 1;
        Row { room: Room::Snapshot, key, value: Some(Blob::from(piece)) }
    }

    /// It is not wanted any more: what was written of it goes.
    pub(super) fn given_up(self) -> Vec<Row> {
        gone(self.slot, self.written).collect()
    }
}

fn gone(slot: u64, pieces: u64) -> impl Iterator<Item = Row> {
    let keys = (0..pieces).map(move |position| piece_key(slot, position));
    keys.map(|key| Row { room: Room::Snapshot, key, value: None })
}

pub(super) fn identity_row(identity: &Identity) -> Row {
    written(Room::Hard, IDENTITY.to_owned(), identity)
}

pub(super) fn promise_row(promise: &Promise) -> Row {
    written(Room::Hard, PROMISE.to_owned(), promise)
}

pub(super) fn hard_row(hard: &Hard) -> Row {
    written(Room::Hard, STATE.to_owned(), hard)
}

pub(super) fn entry_row(entry: &Entry) -> Row {
    written(Room::Log, log_key(entry.index), entry)
}

/// Deletes entries.
pub(super) fn cut_rows(range: Range<u64>) -> impl Iterator<Item = Row> {
    range.map(|index| Row { room: Room::Log, key: log_key(index), value: None })
}

fn written<T: Serialize>(room: Room, key: String, value: &T) -> Row {
    Row { room, key, value: Some(Blob::from(encode(value))) }
}

fn log_key(index: u64) -> String {
    format!("{index:016x}")
}

fn piece_key(slot: u64, position: u64) -> String {
    format!("{slot:016x}/{position:08x}")
}

fn pieces(size_bytes: u64) -> u64 {
    size_bytes.div_ceil(RAFT_CHUNK_BYTES as u64)
}

const IDENTITY: &str = "identity";
const STATE: &str = "state";
const PROMISE: &str = "promise";
const CURRENT: &str = "current";

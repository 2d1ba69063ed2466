//! What a node keeps: rows of five keyspaces in one file, written whole batch by whole batch.
//!
//! - S-1: a batch is there whole or not at all, and batches take effect in order.
//! - S-2: what was reported stored survives the loss of power.
//! - S-3: a file that says anything else than what was stored is refused by name, never guessed at. Each
//!   row carries a checksum over its key and value, each keyspace the count and the sum of its rows, and
//!   the engine checks every page when the file is opened.
//! - S-4: one process at a time; a second one is told who holds the directory.
//!
//! The engine stands on a `StorageBackend`, so that a simulated disk can stand below it.
//!
//! Absent on purpose: reading. The node reads its image once, when it starts.

mod directory;
mod keeper;

use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use quorate_core::node::{Image, Keyspace};
use quorate_core::wire::Blob;
use redb::{Database, ReadableDatabase, ReadableTable, StorageBackend, TableDefinition};
use xxhash_rust::xxh3::xxh3_64;

pub(crate) use directory::Directory;
pub(crate) use keeper::{Keeper, Kept, Watch};

/// Bytes of the file that are kept in memory.
const CACHE_BYTES: usize = 16 * 1024 * 1024;
const CHECKSUM_BYTES: usize = 8;
const ROWS: [(Keyspace, TableDefinition<'_, &str, &[u8]>); 5] = [
    (Keyspace::Meta, TableDefinition::new("meta")),
    (Keyspace::Local, TableDefinition::new("local")),
    (Keyspace::Log, TableDefinition::new("log")),
    (Keyspace::Hard, TableDefinition::new("hard")),
    (Keyspace::Snapshot, TableDefinition::new("snapshot")),
];
/// Per keyspace: how many rows there are, and the sum of their checksums.
const TALLIES: TableDefinition<'_, &str, (u64, u64)> = TableDefinition::new("tallies");

/// One batch: rows to write or, without a value, to delete.
pub type Batch = Vec<(Keyspace, String, Option<Blob>)>;

/// Why the store cannot be used. Each ends the process.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The directory cannot be used as it is.
    #[error("the data directory {path} cannot be used: {error}")]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Others could write into it.
    #[error("the data directory {path} can be written by others: chmod 700 it")]
    Exposed {
        /// Which.
        path: PathBuf,
    },
    /// Another process has it.
    #[error("the data directory {path} is in use by {holder}")]
    Held {
        /// Which.
        path: PathBuf,
        /// Who, as that process wrote it.
        holder: String,
    },
    /// A write or sync failed. It is never tried again.
    #[error("the store cannot write: {0}")]
    Write(String),
    /// The file says something that was never stored.
    #[error("the store is corrupt: {0}")]
    Corrupt(String),
}

/// An open store.
#[derive(Debug)]
pub struct Store {
    database: Database,
}

impl Store {
    /// Opens, or makes, the store on `backend`, and checks every page and row of it.
    pub fn open_on(backend: impl StorageBackend) -> Result<(Store, Image), StoreError> {
        // The engine checks what it reads, but a page that lies may still surprise it.
        let opened = catch_unwind(AssertUnwindSafe(|| {
            let mut builder = Database::builder();
            builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true);
            let store = Store { database: builder.create_with_backend(backend).map_err(unusable)? };
            let image = store.image()?;
            Ok((store, image))
        }));
        opened.unwrap_or_else(|_| Err(StoreError::Corrupt("the engine gave up reading it".into())))
    }

    /// Makes all of `batches` durable, in order, with one sync.
    pub fn apply(&self, batches: &[Batch]) -> Result<(), StoreError> {
        let mut transaction = self.database.begin_write().map_err(unusable)?;
        // One sync would leave the choice between the last two states to their checksums, and a bit
        // that flipped in the last would silently bring back the one before.
        transaction.set_two_phase_commit(true);
        let touched = |keyspace| batches.iter().flatten().any(|(of, _, _)| *of == keyspace);
        for (keyspace, definition) in ROWS.into_iter().filter(|(keyspace, _)| touched(*keyspace)) {
            let mut rows = transaction.open_table(definition).map_err(unusable)?;
            let mut tallies = transaction.open_table(TALLIES).map_err(unusable)?;
            let mut tally = Tally::of(&tallies, keyspace)?;
            let mine = batches.iter().flatten().filter(|(of, _, _)| *of == keyspace);
            for (_, key, value) in mine {
                match value {
                    Some(value) => {
                        let record = seal(keyspace, key, value);
                        tally.add(&record);
                        let old = rows.insert(key.as_str(), record.as_slice()).map_err(unusable)?;
                        old.iter().for_each(|old| tally.remove(old.value()));
                    }
                    None => {
                        let old = rows.remove(key.as_str()).map_err(unusable)?;
                        old.iter().for_each(|old| tally.remove(old.value()));
                    }
                }
            }
            tallies.insert(name(keyspace), (tally.rows, tally.sum)).map_err(unusable)?;
        }
        transaction.commit().map_err(unusable)
    }

    fn image(&self) -> Result<Image, StoreError> {
        let transaction = self.database.begin_read().map_err(unusable)?;
        let mut image = BTreeMap::new();
        for (keyspace, definition) in ROWS {
            let rows = match transaction.open_table(definition) {
                Ok(rows) => rows,
                Err(redb::TableError::TableDoesNotExist(_)) => continue, // A fresh file.
                Err(error) => return Err(unusable(error)),
            };
            let mut tally = Tally::default();
            for row in rows.iter().map_err(unusable)? {
                let (key, record) = row.map_err(unusable)?;
                let value = unseal(keyspace, key.value(), record.value())?;
                tally.add(record.value());
                image.insert((keyspace, key.value().to_owned()), value);
            }
            let tallies = transaction.open_table(TALLIES).map_err(unusable)?;
            if tally != Tally::of(&tallies, keyspace)? {
                let name = name(keyspace);
                return Err(StoreError::Corrupt(format!("rows of `{name}` are missing or stale")));
            }
        }
        Ok(image)
    }
}

/// What the rows of a keyspace add up to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    rows: u64,
    sum: u64,
}

impl Tally {
    fn of(
        tallies: &impl ReadableTable<&'static str, (u64, u64)>,
        keyspace: Keyspace,
    ) -> Result<Tally, StoreError> {
        let stored = tallies.get(name(keyspace)).map_err(unusable)?;
        let (rows, sum) = stored.map(|stored| stored.value()).unwrap_or_default();
        Ok(Tally { rows, sum })
    }

    fn add(&mut self, record: &[u8]) {
        self.rows += 1;
        self.sum = self.sum.wrapping_add(xxh3_64(record));
    }

    fn remove(&mut self, record: &[u8]) {
        self.rows -= 1;
        self.sum = self.sum.wrapping_sub(xxh3_64(record));
    }
}

fn name(keyspace: Keyspace) -> &'static str {
    match keyspace {
        Keyspace::Meta => "meta",
        Keyspace::Local => "local",
        Keyspace::Log => "log",
        Keyspace::Hard => "hard",
        Keyspace::Snapshot => "snapshot",
    }
}

/// `checksum u64 LE · value`; the checksum covers keyspace and key as well.
fn seal(keyspace: Keyspace, key: &str, value: &[u8]) -> Vec<u8> {
    let mut record = checksum(keyspace, key, value).to_le_bytes().to_vec();
    record.extend_from_slice(value);
    record
}

fn unseal(keyspace: Keyspace, key: &str, record: &[u8]) -> Result<Blob, StoreError> {
    let (stored, value) = record.split_first_chunk::<CHECKSUM_BYTES>().unwrap_or((&[0; 8], &[]));
    if u64::from_le_bytes(*stored) == checksum(keyspace, key, value) {
        return Ok(Blob::from(value));
    }
    let key: String = key.escape_debug().take(80).collect();
    Err(StoreError::Corrupt(format!("row `{}/{key}` fails its checksum", name(keyspace))))
}

fn checksum(keyspace: Keyspace, key: &str, value: &[u8]) -> u64 {
    let length = (key.len() as u64).to_le_bytes();
    let covered = [name(keyspace).as_bytes(), &length, key.as_bytes(), value].concat();
    xxh3_64(&covered)
}

/// The engine's error in our words: a lie of the file, or a refusal of the disk.
fn unusable(error: impl Into<redb::Error>) -> StoreError {
    let error: redb::Error = error.into();
    let lies = matches!(
        error,
        redb::Error::Corrupted(_)
            | redb::Error::UpgradeRequired(_)
            | redb::Error::TableTypeMismatch { .. }
            | redb::Error::RepairAborted
    );
    let foreign =
        matches!(&error, redb::Error::Io(cause) if cause.kind() == io::ErrorKind::InvalidData);
    match (lies, foreign) {
        (_, true) => StoreError::Corrupt("it is no store".to_owned()),
        (true, _) => StoreError::Corrupt(error.to_string()),
        (false, false) => StoreError::Write(error.to_string()),
    }
}

#[cfg(test)]
mod tests;

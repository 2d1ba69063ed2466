//! What a node keeps: rows of five keyspaces, written whole batch by whole batch.
//!
//! A batch is durable as a record of the journal, after one sync. It enters the tree, an engine's file, together with
//! some thousands of others: when the journal is full, and at every start.
//!
//! - S-1: a batch is there whole or not at all, and batches take effect in order.
//! - S-2: what was reported stored survives the loss of power.
//! - S-3: a file that says anything else than what was stored is refused by name, never guessed at. Each
//!   row carries a checksum over its key and value, each keyspace the count and the sum of its rows, and
//!   the engine checks every page when the file is opened; each sector of the journal has its own.
//! - S-4: one process at a time; a second one is told who holds the directory.
//!
//! Both files stand on a `StorageBackend`, so that a simulated disk can stand below them.
//!
//! Absent on purpose: reading. The node reads its image once, when it starts.

mod directory;
mod journal;
mod keeper;

use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use quorate_core::node::{Image, Keyspace};
use quorate_core::wire::{Blob, decode, encode};
pub use redb::StorageBackend;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use xxhash_rust::xxh3::xxh3_64;

use journal::{FIRST_EPOCH, JOURNAL_BYTES, Journal};

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
/// Which epoch of the journal goes on behind what the tree holds.
const EPOCHS: TableDefinition<'_, &str, u64> = TableDefinition::new("journal");
const EPOCH: &str = "epoch";

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
    journal: Journal,
    /// What the journal holds and the tree does not.
    pending: Vec<Batch>,
}

impl Store {
    /// Opens, or makes, the store on `tree` and `journal`, and checks every page, row and sector of it.
    pub fn open_on(
        tree: impl StorageBackend,
        journal: impl StorageBackend,
    ) -> Result<(Store, Image), StoreError> {
        // The engine checks what it reads, but a page that lies may still surprise it.
        let opened = catch_unwind(AssertUnwindSafe(|| {
            let mut builder = Database::builder();
            builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true);
            let database = builder.create_with_backend(tree).map_err(unusable)?;
            let mut store = Store::replayed(database, Box::new(journal))?;
            // Also where nothing is to be brought in: pieces of a record that was cut off must not be taken
            // for what comes to stand before them.
            store.settle(&[])?;
            let image = store.image()?;
            Ok((store, image))
        }));
        opened.unwrap_or_else(|_| Err(StoreError::Corrupt("the engine gave up reading it".into())))
    }

    /// The tree, and what the journal holds behind it.
    fn replayed(database: Database, file: Box<dyn StorageBackend>) -> Result<Store, StoreError> {
        let Some(epoch) = epoch(&database)? else {
            let journal = Journal::create(file).map_err(unwritten)?;
            let mut store = Store { database, journal, pending: Vec::new() };
            store.write_tree(&[], FIRST_EPOCH)?;
            return Ok(store);
        };
        let (journal, records) = Journal::read(file, epoch)?;
        let mut pending = Vec::new();
        for record in &records {
            let batch = decode::<Batch, JOURNAL_BYTES>(record);
            pending.push(batch.map_err(|_| StoreError::Corrupt("a record is no batch".into()))?);
        }
        Ok(Store { database, journal, pending })
    }

    /// Makes all of `batches` durable, in order, with one sync.
    pub fn apply(&mut self, batches: &[Batch]) -> Result<(), StoreError> {
        let records: Vec<Vec<u8>> = batches.iter().map(encode).collect();
        if !self.journal.append(&records).map_err(unwritten)? {
            return self.settle(batches);
        }
        self.pending.extend_from_slice(batches);
        Ok(())
    }

    /// Brings what the journal holds, and `more`, into the tree. The journal begins anew.
    fn settle(&mut self, more: &[Batch]) -> Result<(), StoreError> {
        let mut pending = std::mem::take(&mut self.pending);
        pending.extend_from_slice(more);
        let epoch = self.journal.epoch() + 1;
        self.write_tree(&pending, epoch)?;
        self.journal.begin(epoch);
        Ok(())
    }

    fn write_tree(&mut self, batches: &[Batch], epoch: u64) -> Result<(), StoreError> {
        let mut transaction = self.database.begin_write().map_err(unusable)?;
        // One sync would leave the choice between the last two states to their checksums, and a bit
        // that flipped in the last would silently bring back the one before.
        transaction.set_two_phase_commit(true);
        for (keyspace, definition) in ROWS {
            let mine = batches.iter().flatten().filter(|(of, _, _)| *of == keyspace);
            // The last word about a key is the only one that counts.
            let last: BTreeMap<&str, Option<&Blob>> =
                mine.map(|(_, key, value)| (key.as_str(), value.as_ref())).collect();
            if last.is_empty() {
                continue;
            }
            let mut rows = transaction.open_table(definition).map_err(unusable)?;
            let mut tallies = transaction.open_table(TALLIES).map_err(unusable)?;
            let mut tally = Tally::of(&tallies, keyspace)?;
            for (key, value) in last {
                let old = match value {
                    Some(value) => {
                        let record = seal(keyspace, key, value);
                        tally.add(&record);
                        rows.insert(key, record.as_slice()).map_err(unusable)?
                    }
                    None => rows.remove(key).map_err(unusable)?,
                };
                old.iter().for_each(|old| tally.remove(old.value()));
            }
            tallies.insert(name(keyspace), (tally.rows, tally.sum)).map_err(unusable)?;
        }
        let mut epochs = transaction.open_table(EPOCHS).map_err(unusable)?;
        epochs.insert(EPOCH, epoch).map_err(unusable)?;
        drop(epochs);
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

/// The epoch that the tree names; none in a new one.
fn epoch(database: &Database) -> Result<Option<u64>, StoreError> {
    let transaction = database.begin_read().map_err(unusable)?;
    let epochs = match transaction.open_table(EPOCHS) {
        Ok(epochs) => epochs,
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None), // A fresh file.
        Err(error) => return Err(unusable(error)),
    };
    let epoch = epochs.get(EPOCH).map_err(unusable)?.map(|epoch| epoch.value());
    epoch.map(Some).ok_or_else(|| StoreError::Corrupt("it names no epoch of its journal".into()))
}

fn unwritten(error: io::Error) -> StoreError {
    StoreError::Write(format!("the journal: {error}"))
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

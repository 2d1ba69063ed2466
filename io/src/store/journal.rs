//! What is durable and not yet in the tree: records, one after another, each durable after one sync.
//!
//! ```text
//! file   = sector*                                            512 bytes each, the file is never longer or shorter
//! sector = check u64 · epoch u64 · record u32 · part u32 · parts u32 · length u32 · 480 bytes     all LE
//! ```
//!
//! A record takes whole sectors, so that none is written twice in an epoch. The check is xxh3 over the rest of the
//! sector. An epoch begins when everything is in the tree: its number is stored there, and the next record is written
//! over the first sector. So every sector is empty, of an older epoch, or of this one; a record of which a sector is
//! empty or old was cut off before its sync had ended, and nobody was told of it. Anything else is damage, also in the
//! last record: it was perhaps told of.
//!
//! Disks write a sector whole or not at all (SQLite, "Atomic Commit", §2); that is all that is asked of them.
//!
//! Absent on purpose: what records mean.

use std::io;

use redb::StorageBackend;
use xxhash_rust::xxh3::xxh3_64;

use super::StoreError;

/// Bytes of the file: some eight thousand small records, or four seconds of large ones.
pub(super) const JOURNAL_BYTES: usize = 4 * 1024 * 1024;
const SECTOR_BYTES: usize = 512;
const HEAD_BYTES: usize = 32;
const PAYLOAD_BYTES: usize = SECTOR_BYTES - HEAD_BYTES;

/// The end of the journal, where the next record goes.
#[derive(Debug)]
pub(super) struct Journal {
    file: Box<dyn StorageBackend>,
    epoch: u64,
    record: u32,
    offset: usize,
}

/// What a sector says.
struct Head {
    record: u32,
    part: u32,
    parts: u32,
}

enum Sector<'a> {
    /// Nothing was ever written there in this epoch.
    Free,
    /// A piece of a record of this epoch.
    Piece(Head, &'a [u8]),
}

impl Journal {
    /// Makes an empty one, durable, for the first epoch that the tree will name.
    pub(super) fn create(file: Box<dyn StorageBackend>) -> io::Result<Journal> {
        file.set_len(JOURNAL_BYTES as u64)?;
        // Written once, so that no later write has to find room: a full disk is named here.
        file.write(0, &vec![0; JOURNAL_BYTES])?;
        file.sync_data()?;
        Ok(Journal { file, epoch: FIRST_EPOCH, record: 0, offset: 0 })
    }

    /// Reads the records of `epoch`, oldest first. What is written next belongs to an epoch that has yet to begin.
    pub(super) fn read(
        file: Box<dyn StorageBackend>,
        epoch: u64,
    ) -> Result<(Journal, Vec<Vec<u8>>), StoreError> {
        let unreadable = |error: io::Error| StoreError::Write(format!("the journal: {error}"));
        if file.len().map_err(unreadable)? != JOURNAL_BYTES as u64 {
            return Err(damaged("it is missing, or cut short"));
        }
        let mut bytes = vec![0; JOURNAL_BYTES];
        file.read(0, &mut bytes).map_err(unreadable)?;
        let mut sectors = bytes.chunks_exact(SECTOR_BYTES);
        let mut records: Vec<Vec<u8>> = Vec::new();
        while let Some(record) = next_record(&mut sectors, epoch, records.len())? {
            records.push(record);
        }
        Ok((Journal { file, epoch, record: 0, offset: JOURNAL_BYTES }, records))
    }

    /// Everything written so far is in the tree, which names this epoch as the next.
    pub(super) fn begin(&mut self, epoch: u64) {
        (self.epoch, self.record, self.offset) = (epoch, 0, 0);
    }

    /// The epoch of what is written now.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Writes records, in order, and syncs once. `false`, and nothing is written, if there is no room: a new epoch
    /// makes some.
    pub(super) fn append(&mut self, records: &[Vec<u8>]) -> io::Result<bool> {
        let sectors: usize = records.iter().map(|record| sectors_of(record)).sum();
        if self.offset + sectors * SECTOR_BYTES > JOURNAL_BYTES {
            return Ok(false);
        }
        let mut bytes = Vec::with_capacity(sectors * SECTOR_BYTES);
        for record in records {
            self.lay_out(record, &mut bytes);
        }
        self.file.write(self.offset as u64, &bytes)?;
        self.file.sync_data()?;
        self.offset += bytes.len();
        Ok(true)
    }

    fn lay_out(&mut self, record: &[u8], bytes: &mut Vec<u8>) {
        let number = |number: usize| u32::try_from(number).expect("a journal is small");
        let parts = number(sectors_of(record)).to_le_bytes();
        for part in 0..sectors_of(record) {
            let rest = record.get(part * PAYLOAD_BYTES..).unwrap_or_default();
            let piece = rest.get(..PAYLOAD_BYTES).unwrap_or(rest);
            let mut sector = self.epoch.to_le_bytes().to_vec();
            sector.extend_from_slice(&self.record.to_le_bytes());
            sector.extend_from_slice(&number(part).to_le_bytes());
            sector.extend_from_slice(&parts);
            sector.extend_from_slice(&number(piece.len()).to_le_bytes());
            sector.extend_from_slice(piece);
            sector.resize(SECTOR_BYTES - 8, 0);
            bytes.extend_from_slice(&xxh3_64(&sector).to_le_bytes());
            bytes.extend_from_slice(&sector);
        }
        self.record += 1;
    }
}

/// The next whole record; nothing where the journal ends.
fn next_record<'a>(
    sectors: &mut impl Iterator<Item = &'a [u8]>,
    epoch: u64,
    number: usize,
) -> Result<Option<Vec<u8>>, StoreError> {
    let (mut record, mut part) = (Vec::new(), 0);
    for sector in sectors {
        let Sector::Piece(head, piece) = read_sector(sector, epoch)? else { return Ok(None) };
        if usize::try_from(head.record) != Ok(number) || head.part != part {
            return Err(damaged("records are missing"));
        }
        record.extend_from_slice(piece);
        part += 1;
        if part == head.parts {
            return Ok(Some(record));
        }
    }
    Ok(None)
}

fn read_sector(sector: &[u8], present: u64) -> Result<Sector<'_>, StoreError> {
    if sector.iter().all(|byte| *byte == 0) {
        return Ok(Sector::Free);
    }
    let (Some((check, rest)), true) =
        (sector.split_first_chunk::<8>(), sector.len() == SECTOR_BYTES)
    else {
        return Err(damaged("a sector is cut short"));
    };
    if u64::from_le_bytes(*check) != xxh3_64(rest) {
        return Err(damaged("a sector fails its checksum"));
    }
    let long = |at: usize| rest.get(at..).and_then(<[u8]>::first_chunk::<8>).copied();
    let short = |at: usize| {
        let bytes = rest.get(at..).and_then(<[u8]>::first_chunk::<4>).copied();
        u32::from_le_bytes(bytes.unwrap_or_default())
    };
    let epoch = u64::from_le_bytes(long(0).unwrap_or_default());
    if epoch > present {
        return Err(damaged("it goes on behind what the tree holds"));
    }
    if epoch < present {
        return Ok(Sector::Free);
    }
    let head = Head { record: short(8), part: short(12), parts: short(16) };
    let length = usize::try_from(short(20)).unwrap_or(usize::MAX);
    let piece = rest.get(24..).and_then(|payload| payload.get(..length));
    let piece = piece.ok_or_else(|| damaged("a sector names too long a piece"))?;
    Ok(Sector::Piece(head, piece))
}

fn sectors_of(record: &[u8]) -> usize {
    record.len().div_ceil(PAYLOAD_BYTES).max(1)
}

fn damaged(why: &str) -> StoreError {
    StoreError::Corrupt(format!("the journal is damaged: {why}"))
}

/// No epoch is 0, so that an empty sector is of none.
pub(super) const FIRST_EPOCH: u64 = 1;

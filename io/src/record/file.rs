//! The files of one record: numbered, bounded, readable by the node alone.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::PathBuf;

use quorate_core::node::flight::{Block, MAGIC};

use super::{FILE_BYTES_MAX, RecordSettings};
use crate::clock;

/// Room that is kept for the closing mark.
const END_BYTES_MAX: u64 = 64;

/// The file that is written, and what came before it.
pub(super) struct Files {
    directory: PathBuf,
    started_ms: u64,
    number: u32,
    file: BufWriter<File>,
    in_file: u64,
    in_all: u64,
    bytes_max: u64,
}

impl Files {
    /// The first file of a record.
    pub(super) fn create(settings: &RecordSettings) -> io::Result<Files> {
        DirBuilder::new().recursive(true).mode(0o700).create(&settings.directory)?;
        let started_ms = clock::wall().0;
        let directory = settings.directory.clone();
        let (file, in_file) = open(&directory, started_ms, 0)?;
        let bytes_max = settings.bytes_max.saturating_sub(END_BYTES_MAX);
        Ok(Files { directory, started_ms, number: 0, file, in_file, in_all: in_file, bytes_max })
    }

    /// Writes one block; false if the record holds as much as it may.
    pub(super) fn write(&mut self, block: &[u8]) -> io::Result<bool> {
        let bytes = block.len() as u64;
        if self.in_all + bytes > self.bytes_max {
            return Ok(false);
        }
        if self.in_file + bytes + END_BYTES_MAX > FILE_BYTES_MAX {
            self.file.flush()?;
            self.number += 1;
            (self.file, self.in_file) = open(&self.directory, self.started_ms, self.number)?;
            self.append(&Block::Next(self.number).encode())?;
        }
        self.append(block)?;
        Ok(true)
    }

    fn append(&mut self, block: &[u8]) -> io::Result<()> {
        self.file.write_all(block)?;
        self.in_file += block.len() as u64;
        self.in_all += block.len() as u64;
        Ok(())
    }

    /// Hands everything to the system.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }

    /// The closing mark.
    pub(super) fn close(&mut self, why: &str) -> io::Result<()> {
        self.append(&Block::End(why.to_owned()).encode())?;
        self.file.flush()
    }
}

fn open(
    directory: &std::path::Path,
    started_ms: u64,
    number: u32,
) -> io::Result<(BufWriter<File>, u64)> {
    let path = directory.join(format!("{started_ms}-{number}.qrec"));
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let mut file = BufWriter::new(file);
    file.write_all(&MAGIC)?;
    Ok((file, MAGIC.len() as u64))
}

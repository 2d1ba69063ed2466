//! The chain of lines on disk: appending, cutting a torn end, and finding the first broken line.
//!
//! A line is its canonical form, `{…}` without `hash`, with `,"hash":"<64 hex>"` put before the last
//! brace. So a line is checked as it lies there, without reading and writing it anew.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{AuditError, Record};

/// Bytes of one file, before the next begins.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// The hash before the first line.
const ORIGIN: &str = "0000000000000000000000000000000000000000000000000000000000000000";
/// Bytes of a line that are read before it is called broken.
const LINE_BYTES_MAX: u64 = 256 * 1024;

/// The end of the chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Number of the last line; 0 before the first.
    pub sequence: u64,
    /// Its hash, in hex.
    pub hash: String,
}

/// What `verify` found when nothing is broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Lines read.
    pub lines: u64,
    /// The last of them.
    pub head: Head,
}

/// The first line that is not what was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {what}")]
pub struct Broken {
    /// In which file.
    pub file: String,
    /// Which line of it, from 1.
    pub line: u64,
    /// In which way.
    pub what: String,
}

/// The open end of the log.
#[derive(Debug)]
pub(super) struct Chain {
    directory: PathBuf,
    file: Option<File>,
    bytes: u64,
    bytes_max: u64,
    head: Head,
}

#[derive(Serialize)]
struct Canonical<'a> {
    sequence: u64,
    #[serde(flatten)]
    record: &'a Record,
    prev: &'a str,
}

#[derive(Deserialize)]
struct Links {
    sequence: u64,
    prev: String,
}

impl Chain {
    /// Opens the log in `directory`, making it where needed, and cuts what a crash tore off.
    pub(super) fn open(directory: &Path) -> Result<Chain, AuditError> {
        Chain::open_with(directory, FILE_BYTES_MAX)
    }

    pub(super) fn open_with(directory: &Path, bytes_max: u64) -> Result<Chain, AuditError> {
        let opened = Chain::try_open(directory, bytes_max);
        opened.map_err(|cause| unwritable(directory, &cause))
    }

    fn try_open(directory: &Path, bytes_max: u64) -> io::Result<Chain> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let files = files(directory)?;
        let mut chain = Chain {
            directory: directory.to_owned(),
            file: None,
            bytes: 0,
            bytes_max,
            head: Head { sequence: 0, hash: ORIGIN.to_owned() },
        };
        // A crash may leave the newest file without one whole line; then the one before it ends the chain.
        for (_, path) in files.iter().rev() {
            let mut file = OpenOptions::new().read(true).write(true).open(path)?;
            let (bytes, head) = whole_end(&mut file)?;
            file.set_len(bytes)?;
            file.sync_all()?;
            let Some(head) = head else {
                fs::remove_file(path)?;
                continue;
            };
            file.seek(SeekFrom::Start(bytes))?;
            return Ok(Chain { file: Some(file), bytes, head, ..chain });
        }
        if let Some((first, _)) = files.first() {
            chain.head.sequence = first.saturating_sub(1);
        }
        Ok(chain)
    }

    /// The last durable line.
    pub(super) fn head(&self) -> &Head {
        &self.head
    }

    /// Appends a group of lines and syncs once. After a failure nothing of the group stands.
    pub(super) fn append<'a>(
        &mut self,
        records: impl Iterator<Item = &'a Record>,
    ) -> Result<(), AuditError> {
        let mut head = self.head.clone();
        let mut text = String::new();
        for record in records {
            let sequence = head.sequence + 1;
            let canonical = Canonical { sequence, record, prev: &head.hash };
            let line = serde_json::to_string(&canonical).expect("a record is plain JSON");
            let hash = hash(&head.hash, &line);
            let body = line.strip_suffix('}').expect("an object ends with a brace");
            text.push_str(&format!("{body},\"hash\":\"{hash}\"}}\n"));
            head = Head { sequence, hash };
        }
        match self.write(&text) {
            Ok(()) => {
                self.head = head;
                Ok(())
            }
            Err(cause) => {
                // the next append begins from a clean end again, or fails as well.
                self.file = None;
                Err(unwritable(&self.directory, &cause))
            }
        }
    }

    fn write(&mut self, text: &str) -> io::Result<()> {
        if self.file.as_ref().is_some_and(is_unlinked) {
            self.file = None; // Somebody removed it: lines into nowhere are no log.
        }
        let full = self.bytes > 0 && self.bytes + text.len() as u64 > self.bytes_max;
        if self.file.is_none() || full {
            self.begin_file(full)?;
        }
        let file = self.file.as_mut().expect("a file was begun");
        let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_data());
        if written.is_err() {
            let _ = file.set_len(self.bytes); // Best effort: reopening cuts again.
        }
        written?;
        self.bytes += text.len() as u64;
        Ok(())
    }

    /// Opens the next file, or after a failure the last one, cut to its whole lines.
    fn begin_file(&mut self, next: bool) -> io::Result<()> {
        let last = files(&self.directory)?.pop();
        let path = match last {
            Some((_, path)) if !next => path,
            _ => self.directory.join(format!("{}.jsonl", self.head.sequence + 1)),
        };
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file = options.open(path)?;
        let (bytes, head) = whole_end(&mut file)?;
        if let Some(head) = head
            && head != self.head
        {
            // A group that failed is there after all: its callers were refused, so it goes.
            return self.cut_after_head(file);
        }
        file.set_len(bytes)?;
        file.seek(SeekFrom::Start(bytes))?;
        File::open(&self.directory)?.sync_all()?;
        (self.bytes, self.file) = (bytes, Some(file));
        Ok(())
    }

    fn cut_after_head(&mut self, mut file: File) -> io::Result<()> {
        file.seek(SeekFrom::Start(0))?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        let mut bytes = 0;
        for line in text.split_inclusive('\n') {
            let sequence = serde_json::from_str::<Links>(line).map_or(u64::MAX, |l| l.sequence);
            if sequence > self.head.sequence {
                break;
            }
            bytes += line.len() as u64;
        }
        file.set_len(bytes)?;
        file.seek(SeekFrom::Start(bytes))?;
        file.sync_all()?;
        (self.bytes, self.file) = (bytes, Some(file));
        Ok(())
    }
}

fn is_unlinked(file: &File) -> bool {
    file.metadata().is_ok_and(|metadata| metadata.nlink() == 0)
}

/// Length of the file up to its last line that is whole, and that line.
fn whole_end(file: &mut File) -> io::Result<(u64, Option<Head>)> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.read_to_end(&mut bytes)?;
    let mut end = bytes.len();
    while end > 0 {
        let held = bytes.get(..end).unwrap_or_default();
        let last = held.strip_suffix(b"\n");
        let start =
            last.unwrap_or(held).iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let line = last.and_then(|last| std::str::from_utf8(last.get(start..)?).ok());
        if let Some(head) = line.and_then(|line| check(line).ok()) {
            return Ok((end as u64, Some(head.1)));
        }
        end = start;
    }
    Ok((0, None))
}

/// Reads every file and every line; the error is the first that is not as it was written.
pub fn verify(directory: &Path) -> Result<Verified, Broken> {
    let unreadable = |cause: io::Error| Broken {
        file: directory.display().to_string(),
        line: 0,
        what: format!("it cannot be read: {cause}"),
    };
    let mut head: Option<Head> = None;
    let mut lines = 0;
    for (first, path) in files(directory).map_err(unreadable)? {
        let broken = |line, what: String| Broken { file: path.display().to_string(), line, what };
        if let Some(head) = &head
            && first != head.sequence + 1
        {
            let what = format!("lines {} to {} are missing", head.sequence + 1, first - 1);
            return Err(broken(1, what));
        }
        let file = File::open(&path).map_err(unreadable)?;
        for (number, text) in (1..).zip(Lines { from: BufReader::new(file) }) {
            let text =
                text.map_err(|cause| broken(number, format!("it cannot be read: {cause}")))?;
            let (prev, line) = check(&text).map_err(|what| broken(number, what.to_owned()))?;
            let expected = head.as_ref().map_or(first, |head| head.sequence + 1);
            if line.sequence != expected {
                let what =
                    format!("sequence {} stands where {expected} was written", line.sequence);
                return Err(broken(number, what));
            }
            let before = head.as_ref().map(|head| head.hash.as_str());
            let before = before.or((first == 1).then_some(ORIGIN));
            if before.is_some_and(|before| before != prev) {
                return Err(broken(number, "it does not follow the line before it".to_owned()));
            }
            head = Some(line);
            lines += 1;
        }
    }
    let head = head.unwrap_or(Head { sequence: 0, hash: ORIGIN.to_owned() });
    Ok(Verified { lines, head })
}

/// Lines after `after`, at most `limit`, as they were written.
pub fn read_after(directory: &Path, after: u64, limit: usize) -> io::Result<Vec<String>> {
    let files = files(directory)?;
    let begin = files.partition_point(|(first, _)| *first <= after + 1).saturating_sub(1);
    let mut found = Vec::new();
    for (_, path) in files.iter().skip(begin) {
        for text in (Lines { from: BufReader::new(File::open(path)?) }) {
            let text = text?;
            let sequence = serde_json::from_str::<Links>(&text).map_or(0, |links| links.sequence);
            if sequence > after {
                found.push(text);
            }
            if found.len() == limit {
                return Ok(found);
            }
        }
    }
    Ok(found)
}

/// Lines with their length bounded.
struct Lines<R> {
    from: R,
}

impl<R: BufRead> Iterator for Lines<R> {
    type Item = io::Result<String>;

    fn next(&mut self) -> Option<io::Result<String>> {
        let mut line = Vec::new();
        match (&mut self.from).take(LINE_BYTES_MAX).read_until(b'\n', &mut line) {
            Ok(0) => None,
            Ok(_) => {
                // Without its end it is torn: what is left does not check.
                let whole = line.pop_if(|byte| *byte == b'\n').is_some();
                let text = String::from_utf8_lossy(&line).into_owned();
                Some(Ok(if whole { text } else { String::new() }))
            }
            Err(error) => Some(Err(error)),
        }
    }
}

/// Checks a line against itself: its `prev`, and what it is in the chain.
fn check(line: &str) -> Result<(String, Head), &'static str> {
    let (body, tail) =
        line.rsplit_once(",\"hash\":\"").ok_or("it is torn or no line of this log")?;
    let told = tail.strip_suffix("\"}").ok_or("it is torn or no line of this log")?;
    let canonical = format!("{body}}}");
    let links: Links = serde_json::from_str(&canonical).map_err(|_| "it is no JSON of this log")?;
    if hash(&links.prev, &canonical) != told {
        return Err("its hash is another: it was changed after it was written");
    }
    Ok((links.prev, Head { sequence: links.sequence, hash: told.to_owned() }))
}

fn hash(prev: &str, canonical: &str) -> String {
    let mut digest = Sha256::new();
    digest.update(prev.as_bytes());
    digest.update(canonical.as_bytes());
    hex(&digest.finalize())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The files of a log by the number of their first line.
fn files(directory: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let first = name.strip_suffix(".jsonl").and_then(|digits| digits.parse().ok());
        files.extend(first.map(|first| (first, path)));
    }
    files.sort();
    Ok(files)
}

pub(super) fn unwritable(directory: &Path, cause: &io::Error) -> AuditError {
    AuditError::Unwritable { path: directory.display().to_string(), cause: cause.to_string() }
}

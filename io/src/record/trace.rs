//! A recording of a node that runs: what it is given and what it says to that, to look at.
//!
//! Lines of JSON as the simulator writes them of its worlds: a head, then a line per turn with inputs, outputs and
//! the hash of the outputs, and a line that says why nothing follows. Files are `<start ms>.jsonl` in the folder
//! `trace` of the data directory, readable by the node alone; the newest [`FILES_MAX`] are kept.
//!
//! Invariant: one trace at a time, so that what the loop copies is bounded.
//!
//! Absent on purpose: the state in which it begins. What a node knew before cannot be told from here, so none of
//! these is ever replayed.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use quorate_core::node::Published;
use quorate_core::node::flight::hash;
use serde_json::{Value, json};

use super::{Ear, Endings, Sheet, Turned, spawn};
use crate::clock;

/// Files that are kept, the newest ones.
const FILES_MAX: usize = 8;
/// Room that is kept for the closing mark.
const END_BYTES_MAX: u64 = 64;

/// Where traces go, and how long they become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TraceSettings {
    /// The folder.
    pub(crate) directory: PathBuf,
    /// The most bytes of one.
    pub(crate) bytes_max: u64,
    /// What this build is called.
    pub(crate) build: String,
}

/// Why no trace began.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TraceError {
    /// One is being made.
    #[error("a trace is being made already; one at a time")]
    Busy,
    /// There is nowhere to write it.
    #[error("this node keeps no files: it has no data directory")]
    Absent,
    /// The disk refuses it.
    #[error("the trace cannot be written: {0}")]
    Failed(String),
}

/// The surfaces' end: begins traces.
#[derive(Debug)]
pub(crate) struct Tracer {
    wanted: Sender<Ear>,
    endings: Arc<Endings>,
    busy: Arc<AtomicBool>,
}

impl Tracer {
    /// A tracer, and what its loop waits for.
    pub(crate) fn new(endings: Arc<Endings>) -> (Tracer, Receiver<Ear>) {
        let (wanted, begun) = mpsc::channel();
        (Tracer { wanted, endings, busy: Arc::default() }, begun)
    }

    /// Begins a trace of the node that shows `published`, for so long; where it is written.
    pub(crate) fn begin(
        &self,
        settings: &TraceSettings,
        published: &Published,
        lasts: Duration,
    ) -> Result<PathBuf, TraceError> {
        if self.busy.swap(true, Ordering::AcqRel) {
            return Err(TraceError::Busy);
        }
        let begun = self.spawn(settings, &head(settings, published), lasts);
        begun.map_err(|error| {
            self.busy.store(false, Ordering::Release);
            TraceError::Failed(error.to_string())
        })
    }

    fn spawn(
        &self,
        settings: &TraceSettings,
        head: &Value,
        lasts: Duration,
    ) -> io::Result<PathBuf> {
        let (path, lines) = Lines::create(settings, head)?;
        let (endings, busy) = (self.endings.clone(), self.busy.clone());
        let ended = move |why| {
            endings.count(why);
            busy.store(false, Ordering::Release);
        };
        let ear = spawn("trace", lines, Some(clock::now() + lasts), ended)?;
        let _ = self.wanted.send(ear); // A loop that has ended traces nothing, and the thread says so.
        Ok(path)
    }

    #[cfg(test)]
    pub(super) fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Acquire)
    }
}

/// What the trace says about itself, and whom the node's connections lead to.
fn head(settings: &TraceSettings, published: &Published) -> Value {
    let links = published.links.load();
    let links = links
        .links
        .iter()
        .map(|row| json!({"peer": row.peer, "connection": row.generation, "address": row.address}));
    let local = published.members.load().local.clone();
    json!({
        "trace": 1, "kind": "node", "build": settings.build, "seed": null, "plan": null,
        "command": "POST /v0/operations/trace", "node": local.node,
        "incarnation": local.incarnation, "started_at": clock::rfc3339(clock::wall()),
        "links": links.collect::<Value>(),
    })
}

/// The file of one trace.
struct Lines {
    file: BufWriter<File>,
    node: String,
    written: u64,
    bytes_max: u64,
    turns: u64,
}

impl Lines {
    fn create(settings: &TraceSettings, head: &Value) -> io::Result<(PathBuf, Lines)> {
        let directory = &settings.directory;
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        forget_eldest(directory)?;
        let path = directory.join(format!("{}.jsonl", clock::wall().0));
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        let node = head.get("node").and_then(Value::as_str).unwrap_or_default().to_owned();
        let bytes_max = settings.bytes_max.saturating_sub(END_BYTES_MAX);
        let mut lines = Lines { file: BufWriter::new(file), node, written: 0, bytes_max, turns: 0 };
        if !lines.line(head)? {
            return Err(io::Error::other("`trace.record_bytes_max` is less than its head takes"));
        }
        Ok((path, lines))
    }

    fn line(&mut self, value: &Value) -> io::Result<bool> {
        let text = value.to_string();
        let bytes = text.len() as u64 + 1;
        if self.written + bytes > self.bytes_max {
            return Ok(false);
        }
        self.written += bytes;
        writeln!(self.file, "{text}")?;
        Ok(true)
    }
}

impl Sheet for Lines {
    fn turn(&mut self, turned: Turned) -> io::Result<bool> {
        let Turned { now, inputs, effects, .. } = turned;
        self.turns += 1;
        self.line(&json!({
            "n": self.turns, "t_us": now.as_micros(), "node": self.node, "input": inputs,
            "outputs": effects, "hash": format!("{:016x}", hash(&effects)),
        }))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }

    fn close(&mut self, why: &str) -> io::Result<()> {
        writeln!(self.file, "{}", json!({ "end": why }))?;
        self.file.flush()
    }
}

/// Leaves room for one more.
fn forget_eldest(directory: &Path) -> io::Result<()> {
    let entries = std::fs::read_dir(directory)?.filter_map(|entry| Some(entry.ok()?.path()));
    let mut traces: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|kind| kind == "jsonl")).collect();
    traces.sort();
    let surplus = (traces.len() + 1).saturating_sub(FILES_MAX);
    traces.iter().take(surplus).try_for_each(std::fs::remove_file)
}

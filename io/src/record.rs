//! What a node was given and what it said to that, turn by turn, written beside it.
//!
//! | | begins | holds | for |
//! | --- | --- | --- | --- |
//! | flight record, `serve --record` | with the node | inputs and a hash of the outputs | `quorate-sim replay` |
//! | trace, `POST /v0/operations/trace` | from the middle, for a while | inputs and outputs | `quorate-sim view` |
//!
//! The loop hands each turn to a thread per writer over a bounded queue and never waits for it. A record with a
//! hole is no record: at a full queue, at the bound of bytes or at a refusal of the disk it ends with its reason,
//! is counted, and the node goes on.
//!
//! Files of a flight record are `<start ms>-<n>.qrec`, readable by the node alone, at most [`FILE_BYTES_MAX`] each;
//! the format is [`quorate_core::node::flight`]'s.
//!
//! Absent on purpose: secrets. No machine is given any.

mod file;
mod trace;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TrySendError};
use std::thread::JoinHandle;
use std::time::Duration;

use quorate_core::machine::{Count, Counted, Labels};
use quorate_core::node::flight::{Block, Head, Turn, hash};
use quorate_core::node::{Effect, Image, Input};
use quorate_core::time::Instant;

use crate::clock;
use crate::traffic::Number;
use file::Files;
pub use trace::TraceError;
pub(crate) use trace::{TraceSettings, Tracer};

/// The most bytes of one file.
pub const FILE_BYTES_MAX: u64 = 64 << 20;
/// Turns that wait for the disk.
const TURNS_MAX: usize = 4096;

/// Where a record goes, and how much of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordSettings {
    /// The folder.
    pub directory: PathBuf,
    /// The most bytes of all files of one record.
    pub bytes_max: u64,
}

/// Why a record could not begin.
#[derive(Debug, thiserror::Error)]
#[error("failed to record in {path}: {error}")]
pub struct RecordError {
    /// Where.
    pub path: PathBuf,
    /// Why.
    pub error: std::io::Error,
}

/// Why a record ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Ended {
    /// The node did.
    Stopped,
    /// It held as much as it may.
    Bytes,
    /// The disk was too slow.
    Queue,
    /// The disk refused.
    Write,
    /// It was to last no longer.
    Time,
}

const ENDS: [(Ended, &str); 5] = [
    (Ended::Stopped, "stopped"),
    (Ended::Bytes, "bytes"),
    (Ended::Queue, "queue"),
    (Ended::Write, "write"),
    (Ended::Time, "time"),
];

impl Ended {
    fn name(self) -> &'static str {
        ENDS.into_iter().find(|(ended, _)| *ended == self).map_or("", |(_, name)| name)
    }
}

/// How often a record ended, by reason.
#[derive(Debug, Default)]
pub(crate) struct Endings([Number; ENDS.len()]);

impl Endings {
    fn count(&self, why: Ended) {
        let place = ENDS.iter().zip(&self.0).find(|((ended, _), _)| *ended == why);
        place.expect("every end has its row").1.add(1);
    }
}

impl Counted for Endings {
    fn counts(&self, visit: &mut dyn FnMut(Count)) {
        for ((_, reason), number) in ENDS.iter().zip(&self.0) {
            let labels = Labels::One("reason", reason);
            visit(Count { name: "trace_ended_total", labels, value: number.get() });
        }
    }
}

/// What the loop hands over: hashing and encoding cost it nothing.
#[derive(Debug, Clone)]
struct Turned {
    now: Instant,
    wall_ms: u64,
    inputs: Vec<Input>,
    effects: Vec<Effect>,
}

/// The loop's end of what a thread writes.
#[derive(Debug)]
pub(crate) struct Ear {
    /// Gone once nobody takes any more; the thread learns from that that nothing follows.
    queue: Option<SyncSender<Turned>>,
    overflowed: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Ear {
    fn hear(&mut self, turned: Turned) {
        let Some(queue) = &self.queue else { return };
        if let Err(refused) = queue.try_send(turned) {
            let full = matches!(refused, TrySendError::Full(_));
            self.overflowed.store(full, Ordering::Release);
            self.queue = None;
        }
    }

    /// Waits for the closing mark.
    fn close(self) {
        drop(self.queue);
        let _ = self.thread.join(); // A panic there is in the log already.
    }
}

/// What the loop tells of its turns; nothing happens while nobody wants to know.
pub(crate) struct Recorder {
    record: Option<Ear>,
    trace: Option<Ear>,
    wanted: Receiver<Ear>,
    /// No input of the next turn has come.
    between: bool,
    inputs: Vec<Input>,
}

impl Recorder {
    /// A recorder that keeps no flight record; traces come through `wanted`.
    pub(crate) fn off(wanted: Receiver<Ear>) -> Recorder {
        Recorder { record: None, trace: None, wanted, between: true, inputs: Vec::new() }
    }

    /// Begins a record of the node that `head` and `image` make.
    pub(crate) fn start(
        settings: &RecordSettings,
        head: Head,
        image: &Image,
        endings: Arc<Endings>,
        wanted: Receiver<Ear>,
    ) -> Result<Recorder, RecordError> {
        let failed = |error| RecordError { path: settings.directory.clone(), error };
        let mut files = Files::create(settings).map_err(failed)?;
        let rows = image.iter().map(|((keyspace, key), value)| {
            Block::Row((*keyspace, key.clone(), value.clone())).encode()
        });
        for block in std::iter::once(Block::Head(Box::new(head)).encode()).chain(rows) {
            if !files.write(&block).map_err(failed)? {
                let what = "`trace.record_bytes_max` is less than its beginning takes";
                return Err(failed(std::io::Error::other(what)));
            }
        }
        files.flush().map_err(failed)?;
        let count = move |why| endings.count(why);
        let ear = spawn("record", files, None, count).map_err(failed)?;
        Ok(Recorder { record: Some(ear), ..Recorder::off(wanted) })
    }

    fn ears(&mut self) -> impl Iterator<Item = &mut Ear> {
        self.record.iter_mut().chain(&mut self.trace).filter(|ear| ear.queue.is_some())
    }

    /// The node is about to be handed `input`.
    pub(crate) fn note(&mut self, input: &Input) {
        // A trace begins between two turns, so that whoever asked for it sees whatever is done next, whole.
        if std::mem::take(&mut self.between)
            && let Ok(trace) = self.wanted.try_recv()
        {
            self.trace = Some(trace);
        }
        if self.ears().next().is_some() {
            self.inputs.push(input.clone());
        }
    }

    /// The turn is over; `effects` are about to be performed.
    pub(crate) fn turned(&mut self, now: Instant, effects: &[Effect]) {
        let inputs = std::mem::take(&mut self.inputs);
        self.between = true;
        self.tell(now, inputs, effects);
    }

    fn tell(&mut self, now: Instant, inputs: Vec<Input>, effects: &[Effect]) {
        let mut ears = self.ears();
        let Some(first) = ears.next() else { return };
        let wall_ms = clock::wall().0;
        let turned = Turned { now, wall_ms, inputs, effects: effects.to_vec() };
        ears.for_each(|other| other.hear(turned.clone()));
        first.hear(turned);
    }

    /// The node ended: waits until what is written has its closing mark.
    pub(crate) fn close(&mut self) {
        let late = self.wanted.try_recv().ok();
        let ears = [self.record.take(), self.trace.take(), late];
        ears.into_iter().flatten().for_each(Ear::close);
    }
}

/// What turns are written to.
trait Sheet: Send + 'static {
    /// Writes a turn; false if it holds as much as it may.
    fn turn(&mut self, turned: Turned) -> std::io::Result<bool>;
    /// Hands everything to the system.
    fn flush(&mut self) -> std::io::Result<()>;
    /// The closing mark.
    fn close(&mut self, why: &str) -> std::io::Result<()>;
}

impl Sheet for Files {
    fn turn(&mut self, turned: Turned) -> std::io::Result<bool> {
        let Turned { now, wall_ms, inputs, effects } = turned;
        self.write(&Block::Turn(Turn { now, wall_ms, inputs, hash: hash(&effects) }).encode())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Files::flush(self)
    }

    fn close(&mut self, why: &str) -> std::io::Result<()> {
        Files::close(self, why)
    }
}

/// A thread that writes turns to `sheet`, at the longest until `until`; `ended` hears why it ends.
fn spawn(
    name: &str,
    sheet: impl Sheet,
    until: Option<Instant>,
    ended: impl FnOnce(Ended) + Send + 'static,
) -> std::io::Result<Ear> {
    let (queue, turns) = mpsc::sync_channel(TURNS_MAX);
    let overflowed = Arc::new(AtomicBool::new(false));
    let full = overflowed.clone();
    let work = move || ended(write(sheet, &turns, &full, until));
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(work)?;
    Ok(Ear { queue: Some(queue), overflowed, thread })
}

/// Writes turns until there are no more, and why that is.
fn write(
    mut sheet: impl Sheet,
    turns: &Receiver<Turned>,
    overflowed: &AtomicBool,
    until: Option<Instant>,
) -> Ended {
    let ended = loop {
        let left = until.map_or(Duration::MAX, |until| until.since(clock::now()));
        if left.is_zero() {
            break Ended::Time;
        }
        // What is there is on its way to the disk before the thread waits: a kill costs only what is not.
        let turned = match turns.try_recv() {
            Ok(turned) => turned,
            Err(_) => {
                if let Err(error) = sheet.flush() {
                    break refused(&error);
                }
                match turns.recv_timeout(left) {
                    Ok(turned) => turned,
                    Err(RecvTimeoutError::Timeout) => break Ended::Time,
                    Err(_) if overflowed.load(Ordering::Acquire) => break Ended::Queue,
                    Err(RecvTimeoutError::Disconnected) => break Ended::Stopped,
                }
            }
        };
        match sheet.turn(turned) {
            Ok(true) => {}
            Ok(false) => break Ended::Bytes,
            Err(error) => break refused(&error),
        }
    };
    if ended != Ended::Write
        && let Err(error) = sheet.close(ended.name())
    {
        return refused(&error);
    }
    ended
}

fn refused(error: &std::io::Error) -> Ended {
    tracing::warn!(%error, "what is recorded ends: the disk refuses it");
    Ended::Write
}

#[cfg(test)]
mod tests;

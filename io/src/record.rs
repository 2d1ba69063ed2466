//! The flight recorder: every turn of a node, written beside it.
//!
//! The loop hands each turn to a thread over a bounded queue and never waits for it. A record with a hole is
//! no record: at a full queue, at the bound of bytes or at a refusal of the disk it ends with its reason, is
//! counted, and the node goes on.
//!
//! Files are `<start ms>-<n>.qrec`, readable by the node alone, at most [`FILE_BYTES_MAX`] each; the format is
//! [`quorate_core::node::flight`]'s.
//!
//! Absent on purpose: secrets. No machine is given any.

mod file;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::thread::JoinHandle;

use quorate_core::machine::{Count, Counted, Labels};
use quorate_core::node::flight::{Block, Head, Turn, hash};
use quorate_core::node::{Effect, Image, Input};
use quorate_core::time::Instant;

use crate::clock;
use crate::traffic::Number;
use file::Files;

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
}

const ENDS: [(Ended, &str); 4] = [
    (Ended::Stopped, "stopped"),
    (Ended::Bytes, "bytes"),
    (Ended::Queue, "queue"),
    (Ended::Write, "write"),
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
struct Turned {
    now: Instant,
    wall_ms: u64,
    inputs: Vec<Input>,
    effects: Vec<Effect>,
}

/// The loop's end of a record; nothing happens in one that ended.
pub(crate) struct Recorder {
    queue: Option<SyncSender<Turned>>,
    overflowed: Arc<AtomicBool>,
    inputs: Vec<Input>,
    thread: Option<JoinHandle<()>>,
}

impl Recorder {
    /// A recorder that records nothing.
    pub(crate) fn off() -> Recorder {
        let overflowed = Arc::new(AtomicBool::new(false));
        Recorder { queue: None, overflowed, inputs: Vec::new(), thread: None }
    }

    /// Begins a record of the node that `head` and `image` make.
    pub(crate) fn start(
        settings: &RecordSettings,
        head: Head,
        image: &Image,
        endings: Arc<Endings>,
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
        let mut recorder = Recorder::off();
        let (queue, turns) = mpsc::sync_channel(TURNS_MAX);
        let overflowed = recorder.overflowed.clone();
        let work = move || endings.count(write(files, &turns, &overflowed));
        let thread = std::thread::Builder::new().name("record".to_owned()).spawn(work);
        recorder.thread = Some(thread.map_err(failed)?);
        recorder.queue = Some(queue);
        Ok(recorder)
    }

    /// The node is about to be handed `input`.
    pub(crate) fn note(&mut self, input: &Input) {
        if self.queue.is_some() {
            self.inputs.push(input.clone());
        }
    }

    /// The turn is over; `effects` are about to be performed.
    pub(crate) fn turned(&mut self, now: Instant, effects: &[Effect]) {
        let Some(queue) = &self.queue else { return };
        let inputs = std::mem::take(&mut self.inputs);
        let turn = Turned { now, wall_ms: clock::wall().0, inputs, effects: effects.to_vec() };
        if let Err(refused) = queue.try_send(turn) {
            let full = matches!(refused, TrySendError::Full(_));
            self.overflowed.store(full, Ordering::Release);
            self.queue = None;
        }
    }

    /// The node ended: waits until the record has its closing mark.
    pub(crate) fn close(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // A panic there is in the log already.
        }
    }
}

/// Writes turns until there are no more, and why that is.
fn write(mut files: Files, turns: &Receiver<Turned>, overflowed: &AtomicBool) -> Ended {
    let ended = loop {
        // What is there is on its way to the disk before the thread waits: a kill costs only what is not.
        let turned = match turns.try_recv() {
            Ok(turned) => turned,
            Err(_) => {
                if let Err(error) = files.flush() {
                    break refused(&error);
                }
                match turns.recv() {
                    Ok(turned) => turned,
                    Err(_) if overflowed.load(Ordering::Acquire) => break Ended::Queue,
                    Err(_) => break Ended::Stopped,
                }
            }
        };
        let Turned { now, wall_ms, inputs, effects } = turned;
        let turn = Turn { now, wall_ms, inputs, hash: hash(&effects) };
        match files.write(&Block::Turn(turn).encode()) {
            Ok(true) => {}
            Ok(false) => break Ended::Bytes,
            Err(error) => break refused(&error),
        }
    };
    if ended != Ended::Write
        && let Err(error) = files.close(ended.name())
    {
        return refused(&error);
    }
    ended
}

fn refused(error: &std::io::Error) -> Ended {
    tracing::warn!(%error, "the flight record ends: the disk refuses it");
    Ended::Write
}

#[cfg(test)]
mod tests;

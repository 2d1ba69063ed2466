//! The audit log: who changed what, in a chain that shows every later touch.
//!
//! One JSON line each in `<data>/audit/<first sequence>.jsonl`, mode 0600, at most 64 MiB a file. `hash`
//! is SHA-256 over the previous line's hash and the line without its own. A line is appended and synced
//! before its answer leaves; whatever waits shares one sync. A line that a crash tore off is cut at the
//! next start, since nobody was answered for it. What applications do all day (picks, reports) is one
//! line a minute per actor and verb, with a count.
//!
//! Invariants:
//! - `sequence` rises by one per line, over all files.
//! - an appended line is durable when its waiter is told so (O-5).
//! - once a write failed, every append is refused until one succeeds from a clean end of file.
//!
//! Absent on purpose: values. `before` and `after` are digests. Deleting old files is the operator's.

mod chain;
mod tally;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;

use arc_swap::ArcSwap;
use serde::Serialize;
use tokio::sync::oneshot;

pub use chain::{Broken, Head, Verified, read_after, verify};

use chain::Chain;
use tally::Tally;

/// Lines that wait for the writer.
const WAITING_MAX: usize = 4096;
/// Lines of one sync.
const GROUP_MAX: usize = 512;

/// What is counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted<'a> {
    /// By whom.
    pub actor: &'a str,
    /// What was done.
    pub verb: &'static str,
    /// `ok`, or the code of the refusal.
    pub outcome: &'static str,
}

/// What a line tells, before it has its place in the chain.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Record {
    /// When, RFC 3339 in UTC.
    pub at: String,
    /// On which node.
    pub node: String,
    /// By whom.
    pub actor: String,
    /// The scope that it needed.
    pub scope: String,
    /// What was done: `<domain>.<verb>`.
    pub verb: String,
    /// To what.
    pub object: String,
    /// Digest of it before, if known.
    pub before: Option<String>,
    /// Digest of it after, if known.
    pub after: Option<String>,
    /// `ok`, or the code of the refusal.
    pub outcome: String,
    /// The request's.
    pub request_id: String,
    /// How many there were, on a line that stands for several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
}

/// Why a line is not in the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuditError {
    /// The file system refused.
    #[error("the audit log at {path} cannot be written: {cause}")]
    Unwritable {
        /// Where.
        path: String,
        /// What it said.
        cause: String,
    },
    /// Too many lines wait.
    #[error("the audit log's queue is full")]
    QueueFull,
    /// The writer has ended.
    #[error("the audit log is closed")]
    Closed,
}

/// The log of one node. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Audit {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    lines: mpsc::SyncSender<Line>,
    head: Arc<ArcSwap<Head>>,
    failed: Arc<AtomicBool>,
    directory: PathBuf,
    tally: Tally,
}

#[derive(Debug)]
struct Line {
    /// None: only mend what a failure left.
    record: Option<Record>,
    done: Option<oneshot::Sender<Result<(), AuditError>>>,
}

impl Audit {
    /// Opens the log below `data`, cuts a torn end, and starts its writer. `told` hears the number of
    /// lines after each group, or the error that refused it.
    pub fn open(
        data: &Path,
        told: impl Fn(Result<usize, &AuditError>) + Send + 'static,
    ) -> Result<Audit, AuditError> {
        let directory = data.join("audit");
        let chain = Chain::open(&directory)?;
        let head = Arc::new(ArcSwap::from_pointee(chain.head().clone()));
        let (lines, waiting) = mpsc::sync_channel(WAITING_MAX);
        let failed = Arc::new(AtomicBool::new(false));
        let (written, fails) = (head.clone(), failed.clone());
        std::thread::Builder::new()
            .name("audit".into())
            .spawn(move || write(chain, &waiting, &written, &fails, &told))
            .map_err(|cause| chain::unwritable(&directory, &cause))?;
        let shared = Shared { lines, head, failed, directory, tally: Tally::default() };
        Ok(Audit { shared: Arc::new(shared) })
    }

    /// Appends a line; returns when it is durable.
    pub async fn append(&self, record: Record) -> Result<(), AuditError> {
        let (done, durable) = oneshot::channel();
        self.offer(Line { record: Some(record), done: Some(done) })?;
        durable.await.unwrap_or(Err(AuditError::Closed))
    }

    /// Whether lines can be written: nothing waits too long, and after a failure the log was mended.
    pub async fn probe(&self) -> Result<(), AuditError> {
        if !self.shared.failed.load(Ordering::Acquire) {
            return Ok(());
        }
        let (done, mended) = oneshot::channel();
        self.offer(Line { record: None, done: Some(done) })?;
        mended.await.unwrap_or(Err(AuditError::Closed))
    }

    /// Appends a line without waiting: a refusal that nobody must hold an answer for.
    pub fn note(&self, record: Record) -> Result<(), AuditError> {
        self.offer(Line { record: Some(record), done: None })
    }

    /// Counts one of many: it becomes a line within a minute. The first of them lends it the details of `record`.
    pub fn count(
        &self,
        what: Counted<'_>,
        now: quorate_core::time::Instant,
        record: impl FnOnce() -> Record,
    ) {
        self.shared.tally.count(what, now, record);
    }

    /// Writes what was counted and is due, or all of it at the end. The shell calls this each second.
    pub async fn settle(
        &self,
        now: quorate_core::time::Instant,
        all: bool,
    ) -> Result<(), AuditError> {
        for record in self.shared.tally.due(now, all) {
            self.append(record).await?;
        }
        Ok(())
    }

    /// The last durable line, for the node fact `audit`.
    pub fn head(&self) -> Arc<Head> {
        self.shared.head.load_full()
    }

    /// Where its files are.
    pub fn directory(&self) -> &Path {
        &self.shared.directory
    }

    fn offer(&self, line: Line) -> Result<(), AuditError> {
        self.shared.lines.try_send(line).map_err(|error| match error {
            mpsc::TrySendError::Full(_) => AuditError::QueueFull,
            mpsc::TrySendError::Disconnected(_) => AuditError::Closed,
        })
    }
}

/// The writer's thread: takes what waits, writes it, syncs once, tells the waiters.
fn write(
    mut chain: Chain,
    waiting: &mpsc::Receiver<Line>,
    head: &ArcSwap<Head>,
    failed: &AtomicBool,
    told: &dyn Fn(Result<usize, &AuditError>),
) {
    while let Ok(first) = waiting.recv() {
        let mut group = vec![first];
        while group.len() < GROUP_MAX {
            let Ok(line) = waiting.try_recv() else { break };
            group.push(line);
        }
        let written = chain.append(group.iter().filter_map(|line| line.record.as_ref()));
        failed.store(written.is_err(), Ordering::Release);
        if written.is_ok() {
            head.store(Arc::new(chain.head().clone()));
        }
        let lines = group.iter().filter(|line| line.record.is_some()).count();
        told(written.as_ref().map(|()| lines));
        for done in group.into_iter().filter_map(|line| line.done) {
            let _ = done.send(written.clone()); // The caller may have gone; the line stands.
        }
    }
}

#[cfg(test)]
mod tests;

//! Traces and plans, read again.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::path::Path;

use serde::Deserialize;

use crate::plan::{Plan, text};

/// The trace format that this build writes; one older is still shown, none newer is read.
pub const TRACE: u32 = 1;
/// The longest first line: it holds a plan.
const HEAD_BYTES_MAX: u64 = 4 * text::FILE_BYTES_MAX as u64;

/// Why a file is no plan and no trace.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It cannot be read.
    #[error("{path}: {error}")]
    Unreadable {
        /// Which.
        path: String,
        /// Why.
        error: std::io::Error,
    },
    /// It is something else, or broken.
    #[error("{path}: {what}")]
    Foreign {
        /// Which.
        path: String,
        /// What is wrong.
        what: String,
    },
    /// It is a plan with an error.
    #[error(transparent)]
    Plan(#[from] text::PlanError),
}

/// The first line of a trace.
#[derive(Debug, Clone, Deserialize)]
pub struct Head {
    /// The format.
    pub trace: u32,
    /// `world` or `node`.
    pub kind: String,
    /// Which build wrote it.
    pub build: String,
    /// What was typed.
    pub command: String,
    /// The seed of a world.
    pub seed: Option<u64>,
    /// The plan of a world.
    pub plan: Option<String>,
    /// The node of a trace that a node made of itself.
    pub node: Option<String>,
    /// When that began.
    pub started_at: Option<String>,
    /// Whom its connections led to then.
    #[serde(default)]
    pub links: Vec<Link>,
}

/// A connection that was there when a node's trace began.
#[derive(Debug, Clone, Deserialize)]
pub struct Link {
    /// To whom.
    pub peer: String,
    /// Its number, unless it was about to be dialled.
    pub connection: Option<u64>,
    /// Where the peer is reached.
    pub address: SocketAddr,
}

impl ReadError {
    /// A file that is not what was wanted.
    pub fn foreign(path: &Path, what: impl Into<String>) -> ReadError {
        ReadError::Foreign { path: path.display().to_string(), what: what.into() }
    }

    /// A file that the system does not give.
    pub fn unreadable(path: &Path, error: std::io::Error) -> ReadError {
        ReadError::Unreadable { path: path.display().to_string(), error }
    }
}

/// Opens a trace: its head, and the lines that follow.
pub fn open(path: &Path) -> Result<(Head, BufReader<File>), ReadError> {
    let file = File::open(path).map_err(|error| ReadError::unreadable(path, error))?;
    let mut lines = BufReader::new(file);
    let mut first = String::new();
    let mut bounded = lines.by_ref().take(HEAD_BYTES_MAX);
    bounded.read_line(&mut first).map_err(|error| ReadError::unreadable(path, error))?;
    Ok((head(path, &first)?, lines))
}

/// The head that a first line is.
pub fn head(path: &Path, line: &str) -> Result<Head, ReadError> {
    let wrong = |error| ReadError::foreign(path, format!("its first line is no head: {error}"));
    let head: Head = serde_json::from_str(line).map_err(wrong)?;
    if head.trace > TRACE {
        let what = format!("trace format {} is newer than {TRACE}", head.trace);
        return Err(ReadError::foreign(path, what));
    }
    Ok(head)
}

/// The plan in a scenario file, or the plan and the seed of a world's trace.
pub fn plan(path: &Path) -> Result<(Plan, Option<u64>), ReadError> {
    if path.extension().is_some_and(|extension| extension == "jsonl") {
        let (head, _) = open(path)?;
        return plan_of(path, &head).map(|plan| (plan, head.seed));
    }
    let unreadable = |error| ReadError::unreadable(path, error);
    let name = path.display().to_string();
    let size = std::fs::metadata(path).map_err(unreadable)?.len();
    if size > text::FILE_BYTES_MAX as u64 {
        let what = format!("longer than {} bytes", text::FILE_BYTES_MAX);
        return Err(ReadError::Foreign { path: name, what });
    }
    let content = std::fs::read_to_string(path).map_err(unreadable)?;
    Ok((text::parse(&name, &content)?, None))
}

/// The plan that a trace carries.
pub fn plan_of(path: &Path, head: &Head) -> Result<Plan, ReadError> {
    if head.kind == "node" {
        let what = "a trace from the middle has no beginning to go on from; `view` shows it, and `serve --record` \
                    makes what can be replayed";
        return Err(ReadError::foreign(path, what));
    }
    let plan = head.plan.as_deref().filter(|_| head.kind == "world");
    let plan = plan.ok_or_else(|| ReadError::foreign(path, "no trace of a world"))?;
    Ok(text::parse(&path.display().to_string(), plan)?)
}

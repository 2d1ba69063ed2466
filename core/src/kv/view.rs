//! The store as any thread may read it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::Version;
use super::ask::{Question, Told, tell};
use super::name::Path;
use super::state::State;

/// A clone of the state: it costs nothing, and no write ever waits for its readers.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// What was applied here.
    pub state: State,
    /// Whether this node keeps a copy; without one the state says nothing.
    pub copy: bool,
    /// The log's time when this was published.
    pub log_time: u64,
    /// How long a call waits, where the caller does not say.
    pub deadline: Duration,
    /// What readers were told from here.
    pub(super) served: Arc<Served>,
}

impl View {
    /// The key as it is here.
    pub fn get(&self, path: &Path) -> Option<&Arc<Version>> {
        self.state.get(path, None).expect("the present is never compacted")
    }

    /// Answers a question from what is here; `None` where nothing is.
    pub fn tell(&self, question: &Question) -> Option<Told> {
        self.copy.then(|| tell(&self.state, self.log_time, question))
    }

    /// Answers a reader of this node who does not mind how old the answer is, as the node itself would. `None`
    /// where only the node can: it keeps no copy, the state has yet to come to `min_revision`, or time is asked for,
    /// which goes on while no entry is applied.
    pub fn tell_local(&self, question: &Question, min_revision: u64) -> Option<Told> {
        let told = match question {
            Question::Get { .. } => &self.served.gets,
            Question::List { .. } => &self.served.lists,
            Question::Lease(_) | Question::Line(_) | Question::Changes { .. } => return None,
        };
        if self.state.revision() < min_revision.max(question.at()) {
            return None;
        }
        let answer = self.tell(question)?;
        told.fetch_add(1, Ordering::Relaxed);
        Some(answer)
    }
}

/// Answers given by [`View::tell_local`], counted on whatever thread they were given.
#[derive(Debug, Default)]
pub(super) struct Served {
    pub(super) gets: AtomicU64,
    pub(super) lists: AtomicU64,
}

//! The store as any thread may read it.

use super::Version;
use super::ask::{Question, Told, tell};
use super::name::Path;
use super::state::State;
use std::sync::Arc;

/// A clone of the state: it costs nothing, and no write ever waits for its readers.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// What was applied here.
    pub state: State,
    /// Whether this node keeps a copy; without one the state says nothing.
    pub copy: bool,
    /// The log's time, by now.
    pub log_time: u64,
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
}

//! What every surface holds of a running node: its snapshots, its ear, and a way to ask.
//!
//! Absent on purpose: anything that decides. A handler reads [`Published`] or sends a [`Request`].

use std::sync::Arc;
use std::time::Duration;

use quorate_core::node::{Announcement, Published, Reply, Request};
use quorate_core::time::Instant;
use tokio::sync::{broadcast, mpsc, oneshot};

/// Announcements that wait for one slow listener before it is told that it missed some.
pub const ANNOUNCEMENTS_MAX: usize = 4096;
/// Requests that wait for the loop.
pub const REQUESTS_MAX: usize = 1024;

/// One request on its way to the loop.
#[derive(Debug)]
pub struct Ask {
    /// What is wanted.
    pub request: Request,
    /// Where the answer goes.
    pub reply: oneshot::Sender<Reply>,
}

/// An announcement with the instant of its turn.
#[derive(Debug, Clone)]
pub struct Heard {
    /// When, on the node's clock.
    pub at: Instant,
    /// What.
    pub announcement: Announcement,
}

/// A running node, as its surfaces see it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Handle {
    requests: mpsc::Sender<Ask>,
    announcements: broadcast::Sender<Heard>,
    published: Arc<Published>,
}

/// Why a request has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// Too many wait already.
    #[error("the node's queue is full; retry shortly")]
    QueueFull,
    /// The loop has ended.
    #[error("the node is shutting down")]
    Stopped,
    /// The deadline passed first; whether it happened is not known.
    #[error("no answer in time: read before repeating")]
    Deadline,
}

impl Handle {
    /// A handle and the loop's ends of its channels.
    pub fn new(
        published: Arc<Published>,
    ) -> (Handle, mpsc::Receiver<Ask>, broadcast::Sender<Heard>) {
        let (requests, asks) = mpsc::channel(REQUESTS_MAX);
        let (announcements, _) = broadcast::channel(ANNOUNCEMENTS_MAX);
        let handle = Handle { requests, announcements: announcements.clone(), published };
        (handle, asks, announcements)
    }

    /// The newest snapshots. A caller that returns from a request reads its own write here.
    pub fn published(&self) -> &Published {
        &self.published
    }

    /// Hears every announcement from now on.
    pub fn listen(&self) -> broadcast::Receiver<Heard> {
        self.announcements.subscribe()
    }

    /// Asks the node.
    pub async fn ask(&self, request: Request, within: Duration) -> Result<Reply, AskError> {
        let (reply, answer) = oneshot::channel();
        self.requests.try_send(Ask { request, reply }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => AskError::QueueFull,
            mpsc::error::TrySendError::Closed(_) => AskError::Stopped,
        })?;
        match tokio::time::timeout(within, answer).await {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(_)) => Err(AskError::Stopped),
            Err(_) => Err(AskError::Deadline),
        }
    }
}

//! What every surface holds of a running node: its snapshots, its ear, and a way to ask.
//!
//! Absent on purpose: anything that decides. A handler reads [`Published`] or sends a [`Request`].

use std::sync::Arc;
use std::time::Duration;

use quorate_core::ids::Ticket;
use quorate_core::node::kv::{Event, WatchRequest};
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
    /// Where the events of a watch go; the node holds back what its watcher did not take.
    pub events: Option<mpsc::UnboundedSender<Event>>,
}

/// An open watch of the consistent store. Dropping it ends it.
#[derive(Debug)]
pub struct Watching {
    handle: Handle,
    watch: Ticket,
    events: mpsc::UnboundedReceiver<Event>,
}

impl Watching {
    /// What is next; `None` when the watch has ended.
    pub async fn next(&mut self) -> Option<Event> {
        self.events.recv().await
    }

    /// What is here already.
    pub fn try_next(&mut self) -> Option<Event> {
        self.events.try_recv().ok()
    }

    /// Everything through `revision` is on its way: there is room for more.
    pub async fn taken(&self, revision: u64) {
        self.handle.tell(Request::Taken { watch: self.watch, revision }).await;
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let (handle, watch) = (self.handle.clone(), self.watch);
        // A runtime that is gone took the node with it.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { handle.tell(Request::Unwatch { watch }).await });
        }
    }
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

/// Asks a node for as long as somebody else keeps it open.
#[derive(Debug, Clone)]
pub(crate) struct Asker {
    requests: mpsc::WeakSender<Ask>,
}

impl Asker {
    /// Asks the node, and waits for a place in its queue.
    pub(crate) async fn ask(&self, request: Request, within: Duration) -> Result<Reply, AskError> {
        let requests = self.requests.upgrade().ok_or(AskError::Stopped)?;
        in_line(&requests, request, within).await
    }
}

async fn in_line(
    requests: &mpsc::Sender<Ask>,
    request: Request,
    within: Duration,
) -> Result<Reply, AskError> {
    let (reply, answer) = oneshot::channel();
    let asking = async {
        let ask = Ask { request, reply, events: None };
        requests.send(ask).await.map_err(|_| AskError::Stopped)?;
        answer.await.map_err(|_| AskError::Stopped)
    };
    tokio::time::timeout(within, asking).await.unwrap_or(Err(AskError::Deadline))
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

    /// The same, for who outlives the handle.
    pub(crate) fn shared(&self) -> Arc<Published> {
        self.published.clone()
    }

    /// What asks the node without keeping anything of it open.
    pub(crate) fn asker(&self) -> Asker {
        Asker { requests: self.requests.downgrade() }
    }

    /// Hears every announcement from now on.
    pub fn listen(&self) -> broadcast::Receiver<Heard> {
        self.announcements.subscribe()
    }

    /// Asks the node.
    pub async fn ask(&self, request: Request, within: Duration) -> Result<Reply, AskError> {
        let answer = self.begin(request, None)?;
        match tokio::time::timeout(within, answer).await {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(_)) => Err(AskError::Stopped),
            Err(_) => Err(AskError::Deadline),
        }
    }

    /// Asks the node, and waits for a place in its queue rather than being refused one.
    pub async fn ask_in_line(&self, request: Request, within: Duration) -> Result<Reply, AskError> {
        in_line(&self.requests, request, within).await
    }

    /// Puts a request into the loop's queue: where its reply will be. Of a watch, `events` is where its events
    /// go. Whoever has no runtime's clock waits for the reply by a deadline of its own.
    pub fn begin(
        &self,
        request: Request,
        events: Option<mpsc::UnboundedSender<Event>>,
    ) -> Result<oneshot::Receiver<Reply>, AskError> {
        let (reply, answer) = oneshot::channel();
        self.send(Ask { request, reply, events })?;
        Ok(answer)
    }

    /// Opens a watch of the consistent store.
    pub async fn watch(&self, request: WatchRequest) -> Result<Watching, AskError> {
        let (hears, events) = mpsc::unbounded_channel();
        let answer = self.begin(Request::Watch(request), Some(hears))?;
        match answer.await {
            Ok(Reply::Watching { watch }) => Ok(Watching { handle: self.clone(), watch, events }),
            Ok(_) | Err(_) => Err(AskError::Stopped),
        }
    }

    /// Tells the node something to which the answer does not matter.
    async fn tell(&self, request: Request) {
        let (reply, _) = oneshot::channel();
        let _ = self.requests.send(Ask { request, reply, events: None }).await; // It has stopped.
    }

    fn send(&self, ask: Ask) -> Result<(), AskError> {
        self.requests.try_send(ask).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => AskError::QueueFull,
            mpsc::error::TrySendError::Closed(_) => AskError::Stopped,
        })
    }
}

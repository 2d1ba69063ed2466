//! Server-Sent Events: a state that is watched, or events as they come.
//!
//! A watch keeps the last state that it sent and, whenever its reader takes something, compares it with
//! the newest. So a slow reader misses nothing and holds nothing that is out of date; there is no queue
//! to overflow. A comment every 15 s keeps the connection open; the stop of the node ends every stream.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use futures_util::stream::unfold;
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, broadcast, watch};
use tokio::time::{Instant, timeout_at};

use super::Surface;
use super::problem::{Code, Problem};
use crate::handle::Heard;
use crate::health::Phase;

/// Between two signs of life.
pub(super) const COMMENT_EVERY: Duration = Duration::from_secs(15);

/// One event as it goes over the line.
pub(super) fn frame(id: Option<&str>, event: &str, data: &Value) -> Bytes {
    let id = id.map(|id| format!("id: {id}\n")).unwrap_or_default();
    Bytes::from(format!("{id}event: {event}\ndata: {data}\n\n"))
}

/// A place among the streams; it counts while it is held.
pub(super) struct Place {
    surface: Arc<Surface>,
    _permit: OwnedSemaphorePermit,
}

impl Place {
    /// Takes a place, if there is one.
    pub(super) fn take(surface: &Arc<Surface>) -> Result<Place, Problem> {
        if surface.vitals.phase() == Phase::Stopping {
            return Err(Problem::new(Code::ShuttingDown, "this node is shutting down"));
        }
        let permit = surface.streams.clone().try_acquire_owned().map_err(|_| {
            let detail = format!("this node has {} streams open already", super::STREAMS_MAX);
            Problem::new(Code::QueueFull, detail).retry_after(COMMENT_EVERY)
        })?;
        surface.meters.sse_readers.inc();
        Ok(Place { surface: surface.clone(), _permit: permit })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.surface.meters.sse_readers.dec();
    }
}

/// Something whose changes are watched.
pub(super) trait Watched: Send + Sync + 'static {
    /// The whole, with its id.
    fn reset(&mut self, surface: &Surface) -> (String, Value);
    /// What became of it since the last call; `None` if nothing did.
    fn change(&mut self, surface: &Surface) -> Option<(String, Value)>;
    /// Whether an announcement may be about it.
    fn concerns(&self, heard: &Heard) -> bool;
}

/// A watch: `reset`, then coalesced `change`.
pub(super) fn watch<W: Watched>(surface: &Arc<Surface>, watched: W) -> Result<Body, Problem> {
    let place = Place::take(surface)?;
    let heard = surface.handle.listen();
    let phases = surface.vitals.phases();
    let state = Watch { place, watched, heard, phases, begun: false, ended: false };
    Ok(Body::from_stream(unfold(state, |mut state| async move {
        let frame = state.next().await?;
        Some((Ok::<_, std::convert::Infallible>(frame), state))
    })))
}

struct Watch<W> {
    place: Place,
    watched: W,
    heard: broadcast::Receiver<Heard>,
    phases: watch::Receiver<Phase>,
    begun: bool,
    ended: bool,
}

impl<W: Watched> Watch<W> {
    async fn next(&mut self) -> Option<Bytes> {
        if self.ended {
            return None;
        }
        let surface = self.place.surface.clone();
        if !self.begun {
            self.begun = true;
            let (id, data) = self.watched.reset(&surface);
            return Some(frame(Some(&id), "reset", &data));
        }
        let comment_at = Instant::now() + COMMENT_EVERY;
        loop {
            if let Some((id, data)) = self.watched.change(&surface) {
                return Some(frame(Some(&id), "change", &data));
            }
            tokio::select! {
                biased;
                _ = stopping(&mut self.phases) => {
                    self.ended = true;
                    return Some(shutdown_frame());
                }
                heard = timeout_at(comment_at, concerning(&mut self.heard, &self.watched)) => match heard {
                    Err(_) => return Some(comment()),
                    Ok(true) => {}
                    Ok(false) => return None,
                },
            }
        }
    }
}

/// Waits for an announcement about `watched`; false when there will be none. Missed ones count as one,
/// since the newest state is what is compared.
async fn concerning<W: Watched>(heard: &mut broadcast::Receiver<Heard>, watched: &W) -> bool {
    loop {
        match heard.recv().await {
            Ok(heard) if watched.concerns(&heard) => return true,
            Ok(_) => {}
            Err(broadcast::error::RecvError::Lagged(_)) => return true,
            Err(broadcast::error::RecvError::Closed) => return false,
        }
    }
}

/// Waits for the stop of the node.
pub(super) async fn stopping(phases: &mut watch::Receiver<Phase>) {
    let stopped = phases.wait_for(|phase| *phase == Phase::Stopping).await;
    // A sender that is gone took the node with it.
    drop(stopped);
}

/// The last event of a stream that the node's stop ends.
pub(super) fn shutdown_frame() -> Bytes {
    frame(None, "shutdown", &Value::Object(serde_json::Map::new()))
}

/// A sign of life.
pub(super) fn comment() -> Bytes {
    Bytes::from_static(b": alive\n\n")
}

/// Frames that wait to be sent, then events as they come.
pub(super) struct Tail<T> {
    pub(super) _place: Place,
    pub(super) first: VecDeque<Bytes>,
    pub(super) receiver: broadcast::Receiver<T>,
    pub(super) phases: watch::Receiver<Phase>,
    pub(super) ended: bool,
}

impl<T: Clone + Send + 'static> Tail<T> {
    /// The stream: what waits, then each event that `show` shows; a reader that fell behind is told so
    /// and let go.
    pub(super) fn into_body(
        self,
        show: impl Fn(&T) -> Option<Bytes> + Send + Sync + 'static,
    ) -> Body {
        Body::from_stream(unfold((self, show), |(mut tail, show)| async move {
            let frame = tail.next(&show).await?;
            Some((Ok::<_, std::convert::Infallible>(frame), (tail, show)))
        }))
    }

    async fn next(&mut self, show: &impl Fn(&T) -> Option<Bytes>) -> Option<Bytes> {
        if let Some(frame) = self.first.pop_front() {
            return Some(frame);
        }
        if self.ended {
            return None;
        }
        let comment_at = Instant::now() + COMMENT_EVERY;
        loop {
            tokio::select! {
                biased;
                _ = stopping(&mut self.phases) => {
                    self.ended = true;
                    return Some(shutdown_frame());
                }
                next = timeout_at(comment_at, self.receiver.recv()) => match next {
                    Err(_) => return Some(comment()),
                    Ok(Ok(event)) => if let Some(frame) = show(&event) { return Some(frame) },
                    Ok(Err(broadcast::error::RecvError::Lagged(missed))) => {
                        self.ended = true;
                        return Some(frame(None, "overflow", &serde_json::json!({"missed": missed})));
                    }
                    Ok(Err(broadcast::error::RecvError::Closed)) => return None,
                },
            }
        }
    }
}

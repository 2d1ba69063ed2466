//! `GET /v1/kv/{ns}?watch=true`: changes as they come, resumed by revision at any node.

use axum::body::{Body, Bytes};
use futures_util::stream::unfold;
use quorate_core::node::kv::{Event, Keys, Namespace, WatchRequest};
use quorate_core::wire::Blob;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::{failed, invalid, keys, shown};
use crate::handle::Watching;
use crate::health::Phase;
use crate::http::cluster::unanswered;
use crate::http::problem::Problem;
use crate::http::route::{Answer, Call, Outcome};
use crate::http::stream::{COMMENT_EVERY, Place, comment, frame, shutdown_frame, stopping};

pub(super) async fn open(mut call: Call, namespace: Namespace) -> Outcome {
    let selected = keys::keys(&mut call)?.unwrap_or(Keys::Prefix(Blob::default()));
    let from = call.query.number("from_revision", 1..=u64::MAX)?;
    let previous = call.query.flag("previous")?;
    call.query.finish()?;
    let from = last_seen(&call)?.map(|last| last + 1).or(from);
    let place = Place::take(&call.surface)?;
    let request = WatchRequest { namespace, keys: selected, from, previous };
    let mut watching = call.surface.handle.watch(request).await.map_err(unanswered)?;
    let first = watching.try_next();
    if let Some(Event::Refused(failure)) = &first {
        return Err(failed(&call, failure));
    }
    let phases = call.surface.vitals.phases();
    let stream = Stream { _place: place, watching, first, phases, taken: None, ended: false };
    Ok(Answer::stream(stream.into_body()))
}

/// What a reader that comes back says it has.
fn last_seen(call: &Call) -> Result<Option<u64>, Problem> {
    let Some(value) = call.headers.get("last-event-id") else { return Ok(None) };
    let revision = value.to_str().ok().and_then(|text| text.parse().ok());
    revision.map(Some).ok_or_else(|| invalid("`Last-Event-ID` is a revision here"))
}

struct Stream {
    _place: Place,
    watching: Watching,
    first: Option<Event>,
    phases: watch::Receiver<Phase>,
    /// Handed to the connection, which takes the next only when this one is on its way.
    taken: Option<u64>,
    ended: bool,
}

impl Stream {
    fn into_body(self) -> Body {
        Body::from_stream(unfold(self, |mut stream| async move {
            let frame = stream.next().await?;
            Some((Ok::<_, std::convert::Infallible>(frame), stream))
        }))
    }

    async fn next(&mut self) -> Option<Bytes> {
        if let Some(revision) = self.taken.take() {
            self.watching.taken(revision).await;
        }
        if self.ended {
            return None;
        }
        let comment_at = Instant::now() + COMMENT_EVERY;
        let event = match self.first.take() {
            Some(event) => Some(event),
            None => tokio::select! {
                biased;
                () = stopping(&mut self.phases) => {
                    self.ended = true;
                    return Some(shutdown_frame());
                }
                event = timeout_at(comment_at, self.watching.next()) => match event {
                    Err(_) => return Some(comment()),
                    Ok(event) => event,
                },
            },
        };
        Some(self.show(&event?))
    }

    fn show(&mut self, event: &Event) -> Bytes {
        match event {
            Event::Changes { revision, changes } => {
                self.taken = Some(*revision);
                let changes: Vec<Value> = changes.iter().map(shown::change).collect();
                let data = json!({"revision": revision, "changes": changes});
                frame(Some(&revision.to_string()), "change", &data)
            }
            Event::Progress { revision } => {
                frame(Some(&revision.to_string()), "progress", &json!({"revision": revision}))
            }
            Event::Compacted(compacted) => {
                self.ended = true;
                let data = json!({"compact_revision": compacted.compact_revision});
                frame(None, "compacted", &data)
            }
            Event::Refused(failure) => {
                self.ended = true;
                frame(None, "refused", &json!({"detail": failure.to_string()}))
            }
        }
    }
}

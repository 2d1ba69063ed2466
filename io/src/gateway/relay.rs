//! An answer's body on its way down: as it comes, with what is learnt from it on the way.
//!
//! Nothing is read that the client has not made room for. Too long a silence ends it, and whoever hangs up
//! drops it, which drops the upstream's answer.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, SizeHint};
use quorate_core::limits;
use quorate_core::node::pools::Class;
use serde_json::Value;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep};

use super::attempt::{Flight, is_events, is_json};
use super::upstream;
use super::usage::Usage;

/// Events that say no more than that the upstream is there.
const EMPTY_EVENTS: [&str; 4] =
    ["ping", "response.created", "response.in_progress", "response.queued"];

/// A body, and the flight that lasts as long as it.
pub(super) struct Relay {
    rest: upstream::Answer,
    begun: std::vec::IntoIter<Bytes>,
    flight: Flight,
    /// What the answer's head said.
    head: (StatusCode, HeaderMap),
    /// The unfinished event of a stream of events that is looked at.
    event: Option<Vec<u8>>,
    /// A JSON body so far, as long as it is short enough to be looked at.
    json: Option<Vec<u8>>,
    usage: Usage,
    /// Runs while the upstream is silent.
    silence: Option<Pin<Box<Sleep>>>,
    idle_max: Duration,
    _place: OwnedSemaphorePermit,
}

/// Why a body ends before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum BrokenOff {
    /// The upstream hung up, or sent what is no body.
    #[error("the upstream broke its answer off")]
    Upstream,
    /// The upstream kept silent.
    #[error("the upstream was silent for too long")]
    Silent,
}

impl Relay {
    pub(super) fn new(
        rest: upstream::Answer,
        begun: Vec<Bytes>,
        flight: Flight,
        head: (StatusCode, HeaderMap),
        place: OwnedSemaphorePermit,
        idle_max: Duration,
    ) -> Relay {
        // What has begun was judged, but for an event that is not finished.
        let mut usage = Usage::default();
        let event = (is_events(&head.1) && head.0.is_success()).then(|| {
            let mut event = begun.concat();
            let unfinished = event.split_off(end_of_events(&event).unwrap_or_default());
            usage.hear_events(&event);
            unfinished
        });
        let json = (is_json(&head.1) && head.0.is_success()).then(|| begun.concat());
        let begun = begun.into_iter();
        let silence = None;
        Relay { rest, begun, flight, head, event, json, usage, silence, idle_max, _place: place }
    }

    /// An error that comes late is passed on, and teaches something about the account.
    fn look(&mut self, bytes: &[u8]) {
        if let Some(json) = &mut self.json {
            json.extend_from_slice(bytes);
            self.json.take_if(|json| json.len() > limits::ANSWER_BODY_BYTES_MAX);
        }
        let Some(event) = &mut self.event else { return };
        event.extend_from_slice(bytes);
        let Some(end) = end_of_events(event) else {
            if event.len() > limits::ANSWER_BODY_BYTES_MAX {
                self.event = None; // An event of that size is no error.
            }
            return;
        };
        let rest = event.split_off(end);
        let whole = std::mem::replace(event, rest);
        self.usage.hear_events(&whole);
        if !holds(&whole, b"error") {
            return;
        }
        let (status, headers) = &self.head;
        let verdict = self.flight.verdict(*status, headers, &whole);
        if verdict.class != Class::Ok {
            self.event = None;
            self.flight.tell_later(status.as_u16(), &verdict);
        }
    }

    /// The end, once the upstream has been silent for too long.
    fn poll_silence(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let idle_max = self.idle_max;
        let silence = self.silence.get_or_insert_with(|| Box::pin(tokio::time::sleep(idle_max)));
        silence.as_mut().poll(context)
    }

    fn spoke(&mut self) {
        if let Some(silence) = &mut self.silence {
            silence.as_mut().reset(Instant::now() + self.idle_max);
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let json = self.json.take().unwrap_or_default();
        let tokens = self.usage.tokens().max(Usage::of(&json).tokens());
        if tokens > 0 {
            self.flight.used(tokens);
        }
    }
}

impl Body for Relay {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        if let Some(bytes) = self.begun.next() {
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        loop {
            let Poll::Ready(frame) = Pin::new(&mut self.rest).poll_frame(context) else {
                ready!(self.poll_silence(context));
                return Poll::Ready(Some(Err(BrokenOff::Silent)));
            };
            self.spoke();
            let frame = match frame {
                None => return Poll::Ready(None),
                Some(Err(_)) => return Poll::Ready(Some(Err(BrokenOff::Upstream))),
                Some(Ok(frame)) => frame,
            };
            // Trailers belong to the connection that they came by.
            if let Ok(bytes) = frame.into_data() {
                self.look(&bytes);
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.begun.as_slice().is_empty() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let begun: u64 = self.begun.as_slice().iter().map(|bytes| bytes.len() as u64).sum();
        let rest = self.rest.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(begun));
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(begun));
        }
        hint
    }
}

/// Reads into `read` until an event says something, the stream ends or the bound is reached.
pub(super) async fn first_event(body: &mut upstream::Answer, read: &mut Vec<Bytes>) {
    let mut whole = Vec::new();
    while whole.len() < limits::ANSWER_BODY_BYTES_MAX {
        let Some(Ok(frame)) = body.frame().await else { return };
        let Ok(bytes) = frame.into_data() else { continue };
        whole.extend_from_slice(&bytes);
        read.push(bytes);
        if says_something(&whole) {
            return;
        }
    }
}

/// Whether a finished event is more than a sign of life.
fn says_something(stream: &[u8]) -> bool {
    let Some(end) = end_of_events(stream) else { return false };
    let text = String::from_utf8_lossy(stream.get(..end).unwrap_or_default()).replace('\r', "");
    text.split("\n\n").any(|event| {
        let field = |name: &str| {
            let value = event.lines().find_map(|line| line.strip_prefix(name));
            value.map(|value| value.trim().to_owned())
        };
        let Some(data) = field("data:") else { return false };
        let kind = field("event:").or_else(|| {
            let data: Value = serde_json::from_str(&data).ok()?;
            Some(data.get("type")?.as_str()?.to_owned())
        });
        !kind.is_some_and(|kind| EMPTY_EVENTS.contains(&kind.as_str()))
    })
}

/// Where the last finished event ends.
fn end_of_events(stream: &[u8]) -> Option<usize> {
    let last = |mark: &[u8]| {
        let at = stream.windows(mark.len()).rposition(|window| window == mark)?;
        Some(at + mark.len())
    };
    last(b"\n\n").max(last(b"\r\n\r\n"))
}

fn holds(bytes: &[u8], needle: &[u8]) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_of_life_say_nothing() {
        for quiet in [
            ": hello\n\n",
            "event: ping\ndata: {}\n\n",
            "data: {\"type\":\"response.created\"}\r\n\r\n: x\r\n\r\n",
            "data: {\"type\":\"response.output\"}",
            "",
        ] {
            assert!(!says_something(quiet.as_bytes()), "{quiet:?}");
        }
        for telling in [
            "event: ping\ndata: {}\n\ndata: {\"x\":1}\n\n",
            "event: error\ndata: {\"error\":{}}\r\n\r\n",
            "data: [DONE]\n\n",
        ] {
            assert!(says_something(telling.as_bytes()), "{telling:?}");
        }
    }
}

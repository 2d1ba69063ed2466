//! What a client wants: its body, kept as far as it may be sent again, and the model that it is for.

use std::sync::{Arc, Mutex};

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderValue, Method, Uri, header};
use bytes::BytesMut;
use futures_util::{StreamExt as _, stream};
use http_body_util::BodyExt as _;
use hyper::body::Body as _;
use quorate_core::limits;
use quorate_core::node::pools::definition::{ProbeRequest, climbs};
use quorate_core::node::pools::model;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::{Asked, Unserved, headers};

/// A client's request as it is sent to every account.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) method: Method,
    pub(super) target: Uri,
    /// As they go up, without a key.
    pub(super) headers: HeaderMap,
    content: Content,
    model: Option<String>,
}

/// A body.
#[derive(Debug)]
enum Content {
    /// As often as it is needed, with its share of what may be kept.
    Kept(Bytes, #[expect(dead_code, reason = "it is given back when this is dropped")] Share),
    /// Once. The lock is never waited for: a request is lent to other threads, and a body may not be.
    Once(Mutex<Body>),
}

type Share = Option<OwnedSemaphorePermit>;

impl Request {
    /// Reads what may be kept of `asked`, within `deadline`. `replay` lends KiB for it.
    pub(super) async fn read(
        asked: Asked,
        replay: &Arc<Semaphore>,
        deadline: Instant,
    ) -> Result<Request, Unserved> {
        let Asked { method, target, headers, body } = asked;
        if climbs(target.path()) {
            return Err(Unserved::Climbs);
        }
        let length = body.size_hint().exact();
        let kept = tokio::time::timeout_at(deadline, keep(body, replay));
        let content = kept.await.map_err(|_| Unserved::SlowBody)??;
        let mut headers = headers::upwards(headers);
        let length = match &content {
            Content::Kept(bytes, _) => Some(bytes.len() as u64).filter(|length| *length > 0),
            Content::Once(_) => length,
        };
        if let Some(length) = length {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        let body: &[u8] = match &content {
            Content::Kept(bytes, _) => bytes,
            Content::Once(_) => &[],
        };
        let model = model::of(body, target.path());
        Ok(Request { method, target, headers, content, model })
    }

    /// The request of a pool's own; `None` if it is no request.
    pub(super) fn of_pool(own: &ProbeRequest) -> Option<Request> {
        let method = Method::from_bytes(own.method.as_bytes()).ok()?;
        let target = Uri::try_from(own.path.as_str()).ok()?;
        let mut headers = HeaderMap::new();
        if !own.body.is_empty() {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(own.body.len()));
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        let model = model::of(own.body.as_bytes(), target.path());
        let content = Content::Kept(Bytes::copy_from_slice(own.body.as_bytes()), None);
        Some(Request { method, target, headers, content, model })
    }

    /// The model that it is for, if that is known.
    pub(super) fn model(&self) -> Option<&str> {
        self.model.as_deref()
    }

    /// Whether it may be sent to another account.
    pub(super) fn is_repeatable(&self) -> bool {
        matches!(self.content, Content::Kept(..))
    }

    /// The body, for one attempt. What is not repeatable has none the second time.
    pub(super) fn body(&mut self) -> Body {
        match &mut self.content {
            Content::Kept(bytes, _) if bytes.is_empty() => Body::empty(),
            Content::Kept(bytes, _) => Body::from(bytes.clone()),
            Content::Once(body) => std::mem::take(body.get_mut().expect("nobody holds this lock")),
        }
    }
}

/// The body up to the bounds, or on its way if there is more of it.
async fn keep(mut body: Body, replay: &Arc<Semaphore>) -> Result<Content, Unserved> {
    if body.size_hint().lower() > limits::GATEWAY_REPLAY_BYTES_MAX as u64 {
        return Ok(Content::Once(Mutex::new(body)));
    }
    let (mut kept, mut length, mut share): (Vec<Bytes>, usize, Share) = (Vec::new(), 0, None);
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| Unserved::BrokenBody)?.into_data() else { continue };
        length += data.len();
        let lent = lend(replay, data.len());
        kept.push(data);
        match lent {
            Some(lent) if length <= limits::GATEWAY_REPLAY_BYTES_MAX => match &mut share {
                Some(share) => share.merge(lent),
                None => share = Some(lent),
            },
            Some(_) | None => {
                let begun = stream::iter(kept.into_iter().map(Ok));
                let body = Body::from_stream(begun.chain(body.into_data_stream()));
                return Ok(Content::Once(Mutex::new(body)));
            }
        }
    }
    let mut pieces = kept.into_iter();
    let first = pieces.next().unwrap_or_default();
    let mut whole = match pieces.next() {
        None => return Ok(Content::Kept(first, share)),
        Some(second) => {
            let mut whole = BytesMut::with_capacity(length);
            whole.extend_from_slice(&first);
            whole.extend_from_slice(&second);
            whole
        }
    };
    pieces.for_each(|piece| whole.extend_from_slice(&piece));
    Ok(Content::Kept(whole.freeze(), share))
}

fn lend(replay: &Arc<Semaphore>, bytes: usize) -> Option<OwnedSemaphorePermit> {
    let kib = u32::try_from(bytes.div_ceil(1024)).ok()?;
    replay.clone().try_acquire_many_owned(kib).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_body_is_kept_up_to_its_bound_and_passes_whole_beyond_it() {
        let replay = Arc::new(Semaphore::new(20 * 1024));
        for (size, kept) in [(0, true), (1, true), (8 << 20, true), ((8 << 20) + 1, false)] {
            let chunks = vec![7_u8; size];
            let chunks: Vec<_> = chunks.chunks(100_000).map(Bytes::copy_from_slice).collect();
            let body =
                Body::from_stream(stream::iter(chunks.into_iter().map(Ok::<_, axum::Error>)));
            let content = keep(body, &replay).await.expect("it is whole");
            let mut request = Request {
                method: Method::POST,
                target: Uri::from_static("/"),
                headers: HeaderMap::new(),
                content,
                model: None,
            };
            assert_eq!(request.is_repeatable(), kept, "{size}");
            let sent = request.body().collect().await.expect("it is whole").to_bytes();
            assert_eq!(sent.len(), size);
        }
        assert_eq!(replay.available_permits(), 20 * 1024, "what was lent is given back");
    }

    #[tokio::test]
    async fn without_room_for_a_copy_a_body_is_sent_once() {
        let replay = Arc::new(Semaphore::new(1));
        let content = keep(Body::from(vec![0_u8; 2000]), &replay).await.expect("it is whole");
        assert!(matches!(content, Content::Once(_)));
    }
}

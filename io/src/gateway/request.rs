//! What a client wants: its body, kept as far as it may be sent again, and the model that it is for.

use std::sync::{Arc, Mutex};

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderValue, Method, Uri, header};
use bytes::BytesMut;
use futures_util::{StreamExt as _, stream};
use http_body_util::BodyExt as _;
use hyper::body::Body as _;
use quorate_core::limits;
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
        let model = model_of(body, target.path());
        Ok(Request { method, target, headers, content, model })
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

/// Whether a path has a segment that means its parent, or itself: what a server makes of it is not said.
fn climbs(path: &str) -> bool {
    path.split('/').any(|segment| {
        let plain = segment.replace("%2e", ".").replace("%2E", ".");
        plain == "." || plain == ".."
    })
}

/// The model that a request is for: of its JSON body, else of its path.
fn model_of(body: &[u8], path: &str) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Named {
        model: Option<String>,
    }
    let fits = |model: &String| (1..=limits::POOL_MODEL_BYTES_MAX).contains(&model.len());
    let named = match body.iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(b'{') => serde_json::from_slice::<Named>(body).ok(),
        Some(_) | None => None,
    };
    named.and_then(|named| named.model).filter(fits).or_else(|| {
        let between = |begin: &str, end: char| {
            let (_, rest) = path.split_once(begin)?;
            let (model, _) = rest.split_once(end)?;
            Some(model.to_owned()).filter(fits)
        };
        let model = between("/models/", ':').filter(|model| !model.contains('/'));
        model.or_else(|| between("/deployments/", '/')).or_else(|| between("/model/", '/'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_read_from_the_body_or_else_from_the_path() {
        let of = |body: &str, path: &str| model_of(body.as_bytes(), path).unwrap_or_default();
        assert_eq!(of(r#" {"messages":[{"model":"x"}],"model":"gpt-5"}"#, "/v1"), "gpt-5");
        assert_eq!(of("{}", "/v1beta/models/gemini-3:streamGenerateContent"), "gemini-3");
        assert_eq!(of("", "/openai/deployments/d1/chat/completions"), "d1");
        assert_eq!(of("", "/model/anthropic.claude/invoke"), "anthropic.claude");
        assert_eq!(of(r#"{"model":"a","x":"#, "/v1/models"), "");
        assert_eq!(of(r#"{"model":7}"#, "/v1"), "");
        assert_eq!(of(r#"[{"model":"a"}]"#, "/v1"), "");
        let long = format!(r#"{{"model":"{}"}}"#, "m".repeat(257));
        assert_eq!(of(&long, "/v1"), "", "a name of more than 256 bytes is none");
    }

    #[test]
    fn a_path_that_climbs_is_told_from_one_that_has_points_in_it() {
        for path in ["/v1/../admin", "/..", "/a/%2e%2E/b", "/./a", "/a/.%2e"] {
            assert!(climbs(path), "{path}");
        }
        for path in ["/v1/models/gpt-5.1", "/a..b/c", "/...", "/"] {
            assert!(!climbs(path), "{path}");
        }
    }

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

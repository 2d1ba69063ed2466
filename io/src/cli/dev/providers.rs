//! Two providers on this machine, with limits as the real ones have them, which can be made to refuse.
//!
//! | | codex | claude |
//! | --- | --- | --- |
//! | an account may be asked | 20 times a minute | 90 times a minute |
//! | then it hears | 429, for 45 s | 429, for 30 s |
//! | now and then | | 529, once in a hundred |
//!
//! An account is whoever shows its token: `demo-<name>`, or one that the provider's own token endpoint gave for
//! `refresh-<name>`, which lasts five minutes.

mod claude;
mod codex;
mod oauth;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use futures_util::stream;
use http_body_util::{BodyExt as _, Limited};
use serde_json::{Value, json};

use super::super::demo::listen_from;
use oauth::Tokens;

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Codex,
    Claude,
}

/// One provider.
pub(super) struct Provider {
    pub(super) kind: Kind,
    pub(super) address: SocketAddr,
    state: Arc<State>,
}

/// What it knows of its accounts.
#[derive(Default)]
struct State {
    /// Whether every request is refused: codex by its limit, claude for want of capacity.
    refuses: AtomicBool,
    requests: AtomicU64,
    windows: Mutex<BTreeMap<String, Window>>,
    tokens: Tokens,
}

/// How often an account was asked lately.
#[derive(Debug, Clone, Copy)]
struct Window {
    began: Instant,
    used: u32,
    blocked_until: Option<Instant>,
}

/// How often an account may be asked.
#[derive(Debug, Clone, Copy)]
struct Limit {
    /// In a minute.
    requests: u32,
    /// How long it waits once it was asked more often.
    block: Duration,
}

/// What is asked of a model, as far as it matters here.
struct Asked {
    account: String,
    path: String,
    model: String,
    streams: bool,
}

const MINUTE: Duration = Duration::from_secs(60);
const BODY_BYTES_MAX: usize = 1024 * 1024;
/// Between two pieces of an answer that comes bit by bit.
const PIECE_EVERY: Duration = Duration::from_millis(150);

impl Provider {
    /// Starts one at the first free port from `port` on.
    pub(super) async fn start(kind: Kind, port: u16) -> std::io::Result<Provider> {
        let listener = listen_from(port).await?;
        let address = listener.local_addr()?;
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        let router = Router::new().fallback(move |request: Request| {
            let state = Arc::clone(&shared);
            async move { state.respond(kind, request).await }
        });
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Provider { kind, address, state })
    }

    /// Its base URL.
    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Makes it refuse everybody, or nobody; tells whether it refuses now.
    pub(super) fn toggle(&self) -> bool {
        !self.state.refuses.fetch_xor(true, Ordering::Relaxed)
    }
}

impl Kind {
    /// The pool that it serves, and the type of its accounts.
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Codex => "codex",
            Kind::Claude => "claude",
        }
    }

    fn limit(self) -> Limit {
        match self {
            Kind::Codex => codex::LIMIT,
            Kind::Claude => claude::LIMIT,
        }
    }
}

impl State {
    async fn respond(&self, kind: Kind, request: Request) -> Response {
        let (parts, body) = request.into_parts();
        let Ok(body) = Limited::new(body, BODY_BYTES_MAX).collect().await else {
            return refusal(413, &json!({"error": {"message": "too large"}}));
        };
        let body = body.to_bytes();
        if parts.uri.path() == "/oauth/token" {
            return self.tokens.respond(&body);
        }
        let shown = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = shown.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
        let Some(account) = self.tokens.account(token) else {
            let error = json!({"type": "authentication_error", "code": "invalid_api_key",
                "message": "this is no token of an account"});
            return refusal(401, &json!({"type": "error", "error": error}));
        };
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        let asked = Asked {
            account,
            path: parts.uri.path().to_owned(),
            model: body.get("model").and_then(Value::as_str).unwrap_or("demo").to_owned(),
            streams: body.get("stream").and_then(Value::as_bool).unwrap_or_default(),
        };
        let number = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
        let refuses = self.refuses.load(Ordering::Relaxed);
        let used = self.take(&asked.account, kind.limit(), Instant::now());
        match kind {
            Kind::Codex => codex::respond(&asked, used, refuses),
            Kind::Claude => claude::respond(&asked, used, refuses, number),
        }
    }

    /// How often the account was asked in this minute, or for how long it is not to ask again.
    fn take(&self, account: &str, limit: Limit, now: Instant) -> Result<u32, Duration> {
        let mut windows = self.windows.lock().expect("no holder of this lock panics");
        let fresh = Window { began: now, used: 0, blocked_until: None };
        let window = windows.entry(account.to_owned()).or_insert(fresh);
        match window.blocked_until {
            Some(until) if now < until => return Err(until - now),
            Some(_) => *window = fresh,
            None if now - window.began >= MINUTE => *window = fresh,
            None => {}
        }
        if window.used >= limit.requests {
            window.blocked_until = Some(now + limit.block);
            return Err(limit.block);
        }
        window.used += 1;
        Ok(window.used)
    }
}

fn refusal(status: u16, body: &Value) -> Response {
    answer(status, &[], body)
}

/// JSON with headers.
fn answer(status: u16, headers: &[(&'static str, String)], body: &Value) -> Response {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = StatusCode::from_u16(status).expect("a status of the tables above");
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    with_headers(response, headers)
}

/// Events, bit by bit.
fn events(headers: &[(&'static str, String)], events: Vec<String>) -> Response {
    let pieces = stream::unfold(events.into_iter(), |mut events| async move {
        let event = events.next()?;
        tokio::time::sleep(PIECE_EVERY).await;
        Some((Ok::<_, std::convert::Infallible>(Bytes::from(event)), events))
    });
    let mut response = Response::new(Body::from_stream(pieces));
    let events = HeaderValue::from_static("text/event-stream");
    response.headers_mut().insert(header::CONTENT_TYPE, events);
    with_headers(response, headers)
}

fn with_headers(mut response: Response, headers: &[(&'static str, String)]) -> Response {
    for (name, value) in headers {
        let value = HeaderValue::from_str(value).expect("digits and words");
        response.headers_mut().insert(HeaderName::from_static(name), value);
    }
    response
}

/// What a model says, in pieces.
fn words(asked: &Asked) -> Vec<String> {
    let account = &asked.account;
    ["Served ", "by ", "account ", account.as_str(), "."].map(str::to_owned).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_fills_blocks_and_is_fresh_afterwards() {
        let state = State::default();
        let limit = Limit { requests: 2, block: Duration::from_secs(45) };
        let start = Instant::now();
        let take = |seconds| state.take("a", limit, start + Duration::from_secs(seconds));
        assert_eq!([take(0), take(1)], [Ok(1), Ok(2)]);
        assert_eq!(take(2), Err(Duration::from_secs(45)));
        assert_eq!(take(10), Err(Duration::from_secs(37)));
        assert_eq!(take(47), Ok(1), "it was told to come back then");
        assert_eq!(take(110), Ok(1), "another minute");
        assert_eq!(state.take("b", limit, start), Ok(1));
    }
}

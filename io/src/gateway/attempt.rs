//! One request to one account: sent, judged, and told of to the node whatever becomes of it.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::response::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use quorate_core::limits;
use quorate_core::node::pools::answer::{Answer, Endpoint, is_heard, judge};
use quorate_core::node::pools::{Class, Outcome, Picked, Pool, Report, Verdict};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::relay::{Relay, first_event};
use super::request::Request;
use super::upstream::{self, Upstream};
use super::{Accounts, Gateway, Unserved, headers, preset};
use crate::encoding::decoded;
use crate::vault::{Purpose, Vault};

/// One request, ready to be sent.
pub(super) struct Attempt {
    head: hyper::Request<()>,
    flight: Flight,
}

/// Why nothing can be sent to an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unready {
    /// It has no key, or its provider no address.
    NoKey,
    /// It is to be reached through a proxy.
    Proxied,
    /// Somebody else tries it.
    Slot,
}

/// What holds an account's place, and tells of it. Dropped before it told, its request was cancelled.
pub(super) struct Flight {
    accounts: Arc<Accounts>,
    picked: Picked,
    report: Report,
    /// Whether there is something to tell yet.
    owes: bool,
}

impl Flight {
    fn new(accounts: &Arc<Accounts>, pool: &Pool, model: Option<&str>, picked: Picked) -> Flight {
        let report = Report {
            pool: pool.name.clone(),
            credential: picked.member.handle,
            epoch: picked.member.epoch,
            model: model.map(Arc::from),
            sent_at: accounts.now(),
            probe: picked.probe,
            outcome: Outcome::Cancelled,
        };
        Flight { accounts: accounts.clone(), picked, report, owes: false }
    }

    fn provider(&self) -> &str {
        self.picked.member.credential.as_ref().map_or("", |credential| &credential.provider)
    }

    /// Takes the one try of a half-open account, fleet-wide.
    async fn probe(&mut self) -> bool {
        // Whoever hangs up meanwhile has spent it.
        self.owes = true;
        let is_ours = self.accounts.probing(&self.report).await;
        self.owes = is_ours;
        if is_ours {
            self.picked.went();
        }
        is_ours
    }

    /// What an answer with these parts means for the account.
    pub(super) fn verdict(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Verdict {
        let lines: Vec<(String, String)> = headers
            .iter()
            .filter(|(name, _)| is_heard(name.as_str()))
            .map(|(name, value)| {
                (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
            })
            .collect();
        let codings = headers.get_all(header::CONTENT_ENCODING).iter();
        let codings: Vec<&str> = codings.filter_map(|coding| coding.to_str().ok()).collect();
        let most = limits::ANSWER_BODY_BYTES_MAX;
        judge(&Answer {
            provider: self.provider(),
            endpoint: Endpoint::Api,
            model: self.report.model.as_deref().unwrap_or_default(),
            now: self.accounts.wall(),
            status: status.as_u16(),
            headers: &lines,
            body: &decoded(body, &codings.join(","), most).unwrap_or_default(),
        })
    }

    /// Its answer has used so many tokens.
    pub(super) fn used(&self, tokens: u64) {
        self.accounts.used(self.provider(), tokens);
    }

    /// An answer was judged: it counts, and is told unless it waits for another's.
    async fn judged(&mut self, status: u16, verdict: &Verdict) {
        self.accounts.attempted(&self.report, self.provider(), Some(verdict.class));
        match verdict.class {
            Class::PermissionDenied | Class::ModelUnavailable => self.owes = false,
            // One that teaches nothing is not worth a word, and none is waited for.
            Class::Ok if !self.picked.tells => self.owes = false,
            Class::Ok => self.tell_later(status, verdict),
            Class::ClientError
            | Class::Transient
            | Class::Overloaded
            | Class::RateLimited
            | Class::QuotaExhausted
            | Class::Billing
            | Class::AuthFailed => self.tell(status, verdict).await,
        }
    }

    /// Tells the node, and waits until its snapshots know.
    async fn tell(&mut self, status: u16, verdict: &Verdict) {
        self.owes = false;
        self.accounts.report(self.about(status, verdict)).await;
    }

    /// Tells the node while the answer goes on.
    pub(super) fn tell_later(&mut self, status: u16, verdict: &Verdict) {
        self.owes = false;
        let (accounts, report) = (self.accounts.clone(), self.about(status, verdict));
        tokio::spawn(async move { accounts.report(report).await });
    }

    fn about(&self, status: u16, verdict: &Verdict) -> Report {
        let outcome = Outcome::Judged { status, verdict: verdict.clone() };
        Report { outcome, ..self.report.clone() }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        if !self.owes {
            return;
        }
        self.accounts.attempted(&self.report, self.provider(), None);
        // A runtime that is gone took the node with it.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let (accounts, cancelled) = (self.accounts.clone(), self.report.clone());
            runtime.spawn(async move { accounts.report(cancelled).await });
        }
    }
}

/// What an account made of a request.
pub(super) struct Answered {
    flight: Flight,
    verdict: Verdict,
    answer: Result<Heard, Unserved>,
}

/// An answer, as far as it is here.
struct Heard {
    parts: Parts,
    begun: Vec<Bytes>,
    rest: upstream::Answer,
}

impl Answered {
    pub(super) fn class(&self) -> Class {
        self.verdict.class
    }

    pub(super) fn provider(&self) -> &str {
        self.flight.provider()
    }

    /// A missing permission counts only if another account then served the same request.
    pub(super) async fn settle(&mut self, is_served: bool) {
        let waits = matches!(self.class(), Class::PermissionDenied | Class::ModelUnavailable);
        if waits && is_served {
            let (status, verdict) = (self.status().unwrap_or_default(), self.verdict.clone());
            self.flight.tell(status, &verdict).await;
        } else if waits && self.flight.picked.probe {
            self.flight.accounts.report(self.flight.report.clone()).await; // It is spent all the same.
        }
    }

    /// The status that came, if one did.
    pub(super) fn status(&self) -> Result<u16, Unserved> {
        match &self.answer {
            Ok(heard) => Ok(heard.parts.status.as_u16()),
            Err(unserved) => Err(*unserved),
        }
    }

    /// What the client gets. `place` is held until its last byte.
    pub(super) fn response(
        self,
        place: OwnedSemaphorePermit,
        idle_max: Duration,
    ) -> Result<Response<Body>, Unserved> {
        let Heard { mut parts, begun, rest } = self.answer?;
        let passed = headers::downwards(parts.headers.clone());
        let judged = std::mem::replace(&mut parts.headers, passed);
        let head = (parts.status, judged);
        let relay = Relay::new(rest, begun, self.flight, head, place, idle_max);
        Ok(Response::from_parts(parts, Body::new(relay)))
    }
}

impl Attempt {
    /// Makes the request for `picked`, if it may be sent: a probe is announced to the fleet first, and without a
    /// key, or past a proxy that is named, nothing leaves.
    pub(super) async fn prepare(
        gateway: &Gateway,
        pool: &Pool,
        request: &Request,
        picked: Picked,
    ) -> Result<Attempt, Unready> {
        let mut flight = Flight::new(&gateway.accounts, pool, request.model(), picked);
        let account = flight.picked.member.handle;
        if gateway.vault.body(account).is_some_and(|body| body.names_proxy()) {
            tracing::warn!(%account, "the gateway asks no account with a `proxy_url`: it connects directly");
            return Err(Unready::Proxied);
        }
        let head = head(&gateway.vault, &flight, pool, request).ok_or(Unready::NoKey)?;
        if flight.picked.probe && !flight.probe().await {
            return Err(Unready::Slot);
        }
        Ok(Attempt { head, flight })
    }

    /// Takes the try of `picked` and lets it go: nothing can be sent from here.
    pub(super) async fn spend(gateway: &Gateway, pool: &Pool, request: &Request, picked: Picked) {
        Flight::new(&gateway.accounts, pool, request.model(), picked).probe().await;
    }

    /// Sends the request and judges what comes before the first byte of the answer's body leaves.
    pub(super) async fn ask(
        mut self,
        upstream: &Upstream,
        body: Body,
        deadline: Option<Instant>,
    ) -> Answered {
        self.flight.owes = true;
        self.flight.report.sent_at = self.flight.accounts.now();
        let (parts, ()) = self.head.into_parts();
        match upstream.ask(hyper::Request::from_parts(parts, body), deadline).await {
            Ok(response) => heard(self.flight, response, upstream.judged_max).await,
            Err(unserved) => {
                let verdict = Verdict::transport_failure();
                self.flight.judged(0, &verdict).await;
                Answered { flight: self.flight, verdict, answer: Err(unserved) }
            }
        }
    }
}

/// The request without its body, with the account's key.
fn head(
    vault: &Vault,
    flight: &Flight,
    pool: &Pool,
    request: &Request,
) -> Option<hyper::Request<()>> {
    let preset = preset::of(flight.provider());
    let own = pool.definition.upstream.as_str();
    let base = if own.is_empty() { preset.base } else { own };
    let query = request.target.query().map(headers::query).filter(|query| !query.is_empty());
    let mut uri = [base.trim_end_matches('/'), request.target.path()].concat();
    if let Some(query) = query {
        uri.push('?');
        uri.push_str(&query);
    }
    let mut head = hyper::Request::builder().method(request.method.clone()).uri(uri);
    let lines = head.headers_mut()?;
    lines.clone_from(&request.headers);
    show_key(vault, flight, lines, preset)?;
    head.body(()).ok()
}

/// Puts the account's key where its provider looks for it.
fn show_key(
    vault: &Vault,
    flight: &Flight,
    headers: &mut HeaderMap,
    preset: &preset::Preset,
) -> Option<()> {
    let body = vault.body(flight.picked.member.handle)?;
    let secret = preset::KEY_PATHS.iter().find_map(|path| body.secret(path))?;
    let shown = [preset.before, secret.expose(Purpose::Upstream)].concat();
    let mut value = HeaderValue::try_from(shown).ok()?;
    value.set_sensitive(true);
    headers.insert(HeaderName::from_static(preset.header), value);
    for (name, source) in preset.beside {
        let text = match source.strip_prefix('=') {
            Some(text) => Some(text),
            None => body.public(source),
        };
        if let Some(value) = text.and_then(|text| HeaderValue::from_str(text).ok()) {
            headers.append(HeaderName::from_static(name), value);
        }
    }
    preset.complete(headers);
    Some(())
}

/// Reads what is judged of an answer, and judges it.
async fn heard(
    mut flight: Flight,
    response: Response<upstream::Answer>,
    judged_max: Duration,
) -> Answered {
    let (parts, mut rest) = response.into_parts();
    let mut begun = Vec::new();
    // Past the time it is judged by what is there, and goes out as it comes.
    if parts.status.as_u16() >= 400 || is_small_json(&parts.headers) {
        let _ = tokio::time::timeout(judged_max, beginning(&mut rest, &mut begun)).await;
    } else if parts.status.is_success() && is_events(&parts.headers) {
        let _ = tokio::time::timeout(judged_max, first_event(&mut rest, &mut begun)).await;
    }
    let whole = match begun.as_slice() {
        [only] => only.clone(),
        pieces => pieces.concat().into(),
    };
    let verdict = flight.verdict(parts.status, &parts.headers, &whole);
    flight.judged(parts.status.as_u16(), &verdict).await;
    Answered { flight, verdict, answer: Ok(Heard { parts, begun, rest }) }
}

/// Whether an answer is a stream of events that can be read as it comes.
pub(super) fn is_events(headers: &HeaderMap) -> bool {
    is_media(headers, "text/event-stream") && !headers.contains_key(header::CONTENT_ENCODING)
}

/// Whether the type of a body is this one, without its parameters.
fn is_media(headers: &HeaderMap, media: &str) -> bool {
    let said = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let said = said.unwrap_or_default().split(';').next().unwrap_or_default();
    said.trim().eq_ignore_ascii_case(media)
}

/// Whether an answer is JSON that can be read as it comes.
pub(super) fn is_json(headers: &HeaderMap) -> bool {
    is_media(headers, "application/json") && !headers.contains_key(header::CONTENT_ENCODING)
}

fn is_small_json(headers: &HeaderMap) -> bool {
    let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    let length = length.and_then(|length| length.parse::<usize>().ok());
    is_media(headers, "application/json")
        && length.is_some_and(|length| length <= limits::ANSWER_BODY_BYTES_MAX)
}

/// Reads what is judged of a body into `read`.
async fn beginning(body: &mut upstream::Answer, read: &mut Vec<Bytes>) {
    let mut length = 0;
    while length < limits::ANSWER_BODY_BYTES_MAX {
        let Some(Ok(frame)) = body.frame().await else { return };
        if let Ok(data) = frame.into_data() {
            length += data.len();
            read.push(data);
        }
    }
}

//! The steps around every handler, in order.
//!
//! request id → headers' size → host → a place among the requests → token and scope → phase → body →
//! idempotency → audit writable → handler within its deadline → audit line → answer → metrics.
//!
//! A request that passes on ([`Takes::Stream`]) goes from its token straight to its handler: it has no body to
//! read, no deadline of ours, and ends when its caller hangs up.
//!
//! From the idempotency key on, a change runs in its own task: a caller that hangs up does not stop it
//! half way, and its audit line is written all the same (O-5).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use quorate_core::node::kv::Once;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::Surface;
use super::guard::{admit, authorise, caller, check_size};
use super::idempotency::{Kept, Key};
use super::lists::Query;
use super::problem::{Code, Problem};
use super::request_id::{REQUEST_ID, request_id};
use super::route::{
    Answer, AnswerBody, AuditRule, Call, Needs, Outcome, Passing, Route, Takes, Trace, Verb,
};
use super::strict;
use crate::access::{Actor, Caller, Scope};
use crate::audit::{AuditError, Counted, Record};
use crate::health::Phase;

/// Bytes of a body.
pub(super) const BODY_BYTES_MAX: usize = 1024 * 1024;
/// How long a request may take to arrive.
pub(super) const ARRIVAL_MAX: Duration = Duration::from_secs(10);
/// How long an answer may take.
pub(super) const ANSWER_MAX: Duration = Duration::from_secs(30);

const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// Answers one request of `route`.
pub(super) async fn run(
    surface: Arc<Surface>,
    route: Route,
    parameters: BTreeMap<String, String>,
    request: Request,
) -> Response {
    let began = surface.host.now();
    let request_id = request_id(request.headers());
    let method = request.method().clone();
    let outcome = steps(&surface, route, parameters, request, &request_id).await;
    let is_passed = outcome.is_passed();
    let (response, _) = finish(outcome, &request_id);
    if is_passed {
        let took = surface.host.now().since(began);
        surface.meters.passed(route.path, route.method.name(), took);
        return without_body(response, &method);
    }
    let status = response.status().as_u16();
    debug_assert!(
        route.all_statuses().contains(&status),
        "{} {} answered {status}, which its row does not name",
        route.method.name(),
        route.path
    );
    let took = surface.host.now().since(began);
    surface.meters.request(route.path, route.method.name(), status, took);
    without_body(response, &method)
}

/// Answers a request that no route takes.
pub(super) async fn unmatched(
    surface: Arc<Surface>,
    request: Request,
    allow: Option<String>,
) -> Response {
    let request_id = request_id(request.headers());
    let method = request.method().clone();
    let (parts, _) = request.into_parts();
    let problem = match admit(&surface, &parts) {
        Err(problem) => problem,
        Ok(()) => match allow {
            None => Problem::new(Code::NotFound, "no such path; see /openapi.json"),
            Some(allow) => {
                let detail = format!("this path takes {allow}");
                let value = HeaderValue::from_str(&allow).expect("method names are visible");
                Problem::new(Code::MethodNotAllowed, detail).header(header::ALLOW, value)
            }
        },
    };
    let (response, _) = finish(Flow::Refused(problem), &request_id);
    let status = response.status().as_u16();
    surface.meters.request("unmatched", "other", status, Duration::ZERO);
    without_body(response, &method)
}

/// How the steps ended.
enum Flow {
    Answered(Answer),
    Refused(Problem),
    Repeated(Kept),
}

impl Flow {
    fn is_passed(&self) -> bool {
        match self {
            Flow::Answered(answer) => matches!(answer.body, AnswerBody::Passed(_)),
            Flow::Refused(_) | Flow::Repeated(_) => false,
        }
    }
}

impl From<Outcome> for Flow {
    fn from(outcome: Outcome) -> Flow {
        match outcome {
            Ok(answer) => Flow::Answered(answer),
            Err(problem) => Flow::Refused(problem),
        }
    }
}

async fn steps(
    surface: &Arc<Surface>,
    route: Route,
    parameters: BTreeMap<String, String>,
    request: Request,
    request_id: &str,
) -> Flow {
    match prepare(surface, route, parameters, request, request_id).await {
        Ok(prepared) => perform(surface.clone(), route, prepared).await,
        Err(problem) => Flow::Refused(problem),
    }
}

/// A request that may be performed.
struct Prepared {
    call: Call,
    key: Option<(Key, [u8; 32])>,
}

async fn prepare(
    surface: &Arc<Surface>,
    route: Route,
    parameters: BTreeMap<String, String>,
    request: Request,
    request_id: &str,
) -> Result<Prepared, Problem> {
    let (parts, body) = request.into_parts();
    if route.needs == Needs::NothingAtAll {
        check_size(&parts)?;
    } else {
        admit(surface, &parts)?;
    }
    let actor = authorise(surface, route, &parts, request_id)?;
    let passes = route.takes == Takes::Stream;
    if (passes || route.method != Verb::Get) && surface.vitals.phase() == Phase::Stopping {
        let detail = "this node is shutting down; ask another one";
        return Err(Problem::new(Code::ShuttingDown, detail));
    }
    if passes {
        let call = passing(surface, actor, parts, body, parameters, request_id);
        return Ok(Prepared { call, key: None });
    }
    let bytes = if route.method == Verb::Get { Bytes::new() } else { read(body).await? };
    let key = idempotency_key(route, &parts, actor.as_ref(), &bytes)?;
    let (body, value) = if is_value(route, &parts.headers) {
        (None, Some(bytes))
    } else {
        (decode(route, &parts.headers, &bytes)?, None)
    };
    let local = matches!(caller(&parts), Caller::Unix { .. });
    let once = key.as_ref().map(|(key, body)| once(key, body));
    let call = Call {
        surface: surface.clone(),
        actor,
        request_id: request_id.to_owned(),
        local,
        headers: parts.headers,
        parameters,
        query: Query::of(&parts.uri)?,
        body,
        bytes: value,
        once,
        passing: None,
    };
    Ok(Prepared { call, key })
}

/// A request that passes on: all of it is the handler's.
fn passing(
    surface: &Arc<Surface>,
    actor: Option<Actor>,
    parts: Parts,
    body: Body,
    parameters: BTreeMap<String, String>,
    request_id: &str,
) -> Call {
    let local = matches!(caller(&parts), Caller::Unix { .. });
    Call {
        surface: surface.clone(),
        actor,
        request_id: request_id.to_owned(),
        local,
        headers: parts.headers,
        parameters,
        query: Query::default(),
        body: None,
        bytes: None,
        once: None,
        passing: Some(Passing { method: parts.method, uri: parts.uri, body: Mutex::new(body) }),
    }
}

async fn read(body: Body) -> Result<Bytes, Problem> {
    let collected = Limited::new(body, BODY_BYTES_MAX).collect();
    match tokio::time::timeout(ARRIVAL_MAX, collected).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.downcast_ref::<LengthLimitError>().is_some() => {
            let detail = format!("a body has at most {BODY_BYTES_MAX} bytes");
            Err(Problem::new(Code::TooLarge, detail))
        }
        Ok(Err(_)) => Err(Problem::new(Code::InvalidRequest, "the body broke off")),
        Err(_) => {
            let detail = format!("a request arrives within {} s", ARRIVAL_MAX.as_secs());
            Err(Problem::new(Code::RequestTimeout, detail))
        }
    }
}

/// Whether the body is the bytes of a value, by its own word.
fn is_value(route: Route, headers: &HeaderMap) -> bool {
    let media = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    route.takes == Takes::Value && media == Some("application/octet-stream")
}

/// What the log recognises a retry by: who, which key, which path; and what.
fn once(key: &Key, body: &[u8; 32]) -> Once {
    let (actor, key, path) = key;
    let hash = Sha256::digest(format!("{actor}\n{key}\n{path}").as_bytes());
    let mut once = Once { key: [0; 16], body: [0; 8] };
    once.key.iter_mut().zip(hash).for_each(|(to, from)| *to = from);
    once.body.iter_mut().zip(body).for_each(|(to, from)| *to = *from);
    once
}

fn decode(route: Route, headers: &HeaderMap, bytes: &Bytes) -> Result<Option<Value>, Problem> {
    if bytes.is_empty() {
        return match route.takes {
            Takes::Nothing | Takes::Maybe => Ok(None),
            Takes::Body | Takes::Value | Takes::Stream => {
                let detail = "this path needs a JSON object as its body";
                Err(Problem::new(Code::InvalidRequest, detail))
            }
        };
    }
    if route.takes == Takes::Nothing {
        return Err(Problem::new(Code::InvalidRequest, "this path takes no body"));
    }
    let media = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media = media.unwrap_or_default();
    let essence = media.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/json") {
        let detail = "send the body as `Content-Type: application/json`";
        return Err(Problem::new(Code::UnsupportedMediaType, detail));
    }
    strict::parse(bytes).map(Some).map_err(|fault| Problem::faults(vec![fault]))
}

fn idempotency_key(
    route: Route,
    parts: &Parts,
    actor: Option<&Actor>,
    body: &Bytes,
) -> Result<Option<(Key, [u8; 32])>, Problem> {
    let Some(value) = parts.headers.get(IDEMPOTENCY_KEY) else { return Ok(None) };
    // An answer that holds a secret is not kept.
    if route.method != Verb::Post || route.needs == Needs::Scope(Scope::Secrets) {
        return Ok(None);
    }
    let key = value.to_str().ok().filter(|key| (1..=128).contains(&key.len()));
    let Some(key) = key else {
        let detail = "`Idempotency-Key` has 1 to 128 printable characters";
        return Err(Problem::new(Code::InvalidRequest, detail));
    };
    let actor = actor.map(|actor| actor.name.clone()).unwrap_or_default();
    let path = parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
    Ok(Some(((actor, key.to_owned(), format!("POST {path}")), Sha256::digest(body).into())))
}

/// Runs the handler: a read here, a change in a task of its own.
async fn perform(surface: Arc<Surface>, route: Route, prepared: Prepared) -> Flow {
    if route.needs == Needs::NothingAtAll || route.needs == Needs::Metrics {
        return bounded(route, prepared.call).await.into();
    }
    if route.takes == Takes::Stream {
        return passed(&surface, route, prepared.call).await.into();
    }
    let Ok(_place) = surface.requests.try_acquire() else {
        let detail = "this node answers as many requests as it can; retry shortly";
        return Flow::Refused(Problem::new(Code::QueueFull, detail));
    };
    if route.method == Verb::Get {
        return bounded(route, prepared.call).await.into();
    }
    let task = tokio::spawn(change(surface.clone(), route, prepared));
    task.await.unwrap_or_else(|_| Flow::Refused(internal()))
}

fn internal() -> Problem {
    Problem::new(Code::Internal, "this node has a bug; its log says more under the request id")
}

/// The handler here and now, so that whoever hangs up ends it; counted for the audit log.
async fn passed(surface: &Surface, route: Route, call: Call) -> Outcome {
    let Some(audit) = &surface.audit else { return (route.handler)(call).await };
    let (actor, request_id) = (call.actor.clone(), call.request_id.clone());
    let outcome = (route.handler)(call).await;
    let what = counted(route, actor.as_ref(), &outcome);
    audit.count(what, surface.host.now(), || record(surface, route, actor.as_ref(), request_id));
    outcome
}

/// The handler within its deadline; a panic is our bug and the caller is told so.
async fn bounded(route: Route, call: Call) -> Outcome {
    let reads = route.method == Verb::Get;
    let mut running = tokio::spawn((route.handler)(call));
    match tokio::time::timeout(ANSWER_MAX, &mut running).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_)) => Err(internal()),
        Err(_) if reads => {
            running.abort();
            Err(Problem::new(Code::Deadline, "the answer did not come in time"))
        }
        Err(_) => {
            let detail = "the node did not say in time whether it was done; read before repeating";
            Err(Problem::new(Code::Ambiguous, detail))
        }
    }
}

async fn change(surface: Arc<Surface>, route: Route, prepared: Prepared) -> Flow {
    let Prepared { call, key } = prepared;
    if let Some((key, body)) = &key {
        match surface.idempotency.begin(surface.host.now(), key, *body) {
            Ok(None) => {}
            Ok(Some(kept)) => return Flow::Repeated(kept),
            Err(problem) => return Flow::Refused(problem),
        }
    }
    let request_id = call.request_id.clone();
    let outcome = audited(&surface, route, call).await;
    let Some((key, _)) = key else { return outcome.into() };
    let (response, kept) = finish(outcome.into(), &request_id);
    let kept = kept.unwrap_or(Kept {
        status: StatusCode::INTERNAL_SERVER_ERROR,
        headers: response.headers().clone(),
        body: Bytes::new(),
    });
    surface.idempotency.finish(surface.host.now(), key, kept.clone());
    Flow::Repeated(kept)
}

/// Performs a change between a log that can be written and a line that was.
async fn audited(surface: &Arc<Surface>, route: Route, call: Call) -> Outcome {
    // What changes nothing leaves no line, however it is asked for.
    let audit = surface.audit.clone().filter(|_| route.audit != AuditRule::Never);
    let Some(audit) = audit else { return bounded(route, call).await };
    let mut record = record(surface, route, call.actor.as_ref(), call.request_id.clone());
    audit.probe().await.map_err(|error| unaudited(&error, "nothing was changed"))?;
    let (path, actor) = (path_of(route, &call), call.actor.clone());
    let outcome = bounded(route, call).await;
    let trace = match &outcome {
        Ok(answer) => answer.trace.clone(),
        Err(_) => Trace::default(),
    };
    record.outcome = word(&outcome).to_owned();
    record.object = if trace.object.is_empty() { path } else { trace.object };
    (record.before, record.after) = (trace.before, trace.after);
    if matches!(route.audit, AuditRule::Counted(_)) {
        let actor = actor.as_ref();
        audit.count(counted(route, actor, &outcome), surface.host.now(), || record);
        return outcome;
    }
    match audit.append(record).await {
        Ok(()) => outcome,
        Err(error) => {
            Err(unaudited(&error, "the change may have been made; read before repeating"))
        }
    }
}

/// What a request is counted as.
fn counted<'a>(route: Route, actor: Option<&'a Actor>, outcome: &Outcome) -> Counted<'a> {
    Counted {
        actor: actor.map(|actor| actor.name.as_str()).unwrap_or_default(),
        verb: route.audit.verb().unwrap_or("unknown"),
        outcome: word(outcome),
    }
}

fn record(surface: &Surface, route: Route, actor: Option<&Actor>, request_id: String) -> Record {
    let scope = match route.needs {
        Needs::Scope(scope) => scope.name(),
        Needs::NothingAtAll | Needs::Nothing | Needs::Metrics => "",
    };
    Record {
        at: surface.wall_now(),
        node: surface.node_id(),
        actor: actor.map(|actor| actor.name.clone()).unwrap_or_default(),
        scope: scope.to_owned(),
        verb: route.audit.verb().unwrap_or("unknown").to_owned(),
        request_id,
        ..Record::default()
    }
}

/// How a handler ended, in one word.
fn word(outcome: &Outcome) -> &'static str {
    match outcome {
        Ok(_) => "ok",
        Err(problem) => problem.code.name(),
    }
}

fn path_of(route: Route, call: &Call) -> String {
    call.parameters.iter().fold(route.path.to_owned(), |path, (name, value)| {
        path.replace(&format!("{{{name}}}"), value)
    })
}

fn unaudited(error: &AuditError, consequence: &str) -> Problem {
    tracing::error!(%error, "changes are refused until the audit log can be written");
    let detail = format!("the audit log cannot be written; {consequence}");
    Problem::new(Code::AuditUnavailable, detail)
}

/// Makes the answer; what can be sent again comes along.
fn finish(flow: Flow, request_id: &str) -> (Response, Option<Kept>) {
    let (status, mut headers, body) = match flow {
        Flow::Answered(Answer { body: AnswerBody::Passed(mut response), .. }) => {
            let id = HeaderValue::from_str(request_id).expect("a request id is visible text");
            response.headers_mut().entry(REQUEST_ID).or_insert(id);
            return (response, None);
        }
        Flow::Repeated(kept) => (kept.status, kept.headers, Ok(kept.body)),
        Flow::Refused(problem) => {
            let document = problem.document(request_id).to_string();
            (problem.status(), problem.headers(), Ok(Bytes::from(document)))
        }
        Flow::Answered(answer) => answer_parts(answer),
    };
    let id = HeaderValue::from_str(request_id).expect("a request id is visible text");
    headers.insert(REQUEST_ID, id);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    let kept = body.as_ref().ok().map(|bytes| Kept {
        status,
        headers: headers.clone(),
        body: bytes.clone(),
    });
    let mut response = Response::new(body.map_or_else(|stream| stream, Body::from));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    (response, kept)
}

fn answer_parts(answer: Answer) -> (StatusCode, HeaderMap, Result<Bytes, Body>) {
    let mut headers = answer.headers;
    let mut typed = |text: &'static str| {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(text));
    };
    let body = match answer.body {
        AnswerBody::Nothing => Ok(Bytes::new()),
        AnswerBody::Json(value) => {
            typed("application/json");
            Ok(Bytes::from(value.to_string()))
        }
        AnswerBody::Text(media, text) => {
            typed(media);
            Ok(Bytes::from(text))
        }
        AnswerBody::Bytes(bytes) => {
            typed("application/octet-stream");
            Ok(bytes)
        }
        AnswerBody::Stream(body) => Err(body),
        AnswerBody::Passed(response) => Err(response.into_body()),
    };
    (answer.status, headers, body)
}

fn without_body(response: Response, method: &Method) -> Response {
    if method == Method::HEAD { response.map(|_| Body::empty()) } else { response }
}

//! Routes as data, and what a handler takes and gives.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{RawPathParams, Request};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Uri, header};
use axum::routing::{MethodFilter, MethodRouter, on};
use futures_util::future::BoxFuture;
use quorate_core::node::kv::Once;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::lists::Query;
use super::problem::{Code, Problem};
use super::strict::Fields;
use super::{
    Surface, chat, classify, cluster, credentials, events, gateway, kv, members, operations,
    pipeline, pools, probes, providers, raft, workers,
};
use crate::access::{Actor, Scope};

/// A function that answers one route.
pub(super) type Handler = fn(Call) -> BoxFuture<'static, Outcome>;
/// What it comes to.
pub(super) type Outcome = Result<Answer, Problem>;

/// One row of the surface.
#[derive(Clone, Copy)]
pub(super) struct Route {
    /// `GET` answers `HEAD` too.
    pub(super) method: Verb,
    /// In the form of the router and of OpenAPI alike.
    pub(super) path: &'static str,
    /// Who may.
    pub(super) needs: Needs,
    /// What is written down.
    pub(super) audit: AuditRule,
    /// Whether a body is read.
    pub(super) takes: Takes,
    /// Statuses besides those that the pipeline answers.
    pub(super) statuses: &'static [u16],
    /// Who answers.
    pub(super) handler: Handler,
}

/// The methods in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Get,
    Post,
    Put,
    Patch,
    Delete,
}

impl Verb {
    /// As in a request line.
    pub(super) fn name(self) -> &'static str {
        match self {
            Verb::Get => "GET",
            Verb::Post => "POST",
            Verb::Put => "PUT",
            Verb::Patch => "PATCH",
            Verb::Delete => "DELETE",
        }
    }

    fn filter(self) -> MethodFilter {
        match self {
            Verb::Get => MethodFilter::GET,
            Verb::Post => MethodFilter::POST,
            Verb::Put => MethodFilter::PUT,
            Verb::Patch => MethodFilter::PATCH,
            Verb::Delete => MethodFilter::DELETE,
        }
    }
}

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Needs {
    /// Anybody, under any host name, at any time: probes.
    NothingAtAll,
    /// Anybody.
    Nothing,
    /// Anybody where metrics are open, else readers.
    Metrics,
    /// Who holds the scope.
    Scope(Scope),
}

/// What a route leaves in the audit log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AuditRule {
    /// Nothing: it changes nothing.
    Never,
    /// A line before the answer leaves.
    Line(&'static str),
    /// A line a minute with a count.
    Counted(&'static str),
}

impl AuditRule {
    /// The verb in the log, of routes that change something.
    pub(super) fn verb(self) -> Option<&'static str> {
        match self {
            AuditRule::Never => None,
            AuditRule::Line(verb) | AuditRule::Counted(verb) => Some(verb),
        }
    }
}

/// What a route does with a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    /// None may come.
    Nothing,
    /// An object may come.
    Maybe,
    /// An object must come.
    Body,
    /// An object must come, or the bytes of a value.
    Value,
    /// Anything, and it is somebody else's: it passes on as it comes.
    Stream,
}

impl Route {
    /// A read.
    pub(super) const fn get(path: &'static str, handler: Handler) -> Route {
        Route {
            method: Verb::Get,
            path,
            needs: Needs::Scope(Scope::Read),
            audit: AuditRule::Never,
            takes: Takes::Nothing,
            statuses: &[200],
            handler,
        }
    }

    /// A change.
    pub(super) const fn change(
        method: Verb,
        path: &'static str,
        scope: Scope,
        verb: &'static str,
        handler: Handler,
    ) -> Route {
        let audit = AuditRule::Line(verb);
        Route { method, needs: Needs::Scope(scope), audit, ..Route::get(path, handler) }
    }

    pub(super) const fn needs(self, needs: Needs) -> Route {
        Route { needs, ..self }
    }

    pub(super) const fn takes(self, takes: Takes) -> Route {
        Route { takes, ..self }
    }

    pub(super) const fn statuses(self, statuses: &'static [u16]) -> Route {
        Route { statuses, ..self }
    }

    pub(super) const fn counted(self, verb: &'static str) -> Route {
        Route { audit: AuditRule::Counted(verb), ..self }
    }

    /// Every status it can answer, ascending.
    pub(super) fn all_statuses(&self) -> Vec<u16> {
        let mut all = self.statuses.to_vec();
        let passes = self.takes == Takes::Stream;
        all.extend([400, 431, 500, 503, 504]);
        if self.needs != Needs::NothingAtAll {
            all.push(421);
        }
        if matches!(self.needs, Needs::Scope(_) | Needs::Metrics) {
            all.extend([401, 403, 429]);
        }
        if self.method != Verb::Get && !passes {
            all.extend([408, 413, 415]);
        }
        if self.method == Verb::Post && !passes {
            all.extend([409, 422]); // The idempotency key.
        }
        all.sort_unstable();
        all.dedup();
        all
    }
}

/// One request on its way through a handler.
pub(super) struct Call {
    pub(super) surface: Arc<Surface>,
    pub(super) actor: Option<Actor>,
    pub(super) request_id: String,
    /// Whether it came over the Unix socket.
    pub(super) local: bool,
    pub(super) headers: HeaderMap,
    pub(super) parameters: BTreeMap<String, String>,
    pub(super) query: Query,
    pub(super) body: Option<Value>,
    /// A body that is no JSON, where the route takes such.
    pub(super) bytes: Option<Bytes>,
    /// What makes a retry recognisable, at any node.
    pub(super) once: Option<Once>,
    /// The request itself, where the route passes it on.
    pub(super) passing: Option<Passing>,
}

/// A request that passes on.
pub(super) struct Passing {
    pub(super) method: Method,
    pub(super) uri: Uri,
    /// Behind a lock that nobody waits for: a call is lent to other threads, and a body may not be.
    pub(super) body: Mutex<Body>,
}

impl Call {
    /// A part of the path.
    pub(super) fn parameter(&self, name: &str) -> &str {
        self.parameters.get(name).map(String::as_str).expect("the path of the route names it")
    }

    /// The members of the body; an absent body has none.
    pub(super) fn fields(&mut self) -> Result<Fields, Problem> {
        let body = self.body.take().unwrap_or_else(|| Value::Object(serde_json::Map::new()));
        Fields::of(body).map_err(Problem::faults)
    }
}

/// What a handler answers.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: AnswerBody,
    pub(super) trace: Trace,
}

/// The body of an answer.
#[derive(Debug)]
pub(super) enum AnswerBody {
    Nothing,
    Json(Value),
    Text(&'static str, String),
    Bytes(Bytes),
    Stream(Body),
    /// Somebody else's answer, with its own status and headers.
    Passed(Response<Body>),
}

/// What the audit log is told about a change.
#[derive(Debug, Clone, Default)]
pub(super) struct Trace {
    pub(super) object: String,
    pub(super) before: Option<String>,
    pub(super) after: Option<String>,
}

impl Answer {
    pub(super) fn json(value: Value) -> Answer {
        Answer::of(StatusCode::OK, AnswerBody::Json(value))
    }

    pub(super) fn text(content_type: &'static str, text: String) -> Answer {
        Answer::of(StatusCode::OK, AnswerBody::Text(content_type, text))
    }

    pub(super) fn bytes(bytes: Bytes) -> Answer {
        Answer::of(StatusCode::OK, AnswerBody::Bytes(bytes))
    }

    pub(super) fn nothing() -> Answer {
        Answer::of(StatusCode::NO_CONTENT, AnswerBody::Nothing)
    }

    pub(super) fn stream(body: Body) -> Answer {
        let mut answer = Answer::of(StatusCode::OK, AnswerBody::Stream(body));
        let event_stream = HeaderValue::from_static("text/event-stream");
        answer.headers.insert(header::CONTENT_TYPE, event_stream);
        answer
    }

    pub(super) fn passed(response: Response<Body>) -> Answer {
        Answer::of(response.status(), AnswerBody::Passed(response))
    }

    fn of(status: StatusCode, body: AnswerBody) -> Answer {
        Answer { status, headers: HeaderMap::new(), body, trace: Trace::default() }
    }

    pub(super) fn status(mut self, status: StatusCode) -> Answer {
        self.status = status;
        self
    }

    pub(super) fn header(mut self, name: HeaderName, value: &str) -> Answer {
        let value = HeaderValue::from_str(value).expect("what we answer with is visible text");
        self.headers.insert(name, value);
        self
    }

    /// The same with an entity tag.
    pub(super) fn tag(self, tag: &str) -> Answer {
        self.header(header::ETAG, &format!("\"{tag}\""))
    }

    /// The same with what the audit log is told.
    pub(super) fn about(mut self, object: impl Into<String>) -> Answer {
        self.trace.object = object.into();
        self
    }

    /// The same with digests of what was and what is.
    pub(super) fn changed(mut self, before: Option<&Value>, after: Option<&Value>) -> Answer {
        self.trace.before = before.map(digest);
        self.trace.after = after.map(digest);
        self
    }
}

/// `document` with the members of `more`; both are objects.
pub(super) fn merged(mut document: Value, more: Value) -> Value {
    if let (Some(document), Value::Object(more)) = (document.as_object_mut(), more) {
        document.extend(more);
    }
    document
}

/// SHA-256 over a value's JSON, whose keys are in order.
pub(super) fn digest(value: &Value) -> String {
    let hash = Sha256::digest(value.to_string().as_bytes());
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The whole surface.
pub(super) fn routes() -> Vec<Route> {
    let mut routes = probes::routes();
    routes.extend(cluster::routes());
    routes.extend(members::routes());
    routes.extend(workers::routes());
    routes.extend(credentials::routes());
    routes.extend(classify::routes());
    routes.extend(pools::routes());
    routes.extend(providers::routes());
    routes.extend(chat::routes());
    routes.extend(gateway::routes());
    routes.extend(kv::routes());
    routes.extend(events::routes());
    routes.extend(operations::routes());
    routes.extend(raft::routes());
    routes
}

/// The routes as a router whose every answer went through the pipeline.
pub(super) fn router(surface: Arc<Surface>) -> Router {
    let mut paths: BTreeMap<&'static str, MethodRouter> = BTreeMap::new();
    for route in routes() {
        surface.meters.open_route(route.path, route.method.name(), &route.all_statuses());
        if route.takes == Takes::Stream {
            surface.meters.open_passing(route.path, route.method.name());
        }
        let methods = paths.remove(route.path).unwrap_or_default();
        paths.insert(route.path, methods.merge(method(surface.clone(), route)));
    }
    for status in UNMATCHED {
        surface.meters.open_route("unmatched", "other", &[status]);
    }
    let router = paths.into_iter().fold(Router::new(), |router, (path, methods)| {
        let allow = allowed(path);
        let surface = surface.clone();
        // The router's word for all that follows.
        router.route(
            &path.replace("{rest}", "{*rest}"),
            methods.fallback(move |request: Request| {
                pipeline::unmatched(surface.clone(), request, Some(allow.clone()))
            }),
        )
    });
    router.fallback(move |request: Request| pipeline::unmatched(surface.clone(), request, None))
}

/// Statuses of requests that no route takes.
pub(super) const UNMATCHED: [u16; 4] = [404, 405, 421, 431];

fn method(surface: Arc<Surface>, route: Route) -> MethodRouter {
    on(route.method.filter(), move |parameters: RawPathParams, request: Request| {
        let parameters =
            parameters.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        pipeline::run(surface.clone(), route, parameters, request)
    })
}

/// What `Allow` says for a path.
fn allowed(path: &str) -> String {
    let routes = routes();
    let mut names: Vec<&str> =
        routes.iter().filter(|route| route.path == path).map(|route| route.method.name()).collect();
    if names.contains(&Method::GET.as_str()) {
        names.push("HEAD");
    }
    names.join(", ")
}

/// That something is not there.
pub(super) fn not_found(what: &str) -> Problem {
    Problem::new(Code::NotFound, format!("{what} is not known here"))
}

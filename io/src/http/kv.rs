//! `/v1/kv`, `/v1/kv-leases`, `/v1/locks`, `/v1/semaphores`: the consistent store.
//!
//! Every call is one request to the node, which decides; what it answers is shown here. Revisions are
//! numbers and rise for ever, leases are texts, keys and values are texts where they are UTF-8 and base64
//! (`…_base64`) where they are not.
//!
//! Absent on purpose: writes to reserved namespaces. Those are changed by calls of their own.

mod keys;
mod leases;
mod locks;
mod shown;
mod transactions;
mod watch;

use std::time::Duration;

use quorate_core::node::kv::{
    self, Answer as Done, Failure, Found, Invalid, Namespace, Refusal, Told, Unavailable,
};
use quorate_core::node::{Reply, Request};
use serde_json::json;

use super::cluster::{WITHIN, unanswered};
use super::problem::{Code, Problem};
use super::route::{Call, Route};
use crate::access::Scope;

pub(super) fn routes() -> Vec<Route> {
    let mut routes = keys::routes();
    routes.extend(leases::routes());
    routes.extend(locks::routes());
    routes
}

/// Statuses of everything that goes through the log, besides those of every route.
const LOGGED: &[u16] = &[200, 404, 409, 412, 413, 422];

/// How much longer the node's own answer at the end of its deadline is waited for.
const HEARD: Duration = Duration::from_secs(2);

/// Asks the node for something of the store.
async fn ask(call: &Call, request: kv::Request) -> Result<Done, Problem> {
    ask_within(call, request, WITHIN + HEARD).await
}

async fn ask_within(
    call: &Call,
    request: kv::Request,
    patience: Duration,
) -> Result<Done, Problem> {
    // A configured deadline beyond what a surface waits is cut for the node as well: it alone knows whether
    // something may have happened.
    let deadline = call.surface.handle.published().kv.load().deadline;
    let within = (deadline > WITHIN).then_some(WITHIN);
    let request = Request::Kv { request: Box::new(request), within, once: call.once };
    match call.surface.handle.ask(request, patience).await.map_err(unanswered)? {
        Reply::Kv(Done::Failed(failure)) => Err(failed(call, &failure)),
        Reply::Kv(done) => Ok(done),
        reply @ (Reply::Done
        | Reply::Refused(_)
        | Reply::Worker(_)
        | Reply::Credential(_)
        | Reply::Pool(_)
        | Reply::Raft(_)
        | Reply::Watching { .. }) => {
            unreachable!("a request to the store is answered by it, not by {reply:?}")
        }
    }
}

/// Reads something.
async fn read(
    call: &Call,
    question: kv::Question,
    (mode, min_revision): (kv::Mode, u64),
) -> Result<Told, Problem> {
    // What may be old is read where it lies, without a word to the loop.
    let here = (mode == kv::Mode::Local)
        .then(|| call.surface.handle.published().kv.load().tell_local(&question, min_revision));
    let told = match here.flatten() {
        Some(told) => told,
        None => match ask(call, kv::Request::Ask { question, mode, min_revision }).await? {
            Done::Told(told) => told,
            done => unreachable!("a question is answered as one, not by {done:?}"),
        },
    };
    match told.what {
        Found::Compacted(compacted) => Err(gone(compacted)),
        what => Ok(Told { what, ..told }),
    }
}

/// How fresh the answer must be: `mode` and `min_revision` of the query.
fn freshness(call: &mut Call) -> Result<(kv::Mode, u64), Problem> {
    let mode = match call.query.one("mode")?.as_deref() {
        None | Some("linearizable") => kv::Mode::Linearizable,
        Some("local") => kv::Mode::Local,
        Some(_) => return Err(invalid("`mode` is linearizable or local")),
    };
    let min_revision = call.query.number("min_revision", 0..=u64::MAX)?;
    Ok((mode, min_revision.unwrap_or(0)))
}

/// The namespace of the path; only administrators look into Quorate's own.
fn namespace(call: &Call) -> Result<Namespace, Problem> {
    let parsed = call.parameter("ns").parse::<Namespace>();
    let namespace = parsed.map_err(|error| invalid(error.to_string()))?;
    let admin = call.actor.as_ref().is_some_and(|actor| actor.may(Scope::Admin));
    if namespace.is_reserved() && !admin {
        let detail =
            format!("`{namespace}` belongs to Quorate; reading it needs the scope `admin`");
        return Err(Problem::new(Code::ScopeMissing, detail).with("scope", "admin"));
    }
    Ok(namespace)
}

fn invalid(detail: impl Into<String>) -> Problem {
    Problem::new(Code::InvalidRequest, detail)
}

fn gone(compacted: kv::Compacted) -> Problem {
    let revision = compacted.compact_revision;
    let detail = format!("that revision is forgotten; the oldest that can be read is {revision}");
    Problem::new(Code::Compacted, detail).with("compact_revision", revision)
}

pub(super) fn failed(call: &Call, failure: &Failure) -> Problem {
    let words = failure.to_string();
    match failure {
        Failure::Refused(refusal) => refused(refusal),
        Failure::Reserved(_) => Problem::new(Code::Reserved, words),
        Failure::TooLarge(size) => Problem::new(Code::TooLarge, words).with("limit", size.key()),
        Failure::Precondition { revision, current } => {
            let current = current.as_ref().map(|item| shown::item(&item.key, &item.held, true));
            Problem::new(Code::PreconditionFailed, words)
                .with("revision", *revision)
                .with("key", json!(current))
        }
        Failure::Contended { line, position } => Problem::new(Code::Contended, words)
            .with("holders", shown::holders(line))
            .with("position", *position),
        Failure::NotHere => {
            let members = call.surface.handle.published().raft.load();
            let nodes = members.members.iter().filter_map(|member| member.node.as_ref());
            let nodes: Vec<&str> = nodes.map(|node| node.as_str()).collect();
            Problem::new(Code::NotHere, words).with("nodes", json!(nodes))
        }
        Failure::Behind { revision, .. } => {
            Problem::new(Code::Deadline, words).with("revision", *revision)
        }
        Failure::Watches => Problem::new(Code::LimitReached, words).with("limit", "kv.watches_max"),
        Failure::Unavailable(why) => {
            let code = match why {
                Unavailable::QueueFull => Code::QueueFull,
                Unavailable::Ambiguous => Code::Ambiguous,
                Unavailable::NoQuorum | Unavailable::NotHere => Code::NoQuorum,
                Unavailable::NeedsUpgrade => Code::NeedsUpgrade,
                Unavailable::IdempotencyMismatch => Code::IdempotencyMismatch,
            };
            Problem::new(code, words)
        }
    }
}

fn refused(refusal: &Refusal) -> Problem {
    let words = refusal.to_string();
    let code = match refusal {
        Refusal::Invalid(Invalid::Value | Invalid::Bytes | Invalid::Results) => Code::TooLarge,
        Refusal::Invalid(_) | Refusal::Future { .. } => Code::InvalidRequest,
        Refusal::LeaseNotFound(_) => Code::LeaseNotFound,
        Refusal::LimitReached(limit) => {
            return Problem::new(Code::LimitReached, words).with("limit", limit.key());
        }
        Refusal::NotHeld => Code::NotHeld,
        Refusal::Held => Code::Conflict,
        Refusal::PermitsDiffer { permits } => {
            return Problem::new(Code::PermitsDiffer, words).with("permits", *permits);
        }
    };
    Problem::new(code, words)
}

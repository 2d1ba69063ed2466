//! `/v1/pools`: which account may be used, and the verbs of operators.
//!
//! Reads come from the snapshot that picks use; every change is a command that the node decides, but for what a pool
//! *is*: that all nodes agree on ([`definitions`]). A lease is a
//! pick for a caller outside this process: it is made here and named by the node.

mod definition;
mod definitions;
mod leases;
pub(super) mod views;

use std::sync::Arc;
use std::time::Duration;

use quorate_core::ids::CredentialHandle;
use quorate_core::node::pools::{Answer as Done, Command, Name, Pool, Refusal, Snapshot};
use quorate_core::node::{Reply, Request};
use serde_json::{Value, json};

use super::Surface;
use super::cluster::{WITHIN, unanswered};
use super::problem::{Code, Fault, Problem};
use super::route::{Answer, Call, Outcome, Route, Takes, Verb, digest, not_found};
use super::strict;
use crate::access::Scope;

pub(super) use leases::{Leases, nobody};
pub(crate) use views::totals;
pub(super) use views::{all, providers};

pub(super) fn routes() -> Vec<Route> {
    let operate = Scope::Operate;
    let member = |path, verb, handler| {
        Route::change(Verb::Post, path, operate, verb, handler).statuses(&[200, 404])
    };
    let mut routes = vec![
        Route::get("/v1/pools", |call| Box::pin(async move { list(call) })),
        Route::get("/v1/pools/{pool}", |call| Box::pin(async move { show(call) }))
            .statuses(&[200, 404]),
        Route::get("/v1/pools/{pool}/explain", |call| Box::pin(async move { explain(call) }))
            .statuses(&[200, 404]),
        Route::change(Verb::Post, "/v1/pools/{pool}/rotate", operate, "pool.rotate", |call| {
            Box::pin(rotate(call))
        })
        .statuses(&[200, 404]),
        member("/v1/pools/{pool}/members/{handle}/park", "pool.park", |call| Box::pin(park(call)))
            .takes(Takes::Body),
        member("/v1/pools/{pool}/members/{handle}/unpark", "pool.unpark", |call| {
            Box::pin(unpark(call))
        }),
        member("/v1/pools/{pool}/members/{handle}/clear", "pool.clear", |call| {
            Box::pin(clear(call))
        })
        .takes(Takes::Body),
        member("/v1/pools/{pool}/members/{handle}/probe", "pool.probe", |call| {
            Box::pin(probe(call))
        })
        .statuses(&[202, 404]),
    ];
    routes.extend(definitions::routes());
    routes.extend(leases::routes());
    routes.extend(views::routes());
    routes
}

fn snapshot(surface: &Surface) -> Arc<Snapshot> {
    surface.handle.published().pools.load_full()
}

/// The pool that the path means.
fn named(call: &Call) -> Result<(Name, Arc<Pool>), Problem> {
    let unknown = || not_found("this pool");
    let name: Name = call.parameter("pool").parse().map_err(|_| unknown())?;
    let pool = snapshot(&call.surface).pool(name.as_str()).cloned().ok_or_else(unknown)?;
    Ok((name, pool))
}

fn handle(call: &Call) -> Result<CredentialHandle, Problem> {
    call.parameter("handle").parse().map_err(|_| not_found("this member"))
}

fn list(mut call: Call) -> Outcome {
    let page = call.query.page()?;
    call.query.finish()?;
    let snapshot = snapshot(&call.surface);
    let rows = snapshot.pools.iter();
    let rows = rows.map(|(name, pool)| (name.to_string(), views::summary(pool)));
    let document = page.cut(rows);
    let tag = views::short(&digest(&document));
    Ok(Answer::json(document).tag(&tag))
}

fn show(call: Call) -> Outcome {
    call.query.finish()?;
    let (_, pool) = named(&call)?;
    Ok(Answer::json(views::document(&pool)).tag(&views::tag(&pool.definition)))
}

fn explain(mut call: Call) -> Outcome {
    let model = call.query.one("model")?;
    call.query.finish()?;
    let (_, pool) = named(&call)?;
    Ok(Answer::json(views::explained(&call.surface, &pool, model.as_deref())))
}

async fn rotate(call: Call) -> Outcome {
    call.query.finish()?;
    let (pool, _) = named(&call)?;
    match ask(&call.surface, Command::Rotate { pool: pool.clone() }).await? {
        Done::Rotated { from, to, parked_until } => {
            let until = crate::clock::rfc3339(parked_until);
            let answer = json!({"from": from, "to": to, "parked_until": until});
            let (was, is) = (json!({"active": from}), json!({"active": to}));
            Ok(Answer::json(answer).about(pool.to_string()).changed(Some(&was), Some(&is)))
        }
        done @ (Done::Done
        | Done::Reported { .. }
        | Done::Judged { .. }
        | Done::Leased { .. }
        | Done::Changed { .. }
        | Done::Refused(_)) => unreachable!("a rotation is answered as one, not by {done:?}"),
    }
}

async fn park(mut call: Call) -> Outcome {
    let mut fields = call.fields()?;
    let expected = "a number of milliseconds, 1 to 604800000";
    let span = fields.required("for_ms", expected, |value| {
        value.as_u64().filter(|span| (1..=PARK_MS_MAX).contains(span))
    });
    fields.finish().map_err(Problem::faults)?;
    let span = Duration::from_millis(span.unwrap_or_default());
    change(call, |pool, member| Command::Park { pool, member, span }).await
}

async fn unpark(call: Call) -> Outcome {
    change(call, |pool, member| Command::Unpark { pool, member }).await
}

async fn clear(mut call: Call) -> Outcome {
    let mut fields = call.fields()?;
    let model = fields.optional("model", "a model's name", strict::string);
    let reason = fields.required("reason", "a text of 1 to 256 bytes", reason_of);
    fields.finish().map_err(Problem::faults)?;
    let (model, reason) = (model.map(Arc::from), reason.unwrap_or_default());
    change(call, |pool, member| Command::Clear { pool, member, model, reason }).await
}

async fn probe(call: Call) -> Outcome {
    let answer = change(call, |pool, member| Command::Probe { pool, member }).await?;
    Ok(answer.status(axum::http::StatusCode::ACCEPTED))
}

fn reason_of(value: &Value) -> Option<String> {
    strict::string(value).filter(|text| (1..=REASON_BYTES_MAX).contains(&text.len()))
}

/// A verb about one member; answered with the member as it is then.
async fn change(call: Call, command: impl FnOnce(Name, CredentialHandle) -> Command) -> Outcome {
    call.query.finish()?;
    let (pool, before) = named(&call)?;
    let member = handle(&call)?;
    let done = ask(&call.surface, command(pool.clone(), member)).await?;
    let after = snapshot(&call.surface).pool(pool.as_str()).cloned();
    let was = views::member(&before, member);
    let is = after.as_ref().and_then(|pool| views::member(pool, member));
    let mut document = is.clone().unwrap_or_default();
    if let (Done::Changed { targets }, Some(fields)) = (done, document.as_object_mut()) {
        fields.insert("changed".to_owned(), json!(targets));
    }
    let answer = Answer::json(document).about(format!("{pool}/{member}"));
    Ok(answer.changed(was.as_ref(), is.as_ref()))
}

/// What the node answers to a command; a refusal is a problem.
async fn ask(surface: &Surface, command: Command) -> Result<Done, Problem> {
    let request = Request::Pool(Box::new(command));
    match surface.handle.ask(request, WITHIN).await.map_err(unanswered)? {
        Reply::Pool(Done::Refused(refusal)) => Err(refused(&refusal)),
        Reply::Pool(done) => Ok(done),
        reply @ (Reply::Done
        | Reply::Refused(_)
        | Reply::Worker(_)
        | Reply::Credential(_)
        | Reply::Raft(_)
        | Reply::Kv(_)
        | Reply::Watching { .. }) => {
            unreachable!("a command to pools is answered by them, not by {reply:?}")
        }
    }
}

fn refused(refusal: &Refusal) -> Problem {
    let code = Code::named(refusal.code()).expect("every refusal of pools is a code of ours");
    match refusal {
        Refusal::Invalid { field, detail } => {
            let pointer = definition::pointer(field);
            Problem::faults(vec![Fault::new(pointer, "invalid", detail.clone())])
        }
        Refusal::NoPool { .. }
        | Refusal::NoMember { .. }
        | Refusal::NoProvider { .. }
        | Refusal::NoLease
        | Refusal::LeaseExpired
        | Refusal::SlotTaken
        | Refusal::NotResting { .. }
        | Refusal::NowhereToRotate { .. }
        | Refusal::ManagedByConfig { .. }
        | Refusal::PoolExists { .. }
        | Refusal::CredentialPooled { .. }
        | Refusal::Full { .. } => Problem::new(code, refusal.to_string()),
    }
}

const PARK_MS_MAX: u64 = 7 * 24 * 3_600_000;
/// Bytes of what an operator says why.
const REASON_BYTES_MAX: usize = 256;

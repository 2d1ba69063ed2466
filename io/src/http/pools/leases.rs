//! Picks for callers outside this process.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use quorate_core::node::pools::answer::Endpoint;
use quorate_core::node::pools::{
    Answer as Done, Command, Ended, LeaseId, Picked, Query, Refused, Why, pick,
};
use quorate_core::wire::Blob;
use serde_json::{Value, json};

use super::super::Surface;
use super::super::problem::{Code, Problem};
use super::super::route::{Answer, Call, Outcome, Route, Takes, Verb, not_found};
use super::super::strict;
use super::{ask, named};
use crate::access::Scope;
use crate::clock;

pub(super) fn routes() -> [Route; 2] {
    [
        Route::change(Verb::Post, "/v1/pools/{pool}/leases", Scope::Use, "pool.lease", |call| {
            Box::pin(lease(call))
        })
        .takes(Takes::Body)
        .statuses(&[200, 404])
        .counted("pool.lease"),
        Route::change(Verb::Post, "/v1/leases/{id}/report", Scope::Use, "pool.report", |call| {
            Box::pin(report(call))
        })
        .takes(Takes::Body)
        .statuses(&[200, 404, 410])
        .counted("pool.report"),
    ]
}

async fn lease(mut call: Call) -> Outcome {
    let mut fields = call.fields()?;
    let short =
        |max: usize| move |value: &Value| strict::string(value).filter(|text| text.len() <= max);
    let model = fields.optional("model", "a model's name of at most 256 bytes", short(256));
    let request = fields.optional("request", "a text of at most 128 bytes", short(128));
    fields.finish().map_err(Problem::faults)?;
    call.query.finish()?;
    let (name, pool) = named(&call)?;
    let model: Option<Arc<str>> = model.map(Arc::from);
    let request: Option<Arc<str>> = request.map(Arc::from);
    // A probe's slot may be gone by the time the node hears of it: then there is another pick.
    for _ in 0..=SLOTS_LOST_MAX {
        let ticket = TICKETS.fetch_add(1, Ordering::Relaxed);
        let query = Query { model: model.as_deref(), ticket, ..Query::default() };
        let mut picked = match pick(&pool, &query) {
            Ok(picked) => picked,
            Err(refused) => {
                if refused.tells {
                    let command = Command::Wanted { pool: name.clone(), model: model.clone() };
                    ask(&call.surface, command).await?;
                }
                return Err(nobody(&call.surface, refused));
            }
        };
        let command = Command::Lease {
            pool: name.clone(),
            credential: picked.member.handle,
            epoch: picked.member.epoch,
            model: model.clone(),
            probe: picked.probe,
            request: request.clone(),
        };
        match ask(&call.surface, command).await {
            Ok(Done::Leased { lease, expires_at }) => {
                picked.went();
                return Ok(leased(&picked, &lease, &clock::rfc3339(expires_at)));
            }
            Ok(done) => unreachable!("a lease is answered as one, not by {done:?}"),
            Err(problem) if problem.code == Code::SlotTaken => {}
            Err(problem) => return Err(problem),
        }
    }
    let detail = "others try the members that could be tried: ask again";
    Err(Problem::new(Code::PoolUnavailable, detail))
}

fn leased(picked: &Picked, lease: &LeaseId, expires_at: &str) -> Answer {
    let member = &picked.member;
    let id = member.credential.as_ref().map(|credential| credential.id.to_string());
    let document = json!({
        "lease": lease.to_string(),
        "credential": id,
        "handle": member.handle,
        "epoch": member.epoch,
        "probe": picked.probe,
        "expires_at": expires_at,
    });
    Answer::json(document).about(member.handle.to_string())
}

/// Why nobody can be picked, and when to come back. Never a credential.
pub(super) fn nobody(surface: &Surface, refused: Refused) -> Problem {
    let now = surface.host.now();
    let wait = refused.retry_after_ms(now);
    let (code, detail) = match refused.why {
        Why::Exhausted => (Code::PoolExhausted, "every account of the pool is limited"),
        Why::Unavailable | Why::Tried => {
            (Code::PoolUnavailable, "no account of the pool can serve")
        }
        Why::Ramping => (Code::PoolUnavailable, "the accounts that can serve come back slowly"),
    };
    let reset = surface.host.wall().0.saturating_add(wait);
    let wait_ms = if refused.why == Why::Ramping { 1000 } else { wait };
    Problem::new(code, detail)
        .retry_after(std::time::Duration::from_millis(wait_ms))
        .with("reset_at", clock::rfc3339(quorate_core::time::UnixTime(reset)))
        .with("reset_seconds", wait_ms.div_ceil(1000))
}

async fn report(mut call: Call) -> Outcome {
    let ended = ended(&mut call)?;
    call.query.finish()?;
    let lease: LeaseId = call.parameter("id").parse().map_err(|()| not_found("this lease"))?;
    match ask(&call.surface, Command::ReportLease { lease: lease.clone(), ended }).await? {
        Done::Judged { verdict, applied } => {
            let shown = verdict.map_or_else(
                || json!({"outcome": "cancelled", "applied": applied}),
                |verdict| {
                    json!({
                        "class": verdict.class,
                        "scope": verdict.scope.to_string(),
                        "source": verdict.source,
                        "stated_wait_ms": verdict.stated_wait_ms,
                        "applied": applied,
                    })
                },
            );
            Ok(Answer::json(shown).about(lease.to_string()))
        }
        done @ (Done::Done
        | Done::Reported { .. }
        | Done::Leased { .. }
        | Done::Rotated { .. }
        | Done::Changed { .. }
        | Done::Refused(_)) => unreachable!("a report is answered as one, not by {done:?}"),
    }
}

/// How the request ended: `{"outcome": "cancelled"}`, or the upstream's answer.
fn ended(call: &mut Call) -> Result<Ended, Problem> {
    let mut fields = call.fields()?;
    let cancelled = fields.optional("outcome", "`cancelled`", |value| {
        value.as_str().filter(|word| *word == "cancelled").map(|_| ())
    });
    let status = fields.optional("status", "an HTTP status", |value| {
        let status = value.as_u64().filter(|status| (100..=599).contains(status))?;
        u16::try_from(status).ok()
    });
    let headers = fields.optional("headers", "a list of pairs of texts", pairs);
    let text = fields.optional("body", "a text", strict::string);
    let bytes = fields
        .optional("body_base64", "bytes in base64", |value| BASE64.decode(value.as_str()?).ok());
    let endpoint = fields.optional("endpoint", "api or token", |value| {
        serde_json::from_value::<Endpoint>(value.clone()).ok()
    });
    if text.is_some() && bytes.is_some() {
        fields.fault("body_base64", "conflict", "`body` and `body_base64` exclude each other");
    }
    let answered = headers.is_some() || text.is_some() || bytes.is_some() || endpoint.is_some();
    match (cancelled, status) {
        (None, None) => fields.fault("status", "missing", "`status` or `outcome` is needed"),
        (Some(()), _) if answered || status.is_some() => {
            fields.fault("outcome", "conflict", "who went away has seen no answer");
        }
        _ => {}
    }
    fields.finish().map_err(Problem::faults)?;
    let body = text.map(String::into_bytes).or(bytes).unwrap_or_default();
    Ok(match status {
        None => Ended::Cancelled,
        Some(status) => Ended::Answered {
            status,
            headers: headers.unwrap_or_default(),
            body: Blob::from(body),
            endpoint: endpoint.unwrap_or(Endpoint::Api),
        },
    })
}

fn pairs(value: &Value) -> Option<Vec<(String, String)>> {
    let pair = |pair: &Value| match pair.as_array()?.as_slice() {
        [name, value] => Some((name.as_str()?.to_owned(), value.as_str()?.to_owned())),
        _ => None,
    };
    value.as_array()?.iter().map(pair).collect()
}

/// Numbers of picks, for turns and draws.
static TICKETS: AtomicU64 = AtomicU64::new(0);
/// Probe slots that may be lost to others before a caller is told to come back.
const SLOTS_LOST_MAX: usize = 8;

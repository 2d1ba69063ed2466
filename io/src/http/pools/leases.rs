//! Picks for callers outside this process.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use quorate_core::limits;
use quorate_core::node::pools::answer::Endpoint;
use quorate_core::node::pools::{
    Answer as Done, Command, Ended, LeaseId, Picked, Query, Refused, Verdict, Why, pick,
};
use quorate_core::time::{Instant, UnixTime};
use quorate_core::wire::Blob;
use serde_json::{Value, json};

use super::super::Surface;
use super::super::problem::{Code, Problem};
use super::super::route::{Answer, Call, Outcome, Route, Takes, Verb, not_found};
use super::super::strict;
use super::{ask, named};
use crate::access::Scope;
use crate::clock;
use crate::gateway::Usage;

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

/// What the leases of this node's callers hold until they are reported or end: a place among the requests in
/// flight, and where a member comes back slowly a place behind its gate.
#[derive(Default)]
pub(crate) struct Leases {
    tickets: AtomicU64,
    held: Mutex<BTreeMap<LeaseId, Held>>,
}

struct Held {
    picked: Picked,
    began: Instant,
    ends: Instant,
}

impl Leases {
    /// A number that no pick had before.
    fn ticket(&self) -> u64 {
        self.tickets.fetch_add(1, Ordering::Relaxed)
    }

    fn keep(&self, surface: &Surface, lease: LeaseId, expires_at: UnixTime, picked: Picked) {
        let began = surface.host.now();
        let left = expires_at.0.saturating_sub(surface.host.wall().0);
        let held = Held { picked, began, ends: began + Duration::from_millis(left) };
        let mut leases = self.held.lock().expect("no holder of this lock panics");
        if leases.len() < limits::POOL_LEASES_MAX {
            leases.insert(lease, held);
        }
    }

    /// Gives back what a lease holds, and notes how its request ended. A second report finds nothing.
    fn ended(&self, surface: &Surface, lease: &LeaseId, verdict: Option<&Verdict>, tokens: u64) {
        let held = self.held.lock().expect("no holder of this lock panics").remove(lease);
        let (Some(held), Some(verdict)) = (held, verdict) else { return };
        let Some(credential) = &held.picked.member.credential else { return };
        let now = surface.host.now();
        let ended = crate::pools::figures::Ended {
            class: verdict.class,
            took: Some(now.since(held.began)),
            tokens,
        };
        surface.figures.ended(now, &credential.provider, ended);
    }

    /// Gives back what leases hold that have ended.
    pub(crate) fn sweep(&self, now: Instant) {
        let mut held = self.held.lock().expect("no holder of this lock panics");
        held.retain(|_, lease| lease.ends > now);
    }
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
        let ticket = call.surface.leases.ticket();
        let query = Query { model: model.as_deref(), ticket, ..Query::default() };
        let began = call.surface.host.now();
        let picked = pick(&pool, &query);
        let took = call.surface.host.now().since(began);
        call.surface.meters.pool_pick.observe(took.as_secs_f64());
        let mut picked = match picked {
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
                let answer = leased(&picked, &lease, &clock::rfc3339(expires_at));
                call.surface.leases.keep(&call.surface, lease, expires_at, picked);
                return Ok(answer);
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
pub(in crate::http) fn nobody(surface: &Surface, refused: Refused) -> Problem {
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
        .retry_after(Duration::from_millis(wait_ms))
        .with("reset_at", clock::rfc3339(UnixTime(reset)))
        .with("reset_seconds", wait_ms.div_ceil(1000))
}

async fn report(mut call: Call) -> Outcome {
    let ended = ended(&mut call)?;
    call.query.finish()?;
    let lease: LeaseId = call.parameter("id").parse().map_err(|()| not_found("this lease"))?;
    let tokens = match &ended {
        Ended::Answered { body, .. } => Usage::of(body).tokens(),
        Ended::Cancelled => 0,
    };
    match ask(&call.surface, Command::ReportLease { lease: lease.clone(), ended }).await? {
        Done::Judged { verdict, applied } => {
            call.surface.leases.ended(&call.surface, &lease, verdict.as_ref(), tokens);
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

/// Probe slots that may be lost to others before a caller is told to come back.
const SLOTS_LOST_MAX: usize = 8;

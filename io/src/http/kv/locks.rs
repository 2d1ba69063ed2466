//! `/v1/locks` and `/v1/semaphores`.

use std::time::Duration;

use quorate_core::limits::KV_PERMITS_MAX;
use quorate_core::node::kv::{
    Acquire, Answer as Done, Found, Hold, Holder, LeaseId, Line, Lock, LockName, Mode, Question,
    Request,
};
use serde_json::{Value, json};

use super::shown::{self, lease as named};
use super::{LOGGED, ask, ask_within, invalid, namespace, read};
use crate::access::Scope;
use crate::http::pipeline::ANSWER_MAX;
use crate::http::problem::Problem;
use crate::http::route::{Answer, Call, Outcome, Route, Takes, Verb};

/// Longest wait by HTTP.
const WAIT_MS_MAX: u64 = 25_000;

pub(super) fn routes() -> Vec<Route> {
    let (lock, semaphore) = ("/v1/locks/{ns}/{name}", "/v1/semaphores/{ns}/{name}");
    let change = |verb, path, name, handler| {
        Route::change(verb, path, Scope::Use, name, handler).counted(name).statuses(LOGGED)
    };
    vec![
        change(Verb::Post, lock, "lock.acquire", |call| Box::pin(acquire(call, Permits::One)))
            .takes(Takes::Body),
        change(Verb::Delete, lock, "lock.release", |call| Box::pin(release(call))),
        Route::get(lock, |call| Box::pin(show(call))).statuses(&[200, 409]),
        change(Verb::Post, semaphore, "semaphore.acquire", |call| {
            Box::pin(acquire(call, Permits::Some))
        })
        .takes(Takes::Body),
        change(Verb::Delete, semaphore, "semaphore.release", |call| Box::pin(release(call))),
        Route::get(semaphore, |call| Box::pin(show(call))).statuses(&[200, 409]),
    ]
}

/// How many may hold.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Permits {
    /// A lock.
    One,
    /// What the body says.
    Some,
}

fn lock(call: &Call) -> Result<Lock, Problem> {
    let name = LockName::new(call.parameter("name").as_bytes());
    let name = name.map_err(|error| invalid(error.to_string()))?;
    Ok(Lock { namespace: namespace(call)?, name })
}

async fn acquire(mut call: Call, permits: Permits) -> Outcome {
    let lock = lock(&call)?;
    let mut fields = call.fields()?;
    let lease = shown::lease_of(&mut fields);
    let ttl_ms = fields.optional("ttl_ms", "milliseconds, 1 s to 24 h", Value::as_u64);
    let wait = fields.optional("wait_ms", "milliseconds, at most 25 s", |value| {
        value.as_u64().filter(|wait| *wait <= WAIT_MS_MAX)
    });
    let permits = match permits {
        Permits::One => Some(1),
        Permits::Some => fields.required("permits", "how many may hold", |value| {
            let permits = u32::try_from(value.as_u64()?).ok()?;
            (1..=KV_PERMITS_MAX).contains(&permits).then_some(permits)
        }),
    };
    let holder = match (lease, ttl_ms) {
        (Some(lease), None) => Some(Holder::Lease(lease)),
        (None, Some(ttl_ms)) => Some(Holder::Grant(ttl_ms)),
        _ => {
            fields.fault("lease", "ambiguous", "give a `lease`, or `ttl_ms` for a new one");
            None
        }
    };
    fields.finish().map_err(Problem::faults)?;
    call.query.finish()?;
    let (lease, permits) = holder.zip(permits).expect("what is missing was named as a fault");
    let wait = Duration::from_millis(wait.unwrap_or(0));
    let request =
        Request::Acquire { acquire: Acquire { lock: lock.clone(), lease, permits }, wait };
    // Who has waited enough still has to leave the line.
    let within = ANSWER_MAX.saturating_sub(Duration::from_secs(1));
    match ask_within(&call, request, within).await? {
        Done::Held { lease, fence } => {
            let line = line(&call, lock).await?;
            Ok(Answer::json(json!({
                "fence": fence,
                "lease": named(lease),
                "holders": shown::holders(&line),
                "waiting": shown::waiting(&line),
            })))
        }
        Done::Forgotten { revision } => Ok(Answer::json(json!({"revision": revision}))),
        done => unreachable!("a lock is answered as one, not by {done:?}"),
    }
}

async fn line(call: &Call, lock: Lock) -> Result<Line, Problem> {
    match read(call, Question::Line(lock), (Mode::Linearizable, 0)).await?.what {
        Found::Line(line) => Ok(line),
        found => unreachable!("a line is answered as one, not by {found:?}"),
    }
}

async fn show(call: Call) -> Outcome {
    let lock = lock(&call)?;
    call.query.finish()?;
    let line = line(&call, lock).await?;
    Ok(Answer::json(json!({
        "permits": line.permits,
        "holders": shown::holders(&line),
        "waiting": shown::waiting(&line),
    })))
}

async fn release(mut call: Call) -> Outcome {
    let lock = lock(&call)?;
    let fence = call.query.number("fence", 1..=u64::MAX)?;
    let lease = call.query.number("lease", 1..=u64::MAX)?;
    call.query.finish()?;
    let hold = match (fence, lease) {
        (Some(fence), None) => Hold::Fence(fence),
        (None, Some(lease)) => Hold::Lease(LeaseId(lease)),
        _ => return Err(invalid("say which hold: `fence` or `lease`")),
    };
    match ask(&call, Request::Release { lock, hold }).await? {
        Done::Released { revision } => Ok(Answer::json(json!({"revision": revision}))),
        done => unreachable!("a release is answered as one, not by {done:?}"),
    }
}

//! `/v1/kv-leases`.

use quorate_core::node::kv::{Answer as Done, Found, LeaseId, LeaseTold, Mode, Question, Request};
use serde_json::{Value, json};

use super::shown::lease as named;
use super::{LOGGED, ask, invalid, read};
use crate::access::Scope;
use crate::http::problem::{Code, Problem};
use crate::http::route::{Answer, Call, Outcome, Route, Takes, Verb};

pub(super) fn routes() -> Vec<Route> {
    let (all, one) = ("/v1/kv-leases", "/v1/kv-leases/{id}");
    let keep = "/v1/kv-leases/{id}/keep_alive";
    let change = |verb, path, name, handler| {
        Route::change(verb, path, Scope::Use, name, handler).counted(name).statuses(LOGGED)
    };
    vec![
        change(Verb::Post, all, "kv.lease_grant", |call| Box::pin(grant(call))).takes(Takes::Body),
        change(Verb::Post, keep, "kv.lease_keep_alive", |call| Box::pin(keep_alive(call))),
        Route::get(one, |call| Box::pin(show(call))).statuses(&[200, 404, 409]),
        change(Verb::Delete, one, "kv.lease_revoke", |call| Box::pin(revoke(call))),
    ]
}

fn id(call: &Call) -> Result<LeaseId, Problem> {
    let id = call.parameter("id").parse().map(LeaseId);
    id.map_err(|_| invalid("the id of a lease is a number"))
}

async fn grant(mut call: Call) -> Outcome {
    let mut fields = call.fields()?;
    let ttl_ms = fields.required("ttl_ms", "milliseconds, 1 s to 24 h", Value::as_u64);
    fields.finish().map_err(Problem::faults)?;
    call.query.finish()?;
    let done = ask(&call, Request::Grant { ttl_ms: ttl_ms.unwrap_or_default() }).await?;
    Ok(living(&done))
}

async fn keep_alive(call: Call) -> Outcome {
    let lease = id(&call)?;
    call.query.finish()?;
    Ok(living(&ask(&call, Request::KeepAlive(lease)).await?))
}

fn living(done: &Done) -> Answer {
    match done {
        Done::Lease { lease, ttl_ms } => {
            let lease = named(*lease);
            Answer::json(json!({"lease": lease, "ttl_ms": ttl_ms, "remaining_ms": ttl_ms}))
        }
        done => unreachable!("a lease is answered as one, not by {done:?}"),
    }
}

async fn show(call: Call) -> Outcome {
    let lease = id(&call)?;
    call.query.finish()?;
    let told = read(&call, Question::Lease(lease), (Mode::Linearizable, 0)).await?;
    let Found::Lease(Some(LeaseTold { ttl_ms, remaining_ms, keys })) = told.what else {
        return Err(Problem::new(Code::LeaseNotFound, "there is no such lease: it has ended"));
    };
    let keys = keys.iter().map(
        |path| json!({"namespace": path.namespace(), "key": String::from_utf8_lossy(path.key())}),
    );
    Ok(Answer::json(json!({
        "lease": named(lease),
        "ttl_ms": ttl_ms,
        "remaining_ms": remaining_ms,
        "keys": keys.collect::<Vec<_>>(),
    })))
}

async fn revoke(call: Call) -> Outcome {
    let lease = id(&call)?;
    call.query.finish()?;
    match ask(&call, Request::Revoke(lease)).await? {
        Done::Ended { revision, deleted } => {
            Ok(Answer::json(json!({"revision": revision, "deleted": deleted})))
        }
        done => unreachable!("a revocation is answered as one, not by {done:?}"),
    }
}

//! What operators see and do about how changes of credentials arrive.

use quorate_core::limits;
use quorate_core::node::credentials::{Answer as Done, Command};
use quorate_core::node::{Reply, Request};
use quorate_core::time::{UnixTime, millis};
use serde_json::json;

use super::super::Surface;
use super::super::cluster::{WITHIN, unanswered};
use super::super::operations::view;
use super::super::problem::{Code, Problem};
use super::super::route::{Answer, Call, Outcome, Route, Takes, Verb};
use crate::access::Scope;

/// The longest age that a purge may name.
const AGE_MAX_MS: u64 = 100 * 365 * 86_400_000;

pub(super) fn routes() -> Vec<Route> {
    let operate = Scope::Operate;
    vec![
        Route::get("/v0/operations/queue", |call| Box::pin(async move { queue(call) })),
        Route::change(
            Verb::Post,
            "/v0/operations/credentials/breaker",
            operate,
            "credentials.breaker",
            |call| Box::pin(breaker(call)),
        )
        .takes(Takes::Body),
        Route::change(
            Verb::Post,
            "/v0/operations/credentials/reconcile",
            operate,
            "credentials.reconcile",
            |call| Box::pin(reconcile(call)),
        ),
        Route::change(
            Verb::Post,
            "/v0/operations/credentials/purge",
            Scope::Admin,
            "credentials.purge",
            |call| Box::pin(purge(call)),
        )
        .takes(Takes::Body),
    ]
}

fn queue(call: Call) -> Outcome {
    call.query.finish()?;
    let surface = &call.surface;
    let known = surface.handle.published().credentials.load();
    let now = surface.host.now();
    let drained = known.drained.map(|drain| {
        let at = surface.wall_of(drain.at);
        json!({"at": at, "batch": drain.batch, "duration_ms": millis(drain.took)})
    });
    let counters = known.counters;
    let document = json!({
        "depth": known.depth,
        "capacity": limits::AUTH_UPDATES_MAX,
        "depth_max": known.depth_max,
        "oldest_age_ms": known.oldest.map_or(0, |since| millis(now.since(since))),
        "rescan_owed": known.rescan_owed,
        "last_drain": drained,
        "counters": {
            "enqueued": counters.enqueued.iter().sum::<u64>(),
            "coalesced": counters.coalesced,
            "overflowed": counters.overflowed,
            "applied": counters.applied,
            "failed": counters.failed,
            "stale": counters.stale,
            "dropped": counters.dropped,
        },
        "drift_keys": known.drift,
    });
    Ok(Answer::json(view(surface, document)))
}

async fn breaker(mut call: Call) -> Outcome {
    let mut fields = call.fields()?;
    let accept =
        fields.required("decision", "`accept` or `restore`", |value| match value.as_str()? {
            "accept" => Some(true),
            "restore" => Some(false),
            _ => None,
        });
    fields.finish().map_err(Problem::faults)?;
    call.query.finish()?;
    let accept = accept.unwrap_or_default();
    let command = if accept { Command::Accept } else { Command::Restore };
    let Done::Settled { held } = ask(&call.surface, command).await? else {
        unreachable!("a decision settles what is held");
    };
    if held == 0 {
        let detail = "the breaker is closed: no credential is missing";
        return Err(Problem::new(Code::Conflict, detail));
    }
    let decision = if accept { "accept" } else { "restore" };
    Ok(Answer::json(json!({"decision": decision, "held": held})).about(decision))
}

async fn reconcile(call: Call) -> Outcome {
    call.query.finish()?;
    ask(&call.surface, Command::Rescan).await?;
    let node = call.surface.node_id();
    Ok(Answer::json(json!({"reconciling": true})).about(node))
}

async fn purge(mut call: Call) -> Outcome {
    let mut fields = call.fields()?;
    let age = fields.required("older_than_ms", "milliseconds", |value| {
        value.as_u64().filter(|age| *age <= AGE_MAX_MS)
    });
    fields.finish().map_err(Problem::faults)?;
    call.query.finish()?;
    let before = UnixTime(call.surface.host.wall().0.saturating_sub(age.unwrap_or(AGE_MAX_MS)));
    let Done::Purged { count } = ask(&call.surface, Command::Purge { before }).await? else {
        unreachable!("a purge counts what is forgotten");
    };
    let node = call.surface.node_id();
    Ok(Answer::json(json!({"purged": count})).about(node))
}

async fn ask(surface: &Surface, command: Command) -> Result<Done, Problem> {
    match surface.handle.ask(Request::Credential(command), WITHIN).await.map_err(unanswered)? {
        Reply::Credential(done) => Ok(done),
        reply @ (Reply::Done
        | Reply::Refused(_)
        | Reply::Worker(_)
        | Reply::Pool(_)
        | Reply::Raft(_)
        | Reply::Kv(_)
        | Reply::Watching { .. }) => {
            unreachable!("a command to credentials is answered by them, not by {reply:?}")
        }
    }
}

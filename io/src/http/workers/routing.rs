//! Picking a worker, reporting what became of it, and explaining a pick.

use quorate_core::node::workers::route::Reason;
use quorate_core::node::workers::{
    Answer as Done, Command, Kind, NoWorker, Outcome as Ended, PickPolicy, Query, Snapshot, Target,
};
use serde_json::{Value, json};

use super::super::problem::{Code, Problem};
use super::super::route::{Answer, Call, Outcome, Route, Takes, Verb, not_found};
use super::super::strict::{self, Fields};
use super::super::{Surface, metrics_word};
use super::ask;
use crate::access::Scope;

pub(super) fn routes() -> [Route; 3] {
    let change = Route::change;
    [
        change(Verb::Post, "/v1/workers/pick", Scope::Use, "worker.pick", |call| {
            Box::pin(async move { pick(call) })
        })
        .takes(Takes::Body)
        .counted("worker.pick"),
        change(Verb::Post, "/v1/workers/{id}/report", Scope::Use, "worker.report", |call| {
            Box::pin(report(call))
        })
        .takes(Takes::Body)
        .statuses(&[204, 404, 410])
        .counted("worker.report"),
        Route::get("/v1/workers/explain", |call| Box::pin(async move { explain(call) })),
    ]
}

/// Bytes of a `key`.
const KEY_BYTES_MAX: usize = 256;
/// Workers that a query may leave out.
const EXCLUDE_MAX: usize = 8;
/// Bytes of a model's name.
const MODEL_BYTES_MAX: usize = 256;

fn pick(mut call: Call) -> Outcome {
    let mut fields = call.fields()?;
    let query = query_of(&mut fields);
    fields.finish().map_err(Problem::faults)?;
    call.query.finish()?;
    let surface = &call.surface;
    let snapshot = surface.handle.published().workers.load_full();
    let policy = metrics_word(&query.policy);
    match surface.picks.pick(surface.host.now(), &snapshot, &query) {
        Ok(picked) => {
            surface.meters.pick(&policy, "ok");
            surface.meters.picked(&snapshot, &picked.id);
            let answer = json!({"id": picked.id, "url": picked.url, "ticket": picked.ticket});
            Ok(Answer::json(answer).about(picked.id))
        }
        Err(refusal) => {
            surface.meters.pick(&policy, &metrics_word(&refusal.reason));
            Err(no_worker(surface, refusal))
        }
    }
}

fn query_of(fields: &mut Fields) -> Query {
    let short =
        |max: usize| move |value: &Value| strict::string(value).filter(|text| text.len() <= max);
    let model = fields.required("model", "a model's name", short(MODEL_BYTES_MAX));
    let kind = fields.optional("kind", "regular, prefill, decode or encode", |value| {
        known_kind(value.as_str()?)
    });
    let labels = fields.optional("labels", "an object of strings", strict::pairs);
    let key = fields.optional("key", "a string of at most 256 bytes", short(KEY_BYTES_MAX));
    let policy = fields.optional("policy", POLICIES, |value| policy_named(value.as_str()?));
    let exclude = fields.optional("exclude", "a list of at most 8 ids", |value| {
        strict::strings(value).filter(|ids| ids.len() <= EXCLUDE_MAX)
    });
    Query {
        model: model.unwrap_or_default(),
        kind: kind.unwrap_or(Kind::Regular),
        labels: labels.unwrap_or_default(),
        key,
        policy: policy.unwrap_or_default(),
        exclude: exclude.unwrap_or_default().iter().map(|id| id.as_str().into()).collect(),
    }
}

const POLICIES: &str = "round_robin, weighted, least_load, power_of_two or consistent_hash";

fn policy_named(name: &str) -> Option<PickPolicy> {
    serde_json::from_value(json!(name)).ok()
}

fn known_kind(name: &str) -> Option<Kind> {
    match Kind::from(name) {
        Kind::Unknown(_) => None,
        known @ (Kind::Regular | Kind::Prefill | Kind::Decode | Kind::Encode) => Some(known),
    }
}

fn no_worker(surface: &Surface, refusal: NoWorker) -> Problem {
    let detail = match refusal.reason {
        Reason::UnknownModel => "no worker serves this model",
        Reason::NoneReady => "no worker that serves this model is ready",
        Reason::AllDraining => "all workers that serve this model are draining",
        Reason::AllFull => "all workers that serve this model have as many requests as they take",
        Reason::NoLabelMatch => "no ready worker that serves this model has these labels",
    };
    Problem::new(Code::NoWorker, detail)
        .with("reason", metrics_word(&refusal.reason))
        .retry_after(refusal.retry_after(surface.host.now()))
}

async fn report(mut call: Call) -> Outcome {
    let mut fields = call.fields()?;
    let ticket = fields.required("ticket", "the ticket of a pick", strict::string);
    let expected = "ok, connect_error, timeout or status";
    let outcome = fields.required("outcome", expected, |value| reported_named(value.as_str()?));
    let status = fields.optional("status", "an HTTP status", |value| {
        value.as_u64().filter(|status| (100..=599).contains(status))
    });
    if outcome == Some(Reported::Status) && status.is_none() {
        fields.fault("status", "missing", "`status` is needed with this outcome");
    }
    let in_flight = fields.optional("in_flight", "a number up to 65535", |value| {
        value.as_u64().and_then(|count| u16::try_from(count).ok())
    });
    fields.finish().map_err(Problem::faults)?;
    call.query.finish()?;
    let surface = call.surface.clone();
    let entry = {
        let snapshot = surface.handle.published().workers.load();
        let found = snapshot.by_id(call.parameter("id")).cloned();
        found.ok_or_else(|| not_found("this worker"))?
    };
    if !surface.picks.settle(&ticket.unwrap_or_default(), entry.number) {
        let detail = "the ticket is none of this worker's, was reported, or is too old; pick anew";
        return Err(Problem::new(Code::UnknownTicket, detail));
    }
    if let Some(count) = in_flight {
        surface.picks.reported(surface.host.now(), entry.number, u32::from(count));
    }
    let outcome = ended(outcome.unwrap_or(Reported::Ok), status);
    let command = Command::Report { target: Target::Id(entry.id.to_string()), outcome };
    match ask(&surface, command).await? {
        Done::Refused(refusal) => Err(super::refused(&surface, &refusal)),
        Done::Created(_) | Done::Entry(_) | Done::Noted | Done::Removing { .. } => {
            Ok(Answer::nothing().about(entry.id.to_string()))
        }
    }
}

/// How a caller says that a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reported {
    Ok,
    ConnectError,
    Timeout,
    Status,
}

fn reported_named(name: &str) -> Option<Reported> {
    Some(match name {
        "ok" => Reported::Ok,
        "connect_error" => Reported::ConnectError,
        "timeout" => Reported::Timeout,
        "status" => Reported::Status,
        _ => return None,
    })
}

fn ended(reported: Reported, status: Option<u64>) -> Ended {
    match (reported, status) {
        (Reported::ConnectError | Reported::Timeout, _) => Ended::Bad,
        (Reported::Status, Some(500..)) => Ended::Bad,
        (Reported::Status | Reported::Ok, _) => Ended::Good,
    }
}

fn explain(mut call: Call) -> Outcome {
    let one = |call: &mut Call, name| call.query.one(name);
    let invalid = |detail| Problem::new(Code::InvalidRequest, detail);
    let model = one(&mut call, "model")?.ok_or_else(|| invalid("`model` is needed"))?;
    let kind = one(&mut call, "kind")?.unwrap_or_else(|| "regular".to_owned());
    let kind = known_kind(&kind).ok_or_else(|| invalid("`kind` is not known"))?;
    let policy = one(&mut call, "policy")?.map(|name| policy_named(&name).ok_or(invalid(POLICIES)));
    let policy = policy.transpose()?.unwrap_or_default();
    let key = one(&mut call, "key")?;
    let labels = call.query.all("label");
    call.query.finish()?;
    let pairs = labels.iter().map(|pair| pair.split_once('=').map(|(k, v)| (k.into(), v.into())));
    let labels = pairs.collect::<Option<_>>().ok_or(invalid("`label` is `key=value`"))?;
    let query = Query { model, kind, labels, key, policy, exclude: Vec::new() };
    let surface = &call.surface;
    let snapshot = surface.handle.published().workers.load_full();
    Ok(Answer::json(explanation(surface, &snapshot, &query)))
}

fn explanation(surface: &Surface, snapshot: &Snapshot, query: &Query) -> Value {
    let now = surface.host.now();
    let (explained, reason) = surface.picks.explain(now, snapshot, query);
    let items = explained.iter().map(|row| {
        let number = snapshot.entries.get(&row.url).map(|entry| entry.number);
        let load = number.map_or(0, |number| surface.picks.load_of(now, number));
        json!({
            "id": row.id,
            "url": row.url,
            "picked": row.picked,
            "skipped": row.skipped,
            "load": load,
        })
    });
    json!({
        "model": query.model,
        "kind": query.kind,
        "policy": query.policy,
        "no_worker": reason,
        "items": items.collect::<Vec<Value>>(),
    })
}

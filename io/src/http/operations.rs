//! Operator views and verbs below `/v0/operations`. Each answer comes from one snapshot.

use std::time::Duration;

use quorate_core::node::Request;
use quorate_core::wire::segment::Topic;
use serde_json::{Value, json};

use super::cluster::ask;
use super::members::{fact, labels_of, row};
use super::problem::{Code, Problem};
use super::route::{Answer, Call, Needs, Outcome, Route, Takes, Verb, merged};
use super::{ReloadError, Surface, pools, strict, workers};
use crate::access::Scope;
use crate::audit;
use crate::clock;
use crate::health::StoreState;
use crate::record::TraceError;

pub(super) fn routes() -> Vec<Route> {
    let admin = Needs::Scope(Scope::Admin);
    let operate = Scope::Operate;
    vec![
        Route::get("/v0/operations/node", |call| Box::pin(async move { node(call) })),
        Route::get("/v0/operations/gossip", |call| Box::pin(async move { gossip(call) })),
        Route::get("/v0/operations/links", |call| Box::pin(async move { links(call) })),
        Route::get("/v0/operations/replicas", |call| Box::pin(async move { replicas(call) })),
        Route::get("/v0/operations/keyring", |call| Box::pin(async move { keyring(call) })),
        Route::get("/v0/operations/dump", |call| Box::pin(async move { dump(call) })).needs(admin),
        Route::get("/v0/operations/audit", |call| Box::pin(audit_lines(call)))
            .needs(admin)
            .statuses(&[200, 404]),
        Route::change(Verb::Post, "/v0/operations/reload", operate, "node.reload", |call| {
            Box::pin(reload(call))
        }),
        Route::change(Verb::Post, "/v0/operations/drain", operate, "node.drain", |call| {
            Box::pin(drain(call, true))
        }),
        Route::change(Verb::Post, "/v0/operations/undrain", operate, "node.undrain", |call| {
            Box::pin(drain(call, false))
        }),
        Route::change(Verb::Put, "/v0/operations/log", operate, "node.log", |call| {
            Box::pin(async move { set_log(call) })
        })
        .takes(Takes::Body),
        Route::change(Verb::Post, "/v0/operations/trace", operate, "node.trace", |call| {
            Box::pin(trace(call))
        })
        .statuses(&[200, 404])
        .takes(Takes::Body),
    ]
}

/// What every view carries besides its subject.
pub(super) fn view(surface: &Surface, subject: Value) -> Value {
    let head = json!({"generated_at": surface.wall_now(), "node_id": surface.node_id()});
    merged(head, subject)
}

fn node(call: Call) -> Outcome {
    call.query.finish()?;
    Ok(Answer::json(view(&call.surface, node_document(&call.surface))))
}

fn node_document(surface: &Surface) -> Value {
    let members = surface.handle.published().members.load();
    let own = members.rows.get(&members.local.node);
    json!({
        "instance_id": members.local.to_string(),
        "incarnation": members.local.incarnation,
        "cluster_id": surface.settings.cluster,
        "version": surface.settings.version,
        "started_at": clock::rfc3339(surface.settings.started_at),
        "labels": own.map(|own| labels_of(own)).unwrap_or_default(),
        "addresses": own.and_then(|own| fact(own, "addresses")),
        "backend": {
            "kind": match &*surface.vitals.store_state() {
                StoreState::Absent => "none",
                StoreState::Well { .. } | StoreState::Refusing { .. } | StoreState::Fatal { .. } => "embedded",
            },
        },
        "draining": members.draining,
        "leaving": members.leaving,
    })
}

fn gossip(call: Call) -> Outcome {
    call.query.finish()?;
    Ok(Answer::json(view(&call.surface, gossip_document(&call.surface))))
}

fn gossip_document(surface: &Surface) -> Value {
    let gossip = surface.handle.published().gossip.load();
    let now = surface.host.now();
    let peers: Vec<Value> = gossip
        .peers
        .iter()
        .map(|peer| {
            let age = peer.last_digest.map(|at| quorate_core::time::millis(now.since(at)));
            json!({"id": peer.id, "behind": peer.behind, "last_digest_ms": age})
        })
        .collect();
    json!({"topics": gossip.topics, "peers": peers})
}

fn links(call: Call) -> Outcome {
    call.query.finish()?;
    let links = surface_links(&call.surface);
    Ok(Answer::json(view(&call.surface, links)))
}

fn surface_links(surface: &Surface) -> Value {
    json!({"links": surface.handle.published().links.load().links})
}

fn replicas(mut call: Call) -> Outcome {
    let topic = call.query.one("topic")?;
    call.query.finish()?;
    if let Some(topic) = &topic
        && !Topic::ALL.iter().any(|one| one.name() == topic)
    {
        let names = Topic::ALL.map(Topic::name).join(", ");
        return Err(Problem::new(Code::InvalidRequest, format!("`topic` is one of {names}")));
    }
    let maps = replicas_document(&call.surface, topic.as_deref());
    Ok(Answer::json(view(&call.surface, json!({"maps": maps}))))
}

fn replicas_document(surface: &Surface, topic: Option<&str>) -> Vec<Value> {
    let maps = surface.handle.published().replicas.load();
    let wanted = maps.iter().filter(|map| topic.is_none_or(|topic| map.topic.name() == topic));
    let shown = wanted.map(|map| {
        json!({
            "topic": map.topic.name(),
            "node": map.replica.node,
            "incarnation": map.replica.incarnation,
            "state": if map.orphaned { "orphaned" } else { "live" },
            "live": map.live,
            "tombstones": map.tombstones,
            "complete": map.progress.complete,
            "head": map.progress.head,
            "floor": map.progress.floor,
        })
    });
    shown.collect()
}

fn keyring(call: Call) -> Outcome {
    call.query.finish()?;
    let keys = call.surface.host.key_ids();
    Ok(Answer::json(view(&call.surface, json!({"keys": keys}))))
}

fn dump(call: Call) -> Outcome {
    call.query.finish()?;
    Ok(Answer::json(dump_document(&call.surface)))
}

/// What it shows of all but credentials and the agreed log at once, without secrets; also what a state dump by signal writes.
pub(super) fn dump_document(surface: &Surface) -> Value {
    let published = surface.handle.published();
    let members = published.members.load_full();
    let rows: Vec<Value> = members.rows.values().map(|member| row(surface, member)).collect();
    let counts: serde_json::Map<String, Value> =
        published.counts.load().iter().map(|count| (series(count), json!(count.value))).collect();
    let dump = json!({
        "node": node_document(surface),
        "members": {"version": members.version, "score": members.score, "items": rows},
        "workers": workers::all(surface),
        "pools": pools::all(surface),
        "gossip": gossip_document(surface),
        "links": surface.handle.published().links.load().links,
        "replicas": replicas_document(surface, None),
        "health": surface
            .health
            .findings(published, surface.host.now())
            .iter()
            .map(|finding| json!({"check": finding.name, "passed": finding.passed, "detail": finding.detail}))
            .collect::<Vec<Value>>(),
        "counts": counts,
        "audit": surface.audit.as_ref().map(|audit| json!(*audit.head())),
    });
    view(surface, dump)
}

fn series(count: &quorate_core::machine::Count) -> String {
    use quorate_core::machine::Labels;
    let pair = |key: &str, value: &str| format!("{key}=\"{value}\"");
    let labels = match count.labels {
        Labels::None => return count.name.to_owned(),
        Labels::One(key, value) => pair(key, value),
        Labels::Two(key, value, other, another) => {
            format!("{},{}", pair(key, value), pair(other, another))
        }
        Labels::Three(pairs) => pairs.map(|(key, value)| pair(key, value)).join(","),
    };
    format!("{}{{{labels}}}", count.name)
}

async fn audit_lines(mut call: Call) -> Outcome {
    let after = call.query.number("after", 0..=u64::MAX - 1)?.unwrap_or(0);
    let limit = call.query.number("limit", 1..=1000)?.unwrap_or(100);
    call.query.finish()?;
    let Some(audit) = call.surface.audit.clone() else {
        let detail = "this node keeps no audit log: it has no data directory";
        return Err(Problem::new(Code::NotFound, detail));
    };
    let directory = audit.directory().to_owned();
    let limit = usize::try_from(limit).expect("a thousand is a length");
    // The head first: a line that comes meanwhile is then not missing from below it.
    let head = audit.head();
    let read =
        tokio::task::spawn_blocking(move || audit::read_after(&directory, after, limit)).await;
    let lines = read
        .ok()
        .and_then(Result::ok)
        .ok_or_else(|| Problem::new(Code::AuditUnavailable, "the audit log cannot be read"))?;
    let items: Vec<Value> =
        lines.iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
    Ok(Answer::json(view(&call.surface, json!({"items": items, "head": *head}))))
}

async fn reload(call: Call) -> Outcome {
    call.query.finish()?;
    let restart = call.surface.host.reload().await.map_err(|error| match error {
        ReloadError::Invalid(why) => {
            let detail = format!("the last good configuration stays: {why}");
            Problem::new(Code::ConfigInvalid, detail)
        }
        ReloadError::Busy => {
            Problem::new(Code::Conflict, "the process reloads already, or is about to end")
        }
    })?;
    let node = call.surface.node_id();
    Ok(Answer::json(json!({"reloaded": true, "needs_restart": restart})).about(node))
}

async fn drain(call: Call, on: bool) -> Outcome {
    call.query.finish()?;
    ask(&call.surface, Request::Drain { on }).await?;
    let node = call.surface.node_id();
    Ok(Answer::json(json!({"draining": on})).about(node))
}

fn set_log(mut call: Call) -> Outcome {
    let mut fields = call.fields()?;
    let filter = fields.required("filter", "a filter such as `info,quorate=debug`", |value| {
        strict::string(value).filter(|filter| (1..=FILTER_BYTES_MAX).contains(&filter.len()))
    });
    let seconds = fields.required("seconds", "a number from 1 to 3600", |value| {
        value.as_u64().filter(|seconds| (1..=3600).contains(seconds))
    });
    fields.finish().map_err(Problem::faults)?;
    call.query.finish()?;
    let (filter, seconds) = (filter.unwrap_or_default(), seconds.unwrap_or(1));
    let set = call.surface.host.set_log(&filter, Duration::from_secs(seconds));
    set.map_err(|why| Problem::new(Code::InvalidRequest, why))?;
    Ok(Answer::json(json!({"filter": filter, "seconds": seconds})).about(filter))
}

/// Begins a recording to look at. What it holds stays on this machine: the answer names its file.
async fn trace(mut call: Call) -> Outcome {
    let mut fields = call.fields()?;
    let seconds = fields.required("seconds", "a number from 1 to 600", |value| {
        value.as_u64().filter(|seconds| (1..=600).contains(seconds))
    });
    fields.finish().map_err(Problem::faults)?;
    call.query.finish()?;
    let lasts = Duration::from_secs(seconds.unwrap_or(1));
    let host = call.surface.host.clone();
    let begun = tokio::task::spawn_blocking(move || host.trace(lasts)).await;
    let begun = begun.unwrap_or_else(|error| Err(TraceError::Failed(error.to_string())));
    let path = begun.map_err(|error| {
        let code = match &error {
            TraceError::Busy => Code::Conflict,
            TraceError::Absent => Code::NotFound,
            TraceError::Failed(_) => Code::StoreUnavailable,
        };
        Problem::new(code, error.to_string())
    })?;
    let path = path.display().to_string();
    Ok(Answer::json(json!({"path": path, "seconds": lasts.as_secs()})).about(path))
}

/// Bytes of a log filter.
const FILTER_BYTES_MAX: usize = 1024;

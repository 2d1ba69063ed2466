//! Pools as they are shown, and the operator views of cooldowns, providers and balancing.
//!
//! Cooldown is the surface's word for what pools call a rest.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use quorate_core::ids::CredentialHandle;
use quorate_core::node::pools::view::{LaneView, MemberView, RestView, Skipped, State};
use quorate_core::node::pools::{
    Answer as Done, Command, Definition, Name, Pool, Query, Snapshot, Why, pick,
};
use quorate_core::time::UnixTime;
use serde_json::{Value, json};

use super::super::Surface;
use super::super::operations::view;
use super::super::problem::{Code, Problem};
use super::super::route::{Answer, Call, Outcome, Route, Takes, Verb, digest};
use super::super::strict;
use super::{ask, reason_of, snapshot};
use crate::access::Scope;
use crate::clock;

pub(super) fn routes() -> [Route; 6] {
    let change = |path, verb, handler| {
        Route::change(Verb::Post, path, Scope::Operate, verb, handler)
            .takes(Takes::Body)
            .statuses(&[200, 404])
    };
    [
        Route::get("/v0/operations/cooldowns", |call| Box::pin(async move { cooldowns(call) })),
        Route::get("/v0/operations/providers/status", |call| Box::pin(async move { status(call) })),
        Route::get("/v0/operations/load_balancing/status", |call| {
            Box::pin(async move { balancing(call) })
        }),
        change("/v0/operations/cooldowns/clear", "cooldown.clear", |call| Box::pin(clear(call))),
        change("/v0/operations/providers/{provider}/cooldown", "provider.cool", |call| {
            Box::pin(cool(call))
        }),
        change("/v0/operations/providers/{provider}/recover", "provider.recover", |call| {
            Box::pin(recover(call))
        }),
    ]
}

/// A moment as it is shown.
fn at(unix: u64) -> String {
    clock::rfc3339(UnixTime(unix))
}

/// Every pool, for a dump.
pub(in crate::http) fn all(surface: &Surface) -> Vec<Value> {
    snapshot(surface).pools.values().map(|pool| document(pool)).collect()
}

/// How many pools can serve, and how many there are.
pub(crate) fn totals(snapshot: &Snapshot) -> (usize, usize) {
    let serves = |pool: &&Arc<Pool>| pool.views.first().is_some_and(|lane| lane.servable > 0);
    (snapshot.pools.values().filter(serves).count(), snapshot.pools.len())
}

/// Every provider that some member of a pool is of.
pub(in crate::http) fn providers(surface: &Surface) -> Vec<String> {
    by_provider(surface).into_keys().collect()
}

/// One line of the list.
pub(super) fn summary(pool: &Pool) -> Value {
    let count = |state: State| pool.rows.iter().filter(|row| row.state == state).count();
    let lane = pool.views.first();
    json!({
        "name": pool.name,
        "strategy": pool.definition.strategy,
        "members": pool.rows.len(),
        "ready": count(State::Active) + count(State::Ready) + count(State::Ramping),
        "cooling": count(State::Cooling) + count(State::HalfOpen),
        "parked": count(State::Parked),
        "disabled": count(State::Disabled),
        "active": lane.and_then(|lane| lane.active),
        "exhausted_since": lane.and_then(|lane| lane.exhausted_since).map(at),
        "next_recovery_at": lane.and_then(|lane| lane.retry_at).map(at),
    })
}

/// The whole pool.
pub(super) fn document(pool: &Pool) -> Value {
    let mut document = summary(pool);
    let members = pool.rows.iter().filter_map(|row| member(pool, row.handle));
    let more = json!({
        "from_document": pool.from_document,
        "degrade": pool.definition.degrade,
        "auth_reset_target": pool.definition.auth_reset_target,
        "profile": pool.definition.profile,
        "early_probe_ms": pool.definition.early_probe_ms,
        "upstream": pool.definition.upstream,
        "notify": pool.definition.notify,
        "probe_request": pool.definition.probe_request,
        "members": members.collect::<Vec<Value>>(),
        "lanes": pool.views.iter().map(lane).collect::<Vec<Value>>(),
    });
    if let (Some(document), Value::Object(more)) = (document.as_object_mut(), more) {
        document.extend(more);
    }
    document
}

/// The entity tag of a pool: of what it is, and not of how it does.
pub(super) fn tag(definition: &Definition) -> String {
    let definition = serde_json::to_value(definition).expect("a definition is JSON");
    short(&digest(&definition))
}

/// As much of a digest as tells one from another.
pub(super) fn short(digest: &str) -> String {
    digest.get(..16).unwrap_or(digest).to_owned()
}

/// One member of it.
pub(super) fn member(pool: &Pool, handle: CredentialHandle) -> Option<Value> {
    let row = pool.rows.iter().find(|row| row.handle == handle)?;
    let shown = pool.members.iter().find(|member| member.handle == handle)?;
    let credential = shown.credential.as_ref();
    Some(json!({
        "handle": row.handle,
        "credential": credential.map(|one| one.id.to_string()),
        "provider": credential.map(|one| one.provider.to_string()),
        "epoch": row.epoch,
        "state": row.state,
        "weight": shown.weight,
        "priority": credential.map_or(0, |one| one.priority),
        "in_flight": shown.load.count(),
        "parked_until": row.parked_until.map(at),
        "next_probe": row.next_probe.map(at),
        "rests": row.rests.iter().map(rest).collect::<Vec<Value>>(),
    }))
}

fn rest(rest: &RestView) -> Value {
    json!({
        "target": rest.target,
        "scope": rest.scope,
        "class": rest.class,
        "source": rest.source,
        "half_open": rest.half_open,
        "rest_until": at(rest.rest_until),
        "stated_reset": rest.stated_reset.map(at),
        "since": at(rest.since),
        "failures": rest.n,
        "evidence": rest.evidence,
        "seen_by": rest.seen_by,
    })
}

fn lane(lane: &LaneView) -> Value {
    json!({
        "model": if lane.model.is_empty() { "*" } else { &*lane.model },
        "active": lane.active,
        "active_since": (lane.active_since > 0).then(|| at(lane.active_since)),
        "exhausted_since": lane.exhausted_since.map(at),
        "servable": lane.servable,
        "retry_at": lane.retry_at.map(at),
    })
}

/// Who would be picked and why, and why each other would not. Nothing is sent, no slot is spent.
pub(super) fn explained(surface: &Surface, pool: &Pool, model: Option<&str>) -> Value {
    let query = Query { model, ticket: 0, tried: &[], no_probe: false };
    let picked = pick(pool, &query);
    let own = model.and_then(|model| pool.views.iter().find(|lane| &*lane.model == model));
    let lane = own.or(pool.views.first());
    let why = |handle: CredentialHandle| match lane {
        Some(lane) if lane.active == Some(handle) => match lane.instead_of {
            Some((from, class)) => {
                let class = class.map_or("operator", |class| class.name());
                format!("failover from {from} ({class})")
            }
            None if lane.active_since > 0 => format!("active since {}", at(lane.active_since)),
            None => "active from the start".to_owned(),
        },
        _ => format!("by {}", pool.definition.strategy.word()),
    };
    let members = lane.into_iter().flat_map(|lane| &lane.members).map(|(handle, skipped)| {
        let mut shown = member(pool, *handle).unwrap_or_default();
        if let Some(fields) = shown.as_object_mut() {
            let off = || off_because(surface, pool, *handle);
            let because = skipped.map(|skipped| skipped_because(skipped, off));
            fields.insert("skipped".to_owned(), json!(because));
        }
        shown
    });
    let members: Vec<Value> = members.collect();
    let (answer, refusal) = match &picked {
        Ok(picked) => {
            let handle = picked.member.handle;
            (json!({"handle": handle, "why": why(handle), "probe": picked.probe}), Value::Null)
        }
        Err(refused) => {
            let word = match refused.why {
                Why::Tried => "tried",
                Why::Ramping => "ramping",
                Why::Exhausted => "pool_exhausted",
                Why::Unavailable => "pool_unavailable",
            };
            let wait = refused.retry_after_ms(surface.host.now());
            (Value::Null, json!({"reason": word, "retry_after_ms": wait}))
        }
    };
    json!({
        "pool": pool.name,
        "lane": lane.map(|lane| if lane.model.is_empty() { "*" } else { &*lane.model }),
        "picked": answer,
        "refused": refusal,
        "members": members,
    })
}

/// Why a member is not to be used at all: nobody knows it, it has no key, or it was switched off.
fn off_because(surface: &Surface, pool: &Pool, handle: CredentialHandle) -> &'static str {
    let member = pool.members.iter().find(|member| member.handle == handle);
    if member.is_none_or(|member| member.credential.is_none()) {
        return "unknown";
    }
    let known = surface.handle.published().credentials.load();
    let head = known.heads.values().find(|head| head.handle == handle);
    match head.and_then(|head| head.record.as_ref()) {
        Some(record) if !record.disabled && !record.has_secret => "no_key",
        Some(_) | None => "disabled",
    }
}

fn skipped_because(skipped: Skipped, off: impl FnOnce() -> &'static str) -> Value {
    match skipped {
        Skipped::Disabled => json!({"reason": off()}),
        Skipped::Cooling { until, class } => {
            json!({"reason": "cooling", "class": class, "until": at(until)})
        }
        Skipped::HalfOpen { due, class } => {
            json!({"reason": "half_open", "class": class, "next_probe": at(due)})
        }
        Skipped::Parked { until } => json!({"reason": "parked", "until": at(until)}),
    }
}

/// Every member of every pool, with its provider.
fn members(surface: &Surface) -> Vec<(String, String, Arc<MemberView>)> {
    let snapshot = snapshot(surface);
    let rows = snapshot.pools.values().flat_map(|pool| {
        pool.rows.iter().zip(pool.members.iter()).map(|(row, member)| {
            let provider = member.credential.as_ref().map(|one| one.provider.to_string());
            (pool.name.to_string(), provider.unwrap_or_else(|| "unknown".to_owned()), row.clone())
        })
    });
    rows.collect()
}

fn by_provider(surface: &Surface) -> BTreeMap<String, Vec<Arc<MemberView>>> {
    let mut providers: BTreeMap<String, Vec<Arc<MemberView>>> = BTreeMap::new();
    for (_, provider, row) in members(surface) {
        providers.entry(provider).or_default().push(row);
    }
    providers
}

fn cooling(row: &MemberView) -> bool {
    matches!(row.state, State::Cooling | State::HalfOpen)
}

fn cooldowns(mut call: Call) -> Outcome {
    let page = call.query.page()?;
    call.query.finish()?;
    let surface = &call.surface;
    let now = surface.host.wall().0;
    let (mut in_cooldown, mut periods) = (Vec::new(), serde_json::Map::new());
    for (provider, rows) in by_provider(surface) {
        if !rows.iter().all(|row| cooling(row)) {
            continue;
        }
        let rests = || rows.iter().flat_map(|row| &row.rests);
        let ends = rests().max_by_key(|rest| rest.rest_until);
        if let Some(longest) = ends {
            let started = rests().map(|rest| rest.since).min().unwrap_or_default();
            let period = json!({
                "started_at": at(started),
                "ends_at": at(longest.rest_until),
                "remaining_seconds": longest.rest_until.saturating_sub(now).div_ceil(1000),
                "reason": longest.class,
            });
            periods.insert(provider.clone(), period);
        }
        in_cooldown.push(provider);
    }
    let items = members(surface).into_iter().flat_map(|(pool, provider, row)| {
        let items = row.rests.iter().map(|rest| {
            let model = rest.scope.strip_prefix("m:");
            let item = json!({
                "credential": row.handle,
                "provider": provider,
                "pool": pool,
                "scope": rest.scope,
                "model": model,
                "class": rest.class,
                "source": rest.source,
                "started_at": at(rest.since),
                "deadline": at(rest.rest_until),
                "remaining_ms": rest.rest_until.saturating_sub(now),
                "next_probe_at": row.next_probe.map(at),
                "seen_by": rest.seen_by,
            });
            (format!("{}/{}", row.handle, rest.target), item)
        });
        items.collect::<Vec<_>>()
    });
    let mut items: Vec<(String, Value)> = items.collect();
    items.sort_by(|left, right| left.0.cmp(&right.0));
    let mut document = page.cut(items.into_iter());
    if let Some(fields) = document.as_object_mut() {
        fields.insert("providers_in_cooldown".to_owned(), json!(in_cooldown));
        fields.insert("cooldown_periods".to_owned(), Value::Object(periods));
    }
    Ok(Answer::json(view(surface, document)))
}

fn status(call: Call) -> Outcome {
    call.query.finish()?;
    let surface = &call.surface;
    let mut shown = serde_json::Map::new();
    for (provider, rows) in by_provider(&call.surface) {
        let count = |state: State| rows.iter().filter(|row| row.state == state).count();
        let ready = count(State::Active) + count(State::Ready) + count(State::Ramping);
        let resting = rows.iter().filter(|row| cooling(row)).count();
        let usable = ready + count(State::Parked);
        let last = surface.figures.sums(surface.host.now(), &provider, 1);
        let failing = last.requests > 0 && last.failures * 2 >= last.requests;
        let status = match (rows.len(), usable, resting) {
            (0, _, _) => "unknown",
            (_, 0, _) => "unavailable",
            (_, _, 0) if !failing => "healthy",
            _ => "degraded",
        };
        let uptime = surface.figures.uptime_percent(&provider);
        let next = rows.iter().filter(|row| cooling(row)).filter_map(|row| row.next_probe).min();
        shown.insert(
            provider,
            json!({
                "status": status,
                "in_cooldown": resting > 0 && resting == rows.len(),
                "last_check": surface.wall_now(),
                "uptime_percent": uptime,
                "requests_last_minute": last.requests,
                "errors_last_minute": last.failures,
                "average_latency_ms": last.mean(),
                "credentials": {
                    "total": rows.len(),
                    "ready": ready,
                    "cooling": resting,
                    "parked": count(State::Parked),
                    "disabled": count(State::Disabled),
                },
                "next_recovery_at": next.map(at),
            }),
        );
    }
    Ok(Answer::json(view(surface, json!({"providers": shown}))))
}

fn balancing(call: Call) -> Outcome {
    call.query.finish()?;
    let surface = &call.surface;
    let mut shown = serde_json::Map::new();
    for (provider, rows) in by_provider(surface) {
        let count = |state: State| rows.iter().filter(|row| row.state == state).count();
        let next = rows.iter().filter(|row| cooling(row)).filter_map(|row| row.next_probe).min();
        shown.insert(
            provider,
            json!({
                "eligible": count(State::Active) + count(State::Ready) + count(State::Ramping),
                "cooling": rows.iter().filter(|row| cooling(row)).count(),
                "parked": count(State::Parked),
                "disabled": count(State::Disabled),
                "next_recover_at": next.map(at),
            }),
        );
    }
    let snapshot = snapshot(surface);
    let pools = snapshot.pools.values().map(|pool| {
        let lane = pool.views.first();
        let active = lane.and_then(|lane| lane.active);
        let reason = lane.and_then(|lane| lane.instead_of).map(|(from, class)| {
            format!("failover from {from} ({})", class.map_or("operator", |class| class.name()))
        });
        let since = lane.map(|lane| lane.active_since).filter(|since| *since > 0);
        let row = json!({
            "strategy": pool.definition.strategy,
            "active": active,
            "since": since.map(at),
            "reason": reason,
        });
        (pool.name.to_string(), row)
    });
    let pools: serde_json::Map<String, Value> = pools.collect();
    Ok(Answer::json(view(surface, json!({"providers": shown, "pools": pools}))))
}

async fn clear(mut call: Call) -> Outcome {
    let mut fields = call.fields()?;
    let credential = fields.required("credential", "a credential's handle or id", strict::string);
    let model = fields.optional("model", "a model's name", strict::string);
    let reason = fields.required("reason", "a text of 1 to 256 bytes", reason_of);
    fields.finish().map_err(Problem::faults)?;
    call.query.finish()?;
    let (pool, member) = pooled(&call.surface, &credential.unwrap_or_default())?;
    let (model, reason) = (model.map(Into::into), reason.unwrap_or_default());
    let command = Command::Clear { pool, member, model, reason };
    changed(&call, command, member.to_string()).await
}

/// Where a credential is, by its handle or its id.
fn pooled(surface: &Surface, credential: &str) -> Result<(Name, CredentialHandle), Problem> {
    let handle: Option<CredentialHandle> = credential.parse().ok();
    for pool in snapshot(surface).pools.values() {
        let named = pool.members.iter().find(|member| {
            let head = member.credential.as_ref();
            Some(member.handle) == handle || head.is_some_and(|head| *head.id == *credential)
        });
        if let Some(member) = named {
            return Ok((pool.name.clone(), member.handle));
        }
    }
    Err(Problem::new(Code::NotFound, "no pool has this credential"))
}

async fn cool(mut call: Call) -> Outcome {
    let mut fields = call.fields()?;
    let seconds = fields.required("duration_seconds", "a number, 1 to 86400", |value| {
        value.as_u64().filter(|seconds| (1..=86_400).contains(seconds))
    });
    let reason = fields.required("reason", "a text of 1 to 256 bytes", reason_of);
    fields.finish().map_err(Problem::faults)?;
    call.query.finish()?;
    let provider = call.parameter("provider").to_owned();
    let (span, reason) = (Duration::from_secs(seconds.unwrap_or(1)), reason.unwrap_or_default());
    let command = Command::CoolProvider { provider: provider.clone(), span, reason };
    changed(&call, command, provider).await
}

async fn recover(mut call: Call) -> Outcome {
    let mut fields = call.fields()?;
    let reason = fields.required("reason", "a text of 1 to 256 bytes", reason_of);
    fields.finish().map_err(Problem::faults)?;
    call.query.finish()?;
    let provider = call.parameter("provider").to_owned();
    let reason = reason.unwrap_or_default();
    let command = Command::RecoverProvider { provider: provider.clone(), reason };
    changed(&call, command, provider).await
}

async fn changed(call: &Call, command: Command, object: String) -> Outcome {
    match ask(&call.surface, command).await? {
        Done::Changed { targets } => {
            let after = json!({"changed": targets});
            let answer = Answer::json(view(&call.surface, after.clone()));
            Ok(answer.about(object).changed(None, Some(&after)))
        }
        done @ (Done::Done
        | Done::Reported { .. }
        | Done::Judged { .. }
        | Done::Leased { .. }
        | Done::Rotated { .. }
        | Done::Refused(_)) => {
            unreachable!("a change of rests is answered as one, not by {done:?}")
        }
    }
}

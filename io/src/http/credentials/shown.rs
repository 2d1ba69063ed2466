//! Credentials as readers see them: records, health, events.

use std::sync::Arc;

use quorate_core::limits;
use quorate_core::node::credentials::{Change, Event, Head, Key, Trouble};
use serde_json::{Value, json};

use super::super::Surface;
use super::super::problem::{Code, Problem};
use super::super::route::{Answer, Call, Outcome, merged, not_found};
use super::key_of;
use crate::clock;

/// What `?state=` may ask for.
const STATES: [&str; 3] = ["enabled", "disabled", "expired"];

/// The head of `key`, a deleted one too.
pub(super) fn head(surface: &Surface, key: &Key) -> Option<Arc<Head>> {
    surface.handle.published().credentials.load().heads.get(key).cloned()
}

pub(super) fn list(mut call: Call) -> Outcome {
    let page = call.query.page()?;
    let provider = call.query.one("provider")?;
    let state = call.query.one("state")?;
    call.query.finish()?;
    if state.as_deref().is_some_and(|state| !STATES.contains(&state)) {
        let detail = format!("`state` is one of {}", STATES.join(", "));
        return Err(Problem::new(Code::InvalidRequest, detail));
    }
    let surface = &call.surface;
    let known = surface.handle.published().credentials.load_full();
    let fits = |head: &&Arc<Head>| {
        let Some(record) = &head.record else { return false };
        provider.as_deref().is_none_or(|wanted| *record.provider == *wanted)
            && state.as_deref().is_none_or(|wanted| state_of(surface, head) == wanted)
    };
    let rows = known.live().filter(fits);
    let rows = rows.map(|head| (head.key.to_string(), row(surface, head)));
    let invalid: Vec<Value> = known
        .troubles
        .iter()
        .map(|(key, trouble)| merged(json!({"id": key.id()}), trouble_document(surface, trouble)))
        .collect();
    let breaker = known.breaker.as_ref().map(|(since, held)| {
        let held: Vec<&str> = held.iter().map(Key::id).collect();
        json!({"since": surface.wall_of(*since), "held": held})
    });
    let more = json!({
        "loaded": known.loaded,
        "invalid": invalid,
        "misnamed": known.misnamed,
        "left_out": known.left_out,
        "breaker": breaker,
        "failure": known.failure.as_deref(),
    });
    Ok(Answer::json(merged(page.cut(rows), more)))
}

pub(super) fn one(call: Call) -> Outcome {
    let key = key_of(&call)?;
    call.query.finish()?;
    let head = head(&call.surface, &key).filter(|head| !head.deleted && head.record.is_some());
    let head = head.ok_or_else(|| not_found("this credential"))?;
    Ok(Answer::json(row(&call.surface, &head)).tag(&head.revision.to_string()))
}

/// A credential without its secrets.
pub(super) fn row(surface: &Surface, head: &Head) -> Value {
    let body = surface.vault.body(head.handle);
    let known = surface.handle.published().credentials.load();
    let held = known.breaker.as_ref().is_some_and(|(_, held)| held.contains(&head.key));
    let trouble = known.troubles.get(&head.key);
    json!({
        "id": head.key.id(),
        "tenant": head.key.tenant(),
        "handle": head.handle,
        "provider": head.record.as_ref().map(|record| record.provider.clone()),
        "state": state_of(surface, head),
        "revision": head.revision,
        "updated_at": clock::rfc3339(head.updated_at),
        "expires_at": head
            .record
            .as_ref()
            .and_then(|record| record.expires_at)
            .map(clock::rfc3339),
        "has_secret": head.record.as_ref().is_some_and(|record| record.has_secret),
        "exposed": head.exposed,
        "missing": held,
        "invalid": trouble.map(|trouble| trouble_document(surface, trouble)),
        "fields": body.map(|body| body.shown().clone()),
    })
}

fn trouble_document(surface: &Surface, trouble: &Trouble) -> Value {
    json!({"since": surface.wall_of(trouble.since), "detail": &*trouble.what})
}

fn state_of(surface: &Surface, head: &Head) -> &'static str {
    let Some(record) = &head.record else { return "disabled" };
    let now = surface.host.wall();
    match record.expires_at {
        _ if record.disabled => "disabled",
        Some(at) if at <= now => "expired",
        Some(_) | None => "enabled",
    }
}

/// The part of `/health`.
pub(in crate::http) fn health(surface: &Surface, passed: bool) -> Value {
    let known = surface.handle.published().credentials.load();
    let bent = known.failure.is_some() || known.breaker.is_some() || known.drift > 0;
    let status = match (known.enabled, passed) {
        (false, _) => "disabled",
        (true, false) => "failed",
        (true, true) if bent => "degraded",
        (true, true) => "ok",
    };
    json!({
        "status": status,
        "in_use": known.live().count(),
        "drift": known.drift,
        "breaker": if known.breaker.is_some() { "open" } else { "closed" },
    })
}

/// The part of `/health` about what waits.
pub(in crate::http) fn queue_health(surface: &Surface) -> Value {
    let known = surface.handle.published().credentials.load();
    let status = match (known.enabled, known.rescan_owed) {
        (false, _) => "disabled",
        (true, true) => "degraded",
        (true, false) => "ok",
    };
    json!({"status": status, "depth": known.depth, "capacity": limits::AUTH_UPDATES_MAX})
}

/// The event that something about credentials is. It names handles, and nothing personal.
pub(in crate::http) fn event(event: &Event) -> Option<(&'static str, Value)> {
    let described = match event {
        Event::Changed { handle, provider, revision, change } => {
            let document = json!({"handle": handle, "provider": provider, "revision": revision});
            match change {
                Change::Added => ("credential.added", document),
                Change::Removed => ("credential.removed", document),
                Change::Updated | Change::Disabled | Change::Enabled => {
                    ("credential.changed", merged(document, json!({"change": change})))
                }
            }
        }
        Event::FileInvalid { handle, what } => {
            ("credential.file", json!({"handle": handle, "reason": "invalid", "what": what}))
        }
        Event::FileExposed { handle } => {
            let what = "others on the machine may read it";
            ("credential.file", json!({"handle": handle, "reason": "exposed", "what": what}))
        }
        Event::BreakerOpened { held } => {
            ("credentials.breaker", json!({"open": true, "held": held}))
        }
        Event::BreakerClosed => ("credentials.breaker", json!({"open": false, "held": 0})),
        Event::LimitReached { left_out } => ("credentials.limit", json!({"left_out": left_out})),
        Event::Store { failure } => ("credentials.store", json!({"failure": failure})),
        Event::Drained { .. } => return None, // Figures, shown by `/metrics`.
    };
    Some(described)
}

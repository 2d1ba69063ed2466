//! `/v1/workers`: what is known of workers, and the verbs of their owners.
//!
//! Reads come from the snapshot; every change is a command that the node decides. A body's `api_key` is
//! taken out here and handed to the process: it never reaches the node, a log or an answer.

mod routing;

use std::sync::Arc;
use std::time::Duration;

use axum::http::{StatusCode, header};
use quorate_core::ids::NodeId;
use quorate_core::limits::WORKER_KEY_BYTES_MAX;
use quorate_core::node::workers::url::Url;
use quorate_core::node::workers::{
    Answer as Done, Command, EntryView, Refusal, Snapshot, Spec, Status, Target,
};
use quorate_core::node::{Announcement, Reply, Request};
use quorate_core::time::UnixTime;
use serde_json::{Value, json};

use super::Surface;
use super::cluster::{WITHIN, unanswered};
use super::lists::IfMatch;
use super::members::fact;
use super::problem::{Code, Fault, Problem};
use super::route::{Answer, Call, Outcome, Route, Takes, Verb, not_found};
use super::stream::{self, Watched};
use crate::access::Scope;
use crate::clock;
use crate::handle::Heard;

pub(super) fn routes() -> Vec<Route> {
    let operate = Scope::Operate;
    let one = "/v1/workers/{id}";
    let mut routes = vec![
        Route::get("/v1/workers", |call| Box::pin(async move { list(call) })),
        Route::get(one, |call| Box::pin(async move { show(call) })).statuses(&[200, 404]),
        Route::get("/v1/workers/watch", |call| Box::pin(async move { watch(call) })),
        Route::change(Verb::Post, "/v1/workers", operate, "worker.add", |call| {
            Box::pin(register(call))
        })
        .takes(Takes::Body)
        .statuses(&[200, 201, 507]),
        Route::change(Verb::Put, one, operate, "worker.set", |call| Box::pin(replace(call)))
            .takes(Takes::Body)
            .statuses(CHANGED),
        Route::change(Verb::Patch, one, operate, "worker.patch", |call| Box::pin(patch(call)))
            .takes(Takes::Body)
            .statuses(CHANGED),
        Route::change(Verb::Delete, one, operate, "worker.remove", |call| Box::pin(remove(call)))
            .statuses(&[202, 404, 409, 412]),
    ];
    routes.extend(verbs());
    routes.extend(routing::routes());
    routes
}

const CHANGED: &[u16] = &[200, 404, 409, 412, 422, 428];

fn verbs() -> [Route; 5] {
    let verb = |path, name, handler| {
        Route::change(Verb::Post, path, Scope::Operate, name, handler).statuses(&[200, 404])
    };
    [
        verb("/v1/workers/{id}/drain", "worker.drain", |call| {
            Box::pin(order(call, Command::Drain))
        }),
        verb("/v1/workers/{id}/undrain", "worker.undrain", |call| {
            Box::pin(order(call, Command::Undrain))
        }),
        verb("/v1/workers/{id}/probe", "worker.probe", |call| {
            Box::pin(order(call, Command::ProbeNow))
        }),
        verb("/v1/workers/{id}/suppress", "worker.suppress", |call| {
            Box::pin(order(call, Command::Suppress))
        }),
        verb("/v1/workers/{id}/unsuppress", "worker.unsuppress", |call| {
            Box::pin(order(call, Command::Unsuppress))
        }),
    ]
}

/// Own workers that no probe has answered yet.
pub(crate) fn unprobed(snapshot: &Snapshot) -> usize {
    snapshot.unanswered
}

/// How many entries are Ready and not hidden, and how many there are.
pub(super) fn totals(snapshot: &Snapshot) -> (usize, usize) {
    let ready = |entry: &&Arc<EntryView>| entry.status == Status::Ready && entry.overlay.is_none();
    (snapshot.entries.values().filter(ready).count(), snapshot.entries.len())
}

/// Every entry, for a dump.
pub(super) fn all(surface: &Surface) -> Vec<Value> {
    let snapshot = surface.handle.published().workers.load_full();
    snapshot.entries.values().map(|entry| shown(surface, entry)).collect()
}

fn shown(surface: &Surface, entry: &EntryView) -> Value {
    json!(entry.shown(surface.host.now()))
}

fn list(mut call: Call) -> Outcome {
    let page = call.query.page()?;
    let model = call.query.one("model")?;
    let status = call.query.one("status")?.map(|text| status_named(&text)).transpose()?;
    let owner = call.query.one("owner")?;
    call.query.finish()?;
    let surface = &call.surface;
    let snapshot = surface.handle.published().workers.load_full();
    let fits = |entry: &EntryView| {
        model.as_deref().is_none_or(|model| serves(&entry.spec, model))
            && status.is_none_or(|status| entry.status == status)
            && owner
                .as_deref()
                .is_none_or(|owner| entry.claims.iter().any(|claim| claim.owner.as_str() == owner))
    };
    let entries = snapshot.entries.iter().filter(|(_, entry)| fits(entry));
    Ok(Answer::json(page.cut(entries.map(|(url, entry)| (url.to_string(), shown(surface, entry))))))
}

/// Whether a worker answers for a model, by name or because it serves any.
fn serves(spec: &Spec, model: &str) -> bool {
    let models = spec.models.as_deref().unwrap_or_default();
    let named = |one: &quorate_core::node::workers::spec::Model| {
        one.id == model || one.aliases.iter().any(|alias| alias == model)
    };
    models.is_empty() || models.iter().any(named)
}

fn status_named(text: &str) -> Result<Status, Problem> {
    let all = [Status::Pending, Status::Ready, Status::NotReady, Status::Failed, Status::Draining];
    all.into_iter().find(|status| json!(status) == *text).ok_or_else(|| {
        let detail = "`status` is pending, ready, not_ready, failed or draining";
        Problem::new(Code::InvalidRequest, detail)
    })
}

/// The entry that the path means.
fn entry(call: &Call) -> Result<Arc<EntryView>, Problem> {
    let snapshot = call.surface.handle.published().workers.load();
    snapshot.by_id(call.parameter("id")).cloned().ok_or_else(|| not_found("this worker"))
}

fn show(call: Call) -> Outcome {
    let entry = entry(&call)?;
    call.query.finish()?;
    let mut document = shown(&call.surface, &entry);
    name_owners(&call.surface, &entry, &mut document);
    Ok(Answer::json(document).tag(&entry.revision().to_string()))
}

/// Says at each claim of another node where to ask its owner.
fn name_owners(surface: &Surface, entry: &EntryView, document: &mut Value) {
    let local = surface.handle.published().members.load().local.node.clone();
    let claims = document.get_mut("claims").and_then(Value::as_array_mut);
    for (claim, shown) in entry.claims.iter().zip(claims.into_iter().flatten()) {
        if let Some(fields) = shown.as_object_mut()
            && claim.owner != local
        {
            fields.insert("owner_http".to_owned(), owner_http(surface, &claim.owner));
        }
    }
}

async fn register(mut call: Call) -> Outcome {
    let (spec, key) = spec_of(&mut call)?;
    call.query.finish()?;
    let command = Command::Register { spec: Box::new(spec), keyed: key.is_some() };
    let done = ask(&call.surface, command).await?;
    let created = matches!(done, Done::Created(_));
    let entry = entry_of(&call, done, None)?;
    keep_key(&call.surface, &entry, key)?;
    let after = json!(*entry.spec);
    let answer = changed(&call, &entry, None, Some(&after));
    if !created {
        return Ok(answer);
    }
    let location = format!("/v1/workers/{}", entry.id);
    Ok(answer.status(StatusCode::CREATED).header(header::LOCATION, &location))
}

/// The spec of a body, and the key that came with it.
fn spec_of(call: &mut Call) -> Result<(Spec, Option<String>), Problem> {
    let mut body = call.body.take().unwrap_or_default();
    let key = take_key(&call.surface, &mut body)?;
    let spec = Spec::from_request(body).map_err(|refusal| refused(&call.surface, &refusal))?;
    Ok((spec, key))
}

fn take_key(surface: &Surface, body: &mut Value) -> Result<Option<String>, Problem> {
    let taken = body.as_object_mut().and_then(|body| body.remove("api_key"));
    let Some(value) = taken else { return Ok(None) };
    let key = value.as_str().filter(|key| (1..=WORKER_KEY_BYTES_MAX).contains(&key.len()));
    let Some(key) = key else {
        let detail = format!("a string of 1 to {WORKER_KEY_BYTES_MAX} bytes");
        return Err(Problem::faults(vec![Fault::new("/api_key", "wrong_type", detail)]));
    };
    if !surface.host.keeps_worker_keys() {
        let detail = "this node keeps no keys that come by request; name it under `workers.keys`";
        return Err(Problem::new(Code::SpecSecret, detail));
    }
    Ok(Some(key.to_owned()))
}

/// Keys are kept under what is probed, which is the URL without a rank.
fn keep_key(surface: &Surface, entry: &EntryView, key: Option<String>) -> Result<(), Problem> {
    let Some(key) = key else { return Ok(()) };
    let kept = surface.host.keep_worker_key(&probed(entry), &key);
    kept.map_err(|why| Problem::new(Code::StoreUnavailable, format!("the key is not kept: {why}")))
}

fn probed(entry: &EntryView) -> Arc<str> {
    Url::canonical(&entry.spec.url, None).map_or_else(|_| entry.url.clone(), |url| url.base)
}

async fn replace(mut call: Call) -> Outcome {
    let before = entry(&call)?;
    let revision = Some(required_revision(&call, &before)?);
    let (spec, key) = spec_of(&mut call)?;
    let target = target(&call);
    alter(call, before, Command::Replace { target, revision, spec: Box::new(spec) }, key).await
}

async fn patch(mut call: Call) -> Outcome {
    let before = entry(&call)?;
    let revision = Some(required_revision(&call, &before)?);
    let mut body = call.body.take().unwrap_or_default();
    let key = take_key(&call.surface, &mut body)?;
    let Value::Object(patch) = body else {
        return Err(Problem::faults(vec![Fault::new(
            "",
            "wrong_type",
            "the body must be an object",
        )]));
    };
    Spec::check_patch(&patch).map_err(|refusal| refused(&call.surface, &refusal))?;
    let target = target(&call);
    alter(call, before, Command::Patch { target, revision, patch }, key).await
}

async fn alter(
    mut call: Call,
    before: Arc<EntryView>,
    command: Command,
    key: Option<String>,
) -> Outcome {
    let forward = call.query.flag("forward")?;
    call.query.finish()?;
    let done = ask(&call.surface, command).await?;
    let entry = entry_of(&call, done, Some(forward))?;
    keep_key(&call.surface, &entry, key)?;
    let (was, is) = (json!(*before.spec), json!(*entry.spec));
    Ok(changed(&call, &entry, Some(&was), Some(&is)))
}

/// The revision that `If-Match` names: it must name one.
fn required_revision(call: &Call, entry: &EntryView) -> Result<u64, Problem> {
    IfMatch::of(&call.headers)?.required()?.check(&entry.revision().to_string())?;
    Ok(entry.revision())
}

fn target(call: &Call) -> Target {
    Target::Id(call.parameter("id").to_owned())
}

async fn remove(mut call: Call) -> Outcome {
    let before = entry(&call)?;
    let if_match = IfMatch::of(&call.headers)?;
    if_match.check(&before.revision().to_string())?;
    let revision = matches!(if_match, IfMatch::Tags(_)).then(|| before.revision());
    let (now, forward) = (call.query.flag("now")?, call.query.flag("forward")?);
    call.query.finish()?;
    let targets = vec![target(&call)];
    match ask(&call.surface, Command::Remove { targets, revision, now }).await? {
        Done::Removing { ids, after } => {
            let wait = quorate_core::time::millis(after);
            let at = clock::rfc3339(UnixTime(call.surface.host.wall().0.saturating_add(wait)));
            call.surface.host.forget_worker_key(&probed(&before));
            let id = ids.into_iter().next().unwrap_or_else(|| before.id.to_string());
            let answer = Answer::json(json!({"id": id, "removed_at": at}));
            let was = json!(*before.spec);
            Ok(answer.status(StatusCode::ACCEPTED).about(id).changed(Some(&was), None))
        }
        Done::Refused(refusal) => Err(refused_or_forwarded(&call.surface, &refusal, forward)),
        done @ (Done::Created(_) | Done::Entry(_) | Done::Noted) => {
            unreachable!("a removal is answered as one, not by {done:?}")
        }
    }
}

async fn order(mut call: Call, command: fn(Target) -> Command) -> Outcome {
    let before = entry(&call)?;
    let forward = call.query.flag("forward")?;
    call.query.finish()?;
    let done = ask(&call.surface, command(target(&call))).await?;
    let entry = entry_of(&call, done, Some(forward))?;
    let state = |entry: &EntryView| json!({"status": entry.status, "overlay": entry.overlay});
    Ok(changed(&call, &entry, Some(&state(&before)), Some(&state(&entry))))
}

fn changed(
    call: &Call,
    entry: &EntryView,
    before: Option<&Value>,
    after: Option<&Value>,
) -> Answer {
    Answer::json(shown(&call.surface, entry))
        .tag(&entry.revision().to_string())
        .about(entry.id.to_string())
        .changed(before, after)
}

async fn ask(surface: &Surface, command: Command) -> Result<Done, Problem> {
    match surface.handle.ask(Request::Worker(command), WITHIN).await.map_err(unanswered)? {
        Reply::Worker(done) => Ok(done),
        reply @ (Reply::Done
        | Reply::Refused(_)
        | Reply::Credential(_)
        | Reply::Pool(_)
        | Reply::Raft(_)
        | Reply::Kv(_)
        | Reply::Watching { .. }) => {
            unreachable!("a command to workers is answered by them, not by {reply:?}")
        }
    }
}

/// The entry that a command left behind.
fn entry_of(call: &Call, done: Done, forward: Option<bool>) -> Result<Arc<EntryView>, Problem> {
    match done {
        Done::Created(entry) | Done::Entry(entry) => Ok(entry),
        Done::Noted => entry(call),
        Done::Refused(refusal) => {
            Err(refused_or_forwarded(&call.surface, &refusal, forward.unwrap_or(false)))
        }
        Done::Removing { .. } => unreachable!("only a removal removes"),
    }
}

fn refused_or_forwarded(surface: &Surface, refusal: &Refusal, forward: bool) -> Problem {
    if let (Refusal::OwnedBy { owner, .. }, true) = (refusal, forward) {
        let detail = format!("{owner} owns it and cannot be reached from here; ask it directly");
        return Problem::new(Code::OwnerUnreachable, detail)
            .with("owner", owner.as_str())
            .with("owner_http", owner_http(surface, owner));
    }
    refused(surface, refusal)
}

fn refused(surface: &Surface, refusal: &Refusal) -> Problem {
    let code = Code::named(refusal.code()).expect("every refusal of workers is a code of ours");
    let problem = Problem::new(code, refusal.to_string());
    match refusal {
        Refusal::InvalidRequest { pointer, detail } => {
            Problem::faults(vec![Fault::new(pointer.clone(), "invalid", detail.clone())])
        }
        Refusal::WorkerExists { id } => problem.with("id", id.as_str()),
        Refusal::OwnedBy { owner, alive } => problem
            .with("owner", owner.as_str())
            .with("owner_http", owner_http(surface, owner))
            .with("alive", *alive),
        Refusal::PreconditionFailed { revision } => problem.with("revision", revision.to_string()),
        Refusal::WorkersFull { limit } => problem.with("limit", *limit),
        Refusal::UrlDenied { rule } => problem.with("rule", rule.as_str()),
        Refusal::Url(_)
        | Refusal::Spec(_)
        | Refusal::Removing
        | Refusal::NotFound
        | Refusal::PreconditionRequired => problem,
    }
}

/// Where a node says that its HTTP surface is.
fn owner_http(surface: &Surface, owner: &NodeId) -> Value {
    let members = surface.handle.published().members.load();
    let addresses = members.rows.get(owner).and_then(|member| fact(member, "addresses"));
    addresses.and_then(|addresses| addresses.get("http").cloned()).unwrap_or_default()
}

fn watch(call: Call) -> Outcome {
    call.query.finish()?;
    Ok(Answer::stream(stream::watch(&call.surface, WorkersWatch::default())?))
}

/// What a reader of the watch has seen.
#[derive(Default)]
struct WorkersWatch {
    entries: imbl::OrdMap<Arc<str>, Arc<EntryView>>,
    sequence: u64,
}

impl WorkersWatch {
    fn id(&mut self, surface: &Surface) -> String {
        self.sequence += 1;
        let members = surface.handle.published().members.load();
        format!("{}.{}", members.local, self.sequence)
    }
}

impl Watched for WorkersWatch {
    fn reset(&mut self, surface: &Surface) -> (String, Value) {
        let snapshot = surface.handle.published().workers.load_full();
        self.entries = snapshot.entries.clone();
        let items: Vec<Value> = self.entries.values().map(|entry| shown(surface, entry)).collect();
        (self.id(surface), json!({"items": items}))
    }

    fn change(&mut self, surface: &Surface) -> Option<(String, Value)> {
        use imbl::ordmap::DiffItem;
        let snapshot = surface.handle.published().workers.load_full();
        let before = std::mem::replace(&mut self.entries, snapshot.entries.clone());
        let (mut changed, mut removed) = (Vec::new(), Vec::new());
        for difference in before.diff(&self.entries) {
            match difference {
                DiffItem::Update { old, new } if looks_the_same(old.1, new.1) => {}
                DiffItem::Add(_, new) | DiffItem::Update { new: (_, new), .. } => {
                    changed.push(shown(surface, new));
                }
                DiffItem::Remove(url, old) => removed.push(json!({"id": old.id, "url": url})),
            }
        }
        if changed.is_empty() && removed.is_empty() {
            return None;
        }
        Some((self.id(surface), json!({"changed": changed, "removed": removed})))
    }

    fn concerns(&self, heard: &Heard) -> bool {
        matches!(heard.announcement, Announcement::WorkerChanged { .. } | Announcement::Worker(_))
    }
}

/// Whether a watcher would see no difference: probes alone are none.
fn looks_the_same(old: &EntryView, new: &EntryView) -> bool {
    let seen = |entry: &EntryView| {
        (entry.number, entry.status, entry.overlay.clone(), entry.chosen.clone(), entry.removing)
    };
    seen(old) == seen(new) && old.claims == new.claims && old.spec == new.spec
}

/// Tells the node that trials were never reported.
pub(super) async fn cancel_trials(surface: &Surface, urls: Vec<Arc<str>>) {
    for url in urls {
        let target = Target::Url(url.to_string());
        let outcome = quorate_core::node::workers::Outcome::Cancelled;
        let request = Request::Worker(Command::Report { target, outcome });
        // A full queue loses it: the breaker's own deadline then frees the trial.
        let _ = surface.handle.ask(request, Duration::from_secs(1)).await;
    }
}

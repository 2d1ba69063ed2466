//! Credentials: who they are for readers, and how operators write, switch and reveal them.
//!
//! Lists and single records show what is public and what is personal of a body. The body itself leaves by
//! one path alone, `reveal`, which needs a scope of its own and is not answered to other machines in the
//! open. A write names the revision that it replaces, and is in use when it is answered.

mod shown;
mod upkeep;

use axum::http::{HeaderMap, StatusCode, header};
use quorate_core::node::credentials::{Key, KeyError};
use serde_json::{Value, json};

use super::cluster::unanswered;
use super::lists::IfMatch;
use super::problem::{Code, Fault, Problem};
use super::route::{Answer, Call, Outcome, Route, Takes, Verb, not_found};
use crate::access::Scope;
use crate::vault::{Body, BodyError, Condition, EditError, Edited, Purpose};

pub(super) use shown::{event, health, queue_health};

pub(super) fn routes() -> Vec<Route> {
    const ONE: &str = "/v1/credentials/{id}";
    let (admin, operate) = (Scope::Admin, Scope::Operate);
    let mut routes = vec![
        Route::get("/v1/credentials", |call| Box::pin(async move { shown::list(call) })),
        Route::get(ONE, |call| Box::pin(async move { shown::one(call) })).statuses(&[200, 404]),
        Route::change(Verb::Put, ONE, admin, "credential.put", |call| Box::pin(put(call)))
            .statuses(&[200, 201, 404, 412, 422, 428])
            .takes(Takes::Body),
        Route::change(Verb::Delete, ONE, admin, "credential.delete", |call| Box::pin(delete(call)))
            .statuses(&[204, 404, 412, 428]),
        Route::change(
            Verb::Post,
            "/v1/credentials/{id}/disable",
            operate,
            "credential.disable",
            |call| Box::pin(set_disabled(call, true)),
        )
        .statuses(&[200, 404]),
        Route::change(
            Verb::Post,
            "/v1/credentials/{id}/enable",
            operate,
            "credential.enable",
            |call| Box::pin(set_disabled(call, false)),
        )
        .statuses(&[200, 404]),
        Route::change(
            Verb::Post,
            "/v1/credentials/{id}/reveal",
            Scope::Secrets,
            "credential.reveal",
            |call| Box::pin(async move { reveal(call) }),
        )
        .counted("credential.reveal")
        .statuses(&[200, 404]),
    ];
    routes.extend(upkeep::routes());
    routes
}

/// The credential that the path names.
fn key_of(call: &Call) -> Result<Key, Problem> {
    let wrong = |error: KeyError| {
        let fault = Fault::new("", "credential_id", error.to_string());
        Problem { faults: vec![fault], ..Problem::new(Code::InvalidRequest, error.to_string()) }
    };
    Key::of_default(call.parameter("id")).map_err(wrong)
}

async fn put(mut call: Call) -> Outcome {
    let key = key_of(&call)?;
    call.query.finish()?;
    let condition = condition(&call.headers)?;
    let body = Body::of(call.body.take().unwrap_or_default()).map_err(|error| invalid(&error))?;
    let surface = call.surface.clone();
    let before = shown::head(&surface, &key);
    let edited =
        surface.vault.put(&surface.handle, &key, body, condition).await.map_err(refused)?;
    let created = before.as_ref().is_none_or(|head| head.deleted);
    let status = if created { StatusCode::CREATED } else { StatusCode::OK };
    Ok(answer(&call, &key, &edited, before.map(|head| json!(head.revision))).status(status))
}

async fn delete(call: Call) -> Outcome {
    let key = key_of(&call)?;
    call.query.finish()?;
    let condition = match condition(&call.headers)? {
        Condition::Absent => {
            let detail = "nothing can be deleted on the condition that it is not there";
            return Err(Problem::new(Code::InvalidRequest, detail));
        }
        condition @ (Condition::Revision(_) | Condition::Any) => condition,
    };
    let surface = call.surface.clone();
    let before = shown::head(&surface, &key).map(|head| json!(head.revision));
    let edited = surface.vault.delete(&surface.handle, &key, condition).await.map_err(refused)?;
    let after = json!(edited.head.revision);
    let handle = key.handle().to_string();
    Ok(Answer::nothing().about(handle).changed(before.as_ref(), Some(&after)))
}

async fn set_disabled(call: Call, disabled: bool) -> Outcome {
    let key = key_of(&call)?;
    call.query.finish()?;
    let surface = call.surface.clone();
    let before = shown::head(&surface, &key).map(|head| json!(head.revision));
    let edited = surface.vault.set_disabled(&surface.handle, &key, disabled).await;
    let edited = edited.map_err(|error| {
        if matches!(error, EditError::Conflict(_)) {
            // No condition was sent: somebody else was quicker.
            return Problem::new(Code::Conflict, error.to_string());
        }
        refused(error)
    })?;
    Ok(answer(&call, &key, &edited, before))
}

/// The body, whole, to whoever holds the scope `secrets` and asks on this machine.
fn reveal(call: Call) -> Outcome {
    let key = key_of(&call)?;
    call.query.finish()?;
    let surface = &call.surface;
    if !surface.settings.loopback && !call.local {
        let detail = "secrets are not sent to other machines in the open: ask by the Unix socket";
        return Err(Problem::new(Code::RevealRefused, detail));
    }
    let head = shown::head(surface, &key).filter(|head| !head.deleted);
    let body = surface.vault.body(key.handle()).filter(|_| head.is_some());
    let (Some(head), Some(body)) = (head, body) else { return Err(not_found("this credential")) };
    let value: Value = serde_json::from_str(body.whole().expose(Purpose::Reveal))
        .expect("a canonical form is JSON");
    let answer = Answer::json(json!({"id": key.id(), "revision": head.revision, "body": value}));
    Ok(answer.tag(&head.revision.to_string()).about(key.handle().to_string()))
}

/// A credential as it is after an edit. The audit log is told the handle and the revisions.
fn answer(call: &Call, key: &Key, edited: &Edited, before: Option<Value>) -> Answer {
    let document = shown::row(&call.surface, &edited.head);
    let revision = edited.head.revision;
    Answer::json(document)
        .tag(&revision.to_string())
        .about(key.handle().to_string())
        .changed(before.as_ref(), Some(&json!(revision)))
}

/// `If-Match` with a revision or `*`, or `If-None-Match: *`; one of them must be there.
fn condition(headers: &HeaderMap) -> Result<Condition, Problem> {
    if let Some(none) = headers.get(header::IF_NONE_MATCH) {
        if none != "*" || headers.contains_key(header::IF_MATCH) {
            let detail = "`If-None-Match` is `*` here, and stands without `If-Match`";
            return Err(Problem::new(Code::InvalidRequest, detail));
        }
        return Ok(Condition::Absent);
    }
    match IfMatch::of(headers)?.required()? {
        IfMatch::Any => Ok(Condition::Any),
        IfMatch::Tags(tags) => match tags.as_slice() {
            [one] => one.parse().map(Condition::Revision).map_err(|_| one_revision()),
            _ => Err(one_revision()),
        },
        IfMatch::Absent => unreachable!("it was required"),
    }
}

fn one_revision() -> Problem {
    Problem::new(Code::InvalidRequest, "`If-Match` names one revision here, as in \"7\"")
}

fn invalid(error: &BodyError) -> Problem {
    let problem = Problem::new(Code::RecordInvalid, error.to_string());
    let faults = match error {
        BodyError::Invalid(faults) => faults
            .iter()
            .map(|fault| Fault::new(fault.pointer.clone(), "record", fault.detail.clone()))
            .collect(),
        BodyError::TooLarge | BodyError::Malformed { .. } => Vec::new(),
    };
    Problem { faults, ..problem }
}

fn refused(error: EditError) -> Problem {
    let detail = error.to_string();
    match error {
        EditError::NoStore | EditError::Missing => Problem::new(Code::NotFound, detail),
        EditError::Place(_) => Problem::new(Code::RecordInvalid, detail),
        EditError::Body(error) => invalid(&error),
        EditError::Conflict(head) => {
            let live = head.filter(|head| !head.deleted);
            let revision = live.map(|head| head.revision.to_string());
            Problem::new(Code::PreconditionFailed, detail).with("revision", revision)
        }
        EditError::Full => Problem::new(Code::LimitReached, detail),
        EditError::Store(_) => Problem::new(Code::StoreUnavailable, detail),
        EditError::Unanswered(error) => unanswered(error),
    }
}

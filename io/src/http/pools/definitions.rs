//! The verbs that change what a pool is. A committed write answers from what it wrote.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use quorate_core::ids::CredentialHandle;
use quorate_core::node::pools::agreed::{Change, Wish};
use quorate_core::node::pools::{Definition, Listed, Members, Name};
use serde_json::json;

use super::super::Surface;
use super::super::cluster::unanswered;
use super::super::kv;
use super::super::lists::IfMatch;
use super::super::problem::{Code, Fault, Problem};
use super::super::route::{Answer, Call, Outcome, Route, Takes, Verb, not_found};
use super::{definition, handle, refused, snapshot, views};
use crate::access::Scope;
use crate::pools::definitions::{self, Unchanged};

pub(super) fn routes() -> Vec<Route> {
    let route =
        |method, path, verb, handler| Route::change(method, path, Scope::Operate, verb, handler);
    vec![
        route(Verb::Post, "/v1/pools", "pool.create", |call| Box::pin(create(call)))
            .takes(Takes::Body)
            .statuses(&[201]),
        route(Verb::Put, "/v1/pools/{pool}", "pool.set", |call| Box::pin(set(call)))
            .takes(Takes::Body)
            .statuses(&[200, 404, 409, 412, 429]),
        route(Verb::Delete, "/v1/pools/{pool}", "pool.remove", |call| Box::pin(remove(call)))
            .statuses(&[204, 404, 409, 412]),
        route(Verb::Put, "/v1/pools/{pool}/members/{handle}", "pool.add", |call| {
            Box::pin(add(call))
        })
        .takes(Takes::Body)
        .statuses(&[200, 404, 409, 412]),
        route(Verb::Delete, "/v1/pools/{pool}/members/{handle}", "pool.drop", |call| {
            Box::pin(drop_member(call))
        })
        .statuses(&[204, 404, 409, 412]),
        route(Verb::Put, "/v1/pools/{pool}/auth-reset-target", "pool.set_auth_reset", |call| {
            Box::pin(set_auth_reset(call))
        })
        .takes(Takes::Body)
        .statuses(&[200, 404, 409, 412]),
    ]
}

async fn create(mut call: Call) -> Outcome {
    let (pool, definition) = definition::with_name(&mut call)?;
    known(&call.surface, &definition)?;
    let change = wish(&call, &pool, Wish::Create(definition)).await?;
    Ok(shown(&call, &pool, &change).status(StatusCode::CREATED))
}

async fn set(mut call: Call) -> Outcome {
    let definition = definition::of_body(&mut call)?;
    known(&call.surface, &definition)?;
    let pool = named(&call)?;
    let change = wish(&call, &pool, Wish::Set(definition)).await?;
    Ok(shown(&call, &pool, &change))
}

async fn remove(call: Call) -> Outcome {
    let pool = named(&call)?;
    let change = wish(&call, &pool, Wish::Remove).await?;
    Ok(noted(Answer::nothing(), &pool, &change))
}

async fn add(mut call: Call) -> Outcome {
    let mut fields = call.fields()?;
    let expected = "a number from 1 to 1000000";
    let weight = fields.optional("weight", expected, |value| u32::try_from(value.as_u64()?).ok());
    fields.finish().map_err(Problem::faults)?;
    let (pool, handle) = (named(&call)?, handle(&call)?);
    let credential = id(&call.surface, handle).ok_or_else(|| not_found("this credential"))?;
    let member = Listed { credential, weight, epoch: 1 };
    let change = wish(&call, &pool, Wish::Add(member)).await?;
    Ok(shown(&call, &pool, &change))
}

async fn drop_member(call: Call) -> Outcome {
    let (pool, handle) = (named(&call)?, handle(&call)?);
    let change = wish(&call, &pool, Wish::Drop(handle)).await?;
    Ok(noted(Answer::nothing(), &pool, &change))
}

async fn set_auth_reset(mut call: Call) -> Outcome {
    let mut fields = call.fields()?;
    let target = fields.required("auth_reset_target", "a text or null", definition::target_of);
    fields.finish().map_err(Problem::faults)?;
    let pool = named(&call)?;
    let change = wish(&call, &pool, Wish::SetAuthReset(target.unwrap_or_default())).await?;
    Ok(shown(&call, &pool, &change))
}

fn named(call: &Call) -> Result<Name, Problem> {
    call.parameter("pool").parse().map_err(|_| not_found("this pool"))
}

/// Has it agreed on, under the precondition of the call.
async fn wish(call: &Call, pool: &Name, wish: Wish) -> Result<Change, Problem> {
    call.query.finish()?;
    let surface = &call.surface;
    let snapshot = snapshot(surface);
    let precondition = IfMatch::of(&call.headers)?;
    let expected = |present: &Definition| precondition.check(&views::tag(present)).is_ok();
    let document = snapshot.pools.iter().filter(|(_, pool)| pool.from_document);
    let document: BTreeMap<Name, Definition> =
        document.map(|(name, pool)| (name.clone(), Definition::clone(&pool.definition))).collect();
    let changed = definitions::change(&surface.handle, pool, wish, &document, expected).await;
    changed.map_err(|why| match why {
        Unchanged::Refused(refusal) => refused(&refusal),
        Unchanged::Store(failure) => kv::failed(call, &failure),
        Unchanged::Node(error) => unanswered(error),
        Unchanged::Contended => {
            let detail = "others change the same pools; try again";
            Problem::new(Code::Conflict, detail)
        }
        Unchanged::Differs(present) => {
            let checked = precondition.check(&views::tag(&present));
            checked.expect_err("it is not what was expected")
        }
    })
}

/// Every listed credential is known here: a name with a typing error would wait for ever.
fn known(surface: &Surface, definition: &Definition) -> Result<(), Problem> {
    let Members::Listed(members) = &definition.members else { return Ok(()) };
    let unknown =
        members.iter().zip(0_usize..).filter(|(member, _)| id(surface, member.handle()).is_none());
    let faults: Vec<Fault> = unknown
        .map(|(member, index)| {
            let pointer = format!("/members/{index}/credential");
            Fault::new(
                pointer,
                "unknown",
                format!("no credential `{}` is known", member.credential),
            )
        })
        .collect();
    if faults.is_empty() { Ok(()) } else { Err(Problem::faults(faults)) }
}

/// The id of a credential in the default tenant.
fn id(surface: &Surface, handle: CredentialHandle) -> Option<String> {
    let known = surface.handle.published().credentials.load();
    let mut heads = known.heads.values().filter(|head| !head.deleted);
    Some(heads.find(|head| head.handle == handle)?.key.id().to_owned())
}

/// The pool as it was written.
fn shown(call: &Call, pool: &Name, change: &Change) -> Answer {
    let present = snapshot(&call.surface).pool(pool.as_str()).cloned();
    let document = present.map_or_else(|| json!({"name": pool}), |pool| views::document(&pool));
    let answer = Answer::json(document);
    let answer = match &change.after {
        Some(after) => answer.tag(&views::tag(after)),
        None => answer,
    };
    noted(answer, pool, change)
}

fn noted(answer: Answer, pool: &Name, change: &Change) -> Answer {
    let [was, is] = [&change.before, &change.after]
        .map(|one| one.as_ref().and_then(|one| serde_json::to_value(one).ok()));
    answer.about(pool.to_string()).changed(was.as_ref(), is.as_ref())
}

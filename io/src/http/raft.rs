//! The agreed log below `/v0/operations/raft`: how it stands, its last entries, and what an operator may ask
//! of it.

use quorate_core::ids::NodeId;
use quorate_core::node::raft::{Operation, Refusal, Status};
use quorate_core::node::{Reply, Request};
use quorate_core::time::millis;
use serde_json::{Value, json};

use super::cluster::{WITHIN, unanswered};
use super::operations::view;
use super::problem::{Code, Problem};
use super::route::{Answer, Call, Outcome, Route, Takes, Verb};
use super::{Surface, strict};
use crate::access::Scope;

pub(super) fn routes() -> Vec<Route> {
    let admin = Scope::Admin;
    vec![
        Route::get("/v0/operations/raft", |call| Box::pin(async move { status(call) })),
        Route::get("/v0/operations/raft/log", |call| Box::pin(async move { log(call) })),
        Route::change(Verb::Put, "/v0/operations/raft/settings", admin, "raft.settings", |call| {
            Box::pin(settings(call))
        })
        .statuses(&[200, 409])
        .takes(Takes::Body),
        Route::change(Verb::Post, "/v0/operations/raft/transfer", admin, "raft.transfer", |call| {
            Box::pin(transfer(call))
        })
        .statuses(&[200, 404])
        .takes(Takes::Body),
    ]
}

fn status(call: Call) -> Outcome {
    call.query.finish()?;
    Ok(Answer::json(view(&call.surface, document(&call.surface))))
}

pub(super) fn document(surface: &Surface) -> Value {
    let status = surface.handle.published().raft.load();
    let Status { state, term, commit, applied, last, snapshot, voters_max, settled, .. } = **status;
    let members: Vec<Value> = status
        .members
        .iter()
        .map(|row| {
            json!({
                "node": row.node,
                "member": format!("{:016x}", row.member.0),
                "state": row.state,
                "match": row.matched,
                "silent_ms": row.silent.map(millis),
            })
        })
        .collect();
    json!({
        "state": state.name(),
        "leader": status.leader,
        "term": term,
        "commit": commit,
        "applied": applied,
        "last": last,
        "snapshot": snapshot,
        "log_time_ms": status.log_time.0,
        "genesis": status.genesis.map(|genesis| format!("{:032x}", genesis.0)),
        "voters_max": voters_max,
        "settled": settled,
        "needs_upgrade": status.needs_upgrade,
        "conflicts": status.conflicts,
        "members": members,
        "plan": status.plan,
    })
}

fn log(mut call: Call) -> Outcome {
    let count = call.query.number("n", 1..=1024)?.unwrap_or(32);
    call.query.finish()?;
    let rows = call.surface.handle.published().log.load();
    let count = usize::try_from(count).expect("a thousand is a length");
    let rows = rows.iter().skip(rows.len().saturating_sub(count));
    let items: Vec<Value> = rows
        .map(|row| {
            let hash = format!("{:016x}", row.hash);
            json!({"index": row.index, "term": row.term, "topic": row.subject, "hash": hash})
        })
        .collect();
    Ok(Answer::json(view(&call.surface, json!({"items": items}))))
}

async fn settings(mut call: Call) -> Outcome {
    let mut fields = call.fields()?;
    let voters_max = fields.required("voters_max", "0, 1, 3, 5 or 7", |value| {
        value.as_u64().filter(|voters| *voters <= 7)
    });
    fields.finish().map_err(Problem::faults)?;
    call.query.finish()?;
    let voters_max = odd(voters_max.unwrap_or(0));
    operate(&call.surface, Operation::VotersMax { voters_max }).await?;
    Ok(Answer::json(json!({"voters_max": voters_max})).about(voters_max.to_string()))
}

/// An even number becomes the next lower odd one, none the default.
fn odd(voters: u64) -> u8 {
    match voters {
        0 => 5,
        1 | 2 => 1,
        3 | 4 => 3,
        5 | 6 => 5,
        _ => 7,
    }
}

async fn transfer(mut call: Call) -> Outcome {
    let mut fields = call.fields()?;
    let to = fields.optional("to", "a node id", |value| strict::string(value)?.parse().ok());
    fields.finish().map_err(Problem::faults)?;
    call.query.finish()?;
    let to: Option<NodeId> = to;
    operate(&call.surface, Operation::Transfer { to: to.clone() }).await?;
    let object = to.map_or("anybody".to_owned(), |node| node.to_string());
    Ok(Answer::json(json!({"transferring": true})).about(object))
}

async fn operate(surface: &Surface, operation: Operation) -> Result<(), Problem> {
    let reply = surface.handle.ask(Request::Raft(operation), WITHIN).await.map_err(unanswered)?;
    match reply {
        Reply::Raft(Ok(())) => Ok(()),
        Reply::Raft(Err(refusal)) => Err(problem(&refusal)),
        Reply::Done
        | Reply::Refused(_)
        | Reply::Worker(_)
        | Reply::Credential(_)
        | Reply::Pool(_)
        | Reply::Kv(_)
        | Reply::Watching { .. } => {
            unreachable!("the log answers for itself")
        }
    }
}

/// What a caller is told when the log refuses.
pub(super) fn problem(refusal: &Refusal) -> Problem {
    let code = match refusal {
        Refusal::QueueFull => Code::QueueFull,
        Refusal::Ambiguous => Code::Ambiguous,
        Refusal::NoQuorum | Refusal::NotFormed => Code::NoQuorum,
        Refusal::TooLarge { .. } => Code::TooLarge,
        Refusal::TooOld | Refusal::TooNew | Refusal::Retired => Code::Conflict,
        Refusal::IdempotencyMismatch => Code::IdempotencyMismatch,
        Refusal::NeedsUpgrade => Code::NeedsUpgrade,
        Refusal::NotLeader => Code::NotLeader,
        Refusal::NotHere => Code::NotFound,
    };
    Problem::new(code, refusal.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_as_were_asked_for_vote_but_an_odd_number() {
        assert_eq!((0..=7).map(odd).collect::<Vec<u8>>(), [5, 1, 1, 3, 3, 5, 5, 7]);
    }
}

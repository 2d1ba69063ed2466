//! The cluster as a whole: what it is, how it is, joining and leaving.

use std::net::SocketAddr;
use std::time::Duration;

use quorate_core::node::membership::{Refusal, State};
use quorate_core::node::{Members, Reply, Request};
use serde_json::{Value, json};

use super::members::{LABELS, fact, labels_of};
use super::problem::{Code, Fault, Problem};
use super::route::{Answer, Call, Outcome, Route, Takes, Verb};
use super::strict;
use super::{Surface, pipeline};
use crate::access::Scope;
use crate::handle::AskError;

pub(super) fn routes() -> Vec<Route> {
    let admin = Scope::Admin;
    vec![
        Route::get("/v1/cluster", |call| Box::pin(async move { cluster(call) })),
        Route::get("/v1/cluster/health", |call| Box::pin(async move { health(call) })),
        Route::change(Verb::Post, "/v1/cluster/join", admin, "cluster.join", |call| {
            Box::pin(join(call))
        })
        .takes(Takes::Body),
        Route::change(Verb::Post, "/v1/cluster/leave", admin, "cluster.leave", |call| {
            Box::pin(leave(call))
        })
        .takes(Takes::Maybe)
        .statuses(&[202]),
        Route::change(Verb::Put, "/v1/cluster/labels", admin, "cluster.labels", |call| {
            Box::pin(set_labels(call))
        })
        .takes(Takes::Body)
        .statuses(&[200, 409]),
    ]
}

fn cluster(call: Call) -> Outcome {
    call.query.finish()?;
    let members = call.surface.handle.published().members.load();
    let (health, _) = condition(&call.surface, &members);
    Ok(Answer::json(json!({
        "cluster": call.surface.settings.cluster,
        "node": members.local.node,
        "incarnation": members.local.incarnation,
        "born": members.born,
        "members": present(&members),
        "health": health,
    })))
}

fn present(members: &Members) -> usize {
    let is_member = |state| matches!(state, State::Alive | State::Suspect);
    members.rows.values().filter(|member| is_member(member.state)).count()
}

fn health(call: Call) -> Outcome {
    call.query.finish()?;
    let members = call.surface.handle.published().members.load();
    let (health, reasons) = condition(&call.surface, &members);
    Ok(Answer::json(json!({"health": health, "reasons": reasons})))
}

/// `ok`, `degraded` or `alone`, and why.
fn condition(surface: &Surface, members: &Members) -> (&'static str, Vec<String>) {
    let mut reasons = Vec::new();
    for member in members.rows.values() {
        match member.state {
            State::Failed => reasons.push(format!("{} failed", member.node)),
            State::Suspect => reasons.push(format!("{} is suspected", member.node)),
            State::Alive | State::Left | State::Evicted => {}
        }
        if let Some(missing) = member.missing {
            let what = super::members::transport(missing);
            reasons.push(format!("{}: nothing arrives by {what}", member.node));
        }
    }
    if members.score > 0 {
        reasons.push(format!("this node is slow itself: score {} of 8", members.score));
    }
    if members.full {
        reasons.push("members_full: new nodes are ignored".to_owned());
    }
    if surface.handle.published().workers.load().refused_full > 0 {
        reasons.push("workers_full: new workers were refused at a bound".to_owned());
    }
    let expects_company = surface.settings.has_seeds || members.rows.len() > 1;
    if present(members) <= 1 && expects_company {
        reasons.insert(0, "no other member is known to live".to_owned());
        return ("alone", reasons);
    }
    (if reasons.is_empty() { "ok" } else { "degraded" }, reasons)
}

async fn join(mut call: Call) -> Outcome {
    let mut fields = call.fields()?;
    let expected = "a list of 1 to 64 `host:port`";
    let addresses = fields.required("addresses", expected, |value| {
        strict::strings(value).filter(|addresses| (1..=ADDRESSES_MAX).contains(&addresses.len()))
    });
    fields.finish().map_err(Problem::faults)?;
    call.query.finish()?;
    let addresses = addresses.unwrap_or_default();
    let faults: Vec<Fault> = addresses
        .iter()
        .enumerate()
        .filter(|(_, address)| !is_host_and_port(address))
        .map(|(index, _)| Fault::new(format!("/addresses/{index}"), "format", "no `host:port`"))
        .collect();
    if !faults.is_empty() {
        return Err(Problem::faults(faults));
    }
    let object = addresses.join(" ");
    ask(&call.surface, Request::Join { addresses: addresses.clone() }).await?;
    Ok(Answer::json(json!({"addresses": addresses})).about(object))
}

/// Seeds of one request.
const ADDRESSES_MAX: usize = 64;

fn is_host_and_port(text: &str) -> bool {
    let named = || {
        let (host, port) = text.rsplit_once(':')?;
        let word = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        let host_fits = (1..=253).contains(&host.len()) && host.bytes().all(word);
        (host_fits && port.parse::<u16>().is_ok_and(|port| port > 0)).then_some(())
    };
    text.parse::<SocketAddr>().is_ok_and(|address| address.port() > 0) || named().is_some()
}

async fn leave(mut call: Call) -> Outcome {
    let mut fields = call.fields()?;
    let remove_workers = fields.optional("remove_workers", "a boolean", Value::as_bool);
    fields.finish().map_err(Problem::faults)?;
    call.query.finish()?;
    let remove_workers = remove_workers.unwrap_or(false);
    ask(&call.surface, Request::Leave { remove_workers, restarting: false }).await?;
    let node = call.surface.node_id();
    let answer = Answer::json(json!({"leaving": true, "remove_workers": remove_workers}));
    Ok(answer.status(axum::http::StatusCode::ACCEPTED).about(node))
}

async fn set_labels(mut call: Call) -> Outcome {
    let mut fields = call.fields()?;
    let labels = fields.required("labels", "an object of strings", strict::pairs);
    fields.finish().map_err(Problem::faults)?;
    call.query.finish()?;
    let labels = labels.unwrap_or_default();
    let before = own_labels(&call.surface);
    ask(&call.surface, Request::SetLabels { labels: labels.clone() }).await?;
    let after = json!(labels);
    let node = call.surface.node_id();
    Ok(Answer::json(json!({"labels": after})).about(node).changed(before.as_ref(), Some(&after)))
}

fn own_labels(surface: &Surface) -> Option<Value> {
    let members = surface.handle.published().members.load();
    let own = members.rows.get(&members.local.node)?;
    fact(own, LABELS).map(|_| json!(labels_of(own)))
}

/// Asks the node for something of membership.
pub(super) async fn ask(surface: &Surface, request: Request) -> Result<(), Problem> {
    match surface.handle.ask(request, WITHIN).await.map_err(unanswered)? {
        Reply::Done => Ok(()),
        Reply::Refused(refusal) => Err(refused(&refusal)),
        reply @ (Reply::Worker(_)
        | Reply::Credential(_)
        | Reply::Pool(_)
        | Reply::Raft(_)
        | Reply::Kv(_)
        | Reply::Watching { .. }) => {
            unreachable!("membership is answered by itself, not by {reply:?}")
        }
    }
}

/// How long a question may take; the pipeline's own deadline comes after it.
pub(super) const WITHIN: Duration =
    Duration::from_secs(pipeline::ANSWER_MAX.as_secs().saturating_sub(5));

/// What a caller is told when the node said nothing.
pub(super) fn unanswered(error: AskError) -> Problem {
    let code = match error {
        AskError::QueueFull => Code::QueueFull,
        AskError::Stopped => Code::ShuttingDown,
        AskError::Deadline => Code::Ambiguous,
    };
    Problem::new(code, error.to_string())
}

fn refused(refusal: &Refusal) -> Problem {
    let code = match refusal {
        Refusal::Unknown { .. } => Code::NotFound,
        Refusal::NotFailed { .. } | Refusal::Leaving => Code::Conflict,
        Refusal::Labels { .. } | Refusal::Addresses { .. } => Code::InvalidRequest,
    };
    Problem::new(code, refusal.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_a_host_and_a_port() {
        for good in ["10.0.0.1:7420", "[::1]:7420", "seed-1.example.org:1", "a_b:65535"] {
            assert!(is_host_and_port(good), "{good}");
        }
        for bad in
            ["10.0.0.1", "a:0", ":1", "a b:1", "a:65536", "http://a:1", "::1:7", "10.0.0.1:0"]
        {
            assert!(!is_host_and_port(bad), "{bad}");
        }
    }
}

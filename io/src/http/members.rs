//! Members: the list, one of them, the watch, and evicting.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Arc;

use imbl::OrdMap;
use imbl::ordmap::DiffItem;
use quorate_core::ids::NodeId;
use quorate_core::node::membership::{Member, State};
use quorate_core::node::{Announcement, Members, Request};
use quorate_core::wire::Transport;
use serde_json::{Value, json};

use super::lists::IfMatch;
use super::problem::{Code, Problem};
use super::route::{Answer, Call, Outcome, Route, Verb, digest, merged, not_found};
use super::stream::{self, Watched};
use super::{Surface, cluster, strict};
use crate::access::Scope;
use crate::handle::Heard;

/// The fact that holds a node's labels.
pub(super) const LABELS: &str = "labels";

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get("/v1/cluster/members", |call| Box::pin(async move { list(call) })),
        Route::get("/v1/cluster/members/watch", |call| Box::pin(async move { watch(call) })),
        Route::get("/v1/cluster/members/{id}", |call| Box::pin(async move { one(call) }))
            .statuses(&[200, 404]),
        Route::change(
            Verb::Delete,
            "/v1/cluster/members/{id}",
            Scope::Admin,
            "member.evict",
            |call| Box::pin(evict(call)),
        )
        .statuses(&[204, 404, 409, 412]),
    ]
}

fn list(mut call: Call) -> Outcome {
    let page = call.query.page()?;
    let state = call.query.one("state")?.map(|text| state_named(&text)).transpose()?;
    let labels = call.query.all("label");
    call.query.finish()?;
    let labels = labels
        .iter()
        .map(|pair| pair.split_once('='))
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| Problem::new(Code::InvalidRequest, "`label` is `key=value`"))?;
    let surface = &call.surface;
    let members = surface.handle.published().members.load_full();
    let fits = |member: &Member| {
        let held = labels_of(member);
        let has = |(key, value): &(&str, &str)| held.get(*key).is_some_and(|held| held == value);
        state.is_none_or(|state| member.state == state) && labels.iter().all(has)
    };
    let rows = members.rows.iter().filter(|(_, member)| fits(member));
    let rows = rows.map(|(node, member)| (node.to_string(), row(surface, member)));
    Ok(Answer::json(merged(page.cut(rows), json!({"version": members.version}))))
}

fn one(call: Call) -> Outcome {
    let surface = call.surface.clone();
    let members = surface.handle.published().members.load();
    let member = find(&members, call.parameter("id"))?;
    call.query.finish()?;
    let links = surface.handle.published().links.load();
    let links: Vec<_> = links.links.iter().filter(|link| link.peer == member.node).collect();
    let asymmetric = member.missing.map(transport);
    let more = json!({"links": links, "asymmetric": asymmetric});
    let document = merged(row(&surface, member), more);
    Ok(Answer::json(document).tag(&tag(member)))
}

async fn evict(call: Call) -> Outcome {
    let surface = call.surface.clone();
    let if_match = IfMatch::of(&call.headers)?;
    let (node, before) = {
        let members = surface.handle.published().members.load();
        let member = find(&members, call.parameter("id"))?;
        if_match.check(&tag(member))?;
        (member.node.clone(), row(&surface, member))
    };
    call.query.finish()?;
    cluster::ask(&surface, Request::Evict { node: node.clone() }).await?;
    Ok(Answer::nothing().about(node.to_string()).changed(Some(&before), None))
}

fn find<'a>(members: &'a Members, id: &str) -> Result<&'a Member, Problem> {
    let member = NodeId::from_str(id).ok().and_then(|node| members.rows.get(&node));
    member.map(AsRef::as_ref).ok_or_else(|| not_found("this node"))
}

/// A tag that changes with everything but the clock.
fn tag(member: &Member) -> String {
    let mut text = digest(&json!(member));
    text.truncate(16);
    text
}

/// A member as every surface shows it.
pub(super) fn row(surface: &Surface, member: &Member) -> Value {
    json!({
        "id": member.node,
        "incarnation": member.incarnation,
        "born": member.born,
        "state": member.state,
        "address": member.address,
        "zone": fact(member, "zone").and_then(|zone| strict::string(&zone)).unwrap_or_default(),
        "labels": labels_of(member),
        "protocol": protocol(member),
        "since": surface.wall_of(member.since),
        "self": member.local,
    })
}

/// The protocol versions that a node says it speaks. A peer wrote this: what is no number is not shown.
fn protocol(member: &Member) -> Option<Value> {
    let versions = fact(member, "versions")?;
    let version = |name| versions.get(name).and_then(Value::as_u64);
    Some(json!({"min": version("protocol_min")?, "max": version("protocol_max")?}))
}

/// A fact that reads as JSON.
pub(super) fn fact(member: &Member, key: &str) -> Option<Value> {
    serde_json::from_slice(member.facts.get(key)?.as_slice()).ok()
}

/// What a node says its labels are.
pub(super) fn labels_of(member: &Member) -> BTreeMap<String, String> {
    let labels = member.facts.get(LABELS).map(|fact| serde_json::from_slice(fact.as_slice()));
    labels.and_then(Result::ok).unwrap_or_default()
}

/// The word for a transport.
pub(super) fn transport(transport: Transport) -> &'static str {
    match transport {
        Transport::Datagram => "datagram",
        Transport::Link => "link",
    }
}

fn state_named(text: &str) -> Result<State, Problem> {
    let states = [State::Alive, State::Suspect, State::Failed, State::Left, State::Evicted];
    states.into_iter().find(|state| json!(state) == *text).ok_or_else(|| {
        let detail = "`state` is alive, suspect, failed, left or evicted";
        Problem::new(Code::InvalidRequest, detail)
    })
}

fn watch(call: Call) -> Outcome {
    call.query.finish()?;
    Ok(Answer::stream(stream::watch(&call.surface, MembersWatch::default())?))
}

/// What a reader of the watch has seen.
#[derive(Default)]
struct MembersWatch {
    rows: OrdMap<NodeId, Arc<Member>>,
    version: u64,
}

impl Watched for MembersWatch {
    fn reset(&mut self, surface: &Surface) -> (String, Value) {
        let members = surface.handle.published().members.load_full();
        (self.version, self.rows) = (members.version, members.rows.clone());
        let items: Vec<Value> = members.rows.values().map(|member| row(surface, member)).collect();
        (id(&members), json!({"version": members.version, "items": items}))
    }

    fn change(&mut self, surface: &Surface) -> Option<(String, Value)> {
        let members = surface.handle.published().members.load_full();
        if members.version == self.version {
            return None;
        }
        let before = std::mem::replace(&mut self.rows, members.rows.clone());
        self.version = members.version;
        let mut lists = Lists::default();
        for difference in before.diff(&members.rows) {
            lists.take(surface, difference);
        }
        let data = json!({
            "version": members.version,
            "joined": lists.joined,
            "left": lists.left,
            "updated": lists.updated,
            "suspected": lists.suspected,
            "forgotten": lists.forgotten,
        });
        Some((id(&members), data))
    }

    fn concerns(&self, heard: &Heard) -> bool {
        matches!(
            heard.announcement,
            Announcement::MemberChanged { .. }
                | Announcement::Member(_)
                | Announcement::Raised { .. }
        )
    }
}

fn id(members: &Members) -> String {
    format!("{}.{}", members.local, members.version)
}

/// The rows of a change by what became of them.
#[derive(Default)]
struct Lists {
    joined: Vec<Value>,
    left: Vec<Value>,
    updated: Vec<Value>,
    suspected: Vec<Value>,
    forgotten: Vec<Value>,
}

impl Lists {
    fn take(&mut self, surface: &Surface, difference: DiffItem<'_, '_, NodeId, Arc<Member>>) {
        let is_member = |state| matches!(state, State::Alive | State::Suspect);
        let (old, new) = match difference {
            DiffItem::Add(_, new) => (None, new),
            DiffItem::Update { old, new } => (Some(old.1), new.1),
            DiffItem::Remove(node, _) => {
                self.forgotten.push(json!(node));
                return;
            }
        };
        let was = old.map(|old| old.state);
        let list = match (was.is_some_and(is_member), is_member(new.state)) {
            (false, true) => &mut self.joined,
            (true, false) => &mut self.left,
            (true, true) if new.state == State::Suspect && was != Some(State::Suspect) => {
                &mut self.suspected
            }
            (true, true) | (false, false) => &mut self.updated,
        };
        list.push(row(surface, new));
    }
}

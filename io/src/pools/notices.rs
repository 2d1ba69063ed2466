//! From what a node announces to messages for people: JSON for programs, a line for chats.
//!
//! Absent on purpose: which node tells, what is worth telling and how often. That is
//! `quorate_core::node::pools::notice`; sinks deliver.

use std::sync::Arc;
use std::time::Duration;

use quorate_core::node::membership::State;
use quorate_core::node::pools::notice::{Kind, Notice, Notices, announcer};
use quorate_core::node::pools::{Command, Name, Pool, Snapshot};
use quorate_core::node::{Announcement, Members, Published, Request};
use quorate_core::time::UnixTime;
use serde_json::{Value, json};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;

use super::sinks::{Message, SinkSettings, Sinks};
use crate::clock::{self, rfc3339};
use crate::handle::{Asker, Handle, Heard};
use crate::metrics::Meters;

/// How long the node has to take in that people were told.
const WITHIN: Duration = Duration::from_secs(5);
/// How often held notices are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Tells people until the node ends.
pub(crate) async fn tend(handle: Handle, sinks: Vec<SinkSettings>, meters: Arc<Meters>) {
    let mut heard = handle.listen();
    let (published, asker) = (handle.shared(), handle.asker());
    drop(handle); // Only the loop keeps the channel open.
    let (taken, mut arrived) = mpsc::unbounded_channel();
    let sinks = Sinks::start(sinks, &meters, &taken);
    let mut notices = Notices::default();
    let mut second = tokio::time::interval(LOOK);
    loop {
        tokio::select! {
            announced = heard.recv() => match announced {
                Ok(heard) => hear(&mut notices, &published, &heard),
                Err(RecvError::Lagged(_)) => notices.missed(),
                Err(RecvError::Closed) => return,
            },
            _ = second.tick() => {}
            Some(message) = arrived.recv() => {
                took(&asker, message).await;
                continue;
            }
        }
        let members = published.members.load();
        let snapshot = published.pools.load();
        for notice in notices.due(clock::now(), &snapshot, |pool| tells(&members, pool)) {
            let Some(pool) = snapshot.pool(notice.pool.as_str()) else { continue };
            let message = message(&members, &snapshot, pool, &notice);
            sinks.offer(pool.definition.notify.as_deref(), &message, &meters);
        }
    }
}

fn hear(notices: &mut Notices, published: &Published, heard: &Heard) {
    if let Announcement::Pool(event) = &heard.announcement {
        notices.hear(heard.at, published.pools.load().unix(heard.at), event);
    }
}

/// A sink took a message: every node hears that nobody need tell it any more.
async fn took(asker: &Asker, message: Message) {
    let Message { pool, what, said, .. } = message;
    let command = Command::Told { pool, what, said };
    if let Err(error) = asker.ask(Request::Pool(Box::new(command)), WITHIN).await {
        tracing::debug!(%error, "the others do not hear that people were told");
    }
}

/// Whether this node is the one that tells people of `pool`.
fn tells(members: &Members, pool: &Name) -> bool {
    let present = members
        .rows
        .values()
        .filter(|member| matches!(member.state, State::Alive | State::Suspect));
    let present = present.map(|member| (&member.node, member.incarnation));
    announcer(pool, present).is_none_or(|node| *node == members.local.node)
}

fn message(members: &Members, snapshot: &Snapshot, pool: &Pool, notice: &Notice) -> Message {
    let view = pool.views.iter().find(|view| view.model == notice.lane);
    let retry_at = view.and_then(|view| view.retry_at).map(|unix| rfc3339(UnixTime(unix)));
    let kind = notice.kind.name();
    let lane = if notice.lane.is_empty() { "*" } else { &*notice.lane };
    let mut document = json!({
        "type": format!("pool.{kind}"),
        "at": rfc3339(UnixTime(snapshot.unix(clock::now()))),
        "node_id": members.local.node,
        "pool": notice.pool,
        "lane": lane,
        "members": pool.rows.len(),
        "servable": view.map(|view| view.servable),
        "next_recovery_at": retry_at,
    });
    let mut more = |name: &str, value: Value| {
        if let Some(fields) = document.as_object_mut() {
            fields.insert(name.to_owned(), value);
        }
    };
    let of = if lane == "*" { String::new() } else { format!(" for {lane}") };
    let back = retry_at.map_or_else(String::new, |at| format!("; the next may be back at {at}"));
    let (pool_name, count) = (&notice.pool, pool.rows.len());
    let text = match notice.kind {
        Kind::Exhausted => {
            format!("pool {pool_name}{of}: none of {count} accounts can serve{back}")
        }
        Kind::Recovered => format!("pool {pool_name}{of} serves again"),
        Kind::StillExhausted { attempts } => {
            more("attempts", json!(attempts));
            format!(
                "pool {pool_name}{of} came back and ran dry again, {attempts} times so far{back}"
            )
        }
        Kind::Person { credential, class } => {
            more("credential", json!(credential));
            format!("pool {pool_name}: account {credential} needs a person ({class})")
        }
    };
    let (what, said) = (notice.what(), notice.said());
    Message { pool: pool_name.clone(), what, said, document, text }
}

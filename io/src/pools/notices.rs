//! From what a node announces to messages for people: JSON for programs, a line for chats.
//!
//! Absent on purpose: which node tells, what is worth telling and how often. That is
//! `quorate_core::node::pools::notice`; sinks deliver.

use std::sync::Arc;
use std::time::Duration;

use quorate_core::node::membership::State;
use quorate_core::node::pools::notice::{Kind, Notice, Notices, announcer};
use quorate_core::node::pools::{Pool, Snapshot};
use quorate_core::node::{Announcement, Members, Published};
use quorate_core::time::UnixTime;
use serde_json::{Value, json};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;

use super::sinks::{Message, SinkSettings, Sinks};
use crate::clock::{self, rfc3339};
use crate::handle::{Handle, Heard};
use crate::metrics::Meters;

/// How often held notices are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Tells people until the node ends.
pub(crate) async fn tend(handle: Handle, sinks: Vec<SinkSettings>, meters: Arc<Meters>) {
    let mut heard = handle.listen();
    let published = handle.shared();
    drop(handle); // Only the loop keeps the channel open.
    let (taken, mut arrived) = mpsc::unbounded_channel();
    let sinks = Sinks::start(sinks, &meters, &taken);
    let mut notices = Notices::default();
    let mut second = tokio::time::interval(LOOK);
    loop {
        let told = tokio::select! {
            announced = heard.recv() => match announced {
                Ok(heard) => hear(&mut notices, &heard),
                Err(RecvError::Lagged(_)) => Vec::new(), // The next edge says how it is.
                Err(RecvError::Closed) => return,
            },
            _ = second.tick() => notices.tick(clock::now(), &published.pools.load()),
            Some((sink, message)) = arrived.recv() => {
                let Message { pool, lane, .. } = &message;
                tracing::debug!(sink, pool, lane, "a notice was taken");
                continue;
            }
        };
        for notice in told {
            tell(&published, &notice, &sinks, &meters);
        }
    }
}

fn hear(notices: &mut Notices, heard: &Heard) -> Vec<Notice> {
    let Announcement::Pool(event) = &heard.announcement else { return Vec::new() };
    notices.hear(heard.at, event).into_iter().collect()
}

/// Hands a notice to the sinks of its pool, if this node is the one that tells.
fn tell(published: &Published, notice: &Notice, sinks: &Sinks, meters: &Meters) {
    let members = published.members.load();
    let snapshot = published.pools.load();
    let Some(pool) = snapshot.pool(notice.pool.as_str()) else { return };
    if tells(&members, notice) {
        let message = message(&members, &snapshot, pool, notice);
        sinks.offer(pool.definition.notify.as_deref(), &message, meters);
    }
}

fn tells(members: &Members, notice: &Notice) -> bool {
    let present = members
        .rows
        .values()
        .filter(|member| matches!(member.state, State::Alive | State::Suspect));
    let present = present.map(|member| (&member.node, member.incarnation));
    announcer(&notice.pool, present).is_none_or(|node| *node == members.local.node)
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
    // Only news of the same thing give way to each other.
    let lane = match notice.kind {
        Kind::Person { credential, class } => format!("{credential} {class}"),
        Kind::Exhausted | Kind::Recovered | Kind::StillExhausted { .. } => notice.lane.to_string(),
    };
    Message { pool: pool_name.to_string(), lane, document, text }
}

//! `GET /v1/events`: what happens on this node, as it happens.
//!
//! Announcements become events with a number. The last 4096 are kept, so that a reader who comes back
//! with `Last-Event-ID` misses none of them; one who was away longer, or saw another life of the node,
//! begins with `reset`. A reader for whom more than 256 wait is told `overflow` and let go.
//!
//! Every type is in `docs/EVENTS.md`; a test compares both ways.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::HeaderMap;
use quorate_core::ids::{Notice, Reason};
use quorate_core::node::credentials::Event as CredentialEvent;
use quorate_core::node::{Announcement, pools};
use quorate_core::time::UnixTime;
use serde_json::{Value, json};
use tokio::sync::broadcast;

use super::problem::{Code, Problem};
use super::route::{Answer, Call, Outcome, Route, merged};
use super::stream::{Place, Tail, frame};
use super::{Surface, members};
use crate::clock;
use crate::handle::Heard;

/// Events kept for those who come back.
const RING_MAX: usize = 4096;
/// Events that wait for one reader.
const WAITING_MAX: usize = 256;

/// Every type of event.
pub(super) const TYPES: [&str; 35] = [
    "credential.added",
    "credential.changed",
    "credential.file",
    "credential.removed",
    "credentials.breaker",
    "credentials.limit",
    "credentials.store",
    "events.missed",
    "link.down",
    "link.up",
    "member.asymmetric",
    "member.evicted",
    "member.failed",
    "member.forgotten",
    "member.left",
    "member.refuted",
    "member.renamed",
    "member.suspect",
    "member.symmetric",
    "member.up",
    "mesh.converged",
    "node.duplicate",
    "node.join_failed",
    "node.raised",
    "node.stopped",
    "peer.misbehaved",
    "pool.exhausted",
    "pool.failover",
    "pool.parked",
    "pool.recovered",
    "pool.rested",
    "raft.genesis_conflict",
    "raft.led",
    "raft.needs_upgrade",
    "worker.changed",
];

pub(super) fn routes() -> Vec<Route> {
    vec![Route::get("/v1/events", |call| Box::pin(async move { follow(call) }))]
}

/// One event, rendered once for all readers.
#[derive(Debug)]
struct Event {
    sequence: u64,
    kind: &'static str,
    frame: Bytes,
}

/// The ring of one node.
#[derive(Debug)]
pub(super) struct Events {
    instance: String,
    ring: Mutex<Ring>,
    readers: broadcast::Sender<Arc<Event>>,
}

#[derive(Debug, Default)]
struct Ring {
    last: u64,
    kept: VecDeque<Arc<Event>>,
}

impl Events {
    /// No events yet, in the life `instance` of the node.
    pub(super) fn new(instance: String) -> Events {
        let (readers, _) = broadcast::channel(WAITING_MAX);
        Events { instance, ring: Mutex::default(), readers }
    }

    /// Makes an event of an announcement that is one.
    pub(super) fn hear(&self, surface: &Surface, heard: &Heard) {
        if let Announcement::Converged { took } = &heard.announcement {
            surface.meters.convergence.observe(took.as_secs_f64());
        }
        if let Announcement::RoundTrip { took, .. } = &heard.announcement {
            surface.meters.round_trip.observe(took.as_secs_f64());
        }
        if let Announcement::Credential(CredentialEvent::Drained { batch, took }) =
            &heard.announcement
        {
            surface.meters.drained(*batch, *took);
        }
        if let Announcement::Pool(event) = &heard.announcement {
            measure(surface, event);
        }
        if let Some((kind, details)) = describe(&heard.announcement) {
            self.push(surface, kind, surface.wall_of(heard.at), details);
        }
    }

    /// So many announcements went by unheard.
    pub(super) fn missed(&self, surface: &Surface, count: u64) {
        self.push(surface, "events.missed", surface.wall_now(), json!({"count": count}));
    }

    fn push(&self, surface: &Surface, kind: &'static str, at: String, details: Value) {
        let head = json!({"type": kind, "at": at, "node_id": surface.node_id()});
        let data = merged(head, details);
        let mut ring = self.ring.lock().expect("no holder of this lock panics");
        ring.last += 1;
        let id = format!("{}.{}", self.instance, ring.last);
        let frame = frame(Some(&id), kind, &data);
        let event = Arc::new(Event { sequence: ring.last, kind, frame });
        ring.kept.push_back(event.clone());
        if ring.kept.len() > RING_MAX {
            ring.kept.pop_front();
        }
        // Under the lock, so that a reader finds each event either in the ring or in its receiver.
        let _ = self.readers.send(event);
    }

    /// What a reader who last saw `id` has missed, and a receiver of what follows.
    fn resume(&self, id: Option<&str>) -> (Resumed, broadcast::Receiver<Arc<Event>>) {
        let ring = self.ring.lock().expect("no holder of this lock panics");
        let receiver = self.readers.subscribe();
        let Some(id) = id else { return (Resumed::Fresh, receiver) };
        let seen = id.rsplit_once('.').filter(|(instance, _)| *instance == self.instance);
        let seen = seen.and_then(|(_, sequence)| sequence.parse::<u64>().ok());
        let first = ring.kept.front().map_or(ring.last + 1, |event| event.sequence);
        match seen {
            Some(seen) if seen <= ring.last && seen + 1 >= first => {
                let missed = ring.kept.iter().filter(|event| event.sequence > seen);
                (Resumed::From(missed.cloned().collect()), receiver)
            }
            _ => (Resumed::TooOld { last: ring.last }, receiver),
        }
    }
}

/// Where a reader goes on.
enum Resumed {
    /// It has seen nothing and wants what comes.
    Fresh,
    /// It missed these.
    From(Vec<Arc<Event>>),
    /// What it missed is not known any more.
    TooOld { last: u64 },
}

fn follow(mut call: Call) -> Outcome {
    let wanted = wanted(call.query.all("types"))?;
    call.query.finish()?;
    let surface = call.surface.clone();
    let place = Place::take(&surface)?;
    let phases = surface.vitals.phases();
    let (resumed, receiver) = surface.events.resume(last_event_id(&call.headers));
    let wants = move |event: &Event| wanted.is_empty() || wanted.contains(&event.kind);
    let mut first = VecDeque::new();
    match resumed {
        Resumed::Fresh => {}
        Resumed::From(missed) => {
            let missed = missed.iter().filter(|event| wants(event));
            first.extend(missed.map(|event| event.frame.clone()));
        }
        Resumed::TooOld { last } => first.push_back(reset(&surface, last)),
    }
    let tail = Tail { _place: place, first, receiver, phases, ended: false };
    let show = move |event: &Arc<Event>| wants(event).then(|| event.frame.clone());
    Ok(Answer::stream(tail.into_body(show)))
}

/// The full state with which a reader begins anew.
fn reset(surface: &Surface, last: u64) -> Bytes {
    let published = surface.handle.published();
    let members = published.members.load_full();
    let rows: Vec<Value> = members.rows.values().map(|row| members::row(surface, row)).collect();
    let now = surface.host.now();
    let workers = published.workers.load_full();
    let workers: Vec<Value> =
        workers.entries.values().map(|entry| json!(entry.shown(now))).collect();
    let id = format!("{}.{last}", surface.events.instance);
    let data = json!({
        "at": surface.wall_now(),
        "node_id": members.local.node,
        "members": rows,
        "workers": workers,
    });
    frame(Some(&id), "reset", &data)
}

fn last_event_id(headers: &HeaderMap) -> Option<&str> {
    headers.get("last-event-id").and_then(|value| value.to_str().ok())
}

/// The types that a reader wants: whole names, or domains.
fn wanted(given: Vec<String>) -> Result<Vec<&'static str>, Problem> {
    let mut wanted = Vec::new();
    for name in given.iter().flat_map(|list| list.split(',')) {
        let prefix = format!("{name}.");
        let fits = TYPES.into_iter().filter(|kind| *kind == name || kind.starts_with(&prefix));
        let before = wanted.len();
        wanted.extend(fits);
        if wanted.len() == before {
            let detail = format!("no event has this type; there are {}", TYPES.join(", "));
            return Err(Problem::new(Code::InvalidRequest, detail));
        }
    }
    Ok(wanted)
}

/// The event that an announcement is, if it is one.
fn describe(announcement: &Announcement) -> Option<(&'static str, Value)> {
    let described = match announcement {
        Announcement::Member(notice) => noticed(notice),
        Announcement::Raised { replica } => {
            ("node.raised", json!({"incarnation": replica.incarnation}))
        }
        Announcement::Link { peer, up: true } => ("link.up", json!({"peer": peer})),
        Announcement::Link { peer, up: false } => ("link.down", json!({"peer": peer})),
        Announcement::Asymmetric { peer, missing: Some(missing) } => {
            let missing = members::transport(*missing);
            ("member.asymmetric", json!({"member": peer, "missing": missing}))
        }
        Announcement::Asymmetric { peer, missing: None } => {
            ("member.symmetric", json!({"member": peer}))
        }
        Announcement::Converged { took } => {
            ("mesh.converged", json!({"took_ms": quorate_core::time::millis(*took)}))
        }
        Announcement::Worker(change) => ("worker.changed", json!(change)),
        Announcement::Misbehaved { peer, what } => {
            ("peer.misbehaved", json!({"peer": peer, "what": what}))
        }
        Announcement::JoinFailed { seed, failures } => {
            ("node.join_failed", json!({"seed": seed, "failures": failures}))
        }
        Announcement::Credential(event) => return super::credentials::event(event),
        Announcement::Led { term, leader, here } => {
            ("raft.led", json!({"term": term, "leader": leader, "here": here}))
        }
        Announcement::GenesisConflict { with } => ("raft.genesis_conflict", json!({"with": with})),
        Announcement::NeedsUpgrade { index } => ("raft.needs_upgrade", json!({"index": index})),
        Announcement::Stopped => ("node.stopped", json!({})),
        Announcement::Duplicate { address } => ("node.duplicate", json!({"address": address})),
        Announcement::Pool(event) => return pool(event),
        // The watches tell these; as events they would only repeat what is said above.
        Announcement::MemberChanged { .. }
        | Announcement::WorkerChanged { .. }
        | Announcement::Watched { .. } => return None,
        Announcement::RoundTrip { .. } => return None, // A figure, shown by `/metrics`.
    };
    Some(described)
}

/// Counts that a pool began or ceased to serve (lanes of models are not pools), and how long a word took.
fn measure(surface: &Surface, event: &pools::Event) {
    match event {
        pools::Event::Exhausted { pool, lane, .. } if lane.is_empty() => {
            surface.meters.pool_edge(pool.as_str(), "exhausted");
        }
        pools::Event::Recovered { pool, lane, .. } if lane.is_empty() => {
            surface.meters.pool_edge(pool.as_str(), "recovered");
        }
        pools::Event::Shared { from: _, after_ms } => {
            let after = Duration::from_millis(*after_ms);
            surface.meters.pool_share.observe(after.as_secs_f64());
        }
        pools::Event::Exhausted { .. }
        | pools::Event::Recovered { .. }
        | pools::Event::Failover { .. }
        | pools::Event::Rested { .. }
        | pools::Event::Parked { .. }
        | pools::Event::ProbeDue { .. }
        | pools::Event::Changed { .. } => {}
    }
}

/// A pool's change; one of its snapshot alone is none.
fn pool(event: &pools::Event) -> Option<(&'static str, Value)> {
    let at = |unix: &UnixTime| clock::rfc3339(*unix);
    let described = match event {
        pools::Event::Exhausted { pool, lane, wake_at, members } => {
            let wake_at = wake_at.as_ref().map(at);
            let told = json!({"pool": pool, "lane": lane, "wake_at": wake_at, "members": members});
            ("pool.exhausted", told)
        }
        pools::Event::Recovered { pool, lane, member, cause, confirmed, after_ms, .. } => {
            let told = json!({
                "pool": pool, "lane": lane, "member": member, "cause": cause,
                "confirmed": confirmed, "after_ms": after_ms,
            });
            ("pool.recovered", told)
        }
        pools::Event::Failover { pool, lane, from, to, class } => {
            let told = json!({"pool": pool, "lane": lane, "from": from, "to": to, "class": class});
            ("pool.failover", told)
        }
        pools::Event::Rested {
            pool,
            credential,
            class,
            scope,
            source,
            rest_until,
            stated_reset,
        } => {
            let told = json!({
                "pool": pool, "credential": credential, "class": class, "target": scope,
                "source": source, "rest_until": at(rest_until),
                "stated_reset": stated_reset.as_ref().map(at),
            });
            ("pool.rested", told)
        }
        pools::Event::Parked { pool, member, until } => {
            let told = json!({"pool": pool, "member": member, "until": until.as_ref().map(at)});
            ("pool.parked", told)
        }
        pools::Event::Shared { .. }
        | pools::Event::ProbeDue { .. }
        | pools::Event::Changed { .. } => return None,
    };
    Some(described)
}

fn noticed(notice: &Notice) -> (&'static str, Value) {
    let of = |replica: &quorate_core::ids::Replica| json!({"member": replica.node, "incarnation": replica.incarnation});
    match notice {
        Notice::Up { replica, born, address } => {
            let more = json!({"born": born, "address": address});
            ("member.up", merged(of(replica), more))
        }
        Notice::Suspect { replica } => ("member.suspect", of(replica)),
        Notice::Refuted { replica } => ("member.refuted", of(replica)),
        Notice::Departed { replica, reason: Reason::Failed } => ("member.failed", of(replica)),
        Notice::Departed { replica, reason: Reason::Left } => ("member.left", of(replica)),
        Notice::Departed { replica, reason: Reason::Evicted } => ("member.evicted", of(replica)),
        Notice::Renamed { old, new, born, address } => {
            let more = json!({"before": old.incarnation, "born": born, "address": address});
            ("member.renamed", merged(of(new), more))
        }
        Notice::Forgotten { node, fence } => {
            ("member.forgotten", json!({"member": node, "fence": fence}))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_is_explained_and_nothing_else_is() {
        let documented: Vec<&str> = include_str!("../../../docs/EVENTS.md")
            .lines()
            .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
            .map(|(name, _)| name)
            .collect();
        for kind in TYPES {
            assert!(documented.contains(&kind), "docs/EVENTS.md lacks `{kind}`");
        }
        for name in documented {
            assert!(TYPES.contains(&name), "docs/EVENTS.md explains `{name}`, which never happens");
        }
        assert!(TYPES.is_sorted());
    }

    #[test]
    fn types_are_asked_for_by_name_or_domain() {
        let some = wanted(vec!["link,member.up".to_owned()]).expect("all of them exist");
        assert_eq!(some, ["link.down", "link.up", "member.up"]);
        assert!(wanted(vec!["member.u".to_owned()]).is_err());
        assert!(wanted(vec!["mem".to_owned()]).is_err());
    }
}

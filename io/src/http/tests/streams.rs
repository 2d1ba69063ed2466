//! Streams: watches that coalesce, events that resume.

use std::sync::Arc;
use std::time::Duration;

use axum::body::BodyDataStream;
use futures_util::StreamExt as _;
use quorate_core::ids::{Incarnation, Notice, Reason, Replica};
use quorate_core::node::Announcement;
use quorate_core::node::membership::State;
use serde_json::Value;

use super::harness::{World, asking, entry, member, node};
use crate::health::Phase;

/// A reader of one stream.
struct Reader {
    body: BodyDataStream,
}

/// One event as it arrived.
#[derive(Debug, PartialEq)]
struct Arrived {
    id: Option<String>,
    event: String,
    data: Value,
}

impl Reader {
    async fn open(world: &World, path: &str, last: Option<&str>) -> Reader {
        let token = world.tokens.get("read").expect("a token").clone();
        let mut ask = asking("GET", path).token(&token);
        if let Some(last) = last {
            ask = ask.header("last-event-id", last);
        }
        let response = world.open(ask).await;
        assert_eq!(response.status(), 200, "{path}");
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Reader { body: response.into_body().into_data_stream() }
    }

    /// The next frame's text; `None` at the end.
    async fn frame(&mut self) -> Option<String> {
        let next = tokio::time::timeout(Duration::from_secs(60), self.body.next()).await;
        let bytes = next.expect("a frame comes in time")?.expect("a stream does not fail");
        Some(String::from_utf8(bytes.to_vec()).expect("text"))
    }

    /// The next event.
    async fn next(&mut self) -> Arrived {
        let text = self.frame().await.expect("the stream goes on");
        let field =
            |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
        Arrived {
            id: field("id: "),
            event: field("event: ").unwrap_or_else(|| panic!("no event: {text}")),
            data: serde_json::from_str(&field("data: ").expect("data")).expect("JSON"),
        }
    }
}

fn ids(list: &Value) -> Vec<&str> {
    list.as_array().expect("a list").iter().map(|row| row["id"].as_str().expect("an id")).collect()
}

#[tokio::test]
async fn a_watch_of_members_begins_with_all_and_coalesces_what_a_slow_reader_missed() {
    let world = World::new();
    let mut reader = Reader::open(&world, "/v1/cluster/members/watch", None).await;
    let reset = reader.next().await;
    assert_eq!(
        (reset.event.as_str(), ids(&reset.data["items"])),
        ("reset", vec!["n1", "n2", "n3"])
    );
    for round in 0..1000 {
        let state = if round % 2 == 0 { State::Suspect } else { State::Alive };
        world.set_members(|members| {
            members.rows.insert(node("n2"), Arc::new(member("n2", state)));
        });
        world.announce(Announcement::MemberChanged { node: node("n2") });
    }
    world.set_members(|members| {
        members.rows.insert(node("n2"), Arc::new(member("n2", State::Suspect)));
        members.rows.insert(node("n4"), Arc::new(member("n4", State::Alive)));
        members.rows.remove(&node("n3"));
        members.rows.insert(node("n1"), Arc::new(member("n1", State::Left)));
    });
    world.announce(Announcement::MemberChanged { node: node("n4") });
    let change = reader.next().await;
    assert_eq!(change.event, "change");
    assert_eq!(ids(&change.data["joined"]), ["n4"]);
    assert_eq!(ids(&change.data["left"]), ["n1"]);
    assert_eq!(ids(&change.data["suspected"]), ["n2"]);
    assert_eq!(change.data["forgotten"], serde_json::json!(["n3"]));
    assert_eq!(change.data["updated"], serde_json::json!([]));
}

/// M-6: folding `reset` and every `change` gives the present view.
#[tokio::test]
async fn folding_a_watch_gives_the_view() {
    let world = World::new();
    let mut reader = Reader::open(&world, "/v1/cluster/members/watch", None).await;
    let mut view = std::collections::BTreeMap::new();
    for row in reader.next().await.data["items"].as_array().expect("items") {
        view.insert(row["id"].to_string(), row["state"].clone());
    }
    let states = [State::Alive, State::Suspect, State::Failed, State::Left, State::Evicted];
    for step in 0..40_usize {
        let name = ["n2", "n3", "n4", "n5"][step % 4];
        world.set_members(|members| {
            if step % 7 == 3 {
                members.rows.remove(&node(name));
            } else {
                let state = states[step * 3 % 5];
                members.rows.insert(node(name), Arc::new(member(name, state)));
            }
        });
        world.announce(Announcement::MemberChanged { node: node(name) });
        let change = reader.next().await.data;
        for list in ["joined", "left", "updated", "suspected"] {
            for row in change[list].as_array().expect("a list") {
                view.insert(row["id"].to_string(), row["state"].clone());
            }
        }
        for gone in change["forgotten"].as_array().expect("a list") {
            view.remove(&gone.to_string());
        }
        let members = world.published.members.load();
        let expected: std::collections::BTreeMap<String, Value> = members
            .rows
            .iter()
            .map(|(node, row)| (serde_json::json!(node).to_string(), serde_json::json!(row.state)))
            .collect();
        assert_eq!(view, expected, "after step {step}");
    }
}

#[tokio::test]
async fn a_watch_of_workers_tells_changes_and_removals_but_no_probes() {
    let world = World::new();
    let mut reader = Reader::open(&world, "/v1/workers/watch", None).await;
    assert_eq!(reader.next().await.data["items"].as_array().map(Vec::len), Some(2));
    let publish = |change: &dyn Fn(&mut quorate_core::node::workers::Snapshot)| {
        let mut snapshot =
            quorate_core::node::workers::Snapshot::clone(&world.published.workers.load());
        change(&mut snapshot);
        world.published.workers.store(Arc::new(snapshot));
        world.announce(Announcement::WorkerChanged { url: "http://10.0.0.7:8000".into() });
    };
    publish(&|snapshot| {
        let mut probed = entry(1, "http://10.0.0.7:8000");
        probed.probe.good = 5;
        snapshot.entries.insert(probed.url.clone(), Arc::new(probed));
    });
    publish(&|snapshot| {
        snapshot.entries.remove("http://10.0.0.8:8000");
        let mut drained = entry(1, "http://10.0.0.7:8000");
        drained.status = quorate_core::node::workers::Status::Draining;
        snapshot.entries.insert(drained.url.clone(), Arc::new(drained));
    });
    let change = reader.next().await;
    assert_eq!(change.data["changed"][0]["status"], "draining");
    assert_eq!(change.data["removed"][0]["url"], "http://10.0.0.8:8000");
}

fn departed(name: &str) -> Announcement {
    let replica = Replica { node: node(name), incarnation: Incarnation(57) };
    Announcement::Member(Notice::Departed { replica, reason: Reason::Failed })
}

async fn heard(world: &World) {
    // The events are made by a task beside us.
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
    let _ = world;
}

#[tokio::test]
async fn events_are_told_as_they_come_filtered_and_with_ids() {
    let world = World::new();
    heard(&world).await;
    let mut all = Reader::open(&world, "/v1/events", None).await;
    let mut links = Reader::open(&world, "/v1/events?types=link", None).await;
    world.announce(departed("n2"));
    world.announce(Announcement::MemberChanged { node: node("n2") });
    world.announce(Announcement::Link { peer: node("n2"), up: false });
    let first = all.next().await;
    assert_eq!((first.id.as_deref(), first.event.as_str()), (Some("n1/57.1"), "member.failed"));
    assert_eq!(first.data["type"], "member.failed");
    assert_eq!((&first.data["member"], &first.data["node_id"]), (&"n2".into(), &"n1".into()));
    assert!(first.data["at"].as_str().expect("a time").ends_with('Z'));
    assert_eq!(all.next().await.event, "link.down");
    assert_eq!(links.next().await.event, "link.down");
    assert_eq!(world.get("/v1/events?types=nothing").await.status, 400);
}

#[tokio::test]
async fn a_reader_who_comes_back_misses_nothing_and_one_from_another_life_begins_anew() {
    let world = World::new();
    heard(&world).await;
    for _ in 0..5 {
        world.announce(departed("n2"));
    }
    heard(&world).await;
    let mut back = Reader::open(&world, "/v1/events", Some("n1/57.2")).await;
    let seen = [back.next().await.id, back.next().await.id, back.next().await.id];
    assert_eq!(seen, ["n1/57.3", "n1/57.4", "n1/57.5"].map(|id| Some(id.to_owned())));
    for odd in ["n1/56.2", "n1/57.9", "nonsense"] {
        let mut anew = Reader::open(&world, "/v1/events", Some(odd)).await;
        let reset = anew.next().await;
        assert_eq!(
            (reset.event.as_str(), reset.id.as_deref()),
            ("reset", Some("n1/57.5")),
            "{odd}"
        );
        assert_eq!(reset.data["members"].as_array().map(Vec::len), Some(3));
    }
}

#[tokio::test]
async fn a_reader_for_whom_too_many_events_wait_is_told_and_let_go() {
    let world = World::new();
    heard(&world).await;
    let mut slow = Reader::open(&world, "/v1/events", None).await;
    for _ in 0..300 {
        world.announce(departed("n2"));
    }
    while world.surface.meters.sse_readers.get() != 1 {
        heard(&world).await;
    }
    heard(&world).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(slow.next().await.event, "overflow");
    assert!(slow.frame().await.is_none(), "the stream ends");
}

#[tokio::test]
async fn a_stop_ends_every_stream_with_a_word() {
    let world = World::new();
    let mut members = Reader::open(&world, "/v1/cluster/members/watch", None).await;
    let mut workers = Reader::open(&world, "/v1/workers/watch", None).await;
    let mut events = Reader::open(&world, "/v1/events", None).await;
    members.next().await;
    workers.next().await;
    world.vitals.enter(Phase::Stopping);
    for reader in [&mut members, &mut workers, &mut events] {
        assert_eq!(reader.next().await.event, "shutdown");
        assert!(reader.frame().await.is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn a_quiet_stream_shows_every_fifteen_seconds_that_it_lives() {
    let world = World::new();
    let mut reader = Reader::open(&world, "/v1/cluster/members/watch", None).await;
    reader.next().await;
    let began = tokio::time::Instant::now();
    assert_eq!(reader.frame().await.as_deref(), Some(": alive\n\n"));
    assert_eq!(began.elapsed().as_secs(), 15);
}

#[tokio::test]
async fn two_hundred_and_fifty_six_streams_are_open_at_once_and_each_gives_its_place_back() {
    let world = World::new();
    let mut readers = Vec::new();
    for _ in 0..256 {
        readers.push(Reader::open(&world, "/v1/cluster/members/watch", None).await);
    }
    let refused = world.get("/v1/workers/watch").await;
    assert_eq!((refused.status.as_u16(), refused.code().as_str()), (503, "queue_full"));
    assert_eq!(world.surface.meters.sse_readers.get(), 256);
    readers.pop();
    Reader::open(&world, "/v1/workers/watch", None).await;
    drop(readers);
    assert_eq!(world.surface.meters.sse_readers.get(), 0);
}

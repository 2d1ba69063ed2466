//! What each surface shows, and what its verbs ask of the node.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use quorate_core::node::membership::{Refusal, State};
use quorate_core::node::workers::{self, Answer, Command, Status, Target};
use quorate_core::node::{Reply, Request};
use quorate_core::time::Instant;
use quorate_core::wire::Transport;
use serde_json::json;

use super::description::check_answer;
use super::harness::{Reaction, World, asking, entry, member, node, registered};
use crate::health::StoreState;
use crate::http::ReloadError;

const WORKER: &str = "http://10.0.0.7:8000";

fn worker_id() -> String {
    workers::claim::id(&node("n1"), WORKER).to_string()
}

fn described(method: &str, path: &str, answer: &Reaction) {
    check_answer(method, path, answer.status.as_u16(), &answer.json());
}

#[tokio::test]
async fn what_may_be_old_is_read_without_a_word_to_the_loop_and_what_is_to_come_is_waited_for_there()
 {
    use quorate_core::node::kv::{
        Answer, Binding, Command, Failure, Key, Operation, Transaction, View,
    };
    let world = World::new();
    let put = Operation::Put {
        key: Key::new(b"color").expect("a key"),
        value: "blue".into(),
        lease: Binding::None,
        previous: false,
    };
    let command = Command::Transact(Transaction {
        namespace: "app".parse().expect("a namespace"),
        compare: Vec::new().into(),
        then: vec![put].into(),
        otherwise: Vec::new().into(),
    });
    let mut view = View::default();
    view.copy = true;
    view.state.apply(1, 0, &quorate_core::wire::encode(&command));
    world.published.kv.store(Arc::new(view));
    let told = world.get("/v1/kv/app/color?mode=local").await;
    assert_eq!((told.status.as_u16(), &told.json()["key"]["value"]), (200, &json!("blue")));
    assert_eq!(world.get("/v1/kv/app?mode=local").await.json()["items"][0]["key"], "color");
    assert!(world.last_wish().is_none(), "the loop was asked for nothing");
    let behind = Failure::Behind { min_revision: 2, revision: 1 };
    world.will_reply(Reply::Kv(Answer::Failed(behind)));
    let late = world.get("/v1/kv/app/color?mode=local&min_revision=2").await;
    assert_eq!(late.code(), "deadline", "{}", late.text);
    assert!(matches!(world.last_wish(), Some(Request::Kv { .. })), "only the node knows when");
}

#[tokio::test(start_paused = true)]
async fn the_store_has_its_deadline_but_no_longer_than_a_surface_waits_and_is_heard_at_its_end() {
    let world = World::new();
    for (seconds, cut) in [(5, None), (25, None), (40, Some(25))] {
        let mut view = quorate_core::node::kv::View::default();
        view.deadline = Duration::from_secs(seconds);
        world.published.kv.store(Arc::new(view));
        world.script.lock().expect("free").mute = true;
        let began = tokio::time::Instant::now();
        assert_eq!(world.get("/v1/kv/app/color").await.code(), "ambiguous");
        let waited = began.elapsed().as_secs();
        assert!((26..29).contains(&waited), "{waited} s at {seconds} s");
        let Some(Request::Kv { within, .. }) = world.last_wish() else { panic!("nothing asked") };
        assert_eq!(within, cut.map(Duration::from_secs), "at {seconds} s");
    }
}

#[tokio::test]
async fn every_readable_answer_is_as_it_is_described() {
    let world = World::new();
    world.ask_as("operate", asking("POST", "/v0/operations/drain")).await;
    for path in [
        "/health",
        "/v1/cluster",
        "/v1/cluster/health",
        "/v1/cluster/members",
        "/v1/cluster/members/{id}",
        "/v1/workers",
        "/v1/workers/{id}",
        "/v0/operations/node",
        "/v0/operations/raft",
        "/v0/operations/raft/log",
        "/v0/operations/gossip",
        "/v0/operations/links",
        "/v0/operations/replicas",
        "/v0/operations/keyring",
        "/v0/operations/dump",
        "/v0/operations/audit",
    ] {
        let answer = world.get(&super::conventions::concrete(path)).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        described("GET", path, &answer);
    }
    let explained = world.get("/v1/workers/explain?model=llama").await;
    described("GET", "/v1/workers/explain", &explained);
    described("GET", "/v1/cluster", &world.ask(asking("GET", "/v1/cluster")).await);
}

#[tokio::test]
async fn members_are_listed_filtered_and_shown_with_their_links() {
    let world = World::new();
    let all = world.get("/v1/cluster/members").await.json();
    let ids: Vec<&str> = all["items"]
        .as_array()
        .expect("items")
        .iter()
        .filter_map(|row| row["id"].as_str())
        .collect();
    assert_eq!((ids, &all["version"]), (vec!["n1", "n2", "n3"], &json!(912)));
    assert_eq!(all["items"][0]["self"], true);
    assert_eq!(all["items"][0]["protocol"], json!({"min": 1, "max": 1}));
    assert_eq!(all["items"][0]["since"], "2023-11-14T22:13:21.000Z");
    let failed = world.get("/v1/cluster/members?state=failed&label=tier=edge").await.json();
    assert_eq!(failed["items"][0]["id"], "n3");
    let none = world.get("/v1/cluster/members?label=tier=core").await.json();
    assert_eq!(none["items"], json!([]));
    for odd in ["state=dead", "label=tier", "cursor=%21", "limit=0"] {
        assert_eq!(world.get(&format!("/v1/cluster/members?{odd}")).await.status, 400, "{odd}");
    }
    let page = world.get("/v1/cluster/members?limit=2").await.json();
    let cursor = page["next_cursor"].as_str().expect("there is more");
    let rest = world.get(&format!("/v1/cluster/members?cursor={cursor}")).await.json();
    assert_eq!((&rest["items"][0]["id"], &rest["next_cursor"]), (&json!("n3"), &json!(null)));
    assert_eq!(world.get("/v1/cluster/members/n9").await.status, 404);
    assert_eq!(world.get("/v1/cluster/members/No%20Id").await.status, 404);
}

#[tokio::test]
async fn facts_that_make_no_sense_are_shown_as_none() {
    let world = World::new();
    world.set_members(|members| {
        let mut odd = member("n2", State::Alive);
        for key in ["zone", "labels", "versions", "addresses"] {
            odd.facts.insert(key.into(), "[{\"\\u0000\":1}]".into());
        }
        members.rows.insert(node("n2"), Arc::new(odd));
    });
    let shown = world.get("/v1/cluster/members/n2").await;
    described("GET", "/v1/cluster/members/{id}", &shown);
    let shown = shown.json();
    assert_eq!((&shown["zone"], &shown["labels"]), (&json!(""), &json!({})));
    assert_eq!(shown["protocol"], json!(null));
}

#[tokio::test]
async fn a_failed_member_is_evicted_and_a_living_one_is_not() {
    let world = World::new();
    let tag = world.get("/v1/cluster/members/n3").await.headers["etag"].clone();
    let tag = tag.to_str().expect("text");
    let evict = || asking("DELETE", "/v1/cluster/members/n3");
    let stale = world.ask_as("admin", evict().header("if-match", "\"old\"")).await;
    assert_eq!(stale.code(), "precondition_failed");
    assert_eq!(world.ask_as("operate", evict()).await.code(), "scope_missing");
    let done = world.ask_as("admin", evict().header("if-match", tag)).await;
    assert_eq!((done.status.as_u16(), done.text.as_str()), (204, ""));
    assert_eq!(world.last_wish(), Some(Request::Evict { node: node("n3") }));
    let refusal = Refusal::NotFailed { node: node("n2"), state: "alive".to_owned() };
    world.will_reply(Reply::Refused(refusal));
    let refused = world.ask_as("admin", asking("DELETE", "/v1/cluster/members/n2")).await;
    assert_eq!(refused.code(), "conflict");
    assert!(refused.json()["detail"].as_str().expect("text").contains("only a failed node"));
}

#[tokio::test]
async fn joining_leaving_and_labelling_ask_the_node() {
    let world = World::new();
    let addresses = json!({"addresses": ["10.0.0.1:7420", "seed:7420"]});
    let joined = world.ask_as("admin", asking("POST", "/v1/cluster/join").json(&addresses)).await;
    described("POST", "/v1/cluster/join", &joined);
    let leave = asking("POST", "/v1/cluster/leave").json(&json!({"remove_workers": true}));
    let left = world.ask_as("admin", leave).await;
    assert_eq!(left.status, 202);
    described("POST", "/v1/cluster/leave", &left);
    let expected = Request::Leave { remove_workers: true, restarting: false };
    assert_eq!(world.last_wish(), Some(expected));
    let bare = world.ask_as("admin", asking("POST", "/v1/cluster/leave")).await;
    assert_eq!(bare.json()["remove_workers"], false);
    let labels = asking("PUT", "/v1/cluster/labels").json(&json!({"labels": {"a": "b"}}));
    let set = world.ask_as("admin", labels).await;
    described("PUT", "/v1/cluster/labels", &set);
    world.will_reply(Reply::Refused(Refusal::Labels { what: "33 labels".to_owned() }));
    let many = asking("PUT", "/v1/cluster/labels").json(&json!({"labels": {}}));
    assert_eq!(world.ask_as("admin", many).await.code(), "invalid_request");
    let lines = world.audit_lines();
    let line = lines.iter().find(|line| line["verb"] == "cluster.labels").expect("a line");
    assert!(
        line["before"].is_string() && line["after"].is_string() && line["before"] != line["after"]
    );
}

#[tokio::test]
async fn the_cluster_says_how_it_is_and_why() {
    let world = World::new();
    let health = world.get("/v1/cluster/health").await.json();
    assert_eq!(health, json!({"health": "degraded", "reasons": ["n3 failed"]}));
    world.set_members(|members| {
        members.rows.remove(&node("n3"));
        let silent = quorate_core::node::membership::Member {
            missing: Some(Transport::Link),
            ..member("n2", State::Suspect)
        };
        members.rows.insert(node("n2"), Arc::new(silent));
    });
    let health = world.get("/v1/cluster/health").await.json();
    assert_eq!(health["reasons"], json!(["n2 is suspected", "n2: nothing arrives by link"]));
    world.set_members(|members| {
        members.rows.insert(node("n2"), Arc::new(member("n2", State::Alive)));
        members.full = true;
    });
    let health = world.get("/v1/cluster/health").await.json();
    assert_eq!(health["reasons"], json!(["members_full: new nodes are ignored"]));
    world.set_members(|members| {
        members.rows.remove(&node("n2"));
    });
    assert_eq!(world.get("/v1/cluster").await.json()["health"], "alone");
}

#[tokio::test]
async fn probes_tell_life_start_and_readiness_apart() {
    let world = World::new();
    let ask = async |path: &str| {
        world.pass(1000); // An evaluation is kept for a second.
        let answer = world.ask(asking("GET", path)).await;
        (answer.status.as_u16(), answer.text)
    };
    assert_eq!(ask("/readyz").await, (200, "ok".to_owned()));
    let (_, listing) = ask("/readyz?verbose&exclude=workers,nothing").await;
    let expected = "[+]loop ok\n[+]boot ok\n[+]mesh ok: 2 of 3 alive\n\
        [+]credentials ok: none are kept\n\
        [+]pools ok: 1 of 1 can serve\n[ ]pool/codex shown only: can serve\n\
        [ ]raft shown only: no copy is kept here\n[+]drain ok\n\
        warning: nothing is no check\nreadyz check passed\n";
    assert_eq!(listing, expected);
    world.vitals.store(StoreState::Refusing { why: "disk full".to_owned() });
    assert_eq!(ask("/readyz").await.0, 503);
    assert_eq!(ask("/startupz").await.0, 503);
    assert_eq!(ask("/livez").await.0, 200, "a full disk is not cured by a restart");
    assert_eq!(ask("/readyz?exclude=store").await.0, 200);
    assert_eq!(
        ask("/readyz/store").await,
        (503, "[-]store failed: refusing: disk full\n".to_owned())
    );
    assert_eq!(ask("/readyz/nothing").await.0, 404);
    world.vitals.store(StoreState::Fatal { why: "broken".to_owned() });
    assert_eq!(ask("/livez").await.0, 503);
    world.vitals.store(StoreState::Well { latency: Duration::from_millis(1) });
    assert_eq!(ask("/livez").await.0, 200);
    world.set_members(|members| members.draining = true);
    assert_eq!(world.ask(asking("GET", "/readyz")).await.status, 503, "drain shows at once");
    assert_eq!(ask("/livez").await.0, 200);
}

#[tokio::test]
async fn a_loop_that_stands_still_for_ten_seconds_is_dead() {
    let world = World::new();
    world.vitals.turned(Instant::from_micros(world.now().as_micros() - 10_000_001));
    assert_eq!(world.ask(asking("GET", "/livez")).await.status, 503);
    let health = world.ask(asking("GET", "/health")).await;
    assert_eq!((health.status.as_u16(), &health.json()["status"]), (503, &json!("unavailable")));
}

#[tokio::test]
async fn the_page_of_metrics_holds_every_series_from_the_first_scrape() {
    let world = World::new();
    let page = world.get("/metrics").await;
    assert!(
        page.headers["content-type"]
            .to_str()
            .expect("text")
            .starts_with("application/openmetrics-text")
    );
    let text = page.text;
    for series in [
        "quorate_membership_members{state=\"failed\"} 0",
        "quorate_membership_fences_dropped_total 0",
        "quorate_queue_depth{queue=\"store\"} 0",
        "quorate_build_info{version=\"0.1.0\"} 1",
        "quorate_http_requests_total{route=\"/v1/cluster\",method=\"GET\",status=\"200\"} 0",
        "quorate_http_requests_total{route=\"unmatched\",method=\"other\",status=\"404\"} 0",
        "quorate_worker_picks_total{policy=\"weighted\",result=\"all_full\"} 0",
        "quorate_auth_failures_total{reason=\"scope\"} 0",
    ] {
        assert!(text.lines().any(|line| line == series), "no `{series}` in\n{text}");
    }
    assert!(text.ends_with("# EOF\n"));
    let shown: BTreeSet<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    let documented: BTreeSet<&str> = include_str!("../../../../docs/METRICS.md")
        .lines()
        .filter_map(|line| line.strip_prefix("| `quorate_")?.split_once('`'))
        .map(|(name, _)| name.strip_suffix("_total").unwrap_or(name))
        .map(|name| name.strip_suffix("_info").unwrap_or(name))
        .collect();
    let shown: BTreeSet<&str> =
        shown.iter().filter_map(|name| name.strip_prefix("quorate_")).collect();
    // Here is no log of a process, which is a source of its own: `log.rs`.
    let of_the_log = BTreeSet::from(["log_lines", "log_suppressed"]);
    let shown: BTreeSet<&str> = shown.union(&of_the_log).copied().collect();
    let lacking: Vec<_> = shown.difference(&documented).collect();
    let invented: Vec<_> = documented.difference(&shown).collect();
    assert!(lacking.is_empty(), "docs/METRICS.md lacks {lacking:?}");
    assert!(invented.is_empty(), "no fresh node shows {invented:?}");
}

#[tokio::test]
async fn operators_turn_the_log_and_read_the_audit() {
    let world = World::new();
    let set = |body| asking("PUT", "/v0/operations/log").json(&body);
    let fine = world.ask_as("operate", set(json!({"filter": "debug", "seconds": 60}))).await;
    described("PUT", "/v0/operations/log", &fine);
    assert_eq!(*world.host.filters.lock().expect("free"), ["debug"]);
    let odd = world.ask_as("operate", set(json!({"filter": "nonsense[", "seconds": 60}))).await;
    assert_eq!(odd.code(), "invalid_request");
    let long = world.ask_as("operate", set(json!({"filter": "debug", "seconds": 3601}))).await;
    assert_eq!(long.json()["errors"][0]["pointer"], "/seconds");
    let lines = world.get("/v0/operations/audit?after=1&limit=1").await.json();
    assert_eq!(lines["items"][0]["sequence"], 2);
    assert_eq!(lines["head"]["sequence"], 3);
    let refused = world.ask_as("operate", asking("GET", "/v0/operations/audit")).await;
    assert_eq!(refused.code(), "scope_missing");
}

#[tokio::test]
async fn operators_have_every_turn_recorded_one_recording_at_a_time() {
    let world = World::new();
    let ask =
        |seconds: u64| asking("POST", "/v0/operations/trace").json(&json!({ "seconds": seconds }));
    let begun = world.ask_as("operate", ask(5)).await;
    described("POST", "/v0/operations/trace", &begun);
    assert_eq!(begun.json(), json!({"path": "/data/trace/1.jsonl", "seconds": 5}));
    let lines = world.audit_lines();
    assert_eq!(lines.last().expect("a line")["verb"], "node.trace");
    let told = async |seconds| {
        let answer = world.ask_as("operate", ask(seconds)).await;
        (answer.status.as_u16(), answer.code())
    };
    assert_eq!(told(599).await, (409, "conflict".to_owned()));
    assert_eq!(told(600).await, (404, "not_found".to_owned()));
    assert_eq!(told(598).await, (503, "store_unavailable".to_owned()));
    for wrong in [0, 601] {
        let answer = world.ask_as("operate", ask(wrong)).await;
        assert_eq!(answer.json()["errors"][0]["pointer"], "/seconds");
    }
    assert_eq!(world.ask_as("read", ask(5)).await.code(), "scope_missing");
}

#[tokio::test]
async fn a_worker_is_registered_with_its_key_kept_apart() {
    let world = World::new();
    let made = Arc::new(entry(3, "http://10.0.0.9:8000"));
    world.will_reply(Reply::Worker(Answer::Created(made.clone())));
    let body = json!({"url": "http://10.0.0.9:8000", "api_key": "sk-canary"});
    let answer = world.ask_as("operate", asking("POST", "/v1/workers").json(&body)).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.headers["etag"]),
        (201, &"\"7\"".parse().expect("a header"))
    );
    assert_eq!(answer.headers["location"], format!("/v1/workers/{}", made.id));
    described("POST", "/v1/workers", &answer);
    assert_eq!(world.host.keys.lock().expect("free")["http://10.0.0.9:8000"], "sk-canary");
    world.will_reply(Reply::Worker(Answer::Created(made.clone())));
    let unkept = json!({"url": "http://10.0.0.9:8000", "api_key": "no-room"});
    let refused = world.ask_as("operate", asking("POST", "/v1/workers").json(&unkept)).await;
    assert_eq!((refused.status.as_u16(), refused.code().as_str()), (503, "store_unavailable"));
    let wish = format!("{:?}", world.last_wish());
    assert!(wish.contains("keyed: true") && !wish.contains("canary"), "{wish}");
    let log = format!("{:?}", world.audit_lines());
    assert!(!log.contains("canary") && !answer.text.contains("canary"));
    for (body, pointer) in [
        (json!({"url": "http://a:1", "weigth": 1}), "/weigth"),
        (json!({"url": "http://a:1", "api_key": 7}), "/api_key"),
        (json!({"url": "http://a:1", "weight": "heavy"}), "/weight"),
        (json!({}), "/url"),
    ] {
        let answer = world.ask_as("operate", asking("POST", "/v1/workers").json(&body)).await;
        assert_eq!(answer.json()["errors"][0]["pointer"], pointer, "{}", answer.text);
    }
}

#[tokio::test]
async fn a_worker_is_changed_only_at_the_revision_that_was_read() {
    let world = World::new();
    let path = format!("/v1/workers/{}", worker_id());
    let put = || asking("PUT", &path).json(&json!({"url": WORKER}));
    assert_eq!(world.ask_as("operate", put()).await.code(), "precondition_required");
    let stale = world.ask_as("operate", put().header("if-match", "\"6\"")).await;
    assert_eq!(
        (stale.code(), &stale.json()["revision"]),
        ("precondition_failed".to_owned(), &json!("7"))
    );
    assert!(world.last_wish().is_none(), "the node heard of neither");
    world.will_reply(Reply::Worker(Answer::Entry(Arc::new(entry(1, WORKER)))));
    let fine = world.ask_as("operate", put().header("if-match", "\"7\"")).await;
    described("PUT", "/v1/workers/{id}", &fine);
    world.will_reply(Reply::Worker(Answer::Entry(Arc::new(entry(1, WORKER)))));
    let patch = asking("PATCH", &path).json(&json!({"weight": 7})).header("if-match", "*");
    assert_eq!(world.ask_as("operate", patch).await.status, 200);
    let Some(Request::Worker(Command::Patch { revision, .. })) = world.last_wish() else {
        panic!("a patch was wished for")
    };
    assert_eq!(revision, Some(7));
}

#[tokio::test]
async fn a_worker_of_another_node_says_whose_it_is() {
    let world = World::new();
    let drain = format!("/v1/workers/{}/drain", worker_id());
    let owned = || {
        let refusal = workers::Refusal::OwnedBy { owner: node("n2"), alive: true };
        world.will_reply(Reply::Worker(Answer::Refused(refusal)));
    };
    owned();
    let refused = world.ask_as("operate", asking("POST", &drain)).await.json();
    let told = (&refused["code"], &refused["owner"], &refused["owner_http"], &refused["alive"]);
    let expected = (&json!("owned_by"), &json!("n2"), &json!("http://10.0.0.9:8420"), &json!(true));
    assert_eq!(told, expected);
    owned();
    let forwarded = asking("POST", &format!("{drain}?forward=true"));
    assert_eq!(world.ask_as("operate", forwarded).await.code(), "owner_unreachable");
    for verb in ["drain", "undrain", "probe", "suppress", "unsuppress"] {
        world.will_reply(Reply::Worker(Answer::Entry(Arc::new(entry(1, WORKER)))));
        let ask = asking("POST", &format!("/v1/workers/{}/{verb}", worker_id()));
        let answer = world.ask_as("operate", ask).await;
        described("POST", &format!("/v1/workers/{{id}}/{verb}"), &answer);
    }
    let gone = asking("POST", "/v1/workers/7e0ef188-0000-5f93-9c1f-4086d2e0ae3f/drain");
    assert_eq!(world.ask_as("operate", gone).await.status, 404);
}

#[tokio::test]
async fn a_reload_names_what_needs_a_restart_and_changes_nothing_when_it_is_invalid() {
    let world = World::new();
    let reload = || asking("POST", "/v0/operations/reload");
    let answer = world.ask_as("operate", reload()).await;
    described("POST", "/v0/operations/reload", &answer);
    assert_eq!(answer.json(), json!({"reloaded": true, "needs_restart": ["listen.http"]}));
    for (error, code) in [
        (ReloadError::Invalid("`gosip` is not a key".to_owned()), "config_invalid"),
        (ReloadError::Busy, "conflict"),
    ] {
        *world.host.reload.lock().expect("free") = Err(error);
        assert_eq!(world.ask_as("operate", reload()).await.code(), code);
    }
    assert_eq!(world.ask_as("read", reload()).await.status, 403);
}

#[tokio::test]
async fn a_removal_says_when_the_worker_is_gone() {
    let world = World::new();
    let after = Duration::from_secs(5);
    world.will_reply(Reply::Worker(Answer::Removing { ids: vec![worker_id()], after }));
    let path = format!("/v1/workers/{}?now=false", worker_id());
    let answer = world.ask_as("operate", asking("DELETE", &path)).await;
    assert_eq!(answer.status, 202);
    assert_eq!(answer.json()["removed_at"], "2023-11-14T22:13:45.000Z");
    described("DELETE", "/v1/workers/{id}", &answer);
    let expected =
        Command::Remove { targets: vec![Target::Id(worker_id())], revision: None, now: false };
    assert_eq!(world.last_wish(), Some(Request::Worker(expected)));
}

#[tokio::test]
async fn every_refusal_of_workers_has_a_status_that_is_described() {
    let world = World::new();
    let refusals = [
        (workers::Refusal::WorkerExists { id: "x".into() }, 409),
        (workers::Refusal::Url(workers::UrlError::Scheme), 422),
        (workers::Refusal::Spec(workers::spec::SpecError::LabelSecret), 422),
        (workers::Refusal::UrlDenied { rule: "169.254.0.0/16".into() }, 422),
        (workers::Refusal::WorkersFull { limit: 1000 }, 507),
    ];
    for (refusal, status) in refusals {
        world.will_reply(Reply::Worker(Answer::Refused(refusal)));
        let ask = asking("POST", "/v1/workers").json(&json!({"url": WORKER}));
        assert_eq!(world.ask_as("operate", ask).await.status, status);
    }
}

#[tokio::test]
async fn workers_are_listed_by_model_status_and_owner() {
    let world = World::new();
    for (filter, count) in [
        ("model=llama", 2),
        ("model=other", 0),
        ("status=ready", 2),
        ("status=failed", 0),
        ("owner=n1&limit=1", 1),
        ("owner=n2", 0),
    ] {
        let list = world.get(&format!("/v1/workers?{filter}")).await.json();
        assert_eq!(list["items"].as_array().map(Vec::len), Some(count), "{filter}");
    }
    assert_eq!(world.get("/v1/workers?status=well").await.status, 400);
}

#[tokio::test]
async fn a_pick_without_a_worker_says_why_and_when_to_come_back() {
    let world = World::new();
    let pick = |body| asking("POST", "/v1/workers/pick").json(&body);
    let none = world.ask_as("use", pick(json!({"model": "unheard-of"}))).await;
    assert_eq!((none.status.as_u16(), none.code().as_str()), (503, "no_worker"));
    assert_eq!(none.json()["reason"], "unknown_model");
    assert_eq!(none.headers["retry-after"], "30", "nothing is due that could change it");
    for odd in [
        json!({}),
        json!({"model": "m", "policy": "best"}),
        json!({"model": "m", "kind": "odd"}),
        json!({"model": "m", "exclude": ["1", "2", "3", "4", "5", "6", "7", "8", "9"]}),
        json!({"model": "m", "key": "k".repeat(257)}),
    ] {
        assert_eq!(world.ask_as("use", pick(odd.clone())).await.status, 400, "{odd}");
    }
    assert_eq!(world.ask_as("read", pick(json!({"model": "m"}))).await.status, 403);
    let page = world.get("/metrics").await.text;
    let series = "quorate_worker_picks_total{policy=\"power_of_two\",result=\"unknown_model\"} 1";
    assert!(page.lines().any(|line| line == series));
}

#[tokio::test]
async fn a_report_without_a_ticket_of_ours_teaches_nothing() {
    let world = World::new();
    let report = |body| {
        let path = format!("/v1/workers/{}/report", worker_id());
        asking("POST", &path).json(&body)
    };
    let unknown = json!({"ticket": "t7", "outcome": "ok"});
    let answer = world.ask_as("use", report(unknown)).await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (410, "unknown_ticket"));
    assert!(world.last_wish().is_none());
    let bare = world.ask_as("use", report(json!({"ticket": "t7", "outcome": "status"}))).await;
    assert_eq!(bare.json()["errors"][0]["pointer"], "/status");
}

#[tokio::test]
async fn picks_go_round_carry_their_load_and_end_with_their_report() {
    let world = World::new();
    let unprobed = |url: &str| json!({"url": url, "models": [{"id": "llama"}], "max_in_flight": 1, "health": {"enabled": false}});
    let specs = ["http://10.0.0.7:8000", "http://10.0.0.8:8000"].map(unprobed);
    world.published.workers.store(registered(&specs));
    let pick = async || {
        let body = json!({"model": "llama", "policy": "round_robin"});
        world.ask_as("use", asking("POST", "/v1/workers/pick").json(&body)).await
    };
    let (one, other) = (pick().await, pick().await);
    described("POST", "/v1/workers/pick", &one);
    assert_ne!(one.json()["url"], other.json()["url"]);
    let full = pick().await;
    assert_eq!(full.json()["reason"], "all_full", "{}", full.text);
    let explained = world.get("/v1/workers/explain?model=llama").await.json();
    assert_eq!(
        (&explained["no_worker"], &explained["items"][0]["load"]),
        (&json!("all_full"), &json!(1))
    );
    let id = one.json()["id"].as_str().expect("an id").to_owned();
    let report = |body| asking("POST", &format!("/v1/workers/{id}/report")).json(&body);
    let body = json!({"ticket": one.json()["ticket"], "outcome": "status", "status": 502});
    world.will_reply(Reply::Worker(Answer::Noted));
    let noted = world.ask_as("use", report(body.clone())).await;
    assert_eq!((noted.status.as_u16(), noted.text.as_str()), (204, ""));
    let target = Target::Id(id.clone());
    let expected = Command::Report { target, outcome: workers::Outcome::Bad };
    assert_eq!(world.last_wish(), Some(Request::Worker(expected)));
    assert_eq!(world.ask_as("use", report(body)).await.code(), "unknown_ticket", "it counts once");
    let again = pick().await;
    assert_eq!(again.json()["id"], json!(id), "the place is free again");
}

#[tokio::test]
async fn an_explanation_names_the_first_reason_for_every_worker() {
    let world = World::new();
    let mut workers = workers::Snapshot::clone(&world.published.workers.load());
    let mut ill = entry(2, "http://10.0.0.8:8000");
    ill.status = Status::NotReady;
    workers.entries.insert(ill.url.clone(), Arc::new(ill));
    world.published.workers.store(Arc::new(workers));
    let skipped = async |query: &str| {
        let answer = world.get(&format!("/v1/workers/explain?{query}")).await.json();
        let items = answer["items"].as_array().cloned().unwrap_or_default();
        items.iter().map(|item| item["skipped"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(skipped("model=llama").await[1], "not_ready");
    assert_eq!(skipped("model=other").await, [json!("model"), json!("model")]);
    assert_eq!(skipped("model=llama&kind=decode").await, [json!("kind"), json!("kind")]);
    assert_eq!(skipped("model=llama&label=gpu=b200").await[0], "labels");
    assert_eq!(world.get("/v1/workers/explain").await.status, 400);
}

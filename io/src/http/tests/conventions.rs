//! The conventions that hold for every route.

use axum::body::Body;
use serde_json::json;

use super::super::route::{self, Needs, Takes, Verb};
use super::harness::{World, asking};
use crate::access::{Caller, Scope};
use crate::health::Phase;

/// A path of the route that exists in the harness.
pub(super) fn concrete(path: &str) -> String {
    let id =
        quorate_core::node::workers::claim::id(&super::harness::node("n1"), "http://10.0.0.7:8000");
    let member = path.contains("/members/");
    let handle = super::harness::account("codex-1").to_string();
    let path = path.replace("{pool}", "codex").replace("{handle}", &handle);
    let path = path.replace("{provider}", "codex");
    let path = path.replace("{rest}", "v1/models");
    path.replace("{id}", if member { "n2" } else { id.as_str() }).replace("{check}", "loop")
}

#[tokio::test]
async fn every_route_refuses_who_has_no_token_and_who_lacks_the_scope() {
    let world = World::new();
    for route in route::routes() {
        let ask = || asking(route.method.name(), &concrete(route.path));
        let bare = world.ask(ask()).await;
        let Needs::Scope(_) = route.needs else {
            let refused = route.needs == Needs::Metrics;
            assert_eq!(bare.status == 401, refused, "{} {}", route.method.name(), route.path);
            continue;
        };
        assert_eq!(bare.status, 401, "{} {}", route.method.name(), route.path);
        assert_eq!(bare.code(), "unauthenticated");
        assert!(bare.headers.contains_key("www-authenticate"));
        let poor = if route.needs == SECRETS { "admin" } else { "secrets" };
        let poor = world.ask_as(poor, ask()).await;
        assert_eq!(poor.code(), "scope_missing", "{} {}", route.method.name(), route.path);
        assert!(poor.json()["scope"].is_string());
    }
    assert!(world.script.lock().expect("free").wishes.is_empty(), "the node heard of none");
}

#[tokio::test]
async fn every_route_refuses_a_query_parameter_that_it_does_not_know() {
    let world = World::new();
    for route in route::routes() {
        if route.takes == Takes::Stream {
            continue; // The query is somebody else's.
        }
        let mut ask = asking(route.method.name(), &format!("{}?zzz=1", concrete(route.path)))
            .header("if-match", "*");
        if route.takes != Takes::Nothing {
            ask = ask.json(&body_for(route.path));
        }
        let rich = if route.needs == SECRETS { "secrets" } else { "admin" };
        let answer = world.ask_as(rich, ask).await;
        let name = format!("{} {}", route.method.name(), route.path);
        let unfit = route.path == "/v1/workers/{id}/report" || route.path == "/v1/workers/pick";
        assert!(answer.status == 400 || unfit, "{name}: {}", answer.text);
    }
}

/// What even administrators do not hold.
const SECRETS: Needs = Needs::Scope(Scope::Secrets);

/// A body that the path understands.
fn body_for(path: &str) -> serde_json::Value {
    match path {
        "/v1/cluster/join" => json!({"addresses": ["10.0.0.1:7420"]}),
        "/v1/cluster/labels" => json!({"labels": {}}),
        "/v0/operations/log" => json!({"filter": "info", "seconds": 5}),
        "/v0/operations/trace" => json!({"seconds": 5}),
        "/v1/workers/pick" => json!({"model": "llama"}),
        "/v1/workers/{id}/report" => json!({"ticket": "t1", "outcome": "ok"}),
        "/v1/workers" => json!({"url": "http://10.0.0.7:8000"}),
        "/v1/workers/{id}" => json!({"url": "http://10.0.0.7:8000"}),
        "/v1/pools" => json!({"name": "other", "members": {"provider": "claude"}}),
        "/v1/pools/{pool}" => json!({"members": {"provider": "claude"}}),
        "/v1/pools/{pool}/auth-reset-target" => json!({"auth_reset_target": null}),
        "/v1/pools/{pool}/members/{handle}/park" => json!({"for_ms": 1000}),
        "/v1/pools/{pool}/members/{handle}/clear" => json!({"reason": "test"}),
        "/v1/chat/telegram" => json!({"update_id": 1}),
        "/v1/leases/{id}/report" => json!({"outcome": "cancelled"}),
        _ => json!({}),
    }
}

#[tokio::test]
async fn every_body_is_strict_json() {
    let world = World::new();
    let join = || asking("POST", "/v1/cluster/join").header("content-type", "application/json");
    for (text, pointer) in [
        (r#"{"addresses":["a:1"],"more":1}"#, "/more"),
        (r#"{"addresses":["a:1"],"addresses":[]}"#, "/addresses"),
        (r#"{"addresses":["a:1"]} x"#, ""),
        (r#"{"addresses":["a"]}"#, "/addresses/0"),
        (r#"{"addresses":null}"#, "/addresses"),
        (r#"{"addresses":[]}"#, "/addresses"),
        ("{}", "/addresses"),
        ("[]", ""),
    ] {
        let answer = world.ask_as("admin", join().body(text)).await;
        assert_eq!(answer.status, 400, "{text}");
        assert_eq!(answer.json()["errors"][0]["pointer"], pointer, "{text}");
    }
    let empty = world.ask_as("admin", join()).await;
    assert_eq!(empty.code(), "invalid_request", "a body is needed");
    let typed = join().header("content-type", "text/plain").body("{}");
    assert_eq!(world.ask_as("admin", typed).await.code(), "unsupported_media_type");
    let parameter = join().header("content-type", "Application/JSON; charset=utf-8");
    let fine = world.ask_as("admin", parameter.body(r#"{"addresses":["a:1"]}"#)).await;
    assert_eq!(fine.status, 200, "{}", fine.text);
    let unwanted = asking("POST", "/v0/operations/drain").json(&json!({}));
    assert_eq!(world.ask_as("admin", unwanted).await.code(), "invalid_request");
}

#[tokio::test]
async fn bodies_and_headers_have_bounds() {
    let world = World::new();
    let join = || asking("POST", "/v1/cluster/join").header("content-type", "application/json");
    let large = join().body(" ".repeat(super::super::pipeline::BODY_BYTES_MAX + 1));
    assert_eq!(world.ask_as("admin", large).await.code(), "too_large");
    let just = join().body(" ".repeat(super::super::pipeline::BODY_BYTES_MAX));
    assert_eq!(world.ask_as("admin", just).await.code(), "invalid_request");
    let headers = asking("GET", "/v1/cluster").header("x-long", &"x".repeat(33 * 1024));
    assert_eq!(world.ask_as("admin", headers).await.code(), "headers_too_large");
    let probe = asking("GET", "/livez").header("x-long", &"x".repeat(33 * 1024));
    assert_eq!(world.ask(probe).await.status, 431);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_drips_is_refused_after_ten_seconds() {
    let world = World::new();
    let never =
        Body::from_stream(futures_util::stream::pending::<Result<Vec<u8>, std::io::Error>>());
    let slow = asking("POST", "/v1/cluster/join").body(never);
    let began = tokio::time::Instant::now();
    assert_eq!(world.ask_as("admin", slow).await.code(), "request_timeout");
    assert_eq!(began.elapsed().as_secs(), 10);
}

#[tokio::test]
async fn only_a_host_that_is_ours_is_answered_but_for_probes() {
    let world = World::new();
    for host in ["localhost", "127.0.0.1:8420", "127.8.8.8", "[::1]:8420", "GW.example.org:443"] {
        let answer = world.ask_as("admin", asking("GET", "/v1/cluster").header("host", host)).await;
        assert_eq!(answer.status, 200, "{host}");
    }
    for host in ["evil.example", "10.0.0.9:8420", "", "localhost.evil.example", "127.0.0.1.nip.io"]
    {
        let ask = asking("GET", "/v1/cluster").header("host", host);
        assert_eq!(world.ask_as("admin", ask).await.code(), "wrong_host", "{host}");
        let ask = asking("GET", "/nowhere").header("host", host);
        assert_eq!(world.ask_as("admin", ask).await.code(), "wrong_host", "{host}");
    }
    let probe = asking("GET", "/livez").header("host", "10.0.0.9:8420");
    assert_eq!(world.ask(probe).await.status, 200, "a probe calls by address");
    let unix = asking("GET", "/v1/cluster").header("host", "evil").by(Caller::Unix { uid: 0 });
    assert_eq!(world.ask(unix).await.status, 200, "no browser reaches the socket");
}

#[tokio::test]
async fn a_path_says_which_methods_it_takes_and_head_goes_wherever_get_does() {
    let world = World::new();
    let wrong = world.ask(asking("DELETE", "/v1/cluster")).await;
    assert_eq!((wrong.status.as_u16(), wrong.code().as_str()), (405, "method_not_allowed"));
    assert_eq!(wrong.headers["allow"], "GET, HEAD");
    assert_eq!(world.ask(asking("GET", "/v1/nothing")).await.code(), "not_found");
    assert_eq!(world.ask(asking("GET", "/")).await.status, 404, "there is no page yet");
    for route in route::routes().iter().filter(|route| route.method == Verb::Get) {
        let path = concrete(route.path);
        if route.path.ends_with("watch") || route.path == "/v1/events" {
            continue; // Their GET never ends.
        }
        let get = world.get(&path).await;
        let head = world.ask_as("admin", asking("HEAD", &path)).await;
        assert_eq!((head.status, head.text.as_str()), (get.status, ""), "{path}");
        assert_eq!(head.headers.get("content-type"), get.headers.get("content-type"), "{path}");
    }
}

#[tokio::test]
async fn a_repeated_post_happens_once() {
    let world = World::new();
    let join = |address: &str| {
        let ask = asking("POST", "/v1/cluster/join").header("idempotency-key", "k1");
        ask.json(&json!({"addresses": [address]}))
    };
    let first = world.ask_as("admin", join("10.0.0.1:7420")).await;
    let again = world.ask_as("admin", join("10.0.0.1:7420")).await;
    assert_eq!((first.status.as_u16(), &first.text), (200, &again.text));
    assert_eq!(world.script.lock().expect("free").wishes.len(), 1, "the node heard it once");
    let other = world.ask_as("admin", join("10.0.0.2:7420")).await;
    assert_eq!(other.code(), "idempotency_mismatch");
    let odd = join("10.0.0.1:7420").header("idempotency-key", &"k".repeat(129));
    assert_eq!(world.ask_as("admin", odd).await.code(), "invalid_request");
}

#[tokio::test]
async fn no_answer_of_a_change_leaves_before_its_line_is_durable() {
    let world = World::new();
    let drain = asking("POST", "/v0/operations/drain").header("x-request-id", "job-1");
    assert_eq!(world.ask_as("operate", drain).await.status, 200);
    let lines = world.audit_lines();
    let line = lines.last().expect("the line is there when the answer is");
    assert_eq!(line["verb"], "node.drain");
    assert_eq!((&line["actor"], &line["request_id"]), (&"test-operate".into(), &"job-1".into()));
    assert_eq!((&line["scope"], &line["outcome"]), (&"operate".into(), &"ok".into()));
    let refused = asking("DELETE", "/v1/cluster/members/n9");
    assert_eq!(world.ask_as("admin", refused).await.status, 404);
    let lines = world.audit_lines();
    let line = lines.last().expect("refused changes are lines too");
    assert_eq!(
        (&line["outcome"], &line["object"]),
        (&"not_found".into(), &"/v1/cluster/members/n9".into())
    );
    crate::audit::verify(&world.data.join("audit")).expect("the chain holds");
}

#[tokio::test]
async fn a_node_that_cannot_write_its_audit_refuses_changes_and_recovers() {
    let world = World::new();
    let directory = world.data.join("audit");
    std::fs::remove_dir_all(&directory).expect("removed");
    let drain = || asking("POST", "/v0/operations/drain");
    for _ in 0..2 {
        let refused = world.ask_as("operate", drain()).await;
        assert_eq!(refused.code(), "audit_unavailable");
        assert!(refused.headers.contains_key("retry-after"));
    }
    let wishes = world.script.lock().expect("free").wishes.len();
    assert!(wishes <= 1, "after the first failure nothing reaches the node: {wishes}");
    assert_eq!(world.get("/v1/cluster").await.status, 200, "reads go on");
    assert!(world.get("/metrics").await.text.contains("quorate_audit_refusing 1"));
    std::fs::create_dir(&directory).expect("made");
    assert_eq!(world.ask_as("operate", drain()).await.status, 200, "mended");
    assert!(world.get("/metrics").await.text.contains("quorate_audit_refusing 0"));
}

#[tokio::test]
async fn refused_callers_are_written_down_and_ten_wrong_tokens_close_the_address() {
    let world = World::new();
    for _ in 0..10 {
        let ask = asking("POST", "/v0/operations/drain").token("qt_wrong");
        world.ask(ask).await;
    }
    let closed = world.ask_as("admin", asking("GET", "/v1/cluster")).await;
    assert_eq!(
        (closed.code().as_str(), &closed.headers["retry-after"]),
        ("rate_limited", &"60".parse().expect("a header"))
    );
    let elsewhere = asking("GET", "/v1/cluster").by(Caller::Tcp(([10, 0, 0, 5], 1).into()));
    assert_eq!(world.ask_as("admin", elsewhere).await.status, 200);
    world.pass(60_000);
    let open = world.ask_as("admin", asking("POST", "/v0/operations/drain")).await;
    assert_eq!(open.status, 200);
    let lines = world.audit_lines();
    let refused = lines.iter().filter(|line| line["outcome"] == "unauthenticated").count();
    assert_eq!(refused, 9, "the tenth closed the address and is only counted");
    let page = world.get("/metrics").await.text;
    assert!(page.contains("quorate_auth_failures_total{reason=\"unknown\"} 9"), "{page}");
}

#[tokio::test]
async fn a_node_on_its_way_out_takes_no_changes_and_still_answers_reads() {
    let world = World::new();
    world.vitals.enter(Phase::Stopping);
    let drain = world.ask_as("admin", asking("POST", "/v0/operations/drain")).await;
    assert_eq!((drain.status.as_u16(), drain.code().as_str()), (503, "shutting_down"));
    assert_eq!(world.get("/v1/cluster").await.status, 200);
    assert_eq!(world.ask(asking("GET", "/readyz")).await.status, 503);
    assert_eq!(world.ask(asking("GET", "/livez")).await.status, 200);
    assert_eq!(world.get("/v1/events").await.code(), "shutting_down");
}

#[tokio::test]
async fn every_answer_carries_its_request_id_and_forbids_keeping_and_sniffing() {
    let world = World::new();
    let mine = asking("GET", "/v1/cluster").header("x-request-id", "mine-1");
    for answer in [
        world.ask_as("admin", mine).await,
        world.get("/v1/nothing").await,
        world.ask(asking("GET", "/livez")).await,
    ] {
        assert!(answer.headers.contains_key("x-request-id"));
        assert_eq!(answer.headers["cache-control"], "no-store");
        assert_eq!(answer.headers["x-content-type-options"], "nosniff");
    }
    let refused = world.ask(asking("GET", "/v1/cluster").header("x-request-id", "mine-2")).await;
    assert_eq!(refused.json()["request_id"], "mine-2");
    assert_eq!(refused.headers["content-type"], "application/problem+json");
}

#[tokio::test(start_paused = true)]
async fn a_change_that_the_node_does_not_answer_is_ambiguous_and_says_so_in_the_log() {
    let world = World::new();
    world.script.lock().expect("free").mute = true;
    let began = tokio::time::Instant::now();
    let answer = world.ask_as("operate", asking("POST", "/v0/operations/drain")).await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (504, "ambiguous"));
    assert!(began.elapsed().as_secs() >= 25, "the node had its time");
    assert_eq!(
        world.audit_lines().last().map(|line| line["outcome"].clone()),
        Some("ambiguous".into())
    );
}

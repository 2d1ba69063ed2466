//! The gateway between real sockets: whose key goes where, what passes, who is asked next, and what everybody
//! who hangs up or keeps silent does to the others.

use std::sync::Arc;
use std::time::Duration;

use quorate_core::node::Request;
use quorate_core::node::credentials::Key;
use quorate_core::node::pools::{Command, Outcome};
use serde_json::{Value, json};
use tokio::sync::{Notify, mpsc};

use super::harness::{Reaction, World, asking};
use super::upstream::{Client, EVENTS, Seen, Step, Upstream, answer, send};
use crate::gateway::GatewaySettings;
use crate::vault::Body;

/// Two accounts at `upstream`, whose keys are `key-1` and `key-2`.
fn world(upstream: &Upstream) -> World {
    world_of(&format!("http://{}", upstream.address), GatewaySettings::default())
}

fn world_of(upstream: &str, settings: GatewaySettings) -> World {
    let codex = json!({"members": ["codex-1", "codex-2"], "upstream": upstream});
    let world = World::of(&codex, settings);
    for number in 1..=2 {
        hold(&world, number, &json!({"type": "codex", "access_token": format!("key-{number}")}));
    }
    world
}

fn hold(world: &World, number: u32, body: &Value) {
    let key = Key::of_default(&format!("codex-{number}")).expect("a key");
    world.vault.hold(&key, Body::of(body.clone()).expect("a record"));
}

/// Which account a request came from.
fn account(seen: &Seen) -> &str {
    seen.headers["authorization"].strip_prefix("Bearer ").expect("a bearer token")
}

async fn post(world: &World, body: &Value) -> Reaction {
    world.ask_as("use", asking("POST", "/gateway/codex/v1/chat").json(body)).await
}

/// A request over a real socket, which stays open.
async fn call(world: &World, body: &str) -> Client {
    let token = world.tokens.get("use").expect("a scope");
    let address = world.listen().await;
    let head = format!(
        "POST /gateway/codex/v1/chat HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    Client::send(address, &head).await
}

/// What the node was told of requests, in order.
fn told(world: &World) -> Vec<String> {
    let script = world.script.lock().expect("free");
    let mut reports = Vec::new();
    for wish in &script.wishes {
        let Request::Pool(command) = wish else { continue };
        let Command::Report(report) = &**command else { continue };
        reports.push(match &report.outcome {
            Outcome::Cancelled => "cancelled".to_owned(),
            Outcome::Judged { status, verdict } => format!("{status} {}", verdict.class),
        });
    }
    reports
}

async fn count(world: &World, series: &str) -> u64 {
    let page = world.get("/metrics").await.text;
    let line = page.lines().find_map(|line| line.strip_prefix(&format!("quorate_{series} ")));
    line.unwrap_or_else(|| panic!("no {series}")).parse().expect("a count")
}

const LIMITED: &str = r#"{"error":{"type":"usage_limit_reached","message":"limit"}}"#;
const SERVED: &str = r#"{"id":"r1","choices":[]}"#;

#[tokio::test]
async fn a_limited_account_gives_way_to_the_next_before_the_client_hears_of_it() {
    let upstream = Upstream::new(|seen| match account(seen) {
        "key-1" => answer(429, "retry-after: 600\r\n", LIMITED),
        _ => answer(200, "x-upstream: yes\r\n", SERVED),
    })
    .await;
    let world = world(&upstream);
    let first = post(&world, &json!({"model": "gpt-5", "n": 1})).await;
    assert_eq!((first.status.as_u16(), first.text.as_str()), (200, SERVED));
    assert_eq!(first.headers["quorate-attempts"], "2");
    assert_eq!(first.headers["quorate-pool"], "codex");
    assert_eq!(first.headers["x-upstream"], "yes");
    assert!(first.headers.contains_key("x-request-id"));
    let second = post(&world, &json!({"model": "gpt-5"})).await;
    assert_eq!(second.headers["quorate-attempts"], "1", "it stays with who served");
    let seen = upstream.requests();
    assert_eq!(seen.iter().map(account).collect::<Vec<_>>(), ["key-1", "key-2", "key-2"]);
    assert_eq!(seen[0].body, seen[1].body, "the same request went to both");
    assert_eq!(told(&world), ["429 quota_exhausted"], "what teaches nothing is not told");
    let rests = world.get("/v0/operations/cooldowns").await.json();
    assert_eq!(rests["items"][0]["source"], "header:retry-after", "{rests}");
    assert_eq!(count(&world, "gateway_requests_total{pool=\"codex\",status=\"2xx\"}").await, 2);
    let limited = "gateway_attempts_total{pool=\"codex\",class=\"quota_exhausted\"}";
    assert_eq!(count(&world, limited).await, 1);
    assert_eq!(count(&world, "gateway_first_byte_seconds_count").await, 2);
    let passed =
        "http_requests_total{route=\"/gateway/{pool}/{rest}\",method=\"POST\",status=\"upstream\"}";
    assert_eq!(count(&world, passed).await, 2);
    let figures = world.get("/v1/metrics/providers").await.json();
    assert_eq!(figures["providers"]["codex"]["request_count"], 3, "{figures}");
}

#[tokio::test]
async fn with_every_account_limited_the_client_hears_when_to_come_back_and_nobody_is_asked() {
    let upstream = Upstream::new(|_| answer(429, "retry-after: 600\r\n", LIMITED)).await;
    let world = world(&upstream);
    for attempts in ["2", "0"] {
        let refused = post(&world, &json!({"model": "gpt-5"})).await;
        assert_eq!((refused.status.as_u16(), refused.code().as_str()), (429, "pool_exhausted"));
        assert_eq!(refused.headers["retry-after"], "600");
        assert_eq!(refused.headers["content-type"], "application/problem+json");
        assert_eq!(refused.headers["quorate-attempts"], attempts);
        assert_eq!(refused.json()["reset_seconds"], 600);
        assert!(!refused.text.contains("codex-1"), "never an account: {}", refused.text);
    }
    assert_eq!(upstream.requests().len(), 2);
    assert_eq!(count(&world, "gateway_requests_total{pool=\"codex\",status=\"4xx\"}").await, 2);
}

#[tokio::test]
async fn of_a_client_only_what_concerns_the_provider_goes_up_and_nothing_of_a_connection_passes() {
    let upstream = Upstream::new(|_| {
        let headers = "connection: x-hop\r\nx-hop: 1\r\nx-kept: 2\r\nkeep-alive: timeout=5\r\n\
                       set-cookie: a=b\r\nx-request-id: theirs\r\n";
        answer(200, headers, SERVED)
    })
    .await;
    let world = world(&upstream);
    let token = world.tokens.get("use").expect("a scope");
    for name in ["authorization", "x-api-key", "api-key", "x-goog-api-key"] {
        let shown = if name == "authorization" { format!("Bearer {token}") } else { token.clone() };
        let ask = asking("POST", "/gateway/codex/v1/chat%20x?alt=sse&b=%26")
            .json(&json!({"model": "m"}))
            .header(name, &shown)
            .header("connection", "close, x-mine")
            .header("x-mine", "1")
            .header("te", "trailers")
            .header("cookie", "c=d")
            .header("accept", "text/event-stream")
            .header("openai-beta", "responses=v1");
        let answer = world.ask(ask).await;
        assert_eq!(answer.status, 200, "{name}: {}", answer.text);
        assert!(answer.headers.contains_key("x-kept") && answer.headers.contains_key("set-cookie"));
        assert!(!answer.headers.contains_key("x-hop"), "{:?}", answer.headers);
        assert!(!answer.headers.contains_key("keep-alive"));
        assert_eq!(answer.headers["x-request-id"], "theirs");
        assert!(!answer.headers.contains_key("cache-control"), "it is not our answer");
        let seen = upstream.requests().pop().expect("it arrived");
        assert_eq!(seen.line, "POST /v1/chat%20x?alt=sse&b=%26 HTTP/1.1");
        let names: Vec<&str> = seen.headers.keys().map(String::as_str).collect();
        let expected =
            ["accept", "authorization", "content-length", "content-type", "host", "openai-beta"];
        assert_eq!(names, expected);
        assert_eq!(account(&seen), "key-1");
        assert_eq!(seen.headers["host"], upstream.address.to_string());
    }
    let ask = asking("GET", &format!("/gateway/codex/v1/models?key={token}&x=1"));
    assert_eq!(world.ask(ask).await.status, 200);
    assert_eq!(upstream.requests().pop().expect("it arrived").line, "GET /v1/models?x=1 HTTP/1.1");
    let elsewhere = asking("GET", "/v1/pools").header("x-api-key", token);
    assert_eq!(world.ask(elsewhere).await.status, 401, "only the gateway takes it there");
    let poor = world.ask_as("read", asking("GET", "/gateway/codex/v1/models")).await;
    assert_eq!(poor.code(), "scope_missing");
}

#[tokio::test]
async fn events_pass_as_they_come_and_an_error_in_the_first_goes_to_another_account() {
    let go_on = Arc::new(Notify::new());
    let wait = go_on.clone();
    let upstream = Upstream::new(move |seen| match account(seen) {
        "key-1" => vec![
            send(EVENTS),
            send(": hello\n\nevent: ping\ndata: {}\n\n"),
            send("event: error\ndata: {\"error\":{\"type\":\"rate_limit_error\"}}\n\n"),
            Step::Close,
        ],
        _ => vec![
            send(EVENTS),
            send("data: {\"n\":1}\n\n"),
            Step::Wait(wait.clone()),
            send("data: {\"n\":2}\n\ndata: {\"error\":{\"code\":\"rate_limit_exceeded\"}}\n\n"),
            Step::Close,
        ],
    })
    .await;
    let world = world(&upstream);
    let mut client = call(&world, r#"{"model":"m","stream":true}"#).await;
    client.until("{\"n\":1}").await; // Before the provider has sent any more.
    assert!(!client.text.contains("error"), "{}", client.text);
    assert_eq!(told(&world), ["200 rate_limited"]);
    go_on.notify_one();
    client.until("rate_limit_exceeded").await;
    assert!(client.text.contains("quorate-attempts: 2"), "{}", client.text);
    eventually(|| told(&world) == ["200 rate_limited", "200 rate_limited"]).await;
}

/// Waits for something that others do; what never comes ends the test by the patience of its caller.
async fn eventually(is_so: impl Fn() -> bool) {
    while !is_so() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn who_hangs_up_before_or_within_an_answer_ends_it_at_the_provider() {
    let (tell, mut gone) = mpsc::unbounded_channel();
    let upstream = Upstream::new(move |seen| match seen.body.as_slice() {
        b"{}" => vec![Step::Hang(tell.clone())],
        _ => vec![send(EVENTS), send("data: 1\n\n"), Step::Hang(tell.clone())],
    })
    .await;
    let world = world(&upstream);
    let before = call(&world, "{}").await;
    eventually(|| upstream.requests().len() == 1).await;
    drop(before);
    gone.recv().await.expect("the provider's side is closed");
    eventually(|| told(&world) == ["cancelled"]).await;
    let cancelled = "gateway_attempts_total{pool=\"codex\",class=\"cancelled\"}";
    assert_eq!(count(&world, cancelled).await, 1);
    let mut within = call(&world, "[1]").await;
    within.until("data: 1").await;
    drop(within);
    gone.recv().await.expect("the provider's side is closed");
    assert_eq!(told(&world), ["cancelled"], "who has begun to answer is blamed for nothing");
}

#[tokio::test]
async fn a_provider_that_falls_silent_is_given_up_and_the_client_sees_that_it_is_not_whole() {
    let (tell, mut gone) = mpsc::unbounded_channel();
    let upstream = Upstream::new(move |seen| {
        let head =
            "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n";
        match seen.body.as_slice() {
            b"head" => vec![Step::Hang(tell.clone())],
            b"error" => vec![
                send("HTTP/1.1 429 No\r\nretry-after: 5\r\ncontent-length: 99\r\n\r\nhalf"),
                Step::Hang(tell.clone()),
            ],
            _ => vec![send(head), send("5\r\nhello\r\n"), Step::Hang(tell.clone())],
        }
    })
    .await;
    let short = Duration::from_millis(300);
    let settings = GatewaySettings {
        head_max: short,
        judged_max: short,
        idle_max: short,
        ..GatewaySettings::default()
    };
    let world = world_of(&format!("http://{}", upstream.address), settings);
    let cut = call(&world, "body").await.whole().await;
    assert!(cut.contains("hello") && !cut.ends_with("0\r\n\r\n"), "{cut}");
    gone.recv().await.expect("the provider's side is closed");
    let late = call(&world, "head").await;
    let mut late = late;
    late.until("upstream_timeout").await;
    assert!(late.text.starts_with("HTTP/1.1 504"), "{}", late.text);
    gone.recv().await.expect("the provider's side is closed");
    // Half an error is judged by what is there; both accounts say the same.
    let mut limited = call(&world, "error").await;
    limited.until("pool_exhausted").await;
    assert_eq!(told(&world), ["0 transient", "429 rate_limited", "429 rate_limited"]);
}

#[tokio::test]
async fn garbage_teaches_no_more_than_its_status_says() {
    let upstream = Upstream::new(|seen| match seen.body.as_slice() {
        b"1" => answer(
            429,
            "retry-after: soon\r\nretry-after: -5\r\nx-ratelimit-reset: NaN\r\n\
             anthropic-ratelimit-requests-reset: \u{1}\r\ndate: yesterday\r\n",
            "{\"error\":{\"type\":[],\"resets_at\":1e999,\"message\":\"\\ud800\"",
        ),
        b"2" => vec![send("SSH-2.0-OpenSSH_9.6\r\n"), Step::Close],
        b"3" => vec![Step::Close],
        _ => answer(200, "", SERVED),
    })
    .await;
    let world = world(&upstream);
    let ask = |body: &'static str| asking("POST", "/gateway/codex/v1/chat").body(body);
    let limited = world.ask_as("use", ask("1")).await;
    assert_eq!(
        limited.code(),
        "upstream_unreachable",
        "a control byte in a header: {}",
        limited.text
    );
    for body in ["2", "3"] {
        let broken = world.ask_as("use", ask(body)).await;
        assert_eq!((broken.status.as_u16(), broken.code().as_str()), (502, "upstream_unreachable"));
    }
    assert_eq!(told(&world), ["0 transient"; 3], "nobody is blamed");
    assert_eq!(world.ask_as("use", ask("4")).await.text, SERVED);
}

#[tokio::test]
async fn hints_that_cannot_be_used_leave_the_rest_of_its_class() {
    let upstream = Upstream::new(|seen| match account(seen) {
        "key-1" => answer(
            429,
            "retry-after: soon\r\nretry-after: -5\r\nx-ratelimit-reset: NaN\r\n",
            "{\"error\":{\"type\":[],\"resets_at\":1e999,\"message\":7}}",
        ),
        _ => answer(200, "", SERVED),
    })
    .await;
    let world = world(&upstream);
    assert_eq!(post(&world, &json!({})).await.text, SERVED);
    let rests = world.get("/v0/operations/cooldowns").await.json();
    let rest = &rests["items"][0];
    assert_eq!((&rest["source"], &rest["remaining_ms"]), (&json!("default"), &json!(60_000)));
}

#[tokio::test]
async fn a_body_beyond_the_bound_is_sent_once_and_its_answer_passes_byte_for_byte() {
    let upstream = Upstream::new(|_| answer(429, "retry-after: 600\r\n", LIMITED)).await;
    let world = world(&upstream);
    let large = "x".repeat(9 << 20);
    let ask = asking("POST", "/gateway/codex/v1/files").body(large.clone());
    let refused = world.ask_as("use", ask).await;
    assert_eq!((refused.status.as_u16(), refused.text.as_str()), (429, LIMITED));
    assert_eq!(refused.headers["quorate-attempts"], "1");
    let seen = upstream.requests();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].body.len(), large.len());
}

#[tokio::test]
async fn what_nobody_may_is_about_the_request_and_nothing_rests() {
    let upstream = Upstream::new(|seen| {
        let number = account(seen).trim_start_matches("key-");
        answer(403, "", &format!("{{\"error\":{{\"message\":\"no {number}\"}}}}"))
    })
    .await;
    let world = world(&upstream);
    let refused = post(&world, &json!({"model": "gpt-9"})).await;
    assert_eq!(refused.status, 403);
    assert_eq!(refused.json()["error"]["message"], "no 1", "the first answer");
    assert_eq!(upstream.requests().len(), 2);
    assert!(told(&world).is_empty(), "{:?}", told(&world));
}

#[tokio::test]
async fn what_one_may_not_and_another_may_is_about_the_account() {
    let upstream = Upstream::new(|seen| match account(seen) {
        "key-1" => answer(403, "", "{}"),
        _ => answer(200, "", SERVED),
    })
    .await;
    let world = world(&upstream);
    assert_eq!(post(&world, &json!({"model": "gpt-9"})).await.text, SERVED);
    assert_eq!(told(&world), ["403 permission_denied"]);
    assert_eq!(post(&world, &json!({"model": "gpt-9"})).await.headers["quorate-attempts"], "1");
}

#[tokio::test]
async fn a_mistake_of_the_request_and_a_bad_day_of_the_provider_are_asked_once() {
    let upstream = Upstream::new(|seen| match seen.body.as_slice() {
        b"{\"n\":1}" => answer(400, "", r#"{"error":{"message":"what?"}}"#),
        b"{\"n\":2}" => answer(500, "", "oops"),
        _ => answer(529, "", r#"{"error":{"type":"overloaded_error"}}"#),
    })
    .await;
    let world = world(&upstream);
    assert_eq!(post(&world, &json!({"n": 1})).await.status, 400);
    assert_eq!(post(&world, &json!({"n": 2})).await.text, "oops");
    assert_eq!(upstream.requests().len(), 2);
    let overloaded = post(&world, &json!({"n": 3})).await;
    assert_eq!(upstream.requests().len(), 3, "its other account has no more capacity");
    assert_eq!((overloaded.status.as_u16(), overloaded.code().as_str()), (503, "pool_unavailable"));
    assert_eq!(overloaded.headers["retry-after"], "10");
}

#[tokio::test]
async fn a_pool_without_keys_paths_that_climb_and_pools_that_are_not_are_refused() {
    let upstream = Upstream::new(|_| answer(200, "", SERVED)).await;
    let world = world(&upstream);
    let get = |path: &str| asking("GET", path);
    let climbs = world.ask_as("use", get("/gateway/codex/v1/%2e%2e/admin")).await;
    assert_eq!((climbs.status.as_u16(), climbs.code().as_str()), (400, "invalid_request"));
    let none = world.ask_as("use", get("/gateway/other/v1/models")).await;
    assert_eq!((none.status.as_u16(), none.code().as_str()), (404, "not_found"));
    assert_eq!(world.ask_as("use", get("/gateway/codex")).await.status, 404);
    for number in 1..=2 {
        hold(&world, number, &json!({"type": "codex", "cookie": "x"}));
    }
    let unusable = world.ask_as("use", get("/gateway/codex/v1/models")).await;
    assert_eq!((unusable.status.as_u16(), unusable.code().as_str()), (502, "account_unusable"));
    assert!(upstream.requests().is_empty());
    let head = world.ask_as("use", asking("HEAD", "/gateway/codex/v1/models")).await;
    assert_eq!((head.status.as_u16(), head.text.as_str()), (502, ""));
}

#[tokio::test]
async fn nobody_is_asked_past_the_proxy_that_its_record_names() {
    let upstream = Upstream::new(|_| answer(200, "", SERVED)).await;
    let world = world(&upstream);
    let proxied = |number: u32, url: &str| {
        let key = format!("key-{number}");
        hold(&world, number, &json!({"type": "codex", "access_token": key, "proxy_url": url}));
    };
    proxied(1, "http://proxy:3128");
    let served = post(&world, &json!({})).await;
    assert_eq!(served.status.as_u16(), 200);
    assert_eq!(served.headers["quorate-attempts"], "1");
    assert_eq!(upstream.requests().iter().map(account).collect::<Vec<_>>(), ["key-2"]);
    proxied(2, "http://user:word@proxy:3128");
    let none = post(&world, &json!({})).await;
    assert_eq!((none.status.as_u16(), none.code().as_str()), (502, "account_unusable"));
    assert!(none.text.contains("`proxy_url`") && !none.text.contains("word"), "{}", none.text);
    assert_eq!(upstream.requests().len(), 1);
    assert_eq!(told(&world), Vec::<String>::new(), "nobody is blamed");
}

#[tokio::test]
async fn each_provider_is_shown_its_key_as_it_wants_it() {
    let upstream = Upstream::new(|_| answer(200, "", SERVED)).await;
    let world = world(&upstream);
    let body = json!({"type": "codex", "account_id": "acc-1", "tokens": {"access_token": "key-x"}});
    hold(&world, 1, &body);
    assert_eq!(post(&world, &json!({})).await.status, 200);
    let seen = upstream.requests().pop().expect("it arrived");
    assert_eq!(account(&seen), "key-x");
    assert_eq!(seen.headers["chatgpt-account-id"], "acc-1");
}

#[tokio::test]
async fn a_provider_is_believed_by_an_authority_that_is_named_and_by_no_other() {
    let folder = std::env::temp_dir().join(format!("quorate-gateway-{}", std::process::id()));
    crate::authority::init(&folder).expect("a fresh folder");
    let name = "localhost".parse().expect("a node id");
    crate::authority::issue(&folder, &name, 1).expect("its own folder");
    let read = |file: &str| crate::secure::certificates(&folder.join(file)).expect("certificates");
    let (authorities, chain) = (read("ca.pem"), read("localhost.pem"));
    let key = std::fs::read(folder.join("localhost.key")).expect("its key");
    let _ = std::fs::remove_dir_all(&folder);
    let key =
        <rustls::pki_types::PrivateKeyDer<'_> as rustls::pki_types::pem::PemObject>::from_pem_slice(
            &key,
        );
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let server = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider's versions")
        .with_no_client_auth()
        .with_single_cert(chain, key.expect("a key"))
        .expect("they fit");
    let tls = tokio_rustls::TlsAcceptor::from(Arc::new(server));
    let upstream = Upstream::over(Some(tls), |_| answer(200, "", SERVED)).await;
    let url = format!("https://localhost:{}", upstream.address.port());
    let trusting = GatewaySettings { authorities, ..GatewaySettings::default() };
    let answer = post(&world_of(&url, trusting), &json!({})).await;
    assert_eq!(answer.text, SERVED);
    let answer = post(&world_of(&url, GatewaySettings::default()), &json!({})).await;
    assert_eq!(answer.code(), "upstream_unreachable");
    assert_eq!(upstream.requests().len(), 1);
}

#[tokio::test]
async fn a_connection_serves_one_request_after_the_other_and_one_that_was_closed_is_not_missed() {
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    let upstream = Upstream::new(move |seen| match seen.body.as_slice() {
        b"chunks" => vec![send(chunked)],
        b"last" => {
            let mut steps = answer(200, "", SERVED);
            steps.push(Step::Close);
            steps
        }
        b"none" => vec![send("HTTP/1.1 204 No\r\n\r\n")],
        b"error" => answer(400, "", "{}"),
        _ => answer(200, "", SERVED),
    })
    .await;
    let world = world(&upstream);
    let ask = async |body: &'static str| {
        let ask = asking("POST", "/gateway/codex/v1/chat").body(body);
        world.ask_as("use", ask).await.status.as_u16()
    };
    for (body, status) in [("one", 200), ("chunks", 200), ("none", 204), ("error", 400)] {
        assert_eq!(ask(body).await, status, "{body}");
        assert_eq!(upstream.connections(), 1, "{body} came by another connection");
    }
    assert_eq!(ask("last").await, 200);
    eventually(|| upstream.requests().len() == 5).await;
    for number in 0..3 {
        assert_eq!(ask("again").await, 200, "{number}");
    }
    assert_eq!(upstream.connections(), 2);
    assert_eq!(told(&world), ["400 client_error"], "no connection failed under a request");
}

#[tokio::test]
async fn the_tokens_that_answers_tell_of_are_counted_however_they_come() {
    const LAST: &str = r#"{"usage":{"total_tokens":100}}"#;
    let upstream = Upstream::new(|seen| match seen.body.as_slice() {
        b"json" => answer(200, "", r#"{"usage":{"prompt_tokens":3,"completion_tokens":4}}"#),
        b"chunks" => {
            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\
                        transfer-encoding: chunked\r\n\r\n";
            vec![send(head), send(&format!("{:x}\r\n{LAST}\r\n0\r\n\r\n", LAST.len()))]
        }
        b"events" => vec![
            send(EVENTS),
            send("data: {\"message\":{\"usage\":{\"input_tokens\":1000}}}\n\n"),
            send("data: {\"usage\":{\"output_tokens\":5}}\n\ndata: {\"usage\":"),
            send("{\"output_tokens\":2000}}\n\n"),
            Step::Close,
        ],
        _ => answer(200, "", SERVED),
    })
    .await;
    let world = world(&upstream);
    let mut expected = 0;
    for (body, tokens) in [("json", 7), ("chunks", 100), ("events", 3000), ("silent", 0)] {
        let ask = asking("POST", "/gateway/codex/v1/chat").body(body);
        assert_eq!(world.ask_as("use", ask).await.status, 200);
        expected += tokens;
        let figures = world.get("/v1/metrics/providers").await.json();
        assert_eq!(figures["providers"]["codex"]["total_tokens"], expected, "{body}: {figures}");
    }
}

#[tokio::test]
async fn a_node_on_its_way_out_begins_no_more_requests() {
    let upstream = Upstream::new(|_| answer(200, "", SERVED)).await;
    let world = world(&upstream);
    world.vitals.enter(crate::health::Phase::Stopping);
    let refused = world.ask_as("use", asking("GET", "/gateway/codex/v1/models")).await;
    assert_eq!(refused.code(), "shutting_down");
}

//! Every verb of operators on every surface, by its effect on the next pick; and chats.

use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::super::{Listener, router, serve};
use super::harness::{Reaction, World, account, asking};
use crate::cli::client::Client;
use crate::cli::operator::perform;
use crate::pools::chat::words_of;

/// The ways in which an operator reaches a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Http,
    CommandLine,
    Chat,
}

/// One verb, as words and as a request, and whom the next request gets.
struct Step {
    line: &'static str,
    path: String,
    body: Option<Value>,
    then: Option<&'static str>,
}

fn step(line: &'static str, path: &str, body: Option<Value>, then: Option<&'static str>) -> Step {
    let path = ["codex-1", "codex-2"]
        .iter()
        .fold(path.to_owned(), |path, id| path.replace(id, &account(id).to_string()));
    Step { line, path, body, then }
}

fn steps() -> Vec<Step> {
    let why = || Some(json!({"reason": "test"}));
    let cool = || {
        let body = Some(json!({"duration_seconds": 60, "reason": "test"}));
        let path = "/v0/operations/providers/codex/cooldown";
        step("provider cool codex --for 1m --reason test", path, body, None)
    };
    let member = "/v1/pools/codex/members";
    vec![
        step("pool rotate codex", "/v1/pools/codex/rotate", None, Some("codex-2")),
        // Recovery moves nothing: the one that is active stays.
        step(
            "pool unpark codex codex-1",
            &format!("{member}/codex-1/unpark"),
            None,
            Some("codex-2"),
        ),
        step(
            "pool park codex codex-2 --for 1m",
            &format!("{member}/codex-2/park"),
            Some(json!({"for_ms": 60_000})),
            Some("codex-1"),
        ),
        step(
            "pool unpark codex codex-2",
            &format!("{member}/codex-2/unpark"),
            None,
            Some("codex-1"),
        ),
        cool(),
        step(
            "cooldown clear codex-2 --reason test",
            "/v0/operations/cooldowns/clear",
            Some(json!({"credential": "codex-2", "reason": "test"})),
            Some("codex-2"),
        ),
        cool(),
        step(
            "pool clear codex codex-1 --reason test",
            &format!("{member}/codex-1/clear"),
            why(),
            Some("codex-1"),
        ),
        cool(),
        step("pool probe codex codex-2", &format!("{member}/codex-2/probe"), None, Some("codex-2")),
        step(
            "provider recover codex --reason test",
            "/v0/operations/providers/codex/recover",
            why(),
            Some("codex-1"),
        ),
    ]
}

/// Whom one of the next requests gets: a probe's slot opens when requests have wanted it for a moment.
async fn soon(world: &World) -> Option<String> {
    for _ in 0..4 {
        if let Some(credential) = next(world).await {
            return Some(credential);
        }
        world.pass(600);
    }
    None
}

/// Whom the next request gets; `None` where nobody can serve.
async fn next(world: &World) -> Option<String> {
    let ask = asking("POST", "/v1/pools/codex/leases").json(&json!({}));
    let answer = world.ask_as("use", ask).await;
    if answer.status != 200 {
        assert!(answer.code().starts_with("pool_"), "{}", answer.text);
        return None;
    }
    Some(answer.json()["credential"].as_str().expect("a credential").to_owned())
}

async fn client(world: &World) -> Client {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = listener.local_addr().expect("it is bound").to_string();
    let listeners = vec![Listener::Tcp(listener)];
    let serving = serve(listeners, router(world.surface.clone()), std::future::pending());
    tokio::spawn(serving.expect("threads"));
    Client::at(&address, &world.tokens["admin"])
}

fn update(number: i64, chat: i64, text: &str) -> Value {
    json!({"update_id": number, "message": {"message_id": 1, "chat": {"id": chat}, "text": text}})
}

async fn said(world: &World, update: &Value) -> Reaction {
    let ask = asking("POST", "/v1/chat/telegram").json(update);
    world.ask(ask.header("x-telegram-bot-api-secret-token", "hush")).await
}

/// Does a step in one way; what came back is text.
async fn perform_by(world: &World, way: Way, number: i64, step: &Step) -> String {
    match way {
        Way::Http => {
            let ask = asking("POST", &step.path);
            let ask = match &step.body {
                Some(body) => ask.json(body),
                None => ask,
            };
            let answer = world.ask_as("operate", ask).await;
            assert!(answer.status.is_success(), "{}: {}", step.path, answer.text);
            answer.text
        }
        Way::CommandLine => {
            let words = words_of(step.line).expect(step.line);
            let shown = perform(&client(world).await, words).await;
            shown.unwrap_or_else(|failure| panic!("{}: {failure}", step.line)).text
        }
        Way::Chat => {
            let answer = said(world, &update(number, 8, step.line)).await;
            assert_eq!(answer.status, 200, "{}: {}", step.line, answer.text);
            answer.json()["text"].as_str().expect("a text").to_owned()
        }
    }
}

#[tokio::test]
async fn every_verb_means_the_same_on_every_surface() {
    for way in [Way::Http, Way::CommandLine, Way::Chat] {
        let world = World::new();
        assert_eq!(next(&world).await.as_deref(), Some("codex-1"));
        for (number, step) in (0_i64..).zip(steps()) {
            let told = perform_by(&world, way, number, &step).await;
            let then =
                if step.line.contains(" probe ") { soon(&world).await } else { next(&world).await };
            assert_eq!(then.as_deref(), step.then, "{way:?}: after `{}`: {told}", step.line);
        }
    }
}

#[tokio::test]
async fn what_is_only_read_says_the_same_on_every_surface() {
    let world = World::new();
    let client = client(&world).await;
    for (number, (line, path, words)) in (0_i64..).zip([
        ("pool list", "/v1/pools", "codex"),
        ("pool show codex", "/v1/pools/codex", "codex-2"),
        ("pool explain codex --model gpt-5", "/v1/pools/codex/explain?model=gpt-5", "codex-1"),
        ("cooldown list", "/v0/operations/cooldowns", ""),
        ("provider list", "/v0/operations/providers/status", "codex"),
        ("metric providers", "/v1/metrics/providers", "codex"),
    ]) {
        let answer = world.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        super::description::check_answer(
            "GET",
            path.split('?')
                .next()
                .expect("a path")
                .replace("/pools/codex", "/pools/{pool}")
                .as_str(),
            200,
            &answer.json(),
        );
        let shown = perform(&client, words_of(line).expect(line)).await.expect(line);
        assert!(shown.text.contains(words), "{line}: {}", shown.text);
        let chat = said(&world, &update(number, 7, line)).await.json();
        let chat = chat["text"].as_str().expect("a text").to_owned();
        assert!(chat.contains(words), "{line}: {chat}");
    }
}

/// What a pool is, changed verb by verb: by words, or by method, path and body; and whom `own` gives then.
fn definitions() -> [(&'static str, &'static str, String, Option<Value>, &'static str); 6] {
    let own = "/v1/pools/own";
    let member = |id: &str| format!("{own}/members/{}", account(id));
    let of = |id: &str| json!({"members": [{"credential": id}]});
    let mut made = of("codex-3");
    made["name"] = json!("own");
    [
        ("pool create own --member codex-3", "POST", "/v1/pools".to_owned(), Some(made), "codex-3"),
        ("pool add own codex-4", "PUT", member("codex-4"), Some(json!({})), "codex-3"),
        ("pool drop own codex-3", "DELETE", member("codex-3"), None, "codex-4"),
        ("pool set own --member codex-3", "PUT", own.to_owned(), Some(of("codex-3")), "codex-3"),
        (
            "pool set-auth-reset own login-1",
            "PUT",
            format!("{own}/auth-reset-target"),
            Some(json!({"auth_reset_target": "login-1"})),
            "codex-3",
        ),
        ("pool remove own", "DELETE", own.to_owned(), None, ""),
    ]
}

#[tokio::test]
async fn what_a_pool_is_changes_alike_on_every_surface() {
    for way in [Way::Http, Way::CommandLine, Way::Chat] {
        let world = World::new();
        for (number, (line, method, path, body, then)) in (0_i64..).zip(definitions()) {
            let told = match way {
                Way::Http => {
                    let ask = asking(method, &path);
                    let ask = match &body {
                        Some(body) => ask.json(body),
                        None => ask,
                    };
                    let answer = world.ask_as("operate", ask).await;
                    assert!(answer.status.is_success(), "{line}: {}", answer.text);
                    answer.text
                }
                Way::CommandLine => {
                    let words = words_of(line).expect(line);
                    let shown = perform(&client(&world).await, words).await;
                    shown.unwrap_or_else(|failure| panic!("{line}: {failure}")).text
                }
                Way::Chat => {
                    let answer = said(&world, &update(number, 8, line)).await.json();
                    answer["text"].as_str().expect("a text").to_owned()
                }
            };
            let ask = asking("POST", "/v1/pools/own/leases").json(&json!({}));
            let lease = world.ask_as("use", ask).await.json();
            let credential = lease["credential"].as_str().unwrap_or_default();
            assert_eq!(credential, then, "{way:?}: after `{line}`: {told}");
            let shown = world.get("/v1/pools/own").await.json();
            let target = if line.contains("auth-reset") { "login-1" } else { "" };
            if then.is_empty() {
                assert_eq!(shown["code"], "not_found", "{way:?}: {told}");
            } else {
                assert_eq!(shown["auth_reset_target"], target, "{way:?}: after `{line}`");
                assert_eq!(shown["from_document"], false);
            }
        }
        let lines = world.audit_lines();
        for verb in ["create", "add", "drop", "set", "set_auth_reset", "remove"] {
            let line = lines.iter().find(|line| line["verb"] == format!("pool.{verb}"));
            let line = line.unwrap_or_else(|| panic!("{way:?}: no line of {verb}"));
            assert_eq!((&line["object"], &line["outcome"]), (&json!("own"), &json!("ok")));
            assert_ne!(line["before"], line["after"], "{verb}");
        }
    }
}

#[tokio::test]
async fn a_definition_that_cannot_be_is_refused_with_what_is_in_the_way() {
    let world = World::new();
    let of = |ids: &[&str]| {
        let members: Vec<Value> = ids.iter().map(|id| json!({"credential": id})).collect();
        json!({"name": "own", "members": members})
    };
    let mut named_codex = of(&["codex-3"]);
    named_codex["name"] = json!("codex");
    let mut misspelt = of(&["codex-3"]);
    misspelt["stratgy"] = json!("rr");
    let fixed = format!("/v1/pools/codex/members/{}", account("codex-3"));
    let unpooled = format!("/v1/pools/own/members/{}", account("codex-9"));
    for (method, path, body, status, told) in [
        ("POST", "/v1/pools", Some(of(&[])), 400, "/members"),
        ("POST", "/v1/pools", Some(of(&["codex-3", "codex-3"])), 400, "/members/1/credential"),
        ("POST", "/v1/pools", Some(of(&["codex-9"])), 400, "codex-9"),
        ("POST", "/v1/pools", Some(misspelt), 400, "/stratgy"),
        ("POST", "/v1/pools", Some(of(&["codex-1"])), 409, "credential_pooled"),
        ("POST", "/v1/pools", Some(named_codex), 409, "pool_exists"),
        (
            "PUT",
            "/v1/pools/codex",
            Some(json!({"members": [{"credential": "codex-3"}]})),
            409,
            "managed_by_config",
        ),
        ("DELETE", "/v1/pools/codex", None, 409, "managed_by_config"),
        ("PUT", fixed.as_str(), Some(json!({})), 409, "managed_by_config"),
        (
            "PUT",
            "/v1/pools/codex/auth-reset-target",
            Some(json!({"auth_reset_target": ""})),
            409,
            "managed_by_config",
        ),
        ("PUT", "/v1/pools/own/auth-reset-target", Some(json!({})), 400, "/auth_reset_target"),
        (
            "PUT",
            "/v1/pools/own/auth-reset-target",
            Some(json!({"auth_reset_target": "-x"})),
            404,
            "not_found",
        ),
        ("DELETE", "/v1/pools/own", None, 404, "not_found"),
        ("PUT", unpooled.as_str(), Some(json!({})), 404, "not_found"),
    ] {
        let ask = asking(method, path);
        let ask = match &body {
            Some(body) => ask.json(body),
            None => ask,
        };
        let answer = world.ask_as("operate", ask).await;
        assert_eq!(answer.status, status, "{method} {path} {body:?}: {}", answer.text);
        assert!(answer.text.contains(told), "{method} {path} {body:?}: {}", answer.text);
    }
}

#[tokio::test]
async fn a_tag_changes_with_what_a_pool_is_and_not_with_how_it_does() {
    let world = World::new();
    let own = json!({"name": "own", "members": [{"credential": "codex-3"}]});
    let made = world.ask_as("operate", asking("POST", "/v1/pools").json(&own)).await;
    super::description::check_answer("POST", "/v1/pools", 201, &made.json());
    let stale = asking("DELETE", "/v1/pools/own").header("if-match", "\"old\"");
    assert_eq!(world.ask_as("operate", stale).await.code(), "precondition_failed");
    let tag = made.headers["etag"].to_str().expect("text").to_owned();
    let park = format!("/v1/pools/own/members/{}/park", account("codex-3"));
    let park = asking("POST", &park).json(&json!({"for_ms": 60_000}));
    assert_eq!(world.ask_as("operate", park).await.json()["state"], "parked");
    let parked = world.get("/v1/pools/own").await;
    assert_eq!(parked.headers["etag"], *tag, "how it does is not what it is");
    let target = |tag: &str| {
        asking("PUT", "/v1/pools/own/auth-reset-target")
            .json(&json!({"auth_reset_target": "codex"}))
            .header("if-match", tag)
    };
    let changed = world.ask_as("operate", target(&tag)).await;
    assert_eq!(changed.status, 200, "{}", changed.text);
    assert_eq!(world.ask_as("operate", target(&tag)).await.code(), "precondition_failed");
    let tag = changed.headers["etag"].to_str().expect("text").to_owned();
    assert_eq!(world.get("/v1/pools/own").await.headers["etag"], *tag);
    let known = asking("DELETE", "/v1/pools/own").header("if-match", &tag);
    assert_eq!(world.ask_as("operate", known).await.status, 204);
}

#[tokio::test]
async fn what_an_answer_would_mean_is_the_same_on_every_surface() {
    let world = World::new();
    let vector = json!({"provider": "openai", "endpoint": "api", "model": "gpt-5",
        "status": 429, "headers": [["retry-after", "7"]], "body": ""});
    let answer = world.ask_as("read", asking("POST", "/v1/classify").json(&vector)).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.json()["stated_wait_ms"], 7000);
    let line = format!("pool classify '{vector}'");
    let client = client(&world).await;
    let shown = perform(&client, words_of(&line).expect("words")).await.expect("an answer");
    assert_eq!(shown.answer, answer.json());
    let chat = said(&world, &update(1, 7, &line)).await.json();
    let chat = chat["text"].as_str().expect("a text");
    for words in [shown.text.as_str(), chat] {
        assert!(words.contains("rate_limited") && words.contains("7000"), "{words}");
    }
    let wrong = perform(&client, words_of("pool classify {").expect("words")).await;
    assert!(wrong.expect_err("no JSON").to_string().contains("no JSON"));
}

#[tokio::test]
async fn one_provider_is_shown_as_it_stands_in_the_list() {
    let world = World::new();
    let all = world.get("/v0/operations/providers/status").await.json();
    let client = client(&world).await;
    let shown = perform(&client, words_of("provider show codex").expect("words")).await;
    assert_eq!(shown.expect("an answer").answer, all["providers"]["codex"]);
    let chat = said(&world, &update(1, 7, "provider show codex")).await.json();
    assert!(chat["text"].as_str().expect("a text").contains("healthy"), "{chat}");
    let unknown = perform(&client, words_of("provider show nobody").expect("words")).await;
    assert_eq!(unknown.expect_err("unknown").exit_code(), 3);
}

#[tokio::test]
async fn a_chat_may_do_what_its_scopes_permit_and_is_written_down() {
    let world = World::new();
    let refused = said(&world, &update(1, 7, "pool rotate codex")).await.json();
    let text = refused["text"].as_str().expect("a text");
    assert!(text.contains("scope_missing") && text.contains("operate"), "{text}");
    assert_eq!(next(&world).await.as_deref(), Some("codex-1"), "nothing was changed");
    let done = said(&world, &update(2, 8, "/pool@bot rotate codex")).await;
    super::description::check_answer("POST", "/v1/chat/telegram", 200, &done.json());
    let done = done.json();
    assert_eq!((&done["method"], &done["chat_id"]), (&json!("sendMessage"), &json!(8)));
    assert_eq!(done["parse_mode"], "HTML");
    assert_eq!(next(&world).await.as_deref(), Some("codex-2"));
    let again = said(&world, &update(2, 8, "/pool@bot rotate codex")).await;
    assert_eq!(again.json(), json!({}), "a message that comes again is heard once");
    assert_eq!(next(&world).await.as_deref(), Some("codex-2"));
    let stranger = said(&world, &update(3, 9, "pool rotate codex")).await;
    assert_eq!((stranger.status.as_u16(), stranger.json()), (200, json!({})));
    assert_eq!(next(&world).await.as_deref(), Some("codex-2"));
    let lines = world.audit_lines();
    let by_chat = |line: &&Value| line["verb"] == "pool.rotate" && line["actor"] == "telegram:8";
    assert_eq!(lines.iter().filter(by_chat).count(), 1, "{lines:?}");
}

#[tokio::test]
async fn who_does_not_know_the_secret_gives_no_orders() {
    let world = World::new();
    let ask = || asking("POST", "/v1/chat/telegram").json(&update(1, 8, "pool rotate codex"));
    for ask in [ask(), ask().header("x-telegram-bot-api-secret-token", "husH")] {
        let answer = world.ask(ask).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (401, "unauthenticated"));
    }
    assert_eq!(next(&world).await.as_deref(), Some("codex-1"));
}

#[tokio::test]
async fn a_chat_is_answered_in_words_that_are_no_markup() {
    let world = World::new();
    for (number, (line, told)) in (10_i64..).zip([
        ("<b>x</b> codex", "&lt;b&gt;x&lt;/b&gt;"),
        ("pool rotat codex", "rotate"),
        ("pool park codex codex-1 --for \u{202e}1m", "\\u{202e}"),
        ("pool show ../../v0/operations/dump", "not_found"),
        ("pool clear codex codex-1 --reason x", "not_resting"),
    ]) {
        let answer = said(&world, &update(number, 8, line)).await.json();
        let text = answer["text"].as_str().expect("a text").to_owned();
        assert!(text.contains(told), "{line}: {text}");
        let inner = text.strip_prefix("<pre>").and_then(|text| text.strip_suffix("</pre>"));
        assert!(inner.is_some_and(|inner| !inner.contains(['<', '>'])), "{line}: {text}");
    }
    let sticker = json!({"update_id": 99, "message": {"chat": {"id": 8}, "sticker": {}}});
    assert_eq!(said(&world, &sticker).await.json(), json!({}), "nothing was said");
}

#[tokio::test]
async fn bodies_of_operators_are_as_strict_as_any() {
    let world = World::new();
    for step in steps().iter().filter(|step| step.body.is_some()) {
        let ask = || asking("POST", &step.path).header("content-type", "application/json");
        let body = step.body.clone().unwrap_or_default();
        let misspelt = body.to_string().replacen('"', "\"x", 1);
        for (body, status) in [
            ("{}".to_owned(), 400),
            (format!("{body} x"), 400),
            (format!("{body}{body}"), 400),
            (misspelt, 400),
            (" ".repeat(2 * 1024 * 1024), 413),
        ] {
            let answer = world.ask_as("operate", ask().body(body.clone())).await;
            let shown: String = body.chars().take(60).collect();
            assert_eq!(answer.status, status, "{} {shown}: {}", step.path, answer.text);
        }
        let plain = asking("POST", &step.path).body(body.to_string());
        let plain = world.ask_as("operate", plain.header("content-type", "text/plain")).await;
        assert_eq!(plain.status, 415, "{}", step.path);
    }
    assert_eq!(next(&world).await.as_deref(), Some("codex-1"), "nothing of it had an effect");
}

#[tokio::test]
async fn names_that_could_mislead_are_no_names() {
    let world = World::new();
    for odd in ["-x", "a%20b", "..%2Fx", "a%3Bb", "a%07", "%E2%80%AEx", "%C3%A4", "A"] {
        for (method, path) in [
            ("GET", format!("/v1/pools/{odd}")),
            ("POST", format!("/v1/pools/{odd}/rotate")),
            ("POST", format!("/v1/pools/codex/members/{odd}/unpark")),
        ] {
            let answer = world.ask_as("admin", asking(method, &path)).await;
            assert!(matches!(answer.status.as_u16(), 400 | 404), "{path}: {}", answer.text);
            assert!(!answer.text.contains('\u{202e}') && !answer.text.contains('\u{7}'));
        }
    }
}

#[tokio::test]
async fn a_lease_counts_as_in_flight_until_it_is_reported_or_ends() {
    let world = World::new();
    let in_flight = async || {
        let pool = world.get("/v1/pools/codex").await.json();
        pool["members"][0]["in_flight"].as_u64().expect("a count")
    };
    let ask = asking("POST", "/v1/pools/codex/leases").json(&json!({}));
    let lease = world.ask_as("use", ask).await.json();
    assert_eq!(in_flight().await, 1);
    world.pass(250);
    let path = format!("/v1/leases/{}/report", lease["lease"].as_str().expect("a lease"));
    let used = r#"{"usage":{"input_tokens":5,"output_tokens":6}}"#;
    let report = asking("POST", &path).json(&json!({"status": 200, "body": used}));
    assert_eq!(world.ask_as("use", report).await.status, 200);
    assert_eq!(in_flight().await, 0);
    let figures = world.get("/v1/metrics/providers").await.json();
    let codex = &figures["providers"]["codex"];
    assert_eq!((&codex["request_count"], &codex["failure_count"]), (&json!(1), &json!(0)));
    assert_eq!((&codex["latency_p50_ms"], &codex["total_tokens"]), (&json!(250), &json!(11)));
    assert!(codex.get("cost_per_1k_input").is_none(), "what is unknown is left out");
    next(&world).await;
    assert_eq!(in_flight().await, 1);
    world.pass(15 * 60_000 + 1);
    world.surface.leases.sweep(world.now());
    assert_eq!(in_flight().await, 0, "nobody reported it");
}

#[tokio::test]
async fn health_knows_pools() {
    let world = World::new();
    let ask = async |path: &str| {
        world.pass(1000); // An evaluation is kept for a second.
        let answer = world.ask(asking("GET", path)).await;
        (answer.status.as_u16(), answer.text)
    };
    assert_eq!(ask("/readyz/pools").await, (200, "[+]pools ok: 1 of 1 can serve\n".to_owned()));
    assert_eq!(ask("/readyz/pool/codex").await.0, 200);
    assert_eq!(ask("/readyz/pool/nope").await.0, 404);
    let cool = asking("POST", "/v0/operations/providers/codex/cooldown")
        .json(&json!({"duration_seconds": 600, "reason": "test"}));
    assert_eq!(world.ask_as("operate", cool).await.status, 200);
    assert_eq!(ask("/readyz").await.0, 503, "nobody can serve");
    assert_eq!(ask("/livez").await.0, 200, "a restart cures no limit");
    let (status, line) = ask("/readyz/pool/codex").await;
    assert!(status == 503 && line.contains("exhausted since"), "{line}");
    let health = world.ask(asking("GET", "/health")).await.json();
    let pools = &health["checks"]["pools"];
    assert_eq!(pools, &json!({"status": "failed", "servable": 0, "total": 1}));
    assert_eq!(health["status"], "degraded");
    let page = world.get("/metrics").await.text;
    for series in [
        "quorate_pool_exhausted{pool=\"codex\"} 1",
        "quorate_pool_members{pool=\"codex\",state=\"cooling\"} 2",
        "quorate_pool_members{pool=\"codex\",state=\"active\"} 0",
        "quorate_pool_auth_resets_total{outcome=\"timeout\"} 0",
    ] {
        assert!(page.contains(series), "{series} is not in\n{page}");
    }
}

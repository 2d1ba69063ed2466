//! The surface of pools over a real pool machine: each verb by its effect on the next lease.

use serde_json::{Value, json};

use super::harness::{Reaction, World, account, asking};

async fn post(world: &World, path: &str, body: &Value) -> Reaction {
    world.ask_as("operate", asking("POST", path).json(body)).await
}

async fn bare(world: &World, path: &str) -> Reaction {
    world.ask_as("operate", asking("POST", path)).await
}

/// Whom the next request would get.
async fn leased(world: &World) -> (String, String) {
    let answer =
        world.ask_as("use", asking("POST", "/v1/pools/codex/leases").json(&json!({}))).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let lease = answer.json();
    let text = |key: &str| lease[key].as_str().expect(key).to_owned();
    (text("credential"), text("lease"))
}

fn member(id: &str, verb: &str) -> String {
    format!("/v1/pools/codex/members/{}/{verb}", account(id))
}

async fn limited(world: &World, lease: &str, seconds: u64) -> Reaction {
    let report =
        json!({"status": 429, "headers": [["Retry-After", seconds.to_string()]], "body": "{}"});
    let path = format!("/v1/leases/{lease}/report");
    world.ask_as("use", asking("POST", &path).json(&report)).await
}

#[tokio::test]
async fn each_verb_changes_who_is_picked_next() {
    let world = World::new();
    assert_eq!(leased(&world).await.0, "codex-1");
    let rotated = bare(&world, "/v1/pools/codex/rotate").await;
    assert_eq!(rotated.status, 200, "{}", rotated.text);
    assert_eq!(rotated.json()["to"], account("codex-2").to_string());
    assert_eq!(leased(&world).await.0, "codex-2");
    assert_eq!(bare(&world, &member("codex-1", "unpark")).await.json()["state"], "ready");
    assert_eq!(
        post(&world, &member("codex-2", "park"), &json!({"for_ms": 60_000})).await.status,
        200
    );
    assert_eq!(leased(&world).await.0, "codex-1");
    let (_, lease) = leased(&world).await;
    assert_eq!(limited(&world, &lease, 600).await.json()["applied"], true);
    assert_eq!(leased(&world).await.0, "codex-2", "a parked account serves before nobody does");
    let cleared = post(&world, &member("codex-1", "clear"), &json!({"reason": "test"})).await;
    assert_eq!(cleared.status, 200, "{}", cleared.text);
    assert_eq!(leased(&world).await.0, "codex-1");
    let cooled = json!({"duration_seconds": 60, "reason": "test"});
    let cooled = post(&world, "/v0/operations/providers/codex/cooldown", &cooled).await;
    assert_eq!(cooled.json()["changed"].as_array().map(Vec::len), Some(2), "{}", cooled.text);
    let ask = asking("POST", "/v1/pools/codex/leases").json(&json!({}));
    assert_eq!(world.ask_as("use", ask).await.code(), "pool_exhausted");
    let recovered = json!({"reason": "test"});
    post(&world, "/v0/operations/providers/codex/recover", &recovered).await;
    assert_eq!(leased(&world).await.0, "codex-1");
}

#[tokio::test]
async fn an_exhausted_pool_says_when_to_come_back_and_names_no_account() {
    let world = World::new();
    for wait in [60, 30] {
        let (_, lease) = leased(&world).await;
        let judged = limited(&world, &lease, wait).await.json();
        assert_eq!(
            (&judged["class"], &judged["scope"]),
            (&json!("rate_limited"), &json!("credential"))
        );
    }
    let ask = asking("POST", "/v1/pools/codex/leases").json(&json!({}));
    let refused = world.ask_as("use", ask).await;
    assert_eq!((refused.status.as_u16(), refused.code().as_str()), (429, "pool_exhausted"));
    assert_eq!(refused.headers["retry-after"], "30");
    assert!(!refused.text.contains("codex-1") && !refused.text.contains("codex-2"));
    let pool = world.get("/v1/pools/codex").await.json();
    assert_eq!((&pool["cooling"], &pool["ready"]), (&json!(2), &json!(0)));
    let explained = world.get("/v1/pools/codex/explain").await.json();
    assert_eq!(explained["refused"]["reason"], "pool_exhausted");
    assert_eq!(explained["members"][0]["skipped"]["class"], "rate_limited");
    let cooldowns = world.get("/v0/operations/cooldowns").await.json();
    assert_eq!(cooldowns["providers_in_cooldown"], json!(["codex"]));
    assert_eq!(cooldowns["items"].as_array().map(Vec::len), Some(2));
    let status = world.get("/v0/operations/providers/status").await.json();
    assert_eq!(status["providers"]["codex"]["status"], "unavailable");
}

#[tokio::test]
async fn what_cannot_be_right_is_refused_with_its_place() {
    let world = World::new();
    for (path, body, pointer) in [
        ("/v1/pools/codex/leases".to_owned(), json!({"modle": "m"}), "/modle"),
        (member("codex-1", "park"), json!({}), "/for_ms"),
        (member("codex-1", "park"), json!({"for_ms": 604_800_001_u64}), "/for_ms"),
        (member("codex-1", "clear"), json!({"reason": ""}), "/reason"),
        ("/v1/leases/n1:57:1/report".to_owned(), json!({}), "/status"),
        ("/v1/leases/n1:57:1/report".to_owned(), json!({"status": 42}), "/status"),
        ("/v0/operations/cooldowns/clear".to_owned(), json!({"reason": "r"}), "/credential"),
    ] {
        let answer = post(&world, &path, &body).await;
        assert_eq!(answer.status, 400, "{path} {body}");
        assert_eq!(answer.json()["errors"][0]["pointer"], pointer, "{path} {body}");
    }
    for (path, body, code) in [
        ("/v1/pools/nope/rotate".to_owned(), None, "not_found"),
        ("/v1/pools/codex/members/0000000000000000/unpark".to_owned(), None, "not_found"),
        (member("codex-1", "clear"), Some(json!({"reason": "r"})), "not_resting"),
        (member("codex-1", "probe"), None, "not_resting"),
        (
            "/v0/operations/cooldowns/clear".to_owned(),
            Some(json!({"credential": "x", "reason": "r"})),
            "not_found",
        ),
        ("/v1/leases/n1:57:99/report".to_owned(), Some(json!({"status": 200})), "not_found"),
        ("/v1/leases/n1:57:099/report".to_owned(), Some(json!({"status": 200})), "not_found"),
    ] {
        let ask = asking("POST", &path);
        let ask = match &body {
            Some(body) => ask.json(body),
            None => ask,
        };
        assert_eq!(world.ask_as("operate", ask).await.code(), code, "{path}");
    }
}

#[tokio::test]
async fn what_would_undo_something_must_be_said_exactly() {
    let world = World::new();
    let own = json!({
        "name": "own",
        "members": [{"credential": "codex-3"}],
        "auth_reset_target": "login-1",
    });
    assert_eq!(post(&world, "/v1/pools", &own).await.status, 201);
    let target = "/v1/pools/own/auth-reset-target";
    let put = async |path: &str, body: &str| {
        let ask = asking("PUT", path).header("content-type", "application/json");
        world.ask_as("operate", ask.body(body.to_owned())).await
    };
    for (path, body) in [
        (target, "{}"),
        (target, ""),
        (target, "null"),
        (target, r#"{"auth_reset_traget": ""}"#),
        (target, r#"{"auth_reset_target": null, "auth_reset_traget": ""}"#),
        (target, r#"{"auth_reset_target": ""} {}"#),
        (target, r#"{"auth_reset_target": "", "auth_reset_target": "x"}"#),
        (target, r#"{"auth_reset_target": []}"#),
        (target, r#"{"auth_reset_target": false}"#),
        (target, r#"{"auth_reset_target": "-x"}"#),
        (target, r#"{"auth_reset_target": "a b"}"#),
        (target, r#"{"auth_reset_target": "../x"}"#),
        (target, r#"{"auth_reset_target": "a;b"}"#),
        (target, r#"{"auth_reset_target": " login"}"#),
        (target, r#"{"auth_reset_target": "a\u0007b"}"#),
        (target, r#"{"auth_reset_target": "a\u202eb"}"#),
        (target, r#"{"auth_reset_target": "a\u200bb"}"#),
        (target, "{\"auth_reset_target\": \"\u{430}\"}"),
        ("/v1/pools/own", "{}"),
        ("/v1/pools/own", r#"{"members": []}"#),
        ("/v1/pools/own", r#"{"membres": [{"credential": "codex-3"}]}"#),
        ("/v1/pools/own", r#"{"members": [{"credential": "codex-3", "wieght": 2}]}"#),
        ("/v1/pools/own", r#"{"members": [{"credential": "codex-3"}], "profile": {"flor_ms": 1}}"#),
        (
            "/v1/pools/own",
            r#"{"members": [{"credential": "codex-3"}], "auth_reset_target": "a;b"}"#,
        ),
    ] {
        let refused = put(path, body).await;
        assert_eq!(refused.status, 400, "{path} {body}: {}", refused.text);
        let pool = world.get("/v1/pools/own").await.json();
        assert_eq!(pool["auth_reset_target"], "login-1", "{path} {body}");
        assert_eq!(pool["members"][0]["credential"], "codex-3", "{path} {body}");
    }
    for clears in [r#"{"auth_reset_target": null}"#, r#"{"auth_reset_target": ""}"#] {
        assert_eq!(put(target, r#"{"auth_reset_target": "login-1"}"#).await.status, 200);
        let cleared = put(target, clears).await.json();
        assert_eq!(cleared["auth_reset_target"], "", "{clears}");
    }
}

#[tokio::test]
async fn a_pool_of_a_provider_without_accounts_cannot_serve() {
    let nobody = json!({"members": {"provider": "nobody"}});
    let world = World::of(&nobody, crate::gateway::GatewaySettings::default());
    let ready = world.ask(asking("GET", "/readyz/pools")).await;
    assert_eq!((ready.status.as_u16(), ready.text.contains("0 of 1")), (503, true), "{ready:?}");
    let one = world.ask(asking("GET", "/readyz/pool/codex")).await;
    assert_eq!((one.status.as_u16(), one.text.contains("no account")), (503, true), "{one:?}");
}

#[tokio::test]
async fn an_account_that_nobody_knows_is_named_and_not_waited_for() {
    let codex = json!({"members": ["codex-8"]});
    let world = World::of(&codex, crate::gateway::GatewaySettings::default());
    let explained = world.get("/v1/pools/codex/explain").await.json();
    assert_eq!(explained["members"][0]["skipped"]["reason"], "unknown", "{explained}");
    let ready = world.ask(asking("GET", "/readyz/pools")).await;
    assert_eq!(ready.status, 503, "a pool is configured, and none can serve");
    assert!(ready.text.contains("`codex` names `codex-8`, which is not known here"), "{ready:?}");
    let one = world.ask(asking("GET", "/readyz/pool/codex")).await;
    assert!(one.text.contains("add it, or take it out"), "{one:?}");
}

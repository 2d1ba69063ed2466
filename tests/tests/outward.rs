//! What a pool sets off outside its node, and what operators do to it: people are told once and in every way, a login is
//! reset once it is back, and each verb changes the next lease alike from the command line, by HTTP and from a chat.

#![expect(clippy::indexing_slicing, reason = "a member that is not there is null, and no panic")]

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc;

use quorate_core::ids::CredentialHandle;
use quorate_tests::eventually;
use quorate_tests::http::Stream;
use quorate_tests::node::{Directory, Node, TOKEN};
use serde_json::{Value, json};

/// What a webhook was sent: head and body.
fn hook() -> (String, mpsc::Receiver<(String, Value)>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let url = format!("http://{}/hook", listener.local_addr().expect("it is bound"));
    let (sender, received) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let (mut bytes, mut part) = (Vec::new(), [0; 4096]);
            let message = loop {
                let read = stream.read(&mut part).expect("the node writes");
                bytes.extend_from_slice(part.get(..read).unwrap_or_default());
                let text = String::from_utf8_lossy(&bytes).into_owned();
                let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                if let Ok(body) = serde_json::from_str(body) {
                    break (head.to_owned(), body);
                }
            };
            let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n");
            if sender.send(message).is_err() {
                return; // The test has ended.
            }
        }
    });
    (url, received)
}

fn write(path: &Path, text: &str, mode: u32) {
    std::fs::write(path, text).expect("a folder of its own");
    let mode = std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(path, mode).expect("its own file");
}

fn account(node: &Node, id: &str) {
    let auths = node.data().join("auths");
    std::fs::create_dir_all(&auths).expect("a folder of its own");
    let record = json!({"type": "codex", "access_token": "codex-access-token"}).to_string();
    write(&auths.join(format!("{id}.json")), &record, 0o600);
}

/// Who the program runs as: nobody, or where this test is not root whoever it is.
fn user() -> String {
    let id = |flag: &str| {
        let said = Command::new("id").arg(flag).output().expect("coreutils are here");
        String::from_utf8_lossy(&said.stdout).trim().to_owned()
    };
    if id("-u") == "0" { "65534:65534".to_owned() } else { format!("{}:{}", id("-u"), id("-g")) }
}

/// The next lease of a pool: the account and the lease's id, or the refusal.
fn lease(node: &Node, pool: &str) -> Result<(String, String), String> {
    let answer = node.ask("POST", &format!("/v1/pools/{pool}/leases"), Some(&json!({})))?;
    let text = |name: &str| answer.json()[name].as_str().map(str::to_owned);
    match (text("credential"), text("lease")) {
        (Some(credential), Some(lease)) => Ok((credential, lease)),
        _ => Err(answer.code()),
    }
}

/// Whom the next request would get, which then goes away again.
fn next(node: &Node, pool: &str) -> Result<String, String> {
    let (account, lease) = lease(node, pool)?;
    let gone = json!({"outcome": "cancelled"});
    let told = node.ask("POST", &format!("/v1/leases/{lease}/report"), Some(&gone))?;
    assert_eq!(told.status, 200, "{}", told.body);
    Ok(account)
}

/// Whoever has `lease` is limited for so many seconds.
fn limited(node: &Node, lease: &str, seconds: u32) {
    let answer =
        json!({"status": 429, "headers": [["Retry-After", seconds.to_string()]], "body": "{}"});
    let judged = node.ask("POST", &format!("/v1/leases/{lease}/report"), Some(&answer));
    let judged = judged.expect("the node listens");
    assert_eq!(judged.json()["applied"], true, "{}", judged.body);
}

#[test]
fn a_pool_that_is_back_resets_a_login_and_people_hear_of_it_once_in_every_way() {
    let place = Directory::new("outward");
    std::fs::set_permissions(&place.0, std::fs::Permissions::from_mode(0o777)).expect("its own");
    let (program, seen) = (place.0.join("reset"), place.0.join("seen"));
    write(&program, &format!("#!/bin/sh\necho \"$# $1\" >> {}\n", seen.display()), 0o755);
    write(&place.0.join("hook-secret"), "hush", 0o600);
    let (url, told) = hook();
    let extra = format!(
        "[pools.codex]\nmembers = [\"codex-1\"]\nauth_reset_target = \"codex-login\"\n\
         profile = {{ floor_ms = 1000 }}\n\
         [auth_reset]\nargv = [\"{}\", \"{{target}}\"]\nuser = \"{}\"\n\
         [[notices.sinks]]\nkind = \"webhook\"\nname = \"ops\"\nurl = \"{url}\"\n\
         secret = \"file:{}\"\n",
        program.display(),
        user(),
        place.0.join("hook-secret").display(),
    );
    let mut node = Node::new("a", &[], &extra);
    account(&node, "codex-1");
    node.start();
    let (_, first) = eventually("a lease", || lease(&node, "codex"));
    assert!(!seen.exists(), "a pool that was only being read resets nothing");
    let at_start = node.log().len();
    let path = "/v1/events?types=pool.exhausted,pool.recovered,pool.parked";
    let mut events = Stream::open(node.http, path, TOKEN).expect("a stream");
    events.until("200 OK").expect("it is open");

    limited(&node, &first, 1);
    let (head, body) = told.recv().expect("people are told");
    assert_eq!((&body["type"], &body["pool"]), (&json!("pool.exhausted"), &json!("codex")));
    let signed = head.lines().any(|line| line.starts_with("quorate-signature: t="));
    assert!(signed, "{head}");
    let (_, body) = told.recv().expect("people are told");
    assert_eq!(body["type"], "pool.recovered", "{body}");
    assert!(!body.to_string().contains("codex-access-token"));

    let line = eventually("an audit line", || {
        let lines = node.get("/v0/operations/audit?after=0&limit=1000");
        let lines = lines["items"].as_array().cloned().unwrap_or_default();
        let mut resets = lines.into_iter().filter(|line| line["verb"] == "auth_reset");
        resets.next_back().ok_or("none").map_err(str::to_owned)
    });
    assert_eq!(std::fs::read_to_string(&seen).expect("it ran"), "1 codex-login\n", "once");
    assert_eq!((&line["object"], &line["actor"]), (&json!("codex codex-login"), &json!("system")));
    assert_eq!(line["outcome"], "ok", "{line}");
    assert_eq!(node.metric("quorate_pool_auth_resets_total{outcome=\"ok\"}"), Ok(1));

    // An operator makes the last edge, so that everything before it has been told when its own news arrives.
    let cool = ["provider", "cool", "codex", "--for", "1h", "--reason", "test"];
    let cooled = node.run(&cool);
    assert_eq!(cooled.code, Some(0), "{cooled:?}");
    assert_eq!(lease(&node, "codex"), Err("pool_exhausted".to_owned()));
    let status = node.run(&["status"]);
    assert!(status.data.contains("! EXHAUSTED"), "{status:?}");
    let (_, body) = told.recv().expect("people are told");
    // It ran dry again within ten minutes of a recovery that nobody proved: an episode.
    assert_eq!(body["type"], "pool.still_exhausted", "{body}");
    assert!(told.try_recv().is_err(), "each is told once");
    let parked = node.run(&["pool", "park", "codex", "codex-1"]);
    assert_eq!(parked.code, Some(0), "{parked:?}");
    let shown = events.until("event: pool.parked").expect("what came before is here");
    let count = |text: &str, word: &str| text.matches(word).count();
    assert_eq!(count(shown, "event: pool.exhausted"), 2, "every edge: {shown}");
    assert_eq!(count(shown, "event: pool.recovered"), 1, "{shown}");
    let log = node.log().split_off(at_start);
    assert_eq!(count(&log, "\"pool exhausted\""), 2, "{log}");
    assert_eq!(count(&log, "\"pool recovered\""), 1, "{log}");
    eventually("three were taken", || {
        let series = "quorate_pool_notices_total{sink=\"ops\",result=\"ok\"}";
        if node.metric(series)? == 3 { Ok(()) } else { Err(series.to_owned()) }
    });
}

/// One verb: as the command line and a chat say it, and as HTTP says it.
struct Verb {
    line: &'static str,
    method: &'static str,
    path: String,
    body: Option<Value>,
}

fn verb(line: &'static str, method: &'static str, path: &str, body: Option<Value>) -> Verb {
    let handle = |id: &str| CredentialHandle::of("default", id).to_string();
    let path = ["codex-1", "codex-2", "own-1", "own-2"]
        .iter()
        .fold(path.to_owned(), |path, id| path.replace(&format!("<{id}>"), &handle(id)));
    Verb { line, method, path, body }
}

#[derive(Debug, Clone, Copy)]
enum Surface {
    CommandLine,
    Http,
    Chat,
}

impl Surface {
    fn perform(self, node: &Node, number: usize, verb: &Verb) {
        match self {
            Surface::CommandLine => {
                let words: Vec<&str> = verb.line.split(' ').collect();
                let said = node.run(&words);
                assert_eq!(said.code, Some(0), "{}: {said:?}", verb.line);
            }
            Surface::Http => {
                let said = node.ask(verb.method, &verb.path, verb.body.as_ref());
                let said = said.expect("the node listens");
                assert!((200..300).contains(&said.status), "{}: {}", verb.path, said.body);
            }
            Surface::Chat => {
                let update = json!({
                    "update_id": number,
                    "message": {"chat": {"id": 7}, "text": format!("/{}", verb.line)},
                })
                .to_string();
                let request = format!(
                    "POST /v1/chat/telegram HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\
                     x-telegram-bot-api-secret-token: hush\r\ncontent-type: application/json\r\n\
                     content-length: {}\r\n\r\n{update}",
                    node.http,
                    update.len(),
                );
                let said = quorate_tests::http::raw(node.http, request.as_bytes());
                let said = said.expect("the node listens");
                assert_eq!(said.status, 200, "{}: {}", verb.line, said.body);
                assert_eq!(said.json()["chat_id"], 7, "{}: {}", verb.line, said.body);
            }
        }
    }
}

#[test]
fn each_verb_changes_the_next_lease_alike_from_every_surface() {
    let place = Directory::new("verbs");
    write(&place.0.join("chat-secret"), "hush", 0o600);
    let extra = format!(
        "[pools.codex]\nmembers = [\"codex-1\", \"codex-2\"]\n\
         [chat.telegram]\nsecret = \"file:{}\"\nchats = [{{ id = 7, scopes = [\"read\", \"operate\"] }}]\n",
        place.0.join("chat-secret").display(),
    );
    let mut node = Node::new("a", &[], &extra);
    for id in ["codex-1", "codex-2", "own-1", "own-2"] {
        account(&node, id);
    }
    node.start_ready();
    eventually("both accounts serve, and the log takes definitions", || {
        let ready = node.get("/v1/pools/codex")["ready"].as_u64();
        let log = node.get("/v0/operations/raft");
        if ready == Some(2) && log["leader"].is_string() { Ok(()) } else { Err(log.to_string()) }
    });
    for surface in [Surface::CommandLine, Surface::Http, Surface::Chat] {
        let mut steps = Steps { node: &node, surface, number: 100 * (surface as usize) };
        if next(&node, "codex") != Ok("codex-1".to_owned()) {
            node.ask("POST", &pool("rotate"), None).expect("the node listens");
            let path = verb("", "", &pool("members/<codex-2>/unpark"), None).path;
            node.ask("POST", &path, None).expect("the node listens");
        }
        assert_eq!(next(&node, "codex"), Ok("codex-1".to_owned()), "where each surface begins");
        order(&mut steps);
        define(&mut steps);
    }
}

/// Verbs from one surface, one after the other.
struct Steps<'a> {
    node: &'a Node,
    surface: Surface,
    /// Of the last message to the chat.
    number: usize,
}

impl Steps<'_> {
    /// Performs a verb; then the next request of the pool `of` gets this account, or this refusal.
    fn then(&mut self, said: Verb, of: &str, expected: Result<&str, &str>) {
        self.number += 1;
        self.surface.perform(self.node, self.number, &said);
        let leased = next(self.node, of);
        let leased = leased.as_deref().map_err(String::as_str);
        assert_eq!(leased, expected, "{:?}: {}", self.surface, said.line);
    }
}

fn pool(verb: &str) -> String {
    format!("/v1/pools/codex/{verb}")
}

/// What operators do to a pool.
fn order(steps: &mut Steps<'_>) {
    let reason = || Some(json!({"reason": "test"}));
    steps.then(verb("pool rotate codex", "POST", &pool("rotate"), None), "codex", Ok("codex-2"));
    // Both are parked: the one that comes back sooner serves.
    let park = Some(json!({"for_ms": 3_600_000}));
    let park =
        verb("pool park codex codex-2 --for 1h", "POST", &pool("members/<codex-2>/park"), park);
    steps.then(park, "codex", Ok("codex-1"));
    let unpark = pool("members/<codex-2>/unpark");
    steps.then(verb("pool unpark codex codex-2", "POST", &unpark, None), "codex", Ok("codex-2"));
    let unpark = pool("members/<codex-1>/unpark");
    steps.then(verb("pool unpark codex codex-1", "POST", &unpark, None), "codex", Ok("codex-2"));

    for account in ["codex-2", "codex-1"] {
        let (leased, id) = lease(steps.node, "codex").expect("one of them serves");
        assert_eq!(leased, account);
        limited(steps.node, &id, 600);
    }
    assert_eq!(next(steps.node, "codex"), Err("pool_exhausted".to_owned()));
    let clear = pool("members/<codex-2>/clear");
    let clear = verb("pool clear codex codex-2 --reason test", "POST", &clear, reason());
    steps.then(clear, "codex", Ok("codex-2"));
    let cooldown = Some(json!({"credential": "codex-1", "reason": "test"}));
    let path = "/v0/operations/cooldowns/clear";
    let clear = verb("cooldown clear codex-1 --reason test", "POST", path, cooldown);
    steps.then(clear, "codex", Ok("codex-2"));
    let cool = Some(json!({"duration_seconds": 3600, "reason": "test"}));
    let path = "/v0/operations/providers/codex/cooldown";
    let cool = verb("provider cool codex --for 1h --reason test", "POST", path, cool);
    steps.then(cool, "codex", Err("pool_exhausted"));
    let path = "/v0/operations/providers/codex/recover";
    let recover = verb("provider recover codex --reason test", "POST", path, reason());
    steps.then(recover, "codex", Ok("codex-2"));
}

/// What callers define.
fn define(steps: &mut Steps<'_>) {
    let own = |ids: &[&str]| {
        let members: Vec<Value> = ids.iter().map(|id| json!({"credential": id})).collect();
        json!({"members": members})
    };
    let mut named = own(&["own-1"]);
    named["name"] = json!("own");
    let create = "pool create own --member own-1";
    steps.then(verb(create, "POST", "/v1/pools", Some(named)), "own", Ok("own-1"));
    let set = "pool set own --member own-2";
    steps.then(verb(set, "PUT", "/v1/pools/own", Some(own(&["own-2"]))), "own", Ok("own-2"));
    let member = "/v1/pools/own/members/";
    let add = format!("{member}<own-1>");
    steps.then(verb("pool add own own-1", "PUT", &add, Some(json!({}))), "own", Ok("own-2"));
    let drop = format!("{member}<own-2>");
    steps.then(verb("pool drop own own-2", "DELETE", &drop, None), "own", Ok("own-1"));
    let target = "/v1/pools/own/auth-reset-target";
    let body = Some(json!({"auth_reset_target": "login"}));
    let reset = verb("pool set-auth-reset own login", "PUT", target, body);
    steps.then(reset, "own", Ok("own-1"));
    assert_eq!(
        steps.node.get("/v1/pools/own")["auth_reset_target"],
        "login",
        "{:?}",
        steps.surface
    );
    let remove = verb("pool remove own", "DELETE", "/v1/pools/own", None);
    steps.then(remove, "own", Err("not_found"));
}

//! The gateway of a real process: programs that people use speak through it, large bodies cost it nothing, and
//! neither a key nor what a provider says in an error is found anywhere it should not be.

#![expect(clippy::indexing_slicing, reason = "a member that is not there is null, and no panic")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};

use quorate_tests::eventually;
use quorate_tests::hunt::Hunt;
use quorate_tests::node::{Node, TOKEN};
use quorate_tests::provider::{Provider, answer};
use serde_json::json;

/// A node with a pool `codex` of two accounts at `provider`, whose keys are `keys`.
fn node(provider: &Provider, keys: [&str; 2], extra: &str) -> Node {
    let pool = format!(
        "[pools.codex]\nmembers = [\"one\", \"two\"]\nupstream = \"{}\"\n{extra}",
        provider.url()
    );
    let node = Node::new("a", &[], &pool);
    let folder = node.data().join("auths");
    std::fs::create_dir_all(&folder).expect("a folder of its own");
    for (name, key) in ["one", "two"].iter().zip(keys) {
        let body = json!({"type": "codex", "access_token": key}).to_string();
        std::fs::write(folder.join(format!("{name}.json")), body).expect("a folder of its own");
    }
    node
}

/// Waits until both accounts can serve.
fn serves(node: &mut Node) {
    node.start_ready();
    eventually("both accounts are there", || {
        let pool = node.get("/v1/pools/codex");
        let ready = pool["members"].as_array().map_or(0, |members| {
            members.iter().filter(|member| member["state"] != "disabled").count()
        });
        if ready == 2 { Ok(()) } else { Err(pool.to_string()) }
    });
}

const LIMITED: &str = r#"{"error":{"type":"rate_limit_error","message":"slow down"}}"#;

#[test]
fn curl_reads_events_as_they_come_though_the_first_account_is_limited() {
    let (tell, told) = mpsc::channel::<()>();
    let told = Mutex::new(told);
    let provider = Provider::start(move |seen, stream| {
        if seen.key() == "k1" {
            return answer(stream, 429, &[("retry-after", "120")], LIMITED);
        }
        let head =
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
        stream.write_all(head.as_bytes())?;
        stream.write_all(b"data: {\"delta\":\"first\"}\n\n")?;
        // Until the test has read the first.
        told.lock().expect("one request").recv().expect("the test lives");
        stream.write_all(b"data: {\"delta\":\"second\"}\n\ndata: [DONE]\n\n")
    });
    let mut a = node(&provider, ["k1", "k2"], "");
    serves(&mut a);
    let mut curl = Command::new("curl")
        .args(["--no-buffer", "--silent", "--show-error", "--max-time", "60"])
        .args(["--header", &format!("Authorization: Bearer {TOKEN}")])
        .args(["--json", r#"{"model":"gpt-5","stream":true}"#])
        .arg(format!("http://{}/gateway/codex/v1/responses", a.http))
        .stdout(Stdio::piped())
        .spawn()
        .expect("curl is not installed: this test needs it");
    let mut lines = BufReader::new(curl.stdout.take().expect("it is piped")).lines();
    let first = lines.next().expect("an event").expect("text");
    assert_eq!(first, r#"data: {"delta":"first"}"#);
    tell.send(()).expect("the provider waits");
    let rest: Vec<String> = lines.map(|line| line.expect("text")).collect();
    assert_eq!(rest, ["", r#"data: {"delta":"second"}"#, "", "data: [DONE]", ""]);
    assert!(curl.wait().expect("its own child").success());
    let keys: Vec<String> = provider.seen().iter().map(|seen| seen.key().to_owned()).collect();
    assert_eq!(keys, ["k1", "k2"]);
    let limited = "quorate_gateway_attempts_total{pool=\"codex\",class=\"rate_limited\"}";
    assert_eq!(a.metric(limited), Ok(1));
}

#[test]
fn an_account_without_a_key_is_not_tried_and_a_pool_of_such_says_so() {
    let provider = Provider::start(|_, stream| answer(stream, 200, &[], "{}"));
    let mut a = node(&provider, ["", "k2"], "");
    a.start_ready();
    let ask = || a.ask("POST", "/gateway/codex/v1/chat", Some(&json!({"model": "m"})));
    eventually("the other account serves", || match ask()?.status {
        200 => Ok(()),
        status => Err(status.to_string()),
    });
    let served = ask().expect("the node answers");
    assert!(served.head.to_lowercase().contains("quorate-attempts: 1"), "{}", served.head);
    let explained = a.get("/v1/pools/codex/explain");
    assert_eq!(explained["members"][0]["skipped"]["reason"], "no_key", "{explained}");
    let body = json!({"type": "codex", "access_token": " "}).to_string();
    std::fs::write(a.data().join("auths/two.json"), body).expect("its own folder");
    eventually("nobody serves", || match ask()?.code().as_str() {
        "pool_unavailable" => Ok(()),
        code => Err(code.to_owned()),
    });
}

#[test]
fn for_want_of_capacity_no_account_of_the_same_provider_is_asked() {
    let overloaded = r#"{"error":{"type":"overloaded_error","message":"overloaded"}}"#;
    let provider = Provider::start(|_, stream| answer(stream, 529, &[], overloaded));
    // Whoever rests may be asked here, the soonest one back first and of those the first one: so that nothing but
    // the rule keeps the first from it, the second is the one that is asked.
    let mut a = node(&provider, ["k1", "k2"], "degrade = \"forward\"\n");
    serves(&mut a);
    let rotated = a.ask("POST", "/v1/pools/codex/rotate", None).expect("the node answers");
    assert_eq!(rotated.status, 200, "{}", rotated.body);
    let body = json!({"model": "m"});
    let answer = a.ask("POST", "/gateway/codex/v1/chat", Some(&body)).expect("the node answers");
    assert_eq!(answer.status, 529, "{}", answer.head);
    let keys: Vec<String> = provider.seen().iter().map(|seen| seen.key().to_owned()).collect();
    assert_eq!(keys, ["k2"]);
}

#[test]
fn a_pool_tries_an_account_with_its_own_request_when_an_operator_asks_and_no_caller_does() {
    let paid = Arc::new(AtomicBool::new(false));
    let is_paid = paid.clone();
    let provider = Provider::start(move |seen, stream| match seen.key() {
        "k1" if !is_paid.load(Ordering::SeqCst) => answer(stream, 402, &[], "{}"),
        _ => answer(stream, 200, &[], "{}"),
    });
    let own = "probe_request = { method = \"POST\", path = \"/v1/ping?x=1\", body = '{\"model\":\"m\"}' }\n";
    let mut a = node(&provider, ["k1", "k2"], own);
    serves(&mut a);
    let body = json!({"model": "m"});
    let served = a.ask("POST", "/gateway/codex/v1/chat", Some(&body)).expect("the node answers");
    assert_eq!(served.status, 200, "{}", served.body);
    let state = |wanted: &str| {
        eventually(&format!("the first account is {wanted}"), || {
            let pool = a.ask("GET", "/v1/pools/codex", None)?.json();
            let one = &pool["members"][0];
            if one["state"] == *wanted { Ok(one.clone()) } else { Err(pool.to_string()) }
        })
    };
    let handle = state("cooling")["handle"].as_str().expect("a handle").to_owned();
    paid.store(true, Ordering::SeqCst);
    let path = format!("/v1/pools/codex/members/{handle}/probe");
    assert_eq!(a.ask("POST", &path, None).expect("the node answers").status, 202);
    state("ramping");
    let seen = provider.seen();
    let asked: Vec<(&str, &str)> = seen.iter().map(|one| (one.key(), &*one.line)).collect();
    let (chat, own) = ("POST /v1/chat HTTP/1.1", "POST /v1/ping?x=1 HTTP/1.1");
    assert_eq!(asked, [("k1", chat), ("k2", chat), ("k1", own)]);
    let last = seen.last().expect("it was asked");
    assert!(last.head.contains("content-type: application/json"), "{}", last.head);
    assert_eq!(last.bytes, 13, "its body arrives whole");
    eventually("it is counted", || {
        match a.metric("quorate_probes_total{outcome=\"answered\"}")? {
            1 => Ok(()),
            count => Err(count.to_string()),
        }
    });
}

/// The most memory that a process has had, in KiB.
fn memory_kib(id: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a high mark");
    line.trim().trim_end_matches(" kB").trim().parse().expect("a number")
}

const LARGE: u64 = 256 << 20;

#[test]
fn bodies_of_many_mib_pass_both_ways_in_bounded_memory() {
    let provider = Provider::start(|seen, stream| {
        if seen.bytes > 0 {
            return answer(stream, 200, &[], "{}");
        }
        write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {LARGE}\r\nconnection: close\r\n\r\n")?;
        let chunk = vec![b'x'; 1 << 20];
        (0..LARGE >> 20).try_for_each(|_| stream.write_all(&chunk))
    });
    let mut a = node(&provider, ["k1", "k2"], "");
    serves(&mut a);
    let id = a.process_id().expect("it runs");
    let before = memory_kib(id);

    // Down: nobody reads until the provider has sent what fits on the way.
    let mut client = request(&a, "GET", "/files/1", 0);
    let mut first = [0; 1];
    client.read_exact(&mut first).expect("a head");
    let read = std::io::copy(&mut client, &mut std::io::sink()).expect("a body");
    assert!(read > LARGE, "{read} bytes came down");

    let mut client = request(&a, "POST", "/files", LARGE);
    let chunk = vec![b'x'; 1 << 20];
    (0..LARGE >> 20).for_each(|_| client.write_all(&chunk).expect("it goes up"));
    let mut said = String::new();
    client.read_to_string(&mut said).expect("an answer");
    assert!(said.starts_with("HTTP/1.1 200"), "{said}");
    assert_eq!(provider.seen().last().map(|seen| seen.bytes), Some(LARGE));

    let grown = memory_kib(id).saturating_sub(before);
    assert!(grown < 32 * 1024, "two bodies of 256 MiB cost {grown} KiB");
}

fn request(node: &Node, method: &str, path: &str, length: u64) -> TcpStream {
    let mut client = TcpStream::connect(node.http).expect("the node listens");
    let length = if length > 0 { format!("content-length: {length}\r\n") } else { String::new() };
    write!(
        client,
        "{method} /gateway/codex{path} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {TOKEN}\r\n\
         connection: close\r\n{length}\r\n",
        node.http
    )
    .expect("it is read");
    client
}

/// K6 and the second canary: keys go to the provider alone, and what it says in an error goes to its client
/// alone.
#[test]
fn neither_a_key_nor_the_words_of_an_error_stay_behind() {
    let marker = |number: usize| format!("cAnArY/{number:04}+q7Zx=kW3Ev9L");
    let keys = [marker(1), marker(2)];
    let words = marker(3);
    let said = words.clone();
    let provider = Provider::start(move |seen, stream| {
        let error = json!({"error": {
            "type": said, "code": said, "message": format!("try again in 5s {said}"),
            "param": said, "metadata": {"headers": {"X-RateLimit-Reset": said}},
        }});
        let headers = [("x-request-id", said.as_str()), ("retry-after", said.as_str())];
        match seen.line.as_str() {
            line if line.contains("/limited") => answer(stream, 429, &headers, &error.to_string()),
            line if line.contains("/broken") => answer(stream, 500, &headers, &error.to_string()),
            line if line.contains("/garbage") => stream.write_all(said.as_bytes()),
            _ => answer(stream, 200, &[("content-type", "application/json")], "{}"),
        }
    });
    let mut a = node(&provider, [&keys[0], &keys[1]], "[log]\nfilter = \"trace\"\n");
    serves(&mut a);
    let mut hunt = Hunt::new(&[keys[0].clone(), keys[1].clone(), words]);
    let body = json!({"model": "gpt-5"});
    let ask = |path: &str| {
        let path = format!("/gateway/codex/v1/{path}?key={TOKEN}");
        a.ask("POST", &path, Some(&body)).expect("the node answers")
    };
    let served = ask("chat");
    assert_eq!(served.status, 200, "{}", served.body);
    assert!(ask("broken").body.contains("cAnArY"), "the client alone is told");
    let refused = [ask("garbage"), ask("limited")];
    assert_eq!(refused.each_ref().map(|answer| answer.status), [502, 429]);
    assert_eq!(refused[1].code(), "pool_exhausted");
    let seen = provider.seen();
    assert!(seen.iter().all(|seen| !seen.head.contains(TOKEN)), "no token of ours went up");
    assert!(seen.iter().any(|seen| seen.key() == keys[1]), "both accounts were asked");
    for answer in refused.into_iter().chain([served]) {
        hunt.search("an answer", format!("{}\n{}", answer.head, answer.body).as_bytes());
    }
    for path in [
        "/metrics",
        "/v1/pools",
        "/v1/pools/codex",
        "/v1/pools/codex/explain",
        "/v0/operations/cooldowns",
        "/v0/operations/providers/status",
        "/v0/operations/dump",
        "/v0/operations/audit",
        "/v1/metrics/providers",
        "/v1/credentials",
    ] {
        let answer = a.ask("GET", path, None).expect("the node answers");
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        hunt.search(path, answer.body.as_bytes());
    }
    a.signal("TERM");
    assert!(a.ended().success(), "{}", a.log());
    assert!(a.log().contains("trace"), "the log was written in full");
    hunt.search("the log", a.log().as_bytes());
    let folder = a.data().join("auths");
    hunt.search_files(&a.data(), Path::new(&folder));
}

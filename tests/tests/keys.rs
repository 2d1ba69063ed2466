//! The consistent store of real processes: keys, transactions, leases, watches and locks over HTTP and by the
//! command line, and everything that was acknowledged found again after a kill.

#![expect(clippy::indexing_slicing, reason = "a member that is not there is null, and no panic")]

use std::process::Command;

use quorate_tests::eventually;
use quorate_tests::http::{Answer, Stream};
use quorate_tests::node::{Node, Said, TOKEN, binary};
use serde_json::{Value, json};

/// Asks until the log answers: who has just started forms it, or looks for its leader.
#[track_caller]
fn done(node: &Node, method: &str, path: &str, body: Option<&Value>) -> Answer {
    eventually(&format!("{method} {path}"), || {
        let answer = node.ask(method, path, body)?;
        if answer.status >= 500 { Err(answer.body) } else { Ok(answer) }
    })
}

#[track_caller]
fn well(answer: &Answer) -> Value {
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()
}

#[track_caller]
fn put(node: &Node, key: &str, body: &Value) -> u64 {
    let answer = well(&done(node, "PUT", &format!("/v1/kv/app/{key}"), Some(body)));
    answer["revision"].as_u64().expect("a revision")
}

/// A node that founds its log alone.
fn alone() -> Node {
    let mut a = Node::new("a", &[], "");
    a.start_ready();
    a
}

#[test]
fn a_node_alone_keeps_keys_and_finds_them_again_after_a_kill() {
    let mut a = alone();
    let first = put(&a, "colour", &json!({"value": "red"}));
    let there =
        a.ask("PUT", "/v1/kv/app/colour", Some(&json!({"value": "x", "if": {"absent": true}})));
    let there = there.expect("a answers");
    assert_eq!(
        (there.status, there.code().as_str()),
        (412, "precondition_failed"),
        "{}",
        there.body
    );
    let second = put(&a, "colour", &json!({"value": "blue", "if": {"mod_revision": first}}));
    assert_eq!(second, first + 1);
    let swap = json!({
        "compare": [{"key": "colour", "target": "value", "is": "=", "than": "blue"}],
        "then": [{"put": {"key": "shape", "value": "round"}}, {"get": {"key": "colour"}}],
        "else": [{"put": {"key": "shape", "value": "square"}}],
    });
    let swapped = well(&done(&a, "POST", "/v1/kv/app", Some(&swap)));
    assert_eq!(swapped["succeeded"], true, "{swapped}");
    assert_eq!(swapped["results"][1]["items"][0]["value"], "blue", "{swapped}");
    let lease = well(&done(&a, "POST", "/v1/kv-leases", Some(&json!({"ttl_ms": 3_600_000}))));
    let lease = lease["lease"].as_str().expect("a lease").to_owned();
    put(&a, "bound", &json!({"value": "while it lives", "lease": lease}));
    let before = a.get("/v1/kv/app");
    assert_eq!(before["items"].as_array().expect("a list").len(), 3, "{before}");

    a.kill();
    a.start_ready();
    let after = well(&done(&a, "GET", "/v1/kv/app", None));
    assert_eq!(after, before, "whatever was acknowledged is found, at its revision");
    let bound = well(&done(&a, "GET", &format!("/v1/kv-leases/{lease}"), None));
    assert_eq!(bound["keys"][0]["key"], "bound", "{bound}");
    let past = well(&done(&a, "GET", &format!("/v1/kv/app/colour?revision={first}"), None));
    assert_eq!(past["key"]["value"], "red", "what was is kept, too: {past}");
    let gone = well(&done(&a, "DELETE", &format!("/v1/kv-leases/{lease}"), None));
    assert_eq!(gone["deleted"], 1, "{gone}");
    assert_eq!(a.ask("GET", "/v1/kv/app/bound", None).expect("a answers").status, 404);
    let status = a.get("/v0/operations/raft");
    assert_eq!((&status["state"], &status["leader"]), (&json!("leader"), &json!("a")), "{status}");
}

#[test]
fn a_watch_hears_every_change_once_and_goes_on_where_it_was_after_a_kill() {
    let mut a = alone();
    let first = put(&a, "one", &json!({"value": "1"}));
    let open = |node: &Node, from: u64| {
        let path = format!("/v1/kv/app?watch=true&prefix=&from_revision={from}");
        Stream::open(node.http, &path, TOKEN).expect("the node listens")
    };
    let mut watch = open(&a, first);
    watch.until("\"one\"").expect("what was before is told first");
    put(&a, "two", &json!({"value": "2"}));
    watch.until("\"two\"").expect("a change is told");
    let short = well(&done(&a, "POST", "/v1/kv-leases", Some(&json!({"ttl_ms": 1000}))));
    put(&a, "three", &json!({"value": "3", "lease": short["lease"]}));
    let heard = watch.until("\"expired\"").expect("a lease ends by itself").to_owned();
    for key in ["one", "two"] {
        assert_eq!(heard.matches(&format!("\"key\":\"{key}\"")).count(), 1, "{heard}");
    }
    let last = heard.lines().filter_map(|line| line.strip_prefix("id: ")).next_back();
    let last: u64 = last.and_then(|id| id.trim().parse().ok()).expect("an id is a revision");

    a.kill();
    a.start_ready();
    put(&a, "four", &json!({"value": "4"}));
    let mut watch = open(&a, last);
    let heard = watch.until("\"four\"").expect("it goes on").to_owned();
    assert!(heard.contains("\"expired\"") && !heard.contains("\"two\""), "{heard}");
}

/// Three nodes of one log: the first founds it alone, the others join and are taken in.
fn three() -> Vec<Node> {
    let mut a = Node::new("a", &[], "");
    let mut b = Node::new("b", &[a.peers], "");
    let mut c = Node::new("c", &[a.peers], "");
    for node in [&mut a, &mut b, &mut c] {
        node.start_ready();
    }
    let nodes = vec![a, b, c];
    agree(&nodes.iter().collect::<Vec<_>>(), 3);
    nodes
}

/// Waits until each of these says that `voters` vote and that nothing is due.
fn agree(nodes: &[&Node], voters: usize) {
    for node in nodes {
        eventually(&format!("{} counts {voters} voters", node.name), || {
            let status = node.ask("GET", "/v0/operations/raft", None)?.json();
            let members = status["members"].as_array().cloned().unwrap_or_default();
            let count = members.iter().filter(|member| member["state"] == "voter").count();
            let agreed =
                count == voters && status["settled"] == true && !status["leader"].is_null();
            if agreed { Ok(()) } else { Err(status.to_string()) }
        });
    }
}

fn values(node: &Node) -> Vec<Value> {
    let list = well(&done(node, "GET", "/v1/kv/app?keys_only=true", None));
    let items = list["items"].as_array().cloned().unwrap_or_default();
    items.into_iter().map(|item| item["key"].clone()).collect()
}

#[test]
fn three_nodes_lose_nothing_with_their_leader_and_take_it_in_again() {
    let mut nodes = three();
    let mut written = Vec::new();
    for (count, node) in nodes.iter().enumerate() {
        written.push(json!(format!("k{count}")));
        put(node, &format!("k{count}"), &json!({"value": "before"}));
    }
    for round in 0..2 {
        let leader = nodes.first().expect("three").get("/v0/operations/raft")["leader"].clone();
        let at = nodes.iter().position(|node| json!(node.name) == leader).expect("one of them");
        let mut dead = nodes.remove(at);
        dead.kill();
        for node in &nodes {
            let key = format!("m{round}{}", node.name);
            put(node, &key, &json!({"value": "meanwhile"}));
            written.push(json!(key));
        }
        written.sort_by_key(ToString::to_string);
        for node in &nodes {
            assert_eq!(values(node), written, "{} has what was acknowledged", node.name);
        }
        dead.start_ready();
        assert_eq!(values(&dead), written, "who comes back has it, too");
        nodes.push(dead);
        agree(&nodes.iter().collect::<Vec<_>>(), 3);
    }
    for node in &mut nodes {
        node.kill();
    }
    for node in &mut nodes {
        node.start();
    }
    for node in &nodes {
        assert_eq!(values(node), written, "{} has it after all were killed", node.name);
    }
}

#[test]
fn the_command_line_reads_and_writes_keys_and_holds_locks() {
    let a = alone();
    let revision = eventually("a key is written", || {
        let said = a.run(&["kv", "put", "app/leader", "gw-a", "--output", "json"]);
        let done = said.code == Some(0);
        if done { Ok(said.json()["revision"].clone()) } else { Err(format!("{said:?}")) }
    });
    assert_eq!(a.run(&["kv", "get", "app/leader"]).data, "gw-a\n");
    let stale = a.run(&["kv", "put", "app/leader", "gw-b", "--if-revision", "999"]);
    assert_eq!(stale.code, Some(4), "{stale:?}");
    let fresh = a.run(&["kv", "put", "app/leader", "gw-b", "--if-revision", &revision.to_string()]);
    assert_eq!(fresh.code, Some(0), "{fresh:?}");
    let table = a.run(&["kv", "scan", "app/"]);
    assert!(table.data.contains("leader") && table.data.contains("gw-b"), "{table:?}");

    let (address, fence) = (a.http.to_string(), "echo $QUORATE_FENCE");
    let lock = |script: &str| {
        let words =
            ["--address", &address, "--token", TOKEN, "lock", "app/migration", "--wait", "0"];
        Said::of(Command::new(binary()).args(words).args(["--", "sh", "-c", script]))
    };
    let held = lock(fence);
    let first: u64 = held.data.trim().parse().unwrap_or_else(|_| panic!("{held:?}"));
    let next = lock(fence);
    let second: u64 = next.data.trim().parse().unwrap_or_else(|_| panic!("{next:?}"));
    assert!(second > first, "fences rise in order of holding");
    assert_eq!(lock("exit 7").code, Some(7), "the command's own end is told");
    let inside = format!(
        "{} lock app/migration --wait 0 --address {address} --token {TOKEN} -- true; test $? -ne 0",
        binary().display()
    );
    let twice = lock(&inside);
    assert_eq!(twice.code, Some(0), "nobody else holds meanwhile: {twice:?}");

    assert_eq!(a.run(&["kv", "delete", "app/leader"]).code, Some(0));
    assert_eq!(a.run(&["kv", "get", "app/leader"]).code, Some(3));
}

//! What one real node learns of an account, all of its fleet obey: at once, and after whoever learnt it is gone.

#![expect(clippy::indexing_slicing, reason = "a member that is not there is null, and no panic")]

use std::time::{Duration, Instant};

use quorate_tests::node::Node;
use quorate_tests::{eventually, spread};
use serde_json::{Value, json};

const POOL: &str = "[pools.p]\nmembers = [\"one\", \"two\"]\n";
const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

/// Five nodes that have the same two accounts, and see both.
fn fleet() -> Vec<Node> {
    let mut nodes: Vec<Node> = Vec::new();
    for name in NAMES {
        let seeds: Vec<_> = nodes.iter().take(2).map(|node| node.peers).collect();
        let node = Node::new(name, &seeds, POOL);
        let folder = node.data().join("auths");
        std::fs::create_dir_all(&folder).expect("a folder of its own");
        for account in ["one", "two"] {
            let body = json!({"type": "codex", "access_token": account}).to_string();
            std::fs::write(folder.join(format!("{account}.json")), body).expect("its own folder");
        }
        nodes.push(node);
    }
    nodes.iter_mut().for_each(Node::start);
    let alive = NAMES.map(|name| format!("{name} alive"));
    let alive = alive.each_ref().map(String::as_str);
    for node in &nodes {
        node.comes_up();
        node.sees_members(&alive);
        eventually(&format!("{} has both accounts", node.name), || {
            match states(node)?.iter().any(|state| state == "disabled") {
                false => Ok(()),
                true => Err(node.get("/v1/pools/p").to_string()),
            }
        });
    }
    nodes
}

/// The states of the pool's members, in order.
fn states(node: &Node) -> Result<Vec<String>, String> {
    let pool = node.ask("GET", "/v1/pools/p", None)?.json();
    let members = pool["members"].as_array().cloned().unwrap_or_default();
    let state = |member: Value| member["state"].as_str().unwrap_or("?").to_owned();
    Ok(members.into_iter().map(state).collect())
}

/// Leases an account at `node`, and reports what came of it; says which it was.
fn asks(node: &Node, status: u16, headers: &[(&str, &str)]) -> String {
    let leased = node.ask("POST", "/v1/pools/p/leases", Some(&json!({}))).expect("it answers");
    assert_eq!(leased.status, 200, "{}", leased.body);
    let leased = leased.json();
    let path = format!("/v1/leases/{}/report", leased["lease"].as_str().expect("a lease"));
    let answered = json!({"status": status, "headers": headers});
    let told = node.ask("POST", &path, Some(&answered)).expect("it answers");
    assert_eq!(told.status, 200, "{}", told.body);
    leased["credential"].as_str().expect("an id").to_owned()
}

#[test]
fn a_refusal_at_one_node_is_obeyed_by_all_and_outlives_whoever_heard_it() {
    let mut nodes = fleet();
    assert_eq!(asks(&nodes[0], 429, &[("retry-after", "600")]), "one");
    for node in &nodes {
        eventually(&format!("{} obeys", node.name), || match states(node)?.as_slice() {
            [first, _] if first == "cooling" => Ok(()),
            states => Err(format!("{states:?}")),
        });
        assert_eq!(asks(node, 200, &[]), "two", "{}", node.name);
    }
    let explained = nodes[4].get("/v1/pools/p/explain").to_string();
    assert!(explained.contains("\"seen_by\":\"a\""), "{explained}");

    // Whoever heard it dies, and is forgotten; then everybody else restarts.
    nodes[0].kill();
    let left = ["b alive", "c alive", "d alive", "e alive"];
    nodes[1].sees_members(&left);
    for node in nodes.iter_mut().skip(1) {
        node.kill();
        node.start_ready();
        node.sees_members(&left);
    }
    for node in &nodes[1..] {
        eventually(&format!("{} remembers", node.name), || match states(node)?.as_slice() {
            [first, second] if first == "cooling" && second != "disabled" => Ok(()),
            states => Err(format!("{states:?}")),
        });
        assert_eq!(asks(node, 200, &[]), "two", "{}", node.name);
    }
}

/// How long it takes until the last of five nodes shows what one was told: a figure, and no condition.
#[test]
#[ignore = "a measurement: cargo test --release -p quorate-tests --test sharing -- --ignored --nocapture"]
fn measures_how_long_the_last_of_five_nodes_takes_to_obey() {
    let nodes = fleet();
    let mut took: Vec<Duration> = Vec::new();
    for turn in 0..REPETITIONS {
        let teller = &nodes[turn % nodes.len()];
        let handle = {
            let account = asks(teller, 429, &[("retry-after", "600")]);
            let began = Instant::now();
            let place = usize::from(account == "two");
            for node in nodes.iter().filter(|node| node.name != teller.name) {
                while states(node).expect("it answers")[place] != "cooling" {}
            }
            took.push(began.elapsed());
            teller.get("/v1/pools/p")["members"][place]["handle"].as_str().map(str::to_owned)
        };
        let path = format!("/v1/pools/p/members/{}/clear", handle.expect("a handle"));
        let cleared = teller.ask("POST", &path, Some(&json!({"reason": "measured"})));
        assert_eq!(cleared.expect("it answers").status, 200);
        for node in &nodes {
            while states(node).expect("it answers").contains(&"cooling".to_owned()) {}
        }
    }
    println!("until the last of {} nodes showed it, {}", nodes.len(), spread(took));
}

const REPETITIONS: usize = 500;

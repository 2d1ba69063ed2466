//! How real processes begin a log together, what they say where two logs meet, and how a survivor goes on.

#![expect(clippy::indexing_slicing, reason = "a member that is not there is null, and no panic")]

use std::io::Write as _;
use std::process::{Command, Stdio};

use quorate_tests::eventually;
use quorate_tests::http::Stream;
use quorate_tests::node::{Node, TOKEN, binary};
use serde_json::{Value, json};

/// Nodes of one seed that found their log together.
fn founders(names: [&str; 3]) -> [Node; 3] {
    let seed = Node::new(names[0], &[], "");
    let others = [names[1], names[2]].map(|name| Node::new(name, &[seed.peers], ""));
    let [second, third] = others;
    let mut nodes = [seed, second, third];
    nodes.iter_mut().for_each(begin);
    nodes
}

fn begin(node: &mut Node) {
    node.start_with(
        Command::new(binary()),
        &["--set", "cluster.expect=3", "--set", "raft.tick_ms=20"],
    );
}

fn log_of(node: &Node) -> Result<Value, String> {
    Ok(node.ask("GET", "/v0/operations/raft", None)?.json())
}

/// Waits until `node` knows a leader and so many voters; what it says.
#[track_caller]
fn led(node: &Node, voters: usize) -> Value {
    eventually(&format!("{} counts {voters} voters and a leader", node.name), || {
        let log = log_of(node)?;
        let members = log["members"].as_array().cloned().unwrap_or_default();
        let count = members.iter().filter(|member| member["state"] == "voter").count();
        let led = count == voters && !log["leader"].is_null();
        if led { Ok(log) } else { Err(log.to_string()) }
    })
}

#[track_caller]
fn put(node: &Node, key: &str) {
    eventually(&format!("{key} is written at {}", node.name), || {
        let answer = node.ask("PUT", &format!("/v1/kv/app/{key}"), Some(&json!({"value": key})))?;
        if answer.status == 200 { Ok(()) } else { Err(answer.body) }
    });
}

fn keys(node: &Node) -> Vec<Value> {
    let list = eventually(&format!("{} lists its keys", node.name), || {
        let answer = node.ask("GET", "/v1/kv/app?keys_only=true", None)?;
        if answer.status == 200 { Ok(answer.json()) } else { Err(answer.body) }
    });
    let items = list["items"].as_array().cloned().unwrap_or_default();
    items.into_iter().map(|item| item["key"].clone()).collect()
}

/// `quorate raft recover` on the store of a node, with these answers.
fn recover(node: &Node, more: &[&str], answers: &str) -> (Option<i32>, String) {
    let mut command = Command::new(binary());
    command.args(["raft", "recover", "--store"]).arg(node.data()).args(more);
    let child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.expect("the binary runs");
    let mut stdin = child.stdin.take().expect("it is piped");
    // It may refuse before it asks.
    drop(stdin.write_all(answers.as_bytes()));
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn three_found_one_log_and_where_two_are_gone_the_third_goes_on_and_takes_them_in_again() {
    let [mut a, mut b, mut c] = founders(["a", "b", "c"]);
    let logs = [&a, &b, &c].map(|node| led(node, 3));
    let genesis = logs[0]["genesis"].as_str().expect("a log").to_owned();
    assert!(logs.iter().all(|log| log["genesis"] == json!(genesis)), "{logs:?}");
    let formed = "quorate_raft_foundings_total{outcome=\"formed\"}";
    let formed: u64 = [&a, &b, &c].map(|node| node.metric(formed).expect("a series")).iter().sum();
    assert_eq!(formed, 1, "one of them proposed, and all the others promised");
    for node in [&a, &b, &c] {
        put(node, &format!("at_{}", node.name));
    }
    let written = ["at_a", "at_b", "at_c"].map(|key| json!(key)).to_vec();

    let (code, words) = recover(&a, &[], "");
    assert_eq!(code, Some(4), "a node that runs keeps its store: {words}");
    [&mut a, &mut b, &mut c].into_iter().for_each(Node::kill);
    let (code, words) = recover(&a, &[], "yes\nno\n");
    assert_eq!(code, Some(1), "{words}");
    assert!(words.contains("nothing was done") && words.contains(&genesis), "{words}");
    let first = genesis.get(..8).expect("32 digits");
    let (code, words) = recover(&a, &[], &format!("yes\n{first}\n"));
    assert_eq!(code, Some(0), "{words}");

    begin(&mut a);
    let log = led(&a, 1);
    assert_ne!(log["genesis"], json!(genesis), "it is another log");
    assert_eq!(keys(&a), written, "with everything that was written");
    put(&a, "later");
    let mut events = Stream::open(a.http, "/v1/events?types=raft.genesis_conflict", TOKEN)
        .expect("the node listens");
    begin(&mut b);
    for node in [&a, &b] {
        eventually(&format!("{} says that there are two logs", node.name), || {
            let log = log_of(node)?;
            let conflicts =
                log["conflicts"].as_array().is_some_and(|conflicts| !conflicts.is_empty());
            let check = node.ask("GET", "/readyz/raft", None)?;
            let told = check.body.contains("genesis_conflict");
            let counted = node.metric("quorate_raft_genesis_conflict")? > 0;
            if conflicts && told && counted { Ok(()) } else { Err(format!("{log} {}", check.body)) }
        });
    }
    events.until("raft.genesis_conflict").expect("the event is told");
    assert_eq!(log_of(&b).expect("b answers")["genesis"], json!(genesis), "nothing merges");
    assert_eq!(a.ask("GET", "/readyz", None).expect("a answers").status, 200, "it is shown only");

    b.kill();
    let (code, words) = recover(&b, &["--rejoin", "--yes"], "");
    assert_eq!(code, Some(0), "{words}");
    let (code, words) = recover(&c, &["--rejoin"], "yes\ndrop\n");
    assert_eq!(code, Some(0), "{words}");
    let (code, words) = recover(&c, &["--rejoin"], "yes\ndrop\n");
    assert_eq!(code, Some(3), "there is none left: {words}");
    [&mut b, &mut c].into_iter().for_each(begin);
    for node in [&a, &b, &c] {
        led(node, 3);
        assert_eq!(keys(node), [written.clone(), vec![json!("later")]].concat());
    }
}

#[test]
fn a_node_on_a_new_disk_lives_a_new_life_as_another_member_and_its_old_vote_is_not_cast_again() {
    let [mut a, mut b, mut c] = founders(["a", "b", "c"]);
    let before = [&a, &b, &c].map(|node| led(node, 3));
    put(&a, "before");
    let member = |log: &Value, name: &str| {
        let members = log["members"].as_array().cloned().unwrap_or_default();
        let found = members.into_iter().find(|member| member["node"] == name);
        found.map(|member| member["member"].clone())
    };
    let old = member(&before[0], "c").expect("c votes");
    let life = |node: &Node| node.get("/v1/cluster")["incarnation"].as_u64().expect("a number");
    let lived = life(&c);
    b.kill();
    c.kill();
    std::fs::remove_dir_all(c.data()).expect("its disk is lost");
    begin(&mut c);
    c.comes_up();
    assert!(
        life(&c) > lived,
        "c lives life {} on its new disk, and lived {lived} before",
        life(&c)
    );
    a.sees_members(&["a alive", "b failed", "c alive"]);
    eventually("a leads no more, if it did", || {
        let log = log_of(&a)?;
        if log["leader"].is_null() { Ok(()) } else { Err(log.to_string()) }
    });
    // Two of three processes run, and one of them promised and voted on a disk that is gone: with a it would
    // be a majority. For longer than two elections take nothing is decided.
    let until = std::time::Instant::now() + std::time::Duration::from_secs(4);
    while std::time::Instant::now() < until {
        let answer = a.ask("PUT", "/v1/kv/app/between", Some(&json!({"value": "x"})));
        let answer = answer.expect("a answers");
        assert!(answer.status >= 500, "no majority is left: {}", answer.body);
        assert!(log_of(&a).expect("a answers")["leader"].is_null(), "nobody leads");
        assert!(log_of(&c).expect("c answers")["leader"].is_null(), "nobody leads");
    }
    begin(&mut b);
    put(&a, "after");
    eventually("the old member is replaced by the new one", || {
        let log = log_of(&a)?;
        let now = member(&log, "c");
        let replaced =
            now.is_some_and(|now| now != old) && !log.to_string().contains(&old.to_string());
        if replaced { Ok(()) } else { Err(log.to_string()) }
    });
    a.kill();
    begin(&mut a);
    for node in [&a, &b, &c] {
        led(node, 3);
        let found = keys(node);
        assert!(found.contains(&json!("before")) && found.contains(&json!("after")), "{found:?}");
    }
}

//! Five processes on real disks, killed again and again while callers write: whatever was acknowledged is found.
//!
//! `QUORATE_ROUNDS` says how many rounds of kills there are.

#![expect(clippy::indexing_slicing, reason = "a member that is not there is null, and no panic")]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use quorate_core::random::Rng;
use quorate_tests::node::{Node, TOKEN, binary};
use quorate_tests::{eventually, http};
use serde_json::{Value, json};

const ROUNDS: u64 = 8;
const CALLERS: u64 = 3;

fn cluster(count: usize) -> Vec<Node> {
    let names = ["a", "b", "c", "d", "e"];
    let seed = Node::new(names[0], &[], "");
    let peers = seed.peers;
    let others = names.into_iter().take(count).skip(1).map(|name| Node::new(name, &[peers], ""));
    let mut nodes: Vec<Node> = std::iter::once(seed).chain(others).collect();
    nodes.iter_mut().for_each(|node| begin(node, Command::new(binary())));
    nodes
}

/// Five found the log, and elections take a fifth of the usual time.
fn begin(node: &mut Node, command: Command) {
    let words = ["--set", "cluster.expect=3", "--set", "raft.tick_ms=20"];
    node.start_with(command, &words);
}

/// Waits until each of these has a leader, and the log so many voters.
fn agree(nodes: &[&Node], voters: usize) {
    for node in nodes {
        eventually(&format!("{} counts {voters} voters", node.name), || {
            let log = node.ask("GET", "/v0/operations/raft", None)?.json();
            let members = log["members"].as_array().cloned().unwrap_or_default();
            let count = members.iter().filter(|member| member["state"] == "voter").count();
            let agreed = count == voters && !log["leader"].is_null();
            if agreed { Ok(()) } else { Err(log.to_string()) }
        });
    }
}

/// Callers that write keys of their own, each once, and remember which were acknowledged.
struct Callers {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<Mutex<BTreeSet<String>>>,
    count: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl Callers {
    fn start(nodes: &[Node]) -> Callers {
        let addresses: Vec<SocketAddr> = nodes.iter().map(|node| node.http).collect();
        let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let acknowledged = Arc::new(Mutex::new(BTreeSet::new()));
        let threads = (0..CALLERS).map(|caller| {
            let (addresses, stop, count) = (addresses.clone(), stop.clone(), count.clone());
            let acknowledged = acknowledged.clone();
            std::thread::spawn(move || {
                let mut rng = Rng::from_number(caller);
                let mut number = 0;
                while !stop.load(Ordering::SeqCst) {
                    let address = *rng.pick(&addresses).expect("five nodes");
                    number += 1;
                    let key = format!("c{caller}n{number:06}");
                    let path = format!("/v1/kv/app/{key}");
                    let body = json!({"value": key}).to_string();
                    match http::ask(address, "PUT", &path, Some(TOKEN), Some(&body)) {
                        Ok(answer) if answer.status == 200 => {
                            acknowledged.lock().expect("no caller panics").insert(key);
                            count.fetch_add(1, Ordering::SeqCst);
                        }
                        // Unknown, refused, or nobody there: it may be found, and need not be.
                        Ok(_) => {}
                        Err(_) => std::thread::sleep(Duration::from_millis(5)),
                    }
                }
            })
        });
        let threads = threads.collect();
        Callers { stop, acknowledged, count, threads }
    }

    /// Waits until so many more were acknowledged; who is there tells why not.
    fn go_on(&self, nodes: &[Node], more: u64) {
        let before = self.count.load(Ordering::SeqCst);
        eventually("callers are answered", || {
            let now = self.count.load(Ordering::SeqCst);
            if now >= before + more {
                return Ok(());
            }
            let logs = nodes.iter().filter_map(|node| {
                let log = node.ask("GET", "/v0/operations/raft", None).ok()?;
                Some(format!("{}: {}\n", node.name, log.body))
            });
            Err(format!("{} of {more}\n{}", now - before, logs.collect::<String>()))
        });
    }

    fn end(self) -> BTreeSet<String> {
        self.stop.store(true, Ordering::SeqCst);
        self.threads.into_iter().for_each(|thread| thread.join().expect("no caller panics"));
        let acknowledged = self.acknowledged.lock().expect("no caller panics");
        acknowledged.clone()
    }
}

/// Every key at `node`, page by page, each with the value that it was written with.
fn found(node: &Node) -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    let mut cursor = String::new();
    loop {
        let path = format!("/v1/kv/app?limit=1000{cursor}");
        let page: Value = eventually(&format!("{} lists its keys", node.name), || {
            let answer = node.ask("GET", &path, None)?;
            if answer.status == 200 { Ok(answer.json()) } else { Err(answer.body) }
        });
        for item in page["items"].as_array().cloned().unwrap_or_default() {
            let key = item["key"].as_str().expect("keys are texts here").to_owned();
            assert_eq!(item["value"], json!(key), "{item}");
            assert!(keys.insert(key), "a key is listed once: {item}");
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return keys,
        }
    }
}

#[track_caller]
fn all_found(nodes: &[&Node], acknowledged: &BTreeSet<String>) {
    for node in nodes {
        let found = found(node);
        let lost: Vec<&String> = acknowledged.difference(&found).take(5).collect();
        assert!(lost.is_empty(), "{} lacks {lost:?} of {}", node.name, acknowledged.len());
    }
}

#[test]
fn whichever_minority_is_killed_or_all_at_once_every_acknowledged_write_is_found() {
    let rounds = std::env::var("QUORATE_ROUNDS").ok().and_then(|rounds| rounds.parse().ok());
    let rounds = rounds.unwrap_or(ROUNDS);
    let mut nodes = cluster(5);
    agree(&nodes.iter().collect::<Vec<_>>(), 5);
    let callers = Callers::start(&nodes);
    let mut rng = Rng::from_number(rounds);
    for round in 0..rounds {
        callers.go_on(&nodes, 20);
        let mut order: Vec<usize> = (0..5).collect();
        rng.shuffle(&mut order);
        // All of them every fourth time; else one or two, whoever they are.
        let count = if round % 4 == 3 { 5 } else { 1 + rng.index(2) };
        order.truncate(count);
        order.iter().for_each(|index| nodes[*index].kill());
        if count < 5 {
            callers.go_on(&nodes, 5); // The others go on without them.
        }
        order.iter().for_each(|index| begin(&mut nodes[*index], Command::new(binary())));
    }
    callers.go_on(&nodes, 20);
    let acknowledged = callers.end();
    agree(&nodes.iter().collect::<Vec<_>>(), 5);
    all_found(&nodes.iter().collect::<Vec<_>>(), &acknowledged);
    println!("{rounds} rounds, {} writes acknowledged, all found", acknowledged.len());
}

#[test]
fn a_leader_that_stood_still_finds_another_leading_and_tells_nobody_what_is_past() {
    let nodes = cluster(3);
    agree(&nodes.iter().collect::<Vec<_>>(), 3);
    let put = |node: &Node, value: &str| {
        eventually(&format!("{value} is written at {}", node.name), || {
            let body = json!({"value": value});
            let answer = node.ask("PUT", "/v1/kv/app/who", Some(&body))?;
            if answer.status == 200 { Ok(()) } else { Err(answer.body) }
        });
    };
    put(&nodes[0], "before");
    let leader = nodes[0].get("/v0/operations/raft")["leader"].clone();
    let at = nodes.iter().position(|node| json!(node.name) == leader).expect("one of them");
    let (still, others) = (&nodes[at], [&nodes[(at + 1) % 3], &nodes[(at + 2) % 3]]);
    still.signal("STOP");
    put(others[0], "meanwhile");
    still.signal("CONT");
    // Its clock says that no time has passed, and it believes that it leads: what it answers is either what
    // is true now, or a refusal.
    let value = eventually("it answers", || {
        let answer = still.ask("GET", "/v1/kv/app/who", None)?;
        if answer.status == 200 { Ok(answer.json()) } else { Err(answer.body) }
    });
    assert_eq!(value["key"]["value"], "meanwhile", "{value}");
    agree(&nodes.iter().collect::<Vec<_>>(), 3);
    put(still, "after");
    for node in others {
        let value = node.get("/v1/kv/app/who");
        assert_eq!(value["key"]["value"], "after", "{value}");
    }
}

/// The binary, whose files may grow by so many bytes.
fn limited(node: &Node, more: u64) -> Command {
    let files = ["node.redb", "journal"].map(|name| node.data().join("store").join(name));
    let sizes = files.map(|file| std::fs::metadata(file).expect("a store").len());
    let size = sizes.into_iter().max().expect("two files");
    let mut command = Command::new("bash");
    let kibibytes = (size + more) / 1024;
    let script = format!("trap '' XFSZ; ulimit -f {kibibytes}; exec \"$0\" \"$@\"");
    command.args(["-c", &script]).arg(binary());
    command
}

#[test]
fn a_member_whose_disk_is_full_ends_by_name_and_the_others_go_on_with_everything() {
    let mut nodes = cluster(3);
    agree(&nodes.iter().collect::<Vec<_>>(), 3);
    let mut small = nodes.remove(0);
    small.kill();
    let command = limited(&small, 1024 * 1024);
    begin(&mut small, command);
    small.comes_up();
    let mut acknowledged = BTreeSet::new();
    let value = "x".repeat(64 * 1024);
    let status = eventually("its disk is full", || {
        let key = format!("k{:05}", acknowledged.len());
        let body = json!({"value": value});
        let answer = small.ask("PUT", &format!("/v1/kv/app/{key}"), Some(&body));
        if answer.is_ok_and(|answer| answer.status == 200) {
            acknowledged.insert(key);
        }
        small.try_ended().ok_or_else(|| format!("{} writes", acknowledged.len()))
    });
    assert!(!status.success(), "{status:?}");
    assert!(small.log().contains("the store cannot write"), "{}", small.log());
    assert!(!acknowledged.is_empty(), "it was not full from the start");
    let there = |node: &Node| -> BTreeSet<String> {
        let list = eventually(&format!("{} lists its keys", node.name), || {
            let answer = node.ask("GET", "/v1/kv/app?keys_only=true&limit=1000", None)?;
            if answer.status == 200 { Ok(answer.json()) } else { Err(answer.body) }
        });
        let items = list["items"].as_array().cloned().unwrap_or_default();
        items.iter().filter_map(|item| item["key"].as_str().map(str::to_owned)).collect()
    };
    for node in &nodes {
        assert!(there(node).is_superset(&acknowledged), "{} lost a write", node.name);
    }
    begin(&mut small, Command::new(binary()));
    small.comes_up();
    assert!(there(&small).is_superset(&acknowledged), "with room again it has all");
}

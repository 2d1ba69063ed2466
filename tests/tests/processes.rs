//! Three real processes: join, register, kill, restart, freeze, leave. A worker whose backend is up is
//! routable at every instant, and gone once its owner is gone for good.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use quorate_tests::backend::Backend;
use quorate_tests::node::{Directory, Node, TOKEN, free_address};
use quorate_tests::{eventually, http, spread};
use serde_json::json;

/// Three nodes of one cluster, ready, that see each other.
fn three() -> [Node; 3] {
    let mut a = Node::new("a", &[], "");
    let mut b = Node::new("b", &[a.peers], "");
    let mut c = Node::new("c", &[a.peers, b.peers], "");
    for node in [&mut a, &mut b, &mut c] {
        node.start();
    }
    for node in [&a, &b, &c] {
        node.sees_members(&["a alive", "b alive", "c alive"]);
    }
    [a, b, c]
}

/// A worker that its owner probes every second.
fn spec(backend: &Backend) -> serde_json::Value {
    json!({
        "url": backend.url(), "models": [{"id": "m"}],
        "health": {"interval_ms": 1000, "timeout_ms": 500, "rise": 1, "fall": 2}
    })
}

/// Picks from a node again and again; counts the answers that named no worker.
struct Picker {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<(u64, Vec<String>)>,
}

impl Picker {
    fn start(node: &Node) -> Picker {
        let (stop, address) = (Arc::new(AtomicBool::new(false)), node.http);
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let (mut picks, mut gaps) = (0, Vec::new());
            while !stopped.load(Ordering::SeqCst) {
                let body = Some("{\"model\":\"m\"}");
                let answer = http::ask(address, "POST", "/v1/workers/pick", Some(TOKEN), body);
                match answer {
                    Ok(answer) if answer.status == 200 => picks += 1,
                    other => gaps.push(format!("{other:?}")),
                }
            }
            (picks, gaps)
        });
        Picker { stop, thread }
    }

    /// Every pick so far named a worker, and there were some.
    #[track_caller]
    fn assert_no_gap(self) {
        self.stop.store(true, Ordering::SeqCst);
        let (picks, gaps) = self.thread.join().expect("the picker ran to its end");
        assert!(picks > 0, "nothing was picked at all");
        assert!(
            gaps.is_empty(),
            "{} of {picks} picks found no worker: {:?}",
            gaps.len(),
            gaps.first()
        );
    }
}

#[test]
fn a_worker_is_routed_through_kill_restart_and_freeze_of_its_owner_and_goes_with_it() {
    let [mut a, mut b, c] = three();
    let backend = Backend::start();
    let registered = b.ask("POST", "/v1/workers", Some(&spec(&backend))).expect("b answers");
    assert_eq!(registered.status, 201, "{}", registered.body);
    let ready = [format!("{} ready", backend.url())];
    for node in [&a, &b, &c] {
        node.sees_workers(&ready);
    }
    let picker = Picker::start(&c);

    // Killed: it is failed, its worker stays.
    b.kill();
    a.sees_members(&["a alive", "b failed", "c alive"]);
    c.sees_workers(&ready);

    // Restarted with the same id within what failed nodes are remembered for: a new life, the same worker.
    b.start_ready();
    for node in [&a, &b, &c] {
        node.sees_members(&["a alive", "b alive", "c alive"]);
        node.sees_workers(&ready);
    }

    // Frozen: the others give it up; thawed, it comes back by itself.
    b.signal("STOP");
    c.sees_members(&["a alive", "b failed", "c alive"]);
    b.signal("CONT");
    for node in [&a, &b, &c] {
        node.sees_members(&["a alive", "b alive", "c alive"]);
        node.sees_workers(&ready);
    }
    picker.assert_no_gap();

    // Gone for good: forgotten after a while, and its worker with it.
    b.kill();
    for node in [&a, &c] {
        node.sees_members(&["a alive", "c alive"]);
        node.sees_workers(&[]);
    }

    // A node that says goodbye is left, not failed, and ends well.
    a.signal("TERM");
    assert!(a.ended().success(), "{}", a.log());
    eventually("a has left", || {
        let members = c.members()?;
        let left =
            !members.contains(&"a failed".to_owned()) && !members.contains(&"a alive".to_owned());
        if left { Ok(()) } else { Err(format!("{members:?}")) }
    });
}

#[test]
fn a_backend_that_fails_leaves_routing_and_returns() {
    let mut a = Node::new("a", &[], "");
    a.start_ready();
    let backend = Backend::start();
    let registered = a.ask("POST", "/v1/workers", Some(&spec(&backend))).expect("a answers");
    assert_eq!(registered.status, 201, "{}", registered.body);
    a.sees_workers(&[format!("{} ready", backend.url())]);
    backend.set_well(false);
    a.sees_workers(&[format!("{} not_ready", backend.url())]);
    let pick = a.ask("POST", "/v1/workers/pick", Some(&json!({"model": "m"}))).expect("a answers");
    assert_eq!((pick.status, pick.code().as_str()), (503, "no_worker"), "{}", pick.body);
    backend.set_well(true);
    a.sees_workers(&[format!("{} ready", backend.url())]);
    assert!(backend.asked() > 2);
}

#[test]
fn a_worker_made_by_call_survives_a_kill_of_the_only_node() {
    let mut a = Node::new("a", &[], "");
    a.start_ready();
    let backend = Backend::start();
    a.ask("POST", "/v1/workers", Some(&spec(&backend))).expect("a answers");
    let life = a.get("/v1/cluster")["incarnation"].as_u64().expect("a number");
    a.kill();
    a.start_ready();
    a.sees_workers(&[format!("{} ready", backend.url())]);
    assert_eq!(a.get("/v1/cluster")["incarnation"], life + 1, "each start is a new life");
}

#[test]
fn only_the_owner_writes() {
    let [a, b, _c] = three();
    let backend = Backend::start();
    let registered = b.ask("POST", "/v1/workers", Some(&spec(&backend))).expect("b answers");
    let id = registered.json()["id"].as_str().expect("an id").to_owned();
    a.sees_workers(&[format!("{} ready", backend.url())]);
    let removed = a.ask("DELETE", &format!("/v1/workers/{id}"), None).expect("a answers");
    assert_eq!((removed.status, removed.code().as_str()), (409, "owned_by"), "{}", removed.body);
    let path = format!("/v1/workers/{id}?forward=true");
    let forwarded = a.ask("DELETE", &path, None).expect("a answers");
    let told = (forwarded.status, forwarded.code());
    assert_eq!(told, (503, "owner_unreachable".to_owned()), "{}", forwarded.body);
    a.sees_workers(&[format!("{} ready", backend.url())]);
}

#[test]
fn foreign_datagrams_and_streams_are_refused_in_silence_and_counted() {
    let mut a = Node::new("a", &[], "");
    a.start_ready();
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port of loopback");
    for garbage in [&b"hello"[..], &[0x51, 1, 0, 0], &[0x51; 600], &[0x51; 1600]] {
        socket.send_to(garbage, a.peers).expect("it leaves");
    }
    let counted = |reason: &str| -> u64 {
        let metrics = a.ask("GET", "/metrics", None).expect("a answers").body;
        let name = format!("quorate_datagrams_dropped_total{{reason=\"{reason}\"}} ");
        let line = metrics.lines().find_map(|line| line.strip_prefix(&name).map(str::to_owned));
        line.expect("every series is there").parse().expect("a number")
    };
    eventually("all four are counted", || {
        let counts = ["size", "magic", "key"].map(counted);
        if counts.iter().sum::<u64>() == 4 { Ok(()) } else { Err(format!("{counts:?}")) }
    });
    socket.set_nonblocking(true).expect("a socket option");
    assert!(socket.recv(&mut [0; 64]).is_err(), "not a byte is sent back");
    let stranger = http::raw(a.peers, b"GET / HTTP/1.1\r\nhost: x\r\n\r\n");
    assert!(stranger.is_err(), "a stranger hears nothing: {stranger:?}");
    a.sees_members(&["a alive"]);
}

#[test]
fn a_node_of_another_cluster_learns_nothing() {
    let mut a = Node::new("a", &[], "");
    let mut x = Node::of_cluster("other", "x", &[a.peers], "");
    a.start_ready();
    x.start();
    eventually("x has tried", || {
        let metrics = x.ask("GET", "/metrics", None)?.body;
        let tried = metrics.lines().any(|line| {
            line.starts_with("quorate_membership_join_attempts_total")
                && !line.contains("outcome=\"ok\"")
                && !line.ends_with(" 0")
        });
        if tried { Ok(()) } else { Err("no failed attempt is counted".to_owned()) }
    });
    a.sees_members(&["a alive"]);
    x.sees_members(&["x alive"]);
}

#[test]
fn a_taken_port_and_an_unusable_directory_refuse_the_start_by_name() {
    let mut a = Node::new("a", &[], "");
    a.start_ready();
    let second = Node::new("b", &[], "");
    let text = std::fs::read_to_string(second.config()).expect("its own file");
    let taken = text.replace(&second.peers.to_string(), &a.peers.to_string());
    std::fs::write(second.config(), taken).expect("its own file");
    let refused = second.run_to_end();
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && words.contains(&a.peers.to_string()), "{words}");

    let third = Node::new("c", &[], "");
    std::fs::write(third.data(), "a file where a directory belongs").expect("its own place");
    let refused = third.run_to_end();
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(78), "{words}");
    assert!(words.contains(&third.data().display().to_string()), "{words}");
}

#[test]
fn a_wrong_key_in_the_file_refuses_the_start_and_says_what_was_meant() {
    let node = Node::new("a", &[], "[gossip]\nfanot = 3\n");
    let refused = node.run_to_end();
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(78), "{words}");
    assert!(words.contains("did you mean `gossip.fanout`?"), "{words}");
}

#[test]
fn a_second_process_on_the_same_directory_ends_at_once_and_the_first_lives_on() {
    let mut a = Node::new("a", &[], "");
    a.start_ready();
    let (http, peers) = (free_address(), free_address());
    let text = std::fs::read_to_string(a.config()).expect("its own file");
    let text = text.replace(&a.http.to_string(), &http.to_string());
    let text = text.replace(&a.peers.to_string(), &peers.to_string());
    let directory = Directory::new("second");
    let config = directory.0.join("quorate.toml");
    std::fs::write(&config, text).expect("its own file");
    let mut second = std::process::Command::new(quorate_tests::node::binary());
    let refused = second.args(["serve", "--config"]).arg(&config).output().expect("it runs");
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(78), "{words}");
    a.sees_members(&["a alive"]);
}

/// How long it takes until picks at the last of five nodes follow what one was told: a figure, and no condition.
#[test]
#[ignore = "a measurement: cargo test --release -p quorate-tests --test processes -- --ignored --nocapture"]
fn measures_how_long_picks_at_the_last_of_five_nodes_take_to_follow() {
    let names = ["a", "b", "c", "d", "e"];
    let mut nodes: Vec<Node> = Vec::new();
    for name in names {
        let seeds: Vec<_> = nodes.iter().take(2).map(|node| node.peers).collect();
        nodes.push(Node::new(name, &seeds, ""));
    }
    nodes.iter_mut().for_each(Node::start);
    let alive = names.map(|name| format!("{name} alive"));
    let alive = alive.each_ref().map(String::as_str);
    nodes.iter().for_each(|node| node.sees_members(&alive));
    let [owner, others @ ..] = nodes.as_slice() else { panic!("five of them") };

    let backend = Backend::start();
    let registered = owner.ask("POST", "/v1/workers", Some(&spec(&backend))).expect("it answers");
    assert_eq!(registered.status, 201, "{}", registered.body);
    let id = registered.json()["id"].as_str().expect("an id").to_owned();
    let picks = |node: &Node| {
        let picked = node.ask("POST", "/v1/workers/pick", Some(&json!({"model": "m"})));
        picked.expect("it answers").status == 200
    };
    eventually("everybody picks the worker", || match nodes.iter().all(picks) {
        true => Ok(()),
        false => Err("not yet".to_owned()),
    });
    let mut took: Vec<Duration> = Vec::new();
    for turn in 0..REPETITIONS {
        let (verb, wanted) = if turn % 2 == 0 { ("drain", false) } else { ("undrain", true) };
        let path = format!("/v1/workers/{id}/{verb}");
        let told = owner.ask("POST", &path, None).expect("it answers");
        assert_eq!(told.status, 200, "{}", told.body);
        let began = Instant::now();
        for node in others {
            while picks(node) != wanted {}
        }
        took.push(began.elapsed());
    }
    println!("until picks at the last of five nodes followed, {}", spread(took));
}

const REPETITIONS: usize = 500;

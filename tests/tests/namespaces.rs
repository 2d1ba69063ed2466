//! Five machines that can be cut apart, as network namespaces: whatever is cut while callers write and read, no
//! acknowledged write is lost, and what callers saw is one story.
//!
//! It takes root and iproute2 (`apt-get install iproute2`). Where they are missing it says so in a line that is seen,
//! and looks at nothing; with `QUORATE_NAMESPACES=1` it fails then.

#![expect(clippy::indexing_slicing, reason = "a member that is not there is null, and no panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use quorate_sim::history::{self, Answer, Call, Limits, Operation, Verdict};
use quorate_tests::namespaces::{Machines, missing};
use quorate_tests::node::{Directory, Node, Said, TOKEN, binary};
use quorate_tests::{eventually, http, not_tested};
use serde_json::{Value, json};

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];
const KEYS: usize = 12;
/// A caller's breath between two calls, so that a history stays short enough to be judged.
const BREATH: Duration = Duration::from_millis(60);

struct Cluster {
    nodes: Vec<Node>,
    machines: Machines,
    _ring: Directory,
}

impl Cluster {
    fn start() -> Cluster {
        let machines = Machines::new(5);
        let ring = Directory::new("ring");
        let path = ring.0.join("ring");
        let key = Said::of(std::process::Command::new(binary()).args(["key", "new"])).data;
        std::fs::write(&path, key).expect("its own directory");
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&path, private).expect("its own file");
        let seeds = [machines.listens(0, 7420), machines.listens(1, 7420)];
        let nodes = NAMES.into_iter().zip(0..).map(|(name, index)| {
            let listens = [machines.listens(index, 8420), machines.listens(index, 7420)];
            let mut node = Node::at(name, listens, &seeds);
            let mut command = machines.command(index, binary());
            command.env("QUORATE__CLUSTER__KEYRING_FILE", &path);
            let hosts = format!("http.hosts=[\"{}\"]", listens[0].ip());
            let words = [
                hosts.as_str(),
                "listen.plaintext=true",
                "cluster.expect=5",
                "raft.tick_ms=30",
                "membership.forget_after_ms=60000",
            ];
            let words: Vec<&str> = words.into_iter().flat_map(|word| ["--set", word]).collect();
            node.start_with(command, &words);
            node
        });
        let nodes = nodes.collect();
        Cluster { nodes, machines, _ring: ring }
    }

    fn log(&self, index: usize) -> Result<Value, String> {
        Ok(self.nodes[index].ask("GET", "/v0/operations/raft", None)?.json())
    }

    /// Waits until these know one leader among them; who it is.
    fn led(&self, who: &[u8]) -> u8 {
        let names: Vec<&str> = who.iter().map(|index| NAMES[usize::from(*index)]).collect();
        eventually(&format!("{names:?} know one leader among them"), || {
            let mut leaders = BTreeSet::new();
            for index in who {
                let log = self.log(usize::from(*index))?;
                leaders.insert(log["leader"].as_str().unwrap_or("nobody").to_owned());
            }
            let leader = leaders.first().filter(|_| leaders.len() == 1);
            let at = leader.and_then(|leader| NAMES.iter().position(|name| name == leader));
            let at = at.and_then(|at| u8::try_from(at).ok()).filter(|at| who.contains(at));
            at.ok_or_else(|| format!("{leaders:?}"))
        })
    }
}

/// Callers, one at each node, which write and read the same few keys and note what they saw.
struct Callers {
    stop: Arc<AtomicBool>,
    answered: Vec<Arc<AtomicU64>>,
    calls: Arc<Mutex<Vec<Call>>>,
    threads: Vec<JoinHandle<()>>,
}

impl Callers {
    fn start(nodes: &[Node]) -> Callers {
        let stop = Arc::new(AtomicBool::new(false));
        let calls = Arc::new(Mutex::new(Vec::new()));
        let answered: Vec<Arc<AtomicU64>> = nodes.iter().map(|_| Arc::default()).collect();
        let began = Instant::now();
        let threads = nodes.iter().zip(0..).zip(&answered).map(|((node, caller), answered)| {
            let (address, stop, calls) = (node.http, stop.clone(), calls.clone());
            let answered = answered.clone();
            std::thread::spawn(move || {
                for number in 0_usize.. {
                    if stop.load(Ordering::SeqCst) {
                        return;
                    }
                    let key = format!("k{}", number / 2 % KEYS);
                    let writes = number % 2 == 0;
                    let called = nanos(began);
                    let told = if writes {
                        write(address, &key, &format!("{caller}-{number}"))
                    } else {
                        read(address, &key)
                    };
                    if let Some((operation, answer)) = told {
                        // A write is counted when it is known, so that progress is progress of the log.
                        let known = writes && answer.is_some();
                        let returned = answer.is_some().then(|| nanos(began));
                        let call = Call { caller, called, returned, operation, answer };
                        calls.lock().expect("no caller panics").push(call);
                        answered.fetch_add(u64::from(known), Ordering::SeqCst);
                    }
                    std::thread::sleep(BREATH);
                }
            })
        });
        let threads = threads.collect();
        Callers { stop, answered, calls, threads }
    }

    /// Waits until each of these callers had so many more writes acknowledged.
    fn go_on(&self, who: &[u8], more: u64) {
        let count = |who: &u8| self.answered[usize::from(*who)].load(Ordering::SeqCst);
        let before: Vec<u64> = who.iter().map(count).collect();
        eventually(&format!("callers at {who:?} are answered"), || {
            let now: Vec<u64> = who.iter().map(count).collect();
            let all = now.iter().zip(&before).all(|(now, before)| *now >= before + more);
            if all { Ok(()) } else { Err(format!("{before:?} became {now:?}")) }
        });
    }

    fn end(mut self) -> Vec<Call> {
        self.stop.store(true, Ordering::SeqCst);
        self.threads.drain(..).for_each(|thread| thread.join().expect("no caller panics"));
        self.calls.lock().expect("no caller panics").clone()
    }
}

/// Nobody calls an address of machines that are gone: it may be somebody else's.
impl Drop for Callers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            drop(thread.join()); // What it has to say was said.
        }
    }
}

fn nanos(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_nanos()).expect("a test is short")
}

type Told = Option<(Operation, Option<Answer>)>;

/// Whatever is not acknowledged may have happened.
fn write(address: std::net::SocketAddr, key: &str, value: &str) -> Told {
    let body = json!({"value": value}).to_string();
    let path = format!("/v1/kv/cut/{key}");
    let said = http::ask(address, "PUT", &path, Some(TOKEN), Some(&body));
    let write = BTreeMap::from([(key.to_owned(), Some(value.to_owned()))]);
    let operation = Operation { write, ..Operation::default() };
    let answer = said.ok().filter(|said| said.status == 200).map(|said| {
        let revision = said.json()["revision"].as_u64().expect("a revision");
        Answer { revision, succeeded: true, changed: true, read: BTreeMap::new() }
    });
    Some((operation, answer))
}

/// A read that is not answered tells nothing.
fn read(address: std::net::SocketAddr, key: &str) -> Told {
    let said = http::ask(address, "GET", &format!("/v1/kv/cut/{key}"), Some(TOKEN), None).ok()?;
    if ![200, 404].contains(&said.status) {
        return None;
    }
    let told = said.json();
    let shown = (said.status == 200).then(|| {
        let value = told["key"]["value"].as_str().expect("a value").to_owned();
        (value, told["key"]["mod_revision"].as_u64().expect("a revision"))
    });
    let revision = told["revision"].as_u64().expect("a revision");
    let operation = Operation { read: BTreeSet::from([key.to_owned()]), ..Operation::default() };
    let read = BTreeMap::from([(key.to_owned(), shown)]);
    Some((operation, Some(Answer { revision, succeeded: true, changed: false, read })))
}

/// Every acknowledged write that nothing later replaced is there, at every node.
fn all_found(nodes: &[Node], calls: &[Call]) {
    let acknowledged = calls.iter().filter_map(|call| {
        let revision = call.answer.as_ref().filter(|answer| answer.changed)?.revision;
        let (key, value) = call.operation.write.iter().next()?;
        Some((revision, key.clone(), value.clone().unwrap_or_default()))
    });
    let acknowledged: Vec<(u64, String, String)> = acknowledged.collect();
    for node in nodes {
        for (revision, key, value) in &acknowledged {
            let path = format!("/v1/kv/cut/{key}?revision={revision}");
            let told = node.get(&path);
            assert_eq!(told["key"]["value"], json!(value), "{} at {revision}: {told}", node.name);
        }
    }
    println!("{} writes acknowledged, all found at each of {}", acknowledged.len(), nodes.len());
}

#[test]
fn whatever_is_cut_under_load_no_acknowledged_write_is_lost_and_all_saw_one_story() {
    if let Some(why) = missing() {
        assert!(std::env::var_os("QUORATE_NAMESPACES").is_none(), "{why}");
        not_tested("cuts in network namespaces", &why);
        return;
    }
    let cluster = Cluster::start();
    let all = [0, 1, 2, 3, 4];
    let leader = cluster.led(&all);
    let callers = Callers::start(&cluster.nodes);
    callers.go_on(&all, 5);

    // The leader and another on one side, three on the other.
    let companion = (leader + 1) % 5;
    let others: Vec<u8> =
        all.into_iter().filter(|one| ![leader, companion].contains(one)).collect();
    cluster.machines.cut(&[leader, companion]);
    let next = cluster.led(&others);
    callers.go_on(&others, 5);
    for index in [leader, companion] {
        eventually("the minority knows that it is none", || {
            let log = cluster.log(usize::from(index))?;
            if log["leader"].is_null() { Ok(()) } else { Err(log.to_string()) }
        });
    }
    cluster.machines.heal();
    cluster.led(&all);
    callers.go_on(&all, 5);

    // Nobody hears the leader any more, and it hears everybody.
    let leader = cluster.led(&all);
    let others: Vec<u8> = all.into_iter().filter(|one| *one != leader).collect();
    others.iter().for_each(|other| cluster.machines.lose(leader, *other));
    cluster.led(&others);
    callers.go_on(&others, 5);
    cluster.machines.heal();
    cluster.led(&all);
    callers.go_on(&all, 5);

    let calls = callers.end();
    all_found(&cluster.nodes, &calls);
    let limits = Limits { calls_max: 512, unknown_percent_max: 50, ..Limits::default() };
    let verdict = history::check(&calls, limits);
    assert_eq!(verdict, Verdict::Linear, "led by {leader} and then by {next}");
}

//! Clusters of either kind, as processes of this machine with directories of their own.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use quorate_tests::node::{Directory, Node, binary, free_address};
use quorate_tests::{eventually, http};
use serde_json::Value;

use crate::wire::{Address, Client};

/// What both kinds can do.
pub(crate) trait Cluster {
    /// Where each node listens, by index; nothing where it does not run.
    fn addresses(&self) -> Vec<Option<Address>>;
    /// Which node leads.
    fn leads(&self) -> usize;
    /// Process ids.
    fn ids(&self) -> Vec<u32>;
    /// Bytes that all nodes have sent to each other.
    fn sent_bytes(&self) -> f64;
    /// SIGKILL.
    fn kill(&mut self, index: usize);
    /// Starts a killed node.
    fn revive(&mut self, index: usize);

    /// Where the leader listens.
    fn leader(&self) -> Address {
        let leads = self.leads();
        self.addresses().into_iter().nth(leads).flatten().expect("the leader runs")
    }

    /// Processor time of all nodes so far.
    fn cpu(&self) -> Duration {
        self.ids().into_iter().map(cpu_of).sum()
    }

    /// Kills all, starts all, and waits for a linearizable answer.
    fn restart_all(&mut self) -> Duration {
        let count = self.addresses().len();
        (0..count).for_each(|index| self.kill(index));
        let began = Instant::now();
        (0..count).for_each(|index| self.revive(index));
        let address = self.addresses().into_iter().flatten().next().expect("it was started");
        blocking(async move {
            while !answers(address).await {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        began.elapsed()
    }
}

/// Kills the leader again and again; from each death to the next acknowledged write of a caller that tries the
/// others in turn.
pub(crate) fn kill_and_wait(cluster: &mut impl Cluster, kills: usize) -> Vec<Duration> {
    let mut gaps = Vec::new();
    for round in 0..kills {
        let leads = cluster.leads();
        cluster.kill(leads);
        let died = Instant::now();
        let others: Vec<Address> = cluster.addresses().into_iter().flatten().collect();
        let key = format!("kill{round}");
        blocking(async move {
            for address in others.iter().cycle() {
                if writes(*address, &key).await {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        });
        gaps.push(died.elapsed());
        cluster.revive(leads);
        let address = cluster.addresses().into_iter().nth(leads).flatten().expect("it runs again");
        blocking(async move {
            while !answers(address).await {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        std::thread::sleep(Duration::from_secs(1)); // All three hear of each other again.
    }
    gaps
}

fn blocking<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(future)
}

/// How long a caller waits for one node before it asks the next.
const PATIENCE: Duration = Duration::from_millis(500);

async fn writes(address: Address, key: &str) -> bool {
    let written = tokio::time::timeout(PATIENCE, async {
        let mut client = Client::connect(address).await.ok()?;
        client.put(key, b"after").await.ok()
    });
    matches!(written.await, Ok(Some(true)))
}

async fn answers(address: Address) -> bool {
    let answered = tokio::time::timeout(PATIENCE, async {
        let mut client = Client::connect(address).await.ok()?;
        let written = client.put("answers", b"yes").await.ok()?;
        Some(written && client.get("answers", false).await.ok()?)
    });
    matches!(answered.await, Ok(Some(true)))
}

/// User and system time of a process, in ticks of ten milliseconds.
fn cpu_of(id: u32) -> Duration {
    let text = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    let after = text.rsplit(") ").next().unwrap_or_default();
    let ticks = after.split(' ').skip(11).take(2).filter_map(|field| field.parse::<u64>().ok());
    Duration::from_millis(ticks.sum::<u64>() * 10)
}

/// Nodes of this project: default settings, so that what is measured is what one gets.
pub(crate) struct Quorate {
    nodes: Vec<Node>,
    running: Vec<bool>,
}

impl Quorate {
    pub(crate) fn start(count: usize) -> Quorate {
        let first = Node::unprotected("bench", "n01", &[], "[raft]\nvoters_max = 5\n");
        let seeds = [first.peers];
        let name = |number: usize| format!("n{number:02}");
        let others =
            (2..=count).map(|number| Node::unprotected("bench", &name(number), &seeds, ""));
        let mut nodes: Vec<Node> = std::iter::once(first).chain(others).collect();
        for node in &mut nodes {
            // The first founds the log alone, and the ladder adds the others.
            node.start_with(Command::new(binary()), &[]);
        }
        let voters = count.min(if count < 5 { 3 } else { 5 });
        // The founder keeps a copy; those that the ladder leaves outside know nobody's state before they ask.
        let founder = nodes.first().expect("a cluster has a node");
        eventually("the log has its voters", || {
            let log = founder.ask("GET", "/v0/operations/raft", None)?.json();
            let members = log.get("members").and_then(Value::as_array).cloned().unwrap_or_default();
            let votes = |member: &&Value| member.get("state").is_some_and(|state| state == "voter");
            let known = log.get("leader").is_some_and(Value::is_string);
            let well = known && members.iter().filter(votes).count() == voters;
            if well { Ok(()) } else { Err(log.to_string()) }
        });
        let running = vec![true; nodes.len()];
        Quorate { nodes, running }
    }
}

impl Cluster for Quorate {
    fn addresses(&self) -> Vec<Option<Address>> {
        let nodes = self.nodes.iter().zip(&self.running);
        nodes.map(|(node, runs)| runs.then_some(Address::Http(node.http))).collect()
    }

    fn leads(&self) -> usize {
        eventually("somebody leads", || {
            for (index, node) in self
                .nodes
                .iter()
                .enumerate()
                .filter(|(index, _)| self.running.get(*index) == Some(&true))
            {
                let log = node.ask("GET", "/v0/operations/raft", None)?.json();
                if log.get("state").is_some_and(|state| state == "leader") {
                    return Ok(index);
                }
            }
            Err("nobody".to_owned())
        })
    }

    fn ids(&self) -> Vec<u32> {
        self.nodes.iter().filter_map(Node::process_id).collect()
    }

    fn sent_bytes(&self) -> f64 {
        let of = |node: &Node| {
            let metrics = node.ask("GET", "/metrics", None).expect("it answers").body;
            let sent = metrics.lines().filter(|line| {
                let ours = ["quorate_link_bytes_total{", "quorate_datagram_bytes_total{"];
                ours.iter().any(|name| line.starts_with(name))
                    && line.contains("direction=\"sent\"")
            });
            sent.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>()
        };
        self.nodes.iter().map(of).sum()
    }

    fn kill(&mut self, index: usize) {
        self.nodes.get_mut(index).expect("one of them").kill();
        *self.running.get_mut(index).expect("one of them") = false;
    }

    fn revive(&mut self, index: usize) {
        self.nodes.get_mut(index).expect("one of them").start();
        *self.running.get_mut(index).expect("one of them") = true;
    }
}

/// Members of an etcd, as the distribution packages it, with its defaults.
pub(crate) struct Etcd {
    members: Vec<Member>,
    _directory: Directory,
}

struct Member {
    arguments: Vec<String>,
    client: SocketAddr,
    child: Option<Child>,
}

impl Etcd {
    pub(crate) fn start(count: usize) -> Etcd {
        let directory = Directory::new("etcd");
        let places: Vec<(SocketAddr, SocketAddr)> =
            (0..count).map(|_| (free_address(), free_address())).collect();
        let all: Vec<String> = places
            .iter()
            .enumerate()
            .map(|(index, (_, peer))| format!("e{index}=http://{peer}"))
            .collect();
        let members = places.iter().enumerate().map(|(index, (client, peer))| {
            let data = directory.0.join(format!("e{index}"));
            let (client_url, peer_url) = (format!("http://{client}"), format!("http://{peer}"));
            let arguments = [
                ("--name", format!("e{index}")),
                ("--data-dir", data.display().to_string()),
                ("--listen-client-urls", client_url.clone()),
                ("--advertise-client-urls", client_url),
                ("--listen-peer-urls", peer_url.clone()),
                ("--initial-advertise-peer-urls", peer_url),
                ("--initial-cluster", all.join(",")),
                ("--logger", "zap".to_owned()),
                ("--log-level", "error".to_owned()),
            ];
            let arguments =
                arguments.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]).collect();
            Member { arguments, client: *client, child: None }
        });
        let mut etcd = Etcd { members: members.collect(), _directory: directory };
        (0..count).for_each(|index| etcd.revive(index));
        etcd.leads();
        let all: Vec<Address> = etcd.addresses().into_iter().flatten().collect();
        blocking(async move {
            for address in all {
                while !answers(address).await {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        });
        etcd
    }
}

impl Cluster for Etcd {
    fn addresses(&self) -> Vec<Option<Address>> {
        let address = |member: &Member| member.child.as_ref().map(|_| Address::Grpc(member.client));
        self.members.iter().map(address).collect()
    }

    fn leads(&self) -> usize {
        eventually("an etcd leads", || {
            for (index, member) in
                self.members.iter().enumerate().filter(|(_, member)| member.child.is_some())
            {
                let answer =
                    http::ask(member.client, "POST", "/v3/maintenance/status", None, Some("{}"))?;
                let status = answer.json();
                let own = status.pointer("/header/member_id").cloned();
                if own.is_some() && own.as_ref() == status.get("leader") {
                    return Ok(index);
                }
            }
            Err("none".to_owned())
        })
    }

    fn ids(&self) -> Vec<u32> {
        self.members.iter().filter_map(|member| member.child.as_ref().map(Child::id)).collect()
    }

    fn sent_bytes(&self) -> f64 {
        let of = |member: &Member| {
            let metrics =
                http::ask(member.client, "GET", "/metrics", None, None).expect("it answers").body;
            let sent = metrics
                .lines()
                .filter(|line| line.starts_with("etcd_network_peer_sent_bytes_total{"));
            sent.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>()
        };
        self.members.iter().map(of).sum()
    }

    fn kill(&mut self, index: usize) {
        let mut child =
            self.members.get_mut(index).and_then(|member| member.child.take()).expect("it runs");
        child.kill().expect("its own child");
        child.wait().expect("its own child");
    }

    fn revive(&mut self, index: usize) {
        let member = self.members.get_mut(index).expect("one of them");
        let started = Command::new("etcd")
            .args(&member.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        member.child = Some(started.expect("etcd is on the path: apt-get install etcd-server"));
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        for child in self.members.iter_mut().filter_map(|member| member.child.as_mut()) {
            drop(child.kill()); // It may have ended by itself.
            drop(child.wait());
        }
    }
}

//! `chitchat` with its own server on tokio, whose clock is stopped and moved, and a network that loses.
//!
//! Its choices are drawn from the thread's generator: two runs differ.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use chitchat::transport::{ChannelTransport, RecvOutcome, SendOutcome, Socket, Transport};
use chitchat::{
    ChitchatConfig, ChitchatEnvelope, ChitchatHandle, ChitchatId, FailureDetectorConfig,
    ProtocolVersion, spawn_chitchat,
};

use super::{
    APART_MS, Case, Figures, GIVE_UP_MS, ROUND_MS, SILENCE_MS, STEP_MS, per_second, rounds,
};

const OWNER: usize = 17;
/// What a UDP datagram carries at most: its digests are sent whole.
const MTU: usize = 65_507;
/// Where the lost goes.
const NOBODY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 1);

/// A network in memory that counts what is sent and loses some of it.
#[derive(Clone)]
struct Lossy {
    inner: ChannelTransport,
    bytes: Arc<AtomicU64>,
    draws: Arc<AtomicU64>,
    loss_percent: u64,
}

struct LossySocket {
    inner: Box<dyn Socket>,
    network: Lossy,
}

#[async_trait]
impl Transport for Lossy {
    async fn open(&self, address: SocketAddr) -> anyhow::Result<Box<dyn Socket>> {
        let inner = self.inner.open(address).await?;
        Ok(Box::new(LossySocket { inner, network: self.clone() }))
    }
}

#[async_trait]
impl Socket for LossySocket {
    fn local_addr(&self) -> anyhow::Result<SocketAddr> {
        self.inner.local_addr()
    }

    async fn send(
        &mut self,
        to: SocketAddr,
        envelope: ChitchatEnvelope,
    ) -> anyhow::Result<SendOutcome> {
        let to = if self.network.loses() { NOBODY } else { to };
        let sent = self.inner.send(to, envelope).await?;
        self.network.bytes.fetch_add(sent.num_bytes_sent as u64, Ordering::Relaxed);
        Ok(sent)
    }

    async fn recv(&mut self) -> anyhow::Result<RecvOutcome> {
        self.inner.recv().await
    }
}

impl Lossy {
    /// Decides about the next datagram: a hash of its number (splitmix64's finaliser).
    fn loses(&self) -> bool {
        let mut z = self.draws.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % 100 < self.loss_percent
    }
}

pub(super) fn measure(case: Case) -> Figures {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(run(case))
}

async fn run(case: Case) -> Figures {
    let network = Lossy {
        inner: ChannelTransport::with_mtu(MTU),
        bytes: Arc::default(),
        draws: Arc::default(),
        loss_percent: case.loss_percent,
    };
    let mut nodes = Vec::new();
    for index in 0..case.nodes {
        let node = spawn_chitchat(config(index), Vec::new(), &network).await;
        nodes.push(node.expect("a node starts"));
    }
    sleep(SILENCE_MS / 2).await;
    let before = network.bytes.load(Ordering::Relaxed);
    sleep(SILENCE_MS / 2).await;
    let idle_bytes = per_second(network.bytes.load(Ordering::Relaxed) - before, case.nodes);
    let mut figures = Figures { rounds: Vec::new(), idle_bytes };
    for number in 0..case.writes {
        figures.rounds.push(write(&nodes, case, number).await);
    }
    figures
}

async fn write(nodes: &[ChitchatHandle], case: Case, number: u64) -> f64 {
    let value = format!("{number:012}");
    let writer = nodes.get(OWNER).expect("more nodes than that");
    let owner = writer.chitchat_id();
    writer.with_chitchat(|node| node.self_node_state().set("number", &value)).await;
    let mut took = 0;
    while took < GIVE_UP_MS {
        sleep(STEP_MS).await;
        took += STEP_MS;
        let mut have = 0;
        for node in nodes {
            let has = |node: &mut chitchat::Chitchat| {
                node.node_state(owner).and_then(|state| state.get("number")) == Some(value.as_str())
            };
            have += usize::from(node.with_chitchat(has).await);
        }
        if have >= case.enough() {
            break;
        }
    }
    sleep(APART_MS.saturating_sub(took)).await;
    rounds(took)
}

fn config(index: usize) -> ChitchatConfig {
    let address = address(index);
    ChitchatConfig {
        chitchat_id: ChitchatId::new(format!("n{index}"), 0, address),
        cluster_id: "peers".to_owned(),
        gossip_interval: Duration::from_millis(ROUND_MS),
        listen_addr: address,
        seed_nodes: vec![self::address(0).to_string()],
        failure_detector_config: FailureDetectorConfig::default(),
        marked_for_deletion_grace_period: Duration::from_secs(3600),
        catchup_callback: None,
        extra_liveness_predicate: None,
        protocol_version: ProtocolVersion::V1,
    }
}

fn address(index: usize) -> SocketAddr {
    let port = u16::try_from(10_000 + index).expect("a port");
    (Ipv4Addr::LOCALHOST, port).into()
}

async fn sleep(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

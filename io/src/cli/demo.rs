//! Two demonstration workers that can be made to fail, and a trickle of requests to them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::{get, post};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::client::{Client, Failure};

/// The model that both serve.
pub(super) const MODEL: &str = "demo";
/// Requests per second.
const REQUEST_INTERVAL: Duration = Duration::from_millis(200);

/// One demonstration worker.
#[derive(Debug, Clone)]
pub(super) struct DemoWorker {
    pub(super) name: &'static str,
    pub(super) address: SocketAddr,
    failing: Arc<AtomicBool>,
}

impl DemoWorker {
    /// Starts one at the first free port from `port` on.
    pub(super) async fn start(name: &'static str, port: u16) -> std::io::Result<DemoWorker> {
        let listener = listen_from(port).await?;
        let worker = DemoWorker {
            name,
            address: listener.local_addr()?,
            failing: Arc::new(AtomicBool::new(false)),
        };
        let health = Arc::clone(&worker.failing);
        let answer = Arc::clone(&worker.failing);
        let router = Router::new()
            .route("/health", get(move || std::future::ready(outcome(&health))))
            .route("/v1/chat/completions", post(move || std::future::ready(outcome(&answer))));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(worker)
    }

    /// Makes it fail, or heals it; tells whether it fails now.
    pub(super) fn toggle(&self) -> bool {
        !self.failing.fetch_xor(true, Ordering::Relaxed)
    }
}

fn outcome(failing: &AtomicBool) -> (StatusCode, &'static str) {
    if failing.load(Ordering::Relaxed) {
        (StatusCode::SERVICE_UNAVAILABLE, "{\"error\":\"asked to fail\"}")
    } else {
        (StatusCode::OK, "{\"choices\":[{\"message\":{\"content\":\"hello\"}}]}")
    }
}

/// A listener on the first free port of loopback, from `port` on.
pub(super) async fn listen_from(port: u16) -> std::io::Result<TcpListener> {
    let mut last = None;
    for port in port..port.saturating_add(200) {
        match TcpListener::bind(("127.0.0.1", port)).await {
            Ok(listener) => return Ok(listener),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| std::io::ErrorKind::AddrInUse.into()))
}

/// What became of the demonstration requests.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    pub(super) answered: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) unpicked: AtomicU64,
}

/// Asks the nodes in turn for a worker, calls it, and reports how it went, until dropped.
pub(super) async fn traffic(nodes: Vec<Client>, totals: Arc<Traffic>) {
    let mut ticks = tokio::time::interval(REQUEST_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    for turn in 0_usize.. {
        ticks.tick().await;
        let counter = match request(&nodes, turn).await {
            Some(true) => &totals.answered,
            Some(false) => &totals.failed,
            None => &totals.unpicked,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// Asks the nodes from the `turn`th on until one answers, as a gateway would.
async fn pick(nodes: &[Client], turn: usize) -> Option<(&Client, Value)> {
    let count = nodes.len().max(1);
    for node in nodes.iter().cycle().skip(turn % count).take(count) {
        match node.post("/v1/workers/pick", Some(&json!({ "model": MODEL }))).await {
            Ok(picked) => return Some((node, picked)),
            Err(Failure::Unavailable(words)) if !words.starts_with("no_worker") => {}
            Err(_) => return None,
        }
    }
    None
}

/// One request; `None` if no worker was picked.
async fn request(nodes: &[Client], turn: usize) -> Option<bool> {
    let (node, picked) = pick(nodes, turn).await?;
    let part = |key: &str| picked.get(key).and_then(Value::as_str).map(str::to_owned);
    let (id, url) = (part("id")?, part("url")?);
    let address = url.strip_prefix("http://")?;
    let worker = Client::at(address, "");
    let answer = worker.raw(hyper::Method::POST, "/v1/chat/completions", None, None).await;
    let report = match &answer {
        Ok(answer) => json!({
            "ticket": picked.get("ticket"), "outcome": "status", "status": answer.status.as_u16()
        }),
        Err(_) => json!({ "ticket": picked.get("ticket"), "outcome": "connect_error" }),
    };
    // The node may be gone meanwhile; then there is nobody to tell.
    let told = node.post(&format!("/v1/workers/{id}/report"), Some(&report)).await;
    Some(told.is_ok() && answer.is_ok_and(|answer| answer.status.is_success()))
}

//! Requests to the two pools through the gateways of all nodes in turn, and what people are told meanwhile.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::routing::post;
use hyper::Method;
use serde_json::{Value, json};

use super::MODELS;
use crate::cli::client::Client;
use crate::cli::demo::listen_from;

/// Five a second, to either pool in turn.
const REQUEST_EVERY: Duration = Duration::from_millis(200);

/// What became of the requests.
#[derive(Debug, Default)]
pub(super) struct Totals {
    served: AtomicU64,
    told_to_wait: AtomicU64,
    failed: AtomicU64,
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [served, waits, failed] = [&self.served, &self.told_to_wait, &self.failed]
            .map(|count| count.load(Ordering::Relaxed));
        write!(f, "{served} served, {waits} told to come back, {failed} failed")
    }
}

/// Asks for answers of both pools until it is dropped. A node that is away is passed over.
pub(super) async fn run(nodes: Vec<Client>, totals: Arc<Totals>) {
    let [codex, claude] = MODELS;
    let asks = [
        ("/gateway/codex/v1/responses", json!({"model": codex, "input": "hello"})),
        ("/gateway/claude/v1/messages", json!({"model": claude, "messages": []})),
    ];
    let mut ticks = tokio::time::interval(REQUEST_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    for ((path, body), turn) in asks.iter().cycle().zip(0_usize..) {
        ticks.tick().await;
        let status = ask(&nodes, turn, path, body).await;
        let count = match status {
            Some(status) if status.is_success() => &totals.served,
            Some(StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) => {
                &totals.told_to_wait
            }
            Some(_) | None => &totals.failed,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

/// The answer of the first node that gives one, from the `turn`th on.
async fn ask(nodes: &[Client], turn: usize, path: &str, body: &Value) -> Option<StatusCode> {
    let count = nodes.len().max(1);
    for node in nodes.iter().cycle().skip(turn / 2 % count).take(count) {
        if let Ok(answer) = node.raw(Method::POST, path, Some(body), None).await {
            return Some(answer.status);
        }
    }
    None
}

/// A webhook that prints what people would be told.
pub(super) async fn hear_notices(port: u16) -> std::io::Result<SocketAddr> {
    let listener = listen_from(port).await?;
    let address = listener.local_addr()?;
    let router = Router::new().route(
        "/notices",
        post(|body: Bytes| async move {
            if let Ok(notice) = serde_json::from_slice::<Value>(&body) {
                println!("  notice       {}", sentence(&notice));
            }
        }),
    );
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(address)
}

fn sentence(notice: &Value) -> String {
    let text = |name: &str| notice.get(name).and_then(Value::as_str).unwrap_or_default();
    let lane = match text("lane") {
        "*" => String::new(),
        model => format!(" for {model}"),
    };
    let back = match text("next_recovery_at") {
        "" => String::new(),
        at => format!("; the next may be back at {at}"),
    };
    let (pool, by) = (text("pool"), text("node_id"));
    let what = match text("type") {
        "pool.exhausted" => format!("none of {} accounts can serve{back}", notice["members"]),
        "pool.recovered" => "serves again".to_owned(),
        "pool.still_exhausted" => format!("ran dry again{back}"),
        kind => kind.to_owned(),
    };
    format!("{pool}{lane}: {what}   (told once, by {by})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_is_one_sentence() {
        let notice = json!({"type": "pool.exhausted", "pool": "codex", "lane": "*", "members": 3,
            "next_recovery_at": "2026-01-01T00:00:00.000Z", "node_id": "b"});
        let told = "codex: none of 3 accounts can serve; the next may be back at \
                    2026-01-01T00:00:00.000Z   (told once, by b)";
        assert_eq!(sentence(&notice), told);
        let notice = json!({"type": "pool.recovered", "pool": "codex", "lane": "gpt-5",
            "next_recovery_at": null, "node_id": "a"});
        assert_eq!(sentence(&notice), "codex for gpt-5: serves again   (told once, by a)");
    }
}

//! `quorate lock <name> -- command`: the command runs while the lock is held, and not a moment longer.
//!
//! The lease is renewed three times in its life. If no renewal succeeds for that long, somebody else may
//! hold by now: the command is killed. What it protects should still compare fences, for a machine that
//! sleeps kills nobody.

use std::process::ExitStatus;
use std::time::Duration;

use hyper::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::process::{Child, Command};
use tokio::time::Instant;

use super::args::Lock;
use super::client::{Client, Failure};
use super::kv::encoded;

/// Longest wait of one request.
const WAIT_MAX: Duration = Duration::from_secs(20);

pub(super) async fn run(client: &Client, lock: &Lock) -> Result<(), Failure> {
    let (namespace, name) = lock.name.split_once('/').unwrap_or(("default", &lock.name));
    let path = format!("/v1/locks/{namespace}/{}", encoded(name));
    let held = acquire(client, lock, &path).await?;
    let mut child = start(lock, held.fence)?;
    let status = guard(client, lock, &held, &mut child).await;
    // Whatever happened, nobody shall wait for the rest of the lease.
    let revoked = client.ask(Method::DELETE, &held.lease, None, None).await;
    match (status?, revoked) {
        (Some(status), _) if !status.success() => {
            std::process::exit(status.code().unwrap_or(1));
        }
        (Some(_), _) => Ok(()),
        (None, _) => Err(Failure::Conflict("the lock was lost; the command was killed".to_owned())),
    }
}

/// A lock that is held.
struct Held {
    fence: u64,
    /// The path of its lease.
    lease: String,
    /// Until when the lease lives for sure.
    until: Instant,
}

/// Stands in line, request by request.
async fn acquire(client: &Client, lock: &Lock, path: &str) -> Result<Held, Failure> {
    let ttl = Duration::from_secs(lock.ttl);
    let give_up = Instant::now() + Duration::from_secs(lock.wait);
    loop {
        let asked = Instant::now();
        let wait = give_up.saturating_duration_since(asked).min(WAIT_MAX).min(ttl / 2);
        let (ttl_ms, wait_ms) = (millis(ttl), millis(wait));
        let body = json!({ "ttl_ms": ttl_ms, "wait_ms": wait_ms });
        let answer = client.raw(Method::POST, path, Some(&body), None).await?;
        let document = answer.json().unwrap_or(Value::Null);
        let word = |name: &str| document.get(name).and_then(Value::as_str).unwrap_or_default();
        if answer.status == StatusCode::OK {
            let fence = document.get("fence").and_then(Value::as_u64).unwrap_or_default();
            let lease = format!("/v1/kv-leases/{}", word("lease"));
            return Ok(Held { fence, lease, until: asked + ttl });
        }
        let contended = word("code") == "contended";
        let passing = answer.status.is_server_error();
        if !(contended || passing) {
            return Err(Failure::Failed(format!("{}: {}", word("code"), word("detail"))));
        }
        if Instant::now() >= give_up {
            return Err(Failure::Conflict(format!("{}: {}", word("code"), word("detail"))));
        }
        if passing {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }
}

fn start(lock: &Lock, fence: u64) -> Result<Child, Failure> {
    let (program, arguments) = lock.command.split_first().expect("clap wants a command");
    let child = Command::new(program)
        .args(arguments)
        .env("QUORATE_FENCE", fence.to_string())
        .kill_on_drop(true)
        .spawn();
    child.map_err(|error| Failure::Failed(format!("`{program}` does not start: {error}")))
}

/// Keeps the lease alive until the command ends; `None`: it was killed, because the lock may be lost.
async fn guard(
    client: &Client,
    lock: &Lock,
    held: &Held,
    child: &mut Child,
) -> Result<Option<ExitStatus>, Failure> {
    let ttl = Duration::from_secs(lock.ttl);
    let mut until = held.until;
    let mut renew_at = Instant::now() + ttl / 3;
    loop {
        let renewal = async {
            tokio::time::sleep_until(renew_at).await;
            let asked = Instant::now();
            let keep = format!("{}/keep_alive", held.lease);
            let kept = tokio::time::timeout_at(until, client.raw(Method::POST, &keep, None, None));
            (asked, kept.await)
        };
        tokio::select! {
            status = child.wait() => {
                let status = status.map_err(|error| Failure::Failed(format!("{error}")))?;
                return Ok(Some(status));
            }
            (asked, kept) = renewal => {
                let status = kept.ok().and_then(Result::ok).map(|answer| answer.status);
                if status == Some(StatusCode::OK) {
                    (until, renew_at) = (asked + ttl, asked + ttl / 3);
                    continue;
                }
                if status == Some(StatusCode::NOT_FOUND) || Instant::now() >= until {
                    let killed = child.kill().await;
                    killed.map_err(|error| Failure::Failed(format!("it cannot be killed: {error}")))?;
                    return Ok(None);
                }
                renew_at = Instant::now() + Duration::from_millis(500).min(ttl / 10);
            }
        }
    }
}

fn millis(duration: Duration) -> u64 {
    quorate_core::time::millis(duration)
}

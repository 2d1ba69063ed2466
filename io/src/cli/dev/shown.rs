//! What `dev` says: the block at the start, and a line whenever something changed.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::Value;

use super::nodes::{self, Node, Plan};
use super::providers::Provider;
use super::traffic::Totals;
use super::{Keyboard, MODELS};
use crate::cli::args::Dev;
use crate::cli::client::CONTEXT;
use crate::cli::demo::{self, DemoWorker, Traffic};
use crate::cli::show::{items, text};

/// What runs beside the nodes.
pub(super) struct Cast {
    pub(super) workers: [DemoWorker; 2],
    pub(super) providers: [Provider; 2],
}

/// Says what runs and what to try.
pub(super) fn block(nodes: &[Node], cast: &Cast, args: &Dev, plan: &Plan, took: Duration) {
    let list = |rows: Vec<String>| rows.join("   ");
    let addresses = list(nodes.iter().map(|node| format!("{} {}", node.name, node.http)).collect());
    let pools = nodes::ACCOUNTS.map(|(name, count)| format!("{name} {count} accounts")).to_vec();
    let workers = cast.workers.iter();
    let workers = workers.map(|worker| format!("{} http://{}", worker.name, worker.address));
    let workers = list(workers.collect());
    println!("  nodes        {addresses}      ready in {:.1} s", took.as_secs_f64());
    println!("  pools        {}   traffic 5/s through /gateway/…", list(pools));
    println!("  workers      {workers}      model {}", demo::MODEL);
    println!(
        "  credentials  {}  (edit, add or delete a file and watch it arrive on all three)",
        plan.accounts().display()
    );
    println!(
        "  files        {}  (configuration, stores and logs of all three)",
        args.directory.display()
    );
    println!("  try this     {}", tries(nodes, plan).join("\n               "));
    if Keyboard::is_there() && !args.once {
        println!(
            "  keys         1 alpha fails · 2 beta fails · 4 codex answers 429 · 5 claude overloaded\n               \
             k kill node b · z freeze node c for 10 s · q quit"
        );
    }
}

/// Lines that work when they are pasted.
fn tries(nodes: &[Node], plan: &Plan) -> Vec<String> {
    let program = program();
    // Where other commands do not find the context by themselves they are told.
    let target = if is_context(&plan.directory.join("context")) {
        String::new()
    } else {
        format!(" --address {} --token {}", plan.first_address(), plan.token)
    };
    let own = |words: &&str| format!("{program}{target} {words}");
    let before = ["pool show codex", "pool explain codex", "cooldown list"];
    let after = [
        "member list",
        "worker list",
        "worker pick --model demo",
        "credential list",
        "credential show codex-1",
        "raft status",
        "kv put app/greeting hello",
        "kv get app/greeting",
        "lock app/nightly -- echo held",
        "event follow",
    ];
    let mut tries: Vec<String> = before.iter().map(own).collect();
    let [codex, claude] = MODELS;
    let spoken = [
        ("codex/v1/chat/completions", format!(r#"{{"model":"{codex}","messages":[]}}"#)),
        ("claude/v1/messages", format!(r#"{{"model":"{claude}","stream":true,"messages":[]}}"#)),
    ];
    // Each at another node: any will do.
    for ((path, body), node) in spoken.iter().zip(nodes.iter().skip(1)) {
        tries.push(format!(
            "curl -sN http://{}/gateway/{path} -H 'Authorization: Bearer {}' --json '{body}'",
            node.http, plan.token
        ));
    }
    tries.extend(after.iter().map(own));
    tries
}

/// Whether commands that are started in this folder look here.
fn is_context(path: &Path) -> bool {
    let (found, looked) = (path.canonicalize(), Path::new(CONTEXT).canonicalize());
    found.is_ok() && found.ok() == looked.ok()
}

/// The program as it was started, unless the path finds the same file by its name alone.
fn program() -> String {
    let started = std::env::args().next().unwrap_or_else(|| "quorate".to_owned());
    let present = std::env::current_exe().and_then(std::fs::canonicalize).ok();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found =
        std::env::split_paths(&path).map(|folder| folder.join("quorate")).find(|at| at.exists());
    let found = found.and_then(|found| std::fs::canonicalize(found).ok());
    if found.is_some() && found == present { "quorate".to_owned() } else { started }
}

/// What was said last, so that only news are.
#[derive(Default)]
pub(super) struct News {
    fleet: String,
    pools: BTreeMap<&'static str, String>,
}

impl News {
    /// Says what the first node that answers sees, as far as it changed.
    pub(super) async fn say(&mut self, nodes: &[Node], workers: &Traffic, totals: &Totals) {
        let fleet = fleet(nodes, workers).await;
        if fleet != self.fleet {
            println!("  {fleet}");
            self.fleet = fleet;
        }
        for (pool, _) in nodes::ACCOUNTS {
            let Some(line) = accounts(nodes, pool).await else { continue };
            if self.pools.get(pool) != Some(&line) {
                println!("  {pool:<12} {line}      {totals}");
                self.pools.insert(pool, line);
            }
        }
    }
}

async fn fleet(nodes: &[Node], workers: &Traffic) -> String {
    let unpicked = workers.unpicked.load(Ordering::Relaxed);
    for node in nodes {
        let members = node.client.get("/v1/cluster/members").await;
        let workers = node.client.get("/v1/workers").await;
        let (Ok(members), Ok(workers)) = (members, workers) else { continue };
        let row = |value: &Value, name: &str, state: &str| {
            format!("{} {}", text(value, name), text(value, state))
        };
        let members = items(&members).iter().map(|member| row(member, "/id", "/state"));
        let workers = items(&workers).iter().map(|worker| row(worker, "/url", "/status"));
        let (members, workers): (Vec<_>, Vec<_>) = (members.collect(), workers.collect());
        return format!(
            "seen by {}: {}   {}   requests without a worker: {unpicked}",
            node.name,
            members.join(", "),
            workers.join(", "),
        );
    }
    "no node answers".to_owned()
}

/// How every account of a pool stands at the first node that answers.
async fn accounts(nodes: &[Node], pool: &str) -> Option<String> {
    for node in nodes {
        let Ok(shown) = node.client.get(&format!("/v1/pools/{pool}")).await else { continue };
        let members = shown.pointer("/members").and_then(Value::as_array)?;
        let member =
            |member: &Value| format!("{} {}", text(member, "/credential"), text(member, "/state"));
        let members: Vec<String> = members.iter().map(member).collect();
        return Some(members.join("   "));
    }
    None
}

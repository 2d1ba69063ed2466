//! `quorate doctor`: looks, and changes nothing.

use std::time::{SystemTime, UNIX_EPOCH};

use hyper::Method;
use serde_json::{Value, json};

use super::client::{Client, Failure};
use super::show::{items, print, text, whole_list};

/// A finding.
struct Finding {
    subject: &'static str,
    verdict: Verdict,
    words: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Well,
    Warning,
    Failed,
}

impl Verdict {
    fn mark(self) -> &'static str {
        match self {
            Verdict::Well => "✓",
            Verdict::Warning => "!",
            Verdict::Failed => "✗",
        }
    }

    fn word(self) -> &'static str {
        match self {
            Verdict::Well => "ok",
            Verdict::Warning => "warning",
            Verdict::Failed => "failed",
        }
    }
}

/// Fails if anything it looked at has failed.
pub(super) async fn run(client: &Client) -> Result<(), Failure> {
    let findings = [
        readiness(client).await?,
        clock(client).await?,
        members(client).await?,
        versions(client).await?,
        transports(client).await?,
        workers(client).await?,
        files(client).await?,
        store(client).await?,
    ];
    let rows = findings.iter().map(|finding| {
        json!({ "check": finding.subject, "verdict": finding.verdict.word(), "detail": finding.words })
    });
    let answer = Value::Array(rows.collect());
    print(client, &answer, |_| {
        let lines = findings.iter().map(|finding| {
            format!("{} {:<12} {}\n", finding.verdict.mark(), finding.subject, finding.words)
        });
        lines.collect()
    });
    let failed = findings.iter().filter(|finding| finding.verdict == Verdict::Failed).count();
    if failed == 0 { Ok(()) } else { Err(Failure::Failed(format!("{failed} checks failed"))) }
}

fn finding(subject: &'static str, verdict: Verdict, words: impl Into<String>) -> Finding {
    Finding { subject, verdict, words: words.into() }
}

async fn readiness(client: &Client) -> Result<Finding, Failure> {
    let ready = client.raw(Method::GET, "/readyz?verbose", None, None).await?;
    if ready.status.is_success() {
        return Ok(finding("ready", Verdict::Well, "every counted check passes"));
    }
    let failing: Vec<&str> = ready.text.lines().filter(|line| line.starts_with("[-]")).collect();
    Ok(finding("ready", Verdict::Failed, failing.join(", ")))
}

/// The node's clock against ours: over 1 s warns, over 30 s fails.
async fn clock(client: &Client) -> Result<Finding, Failure> {
    let node = client.get("/v0/operations/node").await?;
    let theirs = text(&node, "/generated_at");
    let ours = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let Some(theirs) = crate::clock::parse_rfc3339(&theirs) else {
        return Ok(finding("clock", Verdict::Warning, "the node does not tell its time"));
    };
    let ours = u64::try_from(ours.as_millis()).unwrap_or(u64::MAX);
    let skew = ours.abs_diff(theirs.0);
    let verdict = match skew {
        0..=1000 => Verdict::Well,
        1001..=30_000 => Verdict::Warning,
        _ => Verdict::Failed,
    };
    Ok(finding("clock", verdict, format!("the node and this machine differ by {skew} ms")))
}

async fn members(client: &Client) -> Result<Finding, Failure> {
    let members = whole_list(client, "/v1/cluster/members").await?;
    let members = items(&members);
    let alive = members.iter().filter(|member| text(member, "/state") == "alive").count();
    let failed: Vec<String> = members
        .iter()
        .filter(|member| matches!(text(member, "/state").as_str(), "failed" | "suspect"))
        .map(|member| format!("{} is {}", text(member, "/id"), text(member, "/state")))
        .collect();
    if failed.is_empty() {
        return Ok(finding("members", Verdict::Well, format!("{alive} alive, nobody missing")));
    }
    let help = "start it again, or forget it with `quorate member evict`";
    Ok(finding("members", Verdict::Warning, format!("{}: {help}", failed.join(", "))))
}

async fn versions(client: &Client) -> Result<Finding, Failure> {
    let members = whole_list(client, "/v1/cluster/members?state=alive").await?;
    let mut versions: Vec<String> =
        items(&members).iter().map(|member| text(member, "/protocol")).collect();
    versions.sort();
    versions.dedup();
    if versions.len() <= 1 {
        return Ok(finding("versions", Verdict::Well, "every node speaks the same protocol"));
    }
    let words = format!("protocols differ: {}", versions.join(" and "));
    Ok(finding("versions", Verdict::Warning, words))
}

async fn transports(client: &Client) -> Result<Finding, Failure> {
    let health = client.get("/v1/cluster/health").await?;
    let reasons = health.get("reasons").and_then(Value::as_array).cloned().unwrap_or_default();
    let reasons: Vec<String> = reasons.iter().map(|reason| text(reason, "")).collect();
    if reasons.is_empty() {
        return Ok(finding(
            "transports",
            Verdict::Well,
            "datagrams and links flow to every member",
        ));
    }
    let help = "a firewall may pass only one of UDP and TCP";
    Ok(finding("transports", Verdict::Warning, format!("{}: {help}", reasons.join(", "))))
}

async fn workers(client: &Client) -> Result<Finding, Failure> {
    let workers = whole_list(client, "/v1/workers").await?;
    let workers = items(&workers);
    let ill: Vec<String> = workers
        .iter()
        .filter(|worker| matches!(text(worker, "/status").as_str(), "not_ready" | "failed"))
        .map(|worker| format!("{} is {}", text(worker, "/url"), text(worker, "/status")))
        .collect();
    if ill.is_empty() {
        return Ok(finding("workers", Verdict::Well, format!("{} known, none ill", workers.len())));
    }
    Ok(finding("workers", Verdict::Warning, ill.join(", ")))
}

/// Files of credentials: who may read them, whether they are whole, and whether anything in them can be shown.
async fn files(client: &Client) -> Result<Finding, Failure> {
    let list = whole_list(client, "/v1/credentials").await?;
    let told = client.get("/v1/credentials?limit=1").await?;
    let invalid = told.get("invalid").and_then(Value::as_array).cloned().unwrap_or_default();
    let is = |credential: &Value, name: &str, wanted: bool| {
        credential.get(name).and_then(Value::as_bool) == Some(wanted)
    };
    let named = |credential: &Value| format!("{}.json", text(credential, "/id"));
    let exposed = items(&list).iter().filter(|credential| is(credential, "exposed", true));
    let exposed = exposed.map(|one| format!("{} can be read by others: chmod 600", named(one)));
    let broken = invalid.iter().map(|one| format!("{}: {}", named(one), text(one, "/detail")));
    let failed: Vec<String> = exposed.chain(broken).collect();
    if !failed.is_empty() {
        return Ok(finding("files", Verdict::Failed, failed.join("; ")));
    }
    let keyless = items(&list).iter().filter(|credential| is(credential, "has_secret", false));
    let keyless: Vec<String> = keyless.map(|one| format!("{} holds no key", named(one))).collect();
    if !keyless.is_empty() {
        return Ok(finding("files", Verdict::Warning, keyless.join("; ")));
    }
    Ok(finding("files", Verdict::Well, format!("{} credentials", items(&list).len())))
}

/// The store of credentials: whether it answers, agrees with what is in use, and holds nothing back.
async fn store(client: &Client) -> Result<Finding, Failure> {
    let told = client.get("/v1/credentials?limit=1").await?;
    if let Some(failure) = told.get("failure").and_then(Value::as_str) {
        return Ok(finding("store", Verdict::Failed, format!("it does not answer: {failure}")));
    }
    if let Some(held) = told.pointer("/breaker/held").and_then(Value::as_array) {
        let help = "quorate credential breaker restore, or accept";
        let words = format!("{} are missing at once and stay in use: {help}", held.len());
        return Ok(finding("store", Verdict::Failed, words));
    }
    let health = client.raw(Method::GET, "/health", None, None).await?.json()?;
    match health.pointer("/checks/credentials/drift").and_then(Value::as_u64) {
        Some(drift @ 1..) => {
            let help = "they are looked at again within two minutes";
            Ok(finding("store", Verdict::Warning, format!("{drift} differ from it: {help}")))
        }
        Some(_) | None => Ok(finding("store", Verdict::Well, "it answers, and nothing differs")),
    }
}

//! `quorate raft`: the agreed log, for operators.

use serde_json::{Value, json};

use super::args::Raft;
use super::client::{Client, Failure};
use super::recover::recover;
use super::show::{columns, items, print, text};

pub(super) async fn raft(client: &Client, verb: Raft) -> Result<(), Failure> {
    match verb {
        Raft::Status => status(client).await,
        Raft::Log { count } => log(client, count).await,
        Raft::Transfer { to } => {
            let body = match to {
                Some(to) => json!({ "to": to }),
                None => json!({}),
            };
            let answer = client.post("/v0/operations/raft/transfer", Some(&body)).await?;
            print(client, &answer, |_| "the lead is being handed over\n".to_owned());
            Ok(())
        }
        Raft::Recover(words) => recover(&words, client.assume_yes),
        Raft::VotersMax { voters_max } => {
            let body = json!({ "voters_max": voters_max });
            let answer = client.put("/v0/operations/raft/settings", &body).await?;
            print(client, &answer, |answer| {
                format!("up to {} vote\n", text(answer, "/voters_max"))
            });
            Ok(())
        }
    }
}

async fn status(client: &Client) -> Result<(), Failure> {
    let answer = client.get("/v0/operations/raft").await?;
    print(client, &answer, |answer| {
        let line = |name: &str| format!("{name}: {}\n", text(answer, &format!("/{name}")));
        let keys = ["state", "leader", "term", "commit", "applied", "last", "snapshot", "settled"];
        let head: String = keys.into_iter().map(line).collect();
        let rows = answer.get("members").and_then(Value::as_array).cloned().unwrap_or_default();
        let cells = ["/node", "/state", "/match", "/silent_ms", "/member"];
        let rows: Vec<Vec<String>> =
            rows.iter().map(|row| cells.iter().map(|key| text(row, key)).collect()).collect();
        let plan = answer.get("plan").and_then(Value::as_array).cloned().unwrap_or_default();
        let others = answer.get("conflicts").and_then(Value::as_array).cloned().unwrap_or_default();
        let others: String =
            others.iter().map(|other| format!("another log: {}\n", text(other, ""))).collect();
        let plan: String = plan.iter().map(|step| format!("due: {}\n", text(step, ""))).collect();
        let heads = ["NODE", "STATE", "MATCH", "SILENT MS", "MEMBER"];
        format!("{head}{others}\n{}{plan}", columns(client, &heads, &rows))
    });
    Ok(())
}

async fn log(client: &Client, count: u64) -> Result<(), Failure> {
    let answer = client.get(&format!("/v0/operations/raft/log?n={count}")).await?;
    print(client, &answer, |answer| {
        let keys = ["/index", "/term", "/topic", "/hash"];
        let rows = items(answer).iter().map(|row| keys.iter().map(|key| text(row, key)).collect());
        let rows: Vec<Vec<String>> = rows.collect();
        columns(client, &["INDEX", "TERM", "TOPIC", "HASH"], &rows)
    });
    Ok(())
}

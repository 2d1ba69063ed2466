//! `quorate pool …`, `quorate cooldown …`, `quorate provider …`.

use serde_json::{Value, json};

use super::args::{Cooldown, Pool, Provider};
use super::client::{Client, Failure};
use super::show::{columns, items, print, text, whole_list, yaml};

pub(super) async fn pool(client: &Client, verb: Pool) -> Result<(), Failure> {
    let answer = match verb {
        Pool::List => {
            let list = whole_list(client, "/v1/pools").await?;
            print(client, &list, |list| pools(client, items(list)));
            return Ok(());
        }
        Pool::Show { pool } => {
            let shown = client.get(&format!("/v1/pools/{pool}")).await?;
            print(client, &shown, |shown| {
                let members = shown.get("members").and_then(Value::as_array);
                let rows = members.map(Vec::as_slice).unwrap_or_default();
                let head = pools(client, std::slice::from_ref(shown));
                format!("{head}\n{}", accounts(client, rows))
            });
            return Ok(());
        }
        Pool::Explain { pool, model } => {
            let model =
                model.map_or_else(String::new, |model| format!("?model={}", encoded(&model)));
            let explained = client.get(&format!("/v1/pools/{pool}/explain{model}")).await?;
            print(client, &explained, |explained| explanation(client, explained));
            return Ok(());
        }
        Pool::Rotate { pool } => client.post(&format!("/v1/pools/{pool}/rotate"), None).await?,
        Pool::Park { pool, member, minutes } => {
            let body = json!({"for_ms": minutes * 60_000});
            client.post(&of(client, &pool, &member, "park").await?, Some(&body)).await?
        }
        Pool::Unpark { pool, member } => {
            client.post(&of(client, &pool, &member, "unpark").await?, None).await?
        }
        Pool::Clear { pool, member, model, reason } => {
            let body = clearing(model, reason);
            client.post(&of(client, &pool, &member, "clear").await?, Some(&body)).await?
        }
        Pool::Probe { pool, member } => {
            client.post(&of(client, &pool, &member, "probe").await?, None).await?
        }
    };
    print(client, &answer, |answer| yaml(answer, 0));
    Ok(())
}

pub(super) async fn cooldown(client: &Client, verb: Cooldown) -> Result<(), Failure> {
    match verb {
        Cooldown::List => {
            let list = whole_list(client, "/v0/operations/cooldowns").await?;
            print(client, &list, |list| {
                let keys = [
                    "/credential",
                    "/pool",
                    "/scope",
                    "/class",
                    "/deadline",
                    "/source",
                    "/seen_by",
                ];
                let heads = ["CREDENTIAL", "POOL", "SCOPE", "CLASS", "UNTIL", "SOURCE", "SEEN BY"];
                columns(client, &heads, &rows(items(list), &keys))
            });
        }
        Cooldown::Clear { credential, model, reason } => {
            let mut body = clearing(model, reason);
            if let Some(fields) = body.as_object_mut() {
                fields.insert("credential".to_owned(), Value::String(credential));
            }
            let cleared = client.post("/v0/operations/cooldowns/clear", Some(&body)).await?;
            print(client, &cleared, |cleared| yaml(cleared, 0));
        }
    }
    Ok(())
}

pub(super) async fn provider(client: &Client, verb: Provider) -> Result<(), Failure> {
    let answer = match verb {
        Provider::List => {
            let status = client.get("/v0/operations/providers/status").await?;
            print(client, &status, |status| providers(client, status));
            return Ok(());
        }
        Provider::Cool { provider, seconds, reason } => {
            let body = json!({"duration_seconds": seconds, "reason": reason});
            let path = format!("/v0/operations/providers/{provider}/cooldown");
            client.post(&path, Some(&body)).await?
        }
        Provider::Recover { provider, reason } => {
            let path = format!("/v0/operations/providers/{provider}/recover");
            client.post(&path, Some(&json!({"reason": reason}))).await?
        }
    };
    print(client, &answer, |answer| yaml(answer, 0));
    Ok(())
}

fn clearing(model: Option<String>, reason: String) -> Value {
    match model {
        Some(model) => json!({"model": model, "reason": reason}),
        None => json!({"reason": reason}),
    }
}

/// The path of a verb about an account that was named by its handle or its credential's id.
async fn of(client: &Client, pool: &str, member: &str, verb: &str) -> Result<String, Failure> {
    let shown = client.get(&format!("/v1/pools/{pool}")).await?;
    let members = shown.get("members").and_then(Value::as_array).into_iter().flatten();
    let named = |row: &&Value| text(row, "/handle") == member || text(row, "/credential") == member;
    let mut found = members.filter(named).map(|row| text(row, "/handle"));
    let handle = found.next().ok_or_else(|| {
        Failure::NotFound(format!("pool {pool} has no account {member}: quorate pool show {pool}"))
    })?;
    Ok(format!("/v1/pools/{pool}/members/{handle}/{verb}"))
}

fn rows(items: &[Value], keys: &[&str]) -> Vec<Vec<String>> {
    items.iter().map(|item| keys.iter().map(|key| text(item, key)).collect()).collect()
}

/// The table of pools.
pub(super) fn pools(client: &Client, pools: &[Value]) -> String {
    let keys = [
        "/name",
        "/strategy",
        "/members",
        "/ready",
        "/cooling",
        "/parked",
        "/active",
        "/next_recovery_at",
    ];
    let heads =
        ["POOL", "STRATEGY", "MEMBERS", "READY", "COOLING", "PARKED", "ACTIVE", "NEXT RECOVERY"];
    let mut table = rows(pools, &keys);
    for (row, pool) in table.iter_mut().zip(pools) {
        if let (Some(last), false) = (row.last_mut(), text(pool, "/exhausted_since") == "–") {
            *last = format!("{last}  ! EXHAUSTED");
        }
    }
    columns(client, &heads, &table)
}

fn accounts(client: &Client, members: &[Value]) -> String {
    let row = |member: &Value| -> Vec<String> {
        let rests = member.get("rests").and_then(Value::as_array).into_iter().flatten();
        let rests: Vec<String> = rests
            .map(|rest| {
                let [class, scope] = ["/class", "/scope"].map(|key| text(rest, key));
                format!("{class} {scope} until {}", text(rest, "/rest_until"))
            })
            .collect();
        let rests = if rests.is_empty() { "–".to_owned() } else { rests.join(", ") };
        let keys = ["/credential", "/handle", "/state", "/provider", "/parked_until"];
        keys.iter().map(|key| text(member, key)).chain([rests]).collect()
    };
    let rows: Vec<Vec<String>> = members.iter().map(row).collect();
    columns(client, &["CREDENTIAL", "HANDLE", "STATE", "PROVIDER", "PARKED UNTIL", "RESTS"], &rows)
}

fn explanation(client: &Client, explained: &Value) -> String {
    let head = match explained.get("picked") {
        Some(Value::Object(_)) => {
            format!(
                "picks {}: {}\n",
                text(explained, "/picked/handle"),
                text(explained, "/picked/why")
            )
        }
        _ => {
            let [reason, wait] =
                ["/refused/reason", "/refused/retry_after_ms"].map(|key| text(explained, key));
            format!("picks nobody: {reason}, come back in {wait} ms\n")
        }
    };
    let members = explained.get("members").and_then(Value::as_array);
    let keys =
        ["/credential", "/handle", "/state", "/skipped/reason", "/skipped/class", "/skipped/until"];
    let table = rows(members.map(Vec::as_slice).unwrap_or_default(), &keys);
    let heads = ["CREDENTIAL", "HANDLE", "STATE", "SKIPPED", "BECAUSE", "UNTIL"];
    format!("{head}\n{}", columns(client, &heads, &table))
}

fn providers(client: &Client, status: &Value) -> String {
    let providers = status.get("providers").and_then(Value::as_object);
    let row = |(name, row): (&String, &Value)| -> Vec<String> {
        let keys = [
            "/status",
            "/credentials/total",
            "/credentials/ready",
            "/credentials/cooling",
            "/next_recovery_at",
        ];
        std::iter::once(name.clone()).chain(keys.iter().map(|key| text(row, key))).collect()
    };
    let rows: Vec<Vec<String>> = providers.into_iter().flatten().map(row).collect();
    columns(client, &["PROVIDER", "STATUS", "TOTAL", "READY", "COOLING", "NEXT RECOVERY"], &rows)
}

/// A text as part of a query.
fn encoded(text: &str) -> String {
    let plain =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    text.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

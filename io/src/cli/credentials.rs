//! `quorate credential …`.
//!
//! Absent on purpose: a body among the words of a command. Whoever lists processes reads those.

use std::io::Read as _;
use std::time::Duration;

use hyper::{Method, StatusCode};
use serde_json::{Value, json};

use super::args::{BreakerDecision, Credential};
use super::client::{Client, Failure, NEW, encode};
use super::members::confirm;
use super::show::{columns, items, print, text, whole_list, yaml};
use super::transfer;

pub(super) async fn run(client: &Client, verb: Credential) -> Result<(), Failure> {
    match verb {
        Credential::List { provider, state } => {
            let filters = [("provider", provider), ("state", state)];
            let filters = filters.into_iter().filter_map(|(key, value)| Some((key, value?)));
            let filters: Vec<String> =
                filters.map(|(key, value)| format!("{key}={}", encode(&value))).collect();
            let mark = if filters.is_empty() { "" } else { "?" };
            let path = format!("/v1/credentials{mark}{}", filters.join("&"));
            let list = whole_list(client, &path).await?;
            print(client, &list, |list| table(client, items(list)));
            troubles(client).await?;
        }
        Credential::Show { id } => {
            let credential = client.get(&path(&id, "")).await?;
            print(client, &credential, |credential| yaml(credential, 0));
        }
        Credential::Put { id, file } => put(client, &id, &file).await?,
        Credential::Delete { id } => {
            let path = path(&id, "");
            let now = client.ask(Method::GET, &path, None, None).await?;
            confirm(client, &format!("delete the credential `{id}`"))?;
            client.ask(Method::DELETE, &path, None, now.etag.as_deref()).await?;
            eprintln!("`{id}` is deleted");
        }
        Credential::Disable { id } => switch(client, &id, "/disable").await?,
        Credential::Enable { id } => switch(client, &id, "/enable").await?,
        Credential::Reveal { id } => {
            let revealed = client.post(&path(&id, "/reveal"), None).await?;
            let body = revealed.get("body").cloned().unwrap_or_default();
            print(client, &body, |body| format!("{body:#}\n"));
        }
        Credential::Import { from, force } => transfer::import(client, &from, force).await?,
        Credential::Export { ids, reveal: _, to } => transfer::export(client, ids, &to).await?,
        Credential::Reconcile => {
            client.post("/v0/operations/credentials/reconcile", None).await?;
            eprintln!("every credential is looked at");
        }
        Credential::Purge { older_than } => {
            let age = age(&older_than)?;
            let body = json!({"older_than_ms": quorate_core::time::millis(age)});
            let purged = client.post("/v0/operations/credentials/purge", Some(&body)).await?;
            print(client, &purged, |purged| format!("{} forgotten\n", text(purged, "/purged")));
        }
        Credential::Breaker { decision } => {
            let decision = match decision {
                BreakerDecision::Accept => "accept",
                BreakerDecision::Restore => "restore",
            };
            if decision == "accept" {
                confirm(client, "delete every credential that is missing")?;
            }
            let body = json!({"decision": decision});
            let done = client.post("/v0/operations/credentials/breaker", Some(&body)).await?;
            print(client, &done, |done| {
                let words = if decision == "accept" { "deleted" } else { "written back" };
                format!("{} {words}\n", text(done, "/held"))
            });
        }
    }
    Ok(())
}

/// Writes what stands in `file`; over what is there, if something is.
async fn put(client: &Client, id: &str, file: &str) -> Result<(), Failure> {
    let body = read(file)?;
    let path = path(id, "");
    let now = client.raw(Method::GET, &path, None, None).await?;
    let condition = match now.status {
        StatusCode::NOT_FOUND => Some(NEW.to_owned()),
        _ => now.etag,
    };
    let written = client.ask(Method::PUT, &path, Some(&body), condition.as_deref()).await?;
    let credential = written.json()?;
    print(client, &credential, |credential| table(client, std::slice::from_ref(credential)));
    Ok(())
}

fn read(file: &str) -> Result<Value, Failure> {
    let mut bytes = Vec::new();
    let read = match file {
        "-" => std::io::stdin().read_to_end(&mut bytes),
        path => std::fs::File::open(path).and_then(|mut file| file.read_to_end(&mut bytes)),
    };
    read.map_err(|error| Failure::Usage(format!("failed to read {file}: {error}")))?;
    // The parser's own words may quote a secret.
    let wrong = |_| Failure::Usage(format!("{file} is not one JSON object"));
    serde_json::from_slice(&bytes).map_err(wrong)
}

async fn switch(client: &Client, id: &str, verb: &str) -> Result<(), Failure> {
    let credential = client.post(&path(id, verb), None).await?;
    print(client, &credential, |credential| table(client, std::slice::from_ref(credential)));
    Ok(())
}

/// What the table cannot show is said beside it.
async fn troubles(client: &Client) -> Result<(), Failure> {
    let list = client.get("/v1/credentials?limit=1").await?;
    for trouble in list.get("invalid").and_then(Value::as_array).into_iter().flatten() {
        eprintln!("{}.json: {}", text(trouble, "/id"), text(trouble, "/detail"));
    }
    if let Some(held) = list.pointer("/breaker/held").and_then(Value::as_array) {
        let count = held.len();
        eprintln!(
            "{count} are missing at once and stay in use: quorate credential breaker restore, or accept"
        );
    }
    if let Some(failure) = list.get("failure").and_then(Value::as_str) {
        eprintln!("the store does not answer: {failure}");
    }
    Ok(())
}

/// The credential table.
pub(super) fn table(client: &Client, credentials: &[Value]) -> String {
    let row = |credential: &Value| -> Vec<String> {
        let marks = [("/missing", "missing"), ("/exposed", "exposed"), ("/invalid", "invalid")];
        let marks = marks.into_iter().filter(|(pointer, _)| {
            let value = credential.pointer(pointer).unwrap_or(&Value::Null);
            !matches!(value, Value::Null | Value::Bool(false))
        });
        let marks: Vec<&str> = marks.map(|(_, word)| word).collect();
        vec![
            text(credential, "/id"),
            text(credential, "/provider"),
            text(credential, "/state"),
            text(credential, "/revision"),
            text(credential, "/expires_at"),
            text(credential, "/handle"),
            if marks.is_empty() { "–".to_owned() } else { marks.join(",") },
        ]
    };
    let rows: Vec<Vec<String>> = credentials.iter().map(row).collect();
    let heads = ["CREDENTIAL", "PROVIDER", "STATE", "REVISION", "EXPIRES", "HANDLE", "MARKS"];
    columns(client, &heads, &rows)
}

fn path(id: &str, rest: &str) -> String {
    format!("/v1/credentials/{}{rest}", encode(id))
}

/// Reads `90d`, `12h`, `30m`, `10s`.
fn age(text: &str) -> Result<Duration, Failure> {
    let wrong = || Failure::Usage(format!("`{text}` is no age: write 90d, 12h, 30m or 10s"));
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let count: u32 = digits.parse().map_err(|_| wrong())?;
    let unit = match text.get(digits.len()..) {
        Some("d") => 86_400,
        Some("h") => 3600,
        Some("m") => 60,
        Some("s") => 1,
        _ => return Err(wrong()),
    };
    Ok(Duration::from_secs(u64::from(count) * unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_a_number_with_a_unit() {
        assert_eq!(age("90d"), Ok(Duration::from_secs(7_776_000)));
        assert_eq!(age("10s"), Ok(Duration::from_secs(10)));
        for wrong in ["", "d", "90", "90w", "-1d", "1d2h"] {
            assert!(age(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_id_is_one_part_of_a_path() {
        assert_eq!(path("team/a b", "/enable"), "/v1/credentials/team%2Fa%20b/enable");
    }
}

//! How answers are printed, and the verbs that only read.

use std::fmt::Write as _;

use hyper::Method;
use serde_json::Value;

use super::args::operator::Operator;
use super::args::{Node, Output};
use super::client::{Client, Failure};
use super::operator::{self, Shown};

/// Widest cell of a table before it is cut.
const CELL_WIDTH_MAX: usize = 40;

/// Prints an answer: as it is, as YAML, or by `table`.
pub(super) fn print(client: &Client, answer: &Value, table: impl FnOnce(&Value) -> String) {
    match client.output {
        Output::Json => println!("{answer:#}"),
        Output::Yaml => print!("{}", yaml(answer, 0)),
        Output::Table => print!("{}", table(answer)),
    }
}

/// Columns of `rows` under `heads`, as wide as they must be.
pub(super) fn columns(client: &Client, heads: &[&str], rows: &[Vec<String>]) -> String {
    cells(client.truncate, heads, rows)
}

/// The same, where nobody is asked.
pub(super) fn cells(truncate: bool, heads: &[&str], rows: &[Vec<String>]) -> String {
    let cut = |cell: &String| -> String {
        if truncate && cell.chars().count() > CELL_WIDTH_MAX {
            cell.chars().take(CELL_WIDTH_MAX - 1).chain(['…']).collect()
        } else {
            cell.clone()
        }
    };
    let head: Vec<String> = heads.iter().map(|head| (*head).to_owned()).collect();
    let all: Vec<Vec<String>> =
        std::iter::once(&head).chain(rows).map(|row| row.iter().map(cut).collect()).collect();
    let width = |column: usize| {
        let cells = all.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let mut text = String::new();
    for row in &all {
        let cells = row.iter().enumerate();
        let line: Vec<String> =
            cells.map(|(column, cell)| format!("{cell:<width$}", width = width(column))).collect();
        writeln!(text, "{}", line.join("  ").trim_end()).expect("a string takes every write");
    }
    text
}

/// The text at a JSON pointer; `–` where there is nothing.
pub(super) fn text(value: &Value, pointer: &str) -> String {
    match value.pointer(pointer) {
        None | Some(Value::Null) => "–".to_owned(),
        Some(Value::String(text)) if text.is_empty() => "–".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// The items of a list answer.
pub(super) fn items(value: &Value) -> &[Value] {
    value.get("items").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// Every page of a list, as one answer.
pub(super) async fn whole_list(client: &Client, path: &str) -> Result<Value, Failure> {
    let joint = if path.contains('?') { '&' } else { '?' };
    let mut answer = client.get(&format!("{path}{joint}limit=1000")).await?;
    let mut cursor = answer.get("next_cursor").and_then(Value::as_str).map(str::to_owned);
    while let Some(next) = cursor {
        let page = client.get(&format!("{path}{joint}limit=1000&cursor={next}")).await?;
        if let Some(all) = answer.get_mut("items").and_then(Value::as_array_mut) {
            all.extend(items(&page).iter().cloned());
        }
        cursor = page.get("next_cursor").and_then(Value::as_str).map(str::to_owned);
    }
    if let Some(fields) = answer.as_object_mut() {
        fields.insert("next_cursor".to_owned(), Value::Null);
    }
    Ok(answer)
}

/// Does what operators do with pools.
pub(super) async fn operate(client: &Client, words: Operator) -> Result<(), Failure> {
    let Shown { answer, text } = operator::perform(client, words).await?;
    print(client, &answer, |_| text);
    Ok(())
}

/// One screen.
pub(super) async fn status(client: &Client) -> Result<(), Failure> {
    let cluster = client.get("/v1/cluster").await?;
    let members = whole_list(client, "/v1/cluster/members").await?;
    let workers = whole_list(client, "/v1/workers").await?;
    let pools = whole_list(client, "/v1/pools").await?;
    let ready = client.raw(Method::GET, "/readyz", None, None).await?;
    let answer = serde_json::json!({
        "cluster": cluster,
        "ready": ready.status.is_success(),
        "members": items(&members),
        "workers": items(&workers),
        "pools": items(&pools),
    });
    print(client, &answer, |answer| {
        let ready = if text(answer, "/ready") == "true" { "ready" } else { "not ready" };
        let head = format!(
            "NODE {}/{}  {ready}   CLUSTER {} {} members, {}\n",
            text(answer, "/cluster/node"),
            text(answer, "/cluster/incarnation"),
            text(answer, "/cluster/cluster"),
            text(answer, "/cluster/members"),
            text(answer, "/cluster/health"),
        );
        let members = super::members::table(client, items(&members));
        let workers = super::workers::table(client, items(&workers));
        let pools = super::operator::pools(items(&pools), client.truncate);
        format!("{head}\n{members}\n{workers}\n{pools}")
    });
    Ok(())
}

/// Exit 0 if the node is live and started.
pub(super) async fn health(client: &Client) -> Result<(), Failure> {
    let answer = client.raw(Method::GET, "/health", None, None).await?;
    let health = answer.json()?;
    print(client, &health, |health| {
        format!("{} {}\n", text(health, "/node_id"), text(health, "/status"))
    });
    if answer.status.is_success() {
        Ok(())
    } else {
        Err(Failure::Unavailable("the node is not live, or not started".to_owned()))
    }
}

pub(super) async fn gossip(client: &Client) -> Result<(), Failure> {
    let answer = client.get("/v0/operations/gossip").await?;
    print(client, &answer, |answer| {
        let cells = |list: &str, keys: &[&str]| -> Vec<Vec<String>> {
            let rows = answer.get(list).and_then(Value::as_array).cloned().unwrap_or_default();
            rows.iter().map(|row| keys.iter().map(|key| text(row, key)).collect()).collect()
        };
        let topics = cells("topics", &["/topic", "/queued", "/enqueued", "/retired", "/dropped"]);
        let peers = cells("peers", &["/id", "/behind", "/last_digest_ms"]);
        format!(
            "{}\n{}",
            columns(client, &["TOPIC", "QUEUED", "ENQUEUED", "RETIRED", "DROPPED"], &topics),
            columns(client, &["PEER", "BEHIND", "LAST DIGEST MS"], &peers),
        )
    });
    Ok(())
}

pub(super) async fn node(client: &Client, verb: Node) -> Result<(), Failure> {
    let answer = match verb {
        Node::Show => client.get("/v0/operations/node").await?,
        Node::Dump => client.get("/v0/operations/dump").await?,
        Node::Reload => client.post("/v0/operations/reload", None).await?,
        Node::Drain => client.post("/v0/operations/drain", None).await?,
        Node::Undrain => client.post("/v0/operations/undrain", None).await?,
    };
    print(client, &answer, |answer| yaml(answer, 0));
    Ok(())
}

/// Says where the file is: it holds what callers sent, and stays on the node's machine.
pub(super) async fn trace(client: &Client, seconds: u64) -> Result<(), Failure> {
    let body = serde_json::json!({ "seconds": seconds });
    let answer = client.post("/v0/operations/trace", Some(&body)).await?;
    print(client, &answer, |answer| format!("{}\n", text(answer, "/path")));
    Ok(())
}

pub(super) async fn keys(client: &Client) -> Result<(), Failure> {
    let answer = client.get("/v0/operations/keyring").await?;
    print(client, &answer, |answer| match answer.get("keys").and_then(Value::as_array) {
        Some(keys) if !keys.is_empty() => {
            keys.iter().map(|key| format!("{}\n", text(key, ""))).collect()
        }
        _ => "no keys: datagrams are not sealed\n".to_owned(),
    });
    Ok(())
}

pub(super) async fn audit(client: &Client, after: u64) -> Result<(), Failure> {
    let answer = client.get(&format!("/v0/operations/audit?after={after}")).await?;
    print(client, &answer, |answer| {
        let keys = ["/sequence", "/at", "/actor", "/verb", "/object", "/outcome"];
        let rows = items(answer).iter().map(|row| keys.iter().map(|key| text(row, key)).collect());
        let rows: Vec<Vec<String>> = rows.collect();
        columns(client, &["SEQUENCE", "AT", "ACTOR", "VERB", "OBJECT", "OUTCOME"], &rows)
    });
    Ok(())
}

/// Block-style YAML of a JSON value. Scalars are written as JSON, which is YAML too (YAML 1.2 §1.3).
pub(super) fn yaml(value: &Value, depth: usize) -> String {
    let indent = "  ".repeat(depth);
    let nested = |value: &Value| match value {
        Value::Object(fields) if !fields.is_empty() => format!("\n{}", yaml(value, depth + 1)),
        Value::Array(items) if !items.is_empty() => format!("\n{}", yaml(value, depth + 1)),
        Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_)
        | Value::Array(_)
        | Value::Object(_) => format!(" {value}\n"),
    };
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            let lines =
                fields.iter().map(|(key, value)| format!("{indent}{key}:{}", nested(value)));
            lines.collect()
        }
        Value::Array(items) if !items.is_empty() => {
            items.iter().map(|item| format!("{indent}-{}", nested(item))).collect()
        }
        Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_)
        | Value::Array(_)
        | Value::Object(_) => format!("{indent}{value}\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yaml_nests_by_indentation_and_quotes_texts() {
        let value = serde_json::json!({"a": [1, {"b": "x: y"}], "c": {}, "d": null});
        let expected = "a:\n  - 1\n  -\n    b: \"x: y\"\nc: {}\nd: null\n";
        assert_eq!(yaml(&value, 0), expected);
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_long_cells_are_cut() {
        let client = Client::at("127.0.0.1:1", "");
        let rows =
            [vec!["a".to_owned(), "long".to_owned()], vec!["bcd".to_owned(), "x".to_owned()]];
        assert_eq!(columns(&client, &["N", "V"], &rows), "N    V\na    long\nbcd  x\n");
    }
}

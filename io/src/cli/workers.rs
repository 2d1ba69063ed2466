//! `quorate worker …`.

use hyper::Method;
use serde_json::{Map, Value, json};

use super::args::{Query, Worker};
use super::client::{Client, Failure, encode};
use super::show::{columns, items, print, text, whole_list, yaml};

pub(super) async fn run(client: &Client, verb: Worker) -> Result<(), Failure> {
    match verb {
        Worker::List { model, status, owner, watch } => {
            let pairs = [("model", model), ("status", status), ("owner", owner)];
            let pairs = pairs.into_iter().filter_map(|(key, value)| Some((key, value?)));
            let path = format!("/v1/workers{}", query(pairs));
            let list = whole_list(client, &path).await?;
            print(client, &list, |list| table(client, items(list)));
            if watch {
                return super::events::watch(client, "/v1/workers/watch").await;
            }
        }
        Worker::Show { worker } => {
            let path = path_of(client, &worker).await?;
            let worker = client.get(&path).await?;
            print(client, &worker, |worker| yaml(worker, 0));
        }
        Worker::Add { url, models, set } => {
            let mut spec = fields(&set)?;
            spec.insert("url".to_owned(), Value::String(url));
            if !models.is_empty() {
                let models: Vec<Value> =
                    models.iter().map(|model| json!({ "id": model })).collect();
                spec.insert("models".to_owned(), Value::Array(models));
            }
            let worker = client.post("/v1/workers", Some(&Value::Object(spec))).await?;
            print(client, &worker, |worker| table(client, std::slice::from_ref(worker)));
        }
        Worker::Set { worker, fields: set } => {
            let path = path_of(client, &worker).await?;
            let now = client.ask(Method::GET, &path, None, None).await?;
            let patch = Value::Object(fields(&set)?);
            let changed =
                client.ask(Method::PATCH, &path, Some(&patch), now.etag.as_deref()).await?;
            let worker = changed.json()?;
            print(client, &worker, |worker| table(client, std::slice::from_ref(worker)));
        }
        Worker::Remove { worker, now } => {
            let path = path_of(client, &worker).await?;
            let now = if now { "?now=true" } else { "" };
            let path = format!("{path}{now}");
            let removed = client.ask(Method::DELETE, &path, None, None).await?.json()?;
            print(client, &removed, |removed| yaml(removed, 0));
        }
        Worker::Drain { worker } => act(client, &worker, "drain").await?,
        Worker::Undrain { worker } => act(client, &worker, "undrain").await?,
        Worker::Probe { worker } => act(client, &worker, "probe").await?,
        Worker::Suppress { worker } => act(client, &worker, "suppress").await?,
        Worker::Unsuppress { worker } => act(client, &worker, "unsuppress").await?,
        Worker::Pick(wanted) => {
            let picked = client.post("/v1/workers/pick", Some(&body(&wanted))).await?;
            print(client, &picked, |picked| format!("{}\n", text(picked, "/url")));
        }
        Worker::Explain(wanted) => explain(client, &wanted).await?,
    }
    Ok(())
}

async fn act(client: &Client, worker: &str, verb: &str) -> Result<(), Failure> {
    let path = format!("{}/{verb}", path_of(client, worker).await?);
    let worker = client.post(&path, None).await?;
    print(client, &worker, |worker| table(client, std::slice::from_ref(worker)));
    Ok(())
}

async fn explain(client: &Client, wanted: &Query) -> Result<(), Failure> {
    let body = body(wanted);
    let pairs = body.as_object().into_iter().flatten();
    let pairs = pairs.filter_map(|(key, value)| Some((key.as_str(), value.as_str()?.to_owned())));
    let answer = client.get(&format!("/v1/workers/explain{}", query(pairs))).await?;
    print(client, &answer, |answer| {
        let keys = ["/url", "/picked", "/skipped", "/load", "/id"];
        let row = |row: &Value| keys.iter().map(|key| text(row, key)).collect();
        let rows: Vec<Vec<String>> = items(answer).iter().map(row).collect();
        columns(client, &["WORKER", "PICKED", "SKIPPED", "LOAD", "ID"], &rows)
    });
    Ok(())
}

/// The worker table.
pub(super) fn table(client: &Client, workers: &[Value]) -> String {
    let row = |worker: &Value| -> Vec<String> {
        let models = worker.pointer("/spec/models").and_then(Value::as_array);
        let models: Vec<String> =
            models.into_iter().flatten().map(|model| text(model, "/id")).collect();
        let overlay = match worker.get("overlay") {
            Some(Value::Object(_)) => text(worker, "/overlay/name"),
            _ => text(worker, "/overlay"),
        };
        vec![
            text(worker, "/url"),
            text(worker, "/status"),
            overlay,
            text(worker, "/chosen"),
            if models.is_empty() { "any".to_owned() } else { models.join(",") },
            text(worker, "/probe/last"),
            text(worker, "/id"),
        ]
    };
    let rows: Vec<Vec<String>> = workers.iter().map(row).collect();
    columns(client, &["WORKER", "STATUS", "OVERLAY", "OWNER", "MODELS", "PROBE", "ID"], &rows)
}

/// The path of a worker that was named by id or URL.
async fn path_of(client: &Client, worker: &str) -> Result<String, Failure> {
    if !worker.contains("://") {
        return Ok(format!("/v1/workers/{worker}"));
    }
    let list = whole_list(client, "/v1/workers").await?;
    let found = items(&list).iter().find(|row| text(row, "/url") == worker.trim_end_matches('/'));
    let id = found.map(|row| text(row, "/id"));
    id.map(|id| format!("/v1/workers/{id}"))
        .ok_or_else(|| Failure::NotFound(format!("no worker has the URL {worker}")))
}

/// `weight=200 health.path=/ready` as a JSON object. Values are JSON where they parse, else texts.
fn fields(pairs: &[String]) -> Result<Map<String, Value>, Failure> {
    let mut fields = Map::new();
    for pair in pairs {
        let (path, text) = pair
            .split_once('=')
            .ok_or_else(|| Failure::Usage(format!("`{pair}` has no `=`: write key=value")))?;
        let value = serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()));
        match path.split_once('.') {
            None => {
                fields.insert(path.to_owned(), value);
            }
            Some((outer, inner)) => {
                let table = fields.entry(outer).or_insert_with(|| json!({}));
                let table = table.as_object_mut();
                let table =
                    table.ok_or_else(|| Failure::Usage(format!("`{outer}` is set twice")))?;
                table.insert(inner.to_owned(), value);
            }
        }
    }
    Ok(fields)
}

fn body(wanted: &Query) -> Value {
    let pairs = [
        ("model", &wanted.model),
        ("kind", &wanted.kind),
        ("policy", &wanted.policy),
        ("key", &wanted.key),
    ];
    let set = pairs
        .into_iter()
        .filter_map(|(key, value)| Some((key.to_owned(), Value::String(value.clone()?))));
    Value::Object(set.collect())
}

/// A query string, percent-encoded.
fn query<'a>(pairs: impl Iterator<Item = (&'a str, String)>) -> String {
    let pairs: Vec<String> =
        pairs.map(|(key, value)| format!("{key}={}", encode(&value))).collect();
    if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_nest_once_and_read_json_where_it_parses() {
        let pairs = ["weight=200", "health.path=/ready", "health.rise=3", "labels={\"a\":\"b\"}"];
        let pairs: Vec<String> = pairs.map(str::to_owned).to_vec();
        let expected = json!({
            "weight": 200, "health": {"path": "/ready", "rise": 3}, "labels": {"a": "b"}
        });
        assert_eq!(Value::Object(fields(&pairs).expect("well formed")), expected);
        assert!(fields(&["weight".to_owned()]).is_err());
    }

    #[test]
    fn a_query_string_is_percent_encoded() {
        let pairs = [("model", "a b/c".to_owned()), ("key", "ä".to_owned())];
        assert_eq!(query(pairs.into_iter()), "?model=a%20b%2Fc&key=%C3%A4");
    }
}

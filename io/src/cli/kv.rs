//! `quorate kv …`.

use std::io::Read as _;

use hyper::Method;
use serde_json::{Value, json};

use super::args::Kv;
use super::client::{Client, Failure};
use super::show::{columns, items, print, text, yaml};

pub(super) async fn run(client: &Client, verb: Kv) -> Result<(), Failure> {
    match verb {
        Kv::Get { key, revision, local } => {
            let mode = local.then(|| ("mode", "local".to_owned()));
            let revision = revision.map(|revision| ("revision", revision.to_string()));
            let query = query(mode.into_iter().chain(revision));
            let found = client.get(&format!("{}{query}", path(&key)?)).await?;
            print(client, &found, |found| format!("{}\n", value(found, "/key")));
        }
        Kv::Put { key, value, lease, if_revision, create } => {
            let mut body = json!({ "value": value });
            let members = body.as_object_mut().expect("it was written as an object");
            if let Some(lease) = lease {
                members.insert("lease".to_owned(), json!(lease));
            }
            if let Some(revision) = if_revision {
                members.insert("if".to_owned(), json!({ "mod_revision": revision }));
            }
            if create {
                members.insert("if".to_owned(), json!({ "absent": true }));
            }
            let done = client.ask(Method::PUT, &path(&key)?, Some(&body), None).await?.json()?;
            print(client, &done, |done| yaml(done, 0));
        }
        Kv::Delete { key, prefix } => {
            let path = if prefix { within(&key, "prefix") } else { path(&key)? };
            let done = client.ask(Method::DELETE, &path, None, None).await?.json()?;
            print(client, &done, |done| yaml(done, 0));
        }
        Kv::Scan { prefix, keys_only } => scan(client, &prefix, keys_only).await?,
        Kv::Txn { namespace } => {
            let mut body = String::new();
            let read = std::io::stdin().read_to_string(&mut body);
            read.map_err(|error| Failure::Usage(format!("standard input: {error}")))?;
            let body: Value = serde_json::from_str(&body)
                .map_err(|error| Failure::Usage(format!("standard input is no JSON: {error}")))?;
            let done = client.post(&format!("/v1/kv/{namespace}"), Some(&body)).await?;
            print(client, &done, |done| yaml(done, 0));
        }
        Kv::Watch { prefix, from_revision } => {
            let mut path = within(&prefix, "prefix") + "&watch=true";
            if let Some(revision) = from_revision {
                path += &format!("&from_revision={revision}");
            }
            super::events::watch(client, &path).await?;
        }
    }
    Ok(())
}

/// Every page, as one list.
async fn scan(client: &Client, prefix: &str, keys_only: bool) -> Result<(), Failure> {
    let keys_only = if keys_only { "&keys_only=true" } else { "" };
    let first = format!("{}&limit=1000{keys_only}", within(prefix, "prefix"));
    let mut list = client.get(&first).await?;
    let mut all = items(&list).to_vec();
    while let Some(cursor) = list.get("next_cursor").and_then(Value::as_str) {
        let path = format!("{first}&cursor={cursor}");
        list = client.get(&path).await?;
        all.extend(items(&list).iter().cloned());
    }
    let whole = json!({ "revision": list.get("revision"), "items": all });
    print(client, &whole, |whole| {
        let row = |item: &Value| {
            vec![named(item, "key"), text(item, "/mod_revision"), named(item, "value")]
        };
        let rows: Vec<Vec<String>> = items(whole).iter().map(row).collect();
        columns(client, &["KEY", "REVISION", "VALUE"], &rows)
    });
    Ok(())
}

fn value(found: &Value, pointer: &str) -> String {
    found.pointer(pointer).map(|key| named(key, "value")).unwrap_or_default()
}

/// A member that is text, or its base64.
fn named(item: &Value, name: &str) -> String {
    let member = item.get(name).or_else(|| item.get(format!("{name}_base64")));
    member.and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// `namespace/key` as a path.
fn path(key: &str) -> Result<String, Failure> {
    let (namespace, key) = key
        .split_once('/')
        .filter(|(_, key)| !key.is_empty())
        .ok_or_else(|| Failure::Usage(format!("`{key}` names no key: write namespace/key")))?;
    Ok(format!("/v1/kv/{namespace}/{}", encoded(key)))
}

/// `namespace/rest` as a path with a query.
fn within(text: &str, name: &str) -> String {
    let (namespace, rest) = text.split_once('/').unwrap_or((text, ""));
    format!("/v1/kv/{namespace}?{name}={}", encoded(rest))
}

fn query<'a>(pairs: impl Iterator<Item = (&'a str, String)>) -> String {
    let pairs: Vec<String> =
        pairs.map(|(key, value)| format!("{key}={}", encoded(&value))).collect();
    if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) }
}

/// Percent-encoded (RFC 3986 §2).
pub(super) fn encoded(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            char::from(byte).to_string()
        }
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_may_hold_slashes_and_a_namespace_may_not() {
        assert_eq!(path("app/a/b c"), Ok("/v1/kv/app/a%2Fb%20c".to_owned()));
        assert_eq!(within("app/a/", "prefix"), "/v1/kv/app?prefix=a%2F");
        assert_eq!(within("app", "prefix"), "/v1/kv/app?prefix=");
        assert!(path("app").is_err() && path("app/").is_err());
    }
}

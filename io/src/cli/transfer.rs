//! `quorate credential import` and `export`: from another program's folder, and into a file.
//!
//! Both speak HTTP as every verb does. An import writes what is not there, and over what is there only when it is told
//! to; what is no record is named and passed over. An export reveals, so that it must be asked for in so many words,
//! and its file is new and its owner's alone.
//!
//! Absent on purpose: a body in an error. The parser's own words may quote a secret.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use hyper::{Method, StatusCode};
use quorate_core::limits;
use serde_json::{Map, Value, json};

use super::client::{Client, Failure, NEW, encode, refused};
use super::show::{columns, items, print, text, whole_list};

/// Folders below the folder that are looked into.
const DEPTH_MAX: usize = 4;

/// Writes every record of `from` that is not there, and with `force` over those that are.
pub(super) async fn import(client: &Client, from: &str, force: bool) -> Result<(), Failure> {
    let folder = match from.split_once(':') {
        Some(("cliproxy", place)) if place.starts_with("postgres") => {
            let why = "records are read from a folder; a database of another program is not";
            return Err(Failure::Usage(why.to_owned()));
        }
        Some(("cliproxy", folder)) if !folder.is_empty() => Path::new(folder),
        _ => return Err(Failure::Usage("write --from cliproxy:<folder>".to_owned())),
    };
    let mut files = Vec::new();
    gather(folder, folder, 0, &mut files)?;
    files.sort();
    let (mut rows, mut failed) = (Vec::new(), 0_usize);
    for (id, path) in files {
        let (outcome, detail) = match record(&path) {
            Err(why) => ("skipped", why),
            Ok(body) => written(client, &id, &body, force).await?,
        };
        failed += usize::from(outcome == "failed");
        rows.push(json!({"id": id, "outcome": outcome, "detail": detail}));
    }
    print(client, &Value::Array(rows), |rows| {
        let row = |row: &Value| ["/id", "/outcome", "/detail"].map(|at| text(row, at)).to_vec();
        let rows: Vec<Vec<String>> = rows.as_array().into_iter().flatten().map(row).collect();
        columns(client, &["CREDENTIAL", "OUTCOME", "DETAIL"], &rows)
    });
    if failed == 0 { Ok(()) } else { Err(Failure::Failed(format!("{failed} were not written"))) }
}

/// Every file that may be a record, by the id that it would have.
fn gather(
    root: &Path,
    folder: &Path,
    depth: usize,
    files: &mut Vec<(String, PathBuf)>,
) -> Result<(), Failure> {
    let unreadable =
        |error| Failure::Usage(format!("failed to read the folder {}: {error}", folder.display()));
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with('.') {
            continue;
        }
        if path.is_dir() && depth < DEPTH_MAX {
            gather(root, &path, depth + 1, files)?;
        } else if path.is_file() && name.ends_with(".json") {
            let id = path.strip_prefix(root).ok().and_then(|inner| inner.to_str());
            let id = id.and_then(|id| id.strip_suffix(".json")).unwrap_or(name);
            files.push((id.to_owned(), path));
        }
    }
    Ok(())
}

/// The record in a file, or why there is none.
fn record(path: &Path) -> Result<Value, String> {
    let most = u64::try_from(limits::CREDENTIAL_BODY_BYTES_MAX).unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(most + 1).read_to_end(&mut bytes));
    read.map_err(|error| format!("it cannot be read: {error}"))?;
    if bytes.len() > limits::CREDENTIAL_BODY_BYTES_MAX {
        return Err("it has more than 262144 bytes".to_owned());
    }
    let body: Value =
        serde_json::from_slice(&bytes).map_err(|_| "it is not one JSON object".to_owned())?;
    let has_type = body.get("type").and_then(Value::as_str).is_some_and(|kind| !kind.is_empty());
    if has_type { Ok(body) } else { Err("it has no `type`, which names the provider".to_owned()) }
}

async fn written(
    client: &Client,
    id: &str,
    body: &Value,
    force: bool,
) -> Result<(&'static str, String), Failure> {
    let path = format!("/v1/credentials/{}", encode(id));
    let mut answer = client.raw(Method::PUT, &path, Some(body), Some(NEW)).await?;
    let is_there = answer.status == StatusCode::PRECONDITION_FAILED;
    if is_there && force {
        answer = client.raw(Method::PUT, &path, Some(body), Some("*")).await?;
    } else if is_there {
        return Ok(("kept", "one of this id is there: --force writes over it".to_owned()));
    }
    if answer.status.is_success() {
        return Ok((if is_there { "replaced" } else { "written" }, String::new()));
    }
    Ok(("failed", refused(&answer).to_string()))
}

/// Writes `ids`, or all there are, with their secrets into a new file that only its owner reads.
pub(super) async fn export(client: &Client, ids: Vec<String>, to: &str) -> Result<(), Failure> {
    let ids = if ids.is_empty() {
        let list = whole_list(client, "/v1/credentials").await?;
        items(&list).iter().map(|credential| text(credential, "/id")).collect()
    } else {
        ids
    };
    let unwritten = |error| Failure::Usage(format!("failed to write {to}: {error}"));
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to);
    let mut file = file.map_err(unwritten)?;
    let done = async {
        let mut bodies = Map::new();
        for id in &ids {
            let path = format!("/v1/credentials/{}/reveal", encode(id));
            let revealed = client.post(&path, None).await?;
            bodies.insert(id.clone(), revealed.get("body").cloned().unwrap_or_default());
        }
        let text = format!("{:#}\n", Value::Object(bodies));
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(unwritten)
    };
    if let Err(failure) = done.await {
        let _ = std::fs::remove_file(to); // Half of them are of no use, and it was made here.
        return Err(failure);
    }
    eprintln!("{} are in {to}, with their secrets", ids.len());
    Ok(())
}

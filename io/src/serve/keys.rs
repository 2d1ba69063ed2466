//! Bearer keys of workers: those that the configuration names by URL prefix, and those that came by
//! request, by the worker's URL.
//!
//! What came by request is one file each in `<data>/keys`, mode 0600, named by the URL's hash: durable
//! before the caller is answered, read again at the next start, and gone with its worker.
//!
//! Absent on purpose: the node. It knows that there is a key, and never the key.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::SharedKeys;
use crate::access::hex;
use crate::config::Secret;

/// Bytes of a key's file that are read.
const FILE_BYTES_MAX: u64 = 64 * 1024;

type Keys = BTreeMap<String, Secret>;

/// The keys of this node's workers.
pub(crate) struct WorkerKeys {
    directory: PathBuf,
    /// What probes use: all of them.
    used: SharedKeys,
    parts: Mutex<Parts>,
}

struct Parts {
    configured: Keys,
    kept: Keys,
}

impl WorkerKeys {
    /// Reads what was kept below `data`, adds what is `configured`, and puts all of it to use.
    pub(crate) fn open(data: &Path, configured: Keys, used: SharedKeys) -> io::Result<WorkerKeys> {
        let directory = data.join("keys");
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory)?;
        let parts = Mutex::new(Parts { configured, kept: read_all(&directory)? });
        let keys = WorkerKeys { directory, used, parts };
        keys.publish(&keys.parts());
        Ok(keys)
    }

    /// The configuration names these from now on.
    pub(crate) fn configure(&self, configured: Keys) {
        let mut parts = self.parts();
        parts.configured = configured;
        self.publish(&parts);
    }

    /// Keeps the key of the worker at `url`; returns when it is durable.
    pub(crate) fn keep(&self, url: &str, key: &str) -> io::Result<()> {
        let mut parts = self.parts();
        write(&self.directory, &name_of(url), &json!({ "url": url, "key": key }))?;
        parts.kept.insert(url.to_owned(), Secret::new(key));
        self.publish(&parts);
        Ok(())
    }

    /// The worker at `url` is gone, and its key with it.
    pub(crate) fn forget(&self, url: &str) -> io::Result<()> {
        let mut parts = self.parts();
        if parts.kept.remove(url).is_none() {
            return Ok(());
        }
        self.publish(&parts);
        std::fs::remove_file(self.directory.join(name_of(url)))
    }

    fn publish(&self, parts: &Parts) {
        let mut all = parts.configured.clone();
        // What was said of one worker counts more than what was said of many.
        all.extend(parts.kept.clone());
        self.used.store(Arc::new(all));
    }

    fn parts(&self) -> MutexGuard<'_, Parts> {
        self.parts.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// What was kept below `data`; nothing in a new one.
pub(crate) fn kept(data: &Path) -> io::Result<Keys> {
    let directory = data.join("keys");
    if directory.exists() { read_all(&directory) } else { Ok(Keys::new()) }
}

/// URLs hold what file names cannot.
fn name_of(url: &str) -> String {
    format!("{}.json", hex(&Sha256::digest(url)))
}

fn read_all(directory: &Path) -> io::Result<Keys> {
    let mut keys = Keys::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        // A write that did not finish left another name behind; nobody was answered for it.
        if path.extension().is_some_and(|kind| kind == "json")
            && let Some((url, key)) = read(&path)?
        {
            keys.insert(url, key);
        }
    }
    Ok(keys)
}

/// Nothing if it is no file of ours.
fn read(path: &Path) -> io::Result<Option<(String, Secret)>> {
    if std::fs::metadata(path)?.len() > FILE_BYTES_MAX {
        return Ok(None);
    }
    let text = std::fs::read_to_string(path)?;
    let value: Value = serde_json::from_str(&text).unwrap_or_default();
    let part = |key: &str| value.get(key).and_then(Value::as_str);
    Ok(part("url").zip(part("key")).map(|(url, key)| (url.to_owned(), Secret::new(key))))
}

/// Whole or not at all, and durable.
fn write(directory: &Path, name: &str, value: &Value) -> io::Result<()> {
    let unfinished = directory.join(format!("{name}.new"));
    let mut options = File::options();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
    file.write_all(value.to_string().as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&unfinished, directory.join(name))?;
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "http://10.0.0.7:8000";

    #[test]
    fn a_key_that_came_by_request_survives_reload_and_restart_and_goes_with_its_worker() {
        let data = std::env::temp_dir().join(format!("quorate-keys-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&data); // Of an earlier run.
        let open = || {
            let used = SharedKeys::default();
            let keys = WorkerKeys::open(&data, Keys::new(), used.clone()).expect("a directory");
            (keys, used)
        };
        let revealed =
            |used: &SharedKeys| used.load().get(URL).map(|secret| secret.reveal().to_owned());
        let (keys, used) = open();
        keys.keep(URL, "sk-canary").expect("room");
        keys.configure(Keys::from([("http://b".to_owned(), Secret::new("other"))]));
        assert_eq!((revealed(&used).as_deref(), used.load().len()), (Some("sk-canary"), 2));
        let path = data.join("keys").join(name_of(URL));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

        std::fs::write(data.join("keys/torn.json.new"), "{").unwrap();
        let (keys, used) = open();
        assert_eq!(revealed(&used).as_deref(), Some("sk-canary"));
        keys.forget(URL).expect("its own file");
        assert_eq!(revealed(&used), None);
        assert_eq!(open().1.load().len(), 0);
        std::fs::remove_dir_all(data).unwrap();
    }
}

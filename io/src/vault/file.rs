//! Records in a folder: `<folder>/<id>.json`, each of mode 0600, below folders of mode 0700.
//!
//! Looks and writes of one folder stand in one order ([`Look::order`]), taken under one lock: what began
//! before a write says nothing about what was written. A write is a temporary file, synced, renamed over, and
//! the folder synced: whole or not at all. A path is followed only as far as it stays in the folder, for
//! reading, writing and deleting alike; a link within it, as mounted volumes have them, is fine.
//!
//! Absent on purpose: revisions, and what an absence means. The node counts and decides.

use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

use quorate_core::limits;
use quorate_core::node::credentials::{DEFAULT_TENANT, Digest, Key, Listing, Look, Seen};
use quorate_core::time::UnixTime;
use serde_json::Value;
use zeroize::Zeroizing;

use super::body::{Body, wipe};
use super::secret::{Purpose, Secret};
use crate::clock;

/// What a record's file ends in.
const EXTENSION: &str = "json";
/// Folders below the folder.
pub(super) const DEPTH_MAX: usize = 4;
/// Files that we write begin with this until they are whole.
pub(super) const UNFINISHED: &str = ".quorate-";
/// Bytes of one name on a disk.
const NAME_BYTES_MAX: usize = 255;
/// A file that changed less than this before it was read may change once more without showing it.
const SETTLED_SECONDS: i64 = 2;

/// A folder of records.
pub(super) struct Folder {
    root: PathBuf,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    order: u64,
    /// Digests of what was read, by what the file's metadata were.
    known: BTreeMap<Key, (Stamp, Option<Digest>)>,
}

/// What of a file's metadata tells it from what it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// Why an id has no place in a folder.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// A folder keeps those of one tenant.
    #[error("a folder keeps the credentials of the tenant `default` alone")]
    Tenant,
    /// It would not be found again.
    #[error(
        "in a folder an id has at most 5 parts, each of at most 250 bytes, and none begins with `.`"
    )]
    Parts,
}

impl Folder {
    /// The folder `root`, which is made if it is not there.
    pub(super) fn open(root: &Path) -> io::Result<Folder> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(root)?;
        let root = root.canonicalize()?;
        Ok(Folder { root, state: Mutex::default() })
    }

    /// Where it is.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Reads one record; `take` is handed the body while nothing else is read or written.
    pub(super) fn look(&self, key: &Key, take: impl FnOnce(Body)) -> Look {
        let mut state = self.state();
        state.order += 1;
        let order = state.order;
        let (at, seen, body) = self.read(key);
        if let Some(body) = body {
            take(body);
        }
        Look { order, at, seen }
    }

    fn read(&self, key: &Key) -> (UnixTime, Seen, Option<Body>) {
        let now = clock::wall();
        let invalid = |what: String| (now, Seen::Invalid { what }, None);
        let path = match self.path_of(key) {
            Ok(path) => path,
            Err(_) => return (now, Seen::Absent, None),
        };
        let read = match self.read_file(&path) {
            Ok(Some(read)) => read,
            Ok(None) if self.root.is_dir() => return (now, Seen::Absent, None),
            Ok(None) => return (now, Seen::Failed { what: gone() }, None),
            Err(error) => return invalid(format!("it cannot be read: {}", kind(&error))),
        };
        let (bytes, metadata) = read;
        match Body::read(&bytes) {
            Ok(body) => {
                let seen = Seen::Record {
                    digest: body.digest(),
                    record: Box::new(body.record().clone()),
                    exposed: metadata.mode() & 0o077 != 0,
                };
                let seconds = u64::try_from(metadata.mtime()).unwrap_or_default();
                let millis = u64::try_from(metadata.mtime_nsec()).unwrap_or_default() / 1_000_000;
                (UnixTime(seconds * 1000 + millis), seen, Some(body))
            }
            Err(error) => invalid(error.to_string()),
        }
    }

    /// The bytes of a regular file within the folder; nothing if none is there.
    fn read_file(&self, path: &Path) -> io::Result<Option<(Zeroizing<Vec<u8>>, Metadata)>> {
        let real = match path.canonicalize() {
            Ok(real) => real,
            Err(error) if is_absence(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        if !real.starts_with(&self.root) {
            return Err(io::Error::other("it leads out of the folder"));
        }
        // A pipe would hold whoever opens it.
        if !std::fs::metadata(&real)?.is_file() {
            return Err(io::Error::other("it is no file"));
        }
        let file = match File::open(&real) {
            Ok(file) => file,
            Err(error) if is_absence(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        let metadata = file.metadata()?;
        let limit = limits::CREDENTIAL_BODY_BYTES_MAX + 1;
        // One place for all of it: a list that grows leaves its former place behind unwiped.
        let mut bytes = Zeroizing::new(Vec::with_capacity(limit));
        file.take(limit as u64).read_to_end(&mut bytes)?;
        Ok(Some((bytes, metadata)))
    }

    /// Everything that is there. What did not change since it was read is not read again.
    pub(super) fn list(&self) -> Result<Listing, String> {
        let order = {
            let mut state = self.state();
            state.order += 1;
            state.order
        };
        let mut walk = Walk::default();
        if !self.root.is_dir() {
            return Err(gone());
        }
        self.walk(&self.root.clone(), "", 0, &mut walk)
            .map_err(|error| format!("the folder cannot be read: {}", kind(&error)))?;
        let Walk { keys, left_out, misnamed } = walk;
        let mut found = Vec::with_capacity(keys.len());
        for key in &keys {
            if let Some(digest) = self.digest_of(key) {
                found.push((key.clone(), digest));
            }
        }
        self.state().known.retain(|key, _| keys.contains(key));
        Ok(Listing { order, found, left_out, misnamed })
    }

    /// The digest of a record, `Some(None)` of what is none, and nothing if it went meanwhile.
    fn digest_of(&self, key: &Key) -> Option<Option<Digest>> {
        let path = self.path_of(key).ok()?;
        let metadata = match std::fs::metadata(&path) {
            Ok(metadata) => metadata,
            Err(error) if is_absence(&error) => return None,
            Err(_) => return Some(None),
        };
        let stamp = stamp(&metadata);
        if let Some((known, digest)) = self.state().known.get(key)
            && *known == stamp
        {
            return Some(*digest);
        }
        let digest = match self.read_file(&path) {
            Ok(Some((bytes, _))) => Body::read(&bytes).ok().map(|body| body.digest()),
            Ok(None) => return None,
            Err(_) => None,
        };
        let now = i64::try_from(clock::wall().0 / 1000).unwrap_or(i64::MAX);
        if now.saturating_sub(stamp.modified.0.max(stamp.changed.0)) >= SETTLED_SECONDS {
            self.state().known.insert(key.clone(), (stamp, digest));
        }
        Some(digest)
    }

    fn walk(&self, folder: &Path, prefix: &str, depth: usize, walk: &mut Walk) -> io::Result<()> {
        let mut entries = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            entries.push(entry?.file_name());
        }
        entries.sort();
        for name in entries {
            let Some(name) = name.to_str() else {
                walk.misnamed += 1;
                continue;
            };
            if name.starts_with('.') {
                continue;
            }
            let path = folder.join(name);
            if path.is_dir() {
                let inside = path.canonicalize().is_ok_and(|real| real.starts_with(&self.root));
                if depth < DEPTH_MAX && inside {
                    // A folder that went meanwhile holds nothing.
                    match self.walk(&path, &format!("{prefix}{name}/"), depth + 1, walk) {
                        Err(error) if !is_absence(&error) => return Err(error),
                        _ => {}
                    }
                }
                continue;
            }
            let Some(id) = name.strip_suffix(&format!(".{EXTENSION}")) else { continue };
            match Key::of_default(&format!("{prefix}{id}")) {
                Ok(_) if walk.keys.len() >= limits::CREDENTIALS_MAX => walk.left_out += 1,
                Ok(key) => drop(walk.keys.insert(key)),
                Err(_) => walk.misnamed += 1,
            }
        }
        Ok(())
    }

    /// Writes `body` as the record `key`; it is durable when this returns.
    pub(super) fn write(&self, key: &Key, body: &Body) -> io::Result<Look> {
        let path = self.path_of(key).map_err(io::Error::other)?;
        let text = written(body.whole());
        let mut state = self.state();
        state.order += 1;
        let folder = self.make_folder(&path)?;
        let name = path.file_name().and_then(|name| name.to_str()).expect("an id is text");
        let unfinished = folder.join(format!("{UNFINISHED}{:016x}", key.handle().0));
        let result = write_over(&unfinished, &folder.join(name), text.as_bytes());
        if result.is_err() {
            let _ = std::fs::remove_file(&unfinished); // It may not even be there.
        }
        result?;
        let record = Box::new(body.record().clone());
        let seen = Seen::Record { digest: body.digest(), record, exposed: false };
        Ok(Look { order: state.order, at: clock::wall(), seen })
    }

    /// Removes the record `key`, if it is there.
    pub(super) fn remove(&self, key: &Key) -> io::Result<Look> {
        let path = self.path_of(key).map_err(io::Error::other)?;
        let mut state = self.state();
        state.order += 1;
        let folder = path.parent().unwrap_or(&self.root);
        match folder.canonicalize() {
            Ok(real) if !real.starts_with(&self.root) => {
                return Err(io::Error::other("it leads out of the folder"));
            }
            Ok(real) => match std::fs::remove_file(&path) {
                Err(error) if !is_absence(&error) => return Err(error),
                _ => File::open(real)?.sync_all()?,
            },
            Err(error) if is_absence(&error) => {}
            Err(error) => return Err(error),
        }
        Ok(Look { order: state.order, at: clock::wall(), seen: Seen::Absent })
    }

    /// The folder that `path` lies in, made as far as it is missing, and never one outside.
    fn make_folder(&self, path: &Path) -> io::Result<PathBuf> {
        let inner = path.strip_prefix(&self.root).map_err(io::Error::other)?;
        let mut folder = self.root.clone();
        for part in inner.parent().into_iter().flat_map(Path::components) {
            folder = folder.join(part).canonicalize().or_else(|error| {
                if !is_absence(&error) {
                    return Err(error);
                }
                let missing = folder.join(part);
                std::fs::DirBuilder::new().mode(0o700).create(&missing)?;
                File::open(&folder)?.sync_all()?;
                Ok(missing)
            })?;
            if !folder.starts_with(&self.root) {
                return Err(io::Error::other("it leads out of the folder"));
            }
        }
        Ok(folder)
    }

    /// The file of `key`.
    fn path_of(&self, key: &Key) -> Result<PathBuf, PlaceError> {
        place(key)?;
        Ok(self.root.join(format!("{}.{EXTENSION}", key.id())))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

#[derive(Default)]
struct Walk {
    keys: std::collections::BTreeSet<Key>,
    left_out: u64,
    misnamed: u64,
}

/// Whether a folder can hold `key`.
pub(super) fn place(key: &Key) -> Result<(), PlaceError> {
    if key.tenant() != DEFAULT_TENANT {
        return Err(PlaceError::Tenant);
    }
    let fits = |part: &str| !part.starts_with('.') && part.len() <= NAME_BYTES_MAX - ".json".len();
    let mut parts = key.id().split('/');
    if parts.all(fits) && key.id().split('/').count() <= DEPTH_MAX + 1 {
        Ok(())
    } else {
        Err(PlaceError::Parts)
    }
}

/// As people edit it: one member a line.
fn written(whole: &Secret) -> Zeroizing<String> {
    let mut value: Value =
        serde_json::from_str(whole.expose(Purpose::Store)).expect("a canonical form is JSON");
    let text = serde_json::to_string_pretty(&value).expect("a value is JSON");
    wipe(&mut value);
    Zeroizing::new(text + "\n")
}

fn write_over(unfinished: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    // One that a crash left behind may have other rights.
    match std::fs::remove_file(unfinished) {
        Err(error) if !is_absence(&error) => return Err(error),
        _ => {}
    }
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(unfinished)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(unfinished, path)?;
    File::open(path.parent().unwrap_or(path))?.sync_all()
}

fn stamp(metadata: &Metadata) -> Stamp {
    Stamp {
        inode: metadata.ino(),
        size: metadata.len(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
    }
}

fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// What went wrong, without a path: an id may be somebody's address.
fn kind(error: &io::Error) -> String {
    let kind = error.kind();
    if kind == io::ErrorKind::Other { error.to_string() } else { kind.to_string() }
}

fn gone() -> String {
    "the folder is not there".to_owned()
}

#[cfg(test)]
mod tests;

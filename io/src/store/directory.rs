//! The data directory: made for its owner alone, and held by one process.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use quorate_core::ids::NodeId;
use quorate_core::node::Image;
use redb::backends::FileBackend;

use super::{Store, StoreError};

/// A data directory that this process holds until the value is dropped.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    _lock: File,
}

impl Directory {
    /// Makes `path` if need be and takes it. Others may neither write into it nor hold it.
    pub(crate) fn take(path: &Path, node: &NodeId) -> Result<Directory, StoreError> {
        let failed = |error| StoreError::Directory { path: path.to_owned(), error };
        make_private(path).map_err(failed)?;
        let mode = std::fs::metadata(path).map_err(failed)?.permissions().mode();
        if mode & 0o022 != 0 {
            return Err(StoreError::Exposed { path: path.to_owned() });
        }
        let mut lock = private().open(path.join("lock")).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(StoreError::Held { path: path.to_owned(), holder: holder(&mut lock) });
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        sign(&mut lock, node).map_err(failed)?;
        Ok(Directory { path: path.to_owned(), _lock: lock })
    }

    /// Opens the store in it.
    pub(crate) fn open(&self) -> Result<(Store, Image), StoreError> {
        let rooms = self.path.join("store");
        let unusable = |error| StoreError::Directory { path: rooms.clone(), error };
        make_private(&rooms).map_err(unusable)?;
        let open = |name: &str| {
            let file = private().open(rooms.join(name)).map_err(unusable)?;
            FileBackend::new(file).map_err(super::unusable)
        };
        let opened = Store::open_on(open("node.redb")?, open("journal")?)?;
        // The files' own entries must survive the loss of power as well.
        let entries = File::open(&rooms).and_then(|directory| directory.sync_all());
        entries.map_err(|error| StoreError::Directory { path: rooms, error })?;
        Ok(opened)
    }
}

fn make_private(path: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    options
}

fn sign(lock: &mut File, node: &NodeId) -> io::Result<()> {
    lock.set_len(0)?;
    lock.rewind()?;
    write!(lock, "process {} of node {node}", std::process::id())
}

fn holder(lock: &mut File) -> String {
    let mut text = String::new();
    match lock.take(200).read_to_string(&mut text) {
        Ok(read) if read > 0 => text.escape_debug().to_string(),
        _ => "another process".to_owned(),
    }
}

//! State dumps: one file each, the newest kept.

use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::clock;

/// Dumps kept.
const DUMPS_MAX: usize = 8;

/// Writes `state` below `data` and removes the oldest dumps.
pub(super) fn write(data: &Path, state: &Value) -> io::Result<PathBuf> {
    let folder = data.join("dump");
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
    let path = folder.join(format!("{:020}.json", clock::wall_micros()));
    let mut file =
        std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
    write!(file, "{state:#}")?;
    file.sync_all()?;
    let mut kept: Vec<PathBuf> = std::fs::read_dir(&folder)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<_>>()?;
    kept.sort();
    let surplus = kept.len().saturating_sub(DUMPS_MAX);
    kept.iter().take(surplus).try_for_each(std::fs::remove_file)?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_eight_dumps_are_kept() {
        let data = std::env::temp_dir().join(format!("quorate-dump-{}", std::process::id()));
        let written: Vec<PathBuf> = (0..10)
            .map(|number| write(&data, &serde_json::json!(number)).expect("a temporary folder"))
            .collect();
        let there: Vec<bool> = written.iter().map(|path| path.exists()).collect();
        std::fs::remove_dir_all(&data).expect("its own folder");
        assert_eq!(there, [&[false; 2][..], &[true; 8]].concat());
    }
}

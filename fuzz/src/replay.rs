//! Seeds and past crashes, replayed by plain `cargo test`, and where a search begins.
//!
//! `fuzz/corpus/<target>/` holds small, well-formed inputs, `fuzz/regress/<target>/` one file per past
//! crash.

use std::fs;
use std::path::{Path, PathBuf};

const FILES_MAX: usize = 200;
const BYTES_MAX: usize = 256 * 1024;

/// Runs `check` on every file of the target.
#[cfg(test)]
pub(crate) fn every_file(target: &str, check: impl Fn(&[u8])) {
    for (path, bytes) in corpus(target).into_iter().chain(files("regress", target)) {
        told(&path, "as it is", || check(&bytes));
    }
}

/// Runs `check` on every seed of the target cut short anywhere, and with any one bit turned.
#[cfg(test)]
pub(crate) fn every_damage(target: &str, check: impl Fn(&[u8])) {
    for (path, bytes) in corpus(target) {
        for length in 0..bytes.len() {
            let cut = bytes.get(..length).unwrap_or_default();
            told(&path, &format!("cut to {length} bytes"), || check(cut));
        }
        let mut damaged = bytes.clone();
        for place in 0..bytes.len().min(DAMAGED_BYTES_MAX) {
            for bit in 0..8 {
                let turn = |damaged: &mut Vec<u8>| {
                    if let Some(byte) = damaged.get_mut(place) {
                        *byte ^= 1 << bit;
                    }
                };
                turn(&mut damaged);
                told(&path, &format!("bit {bit} of byte {place} turned"), || check(&damaged));
                turn(&mut damaged);
            }
        }
    }
}

/// The seeds of the target, as they are.
pub(crate) fn seeds(target: &str) -> Vec<Vec<u8>> {
    corpus(target).into_iter().map(|(_, bytes)| bytes).collect()
}

/// Targets that have seeds, in order of name.
#[cfg(test)]
pub(crate) fn folders() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let entries = fs::read_dir(root).expect("a folder of corpora");
    let name = |entry: std::io::Result<fs::DirEntry>| {
        entry.expect("a readable folder").file_name().to_string_lossy().into_owned()
    };
    let mut names: Vec<String> = entries.map(name).collect();
    names.sort();
    names
}

/// Keeps an input that broke a law where every later test finds it; where it lies.
pub(crate) fn keep(target: &str, input: &[u8]) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("regress").join(target);
    let path = folder.join(format!("found_{:016x}", xxhash_rust::xxh3::xxh3_64(input)));
    fs::create_dir_all(folder).expect("a folder for what was found");
    fs::write(&path, input).expect("a file for what was found");
    path
}

/// Beyond this a seed repeats itself.
#[cfg(test)]
const DAMAGED_BYTES_MAX: usize = 2048;

fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let seeds = files("corpus", target);
    let bytes: usize = seeds.iter().map(|(_, bytes)| bytes.len()).sum();
    assert!(!seeds.is_empty(), "the target {target} has no seeds");
    assert!(seeds.len() <= FILES_MAX && bytes <= BYTES_MAX, "the corpus of {target} is too large");
    seeds
}

fn files(kind: &str, target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(kind).join(target);
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<PathBuf> =
        entries.map(|entry| entry.expect("a readable folder").path()).collect();
    paths.sort();
    let hidden = |path: &Path| {
        path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
    };
    paths.retain(|path| !hidden(path));
    let read = |path: PathBuf| {
        let bytes = fs::read(&path).expect("a readable file");
        (path, bytes)
    };
    paths.into_iter().map(read).collect()
}

/// Says which input it was when a check panics.
#[cfg(test)]
fn told(path: &Path, how: &str, check: impl FnOnce()) {
    if let Err(panic) = std::panic::catch_unwind(std::panic::AssertUnwindSafe(check)) {
        eprintln!("the input was {} {how}", path.display());
        std::panic::resume_unwind(panic);
    }
}

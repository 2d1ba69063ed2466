//! Every mark and point stands in the source, and every name in the source is a mark or a point.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use quorate_core::mark::names::{MARKS, POINTS};

/// The text of every Rust file below `folder`, without its tests.
fn sources(folder: PathBuf) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder of the workspace") {
        let path = entry.expect("a readable entry").path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "tests") {
            found.extend(sources(path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).expect("a readable source");
            found.push(text.split("#[cfg(test)]\nmod tests {").next().unwrap_or("").to_owned());
        }
    }
    found
}

/// The names that `sources` give to the macro `word`.
fn named(sources: &[String], word: &str) -> BTreeSet<String> {
    let code = |line: &&str| !line.trim_start().starts_with("//");
    let texts = sources.iter().map(|text| text.lines().filter(code).collect::<Vec<_>>().join("\n"));
    let name =
        |rest: &str| Some(rest.trim_start().strip_prefix('"')?.split_once('"')?.0.to_owned());
    texts.flat_map(|text| text.split(word).skip(1).filter_map(name).collect::<Vec<_>>()).collect()
}

#[test]
fn the_lists_of_marks_and_points_are_what_the_source_says() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("below the workspace");
    let sources: Vec<String> =
        ["core/src", "io/src"].iter().flat_map(|folder| sources(workspace.join(folder))).collect();
    for (word, names) in [("sometimes!(", MARKS), ("sim_point!(", POINTS)] {
        let listed: BTreeSet<String> = names.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(named(&sources, word), listed, "{word}…) and its list in `mark/names.rs`");
    }
}

//! What no lint can hold: the layers, a promise on every file, a core without a runtime.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The layers of `core`, lowest first: a module uses only modules of the rows above its own here. It is
/// printed in `docs/ARCHITECTURE.md`, which is compared with it below.
const LAYERS: [(&str, &[&str]); 4] = [
    (
        "foundation",
        &["machine", "mark", "canary", "time", "random", "ids", "limits", "fences", "wire"],
    ),
    ("mechanisms", &["link", "membership", "gossip", "replica", "raft"]),
    ("services", &["workers", "pools", "credentials", "kv"]),
    ("composition", &["node"]),
];

/// Which modules of `core` the other packages may name: a host knows the node and the foundation.
const HOSTS: [&str; 4] = ["io", "sim", "fuzz", "tests"];

/// Crates that would bring a clock, threads or a reactor into `core`.
const RUNTIMES: [&str; 8] =
    ["tokio", "mio", "async-std", "smol", "futures-executor", "getrandom", "rand", "socket2"];

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a workspace").to_owned()
}

/// Every Rust file below `folder`, with its text.
fn sources(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder of the workspace") {
            let path = entry.expect("a readable entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).expect("a readable source");
                found.push((path, text));
            }
        }
    }
    assert!(!found.is_empty(), "{} holds no sources", folder.display());
    found.sort();
    found
}

/// The code of a file, without comments and without its tests.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let lines = text.lines().map(|line| line.split("//").next().unwrap_or_default());
    lines.collect::<Vec<_>>().join("\n")
}

/// The modules that `prefix` (`crate` or `quorate_core`) is followed by.
fn named(code: &str, prefix: &str) -> Vec<String> {
    let word = |text: &str| -> String {
        text.chars().take_while(|letter| letter.is_ascii_alphanumeric() || *letter == '_').collect()
    };
    let mut modules = Vec::new();
    for (at, _) in code.match_indices(&format!("{prefix}::")) {
        let rest = &code[at + prefix.len() + 2..];
        match rest.strip_prefix('{') {
            None => modules.push(word(rest)),
            Some(list) => modules.extend(heads(list).into_iter().map(|head| word(head.trim()))),
        }
    }
    modules
}

/// The first words of a braced list, at its own depth.
fn heads(list: &str) -> Vec<&str> {
    let (mut depth, mut start, mut found) = (0, 0, Vec::new());
    for (at, letter) in list.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth == 0 => {
                found.push(&list[start..at]);
                return found;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                found.push(&list[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    found
}

fn layer_of() -> BTreeMap<&'static str, usize> {
    let rows = LAYERS.iter().enumerate();
    rows.flat_map(|(layer, (_, modules))| modules.iter().map(move |module| (*module, layer)))
        .collect()
}

#[test]
fn a_core_module_uses_only_layers_above_it() {
    let layer_of = layer_of();
    let root = workspace().join("core/src");
    let mut wrong = Vec::new();
    for (path, text) in sources(&root) {
        let inner = path.strip_prefix(&root).expect("below core");
        let first = inner.iter().next().expect("a name").to_string_lossy();
        let module = first.trim_end_matches(".rs").to_owned();
        if ["lib", "script"].contains(&module.as_str()) || inner.ends_with("tests.rs") {
            continue;
        }
        let layer = *layer_of.get(module.as_str()).unwrap_or_else(|| {
            panic!("{} is in no layer: add its module to the table", inner.display())
        });
        for used in named(&code(&text), "crate") {
            let Some(used_layer) = layer_of.get(used.as_str()) else { continue };
            let allowed = *used_layer < layer || used == module || layer == 0;
            if !allowed {
                wrong.push(format!("{} uses {used}", inner.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "arrows against the layers:\n{}", wrong.join("\n"));
}

#[test]
fn a_host_knows_the_node_and_the_foundation_alone() {
    let mut wrong = Vec::new();
    for host in HOSTS {
        for (path, text) in sources(&workspace().join(host)) {
            if path.starts_with(workspace().join("tests/tests/tidy.rs")) {
                continue;
            }
            for used in named(&code(&text), "quorate_core") {
                let between =
                    LAYERS[1..3].iter().any(|(_, modules)| modules.contains(&used.as_str()));
                if between {
                    wrong.push(format!("{} uses quorate_core::{used}", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "reach machines through `quorate_core::node`:\n{}", wrong.join("\n"));
}

/// The two hosts know nothing of each other, but for this: who simulates a network runs the shell in it.
const OF_THE_SHELL: [&str; 2] = ["sim/src/backend", "sim/madsim"];

#[test]
fn the_simulator_names_the_shell_in_its_backends_alone() {
    let mut there = 0;
    let mut wrong = Vec::new();
    for host in ["io", "sim"] {
        let other = if host == "io" { "quorate_sim" } else { "quorate" };
        for (path, text) in sources(&workspace().join(host)) {
            let inner = path.strip_prefix(workspace()).expect("below the workspace");
            let may = OF_THE_SHELL.iter().any(|folder| inner.starts_with(folder));
            match (named(&code(&text), other).is_empty(), may) {
                (true, _) => {}
                (false, true) => there += 1,
                (false, false) => wrong.push(format!("{} names {other}", inner.display())),
            }
        }
    }
    assert!(wrong.is_empty(), "only {OF_THE_SHELL:?} run shells:\n{}", wrong.join("\n"));
    assert!(there > 0, "nothing in {OF_THE_SHELL:?} names the shell");
}

#[test]
fn the_architecture_page_shows_the_layers() {
    let page = std::fs::read_to_string(workspace().join("docs/ARCHITECTURE.md"))
        .expect("docs/ARCHITECTURE.md");
    for (layer, modules) in LAYERS {
        let row = format!("| {layer} | {} |", modules.join(", "));
        assert!(page.contains(&row), "docs/ARCHITECTURE.md lacks the row `{row}`");
    }
}

#[test]
fn every_file_begins_with_its_promise() {
    let mut wrong = Vec::new();
    for folder in ["core", "io", "sim", "fuzz", "tests"] {
        for (path, text) in sources(&workspace().join(folder)) {
            let lines = text.lines().count();
            if !text.starts_with("//!") {
                wrong.push(format!("{}: no module doc", path.display()));
            }
            if lines > 600 {
                wrong.push(format!("{}: {lines} lines hold two nouns", path.display()));
            }
            for mark in ["FIX", "XX", "TO"].iter().zip(["ME", "X", "DO:"]) {
                if text.contains(&format!("{}{}", mark.0, mark.1)) {
                    wrong.push(format!("{}: {}{}", path.display(), mark.0, mark.1));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn core_depends_on_no_runtime() {
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--package", "quorate-core", "--edges", "normal", "--prefix", "none"])
        .args(["--offline", "--locked"])
        .current_dir(workspace())
        .output()
        .expect("cargo runs");
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let tree = String::from_utf8(tree.stdout).expect("crate names are text");
    assert!(tree.contains("foca"), "the tree lists the engines");
    let found = tree.lines().filter_map(|line| line.split_whitespace().next());
    let found: Vec<&str> = found.filter(|name| RUNTIMES.contains(name)).collect();
    // `foca` names the facade crate `rand`, without its system generators. `raft` draws one number from
    // them, which `raft/group.rs` overwrites before it is read.
    let known = ["rand", "getrandom"];
    assert!(found.iter().all(|name| known.contains(name)), "core reaches {found:?}");
}

#[test]
fn no_text_names_a_place_of_one_machine() {
    let listed = Command::new("git").args(["ls-files", "-z"]).current_dir(workspace()).output();
    let listed = String::from_utf8(listed.expect("git runs").stdout).expect("names are text");
    let mut wrong = Vec::new();
    for name in listed.split('\0').filter(|name| !name.is_empty() && !name.ends_with(".lock")) {
        let Ok(text) = std::fs::read_to_string(workspace().join(name)) else { continue };
        for place in ["work", "root", "home"] {
            let needle = format!("/{place}/");
            let named = text
                .match_indices(&needle)
                .any(|(at, _)| at == 0 || !text.as_bytes()[at - 1].is_ascii_alphanumeric());
            if named {
                wrong.push(format!("{name}: {needle}"));
            }
        }
    }
    assert!(wrong.is_empty(), "paths of one machine:\n{}", wrong.join("\n"));
}

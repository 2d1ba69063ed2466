//! Configuration files that nobody would write: every one is read, or refused at a place in it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use quorate::config::{Config, Place, Sources};
use quorate_core::random::Rng;

/// Changes a text in a few places.
fn changed(text: &str, rng: &mut Rng) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for _ in 0..=rng.below(4) {
        let (one, other) = (rng.index(lines.len()), rng.index(lines.len()));
        let words =
            ["[", "]", "=", "\"", "-1", "{}", "1e400", "é", "x.y.z", "99999999999999999999"];
        let word = rng.pick(&words).copied().unwrap_or("=");
        let how = rng.below(5);
        match how {
            0 => lines.swap(one, other),
            1 => {
                let copy = lines.get(other).cloned().unwrap_or_default();
                lines.insert(one, copy);
            }
            _ => {
                if let Some(line) = lines.get_mut(one) {
                    spoil(line, how, word);
                }
            }
        }
    }
    lines.join("\n")
}

fn spoil(line: &mut String, how: u64, word: &str) {
    match how {
        2 => line.push_str(word),
        3 => {
            let middle = line.chars().count() / 2;
            *line = line.chars().take(middle).chain(word.chars()).collect();
        }
        _ => *line = line.replace(['=', '"'], word),
    }
}

fn look(path: &Path, text: &str) {
    std::fs::write(path, text).expect("a temporary file");
    let (environment, flags) = (BTreeMap::new(), Vec::new());
    let sources = Sources { file: Some(path.to_owned()), environment, flags };
    let Err(problems) = Config::load(&sources) else { return };
    assert!(!problems.is_empty(), "it is refused and nobody knows why:\n{text}");
    let lines = text.lines().count();
    for problem in problems {
        assert!(!problem.message.is_empty() && !problem.code.is_empty(), "{problem}\n{text}");
        if let Place::File(_, line, column) = &problem.place {
            let there = (1..=lines + 1).contains(line) && *column >= 1;
            assert!(there, "{problem} is nowhere in\n{text}");
        }
    }
}

#[test]
fn any_configuration_file_is_read_or_refused_at_a_place_in_it() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("documents");
    let path: PathBuf =
        std::env::temp_dir().join(format!("quorate-documents-{}.toml", std::process::id()));
    let mut rng = Rng::from_number(1);
    for name in ["starter.toml", "fleet.toml"] {
        let text = std::fs::read_to_string(folder.join(name)).expect("a document");
        look(&path, &text);
        for _ in 0..2000 {
            look(&path, &changed(&text, &mut rng));
        }
    }
    std::fs::remove_file(&path).expect("its own file");
}

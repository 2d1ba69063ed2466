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
        let word = ["[", "]", "=", "\"", "-1", "{}", "1e400", "é", "x.y.z", "99999999999999999999"];
        let word = rng.pick(&word).copied().unwrap_or("=");
        match rng.below(5) {
            0 => lines.swap(one, other),
            1 => lines.insert(one, lines[other].clone()),
            2 => lines[one].push_str(word),
            3 => {
                let middle = lines[one].chars().count() / 2;
                lines[one] = lines[one].chars().take(middle).chain(word.chars()).collect();
            }
            _ => lines[one] = lines[one].replace(['=', '"'], word),
        }
    }
    lines.join("\n")
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

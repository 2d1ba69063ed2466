//! Credentials on their way in and out at the command line, and what `quorate doctor` says of their files.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use quorate_tests::eventually;
use quorate_tests::node::{Directory, Node, Said, binary};
use serde_json::{Value, json};

/// A command of the node's own user, over its socket: who may see secrets.
fn at_home(node: &Node, words: &[&str]) -> Said {
    let socket = node.data().join("quorate.sock");
    Said::of(Command::new(binary()).args(words).arg("--address").arg(socket))
}

fn write(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().expect("it is in a folder")).expect("its own folder");
    std::fs::write(&path, text).expect("its own folder");
    let mode = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(&path, mode).expect("its own file");
}

fn mode(path: &Path, mode: u32) {
    let mode = std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(path, mode).expect("its own file");
}

/// What became of each, as `id outcome`.
fn outcomes(said: &Said) -> Vec<String> {
    let rows = said.json();
    let text = |row: &Value, name: &str| {
        row.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let rows = rows.as_array().cloned().unwrap_or_default();
    rows.iter().map(|row| format!("{} {}", text(row, "id"), text(row, "outcome"))).collect()
}

#[test]
fn what_another_program_keeps_comes_in_once_and_goes_out_only_when_asked() {
    let place = Directory::new("transfer");
    let folder = place.0.join("auths");
    write(&folder, "codex-1.json", r#"{"type":"codex","access_token":"canary-one"}"#);
    write(&folder, "team/claude-1.json", r#"{"type":"claude","access_token":"canary-two"}"#);
    write(&folder, "torn.json", r#"{"type":"codex","access_token":"canary-three"#);
    write(&folder, "settings.json", r#"{"port":8317,"secret":"canary-four"}"#);
    write(&folder, ".hidden.json", r#"{"type":"codex","access_token":"canary-five"}"#);
    write(&folder, "notes.txt", "canary-six");
    let mut a = Node::new("a", &[], "");
    a.start_ready();
    let from = format!("cliproxy:{}", folder.display());
    let import = ["credential", "import", "--from", &from, "--output", "json"];
    let said = a.run(&import);
    assert_eq!(said.code, Some(0), "{said:?}");
    let skipped = ["settings skipped", "torn skipped"];
    let expected = ["codex-1 written", skipped[0], "team/claude-1 written", skipped[1]];
    assert_eq!(outcomes(&said), expected);
    assert!(!format!("{said:?}").contains("canary"), "{said:?}");
    assert!(said.data.contains("`type`"), "it says what is missing: {said:?}");
    let kept = ["codex-1 kept", skipped[0], "team/claude-1 kept", skipped[1]];
    assert_eq!(outcomes(&a.run(&import)), kept);
    write(&folder, "codex-1.json", r#"{"type":"codex","access_token":"canary-new"}"#);
    let forced = [&import[..], &["--force"]].concat();
    let replaced = ["codex-1 replaced", skipped[0], "team/claude-1 replaced", skipped[1]];
    assert_eq!(outcomes(&a.run(&forced)), replaced);
    let file = a.data().join("auths/codex-1.json");
    let text = std::fs::read_to_string(&file).expect("the node wrote it");
    assert!(text.contains("canary-new"), "{text}");
    for wrong in ["cliproxy:postgres://u:p@h/d", "elsewhere:/x", "cliproxy:/not/there"] {
        let said = a.run(&["credential", "import", "--from", wrong]);
        assert_eq!(said.code, Some(2), "{said:?}");
    }

    let to = place.0.join("out.json");
    let to = to.to_str().expect("text");
    let unasked = at_home(&a, &["credential", "export", "--to", to]);
    assert_eq!(unasked.code, Some(2), "{unasked:?}");
    let denied = a.run(&["credential", "export", "--reveal", "--to", to]);
    assert_ne!(denied.code, Some(0), "the token of tests may not see secrets: {denied:?}");
    assert!(!Path::new(to).exists(), "nothing half of it stays");
    let said = at_home(&a, &["credential", "export", "--reveal", "--to", to]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(!format!("{said:?}").contains("canary"), "{said:?}");
    let written = std::fs::metadata(to).expect("it was written").permissions().mode();
    assert_eq!(written & 0o777, 0o600);
    let text = std::fs::read_to_string(to).expect("it was written");
    let bodies: Value = serde_json::from_str(&text).expect("JSON");
    let expected = json!({
        "codex-1": {"type": "codex", "access_token": "canary-new"},
        "team/claude-1": {"type": "claude", "access_token": "canary-two"},
    });
    assert_eq!(bodies, expected);
    let again = at_home(&a, &["credential", "export", "--reveal", "--to", to]);
    assert_eq!(again.code, Some(2), "what is there is not written over: {again:?}");
}

#[test]
fn the_doctor_names_files_that_others_can_read_that_are_torn_and_that_hold_no_key() {
    let mut a = Node::new("a", &[], "");
    a.start_ready();
    let folder = a.data().join("auths");
    let finds = |word: &str, words: &str| {
        eventually(&format!("the doctor says {words}"), || {
            let said = a.run(&["doctor"]);
            let line = said.data.lines().find(|line| line.contains(" files "));
            let line = line.unwrap_or_default().to_owned();
            if line.starts_with(word) && line.contains(words) { Ok(said) } else { Err(line) }
        })
    };
    finds("✓", "0 credentials");
    write(&folder, "one.json", r#"{"type":"codex","access_token":"canary"}"#);
    finds("✓", "1 credentials");
    write(&folder, "two.json", r#"{"type":"codex","access_token":""}"#);
    finds("!", "two.json holds no key");
    mode(&folder.join("one.json"), 0o644);
    let said = finds("✗", "one.json can be read by others: chmod 600");
    assert_eq!(said.code, Some(1), "{said:?}");
    mode(&folder.join("one.json"), 0o600);
    finds("!", "two.json holds no key");
    write(&folder, "two.json", r#"{"type":"codex","access_token":"can"#);
    let said = finds("✗", "two.json: ");
    assert!(!said.data.contains("canary"), "{said:?}");
    write(&folder, "two.json", r#"{"type":"codex","access_token":"canary"}"#);
    finds("✓", "2 credentials");
}

//! A folder that people and others write into.

use std::os::unix::fs::{PermissionsExt as _, symlink};

use super::*;

fn folder(name: &str) -> (Folder, PathBuf) {
    let path = std::env::temp_dir().join(format!("quorate-folder-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&path); // Of an earlier run.
    let folder = Folder::open(&path.join("auths")).expect("a temporary folder");
    (folder, path)
}

fn key(id: &str) -> Key {
    Key::of_default(id).expect("an id")
}

fn body(token: &str) -> Body {
    let text = format!(r#"{{"type":"codex","access_token":"{token}"}}"#);
    Body::read(text.as_bytes()).expect("a record")
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777
}

fn seen(folder: &Folder, id: &str) -> Seen {
    folder.look(&key(id), drop).seen
}

#[test]
fn what_is_written_is_private_whole_and_found_again() {
    let (folder, path) = folder("written");
    let wrote = folder.write(&key("team/one"), &body("t")).expect("room");
    let file = path.join("auths/team/one.json");
    assert_eq!(
        (mode(&file), mode(&path.join("auths/team")), mode(&path.join("auths"))),
        (0o600, 0o700, 0o700)
    );
    let mut taken = None;
    let look = folder.look(&key("team/one"), |body| taken = Some(body));
    assert!(look.order > wrote.order);
    assert_eq!(look.seen, wrote.seen);
    let taken = taken.expect("a body");
    assert_eq!(taken.secret("access_token").map(|secret| secret.expose(Purpose::Test)), Some("t"));
    let names: Vec<_> = std::fs::read_dir(path.join("auths/team")).expect("it is there").collect();
    assert_eq!(names.len(), 1, "nothing unfinished stays behind");

    // What a crash left behind is in nobody's way, and no record.
    let unfinished = format!("{UNFINISHED}{:016x}", key("team/one").handle().0);
    std::fs::write(path.join("auths/team").join(unfinished), "{").expect("its own folder");
    folder.write(&key("team/one"), &body("u")).expect("room");
    assert_eq!(folder.list().expect("it is there").found.len(), 1);
    folder.remove(&key("team/one")).expect("its own file");
    assert_eq!(seen(&folder, "team/one"), Seen::Absent);
    folder.remove(&key("team/one")).expect("gone already");
    std::fs::remove_dir_all(path).expect("its own folder");
}

#[test]
fn half_a_file_and_whatever_else_is_no_record() {
    let (folder, path) = folder("torn");
    let auths = path.join("auths");
    for (name, content) in [("torn", r#"{"type":"codex","k":"#), ("empty", ""), ("typeless", "{}")]
    {
        std::fs::write(auths.join(format!("{name}.json")), content).expect("its own folder");
        assert!(matches!(seen(&folder, name), Seen::Invalid { .. }), "{name}");
    }
    std::fs::write(auths.join("large.json"), " ".repeat(300_000)).expect("its own folder");
    std::fs::create_dir(auths.join("folder.json")).expect("its own folder");
    let pipe =
        std::ffi::CString::new(auths.join("pipe.json").into_os_string().into_encoded_bytes());
    #[expect(unsafe_code, reason = "the standard library makes no pipes with names")]
    // SAFETY: the path is a text that ends in a zero byte and outlives the call.
    let made = unsafe { libc::mkfifo(pipe.expect("no zero byte").as_ptr(), 0o600) };
    assert_eq!(made, 0);
    for name in ["large", "folder", "pipe"] {
        assert!(matches!(seen(&folder, name), Seen::Invalid { .. }), "{name}");
    }
    std::fs::write(auths.join("note.txt"), "no record").expect("its own folder");
    std::fs::write(auths.join(".hidden.json"), r#"{"type":"x"}"#).expect("its own folder");
    std::fs::write(auths.join("e\u{301}.json"), r#"{"type":"x"}"#).expect("its own folder");
    let listing = folder.list().expect("it is there");
    assert_eq!(listing.misnamed, 1);
    assert!(listing.found.iter().all(|(_, digest)| digest.is_none()), "{listing:?}");
    assert_eq!(listing.found.len(), 5, "torn, empty, typeless, large, pipe");
    std::fs::remove_dir_all(path).expect("its own folder");
}

#[test]
fn of_two_names_that_read_alike_one_is_an_id() {
    let (folder, path) = folder("alike");
    let auths = path.join("auths");
    for (name, token) in [("caf\u{e9}", "composed"), ("cafe\u{301}", "apart")] {
        let text = format!(r#"{{"type":"codex","access_token":"{token}"}}"#);
        std::fs::write(auths.join(format!("{name}.json")), text).expect("its own folder");
    }
    let listing = folder.list().expect("it is there");
    assert_eq!((listing.found.len(), listing.misnamed), (1, 1), "{listing:?}");
    let mut taken = None;
    folder.look(&key("caf\u{e9}"), |body| taken = Some(body));
    let token = taken.as_ref().and_then(|body| body.secret("access_token"));
    assert_eq!(token.map(|token| token.expose(Purpose::Test)), Some("composed"));
    std::fs::remove_dir_all(path).expect("its own folder");
}

#[test]
fn a_file_that_goes_and_comes_again_is_what_it_holds_then() {
    let (folder, path) = folder("again");
    folder.write(&key("a"), &body("t")).expect("room");
    let (first, before) = (seen(&folder, "a"), folder.look(&key("a"), drop).order);
    folder.remove(&key("a")).expect("its own file");
    assert_eq!(seen(&folder, "a"), Seen::Absent);
    folder.write(&key("a"), &body("u")).expect("room");
    let again = folder.look(&key("a"), drop);
    assert!(again.order > before && again.seen != first, "{again:?}");
    folder.write(&key("a"), &body("t")).expect("room");
    assert_eq!(seen(&folder, "a"), first, "an equal body is no other");
    std::fs::remove_dir_all(path).expect("its own folder");
}

#[test]
fn nothing_outside_is_read_written_or_deleted() {
    let (folder, path) = folder("outside");
    let auths = path.join("auths");
    let outside = path.join("outside");
    std::fs::create_dir(&outside).expect("its own folder");
    std::fs::write(outside.join("one.json"), r#"{"type":"codex"}"#).expect("its own folder");
    symlink(outside.join("one.json"), auths.join("link.json")).expect("its own folder");
    symlink(&outside, auths.join("way")).expect("its own folder");
    assert!(matches!(seen(&folder, "link"), Seen::Invalid { .. }));
    assert!(matches!(seen(&folder, "way/one"), Seen::Invalid { .. }));
    assert!(folder.write(&key("way/two"), &body("t")).is_err());
    assert!(folder.write(&key("way/deeper/two"), &body("t")).is_err());
    assert!(folder.remove(&key("way/one")).is_err());
    assert!(outside.join("one.json").exists() && !outside.join("deeper").exists());
    // A link is replaced, and what it led to stays as it was.
    folder.write(&key("link"), &body("t")).expect("room");
    assert!(matches!(seen(&folder, "link"), Seen::Record { .. }));
    assert_eq!(
        std::fs::read_to_string(outside.join("one.json")).expect("there"),
        r#"{"type":"codex"}"#
    );
    // A folder beside it whose name begins alike is another folder.
    let beside = path.join("auths-old");
    std::fs::create_dir(&beside).expect("its own folder");
    std::fs::write(beside.join("one.json"), r#"{"type":"codex"}"#).expect("its own folder");
    symlink(beside.join("one.json"), auths.join("old.json")).expect("its own folder");
    assert!(matches!(seen(&folder, "old"), Seen::Invalid { .. }));
    std::fs::remove_dir_all(path).expect("its own folder");
}

#[test]
fn a_mounted_volume_is_turned_by_one_link() {
    let (folder, path) = folder("mounted");
    let auths = path.join("auths");
    for (version, token) in [("..1", "one"), ("..2", "two")] {
        std::fs::create_dir(auths.join(version)).expect("its own folder");
        let text = format!(r#"{{"type":"codex","access_token":"{token}"}}"#);
        std::fs::write(auths.join(version).join("a.json"), text).expect("its own folder");
    }
    symlink("..1", auths.join("..data")).expect("its own folder");
    symlink("..data/a.json", auths.join("a.json")).expect("its own folder");
    let first = seen(&folder, "a");
    assert!(matches!(first, Seen::Record { .. }));
    symlink("..2", auths.join("..new")).expect("its own folder");
    std::fs::rename(auths.join("..new"), auths.join("..data")).expect("its own folder");
    assert_ne!(seen(&folder, "a"), first);
    assert_eq!(folder.list().expect("it is there").found.len(), 1);
    std::fs::remove_dir_all(path).expect("its own folder");
}

#[test]
fn a_file_that_others_may_read_is_told_and_used() {
    let (folder, path) = folder("exposed");
    let file = path.join("auths/a.json");
    std::fs::write(&file, r#"{"type":"codex"}"#).expect("its own folder");
    for (mode, told) in [(0o644, true), (0o640, true), (0o600, false)] {
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).expect("its own");
        assert!(matches!(seen(&folder, "a"), Seen::Record { exposed, .. } if exposed == told));
    }
    std::fs::remove_dir_all(path).expect("its own folder");
}

#[test]
fn a_folder_that_is_gone_is_no_evidence_of_absence() {
    let (folder, path) = folder("gone");
    folder.write(&key("a"), &body("t")).expect("room");
    std::fs::rename(path.join("auths"), path.join("elsewhere")).expect("its own folder");
    assert!(matches!(seen(&folder, "a"), Seen::Failed { .. }));
    assert!(folder.list().is_err());
    std::fs::rename(path.join("elsewhere"), path.join("auths")).expect("its own folder");
    assert!(matches!(seen(&folder, "a"), Seen::Record { .. }));
    std::fs::remove_dir_all(path).expect("its own folder");
}

#[test]
fn an_id_that_a_folder_cannot_hold_has_no_place() {
    let (folder, path) = folder("places");
    assert_eq!(place(&Key::new("other", "a").expect("an id")), Err(PlaceError::Tenant));
    for id in ["a/b/c/d/e/f", ".hidden", "a/.b", &"x".repeat(251)] {
        assert_eq!(place(&key(id)), Err(PlaceError::Parts), "{id}");
        assert!(folder.write(&key(id), &body("t")).is_err());
        assert_eq!(seen(&folder, id), Seen::Absent);
    }
    folder.write(&key("a/b/c/d/e"), &body("t")).expect("five parts");
    assert_eq!(folder.list().expect("it is there").found.len(), 1);
    std::fs::remove_dir_all(path).expect("its own folder");
}

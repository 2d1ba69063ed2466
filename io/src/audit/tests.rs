//! The log under crashes, touches and full files.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use quorate_core::time::Instant;

use super::*;

/// A directory that goes with its test.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Scratch {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path =
            std::env::temp_dir().join(format!("quorate-audit-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).expect("the temporary directory is writable");
        Scratch(path)
    }

    fn log(&self) -> PathBuf {
        self.0.join("audit")
    }

    fn file(&self, first: u64) -> PathBuf {
        self.log().join(format!("{first}.jsonl"))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn record(verb: &str) -> Record {
    Record { actor: "ci".into(), verb: verb.into(), outcome: "ok".into(), ..Record::default() }
}

fn open(scratch: &Scratch) -> Audit {
    Audit::open(&scratch.0, |_| {}).expect("the log opens")
}

async fn append(audit: &Audit, verbs: &[&str]) {
    for verb in verbs {
        audit.append(record(verb)).await.expect("the line is written");
    }
}

#[tokio::test]
async fn lines_chain_over_restarts_and_verify() {
    let scratch = Scratch::new();
    append(&open(&scratch), &["a", "b"]).await;
    let audit = open(&scratch);
    append(&audit, &["c"]).await;
    let verified = verify(&scratch.log()).expect("nothing is broken");
    assert_eq!((verified.lines, verified.head.sequence), (3, 3));
    assert_eq!(*audit.head(), verified.head);
    let lines = read_after(&scratch.log(), 1, 10).expect("the log reads");
    assert_eq!(lines.len(), 2);
    let line: serde_json::Value = serde_json::from_str(&lines[0]).expect("a line is JSON");
    assert_eq!((&line["sequence"], &line["verb"]), (&2.into(), &"b".into()));
}

#[tokio::test]
async fn a_line_that_a_crash_tore_off_is_cut_and_the_chain_goes_on() {
    for torn in ["{\"sequence\":3,\"at\":\"", "garbage\n", "\0\0\0\0\n\0\0", "{}\n{}\n"] {
        let scratch = Scratch::new();
        append(&open(&scratch), &["a", "b"]).await;
        let mut bytes = std::fs::read(scratch.file(1)).expect("the file reads");
        bytes.extend_from_slice(torn.as_bytes());
        std::fs::write(scratch.file(1), bytes).expect("the file is writable");
        assert!(verify(&scratch.log()).is_err(), "the tear must show before the restart");
        append(&open(&scratch), &["c"]).await;
        assert_eq!(verify(&scratch.log()).expect("whole again").lines, 3);
    }
}

#[tokio::test]
async fn every_cut_of_the_last_line_is_recovered() {
    let scratch = Scratch::new();
    append(&open(&scratch), &["a", "b"]).await;
    let whole = std::fs::read(scratch.file(1)).expect("the file reads");
    let first = whole.iter().position(|byte| *byte == b'\n').expect("a line ends") + 1;
    for length in first..whole.len() {
        std::fs::write(scratch.file(1), &whole[..length]).expect("the file is writable");
        let audit = open(&scratch);
        assert_eq!(audit.head().sequence, 1, "cut at {length}");
    }
}

#[tokio::test]
async fn a_changed_removed_or_swapped_line_is_named() {
    let scratch = Scratch::new();
    append(&open(&scratch), &["a", "b", "c", "d"]).await;
    let text = std::fs::read_to_string(scratch.file(1)).expect("the file reads");
    let lines: Vec<&str> = text.lines().collect();
    let broken = |lines: &[&str]| {
        std::fs::write(scratch.file(1), lines.join("\n") + "\n").expect("the file is writable");
        verify(&scratch.log()).expect_err("it was touched").line
    };
    let changed = lines[1].replace("\"actor\":\"ci\"", "\"actor\":\"me\"");
    assert_eq!(broken(&[lines[0], &changed, lines[2], lines[3]]), 2);
    assert_eq!(broken(&[lines[0], lines[2], lines[3]]), 2);
    assert_eq!(broken(&[lines[0], lines[2], lines[1], lines[3]]), 2);
    assert_eq!(broken(&[lines[1], lines[2]]), 1);
    // A cut tail verifies: that is why the head is told to others.
    std::fs::write(scratch.file(1), format!("{}\n", lines[0])).expect("the file is writable");
    assert_eq!(verify(&scratch.log()).expect("a whole chain").head.sequence, 1);
}

#[tokio::test]
async fn a_full_file_is_followed_by_the_next_and_a_missing_one_is_named() {
    let scratch = Scratch::new();
    let mut chain = chain::Chain::open_with(&scratch.log(), 1000).expect("the log opens");
    for number in 0..9 {
        let record = record(&format!("verb.{number}"));
        chain.append(std::iter::once(&record)).expect("it is written");
    }
    let verified = verify(&scratch.log()).expect("nothing is broken");
    assert_eq!(verified.lines, 9);
    let mut names: Vec<_> = std::fs::read_dir(scratch.log()).expect("listed").flatten().collect();
    names.sort_by_key(std::fs::DirEntry::file_name);
    assert!(names.len() > 2, "several files were begun");
    for name in &names {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = name.metadata().expect("metadata").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    assert_eq!(read_after(&scratch.log(), 4, 3).expect("the log reads").len(), 3);
    std::fs::remove_file(names[1].path()).expect("removed");
    let broken = verify(&scratch.log()).expect_err("a file is missing");
    assert!(broken.what.contains("missing"), "{broken}");
}

#[tokio::test]
async fn a_log_that_cannot_be_written_refuses_and_recovers() {
    let scratch = Scratch::new();
    let mut chain = chain::Chain::open(&scratch.log()).expect("the log opens");
    chain.append(std::iter::once(&record("a"))).expect("it is written");
    std::fs::rename(scratch.log(), scratch.0.join("gone")).expect("renamed");
    // The open file still takes lines; a fresh chain finds no directory to begin a file in.
    let mut lost = chain::Chain::open_with(&scratch.0.join("lost"), 1).expect("opens");
    std::fs::remove_dir(scratch.0.join("lost")).expect("removed");
    let refused = lost.append(std::iter::once(&record("b")));
    assert!(matches!(refused, Err(AuditError::Unwritable { .. })), "{refused:?}");
    assert_eq!(lost.head().sequence, 0, "A-3: nothing of the group stands");
    std::fs::create_dir(scratch.0.join("lost")).expect("made");
    lost.append(std::iter::once(&record("c"))).expect("it is written again");
    assert_eq!(verify(&scratch.0.join("lost")).expect("whole").lines, 1);
}

#[tokio::test]
async fn what_happens_all_day_is_one_line_a_minute_with_a_count() {
    let scratch = Scratch::new();
    let counted = std::sync::Arc::new(Mutex::new(0));
    let hears = counted.clone();
    let audit = Audit::open(&scratch.0, move |told| {
        *hears.lock().expect("free") += told.expect("the log is written");
    })
    .expect("the log opens");
    let what = Counted { actor: "ci", verb: "worker.pick", outcome: "ok" };
    for _ in 0..500 {
        audit.count(what, Instant::ZERO, || record("worker.pick"));
    }
    audit.settle(Instant::from_millis(59_999), false).await.expect("settled");
    assert_eq!(audit.head().sequence, 0, "the minute is not over");
    audit.settle(Instant::from_millis(60_000), false).await.expect("settled");
    let lines = read_after(audit.directory(), 0, 10).expect("the log reads");
    assert_eq!(lines.len(), 1);
    assert!(lines[0].contains("\"count\":500"), "{}", lines[0]);
    assert_eq!(*counted.lock().expect("free"), 1);
    audit.count(what, Instant::from_millis(60_001), || record("worker.pick"));
    audit.settle(Instant::from_millis(60_002), true).await.expect("settled");
    assert_eq!(audit.head().sequence, 2, "the end writes what is left");
}

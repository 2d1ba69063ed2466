//! Records on a real disk.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use quorate_core::ids::{ClusterId, Incarnation, NodeId, Replica};
use quorate_core::node::Settings;
use quorate_core::node::flight::{MAGIC, next_block};
use quorate_core::node::settings::Profile;

use super::*;

fn head() -> Head {
    let node: NodeId = "n1".parse().unwrap();
    let address = "127.0.0.1:1".parse().unwrap();
    Head {
        build: "test".to_owned(),
        incarnation: Incarnation(3),
        seed: [1; 32],
        now: Instant::ZERO,
        settings: Settings::new(node, ClusterId("c".into()), address, Profile::Local),
    }
}

/// What wants a trace; nothing does.
fn nothing() -> Receiver<Ear> {
    mpsc::channel().1
}

fn record(name: &str, bytes_max: u64, turns: u64) -> (PathBuf, Arc<Endings>) {
    let name = format!("quorate-record-{name}-{}", std::process::id());
    let directory = std::env::temp_dir().join(name);
    let settings = RecordSettings { directory: directory.clone(), bytes_max };
    let endings = Arc::new(Endings::default());
    let image = Image::new();
    let started = Recorder::start(&settings, head(), &image, endings.clone(), nothing());
    let mut recorder = started.unwrap();
    for turn in 0..turns {
        recorder.note(&Input::Wake);
        recorder.turned(Instant::from_millis(turn), &[]);
    }
    recorder.close();
    (directory, endings)
}

fn ended(endings: &Endings) -> Vec<&'static str> {
    let mut found = Vec::new();
    endings.counts(&mut |count| {
        if let (Labels::One(_, reason), 1) = (count.labels, count.value) {
            found.push(reason);
        }
    });
    found
}

fn blocks(directory: &Path) -> Vec<Block> {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut blocks = Vec::new();
    for file in files {
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let bytes = std::fs::read(file).unwrap();
        let mut rest = bytes.strip_prefix(&MAGIC).unwrap();
        while let Some(block) = next_block(&mut rest) {
            blocks.push(block.unwrap());
        }
        assert!(rest.is_empty());
    }
    std::fs::remove_dir_all(directory).unwrap();
    blocks
}

#[test]
fn a_record_begins_with_what_the_node_is_made_of_and_ends_with_its_reason() {
    let (directory, endings) = record("whole", 1 << 20, 3);
    let blocks = blocks(&directory);
    assert_eq!(blocks.first(), Some(&Block::Head(Box::new(head()))));
    let turns = blocks.iter().filter(|block| matches!(block, Block::Turn(_))).count();
    assert_eq!((turns, blocks.len()), (3, 5));
    assert_eq!(blocks.last(), Some(&Block::End("stopped".to_owned())));
    assert_eq!(ended(&endings), ["stopped"]);
}

#[test]
fn a_record_that_is_full_ends_without_a_hole() {
    let (directory, endings) = record("full", 16_384, 2000);
    let size: u64 = std::fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .sum();
    assert!(size <= 16_384, "{size}");
    let blocks = blocks(&directory);
    assert_eq!(blocks.last(), Some(&Block::End("bytes".to_owned())));
    let mut next = 0;
    for block in &blocks {
        if let Block::Turn(turn) = block {
            assert_eq!(turn.now, Instant::from_millis(next), "no turn is missing");
            next += 1;
        }
    }
    assert!(next > 0 && next < 2000, "{next}");
    assert_eq!(ended(&endings), ["bytes"]);
}

#[test]
fn a_folder_that_cannot_be_made_is_told_and_nothing_begins() {
    let settings = RecordSettings { directory: "/proc/nothing/here".into(), bytes_max: 1 << 20 };
    let endings = Arc::new(Endings::default());
    let started = Recorder::start(&settings, head(), &Image::new(), endings.clone(), nothing());
    assert!(started.is_err());
    let directory =
        std::env::temp_dir().join(format!("quorate-record-none-{}", std::process::id()));
    let settings = RecordSettings { directory: directory.clone(), bytes_max: 100 };
    let started = Recorder::start(&settings, head(), &Image::new(), endings, nothing());
    assert!(started.is_err(), "a head takes more than a hundred bytes");
    std::fs::remove_dir_all(directory).unwrap();
}

/// Turns of two inputs of a loop that is traced from its fifth on, until it ends or as long as it lasts.
fn traced(name: &str, bytes_max: u64, lasts: Duration, turns: u64) -> (PathBuf, Arc<Endings>) {
    let name = format!("quorate-trace-{name}-{}", std::process::id());
    let directory = std::env::temp_dir().join(name);
    let build = "test".to_owned();
    let settings = TraceSettings { directory: directory.clone(), bytes_max, build };
    let endings = Arc::new(Endings::default());
    let (tracer, wanted) = Tracer::new(endings.clone());
    let mut recorder = Recorder::off(wanted);
    let local = Replica { node: "n1".parse().unwrap(), incarnation: Incarnation(3) };
    let published = crate::shell::tests::published(local, Instant::ZERO);
    for turn in 0..turns {
        recorder.note(&Input::Wake);
        // In the middle of a turn: it begins with the next.
        if turn == 3 {
            tracer.begin(&settings, &published, lasts).unwrap();
            assert_eq!(tracer.begin(&settings, &published, lasts), Err(TraceError::Busy));
        }
        recorder.note(&Input::Start);
        recorder.turned(Instant::from_millis(turn), &[]);
    }
    // What is to last long ends with the node; what is full or over has ended by itself.
    while lasts < Duration::from_secs(1) && tracer.is_busy() {
        std::thread::yield_now();
    }
    recorder.close();
    (directory, endings)
}

fn lines(directory: &Path) -> Vec<serde_json::Value> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let files: Vec<PathBuf> = entries.collect();
    assert_eq!(files.len(), 1);
    assert_eq!(files[0].metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let text = std::fs::read_to_string(&files[0]).unwrap();
    std::fs::remove_dir_all(directory).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_trace_begins_between_two_turns_and_has_every_one_from_there_on() {
    let (directory, endings) = traced("middle", 1 << 20, Duration::from_secs(600), 8);
    let lines = lines(&directory);
    assert_eq!((&lines[0]["trace"], &lines[0]["kind"]), (&1.into(), &"node".into()));
    assert_eq!((&lines[0]["node"], &lines[0]["build"]), (&"n1".into(), &"test".into()));
    let times: Vec<u64> = lines.iter().filter_map(|line| line["t_us"].as_u64()).collect();
    assert_eq!(times, [4000, 5000, 6000, 7000]);
    assert_eq!(lines[1]["input"], serde_json::json!(["Wake", "Start"]));
    assert_eq!(lines.last().unwrap()["end"], "stopped");
    assert_eq!(ended(&endings), ["stopped"]);
}

#[test]
fn a_trace_ends_when_its_time_is_over_and_when_it_is_full() {
    let (directory, endings) = traced("time", 1 << 20, Duration::from_millis(1), 8);
    assert_eq!(lines(&directory).last().unwrap()["end"], "time");
    assert_eq!(ended(&endings), ["time"]);
    let (directory, endings) = traced("full", 700, Duration::from_secs(600), 100);
    let lines = lines(&directory);
    assert!(lines.len() > 2 && lines.len() < 20, "{}", lines.len());
    assert_eq!(lines.last().unwrap()["end"], "bytes");
    assert_eq!(ended(&endings), ["bytes"]);
}

//! Records on a real disk.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use quorate_core::ids::{ClusterId, Incarnation, NodeId};
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

fn record(name: &str, bytes_max: u64, turns: u64) -> (PathBuf, Arc<Endings>) {
    let name = format!("quorate-record-{name}-{}", std::process::id());
    let directory = std::env::temp_dir().join(name);
    let settings = RecordSettings { directory: directory.clone(), bytes_max };
    let endings = Arc::new(Endings::default());
    let image = Image::new();
    let mut recorder = Recorder::start(&settings, head(), &image, endings.clone()).unwrap();
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
    assert!(Recorder::start(&settings, head(), &Image::new(), endings.clone()).is_err());
    let directory =
        std::env::temp_dir().join(format!("quorate-record-none-{}", std::process::id()));
    let settings = RecordSettings { directory: directory.clone(), bytes_max: 100 };
    let started = Recorder::start(&settings, head(), &Image::new(), endings);
    assert!(started.is_err(), "a head takes more than a hundred bytes");
    std::fs::remove_dir_all(directory).unwrap();
}

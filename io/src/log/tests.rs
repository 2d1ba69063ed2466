//! Lines as they are written.

use std::sync::{Arc, Mutex};

use super::*;

#[derive(Clone, Default)]
struct Paper(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn written(format: Format, filter: &str, act: impl FnOnce(&Log)) -> (Log, Vec<String>) {
    let paper = Paper::default();
    let (log, subscriber) =
        Log::new("n1", filter, format, Box::new(paper.clone())).expect("a filter");
    tracing::subscriber::with_default(subscriber, || act(&log));
    let text = String::from_utf8(paper.0.lock().unwrap().clone()).unwrap();
    (log, text.lines().map(str::to_owned).collect())
}

#[test]
fn a_line_for_machines_is_one_object() {
    let (_, lines) = written(Format::Json, "info", |_| {
        tracing::warn!(target: "quorate::x", peer = "n2", count = 3, message = "lost", node_id = "liar");
    });
    let line: serde_json::Value = serde_json::from_str(&lines[0]).expect("an object");
    for (name, value) in [
        ("level", "warn".into()),
        ("target", "quorate::x".into()),
        ("message", "lost".into()),
        ("node_id", "n1".into()),
        ("peer", "n2".into()),
        ("count", serde_json::Value::from(3)),
    ] {
        assert_eq!(line[name], value, "{name}");
    }
    assert_eq!(line["ts"].as_str().unwrap().len(), "2026-01-01T00:00:00.000Z".len());
}

#[test]
fn nobody_outside_can_write_a_line_of_their_own() {
    for format in [Format::Text, Format::Json] {
        let evil = "x\n2026-01-01T00:00:00.000Z ERROR you are fired\u{1b}[31m";
        let (_, lines) = written(format, "info", |_| {
            tracing::info!(peer = evil, "{evil}");
        });
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(!lines[0].contains('\u{1b}'), "{lines:?}");
    }
}

#[test]
fn a_flood_from_one_place_is_a_handful_of_lines_and_is_counted() {
    let (log, lines) = written(Format::Text, "info", |_| {
        for number in 0..10_000 {
            tracing::info!(number, "again");
        }
    });
    assert_eq!(lines.len(), 5);
    let mut counted = Vec::new();
    log.counts(&mut |count| counted.push((count.name, count.labels, count.value)));
    assert!(counted.contains(&("log_lines_total", Labels::One("level", "info"), 5)));
    assert!(counted.contains(&("log_lines_total", Labels::One("level", "error"), 0)));
    assert!(counted.contains(&("log_suppressed_total", Labels::None, 9995)));
}

#[test]
fn a_filter_can_be_changed_and_a_wrong_one_changes_nothing() {
    let (_, lines) = written(Format::Text, "warn", |log| {
        tracing::info!("hidden");
        assert!(log.set_filter("a=b=c").is_err());
        log.set_filter("info").expect("a filter");
        tracing::info!("shown");
    });
    assert_eq!(lines.len(), 1);
    assert!(lines[0].ends_with("INFO shown"), "{lines:?}");
}

#[test]
fn peers_that_break_rules_all_day_are_one_line_a_minute() {
    use quorate_core::node::Announcement;
    use quorate_core::time::Instant;
    let (_, lines) = written(Format::Text, "info", |_| {
        let mut told = announced::Told::default();
        for event in 0..100_000_u64 {
            let at = Instant::from_millis(event); // 1000 a second, for 100 s.
            let what = "a claim whose id is not of its author".to_owned();
            let announcement = Announcement::Misbehaved { peer: None, what };
            told.tell(&crate::handle::Heard { at, announcement });
        }
    });
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[1].ends_with("unsaid=59999"), "{lines:?}");
}

#[test]
fn a_seed_that_is_away_is_told_three_times_and_then_once_a_minute() {
    use quorate_core::node::Announcement;
    use quorate_core::time::Instant;
    let (_, lines) = written(Format::Text, "info", |_| {
        let mut told = announced::Told::default();
        for failures in 1..=20_u32 {
            let at = Instant::from_millis(u64::from(failures) * 8000); // 160 s.
            let announcement = Announcement::JoinFailed { seed: "seed:7420".to_owned(), failures };
            told.tell(&crate::handle::Heard { at, announcement });
        }
    });
    assert_eq!(lines.len(), 5, "{lines:?}");
}

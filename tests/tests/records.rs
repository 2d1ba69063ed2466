//! Real processes recorded and replayed: the same node, given the same inputs, says the same, bit for bit.

use std::path::{Path, PathBuf};
use std::process::Command;

use quorate_tests::backend::Backend;
use quorate_tests::eventually;
use quorate_tests::node::{Directory, Node, Said, binary, simulator};
use serde_json::json;

/// A process that records into `directory`.
fn start_recorded(node: &mut Node, directory: &Path, extra: &[&str]) {
    let directory = directory.to_str().expect("a path of text");
    node.start_with(Command::new(binary()), &[&["--record", directory], extra].concat());
}

fn replay(path: &Path) -> Said {
    Said::of(Command::new(simulator()).arg("replay").arg(path))
}

#[test]
fn what_real_processes_did_replays_to_the_bit_through_a_kill_a_restart_and_a_goodbye() {
    let records = [Directory::new("records-a"), Directory::new("records-b")];
    let mut a = Node::new("a", &[], "");
    let mut b = Node::new("b", &[a.peers], "");
    start_recorded(&mut a, &records[0].0, &[]);
    start_recorded(&mut b, &records[1].0, &[]);
    for node in [&a, &b] {
        node.sees_members(&["a alive", "b alive"]);
    }
    let backend = Backend::start();
    let spec = json!({"url": backend.url(), "models": [{"id": "m"}], "labels": {"tier": "gold"},
        "health": {"interval_ms": 1000, "timeout_ms": 500, "rise": 1, "fall": 2}});
    let answer = b.ask("POST", "/v1/workers", Some(&spec)).expect("b answers");
    assert_eq!(answer.status, 201, "{}", answer.body);
    a.sees_workers(&[format!("{} ready", backend.url())]);

    // Killed in mid-air, and back: a second record in the same folder.
    b.kill();
    a.sees_members(&["a alive", "b failed"]);
    start_recorded(&mut b, &records[1].0, &[]);
    for node in [&a, &b] {
        node.sees_members(&["a alive", "b alive"]);
    }
    b.signal("TERM");
    assert!(b.ended().success(), "{}", b.log());
    a.signal("TERM");
    assert!(a.ended().success(), "{}", a.log());

    for (records, lives) in records.iter().zip([1, 2]) {
        let said = replay(&records.0);
        assert_eq!(said.code, Some(0), "{said:?}");
        let lines: Vec<&str> = said.data.lines().collect();
        assert_eq!(lines.len(), lives + 1, "{said:?}");
        assert_eq!(lines.last(), Some(&"identical"));
        assert!(lines[lives - 1].ends_with("turns, stopped"), "{said:?}");
        if lives == 2 {
            assert!(lines[0].ends_with("turns, killed"), "{said:?}");
        }
    }
}

#[test]
fn a_record_that_is_not_what_happened_is_told_and_a_strange_one_is_refused() {
    let records = Directory::new("records-c");
    let mut node = Node::new("c", &[], "");
    start_recorded(&mut node, &records.0, &["--set", "trace.record_bytes_max=30000"]);
    node.comes_up();
    let spec = json!({"url": "http://127.0.0.1:9", "models": [{"id": "m"}]});
    eventually("the record is full", || {
        node.ask("POST", "/v1/workers", Some(&spec))?;
        match node.metric("quorate_trace_ended_total{reason=\"bytes\"}")? {
            1 => Ok(()),
            count => Err(format!("{count}")),
        }
    });
    // It ended, and the node goes on.
    node.sees_members(&["c alive"]);
    node.kill();
    let said = replay(&records.0);
    assert_eq!((said.code, said.data.lines().last()), (Some(0), Some("identical")), "{said:?}");
    assert!(said.data.contains("turns, bytes"), "{said:?}");

    let entries = std::fs::read_dir(&records.0).expect("a folder of records");
    let file = entries.map(|entry| entry.expect("an entry").path()).next().expect("one record");
    let good = std::fs::read(&file).expect("a record");
    let mut changed = good.clone();
    changed[100] ^= 1;
    std::fs::write(&file, changed).expect("it is ours");
    let said = replay(&records.0);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.words.contains("a block fails its check"), "{said:?}");
    std::fs::write(&file, good.strip_prefix(b"quorate\n").expect("the magic")).expect("it is ours");
    assert_eq!(replay(&file).code, Some(2));
}

#[test]
fn a_node_is_traced_from_the_middle_to_be_looked_at_and_that_is_not_replayed() {
    let mut a = Node::new("a", &[], "");
    let mut b = Node::new("b", &[a.peers], "");
    a.start_ready();
    b.start_ready();
    a.sees_members(&["a alive", "b alive"]);
    let begun = a.run(&["trace", "record", "--seconds", "5", "--output", "json"]);
    assert_eq!(begun.code, Some(0), "{begun:?}");
    assert_eq!(begun.json()["seconds"], 5);
    let file = PathBuf::from(begun.json()["path"].as_str().expect("a path"));
    assert!(file.starts_with(a.data().join("trace")), "{file:?}");
    let spec = json!({"url": "http://127.0.0.1:9", "models": [{"id": "m"}]});
    assert_eq!(a.ask("POST", "/v1/workers", Some(&spec)).expect("a answers").status, 201);
    let again = a.run(&["trace", "record"]);
    assert_eq!(again.code, Some(4), "one at a time: {again:?}");
    assert_eq!(a.run(&["trace", "record", "--seconds", "601"]).code, Some(2));
    eventually("the trace is over", || {
        match a.metric("quorate_trace_ended_total{reason=\"time\"}")? {
            1 => Ok(()),
            count => Err(format!("{count}")),
        }
    });
    a.sees_members(&["a alive", "b alive"]);
    assert!(a.run(&["audit", "tail"]).data.contains("node.trace"));

    let shown = Said::of(Command::new(simulator()).arg("view").arg(&file));
    assert_eq!(shown.code, Some(0), "{shown:?}");
    assert!(shown.data.contains("What a heard and said"), "{shown:?}");
    assert!(shown.data.contains("is asked to register http://127.0.0.1:9"), "{shown:?}");
    assert!(shown.data.contains("from b: "), "{shown:?}");
    let page = a.data().join("trace.html");
    let written =
        Said::of(Command::new(simulator()).arg("view").arg(&file).arg("--html").arg(&page));
    assert_eq!(written.code, Some(0), "{written:?}");
    let page = std::fs::read_to_string(page).expect("a page");
    assert!(page.contains("<title>What a heard and said") && page.len() <= 5 << 20);
    let refused = replay(&file);
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(refused.words.contains("no beginning"), "{refused:?}");
}

//! What signals do to a real process, and what its supervisor hears.

use std::os::unix::net::UnixDatagram;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;
use std::time::Duration;

use quorate_tests::eventually;
use quorate_tests::node::{Directory, Node, binary};

/// A node that takes its time to stop.
fn slow_to_stop() -> Node {
    let mut a = Node::new("a", &[], "");
    let mut command = Command::new(binary());
    command.env("QUORATE__SHUTDOWN__DELAY_MS", "30000");
    a.start_by(command);
    a.comes_up();
    a
}

#[test]
fn a_second_signal_ends_the_process_at_once() {
    for (signal, code) in [("TERM", 143), ("INT", 130)] {
        let mut a = slow_to_stop();
        a.signal(signal);
        eventually("readiness is off", || {
            let ready = a.ask("GET", "/readyz", None)?;
            if ready.status == 503 { Ok(()) } else { Err(ready.body) }
        });
        a.signal(signal);
        let status = a.ended();
        assert_eq!((status.code(), status.signal()), (Some(code), None), "{}", a.log());
    }
}

#[test]
fn a_first_signal_is_an_orderly_end() {
    for signal in ["TERM", "INT"] {
        let mut a = Node::new("a", &[], "");
        a.start_ready();
        a.signal(signal);
        assert_eq!(a.ended().code(), Some(0), "{}", a.log());
    }
}

#[test]
fn a_dump_is_written_without_a_secret_and_the_node_lives_on() {
    let mut a = Node::new("a", &[], "");
    a.start_ready();
    a.signal("USR1");
    let dump = eventually("a dump is there", || {
        let folder = std::fs::read_dir(a.data().join("dump")).map_err(|error| error.to_string())?;
        let path = folder.flatten().next().ok_or("the folder is empty")?.path();
        let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
        serde_json::from_str::<serde_json::Value>(&text).map_err(|error| error.to_string())
    });
    assert_eq!(dump["node_id"], "a");
    assert!(!dump.to_string().contains(quorate_tests::node::TOKEN));
    a.sees_members(&["a alive"]);
}

#[test]
fn a_supervisor_hears_that_the_node_is_ready_lives_and_stops() {
    let directory = Directory::new("notify");
    let path = directory.0.join("socket");
    let supervisor = UnixDatagram::bind(&path).expect("a path of its own");
    supervisor.set_read_timeout(Some(Duration::from_millis(50))).expect("a socket option");
    let mut a = Node::new("a", &[], "");
    let mut command = Command::new(binary());
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "30000000");
    a.start_by(command);
    let hears = |expected: &str| {
        eventually(expected, || {
            let mut word = [0; 64];
            let count = supervisor.recv(&mut word).map_err(|error| error.to_string())?;
            let word = String::from_utf8_lossy(word.get(..count).unwrap_or_default()).into_owned();
            if word == expected { Ok(()) } else { Err(word) }
        });
    };
    hears("READY=1");
    hears("WATCHDOG=1");
    hears("WATCHDOG=1");
    a.signal("TERM");
    hears("STOPPING=1");
    assert!(a.ended().success(), "{}", a.log());
}

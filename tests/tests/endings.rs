//! Processes that must end say why, and take nothing with them.

use std::process::Command;

use quorate_tests::backend::Backend;
use quorate_tests::eventually;
use quorate_tests::node::{Node, binary};
use serde_json::json;

#[test]
fn of_two_processes_with_one_id_one_ends_and_says_why() {
    let mut b = Node::new("b", &[], "");
    let mut first = Node::new("a", &[b.peers], "");
    b.start_ready();
    first.start_ready();
    let mut second = Node::new("a", &[b.peers], "");
    second.start();
    let ended = eventually("one of the two ends", || {
        for node in [&mut second, &mut first] {
            if let Some(status) = node.try_ended() {
                return Ok((status, node.log()));
            }
        }
        Err(format!("{}\n{}", first.log(), second.log()))
    });
    assert_eq!(ended.0.code(), Some(4), "{}", ended.1);
    assert!(ended.1.contains("in use by another process"), "{}", ended.1);
    eventually("the other one stays a member", || {
        let members = b.members()?;
        if members == ["a alive", "b alive"] { Ok(()) } else { Err(format!("{members:?}")) }
    });
}

/// Bytes of a file that the shell's `ulimit -f` allows.
fn limited(kibibytes: u64) -> Command {
    let mut command = Command::new("bash");
    let script = format!("trap '' XFSZ; ulimit -f {kibibytes}; exec \"$0\" \"$@\"");
    command.args(["-c", &script]).arg(binary());
    command
}

#[test]
fn a_store_that_fails_ends_its_process_by_name_and_loses_nothing_that_was_answered() {
    let mut b = Node::new("b", &[], "");
    let mut a = Node::new("a", &[b.peers], "");
    b.start_ready();
    a.start_ready();
    let size = std::fs::metadata(a.data().join("store/node.redb")).expect("a store").len();
    a.kill();
    a.start_by(limited(size / 1024));
    a.comes_up();
    let mut answered = Vec::new();
    for number in 0..1000 {
        let labels: serde_json::Map<String, serde_json::Value> =
            (0..25).map(|label| (format!("l{label}"), json!("x".repeat(250)))).collect();
        let url = format!("http://127.0.0.1:{}", 20_000 + number);
        let body = json!({"url": url, "labels": labels, "health": {"interval_ms": 300_000}});
        match a.ask("POST", "/v1/workers", Some(&body)) {
            Ok(answer) if answer.status == 201 => answered.push(url),
            _ => break,
        }
    }
    let status = a.ended();
    assert_eq!(status.code(), Some(1), "{}", a.log());
    assert!(a.log().contains("the store failed"), "{}", a.log());
    assert!(!answered.is_empty(), "nothing was stored at all");
    assert!(b.try_ended().is_none(), "the other node lives on");
    a.start_ready();
    eventually("everything that was answered is there", || {
        let workers = a.workers()?;
        let lost = answered
            .iter()
            .find(|url| !workers.iter().any(|worker| worker.starts_with(&format!("{url} "))));
        match lost {
            None => Ok(()),
            Some(lost) => {
                Err(format!("{lost} of {} is not among {}", answered.len(), workers.len()))
            }
        }
    });
    b.sees_members(&["a alive", "b alive"]);
}

#[test]
fn every_change_is_in_the_audit_log_and_the_chain_holds_after_a_kill() {
    let mut a = Node::new("a", &[], "");
    a.start_ready();
    let backend = Backend::start();
    let made =
        a.ask("POST", "/v1/workers", Some(&json!({"url": backend.url()}))).expect("a answers");
    let path = format!("/v1/workers/{}", made.json()["id"].as_str().expect("an id"));
    for verb in ["drain", "undrain", "probe"] {
        let answer = a.ask("POST", &format!("{path}/{verb}"), None).expect("a answers");
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    let removed = a.ask("DELETE", &format!("{path}?now=true"), None).expect("a answers");
    assert_eq!(removed.status, 202, "{}", removed.body);
    for verb in ["drain", "undrain", "reload"] {
        let answer = a.ask("POST", &format!("/v0/operations/{verb}"), None).expect("a answers");
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    a.kill();
    let folder = a.data().join("audit").display().to_string();
    let verified = a.run(&["audit", "verify", &folder]);
    assert_eq!(verified.code, Some(0), "{verified:?}");
    a.start_ready();
    let lines = a.run(&["audit", "tail", "--output", "json"]).json();
    let lines = lines["items"].as_array().cloned().unwrap_or_default();
    let verbs: Vec<&str> = lines.iter().filter_map(|line| line["verb"].as_str()).collect();
    for verb in [
        "worker.add",
        "worker.drain",
        "worker.undrain",
        "worker.probe",
        "worker.remove",
        "node.drain",
        "node.undrain",
        "node.reload",
    ] {
        assert!(verbs.contains(&verb), "{verb} is not among {verbs:?}");
    }
    assert_eq!(verbs.iter().filter(|verb| **verb == "process.start").count(), 2, "{verbs:?}");
    assert!(lines.iter().all(|line| line["outcome"] == "ok"));
}

#[test]
fn a_workers_key_is_sent_by_probes_after_a_restart_and_shown_nowhere() {
    const KEY: &str = "sk-canary-0123456789";
    let mut a = Node::new("a", &[], "");
    a.start_ready();
    let backend = Backend::start();
    backend.demand(Some(KEY));
    let body = json!({
        "url": backend.url(), "api_key": KEY,
        "health": {"interval_ms": 1000, "timeout_ms": 500, "rise": 1, "fall": 2}
    });
    let made = a.ask("POST", "/v1/workers", Some(&body)).expect("a answers");
    assert_eq!(made.status, 201, "{}", made.body);
    let ready = [format!("{} ready", backend.url())];
    a.sees_workers(&ready);
    a.signal("HUP");
    a.kill();
    a.start_ready();
    a.sees_workers(&ready);
    let id = made.json()["id"].as_str().expect("an id").to_owned();
    for path in ["/v1/workers", "/v0/operations/dump", "/v0/operations/audit", "/metrics"] {
        let shown = a.ask("GET", path, None).expect("a answers");
        assert!(!shown.body.contains(KEY), "{path} shows the key");
    }
    assert!(!a.log().contains(KEY) && !made.body.contains(KEY));
    let kept = || std::fs::read_dir(a.data().join("keys")).expect("a folder").count();
    assert_eq!(kept(), 1);
    let removed = a.ask("DELETE", &format!("/v1/workers/{id}?now=true"), None).expect("a answers");
    assert_eq!((removed.status, kept()), (202, 0), "{}", removed.body);
}

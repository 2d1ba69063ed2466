//! Every noun of the command line against a real node: what it prints, and how it exits.

use std::process::Command;

use quorate_tests::backend::Backend;
use quorate_tests::eventually;
use quorate_tests::node::{Directory, Node, Said, binary, free_address};

fn alone() -> Node {
    let mut a = Node::new("a", &[], "");
    a.start_ready();
    a
}

fn local(directory: &Directory, words: &[&str]) -> Said {
    Said::of(Command::new(binary()).args(words).current_dir(&directory.0))
}

#[track_caller]
fn well(said: &Said) {
    assert_eq!(said.code, Some(0), "{said:?}");
}

#[test]
fn members_are_listed_shown_joined_and_evicted() {
    let mut a = alone();
    let mut b = Node::new("b", &[], "");
    b.start_ready();
    well(&a.run(&["member", "join", &b.peers.to_string()]));
    a.sees_members(&["a alive", "b alive"]);
    let table = a.run(&["member", "list"]);
    assert!(table.data.starts_with("MEMBER  STATE"), "{table:?}");
    assert!(table.data.contains("a*") && table.data.contains(&b.peers.to_string()), "{table:?}");
    assert_eq!(a.run(&["members", "--output", "json"]).json()["items"][1]["id"], "b");
    eventually("b is shown with its link", || {
        let shown = a.run(&["member", "show", "b", "--output", "json"]).json();
        let linked = shown["state"] == "alive" && shown["links"][0]["peer"] == "b";
        if linked { Ok(()) } else { Err(shown.to_string()) }
    });
    assert_eq!(a.run(&["member", "show", "nobody"]).code, Some(3));
    assert_eq!(a.run(&["member", "evict", "b", "--yes"]).code, Some(4), "it is alive");
    assert_eq!(a.run(&["member", "evict", "b"]).code, Some(2), "nobody can be asked");
    assert_eq!(a.run(&["member", "join", "nonsense"]).code, Some(2));
    b.kill();
    eventually("b is gone", || {
        let said = a.run(&["member", "evict", "b", "--yes"]);
        if matches!(said.code, Some(0 | 3)) { Ok(()) } else { Err(format!("{said:?}")) }
    });
    a.sees_members(&["a alive"]);
    well(&a.run(&["member", "leave", "--yes"]));
    assert!(a.ended().success(), "{}", a.log());
    assert_eq!(a.run(&["member", "list"]).code, Some(5), "nobody answers any more");
}

#[test]
fn workers_are_added_changed_drained_picked_and_removed() {
    let a = alone();
    let backend = Backend::start();
    let url = backend.url();
    let add = ["worker", "add", &url, "--model", "m", "--set", "weight=150"];
    let added = a.run(&add);
    assert!(added.data.starts_with("WORKER"), "{added:?}");
    assert_eq!(a.run(&["worker", "add", &url, "--set", "weight=3"]).code, Some(4));
    a.sees_workers(&[format!("{url} ready")]);
    assert_eq!(a.run(&["worker", "pick", "--model", "m"]).data, format!("{url}\n"));
    assert_eq!(a.run(&["worker", "pick", "--model", "other"]).code, Some(5));
    let explained = a.run(&["worker", "explain", "--model", "m"]);
    assert!(explained.data.contains("PICKED") && explained.data.contains(&url), "{explained:?}");
    let set = a.run(&["worker", "set", &url, "weight=200", "--output", "json"]);
    assert_eq!(set.json()["spec"]["weight"], 200, "{set:?}");
    for verb in ["drain", "undrain", "probe", "show"] {
        well(&a.run(&["worker", verb, &url]));
    }
    for verb in ["suppress", "unsuppress"] {
        let said = a.run(&["worker", verb, &url]);
        assert!(matches!(said.code, Some(0 | 4)), "{said:?}");
    }
    let odd = a.run(&["worker", "add", "http://127.0.0.1:1", "--set", "wieght=2"]);
    assert!(odd.code == Some(2) && odd.words.contains("/wieght"), "{odd:?}");
    assert_eq!(a.run(&["worker", "add", "ftp://x"]).code, Some(2));
    assert_eq!(a.run(&["worker", "show", "http://127.0.0.1:1"]).code, Some(3));
    assert_eq!(a.run(&["workers", "--output", "json"]).json()["items"][0]["url"], url.as_str());
    let yaml = a.run(&["worker", "list", "--output", "yaml"]);
    assert!(yaml.data.starts_with("items:\n"), "{yaml:?}");
    well(&a.run(&["worker", "remove", &url, "--now"]));
    a.sees_workers(&[]);
}

#[test]
fn a_node_shows_itself_drains_reloads_and_is_looked_at() {
    let a = alone();
    let status = a.run(&["status"]);
    let life = &a.get("/v1/cluster")["incarnation"];
    let head = format!("NODE a/{life}  ready   CLUSTER test 1 members, ok");
    assert!(status.data.starts_with(&head), "{status:?}");
    assert_eq!(a.run(&["node", "show", "--output", "json"]).json()["node_id"], "a");
    assert_eq!(
        a.run(&["node", "dump", "--output", "json"]).json()["members"]["items"][0]["id"],
        "a"
    );
    assert_eq!(a.run(&["health"]).data, "a ok\n");
    well(&a.run(&["doctor"]));
    well(&a.run(&["node", "drain"]));
    assert!(a.run(&["status"]).data.contains("not ready"));
    assert_eq!(a.run(&["doctor"]).code, Some(1), "a drained node is not ready");
    well(&a.run(&["node", "undrain"]));
    let reloaded = a.run(&["node", "reload", "--output", "json"]).json();
    assert_eq!(reloaded["needs_restart"].as_array().map(Vec::len), Some(0), "{reloaded}");
    let text = std::fs::read_to_string(a.config()).expect("its own file");
    let other = text.replace(&a.http.to_string(), &free_address().to_string());
    let other = other.replace("forget_after_ms = 5000", "forget_after_ms = 90000");
    let other = other + "\n[kv]\ndeadline_ms = 900\n\n[gateway]\nhead_timeout_ms = 9000\n";
    std::fs::write(a.config(), other).expect("its own file");
    let reloaded = a.run(&["node", "reload", "--output", "json"]).json();
    let keys = ["gateway.head_timeout_ms", "listen.http", "membership.forget_after_ms"];
    assert_eq!(reloaded["needs_restart"], serde_json::json!(keys), "{reloaded}");
    let again = a.run(&["node", "reload", "--output", "json"]).json();
    assert_eq!(again["needs_restart"], reloaded["needs_restart"], "until it restarts");
    std::fs::write(a.config(), format!("{text}\nnonsense = 1\n")).expect("its own file");
    let refused = a.run(&["node", "reload"]);
    assert!(refused.code == Some(2) && refused.words.contains("config_invalid"), "{refused:?}");
    // What is wrong, and where.
    std::fs::write(a.config(), format!("{text}\n[workers]\n")).expect("its own file");
    let refused = a.run(&["node", "reload"]);
    let place = format!("{}:{}:", a.config().display(), text.lines().count() + 2);
    assert!(refused.words.contains("duplicate key: `workers`"), "{refused:?}");
    assert!(refused.words.contains(&place), "{refused:?}");
    assert!(a.run(&["gossip", "show"]).data.starts_with("TOPIC"));
}

#[test]
fn a_worker_has_series_of_its_own_from_the_moment_that_they_are_wanted() {
    let a = alone();
    let shown = a.run(&["worker", "add", "http://127.0.0.1:9", "--output", "json"]).json();
    let id = shown["id"].as_str().expect("an id");
    let ready = format!("quorate_worker_ready{{worker=\"{id}\"}}");
    assert!(a.metric(&ready).is_err(), "nobody wants it");
    let text = std::fs::read_to_string(a.config()).expect("its own file");
    let wanted = text.replace("[workers]\n", "[workers]\nmetrics_per_worker = true\n");
    std::fs::write(a.config(), wanted).expect("its own file");
    let reloaded = a.run(&["node", "reload", "--output", "json"]).json();
    assert_eq!(reloaded["needs_restart"], serde_json::json!([]), "{reloaded}");
    assert_eq!(a.metric(&ready), Ok(0), "nobody answers there");
    assert_eq!(a.metric(&format!("quorate_worker_picked_total{{worker=\"{id}\"}}")), Ok(0));
    assert!(!a.ask("GET", "/metrics", None).expect("it answers").body.contains("127.0.0.1:9\""));
}

#[test]
fn the_audit_log_is_followed_by_request_and_verified_from_its_files() {
    let a = alone();
    well(&a.run(&["node", "drain"]));
    let tail = a.run(&["audit", "tail"]);
    assert!(tail.data.contains("node.drain"), "{tail:?}");
    assert!(!a.run(&["audit", "tail", "--after", "2"]).data.contains("node.drain"));
    let folder = a.data().join("audit").display().to_string();
    let said = a.run(&["audit", "verify", &folder]);
    assert!(said.code == Some(0) && said.words.contains("unbroken"), "{said:?}");
    let file =
        std::fs::read_dir(&folder).expect("a folder").next().expect("a file").expect("it").path();
    let text =
        std::fs::read_to_string(&file).expect("its own file").replace("node.drain", "node.dream");
    std::fs::write(&file, text).expect("its own file");
    assert_eq!(a.run(&["audit", "verify", &folder]).code, Some(1), "a touched line shows");
}

#[test]
fn keys_are_made_without_a_node_and_listed_from_one() {
    let directory = Directory::new("keys");
    let key = local(&directory, &["key", "new"]);
    assert_eq!(key.data.trim().len(), 44, "32 bytes in base64: {key:?}");
    let a = alone();
    assert!(a.run(&["key", "list"]).data.contains("not sealed"));
    assert_eq!(
        a.run(&["keys", "--output", "json"]).json()["keys"].as_array().map(Vec::len),
        Some(0)
    );
}

#[test]
fn events_are_followed_as_they_happen() {
    let a = alone();
    let mut follow = Command::new(binary());
    let address = a.http.to_string();
    follow.args(["event", "follow", "--type", "worker", "--output", "json"]);
    follow.args(["--address", &address, "--token", quorate_tests::node::TOKEN]);
    let directory = Directory::new("events");
    let path = directory.0.join("events");
    follow.stdout(std::fs::File::create(&path).expect("a file"));
    let mut follow = follow.spawn().expect("it runs");
    let backend = Backend::start();
    eventually("the worker's events are printed", || {
        // Again and again: nobody knows when the reader has connected.
        a.run(&["worker", "add", &backend.url(), "--model", "m"]);
        let text = std::fs::read_to_string(&path).map_err(|error| error.to_string())?;
        let seen = text.contains("worker.changed") && text.contains(&backend.url());
        a.run(&["worker", "remove", &backend.url(), "--now"]);
        if seen { Ok(()) } else { Err(text) }
    });
    follow.kill().expect("its own child");
    follow.wait().expect("its own child");
}

#[test]
fn what_needs_no_node_works_in_an_empty_folder() {
    let directory = Directory::new("local");
    let run = |words: &[&str]| local(&directory, words);
    well(&run(&["init"]));
    assert_eq!(run(&["init"]).code, Some(4), "it is there already");
    well(&run(&["init", "--force"]));
    well(&run(&["config", "check"]));
    let shown =
        run(&["config", "show", "--effective", "--origin", "gossip", "--set", "gossip.fanout=3"]);
    assert!(shown.data.contains("fanout = 3"), "{shown:?}");
    let wrong = run(&["config", "check", "--set", "gossip.fanot=3"]);
    assert!(wrong.code == Some(1) && wrong.words.contains("did you mean"), "{wrong:?}");
    let token = run(&["token", "new", "--scope", "admin"]);
    assert!(token.data.starts_with("qt_") && token.words.contains("hash = "), "{token:?}");
    assert_eq!(run(&["token", "new", "--scope", "everything"]).code, Some(2));
    assert!(run(&["explain", "owned_by"]).data.contains("409"));
    assert_eq!(run(&["explain", "nonsense"]).code, Some(3));
    assert!(run(&["completion", "bash"]).data.contains("_quorate"));
    assert!(run(&["man"]).data.contains(".TH"));
    assert_eq!(run(&["nonsense"]).code, Some(2));
    assert_eq!(run(&["status", "--address", &free_address().to_string()]).code, Some(5));
    let help = run(&["worker", "pick", "--help"]);
    assert!(help.code == Some(0) && help.data.contains("Examples:"), "{help:?}");
}

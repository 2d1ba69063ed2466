//! Credentials of real processes: a folder that people edit, surfaces that write, and a marker in every
//! secret that must be found nowhere else.

#![expect(clippy::indexing_slicing, reason = "a member that is not there is null, and no panic")]

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use quorate_tests::eventually;
use quorate_tests::http::{self, Answer, Stream};
use quorate_tests::hunt::Hunt;
use quorate_tests::node::{Directory, Node, Said, TOKEN, binary};
use serde_json::{Value, json};

fn folder(node: &Node) -> PathBuf {
    node.data().join("auths")
}

fn write(folder: &Path, id: &str, text: &str) {
    let path = folder.join(format!("{id}.json"));
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder of its own");
    let unfinished = folder.join(".editor");
    std::fs::write(&unfinished, text).expect("a folder of its own");
    std::fs::set_permissions(&unfinished, std::fs::Permissions::from_mode(0o600)).expect("its own");
    std::fs::rename(&unfinished, path).expect("a folder of its own");
}

fn codex(token: &str) -> String {
    json!({"type": "codex", "email": "someone@example.org", "access_token": token}).to_string()
}

/// `id r<revision> <state>` of everything that is known, in order.
fn known(node: &Node) -> Vec<String> {
    let list = node.get("/v1/credentials");
    let row = |row: &Value| {
        format!(
            "{} r{} {}",
            row["id"].as_str().unwrap_or("?"),
            row["revision"],
            row["state"].as_str().unwrap_or("?")
        )
    };
    list["items"].as_array().expect("a list").iter().map(row).collect()
}

#[track_caller]
fn knows(node: &Node, expected: &[&str]) {
    eventually(&format!("it knows {expected:?}"), || {
        let known = known(node);
        if known == expected { Ok(()) } else { Err(format!("{known:?}")) }
    });
}

/// A request with a header of its own.
fn with_header(node: &Node, method: &str, path: &str, header: &str, body: &str) -> Answer {
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\nauthorization: Bearer {TOKEN}\r\n\
         {header}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        node.http,
        body.len()
    );
    http::raw(node.http, request.as_bytes()).expect("the node answers")
}

/// As the node's own user, who holds every scope.
fn at_home(node: &Node, words: &[&str]) -> Said {
    let socket = node.data().join("quorate.sock");
    Said::of(Command::new(binary()).args(words).arg("--address").arg(socket))
}

#[test]
fn what_people_do_to_the_folder_arrives_and_revisions_outlive_a_kill() {
    let mut a = Node::new("a", &[], "");
    let auths = folder(&a);
    write(&auths, "one", &codex("1"));
    write(&auths, "team/two", r#"{"type":"claude","disabled":true}"#);
    write(&auths, "torn", r#"{"type":"codex","acc"#);
    a.start_ready();
    knows(&a, &["one r1 enabled", "team/two r1 disabled"]);
    eventually("the torn file is named", || {
        let list = a.get("/v1/credentials");
        let torn = list["invalid"][0]["id"] == "torn";
        if torn { Ok(()) } else { Err(list.to_string()) }
    });

    // Renamed over, written twice, switched on, moved in, with other blanks, made whole.
    write(&auths, "one", &codex("2"));
    write(&auths, "team/two", r#"{"type":"claude"}"#);
    write(&auths, "torn", &codex("3"));
    knows(&a, &["one r2 enabled", "team/two r2 enabled", "torn r1 enabled"]);
    write(&auths, "one", &codex("2").replace(',', " ,\n "));
    std::fs::remove_file(auths.join("torn.json")).expect("its own folder");
    knows(&a, &["one r2 enabled", "team/two r2 enabled"]);
    write(&auths, "torn", &codex("3"));
    knows(&a, &["one r2 enabled", "team/two r2 enabled", "torn r3 enabled"]);

    a.kill();
    write(&auths, "one", &codex("4"));
    a.start_ready();
    knows(&a, &["one r3 enabled", "team/two r2 enabled", "torn r3 enabled"]);

    // Half a file over a good one changes nothing; one that others may read is used, and told.
    write(&auths, "one", "{");
    let file = auths.join("torn.json");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).expect("its own file");
    write(&auths, "team/two", r#"{"type":"claude","note":"last"}"#);
    knows(&a, &["one r3 enabled", "team/two r3 enabled", "torn r3 enabled"]);
    eventually("the rights are told", || {
        let shown = a.get("/v1/credentials/torn");
        if shown["exposed"] == true { Ok(()) } else { Err(shown.to_string()) }
    });
    let series = "quorate_credentials_records{provider=\"codex\",state=\"enabled\"}";
    eventually("they are counted", || match a.metric(series)? {
        2 => Ok(()),
        count => Err(format!("{series} is {count}")),
    });
    let queue = a.get("/v0/operations/queue");
    assert_eq!((&queue["depth"], &queue["capacity"]), (&json!(0), &json!(256)), "{queue}");
    assert!(queue["last_drain"]["batch"].as_u64() > Some(0), "{queue}");
}

#[test]
fn surfaces_write_under_a_condition_and_the_file_is_theirs_and_the_peoples_alike() {
    let mut a = Node::new("a", &[], "");
    a.start_ready();
    let path = "/v1/credentials/team%2Fone";
    let bare = a.ask("PUT", path, Some(&json!({"type": "codex"}))).expect("a answers");
    assert_eq!((bare.status, bare.code().as_str()), (428, "precondition_required"));
    let made = with_header(&a, "PUT", path, "if-none-match: *", &codex("1"));
    assert_eq!(made.status, 201, "{}", made.body);
    assert!(made.head.to_lowercase().contains("etag: \"1\""), "{}", made.head);
    assert_eq!(made.json()["fields"]["email"], "someone@example.org");
    let again = with_header(&a, "PUT", path, "if-none-match: *", &codex("1"));
    assert_eq!((again.status, again.code().as_str()), (412, "precondition_failed"));
    let file = folder(&a).join("team/one.json");
    let mode = std::fs::metadata(&file).expect("it was written").permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);

    // An equal body is not written: the file stays the very same one.
    let before = std::fs::metadata(&file).expect("there").modified().expect("a time");
    let same = with_header(&a, "PUT", path, "if-match: \"1\"", &codex("1"));
    assert_eq!((same.status, &same.json()["revision"]), (200, &json!(1)));
    assert_eq!(std::fs::metadata(&file).expect("there").modified().expect("a time"), before);

    // Somebody edits the file, and a write on what was read before is refused at once.
    write(&folder(&a), "team/one", &codex("2"));
    let stale = with_header(&a, "PUT", path, "if-match: \"1\"", &codex("3"));
    assert_eq!((stale.status, &stale.json()["revision"]), (412, &json!("2")), "{}", stale.body);
    let fresh = with_header(&a, "PUT", path, "if-match: \"2\"", &codex("3"));
    assert_eq!((fresh.status, &fresh.json()["revision"]), (200, &json!(3)), "{}", fresh.body);

    for (body, code) in [
        (r#"{"access_token":"x"}"#, "record_invalid"),
        (r#"{"type":"x","n":9007199254740993}"#, "record_invalid"),
        (r#"{"type":"x","k":"\u0000"}"#, "record_invalid"),
        (r#"{"type":"x","type":"y"}"#, "invalid_request"),
        (r#"{"type":"x"} y"#, "invalid_request"),
        ("[]", "record_invalid"),
    ] {
        let refused = with_header(&a, "PUT", path, "if-match: *", body);
        assert_eq!(refused.code(), code, "{body}: {}", refused.body);
    }
    for id in
        ["..%2F..%2Fetc%2Fpasswd", "%2Fetc%2Fpasswd", "a%2F..%2Fb", "ws%2Fa", "a%00b", "e%CC%81"]
    {
        let path = format!("/v1/credentials/{id}");
        for answer in [
            with_header(&a, "PUT", &path, "if-none-match: *", &codex("1")),
            with_header(&a, "DELETE", &path, "if-match: *", ""),
            a.ask("GET", &path, None).expect("a answers"),
        ] {
            assert_eq!((answer.status, answer.code().as_str()), (400, "invalid_request"), "{id}");
        }
    }
    let deep = with_header(
        &a,
        "PUT",
        "/v1/credentials/a%2Fb%2Fc%2Fd%2Fe%2Ff",
        "if-none-match: *",
        &codex("1"),
    );
    assert_eq!(deep.code(), "record_invalid", "{}", deep.body);

    // Switched off and on, and deleted: each is there at once, and in the file.
    let off = a.ask("POST", &format!("{path}/disable"), None).expect("a answers");
    assert_eq!((off.status, &off.json()["state"]), (200, &json!("disabled")), "{}", off.body);
    assert!(std::fs::read_to_string(&file).expect("there").contains("\"disabled\": true"));
    let on = a.ask("POST", &format!("{path}/enable"), None).expect("a answers");
    assert_eq!((&on.json()["state"], &on.json()["revision"]), (&json!("enabled"), &json!(5)));
    let gone = with_header(&a, "DELETE", path, "if-match: \"5\"", "");
    assert_eq!((gone.status, file.exists()), (204, false), "{}", gone.body);
    assert_eq!(a.ask("GET", path, None).expect("a answers").status, 404);
    let back = with_header(&a, "PUT", path, "if-none-match: *", &codex("9"));
    assert_eq!((back.status, &back.json()["revision"]), (201, &json!(7)), "{}", back.body);
}

#[test]
fn an_emptied_folder_is_asked_about_and_a_lost_volume_costs_nothing() {
    let mut a = Node::new("a", &[], "");
    let auths = folder(&a);
    for id in ["a", "b", "c", "d", "e"] {
        write(&auths, id, &codex(id));
    }
    a.start_ready();
    let all = ["a r1 enabled", "b r1 enabled", "c r1 enabled", "d r1 enabled", "e r1 enabled"];
    knows(&a, &all);
    let empty = |auths: &Path| {
        for id in ["a", "b", "c", "d", "e"] {
            std::fs::remove_file(auths.join(format!("{id}.json"))).expect("its own folder");
        }
    };
    let opened = || {
        eventually("the breaker opens", || {
            let health = a.get("/health");
            let part = &health["checks"]["credentials"];
            if part["breaker"] == "open" { Ok(()) } else { Err(health.to_string()) }
        });
    };
    empty(&auths);
    opened();
    assert_eq!(known(&a), all, "they go on working");
    assert_eq!(a.get("/health")["status"], "degraded");
    let restored = at_home(&a, &["credential", "breaker", "restore"]);
    assert_eq!(restored.code, Some(0), "{restored:?}");
    eventually("the breaker closes", || {
        let health = a.get("/health");
        let part = &health["checks"]["credentials"];
        if part["breaker"] == "closed" { Ok(()) } else { Err(health.to_string()) }
    });
    assert!(auths.join("e.json").exists());
    assert_eq!(known(&a), all);

    empty(&auths);
    opened();
    let accepted = at_home(&a, &["credential", "breaker", "accept", "--yes"]);
    assert_eq!((accepted.code, accepted.data.as_str()), (Some(0), "5 deleted\n"), "{accepted:?}");
    knows(&a, &[]);
    let closed = at_home(&a, &["credential", "breaker", "accept", "--yes"]);
    assert_eq!(closed.code, Some(4), "{closed:?}");

    // The folder itself goes, and comes back with something in it.
    write(&auths, "a", &codex("2"));
    knows(&a, &["a r3 enabled"]);
    let away = auths.with_extension("away");
    std::fs::rename(&auths, &away).expect("its own folder");
    eventually("the loss is told", || {
        let list = a.get("/v1/credentials");
        if list["failure"].is_string() { Ok(()) } else { Err(list.to_string()) }
    });
    assert_eq!(known(&a), ["a r3 enabled"]);
    std::fs::rename(&away, &auths).expect("its own folder");
    write(&auths, "b", &codex("2"));
    knows(&a, &["a r3 enabled", "b r3 enabled"]);
}

/// A body with markers in each of its secrets.
fn marked(markers: &[String], at: usize) -> String {
    json!({
        "type": "codex", "label": "shown", "email": "someone@example.org",
        "access_token": markers[at], "token": {"refresh_token": markers[at + 1]},
        "headers": [markers[at + 2]], "proxy_url": format!("http://user:{}@proxy", markers[at]),
    })
    .to_string()
}

/// Writes that are taken and writes that are refused, each with secrets in it.
fn written(a: &Node, markers: &[String]) -> Vec<Answer> {
    let (path, body) = ("/v1/credentials/two", |at| marked(markers, at));
    let mut answers = vec![
        with_header(a, "PUT", path, "if-none-match: *", &body(3)),
        with_header(a, "PUT", path, "if-none-match: *", &body(2)),
        with_header(a, "PUT", path, "if-match: *", &body(3).replace("codex", "CO DEX")),
        with_header(a, "PUT", path, "if-match: *", &body(3)[..90]),
        with_header(a, "PUT", path, "if-match: *", &body(3).replace("label", "type")),
        with_header(a, "POST", "/v1/credentials/two/reveal", "x: y", ""),
    ];
    answers.push(a.ask("POST", "/v1/credentials/two/disable", None).expect("a answers"));
    let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    assert_eq!(statuses, [201, 412, 422, 400, 400, 403, 200]);
    answers
}

/// Everything that can be read of two nodes.
fn read(nodes: [&Node; 2]) -> Vec<Answer> {
    let paths = [
        "/v1/credentials",
        "/v1/credentials/one",
        "/v1/credentials/two",
        "/v0/operations/queue",
        "/v0/operations/node",
        "/v0/operations/replicas",
        "/v0/operations/gossip",
        "/v0/operations/audit",
        "/v0/operations/dump",
        "/v0/operations/raft",
        "/v1/cluster/members",
        "/metrics",
        "/health",
        "/readyz?verbose",
        "/openapi.json",
    ];
    let asked = paths.iter().flat_map(|path| nodes.map(|node| node.ask("GET", path, None)));
    asked.map(|answer| answer.expect("the node answers")).collect()
}

/// What is looked for can be found: by whoever may, and where it belongs. The dump is written.
fn is_where_it_belongs(a: &Node, markers: &[String]) {
    let revealed = at_home(a, &["credential", "reveal", "two"]);
    assert!(revealed.data.contains(&markers[3]), "{revealed:?}");
    let file = std::fs::read_to_string(folder(a).join("one.json")).expect("it is there");
    assert!(file.contains(&markers[1]));
    a.signal("USR1");
    eventually("the dump is written", || {
        let dumps = std::fs::read_dir(a.data().join("dump")).map(Iterator::count);
        if dumps.is_ok_and(|count| count > 0) { Ok(()) } else { Err("no dump".to_owned()) }
    });
}

/// K6: the marker stands in every secret of every record, logs are at `trace`, everything is asked, and
/// each turn is recorded with every datagram, frame and effect in the clear.
#[test]
fn no_secret_is_found_anywhere_but_in_its_own_store() {
    let marker = |number: usize| format!("cAnArY/{number:04}+q7Zx=kW3Ev9L");
    let markers: Vec<String> = (0..6).map(marker).collect();
    assert!(markers.iter().all(|marker| marker.len() == 24), "24 characters each");
    let mut seed = Node::new("seed", &[], "");
    seed.start_ready();
    let mut a = Node::new("a", &[seed.peers], "[log]\nfilter = \"trace\"");
    let auths = folder(&a);
    write(&auths, "one", &marked(&markers, 0));
    let record = Directory::new("record");
    a.start_with(Command::new(binary()), &["--record", &record.0.display().to_string()]);
    a.comes_up();
    a.sees_members(&["a alive", "seed alive"]);
    let mut events = Stream::open(a.http, "/v1/events", TOKEN).expect("a listens");
    knows(&a, &["one r1 enabled"]);
    write(&auths, "one", &marked(&markers, 1));
    write(&auths, "torn", &marked(&markers, 2)[..80]);
    knows(&a, &["one r2 enabled"]);

    let mut hunt = Hunt::new(&markers);
    let mut answers = written(&a, &markers);
    eventually("the torn file is told", || {
        let told = a.get("/v1/credentials")["invalid"].to_string();
        let logged = a.log().contains("is no record");
        if told.contains("torn") && logged { Ok(()) } else { Err(told) }
    });
    events.until("credential.file").expect("it is an event too");
    answers.extend(read([&a, &seed]));
    for answer in &answers {
        hunt.search("an answer", format!("{}\n{}", answer.head, answer.body).as_bytes());
    }
    for words in [vec!["credential", "list"], vec!["credential", "show", "one"]] {
        let said = a.run(&words);
        assert_eq!(said.code, Some(0), "{said:?}");
        hunt.search("the command line", format!("{said:?}").as_bytes());
    }
    is_where_it_belongs(&a, &markers);
    let gone = with_header(&a, "DELETE", "/v1/credentials/two", "if-match: *", "");
    assert_eq!(gone.status, 204, "{}", gone.body);
    let heard = events.until("credential.removed").expect("it is told").to_owned();
    hunt.search("the events", heard.as_bytes());
    for node in [&mut a, &mut seed] {
        node.signal("TERM");
        assert!(node.ended().success(), "{}", node.log());
        hunt.search("a log", node.log().as_bytes());
        hunt.search_files(&node.data(), &auths);
    }
    let before = hunt.places;
    hunt.search_files(&record.0, &auths);
    assert!(hunt.places > before, "each turn was recorded");
}

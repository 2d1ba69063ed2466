//! Dumps, exit codes and what a reload cannot change.

use super::*;

#[test]
fn the_newest_dumps_are_kept() {
    let directory = std::env::temp_dir().join(format!("quorate-dump-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&directory);
    std::fs::create_dir_all(&directory).unwrap();
    for number in 0..20 {
        std::fs::write(directory.join(format!("1970-{number:02}.json")), "").unwrap();
    }
    let path = write_dump(&directory, "{}").expect("room");
    let mut kept: Vec<PathBuf> =
        std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    kept.sort();
    assert_eq!(kept.len(), DUMPS_MAX);
    assert_eq!(kept.last(), Some(&path));
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn an_exit_tells_a_supervisor_what_to_do() {
    let exits = [Exit::Done, Exit::Failed, Exit::Duplicate, Exit::Unusable, Exit::Killed(143)];
    assert_eq!(exits.map(Exit::code), [0, 1, 4, 78, 143]);
    assert_eq!(exit(&End::Duplicate { address: None }), Exit::Duplicate);
    assert_eq!(exit(&End::Left), Exit::Done);
}

#[test]
fn a_token_is_known_by_its_hash() {
    let token = TokenConfig {
        hash: "0a".repeat(32),
        scopes: vec!["admin".to_owned(), "read".to_owned()],
        label: "ops".to_owned(),
    };
    let known = tokens(&[token]);
    assert_eq!(known[0].hash, [10; 32]);
    assert_eq!(known[0].scopes, [Scope::Read, Scope::Admin]);
}

/// A whole process but for its signals: it answers on the socket, then ends in order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_answers_and_ends_in_order() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let data = std::env::temp_dir().join(format!("quorate-process-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&data);
    let flags = [
        format!("data={:?}", data.display().to_string()),
        "node.id=\"n1\"".to_owned(),
        "cluster.listen=\"127.0.0.1:0\"".to_owned(),
        "listen.http=\"127.0.0.1:0\"".to_owned(),
        "membership.profile=\"local\"".to_owned(),
    ];
    let sources = Sources { flags: flags.to_vec(), ..Sources::default() };
    let (config, _) = Config::load(&sources).expect("a good configuration");
    let mut lived: Option<u64> = None;
    for start in 1..=2 {
        let log = Log::install("n1", "warn", Format::Json).expect("a filter");
        let mut process =
            Process::boot(config.clone(), sources.clone(), log).await.expect("free ports");
        let socket = data.join("quorate.sock");
        let mode = std::fs::metadata(&socket).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let mut stream = tokio::net::UnixStream::connect(&socket).await.unwrap();
        let request = "GET /v1/cluster HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        let life = process.running.handle.published().members.load().local.incarnation.0;
        assert!(answer.contains(&format!("\"incarnation\":{life},")), "{answer}");
        assert!(lived.is_none_or(|lived| life == lived + 1), "{lived:?}, then {life}");
        lived = Some(life);
        let facts = |process: &Process| {
            let members = process.running.handle.published().members.load_full();
            let configured = |row: &Arc<quorate_core::node::membership::Member>| {
                let mut facts = row.facts.clone();
                facts.remove("audit"); // Published on a schedule of its own.
                facts
            };
            members.rows.values().map(configured).collect::<Vec<_>>()
        };
        let before = facts(&process);
        process.reload().await.expect("a good configuration");
        assert_eq!(facts(&process), before, "an unchanged configuration changes nothing");
        process.dump();
        assert_eq!(std::fs::read_dir(data.join("dump")).unwrap().count(), start);
        let mut signals = Signals::new().expect("signals");
        assert_eq!(process.stop(&mut signals).await, Exit::Done);
    }
    std::fs::remove_dir_all(data).unwrap();
}

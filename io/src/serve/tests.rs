//! Whole nodes over real sockets of this machine.

use std::time::Duration;

use quorate_core::ids::{ClusterId, NodeId, Notice, Reason};
use quorate_core::node::link;
use quorate_core::node::membership::State;
use quorate_core::node::settings::Profile;
use quorate_core::node::{Announcement, Settings};

use super::*;
use crate::seal::Keyring;
use crate::secure::tests::Folder;

/// Generous: nothing here is about speed.
const SOON: Duration = Duration::from_secs(60);

fn settings(node: &str, join: &[SocketAddr]) -> ServeSettings {
    let listen: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let node: NodeId = node.parse().unwrap();
    let mut node = Settings::new(node, ClusterId("test".into()), listen, Profile::Local);
    node.membership.join = join.iter().map(SocketAddr::to_string).collect();
    ServeSettings {
        node,
        data: None,
        listen,
        advertise: None,
        keyring: KeyringSource::default(),
        insecure: false,
        tls: None,
        worker_keys: BTreeMap::new(),
        credentials: None,
        record: None,
    }
}

/// Waits until `node` sees exactly these nodes alive.
async fn sees(node: &Running, alive: &[&str]) {
    let mut seen = Vec::new();
    let looking = async {
        loop {
            let members = node.handle.published().members.load_full();
            let rows = members.rows.values().filter(|row| row.state == State::Alive);
            seen = rows.map(|row| row.node.to_string()).collect();
            if seen == alive {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let found = tokio::time::timeout(SOON, looking).await;
    assert!(found.is_ok(), "saw {seen:?} instead of {alive:?}");
}

/// Waits until `node` has given `other` up.
async fn until_failed(node: &Running, other: &str) {
    let other: NodeId = other.parse().unwrap();
    let looking = async {
        while node.handle.published().members.load().rows[&other].state != State::Failed {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(SOON, looking).await.expect("it is given up");
}

/// Waits until `node` has a link with `other`: the number of its connection.
async fn linked(node: &Running, other: &str) -> Option<u64> {
    let looking = async {
        loop {
            let links = node.handle.published().links.load_full();
            let up = links.links.iter().find(|row| row.peer.as_str() == other);
            if let Some(row) = up.filter(|row| row.state == link::State::Up) {
                return row.generation;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(SOON, looking).await.expect("a link comes up")
}

/// Waits until `node` knows a fact of `other`.
async fn knows(node: &Running, other: &str, label: &str) {
    let other: NodeId = other.parse().unwrap();
    let looking = async {
        loop {
            let members = node.handle.published().members.load_full();
            let facts = members.rows.get(&other).map(|row| row.facts.clone()).unwrap_or_default();
            if facts.values().any(|value| String::from_utf8_lossy(value).contains(label)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let found = tokio::time::timeout(SOON, looking).await;
    assert!(found.is_ok(), "the fact `{label}` of {other} never arrived");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_find_each_other_exchange_facts_and_notice_a_death_and_a_goodbye() {
    let mut first = settings("n1", &[]);
    first.node.membership.labels.insert("rack".to_owned(), "r-first".to_owned());
    let first = start(first, Vec::new()).await.expect("a free port");
    let mut second =
        start(settings("n2", &[first.address]), Vec::new()).await.expect("a free port");
    let mut third = start(settings("n3", &[first.address]), Vec::new()).await.expect("a free port");
    for node in [&first, &second, &third] {
        sees(node, &["n1", "n2", "n3"]).await;
    }
    knows(&second, "n1", "r-first").await;
    knows(&third, "n1", "r-first").await;

    let mut heard = first.handle.listen();
    third.halt().await;
    for node in [&first, &second] {
        sees(node, &["n1", "n2"]).await;
        until_failed(node, "n3").await;
    }
    assert!(matches!(second.leave(false, SOON).await, End::Left));
    sees(&first, &["n1"]).await;
    let mut departed = Vec::new();
    while let Ok(heard) = heard.try_recv() {
        if let Announcement::Member(Notice::Departed { replica, reason }) = heard.announcement {
            departed.push((replica.node.to_string(), reason));
        }
    }
    assert_eq!(departed, [("n3".to_owned(), Reason::Failed), ("n2".to_owned(), Reason::Left)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_lives_through_a_flood_of_garbage() {
    let first = start(settings("n1", &[]), Vec::new()).await.expect("a free port");
    let second = start(settings("n2", &[first.address]), Vec::new()).await.expect("a free port");
    sees(&first, &["n1", "n2"]).await;
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let sealing = Keyring::open(&ClusterId("test".into()));
    let mut misbehaved = first.handle.listen();
    for round in 0..5000_u32 {
        let noise = round.to_le_bytes().repeat(20);
        socket.send_to(&noise, first.address).await.unwrap();
        socket.send_to(&sealing.seal(&noise), first.address).await.unwrap();
        if round % 100 == 0 {
            // A flood that starves the machine shows nothing about the node.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    knows(&first, "n2", "127.0.0.1").await;
    sees(&first, &["n1", "n2"]).await;
    sees(&second, &["n1", "n2"]).await;
    let heard = tokio::time::timeout(SOON, async {
        loop {
            let heard = misbehaved.recv().await;
            if matches!(heard, Ok(heard) if matches!(heard.announcement, Announcement::Misbehaved { .. }))
            {
                return;
            }
        }
    });
    heard.await.expect("what opened and is no message was reported");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_are_secured_and_new_certificates_leave_them_open() {
    let folder = Folder::new();
    folder.issue("c", 2);
    let secured = |name: &str, join: &[SocketAddr]| {
        let tls = Some(folder.files(name));
        start(ServeSettings { tls, ..settings(name, join) }, Vec::new())
    };
    let a = secured("a", &[]).await.expect("good certificates");
    let b = secured("b", &[a.address]).await.expect("good certificates");
    let before = linked(&a, "b").await;
    folder.issue("b", 1);
    b.secure.load(&folder.files("b"), &ClusterId("test".into())).expect("good certificates");
    let c = secured("c", &[b.address]).await.expect("good certificates");
    linked(&c, "b").await;
    assert_eq!(linked(&a, "b").await, before, "it was open, and carries on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_of_another_name_and_no_certificate_are_no_way_in() {
    let folder = Folder::new();
    let tls = |name: &str| Some(folder.files(name));
    let a = ServeSettings { tls: tls("a"), ..settings("a", &[]) };
    let a = start(a, Vec::new()).await.expect("good certificates");
    let mut heard = a.handle.listen();
    let thief = ServeSettings { tls: tls("b"), ..settings("c", &[a.address]) };
    let thief = start(thief, Vec::new()).await.expect("they are good, for another name");
    let naked = settings("d", &[a.address]);
    let naked = start(naked, Vec::new()).await.expect("without any");
    let told = tokio::time::timeout(SOON, async {
        loop {
            let Ok(heard) = heard.recv().await else { continue };
            if matches!(heard.announcement, Announcement::Misbehaved { .. }) {
                return;
            }
        }
    });
    told.await.expect("the wrong name is noticed");
    let b = ServeSettings { tls: tls("b"), ..settings("b", &[a.address]) };
    let b = start(b, Vec::new()).await.expect("good certificates");
    linked(&a, "b").await;
    linked(&b, "a").await;
    for stranger in [&thief, &naked] {
        let links = stranger.handle.published().links.load_full();
        assert!(links.links.iter().all(|row| row.state != link::State::Up), "{links:?}");
    }
}

//! Whole nodes over real sockets of this machine.

use std::time::Duration;

use quorate_core::ids::{ClusterId, NodeId, Notice, Reason};
use quorate_core::node::membership::State;
use quorate_core::node::settings::Profile;
use quorate_core::node::{Announcement, Settings};

use super::*;
use crate::seal::Keyring;

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
        worker_keys: BTreeMap::new(),
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

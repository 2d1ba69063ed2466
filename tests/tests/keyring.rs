//! Datagrams are sealed: what another key sealed is dropped, keys are replaced on living nodes, and what was said
//! before may be said again without harm.

use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};

use quorate_tests::eventually;
use quorate_tests::node::{Directory, Node, Said, binary, free_address};

fn new_key() -> String {
    Said::of(Command::new(binary()).args(["key", "new"])).data.trim().to_owned()
}

/// Writes a ring as one file, as a rollout would: whole, by renaming.
fn write_ring(path: &Path, keys: &[&str]) {
    let next = path.with_extension("next");
    std::fs::write(&next, keys.join("\n")).expect("its own directory");
    std::fs::set_permissions(&next, std::fs::Permissions::from_mode(0o600)).expect("its own file");
    std::fs::rename(&next, path).expect("its own directory");
}

fn start_with(node: &mut Node, ring: &Path) {
    let mut command = Command::new(binary());
    command.env("QUORATE__CLUSTER__KEYRING_FILE", ring);
    node.start_by(command);
}

fn ids(node: &Node) -> Vec<String> {
    let said = node.run(&["key", "list"]);
    said.data.lines().map(str::to_owned).collect()
}

#[test]
fn a_key_is_replaced_in_three_rollouts_without_losing_a_member() {
    let directory = Directory::new("ring");
    let (old, new) = (new_key(), new_key());
    let mut a = Node::new("a", &[], "");
    let mut b = Node::new("b", &[a.peers], "");
    let mut c = Node::new("c", &[a.peers], "");
    let rings = ["a", "b", "c"].map(|name| directory.0.join(name));
    for (node, ring) in [&mut a, &mut b, &mut c].into_iter().zip(&rings) {
        write_ring(ring, &[&old]);
        start_with(node, ring);
    }
    let all = ["a alive", "b alive", "c alive"];
    for node in [&a, &b, &c] {
        node.sees_members(&all);
    }
    let first = ids(&a);
    for ring in [vec![&*old, &*new], vec![&*new, &*old], vec![&*new]] {
        for (node, path) in [&a, &b, &c].into_iter().zip(&rings) {
            write_ring(path, &ring);
            node.signal("HUP");
            eventually("the ring is taken", || {
                let ids = ids(node);
                if ids.len() == ring.len() && (ring[0] == old) == (ids[0] == first[0]) {
                    Ok(())
                } else {
                    Err(format!("{ids:?}"))
                }
            });
            for node in [&a, &b, &c] {
                node.sees_members(&all);
            }
        }
    }
    for node in [&a, &b, &c] {
        assert_ne!(ids(node), first, "only the new key is left");
        for event in ["failed", "left", "forgotten"] {
            let series = format!("quorate_membership_events_total{{event=\"{event}\"}}");
            assert_eq!(node.metric(&series), Ok(0), "nobody was lost\n{}", node.log());
        }
    }
}

#[test]
fn what_another_key_sealed_is_dropped_and_counted_and_the_node_lives_on() {
    let directory = Directory::new("rings");
    let rings = ["a", "x"].map(|name| directory.0.join(name));
    for ring in &rings {
        write_ring(ring, &[&new_key()]);
    }
    let mut a = Node::new("a", &[], "");
    start_with(&mut a, &rings[0]);
    a.comes_up();
    let mut x = Node::new("x", &[a.peers], "");
    start_with(&mut x, &rings[1]);
    eventually("the foreign datagrams are counted", || {
        let dropped = a.metric("quorate_datagrams_dropped_total{reason=\"key\"}")?;
        if dropped > 0 { Ok(()) } else { Err("none was dropped".to_owned()) }
    });
    x.kill();
    assert_eq!(a.ask("GET", "/readyz", None).expect("a answers").status, 200, "{}", a.log());
}

/// Stands before a node: hands everything on, and keeps the datagrams.
struct Eavesdropper {
    at: SocketAddr,
    node: SocketAddr,
    socket: UdpSocket,
    heard: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Eavesdropper {
    fn before(node: SocketAddr) -> Eavesdropper {
        let at = free_address();
        let socket = UdpSocket::bind(at).expect("a port that was free a moment ago");
        let listener = TcpListener::bind(at).expect("a port that was free a moment ago");
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (ear, kept) = (socket.try_clone().expect("a socket"), heard.clone());
        std::thread::spawn(move || {
            let mut buffer = [0; 2048];
            while let Ok((length, _)) = ear.recv_from(&mut buffer) {
                let bytes = buffer.get(..length).expect("it was received into it").to_vec();
                drop(ear.send_to(&bytes, node)); // A network promises nothing.
                kept.lock().unwrap_or_else(PoisonError::into_inner).push(bytes);
            }
        });
        std::thread::spawn(move || {
            for from in listener.incoming().map_while(Result::ok) {
                let Ok(to) = TcpStream::connect(node) else { continue };
                join(&from, &to);
                join(&to, &from);
            }
        });
        Eavesdropper { at, node, socket, heard }
    }

    fn heard(&self) -> Vec<Vec<u8>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Says all of it again, latest first, until the node has received as many.
    fn repeats(&self, all: &[Vec<u8>], node: &Node) {
        let series = "quorate_datagrams_total{direction=\"received\"}";
        let before = node.metric(series).expect("the node answers");
        for bytes in all.iter().rev() {
            self.socket.send_to(bytes, self.node).expect("loopback");
        }
        eventually("what was repeated has arrived", || {
            let received = node.metric(series)? - before;
            if received >= all.len() as u64 { Ok(()) } else { Err(format!("{received}")) }
        });
    }
}

/// Pumps one way of a connection until it ends.
fn join(from: &TcpStream, to: &TcpStream) {
    let (mut from, mut to) =
        (from.try_clone().expect("a socket"), to.try_clone().expect("a socket"));
    std::thread::spawn(move || {
        drop(std::io::copy(&mut from, &mut to));
        drop(to.shutdown(std::net::Shutdown::Both)); // The other end may have done so.
    });
}

#[test]
fn datagrams_that_are_said_again_change_nothing_even_in_the_next_life() {
    let directory = Directory::new("again");
    let ring = directory.0.join("ring");
    write_ring(&ring, &[&new_key()]);
    let mut a = Node::new("a", &[], "");
    start_with(&mut a, &ring);
    a.comes_up();
    let mut b = Node::new("b", &[a.peers], "");
    let spy = Eavesdropper::before(b.peers);
    let start_b = |b: &mut Node| {
        let mut command = Command::new(binary());
        command.env("QUORATE__CLUSTER__KEYRING_FILE", &ring);
        command.env("QUORATE__CLUSTER__ADVERTISE", spy.at.to_string());
        b.start_by(command);
        b.comes_up();
    };
    let both = ["a alive", "b alive"];
    let sees_both = |b: &Node| [&a, b].iter().for_each(|node| node.sees_members(&both));
    let event = |node: &Node, event: &str| {
        node.metric(&format!("quorate_membership_events_total{{event=\"{event}\"}}"))
    };
    start_b(&mut b);
    sees_both(&b);
    let overheard = eventually("enough is overheard", || {
        let heard = spy.heard();
        if heard.len() >= 8 { Ok(heard) } else { Err(format!("{}", heard.len())) }
    });
    spy.repeats(&overheard, &b);
    sees_both(&b);
    for (node, what) in [(&a, "failed"), (&a, "raised"), (&b, "failed"), (&b, "raised")] {
        assert_eq!(event(node, what), Ok(0), "{what} at {}\n{}", node.name, node.log());
    }

    b.kill();
    start_b(&mut b);
    sees_both(&b);
    let life = b.get("/v1/cluster")["incarnation"].clone();
    spy.repeats(&overheard, &b);
    sees_both(&b);
    assert_eq!(b.get("/v1/cluster")["incarnation"], life, "{}", b.log());
    assert_eq!(event(&b, "failed"), Ok(0), "{}", b.log());
}

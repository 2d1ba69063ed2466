//! What the full scan sees in links that are not as they should be.

use super::{connection, input, node, replica, settings};
use crate::link::{Connection, Links, Stage, Subject, Target};
use crate::machine::Machine;
use crate::random::Rng;
use crate::time::Instant;

/// The links of `m/1` with one to `z/5`, by the connection `a1`.
fn linked() -> Links {
    let local = replica("m/1");
    let born = local.incarnation;
    let settings = settings(&local.node);
    let mut links = Links::new(settings, local, born, Instant::ZERO, Rng::from_number(1));
    for words in ["accepted a1 z", "frame a1 hello z/5 called=m"] {
        let words: Vec<&str> = words.split(' ').collect();
        links.handle(Instant::ZERO, input(&words), &mut Vec::new());
    }
    assert_eq!(links.check(), Ok(()));
    links
}

fn begins(links: &Links, id: &str) {
    let checked = links.check();
    assert!(checked.as_ref().is_err_and(|what| what.starts_with(id)), "{id}: {checked:?}");
}

#[test]
fn a_connection_without_a_deadline_is_seen() {
    let mut links = linked();
    links.agenda.cancel(&Subject::Connection(connection("a1")));
    begins(&links, "L-6");
}

#[test]
fn an_open_connection_that_no_peer_is_on_is_seen() {
    let mut links = linked();
    links.agenda.set(Subject::Peer(node("z")), Instant::ZERO);
    links.peers.get_mut(&node("z")).expect("it is linked").up = None;
    begins(&links, "L-2");
}

#[test]
fn a_spare_connection_that_is_in_use_is_seen() {
    let mut links = linked();
    links.peers.get_mut(&node("z")).expect("it is linked").spares.push(connection("a1"));
    begins(&links, "L-2");
}

#[test]
fn a_dial_that_its_peer_does_not_know_is_seen() {
    let mut links = linked();
    let stage = Stage::Connecting(Target::Peer(node("z")));
    let address = links.settings.address;
    let dial = Connection::new(Instant::ZERO, address, stage);
    links.connections.insert(connection("d7"), dial);
    links.agenda.set(Subject::Connection(connection("d7")), Instant::ZERO);
    begins(&links, "L-2");
}

#[test]
fn frames_that_wait_and_are_not_told_are_seen() {
    let mut links = linked();
    links.queued_bytes += 1;
    begins(&links, "L-1");
}

//! What must stay true of owner maps.

mod grammar;
mod laws;
mod lives;
mod scripts;
mod segments;
mod turnover;

use super::*;

fn replica(text: &str) -> Replica {
    let (node, incarnation) = text.split_once('/').expect("node/incarnation");
    let incarnation = Incarnation(incarnation.parse().expect("an incarnation"));
    Replica { node: node.parse().expect("a node id"), incarnation }
}

fn up(replica: Replica, born: Incarnation) -> Notice {
    let address = std::net::SocketAddr::from(([10, 0, 0, 1], 7400));
    Notice::Up { replica, born, address }
}

/// Refuses the key `foreign`, as a domain would refuse another author's.
fn registration(topic: Topic, entries_max: usize, dies_with_process: bool) -> Registration {
    let check: Check = |_, key, _| match &**key {
        "foreign" => Err("a key of another author"),
        _ => Ok(()),
    };
    Registration { topic, check, entries_max, dies_with_process }
}

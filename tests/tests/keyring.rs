//! Datagrams are sealed: what another key sealed is dropped, and keys are replaced on living nodes.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use quorate_tests::eventually;
use quorate_tests::node::{Directory, Node, Said, binary};

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

//! Two machines that talk to each other: every chain of answers ends, with equal progress.

use proptest::prelude::*;

use super::*;
use crate::random::Rng;

const NAMES: [&str; 6] = ["n1", "n2", "n3", "n4", "n5", "n6"];

/// Progress by owner, on both topics.
type Held = Vec<(u64, u64)>;

fn machine(name: &str, held: &Held, seed: u64) -> Gossip {
    let settings = Settings {
        interval: Duration::from_millis(200),
        fanout: 3,
        burst: 4,
        digest_interval: Duration::from_secs(2),
        direct_max: 64,
        pull_timeout: Duration::from_secs(2),
        backlog_max: 4096,
    };
    let mut gossip = Gossip::new(settings, replica(name), Instant::ZERO, Rng::from_number(seed));
    for other in NAMES.iter().filter(|other| **other != name) {
        gossip.handle(Instant::ZERO, up(other), &mut Vec::new());
    }
    for (owner, (facts, workers)) in NAMES.iter().zip(held) {
        for (topic, complete) in [(Topic::FACTS, *facts), (Topic::WORKERS, *workers)] {
            progress(&mut gossip, topic, &replica(owner), complete);
        }
    }
    gossip
}

fn progress(gossip: &mut Gossip, topic: Topic, owner: &Replica, complete: u64) {
    let progress = Some(Progress { complete, head: complete, floor: 0 });
    let input = Input::Progress { topic, replica: owner.clone(), progress };
    gossip.handle(Instant::ZERO, input, &mut Vec::new());
}

/// Hands `output` of `sender` to the other side; a served pull arrives whole.
fn deliver(
    output: Output,
    sender: &mut Gossip,
    receiver: &mut Gossip,
    out: &mut Vec<Output>,
) -> &'static str {
    let (from, now) = (sender.local.clone(), Instant::ZERO);
    let (input, what) = match output {
        Output::Digest { digest, .. } => {
            (Input::Digest { from, transport: Transport::Datagram, digest }, "digest")
        }
        Output::Rows { transport, rows, .. } => {
            let what = if rows.last { "final" } else { "rows" };
            (Input::Rows { from, transport, rows }, what)
        }
        Output::Pull { transport, pull, .. } => (Input::Pull { from, transport, pull }, "pull"),
        Output::Serve { pull, .. } => {
            for want in pull.wants.iter() {
                let complete = sender.ledger.complete(want.topic, &want.replica);
                let ours = receiver.ledger.complete(want.topic, &want.replica);
                progress(receiver, want.topic, &want.replica, complete.max(ours));
            }
            (Input::Pulled { from, number: pull.number, changed: true }, "segments")
        }
        Output::Level { .. } | Output::Shown { .. } => return "told",
        other @ (Output::Round { .. } | Output::Push { .. } | Output::Misbehaved { .. }) => {
            panic!("nothing else is said here: {other:?}")
        }
    };
    receiver.handle(now, input, out);
    what
}

/// One digest from `left` to `right` and all that follows; the chain's names.
fn converse(left: &mut Gossip, right: &mut Gossip) -> Vec<&'static str> {
    let digest = left.digest();
    let first = Output::Digest { to: right.local.node.clone(), digest };
    let (mut from_left, mut from_right) = (vec![first], Vec::new());
    let mut chain = Vec::new();
    while !from_left.is_empty() || !from_right.is_empty() {
        for output in std::mem::take(&mut from_left) {
            chain.push(deliver(output, left, right, &mut from_right));
        }
        for output in std::mem::take(&mut from_right) {
            chain.push(deliver(output, right, left, &mut from_left));
        }
        assert!(chain.len() < 64, "G-10: they never stop talking: {chain:?}");
    }
    chain
}

fn helds() -> impl Strategy<Value = Held> {
    proptest::collection::vec((0_u64..4, 0_u64..4), NAMES.len())
}

proptest! {
    /// G-10, and what the exchange is for: one digest makes two nodes equal, a second one says nothing.
    #[test]
    fn one_digest_makes_two_nodes_equal(mut held_left in helds(), mut held_right in helds()) {
        // An owner is never behind on its own map.
        let most = |left: (u64, u64), right: (u64, u64)| (left.0.max(right.0), left.1.max(right.1));
        held_left[0] = most(held_left[0], held_right[0]);
        held_right[1] = most(held_left[1], held_right[1]);
        let mut left = machine("n1", &held_left, 1);
        let mut right = machine("n2", &held_right, 2);
        for (gossip, peer) in [(&mut left, "n2"), (&mut right, "n1")] {
            let link = Input::Link { peer: replica(peer).node, up: true };
            gossip.handle(Instant::ZERO, link, &mut Vec::new());
        }
        let chain = converse(&mut left, &mut right);
        for kind in ["digest", "rows", "final"] {
            prop_assert!(chain.iter().filter(|what| **what == kind).count() <= 1, "G-10: {:?}", chain);
        }
        prop_assert_eq!(left.ledger.hashes(), right.ledger.hashes());
        let again = converse(&mut left, &mut right);
        prop_assert!(again.iter().all(|what| matches!(*what, "digest" | "told")), "G-13: {:?}", again);
    }
}

#[test]
fn an_idle_machine_wakes_for_its_digest_alone_and_alone_for_nothing() {
    let mut gossip = machine("n1", &vec![(1, 1); 6], 1);
    let wake = gossip.next_wake().expect("a digest is due");
    assert_eq!(wake.what, "gossip: a digest");
    for other in NAMES.iter().skip(1) {
        gossip.handle(Instant::ZERO, super::input(&["departed", other]), &mut Vec::new());
    }
    assert_eq!(gossip.next_wake(), None);
}

#[test]
fn a_digest_of_another_shape_is_misbehaviour() {
    let mut gossip = machine("n1", &vec![(1, 1); 6], 1);
    let digest = Digest { members: 6, owners: Blob::from("short"), shared: Blob::default() };
    let transport = Transport::Datagram;
    let mut out = Vec::new();
    let from = replica("n2");
    gossip.handle(Instant::ZERO, Input::Digest { from, transport, digest }, &mut out);
    assert!(matches!(out.as_slice(), [Output::Misbehaved { .. }]));
}

#[test]
fn a_digest_is_one_section_whatever_the_cluster() {
    let mut gossip = machine("n1", &vec![(u64::MAX, 1); 6], 1);
    let bytes = crate::wire::encode(&gossip.digest());
    assert!(bytes.len() <= 1100, "{} bytes", bytes.len());
    assert!(crate::wire::decode::<Digest, 1400>(&bytes).is_ok());
}

#[test]
fn nothing_is_kept_about_a_departed_peer() {
    let mut gossip = machine("n1", &vec![(1, 1); 6], 1);
    let mut out = Vec::new();
    for words in [["rows", "n2", "facts", "n3", "9"], ["pull", "n2", "facts", "n1", "0"]] {
        gossip.handle(Instant::ZERO, super::input(&words), &mut out);
    }
    assert_eq!(out.len(), 2, "it was asked, and it is owed: {out:?}");
    gossip.handle(Instant::ZERO, super::input(&["departed", "n2"]), &mut out);
    assert!(gossip.lanes.is_empty(), "G-12: a lane of a departed peer");
    assert_eq!(gossip.pulls.next_wake(), None, "G-12: a question to a departed peer");
}

#[test]
fn every_series_is_counted_from_the_start() {
    let gossip = machine("n1", &vec![(0, 0); 6], 1);
    let mut names = std::collections::BTreeSet::new();
    let mut series = std::collections::BTreeSet::new();
    crate::machine::Counted::counts(&gossip, &mut |count| {
        names.insert(count.name);
        assert!(series.insert((count.name, count.labels)), "{count:?} came twice");
    });
    let expected = [
        "gossip_backlog_items",
        "gossip_bytes_total",
        "gossip_digests_total",
        "gossip_drains_total",
        "gossip_items_total",
        "gossip_lag_entries",
        "gossip_over_budget_total",
        "gossip_pulls_total",
        "gossip_segments_total",
    ];
    assert_eq!(names.into_iter().collect::<Vec<_>>(), expected);
    assert_eq!(series.len(), Topic::ALL.len() * 10 + 1 + 4 + 2 + 4 + 7);
}

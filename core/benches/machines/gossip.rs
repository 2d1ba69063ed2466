//! Filling a datagram, and the digest of a large cluster.

use std::cell::RefCell;
use std::time::Duration;

use divan::Bencher;
use quorate_core::gossip::{Gossip, Input, Output, Settings, Source};
use quorate_core::ids::Replica;
use quorate_core::machine::Machine;
use quorate_core::random::Rng;
use quorate_core::replica::{self, Maps};
use quorate_core::time::Instant;
use quorate_core::wire::Blob;
use quorate_core::wire::segment::{Progress, Segment, Topic};

use crate::fixtures::{self, NOW};

const ITEMS: u64 = 4096;
const VALUE_BYTES: usize = 64;

fn gossip(members: usize) -> Gossip {
    let settings = Settings {
        interval: Duration::from_millis(200),
        fanout: 3,
        burst: 4,
        digest_interval: Duration::from_secs(2),
        direct_max: 64,
        pull_timeout: Duration::from_secs(2),
        backlog_max: 4096,
    };
    let mut gossip = Gossip::new(settings, fixtures::replica(0), NOW, Rng::from_number(1));
    for member in 1..members {
        gossip.handle(NOW, Input::Notice(fixtures::up(member)), &mut Vec::new());
    }
    gossip
}

fn enqueue(gossip: &mut Gossip, replica: &Replica, sequence: u64) {
    let (topic, replica) = (Topic::WORKERS, replica.clone());
    let input = Input::PushRefused { topic, replica, from: sequence - 1, upto: sequence };
    gossip.handle(NOW, input, &mut Vec::new());
}

/// 4096 writes of our own, each an item.
fn own_items() -> (Gossip, Maps) {
    let (mut gossip, mut maps) = (gossip(60), fixtures::maps(&[Topic::WORKERS]));
    for sequence in 1..=ITEMS {
        let (topic, key) = (Topic::WORKERS, fixtures::key(sequence));
        let value = Some(Blob::from(vec![7; VALUE_BYTES]));
        maps.handle(NOW, replica::Input::Write { topic, key, value }, &mut Vec::new());
        enqueue(&mut gossip, &fixtures::replica(0), sequence);
    }
    (gossip, maps)
}

/// 4096 items of 1024 owners, in turns.
fn foreign_items() -> (Gossip, Maps) {
    let (mut gossip, mut maps) = (gossip(1025), fixtures::maps(&[Topic::WORKERS]));
    for owner in 1..=1024 {
        maps.handle(NOW, replica::Input::Notice(fixtures::up(owner)), &mut Vec::new());
        let news = fixtures::segment(Topic::WORKERS, &fixtures::replica(owner), 4, VALUE_BYTES);
        fixtures::apply(&mut maps, owner, news);
    }
    for sequence in 1..=4 {
        for owner in 1..=1024 {
            enqueue(&mut gossip, &fixtures::replica(owner), sequence);
        }
    }
    (gossip, maps)
}

struct Held(Maps);

impl Source for Held {
    fn segment(
        &self,
        topic: Topic,
        replica: &Replica,
        from: u64,
        upto: u64,
        budget: usize,
    ) -> Option<Segment> {
        self.0.segment(topic, replica, from, upto, budget)
    }
}

/// One drain of what a datagram may hold beside its sender, to another member each time.
fn bench_drain(bencher: Bencher<'_, '_>, (gossip, maps): (Gossip, Maps)) {
    let (gossip, held) = (RefCell::new(gossip), Held(maps));
    let mut target = 0;
    bencher
        .with_inputs(|| {
            target = target % 59 + 1;
            fixtures::node(target)
        })
        .bench_local_refs(|target| gossip.borrow_mut().drain(target, 1400, &held));
}

#[divan::bench(sample_count = 200, sample_size = 1)]
fn drain_1400_of_4096_own(bencher: Bencher<'_, '_>) {
    bench_drain(bencher, own_items());
}

#[divan::bench(sample_count = 200, sample_size = 1)]
fn drain_1400_of_4096_foreign(bencher: Bencher<'_, '_>) {
    bench_drain(bencher, foreign_items());
}

const TOPICS: u8 = 6;

fn progressed(gossip: &mut Gossip, topic: u8, owner: usize, complete: u64) {
    let progress = Some(Progress { complete, head: complete, floor: 0 });
    let (topic, replica) = (Topic(topic), fixtures::replica(owner));
    gossip.handle(NOW, Input::Progress { topic, replica, progress }, &mut Vec::new());
}

/// 1000 nodes with a map in each of six topics.
fn level_gossip() -> Gossip {
    let mut gossip = gossip(1000);
    for (topic, owner) in maps_of_all() {
        progressed(&mut gossip, topic, owner, 1);
    }
    gossip
}

fn maps_of_all() -> impl Iterator<Item = (u8, usize)> {
    (1..=TOPICS).flat_map(|topic| (0..1000).map(move |owner| (topic, owner)))
}

/// The tick that makes and sends a digest.
fn digest(gossip: &mut Gossip, at: Instant) -> Vec<Output> {
    let mut out = Vec::new();
    gossip.handle(at, Input::Tick, &mut out);
    assert!(matches!(out.first(), Some(Output::Digest { .. })), "a digest is due");
    out
}

/// Digests after `changed` maps moved.
fn bench_digest(bencher: Bencher<'_, '_>, changed: usize) {
    let gossip = RefCell::new(level_gossip());
    let mut turn = 1;
    bencher
        .with_inputs(|| {
            turn += 1;
            for (topic, owner) in maps_of_all().take(changed) {
                progressed(&mut gossip.borrow_mut(), topic, owner, turn);
            }
            Instant::from_millis(turn * 10_000)
        })
        .bench_local_values(|at| digest(&mut gossip.borrow_mut(), at));
}

#[divan::bench(sample_count = 200, sample_size = 1)]
fn digest_1000_nodes_full(bencher: Bencher<'_, '_>) {
    bench_digest(bencher, usize::from(TOPICS) * 1000);
}

#[divan::bench(sample_count = 1000, sample_size = 1)]
fn digest_1000_nodes_after_one_change(bencher: Bencher<'_, '_>) {
    bench_digest(bencher, 1);
}

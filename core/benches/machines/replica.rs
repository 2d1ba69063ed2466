//! Segments into copies, and writes to our own map.

use divan::Bencher;
use divan::counter::ItemsCount;
use quorate_core::machine::Machine;
use quorate_core::replica::{Input, Maps, Output};
use quorate_core::wire::segment::Topic;
use quorate_core::wire::{Blob, Transport};

use crate::fixtures::{self, NOW};

const TOPIC: Topic = Topic::WORKERS;

/// Maps that know one other member.
fn two_nodes() -> Maps {
    let mut maps = fixtures::maps(&[TOPIC]);
    maps.handle(NOW, Input::Notice(fixtures::up(1)), &mut Vec::new());
    maps
}

/// A segment of 1000 entries into a fresh copy, through its owner's checks.
#[divan::bench(sample_count = 200, sample_size = 1)]
fn apply_1000_entries(bencher: Bencher<'_, '_>) {
    let news = fixtures::segment(TOPIC, &fixtures::replica(1), 1000, 100);
    bencher.with_inputs(|| (two_nodes(), news.clone(), Vec::new())).bench_local_refs(
        |(maps, news, out): &mut (Maps, _, Vec<Output>)| {
            let segment =
                std::mem::replace(news, fixtures::segment(TOPIC, &fixtures::replica(1), 0, 0));
            let from = fixtures::node(1);
            maps.handle(NOW, Input::Segment { from, transport: Transport::Link, segment }, out);
            assert!(out.len() > 1000, "every key was news");
        },
    );
}

/// Writes to a map with this many live keys: 100 of these deleted, then written anew, of another part of
/// the map each time.
#[divan::bench(args = [100, 1_000, 100_000], sample_count = 300, sample_size = 1)]
fn delete_and_write(bencher: Bencher<'_, '_>, live: u64) {
    bench_writes(bencher, live, |keys| {
        let deleted = keys.iter().map(|key| write(*key, None));
        deleted.chain(keys.iter().map(|key| write(*key, value()))).collect()
    });
}

/// Writes of keys that exist, in a map with this many live keys.
#[divan::bench(args = [100, 1_000, 100_000], sample_count = 300, sample_size = 1)]
fn overwrite(bencher: Bencher<'_, '_>, live: u64) {
    bench_writes(bencher, live, |keys| {
        [keys, keys].concat().into_iter().map(|key| write(key, value())).collect()
    });
}

/// 200 writes about 100 keys.
fn bench_writes(bencher: Bencher<'_, '_>, live: u64, of: impl Fn(&[u64]) -> Vec<Input>) {
    let mut maps = two_nodes();
    write_all(&mut maps, &mut (1..=live).map(|key| write(key, value())).collect());
    let keys: Vec<u64> = (1..=live).collect();
    let mut parts = keys.chunks(100).cycle();
    bencher
        .counter(ItemsCount::new(200_u64))
        .with_inputs(|| of(parts.next().expect("a cycle")))
        .bench_local_refs(|inputs| write_all(&mut maps, inputs));
}

fn value() -> Option<Blob> {
    Some(Blob::from(vec![7; 100]))
}

fn write(key: u64, value: Option<Blob>) -> Input {
    Input::Write { topic: TOPIC, key: fixtures::key(key), value }
}

fn write_all(maps: &mut Maps, inputs: &mut Vec<Input>) {
    let mut out = Vec::with_capacity(2);
    for input in inputs.drain(..) {
        out.clear();
        maps.handle(NOW, input, &mut out);
    }
}

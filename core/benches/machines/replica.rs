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

/// 100 writes of keys that are new, into a map with this many live keys.
#[divan::bench(args = [0, 1_000, 100_000], sample_count = 100, sample_size = 1)]
fn write_100_new_keys(bencher: Bencher<'_, '_>, live: u64) {
    let filled = filled(live);
    bencher
        .counter(ItemsCount::new(100_u64))
        .with_inputs(|| (filled.clone(), writes(live + 1..=live + 100)))
        .bench_local_refs(|(maps, inputs)| write_all(maps, inputs));
}

/// 100 writes of keys that exist, evenly over a map with this many live keys.
#[divan::bench(args = [100, 1_000, 100_000], sample_count = 100, sample_size = 1)]
fn write_100_old_keys(bencher: Bencher<'_, '_>, live: u64) {
    let filled = filled(live);
    let step = usize::try_from(live / 100).expect("few keys");
    bencher
        .counter(ItemsCount::new(100_u64))
        .with_inputs(|| (filled.clone(), writes((1..=live).step_by(step))))
        .bench_local_refs(|(maps, inputs)| write_all(maps, inputs));
}

fn filled(live: u64) -> Maps {
    let mut maps = two_nodes();
    write_all(&mut maps, &mut writes(1..=live));
    maps
}

fn writes(numbers: impl Iterator<Item = u64>) -> Vec<Input> {
    let write = |number| Input::Write {
        topic: TOPIC,
        key: fixtures::key(number),
        value: Some(Blob::from(vec![7; 100])),
    };
    numbers.map(write).collect()
}

fn write_all(maps: &mut Maps, inputs: &mut Vec<Input>) {
    let mut out = Vec::with_capacity(2);
    for input in inputs.drain(..) {
        out.clear();
        maps.handle(NOW, input, &mut out);
    }
}

//! Picking among a thousand candidates, the load of each being a number in a table.

use std::sync::Arc;

use divan::Bencher;
use quorate_core::machine::Machine;
use quorate_core::workers::spec::{HealthSpec, Model};
use quorate_core::workers::{
    Candidate, Input, Kind, Lane, Load, PickPolicy, Query, Settings, Snapshot, Spec, Workers, route,
};

use crate::fixtures::{self, NOW};

const CANDIDATES: usize = 1000;

pub(crate) fn url(number: usize) -> String {
    format!("http://10.0.{}.{}:8000", number / 250, number % 250 + 1)
}

/// Worker `number`, which serves one of `models` models; health is judged by `by`, or (empty) by nobody.
pub(crate) fn spec(number: usize, models: usize, by: &str) -> Spec {
    let health = HealthSpec {
        enabled: by.is_empty().then_some(false),
        by: (!by.is_empty()).then(|| by.into()),
        ..HealthSpec::default()
    };
    let id = format!("model-{:02}", number % models);
    Spec {
        url: url(number),
        models: Some(vec![Model { id, aliases: Vec::new(), other: Default::default() }]),
        weight: Some(50 + u32::try_from(number * 7 % 101).expect("a small number")),
        labels: Some([("zone".to_owned(), format!("z{}", number % 2))].into()),
        health: Some(health),
        ..Spec::default()
    }
}

fn snapshot() -> Arc<Snapshot> {
    let registrations = (0..CANDIDATES).map(|number| spec(number, 1, "")).collect();
    let settings = Settings { registrations, ..Settings::default() };
    let mut workers = Workers::new(settings, fixtures::replica(0), &Default::default());
    workers.handle(NOW, Input::Start, &mut Vec::new());
    workers.publish().expect("workers were registered")
}

/// As a host keeps it: a table by entry, and the sum of each lane.
struct Loads {
    by_number: Vec<u32>,
    total: Option<u64>,
}

impl Loads {
    fn new(is_summed: bool) -> Loads {
        let some = [5_u32, 3, 9, 1, 12, 7, 0].into_iter().cycle();
        let by_number: Vec<u32> = some.take(CANDIDATES + 1).collect();
        let total = by_number.iter().copied().map(u64::from).sum();
        Loads { by_number, total: is_summed.then_some(total) }
    }
}

impl Load for Loads {
    fn of(&self, candidate: &Candidate) -> u32 {
        let number = usize::try_from(candidate.number).expect("few workers");
        self.by_number.get(number).copied().unwrap_or(0)
    }

    fn total(&self, _: &Lane) -> Option<u64> {
        self.total
    }
}

fn query(policy: PickPolicy) -> Query {
    Query {
        model: "model-00".to_owned(),
        kind: Kind::Regular,
        labels: Default::default(),
        key: None,
        policy,
        exclude: Vec::new(),
    }
}

fn bench_pick(bencher: Bencher<'_, '_>, query: Query, loads: Loads) {
    let snapshot = snapshot();
    let mut ticket = 0;
    bencher
        .with_inputs(|| {
            ticket += 1;
            ticket
        })
        .bench_local_values(|ticket| {
            route(&snapshot, &query, ticket, &loads).map(|pick| pick.candidate.number)
        });
}

#[divan::bench(sample_count = 200, sample_size = 100)]
fn round_robin(bencher: Bencher<'_, '_>) {
    bench_pick(bencher, query(PickPolicy::RoundRobin), Loads::new(true));
}

#[divan::bench(sample_count = 200, sample_size = 100)]
fn weighted(bencher: Bencher<'_, '_>) {
    bench_pick(bencher, query(PickPolicy::Weighted), Loads::new(true));
}

#[divan::bench(sample_count = 200, sample_size = 100)]
fn least_load(bencher: Bencher<'_, '_>) {
    bench_pick(bencher, query(PickPolicy::LeastLoad), Loads::new(true));
}

#[divan::bench(sample_count = 200, sample_size = 100)]
fn power_of_two(bencher: Bencher<'_, '_>) {
    bench_pick(bencher, query(PickPolicy::PowerOfTwo), Loads::new(true));
}

/// Another key each time.
fn bench_hash(bencher: Bencher<'_, '_>, loads: Loads) {
    let snapshot = snapshot();
    let mut queries: Vec<Query> = Vec::new();
    for number in 0..512 {
        let key = Some(format!("session-{number:08x}"));
        queries.push(Query { key, ..query(PickPolicy::ConsistentHash) });
    }
    let mut queries = queries.iter().cycle();
    // The first pick makes the ring.
    assert!(queries.next().is_some_and(|query| route(&snapshot, query, 0, &loads).is_ok()));
    bencher.with_inputs(|| queries.next().expect("a cycle")).bench_local_values(|query| {
        route(&snapshot, query, 1, &loads).map(|pick| pick.candidate.number)
    });
}

#[divan::bench(sample_count = 200, sample_size = 100)]
fn consistent_hash(bencher: Bencher<'_, '_>) {
    bench_hash(bencher, Loads::new(true));
}

#[divan::bench(sample_count = 200, sample_size = 100)]
fn consistent_hash_without_a_sum(bencher: Bencher<'_, '_>) {
    bench_hash(bencher, Loads::new(false));
}

/// The first pick by hash after workers came or went.
#[divan::bench(sample_count = 20, sample_size = 1)]
fn consistent_hash_makes_its_ring(bencher: Bencher<'_, '_>) {
    let key = Some("session".to_owned());
    let query = Query { key, ..query(PickPolicy::ConsistentHash) };
    let loads = Loads::new(true);
    bencher.with_inputs(snapshot).bench_local_refs(|snapshot| {
        route(snapshot, &query, 1, &loads).map(|pick| pick.candidate.number)
    });
}

/// A query by label looks at every candidate.
#[divan::bench(sample_count = 200, sample_size = 100)]
fn power_of_two_by_label(bencher: Bencher<'_, '_>) {
    let labels = [("zone".to_owned(), "z1".to_owned())].into();
    let query = Query { labels, ..query(PickPolicy::PowerOfTwo) };
    bench_pick(bencher, query, Loads::new(true));
}

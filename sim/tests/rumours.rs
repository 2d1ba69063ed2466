//! How fast rumours alone carry one write to everybody: no direct push, no digest in time.
//!
//! ```text
//! cargo test --release -p quorate-sim --test rumours -- --nocapture
//! QUORATE_WRITES=1000 cargo test --release -p quorate-sim --test rumours -- --nocapture
//! ```

use std::collections::BTreeMap;

use quorate_core::node::Request;
use quorate_core::random::Rng;
use quorate_core::wire::segment::Topic;
use quorate_sim::invariants::Checks;
use quorate_sim::plan::Plan;
use quorate_sim::settings;
use quorate_sim::trace::Trace;
use quorate_sim::world::World;
use quorate_sim::world::faults::{Fault, Place};
use quorate_sim::world::machine::Machine;

const NODES: usize = 60;
const ROUND_US: u64 = 200_000;
const SETTLED_US: u64 = 20_000_000;
/// Writes that are not counted: with them, whoever lacks what the owner wrote before asks for it.
const WARMING: u64 = 4;
const OWNER: usize = 17;
/// Between two writes: longer than any rumour waits for its last transmission.
const APART_US: u64 = 3_000_000;
const STEP_US: u64 = 20_000;
const GIVEN: [(&str, &str); 4] = [
    ("nodes", "60"),
    ("gossip.direct_max", "0"),
    ("gossip.interval_ms", "200"),
    ("gossip.digest_interval_ms", "3600000"),
];

#[test]
fn a_rumour_is_everywhere_in_eight_rounds() {
    let rounds = measure(1, 0);
    assert!(percentile(&rounds, 99) <= 8.0, "{rounds:?}");
}

#[test]
fn a_rumour_is_everywhere_in_fourteen_rounds_where_three_of_ten_datagrams_are_lost() {
    let rounds = measure(2, 30);
    assert!(percentile(&rounds, 99) <= 14.0, "{rounds:?}");
}

/// Rounds until all but one in a thousand of 60 nodes, which is all of them, have a write; ascending.
fn measure(seed: u64, loss_percent: u64) -> Vec<f64> {
    let writes = std::env::var("QUORATE_WRITES").ok().and_then(|text| text.parse().ok());
    let writes: u64 = writes.unwrap_or(8);
    let mut world = cluster(seed);
    lose(&mut world, loss_percent);
    let mut rounds = Vec::new();
    let mut at = SETTLED_US;
    for number in 0..WARMING + writes {
        world.advance(at);
        let took = write(&mut world, number, at + 4 * APART_US);
        if number >= WARMING {
            rounds.push(took as f64 / ROUND_US as f64);
        }
        at = (at + APART_US).max(world.now());
    }
    assert!(world.failure().is_none(), "{:?}", world.failure());
    rounds.sort_by(f64::total_cmp);
    println!(
        "{NODES} nodes, {loss_percent} % loss, {writes} writes: rounds p50 {:.1}, p99 {:.1}, most {:.1}",
        percentile(&rounds, 50),
        percentile(&rounds, 99),
        percentile(&rounds, 100),
    );
    rounds
}

/// How long a write takes to be everywhere.
fn write(world: &mut World, number: u64, give_up: u64) -> u64 {
    let before = world.now();
    let labels = BTreeMap::from([("number".to_owned(), number.to_string())]);
    world.request(OWNER, Request::SetLabels { labels });
    let (mut replica, mut head) = (None, u64::MAX);
    while world.now() < give_up {
        world.advance(world.now() + STEP_US);
        assert!(world.failure().is_none(), "{:?}", world.failure());
        let node = &world.machine(OWNER).process.as_ref().expect("all run").node;
        if replica.as_ref() != Some(node.local()) {
            replica = Some(node.local().clone());
            head = node.maps().progress(Topic::FACTS, node.local()).map_or(0, |own| own.head);
        }
        let replica = replica.as_ref().expect("it was set above");
        let has = |machine: &Machine| {
            let maps = machine.process.as_ref().expect("all run").node.maps();
            maps.progress(Topic::FACTS, replica).is_some_and(|held| held.complete >= head)
        };
        if world.machines.iter().all(has) {
            break;
        }
    }
    world.now() - before
}

fn cluster(seed: u64) -> World {
    let given = GIVEN.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    let plan = Plan { given, ..Plan::default() };
    let machine = |index| {
        Machine::new(index, settings::node_id(index), settings::of_node(&plan, index), true)
    };
    let machines = (0..NODES).map(machine).collect();
    let mut checks = Checks::new(NODES);
    checks.on = false;
    let mut world = World::new(&Rng::from_number(seed), machines, Trace::new(false), checks);
    (0..NODES).for_each(|index| world.start(index));
    world
}

fn lose(world: &mut World, percent: u64) {
    let keys = BTreeMap::from([("rate".to_owned(), format!("{percent}%"))]);
    let nodes = || 0..NODES;
    let links = nodes().flat_map(|from| nodes().map(move |to| (from, to))).collect();
    let place = Place { machines: nodes().collect(), links };
    if percent > 0 {
        world.begin(&Fault { number: 1, class: "loss", place, keys: &keys, lasts: None });
    }
}

/// The figure that so many percent of an ascending list do not exceed.
fn percentile(ascending: &[f64], percent: usize) -> f64 {
    let place = (ascending.len() * percent).div_ceil(100).max(1) - 1;
    ascending.get(place).copied().unwrap_or(f64::INFINITY)
}

//! This project as it is shipped: whole nodes in the simulator's world, no promise looked at.

use std::collections::BTreeMap;

use quorate_core::ids::Replica;
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

use super::{APART_MS, Case, Figures, GIVE_UP_MS, SILENCE_MS, STEP_MS, per_second, rounds};

const OWNER: usize = 17;
const MS: u64 = 1000;

pub(super) fn measure(case: Case) -> Figures {
    let mut world = cluster(case);
    lose(&mut world, case);
    world.advance(SILENCE_MS / 2 * MS);
    let before = world.bytes();
    world.advance(SILENCE_MS * MS);
    let idle_bytes = per_second(world.bytes() - before, case.nodes);
    let rounds = (0..case.writes).map(|number| write(&mut world, case, number)).collect();
    assert!(world.failure().is_none(), "{:?}", world.failure());
    Figures { rounds, idle_bytes }
}

fn cluster(case: Case) -> World {
    let given = BTreeMap::from([("nodes".to_owned(), case.nodes.to_string())]);
    let plan = Plan { given, ..Plan::default() };
    let machine = |index| {
        Machine::new(index, settings::node_id(index), settings::of_node(&plan, index), true)
    };
    let machines = (0..case.nodes).map(machine).collect();
    let mut checks = Checks::new(case.nodes);
    checks.on = false;
    let mut world = World::new(&Rng::from_number(1), machines, Trace::new(false), checks);
    (0..case.nodes).for_each(|index| world.start(index));
    world
}

fn lose(world: &mut World, case: Case) {
    let keys = BTreeMap::from([("rate".to_owned(), format!("{}%", case.loss_percent))]);
    let nodes = || 0..case.nodes;
    let links = nodes().flat_map(|from| nodes().map(move |to| (from, to))).collect();
    let place = Place { machines: nodes().collect(), links };
    if case.loss_percent > 0 {
        world.begin(&Fault { number: 1, class: "loss", place, keys: &keys, lasts: None });
    }
}

fn write(world: &mut World, case: Case, number: u64) -> f64 {
    let began = world.now();
    let labels = BTreeMap::from([("number".to_owned(), format!("{number:012}"))]);
    world.request(OWNER, Request::SetLabels { labels });
    while world.now() < began + GIVE_UP_MS * MS {
        world.advance(world.now() + STEP_MS * MS);
        let node = &world.machine(OWNER).process.as_ref().expect("all run").node;
        let replica = node.local();
        let head = node.maps().progress(Topic::FACTS, replica).map_or(0, |own| own.head);
        let has = |machine: &&Machine| holds(machine, replica, head);
        if world.machines.iter().filter(has).count() >= case.enough() {
            break;
        }
    }
    let took = (world.now() - began) / MS;
    world.advance((began + APART_MS * MS).max(world.now()));
    rounds(took)
}

fn holds(machine: &Machine, replica: &Replica, head: u64) -> bool {
    let maps = machine.process.as_ref().expect("all run").node.maps();
    maps.progress(Topic::FACTS, replica).is_some_and(|held| held.complete >= head)
}

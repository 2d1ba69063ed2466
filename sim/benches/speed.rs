//! How fast whole clusters run: virtual seconds and events per second of processor time.
//!
//! `calm` is callers without faults, `swarm` what seeds draw: faults of all classes, other settings, other
//! callers. Every promise is looked at, and once more none, to see what looking costs. A run that fails is
//! named and counted like any other: this asks for speed, `quorate-sim swarm` for truth.
//!
//! Give numbers of nodes as arguments to run only these.

use std::ops::Range;

use quorate_sim::plan::{Plan, draw, text};
use quorate_sim::run::{Options, run};
use quorate_sim::swarm::cpu_seconds;

/// As in the `quorate-sim` command.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Nodes, and how many seeds are drawn: larger worlds take longer.
const WORLDS: [(usize, u64); 4] = [(3, 24), (7, 12), (60, 2), (200, 1)];

fn main() {
    let wanted: Vec<usize> = std::env::args().filter_map(|word| word.parse().ok()).collect();
    println!(
        "| nodes | world | virtual s | events | virtual s / CPU s | events / CPU s | without looking |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    for (nodes, seeds) in WORLDS {
        if wanted.is_empty() || wanted.contains(&nodes) {
            row(nodes, "calm", &|_| calm(nodes), 1..2);
            row(nodes, "swarm", &|seed| drawn(nodes, seed), 1..seeds + 1);
        }
    }
}

/// Callers that add workers and change labels, and a network that only takes its time.
fn calm(nodes: usize) -> Plan {
    let plan = format!(
        "scenario bench/calm\nabout callers without faults\ngiven nodes={nodes} time=120s+60s\n\
         load 0s..120s worker.add rate=1/s keys=30\nload 0s..120s labels.set rate=1/s keys=3\n"
    );
    text::parse("calm", &plan).expect("a plan")
}

fn drawn(nodes: usize, seed: u64) -> Plan {
    draw::plan(
        seed,
        &draw::World { nodes: Some(nodes), seconds: Some(60), ..draw::World::default() },
    )
}

/// What some runs came to.
#[derive(Default)]
struct Sum {
    virtual_s: f64,
    events: u64,
    cpu_s: f64,
}

impl Sum {
    fn of(plan: &dyn Fn(u64) -> Plan, seeds: Range<u64>, blind: bool) -> Sum {
        let mut sum = Sum::default();
        for seed in seeds {
            let plan = plan(seed);
            let before = cpu_seconds();
            let outcome = run(&plan, seed, &Options { blind, ..Options::default() });
            sum.cpu_s += cpu_seconds() - before;
            sum.virtual_s += outcome.virtual_us as f64 / 1e6;
            sum.events += outcome.events;
            if outcome.failure.is_some() && !blind {
                eprintln!("{} nodes: {}", plan.nodes(), outcome.line());
            }
        }
        sum
    }

    fn events_per_second(&self) -> f64 {
        self.events as f64 / self.cpu_s
    }
}

fn row(nodes: usize, world: &str, plan: &dyn Fn(u64) -> Plan, seeds: Range<u64>) {
    let seeing = Sum::of(plan, seeds.clone(), false);
    let blind = Sum::of(plan, seeds, true);
    println!(
        "| {nodes} | {world} | {:.0} | {} | {:.0} | {:.0} | {:.0} |",
        seeing.virtual_s,
        seeing.events,
        seeing.virtual_s / seeing.cpu_s,
        seeing.events_per_second(),
        blind.events_per_second(),
    );
}

//! The machines of a run as nodes of madsim.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use madsim::runtime::{NodeHandle, Runtime};
use madsim::{Config, time};
use quorate_core::time::micros;
use quorate_sim::backend::shell::{Engine, Shells, life};
use quorate_sim::clock::Micros;
use quorate_sim::world::World;

use crate::net::MadsimNet;

/// How far everything runs before the world looks.
const TICK: Duration = Duration::from_millis(1);
/// How long bytes travel unless the world says so.
const LATENCY: std::ops::Range<Duration> = Duration::from_micros(200)..Duration::from_micros(1800);

/// See the module.
pub struct Madsim {
    runtime: Runtime,
    nodes: Vec<NodeHandle>,
    elapsed: Duration,
}

/// Moves the processes of `world` there.
pub fn shells(world: &mut World, seed: u64) -> Shells<Madsim> {
    let addresses: Vec<_> = world.machines.iter().map(|machine| machine.address.ip()).collect();
    Shells::new(world, seed, |yard| {
        let mut config = Config::default();
        config.net.send_latency = LATENCY;
        let runtime = Runtime::with_seed_and_config(seed, config);
        let node = |(machine, ip)| {
            let yard = yard.clone();
            let live = move || life::live(MadsimNet, yard.clone(), machine);
            runtime.create_node().ip(ip).init(live).build()
        };
        let nodes = addresses.into_iter().enumerate().map(node).collect();
        Madsim { runtime, nodes, elapsed: Duration::ZERO }
    })
}

impl Madsim {
    fn node(&self, machine: usize) -> &NodeHandle {
        self.nodes.get(machine).expect("an index of a machine stays valid")
    }

    fn tick(&mut self) {
        self.runtime.block_on(async { time::sleep(TICK).await });
        self.elapsed += TICK;
    }
}

impl Engine for Madsim {
    fn now(&self) -> Micros {
        micros(self.elapsed)
    }

    fn step(&mut self) -> Result<(), String> {
        catch_unwind(AssertUnwindSafe(|| self.tick())).map_err(|_| "a shell panicked".to_owned())
    }

    /// A node whose tasks were not dropped before it starts again finds its ports taken.
    fn start(&mut self, machine: usize) {
        let id = self.node(machine).id();
        self.runtime.handle().kill(id);
        self.tick();
        self.runtime.handle().restart(id);
    }

    fn stop(&mut self, machine: usize) {
        self.runtime.handle().kill(self.node(machine).id());
        // What was killed is dropped when its turn comes.
        self.tick();
    }
}

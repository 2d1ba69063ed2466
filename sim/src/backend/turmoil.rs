//! Real shells over turmoil: one paused runtime a machine, a network of datagrams and segments between them.
//!
//! Hosts take their turns in a drawn order each millisecond, so what reaches a node first differs from seed to seed and
//! never within one. Cuts and clogs are the world's ([`super::shell::frayed`]): turmoil would lose the segments of a
//! connection for good, where a real one sends them again.
//!
//! Absent on purpose: its simulated file system. A store's library calls none, and [`super::shell::file`] is smaller.

use std::net::IpAddr;
use std::time::{Duration, UNIX_EPOCH};

use quorate_core::time::{Instant, UnixTime};

use super::shell::{Engine, Shells, Yard, life};
use crate::clock::{Micros, WALL_ORIGIN_US};
use crate::world::World;

/// How far all machines run before the next looks at what the others sent.
const TICK: Duration = Duration::from_millis(1);
/// Bytes travel for no longer than that unless the world says so.
const LATENCY_MAX: Duration = Duration::from_millis(2);
/// Datagrams and segments that wait at a socket.
const CAPACITY: usize = 1024;
/// Longer than any run.
const FOR_EVER: Duration = Duration::from_secs(1 << 32);

quorate::tokio_like_net!(
    /// The network of turmoil.
    TurmoilNet,
    turmoil::net,
    elapsed,
    wall,
    leave_as_it_is
);

fn elapsed() -> Instant {
    let elapsed = turmoil::sim_elapsed().unwrap_or_default();
    Instant::from_micros(quorate_core::time::micros(elapsed))
}

/// Machines have walls of their own above this one.
fn wall() -> UnixTime {
    UnixTime((WALL_ORIGIN_US + elapsed().as_micros()) / 1000)
}

fn leave_as_it_is(_: &turmoil::net::UdpSocket) {}

/// The machines of a run.
pub struct Turmoil {
    sim: turmoil::Sim<'static>,
    addresses: Vec<IpAddr>,
}

/// Moves the processes of `world` there.
pub fn shells(world: &mut World, seed: u64) -> Shells<Turmoil> {
    let addresses: Vec<IpAddr> =
        world.machines.iter().map(|machine| machine.address.ip()).collect();
    Shells::new(world, seed, |yard| Turmoil::new(yard, seed, addresses))
}

impl Turmoil {
    fn new(yard: &Yard, seed: u64, addresses: Vec<IpAddr>) -> Turmoil {
        let mut builder = turmoil::Builder::new();
        builder
            .rng_seed(seed)
            .epoch(UNIX_EPOCH + Duration::from_micros(WALL_ORIGIN_US))
            .simulation_duration(FOR_EVER)
            .tick_duration(TICK)
            .min_message_latency(Duration::ZERO)
            .max_message_latency(LATENCY_MAX)
            .udp_capacity(CAPACITY)
            .tcp_capacity(CAPACITY)
            .enable_random_order();
        let mut sim = builder.build();
        for (machine, address) in addresses.iter().enumerate() {
            let yard = yard.clone();
            sim.host(*address, move || {
                let yard = yard.clone();
                async move {
                    life::live(TurmoilNet, yard, machine).await;
                    Ok(())
                }
            });
        }
        Turmoil { sim, addresses }
    }

    fn address(&self, machine: usize) -> IpAddr {
        *self.addresses.get(machine).expect("an index of a machine stays valid")
    }
}

impl Engine for Turmoil {
    fn now(&self) -> Micros {
        quorate_core::time::micros(self.sim.elapsed())
    }

    fn step(&mut self) -> Result<(), String> {
        self.sim.step().map(|_| ()).map_err(|error| error.to_string())
    }

    fn start(&mut self, machine: usize) {
        let address = self.address(machine);
        self.sim.bounce(address);
    }

    fn stop(&mut self, machine: usize) {
        let address = self.address(machine);
        self.sim.crash(address);
    }
}

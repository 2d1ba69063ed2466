//! What nodes ask of the outside world: names that resolve, and workers that are probed.

use std::net::SocketAddr;
use std::time::Duration;

use quorate_core::ids::Ticket;
use quorate_core::node::workers::Probe;
use quorate_core::node::{Answer, Call};

use super::{Event, World};
use crate::clock::Micros;

impl World {
    pub(super) fn call(&mut self, machine: usize, process: u64, ticket: Ticket, call: Call) {
        let (took, answer) = match call {
            Call::Resolve { name } => (500, Answer::Resolved(self.resolve(&name))),
            Call::Probe(probe) => self.probe(machine, &probe),
        };
        let at = self.now + took;
        self.queue.push(at, Event::Answered { machine, process, ticket, answer });
    }

    fn resolve(&self, name: &str) -> Vec<SocketAddr> {
        let host = name.rsplit_once(':').map_or(name, |(host, _)| host);
        let named = self.machines.iter().find(|machine| machine.node.as_str() == host);
        named.map(|machine| machine.address).or_else(|| name.parse().ok()).into_iter().collect()
    }

    fn probe(&mut self, machine: usize, probe: &Probe) -> (Micros, Answer) {
        let (url, timeout) = crate::surfaces::probe_target(probe);
        let (outcome, took, lie) = self.outside.probe(machine, &url, timeout);
        if lie {
            self.faults.count("service");
        }
        self.checks.probed(machine, &url, outcome);
        (took, Answer::Probed { outcome, took: Duration::from_micros(took) })
    }
}

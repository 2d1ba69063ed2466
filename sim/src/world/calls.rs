//! What nodes ask of the outside world: names that resolve, workers that are probed, and watchers that read.

use std::net::SocketAddr;
use std::time::Duration;

use quorate_core::ids::Ticket;
use quorate_core::node::credentials::Errand;
use quorate_core::node::workers::Probe;
use quorate_core::node::{Answer, Call, Request, kv};
use quorate_core::time::UnixTime;

use super::{Event, World};
use crate::clock::Micros;

impl World {
    pub(super) fn call(&mut self, machine: usize, process: u64, ticket: Ticket, call: Call) {
        let (took, answer) = self.answer(machine, call);
        let at = self.now + took;
        self.queue.push(at, Event::Answered { machine, process, ticket, answer });
    }

    /// After which time a call of a process on `machine` ends, and how.
    pub fn answer(&mut self, machine: usize, call: Call) -> (Micros, Answer) {
        match call {
            Call::Resolve { name } => (500, Answer::Resolved(self.resolve(&name))),
            Call::Probe(probe) => self.probe(machine, &probe),
            Call::Credential(errand) => self.errand(machine, errand),
        }
    }

    /// A watcher hears something and has read it at once.
    pub fn watched(&mut self, machine: usize, watch: Ticket, event: &kv::Event) {
        let revision = match event {
            kv::Event::Changes { revision, .. } | kv::Event::Progress { revision } => *revision,
            kv::Event::Compacted(_) | kv::Event::Refused(_) => 0,
        };
        let checks = &mut self.checks;
        let told = checks.kv.watches.told(machine, watch, event, &mut checks.ledger);
        if let Err(failure) = told
            && checks.on
        {
            self.fail(failure.at(self.now, self.trace.turns()));
        }
        if revision > 0 {
            self.request(machine, Request::Taken { watch, revision });
        }
    }

    /// What is there is looked at now; the answer may be late.
    fn errand(&mut self, machine: usize, errand: Errand) -> (Micros, Answer) {
        let took = self.outside.folder(machine);
        let host = self.machine_mut(machine);
        let found = host.folder.run(UnixTime(took / 1000), errand);
        (took, Answer::Credential(found))
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

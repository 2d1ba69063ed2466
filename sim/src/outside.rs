//! The world outside the cluster, as far as nodes call it: model servers and name resolution.
//!
//! Each model server is a small machine with a truth of its own; what a node believes about it is never
//! consulted here.
//!
//! Absent on purpose: tables, stores and configuration servers. They come with the domains that call them.

pub mod providers;

use std::collections::BTreeMap;

use quorate_core::node::workers::ProbeOutcome;
use quorate_core::random::Rng;

use crate::clock::Micros;
use crate::net::{ALWAYS, Ppm};

/// How a model server treats whoever asks after its health.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Health {
    /// It answers well.
    #[default]
    Good,
    /// It answers with an error.
    Error,
    /// It never answers.
    Hang,
    /// Nobody listens.
    Refuse,
    /// It answers with something else.
    Garbage,
}

impl Health {
    /// All of them, by the word that scenarios use.
    pub const ALL: [(&'static str, Health); 5] = [
        ("good", Health::Good),
        ("error", Health::Error),
        ("hang", Health::Hang),
        ("refuse", Health::Refuse),
        ("garbage", Health::Garbage),
    ];

    fn outcome(self) -> ProbeOutcome {
        match self {
            Health::Good => ProbeOutcome::Good,
            Health::Error => ProbeOutcome::Status,
            Health::Hang => ProbeOutcome::Timeout,
            Health::Refuse => ProbeOutcome::Connect,
            Health::Garbage => ProbeOutcome::Protocol,
        }
    }
}

/// Everything outside.
#[derive(Debug)]
pub struct Outside {
    servers: BTreeMap<String, Health>,
    /// Who serves the requests of callers.
    pub providers: providers::Providers,
    /// One in so many answers is false.
    pub lies: Ppm,
    rng: Rng,
    /// One stream of draws per machine that asks.
    draws: BTreeMap<usize, Rng>,
    /// And one more for its folder.
    folders: BTreeMap<usize, Rng>,
}

impl Outside {
    /// A world in which every model server is well.
    pub fn new(rng: Rng) -> Outside {
        Outside {
            servers: BTreeMap::new(),
            providers: providers::Providers::new(rng.child("providers")),
            lies: 0,
            rng,
            draws: BTreeMap::new(),
            folders: BTreeMap::new(),
        }
    }

    /// The server at `url` is `health` from now on.
    pub fn set(&mut self, url: &str, health: Health) {
        self.servers.insert(url.to_owned(), health);
    }

    /// Every server that was ever touched is well again, and none lies.
    pub fn heal(&mut self) {
        self.servers.clear();
        self.lies = 0;
    }

    /// What the server at `url` truly is.
    pub fn health(&self, url: &str) -> Health {
        self.servers.get(url).copied().unwrap_or_default()
    }

    /// How long the folder of a machine takes: little, and now and then long enough for much to happen.
    pub fn folder(&mut self, machine: usize) -> Micros {
        let child = || self.rng.child(&format!("folder/{machine}"));
        let draws = self.folders.entry(machine).or_insert_with(child);
        let slow = draws.below(16) == 0;
        50 + draws.below(if slow { 1_500_000 } else { 5000 })
    }

    /// Answers a probe: how it ends, after how long, and whether that was a lie.
    pub fn probe(
        &mut self,
        machine: usize,
        url: &str,
        timeout: Micros,
    ) -> (ProbeOutcome, Micros, bool) {
        let truth = self.health(url);
        let child = || self.rng.child(&machine.to_string());
        let draws = self.draws.entry(machine).or_insert_with(child);
        let latency = 300 + draws.below(4000);
        let lie = draws.below(ALWAYS) < self.lies;
        let other = another(truth, draws);
        let shown = if lie { other } else { truth };
        let took = if shown == Health::Hang { timeout } else { latency.min(timeout) };
        (shown.outcome(), took, lie)
    }
}

fn another(truth: Health, draws: &mut Rng) -> Health {
    let others: Vec<Health> = Health::ALL
        .into_iter()
        .map(|(_, health)| health)
        .filter(|health| *health != truth)
        .collect();
    draws.pick(&others).copied().unwrap_or_default()
}

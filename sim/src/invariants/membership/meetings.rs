//! M-10: how long a node and a seed of its that nothing keeps apart may be strangers.
//!
//! The clock of a pair runs while the same two processes take part and nothing stands between them, and begins anew
//! whenever they are members to each other, one of them is another life, or something comes in between. Two groups that share a seed are strangers
//! exactly if one of them does not know the seed.

use std::collections::BTreeMap;

use quorate_core::node::membership::State;

use super::leaving;
use crate::clock::Micros;
use crate::invariants::{Id, Ledger};
use crate::verdict::Failure;
use crate::world::machine::{Machine, Process};

/// How long a node may be alone beside a seed.
const ALONE_US: Micros = 15_000_000;
/// How long a node may be a stranger to a seed that others know.
const STRANGERS_US: Micros = 150_000_000;

/// Since when, by machine and seed, and in which lives of both.
type Clocks = BTreeMap<(usize, usize), ((u64, u64), Micros)>;

#[derive(Debug, Default)]
pub(super) struct Meetings {
    strangers: Clocks,
    alone: Clocks,
    /// By machine: what it was told to join, and which machines these are.
    seeds: Vec<(Vec<String>, Vec<usize>)>,
}

impl Meetings {
    pub(super) fn look(
        &mut self,
        now: Micros,
        machines: &[Machine],
        near: impl Fn(usize, usize) -> bool,
        ledger: &mut Ledger,
    ) -> Result<(), Failure> {
        self.find_seeds(machines);
        for (machine, (_, seeds)) in machines.iter().zip(&self.seeds) {
            for seed in seeds.iter().filter_map(|seed| machines.get(*seed)) {
                let pair = (machine.index, seed.index);
                let Some((one, other)) = both(machine, seed).filter(|_| near(pair.0, pair.1))
                else {
                    self.strangers.remove(&pair);
                    self.alone.remove(&pair);
                    continue;
                };
                let lives = (one.number, other.number);
                let stranger = !knows(one, other) || !knows(other, one);
                let strange = since(&mut self.strangers, (pair, lives), now, stranger);
                let alone = since(&mut self.alone, (pair, lives), now, is_alone(one));
                let held = strange <= STRANGERS_US && alone <= ALONE_US;
                ledger.hold(Id::M10, pair.0, held, || {
                    let (strange, alone) = (strange / 1_000_000, alone / 1_000_000);
                    let seed = &seed.node;
                    format!(
                        "{seed} is a seed in reach; strangers for {strange} s, alone for {alone} s"
                    )
                })?;
            }
        }
        Ok(())
    }

    fn find_seeds(&mut self, machines: &[Machine]) {
        self.seeds.resize_with(machines.len(), Default::default);
        for (machine, (join, seeds)) in machines.iter().zip(&mut self.seeds) {
            if machine.settings.membership.join != *join {
                join.clone_from(&machine.settings.membership.join);
                let found = machines.iter().filter(|seed| is_seed(machine, seed));
                *seeds = found.map(|seed| seed.index).collect();
            }
        }
    }
}

/// For how long something has been so.
fn since(
    clocks: &mut Clocks,
    (pair, lives): ((usize, usize), (u64, u64)),
    now: Micros,
    is_so: bool,
) -> Micros {
    if !is_so {
        clocks.remove(&pair);
        return 0;
    }
    let clock = clocks.entry(pair).or_insert((lives, now));
    if clock.0 != lives {
        *clock = (lives, now);
    }
    now - clock.1
}

fn is_seed(machine: &Machine, seed: &Machine) -> bool {
    let mut seeds = machine.settings.membership.join.iter();
    seeds.any(|name| name.rsplit_once(':').map_or(&**name, |(host, _)| host) == seed.node.as_str())
}

/// The processes of two machines, if both take part and mean to stay.
fn both<'a>(one: &'a Machine, other: &'a Machine) -> Option<(&'a Process, &'a Process)> {
    let part = |machine: &'a Machine| {
        let process = machine.process.as_ref().filter(|_| machine.runs())?;
        (!leaving(process)).then_some(process)
    };
    Some((part(one)?, part(other)?))
}

fn knows(process: &Process, other: &Process) -> bool {
    process.node.membership().is_member(&other.node.local().node)
}

fn is_alone(process: &Process) -> bool {
    let members = process.node.published().members.load();
    let mut here =
        members.rows.values().filter(|row| matches!(row.state, State::Alive | State::Suspect));
    here.nth(1).is_none()
}

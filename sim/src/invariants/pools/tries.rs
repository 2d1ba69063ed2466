//! P-6: the one try of a target. Who may send it follows from what a node sees: of the members whose requests
//! could use the target, the one with the greatest hash, while nobody else's try is in view. So of nodes that
//! see the same, one does. P-15: of a long rest one in each interval.

use std::collections::BTreeMap;

use quorate_core::ids::{Incarnation, NodeId};
use quorate_core::node::pools::said::ProbeSaid;
use quorate_core::wire::segment::Topic;

use super::super::{Id, Ledger, Turn};
use super::Observer;
use super::words::{DEMAND_MS, Words};
use crate::verdict::Failure;

impl Observer {
    /// What this turn says to be tried, by what was in view before it.
    pub(super) fn tries(
        &self,
        turn: &Turn<'_>,
        unix: u64,
        ledger: &mut Ledger,
    ) -> Result<(), Failure> {
        let local = turn.process.node.local();
        for wrote in turn.process.touched.writes.iter().filter(|one| one.topic == Topic::POOLS) {
            let target = wrote.entry.key.strip_prefix("p/");
            let said = wrote.entry.value.as_ref();
            let said = said.and_then(|said| serde_json::from_slice::<ProbeSaid>(said).ok());
            let Some((target, said)) = target.zip(said) else { continue };
            // A life that takes over says again what the one before it said.
            let own = self.words.books.get(&local.node).and_then(|own| own.probes.get(target));
            if said.spent || own.is_some_and(|(before, _)| *before == said) {
                continue;
            }
            self.one_try(turn.machine, (target, said), (&local.node, unix), ledger)?;
            self.one_an_interval(turn.machine, (target, said), unix, ledger)?;
        }
        Ok(())
    }

    fn one_try(
        &self,
        machine: usize,
        (target, said): (&str, ProbeSaid),
        (local, unix): (&NodeId, u64),
        ledger: &mut Ledger,
    ) -> Result<(), Failure> {
        let others = self.words.books.iter().filter(|(node, _)| *node != local);
        let tries = || {
            let known =
                others.clone().filter_map(|(node, book)| Some((node, book.probes.get(target)?)));
            known.filter(|(_, (one, _))| one.rest == said.rest)
        };
        let out = tries().find(|(node, (one, seen))| {
            let counts = unix < seen.saturating_add(OUT_MS_MAX) && self.members.contains_key(*node);
            !one.spent && counts
        });
        ledger.hold(Id::P6, machine, out.is_none(), || {
            format!("{target} is tried while {out:?} is on its way")
        })?;
        let higher = tries().find(|(_, (one, _))| one.attempt >= said.attempt);
        ledger.hold(Id::P6, machine, higher.is_none(), || {
            format!("{target} is tried by {local} for the {}th time: {higher:?}", said.attempt)
        })?;
        let first = first(&self.words, &self.members, target, said, unix);
        ledger.hold(Id::P6, machine, first == Some(local), || {
            format!("{target} is tried by {local}, and it is the turn of {first:?}")
        })
    }

    /// P-15: what rests is tried once in each interval from its beginning, unless an operator asks.
    fn one_an_interval(
        &self,
        machine: usize,
        (target, said): (&str, ProbeSaid),
        unix: u64,
        ledger: &mut Ledger,
    ) -> Result<(), Failure> {
        let rest = self.words.rests.get(target).filter(|rest| unix < rest.rest_until);
        let rest = rest.filter(|_| !self.words.asked(target, unix));
        let pools = self.shown.iter().flat_map(|shown| shown.pools.values());
        let every = pools.map(|pool| pool.definition.early_probe_ms).min().unwrap_or_default();
        let Some(rest) = rest.filter(|_| every > 0) else { return Ok(()) };
        let interval = |at: u64| at.saturating_sub(rest.since) / every;
        let known = self.words.books.values().filter_map(|book| book.probes.get(target));
        let before =
            known.filter(|(one, _)| one.rest == said.rest).map(|(_, seen)| interval(*seen));
        let before = before.max();
        ledger.hold(Id::P15, machine, before < Some(interval(unix)), || {
            format!("{target} is tried twice in interval {before:?} of its rest")
        })
    }
}

/// Whose turn it is to try a target.
fn first<'a>(
    words: &'a Words,
    members: &BTreeMap<NodeId, Incarnation>,
    target: &str,
    said: ProbeSaid,
    unix: u64,
) -> Option<&'a NodeId> {
    let wanted = words.books.iter().filter_map(|(node, book)| {
        let (_, seen) = book.demands.get(target)?;
        let good = unix < seen.saturating_add(DEMAND_MS);
        Some((node, *members.get(node).filter(|_| good)?))
    });
    wanted
        .max_by_key(|(node, incarnation)| {
            let mut hasher = blake3::Hasher::new();
            hasher.update(target.as_bytes());
            hasher.update(&said.rest.to_be_bytes());
            hasher.update(&said.attempt.to_be_bytes());
            hasher.update(node.as_str().as_bytes());
            hasher.update(&incarnation.0.to_be_bytes());
            *hasher.finalize().as_bytes()
        })
        .map(|(node, _)| node)
}

/// How long a try counts without an outcome: `pools.md` §7.
const OUT_MS_MAX: u64 = 120_000;

//! What callers got from a pick: P-1, P-3 and P-15, and the count of calls that should never have been.

use quorate_core::ids::CredentialHandle;
use quorate_core::node::pools::view::State;
use quorate_core::node::pools::{Picked, Pool, Refused, Strategy, Why};

use super::super::{Id, Ledger};
use super::words::{Moment, Standing, speaks_of};
use super::{Observer, Watch, here, moment};
use crate::verdict::Failure;

/// What callers of pools got, by the oracle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Calls {
    /// Requests that left for a member.
    pub sent: u64,
    /// Of these, tries of a half-open one.
    pub tries: u64,
    /// Requests that nobody could be picked for.
    pub refused: u64,
    /// Calls to a member that its node knew to rest while another one could serve, but for tries that an operator
    /// asked for.
    pub cooling: u64,
}

impl Calls {
    /// Adds those of another run.
    pub fn add(&mut self, other: Calls) {
        self.sent += other.sent;
        self.tries += other.tries;
        self.refused += other.refused;
        self.cooling += other.cooling;
    }
}

/// A pick that a caller made.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// Where.
    pub machine: usize,
    /// What its node showed.
    pub pool: &'a Pool,
    /// When, by its wall clock as the node was told, Unix ms.
    pub unix: u64,
    /// For which model; empty: none was named.
    pub model: &'a str,
}

impl Watch {
    /// A caller picked, or could not.
    pub fn picked(
        &mut self,
        call: Call<'_>,
        picked: &Result<Picked, Refused>,
        ledger: &mut Ledger,
    ) -> Result<(), Failure> {
        let Some(observer) = self.observers.get(&call.machine) else { return Ok(()) };
        match picked {
            Ok(picked) => {
                let of = (picked.member.handle, picked.member.epoch);
                self.calls.sent += 1;
                self.calls.tries += u64::from(picked.probe);
                let at = moment(call.pool, call.unix);
                let rests = observer.standing(&call, at, of) == Standing::Rests;
                let asked = picked.probe && observer.asked(&call, of);
                let other = observer.serves(&call, at).is_some();
                self.calls.cooling += u64::from(rests && !asked && other);
                observer.sent(&call, of, picked.probe, ledger)?;
                if picked.probe { Ok(()) } else { observer.passed_over(&call, of, ledger) }
            }
            Err(refused) => {
                self.calls.refused += 1;
                // What its last turn could not know yet is no fault of it.
                let at = moment(call.pool, observer.unix);
                let open = observer.serves(&call, at);
                let excused = matches!(refused.why, Why::Ramping | Why::Tried);
                ledger.hold(Id::P1, call.machine, open.is_none() || excused, || {
                    format!("nobody is picked for `{}`, though {open:?} could serve", call.model)
                })
            }
        }
    }
}

impl Observer {
    fn standing(&self, call: &Call<'_>, at: Moment, of: (CredentialHandle, u64)) -> Standing {
        self.words.standing(at, call.pool, of, call.model, &here(call.pool))
    }

    /// The first member that could serve.
    fn serves(&self, call: &Call<'_>, at: Moment) -> Option<CredentialHandle> {
        let rows = call.pool.rows.iter().filter(|row| row.state != State::Disabled);
        let mut members = rows.map(|row| (row.handle, row.epoch));
        members.find(|of| self.standing(call, at, *of) == Standing::Servable).map(|of| of.0)
    }

    /// P-3: with `failover` nobody else is asked while whoever is active can serve.
    fn passed_over(
        &self,
        call: &Call<'_>,
        of: (CredentialHandle, u64),
        ledger: &mut Ledger,
    ) -> Result<(), Failure> {
        let Call { machine, pool, model, .. } = *call;
        let lane = pool.lane(Some(model));
        let own = pool.lanes.iter().find(|(_, one)| std::ptr::eq(&***one, lane));
        let name = own.map_or("", |(name, _)| name);
        let view = pool.views.iter().find(|view| *view.model == *name);
        let active = view.and_then(|view| view.active);
        let place = pool.rows.iter().position(|row| Some(row.handle) == active);
        let row = place.and_then(|place| pool.rows.get(place));
        let Some(row) = row.filter(|_| pool.definition.strategy == Strategy::Failover) else {
            return Ok(());
        };
        // What its last turn could not know yet is no fault of it.
        let at = moment(pool, self.unix);
        let active = (row.handle, row.epoch);
        let serves = row.state != State::Disabled
            && !self.words.parked(self.unix, active)
            && self.standing(call, at, active) == Standing::Servable;
        // Who came back a moment ago takes a few requests at once, and others take the rest.
        let gated = lane.gates.iter().any(|gate| Some(gate.position as usize) == place);
        ledger.hold(Id::P3, machine, !serves || gated || of == active, || {
            format!("{} is asked for `{model}`, while {} is active and could serve", of.0, active.0)
        })
    }

    /// Whether an operator wants a member tried: then it is, whatever rests.
    fn asked(&self, call: &Call<'_>, of: (CredentialHandle, u64)) -> bool {
        let mut demands = self.words.books.values().flat_map(|book| book.demands.keys());
        demands
            .any(|target| speaks_of(target, of, call.model) && self.words.asked(target, self.unix))
    }

    fn sent(
        &self,
        call: &Call<'_>,
        of: (CredentialHandle, u64),
        probe: bool,
        ledger: &mut Ledger,
    ) -> Result<(), Failure> {
        let (machine, at) = (call.machine, moment(call.pool, call.unix));
        let row = call.pool.rows.iter().find(|row| (row.handle, row.epoch) == of);
        let on = row.is_some_and(|row| row.state != State::Disabled);
        let standing = self.standing(call, at, of);
        ledger.hold(Id::P1, machine, on && (probe || standing == Standing::Servable), || {
            format!("{} is picked for `{}`: it is {standing:?}", of.0, call.model)
        })?;
        if !probe {
            return Ok(());
        }
        if self.asked(call, of) {
            return Ok(());
        }
        let every = call.pool.definition.early_probe_ms;
        let rests = self.words.rests.iter().filter(|(target, rest)| {
            speaks_of(target, of, call.model) && rest.standing(at) == Standing::Rests
        });
        let early = rests.filter(|(_, rest)| {
            let long = rest.rest_until.saturating_sub(rest.since) > LONG_MS;
            !(long && every > 0 && call.unix >= rest.since.saturating_add(every))
        });
        let early: Vec<&String> = early.map(|(target, _)| target).collect();
        ledger.hold(Id::P15, machine, early.is_empty(), || {
            format!("{} is tried for `{}` before {early:?} may be", of.0, call.model)
        })?;
        // What its last turn could not know yet is no fault of it.
        let other = self.serves(call, moment(call.pool, self.unix));
        ledger.hold(Id::P15, machine, standing != Standing::Rests || other.is_none(), || {
            format!("{} is tried for `{}` before its time, and {other:?} serves", of.0, call.model)
        })
    }
}

/// Only longer rests are tried before they are over.
const LONG_MS: u64 = 3_600_000;

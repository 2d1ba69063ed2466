//! Promises across nodes while a run goes on, and what must have come of it at its end.

use quorate_core::machine::{Count, Counted as _, Labels};
use quorate_core::mark::Hits;

use super::Run;
use crate::clock::Micros;
use crate::invariants::{self, Id, Ledger, Moment, TABLE};
use crate::plan::text::Time;
use crate::plan::{Comparison, Then};
use crate::verdict::{Failure, Kind as FailureKind};

impl Run<'_> {
    /// Promises across nodes, once a second.
    pub(super) fn global(&mut self) -> Result<(), Failure> {
        if !self.world.checks.on {
            return Ok(());
        }
        let mut ledger = std::mem::take(&mut self.world.checks.ledger);
        let held = self.look_across(&mut ledger);
        self.world.checks.ledger = ledger;
        held
    }

    fn look_across(&mut self, ledger: &mut Ledger) -> Result<(), Failure> {
        let now: Micros = self.world.now();
        let mut membership = std::mem::take(&mut self.world.checks.membership);
        let reach = |one: usize, other: usize| self.reach(one, other);
        let held = membership.reachability(now, &self.world.machines, reach, ledger);
        let near = |one: usize, other: usize| self.near(one, other);
        let met = membership.meetings(now, &self.world.machines, near, ledger);
        self.world.checks.membership = membership;
        held.and(met)?;
        let checks = &self.world.checks;
        let sums = |machine: usize| checks.replica.sums(machine);
        checks.gossip.digests(&self.world.machines, sums, ledger)?;
        for (index, machine) in self.world.machines.iter().enumerate() {
            let Some(process) = &machine.process else { continue };
            let told = machine.livez(now);
            let excused = process.standing_until.is_some();
            ledger.hold(Id::M8, index, told.is_ok() || excused, || {
                format!("/livez is red: {}", told.err().unwrap_or_default())
            })?;
            self.world.checks.gossip.accounts(index, machine, process, ledger)?;
            let links = process.node.links().check();
            links.map_err(|sentence| invariants::confessed(index, sentence))?;
            for id in [Id::M7, Id::L1, Id::L2, Id::L3, Id::L6, Id::L7, Id::L8, Id::L10] {
                ledger.note(id);
            }
        }
        Ok(())
    }

    /// The end of a run: what had to be, was.
    pub(super) fn verify(&mut self) {
        if self.world.failure().is_some() || !self.world.checks.on {
            return;
        }
        let mut ledger = std::mem::take(&mut self.world.checks.ledger);
        if self.converged.is_some() {
            let quiet = self.quiet(&mut ledger);
            // The poll saw it quiet; a renewal may be on its way at this very instant.
            drop(quiet);
        }
        let told = self.world.checks.kv.ended(&self.world.machines, &mut ledger);
        self.world.checks.ledger = ledger;
        if let Err(failure) = told {
            let (at, turns) = (self.world.now(), self.world.trace.turns());
            self.world.fail(failure.at(at, turns));
        }
        for index in 0..self.plan.thens.len() {
            let at_end = self.plan.thens.get(index).is_some_and(|then| {
                !matches!(then, Then::By(..) | Then::Count { by: Some(_), .. })
            });
            if at_end {
                self.check_then(index);
            }
        }
    }

    /// Looks at one `then` line.
    pub(super) fn check_then(&mut self, index: usize) {
        let plan = self.plan;
        if !self.world.checks.on {
            return;
        }
        let Some(then) = plan.thens.get(index) else { return };
        let held = match then {
            Then::Always(ids) | Then::End(ids) => self.evaluated(ids),
            Then::By(at, ids) => self.quiet_by(*at, ids),
            Then::Answer(tag, text) => self.answered(tag, text),
            // How a plan comes to a rare place is a matter of its timing under its own backend.
            Then::Mark(_) if self.world.is_elsewhere() => Ok(()),
            Then::Mark(name) => reached(name),
            Then::Count { metric, comparison, number, node, .. } => {
                self.counted(metric, *comparison, *number, *node)
            }
        };
        if let Err((id, message)) = held {
            let message = format!("then {then}: {message}");
            let failure = Failure::new(FailureKind::Invariant, &id, None, message);
            let (at, turns) = (self.world.now(), self.world.trace.turns());
            self.world.fail(failure.at(at, turns));
        }
    }

    fn evaluated(&self, ids: &[String]) -> Result<(), (String, String)> {
        for id in ids {
            let row = invariants::find(id).unwrap_or_default();
            if self.world.checks.ledger.counts(row).0 == 0 {
                return Err((id.clone(), format!("{id} was never evaluated")));
            }
        }
        Ok(())
    }

    fn quiet_by(&self, at: Micros, ids: &[String]) -> Result<(), (String, String)> {
        let waits = |id: &&String| {
            let row = invariants::find(id).and_then(|index| TABLE.get(index));
            row.is_some_and(|row| row.when == Moment::Quiet)
        };
        let Some(first) = ids.iter().find(waits) else { return self.evaluated(ids) };
        let mut scratch = Ledger::default();
        match self.quiet(&mut scratch) {
            Err(failure) if ids.contains(&failure.id) => Err((failure.id, failure.message)),
            Err(failure) if self.converged.is_none() => {
                Err((first.clone(), format!("not quiet by {}: {}", Time(at), failure.message)))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn answered(&self, tag: &str, text: &str) -> Result<(), (String, String)> {
        let ticket = self.tags.get(tag);
        let answer = ticket.and_then(|ticket| self.world.checks.workers.answers.get(ticket));
        match answer {
            Some(answer) if answer.starts_with(text) => Ok(()),
            Some(answer) => Err(("answer".to_owned(), format!("it was `{answer}`"))),
            None => Err(("answer".to_owned(), "there was none".to_owned())),
        }
    }

    fn counted(
        &self,
        metric: &str,
        comparison: Comparison,
        number: u64,
        node: Option<usize>,
    ) -> Result<(), (String, String)> {
        let (mut sum, mut known) = (0, false);
        for (index, machine) in self.world.machines.iter().enumerate() {
            let Some(process) = machine.process.as_ref() else { continue };
            if node.is_some_and(|node| node != index + 1) {
                continue;
            }
            process.node.counts(&mut |count| {
                if series(&count) == metric || count_name(&count) == metric {
                    known = true;
                    sum += count.value;
                }
            });
        }
        if !known {
            return Err(("count".to_owned(), format!("no node keeps `{metric}`")));
        }
        if comparison.holds(sum, number) {
            return Ok(());
        }
        Err(("count".to_owned(), format!("it is {sum}")))
    }
}

fn reached(mark: &str) -> Result<(), (String, String)> {
    match Hits::so_far().of(mark) {
        None | Some(0) => Err(("mark".to_owned(), "it was never reached".to_owned())),
        Some(_) => Ok(()),
    }
}

fn count_name(count: &Count) -> String {
    format!("quorate_{}", count.name)
}

/// A number as it is exported: name and labels.
fn series(count: &Count) -> String {
    let name = count_name(count);
    let pair = |key: &str, value: &str| format!("{key}=\"{value}\"");
    match count.labels {
        Labels::None => name,
        Labels::One(key, value) => format!("{name}{{{}}}", pair(key, value)),
        Labels::Two(one, first, other, second) => {
            format!("{name}{{{},{}}}", pair(one, first), pair(other, second))
        }
        Labels::Three(pairs) => {
            let pairs: Vec<String> = pairs.iter().map(|(key, value)| pair(key, value)).collect();
            format!("{name}{{{}}}", pairs.join(","))
        }
    }
}

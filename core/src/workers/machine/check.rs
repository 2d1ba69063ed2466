//! Whether every invariant holds, looked at in full: for the simulator and tests, after any input.

use std::collections::BTreeSet;

use super::super::claim;
use super::super::status::Status;
use super::super::view::Lease;
use super::{Arc, Id, Workers, publish};

impl Workers {
    /// The first invariant that is broken, in words. Costs a walk over everything.
    pub fn check(&self) -> Result<(), String> {
        let mut ids: BTreeSet<&Id> = BTreeSet::new();
        let mut due = 0;
        for (number, entry) in &self.entries {
            let url = &entry.url.identity;
            ensure(self.by_url.get(url) == Some(number), || format!("W-2: {url} is not found"))?;
            let claimed = entry.own.is_some() || !entry.claims.is_empty();
            ensure(claimed, || format!("W-2: {url} has no claim"))?;
            if let Some(own) = &entry.own {
                let expected = claim::id(&self.local.node, url);
                ensure(own.id == expected, || format!("W-1: {url} is ours under {}", own.id))?;
                let published = own.written.is_some() != own.spec.is_local();
                ensure(published, || format!("W-9, W-11: {url} is published or not by mistake"))?;
                let chosen = entry.chosen == self.local.node;
                ensure(chosen, || format!("W-9: {url} is ours, and {} is chosen", entry.chosen))?;
            }
            for (node, held) in &entry.claims {
                let expected = claim::id(node, url);
                ensure(held.id == expected, || format!("W-1: {node} holds {url} as {}", held.id))?;
                let owner = self.owners.get(node);
                let known = owner.is_some_and(|owner| owner.entries.contains(number));
                ensure(known, || format!("W-2: {node} does not know its claim on {url}"))?;
                let version = Some((held.incarnation, held.version));
                let risen = held.applied <= version;
                ensure(risen, || format!("W-3: {url} of {node} applied beyond its version"))?;
            }
            ids.extend(entry.ids());
            let scheduled =
                entry.probe.due.is_some_and(|at| self.schedule.contains(&(at, *number)));
            ensure(scheduled == entry.probe.due.is_some(), || format!("W-10: {url} waits alone"))?;
            due += usize::from(scheduled);
            let flying = entry.probe.in_flight;
            let flies = flying.is_none_or(|ticket| self.in_flight.get(&ticket) == Some(number));
            ensure(flies && !(scheduled && flying.is_some()), || {
                format!("W-10: {url} has two probes, or one that nobody knows")
            })?;
            let drained = entry.is_drained() == (entry.condition.status() == Status::Draining);
            ensure(drained, || format!("T16, T17: {url} is not as its chosen claim says"))?;
        }
        ensure(due == self.schedule.len(), || "W-10: a probe of no entry is due".to_owned())?;
        let named = self.by_id.keys().collect::<BTreeSet<_>>() == ids;
        ensure(named, || "W-2: an id leads nowhere, or a claim has none".to_owned())?;
        self.check_leases()
    }

    fn check_leases(&self) -> Result<(), String> {
        for (node, owner) in &self.owners {
            let timed = owner
                .fresh_until
                .is_none_or(|at| self.timers.contains(&(at, super::Timer::Lease(node.clone()))));
            ensure(timed, || format!("E-4: the lease of {node} never ends"))?;
            let own = owner.lease(owner.replica.incarnation) != Lease::Own;
            ensure(own, || format!("W-1: {node} is taken for us"))?;
        }
        Ok(())
    }

    /// W-6: whether the snapshot equals the fold of the state. To be asked after [`Workers::publish`].
    pub fn check_snapshot(&self) -> Result<(), String> {
        let snapshot = self.folded.snapshot();
        ensure(snapshot.entries.len() == self.entries.len(), || {
            format!("W-6: {} entries, {} shown", self.entries.len(), snapshot.entries.len())
        })?;
        for entry in self.entries.values() {
            let expected = publish::view(entry, &self.owners, &self.local, &self.suppressed);
            let shown = snapshot.entries.get(&entry.url.identity).map(Arc::as_ref);
            let same = shown.is_some_and(|shown| {
                // A probe that has just left is not worth a new view.
                let probe = super::super::view::ProbeView {
                    next: expected.probe.next,
                    ..shown.probe.clone()
                };
                super::EntryView { probe, ..shown.clone() } == expected
            });
            ensure(same, || format!("W-6: {} is shown as {shown:?}", entry.url.identity))?;
            for id in entry.ids() {
                let found = snapshot.ids.get(id) == Some(&entry.url.identity);
                ensure(found, || format!("W-6: {id} is not shown"))?;
            }
        }
        for lane in snapshot.lanes() {
            for tier in &lane.tiers {
                for position in &tier.open {
                    let shown = snapshot.entries.get(&tier.at(*position).url);
                    let ready = shown.is_some_and(|shown| shown.status == Status::Ready);
                    ensure(ready, || format!("W-7: {} may be picked", tier.at(*position).url))?;
                }
            }
        }
        Ok(())
    }
}

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what()) }
}

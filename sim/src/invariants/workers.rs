//! Promises of workers: W-1 to W-12.
//!
//! What callers were told was done is the record of what each node owns; what the world answered to
//! probes is the record of what a node has seen.

use std::collections::{BTreeMap, BTreeSet};

use quorate_core::ids::{Incarnation, NodeId, Ticket};
use quorate_core::limits;
use quorate_core::node::workers;
use quorate_core::node::workers::{Cause, ProbeOutcome, Status, StatusChange};
use quorate_core::node::{Announcement, Call, Effect, Input, Reply, Request};

use super::{Id, Ledger, Turn};
use crate::clock::Micros;
use crate::surfaces::MARKER;
use crate::verdict::{Failure, Kind as FailureKind};
use crate::world::machine::Machine;

/// The longest that a decision takes to be durable on the slowest disk.
const STORING_US: Micros = 8_000_000;

/// See the module.
#[derive(Debug)]
pub struct Watch {
    observers: Vec<Observer>,
    /// URLs that each machine owns, by what callers were told.
    pub owned: Vec<BTreeSet<String>>,
    asked: BTreeMap<Ticket, Vec<String>>,
    /// Wishes to leave for good, with all workers of the node.
    leaving: BTreeSet<Ticket>,
    /// What each machine decided so lately that it may not be durable.
    fresh: Vec<BTreeMap<String, Micros>>,
    /// What callers heard, by ticket.
    pub answers: BTreeMap<Ticket, String>,
    /// Whether a secret is among what nodes were given, so that looking for it is worth it.
    pub secrets: bool,
}

/// What one process showed so far.
#[derive(Debug, Default)]
struct Observer {
    statuses: BTreeMap<String, Status>,
    good: BTreeMap<String, bool>,
    versions: BTreeMap<(String, NodeId), (Incarnation, u64)>,
    probing: BTreeMap<Ticket, String>,
}

impl Watch {
    pub(super) fn new(machines: usize) -> Watch {
        Watch {
            observers: (0..machines).map(|_| Observer::default()).collect(),
            owned: vec![BTreeSet::new(); machines],
            fresh: vec![BTreeMap::new(); machines],
            asked: BTreeMap::new(),
            leaving: BTreeSet::new(),
            answers: BTreeMap::new(),
            secrets: false,
        }
    }

    pub(super) fn started(&mut self, machine: usize) {
        if let Some(observer) = self.observers.get_mut(machine) {
            *observer = Observer::default();
        }
    }

    /// The disk of `machine` is empty: whatever it owned is forgotten.
    pub fn wiped(&mut self, machine: usize) {
        self.stopped(0, machine, false);
    }

    pub(super) fn stopped(&mut self, now: Micros, machine: usize, stored: bool) {
        let fresh = self.fresh.get_mut(machine).map(std::mem::take).unwrap_or_default();
        if let Some(owned) = self.owned.get_mut(machine) {
            // Whether the last decisions reached the disk is open; without one nothing was kept.
            let open = |url: &String| fresh.get(url).is_some_and(|at| now < at + STORING_US);
            owned.retain(|url| stored && !open(url));
        }
        if let Some(observer) = self.observers.get_mut(machine) {
            *observer = Observer::default();
        }
    }

    pub(super) fn asked(&mut self, _: usize, ticket: Ticket, request: &Request) {
        use quorate_core::node::workers::{Command, Target};
        let url = |target: &Target| match target {
            Target::Url(url) => Some(url.clone()),
            Target::Id(_) => None,
        };
        let urls = match request {
            Request::Worker(Command::Register { spec, .. }) => vec![spec.url.clone()],
            Request::Worker(Command::Remove { targets, .. }) => {
                targets.iter().filter_map(url).collect()
            }
            Request::Leave { remove_workers: true, .. } => {
                self.leaving.insert(ticket);
                return;
            }
            _ => return,
        };
        self.asked.insert(ticket, urls);
    }

    /// A caller heard this.
    pub(super) fn answered(&mut self, ticket: Ticket, reply: &Reply) {
        self.answers.insert(ticket, crate::surfaces::words_of(reply));
    }

    /// What a node decided about its own claims: from here on it owns them, or does not.
    fn decided(&mut self, turn: &Turn<'_>, ticket: Ticket, reply: &Reply) {
        let Some(owned) = self.owned.get_mut(turn.machine) else { return };
        let Some(fresh) = self.fresh.get_mut(turn.machine) else { return };
        if self.leaving.remove(&ticket) {
            fresh.extend(std::mem::take(owned).into_iter().map(|url| (url, turn.now)));
            return;
        }
        let Some(urls) = self.asked.remove(&ticket) else { return };
        match reply {
            Reply::Worker(workers::Answer::Created(_)) => owned.extend(urls.iter().cloned()),
            Reply::Worker(workers::Answer::Removing { .. }) => {
                urls.iter().for_each(|url| _ = owned.remove(url));
            }
            _ => return,
        }
        fresh.extend(urls.into_iter().map(|url| (url, turn.now)));
    }

    pub(super) fn probed(&mut self, machine: usize, url: &str, outcome: ProbeOutcome) {
        if let Some(observer) = self.observers.get_mut(machine) {
            observer.good.insert(url.to_owned(), outcome == ProbeOutcome::Good);
        }
    }

    pub(super) fn turn(&mut self, turn: &Turn<'_>, ledger: &mut Ledger) -> Result<(), Failure> {
        if self.secrets {
            secrets(turn, ledger)?;
        }
        self.probes(turn, ledger)?;
        for effect in turn.effects {
            if let Effect::Reply { ticket, reply } = effect {
                self.decided(turn, *ticket, reply);
            }
        }
        for effect in turn.effects {
            if let Effect::Announce(Announcement::Worker(change)) = effect {
                self.change(turn, change, ledger)?;
            }
        }
        // The snapshot is the one after all changes of the turn.
        for effect in turn.effects {
            if let Effect::Announce(Announcement::WorkerChanged { url }) = effect {
                self.entry(turn, url, ledger)?;
            }
        }
        Ok(())
    }

    /// W-10.
    fn probes(&mut self, turn: &Turn<'_>, ledger: &mut Ledger) -> Result<(), Failure> {
        let Some(observer) = self.observers.get_mut(turn.machine) else { return Ok(()) };
        for input in turn.inputs {
            if let Input::Answered { ticket, .. } = input {
                observer.probing.remove(ticket);
            }
        }
        for effect in turn.effects {
            let Effect::Call { ticket, call: Call::Probe(probe) } = effect else { continue };
            observer.probing.insert(*ticket, probe.url.to_string());
            let count = observer.probing.len();
            ledger.hold(Id::W10, turn.machine, count <= limits::PROBES_MAX, || {
                format!("{count} probes are in flight")
            })?;
        }
        Ok(())
    }

    /// W-4, W-5 and W-6.
    fn change(
        &mut self,
        turn: &Turn<'_>,
        change: &StatusChange,
        ledger: &mut Ledger,
    ) -> Result<(), Failure> {
        let Some(observer) = self.observers.get_mut(turn.machine) else { return Ok(()) };
        let url = change.url.to_string();
        let known = observer.statuses.get(&url).copied();
        ledger.hold(Id::W6, turn.machine, known == change.old, || {
            format!("{change:?}, but it was announced as {known:?}")
        })?;
        ledger.hold(Id::W6, turn.machine, is_row(change), || {
            format!("{change:?} is no row of the table")
        })?;
        let told = change.cause == Cause::Statement || change.cause == Cause::OwnerSilent;
        let unmoved = matches!(change.old, Some(Status::Failed | Status::Draining));
        ledger.hold(Id::W5, turn.machine, !(told && unmoved), || {
            format!("{change:?}: words moved it")
        })?;
        let back = matches!(change.old, Some(Status::NotReady | Status::Failed));
        if back && change.new == Some(Status::Ready) && change.cause == Cause::ProbesGood {
            let good = observer.good.get(base(&url)).copied().unwrap_or_default();
            ledger.hold(Id::W4, turn.machine, good, || {
                format!("{change:?}, though the last probe was not answered well")
            })?;
        }
        match change.new {
            Some(status) => observer.statuses.insert(url, status),
            None => observer.statuses.remove(&url),
        };
        Ok(())
    }

    /// W-1, W-3, W-6, W-8 and W-9, of an entry that changed.
    fn entry(&mut self, turn: &Turn<'_>, url: &str, ledger: &mut Ledger) -> Result<(), Failure> {
        let snapshot = turn.process.node.published().workers.load();
        let Some(observer) = self.observers.get_mut(turn.machine) else { return Ok(()) };
        let Some(entry) = snapshot.entries.get(url) else {
            observer.versions.retain(|(this, _), _| this != url);
            let own = self.owned.get(turn.machine).is_some_and(|owned| owned.contains(url));
            let leaving = turn.process.node.published().members.load().leaving;
            let host = turn.machines.get(turn.machine);
            if host.is_some_and(|host| host.settings.workers.remove_failed_after.is_some()) {
                // It may have failed for so long that the node withdrew it by itself.
                self.owned.get_mut(turn.machine).map(|owned| owned.remove(url));
                return Ok(());
            }
            return ledger.hold(Id::W9, turn.machine, !own || leaving, || {
                format!("{url} is gone, which this node registered and did not remove")
            });
        };
        if self.owned.get(turn.machine).is_some_and(|owned| owned.contains(url)) {
            ledger.note(Id::W9);
        }
        let announced = observer.statuses.get(url).copied();
        ledger.hold(Id::W6, turn.machine, announced == Some(entry.status), || {
            format!("{url} is shown as {:?}, announced as {announced:?}", entry.status)
        })?;
        let claims = |owner: &NodeId| entry.claims.iter().any(|claim| claim.owner == *owner);
        observer.versions.retain(|(this, owner), _| this != url || claims(owner));
        for claim in &entry.claims {
            let id = workers::claim::id(&claim.owner, url);
            ledger.hold(Id::W1, turn.machine, id == claim.id, || {
                format!("the claim of {} on {url} has the id {}", claim.owner, claim.id)
            })?;
            let key = (url.to_owned(), claim.owner.clone());
            let version = (claim.incarnation, claim.version);
            let former = observer.versions.insert(key, version);
            ledger.hold(Id::W3, turn.machine, former <= Some(version), || {
                format!("the claim of {} on {url} fell from {former:?} to {version:?}", claim.owner)
            })?;
        }
        Ok(())
    }

    /// W-2 and W-12: everybody in `core` lists what anybody in `core` owns, with the same claims.
    pub fn quiet(
        &self,
        core: &[usize],
        machines: &[Machine],
        ledger: &mut Ledger,
    ) -> Result<(), Failure> {
        for reader in core {
            let Some(process) = machines.get(*reader).and_then(|machine| machine.process.as_ref())
            else {
                continue;
            };
            let snapshot = process.node.published().workers.load();
            for (url, entry) in &snapshot.entries {
                ledger.hold(Id::W2, *reader, !entry.claims.is_empty(), || {
                    format!("{url} is listed without a claim")
                })?;
            }
            for owner in core {
                let Some(machine) =
                    machines.get(*owner).filter(|machine| machine.process.is_some())
                else {
                    continue;
                };
                for url in self.owned.get(*owner).into_iter().flatten() {
                    let entry = snapshot.entries.get(url.as_str());
                    let claimed = entry.is_some_and(|entry| {
                        entry.claims.iter().any(|claim| claim.owner == machine.node)
                    });
                    ledger.hold(Id::W12, *reader, claimed, || {
                        format!("{} owns {url}; here that claim is not listed", machine.node)
                    })?;
                }
            }
        }
        Ok(())
    }
}

/// A rank is no part of what is probed.
fn base(url: &str) -> &str {
    url.rsplit_once('@').map_or(url, |(base, _)| base)
}

/// W-6: the rows of the table, T1 to T20.
#[expect(clippy::match_like_matches_macro, reason = "a table has one row a line")]
fn is_row(change: &StatusChange) -> bool {
    use Status::{Draining, Failed, NotReady, Pending, Ready};
    match (change.old, change.new, change.cause) {
        (None, Some(Pending | Ready), Cause::Registered) => true,
        (None, Some(Pending | Ready | NotReady | Draining), Cause::Imported) => true,
        (Some(Pending | NotReady | Failed), Some(Ready), Cause::ProbesGood) => true,
        (Some(Ready), Some(NotReady), Cause::ProbesBad) => true,
        (Some(NotReady), Some(Failed), Cause::ProbesBad) => true,
        (Some(Pending), Some(Failed), Cause::Unproven) => true,
        (Some(Pending | Ready | NotReady), Some(Pending | Ready | NotReady), Cause::Statement) => {
            true
        }
        (Some(Ready), Some(NotReady), Cause::OwnerSilent) => true,
        (Some(_), Some(Draining), Cause::Drained) => true,
        (Some(Draining), Some(Pending | Ready | NotReady), Cause::Undrained) => true,
        (Some(_), Some(Pending | Ready | NotReady), Cause::Spec) => true,
        (Some(_), None, Cause::Removed) => true,
        _ => false,
    }
}

/// W-11.
fn secrets(turn: &Turn<'_>, ledger: &mut Ledger) -> Result<(), Failure> {
    for effect in turn.effects {
        let bytes = match effect {
            Effect::Datagram { bytes, .. } | Effect::Send { bytes, .. } => bytes,
            _ => continue,
        };
        let found = bytes.windows(MARKER.len()).any(|window| window == MARKER.as_bytes());
        let told =
            ledger.hold(Id::W11, turn.machine, !found, || "a secret leaves the node".to_owned());
        told.map_err(|failure| Failure { kind: FailureKind::Secret, ..failure })?;
    }
    Ok(())
}

//! Promises of workers: W-1 to W-13.
//!
//! What callers were told was done is the record of what each node owns; what the world answered to
//! probes is the record of what a node has seen.

mod lives;
mod picks;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use quorate_core::ids::{Incarnation, NodeId, Ticket};
use quorate_core::limits;
use quorate_core::node::workers;
use quorate_core::node::workers::{
    Candidate, Cause, EntryView, ProbeOutcome, Query, Snapshot, Status, StatusChange,
};
use quorate_core::node::{Announcement, Call, Effect, Input, Reply, Request};

use self::lives::{Lives, Version};
use super::{Id, Ledger, Turn};
use crate::clock::Micros;
use crate::verdict::Failure;
use crate::world::machine::Machine;

/// The longest that a decision takes to be durable on the slowest disk.
const STORING_US: Micros = 8_000_000;

/// See the module.
#[derive(Debug)]
pub struct Watch {
    observers: Vec<Observer>,
    /// URLs that each machine owns, by what callers were told, with the claim that began it.
    owned: Vec<BTreeMap<String, Version>>,
    asked: BTreeMap<Ticket, Vec<String>>,
    /// Wishes to leave for good, with all workers of the node.
    leaving: BTreeSet<Ticket>,
    /// What each machine decided so lately that it may not be durable.
    fresh: Vec<BTreeMap<String, Micros>>,
    /// Claims that a call made, and when.
    created: BTreeMap<Ticket, (Vec<String>, Micros)>,
    /// What callers heard, by ticket.
    pub answers: BTreeMap<Ticket, String>,
}

/// What one process showed so far.
#[derive(Debug, Default)]
struct Observer {
    statuses: BTreeMap<String, Status>,
    good: BTreeMap<String, bool>,
    /// By URL: the claim that each owner made last.
    versions: BTreeMap<String, BTreeMap<NodeId, Claimed>>,
    /// Probes in flight; of an entry that is gone, without its URL.
    probing: BTreeMap<Ticket, Option<String>>,
    lives: Lives,
}

/// A claim as it was seen.
#[derive(Debug)]
struct Claimed {
    id: workers::Id,
    version: (Incarnation, u64),
}

impl Watch {
    pub(super) fn new(machines: usize) -> Watch {
        Watch {
            observers: (0..machines).map(|_| Observer::default()).collect(),
            owned: vec![BTreeMap::new(); machines],
            fresh: vec![BTreeMap::new(); machines],
            created: BTreeMap::new(),
            asked: BTreeMap::new(),
            leaving: BTreeSet::new(),
            answers: BTreeMap::new(),
        }
    }

    pub(super) fn started(&mut self, machine: usize) {
        if let Some(observer) = self.observers.get_mut(machine) {
            *observer = Observer::default();
        }
    }

    /// The disk of `machine` is empty: whatever it owned is forgotten.
    pub fn wiped(&mut self, machine: usize) {
        self.stopped(machine, None);
    }

    pub(super) fn stopped(&mut self, machine: usize, kept: Option<Micros>) {
        let fresh = self.fresh.get_mut(machine).map(std::mem::take).unwrap_or_default();
        if let Some(owned) = self.owned.get_mut(machine) {
            // Whether the last decisions reached the disk is open; without one nothing was kept.
            let safe = |url: &String, kept| fresh.get(url).is_none_or(|at| at + STORING_US <= kept);
            owned.retain(|url, _| kept.is_some_and(|kept| safe(url, kept)));
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

    /// A caller of a shell has its answer: what that confirms is on the disk, however young it is.
    pub fn heard(&mut self, machine: usize, ticket: Ticket) {
        let Some((urls, decided)) = self.created.remove(&ticket) else { return };
        if let Some(fresh) = self.fresh.get_mut(machine) {
            fresh.retain(|url, at| *at != decided || !urls.contains(url));
        }
    }

    /// What a node decided about its own claims: from here on it owns them, or does not.
    fn decided(&mut self, turn: &Turn<'_>, ticket: Ticket, reply: &Reply) {
        let Some(owned) = self.owned.get_mut(turn.machine) else { return };
        let Some(fresh) = self.fresh.get_mut(turn.machine) else { return };
        if self.leaving.remove(&ticket) {
            fresh.extend(std::mem::take(owned).into_keys().map(|url| (url, turn.now)));
            return;
        }
        let Some(urls) = self.asked.remove(&ticket) else { return };
        match reply {
            Reply::Worker(workers::Answer::Created(entry)) => {
                let local = turn.process.node.local();
                let own = entry.claims.iter().find(|claim| claim.owner == local.node);
                let began =
                    own.map_or((local.incarnation, 0), |own| (own.incarnation, own.version));
                owned.extend(urls.iter().cloned().map(|url| (url, began)));
                self.created.insert(ticket, (urls.clone(), turn.now));
            }
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
        let dead = self.answers_of_the_dead(turn);
        for effect in turn.effects {
            match effect {
                Effect::Reply { ticket, reply } => self.decided(turn, *ticket, reply),
                Effect::Announce(Announcement::Worker(change)) => {
                    self.change(turn, change, ledger)?;
                    self.answered_for_nothing(turn, dead, change, ledger)?;
                }
                Effect::Announce(Announcement::Member(notice)) => {
                    if let Some(observer) = self.observers.get_mut(turn.machine) {
                        observer.lives.notice(turn.local(), patience(turn), notice);
                    }
                }
                Effect::Call { ticket, call: Call::Probe(probe) } => {
                    self.probes(turn, *ticket, &probe.url, ledger)?;
                }
                _ => {}
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

    /// Notes the answers of a turn; whether it was nothing but answers to probes of entries that are gone.
    fn answers_of_the_dead(&mut self, turn: &Turn<'_>) -> bool {
        let Some(observer) = self.observers.get_mut(turn.machine) else { return false };
        let mut dead = !turn.inputs.is_empty();
        for input in turn.inputs {
            let Input::Answered { ticket, .. } = input else {
                dead = false;
                continue;
            };
            dead &= observer.probing.remove(ticket) == Some(None);
        }
        dead
    }

    /// W-10: an answer for a dead generation changes nothing.
    fn answered_for_nothing(
        &self,
        turn: &Turn<'_>,
        dead: bool,
        change: &StatusChange,
        ledger: &mut Ledger,
    ) -> Result<(), Failure> {
        let probed = matches!(change.cause, Cause::ProbesGood | Cause::ProbesBad | Cause::Unproven);
        ledger.hold(Id::W10, turn.machine, !(dead && probed), || {
            format!("{change:?}, after the answer to a probe of an entry that was gone")
        })
    }

    /// W-10: at most so many in flight, and of each entry one.
    fn probes(
        &mut self,
        turn: &Turn<'_>,
        ticket: Ticket,
        url: &str,
        ledger: &mut Ledger,
    ) -> Result<(), Failure> {
        let Some(observer) = self.observers.get_mut(turn.machine) else { return Ok(()) };
        let former = observer.probing.insert(ticket, Some(url.to_owned()));
        let count = observer.probing.len();
        let held = former.is_none() && count <= limits::PROBES_MAX;
        ledger.hold(Id::W10, turn.machine, held, || format!("{count} probes are in flight"))?;
        let of_it = |probed: &&Option<String>| probed.as_deref() == Some(url);
        let flying = observer.probing.values().filter(of_it).count();
        // Ranks of one worker are entries of their own and share what is probed.
        let begin = observer.statuses.range(url.to_owned()..).map(|(entry, _)| entry);
        let begin = begin.take_while(|entry| entry.starts_with(url));
        let entries = begin.filter(|entry| base(entry) == url).count();
        ledger.hold(Id::W10, turn.machine, flying <= entries, || {
            format!("{flying} probes of {url} are in flight, which is {entries} entries")
        })
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
        let told = change.cause == Cause::Statement || change.cause == Cause::OwnerSilent;
        let unmoved = matches!(change.old, Some(Status::Failed | Status::Draining));
        ledger.hold(Id::W5, turn.machine, !(told && unmoved), || {
            format!("{change:?}: words moved it")
        })?;
        ledger.hold(Id::W6, turn.machine, known == change.old, || {
            format!("{change:?}, but it was announced as {known:?}")
        })?;
        ledger.hold(Id::W6, turn.machine, is_row(change), || {
            format!("{change:?} is no row of the table")
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
            None => {
                // It may be back in the same turn, as somebody late still tells of it.
                observer.versions.remove(&url);
                // Of its probes an answer may still come; they are nobody's.
                let left = observer.statuses.keys().filter(|other| base(other) == base(&url));
                if left.count() == 1 {
                    let of_it = observer.probing.values_mut();
                    of_it.filter(|p| p.as_deref() == Some(base(&url))).for_each(|p| *p = None);
                }
                observer.statuses.remove(&url)
            }
        };
        Ok(())
    }

    /// W-1, W-3, W-6, W-8 and W-9, of an entry that changed.
    fn entry(&mut self, turn: &Turn<'_>, url: &str, ledger: &mut Ledger) -> Result<(), Failure> {
        let snapshot = turn.process.node.published().workers.load();
        let entry = snapshot.entries.get(url);
        self.lost(turn, url, entry.map(AsRef::as_ref), ledger)?;
        let Some(observer) = self.observers.get_mut(turn.machine) else { return Ok(()) };
        let Some(entry) = entry else {
            let own = self.owned.get(turn.machine).is_some_and(|owned| owned.contains_key(url));
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
        if self.owned.get(turn.machine).is_some_and(|owned| owned.contains_key(url)) {
            ledger.note(Id::W9);
        }
        let announced = observer.statuses.get(url).copied();
        ledger.hold(Id::W6, turn.machine, announced == Some(entry.status), || {
            format!("{url} is shown as {:?}, announced as {announced:?}", entry.status)
        })?;
        let claims = |owner: &NodeId| entry.claims.iter().any(|claim| claim.owner == *owner);
        let mut versions = observer.versions.remove(url).unwrap_or_default();
        versions.retain(|owner, _| claims(owner));
        for claim in &entry.claims {
            let (id, version) = (claim.id.clone(), (claim.incarnation, claim.version));
            let former = versions.insert(claim.owner.clone(), Claimed { id, version });
            // The id follows from the owner and the URL: one that was right stays so.
            let right = former.as_ref().is_some_and(|former| former.id == claim.id)
                || workers::claim::id(&claim.owner, url) == claim.id;
            ledger.hold(Id::W1, turn.machine, right, || {
                format!("the claim of {} on {url} has the id {}", claim.owner, claim.id)
            })?;
            let former = former.map(|former| former.version);
            ledger.hold(Id::W3, turn.machine, former <= Some(version), || {
                format!("the claim of {} on {url} fell from {former:?} to {version:?}", claim.owner)
            })?;
        }
        observer.versions.insert(url.to_owned(), versions);
        Ok(())
    }

    /// W-8: nobody loses the claim of an owner that owns it throughout.
    fn lost(
        &mut self,
        turn: &Turn<'_>,
        url: &str,
        entry: Option<&EntryView>,
        ledger: &mut Ledger,
    ) -> Result<(), Failure> {
        let Some(observer) = self.observers.get_mut(turn.machine) else { return Ok(()) };
        ledger.note(Id::W8);
        let lost = observer.lives.entry(turn.local(), patience(turn), url, entry);
        for (owner, last) in lost {
            let index = turn.machines.iter().position(|machine| machine.node == owner);
            let Some(index) = index.filter(|index| *index != turn.machine) else { continue };
            // Who hears late of a removal may hear of the registration after it later still.
            let owned = self.owned.get(index).and_then(|owned| owned.get(url));
            let owns = owned.is_some_and(|began| *began <= last);
            let settled = self.fresh.get(index).is_none_or(|fresh| !fresh.contains_key(url));
            ledger.hold(Id::W8, turn.machine, !(owns && settled), || {
                format!("the claim of {owner} on {url} is gone, which {owner} owns all the time")
            })?;
        }
        Ok(())
    }

    /// A sleep beyond remembering drops everything foreign.
    pub(super) fn slept(&mut self, machine: usize) {
        if let Some(observer) = self.observers.get_mut(machine) {
            observer.lives.slept();
        }
    }

    /// A caller picks on `machine`: what it is told, which is looked at.
    pub fn pick(
        &self,
        machine: usize,
        snapshot: &Snapshot,
        query: &Query,
        ticket: u64,
        ledger: &mut Ledger,
    ) -> Result<String, Failure> {
        // Every third worker is as busy as it may be.
        let load = |candidate: &Candidate| if candidate.number.is_multiple_of(3) { 2 } else { 0 };
        let room = |entry: &EntryView| {
            let limit = entry.spec.max_in_flight.unwrap_or(0);
            limit == 0 || (!entry.number.is_multiple_of(3) || limit > 2)
        };
        let answer = workers::route(snapshot, query, ticket, &load);
        picks::look(machine, snapshot, query, answer, &room, ledger)?;
        let told = answer.as_ref().map(|pick| &*pick.candidate.url);
        Ok(crate::surfaces::words_of_pick(told.map_err(|nobody| nobody.reason)))
    }

    /// W-2, W-12 and W-13: everybody in `core` lists what anybody in `core` owns, with the same claims and specs.
    pub fn quiet(
        &self,
        core: &[usize],
        machines: &[Machine],
        ledger: &mut Ledger,
    ) -> Result<(), Failure> {
        let mut specs = BTreeMap::new();
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
                let chosen = entry.claims.iter().find(|claim| claim.owner == entry.chosen);
                let Some(claim) = chosen else { continue };
                let claim = (claim.id.clone(), claim.incarnation, claim.revision);
                let spec = specs.entry(claim).or_insert_with(|| entry.spec.clone());
                ledger.hold(Id::W13, *reader, *spec == entry.spec, || {
                    format!("{url} is {:?} here and {spec:?} elsewhere", entry.spec)
                })?;
            }
            for owner in core {
                let Some(machine) =
                    machines.get(*owner).filter(|machine| machine.process.is_some())
                else {
                    continue;
                };
                let owned = self.owned.get(*owner).into_iter().flat_map(BTreeMap::keys);
                // W-11: nobody else hears of a socket of its owner's host.
                for url in owned.filter(|url| owner == reader || !url.starts_with("ipc:")) {
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

/// How long the node of this turn waits for a new life of another to say that all is there.
fn patience(turn: &Turn<'_>) -> Duration {
    let machine = turn.machines.get(turn.machine);
    machine.map(|machine| machine.settings.ready_timeout).unwrap_or_default()
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

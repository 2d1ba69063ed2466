//! The machine: claims, statements, probes and commands meet here.
//!
//! Everything that can change an entry ends in one place, `review`: which claim is chosen, what its spec,
//! its operator and its owner say, whether this node probes, and what it publishes. So the view is a fold
//! of what is held now, and the order of what happened before does not show in it (W-2, W-9).
//!
//! Absent on purpose: the wall clock, and any pass that replays state with time (E-5): time alone ends a
//! lease, a lingering, a settling or an ejection, and makes a probe due.

mod check;
mod command;
mod counts;
mod entry;
mod hear;
mod own;
mod probing;
mod publish;
mod review;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{EntryView, Id, Input, Outcome, Output, Policy, Refusal, Settings, Spec, StatusChange};
use crate::ids::{NodeId, Notice, Replica, Ticket};
use crate::limits;
use crate::machine::{Machine, Wake};
use crate::time::Instant;
use crate::wire::Blob;
use counts::Counters;
use entry::{Entry, Owner};
use publish::Folded;

/// Every worker that this node knows of.
#[derive(Debug)]
pub struct Workers {
    settings: Settings,
    policy: Arc<Policy>,
    local: Replica,
    started: bool,
    /// By number, which is never used again.
    entries: BTreeMap<u64, Entry>,
    by_url: BTreeMap<Arc<str>, u64>,
    by_id: BTreeMap<Id, u64>,
    owners: BTreeMap<NodeId, Owner>,
    members: BTreeSet<NodeId>,
    own_claims: usize,
    /// The highest revision and statement version among own claims that ended in this life: a URL that is
    /// registered again goes on above them, for a peer may have missed the deletion.
    ended: (u64, u64),
    suppressed: BTreeSet<Arc<str>>,
    /// What the store held at the start.
    persisted: BTreeMap<String, Blob>,
    timers: BTreeSet<(Instant, Timer)>,
    /// Probes that are due or will be, and those in flight by ticket.
    schedule: BTreeSet<(Instant, u64)>,
    in_flight: BTreeMap<Ticket, u64>,
    last_number: u64,
    last_ticket: u64,
    beats: u64,
    /// Entries that the snapshot shows otherwise.
    touched: BTreeSet<u64>,
    /// URLs that watchers hear of at the end of the input.
    changed: BTreeSet<Arc<str>>,
    folded: Folded,
    counters: Counters,
}

/// What ends with time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// Our heartbeat is due.
    Beat,
    /// A lease turns stale.
    Lease(NodeId),
    /// What a new life took over from the former is its word.
    Inherited(NodeId),
    /// The claims of a node that left go.
    Linger(NodeId),
    /// A removal has settled.
    Settled(u64),
    /// An ejection, or the wait after a cancelled trial, ends.
    Breaker(u64),
    /// An own worker has been Failed for long enough.
    Failed(u64),
}

impl Workers {
    /// A machine that has done nothing yet. `persisted` holds the rows of [`Output::Persist`].
    pub fn new(settings: Settings, local: Replica, persisted: &BTreeMap<String, Blob>) -> Workers {
        let policy = Arc::new(Policy::new(&settings.allow, &settings.deny, settings.same_machine));
        Workers {
            members: BTreeSet::from([local.node.clone()]),
            folded: Folded::new(Arc::clone(&policy), settings.metrics_per_worker),
            policy,
            settings,
            local,
            started: false,
            entries: BTreeMap::new(),
            by_url: BTreeMap::new(),
            by_id: BTreeMap::new(),
            owners: BTreeMap::new(),
            own_claims: 0,
            ended: (0, 0),
            suppressed: BTreeSet::new(),
            persisted: persisted.clone(),
            timers: BTreeSet::new(),
            schedule: BTreeSet::new(),
            in_flight: BTreeMap::new(),
            last_number: 0,
            last_ticket: 0,
            beats: 0,
            touched: BTreeSet::new(),
            changed: BTreeSet::new(),
            counters: Counters::default(),
        }
    }

    fn tick(&mut self, now: Instant, out: &mut Vec<Output>) {
        while let Some((at, _)) = self.timers.first() {
            if *at > now {
                break;
            }
            let (_, timer) = self.timers.pop_first().expect("the first was just there");
            match timer {
                Timer::Beat => self.beat(now, out),
                Timer::Lease(node) => self.lease_ended(now, &node, out),
                Timer::Inherited(node) => self.inherited(now, &node, out),
                Timer::Linger(node) => self.linger_ended(now, &node, out),
                Timer::Settled(number) => self.settled(now, number, out),
                Timer::Breaker(number) => self.breaker_ticked(now, number),
                Timer::Failed(number) => self.failed_for_long(now, number, out),
            }
        }
    }

    fn reload(&mut self, now: Instant, settings: Settings, out: &mut Vec<Output>) {
        self.policy = Arc::new(Policy::new(&settings.allow, &settings.deny, settings.same_machine));
        self.folded.settings_changed(Arc::clone(&self.policy), settings.metrics_per_worker);
        let before = std::mem::replace(&mut self.settings, settings);
        self.apply_registrations(now, &before.registrations, out);
        let all: Vec<u64> = self.entries.keys().copied().collect();
        for number in all {
            self.review(now, number, out);
        }
    }

    /// Tells watchers of everything that this input changed.
    fn tell(&mut self, out: &mut Vec<Output>) {
        while let Some(url) = self.changed.pop_first() {
            out.push(Output::EntryChanged { url });
        }
    }

    fn mark(&mut self, number: u64) {
        self.touched.insert(number);
        if let Some(entry) = self.entries.get(&number) {
            self.changed.insert(Arc::clone(&entry.url.identity));
        }
    }

    fn view(&self, number: u64) -> Option<Arc<EntryView>> {
        let entry = self.entries.get(&number)?;
        Some(Arc::new(publish::view(entry, &self.owners, &self.local, &self.suppressed)))
    }

    fn assert_invariants(&self) {
        assert!(
            self.in_flight.len() <= limits::PROBES_MAX,
            "W-10: {} probes are in flight",
            self.in_flight.len()
        );
        assert!(
            self.by_url.len() == self.entries.len(),
            "W-2: {} urls lead to {} entries",
            self.by_url.len(),
            self.entries.len()
        );
    }
}

impl Machine for Workers {
    type Input = Input;
    type Output = Output;

    fn handle(&mut self, now: Instant, input: Input, out: &mut Vec<Output>) {
        // What time has ended is over before anything new is looked at.
        self.tick(now, out);
        match input {
            Input::Start => self.start(now, out),
            Input::Changed { owner, key, value } => {
                self.changed(now, owner, &key, value.as_ref(), out);
            }
            Input::Orphaned { owner } => self.orphaned(now, &owner, out),
            Input::Dropped { owner, left, last: _ } => self.dropped(now, &owner, left, out),
            Input::Switched { old, new } => self.switched(now, &old, new, out),
            Input::Notice(notice) => self.noticed(notice),
            Input::Raised { replica } => self.raised(replica, out),
            Input::Reload { settings } => self.reload(now, *settings, out),
            Input::RemoveOwn => self.remove_own(now, out),
            Input::Probed { ticket, outcome, took } => {
                self.probed(now, ticket, outcome, took, out);
            }
            Input::Command { ticket, command } => {
                let answer = self.command(now, command, out);
                out.push(Output::Reply { ticket, answer });
            }
            Input::Tick => {}
        }
        self.tick(now, out);
        self.start_probes(now, out);
        self.tell(out);
        self.assert_invariants();
    }

    fn next_wake(&self) -> Option<Wake> {
        let timer = self.timers.first().map(|(at, timer)| Wake {
            at: *at,
            what: match timer {
                Timer::Beat => "our lease of workers is renewed",
                Timer::Lease(_) => "an owner's lease turns stale",
                Timer::Inherited(_) => "what a new life took over is its word",
                Timer::Linger(_) => "the workers of a node that left go",
                Timer::Settled(_) => "a drained worker is removed",
                Timer::Breaker(_) => "an ejected worker may try",
                Timer::Failed(_) => "a failed worker is removed",
            },
        });
        let free = self.in_flight.len() < limits::PROBES_MAX;
        let probe = self.schedule.first().filter(|_| free);
        let probe = probe.map(|(at, _)| Wake { at: *at, what: "a worker is probed" });
        Wake::earlier(timer, probe)
    }
}

impl Workers {
    /// What the snapshot shows of a canonical URL.
    pub fn entry(&self, url: &str) -> Option<&Arc<EntryView>> {
        self.folded.snapshot().entries.get(url)
    }
}

//! The one `match` of credentials, the looks it has begun, and the clock of what comes back by itself.
//!
//! What a look means is in [`apply`]; what everything listed together means is in [`reconcile`].

mod apply;
mod counts;
mod reconcile;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use imbl::OrdMap;

use super::breaker::Breaker;
use super::key::Key;
use super::queue::{Offered, Queue, Source};
use super::view::{Drain, Snapshot, Trouble};
use super::{Answer, Command, Errand, Event, Found, Head, Input, Look, Output, Seen, Settings};
use crate::ids::Ticket;
use crate::limits;
use crate::machine::{Machine, Wake};
use crate::time::{Instant, UnixTime};
use crate::wire::Blob;

/// The credentials of one node.
pub struct Credentials {
    settings: Settings,
    /// What is known, and the order of the look that it is known by.
    held: BTreeMap<Key, Held>,
    /// How many of them are not deleted.
    live: usize,
    queue: Queue,
    batch: Batch,
    /// Looks and lists that are on their way.
    open: BTreeMap<Ticket, Asked>,
    minted: u64,
    /// What differed in the last listing and has not found room in the queue yet.
    owed: BTreeSet<Key>,
    /// Looked for and not found, once or (`sure`) twice.
    missing: BTreeMap<Key, Missing>,
    troubles: OrdMap<Key, Trouble>,
    breaker: Breaker,
    store: Store,
    counters: Reconciles,
    shown: Shown,
}

struct Held {
    head: Arc<Head>,
    order: u64,
}

#[derive(Debug, Clone, Copy)]
struct Missing {
    first: Instant,
    /// What the wall said when nothing was found.
    at: UnixTime,
    /// The second look found nothing either.
    sure: bool,
    /// The second look is on its way.
    asked: bool,
}

impl Missing {
    fn new(first: Instant) -> Missing {
        Missing { first, at: UnixTime(0), sure: false, asked: false }
    }
}

/// What an errand is for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Asked {
    Look(Key),
    List,
    Nothing,
}

/// Keys that were taken from the queue together. They are applied in their order.
#[derive(Debug, Default)]
struct Batch {
    began: Instant,
    size: usize,
    /// Not looked at yet.
    next: VecDeque<Key>,
    /// Looked at, or being looked at.
    looks: VecDeque<(Key, Option<(Instant, Look)>)>,
}

/// How the store does.
#[derive(Debug, Default)]
struct Store {
    /// It was read once, whole.
    loaded: bool,
    /// A first list is here; what differed in it may still wait.
    listed: bool,
    /// Others were told that nothing more is to be expected from a first reading.
    told: bool,
    failure: Option<Arc<str>>,
    failures: u32,
    /// When everything is listed next.
    list_at: Option<Instant>,
    listing: bool,
    misnamed: u64,
    left_out: u64,
    drift: u64,
}

#[derive(Debug, Default)]
struct Reconciles {
    listed: u64,
    failed: u64,
    repairs: u64,
}

/// What readers were shown, and what of it is old.
#[derive(Debug, Default)]
struct Shown {
    heads: OrdMap<Key, Arc<Head>>,
    version: u64,
    stale: bool,
    drained: Option<Drain>,
    now: Instant,
}

impl Credentials {
    /// Credentials with the revisions that `kept` holds of a former life, rows of the local store by key.
    pub fn new(settings: Settings, kept: &BTreeMap<String, Blob>) -> Credentials {
        let mut credentials = Credentials {
            settings,
            held: BTreeMap::new(),
            live: 0,
            queue: Queue::default(),
            batch: Batch::default(),
            open: BTreeMap::new(),
            minted: 0,
            owed: BTreeSet::new(),
            missing: BTreeMap::new(),
            troubles: OrdMap::new(),
            breaker: Breaker::default(),
            store: Store::default(),
            counters: Reconciles::default(),
            shown: Shown { stale: true, ..Shown::default() },
        };
        credentials.restore(kept);
        credentials
    }

    /// The head of `key`, a deleted one too.
    pub fn head(&self, key: &Key) -> Option<&Arc<Head>> {
        self.held.get(key).map(|held| &held.head)
    }

    /// Every head, deleted ones included.
    pub fn heads(&self) -> impl Iterator<Item = &Arc<Head>> {
        self.held.values().map(|held| &held.head)
    }

    /// How many wait to be looked at.
    pub fn depth(&self) -> usize {
        self.queue.depth()
    }

    /// How many the breaker holds.
    pub fn breaker_holds(&self) -> usize {
        self.breaker.held().len()
    }

    /// Whether nothing waits, is on its way or is missing.
    pub fn is_quiet(&self) -> bool {
        self.queue.depth() == 0
            && self.open.is_empty()
            && self.owed.is_empty()
            && self.missing.keys().all(|key| self.breaker.held().contains(key))
            && !self.queue.owes_rescan()
    }

    /// The view of readers, if it is another one than they have.
    pub fn publish(&mut self) -> Option<Snapshot> {
        if !std::mem::take(&mut self.shown.stale) {
            return None;
        }
        let held: Arc<[Key]> = self.breaker.held().iter().cloned().collect();
        Some(Snapshot {
            enabled: self.settings.enabled,
            version: self.shown.version,
            heads: self.shown.heads.clone(),
            troubles: self.troubles.clone(),
            loaded: self.store.loaded,
            failure: self.store.failure.clone(),
            breaker: self.breaker.since().map(|since| (since, held)),
            misnamed: self.store.misnamed,
            left_out: self.store.left_out,
            drift: self.store.drift,
            depth: self.queue.depth(),
            depth_max: self.queue.depth_max(),
            oldest: self.queue.oldest(),
            rescan_owed: self.queue.owes_rescan(),
            drained: self.shown.drained,
            counters: self.queue.counters,
        })
    }

    fn command(&mut self, now: Instant, ticket: Ticket, command: Command, out: &mut Vec<Output>) {
        let answer = match command {
            Command::Hint { keys } => self.hint(now, &keys),
            Command::Rescan => {
                self.store.list_at = Some(now);
                Answer::Done
            }
            Command::Wrote { key, look } => self.wrote(&key, look, out),
            Command::Accept => self.accept(out),
            Command::Restore => self.write_back(out),
            Command::Purge { before } => self.purge(before, out),
        };
        out.push(Output::Reply { ticket, answer });
    }

    fn hint(&mut self, now: Instant, keys: &[Key]) -> Answer {
        if !self.settings.enabled {
            return Answer::Offered { queued: 0, coalesced: 0, overflowed: 0 };
        }
        let mut tally = [0, 0, 0];
        let [queued, coalesced, overflowed] = &mut tally;
        for key in keys {
            match self.queue.offer(now, key, Source::Watch) {
                Offered::Queued => *queued += 1,
                Offered::Coalesced => *coalesced += 1,
                Offered::Overflowed => *overflowed += 1,
            }
        }
        let [queued, coalesced, overflowed] = tally;
        Answer::Offered { queued, coalesced, overflowed }
    }

    fn found(&mut self, now: Instant, ticket: Ticket, found: Found, out: &mut Vec<Output>) {
        let asked = self.open.remove(&ticket).expect("the host answers what it was asked, once");
        match (asked, found) {
            (Asked::Look(key), Found::Look(look)) => self.looked(now, &key, look, out),
            (Asked::List, Found::Listing(listing)) => self.listed(now, listing, out),
            (Asked::Nothing, Found::Done) => {}
            (asked, found) => panic!("the host answered {asked:?} with {found:?}"),
        }
    }

    /// A look of the batch has ended; whatever is first and complete is applied.
    fn looked(&mut self, now: Instant, key: &Key, look: Look, out: &mut Vec<Output>) {
        let place = self.batch.looks.iter_mut().find(|(looked, _)| looked == key);
        let place = place.expect("a look is of the batch that began it");
        place.1 = Some((now, look));
        while let Some((_, Some(_))) = self.batch.looks.front() {
            let Some((key, Some((then, look)))) = self.batch.looks.pop_front() else { break };
            let stays = canary!("credentials.waits_behind_no_record")
                && matches!(look.seen, Seen::Invalid { .. });
            // What waited for others was found when it arrived, and not now: two looks may not come nearer.
            self.apply(then, &key, look, out);
            if stays {
                break;
            }
        }
        if self.batch.next.is_empty() && self.batch.looks.is_empty() {
            let took = now.since(self.batch.began);
            let batch = self.batch.size;
            self.shown.drained = Some(Drain { at: now, batch, took });
            out.push(Output::Announce(Event::Drained { batch, took }));
        }
    }

    /// Begins whatever there is room for.
    fn pump(&mut self, now: Instant, out: &mut Vec<Output>) {
        self.list_when_due(now, out);
        while self.queue.room() > 0
            && let Some(key) = self.owed.pop_first()
        {
            self.queue.offer(now, &key, Source::Rescan);
        }
        if self.batch.next.is_empty() && self.batch.looks.is_empty() && self.queue.depth() > 0 {
            let next: VecDeque<Key> = self.queue.take(limits::AUTH_DRAIN_KEYS_MAX).into();
            self.batch = Batch { began: now, size: next.len(), next, looks: VecDeque::new() };
        }
        while self.looking() < limits::AUTH_LOOKS_MAX
            && let Some(key) = self.batch.next.pop_front()
        {
            self.batch.looks.push_back((key.clone(), None));
            self.ask(Asked::Look(key.clone()), Errand::Look { key }, out);
        }
        let drained = self.queue.depth() == 0 && self.owed.is_empty() && self.batch.is_over();
        if self.settings.enabled && self.store.listed && drained && !self.store.loaded {
            self.store.loaded = true;
            self.shown.stale = true;
        }
        let known = self.store.loaded || self.store.failures > 0 || !self.settings.enabled;
        if known && !std::mem::replace(&mut self.store.told, true) {
            out.push(Output::Loaded);
        }
    }

    fn looking(&self) -> usize {
        self.batch.looks.iter().filter(|(_, look)| look.is_none()).count()
    }

    fn ask(&mut self, asked: Asked, errand: Errand, out: &mut Vec<Output>) {
        self.minted += 1;
        let ticket = Ticket(self.minted);
        self.open.insert(ticket, asked);
        out.push(Output::Run { ticket, errand });
    }

    /// What time alone brings: second looks, reports, the end of a pass.
    fn elapse(&mut self, now: Instant, out: &mut Vec<Output>) {
        let due = |missing: &Missing| {
            !missing.sure && !missing.asked && missing.first + limits::CREDENTIAL_ABSENCE_GAP <= now
        };
        for (key, missing) in self.missing.iter_mut().filter(|(_, missing)| due(missing)) {
            missing.asked = true;
            self.owed.insert(key.clone());
        }
        let late = |trouble: &Trouble| {
            !trouble.reported && trouble.since + limits::CREDENTIAL_INVALID_REPORT <= now
        };
        let late: Vec<Key> = self
            .troubles
            .iter()
            .filter(|(_, trouble)| late(trouble))
            .map(|(key, _)| key.clone())
            .collect();
        for key in late {
            if let Some(trouble) = self.troubles.get_mut(&key) {
                trouble.reported = true;
                let what = trouble.what.to_string();
                out.push(Output::Announce(Event::FileInvalid { handle: key.handle(), what }));
                self.shown.stale = true;
            }
        }
        self.end_pass(now, out);
    }

    /// What is dropped comes back when everything is listed in the next life.
    fn stop(&mut self) {
        self.settings.enabled = false;
        let waiting = self.queue.take(limits::AUTH_UPDATES_MAX).len();
        let dropped = waiting + self.batch.next.len() + self.owed.len();
        self.queue.counters.dropped += dropped as u64;
        self.batch.next.clear();
        self.owed.clear();
        self.missing.clear();
        self.store.told = true; // What was not read by now never will be, so nobody hears that this is all.
    }

    fn assert_invariants(&self) {
        assert!(self.looking() <= limits::AUTH_LOOKS_MAX, "K5: {} looks at once", self.looking());
        assert!(self.live <= limits::CREDENTIALS_MAX, "K5: {} credentials are in use", self.live);
    }
}

impl Batch {
    fn is_over(&self) -> bool {
        self.next.is_empty() && self.looks.is_empty()
    }
}

impl Machine for Credentials {
    type Input = Input;
    type Output = Output;

    fn handle(&mut self, now: Instant, input: Input, out: &mut Vec<Output>) {
        self.shown.now = now;
        let before = (self.queue.depth(), self.queue.counters);
        match input {
            Input::Start => self.store.list_at = self.settings.enabled.then_some(now),
            Input::Command { ticket, command } => self.command(now, ticket, command, out),
            Input::Found { ticket, found } => self.found(now, ticket, found, out),
            Input::Stop => self.stop(),
            Input::Tick => {}
        }
        self.elapse(now, out);
        self.pump(now, out);
        self.shown.stale |= before != (self.queue.depth(), self.queue.counters);
        self.assert_invariants();
    }

    fn next_wake(&self) -> Option<Wake> {
        let wake = |at: Option<Instant>, what| at.map(|at| Wake { at, what });
        let list = self.store.list_at.filter(|_| !self.store.listing && self.settings.enabled);
        let looks = self.missing.values().filter(|missing| !missing.sure && !missing.asked);
        let looks = looks.map(|missing| missing.first + limits::CREDENTIAL_ABSENCE_GAP).min();
        let pass = self.pass_ends();
        let reports = self.troubles.values().filter(|trouble| !trouble.reported);
        let reports =
            reports.map(|trouble| trouble.since + limits::CREDENTIAL_INVALID_REPORT).min();
        [
            wake(list, "credentials: list the store"),
            wake(looks, "credentials: look a second time for what is missing"),
            wake(pass, "credentials: settle what is missing"),
            wake(reports, "credentials: report files that are no records"),
        ]
        .into_iter()
        .fold(None, Wake::earlier)
    }
}

/// How long after its `failures`th failure in a row a store is asked again.
fn retry(failures: u32) -> Duration {
    let wait = Duration::from_secs(1).saturating_mul(1 << failures.saturating_sub(1).min(5));
    wait.min(limits::CREDENTIAL_RETRY_MAX)
}

//! What everything listed together means: what differs is looked at, and what is missing is missed twice
//! before anything is removed for it, all of a pass together.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::key::Key;
use super::super::{Answer, Digest, Errand, Event, Listing, Output};
use super::{Asked, Credentials, Missing, retry};
use crate::limits;
use crate::time::Instant;

impl Credentials {
    /// Asks for a list, if it is time for one and none is on its way.
    pub(super) fn list_when_due(&mut self, now: Instant, out: &mut Vec<Output>) {
        if !self.settings.enabled || self.store.listing {
            return;
        }
        let due = self.store.list_at.is_some_and(|at| at <= now);
        if self.queue.take_rescan() || due {
            self.store.listing = true;
            self.ask(Asked::List, Errand::List, out);
        }
    }

    /// Everything that the store holds is listed, or it failed.
    pub(super) fn listed(
        &mut self,
        now: Instant,
        listing: Result<Listing, String>,
        out: &mut Vec<Output>,
    ) {
        self.store.listing = false;
        match listing {
            Ok(listing) => {
                self.counters.listed += 1;
                let differed = self.compare(now, listing, out);
                // What was never read cannot differ.
                let drift = if self.store.listed { differed } else { 0 };
                self.counters.repairs += drift;
                self.shown.stale |= self.store.drift != drift;
                self.store.drift = drift;
                self.answers(out);
                self.store.list_at = Some(now + limits::CREDENTIAL_RESCAN_INTERVAL);
            }
            Err(what) => {
                self.counters.failed += 1;
                self.failed(now, what, out);
            }
        }
    }

    /// The store did not answer: what is in use stays, and it is asked again.
    pub(super) fn failed(&mut self, now: Instant, what: String, out: &mut Vec<Output>) {
        self.store.failures = self.store.failures.saturating_add(1);
        let again = now + retry(self.store.failures);
        self.store.list_at =
            Some(self.store.list_at.filter(|at| *at > now).map_or(again, |at| at.min(again)));
        if self.store.failure.as_deref() != Some(what.as_str()) {
            self.store.failure = Some(Arc::from(what.as_str()));
            self.shown.stale = true;
            out.push(Output::Announce(Event::Store { failure: Some(what) }));
        }
    }

    fn answers(&mut self, out: &mut Vec<Output>) {
        self.store.failures = 0;
        self.store.listed = true;
        if self.store.failure.take().is_some() {
            self.shown.stale = true;
            out.push(Output::Announce(Event::Store { failure: None }));
        }
    }

    /// What differs is owed a look; says how many those are.
    fn compare(&mut self, now: Instant, listing: Listing, out: &mut Vec<Output>) -> u64 {
        let Listing { order, found, left_out, misnamed } = listing;
        if left_out > self.store.left_out {
            out.push(Output::Announce(Event::LimitReached { left_out }));
        }
        self.shown.stale |= (self.store.left_out, self.store.misnamed) != (left_out, misnamed);
        (self.store.left_out, self.store.misnamed) = (left_out, misnamed);
        let found: BTreeMap<Key, Option<Digest>> = found.into_iter().collect();
        let mut drift = 0;
        for (key, digest) in &found {
            // K7: whatever is there, it is not missing, and no look from before says otherwise.
            self.missing.remove(key);
            if let Some(held) = self.held.get_mut(key) {
                held.order = held.order.max(order);
            }
            if self.is_as_listed(key, *digest) {
                self.settle(key, out);
            } else {
                let known_to_be_none = digest.is_none() && self.troubles.contains_key(key);
                drift += u64::from(!known_to_be_none);
                self.owed.insert(key.clone());
            }
        }
        // What is in trouble may be gone, and whoever is held may be back: one look tells.
        let gone = self.troubles.keys().filter(|key| !found.contains_key(*key)).cloned();
        self.owed.extend(gone);
        if left_out == 0 {
            drift += self.miss(now, order, &found);
        }
        drift
    }

    fn is_as_listed(&self, key: &Key, digest: Option<Digest>) -> bool {
        let head = self.held.get(key).map(|held| &held.head);
        let known = head.filter(|head| !head.deleted && head.record.is_some());
        known.is_some_and(|head| Some(head.digest) == digest)
    }

    /// Whatever is in use and was not listed is missing from now on.
    fn miss(&mut self, now: Instant, order: u64, found: &BTreeMap<Key, Option<Digest>>) -> u64 {
        let mut drift = 0;
        for (key, held) in &self.held {
            let judged = !held.head.deleted && held.order <= order && !found.contains_key(key);
            if judged && !self.breaker.held().contains(key) {
                drift += 1;
                self.missing.entry(key.clone()).or_insert(Missing::new(now));
            }
        }
        drift
    }

    /// When the pass that gathers absences ends by itself: it waits for looks that are on their way.
    pub(super) fn pass_ends(&self) -> Option<Instant> {
        let first = self.missed().map(|(_, missing)| missing.first).min()?;
        Some(first + limits::CREDENTIAL_ABSENCE_PASS)
    }

    /// What was missed twice and is settled by no breaker, but for what is being looked at: that look tells.
    fn missed(&self) -> impl Iterator<Item = (&Key, &Missing)> {
        let held = self.breaker.held();
        let is_looked_at = |key: &Key| self.batch.looks.iter().any(|(looked, _)| looked == key);
        let sure = self.missing.iter().filter(|(_, missing)| missing.sure);
        sure.filter(move |(key, _)| !held.contains(*key) && !is_looked_at(key))
    }

    /// Removes what was missed twice, unless that is too much at once. K7.
    pub(super) fn end_pass(&mut self, now: Instant, out: &mut Vec<Output>) {
        let pending = self.missing.values().any(|missing| !missing.sure);
        let over = !pending || self.pass_ends().is_some_and(|at| at <= now);
        let gone: Vec<Key> = self.missed().map(|(key, _)| key.clone()).collect();
        if gone.is_empty() || !over {
            return;
        }
        let held = self.breaker.held();
        let was_open = self.breaker.is_open();
        let known = self.live - held.len().min(self.live);
        let removed = self.breaker.pass(now, known, gone);
        if self.breaker.is_open() && !was_open {
            let held = self.breaker.held().len();
            out.push(Output::Announce(Event::BreakerOpened { held }));
            self.shown.stale = true;
        }
        for key in removed {
            self.queue.counters.applied += 1;
            self.remove_missed(&key, out);
        }
    }

    /// The moment of a removal is that of the look that made sure.
    fn remove_missed(&mut self, key: &Key, out: &mut Vec<Output>) {
        let at = self.missing.get(key).map(|missing| missing.at);
        let held = self.held.get(key).filter(|held| !held.head.deleted);
        if let Some(held) = held {
            let at = at.unwrap_or(held.head.updated_at);
            self.remove(key, at, held.order, out);
        }
    }

    /// An operator says that the absences were meant.
    pub(super) fn accept(&mut self, out: &mut Vec<Output>) -> Answer {
        let held = self.breaker.accept();
        if !held.is_empty() {
            out.push(Output::Announce(Event::BreakerClosed));
            self.shown.stale = true;
        }
        held.iter().for_each(|key| self.remove_missed(key, out));
        Answer::Settled { held: held.len() }
    }

    /// An operator says that they were not: what is in use is written back. The looks that find it close
    /// the breaker.
    pub(super) fn write_back(&mut self, out: &mut Vec<Output>) -> Answer {
        let keys: Vec<Key> = self.breaker.held().iter().cloned().collect();
        let held = keys.len();
        if held > 0 {
            self.ask(Asked::Nothing, Errand::Restore { keys }, out);
        }
        Answer::Settled { held }
    }
}

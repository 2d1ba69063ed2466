//! When probes are due, and what their answers mean.
//!
//! W-10: at most 128 in flight, one per entry, the earliest due first. An answer that is not the latest of
//! a living entry, or whose spec was replaced meanwhile, changes nothing.

use std::time::Duration;

use super::super::status::Status;
use super::super::{Probe, ProbeOutcome};
use super::entry::Entry;
use super::{Instant, Outcome, Output, Ticket, Timer, Workers, limits};
use crate::time::micros;
use crate::workers::breaker::Shift;

impl Workers {
    /// Keeps the schedule true: an entry is in it exactly if it is probed and not in flight.
    pub(super) fn reschedule(&mut self, now: Instant, number: u64) {
        let Some(entry) = self.entries.get_mut(&number) else { return };
        let free = entry.probe.in_flight.is_none() || canary!("workers.probes_twice");
        let wanted = entry.is_probed() && free;
        match (wanted, entry.probe.due) {
            (true, None) => {
                entry.probe.due = Some(now);
                self.schedule.insert((now, number));
            }
            (false, Some(due)) => {
                entry.probe.due = None;
                self.schedule.remove(&(due, number));
            }
            (true, Some(_)) | (false, None) => {}
        }
    }

    /// Makes the next probe due now. One in flight is the probe that was asked for, unless it is void.
    pub(super) fn probe_now(&mut self, now: Instant, number: u64) {
        self.due_at(now, number);
    }

    fn due_at(&mut self, at: Instant, number: u64) {
        let Some(entry) = self.entries.get_mut(&number) else { return };
        if let Some(due) = entry.probe.due.take() {
            self.schedule.remove(&(due, number));
        }
        if entry.is_probed() && entry.probe.in_flight.is_none() {
            entry.probe.due = Some(at);
            self.schedule.insert((at, number));
        }
    }

    pub(super) fn unschedule(&mut self, entry: &mut Entry) {
        if let Some(due) = entry.probe.due.take() {
            self.schedule.remove(&(due, entry.number));
        }
    }

    pub(super) fn start_probes(&mut self, now: Instant, out: &mut Vec<Output>) {
        while self.in_flight.len() < limits::PROBES_MAX {
            let Some((due, number)) = self.schedule.first().copied() else { break };
            if due > now {
                break;
            }
            self.schedule.pop_first();
            self.last_ticket += 1;
            let ticket = Ticket(self.last_ticket);
            let entry = self.entries.get_mut(&number).expect("W-10: what is scheduled exists");
            entry.probe.due = None;
            entry.probe.in_flight = Some(ticket);
            entry.probe.void = false;
            self.in_flight.insert(ticket, number);
            let entry = self.entries.get(&number).expect("it was there a line ago");
            out.push(Output::StartProbe { ticket, probe: self.probe_of(entry) });
        }
    }

    fn probe_of(&self, entry: &Entry) -> Probe {
        let keyed = entry.own.as_ref().is_some_and(|own| own.keyed);
        let own_key = keyed.then(|| entry.url.base.to_string());
        Probe {
            url: entry.url.base.clone(),
            host: entry.url.host.clone(),
            path: entry.health.path.clone(),
            mode: entry.spec.mode(),
            timeout: entry.health.timeout,
            own: entry.own.is_some(),
            key: own_key.or_else(|| self.key_for(&entry.url.base).map(str::to_owned)),
        }
    }

    /// The longest configured prefix of a base URL for which the host holds a key. It ends where a part
    /// of the URL ends, so that the key of port 80 is not sent to port 8000.
    pub(super) fn key_for(&self, base: &str) -> Option<&str> {
        let fits = |prefix: &&String| {
            let rest = base.strip_prefix(prefix.as_str());
            rest.is_some_and(|rest| {
                rest.is_empty() || rest.starts_with('/') || prefix.ends_with('/')
            })
        };
        self.settings.keys.iter().filter(fits).max_by_key(|prefix| prefix.len()).map(String::as_str)
    }

    pub(super) fn probed(
        &mut self,
        now: Instant,
        ticket: Ticket,
        outcome: ProbeOutcome,
        took: Duration,
        out: &mut Vec<Output>,
    ) {
        let number = self.in_flight.remove(&ticket);
        let entry = number.and_then(|number| self.entries.get_mut(&number));
        let entry = entry.filter(|entry| entry.probe.in_flight == Some(ticket));
        let Some(entry) = entry else {
            sometimes!("workers.probe_late");
            self.counters.late_probes += 1;
            return;
        };
        let number = entry.number;
        entry.probe.in_flight = None;
        if std::mem::take(&mut entry.probe.void) {
            sometimes!("workers.probe_void");
            self.counters.late_probes += 1;
            self.reschedule(now, number);
            return;
        }
        self.counters.probe(outcome);
        let was_refused = entry.probe.last == Some(ProbeOutcome::Policy);
        entry.probe.last = Some(outcome);
        entry.probe.answered = true;
        if outcome == ProbeOutcome::Policy {
            entry.refused = Some("address".to_owned());
        } else if was_refused {
            entry.refused = None;
        }
        self.touched.insert(number);
        if was_refused != (outcome == ProbeOutcome::Policy) {
            self.mark(number);
        }
        self.judge_answer(now, number, outcome, took, out);
        self.due_at(self.next_due(now, number), number);
    }

    /// T5 to T10, unless the answer is no evidence.
    fn judge_answer(
        &mut self,
        now: Instant,
        number: u64,
        outcome: ProbeOutcome,
        took: Duration,
        out: &mut Vec<Output>,
    ) {
        if matches!(outcome, ProbeOutcome::Policy | ProbeOutcome::Local) {
            return;
        }
        let Some(entry) = self.entries.get_mut(&number) else { return };
        let (rise, fall) = (entry.health.rise, entry.health.fall);
        entry.probe.latency = Some(took);
        entry.probe.failed = entry.probe.failed.saturating_add(1);
        let change = entry.condition.probed(now, outcome == ProbeOutcome::Good, rise, fall);
        self.announce(now, number, change, out);
    }

    /// The next point of the entry's own grid, so that schedules do not beat together.
    fn next_due(&self, now: Instant, number: u64) -> Instant {
        let Some(entry) = self.entries.get(&number) else { return now };
        let own = entry.own.is_some();
        let shared = MEMBER_SHARE.saturating_mul(u32::try_from(self.members.len()).unwrap_or(1));
        let interval = entry.health.interval.max(if own { Duration::ZERO } else { shared });
        let recovering = entry.condition.good() > 0;
        let interval = match entry.condition.status() {
            Status::Pending => PENDING_INTERVAL,
            Status::Failed if !recovering => {
                let doublings = entry.probe.failed.saturating_add(1).min(12);
                let doubled = interval.saturating_mul(1 << doublings);
                return now + doubled.min(FAILED_INTERVAL_MAX.max(interval));
            }
            Status::Ready | Status::NotReady | Status::Failed | Status::Draining => interval,
        };
        next_on_grid(now, interval, entry.id().map_or(0, phase))
    }

    pub(super) fn report(&mut self, now: Instant, number: u64, outcome: Outcome) {
        let Some(entry) = self.entries.get_mut(&number) else { return };
        if entry.condition.status() != Status::Ready {
            return;
        }
        let before = entry.breaker.wake();
        let shift = entry.breaker.report(now, outcome);
        let after = entry.breaker.wake();
        let Some(shift) = shift else { return };
        sometimes!("workers.ejected", shift == Shift::Ejected);
        self.counters.ejections += u64::from(shift == Shift::Ejected);
        self.reset_breaker_timer(number, before, after);
        self.mark(number);
    }

    pub(super) fn breaker_ticked(&mut self, now: Instant, number: u64) {
        let Some(entry) = self.entries.get_mut(&number) else { return };
        if entry.breaker.tick(now).is_some() {
            sometimes!("workers.on_trial");
            self.mark(number);
        }
    }

    fn reset_breaker_timer(
        &mut self,
        number: u64,
        before: Option<Instant>,
        after: Option<Instant>,
    ) {
        if let Some(before) = before {
            self.timers.remove(&(before, Timer::Breaker(number)));
        }
        if let Some(after) = after {
            self.timers.insert((after, Timer::Breaker(number)));
        }
    }
}

/// The first instant after `now` that is `phase` modulo `interval`.
fn next_on_grid(now: Instant, interval: Duration, phase: u64) -> Instant {
    let interval = micros(interval).max(1);
    let (now, phase) = (now.as_micros(), phase % interval);
    let passed = now.saturating_sub(phase) / interval;
    let next = if now < phase { phase } else { phase.saturating_add((passed + 1) * interval) };
    Instant::from_micros(next)
}

fn phase(id: &super::Id) -> u64 {
    xxhash_rust::xxh3::xxh3_64(id.as_str().as_bytes())
}

/// A fleet of any size asks a worker at most twice a second, beyond its owner.
const MEMBER_SHARE: Duration = Duration::from_millis(500);
const PENDING_INTERVAL: Duration = Duration::from_secs(1);
const FAILED_INTERVAL_MAX: Duration = Duration::from_secs(600);

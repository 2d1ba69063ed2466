//! What picks need of this process: a counter per lane, the load of each worker, the tickets given out.
//!
//! Choosing is a pure function of the snapshot (`quorate_core::node::workers::route`); here are only the
//! numbers it is given. A ticket stands for one request in flight until it is reported or forgotten.
//!
//! Invariants:
//! - P-1: requests in flight of a worker = its tickets in the table.
//! - P-2: one trial of an ejected worker is out at a time; forgotten, it counts as cancelled.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use quorate_core::limits::WORKER_LANES_MAX;
use quorate_core::node::workers::route::{Explained, Reason, explain};
use quorate_core::node::workers::{Candidate, NoWorker, Pick, Query, Snapshot, route};
use quorate_core::time::Instant;

/// Tickets out at a time; the oldest is forgotten first.
const TICKETS_MAX: usize = 65_536;
/// How long a ticket waits for its report.
const TICKET_LIFE: Duration = Duration::from_secs(600);
/// How long a trial waits for its report.
const TRIAL_LIFE: Duration = Duration::from_secs(5);
/// How long a reported load counts.
const REPORT_LIFE: Duration = Duration::from_secs(10);

/// The numbers behind picks of one node.
#[derive(Debug, Default)]
pub(super) struct Picks {
    lanes: RwLock<BTreeMap<(String, String), Arc<AtomicU64>>>,
    /// For lanes that do not exist or are too many.
    shared: AtomicU64,
    loads: RwLock<BTreeMap<u64, Arc<WorkerLoad>>>,
    tickets: Mutex<Tickets>,
}

#[derive(Debug, Default)]
struct WorkerLoad {
    in_flight: AtomicU32,
    reported: AtomicU32,
    reported_at: AtomicU64,
    on_trial: AtomicBool,
}

#[derive(Debug, Default)]
struct Tickets {
    last: u64,
    out: BTreeMap<u64, Ticket>,
    order: VecDeque<u64>,
}

/// A request that was sent somewhere.
#[derive(Debug, Clone)]
struct Ticket {
    number: u64,
    url: Arc<str>,
    since: Instant,
    trial: bool,
    load: Arc<WorkerLoad>,
}

/// A pick that stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Picked {
    pub(super) id: String,
    pub(super) url: Arc<str>,
    pub(super) ticket: String,
}

impl Picks {
    /// Picks a worker and counts the request as in flight there.
    pub(super) fn pick(
        &self,
        now: Instant,
        snapshot: &Snapshot,
        query: &Query,
    ) -> Result<Picked, NoWorker> {
        let number =
            self.counter(snapshot, query, |counter| counter.fetch_add(1, Ordering::Relaxed));
        let mut query = query.clone();
        // P-2: each round leaves out one worker whose trial is out already.
        for _ in 0..=TRIALS_SKIPPED_MAX {
            let pick = self.choose(now, snapshot, &query, number)?;
            let load = self.load(pick.candidate.number);
            if pick.trial && load.on_trial.swap(true, Ordering::AcqRel) {
                query.exclude.push(pick.candidate.id.clone());
                continue;
            }
            return Ok(self.issue(now, &pick, load));
        }
        Err(NoWorker { reason: Reason::NoneReady, retry_at: None })
    }

    /// What the next pick would be, worker by worker, and why it would be none; changes nothing.
    pub(super) fn explain(
        &self,
        now: Instant,
        snapshot: &Snapshot,
        query: &Query,
    ) -> (Vec<Explained>, Option<Reason>) {
        let number = self.counter(snapshot, query, |counter| counter.load(Ordering::Relaxed));
        let refusal = self.choose(now, snapshot, query, number).err();
        let load = |candidate: &Candidate| self.load_of(now, candidate.number);
        let explained = explain(snapshot, query, number, &load);
        (explained, refusal.map(|refusal| refusal.reason))
    }

    /// Settles a ticket; false if it is none of worker `number`.
    pub(super) fn settle(&self, ticket: &str, number: u64) -> bool {
        let mut tickets = self.tickets.lock().expect("no holder of this lock panics");
        let id = ticket.strip_prefix('t').and_then(|id| u64::from_str_radix(id, 16).ok());
        let ours = id.filter(|id| tickets.out.get(id).is_some_and(|out| out.number == number));
        ours.is_some_and(|id| tickets.forget(id).is_some())
    }

    /// Notes what a caller says it has in flight at worker `number`.
    pub(super) fn reported(&self, now: Instant, number: u64, in_flight: u32) {
        let load = self.load(number);
        load.reported.store(in_flight, Ordering::Relaxed);
        load.reported_at.store(now.as_micros(), Ordering::Relaxed);
    }

    /// The load of worker `number`.
    pub(super) fn load_of(&self, now: Instant, number: u64) -> u32 {
        let loads = self.loads.read().expect("no holder of this lock panics");
        loads.get(&number).map_or(0, |load| load.at(now))
    }

    /// Forgets tickets that nobody reported. Returns the workers whose trial went with them.
    pub(super) fn sweep(&self, now: Instant) -> Vec<Arc<str>> {
        let mut tickets = self.tickets.lock().expect("no holder of this lock panics");
        let mut cancelled = Vec::new();
        let late = |ticket: &Ticket| {
            let life = if ticket.trial { TRIAL_LIFE } else { TICKET_LIFE };
            now.since(ticket.since) >= life
        };
        let due: Vec<u64> =
            tickets.out.iter().filter(|(_, ticket)| late(ticket)).map(|(id, _)| *id).collect();
        for id in due {
            let forgotten = tickets.forget(id);
            cancelled.extend(forgotten.filter(|ticket| ticket.trial).map(|ticket| ticket.url));
        }
        drop(tickets);
        let idle = |load: &WorkerLoad| load.at(now) == 0;
        // Whoever holds one of these right now counts in it for the last time; the next finds a new one.
        let mut loads = self.loads.write().expect("no holder of this lock panics");
        loads.retain(|_, load| Arc::strong_count(load) > 1 || !idle(load));
        cancelled
    }

    fn choose<'a>(
        &self,
        now: Instant,
        snapshot: &'a Snapshot,
        query: &Query,
        number: u64,
    ) -> Result<Pick<'a>, NoWorker> {
        let loads = self.loads.read().expect("no holder of this lock panics");
        let load =
            |candidate: &Candidate| loads.get(&candidate.number).map_or(0, |load| load.at(now));
        route(snapshot, query, number, &load)
    }

    fn counter(&self, snapshot: &Snapshot, query: &Query, take: impl Fn(&AtomicU64) -> u64) -> u64 {
        if snapshot.lane(&query.model, &query.kind).is_none() {
            return take(&self.shared);
        }
        let key = (query.model.clone(), query.kind.to_string());
        let lanes = self.lanes.read().expect("no holder of this lock panics");
        if let Some(counter) = lanes.get(&key) {
            return take(counter);
        }
        drop(lanes);
        let mut lanes = self.lanes.write().expect("no holder of this lock panics");
        if lanes.len() >= WORKER_LANES_MAX {
            lanes.clear(); // Lanes that are gone; the living begin anew, which a pick survives.
        }
        take(lanes.entry(key).or_default())
    }

    fn load(&self, number: u64) -> Arc<WorkerLoad> {
        let loads = self.loads.read().expect("no holder of this lock panics");
        if let Some(load) = loads.get(&number) {
            return load.clone();
        }
        drop(loads);
        self.loads
            .write()
            .expect("no holder of this lock panics")
            .entry(number)
            .or_default()
            .clone()
    }

    fn issue(&self, now: Instant, pick: &Pick<'_>, load: Arc<WorkerLoad>) -> Picked {
        load.in_flight.fetch_add(1, Ordering::Relaxed);
        let candidate = pick.candidate;
        let ticket = Ticket {
            number: candidate.number,
            url: candidate.url.clone(),
            since: now,
            trial: pick.trial,
            load,
        };
        let mut tickets = self.tickets.lock().expect("no holder of this lock panics");
        tickets.last += 1;
        let id = tickets.last;
        tickets.out.insert(id, ticket);
        tickets.order.push_back(id);
        while tickets.out.len() > TICKETS_MAX {
            let Some(oldest) = tickets.order.pop_front() else { break };
            tickets.forget(oldest);
        }
        Picked {
            id: candidate.id.to_string(),
            url: candidate.url.clone(),
            ticket: format!("t{id:x}"),
        }
    }
}

/// Workers on trial that one pick passes over.
const TRIALS_SKIPPED_MAX: usize = 8;

impl Tickets {
    /// Takes a ticket out of the table and off its worker.
    fn forget(&mut self, id: u64) -> Option<Ticket> {
        let ticket = self.out.remove(&id)?;
        ticket.load.in_flight.fetch_sub(1, Ordering::Relaxed); // P-1
        if ticket.trial {
            ticket.load.on_trial.store(false, Ordering::Release);
        }
        while self.order.front().is_some_and(|id| !self.out.contains_key(id)) {
            self.order.pop_front();
        }
        // Settled tickets behind an old one stay in the order; it is rebuilt before it grows for ever.
        if self.order.len() > 2 * TICKETS_MAX {
            self.order = self.out.keys().copied().collect();
        }
        Some(ticket)
    }
}

impl WorkerLoad {
    fn at(&self, now: Instant) -> u32 {
        let reported_at = Instant::from_micros(self.reported_at.load(Ordering::Relaxed));
        let fresh = now.since(reported_at) < REPORT_LIFE;
        let reported = if fresh { self.reported.load(Ordering::Relaxed) } else { 0 };
        self.in_flight.load(Ordering::Relaxed).saturating_add(reported)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(number: u64) -> Candidate {
        let id = "1ac6b397-575f-5727-a589-7406f6c41dc3".into();
        Candidate::new(number, id, "http://10.0.0.7:8000".into(), 100, 0, Arc::default())
    }

    fn issue(picks: &Picks, now: Instant, number: u64, trial: bool) -> Picked {
        let candidate = candidate(number);
        let load = picks.load(number);
        picks.issue(now, &Pick { candidate: &candidate, trial }, load)
    }

    #[test]
    fn a_worker_carries_its_tickets_until_they_are_settled_or_forgotten() {
        let (picks, now) = (Picks::default(), Instant::from_millis(1_000_000));
        let one = issue(&picks, now, 7, false);
        let _other = issue(&picks, now, 7, false);
        assert_eq!(picks.load_of(now, 7), 2);
        assert!(!picks.settle(&one.ticket, 8), "a ticket of another worker settles nothing");
        assert!(picks.settle(&one.ticket, 7));
        assert!(!picks.settle(&one.ticket, 7), "a ticket settles once");
        assert!(!picks.settle("t0", 7) && !picks.settle("nonsense", 7));
        assert_eq!(picks.load_of(now, 7), 1);
        picks.sweep(now + TICKET_LIFE);
        assert_eq!(picks.load_of(now, 7), 0);
        assert!(picks.loads.read().expect("free").is_empty(), "an idle worker costs nothing");
    }

    #[test]
    fn what_callers_report_counts_for_ten_seconds() {
        let (picks, now) = (Picks::default(), Instant::from_millis(1_000_000));
        picks.reported(now, 7, 5);
        assert_eq!(picks.load_of(now + Duration::from_secs(9), 7), 5);
        assert_eq!(picks.load_of(now + Duration::from_secs(10), 7), 0);
    }

    #[test]
    fn a_trial_that_nobody_reports_is_cancelled_after_five_seconds() {
        let (picks, now) = (Picks::default(), Instant::from_millis(1_000_000));
        issue(&picks, now, 7, true);
        assert!(picks.sweep(now + Duration::from_secs(4)).is_empty());
        assert_eq!(picks.sweep(now + Duration::from_secs(5)).len(), 1);
        assert_eq!(picks.load_of(now, 7), 0);
    }

    #[test]
    fn the_table_of_tickets_is_bounded() {
        let (picks, now) = (Picks::default(), Instant::from_millis(1_000_000));
        let first = issue(&picks, now, 7, false);
        for _ in 0..TICKETS_MAX {
            issue(&picks, now, 7, false);
        }
        assert_eq!(picks.load_of(now, 7) as usize, TICKETS_MAX);
        assert!(!picks.settle(&first.ticket, 7), "the oldest made room");
    }
}

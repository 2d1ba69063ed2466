//! The machine: callers, the log and the state meet here.
//!
//! Everything that waits for the log is a [`Call`] under a ticket of ours; everything that waits for time has
//! a timer. A call ends exactly once: with an answer, or because nobody asked.
//!
//! Absent on purpose: what a command does. That is the state's, and the same on every replica.

mod call;
mod counts;
mod duty;
mod line;
mod proxy;
mod question;
mod renewal;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::ask::{Question, question, tell, told};
use super::command::{Invalid, LeaseId, Outcome, Refusal};
use super::state::{Restoring, Section, State};
use super::view::{Served, View};
use super::watch::{Events, WatchRequest, Watches};
use super::{Answer, Event, Failure, Input, Output, Settings, Unavailable, VERSION};
use crate::ids::Ticket;
use crate::limits;
use crate::machine::{Machine, Wake};
use crate::time::{Instant, millis};
use crate::wire::{Blob, encode};

use call::{Call, Pending};
use counts::{Counters, Operation};
use duty::Duties;
use proxy::Proxies;
use renewal::Renewals;

/// The consistent store of one node.
#[derive(Debug)]
pub struct Kv {
    settings: Settings,
    state: State,
    /// The state as a snapshot is to hold it, as far as it is not yet taken.
    frozen: Option<(u64, Section)>,
    /// Whether the log is applied here.
    copy: bool,
    /// When the log's time was last heard of.
    clock_at: Instant,
    calls: BTreeMap<Ticket, Call>,
    timers: BTreeSet<(Instant, Ticket)>,
    last_ticket: u64,
    /// Reads that wait for a revision.
    behind: BTreeSet<(u64, Ticket)>,
    /// Callers that stand in line, by what their contenders' keys begin with.
    lines: BTreeMap<Blob, BTreeSet<Ticket>>,
    renewals: Renewals,
    duties: Duties,
    watches: Watches,
    proxies: Proxies,
    counters: Counters,
    served: Arc<Served>,
    /// Whether the log was told that a lease waits.
    waits: bool,
    /// Whether the view shows otherwise.
    touched: bool,
}

impl Kv {
    /// A store that has heard of nothing yet.
    pub fn new(settings: Settings) -> Kv {
        Kv {
            watches: Watches::new(&settings),
            settings,
            state: State::default(),
            frozen: None,
            copy: false,
            clock_at: Instant::ZERO,
            calls: BTreeMap::new(),
            timers: BTreeSet::new(),
            last_ticket: 0,
            behind: BTreeSet::new(),
            lines: BTreeMap::new(),
            renewals: Renewals::default(),
            duties: Duties::default(),
            proxies: Proxies::default(),
            counters: Counters::default(),
            served: Arc::default(),
            waits: false,
            touched: true,
        }
    }

    /// The state here.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Whether the log is applied here.
    pub fn keeps_copy(&self) -> bool {
        self.copy
    }

    /// The state for other threads, if it changed since this was last asked.
    pub fn publish(&mut self, now: Instant) -> Option<View> {
        if !std::mem::take(&mut self.touched) {
            return None;
        }
        Some(View {
            state: self.state.clone(),
            copy: self.copy,
            log_time: self.log_time(now),
            deadline: self.settings.deadline,
            served: Arc::clone(&self.served),
        })
    }

    /// The log's time by now: what it was, and what has passed here since. Never more than the leader's.
    fn log_time(&self, now: Instant) -> u64 {
        self.state.log_time().saturating_add(millis(now.since(self.clock_at)))
    }

    fn apply(
        &mut self,
        now: Instant,
        entry: (u64, u64, u8),
        payload: &Blob,
        out: &mut Vec<Output>,
    ) {
        let (index, log_time, version) = entry;
        let (before, leases) = (self.state.revision(), self.state.lease_count());
        let outcome = if version == VERSION {
            self.state.apply(index, log_time, payload)
        } else {
            self.state.note_time(index, log_time);
            Outcome::Refused(Refusal::Invalid(Invalid::Senseless))
        };
        let granted = u64::from(self.state.lease(LeaseId(index)).is_some());
        self.counters.ended(leases + granted - self.state.lease_count(), &outcome);
        out.push(Output::Applied { index, outcome: Blob::from(encode(&outcome)) });
        self.clock_at = now;
        self.touched = true;
        if self.state.revision() > before {
            self.changed(now, out);
        }
    }

    /// A revision was made: whoever waits for it hears of it.
    fn changed(&mut self, now: Instant, out: &mut Vec<Output>) {
        let revision = self.state.revision();
        let changed = self.state.changes(revision).expect("KV-2: the newest revision is history");
        let changed = Arc::clone(changed);
        let mut events = Events::new();
        self.watches.changed(now, revision, &changed, &mut events);
        tell_events(events, out);
        self.catch_up(now, out);
        self.lines_moved(now, &changed, out);
    }

    /// The next piece of the state that is held for the snapshot `number`.
    fn next_piece(&mut self, number: u64) -> Option<Blob> {
        let (_, section) = self.frozen.as_mut().filter(|(of, _)| *of == number)?;
        let piece = section.chunk(limits::RAFT_PIECE_BYTES);
        if piece.is_none() {
            self.frozen = None;
        }
        piece.map(Blob::from)
    }

    fn restore(&mut self, now: Instant, point: (u64, u64), section: Option<&Blob>) {
        let (index, log_time) = point;
        self.watches.fall_behind(&self.state);
        self.frozen = None;
        let mut state = match section {
            None => State::default(),
            Some(section) => {
                let mut restoring = Restoring::default();
                let restored = restoring.push(section).and_then(|()| restoring.finish());
                // The bytes passed the log's own checksum: they are what a member of this cluster wrote.
                restored.expect("KV-2: a section of a checked snapshot is a state")
            }
        };
        state.note_time(index, log_time);
        self.state = state;
        self.clock_at = now;
        self.touched = true;
    }

    fn tick(&mut self, now: Instant, out: &mut Vec<Output>) {
        while self.timers.first().is_some_and(|(at, _)| *at <= now) {
            let (_, ticket) = self.timers.pop_first().expect("the first was just there");
            self.timer_ended(now, ticket, out);
        }
        self.renew_due(now, out);
        self.poll_due(now, out);
        self.do_duties(now, out);
        let mut events = Events::new();
        self.watches.feed(now, &self.state, &mut events);
        self.watches.progress(now, &self.state, &mut events);
        tell_events(events, out);
    }

    /// A timer of a call: its wait is over, or it asks once more.
    fn timer_ended(&mut self, now: Instant, ticket: Ticket, out: &mut Vec<Output>) {
        let Some(call) = self.calls.get(&ticket) else { return };
        match &call.what {
            Pending::Behind { .. } => self.gave_up(ticket, out),
            Pending::AskAgain { .. } => self.ask_again(now, ticket, out),
            Pending::InLine(_) => self.line_timer(now, ticket, out),
            Pending::Write(_)
            | Pending::Reading { .. }
            | Pending::Querying { .. }
            | Pending::Renewing(_)
            | Pending::Acquiring(_)
            | Pending::Withdrawing(_)
            | Pending::Duty(_)
            | Pending::Unheard
            | Pending::Poll(_) => {}
        }
    }

    fn set_timer(&mut self, at: Instant, ticket: Ticket) {
        self.timers.insert((at, ticket));
    }

    /// Tells the log whether a lease waits for its time.
    fn tell_waiting(&mut self, out: &mut Vec<Output>) {
        let waits = self.state.next_deadline().is_some();
        if waits != self.waits {
            self.waits = waits;
            out.push(Output::Waiting { waits });
        }
    }

    fn watch(
        &mut self,
        now: Instant,
        ticket: Ticket,
        request: WatchRequest,
        out: &mut Vec<Output>,
    ) {
        if self.watches.len() + self.proxies.len() >= self.settings.watches_max {
            let event = Event::Refused(Box::new(Failure::Watches));
            out.push(Output::Watched { ticket, event });
        } else if self.copy {
            self.watches.open(now, ticket, request, &self.state);
        } else {
            self.proxies.open(now, ticket, request);
        }
    }

    /// Watches go where the state is: here, or at a node with a copy.
    fn move_watches(&mut self, now: Instant, here: bool) {
        if self.copy == here {
            return;
        }
        self.copy = here;
        self.touched = true;
        if here {
            for (ticket, request) in self.proxies.take() {
                self.watches.open(now, ticket, request, &self.state);
            }
        } else {
            for (ticket, request) in self.watches.take(&self.state) {
                self.proxies.open(now, ticket, request);
            }
        }
    }

    fn answer(&mut self, now: Instant, number: u64, bytes: &[u8], out: &mut Vec<Output>) {
        let answer = match question(bytes) {
            Some(question) => told(&tell(&self.state, self.log_time(now), &question)),
            None => {
                out.push(Output::Misbehaved { what: "a question that is none" });
                Blob::default()
            }
        };
        out.push(Output::Answered { number, answer });
    }

    /// Tells `question` from the state here.
    fn tell(&self, now: Instant, question: &Question) -> Answer {
        Answer::Told(tell(&self.state, self.log_time(now), question))
    }

    fn assert_invariants(&self) {
        assert!(
            self.calls.len() <= limits::KV_CALLS_MAX + limits::KV_WATCHES_MAX,
            "KV-8: {} calls wait",
            self.calls.len()
        );
        assert!(
            self.watches.len() + self.proxies.len() <= self.settings.watches_max.max(1),
            "KV-8: {} watches are open",
            self.watches.len() + self.proxies.len()
        );
    }
}

impl Machine for Kv {
    type Input = Input;
    type Output = Output;

    fn handle(&mut self, now: Instant, input: Input, out: &mut Vec<Output>) {
        match input {
            Input::Request { ticket, request, origin, within, once } => {
                self.request(now, (ticket, origin, within, once), request, out);
            }
            Input::Apply { index, log_time, version, payload } => {
                self.apply(now, (index, log_time, version), &payload, out);
            }
            Input::Clock { index, log_time } => {
                self.state.note_time(index, log_time);
                self.clock_at = now;
            }
            Input::Proposed { ticket, result } => self.proposed(now, ticket, result, out),
            Input::ReadReady { ticket, result } => self.read_ready(now, ticket, result, out),
            Input::Queried { ticket, result } => self.queried(now, ticket, result, out),
            Input::Answer { number, question } => self.answer(now, number, &question, out),
            Input::Led { here } => self.duties.lead(now, here),
            Input::Copy { here } => self.move_watches(now, here),
            Input::Freeze { number } => self.frozen = Some((number, self.state.section())),
            Input::NextPiece { number } => {
                let piece = self.next_piece(number);
                out.push(Output::Piece { number, piece });
            }
            Input::Restore { index, log_time, section } => {
                self.restore(now, (index, log_time), section.as_ref());
                self.catch_up(now, out);
                self.all_lines_moved(now, out);
            }
            Input::Watch { ticket, request } => self.watch(now, ticket, request, out),
            Input::Taken { ticket, revision } => self.watches.taken(ticket, revision),
            Input::Unwatch { ticket } => {
                self.watches.close(ticket);
                self.proxies.close(ticket);
            }
            Input::Reload { settings } => {
                self.watches.resize(&settings);
                self.settings = *settings;
                self.touched = true;
            }
            Input::Tick => {}
        }
        self.tick(now, out);
        self.tell_waiting(out);
        self.assert_invariants();
    }

    fn next_wake(&self) -> Option<Wake> {
        let timer = self.timers.first();
        let timer = timer.map(|(at, _)| Wake { at: *at, what: "a caller of kv has waited enough" });
        let watches = self.watches.next().map(|(at, what)| Wake { at, what });
        let renewals = self.renewals.due();
        let renewals = renewals.map(|at| Wake { at, what: "leases are renewed" });
        let polls = self.proxies.next();
        let polls = polls.map(|at| Wake { at, what: "a watch asks a node with a copy" });
        let duties = self.next_duty();
        [timer, watches, renewals, polls, duties].into_iter().fold(None, Wake::earlier)
    }
}

fn tell_events(events: Events, out: &mut Vec<Output>) {
    out.extend(events.into_iter().map(|(ticket, event)| Output::Watched { ticket, event }));
}

/// The answer to a caller whose call the log did not do.
fn unavailable(why: Unavailable) -> Answer {
    let not_here = why == Unavailable::NotHere;
    Answer::Failed(if not_here { Failure::NotHere } else { Failure::Unavailable(why) })
}

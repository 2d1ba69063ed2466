//! A false world with real nodes in it.
//!
//! [`World`] holds machines, the network between them, their disks and the outside. It hands inputs to
//! nodes in turns of at most 64, performs their effects in one exhaustive match, and tells the
//! [`Checks`](crate::invariants::Checks) everything it did: that record, and never a node's word about
//! itself, is what promises are compared with.
//!
//! Absent on purpose: what goes wrong, and when. A [plan](crate::plan) says so; `world/faults.rs` obeys.

mod calls;
pub mod disks;
mod draws;
pub mod elsewhere;
pub mod faults;
mod lies;
pub mod machine;
pub(crate) mod newer;
mod requests;
pub mod streams;
mod twins;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use quorate_core::ids::{Incarnation, Replica, Ticket};
use quorate_core::limits;
use quorate_core::mark::Points;
use quorate_core::node::pools;
use quorate_core::node::workers::Refusal;
use quorate_core::node::{Announcement, Answer, Effect, Input, Request};
use quorate_core::random::Rng;
use quorate_core::time::Instant;
use quorate_core::wire::Blob;

use crate::backend::direct::Queue;
use crate::clock::Micros;
use crate::invariants::{Checks, Turn};
use crate::net::{Fate, Kind, Link, State};
use crate::outside::Outside;
use crate::trace::Trace;
use crate::verdict::{Failure, Kind as FailureKind};
use crate::view::lens::Lens;
use draws::Draws;
use elsewhere::{Elsewhere, Order};
use faults::FaultCounts;
use machine::{Machine, Process};
use requests::CallerEvent;
use streams::{StreamEvent, Streams};

/// Inputs that may meet at one instant before the run counts as stuck.
const INPUTS_AT_ONCE_MAX: u64 = 10_000;
/// Processor time of a turn.
const TURN_US: Micros = 10;
/// Datagrams that wait in the buffer of a socket nobody reads.
const SOCKET_DATAGRAMS_MAX: usize = 512;

/// What is still to happen.
#[derive(Debug)]
pub enum Event {
    /// A process looks at its inputs.
    Turn {
        /// Where.
        machine: usize,
        /// In which process.
        process: u64,
    },
    /// A datagram is there.
    Datagram {
        /// At which machine.
        to: usize,
        /// At which of its addresses.
        at: SocketAddr,
        /// Whence.
        from: SocketAddr,
        /// It.
        bytes: Blob,
    },
    /// The oldest pending batch of a disk is durable.
    Synced {
        /// Where.
        machine: usize,
        /// Whose.
        process: u64,
    },
    /// An outside call ended.
    Answered {
        /// Where.
        machine: usize,
        /// Whose.
        process: u64,
        /// Which.
        ticket: Ticket,
        /// How.
        answer: Answer,
    },
    /// Something became of a request to a provider.
    Caller(CallerEvent),
    /// Something became of a connection.
    Stream(StreamEvent),
    /// A process that stands still goes on.
    Resume {
        /// Where.
        machine: usize,
        /// Which.
        process: u64,
    },
    /// The supervisor starts a process where none runs.
    Start {
        /// Where.
        machine: usize,
    },
    /// The hostile peer says something.
    Lie {
        /// Where.
        machine: usize,
        /// Until when it goes on.
        until: Micros,
        /// How far apart its lies are, on average.
        pause: Micros,
    },
    /// What the run's driver wants to be reminded of.
    Note(usize),
}

/// Everything there is in a run.
pub struct World {
    now: Micros,
    queue: Queue<Event>,
    /// The machines, by index.
    pub machines: Vec<Machine>,
    links: Vec<Link>,
    held: BTreeMap<usize, Vec<(Micros, Event)>>,
    addresses: BTreeMap<SocketAddr, usize>,
    streams: Streams,
    /// Model servers and names.
    pub outside: Outside,
    /// What happened.
    pub trace: Trace,
    /// What must be true.
    pub checks: Checks,
    /// What was done to the world.
    pub faults: FaultCounts,
    crash_effect: u64,
    trouble: disks::Trouble,
    rates: Vec<faults::Overlay>,
    draws: Vec<Draws>,
    processes: u64,
    tickets: u64,
    /// Requests of callers to providers, by the ticket of their lease.
    flights: BTreeMap<Ticket, requests::Flight>,
    /// What a process was last told of its wall clock, and when, by machine.
    walls: BTreeMap<usize, (u64, Instant, u64)>,
    inputs: u64,
    datagrams: u64,
    bytes: u64,
    instant: (Micros, u64),
    /// Who looks on, if anybody does.
    pub lens: Option<Box<Lens>>,
    failure: Option<Failure>,
    turning: Option<usize>,
    /// Set if processes run elsewhere.
    elsewhere: Option<Elsewhere>,
    /// Rare choices that the machines may be told to make.
    pub points: Points,
}

impl World {
    /// An empty world with `machines` machines, none of which runs anything.
    pub fn new(rng: &Rng, machines: Vec<Machine>, trace: Trace, checks: Checks) -> World {
        let count = machines.len();
        let net = rng.child("net");
        let label = |index: usize| format!("{}>{}", index / count, index % count);
        let links = (0..count * count).map(|index| Link::new(&net, &label(index))).collect();
        let addresses =
            machines.iter().enumerate().map(|(index, machine)| (machine.address, index)).collect();
        World {
            now: 0,
            queue: Queue::new(),
            machines,
            links,
            held: BTreeMap::new(),
            addresses,
            streams: Streams::default(),
            outside: Outside::new(rng.child("outside")),
            trace,
            checks,
            faults: FaultCounts::default(),
            crash_effect: 0,
            trouble: disks::Trouble::default(),
            rates: Vec::new(),
            draws: (0..count).map(|index| Draws::new(&rng.child(&index.to_string()))).collect(),
            processes: 0,
            tickets: 0,
            flights: BTreeMap::new(),
            walls: BTreeMap::new(),
            inputs: 0,
            datagrams: 0,
            bytes: 0,
            instant: (0, 0),
            lens: None,
            failure: None,
            turning: None,
            elsewhere: None,
            points: Points::new(rng.child("points").word()),
        }
    }

    /// World time.
    pub fn now(&self) -> Micros {
        self.now
    }

    /// Inputs that nodes took so far.
    pub fn inputs(&self) -> u64 {
        self.inputs
    }

    /// Datagrams that nodes sent so far.
    pub fn datagrams(&self) -> u64 {
        self.datagrams
    }

    /// Bytes that nodes sent so far, seals of datagrams included.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What did not hold, once something did not.
    pub fn failure(&self) -> Option<&Failure> {
        self.failure.as_ref()
    }

    /// Ends the run with `failure`, unless it ended already.
    pub fn fail(&mut self, failure: Failure) {
        self.failure.get_or_insert(failure);
    }

    /// A reminder at `at`.
    pub fn note(&mut self, at: Micros, number: usize) {
        self.queue.push(at, Event::Note(number));
    }

    /// Lets the world go on until `end`, a reminder, or a failure. `None`: the end was reached.
    pub fn advance(&mut self, end: Micros) -> Option<usize> {
        while self.failure.is_none() {
            let Some((at, event)) = self.queue.pop(end) else {
                self.now = self.now.max(end);
                return None;
            };
            self.now = self.now.max(at);
            match event {
                Event::Note(number) => return Some(number),
                Event::Turn { machine, process } => self.turn(machine, process),
                Event::Datagram { to, at, from, bytes } => self.arrive(to, at, from, bytes),
                Event::Synced { machine, process } => self.synced(machine, process),
                Event::Answered { machine, process, ticket, answer } => {
                    self.input(machine, process, Input::Answered { ticket, answer });
                }
                Event::Caller(event) => self.caller(event),
                Event::Stream(event) => self.stream(event),
                Event::Resume { machine, process } => self.resume(machine, process),
                Event::Start { machine } => self.start(machine),
                Event::Lie { machine, until, pause } => self.lie(machine, until, pause),
            }
        }
        None
    }

    /// The machine at `index`.
    pub fn machine(&self, index: usize) -> &Machine {
        self.machines.get(index).expect("an index of a machine stays valid")
    }

    fn machine_mut(&mut self, index: usize) -> &mut Machine {
        self.machines.get_mut(index).expect("an index of a machine stays valid")
    }

    /// The link from `from` to `to`.
    pub fn link(&self, from: usize, to: usize) -> &Link {
        let index = from * self.machines.len() + to;
        self.links.get(index).expect("there is a link per ordered pair")
    }

    fn link_mut(&mut self, from: usize, to: usize) -> &mut Link {
        let index = from * self.machines.len() + to;
        self.links.get_mut(index).expect("there is a link per ordered pair")
    }

    fn draws_of(&mut self, machine: usize) -> &mut Draws {
        self.draws.get_mut(machine).expect("an index of a machine stays valid")
    }

    fn process_mut(&mut self, machine: usize, number: u64) -> Option<&mut Process> {
        self.machine_mut(machine).process.as_mut().filter(|process| process.number == number)
    }

    /// Hands `input` to a process that still runs.
    fn input(&mut self, machine: usize, process: u64, input: Input) {
        let now = self.now;
        if self.elsewhere.is_some() {
            return self.hand_over(machine, process, input);
        }
        let Some(running) = self.process_mut(machine, process) else { return };
        running.inbox.push_back(input);
        let at = running.busy_until.max(now);
        if running.schedule(at) {
            self.queue.push(at, Event::Turn { machine, process });
        }
    }

    /// Hands a caller's wish to the process on `machine`; its ticket, if one runs there.
    pub fn request(&mut self, machine: usize, request: Request) -> Option<Ticket> {
        let process = self.machine(machine).process.as_ref()?.number;
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.checks.asked(self.now, machine, ticket, &request);
        self.input(machine, process, Input::Request { ticket, request });
        Some(ticket)
    }

    /// Hands a caller an answer that no node had to think about.
    pub fn told(&mut self, words: String) -> Ticket {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.checks.workers.answers.insert(ticket, words);
        ticket
    }

    /// The surface of `machine` refuses a wish before its node hears of it.
    pub fn refuse(&mut self, machine: usize, refusal: &Refusal) -> Ticket {
        let words = format!("refused {}", refusal.code());
        let told = self.checks.refused(machine, refusal);
        if let Err(failure) = told {
            self.fail(failure.at(self.now, self.trace.turns()));
        }
        self.told(words)
    }

    /// Starts a process on a machine that runs none.
    pub fn start(&mut self, machine: usize) {
        if self.machine(machine).process.is_some()
            || self.is_starting(machine)
            || !self.disk_lets_start(machine)
        {
            return;
        }
        self.processes += 1;
        let number = self.processes;
        let now = self.now;
        let seed = self.draws_of(machine).next_seed();
        if self.elsewhere.is_some() {
            return self.order(Order::Start { machine, number, seed });
        }
        let host = self.machine_mut(machine);
        host.boot(now, number, seed);
        self.tell_of_start(machine);
        self.read_wall(machine);
        self.input(machine, number, Input::Start);
    }

    fn tell_of_start(&mut self, machine: usize) {
        let process = self.machine(machine).process.as_ref();
        let replica = process.map(|process| process.replica.clone());
        let replica = replica.expect("a machine that booted runs a process");
        self.checks.started(machine, &replica, self.machines.as_slice());
    }

    fn turn(&mut self, machine: usize, number: u64) {
        let now = self.now;
        let Some(process) = self.process_mut(machine, number) else { return };
        if !process.due(now) {
            return;
        }
        if process.standing_until.is_some() {
            return; // `resume` schedules the next turn.
        }
        let local = self.machine(machine).clock.local(now);
        let process = self.process_mut(machine, number).expect("it runs, a line above");
        let mut inputs = process.batch(local);
        if inputs.is_empty() {
            self.schedule_wake(machine, number);
            return;
        }
        // A host reads the clock before it looks at anything else.
        inputs.extend(self.clock_first(machine, local));
        inputs.sort_by_key(|input| !matches!(input, Input::Clock { .. }));
        self.inputs += inputs.len() as u64;
        if self.is_stuck(machine, inputs.len() as u64) {
            return;
        }
        let process = self.machines.get(machine).and_then(|host| host.process.as_ref());
        process.into_iter().for_each(|process| self.checks.before(machine, process, &inputs));
        self.turning = Some(machine);
        self.points.turn(self.trace.turns());
        let process = self.process_mut(machine, number).expect("it runs, a line above");
        let effects = process.turn(local, &inputs);
        self.turning = None;
        if let Err(failure) = self.look(machine, &inputs, &effects) {
            self.fail(failure.at(now, self.trace.turns()));
            return;
        }
        self.perform_all(machine, number, effects);
        self.schedule_wake(machine, number);
    }

    /// Traces a turn and looks at every promise that it touches.
    fn look(
        &mut self,
        machine: usize,
        inputs: &[Input],
        effects: &[Effect],
    ) -> Result<(), Failure> {
        let host = self.machines.get(machine).expect("an index of a machine stays valid");
        self.trace.turn(self.now, machine, &host.node, inputs, effects);
        if let Some(lens) = &mut self.lens {
            let place = (self.trace.turns(), self.now);
            lens.turn(place, &self.machines, machine, inputs, effects);
        }
        let Some(process) = &host.process else { return Ok(()) };
        let now = self.now;
        self.checks.turn(&Turn { now, machine, machines: &self.machines, process, inputs, effects })
    }

    /// The machine whose node is at work, for whoever caught its panic.
    pub fn turning(&self) -> Option<usize> {
        self.turning
    }

    fn is_stuck(&mut self, machine: usize, inputs: u64) -> bool {
        if self.instant.0 != self.now {
            self.instant = (self.now, 0);
        }
        self.instant.1 += inputs;
        if self.instant.1 <= INPUTS_AT_ONCE_MAX {
            return false;
        }
        let what = self.machine(machine).next_wake().map_or("nothing", |wake| wake.what);
        let message =
            format!("more than {INPUTS_AT_ONCE_MAX} inputs at one instant; it wants: {what}");
        let failure = Failure::new(FailureKind::Livelock, "livelock", Some(machine), message);
        self.fail(failure.at(self.now, self.trace.turns()));
        true
    }

    fn schedule_wake(&mut self, machine: usize, number: u64) {
        let now = self.now;
        if self.elsewhere.is_some() {
            return; // The shell wakes its node.
        }
        let host = self.machine_mut(machine);
        let clock = host.clock.clone();
        let Some(process) = host.process.as_mut().filter(|process| process.number == number) else {
            return;
        };
        process.busy_until = now + TURN_US;
        process.turned_at = now;
        let wake = process.wake.map(|wake| clock.world(wake.at));
        let waiting = (!process.inbox.is_empty()).then_some(now);
        let Some(next) = wake.into_iter().chain(waiting).min() else { return };
        let at = next.max(process.busy_until);
        if process.schedule(at) {
            self.queue.push(at, Event::Turn { machine, process: number });
        }
    }

    /// Performs effects in order, unless the process dies between two of them.
    fn perform_all(&mut self, machine: usize, number: u64, effects: Vec<Effect>) {
        let rate = self.crash_effect;
        let effect = &mut self.draws_of(machine).effect;
        let unlucky = rate > 0 && effect.below(crate::net::ALWAYS) < rate;
        let drawn = unlucky.then(|| effect.index(effects.len() + 1));
        let last = self.machine_mut(machine).doomed.take().or(drawn);
        for effect in effects.into_iter().take(last.unwrap_or(usize::MAX)) {
            if self.process_mut(machine, number).is_none() {
                return; // It said that it stops, and did.
            }
            self.perform(machine, number, effect);
        }
        if last.is_some() && self.machine(machine).process.is_some() {
            self.faults.count("crash_effect");
            self.kill(machine, false);
            if unlucky {
                let down = 1000 + self.draws_of(machine).effect.below(10_000_000);
                self.queue.push(self.now + down, Event::Start { machine });
            }
        }
    }

    fn perform(&mut self, machine: usize, process: u64, effect: Effect) {
        match effect {
            Effect::Datagram { to, bytes } => self.send_datagram(machine, to, bytes),
            Effect::Send { connection, bytes } => {
                self.bytes += bytes.len() as u64;
                self.write(machine, process, connection, bytes);
            }
            Effect::Connect { connection, to } => self.dial(machine, process, connection, to),
            Effect::Disconnect { connection } => self.hang_up(machine, process, connection),
            Effect::Store { ticket, batch } => self.store(machine, process, ticket, batch),
            Effect::Call { ticket, call } => self.call(machine, process, ticket, call),
            Effect::Reply { ticket, reply } => {
                self.checks.answered(self.now, ticket, &reply);
                self.lease_answered(ticket, &reply);
            }
            Effect::Announce(Announcement::Watched { watch, event }) => {
                self.watched(machine, watch, &event);
            }
            Effect::Announce(announcement) => self.announced(machine, announcement),
        }
    }

    fn announced(&mut self, machine: usize, announcement: Announcement) {
        if let Announcement::Raised { replica } = &announcement
            && let Some(process) = self.machine_mut(machine).process.as_mut()
        {
            process.replica = replica.clone();
        }
        if let Announcement::Pool(pools::Event::ProbeDue { member, .. }) = &announcement {
            self.is_due(machine, *member);
        }
        if matches!(announcement, Announcement::Stopped | Announcement::Duplicate { .. }) {
            self.kill(machine, false);
        }
    }

    fn send_datagram(&mut self, machine: usize, address: SocketAddr, bytes: Blob) {
        self.datagrams += 1;
        self.bytes += (bytes.len() + limits::SEAL_BYTES) as u64;
        let from = self.machine(machine).address;
        let bytes = newer::said(&self.machine(machine).settings, bytes);
        let Some(to) = self.addresses.get(&address).copied() else { return };
        if to == machine {
            return;
        }
        let link = self.link_mut(machine, to);
        if link.state(Kind::Datagram) == State::Cut {
            return;
        }
        if bytes.len() + limits::SEAL_BYTES > link.mtu {
            self.faults.count("mtu");
            return;
        }
        let fate = link.datagram();
        let clogged = link.state(Kind::Datagram) == State::Clogged;
        for (class, done) in Fate::CLASSES.into_iter().zip(fate.done) {
            if done {
                self.faults.count(class);
            }
        }
        for after in [fate.first, fate.second, fate.replayed].into_iter().flatten() {
            let event = Event::Datagram { to, at: address, from, bytes: bytes.clone() };
            let at = self.now + after;
            if let Some(lens) = self.lens.as_mut().filter(|_| !clogged) {
                lens.flies(machine, address, &newer::known(&bytes), at);
            }
            if clogged {
                let index = machine * self.machines.len() + to;
                self.held.entry(index).or_default().push((after, event));
            } else {
                self.queue.push(at, event);
            }
        }
    }

    /// What a clogged link kept is on its way again.
    fn release(&mut self, from: usize, to: usize) {
        let index = from * self.machines.len() + to;
        if self.link(from, to).state(Kind::Datagram) == State::Open {
            for (after, event) in self.held.remove(&index).unwrap_or_default() {
                self.queue.push(self.now + after, event);
            }
        }
        if self.link(from, to).state(Kind::Stream) == State::Open {
            self.unblock_streams();
        }
    }

    fn arrive(&mut self, to: usize, at: SocketAddr, from: SocketAddr, bytes: Blob) {
        let host = self.machine(to);
        let Some(process) = host.process.as_ref().filter(|_| host.address == at) else { return };
        let full = process.inbox.len() >= SOCKET_DATAGRAMS_MAX;
        if process.asleep || (process.standing_until.is_some() && full) {
            return;
        }
        let number = process.number;
        self.input(to, number, Input::Datagram { from, bytes });
    }

    /// The life that a process on `machine` has by the simulator's record.
    pub fn replica(&self, machine: usize) -> Option<&Replica> {
        self.machine(machine).process.as_ref().map(|process| &process.replica)
    }

    /// The greatest durable incarnation of a machine with a store.
    pub fn durable(&self, machine: usize) -> Option<Incarnation> {
        self.machine(machine).durable
    }
}

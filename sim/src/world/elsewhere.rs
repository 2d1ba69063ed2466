//! Processes that run elsewhere: real shells, of which this world holds the nodes, disks and links.
//!
//! | the world says | the shells say |
//! | --- | --- |
//! | [`Order`]: start, stop, ask, break connections | a node has booted, an input, a turn, a call, an end |
//!
//! The node of a process lives here, as everywhere in the simulator, so every promise is looked at after every
//! turn. What a shell did with what the node said is seen by what comes of it: at other nodes, at callers, and
//! on the disk, which is compared with what was reported as stored whenever a store is opened.
//!
//! Absent on purpose: who runs the shells. `backend/shell.rs` obeys.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};

use quorate_core::ids::{Incarnation, Replica, Ticket};
use quorate_core::machine::{Machine as _, Wake};
use quorate_core::node::{Announcement, Effect, Image, Input, Node, Reply, Request};
use quorate_core::time::Instant;

use super::World;
use super::machine::Process;
use crate::clock::Micros;
use crate::disk::Disk;
use crate::net::{Kind, State};
use crate::verdict::{Failure, Kind as FailureKind};

/// What the world wants done where processes run.
#[derive(Debug)]
pub enum Order {
    /// A process starts.
    Start {
        /// Where.
        machine: usize,
        /// A number that no other process of the run has.
        number: u64,
        /// Whence its chance comes.
        seed: [u8; 32],
    },
    /// A process ends at once, if one runs.
    Stop {
        /// Where.
        machine: usize,
    },
    /// A caller asks.
    Ask {
        /// Where.
        machine: usize,
        /// Under which ticket of the world.
        ticket: Ticket,
        /// What.
        request: Request,
    },
    /// All connections of two machines break.
    Reset {
        /// The one.
        one: usize,
        /// The other.
        other: usize,
    },
}

/// How a shell ended by itself.
#[derive(Debug)]
pub enum Ended {
    /// As its node said: it left, or is a second one.
    Well,
    /// Its store cannot be written; a supervisor starts it again.
    Store(String),
    /// For no reason that a shell may have.
    Wrong(String),
}

/// Orders not yet obeyed, and processes that start.
#[derive(Debug, Default)]
pub(super) struct Elsewhere {
    orders: VecDeque<Order>,
    starting: BTreeMap<usize, u64>,
}

/// What becomes of a datagram that leaves a machine.
#[derive(Debug, Default)]
pub struct Flight {
    /// After which times a copy of it is sent on.
    pub after: Vec<Micros>,
    /// The link keeps it until it is free again.
    pub to_clogged: Option<usize>,
}

impl World {
    /// From now on processes run elsewhere.
    pub fn move_elsewhere(&mut self) {
        self.elsewhere = Some(Elsewhere::default());
    }

    /// What is to be done now, in order.
    pub fn take_orders(&mut self) -> VecDeque<Order> {
        self.elsewhere.as_mut().map(|all| std::mem::take(&mut all.orders)).unwrap_or_default()
    }

    pub(super) fn order(&mut self, order: Order) {
        let Some(all) = &mut self.elsewhere else { return };
        if let Order::Start { machine, number, .. } = &order {
            all.starting.insert(*machine, *number);
        }
        all.orders.push_back(order);
    }

    /// Whether a process is on its way on `machine`.
    pub(super) fn is_starting(&self, machine: usize) -> bool {
        self.elsewhere.as_ref().is_some_and(|all| all.starting.contains_key(&machine))
    }

    /// Whoever runs on `machine` elsewhere ends; whether processes run elsewhere.
    pub(super) fn stop_elsewhere(&mut self, machine: usize) -> bool {
        let Some(all) = &mut self.elsewhere else { return false };
        all.starting.remove(&machine);
        all.orders.push_back(Order::Stop { machine });
        true
    }

    pub(super) fn hand_over(&mut self, machine: usize, process: u64, input: Input) {
        if self.process_mut(machine, process).is_none() {
            return;
        }
        if let Input::Request { ticket, request } = input {
            self.order(Order::Ask { machine, ticket, request });
        }
    }

    /// When the next event of the world itself is due.
    pub fn next_event(&self) -> Option<Micros> {
        self.queue.next()
    }

    /// It is `now`.
    pub fn set_now(&mut self, now: Micros) {
        self.now = self.now.max(now);
    }

    /// Which machine has this address, whatever the port.
    pub fn machine_at(&self, ip: IpAddr) -> Option<usize> {
        self.machines.iter().position(|machine| machine.address.ip() == ip)
    }

    /// A shell on `machine` has opened its store, found `image` in it, and made the node of process `number`.
    /// Whether that process is still wanted.
    pub fn booted(
        &mut self,
        (machine, number): (usize, u64),
        node: Node,
        incarnation: Incarnation,
        image: &Image,
    ) -> bool {
        let wanted = self.elsewhere.as_mut().and_then(|all| all.starting.remove(&machine));
        if wanted != Some(number) {
            return false;
        }
        let now = self.now;
        let host = self.machine_mut(machine);
        let (lived, before) = (host.lived, host.disk.as_ref());
        let lost = before.is_some_and(|disk| disk.kept_in(image).is_none());
        host.lived = host.lived.max(incarnation);
        if host.disk.is_some() {
            host.disk = Some(Disk::holding(image.clone()));
            host.durable = Some(incarnation);
        }
        let replica = Replica { node: host.node.clone(), incarnation };
        host.dark = false;
        host.process = Some(Process::new(number, replica, now, node));
        if lost {
            let what = "the store shows something else than what was reported stored, in order";
            self.broken(machine, "S-2", what.to_owned());
        }
        if incarnation <= lived && self.machine(machine).disk.is_some() {
            let what = format!("life {incarnation} begins, and {lived} was lived before");
            self.broken(machine, "life", what);
        }
        self.tell_of_start(machine);
        true
    }

    fn broken(&mut self, machine: usize, id: &str, what: String) {
        let failure = Failure::invariant(id, machine, what);
        self.fail(failure.at(self.now, self.trace.turns()));
    }

    /// A shell ends a turn: its node takes `inputs` and says `out`.
    pub fn turned(
        &mut self,
        (machine, number): (usize, u64),
        local: Instant,
        mut inputs: Vec<Input>,
        out: &mut Vec<Effect>,
    ) -> Option<Wake> {
        let now = self.now;
        self.process_mut(machine, number)?;
        for input in &inputs {
            if let Input::Stored { ticket } = input {
                self.stored_elsewhere(machine, *ticket);
            }
        }
        let process = self.machines.get(machine).and_then(|host| host.process.as_ref());
        process.into_iter().for_each(|process| self.checks.before(machine, process, &inputs));
        self.turning = Some(machine);
        let process = self.process_mut(machine, number)?;
        for input in &inputs {
            process.node.handle(local, input.clone(), out);
        }
        process.node.flush(local, out);
        process.touched = process.node.take_touched();
        process.wake = process.node.next_wake();
        process.turned_at = now;
        let wake = process.wake;
        self.turning = None;
        self.inputs += inputs.len() as u64;
        let mut effects = out.clone();
        let process = self.process_mut(machine, number).expect("it runs, a few lines above");
        inputs.iter_mut().for_each(|input| worldly(&process.asked, ticket_in(input)));
        effects.iter_mut().for_each(|effect| worldly(&process.asked, ticket_out(effect)));
        if let Err(failure) = self.look(machine, &inputs, &effects) {
            self.fail(failure.at(now, self.trace.turns()));
        }
        effects.into_iter().for_each(|effect| self.seen(machine, effect));
        wake
    }

    /// What the record keeps of an effect that a shell is about to perform.
    fn seen(&mut self, machine: usize, effect: Effect) {
        match effect {
            Effect::Store { ticket, batch } => {
                if let Some(disk) = &mut self.machine_mut(machine).disk {
                    disk.write(ticket, batch);
                }
            }
            Effect::Announce(Announcement::Raised { replica }) => {
                if let Some(process) = self.machine_mut(machine).process.as_mut() {
                    process.replica = replica;
                }
            }
            Effect::Datagram { bytes, .. } => {
                self.datagrams += 1;
                self.bytes += (bytes.len() + quorate_core::limits::SEAL_BYTES) as u64;
            }
            Effect::Send { bytes, .. } => self.bytes += bytes.len() as u64,
            Effect::Connect { .. }
            | Effect::Disconnect { .. }
            | Effect::Call { .. }
            | Effect::Reply { .. }
            | Effect::Announce(_) => {}
        }
    }

    /// A shell reports the oldest pending batch as stored. Any other is a lie.
    fn stored_elsewhere(&mut self, machine: usize, ticket: Ticket) {
        let host = self.machine_mut(machine);
        let Some(disk) = &mut host.disk else { return };
        let oldest = disk.sync();
        host.note_durable();
        if oldest != Some(ticket) {
            let what = format!("{ticket:?} is reported stored and {oldest:?} was to be next");
            self.broken(machine, "S-1", what);
        }
    }

    /// How long the sync that a shell on `machine` has begun takes.
    pub fn sync_elsewhere(&mut self, machine: usize) -> Micros {
        self.sync_takes(machine)
    }

    /// A shell on `machine` ended by itself, or did not get as far as a node.
    pub fn ended(&mut self, machine: usize, number: u64, how: Ended) {
        let starting = self.elsewhere.as_mut().and_then(|all| {
            let same = all.starting.get(&machine) == Some(&number);
            same.then(|| all.starting.remove(&machine))
        });
        if starting.is_none() && self.process_mut(machine, number).is_none() {
            return; // It was ended on purpose.
        }
        match how {
            Ended::Well => self.kill(machine, false),
            Ended::Store(_) => self.store_refused(machine),
            Ended::Wrong(why) => {
                let failure = Failure::new(FailureKind::Panic, "shell", Some(machine), why);
                self.fail(failure.at(self.now, self.trace.turns()));
            }
        }
    }

    /// Whence the chance of the next connection of a shell on `machine` comes.
    pub fn draw_of_stream(&mut self, machine: usize) -> u64 {
        self.draws_of(machine).streams.word()
    }

    /// What runs the shells gave up.
    pub fn gave_up(&mut self, why: &str) {
        let why = format!("{why}; {}", crate::run::last_panic());
        let failure = Failure::new(FailureKind::Panic, "shell", self.turning, why);
        self.fail(failure.at(self.now, self.trace.turns()));
    }

    /// A caller has its reply from the shell on `machine`.
    pub fn replied(&mut self, machine: usize, ticket: Ticket, reply: &Reply) {
        self.checks.answered(self.now, ticket, reply);
        self.lease_answered(ticket, reply);
        self.checks.workers.heard(machine, ticket);
    }

    /// Whether processes run elsewhere.
    pub fn is_elsewhere(&self) -> bool {
        self.elsewhere.is_some()
    }

    /// A shell on `machine` sends a datagram of `length` bytes, seal and all.
    pub fn flies(&mut self, machine: usize, address: SocketAddr, length: usize) -> Flight {
        let mut flight = Flight::default();
        let Some(to) = self.addresses.get(&address).copied().filter(|to| *to != machine) else {
            return flight;
        };
        if self.machine(to).process.as_ref().is_some_and(|process| process.asleep) {
            return flight;
        }
        let link = self.link_mut(machine, to);
        if link.state(Kind::Datagram) == State::Cut {
            return flight;
        }
        if length > link.mtu {
            self.faults.count("mtu");
            return flight;
        }
        let fate = link.datagram();
        if link.state(Kind::Datagram) == State::Clogged {
            flight.to_clogged = Some(to);
        }
        for (class, done) in crate::net::Fate::CLASSES.into_iter().zip(fate.done) {
            if done {
                self.faults.count(class);
            }
        }
        flight.after.extend([fate.first, fate.second, fate.replayed].into_iter().flatten());
        flight
    }
}

/// The ticket of a request that a node took.
fn ticket_in(input: &mut Input) -> Option<&mut Ticket> {
    match input {
        Input::Request { ticket, .. } => Some(ticket),
        Input::Start
        | Input::Wake
        | Input::Clock { .. }
        | Input::Datagram { .. }
        | Input::Accepted { .. }
        | Input::Connected { .. }
        | Input::ConnectFailed { .. }
        | Input::Frame { .. }
        | Input::Broken { .. }
        | Input::Writable { .. }
        | Input::Closed { .. }
        | Input::Unsecured { .. }
        | Input::Misnamed { .. }
        | Input::Stored { .. }
        | Input::Answered { .. } => None,
    }
}

/// The ticket of a reply that a node gave.
fn ticket_out(effect: &mut Effect) -> Option<&mut Ticket> {
    match effect {
        Effect::Reply { ticket, .. } => Some(ticket),
        Effect::Datagram { .. }
        | Effect::Send { .. }
        | Effect::Connect { .. }
        | Effect::Disconnect { .. }
        | Effect::Store { .. }
        | Effect::Call { .. }
        | Effect::Announce(_) => None,
    }
}

/// A shell counts its requests from 1, in the order in which it was asked.
fn worldly(asked: &[Ticket], ticket: Option<&mut Ticket>) {
    let Some(ticket) = ticket else { return };
    let place = usize::try_from(ticket.0).ok().and_then(|number| number.checked_sub(1));
    if let Some(of_world) = place.and_then(|place| asked.get(place)) {
        *ticket = *of_world;
    }
}

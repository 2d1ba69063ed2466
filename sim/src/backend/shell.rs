//! The real shell in a simulated network: what all such networks share.
//!
//! ```text
//!   plan ─▶ run ─▶ world ── orders ──▶ Shells ──▶ engine: runtimes, sockets, time
//!                    ▲                                │ one shell a machine, from `quorate`
//!                    └── node, link, disk, clock ◀── Tap · Frayed · Disk
//! ```
//!
//! An [`Engine`] runs shells in steps. While it does, the world is lent to them ([`Yard`]): the shell's node is the
//! world's ([`tap`]), its clock and what becomes of its packets are the world's ([`frayed`]), its store lies on a
//! disk of sectors ([`file`]). Between two steps the world is back, and hears what callers heard.
//!
//! All that happens in one step happens at one instant of the world.
//!
//! Absent on purpose: TLS, HTTP, threads. Real processes on loopback have them.

pub mod file;
pub mod frayed;
pub mod life;
pub mod tap;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Waker;

use quorate::handle::Handle;
use quorate_core::ids::Ticket;
use quorate_core::node::{Reply, Request, kv};
use quorate_core::random::Rng;
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio::sync::oneshot::{self, error::TryRecvError};

use crate::backend::Host;
use crate::clock::Micros;
use crate::invariants::Checks;
use crate::net::{Kind, State};
use crate::trace::Trace;
use crate::world::World;
use crate::world::elsewhere::{Ended, Order};
use file::Disk;

/// What runs shells: runtimes and a network between them.
pub trait Engine {
    /// How far it has run.
    fn now(&self) -> Micros;
    /// Lets all that runs run for a little while.
    ///
    /// # Errors
    /// Whoever gave up on it, in words.
    fn step(&mut self) -> Result<(), String>;
    /// Starts a shell on `machine`: [`life::live`].
    fn start(&mut self, machine: usize);
    /// Ends whatever runs on `machine`, without a word to it.
    fn stop(&mut self, machine: usize);
}

thread_local! {
    /// The world, while it is lent: a run, its shells and their tasks are of one thread.
    static LENT: RefCell<Option<World>> = const { RefCell::new(None) };
}

/// What the shells of a run share with whoever runs them. Cheap to clone.
#[derive(Clone, Default)]
pub struct Yard(Arc<Shared>);

#[derive(Default)]
struct Shared {
    disks: Mutex<BTreeMap<usize, Disk>>,
    /// Processes that were ordered, and whence their chance comes.
    starts: Mutex<BTreeMap<usize, (u64, [u8; 32])>>,
    handles: Mutex<BTreeMap<usize, (u64, Handle)>>,
    ended: Mutex<Vec<(usize, u64, Ended)>>,
    /// Who waits for a link to carry again.
    waiting: Mutex<Vec<Waker>>,
    /// Whether some of them wait for time alone.
    soon: Mutex<bool>,
    /// How often the connections of a pair were broken.
    resets: Mutex<BTreeMap<(usize, usize), u64>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl Yard {
    /// What `what` makes of the world, if it is lent.
    fn with<R>(&self, what: impl FnOnce(&mut World) -> R) -> Option<R> {
        LENT.with_borrow_mut(|world| world.as_mut().map(what))
    }

    fn resets(&self, one: usize, other: usize) -> u64 {
        let pair = (one.min(other), one.max(other));
        lock(&self.0.resets).get(&pair).copied().unwrap_or_default()
    }

    /// Whether the process on `machine` goes on; if not, `waker` is told when that may have changed.
    fn goes_on(&self, machine: usize, waker: &Waker) -> bool {
        let stands = self.with(|world| stands(world, machine)).unwrap_or_default();
        if stands {
            lock(&self.0.waiting).push(waker.clone());
        }
        !stands
    }

    /// `waker` is told after the next step.
    fn soon(&self, waker: &Waker) {
        lock(&self.0.waiting).push(waker.clone());
        *lock(&self.0.soon) = true;
    }

    /// Whether bytes get from one machine to another now; if not, `waker` is told when that may have changed.
    fn carries(&self, kind: Kind, from: usize, to: usize, waker: &Waker) -> bool {
        let state = self.with(|world| world.link(from, to).state(kind));
        let open = state.is_none_or(|state| state == State::Open);
        if !open {
            lock(&self.0.waiting).push(waker.clone());
        }
        open
    }
}

/// Whether a process stands still on `machine`.
fn stands(world: &World, machine: usize) -> bool {
    let process = world.machines.get(machine).and_then(|machine| machine.process.as_ref());
    process.is_some_and(|process| process.standing_until.is_some())
}

/// A call that has no reply yet.
struct Open {
    machine: usize,
    ticket: Ticket,
    answer: oneshot::Receiver<Reply>,
}

/// A watch, as its caller holds it.
struct Watcher {
    machine: usize,
    ticket: Ticket,
    /// What the shell calls it, once it said so.
    own: Option<Ticket>,
    events: UnboundedReceiver<kv::Event>,
}

/// The processes of a world as shells on an engine.
pub struct Shells<E> {
    engine: E,
    yard: Yard,
    spare: Option<World>,
    open: Vec<Open>,
    watchers: Vec<Watcher>,
    links: Vec<[State; 2]>,
    /// Who stands still.
    standing: Vec<bool>,
    /// What is asked of them meanwhile.
    held: Vec<Order>,
    /// Which sectors a crash leaves.
    draws: BTreeMap<usize, Rng>,
}

impl<E: Engine> Shells<E> {
    /// Moves the processes of `world` onto the engine that `make` makes. No process may run yet.
    pub fn new(world: &mut World, seed: u64, make: impl FnOnce(&Yard) -> E) -> Shells<E> {
        let yard = Yard::default();
        let draws = Rng::from_number(seed).child("sectors");
        for machine in &world.machines {
            let Some(disk) = &machine.disk else { continue };
            lock(&yard.0.disks).insert(machine.index, Disk::holding(disk.image()));
        }
        let child = |machine: usize| (machine, draws.child(&machine.to_string()));
        let draws = (0..world.machines.len()).map(child).collect();
        world.move_elsewhere();
        let nowhere =
            World::new(&Rng::from_number(0), Vec::new(), Trace::default(), Checks::new(0));
        Shells {
            engine: make(&yard),
            yard,
            spare: Some(nowhere),
            open: Vec::new(),
            watchers: Vec::new(),
            links: Vec::new(),
            standing: Vec::new(),
            held: Vec::new(),
            draws,
        }
    }

    /// The world is the shells' while `during` lasts.
    fn lend<R>(&mut self, world: &mut World, during: impl FnOnce(&mut E) -> R) -> R {
        let nowhere = self.spare.take().expect("the world is lent once at a time");
        let real = std::mem::replace(world, nowhere);
        LENT.set(Some(real));
        let done = during(&mut self.engine);
        let real = LENT.take().expect("nobody keeps the world");
        self.spare = Some(std::mem::replace(world, real));
        done
    }

    fn obey(&mut self, world: &mut World) {
        let held = std::mem::take(&mut self.held);
        for order in held.into_iter().chain(world.take_orders()) {
            match order {
                Order::Ask { machine, .. } if stands(world, machine) => self.held.push(order),
                Order::Start { machine, number, seed } => {
                    lock(&self.yard.0.starts).insert(machine, (number, seed));
                    self.lend(world, |engine| engine.start(machine));
                }
                Order::Stop { machine } => self.stop(world, machine),
                Order::Ask { machine, ticket, request } => {
                    self.ask(world, machine, ticket, request);
                }
                Order::Reset { one, other } => {
                    let pair = (one.min(other), one.max(other));
                    *lock(&self.yard.0.resets).entry(pair).or_default() += 1;
                    self.wake_waiting();
                }
            }
        }
    }

    fn stop(&mut self, world: &mut World, machine: usize) {
        lock(&self.yard.0.starts).remove(&machine);
        lock(&self.yard.0.handles).remove(&machine);
        self.watchers.retain(|watcher| watcher.machine != machine);
        let disk = lock(&self.yard.0.disks).get(&machine).cloned();
        disk.iter().for_each(Disk::die);
        self.lend(world, |engine| engine.stop(machine));
        let draws = self.draws.get_mut(&machine).expect("there are draws for every machine");
        if let Some(disk) = disk {
            disk.survive(draws);
        }
        // A wiped machine has an empty disk.
        let wiped =
            world.machine(machine).disk.as_ref().is_some_and(|disk| disk.image().is_empty());
        if wiped {
            lock(&self.yard.0.disks).insert(machine, Disk::default());
        }
    }

    fn ask(&mut self, world: &mut World, machine: usize, ticket: Ticket, request: Request) {
        let Some(request) = self.as_shell_says(request) else { return };
        let handles = lock(&self.yard.0.handles);
        let Some((number, handle)) = handles.get(&machine) else { return };
        let process = world.machines.get_mut(machine).and_then(|one| one.process.as_mut());
        let Some(process) = process.filter(|process| process.number == *number) else { return };
        let (hears, events) = mpsc::unbounded_channel();
        let hears = matches!(request, Request::Watch(_)).then_some(hears);
        let watches = hears.is_some();
        // A full queue refuses at the door: nothing happened, and the caller knows.
        let Ok(answer) = handle.begin(request, hears) else { return };
        process.asked.push(ticket);
        self.open.push(Open { machine, ticket, answer });
        if watches {
            self.watchers.push(Watcher { machine, ticket, own: None, events });
        }
    }

    /// `request` with the tickets that the shell gave. Without one there is nothing to ask about.
    fn as_shell_says(&self, request: Request) -> Option<Request> {
        let own = |ticket: Ticket| {
            let watcher = self.watchers.iter().find(|watcher| watcher.ticket == ticket);
            watcher.and_then(|watcher| watcher.own)
        };
        if let Request::Unwatch { watch } = request {
            return Some(Request::Unwatch { watch: own(watch)? });
        }
        if let Request::Taken { watch, revision } = request {
            return Some(Request::Taken { watch: own(watch)?, revision });
        }
        Some(request)
    }

    /// What callers hear.
    fn hear(&mut self, world: &mut World) {
        let (yard, watchers) = (&self.yard, &mut self.watchers);
        self.open.retain_mut(|open| match open.answer.try_recv() {
            Ok(reply) => {
                if let Reply::Watching { watch } = reply {
                    let watcher = watchers.iter_mut().find(|one| one.ticket == open.ticket);
                    watcher.into_iter().for_each(|watcher| watcher.own = Some(watch));
                }
                world.replied(open.machine, open.ticket, &reply);
                false
            }
            Err(TryRecvError::Empty) => true,
            Err(TryRecvError::Closed) => false,
        });
        for watcher in watchers.iter_mut().filter(|watcher| watcher.own.is_some()) {
            while let Ok(event) = watcher.events.try_recv() {
                world.watched(watcher.machine, watcher.ticket, &event);
            }
        }
        let ended = std::mem::take(&mut *lock(&yard.0.ended));
        for (machine, number, how) in ended {
            world.ended(machine, number, how);
        }
    }

    /// Links and disks are to the shells what they are to the world.
    fn mend(&mut self, world: &mut World) {
        let count = world.machines.len();
        let pairs = (0..count * count).map(|index| (index / count, index % count));
        let states: Vec<[State; 2]> = pairs
            .map(|(from, to)| {
                [Kind::Datagram, Kind::Stream].map(|kind| world.link(from, to).state(kind))
            })
            .collect();
        let standing: Vec<bool> = (0..count).map(|machine| stands(world, machine)).collect();
        let soon = std::mem::take(&mut *lock(&self.yard.0.soon));
        if soon || states != self.links || standing != self.standing {
            self.links = states;
            self.standing = standing;
            self.wake_waiting();
        }
        for (machine, file) in lock(&self.yard.0.disks).iter() {
            let disk = world.machines.get_mut(*machine).and_then(|machine| machine.disk.as_mut());
            disk.into_iter()
                .for_each(|disk| file.trouble(disk.full, std::mem::take(&mut disk.errors)));
        }
    }

    fn wake_waiting(&self) {
        let waiting = std::mem::take(&mut *lock(&self.yard.0.waiting));
        waiting.into_iter().for_each(Waker::wake);
    }
}

impl<E: Engine> Host for Shells<E> {
    fn run(&mut self, world: &mut World, until: Micros) {
        loop {
            self.obey(world);
            // What callers hear may be due before whatever was next when this began.
            let until = world.next_event().map_or(until, |next| next.min(until));
            if self.engine.now() >= until || world.failure().is_some() {
                break;
            }
            self.mend(world);
            world.set_now(self.engine.now());
            let stepped = self.lend(world, E::step);
            world.set_now(self.engine.now());
            if let Err(why) = stepped {
                world.gave_up(&why);
            }
            self.hear(world);
        }
        world.set_now(self.engine.now());
    }
}

impl<E> Drop for Shells<E> {
    fn drop(&mut self) {
        // Shells that are dropped with their engine close their stores, for which nobody cares any more.
        lock(&self.yard.0.disks).values().for_each(Disk::die);
    }
}

//! One machine: its address, clocks, disk and settings, and the process that may run on it.
//!
//! A machine survives its processes. Incarnations are given as a host gives them: with a store the next
//! after the durable one, made durable before the process starts; without one, microseconds since 1970.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use quorate_core::ids::{ConnectionId, Incarnation, NodeId, Replica, Ticket};
use quorate_core::limits;
use quorate_core::machine::{Machine as _, Wake};
use quorate_core::node::replica::Touched;
use quorate_core::node::{Effect, Image, Input, Node, Settings};
use quorate_core::time::Instant;

use crate::clock::{Clock, Micros};
use crate::disk::Disk;
use crate::folder::Folder;
use crate::subject;

/// The port that every node listens on.
pub const PORT: u16 = 7420;

/// One machine.
pub struct Machine {
    /// Its place among the machines.
    pub index: usize,
    /// Whom it runs.
    pub node: NodeId,
    /// Where that node is reached; a move changes it.
    pub address: SocketAddr,
    /// Its clocks.
    pub clock: Clock,
    /// Its disk, if it has one.
    pub disk: Option<Disk>,
    /// When the disk is done with what it was given.
    pub disk_busy_until: Micros,
    /// The greatest incarnation that is durable on it.
    pub durable: Option<Incarnation>,
    /// The greatest that a process here ever had.
    pub lived: Incarnation,
    /// Whether the clock that names its next life stands before the last one.
    pub behind: bool,
    /// Its folder of credentials.
    pub folder: Folder,
    /// What its processes are configured to be.
    pub settings: Settings,
    /// The process that runs now.
    pub process: Option<Process>,
    /// When the last process ended.
    pub ended_at: Option<Micros>,
    /// Whether the whole machine is off: nobody refuses, nobody resets.
    pub dark: bool,
    /// The process dies after so many effects of its next turn.
    pub doomed: Option<usize>,
    /// How often it moved to another address.
    pub moves: u8,
    /// Whether it is no node's own: a second process of one may run here.
    pub spare: bool,
    /// The machine whose node runs here a second time.
    pub twin_of: Option<usize>,
}

/// The longest that a loop may be busy with one turn. `operations.md` §3.
const LOOP_SILENCE_US: Micros = 10_000_000;
const AN_HOUR_US: Micros = 3_600_000_000;

/// One process: a node, and what waits for it.
pub struct Process {
    /// A number that no other process of the run has.
    pub number: u64,
    /// Its present life.
    pub replica: Replica,
    /// The life in which it started.
    pub born: Incarnation,
    /// When it started.
    pub started_at: Micros,
    /// When it ended its last turn.
    pub turned_at: Micros,
    /// The real thing.
    pub node: Node,
    /// What it has not looked at yet.
    pub inbox: VecDeque<Input>,
    /// Until when its processor is taken.
    pub busy_until: Micros,
    /// Until when it stands still.
    pub standing_until: Option<Micros>,
    /// Whether the whole machine sleeps, network and all.
    pub asleep: bool,
    /// Its connections: stream and side.
    pub connections: BTreeMap<ConnectionId, (u64, usize)>,
    /// Dialled connections that were agreed.
    pub agreed: std::collections::BTreeSet<ConnectionId>,
    /// Connections that its listener accepted so far.
    pub accepted: u64,
    /// What a shell was asked, in order: its own tickets count from 1.
    pub asked: Vec<Ticket>,
    /// Whose maps its last turn may have moved.
    pub touched: Touched,
    /// What the node wants to be woken for, as of its last turn: nothing else changes it.
    pub wake: Option<Wake>,
    scheduled: Option<Micros>,
}

impl Machine {
    /// A machine that never ran anything.
    pub fn new(index: usize, node: NodeId, settings: Settings, stored: bool) -> Machine {
        Machine {
            index,
            node,
            address: settings.membership.address,
            clock: Clock::new(1_000_000 * (index as u64 + 1)),
            disk: stored.then(Disk::default),
            disk_busy_until: 0,
            durable: None,
            lived: Incarnation(0),
            behind: false,
            folder: Folder::default(),
            settings,
            process: None,
            ended_at: None,
            dark: false,
            doomed: None,
            moves: 0,
            spare: false,
            twin_of: None,
        }
    }

    /// The address of machine `index` after it moved `moves` times.
    pub fn address_of(index: usize, moves: u8) -> SocketAddr {
        let low = u8::try_from(index % 250 + 1).expect("below 251");
        let high = u8::try_from(index / 250).expect("a run has fewer than 64 000 machines");
        SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, moves, high, low)), PORT)
    }

    /// Starts a process, as a host would.
    pub fn boot(&mut self, now: Micros, number: u64, seed: [u8; 32]) {
        let stored = self.disk.as_ref().and_then(|disk| subject::stored_incarnation(disk.image()));
        let fresh = self.fresh_life(now);
        let incarnation = stored.map_or(fresh, Incarnation::next);
        self.lived = self.lived.max(incarnation);
        if let Some(disk) = &mut self.disk {
            disk.write(Ticket(0), vec![subject::incarnation_row(incarnation)]);
            disk.sync();
            self.durable = Some(incarnation);
        }
        self.open_folder();
        let empty = Image::new();
        let image = self.disk.as_ref().map_or(&empty, Disk::image);
        let local = self.clock.local(now);
        let node = Node::boot(self.settings.clone(), incarnation, image, seed, local);
        self.dark = false;
        let replica = Replica { node: self.node.clone(), incarnation };
        self.process = Some(Process::new(number, replica, now, node));
    }

    /// A process that starts finds the folder as it is, with the accounts of its pools in it.
    pub fn open_folder(&mut self) {
        self.folder.begin();
        crate::settings::accounts(&self.settings).for_each(|key| self.folder.provide(key));
    }

    /// The life that the wall clock names. Nothing else does without a stored predecessor: whoever starts one
    /// sees to it that the clock stands beyond all former lives. Set back further, a life could be lived twice:
    /// a scenario that does it sees to it that all of the last life were heard of.
    pub fn fresh_life(&mut self, now: Micros) -> Incarnation {
        let behind =
            std::mem::take(&mut self.behind).then(|| self.lived.0.saturating_sub(AN_HOUR_US));
        let beyond = Incarnation(self.clock.wall(now)).max(self.lived.next());
        behind.map_or(beyond, Incarnation)
    }

    /// A batch became durable: the incarnation may be among it.
    pub fn note_durable(&mut self) {
        let stored = self.disk.as_ref().and_then(|disk| subject::stored_incarnation(disk.image()));
        self.durable = self.durable.max(stored);
    }

    /// Nothing that was on the disk is there any more.
    pub fn wipe(&mut self) {
        self.durable = None;
        if let Some(disk) = &mut self.disk {
            disk.wipe();
            self.folder.wipe();
        }
    }

    /// What the process waits for, if one runs.
    pub fn next_wake(&self) -> Option<Wake> {
        self.process.as_ref().and_then(|process| process.wake)
    }

    /// What the process says when it is asked whether it lives. A loop with nothing to do wakes all the
    /// same, once a second; a process whose store fails has ended before anybody asks.
    pub fn livez(&self, now: Micros) -> Result<(), &'static str> {
        let Some(process) = &self.process else { return Err("no process runs") };
        let local = self.clock.local(now);
        let due = process.wake.is_some_and(|wake| wake.at <= local);
        let idle = process.standing_until.is_none() && process.inbox.is_empty() && !due;
        if !idle && now - process.turned_at > LOOP_SILENCE_US {
            return Err("the loop has not finished a turn for 10 s");
        }
        Ok(())
    }

    /// Whether a process runs here and takes part.
    pub fn runs(&self) -> bool {
        self.process.as_ref().is_some_and(|process| process.standing_until.is_none())
    }
}

impl Process {
    /// A process that has not looked at anything yet.
    pub fn new(number: u64, replica: Replica, now: Micros, node: Node) -> Process {
        Process {
            number,
            born: replica.incarnation,
            replica,
            started_at: now,
            turned_at: now,
            node,
            inbox: VecDeque::new(),
            busy_until: now,
            standing_until: None,
            asleep: false,
            connections: BTreeMap::new(),
            agreed: std::collections::BTreeSet::new(),
            accepted: 0,
            asked: Vec::new(),
            touched: Touched::default(),
            wake: None,
            scheduled: None,
        }
    }

    /// Plans a turn at `at`; false if an earlier one is planned already.
    pub fn schedule(&mut self, at: Micros) -> bool {
        if self.scheduled.is_some_and(|scheduled| scheduled <= at) {
            return false;
        }
        self.scheduled = Some(at);
        true
    }

    /// Whether the turn planned for `now` is the one that counts.
    pub fn due(&mut self, now: Micros) -> bool {
        let due = self.scheduled == Some(now);
        if due {
            self.scheduled = None;
        }
        due
    }

    /// The next batch: a wake, if its time has come, and up to a turn's worth of what waits.
    pub fn batch(&mut self, local: Instant) -> Vec<Input> {
        let wake = self.wake.filter(|wake| wake.at <= local);
        let mut batch = Vec::with_capacity(self.inbox.len().min(limits::TURN_INPUTS_MAX) + 1);
        let started = !matches!(self.inbox.front(), Some(Input::Start));
        batch.extend(wake.filter(|_| started).map(|_| Input::Wake));
        let room = limits::TURN_INPUTS_MAX - batch.len();
        batch.extend(self.inbox.drain(..room.min(self.inbox.len())));
        batch
    }

    /// One turn: the batch, then the flush.
    pub fn turn(&mut self, local: Instant, inputs: &[Input]) -> Vec<Effect> {
        let mut effects = Vec::new();
        for input in inputs {
            self.node.handle(local, input.clone(), &mut effects);
        }
        self.node.flush(local, &mut effects);
        self.touched = self.node.take_touched();
        self.wake = self.node.next_wake();
        effects
    }
}

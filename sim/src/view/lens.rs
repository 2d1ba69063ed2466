//! What is seen of a run: turns, messages from end to end, faults, lives, and states as differences.
//!
//! The lens looks on and changes nothing. It keeps the newest [`TURNS_MAX`] turns; what falls out of sight
//! is folded into the states that everything begins with.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use quorate_core::node::{Effect, Input};
use quorate_core::wire::Blob;

use super::state::{self, State};
use super::words::{self, Family, Names};
use crate::clock::Micros;
use crate::world::faults::Fault;
use crate::world::machine::Machine;
use crate::world::newer;

/// Turns that are kept.
const TURNS_MAX: usize = 4000;
/// Sends of the same bytes that are told apart.
const SAME_MAX: usize = 64;
/// Sends whose arrival is still awaited.
const OPEN_MAX: usize = 50_000;

/// One turn of one node.
#[derive(Debug, Clone)]
pub struct Turn {
    /// Its place in the run.
    pub number: u64,
    /// World time.
    pub at: Micros,
    /// Which machine.
    pub machine: usize,
    /// What came in, in words.
    pub inputs: Vec<String>,
    /// What went out, in words.
    pub outputs: Vec<String>,
    /// What observers heard.
    pub news: Vec<String>,
    /// Whether somebody asked, a process began, or observers heard something.
    pub notable: bool,
    /// Whether its process began with it: nothing is left of former states.
    pub fresh: bool,
    /// What it changed.
    pub change: Vec<(String, Option<String>)>,
}

impl Turn {
    /// A turn in words; what it changed is for whoever sees states.
    pub(super) fn of(
        (number, at): (u64, Micros),
        machine: usize,
        inputs: &[Input],
        effects: &[Effect],
        names: &Names,
    ) -> Turn {
        let news = effects.iter().filter_map(|effect| match effect {
            Effect::Announce(announcement) => words::of_announcement(announcement),
            Effect::Datagram { .. }
            | Effect::Send { .. }
            | Effect::Connect { .. }
            | Effect::Disconnect { .. }
            | Effect::Store { .. }
            | Effect::Call { .. }
            | Effect::Reply { .. } => None,
        });
        let news: Vec<String> = news.collect();
        let asked = |input: &Input| matches!(input, Input::Start | Input::Request { .. });
        Turn {
            number,
            at,
            machine,
            inputs: inputs.iter().map(|input| words::of_input(input, names)).collect(),
            outputs: effects.iter().map(|effect| words::of_effect(effect, names)).collect(),
            notable: !news.is_empty() || inputs.iter().any(asked),
            news,
            fresh: false,
            change: Vec::new(),
        }
    }
}

/// One message, from the turn that sent it to the turn that read it.
#[derive(Debug, Clone)]
pub struct Message {
    /// About what.
    pub family: Family,
    /// In words.
    pub label: String,
    /// Sender's machine, turn and time.
    pub sent: (usize, u64, Micros),
    /// Receiver's machine, if it is one.
    pub to: Option<usize>,
    /// The turn in which it was read, and when.
    pub read: Option<(u64, Micros)>,
    /// When its copies arrive, as far as the network has said.
    pub arrives: Vec<Micros>,
}

/// Something that was done to the world.
#[derive(Debug, Clone)]
pub struct Band {
    /// The class of the menu.
    pub class: &'static str,
    /// Its number in the run.
    pub number: usize,
    /// On which machines.
    pub machines: Vec<usize>,
    /// On which links; empty if on all of its machines' own.
    pub links: Vec<(usize, usize)>,
    /// When it began.
    pub from: Micros,
    /// When it ended, if it did.
    pub upto: Option<Micros>,
}

/// A time in which a machine ran no process, or one that stood still.
#[derive(Debug, Clone)]
pub struct Gap {
    /// Which machine.
    pub machine: usize,
    /// When it began.
    pub from: Micros,
    /// When it ended, if it did.
    pub upto: Option<Micros>,
}

type Key = (usize, Option<SocketAddr>, Blob);

/// Everything that was seen.
#[derive(Debug, Default)]
pub struct Lens {
    /// The newest turns, oldest first.
    pub turns: VecDeque<Turn>,
    /// Their messages.
    pub messages: Vec<Message>,
    /// All faults.
    pub bands: Vec<Band>,
    /// All gaps.
    pub gaps: Vec<Gap>,
    /// The states before the first turn that is kept, by machine.
    pub before: BTreeMap<usize, State>,
    now: BTreeMap<usize, State>,
    names: Names,
    machines: BTreeMap<SocketAddr, usize>,
    open: BTreeMap<Key, VecDeque<usize>>,
    awaited: usize,
}

impl Lens {
    /// A turn was taken on `machine`.
    pub fn turn(
        &mut self,
        (number, at): (u64, Micros),
        machines: &[Machine],
        machine: usize,
        inputs: &[Input],
        effects: &[Effect],
    ) {
        self.learn_names(machines);
        let Some(host) = machines.get(machine) else { return };
        let Some(process) = &host.process else { return };
        if inputs.contains(&Input::Start) {
            self.close_gap(machine, at);
            self.now.remove(&machine);
        }
        for input in inputs {
            self.arrived((machine, number, at), host.address, input);
        }
        for effect in effects {
            self.left((machine, number, at), effect);
        }
        let shown = state::of(&process.node);
        let old = self.now.entry(machine).or_default();
        let change = state::difference(old, &shown);
        *old = shown;
        let mut turn = Turn::of((number, at), machine, inputs, effects, &self.names);
        turn.fresh = inputs.contains(&Input::Start);
        turn.change = change;
        self.turns.push_back(turn);
        self.forget_eldest();
    }

    /// The process on `machine` ended.
    pub fn ended(&mut self, machine: usize, at: Micros) {
        self.gaps.push(Gap { machine, from: at, upto: None });
    }

    /// A fault begins.
    pub fn begin(&mut self, fault: &Fault<'_>, at: Micros) {
        let lasts = fault.lasts.filter(|_| fault.class != "leave");
        self.bands.push(Band {
            class: fault.class,
            number: fault.number,
            machines: fault.place.machines.clone(),
            links: fault.place.links.clone(),
            from: at,
            upto: lasts.map(|lasts| at + lasts),
        });
    }

    /// A copy of the datagram that was sent last with these bytes will be there at `at`.
    pub fn flies(&mut self, machine: usize, to: SocketAddr, bytes: &Blob, at: Micros) {
        let key = (machine, Some(to), bytes.clone());
        let newest = self.open.get(&key).and_then(|waiting| waiting.back().copied());
        if let Some(message) = newest.and_then(|index| self.messages.get_mut(index)) {
            message.arrives.push(at);
        }
    }

    fn learn_names(&mut self, machines: &[Machine]) {
        for (index, machine) in machines.iter().enumerate() {
            if self.machines.get(&machine.address) != Some(&index) {
                self.machines.insert(machine.address, index);
                self.names.insert(machine.address, machine.node.to_string());
            }
        }
    }

    fn close_gap(&mut self, machine: usize, at: Micros) {
        let open = |gap: &&mut Gap| gap.machine == machine && gap.upto.is_none();
        if let Some(gap) = self.gaps.iter_mut().rev().find(open) {
            gap.upto = Some(at);
        }
    }

    fn left(&mut self, sent: (usize, u64, Micros), effect: &Effect) {
        let (key, to, (family, label)) = match effect {
            Effect::Datagram { to, bytes } => {
                let key = (sent.0, Some(*to), bytes.clone());
                (key, self.machines.get(to).copied(), words::of_datagram(bytes))
            }
            Effect::Send { bytes, .. } => {
                ((sent.0, None, bytes.clone()), None, words::of_encoded(bytes))
            }
            Effect::Connect { .. }
            | Effect::Disconnect { .. }
            | Effect::Store { .. }
            | Effect::Call { .. }
            | Effect::Reply { .. }
            | Effect::Announce(_) => return,
        };
        let message = Message { family, label, sent, to, read: None, arrives: Vec::new() };
        let waiting = self.open.entry(key).or_default();
        // What was sent so often with the same bytes is told apart by its newest few.
        if waiting.len() == SAME_MAX {
            waiting.pop_front();
        }
        waiting.push_back(self.messages.len());
        self.awaited += 1;
        self.messages.push(message);
        if self.awaited > OPEN_MAX {
            self.open.clear();
            self.awaited = 0;
        }
    }

    /// Finds what was sent in what arrived, by its very bytes. A copy that comes again is a message of its
    /// own from the same turn.
    fn arrived(&mut self, read: (usize, u64, Micros), address: SocketAddr, input: &Input) {
        let (key, to) = match input {
            Input::Datagram { from, bytes } => {
                let Some(sender) = self.machines.get(from).copied() else { return };
                ((sender, Some(address), newer::known(bytes)), read.0)
            }
            Input::Frame { frame, .. } => {
                let bytes = Blob::from(frame.encode());
                let senders = self.machines.values().copied().filter(|sender| *sender != read.0);
                let mut keys = senders.map(|sender| (sender, None, bytes.clone()));
                let Some(key) = keys.find(|key| self.open.contains_key(key)) else { return };
                (key, read.0)
            }
            Input::Start
            | Input::Wake
            | Input::Clock { .. }
            | Input::Connected { .. }
            | Input::ConnectFailed { .. }
            | Input::Accepted { .. }
            | Input::Broken { .. }
            | Input::Unsecured { .. }
            | Input::Misnamed { .. }
            | Input::Writable { .. }
            | Input::Closed { .. }
            | Input::Stored { .. }
            | Input::Answered { .. }
            | Input::Request { .. } => return,
        };
        let Some(waiting) = self.open.get(&key) else { return };
        // The copy that has waited longest for its reader; else whatever was sent last.
        let due = |index: &&usize| {
            let message = self.messages.get(**index);
            message.is_some_and(|message| message.arrives.iter().any(|at| *at <= read.2))
        };
        let Some(index) = waiting.iter().find(due).or(waiting.back()).copied() else { return };
        let Some(message) = self.messages.get_mut(index) else { return };
        if let Some(place) = message.arrives.iter().position(|at| *at <= read.2) {
            message.arrives.remove(place);
        }
        if message.read.is_none() {
            message.to = Some(to);
            message.read = Some((read.1, read.2));
        } else {
            let copy = Message { to: Some(to), read: Some((read.1, read.2)), ..message.clone() };
            self.messages.push(copy);
        }
        if key.1.is_none()
            && let Some(waiting) = self.open.get_mut(&key)
        {
            waiting.retain(|waits| *waits != index);
        }
    }

    fn forget_eldest(&mut self) {
        if self.turns.len() > TURNS_MAX
            && let Some(turn) = self.turns.pop_front()
        {
            let before = self.before.entry(turn.machine).or_default();
            if turn.fresh {
                before.clear();
            }
            state::apply(before, &turn.change);
        }
    }
}

//! Promises of links: L-4, L-5 and L-9.
//!
//! What a connection carries, and which of its ends has proved that it is of the cluster, is the simulator's own
//! record. How a node looks before and after a turn that only speaks of what is over is compared whole.
//!
//! Absent on purpose: the other promises of links, which the links scan themselves once a virtual second.

mod shares;

use std::collections::{BTreeMap, BTreeSet};

use quorate_core::ids::ConnectionId;
use quorate_core::limits::FRAME_SESSION_BYTES_MAX;
use quorate_core::node::{Effect, Input};
use quorate_core::wire::decode;
use quorate_core::wire::frame::{Class, Frame};
use quorate_core::wire::session::{MAGIC, Session};
use xxhash_rust::xxh3::xxh3_64;

use super::{Id, Ledger, Turn};
use crate::verdict::Failure;
use crate::world::machine::Process;

use shares::Share;

/// See the module.
#[derive(Debug)]
pub struct Watch {
    observed: Vec<Observed>,
}

/// What one process did with its connections so far.
#[derive(Debug, Default)]
struct Observed {
    /// Those whose other end said that it is of our cluster.
    greeted: BTreeSet<ConnectionId>,
    /// Those that are over.
    over: BTreeSet<ConnectionId>,
    /// Those on which something waits.
    shares: BTreeMap<ConnectionId, Share>,
    /// How the links looked before a turn that speaks of nothing but what is over.
    before: Option<u64>,
    /// Such turns so far.
    late: u64,
}

/// Of the turns that speak of nothing but what is over, one in so many is looked at: to compare all links costs
/// more than the turn.
const LATE_TURNS: u64 = 8;

impl Watch {
    pub(super) fn new(machines: usize) -> Watch {
        Watch { observed: (0..machines).map(|_| Observed::default()).collect() }
    }

    pub(super) fn started(&mut self, machine: usize) {
        if let Some(observed) = self.observed.get_mut(machine) {
            *observed = Observed::default();
        }
    }

    /// A process is about to take a turn.
    pub(super) fn before(&mut self, machine: usize, process: &Process, inputs: &[Input]) {
        let Some(observed) = self.observed.get_mut(machine) else { return };
        let over = |input| subject(input).is_some_and(|one| observed.over.contains(&one));
        let nothing_else = !inputs.is_empty() && inputs.iter().all(over);
        let looked_at = nothing_else && observed.late.is_multiple_of(LATE_TURNS);
        observed.late += u64::from(nothing_else);
        observed.before = looked_at.then(|| looks(process));
    }

    /// A process that slept makes up for it in any turn.
    pub(super) fn slept(&mut self, machine: usize) {
        if let Some(observed) = self.observed.get_mut(machine) {
            observed.before = None;
        }
    }

    pub(super) fn turn(&mut self, turn: &Turn<'_>, ledger: &mut Ledger) -> Result<(), Failure> {
        let Some(observed) = self.observed.get_mut(turn.machine) else { return Ok(()) };
        if let Some(before) = observed.before.take() {
            let same = before == looks(turn.process) && !turn.effects.iter().any(speaks);
            ledger.hold(Id::L5, turn.machine, same, || {
                format!("{:?} changed something, of connections that are over", turn.inputs)
            })?;
        }
        for input in turn.inputs {
            if let Input::Frame { connection, frame } = input
                && greets(turn, frame)
            {
                observed.greeted.insert(*connection);
            }
        }
        for effect in turn.effects {
            let Effect::Send { connection, bytes } = effect else { continue };
            let class = bytes.get(1).copied();
            let session = class == Some(Class::Session.number());
            let known = observed.greeted.contains(connection);
            let may = known || (session && connection.is_dialled());
            ledger.hold(Id::L9, turn.machine, may, || {
                format!("{connection:?}, a stranger's, carries a frame of class {class:?}")
            })?;
            if let Some(share) = observed.shares.get_mut(connection) {
                share.sent(turn.machine, class, bytes.len(), ledger)?;
            }
        }
        observed.end(turn);
        Ok(())
    }
}

impl Observed {
    /// What is over, and what waits, when a turn has ended.
    fn end(&mut self, turn: &Turn<'_>) {
        for input in turn.inputs {
            if let Input::Closed { connection } | Input::ConnectFailed { connection } = input {
                self.over.insert(*connection);
            }
        }
        for effect in turn.effects {
            if let Effect::Disconnect { connection } = effect {
                self.over.insert(*connection);
            }
        }
        let waiting = turn.process.node.links().waiting_to_leave();
        if waiting.is_empty() {
            return self.shares.clear();
        }
        let mut before = std::mem::take(&mut self.shares);
        for (connection, frames) in waiting {
            let mut share = before.remove(&connection).unwrap_or_default();
            share.waits(&frames);
            self.shares.insert(connection, share);
        }
    }
}

/// The connection that an input speaks of.
fn subject(input: &Input) -> Option<ConnectionId> {
    match input {
        Input::Connected { connection }
        | Input::ConnectFailed { connection }
        | Input::Frame { connection, .. }
        | Input::Broken { connection, .. }
        | Input::Writable { connection, .. }
        | Input::Closed { connection } => Some(*connection),
        _ => None,
    }
}

/// Whether links would have to want this.
fn speaks(effect: &Effect) -> bool {
    matches!(effect, Effect::Send { .. } | Effect::Connect { .. } | Effect::Disconnect { .. })
}

/// The links, as one number.
fn looks(process: &Process) -> u64 {
    xxh3_64(format!("{:?}", process.node.links()).as_bytes())
}

/// Whether a frame says that its sender is of the cluster of whoever took the turn.
fn greets(turn: &Turn<'_>, frame: &Frame) -> bool {
    if frame.class != Class::Session {
        return false;
    }
    let Some(machine) = turn.machines.get(turn.machine) else { return false };
    match decode::<Session, FRAME_SESSION_BYTES_MAX>(&frame.payload) {
        Ok(Session::Hello(greeting) | Session::Welcome(greeting)) => {
            greeting.magic == MAGIC && greeting.cluster == machine.settings.link.cluster
        }
        Ok(Session::Refused(_) | Session::Bye(_)) | Err(_) => false,
    }
}

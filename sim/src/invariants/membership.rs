//! Promises of membership: M-1 to M-14.
//!
//! Who really runs, and who could reach whom, is the simulator's own knowledge.

mod meetings;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use quorate_core::ids::{Incarnation, NodeId, Notice, Replica};
use quorate_core::limits;
use quorate_core::node::membership::{Member, State};
use quorate_core::node::{Announcement, Effect, Input, Members};
use quorate_core::wire::datagram::{self, Kind};
use quorate_core::wire::message::Departed;
use quorate_core::wire::{self};

use super::{Id, Ledger, Turn};
use crate::clock::Micros;
use crate::verdict::Failure;
use crate::world::machine::{Machine, Process};

/// How long somebody within reach may be held failed. M-11.
const FAILED_WITHIN_REACH_US: Micros = 20_000_000;

/// See the module.
#[derive(Debug, Default)]
pub struct Watch {
    machines: Vec<Observer>,
    /// Lives that somebody gave up, retired, or outlived.
    given_up: BTreeMap<NodeId, Incarnation>,
    raised: BTreeMap<Replica, usize>,
    /// When each machine's last process ended.
    pub ended: Vec<Option<Micros>>,
    /// Since when an observer holds a machine failed that it could reach.
    wronged: BTreeMap<(usize, usize), Micros>,
    meetings: meetings::Meetings,
}

/// What one process said and believed so far.
#[derive(Debug, Default)]
struct Observer {
    notices: BTreeMap<Replica, Told>,
    beliefs: BTreeMap<NodeId, Incarnation>,
    fences: Fences,
    version: Option<u64>,
    /// The rows that were looked at last, and whose fence rose since.
    rows: imbl::OrdMap<NodeId, Arc<Member>>,
    fenced: BTreeSet<NodeId>,
    /// A notice said that this life of ours is over.
    must_exceed: Option<Incarnation>,
    slept: bool,
}

/// The fences that one process raised. Its bound drops what it raised longest ago.
#[derive(Debug, Default)]
struct Fences {
    held: Vec<NodeId>,
    ever: BTreeMap<NodeId, Incarnation>,
}

impl Fences {
    /// The fence that must be there.
    fn get(&self, node: &NodeId) -> Option<Incarnation> {
        self.held.contains(node).then(|| self.ever.get(node).copied())?
    }

    /// Whether `replica` was fenced at any time.
    fn was(&self, replica: &Replica) -> bool {
        self.ever.get(&replica.node) >= Some(&replica.incarnation)
    }

    /// Fences a node anew; of whom there is no fence any more.
    fn raise(&mut self, node: &NodeId, fence: Incarnation, bound: usize) -> Option<NodeId> {
        self.held.retain(|fenced| fenced != node);
        self.held.push(node.clone());
        self.ever.insert(node.clone(), fence);
        (self.held.len() > bound.max(1)).then(|| self.held.remove(0))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Up,
    Suspect,
    Departed,
}

impl Watch {
    pub(super) fn new(machines: usize) -> Watch {
        Watch {
            machines: (0..machines).map(|_| Observer::default()).collect(),
            given_up: BTreeMap::new(),
            raised: BTreeMap::new(),
            ended: vec![None; machines],
            wronged: BTreeMap::new(),
            meetings: meetings::Meetings::default(),
        }
    }

    pub(super) fn started(&mut self, machine: usize, replica: &Replica, _: &[Machine]) {
        self.reset(machine);
        if let Some(ended) = self.ended.get_mut(machine) {
            *ended = None;
        }
        // A life below this one is outlived.
        if let Some(before) = replica.incarnation.0.checked_sub(1) {
            self.give_up(&replica.node, Incarnation(before));
        }
    }

    pub(super) fn stopped(&mut self, now: Micros, machine: usize) {
        self.reset(machine);
        if let Some(ended) = self.ended.get_mut(machine) {
            *ended = Some(now);
        }
    }

    fn reset(&mut self, machine: usize) {
        if let Some(observer) = self.machines.get_mut(machine) {
            *observer = Observer::default();
        }
        self.wronged.retain(|(observer, subject), _| *observer != machine && *subject != machine);
    }

    fn give_up(&mut self, node: &NodeId, incarnation: Incarnation) {
        let highest = self.given_up.entry(node.clone()).or_default();
        *highest = incarnation.max(*highest);
    }

    pub(super) fn turn(&mut self, turn: &Turn<'_>, ledger: &mut Ledger) -> Result<(), Failure> {
        for effect in turn.effects {
            match effect {
                Effect::Announce(Announcement::Member(notice)) => {
                    self.notice(turn, notice, ledger)?
                }
                Effect::Announce(Announcement::Raised { replica }) => {
                    self.raise(turn, replica, ledger)?
                }
                Effect::Datagram { bytes, .. } => self.sent(turn, bytes, ledger)?,
                Effect::Announce(_)
                | Effect::Send { .. }
                | Effect::Connect { .. }
                | Effect::Disconnect { .. }
                | Effect::Store { .. }
                | Effect::Call { .. }
                | Effect::Reply { .. } => {}
            }
        }
        self.hear(turn);
        let members = turn.process.node.published().members.load();
        let version = Some(members.version);
        let Some(observer) = self.machines.get_mut(turn.machine) else { return Ok(()) };
        if observer.version != version {
            observer.version = version;
            observer.view(turn, &members, ledger)?;
        }
        Ok(())
    }

    /// A sleep beyond remembering ends all notices and beliefs without a word.
    pub(super) fn slept(&mut self, machine: usize) {
        if let Some(observer) = self.machines.get_mut(machine) {
            observer.slept = true;
            observer.notices.clear();
            observer.beliefs.clear();
            observer.rows.clear();
        }
    }

    /// What a turn's inputs say about the life of the node itself. Only datagrams tell for certain: a frame
    /// may come by a connection that the node has given up.
    fn hear(&mut self, turn: &Turn<'_>) {
        for input in turn.inputs {
            let over = match input {
                Input::Datagram { bytes, .. } => departed_by_datagram(bytes),
                _ => None,
            };
            let own = turn.process.node.local().incarnation;
            if let (Some(over), Some(observer)) = (over, self.machines.get_mut(turn.machine))
                && over >= observer.must_exceed.unwrap_or(turn.process.born)
                && over.0 <= own.0
            {
                observer.must_exceed = observer.must_exceed.max(Some(over));
            }
        }
    }

    /// M-3, M-4 and M-12, of a datagram that leaves.
    fn sent(&mut self, turn: &Turn<'_>, bytes: &[u8], ledger: &mut Ledger) -> Result<(), Failure> {
        let length = bytes.len() + limits::SEAL_BYTES;
        ledger.hold(Id::M4, turn.machine, length <= limits::DATAGRAM_BYTES_MAX, || {
            format!("a datagram of {length} bytes")
        })?;
        let incarnation = sender_incarnation(bytes);
        let durable = turn.machines.get(turn.machine).and_then(|machine| machine.durable);
        if let Some(durable) = durable {
            ledger.hold(Id::M3, turn.machine, incarnation <= durable.0, || {
                format!("a datagram of life {incarnation}, while {durable} is durable")
            })?;
        }
        let Some(observer) = self.machines.get_mut(turn.machine) else { return Ok(()) };
        let leaving = turn.process.node.membership().leaving();
        if let Some(over) = observer.must_exceed.filter(|_| !leaving) {
            ledger.hold(Id::M12, turn.machine, incarnation > over.0, || {
                format!("a datagram of life {incarnation} after the news that {over} is over")
            })?;
            observer.must_exceed = None;
        }
        Ok(())
    }

    /// M-5.
    fn raise(
        &mut self,
        turn: &Turn<'_>,
        replica: &Replica,
        ledger: &mut Ledger,
    ) -> Result<(), Failure> {
        let slept = self.machines.get(turn.machine).is_some_and(|observer| observer.slept);
        let before = &turn.process.replica;
        let given_up = self.given_up.get(&replica.node).copied().unwrap_or_default();
        // Whoever begins a life to which a second process of the node has raised itself must leave it.
        let taken = self.raised.get(before).is_some_and(|other| *other != turn.machine);
        let known = given_up >= before.incarnation || slept || taken;
        ledger.hold(Id::M5, turn.machine, known && replica > before, || {
            format!("{before} raised itself to {replica}, though nobody had given it up")
        })?;
        // A life below this one is outlived: a second process of the node, if one runs, has to raise itself.
        if let Some(over) = replica.incarnation.0.checked_sub(1) {
            self.give_up(&replica.node, Incarnation(over));
        }
        let new = self.raised.insert(replica.clone(), turn.machine).is_none();
        ledger.hold(Id::M5, turn.machine, new, || format!("{replica} was raised to twice"))
    }

    /// M-14.
    fn notice(
        &mut self,
        turn: &Turn<'_>,
        notice: &Notice,
        ledger: &mut Ledger,
    ) -> Result<(), Failure> {
        match notice {
            Notice::Departed { replica, .. } => {
                self.give_up(&replica.node.clone(), replica.incarnation)
            }
            Notice::Forgotten { node, fence } => self.give_up(&node.clone(), *fence),
            Notice::Up { .. }
            | Notice::Suspect { .. }
            | Notice::Refuted { .. }
            | Notice::Renamed { .. } => {}
        }
        let Some(observer) = self.machines.get_mut(turn.machine) else { return Ok(()) };
        let told = |replica: &Replica| observer.notices.get(replica).copied();
        let legal = match notice {
            Notice::Up { replica, .. } => told(replica).is_none(),
            Notice::Suspect { replica } => told(replica) == Some(Told::Up),
            Notice::Refuted { replica } => told(replica) == Some(Told::Suspect),
            Notice::Departed { replica, .. } => {
                matches!(told(replica), Some(Told::Up | Told::Suspect))
            }
            Notice::Renamed { old, new, .. } => {
                let known = told(old).is_some() || observer.fences.was(old);
                known && told(new).is_none() && old.node == new.node && old < new
            }
            Notice::Forgotten { .. } => true,
        };
        ledger.hold(Id::M14, turn.machine, legal, || {
            let subject = subject(notice);
            let before: Vec<_> =
                observer.notices.iter().filter(|(r, _)| r.node == subject).collect();
            format!("{notice:?} after {before:?}")
        })?;
        observer.fold(notice);
        let Notice::Forgotten { node, fence } = notice else { return Ok(()) };
        let bound = turn.machines.get(turn.machine).map(|m| m.settings.membership.fences_max);
        let former = observer.fences.get(node);
        observer.fenced.insert(node.clone());
        let dropped = observer.fences.raise(node, *fence, bound.unwrap_or_default());
        let members = turn.process.node.published().members.load();
        if let Some(dropped) = dropped.filter(|dropped| !members.rows.contains_key(dropped)) {
            observer.beliefs.remove(&dropped);
            observer.rows.remove(&dropped);
        }
        ledger.hold(Id::M2, turn.machine, former <= Some(*fence), || {
            format!("the fence of {node} fell from {former:?} to {fence}")
        })
    }

    /// M-11, once a second: `reach(observer, subject)` says whether packets get there and back, directly or
    /// by one helper.
    pub fn reachability(
        &mut self,
        now: Micros,
        machines: &[Machine],
        reach: impl Fn(usize, usize) -> bool,
        ledger: &mut Ledger,
    ) -> Result<(), Failure> {
        let mut former = std::mem::take(&mut self.wronged);
        for (observer, seer) in machines.iter().enumerate() {
            for subject in wrongly_failed(seer, machines) {
                let Some(seen) = machines.get(subject).filter(|_| reach(observer, subject)) else {
                    continue;
                };
                let since = former.remove(&(observer, subject)).unwrap_or(now);
                self.wronged.insert((observer, subject), since);
                let long = scaled(FAILED_WITHIN_REACH_US, seer);
                ledger.hold(Id::M11, observer, now - since <= long, || {
                    let seconds = (now - since) / 1_000_000;
                    format!("{} is held failed for {seconds} s, and could be reached", seen.node)
                })?;
            }
        }
        ledger.note(Id::M11);
        Ok(())
    }

    /// M-10, once a second: `near(one, other)` says whether nothing stands between two machines.
    pub fn meetings(
        &mut self,
        now: Micros,
        machines: &[Machine],
        near: impl Fn(usize, usize) -> bool,
        ledger: &mut Ledger,
    ) -> Result<(), Failure> {
        self.meetings.look(now, machines, near, ledger)
    }

    /// M-9 and M-13 at quiescence, for the machines in `core`.
    pub fn quiet(
        &self,
        core: &[usize],
        mute: &[usize],
        machines: &[Machine],
        ledger: &mut Ledger,
    ) -> Result<(), Failure> {
        for observer in core {
            let Some(process) = machines.get(*observer).and_then(|m| m.process.as_ref()) else {
                continue;
            };
            let members = process.node.published().members.load();
            for (subject, machine) in machines.iter().enumerate() {
                let row = members.rows.get(&machine.node);
                let member =
                    row.is_some_and(|row| matches!(row.state, State::Alive | State::Suspect));
                if core.contains(&subject) && machine.process.is_some() {
                    let life =
                        machine.process.as_ref().map(|process| process.node.local().incarnation);
                    let right = member && row.map(|row| row.incarnation) == life;
                    ledger.hold(Id::M9, *observer, right, || {
                        let shown = row.map(|row| (row.state, row.incarnation));
                        format!("{} runs as {life:?}, here it is {shown:?}", machine.node)
                    })?;
                } else if machine.process.is_none() || mute.contains(&subject) {
                    ledger.hold(Id::M13, *observer, !member, || {
                        format!(
                            "{} does not run or cannot be heard, and is a member here",
                            machine.node
                        )
                    })?;
                }
            }
        }
        Ok(())
    }
}

impl Observer {
    fn fold(&mut self, notice: &Notice) {
        match notice {
            Notice::Up { replica, .. } | Notice::Refuted { replica } => {
                self.notices.insert(replica.clone(), Told::Up);
            }
            Notice::Suspect { replica } => _ = self.notices.insert(replica.clone(), Told::Suspect),
            Notice::Departed { replica, .. } => {
                _ = self.notices.insert(replica.clone(), Told::Departed)
            }
            // `Up` of the new life follows.
            Notice::Renamed { old, .. } => _ = self.notices.remove(old),
            Notice::Forgotten { node, fence } => {
                self.notices.retain(|r, _| r.node != *node || r.incarnation > *fence);
            }
        }
    }

    /// M-1, M-2, M-6 and M-7, of a view that changed.
    fn view(
        &mut self,
        turn: &Turn<'_>,
        members: &Members,
        ledger: &mut Ledger,
    ) -> Result<(), Failure> {
        let machine = turn.machine;
        let local = turn.process.node.local();
        if let Some(row) = members.rows.get(&local.node).filter(|_| !members.leaving) {
            let right =
                row.state == State::Alive && row.incarnation == local.incarnation && row.local;
            ledger.hold(Id::M1, machine, right, || {
                format!("{local} sees itself as {:?} in life {}", row.state, row.incarnation)
            })?;
        }
        let former = std::mem::replace(&mut self.rows, members.rows.clone());
        let mut former = former.iter().peekable();
        for (node, row) in &members.rows {
            while former.next_if(|(other, _)| *other < node).is_some() {}
            let same = former.next_if(|(other, _)| *other == node);
            let same = same.is_some_and(|(_, former)| Arc::ptr_eq(former, row));
            // A row that is shared with the former view, and whose fence is, was looked at then.
            if same && !self.fenced.contains(node) {
                ledger.note(Id::M2);
                continue;
            }
            self.believed(machine, node, row, ledger)?;
        }
        self.fenced.clear();
        self.folds(turn, members, ledger)?;
        let bound = turn.machines.get(machine).map_or(0, |m| m.settings.membership.members_max);
        ledger.hold(Id::M7, machine, members.rows.len() <= bound + 1, || {
            format!("{} rows, the bound is {bound}", members.rows.len())
        })
    }

    /// M-2.
    fn believed(
        &mut self,
        machine: usize,
        node: &NodeId,
        row: &Member,
        ledger: &mut Ledger,
    ) -> Result<(), Failure> {
        let former = self.beliefs.insert(node.clone(), row.incarnation);
        ledger.hold(Id::M2, machine, former <= Some(row.incarnation), || {
            format!("{node} fell from {former:?} to {}", row.incarnation)
        })?;
        let member = matches!(row.state, State::Alive | State::Suspect);
        let fence = self.fences.get(node);
        let fenced = member && fence.is_some_and(|fence| row.incarnation <= fence);
        ledger.hold(Id::M2, machine, !fenced, || {
            format!("{node} is a member as {}, its fence is {fence:?}", row.incarnation)
        })
    }

    /// M-6.
    fn folds(
        &self,
        turn: &Turn<'_>,
        members: &Members,
        ledger: &mut Ledger,
    ) -> Result<(), Failure> {
        let local = &turn.process.node.local().node;
        let told =
            self.notices.iter().filter(|(r, told)| r.node != *local && **told != Told::Departed);
        let told = told
            .map(|(replica, told)| (&replica.node, replica.incarnation, *told == Told::Suspect));
        let rows = members.rows.iter().filter(|(node, _)| *node != local);
        let shown = rows.filter(|(_, row)| matches!(row.state, State::Alive | State::Suspect));
        let shown = shown.map(|(node, row)| (node, row.incarnation, row.state == State::Suspect));
        let equal = told.clone().eq(shown.clone());
        ledger.hold(Id::M6, turn.machine, equal, || {
            let (told, shown): (Vec<_>, Vec<_>) = (told.collect(), shown.collect());
            format!("notices tell {told:?}, the view shows {shown:?}")
        })
    }
}

/// Whom `seer` holds failed while both take part as they are, by the places of their machines.
fn wrongly_failed(seer: &Machine, machines: &[Machine]) -> Vec<usize> {
    let taking_part = seer.process.as_ref().filter(|process| seer.runs() && !leaving(process));
    let Some(observer) = taking_part else { return Vec::new() };
    let members = observer.node.published().members.load();
    let failed = members.rows.values().filter(|row| row.state == State::Failed);
    let wrongly = failed.filter_map(|row| {
        let place = machines.iter().position(|machine| machine.node == row.node)?;
        let seen = machines.get(place).filter(|seen| seen.runs())?;
        // Who moved since it was last heard of is found by seeds, in the time that M-10 gives.
        let still_there =
            row.address == seen.address && !seen.process.as_ref().is_some_and(leaving);
        (still_there && seen.index != seer.index).then_some(place)
    });
    wrongly.collect()
}

fn leaving(process: &Process) -> bool {
    process.node.published().members.load().leaving
}

/// Times of the specification hold for a probe interval of one second and scale with it.
pub fn scaled(time: Micros, machine: &Machine) -> Micros {
    let interval = quorate_core::time::micros(machine.settings.membership.probe_interval);
    let mult = u64::from(machine.settings.membership.suspicion_mult).max(4);
    (time.saturating_mul(interval.max(1_000_000)) / 1_000_000).saturating_mul(mult) / 4
}

pub(super) fn subject(notice: &Notice) -> NodeId {
    match notice {
        Notice::Up { replica, .. }
        | Notice::Suspect { replica }
        | Notice::Refuted { replica }
        | Notice::Departed { replica, .. }
        | Notice::Renamed { new: replica, .. } => replica.node.clone(),
        Notice::Forgotten { node, .. } => node.clone(),
    }
}

/// The life that a datagram says it was sent by.
fn sender_incarnation(bytes: &[u8]) -> u64 {
    let after = bytes.split_first().and_then(|(length, rest)| rest.get(usize::from(*length)..));
    let field = after.and_then(|rest| rest.first_chunk::<8>());
    field.map_or(0, |field| u64::from_le_bytes(*field))
}

fn departed_by_datagram(bytes: &[u8]) -> Option<Incarnation> {
    // A datagram says so by a byte that stands in it; most have none, and are not read.
    if !bytes.contains(&(Kind::Departed as u8)) {
        return None;
    }
    let datagram = datagram::parse(bytes).ok()?;
    let notice = datagram.sections.iter().find(|(kind, _)| *kind == Kind::Departed)?;
    let notice = wire::decode::<Departed, { limits::DATAGRAM_BYTES_MAX }>(notice.1).ok()?;
    Some(notice.incarnation)
}

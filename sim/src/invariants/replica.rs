//! Promises of owner maps: RP-1 to RP-7, RP-10, RP-12 and RP-13.
//!
//! The [`Record`] holds what owners wrote. Each process has a shadow of every map it holds;
//! a map that moved is compared with its shadow and with the record, and nothing else is looked at. Which maps
//! a turn could have moved follows from its inputs; now and then all are looked at, the more there are the less often.

mod record;
mod shadows;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use foldhash::fast::FixedState;
use quorate_core::ids::{NodeId, Notice, Replica};
use quorate_core::limits::DIGEST_BUCKETS;
use quorate_core::node::membership::State;
use quorate_core::node::replica::{Held, HeldEntry};
use quorate_core::node::{Announcement, Effect};
use quorate_core::wire::Blob;
use quorate_core::wire::segment::{Key, Topic};

use self::record::{Record, Written};
use self::shadows::{Kept, Renewed, Seen, Shadow, Shadows};
use super::membership::subject;
use super::{Id, Ledger, Turn, confessed};
use crate::verdict::Failure;
use crate::world::machine::Machine;

type MapId = (Topic, Replica);

/// What is looked up and never walked in an order that anybody sees. Its hash has one seed for ever.
type Table<K, V> = HashMap<K, V, FixedState>;

/// Turns of a process for each map that it holds, after which every map is looked at, whatever the inputs named:
/// so the looking costs a turn the same in a large world.
const TURNS_PER_MAP: u32 = 4;

/// See the module.
#[derive(Debug)]
pub struct Watch {
    record: Record,
    shadows: Vec<Shadows>,
    /// The most that each life ever had of a map, dropped ones included.
    reached: Table<(Replica, MapId), u64>,
    /// The life of each process after its last turn.
    lives: Vec<Option<Replica>>,
    /// Turns until each process shows every map.
    full_in: Vec<u32>,
    /// On which machine each life was lived first.
    lived: BTreeMap<Replica, usize>,
    /// Lives that a second process of the node lived, too: what such a one wrote is nobody's word, and no promise.
    doubled: BTreeSet<Replica>,
}

impl Watch {
    pub(super) fn new(machines: usize) -> Watch {
        Watch {
            record: Record::default(),
            shadows: vec![Shadows::default(); machines],
            reached: Table::default(),
            lives: vec![None; machines],
            full_in: vec![0; machines],
            lived: BTreeMap::new(),
            doubled: BTreeSet::new(),
        }
    }

    pub(super) fn started(&mut self, machine: usize) {
        self.stopped(machine);
    }

    /// A sleep beyond remembering drops every foreign map.
    pub(super) fn slept(&mut self, turn: &Turn<'_>) {
        let own = turn.process.node.maps().local();
        if let Some(shadows) = self.shadows.get_mut(turn.machine) {
            shadows.retain(|_, node, life| *node == own.node && life == own.incarnation);
        }
        self.look_at_all(turn.machine);
    }

    pub(super) fn stopped(&mut self, machine: usize) {
        if let Some(shadows) = self.shadows.get_mut(machine) {
            *shadows = Shadows::default();
        }
        if let Some(life) = self.lives.get_mut(machine) {
            *life = None;
        }
        self.look_at_all(machine);
    }

    fn look_at_all(&mut self, machine: usize) {
        if let Some(full_in) = self.full_in.get_mut(machine) {
            *full_in = 0;
        }
    }

    pub(super) fn turn(&mut self, turn: &Turn<'_>, ledger: &mut Ledger) -> Result<(), Failure> {
        let (maps, touched) = (turn.process.node.maps(), &turn.process.touched);
        self.lives_once(turn);
        let doubled = &self.doubled;
        let mut writes = touched.writes.iter().filter(|wrote| !doubled.contains(&wrote.replica));
        let bound = turn.machines.get(turn.machine).map_or(0, |m| m.settings.tombstones_max);
        writes.try_for_each(|wrote| self.record.note(turn.machine, wrote, bound, ledger))?;
        self.live_on(turn);
        self.forget(turn);
        let all = self.full_due(turn) || touched.all;
        if touched.own || all {
            sound(turn, maps.check_own())?;
            maps.held_own().try_for_each(|held| self.held(turn, &held, ledger))?;
        }
        if all {
            return self.held_by_all(turn, ledger);
        }
        let mut named = touched.maps.iter();
        named.try_for_each(|(node, topic)| self.held_in(turn, *topic, node, ledger))
    }

    /// Looks at every foreign map, whatever the inputs named.
    fn held_by_all(&mut self, turn: &Turn<'_>, ledger: &mut Ledger) -> Result<(), Failure> {
        let maps = turn.process.node.maps();
        sound(turn, maps.check())?;
        let Some(shadows) = self.shadows.get(turn.machine) else { return Ok(()) };
        let (moved, all_there) = shadows.moved(maps);
        moved.iter().try_for_each(|held| self.held(turn, held, ledger))?;
        let fewer = |shadows: &&mut Shadows| !all_there || shadows.hold_former(maps.local());
        if let Some(shadows) = self.shadows.get_mut(turn.machine).filter(fewer) {
            shadows.retain(|topic, node, incarnation| {
                maps.progress(topic, &Replica { node: node.clone(), incarnation }).is_some()
            });
        }
        lives(turn, maps.held(), ledger)
    }

    /// Looks at the maps of a node in a topic that an input named.
    fn held_in(
        &mut self,
        turn: &Turn<'_>,
        topic: Topic,
        node: &NodeId,
        ledger: &mut Ledger,
    ) -> Result<(), Failure> {
        let maps = turn.process.node.maps();
        sound(turn, maps.check_in(topic, node))?;
        let is_own = *node == maps.local().node;
        let own = maps.held_own().filter(|held| is_own && held.topic == topic);
        let held: Vec<Held<'_>> = own.chain(maps.held_in(topic, node)).collect();
        held.iter().try_for_each(|held| self.held(turn, held, ledger))?;
        if let Some(shadows) = self.shadows.get_mut(turn.machine) {
            shadows.retain_held(topic, node, &held);
        }
        lives(turn, held.into_iter(), ledger)
    }

    /// What the maps of a machine come to: one sum per bucket of a digest, equal where progress is.
    pub fn sums(&self, machine: usize) -> [u64; DIGEST_BUCKETS] {
        self.shadows.get(machine).map_or([0; DIGEST_BUCKETS], |shadows| *shadows.sums())
    }

    /// A life belongs to the machine on which it is lived first.
    fn lives_once(&mut self, turn: &Turn<'_>) {
        let local = turn.process.node.local();
        if self.lives.get(turn.machine).is_some_and(|life| life.as_ref() == Some(local)) {
            return;
        }
        let first = *self.lived.entry(local.clone()).or_insert(turn.machine);
        if first != turn.machine {
            self.doubled.insert(local.clone());
        }
    }

    /// A life that takes over from another has what that had.
    fn live_on(&mut self, turn: &Turn<'_>) {
        let Some(life) = self.lives.get_mut(turn.machine) else { return };
        let local = turn.process.node.local();
        if life.as_ref() == Some(local) {
            return;
        }
        *life = Some(local.clone());
        let held = turn.process.node.maps().held();
        let complete = held.map(|map| ((map.topic, map.replica.clone()), map.progress.complete));
        let complete: BTreeMap<MapId, u64> = complete.collect();
        // What came in this very turn may have come to the former life.
        for life in [local, &turn.process.replica] {
            for (id, complete) in &complete {
                let most = self.reached.entry((life.clone(), id.clone())).or_default();
                *most = (*most).max(*complete);
            }
        }
    }

    /// Who was forgotten may be back in the same turn, even as it was where the bound of fences let its fence go: its
    /// maps begin anew.
    fn forget(&mut self, turn: &Turn<'_>) {
        let Some(shadows) = self.shadows.get_mut(turn.machine) else { return };
        for effect in turn.effects {
            if let Effect::Announce(Announcement::Member(Notice::Forgotten { node, .. })) = effect {
                shadows.retain(|_, owner, _| owner != node);
            }
        }
    }

    fn full_due(&mut self, turn: &Turn<'_>) -> bool {
        let Some(full_in) = self.full_in.get_mut(turn.machine) else { return true };
        let due = *full_in == 0;
        let maps = || u32::try_from(turn.process.node.maps().held().count()).unwrap_or(u32::MAX);
        *full_in = if due { maps().saturating_mul(TURNS_PER_MAP) } else { *full_in - 1 };
        due
    }

    /// One map, which may have moved.
    fn held(
        &mut self,
        turn: &Turn<'_>,
        held: &Held<'_>,
        ledger: &mut Ledger,
    ) -> Result<(), Failure> {
        let shadows = self.shadows.get(turn.machine);
        let former = shadows.and_then(|shadows| shadows.seen(held.topic, held.replica));
        if former == Some(Seen::of(held)) || self.doubled.contains(held.replica) {
            return Ok(());
        }
        let id = (held.topic, held.replica.clone());
        if held.replica == turn.process.node.maps().local() {
            self.own_moved(turn, held, id, ledger)
        } else {
            self.copy_moved(turn, held, id, ledger)
        }
    }

    /// The owner wrote, or raised its floor.
    fn own_moved(
        &mut self,
        turn: &Turn<'_>,
        held: &Held<'_>,
        id: MapId,
        ledger: &mut Ledger,
    ) -> Result<(), Failure> {
        let machine = turn.machine;
        let mut shadow = self.take(machine, &id);
        let before = shadow.seen.progress;
        let differs = self.record.of(&id).difference(held, before.head);
        ledger.hold(Id::RP1, machine, differs.is_none(), || {
            format!("{:?} of {}: {}", id.0, id.1, differs.unwrap_or_default())
        })?;
        let progress = held.progress;
        let falls = progress.head < before.head || progress.floor < before.floor;
        ledger.hold(Id::RP2, machine, !falls && progress.complete <= progress.head, || {
            format!("{:?} {} went from {before:?} to {progress:?}", id.0, id.1)
        })?;
        if progress.floor > before.floor {
            self.floor_rose(turn, held, ledger)?;
            self.record.floor_rose(&id, progress.floor);
        }
        shadow.seen = Seen::of(held);
        self.put(machine, id, shadow);
        Ok(())
    }

    /// RP-7, by what members really had of it in the life in which the owner counts them.
    fn floor_rose(
        &self,
        turn: &Turn<'_>,
        held: &Held<'_>,
        ledger: &mut Ledger,
    ) -> Result<(), Failure> {
        let machine = turn.machine;
        let id = (held.topic, held.replica.clone());
        let floor = held.progress.floor;
        if floor <= self.record.of(&id).floor_by_bound {
            return Ok(()); // The bound raised it.
        }
        let local = &held.replica.node;
        for member in turn.process.node.membership().members().filter(|row| row.node != *local) {
            // Of whom there is news in this very turn, that may have come after the floor.
            let news = turn.effects.iter().any(|effect| match effect {
                Effect::Announce(Announcement::Member(notice)) => subject(notice) == member.node,
                _ => false,
            });
            if news || !matches!(member.state, State::Alive | State::Suspect) {
                continue;
            }
            let life = Replica { node: member.node, incarnation: member.incarnation };
            let reached = (life, id.clone());
            let complete = self.reached.get(&reached).copied().unwrap_or_default();
            let life = reached.0;
            ledger.hold(Id::RP7, machine, floor <= complete, || {
                let what = format!("floor {floor} of {:?} {}", id.0, id.1);
                let bound = self.record.of(&id).floor_by_bound;
                format!(
                    "{what}, but {life} never had more than {complete}, and the bound is {bound}"
                )
            })?;
        }
        Ok(())
    }

    /// A foreign map moved.
    fn copy_moved(
        &mut self,
        turn: &Turn<'_>,
        held: &Held<'_>,
        id: MapId,
        ledger: &mut Ledger,
    ) -> Result<(), Failure> {
        let machine = turn.machine;
        let mut shadow = self.take(machine, &id);
        let written = self.record.of(&id);
        let look = Look { machine, id: &id, written, held };
        look.progress(&shadow, ledger)?;
        let Renewed { now, fresh, missing } =
            Renewed::of(std::mem::take(&mut shadow.entries), held);
        look.appeared(&mut shadow, &fresh, ledger)?;
        look.vanished(&missing, &now, ledger)?;
        look.complete(&shadow, &now, ledger)?;
        let bound = turn.machines.get(machine).map_or(0, |m| m.settings.tombstones_max);
        look.size(bound, ledger)?;
        let progress = held.progress;
        let reached = (turn.process.node.local().clone(), id.clone());
        let most = self.reached.entry(reached).or_default();
        *most = progress.complete.max(*most);
        if progress.complete == progress.head && held.sizes().2 == 0 && !held.sweeping {
            shadow.level = shadow.level.max(progress.head);
        }
        shadow.entries = now;
        shadow.seen = Seen::of(held);
        self.put(machine, id, shadow);
        Ok(())
    }

    fn take(&mut self, machine: usize, id: &MapId) -> Shadow {
        let shadows = self.shadows.get_mut(machine);
        shadows.map(|shadows| shadows.take(id)).unwrap_or_default()
    }

    fn put(&mut self, machine: usize, id: MapId, shadow: Shadow) {
        if let Some(shadows) = self.shadows.get_mut(machine) {
            shadows.put(id, shadow);
        }
    }

    /// RP-10: at quiescence the maps of everybody in `core` are equal at everybody in `core`.
    pub fn quiet(
        &self,
        core: &[usize],
        machines: &[Machine],
        ledger: &mut Ledger,
    ) -> Result<(), Failure> {
        let running = |index: &usize| {
            let machine = machines.get(*index)?;
            machine.process.as_ref().map(|process| (*index, process))
        };
        let core: Vec<_> = core.iter().filter_map(running).collect();
        for (_, owner) in &core {
            for (reader, process) in &core {
                for topic in Topic::ALL {
                    let difference = difference(topic, owner, process);
                    ledger.hold(Id::RP10, *reader, difference.is_none(), || {
                        format!(
                            "{topic:?} of {}: {}",
                            owner.replica,
                            difference.unwrap_or_default()
                        )
                    })?;
                }
            }
        }
        Ok(())
    }
}

use crate::world::machine::Process;

/// In what way `reader` does not hold `owner`'s map as `owner` does.
fn difference(topic: Topic, owner: &Process, reader: &Process) -> Option<String> {
    let is_it = |held: &Held<'_>| held.topic == topic && *held.replica == owner.replica;
    let Some(own) = owner.node.maps().held_own().find(is_it) else {
        return Some("the owner has none".to_owned());
    };
    let maps = reader.node.maps();
    let foreign = maps.held_of(&owner.replica.node);
    let Some(copy) = maps.held_own().chain(foreign).find(is_it) else {
        return Some("not held".to_owned());
    };
    let (progress, theirs) = (own.progress, copy.progress);
    let (sizes, held) = (own.sizes(), copy.sizes());
    if sizes.1 > 0 || held.1 > 0 || held.2 > 0 {
        return Some(format!("(live, tombstones, doubtful) {sizes:?} at the owner, {held:?} here"));
    }
    if theirs.complete != progress.head || entries_of(&own) != entries_of(&copy) {
        return Some(format!("{progress:?} at the owner, {theirs:?} here"));
    }
    None
}

/// What a node says of its own maps, as a promise that is kept or not.
fn sound(turn: &Turn<'_>, checked: Result<(), String>) -> Result<(), Failure> {
    checked.map_err(|message| confessed(turn.machine, message))
}

/// RP-6: which lives have maps.
fn lives<'a>(
    turn: &Turn<'_>,
    maps: impl Iterator<Item = Held<'a>>,
    ledger: &mut Ledger,
) -> Result<(), Failure> {
    let node = &turn.process.node;
    let mut last: Option<(Topic, &Replica)> = None;
    for held in maps {
        let fence = node.membership().fence(&held.replica.node);
        let fenced = fence.is_some_and(|fence| held.replica.incarnation <= fence);
        let fenced = fenced && held.replica != node.local();
        ledger.hold(Id::RP6, turn.machine, !fenced, || {
            format!("{:?} of {} is held, whose fence is {fence:?}", held.topic, held.replica)
        })?;
        if !held.shown {
            continue;
        }
        let twice = last.is_some_and(|(topic, replica)| {
            topic == held.topic && replica.node == held.replica.node
        });
        ledger.hold(Id::RP6, turn.machine, !twice, || {
            format!("two lives of {} are in view in {:?}", held.replica.node, held.topic)
        })?;
        last = Some((held.topic, held.replica));
    }
    Ok(())
}

fn entries_of(held: &Held<'_>) -> Vec<(u64, Key, Option<Blob>)> {
    held.entries(0).map(|entry| (entry.sequence, entry.key.clone(), entry.value.cloned())).collect()
}

/// One moved copy beside what is known of it.
struct Look<'a> {
    machine: usize,
    id: &'a MapId,
    written: &'a Written,
    held: &'a Held<'a>,
}

impl Look<'_> {
    fn name(&self) -> String {
        format!("{:?} of {}", self.id.0, self.id.1)
    }

    /// RP-2.
    fn progress(&self, shadow: &Shadow, ledger: &mut Ledger) -> Result<(), Failure> {
        let (before, after) = (shadow.seen.progress, self.held.progress);
        let falls = after.head < before.head || after.floor < before.floor;
        let back = after.complete < before.complete && !self.held.sweeping;
        let legal = after.complete <= after.head && !falls && !back;
        ledger.hold(Id::RP2, self.machine, legal, || {
            format!("{} went from {before:?} to {after:?}", self.name())
        })
    }

    /// RP-1, RP-3 and RP-5 for entries that were not held before.
    fn appeared(
        &self,
        shadow: &mut Shadow,
        fresh: &[HeldEntry<'_>],
        ledger: &mut Ledger,
    ) -> Result<(), Failure> {
        for entry in fresh {
            let written = self.written.writes.get(&entry.sequence);
            ledger.hold(Id::RP5, self.machine, written.is_some(), || {
                format!(
                    "{} holds `{}` at {}, which was never written",
                    self.name(),
                    entry.key,
                    entry.sequence
                )
            })?;
            let same = written
                .is_some_and(|(key, value)| key == entry.key && value.as_ref() == entry.value);
            ledger.hold(Id::RP1, self.machine, same, || {
                format!(
                    "{} holds `{}` at {}, where the owner wrote {written:?}",
                    self.name(),
                    entry.key,
                    entry.sequence
                )
            })?;
            if entry.value.is_none() {
                continue;
            }
            let last = shadow.shown.get(entry.key).copied().unwrap_or_default();
            let level = shadow.level;
            ledger.hold(
                Id::RP3,
                self.machine,
                entry.sequence > last && entry.sequence > level,
                || {
                    format!(
                        "{} shows `{}` at {} again: it showed {last}, and was level at {level}",
                        self.name(),
                        entry.key,
                        entry.sequence
                    )
                },
            )?;
            shadow.shown.insert(entry.key.clone(), entry.sequence);
        }
        Ok(())
    }

    /// RP-4 for values that were visible before.
    fn vanished(&self, missing: &[Kept], now: &[Kept], ledger: &mut Ledger) -> Result<(), Failure> {
        for kept in missing {
            let replaced = now.iter().any(|other| other.live && other.key == kept.key);
            let newest = self.written.newest.get(&kept.key).copied();
            let throughout =
                newest.and_then(|(_, since)| since).is_some_and(|since| since <= kept.sequence);
            ledger.hold(Id::RP4, self.machine, replaced || !throughout, || {
                format!(
                    "{} lost `{}` of {}, which lives all the time",
                    self.name(),
                    kept.key,
                    kept.sequence
                )
            })?;
        }
        Ok(())
    }

    /// RP-1 for what became complete: the owner's newest writes there are held exactly.
    fn complete(&self, shadow: &Shadow, now: &[Kept], ledger: &mut Ledger) -> Result<(), Failure> {
        let upto = self.held.progress.complete;
        let before = shadow.seen.progress.complete;
        let from = if upto < before { 0 } else { before };
        for (sequence, key) in self.written.current.range(from + 1..=upto.max(from + 1)) {
            if *sequence > upto {
                break;
            }
            let alive = self.written.newest.get(key).is_some_and(|(_, since)| since.is_some());
            let place = now.binary_search_by_key(sequence, |kept| kept.sequence).ok();
            let held = place.and_then(|place| now.get(place));
            let legal = match held {
                // A tombstone may be in doubt: whoever served had dropped it under a floor.
                Some(kept) => kept.live == alive && !(alive && kept.doubtful),
                None => {
                    !alive
                        && !now.iter().any(|kept| kept.key == *key && kept.live && !kept.doubtful)
                }
            };
            ledger.hold(Id::RP1, self.machine, legal, || {
                let what = if alive { "wrote" } else { "deleted" };
                format!("{} is complete through {upto}; the owner {what} `{key}` at {sequence}, here it is {held:?}", self.name())
            })?;
        }
        Ok(())
    }

    /// RP-13.
    fn size(&self, bound: usize, ledger: &mut Ledger) -> Result<(), Failure> {
        let (live, tombstones, doubtful) = self.held.sizes();
        let most = bound.max(1) + if self.held.sweeping { bound } else { 0 };
        ledger.hold(Id::RP13, self.machine, tombstones <= most, || {
            format!("{} holds {live} values, {tombstones} tombstones, {doubtful} doubtful; the bound is {bound}", self.name())
        })
    }
}

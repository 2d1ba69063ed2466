//! Target `owner_map`: three nodes that write, restart, take up new lives, and hear of each other in any
//! order, in pieces, late and twice.
//!
//! The record of what every life wrote is kept beside; what a node holds is compared with it after every
//! step, and at the end, when everybody has heard everything, all must hold the same.

use std::collections::BTreeMap;
use std::time::Duration;

use quorate_core::ids::{Incarnation, NodeId, Notice, Replica};
use quorate_core::machine::Machine as _;
use quorate_core::node::replica::{Held, Input, Maps, Registration, Settings};
use quorate_core::time::Instant;
use quorate_core::wire::segment::{Entry, Key, Segment, Topic};
use quorate_core::wire::{Blob, Transport};

use crate::material::Material;

const NODES: usize = 3;
const STEPS_MAX: usize = 300;
const LATE_MAX: usize = 64;
const TOPIC: Topic = Topic::WORKERS;

/// What was seen of one map at one node.
#[derive(Default)]
struct Seen {
    head: u64,
    floor: u64,
    /// The newest place of each key that was ever held.
    newest: BTreeMap<Key, u64>,
}

struct World {
    now: Instant,
    maps: Vec<Maps>,
    lives: Vec<u64>,
    /// Every write of every life, by its place.
    written: BTreeMap<(Replica, u64), Entry>,
    seen: BTreeMap<(usize, Replica), Seen>,
    late: Vec<Segment>,
    tombstones_max: usize,
}

/// Any bytes are steps of three nodes.
pub fn typed(input: &[u8]) {
    let mut material = Material::new(input);
    let tombstones_max = [1, 2, 3, 1000].get(material.below(4)).copied().unwrap_or(1);
    let mut world = World::new(tombstones_max);
    for _ in 0..STEPS_MAX {
        if material.is_empty() {
            break;
        }
        world.step(&mut material);
    }
    world.end();
}

fn node(index: usize) -> NodeId {
    format!("n{index}").parse().expect("a letter and a digit")
}

impl World {
    fn new(tombstones_max: usize) -> World {
        let mut world = World {
            now: Instant::ZERO,
            maps: Vec::new(),
            lives: vec![1; NODES],
            written: BTreeMap::new(),
            seen: BTreeMap::new(),
            late: Vec::new(),
            tombstones_max,
        };
        for index in 0..NODES {
            world.maps.push(world.fresh(index));
        }
        for index in 0..NODES {
            world.meet_others(index);
        }
        world
    }

    fn life(&self, index: usize) -> Replica {
        let incarnation = self.lives.get(index).copied().expect("a node");
        Replica { node: node(index), incarnation: Incarnation(incarnation) }
    }

    fn fresh(&self, index: usize) -> Maps {
        let check = |_: &Replica, _: &Key, _: Option<&Blob>| Ok(());
        let registration =
            Registration { topic: TOPIC, check, entries_max: 100, dies_with_process: false };
        let ready_timeout = Duration::from_secs(5);
        let settings =
            Settings { tombstones_max: self.tombstones_max, fences_max: 100, ready_timeout };
        Maps::new(self.life(index), vec![registration], settings)
    }

    fn meet_others(&mut self, index: usize) {
        for other in (0..NODES).filter(|other| *other != index) {
            let notice = up(self.life(other));
            self.hand(index, Input::Notice(notice));
        }
    }

    fn hand(&mut self, index: usize, input: Input) {
        let maps = self.maps.get_mut(index).expect("a node");
        maps.handle(self.now, input, &mut Vec::new());
        for wrote in maps.take_touched().writes {
            let place = (wrote.replica, wrote.entry.sequence);
            let former = self.written.insert(place, wrote.entry);
            assert!(former.is_none(), "RP-12: a sequence was given twice");
        }
    }

    fn step(&mut self, material: &mut Material<'_>) {
        let (what, one, other) = (material.below(16), material.below(NODES), material.below(NODES));
        match what {
            0..=4 => self.write(one, material),
            5..=7 => self.pull(one, other, material.below(NODES), material),
            8 => self.cut(one, other, material),
            9 => self.arrive_late(one, material.below(LATE_MAX)),
            10 => self.acknowledge(one, other),
            11 => self.tell_floor(one, other),
            12 => self.wait(material.below(8) as u64),
            13 => self.hand(one, Input::Ready { topic: TOPIC }),
            14 => self.restart(one),
            _ => self.raise(one),
        }
        self.look();
    }

    fn write(&mut self, index: usize, material: &mut Material<'_>) {
        let key = Key::from(["a", "b", "c", "d"].get(material.below(4)).copied().unwrap_or("a"));
        let byte = material.byte();
        let value =
            (!byte.is_multiple_of(3)).then(|| Blob::from(vec![byte; usize::from(byte) % 40]));
        self.hand(index, Input::Write { topic: TOPIC, key, value });
    }

    /// `to` asks `from` for what it lacks of the map of `owner`.
    fn pull(&mut self, to: usize, from: usize, owner: usize, material: &mut Material<'_>) {
        let life = self.life(owner);
        let complete = self.complete(to, &life);
        let budget = [60, 100, 4000].get(material.below(3)).copied().unwrap_or(4000);
        self.deliver(from, to, &life, (complete, u64::MAX), budget);
    }

    fn cut(&mut self, owner: usize, to: usize, material: &mut Material<'_>) {
        let (from, span) = (material.byte(), material.byte());
        let life = self.life(owner);
        let source = material.below(NODES);
        let interval = (u64::from(from % 32), u64::from(from % 32) + u64::from(span % 16));
        self.deliver(source, to, &life, interval, 4000);
    }

    fn deliver(
        &mut self,
        from: usize,
        to: usize,
        life: &Replica,
        interval: (u64, u64),
        budget: usize,
    ) {
        let maps = self.maps.get(from).expect("a node");
        let segment = maps.segment(TOPIC, life, interval.0, interval.1, budget);
        let Some(segment) = segment else { return };
        if self.late.len() < LATE_MAX {
            self.late.push(segment.clone());
        }
        let from = node(from);
        self.hand(to, Input::Segment { from, transport: Transport::Link, segment });
    }

    fn arrive_late(&mut self, to: usize, number: usize) {
        let Some(segment) = self.late.get(number).cloned() else { return };
        let from = node((to + 1) % NODES);
        self.hand(to, Input::Segment { from, transport: Transport::Datagram, segment });
    }

    fn complete(&self, index: usize, life: &Replica) -> u64 {
        let maps = self.maps.get(index).expect("a node");
        maps.progress(TOPIC, life).map_or(0, |progress| progress.complete)
    }

    fn acknowledge(&mut self, peer: usize, owner: usize) {
        let (peer_life, replica) = (self.life(peer), self.life(owner));
        if peer != owner {
            let complete = self.complete(peer, &replica);
            let peer = peer_life;
            self.hand(owner, Input::Acknowledged { peer, topic: TOPIC, replica, complete });
        }
    }

    fn tell_floor(&mut self, owner: usize, to: usize) {
        let life = self.life(owner);
        let maps = self.maps.get(owner).expect("a node");
        let floor = maps.progress(TOPIC, &life).map_or(0, |progress| progress.floor);
        self.hand(to, Input::Floor { owner: life, topic: TOPIC, floor });
    }

    fn wait(&mut self, seconds: u64) {
        self.now = self.now + Duration::from_secs(seconds);
        for index in 0..NODES {
            self.hand(index, Input::Tick);
        }
    }

    /// A new process with nothing, in a life of its own.
    fn restart(&mut self, index: usize) {
        self.next_life(index);
        let fresh = self.fresh(index);
        *self.maps.get_mut(index).expect("a node") = fresh;
        self.seen.retain(|(viewer, _), _| *viewer != index);
        self.meet_others(index);
        self.tell_of(index);
    }

    /// The same process in a new life: everything is written anew.
    fn raise(&mut self, index: usize) {
        self.next_life(index);
        let replica = self.life(index);
        self.hand(index, Input::Raised { replica });
        self.tell_of(index);
    }

    fn next_life(&mut self, index: usize) {
        *self.lives.get_mut(index).expect("a node") += 1;
    }

    fn tell_of(&mut self, index: usize) {
        let notice = up(self.life(index));
        for other in (0..NODES).filter(|other| *other != index) {
            self.hand(other, Input::Notice(notice.clone()));
        }
    }

    /// Every law, on everything that is held.
    fn look(&mut self) {
        for (index, maps) in self.maps.iter().enumerate() {
            maps.check().expect("what one node can see of the laws");
            for held in maps.held() {
                let seen = self.seen.entry((index, held.replica.clone())).or_default();
                look_at(&held, seen, &self.written);
            }
        }
    }

    /// Everybody hears everything of its owner.
    fn end(&mut self) {
        for (owner, to) in (0..NODES).flat_map(|owner| (0..NODES).map(move |to| (owner, to))) {
            if owner == to {
                continue;
            }
            let life = self.life(owner);
            for _ in 0..2000 {
                let complete = self.complete(to, &life);
                self.deliver(owner, to, &life, (complete, u64::MAX), 4000);
            }
            self.look();
            let told = |index: usize| {
                let maps = self.maps.get(index).expect("a node");
                let held = maps.held().find(|held| *held.replica == life);
                let entries = held.iter().flat_map(|held| held.entries(0));
                let live = entries.filter(|entry| entry.value.is_some());
                live.map(|entry| (entry.sequence, entry.doubtful)).collect::<Vec<_>>()
            };
            assert_eq!(told(to), told(owner), "RP-10: {life} as n{to} holds it, and as it is");
        }
    }
}

fn look_at(held: &Held<'_>, seen: &mut Seen, written: &BTreeMap<(Replica, u64), Entry>) {
    let (replica, progress) = (held.replica, held.progress);
    assert!(progress.complete <= progress.head, "RP-2: complete beyond head of {replica}");
    assert!(seen.head <= progress.head && seen.floor <= progress.floor, "RP-2: {replica} fell");
    (seen.head, seen.floor) = (progress.head, progress.floor);
    for entry in held.entries(0) {
        let wrote = written.get(&(replica.clone(), entry.sequence));
        let same = wrote
            .is_some_and(|wrote| wrote.key == *entry.key && wrote.value.as_ref() == entry.value);
        assert!(same, "RP-5: {replica} never wrote what is held at {}", entry.sequence);
        let newest = seen.newest.entry(entry.key.clone()).or_default();
        assert!(*newest <= entry.sequence, "RP-3: `{}` of {replica} returned", entry.key);
        *newest = entry.sequence;
    }
    if !held.sweeping {
        certain(held, written);
    }
}

/// RP-1: through `complete`, what is certain is the newest that the owner wrote, and all of it.
fn certain(held: &Held<'_>, written: &BTreeMap<(Replica, u64), Entry>) {
    let (replica, complete) = (held.replica, held.progress.complete);
    let all = (replica.clone(), 0)..=(replica.clone(), u64::MAX);
    let mut newest: BTreeMap<&Key, (u64, bool)> = BTreeMap::new();
    for ((_, sequence), entry) in written.range(all) {
        newest.insert(&entry.key, (*sequence, entry.value.is_some()));
    }
    let entries: BTreeMap<&Key, u64> =
        held.entries(0).map(|entry| (entry.key, entry.sequence)).collect();
    for (key, (sequence, live)) in newest {
        let missing = live && sequence <= complete && entries.get(key) != Some(&sequence);
        assert!(!missing, "RP-1: `{key}` of {replica} at {sequence} is not held");
    }
}

fn up(replica: Replica) -> Notice {
    let born = replica.incarnation;
    Notice::Up { replica, born, address: ([127, 0, 0, 1], 1).into() }
}

#[cfg(test)]
mod tests {
    use crate::{replay, search};

    #[test]
    fn seeds() {
        replay::every_file("owner_map", super::typed);
    }

    #[test]
    fn search_steps() {
        search::few("owner_map");
    }
}

//! §6: one owner, up to five receivers, every kind of loss, repetition, reorder and cut.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::super::copy::{Bounds, Copy};
use super::*;

const TOPIC: Topic = Topic::FACTS;
const ROOMY: Bounds = Bounds { tombstones_max: usize::MAX, doubtful_max: usize::MAX };

#[derive(Debug, Clone)]
enum Op {
    Write {
        key: u8,
        live: bool,
    },
    /// `producer` cuts an interval of what it has; it is delivered now, or kept for later.
    Cut {
        producer: usize,
        receiver: usize,
        from: u64,
        span: u64,
        budget: usize,
        now: bool,
    },
    /// `receiver` asks `producer` for what it lacks.
    Pull {
        producer: usize,
        receiver: usize,
        budget: usize,
    },
    /// Something that was on its way arrives, perhaps not for the first time.
    Late {
        item: usize,
        receiver: usize,
    },
    Acknowledge {
        receiver: usize,
    },
    TellFloor {
        receiver: usize,
    },
    Second,
}

fn op() -> impl Strategy<Value = Op> {
    let node = 0_usize..6;
    let budget = prop_oneof![Just(60_usize), Just(100), Just(4000)];
    prop_oneof![
        6 => (0_u8..12, prop::bool::weighted(0.6)).prop_map(|(key, live)| Op::Write { key, live }),
        3 => (node.clone(), node.clone(), 0_u64..200, 1_u64..80, budget.clone(), any::<bool>())
            .prop_map(|(producer, receiver, from, span, budget, now)| Op::Cut {
                producer, receiver, from, span, budget, now
            }),
        6 => (node.clone(), node.clone(), budget)
            .prop_map(|(producer, receiver, budget)| Op::Pull { producer, receiver, budget }),
        2 => (0_usize..64, node.clone()).prop_map(|(item, receiver)| Op::Late { item, receiver }),
        2 => node.clone().prop_map(|receiver| Op::Acknowledge { receiver }),
        1 => node.prop_map(|receiver| Op::TellFloor { receiver }),
        1 => Just(Op::Second),
    ]
}

/// What a receiver was seen to show, by key: the sequence.
type Shown = BTreeMap<Key, u64>;

struct Receiver {
    maps: Maps,
    /// The fold of every `Changed`.
    folded: BTreeMap<Key, Blob>,
    before: Option<Copy>,
    shown: Shown,
    /// The highest sequence that ever showed, by key.
    highest: Shown,
    /// The owner's highest head with which it was level.
    level: u64,
}

struct World {
    now: Instant,
    /// Position 0 is the owner.
    owner: Maps,
    receivers: Vec<Receiver>,
    /// Every write ever: key and value by sequence, from 1.
    history: Vec<(Key, Option<Blob>)>,
    wire: Vec<Segment>,
    /// What each receiver told the owner last.
    acknowledged: Vec<u64>,
    /// The owner's floor and how often the bound raised it, before the last step.
    floored: (u64, u64),
}

impl World {
    fn new(receivers: usize, owner_max: usize, receivers_max: &[usize]) -> World {
        let settings = |tombstones_max| Settings {
            tombstones_max,
            fences_max: 100,
            ready_timeout: Duration::from_secs(60),
        };
        let maps = |node: usize, tombstones_max| {
            let local = replica(&format!("n{node}/1"));
            let mut maps =
                Maps::new(local, vec![registration(TOPIC, 1000, false)], settings(tombstones_max));
            for other in (0..=receivers).filter(|other| *other != node) {
                let notice = up(replica(&format!("n{other}/1")), Incarnation(1));
                maps.handle(Instant::ZERO, Input::Notice(notice), &mut Vec::new());
            }
            maps
        };
        let count = receivers;
        let receivers = (1..=receivers).map(|node| Receiver {
            maps: maps(node, *receivers_max.get(node - 1).unwrap_or(&100)),
            folded: BTreeMap::new(),
            before: None,
            shown: Shown::new(),
            highest: Shown::new(),
            level: 0,
        });
        World {
            now: Instant::ZERO,
            receivers: receivers.collect(),
            owner: maps(0, owner_max),
            history: Vec::new(),
            wire: Vec::new(),
            acknowledged: vec![0; count],
            floored: (0, 0),
        }
    }

    fn owner_replica(&self) -> Replica {
        self.owner.local().clone()
    }

    fn step(&mut self, op: &Op) {
        let count = self.receivers.len();
        match *op {
            Op::Write { key, live } => self.write(key, live),
            Op::Cut { producer, receiver, from, span, budget, now } => {
                let producer = self.maps(producer % (count + 1));
                let owner = self.owner.local();
                let Some(cut) = producer.segment(TOPIC, owner, from, from + span, budget) else {
                    return;
                };
                self.wire.push(cut.clone());
                if now {
                    self.deliver(receiver % count, cut);
                }
            }
            Op::Pull { producer, receiver, budget } => {
                self.pull(producer % (count + 1), receiver % count, budget);
            }
            Op::Late { item, receiver } => {
                if let Some(item) = self.wire.len().checked_sub(1).map(|last| item.min(last)) {
                    self.deliver(receiver % count, self.wire[item].clone());
                }
            }
            Op::Acknowledge { receiver } => self.acknowledge(receiver % count),
            Op::TellFloor { receiver } => {
                let floor = self.owner.progress(TOPIC, self.owner.local()).expect("our own").floor;
                let owner = self.owner_replica();
                self.hand(receiver % count, Input::Floor { owner, topic: TOPIC, floor });
            }
            Op::Second => {
                self.now = self.now + Duration::from_secs(1);
                self.owner.handle(self.now, Input::Tick, &mut Vec::new());
            }
        }
        self.check();
    }

    fn maps(&self, position: usize) -> &Maps {
        match position {
            0 => &self.owner,
            position => &self.receivers[position - 1].maps,
        }
    }

    fn copy(&self, receiver: usize) -> &Copy {
        self.receivers[receiver].maps.copy(TOPIC, self.owner.local()).expect("a known replica")
    }

    fn write(&mut self, key: u8, live: bool) {
        let key = Key::from(format!("k{key}"));
        let value = live.then(|| Blob::from(format!("v{}", self.history.len() + 1).as_str()));
        let mut out = Vec::new();
        let input = Input::Write { topic: TOPIC, key: key.clone(), value: value.clone() };
        self.owner.handle(self.now, input, &mut out);
        for output in out {
            if let Output::Written { from, upto, .. } = output {
                assert_eq!((from, upto), (self.history.len() as u64, from + 1), "RP-12");
                self.history.push((key.clone(), value.clone()));
            }
        }
    }

    fn pull(&mut self, producer: usize, receiver: usize, budget: usize) {
        let from = self.copy(receiver).progress().complete;
        let owner = self.owner.local();
        let cut = self.maps(producer).segment(TOPIC, owner, from, u64::MAX, budget);
        if let Some(cut) = cut {
            self.wire.push(cut.clone());
            self.deliver(receiver, cut);
        }
    }

    fn acknowledge(&mut self, receiver: usize) {
        let owner = self.owner_replica();
        let known = self.receivers[receiver].maps.acknowledgements_for(&owner);
        let peer = self.receivers[receiver].maps.local().clone();
        for (topic, complete) in known {
            self.acknowledged[receiver] = complete;
            let (peer, replica) = (peer.clone(), owner.clone());
            let input = Input::Acknowledged { peer, topic, replica, complete };
            self.owner.handle(self.now, input, &mut Vec::new());
        }
    }

    fn deliver(&mut self, receiver: usize, segment: Segment) {
        let bytes = crate::wire::encode(&segment).len();
        assert_eq!(bytes, segment.encoded_bytes());
        self.split_is_whole(receiver, &segment);
        let from = "n9".parse().expect("a node id");
        self.hand(receiver, Input::Segment { from, transport: Transport::Link, segment });
    }

    fn hand(&mut self, receiver: usize, input: Input) {
        let mut out = Vec::new();
        let receiver = &mut self.receivers[receiver];
        receiver.maps.handle(self.now, input, &mut out);
        for output in out {
            if let Output::Misbehaved { what, .. } = output {
                panic!("an honest segment was refused: {what}");
            }
            let Output::Changed { key, value, .. } = output else { continue };
            let former = match value.clone() {
                Some(value) => receiver.folded.insert(key, value),
                None => receiver.folded.remove(&key),
            };
            assert_ne!(former, value, "equal contents produce no event");
        }
    }

    /// Splitting anywhere and applying the halves equals applying the whole; twice equals once.
    fn split_is_whole(&self, receiver: usize, segment: &Segment) {
        let mut whole = self.copy(receiver).clone();
        whole.merge(segment, ROOMY);
        let mut twice = whole.clone();
        let again = twice.merge(segment, ROOMY);
        assert_eq!(again.changes, [], "applying twice changes nothing");
        assert_eq!(twice, whole, "twice equals once");
        for at in segment.from..=segment.upto {
            let mut halves = self.copy(receiver).clone();
            let cut = segment.entries.partition_point(|entry| entry.sequence <= at);
            let (low, high) = segment.entries.split_at(cut);
            let part = |from, upto, entries: &[crate::wire::segment::Entry]| Segment {
                from,
                upto,
                entries: entries.to_vec().into(),
                ..segment.clone()
            };
            halves.merge(&part(segment.from, at, low), ROOMY);
            halves.merge(&part(at, segment.upto, high), ROOMY);
            assert_eq!(halves, whole, "cut at {at}");
        }
    }

    fn check(&mut self) {
        self.owner.check().expect("the owner's maps are sound");
        let head = self.owner.progress(TOPIC, self.owner.local()).expect("our own").head;
        assert_eq!(head, self.history.len() as u64);
        let own = &self.owner.rooms[&TOPIC];
        let floored = (own.own.progress().floor, own.counts.raises_bound);
        if floored.0 > self.floored.0 && floored.1 == self.floored.1 {
            let least = self.acknowledged.iter().min().expect("there are receivers");
            assert!(floored.0 <= *least, "RP-7: floor {} above {least}", floored.0);
        }
        self.floored = floored;
        for position in 0..self.receivers.len() {
            self.check_receiver(position);
        }
    }

    fn check_receiver(&mut self, position: usize) {
        let copy = self.copy(position).clone();
        let receiver = &mut self.receivers[position];
        receiver.maps.check().expect("the receiver's maps are sound");
        let (entries, progress) = (copy.entries(), copy.progress());

        // RP-1 and RP-5.
        let certain: BTreeSet<u64> = entries.certain(0, u64::MAX).map(|e| e.sequence).collect();
        let mut held = Shown::new();
        for (place, key) in entries.places(0, u64::MAX) {
            let (written, value) = &self.history[usize::try_from(place).expect("small") - 1];
            assert_eq!((written, value.as_ref()), (key, entries.value(key)), "RP-5 at {place}");
            let newest = newest(&self.history, key, u64::MAX).expect("it was written");
            let beyond = newest == place || newest > progress.complete;
            assert!(beyond || !certain.contains(&place), "RP-1: {key}@{place} is not the newest");
            if value.is_some() {
                held.insert(key.clone(), place);
            }
        }
        let own = self.owner.rooms[&TOPIC].own.entries();
        for entry in own.certain(0, progress.complete).filter(|entry| entry.value.is_some()) {
            assert!(entries.holds(&entry), "RP-1: {entry:?} is missing");
            assert!(certain.contains(&entry.sequence), "RP-1: {entry:?} is in doubt");
        }

        // RP-2.
        if let Some(before) = &receiver.before {
            let former = before.progress();
            assert!(progress.complete <= progress.head && former.head <= progress.head, "RP-2");
            assert!(former.floor <= progress.floor && before.seen() <= copy.seen(), "RP-2");
            let fell = progress.complete < former.complete;
            assert!(!fell || progress.floor > former.floor, "RP-2: complete fell without a sweep");
        }

        // RP-3.
        if copy.is_level() {
            receiver.level = receiver.level.max(progress.complete);
        }
        for (key, place) in &held {
            let highest = receiver.highest.entry(key.clone()).or_default();
            assert!(*place >= *highest, "RP-3: {key} fell from {highest} to {place}");
            *highest = *place;
            let at_level = newest(&self.history, key, receiver.level);
            let lived = *place > receiver.level || at_level == Some(*place);
            assert!(lived, "RP-3: {key}@{place} was dead at {}", receiver.level);
        }

        // RP-4.
        for (key, place) in &receiver.shown {
            let later = self.history.iter().enumerate().skip(usize::try_from(*place).expect("s"));
            let mut later = later.filter(|(_, (written, _))| written == key);
            let deleted = later.any(|(_, (_, value))| value.is_none());
            assert!(deleted || held.contains_key(key), "RP-4: {key} was always live and is gone");
        }

        let visible = receiver.maps.visible(TOPIC, &self.owner.local().node);
        let visible: BTreeMap<Key, Blob> = visible.map(|(k, v)| (k.clone(), v.clone())).collect();
        assert_eq!(visible, receiver.folded, "the fold of changes is the view");
        receiver.shown = held;
        receiver.before = Some(copy);
    }

    /// Everybody gets what is missing, in pieces, in an order that `order` chooses.
    fn converge(&mut self, order: &[usize]) {
        let count = self.receivers.len();
        for (turn, choice) in order.iter().enumerate() {
            self.pull(choice % (count + 1), turn % count, 60);
            self.check();
        }
        for receiver in 0..count {
            // A sweep may begin with the first of these; each then brings at least one entry nearer.
            for _ in 0..=2 * self.history.len() {
                self.pull(0, receiver, 100);
            }
            self.check();
        }
        let own = self.owner.visible(TOPIC, &self.owner.local().node);
        let own: BTreeMap<Key, Blob> = own.map(|(k, v)| (k.clone(), v.clone())).collect();
        for receiver in 0..count {
            let copy = self.copy(receiver);
            assert!(copy.is_level(), "{:?} is not level", copy.progress());
            assert_eq!(copy.progress().complete, self.history.len() as u64);
            assert_eq!(self.receivers[receiver].folded, own);
        }
    }
}

/// The newest write of `key` at or below `upto`.
fn newest(history: &[(Key, Option<Blob>)], key: &str, upto: u64) -> Option<u64> {
    let known = history.len().min(usize::try_from(upto).unwrap_or(usize::MAX));
    let position = history[..known].iter().rposition(|(written, _)| &**written == key)?;
    Some(position as u64 + 1)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn nothing_resurrects_nothing_vanishes_and_all_converge(
        receivers in 1_usize..=5,
        owner_max in prop_oneof![Just(0_usize), Just(2), Just(4), Just(100)],
        receivers_max in prop::collection::vec(prop_oneof![Just(1_usize), Just(4), Just(100)], 5),
        ops in prop::collection::vec(op(), 1..400),
        order in prop::collection::vec(0_usize..6, 0..60),
    ) {
        let mut world = World::new(receivers, owner_max, &receivers_max);
        for op in &ops {
            if world.history.len() == 200 && matches!(op, Op::Write { .. }) {
                continue;
            }
            world.step(op);
        }
        world.converge(&order);
    }

    #[test]
    fn missing_intervals_in_any_order_end_with_the_owner(
        writes in prop::collection::vec((0_u8..12, prop::bool::weighted(0.7)), 1..60),
        held in 0_usize..30,
        owner_max in prop_oneof![Just(0_usize), Just(100)],
        shuffle in any::<u64>(),
    ) {
        let mut world = World::new(1, owner_max, &[100]);
        for (position, (key, live)) in writes.iter().enumerate() {
            world.write(*key, *live);
            if position == held {
                world.pull(0, 0, 4000);
            }
        }
        let mut pieces = Vec::new();
        let mut from = 0;
        while let Some(piece) = world.owner.segment(TOPIC, world.owner.local(), from, u64::MAX, 60) {
            from = piece.upto;
            pieces.push(piece);
        }
        crate::random::Rng::from_number(shuffle).shuffle(&mut pieces);
        for _ in 0..=pieces.len() {
            for piece in pieces.clone() {
                world.deliver(0, piece);
                world.check();
            }
        }
        world.converge(&[]);
    }
}

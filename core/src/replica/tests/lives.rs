//! RP-3, RP-5 and RP-6 across lives: restarts, raises, false deaths, fences, in any order.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::ids::Reason;

const TOPIC: Topic = Topic::FACTS;

#[derive(Debug, Clone)]
enum Op {
    Write {
        key: u8,
        live: bool,
    },
    Ready,
    /// The owner begins a new life: the same process, or a new one that writes the same keys again.
    Raise,
    Restart,
    /// The observer pulls the owner's map of some life, whole or in a piece.
    Pull {
        back: u64,
        budget: usize,
    },
    /// The observer hears of the owner's newest life, or of what became of one.
    Notice {
        kind: u8,
        back: u64,
    },
    Later {
        seconds: u64,
    },
    Slept,
}

fn op() -> impl Strategy<Value = Op> {
    let budget = prop_oneof![Just(60_usize), Just(4000)];
    prop_oneof![
        6 => (0_u8..5, prop::bool::weighted(0.7)).prop_map(|(key, live)| Op::Write { key, live }),
        2 => Just(Op::Ready),
        1 => Just(Op::Raise),
        1 => Just(Op::Restart),
        8 => (0_u64..3, budget).prop_map(|(back, budget)| Op::Pull { back, budget }),
        4 => (0_u8..10, 0_u64..3).prop_map(|(kind, back)| Op::Notice { kind, back }),
        1 => (1_u64..90).prop_map(|seconds| Op::Later { seconds }),
        1 => Just(Op::Slept),
    ]
}

struct World {
    now: Instant,
    /// The owner's maps as they were at the end of each life, the present one last.
    lives: Vec<Maps>,
    observer: Maps,
    /// The fold of all that the observer told: whose view, and what is in it.
    view: Option<Replica>,
    folded: BTreeMap<Key, Blob>,
}

impl World {
    fn new(dies_with_process: bool) -> World {
        let settings =
            Settings { tombstones_max: 3, fences_max: 100, ready_timeout: Duration::from_secs(60) };
        let maps = |local: &str| {
            Maps::new(replica(local), vec![registration(TOPIC, 100, dies_with_process)], settings)
        };
        World {
            now: Instant::ZERO,
            lives: vec![maps("o/1")],
            observer: maps("me/1"),
            view: None,
            folded: BTreeMap::new(),
        }
    }

    fn owner(&mut self) -> &mut Maps {
        self.lives.last_mut().expect("the owner has a life")
    }

    fn life(&self, back: u64) -> &Maps {
        let back = usize::try_from(back).expect("small");
        self.lives.iter().rev().nth(back).unwrap_or(&self.lives[0])
    }

    fn step(&mut self, op: &Op) {
        let now = self.now;
        match *op {
            Op::Write { key, live } => {
                let key = Key::from(format!("k{key}"));
                let value = live.then(|| Blob::from("same"));
                let input = Input::Write { topic: TOPIC, key, value };
                self.owner().handle(now, input, &mut Vec::new());
            }
            Op::Ready => self.owner().handle(now, Input::Ready { topic: TOPIC }, &mut Vec::new()),
            Op::Raise | Op::Restart => {
                let mut next = self.owner().clone();
                let local = next.local();
                let incarnation = local.incarnation.next();
                let local = Replica { node: local.node.clone(), incarnation };
                if matches!(op, Op::Raise) {
                    next.handle(now, Input::Raised { replica: local }, &mut Vec::new());
                } else {
                    let registrations = next.rooms.values().map(|room| room.registration);
                    next = Maps::new(local, registrations.collect(), next.settings);
                }
                self.lives.push(next);
            }
            Op::Pull { back, budget } => self.pull(back, budget),
            Op::Notice { kind, back } => {
                let replica = self.life(back).local().clone();
                let notice = match kind {
                    0..6 => up(replica.clone(), replica.incarnation),
                    6 => up(replica, Incarnation(1)),
                    7 => Notice::Departed { replica, reason: Reason::Failed },
                    8 => Notice::Departed { replica, reason: Reason::Left },
                    _ => Notice::Forgotten { node: replica.node, fence: replica.incarnation },
                };
                self.hand(Input::Notice(notice));
            }
            Op::Later { seconds } => {
                self.now = now + Duration::from_secs(seconds);
                self.hand(Input::Tick);
                let overdue = self.observer.next_wake().is_some_and(|wake| wake.at <= self.now);
                assert!(!overdue, "what was due has been done");
            }
            Op::Slept => self.hand(Input::Slept),
        }
    }

    fn pull(&mut self, back: u64, budget: usize) {
        let owner = self.life(back).local().clone();
        let from = self.observer.progress(TOPIC, &owner).map_or(0, |known| known.complete);
        let segment = self.life(back).segment(TOPIC, &owner, from, u64::MAX, budget);
        if let Some(segment) = segment {
            let from = owner.node;
            self.hand(Input::Segment { from, transport: Transport::Link, segment });
        }
    }

    fn hand(&mut self, input: Input) {
        let mut out = Vec::new();
        self.observer.handle(self.now, input, &mut out);
        for output in out {
            self.fold(output);
        }
        self.observer.check().expect("the observer's maps are sound");
        let node = self.life(0).local().node.clone();
        let visible = self.observer.visible(TOPIC, &node);
        let visible: BTreeMap<Key, Blob> = visible.map(|(k, v)| (k.clone(), v.clone())).collect();
        assert_eq!(visible, self.folded, "the fold of outputs is the view");
        if !self.folded.is_empty() {
            assert_eq!(self.observer.owner(TOPIC, &node), self.view.as_ref());
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "a fold of what concerns the view")]
    fn fold(&mut self, output: Output) {
        match output {
            Output::Changed { owner, key, value, .. } => {
                assert!(self.view.as_ref().is_none_or(|view| *view <= owner), "RP-6: {owner}");
                self.view = Some(owner);
                let former = match value.clone() {
                    Some(value) => self.folded.insert(key, value),
                    None => self.folded.remove(&key),
                };
                assert_ne!(former, value, "equal contents produce no event");
            }
            Output::Switched { old, new, .. } => {
                assert!(old < new, "RP-6: {old} gives way to {new}");
                self.view = Some(new);
            }
            Output::Dropped { last, .. } => {
                assert_eq!(last, std::mem::take(&mut self.folded).into_iter().collect::<Vec<_>>());
                self.view = None;
            }
            Output::Misbehaved { what, .. } => panic!("an honest segment was refused: {what}"),
            Output::Overtaken { known } => panic!("nobody has our name, let alone {known}"),
            _ => {}
        }
    }
}

proptest! {
    #[test]
    fn one_life_is_in_view_and_what_is_told_adds_up_to_it(
        dies_with_process in any::<bool>(),
        ops in prop::collection::vec(op(), 1..200),
    ) {
        let mut world = World::new(dies_with_process);
        for op in &ops {
            world.step(op);
        }
        // The newest life is announced at last, and is ready.
        let now = world.now;
        world.owner().handle(now, Input::Ready { topic: TOPIC }, &mut Vec::new());
        let newest = world.life(0).local().clone();
        let fenced = world.observer.fences.of(&newest.node) >= Some(newest.incarnation);
        world.hand(Input::Notice(up(newest.clone(), newest.incarnation)));
        for _ in 0..400 {
            world.pull(0, 4000);
        }
        if fenced {
            prop_assert_eq!(world.observer.progress(TOPIC, &newest), None, "RP-6");
        } else {
            let own = world.lives.last().expect("a life").visible(TOPIC, &newest.node);
            let own: BTreeMap<Key, Blob> = own.map(|(k, v)| (k.clone(), v.clone())).collect();
            prop_assert_eq!(&world.folded, &own);
        }
    }
}

//! Founders over a network that loses, delays and cuts, on disks that keep what was stored.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::*;

/// A cluster of founders named by letters; `s` is the only seed.
struct World {
    now: Instant,
    rng: Rng,
    expect: u8,
    hosts: BTreeMap<NodeId, Host>,
    /// Pairs that hear nothing of each other.
    cut: BTreeSet<(NodeId, NodeId)>,
    /// Messages out of 100 that are lost.
    lossy: u64,
    events: BTreeMap<(Instant, u64), Event>,
    number: u64,
    /// Who began which log.
    begun: BTreeMap<Genesis, BTreeSet<NodeId>>,
    voters: BTreeMap<Genesis, usize>,
    /// This node stops after so many of its outputs.
    stops: Option<(NodeId, usize)>,
}

struct Host {
    founders: Option<Founders>,
    member: MemberId,
    disk: Promise,
    /// Which life: what was on its way for another is lost.
    life: u64,
    log: bool,
}

enum Event {
    Message { from: NodeId, to: NodeId, word: Word },
    Stored { node: NodeId, life: u64, number: u64, promise: Promise },
    Start(NodeId),
}

impl World {
    fn new(seed: u64, names: &str, expect: u8) -> World {
        let mut world = World {
            now: Instant::from_millis(1),
            rng: Rng::from_number(seed),
            expect,
            hosts: BTreeMap::new(),
            cut: BTreeSet::new(),
            lossy: 0,
            events: BTreeMap::new(),
            number: 0,
            begun: BTreeMap::new(),
            voters: BTreeMap::new(),
            stops: None,
        };
        for (index, name) in (1..).zip(names.split(' ')) {
            let (member, disk) = (MemberId(index), Promise::default());
            let host = Host { founders: None, member, disk, life: 0, log: false };
            world.hosts.insert(node(name), host);
        }
        for name in names.split(' ') {
            world.start(&node(name));
        }
        world
    }

    fn start(&mut self, name: &NodeId) {
        let (now, rng) = (self.now, self.rng.child(&format!("{name}{}", self.number)));
        let host = self.hosts.get_mut(name).expect("a host");
        if host.founders.is_none() {
            host.life += 1;
            let promise = host.disk.clone();
            let founder = (host.member, name.clone());
            host.founders = Some(Founders::new(founder, promise, STILL_FOR, now, rng));
        }
        self.look();
    }

    fn stop(&mut self, name: &NodeId) {
        self.hosts.get_mut(name).expect("a host").founders = None;
        self.look();
    }

    fn hears(&self, one: &NodeId, other: &NodeId) -> bool {
        let cut = |a: &NodeId, b: &NodeId| self.cut.contains(&(a.clone(), b.clone()));
        !cut(one, other) && !cut(other, one)
    }

    fn cut(&mut self, one: &str, other: &str) {
        self.cut.insert((node(one), node(other)));
        self.look();
    }

    /// Everybody sees whom it reaches.
    fn look(&mut self) {
        let names: Vec<NodeId> = self.hosts.keys().cloned().collect();
        for name in &names {
            let seen = names.iter().filter(|other| {
                self.hosts[*other].founders.is_some() && (*other == name || self.hears(name, other))
            });
            let founder = |other: &NodeId| {
                let host = &self.hosts[other];
                let state = if host.log { State::In } else { State::Pre { expect: self.expect } };
                let (member, zone) = (host.member, "".into());
                Founder { member, eligible: true, priority: 100, zone, state }
            };
            let founders: BTreeMap<NodeId, Founder> =
                seen.map(|other| (other.clone(), founder(other))).collect();
            let has_log = founders.values().any(|founder| founder.state == State::In);
            let covered = founders.contains_key(&node("s"));
            let behind_seeds = covered.then(|| BTreeSet::from([node("s")]));
            let view = View { expect: self.expect, voters_max: 5, founders, has_log, behind_seeds };
            self.input(name, Input::View(view));
        }
    }

    fn input(&mut self, name: &NodeId, input: Input) {
        let now = self.now;
        let host = self.hosts.get_mut(name).expect("a host");
        let Some(founders) = &mut host.founders else { return };
        let mut out = Vec::new();
        founders.handle(now, input, &mut out);
        for output in out {
            if self.stops.as_ref().is_some_and(|(stopped, left)| stopped == name && *left == 0) {
                self.stops = None;
                self.stop(name);
                self.later(Duration::from_secs(3), Event::Start(name.clone()));
                return;
            }
            if let Some((stopped, left)) = &mut self.stops
                && stopped == name
            {
                *left -= 1;
            }
            self.perform(name, output);
        }
    }

    fn perform(&mut self, name: &NodeId, output: Output) {
        let delay = self.rng.between(Duration::from_millis(1), Duration::from_millis(300));
        match output {
            Output::Send { to, word } => {
                let heard = self.hears(name, &to) && !self.rng.chance(self.lossy, 100);
                if heard {
                    self.later(delay, Event::Message { from: name.clone(), to, word });
                }
            }
            Output::Store { number, promise } => {
                let (node, life) = (name.clone(), self.hosts[name].life);
                // The reason for the fixed delay: a disk keeps the order.
                let delay = Duration::from_millis(5);
                self.later(delay, Event::Stored { node, life, number, promise });
            }
            Output::Begin(founding) => {
                let genesis = founding.genesis;
                self.voters.insert(genesis, founding.voters.len());
                self.begun.entry(genesis).or_default().insert(name.clone());
                assert!(self.begun.len() <= 1, "RF-9: two logs were begun: {:?}", self.begun);
                self.hosts.get_mut(name).expect("a host").log = true;
                self.look();
            }
        }
    }

    fn later(&mut self, delay: Duration, event: Event) {
        self.number += 1;
        self.events.insert((self.now + delay, self.number), event);
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let event = self.events.keys().next().map(|(at, _)| *at);
            let wakes = self.hosts.iter().filter_map(|(name, host)| {
                Some((host.founders.as_ref()?.next_wake()?.at, name.clone()))
            });
            let wake = wakes.min();
            let first = event.into_iter().chain(wake.as_ref().map(|(at, _)| *at)).min();
            let Some(at) = first.filter(|at| *at <= end) else { break };
            self.now = self.now.max(at);
            if event == Some(at) {
                let (_, event) = self.events.pop_first().expect("just seen");
                self.happen(event);
            } else if let Some((_, name)) = wake {
                self.input(&name, Input::Tick);
            }
        }
        self.now = end;
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Message { from, to, word } => self.input(&to, Input::Peer { from, word }),
            Event::Stored { node, life, number, promise } => {
                let host = self.hosts.get_mut(&node).expect("a host");
                if host.life == life && host.founders.is_some() {
                    host.disk = promise;
                    self.input(&node, Input::Stored { number });
                }
            }
            Event::Start(node) => self.start(&node),
        }
    }

    /// One log was begun, by all of its voters: how many.
    fn formed(&self) -> usize {
        let (genesis, who) = self.begun.iter().next().expect("a log was begun");
        assert_eq!(who.len(), self.voters[genesis], "every voter begins");
        who.len()
    }
}

fn node(name: &str) -> NodeId {
    name.parse().expect("a node id")
}

const STILL_FOR: Duration = Duration::from_secs(5);
const LONG: Duration = Duration::from_secs(120);

#[test]
fn as_many_as_expected_form_one_log_after_five_quiet_seconds() {
    let mut world = World::new(1, "a b s", 3);
    world.run(Duration::from_millis(4_990));
    assert!(world.begun.is_empty(), "nothing has stood for five seconds");
    world.run(Duration::from_secs(5));
    assert_eq!(world.formed(), 3);
}

#[test]
fn fewer_wait_and_more_all_take_part() {
    let mut world = World::new(1, "a s", 3);
    world.run(LONG);
    assert!(world.begun.is_empty(), "two are not three");
    let mut world = World::new(1, "a b c d e s", 3);
    world.run(LONG);
    assert_eq!(world.formed(), 5, "the ladder's choice over all six");
}

#[test]
fn without_the_seed_nobody_begins() {
    let mut world = World::new(1, "a b c s", 3);
    world.stop(&node("s"));
    world.run(LONG);
    assert!(world.begun.is_empty());
    world.start(&node("s"));
    world.run(LONG);
    assert_eq!(world.formed(), 3);
}

#[test]
fn one_node_that_expects_itself_begins_alone() {
    let mut world = World::new(1, "s", 1);
    world.run(Duration::from_secs(6));
    assert_eq!(world.formed(), 1);
}

#[test]
fn a_proposer_may_die_at_each_step() {
    for (seed, step) in (0..40).zip(0..40) {
        let mut world = World::new(seed, "a b s", 3);
        world.stops = Some((node("a"), step));
        world.run(LONG);
        assert_eq!(world.formed(), 3, "after {step} outputs");
    }
}

#[test]
fn voters_tell_each_other_what_a_proposer_without_its_disk_cannot_tell() {
    let mut told_by_another = 0;
    for step in 0..40 {
        let mut world = World::new(step, "a b s", 3);
        world.stops = Some((node("a"), usize::try_from(step).expect("small")));
        while world.stops.is_some() && world.now < Instant::from_millis(20_000) {
            world.run(Duration::from_millis(1));
        }
        let host = world.hosts.get_mut(&node("a")).expect("a host");
        let begun_there = host.log;
        (host.member, host.disk, host.log) = (MemberId(99), Promise::default(), false);
        world.run(LONG);
        let others = world.begun.values().flatten().filter(|who| **who != node("a")).count();
        assert!(others == 0 || others == 2, "after {step} outputs {others} have begun");
        told_by_another += u32::from(begun_there && others == 2);
    }
    assert!(told_by_another > 0, "in no run did the proposer begin and lose its disk");
}

#[test]
fn two_proposers_that_share_a_seed_begin_one_log() {
    for seed in 0..200 {
        // Each believes that it is the first of two.
        let mut world = World::new(seed, "a b s", 2);
        world.cut("a", "b");
        world.run(LONG);
        world.cut.clear();
        world.look();
        world.run(LONG);
        assert!(world.formed() >= 2);
    }
}

#[test]
fn a_promise_of_another_disk_does_not_count() {
    let mut world = World::new(1, "a b s", 3);
    world.run(Duration::from_millis(5_100));
    let asked = world.hosts[&node("b")].disk.to.is_some();
    world.stop(&node("b"));
    let host = world.hosts.get_mut(&node("b")).expect("a host");
    (host.member, host.disk) = (MemberId(99), Promise::default());
    world.start(&node("b"));
    world.run(LONG);
    assert_eq!(world.formed(), 3, "it was asked: {asked}");
}

#[test]
fn whatever_is_lost_cut_or_stopped_at_most_one_log_is_begun_and_one_is() {
    for seed in 0..600 {
        let names = ["a b s", "a b c s", "a b c d e s"][usize::try_from(seed % 3).expect("small")];
        let mut world = World::new(seed, names, 2 + u8::try_from(seed % 2).expect("small"));
        let names: Vec<NodeId> = names.split(' ').map(node).collect();
        for _ in 0..12 {
            world.lossy = world.rng.below(60);
            let (one, other) = (world.rng.index(names.len()), world.rng.index(names.len()));
            match world.rng.below(5) {
                0 => world.cut(names[one].as_str(), names[other].as_str()),
                1 => world.cut.clear(),
                2 => world.stop(&names[one]),
                _ => world.start(&names[one]),
            }
            let time = world.rng.between(Duration::from_millis(10), Duration::from_secs(12));
            world.run(time);
        }
        world.cut.clear();
        world.lossy = 0;
        names.iter().for_each(|name| world.start(name));
        world.run(LONG);
        world.formed();
    }
}

//! Two nodes over a transport that fails, breaks, falls silent and delays; a stub plays membership.
//!
//! Every input is followed by the full scan of invariants. When the faults end, the two are connected by
//! exactly one connection, known to both (L-2), and soon (L-6).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::{
    ProptestConfig, TestCaseError, any, prop_assert, prop_assert_eq, proptest,
};

use super::promises::Record;
use super::{address, ping, replica, settings, up};
use crate::ids::{ConnectionId, Incarnation, NodeId, Notice, Reason, Replica};
use crate::limits;
use crate::link::{Input, Links, Message, Output};
use crate::machine::Machine;
use crate::random::Rng;
use crate::time::Instant;
use crate::wire::Blob;
use crate::wire::frame::{Class, FrameReader};
use crate::wire::message::{Control, Departed};

/// What the transport does, drawn anew for each dial, write and fault.
#[derive(Debug, Clone, Copy)]
struct Weather {
    /// Dials out of 100 that are refused.
    refused: u64,
    /// Dials out of 100 that nobody answers.
    unanswered: u64,
    /// The longest delay of one delivery.
    delay: Duration,
}

const FAIR: Weather = Weather { refused: 0, unanswered: 0, delay: Duration::from_millis(50) };
const STORM: Weather = Weather { refused: 40, unanswered: 10, delay: Duration::from_secs(1) };
const NIGHT: Weather = Weather { refused: 90, unanswered: 10, delay: Duration::from_millis(50) };

struct World {
    now: Instant,
    rng: Rng,
    weather: Weather,
    hosts: [Host; 2],
    pipes: Vec<Pipe>,
    /// Dials given up before there was a transport.
    abandoned: BTreeSet<(usize, ConnectionId)>,
    events: BTreeMap<(Instant, u64), Event>,
    number: u64,
    record: Record,
}

struct Host {
    links: Links,
    local: Replica,
    accepted: u64,
    /// The life of the other that is held failed.
    failed: Incarnation,
    linked: bool,
    /// How often the link was lost.
    lost: u32,
    delivered: u64,
}

/// A connection: `ends[i]` is its number at host `i`.
struct Pipe {
    ends: [ConnectionId; 2],
    /// Whether host `i` still has it.
    held: [bool; 2],
    silent: bool,
    /// When the last delivery to host `i` happens: streams keep order.
    last: [Instant; 2],
}

enum Event {
    Input(usize, Input),
    /// Bytes reach a host over a pipe, and their sender may send as many more.
    Bytes(usize, usize, Blob),
    Closed(usize, usize),
    Reached(usize, ConnectionId),
}

impl World {
    fn new(seed: u64, weather: Weather) -> World {
        let host = |text: &str, seed| {
            let local = replica(text);
            let links = Links::new(
                settings(&local.node),
                local.clone(),
                local.incarnation,
                Instant::ZERO,
                Rng::from_number(seed),
            );
            Host {
                links,
                local,
                accepted: 0,
                failed: Incarnation(0),
                linked: false,
                lost: 0,
                delivered: 0,
            }
        };
        World {
            now: Instant::ZERO,
            rng: Rng::from_number(seed).child("world"),
            weather,
            hosts: [host("a/1", seed), host("z/1", seed + 1)],
            pipes: Vec::new(),
            abandoned: BTreeSet::new(),
            events: BTreeMap::new(),
            number: 0,
            record: Record::default(),
        }
    }

    fn later(&mut self, at: Instant, event: Event) {
        self.number += 1;
        self.events.insert((at, self.number), event);
    }

    fn delay(&mut self) -> Duration {
        self.rng.between(Duration::from_micros(100), self.weather.delay)
    }

    fn run_until(&mut self, end: Instant) {
        loop {
            let wakes = [0, 1].map(|host| self.hosts[host].links.next_wake().map(|wake| wake.at));
            let event = self.events.keys().next().map(|(at, _)| *at);
            let Some(at) = wakes.into_iter().flatten().chain(event).min() else { break };
            if at > end {
                break;
            }
            self.now = self.now.max(at);
            if event == Some(at) {
                let (_, event) = self.events.pop_first().expect("just seen");
                self.happen(event);
            } else {
                let host = usize::from(wakes[0] != Some(at));
                self.input(host, Input::Tick);
            }
        }
        self.now = end;
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Input(host, input) => self.input(host, input),
            Event::Reached(host, connection) => self.reached(host, connection),
            Event::Closed(pipe, host) => {
                if self.pipes[pipe].held[host] {
                    self.pipes[pipe].held[host] = false;
                    let connection = self.pipes[pipe].ends[host];
                    self.input(host, Input::Closed { connection });
                }
            }
            Event::Bytes(pipe, host, bytes) => {
                if self.pipes[pipe].silent {
                    return;
                }
                let mut reader = FrameReader::default();
                reader.push(&bytes);
                let frame = reader.next_frame().expect("well formed").expect("whole");
                // A host that has closed its end may still find frames in its buffers.
                let connection = self.pipes[pipe].ends[host];
                self.input(host, Input::Frame { connection, frame });
                if self.pipes[pipe].held[1 - host] {
                    let connection = self.pipes[pipe].ends[1 - host];
                    self.input(1 - host, Input::Writable { connection, bytes: bytes.len() });
                }
            }
        }
    }

    fn reached(&mut self, dialer: usize, connection: ConnectionId) {
        if self.abandoned.contains(&(dialer, connection)) {
            return;
        }
        let target = 1 - dialer;
        self.hosts[target].accepted += 1;
        let accepted = ConnectionId::accepted(self.hosts[target].accepted);
        let mut ends = [connection; 2];
        ends[target] = accepted;
        let last = [self.now; 2];
        self.pipes.push(Pipe { ends, held: [true; 2], silent: false, last });
        let from = address(&self.hosts[dialer].local.node);
        let bytes = limits::WINDOW_BYTES;
        self.input(target, Input::Accepted { connection: accepted, from });
        self.input(target, Input::Writable { connection: accepted, bytes });
        self.input(dialer, Input::Connected { connection });
        self.input(dialer, Input::Writable { connection, bytes });
    }

    fn input(&mut self, host: usize, input: Input) {
        let mut out = Vec::new();
        self.hosts[host].links.handle(self.now, input, &mut out);
        for output in out {
            self.perform(host, output);
        }
    }

    fn perform(&mut self, host: usize, output: Output) {
        match output {
            Output::Connect { connection, .. } => self.dial(host, connection),
            Output::Write { connection, bytes } => {
                if let Some(pipe) = self.pipe_of(host, connection) {
                    let at = self.in_order(pipe, 1 - host);
                    self.later(at, Event::Bytes(pipe, 1 - host, bytes));
                }
            }
            Output::Disconnect { connection } => {
                if let Some(pipe) = self.pipe_of(host, connection) {
                    self.pipes[pipe].held[host] = false;
                    let at = self.in_order(pipe, 1 - host);
                    self.later(at, Event::Closed(pipe, 1 - host));
                } else {
                    self.abandoned.insert((host, connection));
                }
            }
            Output::PingDue { number, .. } => self.send(host, ping("ping", &number.to_string())),
            Output::Message { message: Message::Control(message), .. } => {
                self.hosts[host].delivered += 1;
                self.hear(host, message);
            }
            Output::Up { peer, address, .. } => {
                self.hosts[host].linked = true;
                if peer.incarnation <= self.hosts[host].failed {
                    let incarnation = peer.incarnation;
                    self.send(host, Control::Departed(Departed { incarnation }));
                } else {
                    let at = self.now + self.delay();
                    self.later(at, Event::Input(host, Input::Notice(up(&peer, address))));
                }
            }
            Output::Down { .. } => {
                self.hosts[host].linked = false;
                self.hosts[host].lost += 1;
            }
            Output::Stale { known, .. } => self.raise(host, known.next()),
            Output::Misbehaved { what, .. } => panic!("nobody misbehaves here: {what}"),
            Output::Asked { from, number, .. } => self.asked(host, from, number),
            Output::Message { message: Message::Broadcast(body), from } => {
                let local = self.hosts[host].local.clone();
                self.record.delivered(from, local, &body);
            }
            Output::Undelivered { body, .. } => self.record.undelivered(&body),
            Output::Ended { ticket, end } => self.record.ended(self.now, ticket, end),
            Output::Refused { class: Class::Broadcast, .. } => self.record.refused(),
            Output::Message { .. }
            | Output::Room { .. }
            | Output::Heard { .. }
            | Output::RoundTrip { .. }
            | Output::Bye { .. }
            | Output::SeedFailed { .. }
            | Output::Conflict { .. }
            | Output::Refused { .. } => {}
        }
    }

    fn dial(&mut self, host: usize, connection: ConnectionId) {
        let draw = self.rng.below(100);
        let at = self.now + self.delay();
        if draw < self.weather.refused {
            self.later(at, Event::Input(host, Input::ConnectFailed { connection }));
        } else if draw >= self.weather.refused + self.weather.unanswered {
            self.later(at, Event::Reached(host, connection));
        }
    }

    fn send(&mut self, host: usize, message: Control) {
        let to = self.hosts[1 - host].local.node.clone();
        self.input(host, Input::Send { to, message: Message::Control(message) });
    }

    fn hear(&mut self, host: usize, message: Control) {
        match message {
            Control::Ping(asked) => self.send(host, ping("pong", &asked.number.to_string())),
            Control::Departed(notice) => {
                if notice.incarnation >= self.hosts[host].local.incarnation {
                    self.raise(host, notice.incarnation.next());
                }
            }
            Control::Pong(_) | Control::Retired(_) => {}
            Control::Raft(_) | Control::Request(_) | Control::Reply(_) => {
                panic!("links keep {message:?} to themselves")
            }
            Control::Acknowledged(_) | Control::Relay(_) => {
                panic!("links keep {message:?} to themselves")
            }
        }
    }

    /// One of the two says something in order, and one asks something.
    fn chat(&mut self) {
        let (speaker, asker) = (self.rng.index(2), self.rng.index(2));
        let body = self.record.accepted(&self.hosts[speaker].local);
        let to = self.hosts[1 - speaker].local.node.clone();
        self.input(speaker, Input::Send { to, message: Message::Broadcast(body) });
        let deadline = self.now + self.rng.between(Duration::ZERO, Duration::from_secs(3));
        let ticket = self.record.asks(deadline);
        let to = self.hosts[1 - asker].local.node.clone();
        self.input(asker, Input::Ask { to, ticket, deadline, body: Blob::from("why") });
    }

    /// Most questions are answered, some late.
    fn asked(&mut self, host: usize, from: Replica, number: u64) {
        if self.rng.chance(3, 4) {
            let at = self.now + self.rng.between(Duration::ZERO, Duration::from_secs(2));
            let answer = Input::Answer { to: from, number, body: Blob::from("because") };
            self.later(at, Event::Input(host, answer));
        }
    }

    fn raise(&mut self, host: usize, life: Incarnation) {
        let local = &mut self.hosts[host].local;
        local.incarnation = local.incarnation.max(life);
        let replica = local.clone();
        self.input(host, Input::Raised { replica });
    }

    fn pipe_of(&self, host: usize, connection: ConnectionId) -> Option<usize> {
        self.pipes.iter().rposition(|pipe| pipe.ends[host] == connection && pipe.held[host])
    }

    fn in_order(&mut self, pipe: usize, target: usize) -> Instant {
        let at = (self.now + self.delay()).max(self.pipes[pipe].last[target]);
        self.pipes[pipe].last[target] = at;
        at
    }

    fn fault(&mut self) {
        let host = self.rng.index(2);
        match self.rng.below(6) {
            // A connection breaks between any two frames, for each side at its own time.
            0 | 1 if !self.pipes.is_empty() => {
                let pipe = self.rng.index(self.pipes.len());
                for host in [0, 1] {
                    let at = self.now + self.delay();
                    self.later(at, Event::Closed(pipe, host));
                }
                self.pipes[pipe].silent = true;
            }
            // A connection falls silent and nobody is told.
            2 => {
                if let Some(pipe) = self.pipes.last_mut() {
                    pipe.silent = true;
                }
            }
            3 => {
                let life = self.hosts[host].local.incarnation.next();
                self.raise(host, life);
            }
            // The other is given up for dead, wrongly.
            4 => {
                let other = self.hosts[1 - host].local.clone();
                self.hosts[host].failed = other.incarnation;
                let notice = Notice::Departed { replica: other, reason: Reason::Failed };
                self.input(host, Input::Notice(notice));
            }
            // A seed is dialled although the pair is connected.
            _ => {
                let address = address(&self.hosts[1 - host].local.node);
                self.input(host, Input::DialSeed { address });
            }
        }
    }

    /// Tells host `host` that the other is a member.
    fn introduce(&mut self, host: usize) {
        let other = self.hosts[1 - host].local.clone();
        let address = address(&other.node);
        self.input(host, Input::Notice(up(&other, address)));
    }

    fn linked(&self) -> bool {
        self.hosts.iter().all(|host| host.linked)
    }

    /// The pipes that a host has, by the numbers of their ends.
    fn open(&self, host: usize) -> Vec<u64> {
        let held = self.pipes.iter().filter(|pipe| pipe.held[host]);
        held.map(|pipe| pipe.ends[host].0).collect()
    }

    /// The pipe that a host sends on.
    fn in_use(&self, host: usize) -> Option<usize> {
        let other: &NodeId = &self.hosts[1 - host].local.node;
        let rows = self.hosts[host].links.snapshot(self.now).links;
        let generation = rows.iter().find(|row| row.peer == *other)?.generation?;
        self.pipe_of(host, ConnectionId(generation))
    }
}

/// A storm of `faults`, each as many milliseconds after the one before, then fair weather: what is left is one
/// connection, and both are heard on it.
fn after_the_storm(seed: u64, faults: &[u64], mutual: bool) -> Result<(), TestCaseError> {
    let mut world = World::new(seed.max(2) - 2, STORM);
    world.introduce(0);
    if mutual {
        world.introduce(1);
    }
    for wait in faults.iter().copied() {
        let until = world.now + Duration::from_millis(wait);
        world.run_until(until);
        world.fault();
        for _ in 0..world.rng.index(40) {
            let until = world.now + Duration::from_millis(world.rng.below(20));
            world.chat();
            world.run_until(until);
        }
    }
    world.weather = FAIR;
    // Longer than any silence and any wait of a failed peer, twice.
    let until = world.now + Duration::from_secs(100);
    world.run_until(until);
    prop_assert!(world.linked(), "both are linked");
    world.record.close();
    prop_assert!(world.in_use(0).is_some());
    prop_assert_eq!(world.in_use(0), world.in_use(1), "both send on the same connection");
    prop_assert_eq!(world.open(0).len(), 1, "no second connection at the lower");
    prop_assert_eq!(world.open(1).len(), 1, "no second connection at the higher");
    let before = [world.hosts[0].delivered, world.hosts[1].delivered];
    let until = world.now + Duration::from_secs(11);
    world.run_until(until);
    prop_assert!(world.hosts[0].delivered > before[0], "pings arrive at the lower");
    prop_assert!(world.hosts[1].delivered > before[1], "pings arrive at the higher");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn when_the_storm_is_over_a_pair_has_exactly_one_connection(
        seed in any::<u64>(),
        faults in proptest::collection::vec(0_u64..8_000, 0..30),
        mutual in any::<bool>(),
    ) {
        after_the_storm(seed, &faults, mutual)?;
    }

    #[test]
    fn dials_that_cross_leave_one_connection_and_never_none(
        seed in any::<u64>(),
        waits in [0_u64..1000, 0..1000],
        dials in [any::<bool>(), any::<bool>()],
    ) {
        let mut world = World::new(seed.max(2) - 2, FAIR);
        for host in [0, 1] {
            let until = world.now + Duration::from_millis(waits[host]);
            world.run_until(until);
            world.introduce(host);
            if dials[host] {
                let address = address(&world.hosts[1 - host].local.node);
                world.input(host, Input::DialSeed { address });
            }
        }
        // Sooner than silence would close a second one.
        let until = world.now + Duration::from_secs(3);
        world.run_until(until);
        prop_assert!(world.linked());
        prop_assert_eq!([world.hosts[0].lost, world.hosts[1].lost], [0, 0], "no link was lost");
        prop_assert!(world.in_use(0).is_some());
        prop_assert_eq!(world.in_use(0), world.in_use(1));
        prop_assert_eq!([world.open(0).len(), world.open(1).len()], [1, 1]);
    }

    #[test]
    fn after_any_absence_a_link_is_up_within_the_longest_wait_and_a_dial(
        seed in any::<u64>(),
        absence in 0_u64..900_000,
    ) {
        let mut world = World::new(seed.max(2) - 2, NIGHT);
        world.introduce(0);
        world.introduce(1);
        let until = world.now + Duration::from_millis(absence);
        world.run_until(until);
        prop_assert!(!world.linked());
        world.weather = FAIR;
        // The wait, a dial already begun that nobody answers, a dial, a handshake.
        let until = world.now + Duration::from_millis(5_000 + 5_000 + 4 * 50);
        world.run_until(until);
        prop_assert!(world.linked());
    }
}

#[test]
fn an_idle_link_costs_one_ping_in_ten_seconds_and_its_ends_take_turns() {
    let mut world = World::new(7, FAIR);
    world.introduce(0);
    world.introduce(1);
    let until = world.now + Duration::from_secs(20);
    world.run_until(until);
    let before = [world.hosts[0].delivered, world.hosts[1].delivered];
    let until = world.now + Duration::from_secs(100);
    world.run_until(until);
    for host in [0, 1] {
        // Five pings of the other, and five answers to ours.
        assert_eq!(world.hosts[host].delivered - before[host], 10);
    }
}

#[test]
fn pings_that_cross_at_the_end_of_a_storm_are_followed_by_one_in_time() {
    let faults = [
        4329, 2680, 3489, 323, 2313, 94, 1713, 585, 971, 3200, 5777, 1095, 5639, 2260, 7754, 3076,
        421, 2531, 6976, 2476, 1589, 6372, 2740, 2120, 2076, 7019,
    ];
    after_the_storm(10_741_016_096_417_208_416, &faults, true).expect("both are heard");
}

//! Whole nodes on a perfect network: what the router promises, without faults.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use super::settings::Profile;
use super::*;
use crate::ids::{ClusterId, ConnectionId};
use crate::membership::State;
use crate::wire::datagram::{Kind, Writer};
use crate::wire::frame::{Class, Frame, FrameReader};
use crate::wire::message::{Control, Ping, Retired};
use crate::wire::segment::Topic;

/// A network without loss and with one latency for everything.
struct World {
    now: Instant,
    nodes: BTreeMap<SocketAddr, Node>,
    /// Inputs under way, by arrival and order of sending.
    queue: BTreeMap<(Instant, u64), (SocketAddr, Input)>,
    sent: u64,
    /// The other end of each connection.
    pipes: BTreeMap<(SocketAddr, ConnectionId), (SocketAddr, ConnectionId)>,
    accepted: u64,
    announced: VecDeque<(SocketAddr, Announcement)>,
    datagram_bytes_max: usize,
    /// What the name of the seed stands for.
    seed: SocketAddr,
}

const LATENCY: Duration = Duration::from_micros(200);

/// Where dials end by their deadline alone.
const NOWHERE: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)), 1);

fn address(index: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 7000 + index))
}

impl World {
    fn new(count: u16) -> World {
        let mut world = World {
            now: Instant::from_millis(1),
            nodes: BTreeMap::new(),
            queue: BTreeMap::new(),
            sent: 0,
            pipes: BTreeMap::new(),
            accepted: 0,
            announced: VecDeque::new(),
            datagram_bytes_max: 0,
            seed: address(0),
        };
        for index in 0..count {
            world.boot(index, 1);
        }
        world
    }

    fn boot(&mut self, index: u16, incarnation: u64) {
        self.boot_with(index, incarnation, |_| {});
    }

    fn boot_with(&mut self, index: u16, incarnation: u64, change: impl Fn(&mut Settings)) {
        let name = format!("n{index}").parse().expect("a node id");
        let cluster = ClusterId("test".into());
        let mut settings = Settings::new(name, cluster, address(index), Profile::Lan);
        settings.membership.join = vec!["seed:1".to_owned()];
        change(&mut settings);
        let seed = [u8::try_from(index).expect("few nodes"); 32];
        let node = Node::boot(settings, Incarnation(incarnation), &Image::new(), seed, self.now);
        self.nodes.insert(address(index), node);
        self.send(address(index), Input::Start);
    }

    fn send(&mut self, to: SocketAddr, input: Input) {
        self.sent += 1;
        self.queue.insert((self.now + LATENCY, self.sent), (to, input));
    }

    fn run(&mut self, until: Instant) {
        loop {
            let arrival = self.queue.keys().next().map(|(at, _)| *at);
            let wake =
                self.nodes.iter().filter_map(|(at, node)| Some((node.next_wake()?.at, *at))).min();
            let next = [arrival, wake.map(|(at, _)| at)].into_iter().flatten().min();
            let Some(next) = next.filter(|next| *next <= until) else { break };
            self.now = self.now.max(next);
            if arrival == Some(next) {
                let (_, (to, input)) = self.queue.pop_first().expect("it was seen");
                self.turn(to, input);
            } else {
                self.turn(wake.expect("it was seen").1, Input::Wake);
            }
        }
        self.now = until;
    }

    fn turn(&mut self, at: SocketAddr, input: Input) {
        let Some(node) = self.nodes.get_mut(&at) else { return };
        let mut effects = Vec::new();
        node.handle(self.now, input, &mut effects);
        node.flush(self.now, &mut effects);
        for effect in effects {
            self.perform(at, effect);
        }
    }

    fn perform(&mut self, from: SocketAddr, effect: Effect) {
        match effect {
            Effect::Datagram { to, bytes } => {
                self.datagram_bytes_max = self.datagram_bytes_max.max(bytes.len());
                self.send(to, Input::Datagram { from, bytes });
            }
            Effect::Send { connection, bytes } => {
                let mut reader = FrameReader::default();
                reader.push(&bytes);
                let frame = reader.next_frame().expect("well formed").expect("whole");
                self.send(from, Input::Writable { connection, bytes: bytes.len() });
                if let Some((to, connection)) = self.pipes.get(&(from, connection)).copied() {
                    self.send(to, Input::Frame { connection, frame });
                }
            }
            Effect::Connect { connection, to } => self.connect(from, connection, to),
            Effect::Disconnect { connection } => {
                if let Some((to, other)) = self.pipes.remove(&(from, connection)) {
                    self.pipes.remove(&(to, other));
                    self.send(to, Input::Closed { connection: other });
                    self.send(from, Input::Closed { connection });
                }
            }
            Effect::Store { ticket, .. } => self.send(from, Input::Stored { ticket }),
            Effect::Call { ticket, call: Call::Resolve { .. } } => {
                let answer = Answer::Resolved(vec![self.seed]);
                self.send(from, Input::Answered { ticket, answer });
            }
            Effect::Call { .. } | Effect::Reply { .. } => {}
            Effect::Announce(announcement) => self.announced.push_back((from, announcement)),
        }
    }

    fn connect(&mut self, from: SocketAddr, connection: ConnectionId, to: SocketAddr) {
        if to == NOWHERE {
            return; // No answer of any kind.
        }
        if !self.nodes.contains_key(&to) {
            return self.send(from, Input::ConnectFailed { connection });
        }
        self.accepted += 1;
        let other = ConnectionId::accepted(self.accepted);
        self.pipes.insert((from, connection), (to, other));
        self.pipes.insert((to, other), (from, connection));
        let bytes = crate::limits::WINDOW_BYTES;
        self.send(from, Input::Connected { connection });
        self.send(from, Input::Writable { connection, bytes });
        self.send(to, Input::Accepted { connection: other, from });
        self.send(to, Input::Writable { connection: other, bytes });
    }

    fn states(&self, index: u16) -> Vec<(String, State)> {
        let node = self.nodes.get(&address(index)).expect("it runs");
        let members = node.published().members.load();
        members.rows.values().map(|row| (row.node.to_string(), row.state)).collect()
    }
}

#[test]
fn nodes_with_one_seed_find_each_other_and_read_each_others_facts() {
    let mut world = World::new(5);
    world.run(Instant::from_millis(10_000));
    let everybody: Vec<_> = (0..5).map(|index| (format!("n{index}"), State::Alive)).collect();
    for index in 0..5 {
        assert_eq!(world.states(index), everybody, "as n{index} sees it");
        let node = &world.nodes[&address(index)];
        let members = node.published().members.load();
        for row in members.rows.values() {
            assert!(row.facts.contains_key("versions"), "n{index} reads {row:?}");
        }
        assert_eq!(node.links().snapshot(world.now).links.len(), 4);
    }
    assert!(world.datagram_bytes_max + limits::SEAL_BYTES <= limits::DATAGRAM_BYTES_MAX);
}

#[test]
fn a_node_without_room_for_somebody_says_so_until_there_is() {
    let mut world = World::new(0);
    for index in 0..2 {
        world.boot_with(index, 1, |settings| settings.membership.members_max = 2);
    }
    let full = |world: &World| world.nodes[&address(0)].published().members.load().full;
    world.run(Instant::from_millis(10_000));
    assert!(!full(&world), "everybody who is there has a place");
    world.boot(2, 1);
    world.run(Instant::from_millis(20_000));
    assert!(full(&world), "n2 has none");
    world.nodes.remove(&address(1));
    world.run(Instant::from_millis(40_000));
    assert_eq!(world.states(0), ["n0", "n2"].map(|name| (name.to_owned(), State::Alive)));
    assert!(!full(&world), "n2 took that of n1");
}

#[test]
fn the_end_of_a_dial_is_told_however_long_links_may_dial() {
    let mut world = World::new(1);
    world.seed = NOWHERE;
    world.boot_with(1, 1, |settings| settings.link.connect_timeout = Duration::from_secs(20));
    world.run(Instant::from_millis(11_000));
    world.seed = address(0);
    world.run(Instant::from_millis(19_900));
    assert_eq!(world.states(1).len(), 2, "it met n0 meanwhile");
    world.announced.clear();
    world.run(Instant::from_millis(20_500));
    let failed = |(at, announcement): &(SocketAddr, Announcement)| {
        *at == address(1) && matches!(announcement, Announcement::JoinFailed { .. })
    };
    assert!(world.announced.iter().any(failed), "{:?}", world.announced);
}

#[test]
fn a_node_that_falls_silent_is_failed_everywhere_and_its_next_life_is_welcome() {
    let mut world = World::new(4);
    world.run(Instant::from_millis(10_000));
    world.nodes.remove(&address(3));
    world.run(Instant::from_millis(30_000));
    for index in 0..3 {
        assert_eq!(world.states(index)[3], ("n3".to_owned(), State::Failed), "as n{index} sees it");
    }
    world.boot(3, 2);
    world.run(Instant::from_millis(40_000));
    for index in 0..4 {
        assert!(world.states(index).iter().all(|(_, state)| *state == State::Alive), "n{index}");
    }
}

#[test]
fn a_loop_that_turns_for_other_machines_has_not_slept() {
    let name = "n0".parse().expect("a node id");
    let cluster = ClusterId("test".into());
    let mut settings = Settings::new(name, cluster, address(0), Profile::Lan);
    settings.membership.forget_after = Duration::from_secs(5);
    let now = Instant::from_millis(1);
    let mut node = Node::boot(settings, Incarnation(1), &Image::new(), [0; 32], now);
    let raises = |effects: &[Effect]| {
        let lives = |(keyspace, ..): &(Keyspace, String, Option<Blob>)| *keyspace == Keyspace::Meta;
        let stores = |effect: &&Effect| matches!(effect, Effect::Store { batch, .. } if batch.iter().any(lives));
        effects.iter().filter(stores).count()
    };
    let others = || Input::Closed { connection: ConnectionId::accepted(9) };
    let mut out = Vec::new();
    node.handle(now, Input::Start, &mut out);
    for second in 1..9 {
        node.handle(Instant::from_millis(1000 * second), others(), &mut out);
    }
    node.handle(Instant::from_millis(9000), Input::Wake, &mut out);
    assert_eq!(raises(&out), 0, "it was awake all the time");
    node.handle(Instant::from_millis(14_001), others(), &mut out);
    assert_eq!(raises(&out), 1, "nobody remembers it");
}

#[test]
fn two_that_have_forgotten_each_other_still_hear_that_they_are_over() {
    let name: NodeId = "n0".parse().expect("a node id");
    let cluster = ClusterId("test".into());
    let settings = Settings::new(name.clone(), cluster, address(0), Profile::Lan);
    let fence = (Keyspace::Meta, format!("{FENCE_PREFIX}n1"));
    let image = Image::from([(fence, Blob::from(crate::wire::encode(&7_u64)))]);
    let now = Instant::from_millis(1);
    let mut node = Node::boot(settings, Incarnation(5), &image, [0; 32], now);
    node.handle(now, Input::Start, &mut Vec::new());
    let sender = Replica { node: "n1".parse().expect("a node id"), incarnation: Incarnation(7) };
    let mut writer = Writer::new(&sender);
    let notice = Retired { node: name, fence: Incarnation(5) };
    writer.section(Kind::Retired, &crate::wire::encode(&notice));
    let mut out = Vec::new();
    let bytes = writer.finish().into();
    node.handle(now, Input::Datagram { from: address(1), bytes }, &mut out);
    let raises = out.iter().any(|effect| matches!(effect, Effect::Store { .. }));
    assert!(raises, "the other would refuse this life for ever: {out:?}");
}

#[test]
fn whoever_hears_that_the_log_is_led_reads_so_too() {
    let mut world = World::new(0);
    let cluster = ClusterId("test".into());
    let name = "n0".parse().expect("a node id");
    let mut settings = Settings::new(name, cluster, address(0), Profile::Lan);
    settings.raft.expect = 1;
    settings.counts_interval = Duration::from_secs(3600);
    let node = Node::boot(settings, Incarnation(1), &Image::new(), [0; 32], world.now);
    world.nodes.insert(address(0), node);
    world.send(address(0), Input::Start);
    world.run(Instant::from_millis(20_000));
    let led = |(_, told): &(SocketAddr, Announcement)| matches!(told, Announcement::Led { .. });
    let Some((_, Announcement::Led { term, leader, .. })) =
        world.announced.iter().rfind(|told| led(told))
    else {
        panic!("a node alone leads its log: {:?}", world.announced)
    };
    let status = world.nodes[&address(0)].published().raft.load();
    assert_eq!((status.term, &status.leader), (*term, leader));
    assert_eq!(status.state, crate::raft::Standing::Leader);
}

/// How much `index` has of the facts of n0: through where, and from where tombstones are kept.
fn facts_of_n0(world: &World, index: u16) -> (u64, u64) {
    let n0 = world.nodes[&address(0)].local();
    let progress = world.nodes[&address(index)].maps().progress(Topic::FACTS, n0);
    let progress = progress.expect("both know the facts of n0");
    (progress.complete, progress.floor)
}

/// A ping of one node to the other, which arrives at once.
fn ping(world: &mut World, from: u16, ping: Ping) {
    let (&(at, connection), _) = world
        .pipes
        .iter()
        .find(|((at, _), (other, _))| *at != address(from) && *other == address(from))
        .expect("they have a link");
    let payload = crate::wire::encode(&Control::Ping(ping)).into();
    let frame = Frame { class: Class::Control, reply: false, sequence: 0, payload };
    world.turn(at, Input::Frame { connection, frame });
}

#[test]
fn a_ping_alone_raises_the_floor_of_an_owner_and_that_of_a_reader() {
    let mut world = World::new(2);
    world.run(Instant::from_millis(10_000));
    let node = world.nodes.get_mut(&address(0)).expect("it runs");
    let delete = replica::Input::Write { topic: Topic::FACTS, key: "versions".into(), value: None };
    node.steps.push_back(Step::Maps(delete));
    world.turn(address(0), Input::Wake);
    let (head, floor) = facts_of_n0(&world, 0);
    assert!(floor < head, "the deletion at {head} is kept, the floor is {floor}");
    let heard = |complete: u64, floor: u64| {
        let row = |sequence: u64| match sequence {
            0 => Vec::new().into(),
            _ => vec![(Topic::FACTS, sequence)].into(),
        };
        Ping { number: 7, complete: row(complete), floors: row(floor) }
    };
    ping(&mut world, 1, heard(head - 1, 0));
    assert_eq!(facts_of_n0(&world, 0), (head, floor), "the deletion is not known there yet");
    ping(&mut world, 1, heard(head, 0));
    assert_eq!(facts_of_n0(&world, 0), (head, head));
    world.run(world.now + 2 * LATENCY);
    let (complete, floor) = facts_of_n0(&world, 1);
    assert!(complete == head && floor < head, "{complete} {floor}");
    ping(&mut world, 0, heard(0, head));
    assert_eq!(facts_of_n0(&world, 1), (head, head));
}

#[test]
fn a_store_keeps_no_more_fences_than_the_table_holds() {
    let names: Vec<NodeId> = ["b", "c", "d"].map(|name| name.parse().expect("a node id")).into();
    let key = |name: &NodeId| (Keyspace::Meta, format!("{FENCE_PREFIX}{name}"));
    let mut image: Image =
        names.iter().map(|name| (key(name), Blob::from(crate::wire::encode(&7_u64)))).collect();
    let own = "a".parse().expect("a node id");
    let mut settings = Settings::new(own, ClusterId("test".into()), address(0), Profile::Lan);
    settings.membership.fences_max = 2;
    let now = Instant::from_millis(1);
    let mut node = Node::boot(settings, Incarnation(1), &image, [0; 32], now);
    let mut effects = Vec::new();
    node.handle(now, Input::Start, &mut effects);
    for effect in effects {
        let Effect::Store { batch, .. } = effect else { continue };
        for (keyspace, row, value) in batch {
            match value {
                Some(value) => image.insert((keyspace, row), value),
                None => image.remove(&(keyspace, row)),
            };
        }
    }
    let kept: Vec<bool> = names.iter().map(|name| image.contains_key(&key(name))).collect();
    assert_eq!(kept, [false, true, true]);
}

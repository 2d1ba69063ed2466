//! Target `node`: anything at all, handed to one node by a host that keeps its word.
//!
//! The host invents what peers, callers, the network and the clock may do, garbage included; what a host
//! promises it keeps: every store and call is answered once, and a connection that ended says nothing.
//!
//! | law | is |
//! | --- | --- |
//! | bounds | every machine's own check holds |
//! | effects | nothing is sent on a connection that ended; a call, a store, a reply comes once |
//! | identity | no datagram leaves in a life that is not durable (M-3), none is over its limit (M-4) |

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use quorate_core::ids::{ClusterId, ConnectionId, Incarnation, NodeId, Replica, Ticket};
use quorate_core::limits;
use quorate_core::machine::Machine as _;
use quorate_core::node::settings::Profile;
use quorate_core::node::workers::{Command, Outcome, ProbeOutcome, Spec, Target};
use quorate_core::node::{
    Answer, Call, Effect, INCARNATION_KEY, Image, Input, Keyspace, Node, Request, Settings,
};
use quorate_core::time::Instant;
use quorate_core::wire::datagram::{Kind, Writer, parse};
use quorate_core::wire::frame::{Class, Frame};
use quorate_core::wire::segment::{Entry, Key, Segment, Topic};
use quorate_core::wire::session::{Greeting, MAGIC, Session};
use quorate_core::wire::{Blob, PROTOCOL, decode, encode};

use crate::material::Material;

const TURNS_MAX: usize = 64;
const CLUSTER: &str = "fuzz";
const LIFE: u64 = 5;

/// Any bytes are what happens to a node.
pub fn typed(input: &[u8]) {
    let mut material = Material::new(input);
    let mut host = Host::new(&mut material);
    for _ in 0..TURNS_MAX {
        if material.is_empty() {
            break;
        }
        let inputs = (0..=material.below(4)).filter_map(|_| host.input(&mut material)).collect();
        host.turn(inputs);
    }
    host.check();
}

struct Host {
    node: Node,
    now: Instant,
    durable: u64,
    stores: VecDeque<(Ticket, Option<u64>)>,
    calls: VecDeque<(Ticket, Call)>,
    asked: BTreeSet<Ticket>,
    next_ticket: u64,
    /// Connections that live, and whether they carry frames already.
    connections: BTreeMap<ConnectionId, bool>,
    /// Connections that ended in this turn: what was said to them before is void.
    ended: BTreeSet<ConnectionId>,
    accepted: u64,
    dialled: u64,
}

fn named(number: usize) -> NodeId {
    format!("n{number}").parse().expect("a letter and a digit")
}

fn address(number: usize) -> SocketAddr {
    ([10, 0, 0, u8::try_from(number).expect("a few")], 7420).into()
}

/// One of three peers, in one of a few lives; sometimes our own name.
fn peer(material: &mut Material<'_>) -> Replica {
    let number = [2, 2, 2, 3, 3, 4, 4, 1].get(material.below(8)).copied().unwrap_or(2);
    let life = [1, 1, 1, 2, 3, LIFE, LIFE + 1, u64::MAX].get(material.below(8)).copied();
    Replica { node: named(number), incarnation: Incarnation(life.unwrap_or(1)) }
}

impl Host {
    fn new(material: &mut Material<'_>) -> Host {
        let cluster = ClusterId(CLUSTER.into());
        let mut settings = Settings::new(named(1), cluster, address(1), Profile::Local);
        settings.membership.join = vec!["n2:7420".to_owned(), "n3:7420".to_owned()];
        settings.tombstones_max = 1 + material.below(4);
        settings.gossip.direct_max = 64 * material.below(2);
        let now = Instant::from_millis(1000);
        let node = Node::boot(settings, Incarnation(LIFE), &Image::new(), [7; 32], now);
        let mut host = Host {
            node,
            now,
            durable: LIFE,
            stores: VecDeque::new(),
            calls: VecDeque::new(),
            asked: BTreeSet::new(),
            next_ticket: 0,
            connections: BTreeMap::new(),
            ended: BTreeSet::new(),
            accepted: 0,
            dialled: 0,
        };
        host.turn(vec![Input::Start]);
        host
    }

    /// What happens next; `None`: nothing, or only time goes by.
    fn input(&mut self, material: &mut Material<'_>) -> Option<Input> {
        match material.below(16) {
            0 | 1 => Some(self.sleep_until_wake()),
            2 => {
                let millis = u64::from(material.byte()) * u64::from(material.byte());
                self.now = self.now + Duration::from_millis(millis);
                None
            }
            3 => Some(Input::Datagram { from: address(2), bytes: garbage(material) }),
            4 | 5 => Some(datagram(material)),
            6 => self.connected(material),
            7 => Some(self.accept()),
            8 | 9 => self.frame(material),
            10 => self.end(material),
            11 => {
                let connection = self.any(material)?;
                let bytes = 1 << material.below(20);
                Some(Input::Writable { connection, bytes })
            }
            12 => {
                let (ticket, incarnation) = self.stores.pop_front()?;
                self.durable = self.durable.max(incarnation.unwrap_or(0));
                Some(Input::Stored { ticket })
            }
            13 => self.answer(material),
            _ => Some(self.request(material)),
        }
    }

    fn sleep_until_wake(&mut self) -> Input {
        let wake = self.node.next_wake().map_or(self.now, |wake| wake.at);
        self.now = self.now.max(wake);
        Input::Wake
    }

    fn any(&self, material: &mut Material<'_>) -> Option<ConnectionId> {
        let index = material.below(self.connections.len().clamp(1, 256));
        self.connections.keys().nth(index).copied()
    }

    fn forget(&mut self, connection: ConnectionId) {
        self.connections.remove(&connection);
        self.ended.insert(connection);
    }

    /// A dial ends, one way or the other.
    fn connected(&mut self, material: &mut Material<'_>) -> Option<Input> {
        let connection = *self.connections.iter().find(|(_, open)| !**open)?.0;
        if material.below(4) == 0 {
            self.forget(connection);
            return Some(Input::ConnectFailed { connection });
        }
        self.connections.insert(connection, true);
        Some(Input::Connected { connection })
    }

    fn accept(&mut self) -> Input {
        self.accepted += 1;
        let connection = ConnectionId::accepted(self.accepted);
        self.connections.insert(connection, true);
        Input::Accepted { connection, from: address(3) }
    }

    fn frame(&mut self, material: &mut Material<'_>) -> Option<Input> {
        let open: Vec<ConnectionId> =
            self.connections.iter().filter(|(_, open)| **open).map(|(id, _)| *id).collect();
        let connection = *open.get(material.below(open.len().clamp(1, 256)))?;
        let frame = match material.below(8) {
            0 => Frame::new(Class::Session, garbage(material).to_vec()),
            1 => Frame::new(Class::Gossip, garbage(material).to_vec()),
            2 => Frame::new(Class::Session, encode(&material.session())),
            3 => Frame::new(Class::Session, encode(&greeting(connection, material))),
            4 => Frame::new(Class::Control, encode(&material.control())),
            5 => Frame::new(Class::Gossip, encode(&material.gossip())),
            _ => {
                let segments = vec![segment(material)].into();
                let answers = None;
                let told = quorate_core::wire::message::Segments { segments, answers };
                let told = quorate_core::wire::message::Gossip::Segments(told);
                Frame::new(Class::Gossip, encode(&told))
            }
        };
        Some(Input::Frame { connection, frame })
    }

    fn end(&mut self, material: &mut Material<'_>) -> Option<Input> {
        let connection = self.any(material)?;
        match material.below(6) {
            // These are still to be closed.
            0 => Some(Input::Broken { connection, what: "garbage".to_owned() }),
            1 => Some(Input::Unsecured { connection, what: "no certificate".to_owned() }),
            2 => Some(Input::Misnamed { connection }),
            _ => {
                self.forget(connection);
                Some(Input::Closed { connection })
            }
        }
    }

    fn answer(&mut self, material: &mut Material<'_>) -> Option<Input> {
        let (ticket, call) = self.calls.pop_front()?;
        let answer = match call {
            Call::Resolve { .. } => {
                let count = material.below(4);
                Answer::Resolved((0..count).map(|_| address(1 + material.below(5))).collect())
            }
            Call::Probe(_) => {
                let outcomes = [ProbeOutcome::Good, ProbeOutcome::Status, ProbeOutcome::Policy];
                let outcome = outcomes.get(material.below(3)).copied();
                let took = Duration::from_millis(u64::from(material.byte()));
                Answer::Probed { outcome: outcome.unwrap_or(ProbeOutcome::Good), took }
            }
            Call::Credential(_) => unreachable!("a node without a store of credentials asks none"),
        };
        Some(Input::Answered { ticket, answer })
    }

    fn request(&mut self, material: &mut Material<'_>) -> Input {
        self.next_ticket += 1;
        let ticket = Ticket(self.next_ticket);
        self.asked.insert(ticket);
        Input::Request { ticket, request: request(material) }
    }

    /// One turn, and what it asks for.
    fn turn(&mut self, inputs: Vec<Input>) {
        let mut effects = Vec::new();
        for input in inputs {
            self.node.handle(self.now, input, &mut effects);
        }
        self.node.flush(self.now, &mut effects);
        for effect in effects {
            self.perform(effect);
        }
        self.ended.clear();
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Datagram { bytes, .. } => self.leaves(&bytes),
            Effect::Send { connection, .. } => {
                let open = self.connections.get(&connection) == Some(&true);
                let open = open || self.ended.contains(&connection);
                assert!(open, "L-5: {connection:?} is no connection to send on");
            }
            Effect::Connect { connection, .. } => {
                assert!(connection.is_dialled(), "{connection:?} is a number of the host's");
                assert!(self.dialled < connection.0, "L-5: {connection:?} was used before");
                self.dialled = connection.0;
                self.connections.insert(connection, false);
            }
            Effect::Disconnect { connection } => {
                let known = self.connections.remove(&connection);
                let known = known.is_some() || self.ended.contains(&connection);
                assert!(known, "L-5: {connection:?} is not there to be closed");
            }
            Effect::Store { ticket, batch } => {
                let life = batch.iter().rev().find_map(incarnation);
                self.stores.push_back((ticket, life));
            }
            Effect::Call { ticket, call } => self.calls.push_back((ticket, call)),
            Effect::Reply { ticket, .. } => {
                assert!(
                    self.asked.remove(&ticket),
                    "{ticket:?} was answered twice, or never asked"
                );
            }
            Effect::Announce(_) => {}
        }
    }

    /// M-3 and M-4.
    fn leaves(&self, bytes: &[u8]) {
        assert!(bytes.len() + limits::SEAL_BYTES <= limits::DATAGRAM_BYTES_MAX, "M-4: too long");
        let datagram = parse(bytes).expect("a node sends what can be read");
        let Incarnation(life) = datagram.sender.incarnation;
        assert_eq!(datagram.sender.node, named(1), "it speaks in another's name");
        assert!(life <= self.durable, "M-3: life {life} is not durable, {} is", self.durable);
    }

    /// Everything that a machine can say of itself.
    fn check(&self) {
        self.node.membership().check().expect("membership");
        self.node.links().check().expect("links");
        self.node.maps().check().expect("maps");
        self.node.workers().check().expect("workers");
        self.node.workers().check_snapshot().expect("the snapshot of workers");
    }
}

fn incarnation(row: &(Keyspace, String, Option<Blob>)) -> Option<u64> {
    let (keyspace, key, value) = row;
    let named = *keyspace == Keyspace::Meta && key == INCARNATION_KEY;
    decode::<u64, 9>(value.as_ref().filter(|_| named)?).ok()
}

fn garbage(material: &mut Material<'_>) -> Blob {
    let count = material.below(64);
    (0..count).map(|_| material.byte()).collect::<Vec<u8>>().into()
}

fn datagram(material: &mut Material<'_>) -> Input {
    let sender = peer(material);
    let mut writer = Writer::new(&sender);
    for _ in 0..=material.below(3) {
        let (kind, bytes) = match material.below(7) {
            0 => (Kind::Swim, garbage(material).to_vec()),
            1 => (Kind::Digest, encode(&material.digest())),
            2 => (Kind::Rows, encode(&material.rows())),
            3 => (Kind::Pull, encode(&material.pull())),
            4 => (Kind::Departed, encode(&material.departed())),
            5 => (Kind::Retired, encode(&material.retired())),
            _ => (Kind::Segment, encode(&segment(material))),
        };
        if bytes.len() + limits::SECTION_HEADER_BYTES <= writer.budget() {
            writer.section(kind, &bytes);
        }
    }
    Input::Datagram { from: address(2), bytes: writer.finish().into() }
}

/// A greeting that may be welcome: to a dial it is an answer.
fn greeting(connection: ConnectionId, material: &mut Material<'_>) -> Session {
    let Replica { node, incarnation } = peer(material);
    let chosen = (PROTOCOL.1, PROTOCOL.1);
    let greeting = Greeting {
        magic: MAGIC,
        cluster: ClusterId(CLUSTER.into()),
        protocol: if connection.is_dialled() { chosen } else { PROTOCOL },
        node,
        incarnation,
        born: Incarnation(1),
        addresses: vec![address(2)].into(),
        called: None,
        genesis: None,
        resume: vec![].into(),
        settings: vec![].into(),
    };
    if connection.is_dialled() { Session::Welcome(greeting) } else { Session::Hello(greeting) }
}

/// A segment that may be believed, or nearly.
fn segment(material: &mut Material<'_>) -> Segment {
    let topic = if material.below(2) == 0 { Topic::FACTS } else { Topic::WORKERS };
    let from = material.below(8) as u64;
    let entries: Vec<Entry> = (0..material.below(4))
        .map(|index| {
            let keys = ["", "leaving", "labels", "evict/n1", "evict/n3", "lease", "w/x"];
            let key = Key::from(keys.get(material.below(7)).copied().unwrap_or(""));
            let values = [Blob::from("true"), Blob::from("5"), Blob::default()];
            let value = values.get(material.below(4)).cloned();
            Entry { sequence: from + 1 + index as u64, key, value }
        })
        .collect();
    let upto = entries.last().map_or(from + 1, |entry| entry.sequence);
    let head = upto + material.below(4) as u64;
    let floor = material.below(8) as u64;
    let replica = peer(material);
    Segment { topic, replica, from, upto, floor, through: upto, head, entries: entries.into() }
}

fn request(material: &mut Material<'_>) -> Request {
    let url = format!("http://10.0.0.{}:8000", material.below(6));
    let target = || Target::Url(url.clone());
    match material.below(12) {
        0 => Request::Join { addresses: vec!["n4:7420".to_owned()] },
        1 => Request::Leave { remove_workers: material.below(2) == 0, restarting: false },
        2 => Request::Evict { node: named(1 + material.below(4)) },
        3 => {
            let label = ("key".to_owned(), "x".repeat(material.below(256)));
            Request::SetLabels { labels: BTreeMap::from([label]) }
        }
        4 => Request::Drain { on: material.below(2) == 0 },
        5..=7 => {
            let health = [("by", "owner"), ("by", "each")].get(material.below(2)).copied();
            let (by, who) = health.unwrap_or(("by", "each"));
            let value = serde_json::json!({"url": url, "health": {by: who}});
            let spec = Spec::from_request(value).expect("a good spec");
            Request::Worker(Command::Register { spec: Box::new(spec), keyed: false })
        }
        8 => Request::Worker(Command::Remove {
            targets: vec![target()],
            revision: None,
            now: material.below(2) == 0,
        }),
        9 => Request::Worker(Command::Drain(target())),
        10 => Request::Worker(Command::Suppress(target())),
        _ => {
            let outcome = if material.below(4) == 0 { Outcome::Good } else { Outcome::Bad };
            Request::Worker(Command::Report { target: target(), outcome })
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{replay, search};

    #[test]
    fn seeds() {
        replay::every_file("node", super::typed);
    }

    #[test]
    fn search_lives() {
        search::few("node");
    }
}

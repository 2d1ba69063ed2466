//! `foca` with its settings for a local network and nothing around it: everybody knows everybody at the start, and a
//! write is a custom broadcast.

use std::cell::Cell;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::rc::Rc;
use std::time::Duration;

use foca::{
    BroadcastHandler, Config, Foca, Identity, Invalidates, Member, Notification, PostcardCodec,
    Runtime, Timer,
};
use quorate_core::random::Rng;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng as _;
use serde::{Deserialize, Serialize};

use super::{APART_MS, Case, Figures, GIVE_UP_MS, SILENCE_MS, STEP_MS, per_second, rounds};

const OWNER: usize = 17;
/// The value of a write: its number and padding to twenty bytes.
const VALUE_BYTES: usize = 20;

/// A node; whoever is given up comes back in its next life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Place {
    address: SocketAddr,
    life: u32,
}

impl Identity for Place {
    type Addr = SocketAddr;

    fn addr(&self) -> SocketAddr {
        self.address
    }

    fn renew(&self) -> Option<Place> {
        Some(Place { life: self.life + 1, ..*self })
    }

    fn win_addr_conflict(&self, other: &Place) -> bool {
        self.life > other.life
    }
}

/// The newest write that a node has.
struct Newest(Rc<Cell<u64>>);

struct Number(u64);

impl Invalidates for Number {
    fn invalidates(&self, other: &Number) -> bool {
        self.0 > other.0
    }
}

impl BroadcastHandler<Place> for Newest {
    type Key = Number;
    type Error = std::convert::Infallible;

    fn receive_item(
        &mut self,
        data: &[u8],
        _: Option<&Place>,
    ) -> Result<Option<Number>, Self::Error> {
        let number = data.first_chunk::<8>().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        let newer = number > self.0.get();
        self.0.set(number.max(self.0.get()));
        Ok(newer.then_some(Number(number)))
    }
}

type Node = Foca<Place, PostcardCodec, ChaCha8Rng, Newest>;

enum What {
    Timer(Timer<Place>),
    Data(Vec<u8>),
}

/// Something that happens to a node; by time, then in the order in which it came up.
struct Event {
    at_us: u64,
    number: u64,
    node: usize,
    what: What,
}

impl PartialEq for Event {
    fn eq(&self, other: &Event) -> bool {
        self.number == other.number
    }
}

impl Eq for Event {}

impl PartialOrd for Event {
    fn partial_cmp(&self, other: &Event) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Event {
    fn cmp(&self, other: &Event) -> std::cmp::Ordering {
        (self.at_us, self.number).cmp(&(other.at_us, other.number))
    }
}

/// Time, what is to come, and the network.
struct Network {
    now_us: u64,
    events: BinaryHeap<Reverse<Event>>,
    number: u64,
    loss_percent: u64,
    rng: Rng,
    bytes: u64,
}

impl Network {
    fn push(&mut self, after_us: u64, node: usize, what: What) {
        self.number += 1;
        let event = Event { at_us: self.now_us + after_us, number: self.number, node, what };
        self.events.push(Reverse(event));
    }
}

/// What one node sees of the network.
struct Host<'a> {
    network: &'a mut Network,
    node: usize,
}

impl Runtime<Place> for Host<'_> {
    fn notify(&mut self, _: Notification<'_, Place>) {}

    fn send_to(&mut self, to: Place, data: &[u8]) {
        self.network.bytes += data.len() as u64;
        if self.network.rng.below(100) >= self.network.loss_percent {
            let after = 200 + self.network.rng.below(2_800);
            self.network.push(after, usize::from(to.address.port()), What::Data(data.to_vec()));
        }
    }

    fn submit_after(&mut self, event: Timer<Place>, after: Duration) {
        let after = u64::try_from(after.as_micros()).expect("timers are short");
        self.network.push(after, self.node, What::Timer(event));
    }
}

struct Cluster {
    nodes: Vec<Node>,
    newest: Vec<Rc<Cell<u64>>>,
    network: Network,
}

pub(super) fn measure(case: Case) -> Figures {
    let mut cluster = Cluster::new(case);
    cluster.advance(SILENCE_MS / 2);
    let before = cluster.network.bytes;
    cluster.advance(SILENCE_MS);
    let idle_bytes = per_second(cluster.network.bytes - before, case.nodes);
    let rounds = (1..=case.writes).map(|number| cluster.write(case, number)).collect();
    Figures { rounds, idle_bytes }
}

impl Cluster {
    fn new(case: Case) -> Cluster {
        let size = u32::try_from(case.nodes).ok().and_then(NonZeroU32::new).expect("some nodes");
        let newest: Vec<Rc<Cell<u64>>> = (0..case.nodes).map(|_| Rc::default()).collect();
        let node = |(index, newest): (usize, &Rc<Cell<u64>>)| {
            let rng = ChaCha8Rng::seed_from_u64(index as u64);
            let (config, codec) = (Config::new_lan(size), PostcardCodec);
            let handler = Newest(newest.clone());
            Foca::with_custom_broadcast(place(index), config, rng, codec, handler)
        };
        let nodes = newest.iter().enumerate().map(node).collect();
        let network = Network {
            now_us: 0,
            events: BinaryHeap::new(),
            number: 0,
            loss_percent: case.loss_percent,
            rng: Rng::from_number(1),
            bytes: 0,
        };
        let mut cluster = Cluster { nodes, newest, network };
        for (index, node) in cluster.nodes.iter_mut().enumerate() {
            let others = (0..case.nodes).filter(|other| *other != index);
            let others = others.map(|other| Member::alive(place(other)));
            let host = Host { network: &mut cluster.network, node: index };
            node.apply_many(others, false, host).expect("members can be applied");
        }
        cluster
    }

    fn advance(&mut self, to_ms: u64) {
        let end = to_ms * 1000;
        while self.network.events.peek().is_some_and(|Reverse(event)| event.at_us <= end) {
            let Some(Reverse(event)) = self.network.events.pop() else { break };
            self.network.now_us = event.at_us;
            let host = Host { network: &mut self.network, node: event.node };
            let node = self.nodes.get_mut(event.node).expect("events are of nodes");
            let done = match event.what {
                What::Timer(timer) => node.handle_timer(timer, host),
                What::Data(data) => node.handle_data(&data, host),
            };
            // A packet about somebody who was forgotten meanwhile is refused, which changes nothing.
            drop(done);
        }
        self.network.now_us = end;
    }

    fn write(&mut self, case: Case, number: u64) -> f64 {
        let began = self.network.now_us / 1000;
        let mut value = number.to_le_bytes().to_vec();
        value.resize(VALUE_BYTES, 0);
        let owner = self.nodes.get_mut(OWNER).expect("more nodes than that");
        owner.add_broadcast(&value).expect("a broadcast fits");
        let mut now = began;
        while now < began + GIVE_UP_MS {
            now += STEP_MS;
            self.advance(now);
            if self.newest.iter().filter(|newest| newest.get() >= number).count() >= case.enough() {
                break;
            }
        }
        self.advance((began + APART_MS).max(now));
        rounds(now - began)
    }
}

fn place(index: usize) -> Place {
    let port = u16::try_from(index).expect("at most 65 535 nodes");
    Place { address: (Ipv4Addr::LOCALHOST, port).into(), life: 0 }
}

//! A whole node: what a turn costs that changed one row of a large table, and what readers pay.

use std::cell::RefCell;
use std::sync::Arc;

use divan::Bencher;
use divan::counter::ItemsCount;
use quorate_core::ids::{ClusterId, ConnectionId, Incarnation, NodeId};
use quorate_core::machine::Machine;
use quorate_core::node::settings::Profile;
use quorate_core::node::{Effect, Image, Input, Node, Settings};
use quorate_core::time::Instant;
use quorate_core::wire::frame::{Class, Frame};
use quorate_core::wire::message::{Gossip, Listed, ListedState, Members, Purpose, Segments};
use quorate_core::wire::segment::{Entry, Key, Segment, Topic};
use quorate_core::wire::session::{Greeting, MAGIC, Session};
use quorate_core::wire::{Blob, PROTOCOL, encode};
use quorate_core::workers::claim::{self, Admin, Published, Statement};

use crate::fixtures::{self, NOW};
use crate::picks::{spec, url};

/// A node and the link of its one connected peer, which is node 1.
pub(crate) struct House {
    pub(crate) node: Node,
    connection: ConnectionId,
    effects: Vec<Effect>,
}

impl House {
    /// A node that knows `members` members, itself included.
    fn new(members: usize) -> House {
        let cluster = ClusterId("bench".into());
        let settings =
            Settings::new(fixtures::node(0), cluster.clone(), fixtures::address(0), Profile::Lan);
        let node = Node::boot(settings, Incarnation(1), &Image::new(), [7; 32], NOW);
        let connection = ConnectionId::accepted(1);
        let mut house = House { node, connection, effects: Vec::new() };
        house.take(Input::Start);
        house.take(Input::Accepted { connection, from: fixtures::address(1) });
        house.take(Input::Writable { connection, bytes: 1 << 30 });
        house.frame(Class::Session, encode(&Session::Hello(greeting(cluster))));
        assert!(house.node.linked().contains(&fixtures::node(1)), "the greeting was answered");
        let members = (1..members).map(listed).collect::<Vec<_>>().into();
        let list = Members { purpose: Purpose::News, members };
        house.say(&Gossip::Members(list));
        house.flush();
        house
    }

    /// A node of six with `workers` imported ones, spread over `models` models.
    fn with_workers(workers: usize, models: usize) -> House {
        let mut house = House::new(6);
        imports(workers, models).iter().for_each(|message| house.say(message));
        house.flush();
        let shown = house.node.published().workers.load();
        assert_eq!(shown.entries.len(), workers, "every import was taken in");
        drop(shown);
        house
    }

    fn take(&mut self, input: Input) {
        self.effects.clear();
        self.node.handle(NOW, input, &mut self.effects);
    }

    fn frame(&mut self, class: Class, payload: Vec<u8>) {
        let (connection, frame) = (self.connection, Frame::new(class, payload));
        self.take(Input::Frame { connection, frame });
    }

    fn say(&mut self, message: &Gossip) {
        self.frame(Class::Gossip, encode(message));
    }

    fn flush(&mut self) {
        self.node.flush(NOW, &mut self.effects);
    }
}

fn greeting(cluster: ClusterId) -> Greeting {
    Greeting {
        magic: MAGIC,
        cluster,
        protocol: PROTOCOL,
        node: fixtures::node(1),
        incarnation: Incarnation(1),
        born: Incarnation(1),
        addresses: vec![fixtures::address(1)].into(),
        called: None,
        genesis: None,
        resume: Vec::new().into(),
        settings: Vec::new().into(),
    }
}

pub(crate) fn listed(number: usize) -> Listed {
    Listed {
        replica: fixtures::replica(number),
        born: Incarnation(1),
        address: fixtures::address(number),
        refutation: 0,
        state: ListedState::Alive,
    }
}

fn segments(topic: Topic, owner: usize, from: u64, entries: Vec<Entry>) -> Gossip {
    let upto = from + entries.len() as u64;
    let (replica, entries) = (fixtures::replica(owner), entries.into());
    let segment =
        Segment { topic, replica, from, upto, floor: 0, through: upto, head: upto, entries };
    Gossip::Segments(Segments { segments: vec![segment].into(), answers: None })
}

fn entry(sequence: u64, key: &str, value: Blob) -> Entry {
    Entry { sequence, key: Key::from(key), value: Some(value) }
}

/// What the owner `1 + number / 1000` says of worker `number`.
fn said(number: usize, models: usize, statement: Statement, version: u64) -> (Key, Blob) {
    let spec = spec(number, models, "owner");
    let id = claim::id(&fixtures::node(1 + number / 1000), &spec.url);
    let said = Published {
        v: 1,
        url: spec.url.clone(),
        revision: 1,
        spec,
        admin: Admin::Active,
        statement,
        statement_version: version,
    };
    let value = serde_json::to_vec(&said).expect("a claim is a JSON object");
    (Key::from(format!("w/{id}")), value.into())
}

/// Leases and claims of each owner, in frames of at most 400 claims.
fn imports(workers: usize, models: usize) -> Vec<Gossip> {
    let owners = workers.div_ceil(1000);
    let of_owner = |owner: usize| {
        let lease = entry(1, "lease", Blob::from(r#"{"count":1}"#));
        let mut frames = vec![segments(Topic::WORKERS, owner, 0, vec![lease])];
        let numbers: Vec<usize> = ((owner - 1) * 1000..(owner * 1000).min(workers)).collect();
        let mut sequence = 1;
        for part in numbers.chunks(400) {
            let from = sequence;
            let claims = part.iter().map(|number| {
                sequence += 1;
                let (key, value) = said(*number, models, Statement::Healthy, 1);
                Entry { sequence, key, value: Some(value) }
            });
            frames.push(segments(Topic::WORKERS, owner, from, claims.collect()));
        }
        frames
    };
    (1..=owners).flat_map(of_owner).collect()
}

/// The flush of a turn in which the labels of one member changed.
#[divan::bench(args = [60, 1000], sample_count = 1000, sample_size = 1)]
fn flush_one_changed_member(bencher: Bencher<'_, '_>, members: usize) {
    let house = RefCell::new(House::new(members));
    let mut sequence = 0;
    bencher
        .with_inputs(|| {
            let labels = Blob::from(format!(r#"{{"turn":"{sequence}"}}"#).as_str());
            let fact = entry(sequence + 1, "labels", labels);
            house.borrow_mut().say(&segments(Topic::FACTS, 2, sequence, vec![fact]));
            sequence += 1;
            house.borrow().node.published().members.load().version
        })
        .bench_local_values(|before| {
            let mut house = house.borrow_mut();
            house.flush();
            assert!(house.node.published().members.load().version > before, "it was published");
        });
}

/// The flush of a turn in which one worker turned ready or not ready: in a lane of its own 100, or of all.
#[divan::bench(
    args = [(200, 1), (200, 2), (5000, 1), (5000, 50)],
    sample_count = 500,
    sample_size = 1,
)]
fn flush_one_changed_worker(bencher: Bencher<'_, '_>, (workers, models): (usize, usize)) {
    let house = RefCell::new(House::with_workers(workers, models));
    let mut version = 1;
    let mut sequence = 1 + workers.min(1000) as u64;
    bencher
        .with_inputs(|| {
            version += 1;
            let statement =
                if version % 2 == 0 { Statement::Unhealthy } else { Statement::Healthy };
            let (key, value) = said(77, models, statement, version);
            let claim = Entry { sequence: sequence + 1, key, value: Some(value) };
            house.borrow_mut().say(&segments(Topic::WORKERS, 1, sequence, vec![claim]));
            sequence += 1;
            Arc::clone(&house.borrow().node.published().workers.load())
        })
        .bench_local_refs(|before| {
            let mut house = house.borrow_mut();
            house.flush();
            let shown = house.node.published().workers.load();
            assert!(!Arc::ptr_eq(before, &shown), "it was published");
        });
}

/// The turn that takes 1000 workers in: three frames are decoded, checked, merged and published.
#[divan::bench(sample_count = 20, sample_size = 1)]
fn import_1000_workers(bencher: Bencher<'_, '_>) {
    let frames: Vec<Vec<u8>> = imports(1000, 50).iter().map(encode).collect();
    bencher.counter(ItemsCount::new(1000_u64)).with_inputs(|| House::new(6)).bench_local_refs(
        |house| {
            for frame in &frames {
                house.frame(Class::Gossip, frame.clone());
            }
            house.flush();
            assert_eq!(house.node.published().workers.load().entries.len(), 1000);
        },
    );
}

/// Counts and operators' views, made once per `counts_interval`.
#[divan::bench(args = [(60, 0), (1000, 0), (6, 5000)], sample_count = 100, sample_size = 1)]
fn flush_with_figures(bencher: Bencher<'_, '_>, (members, workers): (usize, usize)) {
    let house = match workers {
        0 => House::new(members),
        workers => House::with_workers(workers, 50),
    };
    let house = RefCell::new(house);
    let mut turn = 0;
    bencher
        .with_inputs(|| {
            turn += 1;
            Instant::from_millis(1 + turn * 1000)
        })
        .bench_local_values(|at| house.borrow_mut().node.flush(at, &mut Vec::new()));
}

#[divan::bench(args = [60, 1000], sample_count = 200, sample_size = 100)]
fn look_up_a_member(bencher: Bencher<'_, '_>, members: usize) {
    let house = House::new(members);
    let names: Vec<NodeId> = (0..members).map(|one| fixtures::node(one * 7919 % members)).collect();
    let mut names = names.iter().cycle();
    let published = house.node.published();
    bencher.with_inputs(|| names.next().expect("a cycle")).bench_local_values(|name| {
        published.members.load().rows.get(name).map(|row| row.incarnation)
    });
}

#[divan::bench(args = [200, 5000], sample_count = 200, sample_size = 100)]
fn look_up_a_worker(bencher: Bencher<'_, '_>, workers: usize) {
    let house = House::with_workers(workers, 50);
    let urls: Vec<String> = (0..workers).map(|one| url(one * 7919 % workers)).collect();
    let mut urls = urls.iter().cycle();
    let published = house.node.published();
    bencher.with_inputs(|| urls.next().expect("a cycle")).bench_local_values(|url| {
        published.workers.load().entries.get(url.as_str()).map(|entry| entry.number)
    });
}

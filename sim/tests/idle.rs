//! What two nodes say to each other when nothing happens: probes, digests, link pings, lists of members,
//! and what is renewed on a schedule. Anything else is a leak that grows with the cluster.

use quorate_core::limits;
use quorate_core::node::workers::{Command, Spec};
use quorate_core::node::{Effect, Request};
use quorate_core::random::Rng;
use quorate_core::wire::datagram::{self, Kind};
use quorate_core::wire::decode;
use quorate_core::wire::frame::{Class, FrameReader};
use quorate_core::wire::message::{Control, Gossip};
use quorate_core::wire::segment::{Segment, Topic};
use quorate_sim::invariants::Checks;
use quorate_sim::plan::Plan;
use quorate_sim::settings;
use quorate_sim::trace::Trace;
use quorate_sim::world::World;
use quorate_sim::world::machine::Machine;

const SECOND_US: u64 = 1_000_000;
const SETTLING: u64 = 60;
const WATCHED: u64 = 120;
/// Longer than one packet and its answer take.
const CROSSING_US: u64 = 5_000;

#[test]
fn an_idle_pair_says_nothing_but_what_is_scheduled() {
    for seed in 1..6 {
        let heard = listen(seed, false);
        assert_eq!(heard.unexpected, Vec::<String>::new(), "seed {seed}");
        // Each owner's lease, which owns nothing yet, once in ten seconds.
        assert!((22..=26).contains(&heard.renewals), "seed {seed}: {} renewals", heard.renewals);
        assert!(heard.crossed <= 2, "seed {seed}: {} digests crossed a renewal", heard.crossed);
        let per_second = heard.messages / WATCHED;
        assert!((2..20).contains(&per_second), "seed {seed}: {per_second} messages a second");
    }
}

#[test]
fn a_pair_with_a_worker_and_an_audit_log_renews_these_and_no_more() {
    for seed in 1..6 {
        let heard = listen(seed, true);
        assert_eq!(heard.unexpected, Vec::<String>::new(), "seed {seed}");
        // The leases, and what was audited once in thirty seconds.
        assert!((26..=30).contains(&heard.renewals), "seed {seed}: {} renewals", heard.renewals);
        assert!(heard.crossed <= 2, "seed {seed}: {} digests crossed a renewal", heard.crossed);
    }
}

#[derive(Default)]
struct Heard {
    messages: u64,
    renewals: u64,
    /// Answers to digests that met a renewal on its way: both sides differ for that long.
    crossed: u64,
    renewed_at: Option<u64>,
    now: u64,
    unexpected: Vec<String>,
}

fn listen(seed: u64, owning: bool) -> Heard {
    let mut world = pair(seed);
    if owning {
        world.advance(10 * SECOND_US);
        let spec = serde_json::json!({"url": "http://10.200.0.1:8000"});
        let spec = Box::new(Spec::from_request(spec).expect("a spec"));
        world.request(0, Request::Worker(Command::Register { spec, keyed: false }));
    }
    world.advance(SETTLING * SECOND_US);
    let mut heard = Heard::default();
    let mut last = newest(&world);
    for second in 1..=WATCHED {
        if owning && second % 30 == 0 {
            world.request(1, Request::TellAudit { sequence: second, hash: "00ff".to_owned() });
        }
        world.advance((SETTLING + second) * SECOND_US);
        for kept in world.trace.kept().filter(|kept| kept.sequence > last) {
            heard.now = kept.at;
            kept.effects.iter().for_each(|effect| heard.effect(effect));
        }
        last = newest(&world);
    }
    assert!(world.failure().is_none(), "{:?}", world.failure());
    heard
}

fn newest(world: &World) -> u64 {
    world.trace.kept().next_back().map_or(0, |kept| kept.sequence)
}

fn pair(seed: u64) -> World {
    let plan = Plan { given: [("nodes".to_owned(), "2".to_owned())].into(), ..Plan::default() };
    let machine = |index| {
        Machine::new(index, settings::node_id(index), settings::of_node(&plan, index), true)
    };
    let machines = (0..2).map(machine).collect();
    let rng = Rng::from_number(seed);
    let mut world = World::new(&rng, machines, Trace::new(true), Checks::new(2));
    world.start(0);
    world.start(1);
    world
}

impl Heard {
    fn effect(&mut self, effect: &Effect) {
        match effect {
            Effect::Datagram { bytes, .. } => self.datagram(bytes),
            Effect::Send { bytes, .. } => self.frames(bytes),
            Effect::Connect { .. } | Effect::Disconnect { .. } => {
                self.unexpected.push(format!("{effect:?}"));
            }
            Effect::Store { .. }
            | Effect::Call { .. }
            | Effect::Reply { .. }
            | Effect::Announce(_) => {}
        }
    }

    fn datagram(&mut self, bytes: &[u8]) {
        self.messages += 1;
        let datagram = datagram::parse(bytes).expect("nodes write what can be read");
        for (kind, body) in datagram.sections {
            match kind {
                Kind::Swim => self.swim(body),
                Kind::Digest => {}
                Kind::Segment => self.segment(
                    &decode::<Segment, { limits::DATAGRAM_BYTES_MAX }>(body).expect("a segment"),
                ),
                Kind::Rows | Kind::Pull if self.crosses() => self.crossed += 1,
                Kind::Rows | Kind::Pull | Kind::Departed | Kind::Retired => {
                    self.unexpected.push(format!("a section {kind:?}"));
                }
            }
        }
    }

    fn frames(&mut self, bytes: &[u8]) {
        let mut reader = FrameReader::default();
        reader.push(bytes);
        while let Some(frame) = reader.next_frame().expect("nodes write what can be read") {
            self.messages += 1;
            match frame.class {
                Class::Control => self.control(&frame.payload),
                Class::Gossip => self.gossip(&frame.payload),
                Class::Bulk | Class::Broadcast => {
                    self.unexpected.push(format!("a frame of {}", frame.class.name()));
                }
                Class::Session => self.unexpected.push("a frame of a handshake".to_owned()),
            }
        }
    }

    fn control(&mut self, payload: &[u8]) {
        match decode::<Control, { limits::FRAME_CONTROL_BYTES_MAX }>(payload).expect("a control") {
            Control::Ping(_) | Control::Pong(_) => {}
            other @ (Control::Departed(_)
            | Control::Retired(_)
            | Control::Raft(_)
            | Control::Request(_)
            | Control::Reply(_)
            | Control::Acknowledged(_)
            | Control::Relay(_)) => {
                self.unexpected.push(format!("{other:?}"));
            }
        }
    }

    fn gossip(&mut self, payload: &[u8]) {
        match decode::<Gossip, { limits::FRAME_GOSSIP_BYTES_MAX }>(payload).expect("gossip") {
            Gossip::Digest(_) | Gossip::Members(_) => {}
            Gossip::Swim(packet) => self.swim(&packet),
            Gossip::Segments(segments) => {
                segments.segments.iter().for_each(|segment| self.segment(segment));
            }
            Gossip::Rows(_) | Gossip::Pull(_) if self.crosses() => self.crossed += 1,
            other @ (Gossip::Rows(_) | Gossip::Pull(_)) => {
                self.unexpected.push(format!("{other:?}"));
            }
        }
    }

    /// Whether a renewal may still be on its way.
    fn crosses(&self) -> bool {
        self.renewed_at.is_some_and(|at| self.now - at <= CROSSING_US)
    }

    /// Kinds 0 to 5 are probes and their answers; beyond their header they carry news, of which there is none.
    fn swim(&mut self, packet: &[u8]) {
        let kind = packet.get(1).copied();
        let parties = packet.get(5..7).and_then(<[u8]>::first_chunk::<2>).copied();
        let parties = parties.map_or(0, |length| usize::from(u16::from_le_bytes(length)));
        let news = packet.get(7 + parties..).unwrap_or_default();
        if kind.is_none_or(|kind| kind > 5) || !matches!(news, [] | [0, 0]) {
            self.unexpected.push(format!("a packet of kind {kind:?} with news {news:?}"));
        }
    }

    fn segment(&mut self, segment: &Segment) {
        let scheduled = segment.entries.iter().all(|entry| match segment.topic {
            Topic::WORKERS => &*entry.key == "lease",
            Topic::FACTS => &*entry.key == "audit",
            _ => false,
        });
        if scheduled && !segment.entries.is_empty() {
            self.renewals += 1;
            self.renewed_at = Some(self.now);
        } else {
            self.unexpected.push(format!("{segment:?}"));
        }
    }
}

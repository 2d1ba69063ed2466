//! Names, maps and members that several benches start from.

use std::net::SocketAddr;
use std::time::Duration;

use quorate_core::ids::{Incarnation, NodeId, Notice, Replica};
use quorate_core::machine::Machine;
use quorate_core::replica::{Input, Maps, Registration, Settings};
use quorate_core::time::Instant;
use quorate_core::wire::segment::{Entry, Key, Segment, Topic};
use quorate_core::wire::{Blob, Transport};

/// One instant for everything that does not depend on time.
pub(crate) const NOW: Instant = Instant::from_millis(1);

pub(crate) fn node(number: usize) -> NodeId {
    format!("node-{number:04}").parse().expect("a node id")
}

pub(crate) fn replica(number: usize) -> Replica {
    Replica { node: node(number), incarnation: Incarnation(1) }
}

pub(crate) fn address(number: usize) -> SocketAddr {
    SocketAddr::from(([10, 1, 0, 1], u16::try_from(number + 1024).expect("few nodes")))
}

pub(crate) fn up(number: usize) -> Notice {
    let replica = replica(number);
    Notice::Up { born: replica.incarnation, replica, address: address(number) }
}

/// Empty maps of node 0 for `topics`, which believe anything.
pub(crate) fn maps(topics: &[Topic]) -> Maps {
    let registrations = topics.iter().map(|topic| Registration {
        topic: *topic,
        check: |_, _, _| Ok(()),
        entries_max: 1_000_000,
        dies_with_process: false,
    });
    let settings = Settings {
        tombstones_max: 4096,
        fences_max: 65_536,
        ready_timeout: Duration::from_secs(60),
    };
    Maps::new(replica(0), registrations.collect(), settings)
}

/// `count` entries from sequence 1 on, each with a value of `value_bytes`.
pub(crate) fn segment(topic: Topic, owner: &Replica, count: u64, value_bytes: usize) -> Segment {
    let entries = (1..=count).map(|sequence| Entry {
        sequence,
        key: key(sequence),
        value: Some(Blob::from(vec![7; value_bytes])),
    });
    Segment {
        topic,
        replica: owner.clone(),
        from: 0,
        upto: count,
        floor: 0,
        through: count,
        head: count,
        entries: entries.collect::<Vec<_>>().into(),
    }
}

/// Keys in no order, as identifiers are.
pub(crate) fn key(number: u64) -> Key {
    Key::from(format!("w/{:016x}", number.wrapping_mul(0x9E37_79B9_7F4A_7C15)))
}

pub(crate) fn apply(maps: &mut Maps, from: usize, segment: Segment) {
    let input = Input::Segment { from: node(from), transport: Transport::Link, segment };
    maps.handle(NOW, input, &mut Vec::new());
}

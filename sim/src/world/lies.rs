//! The hostile peer: a member that holds the cluster's keys and says what is not so.
//!
//! | lie | must be |
//! | --- | --- |
//! | a claim of another node in its own map | refused: its id is not its author's |
//! | a head or a progress beyond what any owner reaches | refused |
//! | a head far beyond what the receiver has seen of a map | refused |
//! | news of lives that are long over | ignored |
//! | that a third node is retired for ever, or a former life of the receiver departed | ignored |
//! | a question, over the link, about the receiver itself | ignored, about a former life |
//! | a greeting of another cluster, from an address that nobody knows | left without a byte |
//!
//! Absent on purpose: what no receiver can tell from the truth. Segments carry no signature of their owner,
//! so whoever holds the keys may write a third node's entries as that would, or tell a node that its present
//! life is over.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use quorate_core::ids::{ClusterId, ConnectionId, Incarnation, Replica};
use quorate_core::limits;
use quorate_core::node::Input;
use quorate_core::node::workers::claim;
use quorate_core::wire::datagram::{Kind, Writer};
use quorate_core::wire::frame::{Class, Frame};
use quorate_core::wire::message::{
    Departed, Gossip, Listed, ListedState, Members, Purpose, Retired, Row, Rows,
};
use quorate_core::wire::segment::{Entry, Key, Progress, Segment, Topic};
use quorate_core::wire::session::{Greeting, MAGIC, Session};
use quorate_core::wire::{Blob, PROTOCOL, encode};

use super::World;
use super::machine::Process;
use crate::clock::Micros;

/// Sequences from here on no owner reaches. `replica.md` §2, row 1.
const ABSURD: u64 = 1 << 56;
/// The same, counted from what a receiver has seen.
const FAR: u64 = 1 << 33;
/// Where somebody is who is of another cluster.
const STRANGER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 255, 255, 1)), 40_000);

impl World {
    /// The member on `machine` lies to somebody, and will again.
    pub(super) fn lie(&mut self, machine: usize, until: Micros, pause: Micros) {
        let next = self.now + 1 + self.draws_of(machine).lie.below(2 * pause.max(1));
        if next < until {
            self.queue.push(next, super::Event::Lie { machine, until, pause });
        }
        let running = |index: &usize| *index != machine && self.machine(*index).process.is_some();
        let others: Vec<usize> = (0..self.machines.len()).filter(running).collect();
        let draws = &mut self.draws_of(machine).lie;
        let (Some(to), Some(about)) = (draws.pick(&others).copied(), draws.pick(&others).copied())
        else {
            return;
        };
        let which = draws.below(9);
        match which {
            7 => return self.question(machine, to),
            8 => return self.stranger(to),
            _ => {}
        }
        let from = self.machine(machine).address;
        let Some(bytes) = self.false_words(machine, to, about, which) else { return };
        let number = self.machine(to).process.as_ref().map(|process| process.number);
        self.faults.count("lie");
        if let Some(number) = number {
            self.input(to, number, Input::Datagram { from, bytes });
        }
    }

    /// Somebody connects who is of another cluster, or who does not greet at all.
    fn stranger(&mut self, to: usize) {
        let greets = self.draws_of(to).lie.chance(1, 2);
        let host = self.machine_mut(to);
        let Some(process) = host.process.as_mut().filter(|process| !process.asleep) else { return };
        process.accepted += 1;
        let (connection, number) = (ConnectionId::accepted(process.accepted), process.number);
        let stranger = Greeting {
            magic: MAGIC,
            cluster: ClusterId("elsewhere".into()),
            protocol: PROTOCOL,
            node: process.node.local().node.clone(),
            incarnation: process.born,
            born: process.born,
            addresses: vec![STRANGER].into(),
            called: None,
            genesis: None,
            resume: vec![].into(),
            settings: vec![].into(),
        };
        let frame = match greets {
            true => Frame::new(Class::Session, encode(&Session::Hello(stranger))),
            false => Frame::new(Class::Bulk, b"GET / HTTP/1.1".to_vec()),
        };
        self.faults.count("lie");
        self.input(to, number, Input::Accepted { connection, from: STRANGER });
        self.input(to, number, Input::Writable { connection, bytes: limits::WINDOW_BYTES });
        self.input(to, number, Input::Frame { connection, frame });
    }

    /// Asks a peer about its own former life, as about somebody whom the liar holds failed.
    fn question(&mut self, liar: usize, to: usize) {
        let Some(hearer) = &self.machine(to).process else { return };
        let Some(former) = hearer.born.0.checked_sub(1).map(Incarnation) else { return };
        let replica = Replica { node: hearer.node.local().node.clone(), incarnation: former };
        let about = Listed {
            replica,
            born: former,
            address: self.machine(to).address,
            refutation: 0,
            state: ListedState::Down,
        };
        let list = Members { purpose: Purpose::Question, members: vec![about].into() };
        let frame = Frame::new(Class::Gossip, encode(&Gossip::Members(list)));
        if self.write_between(liar, to, Blob::from(frame.encode())) {
            self.faults.count("lie");
        }
    }

    fn false_words(&self, liar: usize, to: usize, about: usize, which: u64) -> Option<Blob> {
        let liar = self.machine(liar).process.as_ref()?.node.local();
        let hearer = self.machine(to).process.as_ref()?;
        let third = self.machine(about).process.as_ref()?.node.local();
        let mut writer = Writer::new(liar);
        match which {
            0 => writer.section(Kind::Segment, &encode(&foreign_claim(liar, third, hearer))),
            1 => writer.section(Kind::Segment, &encode(&with_head(third, hearer, ABSURD)?)),
            2 => {
                // A node that is shown more of its own map than it wrote must take that for a former life, and
                // whoever knows nothing of a map believes any head: what is said must be heard at once.
                let at_once = hearer.standing_until.is_none() && hearer.inbox.is_empty();
                let told = at_once && about != to;
                let seen = complete(hearer, third).filter(|seen| *seen > 0 && told)?;
                writer.section(Kind::Segment, &encode(&with_head(third, hearer, seen + FAR)?));
            }
            3 => writer.section(Kind::Segment, &encode(&former_life(third, hearer))),
            4 => {
                let before = hearer.born.0.checked_sub(1)?;
                let notice = Departed { incarnation: Incarnation(before) };
                writer.section(Kind::Departed, &encode(&notice));
            }
            5 => {
                if third.node == hearer.node.local().node {
                    return None;
                }
                let notice = Retired { node: third.node.clone(), fence: Incarnation(u64::MAX / 2) };
                writer.section(Kind::Retired, &encode(&notice));
            }
            _ => {
                if third.node == hearer.node.local().node {
                    return None;
                }
                let progress = Progress { complete: ABSURD, head: ABSURD, floor: 0 };
                let row = Row { topic: Topic::WORKERS, replica: third.clone(), progress };
                let rows = Rows { last: true, buckets: 0, rows: vec![row].into() };
                writer.section(Kind::Rows, &encode(&rows));
            }
        }
        Some(Blob::from(writer.finish()))
    }
}

/// How far `process` is with the workers of `replica`.
fn complete(process: &Process, replica: &Replica) -> Option<u64> {
    let progress = process.node.maps().progress(Topic::WORKERS, replica)?;
    Some(progress.complete)
}

fn segment(replica: Replica, from: u64, head: u64, entries: Vec<Entry>) -> Segment {
    Segment {
        topic: Topic::WORKERS,
        replica,
        from,
        upto: from + 1,
        floor: 0,
        through: from + 1,
        head,
        entries: entries.into(),
    }
}

/// An entry as `author` would write it.
fn claim_of(author: &Replica, sequence: u64) -> Entry {
    let url = "http://10.200.255.1:8000";
    let key = Key::from(format!("w/{}", claim::id(&author.node, url)));
    let value = serde_json::json!({
        "v": 1, "url": url, "revision": 1, "spec": {"url": url}, "admin": "active",
        "statement": "healthy", "statement_version": 1,
    });
    Entry { sequence, key, value: Some(Blob::from(value.to_string().into_bytes())) }
}

/// The next entry of the liar's own map is a claim of somebody else.
fn foreign_claim(liar: &Replica, third: &Replica, hearer: &Process) -> Segment {
    let at = complete(hearer, liar).unwrap_or_default();
    segment(liar.clone(), at, at + 1, vec![claim_of(third, at + 1)])
}

/// The next piece of a map, which is said to be longer than it can be.
fn with_head(third: &Replica, hearer: &Process, head: u64) -> Option<Segment> {
    let at = complete(hearer, third)?;
    Some(segment(third.clone(), at, head, Vec::new()))
}

/// Something that a life wrote which never was, long before the present one.
fn former_life(third: &Replica, hearer: &Process) -> Segment {
    let life = Replica { node: third.node.clone(), incarnation: Incarnation(1) };
    let at = complete(hearer, &life).unwrap_or_default();
    segment(life.clone(), at, at + 1, vec![claim_of(&life, at + 1)])
}

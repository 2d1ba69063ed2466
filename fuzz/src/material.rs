//! Well-formed values out of arbitrary bytes.
//!
//! Every input gives a value: what is missing reads as zero. Small changes of the input are small
//! changes of the value, so an engine can steer. Numbers prefer the steps of the variable integers,
//! lengths prefer to be short.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use quorate_core::ids::{ClusterId, Incarnation, NodeId, Replica};
use quorate_core::wire::message::{
    Acknowledged, Control, Departed, Digest, Gossip, Listed, ListedState, Members, Ping, Pong,
    Pull, Purpose, Relay, Reply, Request, Retired, Row, Rows, Segments, Want,
};
use quorate_core::wire::segment::{Entry, Key, Progress, Segment, Topic};
use quorate_core::wire::session::{Bye, Greeting, MAGIC, Refusal, Session};
use quorate_core::wire::{Blob, List};

/// Bytes that values are made of.
#[derive(Debug)]
pub struct Material<'a> {
    rest: &'a [u8],
}

impl<'a> Material<'a> {
    /// All of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Material<'a> {
        Material { rest: bytes }
    }

    /// Whether everything was used: what follows is zero.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.rest.split_first() else { return 0 };
        self.rest = rest;
        *first
    }

    /// A number below `bound`, which is at most 256 and not 0.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::from(self.byte()) % bound
    }

    fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// Any number, often one at a step of its encoding.
    pub fn number(&mut self) -> u64 {
        match self.byte() {
            small @ 0..=199 => u64::from(small),
            200..=219 => 250 + u64::from(self.byte() % 3),
            220..=229 => 0xFFFE + u64::from(self.byte() % 3),
            230..=239 => 0xFFFF_FFFE + u64::from(self.byte() % 3),
            240..=244 => u64::MAX - u64::from(self.byte() % 3),
            _ => u64::from_le_bytes(std::array::from_fn(|_| self.byte())),
        }
    }

    fn short_number(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    fn text(&mut self) -> String {
        let letters = ['a', 'z', '/', ':', '0', ' ', 'é', '漢', '\u{10FFFF}', '\0', '"', '@'];
        let count = self.below(24);
        (0..count).filter_map(|_| letters.get(self.below(letters.len()))).collect()
    }

    fn blob(&mut self) -> Blob {
        let count = self.below(64);
        (0..count).map(|_| self.byte()).collect::<Vec<u8>>().into()
    }

    fn list<T, const MAX: usize>(&mut self, item: impl Fn(&mut Self) -> T) -> List<T, MAX> {
        let count = self.below(9).min(MAX);
        (0..count).map(|_| item(self)).collect::<Vec<T>>().into()
    }

    fn optional<T>(&mut self, item: impl Fn(&mut Self) -> T) -> Option<T> {
        self.flag().then(|| item(self))
    }

    /// A legal node id.
    pub fn node(&mut self) -> NodeId {
        let letters = b"abz019._-";
        let count = self.below(62);
        let middle: String = (0..count)
            .filter_map(|_| letters.get(self.below(letters.len())))
            .map(|letter| char::from(*letter))
            .collect();
        format!("n{middle}1").parse().expect("letters at both ends, legal ones between")
    }

    fn incarnation(&mut self) -> Incarnation {
        Incarnation(self.number())
    }

    /// A replica.
    pub fn replica(&mut self) -> Replica {
        Replica { node: self.node(), incarnation: self.incarnation() }
    }

    fn address(&mut self) -> SocketAddr {
        let port = self.short_number();
        if self.flag() {
            let groups: [u8; 16] = std::array::from_fn(|_| self.byte());
            return (Ipv6Addr::from(groups), port).into();
        }
        let octets: [u8; 4] = std::array::from_fn(|_| self.byte());
        (Ipv4Addr::from(octets), port).into()
    }

    fn topic(&mut self) -> Topic {
        Topic(self.byte())
    }

    /// An entry, well formed and not believed.
    pub fn entry(&mut self) -> Entry {
        Entry {
            sequence: self.number(),
            key: Key::from(self.text()),
            value: self.optional(Self::blob),
        }
    }

    /// A segment, well formed and not believed.
    pub fn segment(&mut self) -> Segment {
        Segment {
            topic: self.topic(),
            replica: self.replica(),
            from: self.number(),
            upto: self.number(),
            floor: self.number(),
            through: self.number(),
            head: self.number(),
            entries: self.list(Self::entry),
        }
    }

    /// Any session message.
    pub fn session(&mut self) -> Session {
        match self.below(4) {
            0 => Session::Hello(self.greeting()),
            1 => Session::Welcome(self.greeting()),
            2 => Session::Refused(self.refusal()),
            _ => Session::Bye(match self.below(4) {
                0 => Bye::Duplicate,
                1 => Bye::Leaving,
                2 => Bye::Restarting,
                _ => Bye::Closing,
            }),
        }
    }

    fn greeting(&mut self) -> Greeting {
        Greeting {
            magic: if self.flag() { MAGIC } else { std::array::from_fn(|_| self.byte()) },
            cluster: ClusterId(self.text().into()),
            protocol: (self.short_number(), self.short_number()),
            node: self.node(),
            incarnation: self.incarnation(),
            born: self.incarnation(),
            addresses: self.list(Self::address),
            called: self.optional(Self::node),
            genesis: self.optional(|more| u128::from(more.number()) << more.below(65)),
            resume: self.list(|more| (more.byte(), more.incarnation(), more.number())),
            settings: self.list(|more| (more.text(), more.text())),
        }
    }

    fn refusal(&mut self) -> Refusal {
        match self.below(8) {
            0 => Refusal::WrongNode,
            1 => Refusal::SelfCall,
            2 => Refusal::Version { min: self.short_number(), max: self.short_number() },
            3 => Refusal::Genesis,
            4 => Refusal::Settings { name: self.text() },
            5 => Refusal::Stale { known: self.incarnation() },
            6 => Refusal::Full,
            _ => Refusal::Leaving,
        }
    }

    /// Any control message.
    pub fn control(&mut self) -> Control {
        let progress = |more: &mut Self| (more.topic(), more.number());
        match self.below(9) {
            0 => Control::Ping(Ping {
                number: self.number(),
                complete: self.list(progress),
                floors: self.list(progress),
            }),
            1 => Control::Pong(Pong {
                number: self.number(),
                complete: self.list(progress),
                floors: self.list(progress),
            }),
            2 => Control::Departed(self.departed()),
            3 => Control::Retired(self.retired()),
            4 => Control::Raft(self.blob()),
            5 => Control::Request(Request {
                from: self.replica(),
                number: self.number(),
                remaining_ms: self.number(),
                body: self.blob(),
            }),
            6 => {
                let (to, number) = (self.replica(), self.number());
                Control::Reply(Reply { to, number, body: self.blob() })
            }
            7 => {
                let (sender, sequence) = (self.incarnation(), self.number());
                Control::Acknowledged(Acknowledged { sender, sequence })
            }
            _ => {
                let (to, from) = (self.node(), self.replica());
                Control::Relay(Relay { to, from, body: self.blob() })
            }
        }
    }

    /// A notice to the departed.
    pub fn departed(&mut self) -> Departed {
        Departed { incarnation: self.incarnation() }
    }

    /// A notice about the fenced.
    pub fn retired(&mut self) -> Retired {
        Retired { node: self.node(), fence: self.incarnation() }
    }

    /// Any gossip message.
    pub fn gossip(&mut self) -> Gossip {
        match self.below(6) {
            0 => Gossip::Segments(Segments {
                segments: self.list(Self::segment),
                answers: self.optional(Self::number),
            }),
            1 => Gossip::Digest(self.digest()),
            2 => Gossip::Rows(self.rows()),
            3 => Gossip::Pull(self.pull()),
            4 => Gossip::Members(Members {
                purpose: self.purpose(),
                members: self.list(Self::listed),
            }),
            _ => Gossip::Swim(self.blob()),
        }
    }

    fn purpose(&mut self) -> Purpose {
        match self.below(4) {
            0 => Purpose::News,
            1 => Purpose::Exchange,
            2 => Purpose::Question,
            _ => Purpose::Correction,
        }
    }

    /// A digest.
    pub fn digest(&mut self) -> Digest {
        Digest { members: self.short_number(), owners: self.blob(), shared: self.blob() }
    }

    /// Rows.
    pub fn rows(&mut self) -> Rows {
        let row = |more: &mut Self| Row {
            topic: more.topic(),
            replica: more.replica(),
            progress: Progress {
                complete: more.number(),
                head: more.number(),
                floor: more.number(),
            },
        };
        Rows { last: self.flag(), buckets: self.number(), rows: self.list(row) }
    }

    /// A pull.
    pub fn pull(&mut self) -> Pull {
        let want = |more: &mut Self| Want {
            topic: more.topic(),
            replica: more.replica(),
            from: more.number(),
        };
        Pull { number: self.number(), wants: self.list(want) }
    }

    fn listed(&mut self) -> Listed {
        Listed {
            replica: self.replica(),
            born: self.incarnation(),
            address: self.address(),
            refutation: self.short_number(),
            state: match self.below(3) {
                0 => ListedState::Alive,
                1 => ListedState::Suspect,
                _ => ListedState::Down,
            },
        }
    }
}

//! What the network does to what is sent: one link per ordered pair of machines, datagrams and streams
//! apart.
//!
//! A link is *open*, *cut* (everything vanishes; a stream waits for its retransmission) or *clogged*
//! (everything is kept and comes late). Every draw about a packet is a function of (link, packet number,
//! purpose): leaving one fault out moves no other draw.

use quorate_core::random::Rng;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::clock::Micros;

/// How bytes travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// One by one, unreliably.
    Datagram,
    /// In order, or not at all.
    Stream,
}

/// What a link does at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It carries.
    Open,
    /// It loses everything.
    Cut,
    /// It keeps everything for later.
    Clogged,
}

/// A rate in parts per million.
pub type Ppm = u64;

/// What happens to single packets of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rates {
    /// Lost; for a stream: sent again, late.
    pub loss: Ppm,
    /// Delivered twice.
    pub dup: Ppm,
    /// Held back long enough to be overtaken.
    pub reorder: Ppm,
    /// Delivered a second time, up to ten minutes later.
    pub replay: Ppm,
    /// The longest extra delay; each packet draws from nothing to this, mostly little.
    pub delay_us: Micros,
}

impl Rates {
    /// A network without faults.
    pub const CALM: Rates = Rates { loss: 0, dup: 0, reorder: 0, replay: 0, delay_us: 0 };

    /// The worse of each.
    pub fn worse(self, other: Rates) -> Rates {
        Rates {
            loss: self.loss.max(other.loss),
            dup: self.dup.max(other.dup),
            reorder: self.reorder.max(other.reorder),
            replay: self.replay.max(other.replay),
            delay_us: self.delay_us.max(other.delay_us),
        }
    }
}

/// Why a draw is made; part of its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Transit = 1,
    Loss,
    Dup,
    DupDelay,
    Reorder,
    ReorderDelay,
    Replay,
    ReplayDelay,
    Delay,
    DelayScale,
}

/// The shortest transit.
const TRANSIT_MIN_US: Micros = 200;
/// What transit varies by.
const TRANSIT_SPREAD_US: Micros = 600;
/// How long a packet is held back to be overtaken, at most.
const REORDER_MAX_US: Micros = 50_000;
/// How long a recorded packet waits to be delivered again, at most.
const REPLAY_MAX_US: Micros = 600_000_000;
/// The first retransmission of a stream.
const RETRANSMIT_US: Micros = 200_000;
/// The most bytes of a datagram that any path carries.
pub const MTU_MAX: usize = 1500;
/// All of a million.
pub const ALWAYS: Ppm = 1_000_000;

/// When the copies of a datagram arrive, counted from its sending.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Fate {
    /// The packet itself.
    pub first: Option<Micros>,
    /// A copy.
    pub second: Option<Micros>,
    /// A copy made by whoever recorded it.
    pub replayed: Option<Micros>,
    /// Faults that were done to it, in the order of [`Fate::CLASSES`].
    pub done: [bool; 5],
}

impl Fate {
    /// Names of what `done` says.
    pub const CLASSES: [&'static str; 5] = ["loss", "dup", "reorder", "replay", "delay"];
}

/// One direction of one pair.
#[derive(Debug, Clone)]
pub struct Link {
    key: u64,
    packets: u64,
    cuts: [u32; 2],
    clogs: [u32; 2],
    /// Faults of single packets.
    pub rates: Rates,
    /// Larger datagrams vanish; their seal is counted.
    pub mtu: usize,
    /// Bytes a second that a slow reader at the far end takes of each stream.
    pub reader: Option<u64>,
}

impl Link {
    /// An open link with its own stream of draws.
    pub fn new(rng: &Rng, label: &str) -> Link {
        Link {
            key: rng.child(label).word(),
            packets: 0,
            cuts: [0; 2],
            clogs: [0; 2],
            rates: Rates::CALM,
            mtu: MTU_MAX,
            reader: None,
        }
    }

    /// What it does to bytes of `kind`.
    pub fn state(&self, kind: Kind) -> State {
        let (cuts, clogs) = match kind {
            Kind::Datagram => (self.cuts[0], self.clogs[0]),
            Kind::Stream => (self.cuts[1], self.clogs[1]),
        };
        match (cuts, clogs) {
            (0, 0) => State::Open,
            (0, _) => State::Clogged,
            (_, _) => State::Cut,
        }
    }

    /// One more reason to be cut, or one less.
    pub fn cut(&mut self, kind: Kind, on: bool) {
        let count = match kind {
            Kind::Datagram => &mut self.cuts[0],
            Kind::Stream => &mut self.cuts[1],
        };
        *count = if on { *count + 1 } else { count.saturating_sub(1) };
    }

    /// One more reason to be clogged, or one less.
    pub fn clog(&mut self, kind: Kind, on: bool) {
        let count = match kind {
            Kind::Datagram => &mut self.clogs[0],
            Kind::Stream => &mut self.clogs[1],
        };
        *count = if on { *count + 1 } else { count.saturating_sub(1) };
    }

    /// Nothing is in the way any more; rates stay.
    pub fn heal(&mut self) {
        self.cuts = [0; 2];
        self.clogs = [0; 2];
        self.mtu = MTU_MAX;
        self.reader = None;
    }

    /// Decides about the next datagram of a link that is not cut.
    pub fn datagram(&mut self) -> Fate {
        let number = self.next_packet();
        let mut fate = Fate::default();
        let mut transit = self.transit(number);
        if self.rates.delay_us > 0 {
            transit += self.extra_delay(number);
            fate.done[4] = true;
        }
        if self.hits(number, Purpose::Reorder, self.rates.reorder) {
            transit += self.draw(number, Purpose::ReorderDelay, REORDER_MAX_US);
            fate.done[2] = true;
        }
        if self.hits(number, Purpose::Loss, self.rates.loss) {
            fate.done[0] = true;
        } else {
            fate.first = Some(transit);
        }
        if self.hits(number, Purpose::Dup, self.rates.dup) {
            fate.second = Some(transit + self.draw(number, Purpose::DupDelay, REORDER_MAX_US));
            fate.done[1] = true;
        }
        if self.hits(number, Purpose::Replay, self.rates.replay) {
            fate.replayed = Some(transit + self.draw(number, Purpose::ReplayDelay, REPLAY_MAX_US));
            fate.done[3] = true;
        }
        fate
    }

    /// How long the next piece of a stream, or a piece of its set-up, takes: a lost one is sent again.
    pub fn piece(&mut self) -> Micros {
        let number = self.next_packet();
        let mut transit = self.transit(number);
        if self.rates.delay_us > 0 {
            transit += self.extra_delay(number);
        }
        if self.hits(number, Purpose::Loss, self.rates.loss) {
            transit += RETRANSMIT_US;
        }
        transit
    }

    /// A free draw for this link's use, below `bound`.
    pub fn toss(&mut self, bound: u64) -> u64 {
        let number = self.next_packet();
        self.draw(number, Purpose::Transit, bound)
    }

    fn next_packet(&mut self) -> u64 {
        self.packets += 1;
        self.packets
    }

    fn transit(&self, number: u64) -> Micros {
        TRANSIT_MIN_US + self.draw(number, Purpose::Transit, TRANSIT_SPREAD_US)
    }

    /// From 0.2 ms to `delay_us`, log-uniform: a draw in a range that itself is halved a drawn number of
    /// times.
    fn extra_delay(&self, number: u64) -> Micros {
        let halvings = self.draw(number, Purpose::DelayScale, 10);
        200 + self.draw(number, Purpose::Delay, (self.rates.delay_us >> halvings).max(1))
    }

    fn hits(&self, number: u64, purpose: Purpose, rate: Ppm) -> bool {
        rate > 0 && self.draw(number, purpose, ALWAYS) < rate
    }

    fn draw(&self, number: u64, purpose: Purpose, bound: u64) -> u64 {
        let mut key = [0; 9];
        let (head, tail) = key.split_at_mut(8);
        head.copy_from_slice(&number.to_le_bytes());
        tail.fill(purpose as u8);
        let product = u128::from(xxh3_64_with_seed(&key, self.key)) * u128::from(bound);
        u64::try_from(product >> 64).expect("the high half of a 128-bit product fits 64 bits")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link() -> Link {
        Link::new(&Rng::from_number(1), "n1>n2")
    }

    #[test]
    fn leaving_one_fault_out_moves_no_other_draw() {
        let mut both = link();
        both.rates = Rates { loss: 100_000, dup: 100_000, ..Rates::CALM };
        let mut one = link();
        one.rates = Rates { dup: 100_000, ..Rates::CALM };
        for _ in 0..1000 {
            let (left, right) = (both.datagram(), one.datagram());
            assert_eq!(left.second, right.second);
            assert!(left.first.is_none() || left.first == right.first);
        }
    }

    #[test]
    fn a_rate_is_met() {
        let mut lossy = link();
        lossy.rates.loss = 300_000;
        let lost = (0..10_000).filter(|_| lossy.datagram().first.is_none()).count();
        assert!((2800..3200).contains(&lost), "{lost} of 10 000 at 30 %");
    }

    #[test]
    fn two_cuts_need_two_ends_and_kinds_are_apart() {
        let mut link = link();
        link.cut(Kind::Datagram, true);
        link.cut(Kind::Datagram, true);
        link.clog(Kind::Stream, true);
        assert_eq!(link.state(Kind::Datagram), State::Cut);
        assert_eq!(link.state(Kind::Stream), State::Clogged);
        link.cut(Kind::Datagram, false);
        assert_eq!(link.state(Kind::Datagram), State::Cut);
        link.cut(Kind::Datagram, false);
        assert_eq!(link.state(Kind::Datagram), State::Open);
        link.heal();
        assert_eq!(link.state(Kind::Stream), State::Open);
    }
}

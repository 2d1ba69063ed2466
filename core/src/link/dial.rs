//! When somebody is dialled, and what a dial that came to nothing costs.
//!
//! A member is redialled for ever: 50 ms doubling to 5 s, ± 25 %, never beyond the longest wait. A
//! failed peer is dialled every 10 s. The lower node id dials at once, the higher after 500 ms without
//! a connection, so that a pair seldom meets itself half-way.

use std::net::SocketAddr;
use std::time::Duration;

use super::{Connection, Links, Output, Peer, Stage, Standing, Subject, Target};
use crate::ids::{ConnectionId, NodeId};
use crate::limits;
use crate::random::Rng;
use crate::time::Instant;

/// How long to wait before the next dial of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    /// As long as its failures in a row ask for.
    Backoff,
    /// At least this long: it refused us, or broke the rules.
    AtLeast(Duration),
    /// Not at all: something about it is new.
    None,
}

/// The wait after a refusal that time alone may heal.
pub(super) const REFUSED_WAIT: Duration = Duration::from_secs(60);
/// The wait after `Leaving`.
pub(super) const LEAVING_WAIT: Duration = Duration::from_secs(10);
/// How long an address is forgotten at which we met ourselves.
pub(super) const SELF_WAIT: Duration = Duration::from_secs(600);
/// A link that was up this long has proven its peer: the next wait starts short again.
pub(super) const PROVEN_AFTER: Duration = Duration::from_secs(10);

const FAILED_WAIT: Duration = Duration::from_secs(10);
const HIGHER_WAIT: Duration = Duration::from_millis(500);

impl Links {
    /// Sets the next dial of a peer that has no connection.
    pub(super) fn schedule_dial(&mut self, now: Instant, node: &NodeId, wait: Wait) {
        let Some(peer) = self.peers.get(node) else { return };
        if self.leaving || peer.up.is_some() || peer.dialling.is_some() {
            return;
        }
        sometimes!("link.failed_redial", wait != Wait::None && peer.standing == Standing::Failed);
        let mut delay = match (wait, peer.standing) {
            (Wait::None, _) => Duration::ZERO,
            (_, Standing::Failed) => self.rng.jitter(FAILED_WAIT, 20),
            (_, Standing::Member | Standing::Greeted) => backoff(
                &mut self.rng,
                (self.settings.redial_min, self.settings.redial_max),
                peer.failures.saturating_sub(1),
            ),
        };
        if wait != Wait::None && sim_point!("link.redial_late") {
            delay = delay.max(self.settings.redial_max);
        }
        if let Wait::AtLeast(least) = wait {
            delay = delay.max(least);
        }
        sometimes!("link.waits_longest", delay > self.settings.redial_max / 2);
        if !self.is_lower_than(node) {
            delay = delay.max(HIGHER_WAIT);
        }
        self.agenda.set(Subject::Peer(node.clone()), now + delay);
    }

    /// Dials a peer at its newest address.
    pub(super) fn dial_peer(&mut self, now: Instant, node: &NodeId, out: &mut Vec<Output>) {
        let Some(peer) = self.peers.get(node) else { return };
        let address = peer.address;
        let connection = self.dial(now, address, Target::Peer(node.clone()), out);
        self.peer_mut(node).dialling = Some(connection);
    }

    /// Dials an address for membership; ends in one `Up` or one `SeedFailed`.
    pub(super) fn dial_seed(&mut self, now: Instant, address: SocketAddr, out: &mut Vec<Output>) {
        let dialled = self.connections.values().filter(|connection| {
            let stage = &connection.stage;
            matches!(stage, Stage::Connecting(Target::Seed) | Stage::Greeting(Target::Seed))
        });
        let (mut count, mut same) = (0, false);
        for connection in dialled {
            count += 1;
            same |= connection.address == address;
        }
        if same {
            return; // It is being dialled; that dial's end is the answer.
        }
        let shunned = self.shunned.get(&address).is_some_and(|until| now < *until);
        if shunned || self.leaving || count >= limits::SEEDS_MAX {
            out.push(Output::SeedFailed { address, refused: shunned });
            return;
        }
        self.dial(now, address, Target::Seed, out);
    }

    fn dial(
        &mut self,
        now: Instant,
        address: SocketAddr,
        target: Target,
        out: &mut Vec<Output>,
    ) -> ConnectionId {
        self.dials += 1;
        let id = ConnectionId::dialled(self.dials);
        let connection = Connection::new(now, address, Stage::Connecting(target));
        self.connections.insert(id, connection);
        self.agenda.set(Subject::Connection(id), now + self.settings.connect_timeout);
        out.push(Output::Connect { connection: id, to: address });
        id
    }

    /// A dial or handshake of ours came to nothing; its connection is gone already.
    pub(super) fn dial_failed(
        &mut self,
        now: Instant,
        ended: (Target, SocketAddr),
        why: &'static str,
        refused: bool,
        wait: Wait,
        out: &mut Vec<Output>,
    ) {
        let (target, address) = ended;
        let node = match target {
            Target::Seed => {
                out.push(Output::SeedFailed { address, refused });
                return;
            }
            Target::Peer(node) => node,
        };
        let Some(peer) = self.peers.get_mut(&node) else { return };
        peer.dialling = None;
        peer.last_error = Some(why);
        peer.failures = peer.failures.saturating_add(1);
        sometimes!("link.dialled_an_old_address", peer.address != address);
        // The address that refused us is old news: the newest one counts at once.
        let wait = if peer.address == address { wait } else { Wait::None };
        self.schedule_dial(now, &node, wait);
    }

    /// We met ourselves at `address`.
    pub(super) fn shun(&mut self, now: Instant, address: SocketAddr) {
        self.shunned.retain(|_, until| now < *until);
        if self.shunned.len() < limits::SEEDS_MAX {
            self.shunned.insert(address, now + SELF_WAIT);
        }
    }

    /// A datagram of `node` arrived: after a silence, it may be reachable again.
    pub(super) fn heard_datagram(&mut self, now: Instant, node: &NodeId) {
        let Some(peer) = self.peers.get_mut(node) else { return };
        let silence = now.since(peer.heard);
        peer.heard = now;
        if silence >= self.settings.idle_timeout && peer.standing == Standing::Member {
            sometimes!("link.heard_after_silence");
            peer.failures = 0;
            self.schedule_dial(now, node, Wait::None);
        }
    }

    /// The peer that the caller has just seen.
    pub(super) fn peer_mut(&mut self, node: &NodeId) -> &mut Peer {
        self.peers.get_mut(node).expect("the caller has just seen this peer")
    }
}

/// `bounds.0` doubled `doublings` times, ± 25 %, at most `bounds.1`.
fn backoff(rng: &mut Rng, bounds: (Duration, Duration), doublings: u32) -> Duration {
    // The reason: with ± 25 % around four fifths, the longest wait is the bound itself, and waits at
    // the bound are still spread.
    let center_max = bounds.1 * 4 / 5;
    let doubled = bounds.0.saturating_mul(1 << doublings.min(20));
    rng.jitter(doubled.min(center_max), 25).min(bounds.1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert, proptest};

    use super::*;

    proptest! {
        #[test]
        fn waits_double_and_never_exceed_the_longest(
            seed: u64, doublings: u32, low in 1_u64..10_000, high in 1_u64..100_000,
        ) {
            let bounds = (Duration::from_millis(low), Duration::from_millis(low + high));
            let wait = backoff(&mut Rng::from_number(seed), bounds, doublings);
            prop_assert!(wait <= bounds.1);
            let doubled = bounds.0.saturating_mul(1 << doublings.min(20));
            prop_assert!(wait >= (doubled.min(bounds.1 * 4 / 5)) * 3 / 4 - Duration::from_micros(1));
        }
    }
}

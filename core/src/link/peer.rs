//! One other node, as links see it.

use std::net::SocketAddr;
use std::time::Duration;

use super::breaker::Breaker;
use super::queue::Queues;
use crate::ids::{ConnectionId, Incarnation};
use crate::time::Instant;

/// A node that is connected, dialled or waited for.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    /// Its newest life that we met or heard of.
    pub(super) life: Incarnation,
    /// Where it is reached, as it advertised.
    pub(super) address: SocketAddr,
    pub(super) standing: Standing,
    /// The connection in use: the only one that is sent on.
    pub(super) up: Option<ConnectionId>,
    /// Other finished connections, in order, until the lower node id closes them.
    pub(super) spares: Vec<ConnectionId>,
    /// Our dial or handshake under way.
    pub(super) dialling: Option<ConnectionId>,
    /// Dials in a row that came to nothing.
    pub(super) failures: u32,
    /// When a datagram or frame of it last arrived.
    pub(super) heard: Instant,
    /// When it became connected, was lost, or was met.
    pub(super) since: Instant,
    /// The next regular ping, while connected.
    pub(super) ping_at: Instant,
    /// From when on a ping goes along with whatever is sent anyway: half an interval after a ping of the
    /// peer, since the next is ours.
    pub(super) ping_along_from: Instant,
    /// When a ping was last asked for.
    pub(super) pinged_at: Instant,
    /// When something else than a ping or its answer was last sent.
    pub(super) sent_at: Option<Instant>,
    /// The ping that waits for its pong.
    pub(super) pinged: Option<(u64, Instant)>,
    /// The last round trip measured on this link.
    pub(super) round_trip: Option<Duration>,
    /// Why the last connection or attempt ended.
    pub(super) last_error: Option<&'static str>,
    pub(super) queues: Queues,
    pub(super) breaker: Breaker,
    /// A producer of `bulk` was refused, and waits for room.
    pub(super) wants_room: bool,
}

/// What membership thinks of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Alive or suspect: redialled for ever.
    Member,
    /// Given up for dead: redialled every ten seconds.
    Failed,
    /// It greeted us; membership has not spoken yet. Not dialled.
    Greeted,
}

impl Peer {
    pub(super) fn new(
        now: Instant,
        life: Incarnation,
        address: SocketAddr,
        standing: Standing,
    ) -> Peer {
        Peer {
            life,
            address,
            standing,
            up: None,
            spares: Vec::new(),
            dialling: None,
            failures: 0,
            heard: now,
            since: now,
            ping_at: now,
            ping_along_from: now,
            pinged_at: now,
            sent_at: None,
            pinged: None,
            round_trip: None,
            last_error: None,
            queues: Queues::default(),
            breaker: Breaker::default(),
            wants_room: false,
        }
    }
}

impl Peer {
    /// The spare that both sides would choose: the newest of those that the lower node id dialled, else
    /// the newest.
    pub(super) fn take_spare(&mut self, we_are_lower: bool) -> Option<ConnectionId> {
        let by_lower = |id: &ConnectionId| id.is_dialled() == we_are_lower;
        let place = self.spares.iter().rposition(by_lower);
        let place = place.or_else(|| self.spares.len().checked_sub(1))?;
        Some(self.spares.remove(place))
    }
}

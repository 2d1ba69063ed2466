//! The numbers that links keep, and the view of them that is built when somebody asks.

use std::collections::BTreeMap;

use super::pairing::Dropped;
use super::queue::Lane;
use super::snapshot::{Queued, Row, Snapshot, State};
use super::{AskError, Links, Peer, Stage, Subject, breaker};
use crate::ids::{ConnectionId, NodeId};
use crate::machine::{Count, Counted, Labels};
use crate::time::{Instant, millis};
use crate::wire::frame::Class;

/// What only rises.
#[derive(Debug, Clone, Default)]
pub(super) struct Counts {
    handshakes: BTreeMap<&'static str, u64>,
    control: Traffic,
    bulk: Traffic,
    gossip: Traffic,
    broadcast: Traffic,
    /// Of `broadcast` alone.
    sequenced: Sequenced,
    requests: BTreeMap<&'static str, u64>,
    late_replies: u64,
    relayed: BTreeMap<&'static str, u64>,
    swept: u64,
}

/// What became of accepted frames of `broadcast`, and what arrived twice.
#[derive(Debug, Clone, Copy, Default)]
struct Sequenced {
    acknowledged: u64,
    resent: u64,
    undelivered: u64,
    duplicates: u64,
}

/// One lane. What was queued was sent, was dropped, or waits.
#[derive(Debug, Clone, Default)]
struct Traffic {
    queued: u64,
    sent: Flow,
    received: Flow,
    dropped: BTreeMap<Dropped, u64>,
    refused: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Flow {
    frames: u64,
    bytes: u64,
}

impl Flow {
    fn add(&mut self, bytes: usize) {
        self.frames += 1;
        self.bytes += bytes as u64;
    }
}

impl Counts {
    pub(super) fn handshake(&mut self, outcome: &'static str) {
        *self.handshakes.entry(outcome).or_default() += 1;
    }

    pub(super) fn queued(&mut self, lane: Lane) {
        self.lane_mut(lane).queued += 1;
    }

    pub(super) fn sent(&mut self, lane: Lane, bytes: usize) {
        self.lane_mut(lane).sent.add(bytes);
    }

    pub(super) fn received(&mut self, lane: Lane, bytes: usize) {
        self.lane_mut(lane).received.add(bytes);
    }

    pub(super) fn refused(&mut self, lane: Lane) {
        self.lane_mut(lane).refused += 1;
    }

    pub(super) fn dropped(&mut self, lane: Lane, why: Dropped, frames: usize) {
        *self.lane_mut(lane).dropped.entry(why).or_default() += frames as u64;
    }

    pub(super) fn acknowledged(&mut self, frames: usize) {
        self.sequenced.acknowledged += frames as u64;
    }

    pub(super) fn resent(&mut self, frames: usize) {
        self.sequenced.resent += frames as u64;
    }

    pub(super) fn undelivered(&mut self, frames: usize) {
        self.sequenced.undelivered += frames as u64;
    }

    pub(super) fn duplicate(&mut self) {
        self.sequenced.duplicates += 1;
    }

    pub(super) fn asked(&mut self, end: Result<(), AskError>) {
        let outcome = match end {
            Ok(()) => "ok",
            Err(AskError::QueueFull) => "busy",
            Err(AskError::Unreachable) => "unreachable",
            Err(AskError::Deadline) => "deadline",
        };
        *self.requests.entry(outcome).or_default() += 1;
    }

    pub(super) fn late_reply(&mut self) {
        self.late_replies += 1;
    }

    pub(super) fn relayed(&mut self, outcome: &'static str) {
        *self.relayed.entry(outcome).or_default() += 1;
    }

    pub(super) fn swept(&mut self) {
        self.swept += 1;
    }

    /// Whether every frame that was queued is in exactly one place.
    pub(super) fn check(&self, lane: Lane, held: usize) -> Result<(), String> {
        let Traffic { queued, sent, dropped, .. } = self.lane(lane);
        let Sequenced { acknowledged, undelivered, .. } = self.sequenced;
        let (number, ended) = match lane {
            Lane::Broadcast => ("L-3", acknowledged + undelivered),
            Lane::Control | Lane::Bulk | Lane::Gossip => {
                ("L-10", sent.frames + dropped.values().sum::<u64>())
            }
        };
        let found = ended + held as u64;
        if found == *queued {
            return Ok(());
        }
        Err(format!("{number}: {queued} frames of {lane:?} were queued, {found} are accounted for"))
    }

    fn lane(&self, lane: Lane) -> &Traffic {
        match lane {
            Lane::Control => &self.control,
            Lane::Bulk => &self.bulk,
            Lane::Gossip => &self.gossip,
            Lane::Broadcast => &self.broadcast,
        }
    }

    fn lane_mut(&mut self, lane: Lane) -> &mut Traffic {
        match lane {
            Lane::Control => &mut self.control,
            Lane::Bulk => &mut self.bulk,
            Lane::Gossip => &mut self.gossip,
            Lane::Broadcast => &mut self.broadcast,
        }
    }
}

const OUTCOMES: [&str; 12] = [
    "ok", "tls", "cluster", "node", "self", "version", "genesis", "settings", "stale", "full",
    "leaving", "timeout",
];

impl Counted for Links {
    fn counts(&self, visit: &mut dyn FnMut(Count)) {
        let mut count = |name, labels, value| visit(Count { name, labels, value });
        for state in [State::Up, State::Dialing, State::Backoff] {
            let peers = self.peers.values().filter(|peer| state_of(peer) == state).count();
            count("link_connections", Labels::One("state", state.name()), peers as u64);
        }
        for outcome in OUTCOMES {
            let handshakes = self.counts.handshakes.get(outcome).copied().unwrap_or(0);
            count("link_handshakes_total", Labels::One("outcome", outcome), handshakes);
        }
        for (lane, waiting) in Lane::ALL.into_iter().zip(self.waiting_by_lane()) {
            let (class, traffic) = (lane.class().name(), self.counts.lane(lane));
            for (direction, flow) in [("sent", traffic.sent), ("received", traffic.received)] {
                let labels = Labels::Two("class", class, "direction", direction);
                count("link_frames_total", labels, flow.frames);
                count("link_bytes_total", labels, flow.bytes);
            }
            count("link_queued_frames", Labels::One("class", class), waiting.frames as u64);
            count("link_queued_bytes", Labels::One("class", class), waiting.bytes as u64);
            for (why, reason) in REASONS {
                let labels = Labels::Two("class", class, "reason", reason);
                let frames = traffic.dropped.get(&why).copied().unwrap_or(0);
                count("link_dropped_total", labels, frames);
            }
            count("link_refused_total", Labels::One("class", class), traffic.refused);
        }
        let Sequenced { resent, undelivered, duplicates, .. } = self.counts.sequenced;
        count("link_resent_total", Labels::None, resent);
        count("link_undelivered_total", Labels::None, undelivered);
        count("link_duplicates_total", Labels::None, duplicates);
        for (open, state) in [(true, "open"), (false, "half_open")] {
            let breakers = self.peers.values().filter(|peer| match peer.breaker.state() {
                breaker::State::Closed => false,
                breaker::State::Open(_) => open,
                breaker::State::HalfOpen(_) => !open,
            });
            count("link_breakers", Labels::One("state", state), breakers.count() as u64);
        }
        for outcome in REQUEST_OUTCOMES {
            let requests = self.counts.requests.get(outcome).copied().unwrap_or(0);
            count("link_requests_total", Labels::One("outcome", outcome), requests);
        }
        count("link_late_replies_total", Labels::None, self.counts.late_replies);
        for outcome in RELAY_OUTCOMES {
            let relayed = self.counts.relayed.get(outcome).copied().unwrap_or(0);
            count("link_relayed_total", Labels::One("outcome", outcome), relayed);
        }
        count("link_sweep_removed_total", Labels::None, self.counts.swept);
    }
}

const REASONS: [(Dropped, &str); 4] = [
    (Dropped::Full, "full"),
    (Dropped::Expired, "expired"),
    (Dropped::Reconnect, "reconnect"),
    (Dropped::Departed, "departed"),
];
const REQUEST_OUTCOMES: [&str; 4] = ["ok", "busy", "unreachable", "deadline"];
const RELAY_OUTCOMES: [&str; 4] = ["sent", "passed_on", "delivered", "dropped"];

impl Links {
    /// Every peer and how it is connected, for an operator.
    pub fn snapshot(&self, now: Instant) -> Snapshot {
        Snapshot {
            links: self.peers.iter().map(|(node, peer)| self.row(now, node, peer)).collect(),
        }
    }

    /// What waits in each lane, of all peers.
    pub(super) fn waiting_by_lane(&self) -> [Queued; 4] {
        let mut sums = [Queued::default(); 4];
        self.peers.values().for_each(|peer| peer.queues.add_to(&mut sums));
        sums
    }

    /// Per connection in use on which anything waits, how many frames of each class may leave next. For
    /// whoever watches how classes share.
    pub fn waiting_to_leave(&self) -> Vec<(ConnectionId, [(Class, usize); 4])> {
        if self.queued_bytes == 0 {
            return Vec::new();
        }
        let waiting = self.peers.values().filter(|peer| !peer.queues.is_empty());
        let of = |peer: &Peer| Lane::ALL.map(|lane| (lane.class(), peer.queues.leaving(lane)));
        waiting.filter_map(|peer| Some((peer.up?, of(peer)))).collect()
    }

    fn row(&self, now: Instant, node: &NodeId, peer: &Peer) -> Row {
        let used = peer.up.or(peer.dialling);
        let connection = used.and_then(|id| self.connections.get(&id));
        let state = state_of(peer);
        let since = match state {
            State::Dialing => connection.map_or(peer.since, |connection| connection.since),
            State::Up | State::Backoff => peer.since,
        };
        let dialed_by =
            peer.up.map(|id| if id.is_dialled() { self.local.node.clone() } else { node.clone() });
        let next_dial = match state {
            State::Backoff => self.agenda.of(&Subject::Peer(node.clone())),
            State::Up | State::Dialing => None,
        };
        let waiting = Lane::ALL.map(|lane| (lane.class().name(), peer.queues.held(lane)));
        Row {
            peer: node.clone(),
            state,
            generation: used.map(|id| id.0),
            address: peer.address,
            dialed_by,
            protocol: connection.and_then(|connection| match &connection.stage {
                Stage::Open(pair) => Some(pair.protocol),
                Stage::Connecting(_) | Stage::Greeting(_) | Stage::Accepted => None,
            }),
            since_ms: millis(now.since(since)),
            round_trip_ms: peer.round_trip.map(millis),
            queued: waiting.into_iter().collect(),
            last_error: peer.last_error,
            next_dial_ms: next_dial.map(|at| millis(at.since(now))),
        }
    }
}

fn state_of(peer: &Peer) -> State {
    match (peer.up, peer.dialling) {
        (Some(_), _) => State::Up,
        (None, Some(_)) => State::Dialing,
        (None, None) => State::Backoff,
    }
}

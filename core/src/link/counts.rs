//! The numbers that links keep, and the view of them that is built when somebody asks.

use std::collections::BTreeMap;

use super::pairing::Dropped;
use super::queue::Lane;
use super::snapshot::{Queued, Row, Snapshot, State};
use super::{Links, Peer, Stage, Subject};
use crate::ids::NodeId;
use crate::machine::{Count, Counted, Labels};
use crate::time::{Instant, millis};

/// What only rises.
#[derive(Debug, Clone, Default)]
pub(super) struct Counts {
    handshakes: BTreeMap<&'static str, u64>,
    control: Traffic,
    gossip: Traffic,
    swept: u64,
}

/// One lane. What was queued was sent, was dropped, or waits.
#[derive(Debug, Clone, Default)]
struct Traffic {
    queued: u64,
    sent: Flow,
    received: Flow,
    reconnect: u64,
    departed: u64,
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
        let traffic = self.lane_mut(lane);
        match why {
            Dropped::Reconnect => traffic.reconnect += frames as u64,
            Dropped::Departed => traffic.departed += frames as u64,
        }
    }

    pub(super) fn swept(&mut self) {
        self.swept += 1;
    }

    /// Whether every frame that was queued is in exactly one place.
    pub(super) fn check(&self, lane: Lane, waiting: usize) -> Result<(), String> {
        let Traffic { queued, sent, reconnect, departed, .. } = self.lane(lane);
        let found = sent.frames + reconnect + departed + waiting as u64;
        if found == *queued {
            return Ok(());
        }
        Err(format!("L-10: {queued} frames of {lane:?} were queued, {found} are accounted for"))
    }

    fn lane(&self, lane: Lane) -> &Traffic {
        match lane {
            Lane::Control => &self.control,
            Lane::Gossip => &self.gossip,
        }
    }

    fn lane_mut(&mut self, lane: Lane) -> &mut Traffic {
        match lane {
            Lane::Control => &mut self.control,
            Lane::Gossip => &mut self.gossip,
        }
    }
}

const OUTCOMES: [&str; 11] = [
    "ok", "cluster", "node", "self", "version", "genesis", "settings", "stale", "full", "leaving",
    "timeout",
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
        for lane in Lane::ALL {
            let (class, traffic) = (lane.class().name(), self.counts.lane(lane));
            for (direction, flow) in [("sent", traffic.sent), ("received", traffic.received)] {
                let labels = Labels::Two("class", class, "direction", direction);
                count("link_frames_total", labels, flow.frames);
                count("link_bytes_total", labels, flow.bytes);
            }
            let waiting = self.waiting(lane);
            count("link_queued_frames", Labels::One("class", class), waiting.frames as u64);
            count("link_queued_bytes", Labels::One("class", class), waiting.bytes as u64);
            for (reason, frames) in
                [("reconnect", traffic.reconnect), ("departed", traffic.departed)]
            {
                let labels = Labels::Two("class", class, "reason", reason);
                count("link_dropped_total", labels, frames);
            }
            count("link_refused_total", Labels::One("class", class), traffic.refused);
        }
        count("link_sweep_removed_total", Labels::None, self.counts.swept);
    }
}

impl Links {
    /// Every peer and how it is connected, for an operator.
    pub fn snapshot(&self, now: Instant) -> Snapshot {
        Snapshot {
            links: self.peers.iter().map(|(node, peer)| self.row(now, node, peer)).collect(),
        }
    }

    /// What waits in one lane of all peers.
    pub(super) fn waiting(&self, lane: Lane) -> Queued {
        self.peers.values().map(|peer| peer.queues.waiting(lane)).fold(
            Queued::default(),
            |sum, one| Queued { frames: sum.frames + one.frames, bytes: sum.bytes + one.bytes },
        )
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
        let waiting = Lane::ALL.map(|lane| (lane.class().name(), peer.queues.waiting(lane)));
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

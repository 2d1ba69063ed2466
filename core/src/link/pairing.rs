//! Which connection serves a pair, and what follows when one opens or ends.

use std::net::SocketAddr;

use super::connection::Pair;
use super::dial::{PROVEN_AFTER, Wait};
use super::{Connection, Links, Output, Peer, Stage, Standing, Subject};
use crate::ids::{ConnectionId, Incarnation, NodeId, Replica};
use crate::limits;
use crate::time::Instant;
use crate::wire::session::{Bye, Session};

/// Who was met at the end of a handshake.
#[derive(Debug, Clone)]
pub(super) struct Met {
    pub(super) peer: Replica,
    pub(super) born: Incarnation,
    pub(super) address: SocketAddr,
    pub(super) protocol: u16,
    /// Through where it has our frames of `broadcast`.
    pub(super) resume: u64,
    /// Membership dialled it as a seed, and waits for an answer.
    pub(super) by_seed: bool,
}

/// Why queued frames never left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Dropped {
    /// The link ended; the next one starts empty.
    Reconnect,
    /// The peer is no member any more.
    Departed,
    /// Newer ones of its kind took their place.
    Full,
    /// Nobody wanted them any more.
    Expired,
}

impl Links {
    /// A handshake is finished.
    pub(super) fn open(&mut self, now: Instant, id: ConnectionId, met: Met, out: &mut Vec<Output>) {
        self.counts.handshake("ok");
        self.no_longer_accepting(id);
        let connection = self.connections.get_mut(&id).expect("a handshake ends on a connection");
        let pair = Pair { peer: met.peer.clone(), protocol: met.protocol, farewell: None };
        connection.stage = Stage::Open(pair);
        connection.since = now;
        self.agenda.set(Subject::Connection(id), now + self.settings.idle_timeout);
        self.meet(now, &met);
        let peer = self.peer_mut(&met.peer.node);
        peer.heard = now;
        if peer.dialling == Some(id) {
            peer.dialling = None;
        }
        if met.peer.incarnation > peer.life {
            self.reborn(now, &met, out);
        }
        let peer = self.peer_mut(&met.peer.node);
        peer.breaker.close();
        self.acknowledged(&met.peer.node, self.local.incarnation, met.resume);
        match self.peer_mut(&met.peer.node).up {
            None => self.put_in_use(now, id, &met, out),
            Some(current) => self.resolve_duplicate(now, id, current, &met, out),
        }
    }

    /// A node that membership has not named yet becomes known by its handshake.
    fn meet(&mut self, now: Instant, met: &Met) {
        if self.peers.contains_key(&met.peer.node) {
            return;
        }
        let peer = Peer::new(now, met.peer.incarnation, met.address, Standing::Greeted);
        self.peers.insert(met.peer.node.clone(), peer);
        if self.agenda.of(&Subject::Sweep).is_none() {
            self.agenda.set(Subject::Sweep, now + super::notices::SWEEP_INTERVAL);
        }
    }

    /// A newer life inherits neither connections nor frames nor waiting time.
    fn reborn(&mut self, now: Instant, met: &Met, out: &mut Vec<Output>) {
        sometimes!("link.reborn");
        let node = &met.peer.node;
        self.retire_all(node, Bye::Duplicate, out);
        self.went_down(now, node, Dropped::Reconnect, out);
        self.life_ended(now, node, out);
        let peer = self.peer_mut(node);
        peer.life = met.peer.incarnation;
        peer.queues.begin_anew();
        peer.address = met.address;
        peer.failures = 0;
    }

    fn put_in_use(&mut self, now: Instant, id: ConnectionId, met: &Met, out: &mut Vec<Output>) {
        let node = &met.peer.node;
        // The reason for the random start: a thousand links that came up together do not ping together.
        let interval = self.settings.ping_interval;
        let ping_at = now + self.rng.between(std::time::Duration::ZERO, interval);
        let peer = self.peer_mut(node);
        peer.up = Some(id);
        peer.since = now;
        peer.ping_at = ping_at;
        peer.ping_along_from = now + interval / 2;
        peer.pinged_at = now;
        self.agenda.set(Subject::Peer(node.clone()), ping_at);
        self.abandon_dial(node, out);
        out.push(Output::Up { peer: met.peer.clone(), born: met.born, address: met.address });
        self.drain(now, node, out);
    }

    /// A dial that has not said hello yet is not needed any more. One that has is decided with its
    /// handshake.
    fn abandon_dial(&mut self, node: &NodeId, out: &mut Vec<Output>) {
        let Some(id) = self.peer_mut(node).dialling else { return };
        let stage = self.connections.get(&id).map(|connection| &connection.stage);
        if matches!(stage, Some(Stage::Connecting(_))) {
            sometimes!("link.dial_abandoned");
            self.peer_mut(node).dialling = None;
            self.remove_connection(id);
            out.push(Output::Disconnect { connection: id });
        }
    }

    /// Two handshakes are finished for one pair and one pair of lives.
    fn resolve_duplicate(
        &mut self,
        now: Instant,
        newer: ConnectionId,
        current: ConnectionId,
        met: &Met,
        out: &mut Vec<Output>,
    ) {
        let node = &met.peer.node;
        sometimes!("link.duplicate");
        let lower = self.is_lower_than(node);
        let sides_differ = newer.is_dialled() != current.is_dialled();
        let newer_wins = !sides_differ || newer.is_dialled() == lower;
        let (winner, loser) = if newer_wins { (newer, current) } else { (current, newer) };
        sometimes!("link.older_stays", !newer_wins);
        let peer = self.peer_mut(node);
        peer.up = Some(winner);
        if winner != current {
            self.rewind(node);
        }
        let peer = self.peer_mut(node);
        // The lower node id closes the loser; the higher keeps it until then.
        peer.spares.push(loser);
        if lower || peer.spares.len() > limits::SPARES_MAX {
            let closed = peer.spares.remove(0);
            sometimes!("link.duplicate_closed");
            self.retire(closed, Bye::Duplicate, out);
        }
        if met.by_seed {
            out.push(Output::Up { peer: met.peer.clone(), born: met.born, address: met.address });
        }
        self.drain(now, node, out);
    }

    /// The host says that a connection is gone.
    pub(super) fn lost(
        &mut self,
        now: Instant,
        id: ConnectionId,
        why: &'static str,
        out: &mut Vec<Output>,
    ) {
        self.end(now, id, why, Wait::Backoff, out);
    }

    /// We close a connection, once what was written has left.
    pub(super) fn hang_up(
        &mut self,
        now: Instant,
        id: ConnectionId,
        why: &'static str,
        wait: Wait,
        out: &mut Vec<Output>,
    ) {
        if self.connections.contains_key(&id) {
            out.push(Output::Disconnect { connection: id });
            self.end(now, id, why, wait, out);
        }
    }

    /// A connection broke the rules.
    pub(super) fn misbehaved(
        &mut self,
        now: Instant,
        id: ConnectionId,
        what: &'static str,
        out: &mut Vec<Output>,
    ) {
        let Some(connection) = self.connections.get(&id) else { return };
        let peer = connection.pair().map(|pair| pair.peer.node.clone());
        out.push(Output::Misbehaved { peer, address: Some(connection.address), what });
        self.hang_up(now, id, what, Wait::AtLeast(super::dial::REFUSED_WAIT), out);
    }

    fn end(
        &mut self,
        now: Instant,
        id: ConnectionId,
        why: &'static str,
        wait: Wait,
        out: &mut Vec<Output>,
    ) {
        let Some(connection) = self.remove_connection(id) else { return };
        match connection.stage {
            Stage::Accepted => {}
            Stage::Connecting(target) => {
                self.dial_failed(now, (target, connection.address), why, false, wait, out);
            }
            Stage::Greeting(target) => {
                let refused = why != TIMEOUT;
                self.dial_failed(now, (target, connection.address), why, refused, wait, out);
            }
            Stage::Open(pair) => self.unlink(now, id, &pair.peer.node, why, wait, out),
        }
    }

    fn unlink(
        &mut self,
        now: Instant,
        id: ConnectionId,
        node: &NodeId,
        why: &'static str,
        wait: Wait,
        out: &mut Vec<Output>,
    ) {
        let lower = self.is_lower_than(node);
        let peer = self.peer_mut(node);
        if peer.up != Some(id) {
            sometimes!("link.spare_ended");
            peer.spares.retain(|spare| *spare != id);
            return;
        }
        peer.last_error = Some(why);
        if let Some(spare) = peer.take_spare(lower) {
            sometimes!("link.spare_in_use");
            peer.up = Some(spare);
            self.rewind(node);
            self.drain(now, node, out);
            return;
        }
        let proven = now.since(peer.since) >= PROVEN_AFTER;
        peer.failures = if proven { 0 } else { peer.failures.saturating_add(1) };
        let unconfirmed = peer.standing == Standing::Greeted;
        self.went_down(now, node, Dropped::Reconnect, out);
        if unconfirmed {
            sometimes!("link.unconfirmed_ended");
            self.forget(now, node, out);
        } else {
            self.schedule_dial(now, node, wait);
        }
    }

    /// Says goodbye on every finished connection of a peer and closes it.
    pub(super) fn retire_all(&mut self, node: &NodeId, bye: Bye, out: &mut Vec<Output>) {
        let peer = self.peer_mut(node);
        let mut closed = std::mem::take(&mut peer.spares);
        closed.extend(peer.up);
        for id in closed {
            self.retire(id, bye, out);
        }
    }

    fn retire(&mut self, id: ConnectionId, bye: Bye, out: &mut Vec<Output>) {
        self.write_session(id, &Session::Bye(bye), out);
        self.remove_connection(id);
        out.push(Output::Disconnect { connection: id });
    }

    /// A pair has no connection any more: what waits is dropped, and everybody is told.
    pub(super) fn went_down(
        &mut self,
        now: Instant,
        node: &NodeId,
        dropped: Dropped,
        out: &mut Vec<Output>,
    ) {
        let peer = self.peers.get_mut(node).expect("the caller has just seen this peer");
        if peer.up.take().is_none() {
            return;
        }
        peer.since = now;
        peer.pinged = None;
        peer.round_trip = None;
        peer.wants_room = false;
        sometimes!("link.frames_lost", !peer.queues.is_empty());
        for (lane, waiting) in peer.queues.clear() {
            self.queued_bytes -= waiting.bytes;
            self.counts.dropped(lane, dropped, waiting.frames);
        }
        self.rewind(node);
        self.agenda.cancel(&Subject::Peer(node.clone()));
        self.agenda.cancel(&Subject::Acknowledgement(node.clone()));
        out.push(Output::Down { peer: node.clone() });
        self.abandon_asks(now, node, out);
    }

    /// A life of the peer, or ours, is over: nothing of it is kept for another.
    pub(super) fn life_ended(&mut self, now: Instant, node: &NodeId, out: &mut Vec<Output>) {
        self.abandon_asks(now, node, out);
        self.end_stream(node, out);
        if let Some(peer) = self.peers.get_mut(node) {
            peer.breaker.close();
        }
    }

    /// Forgets a peer that has no connection in use; a dial of it is given up.
    pub(super) fn forget(&mut self, now: Instant, node: &NodeId, out: &mut Vec<Output>) {
        self.life_ended(now, node, out);
        let Some(peer) = self.peers.remove(node) else { return };
        self.agenda.cancel(&Subject::Peer(node.clone()));
        if let Some(id) = peer.dialling {
            sometimes!("link.dial_given_up");
            self.remove_connection(id);
            out.push(Output::Disconnect { connection: id });
        }
    }

    pub(super) fn remove_connection(&mut self, id: ConnectionId) -> Option<Connection> {
        self.no_longer_accepting(id);
        self.agenda.cancel(&Subject::Connection(id));
        self.connections.remove(&id)
    }

    fn no_longer_accepting(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get(&id) else { return };
        if connection.stage != Stage::Accepted {
            return;
        }
        let ip = connection.address.ip();
        let waiting = self.accepting.get_mut(&ip).expect("every accepted connection is counted");
        *waiting -= 1;
        if *waiting == 0 {
            self.accepting.remove(&ip);
        }
    }

    /// A connection's deadline has come: silence, a timeout, or the end of a farewell.
    pub(super) fn connection_due(&mut self, now: Instant, id: ConnectionId, out: &mut Vec<Output>) {
        let Some(connection) = self.connections.get(&id) else { return };
        let silent_at = connection.heard + self.settings.idle_timeout;
        let farewell = connection.pair().map(|pair| pair.farewell);
        match farewell {
            None => {
                if !matches!(connection.stage, Stage::Connecting(_)) {
                    sometimes!("link.handshake_timeout");
                    self.counts.handshake("timeout");
                }
                sometimes!(
                    "link.connect_timeout",
                    matches!(connection.stage, Stage::Connecting(_))
                );
                self.hang_up(now, id, TIMEOUT, Wait::Backoff, out);
            }
            Some(Some((bye, at))) if at <= now => {
                self.write_session(id, &Session::Bye(bye), out);
                self.hang_up(now, id, "leaving", Wait::Backoff, out);
            }
            Some(_) if silent_at <= now => self.hang_up(now, id, "idle", Wait::Backoff, out),
            Some(farewell) => {
                let at = farewell.map_or(silent_at, |(_, at)| at.min(silent_at));
                self.agenda.set(Subject::Connection(id), at);
            }
        }
    }
}

const TIMEOUT: &str = "timeout";

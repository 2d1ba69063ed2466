//! What links make of the news about members, and of the node's own.

use std::net::SocketAddr;
use std::time::Duration;

use super::dial::Wait;
use super::pairing::Dropped;
use super::queue::Lane;
use super::{Connection, Links, Output, Peer, Stage, Standing, Subject};
use crate::ids::{ConnectionId, Incarnation, NodeId, Notice, Reason, Replica};
use crate::time::Instant;
use crate::wire::frame::{Class, framed};
use crate::wire::message::{Control, Departed};
use crate::wire::session::Bye;

/// How long a peer may stay that membership does not confirm.
pub(super) const SWEEP_INTERVAL: Duration = Duration::from_secs(60);

impl Links {
    /// Something became of a replica.
    pub(super) fn notice(&mut self, now: Instant, notice: Notice, out: &mut Vec<Output>) {
        match notice {
            Notice::Up { replica, address, .. } | Notice::Renamed { new: replica, address, .. } => {
                if replica.node != self.local.node {
                    self.member(now, &replica, address, out);
                }
            }
            Notice::Suspect { .. } | Notice::Refuted { .. } => {}
            Notice::Departed { replica, reason: Reason::Failed } => {
                self.failed(now, &replica, out);
            }
            Notice::Departed { replica, reason: Reason::Left | Reason::Evicted } => {
                self.fence(now, &replica.node, replica.incarnation, out);
            }
            Notice::Forgotten { node, fence } => self.fence(now, &node, fence, out),
        }
    }

    /// A member is dialled at once, unless it is connected; whatever is new about it ends its wait.
    fn member(
        &mut self,
        now: Instant,
        replica: &Replica,
        address: SocketAddr,
        out: &mut Vec<Output>,
    ) {
        let node = &replica.node;
        let Some(peer) = self.peers.get_mut(node) else {
            let peer = Peer::new(now, replica.incarnation, address, Standing::Member);
            self.peers.insert(node.clone(), peer);
            self.schedule_dial(now, node, Wait::None);
            return;
        };
        if replica.incarnation < peer.life {
            return; // We met a newer life; membership will hear of it.
        }
        let reborn = replica.incarnation > peer.life;
        if reborn {
            self.life_ended(now, node, out);
            self.peer_mut(node).queues.begin_anew();
        }
        let peer = self.peer_mut(node);
        let fresh = reborn || address != peer.address || peer.standing == Standing::Failed;
        peer.life = replica.incarnation;
        peer.address = address;
        peer.standing = Standing::Member;
        if reborn {
            sometimes!("link.renamed");
            self.retire_all(node, Bye::Closing, out);
            self.went_down(now, node, Dropped::Reconnect, out);
        }
        if fresh {
            self.peer_mut(node).failures = 0;
            self.schedule_dial(now, node, Wait::None);
        }
    }

    /// A peer given up for dead is told so, and dialled every ten seconds until it is forgotten.
    fn failed(&mut self, now: Instant, replica: &Replica, out: &mut Vec<Output>) {
        let node = &replica.node;
        let Some(peer) = self.peers.get_mut(node) else { return };
        if peer.life > replica.incarnation {
            return; // A newer life is here already.
        }
        peer.standing = Standing::Failed;
        if let Some(up) = peer.up {
            sometimes!("link.failed_told");
            let departed = Control::Departed(Departed { incarnation: replica.incarnation });
            let bytes = framed(Class::Control, false, &departed);
            self.counts.queued(Lane::Control);
            self.counts.sent(Lane::Control, bytes.len());
            out.push(Output::Write { connection: up, bytes });
            self.retire_all(node, Bye::Closing, out);
            self.went_down(now, node, Dropped::Departed, out);
        }
        self.life_ended(now, node, out);
        self.schedule_dial(now, node, Wait::Backoff);
    }

    /// A peer of which only its failure is known is dialled like one that failed here.
    pub(super) fn look_for(
        &mut self,
        now: Instant,
        replica: &Replica,
        address: SocketAddr,
        out: &mut Vec<Output>,
    ) {
        let node = &replica.node;
        let fresh = || Peer::new(now, replica.incarnation, address, Standing::Greeted);
        let peer = self.peers.entry(node.clone()).or_insert_with(fresh);
        if peer.life > replica.incarnation {
            return; // We met a newer life; membership will hear of it.
        }
        let reborn = replica.incarnation > peer.life;
        if reborn {
            self.life_ended(now, node, out);
            self.peer_mut(node).queues.begin_anew();
        }
        let peer = self.peer_mut(node);
        peer.life = replica.incarnation;
        peer.address = address;
        if reborn {
            self.retire_all(node, Bye::Closing, out);
            self.went_down(now, node, Dropped::Reconnect, out);
        }
        let waits = self.agenda.of(&Subject::Peer(node.clone())).is_some();
        let peer = self.peer_mut(node);
        // Whoever failed and called all the same has no next dial: it was connected until now.
        let is_idle = peer.up.is_none() && peer.dialling.is_none() && !waits;
        // The reason: news of one death after another must not put off the next dial.
        if peer.standing != Standing::Failed || is_idle {
            self.failed(now, replica, out);
        }
    }

    /// No life of `node` at or below `life` is spoken to any more.
    fn fence(&mut self, now: Instant, node: &NodeId, life: Incarnation, out: &mut Vec<Output>) {
        self.fences.raise(node, life);
        self.forget_stream(node, life);
        if self.peers.get(node).is_some_and(|peer| peer.life <= life) {
            sometimes!("link.fenced");
            self.drop_peer(now, node, Bye::Closing, out);
        }
    }

    fn drop_peer(&mut self, now: Instant, node: &NodeId, bye: Bye, out: &mut Vec<Output>) {
        self.retire_all(node, bye, out);
        self.went_down(now, node, Dropped::Departed, out);
        self.forget(now, node, out);
    }

    /// Our identity changed: every connection carries the old one, so each is made anew.
    pub(super) fn raised(&mut self, now: Instant, replica: Replica, out: &mut Vec<Output>) {
        sometimes!("link.raised");
        self.local = replica;
        self.streams.clear();
        self.close_everything(now, out);
        let peers: Vec<NodeId> = self.peers.keys().cloned().collect();
        for node in &peers {
            self.life_ended(now, node, out);
            let peer = self.peer_mut(node);
            peer.queues.begin_anew();
            peer.failures = 0;
            if peer.standing == Standing::Greeted {
                sometimes!("link.raised_unconfirmed");
                self.forget(now, node, out);
            } else {
                self.schedule_dial(now, node, Wait::None);
            }
        }
    }

    /// We slept too long: whatever we believed about others is worth nothing.
    pub(super) fn slept(&mut self, now: Instant, out: &mut Vec<Output>) {
        sometimes!("link.slept");
        self.close_everything(now, out);
        let peers: Vec<NodeId> = self.peers.keys().cloned().collect();
        for node in &peers {
            self.forget(now, node, out);
        }
    }

    fn close_everything(&mut self, now: Instant, out: &mut Vec<Output>) {
        let peers: Vec<NodeId> = self.peers.keys().cloned().collect();
        for node in &peers {
            self.retire_all(node, Bye::Closing, out);
            self.went_down(now, node, Dropped::Reconnect, out);
            self.peer_mut(node).dialling = None;
        }
        self.close_unfinished(out);
    }

    /// Closes whatever has no finished handshake; seeds are reported.
    fn close_unfinished(&mut self, out: &mut Vec<Output>) {
        let unfinished = self.connections.iter().filter(|(_, one)| one.pair().is_none());
        let unfinished: Vec<ConnectionId> = unfinished.map(|(id, _)| *id).collect();
        for id in unfinished {
            out.push(Output::Disconnect { connection: id });
            let Some(Connection { stage, address, .. }) = self.remove_connection(id) else {
                continue;
            };
            if let Stage::Connecting(target) | Stage::Greeting(target) = stage {
                match target {
                    super::Target::Peer(node) => self.peer_mut(&node).dialling = None,
                    super::Target::Seed => out.push(Output::SeedFailed { address, refused: false }),
                }
            }
        }
    }

    /// Says goodbye on every link once what waits has left, and dials nobody any more.
    pub(super) fn leave(&mut self, now: Instant, restarting: bool, out: &mut Vec<Output>) {
        self.leaving = true;
        self.close_unfinished(out);
        let bye = if restarting { Bye::Restarting } else { Bye::Leaving };
        let at = now + self.settings.handshake_timeout;
        for (id, connection) in &mut self.connections {
            if let Stage::Open(pair) = &mut connection.stage {
                pair.farewell = Some((bye, at));
                self.agenda.set(Subject::Connection(*id), at);
            }
        }
        let peers: Vec<NodeId> = self.peers.keys().cloned().collect();
        for node in &peers {
            if self.peer_mut(node).up.is_some() {
                self.drain(now, node, out);
            } else {
                self.agenda.cancel(&Subject::Peer(node.clone()));
            }
        }
    }

    /// Closes links to peers that membership never confirmed.
    pub(super) fn sweep(&mut self, now: Instant, out: &mut Vec<Output>) {
        let greeted = self.peers.iter().filter(|(_, peer)| peer.standing == Standing::Greeted);
        let greeted: Vec<(NodeId, Instant)> =
            greeted.map(|(node, peer)| (node.clone(), peer.since + SWEEP_INTERVAL)).collect();
        for (node, _) in greeted.iter().filter(|(_, until)| *until <= now) {
            self.drop_peer(now, node, Bye::Closing, out);
            self.counts.swept();
        }
        if let Some(next) = greeted.iter().map(|(_, until)| *until).filter(|at| now < *at).min() {
            self.agenda.set(Subject::Sweep, next);
        }
    }
}

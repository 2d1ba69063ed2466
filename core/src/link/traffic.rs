//! Frames that arrive, messages that wait, and pings.

use super::connection::Window;
use super::dial::{LEAVING_WAIT, Wait};
use super::queue::{Lane, Need};
use super::{Links, Message, Output, Peer, Stage, Subject};
use crate::ids::{ConnectionId, NodeId, Replica};
use crate::limits;
use crate::time::Instant;
use crate::wire::frame::{Class, Frame};
use crate::wire::message::{Control, Gossip};
use crate::wire::session::{Bye, Session};
use crate::wire::{Blob, decode, encode};

impl Links {
    /// A whole frame arrived.
    pub(super) fn frame(
        &mut self,
        now: Instant,
        id: ConnectionId,
        frame: &Frame,
        out: &mut Vec<Output>,
    ) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.heard = now;
        if frame.sequence != 0 || frame.reply {
            self.misbehaved(now, id, "flags that this class does not have", out);
            return;
        }
        match (&connection.stage, frame.class) {
            (Stage::Open(pair), Class::Session) => {
                let peer = pair.peer.clone();
                self.last_word(now, id, peer, frame, out);
            }
            (Stage::Open(pair), Class::Control | Class::Gossip) => {
                let peer = pair.peer.clone();
                self.message(now, id, peer, frame, out);
            }
            (_, Class::Session) => self.session_frame(now, id, frame, out),
            (_, Class::Control | Class::Gossip) => {
                self.misbehaved(now, id, "a frame before the handshake", out);
            }
        }
    }

    /// After the handshake a session frame can only be a goodbye.
    fn last_word(
        &mut self,
        now: Instant,
        id: ConnectionId,
        peer: Replica,
        frame: &Frame,
        out: &mut Vec<Output>,
    ) {
        let session = decode::<Session, { limits::FRAME_SESSION_BYTES_MAX }>(&frame.payload);
        let Ok(Session::Bye(bye)) = session else {
            self.misbehaved(now, id, "a second handshake on one connection", out);
            return;
        };
        sometimes!("link.bye_duplicate", bye == Bye::Duplicate);
        sometimes!("link.bye_closing", bye == Bye::Closing);
        sometimes!("link.bye_leaving", bye == Bye::Leaving);
        let (why, wait, restarting) = match bye {
            Bye::Duplicate => ("duplicate", Wait::Backoff, None),
            Bye::Closing => ("closed by the peer", Wait::Backoff, None),
            Bye::Leaving => ("leaving", Wait::AtLeast(LEAVING_WAIT), Some(false)),
            Bye::Restarting => ("restarting", Wait::Backoff, Some(true)),
        };
        if let Some(restarting) = restarting {
            out.push(Output::Bye { peer, restarting });
        }
        self.hang_up(now, id, why, wait, out);
    }

    fn message(
        &mut self,
        now: Instant,
        id: ConnectionId,
        from: Replica,
        frame: &Frame,
        out: &mut Vec<Output>,
    ) {
        let lane = if frame.class == Class::Control { Lane::Control } else { Lane::Gossip };
        self.counts.received(lane, limits::FRAME_HEADER_BYTES + frame.payload.len());
        self.peer_mut(&from.node).heard = now;
        out.push(Output::Heard { peer: from.clone() });
        let message = match lane {
            Lane::Control => decode::<Control, { limits::FRAME_CONTROL_BYTES_MAX }>(&frame.payload)
                .map(Message::Control),
            Lane::Gossip => decode::<Gossip, { limits::FRAME_GOSSIP_BYTES_MAX }>(&frame.payload)
                .map(Message::Gossip),
        };
        match (message, lane) {
            (Ok(message), _) => {
                if let Message::Control(Control::Pong(pong)) = &message {
                    self.measure(now, &from.node, pong.number, out);
                }
                out.push(Output::Message { from, message });
            }
            (Err(_), Lane::Control) => {
                self.misbehaved(now, id, "an undecodable control frame", out);
            }
            (Err(_), Lane::Gossip) => {
                // What gossip loses is repaired by gossip: no reason to close the link.
                let (peer, what) = (Some(from.node), "an undecodable gossip frame");
                out.push(Output::Misbehaved { peer, address: None, what });
            }
        }
    }

    fn measure(&mut self, now: Instant, node: &NodeId, number: u64, out: &mut Vec<Output>) {
        let peer = self.peer_mut(node);
        if let Some((_, sent)) = peer.pinged.take_if(|(pinged, _)| *pinged == number) {
            let took = now.since(sent);
            peer.round_trip = Some(took);
            out.push(Output::RoundTrip { peer: node.clone(), took });
        }
    }

    /// Queues a message, encoded now, and writes what the window takes.
    pub(super) fn send(
        &mut self,
        now: Instant,
        to: &NodeId,
        message: &Message,
        out: &mut Vec<Output>,
    ) {
        let (lane, need) = lane_of(message);
        if let Err(why) = self.enqueue(now, to, message, lane, need) {
            sometimes!("link.refused_no_member", why == "not_a_member");
            sometimes!("link.refused_unreachable", why == "unreachable");
            sometimes!("link.refused_queue_full", why == "queue_full");
            self.counts.refused(lane);
            out.push(Output::Refused { to: to.clone(), class: lane.class(), why });
            return;
        }
        self.drain(now, to, out);
    }

    fn enqueue(
        &mut self,
        now: Instant,
        to: &NodeId,
        message: &Message,
        lane: Lane,
        need: Need,
    ) -> Result<(), &'static str> {
        let peer = self.peers.get_mut(to).ok_or("not_a_member")?;
        if peer.up.is_none() {
            return Err("unreachable");
        }
        let payload = match message {
            Message::Control(control) => Blob::from(encode(control)),
            Message::Gossip(gossip) => Blob::from(encode(gossip)),
            Message::Encoded(payload) => payload.clone(),
        };
        if payload.len() > lane.class().payload_bytes_max() {
            return Err("too_large");
        }
        let frame = Frame { class: lane.class(), reply: false, sequence: 0, payload };
        let bytes = Blob::from(frame.encode());
        let (length, room) =
            (bytes.len(), self.settings.queue_bytes_max.saturating_sub(self.queued_bytes));
        if !peer.queues.offer(lane, need, bytes, room) {
            return Err("queue_full");
        }
        if let Message::Control(Control::Ping(ping)) = message {
            peer.pinged = Some((ping.number, now));
        }
        self.queued_bytes += length;
        self.counts.queued(lane);
        Ok(())
    }

    /// The host can take more.
    pub(super) fn writable(
        &mut self,
        now: Instant,
        id: ConnectionId,
        bytes: usize,
        out: &mut Vec<Output>,
    ) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.window.grant(bytes);
        let Some(pair) = connection.pair() else { return };
        let node = pair.peer.node.clone();
        self.drain(now, &node, out);
    }

    /// Writes what waits for a peer, as far as the window of the connection in use goes.
    pub(super) fn drain(&mut self, now: Instant, node: &NodeId, out: &mut Vec<Output>) {
        let Some(peer) = self.peers.get_mut(node) else { return };
        let Some(id) = peer.up else { return };
        let connection = self.connections.get_mut(&id).expect("L-2: what is used is open");
        while Window::is_open(connection.window) {
            let Some((lane, bytes)) = peer.queues.take() else { break };
            connection.window.spend(bytes.len());
            self.queued_bytes -= bytes.len();
            self.counts.sent(lane, bytes.len());
            out.push(Output::Write { connection: id, bytes });
        }
        let farewell = connection.pair().and_then(|pair| pair.farewell);
        if !peer.queues.is_empty() {
            sometimes!("link.window_closed");
            self.plan_ping(node);
        } else if let Some((bye, _)) = farewell {
            self.write_session(id, &Session::Bye(bye), out);
            self.hang_up(now, id, "leaving", Wait::Backoff, out);
        }
    }

    /// Asks for a ping if one is due, and plans the next.
    pub(super) fn ping(&mut self, now: Instant, node: &NodeId, out: &mut Vec<Output>) {
        let interval = self.settings.ping_interval;
        if self.next_ping(node).is_some_and(|at| at <= now) {
            self.pings += 1;
            let number = self.pings;
            let peer = self.peer_mut(node);
            peer.pinged_at = now;
            if peer.ping_at <= now {
                peer.ping_at = now + interval;
            }
            let incarnation = peer.life;
            let peer = Replica { node: node.clone(), incarnation };
            out.push(Output::PingDue { peer, number });
        }
        self.plan_ping(node);
    }

    fn plan_ping(&mut self, node: &NodeId) {
        if let Some(at) = self.next_ping(node) {
            self.agenda.set(Subject::Peer(node.clone()), at);
        }
    }

    /// The regular ping, or an earlier one after half an interval of silence with frames waiting.
    fn next_ping(&self, node: &NodeId) -> Option<Instant> {
        let peer: &Peer = self.peers.get(node)?;
        let connection = self.connections.get(&peer.up?)?;
        if peer.queues.is_empty() {
            return Some(peer.ping_at);
        }
        sometimes!("link.ping_early");
        let silence = connection.heard.max(peer.pinged_at) + self.settings.ping_interval / 2;
        Some(peer.ping_at.min(silence))
    }
}

fn lane_of(message: &Message) -> (Lane, Need) {
    match message {
        Message::Control(Control::Ping(_) | Control::Pong(_)) => (Lane::Control, Need::Essential),
        Message::Control(Control::Departed(_) | Control::Retired(_) | Control::Raft(_)) => {
            (Lane::Control, Need::Plain)
        }
        Message::Gossip(_) | Message::Encoded(_) => (Lane::Gossip, Need::Plain),
    }
}

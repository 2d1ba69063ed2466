//! Frames that arrive, messages that wait, and pings.

use std::time::Duration;

use super::connection::Window;
use super::dial::{LEAVING_WAIT, Wait};
use super::pairing::Dropped;
use super::queue::{Lane, Need, Waiting};
use super::{Links, Message, Output, Peer, Settings, Stage, Standing, Subject};
use crate::ids::{ConnectionId, NodeId, Replica};
use crate::limits;
use crate::time::Instant;
use crate::wire::frame::{Class, Frame, framed};
use crate::wire::message::{Acknowledged, Control, Gossip, Request};
use crate::wire::session::{Bye, Session};
use crate::wire::{Blob, decode};

impl Links {
    /// A whole frame arrived.
    pub(super) fn frame(
        &mut self,
        now: Instant,
        id: ConnectionId,
        frame: &Frame,
        out: &mut Vec<Output>,
    ) {
        let Some(connection) = self.connections.get_mut(&id) else {
            sometimes!("link.frame_of_the_past");
            if canary!("link.hears_the_past") {
                self.counts.received(Lane::Control, frame.payload.len());
            }
            return;
        };
        connection.heard = now;
        if (frame.sequence != 0) != (frame.class == Class::Broadcast)
            || (frame.reply && frame.class != Class::Control)
        {
            self.misbehaved(now, id, "flags that this class does not have", out);
            return;
        }
        match (&connection.stage, Lane::of(frame.class)) {
            (Stage::Open(pair), None) => {
                let peer = pair.peer.clone();
                self.last_word(now, id, peer, frame, out);
            }
            (Stage::Open(pair), Some(lane)) => {
                let peer = pair.peer.clone();
                self.message(now, (id, lane), peer, frame, out);
            }
            (_, None) => self.session_frame(now, id, frame, out),
            (_, Some(_)) => {
                sometimes!("link.frame_before_greeting");
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
        arrived: (ConnectionId, Lane),
        from: Replica,
        frame: &Frame,
        out: &mut Vec<Output>,
    ) {
        let (id, lane) = arrived;
        self.counts.received(lane, limits::FRAME_HEADER_BYTES + frame.payload.len());
        self.peer_mut(&from.node).heard = now;
        out.push(Output::Heard { peer: from.clone() });
        match lane {
            Lane::Control => {
                match decode::<Control, { limits::FRAME_CONTROL_BYTES_MAX }>(&frame.payload) {
                    Ok(control) if frame.reply == matches!(control, Control::Reply(_)) => {
                        self.control(now, from, control, out);
                    }
                    Ok(_) => self.misbehaved(now, id, "a reply that is not marked as one", out),
                    Err(_) => self.misbehaved(now, id, "an undecodable control frame", out),
                }
            }
            Lane::Gossip => {
                match decode::<Gossip, { limits::FRAME_GOSSIP_BYTES_MAX }>(&frame.payload) {
                    Ok(gossip) => {
                        let message = Message::Gossip(gossip);
                        out.push(Output::Message { from, message });
                    }
                    // What gossip loses is repaired by gossip: no reason to close the link.
                    Err(_) => {
                        let (peer, what) = (Some(from.node), "an undecodable gossip frame");
                        out.push(Output::Misbehaved { peer, address: None, what });
                    }
                }
            }
            Lane::Bulk => {
                let message = Message::Bulk(frame.payload.clone());
                out.push(Output::Message { from, message });
            }
            Lane::Broadcast => self.sequenced(now, id, from, frame, out),
        }
    }

    /// A control message of a peer: some are for links themselves.
    pub(super) fn control(
        &mut self,
        now: Instant,
        from: Replica,
        control: Control,
        out: &mut Vec<Output>,
    ) {
        match control {
            Control::Raft(body) => {
                out.push(Output::Message { from, message: Message::Raft(body) });
            }
            Control::Request(request) => {
                let deadline = now + Duration::from_millis(request.remaining_ms);
                let Request { from, number, body, .. } = request;
                out.push(Output::Asked { from, number, deadline, body });
            }
            Control::Reply(reply) => self.replied(now, reply, out),
            Control::Acknowledged(Acknowledged { sender, sequence }) => {
                self.acknowledged(&from.node, sender, sequence);
            }
            Control::Relay(relay) => self.relayed(now, from, relay, out),
            Control::Pong(pong) => {
                self.measure(now, &from.node, pong.number, out);
                let message = Message::Control(Control::Pong(pong));
                out.push(Output::Message { from, message });
            }
            Control::Ping(ping) => {
                self.pinged(now, &from.node);
                out.push(Output::Message { from, message: Message::Control(Control::Ping(ping)) });
            }
            control @ (Control::Departed(_) | Control::Retired(_)) => {
                out.push(Output::Message { from, message: Message::Control(control) });
            }
        }
    }

    /// The ends of a link take turns: a ping of the peer, with its answer, says all that ours would. Where two
    /// pings cross, each end would leave the next turn to the other, so it is the lower node id's.
    fn pinged(&mut self, now: Instant, node: &NodeId) {
        let interval = self.settings.ping_interval;
        let next = now + interval + self.company(now, node);
        let lower = self.is_lower_than(node);
        let peer = self.peer_mut(node);
        if peer.up.is_some() && (peer.ping_at < next || lower) {
            peer.ping_at = next;
            peer.ping_along_from = now + interval / 2;
            self.plan_ping(node);
        }
    }

    /// By how much a ping may be late, so that what ends its silence still comes in time.
    fn grace(&self) -> Duration {
        let Settings { ping_interval, idle_timeout, .. } = &self.settings;
        (*ping_interval).min(idle_timeout.saturating_sub(*ping_interval)) / 2
    }

    /// How long a ping waits beyond its interval for something to go along with: not at all, where nothing
    /// went in the interval before.
    fn company(&self, now: Instant, node: &NodeId) -> Duration {
        let sent = self.peers.get(node).and_then(|peer| peer.sent_at);
        let lately = sent.is_some_and(|at| now.since(at) <= self.settings.ping_interval);
        if lately { self.grace() } else { Duration::ZERO }
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
        deadline: Option<Instant>,
        out: &mut Vec<Output>,
    ) {
        let (lane, sent) = if let Message::Control(control) = message {
            (Lane::Control, self.dispatch(now, to, control, deadline, out))
        } else {
            let draft = Draft::of(message, deadline);
            (draft.lane, self.post(now, to, draft, out))
        };
        if let Err(why) = sent {
            sometimes!("link.refused_no_member", why == "not_a_member");
            sometimes!("link.refused_unreachable", why == "unreachable");
            sometimes!("link.refused_queue_full", why == "queue_full");
            self.counts.refused(lane);
            out.push(Output::Refused { to: to.clone(), class: lane.class(), why });
            return;
        }
        match message {
            Message::Control(Control::Ping(ping)) => {
                self.peer_mut(to).pinged = Some((ping.number, now));
            }
            Message::Control(Control::Pong(_)) => {}
            Message::Control(_)
            | Message::Raft(_)
            | Message::Bulk(_)
            | Message::Broadcast(_)
            | Message::Gossip(_)
            | Message::Encoded(_) => self.ping_along(now, to, out),
        }
    }

    /// Queues a control message, and takes a relay where there is no link.
    pub(super) fn dispatch(
        &mut self,
        now: Instant,
        to: &NodeId,
        message: &Control,
        deadline: Option<Instant>,
        out: &mut Vec<Output>,
    ) -> Result<(), &'static str> {
        match self.post(now, to, Draft::control(message, deadline), out) {
            Err(UNREACHABLE) if Links::may_be_relayed(message) => {
                self.relay(now, to, message, deadline, out)
            }
            sent => sent,
        }
    }

    /// Puts a message into its lane, and writes what the window takes.
    pub(super) fn post(
        &mut self,
        now: Instant,
        to: &NodeId,
        draft: Draft,
        out: &mut Vec<Output>,
    ) -> Result<(), &'static str> {
        self.enqueue(to, draft)?;
        self.drain(now, to, out);
        Ok(())
    }

    fn enqueue(&mut self, to: &NodeId, draft: Draft) -> Result<(), &'static str> {
        let peer = self.peers.get_mut(to).ok_or("not_a_member")?;
        let Draft { lane, need, deadline, frame: bytes } = draft;
        // What is sequenced waits for the next connection of a member.
        let waits = lane == Lane::Broadcast && peer.standing == Standing::Member;
        let doubted = lane == Lane::Broadcast && peer.standing == Standing::Failed;
        if (peer.up.is_none() && !waits) || doubted {
            return Err(UNREACHABLE);
        }
        let length = bytes.len();
        if length > limits::FRAME_HEADER_BYTES + lane.class().payload_bytes_max() {
            return Err("too_large");
        }
        let room = self.settings.queue_bytes_max.saturating_sub(self.queued_bytes);
        let frame = Waiting { need, deadline, sequence: 0, bytes };
        let offered = peer.queues.offer(lane, frame, room);
        peer.wants_room |= lane == Lane::Bulk && !offered.accepted;
        self.queued_bytes -= offered.displaced.bytes;
        self.counts.dropped(lane, Dropped::Full, offered.displaced.frames);
        if !offered.accepted {
            return Err("queue_full");
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
        let mut expired = Vec::new();
        while Window::is_open(connection.window) {
            let Some((lane, bytes)) = peer.queues.take(now, &mut expired) else { break };
            connection.window.spend(bytes.len());
            self.queued_bytes -= if lane == Lane::Broadcast { 0 } else { bytes.len() };
            self.counts.sent(lane, bytes.len());
            out.push(Output::Write { connection: id, bytes });
        }
        for (lane, bytes) in expired {
            self.queued_bytes -= bytes;
            self.counts.dropped(lane, Dropped::Expired, 1);
        }
        if peer.wants_room && peer.queues.held(Lane::Bulk).frames <= limits::BULK_FRAMES_MAX / 2 {
            peer.wants_room = false;
            out.push(Output::Room { to: node.clone() });
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
        if self.next_ping(node).is_some_and(|at| at <= now) {
            let regular = self.peer_mut(node).ping_at <= now;
            self.ask_for_ping(now, node, regular, out);
        }
        self.plan_ping(node);
    }

    /// Something was sent: a ping that is due soon goes along with it, and nobody wakes for it.
    fn ping_along(&mut self, now: Instant, node: &NodeId, out: &mut Vec<Output>) {
        let Some(peer) = self.peers.get_mut(node).filter(|peer| peer.up.is_some()) else { return };
        peer.sent_at = Some(now);
        if peer.ping_along_from <= now && peer.queues.is_empty() {
            sometimes!("link.ping_along");
            self.ask_for_ping(now, node, true, out);
            self.plan_ping(node);
        }
    }

    /// The turn after a regular ping is the peer's. Where it lets it pass, its answer to ours still comes in time.
    fn ask_for_ping(&mut self, now: Instant, node: &NodeId, regular: bool, out: &mut Vec<Output>) {
        let next = now + self.settings.ping_interval + self.grace() + self.company(now, node) / 2;
        self.pings += 1;
        let number = self.pings;
        let peer = self.peer_mut(node);
        peer.pinged_at = now;
        if regular {
            (peer.ping_at, peer.ping_along_from) = (next, next);
        }
        let peer = Replica { node: node.clone(), incarnation: peer.life };
        out.push(Output::PingDue { peer, number });
        self.put_off_silence(node);
    }

    /// Whoever is heard of between two pings wakes nobody to see whether it is silent.
    fn put_off_silence(&mut self, node: &NodeId) {
        let Some(id) = self.peers.get(node).and_then(|peer| peer.up) else { return };
        let Some(connection) = self.connections.get(&id) else { return };
        if connection.pair().is_some_and(|pair| pair.farewell.is_none()) {
            let at = connection.heard + self.settings.idle_timeout;
            self.agenda.set(Subject::Connection(id), at);
        }
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

/// A message on its way into a lane.
#[derive(Debug, Clone)]
pub(super) struct Draft {
    lane: Lane,
    need: Need,
    deadline: Option<Instant>,
    /// The whole frame, still without a number.
    frame: Blob,
}

impl Draft {
    fn of(message: &Message, deadline: Option<Instant>) -> Draft {
        let plain = |lane, frame| Draft { lane, need: Need::Plain, deadline, frame };
        let whole = |lane: Lane, payload: &Blob| {
            let frame =
                Frame { class: lane.class(), reply: false, sequence: 0, payload: payload.clone() };
            plain(lane, Blob::from(frame.encode()))
        };
        match message {
            Message::Control(control) => Draft::control(control, deadline),
            Message::Raft(body) => Draft::control(&Control::Raft(body.clone()), deadline),
            Message::Gossip(gossip) => plain(Lane::Gossip, framed(Class::Gossip, false, gossip)),
            Message::Encoded(frame) => plain(Lane::Gossip, frame.clone()),
            Message::Bulk(payload) => whole(Lane::Bulk, payload),
            // A number that expired would be a gap.
            Message::Broadcast(payload) => {
                Draft { deadline: None, ..whole(Lane::Broadcast, payload) }
            }
        }
    }

    pub(super) fn control(message: &Control, deadline: Option<Instant>) -> Draft {
        let need = match message {
            Control::Ping(_) | Control::Pong(_) | Control::Reply(_) | Control::Acknowledged(_) => {
                Need::Essential
            }
            Control::Departed(_) | Control::Retired(_) | Control::Request(_) => Need::Plain,
            Control::Relay(_) => Need::Plain,
            Control::Raft(_) => Need::Replaceable,
        };
        let reply = matches!(message, Control::Reply(_));
        let frame = framed(Class::Control, reply, message);
        Draft { lane: Lane::Control, need, deadline, frame }
    }
}

/// There is no link.
pub(super) const UNREACHABLE: &str = "unreachable";

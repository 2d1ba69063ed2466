//! Sequenced delivery: between two living replicas every accepted frame of `broadcast` arrives exactly
//! once and in order, whatever connections do.
//!
//! Frames are numbered from 1 per direction and pair of lives, when they leave for the first time. The
//! receiver takes the next one, drops what it has, and acknowledges through where it has everything: every
//! 64 frames or 50 ms. A handshake says the same, and what is not acknowledged leaves again on the
//! connection used from then on. When either life ends, or seems to, what was not acknowledged is reported
//! as undelivered, and never sent to a successor.
//!
//! No number is given twice in a pair of lives. So the first frame on a connection has the lowest number
//! that is still to come: what is missing before it was given back to its sender.
//!
//! Invariant: L-3: delivered in order, without gap or repetition; accepted = acknowledged + held +
//! undelivered.
//!
//! Absent on purpose: what is in the frames.

use super::dial::Wait;
use super::queue::Lane;
use super::{Links, Message, Output, Subject};
use crate::ids::{ConnectionId, Incarnation, NodeId, Replica};
use crate::limits;
use crate::time::Instant;
use crate::wire::Blob;
use crate::wire::frame::Frame;
use crate::wire::message::{Acknowledged, Control};
use crate::wire::session::Greeting;

/// How far the frames of one life of a peer are here. Ours to it are kept by its queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stream {
    life: Incarnation,
    /// The last number that arrived.
    received: u64,
    /// The last number that the peer was told about.
    told: u64,
}

impl Links {
    /// A frame of `broadcast` arrived.
    pub(super) fn sequenced(
        &mut self,
        now: Instant,
        id: ConnectionId,
        from: Replica,
        frame: &Frame,
        out: &mut Vec<Output>,
    ) {
        let connection = self.connections.get_mut(&id).expect("a frame arrives on a connection");
        let first = !std::mem::replace(&mut connection.sequenced, true);
        let Some(stream) = self.stream_of(&from) else {
            self.hang_up(now, id, "no room for another sequence", Wait::Backoff, out);
            return;
        };
        if !first && frame.sequence > stream.received.saturating_add(1) {
            self.hang_up(now, id, "a gap in a sequence", Wait::Backoff, out);
            return;
        }
        let fresh = frame.sequence > stream.received;
        if fresh {
            stream.received = frame.sequence;
        } else {
            stream.told = 0; // The sender does not know that it is here.
        }
        let due = fresh && stream.received - stream.told >= limits::ACKNOWLEDGE_FRAMES;
        if fresh {
            let message = Message::Broadcast(frame.payload.clone());
            out.push(Output::Message { from: from.clone(), message });
        } else {
            self.counts.duplicate();
        }
        if due {
            self.acknowledge(now, &from.node, out);
        } else if self.agenda.of(&Subject::Acknowledgement(from.node.clone())).is_none() {
            let at = now + limits::ACKNOWLEDGE_DELAY;
            self.agenda.set(Subject::Acknowledgement(from.node), at);
        }
    }

    /// What is kept of a life's frames. It outlives whatever else is known of the peer, until that life is
    /// over: a frame must not arrive twice because its sender was doubted in between.
    fn stream_of(&mut self, from: &Replica) -> Option<&mut Stream> {
        let fresh = Stream { life: from.incarnation, received: 0, told: 0 };
        let known = self.streams.contains_key(&from.node);
        if !known && self.streams.len() >= limits::MEMBERS_MAX {
            let strange = self.streams.keys().find(|node| !self.peers.contains_key(*node)).cloned();
            self.streams.remove(&strange?);
        }
        let stream = self.streams.entry(from.node.clone()).or_insert(fresh);
        if stream.life != from.incarnation {
            *stream = fresh;
        }
        Some(stream)
    }

    /// Tells a peer through where its frames are here.
    pub(super) fn acknowledge(&mut self, now: Instant, node: &NodeId, out: &mut Vec<Output>) {
        self.agenda.cancel(&Subject::Acknowledgement(node.clone()));
        let is_up = self.peers.get(node).is_some_and(|peer| peer.up.is_some());
        let Some(stream) = self.streams.get_mut(node) else { return };
        let (sender, sequence) = (stream.life, stream.received);
        if !is_up || stream.told == sequence {
            return; // The next handshake tells it.
        }
        stream.told = sequence;
        let message = Control::Acknowledged(Acknowledged { sender, sequence });
        if self.dispatch(now, node, &message, None, out).is_err() {
            self.counts.refused(Lane::Control);
        }
    }

    /// A peer has our frames through `sequence`.
    pub(super) fn acknowledged(&mut self, node: &NodeId, sender: Incarnation, sequence: u64) {
        if sender != self.local.incarnation {
            return; // Of a life of ours that is over.
        }
        let freed = self.peer_mut(node).queues.acknowledge(sequence);
        self.queued_bytes -= freed.bytes;
        self.counts.acknowledged(freed.frames);
    }

    /// No life of `node` at or below `life` returns.
    pub(super) fn forget_stream(&mut self, node: &NodeId, life: Incarnation) {
        if self.streams.get(node).is_some_and(|stream| stream.life <= life) {
            self.streams.remove(node);
        }
    }

    /// What a handshake tells of the peer's frames: its life, and through where they are here.
    pub(super) fn resume(&self, node: &NodeId) -> Option<(u8, Incarnation, u64)> {
        let stream = self.streams.get(node)?;
        let class = Lane::Broadcast.class().number();
        (stream.received > 0).then_some((class, stream.life, stream.received))
    }

    /// A connection is used from now on: what was not acknowledged leaves again.
    pub(super) fn rewind(&mut self, node: &NodeId) {
        let again = self.peer_mut(node).queues.rewind();
        self.counts.resent(again);
    }

    /// What a greeting says of our frames.
    pub(super) fn resume_of(&self, greeting: &Greeting) -> u64 {
        let class = Lane::Broadcast.class().number();
        let ours = |(number, life, _): &&(u8, Incarnation, u64)| {
            *number == class && *life == self.local.incarnation
        };
        greeting.resume.iter().find(ours).map_or(0, |(_, _, sequence)| *sequence)
    }

    /// The life of the peer, or ours, is over, or so it seems: what waits for it will not arrive.
    pub(super) fn end_stream(&mut self, node: &NodeId, out: &mut Vec<Output>) {
        self.agenda.cancel(&Subject::Acknowledgement(node.clone()));
        let Some(peer) = self.peers.get_mut(node) else { return };
        let (life, frames) = (peer.life, peer.queues.clear_broadcast());
        self.undelivered(node, life, frames, out);
    }

    fn undelivered(
        &mut self,
        node: &NodeId,
        life: Incarnation,
        frames: Vec<Blob>,
        out: &mut Vec<Output>,
    ) {
        let to = Replica { node: node.clone(), incarnation: life };
        self.queued_bytes -= frames.iter().map(|frame| frame.len()).sum::<usize>();
        self.counts.undelivered(frames.len());
        for frame in frames {
            let body = Blob::from(frame.get(limits::FRAME_HEADER_BYTES..).unwrap_or_default());
            out.push(Output::Undelivered { to: to.clone(), body });
        }
    }
}

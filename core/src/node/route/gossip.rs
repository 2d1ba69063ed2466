//! What gossip says: rounds, digests, pulls that are served, and fresh intervals that are pushed.

use std::collections::VecDeque;

use super::{Effect, Node, Step};
use crate::gossip::{self, Direction};
use crate::ids::{NodeId, Replica};
use crate::link::{self, Message};
use crate::node::misbehaviour::Domain;
use crate::time::Instant;
use crate::wire::datagram::Kind;
use crate::wire::frame::{Class, framed};
use crate::wire::message::{Gossip, Pull, Segments};
use crate::wire::segment::{Segment, Topic};
use crate::wire::{Transport, encode};
use crate::{limits, replica};

/// An interval of one of our maps that nobody has heard of yet.
type Fresh = (Topic, Replica, u64, u64);

impl Node {
    pub(super) fn gossip_says(
        &mut self,
        now: Instant,
        output: gossip::Output,
        out: &mut Vec<Effect>,
    ) {
        use gossip::Output;
        match output {
            Output::Round { target, datagrams } => self.round(&target, datagrams, out),
            Output::Digest { to, digest } => {
                if self.misses_datagrams(&to) {
                    self.send_gossip(to, Gossip::Digest(digest));
                } else {
                    self.send_section(&to, Kind::Digest, &encode(&digest), out);
                }
            }
            Output::Rows { to, transport, rows } => match transport {
                Transport::Datagram => self.send_section(&to, Kind::Rows, &encode(&rows), out),
                Transport::Link => self.send_gossip(to, Gossip::Rows(rows)),
            },
            Output::Pull { to, transport, pull } => match transport {
                Transport::Datagram => self.send_section(&to, Kind::Pull, &encode(&pull), out),
                Transport::Link => self.send_gossip(to, Gossip::Pull(pull)),
            },
            Output::Serve { to, pull } => self.serve(to, &pull),
            Output::Push { fresh } => self.push(now, fresh, out),
            Output::Level { peer, topic, replica, complete } => {
                let input = replica::Input::Acknowledged { peer, topic, replica, complete };
                self.steps.push_back(Step::Maps(input));
            }
            Output::Shown { topic, replica, head, floor: _ } => {
                self.steps.push_back(Step::Maps(replica::Input::Shown { topic, replica, head }));
            }
            Output::Misbehaved { peer, what } => {
                self.misbehaved(Domain::Gossip, Some(peer), what, out)
            }
        }
    }

    /// Ends the turn of gossip: what was written in it is pushed.
    pub(in crate::node) fn flush_gossip(&mut self, now: Instant, out: &mut Vec<Effect>) {
        let mut outputs = Vec::new();
        self.gossip.flush(now, &mut outputs);
        outputs.into_iter().for_each(|output| self.gossip_says(now, output, out));
    }

    /// Answers a pull over the link, up to one frame of segments.
    fn serve(&mut self, to: NodeId, pull: &Pull) {
        let mut budget = limits::SEGMENTS_BYTES_MAX;
        let mut segments = Vec::new();
        for want in pull.wants.iter() {
            let held = self.maps.segment(want.topic, &want.replica, want.from, u64::MAX, budget);
            if let Some(segment) = held {
                let bytes = segment.encoded_bytes();
                budget = budget.saturating_sub(bytes);
                self.carried(segment.topic, Direction::Sent, bytes);
                segments.push(segment);
            }
        }
        let answer = Segments { segments: segments.into(), answers: Some(pull.number) };
        self.send_gossip(to, Gossip::Segments(answer));
    }

    /// Sends fresh intervals of our own maps to every connected peer, each frame encoded once. As soon as
    /// a link refuses one, all of it becomes rumours as well.
    pub(in crate::node) fn push(&mut self, now: Instant, fresh: Vec<Fresh>, out: &mut Vec<Effect>) {
        let mut waiting: VecDeque<Fresh> = fresh.iter().cloned().collect();
        while let Some(segments) = self.cut_frame(&mut waiting) {
            for segment in &segments {
                let bytes = segment.encoded_bytes() * self.linked.len();
                self.carried(segment.topic, Direction::Sent, bytes);
            }
            let message = Gossip::Segments(Segments { segments: segments.into(), answers: None });
            if !self.send_to_all(now, &message, out) {
                for (topic, replica, from, upto) in fresh {
                    self.gossip_step(gossip::Input::PushRefused { topic, replica, from, upto });
                }
                return;
            }
        }
    }

    /// As much of what waits as one frame holds; `None` when nothing is left.
    fn cut_frame(&self, waiting: &mut VecDeque<Fresh>) -> Option<Vec<Segment>> {
        let mut budget = limits::SEGMENTS_BYTES_MAX;
        let mut segments: Vec<Segment> = Vec::new();
        while let Some((topic, replica, from, upto)) = waiting.pop_front() {
            match self.maps.segment(topic, &replica, from, upto, budget) {
                Some(segment) => {
                    budget = budget.saturating_sub(segment.encoded_bytes());
                    let cut = segment.upto;
                    segments.push(segment);
                    if cut < upto {
                        waiting.push_front((topic, replica, cut, upto));
                        break;
                    }
                }
                // Its first entry needs a frame of its own.
                None if !segments.is_empty() => {
                    waiting.push_front((topic, replica, from, upto));
                    break;
                }
                // Written over meanwhile: there is nothing to say.
                None => {}
            }
        }
        (!segments.is_empty()).then_some(segments)
    }

    /// Sends a message to every connected peer; tells whether no link refused it.
    fn send_to_all(&mut self, now: Instant, message: &Gossip, out: &mut Vec<Effect>) -> bool {
        let frame = framed(Class::Gossip, false, message);
        let mut refused = false;
        let mut targets: Vec<NodeId> = self.linked.iter().cloned().collect();
        if canary!("node.follows_a_random_order") && !targets.is_empty() {
            let first = crate::canary::random_place() % targets.len();
            targets.rotate_left(first);
        }
        for to in targets {
            let message = Message::Encoded(frame.clone());
            let mut outputs = self.links.step(now, link::Input::Send { to, message });
            refused |= outputs.iter().any(|output| matches!(output, link::Output::Refused { .. }));
            outputs.drain(..).for_each(|output| self.links_say(output, out));
            self.links.keep(outputs);
        }
        !refused
    }

    /// Bytes of segments that arrived, or left by link, for gossip's counts.
    pub(in crate::node) fn carried(&mut self, topic: Topic, direction: Direction, bytes: usize) {
        self.gossip.quietly().carried(topic, direction, bytes);
    }

    /// Whether datagrams of a peer do not arrive while its frames do.
    fn misses_datagrams(&self, peer: &NodeId) -> bool {
        self.membership.silent_transport(peer) == Some(Transport::Datagram)
    }

    fn send_section(&mut self, to: &NodeId, kind: Kind, bytes: &[u8], out: &mut Vec<Effect>) {
        if let Some(address) = self.address(to) {
            self.send_datagram(to, address, Some((kind, bytes)), out);
        }
    }

    pub(super) fn gossip_step(&mut self, input: gossip::Input) {
        self.steps.push_back(Step::Gossip(input));
    }
}

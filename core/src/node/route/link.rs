//! What links say: connections that come and go, and the messages of peers.

use super::{Announcement, Effect, Node, Step};
use crate::ids::{NodeId, Replica};
use crate::link::{self, Message};
use crate::node::misbehaviour::Domain;
use crate::wire::Transport;
use crate::wire::message::{Control, Gossip, Ping, Pong};
use crate::wire::segment::Topic;
use crate::{gossip, membership, raft, replica};

impl Node {
    pub(super) fn links_say(&mut self, output: link::Output, out: &mut Vec<Effect>) {
        use link::Output;
        match output {
            Output::Connect { connection, to } => out.push(Effect::Connect { connection, to }),
            Output::Write { connection, bytes } => out.push(Effect::Send { connection, bytes }),
            Output::Disconnect { connection } => out.push(Effect::Disconnect { connection }),
            Output::Up { peer, born, address } => {
                let node = peer.node.clone();
                self.linked.insert(node.clone());
                self.membership_step(membership::Input::Linked { peer, born, address });
                self.gossip_step(gossip::Input::Link { peer: node.clone(), up: true });
                self.raft_step(raft::Input::Linked { node: node.clone(), up: true });
                out.push(Effect::Announce(Announcement::Link { peer: node, up: true }));
            }
            Output::Down { peer } => {
                self.linked.remove(&peer);
                self.membership_step(membership::Input::Unlinked { peer: peer.clone() });
                self.gossip_step(gossip::Input::Link { peer: peer.clone(), up: false });
                self.raft_step(raft::Input::Linked { node: peer.clone(), up: false });
                out.push(Effect::Announce(Announcement::Link { peer, up: false }));
            }
            Output::Heard { peer } => self.membership_step(membership::Input::Heard {
                from: peer,
                transport: Transport::Link,
                address: None,
            }),
            Output::Message { from, message } => self.message(from, message, out),
            Output::PingDue { peer, number } => {
                let complete = self.maps.acknowledgements_for(&peer).into();
                let floors = self.maps.floors().into();
                self.send_control(peer.node, Control::Ping(Ping { number, complete, floors }));
            }
            Output::RoundTrip { peer, took } => {
                out.push(Effect::Announce(Announcement::RoundTrip { peer, took }));
            }
            Output::Bye { peer, restarting } => {
                self.membership_step(membership::Input::Bye { peer, restarting });
            }
            Output::Stale { known, address } => {
                self.membership_step(membership::Input::Stale { known, address });
            }
            Output::Conflict { node, address } => {
                self.raft_step(raft::Input::Conflict { node, address });
            }
            Output::SeedFailed { address, refused } => {
                self.membership_step(membership::Input::SeedFailed { address, refused });
            }
            // Gossip covers what it lost; a request's caller hears of it as its end.
            Output::Refused { .. } => {}
            // Nobody here asks, sends pieces of snapshots or broadcasts yet.
            Output::Ended { .. } | Output::Room { .. } | Output::Undelivered { .. } => {}
            Output::Asked { from, .. } => {
                let what = "a request that nobody here answers";
                self.misbehaved(Domain::Link, Some(from.node), what, out);
            }
            Output::Misbehaved { peer, address: _, what } => {
                self.misbehaved(Domain::Link, peer, what, out)
            }
        }
    }

    /// A message of a peer whose handshake is finished.
    fn message(&mut self, from: Replica, message: Message, out: &mut Vec<Effect>) {
        let transport = Transport::Link;
        match message {
            Message::Control(Control::Ping(ping)) => {
                self.acknowledged(&from, &ping.complete);
                self.floors(&from, &ping.floors);
                let complete = self.maps.acknowledgements_for(&from).into();
                let floors = self.maps.floors().into();
                let pong = Pong { number: ping.number, complete, floors };
                self.send_control(from.node, Control::Pong(pong));
            }
            Message::Control(Control::Pong(pong)) => {
                self.acknowledged(&from, &pong.complete);
                self.floors(&from, &pong.floors);
            }
            Message::Control(Control::Departed(notice)) => {
                self.membership_step(membership::Input::Departed { from, notice });
            }
            Message::Control(Control::Retired(notice)) => {
                self.membership_step(membership::Input::Retired { from, notice });
            }
            Message::Gossip(Gossip::Segments(segments)) => {
                self.steps.push_back(Step::Segments { from, segments });
            }
            Message::Gossip(Gossip::Digest(digest)) => {
                self.gossip_step(gossip::Input::Digest { from, transport, digest });
            }
            Message::Gossip(Gossip::Rows(rows)) => {
                self.gossip_step(gossip::Input::Rows { from, transport, rows });
            }
            Message::Gossip(Gossip::Pull(pull)) => {
                self.gossip_step(gossip::Input::Pull { from, transport, pull });
            }
            Message::Gossip(Gossip::Members(list)) => {
                self.membership_step(membership::Input::List { from, list });
            }
            Message::Gossip(Gossip::Swim(packet)) => {
                self.membership_step(membership::Input::Swim { from, transport, packet });
            }
            Message::Raft(message) => self.hear_raft(from, &message, out),
            Message::Bulk(_) | Message::Broadcast(_) => {
                let what = "a message that nobody here takes";
                self.misbehaved(Domain::Link, Some(from.node), what, out);
            }
            Message::Control(_) | Message::Encoded(_) => {
                unreachable!("links decode what they deliver")
            }
        }
    }

    /// A peer tells through where it has our own maps. Most pings say what the one before them said, and
    /// gossip asks for nothing while nothing waits.
    fn acknowledged(&mut self, peer: &Replica, complete: &[(Topic, u64)]) {
        let waits = self.gossip.has_backlog();
        for (topic, complete) in complete.iter().copied() {
            if self.maps.is_acknowledgement_news(topic, peer, complete) {
                let (peer, replica) = (peer.clone(), self.local.clone());
                let input = replica::Input::Acknowledged { peer, topic, replica, complete };
                self.steps.push_back(Step::Maps(input));
            }
            if waits {
                let (peer, replica) = (peer.clone(), self.local.clone());
                self.gossip_step(gossip::Input::Acknowledged { peer, topic, replica, complete });
            }
        }
    }

    /// A peer tells below which sequence nobody misses a tombstone of its own maps any more.
    fn floors(&mut self, owner: &Replica, floors: &[(Topic, u64)]) {
        for (topic, floor) in floors.iter().copied() {
            if self.maps.is_floor_news(topic, owner, floor) {
                let owner = owner.clone();
                self.steps.push_back(Step::Maps(replica::Input::Floor { owner, topic, floor }));
            }
        }
    }

    pub(super) fn send_control(&mut self, to: NodeId, message: Control) {
        self.link_step(link::Input::Send { to, message: Message::Control(message) });
    }

    pub(super) fn send_gossip(&mut self, to: NodeId, message: Gossip) {
        self.link_step(link::Input::Send { to, message: Message::Gossip(message) });
    }

    pub(super) fn link_step(&mut self, input: link::Input) {
        self.steps.push_back(Step::Link(input));
    }
}

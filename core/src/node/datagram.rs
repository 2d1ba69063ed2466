//! Datagrams of a node: every one is filled with gossip, and read section by section.

use std::net::SocketAddr;

use super::Node;
use super::contract::Effect;
use super::misbehaviour::Domain;
use super::route::Step;
use crate::gossip::{self, Direction};
use crate::ids::{NodeId, Replica};
use crate::limits::DATAGRAM_BYTES_MAX;
use crate::membership;
use crate::replica;
use crate::wire::datagram::{Datagram, Kind, Writer, parse};
use crate::wire::message::{Departed, Digest, Pull, Retired, Rows};
use crate::wire::segment::{Segment, Topic};
use crate::wire::{Blob, Transport, WireError, decode};

/// The maps, as gossip's drain reads them.
struct Maps<'a>(&'a replica::Maps);

impl gossip::Source for Maps<'_> {
    fn segment(
        &self,
        topic: Topic,
        replica: &Replica,
        from: u64,
        upto: u64,
        budget: usize,
    ) -> Option<Segment> {
        self.0.segment(topic, replica, from, upto, budget)
    }
}

impl Node {
    /// Sends one datagram: the given section first, then as much gossip as fits. Nothing leaves while a
    /// new incarnation is not durable, and an empty datagram never does.
    pub(super) fn send_datagram(
        &mut self,
        to: &NodeId,
        address: SocketAddr,
        section: Option<(Kind, &[u8])>,
        out: &mut Vec<Effect>,
    ) -> bool {
        if !self.membership.may_send() {
            return false;
        }
        let mut writer = Writer::new(&self.local);
        if let Some((kind, bytes)) = section {
            writer.section(kind, bytes);
        }
        for (kind, bytes) in self.gossip.drain(to, writer.budget(), &Maps(&self.maps)) {
            writer.section(kind, &bytes);
        }
        if writer.is_empty() {
            return false;
        }
        out.push(Effect::Datagram { to: address, bytes: writer.finish().into() });
        true
    }

    /// Fills up to `datagrams` datagrams for `target` from the backlog, until it is empty.
    pub(super) fn round(&mut self, target: &NodeId, datagrams: u32, out: &mut Vec<Effect>) {
        let Some(address) = self.address(target) else { return };
        for _ in 0..datagrams {
            if !self.send_datagram(target, address, None, out) {
                return;
            }
        }
    }

    /// Takes a datagram apart. What does not decode is its sender's fault, and counted.
    pub(super) fn read_datagram(&mut self, from: SocketAddr, bytes: &[u8], out: &mut Vec<Effect>) {
        match parse(bytes) {
            Ok(datagram) => self.read_sections(from, &datagram, out),
            Err(_) => self.misbehaved(Domain::Datagram, None, "datagram without sender", out),
        }
    }

    fn read_sections(
        &mut self,
        address: SocketAddr,
        datagram: &Datagram<'_>,
        out: &mut Vec<Effect>,
    ) {
        let from = &datagram.sender;
        let transport = Transport::Datagram;
        self.membership_step(membership::Input::Heard {
            from: from.clone(),
            transport,
            address: Some(address),
        });
        if from.node == self.local.node {
            return;
        }
        let fenced = self.fenced(from);
        if !fenced {
            let heard = crate::link::Input::Heard { peer: from.node.clone() };
            self.steps.push_back(Step::Link(heard));
        }
        for (kind, bytes) in &datagram.sections {
            // Two that have forgotten each other: what they say of each other's end is all that counts.
            if fenced && !matches!(kind, Kind::Departed | Kind::Retired) {
                continue;
            }
            match self.section(from, *kind, bytes) {
                Ok(step) => {
                    if let Step::Maps(replica::Input::Segment { segment, .. }) = &step {
                        self.carried(segment.topic, Direction::Received, bytes.len());
                    }
                    self.steps.push_back(step);
                }
                Err(_) => self.misbehaved(
                    Domain::Datagram,
                    Some(from.node.clone()),
                    "undecodable section",
                    out,
                ),
            }
        }
        if datagram.truncated {
            self.misbehaved(Domain::Datagram, Some(from.node.clone()), "truncated section", out);
        }
    }

    fn section(&self, from: &Replica, kind: Kind, bytes: &[u8]) -> Result<Step, WireError> {
        const LIMIT: usize = DATAGRAM_BYTES_MAX;
        let transport = Transport::Datagram;
        let from = from.clone();
        Ok(match kind {
            Kind::Swim => Step::Membership(membership::Input::Swim {
                from,
                transport,
                packet: Blob::from(bytes),
            }),
            Kind::Segment => Step::Maps(replica::Input::Segment {
                from: from.node,
                transport,
                segment: decode::<Segment, LIMIT>(bytes)?,
            }),
            Kind::Digest => {
                let digest = decode::<Digest, LIMIT>(bytes)?;
                Step::Gossip(gossip::Input::Digest { from, transport, digest })
            }
            Kind::Rows => {
                let rows = decode::<Rows, LIMIT>(bytes)?;
                Step::Gossip(gossip::Input::Rows { from, transport, rows })
            }
            Kind::Pull => {
                let pull = decode::<Pull, LIMIT>(bytes)?;
                Step::Gossip(gossip::Input::Pull { from, transport, pull })
            }
            Kind::Departed => {
                let notice = decode::<Departed, LIMIT>(bytes)?;
                Step::Membership(membership::Input::Departed { from, notice })
            }
            Kind::Retired => {
                let notice = decode::<Retired, LIMIT>(bytes)?;
                Step::Membership(membership::Input::Retired { from, notice })
            }
        })
    }

    /// Where a node's datagrams go.
    pub(super) fn address(&self, node: &NodeId) -> Option<SocketAddr> {
        self.membership.address(node)
    }

    /// Whether nothing that a sender says of itself counts any more.
    fn fenced(&self, from: &Replica) -> bool {
        self.membership.fence(&from.node).is_some_and(|fence| from.incarnation <= fence)
    }
}

//! What is told to those who are gone, and what is noticed about those who are half here.
//!
//! A node that is held failed is told so, five times in a row, a second apart, whenever it fails and
//! whenever something of it arrives. One whose life is fenced is answered `Retired`, and is told so as well
//! when somebody else holds that life for alive. A member of which one transport is silent for 30 s while
//! the other flows has *lost a transport*.
//!
//! Pairs of a large cluster rarely exchange datagrams, so their silence alone says nothing: a probe must
//! have failed to be answered by datagram, and a question put since then as well.

use std::net::SocketAddr;
use std::time::Duration;

use super::{Membership, Output};
use crate::ids::{NodeId, Replica};
use crate::limits;
use crate::time::Instant;
use crate::wire::Transport;
use crate::wire::message::{Departed, Retired};

/// Notices on their way to one failed node.
#[derive(Debug, Clone, Copy)]
pub(super) struct Departing {
    left: u32,
    pub(super) next_at: Instant,
}

impl Membership {
    /// A datagram or frame of `from` arrived; its parts follow.
    pub(super) fn heard(
        &mut self,
        now: Instant,
        from: &Replica,
        transport: Transport,
        address: Option<SocketAddr>,
        out: &mut Vec<Output>,
    ) {
        if from.node == self.identity.replica.node {
            self.drops.own += 1;
            let peer = from.node.clone();
            out.push(Output::Misbehaved { peer, what: "it speaks in our name" });
            self.meet(now, from.incarnation, address, out);
            return;
        }
        if self.fences.holds(from) {
            sometimes!("membership.heard_fenced");
            self.drops.fenced += u64::from(transport == Transport::Datagram);
            self.tell_retired(now, &from.node, transport, address, out);
            return;
        }
        let Some(row) = self.rows.get_mut(&from.node).filter(|row| row.replica == *from) else {
            return;
        };
        match transport {
            Transport::Datagram => {
                row.heard.datagram = now;
                (row.heard.doubted, row.heard.asked) = (false, None);
            }
            Transport::Link => row.heard.frame = now,
        }
        if row.heard.missing == Some(transport) {
            sometimes!("membership.transport_back");
            row.heard.missing = None;
            out.push(Output::Asymmetric { peer: from.node.clone(), missing: None });
            out.push(Output::Changed { node: from.node.clone() });
        }
        if row.is_down() {
            sometimes!("membership.heard_failed");
            self.tell_departed(now, &from.node, out);
        }
    }

    /// Begins to tell a node that it was given up for dead, unless that is under way.
    pub(super) fn tell_departed(&mut self, now: Instant, node: &NodeId, out: &mut Vec<Output>) {
        if !self.departing.contains_key(node) {
            let departing = Departing { left: limits::DEPARTED_NOTICES_MAX, next_at: now };
            self.departing.insert(node.clone(), departing);
            self.send_departed(now, node, out);
        }
    }

    /// Sends the notices that are due.
    pub(super) fn continue_departed(&mut self, now: Instant, out: &mut Vec<Output>) {
        let due: Vec<NodeId> = self
            .departing
            .iter()
            .filter(|(_, departing)| departing.next_at <= now)
            .map(|(node, _)| node.clone())
            .collect();
        for node in due {
            self.send_departed(now, &node, out);
        }
    }

    fn send_departed(&mut self, now: Instant, node: &NodeId, out: &mut Vec<Output>) {
        let Some(departing) = self.departing.get_mut(node) else { return };
        let down = self.rows.get(node).filter(|row| row.is_down());
        let Some(row) = down.filter(|_| departing.left > 0) else {
            self.departing.remove(node);
            return;
        };
        departing.left -= 1;
        departing.next_at = now + NOTICE_INTERVAL;
        if self.raise.pending.is_some() || !self.started {
            return;
        }
        sometimes!("membership.departed_told");
        let notice = Departed { incarnation: row.replica.incarnation };
        let linked = self.linked.contains(node);
        for transport in [Transport::Datagram, Transport::Link] {
            if transport == Transport::Datagram || linked {
                let (to, address, notice) = (row.replica.clone(), row.address, notice.clone());
                out.push(Output::SendDeparted { to, address, transport, notice });
            }
        }
    }

    pub(super) fn tell_retired(
        &mut self,
        now: Instant,
        node: &NodeId,
        transport: Transport,
        address: Option<SocketAddr>,
        out: &mut Vec<Output>,
    ) {
        let Some(fence) = self.fences.of(node) else { return };
        if self.may_notice(now, node) {
            sometimes!("membership.retired_told");
            let notice = Retired { node: node.clone(), fence };
            out.push(Output::SendRetired { to: node.clone(), address, transport, notice });
        }
    }

    /// Whether `node` may be told of its end now: at most once a second. The caller tells it.
    pub(super) fn may_notice(&mut self, now: Instant, node: &NodeId) -> bool {
        let silent = self.noticed.get(node).is_none_or(|at| now.since(*at) >= NOTICE_INTERVAL);
        sometimes!("membership.notice_paced", !silent);
        let may = silent && self.may_send() && self.noticed.len() < self.settings.members_max;
        if may {
            self.noticed.insert(node.clone(), now);
        }
        may
    }

    /// Looks for silent transports, and asks where a silence may have a harmless reason.
    pub(super) fn sweep(&mut self, now: Instant, out: &mut Vec<Output>) {
        self.noticed.retain(|_, at| now.since(*at) < NOTICE_INTERVAL);
        let silent = |since: Instant| now.since(since) >= SILENCE;
        let mut asked = Vec::new();
        for (node, row) in self.rows.iter_mut().filter(|(_, row)| row.is_member()) {
            let heard = &mut row.heard;
            if heard.doubted && !silent(heard.frame) && heard.missing.is_none() {
                heard.asked.get_or_insert(now);
                asked.push(node.clone());
            }
            let unanswered = heard.asked.is_some_and(|at| now.since(at) >= SWEEP_INTERVAL);
            let missing = match (silent(heard.datagram) && unanswered, silent(heard.frame)) {
                (true, false) => Some(Transport::Datagram),
                (false, true) if !silent(heard.datagram) => Some(Transport::Link),
                (true, true) => None, // Plainly silent, which is SWIM's business.
                (false, _) => heard.missing.filter(|_| heard.doubted),
            };
            if heard.missing != missing {
                sometimes!("membership.frames_missing", missing == Some(Transport::Link));
                sometimes!("membership.datagrams_missing", missing == Some(Transport::Datagram));
                heard.missing = missing;
                out.push(Output::Asymmetric { peer: node.clone(), missing });
                out.push(Output::Changed { node: node.clone() });
            }
        }
        for node in asked {
            self.swim.question(&node);
        }
    }

    pub(super) fn missing(&self, transport: Transport) -> usize {
        self.rows.values().filter(|row| row.heard.missing == Some(transport)).count()
    }
}

const NOTICE_INTERVAL: Duration = Duration::from_secs(1);
/// Time between two looks at who is silent.
pub(super) const SWEEP_INTERVAL: Duration = Duration::from_secs(5);
const SILENCE: Duration = Duration::from_secs(30);

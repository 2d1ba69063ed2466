//! One hop through somebody else, for small messages whose sender has no link to their target.
//!
//! A relay goes to at most two connected members, drawn at random; whoever of them has a link to the
//! target passes it on. A relay never relays a relay: what it passes on came from its author directly.
//!
//! Absent on purpose: routes, acknowledgements (a request has its reply and its deadline), and messages of
//! the agreed log, which has a way of its own to live with a cut.

use super::queue::Lane;
use super::traffic::{Draft, UNREACHABLE};
use super::{Links, Output, Standing};
use crate::ids::{NodeId, Replica};
use crate::limits;
use crate::time::Instant;
use crate::wire::message::{Control, Relay};
use crate::wire::{Blob, decode, encode};

impl Links {
    /// Whether a message may take a hop.
    pub(super) fn may_be_relayed(message: &Control) -> bool {
        match message {
            Control::Departed(_)
            | Control::Retired(_)
            | Control::Request(_)
            | Control::Reply(_) => true,
            Control::Ping(_)
            | Control::Pong(_)
            | Control::Raft(_)
            | Control::Acknowledged(_)
            | Control::Relay(_) => false,
        }
    }

    /// Sends a message by way of others.
    pub(super) fn relay(
        &mut self,
        now: Instant,
        to: &NodeId,
        message: &Control,
        deadline: Option<Instant>,
        out: &mut Vec<Output>,
    ) -> Result<(), &'static str> {
        let body = Blob::from(encode(message));
        let connected = self.peers.iter().filter(|(node, peer)| {
            *node != to && peer.up.is_some() && peer.standing == Standing::Member
        });
        let mut hops: Vec<NodeId> = connected.map(|(node, _)| node.clone()).collect();
        if body.len() > limits::RELAY_BYTES_MAX || hops.is_empty() {
            return Err(UNREACHABLE);
        }
        self.rng.shuffle(&mut hops);
        hops.truncate(limits::RELAYS_MAX);
        let relay = Control::Relay(Relay { to: to.clone(), from: self.local.clone(), body });
        let mut sent = Err(UNREACHABLE);
        for hop in hops {
            if self.post(now, &hop, Draft::control(&relay, deadline), out).is_ok() {
                self.counts.relayed("sent");
                sent = Ok(());
            }
        }
        sent
    }

    /// A relayed message arrived: it is for us, or is to be passed on.
    pub(super) fn relayed(
        &mut self,
        now: Instant,
        hop: Replica,
        relay: Relay,
        out: &mut Vec<Output>,
    ) {
        if relay.to == self.local.node {
            self.arrived(now, hop, &relay, out);
            return;
        }
        let to = relay.to.clone();
        let direct = relay.from == hop && relay.body.len() <= limits::RELAY_BYTES_MAX;
        let draft = Draft::control(&Control::Relay(relay), None);
        let passed = direct && self.post(now, &to, draft, out).is_ok();
        self.counts.relayed(if passed { "passed_on" } else { "dropped" });
    }

    fn arrived(&mut self, now: Instant, hop: Replica, relay: &Relay, out: &mut Vec<Output>) {
        let may = |message: &Control| {
            let forged = matches!(message, Control::Request(one) if one.from != relay.from);
            Links::may_be_relayed(message) && !forged
        };
        match decode::<Control, { limits::RELAY_BYTES_MAX }>(&relay.body) {
            Ok(message) if may(&message) => {
                self.counts.relayed("delivered");
                self.control(now, relay.from.clone(), message, out);
            }
            _ => {
                let what = "a relayed message that may not be relayed";
                out.push(Output::Misbehaved { peer: Some(hop.node), address: None, what });
                self.counts.refused(Lane::Control);
            }
        }
    }
}

//! How often peers broke a rule, by the domain whose rule it was.

use crate::machine::{Count, Counted, Labels};

/// Whose rule was broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Domain {
    /// The form of datagrams.
    Datagram,
    /// Handshakes and frames.
    Link,
    /// SWIM, lists and notices.
    Membership,
    /// Owner maps.
    Replica,
    /// Digests, rows and pulls.
    Gossip,
    /// Claims.
    Workers,
    /// Rests, parks and tries.
    Pools,
    /// Messages of the agreed log.
    Raft,
    /// Questions to the store.
    Kv,
}

const NAMES: [(Domain, &str); 9] = [
    (Domain::Datagram, "datagram"),
    (Domain::Link, "link"),
    (Domain::Membership, "membership"),
    (Domain::Replica, "replica"),
    (Domain::Gossip, "gossip"),
    (Domain::Workers, "workers"),
    (Domain::Pools, "pools"),
    (Domain::Raft, "raft"),
    (Domain::Kv, "kv"),
];

/// The counts of one node.
#[derive(Debug, Default)]
pub(super) struct Misbehaviour([u64; NAMES.len()]);

impl Misbehaviour {
    /// A peer broke a rule of `domain`.
    pub(super) fn count(&mut self, domain: Domain) {
        for ((name, _), total) in NAMES.iter().zip(&mut self.0) {
            *total += u64::from(*name == domain);
        }
    }
}

impl Counted for Misbehaviour {
    fn counts(&self, visit: &mut dyn FnMut(Count)) {
        for ((_, what), value) in NAMES.into_iter().zip(self.0) {
            visit(Count { name: "misbehaved_total", labels: Labels::One("what", what), value });
        }
    }
}

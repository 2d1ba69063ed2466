//! What the simulator looks at: what a digest would say, and what waits to be told.
//!
//! Absent on purpose: judgement.

use super::{Gossip, ledger};
use crate::ids::{NodeId, Replica};
use crate::limits::DIGEST_BUCKETS;
use crate::wire::segment::Topic;

/// An interval of a map that waits to be told.
#[derive(Debug, Clone, Copy)]
pub struct Waiting<'a> {
    /// Of what.
    pub topic: Topic,
    /// Whose.
    pub source: &'a Replica,
    /// Exclusive lower end.
    pub from: u64,
    /// Inclusive upper end.
    pub upto: u64,
}

impl Gossip {
    /// The hashes that a digest would show now.
    pub fn hashes(&self) -> [u64; DIGEST_BUCKETS] {
        self.ledger.hashes()
    }

    /// The bucket whose hash covers the maps of `node`.
    pub fn bucket_of(node: &NodeId) -> usize {
        ledger::bucket_of(node)
    }

    /// What waits in the backlog.
    pub fn waiting(&self) -> impl Iterator<Item = Waiting<'_>> {
        self.backlog.topics().flat_map(|topic| {
            let items = self.backlog.queue(topic).into_iter().flat_map(|queue| queue.items());
            items.map(move |item| Waiting {
                topic,
                source: &item.source,
                from: item.from,
                upto: item.upto,
            })
        })
    }
}

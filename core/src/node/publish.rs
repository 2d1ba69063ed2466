//! The snapshots that any thread may read, replaced where a turn touched them.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::ids::{Incarnation, NodeId, Replica};
use crate::machine::Count;
use crate::time::Instant;
use crate::{gossip, link, membership, workers};

/// The newest snapshots of a node, read by any thread without a lock.
///
/// Each is replaced as a whole in the turn that touched it; the maps inside share what did not change.
#[derive(Debug)]
pub struct Published {
    /// Every member, departed ones included.
    pub members: ArcSwap<Members>,
    /// Every worker entry and the lanes to pick from.
    pub workers: ArcSwap<workers::Snapshot>,
    /// What gossip holds back and owes.
    pub gossip: ArcSwap<gossip::Snapshot>,
    /// Links by peer.
    pub links: ArcSwap<link::Snapshot>,
    /// Every number that is kept, at most `counts_interval` old.
    pub counts: ArcSwap<Vec<Count>>,
}

/// The view of members.
#[derive(Debug, Clone)]
pub struct Members {
    /// Rises with every change.
    pub version: u64,
    /// This node's present life.
    pub local: Replica,
    /// The life in which its process started.
    pub born: Incarnation,
    /// Whether a first list was exchanged (or nobody is to be met).
    pub joined: bool,
    /// Whether the node is leaving.
    pub leaving: bool,
    /// Whether an operator has taken the node out of readiness.
    pub draining: bool,
    /// Rows by node.
    pub rows: imbl::OrdMap<NodeId, Arc<membership::Member>>,
    /// The health score, 0 (well) to 8.
    pub score: u32,
    /// When this was published.
    pub at: Instant,
}

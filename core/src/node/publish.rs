//! The snapshots that any thread may read, replaced where a turn touched them.

use std::collections::BTreeSet;
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::Node;
use crate::ids::{Incarnation, NodeId, Replica};
use crate::machine::{Count, Counted};
use crate::time::Instant;
use crate::{credentials, gossip, kv, link, membership, pools, raft, replica, workers};

/// The newest snapshots of a node, read by any thread without a lock.
///
/// Each is replaced as a whole in the turn that touched it; the maps inside share what did not change.
#[derive(Debug)]
pub struct Published {
    /// Every member, departed ones included.
    pub members: ArcSwap<Members>,
    /// Every worker entry and the lanes to pick from.
    pub workers: ArcSwap<workers::Snapshot>,
    /// Every credential's head, and how changes of them arrive.
    pub credentials: ArcSwap<credentials::Snapshot>,
    /// Every pool, to pick from and to look at.
    pub pools: ArcSwap<pools::Snapshot>,
    /// What gossip holds back and owes.
    pub gossip: ArcSwap<gossip::Snapshot>,
    /// Links by peer.
    pub links: ArcSwap<link::Snapshot>,
    /// The agreed log as it looks from here.
    pub raft: ArcSwap<raft::Status>,
    /// The last entries that were applied here.
    pub log: ArcSwap<imbl::Vector<raft::EntryRow>>,
    /// The consistent store as it is here.
    pub kv: ArcSwap<kv::View>,
    /// Owner maps, live and orphaned.
    pub replicas: ArcSwap<Vec<replica::Row>>,
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
    /// Whether somebody was ignored for whom there is no room.
    pub full: bool,
    /// When this was published.
    pub at: Instant,
}

/// What a turn touched.
#[derive(Debug, Default)]
pub(super) struct Touched {
    /// Members whose row changed.
    pub(super) members: BTreeSet<NodeId>,
    /// Whether readiness was turned off or on.
    pub(super) draining: bool,
    /// Whether the log found or lost who leads it, or another log was met.
    pub(super) led: bool,
}

impl Published {
    /// The snapshots of a node that knows nobody yet.
    pub(super) fn new(local: Replica, now: Instant) -> Published {
        let members = Members {
            version: 0,
            born: local.incarnation,
            local,
            joined: false,
            leaving: false,
            draining: false,
            rows: imbl::OrdMap::new(),
            score: 0,
            full: false,
            at: now,
        };
        Published {
            members: ArcSwap::from_pointee(members),
            workers: ArcSwap::default(),
            credentials: ArcSwap::default(),
            pools: ArcSwap::default(),
            gossip: ArcSwap::default(),
            links: ArcSwap::default(),
            replicas: ArcSwap::default(),
            raft: ArcSwap::default(),
            kv: ArcSwap::default(),
            log: ArcSwap::default(),
            counts: ArcSwap::default(),
        }
    }
}

impl Node {
    /// Replaces what this turn touched, each snapshot at the cost of its touched keys.
    pub(super) fn publish(&mut self, now: Instant) {
        if std::mem::take(&mut self.touched.draining) || self.membership.is_touched() {
            self.publish_members(now);
        }
        if self.workers.is_touched()
            && let Some(snapshot) = self.workers.publish()
        {
            self.published.workers.store(snapshot);
        }
        if self.credentials.is_touched()
            && let Some(snapshot) = self.credentials.publish()
        {
            self.published.credentials.store(Arc::new(snapshot));
        }
        if self.pools.is_touched()
            && let Some(snapshot) = self.pools.publish(now)
        {
            self.published.pools.store(snapshot);
        }
        if self.kv.is_touched()
            && let Some(view) = self.kv.publish(now)
        {
            self.published.kv.store(Arc::new(view));
        }
        if std::mem::take(&mut self.touched.led) {
            self.published.raft.store(Arc::new(self.raft.status(now)));
        }
        let due = self.counts_at.is_none_or(|at| now.since(at) >= self.counts_interval);
        if due {
            self.counts_at = Some(now);
            self.publish_figures(now);
        }
    }

    fn publish_members(&mut self, now: Instant) {
        let shown = self.published.members.load();
        let membership = &self.membership;
        let same = self.touched.members.is_empty()
            && shown.score == membership.score()
            && shown.full == membership.members_full()
            && shown.joined == membership.joined()
            && shown.leaving == membership.leaving()
            && shown.draining == self.draining
            && shown.local == self.local;
        if same {
            return;
        }
        let mut rows = shown.rows.clone();
        for node in std::mem::take(&mut self.touched.members) {
            match membership.member(&node) {
                Some(row) => rows.insert(node, Arc::new(row)),
                None => rows.remove(&node),
            };
        }
        self.published.members.store(Arc::new(Members {
            version: shown.version + 1,
            local: self.local.clone(),
            born: self.born,
            joined: membership.joined(),
            leaving: membership.leaving(),
            draining: self.draining,
            rows,
            score: membership.score(),
            full: membership.members_full(),
            at: now,
        }));
    }

    /// Figures and operator views: whole tables, so at most once per `counts_interval`.
    fn publish_figures(&mut self, now: Instant) {
        // The series are the same every time, and too many to grow into.
        let mut series = self.published.counts.load().len();
        if series == 0 {
            self.counts(&mut |_| series += 1);
        }
        let mut counts = Vec::with_capacity(series);
        self.counts(&mut |count| counts.push(count));
        self.published.counts.store(Arc::new(counts));
        self.published.gossip.store(Arc::new(self.gossip.snapshot()));
        self.published.links.store(Arc::new(self.links.snapshot(now)));
        self.published.log.store(Arc::new(self.raft.recent().clone()));
        self.published.raft.store(Arc::new(self.raft.status(now)));
        self.published.replicas.store(Arc::new(self.maps.maps().collect()));
    }
}

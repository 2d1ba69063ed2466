//! Lives that may not return, as far as links have heard of them. Membership keeps the full table; this
//! one answers a handshake without asking.

use std::collections::BTreeMap;

use crate::ids::{Incarnation, NodeId};
use crate::limits;

/// The newest forbidden life per node.
#[derive(Debug, Clone, Default)]
pub(super) struct Fences {
    lives: BTreeMap<NodeId, (Incarnation, u64)>,
    order: BTreeMap<u64, NodeId>,
    next: u64,
}

impl Fences {
    /// No life of `node` at or below `life` may return. A fence never falls.
    pub(super) fn raise(&mut self, node: &NodeId, life: Incarnation) {
        let before = self.lives.get(node).copied();
        let life = before.map_or(life, |(old, _)| old.max(life));
        if let Some((_, place)) = before {
            self.order.remove(&place);
        }
        self.lives.insert(node.clone(), (life, self.next));
        self.order.insert(self.next, node.clone());
        self.next += 1;
        if self.lives.len() > limits::FENCES_MAX {
            let (_, oldest) = self.order.pop_first().expect("every fence has a place");
            self.lives.remove(&oldest);
        }
    }

    /// The newest life of `node` that may not return.
    pub(super) fn of(&self, node: &NodeId) -> Option<Incarnation> {
        self.lives.get(node).map(|(life, _)| *life)
    }
}

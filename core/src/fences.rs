//! Lives that may not return, as far as a machine has heard of them. Membership keeps the full table; this one
//! answers a handshake or a segment without asking. What was fenced longest ago goes first, as there.

use std::collections::BTreeMap;

use crate::ids::{Incarnation, NodeId};

/// The newest forbidden life per node.
#[derive(Debug, Clone)]
pub(crate) struct Fences {
    max: usize,
    lives: BTreeMap<NodeId, (Incarnation, u64)>,
    order: BTreeMap<u64, NodeId>,
    next: u64,
}

impl Fences {
    /// None yet, and never more than `max`.
    pub(crate) fn new(max: usize) -> Fences {
        Fences { max: max.max(1), lives: BTreeMap::new(), order: BTreeMap::new(), next: 0 }
    }

    /// No life of `node` at or below `life` may return. A fence never falls.
    pub(crate) fn raise(&mut self, node: &NodeId, life: Incarnation) {
        let before = self.lives.get(node).copied();
        let life = before.map_or(life, |(old, _)| old.max(life));
        if let Some((_, place)) = before {
            self.order.remove(&place);
        }
        self.lives.insert(node.clone(), (life, self.next));
        self.order.insert(self.next, node.clone());
        self.next += 1;
        if self.lives.len() > self.max {
            let (_, oldest) = self.order.pop_first().expect("every fence has a place");
            self.lives.remove(&oldest);
        }
    }

    /// The newest life of `node` that may not return.
    pub(crate) fn of(&self, node: &NodeId) -> Option<Incarnation> {
        self.lives.get(node).map(|(life, _)| *life)
    }
}

//! Which lives are over for good.
//!
//! M-2: a fence never falls. The table is bounded; what departed longest ago goes first, and is counted.

use std::collections::BTreeMap;

use crate::ids::{Incarnation, NodeId, Replica};

/// The highest forgotten or departed life of each node.
#[derive(Debug)]
pub(super) struct Fences {
    fences: BTreeMap<NodeId, (Incarnation, u64)>,
    /// When each fence was last raised, as a number; the eldest first.
    order: BTreeMap<u64, NodeId>,
    next: u64,
    max: usize,
    dropped: u64,
}

impl Fences {
    /// The durable fences of a former process; their order is lost, so they go by name.
    pub(super) fn new(durable: BTreeMap<NodeId, Incarnation>, max: usize) -> Fences {
        let (fences, order) = (BTreeMap::new(), BTreeMap::new());
        let mut all = Fences { fences, order, next: 0, max: max.max(1), dropped: 0 };
        for (node, incarnation) in durable {
            all.raise(&Replica { node, incarnation });
        }
        all
    }

    /// Fences `replica` and all its former lives; false if they were already.
    pub(super) fn raise(&mut self, replica: &Replica) -> bool {
        if self.holds(replica) {
            return false;
        }
        if canary!("membership.forgets_fences") {
            return true;
        }
        let placed = self.fences.insert(replica.node.clone(), (replica.incarnation, self.next));
        if let Some((_, order)) = placed {
            self.order.remove(&order);
        }
        self.order.insert(self.next, replica.node.clone());
        self.next += 1;
        if self.fences.len() > self.max
            && let Some((_, eldest)) = self.order.pop_first()
        {
            self.fences.remove(&eldest);
            self.dropped += 1;
        }
        true
    }

    /// Whether `replica` is refused.
    pub(super) fn holds(&self, replica: &Replica) -> bool {
        self.get(&replica.node).is_some_and(|fence| replica.incarnation <= fence)
    }

    pub(super) fn get(&self, node: &NodeId) -> Option<Incarnation> {
        self.fences.get(node).map(|(fence, _)| *fence)
    }

    pub(super) fn len(&self) -> usize {
        self.fences.len()
    }

    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// What has to be durable.
    pub(super) fn image(&self) -> BTreeMap<NodeId, Incarnation> {
        self.fences.iter().map(|(node, (fence, _))| (node.clone(), *fence)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replica(node: &str, incarnation: u64) -> Replica {
        let node = node.parse().expect("a node id");
        Replica { node, incarnation: Incarnation(incarnation) }
    }

    #[test]
    fn a_fence_never_falls_and_the_longest_departed_goes_first() {
        let mut fences = Fences::new(BTreeMap::new(), 2);
        assert!(fences.raise(&replica("a", 5)) && fences.raise(&replica("b", 1)));
        assert!(!fences.raise(&replica("a", 4)), "an older life is fenced already");
        assert_eq!(fences.get(&replica("a", 0).node), Some(Incarnation(5)));
        assert!(fences.raise(&replica("a", 6)), "which makes b the longest departed");
        assert!(fences.raise(&replica("c", 1)));
        assert!(fences.holds(&replica("a", 6)) && !fences.holds(&replica("a", 7)));
        assert!(!fences.holds(&replica("b", 1)));
        assert_eq!((fences.len(), fences.dropped()), (2, 1));
    }
}

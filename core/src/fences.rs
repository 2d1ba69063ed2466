//! Which lives are over for good: membership's table, and what links, maps and the log keep of it, so that a
//! handshake or a segment is answered without asking.
//!
//! M-2: a fence never falls. A table is bounded; what was fenced longest ago goes first, and is counted. All of
//! them hear of the same lives and keep as many, so that none refuses whom membership has let in again.

use std::collections::BTreeMap;

use crate::ids::{Incarnation, NodeId, Replica};

/// The highest life of each node that may not return.
#[derive(Debug, Clone)]
pub(crate) struct Fences {
    max: usize,
    lives: BTreeMap<NodeId, (Incarnation, u64)>,
    /// When each fence was last raised, as a number; the eldest first.
    order: BTreeMap<u64, NodeId>,
    next: u64,
    dropped: u64,
}

impl Fences {
    /// None yet, and never more than `max`.
    pub(crate) fn new(max: usize) -> Fences {
        let (lives, order) = (BTreeMap::new(), BTreeMap::new());
        Fences { max: max.max(1), lives, order, next: 0, dropped: 0 }
    }

    /// The durable fences of a former process; their order is lost, so they go by name.
    pub(crate) fn restored(lives: BTreeMap<NodeId, Incarnation>, max: usize) -> Fences {
        let mut all = Fences::new(max);
        lives.into_iter().for_each(|(node, life)| _ = all.raise(&node, life));
        all
    }

    /// Fences `life` of `node` and all its former ones; false if they were already.
    pub(crate) fn raise(&mut self, node: &NodeId, life: Incarnation) -> bool {
        if self.of(node) >= Some(life) {
            return false;
        }
        if let Some((_, place)) = self.lives.insert(node.clone(), (life, self.next)) {
            self.order.remove(&place);
        }
        self.order.insert(self.next, node.clone());
        self.next += 1;
        if self.lives.len() > self.max
            && let Some((_, eldest)) = self.order.pop_first()
        {
            self.lives.remove(&eldest);
            self.dropped += 1;
        }
        true
    }

    /// Whether `replica` is refused.
    pub(crate) fn holds(&self, replica: &Replica) -> bool {
        self.of(&replica.node) >= Some(replica.incarnation)
    }

    /// The newest life of `node` that may not return.
    pub(crate) fn of(&self, node: &NodeId) -> Option<Incarnation> {
        self.lives.get(node).map(|(life, _)| *life)
    }

    pub(crate) fn len(&self) -> usize {
        self.lives.len()
    }

    /// How many went because there was no room.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// What has to be durable.
    pub(crate) fn image(&self) -> BTreeMap<NodeId, Incarnation> {
        self.lives.iter().map(|(node, (life, _))| (node.clone(), *life)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fence_never_falls_and_the_longest_departed_goes_first() {
        let node = |name: &str| name.parse::<NodeId>().expect("a node id");
        let replica =
            |name: &str, life| Replica { node: node(name), incarnation: Incarnation(life) };
        let mut fences = Fences::new(2);
        let mut raise = |name: &str, life| fences.raise(&node(name), Incarnation(life));
        assert!(raise("a", 5) && raise("b", 1));
        assert!(!raise("a", 4) && !raise("a", 5), "fenced already, and no later than before");
        assert!(raise("a", 6), "which makes b the longest departed");
        assert!(raise("c", 1));
        assert_eq!(fences.of(&node("a")), Some(Incarnation(6)));
        assert!(fences.holds(&replica("a", 6)) && !fences.holds(&replica("a", 7)));
        assert!(!fences.holds(&replica("b", 1)));
        assert_eq!((fences.len(), fences.dropped()), (2, 1));
    }
}

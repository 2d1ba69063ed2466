//! Whom a round and whom a digest goes to.
//!
//! Rounds draw at random; digests walk a shuffled ring, so that every pair meets within members − 1
//! intervals.

use crate::ids::NodeId;
use crate::random::Rng;

/// The other members, suspects included.
#[derive(Debug, Default)]
pub(super) struct Roster {
    /// In any order: a draw swaps.
    nodes: Vec<NodeId>,
    /// Whom the ring still has to come to, the next one last.
    ring: Vec<NodeId>,
}

impl Roster {
    pub(super) fn nodes(&self) -> &[NodeId] {
        &self.nodes
    }

    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// A new member, whose turn in the ring comes somewhere.
    pub(super) fn insert(&mut self, node: &NodeId, rng: &mut Rng) {
        self.nodes.push(node.clone());
        self.ring.insert(rng.index(self.ring.len() + 1), node.clone());
    }

    pub(super) fn remove(&mut self, node: &NodeId) {
        self.nodes.retain(|other| other != node);
        self.ring.retain(|other| other != node);
    }

    /// `count` distinct members at random, or all.
    pub(super) fn draw(&mut self, count: usize, rng: &mut Rng) -> Vec<NodeId> {
        let count = count.min(self.nodes.len());
        for position in 0..count {
            let other = position + rng.index(self.nodes.len() - position);
            self.nodes.swap(position, other);
        }
        self.nodes.iter().take(count).cloned().collect()
    }

    /// The next of the ring.
    pub(super) fn next(&mut self, rng: &mut Rng) -> Option<NodeId> {
        if self.ring.is_empty() {
            self.ring.clone_from(&self.nodes);
            rng.shuffle(&mut self.ring);
        }
        self.ring.pop()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ring_meets_everybody_once_before_anybody_twice() {
        let mut rng = Rng::from_number(4);
        let mut roster = Roster::default();
        for number in 0..9 {
            roster.insert(&format!("n{number}").parse().expect("a node id"), &mut rng);
        }
        for _ in 0..5 {
            let mut met: Vec<NodeId> = (0..9).filter_map(|_| roster.next(&mut rng)).collect();
            met.sort();
            met.dedup();
            assert_eq!(met.len(), 9);
        }
        let mut drawn = roster.draw(4, &mut rng);
        drawn.sort();
        drawn.dedup();
        assert_eq!(drawn.len(), 4);
    }
}

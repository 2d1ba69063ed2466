//! What single targets asked for and have no link to get it by.
//!
//! Invariant G-12: at most [`limits::LANE_SEGMENTS_MAX`] intervals per target, none for a departed one.

use std::collections::BTreeMap;

use crate::ids::{NodeId, Replica};
use crate::limits;
use crate::wire::segment::Topic;

/// An interval that one target pulled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Owed {
    pub(super) topic: Topic,
    pub(super) replica: Replica,
    pub(super) from: u64,
    pub(super) upto: u64,
}

/// One lane per target that waits.
#[derive(Debug, Default)]
pub(super) struct Lanes(BTreeMap<NodeId, Vec<Owed>>);

impl Lanes {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whoever waits.
    pub(super) fn targets(&self) -> impl Iterator<Item = &NodeId> {
        self.0.keys()
    }

    pub(super) fn waits(&self, target: &NodeId) -> bool {
        self.0.contains_key(target)
    }

    /// `target` asks for an interval; a repeated question replaces the former. A full lane takes no more,
    /// the puller asks again.
    pub(super) fn owe(&mut self, target: &NodeId, owed: Owed) {
        let lane = self.0.entry(target.clone()).or_default();
        sometimes!(
            "gossip.owed_already",
            lane.iter().any(|other| (other.topic, &other.replica) == (owed.topic, &owed.replica))
        );
        lane.retain(|other| (other.topic, &other.replica) != (owed.topic, &owed.replica));
        if lane.len() < limits::LANE_SEGMENTS_MAX {
            lane.push(owed);
        }
    }

    /// Hands out the lane of `target`; what is not sent comes back by [`Lanes::put_back`].
    pub(super) fn take(&mut self, target: &NodeId) -> Vec<Owed> {
        if self.0.is_empty() {
            return Vec::new();
        }
        self.0.remove(target).unwrap_or_default()
    }

    pub(super) fn put_back(&mut self, target: &NodeId, lane: Vec<Owed>) {
        if !lane.is_empty() {
            self.0.insert(target.clone(), lane);
        }
    }

    /// `target` waits no more.
    pub(super) fn forget(&mut self, target: &NodeId) {
        self.0.remove(target);
    }

    /// The maps that `is_gone` names are nobody's any more.
    pub(super) fn drop_sources(&mut self, is_gone: impl Fn(&Replica) -> bool) {
        self.0.retain(|_, lane| {
            lane.retain(|owed| !is_gone(&owed.replica));
            !lane.is_empty()
        });
    }

    pub(super) fn assert_invariants(&self) {
        let longest = self.0.values().map(Vec::len).max().unwrap_or(0);
        assert!(longest <= limits::LANE_SEGMENTS_MAX, "G-12: a lane of {longest} segments");
    }
}

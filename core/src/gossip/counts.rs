//! What gossip tells its observers.

use super::{Direction, Gossip, PeerRow, Snapshot, TopicRow, backlog, drain};
use crate::machine::{Count, Counted, Labels};
use crate::wire::segment::Topic;
use crate::wire::segment::Unused;

/// Numbers that no part of the machine needs.
#[derive(Debug, Default)]
pub(super) struct Tally {
    bytes_sent: [u64; Topic::ALL.len()],
    bytes_received: [u64; Topic::ALL.len()],
    drains: [u64; 4],
    pub(super) digests_equal: u64,
    pub(super) digests_unequal: u64,
    pub(super) applied: u64,
    pub(super) gaps: u64,
    unused: [u64; 5],
}

impl Tally {
    pub(super) fn carried(&mut self, topic: Topic, direction: Direction, bytes: usize) {
        let counts = match direction {
            Direction::Sent => &mut self.bytes_sent,
            Direction::Received => &mut self.bytes_received,
        };
        let mut topics = Topic::ALL.iter().zip(counts);
        if let Some((_, count)) = topics.find(|(other, _)| **other == topic) {
            *count += bytes as u64;
        }
    }

    pub(super) fn drained(&mut self, outcome: drain::Outcome) {
        let index = match outcome {
            drain::Outcome::Full => 0,
            drain::Outcome::Partial => 1,
            drain::Outcome::Empty => 2,
            drain::Outcome::TooSmall => 3,
        };
        self.drains.get_mut(index).into_iter().for_each(|count| *count += 1);
    }

    pub(super) fn unused(&mut self, why: Unused) {
        let index = match why {
            Unused::Duplicate => 0,
            Unused::Stale => 1,
            Unused::Foreign => 2,
            Unused::Fenced => 3,
            Unused::Unknown => 4,
        };
        self.unused.get_mut(index).into_iter().for_each(|count| *count += 1);
    }
}

const DRAINS: [&str; 4] = ["full", "partial", "empty", "too_small"];
const UNUSED: [&str; 5] = ["duplicate", "stale", "foreign", "fenced", "unknown"];

impl Gossip {
    fn items_of(&self, topic: Topic) -> (backlog::Tally, u64) {
        let queue = self.backlog.queue(topic);
        queue.map_or_else(Default::default, |queue| (queue.tally, queue.len() as u64))
    }

    /// The backlog of each topic.
    pub fn topics(&self) -> [TopicRow; Topic::ALL.len()] {
        Topic::ALL.map(|topic| {
            let (tally, queued) = self.items_of(topic);
            let backlog::Tally { enqueued, retired, .. } = tally;
            let dropped = tally.dropped();
            TopicRow { topic: topic.name(), queued, enqueued, retired, dropped }
        })
    }

    /// What is held back and owed, for `GET /v0/operations/gossip`.
    pub fn snapshot(&self) -> Snapshot {
        let peers = self.peers.iter().map(|(id, peer)| PeerRow {
            id: id.clone(),
            behind: peer.behind,
            last_digest: peer.last_digest,
        });
        Snapshot { topics: self.topics().into(), peers: peers.collect() }
    }

    fn topic_counts(&self, topic: Topic, visit: &mut dyn FnMut(Count)) {
        let name = topic.name();
        let (tally, queued) = self.items_of(topic);
        let outcomes = [
            ("enqueued", tally.enqueued),
            ("retired", tally.retired),
            ("dropped_full", tally.full),
            ("dropped_superseded", tally.superseded),
            ("dropped_gone", tally.gone),
            ("link_only", tally.link_only),
        ];
        for (outcome, value) in outcomes {
            let labels = Labels::Two("topic", name, "outcome", outcome);
            visit(Count { name: "gossip_items_total", labels, value });
        }
        let labels = Labels::One("topic", name);
        visit(Count { name: "gossip_backlog_items", labels, value: queued });
        visit(Count { name: "gossip_lag_entries", labels, value: self.ledger.lag(topic) });
    }
}

impl Counted for Gossip {
    fn counts(&self, visit: &mut dyn FnMut(Count)) {
        let tally = &self.tally;
        let bytes = tally.bytes_sent.iter().zip(&tally.bytes_received);
        for (topic, (sent, received)) in Topic::ALL.into_iter().zip(bytes) {
            self.topic_counts(topic, visit);
            for (direction, value) in [("sent", *sent), ("received", *received)] {
                let labels = Labels::Two("topic", topic.name(), "direction", direction);
                visit(Count { name: "gossip_bytes_total", labels, value });
            }
        }
        // A drain over its budget is a failed assertion (G-1), so this stays 0 by construction.
        visit(Count { name: "gossip_over_budget_total", labels: Labels::None, value: 0 });
        let pulls = &self.pulls.tally;
        let digests = [("equal", tally.digests_equal), ("unequal", tally.digests_unequal)];
        let pulls = [
            ("ok", pulls.ok),
            ("empty", pulls.empty),
            ("timeout", pulls.timeout),
            ("refused", pulls.refused),
        ];
        let mut series =
            |name: &'static str, counts: &mut dyn Iterator<Item = (&'static str, u64)>| {
                for (outcome, value) in counts {
                    visit(Count { name, labels: Labels::One("outcome", outcome), value });
                }
            };
        series("gossip_drains_total", &mut DRAINS.into_iter().zip(tally.drains));
        series("gossip_digests_total", &mut digests.into_iter());
        series("gossip_pulls_total", &mut pulls.into_iter());
        let moved = [("applied", tally.applied), ("gap", tally.gaps)];
        series("gossip_segments_total", &mut moved.into_iter());
        series("gossip_segments_total", &mut UNUSED.into_iter().zip(tally.unused));
    }
}

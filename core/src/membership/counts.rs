//! What membership counts for its observers.

use super::table::Row;
use super::{Membership, State};
use crate::machine::{Count, Counted, Labels};
use crate::wire::Transport;

/// What happened, by kind.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Events {
    pub(super) up: u64,
    pub(super) suspect: u64,
    pub(super) refuted: u64,
    pub(super) failed: u64,
    pub(super) left: u64,
    pub(super) forgotten: u64,
    pub(super) raised: u64,
}

/// What was not believed, by reason.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Drops {
    pub(super) malformed: u64,
    pub(super) fenced: u64,
    pub(super) own: u64,
    pub(super) full: u64,
}

impl Counted for Membership {
    fn counts(&self, visit: &mut dyn FnMut(Count)) {
        let mut one = |name, labels, value| visit(Count { name, labels, value });
        for state in [State::Alive, State::Suspect, State::Failed] {
            let own = u64::from(state == State::Alive);
            let others = self.rows.values().filter(|row: &&Row| row.state == state).count();
            let labels = Labels::One("state", state.name());
            one("membership_members", labels, own + others as u64);
        }
        one("membership_health_score", Labels::None, u64::from(self.swim.score()));
        for (event, count) in [
            ("up", self.events.up),
            ("suspect", self.events.suspect),
            ("refuted", self.events.refuted),
            ("failed", self.events.failed),
            ("left", self.events.left),
            ("forgotten", self.events.forgotten),
            ("raised", self.events.raised),
        ] {
            one("membership_events_total", Labels::One("event", event), count);
        }
        let probes = self.swim.probes();
        for (outcome, count) in [
            ("direct", probes.direct),
            ("indirect", probes.indirect),
            ("link", probes.link),
            ("failed", probes.failed),
        ] {
            one("membership_probes_total", Labels::One("outcome", outcome), count);
        }
        for (outcome, count) in [
            ("ok", self.seeds.reached),
            ("refused", self.seeds.refused),
            ("failed", self.seeds.failed),
        ] {
            one("membership_join_attempts_total", Labels::One("outcome", outcome), count);
        }
        for (missing, transport) in [("datagram", Transport::Datagram), ("link", Transport::Link)] {
            let count = self.missing(transport) as u64;
            one("membership_asymmetric_peers", Labels::One("missing", missing), count);
        }
        one("membership_fences", Labels::None, self.fences.len() as u64);
        one("membership_fences_dropped_total", Labels::None, self.fences.dropped());
        for (reason, count) in [
            ("decode", self.drops.malformed),
            ("fenced", self.drops.fenced),
            ("self", self.drops.own),
            ("full", self.drops.full),
        ] {
            one("datagrams_dropped_total", Labels::One("reason", reason), count);
        }
    }
}

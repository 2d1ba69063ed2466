//! How a log begins where one node is enough: it waits a while for others to tell of one, and forms its own.
//!
//! Absent on purpose: forming with others, which needs their promises.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Genesis, Output, Raft};
use crate::time::Instant;

impl Raft {
    pub(super) fn plan_formation(&mut self, now: Instant) {
        let alone = self.settings.expect == 1 && self.settings.eligible;
        if alone && self.identity.genesis.is_none() {
            self.form_at = Some(now + UNCHANGED_FOR);
        }
    }

    pub(super) fn form_if_due(&mut self, now: Instant, out: &mut Vec<Output>) {
        if self.form_at.take_if(|at| *at <= now).is_none() {
            return;
        }
        if self.peers.values().any(|peer| peer.genesis.is_some()) {
            return; // Somebody has a log: wait to be added.
        }
        let high = u128::from(self.rng.word()) << 64;
        let genesis = Genesis(high | u128::from(self.rng.word()));
        let voters = BTreeMap::from([(self.identity.member, self.local.node.clone())]);
        self.form(now, genesis, voters, self.settings.voters_max, out);
    }
}

const UNCHANGED_FOR: Duration = Duration::from_secs(5);

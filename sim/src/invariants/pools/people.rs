//! What people hear of pools and which logins are reset: P-10 and P-11. The checker is the host of both, as a daemon
//! is, each node its own announcer: it hands over every event, and begins resets once a second.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use quorate_core::node::pools::notice::{Kind, Notice, Notices};
use quorate_core::node::pools::reset::Resets;
use quorate_core::node::pools::{Event, Name, Snapshot};
use quorate_core::node::{Announcement, Effect};
use quorate_core::time::Instant;

use super::super::{Id, Ledger, Turn};
use crate::verdict::Failure;

/// What one process told, and reset.
#[derive(Debug, Default)]
pub(super) struct People {
    notices: Notices,
    resets: Resets,
    looked: Option<Instant>,
    /// Whether a lane was last told to be exhausted.
    told: BTreeMap<(Name, Arc<str>), bool>,
    /// Recoveries of a pool that no run answered yet.
    edges: BTreeMap<Name, u64>,
    /// Runs that are going on, and when each ends.
    running: Vec<(Instant, String)>,
}

impl People {
    pub(super) fn turn(
        &mut self,
        turn: &Turn<'_>,
        snapshot: &Snapshot,
        ledger: &mut Ledger,
    ) -> Result<(), Failure> {
        let now = turn.local();
        for effect in turn.effects {
            let Effect::Announce(Announcement::Pool(event)) = effect else { continue };
            if let Event::Recovered { pool, auth_reset_target, .. } = event
                && !auth_reset_target.is_empty()
            {
                *self.edges.entry(pool.clone()).or_default() += 1;
            }
            self.resets.hear(event);
            self.notices.hear(now, snapshot.unix(now), event);
            for notice in self.notices.due(now, snapshot, |_| true) {
                self.tell(turn, &notice, ledger)?;
            }
        }
        if self.looked.is_some_and(|looked| now.since(looked) < LOOK) {
            return Ok(());
        }
        self.looked = Some(now);
        for notice in self.notices.due(now, snapshot, |_| true) {
            self.tell(turn, &notice, ledger)?;
        }
        self.reset(turn, snapshot, ledger)
    }

    /// Of pools that are gone nothing is to be expected.
    pub(super) fn retain(&mut self, pools: &Snapshot) {
        self.told.retain(|(pool, _), _| pools.pool(pool.as_str()).is_some());
        self.edges.retain(|pool, _| pools.pool(pool.as_str()).is_some());
    }

    /// P-10: a lane is told of as exhausted once and as back once.
    fn tell(
        &mut self,
        turn: &Turn<'_>,
        notice: &Notice,
        ledger: &mut Ledger,
    ) -> Result<(), Failure> {
        let Notice { pool, lane, kind, of: _ } = notice;
        let exhausted = match kind {
            Kind::Exhausted => true,
            Kind::Recovered => false,
            Kind::StillExhausted { .. } => {
                self.told.insert((pool.clone(), Arc::clone(lane)), true);
                return Ok(());
            }
            Kind::Person { .. } => return Ok(()),
        };
        let before = self.told.insert((pool.clone(), Arc::clone(lane)), exhausted);
        ledger.hold(Id::P10, turn.machine, before != Some(exhausted), || {
            format!("`{lane}` is told twice in a row to be {}", kind.name())
        })
    }

    /// P-11: a login is reset for a recovery of a pool that is there and names it.
    fn reset(
        &mut self,
        turn: &Turn<'_>,
        snapshot: &Snapshot,
        ledger: &mut Ledger,
    ) -> Result<(), Failure> {
        let now = turn.local();
        let (over, running) = self.running.drain(..).partition(|(ends, _)| *ends <= now);
        self.running = running;
        let over: Vec<(Instant, String)> = over;
        over.iter().for_each(|(_, target)| self.resets.ended(target));
        for due in self.resets.due(now, snapshot) {
            let named = snapshot.pool(due.pool.as_str());
            let named = named.is_some_and(|pool| pool.definition.auth_reset_target == due.target);
            let edges = self.edges.insert(due.pool.clone(), 0).unwrap_or_default();
            let alone = self.running.iter().all(|(_, target)| *target != due.target);
            ledger.hold(Id::P11, turn.machine, named && edges > 0 && alone, || {
                format!("{due:?} runs after {edges} recoveries: {:?}", self.running)
            })?;
            self.running.push((now + RUN, due.target));
        }
        Ok(())
    }
}

/// How often a host looks.
const LOOK: Duration = Duration::from_secs(1);
/// How long a run takes.
const RUN: Duration = Duration::from_secs(7);

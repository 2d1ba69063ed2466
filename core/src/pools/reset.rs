//! When the login of a target is reset: once for each recovery of its pool, and never in a hurry.
//!
//! Every recovery of a pool with a target is an *edge*. An edge starts a run at once, unless one for the same
//! target is going on or began less than a minute ago: then the edges that come meanwhile are one, which
//! starts when both are over. Nothing is tried again.
//!
//! Invariant P-11: no run begins without an edge of its own pool, and none for a pool that is gone by then or
//! names another target by now.
//!
//! Absent on purpose: the program, its user and its end. The host runs it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::definition::is_label;
use super::{Event, Name, Snapshot};
use crate::time::Instant;

/// The targets that are being reset, were a moment ago, or wait.
#[derive(Debug, Default)]
pub struct Resets {
    targets: BTreeMap<String, Target>,
}

/// One run that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// Whose recovery it is for.
    pub pool: Name,
    /// What to reset; a label, never anything that a program could take for an option.
    pub target: String,
}

#[derive(Debug)]
struct Target {
    running: bool,
    began: Option<Instant>,
    wanted: Option<Name>,
}

impl Resets {
    /// Takes in what became of a pool.
    pub fn hear(&mut self, event: &Event) {
        if let Event::Recovered { pool, auth_reset_target, .. } = event {
            self.edge(pool.clone(), auth_reset_target);
        }
    }

    /// `pool` recovered, and names `target`.
    fn edge(&mut self, pool: Name, target: &str) {
        if !is_label(target) {
            return;
        }
        let unknown = Target { running: false, began: None, wanted: None };
        self.targets.entry(target.to_owned()).or_insert(unknown).wanted = Some(pool);
    }

    /// What is to be started now; each is running from then on.
    pub fn due(&mut self, now: Instant, pools: &Snapshot) -> Vec<Due> {
        let mut due = Vec::new();
        for (target, state) in &mut self.targets {
            if !state.may_begin(now) {
                continue;
            }
            let Some(pool) = state.wanted.take() else { continue };
            let named = pools.pool(pool.as_str()).map(|pool| &pool.definition.auth_reset_target);
            if named == Some(target) {
                (state.running, state.began) = (true, Some(now));
                due.push(Due { pool, target: target.clone() });
            }
        }
        self.targets.retain(|_, state| state.is_of_use(now));
        due
    }

    /// The run of `target` has ended.
    pub fn ended(&mut self, target: &str) {
        if let Some(state) = self.targets.get_mut(target) {
            state.running = false;
        }
    }

    /// When [`Resets::due`] would next give something, if nothing else happens.
    pub fn next_due(&self, now: Instant) -> Option<Instant> {
        let waiting = self.targets.values().filter(|state| state.wanted.is_some());
        waiting.filter(|state| !state.running).map(|state| state.ready_at(now)).min()
    }
}

impl Target {
    fn ready_at(&self, now: Instant) -> Instant {
        self.began.map_or(now, |began| began + RESET_INTERVAL)
    }

    fn may_begin(&self, now: Instant) -> bool {
        canary!("pools.resets_side_by_side") || (!self.running && self.ready_at(now) <= now)
    }

    fn is_of_use(&self, now: Instant) -> bool {
        self.running || self.wanted.is_some() || self.ready_at(now) > now
    }
}

/// Between two starts for one target.
const RESET_INTERVAL: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::{Cause, Definition, Lane, Pool};
    use super::*;

    fn name(text: &str) -> Name {
        text.parse().expect("a name")
    }

    /// Pools by name, each with the target that it names.
    fn pools(named: &[(&str, &str)]) -> Snapshot {
        let pool = |(pool, target): &(&str, &str)| {
            let definition =
                Definition { auth_reset_target: (*target).to_owned(), ..Definition::default() };
            let shown = Pool {
                name: name(pool),
                definition: Arc::new(definition),
                from_document: true,
                members: Arc::from([]),
                any: Arc::new(Lane::default()),
                lanes: BTreeMap::new(),
                families: Vec::new(),
                views: Vec::new(),
                rows: Vec::new(),
                told: BTreeMap::new(),
            };
            (name(pool), Arc::new(shown))
        };
        Snapshot { wall: 0, pools: named.iter().map(pool).collect() }
    }

    fn at(seconds: u64) -> Instant {
        Instant::from_millis(seconds * 1000)
    }

    /// The targets that begin at `seconds`.
    fn begun(resets: &mut Resets, seconds: u64, pools: &Snapshot) -> Vec<String> {
        resets.due(at(seconds), pools).into_iter().map(|due| due.target).collect()
    }

    #[test]
    fn edges_that_come_during_a_run_are_one_that_starts_a_minute_after_it_did() {
        let (mut resets, pools) = (Resets::default(), pools(&[("codex", "login")]));
        assert_eq!(begun(&mut resets, 0, &pools), [""; 0], "without an edge nothing runs");
        resets.edge(name("codex"), "login");
        assert_eq!(resets.next_due(at(1)), Some(at(1)));
        assert_eq!(begun(&mut resets, 1, &pools), ["login"]);
        resets.edge(name("codex"), "login");
        resets.edge(name("codex"), "login");
        assert_eq!(begun(&mut resets, 2, &pools), [""; 0], "one run at a time");
        assert_eq!(resets.next_due(at(2)), None, "the end of the run comes first");
        resets.ended("login");
        assert_eq!(resets.next_due(at(20)), Some(at(61)));
        assert_eq!(begun(&mut resets, 60, &pools), [""; 0]);
        assert_eq!(begun(&mut resets, 61, &pools), ["login"]);
        resets.ended("login");
        assert_eq!(begun(&mut resets, 200, &pools), [""; 0], "three edges were two runs");
        assert!(resets.targets.is_empty(), "what is over is forgotten");
    }

    #[test]
    fn a_postponed_run_is_dropped_with_its_pool_and_with_its_target() {
        let both = pools(&[("codex", "login"), ("claude", "other")]);
        for (later, runs) in [
            (pools(&[("codex", "login")]), ["login"].as_slice()),
            (pools(&[("codex", "")]), &[]),
            (pools(&[("codex", "other")]), &[]),
            (pools(&[]), &[]),
        ] {
            let mut resets = Resets::default();
            resets.edge(name("codex"), "login");
            assert_eq!(begun(&mut resets, 0, &both), ["login"]);
            resets.edge(name("codex"), "login");
            resets.ended("login");
            assert_eq!(begun(&mut resets, 60, &later), runs);
        }
    }

    #[test]
    fn what_could_mislead_a_program_is_never_run() {
        for wrong in ["", "-x", "a b", "../x", "a;b", "a\u{202e}b", "a\n", "A"] {
            let (mut resets, pools) = (Resets::default(), pools(&[("codex", wrong)]));
            resets.edge(name("codex"), wrong);
            assert_eq!(begun(&mut resets, 0, &pools), [""; 0], "{wrong:?}");
        }
    }

    #[test]
    fn a_recovery_is_an_edge_and_running_dry_is_none() {
        let pools = pools(&[("codex", "login")]);
        let pool = || name("codex");
        let mut resets = Resets::default();
        resets.hear(&Event::Exhausted { pool: pool(), lane: "".into(), wake_at: None, members: 1 });
        assert_eq!(begun(&mut resets, 0, &pools), [""; 0]);
        resets.hear(&Event::Recovered {
            pool: pool(),
            lane: "".into(),
            member: crate::ids::CredentialHandle(1),
            cause: Cause::Credential,
            confirmed: false,
            after_ms: 1,
            auth_reset_target: "login".to_owned(),
        });
        assert_eq!(begun(&mut resets, 1, &pools), ["login"]);
    }

    #[test]
    fn targets_do_not_wait_for_each_other() {
        let both = pools(&[("codex", "a"), ("claude", "b")]);
        let mut resets = Resets::default();
        resets.edge(name("codex"), "a");
        assert_eq!(begun(&mut resets, 0, &both), ["a"]);
        resets.edge(name("claude"), "b");
        assert_eq!(begun(&mut resets, 1, &both), ["b"]);
    }
}

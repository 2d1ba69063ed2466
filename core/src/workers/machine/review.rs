//! What an entry is now, given its claims, their owners and the settings.

use super::super::claim::Statement;
use super::super::spec::Health;
use super::super::status::{Cause, Change, Condition, Status};
use super::super::url::Url;
use super::super::view::Lease;
use super::entry::{Entry, Judge, Probing};
use super::{Arc, Instant, NodeId, Output, Spec, StatusChange, Timer, Workers};
use crate::workers::breaker::Breaker;
use crate::workers::claim::Admin;

impl Workers {
    /// A new entry for a first claim that is about to be put in.
    pub(super) fn create(
        &mut self,
        now: Instant,
        url: Url,
        spec: &Arc<Spec>,
        chosen: NodeId,
    ) -> u64 {
        self.last_number += 1;
        let number = self.last_number;
        self.by_url.insert(Arc::clone(&url.identity), number);
        let entry = Entry {
            number,
            url,
            own: None,
            claims: Default::default(),
            chosen,
            spec: Arc::clone(spec),
            health: spec.health(),
            judge: Judge::Probes,
            condition: Condition::registered(now, true).0,
            refused: None,
            probe: Probing::default(),
            breaker: Breaker::default(),
        };
        self.entries.insert(number, entry);
        number
    }

    /// T1 to T4: the first claim is in.
    pub(super) fn begin(&mut self, now: Instant, number: u64, out: &mut Vec<Output>) {
        let Some(entry) = self.entries.get(&number) else { return };
        let judge = self.judge(entry, &entry.spec, &entry.health);
        let judged = self.judged(entry, judge);
        let entry = self.entries.get_mut(&number).expect("it was there a line ago");
        entry.judge = judge;
        let probed = judge == Judge::Probes;
        sometimes!("workers.t1_registered", entry.own.is_some() && probed);
        sometimes!("workers.t2_unprobed", entry.own.is_some() && !probed);
        let (condition, change) = match entry.own {
            Some(_) => Condition::registered(now, probed),
            None => Condition::imported(now, judged),
        };
        entry.condition = condition;
        if judged.is_some() {
            self.mark_applied(number);
        }
        self.announce(now, number, Some(change), out);
        self.review(now, number, out);
        self.probe_now(now, number);
    }

    /// Brings an entry in line with everything that is held. Doing it twice changes nothing.
    pub(super) fn review(&mut self, now: Instant, number: u64, out: &mut Vec<Output>) {
        let Some(entry) = self.entries.get(&number) else { return };
        let Some((chosen, spec)) = self.choose(entry) else {
            self.remove_entry(number, out);
            return;
        };
        self.choose_claim(now, number, chosen, spec, out);
        self.review_admin(now, number, out);
        self.review_statement(now, number, out);
        self.review_silence(now, number, out);
        self.review_policy(number);
        self.reschedule(now, number);
        self.publish_claim(number, out);
        self.mark(number);
    }

    /// Our own claim; else the least node among active claims of fresh owners, else among those of fresh
    /// owners, else among all.
    fn choose(&self, entry: &Entry) -> Option<(NodeId, Arc<Spec>)> {
        if let Some(own) = &entry.own {
            return Some((self.local.node.clone(), Arc::clone(&own.spec)));
        }
        let rank = |node: &NodeId| {
            let claim = entry.claims.get(node).expect("a key of this very map");
            let fresh = self.lease_of(node, claim.incarnation) == Lease::Fresh;
            match (fresh, claim.admin) {
                (true, Admin::Active) => 0,
                (true, Admin::Draining) => 1,
                (false, _) => 2,
            }
        };
        let node = entry.claims.keys().min_by_key(|node| rank(node))?;
        entry.claims.get(node).map(|claim| (node.clone(), Arc::clone(&claim.spec)))
    }

    pub(super) fn lease_of(&self, node: &NodeId, incarnation: crate::ids::Incarnation) -> Lease {
        self.owners.get(node).map_or(Lease::Stale, |owner| owner.lease(incarnation))
    }

    /// T18, T19: another claim, or another spec of it.
    fn choose_claim(
        &mut self,
        now: Instant,
        number: u64,
        chosen: NodeId,
        spec: Arc<Spec>,
        out: &mut Vec<Output>,
    ) {
        let Some(entry) = self.entries.get(&number) else { return };
        let health = spec.health();
        let judge = self.judge_of(&chosen, &spec, &health, entry);
        let respecified = *entry.spec != *spec;
        let health_equal = entry.health == health && entry.spec.mode() == spec.mode();
        let handed_over = entry.judge != judge && judge != Judge::Probes;
        let taken_over = entry.judge != judge && judge == Judge::Probes;
        sometimes!("workers.t18_respecified", respecified);
        sometimes!("workers.handed_over", handed_over);
        sometimes!("workers.another_claim_chosen", entry.chosen != chosen);
        let entry = self.entries.get_mut(&number).expect("it was there a line ago");
        (entry.chosen, entry.spec, entry.health, entry.judge) = (chosen, spec, health, judge);
        if respecified {
            entry.condition.respecified(health_equal);
        }
        if respecified && !health_equal || taken_over {
            sometimes!("workers.probe_voided", entry.probe.in_flight.is_some());
            entry.probe.void = entry.probe.in_flight.is_some();
            self.probe_now(now, number);
        }
        if handed_over {
            let entry = self.entries.get(&number).expect("it was there a line ago");
            let judged = self.judged(entry, judge);
            let entry = self.entries.get_mut(&number).expect("it was there a line ago");
            let change = entry.condition.handed_over(now, judged);
            if judged.is_some() {
                self.mark_applied(number);
            }
            self.announce(now, number, change, out);
        }
    }

    fn judge(&self, entry: &Entry, spec: &Spec, health: &Health) -> Judge {
        self.judge_of(&entry.chosen, spec, health, entry)
    }

    fn judge_of(&self, chosen: &NodeId, spec: &Spec, health: &Health, entry: &Entry) -> Judge {
        if *chosen == self.local.node {
            return if health.enabled { Judge::Probes } else { Judge::Nobody };
        }
        let keyless = spec.needs_key() && self.key_for(&entry.url.base).is_none();
        let others = health.by_owner || !health.enabled || keyless;
        if others { Judge::Owner } else { Judge::Probes }
    }

    /// T4: what a judge other than our probes says, if anything.
    fn judged(&self, entry: &Entry, judge: Judge) -> Option<Status> {
        let claim = match judge {
            Judge::Probes => return None,
            Judge::Nobody => return Some(Status::Ready),
            Judge::Owner => entry.claims.get(&entry.chosen)?,
        };
        let fresh = self.lease_of(&entry.chosen, claim.incarnation) == Lease::Fresh;
        match claim.statement {
            Statement::Healthy if fresh => Some(Status::Ready),
            Statement::Unhealthy if fresh => Some(Status::NotReady),
            Statement::Healthy | Statement::Unhealthy | Statement::Unknown => None,
        }
    }

    fn mark_applied(&mut self, number: u64) {
        let Some(entry) = self.entries.get_mut(&number) else { return };
        if let Some(claim) = entry.claims.get_mut(&entry.chosen) {
            let version = Some((claim.incarnation, claim.version));
            let news = claim.statement != Statement::Unknown && !claim.inherited;
            if news && claim.applied < version {
                claim.applied = version;
                self.counters.statements.applied += 1;
            }
        }
    }

    /// T16, T17.
    fn review_admin(&mut self, now: Instant, number: u64, out: &mut Vec<Output>) {
        let Some(entry) = self.entries.get(&number) else { return };
        let judged = self.judged(entry, entry.judge);
        let entry = self.entries.get_mut(&number).expect("it was there a line ago");
        let change = if entry.is_drained() {
            entry.condition.drained(now)
        } else {
            entry.condition.undrained(now, judged)
        };
        let undrained = change.is_some_and(|change| change.old == Some(Status::Draining));
        if undrained {
            if judged.is_some() {
                self.mark_applied(number);
            }
            self.probe_now(now, number);
        }
        self.announce(now, number, change, out);
    }

    /// T11 to T14 and the rules of evidence: once, only if higher, only on a fresh lease, never `unknown`.
    fn review_statement(&mut self, now: Instant, number: u64, out: &mut Vec<Output>) {
        let Some(entry) = self.entries.get(&number) else { return };
        let Some(claim) = entry.claims.get(&entry.chosen) else { return };
        let lease = self.lease_of(&entry.chosen, claim.incarnation);
        let version = (claim.incarnation, claim.version);
        let (statement, rise) = (claim.statement, entry.health.rise);
        let by_owner = entry.judge == Judge::Owner;
        if claim.inherited
            || claim.applied >= Some(version)
            || statement == Statement::Unknown
            || lease != Lease::Fresh
        {
            return;
        }
        let entry = self.entries.get_mut(&number).expect("it was there a line ago");
        let told = entry.condition.told(now, statement, by_owner, rise);
        self.mark_applied(number);
        self.announce(now, number, told.change, out);
        if told.probe_now {
            self.probe_now(now, number);
        }
    }

    /// T14 for a lease that turned fresh: what the owner said before its silence holds again.
    pub(super) fn lease_returned(&mut self, now: Instant, number: u64, out: &mut Vec<Output>) {
        let Some(entry) = self.entries.get_mut(&number) else { return };
        let Some(claim) = entry.claims.get(&entry.chosen) else { return };
        let applied = claim.applied >= Some((claim.incarnation, claim.version));
        if entry.own.is_some() || entry.judge != Judge::Owner || !applied || claim.inherited {
            return;
        }
        sometimes!("workers.t14_lease_returned");
        let told = entry.condition.told(now, claim.statement, true, entry.health.rise);
        self.announce(now, number, told.change, out);
    }

    /// T15.
    fn review_silence(&mut self, now: Instant, number: u64, out: &mut Vec<Output>) {
        let Some(entry) = self.entries.get(&number) else { return };
        let Some(claim) = entry.claims.get(&entry.chosen) else { return };
        let silent = self.lease_of(&entry.chosen, claim.incarnation) != Lease::Fresh;
        if entry.own.is_some() || entry.judge != Judge::Owner || !silent {
            return;
        }
        let entry = self.entries.get_mut(&number).expect("it was there a line ago");
        let change = entry.condition.owner_silent(now);
        self.announce(now, number, change, out);
    }

    /// Whether policy denies what can be judged without resolving. What a probe learnt of a name stays.
    fn review_policy(&mut self, number: u64) {
        let Some(entry) = self.entries.get_mut(&number) else { return };
        let literal = entry.url.host.parse::<std::net::IpAddr>().is_ok();
        let denied = self.policy.admit_host(&entry.url.host, entry.own.is_some()).err();
        match denied {
            Some(denied) => entry.refused = Some(denied.rule),
            None if literal || entry.probe.last != Some(super::super::ProbeOutcome::Policy) => {
                entry.refused = None;
            }
            None => {}
        }
    }

    /// T20, where the claims went one by one.
    fn remove_entry(&mut self, number: u64, out: &mut Vec<Output>) {
        let Some(mut entry) = self.entries.remove(&number) else { return };
        self.by_url.remove(&entry.url.identity);
        self.unschedule(&mut entry);
        self.timers.remove(&(entry.breaker.wake().unwrap_or_default(), Timer::Breaker(number)));
        let change = entry.condition.removed();
        self.counters.transition(change);
        let id = super::super::claim::id(&entry.chosen, &entry.url.identity);
        self.touched.insert(number);
        self.changed.insert(Arc::clone(&entry.url.identity));
        out.push(Output::Announce(StatusChange {
            id,
            url: entry.url.identity,
            old: change.old,
            new: None,
            cause: Cause::Removed,
        }));
    }

    /// W-6: what follows from every change of a status, in the same turn.
    pub(super) fn announce(
        &mut self,
        now: Instant,
        number: u64,
        change: Option<Change>,
        out: &mut Vec<Output>,
    ) {
        let (Some(change), Some(entry)) = (change, self.entries.get_mut(&number)) else { return };
        self.counters.transition(change);
        entry.probe.failed = 0;
        let id = super::super::claim::id(&entry.chosen, &entry.url.identity);
        let url = Arc::clone(&entry.url.identity);
        out.push(Output::Announce(StatusChange {
            id,
            url,
            old: change.old,
            new: change.new,
            cause: change.cause,
        }));
        if let Some(own) = &mut entry.own {
            let statement = match entry.condition.status() {
                Status::Pending => Statement::Unknown,
                Status::Ready => Statement::Healthy,
                Status::NotReady | Status::Failed => Statement::Unhealthy,
                Status::Draining => own.statement,
            };
            own.version += u64::from(own.statement != statement);
            own.statement = statement;
        }
        let failed = entry.own.is_some() && entry.condition.status() == Status::Failed;
        if let Some(after) = self.settings.remove_failed_after.filter(|_| failed) {
            self.timers.insert((now + after, Timer::Failed(number)));
        }
        self.publish_claim(number, out);
        self.mark(number);
    }
}

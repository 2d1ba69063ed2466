//! What is heard of others: their claims, their leases, their lives and deaths.
//!
//! W-2, W-3: the view is a fold of maps. A put and a delete in any order, or only one of them, end in the
//! owner's last word, and a statement that was applied once is never applied again.

use super::super::claim::{Published, Said, Statement, read_entry};
use super::super::url::Url;
use super::super::view::Lease;
use super::entry::{Claim, Owner};
use super::{Arc, Blob, Id, Instant, NodeId, Notice, Output, Replica, Timer, Workers, limits};
use crate::ids::Incarnation;
use crate::wire::segment::Key;

impl Workers {
    pub(super) fn noticed(&mut self, notice: Notice) {
        match notice {
            Notice::Up { replica, .. } => {
                self.members.insert(replica.node);
            }
            Notice::Departed { replica, .. } if replica.node != self.local.node => {
                self.members.remove(&replica.node);
            }
            Notice::Forgotten { node, .. } if node != self.local.node => {
                self.members.remove(&node);
            }
            Notice::Suspect { .. }
            | Notice::Refuted { .. }
            | Notice::Renamed { .. }
            | Notice::Departed { .. }
            | Notice::Forgotten { .. } => {}
        }
    }

    pub(super) fn changed(
        &mut self,
        now: Instant,
        owner: Replica,
        key: &Key,
        value: Option<&Blob>,
        out: &mut Vec<Output>,
    ) {
        // What we own is in our own table: an echo of a former life teaches nothing.
        if owner.node == self.local.node {
            return;
        }
        let said = match read_entry(&owner, key, value) {
            Ok(said) => said,
            Err(what) => {
                self.counters.foreign_writes += 1;
                out.push(Output::Misbehaved { peer: owner.node, what });
                return;
            }
        };
        let life = owner.incarnation;
        let known = self.owners.entry(owner.node.clone());
        let known = known.or_insert_with(|| Owner::new(owner.clone()));
        if known.replica.incarnation < life {
            known.replica = owner.clone();
        }
        match said {
            Said::Ready if value.is_some() => self.ready(now, &owner, out),
            Said::Lease if value.is_some() => self.lease_renewed(now, &owner, out),
            Said::Claim(id, Some(said)) => self.claimed(now, owner, id, *said, out),
            Said::Claim(id, None) => self.unclaimed(now, &owner, &id, out),
            Said::Ready | Said::Lease => {}
        }
    }

    fn claimed(
        &mut self,
        now: Instant,
        owner: Replica,
        id: Id,
        said: Published,
        out: &mut Vec<Output>,
    ) {
        let known = self.by_url.get(said.url.as_str()).copied();
        if !self.room_for(&owner.node, known) {
            self.counters.refuse("workers_full");
            self.counters.full += 1;
            return;
        }
        let (node, life) = (owner.node, owner.incarnation);
        let number = known.unwrap_or_else(|| {
            let url = Url::canonical(&said.spec.url, said.spec.dp_rank);
            let url = url.expect("the entry was checked as it was read");
            self.create(now, url, &Arc::new(said.spec.clone()), node.clone())
        });
        let stale = self.lease_of(&node, life) != Lease::Fresh;
        let entry = self.entries.get_mut(&number).expect("it was found or made above");
        let mut claim = Claim::new(id.clone(), life, said);
        if let Some(before) = entry.claims.get(&node) {
            let fell = before.incarnation == life
                && !before.inherited
                && (claim.version < before.version || claim.revision < before.revision);
            // No mark: what a map shows of a key only ever becomes newer, unless its owner counts backwards.
            if before.incarnation > life || fell {
                self.counters.refuse("version_fell");
                return;
            }
            let same = (before.incarnation, before.version) == (life, claim.version);
            self.counters.statements.unknown += u64::from(claim.statement == Statement::Unknown);
            self.counters.statements.repeated +=
                u64::from(same && claim.statement != Statement::Unknown);
            sometimes!("workers.statement_repeated", same && claim.statement != Statement::Unknown);
            let new = !same && claim.statement != Statement::Unknown;
            sometimes!("workers.statement_on_a_stale_lease", new && stale);
            self.counters.statements.stale_lease += u64::from(new && stale);
            claim.applied = before.applied;
            if *before.spec == *claim.spec {
                claim.spec = Arc::clone(&before.spec);
            }
        }
        entry.claims.insert(node.clone(), claim);
        self.by_id.insert(id, number);
        if let Some(owner) = self.owners.get_mut(&node) {
            owner.entries.insert(number);
        }
        match known {
            None => self.begin(now, number, out),
            Some(_) => self.review(now, number, out),
        }
    }

    fn room_for(&self, node: &NodeId, known: Option<u64>) -> bool {
        match known.and_then(|number| self.entries.get(&number)) {
            None => self.entries.len() < limits::WORKERS_MAX,
            Some(entry) => {
                let claims = entry.claims.len() + usize::from(entry.own.is_some());
                entry.claims.contains_key(node) || claims < limits::WORKER_CLAIMS_PER_URL_MAX
            }
        }
    }

    fn unclaimed(&mut self, now: Instant, owner: &Replica, id: &Id, out: &mut Vec<Output>) {
        let Some(number) = self.by_id.get(id).copied() else { return };
        // A map that went, or gave way to a newer life's, says nothing more: this is of the life in view.
        let claim = self.entries.get(&number).and_then(|entry| entry.claims.get(&owner.node));
        if claim.is_some_and(|claim| claim.id == *id) {
            self.drop_claim(now, number, &owner.node, out);
        }
    }

    fn drop_claim(&mut self, now: Instant, number: u64, node: &NodeId, out: &mut Vec<Output>) {
        let Some(entry) = self.entries.get_mut(&number) else { return };
        if let Some(claim) = entry.claims.remove(node) {
            self.by_id.remove(&claim.id);
        }
        if let Some(owner) = self.owners.get_mut(node) {
            owner.entries.remove(&number);
        }
        self.review(now, number, out);
    }

    /// Drops the claims that lives of `node` up to `last` made.
    fn drop_claims(
        &mut self,
        now: Instant,
        node: &NodeId,
        last: Incarnation,
        out: &mut Vec<Output>,
    ) {
        let Some(owner) = self.owners.get(node) else { return };
        let old = |number: &u64| {
            let entry = self.entries.get(number);
            let claim = entry.and_then(|entry| entry.claims.get(node));
            claim.is_some_and(|claim| claim.incarnation <= last)
        };
        let gone: Vec<u64> = owner.entries.iter().copied().filter(old).collect();
        for number in gone {
            self.drop_claim(now, number, node, out);
        }
    }

    fn lease_renewed(&mut self, now: Instant, owner: &Replica, out: &mut Vec<Output>) {
        let Some(known) = self.owners.get_mut(&owner.node) else { return };
        let until = now + LEASE_FRESH;
        if let Some(before) = known.fresh_until.replace(until) {
            self.timers.remove(&(before, Timer::Lease(owner.node.clone())));
            self.timers.insert((until, Timer::Lease(owner.node.clone())));
            return;
        }
        self.timers.insert((until, Timer::Lease(owner.node.clone())));
        sometimes!("workers.lease_fresh_again");
        let numbers: Vec<u64> = known.entries.iter().copied().collect();
        for number in numbers {
            self.lease_of_entry_returned(now, number, &owner.node, out);
        }
    }

    fn lease_of_entry_returned(
        &mut self,
        now: Instant,
        number: u64,
        node: &NodeId,
        out: &mut Vec<Output>,
    ) {
        self.review(now, number, out);
        let chosen = self.entries.get(&number).is_some_and(|entry| entry.chosen == *node);
        if chosen {
            self.lease_returned(now, number, out);
        }
    }

    pub(super) fn lease_ended(&mut self, now: Instant, node: &NodeId, out: &mut Vec<Output>) {
        sometimes!("workers.lease_ended");
        if let Some(owner) = self.owners.get_mut(node) {
            owner.fresh_until = None;
        }
        self.review_owner(now, node, out);
    }

    fn review_owner(&mut self, now: Instant, node: &NodeId, out: &mut Vec<Output>) {
        let owner = self.owners.get(node);
        let numbers: Vec<u64> =
            owner.iter().flat_map(|owner| owner.entries.iter().copied()).collect();
        for number in numbers {
            self.review(now, number, out);
        }
    }

    fn silence(&mut self, node: &NodeId) {
        let Some(owner) = self.owners.get_mut(node) else { return };
        if let Some(before) = owner.fresh_until.take() {
            self.timers.remove(&(before, Timer::Lease(node.clone())));
        }
    }

    pub(super) fn orphaned(&mut self, now: Instant, replica: &Replica, out: &mut Vec<Output>) {
        let Some(owner) = self.owners.get_mut(&replica.node) else { return };
        sometimes!("workers.orphaned");
        owner.orphaned = owner.orphaned.max(Some(replica.incarnation));
        if owner.replica.incarnation <= replica.incarnation {
            self.silence(&replica.node);
        }
        self.review_owner(now, &replica.node, out);
    }

    /// The map of a life went. Claims of a node that said goodbye linger; of any other they go.
    pub(super) fn dropped(
        &mut self,
        now: Instant,
        replica: &Replica,
        left: bool,
        out: &mut Vec<Output>,
    ) {
        let (node, last) = (&replica.node, replica.incarnation);
        let linger = self.settings.linger;
        let Some(owner) = self.owners.get_mut(node) else { return };
        let present = owner.replica.incarnation <= last;
        if left && present && !owner.entries.is_empty() && !linger.is_zero() {
            sometimes!("workers.lingering");
            if let Some((_, before)) = owner.lingering.replace((last, now + linger)) {
                self.timers.remove(&(before, Timer::Linger(node.clone())));
            }
            self.timers.insert((now + linger, Timer::Linger(node.clone())));
            self.silence(node);
            self.review_owner(now, node, out);
            return;
        }
        let over = owner.lingering.filter(|(lingering, _)| *lingering <= last);
        if let Some((_, at)) = over {
            owner.lingering = None;
            self.timers.remove(&(at, Timer::Linger(node.clone())));
        }
        self.drop_claims(now, node, last, out);
        self.review_owner(now, node, out);
        if present {
            self.silence(node);
            self.owners.remove(node);
        }
    }

    pub(super) fn linger_ended(&mut self, now: Instant, node: &NodeId, out: &mut Vec<Output>) {
        let Some(owner) = self.owners.get_mut(node) else { return };
        let Some((last, _)) = owner.lingering.take() else { return };
        sometimes!("workers.linger_ended");
        self.drop_claims(now, node, last, out);
        let over = |owner: &Owner| owner.entries.is_empty() && owner.fresh_until.is_none();
        if self.owners.get(node).is_some_and(over) {
            self.owners.remove(node);
        }
    }

    /// A new life has written everything: what only its lingering former life claimed goes.
    fn ready(&mut self, now: Instant, owner: &Replica, out: &mut Vec<Output>) {
        let Some(known) = self.owners.get_mut(&owner.node) else { return };
        let former = known.lingering.filter(|(last, _)| *last < owner.incarnation);
        let Some((last, at)) = former else { return };
        sometimes!("workers.linger_superseded");
        known.lingering = None;
        self.timers.remove(&(at, Timer::Linger(owner.node.clone())));
        self.drop_claims(now, &owner.node, last, out);
        self.review_owner(now, &owner.node, out);
    }

    /// The entries that differ have come: what was taken over is the new life's word.
    pub(super) fn inherited(&mut self, now: Instant, node: &NodeId, out: &mut Vec<Output>) {
        let Some(owner) = self.owners.get(node) else { return };
        for number in owner.entries.clone() {
            let entry = self.entries.get_mut(&number);
            let claim = entry.and_then(|entry| entry.claims.get_mut(node));
            if claim.is_some_and(|claim| std::mem::take(&mut claim.inherited)) {
                sometimes!("workers.inherited");
                self.lease_of_entry_returned(now, number, node, out);
            }
        }
    }

    /// A new life's map is visible in place of the old one's: every entry of that is the new life's from here
    /// on, under its versions. What differs follows at once, key by key; only then is the rest believed. What
    /// lingers of a life before the old one was in neither map, and goes on lingering.
    pub(super) fn switched(
        &mut self,
        now: Instant,
        old: &Replica,
        new: Replica,
        out: &mut Vec<Output>,
    ) {
        if new.node == self.local.node {
            return;
        }
        let node = new.node.clone();
        let Some(owner) = self.owners.get_mut(&node) else { return };
        if owner.replica.incarnation > new.incarnation {
            return;
        }
        sometimes!("workers.switched");
        owner.replica = new.clone();
        owner.orphaned = owner.orphaned.filter(|last| *last >= new.incarnation);
        for number in owner.entries.clone() {
            let entry = self.entries.get_mut(&number);
            let claim = entry.and_then(|entry| entry.claims.get_mut(&node));
            let shown = |claim: &&mut Claim| claim.incarnation >= old.incarnation;
            if let Some(claim) = claim.filter(shown) {
                claim.inherited |= claim.incarnation < new.incarnation;
                claim.incarnation = claim.incarnation.max(new.incarnation);
            }
        }
        self.timers.insert((now + INHERITANCE, Timer::Inherited(node.clone())));
        self.lease_renewed(now, &new, out);
        self.review_owner(now, &node, out);
    }
}

/// Longer than the changes of a switch take to follow it, which is no time at all.
const INHERITANCE: std::time::Duration = std::time::Duration::from_millis(1);

/// How long a count keeps its owner fresh, on our clock.
const LEASE_FRESH: std::time::Duration = std::time::Duration::from_secs(30);

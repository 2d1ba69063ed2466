//! Leases: deadlines in log time, and the keys that end with them.

use imbl::OrdSet;

use super::super::command::{Invalid, LeaseId, Limit, Outcome, Refusal, Version};
use super::super::name::Path;
use super::{Cause, Lease, State, Write, Writes};
use crate::limits;
use crate::time::millis;

impl State {
    /// A lease, or `None` if it ended or never was.
    pub fn lease(&self, lease: LeaseId) -> Option<&Lease> {
        self.leases.get(&lease)
    }

    /// All leases.
    pub fn leases(&self) -> impl Iterator<Item = (LeaseId, &Lease)> {
        self.leases.iter().map(|(id, lease)| (*id, lease))
    }

    /// How many leases there are.
    pub fn lease_count(&self) -> u64 {
        self.leases.len() as u64
    }

    /// The soonest deadline.
    pub fn next_deadline(&self) -> Option<u64> {
        self.due.get_min().map(|(deadline, _)| *deadline)
    }

    pub(super) fn check_ttl(ttl_ms: u64) -> Result<(), Refusal> {
        let legal = millis(limits::KV_LEASE_TTL_MIN)..=millis(limits::KV_LEASE_TTL_MAX);
        if legal.contains(&ttl_ms) { Ok(()) } else { Err(Refusal::Invalid(Invalid::Ttl)) }
    }

    pub(super) fn check_grant(&self, ttl_ms: u64) -> Result<(), Refusal> {
        Self::check_ttl(ttl_ms)?;
        if self.lease_count() >= self.bounds.leases_max {
            return Err(Refusal::LimitReached(Limit::Leases));
        }
        Ok(())
    }

    pub(super) fn grant(&mut self, ttl_ms: u64) -> Result<LeaseId, Refusal> {
        self.check_grant(ttl_ms)?;
        let id = LeaseId(self.index);
        let deadline = self.log_time.saturating_add(ttl_ms);
        let before = self.leases.insert(id, Lease { ttl_ms, deadline, keys: OrdSet::new() });
        assert!(before.is_none(), "KV-4: one entry granted two leases {id:?}");
        self.due.insert((deadline, id));
        self.digest.lease(id, deadline);
        Ok(id)
    }

    pub(super) fn renew(&mut self, leases: &[LeaseId]) -> Outcome {
        let ttls = leases.iter().map(|id| {
            let Some(lease) = self.leases.get_mut(id) else {
                sometimes!("kv.renewed_too_late");
                return 0;
            };
            self.due.remove(&(lease.deadline, *id));
            lease.deadline = self.log_time.saturating_add(lease.ttl_ms);
            self.due.insert((lease.deadline, *id));
            self.digest.lease(*id, lease.deadline);
            lease.ttl_ms
        });
        Outcome::Renewed { ttls_ms: ttls.collect::<Vec<_>>().into() }
    }

    pub(super) fn revoke(&mut self, lease: LeaseId) -> Result<Outcome, Refusal> {
        if !self.leases.contains_key(&lease) {
            return Err(Refusal::LeaseNotFound(lease));
        }
        Ok(self.end(&[lease], Cause::Revoked, Writes::new()))
    }

    /// KV-4: who proposed it may have been mistaken about the time; the entry is not.
    pub(super) fn expire(&mut self) -> Outcome {
        let early = if canary!("kv.ends_leases_early") { 2000 } else { 0 };
        let due = self.due.iter().take_while(|(deadline, _)| *deadline <= self.log_time + early);
        let due: Vec<LeaseId> = due.map(|(_, id)| *id).collect();
        sometimes!("kv.lease_expired", !due.is_empty());
        sometimes!("kv.lease_renewed_in_time", due.is_empty());
        self.end(&due, Cause::Expired, Writes::new())
    }

    /// Ends leases and deletes their keys, with `writes` that belong to the same revision.
    pub(super) fn end(&mut self, leases: &[LeaseId], cause: Cause, mut writes: Writes) -> Outcome {
        let mut deleted = 0;
        for id in leases {
            let lease = self.leases.get(id).expect("KV-4: only a lease that is can end");
            deleted += lease.keys.len() as u64;
            writes.extend(lease.keys.iter().map(|path| (path.clone(), Write::Delete(cause))));
        }
        let revision = self.commit(writes);
        for id in leases {
            let lease = self.leases.remove(id).expect("it was there a moment ago");
            assert!(lease.keys.is_empty(), "KV-4: {:?} outlive their lease", lease.keys);
            self.due.remove(&(lease.deadline, *id));
            self.digest.lease(*id, 0);
        }
        Outcome::Ended { revision, leases: leases.len() as u64, deleted, cause }
    }

    /// What leases know of a key follows its versions.
    pub(super) fn bind(&mut self, path: &Path, before: Option<&Version>, after: Option<&Version>) {
        let before = before.and_then(|version| version.lease);
        let after = after.and_then(|version| version.lease);
        if before == after {
            return;
        }
        if let Some(lease) = before.and_then(|id| self.leases.get_mut(&id)) {
            lease.keys.remove(path);
        }
        // A restore runs through versions whose lease has ended since: those bind to nothing.
        if let Some(lease) = after.and_then(|id| self.leases.get_mut(&id)) {
            lease.keys.insert(path.clone());
        }
    }
}

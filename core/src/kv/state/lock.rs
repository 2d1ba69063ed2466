//! Locks and semaphores: contenders in line, by the revision at which they came.
//!
//! A contender is a key of [`super::super::name::LOCKS`], bound to its lease. The `permits` oldest of a lock
//! hold. Nobody is told that it is its turn: who holds is a function of the keys, for every reader alike.

use imbl::OrdMap;
use serde::{Deserialize, Serialize};

use super::super::command::{
    Acquire, Hold, Holder, Invalid, LeaseId, Limit, Outcome, Refusal, Version,
};
use super::super::name::{Lock, Path};
use super::{Cause, State, Write, Writes};
use crate::limits;
use crate::wire::{Blob, decode, encode};

/// How many stand in line, and for how many permits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Line {
    contenders: u64,
    permits: u32,
}

/// Somebody in line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contender {
    /// The revision at which it came: its fence, once it holds.
    pub fence: u64,
    /// What it stands here by.
    pub lease: LeaseId,
    /// Whether it holds.
    pub held: bool,
}

impl State {
    /// Everybody in line, in order: the first `permits` hold.
    pub fn contenders(&self, lock: &Lock) -> Vec<Contender> {
        let span = lock.span();
        let found = span.bounds().into_iter().flat_map(|span| self.live.range::<_, [u8]>(span));
        let found = found.filter_map(|(_, held)| Some((held.create_revision, held.lease?)));
        let mut line: Vec<(u64, LeaseId)> = found.collect();
        line.sort();
        let permits = self.permits(lock).unwrap_or(1) as usize;
        let ranked = line.into_iter().enumerate();
        ranked
            .map(|(place, (fence, lease))| Contender { fence, lease, held: place < permits })
            .collect()
    }

    /// How many may hold at a time; `None` while nobody stands in line.
    pub fn permits(&self, lock: &Lock) -> Option<u32> {
        self.lines.get(&lock.prefix()).map(|line| line.permits)
    }

    /// How many contenders hold, and how many wait.
    pub fn line_counts(&self) -> (u64, u64) {
        self.lines.values().fold((0, 0), |(held, waiting), line| {
            let holding = line.contenders.min(u64::from(line.permits));
            (held + holding, waiting + line.contenders - holding)
        })
    }

    pub(super) fn acquire(&mut self, acquire: Acquire) -> Result<Outcome, Refusal> {
        let Acquire { lock, lease, permits } = acquire;
        if !(1..=limits::KV_PERMITS_MAX).contains(&permits) {
            return Err(Refusal::Invalid(Invalid::Permits));
        }
        let line = self.lines.get(&lock.prefix()).copied().unwrap_or_default();
        if line.contenders > 0 && line.permits != permits {
            return Err(Refusal::PermitsDiffer { permits: line.permits });
        }
        if let Holder::Lease(lease) = lease {
            if !self.leases.contains_key(&lease) {
                return Err(Refusal::LeaseNotFound(lease));
            }
            if let Some(stands) = self.live.get(&lock.contender(lease.0)) {
                let fence = stands.create_revision;
                return Ok(self.contends(&lock, lease, fence));
            }
        }
        if line.contenders >= self.bounds.contenders_max {
            return Err(Refusal::LimitReached(Limit::Contenders));
        }
        self.enter(&lock, lease, permits)
    }

    fn enter(&mut self, lock: &Lock, holder: Holder, permits: u32) -> Result<Outcome, Refusal> {
        let lease = match holder {
            Holder::Lease(lease) => lease,
            Holder::Grant(ttl_ms) => {
                self.check_grant(ttl_ms)?;
                LeaseId(self.index)
            }
        };
        let put = Write::Put { value: Blob::from(encode(&permits)), lease: Some(lease) };
        let writes = Writes::from([(lock.contender(lease.0), put)]);
        self.check_room(&writes)?;
        match holder {
            Holder::Lease(lease) => {
                let keys = self.leases.get(&lease).map_or(0, |lease| lease.keys.len() as u64);
                if keys >= self.bounds.lease_keys_max {
                    return Err(Refusal::LimitReached(Limit::LeaseKeys));
                }
            }
            Holder::Grant(ttl_ms) => {
                self.grant(ttl_ms).expect("KV-8: the grant was checked");
            }
        }
        let fence = self.commit(writes);
        Ok(self.contends(lock, lease, fence))
    }

    fn contends(&self, lock: &Lock, lease: LeaseId, fence: u64) -> Outcome {
        let line = self.contenders(lock);
        let held = line.iter().any(|contender| contender.fence == fence && contender.held);
        Outcome::Contends { lease, fence, held }
    }

    pub(super) fn release(&mut self, lock: &Lock, hold: Hold) -> Result<Outcome, Refusal> {
        let found = self.contenders(lock).into_iter().find(|contender| match hold {
            Hold::Lease(lease) => contender.lease == lease,
            Hold::Fence(fence) => contender.fence == fence,
        });
        let contender = found.ok_or(Refusal::NotHeld)?;
        let delete = Write::Delete(Cause::Deleted);
        let revision = self.commit(Writes::from([(lock.contender(contender.lease.0), delete)]));
        Ok(Outcome::Left { revision })
    }

    pub(super) fn withdraw(
        &mut self,
        lock: &Lock,
        fence: u64,
        revoke: bool,
    ) -> Result<Outcome, Refusal> {
        let line = self.contenders(lock);
        let found = line.into_iter().find(|contender| contender.fence == fence);
        let contender = found.ok_or(Refusal::NotHeld)?;
        sometimes!("kv.waited_long_enough_to_hold", contender.held);
        if contender.held {
            return Err(Refusal::Held);
        }
        sometimes!("kv.waited_too_long");
        let delete = Write::Delete(Cause::Deleted);
        let writes = Writes::from([(lock.contender(contender.lease.0), delete)]);
        let keys = self.leases.get(&contender.lease).map_or(0, |lease| lease.keys.len());
        if revoke && keys == 1 {
            self.end(&[contender.lease], Cause::Revoked, writes);
            return Ok(Outcome::Left { revision: self.revision });
        }
        let revision = self.commit(writes);
        Ok(Outcome::Left { revision })
    }

    /// Lines follow the contenders' keys.
    pub(super) fn stand(&mut self, path: &Path, before: Option<&Version>, after: Option<&Version>) {
        let Some(prefix) = Lock::prefix_of(path) else { return };
        match (before, after) {
            (None, Some(version)) => join(&mut self.lines, prefix, version),
            (Some(_), None) => leave(&mut self.lines, &prefix),
            (None, None) | (Some(_), Some(_)) => {}
        }
    }
}

fn join(lines: &mut OrdMap<Blob, Line>, prefix: Blob, version: &Version) {
    let permits = decode::<u32, 5>(&version.value).unwrap_or(1);
    let line = lines.entry(prefix).or_insert(Line { contenders: 0, permits });
    line.contenders += 1;
}

fn leave(lines: &mut OrdMap<Blob, Line>, prefix: &Blob) {
    let line = lines.get_mut(prefix).expect("KV-5: who leaves a line stood in it");
    line.contenders -= 1;
    if line.contenders == 0 {
        lines.remove(prefix);
    }
}

//! The state that every replica has at the same log index.
//!
//! [`State::apply`] is a function of the state and the entry alone: it reads no clock and no randomness, so
//! equal logs make equal states, byte for byte. All of it lives in persistent maps: a clone is O(1), a
//! write O(log n), and a reader of a clone is in nobody's way.
//!
//! ```text
//!   live   path → version                       what is
//!   log    revision → changes                   what happened, for watches, since `compact_revision`
//!   past   (path, revision) → version before    what was, for reads at a revision
//! ```
//!
//! A read at revision *r* looks for the first change of the key after *r*: the version before that change is
//! the answer, or the live one if there was none. So history needs no copy of anything.
//!
//! Invariants, held here:
//! - KV-2: `revision` rises by one per command that changed a key, and never falls.
//! - KV-4: a lease ends by its revocation, or when the log time of an entry has reached its deadline; its
//!   keys end with it, in one revision.
//! - KV-5: who holds is a function of `create_revision` alone; a later holder's is greater.
//! - KV-6: a command's keys lie inside its namespace, because its spans do.
//! - KV-8: a refused command returns before the first change.
//!
//! Absent on purpose: callers, watchers, the wall clock, and settings of one node: what bounds a state is
//! part of it ([`Bounds`]).

mod digest;
mod lease;
mod lock;
mod read;
mod section;
mod transact;

use std::collections::BTreeMap;
use std::sync::Arc;

use imbl::{OrdMap, OrdSet};
use serde::{Deserialize, Serialize};

use super::ask::Changed;
use super::command::{Bounds, Command, Invalid, LeaseId, Limit, Outcome, Refusal, Version};
use super::name::{Key, Path};
use crate::limits;
use crate::wire::{Blob, decode};

pub use lock::Contender;
pub use read::{Compacted, Page, Wanted};
pub use section::{RestoreError, Restoring, Section};

use digest::Digest;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct State {
    index: u64,
    log_time: u64,
    revision: u64,
    compact_revision: u64,
    live: OrdMap<Path, Arc<Version>>,
    log: OrdMap<u64, Arc<Revision>>,
    past: OrdMap<(Path, u64), Option<Arc<Version>>>,
    leases: OrdMap<LeaseId, Lease>,
    /// By deadline.
    due: OrdSet<(u64, LeaseId)>,
    /// Contenders in line, by what their keys begin with.
    lines: OrdMap<Blob, lock::Line>,
    bounds: Bounds,
    live_bytes: u64,
    history_bytes: u64,
    digest: Digest,
}

/// Everything that one command changed, at one revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision {
    /// The log time of its entry.
    pub log_time: u64,
    /// In order of path; at least one.
    pub changes: Vec<Change>,
}

/// What became of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Of which.
    pub path: Path,
    /// What.
    pub what: What,
    /// The version before.
    pub previous: Option<Arc<Version>>,
}

impl Revision {
    /// What it weighs in history.
    pub(super) fn bytes(&self) -> u64 {
        let weights =
            self.changes.iter().map(|change| passed(&change.path, change.previous.as_deref()));
        weights.sum()
    }
}

impl Change {
    /// The change as a watcher hears of it.
    pub(super) fn told(&self, revision: u64, previous: bool) -> Changed {
        Changed {
            revision,
            key: Key::new(self.path.key()).expect("a path ends with a key"),
            what: self.what.clone(),
            previous: self.previous.clone().filter(|_| previous),
        }
    }
}

/// See [`Change::what`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum What {
    /// It has a new version.
    Put(Arc<Version>),
    /// It has none any more.
    Delete(Cause),
}

/// Why a key went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// Somebody deleted it.
    Deleted,
    /// Its lease was not renewed.
    Expired,
    /// Its lease was ended.
    Revoked,
}

/// A time to live that keys can share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// How long it lives without a renewal.
    pub ttl_ms: u64,
    /// The log time at which it may end.
    pub deadline: u64,
    /// What ends with it.
    pub keys: OrdSet<Path>,
}

/// A change to be made.
#[derive(Debug)]
enum Write {
    Put { value: Blob, lease: Option<LeaseId> },
    Delete(Cause),
}

type Writes = BTreeMap<Path, Write>;

impl State {
    /// Notes the log's time at `index`, where nothing else happened.
    pub fn note_time(&mut self, index: u64, log_time: u64) {
        self.index = self.index.max(index);
        self.log_time = self.log_time.max(log_time);
    }

    /// Applies the entry at `index`; whatever its bytes are, every replica does the same.
    pub fn apply(&mut self, index: u64, log_time: u64, payload: &[u8]) -> Outcome {
        assert!(index > self.index, "KV-2: entry {index} comes after {}", self.index);
        self.index = index;
        self.log_time = self.log_time.max(log_time);
        let command = decode::<Command, { limits::KV_COMMAND_BYTES_MAX }>(payload);
        let done = match command {
            Ok(command) => self.perform(command),
            Err(_) => Err(Refusal::Invalid(Invalid::Senseless)),
        };
        done.unwrap_or_else(Outcome::Refused)
    }

    fn perform(&mut self, command: Command) -> Result<Outcome, Refusal> {
        match command {
            Command::Transact(transaction) => self.transact(transaction),
            Command::Grant { ttl_ms } => {
                let lease = self.grant(ttl_ms)?;
                Ok(Outcome::Granted { lease, ttl_ms })
            }
            Command::KeepAlive { leases } => Ok(self.renew(&leases)),
            Command::Revoke { lease } => self.revoke(lease),
            Command::Expire => Ok(self.expire()),
            Command::Compact { revision } => self.compact(revision),
            Command::Acquire(acquire) => self.acquire(acquire),
            Command::Release { lock, hold } => self.release(&lock, hold),
            Command::Withdraw { lock, fence, revoke } => self.withdraw(&lock, fence, revoke),
            Command::Bound(bounds) => {
                self.bounds = bounds;
                self.digest.bounds(&bounds);
                Ok(Outcome::Bounded)
            }
        }
    }

    /// Makes all of `writes` one revision; none is no revision.
    fn commit(&mut self, writes: Writes) -> u64 {
        if writes.is_empty() {
            return self.revision;
        }
        let revision = self.revision + 1;
        let changes = writes.into_iter().map(|(path, write)| {
            let what = match write {
                Write::Put { value, lease } => What::Put(self.next_version(&path, value, lease)),
                Write::Delete(cause) => What::Delete(cause),
            };
            self.record(revision, path, what)
        });
        let changes = changes.collect();
        self.log.insert(revision, Arc::new(Revision { log_time: self.log_time, changes }));
        self.revision = revision;
        revision
    }

    fn next_version(&self, path: &Path, value: Blob, lease: Option<LeaseId>) -> Arc<Version> {
        let mod_revision = self.revision + 1;
        let before = self.live.get(path);
        Arc::new(Version {
            value,
            create_revision: before.map_or(mod_revision, |before| before.create_revision),
            mod_revision,
            version: before.map_or(1, |before| before.version + 1),
            lease,
        })
    }

    /// One change, with everything that follows from it. A restore makes the same changes again.
    fn record(&mut self, revision: u64, path: Path, what: What) -> Change {
        self.digest.change(revision, &path, &what);
        let previous = match &what {
            What::Put(version) => self.live.insert(path.clone(), Arc::clone(version)),
            What::Delete(_) => self.live.remove(&path),
        };
        let after = match &what {
            What::Put(version) => Some(version),
            What::Delete(_) => None,
        };
        self.live_bytes += after.map_or(0, |version| weight(&path, version));
        self.live_bytes -= previous.as_ref().map_or(0, |version| weight(&path, version));
        self.history_bytes += passed(&path, previous.as_deref());
        self.bind(&path, previous.as_deref(), after.map(Arc::as_ref));
        self.stand(&path, previous.as_deref(), after.map(Arc::as_ref));
        self.past.insert((path.clone(), revision), previous.clone());
        Change { path, what, previous }
    }

    /// Whether puts of these versions fit, beside `freed` keys that go in the same revision.
    fn check_room(&self, writes: &Writes) -> Result<(), Refusal> {
        let (mut keys, mut bytes, mut puts) = (self.live.len() as u64, self.bytes(), false);
        for (path, write) in writes {
            let before = self.live.contains_key(path);
            match write {
                Write::Put { value, .. } => {
                    puts = true;
                    keys += u64::from(!before);
                    bytes += size(path, value) + if before { 0 } else { passed(path, None) };
                }
                Write::Delete(_) => keys -= u64::from(before),
            }
        }
        // Deletes go, however full it is: they are how room is made.
        if puts && keys > self.bounds.keys_max {
            return Err(Refusal::LimitReached(Limit::Keys));
        }
        if puts && bytes > self.bounds.bytes_max {
            return Err(Refusal::LimitReached(Limit::Bytes));
        }
        Ok(())
    }

    fn compact(&mut self, revision: u64) -> Result<Outcome, Refusal> {
        if revision > self.revision {
            return Err(Refusal::Future { revision: self.revision });
        }
        sometimes!("kv.compacted", self.compact_revision < revision);
        while self.compact_revision < revision {
            self.compact_revision += 1;
            let forgotten = self.log.remove(&self.compact_revision);
            for change in &forgotten.expect("KV-2: history has no hole").changes {
                let key = (change.path.clone(), self.compact_revision);
                self.past.remove(&key).expect("KV-2: every change of the log is in the past");
                self.history_bytes -= passed(&change.path, change.previous.as_deref());
            }
        }
        self.digest.compaction(self.compact_revision);
        Ok(Outcome::Compacted { compact_revision: self.compact_revision })
    }
}

impl State {
    /// The log index of the last entry applied.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// Whether nothing was ever applied.
    pub fn is_empty(&self) -> bool {
        self.index == 0
    }

    /// The log time of the last entry applied.
    pub fn log_time(&self) -> u64 {
        self.log_time
    }

    /// How many commands have changed a key.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Reads at or above this revision are answered.
    pub fn compact_revision(&self) -> u64 {
        self.compact_revision
    }

    /// What bounds this state.
    pub fn bounds(&self) -> &Bounds {
        &self.bounds
    }

    /// How many keys there are.
    pub fn keys(&self) -> u64 {
        self.live.len() as u64
    }

    /// Bytes of keys and values that are.
    pub fn live_bytes(&self) -> u64 {
        self.live_bytes
    }

    /// Bytes of keys and values that were.
    pub fn history_bytes(&self) -> u64 {
        self.history_bytes
    }

    /// Equal at equal index, on every replica.
    pub fn digest(&self) -> u64 {
        self.digest.value()
    }

    /// What was changed at a revision that is not compacted.
    pub fn changes(&self, revision: u64) -> Option<&Arc<Revision>> {
        self.log.get(&revision)
    }

    /// Revisions from `from` on, with what they changed.
    pub fn since(&self, from: u64) -> impl Iterator<Item = (u64, &Arc<Revision>)> {
        self.log.range(from..).map(|(revision, changed)| (*revision, changed))
    }

    fn bytes(&self) -> u64 {
        self.live_bytes + self.history_bytes
    }
}

/// What a live version weighs.
fn weight(path: &Path, version: &Version) -> u64 {
    size(path, &version.value)
}

/// What a change in history weighs: its key, and the value that it replaced.
fn passed(path: &Path, previous: Option<&Version>) -> u64 {
    let value = previous.map_or(0, |version| version.value.len());
    (path.as_slice().len() + value) as u64 + limits::KV_VERSION_BYTES
}

fn size(path: &Path, value: &Blob) -> u64 {
    (path.as_slice().len() + value.len()) as u64 + limits::KV_VERSION_BYTES
}

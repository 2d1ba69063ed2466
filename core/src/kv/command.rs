//! What the log carries for this store, and what comes of it.
//!
//! A [`Command`] is the payload of an entry, an [`Outcome`] what every replica makes of it: the same one,
//! byte for byte. Both are wire types: they change only with the version of their topic.
//!
//! Absent on purpose: callers, deadlines, retries. An entry knows nobody.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::name::{Key, Keys, Lock, Namespace};
use super::state::Cause;
use crate::limits;
use crate::wire::{Blob, List};

/// The log index of a lease's grant, so unique for ever.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct LeaseId(pub u64);

/// One entry of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Reads and writes under conditions, all at one revision.
    Transact(Transaction),
    /// A new lease.
    Grant {
        /// How long it lives without a renewal, in milliseconds of log time.
        ttl_ms: u64,
    },
    /// These leases live on, each for its whole time from now.
    KeepAlive {
        /// Which.
        leases: List<LeaseId, { limits::KV_RENEWALS_MAX }>,
    },
    /// A lease ends now, and its keys with it.
    Revoke {
        /// Which.
        lease: LeaseId,
    },
    /// Every lease whose time has passed ends, and its keys with it.
    Expire,
    /// Versions that are not visible at this revision or later are forgotten.
    Compact {
        /// Which.
        revision: u64,
    },
    /// Stand in line for a lock or semaphore.
    Acquire(Acquire),
    /// Give a permit back.
    Release {
        /// Of what.
        lock: Lock,
        /// Which contender.
        hold: Hold,
    },
    /// Leave the line, unless it is our turn already.
    Withdraw {
        /// Of what.
        lock: Lock,
        /// The contender's revision.
        fence: u64,
        /// End its lease as well: it was granted for this alone.
        revoke: bool,
    },
    /// From now on these bounds hold, on every replica.
    Bound(Bounds),
}

/// See [`Command::Transact`]. Conditions and reads see the state before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transaction {
    /// Whose keys.
    pub namespace: Namespace,
    /// All must hold.
    pub compare: List<Compare, { limits::KV_TRANSACTION_OPERATIONS_MAX }>,
    /// What is done if they do.
    pub then: List<Operation, { limits::KV_TRANSACTION_OPERATIONS_MAX }>,
    /// What is done if one does not.
    pub otherwise: List<Operation, { limits::KV_TRANSACTION_OPERATIONS_MAX }>,
}

/// A condition on one key. Numbers of an absent key are 0; its value fulfils no condition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compare {
    /// Of which.
    pub key: Key,
    /// How.
    pub is: Relation,
    /// What of it, with what.
    pub than: Than,
}

/// How two things compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Relation {
    /// `=`
    Equal,
    /// `!=`
    Unequal,
    /// `<`
    Less,
    /// `>`
    Greater,
}

/// What is compared, and with what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Than {
    /// The revision of its last change.
    ModRevision(u64),
    /// The revision of its creation.
    CreateRevision(u64),
    /// How often it was put since.
    Version(u64),
    /// Its bytes.
    Value(Blob),
    /// The lease that it is bound to; 0 is none.
    Lease(u64),
}

/// One read or write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Operation {
    /// A new version.
    Put {
        /// Of which key.
        key: Key,
        /// Its bytes.
        value: Blob,
        /// What it is bound to.
        lease: Binding,
        /// Answer with the version before.
        previous: bool,
    },
    /// No version any more.
    Delete(Keys),
    /// The state before.
    Get(Keys),
}

/// What a put does about leases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Binding {
    /// The key stays when leases end.
    None,
    /// The key ends with this one.
    Lease(LeaseId),
    /// As it was.
    Keep,
}

/// See [`Command::Acquire`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acquire {
    /// What.
    pub lock: Lock,
    /// By which lease.
    pub lease: Holder,
    /// How many may hold at a time; 1 makes a lock.
    pub permits: u32,
}

/// The lease of a contender.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Holder {
    /// One that exists.
    Lease(LeaseId),
    /// A new one, which lives this many milliseconds.
    Grant(u64),
}

/// Which contender is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Hold {
    /// The one of this lease.
    Lease(LeaseId),
    /// The one of this fence.
    Fence(u64),
}

/// How much there may be. They are part of the state: replicas that bound differently would differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bounds {
    /// Keys.
    pub keys_max: u64,
    /// Bytes of keys and values, live and in history.
    pub bytes_max: u64,
    /// Leases.
    pub leases_max: u64,
    /// Keys of one lease.
    pub lease_keys_max: u64,
    /// Contenders of one lock.
    pub contenders_max: u64,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds {
            keys_max: limits::KV_KEYS_MAX,
            bytes_max: limits::KV_BYTES_MAX,
            leases_max: limits::KV_LEASES_MAX,
            lease_keys_max: limits::KV_LEASE_KEYS_MAX,
            contenders_max: limits::KV_CONTENDERS_MAX,
        }
    }
}

/// One version of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// Its bytes.
    pub value: Blob,
    /// The revision at which the key came to be.
    pub create_revision: u64,
    /// The revision of this version.
    pub mod_revision: u64,
    /// 1 at creation, then one more with each put.
    pub version: u64,
    /// What it ends with.
    pub lease: Option<LeaseId>,
}

/// A key with a version of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// The key.
    pub key: Key,
    /// The version.
    pub held: Arc<Version>,
}

/// What comes of a [`Command`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// A transaction was done.
    Transacted {
        /// Whether its conditions held.
        succeeded: bool,
        /// The revision after it.
        revision: u64,
        /// One for each operation of the branch.
        results: List<Done, { limits::KV_TRANSACTION_OPERATIONS_MAX }>,
    },
    /// A lease exists.
    Granted {
        /// Which.
        lease: LeaseId,
        /// How long it lives.
        ttl_ms: u64,
    },
    /// Leases were renewed.
    Renewed {
        /// In the order asked: for how long; 0 for one that does not exist.
        ttls_ms: List<u64, { limits::KV_RENEWALS_MAX }>,
    },
    /// Leases ended, by a word or by time.
    Ended {
        /// The revision after it.
        revision: u64,
        /// How many leases.
        leases: u64,
        /// How many keys.
        deleted: u64,
        /// By a word, or by time.
        cause: Cause,
    },
    /// Versions were forgotten.
    Compacted {
        /// The revision through which.
        compact_revision: u64,
    },
    /// A contender stands in line.
    Contends {
        /// By which lease.
        lease: LeaseId,
        /// Its revision, which is its fence once it holds.
        fence: u64,
        /// Whether it holds already.
        held: bool,
    },
    /// A permit was given back, or a contender left.
    Left {
        /// The revision after it.
        revision: u64,
    },
    /// The bounds hold.
    Bounded,
    /// Nothing changed.
    Refused(Refusal),
    /// It was done at this revision; what it answered was too long to be kept for a retry.
    Forgotten {
        /// The revision after it.
        revision: u64,
    },
}

/// What came of one operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Done {
    /// A put.
    Put {
        /// The revision at which the key came to be.
        create_revision: u64,
        /// How often it was put since.
        version: u64,
        /// What it is bound to.
        lease: Option<LeaseId>,
        /// The version before, if it was asked for and there was one.
        previous: Option<Arc<Version>>,
    },
    /// A delete.
    Deleted {
        /// How many keys.
        count: u64,
    },
    /// A read.
    Got {
        /// In order of key.
        items: List<Item, { limits::KV_PAGE_ITEMS_MAX }>,
        /// Whether there are more than a page holds.
        more: bool,
    },
}

/// Why a command changed nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// It could never be right.
    #[error("{0}")]
    Invalid(Invalid),
    /// There is no such lease: it ended, or never was.
    #[error("lease {} does not exist; grant a new one", .0.0)]
    LeaseNotFound(LeaseId),
    /// A bound is reached.
    #[error("{} is reached; delete something first", .0.key())]
    LimitReached(Limit),
    /// The revision is still to come.
    #[error("the revision is {revision}; a later one cannot be compacted")]
    Future {
        /// The present one.
        revision: u64,
    },
    /// That contender is not in line.
    #[error("there is no such hold; it was released, or its lease ended")]
    NotHeld,
    /// It is our turn already: the line cannot be left without giving the permit back.
    #[error("the contender holds already")]
    Held,
    /// The semaphore is in use with another number of permits.
    #[error("the semaphore has {permits} permits while it is in use")]
    PermitsDiffer {
        /// How many it has.
        permits: u32,
    },
}

/// What is wrong with a command that could never be right.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Invalid {
    /// Not a command.
    #[error("the entry is no command of this version")]
    Senseless,
    /// Two writes of one branch meet.
    #[error("the key `{}` is written twice in one branch; write it once", .0.escape_ascii())]
    WrittenTwice(Blob),
    /// A value is too long.
    #[error("a value has at most {} bytes", limits::KV_VALUE_BYTES_MAX)]
    Value,
    /// A prefix or an end of a range is longer than a key.
    #[error("a prefix and the ends of a range have at most {} bytes", limits::KV_KEY_BYTES_MAX)]
    Keys,
    /// Too many operations.
    #[error("a transaction has at most {} operations", limits::KV_TRANSACTION_OPERATIONS_MAX)]
    Operations,
    /// Too many bytes.
    #[error("a transaction has at most {} bytes", limits::KV_TRANSACTION_BYTES_MAX)]
    Bytes,
    /// What its reads found is too much for one answer.
    #[error("the reads find more than {} bytes; list them in pages", limits::KV_RESULT_BYTES_MAX)]
    Results,
    /// A lease lives too short or too long.
    #[error("a lease lives from 1 s to 24 h")]
    Ttl,
    /// Too few or too many permits.
    #[error("a semaphore has 1 to {} permits", limits::KV_PERMITS_MAX)]
    Permits,
}

/// Which bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// See [`Bounds::keys_max`].
    Keys,
    /// See [`Bounds::bytes_max`].
    Bytes,
    /// See [`Bounds::leases_max`].
    Leases,
    /// See [`Bounds::lease_keys_max`].
    LeaseKeys,
    /// See [`Bounds::contenders_max`].
    Contenders,
}

impl Limit {
    /// Its key in a configuration.
    pub fn key(self) -> &'static str {
        match self {
            Limit::Keys => "kv.keys_max",
            Limit::Bytes => "kv.bytes_max",
            Limit::Leases => "kv.leases_max",
            Limit::LeaseKeys => "kv.lease_keys_max",
            Limit::Contenders => "kv.contenders_max",
        }
    }
}

impl Transaction {
    /// How many operations, of both branches.
    pub(super) fn operations(&self) -> usize {
        self.then.len() + self.otherwise.len()
    }

    /// How many bytes of keys and values.
    pub(super) fn bytes(&self) -> usize {
        let operations = self.then.iter().chain(self.otherwise.iter()).map(Operation::bytes);
        self.compare.iter().map(Compare::bytes).chain(operations).sum()
    }

    /// The longest value that would be written.
    pub(super) fn value_bytes(&self) -> usize {
        let operations = self.then.iter().chain(self.otherwise.iter());
        let values = operations.map(|operation| match operation {
            Operation::Put { value, .. } => value.len(),
            Operation::Delete(_) | Operation::Get(_) => 0,
        });
        values.max().unwrap_or(0)
    }

    /// Whether it could write.
    pub(super) fn writes(&self) -> bool {
        let mut operations = self.then.iter().chain(self.otherwise.iter());
        operations.any(|operation| !matches!(operation, Operation::Get(_)))
    }

    /// Why it could never be right, whatever the state.
    pub fn check(&self) -> Result<(), Invalid> {
        if self.operations() > limits::KV_TRANSACTION_OPERATIONS_MAX {
            return Err(Invalid::Operations);
        }
        if self.bytes() > limits::KV_TRANSACTION_BYTES_MAX {
            return Err(Invalid::Bytes);
        }
        for operation in self.then.iter().chain(self.otherwise.iter()) {
            operation.check()?;
        }
        self.check_branch(&self.then)?;
        self.check_branch(&self.otherwise)
    }

    /// A key may be written once: with two writes at one revision, which would it be?
    fn check_branch(&self, branch: &[Operation]) -> Result<(), Invalid> {
        let spans = branch.iter().filter_map(|operation| match operation {
            Operation::Put { key, .. } => Some(Keys::One(key.clone()).span(&self.namespace)),
            Operation::Delete(keys) => Some(keys.span(&self.namespace)),
            Operation::Get(_) => None,
        });
        let mut spans: Vec<_> = spans.filter(|span| span.start < span.end).collect();
        spans.sort();
        let neighbours = spans.iter().zip(spans.iter().skip(1));
        for (left, right) in neighbours {
            if left.overlaps(right) {
                return Err(Invalid::WrittenTwice(right.first_key()));
            }
        }
        Ok(())
    }
}

impl Compare {
    fn bytes(&self) -> usize {
        let value = match &self.than {
            Than::Value(value) => value.len(),
            Than::ModRevision(_) | Than::CreateRevision(_) | Than::Version(_) | Than::Lease(_) => 0,
        };
        self.key.as_slice().len() + value
    }
}

impl Operation {
    fn bytes(&self) -> usize {
        match self {
            Operation::Put { key, value, .. } => key.as_slice().len() + value.len(),
            Operation::Delete(keys) | Operation::Get(keys) => keys.bytes(),
        }
    }

    fn check(&self) -> Result<(), Invalid> {
        match self {
            Operation::Put { value, .. } if value.len() > limits::KV_VALUE_BYTES_MAX => {
                Err(Invalid::Value)
            }
            Operation::Put { .. } => Ok(()),
            Operation::Delete(keys) | Operation::Get(keys) if !keys.is_legal() => {
                Err(Invalid::Keys)
            }
            Operation::Delete(_) | Operation::Get(_) => Ok(()),
        }
    }
}

impl Outcome {
    /// What is kept of it for a retry: itself, or that it was done.
    pub fn kept(&self, revision: u64) -> Outcome {
        if crate::wire::encode(self).len() <= limits::KV_OUTCOME_KEPT_BYTES_MAX {
            self.clone()
        } else {
            Outcome::Forgotten { revision }
        }
    }
}

//! Every verb once: what may be asked of pools, and what is answered.
//!
//! HTTP, command line and chat only parse and print these.
//!
//! Absent on purpose: what can be read from the snapshot: a pick, a list, an explanation; and what a pool is, which
//! [`super::agreed`] changes.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::answer::Endpoint;
use super::said::NoticeSaid;
use super::{Definition, Name, Verdict};
use crate::ids::{CredentialHandle, Replica};
use crate::time::{Instant, UnixTime};
use crate::wire::Blob;

/// A pick that an external proxy was given: `<node>/<incarnation>/<number>` of whoever issued it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LeaseId {
    /// Who issued it.
    pub replica: Replica,
    /// From 1.
    pub number: u64,
}

/// What became of the request that a pick was for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The upstream answered, or could not be reached.
    Judged {
        /// With which status; 0 where there was no answer.
        status: u16,
        /// What that means.
        verdict: Verdict,
    },
    /// The caller went away first: says nothing about the member, but a probe is spent.
    Cancelled,
}

/// How the request of a lease ended, as its caller saw it. It is judged here, as the gateway judges.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// The upstream answered.
    Answered {
        /// 100..599.
        status: u16,
        /// Every line, in order.
        headers: Vec<(String, String)>,
        /// After content decoding; what is beyond 64 KiB is not seen.
        body: Blob,
        /// Which host of the provider.
        endpoint: Endpoint,
    },
    /// The caller went away first.
    Cancelled,
}

/// What a request teaches about the member that it was sent to. Nobody else is blamed, whoever is active by
/// now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// In which pool it was picked.
    pub pool: Name,
    /// Who was picked.
    pub credential: CredentialHandle,
    /// Under which epoch.
    pub epoch: u64,
    /// Which model was asked for, if that is known.
    pub model: Option<Arc<str>>,
    /// When the request left, on this node's clock.
    pub sent_at: Instant,
    /// Whether it was the probe of a half-open target, as the pick said.
    pub probe: bool,
    /// What became of it.
    pub outcome: Outcome,
}

/// A caller's wish.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// A pick took a probe slot: fleet-wide nobody else may. Sent, and answered [`Answer::Done`], before the
    /// request leaves; refused with [`Refusal::SlotTaken`], the caller picks again.
    Probing {
        /// In which pool.
        pool: Name,
        /// Whom.
        credential: CredentialHandle,
        /// Under which epoch.
        epoch: u64,
        /// For which model.
        model: Option<Arc<str>>,
    },
    /// A request found nobody to pick, where [`super::Refused::tells`] says that this is worth a word: it is
    /// demand for a try of whoever is half-open.
    Wanted {
        /// In which pool.
        pool: Name,
        /// For which model.
        model: Option<Arc<str>>,
    },
    /// What became of a request. A failure, and an `ok` where [`super::Picked::tells`] says so.
    Report(Box<Report>),
    /// A pick for a caller outside this process becomes a lease.
    Lease {
        /// In which pool.
        pool: Name,
        /// Whom.
        credential: CredentialHandle,
        /// Under which epoch.
        epoch: u64,
        /// For which model.
        model: Option<Arc<str>>,
        /// Whether the pick took a probe slot.
        probe: bool,
        /// What joins the leases of one request, ≤ 128 bytes.
        request: Option<Arc<str>>,
    },
    /// What became of a lease.
    ReportLease {
        /// Which.
        lease: LeaseId,
        /// How its request ended.
        ended: Ended,
    },
    /// What callers have defined, as the agreed store holds it: of an older revision it is passed over.
    Agreed {
        /// Of the store.
        revision: u64,
        /// Every pool; those of the document win.
        pools: BTreeMap<Name, Definition>,
    },
    /// A sink took what was told of a pool: the others need not tell it.
    Told {
        /// Of which pool.
        pool: Name,
        /// Of what: [`super::notice::Notice::what`].
        what: Arc<str>,
        /// What, and of when.
        said: NoticeSaid,
    },
    /// Park the active member and go on to the next.
    Rotate {
        /// Of which pool.
        pool: Name,
    },
    /// Set a member aside.
    Park {
        /// In which pool.
        pool: Name,
        /// Whom.
        member: CredentialHandle,
        /// For how long, ≤ 7 d.
        span: Duration,
    },
    /// Take it back.
    Unpark {
        /// In which pool.
        pool: Name,
        /// Whom.
        member: CredentialHandle,
    },
    /// Forget what a member rests on.
    Clear {
        /// In which pool.
        pool: Name,
        /// Whom.
        member: CredentialHandle,
        /// Of this model alone.
        model: Option<Arc<str>>,
        /// For the audit log.
        reason: String,
    },
    /// Let the next request try a member that rests.
    Probe {
        /// In which pool.
        pool: Name,
        /// Whom.
        member: CredentialHandle,
    },
    /// Let every credential of a provider rest.
    CoolProvider {
        /// Which.
        provider: String,
        /// For how long, 1 s..24 h.
        span: Duration,
        /// For the audit log.
        reason: String,
    },
    /// Forget what every credential of a provider rests on.
    RecoverProvider {
        /// Which.
        provider: String,
        /// For the audit log.
        reason: String,
    },
}

/// The answer to a [`Command`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Done, or it was so already.
    Done,
    /// A report was read.
    Reported {
        /// Whether it taught anything: one about a member that left, or of another epoch, does not.
        applied: bool,
    },
    /// The report of a lease was judged.
    Judged {
        /// What the answer means; `None`: the caller went away first.
        verdict: Option<Verdict>,
        /// Whether it taught anything.
        applied: bool,
    },
    /// The lease.
    Leased {
        /// Its name.
        lease: LeaseId,
        /// When it ends, Unix ms.
        expires_at: UnixTime,
    },
    /// The active member was parked.
    Rotated {
        /// Who it was.
        from: CredentialHandle,
        /// Who it is.
        to: CredentialHandle,
        /// Until when, Unix ms.
        parked_until: UnixTime,
    },
    /// These targets changed, as `<handle> <scope>`.
    Changed {
        /// In order.
        targets: Vec<String>,
    },
    /// No.
    Refused(Refusal),
}

/// Why a command was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// No such pool.
    #[error("no pool `{pool}`: `quorate pools` lists them")]
    NoPool {
        /// As asked.
        pool: Name,
    },
    /// The pool has no such member.
    #[error("pool `{pool}` has no member {member}")]
    NoMember {
        /// Which pool.
        pool: Name,
        /// As asked.
        member: CredentialHandle,
    },
    /// No credential of that provider is known.
    #[error("no credential of provider `{provider}` is known")]
    NoProvider {
        /// As asked.
        provider: String,
    },
    /// No such lease.
    #[error("no such lease: it was never issued here, or its node has restarted")]
    NoLease,
    /// The lease has ended.
    #[error("the lease has expired; nothing was learnt from the report")]
    LeaseExpired,
    /// Somebody else probes.
    #[error("another request is trying this member: pick again")]
    SlotTaken,
    /// Nothing rests.
    #[error("nothing of member {member} rests")]
    NotResting {
        /// Whom.
        member: CredentialHandle,
    },
    /// Nobody could take over.
    #[error("no other member of `{pool}` is servable")]
    NowhereToRotate {
        /// Which pool.
        pool: Name,
    },
    /// Only its document changes it.
    #[error("pool `{pool}` is defined by the configuration document; change it there")]
    ManagedByConfig {
        /// Which pool.
        pool: Name,
    },
    /// The name is taken.
    #[error("pool `{pool}` exists; change it with `set`")]
    PoolExists {
        /// Which pool.
        pool: Name,
    },
    /// A credential is in one pool at most.
    #[error("credential {member} is in pool `{pool}`; take it out there first")]
    CredentialPooled {
        /// Where.
        pool: Name,
        /// Whom.
        member: CredentialHandle,
    },
    /// A field could never be right.
    #[error("`{field}` {detail}")]
    Invalid {
        /// Which, dotted.
        field: String,
        /// What would be right.
        detail: String,
    },
    /// A bound is reached.
    #[error("this node holds {limit} {what} already")]
    Full {
        /// Of what.
        what: String,
        /// How many.
        limit: usize,
    },
}

impl Refusal {
    /// The word of the error surface.
    pub fn code(&self) -> &'static str {
        match self {
            Refusal::NoPool { .. }
            | Refusal::NoMember { .. }
            | Refusal::NoProvider { .. }
            | Refusal::NoLease => "not_found",
            Refusal::LeaseExpired => "lease_expired",
            Refusal::SlotTaken => "slot_taken",
            Refusal::NotResting { .. } => "not_resting",
            Refusal::NowhereToRotate { .. } => "nowhere_to_rotate",
            Refusal::ManagedByConfig { .. } => "managed_by_config",
            Refusal::PoolExists { .. } => "pool_exists",
            Refusal::CredentialPooled { .. } => "credential_pooled",
            Refusal::Invalid { .. } => "invalid_request",
            Refusal::Full { .. } => "limit_reached",
        }
    }
}

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Replica { node, incarnation } = &self.replica;
        write!(f, "{node}:{incarnation}:{}", self.number)
    }
}

impl FromStr for LeaseId {
    type Err = ();

    fn from_str(text: &str) -> Result<LeaseId, ()> {
        let mut parts = text.split(':');
        let mut part = || parts.next().ok_or(());
        let node = part()?.parse().map_err(|_| ())?;
        let incarnation = crate::ids::Incarnation(part()?.parse().map_err(|_| ())?);
        let number = part()?.parse().map_err(|_| ())?;
        let lease = LeaseId { replica: Replica { node, incarnation }, number };
        // One lease has one spelling.
        (lease.to_string() == text).then_some(lease).ok_or(())
    }
}

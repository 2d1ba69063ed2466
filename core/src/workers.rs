//! Which model servers can take a request.
//!
//! A worker is a model server behind one URL. Every node *claims* the workers it knows from its own
//! configuration or API, tells the others, probes what it hears of, and answers from a snapshot which
//! one should get the next request. What an owner says (published, versioned, believed once) and what
//! this node has seen (probes and outcomes, never published as somebody else's) stay apart.
//!
//! Reading order: a [`url`] is an identity, a [`spec`] says what a worker is, a [`claim`] is what one
//! owner publishes, [`status`] holds every legal change of a status, [`policy`] says whom we may call,
//! [`breaker`] ejects by outcomes, [`lane`] and [`route`] pick, [`view`] is what readers see, and
//! [`machine`] is the one `match` that holds them together.
//!
//! Invariants held here: W-1 to W-7, W-9 to W-11 and W-13 of the specification; each is named where it
//! is kept. W-8 and W-12 are properties of several nodes.
//!
//! Absent on purpose: the requests themselves, secrets (the host keeps them; here is only the prefix
//! they belong to), autoscaling, load on the wire, and any way to change another node's worker.

pub mod breaker;
pub mod claim;
pub mod lane;
pub mod machine;
pub mod policy;
pub mod route;
pub mod spec;
pub mod status;
pub mod url;
pub mod view;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};

use crate::ids::{NodeId, Notice, Replica, Ticket};
use crate::wire::Blob;
use crate::wire::segment::Key;

pub use claim::check_entry;
pub use lane::{Candidate, Lane};
pub use machine::Workers;
pub use policy::{Denied, Policy};
pub use route::{Explained, Load, NoWorker, Pick, PickPolicy, Query, explain, route};
pub use spec::{Kind, Mode, Spec};
pub use status::{Cause, Status};
pub use url::UrlError;
pub use view::{EntryView, Snapshot};

/// What a node registers, and whom it may call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// Whose addresses may be imported: CIDRs, host suffixes (`.gpu.internal`), or `*`.
    pub allow: Vec<String>,
    /// Looked at first; always holds link-local, multicast, unspecified, and foreign loopback.
    pub deny: Vec<String>,
    /// Whether every peer is on this machine, because they reach it by loopback.
    pub same_machine: bool,
    /// The set of workers that configuration registers.
    pub registrations: Vec<Spec>,
    /// URL prefixes for which the host holds a bearer key. The keys never come here.
    pub keys: BTreeSet<String>,
    /// How long the workers of a node that left without removing them stay.
    pub linger: Duration,
    /// After how long in `Failed` an owner removes its own worker; never without.
    pub remove_failed_after: Option<Duration>,
    /// Whether the host may show one series per worker.
    pub metrics_per_worker: bool,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            allow: policy::ALLOW_DEFAULT.map(str::to_owned).to_vec(),
            deny: Vec::new(),
            same_machine: false,
            registrations: Vec::new(),
            keys: BTreeSet::new(),
            linger: Duration::from_secs(600),
            remove_failed_after: None,
            metrics_per_worker: false,
        }
    }
}

/// What can happen to workers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// Register what configuration and the store name. Once, first.
    Start,
    /// The visible entry of a worker topic's map changed.
    Changed { owner: Replica, key: Key, value: Option<Blob> },
    /// An owner failed.
    Orphaned { owner: Replica },
    /// The view of an owner's map ended; `left` means that it said goodbye.
    Dropped { owner: Replica, left: bool, last: Vec<(Key, Blob)> },
    /// A newer life's map took the place of an older one's.
    Switched { old: Replica, new: Replica },
    /// What membership noticed (members are counted for the probe interval).
    Notice(Notice),
    /// From now on we are `replica`.
    Raised { replica: Replica },
    /// New settings were read: the set of registrations is applied.
    Reload { settings: Box<Settings> },
    /// This node leaves for good: every own claim is deleted at once.
    RemoveOwn,
    /// A probe ended.
    Probed { ticket: Ticket, outcome: ProbeOutcome, took: Duration },
    /// A caller's command.
    Command { ticket: Ticket, command: Command },
    /// `next_wake` has passed.
    Tick,
}

/// What workers ask of the world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Write (or delete) an entry of our own map.
    Write { key: Key, value: Option<Blob> },
    /// Everything this life owns has been written.
    Ready,
    /// Perform a probe; answered by `Probed`. `ticket` is numbered here, from 1.
    StartProbe { ticket: Ticket, probe: Probe },
    /// Keep (or, without a value, forget) a row of the local store. The key begins with `workers/`.
    Persist { key: String, value: Option<Blob> },
    /// A status changed.
    Announce(StatusChange),
    /// An entry changed in a way that a watcher sees.
    EntryChanged { url: Arc<str> },
    /// Answer a caller.
    Reply { ticket: Ticket, answer: Answer },
    /// A peer broke the rules.
    Misbehaved { peer: NodeId, what: &'static str },
}

/// How a probe ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProbeOutcome {
    /// A good answer.
    Good,
    /// No connection.
    Connect,
    /// No TLS.
    Tls,
    /// A status outside 200..299.
    Status,
    /// No answer in time.
    Timeout,
    /// An answer that is none.
    Protocol,
    /// No evidence: an address that policy denies.
    Policy,
    /// No evidence: this host could not even try.
    Local,
}

/// A probe to perform. The host resolves a name, checks *every* address with
/// [`Policy::admit_address`] of the newest [`Snapshot::policy`] and connects to a checked one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// The base URL, without a rank.
    pub url: Arc<str>,
    /// The host of `url` as policy knows it: no brackets around an IPv6 address.
    pub host: String,
    /// Appended to the base, for `http`.
    pub path: String,
    /// How to ask.
    pub mode: Mode,
    /// Counted from the send.
    pub timeout: Duration,
    /// Whether we claim the worker ourselves: then only `deny` counts, and loopback is fine.
    pub own: bool,
    /// The prefix whose bearer key goes along, if this node holds one.
    pub key: Option<String>,
}

/// Which worker a command means.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// The entry that has a claim of this id.
    Id(String),
    /// The entry of this URL, in any spelling; for `Remove` also the base URL of ranks.
    Url(String),
}

/// A caller's wish.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Claim a worker.
    Register {
        /// As it was given; [`Spec::from_request`] reads it strictly.
        spec: Box<Spec>,
        /// Whether the host holds a key for exactly this URL.
        keyed: bool,
    },
    /// Replace the spec of our claim.
    Replace {
        /// Whose.
        target: Target,
        /// `If-Match`.
        revision: Option<u64>,
        /// The whole spec.
        spec: Box<Spec>,
    },
    /// Merge into the spec of our claim (RFC 7396).
    Patch {
        /// Whose.
        target: Target,
        /// `If-Match`.
        revision: Option<u64>,
        /// What to merge.
        patch: serde_json::Map<String, serde_json::Value>,
    },
    /// Drain, wait for the greatest `drain_settle` of all, then delete our claims.
    Remove {
        /// Which; all of them or none.
        targets: Vec<Target>,
        /// `If-Match`, optional here.
        revision: Option<u64>,
        /// Skip the wait.
        now: bool,
    },
    /// Take our worker out.
    Drain(Target),
    /// Take it in again.
    Undrain(Target),
    /// Probe at once.
    ProbeNow(Target),
    /// Hide an entry on this node.
    Suppress(Target),
    /// Show it again.
    Unsuppress(Target),
    /// What became of a request that a pick sent there.
    Report {
        /// Where.
        target: Target,
        /// How it ended.
        outcome: Outcome,
    },
}

/// How a request to a worker ended, as far as the breaker cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Any answer but a 5xx.
    Good,
    /// Connection refused or broken, no first byte in time, 5xx.
    Bad,
    /// The caller gave up: says nothing.
    Cancelled,
}

/// The answer to a [`Command`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// The claim was made.
    Created(Arc<EntryView>),
    /// Done, or it was so already.
    Entry(Arc<EntryView>),
    /// Removal has begun (or had): these claims go after that long.
    Removing {
        /// Ids of the claims.
        ids: Vec<String>,
        /// Zero: they are gone.
        after: Duration,
    },
    /// Noted.
    Noted,
    /// No.
    Refused(Refusal),
}

/// Why a command was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// The body could never be right.
    #[error("{detail}")]
    InvalidRequest {
        /// Where, as a JSON pointer.
        pointer: String,
        /// What, without the value.
        detail: String,
    },
    /// The URL is none that a worker may have.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// A field of the spec is out of bounds.
    #[error(transparent)]
    Spec(#[from] spec::SpecError),
    /// Policy denies the address of our own worker.
    #[error("the policy of this node denies the address: rule `{rule}`")]
    UrlDenied {
        /// Which rule.
        rule: String,
    },
    /// We claim this URL already, with another spec.
    #[error("this node has the worker already; change it by its id")]
    WorkerExists {
        /// Of our claim.
        id: String,
    },
    /// Only its owner changes a claim.
    #[error("the worker belongs to {owner}; ask there")]
    OwnedBy {
        /// Whose it is.
        owner: NodeId,
        /// Whether the owner is a live member whose lease is fresh.
        alive: bool,
    },
    /// Removal has begun and cannot be taken back.
    #[error("the worker is being removed")]
    Removing,
    /// A bound is reached.
    #[error("this node holds {limit} already; remove some first")]
    WorkersFull {
        /// Which number.
        limit: usize,
    },
    /// No such entry.
    #[error("no such worker")]
    NotFound,
    /// Somebody changed it in between.
    #[error("the revision is {revision} now; read it again")]
    PreconditionFailed {
        /// The present one.
        revision: u64,
    },
    /// `If-Match` is missing.
    #[error("say which revision you change, with `If-Match`")]
    PreconditionRequired,
}

impl Refusal {
    /// The word of the error surface.
    pub fn code(&self) -> &'static str {
        match self {
            Refusal::InvalidRequest { .. } => "invalid_request",
            Refusal::Url(error) => error.code(),
            Refusal::Spec(error) => error.code(),
            Refusal::UrlDenied { .. } => "url_denied",
            Refusal::WorkerExists { .. } => "worker_exists",
            Refusal::OwnedBy { .. } => "owned_by",
            Refusal::Removing => "removing",
            Refusal::WorkersFull { .. } => "workers_full",
            Refusal::NotFound => "not_found",
            Refusal::PreconditionFailed { .. } => "precondition_failed",
            Refusal::PreconditionRequired => "precondition_required",
        }
    }
}

/// One change of a status: exactly one row of the table in [`status`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusChange {
    /// Of the chosen claim.
    pub id: Id,
    /// Canonical.
    pub url: Arc<str>,
    /// `None`: the entry is new.
    pub old: Option<Status>,
    /// `None`: the entry is gone.
    pub new: Option<Status>,
    /// Why.
    pub cause: Cause,
}

/// The id of a claim, a lower-case UUID.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Id(Arc<str>);

impl Id {
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Id, D::Error> {
        Ok(Id(Arc::from(String::deserialize(deserializer)?)))
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests;

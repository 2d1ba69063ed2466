//! Picking: a pure function of a snapshot, a query, a ticket and the loads.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Candidate, Id, Kind, Lane, Snapshot};
use crate::time::Instant;

/// What a caller wants served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Query {
    /// By id or alias.
    pub model: String,
    /// Which kind.
    #[serde(default = "regular")]
    pub kind: Kind,
    /// All must be equal.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// For `consistent_hash`, at most 256 bytes.
    #[serde(default)]
    pub key: Option<String>,
    /// How to choose.
    #[serde(default)]
    pub policy: PickPolicy,
    /// Claims whose workers are left out, at most 8.
    #[serde(default)]
    pub exclude: Vec<Id>,
}

fn regular() -> Kind {
    Kind::Regular
}

/// How to choose among candidates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PickPolicy {
    /// One after the other.
    RoundRobin,
    /// In exact proportion to the weights.
    Weighted,
    /// The least loaded of all.
    LeastLoad,
    /// The less loaded of two.
    #[default]
    PowerOfTwo,
    /// The same key goes to the same worker, unless that is too full.
    ConsistentHash,
}

/// What a pick needs to know of the moment. Any `Fn(&Candidate) -> u32` is one.
pub trait Load {
    /// Requests that this node has in flight there, plus what was reported in the last 10 s.
    fn of(&self, candidate: &Candidate) -> u32;

    /// The sum over the candidates of a lane, if the host keeps it; else it is summed where needed.
    fn total(&self, lane: &Lane) -> Option<u64> {
        let _ = lane;
        None
    }
}

impl<F: Fn(&Candidate) -> u32> Load for F {
    fn of(&self, candidate: &Candidate) -> u32 {
        self(candidate)
    }
}

/// The worker that takes the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pick<'a> {
    /// Which.
    pub candidate: &'a Candidate,
    /// Whether this request decides on an ejected worker: its outcome must be reported.
    pub trial: bool,
}

/// Nobody can take the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoWorker {
    /// Why.
    pub reason: Reason,
    /// When something may have changed: the next probe that is due among those asked for.
    pub retry_at: Option<Instant>,
}

/// Why nobody can.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Nobody serves this model.
    UnknownModel,
    /// Nobody who does is ready.
    NoneReady,
    /// All are draining.
    AllDraining,
    /// All that are ready have `max_in_flight` requests.
    AllFull,
    /// None that is ready has these labels.
    NoLabelMatch,
}

/// Picks a worker. `ticket` comes from the host's counter of the lane; equal arguments, equal picks.
pub fn route<'a>(
    snapshot: &'a Snapshot,
    query: &Query,
    ticket: u64,
    load: &impl Load,
) -> Result<Pick<'a>, NoWorker> {
    let _ = (snapshot, query, ticket, load);
    Err(NoWorker { reason: Reason::UnknownModel, retry_at: None })
}

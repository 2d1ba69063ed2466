//! What readers see: every entry, and the lanes to pick from.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::claim::{Admin, Statement};
use super::{Id, Kind, Lane, Policy, ProbeOutcome, Spec, Status};
use crate::ids::{Incarnation, NodeId};
use crate::time::{Instant, millis};

/// Every entry and every lane, as of one turn. Cheap to clone; what did not change is shared.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Entries by canonical URL.
    pub entries: imbl::OrdMap<Arc<str>, Arc<EntryView>>,
    /// The URL of the entry that has a claim of this id.
    pub ids: imbl::OrdMap<Id, Arc<str>>,
    /// Lanes by model, one map per [`Kind`] that is routed. The empty model is the lane of the workers
    /// that serve any.
    pub(super) lanes: [imbl::OrdMap<Arc<str>, Arc<Lane>>; 4],
    /// Whom we may call.
    pub policy: Arc<Policy>,
    /// Own workers that no probe has answered yet, for readiness.
    pub unanswered: usize,
    /// New ones refused at a bound, since the start.
    pub refused_full: u64,
    /// Whether a host may show a series for each worker.
    pub shows_each: bool,
}

impl Snapshot {
    /// The entry that has a claim of this id.
    pub fn by_id(&self, id: &str) -> Option<&Arc<EntryView>> {
        self.entries.get(self.ids.get(&Id::from(id))?)
    }

    /// The lane of a model and a kind.
    pub fn lane(&self, model: &str, kind: &Kind) -> Option<&Arc<Lane>> {
        self.lanes.get(lane_of(kind)?)?.get(model)
    }

    /// Every lane.
    pub fn lanes(&self) -> impl Iterator<Item = &Arc<Lane>> {
        self.lanes.iter().flat_map(imbl::OrdMap::values)
    }
}

/// The place of a kind among the lanes; none for a kind that is not routed.
pub(super) fn lane_of(kind: &Kind) -> Option<usize> {
    match kind {
        Kind::Regular => Some(0),
        Kind::Prefill => Some(1),
        Kind::Decode => Some(2),
        Kind::Encode => Some(3),
        Kind::Unknown(_) => None,
    }
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryView {
    /// Never used again for another entry of this node.
    pub number: u64,
    /// Of the chosen claim.
    pub id: Id,
    /// Canonical.
    pub url: Arc<str>,
    /// Its status.
    pub status: Status,
    /// What hides a Ready worker.
    pub overlay: Option<Overlay>,
    /// Since when it has this status.
    pub since: Instant,
    /// The owner whose spec and statements count.
    pub chosen: NodeId,
    /// All of them, by owner.
    pub claims: Vec<ClaimView>,
    /// What this node has seen.
    pub probe: ProbeView,
    /// Of the chosen claim.
    pub spec: Arc<Spec>,
    /// Whether our own claim is being removed.
    pub removing: bool,
}

impl EntryView {
    /// Our own claim's revision, or the chosen one's: what `ETag` says.
    pub fn revision(&self) -> u64 {
        let own = self.claims.iter().find(|claim| claim.lease == Lease::Own);
        let chosen = || self.claims.iter().find(|claim| claim.owner == self.chosen);
        own.or_else(chosen).map_or(0, |claim| claim.revision)
    }

    /// As the HTTP surface shows it at `now`.
    pub fn shown(&self, now: Instant) -> Shown<'_> {
        Shown {
            id: &self.id,
            url: &self.url,
            status: self.status,
            overlay: self.overlay.as_ref(),
            since_ms: millis(now.since(self.since)),
            chosen: &self.chosen,
            claims: &self.claims,
            probe: ShownProbe {
                last: self.probe.last,
                good: self.probe.good,
                bad: self.probe.bad,
                next_ms: self.probe.next.map(|next| millis(next.since(now))),
                latency_ms: self.probe.latency.map(millis),
            },
            spec: &self.spec,
            removing: self.removing,
        }
    }
}

/// Why a Ready worker is not routed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "name")]
pub enum Overlay {
    /// Policy denies its address.
    Refused {
        /// By which rule.
        rule: String,
    },
    /// An operator hid it here.
    Suppressed,
    /// Outcomes were bad.
    Ejected,
}

/// One owner's claim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimView {
    /// Its id.
    pub id: Id,
    /// Whose.
    pub owner: NodeId,
    /// Of which life.
    pub incarnation: Incarnation,
    /// How present the owner is.
    pub lease: Lease,
    /// What the owner last said of it.
    pub statement: Statement,
    /// The number of that statement.
    pub version: u64,
    /// Spec and admin writes.
    pub revision: u64,
    /// What the owner's operator wants.
    pub admin: Admin,
}

/// How present an owner is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lease {
    /// It is us.
    Own,
    /// Heard of within 30 s.
    Fresh,
    /// Silent.
    Stale,
    /// Given up for dead, not yet forgotten.
    Orphaned,
    /// Left without removing its workers.
    Lingering,
}

/// What this node's probes saw.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ProbeView {
    /// How the last one ended.
    pub last: Option<ProbeOutcome>,
    /// Good ones in a row.
    pub good: u32,
    /// Bad ones in a row.
    pub bad: u32,
    /// When the next is due; none: not probed here.
    pub next: Option<Instant>,
    /// How long the last answered one took.
    pub latency: Option<Duration>,
}

/// An entry in the shape of the HTTP surface.
#[derive(Debug, Serialize)]
pub struct Shown<'a> {
    id: &'a Id,
    url: &'a Arc<str>,
    status: Status,
    overlay: Option<&'a Overlay>,
    since_ms: u64,
    chosen: &'a NodeId,
    claims: &'a [ClaimView],
    probe: ShownProbe,
    spec: &'a Spec,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    removing: bool,
}

#[derive(Debug, Serialize)]
struct ShownProbe {
    last: Option<ProbeOutcome>,
    good: u32,
    bad: u32,
    next_ms: Option<u64>,
    latency_ms: Option<u64>,
}

//! The five statuses of an entry, and why they change.

use serde::{Deserialize, Serialize};

/// Whether an entry can take requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// New, not yet seen well.
    Pending,
    /// Routable, unless an overlay covers it.
    Ready,
    /// Seen ill.
    NotReady,
    /// Ill for long, probed rarely.
    Failed,
    /// Taken out by an operator.
    Draining,
}

/// Why a status changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// Our own first claim (T1, T2).
    Registered,
    /// The first claim of somebody else (T3, T4).
    Imported,
    /// Good probes (T5, T8, T10).
    ProbesGood,
    /// Bad probes (T7, T9).
    ProbesBad,
    /// Many probes, never well (T6).
    Unproven,
    /// A new statement of the chosen claim (T11, T14).
    Statement,
    /// The owner's lease turned stale (T15).
    OwnerSilent,
    /// An operator (T16).
    Drained,
    /// An operator, or another claim took over (T17).
    Undrained,
    /// A new spec turned probing off or handed it to the owner (T18, T19).
    Spec,
    /// The last claim went (T20).
    Removed,
}

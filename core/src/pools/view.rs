//! What readers see of a pool beside what a pick needs. Times are Unix ms.
//!
//! Absent on purpose: credentials' ids and anything else that only the record's own surface shows.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Class;
use crate::ids::{CredentialHandle, NodeId};

/// How a member stands, in the lane for requests of no model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Takes the next request.
    Active,
    /// Could.
    Ready,
    /// Set aside by an operator.
    Parked,
    /// Rests.
    Cooling,
    /// May be tried once.
    HalfOpen,
    /// Came back a moment ago.
    Ramping,
    /// Switched off, in need of a person, or not known.
    Disabled,
}

impl State {
    /// All of them, in order.
    pub const ALL: [State; 7] = [
        State::Active,
        State::Ready,
        State::Parked,
        State::Cooling,
        State::HalfOpen,
        State::Ramping,
        State::Disabled,
    ];

    /// The word on every surface.
    pub fn name(self) -> &'static str {
        match self {
            State::Active => "active",
            State::Ready => "ready",
            State::Parked => "parked",
            State::Cooling => "cooling",
            State::HalfOpen => "half_open",
            State::Ramping => "ramping",
            State::Disabled => "disabled",
        }
    }
}

/// A member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MemberView {
    /// Which credential.
    pub handle: CredentialHandle,
    /// Under which epoch.
    pub epoch: u64,
    /// How it stands.
    pub state: State,
    /// Until when an operator set it aside.
    pub parked_until: Option<u64>,
    /// When it is tried next, or is back.
    pub next_probe: Option<u64>,
    /// Everything that covers it.
    pub rests: Vec<RestView>,
}

/// Something of a member that rests, or may be tried once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RestView {
    /// Of whom and for which models, as it is shared.
    pub target: Arc<str>,
    /// For which models: `*`, `m:<model>`, `f:<family>`.
    pub scope: Arc<str>,
    /// Why.
    pub class: Class,
    /// Where the wait stood.
    pub source: Arc<str>,
    /// Whether one request may try it.
    pub half_open: bool,
    /// Until when.
    pub rest_until: u64,
    /// Until when the upstream said.
    pub stated_reset: Option<u64>,
    /// When it began.
    pub since: u64,
    /// The how manyth failure in a row without a stated wait.
    pub n: u32,
    /// The head of a hash over status and source.
    pub evidence: Arc<str>,
    /// Which node saw it.
    pub seen_by: NodeId,
}

/// A lane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LaneView {
    /// Of which model; empty: all without a lane of their own.
    pub model: Arc<str>,
    /// Who is active.
    pub active: Option<CredentialHandle>,
    /// Since when.
    pub active_since: u64,
    /// Instead of whom, and because of what.
    pub instead_of: Option<(CredentialHandle, Option<Class>)>,
    /// Since when nothing is servable.
    pub exhausted_since: Option<u64>,
    /// Whether that was an edge: a model's lane is silent while the common one is exhausted.
    pub is_told: bool,
    /// How many are servable.
    pub servable: usize,
    /// When it is worth asking again.
    pub retry_at: Option<u64>,
    /// Every member, and why it would be skipped.
    pub members: Vec<(CredentialHandle, Option<Skipped>)>,
}

/// Why a member is skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "reason")]
pub enum Skipped {
    /// Switched off, in need of a person, or not known.
    Disabled,
    /// It rests.
    Cooling {
        /// Until when.
        until: u64,
        /// Why.
        class: Class,
    },
    /// It may be tried once.
    HalfOpen {
        /// From when on.
        due: u64,
        /// Why.
        class: Class,
    },
    /// An operator set it aside.
    Parked {
        /// Until when.
        until: u64,
    },
}

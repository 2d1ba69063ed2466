//! The values of the raft engine as plain structures with the accessors that it calls.
//!
//! Absent on purpose: generated code, and the tool that would generate it.

pub mod eraftpb;

use std::borrow::Cow;
use std::collections::BTreeSet;

use eraftpb::{
    ConfChange, ConfChangeSingle, ConfChangeTransition, ConfChangeType, ConfChangeV2, ConfState,
};

/// What the engine imports in one go.
pub mod prelude {
    pub use crate::eraftpb::{
        ConfChange, ConfChangeSingle, ConfChangeTransition, ConfChangeType, ConfChangeV2,
        ConfState, Entry, EntryType, HardState, Message, MessageType, Snapshot, SnapshotMetadata,
    };
}

/// Either form of a change of configuration.
pub trait ConfChangeI {
    /// The old form, if it is that.
    fn as_v1(&self) -> Option<&ConfChange>;
    /// The new form.
    fn into_v2(self) -> ConfChangeV2;
    /// The new form, made if need be.
    fn as_v2(&self) -> Cow<'_, ConfChangeV2>;
}

impl ConfChangeI for ConfChange {
    fn as_v1(&self) -> Option<&ConfChange> {
        Some(self)
    }

    fn into_v2(self) -> ConfChangeV2 {
        let step = new_conf_change_single(self.node_id, self.get_change_type());
        ConfChangeV2 { changes: vec![step], context: self.context, ..ConfChangeV2::default() }
    }

    fn as_v2(&self) -> Cow<'_, ConfChangeV2> {
        Cow::Owned(self.clone().into_v2())
    }
}

impl ConfChangeI for ConfChangeV2 {
    fn as_v1(&self) -> Option<&ConfChange> {
        None
    }

    fn into_v2(self) -> ConfChangeV2 {
        self
    }

    fn as_v2(&self) -> Cow<'_, ConfChangeV2> {
        Cow::Borrowed(self)
    }
}

impl ConfChangeV2 {
    /// Whether it goes through a joint configuration, and if so whether that ends by itself. One step
    /// needs none unless it asks for it.
    pub fn enter_joint(&self) -> Option<bool> {
        match self.get_transition() {
            ConfChangeTransition::Auto if self.changes.len() <= 1 => None,
            ConfChangeTransition::Auto | ConfChangeTransition::Implicit => Some(true),
            ConfChangeTransition::Explicit => Some(false),
        }
    }

    /// Whether it ends a joint configuration.
    pub fn leave_joint(&self) -> bool {
        self.get_transition() == ConfChangeTransition::Auto && self.changes.is_empty()
    }
}

/// One step of a change.
pub fn new_conf_change_single(node_id: u64, change_type: ConfChangeType) -> ConfChangeSingle {
    ConfChangeSingle { change_type, node_id }
}

/// Whether two configurations are the same, whatever the order of their lists.
pub fn conf_state_eq(left: &ConfState, right: &ConfState) -> bool {
    let lists = |state: &ConfState| {
        let lists =
            [&state.voters, &state.learners, &state.voters_outgoing, &state.learners_next];
        lists.map(|list| list.iter().copied().collect::<BTreeSet<u64>>())
    };
    lists(left) == lists(right) && left.auto_leave == right.auto_leave
}

impl<Voters, Learners> From<(Voters, Learners)> for ConfState
where
    Voters: IntoIterator<Item = u64>,
    Learners: IntoIterator<Item = u64>,
{
    fn from((voters, learners): (Voters, Learners)) -> ConfState {
        ConfState {
            voters: voters.into_iter().collect(),
            learners: learners.into_iter().collect(),
            ..ConfState::default()
        }
    }
}

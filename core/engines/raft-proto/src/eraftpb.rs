//! Messages, entries, snapshots and configurations, by the names that the engine gives them.

use protobuf::{Message as Codec, ProtobufError};

/// Accessors of fields: `get_x`, `mut_x`, `set_x`, `take_x`.
macro_rules! accessors {
    ($($of:ident { $($field:ident: $type:ty, $get:ident $mut:ident $set:ident $take:ident;)+ })+) => {
        $(impl $of {
            $(
                #[doc = concat!("Reads `", stringify!($field), "`.")]
                pub fn $get(&self) -> &$type {
                    &self.$field
                }

                #[doc = concat!("`", stringify!($field), "`, to be changed.")]
                pub fn $mut(&mut self) -> &mut $type {
                    &mut self.$field
                }

                #[doc = concat!("Replaces `", stringify!($field), "`.")]
                pub fn $set(&mut self, value: $type) {
                    self.$field = value;
                }

                #[doc = concat!("Takes `", stringify!($field), "` out.")]
                pub fn $take(&mut self) -> $type {
                    std::mem::take(&mut self.$field)
                }
            )+
        })+
    };
}

/// Accessors of numbers and kinds: `get_x`, `set_x`.
macro_rules! numbers {
    ($($of:ident { $($field:ident: $type:ty, $get:ident $set:ident;)+ })+) => {
        $(impl $of {
            $(
                #[doc = concat!("Reads `", stringify!($field), "`.")]
                pub fn $get(&self) -> $type {
                    self.$field
                }

                #[doc = concat!("Replaces `", stringify!($field), "`.")]
                pub fn $set(&mut self, value: $type) {
                    self.$field = value;
                }
            )+
        })+
    };
}

macro_rules! values {
    ($($(#[$doc:meta])* $name:ident { $($field:ident: $type:ty,)+ })+) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Clone, PartialEq, Default)]
            pub struct $name {
                $(#[doc = concat!("`", stringify!($field), "` of the engine.")] pub $field: $type,)+
            }
        )+
    };
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident { $first:ident, $($kind:ident,)* })+) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
            pub enum $name {
                #[default]
                #[doc = concat!("`", stringify!($first), "` of the engine.")]
                $first,
                $(#[doc = concat!("`", stringify!($kind), "` of the engine.")] $kind,)*
            }
        )+
    };
}

kinds! {
    /// What an entry holds.
    EntryType { EntryNormal, EntryConfChange, EntryConfChangeV2, }
    /// What a message says.
    MessageType {
        MsgHup, MsgBeat, MsgPropose, MsgAppend, MsgAppendResponse, MsgRequestVote,
        MsgRequestVoteResponse, MsgSnapshot, MsgHeartbeat, MsgHeartbeatResponse, MsgUnreachable,
        MsgSnapStatus, MsgCheckQuorum, MsgTransferLeader, MsgTimeoutNow, MsgReadIndex,
        MsgReadIndexResp, MsgRequestPreVote, MsgRequestPreVoteResponse,
    }
    /// How a change of configuration comes into force.
    ConfChangeTransition { Auto, Implicit, Explicit, }
    /// One step of a change.
    ConfChangeType { AddNode, RemoveNode, AddLearnerNode, }
}

values! {
    /// An entry of the log.
    Entry {
        entry_type: EntryType, term: u64, index: u64, data: Vec<u8>, context: Vec<u8>,
        sync_log: bool,
    }
    /// What a snapshot is of.
    SnapshotMetadata { conf_state: ConfState, index: u64, term: u64, }
    /// A snapshot.
    Snapshot { data: Vec<u8>, metadata: SnapshotMetadata, }
    /// A message.
    Message {
        msg_type: MessageType, to: u64, from: u64, term: u64, log_term: u64, index: u64,
        entries: Vec<Entry>, commit: u64, commit_term: u64, snapshot: Snapshot,
        request_snapshot: u64, reject: bool, reject_hint: u64, context: Vec<u8>,
        deprecated_priority: u64, priority: i64,
    }
    /// Term, vote and commit.
    HardState { term: u64, vote: u64, commit: u64, }
    /// A configuration.
    ConfState {
        voters: Vec<u64>, learners: Vec<u64>, voters_outgoing: Vec<u64>, learners_next: Vec<u64>,
        auto_leave: bool,
    }
    /// A change, old form.
    ConfChange { change_type: ConfChangeType, node_id: u64, context: Vec<u8>, id: u64, }
    /// A step of a change.
    ConfChangeSingle { change_type: ConfChangeType, node_id: u64, }
    /// A change.
    ConfChangeV2 {
        transition: ConfChangeTransition, changes: Vec<ConfChangeSingle>, context: Vec<u8>,
    }
}

accessors! {
    Entry {
        data: Vec<u8>, get_data mut_data set_data take_data;
        context: Vec<u8>, get_context mut_context set_context take_context;
    }
    SnapshotMetadata {
        conf_state: ConfState, get_conf_state mut_conf_state set_conf_state take_conf_state;
    }
    Snapshot {
        data: Vec<u8>, get_data mut_data set_data take_data;
        metadata: SnapshotMetadata, get_metadata mut_metadata set_metadata take_metadata;
    }
    Message {
        entries: Vec<Entry>, get_entries mut_entries set_entries take_entries;
        snapshot: Snapshot, get_snapshot mut_snapshot set_snapshot take_snapshot;
        context: Vec<u8>, get_context mut_context set_context take_context;
    }
    ConfState {
        voters: Vec<u64>, get_voters mut_voters set_voters take_voters;
        learners: Vec<u64>, get_learners mut_learners set_learners take_learners;
        voters_outgoing: Vec<u64>,
            get_voters_outgoing mut_voters_outgoing set_voters_outgoing take_voters_outgoing;
        learners_next: Vec<u64>,
            get_learners_next mut_learners_next set_learners_next take_learners_next;
    }
    ConfChangeV2 {
        changes: Vec<ConfChangeSingle>, get_changes mut_changes set_changes take_changes;
    }
}

numbers! {
    Entry {
        entry_type: EntryType, get_entry_type set_entry_type;
        term: u64, get_term set_term;
        index: u64, get_index set_index;
    }
    SnapshotMetadata { index: u64, get_index set_index; term: u64, get_term set_term; }
    Message {
        msg_type: MessageType, get_msg_type set_msg_type;
        to: u64, get_to set_to;
        from: u64, get_from set_from;
        term: u64, get_term set_term;
        log_term: u64, get_log_term set_log_term;
        index: u64, get_index set_index;
        commit: u64, get_commit set_commit;
        commit_term: u64, get_commit_term set_commit_term;
        request_snapshot: u64, get_request_snapshot set_request_snapshot;
        reject: bool, get_reject set_reject;
        reject_hint: u64, get_reject_hint set_reject_hint;
        deprecated_priority: u64, get_deprecated_priority set_deprecated_priority;
        priority: i64, get_priority set_priority;
    }
    HardState {
        term: u64, get_term set_term;
        vote: u64, get_vote set_vote;
        commit: u64, get_commit set_commit;
    }
    ConfState { auto_leave: bool, get_auto_leave set_auto_leave; }
    ConfChange {
        change_type: ConfChangeType, get_change_type set_change_type;
        node_id: u64, get_node_id set_node_id;
    }
    ConfChangeSingle {
        change_type: ConfChangeType, get_change_type set_change_type;
        node_id: u64, get_node_id set_node_id;
    }
    ConfChangeV2 { transition: ConfChangeTransition, get_transition set_transition; }
}

impl Snapshot {
    /// Whether it is none.
    pub fn is_empty(&self) -> bool {
        self.metadata.index == 0
    }
}

/// Entries are weighed against the engine's bounds, nothing more.
impl Codec for Entry {
    fn merge_from_bytes(&mut self, _bytes: &[u8]) -> Result<(), ProtobufError> {
        Err(ProtobufError)
    }

    fn compute_size(&self) -> u32 {
        let bytes = ENTRY_BYTES + self.data.len() + self.context.len();
        u32::try_from(bytes).unwrap_or(u32::MAX)
    }

    fn write_to_bytes(&self) -> Result<Vec<u8>, ProtobufError> {
        Err(ProtobufError)
    }
}

/// The engine writes a change into an entry and reads it again in the same call.
impl Codec for ConfChangeV2 {
    fn merge_from_bytes(&mut self, bytes: &[u8]) -> Result<(), ProtobufError> {
        *self = ConfChangeV2::default();
        let Some((transition, steps)) = bytes.split_first() else { return Ok(()) };
        self.transition = match transition {
            0 => ConfChangeTransition::Auto,
            1 => ConfChangeTransition::Implicit,
            2 => ConfChangeTransition::Explicit,
            _ => return Err(ProtobufError),
        };
        let (steps, rest) = steps.as_chunks::<STEP_BYTES>();
        if !rest.is_empty() {
            return Err(ProtobufError);
        }
        for [kind, node @ ..] in steps {
            let change_type = match kind {
                0 => ConfChangeType::AddNode,
                1 => ConfChangeType::RemoveNode,
                2 => ConfChangeType::AddLearnerNode,
                _ => return Err(ProtobufError),
            };
            let node_id = u64::from_le_bytes(*node);
            self.changes.push(ConfChangeSingle { change_type, node_id });
        }
        Ok(())
    }

    fn compute_size(&self) -> u32 {
        u32::try_from(1 + self.changes.len() * STEP_BYTES).unwrap_or(u32::MAX)
    }

    fn write_to_bytes(&self) -> Result<Vec<u8>, ProtobufError> {
        if *self == ConfChangeV2::default() {
            return Ok(Vec::new());
        }
        let mut bytes = vec![self.transition as u8];
        for step in &self.changes {
            bytes.push(step.change_type as u8);
            bytes.extend_from_slice(&step.node_id.to_le_bytes());
        }
        Ok(bytes)
    }
}

/// The old form is not used here.
impl Codec for ConfChange {
    fn merge_from_bytes(&mut self, _bytes: &[u8]) -> Result<(), ProtobufError> {
        Err(ProtobufError)
    }

    fn compute_size(&self) -> u32 {
        0
    }

    fn write_to_bytes(&self) -> Result<Vec<u8>, ProtobufError> {
        Err(ProtobufError)
    }
}

const ENTRY_BYTES: usize = 12;
const STEP_BYTES: usize = 9;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_read_as_it_was_written() {
        let step = |change_type, node_id| ConfChangeSingle { change_type, node_id };
        let changes = vec![
            step(ConfChangeType::AddNode, 1),
            step(ConfChangeType::AddLearnerNode, u64::MAX),
            step(ConfChangeType::RemoveNode, 3),
        ];
        for change in [
            ConfChangeV2::default(),
            ConfChangeV2 { changes: changes.clone(), ..ConfChangeV2::default() },
            ConfChangeV2 { transition: ConfChangeTransition::Explicit, changes, context: vec![] },
        ] {
            let mut read = ConfChangeV2::default();
            read.merge_from_bytes(&change.write_to_bytes().expect("bytes")).expect("a change");
            assert_eq!(read, change);
        }
        assert!(ConfChangeV2::default().merge_from_bytes(&[0, 1]).is_err());
        assert!(ConfChangeV2::default().merge_from_bytes(&[9]).is_err());
    }
}

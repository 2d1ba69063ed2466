//! Our values and the engine's, one into the other.
//!
//! What the engine encodes itself, the content of a configuration change, is dropped as soon as it has read
//! it and rebuilt from our own encoding: none of its bytes crosses the network or the disk.

use raft::eraftpb::{self, ConfChangeV2, ConfState, EntryType, MessageType};

use super::mirror::ImageHead;
use super::{Configuration, Point};
use crate::ids::MemberId;
use crate::wire::raft::{Change, ChangeStep, Entry, Genesis, Message, MessageKind, SnapshotId};
use crate::wire::{Blob, List};

const KINDS: [(MessageKind, MessageType); 12] = [
    (MessageKind::Append, MessageType::MsgAppend),
    (MessageKind::AppendReply, MessageType::MsgAppendResponse),
    (MessageKind::Vote, MessageType::MsgRequestVote),
    (MessageKind::VoteReply, MessageType::MsgRequestVoteResponse),
    (MessageKind::PreVote, MessageType::MsgRequestPreVote),
    (MessageKind::PreVoteReply, MessageType::MsgRequestPreVoteResponse),
    (MessageKind::Heartbeat, MessageType::MsgHeartbeat),
    (MessageKind::HeartbeatReply, MessageType::MsgHeartbeatResponse),
    (MessageKind::Snapshot, MessageType::MsgSnapshot),
    (MessageKind::TimeoutNow, MessageType::MsgTimeoutNow),
    (MessageKind::ReadIndex, MessageType::MsgReadIndex),
    (MessageKind::ReadIndexReply, MessageType::MsgReadIndexResp),
];

/// A message that the engine wants sent. Its local messages and its own way to forward proposals have no
/// form on the wire.
pub(super) fn message_out(genesis: Genesis, mut message: eraftpb::Message) -> Option<Message> {
    let sort = message.get_msg_type();
    let (kind, _) = KINDS.into_iter().find(|(_, of)| *of == sort)?;
    let entries = message.take_entries();
    let reads = matches!(kind, MessageKind::ReadIndex | MessageKind::ReadIndexReply);
    let context = match entries.first() {
        Some(entry) if reads => Blob::from(entry.data.as_slice()),
        _ => Blob::from(message.context.as_slice()),
    };
    let entries: Vec<Entry> =
        if reads { Vec::new() } else { entries.iter().map(entry_out).collect() };
    let meta = message.get_snapshot().get_metadata();
    let number = image_number(message.get_snapshot().get_data());
    let snapshot = SnapshotId { index: meta.index, term: meta.term, number };
    Some(Message {
        genesis,
        kind,
        from: MemberId(message.from),
        to: MemberId(message.to),
        term: message.term,
        log_term: message.log_term,
        index: message.index,
        entries: entries.into(),
        commit: message.commit,
        commit_term: message.commit_term,
        reject: message.reject,
        reject_hint: message.reject_hint,
        context,
        snapshot: (kind == MessageKind::Snapshot).then_some(snapshot),
        priority: message.priority,
    })
}

/// A message for the engine; `image` is what a snapshot message is about.
pub(super) fn message_in(message: &Message, image: Option<&ImageHead>) -> eraftpb::Message {
    let mut made = eraftpb::Message::default();
    if let Some((_, sort)) = KINDS.into_iter().find(|(kind, _)| *kind == message.kind) {
        made.set_msg_type(sort);
    }
    made.from = message.from.0;
    made.to = message.to.0;
    made.term = message.term;
    made.log_term = message.log_term;
    made.index = message.index;
    made.commit = message.commit;
    made.commit_term = message.commit_term;
    made.reject = message.reject;
    made.reject_hint = message.reject_hint;
    made.priority = message.priority;
    if matches!(message.kind, MessageKind::ReadIndex | MessageKind::ReadIndexReply) {
        let entry = eraftpb::Entry { data: message.context.to_vec(), ..Default::default() };
        made.set_entries(vec![entry]);
    } else {
        made.context = message.context.to_vec();
        let entries: Vec<_> = message.entries.iter().cloned().map(entry_in).collect();
        made.set_entries(entries);
    }
    if let Some(image) = image {
        made.set_snapshot(head_out(image));
    }
    made
}

pub(super) fn entry_out(entry: &eraftpb::Entry) -> Entry {
    let configuration = entry.get_entry_type() == EntryType::EntryConfChangeV2;
    let payload = if configuration { &entry.context } else { &entry.data };
    Entry {
        term: entry.term,
        index: entry.index,
        configuration,
        payload: Blob::from(payload.as_slice()),
    }
}

pub(super) fn entry_in(entry: Entry) -> eraftpb::Entry {
    let mut made = eraftpb::Entry { term: entry.term, index: entry.index, ..Default::default() };
    if entry.configuration {
        made.set_entry_type(EntryType::EntryConfChangeV2);
        made.context = entry.payload.to_vec();
    } else {
        made.data = entry.payload.to_vec();
    }
    made
}

/// The engine's form of a change. One that is to be left again later is *explicit*: whoever leads when it
/// is applied ends it, so that a change of leader in between cannot leave it open.
pub(super) fn change_out(change: &Change) -> ConfChangeV2 {
    let mut made = ConfChangeV2::default();
    if change.joint {
        made.set_transition(eraftpb::ConfChangeTransition::Explicit);
    }
    let singles = change.steps.iter().map(|step| {
        let (sort, member) = match step {
            ChangeStep::Voter(member) => (eraftpb::ConfChangeType::AddNode, member),
            ChangeStep::Learner(member) => (eraftpb::ConfChangeType::AddLearnerNode, member),
            ChangeStep::Remove(member) => (eraftpb::ConfChangeType::RemoveNode, member),
        };
        let mut single = eraftpb::ConfChangeSingle::default();
        single.set_change_type(sort);
        single.node_id = member.0;
        single
    });
    made.set_changes(singles.collect());
    made
}

pub(super) fn configuration_out(configuration: &Configuration) -> ConfState {
    let ids = |members: &std::collections::BTreeSet<MemberId>| -> Vec<u64> {
        members.iter().map(|member| member.0).collect()
    };
    let mut state = ConfState::default();
    state.set_voters(ids(&configuration.voters));
    state.set_learners(ids(&configuration.learners));
    state.set_voters_outgoing(ids(&configuration.outgoing));
    state.set_learners_next(ids(&configuration.learners_next));
    state
}

/// Sets have an order of their own: the engine's depends on its hash maps.
pub(super) fn configuration_in(state: &ConfState) -> Configuration {
    let set = |ids: &[u64]| ids.iter().copied().map(MemberId).collect();
    Configuration {
        voters: set(state.get_voters()),
        outgoing: set(state.get_voters_outgoing()),
        learners: set(state.get_learners()),
        learners_next: set(state.get_learners_next()),
    }
}

pub(super) fn head_out(image: &ImageHead) -> eraftpb::Snapshot {
    let Point { index, term } = image.point;
    let mut meta = eraftpb::SnapshotMetadata { index, term, ..Default::default() };
    meta.set_conf_state(configuration_out(&image.configuration));
    let mut snapshot = eraftpb::Snapshot::default();
    snapshot.set_metadata(meta);
    snapshot.set_data(image.number.to_le_bytes().to_vec());
    snapshot
}

pub(super) fn head_in(snapshot: &eraftpb::Snapshot) -> ImageHead {
    let meta = snapshot.get_metadata();
    ImageHead {
        point: Point { index: meta.index, term: meta.term },
        number: image_number(snapshot.get_data()),
        configuration: configuration_in(meta.get_conf_state()),
    }
}

fn image_number(data: &[u8]) -> u64 {
    data.first_chunk::<8>().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// An entry's list within a message never exceeds its bound: the engine cuts by bytes, this by count.
pub(super) fn trim(message: &mut Message) {
    let List(entries) = &mut message.entries;
    entries.truncate(crate::limits::RAFT_MESSAGE_ENTRIES_MAX);
}

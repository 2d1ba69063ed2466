//! What a peer's message must be before the engine sees it (rule 7).
//!
//! The engine was written for peers that never lie; a false index or an absurd term ends its process.

use raft::{RawNode, StateRole};

use super::mirror::{ImageHead, Mirror};
use crate::wire::raft::{Message, MessageKind};

/// Terms and indices beyond this leave no room for the next.
const PLAUSIBLE_MAX: u64 = 1 << 56;

/// The error is the rule that `message` breaks.
pub(super) fn message(
    raw: &RawNode<Mirror>,
    message: &Message,
    image: Option<&ImageHead>,
) -> Result<(), &'static str> {
    let raft = &raw.raft;
    let numbers = [
        message.term,
        message.log_term,
        message.index,
        message.commit,
        message.commit_term,
        message.reject_hint,
    ];
    if numbers.iter().any(|number| *number > PLAUSIBLE_MAX) {
        return Err("a term or an index of the log that is absurd");
    }
    if message.to.0 != raft.id || message.from.0 == raft.id || message.from.0 == 0 {
        return Err("a message of the log with a wrong address");
    }
    let local = message.kind == MessageKind::ReadIndex;
    if local != (message.term == 0) {
        return Err("a message of the log without a term");
    }
    let carries = matches!(message.kind, MessageKind::Append);
    if !carries && !message.entries.is_empty() {
        return Err("entries in a message that carries none");
    }
    if (message.kind == MessageKind::Snapshot) != image.is_some() {
        return Err("a snapshot in a message that carries none");
    }
    let last = raft.raft_log.last_index();
    match message.kind {
        MessageKind::Append => entries(message),
        MessageKind::Heartbeat if message.term >= raft.term && message.commit > last => {
            Err("a commit index beyond the log")
        }
        MessageKind::AppendReply
            if raft.state == StateRole::Leader
                && message.term == raft.term
                && !message.reject
                && message.index > last =>
        {
            Err("an acknowledgement beyond the log")
        }
        MessageKind::Snapshot => match image {
            Some(image) if image.point.index == 0 || image.point.term > message.term => {
                Err("a snapshot of the future")
            }
            _ => Ok(()),
        },
        MessageKind::Heartbeat
        | MessageKind::AppendReply
        | MessageKind::Vote
        | MessageKind::VoteReply
        | MessageKind::PreVote
        | MessageKind::PreVoteReply
        | MessageKind::HeartbeatReply
        | MessageKind::TimeoutNow
        | MessageKind::ReadIndex
        | MessageKind::ReadIndexReply => Ok(()),
    }
}

/// Entries follow each other without a hole, and no term comes before an earlier one.
fn entries(message: &Message) -> Result<(), &'static str> {
    let (mut index, mut term) = (message.index, message.log_term);
    for entry in message.entries.iter() {
        if entry.index != index + 1 {
            return Err("entries with a hole");
        }
        if entry.term < term || entry.term > message.term {
            return Err("entries whose terms do not rise");
        }
        (index, term) = (entry.index, entry.term);
    }
    Ok(())
}

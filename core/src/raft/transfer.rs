//! Snapshots on their way: cut into pieces, acknowledged, resumed, given up.
//!
//! The engine's message that announces a snapshot waits until its receiver holds every piece; only then is
//! it sent, and the receiver steps it. A sender that hears of no progress for a while gives up and says so
//! to the engine, which begins again.
//!
//! Absent on purpose: what the bytes mean.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64;

use crate::ids::{MemberId, NodeId};
use crate::limits::{
    RAFT_CHUNK_BYTES, RAFT_CHUNKS_INFLIGHT_MAX, RAFT_SNAPSHOT_BYTES_MAX, RAFT_SNAPSHOTS_SENT_MAX,
};
use crate::time::Instant;
use crate::wire::Blob;
use crate::wire::raft::{Chunk, ChunkTaken, Genesis, Message, SnapshotId};

/// Snapshots that are sent, by receiver.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    sending: BTreeMap<MemberId, Sending>,
}

#[derive(Debug)]
struct Sending {
    /// What is said when every piece is there.
    message: Message,
    snapshot: SnapshotId,
    bytes: Blob,
    /// Pieces before this were handed to the link.
    sent: usize,
    /// Bytes before this arrived.
    taken: usize,
    progress_at: Instant,
    resent_at: Instant,
}

/// What a step of sending asks for.
#[derive(Debug, Default)]
pub(super) struct Sends {
    pub(super) chunks: Vec<Chunk>,
    /// Complete: say this, and tell the engine.
    pub(super) announce: Vec<Message>,
    /// No progress: tell the engine.
    pub(super) failed: Vec<MemberId>,
}

impl Outgoing {
    /// Begins to send; tells whether there is room for one more.
    pub(super) fn begin(&mut self, now: Instant, message: Message, bytes: Blob) -> bool {
        let to = message.to;
        let Some(snapshot) = message.snapshot else { return false };
        if self.sending.len() >= RAFT_SNAPSHOTS_SENT_MAX && !self.sending.contains_key(&to) {
            return false;
        }
        // The same pieces may already be there: only what the message says is newer.
        let (sent, taken) = match self.sending.get(&to) {
            Some(same) if same.snapshot == snapshot => (same.sent, same.taken),
            _ => (0, 0),
        };
        let sending =
            Sending { message, snapshot, bytes, sent, taken, progress_at: now, resent_at: now };
        self.sending.insert(to, sending);
        true
    }

    /// The receiver has everything before `taken.offset`.
    pub(super) fn taken(&mut self, now: Instant, taken: &ChunkTaken) {
        let Some(sending) = self.sending.get_mut(&taken.from) else { return };
        let offset = usize::try_from(taken.offset).unwrap_or(usize::MAX);
        if sending.snapshot != taken.snapshot || offset > sending.bytes.len() {
            return;
        }
        if offset > sending.taken {
            sending.taken = offset;
            sending.progress_at = now;
            sending.resent_at = now;
        }
        sending.sent = sending.sent.max(sending.taken);
    }

    /// What is to be sent now.
    pub(super) fn drain(&mut self, now: Instant, genesis: Genesis) -> Sends {
        let mut sends = Sends::default();
        let receivers: Vec<MemberId> = self.sending.keys().copied().collect();
        for to in receivers {
            let Some(sending) = self.sending.get_mut(&to) else { continue };
            if now.since(sending.progress_at) >= GIVEN_UP_AFTER {
                self.sending.remove(&to);
                sends.failed.push(to);
            } else if sending.taken == sending.bytes.len() {
                let sending = self.sending.remove(&to).expect("it is being sent");
                sends.announce.push(sending.message);
            } else {
                sending.cut(now, genesis, to, &mut sends.chunks);
            }
        }
        sends
    }

    /// Forgets everything: whoever leads now sends its own.
    pub(super) fn clear(&mut self) {
        self.sending.clear();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sending.is_empty()
    }

    /// Forgets who is no member any more.
    pub(super) fn retain(&mut self, members: &BTreeSet<MemberId>) {
        self.sending.retain(|to, _| members.contains(to));
    }
}

impl Sending {
    fn cut(&mut self, now: Instant, genesis: Genesis, to: MemberId, out: &mut Vec<Chunk>) {
        // A link that broke lost what was on its way: begin again where the receiver is.
        if now.since(self.resent_at) >= RESENT_AFTER {
            self.resent_at = now;
            self.sent = self.taken;
        }
        let window = self.taken + RAFT_CHUNKS_INFLIGHT_MAX * RAFT_CHUNK_BYTES;
        while self.sent < self.bytes.len().min(window) {
            let end = (self.sent + RAFT_CHUNK_BYTES).min(self.bytes.len());
            let piece = self.bytes.get(self.sent..end).expect("it ends within the snapshot");
            out.push(Chunk {
                genesis,
                to,
                snapshot: self.snapshot,
                size_bytes: self.bytes.len() as u64,
                offset: self.sent as u64,
                checksum: xxh3_64(piece),
                bytes: Blob::from(piece),
            });
            self.sent = end;
        }
    }
}

/// The one snapshot that is received.
#[derive(Debug, Default)]
pub(super) struct Incoming {
    from: Option<(NodeId, SnapshotId)>,
    bytes: Vec<u8>,
    size_bytes: usize,
    heard_at: Instant,
}

impl Incoming {
    /// Takes a piece; the answer tells how much is here. The error is the rule that it breaks.
    pub(super) fn take(
        &mut self,
        now: Instant,
        from: &NodeId,
        chunk: &Chunk,
    ) -> Result<u64, &'static str> {
        let size_bytes = usize::try_from(chunk.size_bytes).unwrap_or(usize::MAX);
        if size_bytes > RAFT_SNAPSHOT_BYTES_MAX || chunk.bytes.len() > RAFT_CHUNK_BYTES {
            return Err("a snapshot that is too large");
        }
        if xxh3_64(&chunk.bytes) != chunk.checksum {
            return Err("a piece of a snapshot with a wrong checksum");
        }
        let busy = self.from.as_ref().is_some_and(|(sender, _)| sender != from);
        if busy && now.since(self.heard_at) < GIVEN_UP_AFTER {
            return Ok(0); // One at a time; whoever sends the other will try again.
        }
        let same = self.is_of(from, chunk.snapshot) && self.size_bytes == size_bytes;
        if !same {
            *self = Incoming {
                from: Some((from.clone(), chunk.snapshot)),
                bytes: Vec::new(),
                size_bytes,
                heard_at: now,
            };
        }
        self.heard_at = now;
        let fits = self.bytes.len() + chunk.bytes.len() <= size_bytes;
        if chunk.offset == self.bytes.len() as u64 && fits {
            self.bytes.extend_from_slice(&chunk.bytes);
        }
        Ok(self.bytes.len() as u64)
    }

    /// The whole of `snapshot`, if it is here.
    pub(super) fn whole(&self, from: &NodeId, snapshot: SnapshotId) -> Option<Blob> {
        let whole = self.is_of(from, snapshot) && self.bytes.len() == self.size_bytes;
        whole.then(|| Blob::from(self.bytes.as_slice()))
    }

    fn is_of(&self, from: &NodeId, snapshot: SnapshotId) -> bool {
        self.from.as_ref().is_some_and(|(sender, of)| sender == from && *of == snapshot)
    }

    pub(super) fn clear(&mut self) {
        *self = Incoming::default();
    }
}

/// Without progress for so long a transfer is given up.
pub(super) const GIVEN_UP_AFTER: Duration = Duration::from_secs(10);
/// Without an answer for so long pieces are sent again.
const RESENT_AFTER: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Rng;
    use crate::wire::raft::MessageKind;

    const GENESIS: Genesis = Genesis(1);
    const SNAPSHOT: SnapshotId = SnapshotId { index: 5, term: 2, number: 1 };

    fn message() -> Message {
        Message {
            genesis: GENESIS,
            kind: MessageKind::Snapshot,
            from: MemberId(1),
            to: MemberId(2),
            term: 2,
            log_term: 0,
            index: 0,
            entries: Vec::new().into(),
            commit: 0,
            commit_term: 0,
            reject: false,
            reject_hint: 0,
            context: Blob::default(),
            snapshot: Some(SNAPSHOT),
            priority: 0,
        }
    }

    fn node(number: u8) -> NodeId {
        format!("n{number}").parse().expect("a node id")
    }

    fn bytes(count: usize) -> Blob {
        let bytes = (0..count).map(|at| u8::try_from(at % 251).expect("below 256"));
        bytes.collect::<Vec<u8>>().into()
    }

    /// Sends until it is announced or given up; so many of a hundred pieces are lost.
    fn send(size_bytes: usize, lost_percent: u64) -> (bool, Option<Blob>) {
        let mut rng = Rng::from_number(1);
        let (mut outgoing, mut incoming) = (Outgoing::default(), Incoming::default());
        let mut now = Instant::ZERO;
        assert!(outgoing.begin(now, message(), bytes(size_bytes)));
        loop {
            let sends = outgoing.drain(now, GENESIS);
            assert!(sends.chunks.len() <= RAFT_CHUNKS_INFLIGHT_MAX);
            if !sends.announce.is_empty() || !sends.failed.is_empty() {
                return (!sends.announce.is_empty(), incoming.whole(&node(1), SNAPSHOT));
            }
            for chunk in sends.chunks {
                if rng.chance(lost_percent, 100) {
                    continue;
                }
                let offset = incoming.take(now, &node(1), &chunk).expect("a sound piece");
                let (genesis, from) = (GENESIS, MemberId(2));
                outgoing.taken(now, &ChunkTaken { genesis, from, snapshot: SNAPSHOT, offset });
            }
            now = now + Duration::from_millis(100);
        }
    }

    #[test]
    fn a_snapshot_arrives_whole_however_many_pieces_are_lost() {
        for size_bytes in [1, RAFT_CHUNK_BYTES, 40 * RAFT_CHUNK_BYTES + 7] {
            for lost in [0, 10, 50] {
                let (announced, whole) = send(size_bytes, lost);
                assert!(announced, "{size_bytes} bytes, {lost} % lost");
                assert_eq!(whole, Some(bytes(size_bytes)));
            }
        }
    }

    #[test]
    fn a_snapshot_without_progress_is_given_up() {
        assert_eq!(send(1000, 100), (false, None));
    }

    #[test]
    fn a_piece_that_lies_about_itself_is_refused() {
        let mut incoming = Incoming::default();
        let mut outgoing = Outgoing::default();
        outgoing.begin(Instant::ZERO, message(), bytes(10));
        let mut chunk = outgoing.drain(Instant::ZERO, GENESIS).chunks.remove(0);
        chunk.checksum ^= 1;
        assert!(incoming.take(Instant::ZERO, &node(1), &chunk).is_err());
        chunk.checksum ^= 1;
        chunk.size_bytes = u64::MAX;
        assert!(incoming.take(Instant::ZERO, &node(1), &chunk).is_err());
    }

    #[test]
    fn two_snapshots_leave_and_one_is_received_at_a_time() {
        let mut outgoing = Outgoing::default();
        for to in 2..5 {
            let message = Message { to: MemberId(to), ..message() };
            assert_eq!(outgoing.begin(Instant::ZERO, message, bytes(10)), to < 4);
        }
        let mut incoming = Incoming::default();
        let chunk = outgoing.drain(Instant::ZERO, GENESIS).chunks.remove(0);
        assert_eq!(incoming.take(Instant::ZERO, &node(1), &chunk), Ok(10));
        assert_eq!(incoming.take(Instant::ZERO, &node(9), &chunk), Ok(0), "the first is busy");
        let later = Instant::ZERO + GIVEN_UP_AFTER;
        assert_eq!(incoming.take(later, &node(9), &chunk), Ok(10));
    }
}

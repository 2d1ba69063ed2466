//! Linearizable reads, in rounds: reads that come while a round is under way share the next one.
//!
//! A round asks the leader through where the log is certain. Its readers are answered when that much is
//! applied here. A round that nobody answers is asked again under a new number.
//!
//! A leader is sure of a round when a majority repeats its number. So no two rounds may have the same one, whoever
//! asks and in whichever life: what confirmed another's round, and comes late, would confirm this one. Numbers
//! begin at one that is drawn.
//!
//! Absent on purpose: leases. A clock decides nothing here but when to give up.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::ids::{NodeId, Ticket};
use crate::limits;
use crate::time::Instant;
use crate::wire::Blob;
use crate::wire::raft::{RequestId, Subject};

/// Who wants to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reader {
    /// A local service, to read for itself.
    Local { subject: Subject, ticket: Ticket },
    /// A local service, to be answered by itself: its question came through the same door as others'.
    Own { subject: Subject, ticket: Ticket, question: Blob },
    /// Another node.
    Remote { node: NodeId, id: RequestId, subject: Subject, question: Blob },
}

/// All reads that are open.
#[derive(Debug, Default)]
pub(super) struct Reads {
    next: u64,
    rounds: u64,
    open: BTreeMap<u64, (Reader, Instant)>,
    fresh: Vec<u64>,
    round: Option<Round>,
    /// Certain through an index that is not applied yet.
    certain: BTreeSet<(u64, u64)>,
    deadlines: BTreeSet<(Instant, u64)>,
}

#[derive(Debug)]
struct Round {
    number: u64,
    again_at: Instant,
    readers: Vec<u64>,
}

impl Reads {
    /// No reads; the first round will have the number after `first`.
    pub(super) fn from(first: u64) -> Reads {
        Reads { rounds: first, ..Reads::default() }
    }

    /// Takes a read; false if there are too many.
    pub(super) fn insert(&mut self, reader: Reader, deadline: Instant) -> bool {
        if self.open.len() >= limits::RAFT_PENDING_MAX {
            return false;
        }
        self.next += 1;
        self.open.insert(self.next, (reader, deadline));
        self.deadlines.insert((deadline, self.next));
        self.fresh.push(self.next);
        true
    }

    /// The number of a round that is to be asked for now.
    pub(super) fn ask(&mut self, now: Instant) -> Option<u64> {
        match &mut self.round {
            Some(round) if now < round.again_at => return None,
            Some(round) => {
                // Lost, with its leader perhaps. Whoever came since may as well share the new one.
                round.readers.append(&mut self.fresh);
                round.again_at = now + RETRY_AFTER;
            }
            None if self.fresh.is_empty() => return None,
            None => {
                let readers = std::mem::take(&mut self.fresh);
                self.round = Some(Round { number: 0, again_at: now + RETRY_AFTER, readers });
            }
        }
        self.rounds = self.rounds.wrapping_add(1);
        let number = self.rounds;
        let round = self.round.as_mut()?;
        round.number = number;
        Some(number)
    }

    /// Another leads: a round under way is asked again, in a later turn.
    pub(super) fn hurry(&mut self, now: Instant) {
        if let Some(round) = &mut self.round {
            round.again_at = round.again_at.min(now + SOON);
        }
    }

    /// A round is certain through `index`.
    pub(super) fn answered(&mut self, number: u64, index: u64) {
        if let Some(round) = self.round.take_if(|round| round.number == number) {
            let open = round.readers.into_iter().filter(|reader| self.open.contains_key(reader));
            self.certain.extend(open.map(|reader| (index, reader)));
        }
    }

    /// Readers whose index is applied; each is given once. A query stays open until [`Reads::take`].
    pub(super) fn ready(&mut self, applied: u64) -> Vec<(u64, u64, Reader)> {
        let mut ready = Vec::new();
        while let Some(first) = self.certain.first().copied()
            && first.0 <= applied
        {
            self.certain.pop_first();
            if let Some((reader, _)) = self.open.get(&first.1) {
                ready.push((first.1, first.0, reader.clone()));
            }
        }
        ready
    }

    /// Forgets a read, answered or not.
    pub(super) fn take(&mut self, number: u64) -> Option<Reader> {
        let (reader, deadline) = self.open.remove(&number)?;
        self.deadlines.remove(&(deadline, number));
        Some(reader)
    }

    /// Reads whose deadline has passed.
    pub(super) fn expired(&mut self, now: Instant) -> Vec<Reader> {
        let mut expired = Vec::new();
        while let Some((deadline, number)) = self.deadlines.first().copied()
            && deadline <= now
        {
            expired.extend(self.take(number));
        }
        if self.open.is_empty() {
            self.round = None;
            self.fresh.clear();
            self.certain.clear();
        }
        expired
    }

    /// When one gives up, or a round is asked again.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let again = self.round.as_ref().map(|round| round.again_at);
        let deadline = self.deadlines.first().map(|(at, _)| *at);
        match (again, deadline) {
            (Some(again), Some(deadline)) => Some(again.min(deadline)),
            (again, deadline) => again.or(deadline),
        }
    }
}

const SOON: Duration = Duration::from_millis(1);
const RETRY_AFTER: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    fn local(ticket: u64) -> Reader {
        Reader::Local { subject: Subject::KV, ticket: Ticket(ticket) }
    }

    #[test]
    fn reads_that_come_during_a_round_share_the_next() {
        let (mut reads, deadline) = (Reads::default(), Instant::from_millis(5000));
        reads.insert(local(1), deadline);
        assert_eq!(reads.ask(Instant::ZERO), Some(1));
        reads.insert(local(2), deadline);
        reads.insert(local(3), deadline);
        assert_eq!(reads.ask(Instant::ZERO), None, "a round is under way");
        reads.answered(1, 7);
        assert!(reads.ready(6).is_empty(), "not applied yet");
        assert_eq!(reads.ready(7), [(1, 7, local(1))]);
        assert_eq!(reads.ask(Instant::ZERO), Some(2));
        reads.answered(2, 9);
        assert_eq!(reads.ready(9), [(2, 9, local(2)), (3, 9, local(3))]);
    }

    #[test]
    fn an_answer_to_a_round_that_was_asked_again_says_nothing() {
        let mut reads = Reads::default();
        reads.insert(local(1), Instant::from_millis(5000));
        assert_eq!(reads.ask(Instant::ZERO), Some(1));
        assert_eq!(reads.ask(Instant::ZERO + RETRY_AFTER), Some(2));
        reads.answered(1, 7);
        assert!(reads.ready(9).is_empty());
        assert_eq!(reads.expired(Instant::from_millis(5000)), [local(1)]);
        assert_eq!(reads.next_due(), None);
    }
}

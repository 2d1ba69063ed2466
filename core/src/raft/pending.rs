//! What this node's own services ask of the log, until it is answered.
//!
//! A proposal keeps its id through every retry, so that repeating it is safe. It is tried at the leader as
//! far as that is known; it is answered when its entry is applied here, or where this node keeps no copy,
//! when the leader says so. At its deadline it is `ambiguous` if any try went without an answer.
//!
//! - RF-7: a proposal's number is below its replica's `done_below` + the window while it is sent, so its
//!   outcome is remembered for as long as it may be asked for again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::ids::{Incarnation, NodeId, Replica, Ticket};
use crate::limits;
use crate::random::Rng;
use crate::time::Instant;
use crate::wire::Blob;
use crate::wire::raft::{Ask, Idempotency, Request, RequestId, Subject};

use super::Committed;

/// Which life's which number.
pub(super) type Key = (Incarnation, u64);

/// One request of a local service.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) subject: Subject,
    pub(super) ticket: Ticket,
    pub(super) deadline: Instant,
    pub(super) what: What,
    /// Tries that nobody has answered.
    pub(super) unanswered: u32,
    /// How often it was tried.
    pub(super) tries: u32,
    /// Committed, says the leader; this node has not applied it yet.
    committed: Option<Committed>,
    wait: Duration,
    due: Instant,
}

/// What it asks.
#[derive(Debug)]
pub(super) enum What {
    Propose { version: u8, payload: Blob, idempotency: Option<Idempotency> },
    Query { question: Blob },
}

/// All of them, at most [`limits::RAFT_PENDING_MAX`].
#[derive(Debug)]
pub(super) struct Requests {
    node: NodeId,
    life: Incarnation,
    next: u64,
    open: BTreeMap<Key, Pending>,
    /// The proposals among them, whose numbers hold the window.
    proposals: BTreeSet<Key>,
    agenda: BTreeSet<(Instant, Key)>,
    /// Those that are committed and not applied here, by index.
    committed: BTreeSet<(u64, Key)>,
}

impl Requests {
    pub(super) fn new(local: &Replica) -> Requests {
        Requests {
            node: local.node.clone(),
            life: local.incarnation,
            next: 1,
            open: BTreeMap::new(),
            proposals: BTreeSet::new(),
            agenda: BTreeSet::new(),
            committed: BTreeSet::new(),
        }
    }

    /// We live on under a new name. What was asked keeps its old one.
    pub(super) fn raised(&mut self, life: Incarnation) {
        self.life = life;
        self.next = 1;
    }

    pub(super) fn is_full(&self) -> bool {
        self.open.len() >= limits::RAFT_PENDING_MAX
    }

    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    /// Notes a request; it is due at once.
    pub(super) fn insert(
        &mut self,
        now: Instant,
        subject: Subject,
        ticket: Ticket,
        deadline: Instant,
        what: What,
    ) -> Key {
        let key = (self.life, self.next);
        self.next += 1;
        if matches!(what, What::Propose { .. }) {
            self.proposals.insert(key);
        }
        let pending = Pending {
            subject,
            ticket,
            deadline: deadline.min(now + limits::RAFT_DEADLINE_MAX),
            what,
            unanswered: 0,
            tries: 0,
            committed: None,
            wait: RETRY_MIN,
            due: now,
        };
        self.open.insert(key, pending);
        self.agenda.insert((now, key));
        key
    }

    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut Pending> {
        self.open.get_mut(&key)
    }

    /// The request of this id, if it is ours and open.
    pub(super) fn key_of(&self, id: &RequestId) -> Option<Key> {
        let key = (id.replica.incarnation, id.number);
        (id.replica.node == self.node && self.open.contains_key(&key)).then_some(key)
    }

    pub(super) fn id_of(&self, key: Key) -> RequestId {
        let replica = Replica { node: self.node.clone(), incarnation: key.0 };
        RequestId { replica, number: key.1 }
    }

    /// Every proposal of this life below has been answered to its caller.
    pub(super) fn done_below(&self, life: Incarnation) -> u64 {
        let oldest = self.proposals.range((life, 0)..=(life, u64::MAX)).next();
        match oldest {
            Some((_, number)) => *number,
            None if life == self.life => self.next,
            None => u64::MAX,
        }
    }

    /// Whether a proposal may be sent yet.
    pub(super) fn in_window(&self, key: Key) -> bool {
        key.1 < self.done_below(key.0).saturating_add(limits::RAFT_WINDOW)
    }

    /// Answered: forgets it.
    pub(super) fn remove(&mut self, key: Key) -> Option<Pending> {
        let pending = self.open.remove(&key)?;
        self.proposals.remove(&key);
        self.agenda.remove(&(pending.due, key));
        if let Some(committed) = &pending.committed {
            self.committed.remove(&(committed.index, key));
        }
        Some(pending)
    }

    /// Its next try, at the latest at its deadline. A try that may yet be answered waits longer.
    pub(super) fn retry(&mut self, now: Instant, rng: &mut Rng, key: Key, sent: bool) {
        let Some(pending) = self.open.get_mut(&key) else { return };
        let wait = if sent { RETRY_SENT } else { rng.between(pending.wait / 2, pending.wait) };
        pending.wait = (pending.wait * 2).min(RETRY_MAX);
        self.schedule(key, now + wait);
    }

    /// Somebody else leads: whatever waits is tried soon, and not all at one instant.
    pub(super) fn hurry(&mut self, now: Instant, rng: &mut Rng) {
        let keys: Vec<Key> = self.open.keys().copied().collect();
        for key in keys {
            let soon = now + rng.between(SOON, RETRY_MIN);
            let Some(pending) = self.open.get_mut(&key) else { continue };
            pending.wait = RETRY_MIN;
            if pending.due > soon {
                self.schedule(key, soon);
            }
        }
    }

    fn schedule(&mut self, key: Key, at: Instant) {
        let Some(pending) = self.open.get_mut(&key) else { return };
        self.agenda.remove(&(pending.due, key));
        pending.due = at.min(pending.deadline);
        self.agenda.insert((pending.due, key));
    }

    /// What is due by `now`, oldest number first.
    pub(super) fn due(&self, now: Instant) -> Vec<Key> {
        let due = self.agenda.iter().take_while(|(at, _)| *at <= now);
        let mut keys: Vec<Key> = due.map(|(_, key)| *key).collect();
        keys.sort_unstable();
        keys
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        self.agenda.first().map(|(at, _)| *at)
    }

    /// The leader has committed a request; it is answered when this node has applied it as well.
    pub(super) fn commit(&mut self, key: Key, committed: Committed) {
        let Some(pending) = self.open.get_mut(&key) else { return };
        self.committed.insert((committed.index, key));
        if let Some(before) = pending.committed.replace(committed)
            && pending.committed.as_ref().is_some_and(|now| now.index != before.index)
        {
            self.committed.remove(&(before.index, key));
        }
    }

    /// Whether the leader has committed it.
    pub(super) fn is_committed(&self, key: Key) -> bool {
        self.open.get(&key).is_some_and(|pending| pending.committed.is_some())
    }

    /// A request that waited for this node to apply what the leader has committed, oldest entry first.
    pub(super) fn take_committed(&mut self, applied: u64) -> Option<(Key, Committed)> {
        let (_, key) = self.committed.first().copied().filter(|(index, _)| *index <= applied)?;
        self.committed.pop_first();
        let committed = self.open.get_mut(&key).and_then(|pending| pending.committed.take());
        Some((key, committed.expect("what stands in line was committed")))
    }

    /// How it is put to another node.
    pub(super) fn request(&self, now: Instant, key: Key) -> Option<Request> {
        let pending = self.open.get(&key)?;
        let ask = match &pending.what {
            What::Propose { version, payload, idempotency } => Ask::Propose {
                subject: pending.subject,
                version: *version,
                done_below: self.done_below(key.0),
                idempotency: *idempotency,
                payload: payload.clone(),
            },
            What::Query { question } => {
                Ask::Query { subject: pending.subject, question: question.clone() }
            }
        };
        let remaining_ms = crate::time::millis(pending.deadline.since(now));
        Some(Request { id: self.id_of(key), remaining_ms, ask })
    }
}

const SOON: Duration = Duration::from_millis(1);
const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(1);
/// A try that was sent is lost only with its link, or its leader.
const RETRY_SENT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn requests() -> Requests {
        let node = "n1".parse().expect("a node id");
        Requests::new(&Replica { node, incarnation: Incarnation(1) })
    }

    fn propose(requests: &mut Requests) -> Key {
        let deadline = Instant::from_millis(5000);
        let what = What::Propose { version: 1, payload: Blob::default(), idempotency: None };
        requests.insert(Instant::ZERO, Subject::KV, Ticket(1), deadline, what)
    }

    #[test]
    fn nothing_beyond_the_window_is_sent_before_the_oldest_is_answered() {
        let mut requests = requests();
        let oldest = propose(&mut requests);
        let keys: Vec<Key> = (0..limits::RAFT_WINDOW).map(|_| propose(&mut requests)).collect();
        let last = *keys.last().expect("there are many");
        assert!(!requests.in_window(last));
        requests.remove(oldest);
        assert!(requests.in_window(last));
        assert_eq!(requests.done_below(Incarnation(1)), 2);
    }

    #[test]
    fn a_retry_is_always_later_and_never_after_the_deadline() {
        let (mut requests, mut rng) = (requests(), Rng::from_number(1));
        let key = propose(&mut requests);
        let mut now = Instant::ZERO;
        let mut tries = 0;
        while now < Instant::from_millis(5000) {
            requests.retry(now, &mut rng, key, false);
            let due = requests.next_due().expect("one is open");
            assert!(due > now && due <= Instant::from_millis(5000));
            (now, tries) = (due, tries + 1);
        }
        assert!((5..30).contains(&tries), "{tries} tries in five seconds");
    }

    #[test]
    fn a_new_life_begins_its_own_numbers_and_the_old_ones_keep_theirs() {
        let mut requests = requests();
        let old = propose(&mut requests);
        requests.raised(Incarnation(2));
        let new = propose(&mut requests);
        assert_eq!((old, new), ((Incarnation(1), 1), (Incarnation(2), 1)));
        requests.remove(old);
        assert_eq!(requests.done_below(Incarnation(1)), u64::MAX);
        assert_eq!(requests.done_below(Incarnation(2)), 1);
    }
}

//! Who is to be looked at next: at most one moment per subject.
//!
//! Absent on purpose: what happens then; the subject knows, and may find that it is too early.

use std::collections::{BTreeMap, BTreeSet};

use crate::ids::{ConnectionId, NodeId};
use crate::time::Instant;

/// What has a moment, connections first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Subject {
    /// A connection's deadline: connect, handshake, silence, farewell.
    Connection(ConnectionId),
    /// A peer's next dial or, while it is connected, its next ping.
    Peer(NodeId),
    /// Frames of a peer that it has not been told about.
    Acknowledgement(NodeId),
    /// The earliest deadline of a request.
    Asks,
    /// Peers that membership never confirmed.
    Sweep,
}

/// Moments by subject, and subjects by moment.
#[derive(Debug, Clone, Default)]
pub(super) struct Agenda {
    moments: BTreeMap<Subject, Instant>,
    order: BTreeSet<(Instant, Subject)>,
}

impl Agenda {
    /// Gives `subject` this moment in place of any other.
    pub(super) fn set(&mut self, subject: Subject, at: Instant) {
        let former = self.moments.insert(subject.clone(), at);
        if former == Some(at) {
            return;
        }
        if let Some(former) = former {
            self.order.remove(&(former, subject.clone()));
        }
        self.order.insert((at, subject));
    }

    /// Takes the moment of `subject` away.
    pub(super) fn cancel(&mut self, subject: &Subject) {
        if let Some(at) = self.moments.remove(subject) {
            self.order.remove(&(at, subject.clone()));
        }
    }

    /// The moment of `subject`.
    pub(super) fn of(&self, subject: &Subject) -> Option<Instant> {
        self.moments.get(subject).copied()
    }

    /// The connections that have a moment, in order.
    pub(super) fn connections(&self) -> impl Iterator<Item = ConnectionId> {
        self.moments.keys().map_while(|subject| match subject {
            Subject::Connection(id) => Some(*id),
            Subject::Peer(_) | Subject::Acknowledgement(_) | Subject::Asks | Subject::Sweep => None,
        })
    }

    /// The earliest moment.
    pub(super) fn first(&self) -> Option<(Instant, &Subject)> {
        self.order.first().map(|(at, subject)| (*at, subject))
    }

    /// Takes every subject whose moment has come, earliest first.
    pub(super) fn take_due(&mut self, now: Instant) -> Vec<Subject> {
        let mut due = Vec::new();
        while self.order.first().is_some_and(|(at, _)| *at <= now) {
            let (_, subject) = self.order.pop_first().expect("a first moment was just seen");
            self.moments.remove(&subject);
            due.push(subject);
        }
        due
    }

    /// How many moments there are.
    pub(super) fn len(&self) -> usize {
        self.moments.len()
    }
}

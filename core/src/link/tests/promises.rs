//! What two nodes were promised, written down beside them: L-3 and L-8 from the outside.

use std::collections::{BTreeMap, BTreeSet};

use crate::ids::{Replica, Ticket};
use crate::link::AskError;
use crate::time::Instant;
use crate::wire::Blob;

/// Everything that was said in order, and everything that was asked.
#[derive(Debug, Default)]
pub(super) struct Record {
    /// Messages that a link accepted, with the life that spoke.
    accepted: BTreeMap<u64, Replica>,
    /// The last one that was accepted of each life: they are consecutive.
    before: BTreeMap<u64, u64>,
    last: BTreeMap<Replica, u64>,
    delivered: BTreeSet<u64>,
    /// The last one that was delivered of each pair of lives.
    heard: BTreeMap<(Replica, Replica), u64>,
    undelivered: BTreeSet<u64>,
    said: u64,
    asked: BTreeMap<Ticket, Instant>,
    tickets: u64,
}

impl Record {
    /// `speaker` is about to say something; the body to say.
    pub(super) fn accepted(&mut self, speaker: &Replica) -> Blob {
        self.said += 1;
        self.accepted.insert(self.said, speaker.clone());
        if let Some(before) = self.last.insert(speaker.clone(), self.said) {
            self.before.insert(self.said, before);
        }
        Blob::from(self.said.to_string().as_str())
    }

    /// What was said last was not accepted after all.
    pub(super) fn refused(&mut self) {
        let speaker = self.accepted.remove(&self.said).expect("it was just said");
        match self.before.remove(&self.said) {
            Some(before) => self.last.insert(speaker, before),
            None => self.last.remove(&speaker),
        };
    }

    pub(super) fn delivered(&mut self, from: Replica, to: Replica, body: &Blob) {
        let number = number(body);
        assert_eq!(self.accepted.get(&number), Some(&from), "L-3: nobody of that life said it");
        assert!(self.delivered.insert(number), "L-3: {number} arrived twice");
        if let Some(last) = self.heard.insert((from, to), number) {
            let before = |one: &u64| self.before.get(one).copied();
            let mut gap = std::iter::successors(before(&number), before);
            let behind = gap.find(|one| !self.undelivered.contains(one));
            assert!(behind <= Some(last), "L-3: {number} arrived behind {last}, not {behind:?}");
        }
    }

    pub(super) fn undelivered(&mut self, body: &Blob) {
        let number = number(body);
        assert!(self.accepted.contains_key(&number), "L-3: {number} was never accepted");
        assert!(self.undelivered.insert(number), "L-3: {number} is told twice");
    }

    pub(super) fn asks(&mut self, deadline: Instant) -> Ticket {
        self.tickets += 1;
        self.asked.insert(Ticket(self.tickets), deadline);
        Ticket(self.tickets)
    }

    pub(super) fn ended(&mut self, now: Instant, ticket: Ticket, end: Result<Blob, AskError>) {
        let deadline = self.asked.remove(&ticket).expect("L-8: a request ends once");
        assert!(now <= deadline, "L-8: {ticket:?} ended at {now}, after {deadline}");
        let at_deadline = end == Err(AskError::Deadline);
        assert_eq!(at_deadline, now == deadline, "L-8: {ticket:?} ended with {end:?}");
    }

    /// Everything is quiet: nothing may be open.
    pub(super) fn close(&self) {
        assert!(self.asked.is_empty(), "L-8: {:?} never ended", self.asked);
        for number in self.accepted.keys() {
            let ended = self.delivered.contains(number) || self.undelivered.contains(number);
            assert!(ended, "L-3: {number} neither arrived nor came back");
        }
    }
}

fn number(body: &Blob) -> u64 {
    let text = std::str::from_utf8(body).expect("what was said is text");
    text.parse().expect("what was said is a number")
}

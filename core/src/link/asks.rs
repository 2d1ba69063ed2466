//! Requests: each ends exactly once, at or before its deadline.
//!
//! | end | when |
//! | --- | --- |
//! | the reply | it arrived, with the full id |
//! | `QueueFull` | the queue of `control`, or 1024 outstanding, left no room |
//! | `Unreachable` | there is no way to the peer, its breaker is open, or its link broke: it may have been heard |
//! | `Deadline` | nobody answered in time |
//!
//! Invariant: L-8: every request ends exactly once, at or before its deadline.
//!
//! Absent on purpose: retries. Whoever holds the deadline may ask another peer, under an id of its own;
//! [`backoff`] tells when.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::queue::Lane;
use super::{Links, Output, Subject};
use crate::ids::{NodeId, Replica, Ticket};
use crate::limits;
use crate::random::Rng;
use crate::time::{Instant, millis};
use crate::wire::Blob;
use crate::wire::message::{Control, Reply, Request};

/// Why a request has no reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// Ask later; nothing was sent.
    #[error("too much waits for this peer")]
    QueueFull,
    /// Ask another; it may have been heard.
    #[error("the peer cannot be reached")]
    Unreachable,
    /// The caller's time is over.
    #[error("the peer did not answer in time")]
    Deadline,
}

/// Every request that has not ended.
#[derive(Debug, Clone, Default)]
pub(super) struct Asks {
    numbers: u64,
    open: BTreeMap<u64, Ask>,
    moments: BTreeSet<(Instant, u64)>,
    by_peer: BTreeMap<NodeId, BTreeSet<u64>>,
}

#[derive(Debug, Clone)]
struct Ask {
    to: NodeId,
    ticket: Ticket,
    deadline: Instant,
}

impl Asks {
    fn add(&mut self, ask: Ask) -> u64 {
        self.numbers += 1;
        let number = self.numbers;
        self.moments.insert((ask.deadline, number));
        self.by_peer.entry(ask.to.clone()).or_default().insert(number);
        self.open.insert(number, ask);
        number
    }

    fn remove(&mut self, number: u64) -> Option<Ask> {
        let ask = self.open.remove(&number)?;
        self.moments.remove(&(ask.deadline, number));
        let numbers = self.by_peer.get_mut(&ask.to).expect("every request is listed by its peer");
        numbers.remove(&number);
        if numbers.is_empty() {
            self.by_peer.remove(&ask.to);
        }
        Some(ask)
    }

    fn of(&self, node: &NodeId) -> usize {
        self.by_peer.get(node).map_or(0, BTreeSet::len)
    }

    /// Counts again; the error is the sentence that is false.
    pub(super) fn check(&self, is_peer: impl Fn(&NodeId) -> bool) -> Result<(), String> {
        let listed: usize = self.by_peer.values().map(BTreeSet::len).sum();
        if listed != self.open.len() || self.moments.len() != self.open.len() {
            return Err(format!("L-8: {} requests are open, {listed} are listed", self.open.len()));
        }
        match self.by_peer.keys().find(|node| !is_peer(node)) {
            Some(node) => Err(format!("L-7: requests to {node} are kept, which is no peer")),
            None => Ok(()),
        }
    }
}

impl Links {
    /// A caller asks a peer.
    pub(super) fn ask(
        &mut self,
        now: Instant,
        to: &NodeId,
        ticket: Ticket,
        deadline: Instant,
        body: Blob,
        out: &mut Vec<Output>,
    ) {
        let refused = if deadline <= now {
            Some(AskError::Deadline)
        } else if !self.peers.contains_key(to) {
            Some(AskError::Unreachable)
        } else if self.asks.of(to) >= limits::REQUESTS_PER_PEER_MAX {
            Some(AskError::QueueFull)
        } else {
            None
        };
        if let Some(error) = refused {
            self.counts.asked(Err(error));
            out.push(Output::Ended { ticket, end: Err(error) });
            return;
        }
        let number = self.asks.add(Ask { to: to.clone(), ticket, deadline });
        if !self.peer_mut(to).breaker.admits(now, number) {
            self.end_ask(now, number, Err(AskError::Unreachable), out);
            return;
        }
        let remaining_ms = millis(deadline.since(now)).max(1);
        let from = self.local.clone();
        let request = Control::Request(Request { from, number, remaining_ms, body });
        self.plan_asks();
        match self.dispatch(now, to, &request, Some(deadline), out) {
            Ok(()) => {}
            Err("unreachable") => self.end_ask(now, number, Err(AskError::Unreachable), out),
            Err(_) => self.end_ask(now, number, Err(AskError::QueueFull), out),
        }
    }

    /// Somebody's question was answered here.
    pub(super) fn answer(
        &mut self,
        now: Instant,
        to: Replica,
        number: u64,
        body: Blob,
        out: &mut Vec<Output>,
    ) {
        let node = to.node.clone();
        let reply = Control::Reply(Reply { to, number, body });
        if self.dispatch(now, &node, &reply, None, out).is_err() {
            // Its asker will time out, and asks again if it still wants to know.
            self.counts.refused(Lane::Control);
        }
    }

    /// A reply arrived.
    pub(super) fn replied(&mut self, now: Instant, reply: Reply, out: &mut Vec<Output>) {
        if reply.to == self.local && self.asks.open.contains_key(&reply.number) {
            self.end_ask(now, reply.number, Ok(reply.body), out);
        } else {
            self.counts.late_reply();
        }
    }

    /// Ends every request whose deadline has come.
    pub(super) fn asks_due(&mut self, now: Instant, out: &mut Vec<Output>) {
        while let Some((deadline, number)) = self.asks.moments.first().copied()
            && deadline <= now
        {
            self.end_ask(now, number, Err(AskError::Deadline), out);
        }
        self.plan_asks();
    }

    /// The way to a peer broke: whoever waits for it may ask another.
    pub(super) fn abandon_asks(&mut self, now: Instant, node: &NodeId, out: &mut Vec<Output>) {
        let numbers = self.asks.by_peer.get(node).cloned().unwrap_or_default();
        for number in numbers {
            self.end_ask(now, number, Err(AskError::Unreachable), out);
        }
    }

    fn end_ask(
        &mut self,
        now: Instant,
        number: u64,
        end: Result<Blob, AskError>,
        out: &mut Vec<Output>,
    ) {
        let ask = self.asks.remove(number).expect("L-8: a request ends once");
        if let Some(peer) = self.peers.get_mut(&ask.to) {
            match &end {
                Ok(_) => peer.breaker.close(),
                Err(AskError::QueueFull) => peer.breaker.spare(now, number),
                Err(AskError::Unreachable | AskError::Deadline) => {
                    peer.breaker.fail(now, number, &mut self.rng);
                }
            }
        }
        self.counts.asked(end.as_ref().map(|_| ()).map_err(|error| *error));
        out.push(Output::Ended { ticket: ask.ticket, end });
    }

    fn plan_asks(&mut self) {
        match self.asks.moments.first() {
            Some((at, _)) => self.agenda.set(Subject::Asks, *at),
            None => self.agenda.cancel(&Subject::Asks),
        }
    }
}

/// How long to wait before attempt `retry` (from 1): drawn from 25 to 50 ms at first, then from nothing to
/// a bound that doubles to a second. None if that is not before the deadline.
pub fn backoff(rng: &mut Rng, now: Instant, retry: u32, deadline: Instant) -> Option<Instant> {
    let bound = RETRY_MIN.saturating_mul(1 << retry.min(20)).min(RETRY_MAX);
    let low = if retry <= 1 { RETRY_MIN } else { Duration::from_micros(1) };
    let at = now + rng.between(low, bound);
    (at > now && at < deadline).then_some(at)
}

const RETRY_MIN: Duration = Duration::from_millis(25);
const RETRY_MAX: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert, proptest};

    use super::*;

    proptest! {
        #[test]
        fn retries_rise_and_end(seed: u64, start in 0_u64..1_000_000, patience in 1_u64..60_000) {
            let mut rng = Rng::from_number(seed);
            let (mut now, mut count) = (Instant::from_micros(start), 0_u32);
            let deadline = now + Duration::from_millis(patience);
            while let Some(at) = backoff(&mut rng, now, count + 1, deadline) {
                prop_assert!(at > now && at < deadline);
                prop_assert!(at.since(now) <= RETRY_MAX);
                (now, count) = (at, count + 1);
                prop_assert!(count < 10_000, "no end of retries");
            }
        }
    }

    #[test]
    fn the_first_retry_waits_for_25_to_50_milliseconds() {
        let mut rng = Rng::from_number(1);
        let far = Instant::from_millis(1_000_000);
        for _ in 0..1000 {
            let at = backoff(&mut rng, Instant::ZERO, 1, far).expect("there is time");
            assert!((25..=50).contains(&millis(at.since(Instant::ZERO))));
        }
        assert_eq!(backoff(&mut rng, far, 7, far), None);
        let never = Instant::from_micros(u64::MAX);
        assert_eq!(backoff(&mut rng, never, 7, never), None, "time saturates");
    }
}

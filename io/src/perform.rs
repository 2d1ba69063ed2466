//! The hands of the shell: every effect of a node is done here, in one match.
//!
//! Absent on purpose: waiting. An effect that takes time is begun, and its end is an input of a later
//! turn.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

use quorate_core::ids::{ConnectionId, Ticket};
use quorate_core::node::{Announcement, Answer, Call, Effect, Reply, Request, kv};
use quorate_core::time::Instant;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{broadcast, mpsc, oneshot};

use crate::datagrams::Outbox;
use crate::handle::{Ask, Heard, REQUESTS_MAX};
use crate::net::Net;
use crate::outside::Outside;
use crate::peers::{self, Event, Lane};
use crate::secure::Secure;
use crate::store::{Keeper, StoreError};

/// Why the loop ended.
#[derive(Debug)]
pub enum End {
    /// The node has left its cluster.
    Left,
    /// Whoever ran it wants no more.
    Halted,
    /// Another process uses the node's id.
    Duplicate {
        /// Where it is, if known.
        address: Option<SocketAddr>,
    },
    /// The store failed.
    Store(StoreError),
}

/// Everything that effects are done with.
pub(crate) struct Hands<N: Net> {
    pub(crate) net: N,
    pub(crate) outbox: Outbox,
    pub(crate) keeper: Keeper,
    pub(crate) lanes: BTreeMap<ConnectionId, Lane>,
    pub(crate) secure: Secure,
    pub(crate) events: UnboundedSender<Event>,
    pub(crate) outside: Arc<dyn Outside>,
    pub(crate) answers: mpsc::Sender<(Ticket, Answer)>,
    pub(crate) replies: Replies,
    pub(crate) announcements: broadcast::Sender<Heard>,
}

impl<N: Net> Hands<N> {
    /// Does `effect`; says so if it is the last.
    pub(crate) fn perform(&mut self, now: Instant, effect: Effect) -> Option<End> {
        match effect {
            Effect::Datagram { to, bytes } => self.outbox.send(to, bytes),
            Effect::Send { connection, bytes } => {
                if let Some(lane) = self.lanes.get(&connection) {
                    lane.send(bytes);
                }
            }
            Effect::Connect { connection, to } => {
                let lane =
                    peers::connect(&self.net, connection, to, &self.secure, self.events.clone());
                self.lanes.insert(connection, lane);
            }
            Effect::Disconnect { connection } => drop(self.lanes.remove(&connection)),
            Effect::Store { ticket, batch } => {
                self.replies.submitted += 1;
                self.keeper.store(ticket, batch);
            }
            Effect::Call { ticket, call } => self.call(ticket, call),
            Effect::Reply { ticket, reply } => self.replies.reply(ticket, reply),
            Effect::Announce(Announcement::Watched { watch, event }) => {
                self.replies.watched(watch, event);
            }
            Effect::Announce(announcement) => return self.announce(now, announcement),
        }
        None
    }

    /// Calls are as many as the node keeps open; each waits here for room among the answers.
    fn call(&self, ticket: Ticket, call: Call) {
        let (answering, answers) = (self.outside.answer(call), self.answers.clone());
        self.net.spawn(async move {
            let answer = answering.await;
            let _ = answers.send((ticket, answer)).await; // The loop has ended.
        });
    }

    fn announce(&self, at: Instant, announcement: Announcement) -> Option<End> {
        let end = match &announcement {
            Announcement::Stopped => Some(End::Left),
            Announcement::Duplicate { address } => Some(End::Duplicate { address: *address }),
            Announcement::Member(_)
            | Announcement::Watched { .. }
            | Announcement::MemberChanged { .. }
            | Announcement::Raised { .. }
            | Announcement::Link { .. }
            | Announcement::Asymmetric { .. }
            | Announcement::RoundTrip { .. }
            | Announcement::Converged { .. }
            | Announcement::Worker(_)
            | Announcement::WorkerChanged { .. }
            | Announcement::Pool(_)
            | Announcement::Misbehaved { .. }
            | Announcement::JoinFailed { .. }
            | Announcement::Credential(_)
            | Announcement::Led { .. }
            | Announcement::GenesisConflict { .. }
            | Announcement::NeedsUpgrade { .. } => None,
        };
        let _ = self.announcements.send(Heard { at, announcement }); // Nobody listens.
        end
    }
}

/// Callers that wait for their reply, at most [`REQUESTS_MAX`]. No reply overtakes what its turn had
/// stored, unless it rests on the log: who is answered may believe that it survives.
#[derive(Debug, Default)]
pub(crate) struct Replies {
    waiting: BTreeMap<Ticket, oneshot::Sender<Reply>>,
    /// Who hears of the changes of a watch, by its ticket.
    watching: BTreeMap<Ticket, mpsc::UnboundedSender<kv::Event>>,
    minted: u64,
    /// Replies of this turn, then those that wait for so many writes.
    fresh: Vec<(Ticket, Reply)>,
    held: VecDeque<(u64, Ticket, Reply)>,
    submitted: u64,
    stored: u64,
}

impl Replies {
    /// Notes who asked; the ticket finds the way back.
    pub(crate) fn wait(&mut self, ask: Ask) -> (Ticket, Request) {
        self.minted += 1;
        let ticket = Ticket(self.minted);
        self.waiting.insert(ticket, ask.reply);
        if let Some(events) = ask.events {
            self.watching.insert(ticket, events);
        }
        if let Request::Unwatch { watch } = &ask.request {
            self.watching.remove(watch);
        }
        (ticket, ask.request)
    }

    /// A watch hears something. Who is gone says so by itself, when it is dropped.
    fn watched(&mut self, watch: Ticket, event: kv::Event) {
        let last = matches!(event, kv::Event::Compacted(_) | kv::Event::Refused(_));
        if let Some(events) = self.watching.get(&watch) {
            let _ = events.send(event);
        }
        if last {
            self.watching.remove(&watch);
        }
    }

    /// Whether one more may ask. Who no longer waits is forgotten first.
    pub(crate) fn have_room(&mut self) -> bool {
        if self.waiting.len() >= REQUESTS_MAX {
            self.waiting.retain(|_, reply| !reply.is_closed());
        }
        self.waiting.len() < REQUESTS_MAX
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    fn reply(&mut self, ticket: Ticket, reply: Reply) {
        if reply.awaits_store() {
            self.fresh.push((ticket, reply));
        } else {
            self.tell(ticket, reply);
        }
    }

    /// One more write is durable.
    pub(crate) fn stored(&mut self) {
        self.stored += 1;
    }

    /// Ends a turn: whatever waits for no write is told.
    pub(crate) fn settle(&mut self) {
        let submitted = self.submitted;
        let fresh = self.fresh.drain(..).map(|(ticket, reply)| (submitted, ticket, reply));
        self.held.extend(fresh);
        while self.held.front().is_some_and(|(after, ..)| *after <= self.stored) {
            if let Some((_, ticket, reply)) = self.held.pop_front() {
                self.tell(ticket, reply);
            }
        }
    }

    fn tell(&mut self, ticket: Ticket, reply: Reply) {
        if let Some(waiting) = self.waiting.remove(&ticket) {
            let _ = waiting.send(reply); // The caller's deadline has passed.
        }
    }
}

/// Requests that came in while none could be taken wait in their channel; see [`Replies::have_room`].
pub(crate) type Asks = mpsc::Receiver<Ask>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_waits_for_what_was_to_be_stored_before_it_unless_it_rests_on_the_log() {
        let mut replies = Replies::default();
        let mut ask = || {
            let (reply, answer) = oneshot::channel();
            let ask = Ask { request: Request::Drain { on: true }, reply, events: None };
            (replies.wait(ask).0, answer)
        };
        let ((own, mut own_answer), (agreed, mut agreed_answer)) = (ask(), ask());
        replies.submitted += 1;
        replies.reply(own, Reply::Done);
        replies.reply(agreed, Reply::Kv(kv::Answer::Forgotten { revision: 7 }));
        replies.settle();
        assert!(agreed_answer.try_recv().is_ok(), "a majority keeps what it says");
        assert!(own_answer.try_recv().is_err(), "its row is not durable yet");
        replies.stored();
        replies.settle();
        assert_eq!(own_answer.try_recv(), Ok(Reply::Done));
    }
}

//! Watches of a node without a copy: they read on in the history of a node that has one.
//!
//! Such a watch asks for what comes after the last revision that it was told. Whoever answers, and whoever
//! answers next, the watcher sees one history.

use std::collections::{BTreeMap, BTreeSet};

use super::super::ask::{Changed, Changes, Found, Question, Told};
use super::super::watch::WatchRequest;
use super::super::{Event, Output, Unavailable};
use super::call::{Call, Pending};
use super::{Kv, Operation};
use crate::ids::Ticket;
use crate::limits;
use crate::time::Instant;
use crate::wire::{Blob, encode};

/// The watches that ask.
#[derive(Debug, Default)]
pub(super) struct Proxies {
    open: BTreeMap<Ticket, Proxy>,
    /// Who asks next. One that has a question open is not here.
    due: BTreeSet<(Instant, Ticket)>,
}

#[derive(Debug)]
struct Proxy {
    request: WatchRequest,
    /// The first part of a revision that fits no message.
    parts: Vec<Changed>,
    /// The question that is open. What answers another is of a former watch of this ticket.
    asked: Option<Ticket>,
    told_at: Instant,
}

impl Proxies {
    pub(super) fn open(&mut self, now: Instant, ticket: Ticket, request: WatchRequest) {
        self.open.insert(ticket, Proxy { request, parts: Vec::new(), asked: None, told_at: now });
        self.due.insert((now, ticket));
    }

    pub(super) fn close(&mut self, ticket: Ticket) {
        self.open.remove(&ticket);
    }

    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    /// Every watch, with where each goes on. None is left.
    pub(super) fn take(&mut self) -> Vec<(Ticket, WatchRequest)> {
        self.due.clear();
        let open = std::mem::take(&mut self.open);
        open.into_iter().map(|(ticket, proxy)| (ticket, proxy.request)).collect()
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }
}

impl Kv {
    pub(super) fn poll_due(&mut self, now: Instant, out: &mut Vec<Output>) {
        while self.proxies.due.first().is_some_and(|(at, _)| *at <= now) {
            let (_, watch) = self.proxies.due.pop_first().expect("the first was just there");
            let Some(proxy) = self.proxies.open.get(&watch) else { continue };
            let question = proxy.question();
            let deadline = now + self.settings.deadline;
            let what = Pending::Poll(watch);
            let call = Call { caller: None, operation: Operation::Other, until: deadline, what };
            let ticket = self.open(call);
            if let Some(proxy) = self.proxies.open.get_mut(&watch) {
                proxy.asked = Some(ticket);
            }
            let question = Blob::from(encode(&question));
            out.push(Output::Query { ticket, question, deadline });
        }
    }

    pub(super) fn polled(
        &mut self,
        now: Instant,
        (asked, watch): (Ticket, Ticket),
        told: Result<Told, Unavailable>,
        out: &mut Vec<Output>,
    ) {
        let proxy = self.proxies.open.get_mut(&watch);
        let Some(proxy) = proxy.filter(|proxy| proxy.asked == Some(asked)) else { return };
        let mut next = now + limits::KV_POLL_INTERVAL;
        match told.map(|told| told.what) {
            Ok(Found::Changes(changes)) => {
                let events = proxy.hear(now, changes);
                if !events.is_empty() || !proxy.parts.is_empty() {
                    next = now; // There may be more at once.
                }
                self.watches.changes_total += events.iter().map(Event::changes).sum::<u64>();
                out.extend(
                    events.into_iter().map(|event| Output::Watched { ticket: watch, event }),
                );
            }
            Ok(Found::Compacted(compacted)) => {
                self.proxies.close(watch);
                let event = Event::Compacted(compacted);
                out.push(Output::Watched { ticket: watch, event });
                return;
            }
            // Somebody else is asked next time.
            Ok(_) | Err(_) => {}
        }
        self.proxies.due.insert((next, watch));
    }
}

impl Proxy {
    fn question(&self) -> Question {
        Question::Changes {
            namespace: self.request.namespace.clone(),
            keys: self.request.keys.clone(),
            from: self.request.from,
            skip: self.parts.len() as u64,
            previous: self.request.previous,
        }
    }

    fn hear(&mut self, now: Instant, changes: Changes) -> Vec<Event> {
        let Some(from) = self.request.from else {
            // Only now is it known what the next revision is.
            self.request.from = Some(changes.through + 1);
            return Vec::new();
        };
        if changes.through + 1 < from {
            return Vec::new(); // A node that lags behind what we were told before.
        }
        let all = std::mem::take(&mut self.parts).into_iter().chain(changes.changed.0);
        let mut events: Vec<Event> = Vec::new();
        for change in all {
            if change.revision > changes.through {
                self.parts.push(change);
                continue;
            }
            match events.last_mut() {
                Some(Event::Changes { revision, changes }) if *revision == change.revision => {
                    changes.push(change);
                }
                _ => {
                    let (revision, changes) = (change.revision, vec![change]);
                    events.push(Event::Changes { revision, changes });
                }
            }
        }
        self.request.from = Some(changes.through + 1);
        if !events.is_empty() {
            self.told_at = now;
        } else if now.since(self.told_at) >= limits::KV_PROGRESS_INTERVAL {
            self.told_at = now;
            events.push(Event::Progress { revision: changes.through });
        }
        events
    }
}

impl Event {
    fn changes(&self) -> u64 {
        match self {
            Event::Changes { changes, .. } => changes.len() as u64,
            Event::Progress { .. } | Event::Compacted(_) | Event::Refused(_) => 0,
        }
    }
}

//! What we lack, who has it, and what we have asked for.
//!
//! One question per peer and one per map is outstanding. A question ends with its answer, with the link
//! that carried it, with the maps being level, or after `pull_timeout`; what is still wanted moves on to
//! the next peer known to be ahead. A peer whose answers bring nothing new three times rests.
//!
//! Invariant G-12: at most [`limits::PULLS_MAX`] questions of [`limits::PULLS_PER_MESSAGE_MAX`] maps;
//! nothing is asked of, or kept about, a departed peer.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::ids::{NodeId, Replica};
use crate::limits;
use crate::time::Instant;
use crate::wire::Transport;
use crate::wire::message::{Pull, Want};
use crate::wire::segment::Topic;

type Map = (Topic, Replica);

/// A map of which somebody has more.
#[derive(Debug)]
struct Wanted {
    /// Through where peers have it.
    ahead: BTreeMap<NodeId, u64>,
    /// Another path gets this long.
    not_before: Instant,
    /// Whom it was asked of.
    asked: Option<NodeId>,
    /// A gap in the stream of fresh news, not a difference found by a digest.
    is_fresh: bool,
}

/// A question under way.
#[derive(Debug)]
struct Asked {
    number: u64,
    due: Instant,
    transport: Transport,
    /// Per map, through where it was held when asked.
    from: BTreeMap<Map, u64>,
}

/// How questions ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) ok: u64,
    pub(super) empty: u64,
    pub(super) timeout: u64,
    pub(super) refused: u64,
}

/// Every question, asked or not.
#[derive(Debug, Default)]
pub(super) struct Pulls {
    wanted: BTreeMap<Map, Wanted>,
    asked: BTreeMap<NodeId, Asked>,
    strikes: BTreeMap<NodeId, u32>,
    resting: BTreeMap<NodeId, Instant>,
    number: u64,
    /// Something changed since the last plan.
    is_stale: bool,
    wake: Option<Instant>,
    pub(super) tally: Tally,
}

impl Pulls {
    pub(super) fn next_wake(&self) -> Option<Instant> {
        self.wake
    }

    /// `peer` has a map through `through`, which is further than we do.
    pub(super) fn want(
        &mut self,
        topic: Topic,
        replica: &Replica,
        peer: &NodeId,
        through: u64,
        not_before: Instant,
        is_fresh: bool,
    ) {
        let fresh = || Wanted { ahead: BTreeMap::new(), not_before, asked: None, is_fresh };
        let wanted = self.wanted.entry((topic, replica.clone())).or_insert_with(fresh);
        wanted.not_before = wanted.not_before.min(not_before);
        let known = wanted.ahead.entry(peer.clone()).or_default();
        *known = through.max(*known);
        self.is_stale = true;
    }

    /// A map is held through `complete` now.
    pub(super) fn progressed(&mut self, topic: Topic, replica: &Replica, complete: u64) {
        if self.wanted.is_empty() {
            return;
        }
        let map = (topic, replica.clone());
        let Some(wanted) = self.wanted.get_mut(&map) else { return };
        wanted.ahead.retain(|_, through| *through > complete);
        if wanted.ahead.is_empty() {
            self.wanted.remove(&map);
            self.is_stale = true;
        }
    }

    /// Whether a change of this map that came from `peer` answers a question about old news.
    pub(super) fn answers(&self, topic: Topic, replica: &Replica, peer: &NodeId) -> bool {
        let Some(asked) = self.asked.get(peer) else { return false };
        let map = (topic, replica.clone());
        asked.from.contains_key(&map) && self.wanted.get(&map).is_none_or(|wanted| !wanted.is_fresh)
    }

    /// An answer ended: its segments were applied before.
    pub(super) fn pulled(&mut self, now: Instant, peer: &NodeId, number: u64, changed: bool) {
        if self.asked.get(peer).is_none_or(|asked| asked.number != number) {
            sometimes!("gossip.answer_late");
            return; // It came after its time; what it brought is applied all the same.
        }
        if changed {
            sometimes!("gossip.pull_ok");
            self.tally.ok += 1;
            self.strikes.remove(peer);
            self.close(peer, |_, _| true);
        } else {
            sometimes!("gossip.pull_empty");
            self.tally.empty += 1;
            self.close(peer, |_, _| false);
            self.strike(now, peer);
        }
    }

    fn strike(&mut self, now: Instant, peer: &NodeId) {
        let strikes = self.strikes.entry(peer.clone()).or_default();
        *strikes += 1;
        if *strikes >= limits::PULL_STRIKES_MAX {
            sometimes!("gossip.peer_rests");
            self.strikes.remove(peer);
            self.resting.insert(peer.clone(), now + limits::PULL_REST);
        }
    }

    /// The link that carried a question is gone.
    pub(super) fn unlinked(&mut self, now: Instant, peer: &NodeId) {
        if self.asked.get(peer).is_some_and(|asked| asked.transport == Transport::Link) {
            sometimes!("gossip.pull_unlinked");
            self.tally.refused += 1;
            self.close(peer, |_, _| true);
            self.strike(now, peer);
        }
    }

    /// Ends the question to `peer`; it stays a candidate for the maps that `keeps` names.
    fn close(&mut self, peer: &NodeId, keeps: impl Fn(&Map, u64) -> bool) {
        let Some(asked) = self.asked.remove(peer) else { return };
        self.is_stale = true;
        for (map, from) in asked.from {
            let Some(wanted) = self.wanted.get_mut(&map) else { continue };
            if wanted.asked.as_ref() != Some(peer) {
                continue;
            }
            wanted.asked = None;
            if !keeps(&map, from) {
                wanted.ahead.remove(peer);
            }
            if wanted.ahead.is_empty() {
                self.wanted.remove(&map);
            }
        }
    }

    /// Ends questions whose time is up, and those by datagram that are answered in full.
    pub(super) fn expire(&mut self, now: Instant, complete: impl Fn(&Map) -> u64) {
        self.resting.retain(|_, until| *until > now);
        let due: Vec<NodeId> = self.peers_asked(|asked| asked.due <= now);
        for peer in due {
            sometimes!("gossip.pull_timeout");
            self.tally.timeout += 1;
            // Where something came, the rest may come from there too.
            self.close(&peer, |map, from| complete(map) > from);
        }
        if !self.is_stale {
            return;
        }
        let answered = self.peers_asked(|asked| {
            asked.transport == Transport::Datagram
                && asked.from.keys().all(|map| !self.wanted.contains_key(map))
        });
        for peer in answered {
            sometimes!("gossip.pull_answered_by_datagrams");
            self.tally.ok += 1;
            self.strikes.remove(&peer);
            self.close(&peer, |_, _| true);
        }
    }

    fn peers_asked(&self, holds: impl Fn(&Asked) -> bool) -> Vec<NodeId> {
        let peers = self.asked.iter().filter(|(_, asked)| holds(asked));
        peers.map(|(peer, _)| peer.clone()).collect()
    }

    /// Whether a plan may find anything to ask.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.is_stale || self.wake.is_some_and(|wake| wake <= now)
    }

    /// Asks whatever can be asked now. `bytes_max` is what one pull may take towards a peer, by which
    /// transport.
    pub(super) fn plan(
        &mut self,
        now: Instant,
        timeout: Duration,
        complete: impl Fn(&Map) -> u64,
        path: impl Fn(&NodeId) -> (Transport, usize),
    ) -> Vec<(NodeId, Transport, Pull)> {
        let mut batches: BTreeMap<NodeId, Batch> = BTreeMap::new();
        let free = limits::PULLS_MAX.saturating_sub(self.asked.len());
        for (map, wanted) in &mut self.wanted {
            if wanted.asked.is_some() || wanted.not_before > now {
                continue;
            }
            let can_ask = |peer: &NodeId| {
                let is_open = batches.contains_key(peer) || batches.len() < free;
                is_open && !self.asked.contains_key(peer) && !self.resting.contains_key(peer)
            };
            let ahead = wanted.ahead.iter().filter(|(peer, _)| can_ask(peer));
            let Some((peer, _)) = ahead.max_by_key(|(_, through)| **through) else { continue };
            let batch = batches.entry(peer.clone()).or_insert_with(|| Batch::new(path(peer)));
            if batch.add(map, complete(map)) {
                wanted.asked = Some(peer.clone());
            }
        }
        let pulls = batches.into_iter().map(|(peer, batch)| self.ask(now + timeout, peer, batch));
        let pulls = pulls.collect();
        self.is_stale = false;
        self.wake = self.find_wake(now);
        pulls
    }

    fn ask(&mut self, due: Instant, peer: NodeId, batch: Batch) -> (NodeId, Transport, Pull) {
        self.number += 1;
        let number = self.number;
        let want =
            |(map, from): (&Map, &u64)| Want { topic: map.0, replica: map.1.clone(), from: *from };
        let wants: Vec<Want> = batch.from.iter().map(want).collect();
        let transport = batch.transport;
        self.asked.insert(peer.clone(), Asked { number, due, transport, from: batch.from });
        (peer, transport, Pull { number, wants: wants.into() })
    }

    fn find_wake(&self, now: Instant) -> Option<Instant> {
        let open = self.wanted.values().filter(|wanted| wanted.asked.is_none());
        let begins = open.map(|wanted| wanted.not_before).filter(|begin| *begin > now);
        let is_open = self.wanted.values().any(|wanted| wanted.asked.is_none());
        let rests = self.resting.values().copied().filter(|_| is_open);
        self.asked.values().map(|asked| asked.due).chain(begins).chain(rests).min()
    }

    /// `peer` is nobody to ask any more.
    pub(super) fn forget(&mut self, peer: &NodeId) {
        self.close(peer, |_, _| false);
        self.strikes.remove(peer);
        self.resting.remove(peer);
        self.wanted.retain(|_, wanted| {
            wanted.ahead.remove(peer);
            !wanted.ahead.is_empty()
        });
        self.is_stale = true;
    }

    /// The maps that `is_gone` names are not wanted any more.
    pub(super) fn drop_sources(&mut self, is_gone: impl Fn(&Replica) -> bool) {
        self.wanted.retain(|(_, replica), _| !is_gone(replica));
        self.is_stale = true;
    }

    pub(super) fn assert_invariants(&self) {
        let asked = self.asked.len();
        assert!(asked <= limits::PULLS_MAX, "G-12: {asked} pulls are outstanding");
    }
}

/// A question that is being put together.
struct Batch {
    transport: Transport,
    bytes_left: usize,
    from: BTreeMap<Map, u64>,
}

impl Batch {
    fn new((transport, bytes_max): (Transport, usize)) -> Batch {
        // The number and the count.
        let bytes_left = bytes_max.saturating_sub(9 + 3);
        Batch { transport, bytes_left, from: BTreeMap::new() }
    }

    fn add(&mut self, map: &Map, from: u64) -> bool {
        // Topic, length of the id, id, and two integers at their longest.
        let bytes = 1 + 1 + map.1.node.as_str().len() + 9 + 9;
        let alone = !self.from.is_empty() && sim_point!("gossip.one_want");
        if self.from.len() == limits::PULLS_PER_MESSAGE_MAX || bytes > self.bytes_left || alone {
            return false;
        }
        self.bytes_left -= bytes;
        self.from.insert(map.clone(), from);
        true
    }
}

//! Who is here: which replicas are alive, and since when.
//!
//! Every node runs SWIM with its peers, keeps a table of those that are here and of those that went, and
//! publishes what it says of itself. Other machines hear notices; none keeps an opinion of its own.
//!
//! | part | is about |
//! | --- | --- |
//! | `turn.rs` | one turn: links, requests, what the engine wants |
//! | `swim.rs` | the engine, its timers, packets as bytes |
//! | `screen.rs` | which news may enter the engine |
//! | `table.rs` | rows, and the notices that follow from them |
//! | `crate::fences` | lives that are over for good |
//! | `raise.rs` | when we take up a new life |
//! | `contact.rs` | notices to the departed, transports that are silent |
//! | `corrections.rs` | what others know better of those we hold failed |
//! | `seeds.rs` | how we find others |
//! | `facts.rs` | what nodes say of themselves |
//! | `leave.rs` | how we say goodbye |
//!
//! Invariants:
//! - M-1: in its own view a node is alive, at its current incarnation (by construction: our row is made
//!   of our identity).
//! - M-2: per node the incarnation believed in never falls, a fence never falls, nothing fenced is a
//!   member.
//! - M-3: nothing that carries an identity leaves while a raise is not durable.
//! - M-5: one notice raises at most once per incarnation; a refutation never raises.
//! - M-7: tables stay within their bounds; every timer has an owner.
//! - M-12: whatever follows news of our suspicion or departure carries the refutation or the raise.
//! - M-14: notices about a replica begin with `Up`; `Suspect` and its end alternate; nothing but
//!   `Renamed` or `Forgotten` follows `Departed`. A sleep ends all of them without a word.
//!
//! Absent on purpose: leader election, transport, what a death means for a key.

mod contact;
mod corrections;
mod counts;
mod facts;
mod leave;
mod raise;
mod screen;
mod seeds;
mod swim;
mod table;
mod turn;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use crate::fences::Fences;
use crate::ids::{Incarnation, NodeId, Notice, Replica, Ticket};
use crate::machine::{Machine, Wake};
use crate::random::Rng;
use crate::time::Instant;
use crate::wire::message::{Departed, Members, Purpose, Retired};
use crate::wire::segment::Key;
use crate::wire::{Blob, Transport};

use counts::{Drops, Events};
use leave::Leave;
use raise::Raise;
use seeds::Seeds;
use swim::{Identity, Swim};
use table::{Goodbye, Row};

pub use facts::{check_fact, check_settings};
pub use seeds::Seed;
#[cfg(feature = "simulation")]
pub use swim::codec::words_of;

/// What a node is configured to be and to do as a member.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Settings {
    /// Its name.
    pub node: NodeId,
    /// Where links and datagrams reach it, as advertised.
    pub address: SocketAddr,
    /// Where its HTTP surface is, as advertised; empty if it has none.
    pub http: String,
    /// Version of the software, for the `versions` fact.
    pub version: String,
    /// Wire versions that it speaks, lowest and highest, for the same fact.
    pub protocol: (u16, u16),
    /// Failure domain, at most 63 bytes.
    pub zone: String,
    /// At most 32 pairs.
    pub labels: BTreeMap<String, String>,
    /// `host:port` of seeds.
    pub join: Vec<String>,
    /// Time between two probes.
    pub probe_interval: Duration,
    /// Time to wait for a direct acknowledgement.
    pub probe_timeout: Duration,
    /// Helpers asked for an indirect probe.
    pub indirect_probes: u32,
    /// Factor of the suspicion time.
    pub suspicion_mult: u32,
    /// Time between two list exchanges.
    pub sync_interval: Duration,
    /// How long a failed node is remembered.
    pub forget_after: Duration,
    /// How long the death of a restarting node is withheld.
    pub restart_grace: Duration,
    /// How long a leave may take.
    pub leave_timeout: Duration,
    /// Members known, departed ones included.
    pub members_max: usize,
    /// Fences kept.
    pub fences_max: usize,
    /// The longest that a dial of a seed takes: all that links give it.
    pub dial_timeout: Duration,
}

/// Who is here, as one node sees it.
pub struct Membership {
    settings: Settings,
    identity: Identity,
    since: Instant,
    swim: Swim,
    rows: BTreeMap<NodeId, Row>,
    facts: BTreeMap<NodeId, facts::Facts>,
    fences: Fences,
    /// Whose fences are durable, or were asked to be.
    kept: BTreeSet<NodeId>,
    raise: Raise,
    seeds: Seeds,
    leave: Option<Leave>,
    /// When rows end, and when a withheld death is told.
    expiries: BTreeSet<(Instant, NodeId)>,
    departing: BTreeMap<NodeId, contact::Departing>,
    /// When somebody was last told of its end, beyond what `departing` holds.
    noticed: BTreeMap<NodeId, Instant>,
    /// When an address was last dialled for somebody else.
    sought: BTreeMap<SocketAddr, Instant>,
    evictions: BTreeMap<(Instant, u64), Key>,
    eviction_number: u64,
    linked: BTreeSet<NodeId>,
    burst: Option<Burst>,
    events: Events,
    drops: Drops,
    rng: Rng,
    sleeps: u64,
    started: bool,
    joined: bool,
    full: bool,
    join_deadline: Instant,
    sync_at: Instant,
    sweep_at: Instant,
    /// When the loop last turned, whatever for.
    turned_at: Instant,
    /// When we were last handed an input.
    handled_at: Instant,
}

/// A run of changes of the set of members.
#[derive(Debug, Clone, Copy)]
struct Burst {
    first: Instant,
    last: Instant,
}

impl Membership {
    /// The membership of a node whose `incarnation` is durable, and in which its process is born.
    pub fn new(
        settings: Settings,
        incarnation: Incarnation,
        fences: BTreeMap<NodeId, Incarnation>,
        now: Instant,
        rng: Rng,
    ) -> Membership {
        let replica = Replica { node: settings.node.clone(), incarnation };
        let identity = Identity { replica, born: incarnation, address: settings.address };
        Membership {
            swim: Swim::new(identity.clone(), &settings, rng.child("swim")),
            seeds: Seeds::new(&settings.join, settings.dial_timeout, now, rng.child("seeds")),
            kept: fences.keys().cloned().collect(),
            fences: Fences::restored(fences, settings.fences_max),
            joined: settings.join.is_empty(),
            join_deadline: now + JOIN_PATIENCE,
            sync_at: now + settings.sync_interval,
            sweep_at: now + contact::SWEEP_INTERVAL,
            turned_at: now,
            handled_at: now,
            since: now,
            settings,
            identity,
            rng,
            rows: BTreeMap::new(),
            facts: BTreeMap::new(),
            raise: Raise::default(),
            leave: None,
            expiries: BTreeSet::new(),
            departing: BTreeMap::new(),
            noticed: BTreeMap::new(),
            sought: BTreeMap::new(),
            evictions: BTreeMap::new(),
            eviction_number: 0,
            linked: BTreeSet::new(),
            burst: None,
            events: Events::default(),
            drops: Drops::default(),
            sleeps: 0,
            started: false,
            full: false,
        }
    }

    /// Notes that the loop turns, for whatever machine. True: it slept longer than others remember us, and
    /// whatever comes next has to find us born again.
    pub fn turns(&mut self, now: Instant) -> bool {
        let overslept = self.overslept(now);
        if !overslept {
            self.turned_at = now;
        }
        overslept
    }

    fn overslept(&self, now: Instant) -> bool {
        self.started && now.since(self.turned_at) > self.settings.forget_after
    }

    /// This node, in its present life.
    pub fn local(&self) -> &Replica {
        &self.identity.replica
    }

    /// The life in which this process started.
    pub fn born(&self) -> Incarnation {
        self.identity.born
    }

    /// Whether anything that carries an identity may leave: not before the start, not while a raise is
    /// being made durable (M-3).
    pub fn may_send(&self) -> bool {
        self.started && self.raise.pending.is_none()
    }

    /// The published row of a node.
    pub fn member(&self, node: &NodeId) -> Option<Member> {
        if *node == self.identity.replica.node {
            return Some(self.own_member());
        }
        self.rows.get(node).map(|row| self.published(row))
    }

    /// Where `node` can be reached.
    pub fn address(&self, node: &NodeId) -> Option<SocketAddr> {
        if *node == self.identity.replica.node {
            return Some(self.identity.address);
        }
        self.rows.get(node).map(|row| row.address)
    }

    /// Which transport of `node` is silent while the other flows.
    pub fn silent_transport(&self, node: &NodeId) -> Option<Transport> {
        self.rows.get(node)?.heard.missing
    }

    /// Every published row, departed ones included: our own, then the others by name.
    pub fn members(&self) -> impl Iterator<Item = Member> + '_ {
        let others = self.rows.values().map(|row| self.published(row));
        std::iter::once(self.own_member()).chain(others)
    }

    /// Whether `node` is alive or merely suspect.
    pub fn is_member(&self, node: &NodeId) -> bool {
        *node == self.identity.replica.node || self.rows.get(node).is_some_and(Row::is_member)
    }

    /// Members, ourselves included.
    pub fn member_count(&self) -> usize {
        1 + self.rows.values().filter(|row| row.is_member()).count()
    }

    /// The members behind the configured seeds; nothing, unless every address that they stand for is the
    /// address of one.
    pub fn behind_seeds(&self) -> Option<BTreeSet<NodeId>> {
        let addresses = self.seeds.addresses(&self.settings.join)?;
        let own = (self.identity.address, &self.identity.replica.node);
        let members = self.rows.iter().filter(|(_, row)| row.is_member());
        let members = members.map(|(node, row)| (row.address, node)).chain([own]);
        let members: BTreeMap<SocketAddr, &NodeId> = members.collect();
        addresses.iter().map(|address| members.get(address).map(|node| (*node).clone())).collect()
    }

    /// The list that a link exchanges.
    pub fn listed(&self, purpose: Purpose) -> Members {
        Members { purpose, members: self.own_list().into() }
    }

    /// The highest life of `node` that is refused everywhere.
    pub fn fence(&self, node: &NodeId) -> Option<Incarnation> {
        self.fences.of(node)
    }

    /// The health score, 0 (well) to 8.
    pub fn score(&self) -> u32 {
        self.swim.score()
    }

    /// Whether a first list was exchanged, or nobody is to be met, or ten seconds have passed.
    pub fn joined(&self) -> bool {
        self.joined
    }

    /// Whether the node is leaving.
    pub fn leaving(&self) -> bool {
        self.leave.is_some()
    }

    /// Whether somebody who is here was ignored because the table is full, and nobody made room since.
    pub fn members_full(&self) -> bool {
        self.full && self.rows.len() + 1 >= self.settings.members_max
    }
}

impl Machine for Membership {
    type Input = Input;
    type Output = Output;

    fn handle(&mut self, now: Instant, input: Input, out: &mut Vec<Output>) {
        if self.overslept(now) {
            self.slept(now, out);
        }
        (self.turned_at, self.handled_at) = (now, now);
        match input {
            Input::Start => self.start(now, out),
            Input::Heard { from, transport, address } => {
                self.heard(now, &from, transport, address, out);
            }
            Input::Swim { from, transport, packet } => {
                self.swim(now, &from, transport, &packet, out);
            }
            Input::Departed { notice, .. } => self.meet(now, notice.incarnation, None, out),
            Input::Retired { notice, .. } => self.retired(now, &notice, out),
            Input::Overtaken { known } => self.meet(now, known, None, out),
            Input::Linked { peer, born, address } => {
                self.linked(now, Identity { replica: peer, born, address }, out);
            }
            Input::Unlinked { peer } => {
                self.linked.remove(&peer);
            }
            Input::Bye { peer, restarting } => {
                let goodbye = if restarting { Goodbye::Restarting } else { Goodbye::Leaving };
                self.bye(now, &peer, goodbye, out);
            }
            Input::Stale { known, address } => self.meet(now, known, Some(address), out),
            Input::List { from, list } => self.list(now, &from, list, out),
            Input::Resolved { seed, addresses } => self.resolved(now, &seed, addresses, out),
            Input::SeedFailed { address, refused } => self.seeds.unreached(address, refused, out),
            Input::Fact { owner, key, value } => self.fact(now, &owner, key, value, out),
            Input::Persisted { incarnation } => self.persisted(now, incarnation, out),
            Input::Join { ticket, addresses } => {
                let answer = self.join(addresses, out);
                out.push(Output::Answer { ticket, answer });
            }
            Input::Leave { ticket, restarting } => self.start_leaving(now, ticket, restarting, out),
            Input::Evict { ticket, node } => {
                let answer = self.evict(now, &node, out);
                out.push(Output::Answer { ticket, answer });
            }
            Input::Labels { ticket, labels } => {
                let answer = self.relabel(labels, out);
                out.push(Output::Answer { ticket, answer });
            }
            Input::Tell { fact, value } => self.write_fact(Key::from(fact), Some(value), out),
            Input::Tick => self.tick(now, out),
        }
        self.settle(now, out);
        self.assert_invariants();
    }

    fn next_wake(&self) -> Option<Wake> {
        if !self.started {
            return None;
        }
        let engine = self.swim.next_wake();
        let others = [
            (Some(self.sync_at), "a member list is exchanged"),
            (Some(self.sweep_at), "silent transports are looked for"),
            (Some(self.seeds.next_wake()), "seeds are tried"),
            ((!self.joined).then_some(self.join_deadline), "waiting for a first list ends"),
            (self.expiries.first().map(|(at, _)| *at), "a departed node is forgotten"),
            (self.departing.values().map(|one| one.next_at).min(), "a failed node is told"),
            (self.evictions.keys().next().map(|(at, _)| *at), "an eviction is withdrawn"),
            (self.burst.map(|burst| burst.last + table::BURST_GAP), "the view was still"),
            (self.leave_wake(self.handled_at), "leaving goes on"),
        ];
        let others = others.into_iter().filter_map(|(at, what)| Some((at?, what)));
        engine.into_iter().chain(others).map(|(at, what)| Wake { at, what }).min()
    }
}

/// What can happen to membership.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The host has bound its sockets; the incarnation handed to `new` is durable.
    Start,
    /// A datagram or frame of `from` arrived, before its parts are handed over. `address` is where a
    /// datagram came from.
    Heard { from: Replica, transport: Transport, address: Option<SocketAddr> },
    /// A SWIM packet of `from`.
    Swim { from: Replica, transport: Transport, packet: Blob },
    /// `from` holds our life `incarnation` failed.
    Departed { from: Replica, notice: Departed },
    /// `from` has fenced a replica.
    Retired { from: Replica, notice: Retired },
    /// A replica map shows progress of our own beyond our head: a former life with our incarnation.
    Overtaken { known: Incarnation },
    /// A link to `peer` finished its handshake.
    Linked { peer: Replica, born: Incarnation, address: SocketAddr },
    /// The link to `peer` is gone.
    Unlinked { peer: NodeId },
    /// The peer said `Bye`.
    Bye { peer: Replica, restarting: bool },
    /// A handshake of ours was refused because a newer life of ours is known.
    Stale { known: Incarnation, address: SocketAddr },
    /// A member list arrived over a link.
    List { from: Replica, list: Members },
    /// The answer to `Output::Resolve`.
    Resolved { seed: String, addresses: Vec<SocketAddr> },
    /// The answer to `Output::DialSeed`: no handshake came of it.
    SeedFailed { address: SocketAddr, refused: bool },
    /// The fact `key` of `owner` changed; `None` when it is gone.
    Fact { owner: Replica, key: Key, value: Option<Blob> },
    /// `Output::Persist` is durable.
    Persisted { incarnation: Incarnation },
    /// An operator wants these seeds tried as well.
    Join { ticket: Ticket, addresses: Vec<String> },
    /// An operator, or the end of the process, wants the cluster left. `restarting`: a new process will
    /// take over.
    Leave { ticket: Option<Ticket>, restarting: bool },
    /// An operator wants a failed node forgotten now.
    Evict { ticket: Ticket, node: NodeId },
    /// An operator replaces the labels.
    Labels { ticket: Ticket, labels: BTreeMap<String, String> },
    /// The host, or another machine, publishes a fact of its own: `audit`, `raft`.
    Tell { fact: &'static str, value: Blob },
    /// `next_wake` has passed.
    Tick,
}

/// What membership asks of the world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Send a SWIM packet; over the link only if it is up.
    Swim { to: NodeId, address: SocketAddr, transport: Transport, packet: Blob },
    /// Tell a node that it was given up for dead.
    SendDeparted { to: Replica, address: SocketAddr, transport: Transport, notice: Departed },
    /// Tell a sender that a replica is fenced.
    SendRetired { to: NodeId, address: Option<SocketAddr>, transport: Transport, notice: Retired },
    /// Send our list over the link.
    SendList { to: NodeId, list: Members },
    /// Resolve a seed's name.
    Resolve { seed: String },
    /// Dial an address of a seed.
    DialSeed { address: SocketAddr },
    /// Make the incarnation and the fences durable; nothing that carries an identity leaves before
    /// `Input::Persisted`.
    Persist {
        incarnation: Incarnation,
        fences: BTreeMap<NodeId, Incarnation>,
        /// Whose fences made room for others: nothing of them is kept.
        dropped: BTreeSet<NodeId>,
    },
    /// From now on this node is `replica`: every machine mints anew under it.
    Raised { replica: Replica },
    /// The loop slept beyond `forget_after`: every foreign map and link is dropped.
    Slept,
    /// Something became of a replica.
    Notice(Notice),
    /// A replica that was never met here is known to be failed: dial it now and then.
    LookFor { replica: Replica, address: SocketAddr },
    /// Write (or delete) one of our facts.
    WriteFact { key: Key, value: Option<Blob> },
    /// All facts have been written once.
    FactsReady,
    /// The answer to an operator.
    Answer { ticket: Ticket, answer: Result<(), Refusal> },
    /// We left: say `Bye` on every link. `done` once the news was spread or time is up.
    Left { restarting: bool },
    /// The leave has ended; the process may stop.
    Stopped,
    /// Another process uses our node id; the process must end with exit 4.
    Duplicate { address: Option<SocketAddr> },
    /// A peer broke the rules.
    Misbehaved { peer: NodeId, what: &'static str },
    /// The view of `node` changed, or it is gone from it.
    Changed { node: NodeId },
    /// A transport to a peer fell silent while the other flows (`None`: no longer).
    Asymmetric { peer: NodeId, missing: Option<Transport> },
    /// The view of members changed and was then still for a second.
    Converged { took: Duration },
    /// An attempt to reach a seed came to nothing, `failures` times in a row.
    JoinFailed { seed: String, failures: u32 },
}

/// Why an operator's wish was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, serde::Serialize, serde::Deserialize)]
pub enum Refusal {
    /// No such node is known.
    #[error("no node `{node}` is known")]
    Unknown {
        /// The name asked for.
        node: NodeId,
    },
    /// Only a failed node can be evicted.
    #[error("`{node}` is {state}; only a failed node can be evicted")]
    NotFailed {
        /// The name asked for.
        node: NodeId,
        /// What it is.
        state: String,
    },
    /// The labels are too many or too long.
    #[error("{what}")]
    Labels {
        /// Which bound, with the offending key.
        what: String,
    },
    /// The addresses cannot be used.
    #[error("{what}")]
    Addresses {
        /// Which one and why.
        what: String,
    },
    /// The node is leaving.
    #[error("this node is leaving the cluster")]
    Leaving,
}

/// One row of the view, as published.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Member {
    /// Who.
    pub node: NodeId,
    /// Its newest life.
    pub incarnation: Incarnation,
    /// The life in which its process started.
    pub born: Incarnation,
    /// What is thought of it.
    pub state: State,
    /// Where it is reached.
    pub address: SocketAddr,
    /// When it came into this state, on this node's clock.
    pub since: Instant,
    /// Whether this is the node itself.
    pub local: bool,
    /// What it says of itself, by key, as JSON.
    pub facts: BTreeMap<Key, Blob>,
    /// A transport that is silent while the other flows.
    pub missing: Option<Transport>,
}

/// See [`Member`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Heard of, not doubted.
    Alive,
    /// One prober failed, the timer runs.
    Suspect,
    /// Given up for dead.
    Failed,
    /// Said goodbye.
    Left,
    /// Taken out by an operator.
    Evicted,
}

impl State {
    /// Its name in answers.
    pub fn name(self) -> &'static str {
        match self {
            State::Alive => "alive",
            State::Suspect => "suspect",
            State::Failed => "failed",
            State::Left => "left",
            State::Evicted => "evicted",
        }
    }
}

/// After this long a node without a first list counts as started.
const JOIN_PATIENCE: Duration = Duration::from_secs(10);

//! Who is here: which replicas are alive, and since when.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use crate::ids::{Incarnation, NodeId, Notice, Replica, Ticket};
use crate::machine::{Count, Counted, Labels, Machine, Wake};
use crate::random::Rng;
use crate::time::Instant;
use crate::wire::message::{Departed, Members, Retired};
use crate::wire::segment::Key;
use crate::wire::{Blob, Transport};

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
}

/// Who is here, as one node sees it.
pub struct Membership {
    settings: Settings,
    local: Replica,
}

impl Membership {
    /// The membership of a node whose `incarnation` is durable, and in which its process was born.
    pub fn new(
        settings: Settings,
        incarnation: Incarnation,
        fences: BTreeMap<NodeId, Incarnation>,
        now: Instant,
        rng: Rng,
    ) -> Membership {
        let _ = (fences, now, rng);
        let local = Replica { node: settings.node.clone(), incarnation };
        Membership { settings, local }
    }

    /// This node, in its present life.
    pub fn local(&self) -> &Replica {
        &self.local
    }

    /// The life in which this process started.
    pub fn born(&self) -> Incarnation {
        self.local.incarnation
    }

    /// Whether anything that carries an identity may leave: not before the start, not while a raise is
    /// being made durable.
    pub fn may_send(&self) -> bool {
        true
    }

    /// The published row of a node.
    pub fn member(&self, node: &NodeId) -> Option<Member> {
        let _ = node;
        None
    }

    /// Every published row, departed ones included, by name.
    pub fn members(&self) -> impl Iterator<Item = Member> + '_ {
        std::iter::empty()
    }

    /// Whether `node` is alive or merely suspect.
    pub fn is_member(&self, node: &NodeId) -> bool {
        *node == self.local.node
    }

    /// The list that a link exchanges.
    pub fn listed(&self, wants_answer: bool) -> Members {
        Members { wants_answer, members: Vec::new().into() }
    }

    /// The highest life of `node` that is refused everywhere.
    pub fn fence(&self, node: &NodeId) -> Option<Incarnation> {
        let _ = node;
        None
    }

    /// The health score, 0 (well) to 8.
    pub fn score(&self) -> u32 {
        0
    }

    /// Whether a first list was exchanged, or nobody is to be met, or ten seconds have passed.
    pub fn joined(&self) -> bool {
        false
    }

    /// Whether the node is leaving.
    pub fn leaving(&self) -> bool {
        false
    }

    /// Whether somebody could not be taken in because the table is full.
    pub fn members_full(&self) -> bool {
        self.settings.members_max == 0
    }
}

impl Machine for Membership {
    type Input = Input;
    type Output = Output;

    fn handle(&mut self, now: Instant, input: Input, out: &mut Vec<Output>) {
        let _ = (now, input, out);
    }

    fn next_wake(&self) -> Option<Wake> {
        None
    }
}

impl Counted for Membership {
    fn counts(&self, visit: &mut dyn FnMut(Count)) {
        visit(Count { name: "membership_health_score", labels: Labels::None, value: 0 });
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
    Persist { incarnation: Incarnation, fences: BTreeMap<NodeId, Incarnation> },
    /// From now on this node is `replica`: every machine mints anew under it.
    Raised { replica: Replica },
    /// The loop slept beyond `forget_after`: every foreign map and link is dropped.
    Slept,
    /// Something became of a replica.
    Notice(Notice),
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

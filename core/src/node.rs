//! One node: the machines of all domains, and what they say to each other.
//!
//! ```text
//!   host ── Input ──▶ Node::handle ──▶ machine ──▶ its outputs ──▶ route ──▶ machine … ──▶ Effect ──▶ host
//!                     Node::flush  ──▶ fresh gossip is pushed, snapshots are published
//! ```
//!
//! The host hands in inputs, at most [`limits::TURN_INPUTS_MAX`] a turn, calls [`Node::flush`] once, and
//! performs the effects in order. Between machines only data passes, in `node/route.rs`: every output of
//! one machine is an input of others or an effect, and a queue applies them in the order in which they
//! arose.
//!
//! Absent on purpose: protocol. A rule found here belongs into a machine.

mod contract;
mod datagram;
pub mod flight;
mod misbehaviour;
mod publish;
mod route;
pub mod settings;
mod timed;

#[cfg(test)]
mod tests;

pub use contract::{
    Announcement, Answer, Call, Effect, Image, Input, Keyspace, Reply, Request, Settings,
};
pub use publish::{Members, Published};

/// The machines, for the values that hosts show and check. Hosts name them through the node alone.
pub use crate::{credentials, gossip, kv, link, membership, pools, raft, replica, workers};

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::credentials::Credentials;
use crate::gossip::Gossip;
use crate::ids::{Incarnation, MemberId, NodeId, Replica, Ticket};
use crate::kv::Kv;
use crate::limits;
use crate::link::Links;
use crate::machine::{Counted, Machine, Wake};
use crate::membership::Membership;
use crate::pools::Pools;
use crate::raft::Raft;
use crate::random::Rng;
use crate::replica::{Maps, Registration};
use crate::time::Instant;
use crate::wire::Blob;
use crate::wire::segment::Topic;
use crate::workers::Workers;

use misbehaviour::Misbehaviour;
use publish::Touched;
use route::Step;
use timed::Timed;

/// The keyspace `meta` holds the incarnation under this key.
pub const INCARNATION_KEY: &str = "incarnation";
/// The keyspace `meta` holds the fences under this prefix, by node.
pub const FENCE_PREFIX: &str = "fence/";

/// One node, owned by one loop.
pub struct Node {
    membership: Timed<Membership>,
    links: Timed<Links>,
    maps: Timed<Maps>,
    gossip: Timed<Gossip>,
    workers: Timed<Workers>,
    credentials: Timed<Credentials>,
    pools: Timed<Pools>,
    raft: Timed<Raft>,
    kv: Timed<Kv>,
    local: Replica,
    born: Incarnation,
    /// Peers with a link that is up.
    linked: BTreeSet<NodeId>,
    steps: VecDeque<Step>,
    tickets: Tickets,
    misbehaviour: Misbehaviour,
    touched: Touched,
    counts_at: Option<Instant>,
    counts_interval: std::time::Duration,
    draining: bool,
    published: Arc<Published>,
}

impl Node {
    /// A node in the life `incarnation`, which is durable (or needs no store), with what storage gave.
    pub fn boot(
        settings: Settings,
        incarnation: Incarnation,
        image: &Image,
        seed: [u8; 32],
        now: Instant,
    ) -> Node {
        let rng = Rng::new(seed);
        let local = Replica { node: settings.membership.node.clone(), incarnation };
        let counts_interval = settings.counts_interval;
        let forget_after = settings.membership.forget_after;
        let mut workers = settings.workers;
        workers.same_machine = settings.membership.address.ip().is_loopback();
        let registrations = registrations();
        let bounds = replica::Settings {
            tombstones_max: settings.tombstones_max,
            fences_max: settings.membership.fences_max,
            ready_timeout: settings.ready_timeout,
        };
        let mut membership = settings.membership;
        // All of a dial and all of its handshake: whatever comes of one is known by then.
        membership.dial_timeout = settings.link.connect_timeout + settings.link.handshake_timeout;
        let membership =
            Membership::new(membership, incarnation, fences(image), now, rng.child("membership"));
        let link = link::Settings { fences_max: bounds.fences_max, ..settings.link };
        let links = Links::new(link, local.clone(), incarnation, now, rng.child("link"));
        let maps = Maps::new(local.clone(), registrations, bounds);
        let gossip = Gossip::new(settings.gossip, local.clone(), now, rng.child("gossip"));
        let kept = kept(image);
        let mut pools = settings.pools;
        pools.forget_after = forget_after;
        let workers = Workers::new(workers, local.clone(), &kept);
        let credentials = Credentials::new(settings.credentials, &kept);
        let pools = Pools::new(pools, local.clone(), &kept);
        let raft = raft::Settings { fences_max: bounds.fences_max, ..settings.raft };
        let raft = Raft::new(raft, local.clone(), &rows(image), now, rng.child("raft"));
        let raft = raft.expect("RF-12: hosts check the log before they start a node");
        let published = Arc::new(Published::new(local.clone(), now));
        Node {
            membership: Timed::new(membership),
            links: Timed::new(links),
            maps: Timed::new(maps),
            gossip: Timed::new(gossip),
            workers: Timed::new(workers),
            credentials: Timed::new(credentials),
            pools: Timed::new(pools),
            raft: Timed::new(raft),
            kv: Timed::new(Kv::new(settings.kv)),
            born: incarnation,
            local,
            linked: BTreeSet::new(),
            steps: VecDeque::new(),
            tickets: Tickets::default(),
            misbehaviour: Misbehaviour::default(),
            touched: Touched::default(),
            counts_at: None,
            counts_interval,
            draining: false,
            published,
        }
    }

    /// Ends a turn: what the batch wrote is pushed to peers, what it touched is published.
    pub fn flush(&mut self, now: Instant, out: &mut Vec<Effect>) {
        if self.raft.is_touched() {
            self.flush_raft(now, out);
            self.flush_kv(now, out);
        }
        if self.pools.is_touched() {
            self.flush_pools(now, out);
        }
        if self.gossip.awaits_flush(now) {
            self.flush_gossip(now, out);
            self.settle(now, out);
        }
        self.publish(now);
        self.membership.settle();
        self.links.settle();
        self.maps.settle();
        self.gossip.settle();
        self.workers.settle();
        self.credentials.settle();
        self.pools.settle();
        self.raft.settle();
        self.kv.settle();
    }

    /// The snapshots that any thread may read.
    pub fn published(&self) -> &Arc<Published> {
        &self.published
    }

    /// This node's present life.
    pub fn local(&self) -> &Replica {
        &self.local
    }

    /// Membership, for whoever checks it.
    pub fn membership(&self) -> &Membership {
        &self.membership
    }

    /// The links, for whoever checks them.
    pub fn links(&self) -> &Links {
        &self.links
    }

    /// Peers with a link that is up.
    pub fn linked(&self) -> &BTreeSet<NodeId> {
        &self.linked
    }

    /// The owner maps, for whoever checks them.
    pub fn maps(&self) -> &Maps {
        &self.maps
    }

    /// Whose maps may have moved since this was last asked, for whoever checks them.
    #[cfg(feature = "simulation")]
    pub fn take_touched(&mut self) -> replica::Touched {
        self.maps.quietly().take_touched()
    }

    /// Gossip, for whoever checks it.
    pub fn gossip(&self) -> &Gossip {
        &self.gossip
    }

    /// The agreed log, for whoever checks it.
    pub fn raft(&self) -> &Raft {
        &self.raft
    }

    /// The consistent store, for whoever checks it.
    pub fn kv(&self) -> &Kv {
        &self.kv
    }

    /// The credentials, for whoever checks them.
    pub fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// The workers, for whoever checks them.
    pub fn workers(&self) -> &Workers {
        &self.workers
    }

    /// The pools, for whoever checks them.
    pub fn pools(&self) -> &Pools {
        &self.pools
    }

    /// Mints tickets for stores and calls.
    fn ask(&mut self, question: Question) -> Ticket {
        self.tickets.next += 1;
        let ticket = Ticket(self.tickets.next);
        self.tickets.open.insert(ticket, question);
        ticket
    }
}

impl Machine for Node {
    type Input = Input;
    type Output = Effect;

    fn handle(&mut self, now: Instant, input: Input, out: &mut Vec<Effect>) {
        if self.membership.quietly().turns(now) {
            self.membership_step(membership::Input::Tick);
        }
        self.accept(now, input, out);
        self.settle(now, out);
    }

    fn next_wake(&self) -> Option<Wake> {
        let wakes = [
            self.membership.wake(),
            self.links.wake(),
            self.maps.wake(),
            self.gossip.wake(),
            self.workers.wake(),
            self.credentials.wake(),
            self.pools.wake(),
            self.raft.wake(),
            self.kv.wake(),
        ];
        wakes.into_iter().fold(None, Wake::earlier)
    }
}

impl Counted for Node {
    fn counts(&self, visit: &mut dyn FnMut(crate::machine::Count)) {
        self.membership.counts(visit);
        self.links.counts(visit);
        self.maps.counts(visit);
        self.gossip.counts(visit);
        self.workers.counts(visit);
        self.credentials.counts(visit);
        self.pools.counts(visit);
        self.raft.counts(visit);
        self.kv.counts(visit);
        self.misbehaviour.counts(visit);
    }
}

/// What the answer to a store or a call is for. Bounded by what the machines keep open: one persist,
/// one resolution per seed, one probe per worker.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Question {
    /// Membership's incarnation and fences.
    Persist(Incarnation),
    /// A domain's own row; nobody waits for it.
    Keep,
    /// A batch of the agreed log, by its number there.
    Raft(u64),
    /// The addresses of a seed.
    Resolve(String),
    /// A probe, by the number that workers gave it.
    Probe(Ticket),
    /// An errand to the store of credentials, by the number that they gave it.
    Errand(Ticket),
}

#[derive(Debug, Default)]
struct Tickets {
    next: u64,
    open: BTreeMap<Ticket, Question>,
}

/// The topics of this build and the rules of their domains.
fn registrations() -> Vec<Registration> {
    vec![
        Registration {
            topic: Topic::FACTS,
            check: crate::membership::check_fact,
            entries_max: limits::FACTS_BYTES_MAX,
            dies_with_process: false,
        },
        Registration {
            topic: Topic::WORKERS,
            check: crate::workers::check_entry,
            entries_max: limits::WORKER_CLAIMS_OWN_MAX + 1,
            dies_with_process: false,
        },
        Registration {
            topic: Topic::POOLS,
            check: crate::pools::check_entry,
            entries_max: limits::POOL_ENTRIES_MAX,
            dies_with_process: false,
        },
    ]
}

/// Whether what storage gave is a log that a node may vote with (RF-12). A host asks before it starts one.
pub fn check(image: &Image) -> Result<(), raft::Damaged> {
    raft::check(&rows(image))
}

/// What storage holds of a log that was formed with these voters, of whom `member` is one. For hosts that
/// begin with a cluster in being.
pub fn formed(
    genesis: raft::Genesis,
    member: MemberId,
    voters: BTreeMap<MemberId, NodeId>,
    voters_max: u8,
) -> Image {
    let rows = raft::formed(genesis, member, voters, voters_max).into_iter();
    let rows = rows.filter_map(|row| Some(((keyspace(row.room), row.key), row.value?)));
    rows.collect()
}

/// The copy of a log that storage holds, as the only voter of another: see [`raft::survivor`]. With it the
/// batch that makes it so.
pub fn survivor(
    image: &Image,
    genesis: raft::Genesis,
) -> Result<(raft::Survivor, Batch), raft::Unfit> {
    let mut survivor = raft::survivor(&rows(image), genesis)?;
    let batch = batch(std::mem::take(&mut survivor.rows));
    Ok((survivor, batch))
}

/// The batch that drops whatever storage holds of a log.
pub fn dropped(image: &Image) -> Batch {
    batch(raft::dropped(&rows(image)))
}

/// Rows to write or, without a value, to delete: whole or not at all.
pub type Batch = Vec<(Keyspace, String, Option<Blob>)>;

fn batch(rows: Vec<raft::Row>) -> Batch {
    rows.into_iter().map(|row| (keyspace(row.room), row.key, row.value)).collect()
}

fn keyspace(room: raft::Room) -> Keyspace {
    match room {
        raft::Room::Log => Keyspace::Log,
        raft::Room::Hard => Keyspace::Hard,
        raft::Room::Snapshot => Keyspace::Snapshot,
    }
}

/// The rows of the agreed log.
fn rows(image: &Image) -> raft::Rows {
    let rows = image.iter().filter_map(|((keyspace, key), value)| {
        let room = match keyspace {
            Keyspace::Log => raft::Room::Log,
            Keyspace::Hard => raft::Room::Hard,
            Keyspace::Snapshot => raft::Room::Snapshot,
            Keyspace::Meta | Keyspace::Local => return None,
        };
        Some(((room, key.clone()), value.clone()))
    });
    rows.collect()
}

fn fences(image: &Image) -> BTreeMap<NodeId, Incarnation> {
    let rows = image.iter().filter(|((keyspace, _), _)| *keyspace == Keyspace::Meta);
    rows.filter_map(|((_, key), value)| {
        let node = key.strip_prefix(FENCE_PREFIX)?.parse().ok()?;
        let fence = crate::wire::decode::<u64, 9>(value).ok()?;
        Some((node, Incarnation(fence)))
    })
    .collect()
}

/// What the domains keep for themselves, by full key.
fn kept(image: &Image) -> BTreeMap<String, Blob> {
    let rows = image.iter().filter(|((keyspace, _), _)| *keyspace == Keyspace::Local);
    rows.map(|((_, key), value)| (key.clone(), value.clone())).collect()
}

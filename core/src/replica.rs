//! Values that converge: owner maps, one writer each for ever.
//!
//! Every replica owns one map per topic; nobody else writes it, everybody may pass it on. Pieces of maps
//! travel as segments ([`Maps::segment`] cuts them, `Input::Segment` takes them in), and deletion depends
//! on no clock: whoever fell behind a floor is swept. What domains see is one *view* per node and topic,
//! of one life at a time.
//!
//! Invariants (`Maps::check` holds what one node can see of them, the property tests the rest):
//! - RP-1: what is held and certain is the owner's newest as far as we were told.
//! - RP-2: `complete ≤ head`; `floor`, `seen`, `head` never fall; `complete` falls only by a sweep.
//! - RP-3: nothing resurrects. RP-4: what lives throughout never vanishes.
//! - RP-5: every entry was written by the replica whose map it is in.
//! - RP-6: no map of a fenced replica; one life of a node is in view at a time.
//! - RP-7: a floor is acknowledged by all, unless the bound raised it.
//! - RP-12: no sequence is given twice. RP-13: tombstones stay within their bound.
//!
//! Absent on purpose: wall clocks, quorums, order between owners, a way to write somebody else's map,
//! and for now the shared map and the map of the log.

mod admission;
mod copy;
mod entries;
mod life;
mod merge;
mod owner;
mod places;
mod read;
#[cfg(feature = "simulation")]
mod watch;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use self::life::{Known, View};
use self::owner::Owner;
use crate::fences::Fences;
use crate::ids::{Incarnation, NodeId, Notice, Replica};
use crate::limits;
use crate::machine::{Machine, Wake};
use crate::time::Instant;
use crate::wire::message::Retired;
use crate::wire::segment::{Key, Progress, Segment, Topic, Unused};
use crate::wire::{Blob, Transport};

pub use self::read::Row;
#[cfg(feature = "simulation")]
pub use self::watch::{Held, HeldEntry, Touched, Wrote};

/// Every owner map that this node writes or holds.
#[derive(Debug, Clone)]
pub struct Maps {
    local: Replica,
    settings: Settings,
    rooms: BTreeMap<Topic, Room>,
    nodes: BTreeMap<NodeId, Known>,
    fences: Fences,
    retired_at: BTreeMap<NodeId, Instant>,
    retired: u64,
    remints: u64,
    #[cfg(feature = "simulation")]
    touched: Touched,
}

/// How much the maps keep, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Tombstones of one map.
    pub tombstones_max: usize,
    /// Lives that are over: as many as membership keeps, or somebody would be a member and have no maps.
    pub fences_max: usize,
    /// How long a node's old maps wait for its new life.
    pub ready_timeout: Duration,
}

/// Whether an entry may stand in a map: the domain's own rule about author, key and value. The error
/// names the broken rule and is counted as misbehaviour.
pub type Check = fn(&Replica, &Key, Option<&Blob>) -> Result<(), &'static str>;

/// A topic as the node registers it.
#[derive(Debug, Clone, Copy)]
pub struct Registration {
    /// Which.
    pub topic: Topic,
    /// What its entries must obey. The marker `ready` is not shown to it.
    pub check: Check,
    /// Live entries of one map.
    pub entries_max: usize,
    /// Whether values die with the process that wrote them.
    pub dies_with_process: bool,
}

impl Registration {
    /// Values of one copy that are beyond doubt, and as many in doubt: half of them what the owner has,
    /// half what it had when the stream began anew, the marker `ready` included.
    fn held_max(&self) -> usize {
        self.entries_max.saturating_add(1).saturating_mul(2)
    }
}

/// What can happen to the maps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// Write (or delete) an entry of our own map.
    Write { topic: Topic, key: Key, value: Option<Blob> },
    /// Everything that this life owns has been written.
    Ready { topic: Topic },
    /// A segment arrived.
    Segment { from: NodeId, transport: Transport, segment: Segment },
    /// `peer` has `replica`'s map of `topic` through `complete`; heeded where `replica` is our present
    /// life.
    Acknowledged { peer: Replica, topic: Topic, replica: Replica, complete: u64 },
    /// The owner says that its floor is here.
    Floor { owner: Replica, topic: Topic, floor: u64 },
    /// Somebody shows progress of a map, the highest of `complete`, `head` and `floor`: where it is our
    /// own and beyond our head, a former life used our incarnation.
    Shown { topic: Topic, replica: Replica, head: u64 },
    /// What membership noticed.
    Notice(Notice),
    /// From now on we are `replica`: everything live is minted anew here, in key order, then `ready` if
    /// it was said before. The domains need not write again.
    Raised { replica: Replica },
    /// Every foreign map is dropped.
    Slept,
    /// `next_wake` has passed.
    Tick,
}

/// What the maps ask of the world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Our own map has grown: `(from, upto]` is fresh.
    Written { topic: Topic, replica: Replica, from: u64, upto: u64 },
    /// A segment from `learnt_from` moved a foreign map from `from` to `upto`.
    Applied { topic: Topic, replica: Replica, from: u64, upto: u64, learnt_from: NodeId },
    /// What is held of a map, after anything about it moved; `None` when it was dropped.
    Progress { topic: Topic, replica: Replica, progress: Option<Progress> },
    /// A segment lies beyond our progress; its sender has it through `through`.
    Gap { topic: Topic, replica: Replica, from: NodeId, through: u64 },
    /// A segment moved nothing.
    Unused { topic: Topic, why: Unused },
    /// The visible entry of `key` in the view of `owner`'s node changed; `None` when it is gone. Foreign
    /// nodes only: what we write ourselves is known to its domain. A rewrite with an equal value is no
    /// change.
    Changed { topic: Topic, owner: Replica, key: Key, value: Option<Blob> },
    /// The owner failed; its map stays visible or not as its domain decides.
    Orphaned { topic: Topic, owner: Replica },
    /// The view of a node's map ended: left, forgotten, evicted, or everything foreign was dropped. `last`
    /// is all that was visible; no `Changed` follows.
    Dropped { topic: Topic, owner: Replica, left: bool, last: Vec<(Key, Blob)> },
    /// A newer life's map is visible now in place of `old`: every entry of the view is `new`'s from here
    /// on, equal or not. `Changed` follows for each key whose value differs, and for no other.
    Switched { topic: Topic, old: Replica, new: Replica },
    /// The life in view has written everything that it owns, and all of it is here. Said anew whenever the
    /// map catches up; a view that switches is ready without a word.
    Ready { topic: Topic, owner: Replica },
    /// Tell a sender that a replica is fenced.
    SendRetired { to: NodeId, transport: Transport, notice: Retired },
    /// A former life of ours used this incarnation.
    Overtaken { known: Incarnation },
    /// A write was refused: the map is full.
    Full { topic: Topic, key: Key },
    /// A peer broke the rules.
    Misbehaved { peer: NodeId, what: &'static str },
}

/// Everything of one topic.
#[derive(Debug, Clone)]
struct Room {
    registration: Registration,
    own: Owner,
    views: BTreeMap<NodeId, View>,
    /// When views with a map of a newer life stop waiting for it.
    waits: BTreeSet<(Instant, NodeId)>,
    /// The floor that every member has acknowledged, where it would free tombstones.
    rising: Option<u64>,
    counts: Counts,
}

/// What was counted in one topic.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    writes: u64,
    applied: u64,
    ignored: u64,
    refused: u64,
    sweeps_stable: u64,
    sweeps_bound: u64,
    sweeps_restart: u64,
    raises_stable: u64,
    raises_bound: u64,
}

impl Machine for Maps {
    type Input = Input;
    type Output = Output;

    fn handle(&mut self, now: Instant, input: Input, out: &mut Vec<Output>) {
        #[cfg(feature = "simulation")]
        self.touched.note(&input);
        let heard = matches!(
            input,
            Input::Acknowledged { .. } | Input::Notice(_) | Input::Slept | Input::Tick
        );
        match input {
            Input::Write { topic, key, value } => self.write(topic, key, value, out),
            Input::Ready { topic } => self.ready(topic, out),
            Input::Segment { from, transport, segment } => {
                self.merge_segment(now, from, transport, &segment, out);
            }
            Input::Acknowledged { peer, topic, replica, complete } => {
                self.acknowledge(peer, topic, &replica, complete, out);
            }
            Input::Floor { owner, topic, floor } => self.floor(topic, &owner, floor, out),
            Input::Shown { topic, replica, head } => self.shown(topic, &replica, head, out),
            Input::Notice(notice) => self.notice(now, notice, out),
            Input::Raised { replica } => self.raise(replica, out),
            Input::Slept => self.sleep(out),
            Input::Tick => {
                for room in self.rooms.values_mut() {
                    room.switch_overdue(now, out);
                }
            }
        }
        // Members are asked again only where one of them spoke, came or went; a node that has nobody to
        // ask looks at its own deletions alone.
        if heard || self.nodes.values().all(|known| known.failed) {
            self.raise_floors(now, out);
        }
        #[cfg(feature = "simulation")]
        self.note_writes();
    }

    fn next_wake(&self) -> Option<Wake> {
        let waits = self.rooms.values().filter_map(|room| room.waits.first());
        let switch = waits.map(|(at, _)| *at).min();
        let switch = switch.map(|at| Wake { at, what: "an old map gives way to a new life's" });
        let rising = self.rooms.values().filter(|room| room.rising.is_some());
        let rise = rising.map(|room| room.own.rises_from()).min();
        Wake::earlier(switch, rise.map(|at| Wake { at, what: "a floor may rise" }))
    }
}

impl Maps {
    /// The empty maps of `local`'s life. Two registrations of one topic are a mistake of the build.
    pub fn new(local: Replica, registrations: Vec<Registration>, settings: Settings) -> Maps {
        let mut rooms = BTreeMap::new();
        for registration in registrations {
            let former = rooms.insert(registration.topic, Room::new(registration));
            assert!(former.is_none(), "{:?} is registered twice", registration.topic);
        }
        assert!(rooms.len() <= limits::TOPICS_MAX, "more topics than a message can name");
        Maps {
            local,
            settings,
            rooms,
            nodes: BTreeMap::new(),
            fences: Fences::new(settings.fences_max),
            retired_at: BTreeMap::new(),
            retired: 0,
            remints: 0,
            #[cfg(feature = "simulation")]
            touched: Touched::default(),
        }
    }

    fn write(&mut self, topic: Topic, key: Key, value: Option<Blob>, out: &mut Vec<Output>) {
        let (local, bound) = (self.local.clone(), self.settings.tombstones_max);
        let room = self.rooms.get_mut(&topic).expect("domains write to topics that are registered");
        let live = room.own.entries().live() - usize::from(room.own.is_ready());
        let full = live >= room.registration.entries_max;
        if full && value.is_some() && room.own.entries().value(&key).is_none() {
            return out.push(Output::Full { topic, key });
        }
        let obeys = (room.registration.check)(&local, &key, value.as_ref());
        assert!(!key.is_empty() && obeys.is_ok(), "RP-5: our own `{key}` breaks a rule: {obeys:?}");
        if room.own.write(key, value) {
            room.counts.writes += 1;
            room.counts.raises_bound += u64::from(room.own.raise_bound(bound));
            room.written(&local, out);
        }
    }

    fn ready(&mut self, topic: Topic, out: &mut Vec<Output>) {
        let room = self.rooms.get_mut(&topic).expect("domains write to topics that are registered");
        if room.own.ready() {
            room.written(&self.local, out);
        }
    }

    fn acknowledge(
        &mut self,
        peer: Replica,
        topic: Topic,
        replica: &Replica,
        complete: u64,
        out: &mut Vec<Output>,
    ) {
        let Some(room) = self.rooms.get_mut(&topic).filter(|_| *replica == self.local) else {
            return;
        };
        if complete > room.own.progress().head {
            return out.push(Output::Overtaken { known: self.local.incarnation });
        }
        let known = self.nodes.get(&peer.node).filter(|known| !known.failed);
        sometimes!("replica.acknowledged_by_nobody", known.is_none());
        if known.is_some_and(|known| known.incarnation == peer.incarnation) {
            room.own.acknowledge(peer.node, peer.incarnation, complete);
        }
    }

    fn raise(&mut self, replica: Replica, out: &mut Vec<Output>) {
        assert!(
            self.local < replica,
            "RP-12: {replica} would give {}'s sequences anew",
            self.local
        );
        let old = std::mem::replace(&mut self.local, replica);
        for (topic, room) in &mut self.rooms {
            room.own = room.own.mint();
            self.remints += 1;
            out.push(Output::Progress { topic: *topic, replica: old.clone(), progress: None });
            let upto = room.own.progress().head;
            if upto > 0 {
                let (topic, replica) = (*topic, self.local.clone());
                out.push(Output::Written { topic, replica, from: 0, upto });
            }
            out.push(room.own_progress(&self.local));
        }
    }

    /// Stable floors rise, each at most once a second.
    fn raise_floors(&mut self, now: Instant, out: &mut Vec<Output>) {
        for room in self.rooms.values_mut() {
            let members = self.nodes.iter().filter(|(_, known)| !known.failed);
            let members = members.map(|(node, known)| (node, known.incarnation));
            room.rising = room.own.stable(members);
            if let Some(floor) = room.rising.filter(|_| room.own.rises_from() <= now) {
                if sim_point!("replica.floor_waits") {
                    room.own.put_off(now);
                    continue;
                }
                room.own.raise_stable(now, floor);
                room.rising = None;
                room.counts.raises_stable += 1;
                out.push(room.own_progress(&self.local));
            }
        }
    }

    fn count(&mut self, topic: Topic, counter: impl FnOnce(&mut Counts) -> &mut u64) {
        if let Some(room) = self.rooms.get_mut(&topic) {
            *counter(&mut room.counts) += 1;
        }
    }
}

impl Room {
    fn new(registration: Registration) -> Room {
        Room {
            registration,
            own: Owner::default(),
            views: BTreeMap::new(),
            waits: BTreeSet::new(),
            rising: None,
            counts: Counts::default(),
        }
    }

    /// Our own map has grown by one.
    fn written(&self, local: &Replica, out: &mut Vec<Output>) {
        let (topic, upto) = (self.registration.topic, self.own.progress().head);
        out.push(Output::Written { topic, replica: local.clone(), from: upto - 1, upto });
        out.push(self.own_progress(local));
    }

    fn own_progress(&self, local: &Replica) -> Output {
        let (topic, progress) = (self.registration.topic, Some(self.own.progress()));
        Output::Progress { topic, replica: local.clone(), progress }
    }
}

//! Values that converge: owner maps, one writer each for ever.

pub mod owner;

use crate::ids::{Incarnation, NodeId, Notice, Replica};
use crate::wire::message::Retired;
use crate::wire::segment::{Key, Progress, Segment, Topic};
use crate::wire::{Blob, Transport};

/// Whether an entry may stand in a map: the domain's own rule about author, key and value. The error
/// names the broken rule and is counted as misbehaviour.
pub type Check = fn(&Replica, &Key, Option<&Blob>) -> Result<(), &'static str>;

/// A topic as the node registers it.
#[derive(Debug, Clone, Copy)]
pub struct Registration {
    /// Which.
    pub topic: Topic,
    /// What its entries must obey.
    pub check: Check,
    /// Live entries of one map.
    pub entries_max: usize,
    /// Whether values die with the process that wrote them.
    pub dies_with_process: bool,
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
    /// `peer` has our own map of `topic` through `complete`.
    Acknowledged { peer: Replica, topic: Topic, complete: u64 },
    /// The owner says that its floor is here.
    Floor { owner: Replica, topic: Topic, floor: u64 },
    /// Somebody shows progress of our own map: compared with our head, a greater one means that a
    /// former life used our incarnation.
    Shown { topic: Topic, replica: Replica, head: u64 },
    /// What membership noticed.
    Notice(Notice),
    /// From now on we are `replica`: mint everything anew.
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
    /// A segment from `learnt_from` moved a foreign map from `from` to `upto` and changed something.
    Applied { topic: Topic, replica: Replica, from: u64, upto: u64, learnt_from: NodeId },
    /// What is held of a map, after anything about it moved; `None` when it was dropped.
    Progress { topic: Topic, replica: Replica, progress: Option<Progress> },
    /// A segment lies beyond our progress; its sender has it through `through`.
    Gap { topic: Topic, replica: Replica, from: NodeId, through: u64 },
    /// A segment named nothing new.
    Duplicate { topic: Topic },
    /// The visible entry of `key` in the view of `owner`'s node changed; `None` when it is gone.
    Changed { topic: Topic, owner: Replica, key: Key, value: Option<Blob> },
    /// The owner failed; its map stays visible or not as its domain decides.
    Orphaned { topic: Topic, owner: Replica },
    /// The view of a node's map ended: left, forgotten, evicted. `Changed` to `None` follows for each of
    /// its keys, unless `lingering` values are the domain's own business.
    Dropped { topic: Topic, owner: Replica, left: bool, last: Vec<(Key, Blob)> },
    /// A newer life's map is visible now in place of `old`.
    Switched { topic: Topic, old: Replica, new: Replica },
    /// Tell a sender that a replica is fenced.
    SendRetired { to: NodeId, transport: Transport, notice: Retired },
    /// A former life of ours used this incarnation.
    Overtaken { known: Incarnation },
    /// A write was refused: the map is full.
    Full { topic: Topic, key: Key },
    /// A peer broke the rules.
    Misbehaved { peer: NodeId, what: &'static str },
}

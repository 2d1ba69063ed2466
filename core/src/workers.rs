//! Which model servers can take a request.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ids::{NodeId, Notice, Replica, Ticket};
use crate::wire::Blob;
use crate::wire::segment::Key;

/// What can happen to workers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The visible entry of a worker topic's map changed.
    Changed { owner: Replica, key: Key, value: Option<Blob> },
    /// An owner failed.
    Orphaned { owner: Replica },
    /// The view of an owner's map ended; `left` means that it said goodbye.
    Dropped { owner: Replica, left: bool, last: Vec<(Key, Blob)> },
    /// A newer life's map took the place of an older one's.
    Switched { old: Replica, new: Replica },
    /// What membership noticed (members are counted for the probe interval).
    Notice(Notice),
    /// From now on we are `replica`.
    Raised { replica: Replica },
    /// A probe ended.
    Probed { ticket: Ticket, outcome: ProbeOutcome, took: Duration },
    /// A caller's command.
    Command { ticket: Ticket, command: Command },
    /// `next_wake` has passed.
    Tick,
}

/// How a probe ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProbeOutcome {
    /// A good answer.
    Good,
    /// No connection.
    Connect,
    /// No TLS.
    Tls,
    /// A status outside 200..299.
    Status,
    /// No answer in time.
    Timeout,
    /// An answer that is none.
    Protocol,
    /// No evidence: an address that policy denies.
    Policy,
    /// No evidence: this host could not even try.
    Local,
}

/// What a node registers, and whom it may call.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Settings {}

/// A probe to perform.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {}

/// A caller's wish.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {}

/// The answer to a [`Command`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {}

/// One change of a status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusChange {}

/// Every entry, and the lanes to pick from.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {}

/// What workers ask of the world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Write (or delete) an entry of our own map.
    Write { key: Key, value: Option<Blob> },
    /// Everything this life owns has been written.
    Ready,
    /// A peer broke the rules.
    Misbehaved { peer: NodeId, what: &'static str },
}

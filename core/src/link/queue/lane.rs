//! The classes that wait, with their bounds and weights.
//!
//! Absent on purpose: the handshake's class, which never waits.

use super::super::Queued;
use crate::limits;
use crate::wire::frame::Class;

/// A class that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::link) enum Lane {
    Control,
    Bulk,
    Gossip,
    Broadcast,
}

impl Lane {
    pub(in crate::link) const ALL: [Lane; 4] =
        [Lane::Control, Lane::Bulk, Lane::Gossip, Lane::Broadcast];

    pub(in crate::link) fn class(self) -> Class {
        match self {
            Lane::Control => Class::Control,
            Lane::Bulk => Class::Bulk,
            Lane::Gossip => Class::Gossip,
            Lane::Broadcast => Class::Broadcast,
        }
    }

    /// The lane of a class; the handshake has none.
    pub(in crate::link) fn of(class: Class) -> Option<Lane> {
        Lane::ALL.into_iter().find(|lane| lane.class() == class)
    }

    /// Bytes that one visit of the drain adds.
    pub(super) fn quantum(self) -> usize {
        let weight = match self {
            Lane::Control => limits::CONTROL_WEIGHT,
            Lane::Bulk => limits::BULK_WEIGHT,
            Lane::Gossip => limits::GOSSIP_WEIGHT,
            Lane::Broadcast => limits::BROADCAST_WEIGHT,
        };
        weight * limits::QUANTUM_BYTES
    }

    pub(super) fn bound(self) -> Queued {
        let (frames, bytes) = match self {
            Lane::Control => (limits::CONTROL_FRAMES_MAX, limits::CONTROL_BYTES_MAX),
            Lane::Bulk => (limits::BULK_FRAMES_MAX, limits::BULK_BYTES_MAX),
            Lane::Gossip => (limits::GOSSIP_FRAMES_MAX, limits::GOSSIP_BYTES_MAX),
            Lane::Broadcast => (limits::BROADCAST_FRAMES_MAX, limits::BROADCAST_BYTES_MAX),
        };
        Queued { frames, bytes }
    }

    /// The next in the round.
    pub(super) fn next(self) -> Lane {
        match self {
            Lane::Control => Lane::Bulk,
            Lane::Bulk => Lane::Gossip,
            Lane::Gossip => Lane::Broadcast,
            Lane::Broadcast => Lane::Control,
        }
    }
}

/// What fits beside a full lane of what keeps the link alive.
pub(super) const RESERVE: Queued =
    Queued { frames: limits::RESERVE_FRAMES_MAX, bytes: limits::RESERVE_BYTES_MAX };

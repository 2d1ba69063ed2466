//! The handshake of a link.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::List;
use crate::ids::{ClusterId, Incarnation, NodeId};
use crate::limits;

/// The payload of a `session` frame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Session {
    /// The dialer's first word.
    Hello(Greeting),
    /// The acceptor's answer; its protocol is the highest common one.
    Welcome(Greeting),
    /// The acceptor's refusal.
    Refused(Refusal),
    /// The last word of either side.
    Bye(Bye),
}

/// The first four bytes of a handshake.
pub const MAGIC: [u8; 4] = *b"QRT1";

/// What a side says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Greeting {
    /// [`MAGIC`].
    pub magic: [u8; 4],
    /// The cluster it belongs to.
    pub cluster: ClusterId,
    /// Lowest and highest protocol version; in a `Welcome` both are the chosen one.
    pub protocol: (u16, u16),
    /// Its name.
    pub node: NodeId,
    /// Its life.
    pub incarnation: Incarnation,
    /// The life in which its process started.
    pub born: Incarnation,
    /// Where it can be reached, as advertised, the preferred one first.
    pub addresses: List<SocketAddr, { limits::ADDRESSES_MAX }>,
    /// Whom the dialer means to call, if it knows.
    pub called: Option<NodeId>,
    /// The genesis of its log, if it has one.
    pub genesis: Option<u128>,
    /// Per sequenced class: the other's life, and the last sequence received from it.
    pub resume: List<(u8, Incarnation, u64), { limits::HANDSHAKE_ITEMS_MAX }>,
    /// Values that must agree, by name.
    pub settings: List<(String, String), { limits::HANDSHAKE_ITEMS_MAX }>,
}

/// Why a handshake was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// Somebody else was called.
    WrongNode,
    /// The dialer called itself.
    SelfCall,
    /// No protocol version in common.
    Version {
        /// The acceptor's lowest.
        min: u16,
        /// The acceptor's highest.
        max: u16,
    },
    /// Two logs that do not know each other.
    Genesis,
    /// A setting that must agree does not.
    Settings {
        /// Which.
        name: String,
    },
    /// The dialer's life is over: the acceptor knows a newer one, or has fenced this one.
    Stale {
        /// What the acceptor knows.
        known: Incarnation,
    },
    /// No room for another member.
    Full,
    /// The acceptor is leaving.
    Leaving,
}

/// Why a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Bye {
    /// Another connection serves this pair.
    Duplicate,
    /// The sender leaves the cluster.
    Leaving,
    /// The sender's process ends and a new one will start.
    Restarting,
    /// The sender closes the connection for a reason of its own.
    Closing,
}

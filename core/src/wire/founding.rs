//! What nodes say to each other before there is a log, and what each of them keeps of it.

use serde::{Deserialize, Serialize};

use super::List;
use super::raft::Genesis;
use crate::ids::{MemberId, NodeId};
use crate::limits;

/// A log that somebody wants to begin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Founding {
    /// Which log it would be.
    pub genesis: Genesis,
    /// Whose proposal; only this copy of its disk may withdraw it.
    pub proposer: (MemberId, NodeId),
    /// Who would vote first.
    pub voters: List<(MemberId, NodeId), { limits::VOTERS_MAX }>,
    /// How many may vote: one number for all, whatever each is configured to.
    pub voters_max: u8,
}

/// What founders say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Word {
    /// Promise that you take part in this one and no other.
    Propose(Founding),
    /// It is durable.
    Promised {
        /// Which.
        genesis: Genesis,
        /// Whose promise.
        member: MemberId,
    },
    /// Another has my promise, or there is a log.
    Denied {
        /// Which was asked for.
        genesis: Genesis,
    },
    /// It is withdrawn, durably.
    Withdrawn {
        /// Which.
        genesis: Genesis,
    },
    /// Everybody has promised: begin.
    Formed(Founding),
    /// It was heard, durably.
    Begun {
        /// Which.
        genesis: Genesis,
    },
    /// What has become of it?
    Inquire {
        /// Which.
        genesis: Genesis,
        /// Whose proposal it was.
        proposer: MemberId,
    },
}

/// What a node keeps. It is written as a whole, and is durable before anything is said on its strength.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Promise {
    /// The one proposal that has this node's promise; its own, if it proposes.
    pub to: Option<Founding>,
    /// That proposal was formed.
    pub formed: bool,
}

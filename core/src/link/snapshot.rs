//! Links as an operator sees them: the body of `GET /v0/operations/links`.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::Serialize;

use crate::ids::NodeId;

/// Links by peer, built when somebody asks.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Snapshot {
    /// One row per peer that is connected, dialled or waited for, in order of name.
    pub links: Vec<Row>,
}

/// How one peer is connected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// Whose.
    pub peer: NodeId,
    /// Connected, being dialled, or waiting for the next dial.
    pub state: State,
    /// The number of the connection in use or in the making.
    pub generation: Option<u64>,
    /// Where the peer is reached.
    pub address: SocketAddr,
    /// Who dialled the connection in use.
    pub dialed_by: Option<NodeId>,
    /// The protocol version that was agreed on.
    pub protocol: Option<u16>,
    /// How long it has been in this state.
    pub since_ms: u64,
    /// The last round trip measured on this connection.
    pub round_trip_ms: Option<u64>,
    /// What waits, by class.
    pub queued: BTreeMap<&'static str, Queued>,
    /// Why the last connection or attempt ended.
    pub last_error: Option<&'static str>,
    /// How long until the next dial.
    pub next_dial_ms: Option<u64>,
}

/// What waits in one queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Queued {
    /// Frames.
    pub frames: usize,
    /// Their bytes, headers included.
    pub bytes: usize,
}

/// See [`Row`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Connected.
    Up,
    /// A dial or handshake of ours is under way.
    Dialing,
    /// The next dial is waited for.
    Backoff,
}

impl State {
    /// Its name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            State::Up => "up",
            State::Dialing => "dialing",
            State::Backoff => "backoff",
        }
    }
}

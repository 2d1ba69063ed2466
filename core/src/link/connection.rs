//! One transport connection, from dial or accept to its end.

use std::net::SocketAddr;

use crate::ids::{NodeId, Replica};
use crate::time::Instant;
use crate::wire::session::Bye;

/// One connection of this process.
#[derive(Debug, Clone)]
pub(super) struct Connection {
    /// The other end: where it was dialled, or whence it came.
    pub(super) address: SocketAddr,
    pub(super) stage: Stage,
    /// When it came into this stage.
    pub(super) since: Instant,
    /// When the last frame arrived.
    pub(super) heard: Instant,
    pub(super) window: Window,
    /// Whether a frame of `broadcast` has arrived.
    pub(super) sequenced: bool,
}

/// How far a connection has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stage {
    /// We dialled; there is no transport yet.
    Connecting(Target),
    /// Our `Hello` is out.
    Greeting(Target),
    /// Somebody came and has said nothing yet.
    Accepted,
    /// Both sides know each other.
    Open(Pair),
}

/// Whom a dial is meant for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// A node we know.
    Peer(NodeId),
    /// Whoever answers.
    Seed,
}

/// A finished handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) peer: Replica,
    pub(super) protocol: u16,
    /// What is said once everything that waits has left, or at this moment at the latest.
    pub(super) farewell: Option<(Bye, Instant)>,
}

impl Connection {
    pub(super) fn new(now: Instant, address: SocketAddr, stage: Stage) -> Connection {
        let window = Window::default();
        Connection { address, stage, since: now, heard: now, window, sequenced: false }
    }

    /// The pair, once the handshake is finished.
    pub(super) fn pair(&self) -> Option<&Pair> {
        match &self.stage {
            Stage::Open(pair) => Some(pair),
            Stage::Connecting(_) | Stage::Greeting(_) | Stage::Accepted => None,
        }
    }
}

/// What the host is ready to hold of a connection's bytes.
///
/// A frame leaves while any of it is open, so the host holds at most the window and one frame. The
/// handshake does not wait for it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Window {
    granted: u64,
    written: u64,
}

impl Window {
    /// The host can take this many more bytes.
    pub(super) fn grant(&mut self, bytes: usize) {
        self.granted = self.granted.saturating_add(bytes as u64);
    }

    /// This many bytes were handed to the host.
    pub(super) fn spend(&mut self, bytes: usize) {
        self.written = self.written.saturating_add(bytes as u64);
    }

    /// Whether another frame may leave.
    pub(super) fn is_open(self) -> bool {
        self.written < self.granted
    }
}

//! What the operating system asks of the process.
//!
//! `SIGPIPE` is ignored by the standard library already: a write to a closed pipe is an error there.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a signal wishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    /// The end; the number that a second one exits with.
    Stop(u8),
    /// Read the configuration again.
    Reload,
    /// Write down what is known.
    Dump,
}

impl Wish {
    /// As in the audit log.
    pub(super) fn name(self) -> &'static str {
        match self {
            Wish::Stop(_) => "signal.stop",
            Wish::Reload => "signal.reload",
            Wish::Dump => "signal.dump",
        }
    }
}

/// The signals that the process hears. While this value exists none of them kills it.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    user: Signal,
}

impl Signals {
    pub(super) fn new() -> io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            user: signal(SignalKind::user_defined1())?,
        })
    }

    /// The next wish. Cancel safe.
    pub(super) async fn next(&mut self) -> Wish {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => Wish::Stop(128 + 15),
            _ = self.interrupt.recv() => Wish::Stop(128 + 2),
            _ = self.hangup.recv() => Wish::Reload,
            _ = self.user.recv() => Wish::Dump,
        }
    }

    /// The next wish to stop; others are past.
    pub(super) async fn stop(&mut self) -> u8 {
        loop {
            if let Wish::Stop(code) = self.next().await {
                return code;
            }
        }
    }
}

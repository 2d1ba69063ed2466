//! What the process is asked from outside: signals, and the end of its parent.

use std::io;

use tokio::io::AsyncReadExt as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// A wish from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    /// An orderly stop, and why.
    Stop(&'static str),
    /// Read the configuration again.
    Reload,
    /// Write down what is known.
    Dump,
}

/// The ears of the process.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    dump: Signal,
    parent: Option<tokio::io::Stdin>,
}

impl Signals {
    /// Listens. `with_parent`: the end of standard input is a wish to stop.
    pub(super) fn open(with_parent: bool) -> io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            dump: signal(SignalKind::user_defined1())?,
            parent: with_parent.then(tokio::io::stdin),
        })
    }

    /// The next wish.
    pub(super) async fn next(&mut self) -> Ask {
        let orphaned = async {
            match &mut self.parent {
                Some(stdin) => while stdin.read_u8().await.is_ok() {},
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            _ = self.terminate.recv() => Ask::Stop("TERM"),
            _ = self.interrupt.recv() => Ask::Stop("INT"),
            _ = self.hangup.recv() => Ask::Reload,
            _ = self.dump.recv() => Ask::Dump,
            () = orphaned => Ask::Stop("end of parent"),
        }
    }

    /// From now on TERM and INT end the process at once.
    pub(super) fn second_one_exits(&mut self) {
        let (terminate, interrupt) =
            (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
        let (Ok(mut terminate), Ok(mut interrupt)) = (terminate, interrupt) else { return };
        tokio::spawn(async move {
            let code = tokio::select! {
                _ = terminate.recv() => 143,
                _ = interrupt.recv() => 130,
            };
            std::process::exit(code);
        });
    }
}

//! The agreed store behind the harness.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "surfaces of pools ask it for two things alone"
)]

use quorate_core::node::kv;
use quorate_core::node::{Reply, Request as Wish};
use quorate_core::wire::encode;

use crate::handle::Ask;

/// The agreed store, as one node that is a majority by itself.
pub(super) struct Store {
    view: kv::View,
    index: u64,
}

impl Default for Store {
    fn default() -> Store {
        let mut view = kv::View::default();
        view.copy = true;
        Store { view, index: 0 }
    }
}

impl Store {
    /// Answers what no script is about: questions of its own, and the surface's renewal that no caller asked for.
    pub(super) fn pass(&mut self, ask: Ask) -> Option<Ask> {
        let reply = match ask.request {
            Wish::TellAudit { .. } => Reply::Done,
            Wish::Agree { request } => Reply::Kv(self.answer(*request)),
            request => return Some(Ask { request, ..ask }),
        };
        let _ = ask.reply.send(reply); // The surface may be gone.
        None
    }

    fn answer(&mut self, request: kv::Request) -> kv::Answer {
        match request {
            kv::Request::Ask { question, .. } => {
                kv::Answer::Told(self.view.tell(&question).expect("it keeps a copy"))
            }
            kv::Request::Transact(transaction) => {
                self.index += 1;
                let payload = encode(&kv::Command::Transact(transaction));
                match self.view.state.apply(self.index, 0, &payload) {
                    kv::Outcome::Transacted { succeeded, revision, .. } => {
                        kv::Answer::Transacted { succeeded, revision, results: Vec::new() }
                    }
                    outcome => panic!("a transaction is {outcome:?}"),
                }
            }
            request => panic!("nobody asks {request:?}"),
        }
    }
}

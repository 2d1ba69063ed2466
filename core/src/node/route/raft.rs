//! What the log says: entries to apply, rows to keep, messages to peers, answers to services.
//!
//! A subject that no service of this build has is applied as nothing, on every copy alike.

use super::{Announcement, Effect, Node, Reply, Step};
use crate::ids::{NodeId, Replica};
use crate::limits::FRAME_CONTROL_BYTES_MAX;
use crate::node::Question;
use crate::node::misbehaviour::Domain;
use crate::time::Instant;
use crate::wire::raft::{Raft as Wire, Refusal, Subject};
use crate::wire::{Blob, decode, encode};
use crate::{kv, link, membership, raft};

impl Node {
    pub(super) fn raft_says(&mut self, output: raft::Output, out: &mut Vec<Effect>) {
        use raft::Output;
        match output {
            Output::Apply { index, log_time, subject: Subject::KV, version, payload, .. } => {
                self.kv_step(kv::Input::Apply { index, log_time: log_time.0, version, payload });
            }
            Output::Apply { index, .. } => {
                self.raft_step(raft::Input::Applied { index, outcome: Blob::default() });
            }
            Output::Clock { index, log_time } => {
                self.kv_step(kv::Input::Clock { index, log_time: log_time.0 });
            }
            Output::Freeze { number } => self.kv_step(kv::Input::Freeze { number }),
            Output::NextPiece { number } => self.kv_step(kv::Input::NextPiece { number }),
            Output::Restore { index, log_time, mut sections } => {
                let section = sections.remove(&Subject::KV);
                self.kv_step(kv::Input::Restore { index, log_time: log_time.0, section });
            }
            Output::Answer { number, subject: Subject::KV, question } => {
                self.kv_step(kv::Input::Answer { number, question });
            }
            Output::Answer { number, .. } => {
                self.raft_step(raft::Input::Answered { number, answer: Blob::default() });
            }
            Output::Proposed { ticket, result, .. } => {
                let result = result.map(|done| done.outcome).map_err(unavailable);
                self.kv_step(kv::Input::Proposed { ticket, result });
            }
            Output::ReadReady { ticket, result, .. } => {
                let result = result.map(|_| ()).map_err(unavailable);
                self.kv_step(kv::Input::ReadReady { ticket, result });
            }
            Output::Queried { ticket, result, .. } => {
                let result = result.map(|told| told.outcome).map_err(unavailable);
                self.kv_step(kv::Input::Queried { ticket, result });
            }
            Output::Led { term, leader, here } => {
                self.touched.led = true;
                self.kv_step(kv::Input::Led { here });
                out.push(Effect::Announce(Announcement::Led { term, leader, here }));
            }
            Output::Store { number, rows } => {
                let ticket = self.ask(Question::Raft(number));
                out.push(Effect::Store { ticket, batch: crate::node::batch(rows) });
            }
            Output::Send { to, message } => {
                let message = link::Message::Raft(Blob::from(encode(&message)));
                self.link_step(link::Input::Send { to, message });
            }
            Output::Operated { ticket, result } => {
                out.push(Effect::Reply { ticket, reply: Reply::Raft(result) });
            }
            Output::Tell => {
                let (fact, value) = (raft::FACT, self.raft.fact());
                self.membership_step(membership::Input::Tell { fact, value });
                self.link_step(link::Input::Genesis(self.raft.genesis()));
            }
            Output::Conflict { with } => {
                self.touched.led = true;
                out.push(Effect::Announce(Announcement::GenesisConflict { with }));
            }
            Output::NeedsUpgrade { index } => {
                out.push(Effect::Announce(Announcement::NeedsUpgrade { index }));
            }
            Output::Misbehaved { peer, what } => {
                self.misbehaved(Domain::Raft, Some(peer), what, out);
            }
        }
    }

    /// A peer says something about the log.
    pub(super) fn hear_raft(&mut self, from: Replica, message: &[u8], out: &mut Vec<Effect>) {
        match decode::<Wire, FRAME_CONTROL_BYTES_MAX>(message) {
            Ok(message) => self.raft_step(raft::Input::Peer { from, message }),
            Err(_) => {
                let what = "an undecodable message of the log";
                self.misbehaved(Domain::Raft, Some(from.node), what, out);
            }
        }
    }

    /// Ends the turn of the log: whatever the batch put into it is stored and sent, at once.
    pub(in crate::node) fn flush_raft(&mut self, now: Instant, out: &mut Vec<Effect>) {
        loop {
            let mut outputs = Vec::new();
            self.raft.flush(now, &mut outputs);
            if outputs.is_empty() {
                return;
            }
            // What services answer may be more for the log: it ends with this turn, too.
            outputs.into_iter().for_each(|output| self.raft_says(output, out));
            self.settle(now, out);
        }
    }

    /// A node's facts changed: the log hears what they say of its copy.
    pub(super) fn know_raft(&mut self, node: NodeId) {
        let peer = self.membership.member(&node).and_then(|row| raft::Peer::read(&row.facts));
        self.raft_step(raft::Input::Known { node, peer });
        self.tell_seeds();
    }

    /// Members or what seeds stand for changed: whoever may found a log hears who is behind them.
    pub(super) fn tell_seeds(&mut self) {
        if self.raft.may_found() {
            let behind = self.membership.behind_seeds();
            self.raft_step(raft::Input::Seeds { behind });
        }
    }

    pub(super) fn raft_step(&mut self, input: raft::Input) {
        self.steps.push_back(Step::Raft(input));
    }
}

/// A refusal of the log, as its services know it.
fn unavailable(refusal: Refusal) -> kv::Unavailable {
    match refusal {
        Refusal::QueueFull => kv::Unavailable::QueueFull,
        // Whether the first try was applied is what nobody can tell any more.
        Refusal::Ambiguous | Refusal::TooOld | Refusal::Retired => kv::Unavailable::Ambiguous,
        Refusal::NoQuorum
        | Refusal::NotFormed
        | Refusal::NotLeader
        | Refusal::TooNew
        | Refusal::TooLarge { .. } => kv::Unavailable::NoQuorum,
        Refusal::IdempotencyMismatch => kv::Unavailable::IdempotencyMismatch,
        Refusal::NeedsUpgrade => kv::Unavailable::NeedsUpgrade,
        Refusal::NotHere => kv::Unavailable::NotHere,
    }
}

//! What workers say: entries to write, probes to start, answers to callers.

use super::{Announcement, Call, Effect, Keyspace, Node, Reply, Step};
use crate::node::Question;
use crate::node::misbehaviour::Domain;
use crate::wire::segment::Topic;
use crate::{replica, workers};

impl Node {
    pub(super) fn workers_say(&mut self, output: workers::Output, out: &mut Vec<Effect>) {
        use workers::Output;
        match output {
            Output::Write { key, value } => {
                let topic = Topic::WORKERS;
                self.steps.push_back(Step::Maps(replica::Input::Write { topic, key, value }));
            }
            Output::Ready => {
                let topic = Topic::WORKERS;
                self.steps.push_back(Step::Maps(replica::Input::Ready { topic }));
            }
            Output::StartProbe { ticket, probe } => {
                let ticket = self.ask(Question::Probe(ticket));
                out.push(Effect::Call { ticket, call: Call::Probe(probe) });
            }
            Output::Persist { key, value } => {
                let ticket = self.ask(Question::Keep);
                out.push(Effect::Store { ticket, batch: vec![(Keyspace::Local, key, value)] });
            }
            Output::Announce(change) => out.push(Effect::Announce(Announcement::Worker(change))),
            Output::EntryChanged { url } => {
                let url = url.to_string();
                out.push(Effect::Announce(Announcement::WorkerChanged { url }));
            }
            Output::Reply { ticket, answer } => {
                out.push(Effect::Reply { ticket, reply: Reply::Worker(answer) });
            }
            Output::Misbehaved { peer, what } => {
                self.misbehaved(Domain::Workers, Some(peer), what, out)
            }
        }
    }

    pub(super) fn workers_step(&mut self, input: workers::Input) {
        self.steps.push_back(Step::Workers(input));
    }
}

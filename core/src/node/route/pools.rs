//! What pools say: entries to write, rows to keep, answers to callers, news for observers.

use super::{Announcement, Effect, Keyspace, Node, Reply, Step};
use crate::node::Question;
use crate::node::misbehaviour::Domain;
use crate::time::Instant;
use crate::wire::segment::Topic;
use crate::{pools, replica};

impl Node {
    pub(super) fn pools_say(&mut self, output: pools::Output, out: &mut Vec<Effect>) {
        use pools::Output;
        match output {
            Output::Write { key, value } => {
                let topic = Topic::POOLS;
                self.steps.push_back(Step::Maps(replica::Input::Write { topic, key, value }));
            }
            Output::Ready => {
                let topic = Topic::POOLS;
                self.steps.push_back(Step::Maps(replica::Input::Ready { topic }));
            }
            Output::Persist { key, value } => {
                let ticket = self.ask(Question::Keep);
                out.push(Effect::Store { ticket, batch: vec![(Keyspace::Local, key, value)] });
            }
            Output::Announce(event) => out.push(Effect::Announce(Announcement::Pool(event))),
            Output::Reply { ticket, answer } => {
                out.push(Effect::Reply { ticket, reply: Reply::Pool(answer) });
            }
            Output::Misbehaved { peer, what } => {
                self.misbehaved(Domain::Pools, Some(peer), what, out)
            }
        }
    }

    /// Ends the turn of the pools: what the batch changed is judged once.
    pub(in crate::node) fn flush_pools(&mut self, now: Instant, out: &mut Vec<Effect>) {
        let mut outputs = Vec::new();
        self.pools.flush(now, &mut outputs);
        outputs.into_iter().for_each(|output| self.pools_say(output, out));
        self.settle(now, out);
    }

    pub(super) fn pools_step(&mut self, input: pools::Input) {
        self.steps.push_back(Step::Pools(input));
    }
}

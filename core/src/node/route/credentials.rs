//! What credentials say: errands to their store, rows to keep, answers to callers.

use super::{Announcement, Call, Effect, Keyspace, Node, Reply, Step};
use crate::credentials;
use crate::node::Question;

impl Node {
    pub(super) fn credentials_say(&mut self, output: credentials::Output, out: &mut Vec<Effect>) {
        use credentials::Output;
        match output {
            Output::Run { ticket, errand } => {
                let ticket = self.ask(Question::Errand(ticket));
                out.push(Effect::Call { ticket, call: Call::Credential(errand) });
            }
            Output::Persist { key, value } => {
                let ticket = self.ask(Question::Keep);
                out.push(Effect::Store { ticket, batch: vec![(Keyspace::Local, key, value)] });
            }
            // Readers see it in the snapshot of this turn; nobody else asks yet.
            Output::Changed { head: _ } => {}
            Output::Announce(event) => out.push(Effect::Announce(Announcement::Credential(event))),
            Output::Reply { ticket, answer } => {
                out.push(Effect::Reply { ticket, reply: Reply::Credential(answer) });
            }
        }
    }

    pub(super) fn credentials_step(&mut self, input: credentials::Input) {
        self.steps.push_back(Step::Credentials(input));
    }
}

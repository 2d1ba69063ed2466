//! What credentials say: errands to their store, rows to keep, answers to callers.

use super::{Announcement, Call, Effect, Keyspace, Node, Reply, Step};
use crate::node::Question;
use crate::{credentials, pools};

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
            Output::Changed { head, renewed } => {
                let (handle, credential) = (head.handle, member(&head).map(Box::new));
                self.pools_step(pools::Input::Credential { handle, credential, renewed });
            }
            Output::Loaded => self.pools_step(pools::Input::Loaded),
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

/// What pools see of a record: nothing while it is gone, or was not read yet.
fn member(head: &credentials::Head) -> Option<pools::Credential> {
    let record = head.record.as_ref().filter(|_| !head.deleted)?;
    Some(pools::Credential {
        handle: head.handle,
        id: head.key.id().into(),
        provider: record.provider.clone(),
        // Whoever has nothing to show is as good as switched off.
        disabled: record.disabled || !record.has_secret,
        needs_login: false, // Nobody refreshes yet, so nobody finds out.
        priority: record.priority,
        weight: record.weight,
        quota_group: record.quota_group.clone(),
    })
}

//! Where the machines meet: every output of one is an input of others, or an effect.
//!
//! Only here does one domain hear of another. This file holds the queue of steps and what the host says;
//! `route/` has one file per machine that speaks, each one exhaustive match: a new output has to visit it.
//! Steps are applied in the order in which they arose, so that a turn has one total order.

mod credentials;
mod gossip;
mod kv;
mod link;
mod membership;
mod pools;
mod raft;
mod replica;
mod workers;

use super::contract::{
    Announcement, Answer, Call, Effect, Input, Keyspace, Reply, Request, Settings,
};
use super::misbehaviour::Domain;
use super::{Node, Question};
use crate::ids::{NodeId, Notice, Replica, Ticket};
use crate::limits;
use crate::time::Instant;
use crate::wire::Blob;
use crate::wire::message::Segments;

/// An input on its way to a machine.
#[derive(Debug)]
pub(super) enum Step {
    Membership(crate::membership::Input),
    Link(crate::link::Input),
    Maps(crate::replica::Input),
    Gossip(crate::gossip::Input),
    Workers(crate::workers::Input),
    Credentials(crate::credentials::Input),
    Pools(crate::pools::Input),
    Raft(crate::raft::Input),
    Kv(crate::kv::Input),
    /// What seeds stand for may have changed.
    Seeds,
    /// Segments of one frame, and the pull that they answer.
    Segments {
        from: Replica,
        segments: Segments,
    },
}

impl Node {
    /// Turns an input of the host into steps.
    pub(super) fn accept(&mut self, now: Instant, input: Input, out: &mut Vec<Effect>) {
        match input {
            Input::Start => {
                self.membership_step(crate::membership::Input::Start);
                self.workers_step(crate::workers::Input::Start);
                self.credentials_step(crate::credentials::Input::Start);
                self.pools_step(crate::pools::Input::Start);
                self.raft_step(crate::raft::Input::Start);
            }
            Input::Wake => self.tick(now),
            Input::Clock { unix } => self.pools_step(crate::pools::Input::Clock { unix }),
            Input::Datagram { from, bytes } => self.read_datagram(from, &bytes, out),
            Input::Connected { connection } => {
                self.link_step(crate::link::Input::Connected { connection })
            }
            Input::ConnectFailed { connection } => {
                self.link_step(crate::link::Input::ConnectFailed { connection });
            }
            Input::Accepted { connection, from } => {
                self.link_step(crate::link::Input::Accepted { connection, from });
            }
            Input::Frame { connection, frame } => {
                self.link_step(crate::link::Input::Frame { connection, frame });
            }
            Input::Broken { connection, what: _ } => {
                let what = "a stream that is no sequence of frames";
                self.link_step(crate::link::Input::Broken { connection, what });
            }
            Input::Unsecured { connection, what: _ } => {
                self.link_step(crate::link::Input::Unsecured { connection });
            }
            Input::Misnamed { connection } => {
                self.link_step(crate::link::Input::Misnamed { connection });
            }
            Input::Writable { connection, bytes } => {
                self.link_step(crate::link::Input::Writable { connection, bytes });
            }
            Input::Closed { connection } => {
                self.link_step(crate::link::Input::Closed { connection })
            }
            Input::Stored { ticket } => self.stored(ticket),
            Input::Answered { ticket, answer } => self.answered(ticket, answer),
            Input::Request { ticket, request } => self.request(ticket, request, out),
        }
    }

    /// Applies steps until none is left.
    pub(super) fn settle(&mut self, now: Instant, out: &mut Vec<Effect>) {
        let mut applied = 0;
        while let Some(step) = self.steps.pop_front() {
            applied += 1;
            assert!(
                applied <= limits::STEPS_MAX,
                "two machines answer each other for ever: {step:?}"
            );
            self.apply(now, step, out);
        }
    }

    fn apply(&mut self, now: Instant, step: Step, out: &mut Vec<Effect>) {
        match step {
            Step::Membership(input) => {
                let mut outputs = self.membership.step(now, input);
                outputs.drain(..).for_each(|output| self.membership_says(output, out));
                self.membership.keep(outputs);
            }
            Step::Link(input) => {
                let mut outputs = self.links.step(now, input);
                outputs.drain(..).for_each(|output| self.links_say(output, out));
                self.links.keep(outputs);
            }
            Step::Maps(input) => {
                self.maps_step(now, input, out);
            }
            Step::Gossip(input) => {
                let mut outputs = self.gossip.step(now, input);
                outputs.drain(..).for_each(|output| self.gossip_says(now, output, out));
                self.gossip.keep(outputs);
            }
            Step::Workers(input) => {
                let mut outputs = self.workers.step(now, input);
                outputs.drain(..).for_each(|output| self.workers_say(output, out));
                self.workers.keep(outputs);
            }
            Step::Credentials(input) => {
                let mut outputs = self.credentials.step(now, input);
                outputs.drain(..).for_each(|output| self.credentials_say(output, out));
                self.credentials.keep(outputs);
            }
            Step::Pools(input) => {
                let mut outputs = self.pools.step(now, input);
                outputs.drain(..).for_each(|output| self.pools_say(output, out));
                self.pools.keep(outputs);
            }
            Step::Raft(input) => {
                let mut outputs = self.raft.step(now, input);
                outputs.drain(..).for_each(|output| self.raft_says(output, out));
                self.raft.keep(outputs);
            }
            Step::Kv(input) => {
                let mut outputs = self.kv.step(now, input);
                outputs.drain(..).for_each(|output| self.kv_says(output, out));
                self.kv.keep(outputs);
            }
            Step::Seeds => self.tell_seeds(),
            Step::Segments { from, segments } => self.segments(now, from, segments, out),
        }
    }

    /// Ticks the machines whose time has come.
    fn tick(&mut self, now: Instant) {
        if self.membership.is_due(now) {
            self.membership_step(crate::membership::Input::Tick);
        }
        if self.links.is_due(now) {
            self.link_step(crate::link::Input::Tick);
        }
        if self.maps.is_due(now) {
            self.steps.push_back(Step::Maps(crate::replica::Input::Tick));
        }
        if self.gossip.is_due(now) {
            self.steps.push_back(Step::Gossip(crate::gossip::Input::Tick));
        }
        if self.workers.is_due(now) {
            self.workers_step(crate::workers::Input::Tick);
        }
        if self.credentials.is_due(now) {
            self.credentials_step(crate::credentials::Input::Tick);
        }
        if self.pools.is_due(now) {
            self.pools_step(crate::pools::Input::Tick);
        }
        if self.raft.is_due(now) {
            self.raft_step(crate::raft::Input::Tick);
        }
        if self.kv.is_due(now) {
            self.kv_step(crate::kv::Input::Tick);
        }
    }

    fn stored(&mut self, ticket: Ticket) {
        match self.tickets.open.remove(&ticket) {
            Some(Question::Persist(incarnation)) => {
                self.membership_step(crate::membership::Input::Persisted { incarnation });
            }
            Some(Question::Keep) => {}
            Some(Question::Raft(number)) => {
                self.raft_step(crate::raft::Input::Stored { number });
            }
            question => panic!("the host stored {ticket:?}, which is {question:?}"),
        }
    }

    fn answered(&mut self, ticket: Ticket, answer: Answer) {
        match (self.tickets.open.remove(&ticket), answer) {
            (Some(Question::Resolve(seed)), Answer::Resolved(addresses)) => {
                self.membership_step(crate::membership::Input::Resolved { seed, addresses });
                self.steps.push_back(Step::Seeds);
            }
            (Some(Question::Probe(ticket)), Answer::Probed { outcome, took }) => {
                self.workers_step(crate::workers::Input::Probed { ticket, outcome, took });
            }
            (Some(Question::Errand(ticket)), Answer::Credential(found)) => {
                self.credentials_step(crate::credentials::Input::Found { ticket, found });
            }
            (question, answer) => panic!("the host answered {question:?} with {answer:?}"),
        }
    }

    fn request(&mut self, ticket: Ticket, request: Request, out: &mut Vec<Effect>) {
        match request {
            Request::Join { addresses } => {
                self.membership_step(crate::membership::Input::Join { ticket, addresses });
            }
            Request::Leave { remove_workers, restarting } => {
                if remove_workers {
                    self.workers_step(crate::workers::Input::RemoveOwn);
                }
                self.credentials_step(crate::credentials::Input::Stop);
                self.membership_step(crate::membership::Input::Leave {
                    ticket: Some(ticket),
                    restarting,
                });
            }
            Request::Evict { node } => {
                self.membership_step(crate::membership::Input::Evict { ticket, node });
            }
            Request::SetLabels { labels } => {
                self.membership_step(crate::membership::Input::Labels { ticket, labels });
            }
            Request::TellAudit { sequence, hash } => {
                let head = serde_json::json!({ "sequence": sequence, "hash": hash });
                let (fact, value) = ("audit", Blob::from(head.to_string().as_str()));
                self.membership_step(crate::membership::Input::Tell { fact, value });
                out.push(Effect::Reply { ticket, reply: Reply::Done });
            }
            Request::Worker(command) => {
                self.workers_step(crate::workers::Input::Command { ticket, command });
            }
            Request::Credential(command) => {
                self.credentials_step(crate::credentials::Input::Command { ticket, command });
            }
            Request::Pool(command) => {
                self.pools_step(crate::pools::Input::Command { ticket, command: *command });
            }
            Request::Raft(operation) => {
                self.raft_step(crate::raft::Input::Operate { ticket, operation });
            }
            Request::Kv { request, within, once } => {
                let (request, origin) = (*request, crate::kv::Origin::Caller);
                self.kv_step(crate::kv::Input::Request { ticket, request, origin, within, once });
            }
            Request::Agree { request } => {
                let (request, origin) = (*request, crate::kv::Origin::Domain);
                let (within, once) = (None, None);
                self.kv_step(crate::kv::Input::Request { ticket, request, origin, within, once });
            }
            Request::Watch(request) => {
                self.kv_step(crate::kv::Input::Watch { ticket, request });
                out.push(Effect::Reply { ticket, reply: Reply::Watching { watch: ticket } });
            }
            Request::Taken { watch, revision } => {
                self.kv_step(crate::kv::Input::Taken { ticket: watch, revision });
                out.push(Effect::Reply { ticket, reply: Reply::Done });
            }
            Request::Unwatch { watch } => {
                self.kv_step(crate::kv::Input::Unwatch { ticket: watch });
                out.push(Effect::Reply { ticket, reply: Reply::Done });
            }
            Request::Drain { on } => {
                self.draining = on;
                self.touched.draining = true;
                out.push(Effect::Reply { ticket, reply: Reply::Done });
            }
            Request::Reload { settings } => self.reload(ticket, *settings),
        }
    }

    /// Every domain takes what can change at run time.
    fn reload(&mut self, ticket: Ticket, settings: Settings) {
        let mut workers = settings.workers;
        workers.same_machine = settings.membership.address.ip().is_loopback();
        self.workers_step(crate::workers::Input::Reload { settings: Box::new(workers) });
        let mut pools = Box::new(settings.pools);
        pools.forget_after = settings.membership.forget_after;
        self.pools_step(crate::pools::Input::Reload { settings: pools });
        self.kv_step(crate::kv::Input::Reload { settings: Box::new(settings.kv) });
        let labels = settings.membership.labels;
        self.membership_step(crate::membership::Input::Labels { ticket, labels });
    }

    /// What became of a replica concerns everybody.
    fn notice(&mut self, notice: Notice, out: &mut Vec<Effect>) {
        self.link_step(crate::link::Input::Notice(notice.clone()));
        self.steps.push_back(Step::Maps(crate::replica::Input::Notice(notice.clone())));
        self.gossip_step(crate::gossip::Input::Notice(notice.clone()));
        self.workers_step(crate::workers::Input::Notice(notice.clone()));
        self.pools_step(crate::pools::Input::Notice(notice.clone()));
        self.raft_step(crate::raft::Input::Notice(notice.clone()));
        out.push(Effect::Announce(Announcement::Member(notice)));
    }

    fn raised(&mut self, replica: Replica, out: &mut Vec<Effect>) {
        self.local = replica.clone();
        self.link_step(crate::link::Input::Raised { replica: replica.clone() });
        self.steps
            .push_back(Step::Maps(crate::replica::Input::Raised { replica: replica.clone() }));
        self.gossip_step(crate::gossip::Input::Raised { replica: replica.clone() });
        self.workers_step(crate::workers::Input::Raised { replica: replica.clone() });
        self.pools_step(crate::pools::Input::Raised { replica: replica.clone() });
        self.raft_step(crate::raft::Input::Raised { replica: replica.clone() });
        out.push(Effect::Announce(Announcement::Raised { replica }));
    }

    /// A peer broke the rules: observers hear of it.
    pub(super) fn misbehaved(
        &mut self,
        domain: Domain,
        peer: Option<NodeId>,
        what: &'static str,
        out: &mut Vec<Effect>,
    ) {
        self.misbehaviour.count(domain);
        out.push(Effect::Announce(Announcement::Misbehaved { peer, what: what.to_owned() }));
    }
}

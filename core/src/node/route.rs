//! Where the machines meet: every output of one is an input of others, or an effect.
//!
//! Only here does one domain hear of another. Each function is one exhaustive match; a new output has to
//! visit it. Steps are applied in the order in which they arose, so that a turn has one total order.

use std::collections::VecDeque;
use std::net::SocketAddr;

use super::contract::{Announcement, Answer, Call, Effect, Input, Keyspace, Reply, Request};
use super::misbehaviour::Domain;
use super::{FENCE_PREFIX, INCARNATION_KEY, Node, Question};
use crate::gossip::Direction;
use crate::ids::{Incarnation, NodeId, Notice, Replica, Ticket};
use crate::link::Message;
use crate::machine::Machine;
use crate::time::Instant;
use crate::wire::datagram::Kind;
use crate::wire::message::{Control, Gossip, Ping, Pong, Pull, Retired, Segments};
use crate::wire::segment::{Segment, Topic};
use crate::wire::{Blob, Transport, encode};
use crate::{gossip, limits, link, membership, replica, workers};

/// An input on its way to a machine.
#[derive(Debug)]
pub(super) enum Step {
    Membership(membership::Input),
    Link(link::Input),
    Maps(replica::Input),
    Gossip(gossip::Input),
    Workers(workers::Input),
    /// Segments of one frame, and the pull that they answer.
    Segments {
        from: Replica,
        segments: Segments,
    },
}

/// An interval of one of our maps that nobody has heard of yet.
type Fresh = (Topic, Replica, u64, u64);

impl Node {
    /// Turns an input of the host into steps.
    pub(super) fn accept(&mut self, now: Instant, input: Input, out: &mut Vec<Effect>) {
        match input {
            Input::Start => {
                self.membership_step(membership::Input::Start);
                self.workers_step(workers::Input::Start);
            }
            Input::Wake => self.tick(now),
            Input::Datagram { from, bytes } => self.read_datagram(from, &bytes, out),
            Input::Connected { connection } => {
                self.link_step(link::Input::Connected { connection })
            }
            Input::ConnectFailed { connection } => {
                self.link_step(link::Input::ConnectFailed { connection });
            }
            Input::Accepted { connection, from } => {
                self.link_step(link::Input::Accepted { connection, from });
            }
            Input::Frame { connection, frame } => {
                self.link_step(link::Input::Frame { connection, frame });
            }
            Input::Broken { connection, what: _ } => {
                let what = "a stream that is no sequence of frames";
                self.link_step(link::Input::Broken { connection, what });
            }
            Input::Writable { connection, bytes } => {
                self.link_step(link::Input::Writable { connection, bytes });
            }
            Input::Closed { connection } => self.link_step(link::Input::Closed { connection }),
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
                let mut outputs = Vec::new();
                self.membership.handle(now, input, &mut outputs);
                outputs.into_iter().for_each(|output| self.membership_says(output, out));
            }
            Step::Link(input) => {
                let mut outputs = Vec::new();
                self.links.handle(now, input, &mut outputs);
                outputs.into_iter().for_each(|output| self.links_say(output, out));
            }
            Step::Maps(input) => {
                self.maps_step(now, input, out);
            }
            Step::Gossip(input) => {
                let mut outputs = Vec::new();
                self.gossip.handle(now, input, &mut outputs);
                outputs.into_iter().for_each(|output| self.gossip_says(now, output, out));
            }
            Step::Workers(input) => {
                let mut outputs = Vec::new();
                self.workers.handle(now, input, &mut outputs);
                outputs.into_iter().for_each(|output| self.workers_say(output, out));
            }
            Step::Segments { from, segments } => self.segments(now, from, segments, out),
        }
    }

    /// Ticks the machines whose time has come.
    fn tick(&mut self, now: Instant) {
        let due = |wake: Option<crate::machine::Wake>| wake.is_some_and(|wake| wake.at <= now);
        if due(self.membership.next_wake()) {
            self.membership_step(membership::Input::Tick);
        }
        if due(self.links.next_wake()) {
            self.link_step(link::Input::Tick);
        }
        if due(self.maps.next_wake()) {
            self.steps.push_back(Step::Maps(replica::Input::Tick));
        }
        if due(self.gossip.next_wake()) {
            self.steps.push_back(Step::Gossip(gossip::Input::Tick));
        }
        if due(self.workers.next_wake()) {
            self.workers_step(workers::Input::Tick);
        }
    }

    fn stored(&mut self, ticket: Ticket) {
        match self.tickets.open.remove(&ticket) {
            Some(Question::Persist(incarnation)) => {
                self.membership_step(membership::Input::Persisted { incarnation });
            }
            Some(Question::Keep) => {}
            question => panic!("the host stored {ticket:?}, which is {question:?}"),
        }
    }

    fn answered(&mut self, ticket: Ticket, answer: Answer) {
        match (self.tickets.open.remove(&ticket), answer) {
            (Some(Question::Resolve(seed)), Answer::Resolved(addresses)) => {
                self.membership_step(membership::Input::Resolved { seed, addresses });
            }
            (Some(Question::Probe(ticket)), Answer::Probed { outcome, took }) => {
                self.workers_step(workers::Input::Probed { ticket, outcome, took });
            }
            (question, answer) => panic!("the host answered {question:?} with {answer:?}"),
        }
    }

    fn request(&mut self, ticket: Ticket, request: Request, out: &mut Vec<Effect>) {
        match request {
            Request::Join { addresses } => {
                self.membership_step(membership::Input::Join { ticket, addresses });
            }
            Request::Leave { remove_workers, restarting } => {
                if remove_workers {
                    self.workers_step(workers::Input::RemoveOwn);
                }
                self.membership_step(membership::Input::Leave { ticket: Some(ticket), restarting });
            }
            Request::Evict { node } => {
                self.membership_step(membership::Input::Evict { ticket, node });
            }
            Request::SetLabels { labels } => {
                self.membership_step(membership::Input::Labels { ticket, labels });
            }
            Request::TellAudit { sequence, hash } => {
                let head = serde_json::json!({ "sequence": sequence, "hash": hash });
                let audit = Blob::from(head.to_string().as_str());
                self.membership_step(membership::Input::Tell { audit });
                out.push(Effect::Reply { ticket, reply: Reply::Done });
            }
            Request::Worker(command) => {
                self.workers_step(workers::Input::Command { ticket, command });
            }
            Request::Drain { on } => {
                self.draining = on;
                out.push(Effect::Reply { ticket, reply: Reply::Done });
            }
            Request::Reload { settings } => {
                let mut workers = settings.workers;
                workers.same_machine = settings.membership.address.ip().is_loopback();
                self.workers_step(workers::Input::Reload { settings: Box::new(workers) });
                let labels = settings.membership.labels;
                self.membership_step(membership::Input::Labels { ticket, labels });
            }
        }
    }

    fn membership_says(&mut self, output: membership::Output, out: &mut Vec<Effect>) {
        use membership::Output;
        match output {
            Output::Swim { to, address, transport, packet } => match transport {
                Transport::Datagram => {
                    self.send_datagram(&to, address, Some((Kind::Swim, &packet)), out);
                }
                Transport::Link => self.send_gossip(to, Gossip::Swim(packet)),
            },
            Output::SendDeparted { to, address, transport, notice } => match transport {
                Transport::Datagram => {
                    let notice = encode(&notice);
                    self.send_datagram(&to.node, address, Some((Kind::Departed, &notice)), out);
                }
                Transport::Link => self.send_control(to.node, Control::Departed(notice)),
            },
            Output::SendRetired { to, address, transport, notice } => {
                self.send_retired(to, address, transport, notice, out);
            }
            Output::SendList { to, list } => self.send_gossip(to, Gossip::Members(list)),
            Output::Resolve { seed } => {
                let ticket = self.ask(Question::Resolve(seed.clone()));
                out.push(Effect::Call { ticket, call: Call::Resolve { name: seed } });
            }
            Output::DialSeed { address } => self.link_step(link::Input::DialSeed { address }),
            Output::Persist { incarnation, fences } => self.persist(incarnation, fences, out),
            Output::Raised { replica } => self.raised(replica, out),
            Output::Slept => {
                self.steps.push_back(Step::Maps(replica::Input::Slept));
                self.steps.push_back(Step::Gossip(gossip::Input::Slept));
                self.link_step(link::Input::Slept);
            }
            Output::Notice(notice) => self.notice(notice, out),
            Output::WriteFact { key, value } => {
                let topic = Topic::FACTS;
                self.steps.push_back(Step::Maps(replica::Input::Write { topic, key, value }));
            }
            Output::FactsReady => {
                let topic = Topic::FACTS;
                self.steps.push_back(Step::Maps(replica::Input::Ready { topic }));
            }
            Output::Answer { ticket, answer } => {
                let reply = answer.map_or_else(Reply::Refused, |()| Reply::Done);
                out.push(Effect::Reply { ticket, reply });
            }
            Output::Left { restarting } => self.link_step(link::Input::Leave { restarting }),
            Output::Stopped => out.push(Effect::Announce(Announcement::Stopped)),
            Output::Duplicate { address } => {
                out.push(Effect::Announce(Announcement::Duplicate { address }));
            }
            Output::Misbehaved { peer, what } => {
                self.misbehaved(Domain::Membership, Some(peer), what, out)
            }
            Output::Changed { node } => {
                self.touched.members.insert(node.clone());
                out.push(Effect::Announce(Announcement::MemberChanged { node }));
            }
            Output::Asymmetric { peer, missing } => {
                out.push(Effect::Announce(Announcement::Asymmetric { peer, missing }));
            }
            Output::Converged { took } => {
                out.push(Effect::Announce(Announcement::Converged { took }));
            }
            Output::JoinFailed { seed, failures } => {
                out.push(Effect::Announce(Announcement::JoinFailed { seed, failures }));
            }
        }
    }

    fn links_say(&mut self, output: link::Output, out: &mut Vec<Effect>) {
        use link::Output;
        match output {
            Output::Connect { connection, to } => out.push(Effect::Connect { connection, to }),
            Output::Write { connection, bytes } => out.push(Effect::Send { connection, bytes }),
            Output::Disconnect { connection } => out.push(Effect::Disconnect { connection }),
            Output::Up { peer, born, address } => {
                let node = peer.node.clone();
                self.linked.insert(node.clone());
                self.membership_step(membership::Input::Linked { peer, born, address });
                self.gossip_step(gossip::Input::Link { peer: node.clone(), up: true });
                out.push(Effect::Announce(Announcement::Link { peer: node, up: true }));
            }
            Output::Down { peer } => {
                self.linked.remove(&peer);
                self.membership_step(membership::Input::Unlinked { peer: peer.clone() });
                self.gossip_step(gossip::Input::Link { peer: peer.clone(), up: false });
                out.push(Effect::Announce(Announcement::Link { peer, up: false }));
            }
            Output::Heard { peer } => self.membership_step(membership::Input::Heard {
                from: peer,
                transport: Transport::Link,
                address: None,
            }),
            Output::Message { from, message } => self.message(from, message),
            Output::PingDue { peer, number } => {
                let complete = self.maps.acknowledgements_for(&peer).into();
                self.send_control(peer.node, Control::Ping(Ping { number, complete }));
            }
            Output::RoundTrip { peer, took } => {
                out.push(Effect::Announce(Announcement::RoundTrip { peer, took }));
            }
            Output::Bye { peer, restarting } => {
                self.membership_step(membership::Input::Bye { peer, restarting });
            }
            Output::Stale { known, address } => {
                self.membership_step(membership::Input::Stale { known, address });
            }
            Output::SeedFailed { address, refused } => {
                self.membership_step(membership::Input::SeedFailed { address, refused });
            }
            Output::Refused { .. } => {}
            Output::Misbehaved { peer, address: _, what } => {
                self.misbehaved(Domain::Link, peer, what, out)
            }
        }
    }

    fn maps_say(&mut self, output: replica::Output, out: &mut Vec<Effect>) {
        use replica::Output;
        match output {
            Output::Written { topic, replica, from, upto } => {
                self.gossip_step(gossip::Input::Written { topic, replica, from, upto });
            }
            Output::Applied { topic, replica, from, upto, learnt_from } => {
                self.gossip_step(gossip::Input::Applied {
                    topic,
                    replica,
                    from,
                    upto,
                    learnt_from,
                });
            }
            Output::Progress { topic, replica, progress } => {
                self.gossip_step(gossip::Input::Progress { topic, replica, progress });
            }
            Output::Gap { topic, replica, from, through } => {
                self.gossip_step(gossip::Input::Gap { topic, replica, from, through });
            }
            Output::Unused { topic: _, why } => self.gossip_step(gossip::Input::Unused { why }),
            Output::Changed { topic, owner, key, value } => match topic {
                Topic::FACTS => {
                    self.membership_step(membership::Input::Fact { owner, key, value });
                }
                _ => self.workers_step(workers::Input::Changed { owner, key, value }),
            },
            Output::Orphaned { topic, owner } => {
                if topic == Topic::WORKERS {
                    self.workers_step(workers::Input::Orphaned { owner });
                }
            }
            Output::Dropped { topic, owner, left, last } => {
                if topic == Topic::WORKERS {
                    self.workers_step(workers::Input::Dropped { owner, left, last });
                }
            }
            Output::Switched { topic, old, new } => {
                if topic == Topic::WORKERS {
                    self.workers_step(workers::Input::Switched { old, new });
                }
            }
            Output::SendRetired { to, transport, notice } => {
                let address = self.address(&to);
                self.send_retired(to, address, transport, notice, out);
            }
            Output::Overtaken { known } => {
                self.membership_step(membership::Input::Overtaken { known });
            }
            Output::Full { .. } => {}
            Output::Misbehaved { peer, what } => {
                self.misbehaved(Domain::Replica, Some(peer), what, out)
            }
        }
    }

    fn gossip_says(&mut self, now: Instant, output: gossip::Output, out: &mut Vec<Effect>) {
        use gossip::Output;
        match output {
            Output::Round { target, datagrams } => self.round(&target, datagrams, out),
            Output::Digest { to, digest } => {
                if self.misses_datagrams(&to) {
                    self.send_gossip(to, Gossip::Digest(digest));
                } else {
                    self.send_section(&to, Kind::Digest, &encode(&digest), out);
                }
            }
            Output::Rows { to, transport, rows } => match transport {
                Transport::Datagram => self.send_section(&to, Kind::Rows, &encode(&rows), out),
                Transport::Link => self.send_gossip(to, Gossip::Rows(rows)),
            },
            Output::Pull { to, transport, pull } => match transport {
                Transport::Datagram => self.send_section(&to, Kind::Pull, &encode(&pull), out),
                Transport::Link => self.send_gossip(to, Gossip::Pull(pull)),
            },
            Output::Serve { to, pull } => self.serve(to, &pull),
            Output::Push { fresh } => self.push(now, fresh, out),
            Output::Level { peer, topic, replica, complete } => {
                let input = replica::Input::Acknowledged { peer, topic, replica, complete };
                self.steps.push_back(Step::Maps(input));
            }
            Output::Shown { topic, replica, head, floor: _ } => {
                self.steps.push_back(Step::Maps(replica::Input::Shown { topic, replica, head }));
            }
            Output::Misbehaved { peer, what } => {
                self.misbehaved(Domain::Gossip, Some(peer), what, out)
            }
        }
    }

    fn workers_say(&mut self, output: workers::Output, out: &mut Vec<Effect>) {
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

    /// What became of a replica concerns everybody.
    fn notice(&mut self, notice: Notice, out: &mut Vec<Effect>) {
        self.link_step(link::Input::Notice(notice.clone()));
        self.steps.push_back(Step::Maps(replica::Input::Notice(notice.clone())));
        self.gossip_step(gossip::Input::Notice(notice.clone()));
        self.workers_step(workers::Input::Notice(notice.clone()));
        out.push(Effect::Announce(Announcement::Member(notice)));
    }

    fn raised(&mut self, replica: Replica, out: &mut Vec<Effect>) {
        self.local = replica.clone();
        self.link_step(link::Input::Raised { replica: replica.clone() });
        self.steps.push_back(Step::Maps(replica::Input::Raised { replica: replica.clone() }));
        self.gossip_step(gossip::Input::Raised { replica: replica.clone() });
        self.workers_step(workers::Input::Raised { replica: replica.clone() });
        out.push(Effect::Announce(Announcement::Raised { replica }));
    }

    fn persist(
        &mut self,
        incarnation: Incarnation,
        fences: std::collections::BTreeMap<NodeId, Incarnation>,
        out: &mut Vec<Effect>,
    ) {
        let row = |key: String, value: u64| (Keyspace::Meta, key, Some(Blob::from(encode(&value))));
        let mut batch = vec![row(INCARNATION_KEY.to_owned(), incarnation.0)];
        batch.extend(
            fences.into_iter().map(|(node, fence)| row(format!("{FENCE_PREFIX}{node}"), fence.0)),
        );
        let ticket = self.ask(Question::Persist(incarnation));
        out.push(Effect::Store { ticket, batch });
    }

    /// A message of a peer whose handshake is finished.
    fn message(&mut self, from: Replica, message: Message) {
        let transport = Transport::Link;
        match message {
            Message::Control(Control::Ping(ping)) => {
                self.acknowledged(&from, &ping.complete);
                let complete = self.maps.acknowledgements_for(&from).into();
                let floors = self.maps.floors().into();
                let pong = Pong { number: ping.number, complete, floors };
                self.send_control(from.node, Control::Pong(pong));
            }
            Message::Control(Control::Pong(pong)) => {
                self.acknowledged(&from, &pong.complete);
                for (topic, floor) in pong.floors.iter().copied() {
                    let owner = from.clone();
                    self.steps.push_back(Step::Maps(replica::Input::Floor { owner, topic, floor }));
                }
            }
            Message::Control(Control::Departed(notice)) => {
                self.membership_step(membership::Input::Departed { from, notice });
            }
            Message::Control(Control::Retired(notice)) => {
                self.membership_step(membership::Input::Retired { from, notice });
            }
            Message::Gossip(Gossip::Segments(segments)) => {
                self.steps.push_back(Step::Segments { from, segments });
            }
            Message::Gossip(Gossip::Digest(digest)) => {
                self.gossip_step(gossip::Input::Digest { from, transport, digest });
            }
            Message::Gossip(Gossip::Rows(rows)) => {
                self.gossip_step(gossip::Input::Rows { from, transport, rows });
            }
            Message::Gossip(Gossip::Pull(pull)) => {
                self.gossip_step(gossip::Input::Pull { from, transport, pull });
            }
            Message::Gossip(Gossip::Members(list)) => {
                self.membership_step(membership::Input::List { from, list });
            }
            Message::Gossip(Gossip::Swim(packet)) => {
                self.membership_step(membership::Input::Swim { from, transport, packet });
            }
            Message::Encoded(_) => unreachable!("links decode what they deliver"),
        }
    }

    /// A peer tells through where it has our own maps.
    fn acknowledged(&mut self, peer: &Replica, complete: &[(Topic, u64)]) {
        for (topic, complete) in complete.iter().copied() {
            let (peer, replica) = (peer.clone(), self.local.clone());
            self.steps.push_back(Step::Maps(replica::Input::Acknowledged {
                peer: peer.clone(),
                topic,
                replica: replica.clone(),
                complete,
            }));
            self.gossip_step(gossip::Input::Acknowledged { peer, topic, replica, complete });
        }
    }

    fn segments(&mut self, now: Instant, from: Replica, message: Segments, out: &mut Vec<Effect>) {
        let mut changed = false;
        for segment in message.segments.0 {
            let (from, transport) = (from.node.clone(), Transport::Link);
            self.carried(segment.topic, Direction::Received, segment.encoded_bytes());
            changed |=
                self.maps_step(now, replica::Input::Segment { from, transport, segment }, out);
        }
        if let Some(number) = message.answers {
            self.gossip_step(gossip::Input::Pulled { from, number, changed });
        }
    }

    /// Hands one input to the maps; tells whether a foreign map moved.
    fn maps_step(&mut self, now: Instant, input: replica::Input, out: &mut Vec<Effect>) -> bool {
        let mut outputs = Vec::new();
        self.maps.handle(now, input, &mut outputs);
        let moved = outputs.iter().any(|output| matches!(output, replica::Output::Progress { .. }));
        outputs.into_iter().for_each(|output| self.maps_say(output, out));
        moved
    }

    /// Answers a pull over the link, up to one frame of segments.
    fn serve(&mut self, to: NodeId, pull: &Pull) {
        let mut budget = limits::SEGMENTS_BYTES_MAX;
        let mut segments = Vec::new();
        for want in pull.wants.iter() {
            let held = self.maps.segment(want.topic, &want.replica, want.from, u64::MAX, budget);
            if let Some(segment) = held {
                let bytes = segment.encoded_bytes();
                budget = budget.saturating_sub(bytes);
                self.carried(segment.topic, Direction::Sent, bytes);
                segments.push(segment);
            }
        }
        let answer = Segments { segments: segments.into(), answers: Some(pull.number) };
        self.send_gossip(to, Gossip::Segments(answer));
    }

    /// Sends fresh intervals of our own maps to every connected peer, each frame encoded once. As soon as
    /// a link refuses one, all of it becomes rumours as well.
    fn push(&mut self, now: Instant, fresh: Vec<Fresh>, out: &mut Vec<Effect>) {
        let mut waiting: VecDeque<Fresh> = fresh.iter().cloned().collect();
        while let Some(segments) = self.cut_frame(&mut waiting) {
            for segment in &segments {
                let bytes = segment.encoded_bytes() * self.linked.len();
                self.carried(segment.topic, Direction::Sent, bytes);
            }
            let message = Gossip::Segments(Segments { segments: segments.into(), answers: None });
            if !self.send_to_all(now, &message, out) {
                for (topic, replica, from, upto) in fresh {
                    self.gossip_step(gossip::Input::PushRefused { topic, replica, from, upto });
                }
                return;
            }
        }
    }

    /// As much of what waits as one frame holds; `None` when nothing is left.
    fn cut_frame(&self, waiting: &mut VecDeque<Fresh>) -> Option<Vec<Segment>> {
        let mut budget = limits::SEGMENTS_BYTES_MAX;
        let mut segments: Vec<Segment> = Vec::new();
        while let Some((topic, replica, from, upto)) = waiting.pop_front() {
            match self.maps.segment(topic, &replica, from, upto, budget) {
                Some(segment) => {
                    budget = budget.saturating_sub(segment.encoded_bytes());
                    let cut = segment.upto;
                    segments.push(segment);
                    if cut < upto {
                        waiting.push_front((topic, replica, cut, upto));
                        break;
                    }
                }
                // Its first entry needs a frame of its own.
                None if !segments.is_empty() => {
                    waiting.push_front((topic, replica, from, upto));
                    break;
                }
                // Written over meanwhile: there is nothing to say.
                None => {}
            }
        }
        (!segments.is_empty()).then_some(segments)
    }

    /// Sends a message to every connected peer; tells whether no link refused it.
    fn send_to_all(&mut self, now: Instant, message: &Gossip, out: &mut Vec<Effect>) -> bool {
        let bytes = Blob::from(encode(message));
        let mut refused = false;
        for to in self.linked.clone() {
            let mut outputs = Vec::new();
            let message = Message::Encoded(bytes.clone());
            self.links.handle(now, link::Input::Send { to, message }, &mut outputs);
            refused |= outputs.iter().any(|output| matches!(output, link::Output::Refused { .. }));
            outputs.into_iter().for_each(|output| self.links_say(output, out));
        }
        !refused
    }

    /// Bytes of segments that arrived, or left by link, for gossip's counts.
    pub(super) fn carried(&mut self, topic: Topic, direction: Direction, bytes: usize) {
        self.gossip_step(gossip::Input::Carried { topic, direction, bytes });
    }

    /// Ends the turn of gossip: what was written in it is pushed.
    pub(super) fn flush_gossip(&mut self, now: Instant, out: &mut Vec<Effect>) {
        let mut outputs = Vec::new();
        self.gossip.flush(now, &mut outputs);
        outputs.into_iter().for_each(|output| self.gossip_says(now, output, out));
    }

    /// Whether datagrams of a peer do not arrive while its frames do.
    fn misses_datagrams(&self, peer: &NodeId) -> bool {
        self.membership.silent_transport(peer) == Some(Transport::Datagram)
    }

    fn send_section(&mut self, to: &NodeId, kind: Kind, bytes: &[u8], out: &mut Vec<Effect>) {
        if let Some(address) = self.address(to) {
            self.send_datagram(to, address, Some((kind, bytes)), out);
        }
    }

    fn send_retired(
        &mut self,
        to: NodeId,
        address: Option<SocketAddr>,
        transport: Transport,
        notice: Retired,
        out: &mut Vec<Effect>,
    ) {
        match (transport, address) {
            (Transport::Datagram, Some(address)) => {
                self.send_datagram(&to, address, Some((Kind::Retired, &encode(&notice))), out);
            }
            (Transport::Datagram, None) => {} // Nobody knows where it is: it will be met again.
            (Transport::Link, _) => self.send_control(to, Control::Retired(notice)),
        }
    }

    fn send_control(&mut self, to: NodeId, message: Control) {
        self.link_step(link::Input::Send { to, message: Message::Control(message) });
    }

    fn send_gossip(&mut self, to: NodeId, message: Gossip) {
        self.link_step(link::Input::Send { to, message: Message::Gossip(message) });
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

    pub(super) fn membership_step(&mut self, input: membership::Input) {
        self.steps.push_back(Step::Membership(input));
    }

    pub(super) fn link_step(&mut self, input: link::Input) {
        self.steps.push_back(Step::Link(input));
    }

    fn gossip_step(&mut self, input: gossip::Input) {
        self.steps.push_back(Step::Gossip(input));
    }

    fn workers_step(&mut self, input: workers::Input) {
        self.steps.push_back(Step::Workers(input));
    }
}

//! What membership says: packets, notices, and lives of replicas that everybody hears of.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use super::{Announcement, Call, Effect, Keyspace, Node, Reply, Step};
use crate::ids::{Incarnation, NodeId};
use crate::node::misbehaviour::Domain;
use crate::node::{FENCE_PREFIX, INCARNATION_KEY, Question};
use crate::wire::datagram::Kind;
use crate::wire::message::{Control, Gossip, Retired};
use crate::wire::segment::Topic;
use crate::wire::{Blob, Transport, encode};
use crate::{gossip, link, membership, pools, replica};

impl Node {
    pub(super) fn membership_says(&mut self, output: membership::Output, out: &mut Vec<Effect>) {
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
            Output::Persist { incarnation, fences, dropped } => {
                self.persist(incarnation, fences, dropped, out);
            }
            Output::Raised { replica } => self.raised(replica, out),
            Output::Slept => self.slept(),
            Output::Notice(notice) => self.notice(notice, out),
            Output::LookFor { replica, address } => {
                self.link_step(link::Input::LookFor { replica, address });
            }
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
                self.know_raft(node.clone());
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

    fn persist(
        &mut self,
        incarnation: Incarnation,
        fences: BTreeMap<NodeId, Incarnation>,
        dropped: BTreeSet<NodeId>,
        out: &mut Vec<Effect>,
    ) {
        let row = |key: String, value: u64| (Keyspace::Meta, key, Some(Blob::from(encode(&value))));
        let key = |node: &NodeId| format!("{FENCE_PREFIX}{node}");
        let mut batch = vec![row(INCARNATION_KEY.to_owned(), incarnation.0)];
        batch.extend(dropped.iter().map(|node| (Keyspace::Meta, key(node), None)));
        batch.extend(fences.iter().map(|(node, fence)| row(key(node), fence.0)));
        let ticket = self.ask(Question::Persist(incarnation));
        out.push(Effect::Store { ticket, batch });
    }

    /// All that others said goes: for the pools by one word, then map by map.
    fn slept(&mut self) {
        self.pools_step(pools::Input::Slept);
        self.steps.push_back(Step::Maps(replica::Input::Slept));
        self.steps.push_back(Step::Gossip(gossip::Input::Slept));
        self.link_step(link::Input::Slept);
    }

    pub(super) fn send_retired(
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

    pub(in crate::node) fn membership_step(&mut self, input: membership::Input) {
        self.steps.push_back(Step::Membership(input));
    }
}

//! What others know better of those that are held failed.
//!
//! News are spread a bounded number of times, and while only one transport of a node is cut, every one of
//! them may be lost; lists are exchanged with one member in `sync_interval`, which is longer than a node
//! may wrongly be held failed (M-11). So with each sweep a few linked members are asked about the failed:
//!
//! | who is asked holds | does |
//! | --- | --- |
//! | a newer life of it, which is a member | says so; the asker spreads it |
//! | the very life, which is a member | tells it that it was given up, for the asker may have no way there |
//! | it failed as well | nothing: it is dialled already |
//! | nothing, or that it left | dials its address once in a while, for the asker may have no way there |
//!
//! A question is no news: it enters no table, so it cannot bring back who was forgotten.

use std::net::SocketAddr;
use std::time::Duration;

use super::swim::codec::{listed, unlisted};
use super::{Membership, Output, State};
use crate::ids::{NodeId, Replica};
use crate::limits;
use crate::time::Instant;
use crate::wire::Transport;
use crate::wire::message::{Departed, Listed, Members, Purpose};

impl Membership {
    /// Asks a few members about some of those that are held failed.
    pub(super) fn ask(&mut self, out: &mut Vec<Output>) {
        let failed = self.rows.iter().filter(|(_, row)| row.state == State::Failed);
        let mut failed: Vec<NodeId> = failed.map(|(node, _)| node.clone()).collect();
        if failed.is_empty() || !self.may_send() {
            return;
        }
        self.rng.shuffle(&mut failed);
        failed.truncate(limits::QUESTION_ROWS_MAX);
        let known = failed.iter().filter_map(|node| self.swim.seen(node));
        let about: Vec<Listed> = known.map(listed).collect();
        let members = self.linked.iter().filter(|node| self.is_member(node));
        let mut helpers: Vec<NodeId> = members.cloned().collect();
        self.rng.shuffle(&mut helpers);
        helpers.truncate(limits::QUESTION_HELPERS_MAX);
        for to in helpers {
            let list = Members { purpose: Purpose::Question, members: about.clone().into() };
            out.push(Output::SendList { to, list });
        }
    }

    /// Somebody asks about those that it holds failed.
    pub(super) fn asked(
        &mut self,
        now: Instant,
        from: &Replica,
        about: &[Listed],
        out: &mut Vec<Output>,
    ) {
        let mut better = Vec::new();
        for question in about.iter().take(limits::QUESTION_ROWS_MAX) {
            let Replica { node, incarnation } = &question.replica;
            if *node == self.identity.replica.node {
                sometimes!("membership.asked_about_ourselves");
                let said = unlisted(question.clone());
                self.names_us(now, said.id(), true, out);
                continue;
            }
            match self.rows.get(node) {
                Some(row) if row.is_down() => {}
                Some(row) if row.is_member() && row.replica.incarnation > *incarnation => {
                    sometimes!("membership.asked_of_an_old_life");
                    better.extend(self.swim.seen(node).map(listed));
                }
                Some(row) if row.is_member() && row.replica.incarnation == *incarnation => {
                    sometimes!("membership.told_for_another");
                    self.tell_for_another(now, node, out);
                }
                Some(row) if row.is_member() => {} // It lives, or will be told of its next life.
                Some(_) | None => self.seek(now, question.address, out),
            }
        }
        if !better.is_empty() && self.may_send() {
            let list = Members { purpose: Purpose::Correction, members: better.into() };
            out.push(Output::SendList { to: from.node.clone(), list });
        }
    }

    /// Dials an address where somebody that we do not know may live.
    fn seek(&mut self, now: Instant, address: SocketAddr, out: &mut Vec<Output>) {
        self.sought.retain(|_, at| now.since(*at) < SEEK_INTERVAL);
        if self.sought.len() < limits::QUESTION_ROWS_MAX
            && !self.sought.contains_key(&address)
            && self.may_send()
        {
            self.sought.insert(address, now);
            out.push(Output::DialSeed { address });
        }
    }

    /// Tells a member that somebody else has given it up.
    fn tell_for_another(&mut self, now: Instant, node: &NodeId, out: &mut Vec<Output>) {
        if !self.may_notice(now, node) {
            return;
        }
        let Some(row) = self.rows.get(node) else { return };
        let notice = Departed { incarnation: row.replica.incarnation };
        for transport in [Transport::Datagram, Transport::Link] {
            if transport == Transport::Datagram || self.linked.contains(node) {
                let (to, address, notice) = (row.replica.clone(), row.address, notice.clone());
                out.push(Output::SendDeparted { to, address, transport, notice });
            }
        }
    }
}

/// A failed node is dialled as often by those that know it.
const SEEK_INTERVAL: Duration = Duration::from_secs(10);

//! Which news may enter the engine.
//!
//! The engine believes whatever it is fed, so this looks first: our own name, fenced lives, a full table.
//! What is refused here is refused in every packet and every list alike.

use std::collections::BTreeSet;

use super::swim::{Identity, Known, Message, Packet, Seen};
use super::{Membership, Output};
use crate::ids::{NodeId, Replica};
use crate::time::Instant;
use crate::wire::message::{Listed, Members, Purpose};
use crate::wire::{Blob, Transport};

impl Membership {
    /// A SWIM packet of `from`.
    pub(super) fn swim(
        &mut self,
        now: Instant,
        from: &Replica,
        transport: Transport,
        bytes: &Blob,
        out: &mut Vec<Output>,
    ) {
        let Ok(mut packet) = Packet::parse(bytes) else {
            self.misbehaved(from, "swim: malformed", out);
            return;
        };
        if packet.header.src.replica != *from {
            self.misbehaved(from, "swim: another sender than the datagram's", out);
            return;
        }
        if !self.listens_to(from) {
            sometimes!("membership.packet_of_the_past");
            return;
        }
        self.overhear(now, &packet, out);
        let mut strangers = BTreeSet::new();
        let sender =
            Known::new(packet.header.src.clone(), packet.header.src_incarnation, Seen::Alive);
        if !self.admits(now, &sender, &mut strangers, out) {
            return;
        }
        packet.updates.retain(|update| self.admits(now, update, &mut strangers, out));
        packet.updates.retain(|update| self.has_room(update, &strangers));
        if let Err(what) = self.swim.receive(now, transport, packet, bytes) {
            self.misbehaved(from, what, out);
        }
    }

    /// A member list of `from`.
    pub(super) fn list(
        &mut self,
        now: Instant,
        from: &Replica,
        list: Members,
        out: &mut Vec<Output>,
    ) {
        if !self.listens_to(from) {
            sometimes!("membership.list_of_the_past");
            return;
        }
        if list.purpose == Purpose::Question {
            self.asked(now, from, &list.members.0, out);
            return;
        }
        let mut strangers = BTreeSet::new();
        let mut news = Vec::new();
        for listed in list.members.0 {
            let member = super::swim::codec::unlisted(listed);
            if self.admits(now, &member, &mut strangers, out) {
                news.push(member);
            }
        }
        news.retain(|member| self.has_room(member, &strangers));
        self.swim.learn(now, news, list.purpose == Purpose::Correction);
        self.joined = true;
        if list.purpose == Purpose::Exchange && self.may_send() {
            let list = self.listed(Purpose::News);
            out.push(Output::SendList { to: from.node.clone(), list });
        }
    }

    /// Our list, as a link exchanges it.
    pub(super) fn own_list(&self) -> Vec<Listed> {
        let own = Known::new(self.identity.clone(), self.swim.refutation(), Seen::Alive);
        // Who was down before we met them is not ours to tell: the tale would never end.
        let first_hand = |known: &&Known<Identity>| {
            known.state() != Seen::Down
                || self.rows.get(&known.id().replica.node).is_some_and(|row| row.told.is_some())
        };
        let others = self.swim.known().filter(first_hand);
        let all = std::iter::once(&own).chain(others);
        all.take(crate::limits::LISTED_MAX).map(super::swim::codec::listed).collect()
    }

    /// Whether words of `from` count: not those of a life that is fenced, down or superseded.
    pub(super) fn listens_to(&self, from: &Replica) -> bool {
        if from.node == self.identity.replica.node || self.fences.holds(from) {
            return false;
        }
        self.rows.get(&from.node).is_none_or(|row| {
            from.incarnation > row.replica.incarnation
                || (from.incarnation == row.replica.incarnation
                    && row.is_member()
                    && !row.is_down())
        })
    }

    /// Whether a word about a member may enter the engine.
    pub(super) fn admits(
        &mut self,
        now: Instant,
        news: &Known<Identity>,
        strangers: &mut BTreeSet<NodeId>,
        out: &mut Vec<Output>,
    ) -> bool {
        let replica = &news.id().replica;
        if replica.node == self.identity.replica.node {
            return self.names_us(now, news.id(), news.state() == Seen::Down, out);
        }
        if self.fences.holds(replica) {
            sometimes!("membership.news_of_the_fenced");
            if news.state() != Seen::Down {
                // It lives for somebody else and cannot know that it is over here.
                let (node, address) = (replica.node.clone(), news.id().address);
                self.tell_retired(now, &node, Transport::Datagram, Some(address), out);
            }
            return false;
        }
        // Its fence may have made room for another's; its row still says that it is over.
        let row = self.rows.get(&replica.node);
        if row.is_some_and(|row| row.is_closed() && replica.incarnation <= row.replica.incarnation)
        {
            sometimes!("membership.news_of_the_closed");
            return false;
        }
        if row.is_some() || strangers.contains(&replica.node) {
            return true;
        }
        let full = 1 + self.rows.len() + strangers.len() >= self.settings.members_max;
        if full && (news.state() == Seen::Down || !self.make_room(now, out)) {
            self.drops.full += 1;
            self.full |= news.state() != Seen::Down;
            return false;
        }
        strangers.insert(replica.node.clone());
        true
    }

    /// Whether the one that a word is about still has its place: another may have taken it since.
    fn has_room(&self, news: &Known<Identity>, strangers: &BTreeSet<NodeId>) -> bool {
        let node = &news.id().replica.node;
        *node == self.identity.replica.node
            || self.rows.contains_key(node)
            || strangers.contains(node)
    }

    /// Looks for our own name where the engine would not.
    fn overhear(&mut self, now: Instant, packet: &Packet, out: &mut Vec<Output>) {
        #[expect(clippy::wildcard_enum_match_arm, reason = "the others name nobody")]
        let third = match &packet.header.message {
            Message::PingReq { target: third, .. }
            | Message::IndirectPing { origin: third, .. }
            | Message::IndirectAck { target: third, .. }
            | Message::ForwardedAck { origin: third, .. } => Some(third),
            _ => None,
        };
        for named in std::iter::once(&packet.header.dst).chain(third) {
            if named.replica.node == self.identity.replica.node {
                self.names_us(now, &named.clone(), false, out);
            }
        }
    }

    fn misbehaved(&mut self, from: &Replica, what: &'static str, out: &mut Vec<Output>) {
        self.drops.malformed += 1;
        out.push(Output::Misbehaved { peer: from.node.clone(), what });
    }
}

//! The SWIM engine behind our own words: packets in, packets out, timers as values.
//!
//! `foca` sees identities, filtered packets and its own timers; whoever calls this adapter sees sends,
//! nodes whose state may have changed, and counts. What foca lacks is added here:
//!
//! - every timer has one named slot, so their number is bounded and their order fixed (M-7);
//! - delays of a probe cycle are stretched by `1 + score`, both by the same factor;
//! - a failed direct probe is repeated over the link, and one that is answered wakes nobody until its cycle ends;
//! - a suspect is told, once per probe interval, by whoever suspects it, in a ping whose answer carries
//!   the newest refutation;
//! - updates spread by themselves while there are any, without an idle timer.
//!
//! Absent on purpose: what a state means to others (`table.rs`), which news may enter (`screen.rs`).

use std::collections::{BTreeMap, BTreeSet};
use std::num::{NonZeroU8, NonZeroUsize};

use foca::{Config, Foca, Member, NoCustomBroadcast, State, Timer};

use super::Settings;
use crate::ids::NodeId;
use crate::limits;
use crate::random::Rng;
use crate::time::Instant;
use crate::wire::Transport;
use codec::Codec;
use world::{Outcome, Runtime, Slot, World};

pub(super) mod codec;
mod world;

pub(super) use codec::{Identity, Packet};
/// The engine's words that our screen and table share.
pub(super) use foca::{Member as Known, Message, State as Seen};
pub(super) use world::Probes;

/// One node's SWIM.
pub(super) struct Swim {
    engine: Foca<Identity, Codec, Rng, NoCustomBroadcast>,
    world: World,
}

/// What came of the calls since it was last taken.
#[derive(Debug, Default)]
pub(super) struct Effects {
    /// Packets to send, in order.
    pub(super) sends: Vec<Send>,
    /// Nodes about which something may have changed.
    pub(super) touched: Vec<NodeId>,
    /// Nodes whose probe was not answered by datagram.
    pub(super) doubted: Vec<NodeId>,
    /// The refutation counter is used up: this life cannot go on.
    pub(super) exhausted: bool,
}

/// One packet on its way out.
#[derive(Debug)]
pub(super) struct Send {
    pub(super) to: Identity,
    pub(super) transport: Transport,
    pub(super) packet: Vec<u8>,
}

impl Swim {
    pub(super) fn new(identity: Identity, settings: &Settings, rng: Rng) -> Swim {
        let world = World {
            probe_interval: settings.probe_interval,
            suspicion_mult: settings.suspicion_mult,
            members: 1,
            score: 0,
            score_before: 0,
            timers: BTreeMap::new(),
            probe: None,
            refutation: 0,
            probes: Probes::default(),
            leaving: false,
            effects: Effects::default(),
        };
        let engine = Foca::new(identity, config(settings), rng, Codec);
        Swim { engine, world }
    }

    pub(super) fn identity(&self) -> &Identity {
        self.engine.identity()
    }

    /// 0 (well) to 8: how much we doubt ourselves.
    pub(super) fn score(&self) -> u32 {
        self.world.score
    }

    pub(super) fn probes(&self) -> Probes {
        self.world.probes
    }

    /// Our refutation counter in this life.
    pub(super) fn refutation(&self) -> u16 {
        self.world.refutation
    }

    /// Everything known of others.
    pub(super) fn known(&self) -> impl Iterator<Item = &Member<Identity>> {
        self.engine.iter_membership_state()
    }

    /// What is known of `node`.
    pub(super) fn seen(&self, node: &NodeId) -> Option<&Member<Identity>> {
        self.known().find(|member| member.id().replica.node == *node)
    }

    /// What is known of `nodes`, in their order. Many are looked for at once, since each search is a
    /// look at everybody.
    pub(super) fn seen_of(&self, nodes: &BTreeSet<NodeId>) -> Vec<(Identity, State)> {
        let known = |member: &Member<Identity>| (member.id().clone(), member.state());
        if let (Some(node), 1) = (nodes.first(), nodes.len()) {
            return self.seen(node).map(known).into_iter().collect();
        }
        let touched = self.known().filter(|member| nodes.contains(&member.id().replica.node));
        let mut touched: Vec<(Identity, State)> = touched.map(known).collect();
        touched.sort_unstable_by(|(one, _), (other, _)| one.replica.node.cmp(&other.replica.node));
        touched
    }

    /// Updates that are still being spread.
    pub(super) fn backlog(&self) -> usize {
        if self.engine.num_members() == 0 { 0 } else { self.engine.updates_backlog() }
    }

    pub(super) fn next_wake(&self) -> Option<(Instant, &'static str)> {
        let due = self.world.timers.iter().map(|(slot, (at, _))| (*at, slot)).min()?;
        Some((due.0, due.1.name()))
    }

    pub(super) fn take_effects(&mut self) -> Effects {
        std::mem::take(&mut self.world.effects)
    }

    /// Takes in a packet that was screened; `updates` are those of its updates that may enter.
    pub(super) fn receive(
        &mut self,
        now: Instant,
        transport: Transport,
        packet: Packet,
        bytes: &[u8],
    ) -> Result<(), &'static str> {
        let Packet { header, header_bytes, updates } = packet;
        let ours = self.engine.identity();
        let announced = header.message == Message::Announce;
        if header.dst != *ours && !(announced && header.dst.replica.node == ours.replica.node) {
            return Ok(()); // Meant for another life of ours.
        }
        self.world.observe(transport, &header);
        // The updates enter before the answer leaves, so that it carries a refutation if need be (M-12).
        let sender = Member::new(header.src.clone(), header.src_incarnation, State::Alive);
        let by_link = (transport == Transport::Link).then(|| header.src.replica.node.clone());
        let news = std::iter::once(sender).chain(updates);
        self.learn_from(now, by_link.clone(), news, true);
        let alone = bytes.get(..header_bytes).expect("a header ends within its packet");
        let runtime = Runtime { now, by_link, world: &mut self.world };
        let handled = self.engine.handle_data(alone, runtime);
        self.end_direct(now);
        self.arrange(now);
        handled.map_err(|error| refusal(&error))
    }

    /// Takes in what somebody says about members; `spread` it on as news.
    pub(super) fn learn(
        &mut self,
        now: Instant,
        news: impl IntoIterator<Item = Member<Identity>>,
        spread: bool,
    ) {
        self.learn_from(now, None, news, spread);
        self.arrange(now);
    }

    fn learn_from(
        &mut self,
        now: Instant,
        by_link: Option<NodeId>,
        news: impl IntoIterator<Item = Member<Identity>>,
        spread: bool,
    ) {
        let news = self.without_known(news.into_iter().collect());
        let touched = news.iter().map(|member| member.id().replica.node.clone());
        self.world.effects.touched.extend(touched);
        let runtime = Runtime { now, by_link, world: &mut self.world };
        self.engine
            .apply_many(news.into_iter(), spread, runtime)
            .expect("a vector takes every member that the codec encodes");
    }

    /// Leaves out what is known word for word. Most of what arrives is that, and each word would cost the
    /// engine a search of its own.
    fn without_known(&self, said: Vec<Member<Identity>>) -> Vec<Member<Identity>> {
        if let [one] = said.as_slice() {
            // A packet without updates, which is most of them.
            let same = self.seen(&one.id().replica.node) == Some(one);
            return if same { Vec::new() } else { said };
        }
        let mut places: Vec<(&NodeId, usize)> = said
            .iter()
            .enumerate()
            .map(|(place, member)| (&member.id().replica.node, place))
            .collect();
        places.sort_unstable();
        let mut is_news = vec![true; said.len()];
        for known in self.known() {
            let sought = &known.id().replica.node;
            let first = places.partition_point(|(node, _)| *node < sought);
            let same = places.iter().skip(first).take_while(|(node, _)| *node == sought);
            for (_, place) in same {
                if let (Some(is_news), Some(member)) = (is_news.get_mut(*place), said.get(*place)) {
                    *is_news = member != known;
                }
            }
        }
        said.into_iter().zip(is_news).filter_map(|(member, news)| news.then_some(member)).collect()
    }

    /// Introduces us to `target`, which answers with members it knows.
    pub(super) fn announce(&mut self, now: Instant, target: Identity) {
        let runtime = Runtime { now, by_link: None, world: &mut self.world };
        self.engine.announce(target, runtime).expect("an announcement fits its packet");
    }

    /// Asks `target` a question by datagram that a live one answers.
    pub(super) fn question(&mut self, target: &NodeId) {
        let Some(member) = self.seen(target).cloned() else { return };
        let ping = Packet::telling(self.identity().clone(), self.world.refutation, &member);
        let to = member.id().clone();
        self.world.effects.sends.push(Send { to, transport: Transport::Datagram, packet: ping });
    }

    /// Goes on as another life of ours.
    pub(super) fn rename(&mut self, now: Instant, identity: Identity) {
        self.world.reset();
        let runtime = Runtime { now, by_link: None, world: &mut self.world };
        self.engine.change_identity(identity, runtime).expect("a raise is always to another life");
        self.learn(now, [], true); // Probing begins anew.
    }

    /// Says goodbye; updates are spread on until the backlog is empty.
    pub(super) fn leave(&mut self, now: Instant) {
        self.world.leaving = true;
        let runtime = Runtime { now, by_link: None, world: &mut self.world };
        self.engine.leave_cluster(runtime).expect("a goodbye fits its packet");
        self.arrange(now);
    }

    /// Lets go of a node that is down.
    pub(super) fn remove(&mut self, now: Instant, node: &NodeId) {
        let Some(identity) = self.seen(node).map(|member| member.id().clone()) else { return };
        let runtime = Runtime { now, by_link: None, world: &mut self.world };
        let removed = self.engine.handle_timer(Timer::RemoveDown(identity), runtime);
        removed.expect("removing a member sends nothing");
    }

    /// Stops the clocks of a suspicion that has ended.
    pub(super) fn settle(&mut self, node: &NodeId) {
        self.world.timers.remove(&Slot::Suspicion(node.clone()));
        self.world.timers.remove(&Slot::Tell(node.clone()));
    }

    /// Fires what is due, in order.
    ///
    /// `linked` are those whose link stands. A probe that nobody acknowledged makes us doubt ourselves only
    /// then: whoever lost its link as well is gone, and a survivor of many must not grow slow (M-13).
    pub(super) fn tick(&mut self, now: Instant, linked: &BTreeSet<NodeId>) {
        let mut late = false;
        while let Some((at, slot)) = self.due(now) {
            late |= now.since(at) > self.world.probe_interval;
            let (_, timer) = self.world.timers.remove(&slot).expect("a due timer has its slot");
            self.fire(now, slot, timer, linked);
        }
        if late {
            sometimes!("membership.loop_late");
            self.world.doubt();
        }
        self.arrange(now);
    }

    fn due(&self, now: Instant) -> Option<(Instant, Slot)> {
        let due = self.world.timers.iter().filter(|(_, (at, _))| *at <= now);
        due.map(|(slot, (at, _))| (*at, slot)).min().map(|(at, slot)| (at, slot.clone()))
    }

    fn fire(
        &mut self,
        now: Instant,
        slot: Slot,
        timer: Option<Timer<Identity>>,
        linked: &BTreeSet<NodeId>,
    ) {
        match &slot {
            Slot::Indirect => self.fall_back(),
            Slot::Probe => self.end_cycle(linked),
            Slot::Spread => {
                let runtime = Runtime { now, by_link: None, world: &mut self.world };
                self.engine.gossip(runtime).expect("updates are cut to the packet");
            }
            Slot::Tell(node) => self.tell(now, node),
            Slot::Suspicion(node) => {
                self.world.effects.touched.push(node.clone());
                self.world.timers.remove(&Slot::Tell(node.clone()));
            }
        }
        if let Some(timer) = timer {
            let runtime = Runtime { now, by_link: None, world: &mut self.world };
            let handled = self.engine.handle_timer(timer, runtime);
            handled.expect(
                "every timer comes once, in order, and each packet has room for its header",
            );
        }
    }

    /// A probe that is answered has nothing left to do until its cycle ends: nobody wakes for that.
    fn end_direct(&mut self, now: Instant) {
        if self.world.probe.as_ref().is_some_and(|probe| probe.outcome.is_some())
            && let Some((_, timer)) = self.world.timers.remove(&Slot::Indirect)
        {
            self.fire(now, Slot::Indirect, timer, &BTreeSet::new());
        }
    }

    /// The direct probe was not answered in time: it is repeated over the link.
    fn fall_back(&mut self) {
        let Some(probe) = self.world.probe.as_ref().filter(|probe| probe.outcome.is_none()) else {
            return;
        };
        sometimes!("membership.probe_repeated_by_link");
        let (to, packet) = (probe.target.clone(), probe.packet.clone());
        self.world.effects.sends.push(Send { to, transport: Transport::Link, packet });
    }

    fn end_cycle(&mut self, linked: &BTreeSet<NodeId>) {
        self.world.score_before = self.world.score;
        let Some(probe) = self.world.probe.take() else { return };
        let target = self.seen(&probe.target.replica.node);
        let gone = target
            .is_none_or(|member| *member.id() != probe.target || member.state() == State::Down);
        if probe.outcome != Some(Outcome::Direct) {
            self.world.effects.doubted.push(probe.target.replica.node.clone());
        }
        sometimes!("membership.probe_direct", probe.outcome == Some(Outcome::Direct));
        sometimes!("membership.probe_indirect", probe.outcome == Some(Outcome::Indirect));
        sometimes!("membership.probe_link", probe.outcome == Some(Outcome::Link));
        sometimes!("membership.probe_failed", probe.outcome.is_none() && !gone);
        sometimes!("membership.probe_of_the_gone", probe.outcome.is_none() && gone);
        let probes = &mut self.world.probes;
        match probe.outcome {
            Some(Outcome::Direct) => probes.direct += 1,
            Some(Outcome::Indirect) => probes.indirect += 1,
            Some(Outcome::Link) => probes.link += 1,
            None if gone => return, // It said goodbye meanwhile.
            None => {
                probes.failed += 1;
                if linked.contains(&probe.target.replica.node) {
                    self.world.doubt();
                }
                return;
            }
        }
        self.world.score = self.world.score.saturating_sub(1);
    }

    fn tell(&mut self, now: Instant, node: &NodeId) {
        let Some(suspect) = self.seen(node).filter(|member| member.state() == State::Suspect)
        else {
            return;
        };
        sometimes!("membership.suspect_told");
        let suspect = suspect.clone();
        let ping = Packet::telling(self.identity().clone(), self.world.refutation, &suspect);
        for transport in [Transport::Datagram, Transport::Link] {
            let to = suspect.id().clone();
            self.world.effects.sends.push(Send { to, transport, packet: ping.clone() });
        }
        let next = now + self.world.probe_interval;
        self.world.timers.insert(Slot::Tell(node.clone()), (next, None));
    }

    /// Keeps what follows from the number of members and from the backlog.
    fn arrange(&mut self, now: Instant) {
        self.world.members = self.engine.num_members() + 1;
        let backlog = self.backlog() > 0;
        if !backlog {
            self.world.timers.remove(&Slot::Spread);
        } else if !self.world.timers.contains_key(&Slot::Spread) {
            let at = now + self.world.probe_interval / SPREADS_PER_PROBE;
            self.world.timers.insert(Slot::Spread, (at, None));
        }
    }

    /// Follows the size of the cluster with the number of transmissions of one update.
    pub(super) fn resize(&mut self, settings: &Settings) {
        let transmissions = transmissions(self.world.members);
        let engine = Config { max_transmissions: transmissions, ..config(settings) };
        self.engine.set_config(engine).expect("only the number of transmissions changes");
    }

    /// M-7: a suspicion's timer belongs to a member that is suspect.
    #[cfg(any(test, feature = "simulation"))]
    pub(super) fn check(&self) -> Result<(), String> {
        for slot in self.world.timers.keys() {
            if let Slot::Suspicion(node) = slot
                && self.seen(node).is_none_or(|member| member.state() != State::Suspect)
            {
                return Err(format!("M-7: the timer of {node} has no suspect"));
            }
        }
        Ok(())
    }
}

fn config(settings: &Settings) -> Config {
    let indirect = usize::try_from(settings.indirect_probes).unwrap_or(1);
    let packet = NonZeroUsize::new(limits::SWIM_PACKET_BYTES_MAX);
    Config {
        probe_period: settings.probe_interval,
        probe_rtt: settings.probe_timeout,
        num_indirect_probes: NonZeroUsize::new(indirect).unwrap_or(NonZeroUsize::MIN),
        max_transmissions: transmissions(1),
        suspect_to_down_after: settings.probe_interval, // Replaced when the timer is set.
        remove_down_after: None,
        max_packet_size: packet.expect("a packet has room"),
        // It is sent even when the suspicion was refuted meanwhile, and kills the healthy.
        notify_down_members: false,
        periodic_announce: None,
        periodic_announce_to_down_members: None,
        periodic_gossip: None,
    }
}

fn transmissions(members: usize) -> NonZeroU8 {
    // ⌈log2(n + 1)⌉ is the number of binary digits of n.
    let digits = usize::BITS - members.leading_zeros();
    let count = u8::try_from(3 * digits).unwrap_or(u8::MAX).clamp(8, 60);
    NonZeroU8::new(count).expect("at least eight")
}

fn refusal(error: &foca::Error) -> &'static str {
    match error {
        foca::Error::DataTooBig => "swim: too large",
        foca::Error::DataFromOurselves => "swim: from ourselves",
        foca::Error::IndirectForOurselves => "swim: a detour to ourselves",
        foca::Error::MalformedPacket | foca::Error::Decode(_) => "swim: malformed",
        foca::Error::NotUndead
        | foca::Error::SameIdentity
        | foca::Error::NotConnected
        | foca::Error::IncompleteProbeCycle
        | foca::Error::Encode(_)
        | foca::Error::CustomBroadcast(_)
        | foca::Error::InvalidConfig => "swim: refused",
    }
}

const SPREADS_PER_PROBE: u32 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_update_is_sent_three_times_the_digits_of_the_cluster_within_eight_and_sixty() {
        let counts = [1, 2, 3, 4, 7, 8, 60, 1000, 1 << 30].map(|n| transmissions(n).get());
        assert_eq!(counts, [8, 8, 8, 9, 9, 12, 18, 30, 60]);
    }
}

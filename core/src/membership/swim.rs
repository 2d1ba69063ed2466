//! The SWIM engine behind our own words: packets in, packets out, timers as values.
//!
//! `foca` sees identities, filtered packets and its own timers; whoever calls this adapter sees sends,
//! nodes whose state may have changed, and counts. What foca lacks is added here:
//!
//! - every timer has one named slot, so their number is bounded and their order fixed (M-7);
//! - delays of a probe cycle are stretched by `1 + score`, both by the same factor;
//! - a failed direct probe is repeated over the link;
//! - a suspect is told, once per probe interval, by whoever suspects it, in a ping whose answer carries
//!   the newest refutation;
//! - updates spread by themselves while there are any, without an idle timer.
//!
//! Absent on purpose: what a state means to others (`table.rs`), which news may enter (`screen.rs`).

use std::collections::{BTreeMap, BTreeSet};
use std::num::{NonZeroU8, NonZeroUsize};
use std::time::Duration;

use foca::{Config, Foca, Member, Message, NoCustomBroadcast, Notification, State, Timer};

use super::Settings;
use crate::ids::NodeId;
use crate::limits;
use crate::random::Rng;
use crate::time::Instant;
use crate::wire::Transport;
use codec::{Codec, KIND_PING, Label};

pub(super) mod codec;
pub(super) use codec::{Identity, Packet};

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

/// How probes ended.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Probes {
    pub(super) direct: u64,
    pub(super) indirect: u64,
    pub(super) link: u64,
    pub(super) failed: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Direct,
    Indirect,
    Link,
}

struct Probe {
    target: Identity,
    number: u8,
    packet: Vec<u8>,
    outcome: Option<Outcome>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Slot {
    /// The direct probe was given its time.
    Indirect,
    /// The probe cycle ends and the next begins.
    Probe,
    /// Updates are spread.
    Spread,
    /// A suspect's time is up.
    Suspicion(NodeId),
    /// A suspect is told.
    Tell(NodeId),
}

/// Everything that foca does not hold itself.
struct World {
    probe_interval: Duration,
    suspicion_mult: u32,
    members: usize,
    score: u32,
    /// The score before the probe that has just failed: the first failure doubts the peer, not us.
    score_before: u32,
    timers: BTreeMap<Slot, (Instant, Option<Timer<Identity>>)>,
    probe: Option<Probe>,
    refutation: u16,
    probes: Probes,
    leaving: bool,
    effects: Effects,
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
        let news: Vec<_> = news.into_iter().collect();
        let touched = news.iter().map(|member| member.id().replica.node.clone());
        self.world.effects.touched.extend(touched);
        let runtime = Runtime { now, by_link, world: &mut self.world };
        self.engine
            .apply_many(news.into_iter(), spread, runtime)
            .expect("a vector takes every member that the codec encodes");
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

    /// The direct probe was not answered in time: it is repeated over the link.
    fn fall_back(&mut self) {
        let Some(probe) = self.world.probe.as_ref().filter(|probe| probe.outcome.is_none()) else {
            return;
        };
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

impl World {
    /// Notes the answer to our probe.
    fn observe(&mut self, transport: Transport, header: &foca::Header<Identity>) {
        let Some(probe) = self.probe.as_mut() else { return };
        #[expect(clippy::wildcard_enum_match_arm, reason = "only acknowledgements answer a probe")]
        let outcome = match &header.message {
            Message::Ack(number) if *number == probe.number && header.src == probe.target => {
                if transport == Transport::Link {
                    Outcome::Link
                } else {
                    Outcome::Direct
                }
            }
            Message::ForwardedAck { origin, probe_number }
                if *probe_number == probe.number && *origin == probe.target =>
            {
                Outcome::Indirect
            }
            _ => return,
        };
        probe.outcome.get_or_insert(outcome);
    }

    fn doubt(&mut self) {
        self.score = (self.score + 1).min(limits::HEALTH_SCORE_MAX);
    }

    fn reset(&mut self) {
        self.timers.clear();
        self.probe = None;
        self.refutation = 0;
    }

    fn suspicion(&self) -> Duration {
        let centi = log10_hundredths(self.members as u64).max(100);
        let centi = u32::try_from(centi).expect("the logarithm of a 64-bit number is small");
        self.probe_interval * self.suspicion_mult * centi * (1 + self.score_before) / 100
    }
}

struct Runtime<'a> {
    now: Instant,
    /// Whoever spoke over its link is answered over it.
    by_link: Option<NodeId>,
    world: &'a mut World,
}

impl foca::Runtime<Identity> for Runtime<'_> {
    fn notify(&mut self, notification: Notification<'_, Identity>) {
        match notification {
            Notification::MemberUp(id) | Notification::MemberDown(id) => {
                self.world.effects.touched.push(id.replica.node.clone());
            }
            Notification::Rename(_, new) => {
                self.world.effects.touched.push(new.replica.node.clone());
            }
            Notification::Active | Notification::Rejoin(_) => {}
            // The engine disowns the timers it has set.
            Notification::Idle => {
                self.world.timers.clear();
                self.world.probe = None;
            }
            Notification::Defunct => {
                self.world.timers.clear();
                self.world.probe = None;
                self.world.effects.exhausted |= !self.world.leaving;
            }
        }
    }

    fn send_to(&mut self, to: Identity, packet: &[u8]) {
        let label = Label::of(packet).expect("foca sends what the codec encoded");
        if label.refutation > self.world.refutation {
            self.world.refutation = label.refutation;
            self.world.doubt();
        }
        let packet = packet.to_vec();
        if label.kind == KIND_PING {
            let (target, packet) = (to.clone(), packet.clone());
            self.world.probe = Some(Probe { target, number: label.number, packet, outcome: None });
        }
        let by_link = self.by_link.as_ref() == Some(&to.replica.node);
        let transport = if by_link { Transport::Link } else { Transport::Datagram };
        self.world.effects.sends.push(Send { to, transport, packet });
    }

    fn submit_after(&mut self, timer: Timer<Identity>, after: Duration) {
        let stretched = self.now + after * (1 + self.world.score);
        let (slot, at) = match &timer {
            Timer::ProbeRandomMember(_) => (Slot::Probe, stretched),
            Timer::SendIndirectProbe { .. } => (Slot::Indirect, stretched),
            Timer::ChangeSuspectToDown { member_id, incarnation, .. } => {
                let node = member_id.replica.node.clone();
                self.world.effects.touched.push(node.clone());
                if self.world.runs(&node, member_id, *incarnation) {
                    return;
                }
                self.world.timers.insert(Slot::Tell(node.clone()), (self.now, None));
                (Slot::Suspicion(node), self.now + self.world.suspicion())
            }
            Timer::PeriodicAnnounce(_)
            | Timer::PeriodicAnnounceDown(_)
            | Timer::PeriodicGossip(_)
            | Timer::RemoveDown(_) => return, // Configured off: they are ours.
        };
        self.world.timers.insert(slot, (at, Some(timer)));
    }
}

impl World {
    /// Whether the clock of this very suspicion runs already.
    fn runs(&self, node: &NodeId, id: &Identity, refutation: u16) -> bool {
        let running = self.timers.get(&Slot::Suspicion(node.clone()));
        running.is_some_and(|(_, timer)| {
            matches!(timer, Some(Timer::ChangeSuspectToDown { member_id, incarnation, .. })
                if member_id == id && *incarnation == refutation)
        })
    }
}

impl Slot {
    fn name(&self) -> &'static str {
        match self {
            Slot::Indirect => "a direct probe was given its time",
            Slot::Probe => "the next probe",
            Slot::Spread => "membership updates are spread",
            Slot::Suspicion(_) => "a suspect's time is up",
            Slot::Tell(_) => "a suspect is told",
        }
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

/// 100 · log10(count), rounded down to a hundredth part of a decade by integers alone.
fn log10_hundredths(count: u64) -> u64 {
    let mut decades = 0;
    let mut rest = u128::from(count.max(1)) << 32;
    while rest >= 10 << 32 {
        rest /= 10;
        decades += 1;
    }
    // rest^100 has as many decades as the logarithm has hundredths.
    let (mut power, mut hundredths) = (1_u128 << 32, 0);
    for _ in 0..100 {
        power = (power * rest) >> 32;
        while power >= 10 << 32 {
            power /= 10;
            hundredths += 1;
        }
    }
    decades * 100 + hundredths
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

    #[test]
    fn the_integer_logarithm_is_right_to_a_hundredth() {
        let logs = [1, 2, 9, 10, 11, 60, 99, 100, 1000, 2048].map(log10_hundredths);
        for (count, log) in [1, 2, 9, 10, 11, 60, 99, 100, 1000, 2048_u32].into_iter().zip(logs) {
            let exact = 100.0 * f64::from(count).log10();
            assert!((exact - log as f64).abs() <= 1.01, "{count}: {log} is not {exact}");
        }
        assert_eq!(log10_hundredths(u64::MAX), 1926);
    }
}

//! What surrounds the engine: its timers in named slots, the probe under way, our doubt of ourselves.

use std::collections::BTreeMap;
use std::time::Duration;

use foca::{Message, Notification, Timer};

use super::codec::{KIND_PING, Label};
use super::{Effects, Identity, Send};
use crate::ids::NodeId;
use crate::limits;
use crate::time::Instant;
use crate::wire::Transport;

/// How probes ended.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::membership) struct Probes {
    pub(in crate::membership) direct: u64,
    pub(in crate::membership) indirect: u64,
    pub(in crate::membership) link: u64,
    pub(in crate::membership) failed: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Direct,
    Indirect,
    Link,
}

pub(super) struct Probe {
    pub(super) target: Identity,
    pub(super) number: u8,
    pub(super) packet: Vec<u8>,
    pub(super) outcome: Option<Outcome>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Slot {
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
pub(super) struct World {
    pub(super) probe_interval: Duration,
    pub(super) suspicion_mult: u32,
    pub(super) members: usize,
    pub(super) score: u32,
    /// The score before the probe that has just failed: the first failure doubts the peer, not us.
    pub(super) score_before: u32,
    pub(super) timers: BTreeMap<Slot, (Instant, Option<Timer<Identity>>)>,
    pub(super) probe: Option<Probe>,
    pub(super) refutation: u16,
    pub(super) probes: Probes,
    pub(super) leaving: bool,
    pub(super) effects: Effects,
}

impl World {
    /// Notes the answer to our probe.
    pub(super) fn observe(&mut self, transport: Transport, header: &foca::Header<Identity>) {
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

    pub(super) fn doubt(&mut self) {
        self.score = (self.score + 1).min(limits::HEALTH_SCORE_MAX);
    }

    pub(super) fn reset(&mut self) {
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

/// What the engine calls while it handles something.
pub(super) struct Runtime<'a> {
    pub(super) now: Instant,
    /// Whoever spoke over its link is answered over it.
    pub(super) by_link: Option<NodeId>,
    pub(super) world: &'a mut World,
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
            sometimes!("membership.refuting");
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
                    sometimes!("membership.suspicion_runs");
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
    pub(super) fn name(&self) -> &'static str {
        match self {
            Slot::Indirect => "a direct probe was given its time",
            Slot::Probe => "the next probe",
            Slot::Spread => "membership updates are spread",
            Slot::Suspicion(_) => "a suspect's time is up",
            Slot::Tell(_) => "a suspect is told",
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

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

//! Segments and floors of other nodes on their way into the maps: row 2, and what follows from the
//! others.

use super::admission::admit;
use super::copy::{Bounds, Copy, Step, Sweep};
use super::life::progress;
use super::{Maps, Output};
use crate::ids::{NodeId, Replica};
use crate::limits;
use crate::time::Instant;
use crate::wire::Transport;
use crate::wire::message::Retired;
use crate::wire::segment::{Segment, Topic, Unused};

/// What becomes of a segment that may not be merged.
enum Unwanted {
    /// Row 1.
    Refused(&'static str),
    /// Row 2: its replica is fenced.
    Fenced(Retired),
    /// Row 2: its replica is not known, or was replaced.
    Unknown,
}

impl Maps {
    /// A segment arrived from `from`.
    pub(super) fn merge_segment(
        &mut self,
        now: Instant,
        from: NodeId,
        transport: Transport,
        segment: &Segment,
        out: &mut Vec<Output>,
    ) {
        if segment.replica.node == self.local.node {
            return self.reflected(from, segment, out);
        }
        let topic = segment.topic;
        match self.judge(segment) {
            Ok(()) => self.merge(&from, segment, out),
            Err(Unwanted::Refused(what)) => {
                self.count(topic, |counts| &mut counts.refused);
                out.push(Output::Unused { topic, why: Unused::Foreign });
                out.push(Output::Misbehaved { peer: from, what });
            }
            Err(Unwanted::Fenced(notice)) => {
                self.count(topic, |counts| &mut counts.ignored);
                sometimes!("replica.row_2_fenced");
                out.push(Output::Unused { topic, why: Unused::Fenced });
                self.retire(now, from, transport, notice, out);
            }
            Err(Unwanted::Unknown) => {
                self.count(topic, |counts| &mut counts.ignored);
                sometimes!("replica.row_2_unknown");
                out.push(Output::Unused { topic, why: Unused::Unknown });
            }
        }
    }

    /// Rows 1 and 2.
    fn judge(&self, segment: &Segment) -> Result<(), Unwanted> {
        let room = self.rooms.get(&segment.topic).ok_or(Unwanted::Unknown)?;
        let copy = self.copy(segment.topic, &segment.replica);
        admit(&room.registration, segment, copy.map_or(0, Copy::seen))
            .map_err(Unwanted::Refused)?;
        let Replica { node, incarnation } = &segment.replica;
        if let Some(fence) = self.fences.of(node).filter(|fence| incarnation <= fence) {
            return Err(Unwanted::Fenced(Retired { node: node.clone(), fence }));
        }
        let copy = copy.ok_or(Unwanted::Unknown)?;
        if overfills(copy, segment, room.registration.held_max()) {
            return Err(Unwanted::Refused("a map holds more entries than its topic allows"));
        }
        Ok(())
    }

    /// Rows 3 to 8.
    fn merge(&mut self, from: &NodeId, segment: &Segment, out: &mut Vec<Output>) {
        let Segment { topic, ref replica, upto, through, .. } = *segment;
        let Some(bounds) = self.bounds(topic) else { return };
        let Some(copy) = self.copy_mut(topic, replica) else { return };
        let (before, was_ready) = (copy.progress(), copy.is_ready());
        let merged = copy.merge(segment, bounds);
        let is_ready = !was_ready && copy.is_ready();
        if copy.progress() != before {
            out.push(progress(topic, copy));
        }
        sometimes!("replica.row_4_weak", merged.step == Step::Weak);
        sometimes!("replica.row_5_gap", merged.step == Step::Gap);
        sometimes!("replica.row_6_known", merged.step == Step::Known);
        sometimes!("replica.row_8_advanced", matches!(merged.step, Step::Advanced { .. }));
        match merged.step {
            Step::Weak => out.push(Output::Unused { topic, why: Unused::Stale }),
            Step::Gap => {
                let (replica, from) = (replica.clone(), from.clone());
                out.push(Output::Gap { topic, replica, from, through });
            }
            Step::Known => out.push(Output::Unused { topic, why: Unused::Duplicate }),
            Step::Advanced { from: complete } => {
                let (replica, learnt_from) = (replica.clone(), from.clone());
                out.push(Output::Applied { topic, replica, from: complete, upto, learnt_from });
            }
        }
        let applied = matches!(merged.step, Step::Advanced { .. });
        self.count(topic, |counts| match applied {
            true => &mut counts.applied,
            false => &mut counts.ignored,
        });
        sometimes!("replica.sweep_stable", merged.sweep == Some(Sweep::Stable));
        sometimes!("replica.sweep_bound", merged.sweep == Some(Sweep::Bound));
        sometimes!("replica.sweep_restart", merged.sweep == Some(Sweep::Restart));
        match merged.sweep {
            Some(Sweep::Stable) => self.count(topic, |counts| &mut counts.sweeps_stable),
            Some(Sweep::Bound) => self.count(topic, |counts| &mut counts.sweeps_bound),
            Some(Sweep::Restart) => self.count(topic, |counts| &mut counts.sweeps_restart),
            None => {}
        }
        let Some(room) = self.rooms.get_mut(&topic) else { return };
        if room.views.get(&replica.node).is_some_and(|view| view.shown.replica() == replica) {
            for (key, value) in merged.changes {
                out.push(Output::Changed { topic, owner: replica.clone(), key, value });
            }
            if is_ready {
                out.push(Output::Ready { topic, owner: replica.clone() });
            }
        }
        room.switch_if_ready(&replica.node, out);
    }

    fn bounds(&self, topic: Topic) -> Option<Bounds> {
        let held_max = self.rooms.get(&topic)?.registration.held_max();
        Some(Bounds { tombstones_max: self.settings.tombstones_max, doubtful_max: held_max })
    }

    /// Our own map as somebody else has it.
    fn reflected(&mut self, from: NodeId, segment: &Segment, out: &mut Vec<Output>) {
        let Segment { topic, upto, floor, through, head, .. } = *segment;
        if head >= limits::SEQUENCE_MAX {
            self.count(topic, |counts| &mut counts.refused);
            let what = "a segment's head is absurd";
            return out.push(Output::Misbehaved { peer: from, what });
        }
        self.count(topic, |counts| &mut counts.ignored);
        let highest = head.max(through).max(upto).max(floor);
        self.shown(topic, &segment.replica, highest, out);
    }

    /// Somebody knows `head` of a map: where it is ours and beyond what we wrote, a former life used our
    /// incarnation, or a later one was here.
    pub(super) fn shown(&self, topic: Topic, replica: &Replica, head: u64, out: &mut Vec<Output>) {
        if replica.node != self.local.node || replica.incarnation < self.local.incarnation {
            return;
        }
        let own = self.rooms.get(&topic).map_or(u64::MAX, |room| room.own.progress().head);
        if replica.incarnation > self.local.incarnation || head > own {
            out.push(Output::Overtaken { known: replica.incarnation });
        }
    }

    /// The owner itself says where its floor is.
    pub(super) fn floor(
        &mut self,
        topic: Topic,
        owner: &Replica,
        floor: u64,
        out: &mut Vec<Output>,
    ) {
        let Some(copy) = self.copy_mut(topic, owner) else { return };
        let before = copy.progress();
        copy.learn_floor(floor);
        if copy.progress() != before {
            sometimes!("replica.floor_learnt");
            out.push(progress(topic, copy));
        }
    }

    fn retire(
        &mut self,
        now: Instant,
        to: NodeId,
        transport: Transport,
        notice: Retired,
        out: &mut Vec<Output>,
    ) {
        let recent = |at: &Instant| now.since(*at) < RETIRED_PACE;
        if self.retired_at.get(&to).is_some_and(recent) {
            sometimes!("replica.retired_paced");
            return;
        }
        if self.retired_at.len() >= limits::MEMBERS_MAX {
            self.retired_at.retain(|_, at| recent(at));
        }
        self.retired_at.insert(to.clone(), now);
        sometimes!("replica.retired_told");
        self.retired += 1;
        out.push(Output::SendRetired { to, transport, notice });
    }
}

/// Whether `segment` would make `copy` hold more than `held_max` values that are beyond doubt.
fn overfills(copy: &Copy, segment: &Segment, held_max: usize) -> bool {
    let certain = copy.entries().live().saturating_sub(copy.entries().doubtful());
    // The common case needs no look-up.
    if certain.saturating_add(segment.entries.len()) <= held_max {
        return false;
    }
    let named = segment.entries.iter().filter(|entry| entry.value.is_some());
    let fresh = named.filter(|entry| copy.entries().value(&entry.key).is_none()).count();
    certain.saturating_add(fresh) > held_max
}

// The source: gossip §7, one notice a second per peer.
const RETIRED_PACE: std::time::Duration = std::time::Duration::from_secs(1);

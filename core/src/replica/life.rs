//! The life of a map: what membership's notices and a newer incarnation mean for it.
//!
//! | event | effect |
//! | --- | --- |
//! | a new incarnation appears | its map grows beside the old one, which stays in view |
//! | it is ready, or `ready_timeout` has passed, or the old view shows nothing | the view switches in one turn |
//! | the process is a new one and the topic's values die with theirs | the view switches at once |
//! | failed | orphaned: the domain decides |
//! | left, evicted, forgotten | dropped and fenced; the domain is handed the last view |
//!
//! *Ready* means here: the marker is held and everything heard of is told. A marker alone could have
//! overtaken a key that was rewritten after it.

use super::copy::Copy;
use super::entries::Change;
use super::{Maps, Output, Room};
use crate::ids::{Incarnation, NodeId, Notice, Reason, Replica};
use crate::time::Instant;
use crate::wire::segment::Topic;

/// What is in view of one foreign node in one topic, and what will be.
#[derive(Debug, Clone)]
pub(super) struct View {
    /// What the domain sees.
    pub(super) shown: Copy,
    /// The map of a newer life that is not ready yet, and until when that is waited for.
    pub(super) next: Option<(Copy, Instant)>,
}

/// A foreign node as membership tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Known {
    /// Its newest life.
    pub(super) incarnation: Incarnation,
    /// Given up for dead, not yet forgotten.
    pub(super) failed: bool,
}

impl Maps {
    /// Membership noticed something.
    pub(super) fn notice(&mut self, now: Instant, notice: Notice, out: &mut Vec<Output>) {
        match notice {
            Notice::Up { replica, born, .. } | Notice::Renamed { new: replica, born, .. } => {
                self.appear(now, replica, born, out);
            }
            Notice::Departed { replica, reason: Reason::Failed } => self.orphan(&replica, out),
            Notice::Departed { replica, reason: Reason::Left } => {
                self.fence(&replica.node, replica.incarnation, true, out);
            }
            Notice::Departed { replica, reason: Reason::Evicted } => {
                self.fence(&replica.node, replica.incarnation, false, out);
            }
            Notice::Forgotten { node, fence } => self.fence(&node, fence, false, out),
            Notice::Suspect { .. } | Notice::Refuted { .. } => {}
        }
    }

    fn appear(&mut self, now: Instant, replica: Replica, born: Incarnation, out: &mut Vec<Output>) {
        let fenced = self.fences.holds(&replica);
        let known = self.nodes.get(&replica.node);
        let old = known.is_some_and(|known| known.incarnation >= replica.incarnation);
        if replica.node == self.local.node || fenced || old {
            sometimes!("replica.old_life_appears", old);
            return;
        }
        let known = Known { incarnation: replica.incarnation, failed: false };
        self.nodes.insert(replica.node.clone(), known);
        let until = now + self.settings.ready_timeout;
        for room in self.rooms.values_mut() {
            room.appear(replica.clone(), born, until, out);
        }
    }

    fn orphan(&mut self, replica: &Replica, out: &mut Vec<Output>) {
        let Some(known) = self.nodes.get_mut(&replica.node) else { return };
        if known.incarnation != replica.incarnation || known.failed {
            return;
        }
        sometimes!("replica.orphaned");
        known.failed = true;
        for (topic, room) in &mut self.rooms {
            room.own.forget(&replica.node);
            if let Some(view) = room.views.get(&replica.node) {
                out.push(Output::Orphaned { topic: *topic, owner: view.shown.replica().clone() });
            }
        }
    }

    /// Nothing of `node` through life `fence` is kept.
    fn fence(&mut self, node: &NodeId, fence: Incarnation, left: bool, out: &mut Vec<Output>) {
        self.fences.raise(node, fence);
        let known = self.nodes.get(node);
        if known.is_none_or(|known| known.incarnation > fence) {
            for room in self.rooms.values_mut() {
                room.retire_former(node, fence, out);
            }
            return;
        }
        sometimes!("replica.dropped");
        self.nodes.remove(node);
        for room in self.rooms.values_mut() {
            room.drop_view(node, left, out);
        }
    }

    /// Every foreign map goes; membership will name again whoever is there.
    pub(super) fn sleep(&mut self, out: &mut Vec<Output>) {
        sometimes!("replica.slept");
        for node in std::mem::take(&mut self.nodes).into_keys() {
            for room in self.rooms.values_mut() {
                room.drop_view(&node, false, out);
            }
        }
    }
}

impl Room {
    fn appear(&mut self, new: Replica, born: Incarnation, until: Instant, out: &mut Vec<Output>) {
        let topic = self.registration.topic;
        self.own.forget(&new.node);
        let copy = Copy::new(new.clone());
        out.push(progress(topic, &copy));
        let Some(view) = self.views.get_mut(&new.node) else {
            self.views.insert(new.node, View { shown: copy, next: None });
            return;
        };
        if let Some((stale, at)) = view.next.replace((copy, until)) {
            sometimes!("replica.next_life_replaced");
            self.waits.remove(&(at, new.node.clone()));
            out.push(gone(topic, &stale));
        }
        self.waits.insert((until, new.node.clone()));
        let died = self.registration.dies_with_process && view.shown.replica().incarnation < born;
        if died || view.shown.entries().visible().next().is_none() {
            sometimes!("replica.switched_at_once");
            self.switch(&new.node, out);
        }
    }

    /// The newer life of `node` comes into view if it is ready.
    pub(super) fn switch_if_ready(&mut self, node: &NodeId, out: &mut Vec<Output>) {
        let next = self.views.get(node).and_then(|view| view.next.as_ref());
        if next.is_some_and(|(copy, _)| copy.is_ready()) {
            sometimes!("replica.switched_ready");
            self.switch(node, out);
        }
    }

    /// Every view that has waited long enough switches, ready or not.
    pub(super) fn switch_overdue(&mut self, now: Instant, out: &mut Vec<Output>) {
        while let Some((_, node)) = self.waits.first().filter(|(at, _)| *at <= now).cloned() {
            sometimes!("replica.switched_overdue");
            self.switch(&node, out);
        }
    }

    fn switch(&mut self, node: &NodeId, out: &mut Vec<Output>) {
        let topic = self.registration.topic;
        let Some(view) = self.views.get_mut(node) else { return };
        let Some((copy, at)) = view.next.take() else { return };
        self.waits.remove(&(at, node.clone()));
        let old = std::mem::replace(&mut view.shown, copy);
        let (former, new) = (old.replica().clone(), view.shown.replica().clone());
        assert!(former < new, "RP-6: {new} takes the place of {former}");
        out.push(gone(topic, &old));
        out.push(Output::Switched { topic, old: former, new: new.clone() });
        for (key, value) in differences(&old, &view.shown) {
            out.push(Output::Changed { topic, owner: new.clone(), key, value });
        }
    }

    /// A former life that is still in view was fenced: its successor comes into view as it is.
    fn retire_former(&mut self, node: &NodeId, fence: Incarnation, out: &mut Vec<Output>) {
        let shown = self.views.get(node).map(|view| view.shown.replica().incarnation);
        if shown.is_some_and(|incarnation| incarnation <= fence) {
            self.switch(node, out);
        }
    }

    fn drop_view(&mut self, node: &NodeId, left: bool, out: &mut Vec<Output>) {
        let topic = self.registration.topic;
        self.own.forget(node);
        let Some(view) = self.views.remove(node) else { return };
        if let Some((copy, at)) = view.next {
            sometimes!("replica.dropped_with_next");
            self.waits.remove(&(at, node.clone()));
            out.push(gone(topic, &copy));
        }
        out.push(gone(topic, &view.shown));
        let owner = view.shown.replica().clone();
        let visible = view.shown.entries().visible();
        let last = visible.map(|(key, value)| (key.clone(), value.clone())).collect();
        out.push(Output::Dropped { topic, owner, left, last });
    }
}

fn differences(old: &Copy, new: &Copy) -> Vec<Change> {
    let (old, new) = (old.entries(), new.entries());
    let gone = old.visible().filter(|(key, _)| new.value(key).is_none());
    let gone = gone.map(|(key, _)| (key.clone(), None));
    let put = new.visible().filter(|(key, value)| old.value(key) != Some(*value));
    gone.chain(put.map(|(key, value)| (key.clone(), Some(value.clone())))).collect()
}

/// What is held of `copy` now.
pub(super) fn progress(topic: Topic, copy: &Copy) -> Output {
    let (replica, progress) = (copy.replica().clone(), Some(copy.progress()));
    Output::Progress { topic, replica, progress }
}

fn gone(topic: Topic, copy: &Copy) -> Output {
    Output::Progress { topic, replica: copy.replica().clone(), progress: None }
}

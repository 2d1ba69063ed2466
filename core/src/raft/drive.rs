//! Driving the group: ticks, what it asks for, what peers say to it.

use std::time::Duration;

use super::counts::{Election, Moved};
use super::group::{Group, ImageHead, Role};
use super::state::Image;
use super::{
    Genesis, MemberId, NodeId, Notice, Output, Peer, Raft, Reason, Replica, Wire, founding,
};
use crate::limits;
use crate::time::Instant;
use crate::wire::raft::{Chunk, ChunkTaken, Message, MessageKind};

/// A leader whose link was lost.
#[derive(Debug, Clone, Copy)]
pub(super) struct Missed {
    leader: MemberId,
    since: Instant,
    /// When the others are asked.
    pub(super) until: Instant,
}

impl Raft {
    /// Everything that the group wants, and what follows from it, until nothing is left to do.
    pub(super) fn drain(&mut self, now: Instant, out: &mut Vec<Output>) {
        if self.group.is_none() {
            return;
        }
        loop {
            if let (Some(number), Some(group)) = (self.reads.ask(now), &mut self.group) {
                group.read(number);
            }
            let mut deeds = Vec::new();
            if let Some(group) = &mut self.group {
                group.drain(&mut deeds);
            }
            if deeds.is_empty() {
                break;
            }
            self.perform(now, deeds, out);
            self.advance(now, out);
        }
        self.send_snapshots(now, out);
        self.note_leader(now, out);
        let owes = self.group.as_ref().is_some_and(Group::owes_notice);
        let since = self.notice_at.unwrap_or(now + limits::RAFT_NOTICE_AFTER);
        self.notice_at = owes.then_some(since);
    }

    /// A tick of the log, and whatever else is due.
    pub(super) fn tick(&mut self, now: Instant, out: &mut Vec<Output>) {
        if self.campaign_at.is_some_and(|at| at <= now) {
            self.campaign_at = None;
            if let Some(group) = &mut self.group {
                group.campaign();
            }
        }
        if self.notice_at.is_some_and(|at| at <= now)
            && let Some(group) = &mut self.group
        {
            group.tell_commit();
        }
        if let Some(missed) = self.missed.filter(|missed| missed.until <= now) {
            self.missed = None;
            self.ask_without(missed);
        }
        self.found(now, founding::Input::Tick, out);
        if self.strangers.expire(now) {
            self.compare_logs(out);
        }
        self.retry_requests(now, out);
        self.expire_reads(now, out);
    }

    /// Counts the ticks that have passed. Whoever overslept counts none that would have been noticed: the
    /// leader has one more to be heard in.
    pub(super) fn pass(&mut self, now: Instant) {
        let Some(at) = self.tick_at.filter(|at| *at <= now) else { return };
        let tick = self.settings.tick;
        let passed = now.since(at).as_nanos() / tick.as_nanos() + 1;
        let passed = u64::try_from(passed).expect("a life has fewer ticks");
        let quiet = self.quiet_ticks();
        let overslept = passed > quiet.saturating_add(1);
        self.tick_at = Some(if overslept { now + tick } else { at + times(tick, passed) });
        // Beyond the longest election nothing is told from longer: who may not stand only grows old.
        let longest = self.settings.timing().election.1;
        let counted = if overslept { quiet.max(1) } else { passed.min(longest) };
        (0..counted).for_each(|_| self.tick_group());
        self.lead(now);
        self.waiters.expire(now);
    }

    /// When somebody may notice that a tick has passed.
    pub(super) fn next_tick(&self) -> Option<Instant> {
        let quiet = Some(self.quiet_ticks()).filter(|quiet| *quiet < u64::MAX)?;
        self.tick_at.map(|at| at + times(self.settings.tick, quiet))
    }

    /// How many ticks from now on change nothing that anybody sees.
    fn quiet_ticks(&self) -> u64 {
        let group = self.group.as_ref().filter(|_| !self.waiters.is_waiting());
        group.map_or(0, Group::quiet_ticks)
    }

    fn tick_group(&mut self) {
        let Some(group) = &mut self.group else { return };
        let before = group.role();
        group.tick();
        // A candidate whose time is up once more has not won.
        match (before, group.role(), group.elapsed() == 0) {
            (Role::PreCandidate, Role::PreCandidate, true) => {
                self.counts.election(Election::PreVoteLost);
            }
            (Role::Candidate, Role::PreCandidate | Role::Candidate, true) => {
                self.counts.election(Election::Lost);
            }
            _ => {}
        }
    }

    /// Who leads may have changed.
    pub(super) fn note_leader(&mut self, now: Instant, out: &mut Vec<Output>) {
        let Some(group) = &self.group else { return };
        let leader = group.leader().and_then(|member| self.node_of(member));
        let here = group.leads() && group.is_current();
        let (term, leads) = (group.term(), group.leads());
        let known = self.told.as_ref();
        let changed = known.is_none_or(|(of, who, _)| *of != term || *who != leader);
        if changed {
            let led = known.is_some_and(|(_, who, _)| who.as_ref() == Some(&self.local.node));
            if leader.is_some() {
                self.counts.leader_changes += 1;
            }
            if leads && !led {
                self.counts.election(Election::Won);
                self.leading.begins(now);
                self.ladder.begins(now);
            }
            if !leads {
                self.outgoing.clear();
            }
            self.heard.clear();
            self.waiters.new_term();
            if leader.is_some() {
                self.reads.hurry(now);
                self.requests.hurry(now, &mut self.rng);
            }
        }
        if changed || known.is_some_and(|(_, _, was)| *was != here) {
            self.told = Some((term, leader.clone(), here));
            out.push(Output::Led { term, leader, here });
        }
    }

    /// Where a member is.
    pub(super) fn node_of(&self, member: MemberId) -> Option<NodeId> {
        if self.identity.is(member) {
            return Some(self.local.node.clone());
        }
        self.state.nodes.get(&member).or_else(|| self.routes.get(&member)).cloned()
    }

    /// Sends a message of the group. One that announces a snapshot waits until its receiver holds it.
    pub(super) fn send(&mut self, now: Instant, message: Message, out: &mut Vec<Output>) {
        let to = message.to;
        if message.kind == MessageKind::Snapshot {
            let head = self.group.as_ref().and_then(|group| group.image());
            let same = head.map(ImageHead::id) == message.snapshot;
            let begun = match &self.image {
                Some(bytes) if same => self.outgoing.begin(now, message, bytes.clone()),
                // A newer one took its place meanwhile: the engine asks again.
                _ => false,
            };
            if !begun && let Some(group) = &mut self.group {
                group.report_snapshot(to, false);
            }
            return;
        }
        // Without a place it is no member any more, and nobody says where it is.
        if let Some(to) = self.node_of(to) {
            out.push(Output::Send { to, message: Wire::Message(message) });
        }
    }

    fn send_snapshots(&mut self, now: Instant, out: &mut Vec<Output>) {
        let Some(genesis) = self.identity.genesis.filter(|_| !self.outgoing.is_empty()) else {
            return;
        };
        self.outgoing.retain(&self.state.configuration.members());
        let sends = self.outgoing.drain(now, genesis);
        for chunk in sends.chunks {
            if let Some(to) = self.node_of(chunk.to) {
                out.push(Output::Send { to, message: Wire::Chunk(chunk) });
            }
        }
        for message in sends.announce {
            let to = message.to;
            self.counts.snapshot(Moved::Sent);
            if let Some(node) = self.node_of(to) {
                out.push(Output::Send { to: node, message: Wire::Message(message) });
            }
            if let Some(group) = &mut self.group {
                group.report_snapshot(to, true);
            }
        }
        for to in sends.failed {
            self.counts.snapshot(Moved::SendFailed);
            if let Some(group) = &mut self.group {
                group.report_snapshot(to, false);
            }
        }
    }

    /// A peer says something.
    pub(super) fn peer(
        &mut self,
        now: Instant,
        from: &Replica,
        message: Wire,
        out: &mut Vec<Output>,
    ) {
        match message {
            Wire::Message(message) => self.hear(now, &from.node, &message, out),
            Wire::Chunk(chunk) => self.piece(now, &from.node, &chunk, out),
            Wire::ChunkTaken(taken) => {
                if self.is_from(&from.node, taken.from, taken.genesis) {
                    self.outgoing.taken(now, &taken);
                    self.send_snapshots(now, out);
                }
            }
            Wire::Request(request) => self.serve(now, from, request, out),
            Wire::Reply(reply) => self.replied(now, &from.node, reply, out),
            Wire::Founding(word) => self.hear_founder(now, &from.node, word, out),
        }
    }

    /// A message of another member. What comes of another log, or of a copy that is not where it says, is
    /// dropped.
    fn hear(&mut self, now: Instant, from: &NodeId, message: &Message, out: &mut Vec<Output>) {
        let leads = matches!(
            message.kind,
            MessageKind::Append | MessageKind::Heartbeat | MessageKind::Snapshot
        );
        let blank = self.identity.genesis.is_none() && self.settings.eligible;
        if blank && leads && self.identity.is(message.to) {
            self.adopt(now, message.genesis, out);
        }
        if !self.identity.is(message.to) || !self.is_from(from, message.from, message.genesis) {
            self.counts.foreign += 1;
            return;
        }
        let busy = self.group.as_ref().is_some_and(|group| group.takes_snapshot());
        let image = match message.snapshot {
            Some(_) if busy => return, // One at a time, or their states would be mixed up.
            Some(_) => match self.whole_image(message) {
                Some(head) => Some(head),
                None => return, // Not all of it is here: the sender will hear of no progress.
            },
            None => None,
        };
        let Some(group) = &mut self.group else { return };
        match group.step(message, image.as_ref()) {
            Ok(()) => {
                self.note_heard(now, message.from, from);
            }
            Err(what) => out.push(Output::Misbehaved { peer: from.clone(), what }),
        }
        if image.is_some() && !self.group.as_ref().is_some_and(|group| group.takes_snapshot()) {
            self.arrived = None; // It was old news.
        }
    }

    /// A copy of our log spoke, from there. Copies on new disks come for as long as the log lasts: where there are
    /// too many, those that have been silent longest are forgotten first.
    fn note_heard(&mut self, now: Instant, member: MemberId, from: &NodeId) {
        self.heard.insert(member, now);
        self.routes.insert(member, from.clone());
        if self.heard.len() > crate::limits::MEMBERS_MAX {
            let oldest = self.heard.iter().min_by_key(|(_, at)| **at).map(|(member, _)| *member);
            oldest.map(|oldest| self.heard.remove(&oldest));
        }
        while self.routes.len() > crate::limits::MEMBERS_MAX {
            let stray = self.routes.keys().find(|member| !self.heard.contains_key(member));
            let stray = stray.or(self.routes.keys().next()).copied();
            stray.map(|stray| self.routes.remove(&stray));
        }
    }

    /// Whether a member of our log speaks from where it should be. Where nothing is known yet, the link's
    /// word is enough: it is a member of the cluster.
    fn is_from(&self, node: &NodeId, member: MemberId, genesis: Genesis) -> bool {
        if self.identity.genesis != Some(genesis) {
            return false;
        }
        let told = self.peers.get(node).is_some_and(|peer| peer.member == Some(member));
        match self.state.nodes.get(&member) {
            Some(at) => at == node,
            None => told || self.state.nodes.is_empty(),
        }
    }

    /// Whether `node` has a copy of our log: as the configuration here says, which may be of before its time,
    /// or as it says itself.
    fn keeps_copy(&self, node: &NodeId, genesis: Genesis) -> bool {
        let told = self.peers.get(node).is_some_and(|peer| peer.genesis == Some(genesis));
        let nodes = &self.state.nodes;
        told || nodes.is_empty() || nodes.values().any(|at| at == node)
    }

    /// A piece of a snapshot.
    fn piece(&mut self, now: Instant, from: &NodeId, chunk: &Chunk, out: &mut Vec<Output>) {
        let ours = self.identity.is(chunk.to) && self.identity.genesis == Some(chunk.genesis);
        if !ours || !self.keeps_copy(from, chunk.genesis) {
            self.counts.foreign += 1;
            return;
        }
        match self.incoming.take(now, from, chunk) {
            Ok(offset) => {
                let (genesis, snapshot) = (chunk.genesis, chunk.snapshot);
                let from_member = self.identity.member;
                let taken = ChunkTaken { genesis, from: from_member, snapshot, offset };
                out.push(Output::Send { to: from.clone(), message: Wire::ChunkTaken(taken) });
            }
            Err(what) => {
                self.counts.snapshot(Moved::ReceiveFailed);
                self.incoming.clear();
                out.push(Output::Misbehaved { peer: from.clone(), what });
            }
        }
    }

    /// The snapshot that `message` announces, if every piece is here and it says what it should.
    fn whole_image(&mut self, message: &Message) -> Option<ImageHead> {
        let id = message.snapshot?;
        let node =
            self.node_of(message.from).or_else(|| self.routes.get(&message.from).cloned())?;
        let bytes = self.incoming.whole(&node, id)?;
        let Ok(image) = Image::decode(&bytes) else {
            self.counts.snapshot(Moved::ReceiveFailed);
            self.incoming.clear();
            return None;
        };
        let head = image.head();
        if head.id() != id || image.state.genesis != message.genesis {
            self.incoming.clear();
            return None;
        }
        self.arrived = Some((image, bytes));
        Some(head)
    }

    /// The snapshot is durable: its state is ours.
    pub(super) fn installed(&mut self, now: Instant, out: &mut Vec<Output>) {
        let (image, bytes) = self.arrived.take().expect("what is installed had arrived");
        self.incoming.clear();
        self.committed.clear();
        self.applying = None;
        self.since_image = (0, 0);
        self.counts.snapshot(Moved::Received);
        self.image = Some(bytes);
        self.state = image.state;
        self.leading.restored(now, self.state.log_time);
        out.push(Output::Restore {
            index: self.state.applied.index,
            log_time: self.state.log_time,
            sections: image.sections,
        });
    }

    /// What a node says about its copy; whether that is news.
    pub(super) fn know(&mut self, now: Instant, node: NodeId, peer: Option<Peer>) -> bool {
        if self.peers.get(&node) == peer.as_ref() {
            return false;
        }
        self.ladder.changed(now);
        match peer {
            Some(peer) => {
                if let Some(member) = peer.member {
                    self.routes.insert(member, node.clone());
                }
                self.peers.insert(node, peer);
            }
            None => drop(self.peers.remove(&node)),
        }
        while self.peers.len() > crate::limits::MEMBERS_MAX {
            self.peers.pop_last();
        }
        true
    }

    /// A link came up or went: what was on its way to a member is lost with it.
    pub(super) fn linked(&mut self, now: Instant, node: NodeId, up: bool) {
        let member =
            self.state.nodes.iter().find(|(_, at)| **at == node).map(|(member, _)| *member);
        if let (false, Some(member), Some(group)) = (up, member, &mut self.group) {
            group.unreachable(member);
            // By then it has been dialled again, and greeted.
            if group.leader() == Some(member) {
                let tick = self.settings.tick;
                let until = now + self.rng.between(2 * tick, 3 * tick);
                self.missed = Some(Missed { leader: member, since: now, until });
            }
        }
        if up && self.missed.is_some_and(|missed| Some(missed.leader) == member) {
            self.missed = None;
        }
        self.ladder.linked(now, node, up);
    }

    /// The link to the leader was lost, and nothing came of it since: asks the others whether they miss it too.
    /// A process that dies closes its connections, long before anybody can be held failed; who was cut off alone
    /// hears that the others are led, and a link that is made again makes it forget the question.
    fn ask_without(&mut self, missed: Missed) {
        let heard = self.heard.get(&missed.leader).is_some_and(|at| *at > missed.since);
        let Some(group) = &mut self.group else { return };
        if group.leader() == Some(missed.leader) && !heard {
            group.campaign();
        }
    }

    /// What became of a replica. A leader that everybody holds dead is voted on at once; who still hears it
    /// says no, so that a healthy one is not deposed.
    pub(super) fn notice(&mut self, now: Instant, notice: Notice) {
        self.ladder.notice(now, &notice);
        match notice {
            Notice::Departed { replica, reason } => {
                if self.hint.as_ref() == Some(&replica.node) {
                    self.hint = None;
                }
                let leader = self.group.as_ref().and_then(|group| group.leader());
                let leader = leader.and_then(|member| self.node_of(member));
                let failed = matches!(reason, Reason::Failed | Reason::Left | Reason::Evicted);
                if failed && leader == Some(replica.node) {
                    let spread = self.settings.tick;
                    self.campaign_at = Some(now + self.rng.between(spread / 10, 2 * spread));
                }
            }
            Notice::Forgotten { node, fence } => {
                self.gone.raise(&node, fence);
            }
            Notice::Up { .. }
            | Notice::Suspect { .. }
            | Notice::Refuted { .. }
            | Notice::Renamed { .. } => {}
        }
    }
}

fn times(tick: Duration, count: u64) -> Duration {
    tick.saturating_mul(u32::try_from(count).unwrap_or(u32::MAX))
}

//! The engine, and the rules without which it must not be used. Nothing else names it.
//!
//! | # | rule | because |
//! | --- | --- | --- |
//! | 1 | the election timeout is ours before every tick | the engine draws from a generator that no seed reaches |
//! | 2 | a leader that its own change removed follows | it would go on leading, and then fail |
//! | 3 | a snapshot counts as applied when it is durable | earlier and later are both fatal |
//! | 4 | until then no election | it would look for entries that are gone |
//! | 5 | who is sent a snapshot stands in its configuration | it would ignore it in silence, for ever |
//! | 6 | every snapshot's fate is reported | its receiver would get nothing else, for ever |
//! | 7 | a peer's message is checked before it is stepped | the engine trusts its peers with its life |
//! | 8 | proposals are stepped on the leader alone | the engine would forward and lose them in silence |
//! | 9 | the log is read from memory; messages that say *I have this* wait until it is durable | a store answers later |
//! | 10 | a leader's messages wait, too, while its term is not durable | the only voter leads before it is |
//!
//! - RF-4: no message that asserts a vote, an entry or a term leaves before that is durable. Rules 9 and 10
//!   are how; [`Deed::Send`] is the only way out.
//!
//! Absent on purpose: entries' meaning, the state that a snapshot holds, time other than ticks.

mod check;
mod configuration;
mod convert;
mod mirror;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use raft::eraftpb::{EntryType, MessageType};
use raft::{Progress, ProgressState, RawNode, SnapshotStatus, StateRole};
use serde::{Deserialize, Serialize};

use crate::ids::MemberId;
use crate::limits;
use crate::random::Rng;
use crate::wire::encode;
use crate::wire::raft::{Change, Entry, Genesis, Message, MessageKind, SnapshotId};

pub use configuration::Configuration;
pub(super) use mirror::ImageHead;
use mirror::Mirror;

/// An index and the term of the entry there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub(super) struct Point {
    pub(super) index: u64,
    pub(super) term: u64,
}

/// What must be durable before its member says anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Hard {
    pub(super) term: u64,
    pub(super) vote: u64,
    pub(super) commit: u64,
}

/// Ticks between a leader's heartbeats, and without one before an election.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Timing {
    pub(super) heartbeat: u64,
    /// Shortest and, exclusive, longest.
    pub(super) election: (u64, u64),
}

/// What a group is made of.
pub(super) struct Boot {
    pub(super) genesis: Genesis,
    pub(super) member: MemberId,
    pub(super) hard: Hard,
    /// The snapshot that the log stands on.
    pub(super) image: ImageHead,
    /// Entries behind some point at or before the snapshot's.
    pub(super) before: Point,
    pub(super) entries: Vec<Entry>,
    pub(super) timing: Timing,
}

/// What the group asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Deed {
    /// This may leave now.
    Send(Message),
    /// Make this durable, in order; answered by [`Group::stored`].
    Store(Batch),
    /// These are committed, and durable here.
    Commit(Vec<Entry>),
    /// The snapshot is durable: its state is the state.
    Installed(SnapshotId),
    /// Everything committed when the read began stands at or before `index`.
    Read { number: u64, index: u64 },
    /// Somebody must be sent a snapshot, and there is none that would do.
    WantImage,
}

/// What one batch makes durable.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) number: u64,
    pub(super) hard: Hard,
    pub(super) entries: Vec<Entry>,
    /// What stood behind them and is void.
    pub(super) cut: Range<u64>,
    /// The log begins anew behind this one; nothing from before counts.
    pub(super) snapshot: Option<SnapshotId>,
}

/// What a member is at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Follower,
    PreCandidate,
    Candidate,
    Leader,
}

/// Why a proposal did not become an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dropped {
    /// This member does not lead, or hands the lead over.
    NotLeader,
    /// Too much is not committed.
    Full,
}

/// One member's part in the group.
pub(super) struct Group {
    raw: RawNode<Mirror>,
    genesis: Genesis,
    rng: Rng,
    election: (u64, u64),
    /// The election timeout in force, and what it was drawn for.
    timeout: u64,
    drawn_for: Option<(u64, Role)>,
    batches: VecDeque<Flight>,
    /// Entries applied, as the group was told.
    applied: u64,
    /// A snapshot that the log already stands on and that is not durable.
    installing: Option<SnapshotId>,
    /// Through which entry each member was told that the log is committed.
    told: BTreeMap<u64, u64>,
}

/// A batch on its way to the disk, and what waits for it.
struct Flight {
    number: u64,
    /// What the engine asked for since then and needs no disk of its own: it is done when the batch is.
    through: u64,
    stored: bool,
    /// Whether it carries a term or a vote.
    asserts: bool,
    messages: Vec<Message>,
    snapshot: Option<SnapshotId>,
}

impl Group {
    pub(super) fn new(boot: Boot, mut rng: Rng) -> Group {
        let Boot { genesis, member, hard, image, before, entries, timing } = boot;
        let (low, high) = timing.election;
        let config = raft::Config {
            id: member.0,
            election_tick: ticks(low),
            heartbeat_tick: ticks(timing.heartbeat),
            min_election_tick: ticks(low),
            max_election_tick: ticks(high),
            applied: image.point.index,
            max_size_per_msg: limits::RAFT_MESSAGE_BYTES_MAX as u64,
            max_inflight_msgs: limits::RAFT_INFLIGHT_MAX,
            check_quorum: true,
            pre_vote: true,
            read_only_option: raft::ReadOnlyOption::Safe,
            max_uncommitted_size: limits::RAFT_UNCOMMITTED_BYTES_MAX as u64,
            max_committed_size_per_ready: limits::RAFT_APPLY_BYTES_MAX as u64,
            skip_bcast_commit: true,
            ..raft::Config::default()
        };
        let configuration = image.configuration.clone();
        let applied = image.point.index;
        let hard = Hard { commit: hard.commit.max(applied), ..hard };
        let store = Mirror::new(before, configuration, hard, entries, Some(image));
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let raw = RawNode::new(&config, store, &logger).expect("what a store holds is a log");
        let timeout = low + rng.below(high - low);
        Group {
            raw,
            genesis,
            rng,
            election: (low, high),
            timeout,
            drawn_for: None,
            batches: VecDeque::new(),
            applied,
            installing: None,
            told: BTreeMap::new(),
        }
    }

    /// A tick has passed. Rules 1 and 4.
    pub(super) fn tick(&mut self) {
        if self.installing.is_some() {
            return;
        }
        let now = (self.raw.raft.term, self.role());
        if self.drawn_for != Some(now) {
            self.drawn_for = Some(now);
            let (low, high) = self.election;
            self.timeout = low + self.rng.below(high - low);
        }
        self.raw.raft.set_randomized_election_timeout(ticks(self.timeout));
        self.raw.tick();
        // An election that comes to nothing changes neither term nor role: draw again, or two that
        // collided once collide for ever.
        if self.role() == Role::PreCandidate && self.raw.raft.election_elapsed == 0 {
            self.drawn_for = None;
        }
    }

    /// How many ticks pass from now on without an election: those of a follower that heard of a leader, or of
    /// whoever may not stand, where it is for ever.
    pub(super) fn quiet_ticks(&self) -> u64 {
        let drawn = self.drawn_for == Some((self.raw.raft.term, self.role()));
        if self.role() != Role::Follower || self.installing.is_some() || !drawn {
            0
        } else if self.raw.raft.promotable() {
            self.timeout.saturating_sub(self.elapsed() as u64 + 1)
        } else {
            u64::MAX
        }
    }

    /// Steps a peer's message; the error is the rule that it breaks. Rules 4, 7 and 8.
    pub(super) fn step(
        &mut self,
        message: &Message,
        image: Option<&ImageHead>,
    ) -> Result<(), &'static str> {
        check::message(&self.raw, message, image)?;
        if message.kind == MessageKind::TimeoutNow {
            let leads = self.raw.raft.leader_id == message.from.0;
            if self.installing.is_some() || !leads {
                return Ok(());
            }
        }
        // What the engine refuses here it has counted as stale.
        let _ = self.raw.step(convert::message_in(message, image));
        Ok(())
    }

    /// Puts `data` into the log. Rule 8.
    pub(super) fn propose(&mut self, data: Vec<u8>) -> Result<u64, Dropped> {
        if !self.leads() || self.raw.raft.lead_transferee.is_some() {
            return Err(Dropped::NotLeader);
        }
        match self.raw.propose(Vec::new(), data) {
            Ok(()) => Ok(self.raw.raft.raft_log.last_index()),
            Err(_) => Err(Dropped::Full),
        }
    }

    /// Proposes a change of the configuration; an empty one leaves a joint configuration.
    pub(super) fn propose_change(&mut self, change: &Change) -> Result<u64, Dropped> {
        if !self.leads() || self.changes() || self.raw.raft.lead_transferee.is_some() {
            return Err(Dropped::NotLeader);
        }
        let context = if *change == Change::default() { Vec::new() } else { encode(change) };
        match self.raw.propose_conf_change(context, convert::change_out(change)) {
            Ok(()) => Ok(self.raw.raft.raft_log.last_index()),
            Err(_) => Err(Dropped::Full),
        }
    }

    /// Whether somebody who follows closely was not told of everything that is committed. Whatever is sent tells it.
    pub(super) fn owes_notice(&self) -> bool {
        let (own, commit) = (self.raw.raft.id, self.commit());
        let told = |member| self.told.get(member).is_some_and(|told| *told >= commit);
        let follows = |progress: &Progress| progress.state == ProgressState::Replicate;
        self.leads()
            && self
                .raw
                .raft
                .prs()
                .iter()
                .any(|(member, progress)| *member != own && follows(progress) && !told(member))
    }

    /// Tells everybody of what is committed. Who owes too many answers hears of it with the next entries.
    pub(super) fn tell_commit(&mut self) {
        let (own, commit) = (self.raw.raft.id, self.commit());
        let members = self.raw.raft.prs().iter().map(|(member, _)| *member);
        self.told =
            members.filter(|member| *member != own).map(|member| (member, commit)).collect();
        self.raw.raft.bcast_append();
    }

    /// Begins a linearizable read; lost in silence where nobody can answer.
    pub(super) fn read(&mut self, number: u64) {
        self.raw.read_index(number.to_le_bytes().to_vec());
    }

    /// Everything that is due, until too many batches are on their way.
    pub(super) fn drain(&mut self, out: &mut Vec<Deed>) {
        while self.installing.is_none()
            && self.batches.len() < limits::RAFT_BATCHES_MAX
            && self.raw.has_ready()
        {
            self.ready(out);
            self.settle(out);
        }
        if self.raw.store().take_wants_image() {
            out.push(Deed::WantImage);
        }
    }

    /// The batch `number`, and with it each before it, is durable.
    pub(super) fn stored(&mut self, number: u64, out: &mut Vec<Deed>) {
        for flight in &mut self.batches {
            flight.stored |= flight.number == number;
        }
        self.settle(out);
    }

    /// The entries through `index` are applied.
    pub(super) fn applied(&mut self, index: u64) {
        if index > self.applied {
            self.applied = index;
            self.raw.advance_apply_to(index);
        }
    }

    /// A change was committed: it is in force from now on. Rule 2.
    pub(super) fn apply_change(&mut self, change: &Change) -> Option<Configuration> {
        let state = self.raw.apply_conf_change(&convert::change_out(change)).ok()?;
        let configuration = convert::configuration_in(&state);
        let member = MemberId(self.raw.raft.id);
        if self.leads() && !configuration.votes(member) {
            let term = self.raw.raft.term;
            self.raw.raft.become_follower(term, 0);
        }
        Some(configuration)
    }

    /// There is a snapshot to serve.
    pub(super) fn set_image(&mut self, head: ImageHead) {
        self.raw.mut_store().set_image(head);
    }

    /// Forgets entries through `index`, which a durable snapshot includes; tells which.
    pub(super) fn compact(&mut self, index: u64) -> Range<u64> {
        let covered = self.raw.store().image().map_or(0, |image| image.point.index);
        self.raw.mut_store().compact(index.min(covered).min(self.applied))
    }

    /// A snapshot reached its target, or never will. Rule 6.
    pub(super) fn report_snapshot(&mut self, to: MemberId, arrived: bool) {
        let status = if arrived { SnapshotStatus::Finish } else { SnapshotStatus::Failure };
        self.raw.report_snapshot(to.0, status);
    }

    /// Messages to `to` were lost.
    pub(super) fn unreachable(&mut self, to: MemberId) {
        self.raw.report_unreachable(to.0);
    }

    /// Hands the lead to `to`.
    pub(super) fn transfer(&mut self, to: MemberId) {
        self.raw.transfer_leader(to.0);
    }

    /// Asks the others at once whether they would vote for this member. They say no while they hear a
    /// leader. Rule 4.
    pub(super) fn campaign(&mut self) {
        if self.installing.is_none() && !self.leads() && self.raw.raft.promotable() {
            // The engine refuses while a change is not applied.
            let _ = self.raw.campaign();
        }
    }

    fn ready(&mut self, out: &mut Vec<Deed>) {
        let mut ready = self.raw.ready();
        let number = ready.number();
        let old = self.raw.store().hard();
        let hard = ready.hs().map_or(old, |hard| Hard {
            term: hard.term,
            vote: hard.vote,
            commit: hard.commit,
        });
        let asserts = (hard.term, hard.vote) != (old.term, old.vote);
        self.raw.mut_store().set_hard(hard);
        let mut snapshot = None;
        if !ready.snapshot().is_empty() {
            let head = convert::head_in(ready.snapshot());
            snapshot = Some(head.id());
            self.raw.mut_store().install(head);
            self.installing = snapshot;
        }
        let fresh = ready.take_entries();
        let cut = self.raw.mut_store().append(&fresh);
        let entries: Vec<Entry> = fresh.iter().map(convert::entry_out).collect();
        let committed = ready.take_committed_entries();
        let changes =
            committed.iter().any(|entry| entry.get_entry_type() != EntryType::EntryNormal);
        // The commit index is stored with what must be stored, and before a change of configuration is
        // applied: a member that forgot it could win an election among voters of long ago.
        if ready.must_sync() || (changes && hard.commit > 0) {
            out.push(Deed::Store(Batch { number, hard, entries, cut, snapshot }));
            self.batches.push_back(Flight::new(number, asserts, snapshot));
        } else if let Some(flight) = self.batches.back_mut() {
            flight.through = number;
        } else {
            self.batches.push_back(Flight { stored: true, ..Flight::new(number, false, None) });
        }
        for state in ready.take_read_states() {
            if let Some(bytes) = state.request_ctx.first_chunk::<8>() {
                out.push(Deed::Read { number: u64::from_le_bytes(*bytes), index: state.index });
            }
        }
        self.send(ready.take_messages(), false, out);
        self.send(ready.take_persisted_messages(), true, out);
        if !committed.is_empty() {
            out.push(Deed::Commit(committed.iter().map(convert::entry_out).collect()));
        }
        self.raw.advance_append_async(ready);
    }

    /// Lets messages leave, or wait for the batch that they depend on. Rules 9 and 10.
    fn send(&mut self, messages: Vec<raft::eraftpb::Message>, after: bool, out: &mut Vec<Deed>) {
        let genesis = self.genesis;
        let mut messages: Vec<Message> = messages
            .into_iter()
            .filter(|message| message.get_msg_type() != MessageType::MsgPropose)
            .filter_map(|message| convert::message_out(genesis, message))
            .collect();
        messages.iter_mut().for_each(convert::trim);
        for message in &messages {
            if matches!(message.kind, MessageKind::Append | MessageKind::Heartbeat) {
                let told = self.told.entry(message.to.0).or_default();
                *told = (*told).max(message.commit);
            }
        }
        // The engine's order follows its hash maps.
        messages.sort_by_key(|message| message.to);
        let open = |flight: &&mut Flight| after || (flight.asserts && !flight.stored);
        match self.batches.iter_mut().rev().find(open) {
            Some(flight) => flight.messages.extend(messages),
            None => out.extend(messages.into_iter().map(Deed::Send)),
        }
    }

    /// Tells the engine which batches are durable, in order, and releases what waited for them. Rule 3.
    fn settle(&mut self, out: &mut Vec<Deed>) {
        while self.batches.front().is_some_and(|flight| flight.stored)
            && let Some(flight) = self.batches.pop_front()
        {
            self.raw.on_persist_ready(flight.through);
            if let Some(id) = flight.snapshot {
                self.installing = None;
                self.applied(id.index);
                out.push(Deed::Installed(id));
            }
            out.extend(flight.messages.into_iter().map(Deed::Send));
        }
    }
}

/// What stands.
impl Group {
    pub(super) fn role(&self) -> Role {
        match self.raw.raft.state {
            StateRole::Follower => Role::Follower,
            StateRole::PreCandidate => Role::PreCandidate,
            StateRole::Candidate => Role::Candidate,
            StateRole::Leader => Role::Leader,
        }
    }

    pub(super) fn leads(&self) -> bool {
        self.raw.raft.state == StateRole::Leader
    }

    /// Whether an entry of the present term is applied, so that this leader knows all that is committed.
    pub(super) fn is_current(&self) -> bool {
        self.raw.raft.apply_to_current_term()
    }

    pub(super) fn term(&self) -> u64 {
        self.raw.raft.term
    }

    pub(super) fn leader(&self) -> Option<MemberId> {
        let leader = self.raw.raft.leader_id;
        (leader != 0).then_some(MemberId(leader))
    }

    pub(super) fn hard(&self) -> Hard {
        self.raw.store().hard()
    }

    pub(super) fn commit(&self) -> u64 {
        self.raw.raft.raft_log.committed
    }

    pub(super) fn last(&self) -> u64 {
        self.raw.raft.raft_log.last_index()
    }

    /// How many entries are held in memory.
    pub(super) fn len(&self) -> usize {
        self.raw.store().len()
    }

    /// What stands before the first entry held.
    pub(super) fn before(&self) -> Point {
        self.raw.store().point()
    }

    /// The entry at `index`, if it is held.
    pub(super) fn entry(&self, index: u64) -> Option<Entry> {
        self.raw.store().get(index).map(convert::entry_out)
    }

    pub(super) fn image(&self) -> Option<&ImageHead> {
        self.raw.store().image()
    }

    /// Whether a change of the configuration is not applied yet.
    pub(super) fn changes(&self) -> bool {
        self.raw.raft.has_pending_conf()
    }

    /// Whether the lead is being handed over.
    pub(super) fn hands_over(&self) -> bool {
        self.raw.raft.lead_transferee.is_some()
    }

    /// The last entry that `member` is known to hold, as this leader knows it.
    pub(super) fn matched(&self, member: MemberId) -> u64 {
        self.raw.raft.prs().get(member.0).map_or(0, |progress| progress.matched)
    }

    /// Ticks since a leader was heard, or an election begun.
    pub(super) fn elapsed(&self) -> usize {
        self.raw.raft.election_elapsed
    }

    /// Whether a snapshot was accepted that is not installed.
    pub(super) fn takes_snapshot(&self) -> bool {
        self.installing.is_some() || self.raw.raft.raft_log.unstable_snapshot().is_some()
    }
}

impl Flight {
    fn new(number: u64, asserts: bool, snapshot: Option<SnapshotId>) -> Flight {
        Flight { number, through: number, stored: false, asserts, messages: Vec::new(), snapshot }
    }
}

impl ImageHead {
    pub(super) fn id(&self) -> SnapshotId {
        let Point { index, term } = self.point;
        SnapshotId { index, term, number: self.number }
    }
}

fn ticks(count: u64) -> usize {
    usize::try_from(count).expect("ticks are few")
}

//! The log as operators see it.

use std::time::Duration;

use super::group::Role;
use super::{Genesis, LogTime, MemberId, NodeId, Raft};
use crate::time::Instant;
use crate::wire::encode;

/// What this node knows of the log.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Status {
    /// What this node is to it.
    pub state: Standing,
    /// Who leads.
    pub leader: Option<NodeId>,
    /// In which term.
    pub term: u64,
    /// Committed through here.
    pub commit: u64,
    /// Applied through here.
    pub applied: u64,
    /// The last entry held.
    pub last: u64,
    /// The last entry that the snapshot includes.
    pub snapshot: u64,
    /// The log's time.
    pub log_time: LogTime,
    /// Which log it is.
    pub genesis: Option<Genesis>,
    /// How many may vote.
    pub voters_max: u8,
    /// Whether no change is open or due.
    pub settled: bool,
    /// Who keeps another log of the same cluster, by node or else by address.
    pub conflicts: Vec<String>,
    /// An entry that this build does not understand.
    pub needs_upgrade: Option<u64>,
    /// What is due, as the leader last planned it.
    pub plan: Vec<String>,
    /// Everybody in a role.
    pub members: Vec<MemberRow>,
}

/// What a node is to the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Standing {
    /// It votes, and leads.
    Leader,
    /// It votes.
    Voter,
    /// It keeps a copy and does not vote.
    Standby,
    /// It keeps none.
    #[default]
    Outside,
}

impl Standing {
    /// All of them.
    pub const ALL: [Standing; 4] =
        [Standing::Leader, Standing::Voter, Standing::Standby, Standing::Outside];

    /// As in surfaces and numbers.
    pub fn name(self) -> &'static str {
        match self {
            Standing::Leader => "leader",
            Standing::Voter => "voter",
            Standing::Standby => "standby",
            Standing::Outside => "outside",
        }
    }
}

/// One applied entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryRow {
    /// Where it stands.
    pub index: u64,
    /// In which term it was written.
    pub term: u64,
    /// Its subject.
    pub subject: &'static str,
    /// Over all entries through this one: equal wherever the same was applied.
    pub hash: u64,
}

/// One member, as this node sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberRow {
    /// Where it is.
    pub node: Option<NodeId>,
    /// Whose copy.
    pub member: MemberId,
    /// `voter`, `leaving` or `standby`.
    pub state: &'static str,
    /// The last entry it is known to hold; only a leader knows.
    pub matched: u64,
    /// How long it has said nothing to this node.
    pub silent: Option<Duration>,
}

impl Raft {
    /// The log as it looks from here.
    pub fn status(&self, now: Instant) -> Status {
        let group = self.group.as_ref();
        let configuration = &self.state.configuration;
        let members = configuration.members().into_iter().map(|member| MemberRow {
            node: self.node_of(member),
            member,
            state: match member {
                _ if configuration.voters.contains(&member) => "voter",
                _ if configuration.outgoing.contains(&member) => "leaving",
                _ => "standby",
            },
            matched: group.map_or(0, |group| group.matched(member)),
            silent: self.heard.get(&member).map(|at| now.since(*at)),
        });
        let leader = group.and_then(|group| group.leader());
        Status {
            state: self.standing(),
            // Whoever keeps a copy knows by itself, also that nobody leads.
            leader: match leader {
                Some(member) => self.node_of(member),
                None => self.hint.clone().filter(|_| group.is_none()),
            },
            term: group.map_or(0, |group| group.term()),
            commit: group.map_or(0, |group| group.commit()),
            applied: self.state.applied.index,
            last: group.map_or(0, |group| group.last()),
            snapshot: group.and_then(|group| group.image()).map_or(0, |image| image.point.index),
            log_time: self.state.log_time,
            genesis: self.identity.genesis,
            voters_max: self.state.voters_max,
            plan: self.ladder.plan.clone(),
            settled: configuration.outgoing.is_empty()
                && (self.ladder.settled || self.leads().is_none())
                && !group.is_some_and(|group| group.changes() || group.hands_over()),
            conflicts: self.strangers.all.iter().cloned().collect(),
            needs_upgrade: self.halted,
            members: members.collect(),
        }
    }

    /// What this node is to the log.
    pub(super) fn standing(&self) -> Standing {
        let configuration = &self.state.configuration;
        match &self.group {
            Some(group) if group.role() == Role::Leader => Standing::Leader,
            Some(_) if configuration.votes(self.identity.member) => Standing::Voter,
            Some(_) if configuration.learners.contains(&self.identity.member) => Standing::Standby,
            _ => Standing::Outside,
        }
    }

    /// The last entries that were applied here, oldest first.
    pub fn recent(&self) -> &imbl::Vector<EntryRow> {
        &self.recent
    }

    /// The applied point and the hash over everything applied, for whoever compares copies.
    pub fn applied_hash(&self) -> (u64, u64) {
        (self.state.applied.index, self.state.hash)
    }

    /// Which member leads in which term, if this one does.
    pub fn leads(&self) -> Option<u64> {
        self.group.as_ref().filter(|group| group.leads()).map(|group| group.term())
    }

    /// The term, and whether an election is held, for whoever checks RF-15.
    pub fn term(&self) -> u64 {
        self.group.as_ref().map_or(0, |group| group.term())
    }

    /// Through where entries are committed, as this member knows.
    pub fn commit(&self) -> u64 {
        self.group.as_ref().map_or(0, |group| group.commit())
    }

    /// Term and hash of the entry at `index`, if it is held.
    pub fn entry_hash(&self, index: u64) -> Option<(u64, u64)> {
        let entry = self.group.as_ref()?.entry(index)?;
        Some((entry.term, xxhash_rust::xxh3::xxh3_64(&encode(&entry))))
    }

    /// The first entry that is held.
    pub fn first_index(&self) -> u64 {
        self.group.as_ref().map_or(0, |group| group.before().index + 1)
    }

    /// Who votes and who listens.
    pub fn configuration(&self) -> &super::Configuration {
        &self.state.configuration
    }

    /// The log's time as of the last entry applied.
    pub fn log_time(&self) -> LogTime {
        self.state.log_time
    }
}

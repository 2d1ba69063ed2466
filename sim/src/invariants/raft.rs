//! Promises of the agreed log: RF-1 to RF-5, RF-8, RF-9, RF-11, RF-14, RF-15.
//!
//! The record is the simulator's: which entry was first seen committed at each index of each log, which
//! state was first seen there, who was seen to lead in each term, and what each disk really holds.
//!
//! Absent on purpose: RF-7, which the store's callers see; their side of RF-12; RF-6, RF-13 and RF-16,
//! which the ladder's own laws hold.

use std::collections::BTreeMap;

use quorate_core::ids::MemberId;
use quorate_core::limits::{FRAME_CONTROL_BYTES_MAX, FRAME_HEADER_BYTES};
use quorate_core::node::raft::{Configuration, Genesis, LogTime};
use quorate_core::node::{Effect, Input, Keyspace};
use quorate_core::time::Instant;
use quorate_core::wire::frame::Class;
use quorate_core::wire::message::Control;
use quorate_core::wire::raft::{Message, MessageKind, Raft as Wire};
use quorate_core::wire::{Blob, decode};

use super::{Id, Ledger, Turn};
use crate::verdict::Failure;
use crate::world::machine::Machine;

/// See the module.
#[derive(Debug, Default)]
pub struct Watch {
    leaders: BTreeMap<(Genesis, u64), MemberId>,
    committed: BTreeMap<(Genesis, u64), (u64, u64)>,
    states: BTreeMap<(Genesis, u64), u64>,
    /// Per process: through where its entries were compared.
    compared: BTreeMap<u64, u64>,
    log_time: BTreeMap<u64, LogTime>,
    /// Per process.
    terms: BTreeMap<u64, u64>,
    /// Per log: the configuration at the last entry that anybody was seen to have applied.
    newest: BTreeMap<Genesis, (u64, Configuration)>,
    /// The log that was seen to begin. All nodes of a run share a seed.
    begun: Option<Genesis>,
}

impl Watch {
    pub(super) fn turn(&mut self, turn: &Turn<'_>, ledger: &mut Ledger) -> Result<(), Failure> {
        let raft = turn.process.node.raft();
        let Some(genesis) = raft.genesis() else { return Ok(()) };
        let begun = *self.begun.get_or_insert(genesis);
        ledger.hold(Id::RF9, turn.machine, begun == genesis, || {
            format!("{genesis:?} was begun here, and {begun:?} before")
        })?;
        self.led(turn, genesis, ledger)?;
        self.agreed(turn, genesis, ledger)?;
        self.timed(turn, ledger)?;
        self.raised(turn, ledger)?;
        bounded(turn, ledger)?;
        durable(turn, ledger)
    }

    /// RF-1.
    fn led(
        &mut self,
        turn: &Turn<'_>,
        genesis: Genesis,
        ledger: &mut Ledger,
    ) -> Result<(), Failure> {
        let raft = turn.process.node.raft();
        let Some(term) = raft.leads() else { return Ok(()) };
        let known = *self.leaders.entry((genesis, term)).or_insert(raft.member());
        ledger.hold(Id::RF1, turn.machine, known == raft.member(), || {
            format!("{known:?} and {:?} both lead in term {term}", raft.member())
        })
    }

    /// RF-2 and RF-3: what is committed, and what came of it, is what the first saw.
    fn agreed(
        &mut self,
        turn: &Turn<'_>,
        genesis: Genesis,
        ledger: &mut Ledger,
    ) -> Result<(), Failure> {
        let raft = turn.process.node.raft();
        let compared = self.compared.entry(turn.process.number).or_default();
        let first = raft.first_index().max(*compared + 1);
        *compared = raft.commit();
        for index in first..=raft.commit() {
            let Some(entry) = raft.entry_hash(index) else { continue };
            let known = *self.committed.entry((genesis, index)).or_insert(entry);
            ledger.hold(Id::RF2, turn.machine, known == entry, || {
                format!("entry {index} is {entry:?} here and was {known:?}")
            })?;
        }
        let (applied, hash) = raft.applied_hash();
        let newest = self.newest.entry(genesis).or_default();
        if newest.0 < applied {
            *newest = (applied, raft.configuration().clone());
        }
        let known = *self.states.entry((genesis, applied)).or_insert(hash);
        ledger.hold(Id::RF3, turn.machine, known == hash, || {
            format!("the state at {applied} is {hash:016x} here and was {known:016x}")
        })
    }

    /// RF-8, as far as one node goes: log time never falls and runs no faster than the world. Clocks of
    /// nodes may be a tenth off, and a leader may have slept through time that is real to it alone.
    fn timed(&mut self, turn: &Turn<'_>, ledger: &mut Ledger) -> Result<(), Failure> {
        let time = turn.process.node.raft().log_time();
        let before = self.log_time.insert(turn.process.number, time).unwrap_or_default();
        if before == time {
            // It was looked at when it came, and the world's time only grows.
            ledger.note(Id::RF8);
            return Ok(());
        }
        let slept: u64 = turn.machines.iter().map(|machine| machine.clock.slept()).sum();
        let real = (turn.now + slept) / 1000 * 12 / 10;
        ledger.hold(Id::RF8, turn.machine, before <= time && time.0 <= real, || {
            format!("log time went from {before:?} to {time:?} within {real} ms")
        })
    }

    /// RF-15: of several voters one alone raises no term. Whoever is about to has asked the others first, so a term
    /// rises in a turn that heard somebody. That nobody is deposed follows: no term of theirs is exceeded.
    fn raised(&mut self, turn: &Turn<'_>, ledger: &mut Ledger) -> Result<(), Failure> {
        let raft = turn.process.node.raft();
        let term = raft.term();
        let Some(before) = self.terms.insert(turn.process.number, term) else { return Ok(()) };
        let configuration = raft.configuration();
        let several = configuration.voters.len() > 1 || configuration.outgoing.len() > 1;
        if term == before || !several {
            return Ok(());
        }
        let heard = turn.inputs.iter().any(|input| match input {
            Input::Frame { frame, .. } => matches!(frame.class, Class::Control | Class::Bulk),
            _ => false,
        });
        ledger.hold(Id::RF15, turn.machine, heard, || {
            format!("its term rose from {before} to {term}, and nobody had spoken to it")
        })
    }

    /// RF-14, where everybody takes part and the leader sees nothing to do.
    pub fn even(
        &self,
        core: &[usize],
        machines: &[Machine],
        ledger: &mut Ledger,
    ) -> Result<(), Failure> {
        let running = machines.iter().filter_map(|machine| machine.process.as_ref());
        let rafts: Vec<_> = running.map(|process| process.node.raft()).collect();
        let Some(leader) = rafts.iter().find(|raft| raft.leads().is_some()) else { return Ok(()) };
        if core.len() < machines.len() || rafts.len() < machines.len() {
            return Ok(());
        }
        if !leader.status(Instant::ZERO).settled {
            return Ok(());
        }
        let voters = &leader.configuration().voters;
        let (mut held, mut room) = (BTreeMap::new(), BTreeMap::new());
        for (machine, raft) in machines.iter().zip(&rafts) {
            let zone = machine.settings.membership.zone.as_str();
            *held.entry(zone).or_default() += usize::from(voters.contains(&raft.member()));
            *room.entry(zone).or_default() += usize::from(machine.settings.raft.eligible);
        }
        let most = most_of_a_zone(&room, voters.len());
        let fullest = held.iter().max_by_key(|(_, count)| **count);
        let (zone, count) = fullest.map_or(("", 0), |(zone, count)| (*zone, *count));
        ledger.hold(Id::RF14, 0, count <= most, || {
            format!("zone `{zone}` holds {count} of {} voters where {most} would do", voters.len())
        })
    }

    /// RF-11: where a majority of the voters is in the core, one leads, all know it and hold the same.
    pub fn quiet(
        &self,
        core: &[usize],
        machines: &[Machine],
        ledger: &mut Ledger,
    ) -> Result<(), Failure> {
        let running = core.iter().filter_map(|index| {
            let process = machines.get(*index)?.process.as_ref()?;
            Some((*index, process.node.raft()))
        });
        let running: Vec<_> = running.collect();
        let newest = running.iter().max_by_key(|(_, raft)| raft.applied_hash().0);
        let known = newest.and_then(|(_, raft)| self.newest.get(&raft.genesis()?));
        let (Some((first, newest)), Some((_, configuration))) = (newest, known) else {
            return Ok(());
        };
        let here = |voters: &std::collections::BTreeSet<MemberId>| {
            let count = running.iter().filter(|(_, raft)| voters.contains(&raft.member())).count();
            voters.is_empty() || count > voters.len() / 2
        };
        // A change counts from where it is applied: that the last one was committed may be known by nobody but a
        // voter that is lost, and then the others wait for that one, as the voters before the change would.
        let own = newest.configuration();
        let quorate = [configuration, own]
            .into_iter()
            .all(|configuration| here(&configuration.voters) && here(&configuration.outgoing));
        if !quorate || configuration.voters.is_empty() {
            return Ok(());
        }
        let leaders = running.iter().filter(|(_, raft)| raft.leads().is_some()).count();
        ledger.hold(Id::RF11, *first, leaders == 1, || format!("{leaders} lead"))?;
        for (index, raft) in &running {
            if configuration.contains(raft.member()) {
                let same = raft.applied_hash() == newest.applied_hash();
                ledger.hold(Id::RF11, *index, same, || {
                    let (mine, theirs) = (raft.applied_hash(), newest.applied_hash());
                    format!("has applied {mine:?} where another has {theirs:?}")
                })?;
            }
        }
        let settled = newest.configuration().outgoing.is_empty();
        ledger.hold(Id::RF11, *first, settled, || "a joint change is open".to_owned())
    }
}

/// How many voters the fullest zone has in the most even choice of `voters`, by how many each zone can give.
fn most_of_a_zone(room: &BTreeMap<&str, usize>, voters: usize) -> usize {
    let given = |most: usize| room.values().map(|room| (*room).min(most)).sum::<usize>();
    (0..=voters).find(|most| given(*most) >= voters).unwrap_or(voters)
}

/// RF-5.
fn bounded(turn: &Turn<'_>, ledger: &mut Ledger) -> Result<(), Failure> {
    let configuration = turn.process.node.raft().configuration();
    let (voters, learners) = (configuration.voters.len(), configuration.learners.len());
    ledger.hold(Id::RF5, turn.machine, voters <= 8 && learners <= 12, || {
        format!("{voters} voters and {learners} learners")
    })
}

/// RF-4: what leaves is on the disk, as far as its syncs are true: no node can see through one that is not. A node
/// without a disk is as durable as its process.
fn durable(turn: &Turn<'_>, ledger: &mut Ledger) -> Result<(), Failure> {
    let disk = turn.machines.get(turn.machine).and_then(|machine| machine.disk.as_ref());
    let Some(disk) = disk else { return Ok(()) };
    for effect in turn.effects {
        let Effect::Send { bytes, .. } = effect else { continue };
        let Some(message) = message_in(bytes) else { continue };
        let asserted = assertion(&message, disk.promised(Keyspace::Hard, "state"));
        ledger.hold(Id::RF4, turn.machine, asserted.is_ok(), || {
            format!("{:?} leaves: {}", message.kind, asserted.err().unwrap_or_default())
        })?;
    }
    Ok(())
}

fn message_in(bytes: &[u8]) -> Option<Message> {
    if bytes.get(1) != Some(&Class::Control.number()) {
        return None;
    }
    let payload =
        bytes.get(FRAME_HEADER_BYTES..).filter(|payload| payload.first() == Some(&RAFT))?;
    match decode::<Control, FRAME_CONTROL_BYTES_MAX>(payload).ok()? {
        Control::Raft(message) => match decode::<Wire, FRAME_CONTROL_BYTES_MAX>(&message).ok()? {
            Wire::Message(message) => Some(message),
            _ => None,
        },
        _ => None,
    }
}

/// The variant of a control message, as its first byte says.
const RAFT: u8 = 4;

fn assertion(message: &Message, hard: Option<&Blob>) -> Result<(), String> {
    let hard = hard.and_then(|row| decode::<(u64, u64, u64), 64>(row).ok()).unwrap_or_default();
    let (term, vote, _) = hard;
    let tentative = matches!(message.kind, MessageKind::PreVote | MessageKind::PreVoteReply);
    if message.term > term && !tentative {
        return Err(format!("term {} where {term} is durable", message.term));
    }
    let votes = message.kind == MessageKind::VoteReply && !message.reject;
    if votes && message.term == term && vote != message.to.0 {
        return Err(format!("a vote for {:?} where {vote} is durable", message.to));
    }
    Ok(())
}

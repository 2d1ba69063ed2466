//! Promises of gossip: G-1, G-6, G-10 to G-13 and G-15.

use std::collections::BTreeMap;

use quorate_core::limits;
use quorate_core::machine::{Counted as _, Labels};
use quorate_core::node::gossip::{TopicRow, Waiting};
use quorate_core::node::{Effect, Input};
use quorate_core::wire::datagram::{self, Kind};
use quorate_core::wire::frame::Class;
use quorate_core::wire::segment::Topic;

use super::{Id, Ledger, Turn};
use crate::verdict::Failure;
use crate::world::machine::{Machine, Process};

/// See the module.
#[derive(Debug, Default)]
pub struct Watch {
    heads: BTreeMap<u64, u64>,
}

/// Whether a link keeps gossip for a stream that takes no more: gossip has done its part.
fn queues(process: &Process) -> bool {
    let mut waiting = 0;
    process.node.links().counts(&mut |count| {
        let gossip = matches!(count.labels, Labels::One("class", "gossip"));
        waiting += if gossip && count.name == "link_queued_frames" { count.value } else { 0 };
    });
    waiting > 0
}

/// The variant of a gossip message, as its first byte says.
const DIGEST: u8 = 1;
const ROWS: u8 = 2;

impl Watch {
    pub(super) fn turn(&mut self, turn: &Turn<'_>, ledger: &mut Ledger) -> Result<(), Failure> {
        self.budget(turn, ledger)?;
        self.chains(turn, ledger)?;
        self.first_transmission(turn, ledger)
    }

    /// G-1: what gossip filled stays within the datagram.
    fn budget(&self, turn: &Turn<'_>, ledger: &mut Ledger) -> Result<(), Failure> {
        for effect in turn.effects {
            let Effect::Datagram { bytes, .. } = effect else { continue };
            let length = bytes.len() + limits::SEAL_BYTES;
            ledger.hold(Id::G1, turn.machine, length <= limits::DATAGRAM_BYTES_MAX, || {
                format!("a datagram was filled to {length} bytes")
            })?;
        }
        Ok(())
    }

    /// G-10, of turns in which only final rows, or only digests, came.
    fn chains(&self, turn: &Turn<'_>, ledger: &mut Ledger) -> Result<(), Failure> {
        if let [Input::Datagram { bytes, .. }] = turn.inputs {
            return final_rows_by_datagram(turn, bytes, ledger);
        }
        let [Input::Frame { frame, .. }] = turn.inputs else { return Ok(()) };
        if frame.class != Class::Gossip {
            return Ok(());
        }
        let final_rows = matches!(frame.payload.as_slice(), [ROWS, 1, ..]);
        let digest = matches!(frame.payload.as_slice(), [DIGEST, ..]);
        if !final_rows && !digest {
            return Ok(());
        }
        let sent = |wanted: u8| {
            turn.effects.iter().any(|effect| match effect {
                Effect::Send { bytes, .. } => {
                    let body = bytes.get(limits::FRAME_HEADER_BYTES..);
                    let gossip = bytes.get(1) == Some(&Class::Gossip.number());
                    gossip && body.and_then(<[u8]>::first) == Some(&wanted)
                }
                _ => false,
            })
        };
        ledger.hold(Id::G10, turn.machine, !(final_rows && sent(ROWS)), || {
            "final rows were answered with rows".to_owned()
        })?;
        ledger.hold(Id::G10, turn.machine, !(digest && sent(DIGEST)), || {
            "a digest was answered with a digest".to_owned()
        })
    }

    /// G-11: what a turn wrote leaves in that turn, where direct push is on and somebody is connected.
    fn first_transmission(&mut self, turn: &Turn<'_>, ledger: &mut Ledger) -> Result<(), Failure> {
        let node = &turn.process.node;
        if turn.process.touched.writes.is_empty() {
            return Ok(());
        }
        let progress = |topic| node.maps().progress(topic, node.local());
        let head = Topic::ALL.into_iter().filter_map(progress).map(|p| p.head).sum();
        let former = self.heads.insert(turn.process.number, head).unwrap_or_default();
        let Some(machine) = turn.machines.get(turn.machine) else { return Ok(()) };
        if head <= former {
            return Ok(());
        }
        let members = node.published().members.load();
        let few = members.rows.len() <= machine.settings.gossip.direct_max;
        let linked = node.linked().iter().any(|peer| node.membership().is_member(peer));
        if !few || !linked || members.leaving {
            return Ok(());
        }
        let sent = turn.effects.iter().any(|effect| match effect {
            Effect::Send { bytes, .. } => bytes.get(1) == Some(&Class::Gossip.number()),
            Effect::Datagram { .. } => true,
            _ => false,
        });
        ledger.hold(Id::G11, turn.machine, sent || queues(turn.process), || {
            format!("wrote through {head} and sent nothing, though a member is connected")
        })
    }

    /// G-6 and G-12, from the accounts of a node.
    pub fn accounts(
        &self,
        machine: usize,
        host: &Machine,
        process: &Process,
        ledger: &mut Ledger,
    ) -> Result<(), Failure> {
        let bound = host.settings.gossip.backlog_max as u64;
        for TopicRow { topic, queued, enqueued, retired, dropped } in process.node.gossip().topics()
        {
            ledger.hold(Id::G6, machine, enqueued == retired + queued + dropped, || {
                format!("{topic}: {enqueued} enqueued, {retired} retired, {dropped} dropped, {queued} queued")
            })?;
            ledger.hold(Id::G12, machine, queued <= bound, || {
                format!("{topic}: {queued} items wait, the bound is {bound}")
            })?;
        }
        Ok(())
    }

    /// G-13: at quiescence everybody in `core` has the same of every living map, and nothing waits.
    pub fn quiet(
        &self,
        core: &[usize],
        machines: &[Machine],
        ledger: &mut Ledger,
    ) -> Result<(), Failure> {
        let process =
            |index: &usize| machines.get(*index).and_then(|machine| machine.process.as_ref());
        for reader in core {
            let Some(here) = process(reader) else { continue };
            for owner in core.iter().filter_map(process) {
                for topic in Topic::ALL {
                    let (mine, theirs) = (
                        owner.node.maps().progress(topic, owner.node.local()),
                        here.node.maps().progress(topic, owner.node.local()),
                    );
                    let equal = mine.map(|p| p.head) == theirs.map(|p| p.complete);
                    ledger.hold(Id::G13, *reader, equal, || {
                        format!(
                            "{topic:?} of {}: {mine:?} there, {theirs:?} here",
                            owner.node.local()
                        )
                    })?;
                }
            }
            // Where rumours carry everything, a renewal is always on its way to somebody.
            let news = here.node.gossip().waiting().find(|waiting| !is_renewal(here, waiting));
            ledger.hold(Id::G13, *reader, news.is_none(), || format!("{news:?}"))?;
        }
        Ok(())
    }

    /// G-15: where two nodes show equal hashes, they are equally far with everything these cover. `progress`
    /// is how far each machine really is: one sum per bucket.
    pub fn digests(
        &self,
        machines: &[Machine],
        progress: impl Fn(usize) -> [u64; limits::DIGEST_BUCKETS],
        ledger: &mut Ledger,
    ) -> Result<(), Failure> {
        let mut shown: Vec<Vec<Shown>> = vec![Vec::new(); limits::DIGEST_BUCKETS];
        for machine in machines {
            let Some(process) = &machine.process else { continue };
            let hashes = process.node.gossip().hashes().into_iter().zip(progress(machine.index));
            for (bucket, ((hash, progress), shown)) in hashes.zip(&mut shown).enumerate() {
                let first = shown.iter().find(|other| other.hash == hash);
                let equal = first.is_none_or(|first| first.progress == progress);
                ledger.hold(Id::G15, machine.index, equal, || {
                    let first = first.map_or(0, |first| first.machine);
                    let first = crate::settings::node_id(first);
                    format!("bucket {bucket} hashes as at {first}, and progress differs")
                })?;
                if first.is_none() {
                    shown.push(Shown { hash, progress, machine: machine.index });
                }
            }
        }
        Ok(())
    }
}

/// A hash of one bucket, how far whoever showed it first really is, and who that was.
#[derive(Debug, Clone, Copy)]
struct Shown {
    hash: u64,
    progress: u64,
    machine: usize,
}

/// Whether nothing of an interval survives but what is written again on a schedule.
fn is_renewal(process: &Process, waiting: &Waiting<'_>) -> bool {
    let maps = process.node.maps();
    let of_it = maps.held_own().chain(maps.held_of(&waiting.source.node));
    let mut of_it = of_it.filter(|map| map.topic == waiting.topic && map.replica == waiting.source);
    of_it.all(|map| {
        let mut entries = map.entries(waiting.from);
        entries.all(|entry| {
            let scheduled = match waiting.topic {
                Topic::WORKERS => &**entry.key == "lease",
                Topic::FACTS => &**entry.key == "audit",
                _ => false,
            };
            entry.sequence > waiting.upto || scheduled
        })
    })
}

/// Rows that end a chain, in a datagram without a digest, are not answered with rows.
fn final_rows_by_datagram(
    turn: &Turn<'_>,
    bytes: &[u8],
    ledger: &mut Ledger,
) -> Result<(), Failure> {
    let has = |bytes: &[u8], wanted: Kind, last: bool| {
        let named = bytes.contains(&(wanted as u8));
        let parsed = named.then(|| datagram::parse(bytes).ok()).flatten();
        parsed.is_some_and(|datagram| {
            let mut sections = datagram.sections.iter();
            sections.any(|(kind, body)| *kind == wanted && (!last || body.first() == Some(&1)))
        })
    };
    if !has(bytes, Kind::Rows, true) || has(bytes, Kind::Digest, false) {
        return Ok(());
    }
    let answered = turn.effects.iter().any(|effect| match effect {
        Effect::Datagram { bytes, .. } => has(bytes, Kind::Rows, false),
        _ => false,
    });
    ledger
        .hold(Id::G10, turn.machine, !answered, || "final rows were answered with rows".to_owned())
}

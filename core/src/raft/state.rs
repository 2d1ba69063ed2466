//! The replicated state of the log itself, and how it travels in a snapshot together with the services'.
//!
//! - RF-3: applied state is a function of the applied prefix. `hash` chains over every applied entry, so
//!   that two copies at one index can be compared by a number.
//! - RF-10: restoring a snapshot of a state gives that state, field by field.
//!
//! A snapshot's bytes are parts, each with its length in front: a head, the table's rows, and the
//! services' sections in pieces. No part is longer than a message.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::group::{Configuration, ImageHead, Point};
use super::table::{Outcome, Requester, Table, Used};
use crate::ids::{Incarnation, MemberId, NodeId, Replica};
use crate::limits::{FRAME_CONTROL_BYTES_MAX, RAFT_CHUNK_BYTES};
use crate::wire::raft::{Entry, Genesis, LogTime, Subject};
use crate::wire::{Blob, WireError, decode, encode};

/// What every copy of the log agrees on at one index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct State {
    pub(super) genesis: Genesis,
    /// The last entry applied.
    pub(super) applied: Point,
    /// Over all applied entries.
    pub(super) hash: u64,
    pub(super) log_time: LogTime,
    pub(super) configuration: Configuration,
    /// Where each member is.
    pub(super) nodes: BTreeMap<MemberId, NodeId>,
    /// How many may vote.
    pub(super) voters_max: u8,
    pub(super) table: Table,
}

/// A snapshot, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Image {
    pub(super) number: u64,
    pub(super) state: State,
    pub(super) sections: BTreeMap<Subject, Blob>,
}

#[derive(Serialize, Deserialize)]
enum Part {
    Head {
        genesis: Genesis,
        number: u64,
        applied: Point,
        hash: u64,
        log_time: LogTime,
        configuration: Configuration,
        nodes: BTreeMap<MemberId, NodeId>,
        voters_max: u8,
    },
    Requester {
        replica: Replica,
        done_below: u64,
        last_index: u64,
    },
    Outcome {
        replica: Replica,
        number: u64,
        outcome: Outcome,
    },
    Used(Used),
    Retired(NodeId, Incarnation),
    Section {
        subject: Subject,
        bytes: Blob,
    },
}

impl State {
    /// Nothing was applied, and nobody knows what the log is.
    pub(super) fn blank(genesis: Genesis) -> State {
        State {
            genesis,
            applied: Point::default(),
            hash: 0,
            log_time: LogTime(0),
            configuration: Configuration::default(),
            nodes: BTreeMap::new(),
            voters_max: 0,
            table: Table::default(),
        }
    }

    /// How a log begins: at index 1, so that whoever joins later must be sent this.
    pub(super) fn formed(
        genesis: Genesis,
        voters: BTreeMap<MemberId, NodeId>,
        voters_max: u8,
    ) -> State {
        let configuration =
            Configuration { voters: voters.keys().copied().collect(), ..Default::default() };
        let applied = Point { index: 1, term: 1 };
        State { applied, configuration, nodes: voters, voters_max, ..State::blank(genesis) }
    }

    /// What the engine is told of a snapshot of this state.
    pub(super) fn head(&self, number: u64) -> ImageHead {
        ImageHead { point: self.applied, number, configuration: self.configuration.clone() }
    }

    /// The parts of a snapshot that are the log's own: the services' come behind.
    pub(super) fn encode(&self, number: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.parts(number).iter().for_each(|part| put(part, &mut bytes));
        bytes
    }

    fn parts(&self, number: u64) -> Vec<Part> {
        let mut parts = vec![Part::Head {
            genesis: self.genesis,
            number,
            applied: self.applied,
            hash: self.hash,
            log_time: self.log_time,
            configuration: self.configuration.clone(),
            nodes: self.nodes.clone(),
            voters_max: self.voters_max,
        }];
        for (replica, row) in &self.table.requesters {
            let Requester { done_below, last_index, outcomes } = row.clone();
            parts.push(Part::Requester { replica: replica.clone(), done_below, last_index });
            parts.extend(outcomes.into_iter().map(|(number, outcome)| {
                let replica = replica.clone();
                Part::Outcome { replica, number, outcome }
            }));
        }
        parts.extend(self.table.used.values().cloned().map(Part::Used));
        let retired = self.table.retired.iter();
        parts.extend(retired.map(|(node, fence)| Part::Retired(node.clone(), *fence)));
        parts
    }

    /// An entry was applied.
    pub(super) fn advance(&mut self, entry: &Entry) {
        let covered = encode(&(self.hash, entry));
        self.hash = xxh3_64(&covered);
        self.applied = Point { index: entry.index, term: entry.term };
    }
}

impl Image {
    /// Of a copy that holds nothing yet.
    pub(super) fn blank(genesis: Genesis) -> Image {
        Image { number: 0, state: State::blank(genesis), sections: BTreeMap::new() }
    }

    pub(super) fn head(&self) -> ImageHead {
        self.state.head(self.number)
    }

    pub(super) fn encode(&self) -> Blob {
        let mut bytes = self.state.encode(self.number);
        for (subject, section) in &self.sections {
            bytes.extend(encode_section(*subject, section));
        }
        Blob::from(bytes)
    }

    /// Any bytes are a snapshot or an error.
    pub(super) fn decode(mut bytes: &[u8]) -> Result<Image, WireError> {
        let mut image: Option<Image> = None;
        let mut sections: BTreeMap<Subject, Vec<u8>> = BTreeMap::new();
        while !bytes.is_empty() {
            let (length, rest) = bytes.split_first_chunk::<4>().ok_or(SHORT)?;
            let length = usize::try_from(u32::from_le_bytes(*length)).map_err(|_| SHORT)?;
            let (part, rest) = rest.split_at_checked(length).ok_or(SHORT)?;
            bytes = rest;
            match (decode::<Part, FRAME_CONTROL_BYTES_MAX>(part)?, &mut image) {
                (Part::Section { subject, bytes }, Some(_)) => {
                    sections.entry(subject).or_default().extend_from_slice(&bytes);
                }
                (part, Some(image)) => image.state.take(part)?,
                (part, none) => *none = Some(head(part)?),
            }
        }
        let mut image = image.ok_or(SHORT)?;
        image.sections =
            sections.into_iter().map(|(subject, bytes)| (subject, bytes.into())).collect();
        Ok(image)
    }
}

/// Bytes of a service's state, as parts of a snapshot.
pub(super) fn encode_section(subject: Subject, section: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut add = |piece: &[u8]| {
        put(&Part::Section { subject, bytes: Blob::from(piece) }, &mut bytes);
    };
    if section.is_empty() {
        add(section); // It is mentioned.
    }
    section.chunks(RAFT_CHUNK_BYTES).for_each(add);
    bytes
}

fn put(part: &Part, bytes: &mut Vec<u8>) {
    let part = encode(part);
    let length = u32::try_from(part.len()).expect("a part is shorter than a message");
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&part);
}

impl State {
    fn take(&mut self, part: Part) -> Result<(), WireError> {
        match part {
            Part::Requester { replica, done_below, last_index } => {
                let row = Requester { done_below, last_index, outcomes: BTreeMap::new() };
                self.table.requesters.insert(replica, row);
            }
            Part::Outcome { replica, number, outcome } => {
                let row = self.table.requesters.get_mut(&replica);
                row.ok_or(MISPLACED)?.outcomes.insert(number, outcome);
            }
            Part::Used(used) => self.table.restore_key(used),
            Part::Retired(node, fence) => {
                self.table.retired.insert(node, fence);
            }
            Part::Head { .. } | Part::Section { .. } => return Err(MISPLACED),
        }
        Ok(())
    }
}

fn head(part: Part) -> Result<Image, WireError> {
    let Part::Head { genesis, number, applied, hash, log_time, configuration, nodes, voters_max } =
        part
    else {
        return Err(MISPLACED);
    };
    let state = State {
        genesis,
        applied,
        hash,
        log_time,
        configuration,
        nodes,
        voters_max,
        table: Table::default(),
    };
    Ok(Image { number, state, sections: BTreeMap::new() })
}

const SHORT: WireError = WireError::Malformed("a snapshot that ends too soon");
const MISPLACED: WireError = WireError::Malformed("a snapshot with a part in the wrong place");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::raft::{Idempotency, RequestId};

    fn image(section_bytes: usize) -> Image {
        let node: NodeId = "n1".parse().expect("a node id");
        let replica = Replica { node: node.clone(), incarnation: Incarnation(3) };
        let voters = [(MemberId(7), node.clone()), (MemberId(9), "n2".parse().expect("an id"))];
        let mut state = State::formed(Genesis(5), voters.into(), 3);
        state.advance(&Entry { term: 2, index: 2, configuration: false, payload: "x".into() });
        state.log_time = LogTime(99);
        let request = RequestId { replica: replica.clone(), number: 4 };
        let key = Idempotency { key: [1; 16], body: [2; 8] };
        let outcome = Outcome { index: 2, said: "said".into() };
        state.table.note(LogTime(9), Some(&request), Some(key), &outcome);
        state.table.retire(&Replica { node, incarnation: Incarnation(1) });
        let section = Blob::from(vec![3; section_bytes]);
        let sections = [(Subject::KV, section), (Subject::NAMES, Blob::default())].into();
        Image { number: 1, state, sections }
    }

    #[test]
    fn a_restored_snapshot_is_the_state_it_was_taken_of() {
        for bytes in [0, 1, RAFT_CHUNK_BYTES, 3 * RAFT_CHUNK_BYTES + 1] {
            let image = image(bytes);
            assert_eq!(Image::decode(&image.encode()), Ok(image), "RF-10");
        }
    }

    #[test]
    fn a_snapshot_cut_anywhere_is_refused_or_lacks_whole_parts() {
        let whole = image(10).encode();
        for length in 0..whole.len() {
            let cut = whole.get(..length).expect("within");
            if let Ok(image) = Image::decode(cut) {
                assert!(image.encode().len() == length, "{length} of {} bytes", whole.len());
            }
        }
    }
}

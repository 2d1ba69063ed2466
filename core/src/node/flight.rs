//! Flight records: everything that a node was given, turn by turn, so that it can be given once more.
//!
//! ```text
//! file  = magic · block*
//! block = length u32 LE · check u64 LE · kind u8 · payload      check: xxh3 over kind and payload
//! ```
//!
//! | kind | payload |
//! | --- | --- |
//! | 1 head | who, in which life, from which seed and since when, with which settings (JSON), by which build |
//! | 2 row | one row of the image that storage gave |
//! | 3 turn | `now`, `wall`, hash of the outputs (u64 LE each), then each input as form u8 · length u32 LE · bytes |
//! | 4 end | why nothing follows |
//! | 5 next | the number of this file, which goes on where the one before ended |
//!
//! A record without an end is one of a process that was killed; what is whole of it counts. Requests hold
//! specs of workers, which have no wire form: they are JSON.
//!
//! Absent on purpose: files. Hosts write and read them.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::{Effect, Input, Keyspace, Settings};
use crate::ids::Incarnation;
use crate::limits;
use crate::time::Instant;
use crate::wire::{self, Blob, WireError};

/// What every file begins with.
pub const MAGIC: [u8; 8] = *b"quorate\n";
/// The format that this build writes, and the only one that it reads.
pub const FORMAT: u32 = 1;

const KIND_HEAD: u8 = 1;
const KIND_ROW: u8 = 2;
const KIND_TURN: u8 = 3;
const KIND_END: u8 = 4;
const KIND_NEXT: u8 = 5;

const FORM_WIRE: u8 = 0;
const FORM_JSON: u8 = 1;

/// An input is at most a frame with its number.
const INPUT_BYTES_MAX: usize = limits::FRAME_CONTROL_BYTES_MAX + 1024;

/// What a node was made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Which build recorded it.
    pub build: String,
    /// Its life.
    pub incarnation: Incarnation,
    /// The seed of its draws.
    pub seed: [u8; 32],
    /// When it was made.
    pub now: Instant,
    /// What it was configured to be; no machine holds a secret.
    pub settings: Settings,
}

/// The head as it is written.
#[derive(Serialize, Deserialize)]
struct Written {
    format: u32,
    build: String,
    incarnation: Incarnation,
    seed: [u8; 32],
    now: Instant,
    settings: Blob,
}

/// One turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// The node's clock.
    pub now: Instant,
    /// Milliseconds since 1970, for whoever reads the record; the node never saw it.
    pub wall_ms: u64,
    /// What came in.
    pub inputs: Vec<Input>,
    /// What went out, by [`hash`].
    pub hash: u64,
}

/// A piece of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Block {
    /// Where it begins.
    Head(Box<Head>),
    /// What storage gave.
    Row((Keyspace, String, Blob)),
    /// A turn.
    Turn(Turn),
    /// Nothing follows, for this reason.
    End(String),
    /// Another file of the same record.
    Next(u32),
}

/// The outputs of a turn in eight bytes.
pub fn hash<'a>(effects: impl IntoIterator<Item = &'a Effect>) -> u64 {
    let mut bytes = Vec::new();
    effects.into_iter().fold(0, |all, effect| {
        bytes.clear();
        write_effect(effect, &mut bytes);
        xxh3_64_with_seed(&bytes, all)
    })
}

/// Puts an input behind what `bytes` holds; which form that took. The wire codec has none for specs of
/// workers, whose fields may be unset or unknown: they are JSON.
pub fn write_input(input: &Input, bytes: &mut Vec<u8>) -> u8 {
    match input {
        Input::Request { .. } => {
            write_json(input, bytes);
            FORM_JSON
        }
        Input::Start
        | Input::Wake
        | Input::Clock { .. }
        | Input::Datagram { .. }
        | Input::Connected { .. }
        | Input::ConnectFailed { .. }
        | Input::Accepted { .. }
        | Input::Frame { .. }
        | Input::Broken { .. }
        | Input::Unsecured { .. }
        | Input::Misnamed { .. }
        | Input::Writable { .. }
        | Input::Closed { .. }
        | Input::Stored { .. }
        | Input::Answered { .. } => {
            wire::encode_into(input, bytes);
            FORM_WIRE
        }
    }
}

/// Puts an effect behind what `bytes` holds.
pub fn write_effect(effect: &Effect, bytes: &mut Vec<u8>) {
    match effect {
        Effect::Reply { .. } | Effect::Call { .. } | Effect::Announce(_) => {
            write_json(effect, bytes);
        }
        Effect::Datagram { .. }
        | Effect::Send { .. }
        | Effect::Connect { .. }
        | Effect::Disconnect { .. }
        | Effect::Store { .. } => wire::encode_into(effect, bytes),
    }
}

fn write_json(value: &impl Serialize, bytes: &mut Vec<u8>) {
    serde_json::to_writer(bytes, value).expect("inputs and effects have no maps with odd keys");
}

impl Block {
    /// As it is written.
    pub fn encode(&self) -> Vec<u8> {
        let (kind, payload) = self.payload();
        let length = u32::try_from(payload.len() + 1).expect("a turn is shorter than 4 GiB");
        let mut checked = vec![kind];
        checked.extend_from_slice(&payload);
        let mut bytes = length.to_le_bytes().to_vec();
        bytes.extend_from_slice(&xxh3_64(&checked).to_le_bytes());
        bytes.extend_from_slice(&checked);
        bytes
    }

    fn payload(&self) -> (u8, Vec<u8>) {
        match self {
            Block::Head(head) => (KIND_HEAD, head.encode()),
            Block::Row(row) => (KIND_ROW, wire::encode(row)),
            Block::Turn(turn) => (KIND_TURN, turn.encode()),
            Block::End(why) => (KIND_END, wire::encode(why)),
            Block::Next(number) => (KIND_NEXT, wire::encode(number)),
        }
    }

    fn decode(kind: u8, payload: &[u8]) -> Result<Block, WireError> {
        const LIMIT: usize = INPUT_BYTES_MAX;
        Ok(match kind {
            KIND_HEAD => Block::Head(Box::new(Head::decode(payload)?)),
            KIND_ROW => Block::Row(wire::decode::<_, LIMIT>(payload)?),
            KIND_TURN => Block::Turn(Turn::decode(payload).ok_or(WireError::Malformed("no turn"))?),
            KIND_END => Block::End(wire::decode::<_, 1024>(payload)?),
            KIND_NEXT => Block::Next(wire::decode::<_, 16>(payload)?),
            _ => return Err(WireError::Malformed("unknown block")),
        })
    }
}

impl Head {
    fn encode(&self) -> Vec<u8> {
        let Head { build, incarnation, seed, now, settings } = self;
        let mut json = Vec::new();
        write_json(settings, &mut json);
        wire::encode(&Written {
            format: FORMAT,
            build: build.clone(),
            incarnation: *incarnation,
            seed: *seed,
            now: *now,
            settings: Blob::from(json),
        })
    }

    fn decode(payload: &[u8]) -> Result<Head, WireError> {
        let written: Written = wire::decode::<_, INPUT_BYTES_MAX>(payload)?;
        if written.format != FORMAT {
            return Err(WireError::Version(u8::try_from(written.format).unwrap_or(u8::MAX)));
        }
        let settings = serde_json::from_slice(&written.settings);
        let settings = settings.map_err(|_| WireError::Malformed("settings of another build"))?;
        let Written { build, incarnation, seed, now, .. } = written;
        Ok(Head { build, incarnation, seed, now, settings })
    }
}

impl Turn {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for number in [self.now.as_micros(), self.wall_ms, self.hash] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        let mut encoded = Vec::new();
        for input in &self.inputs {
            encoded.clear();
            let form = write_input(input, &mut encoded);
            let length = u32::try_from(encoded.len()).expect("an input is shorter than 4 GiB");
            bytes.push(form);
            bytes.extend_from_slice(&length.to_le_bytes());
            bytes.extend_from_slice(&encoded);
        }
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Turn> {
        let mut rest = bytes;
        let now = Instant::from_micros(take_number(&mut rest)?);
        let wall_ms = take_number(&mut rest)?;
        let hash = take_number(&mut rest)?;
        let mut inputs = Vec::new();
        while let Some((form, after)) = rest.split_first() {
            let (length, after) = after.split_first_chunk::<4>()?;
            let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
            let (encoded, after) = after.split_at_checked(length)?;
            inputs.push(match *form {
                FORM_WIRE => wire::decode::<Input, INPUT_BYTES_MAX>(encoded).ok()?,
                FORM_JSON => serde_json::from_slice(encoded).ok()?,
                _ => return None,
            });
            if inputs.len() > limits::TURN_INPUTS_MAX + SOURCES_MAX {
                return None;
            }
            rest = after;
        }
        Some(Turn { now, wall_ms, inputs, hash })
    }
}

/// A host may overshoot a turn by what it takes in one round of its sources, and by a wake.
const SOURCES_MAX: usize = 8;

fn take_number(rest: &mut &[u8]) -> Option<u64> {
    let (number, after) = rest.split_first_chunk::<8>()?;
    *rest = after;
    Some(u64::from_le_bytes(*number))
}

/// Reads the next block of what follows the magic; `None`: the rest is no whole block, as a process that was
/// killed leaves it. `rest` moves on.
pub fn next_block(rest: &mut &[u8]) -> Option<Result<Block, WireError>> {
    let (length, after) = rest.split_first_chunk::<4>()?;
    let (check, after) = after.split_first_chunk::<8>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    let (checked, after) = after.split_at_checked(length)?;
    *rest = after;
    if xxh3_64(checked) != u64::from_le_bytes(*check) {
        return Some(Err(WireError::Malformed("a block fails its check")));
    }
    let (kind, payload) = checked.split_first()?;
    Some(Block::decode(*kind, payload))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{ClusterId, Ticket};
    use crate::kv;
    use crate::node::Request;
    use crate::node::settings::Profile;

    fn blocks() -> Vec<Block> {
        let node = "n1".parse().expect("a node id");
        let address = "127.0.0.1:1".parse().expect("an address");
        let settings = Settings::new(node, ClusterId("c".into()), address, Profile::Lan);
        let request = Request::Evict { node: "n2".parse().expect("a node id") };
        let mut inputs = vec![Input::Start, Input::Wake];
        inputs.push(Input::Request { ticket: Ticket(4), request });
        inputs.push(Input::Request { ticket: Ticket(5), request: put() });
        vec![
            Block::Head(Box::new(Head {
                build: "0.1.0".to_owned(),
                incarnation: Incarnation(7),
                seed: [9; 32],
                now: Instant::from_millis(5),
                settings,
            })),
            Block::Row((Keyspace::Meta, "incarnation".to_owned(), Blob::from("7"))),
            Block::Turn(Turn { now: Instant::from_millis(6), wall_ms: 8, inputs, hash: 99 }),
            Block::Next(1),
            Block::End("stopped".to_owned()),
        ]
    }

    /// A caller's value: bytes inside a request.
    fn put() -> Request {
        let request = kv::Request::Put {
            namespace: "app".parse().expect("a namespace"),
            key: kv::Key::new(b"key").expect("a key"),
            value: Blob::from(&[0, 200, 255][..]),
            lease: kv::Binding::None,
            condition: None,
            previous: false,
        };
        Request::Kv { request: Box::new(request), within: None, once: None }
    }

    #[test]
    fn what_was_written_is_read_again() {
        let written: Vec<u8> = blocks().iter().flat_map(Block::encode).collect();
        let mut rest = written.as_slice();
        let read: Vec<Block> = std::iter::from_fn(|| next_block(&mut rest))
            .map(|block| block.expect("it is whole"))
            .collect();
        assert_eq!(read, blocks());
        assert!(rest.is_empty());
    }

    #[test]
    fn a_torn_tail_ends_a_record_and_a_flipped_bit_is_told() {
        for block in blocks() {
            let written = block.encode();
            for cut in 0..written.len() {
                assert!(next_block(&mut &written[..cut]).is_none());
            }
            for bit in 32..written.len() * 8 {
                let mut flipped = written.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                let read = next_block(&mut flipped.as_slice()).expect("as long as before");
                assert!(read.is_err(), "bit {bit} of {block:?}");
            }
        }
    }
}

//! Frames of a link: a fixed header and a payload of one class.
//!
//! ```text
//! offset  size  field
//!      0     1  version, 1
//!      1     1  class
//!      2     2  flags, little endian: 1 sequenced, 2 reply
//!      4     4  payload length, little endian
//!      8     8  sequence, little endian; 0 when not sequenced
//!     16     n  payload
//! ```

use serde::{Deserialize, Serialize};

use super::{Blob, WireError, encode_into};
use crate::limits;

const VERSION: u8 = 1;
const FLAG_SEQUENCED: u16 = 1;
const FLAG_REPLY: u16 = 2;
/// Most frames are no longer, and need no second allocation.
const USUAL_BYTES: usize = 128;

/// What a frame carries; decides its limit, queue and weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Class {
    /// Pings, notices, requests, the log's messages.
    Control,
    /// Pieces of snapshots.
    Bulk,
    /// Segments, rows, pulls, lists.
    Gossip,
    /// Messages between processes, in order and once.
    Broadcast,
    /// The handshake.
    Session,
}

impl Class {
    /// Its number on the wire.
    pub fn number(self) -> u8 {
        match self {
            Class::Control => 0,
            Class::Bulk => 1,
            Class::Gossip => 2,
            Class::Broadcast => 3,
            Class::Session => 255,
        }
    }

    /// Its name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Class::Control => "control",
            Class::Bulk => "bulk",
            Class::Gossip => "gossip",
            Class::Broadcast => "broadcast",
            Class::Session => "session",
        }
    }

    /// The most payload bytes of one frame.
    pub fn payload_bytes_max(self) -> usize {
        match self {
            Class::Control => limits::FRAME_CONTROL_BYTES_MAX,
            Class::Bulk => limits::FRAME_BULK_BYTES_MAX,
            Class::Gossip => limits::FRAME_GOSSIP_BYTES_MAX,
            Class::Broadcast => limits::FRAME_BROADCAST_BYTES_MAX,
            Class::Session => limits::FRAME_SESSION_BYTES_MAX,
        }
    }

    fn of(number: u8) -> Result<Class, WireError> {
        match number {
            0 => Ok(Class::Control),
            1 => Ok(Class::Bulk),
            2 => Ok(Class::Gossip),
            3 => Ok(Class::Broadcast),
            255 => Ok(Class::Session),
            _ => Err(WireError::Malformed("unknown frame class")),
        }
    }
}

/// One whole frame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frame {
    /// What it carries.
    pub class: Class,
    /// Whether it answers a request.
    pub reply: bool,
    /// Its number in a sequenced class, from 1; 0 otherwise.
    pub sequence: u64,
    /// The encoded message.
    pub payload: Blob,
}

impl Frame {
    /// A frame outside any sequence.
    pub fn new(class: Class, payload: Vec<u8>) -> Frame {
        Frame { class, reply: false, sequence: 0, payload: payload.into() }
    }

    /// Header and payload.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(limits::FRAME_HEADER_BYTES + self.payload.len());
        bytes.extend_from_slice(&head(self.class, self.reply, self.sequence, self.payload.len()));
        bytes.extend_from_slice(&self.payload);
        bytes
    }
}

/// A whole frame outside any sequence, with `message` for its payload.
pub fn framed<T: Serialize>(class: Class, reply: bool, message: &T) -> Blob {
    let mut bytes = Vec::with_capacity(USUAL_BYTES);
    bytes.extend_from_slice(&[0; limits::FRAME_HEADER_BYTES]);
    encode_into(message, &mut bytes);
    let length = bytes.len() - limits::FRAME_HEADER_BYTES;
    if let Some(place) = bytes.first_chunk_mut() {
        *place = head(class, reply, 0, length);
    }
    Blob::from(bytes)
}

fn head(
    class: Class,
    reply: bool,
    sequence: u64,
    length: usize,
) -> [u8; limits::FRAME_HEADER_BYTES] {
    let length = u32::try_from(length).expect("a payload is within its class limit");
    let sequenced = if sequence > 0 { FLAG_SEQUENCED } else { 0 };
    let reply = if reply { FLAG_REPLY } else { 0 };
    let [f0, f1] = (sequenced | reply).to_le_bytes();
    let [l0, l1, l2, l3] = length.to_le_bytes();
    let [s0, s1, s2, s3, s4, s5, s6, s7] = sequence.to_le_bytes();
    [VERSION, class.number(), f0, f1, l0, l1, l2, l3, s0, s1, s2, s3, s4, s5, s6, s7]
}

/// An encoded frame, with its number in a sequenced class.
pub fn numbered(frame: &[u8], sequence: u64) -> Blob {
    let mut bytes = frame.to_vec();
    if let Some(flags) = bytes.get_mut(2) {
        *flags |= 1;
    }
    if let Some(field) = bytes.get_mut(8..limits::FRAME_HEADER_BYTES) {
        field.copy_from_slice(&sequence.to_le_bytes());
    }
    Blob::from(bytes)
}

/// Cuts a byte stream into frames. Holds at most one frame and what arrived behind it.
#[derive(Debug, Default)]
pub struct FrameReader {
    buffer: Vec<u8>,
}

impl FrameReader {
    /// Takes bytes in the order in which they arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Takes bytes that are exactly one frame where none waits, and gives it: nothing is kept meanwhile.
    /// `None` takes nothing; then `push` does.
    pub fn take_whole(&mut self, bytes: &[u8]) -> Option<Frame> {
        let (frame, end) = first_frame(bytes).ok().flatten()?;
        (self.buffer.is_empty() && end == bytes.len()).then_some(frame)
    }

    /// The next whole frame; `None` until more bytes arrive. After an error the stream is lost.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, WireError> {
        let Some((frame, end)) = first_frame(&self.buffer)? else { return Ok(None) };
        self.buffer.drain(..end);
        Ok(Some(frame))
    }

    /// Bytes that wait for the rest of their frame.
    pub fn waiting_bytes(&self) -> usize {
        self.buffer.len()
    }
}

/// The frame that `bytes` begin with, and where it ends.
fn first_frame(bytes: &[u8]) -> Result<Option<(Frame, usize)>, WireError> {
    let Some(header) = bytes.first_chunk::<{ limits::FRAME_HEADER_BYTES }>() else {
        return Ok(None);
    };
    let header = Header::decode(*header)?;
    let end = limits::FRAME_HEADER_BYTES + header.length;
    let Some(payload) = bytes.get(limits::FRAME_HEADER_BYTES..end) else { return Ok(None) };
    let frame = Frame {
        class: header.class,
        reply: header.flags & FLAG_REPLY != 0,
        sequence: header.sequence,
        payload: Blob::from(payload),
    };
    Ok(Some((frame, end)))
}

struct Header {
    class: Class,
    flags: u16,
    length: usize,
    sequence: u64,
}

impl Header {
    fn decode(bytes: [u8; limits::FRAME_HEADER_BYTES]) -> Result<Header, WireError> {
        let [version, class, f0, f1, l0, l1, l2, l3, sequence @ ..] = bytes;
        if version != VERSION {
            return Err(WireError::Version(version));
        }
        let class = Class::of(class)?;
        let flags = u16::from_le_bytes([f0, f1]);
        if flags & !(FLAG_SEQUENCED | FLAG_REPLY) != 0 {
            return Err(WireError::Malformed("unknown frame flags"));
        }
        let sequence = u64::from_le_bytes(sequence);
        if (flags & FLAG_SEQUENCED != 0) != (sequence != 0) {
            return Err(WireError::Malformed("the sequence disagrees with its flag"));
        }
        let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        let limit = class.payload_bytes_max();
        if length > limit {
            return Err(WireError::TooLarge { length, limit });
        }
        Ok(Header { class, flags, length, sequence })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::encode;

    #[test]
    fn a_stream_cut_anywhere_gives_the_same_frames() {
        let frames = [
            Frame::new(Class::Control, vec![1, 2, 3]),
            Frame { class: Class::Gossip, reply: true, sequence: 9, payload: Blob::from("x") },
            Frame::new(Class::Session, vec![]),
        ];
        let stream: Vec<u8> = frames.iter().flat_map(Frame::encode).collect();
        for cut in 0..=stream.len() {
            let (left, right) = stream.split_at(cut);
            let mut reader = FrameReader::default();
            let mut read = Vec::new();
            for part in [left, right] {
                reader.push(part);
                while let Some(frame) = reader.next_frame().expect("well formed") {
                    read.push(frame);
                }
            }
            assert_eq!(read, frames, "cut at {cut}");
            assert_eq!(reader.waiting_bytes(), 0);
        }
    }

    #[test]
    fn bytes_that_are_one_frame_are_taken_whole_unless_others_wait() {
        let frame = Frame { sequence: 7, ..Frame::new(Class::Broadcast, vec![1, 2, 3]) };
        let bytes = frame.encode();
        let mut reader = FrameReader::default();
        assert_eq!(reader.take_whole(&bytes), Some(frame));
        assert_eq!(reader.take_whole(&bytes[..bytes.len() - 1]), None);
        assert_eq!(reader.take_whole(&[&bytes[..], &[1]].concat()), None);
        assert_eq!(reader.take_whole(&[9; 32]), None, "of no version");
        reader.push(&bytes[..4]);
        assert_eq!(reader.take_whole(&bytes), None);
        assert_eq!(reader.waiting_bytes(), 4);
    }

    #[test]
    fn a_message_is_framed_as_a_frame_of_its_bytes_is_encoded() {
        let message = (7_u64, "text".to_owned());
        for (class, reply) in [(Class::Gossip, false), (Class::Control, true)] {
            let frame = Frame { reply, ..Frame::new(class, encode(&message)) };
            assert_eq!(framed(class, reply, &message).as_slice(), frame.encode());
        }
    }

    #[test]
    fn a_bad_header_is_refused_before_its_payload_arrives() {
        let header = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = Frame::new(Class::Session, vec![]).encode();
            change(&mut bytes);
            let mut reader = FrameReader::default();
            reader.push(&bytes);
            reader.next_frame()
        };
        assert_eq!(header(&|bytes| bytes[0] = 2), Err(WireError::Version(2)));
        assert!(header(&|bytes| bytes[1] = 7).is_err());
        assert!(header(&|bytes| bytes[2] = 4).is_err());
        assert!(header(&|bytes| bytes[2] = 1).is_err());
        let oversized = header(&|bytes| bytes[6] = 1);
        assert_eq!(oversized, Err(WireError::TooLarge { length: 65_536, limit: 4096 }));
    }
}

//! The plain text of a datagram: who sends, then sections that fill it exactly.
//!
//! ```text
//! length u8 · node id · incarnation u64 LE · ( kind u8 · length u16 LE · bytes )*
//! ```
//!
//! Sealing is the host's last step before the socket and the first after it; the budget here already
//! leaves room for it.

use super::WireError;
use crate::ids::{Incarnation, NodeId, Replica};
use crate::limits;

/// What a section holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A SWIM packet.
    Swim = 1,
    /// A segment of an owner map.
    Segment = 2,
    /// A digest.
    Digest = 3,
    /// Rows.
    Rows = 4,
    /// A pull.
    Pull = 5,
    /// A notice to a node that was given up for dead.
    Departed = 6,
    /// A notice about a fenced replica.
    Retired = 8,
}

impl Kind {
    fn of(number: u8) -> Option<Kind> {
        [
            Kind::Swim,
            Kind::Segment,
            Kind::Digest,
            Kind::Rows,
            Kind::Pull,
            Kind::Departed,
            Kind::Retired,
        ]
        .into_iter()
        .find(|kind| *kind as u8 == number)
    }
}

/// Builds one datagram within its bound.
#[derive(Debug)]
pub struct Writer {
    bytes: Vec<u8>,
    empty_bytes: usize,
}

impl Writer {
    /// A datagram of `sender`, still without sections.
    pub fn new(sender: &Replica) -> Writer {
        let name = sender.node.as_str();
        let mut bytes = Vec::with_capacity(limits::DATAGRAM_BYTES_MAX - limits::SEAL_BYTES);
        bytes.push(u8::try_from(name.len()).expect("a node id has at most 63 bytes"));
        bytes.extend_from_slice(name.as_bytes());
        bytes.extend_from_slice(&sender.incarnation.0.to_le_bytes());
        let empty_bytes = bytes.len();
        Writer { bytes, empty_bytes }
    }

    /// Bytes that further sections may take, their headers included.
    pub fn budget(&self) -> usize {
        limits::DATAGRAM_BYTES_MAX - limits::SEAL_BYTES - self.bytes.len()
    }

    /// Whether no section was added.
    pub fn is_empty(&self) -> bool {
        self.bytes.len() == self.empty_bytes
    }

    /// Adds a section. One that does not fit is a bug of the caller, who was told the budget.
    pub fn section(&mut self, kind: Kind, bytes: &[u8]) {
        let framed = limits::SECTION_HEADER_BYTES + bytes.len();
        assert!(framed <= self.budget(), "G-1: a section of {framed} in {} bytes", self.budget());
        let length = u16::try_from(bytes.len()).expect("a section is shorter than a datagram");
        self.bytes.push(kind as u8);
        self.bytes.extend_from_slice(&length.to_le_bytes());
        self.bytes.extend_from_slice(bytes);
    }

    /// The plain text.
    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }
}

/// A datagram's sections, in order.
#[derive(Debug, PartialEq, Eq)]
pub struct Datagram<'a> {
    /// Who says that it sent this; true for whoever holds the key.
    pub sender: Replica,
    /// Sections of known kinds, in order.
    pub sections: Vec<(Kind, &'a [u8])>,
    /// Sections of unknown kinds, which a newer peer may send.
    pub unknown: usize,
    /// Whether the last section was cut short; what came before it stands.
    pub truncated: bool,
}

/// Reads the plain text of a datagram.
pub fn parse(bytes: &[u8]) -> Result<Datagram<'_>, WireError> {
    let (sender, mut rest) = parse_sender(bytes).ok_or(WireError::Malformed("no sender"))?;
    let mut datagram = Datagram { sender, sections: Vec::new(), unknown: 0, truncated: false };
    while let Some((kind, after)) = rest.split_first() {
        let section = after.split_first_chunk::<2>().and_then(|(length, after)| {
            after.split_at_checked(usize::from(u16::from_le_bytes(*length)))
        });
        let Some((section, after)) = section else {
            datagram.truncated = true;
            break;
        };
        match Kind::of(*kind) {
            Some(kind) => datagram.sections.push((kind, section)),
            None => datagram.unknown += 1,
        }
        rest = after;
    }
    Ok(datagram)
}

fn parse_sender(bytes: &[u8]) -> Option<(Replica, &[u8])> {
    let (length, rest) = bytes.split_first()?;
    let (name, rest) = rest.split_at_checked(usize::from(*length))?;
    let (incarnation, rest) = rest.split_first_chunk::<8>()?;
    let node: NodeId = std::str::from_utf8(name).ok()?.parse().ok()?;
    let incarnation = Incarnation(u64::from_le_bytes(*incarnation));
    Some((Replica { node, incarnation }, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sender() -> Replica {
        Replica { node: "n1".parse().expect("a node id"), incarnation: Incarnation(7) }
    }

    #[test]
    fn sections_come_back_in_order_and_fill_the_datagram_to_the_byte() {
        let mut writer = Writer::new(&sender());
        writer.section(Kind::Swim, b"ping");
        let rest = vec![9; writer.budget() - limits::SECTION_HEADER_BYTES];
        writer.section(Kind::Segment, &rest);
        assert_eq!(writer.budget(), 0);
        let bytes = writer.finish();
        assert_eq!(bytes.len() + limits::SEAL_BYTES, limits::DATAGRAM_BYTES_MAX);
        let datagram = parse(&bytes).expect("well formed");
        assert_eq!(datagram.sender, sender());
        assert_eq!(datagram.sections, [(Kind::Swim, &b"ping"[..]), (Kind::Segment, &rest[..])]);
    }

    #[test]
    fn an_unknown_kind_is_skipped_and_a_truncated_section_drops_the_rest() {
        let mut writer = Writer::new(&sender());
        writer.section(Kind::Swim, b"a");
        let mut bytes = writer.finish();
        bytes.extend_from_slice(&[77, 1, 0, 5, Kind::Pull as u8, 2, 0, 1]);
        let datagram = parse(&bytes).expect("the sender is readable");
        assert_eq!(datagram.sections, [(Kind::Swim, &b"a"[..])]);
        assert_eq!((datagram.unknown, datagram.truncated), (1, true));
        assert!(parse(&[]).is_err());
        assert!(parse(&[1, b'?', 0, 0, 0, 0, 0, 0, 0, 0]).is_err());
    }
}

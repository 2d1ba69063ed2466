//! SWIM packets as bytes.
//!
//! ```text
//! version u8, 1 · kind u8 · probe number u8 · refutation u16 LE · length u16 LE · parties
//! ( count u16 BE · ( length u8 · member )* )?
//! ```
//!
//! What decides about a packet stands at fixed places, so that a packet on its way out is read without
//! being decoded; the parties and each member are bincode in canonical form, under a limit.
//!
//! Decoding any bytes ends in a value or in an error.

use std::net::SocketAddr;

use bytes::{Buf, BufMut};
use foca::{Header, Message, State};
use serde::{Deserialize, Serialize};

use crate::ids::{Incarnation, NodeId, Replica};
use crate::limits;
use crate::wire::message::{Listed, ListedState};
use crate::wire::{WireError, decode, encode};

/// Who a replica is to SWIM. Two identities of one node conflict: the higher incarnation wins, then the
/// greater address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub(crate) replica: Replica,
    pub(crate) born: Incarnation,
    pub(crate) address: SocketAddr,
}

impl Identity {
    fn rank(&self) -> (Incarnation, Vec<u8>) {
        (self.replica.incarnation, encode(&self.address))
    }
}

impl foca::Identity for Identity {
    type Addr = NodeId;

    fn renew(&self) -> Option<Identity> {
        None // A raise is durable before it is used, so the adapter changes identities itself.
    }

    fn addr(&self) -> NodeId {
        self.replica.node.clone()
    }

    fn win_addr_conflict(&self, adversary: &Identity) -> bool {
        self.rank() > adversary.rank()
    }
}

/// A packet whose parts are known to be well formed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Packet {
    pub(crate) header: Header<Identity>,
    /// Bytes of the header alone: by itself a packet without updates.
    pub(crate) header_bytes: usize,
    pub(crate) updates: Vec<foca::Member<Identity>>,
}

impl Packet {
    /// Reads a whole packet.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Packet, WireError> {
        if bytes.len() > limits::SWIM_PACKET_BYTES_MAX {
            let limit = limits::SWIM_PACKET_BYTES_MAX;
            return Err(WireError::TooLarge { length: bytes.len(), limit });
        }
        let mut rest = bytes;
        let header = decode_header(&mut rest)?;
        let header_bytes = bytes.len() - rest.len();
        let mut updates = Vec::new();
        if !rest.is_empty() {
            if header.message == Message::Announce {
                return Err(WireError::Malformed("an announcement with updates"));
            }
            let count = take::<2>(&mut rest).map(u16::from_be_bytes)?;
            for _ in 0..count {
                updates.push(decode_member(&mut rest)?);
            }
        }
        if !rest.is_empty() {
            return Err(WireError::NotCanonical);
        }
        Ok(Packet { header, header_bytes, updates })
    }

    /// A ping from `source` that tells `target` what is thought of it.
    pub(crate) fn telling(
        source: Identity,
        source_refutation: u16,
        target: &foca::Member<Identity>,
    ) -> Vec<u8> {
        let header = Header {
            src: source,
            src_incarnation: source_refutation,
            dst: target.id().clone(),
            message: Message::Ping(0),
        };
        let mut bytes = Vec::new();
        encode_header(&header, &mut bytes).expect("a vector takes every header");
        bytes.put_u16(1);
        encode_member(target, &mut bytes).expect("a vector takes every member");
        bytes
    }
}

/// A packet in words, for whoever looks on: what it is, and what it says of whom.
#[cfg(feature = "simulation")]
pub fn words_of(bytes: &[u8]) -> String {
    let Ok(packet) = Packet::parse(bytes) else { return "no packet".to_owned() };
    let mut words = match &packet.header.message {
        Message::Ping(_) => "ping".to_owned(),
        Message::Ack(_) => "ack".to_owned(),
        Message::PingReq { target, .. } => format!("ping {} for me", target.replica.node),
        Message::IndirectPing { origin, .. } => format!("ping for {}", origin.replica.node),
        Message::IndirectAck { target, .. } => format!("ack for {}", target.replica.node),
        Message::ForwardedAck { origin, .. } => format!("ack of {}", origin.replica.node),
        Message::Announce => "announce".to_owned(),
        Message::Feed => "feed".to_owned(),
        Message::Gossip | Message::Broadcast | Message::TurnUndead => "news".to_owned(),
    };
    for update in &packet.updates {
        let Identity { replica, .. } = update.id();
        let state = match update.state() {
            State::Alive => "alive",
            State::Suspect => "suspect",
            State::Down => "down",
        };
        words.push_str(&format!(", {} {state}", replica.node));
    }
    words
}

/// What can be read of an encoded packet without decoding it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Label {
    pub(crate) kind: u8,
    pub(crate) number: u8,
    pub(crate) refutation: u16,
}

impl Label {
    /// The label of a packet that this codec made.
    pub(crate) fn of(bytes: &[u8]) -> Option<Label> {
        let [_, kind, number, r0, r1] = *bytes.first_chunk::<5>()?;
        Some(Label { kind, number, refutation: u16::from_le_bytes([r0, r1]) })
    }
}

/// The number of a `Ping` on the wire.
pub(crate) const KIND_PING: u8 = 0;

/// The codec that foca is handed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Codec;

impl foca::Codec<Identity> for Codec {
    type Error = WireError;

    fn encode_header(
        &mut self,
        header: &Header<Identity>,
        buffer: impl BufMut,
    ) -> Result<(), WireError> {
        encode_header(header, buffer)
    }

    fn decode_header(&mut self, buffer: impl Buf) -> Result<Header<Identity>, WireError> {
        decode_header(buffer)
    }

    fn encode_member(
        &mut self,
        member: &foca::Member<Identity>,
        buffer: impl BufMut,
    ) -> Result<(), WireError> {
        encode_member(member, buffer)
    }

    fn decode_member(&mut self, buffer: impl Buf) -> Result<foca::Member<Identity>, WireError> {
        decode_member(buffer)
    }
}

/// The list entry of a member as foca holds it.
pub(crate) fn listed(member: &foca::Member<Identity>) -> Listed {
    let Identity { replica, born, address } = member.id().clone();
    let state = match member.state() {
        State::Alive => ListedState::Alive,
        State::Suspect => ListedState::Suspect,
        State::Down => ListedState::Down,
    };
    Listed { replica, born, address, refutation: member.incarnation(), state }
}

/// The member that a list entry describes.
pub(crate) fn unlisted(listed: Listed) -> foca::Member<Identity> {
    let Listed { replica, born, address, refutation, state } = listed;
    let state = match state {
        ListedState::Alive => State::Alive,
        ListedState::Suspect => State::Suspect,
        ListedState::Down => State::Down,
    };
    foca::Member::new(Identity { replica, born, address }, refutation, state)
}

#[derive(Serialize, Deserialize)]
struct Parties {
    source: Identity,
    target: Identity,
    third: Option<Identity>,
}

fn encode_header(header: &Header<Identity>, mut buffer: impl BufMut) -> Result<(), WireError> {
    let (kind, number, third) = match &header.message {
        Message::Ping(number) => (KIND_PING, *number, None),
        Message::Ack(number) => (1, *number, None),
        Message::PingReq { target, probe_number } => (2, *probe_number, Some(target)),
        Message::IndirectPing { origin, probe_number } => (3, *probe_number, Some(origin)),
        Message::IndirectAck { target, probe_number } => (4, *probe_number, Some(target)),
        Message::ForwardedAck { origin, probe_number } => (5, *probe_number, Some(origin)),
        Message::Announce => (6, 0, None),
        Message::Feed => (7, 0, None),
        Message::Gossip => (8, 0, None),
        Message::Broadcast | Message::TurnUndead => {
            return Err(WireError::Malformed("a message that is never sent"));
        }
    };
    let (source, target) = (header.src.clone(), header.dst.clone());
    let parties = encode(&Parties { source, target, third: third.cloned() });
    let length = u16::try_from(parties.len()).expect("three identities are short");
    if buffer.remaining_mut() < LABEL_BYTES + parties.len() {
        return Err(NO_ROOM);
    }
    buffer.put_slice(&[VERSION, kind, number]);
    buffer.put_u16_le(header.src_incarnation);
    buffer.put_u16_le(length);
    buffer.put_slice(&parties);
    Ok(())
}

fn decode_header(mut buffer: impl Buf) -> Result<Header<Identity>, WireError> {
    let [version, kind, number, r0, r1, l0, l1] = take(&mut buffer)?;
    if version != VERSION {
        return Err(WireError::Version(version));
    }
    let length = usize::from(u16::from_le_bytes([l0, l1]));
    let parties = take_value::<Parties, { limits::SWIM_PACKET_BYTES_MAX }>(&mut buffer, length)?;
    let Parties { source, target, third } = parties;
    let message = message(kind, number, third)?;
    Ok(Header { src: source, src_incarnation: u16::from_le_bytes([r0, r1]), dst: target, message })
}

fn message(kind: u8, number: u8, third: Option<Identity>) -> Result<Message<Identity>, WireError> {
    match (kind, number, third) {
        (KIND_PING, number, None) => Ok(Message::Ping(number)),
        (1, number, None) => Ok(Message::Ack(number)),
        (2, probe_number, Some(target)) => Ok(Message::PingReq { target, probe_number }),
        (3, probe_number, Some(origin)) => Ok(Message::IndirectPing { origin, probe_number }),
        (4, probe_number, Some(target)) => Ok(Message::IndirectAck { target, probe_number }),
        (5, probe_number, Some(origin)) => Ok(Message::ForwardedAck { origin, probe_number }),
        (6, 0, None) => Ok(Message::Announce),
        (7, 0, None) => Ok(Message::Feed),
        (8, 0, None) => Ok(Message::Gossip),
        _ => Err(WireError::Malformed("no SWIM message")),
    }
}

fn encode_member(
    member: &foca::Member<Identity>,
    mut buffer: impl BufMut,
) -> Result<(), WireError> {
    let bytes = encode(&listed(member));
    let length = u8::try_from(bytes.len()).expect("an identity is short");
    if buffer.remaining_mut() < 1 + bytes.len() {
        return Err(NO_ROOM);
    }
    buffer.put_u8(length);
    buffer.put_slice(&bytes);
    Ok(())
}

fn decode_member(mut buffer: impl Buf) -> Result<foca::Member<Identity>, WireError> {
    let [length] = take(&mut buffer)?;
    take_value::<Listed, { u8::MAX as usize }>(&mut buffer, usize::from(length)).map(unlisted)
}

fn take_value<T: serde::de::DeserializeOwned + Serialize, const LIMIT: usize>(
    buffer: &mut impl Buf,
    length: usize,
) -> Result<T, WireError> {
    // The only buffers are slices, whose one chunk is all of them.
    let bytes = buffer.chunk().get(..length).ok_or(CUT_SHORT)?;
    let value = decode::<T, LIMIT>(bytes)?;
    buffer.advance(length);
    Ok(value)
}

fn take<const COUNT: usize>(buffer: &mut impl Buf) -> Result<[u8; COUNT], WireError> {
    let bytes = *buffer.chunk().first_chunk::<COUNT>().ok_or(CUT_SHORT)?;
    buffer.advance(COUNT);
    Ok(bytes)
}

const VERSION: u8 = 1;
const LABEL_BYTES: usize = 7;
const CUT_SHORT: WireError = WireError::Malformed("cut short");
const NO_ROOM: WireError = WireError::Malformed("no room in this packet");

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn identity(node: &str, incarnation: u64) -> Identity {
        let node = node.parse().expect("a node id");
        let incarnation = Incarnation(incarnation);
        let address = "10.0.0.1:7420".parse().expect("an address");
        Identity { replica: Replica { node, incarnation }, born: incarnation, address }
    }

    fn identities() -> impl Strategy<Value = Identity> {
        ("[a-z0-9]{1,63}", any::<u64>(), any::<[u8; 16]>(), any::<u16>(), any::<bool>()).prop_map(
            |(node, incarnation, ip, port, six)| {
                let ip = if six { ip.into() } else { [ip[0], ip[1], ip[2], ip[3]].into() };
                let node = if node == "watch" { "watcher".into() } else { node };
                let address = SocketAddr::new(ip, port);
                Identity { address, ..identity(&node, incarnation) }
            },
        )
    }

    fn messages() -> impl Strategy<Value = Message<Identity>> {
        (0..9_u8, any::<u8>(), identities()).prop_map(|(kind, number, third)| {
            let number = if kind < 6 { number } else { 0 };
            let third = matches!(kind, 2..=5).then_some(third);
            message(kind, number, third).expect("every kind below nine is a message")
        })
    }

    proptest! {
        #[test]
        fn a_packet_comes_back_as_it_was(
            source in identities(),
            target in identities(),
            message in messages(),
            refutation: u16,
            updates in proptest::collection::vec((identities(), any::<u16>()), 0..3),
        ) {
            let header = Header { src: source, src_incarnation: refutation, dst: target, message };
            let mut bytes = Vec::new();
            encode_header(&header, &mut bytes).expect("a vector takes it");
            prop_assert_eq!(Label::of(&bytes).expect("a label").refutation, refutation);
            let header_bytes = bytes.len();
            let updates = if header.message == Message::Announce { vec![] } else { updates };
            let updates: Vec<_> = updates
                .into_iter()
                .map(|(id, refutation)| foca::Member::new(id, refutation, State::Suspect))
                .collect();
            if !updates.is_empty() {
                bytes.put_u16(u16::try_from(updates.len()).expect("few"));
                updates.iter().for_each(|update| encode_member(update, &mut bytes).expect("room"));
            }
            if bytes.len() > limits::SWIM_PACKET_BYTES_MAX {
                prop_assert!(Packet::parse(&bytes).is_err());
            } else {
                prop_assert_eq!(Packet::parse(&bytes), Ok(Packet { header, header_bytes, updates }));
            }
        }

        #[test]
        fn any_bytes_end_in_a_value_or_an_error(bytes: Vec<u8>) {
            let _ = Packet::parse(&bytes);
        }

        #[test]
        fn a_changed_byte_ends_in_a_value_or_an_error(place in 0..120_usize, value: u8) {
            let told = foca::Member::new(identity("b", 2), 1, State::Suspect);
            let mut bytes = Packet::telling(identity("a", 1), 3, &told);
            if let Some(byte) = bytes.get_mut(place) {
                *byte = value;
            }
            if let Ok(packet) = Packet::parse(&bytes) {
                let mut again = Vec::new();
                encode_header(&packet.header, &mut again).expect("a vector takes it");
                prop_assert_eq!(&again[..], &bytes[..packet.header_bytes]);
            }
        }
    }

    #[test]
    fn a_telling_ping_carries_one_update_about_its_target() {
        let told = foca::Member::new(identity("b", 2), 1, State::Suspect);
        let bytes = Packet::telling(identity("a", 1), 3, &told);
        let packet = Packet::parse(&bytes).expect("well formed");
        assert_eq!(packet.updates, [told]);
        assert_eq!(packet.header.message, Message::Ping(0));
        let label = Label { kind: KIND_PING, number: 0, refutation: 3 };
        assert_eq!(Label::of(&bytes), Some(label));
    }

    #[test]
    fn a_truncated_packet_and_trailing_bytes_are_refused() {
        let told = foca::Member::new(identity("b", 2), 1, State::Suspect);
        let bytes = Packet::telling(identity("a", 1), 3, &told);
        let header_bytes = Packet::parse(&bytes).expect("well formed").header_bytes;
        for cut in (0..bytes.len()).filter(|cut| *cut != header_bytes) {
            assert!(Packet::parse(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        let longer = [&bytes[..], &[0]].concat();
        assert_eq!(Packet::parse(&longer), Err(WireError::NotCanonical));
    }

    #[test]
    fn the_higher_incarnation_wins_and_then_the_greater_address() {
        use foca::Identity as _;
        let moved = |node: &str, incarnation, address: &str| Identity {
            address: address.parse().expect("an address"),
            ..identity(node, incarnation)
        };
        let old = moved("a", 1, "10.0.0.9:1");
        let new = moved("a", 2, "10.0.0.1:1");
        assert!(new.win_addr_conflict(&old) && !old.win_addr_conflict(&new));
        let other = moved("a", 1, "10.0.0.10:1");
        assert!(other.win_addr_conflict(&old) && !old.win_addr_conflict(&other));
        assert_eq!(old.renew(), None);
    }
}

//! Target `frame`: a stream of frames, and the message in each.

use quorate_core::limits;
use quorate_core::wire::frame::{Class, Frame, FrameReader};
use quorate_core::wire::message::{Control, Gossip};
use quorate_core::wire::session::Session;
use quorate_core::wire::{WireError, decode, encode};

use crate::material::Material;

/// Any bytes are frames, the beginning of one, or a refusal that ends the stream; any payload is a
/// message or a refusal.
pub fn bytes(input: &[u8]) {
    let mut reader = FrameReader::default();
    reader.push(input);
    let mut used = 0;
    while let Ok(Some(frame)) = reader.next_frame() {
        assert!(frame.payload.len() <= frame.class.payload_bytes_max(), "a frame over its limit");
        let encoded = frame.encode();
        assert_eq!(input.get(used..used + encoded.len()), Some(encoded.as_slice()));
        used += encoded.len();
        let _ = read(&frame);
    }
    assert_eq!(reader.waiting_bytes(), input.len() - used, "bytes vanished");
    if reader.next_frame() == Ok(None) {
        let rest = input.get(used..).unwrap_or_default();
        assert!(promised_bytes(rest) <= limit_of(rest), "it waits for a frame over its limit");
    }
}

/// The payload that a header at the beginning of `rest` announces.
fn promised_bytes(rest: &[u8]) -> usize {
    let header = rest.first_chunk::<{ limits::FRAME_HEADER_BYTES }>();
    header.map_or(0, |[_, _, _, _, l0, l1, l2, l3, ..]| {
        u32::from_le_bytes([*l0, *l1, *l2, *l3]) as usize
    })
}

/// The limit of the class that stands at its place in `rest`.
fn limit_of(rest: &[u8]) -> usize {
    let classes = [Class::Control, Class::Bulk, Class::Gossip, Class::Broadcast, Class::Session];
    let class = classes.into_iter().find(|class| rest.get(1) == Some(&class.number()));
    class.map_or(0, Class::payload_bytes_max)
}

/// Messages become frames, a stream of them is cut anywhere, and the same messages come out.
pub fn typed(input: &[u8]) {
    let mut material = Material::new(input);
    let cut = usize::from(material.byte());
    let mut frames = Vec::new();
    while !material.is_empty() && frames.len() < 16 {
        frames.push(frame(&mut material));
    }
    let stream: Vec<u8> = frames.iter().flat_map(Frame::encode).collect();
    let mut reader = FrameReader::default();
    let mut read_back = Vec::new();
    for part in stream.chunks(cut + 1) {
        reader.push(part);
        while let Some(frame) = reader.next_frame().expect("what was encoded is well formed") {
            read(&frame).expect("what was encoded decodes");
            read_back.push(frame);
        }
    }
    assert_eq!(read_back, frames);
    assert_eq!(reader.waiting_bytes(), 0, "bytes are left over");
}

fn frame(material: &mut Material<'_>) -> Frame {
    let (class, payload) = match material.below(3) {
        0 => (Class::Session, encode(&material.session())),
        1 => (Class::Control, encode(&material.control())),
        _ => (Class::Gossip, encode(&material.gossip())),
    };
    let sequence = material.number();
    Frame { class, reply: sequence % 2 == 1, sequence, payload: payload.into() }
}

/// Decodes a payload by its class and checks that all of its bytes are the value.
fn read(frame: &Frame) -> Result<(), WireError> {
    let payload = frame.payload.as_slice();
    let again = match frame.class {
        Class::Session => encode(&decode::<Session, { limits::FRAME_SESSION_BYTES_MAX }>(payload)?),
        Class::Control => encode(&decode::<Control, { limits::FRAME_CONTROL_BYTES_MAX }>(payload)?),
        // What these carry is opaque here.
        Class::Bulk | Class::Broadcast => payload.to_vec(),
        Class::Gossip => encode(&decode::<Gossip, { limits::FRAME_GOSSIP_BYTES_MAX }>(payload)?),
    };
    assert_eq!(again, payload, "a value has one encoding");
    Ok(())
}

#[cfg(test)]
mod tests {
    use quorate_core::limits;
    use quorate_core::wire::encode;
    use quorate_core::wire::frame::{Class, Frame};
    use quorate_core::wire::message::{Gossip, Segments};
    use quorate_core::wire::segment::{Entry, Key, Segment};

    use crate::material::Material;
    use crate::{heap, replay};

    fn bytes_within_memory(input: &[u8]) {
        let bound = heap::bound(limits::FRAME_GOSSIP_BYTES_MAX, input.len());
        heap::within(bound, || super::bytes(input));
    }

    #[test]
    fn seeds() {
        replay::every_file("frame", bytes_within_memory);
        replay::every_file("frame", super::typed);
        replay::every_damage("frame", super::bytes);
    }

    #[test]
    fn search() {
        crate::search::few("frame");
    }

    #[test]
    fn bytes() {
        bolero::check!().with_iterations(2000).for_each(bytes_within_memory);
    }

    #[test]
    fn typed() {
        bolero::check!().with_iterations(2000).for_each(super::typed);
    }

    /// The most memory that the fewest bytes can ask for: a full frame of entries of three bytes each.
    #[test]
    fn a_full_frame_of_the_smallest_entries_stays_within_memory() {
        let entry = Entry { sequence: 1, key: Key::from(""), value: None };
        let entries = vec![entry; limits::SEGMENT_ENTRIES_MAX].into();
        let segment = Segment { entries, ..Material::new(&[]).segment() };
        let count = limits::FRAME_GOSSIP_BYTES_MAX / segment.encoded_bytes();
        let segments = Segments { segments: vec![segment; count].into(), answers: None };
        let frame = Frame::new(Class::Gossip, encode(&Gossip::Segments(segments))).encode();
        let bound = heap::bound(limits::FRAME_GOSSIP_BYTES_MAX, frame.len());
        let ((), peak) = heap::peak(|| super::bytes(&frame));
        assert!(peak <= bound, "{peak} bytes were live for {} that arrived", frame.len());
        assert!(peak > 4 * frame.len(), "it was decoded whole");
    }

    /// A refusal whose setting's name is said to have a million bytes.
    #[test]
    fn a_length_that_lies_asks_for_no_more_than_its_class() {
        let mut payload = vec![2, 4, 252];
        payload.extend_from_slice(&1_000_000_u32.to_le_bytes());
        let frame = Frame::new(Class::Session, payload).encode();
        let bound = heap::bound(limits::FRAME_SESSION_BYTES_MAX, frame.len());
        heap::within(bound, || super::bytes(&frame));
    }
}

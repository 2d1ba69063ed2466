//! Target `entry`: segments of owner maps, as they arrive in frames.

use quorate_core::limits;
use quorate_core::wire::segment::{Entry, Segment};
use quorate_core::wire::{WireError, decode, encode};

use crate::material::Material;

const LIMIT: usize = limits::FRAME_GOSSIP_BYTES_MAX;

/// Any bytes are a segment or a refusal, and an entry or a refusal.
pub fn bytes(input: &[u8]) {
    if let Ok(segment) = decode::<Segment, LIMIT>(input) {
        assert_eq!(encode(&segment), input, "a value has one encoding");
        assert_eq!(segment.encoded_bytes(), input.len(), "the computed length is the real one");
        assert!(segment.entries.len() <= limits::SEGMENT_ENTRIES_MAX);
    }
    if let Ok(entry) = decode::<Entry, LIMIT>(input) {
        assert_eq!(encode(&entry), input, "a value has one encoding");
        assert_eq!(entry.encoded_bytes(), input.len(), "the computed length is the real one");
    }
}

/// A segment comes back as it was; one byte less or more is refused.
pub fn typed(input: &[u8]) {
    let segment = Material::new(input).segment();
    let mut encoded = encode(&segment);
    assert_eq!(segment.encoded_bytes(), encoded.len(), "the computed length is the real one");
    assert_eq!(decode::<Segment, LIMIT>(&encoded).as_ref(), Ok(&segment));
    encoded.push(0);
    assert_eq!(decode::<Segment, LIMIT>(&encoded), Err(WireError::NotCanonical));
    encoded.truncate(encoded.len() - 2);
    assert!(decode::<Segment, LIMIT>(&encoded).is_err(), "a byte is missing");
}

#[cfg(test)]
mod tests {
    use super::LIMIT;
    use crate::{heap, replay};

    fn bytes_within_memory(input: &[u8]) {
        heap::within(heap::bound(LIMIT, input.len()), || super::bytes(input));
    }

    #[test]
    fn seeds() {
        replay::every_file("entry", bytes_within_memory);
        replay::every_file("entry", super::typed);
        replay::every_damage("entry", super::bytes);
    }

    #[test]
    fn search() {
        crate::search::few("entry");
    }

    #[test]
    fn bytes() {
        bolero::check!().with_iterations(2000).for_each(bytes_within_memory);
    }

    #[test]
    fn typed() {
        bolero::check!().with_iterations(2000).for_each(super::typed);
    }
}

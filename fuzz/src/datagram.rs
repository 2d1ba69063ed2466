//! Target `datagram`: the plain text of a datagram, and every section in it.

use quorate_core::limits;
use quorate_core::wire::datagram::{Kind, Writer, parse};
use quorate_core::wire::message::{Departed, Digest, Pull, Retired, Rows};
use quorate_core::wire::segment::Segment;
use quorate_core::wire::{WireError, decode, encode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::material::Material;

const LIMIT: usize = limits::DATAGRAM_BYTES_MAX;

/// Any bytes are a datagram or a refusal, and so is each of its sections.
pub fn bytes(input: &[u8]) {
    let Ok(datagram) = parse(input) else { return };
    let counted: usize = datagram.sections.iter().map(|(_, section)| section.len() + 3).sum();
    assert!(counted <= input.len(), "sections overlap");
    for (kind, section) in datagram.sections {
        let _ = read(kind, section);
    }
}

/// What a writer wrote is read back, to the byte.
pub fn typed(input: &[u8]) {
    let mut material = Material::new(input);
    let sender = material.replica();
    let mut writer = Writer::new(&sender);
    let mut written = Vec::new();
    while !material.is_empty() {
        let (kind, section) = section(&mut material);
        if section.len() + limits::SECTION_HEADER_BYTES > writer.budget() {
            break;
        }
        writer.section(kind, &section);
        written.push((kind, section));
    }
    let plain = writer.finish();
    assert!(plain.len() + limits::SEAL_BYTES <= limits::DATAGRAM_BYTES_MAX);
    let datagram = parse(&plain).expect("what a writer wrote");
    assert_eq!(datagram.sender, sender);
    assert_eq!((datagram.unknown, datagram.truncated), (0, false));
    assert_eq!(datagram.sections.len(), written.len());
    for ((kind, section), (expected_kind, expected)) in datagram.sections.iter().zip(&written) {
        assert_eq!((kind, *section), (expected_kind, expected.as_slice()));
        read(*kind, section).expect("what was encoded decodes");
    }
}

/// Decodes a section by its kind and checks that all of its bytes are the value.
fn read(kind: Kind, section: &[u8]) -> Result<(), WireError> {
    match kind {
        Kind::Swim => Ok(()),
        Kind::Segment => whole::<Segment>(section),
        Kind::Digest => whole::<Digest>(section),
        Kind::Rows => whole::<Rows>(section),
        Kind::Pull => whole::<Pull>(section),
        Kind::Departed => whole::<Departed>(section),
        Kind::Retired => whole::<Retired>(section),
    }
}

fn whole<T: DeserializeOwned + Serialize>(section: &[u8]) -> Result<(), WireError> {
    let value = decode::<T, LIMIT>(section)?;
    assert_eq!(encode(&value), section, "a value has one encoding");
    Ok(())
}

fn section(material: &mut Material<'_>) -> (Kind, Vec<u8>) {
    match material.below(7) {
        0 => (Kind::Swim, vec![material.byte(); material.below(200)]),
        1 => (Kind::Segment, encode(&material.segment())),
        2 => (Kind::Digest, encode(&material.digest())),
        3 => (Kind::Rows, encode(&material.rows())),
        4 => (Kind::Pull, encode(&material.pull())),
        5 => (Kind::Departed, encode(&material.departed())),
        _ => (Kind::Retired, encode(&material.retired())),
    }
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
        replay::every_file("datagram", bytes_within_memory);
        replay::every_file("datagram", super::typed);
        replay::every_damage("datagram", super::bytes);
    }

    #[test]
    fn search() {
        crate::search::few("datagram");
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

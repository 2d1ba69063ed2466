//! What the build after this one would say besides: every datagram of its nodes ends with a section of a kind that
//! nobody here knows, where there is room. Whoever reads it skips that and takes the rest.
//!
//! Absent on purpose: another meaning of anything known. There is one wire format; what is different in a version is
//! which numbers a handshake offers.

use quorate_core::limits;
use quorate_core::node::Settings;
use quorate_core::wire::{Blob, PROTOCOL};

/// A kind without a name, a length and a body.
const SECTION: [u8; 7] = [0xee, 4, 0, b'n', b'e', b'x', b't'];

/// What a node configured like that really sends.
pub(super) fn said(settings: &Settings, bytes: Blob) -> Blob {
    let room = bytes.len() + SECTION.len() + limits::SEAL_BYTES <= limits::DATAGRAM_BYTES_MAX;
    if settings.link.protocol.1 <= PROTOCOL.1 || !room {
        return bytes;
    }
    Blob::from([&bytes[..], &SECTION[..]].concat())
}

/// The part of a datagram that this build's node made.
pub(crate) fn known(bytes: &Blob) -> Blob {
    bytes.strip_suffix(&SECTION[..]).map_or_else(|| bytes.clone(), Blob::from)
}

#[cfg(test)]
mod tests {
    use quorate_core::wire::datagram::{Writer, parse};

    use super::*;
    use crate::settings;

    #[test]
    fn the_next_build_says_more_and_what_is_known_of_it_is_what_was_said() {
        let mut node = settings::of_node(&crate::plan::Plan::default(), 0);
        let sender = quorate_core::ids::Replica {
            node: settings::node_id(0),
            incarnation: quorate_core::ids::Incarnation(1),
        };
        let plain = Blob::from(Writer::new(&sender).finish());
        assert_eq!(said(&node, plain.clone()), plain);
        settings::set_wire(&mut node, settings::wire("+1").expect("a version"));
        let more = said(&node, plain.clone());
        assert_eq!((known(&more), known(&plain)), (plain.clone(), plain));
        let read = parse(&more).expect("it has a sender");
        assert_eq!((read.sections.len(), read.unknown, read.truncated), (0, 1, false));
        let full = Blob::from(vec![0; limits::DATAGRAM_BYTES_MAX - limits::SEAL_BYTES - 6]);
        assert_eq!(said(&node, full.clone()), full, "there is no room");
    }
}

//! W-11: markers are found in nothing that leaves a node, is stored or is traced, however they are spelt.
//!
//! [`SECRET`] is every credential that callers bring: keys of workers, passwords in URLs, labels that look
//! like secrets. It may be found nowhere. [`HOST_LOCAL`] stands in URLs of sockets of this host, which are
//! stored and shown here and may leave in no datagram and no frame.
//!
//! A spelling of fifteen bytes or more covers a block of eight at a multiple of eight: only these blocks are
//! looked up, and the few that may belong to a marker are compared.
//!
//! Absent on purpose: guesses. What a marker cannot show, no search of bytes does.

use std::sync::LazyLock;

use quorate_core::node::{Announcement, Effect, Input};

use super::{Id, Ledger, Turn};
use crate::verdict::{Failure, Kind};

/// A secret that must be found in nothing.
pub const SECRET: &str = "Qm7rKx2VbT9wZp4Lh6Jd8NcYq3Ua";
/// A path that must leave its host in nothing.
pub const HOST_LOCAL: &str = "Gk5tWy8XeR3nBv7Mf2Hs9PdAz6Lo";

static ANYWHERE: LazyLock<Finder> = LazyLock::new(|| Finder::of(&[SECRET]));
static ON_THE_WAY: LazyLock<Finder> = LazyLock::new(|| Finder::of(&[SECRET, HOST_LOCAL]));

/// Looks for markers.
#[derive(Debug)]
struct Finder {
    spellings: Vec<Vec<u8>>,
    /// Bits of the hashes of every block that a spelling may cover.
    blocks: Vec<u64>,
}

impl Finder {
    fn of(markers: &[&str]) -> Finder {
        let spellings: Vec<_> = markers.iter().flat_map(|marker| spellings(marker)).collect();
        let mut blocks = vec![0; BLOCK_BITS / 64];
        for block in spellings.iter().flat_map(|spelling| spelling.windows(8)) {
            for (word, bit) in places(block) {
                if let Some(word) = blocks.get_mut(word) {
                    *word |= bit;
                }
            }
        }
        Finder { spellings, blocks }
    }

    fn is_in(&self, bytes: &[u8]) -> bool {
        bytes.chunks_exact(8).enumerate().any(|(index, block)| {
            let is_set = |(word, bit): (usize, u64)| {
                self.blocks.get(word).is_some_and(|word| word & bit != 0)
            };
            places(block).into_iter().all(is_set) && self.is_at(bytes, index * 8)
        })
    }

    /// Whether a spelling covers the block at `at`.
    fn is_at(&self, bytes: &[u8], at: usize) -> bool {
        self.spellings.iter().any(|spelling| {
            let end = bytes.len().min(at + 8 + spelling.len());
            let near = bytes.get(at.saturating_sub(spelling.len())..end).unwrap_or_default();
            near.windows(spelling.len()).any(|window| window == spelling)
        })
    }
}

/// Bits that blocks are hashed to.
const BLOCK_BITS: usize = 1 << 16;

/// Two bits: one alone would be set by one block in two hundred that belongs to no marker.
fn places(block: &[u8]) -> [(usize, u64); 2] {
    let block = block.first_chunk::<8>().copied().map_or(0, u64::from_le_bytes);
    let hash = block.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    [hash >> 48, hash >> 32 & 0xFFFF].map(|hash| {
        let word = usize::try_from(hash / 64).expect("ten bits are a position");
        (word, 1 << (hash % 64))
    })
}

/// Raw, hexadecimal, base64 from each of three places, and every byte escaped as in a URL. A marker of
/// letters and digits is its own escape where only odd bytes are escaped.
fn spellings(marker: &str) -> Vec<Vec<u8>> {
    let bytes = marker.as_bytes();
    let join = |form: &dyn Fn(&u8) -> String| bytes.iter().map(form).collect::<String>();
    let mut all = vec![
        marker.to_owned(),
        join(&|byte| format!("{byte:02x}")),
        join(&|byte| format!("{byte:02X}")),
        join(&|byte| format!("%{byte:02X}")),
        join(&|byte| format!("%{byte:02x}")),
    ];
    all.extend((0..3).map(|lead| base64(bytes, lead)));
    all.into_iter().map(String::into_bytes).collect()
}

/// The letters that base64 has for `bytes` after `lead` other bytes, without those it shares with its
/// neighbours.
fn base64(bytes: &[u8], lead: usize) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let whole = bytes.get((3 - lead) % 3..).unwrap_or_default();
    let letters = whole.chunks_exact(3).flat_map(|three| {
        let word = three.iter().fold(0_usize, |word, byte| word << 8 | usize::from(*byte));
        [word >> 18, word >> 12, word >> 6, word].map(|six| LETTERS.get(six & 63).copied())
    });
    letters.flatten().map(char::from).collect()
}

/// One turn: what came in is traced, what goes out leaves or is stored. Datagrams, frames and answers of
/// the world come from other nodes or from the simulator itself.
pub(super) fn turn(turn: &Turn<'_>, ledger: &mut Ledger) -> Result<(), Failure> {
    let mut place = None;
    for input in turn.inputs {
        let Input::Request { .. } = input else { continue };
        if ANYWHERE.is_in(&json(input)) {
            place = Some("what is traced");
        }
    }
    let mut last = None;
    for effect in turn.effects {
        // What is pushed to all links is one frame.
        let bytes =
            if let Effect::Send { bytes, .. } = effect { Some(bytes.as_ptr()) } else { None };
        if bytes.is_none() || bytes != last {
            place = found(effect).or(place);
        }
        last = bytes.or(last);
    }
    hold(turn.machine, place, ledger)
}

/// A caller on `machine` was told this.
pub(super) fn told(machine: usize, words: &[u8], ledger: &mut Ledger) -> Result<(), Failure> {
    hold(machine, ANYWHERE.is_in(words).then_some("a refusal"), ledger)
}

fn hold(machine: usize, place: Option<&str>, ledger: &mut Ledger) -> Result<(), Failure> {
    let held = ledger.hold(Id::W11, machine, place.is_none(), || {
        format!("a marker is in {}", place.unwrap_or_default())
    });
    held.map_err(|failure| Failure { kind: Kind::Secret, ..failure })
}

fn found(effect: &Effect) -> Option<&'static str> {
    match effect {
        Effect::Datagram { bytes, .. } => ON_THE_WAY.is_in(bytes).then_some("a datagram"),
        Effect::Send { bytes, .. } => ON_THE_WAY.is_in(bytes).then_some("a frame"),
        Effect::Store { batch, .. } => {
            let mut rows = batch.iter();
            let in_row = |value: &[u8]| ANYWHERE.is_in(value);
            rows.any(|(_, key, value)| {
                in_row(key.as_bytes()) || value.as_ref().is_some_and(|value| in_row(value))
            })
            .then_some("what is stored")
        }
        Effect::Reply { .. } => ANYWHERE.is_in(&json(effect)).then_some("an answer"),
        Effect::Call { .. } => ANYWHERE.is_in(&json(effect)).then_some("a call"),
        Effect::Announce(told) => {
            (brings_text(told) && ANYWHERE.is_in(&json(effect))).then_some("an announcement")
        }
        Effect::Connect { .. } | Effect::Disconnect { .. } => None,
    }
}

/// Whether an announcement holds more than numbers and names of nodes.
fn brings_text(told: &Announcement) -> bool {
    !matches!(
        told,
        Announcement::Member(_)
            | Announcement::MemberChanged { .. }
            | Announcement::Raised { .. }
            | Announcement::Link { .. }
            | Announcement::RoundTrip { .. }
            | Announcement::Asymmetric { .. }
            | Announcement::Converged { .. }
            | Announcement::Led { .. }
    )
}

fn json(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("inputs and effects have no maps with odd keys")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_is_found_at_every_place_and_nothing_else_is() {
        let finder = Finder::of(&[SECRET]);
        for spelling in spellings(SECRET) {
            for before in 0..17 {
                let mut bytes = vec![b'x'; before];
                bytes.extend_from_slice(&spelling);
                assert!(finder.is_in(&bytes), "{before} bytes before {spelling:?}");
                bytes.pop();
                assert!(!finder.is_in(&bytes), "{before} bytes before a part of {spelling:?}");
            }
        }
    }

    #[test]
    fn base64_is_what_it_is_elsewhere() {
        assert_eq!(base64(b"Man", 0), "TWFu");
        assert_eq!(base64(b"aMan", 2), "TWFu");
        assert_eq!(base64(b"aaMan", 1), "TWFu");
    }
}

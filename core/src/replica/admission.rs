//! Row 1 of the segment table: what no honest node would send.
//!
//! Absent on purpose: membership. Whose segments are wanted is row 2, in `merge.rs`.

use super::Registration;
use crate::limits;
use crate::wire::segment::{Entry, Segment};

/// Whether `segment` may be merged into a copy of which `seen` is known. The error names the rule that
/// it breaks.
pub(super) fn admit(
    registration: &Registration,
    segment: &Segment,
    seen: u64,
) -> Result<(), &'static str> {
    let Segment { from, upto, floor, through, head, .. } = *segment;
    if from > upto || upto > through || through > head || floor > head {
        return Err("a segment's bounds contradict each other");
    }
    if head >= limits::SEQUENCE_MAX || (seen > 0 && head.saturating_sub(seen) > LEAP) {
        return Err("a segment's head is absurd");
    }
    if segment.entries.len() > limits::SEGMENT_ENTRIES_MAX {
        return Err("a segment has too many entries");
    }
    if !is_ascending(segment) {
        return Err("a segment's entries do not ascend inside its interval");
    }
    if names_a_key_twice(segment) {
        return Err("a segment names a key twice");
    }
    segment.entries.iter().try_for_each(|entry| admit_entry(registration, segment, entry))
}

fn admit_entry(
    registration: &Registration,
    segment: &Segment,
    entry: &Entry,
) -> Result<(), &'static str> {
    let value_bytes = entry.value.as_ref().map_or(0, |value| value.len());
    if entry.key.len() > limits::ENTRY_KEY_BYTES_MAX || value_bytes > limits::ENTRY_VALUE_BYTES_MAX
    {
        return Err("an entry is too large");
    }
    match (entry.key.is_empty(), &entry.value) {
        (true, Some(value)) if value.is_empty() => Ok(()),
        (true, _) => Err("the marker `ready` carries something"),
        (false, value) => (registration.check)(&segment.replica, &entry.key, value.as_ref()),
    }
}

fn is_ascending(segment: &Segment) -> bool {
    let mut last = segment.from;
    segment.entries.iter().all(|entry| {
        let follows = entry.sequence > last;
        last = entry.sequence;
        follows && last <= segment.upto
    })
}

fn names_a_key_twice(segment: &Segment) -> bool {
    let mut keys: Vec<&str> = segment.entries.iter().map(|entry| &*entry.key).collect();
    keys.sort_unstable();
    keys.windows(2).any(|pair| matches!(pair, [one, other] if one == other))
}

const LEAP: u64 = limits::SEQUENCE_LEAP_MAX;

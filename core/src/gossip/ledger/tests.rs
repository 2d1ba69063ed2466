//! What must stay true of progress and its digests.

use proptest::prelude::*;

use super::*;
use crate::gossip::tests::replica;

fn progress(complete: u64) -> Progress {
    Progress { complete, head: complete, floor: 0 }
}

fn filled(state: &BTreeMap<(u8, u8), u64>) -> Ledger {
    let mut ledger = Ledger::new();
    for ((topic, node), complete) in state {
        ledger.set(Topic(*topic), &replica(&format!("n{node}")), Some(progress(*complete)));
    }
    ledger
}

/// Maps of which something is held, by topic and node.
fn states() -> impl Strategy<Value = BTreeMap<(u8, u8), u64>> {
    proptest::collection::btree_map((1_u8..4, 0_u8..40), 1_u64..4, 0..60)
}

proptest! {
    /// G-15, and its other half: equal states have equal hashes.
    #[test]
    fn digests_are_equal_exactly_if_states_are(left in states(), right in states()) {
        let hashes = (filled(&left).hashes(), filled(&right).hashes());
        prop_assert_eq!(left == right, hashes.0 == hashes.1);
        for bucket in 0..DIGEST_BUCKETS {
            let inside = |state: &BTreeMap<(u8, u8), u64>| -> Vec<((u8, u8), u64)> {
                let rows = state.iter().map(|(map, complete)| (*map, *complete));
                rows.filter(|((_, node), _)| bucket_of(&replica(&format!("n{node}")).node) == bucket)
                    .collect()
            };
            prop_assert_eq!(inside(&left) == inside(&right), hashes.0[bucket] == hashes.1[bucket]);
        }
    }

    /// The incremental hash is the one computed from nothing.
    #[test]
    fn any_path_to_a_state_has_its_hashes(first in states(), then in states()) {
        let mut ledger = filled(&first);
        ledger.hashes();
        for (topic, node) in first.keys().filter(|map| !then.contains_key(map)) {
            let gone = if *topic == 1 { Some(progress(0)) } else { None };
            ledger.set(Topic(*topic), &replica(&format!("n{node}")), gone);
        }
        ledger.hashes();
        for ((topic, node), complete) in &then {
            ledger.set(Topic(*topic), &replica(&format!("n{node}")), Some(progress(*complete)));
        }
        prop_assert_eq!(ledger.hashes(), filled(&then).hashes());
    }

    /// Decoding is total, and exact for what was packed.
    #[test]
    fn hashes_travel(bytes in proptest::collection::vec(any::<u8>(), 0..1100)) {
        let blob = Blob::from(bytes.clone());
        prop_assert_eq!(unpack(&blob).is_some(), bytes.len() == 512);
        let words = unpack(&pack(&[7; DIGEST_BUCKETS]));
        prop_assert_eq!(words, Some(vec![7; DIGEST_BUCKETS]));
    }
}

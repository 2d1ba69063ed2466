//! Where each key stands, found by the beginning of the key.
//!
//! A search among many keys mostly compares keys that it does not look for, each behind a pointer. So the
//! first bytes of every key stand in place, and a key itself is read once it is as good as found. Keys with
//! one beginning share a place and are told apart there.
//!
//! Absent on purpose: what stands at a place.

use std::collections::BTreeMap;

use crate::wire::segment::Key;

/// The first bytes of a key, padded with zeros, as numbers in the same order.
type Head = [u64; 2];

/// Places by key, in order of keys.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Places {
    heads: BTreeMap<Head, Bucket>,
    count: usize,
}

/// The keys of one beginning, in the one form that their number has.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Bucket {
    One(Key, u64),
    Many(BTreeMap<Key, u64>),
}

impl Places {
    /// How many keys there are.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Where `key` stands.
    pub(super) fn get(&self, key: &str) -> Option<u64> {
        match self.heads.get(&head_of(key))? {
            Bucket::One(other, place) => (**other == *key).then_some(*place),
            Bucket::Many(places) => places.get(key).copied(),
        }
    }

    /// `key` stands at `place`; tells where it stood before.
    pub(super) fn insert(&mut self, key: Key, place: u64) -> Option<u64> {
        let head = head_of(&key);
        let Some(bucket) = self.heads.get_mut(&head) else {
            self.count += 1;
            self.heads.insert(head, Bucket::One(key, place));
            return None;
        };
        let former = bucket.insert(key, place);
        self.count += usize::from(former.is_none());
        former
    }

    /// `key` stands nowhere.
    pub(super) fn remove(&mut self, key: &str) {
        let head = head_of(key);
        let Some(bucket) = self.heads.get_mut(&head) else { return };
        match bucket {
            Bucket::One(other, _) if **other == *key => _ = self.heads.remove(&head),
            Bucket::One(..) => return,
            Bucket::Many(places) => {
                if places.remove(key).is_none() {
                    return;
                }
                if places.len() == 1
                    && let Some((key, place)) = places.pop_first()
                {
                    *bucket = Bucket::One(key, place);
                }
            }
        }
        self.count -= 1;
    }

    /// Every key with its place, in order of keys.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Key, u64)> {
        self.heads.values().flat_map(|bucket| {
            let (one, many) = match bucket {
                Bucket::One(key, place) => (Some((key, *place)), None),
                Bucket::Many(places) => (None, Some(places)),
            };
            let many = many.into_iter().flatten().map(|(key, place)| (key, *place));
            one.into_iter().chain(many)
        })
    }
}

impl Bucket {
    fn insert(&mut self, key: Key, place: u64) -> Option<u64> {
        match self {
            Bucket::One(other, former) if *other == key => Some(std::mem::replace(former, place)),
            Bucket::One(other, former) => {
                *self = Bucket::Many(BTreeMap::from([(other.clone(), *former), (key, place)]));
                None
            }
            Bucket::Many(places) => places.insert(key, place),
        }
    }
}

fn head_of(key: &str) -> Head {
    let mut bytes = [0; 16];
    let beginning = key.as_bytes().get(..16).unwrap_or(key.as_bytes());
    bytes.iter_mut().zip(beginning).for_each(|(byte, first)| *byte = *first);
    let number = u128::from_be_bytes(bytes);
    [high(number), high(number << 64)]
}

fn high(number: u128) -> u64 {
    u64::try_from(number >> 64).expect("half of 128 bits")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Keys of all lengths around the head's, many with one beginning, and a zero byte in some.
    fn keys() -> impl Strategy<Value = String> {
        ("[ab\u{0}ä]{0,2}", 0..4_usize, "[ab\u{0}]{0,2}")
            .prop_map(|(start, repeats, end)| start + &"common/".repeat(repeats) + &end)
    }

    proptest! {
        #[test]
        fn places_are_those_of_a_plain_ordered_map(
            steps in proptest::collection::vec((keys(), proptest::option::of(any::<u64>())), 0..200),
        ) {
            let (mut places, mut model) = (Places::default(), BTreeMap::new());
            for (key, place) in steps {
                let key = Key::from(key);
                match place {
                    Some(place) => {
                        prop_assert_eq!(places.insert(key.clone(), place), model.insert(key.clone(), place));
                    }
                    None => {
                        places.remove(&key);
                        model.remove(&key);
                    }
                }
                prop_assert_eq!(places.get(&key), model.get(&key).copied());
                prop_assert_eq!(places.len(), model.len());
                prop_assert!(places.iter().eq(model.iter().map(|(key, place)| (key, *place))));
                let mut again = Places::default();
                model.iter().for_each(|(key, place)| _ = again.insert(key.clone(), *place));
                prop_assert_eq!(&again, &places);
            }
        }
    }
}

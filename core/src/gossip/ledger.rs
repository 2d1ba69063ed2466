//! How far every map is held here, in 64 buckets whose hashes make a digest.
//!
//! A bucket is chosen by the top six bits of the hash of a node id. Its hash covers `(topic, node id,
//! incarnation, complete)` of its maps in order; a map of which nothing is held (`complete` 0) counts as
//! absent, or a node that knows of an empty map would never be level with one that does not.
//!
//! Invariant G-15: equal bucket hashes mean equal progress for every map in the bucket.

use std::cell::Cell;
use std::collections::BTreeMap;

use xxhash_rust::xxh3::xxh3_64;

use crate::ids::{NodeId, Replica};
use crate::limits::DIGEST_BUCKETS;
use crate::wire::Blob;
use crate::wire::segment::{Progress, Topic};

/// The bytes of one half of a digest.
const HASHES_BYTES: usize = 8 * DIGEST_BUCKETS;

/// Progress on every map held, own ones included.
#[derive(Debug)]
pub(super) struct Ledger {
    buckets: Vec<Bucket>,
}

#[derive(Debug, Default, Clone)]
struct Bucket {
    rows: BTreeMap<(Topic, Replica), Progress>,
    /// The hash, while it is that of `rows`.
    hash: Cell<Option<u64>>,
}

/// Which bucket the maps of `node` are in.
pub(super) fn bucket_of(node: &NodeId) -> usize {
    usize::try_from(xxh3_64(node.as_str().as_bytes()) >> 58).expect("six bits are a position")
}

impl Ledger {
    pub(super) fn new() -> Ledger {
        Ledger { buckets: vec![Bucket::default(); DIGEST_BUCKETS] }
    }

    fn bucket(&self, index: usize) -> &Bucket {
        self.buckets.get(index).expect("there are 64 buckets, and six bits choose one")
    }

    /// Notes what is held of a map; returns how far it was complete before.
    pub(super) fn set(
        &mut self,
        topic: Topic,
        replica: &Replica,
        progress: Option<Progress>,
    ) -> u64 {
        let bucket = self.buckets.get_mut(bucket_of(&replica.node));
        let bucket = bucket.expect("there are 64 buckets, and six bits choose one");
        let key = (topic, replica.clone());
        let former = match progress {
            Some(progress) => bucket.rows.insert(key, progress),
            None => bucket.rows.remove(&key),
        };
        let former = former.map_or(0, |former| former.complete);
        if former != progress.map_or(0, |progress| progress.complete) {
            bucket.hash.set(None);
        }
        former
    }

    pub(super) fn get(&self, topic: Topic, replica: &Replica) -> Option<Progress> {
        self.bucket(bucket_of(&replica.node)).rows.get(&(topic, replica.clone())).copied()
    }

    /// Through where a map is held; 0 if it is not.
    pub(super) fn complete(&self, topic: Topic, replica: &Replica) -> u64 {
        self.get(topic, replica).map_or(0, |progress| progress.complete)
    }

    /// Whether anything is held of a later life of `replica`'s node.
    pub(super) fn holds_newer(&self, topic: Topic, replica: &Replica) -> bool {
        let later = self.bucket(bucket_of(&replica.node)).rows.range((topic, replica.clone())..);
        let mut later =
            later.take_while(|((other, holder), _)| *other == topic && holder.node == replica.node);
        later.any(|((_, holder), progress)| holder != replica && progress.complete > 0)
    }

    /// The maps of one bucket of which anything is held, in order.
    pub(super) fn rows(&self, index: usize) -> impl Iterator<Item = (Topic, &Replica, Progress)> {
        let rows = self.bucket(index).rows.iter();
        let rows = rows.filter(|(_, progress)| progress.complete > 0);
        rows.map(|((topic, replica), progress)| (*topic, replica, *progress))
    }

    /// The hashes of all buckets, those that changed computed anew.
    pub(super) fn hashes(&self) -> [u64; DIGEST_BUCKETS] {
        let mut hashes = [0; DIGEST_BUCKETS];
        let mut text = Vec::new();
        for (bucket, hash) in self.buckets.iter().zip(&mut hashes) {
            *hash = bucket.hash(&mut text);
        }
        hashes
    }

    /// Entries of `topic` heard of and not yet held.
    pub(super) fn lag(&self, topic: Topic) -> u64 {
        let rows = self.buckets.iter().flat_map(|bucket| &bucket.rows);
        let rows = rows.filter(|((other, _), _)| *other == topic);
        rows.map(|(_, progress)| progress.head.saturating_sub(progress.complete)).sum()
    }

    /// Forgets every map that `is_gone` names.
    pub(super) fn drop_sources(&mut self, is_gone: impl Fn(&Replica) -> bool) {
        for bucket in &mut self.buckets {
            let held = bucket.rows.len();
            bucket.rows.retain(|(_, replica), _| !is_gone(replica));
            if bucket.rows.len() != held {
                bucket.hash.set(None);
            }
        }
    }
}

impl Bucket {
    /// The hash that is kept while nothing changes, or else of what is there.
    fn hash(&self, text: &mut Vec<u8>) -> u64 {
        if let Some(hash) = self.hash.get() {
            return hash;
        }
        text.clear();
        for ((topic, replica), progress) in &self.rows {
            describe(text, *topic, replica, progress.complete);
        }
        let hash = xxh3_64(text);
        self.hash.set(Some(hash));
        hash
    }
}

/// Appends what the hash covers of one map. The id's length keeps neighbours apart.
fn describe(text: &mut Vec<u8>, topic: Topic, replica: &Replica, complete: u64) {
    if complete == 0 {
        return;
    }
    let name = replica.node.as_str();
    text.extend_from_slice(&[topic.0, u8::try_from(name.len()).expect("an id has ≤ 63 bytes")]);
    text.extend_from_slice(name.as_bytes());
    text.extend_from_slice(&replica.incarnation.0.to_le_bytes());
    text.extend_from_slice(&complete.to_le_bytes());
}

/// Hashes as they travel.
pub(super) fn pack(hashes: &[u64; DIGEST_BUCKETS]) -> Blob {
    hashes.iter().flat_map(|hash| hash.to_le_bytes()).collect::<Vec<u8>>().into()
}

/// Hashes as they came; `None` if these are not 64.
pub(super) fn unpack(bytes: &Blob) -> Option<Vec<u64>> {
    if bytes.len() != HASHES_BYTES {
        return None;
    }
    let (words, _) = bytes.as_slice().as_chunks::<8>();
    Some(words.iter().map(|word| u64::from_le_bytes(*word)).collect())
}

#[cfg(test)]
mod tests;

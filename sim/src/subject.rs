//! What a host does around a node before it runs: which incarnation the next process gets.
//!
//! The same rule as in the shell: one above the durable one; on an empty store, as without any,
//! microseconds since 1970, so that a lost disk never repeats a life.

use quorate_core::ids::Incarnation;
use quorate_core::node::{INCARNATION_KEY, Image, Keyspace};
use quorate_core::wire::{self, Blob};

/// The incarnation that a store holds.
pub fn stored_incarnation(image: &Image) -> Option<Incarnation> {
    let row = image.get(&(Keyspace::Meta, INCARNATION_KEY.to_owned()))?;
    wire::decode::<u64, 9>(row).ok().map(Incarnation)
}

/// The row that makes an incarnation durable.
pub fn incarnation_row(incarnation: Incarnation) -> (Keyspace, String, Option<Blob>) {
    (Keyspace::Meta, INCARNATION_KEY.to_owned(), Some(Blob::from(wire::encode(&incarnation.0))))
}

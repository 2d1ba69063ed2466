//! Virtual time: one queue ordered by (instant, sequence), one thread per seed.
//!
//! Absent on purpose: sleeping, threads, and any order that does not follow from the queue.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use crate::clock::Micros;

/// What is still to happen, earliest first; among equals, first come.
#[derive(Debug)]
pub struct Queue<E> {
    heap: BinaryHeap<Reverse<Entry<E>>>,
    sequence: u64,
}

#[derive(Debug)]
struct Entry<E> {
    at: Micros,
    sequence: u64,
    event: E,
}

impl<E> Queue<E> {
    /// Nothing is to happen.
    pub fn new() -> Queue<E> {
        Queue { heap: BinaryHeap::new(), sequence: 0 }
    }

    /// `event` happens at `at`, after whatever was put there before.
    pub fn push(&mut self, at: Micros, event: E) {
        self.sequence += 1;
        self.heap.push(Reverse(Entry { at, sequence: self.sequence, event }));
    }

    /// The next event, unless it lies beyond `end`.
    pub fn pop(&mut self, end: Micros) -> Option<(Micros, E)> {
        if self.heap.peek()?.0.at > end {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| (entry.at, entry.event))
    }

    /// How many events there ever were.
    pub fn pushed(&self) -> u64 {
        self.sequence
    }
}

impl<E> Default for Queue<E> {
    fn default() -> Self {
        Queue::new()
    }
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<E> Eq for Entry<E> {}

impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Entry<E> {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.sequence).cmp(&(other.at, other.sequence))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_of_one_instant_happen_in_the_order_in_which_they_were_put_there() {
        let mut queue = Queue::new();
        for (at, name) in [(5, "b"), (1, "a"), (5, "c"), (9, "d")] {
            queue.push(at, name);
        }
        let order: Vec<_> = std::iter::from_fn(|| queue.pop(8)).collect();
        assert_eq!(order, [(1, "a"), (5, "b"), (5, "c")]);
        assert_eq!(queue.pop(9), Some((9, "d")));
    }
}

//! Virtual time: one queue ordered by (instant, sequence), one thread per seed.
//!
//! Absent on purpose: sleeping, threads, and any order that does not follow from the queue.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::clock::Micros;

/// What is still to happen, earliest first; among equals, first come. What happens waits apart from the
/// order, in which a search moves many entries.
#[derive(Debug)]
pub struct Queue<E> {
    order: BinaryHeap<Reverse<(Micros, u64, usize)>>,
    events: Vec<Option<E>>,
    /// Places of `events` that hold nothing.
    free: Vec<usize>,
    sequence: u64,
}

impl<E> Queue<E> {
    /// Nothing is to happen.
    pub fn new() -> Queue<E> {
        Queue { order: BinaryHeap::new(), events: Vec::new(), free: Vec::new(), sequence: 0 }
    }

    /// `event` happens at `at`, after whatever was put there before.
    pub fn push(&mut self, at: Micros, event: E) {
        self.sequence += 1;
        let place = self.free.pop().unwrap_or(self.events.len());
        match self.events.get_mut(place) {
            Some(empty) => *empty = Some(event),
            None => self.events.push(Some(event)),
        }
        self.order.push(Reverse((at, self.sequence, place)));
    }

    /// The next event, unless it lies beyond `end`.
    pub fn pop(&mut self, end: Micros) -> Option<(Micros, E)> {
        let Reverse((at, _, place)) = *self.order.peek().filter(|Reverse((at, ..))| *at <= end)?;
        self.order.pop();
        self.free.push(place);
        let event = self.events.get_mut(place).and_then(Option::take);
        Some((at, event.expect("whatever is in the order waits at its place")))
    }

    /// When the next event is due.
    pub fn next(&self) -> Option<Micros> {
        self.order.peek().map(|Reverse((at, ..))| *at)
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

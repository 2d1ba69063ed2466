//! What sockets and queues count; the node counts the rest.
//!
//! The numbers are visited like those of a machine, so that one family may have series of both.
//!
//! Absent on purpose: durations, which `metrics` holds, and the registry.

use std::sync::atomic::{AtomicU64, Ordering};

use quorate_core::machine::{Count, Counted, Labels};

use crate::seal::Unopened;

/// A number that threads share.
#[derive(Debug, Default)]
pub(crate) struct Number(AtomicU64);

impl Number {
    /// Adds to a total.
    pub(crate) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// Sets a level.
    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Its value.
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The queues between the loop and the tasks around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Queue {
    /// Datagrams that opened and wait for the loop.
    DatagramsIn,
    /// Datagrams that wait for the socket.
    DatagramsOut,
    /// Events of connections that wait for the loop.
    Peers,
    /// Requests that wait for the loop or for their reply.
    Requests,
    /// Batches that are not yet durable.
    Store,
}

const QUEUES: [(Queue, &str); 5] = [
    (Queue::DatagramsIn, "datagrams_in"),
    (Queue::DatagramsOut, "datagrams_out"),
    (Queue::Peers, "peers"),
    (Queue::Requests, "requests"),
    (Queue::Store, "store"),
];
const UNOPENED: [(Unopened, &str); 4] = [
    (Unopened::Size, "size"),
    (Unopened::Magic, "magic"),
    (Unopened::Key, "key"),
    (Unopened::Tag, "tag"),
];

/// What one shell counts.
#[derive(Debug, Default)]
pub struct Traffic {
    /// Datagrams sent.
    pub(crate) datagrams_sent: Number,
    /// Datagrams received, whatever they were.
    pub(crate) datagrams_received: Number,
    /// Their bytes, seal included.
    pub(crate) datagram_bytes_sent: Number,
    /// Their bytes, as received.
    pub(crate) datagram_bytes_received: Number,
    unopened: [Number; UNOPENED.len()],
    depths: [Number; QUEUES.len()],
    dropped: [Number; QUEUES.len()],
}

impl Traffic {
    /// A datagram did not open.
    pub(crate) fn unopened(&self, why: Unopened) {
        series(&UNOPENED, &self.unopened, why).add(1);
    }

    /// So much waits in `queue` now.
    pub(crate) fn depth(&self, queue: Queue, depth: usize) {
        series(&QUEUES, &self.depths, queue).set(depth as u64);
    }

    /// Something did not fit into `queue`.
    pub(crate) fn dropped(&self, queue: Queue) {
        series(&QUEUES, &self.dropped, queue).add(1);
    }
}

impl Counted for Traffic {
    fn counts(&self, visit: &mut dyn FnMut(Count)) {
        let directed = [
            ("datagrams_total", &self.datagrams_sent, &self.datagrams_received),
            ("datagram_bytes_total", &self.datagram_bytes_sent, &self.datagram_bytes_received),
        ];
        for (name, sent, received) in directed {
            for (direction, number) in [("sent", sent), ("received", received)] {
                let labels = Labels::One("direction", direction);
                visit(Count { name, labels, value: number.get() });
            }
        }
        for ((_, reason), number) in UNOPENED.iter().zip(&self.unopened) {
            let labels = Labels::One("reason", reason);
            visit(Count { name: "datagrams_dropped_total", labels, value: number.get() });
        }
        for (name, numbers) in
            [("queue_depth", &self.depths), ("queue_dropped_total", &self.dropped)]
        {
            for ((_, queue), number) in QUEUES.iter().zip(numbers) {
                let labels = Labels::One("queue", queue);
                visit(Count { name, labels, value: number.get() });
            }
        }
    }
}

fn series<'a, K: PartialEq, const N: usize>(
    keys: &[(K, &str); N],
    numbers: &'a [Number; N],
    key: K,
) -> &'a Number {
    let mut pairs = keys.iter().zip(numbers);
    let found = pairs.find(|((of, _), _)| *of == key);
    found.map(|(_, number)| number).expect("every variant has its row")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_series_is_there_at_zero_and_none_twice() {
        let mut seen = Vec::new();
        Traffic::default().counts(&mut |count| {
            assert_eq!(count.value, 0);
            seen.push((count.name, count.labels));
        });
        assert_eq!(seen.len(), 4 + UNOPENED.len() + 2 * QUEUES.len());
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 4 + UNOPENED.len() + 2 * QUEUES.len());
    }
}

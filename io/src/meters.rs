//! What the shell counts of itself; the node counts the rest.
//!
//! Plain numbers are visited like those of a machine, so that one family may have series of both.
//!
//! Absent on purpose: the registry. One exists per node, where `/metrics` is answered.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::metrics::histogram::Histogram;
use quorate_core::machine::{Count, Counted, Labels};
use quorate_core::time::Instant;

use crate::seal::Unopened;

/// Durations of what should be far below a second.
const SHORT_SECONDS: [f64; 8] = [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0];
/// Durations of what waits for a disk or a clock.
const LONG_SECONDS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// A number that threads share.
#[derive(Debug, Default)]
pub struct Number(AtomicU64);

impl Number {
    /// Adds to a total.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// Sets a level.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Its value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The queues between the loop and the tasks around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Queue {
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
#[derive(Debug)]
pub struct Meters {
    /// `loop_turn_duration_seconds`: one batch with its flush and its effects.
    pub turn_seconds: Histogram,
    /// `loop_lag_seconds`: how much later than it was due a wake was handled.
    pub lag_seconds: Histogram,
    /// `snapshot_publish_seconds`: the flush of a turn.
    pub publish_seconds: Histogram,
    /// `store_operation_duration_seconds{store="node",operation="commit",outcome="ok"}`.
    pub commit_seconds: Histogram,
    /// The same with `outcome="failed"`: at most one, since the process ends.
    pub commit_failed_seconds: Histogram,
    /// `worker_probe_duration_seconds`: probes that were sent.
    pub probe_seconds: Histogram,
    /// Datagrams sent.
    pub datagrams_sent: Number,
    /// Datagrams received, whatever they were.
    pub datagrams_received: Number,
    /// Their bytes, seal included.
    pub datagram_bytes_sent: Number,
    /// Their bytes, as received.
    pub datagram_bytes_received: Number,
    unopened: [Number; UNOPENED.len()],
    depths: [Number; QUEUES.len()],
    dropped: [Number; QUEUES.len()],
    beat: Number,
}

impl Default for Meters {
    fn default() -> Meters {
        Meters {
            turn_seconds: Histogram::new(SHORT_SECONDS),
            lag_seconds: Histogram::new(SHORT_SECONDS),
            publish_seconds: Histogram::new(SHORT_SECONDS),
            commit_seconds: Histogram::new(LONG_SECONDS),
            commit_failed_seconds: Histogram::new(LONG_SECONDS),
            probe_seconds: Histogram::new(LONG_SECONDS),
            datagrams_sent: Number::default(),
            datagrams_received: Number::default(),
            datagram_bytes_sent: Number::default(),
            datagram_bytes_received: Number::default(),
            unopened: Default::default(),
            depths: Default::default(),
            dropped: Default::default(),
            beat: Number::default(),
        }
    }
}

impl Meters {
    /// How long the loop has not finished a turn: what liveness is about.
    pub fn silence(&self, now: Instant) -> Duration {
        now.since(Instant::from_micros(self.beat.get()))
    }

    /// A group of batches was written, or not.
    pub(crate) fn committed(&self, took: Duration, well: bool) {
        let histogram = if well { &self.commit_seconds } else { &self.commit_failed_seconds };
        histogram.observe(took.as_secs_f64());
    }

    /// A turn was finished.
    pub(crate) fn beat(&self, now: Instant) {
        self.beat.set(now.as_micros());
    }

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

impl Counted for Meters {
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
        Meters::default().counts(&mut |count| {
            assert_eq!(count.value, 0);
            seen.push((count.name, count.labels));
        });
        assert_eq!(seen.len(), 4 + UNOPENED.len() + 2 * QUEUES.len());
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 4 + UNOPENED.len() + 2 * QUEUES.len());
    }

    #[test]
    fn silence_is_measured_from_the_last_beat() {
        let meters = Meters::default();
        meters.beat(Instant::from_millis(1000));
        assert_eq!(meters.silence(Instant::from_millis(1250)), Duration::from_millis(250));
    }
}

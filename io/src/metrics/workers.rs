//! A series for each worker, where `workers.metrics_per_worker` wants them.
//!
//! The 512 workers that are known longest are shown by their ids; the rest are summed up as `other`, and what was once
//! counted there stays there.
//!
//! Absent on purpose: URLs, which may hold what is nobody's business.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use quorate_core::node::workers::{EntryView, Snapshot, Status};

use crate::handle::Handle;

/// Workers with a series of their own.
const SERIES_MAX: usize = 512;
/// What is beyond them.
const OTHER: &str = "other";

/// How often each worker was picked.
#[derive(Debug, Clone, Default)]
pub(super) struct Picked(Arc<Mutex<Counts>>);

#[derive(Debug, Default)]
struct Counts {
    /// Of those with a series of their own, by the number of the entry.
    own: BTreeMap<u64, u64>,
    /// Of all others together.
    others: u64,
}

impl Picked {
    /// Counts a pick of a worker, if `snapshot` shows each.
    pub(super) fn count(&self, snapshot: &Snapshot, id: &str) {
        let Some(entry) = snapshot.by_id(id).filter(|_| snapshot.shows_each) else { return };
        let mut counts = self.0.lock().expect("no holder of this lock panics");
        let has_room = counts.own.len() < SERIES_MAX;
        if has_room || counts.own.contains_key(&entry.number) {
            *counts.own.entry(entry.number).or_default() += 1;
        } else {
            counts.others += 1;
        }
    }
}

/// Shows the workers of a node.
pub(super) struct Each {
    pub(super) handle: Handle,
    pub(super) picked: Picked,
}

impl fmt::Debug for Each {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Each")
    }
}

/// One series: whose, whether it is ready (of `other`: how many are), and how often it was picked.
type Row = (String, i64, u64);

impl Collector for Each {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let snapshot = self.handle.published().workers.load();
        let rows = rows(&snapshot, &self.picked);
        let help = "1 for a worker that may be picked";
        let mut ready = encoder.encode_descriptor("worker_ready", help, None, MetricType::Gauge)?;
        for (worker, is_ready, _) in &rows {
            ready.encode_family(&[("worker", worker.as_str())])?.encode_gauge(is_ready)?;
        }
        let (name, help) = ("worker_picked", "Picks by worker");
        let mut picked = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (worker, _, count) in &rows {
            let labels = [("worker", worker.as_str())];
            picked.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(count, None)?;
        }
        Ok(())
    }
}

fn rows(snapshot: &Snapshot, picked: &Picked) -> Vec<Row> {
    if !snapshot.shows_each {
        return Vec::new();
    }
    let mut counts = picked.0.lock().expect("no holder of this lock panics");
    let mut entries: Vec<_> = snapshot.entries.values().collect();
    entries.sort_unstable_by_key(|entry| entry.number);
    let numbers: Vec<u64> = entries.iter().map(|entry| entry.number).collect();
    counts.own.retain(|number, _| numbers.binary_search(number).is_ok());
    let is_ready =
        |entry: &EntryView| i64::from(entry.status == Status::Ready && entry.overlay.is_none());
    let (mut rows, mut beyond) = (Vec::new(), 0);
    for entry in &entries {
        // Those that are known longest take the places that are free.
        if counts.own.len() < SERIES_MAX {
            counts.own.entry(entry.number).or_default();
        }
        match counts.own.get(&entry.number) {
            Some(picks) => rows.push((entry.id.to_string(), is_ready(entry), *picks)),
            None => beyond += is_ready(entry),
        }
    }
    if entries.len() > rows.len() || counts.others > 0 {
        rows.push((OTHER.to_owned(), beyond, counts.others));
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::tests::harness;

    #[test]
    fn beyond_the_bound_workers_are_summed_up_and_who_went_is_forgotten() {
        let specs: Vec<_> = (0..SERIES_MAX + 3)
            .map(|number| serde_json::json!({"url": format!("http://10.0.{}.{}:1", number / 250, number % 250)}))
            .collect();
        let mut snapshot = (*harness::registered(&specs)).clone();
        let picked = Picked::default();
        let ids: Vec<String> =
            snapshot.entries.values().map(|entry| entry.id.to_string()).collect();
        picked.count(&snapshot, &ids[0]);
        assert!(rows(&snapshot, &picked).is_empty(), "nobody wants them");
        snapshot.shows_each = true;
        ids.iter().for_each(|id| picked.count(&snapshot, id));
        let shown = rows(&snapshot, &picked);
        assert_eq!(shown.len(), SERIES_MAX + 1);
        assert_eq!(shown.last(), Some(&(OTHER.to_owned(), 0, 3)));
        assert!(shown.iter().rev().skip(1).all(|(_, ready, count)| (*ready, *count) == (0, 1)));
        snapshot.entries = snapshot
            .entries
            .iter()
            .take(2)
            .map(|(url, entry)| (url.clone(), entry.clone()))
            .collect();
        let shown = rows(&snapshot, &picked);
        assert_eq!(shown.len(), 3);
        assert_eq!(shown.last(), Some(&(OTHER.to_owned(), 0, 3)), "it never falls");
        assert_eq!(picked.0.lock().expect("free").own.len(), 2);
    }
}

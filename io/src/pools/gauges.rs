//! What pools are like at the moment of a scrape: their members by state, and who rests until when.
//!
//! At most 2000 series of a metric are shown; what is beyond them is summed up under `other`.
//!
//! Absent on purpose: what only rises. The machine counts that.

use std::collections::BTreeMap;
use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder};
use prometheus_client::metrics::MetricType;
use quorate_core::node::pools::Snapshot;
use quorate_core::node::pools::view::State;

use crate::handle::Handle;

/// Series of one metric.
const SERIES_MAX: usize = 2000;
/// What is beyond them.
const OTHER: &str = "other";

/// Shows the pools of a node.
pub(crate) struct Gauges {
    /// Of which node.
    pub(crate) handle: Handle,
}

impl fmt::Debug for Gauges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gauges")
    }
}

type Series = BTreeMap<Vec<(&'static str, String)>, i64>;

impl Collector for Gauges {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let snapshot = self.handle.published().pools.load();
        for (name, help, series) in families(&snapshot) {
            let family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            encode(family, bounded(series))?;
        }
        Ok(())
    }
}

fn encode(mut family: MetricEncoder<'_>, series: Series) -> Result<(), fmt::Error> {
    for (labels, value) in series {
        family.encode_family(&labels)?.encode_gauge(&value)?;
    }
    Ok(())
}

/// Every family, those without series included.
fn families(snapshot: &Snapshot) -> [(&'static str, &'static str, Series); 4] {
    let (mut members, mut exhausted) = (Series::new(), Series::new());
    let (mut states, mut deadlines) = (Series::new(), Series::new());
    for pool in snapshot.pools.values() {
        let name = pool.name.to_string();
        for state in State::ALL {
            let count = pool.rows.iter().filter(|row| row.state == state).count();
            let labels = vec![("pool", name.clone()), ("state", state.name().to_owned())];
            members.insert(labels, i64::try_from(count).unwrap_or(i64::MAX));
        }
        let is_exhausted = pool.views.first().is_some_and(|lane| lane.exhausted_since.is_some());
        exhausted.insert(vec![("pool", name)], i64::from(is_exhausted));
        for row in &pool.rows {
            let credential = row.handle.to_string();
            for state in State::ALL {
                let labels =
                    vec![("credential", credential.clone()), ("state", state.name().to_owned())];
                states.insert(labels, i64::from(row.state == state));
            }
            // 0 where nothing rests: the series is there from the start.
            let ends = row.rests.iter().map(|rest| rest.rest_until).max().unwrap_or_default();
            let ends = i64::try_from(ends.div_ceil(1000)).unwrap_or(i64::MAX);
            deadlines.insert(vec![("credential", credential)], ends);
        }
    }
    [
        ("pool_members", "Members by state", members),
        ("pool_exhausted", "1 while no member can serve", exhausted),
        ("credential_state", "1 for the state of a credential", states),
        (
            "credential_cooldown_deadline_timestamp_seconds",
            "When a credential's longest rest ends; 0 without one",
            deadlines,
        ),
    ]
}

/// The series, and the sum of those beyond the bound.
fn bounded(series: Series) -> Series {
    let mut shown = Series::new();
    for (place, (mut labels, value)) in series.into_iter().enumerate() {
        if place >= SERIES_MAX
            && let Some((_, text)) = labels.first_mut()
        {
            *text = OTHER.to_owned();
        }
        *shown.entry(labels).or_default() += value;
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_beyond_the_bound_is_summed_up() {
        let series = (0..SERIES_MAX + 3).map(|at| (vec![("pool", format!("{at:05}"))], 1));
        let shown = bounded(series.collect());
        assert_eq!(shown.len(), SERIES_MAX + 1);
        assert_eq!(shown.get(&vec![("pool", OTHER.to_owned())]), Some(&3));
    }
}

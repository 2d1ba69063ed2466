//! Every number of a node in one OpenMetrics page.
//!
//! The machines count for themselves and publish; a collector shows what was published. What only the
//! shell can see is measured here. Every series that can occur is there at 0 from the first scrape (O-1),
//! so each family's label sets are made at the start and are closed; those of pools, sinks and accounts come and go with
//! them (`pools/gauges.rs`).
//!
//! Absent on purpose: a global registry (many nodes live in one test process), and labels with ids of workers
//! that nobody asked for (`metrics/workers.rs`).

mod requests;
mod workers;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use quorate_core::machine::{Count, Counted, Labels};
use quorate_core::node::pools::Class;
use quorate_core::node::workers::Snapshot as Workers;

use crate::audit::AuditError;
use crate::handle::Handle;
use crate::pools::gauges::Gauges;
use crate::pools::reset::OUTCOMES;
use crate::pools::sinks::RESULTS;
use requests::{ByPool, ByRoute, UPSTREAM};
use workers::{Each, Picked};

/// The content type of the page.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Label sets of this module: one, two or three pairs, as one type so that families stay simple.
type Pairs = Vec<(&'static str, String)>;

/// Something besides the machines that counts, such as the sockets.
pub type Source = Arc<dyn Counted + Send + Sync>;

/// What the shell and its surfaces measure, and the page of all numbers.
#[derive(Debug)]
pub struct Meters {
    registry: Registry,
    /// Duration of one turn of the loop.
    pub loop_turn: Histogram,
    /// How late the loop woke.
    pub loop_lag: Histogram,
    /// Duration of one publication of snapshots.
    pub snapshot_publish: Histogram,
    /// From the first to the last change of the view of members.
    pub convergence: Histogram,
    /// From a link's ping to its pong.
    pub round_trip: Histogram,
    /// Duration of one probe of a worker.
    pub probe_duration: Histogram,
    /// Duration of one operation of the embedded store.
    pub store_duration: Histogram,
    drain_batch: Histogram,
    drain_duration: Histogram,
    pub(crate) request_duration: Histogram,
    pub(crate) sse_readers: Gauge,
    audit_lines: Counter,
    audit_refusing: Gauge,
    requests: ByRoute,
    auth_failures: Family<Pairs, Counter>,
    picks: Family<Pairs, Counter>,
    picked: Picked,
    auth_resets: Family<Pairs, Counter>,
    notices: Family<Pairs, Counter>,
    pool_edges: Family<Pairs, Counter>,
    pools: ByPool,
    /// Duration of one pick of a pool's member.
    pub(crate) pool_pick: Histogram,
    /// From a request of the gateway to the head of its answer.
    pub(crate) gateway_first_byte: Histogram,
    /// From the beginning of a rest at another node to its arrival here.
    pub(crate) pool_share: Histogram,
}

/// Why a caller was not let in, as `auth_failures_total` tells it.
pub(crate) const AUTH_FAILURES: [&str; 4] = ["missing", "unknown", "closed", "scope"];

/// The policies of picks, as `worker_picks_total` tells them.
pub(crate) const PICK_POLICIES: [&str; 5] =
    ["round_robin", "weighted", "least_load", "power_of_two", "consistent_hash"];

/// The ends of picks, as `worker_picks_total` tells them.
pub(crate) const PICK_RESULTS: [&str; 6] =
    ["ok", "unknown_model", "none_ready", "all_draining", "all_full", "no_label_match"];

/// What this process is, for `build_info` and `start_timestamp_seconds`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Build {
    /// Version of the software.
    pub version: String,
    /// When the process started, in seconds since 1970.
    pub started_seconds: u64,
}

impl Build {
    fn register(&self, registry: &mut Registry) {
        let info = Info::new(vec![("version", self.version.clone())]);
        registry.register("build", "The running software", info);
        let started = Gauge::<i64>::default();
        started.set(i64::try_from(self.started_seconds).unwrap_or(i64::MAX));
        registry.register("start_timestamp_seconds", "When the process started", started);
    }
}

impl Meters {
    /// Meters of one node; `sources` count besides its machines.
    pub fn new(handle: &Handle, build: &Build, sources: Vec<Source>) -> Meters {
        let mut registry = Registry::with_prefix("quorate");
        build.register(&mut registry);
        let mut histogram = |name: &str, help: &str, buckets: &[f64]| {
            let histogram = Histogram::new(buckets.iter().copied());
            registry.register(name, help, histogram.clone());
            histogram
        };
        let meters = Meters {
            loop_turn: histogram("loop_turn_duration_seconds", "Duration of one turn", &FINE),
            loop_lag: histogram("loop_lag_seconds", "How late the loop woke", &FINE),
            snapshot_publish: histogram(
                "snapshot_publish_seconds",
                "Duration of one publication of snapshots",
                &FINE,
            ),
            convergence: histogram(
                "membership_convergence_seconds",
                "From first to last change of the view in a burst",
                &COARSE,
            ),
            round_trip: histogram(
                "link_round_trip_seconds",
                "From a link's ping to its pong",
                &COARSE,
            ),
            probe_duration: histogram(
                "worker_probe_duration_seconds",
                "Duration of one probe of a worker",
                &COARSE,
            ),
            store_duration: histogram(
                "store_operation_duration_seconds",
                "Duration of one operation of the embedded store",
                &COARSE,
            ),
            drain_batch: histogram("auth_updates_drain_batch_size", "Keys of a batch", &SIZES),
            drain_duration: histogram("auth_updates_apply_duration_seconds", "Of a batch", &FINE),
            pool_pick: histogram(
                "pick_duration_seconds",
                "Duration of one pick of a member",
                &FINE,
            ),
            gateway_first_byte: histogram("gateway_first_byte_seconds", "To a head", &COARSE),
            pool_share: histogram("pool_share_seconds", "A rest's way from its node here", &COARSE),
            request_duration: histogram(
                "http_request_duration_seconds",
                "From the request's head to the answer's",
                &COARSE,
            ),
            sse_readers: Gauge::default(),
            audit_lines: Counter::default(),
            audit_refusing: Gauge::default(),
            requests: ByRoute::default(),
            auth_failures: Family::default(),
            picks: Family::default(),
            picked: Picked::default(),
            auth_resets: Family::default(),
            notices: Family::default(),
            pool_edges: Family::default(),
            pools: ByPool::default(),
            registry: Registry::default(),
        };
        meters.register(&mut registry);
        registry.register_collector(Box::new(Gauges { handle: handle.clone() }));
        let each = Each { handle: handle.clone(), picked: meters.picked.clone() };
        registry.register_collector(Box::new(each));
        registry.register_collector(Box::new(Collected { handle: handle.clone(), sources }));
        let meters = Meters { registry, ..meters };
        meters.open_series();
        meters
    }

    /// Shows the families of this module on the page.
    fn register(&self, registry: &mut Registry) {
        registry.register("sse_readers", "Streams that are open", self.sse_readers.clone());
        registry.register("audit_lines", "Lines appended", self.audit_lines.clone());
        let refusing = self.audit_refusing.clone();
        registry.register("audit_refusing", "1 while the audit log cannot be written", refusing);
        self.requests.register(registry);
        let failures = self.auth_failures.clone();
        registry.register("auth_failures", "Callers not let in", failures);
        registry.register("worker_picks", "Picks of a worker", self.picks.clone());
        let resets = self.auth_resets.clone();
        registry.register("pool_auth_resets", "Logins reset after a recovery", resets);
        registry.register("pool_notices", "Notices by sink", self.notices.clone());
        registry.register("pool_edges", "Ends and beginnings of service", self.pool_edges.clone());
        self.pools.register(registry);
    }

    /// Makes each series of the closed families, at 0.
    fn open_series(&self) {
        for reason in AUTH_FAILURES {
            drop(self.auth_failures.get_or_create(&vec![("reason", reason.to_owned())]));
        }
        for policy in PICK_POLICIES {
            for result in PICK_RESULTS {
                drop(self.picks.get_or_create(&pick_labels(policy, result)));
            }
        }
        for outcome in OUTCOMES {
            drop(self.auth_resets.get_or_create(&vec![("outcome", outcome.to_owned())]));
        }
    }

    /// Makes the series of a route at 0, one per status that it can answer.
    pub(crate) fn open_route(&self, route: &'static str, method: &'static str, statuses: &[u16]) {
        for status in statuses {
            drop(self.requests.series((route, method, *status)));
        }
    }

    /// Makes the series of a route's answers that are an upstream's, at 0.
    pub(crate) fn open_passing(&self, route: &'static str, method: &'static str) {
        drop(self.requests.series((route, method, UPSTREAM)));
    }

    /// Counts a request that an upstream answered: its status is counted by pool.
    pub(crate) fn passed(&self, route: &'static str, method: &'static str, took: Duration) {
        self.request(route, method, UPSTREAM, took);
    }

    /// Counts an answered request.
    pub(crate) fn request(
        &self,
        route: &'static str,
        method: &'static str,
        status: u16,
        took: Duration,
    ) {
        self.requests.series((route, method, status)).inc();
        self.request_duration.observe(took.as_secs_f64());
    }

    /// A batch of changed credentials was looked at.
    pub(crate) fn drained(&self, batch: usize, took: Duration) {
        self.drain_batch.observe(f64::from(u32::try_from(batch).unwrap_or(u32::MAX)));
        self.drain_duration.observe(took.as_secs_f64());
    }

    /// Counts a caller that was not let in; `reason` is one of [`AUTH_FAILURES`].
    pub(crate) fn auth_failure(&self, reason: &'static str) {
        self.auth_failures.get_or_create(&vec![("reason", reason.to_owned())]).inc();
    }

    /// Counts a pick; the words are of [`PICK_POLICIES`] and [`PICK_RESULTS`].
    pub(crate) fn pick(&self, policy: &str, result: &str) {
        self.picks.get_or_create(&pick_labels(policy, result)).inc();
    }

    /// Counts a pick of a worker, where each has a series.
    pub(crate) fn picked(&self, snapshot: &Workers, id: &str) {
        self.picked.count(snapshot, id);
    }

    /// Counts the run that reset a login; `outcome` is one of [`OUTCOMES`].
    pub(crate) fn auth_reset(&self, outcome: &'static str) {
        self.auth_resets.get_or_create(&vec![("outcome", outcome.to_owned())]).inc();
    }

    /// Makes the series of a pool, at 0.
    pub(crate) fn open_pool(&self, pool: &str) {
        for edge in EDGES {
            drop(self.pool_edges.get_or_create(&edge_labels(pool, edge)));
        }
        self.pools.open(pool);
    }

    /// Counts an answer of the gateway to a client.
    pub(crate) fn gateway_request(&self, pool: &str, status: u16) {
        self.pools.request(pool, status);
    }

    /// Counts an account that was asked; without a class the client went away first.
    pub(crate) fn gateway_attempt(&self, pool: &str, class: Option<Class>) {
        self.pools.attempt(pool, class);
    }

    /// Counts that a pool began or ceased to serve; `edge` is one of [`EDGES`].
    pub(crate) fn pool_edge(&self, pool: &str, edge: &'static str) {
        self.pool_edges.get_or_create(&edge_labels(pool, edge)).inc();
    }

    /// Makes the series of a sink, at 0.
    pub(crate) fn open_sink(&self, sink: &str) {
        for result in RESULTS {
            drop(self.notices.get_or_create(&notice_labels(sink, result)));
        }
    }

    /// Counts what became of a notice; `result` is one of [`RESULTS`].
    pub(crate) fn notice(&self, sink: &str, result: &'static str) {
        self.notices.get_or_create(&notice_labels(sink, result)).inc();
    }

    /// What the audit log tells its lines and failures to.
    pub fn audit_observer(&self) -> impl Fn(Result<usize, &AuditError>) + Send + 'static {
        let (lines, refusing) = (self.audit_lines.clone(), self.audit_refusing.clone());
        move |told| {
            refusing.set(i64::from(told.is_err()));
            if let Ok(written) = told {
                lines.inc_by(written as u64);
            }
        }
    }

    /// The page.
    pub(crate) fn page(&self) -> String {
        let mut page = String::new();
        text::encode(&mut page, &self.registry).expect("a string takes every write");
        page
    }
}

/// 1 µs to 10 s by tens: turns are microseconds, and a slow one must show.
const FINE: [f64; 8] = [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0];
/// 1 to what is taken at a time.
const SIZES: [f64; 7] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0];
/// 5 ms to 10 s.
const COARSE: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Families of this module, by full name: a machine that counts the same is not shown twice.
const OWN: [&str; 26] = [
    "build_info",
    "start_timestamp_seconds",
    "loop_turn_duration_seconds",
    "loop_lag_seconds",
    "snapshot_publish_seconds",
    "membership_convergence_seconds",
    "link_round_trip_seconds",
    "worker_probe_duration_seconds",
    "store_operation_duration_seconds",
    "auth_updates_drain_batch_size",
    "auth_updates_apply_duration_seconds",
    "http_request_duration_seconds",
    "sse_readers",
    "audit_lines_total",
    "audit_refusing",
    "http_requests_total",
    "auth_failures_total",
    "worker_picks_total",
    "pool_auth_resets_total",
    "pool_notices_total",
    "pool_edges_total",
    "pick_duration_seconds",
    "gateway_requests_total",
    "gateway_attempts_total",
    "gateway_first_byte_seconds",
    "pool_share_seconds",
];

fn pick_labels(policy: &str, result: &str) -> Pairs {
    vec![("policy", policy.to_owned()), ("result", result.to_owned())]
}

/// The edges of a pool, as `pool_edges_total` tells them.
pub(crate) const EDGES: [&str; 2] = ["exhausted", "recovered"];

fn edge_labels(pool: &str, edge: &str) -> Pairs {
    vec![("pool", pool.to_owned()), ("edge", edge.to_owned())]
}

fn notice_labels(sink: &str, result: &str) -> Pairs {
    vec![("sink", sink.to_owned()), ("result", result.to_owned())]
}

/// Shows what the machines published and what the sources count.
struct Collected {
    handle: Handle,
    sources: Vec<Source>,
}

impl fmt::Debug for Collected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Collected({} sources)", self.sources.len())
    }
}

impl Collected {
    /// Every series by name: the page wants a family's series together.
    fn families(&self) -> BTreeMap<&'static str, BTreeMap<Labels, u64>> {
        let mut families: BTreeMap<_, BTreeMap<_, u64>> = BTreeMap::new();
        let mut visit = |count: Count| {
            if OWN.contains(&count.name) {
                return;
            }
            let series = families.entry(count.name).or_default().entry(count.labels).or_default();
            *series = series.saturating_add(count.value);
        };
        for count in self.handle.published().counts.load().iter() {
            visit(*count);
        }
        for source in &self.sources {
            source.counts(&mut visit);
        }
        families
    }
}

impl Collector for Collected {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for (name, series) in self.families() {
            encode_family(&mut encoder, name, &series)?;
        }
        Ok(())
    }
}

fn encode_family(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    series: &BTreeMap<Labels, u64>,
) -> Result<(), fmt::Error> {
    let rises = name.strip_suffix("_total");
    let kind = if rises.is_some() { MetricType::Counter } else { MetricType::Gauge };
    // The page's format puts `_total` behind a counter's name by itself.
    let name = rises.unwrap_or(name);
    let mut family = encoder.encode_descriptor(name, "See docs/METRICS.md", None, kind)?;
    for (labels, value) in series {
        let pairs = pairs(labels);
        let level = i64::try_from(*value).unwrap_or(i64::MAX);
        match (rises.is_some(), pairs.is_empty()) {
            (true, true) => family.encode_counter::<NoLabelSet, _, u64>(value, None)?,
            (true, false) => {
                family.encode_family(&pairs)?.encode_counter::<NoLabelSet, _, u64>(value, None)?;
            }
            (false, true) => family.encode_gauge(&level)?,
            (false, false) => family.encode_family(&pairs)?.encode_gauge(&level)?,
        }
    }
    Ok(())
}

fn pairs(labels: &Labels) -> Vec<(&'static str, &'static str)> {
    match *labels {
        Labels::None => Vec::new(),
        Labels::One(key, value) => vec![(key, value)],
        Labels::Two(key, value, other, another) => vec![(key, value), (other, another)],
        Labels::Three(pairs) => pairs.to_vec(),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use quorate_core::node::Published;

    use super::*;

    /// Meters of a node that nobody runs.
    pub(crate) fn meters(published: Published) -> Arc<Meters> {
        let (handle, _, _) = Handle::new(Arc::new(published));
        let build = Build { version: "0.1.0".to_owned(), started_seconds: 1_700_000_000 };
        Arc::new(Meters::new(&handle, &build, Vec::new()))
    }

    /// What a reader of the page takes for the upper bound of a quantile: the first bucket that holds so many.
    fn quantile(page: &str, name: &str, of_hundred: u64) -> f64 {
        let line = |line: &str| {
            let rest = line.strip_prefix(name)?.strip_prefix("_bucket{le=\"")?;
            let (bound, count) = rest.split_once("\"} ")?;
            Some((bound.parse::<f64>().ok()?, count.parse::<u64>().ok()?))
        };
        let buckets: Vec<(f64, u64)> = page.lines().filter_map(line).collect();
        let all = buckets.last().expect("a histogram has buckets").1;
        let bucket = buckets.iter().find(|(_, count)| count * 100 >= all * of_hundred);
        bucket.expect("the last bucket holds all").0
    }

    #[test]
    fn a_quantile_of_known_latencies_is_read_to_within_a_bucket_in_the_unit_of_the_name() {
        let meters = meters(crate::http::tests::harness::published());
        // From 0.2 ms to 200 ms, most of them short.
        let micros: Vec<u64> = (0..1000u64).map(|n| 200 + n * n * n / 5000).collect();
        for took in &micros {
            meters.request("/v1/workers", "GET", 200, Duration::from_micros(*took));
        }
        let page = meters.page();
        for of_hundred in [1, 25, 50, 75, 90, 99, 100] {
            let place = usize::try_from(of_hundred * 10).expect("small") - 1;
            let seconds = *micros.get(place).expect("one of a thousand") as f64 / 1e6;
            let read = quantile(&page, "quorate_http_request_duration_seconds", of_hundred);
            let below = COARSE.iter().rev().find(|bound| **bound < read).copied().unwrap_or(0.0);
            assert!(
                below < seconds && seconds <= read,
                "{of_hundred} %: {seconds}, read as {read}"
            );
        }
    }
}

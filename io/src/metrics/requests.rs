//! What is counted at every request: by route and status, and the gateway's by pool.
//!
//! A family finds a series by its labels, which are texts. Here each series is found by what the request knows anyway,
//! so that labels are made once and not for each request.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use quorate_core::node::pools::Class;

use super::Pairs;

/// Requests by route, method and status.
#[derive(Debug, Default)]
pub(super) struct ByRoute {
    family: Family<Pairs, Counter>,
    at_hand: ArcSwap<BTreeMap<Row, Counter>>,
}

/// A route's path, a method, and a status; [`UPSTREAM`] where an upstream says which.
type Row = (&'static str, &'static str, u16);

/// The status of what an upstream answered: it is counted by pool.
pub(super) const UPSTREAM: u16 = 0;

impl ByRoute {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("http_requests", "Requests answered", self.family.clone());
    }

    /// The series of `row`, made if there is none.
    pub(super) fn series(&self, row: Row) -> Counter {
        if let Some(counter) = self.at_hand.load().get(&row) {
            return counter.clone();
        }
        let (route, method, status) = row;
        let status = if status == UPSTREAM { "upstream".to_owned() } else { status.to_string() };
        let labels =
            vec![("route", route.to_owned()), ("method", method.to_owned()), ("status", status)];
        let counter = self.family.get_or_create(&labels).clone();
        self.at_hand.rcu(|known| with(known, row, counter.clone()));
        counter
    }
}

/// The gateway's requests and attempts by pool.
#[derive(Debug, Default)]
pub(super) struct ByPool {
    requests: Family<Pairs, Counter>,
    attempts: Family<Pairs, Counter>,
    at_hand: ArcSwap<BTreeMap<String, Arc<Series>>>,
}

/// The series of one pool.
#[derive(Debug)]
struct Series {
    /// In the order of [`STATUSES`].
    requests: [Counter; STATUSES.len()],
    /// By class; the last is of clients that went away.
    attempts: Vec<(Option<Class>, Counter)>,
}

/// The hundreds of answers of the gateway, as `gateway_requests_total` tells them.
const STATUSES: [&str; 4] = ["2xx", "3xx", "4xx", "5xx"];

impl ByPool {
    pub(super) fn register(&self, registry: &mut Registry) {
        let requests = self.requests.clone();
        registry.register("gateway_requests", "Requests of the gateway by answer", requests);
        let attempts = self.attempts.clone();
        registry.register("gateway_attempts", "Accounts asked, by what came of it", attempts);
    }

    /// Makes the series of a pool, at 0.
    pub(super) fn open(&self, pool: &str) {
        drop(self.series(pool));
    }

    /// Counts an answer of the gateway to a client.
    pub(super) fn request(&self, pool: &str, status: u16) {
        let hundreds = usize::from(status / 100).saturating_sub(2);
        let series = self.series(pool);
        let [.., others] = &series.requests;
        series.requests.get(hundreds).unwrap_or(others).inc();
    }

    /// Counts an account that was asked; without a class the client went away first.
    pub(super) fn attempt(&self, pool: &str, class: Option<Class>) {
        let series = self.series(pool);
        let found = series.attempts.iter().find(|(one, _)| *one == class);
        found.expect("every class has its series").1.inc();
    }

    fn series(&self, pool: &str) -> Arc<Series> {
        if let Some(series) = self.at_hand.load().get(pool) {
            return series.clone();
        }
        let one = |family: &Family<Pairs, Counter>, name, value: &str| {
            let labels = vec![("pool", pool.to_owned()), (name, value.to_owned())];
            family.get_or_create(&labels).clone()
        };
        let class = |class: Option<Class>| {
            let word = class.map_or("cancelled", Class::name);
            (class, one(&self.attempts, "class", word))
        };
        let series = Arc::new(Series {
            requests: STATUSES.map(|status| one(&self.requests, "status", status)),
            attempts: Class::ALL.map(Some).into_iter().chain([None]).map(class).collect(),
        });
        self.at_hand.rcu(|known| with(known, pool.to_owned(), series.clone()));
        series
    }
}

fn with<K: Ord + Clone, V: Clone>(known: &BTreeMap<K, V>, key: K, value: V) -> BTreeMap<K, V> {
    let mut known = known.clone();
    known.insert(key, value);
    known
}

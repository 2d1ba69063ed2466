//! The workers of one model and kind, laid out for picking.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Id, Kind};

/// A worker as picks see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Of its entry; a host may keep its load by it.
    pub number: u64,
    /// Of the chosen claim.
    pub id: Id,
    /// Canonical.
    pub url: Arc<str>,
    /// Its share.
    pub weight: u32,
    /// Requests at a time from this node; 0: unlimited.
    pub in_flight_max: u32,
    /// What queries select by.
    pub labels: Arc<BTreeMap<String, String>>,
}

/// The workers of one model and kind, by priority and URL.
#[derive(Debug)]
pub struct Lane {
    /// Which model; empty: workers that serve any.
    pub model: Arc<str>,
    /// Which kind.
    pub kind: Kind,
}

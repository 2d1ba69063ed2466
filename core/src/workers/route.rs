//! Picking: a pure function of a snapshot, a query, a ticket and the loads.
//!
//! Candidates are the workers of the kind that serve the model (by name if any of these can be picked,
//! else those that serve every model), have the labels and are not excluded; of these the highest tier
//! that has one, in order of URL. W-7: nobody is picked whom the query excludes or an overlay hides, and a
//! lane with a candidate never answers [`NoWorker`].
//!
//! Absent on purpose: counting what is in flight. The host does, and hands it in as a [`Load`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::lane::{Shares, Tier, place};
use super::view::Overlay;
use super::{Candidate, EntryView, Id, Kind, Lane, Snapshot, Status};
use crate::time::Instant;

/// What a caller wants served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Query {
    /// By id or alias.
    pub model: String,
    /// Which kind.
    #[serde(default = "regular")]
    pub kind: Kind,
    /// All must be equal.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// For `consistent_hash`, at most 256 bytes.
    #[serde(default)]
    pub key: Option<String>,
    /// How to choose.
    #[serde(default)]
    pub policy: PickPolicy,
    /// Claims whose workers are left out, at most 8.
    #[serde(default)]
    pub exclude: Vec<Id>,
}

fn regular() -> Kind {
    Kind::Regular
}

/// How to choose among candidates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PickPolicy {
    /// One after the other.
    RoundRobin,
    /// In exact proportion to the weights.
    Weighted,
    /// The least loaded of all.
    LeastLoad,
    /// The less loaded of two.
    #[default]
    PowerOfTwo,
    /// The same key goes to the same worker, unless that is too full.
    ConsistentHash,
}

/// What a pick needs to know of the moment. Any `Fn(&Candidate) -> u32` is one.
pub trait Load {
    /// Requests that this node has in flight there, plus what was reported in the last 10 s.
    fn of(&self, candidate: &Candidate) -> u32;

    /// The sum over the candidates of a lane, if the host keeps it; else it is summed where needed.
    fn total(&self, lane: &Lane) -> Option<u64> {
        let _ = lane;
        None
    }
}

impl<F: Fn(&Candidate) -> u32> Load for F {
    fn of(&self, candidate: &Candidate) -> u32 {
        self(candidate)
    }
}

/// The worker that takes the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pick<'a> {
    /// Which.
    pub candidate: &'a Candidate,
    /// Whether this request decides on an ejected worker: its outcome must be reported.
    pub trial: bool,
}

/// Nobody can take the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoWorker {
    /// Why.
    pub reason: Reason,
    /// When something may have changed: the next probe that is due among those asked for.
    pub retry_at: Option<Instant>,
}

impl NoWorker {
    /// How long a caller waits: 1 to 30 s.
    pub fn retry_after(&self, now: Instant) -> Duration {
        let longest = Duration::from_secs(30);
        let wait = self.retry_at.map_or(longest, |at| at.since(now));
        wait.clamp(Duration::from_secs(1), longest)
    }
}

/// Why nobody can.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Nobody serves this model.
    UnknownModel,
    /// Nobody who does is ready.
    NoneReady,
    /// All are draining.
    AllDraining,
    /// All that are ready have `max_in_flight` requests.
    AllFull,
    /// None that is ready has these labels.
    NoLabelMatch,
}

/// Picks a worker. `ticket` comes from the host's counter of the lane; equal arguments, equal picks.
pub fn route<'a>(
    snapshot: &'a Snapshot,
    query: &Query,
    ticket: u64,
    load: &impl Load,
) -> Result<Pick<'a>, NoWorker> {
    let exact = snapshot.lane(&query.model, &query.kind);
    let any = snapshot.lane("", &query.kind).filter(|_| !query.model.is_empty());
    let open = |lane: &&'a Arc<Lane>| lane.tiers.iter().any(|tier| tier.is_open(load));
    let Some(lane) = exact.filter(open).or_else(|| any.filter(open)) else {
        return Err(nobody(snapshot, [exact, any]));
    };
    let wish = Wish::of(snapshot, query);
    for tier in &lane.tiers {
        if tier.open.is_empty() {
            continue;
        }
        let position = if wish.is_plain() && !tier.limited {
            Choice { lane, tier, open: &tier.open, shares: Some(&tier.shares) }
                .pick(query, ticket, load)
        } else {
            let open = tier.open.iter().copied();
            let open: Vec<u32> =
                open.filter(|position| wish.admits(tier, *position, load)).collect();
            Choice { lane, tier, open: &open, shares: None }.pick(query, ticket, load)
        };
        if let Some(position) = position {
            let trial = tier.trials.binary_search(&position).is_ok();
            return Ok(Pick { candidate: tier.at(position), trial });
        }
    }
    let reason = if query.labels.is_empty() { Reason::NoneReady } else { Reason::NoLabelMatch };
    Err(NoWorker { reason, retry_at: next_probe(snapshot, [Some(lane), None]) })
}

/// What a query asks beyond model, kind and policy.
struct Wish<'a> {
    labels: &'a BTreeMap<String, String>,
    excluded: Vec<&'a str>,
}

impl<'a> Wish<'a> {
    fn of(snapshot: &'a Snapshot, query: &'a Query) -> Wish<'a> {
        let urls = query.exclude.iter().filter_map(|id| snapshot.ids.get(id));
        Wish { labels: &query.labels, excluded: urls.map(AsRef::as_ref).collect() }
    }

    fn is_plain(&self) -> bool {
        self.labels.is_empty() && self.excluded.is_empty()
    }

    /// W-7: never one that the query leaves out, or that is full.
    fn admits(&self, tier: &Tier, position: u32, load: &impl Load) -> bool {
        let candidate = tier.at(position);
        let labelled =
            self.labels.iter().all(|(key, value)| candidate.labels.get(key) == Some(value));
        labelled && !self.excluded.contains(&&*candidate.url) && tier.has_room(position, load)
    }
}

impl Tier {
    fn is_open(&self, load: &impl Load) -> bool {
        match self.limited {
            false => !self.open.is_empty(),
            true => self.open.iter().any(|position| self.has_room(*position, load)),
        }
    }

    /// Whether one more request may go there. A trial is a limit of one.
    fn has_room(&self, position: u32, load: &impl Load) -> bool {
        let candidate = self.at(position);
        let trial = self.trials.binary_search(&position).is_ok();
        let limit = match (trial, candidate.in_flight_max) {
            (true, _) => 1,
            (false, 0) => return true,
            (false, limit) => limit,
        };
        load.of(candidate) < limit
    }
}

/// The candidates of one pick.
struct Choice<'a> {
    lane: &'a Lane,
    tier: &'a Tier,
    /// Their positions in the tier, ascending.
    open: &'a [u32],
    /// Their weights summed up, where that was done before.
    shares: Option<&'a Shares>,
}

impl Choice<'_> {
    fn pick(&self, query: &Query, ticket: u64, load: &impl Load) -> Option<u32> {
        match (query.policy, &query.key) {
            _ if self.open.is_empty() => None,
            (PickPolicy::RoundRobin, _) => self.nth(ticket),
            (PickPolicy::Weighted, _) => self.weighted(ticket),
            (PickPolicy::LeastLoad, _) => self.least_load(ticket, load),
            (PickPolicy::ConsistentHash, Some(key)) => self.consistent_hash(key, load),
            (PickPolicy::PowerOfTwo | PickPolicy::ConsistentHash, _) => {
                self.power_of_two(ticket, load)
            }
        }
    }

    fn count(&self) -> u64 {
        self.open.len() as u64
    }

    /// The candidate at `index` modulo their number.
    fn nth(&self, index: u64) -> Option<u32> {
        let index = usize::try_from(index % self.count()).expect("a remainder of a length");
        self.open.get(index).copied()
    }

    fn with_shares<R>(&self, use_them: impl FnOnce(&Shares) -> R) -> R {
        match self.shares {
            Some(shares) => use_them(shares),
            None => {
                let weights = self.open.iter().map(|position| self.tier.at(*position).weight);
                use_them(&Shares::of(weights))
            }
        }
    }

    fn weighted(&self, ticket: u64) -> Option<u32> {
        self.with_shares(|shares| {
            // Both factors are below the sum of the weights, which is far below 2³².
            let mark = (ticket % shares.total) * shares.step % shares.total;
            let index = shares.cumulative.partition_point(|sum| *sum <= mark);
            self.open.get(index).copied()
        })
    }

    /// Load and weight; `less` compares load / weight without dividing.
    fn burden(&self, position: u32, load: &impl Load) -> (u64, u64) {
        let candidate = self.tier.at(position);
        (u64::from(load.of(candidate)), u64::from(candidate.weight))
    }

    fn least_load(&self, ticket: u64, load: &impl Load) -> Option<u32> {
        let start = usize::try_from(ticket % self.count()).expect("a remainder of a length");
        let (before, after) = self.open.split_at(start);
        let mut best: Option<(u32, (u64, u64))> = None;
        for position in after.iter().chain(before) {
            let burden = self.burden(*position, load);
            if best.is_none_or(|(_, least)| less(burden, least)) {
                best = Some((*position, burden));
            }
        }
        best.map(|(position, _)| position)
    }

    fn power_of_two(&self, ticket: u64, load: &impl Load) -> Option<u32> {
        let count = self.count();
        if count == 1 {
            return self.open.first().copied();
        }
        let drawn = splitmix64(ticket);
        let first = drawn % count;
        let second = (drawn >> 32) % (count - 1);
        let second = second + u64::from(second >= first);
        let (first, second) = (self.nth(first)?, self.nth(second)?);
        let other_is_less = less(self.burden(second, load), self.burden(first, load));
        Some(if other_is_less { second } else { first })
    }

    /// The source: Mirrokni et al. 2016, consistent hashing with bounded loads.
    fn consistent_hash(&self, key: &str, load: &impl Load) -> Option<u32> {
        let summed = || {
            let loads =
                self.open.iter().map(|position| u64::from(load.of(self.tier.at(*position))));
            loads.sum()
        };
        let known = if self.shares.is_some() { load.total(self.lane) } else { None };
        let total: u64 = known.unwrap_or_else(summed);
        let weights = self.with_shares(|shares| shares.total);
        let fits = |position: &u32| {
            if self.open.binary_search(position).is_err() {
                return false;
            }
            let (carried, weight) = self.burden(*position, load);
            let bound = (5 * (total + 1) * weight).div_ceil(4 * weights);
            carried < bound
        };
        let clockwise = self.tier.ring().clockwise(place(key));
        clockwise.into_iter().find(fits).or_else(|| self.open.first().copied())
    }
}

fn less((load, weight): (u64, u64), (other_load, other_weight): (u64, u64)) -> bool {
    load * other_weight < other_load * weight
}

/// The source: Steele, Lea and Flood 2014; the finaliser alone, a bijection of 64 bits.
fn splitmix64(ticket: u64) -> u64 {
    let mut word = ticket.wrapping_add(0x9E37_79B9_7F4A_7C15);
    word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    word ^ (word >> 31)
}

fn nobody(snapshot: &Snapshot, lanes: [Option<&Arc<Lane>>; 2]) -> NoWorker {
    let known = || lanes.into_iter().flatten();
    let reason = match () {
        () if known().next().is_none() => Reason::UnknownModel,
        () if known().all(|lane| lane.all_draining) => Reason::AllDraining,
        // What is open and yet takes nothing is full.
        () if known().any(|lane| lane.tiers.iter().any(|tier| !tier.open.is_empty())) => {
            Reason::AllFull
        }
        () => Reason::NoneReady,
    };
    NoWorker { reason, retry_at: next_probe(snapshot, lanes) }
}

fn next_probe(snapshot: &Snapshot, lanes: [Option<&Arc<Lane>>; 2]) -> Option<Instant> {
    let members = lanes.into_iter().flatten().flat_map(|lane| lane.members());
    members.filter_map(|member| snapshot.entries.get(&member.url)?.probe.next).min()
}

/// Why a worker was not picked, or that it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explained {
    /// Of its chosen claim.
    pub id: Id,
    /// Canonical.
    pub url: Arc<str>,
    /// Whether this very query would get it.
    pub picked: bool,
    /// The first reason against it; none for a candidate.
    pub skipped: Option<&'static str>,
}

/// A dry pick: every entry, and the first reason why it would not be picked.
pub fn explain(
    snapshot: &Snapshot,
    query: &Query,
    ticket: u64,
    load: &impl Load,
) -> Vec<Explained> {
    let pick = route(snapshot, query, ticket, load).ok();
    let wish = Wish::of(snapshot, query);
    let tier = pick.and_then(|pick| snapshot.entries.get(&pick.candidate.url));
    let priority = tier.map(|entry| entry.spec.priority());
    let exact = pick.is_none_or(|pick| {
        snapshot.entries.get(&pick.candidate.url).is_none_or(|entry| entry.spec.models.is_some())
    });
    let entries = snapshot.entries.values().map(|entry| {
        let picked = pick.is_some_and(|pick| pick.candidate.url == entry.url);
        let skipped = if picked { None } else { skipped(entry, query, &wish, exact, priority) };
        Explained { id: entry.id.clone(), url: Arc::clone(&entry.url), picked, skipped }
    });
    entries.collect()
}

fn skipped(
    entry: &EntryView,
    query: &Query,
    wish: &Wish<'_>,
    exact: bool,
    priority: Option<u32>,
) -> Option<&'static str> {
    let spec = &entry.spec;
    let models = spec.models.as_deref().unwrap_or_default();
    let named =
        models.iter().any(|model| model.id == query.model || model.aliases.contains(&query.model));
    let labels = spec.labels.as_ref();
    let labelled = wish
        .labels
        .iter()
        .all(|(key, value)| labels.and_then(|labels| labels.get(key)) == Some(value));
    match (&entry.overlay, entry.status) {
        _ if spec.kind() != query.kind => Some("kind"),
        _ if !named && !models.is_empty() => Some("model"),
        (_, Status::Draining) => Some("draining"),
        (_, Status::Pending | Status::NotReady | Status::Failed) => Some("not_ready"),
        (Some(Overlay::Refused { .. }), _) => Some("refused"),
        (Some(Overlay::Suppressed), _) => Some("suppressed"),
        (Some(Overlay::Ejected), _) => Some("ejected"),
        _ if exact && !named => Some("not_exact"),
        _ if !labelled => Some("labels"),
        _ if wish.excluded.contains(&&*entry.url) => Some("excluded"),
        _ if priority.is_some_and(|priority| spec.priority() < priority) => Some("priority"),
        (None, Status::Ready) => None,
    }
}

#[cfg(test)]
mod tests;

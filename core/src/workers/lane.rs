//! The workers of one model and kind, laid out for picking.
//!
//! A lane has tiers by falling priority; a tier has its members by URL, those that may be picked as
//! positions, and the sums that weighted picks need. A change of health lays out positions and sums only:
//! members and ring are shared with the layout before. The ring is made by the first pick that needs it,
//! and is a function of the tier's URLs and weights alone.
//!
//! At most half of a lane's Ready workers are left out by ejection at a time, the longest-ejected return
//! first; if no other is left, ejections are ignored: trying is better than refusing everything.
//!
//! Absent on purpose: load. It arises where requests are sent.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use super::{Id, Kind};
use crate::time::Instant;

/// A worker as picks see it.
#[derive(Debug, PartialEq, Eq)]
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
    points: Points,
}

impl Candidate {
    /// A worker of these properties.
    pub fn new(
        number: u64,
        id: Id,
        url: Arc<str>,
        weight: u32,
        in_flight_max: u32,
        labels: Arc<BTreeMap<String, String>>,
    ) -> Candidate {
        let points = Points::default();
        Candidate { number, id, url, weight: weight.max(1), in_flight_max, labels, points }
    }

    /// Its places on a ring.
    fn points(&self) -> &[u64] {
        self.points.0.get_or_init(|| {
            let count = (64 * self.weight / 100).max(8);
            (0..count).map(|index| point(&self.url, index)).collect()
        })
    }
}

/// Computed when first needed: a function of URL and weight, so it counts in no comparison.
#[derive(Debug, Default)]
struct Points(OnceLock<Box<[u64]>>);

impl PartialEq for Points {
    fn eq(&self, _: &Points) -> bool {
        true
    }
}

impl Eq for Points {}

/// Point `index` of a URL: the first eight bytes of blake3(url ‖ index).
pub(super) fn point(url: &str, index: u32) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(url.as_bytes());
    hasher.update(&index.to_be_bytes());
    first_word(&hasher.finalize())
}

/// The place of a key on every ring.
pub(super) fn place(key: &str) -> u64 {
    first_word(&blake3::hash(key.as_bytes()))
}

fn first_word(hash: &blake3::Hash) -> u64 {
    let (first, _) = hash.as_bytes().split_first_chunk::<8>().expect("a hash has 32 bytes");
    u64::from_be_bytes(*first)
}

/// Whether a worker may be picked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Ready, and nothing hides it.
    In,
    /// Ready and ejected.
    Ejected { since: Instant },
    /// Ready, ejected, and one request may try.
    Trial { since: Instant },
    /// Taken out by an operator.
    Draining,
    /// Not Ready, refused or suppressed.
    Out,
}

/// A worker in a lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) candidate: Arc<Candidate>,
    pub(super) priority: u32,
    pub(super) standing: Standing,
}

/// The workers of one model and kind, by priority and URL.
#[derive(Debug)]
pub struct Lane {
    /// Which model; empty: workers that serve any.
    pub model: Arc<str>,
    /// Which kind.
    pub kind: Kind,
    /// By falling priority.
    pub(super) tiers: Vec<Tier>,
    /// Whether all members are being drained.
    pub(super) all_draining: bool,
}

/// The workers of one priority.
#[derive(Debug)]
pub(super) struct Tier {
    pub(super) priority: u32,
    /// By URL.
    pub(super) members: Arc<[Arc<Candidate>]>,
    /// Positions of those that may be picked, ascending.
    pub(super) open: Vec<u32>,
    /// Positions of those that may be tried once, ascending.
    pub(super) trials: Vec<u32>,
    /// Whether load decides who may be picked.
    pub(super) limited: bool,
    pub(super) shares: Shares,
    ring: Arc<OnceLock<Ring>>,
}

impl Lane {
    /// Lays `members`, which are in order of URL, out; shares with the layout `before` what it can.
    pub(super) fn lay_out(
        model: Arc<str>,
        kind: Kind,
        members: &[Member],
        before: Option<&Lane>,
    ) -> Lane {
        let back = returned(members);
        let all_draining =
            !members.is_empty() && members.iter().all(|one| one.standing == Standing::Draining);
        let mut by_priority: BTreeMap<u32, Vec<&Member>> = BTreeMap::new();
        for member in members {
            by_priority.entry(member.priority).or_default().push(member);
        }
        let tiers = by_priority.into_iter().rev().map(|(priority, members)| {
            let same =
                before.and_then(|lane| lane.tiers.iter().find(|tier| tier.priority == priority));
            Tier::lay_out(priority, &members, &back, same)
        });
        Lane { model, kind, tiers: tiers.collect(), all_draining }
    }

    /// Every worker of the lane, by priority and URL.
    pub fn members(&self) -> impl Iterator<Item = &Candidate> {
        self.tiers.iter().flat_map(|tier| tier.members.iter().map(Arc::as_ref))
    }
}

/// Which ejected workers are let in all the same: all but the latest half of the Ready ones, and every
/// one if nobody else is left.
fn returned(members: &[Member]) -> Vec<u64> {
    let mut ejected: Vec<(Instant, u64)> = Vec::new();
    let mut others = 0;
    for member in members {
        match member.standing {
            Standing::Ejected { since } => ejected.push((since, member.candidate.number)),
            Standing::In => others += 1,
            Standing::Trial { .. } | Standing::Draining | Standing::Out => {}
        }
    }
    let trials = members.iter().filter(|one| matches!(one.standing, Standing::Trial { .. }));
    let ready = ejected.len() + others + trials.count();
    let out = if ready == ejected.len() { 0 } else { ejected.len().min(ready / 2) };
    ejected.sort_unstable();
    ejected.truncate(ejected.len() - out);
    ejected.into_iter().map(|(_, number)| number).collect()
}

impl Tier {
    fn lay_out(priority: u32, members: &[&Member], back: &[u64], before: Option<&Tier>) -> Tier {
        let same = before.filter(|tier| {
            let pairs = || tier.members.iter().zip(members);
            tier.members.len() == members.len()
                && pairs().all(|(one, other)| Arc::ptr_eq(one, &other.candidate))
        });
        let shared = same.map(|tier| (Arc::clone(&tier.members), Arc::clone(&tier.ring)));
        let (candidates, ring) = shared.unwrap_or_else(|| {
            let candidates: Arc<[Arc<Candidate>]> =
                members.iter().map(|member| Arc::clone(&member.candidate)).collect();
            let ring = before.filter(|tier| same_ring(&tier.members, &candidates));
            (candidates, ring.map(|tier| Arc::clone(&tier.ring)).unwrap_or_default())
        });
        let (mut open, mut trials, mut limited) = (Vec::new(), Vec::new(), false);
        for (position, member) in (0_u32..).zip(members) {
            let open_now = match member.standing {
                Standing::In => true,
                Standing::Ejected { .. } => back.contains(&member.candidate.number),
                Standing::Trial { .. } => {
                    trials.push(position);
                    true
                }
                Standing::Draining | Standing::Out => false,
            };
            if open_now {
                limited |= member.candidate.in_flight_max > 0 || !trials.is_empty();
                open.push(position);
            }
        }
        let shares = Shares::of(open.iter().filter_map(|position| {
            let position = usize::try_from(*position).ok()?;
            candidates.get(position).map(|candidate| candidate.weight)
        }));
        Tier { priority, members: candidates, open, trials, limited, shares, ring }
    }

    /// The worker at a position.
    pub(super) fn at(&self, position: u32) -> &Candidate {
        let position = usize::try_from(position).expect("a position fits the address space");
        self.members.get(position).expect("a position of this very tier")
    }

    /// Every point of every member, routable or not.
    pub(super) fn ring(&self) -> &Ring {
        self.ring.get_or_init(|| Ring::of(&self.members))
    }
}

fn same_ring(left: &[Arc<Candidate>], right: &[Arc<Candidate>]) -> bool {
    let same = |(one, other): (&Arc<Candidate>, &Arc<Candidate>)| {
        one.weight == other.weight && one.url == other.url
    };
    left.len() == right.len() && left.iter().zip(right).all(same)
}

/// The weights of some candidates, summed up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shares {
    /// The sum through each.
    pub(super) cumulative: Vec<u64>,
    /// Of all.
    pub(super) total: u64,
    /// The greatest number up to 0.618 of the total that is coprime to it.
    pub(super) step: u64,
}

impl Shares {
    pub(super) fn of(weights: impl Iterator<Item = u32>) -> Shares {
        let mut total = 0;
        let cumulative = weights.map(|weight| {
            total += u64::from(weight);
            total
        });
        let cumulative: Vec<u64> = cumulative.collect();
        let below = (1..=total * 618 / 1000).rev();
        let step = below.into_iter().find(|step| gcd(*step, total) == 1).unwrap_or(1);
        Shares { cumulative, total, step }
    }
}

fn gcd(left: u64, right: u64) -> u64 {
    if right == 0 { left } else { gcd(right, left % right) }
}

/// Points of a tier in order, each with the position of its worker.
#[derive(Debug)]
pub(super) struct Ring {
    points: Vec<u64>,
    positions: Vec<u32>,
}

impl Ring {
    fn of(members: &[Arc<Candidate>]) -> Ring {
        let mut all: Vec<(u64, u32)> = (0_u32..)
            .zip(members)
            .flat_map(|(position, member)| member.points().iter().map(move |one| (*one, position)))
            .collect();
        all.sort_unstable();
        let (points, positions) = all.into_iter().unzip();
        Ring { points, positions }
    }

    /// Positions clockwise from `place`, once around.
    pub(super) fn clockwise(&self, place: u64) -> impl Iterator<Item = u32> + '_ {
        let start = self.points.partition_point(|point| *point < place);
        let (before, after) = self.positions.split_at(start);
        after.iter().chain(before).copied()
    }
}

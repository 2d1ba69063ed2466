//! Picks a member: a pure function over a published snapshot.
//!
//! | first that applies | but for `failover` the probe comes first |
//! | --- | --- |
//! | a preferred member, by strategy | enabled, not resting here, not parked, of the highest priority that has one |
//! | a parked one that could serve | soonest unparked first |
//! | the probe slot | if this node holds it, and nobody took it |
//! | whose rest ends first | only where the pool says `forward` |
//! | a refusal | with the moment at which to come back |
//!
//! Who is preferred, active or on probation was decided by the machine in the turn that changed it; here is
//! no clock, no lock and no allocation. What moves between turns are counts of requests in flight, which are
//! taken and given back atomically: a [`Picked`] gives back when it is dropped.
//!
//! P-1: a pick is a member of the current definition, and without `forward` none that rests on its lane, but
//! for the holder of the probe slot.
//!
//! Absent on purpose: sending, and what an answer meant.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use super::said::NoticeSaid;
use super::target::words;
use super::view::{LaneView, MemberView};
use super::{Credential, Definition, Name, Strategy};
use crate::ids::CredentialHandle;
use crate::time::{Instant, millis};

/// Every pool of this node, as any thread may read it.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// By name.
    pub pools: imbl::OrdMap<Name, Arc<Pool>>,
    /// Unix ms less the ms of this node's clock.
    pub wall: i128,
}

impl Snapshot {
    /// The pool of that name.
    pub fn pool(&self, name: &str) -> Option<&Arc<Pool>> {
        self.pools.get(name)
    }

    /// Unix ms at an instant of this node's clock.
    pub fn unix(&self, at: Instant) -> u64 {
        let millis = i128::from(at.as_micros() / 1000) + self.wall;
        u64::try_from(millis.max(0)).unwrap_or(u64::MAX)
    }
}

/// One pool.
#[derive(Debug)]
pub struct Pool {
    /// Its name.
    pub name: Name,
    /// What it is.
    pub definition: Arc<Definition>,
    /// Whether a configuration document defines it, and nobody else may.
    pub from_document: bool,
    /// In the order of the definition.
    pub members: Arc<[Arc<Member>]>,
    /// For requests of no model, and of models without a lane of their own.
    pub any: Arc<Lane>,
    /// By model, and by family where one rests.
    pub lanes: BTreeMap<Arc<str>, Arc<Lane>>,
    /// Families with a lane: a model of one of them, without a lane of its own, uses the family's. Of several,
    /// it uses the first one's lane, and of that no member which another one's holds back.
    pub families: Vec<Arc<str>>,
    /// What readers see of each lane; the first is the common one.
    pub views: Vec<LaneView>,
    /// What readers see of each member, in the order of the definition.
    pub rows: Vec<Arc<MemberView>>,
    /// What people were told of it last, by [`super::notice::Notice::what`].
    pub told: BTreeMap<Arc<str>, NoticeSaid>,
}

impl Pool {
    /// The lane that a request for `model` uses.
    pub fn lane(&self, model: Option<&str>) -> &Lane {
        let Some(model) = model.filter(|_| !self.lanes.is_empty()) else { return &self.any };
        let own = self.lanes.get(model).or_else(|| self.family(model));
        own.unwrap_or(&self.any)
    }

    fn family(&self, model: &str) -> Option<&Arc<Lane>> {
        self.of_families(model).next()
    }

    /// The lanes of every family that a model is of.
    fn of_families(&self, model: &str) -> impl Iterator<Item = &Arc<Lane>> {
        let meant = |word: &str| self.families.iter().any(|family| **family == *word);
        words(model).filter(move |word| meant(word)).filter_map(|word| self.lanes.get(word))
    }

    /// The model, if it is of several families and has no lane of its own.
    fn shared<'a>(&self, model: Option<&'a str>) -> Option<&'a str> {
        let model = model.filter(|_| self.families.len() > 1)?;
        let several = !self.lanes.contains_key(model) && self.of_families(model).nth(1).is_some();
        several.then_some(model)
    }

    fn member(&self, position: u32) -> Option<&Arc<Member>> {
        self.members.get(usize::try_from(position).ok()?)
    }
}

/// A credential in a pool.
#[derive(Debug)]
pub struct Member {
    /// Which credential.
    pub handle: CredentialHandle,
    /// Under which epoch.
    pub epoch: u64,
    /// Its head; `None` while no such credential is known.
    pub credential: Option<Arc<Credential>>,
    /// Its share.
    pub weight: u32,
    /// Requests of this node in flight.
    pub load: Arc<Load>,
}

/// A count of requests in flight, shared by all snapshots.
#[derive(Debug, Default)]
pub struct Load(AtomicU32);

impl Load {
    /// How many there are.
    pub fn count(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    fn begin(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn begin_below(&self, limit: u32) -> bool {
        let one_more = |count| (count < limit).then_some(count + 1);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_ok()
    }

    fn end(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a pick sees of one model, or of all.
#[derive(Debug, Default)]
pub struct Lane {
    /// How a preferred member is chosen.
    pub strategy: Strategy,
    /// Positions of preferred members, ascending.
    pub open: Vec<u32>,
    /// The active member's place in `open`; for `failover`.
    pub start: usize,
    /// Positions of parked members that could serve, soonest unparked first.
    pub parked: Vec<u32>,
    /// Positions of members that could not, ascending; of families alone.
    pub closed: Vec<u32>,
    /// Members that came back a moment ago and are let in slowly, by position.
    pub gates: Vec<Gate>,
    /// Probes that this node may send.
    pub slots: Vec<Slot>,
    /// Whose rest ends first, where the pool says `forward`.
    pub forward: Option<u32>,
    /// What a request hears if nothing of this helps.
    pub refusal: Refused,
    /// Weights of `open`, summed up; for `weighted`.
    pub shares: Shares,
    /// Whether an `ok` teaches something: then it is reported, too.
    pub tells: bool,
}

/// How many requests at once a member takes that came back a moment ago.
#[derive(Debug, Clone)]
pub struct Gate {
    /// Whose.
    pub position: u32,
    /// How many.
    pub limit: u32,
    /// How many there are.
    pub load: Arc<Load>,
}

/// The one try of a half-open member.
#[derive(Debug, Clone)]
pub struct Slot {
    /// Whose.
    pub position: u32,
    /// Whether nobody took it yet.
    pub free: Arc<AtomicBool>,
}

/// What a request asks of a pool.
#[derive(Debug, Clone, Copy, Default)]
pub struct Query<'a> {
    /// For which model, if that is known.
    pub model: Option<&'a str>,
    /// A number of its own, for turns and draws.
    pub ticket: u64,
    /// Members that this very request was sent to before.
    pub tried: &'a [CredentialHandle],
    /// Whether it may be a probe: what cannot be sent again may not.
    pub no_probe: bool,
}

/// A member for one request, until it is dropped.
#[derive(Debug)]
pub struct Picked {
    /// Who.
    pub member: Arc<Member>,
    /// Whether it is the one try of a half-open member: [`super::Command::Probing`] first.
    pub probe: bool,
    /// Whether an `ok` must be reported, too.
    pub tells: bool,
    gate: Option<Arc<Load>>,
    slot: Option<Arc<AtomicBool>>,
}

impl Picked {
    /// The probe is on its way: its slot is spent, and not given back.
    pub fn went(&mut self) {
        self.slot = None;
    }
}

impl Drop for Picked {
    fn drop(&mut self) {
        self.member.load.end();
        if let Some(gate) = &self.gate {
            gate.end();
        }
        if let Some(slot) = &self.slot {
            slot.store(true, Ordering::Relaxed);
        }
    }
}

/// Nobody can be picked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Refused {
    /// Why.
    pub why: Why,
    /// When to come back, on this node's clock; `None`: only an operator can help.
    pub retry_at: Option<Instant>,
    /// Whether it teaches something that somebody asked: then [`super::Command::Wanted`] says so.
    pub tells: bool,
}

impl Refused {
    /// How long to wait from `now`, in ms: 1000..21 600 000.
    pub fn retry_after_ms(&self, now: Instant) -> u64 {
        let wait = self.retry_at.map_or(RETRY_MS_MAX, |at| millis(at.since(now)));
        wait.clamp(RETRY_MS_MIN, RETRY_MS_MAX)
    }
}

/// Why nobody can be picked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Why {
    /// Every member that could serve was tried by this request.
    Tried,
    /// Those that could serve come back slowly, and have enough at the moment.
    Ramping,
    /// Every member rests because of a throttle or a quota: 429 `pool_exhausted`.
    Exhausted,
    /// Nothing is servable: 503 `pool_unavailable`.
    #[default]
    Unavailable,
}

/// Picks a member for `query`, or says why not and when to come back.
pub fn pick(pool: &Pool, query: &Query<'_>) -> Result<Picked, Refused> {
    let lane = pool.lane(query.model);
    let choice = Choice { pool, lane, query, shared: pool.shared(query.model) };
    let probe_first = lane.strategy != Strategy::Failover;
    if probe_first && let Some(picked) = choice.probe() {
        return Ok(picked);
    }
    if let Some(picked) = choice.preferred().or_else(|| choice.parked()) {
        return Ok(picked);
    }
    if !probe_first && let Some(picked) = choice.probe() {
        return Ok(picked);
    }
    if let Some(picked) = lane.forward.and_then(|position| choice.take(position)) {
        return Ok(picked);
    }
    Err(choice.refused())
}

/// Takes the try of one member, for the request that its pool sends by itself; `None` where somebody was faster.
pub fn pick_try(pool: &Pool, model: Option<&str>, member: CredentialHandle) -> Option<Picked> {
    let lane = pool.lane(model);
    let query = Query { model, ..Query::default() };
    let choice = Choice { pool, lane, query: &query, shared: pool.shared(model) };
    let is_of = |slot: &&Slot| pool.member(slot.position).is_some_and(|one| one.handle == member);
    lane.slots.iter().find(is_of).and_then(|slot| choice.take_slot(slot))
}

struct Choice<'a> {
    pool: &'a Pool,
    lane: &'a Lane,
    query: &'a Query<'a>,
    /// The model, where more than one family holds members back.
    shared: Option<&'a str>,
}

impl Choice<'_> {
    fn preferred(&self) -> Option<Picked> {
        let open = self.lane.open.as_slice();
        let first = self.first(open);
        let (before, after) = open.split_at_checked(first)?;
        after.iter().chain(before).find_map(|position| self.take_allowed(*position))
    }

    /// Where in `open` the strategy begins.
    fn first(&self, open: &[u32]) -> usize {
        let ticket = self.query.ticket;
        match self.lane.strategy {
            Strategy::Failover => self.lane.start,
            Strategy::FillFirst => 0,
            Strategy::RoundRobin => within(ticket, open.len()),
            Strategy::Weighted => self.lane.shares.place(ticket),
            Strategy::LeastUsed => self.least_used(open),
        }
    }

    fn least_used(&self, open: &[u32]) -> usize {
        let load = |place: usize| {
            let member = open.get(place).and_then(|position| self.pool.member(*position));
            member.map_or(u32::MAX, |member| member.load.count())
        };
        if open.len() <= EXACT_MEMBERS_MAX {
            return (0..open.len()).min_by_key(|place| load(*place)).unwrap_or(0);
        }
        let one = within(splitmix64(self.query.ticket), open.len());
        let other = within(splitmix64(!self.query.ticket), open.len());
        if load(other) < load(one) { other } else { one }
    }

    fn parked(&self) -> Option<Picked> {
        self.lane.parked.iter().find_map(|position| self.take_allowed(*position))
    }

    fn probe(&self) -> Option<Picked> {
        if self.query.no_probe {
            return None;
        }
        self.lane.slots.iter().find_map(|slot| self.take_slot(slot))
    }

    fn take_slot(&self, slot: &Slot) -> Option<Picked> {
        let member = self.untried(slot.position).filter(|_| self.allowed(slot.position))?;
        let taken = slot.free.swap(false, Ordering::Relaxed);
        taken.then(|| {
            member.load.begin();
            let (member, slot) = (Arc::clone(member), Some(Arc::clone(&slot.free)));
            Picked { member, probe: true, tells: true, gate: None, slot }
        })
    }

    fn untried(&self, position: u32) -> Option<&Arc<Member>> {
        let member = self.pool.member(position)?;
        (!self.query.tried.contains(&member.handle)).then_some(member)
    }

    /// Whether no other family of the model holds a member back.
    fn allowed(&self, position: u32) -> bool {
        let Some(model) = self.shared else { return true };
        let mut others =
            self.pool.of_families(model).filter(|one| !std::ptr::eq(&***one, self.lane));
        others.all(|lane| lane.closed.binary_search(&position).is_err())
    }

    fn take_allowed(&self, position: u32) -> Option<Picked> {
        if self.allowed(position) { self.take(position) } else { None }
    }

    fn take(&self, position: u32) -> Option<Picked> {
        let member = self.untried(position)?;
        let mut gate = None;
        if !self.lane.gates.is_empty()
            && let Some(found) = self.lane.gates.iter().find(|gate| gate.position == position)
        {
            if !found.load.begin_below(found.limit) {
                return None;
            }
            gate = Some(Arc::clone(&found.load));
        }
        member.load.begin();
        let tells = self.lane.tells || gate.is_some() || self.shared.is_some();
        let member = Arc::clone(member);
        Some(Picked { member, probe: false, tells, gate, slot: None })
    }

    fn refused(&self) -> Refused {
        let lane = self.lane;
        let could = lane.open.iter().chain(&lane.parked);
        let mut could = could.filter(|position| self.allowed(**position)).peekable();
        if could.peek().is_none() {
            // Whoever is of several families is told of: the model gets a lane of its own.
            let tells = lane.refusal.tells || self.shared.is_some();
            return Refused { tells, ..lane.refusal };
        }
        let ramping = could.any(|position| self.untried(*position).is_some());
        let why = if ramping { Why::Ramping } else { Why::Tried };
        Refused { why, retry_at: None, tells: lane.tells }
    }
}

/// Weights, summed up.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Shares {
    /// The sum through each.
    cumulative: Vec<u64>,
    /// The greatest number up to 0.618 of the total that is coprime to it.
    step: u64,
}

impl Shares {
    /// Of weights, in order.
    pub fn of(weights: impl Iterator<Item = u32>) -> Shares {
        let mut total = 0_u64;
        let cumulative = weights.map(|weight| {
            total += u64::from(weight);
            total
        });
        let cumulative: Vec<u64> = cumulative.collect();
        let below = (1..=total * 618 / 1000).rev();
        let step = below.into_iter().find(|step| gcd(*step, total) == 1).unwrap_or(1);
        Shares { cumulative, step }
    }

    /// Where the `ticket`th request goes: over as many requests as the weights sum up to, each has its share
    /// exactly, and they take turns.
    fn place(&self, ticket: u64) -> usize {
        let Some(total) = self.cumulative.last().copied().filter(|total| *total > 0) else {
            return 0;
        };
        let point = u128::from(ticket % total) * u128::from(self.step) % u128::from(total);
        let point = u64::try_from(point).expect("a remainder of a 64-bit total fits 64 bits");
        self.cumulative.partition_point(|sum| *sum <= point)
    }
}

fn gcd(left: u64, right: u64) -> u64 {
    if right == 0 { left } else { gcd(right, left % right) }
}

fn within(word: u64, length: usize) -> usize {
    let length = length.max(1) as u64;
    usize::try_from(word % length).expect("a number below a length is a position")
}

/// One step of splitmix64 (Steele, Lea, Flood 2014) from `state`.
fn splitmix64(state: u64) -> u64 {
    let mut word = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    word ^ (word >> 31)
}

/// Up to so many members, `least_used` compares them all.
const EXACT_MEMBERS_MAX: usize = 16;
const RETRY_MS_MIN: u64 = 1000;
const RETRY_MS_MAX: u64 = 21_600_000;

#[cfg(test)]
mod tests;

//! Promises of pools: P-1 to P-8, P-10, P-11 and P-14 to P-18.
//!
//! What a node may know is read from its maps ([`words`]), word by word and without anything that its pools
//! keep; which member a lease is of, and what was ever said to be over, is the simulator's own record.
//!
//! Absent on purpose: P-9 and P-16's reading of answers, which are laws of `core`; P-12, since a run has no
//! bodies of credentials; P-13, which is the gateway's.

mod acts;
mod lives;
mod people;
mod picks;
mod tries;
mod words;

use std::collections::BTreeMap;
use std::sync::Arc;

use quorate_core::ids::{CredentialHandle, Incarnation, NodeId};
use quorate_core::limits;
use quorate_core::node::membership::State as Liveness;
use quorate_core::node::pools::view::{MemberView, State};
use quorate_core::node::pools::{LeaseId, Name, Pool, Snapshot};
use quorate_core::wire::segment::Topic;

use self::people::People;
pub use self::picks::{Call, Calls};
use self::words::{Cleared, Moment, Rest, Standing, Unsaid, Words};
use super::{Id, Ledger, Turn};
use crate::verdict::Failure;

/// See the module.
#[derive(Debug, Default)]
pub struct Watch {
    observers: BTreeMap<usize, Observer>,
    /// Whom each lease is of.
    leases: BTreeMap<LeaseId, CredentialHandle>,
    /// What anybody ever said to be over.
    cleared: Cleared,
    /// The latest that the wall clock of each node ever read, Unix ms: by it a node says no more what is over.
    latest: BTreeMap<NodeId, u64>,
    /// What callers got.
    pub calls: Calls,
}

/// What is known of one process.
#[derive(Debug, Default)]
struct Observer {
    words: Words,
    shown: Option<Arc<Snapshot>>,
    /// What its wall clock read at its last turn, Unix ms.
    unix: u64,
    /// Whether a lane was last said to be exhausted.
    edges: BTreeMap<(Name, Arc<str>), bool>,
    /// Alive or suspect, as of its last turn.
    members: BTreeMap<NodeId, Incarnation>,
    /// What it told people.
    people: People,
    /// When time alone changes what is shown, Unix ms.
    soonest: Option<u64>,
    /// It drops what others said in this turn; by that it still judged what came before.
    slept: bool,
}

impl Watch {
    /// A process starts on `machine`.
    pub(super) fn started(&mut self, machine: usize) {
        self.observers.insert(machine, Observer::default());
    }

    /// A process drops what it remembers of others.
    pub(super) fn slept(&mut self, machine: usize) {
        if let Some(observer) = self.observers.get_mut(&machine) {
            observer.slept = true;
        }
    }

    /// A lease was given.
    pub fn leased(&mut self, lease: LeaseId, of: CredentialHandle) {
        self.leases.insert(lease, of);
    }

    pub(super) fn turn(&mut self, turn: &Turn<'_>, ledger: &mut Ledger) -> Result<(), Failure> {
        let host = turn.machines.get(turn.machine);
        let pooled = host.is_some_and(|host| !host.settings.pools.pools.is_empty());
        let seen = |observer: &Observer| pooled || observer.shown.is_some();
        if !self.observers.get(&turn.machine).is_some_and(seen) {
            return Ok(());
        }
        self.blame(turn, ledger)?;
        let Some(observer) = self.observers.get_mut(&turn.machine) else { return Ok(()) };
        let snapshot = turn.process.node.published().pools.load_full();
        let unix = snapshot.unix(turn.local());
        let latest = self.latest.entry(turn.process.replica.node.clone()).or_default();
        *latest = (*latest).max(unix);
        observer.edges(turn, &snapshot, ledger)?;
        observer.tries(turn, unix, ledger)?;
        observer.acts(turn, &snapshot, unix, ledger)?;
        observer.lives(turn, unix, ledger)?;
        observer.people.turn(turn, &snapshot, ledger)?;
        if std::mem::take(&mut observer.slept) {
            observer.words.forget_others(&turn.process.node.local().node);
        }
        let (former, maps) = (observer.unix, turn.process.node.maps());
        let touched = &turn.process.touched;
        let moved = touched.all
            || !touched.writes.is_empty()
            || touched.maps.iter().any(|(_, topic)| *topic == Topic::POOLS)
            || observer.shown.is_none();
        if let Some(unsaid) = moved.then(|| observer.words.read(maps, unix)).flatten() {
            let by = &turn.process.node.local().node;
            for wrote in touched.writes.iter().filter(|one| one.topic == Topic::POOLS) {
                if let Some(value) = &wrote.entry.value {
                    self.cleared.wrote(by, &wrote.entry.key, value);
                }
            }
            if let Some(own) = observer.words.books.get(by) {
                self.cleared.note(by, own);
            }
            for one in &unsaid {
                let over = self.cleared.has(&one.by, &one.target, &one.rest.origin);
                // Whoever says it, or first said it, may have seen the end.
                let latest = [&one.by, &one.rest.origin.node].map(|node| self.latest.get(node));
                let seen = latest.into_iter().flatten().copied().fold(former, u64::max);
                observer.later(turn.machine, one, over, seen, ledger)?;
            }
        }
        observer.looks(turn, snapshot, unix, ledger)
    }
}

impl Observer {
    /// P-2: of what somebody said, the end moves earlier by a clear alone; else its author is over, or has seen
    /// the end.
    fn later(
        &self,
        machine: usize,
        was: &Unsaid,
        cleared: bool,
        seen: u64,
        ledger: &mut Ledger,
    ) -> Result<(), Failure> {
        let now = self.words.rests.get(&was.target);
        let until = now.map_or(0, |rest| rest.rest_until);
        let stated = now.and_then(|rest| rest.stated_reset);
        let earlier = (until < was.rest.rest_until && seen < was.rest.rest_until)
            || (stated < was.rest.stated_reset && Some(seen) < was.rest.stated_reset);
        ledger.hold(Id::P2, machine, !earlier || cleared || was.life_over, || {
            format!(
                "{} said that {} rests until {} ({:?}), and it rests until {until} ({stated:?}): {:?}",
                was.by, was.target, was.rest.rest_until, was.rest.stated_reset, was.rest
            )
        })
    }

    /// What is shown, once it is another snapshot; before that, that it is not too late for one.
    fn looks(
        &mut self,
        turn: &Turn<'_>,
        snapshot: Arc<Snapshot>,
        unix: u64,
        ledger: &mut Ledger,
    ) -> Result<(), Failure> {
        let machine = turn.machine;
        self.unix = unix;
        let rows = turn.process.node.published().members.load();
        self.members = rows
            .rows
            .values()
            .filter(|row| matches!(row.state, Liveness::Alive | Liveness::Suspect))
            .map(|row| (row.node.clone(), row.incarnation))
            .collect();
        if self.shown.as_ref().is_some_and(|before| Arc::ptr_eq(before, &snapshot)) {
            let late = self.soonest.is_some_and(|soonest| soonest <= unix);
            return ledger.hold(Id::P17, machine, !late, || {
                format!("what ended at {:?} is shown at {unix}", self.soonest)
            });
        }
        self.pointers(turn, &snapshot, ledger)?;
        self.soonest = None;
        // A pool that comes again begins open.
        self.edges.retain(|(pool, _), _| snapshot.pool(pool.as_str()).is_some());
        self.people.retain(&snapshot);
        for pool in snapshot.pools.values() {
            for row in &pool.rows {
                self.row(machine, pool, row, unix, ledger)?;
            }
            self.lanes(machine, pool, unix, ledger)?;
        }
        let wake = turn.process.wake.map(|wake| snapshot.unix(wake.at));
        let early = self.soonest.is_none_or(|soonest| wake.is_some_and(|wake| wake <= soonest));
        let soonest = self.soonest;
        self.shown = Some(snapshot);
        ledger.hold(Id::P17, machine, early, || {
            format!("something ends at {soonest:?}, and the node wakes at {wake:?}")
        })
    }

    /// P-5 and P-14: every lane has as many members that can serve as the maps say.
    fn lanes(
        &self,
        machine: usize,
        pool: &Pool,
        unix: u64,
        ledger: &mut Ledger,
    ) -> Result<(), Failure> {
        let lanes = pool.views.len();
        let bounded = lanes <= limits::POOL_LANES_MAX;
        ledger.hold(Id::P14, machine, bounded, || format!("{lanes} lanes"))?;
        let (at, also) = (moment(pool, unix), here(pool));
        for view in &pool.views {
            let serves = |row: &&Arc<MemberView>| {
                let of = (row.handle, row.epoch);
                let standing = self.words.standing(at, pool, of, &view.model, &also);
                row.state != State::Disabled && standing == Standing::Servable
            };
            let servable = pool.rows.iter().filter(serves).count();
            ledger.hold(Id::P5, machine, view.servable == servable, || {
                format!("`{}` shows {} servable of {servable}", view.model, view.servable)
            })?;
            let none = servable == 0 && !pool.rows.is_empty();
            ledger.hold(Id::P5, machine, view.exhausted_since.is_some() == none, || {
                let since = view.exhausted_since;
                format!("`{}` has {servable} servable and is exhausted since {since:?}", view.model)
            })?;
        }
        Ok(())
    }

    /// P-8: what is shown of a member is the fold of what is said, and all of it.
    fn row(
        &mut self,
        machine: usize,
        pool: &Pool,
        row: &MemberView,
        unix: u64,
        ledger: &mut Ledger,
    ) -> Result<(), Failure> {
        let at = moment(pool, unix);
        for (_, rest) in here(pool) {
            let ends = rest.next_change(at).into_iter();
            self.soonest = self.soonest.into_iter().chain(ends).min();
        }
        let shared = row.rests.iter().filter(|shown| !is_here(&shown.target));
        for shown in shared {
            let said = self.words.rests.get(&*shown.target);
            let rest = Rest::shown(shown);
            let same = said.is_some_and(|said| *said == rest || said.is_cut_to(&rest));
            ledger.hold(Id::P8, machine, same, || {
                format!("{} is shown as {rest:?} and said as {said:?}", shown.target)
            })?;
        }
        let own = format!("{}/{}/", row.handle, row.epoch);
        for (target, rest) in &self.words.rests {
            let ours = target.starts_with(&own) || target.starts_with("p:");
            if !ours || rest.standing(at) == Standing::Servable || row.state == State::Disabled {
                continue;
            }
            let ends = rest.next_change(at).into_iter();
            self.soonest = self.soonest.into_iter().chain(ends).min();
            let shown = row.rests.iter().any(|shown| *shown.target == **target);
            ledger.hold(Id::P8, machine, shown, || {
                format!("{target} is said to be {rest:?}, and not shown of {}", row.handle)
            })?;
        }
        Ok(())
    }
}

fn moment(pool: &Pool, unix: u64) -> Moment {
    Moment { unix, half_open_max: pool.definition.profile.half_open_max_ms }
}

/// Whether a target is of this node's address alone: nobody else hears of it.
fn is_here(target: &str) -> bool {
    target.starts_with("p:") && target.ends_with("/*")
}

/// What rests for this node's address alone, on the node's own word.
fn here(pool: &Pool) -> Vec<(String, Rest)> {
    let mut here: BTreeMap<String, Rest> = BTreeMap::new();
    for shown in pool.rows.iter().flat_map(|row| &row.rests).filter(|one| is_here(&one.target)) {
        here.insert(shown.target.to_string(), Rest::shown(shown));
    }
    here.into_iter().collect()
}

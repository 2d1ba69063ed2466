//! The machine: definitions, credentials, what every node says and what callers report meet here.
//!
//! Every turn ends in one place, `review`: how each member of a touched pool stands in each lane, who is
//! active, what edge that is and what a pick sees. All state changes first, then what people hear of it: what
//! peers say comes word by word, and a rest whose clear is the next word is nobody's news. A member is judged
//! anew when something is known of it otherwise (`touch`, `mark`), when its own time has come,
//! and with all others when it is of the pool or of the lane; until then its last judgement holds.
//!
//! P-5: a lane is exhausted iff no member is servable; its edges alternate. P-14: every table keeps its bound.
//! P-17: what time has ended is over before anything new is looked at, and `next_wake` is never later.
//!
//! Absent on purpose: any trust in a timer. A timer makes a pool be looked at; what is then so, the fold says.

mod counts;
mod define;
mod hear;
mod lanes;
mod lease;
mod operate;
mod publish;
mod report;
mod review;
mod say;
mod tries;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::lane::{LaneState, Who};
use super::pick::{Load, Member};
use super::probe::Tries;
use super::rest::{Folded, Level};
use super::said::{Book, ParkSaid};
use super::target::{Reach, Subject, Target, Whom};
use super::view::MemberView;
use super::{Cause, Credential, Definition, Input, Name, Output, Settings, Snapshot};
use crate::ids::{CredentialHandle, Incarnation, NodeId, Replica};
use crate::limits;
use crate::machine::{Machine, Wake};
use crate::time::{Instant, UnixTime, micros};
use crate::wire::Blob;
use counts::Counters;
use define::Defined;
use lease::Leases;

/// Every pool that this node knows of.
#[derive(Debug)]
pub struct Pools {
    settings: Settings,
    /// What callers have defined.
    agreed: Defined,
    local: Replica,
    started: bool,
    /// Whether credentials have been read. Until then nobody is said to be missing, and no pointer moves.
    loaded: bool,
    /// Unix ms less this clock's ms, as the host last said.
    wall: i128,
    credentials: BTreeMap<CredentialHandle, Arc<Credential>>,
    /// Since when a credential has another body than it had.
    renewed: BTreeMap<CredentialHandle, Instant>,
    pools: BTreeMap<Name, PoolState>,
    pooled: BTreeMap<CredentialHandle, Name>,
    /// What each author says, ourselves included.
    books: BTreeMap<NodeId, Book>,
    folded: BTreeMap<Whom, BTreeMap<Reach, Folded>>,
    parks: BTreeMap<Who, ParkSaid>,
    levels: BTreeMap<Target, Level>,
    tries: BTreeMap<Target, Tries>,
    /// When each of our clears last covered something in view.
    covered: BTreeMap<Target, u64>,
    /// Alive or suspect.
    members: BTreeMap<NodeId, Incarnation>,
    /// Since when each of the others is known to be there, Unix ms.
    met: BTreeMap<NodeId, u64>,
    /// Whose maps are not here again since the start, or since they were dropped: till then it is not known
    /// that nobody rests any more.
    awaited: BTreeSet<NodeId>,
    /// Whoever is not here by then, when all have forgotten it, is awaited no more.
    awaits_until: Option<Instant>,
    /// We slept until this turn: what others said before is not said anew.
    asleep: bool,
    /// A life that took another's place, while the inputs that say what differs are being heard.
    switching: Option<Replica>,
    sequence: u64,
    demands: u64,
    leases: Leases,
    /// When which pool is looked at again, Unix ms.
    due: BTreeSet<(u64, Name)>,
    /// Pools to be looked at before the turn ends, each with why, and whether an answer proved it.
    touched: BTreeMap<Name, (Cause, bool)>,
    /// Members of which something is known otherwise since their pool was looked at.
    stale: BTreeSet<CredentialHandle>,
    /// Our clears that cover something in view.
    covering: BTreeSet<Target>,
    /// Why what is touched just now changes, and whether an answer proved it.
    because: (Cause, bool),
    /// Pools that the snapshot shows otherwise.
    dirty: BTreeSet<Name>,
    snapshot: Snapshot,
    /// What the store held at the start.
    persisted: BTreeMap<String, Blob>,
    counters: Counters,
}

/// One pool.
#[derive(Debug)]
struct PoolState {
    definition: Arc<Definition>,
    from_document: bool,
    /// The model of the request that it sends by itself; empty: of none that is known.
    own: Option<Arc<str>>,
    members: Vec<MemberState>,
    /// Every member is looked at the next time.
    stale: bool,
    /// The lanes that members were last judged for, and which are of a family.
    judged_for: Vec<(Arc<str>, bool)>,
    /// By model; the empty one is for all without a lane of their own.
    lanes: BTreeMap<Arc<str>, LaneState>,
    /// When it is looked at again.
    due: Option<u64>,
    /// Members as the snapshot shows them.
    shown: Arc<[Arc<Member>]>,
}

#[derive(Debug)]
struct MemberState {
    who: Who,
    weight: Option<u32>,
    load: Arc<Load>,
    /// Models and (`true`) families that something of it rests for.
    needs: Vec<(Arc<str>, bool)>,
    /// When a word of ours about it is to be dropped, Unix ms.
    drops_at: Option<u64>,
    /// As readers see it; `None`: as it is now.
    row: Option<Arc<MemberView>>,
}

impl Pools {
    /// A machine that has done nothing yet. `persisted` holds the rows of [`Output::Persist`].
    pub fn new(settings: Settings, local: Replica, persisted: &BTreeMap<String, Blob>) -> Pools {
        let rows = persisted.iter().filter(|(key, _)| key.starts_with("pools/"));
        let members = BTreeMap::from([(local.node.clone(), local.incarnation)]);
        let books = BTreeMap::from([(local.node.clone(), Book::default())]);
        Pools {
            settings,
            agreed: Defined::default(),
            local,
            started: false,
            loaded: false,
            wall: 0,
            credentials: BTreeMap::new(),
            renewed: BTreeMap::new(),
            pools: BTreeMap::new(),
            pooled: BTreeMap::new(),
            books,
            folded: BTreeMap::new(),
            parks: BTreeMap::new(),
            levels: BTreeMap::new(),
            tries: BTreeMap::new(),
            covered: BTreeMap::new(),
            members,
            met: BTreeMap::new(),
            awaited: BTreeSet::new(),
            awaits_until: None,
            asleep: false,
            switching: None,
            sequence: 0,
            demands: 0,
            leases: Leases::default(),
            due: BTreeSet::new(),
            touched: BTreeMap::new(),
            stale: BTreeSet::new(),
            covering: BTreeSet::new(),
            because: (Cause::RestOver, false),
            dirty: BTreeSet::new(),
            snapshot: Snapshot::default(),
            persisted: rows.map(|(key, value)| (key.clone(), value.clone())).collect(),
            counters: Counters::default(),
        }
    }

    /// Unix ms at an instant of this clock.
    fn unix(&self, at: Instant) -> u64 {
        let millis = i128::from(at.as_micros() / 1000) + self.wall;
        u64::try_from(millis.max(0)).unwrap_or(u64::MAX)
    }

    /// The first instant at which this clock reads `unix`.
    fn instant(&self, unix: u64) -> Instant {
        let millis = (i128::from(unix) - self.wall).max(0);
        Instant::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
    }

    fn clock(&mut self, now: Instant, unix: UnixTime) {
        let wall = i128::from(unix.0) - i128::from(micros_of(now) / 1000);
        if self.wall != wall {
            self.wall = wall;
            self.touch_all();
        }
    }

    /// Has a pool looked at. Of several causes in a turn that one counts which waits for no other node's word,
    /// else the first; that time has passed is none beside another one.
    fn look_at(&mut self, name: Name) {
        let because = self.because;
        let rank = |(cause, proved)| (proved, cause == Cause::Cleared, cause != Cause::RestOver);
        let said = self.touched.entry(name).or_insert(because);
        if rank(because) > rank(*said) {
            *said = because;
        }
    }

    fn touch_all(&mut self) {
        let names: Vec<Name> = self.pools.keys().cloned().collect();
        names.into_iter().for_each(|name| self.look_at(name));
        self.pools.values_mut().for_each(|pool| pool.stale = true);
    }

    /// Whatever is known of `whom` changed: its pools are looked at again.
    fn touch(&mut self, whom: &Whom) {
        for (handle, name) in self.members_of(whom) {
            self.stale.insert(handle);
            self.look_at(name);
        }
    }

    /// What is known of `whom` changed, and is shown when its pools are looked at for another reason.
    fn mark(&mut self, whom: &Whom) {
        let members = self.members_of(whom);
        self.stale.extend(members.into_iter().map(|(handle, _)| handle));
    }

    /// Members that something about `whom` is about, each with its pool.
    fn members_of(&self, (subject, _): &Whom) -> Vec<(CredentialHandle, Name)> {
        let all = || self.credentials.values();
        let handles: Vec<CredentialHandle> = match subject {
            Subject::Credential(handle) => vec![*handle],
            Subject::Group(group) => {
                all().filter(|one| one.group() == Some(group)).map(|one| one.handle).collect()
            }
            Subject::Provider(provider) => {
                all().filter(|one| one.provider == *provider).map(|one| one.handle).collect()
            }
        };
        let pooled = |handle| Some((handle, self.pooled.get(&handle)?.clone()));
        handles.into_iter().filter_map(pooled).collect()
    }

    /// P-17: looks at the pools whose time has come, and at no other before the turn ends.
    fn elapse(&mut self, now: Instant, out: &mut Vec<Output>) {
        let unix = self.unix(now);
        self.leases.expire(unix);
        if self.awaits_until.is_some_and(|until| until <= now) {
            self.awaited.clear();
            self.awaits_until = None;
            self.touch_all();
        }
        while self.due.first().is_some_and(|(at, _)| *at <= unix)
            && let Some((_, name)) = self.due.pop_first()
        {
            self.look_at(name.clone());
            self.review_now(unix, &name, out);
        }
    }

    /// Ends a turn: what it touched is judged, and told.
    pub fn flush(&mut self, now: Instant, out: &mut Vec<Output>) {
        self.review_touched(self.unix(now), out);
        self.asleep = false;
        self.assert_invariants();
    }

    fn assert_invariants(&self) {
        assert!(self.pools.len() <= limits::POOLS_MAX, "P-14: {} pools", self.pools.len());
        let own = self.books.get(&self.local.node).map_or(0, Book::len);
        assert!(own <= limits::POOL_ENTRIES_MAX, "P-14: {own} entries in our own map");
        assert!(
            self.due.len() <= self.pools.len(),
            "P-18: {} timers for {} pools",
            self.due.len(),
            self.pools.len()
        );
    }
}

fn micros_of(at: Instant) -> u64 {
    micros(at.since(Instant::ZERO))
}

impl Machine for Pools {
    type Input = Input;
    type Output = Output;

    fn handle(&mut self, now: Instant, input: Input, out: &mut Vec<Output>) {
        self.because = (Cause::RestOver, false);
        if let Input::Clock { unix } = input {
            // What was over by the clock before alone is not over.
            self.clock(now, unix);
        }
        self.elapse(now, out);
        let unix = self.unix(now);
        if !matches!(&input, Input::Changed { owner, .. } if Some(owner) == self.switching.as_ref())
        {
            self.switching = None;
        }
        match input {
            Input::Start => self.start(unix, out),
            Input::Credential { handle, credential, renewed } => {
                self.credential(handle, credential.map(|one| *one));
                if renewed {
                    self.renewed.insert(handle, now);
                    self.renewed(unix, handle, out);
                }
            }
            Input::Loaded => {
                self.loaded = true;
                self.because = (Cause::Credential, false);
                self.touch_all();
            }
            Input::Changed { owner, key, value } => {
                self.changed(unix, owner, &key, value.as_ref(), out);
            }
            Input::Dropped { owner, last: _ } => self.dropped(unix, &owner, out),
            Input::Switched { old, new } => self.switched(&old, new),
            Input::Slept => self.slept(unix),
            Input::Notice(notice) => self.noticed(unix, notice, out),
            Input::Raised { replica } => self.raised(replica),
            Input::Reload { settings } => self.reload(*settings, out),
            Input::Command { ticket, command } => {
                let answer = self.command(now, command, out);
                out.push(Output::Reply { ticket, answer });
            }
            Input::Clock { .. } | Input::Tick => {}
        }
        let awaits_until = self.awaits_until.unwrap_or(now + self.settings.forget_after);
        self.awaits_until = (!self.awaited.is_empty()).then_some(awaits_until);
    }

    fn next_wake(&self) -> Option<Wake> {
        let due = self.due.first().map(|(at, _)| self.instant(*at));
        let due = due.map(|at| Wake { at, what: "a pool's member rests no longer" });
        let awaits = self.awaits_until;
        Wake::earlier(due, awaits.map(|at| Wake { at, what: "nobody's words are awaited" }))
    }
}

#[cfg(test)]
mod tests;

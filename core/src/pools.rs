//! Credential pools: which account may be used right now.
//!
//! A pool is an ordered set of credentials for one purpose. A request *picks* one from a snapshot that any
//! thread may read; what the upstream answered comes back as a [`Report`] on exactly that member. A member
//! that was refused *rests* on a target until a moment that its answer stated, then returns, or is
//! *half-open*: one request in the whole fleet may try it. With no member servable the pool is *exhausted*,
//! is said to be so once, and once that it is back.
//!
//! ```text
//!   caller ─ pick(snapshot) ─▶ upstream ─ verdict ─ Report ─▶ Pools ─ Write ─▶ the owner map ─▶ other nodes
//!                 ▲                                             │
//!                 └───────────── published in that turn ◀───────┘
//! ```
//!
//! Reading order: a [`definition`] says what a pool is ([`agreed`]: and which of them callers made), a [`verdict`] what an answer meant ([`answer`] and
//! [`wait`] read it, [`profile`] says how long a member rests by it), a [`target`] what can rest, [`said`] what
//! nodes say of it, `rest` what that amounts to, `probe` who may try, `lane` who may be picked for a [`model`], [`pick`] picks,
//! [`view`] is what readers see, [`operations`] are what may be asked, and [`machine`] is the one `match`
//! that holds them together.
//!
//! Invariants held here: P-1 to P-8, P-10, P-14, P-15, P-17 and P-18 of the specification; each is named
//! where it is kept.
//!
//! Absent on purpose: secrets, clocks, retries, text that an upstream wrote.

pub mod agreed;
pub mod answer;
pub mod definition;
mod lane;
pub mod machine;
pub mod model;
pub mod notice;
pub mod operations;
pub mod pick;
mod probe;
pub mod profile;
pub mod reset;
mod rest;
pub mod said;
pub mod target;
pub mod verdict;
pub mod view;
pub mod wait;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ids::{CredentialHandle, NodeId, Notice, Replica, Ticket};
use crate::time::UnixTime;
use crate::wire::Blob;
use crate::wire::segment::Key;

pub use definition::{
    Definition, Degrade, Listed, Members, Name, NameError, Profile, Settings, Strategy,
};
pub use machine::Pools;
pub use operations::{Answer, Command, Ended, LeaseId, Outcome, Refusal, Report};
pub use pick::{Lane, Member, Picked, Pool, Query, Refused, Snapshot, Why, pick, pick_try};
pub use said::check_entry;
pub use verdict::{Class, Scope, Verdict};

/// What a pool sees of a credential: its head, without a secret. The node makes it from the record's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credential {
    /// Which.
    pub handle: CredentialHandle,
    /// The record's id; `{provider}` pools are in its order.
    pub id: Arc<str>,
    /// The record's `type`.
    pub provider: Arc<str>,
    /// An operator switched it off, or it has no key.
    pub disabled: bool,
    /// Only a person can make it work again.
    pub needs_login: bool,
    /// Only the highest with a preferred member takes part.
    pub priority: i64,
    /// Its share where a pool does not say another, 1..1 000 000.
    pub weight: u32,
    /// Credentials of one group share one bucket at the upstream.
    pub quota_group: Option<Arc<str>>,
}

impl Credential {
    /// Its quota group, where that is a name that can be shared: 1 to 64 bytes.
    pub fn group(&self) -> Option<&Arc<str>> {
        let named =
            |group: &&Arc<str>| (1..=crate::limits::POOL_NAME_BYTES_MAX).contains(&group.len());
        self.quota_group.as_ref().filter(named)
    }
}

/// What can happen to pools.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// Take up what configuration and the store name. Once, first.
    Start,
    /// The wall clock as the host reads it now: deadlines are shared in its terms.
    Clock {
        /// Milliseconds since 1970.
        unix: UnixTime,
    },
    /// A credential is there, changed, or (`None`) is gone.
    Credential {
        /// Which.
        handle: CredentialHandle,
        /// As it is now.
        credential: Option<Box<Credential>>,
        /// Whether its body is another than the last one known here, however long it was gone: what was refused
        /// was not this one.
        renewed: bool,
    },
    /// Credentials have been read for the first time, or cannot be: who is not known by now is not there.
    Loaded,
    /// The visible entry of a pools topic's map changed; the one without a key: all of the map is here.
    Changed { owner: Replica, key: Key, value: Option<Blob> },
    /// The view of an owner's map ended.
    Dropped { owner: Replica, last: Vec<(Key, Blob)> },
    /// A newer life's map took the place of an older one's.
    Switched { old: Replica, new: Replica },
    /// We slept so long that everybody has forgotten us: all that others said is unsaid at once. Their maps'
    /// ends follow.
    Slept,
    /// What membership noticed.
    Notice(Notice),
    /// From now on we are `replica`.
    Raised { replica: Replica },
    /// New settings were read.
    Reload { settings: Box<Settings> },
    /// A caller's command.
    Command { ticket: Ticket, command: Command },
    /// `next_wake` has passed.
    Tick,
}

/// What pools ask of the world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Write (or delete) an entry of our own map.
    Write { key: Key, value: Option<Blob> },
    /// Everything this life owns has been written.
    Ready,
    /// Keep (or, without a value, forget) a row of the local store. The key begins with `pools/`.
    Persist { key: String, value: Option<Blob> },
    /// Tell observers.
    Announce(Event),
    /// Answer a caller.
    Reply { ticket: Ticket, answer: Answer },
    /// A peer broke the rules.
    Misbehaved { peer: NodeId, what: &'static str },
}

/// What observers hear of pools.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "what")]
pub enum Event {
    /// Nothing of a lane is servable any more.
    Exhausted {
        /// Which pool.
        pool: Name,
        /// Which model; empty: all of them.
        lane: Arc<str>,
        /// When the soonest member may be back, Unix ms; `None` where no timer ends it.
        wake_at: Option<UnixTime>,
        /// How many members it has.
        members: usize,
    },
    /// A lane that was exhausted has a servable member.
    Recovered {
        /// Which pool.
        pool: Name,
        /// Which model; empty: all of them.
        lane: Arc<str>,
        /// Who is back.
        member: CredentialHandle,
        /// Why.
        cause: Cause,
        /// Whether an answer proved it.
        confirmed: bool,
        /// How long nothing was servable, in ms.
        after_ms: u64,
        /// What to reset, if the pool says so.
        auth_reset_target: String,
    },
    /// The active member gave way to another.
    Failover {
        /// Which pool.
        pool: Name,
        /// Which model; empty: all of them.
        lane: Arc<str>,
        /// Who was active.
        from: CredentialHandle,
        /// Who is.
        to: CredentialHandle,
        /// What befell the former; `None`: an operator moved it.
        class: Option<Class>,
    },
    /// A credential rests, or rests longer.
    Rested {
        /// Which pool.
        pool: Name,
        /// Whose answer.
        credential: CredentialHandle,
        /// What it said.
        class: Class,
        /// Of what.
        scope: Arc<str>,
        /// Where the wait stood; see [`Verdict::source`].
        source: Arc<str>,
        /// Until when, Unix ms.
        rest_until: UnixTime,
        /// Until when the upstream said, Unix ms.
        stated_reset: Option<UnixTime>,
    },
    /// A rest that another node learnt of arrived here.
    Shared {
        /// Who learnt it.
        from: NodeId,
        /// How long after it began, in ms, by the wall clocks of both.
        after_ms: u64,
    },
    /// A member was set aside, or (`until` is none) taken back.
    Parked {
        /// Which pool.
        pool: Name,
        /// Whom.
        member: CredentialHandle,
        /// Until when, Unix ms.
        until: Option<UnixTime>,
    },
    /// A member may be tried, nobody asks, and it is this node's turn: the pool's own request is to be sent to
    /// it; [`pick::pick_try`] takes the try.
    ProbeDue {
        /// Which pool.
        pool: Name,
        /// To whom.
        member: CredentialHandle,
    },
    /// Anything about a pool changed; its snapshot is published.
    Changed {
        /// Which pool.
        pool: Name,
    },
}

/// Why a lane is open again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// A rest ended by its timer.
    RestOver,
    /// A request succeeded.
    Success,
    /// An operator cleared it.
    Cleared,
    /// The credential changed, was added or enabled.
    Credential,
    /// The pool was defined anew.
    Defined,
}

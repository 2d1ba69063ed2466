//! One agreed log.
//!
//! A few nodes keep copies of one log; a leader among them puts entries into it, and what a majority holds
//! durably is committed and applied everywhere in the same order. Services propose bytes under a subject
//! and are handed every committed entry of it, once; they never see how agreement is reached.
//!
//! ```text
//!  caller ─ Propose ─▶ leader ─▶ entry ─▶ majority durable ─▶ Apply ─ service ─ Applied ─▶ Proposed
//!  caller ─ Read ────▶ ReadIndex round of the leader ─▶ applied ≥ index ─────────────────▶ ReadReady
//! ```
//!
//! Invariants are numbered RF-1 … RF-16 where they are kept, and checked by the simulator or, where one copy or the
//! ladder alone shows them, by tests here.
//!
//! Absent on purpose: a second group, leases for reads, entries on behalf of membership's noise, time that
//! any replica reads from its own clock, and meaning: payloads belong to their subject.

mod apply;
mod conflict;
mod contract;
mod counts;
mod drive;
mod durable;
mod facts;
mod forward;
mod found;
mod founding;
mod group;
mod keep;
pub mod ladder;
mod lead;
mod pending;
mod reads;
mod recover;
mod serve;
mod state;
mod status;
mod steps;
mod table;
mod take;
#[cfg(test)]
mod tests;
mod transfer;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;

use crate::fences::Fences;
use crate::ids::{MemberId, NodeId, Notice, Reason, Replica, Ticket};
use crate::machine::{Machine, Wake};
use crate::random::Rng;
use crate::time::Instant;
use crate::wire::Blob;
use crate::wire::raft::Raft as Wire;

pub use crate::wire::raft::{
    Genesis, Idempotency, LogTime, Refusal, RequestId, SnapshotId, Subject,
};
pub use contract::{Committed, Input, Operation, Output, Peer, Room, Row, Settings};
pub use durable::{Damaged, Rows, check};
pub use facts::FACT;
pub use group::Configuration;
pub use keep::formed;
pub use recover::{Survivor, Unfit, dropped, survivor};
pub use status::{EntryRow, MemberRow, Standing, Status};

use apply::Applying;
use conflict::Strangers;
use counts::Counts;
use drive::Missed;
use durable::{Identity, Slots};
use founding::Founders;
use group::{Deed, Group};
use keep::Purpose;
use lead::Leading;
use pending::Requests;
use reads::Reads;
use serve::Waiters;
use state::{Image, State};
use steps::Ladder;
use take::Taking;
use transfer::{Incoming, Outgoing};

/// One node's part in the agreed log: a copy of it, or the way to those that have one.
pub struct Raft {
    settings: Settings,
    local: Replica,
    rng: Rng,
    identity: Identity,
    /// None while there is no log, or none here.
    group: Option<Group>,
    state: State,
    /// The snapshot that can be served, encoded.
    image: Option<Blob>,
    /// What the durable state said when we started: the services' part of it.
    restored: Option<BTreeMap<Subject, Blob>>,

    committed: VecDeque<crate::wire::raft::Entry>,
    applying: Option<Applying>,
    /// A snapshot is to be taken, as soon as nothing is being applied.
    image_wanted: bool,
    taking: Option<Taking>,
    /// An entry that this build does not understand: nothing behind it is applied.
    halted: Option<u64>,
    since_image: (u64, u64),
    recent: imbl::Vector<EntryRow>,

    requests: Requests,
    reads: Reads,
    waiters: Waiters,
    leading: Leading,
    /// Who leads, as others say, where no copy is kept.
    hint: Option<NodeId>,
    ladder: Ladder,
    told: Option<(u64, Option<NodeId>, bool)>,

    outgoing: Outgoing,
    incoming: Incoming,
    /// A snapshot that arrived and that the engine is about to take.
    arrived: Option<(Image, Blob)>,

    slots: Slots,
    /// Rows of a start that no longer count.
    leftovers: Vec<Row>,
    /// Entries that have rows.
    rows: Range<u64>,
    stores: VecDeque<(u64, Purpose)>,
    store_number: u64,

    peers: BTreeMap<NodeId, Peer>,
    /// Where copies are that no configuration here names yet.
    routes: BTreeMap<MemberId, NodeId>,
    heard: BTreeMap<MemberId, Instant>,
    gone: Fences,
    tick_at: Option<Instant>,
    campaign_at: Option<Instant>,
    /// When followers are told of what is committed, unless something is sent to them before.
    notice_at: Option<Instant>,
    /// The leader whose link was lost, when, and when it is no more waited for.
    missed: Option<Missed>,
    founders: Founders,
    strangers: Strangers,
    /// The members behind the seeds; none, unless every address there is a member's.
    behind_seeds: Option<BTreeSet<NodeId>>,
    counts: Counts,
}

impl Raft {
    /// A node's part, with what its store gave. The error names what is missing or was changed.
    pub fn new(
        settings: Settings,
        local: Replica,
        rows: &Rows,
        now: Instant,
        mut rng: Rng,
    ) -> Result<Raft, Damaged> {
        let found = durable::read(rows)?;
        let promise = durable::promise(rows)?;
        let drawn = Identity { member: MemberId(rng.word().max(1)), genesis: None };
        let identity = found.as_ref().map_or(drawn, |(found, _)| found.identity);
        let founder = (identity.member, local.node.clone());
        let still_for = founding::STILL_TICKS * settings.tick;
        let founders = Founders::new(founder, promise, still_for, now, rng.child("founding"));
        let reads = Reads::from(rng.child("reads").word());
        let fences_max = settings.fences_max;
        let mut raft = Raft {
            requests: Requests::new(&local),
            settings,
            local,
            rng,
            identity,
            group: None,
            state: State::blank(Genesis::default()),
            image: None,
            restored: None,
            committed: VecDeque::new(),
            applying: None,
            image_wanted: false,
            taking: None,
            halted: None,
            since_image: (0, 0),
            recent: imbl::Vector::new(),
            reads,
            waiters: Waiters::default(),
            leading: Leading::new(now),
            hint: None,
            ladder: Ladder::new(now),
            told: None,
            outgoing: Outgoing::default(),
            incoming: Incoming::default(),
            arrived: None,
            slots: Slots::default(),
            leftovers: Vec::new(),
            rows: 0..0,
            stores: VecDeque::new(),
            store_number: 0,
            peers: BTreeMap::new(),
            routes: BTreeMap::new(),
            heard: BTreeMap::new(),
            gone: Fences::new(fences_max),
            tick_at: None,
            campaign_at: None,
            notice_at: None,
            missed: None,
            founders,
            strangers: Strangers::default(),
            behind_seeds: None,
            counts: Counts::default(),
        };
        if let Some((found, slots)) = found {
            raft.slots = slots;
            raft.leftovers = durable::leftovers(rows, slots, found.before);
            raft.resume(now, found);
        }
        Ok(raft)
    }

    /// Ends a turn: whatever the group wants stored or sent goes out, in one batch as far as possible.
    pub fn flush(&mut self, now: Instant, out: &mut Vec<Output>) {
        self.drain(now, out);
    }

    /// Whose copy this is.
    pub fn member(&self) -> MemberId {
        self.identity.member
    }

    /// Which log it is, if there is one here.
    pub fn genesis(&self) -> Option<Genesis> {
        self.identity.genesis
    }
}

impl Machine for Raft {
    type Input = Input;
    type Output = Output;

    fn handle(&mut self, now: Instant, input: Input, out: &mut Vec<Output>) {
        self.pass(now);
        match input {
            Input::Start => self.start(now, out),
            Input::Propose { subject, ticket, version, payload, deadline, idempotency } => {
                let what = pending::What::Propose { version, payload, idempotency };
                self.submit(now, subject, ticket, deadline, what, out);
            }
            Input::Read { subject, ticket, deadline } => {
                self.read(subject, ticket, deadline, out);
            }
            Input::Query { subject, ticket, question, deadline } => {
                self.query(now, subject, ticket, question, deadline, out);
            }
            Input::Applied { index, outcome } => self.applied(now, index, outcome, out),
            Input::Answered { number, answer } => self.answered(number, answer, out),
            Input::Piece { number, piece } => self.piece_taken(number, piece, out),
            Input::Waiting { subject, waits } => self.leading.waiting(subject, waits),
            Input::Stored { number } => self.stored(now, number, out),
            Input::Peer { from, message } => self.peer(now, &from, message, out),
            Input::Known { node, peer } => {
                if self.know(now, node, peer) {
                    self.look_around(now, out);
                    self.compare_logs(out);
                }
            }
            Input::Seeds { behind } => {
                self.behind_seeds = behind;
                self.look_around(now, out);
            }
            Input::Linked { node, up } => self.linked(now, node, up),
            Input::Conflict { node, address } => {
                self.strangers.note(now, address, node);
                self.compare_logs(out);
            }
            Input::Notice(notice) => {
                self.notice(now, notice);
                self.look_around(now, out);
                self.compare_logs(out);
            }
            Input::Raised { replica } => {
                self.requests.raised(replica.incarnation);
                self.local = replica;
            }
            Input::Operate { ticket, operation } => self.operate(now, ticket, &operation, out),
            Input::Tick => self.tick(now, out),
        }
        self.advance(now, out);
    }

    fn next_wake(&self) -> Option<Wake> {
        let wakes = [
            self.next_tick().map(|at| Wake { at, what: "a tick of the log" }),
            self.requests.next_due().map(|at| Wake { at, what: "a request to the log" }),
            self.reads.next_due().map(|at| Wake { at, what: "a read of the log" }),
            self.campaign_at.map(|at| Wake { at, what: "an election" }),
            self.notice_at.map(|at| Wake { at, what: "a notice of what is committed" }),
            self.missed.map(|missed| Wake { at: missed.until, what: "a leader that is missed" }),
            self.founders.next_wake(),
            self.strangers.next_due().map(|at| Wake { at, what: "the end of a conflict" }),
        ];
        wakes.into_iter().fold(None, Wake::earlier)
    }
}

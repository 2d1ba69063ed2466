//! What must be true, by id: when each promise is looked at, how often it was, and by what evidence.
//!
//! Evidence is the simulator's own record: which processes really run, what owners were seen to write,
//! which calls were answered how. A node's word about itself is what is judged, never the judge.
//!
//! | when | means |
//! | --- | --- |
//! | step | after each turn, on the node that took it |
//! | global | across nodes, once a virtual second |
//! | quiet | at the end of liveness, polled before, so that the time of convergence is known |
//! | history | from the record of what was announced, sent and answered |
//!
//! Absent on purpose: promises of domains that do not exist yet; each brings its row to [`TABLE`].

#[expect(clippy::wildcard_enum_match_arm, reason = "a promise looks at a few events of many")]
pub mod credentials;
#[expect(clippy::wildcard_enum_match_arm, reason = "a promise looks at a few events of many")]
pub mod gossip;
#[expect(clippy::wildcard_enum_match_arm, reason = "a promise looks at a few events of many")]
pub mod kv;
#[expect(clippy::wildcard_enum_match_arm, reason = "a promise looks at a few events of many")]
pub mod links;
#[expect(clippy::wildcard_enum_match_arm, reason = "a promise looks at a few events of many")]
pub mod membership;
#[expect(clippy::wildcard_enum_match_arm, reason = "a promise looks at a few events of many")]
pub mod pools;
#[expect(clippy::wildcard_enum_match_arm, reason = "a promise looks at a few events of many")]
pub mod raft;
#[expect(clippy::wildcard_enum_match_arm, reason = "a promise looks at a few events of many")]
pub mod replica;
pub mod secrets;
#[expect(clippy::wildcard_enum_match_arm, reason = "a promise looks at a few events of many")]
pub mod workers;

use quorate_core::ids::{Replica, Ticket};
use quorate_core::node::workers::{ProbeOutcome, Refusal};
use quorate_core::node::{Effect, Input, Reply, Request};
use quorate_core::time::Instant;

use crate::clock::Micros;
use crate::verdict::Failure;
use crate::world::machine::{Machine, Process};

/// When a promise is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// After each turn.
    Step,
    /// Across nodes.
    Global,
    /// At the end of liveness.
    Quiet,
    /// From what was recorded.
    History,
}

impl Moment {
    /// As written in reports.
    pub fn name(self) -> &'static str {
        match self {
            Moment::Step => "step",
            Moment::Global => "global",
            Moment::Quiet => "quiet",
            Moment::History => "history",
        }
    }
}

/// A promise.
#[derive(Debug)]
pub struct Row {
    /// Its id in the specifications.
    pub id: &'static str,
    /// What is promised, in short.
    pub statement: &'static str,
    /// When it is looked at.
    pub when: Moment,
}

macro_rules! promises {
    ($($name:ident $id:literal $when:ident $statement:literal,)+) => {
        /// A promise, by its place in [`TABLE`].
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Id {
            $(#[doc = $statement] $name,)+
        }

        /// Every promise that this build looks at.
        pub const TABLE: &[Row] =
            &[$(Row { id: $id, statement: $statement, when: Moment::$when },)+];
    };
}

promises! {
    M1 "M-1" Step "in its own view a node is alive, at its current incarnation",
    M2 "M-2" Step "beliefs and fences never fall; nobody at or below its fence is a member",
    M3 "M-3" Step "with a store, nothing leaves under an incarnation that is not durable",
    M4 "M-4" Step "no datagram exceeds 1400 bytes",
    M5 "M-5" History "a life is raised only after it was given up, and once",
    M6 "M-6" Step "the notices fold to the view",
    M7 "M-7" Step "tables stay within their bounds",
    M8 "M-8" Global "/livez holds whatever the network does",
    M9 "M-9" Quiet "every view is exactly the set of running nodes, each at its newest incarnation",
    M10 "M-10" Global "beside a reachable seed nobody is alone for 15 s, nor any two groups for 150 s",
    M11 "M-11" Global "who can be reached, directly or by a detour, is not failed for long",
    M12 "M-12" History "who learns of its departure has a higher incarnation in its next datagram",
    M13 "M-13" Quiet "who stopped is failed at every other, in time",
    M14 "M-14" Step "notices begin with up and alternate; nothing but a new life follows a departure",
    G1 "G-1" Step "a datagram is filled to its budget and never a byte over",
    G6 "G-6" Global "per topic: enqueued = retired + queued + dropped",
    G10 "G-10" Step "final rows are not answered with rows, nor a digest with a digest",
    G11 "G-11" History "a write is pushed in its own turn where a link is up",
    G12 "G-12" Step "lanes, pulls and backlogs stay within their bounds",
    G13 "G-13" Quiet "all rows about living replicas are equal and backlogs empty",
    G15 "G-15" Global "equal bucket hashes mean equal progress for everything in the bucket",
    L1 "L-1" Global "what waits stays within its bounds, and the gauges say what waits",
    L2 "L-2" Global "at most one connection of a pair is sent on, and somebody knows each",
    L3 "L-3" Global "sequenced: accepted = acknowledged + held + undelivered, without a gap",
    L4 "L-4" Step "a class that waits all the time gets its weight's part of a connection",
    L5 "L-5" Step "an event of a connection that is over changes nothing",
    L6 "L-6" Global "a peer has a connection, a dial under way, or a next dial",
    L7 "L-7" Global "requests are kept for peers alone",
    L8 "L-8" Global "every open request is listed once, with its deadline",
    L9 "L-9" Step "who has not proved to be of the cluster is sent nothing, whoever was dialled a greeting at most",
    L10 "L-10" Global "every frame that was queued is in exactly one place",
    RP1 "RP-1" Step "what is held is what the owner wrote, and all of it, through complete",
    RP2 "RP-2" Step "complete ≤ head; floor and head never fall; complete falls only by a sweep",
    RP3 "RP-3" Step "nothing resurrects",
    RP4 "RP-4" Step "nothing that lives throughout vanishes",
    RP5 "RP-5" Step "every entry was written by the replica whose map it is in",
    RP6 "RP-6" Step "no map of a fenced replica; one life of a node is in view",
    RP7 "RP-7" Step "a floor waits for every member, unless the bound raised it",
    RP10 "RP-10" Quiet "all maps of living replicas are equal, without tombstone or doubt",
    RP12 "RP-12" Step "no sequence is given twice",
    RP13 "RP-13" Step "entries held ≤ live keys + tombstones_max",
    RF1 "RF-1" Step "at most one leads in a term of a log",
    RF2 "RF-2" Step "committed entries are equal everywhere, and for ever",
    RF3 "RF-3" Step "equal index, equal state",
    RF4 "RF-4" Step "no message tells a term or a vote that is not durable",
    RF5 "RF-5" Step "voters and learners stay within their bounds",
    RF7 "RF-7" History "what was asked once is done at most once",
    RF8 "RF-8" Step "log time never falls, and runs no faster than real time",
    RF9 "RF-9" Step "nodes that share a cluster and a seed begin one log at most",
    RF11 "RF-11" Quiet "one leads, and all its members have applied the same",
    RF14 "RF-14" Quiet "no zone holds more voters than the most even choice gives it",
    RF15 "RF-15" Step "who reaches no majority raises no term",
    KV1 "KV-1" History "what callers of the store heard can be told as one story",
    KV2 "KV-2" Step "its revision never falls; equal index, equal state",
    KV3 "KV-3" Step "a watch tells every change after its start once, in order, or that it is too late",
    KV4 "KV-4" Step "no lease ends before its deadline, every lease ends, and no key outlives its lease",
    KV5 "KV-5" Step "whoever is told that it holds a lock stands first in line, and goes by release or lease",
    KV6 "KV-6" Step "a namespace holds what was put into it, and a list is all of it at the revision that it names",
    KV9 "KV-9" History "a resource that keeps the greatest fence never acts for an earlier holder after a later one",
    K1 "K1" Step "another body of a credential, and its end, has a higher revision, and nothing else has",
    K2 "K2" Step "a row of a credential is written, and a change told, only for another body or its end",
    K3 "K3" Step "what is deleted stays deleted until a later look finds it",
    K5 "K5" Step "what waits to be looked at stays within its bound",
    K7 "K7" History "a credential goes by a word, or because it was missed twice",
    K8 "K8" Quiet "what is in use is what is in the folder, but for what the breaker holds",
    K9 "K9" Step "what repeats changes nothing: neither a hint nor a look that finds what is in use or comes too late",
    K10 "K10" Step "files that are no records are counted, each once, and keep no other from its turn",
    P1 "P-1" Step "no pick is of a member that its node knows to rest, and nobody is refused while somebody can serve",
    P2 "P-2" Step "what was said to rest is said for shorter by a clear alone, or by whom its clock showed the end",
    P3 "P-3" Step "whoever is active gives way when it is not preferred, or by rotate",
    P4 "P-4" Step "who asks for a park writes no rest, and what an answer teaches parks nobody",
    P5 "P-5" Step "exhausted if and only if nobody is servable; one edge of a lane follows the other",
    P6 "P-6" Step "a try is sent by whose turn it is, while none is on its way, and each raises the attempt",
    P7 "P-7" Step "what rests by a report is the member of its lease",
    P8 "P-8" Step "what is shown to rest is what the maps say, and all of it",
    P10 "P-10" Step "of a lane people hear once that it is exhausted, and once that it is back",
    P11 "P-11" Step "a login is reset for a recovery of a pool that is there and names it, one run at a time",
    P14 "P-14" Step "a pool has no more lanes, and a member no more targets, than it may have",
    P15 "P-15" Step "no try goes to a member before its rest allows one",
    P16 "P-16" Step "a rest lies within the clamp of its class, and a stated wait within 31 d",
    P17 "P-17" Step "what time ends is shown as over, and the node wakes for it",
    P18 "P-18" Step "of a pool that is gone nobody hears",
    W1 "W-1" Step "every claim carries the id of its author and its URL",
    W2 "W-2" Quiet "an entry exists exactly while a claim of its URL does",
    W3 "W-3" Step "the version of a claim's statement never falls",
    W4 "W-4" Step "where each probes, nothing returns to Ready without a good probe",
    W5 "W-5" Step "no statement moves Failed or Draining",
    W6 "W-6" Step "every change of a status is a row of the table, and was announced",
    W7 "W-7" Step "only Ready without overlay is picked; whoever can be picked is not missed",
    W8 "W-8" Step "a claim of an owner that begins a new life vanishes nowhere in between",
    W9 "W-9" Step "an own claim stays until its owner removes it",
    W10 "W-10" Step "probes in flight ≤ 128, and one per entry",
    W11 "W-11" Step "no secret appears in anything that leaves",
    W12 "W-12" Quiet "all members list the same URLs with the same claims",
    W13 "W-13" Quiet "a spec is the same everywhere, whichever of its fields are set",
}

/// The row of an id, as written.
pub fn find(id: &str) -> Option<usize> {
    TABLE.iter().position(|row| row.id == id)
}

/// How often each promise was looked at, and found false.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ledger {
    evaluated: Vec<u64>,
    failed: Vec<u64>,
}

impl Default for Ledger {
    fn default() -> Ledger {
        Ledger { evaluated: vec![0; TABLE.len()], failed: vec![0; TABLE.len()] }
    }
}

impl Ledger {
    /// Looks at a promise: notes that it was, and fails if it does not hold.
    pub fn hold(
        &mut self,
        id: Id,
        machine: usize,
        holds: bool,
        message: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        self.note(id);
        if holds {
            return Ok(());
        }
        if let Some(failed) = self.failed.get_mut(id as usize) {
            *failed += 1;
        }
        let row = TABLE.get(id as usize).map_or("", |row| row.id);
        Err(Failure::invariant(row, machine, message()))
    }

    /// Notes that a promise was looked at and held.
    pub fn note(&mut self, id: Id) {
        if let Some(evaluated) = self.evaluated.get_mut(id as usize) {
            *evaluated += 1;
        }
    }

    /// How often the promise in row `index` was looked at, and how often it was false.
    pub fn counts(&self, index: usize) -> (u64, u64) {
        let at = |counts: &[u64]| counts.get(index).copied().unwrap_or_default();
        (at(&self.evaluated), at(&self.failed))
    }

    /// Adds what another run noted.
    pub fn add(&mut self, other: &Ledger) {
        for (mine, theirs) in self.evaluated.iter_mut().zip(&other.evaluated) {
            *mine += theirs;
        }
        for (mine, theirs) in self.failed.iter_mut().zip(&other.failed) {
            *mine += theirs;
        }
    }
}

/// What a node says is false about its own state: the sentence begins with the promise's id.
pub fn confessed(machine: usize, sentence: String) -> Failure {
    let id = sentence.split(':').next().unwrap_or_default();
    let id = TABLE.iter().find(|row| row.id == id).map_or("L-1", |row| row.id);
    Failure::invariant(id, machine, sentence)
}

/// One turn of one process, as the checkers see it.
#[derive(Clone, Copy)]
pub struct Turn<'a> {
    /// World time.
    pub now: Micros,
    /// On which machine.
    pub machine: usize,
    /// All machines.
    pub machines: &'a [Machine],
    /// The process that took it.
    pub process: &'a Process,
    /// What came in.
    pub inputs: &'a [Input],
    /// What went out.
    pub effects: &'a [Effect],
}

impl Turn<'_> {
    /// The time on the machine's own clock.
    fn local(&self) -> Instant {
        let machine = self.machines.get(self.machine);
        machine.map_or(Instant::from_micros(self.now), |machine| machine.clock.local(self.now))
    }
}

/// Everything that is looked at in one run.
#[derive(Debug)]
pub struct Checks {
    /// What was noted.
    pub ledger: Ledger,
    /// Promises of membership.
    pub membership: membership::Watch,
    /// Promises of the maps.
    pub replica: replica::Watch,
    /// Promises of gossip.
    pub gossip: gossip::Watch,
    /// Promises of links.
    pub links: links::Watch,
    /// Promises of the agreed log.
    pub raft: raft::Watch,
    /// Promises of the consistent store.
    pub kv: kv::Watch,
    /// Promises of credentials.
    pub credentials: credentials::Watch,
    /// Promises of pools.
    pub pools: pools::Watch,
    /// Promises of workers.
    pub workers: workers::Watch,
    /// Whether anything is looked at; off only to see what looking costs.
    pub on: bool,
    /// By machine: which process took the last turn there, and when on its own clock.
    turned: Vec<Option<(u64, Instant)>>,
}

impl Checks {
    /// Nothing has happened yet on `machines` machines.
    pub fn new(machines: usize) -> Checks {
        Checks {
            ledger: Ledger::default(),
            membership: membership::Watch::new(machines),
            replica: replica::Watch::new(machines),
            gossip: gossip::Watch::default(),
            links: links::Watch::new(machines),
            raft: raft::Watch::default(),
            kv: kv::Watch::default(),
            credentials: credentials::Watch::default(),
            pools: pools::Watch::default(),
            workers: workers::Watch::new(machines),
            on: true,
            turned: vec![None; machines],
        }
    }

    /// A process started.
    pub fn started(&mut self, machine: usize, replica: &Replica, machines: &[Machine]) {
        self.membership.started(machine, replica, machines);
        self.replica.started(machine);
        self.credentials.started(machine);
        self.pools.started(machine);
        self.links.started(machine);
        self.workers.started(machine);
    }

    /// A process ended; what it stored before `kept` is there.
    pub fn stopped(&mut self, now: Micros, machine: usize, kept: Option<Micros>) {
        self.membership.stopped(now, machine);
        self.replica.stopped(machine);
        self.workers.stopped(machine, kept);
    }

    /// A caller asked.
    pub fn asked(&mut self, now: Micros, machine: usize, ticket: Ticket, request: &Request) {
        self.kv.asked(now, machine, ticket, request);
        self.workers.asked(machine, ticket, request);
    }

    /// A node answered.
    pub fn answered(&mut self, now: Micros, ticket: Ticket, reply: &Reply) {
        self.kv.answered(now, ticket, reply);
        self.workers.answered(ticket, reply);
    }

    /// A probe was answered by the world.
    pub fn probed(&mut self, machine: usize, url: &str, outcome: ProbeOutcome) {
        self.workers.probed(machine, url, outcome);
    }

    /// A caller was refused before a node heard of it: W-11, its secret is echoed nowhere.
    pub fn refused(&mut self, machine: usize, refusal: &Refusal) -> Result<(), Failure> {
        let told = format!("{refusal} {refusal:?}");
        secrets::told(machine, told.as_bytes(), &mut self.ledger)
    }

    /// A process is about to take a turn.
    pub fn before(&mut self, machine: usize, process: &Process, inputs: &[Input]) {
        if self.on {
            self.links.before(machine, process, inputs);
        }
    }

    /// A process took a turn.
    pub fn turn(&mut self, turn: &Turn<'_>) -> Result<(), Failure> {
        if !self.on {
            return Ok(());
        }
        if self.slept(turn) {
            self.membership.slept(turn.machine);
            self.replica.slept(turn);
            self.workers.slept(turn.machine);
            self.pools.slept(turn.machine);
            self.links.slept(turn.machine);
        }
        let ledger = &mut self.ledger;
        secrets::turn(turn, ledger)?;
        self.membership.turn(turn, ledger)?;
        self.replica.turn(turn, ledger)?;
        self.gossip.turn(turn, ledger)?;
        self.links.turn(turn, ledger)?;
        self.raft.turn(turn, ledger)?;
        self.kv.turn(turn, ledger)?;
        self.credentials.turn(turn, ledger)?;
        self.pools.turn(turn, ledger)?;
        self.workers.turn(turn, ledger)
    }
}

impl Checks {
    /// Whether a process looks up after longer than it remembers others for: it drops all of them.
    fn slept(&mut self, turn: &Turn<'_>) -> bool {
        let Some(machine) = turn.machines.get(turn.machine) else { return false };
        let local = machine.clock.local(turn.now);
        let Some(turned) = self.turned.get_mut(turn.machine) else { return false };
        let process = turn.process.number;
        let last = turned.replace((process, local)).filter(|(before, _)| *before == process);
        let last = last.map_or(local, |(_, last)| last);
        local.since(last) > machine.settings.membership.forget_after
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_id_finds_its_row_and_none_stands_twice() {
        for (index, row) in TABLE.iter().enumerate() {
            assert_eq!(find(row.id), Some(index));
        }
        assert_eq!(TABLE.get(Id::W13 as usize).map(|row| row.id), Some("W-13"));
    }

    #[test]
    fn a_promise_that_is_false_is_noted_and_told() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.hold(Id::M2, 1, true, String::new), Ok(()));
        let failure = ledger.hold(Id::M2, 1, false, || "it fell".to_owned()).expect_err("false");
        assert_eq!((failure.id.as_str(), failure.machine), ("M-2", Some(1)));
        assert_eq!(ledger.counts(Id::M2 as usize), (2, 1));
    }
}

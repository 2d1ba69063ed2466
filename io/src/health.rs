//! Whether this node lives, has started, and can serve.
//!
//! A check reads published snapshots and the node's [`Vitals`]; it costs no I/O and is kept for a second,
//! but for `drain`, which must be seen at once. Liveness fails only for what a restart of this process
//! cures (O-3): peers, stores and upstreams are never in it. A check that panics has failed.
//!
//! | check | livez | startupz | readyz |
//! | --- | --- | --- | --- |
//! | `loop` | ● | ● | ● |
//! | `boot` | | ● | ● |
//! | `store` | fatal only | ● | ● |
//! | `mesh` `workers` `credentials` `pools` `drain` | | | ● |
//! | `raft` `pool/<name>` | | | shown; counted where `ready.require` names it |
//!
//! Absent on purpose: checks of parts that do not exist; a node without a store has no `store`.

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use quorate_core::node::credentials;
use quorate_core::node::membership::State;
use quorate_core::node::pools::{Pool, Snapshot, definition};
use quorate_core::node::raft::{Standing, Status};
use quorate_core::node::{Members, Published};
use quorate_core::time::{Instant, UnixTime};
use tokio::sync::watch;

/// Silence of the loop that a restart cures.
const LOOP_SILENCE_MAX: Duration = Duration::from_secs(10);
/// How long readiness waits for a first list exchange.
const MESH_WAIT: Duration = Duration::from_secs(10);
/// How long readiness waits for the first answer of owned workers.
const WORKERS_WAIT: Duration = Duration::from_secs(5);
/// How long an evaluation is kept.
const KEPT_FOR: Duration = Duration::from_secs(1);

/// What the embedded store is like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreState {
    /// The node has none.
    Absent,
    /// It takes writes; the last took this long.
    Well {
        /// How long.
        latency: Duration,
    },
    /// It refuses writes.
    Refusing {
        /// What it said.
        why: String,
    },
    /// It reported what only a restart can cure.
    Fatal {
        /// What it said.
        why: String,
    },
}

/// How far the process is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// It serves.
    Running,
    /// Readiness is off; it still serves whoever comes.
    Delaying,
    /// New mutations are refused; streams end.
    Stopping,
}

/// What the shell knows of itself; it writes, the checks read.
#[derive(Debug)]
pub struct Vitals {
    started: Instant,
    last_turn: AtomicU64,
    booted: AtomicBool,
    store: ArcSwap<StoreState>,
    phase: watch::Sender<Phase>,
}

impl Vitals {
    /// Vitals of a process that started at `started`.
    pub fn new(started: Instant) -> Vitals {
        Vitals {
            started,
            last_turn: AtomicU64::new(started.as_micros()),
            booted: AtomicBool::new(false),
            store: ArcSwap::from_pointee(StoreState::Absent),
            phase: watch::Sender::new(Phase::Running),
        }
    }

    /// The loop finished a turn.
    pub fn turned(&self, now: Instant) {
        self.last_turn.store(now.as_micros(), Ordering::Relaxed);
    }

    /// Lock, store and listeners are there.
    pub fn booted(&self) {
        self.booted.store(true, Ordering::Relaxed);
    }

    /// The store is like this from now on.
    pub fn store(&self, state: StoreState) {
        self.store.store(Arc::new(state));
    }

    /// The stop has come this far. It never goes back.
    pub fn enter(&self, phase: Phase) {
        self.phase.send_if_modified(|present| {
            let later = phase > *present;
            *present = (*present).max(phase);
            later
        });
    }

    /// How far the stop has come.
    pub fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Hears each step of the stop.
    pub(crate) fn phases(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    /// When the process started.
    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    /// What the store is like.
    pub(crate) fn store_state(&self) -> Arc<StoreState> {
        self.store.load_full()
    }
}

/// Which question a probe asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Question {
    /// Must the process be restarted?
    Live,
    /// Has it started?
    Started,
    /// Can it serve?
    Ready,
}

impl Question {
    /// The path that asks it, without the slash.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Question::Live => "livez",
            Question::Started => "startupz",
            Question::Ready => "readyz",
        }
    }
}

/// What one check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    /// Its name.
    pub(crate) name: Cow<'static, str>,
    /// Whether it passed.
    pub(crate) passed: bool,
    /// Whether only a restart cures it.
    pub(crate) fatal: bool,
    /// Whether it is shown and does not count.
    pub(crate) shown: bool,
    /// What it saw; may be empty.
    pub(crate) detail: String,
}

impl Finding {
    fn new(name: &'static str, passed: bool, detail: impl Into<String>) -> Finding {
        Finding {
            name: Cow::Borrowed(name),
            passed,
            fatal: false,
            shown: false,
            detail: detail.into(),
        }
    }

    fn counts_for(&self, question: Question) -> bool {
        match question {
            Question::Live => matches!(&*self.name, "loop" | "store"),
            Question::Started => matches!(&*self.name, "loop" | "boot" | "store"),
            Question::Ready => true,
        }
    }

    fn passes(&self, question: Question) -> bool {
        self.passed || (question == Question::Live && self.name == "store" && !self.fatal)
    }
}

/// The checks of one node.
#[derive(Debug)]
pub(crate) struct Health {
    vitals: Arc<Vitals>,
    excluded: Vec<String>,
    required: Vec<String>,
    kept: Mutex<Option<(Instant, Vec<Finding>)>>,
}

/// The answer to a [`Question`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Whether it is yes.
    pub(crate) passed: bool,
    /// Why, check by check.
    pub(crate) findings: Vec<Finding>,
    /// Names to leave out that are no check.
    pub(crate) unknown: Vec<String>,
}

impl Health {
    /// The checks of a node; those in `excluded` never count, those in `required` do even where they would
    /// only be shown.
    pub(crate) fn new(vitals: Arc<Vitals>, excluded: Vec<String>, required: Vec<String>) -> Health {
        Health { vitals, excluded, required, kept: Mutex::new(None) }
    }

    /// Answers `question` without the checks in `exclude`.
    pub(crate) fn ask(
        &self,
        question: Question,
        published: &Published,
        now: Instant,
        exclude: &[String],
    ) -> Verdict {
        let known = |name: &&String| NAMES.contains(&name.as_str()) || name.starts_with("pool/");
        let left_out =
            |name: &str| exclude.iter().chain(&self.excluded).any(|excluded| excluded == name);
        let mut findings = self.findings(published, now);
        findings.retain(|finding| finding.counts_for(question) && !left_out(&finding.name));
        for finding in &mut findings {
            finding.passed = finding.passes(question);
            finding.shown &= !self.required.iter().any(|required| *required == finding.name);
        }
        let passed = findings.iter().all(|finding| finding.passed || finding.shown);
        let unknown = exclude.iter().filter(|name| !known(name)).cloned().collect();
        Verdict { passed, findings, unknown }
    }

    /// Every check that exists, at most a second old.
    pub(crate) fn findings(&self, published: &Published, now: Instant) -> Vec<Finding> {
        let mut kept = self.kept.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let fresh = kept.as_ref().is_some_and(|(at, _)| now.since(*at) < KEPT_FOR);
        if !fresh {
            *kept = Some((now, evaluate(&self.vitals, published, now)));
        }
        let mut findings = kept.as_ref().map(|(_, findings)| findings.clone()).unwrap_or_default();
        findings.push(guarded("drain", || drain(&self.vitals, &published.members.load())));
        findings
    }
}

/// Every name that can be asked for or left out.
pub(crate) const NAMES: [&str; 9] =
    ["loop", "boot", "store", "mesh", "workers", "credentials", "pools", "raft", "drain"];

fn evaluate(vitals: &Vitals, published: &Published, now: Instant) -> Vec<Finding> {
    let age = now.since(vitals.started);
    let mut findings =
        vec![guarded("loop", || turning(vitals, now)), guarded("boot", || boot(vitals))];
    if *vitals.store_state() != StoreState::Absent {
        findings.push(guarded("store", || store(&vitals.store_state())));
    }
    findings.push(guarded("mesh", || mesh(&published.members.load(), age)));
    findings.push(guarded("workers", || workers(published, age)));
    findings.push(guarded("credentials", || credentials(&published.credentials.load())));
    findings.push(guarded("pools", || pools(&published.pools.load())));
    findings.extend(each_pool(&published.pools.load()));
    findings.push(Finding { shown: true, ..guarded("raft", || raft(&published.raft.load())) });
    findings
}

fn guarded(name: &'static str, check: impl FnOnce() -> Finding) -> Finding {
    catch_unwind(AssertUnwindSafe(check))
        .unwrap_or_else(|_| Finding::new(name, false, "the check itself failed"))
}

fn turning(vitals: &Vitals, now: Instant) -> Finding {
    let last = Instant::from_micros(vitals.last_turn.load(Ordering::Relaxed));
    let silence = now.since(last);
    let passed = silence <= LOOP_SILENCE_MAX;
    let detail =
        if passed { String::new() } else { format!("no turn for {} s", silence.as_secs()) };
    Finding::new("loop", passed, detail)
}

fn boot(vitals: &Vitals) -> Finding {
    let passed = vitals.booted.load(Ordering::Relaxed);
    Finding::new("boot", passed, if passed { "" } else { "lock, store or listeners not ready" })
}

fn store(state: &StoreState) -> Finding {
    match state {
        StoreState::Absent => Finding::new("store", true, "none"),
        StoreState::Well { latency } => {
            Finding::new("store", true, format!("{} ms", latency.as_millis()))
        }
        StoreState::Refusing { why } => Finding::new("store", false, format!("refusing: {why}")),
        StoreState::Fatal { why } => {
            Finding { fatal: true, ..Finding::new("store", false, format!("fatal: {why}")) }
        }
    }
}

fn mesh(members: &Members, age: Duration) -> Finding {
    let (alive, known) = alive(members);
    let passed = members.joined || age >= MESH_WAIT;
    let detail = if passed {
        format!("{alive} of {known} alive")
    } else {
        "waiting for a first list of members".to_owned()
    };
    Finding::new("mesh", passed, detail)
}

/// How many members are alive, and how many are known that did not leave.
pub(crate) fn alive(members: &Members) -> (usize, usize) {
    let is = |state| members.rows.values().filter(|member| member.state == state).count();
    let alive = is(State::Alive);
    (alive, alive + is(State::Suspect) + is(State::Failed))
}

fn workers(published: &Published, age: Duration) -> Finding {
    let waiting = crate::http::unprobed_workers(&published.workers.load());
    let passed = waiting == 0 || age >= WORKERS_WAIT;
    let detail = match waiting {
        0 => String::new(),
        count => format!("{count} not probed yet"),
    };
    Finding::new("workers", passed, detail)
}

/// A node without its store serves what it has, and has nothing before the store was read once.
fn credentials(known: &credentials::Snapshot) -> Finding {
    let detail = match (&known.failure, &known.breaker) {
        _ if !known.enabled => "none are kept".to_owned(),
        (Some(failure), _) => format!("the store does not answer: {failure}"),
        (None, _) if !known.loaded => "the store was not read yet".to_owned(),
        (None, Some((_, held))) => format!("the breaker is open: {} are missing", held.len()),
        (None, None) => format!("{} in use", known.live().count()),
    };
    Finding::new("credentials", known.loaded || !known.enabled, detail)
}

/// A node whose pools all rest cannot serve; one without pools can.
fn pools(snapshot: &Snapshot) -> Finding {
    let (serving, total) = crate::http::pool_totals(snapshot);
    let mut detail = match total {
        0 => "none".to_owned(),
        _ => format!("{serving} of {total} can serve"),
    };
    for (name, pool) in snapshot.pools.iter().filter(|(_, pool)| !serves(pool)) {
        if let Some(unknown) = unknown(pool) {
            detail.push_str(&format!("; `{name}` names {unknown}, which is not known here"));
        }
    }
    Finding::new("pools", total == 0 || serving > 0, detail)
}

fn serves(pool: &Pool) -> bool {
    pool.views.first().is_some_and(|lane| lane.servable > 0)
}

/// The first credential that a pool names and nobody knows.
fn unknown(pool: &Pool) -> Option<String> {
    let definition::Members::Listed(listed) = &pool.definition.members else { return None };
    let known = |handle| {
        let found = pool.members.iter().find(|member| member.handle == handle);
        found.is_some_and(|member| member.credential.is_some())
    };
    let missing = listed.iter().find(|one| !known(one.handle()))?;
    Some(format!("`{}`", missing.credential))
}

fn each_pool(snapshot: &Snapshot) -> Vec<Finding> {
    let finding = |pool: &Arc<Pool>| {
        let passed = serves(pool);
        let since = pool.views.first().and_then(|lane| lane.exhausted_since);
        let detail = match (since, unknown(pool)) {
            _ if passed => "can serve".to_owned(),
            (_, Some(unknown)) => {
                format!("it names {unknown}, which is not known here: add it, or take it out")
            }
            (Some(since), None) => {
                format!("exhausted since {}", crate::clock::rfc3339(UnixTime(since)))
            }
            (None, None) => "it has no account: add one, or take the pool out".to_owned(),
        };
        let name = Cow::Owned(format!("pool/{}", pool.name));
        Finding { name, passed, fatal: false, shown: true, detail }
    };
    snapshot.pools.values().map(finding).collect()
}

/// A node without a copy of the log serves all the same; a log without a leader serves nobody.
fn raft(log: &Status) -> Finding {
    let (passed, detail) = if !log.conflicts.is_empty() {
        let others = log.conflicts.join(", ");
        (false, format!("genesis_conflict: another log of this cluster is kept by {others}"))
    } else if let Some(index) = log.needs_upgrade {
        (false, format!("needs_upgrade: entry {index} is of a newer build"))
    } else if let Some(leader) = &log.leader {
        (true, format!("leader {leader}, term {}", log.term))
    } else if log.state == Standing::Outside {
        (true, "no copy is kept here".to_owned())
    } else {
        (false, "quorum_lost: nobody leads".to_owned())
    };
    Finding::new("raft", passed, detail)
}

fn drain(vitals: &Vitals, members: &Members) -> Finding {
    let why = match vitals.phase() {
        Phase::Delaying | Phase::Stopping => Some("shutting down"),
        Phase::Running if members.draining => Some("drained by an operator"),
        Phase::Running if members.leaving => Some("leaving the cluster"),
        Phase::Running => None,
    };
    Finding::new("drain", why.is_none(), why.unwrap_or_default())
}

//! One run: a plan and a seed, from the first process to the verdict.
//!
//! | phase | virtual time | what happens |
//! | --- | --- | --- |
//! | boot | 5 s | nodes start, some later |
//! | safety | the plan's first time | load and plan; anything may fail |
//! | calm | 10 s | load has ended, open calls run out |
//! | liveness | at most the plan's second time | the core heals, the others are broken for good |
//!
//! Times in a plan count from the beginning of safety.

pub mod agenda;
mod folders;
mod parts;
pub mod verify;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use quorate_core::ids::{MemberId, NodeId, Ticket};
use quorate_core::mark::Hits;
use quorate_core::node::raft::Genesis;
use quorate_core::random::Rng;
use quorate_core::time::micros;

use crate::backend::{Backend, Host};
use crate::clock::Micros;
use crate::invariants::pools::Calls;
use crate::invariants::{Checks, Ledger};
use crate::net::{Kind, State};
use crate::outside::providers::Terms;
use crate::plan::Plan;
use crate::trace::{Comparison, Difference, Trace, hex};
use crate::verdict::{Failure, Kind as FailureKind};
use crate::view::lens::Lens;
use crate::world::World;
use crate::world::faults::FaultCounts;
use crate::world::machine::Machine;
use agenda::Step;
use parts::Parts;

/// Virtual time before safety.
pub const BOOT_US: Micros = 5_000_000;
/// Virtual time between safety and liveness.
pub const CALM_US: Micros = 10_000_000;
/// How often promises across nodes are looked at.
const TICK_US: Micros = 1_000_000;
/// Who waits so long for a handshake gets one through a third of the packets lost.
const HANDSHAKE_US: Micros = 500_000;
/// Turns that a failure shows.
const SHOWN: usize = 200;

/// How a run is watched.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Where its trace is written.
    pub trace: Option<PathBuf>,
    /// An earlier trace to compare every turn with.
    pub compare: Option<PathBuf>,
    /// Keep the last turns for a failure's report.
    pub keep: bool,
    /// Look at no promise: to see what looking costs, or what comes after a failure.
    pub blind: bool,
    /// Look on with a lens, and hand it over.
    pub lens: bool,
    /// Who drives the nodes.
    pub backend: Backend,
    /// Stop at that time, as if the plan had nothing more to say.
    pub until: Option<Micros>,
}

/// What came of a run.
#[derive(Debug)]
pub struct Outcome {
    /// Its seed.
    pub seed: u64,
    /// What did not hold.
    pub failure: Option<Failure>,
    /// The hash of its trace.
    pub hash: u64,
    /// Inputs that nodes took.
    pub events: u64,
    /// Virtual time.
    pub virtual_us: Micros,
    /// What was done to the world.
    pub faults: FaultCounts,
    /// What was looked at.
    pub ledger: Ledger,
    /// What was reached in the machines.
    pub marks: Hits,
    /// What callers of pools got.
    pub calls: Calls,
    /// How long the core took to become quiet.
    pub converged: Option<Micros>,
    /// The last turns of the machines concerned.
    pub story: Vec<String>,
    /// Datagrams that nodes sent.
    pub datagrams: u64,
    /// Where it and the trace that it was compared with parted.
    pub difference: Option<Difference>,
    /// What the lens saw, if one looked on.
    pub lens: Option<Box<Lens>>,
}

/// A run under way.
pub struct Run<'a> {
    plan: &'a Plan,
    /// The world it happens in.
    pub world: World,
    steps: Vec<Step>,
    rng: Rng,
    core: Vec<usize>,
    parts: Parts,
    /// Machines of which nobody hears any more.
    mute: Vec<usize>,
    tags: BTreeMap<String, Ticket>,
    converged: Option<Micros>,
    /// Acts of callers so far: of lines of their own, and by load.
    acted: u64,
    loaded: BTreeMap<usize, u64>,
    stop: Micros,
    /// Where processes run, if not in the world.
    host: Option<Box<dyn Host>>,
}

/// Runs `plan` under `seed`.
pub fn run(plan: &Plan, seed: u64, options: &Options) -> Outcome {
    run_on(plan, seed, options, |world, seed| options.backend.host(world, seed))
}

/// Runs `plan` under `seed` on whatever `host` moves its processes to.
pub fn run_on(
    plan: &Plan,
    seed: u64,
    options: &Options,
    host: impl FnOnce(&mut World, u64) -> Option<Box<dyn Host>>,
) -> Outcome {
    let mut run = Run::new(plan, seed, options);
    run.host = host(&mut run.world, seed);
    let ended = hushed(|| catch_unwind(AssertUnwindSafe(|| run.go())));
    if ended.is_err() {
        let (message, machine) = (last_panic(), run.world.turning());
        let failure = Failure::new(FailureKind::Panic, "panic", machine, message);
        let at = run.world.now();
        run.world.fail(failure.at(at, run.world.trace.turns()));
    }
    run.outcome(seed)
}

/// The disks of the voters that a plan names hold a log that was formed before the run begins. A voter
/// without a disk has lost its part already.
fn form(plan: &Plan, rng: &Rng, machines: &mut [Machine]) {
    let voters = plan.given.get("voters").map_or("none", String::as_str);
    let voters = crate::settings::names(voters, machines.len()).unwrap_or_default();
    let mut rng = rng.child("genesis");
    let genesis = Genesis(u128::from(rng.word()));
    let members: BTreeMap<MemberId, usize> =
        voters.into_iter().map(|index| (MemberId(rng.word().max(1)), index)).collect();
    let places: BTreeMap<MemberId, NodeId> =
        members.iter().map(|(id, index)| (*id, crate::settings::node_id(*index))).collect();
    for (member, index) in members {
        let machine = machines.get_mut(index);
        let Some(disk) = machine.and_then(|machine| machine.disk.as_mut()) else { continue };
        let rows = quorate_core::node::formed(genesis, member, places.clone(), 5);
        let rows = rows.into_iter().map(|((keyspace, key), value)| (keyspace, key, Some(value)));
        disk.write(Ticket(0), rows.collect());
        disk.sync();
    }
}

impl Run<'_> {
    /// A world for `plan`, in which nothing has happened yet.
    pub fn new<'a>(plan: &'a Plan, seed: u64, options: &Options) -> Run<'a> {
        let rng = Rng::from_number(seed);
        // What this thread reached before is no part of this run.
        Hits::take();
        let nodes = plan.nodes();
        let stored = plan.given.get("store").map_or("all", String::as_str);
        let stored = crate::settings::names(stored, nodes).unwrap_or_default();
        let machine = |index: usize| {
            let node = crate::settings::node_id(index);
            let settings = crate::settings::of_node(plan, index);
            Machine::new(index, node, settings, stored.contains(&index))
        };
        let mut machines: Vec<Machine> = (0..nodes).map(machine).collect();
        form(plan, &rng, &mut machines);
        let spare = |index| {
            let settings = crate::settings::of_node(plan, index);
            let node = crate::settings::node_id(index);
            Machine { spare: true, ..Machine::new(index, node, settings, false) }
        };
        machines.extend((nodes..nodes + plan.twins()).map(spare));
        let mut trace = Trace::new(options.keep);
        if let Some(path) = &options.trace {
            let head = serde_json::json!({
                "trace": 1, "kind": "world", "build": crate::build(), "seed": seed,
                "command": format!("quorate-sim run --seed {seed}"), "plan": plan.to_string(),
            });
            let written = trace.write_to(path, &head);
            written
                .unwrap_or_else(|error| panic!("the trace cannot be written to {path:?}: {error}"));
        }
        if let Some(path) = &options.compare {
            let (_, lines) = crate::trace::read::open(path).expect("its head was read before");
            trace.compare_with(Comparison::new(lines));
        }
        let mut checks = Checks::new(machines.len());
        checks.on = !options.blind;
        let mut world = World::new(&rng.child("world"), machines, trace, checks);
        world.lens = options.lens.then(Box::default);
        let terms = Terms::of(&plan.given).expect("a plan that was read gives what can be used");
        world.outside.providers.agree(terms);
        let core = plan.given.get("core").map_or("all", String::as_str);
        let core = crate::settings::names(core, nodes).unwrap_or_default();
        Run {
            plan,
            world,
            steps: Vec::new(),
            rng: rng.child("run"),
            core,
            parts: Parts::default(),
            mute: Vec::new(),
            tags: BTreeMap::new(),
            converged: None,
            acted: 0,
            loaded: BTreeMap::new(),
            stop: options.until.unwrap_or(Micros::MAX),
            host: None,
        }
    }

    /// All phases.
    pub fn go(&mut self) {
        let (safety, liveness) = self.plan.time();
        self.lay_out(safety);
        self.until(BOOT_US + safety);
        self.world.calm();
        self.until(BOOT_US + safety + CALM_US);
        self.heal();
        let healed = self.world.now();
        let end = healed + liveness;
        self.become_quiet(healed, end);
        self.until_last_then(end);
        if !self.is_over() {
            self.verify();
        }
    }

    /// Waits for every quiescence promise at once, until `end`.
    fn become_quiet(&mut self, healed: Micros, end: Micros) {
        let mut unquiet: BTreeMap<String, (u32, Failure)> = BTreeMap::new();
        while !self.is_over() && self.converged.is_none() {
            let next = (self.world.now() + TICK_US).min(end);
            self.until(next);
            let mut scratch = Ledger::default();
            let Err(failure) = self.quiet(&mut scratch) else {
                self.converged = Some(self.world.now() - healed);
                return;
            };
            let times = unquiet.get(&failure.id).map_or(0, |(times, _)| *times);
            unquiet.insert(failure.id.clone(), (times + 1, failure));
            if next >= end {
                // What stood in the way most often: at the very end something else may be on its way.
                let why = unquiet.into_values().max_by_key(|(times, _)| *times);
                return self.never_quiet(why.expect("it was noted, a line above").1);
            }
        }
    }

    fn is_over(&self) -> bool {
        self.world.failure().is_some() || self.world.now() >= self.stop
    }

    /// A scenario goes on until its last `by`.
    fn until_last_then(&mut self, end: Micros) {
        let last = self.steps.iter().map(Step::is_then).count();
        let due = self.plan.thens.iter().filter_map(|then| match then {
            crate::plan::Then::By(at, _) => Some(*at),
            crate::plan::Then::Count { by, .. } => *by,
            crate::plan::Then::Always(..)
            | crate::plan::Then::End(..)
            | crate::plan::Then::Answer(..)
            | crate::plan::Then::Mark(_) => None,
        });
        if let Some(at) = due.max().filter(|_| last > 0) {
            self.until((BOOT_US + at).min(end));
        }
    }

    /// Lets the world go on, doing what is due.
    fn until(&mut self, end: Micros) {
        let end = end.min(self.stop);
        let Some(mut host) = self.host.take() else {
            while let Some(number) = self.world.advance(end) {
                self.step(number);
            }
            return;
        };
        while !self.is_over() && self.world.now() < end {
            let due = self.world.next_event().map_or(end, |next| next.min(end));
            host.run(&mut self.world, due);
            let now = self.world.now();
            while let Some(number) = self.world.advance(now) {
                self.step(number);
            }
        }
        self.host = Some(host);
    }

    /// The core heals; whoever is not in it is broken for good.
    fn heal(&mut self) {
        if self.world.failure().is_some() {
            return;
        }
        self.world.end_twins();
        self.world.heal_links();
        self.world.resume_all();
        let nodes = self.plan.nodes();
        let core = self.core.clone();
        for machine in (0..nodes).filter(|machine| !core.contains(machine)) {
            self.break_for_good(machine);
        }
        for machine in &core {
            self.world.start(*machine);
        }
        self.parts.healed(&core, &self.world.machines);
    }

    fn break_for_good(&mut self, machine: usize) {
        let others: Vec<usize> =
            (0..self.world.machines.len()).filter(|other| *other != machine).collect();
        let (mut deaf, mut mute) = (true, true);
        let name = crate::settings::node_id(machine);
        match self.rng.child(&format!("for_good/{name}")).below(4) {
            0 => self.world.crash(machine, true),
            1 => {}
            2 => deaf = false,
            _ => mute = false,
        }
        for other in others {
            if mute {
                self.world.cut_for_good(machine, other);
            }
            if deaf {
                self.world.cut_for_good(other, machine);
            }
        }
        if mute {
            self.mute.push(machine);
        }
    }

    /// Every quiescence promise on the core, or on each part of it.
    fn quiet(&self, ledger: &mut Ledger) -> Result<(), Failure> {
        let (machines, checks) = (self.world.machines.as_slice(), &self.world.checks);
        if !checks.on {
            return Ok(());
        }
        for part in self.parts.of(&self.core, machines) {
            checks.membership.quiet(&part, &self.mute, machines, ledger)?;
            checks.replica.quiet(&part, machines, ledger)?;
            checks.gossip.quiet(&part, machines, ledger)?;
            checks.raft.quiet(&part, machines, ledger)?;
            checks.raft.even(&part, machines, ledger)?;
            checks.credentials.quiet(&part, machines, ledger)?;
            crate::invariants::kv::leases::ended(&part, machines, ledger)?;
            checks.workers.quiet(&part, machines, ledger)?;
        }
        Ok(())
    }

    fn never_quiet(&mut self, why: Failure) {
        let wakes: Vec<String> = self
            .core
            .iter()
            .filter_map(|index| {
                let machine = self.world.machines.get(*index)?;
                let wake = machine.next_wake()?;
                let after = wake.at.since(machine.clock.local(self.world.now()));
                Some(format!("{} in {after:?}: {}", machine.node, wake.what))
            })
            .collect();
        let message = format!("{} ({}); still wanted: {}", why.message, why.id, wakes.join(", "));
        let failure = Failure { kind: FailureKind::Liveness, message, ..why };
        let (at, turns) = (self.world.now(), self.world.trace.turns());
        self.world.fail(failure.at(at, turns));
    }

    /// Whether packets get from one machine to another and back, directly or by one helper.
    fn reach(&self, one: usize, other: usize) -> bool {
        let pair = |left: usize, right: usize| {
            let open = |from, to| {
                let link = self.world.link(from, to);
                let patience = self.patience(left).min(self.patience(right));
                let lossy = link.rates.loss <= 300_000 && patience >= HANDSHAKE_US;
                let lossless = link.rates.loss == 0 && 4 * link.rates.delay_us <= patience;
                let fine = (lossy || lossless) && link.rates.delay_us <= 100_000;
                let carries = |kind| link.state(kind) == State::Open;
                let whole = link.mtu >= 1400 && link.reader.is_none();
                carries(Kind::Datagram) && carries(Kind::Stream) && fine && whole
            };
            open(left, right) && open(right, left)
        };
        let runs = |index: &usize| self.world.machines.get(*index).is_some_and(Machine::runs);
        pair(one, other)
            || (0..self.world.machines.len())
                .filter(|helper| *helper != one && *helper != other)
                .any(|helper| runs(&helper) && pair(one, helper) && pair(helper, other))
    }

    /// How long a machine waits for a connection, or for the handshake on it, before it gives up.
    fn patience(&self, machine: usize) -> Micros {
        let link = self.world.machines.get(machine).map(|machine| &machine.settings.link);
        link.map_or(0, |link| micros(link.connect_timeout.min(link.handshake_timeout)))
    }

    /// Whether nothing at all stands between two machines.
    fn near(&self, one: usize, other: usize) -> bool {
        let patience = self.patience(one).min(self.patience(other));
        let open = |from, to| {
            let link = self.world.link(from, to);
            let carries = |kind| link.state(kind) == State::Open;
            let delay = link.rates.delay_us;
            let fine = link.rates.loss == 0 && delay <= 100_000 && 4 * delay <= patience;
            let whole = link.mtu >= 1400 && link.reader.is_none();
            carries(Kind::Datagram) && carries(Kind::Stream) && fine && whole
        };
        open(one, other) && open(other, one)
    }

    fn outcome(mut self, seed: u64) -> Outcome {
        let failure = self.world.failure().cloned();
        let story = failure.as_ref().map(|failure| self.story(failure)).unwrap_or_default();
        if let Err(error) = self.world.trace.finish() {
            self.world.fail(Failure::new(FailureKind::Log, "trace", None, error.to_string()));
        }
        self.world.faults.count_many("point", self.world.points.fired());
        self.world.faults.count_many("knob", crate::settings::knobs(self.plan));
        Outcome {
            seed,
            failure,
            hash: self.world.trace.hash(),
            events: self.world.inputs(),
            virtual_us: self.world.now(),
            faults: self.world.faults.clone(),
            ledger: self.world.checks.ledger.clone(),
            marks: Hits::take(),
            calls: self.world.checks.pools.calls,
            converged: self.converged,
            story,
            datagrams: self.world.datagrams(),
            difference: self.world.trace.difference(),
            lens: self.world.lens.take(),
        }
    }

    /// The last turns of the machine concerned, or of all.
    fn story(&self, failure: &Failure) -> Vec<String> {
        let concerned = self
            .world
            .trace
            .kept()
            .rev()
            .filter(|kept| failure.machine.is_none_or(|machine| machine == kept.machine));
        let mut lines: Vec<String> = concerned
            .take(SHOWN)
            .map(|kept| {
                let node = crate::settings::node_id(kept.machine);
                format!(
                    "{:>8} {:>12} us {node} {:?} => {:?}",
                    kept.sequence, kept.at, kept.inputs, kept.effects
                )
            })
            .collect();
        lines.reverse();
        lines
    }
}

impl Outcome {
    /// One line.
    pub fn line(&self) -> String {
        let seed = self.seed;
        let virtual_s = self.virtual_us as f64 / 1e6;
        match &self.failure {
            None => {
                let (events, hash) = (self.events, hex(self.hash));
                format!("seed {seed} ok events {events} virtual {virtual_s:.1}s hash {hash}")
            }
            Some(failure) => {
                let node = failure
                    .machine
                    .map_or("-".to_owned(), |m| crate::settings::node_id(m).to_string());
                let at = failure.at as f64 / 1e6;
                let (kind, id) = (failure.kind.name(), &failure.id);
                format!("seed {seed} FAILED {kind} {id} at {at:.6}s on {node}: {}", failure.message)
            }
        }
    }
}

thread_local! {
    static PANIC: RefCell<String> = const { RefCell::new(String::new()) };
    /// Whether panics of this thread are verdicts.
    static HUSHED: Cell<bool> = const { Cell::new(false) };
}

/// A panic of the code under test is a verdict, not a mess on the terminal. Others are told as ever.
fn hushed<R>(run: impl FnOnce() -> R) -> R {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let told = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !HUSHED.get() {
                return told(info);
            }
            let text = info.payload_as_str().unwrap_or("no message").to_owned();
            let place = info.location().map(ToString::to_string).unwrap_or_default();
            PANIC.with(|panic| panic.replace(format!("{text} ({place})")));
        }));
    });
    HUSHED.set(true);
    let done = run();
    HUSHED.set(false);
    done
}

pub(crate) fn last_panic() -> String {
    PANIC.with(|panic| panic.borrow().clone())
}

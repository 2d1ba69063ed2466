//! What a plan says, laid out in time and done when it is due.

use std::borrow::Cow;
use std::collections::BTreeMap;

use quorate_core::ids::Ticket;
use quorate_core::node::kv::{self, Key, Path};
use quorate_core::node::raft::Standing;
use quorate_core::node::{Request, workers};
use quorate_core::random::Rng;

use super::{BOOT_US, Run, TICK_US};
use crate::clock::Micros;
use crate::plan::text::parse_time;
use crate::plan::{Actor, Class, Operation, Pick, Role, Targets, Then, What};
use crate::surfaces::{Wish, Wrong, url_of};
use crate::world::faults::{Fault, Place};

/// What callers ask for first: no model, one, one of a family, and one of two. More are named by their number.
const MODELS: [&str; 5] =
    ["", "gpt-5", "claude-opus-4", "claude-opus-or-sonnet", "claude-sonnet-4"];

/// One thing to do.
#[derive(Debug, Clone)]
pub enum Step {
    /// A machine starts its first process.
    Start(usize),
    /// A line of the plan comes due.
    Event(usize),
    /// A fault of that number ends: the line, and where it struck.
    End(usize, usize, Place),
    /// A caller of that load acts.
    Load(usize),
    /// Promises across nodes are looked at.
    Tick,
    /// A `then` line comes due.
    Then(usize),
    /// Whoever asked for a lock under that ticket renews its lease.
    KeepAlive {
        /// Through which node.
        machine: usize,
        /// What it asked under.
        ticket: Ticket,
        /// And again after that.
        every: Micros,
        /// Until then.
        until: Micros,
    },
    /// A link joins or leaves a swizzle.
    Swizzle(usize, bool),
}

impl Step {
    /// Whether it is a `then` line.
    pub fn is_then(&self) -> bool {
        matches!(self, Step::Then(_))
    }
}

impl Run<'_> {
    /// Puts everything that is known from the start into the world's queue.
    pub(super) fn lay_out(&mut self, safety: Micros) {
        let late = self.plan.given.get("late").map(String::as_str).unwrap_or("none");
        let late = crate::settings::names(late, self.plan.nodes()).unwrap_or_default();
        for machine in (0..self.plan.nodes()).filter(|machine| !late.contains(machine)) {
            let at = self.draws(&format!("start/{machine}")).below(1_500_000);
            self.remind(at, Step::Start(machine));
        }
        for (index, when) in self.plan.events.iter().enumerate() {
            let (distance, count) = when.every.unwrap_or((0, 1));
            for turn in 0..u64::from(count) {
                self.remind(BOOT_US + when.at + turn * distance, Step::Event(index));
            }
        }
        for (index, load) in self.plan.loads.iter().enumerate() {
            if load.rate_milli > 0 && load.from < safety {
                self.remind(BOOT_US + load.from, Step::Load(index));
            }
        }
        for (index, then) in self.plan.thens.iter().enumerate() {
            let at = match then {
                Then::By(at, _) => Some(*at),
                Then::Count { by, .. } => *by,
                Then::Always(_) | Then::End(_) | Then::Answer(..) | Then::Mark(_) => None,
            };
            if let Some(at) = at {
                self.remind(BOOT_US + at, Step::Then(index));
            }
        }
        self.remind(TICK_US, Step::Tick);
    }

    /// A stream of draws for one purpose: whatever else the plan says moves none of them.
    fn draws(&self, purpose: &str) -> Rng {
        self.rng.child(purpose)
    }

    fn remind(&mut self, at: Micros, step: Step) {
        self.steps.push(step);
        self.world.note(at, self.steps.len() - 1);
    }

    /// Does what is due.
    pub(super) fn step(&mut self, number: usize) {
        let Some(step) = self.steps.get(number).cloned() else { return };
        match step {
            Step::Start(machine) => self.world.start(machine),
            Step::Event(index) => self.event(number, index),
            Step::End(fault, index, place) => self.end(fault, index, place),
            Step::Load(index) => self.load(number, index),
            Step::Tick => self.tick(number),
            Step::Then(index) => self.check_then(index),
            Step::KeepAlive { machine, ticket, every, until } => {
                self.keep_alive(number, (machine, ticket), (every, until));
            }
            Step::Swizzle(machine, on) => self.world.clog_machine(machine, on),
        }
    }

    fn event(&mut self, number: usize, index: usize) {
        let Some(when) = self.plan.events.get(index) else { return };
        let lasts = when.lasts;
        match &when.what {
            What::Fault { class, targets, keys } => {
                let place = self.place(*class, targets);
                if class.0 == "swizzle" {
                    return self.swizzle(&place, lasts.unwrap_or(10_000_000));
                }
                let fault = Fault { number, class: class.0, place: place.clone(), keys, lasts };
                self.world.begin(&fault);
                if let Some(lasts) = lasts {
                    self.remind(self.world.now() + lasts, Step::End(number, index, place));
                }
            }
            What::Act { actor, tag, operation, words, keys } => {
                self.act(actor, tag.as_deref(), *operation, words, keys);
            }
        }
    }

    fn end(&mut self, number: usize, index: usize, place: Place) {
        let Some(when) = self.plan.events.get(index) else { return };
        if let What::Fault { class, keys, .. } = &when.what {
            let fault = Fault { number, class: class.0, place, keys, lasts: when.lasts };
            self.world.end(&fault);
        }
    }

    /// A random subset is clogged one by one and freed in another order.
    fn swizzle(&mut self, place: &Place, lasts: Micros) {
        let mut machines = place.machines.clone();
        let now = self.world.now();
        let mut draws = self.draws(&format!("swizzle/{now}"));
        draws.shuffle(&mut machines);
        let count = 1 + draws.index(machines.len());
        machines.truncate(count);
        let span = (lasts / 3).max(1);
        for machine in &machines {
            let at = now + draws.below(span);
            self.remind(at, Step::Swizzle(*machine, true));
            let at = now + 2 * span + draws.below(span);
            self.remind(at, Step::Swizzle(*machine, false));
        }
        self.world.faults.count("swizzle");
    }

    fn act(
        &mut self,
        actor: &Actor,
        tag: Option<&str>,
        operation: Operation,
        words: &[String],
        keys: &BTreeMap<String, String>,
    ) {
        let Actor::Node(pick) = actor else {
            let health = words.get(1).map_or("error", String::as_str);
            let health = crate::outside::Health::ALL.into_iter().find(|(name, _)| *name == health);
            if let (Some(url), Some((_, health))) = (words.first(), health) {
                self.world.outside.set(url, health);
            }
            return;
        };
        self.acted += 1;
        let wish = Wish { operation: operation.0, words, keys, turn: self.acted, revision: None };
        for machine in self.resolve(std::slice::from_ref(pick)) {
            let ticket = self.wish(machine, &wish);
            if let (Some(tag), Some(ticket)) = (tag, ticket) {
                self.tags.insert(tag.to_owned(), ticket);
            }
        }
    }

    /// What the node on `machine` shows as the revision of a worker.
    fn revision(&self, machine: usize, words: &[String]) -> Option<u64> {
        let process = self.world.machine(machine).process.as_ref()?;
        let snapshot = process.node.published().workers.load();
        snapshot.entries.get(words.first()?.as_str()).map(|entry| entry.revision())
    }

    /// At which revision the node on `machine` holds a key; 0 if it holds none.
    fn key_revision(&self, machine: usize, wish: &Wish<'_>) -> Option<u64> {
        let process = self.world.machine(machine).process.as_ref()?;
        let key = Key::new(wish.words.first()?.as_bytes()).ok()?;
        let path = Path::new(&wish.namespace().parse().ok()?, &key);
        let held = process.node.kv().state().get(&path, None).ok()?;
        Some(held.map_or(0, |version| version.mod_revision))
    }

    fn wish(&mut self, machine: usize, wish: &Wish<'_>) -> Option<Ticket> {
        if wish.operation == "worker.pick" {
            return self.pick(machine, wish);
        }
        match wish.operation {
            "kv.watch" => return self.watch(machine, wish),
            "locks.acquire" => return self.acquire(machine, wish),
            "resource.write" => return self.write(machine, wish),
            "pool.request" => return self.pool_request(machine, wish),
            "pool.remove" => return self.world.define_pools(machine, Default::default()),
            "pool.add" => {
                let pools = crate::settings::of_node(self.plan, machine).pools.pools;
                return self.world.define_pools(machine, pools);
            }
            "credential.edit" => return self.edit(machine, wish),
            "credential.hint" => return self.hint(machine, wish),
            "credential.put" => return self.put_credential(machine, wish),
            "credential.operate" => return self.operate(machine, wish),
            _ => {}
        }
        match wish.request() {
            Ok(request) => self.world.request(machine, request),
            Err(Wrong::Refused(refusal)) => Some(self.world.refuse(machine, &refusal)),
            Err(Wrong::Plan(error)) => panic!("the plan asks for what cannot be: {error}"),
        }
    }

    /// One of a few watchers goes on at `machine`, from where it was.
    fn watch(&mut self, machine: usize, wish: &Wish<'_>) -> Option<Ticket> {
        let number = |key: &str| wish.keys.get(key).and_then(|text| text.parse::<u64>().ok());
        let watcher = wish.turn % number("watchers").unwrap_or(1).max(1);
        // Every other watcher is there for all keys.
        let one = wish.words.first().filter(|_| !watcher.is_multiple_of(2));
        let key = one.and_then(|word| Key::new(word.as_bytes()).ok());
        let key = self.world.checks.kv.watches.key_of(watcher).unwrap_or(key);
        if let Some((there, watch)) = self.world.checks.kv.watches.close(watcher) {
            self.world.request(there, Request::Unwatch { watch });
        }
        let request = self.world.checks.kv.watches.request(watcher, key.clone());
        let ticket = self.world.request(machine, Request::Watch(request))?;
        self.world.checks.kv.watches.opened(watcher, machine, ticket, key);
        Some(ticket)
    }

    /// A caller stands in line for a lock, and renews its lease at the same node for as long as it holds.
    fn acquire(&mut self, machine: usize, wish: &Wish<'_>) -> Option<Ticket> {
        let request = wish.request().unwrap_or_else(|wrong| panic!("the plan is wrong: {wrong:?}"));
        let ticket = self.world.request(machine, request)?;
        self.world.checks.kv.locks.asked(ticket, machine, &wish.lock());
        let (now, every) = (self.world.now(), wish.ttl() / 3);
        let hold = wish.keys.get("hold").and_then(|text| parse_time(text).ok());
        let until = (BOOT_US + self.plan.time().0).min(now + hold.unwrap_or(Micros::MAX / 2));
        self.remind(now + every, Step::KeepAlive { machine, ticket, every, until });
        Some(ticket)
    }

    fn keep_alive(
        &mut self,
        number: usize,
        (machine, ticket): (usize, Ticket),
        (every, until): (Micros, Micros),
    ) {
        if let Some(lease) = self.world.checks.kv.locks.lease(ticket) {
            let request = Box::new(kv::Request::KeepAlive(lease));
            self.world.request(machine, Request::Kv { request, within: None, once: None });
        }
        if self.world.now() < until {
            self.world.note(self.world.now() + every, number);
        }
    }

    /// A resource is acted on with the fence of whoever is named.
    fn write(&mut self, machine: usize, wish: &Wish<'_>) -> Option<Ticket> {
        let by = wish.keys.get("by").and_then(|tag| self.tags.get(tag).copied());
        let resource = wish.lock();
        let checks = &mut self.world.checks;
        match checks.kv.locks.write(machine, &resource, by, &mut checks.ledger) {
            Ok(obeyed) => Some(self.world.told(if obeyed { "done" } else { "refused" }.to_owned())),
            Err(failure) => {
                let (at, turns) = (self.world.now(), self.world.trace.turns());
                self.world.fail(failure.at(at, turns));
                None
            }
        }
    }

    /// A caller wants an account for one of a few models, or for none that it names.
    fn pool_request(&mut self, machine: usize, wish: &Wish<'_>) -> Option<Ticket> {
        let models = wish.keys.get("models").and_then(|text| text.parse().ok()).unwrap_or(1);
        let mut draws = self.draws(&format!("model/{}", wish.turn));
        let index = draws.index(models);
        let more = || Cow::from(format!("m{index}"));
        let model = MODELS.get(index).map_or_else(more, |model| Cow::from(*model));
        self.world.pool_request(machine, &model, wish.turn)
    }

    /// Reads a snapshot, as a thread of a host does: none of them runs in a process that stands still. Every second
    /// pick leaves out what the one before it would have taken.
    fn pick(&mut self, machine: usize, wish: &Wish<'_>) -> Option<Ticket> {
        let host = Some(self.world.machine(machine)).filter(|host| host.runs());
        let process = host?.process.as_ref()?;
        let snapshot = process.node.published().workers.load_full();
        let mut query = wish.query();
        if wish.turn.is_multiple_of(2) {
            let first = workers::route(&snapshot, &query, wish.turn, &|_: &workers::Candidate| 0);
            query.exclude.extend(first.ok().map(|pick| pick.candidate.id.clone()));
        }
        let checks = &mut self.world.checks;
        if !checks.on {
            return None;
        }
        let told = checks.workers.pick(machine, &snapshot, &query, wish.turn, &mut checks.ledger);
        match told {
            Ok(words) => Some(self.world.told(words)),
            Err(failure) => {
                let (at, turns) = (self.world.now(), self.world.trace.turns());
                self.world.fail(failure.at(at, turns));
                None
            }
        }
    }

    /// A caller of a load acts, and the next one is planned.
    fn load(&mut self, number: usize, index: usize) {
        let Some(load) = self.plan.loads.get(index) else { return };
        let distance = (1_000_000_000 / load.rate_milli).max(1);
        let next = self.world.now() + distance;
        if next < BOOT_US + load.upto {
            self.world.note(next, number);
        }
        let nodes = self.plan.nodes();
        let on = load.keys.get("on").and_then(|text| crate::settings::names(text, nodes));
        let on = on.unwrap_or_else(|| (0..nodes).collect());
        let turn = self.loaded.entry(index).or_default();
        *turn += 1;
        let turn = *turn;
        let mut draws = self.draws(&format!("{}/{turn}", self.load_name(index)));
        let Some(machine) = draws.pick(&on).copied() else { return };
        let keys: u64 = load.keys.get("keys").and_then(|text| text.parse().ok()).unwrap_or(10);
        let drawn = draws.below(keys.max(1));
        let key = match load.keys.get("order").map(String::as_str) {
            Some("rising") => turn % keys.max(1),
            _ => drawn,
        };
        let words = [url_of(key + 1)];
        // One caller in eight has read the revision long ago.
        let operation = load.operation.0;
        let mut wish = Wish { operation, words: &words, keys: &load.keys, turn, revision: None };
        let read = match operation {
            "kv.put" => self.key_revision(machine, &wish),
            _ => self.revision(machine, &words),
        };
        wish.revision = read.filter(|_| !turn.is_multiple_of(8));
        self.wish(machine, &wish);
    }

    /// What a load's draws are named by: not its place, which others move.
    fn load_name(&self, index: usize) -> String {
        let operation = self.plan.loads.get(index).map_or("", |load| load.operation.0);
        let before = self.plan.loads.iter().take(index);
        let same = before.filter(|load| load.operation.0 == operation).count();
        format!("load/{operation}/{same}")
    }

    fn resolve(&mut self, picks: &[Pick]) -> Vec<usize> {
        let mut machines = Vec::new();
        for pick in picks {
            match pick {
                Pick::Node(number) => machines.push(number - 1),
                Pick::Range(first, last) => machines.extend(first - 1..*last),
                Pick::All => machines.extend(0..self.plan.nodes()),
                Pick::Random => {
                    let running = |index: &usize| self.world.machine(*index).process.is_some();
                    let running: Vec<usize> = (0..self.plan.nodes()).filter(running).collect();
                    let now = self.world.now();
                    machines.extend(self.draws(&format!("random/{now}")).pick(&running));
                }
                Pick::Role(role) => {
                    let now = self.world.now();
                    let draws = self.draws(&format!("random/{now}"));
                    machines.extend(draws.clone().pick(&self.in_role(*role)));
                }
            }
        }
        machines
    }

    /// Machines whose process says that it is this to the agreed log.
    fn in_role(&self, role: Role) -> Vec<usize> {
        let is = |index: &usize| {
            let process = self.world.machine(*index).process.as_ref();
            let state = process.map(|process| process.node.published().raft.load().state);
            state.is_some_and(|state| match role {
                Role::Leader => state == Standing::Leader,
                Role::Voter => state == Standing::Voter,
                Role::Standby => state == Standing::Standby,
                Role::Outside => state == Standing::Outside,
            })
        };
        (0..self.plan.nodes()).filter(is).collect()
    }

    fn place(&mut self, class: Class, targets: &Targets) -> Place {
        let all: Vec<usize> = (0..self.plan.nodes()).collect();
        let product = |from: &[usize], to: &[usize]| -> Vec<(usize, usize)> {
            let pairs = from.iter().flat_map(|one| to.iter().map(move |other| (*one, *other)));
            pairs.filter(|(one, other)| one != other).collect()
        };
        let both = |one: &[usize], other: &[usize]| {
            let mut links = product(one, other);
            links.extend(product(other, one));
            links.sort_unstable();
            links.dedup();
            links
        };
        match targets {
            Targets::None => Place { links: product(&all, &all), machines: all },
            Targets::Nodes(picks) => {
                let machines = self.resolve(picks);
                let outside: Vec<usize> = match class.0 {
                    "isolate" | "cut" => {
                        all.into_iter().filter(|m| !machines.contains(m)).collect()
                    }
                    _ => all,
                };
                Place { links: both(&machines, &outside), machines }
            }
            Targets::OneWay(from, to) => {
                let (from, to) = (self.resolve(from), self.resolve(to));
                Place { links: product(&from, &to), machines: from }
            }
            Targets::Between(one, other) | Targets::Halves(one, other) => {
                let (one, other) = (self.resolve(one), self.resolve(other));
                Place { links: both(&one, &other), machines: one }
            }
        }
    }

    fn tick(&mut self, number: usize) {
        self.world.note(self.world.now() + TICK_US, number);
        if self.plan.given.get("restart_on_red").is_some_and(|on| on == "true") {
            self.world.restart_red();
        }
        (0..self.plan.nodes()).for_each(|machine| self.world.read_wall(machine));
        if let Err(failure) = self.global() {
            let (at, turns) = (self.world.now(), self.world.trace.turns());
            self.world.fail(failure.at(at, turns));
        }
    }
}

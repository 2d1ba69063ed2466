//! The plan that a seed draws, by the swarm rules.
//!
//! Each class of faults is off with p = ½, at least two stay on; rates are log-uniform in their range; one
//! class in eight is *wild*, its rate times ten, capped. Each kind of operation is left out with p = ¼.
//! Every class draws from a stream of its own, so leaving one out moves nothing in another.

use std::collections::BTreeMap;

use quorate_core::mark::names::POINTS;
use quorate_core::random::Rng;

use super::text::Time;
use super::{Actor, Class, Load, Operation, Pick, Plan, Targets, What, When};
use crate::clock::Micros;
use crate::settings;
use crate::surfaces::url_of;
use crate::world::machine::PORT;

/// What a swarm is told about its worlds.
#[derive(Debug, Clone, Default)]
pub struct World {
    /// Nodes; drawn from 3 to 9 if not said.
    pub nodes: Option<usize>,
    /// Safety seconds; drawn from 60 to 180 if not said.
    pub seconds: Option<u64>,
    /// A scenario to perturb.
    pub base: Option<Plan>,
    /// Every plan has a pool of accounts; one in four if not said.
    pub pools: bool,
}

/// A class that a swarm may draw: its episodes, or its rate.
struct Menu {
    class: &'static str,
    /// How it is drawn.
    form: Form,
}

enum Form {
    /// Parts per million of packets, for the whole of safety.
    Rate(u64, u64),
    /// The longest extra delay.
    Delay(Micros, Micros),
    /// So many times at most, so long each.
    Times(u64, Micros, Micros),
    /// So many times at most, over at once.
    Once(u64),
    /// Parts per million of turns.
    Turns(u64, u64),
    /// False answers, in parts per million, for the whole of safety.
    Lies(u64, u64),
}

const MENU: [Menu; 33] = [
    Menu { class: "loss", form: Form::Rate(1000, 300_000) },
    Menu { class: "dup", form: Form::Rate(1000, 300_000) },
    Menu { class: "reorder", form: Form::Rate(1000, 300_000) },
    Menu { class: "delay", form: Form::Delay(200, 2_000_000) },
    Menu { class: "replay", form: Form::Rate(100, 50_000) },
    Menu { class: "cut", form: Form::Times(20, 100_000, 120_000_000) },
    Menu { class: "clog", form: Form::Times(20, 100_000, 30_000_000) },
    Menu { class: "swizzle", form: Form::Times(4, 5_000_000, 30_000_000) },
    Menu { class: "mtu", form: Form::Times(5, 1_000_000, 60_000_000) },
    Menu { class: "reset", form: Form::Once(20) },
    Menu { class: "slow_reader", form: Form::Times(5, 1_000_000, 30_000_000) },
    Menu { class: "crash", form: Form::Times(20, 1000, 60_000_000) },
    Menu { class: "restart", form: Form::Once(10) },
    Menu { class: "wipe", form: Form::Times(4, 1000, 30_000_000) },
    Menu { class: "crash_effect", form: Form::Turns(100, 2000) },
    Menu { class: "pause", form: Form::Times(10, 10_000, 60_000_000) },
    Menu { class: "suspend", form: Form::Times(5, 10_000, 120_000_000) },
    Menu { class: "leave", form: Form::Times(4, 1_000_000, 30_000_000) },
    Menu { class: "evict", form: Form::Once(5) },
    Menu { class: "upgrade", form: Form::Once(10) },
    Menu { class: "disk_slow", form: Form::Delay(1000, 5_000_000) },
    Menu { class: "disk_torn", form: Form::Turns(10_000, 500_000) },
    Menu { class: "disk_lost_sync", form: Form::Times(3, 1_000_000, 60_000_000) },
    Menu { class: "disk_bit", form: Form::Once(3) },
    Menu { class: "disk_sector", form: Form::Once(3) },
    Menu { class: "disk_misdirect", form: Form::Once(3) },
    Menu { class: "disk_full", form: Form::Times(3, 100_000, 30_000_000) },
    Menu { class: "disk_error", form: Form::Once(3) },
    Menu { class: "clock_step", form: Form::Once(5) },
    Menu { class: "clock_drift", form: Form::Once(5) },
    Menu { class: "clock_freeze", form: Form::Times(5, 1_000_000, 60_000_000) },
    Menu { class: "lie", form: Form::Times(5, 1_000_000, 60_000_000) },
    Menu { class: "service", form: Form::Lies(1000, 500_000) },
];

/// So many nodes of a plan found a log together.
const FOUNDING: &str = "cluster.expect";
/// Faults that make a disk forget what was promised on it. Where all seeds forget, nobody can tell that a log
/// was founded before; so plans that found one are spared of them.
const FORGETS: [&str; 5] = ["wipe", "disk_lost_sync", "disk_bit", "disk_sector", "disk_misdirect"];
const SECOND: Micros = 1_000_000;
const DAY: Micros = 86_400 * SECOND;
/// The longest that a machine sleeps.
const SLEEP: Micros = 30 * DAY;

/// Draws the plan of `seed`.
pub fn plan(seed: u64, world: &World) -> Plan {
    let rng = Rng::from_number(seed).child("plan");
    let mut shape = rng.child("shape");
    let mut plan = world.base.clone().unwrap_or_default();
    plan.name = format!("swarm/seed_{seed}");
    plan.about = "drawn by the swarm rules".to_owned();
    plan.thens.clear();
    plan.seeds = Some((seed, seed));
    if world.base.is_none() {
        let nodes = world.nodes.unwrap_or(3 + shape.index(7));
        let seconds = world.seconds.unwrap_or(60 + shape.below(121));
        plan.given.insert("nodes".to_owned(), nodes.to_string());
        plan.given.insert("time".to_owned(), format!("{seconds}s+120s"));
        draw_world(&mut plan, &mut shape, nodes);
        settings::draw(&mut plan, &rng.child("knob"));
        draw_loads(&mut plan, &rng.child("load"));
        draw_pool(&mut plan, &rng.child("pool"), world.pools);
    }
    let safety = plan.time().0;
    let draw = Draw { nodes: plan.nodes(), safety };
    let founds = plan.given.contains_key(FOUNDING);
    for menu in chosen(&rng).into_iter().filter(|menu| !founds || !FORGETS.contains(&menu.class)) {
        let mut rng = rng.child(menu.class);
        let wild = rng.chance(1, 8);
        plan.events.extend(draw.faults(menu, wild, &mut rng));
    }
    plan.events.extend(draw.points(&rng));
    plan.events.extend(draw.wishes(&mut rng.child("wishes")));
    plan.events.sort_by_key(|when| when.at);
    plan
}

/// Which classes are on.
fn chosen(rng: &Rng) -> Vec<&'static Menu> {
    let on = |menu: &&Menu| rng.child(menu.class).child("on").chance(1, 2);
    let mut chosen: Vec<&Menu> = MENU.iter().filter(on).collect();
    let mut spare = rng.child("spare");
    while chosen.len() < 2 {
        chosen.extend(spare.pick(&MENU));
    }
    chosen
}

/// Stores, the core set and late nodes.
fn draw_world(plan: &mut Plan, rng: &mut Rng, nodes: usize) {
    let list = |positions: &[usize]| {
        let names: Vec<String> = positions.iter().map(|index| format!("n{}", index + 1)).collect();
        if names.is_empty() { "none".to_owned() } else { names.join(",") }
    };
    let some: Vec<usize> = (0..nodes).filter(|_| rng.chance(1, 2)).collect();
    let store = match rng.below(4) {
        0 => "none".to_owned(),
        1 => list(&some),
        _ => "all".to_owned(),
    };
    plan.given.insert("store".to_owned(), store);
    let mut first = rng.child("voters");
    if first.chance(2, 3) {
        let count = [1, 3, 5].into_iter().filter(|count| *count <= nodes).collect::<Vec<usize>>();
        let count = first.pick(&count).copied().unwrap_or(1);
        plan.given.insert("voters".to_owned(), list(&(0..count).collect::<Vec<usize>>()));
    }
    let mut founding = rng.child("founding");
    if !plan.given.contains_key("voters") && founding.chance(1, 2) {
        let count = [1, 2, 3, 5].into_iter().filter(|count| *count <= nodes);
        let count = founding.pick(&count.collect::<Vec<usize>>()).copied().unwrap_or(1);
        plan.given.insert(FOUNDING.to_owned(), count.to_string());
        plan.given.insert("store".to_owned(), "all".to_owned());
    }
    let mut core: Vec<usize> = (0..nodes).collect();
    rng.shuffle(&mut core);
    let least = nodes / 2 + 1;
    core.truncate(least + rng.index(nodes - least + 1));
    core.sort_unstable();
    plan.given.insert("core".to_owned(), list(&core));
    if rng.chance(1, 4) {
        plan.given.insert("restart_on_red".to_owned(), "true".to_owned());
    }
    if rng.chance(1, 4) {
        let late = rng.index(nodes);
        plan.given.insert("late".to_owned(), format!("n{}", late + 1));
        let at = rng.below(30) * SECOND;
        plan.events.push(When {
            at,
            every: None,
            what: What::Fault {
                class: Class("join"),
                targets: Targets::Nodes(vec![Pick::Node(late + 1)]),
                keys: BTreeMap::new(),
            },
            lasts: None,
        });
    }
}

fn draw_loads(plan: &mut Plan, rng: &Rng) {
    let safety = plan.time().0;
    let operations = [
        "worker.add",
        "worker.remove",
        "worker.drain",
        "worker.undrain",
        "worker.set",
        "worker.suppress",
        "worker.pick",
        "worker.report",
        "labels.set",
    ];
    for operation in operations {
        let mut rng = rng.child(operation);
        if rng.chance(1, 4) {
            continue;
        }
        let keys = rng.pick(&[1, 3, 30, 100]).copied().unwrap_or(3);
        let mut named = BTreeMap::from([("keys".to_owned(), keys.to_string())]);
        match operation {
            "worker.add" => {
                let settle = rng.pick(&[0, 1000, 5000]).copied().unwrap_or(0);
                named.insert("settle".to_owned(), settle.to_string());
                if rng.chance(1, 4) {
                    named.insert("by".to_owned(), "owner".to_owned());
                }
                if rng.chance(1, 2) {
                    named.insert("value".to_owned(), rng.below(256).to_string());
                }
                if rng.chance(1, 8) {
                    named.insert("probe".to_owned(), "off".to_owned());
                }
                if rng.chance(1, 4) {
                    named.insert("vary".to_owned(), "true".to_owned());
                }
                if rng.chance(1, 2) {
                    named.insert("models".to_owned(), (1 + rng.below(4)).to_string());
                }
                named.insert("secret".to_owned(), "true".to_owned());
            }
            "worker.set" => _ = named.insert("secret".to_owned(), "true".to_owned()),
            "worker.pick" if rng.chance(3, 4) => {
                named.insert("models".to_owned(), (1 + rng.below(4)).to_string());
            }
            "worker.remove" if rng.chance(1, 2) => {
                let now = if rng.chance(1, 2) { "true" } else { "sometimes" };
                named.insert("now".to_owned(), now.to_owned());
            }
            "labels.set" if rng.chance(1, 4) => {
                named.insert("value".to_owned(), rng.below(3000).to_string());
            }
            _ => {}
        }
        plan.loads.push(Load {
            from: 0,
            upto: safety,
            operation: Operation(operation),
            rate_milli: settings::log_uniform(&mut rng, 100, 4000),
            keys: named,
        });
    }
    if ["voters", FOUNDING].iter().any(|key| plan.given.contains_key(*key)) {
        draw_keys(plan, &mut rng.child("keys"), safety);
    }
}

/// A pool of accounts in one plan of four, its callers and its operators. It draws from a label of its own: a
/// plan without one is what it was before there were pools.
fn draw_pool(plan: &mut Plan, rng: &Rng, always: bool) {
    let safety = plan.time().0;
    let mut shape = rng.child("shape");
    if !shape.chance(1, 4) && !always {
        return;
    }
    let count = 1 + shape.below(5);
    plan.given.insert("pools".to_owned(), count.to_string());
    let strategies = ["failover", "round_robin", "fill_first", "weighted", "least_used"];
    let strategy = shape.pick(&strategies).copied().unwrap_or("failover");
    plan.given.insert("pool.strategy".to_owned(), strategy.to_owned());
    let mut own = rng.child("own");
    let mut requests = (500, 8000);
    if own.chance(1, 4) {
        let model = own.pick(&["*", "*", "gpt-5", "claude-opus-4"]).copied().unwrap_or("*");
        plan.given.insert("pool.own".to_owned(), model.to_owned());
        // Where somebody always asks, a pool never does.
        requests = if own.chance(2, 3) { (5, 100) } else { requests };
    }
    for (operation, key, number, rate) in [
        ("pool.request", "models", 1 + shape.below(5), requests),
        ("pool.operate", "keys", count, (50, 300)),
    ] {
        let mut rng = rng.child(operation);
        if operation == "pool.operate" && rng.chance(1, 2) {
            continue;
        }
        plan.loads.push(Load {
            from: 0,
            upto: safety,
            operation: Operation(operation),
            rate_milli: settings::log_uniform(&mut rng, rate.0, rate.1),
            keys: BTreeMap::from([(key.to_owned(), number.to_string())]),
        });
    }
}

/// Callers of the consistent store, where there is one.
fn draw_keys(plan: &mut Plan, rng: &mut Rng, safety: Micros) {
    if rng.chance(1, 4) {
        return;
    }
    let keys = rng.pick(&[1, 3, 10]).copied().unwrap_or(3).to_string();
    let two = rng.child("spaces").chance(1, 2);
    for operation in ["kv.put", "kv.get", "kv.list"] {
        let mut rng = rng.child(operation);
        if operation == "kv.list" && rng.chance(1, 2) {
            continue;
        }
        let mut named = BTreeMap::from([("keys".to_owned(), keys.clone())]);
        if operation == "kv.put" && rng.chance(2, 3) {
            named.insert("if".to_owned(), "seen".to_owned());
        }
        if two {
            named.insert("spaces".to_owned(), "2".to_owned());
        }
        plan.loads.push(Load {
            from: 0,
            upto: safety,
            operation: Operation(operation),
            rate_milli: settings::log_uniform(&mut rng, 100, 2000),
            keys: named,
        });
    }
    if rng.chance(1, 2) {
        let watchers = (1 + rng.below(4)).to_string();
        plan.loads.push(Load {
            from: 0,
            upto: safety,
            operation: Operation("kv.watch"),
            rate_milli: settings::log_uniform(rng, 50, 1000),
            keys: BTreeMap::from([("keys".to_owned(), keys), ("watchers".to_owned(), watchers)]),
        });
    }
    if rng.chance(1, 2) {
        let pairs = [("keys", "2"), ("ttl", "4s"), ("wait", "20s"), ("hold", "6s")];
        let keys = pairs.map(|(key, value)| (key.to_owned(), value.to_owned()));
        plan.loads.push(Load {
            from: 0,
            upto: safety,
            operation: Operation("locks.acquire"),
            rate_milli: settings::log_uniform(rng, 50, 300),
            keys: keys.into(),
        });
    }
}

struct Draw {
    nodes: usize,
    safety: Micros,
}

impl Draw {
    /// A quarter of all rare choices is armed.
    fn points(&self, rng: &Rng) -> Vec<When> {
        let armed = POINTS.iter().filter(|name| rng.child("point").child(name).chance(1, 4));
        armed.map(|name| self.lasting("point", Targets::None, "name", (*name).to_owned())).collect()
    }

    /// Model servers that fall ill and recover, and operators that name a seed.
    fn wishes(&self, rng: &mut Rng) -> Vec<When> {
        let count = if rng.chance(1, 2) { rng.below(8) } else { 0 };
        (0..count).map(|_| self.wish(rng)).collect()
    }

    fn wish(&self, rng: &mut Rng) -> When {
        let (mut operation, mut actor) = (Operation("set"), Actor::Service);
        let health = rng.pick(&["error", "hang", "refuse", "garbage", "good"]).copied();
        let server = url_of(1 + rng.below(3));
        let mut words = vec![server, health.unwrap_or("error").to_owned()];
        if rng.chance(1, 4) {
            (operation, actor) = (Operation("member.join"), Actor::Node(self.node(rng)));
            words = vec![format!("n{}:{PORT}", 1 + rng.index(self.nodes))];
        }
        let (tag, keys) = (None, BTreeMap::new());
        let what = What::Act { actor, tag, operation, words, keys };
        When { at: rng.below(self.safety), every: None, what, lasts: None }
    }

    fn faults(&self, menu: &Menu, wild: bool, rng: &mut Rng) -> Vec<When> {
        let factor = if wild { 10 } else { 1 };
        match menu.form {
            Form::Rate(low, high) => {
                let rate = (settings::log_uniform(rng, low, high) * factor).min(high);
                vec![self.lasting(
                    menu.class,
                    Targets::Nodes(vec![Pick::All]),
                    "rate",
                    rate.to_string(),
                )]
            }
            Form::Delay(low, high) => {
                let most = (settings::log_uniform(rng, low, high) * factor).min(high);
                let targets = if menu.class == "delay" {
                    Targets::Nodes(vec![Pick::All])
                } else {
                    Targets::None
                };
                vec![self.lasting(menu.class, targets, "max", Time(most).to_string())]
            }
            Form::Turns(low, high) | Form::Lies(low, high) => {
                let rate = (settings::log_uniform(rng, low, high) * factor).min(high);
                vec![self.lasting(menu.class, Targets::None, "rate", rate.to_string())]
            }
            Form::Times(most, shortest, longest) => {
                let count = 1 + rng.below((most * factor).min(40));
                (0..count).map(|_| self.episode(menu.class, shortest, longest, rng)).collect()
            }
            Form::Once(most) => {
                let count = 1 + rng.below((most * factor).min(40));
                (0..count).map(|_| self.moment(menu.class, rng)).collect()
            }
        }
    }

    fn lasting(&self, class: &'static str, targets: Targets, key: &str, value: String) -> When {
        let keys = BTreeMap::from([(key.to_owned(), value)]);
        let what = What::Fault { class: Class(class), targets, keys };
        When { at: 0, every: None, what, lasts: Some(self.safety) }
    }

    fn moment(&self, class: &'static str, rng: &mut Rng) -> When {
        let mut keys = BTreeMap::new();
        let mut lasts = None;
        match class {
            "restart" if rng.chance(1, 4) => {
                _ = keys.insert("address".to_owned(), "new".to_owned())
            }
            "upgrade" => {
                let wire = rng.pick(&settings::WIRES).map_or("0", |(name, _)| *name);
                keys.insert("wire".to_owned(), wire.to_owned());
            }
            "evict" => {
                let node = 1 + rng.index(self.nodes);
                keys.insert("node".to_owned(), format!("n{node}"));
            }
            "clock_step" => {
                let by = settings::log_uniform(rng, 1000, DAY);
                let sign = if rng.chance(1, 2) { "-" } else { "" };
                keys.insert("by".to_owned(), format!("{sign}{}", Time(by)));
            }
            "clock_drift" => {
                let ppm = rng.below(20_001);
                let sign = if rng.chance(1, 2) { "-" } else { "" };
                keys.insert("ppm".to_owned(), format!("{sign}{}", ppm / 2));
                lasts = Some(1 + rng.below(self.safety));
            }
            _ => {}
        }
        let targets = match class {
            "reset" => self.pair(rng),
            "disk_bit" | "disk_sector" | "disk_misdirect" => {
                Targets::Nodes(vec![Pick::Node(1 + rng.index((self.nodes.div_ceil(2) - 1).max(1)))])
            }
            _ => Targets::Nodes(vec![self.node(rng)]),
        };
        let at = rng.below(self.safety);
        When { at, every: None, what: What::Fault { class: Class(class), targets, keys }, lasts }
    }

    /// Something that begins within safety and ends there.
    fn episode(
        &self,
        class: &'static str,
        shortest: Micros,
        longest: Micros,
        rng: &mut Rng,
    ) -> When {
        let at = rng.below(self.safety);
        let lasts = settings::log_uniform(rng, shortest, longest).min(self.safety - at).max(1);
        let mut keys = BTreeMap::new();
        let mut targets = Targets::Nodes(vec![self.node(rng)]);
        match class {
            "cut" | "clog" => {
                targets = self.shape(rng);
                if rng.chance(1, 4) {
                    let only = if rng.chance(1, 2) { "udp" } else { "tcp" };
                    keys.insert("only".to_owned(), only.to_owned());
                }
            }
            "swizzle" => targets = Targets::Nodes(vec![Pick::All]),
            "mtu" => _ = keys.insert("bytes".to_owned(), (576 + rng.below(825)).to_string()),
            "slow_reader" => {
                let rate = settings::log_uniform(rng, 10, 10_000);
                keys.insert("rate".to_owned(), rate.to_string());
            }
            "leave" if rng.chance(1, 4) => {
                _ = keys.insert("restarting".to_owned(), "true".to_owned());
            }
            "leave" if rng.chance(1, 4) => {
                _ = keys.insert("remove_workers".to_owned(), "true".to_owned());
            }
            "suspend" if rng.chance(1, 2) => {
                let slept = settings::log_uniform(rng, SECOND, SLEEP);
                keys.insert("slept".to_owned(), Time(slept).to_string());
            }
            "lie" => {
                let pause = settings::log_uniform(rng, 10_000, 5 * SECOND);
                keys.insert("max".to_owned(), Time(pause).to_string());
            }
            "crash" if rng.chance(1, 3) => _ = keys.insert("power".to_owned(), "off".to_owned()),
            _ => {}
        }
        let what = What::Fault { class: Class(class), targets, keys };
        When { at, every: None, what, lasts: Some(lasts) }
    }

    fn node(&self, rng: &mut Rng) -> Pick {
        Pick::Node(1 + rng.index(self.nodes))
    }

    fn pair(&self, rng: &mut Rng) -> Targets {
        let one = rng.index(self.nodes);
        let other = (one + 1 + rng.index(self.nodes - 1)) % self.nodes;
        Targets::Between(vec![Pick::Node(one + 1)], vec![Pick::Node(other + 1)])
    }

    /// One way, both ways, one node off, two halves, or a bridge between two.
    fn shape(&self, rng: &mut Rng) -> Targets {
        let mut order: Vec<usize> = (1..=self.nodes).collect();
        rng.shuffle(&mut order);
        let picks = |numbers: &[usize]| numbers.iter().copied().map(Pick::Node).collect::<Vec<_>>();
        let (one, rest) = order.split_at(1);
        let middle = 1 + rng.index(rest.len());
        match rng.below(5) {
            0 => Targets::OneWay(picks(one), picks(rest.get(..1).unwrap_or(rest))),
            1 => self.pair(rng),
            2 => Targets::Nodes(picks(one)),
            3 => {
                let (left, right) = order.split_at(middle);
                Targets::Halves(picks(left), picks(right))
            }
            _ => {
                let (left, right) = rest.split_at((rest.len() / 2).max(1));
                let right = if right.is_empty() { one } else { right };
                Targets::Halves(picks(left), picks(right))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::text;
    use super::*;

    #[test]
    fn every_drawn_plan_is_one_that_can_be_read_again() {
        for seed in 0..500 {
            let drawn = plan(seed, &World::default());
            let read = text::parse("drawn.scn", &drawn.to_string());
            assert_eq!(read.as_ref(), Ok(&drawn), "seed {seed}\n{drawn}");
        }
    }

    #[test]
    fn at_least_two_classes_are_on_and_every_class_is_drawn_by_some_seed() {
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..300 {
            let rng = Rng::from_number(seed).child("plan");
            let on = chosen(&rng);
            assert!(on.len() >= 2);
            seen.extend(on.iter().map(|menu| menu.class));
        }
        assert_eq!(seen.len(), MENU.len());
    }
}

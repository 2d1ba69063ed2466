//! What nodes are configured to be in a run: every key that a plan may name, with its legal range.
//!
//! Times are milliseconds, as in a configuration file. A swarm draws half of all keys from their ranges,
//! the smallest legal value included. A key behind a node's name, as in `n3.replica.tombstones_max`, is that
//! node's alone.

use std::time::Duration;

use quorate_core::ids::{ClusterId, NodeId};
use quorate_core::node::Settings;
use quorate_core::node::credentials::Key;
use quorate_core::node::pools::definition::{ProbeRequest, is_label};
use quorate_core::node::pools::{self, Definition, Listed, Members, Strategy};
use quorate_core::node::settings::{Profile, SETTINGS};
use quorate_core::random::Rng;
use quorate_core::time::millis;
use quorate_core::wire::PROTOCOL;

use crate::outside::providers::Terms;
use crate::plan::Plan;
use crate::plan::names::nearest;
use crate::plan::text::parse_phases;
use crate::world::machine::Machine;

/// The range of a key from which a swarm draws.
pub struct Knob {
    /// The key, as in a configuration.
    pub key: &'static str,
    /// Its smallest legal value; for members one that holds all, for pings what a run can afford.
    pub min: u64,
    /// The greatest.
    pub max: u64,
}

const fn knob(key: &'static str, min: u64, max: u64) -> Knob {
    Knob { key, min, max }
}

/// What a swarm draws, in order of name.
pub const KNOBS: [Knob; 33] = [
    knob("gossip.backlog_max", 1, 4096),
    knob("gossip.burst", 1, 8),
    knob("gossip.digest_interval_ms", 10, 10_000),
    knob("gossip.direct_max", 0, 64),
    knob("gossip.fanout", 1, 6),
    knob("gossip.interval_ms", 5, 1000),
    knob("gossip.pull_timeout_ms", 10, 5000),
    knob("link.accepts_max", 1, 64),
    knob("link.connect_timeout_ms", 10, 5000),
    knob("link.handshake_timeout_ms", 10, 5000),
    knob("link.idle_timeout_ms", 300, 60_000),
    knob("link.ping_interval_ms", 100, 9999),
    knob("link.queue_bytes_max", 1 << 20, 512 << 20),
    knob("link.redial_max_ms", 1, 5000),
    knob("link.redial_min_ms", 1, 500),
    knob("membership.fences_max", 1, 65_536),
    knob("membership.forget_after_ms", 5000, 1_800_000),
    knob("membership.indirect_probes", 1, 5),
    knob("membership.leave_timeout_ms", 100, 15_000),
    knob("membership.members_max", 128, 2048),
    knob("membership.probe_interval_ms", 20, 2000),
    knob("membership.probe_timeout_ms", 5, 900),
    knob("membership.restart_grace_ms", 0, 30_000),
    knob("membership.suspicion_mult", 1, 8),
    knob("membership.sync_interval_ms", 100, 30_000),
    knob("raft.dead_grace_ms", 10_000, 60_000),
    knob("raft.election_ticks", 8, 40),
    knob("raft.snapshot_bytes", 100, 1 << 26),
    knob("raft.snapshot_entries", 2, 8192),
    knob("raft.trailing_entries", 0, 4096),
    knob("replica.ready_timeout_ms", 100, 60_000),
    knob("replica.tombstones_max", 1, 4096),
    knob("workers.linger_ms", 1000, 600_000),
];

/// Keys that are no number of the node's table.
const EXTRA_KEYS: [&str; 2] = ["workers.linger_ms", "workers.remove_failed_after_ms"];

/// Times that set a pace, and the least that most seeds give them: a cluster whose every member sends a
/// hundred times a second costs a run of its own, so the smallest legal pace is for few.
const PACES: [(&str, u64); 5] = [
    ("gossip.digest_interval_ms", 100),
    ("link.idle_timeout_ms", 10_000),
    ("link.ping_interval_ms", 500),
    ("membership.probe_interval_ms", 200),
    ("membership.probe_timeout_ms", 80),
];

/// A request that names no model.
const NO_MODEL: &str = "*";

/// The pool of a plan that has accounts.
pub const POOL: &str = "sim";
const ACCOUNTS_MAX: usize = 20;

/// So many of the first nodes are everybody's seeds, if a plan does not say.
const SEEDS: usize = 3;

/// Keys of a `given` line that are about the world.
const WORLD_KEYS: [&str; 16] = [
    "nodes",
    "time",
    "seeds",
    "zones",
    "store",
    "core",
    "late",
    "voters",
    "membership.profile",
    "outside",
    "restart_on_red",
    "wire",
    "credentials",
    "pools",
    "pool.strategy",
    "pool.own",
];

/// Whether a `given` line may name `key`.
pub fn known(key: &str) -> Result<(), String> {
    let own = || SETTINGS.iter().map(|known| known.key).chain(EXTRA_KEYS);
    let all = || own().chain(WORLD_KEYS).chain(Terms::KEYS);
    if all().any(|known| known == key)
        || own_key(key).is_some_and(|(_, key)| own().any(|known| known == key))
    {
        return Ok(());
    }
    Err(format!("no key is called `{key}`{}", nearest(key, all())))
}

/// The number of the node whose own a key is, counted from 1, and the key.
pub(crate) fn own_key(key: &str) -> Option<(usize, &str)> {
    let (node, key) = key.strip_prefix('n')?.split_once('.')?;
    Some((node.parse().ok()?, key))
}

/// Whether every value of a plan's `given` lines can be used.
pub fn check(plan: &Plan) -> Result<(), String> {
    for (key, value) in &plan.given {
        let wrong = || Err(format!("`{key}={value}` cannot be used"));
        let legal = match key.as_str() {
            "nodes" => value.parse().is_ok_and(|nodes: usize| (1..=1000).contains(&nodes)),
            "time" => parse_phases(value).is_some(),
            "store" | "core" | "late" | "voters" | "outside" | "seeds" | "credentials" => {
                names(value, plan.nodes()).is_some()
            }
            "wire" => wires(value, plan.nodes()).is_some(),
            "pools" => value.parse().is_ok_and(|count: usize| (1..=ACCOUNTS_MAX).contains(&count)),
            "pool.strategy" => strategy(value).is_some(),
            "pool.own" => value == NO_MODEL || is_label(value),
            key if Terms::KEYS.contains(&key) => Terms::of(&plan.given).is_some(),
            "restart_on_red" => ["true", "false"].contains(&value.as_str()),
            "zones" => zones(value).is_some(),
            "membership.profile" => ["local", "lan", "wan"].contains(&value.as_str()),
            name => {
                let (node, name) = own_key(name).unwrap_or((1, name));
                let value = value.parse().ok().filter(|_| (1..=plan.nodes()).contains(&node));
                value.is_some_and(|value| {
                    set_number(&mut base(&Plan::default()), name, value).is_ok()
                })
            }
        };
        if !legal {
            return wrong();
        }
    }
    let own = plan.given.keys().filter_map(|key| own_key(key)?.0.checked_sub(1));
    let all = std::iter::once(base(plan)).chain(own.map(|node| of_node(plan, node)));
    let conflict = all.flat_map(|settings| settings.conflicts()).next();
    conflict.map_or(Ok(()), |conflict| Err(conflict.to_string()))
}

/// Positions of the nodes that a list like `n1,n3..n5`, `all` or `none` names.
pub fn names(text: &str, nodes: usize) -> Option<Vec<usize>> {
    match text {
        "all" => return Some((0..nodes).collect()),
        "none" => return Some(Vec::new()),
        _ => {}
    }
    let number = |text: &str| {
        let number: usize = text.strip_prefix('n')?.parse().ok()?;
        (1..=nodes).contains(&number).then_some(number)
    };
    let mut named = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once("..").unwrap_or((part, part));
        named.extend(number(first)? - 1..number(last)?);
    }
    Some(named)
}

/// The wire versions of the build before ours, of ours and of the one after it, lowest and highest: each speaks its own
/// version and the one before.
pub const WIRES: [(&str, (u16, u16)); 3] =
    [("-1", (PROTOCOL.0 - 1, PROTOCOL.1)), ("0", PROTOCOL), ("+1", (PROTOCOL.0, PROTOCOL.1 + 1))];

/// What `name` means as the wire version of a node.
pub fn wire(name: &str) -> Option<(u16, u16)> {
    WIRES.into_iter().find(|(known, _)| *known == name).map(|(_, versions)| versions)
}

/// Nodes of another wire version, written `n1:-1,n3:+1`.
fn wires(text: &str, nodes: usize) -> Option<Vec<(usize, (u16, u16))>> {
    let one = |text: &str| {
        let (name, version) = text.split_once(':')?;
        Some((names(name, nodes)?.first().copied()?, wire(version)?))
    };
    text.split(',').map(one).collect()
}

/// A node that speaks `versions` from its next process on.
pub fn set_wire(settings: &mut Settings, versions: (u16, u16)) {
    settings.link.protocol = versions;
    settings.membership.protocol = versions;
}

fn zones(text: &str) -> Option<Vec<(String, usize)>> {
    text.split(',')
        .map(|zone| {
            let (name, nodes) = zone.split_once(':')?;
            Some((name.to_owned(), nodes.parse().ok()?))
        })
        .collect()
}

/// The name of the node at `index`.
pub fn node_id(index: usize) -> NodeId {
    format!("n{}", index + 1).parse().expect("a letter and digits are a node id")
}

/// The settings that all nodes of a plan share.
pub fn base(plan: &Plan) -> Settings {
    let profile = match plan.given.get("membership.profile").map(String::as_str) {
        Some("local") => Profile::Local,
        Some("wan") => Profile::Wan,
        _ => Profile::Lan,
    };
    let cluster = ClusterId("sim".into());
    let mut settings = Settings::new(node_id(0), cluster, Machine::address_of(0, 0), profile);
    // Nobody here reads figures: they are only built so that building them is run too.
    settings.counts_interval = Duration::from_secs(60);
    for (name, value) in &plan.given {
        set(&mut settings, name, value);
    }
    settings
}

/// Sets one key; a key of the world is left alone.
pub fn set(settings: &mut Settings, name: &str, value: &str) {
    if let Ok(value) = value.parse() {
        // Keys of the world are no settings of a node; `check` has seen every value.
        let _ = set_number(settings, name, value);
    }
}

fn set_number(settings: &mut Settings, name: &str, value: u64) -> Result<(), String> {
    match name {
        "workers.linger_ms" => settings.workers.linger = Duration::from_millis(value),
        "workers.remove_failed_after_ms" => {
            settings.workers.remove_failed_after = Some(Duration::from_millis(value));
        }
        _ => return settings.set(name, value).map_err(|error| error.to_string()),
    }
    Ok(())
}

/// The settings of the node at `index`.
pub fn of_node(plan: &Plan, index: usize) -> Settings {
    let mut settings = base(plan);
    for (key, value) in &plan.given {
        if let Some((_, key)) = own_key(key).filter(|(node, _)| *node == index + 1) {
            set(&mut settings, key, value);
        }
    }
    let address = Machine::address_of(index, 0);
    settings.membership.node = node_id(index);
    settings.membership.address = address;
    settings.link.address = address;
    let seeds = plan.given.get("seeds").and_then(|seeds| names(seeds, plan.nodes()));
    let seeds = seeds.unwrap_or_else(|| (0..plan.nodes().min(SEEDS)).collect());
    let seeds = seeds.into_iter().filter(|seed| *seed != index);
    settings.membership.join =
        seeds.map(|seed| format!("{}:{}", node_id(seed), address.port())).collect();
    let listed = |key: &str| plan.given.get(key).map(String::as_str);
    let outside = listed("outside").and_then(|text| names(text, plan.nodes())).unwrap_or_default();
    settings.raft.eligible = !outside.contains(&index);
    let keepers = listed("credentials").and_then(|text| names(text, plan.nodes()));
    settings.credentials.enabled = keepers.is_some_and(|keepers| keepers.contains(&index));
    if let Some(count) = listed("pools").and_then(|text| text.parse().ok()) {
        let strategy = listed("pool.strategy").and_then(strategy).unwrap_or_default();
        let name = POOL.parse().expect("a name of a pool");
        let own = listed("pool.own").map(own_request);
        settings.pools.pools.insert(name, pool(count, strategy, own));
        settings.credentials.enabled = true;
    }
    let wires = listed("wire").and_then(|text| wires(text, plan.nodes())).unwrap_or_default();
    if let Some((_, versions)) = wires.into_iter().find(|(node, _)| *node == index) {
        set_wire(&mut settings, versions);
    }
    let zones = plan.given.get("zones").and_then(|text| zones(text)).unwrap_or_default();
    let mut first = 0;
    for (zone, nodes) in zones {
        if (first..first + nodes).contains(&index) {
            settings.membership.zone = zone;
        }
        first += nodes;
    }
    settings
}

/// The pool of a plan, with rests short enough that a run sees many of them end.
fn pool(count: usize, strategy: Strategy, own: Option<ProbeRequest>) -> Definition {
    let listed = |number| Listed { credential: format!("a{number}"), weight: None, epoch: 1 };
    let profile = pools::Profile {
        floor_ms: 1000,
        fallback_ms: 2000,
        quota_ms: 5000,
        auth_ms: 10_000,
        permission_ms: 10_000,
        overload_ms: 1000,
        // Long enough that nobody asks for a minute while a member may be tried, where that means anything.
        half_open_max_ms: if own.is_some() { 120_000 } else { 30_000 },
        ..pools::Profile::default()
    };
    let members = Members::Listed((1..=count).map(listed).collect());
    let auth_reset_target = "login".to_owned();
    let probe_request = own;
    Definition {
        members,
        strategy,
        profile,
        auth_reset_target,
        probe_request,
        ..Definition::default()
    }
}

/// The request that a pool sends by itself, for a model, or for none that it names.
fn own_request(model: &str) -> ProbeRequest {
    let (method, path) = ("POST".to_owned(), "/v1".to_owned());
    let body = if model == NO_MODEL { String::new() } else { format!(r#"{{"model":"{model}"}}"#) };
    ProbeRequest { method, path, body }
}

fn strategy(text: &str) -> Option<Strategy> {
    serde_json::from_value(serde_json::Value::from(text)).ok()
}

/// The accounts that the pools of a node list.
pub fn accounts(settings: &Settings) -> impl Iterator<Item = Key> {
    let lists = settings.pools.pools.values().map(|definition| match &definition.members {
        Members::Listed(listed) => listed.as_slice(),
        Members::Of { .. } => &[],
    });
    lists.flatten().filter_map(|one| Key::of_default(&one.credential).ok())
}

/// How many keys of a plan are set that a swarm draws.
pub fn knobs(plan: &Plan) -> u64 {
    KNOBS.iter().filter(|knob| plan.given.contains_key(knob.key)).count() as u64
}

/// Draws half of all keys: one in four of them at its minimum, the others log-uniformly.
pub fn draw(plan: &mut Plan, rng: &Rng) {
    for knob in &KNOBS {
        let mut rng = rng.child(knob.key);
        let wanted = rng.chance(1, 2);
        let smallest = rng.chance(1, 4);
        let pace = PACES.iter().find(|(key, _)| *key == knob.key && !rng.chance(1, 16));
        let min = pace.map_or(knob.min, |(_, least)| *least);
        let drawn = if smallest { min } else { log_uniform(&mut rng, min, knob.max) };
        if wanted {
            plan.given.insert(knob.key.to_owned(), drawn.to_string());
        }
    }
    let links = base(plan).link;
    if links.ping_interval >= links.idle_timeout {
        let interval = millis(links.idle_timeout) / 3;
        plan.given.insert("link.ping_interval_ms".to_owned(), interval.to_string());
    }
    let settings = base(plan).membership;
    if settings.probe_timeout >= settings.probe_interval {
        let timeout = millis(settings.probe_interval) / 2;
        plan.given.insert("membership.probe_timeout_ms".to_owned(), timeout.to_string());
    }
}

/// A number from `min` to `max`, as likely to have few digits as many.
pub fn log_uniform(rng: &mut Rng, min: u64, max: u64) -> u64 {
    let doublings = u64::from((max / min.max(1)).max(1).ilog2());
    let low = min.max(1) << rng.below(doublings + 1);
    let drawn = low + rng.below(low);
    if min == 0 && rng.chance(1, 4) { 0 } else { drawn.clamp(min, max) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_nodes_are_read_and_bounded() {
        assert_eq!(names("n1,n3..n5", 5), Some(vec![0, 2, 3, 4]));
        assert_eq!(names("none", 5), Some(Vec::new()));
        assert_eq!(names("n6", 5), None);
        assert_eq!(names("n3..n9", 5), None);
    }

    #[test]
    fn keys_are_in_order_and_a_drawn_plan_is_legal() {
        assert!(KNOBS.is_sorted_by_key(|knob| knob.key));
        for seed in 0..200 {
            let mut plan = Plan { name: "swarm/x".to_owned(), ..Plan::default() };
            draw(&mut plan, &Rng::from_number(seed));
            assert_eq!(check(&plan), Ok(()), "seed {seed}: {plan}");
        }
    }

    #[test]
    fn a_key_behind_a_nodes_name_is_that_nodes_alone() {
        let key = "n2.replica.tombstones_max";
        assert_eq!(known(key), Ok(()));
        assert!(known("n2.nodes").is_err() && known("n2.gossip.fanuot").is_err());
        let given = [(key, "7"), ("nodes", "2"), ("replica.tombstones_max", "9")];
        let given = given.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let mut plan = Plan { name: "a/b".to_owned(), given: given.into(), ..Plan::default() };
        assert_eq!(check(&plan), Ok(()));
        assert_eq!([0, 1].map(|node| of_node(&plan, node).tombstones_max), [9, 7]);
        plan.given.insert("nodes".to_owned(), "1".to_owned());
        assert!(check(&plan).is_err(), "there is no second node");
    }

    #[test]
    fn an_unknown_key_names_its_neighbour() {
        let error = known("gossip.fanuot").expect_err("no such key");
        assert_eq!(error, "no key is called `gossip.fanuot`; did you mean `gossip.fanout`?");
    }
}

//! Target `schedule`: bytes choose what goes wrong next in a small cluster, and every promise is looked at.
//!
//! The bytes become a plan, so what is found prints as a scenario that anybody can run.

use std::collections::BTreeMap;

use quorate_sim::clock::Micros;
use quorate_sim::plan::{Actor, Class, Load, Operation, Pick, Plan, Targets, What, When};
use quorate_sim::run::{self, Options};

use crate::material::Material;

const NODES: usize = 3;
const SAFETY: Micros = 20_000_000;
const EVENTS_MAX: usize = 24;

/// Any bytes are a schedule under which every promise holds.
pub fn bytes(input: &[u8]) {
    let mut material = Material::new(input);
    let seed = u64::from(material.byte());
    let plan = plan(&mut material);
    let outcome = run::run(&plan, seed, &Options::default());
    assert!(outcome.failure.is_none(), "{}\n{plan}", outcome.line());
}

fn plan(material: &mut Material<'_>) -> Plan {
    let mut plan = Plan { name: "fuzz/schedule".to_owned(), ..Plan::default() };
    plan.about = "chosen by bytes".to_owned();
    let bits = material.byte();
    plan.given.insert("nodes".to_owned(), NODES.to_string());
    plan.given.insert("time".to_owned(), "20s+120s".to_owned());
    if bits & 1 == 1 {
        plan.given.insert("store".to_owned(), "n1".to_owned());
    }
    if bits & 2 == 2 {
        plan.given.insert("gossip.direct_max".to_owned(), "0".to_owned());
    }
    if bits & 4 == 4 {
        plan.given.insert("replica.tombstones_max".to_owned(), "1".to_owned());
    }
    for operation in ["worker.add", "worker.remove"] {
        let keys = BTreeMap::from([("keys".to_owned(), "5".to_owned())]);
        let (from, upto, operation, rate_milli) = (0, SAFETY, Operation(operation), 2000);
        plan.loads.push(Load { from, upto, operation, rate_milli, keys });
    }
    let mut at = 0;
    while !material.is_empty() && plan.events.len() < EVENTS_MAX {
        at += Micros::from(material.byte()) * 10_000;
        if at >= SAFETY {
            break;
        }
        plan.events.push(event(at, material));
    }
    plan
}

fn event(at: Micros, material: &mut Material<'_>) -> When {
    let (choice, place) = (material.byte(), material.byte());
    let lasts = (1 + Micros::from(material.byte()) * 40_000).min(SAFETY - at);
    let classes = [
        "cut",
        "cut",
        "isolate",
        "clog",
        "crash",
        "crash",
        "restart",
        "wipe",
        "pause",
        "suspend",
        "leave",
        "reset",
        "loss",
        "dup",
        "reorder",
        "replay",
        "slow_reader",
        "swizzle",
    ];
    let class = classes.get(usize::from(choice) % (classes.len() + 2)).copied();
    let one = Pick::Node(1 + usize::from(place) % NODES);
    let other = Pick::Node(1 + (usize::from(place) + 1 + usize::from(place / 16) % 2) % NODES);
    let Some(class) = class else {
        let operation = if choice % 2 == 0 { "worker.drain" } else { "worker.undrain" };
        let (operation, keys, tag) = (Operation(operation), BTreeMap::new(), None);
        let words = vec!["http://10.200.0.2:8000".to_owned()];
        let what = What::Act { actor: Actor::Node(one), tag, operation, words, keys };
        return When { at, every: None, what, lasts: None };
    };
    let targets = match class {
        "cut" | "clog" | "reset" if place & 0x80 == 0 => Targets::OneWay(vec![one], vec![other]),
        "cut" | "clog" | "reset" => Targets::Between(vec![one], vec![other]),
        "loss" | "dup" | "reorder" | "replay" | "swizzle" => Targets::Nodes(vec![Pick::All]),
        _ => Targets::Nodes(vec![one]),
    };
    let mut keys = BTreeMap::new();
    match class {
        "loss" | "dup" | "reorder" | "replay" => {
            keys.insert("rate".to_owned(), format!("{}%", 1 + place % 30));
        }
        "cut" | "clog" if place & 0x40 != 0 => {
            keys.insert(
                "only".to_owned(),
                if place & 0x20 == 0 { "udp" } else { "tcp" }.to_owned(),
            );
        }
        _ => {}
    }
    let lasts = (!["restart", "reset"].contains(&class)).then_some(lasts);
    When { at, every: None, what: What::Fault { class: Class(class), targets, keys }, lasts }
}

#[cfg(test)]
mod tests {
    use quorate_sim::plan::text::parse;

    use crate::material::Material;
    use crate::{replay, search};

    #[test]
    fn seeds() {
        replay::every_file("schedule", super::bytes);
    }

    #[test]
    fn a_schedule_prints_as_a_scenario() {
        for fill in 0..=255 {
            let plan = super::plan(&mut Material::new(&[fill; 120]));
            assert_eq!(parse("chosen.scn", &plan.to_string()), Ok(plan));
        }
    }

    #[test]
    fn search_schedules() {
        search::few("schedule");
    }
}

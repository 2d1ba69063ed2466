//! A plan without one of its nodes: those above it move down, and what only it was about goes.

use crate::plan::{Actor, Pick, Plan, Targets, What};
use crate::settings;

/// `plan` without node `number`, counted from 1; `None` if something names it that cannot do without.
pub(super) fn without(plan: &Plan, number: usize) -> Option<Plan> {
    let nodes = plan.nodes();
    let mut fewer = plan.clone();
    fewer.given.insert("nodes".to_owned(), (nodes - 1).to_string());
    for key in ["store", "core", "late", "voters", "outside", "seeds"] {
        let Some(text) = plan.given.get(key) else { continue };
        if !["all", "none"].contains(&text.as_str()) {
            fewer.given.insert(key.to_owned(), listed(text, nodes, number)?);
        }
    }
    fewer.given.remove("zones");
    fewer.given.remove("wire");
    let own = plan.given.iter().filter_map(|(key, value)| Some((settings::own_key(key)?, value)));
    for ((node, key), value) in own {
        fewer.given.remove(&format!("n{node}.{key}"));
        if node != number {
            fewer.given.insert(format!("{}.{key}", name(down(node, number))), value.clone());
        }
    }
    for load in &mut fewer.loads {
        if let Some(on) = load.keys.get_mut("on") {
            *on = listed(on, nodes, number)?;
        }
    }
    fewer.events.retain_mut(|when| match &mut when.what {
        What::Fault { targets, keys, .. } => {
            if let Some(node) = keys.get_mut("node") {
                match settings::names(node, nodes).as_deref() {
                    Some([index]) if index + 1 == number => return false,
                    Some([index]) => *node = name(down(index + 1, number)),
                    _ => {}
                }
            }
            retarget(targets, number)
        }
        What::Act { actor: Actor::Node(pick), .. } => repick(pick, number),
        What::Act { actor: Actor::Service, .. } => true,
    });
    Some(fewer)
}

fn down(node: usize, gone: usize) -> usize {
    if node > gone { node - 1 } else { node }
}

fn name(number: usize) -> String {
    format!("n{number}")
}

fn listed(text: &str, nodes: usize, gone: usize) -> Option<String> {
    let named = settings::names(text, nodes)?;
    let left = named.into_iter().map(|index| index + 1).filter(|node| *node != gone);
    let names: Vec<String> = left.map(|node| name(down(node, gone))).collect();
    Some(if names.is_empty() { "none".to_owned() } else { names.join(",") })
}

/// False if nobody is left at one of its ends.
fn retarget(targets: &mut Targets, gone: usize) -> bool {
    let mut sides: Vec<&mut Vec<Pick>> = match targets {
        Targets::None => Vec::new(),
        Targets::Nodes(picks) => vec![picks],
        Targets::OneWay(one, other)
        | Targets::Between(one, other)
        | Targets::Halves(one, other) => {
            vec![one, other]
        }
    };
    sides.iter_mut().all(|picks| {
        picks.retain_mut(|pick| repick(pick, gone));
        !picks.is_empty()
    })
}

fn repick(pick: &mut Pick, gone: usize) -> bool {
    match pick {
        Pick::Node(number) if *number == gone => return false,
        Pick::Node(number) => *number = down(*number, gone),
        Pick::Range(first, last) => {
            if first == last && *first == gone {
                return false;
            }
            *first = down(*first, gone);
            *last = if *last >= gone { *last - 1 } else { *last };
        }
        Pick::All | Pick::Random | Pick::Role(_) => {}
    }
    true
}

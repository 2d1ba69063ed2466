//! Clusters for the ladder's tests: a view in a line of text, and a world that executes steps.

mod histories;
mod laws;
mod model;
mod scripts;

use std::collections::BTreeSet;
use std::time::Duration;

use super::*;
use crate::script::{Script, Settings};
use crate::time::Instant;

const GENESIS: u128 = 7;
const READY: Duration = Duration::from_secs(2);

/// The views of a script: each `plan` or `run` describes one from scratch.
struct LadderScript;

impl Script for LadderScript {
    fn given(_settings: &Settings) -> LadderScript {
        LadderScript
    }

    fn when(&mut self, _now: Instant, words: &[&str]) -> Vec<String> {
        let (verb, words) = words.split_first().expect("a verb");
        let mut view = described(words);
        match *verb {
            "plan" => {
                let mut told: Vec<String> = plan(&view).iter().map(Step::to_string).collect();
                told.push(if settled(&view) { "settled" } else { "unsettled" }.to_owned());
                told
            }
            "run" => run(&mut view),
            "ranked" => ranked(&view.nodes, Some(GENESIS)).iter().map(NodeId::to_string).collect(),
            verb => panic!("`{verb}` is none of plan, run, ranked"),
        }
    }
}

/// Executes first steps until none is due; learners catch up between them.
fn run(view: &mut View) -> Vec<String> {
    let mut told = Vec::new();
    loop {
        catch_up(view);
        let Some(step) = plan(view).into_iter().next() else { break };
        assert!(told.len() < 32, "no end of steps: {told:?}");
        told.push(step.to_string());
        view.apply(&step);
    }
    told.push(if settled(view) { "settled" } else { "unsettled" }.to_owned());
    told
}

/// What the network does between two steps: a learner that answers catches up.
fn catch_up(view: &mut View) {
    let live: Vec<MemberId> =
        view.members.keys().copied().filter(|id| view.fate(*id) == fate::Fate::Live).collect();
    for id in live {
        let member = view.members.get_mut(&id).expect("it was just seen");
        member.caught_up_for = Some(READY);
    }
}

/// Reads `nodes=a1@zone:priority,…`, roles (`voters=` with `*` behind the leader, `learners=`, `ready=`,
/// `outgoing=`) and what ails some.
fn described(words: &[&str]) -> View {
    let value = |key: &str| {
        let pair = words.iter().find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
        pair.unwrap_or_default()
    };
    let list = |key: &str| value(key).split(',').filter(|name| !name.is_empty());
    let number = |key: &str, default| value(key).parse().unwrap_or(default);
    let mut view = View {
        leader: MemberId(0),
        voters: BTreeSet::new(),
        outgoing: BTreeSet::new(),
        learners: BTreeSet::new(),
        members: BTreeMap::new(),
        nodes: BTreeMap::new(),
        genesis: GENESIS,
        voters_max: voters_max(number("max", 0)),
        standbys_max: number("standbys", 4),
        dead_grace: Duration::from_secs(value("grace").parse().unwrap_or(30)),
        silent_after: Duration::from_secs(value("patience").parse().unwrap_or(2)),
    };
    for word in list("nodes") {
        let (word, priority) = word.split_once(':').unwrap_or((word, "100"));
        let (name, zone) = word.split_once('@').unwrap_or((word, ""));
        add_node(&mut view, name, zone, priority.parse().expect("a priority"));
    }
    for (role, names) in ["voters", "learners", "ready", "outgoing"].map(|role| (role, list(role)))
    {
        for name in names {
            let leads = name.ends_with('*');
            let id = give_role(&mut view, role, name.trim_end_matches('*'));
            if leads {
                view.leader = id;
            }
        }
    }
    for word in words {
        let (key, names) = word.split_once('=').expect("key=value");
        for name in names.split(',') {
            ail(&mut view, key, name);
        }
    }
    view
}

fn add_node(view: &mut View, name: &str, zone: &str, priority: u32) {
    let facts = Facts {
        member: Some(member_of(name)),
        genesis: None,
        eligible: true,
        priority,
        zone: zone.into(),
        supported: true,
        leaving: false,
    };
    let node = Node { standing: Standing::Alive, unheard: Duration::ZERO, facts: Some(facts) };
    view.nodes.insert(node_id(name), node);
}

fn give_role(view: &mut View, role: &str, name: &str) -> MemberId {
    let id = member_of(name);
    let caught_up = role != "learners";
    let member = Member {
        node: node_id(name),
        matched: 100,
        silent: Duration::ZERO,
        caught_up_for: caught_up.then_some(READY),
    };
    view.members.entry(id).or_insert(member);
    match role {
        "voters" => view.voters.insert(id),
        "outgoing" => view.outgoing.insert(id),
        _ => view.learners.insert(id),
    };
    id
}

/// Makes something of `name` other than well.
fn ail(view: &mut View, key: &str, name: &str) {
    let id = member_of(name);
    let seconds = Duration::from_secs;
    let Some(node) = view.nodes.get_mut(&name.parse().unwrap_or_else(|_| node_id("none"))) else {
        return;
    };
    let mut member = view.members.get_mut(&id);
    let mut silent_for = |silence| {
        node.unheard = silence;
        if let Some(member) = &mut member {
            member.silent = silence;
        }
    };
    match key {
        "failed" => node.standing = Standing::Failed(seconds(10)),
        "lost" => node.standing = Standing::Failed(seconds(30)),
        "left" => node.standing = Standing::Left,
        "unread" => node.facts = None,
        "quiet" => silent_for(seconds(5)),
        "silent" => silent_for(seconds(40)),
        "mute" => silent_for(seconds(60)),
        "behind" => member.expect("a member").caught_up_for = None,
        "ahead" => member.expect("a member").matched = 101,
        "fresh" => {
            member.expect("a member").caught_up_for = Some(Duration::from_millis(1999));
        }
        _ => {
            let Some(facts) = &mut node.facts else { return };
            match key {
                "reborn" => facts.member = Some(MemberId(id.0 + REBORN)),
                "diskless" => facts.member = None,
                "foreign" => facts.genesis = Some(GENESIS + 1),
                "native" => facts.genesis = Some(GENESIS),
                "unwilling" => facts.eligible = false,
                "old" => facts.supported = false,
                "leaving" => facts.leaving = true,
                _ => {}
            }
        }
    }
}

fn node_id(name: &str) -> NodeId {
    name.parse().expect("a node id")
}

/// Names are short: their letters are a number.
fn member_of(name: &str) -> MemberId {
    MemberId(name.bytes().fold(1, |number, byte| (number << 8 | u64::from(byte)) % REBORN))
}

const REBORN: u64 = 1 << 60;

//! Laws of the ladder over views that nobody would draw.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// One node of a random view.
#[derive(Debug, Clone)]
struct Drawn {
    zone: u8,
    priority: u32,
    eligible: bool,
    leaving: bool,
    role: u8,
    standing: u8,
    silent: u64,
    caught_up: u8,
    facts: u8,
}

fn drawn() -> impl Strategy<Value = Drawn> {
    let says =
        (0_u8..4, 99_u32..102, prop::bool::weighted(0.9), prop::bool::weighted(0.1), 0_u8..8);
    let is = (0_u8..4, 0_u8..8, prop_oneof![3 => Just(0), 1 => 0_u64..90], 0_u8..4);
    (says, is).prop_map(|((zone, priority, eligible, leaving, facts), is)| {
        let (role, standing, silent, caught_up) = is;
        Drawn { zone, priority, eligible, leaving, role, standing, silent, caught_up, facts }
    })
}

/// A view of these nodes; `number` names the member of a node's place.
fn built(nodes: &[Drawn], max: usize, outgoing: u8, number: impl Fn(u64) -> u64) -> View {
    let mut view = described(&[]);
    view.voters_max = voters_max(max);
    for (index, drawn) in (1_u64..).zip(nodes) {
        let id = MemberId(number(index));
        let node = node_id(&format!("n{index}"));
        let seconds = Duration::from_secs(drawn.silent);
        let named = if drawn.facts == 1 { MemberId(number(index + 500)) } else { id };
        let facts = Facts {
            member: (drawn.facts != 2).then_some(named),
            genesis: None,
            eligible: drawn.eligible,
            priority: drawn.priority,
            zone: format!("z{}", drawn.zone).into(),
            supported: true,
            leaving: drawn.leaving,
        };
        let standing = match drawn.standing {
            0 => Standing::Failed(seconds),
            1 => Standing::Left,
            _ => Standing::Alive,
        };
        let facts = (drawn.facts != 0).then_some(facts);
        view.nodes.insert(node.clone(), Node { standing, unheard: seconds, facts });
        let caught_up_for =
            (drawn.caught_up > 0).then(|| Duration::from_secs(drawn.caught_up.into()));
        let row = Member { node, matched: drawn.silent, silent: seconds, caught_up_for };
        match drawn.role {
            0 => continue,
            1 => view.learners.insert(id),
            _ => view.voters.insert(id),
        };
        if drawn.role > 1 && view.leader == MemberId(0) {
            view.leader = id;
        }
        if drawn.role > 1 && outgoing == 1 {
            view.outgoing.insert(id);
        }
        view.members.insert(id, row);
    }
    view
}

/// What RF-6 says of one step, as far as the step alone shows it.
fn examine(before: &View, step: &Step) {
    let mut after = before.clone();
    after.apply(step);
    for voters in [&after.voters, &after.outgoing] {
        let counted = voters.iter().filter(|id| before.counts(**id)).count();
        assert!(voters.is_empty() || counted > voters.len() / 2, "RF-6: {step} leaves no majority");
    }
    assert!(!after.voters.is_empty(), "RF-6: {step} leaves nobody");
    let grown = after.voters.len() > before.voters.len();
    assert!(!grown || after.voters.len() <= before.voters_max, "RF-5: {step} is one too many");
    for id in after.voters.difference(&before.voters) {
        let node = &before.nodes[&before.members[id].node];
        let facts = node.facts.as_ref().expect("RF-6: a voter said who it is");
        assert!(facts.eligible && !facts.leaving && facts.member == Some(*id), "RF-6: {step}");
        assert!(before.is_ready(*id), "RF-16: {step} is too early");
    }
}

proptest! {
    #[test]
    fn every_plan_is_safe_ends_and_is_its_own_fixed_point(
        nodes in vec(drawn(), 1..12), max in 0_usize..9, outgoing in 0_u8..6,
    ) {
        let mut view = built(&nodes, max, outgoing, |index| index);
        let steps = plan(&view);
        prop_assert!(steps.len() < limits::LADDER_STEPS_MAX);
        for step in &steps {
            examine(&view, step);
            view.apply(step);
        }
        prop_assert_eq!(plan(&view), vec![], "RF-6: a plan on its own result is empty");
    }

    #[test]
    fn member_ids_are_names_and_their_order_means_nothing(
        nodes in vec(drawn(), 1..10), max in 0_usize..9, outgoing in 0_u8..6,
    ) {
        let rising = built(&nodes, max, outgoing, |index| index);
        let falling = built(&nodes, max, outgoing, |index| 1000 - index);
        let told = |view: &View| plan(view).iter().map(Step::to_string).collect::<Vec<_>>();
        let mut turned = falling;
        turned.leader = MemberId(1000 - rising.leader.0.min(1000));
        prop_assert_eq!(told(&rising), told(&turned));
    }

    #[test]
    fn the_goal_is_reached_and_zones_are_even(
        nodes in vec(drawn(), 1..12), max in 0_usize..9,
    ) {
        let mut view = built(&nodes, max, 0, |index| index);
        for node in view.nodes.values_mut() {
            node.standing = Standing::Alive;
            node.unheard = Duration::ZERO;
        }
        for (id, member) in &mut view.members {
            member.silent = Duration::ZERO;
            member.caught_up_for = Some(READY);
            if let Some(facts) = &mut view.nodes.get_mut(&member.node).expect("a node").facts {
                facts.member = Some(*id);
            }
        }
        if view.voters.is_empty() {
            return Ok(());
        }
        run(&mut view);
        reached(&view);
    }
}

/// Checks a view in which everybody answers and nothing is due.
pub(super) fn reached(view: &View) {
    let candidates = choice::choose(view);
    let count = choice::target(candidates.len(), view.voters_max);
    if count == 0 {
        return;
    }
    let unread = view
        .voters
        .iter()
        .any(|id| view.nodes.get(&view.members[id].node).is_none_or(|node| node.facts.is_none()));
    if unread {
        return; // A voter that has not said who it is stays, beside the chosen.
    }
    let voters: BTreeSet<MemberId> = candidates[..count].iter().map(|place| place.member).collect();
    assert_eq!(view.voters, voters, "the chosen vote");
    let rest = candidates[count..].iter().take(view.standbys_max);
    let standbys: BTreeSet<MemberId> = rest.map(|place| place.member).collect();
    assert_eq!(view.learners, standbys, "the next in rank stand by");
    assert_even(view, &candidates);
}

/// RF-14: moving a vote from the fullest zone to another that could take it makes nothing more even.
fn assert_even(view: &View, candidates: &[Place]) {
    let zone = |place: &Place| {
        let facts = view.nodes[&place.node].facts.as_ref().expect("a candidate has facts");
        facts.zone.to_string()
    };
    let mut zones: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for place in candidates {
        let (voters, others) = zones.entry(zone(place)).or_default();
        *(if view.voters.contains(&place.member) { voters } else { others }) += 1;
    }
    let most = zones.values().map(|(voters, _)| *voters).max().unwrap_or(0);
    for (voters, others) in zones.values() {
        assert!(*others == 0 || voters + 1 >= most, "RF-14: {zones:?}");
    }
}

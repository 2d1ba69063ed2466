//! Every small cluster: all (eligible, zone, role) configurations, up to renaming nodes alike.

use super::laws::reached;
use super::*;

/// What a node may be: eligible or not, in one of two zones, and in one of three roles.
const KINDS: usize = 12;

fn built(kinds: &[usize], max: usize) -> View {
    let mut view = described(&[]);
    view.voters_max = max;
    for (index, kind) in kinds.iter().enumerate() {
        let name = format!("n{index}");
        add_node(&mut view, &name, ["x", "y"][kind / 2 % 2], 100);
        let facts = view.nodes.get_mut(&node_id(&name)).and_then(|node| node.facts.as_mut());
        facts.expect("it was just added").eligible = kind % 2 == 0;
        match kind / 4 {
            0 => {}
            1 => drop(give_role(&mut view, "voters", &name)),
            _ => drop(give_role(&mut view, "ready", &name)),
        }
    }
    view
}

/// Runs to the end; after each step RF-6 must hold.
fn explore(mut view: View) -> usize {
    let eligible = choice::choose(&view).len();
    let target = choice::target(eligible, view.voters_max);
    let mut steps = 0;
    while let Some(step) = rules::next(&view) {
        let before = view.voters.len();
        view.apply(&step);
        catch_up(&mut view);
        steps += 1;
        assert!(view.is_quorate(), "RF-6: {step} loses the quorum of {view:?}");
        assert!(view.voters.len() >= before.min(target), "RF-6: {step} lowers tolerance {view:?}");
        assert!(steps <= STEPS_MAX, "no end of steps: {step} in {view:?}");
    }
    reached(&view);
    steps
}

#[test]
fn every_cluster_of_up_to_seven_nodes_reaches_its_goal_safely() {
    let mut clusters = 0;
    let mut longest = 0;
    let mut kinds: Vec<usize> = vec![0];
    while !kinds.is_empty() {
        // The reason: the bound counts through the target alone, so each target is explored once.
        let eligible = kinds.iter().filter(|kind| *kind % 2 == 0).count();
        let by_target = [7, 5, 3, 1].map(|max| (choice::target(eligible, max), max));
        for max in BTreeMap::from(by_target).into_values() {
            // The reason: nodes alike are alike, so each kind of voter leads once.
            let mut led = BTreeSet::new();
            for (index, kind) in kinds.iter().enumerate() {
                if kind / 4 == 1 && led.insert(kind) {
                    let mut view = built(&kinds, max);
                    view.leader = member_of(&format!("n{index}"));
                    longest = longest.max(explore(view));
                    clusters += 1;
                }
            }
        }
        advance(&mut kinds);
    }
    assert!(clusters > 100_000, "{clusters} clusters are not all of them");
    assert_eq!(longest, STEPS_MAX, "the longest way");
}

/// The next multiset of kinds: longer ones after their beginnings.
fn advance(kinds: &mut Vec<usize>) {
    if kinds.len() < 7 {
        kinds.push(kinds.last().copied().unwrap_or(0));
        return;
    }
    while let Some(last) = kinds.pop() {
        if last + 1 < KINDS {
            kinds.push(last + 1);
            return;
        }
    }
}

/// The longest way from any configuration to its goal.
const STEPS_MAX: usize = 13;

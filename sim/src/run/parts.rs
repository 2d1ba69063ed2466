//! Which of the core can find each other.
//!
//! A node finds others by its seeds, or because one of the two knows where the other is. Of one that says goodbye
//! and comes back while all its seeds are gone for good nobody in the core can know, nor can it know of them: such a
//! core is in parts, and each is held to the promises of quiescence by itself. With one seed in the core it is whole.

use std::collections::BTreeSet;
use std::sync::Arc;

use quorate_core::node::Members;
use quorate_core::node::membership::State;

use crate::world::machine::Machine;

/// Who knew whom when the world healed.
#[derive(Debug, Default)]
pub(super) struct Parts {
    known: BTreeSet<(usize, usize)>,
}

impl Parts {
    /// Notes who is a member in whose view, in the life that it is in: these must not lose each other.
    pub(super) fn healed(&mut self, core: &[usize], machines: &[Machine]) {
        self.known = pairs(core, |one, other| {
            let Some((members, subject)) = both(machines, one, other) else { return false };
            let Some(process) = &subject.process else { return false };
            let present = process.node.local().incarnation;
            let leaves = process.node.published().members.load().leaving;
            let row = members.rows.get(&subject.node);
            !leaves
                && row.is_some_and(|row| {
                    let member = matches!(row.state, State::Alive | State::Suspect);
                    member && row.incarnation == present
                })
        });
    }

    /// The parts of the core.
    pub(super) fn of(&self, core: &[usize], machines: &[Machine]) -> Vec<Vec<usize>> {
        let mut known = pairs(core, |one, other| finds(machines, one, other));
        known.extend(&self.known);
        let mut parts: Vec<Vec<usize>> = Vec::new();
        let mut left: BTreeSet<usize> = core.iter().copied().collect();
        while let Some(first) = left.pop_first() {
            let (mut part, mut next) = (BTreeSet::from([first]), vec![first]);
            while let Some(one) = next.pop() {
                let knows = |other: &usize| {
                    known.contains(&(one, *other)) || known.contains(&(*other, one))
                };
                let found: Vec<usize> = left.iter().copied().filter(knows).collect();
                left.retain(|other| !found.contains(other));
                part.extend(&found);
                next.extend(found);
            }
            parts.push(part.into_iter().collect());
        }
        parts
    }
}

/// Whether `one` dials `other`, be it as a seed, as a member, or because it may be back from the dead.
fn finds(machines: &[Machine], one: usize, other: usize) -> bool {
    let Some((members, subject)) = both(machines, one, other) else { return false };
    let seeds = machines.get(one).map(|machine| &machine.settings.membership.join);
    let host = |seed: &String| seed.split(':').next() == Some(subject.node.as_str());
    let dialled = members.rows.get(&subject.node).is_some_and(|row| {
        let sought = matches!(row.state, State::Alive | State::Suspect | State::Failed);
        sought && row.address == subject.address
    });
    dialled || seeds.is_some_and(|seeds| seeds.iter().any(host))
}

/// The view of `one`, and the other.
fn both(machines: &[Machine], one: usize, other: usize) -> Option<(Arc<Members>, &Machine)> {
    let process = machines.get(one)?.process.as_ref()?;
    Some((process.node.published().members.load_full(), machines.get(other)?))
}

fn pairs(core: &[usize], holds: impl Fn(usize, usize) -> bool) -> BTreeSet<(usize, usize)> {
    let others = |one: usize| core.iter().map(move |other| (one, *other));
    let all = core.iter().flat_map(|one| others(*one));
    all.filter(|(one, other)| one != other && holds(*one, *other)).collect()
}

//! Changes of the configuration: learners, joint changes, the leader's own departure, transfers.

use std::collections::BTreeSet;

use super::super::*;
use super::world::{Told, World, millis, name};
use crate::ids::Incarnation;
use crate::wire::raft::{Change, ChangeStep};

const WAIT: std::time::Duration = std::time::Duration::from_secs(5);

fn change(world: &World, steps: &[ChangeStep], joint: bool) -> Change {
    let members = 0..world.nodes.len();
    let nodes: Vec<_> = members.map(|index| (world.member(index), name(index))).collect();
    Change { steps: steps.to_vec().into(), joint, nodes: nodes.into() }
}

fn settled(world: &mut World, voters: &[usize], learners: &[usize]) {
    let set = |world: &World, of: &[usize]| -> BTreeSet<MemberId> {
        of.iter().map(|index| world.member(*index)).collect()
    };
    let (voters, learners) = (set(world, voters), set(world, learners));
    world.run_until("the change is in force", |world| {
        world.leader().is_some_and(|leader| {
            let configuration = world.node(leader).configuration();
            configuration.voters == voters
                && configuration.learners == learners
                && configuration.outgoing.is_empty()
        })
    });
}

#[test]
fn one_grows_to_three_and_the_new_ones_hold_everything() {
    for seed in 1..8 {
        let mut world = World::formed(seed, 3, 1);
        world.propose(0, 1, "early", WAIT);
        world.run(millis(500));
        for index in [1, 2] {
            let member = world.member(index);
            world.change(&change(&world, &[ChangeStep::Learner(member)], false));
            world.run_until("it holds the log", |world| {
                world.node(index).applied_hash() == world.node(0).applied_hash()
            });
            world.introduce();
            world.change(&change(&world, &[ChangeStep::Voter(member)], false));
            world.run(millis(1000));
        }
        settled(&mut world, &[0, 1, 2], &[]);
        world.propose(2, 2, "late", WAIT);
        world.run(millis(1000));
        world.assert_agreed(&[0, 1, 2]);
        assert_eq!(world.services[2].len(), 2);
    }
}

#[test]
fn a_joint_change_swaps_two_at_once_and_ends_by_itself() {
    for seed in 1..8 {
        let mut world = World::formed(seed, 5, 3);
        let (three, four) = (world.member(3), world.member(4));
        world.change(&change(
            &world,
            &[ChangeStep::Learner(three), ChangeStep::Learner(four)],
            true,
        ));
        settled(&mut world, &[0, 1, 2], &[3, 4]);
        let leader = world.leader().expect("somebody leads");
        let others: Vec<usize> = (0..3).filter(|index| *index != leader).collect();
        let steps = [
            ChangeStep::Voter(three),
            ChangeStep::Voter(four),
            ChangeStep::Remove(world.member(others[0])),
            ChangeStep::Remove(world.member(others[1])),
        ];
        world.change(&change(&world, &steps, true));
        settled(&mut world, &[leader, 3, 4], &[]);
        world.propose(3, 1, "after", WAIT);
        world.run(millis(1000));
        world.assert_agreed(&[leader, 3, 4]);
    }
}

#[test]
fn a_joint_change_is_ended_by_whoever_leads_next() {
    for seed in 1..12 {
        let mut world = World::formed(seed, 5, 3);
        let leader = world.leader().expect("somebody leads");
        let three = world.member(3);
        world.change(&change(&world, &[ChangeStep::Learner(three)], false));
        settled(&mut world, &[0, 1, 2], &[3]);
        let gone = world.member((leader + 1) % 3);
        let steps = [ChangeStep::Voter(three), ChangeStep::Remove(gone)];
        world.change(&change(&world, &steps, true));
        world.run(millis(seed));
        world.crash(leader, 0);
        world.run(millis(10_000));
        let open = (0..4)
            .filter(|index| world.nodes[*index].is_some())
            .filter(|index| !world.node(*index).configuration().outgoing.is_empty());
        assert_eq!(open.count(), 0, "seed {seed}: nobody stays between two configurations");
    }
}

#[test]
fn a_leader_that_its_own_change_removed_steps_down_and_another_leads() {
    for seed in 1..12 {
        let mut world = World::formed(seed, 3, 3);
        let leader = world.leader().expect("somebody leads");
        let member = world.member(leader);
        world.change(&change(&world, &[ChangeStep::Remove(member)], false));
        world.run_until("another leads", |world| world.leader().is_some_and(|now| now != leader));
        world.run(millis(5000));
        assert_eq!(world.node(leader).leads(), None);
        let rest: Vec<usize> = (0..3).filter(|index| *index != leader).collect();
        world.propose(rest[0], 1, "after", WAIT);
        world.run(millis(1000));
        world.assert_agreed(&rest);
    }
}

#[test]
fn the_lead_is_handed_over_without_an_election_timeout() {
    for seed in 1..8 {
        let mut world = World::formed(seed, 3, 3);
        world.run(millis(1000));
        let leader = world.leader().expect("somebody leads");
        let to = (leader + 1) % 3;
        let operation = Operation::Transfer { to: Some(name(to)) };
        world.hand(leader, Input::Operate { ticket: Ticket(1), operation });
        world.run(millis(500));
        assert_eq!(world.leader(), Some(to));
        assert_eq!(world.answer(leader, 1), Some(&Told::Operated(Ok(()))));
    }
}

#[test]
fn how_many_may_vote_goes_through_the_log() {
    let mut world = World::formed(1, 3, 3);
    let leader = world.leader().expect("somebody leads");
    let operation = Operation::VotersMax { voters_max: 1 };
    world.hand(leader, Input::Operate { ticket: Ticket(1), operation });
    world.run(millis(1000));
    for index in 0..3 {
        assert_eq!(world.node(index).status(world.now).voters_max, 1);
    }
}

#[test]
fn a_member_on_a_new_disk_is_another_member_and_its_old_votes_are_void() {
    let mut world = World::formed(1, 3, 3);
    world.propose(0, 1, "a", WAIT);
    world.run(millis(500));
    let leader = world.leader().expect("somebody leads");
    let other = (leader + 1) % 3;
    let old = world.member(other);
    world.crash(other, 0);
    world.wipe(other);
    world.start(other);
    world.introduce();
    assert_ne!(world.member(other), old);
    world.run(millis(10_000));
    assert!(world.services[other].is_empty(), "what is sent to the old member is not for the new");
    assert_eq!(world.leader(), Some(leader));
    let (new, steps) = (world.member(other), ChangeStep::Remove(old));
    world.change(&change(&world, &[ChangeStep::Learner(new), steps], true));
    world.run(millis(3000));
    world.change(&change(&world, &[ChangeStep::Voter(new)], false));
    settled(&mut world, &[0, 1, 2], &[]);
    world.assert_agreed(&[0, 1, 2]);
}

#[test]
fn a_message_of_another_log_or_of_another_place_is_dropped() {
    use crate::wire::Blob;
    use crate::wire::raft::{Message, MessageKind};
    let mut world = World::formed(1, 3, 3);
    let leader = world.leader().expect("somebody leads");
    let (to, other) = ((leader + 1) % 3, (leader + 2) % 3);
    let term = world.node(to).term();
    let sound = Message {
        genesis: Genesis(7),
        kind: MessageKind::Heartbeat,
        from: world.member(leader),
        to: world.member(to),
        term: term + 5,
        log_term: 0,
        index: 0,
        entries: Vec::new().into(),
        commit: 0,
        commit_term: 0,
        reject: false,
        reject_hint: 0,
        context: Blob::default(),
        snapshot: None,
        priority: 0,
    };
    let replica = |index| Replica { node: name(index), incarnation: Incarnation(1) };
    let foreign = Message { genesis: Genesis(8), ..sound.clone() };
    let astray = Message { to: world.member(other), ..sound.clone() };
    for (from, message) in [(leader, foreign), (leader, astray), (other, sound.clone())] {
        let message = Wire::Message(message);
        world.hand(to, Input::Peer { from: replica(from), message });
        assert_eq!(world.node(to).term(), term, "nothing was stepped");
    }
    world.hand(to, Input::Peer { from: replica(leader), message: Wire::Message(sound) });
    assert_eq!(world.node(to).term(), term + 5, "a sound one is");
}

//! The ladder at work: members come, go and are replaced without anybody's hand.

use std::time::Duration;

use super::super::*;
use super::world::{World, millis, name};
use crate::ids::Incarnation;

/// `count` nodes that know of each other; the first forms the log alone.
fn cluster(seed: u64, count: usize) -> World {
    cluster_of(seed, count, Settings::new().tick)
}

fn cluster_of(seed: u64, count: usize, tick: Duration) -> World {
    let mut world = World::new(seed, count);
    world.settings.tick = tick;
    world.climbs = true;
    world.begin(1);
    for index in 0..count {
        arrive(&mut world, index);
    }
    world
}

fn arrive(world: &mut World, of: usize) {
    let address = "127.0.0.1:7420".parse().expect("an address");
    let incarnation = Incarnation(1);
    for to in 0..world.nodes.len() {
        let replica = Replica { node: name(of), incarnation };
        world.hand(to, Input::Linked { node: name(of), up: true });
        world.hand(to, Input::Notice(Notice::Up { replica, born: incarnation, address }));
    }
}

fn depart(world: &mut World, of: usize, reason: Reason) {
    for to in 0..world.nodes.len() {
        let replica = Replica { node: name(of), incarnation: Incarnation(1) };
        world.hand(to, Input::Linked { node: name(of), up: false });
        world.hand(to, Input::Notice(Notice::Departed { replica, reason }));
    }
}

fn voters(world: &World) -> Vec<usize> {
    let Some(leader) = world.leader() else { return Vec::new() };
    let configuration = world.node(leader).configuration();
    let running = (0..world.nodes.len()).filter(|index| world.nodes[*index].is_some());
    running.filter(|index| configuration.voters.contains(&world.member(*index))).collect()
}

/// Facts spread while this waits.
fn wait_for(world: &mut World, what: &str, mut holds: impl FnMut(&World) -> bool) {
    for _ in 0..120 {
        world.introduce();
        world.run(millis(1000));
        if holds(world) {
            return;
        }
    }
    panic!("never: {what}; {:?}", world.leader().map(|index| world.node(index).status(world.now)));
}

#[test]
fn a_log_formed_by_one_grows_to_five_with_the_others_standing_by() {
    for seed in 1..4 {
        let mut world = cluster(seed, 7);
        world.propose(0, 1, "early", millis(5000));
        wait_for(&mut world, "five vote and two stand by", |world| {
            let Some(leader) = world.leader() else { return false };
            let configuration = world.node(leader).configuration();
            configuration.voters.len() == 5 && configuration.learners.len() == 2
        });
        wait_for(&mut world, "nothing is due", |world| {
            world.node(world.leader().expect("it leads")).status(world.now).settled
        });
        world.assert_agreed(&[0, 1, 2, 3, 4, 5, 6]);
    }
}

#[test]
fn whoever_leaves_is_replaced_and_whoever_leads_hands_over_first() {
    let mut world = cluster(1, 4);
    wait_for(&mut world, "three vote", |world| voters(world).len() == 3);
    let leader = world.leader().expect("somebody leads");
    depart(&mut world, leader, Reason::Left);
    wait_for(&mut world, "another leads", |world| {
        world.leader().is_some_and(|now| now != leader) && !voters(world).contains(&leader)
    });
    assert_eq!(voters(&world).len(), 3);
}

#[test]
fn two_dead_of_five_are_replaced_by_the_standbys() {
    let mut world = cluster(2, 7);
    wait_for(&mut world, "five vote", |world| voters(world).len() == 5);
    let leader = world.leader().expect("somebody leads");
    let gone: Vec<usize> = voters(&world).into_iter().filter(|index| *index != leader).collect();
    for index in &gone[..2] {
        world.crash(*index, 0);
        depart(&mut world, *index, Reason::Failed);
    }
    wait_for(&mut world, "five live ones vote again", |world| {
        let voters = voters(world);
        voters.len() == 5 && !voters.contains(&gone[0]) && !voters.contains(&gone[1])
    });
}

#[test]
fn a_voter_that_counts_as_lost_is_replaced_within_three_seconds_whenever_the_ladder_looked_last() {
    let grace = Settings::new().dead_grace;
    for shift in 0..5 {
        let mut world = cluster(3, 6);
        wait_for(&mut world, "five vote and the sixth stands by", |world| {
            let Some(leader) = world.leader() else { return false };
            voters(world).len() == 5 && world.node(leader).configuration().learners.len() == 1
        });
        world.run(millis(10_000));
        let leader = world.leader().expect("somebody leads");
        let others: Vec<usize> =
            voters(&world).into_iter().filter(|index| *index != leader).collect();
        let member = world.member(others[0]);
        world.crash(others[0], 0);
        depart(&mut world, others[0], Reason::Failed);
        // News of another, at some time: the ladder looks, and next a while after that.
        let news = millis(1000 + 2000 * shift);
        world.run(news);
        arrive(&mut world, others[1]);
        world.run(grace - news);
        world.run(millis(3000));
        let leader = world.leader().expect("somebody leads");
        let configuration = world.node(leader).configuration();
        let replaced = configuration.voters.len() == 5 && !configuration.votes(member);
        assert!(replaced, "shift {shift}: {:?}", world.node(leader).status(world.now));
    }
}

#[test]
fn voters_that_answer_count_however_rare_the_heartbeats_are() {
    let mut world = cluster_of(1, 3, millis(800));
    wait_for(&mut world, "three vote", |world| voters(world).len() == 3);
    world.run(millis(30_000));
    for _ in 0..100 {
        world.run(millis(100));
        let leader = world.node(world.leader().expect("somebody leads"));
        let view = leader.view(world.now).expect("it leads");
        assert!(ladder::settled(&view), "{:?}", view.members);
    }
}

//! Clusters in virtual time.

use std::time::Duration;

use super::super::*;
use super::world::World;

fn cluster(seed: u64, count: usize) -> World {
    let mut world = World::new(seed, true);
    for _ in 0..count {
        world.start();
        world.run(Duration::from_millis(20));
    }
    world.settle(Duration::from_secs(60));
    world
}

fn knows_dead(world: &World, dead: usize) -> bool {
    let dead = World::name(dead);
    world.running().iter().all(|node| {
        let node = world.nodes[*node].as_ref().expect("it runs");
        node.member(&dead).is_some_and(|member| member.state == State::Failed)
    })
}

fn detection(world: &mut World, dead: usize, at_most: Duration) -> Duration {
    let start = world.now;
    while !knows_dead(world, dead) {
        assert!(world.now.since(start) < at_most, "n{dead} is not known dead within {at_most:?}");
        world.run(Duration::from_millis(100));
    }
    world.now.since(start)
}

#[test]
fn sixty_nodes_become_one_view_and_a_crash_is_known_to_all_within_15_s() {
    let mut world = World::new(1, true);
    for _ in 0..60 {
        world.start();
        world.run(Duration::from_millis(20));
    }
    let took = world.settle(Duration::from_secs(20));
    println!("60 nodes: one view {took:?} after the last start");
    world.run(Duration::from_secs(20));
    let (sent, bytes) = (world.sent, world.sent_bytes);
    world.run(Duration::from_secs(20));
    let (sent, bytes) = (world.sent - sent, world.sent_bytes - bytes);
    println!("idle: {} packets/s, {} B/s per node", sent / 20 / 60, bytes / 20 / 60);
    world.crash(17);
    let took = detection(&mut world, 17, Duration::from_secs(15));
    println!("60 nodes: crash known to all after {took:?}");
    assert_eq!(world.deaths(Instant::ZERO, |replica| replica.node != World::name(17)), 0);
    world.check();
}

/// Takes every link away, so that SWIM stands alone.
fn sever(world: &mut World) {
    world.links = false;
    let count = world.nodes.len();
    (0..count).for_each(|one| (0..one).for_each(|other| world.unlink(one, other)));
}

#[test]
fn thirty_percent_loss_for_a_minute_kills_nobody_even_without_links() {
    let mut world = cluster(2, 30);
    sever(&mut world);
    let start = world.now;
    world.loss_percent = 30;
    world.run(Duration::from_secs(60));
    assert_eq!(world.deaths(start, |_| true), 0);
    assert!(world.suspicions(start) > 0, "the loss was felt");
    world.check();
}

#[test]
fn the_last_survivor_knows_within_15_s_that_it_is_alone() {
    let mut world = cluster(3, 7);
    world.run(Duration::from_secs(20));
    (1..7).for_each(|node| world.crash(node));
    (1..7).for_each(|node| {
        detection(&mut world, node, Duration::from_secs(15));
    });
}

#[test]
fn a_cut_path_with_a_detour_kills_nobody_and_is_noticed() {
    let mut world = cluster(4, 3);
    world.cut.extend([(1, 2), (2, 1)]);
    let start = world.now;
    world.run(Duration::from_secs(120));
    assert_eq!(world.deaths(start, |_| true), 0, "M-11: the third reaches both");
    let row = world.nodes[1].as_ref().expect("it runs").member(&World::name(2)).expect("known");
    assert_eq!(row.missing, Some(Transport::Datagram));
    world.cut.clear();
    world.run(Duration::from_secs(30));
    let row = world.nodes[1].as_ref().expect("it runs").member(&World::name(2)).expect("known");
    assert_eq!((row.missing, row.state), (None, State::Alive));
    world.check();
}

#[test]
fn two_halves_meet_again_and_each_node_raises_at_most_once() {
    let mut world = cluster(5, 12);
    let halves = |node: usize| node < 6;
    for one in 0..12 {
        for other in (0..12).filter(|other| halves(*other) != halves(one)) {
            world.cut.insert((one, other));
            world.unlink(one, other);
        }
    }
    world.run(Duration::from_secs(60));
    assert!(knows(&world, 0, 11, State::Failed) && knows(&world, 11, 0, State::Failed));
    world.cut.clear();
    let start = world.now;
    world.redial();
    let took = world.settle(Duration::from_secs(30));
    println!("two halves of 6: one view {took:?} after the heal");
    for node in 0..12 {
        let raises = world.log.iter().filter(|(at, who, output)| {
            *at >= start && *who == node && matches!(output, Output::Raised { .. })
        });
        assert!(raises.count() <= 1, "M-5: n{node} raised more than once");
    }
    world.check();
}

#[test]
fn a_restart_is_the_same_node_in_a_newer_life_and_a_leave_is_no_failure() {
    let mut world = cluster(6, 9);
    world.crash(4);
    world.restart(4, 2);
    let took = world.settle(Duration::from_secs(10));
    println!("restart: one view after {took:?}");
    let start = world.now;
    world.hand(5, Input::Leave { ticket: None, restarting: false });
    world.run(Duration::from_secs(1));
    let left = world.running().into_iter().filter(|node| *node != 5);
    assert!(left.into_iter().all(|node| knows(&world, node, 5, State::Left)), "within a second");
    world.run(Duration::from_secs(5));
    world.crash(5);
    world.run(Duration::from_secs(20));
    let failed = |replica: &Replica| replica.node != World::name(5);
    assert_eq!(world.deaths(start, failed), 0);
    world.settle(Duration::from_secs(1));
    world.check();
}

#[test]
fn a_one_way_cut_from_everybody_is_survived_by_links() {
    let mut world = cluster(7, 5);
    world.cut.extend((0..4).map(|other| (4, other)));
    let start = world.now;
    world.run(Duration::from_secs(60));
    assert_eq!(world.deaths(start, |_| true), 0, "its frames still arrive");
    world.check();
}

#[test]
fn a_seed_is_a_history_byte_for_byte() {
    let history = || {
        let mut world = cluster(8, 6);
        world.loss_percent = 20;
        world.run(Duration::from_secs(10));
        world.crash(3);
        world.run(Duration::from_secs(20));
        (world.sent, world.sent_bytes, format!("{:?}", world.log))
    };
    assert_eq!(history(), history());
}

fn knows(world: &World, observer: usize, node: usize, state: State) -> bool {
    let observer = world.nodes[observer].as_ref().expect("it runs");
    observer.member(&World::name(node)).is_some_and(|member| member.state == state)
}

#[test]
fn a_quiet_hour_of_seven_nodes_costs_little_and_says_nothing() {
    let mut world = cluster(9, 7);
    world.run(Duration::from_secs(30));
    let (start, sent, told) = (world.now, world.sent, world.log.len());
    world.run(Duration::from_secs(3600));
    assert_eq!(world.deaths(start, |_| true) as u64 + world.suspicions(start), 0);
    // These links carry no pings of their own, so they fall silent.
    let link_silent = |output: &Output| matches!(output, Output::Asymmetric { .. });
    let told = world.log.iter().skip(told).filter(|(_, _, output)| !link_silent(output));
    assert_eq!(told.count(), 0, "nobody has anything to say");
    // One ping and one acknowledgement each second; the sweeps and lists send no datagram.
    assert!((world.sent - sent) <= 7 * 3600 * 2 + 100, "{} packets", world.sent - sent);
    world.check();
}

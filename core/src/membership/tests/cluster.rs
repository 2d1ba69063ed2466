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

/// False deaths in `duration` of loss, by links or without.
fn lossy(seed: u64, count: usize, percent: u64, links: bool, duration: Duration) -> (usize, u64) {
    let mut world = cluster(seed, count);
    if !links {
        world.links = false;
        (0..count).for_each(|one| (0..one).for_each(|other| world.unlink(one, other)));
    }
    let start = world.now;
    world.loss_percent = percent;
    world.run(duration);
    let deaths = world.deaths(start, |_| true);
    let suspicions = world.suspicions(start);
    world.check();
    (deaths, suspicions)
}

#[test]
#[ignore = "a measurement"]
fn measure_loss() {
    for links in [false] {
        let mut lost = Vec::new();
        let mut suspicions = 0;
        for seed in 0..6 {
            let (deaths, suspected) = lossy(seed, 60, 30, links, Duration::from_secs(60));
            suspicions += suspected;
            if deaths > 0 {
                lost.push((seed, deaths));
            }
        }
        println!(
            "links {links}: {} of 6 seeds with false deaths {lost:?}; {suspicions} suspicions",
            lost.len()
        );
    }
}

#[test]
#[ignore = "a measurement"]
fn measure_crash() {
    for (percent, crashes) in [(30, 1), (0, 5), (0, 20)] {
        let mut longest = Duration::ZERO;
        for seed in 0..2 {
            let mut world = cluster(100 + seed, 60);
            world.loss_percent = percent;
            world.run(Duration::from_secs(20));
            (10..10 + crashes).for_each(|node| world.crash(node));
            let start = world.now;
            for node in 10..10 + crashes {
                detection(&mut world, node, Duration::from_secs(200));
            }
            longest = longest.max(world.now.since(start));
        }
        println!("loss {percent} %, {crashes} crashes: longest {longest:?}");
    }
    for (count, crashes) in [(2, 1), (3, 1), (3, 2), (4, 3), (5, 4), (7, 3), (7, 6)] {
        let mut longest = Duration::ZERO;
        for seed in 0..5 {
            let mut world = cluster(200 + seed, count);
            world.run(Duration::from_secs(20));
            (0..crashes).for_each(|node| world.crash(node));
            let start = world.now;
            for node in 0..crashes {
                detection(&mut world, node, Duration::from_secs(200));
            }
            longest = longest.max(world.now.since(start));
        }
        println!("{crashes} of {count} crash: longest {longest:?}");
    }
}

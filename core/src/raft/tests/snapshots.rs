//! Snapshots: taken, sent, installed, read back at a start.

use super::super::durable;
use super::super::*;
use super::world::{World, millis, name};
use crate::wire::raft::{Change, ChangeStep};

const WAIT: std::time::Duration = std::time::Duration::from_secs(20);

fn small(seed: u64, nodes: usize, voters: usize) -> World {
    let mut world = World::new(seed, nodes);
    world.settings.snapshot_bytes = 400; // Of texts that are short, some ten.
    world.settings.trailing_entries = 3;
    world.begin(voters);
    world
}

fn fill(world: &mut World, from: usize, tickets: std::ops::Range<u64>) {
    for ticket in tickets {
        world.propose(from, ticket, &format!("t{ticket}"), WAIT);
        world.run(millis(30));
    }
    world.run(millis(2000));
}

#[test]
fn a_start_reads_the_snapshot_and_replays_the_log_behind_it() {
    for seed in 1..6 {
        let mut world = small(seed, 1, 1);
        fill(&mut world, 0, 0..57);
        let before = (world.node(0).applied_hash(), world.services[0].clone());
        assert!(world.node(0).status(world.now).snapshot > 40, "it was compacted");
        assert!(world.rows(0).keys().filter(|(room, _)| *room == Room::Log).count() < 25);
        world.crash(0, 0);
        world.start(0);
        assert_eq!(world.restored, 1);
        world.run(millis(10_000));
        assert_eq!(world.services[0], before.1, "RF-10");
        assert_eq!(world.services[0].len(), 57);
    }
}

#[test]
fn a_snapshot_is_written_again_when_the_log_behind_it_is_as_long() {
    let mut world = World::new(1, 1);
    world.settings.snapshot_entries = 10;
    world.begin(1);
    world.propose(0, 1000, &"x".repeat(5000), WAIT);
    fill(&mut world, 0, 0..20);
    let first = world.node(0).status(world.now).snapshot;
    assert!(first > 1, "ten entries were applied, and they were long enough");
    fill(&mut world, 0, 20..50);
    assert_eq!(world.node(0).status(world.now).snapshot, first, "thirty small ones are not");
    world.propose(0, 1001, &"y".repeat(5000), WAIT);
    world.run(millis(2000));
    assert!(world.node(0).status(world.now).snapshot > first, "now they are");
}

#[test]
fn a_snapshot_is_due_in_any_case_after_so_many_bytes() {
    let mut world = World::new(1, 1);
    world.settings.snapshot_bytes = 1000;
    world.begin(1);
    world.propose(0, 1000, &"x".repeat(5000), WAIT);
    world.run(millis(2000));
    let first = world.node(0).status(world.now).snapshot;
    assert!(first > 1, "one entry was long enough");
    world.propose(0, 1001, &"y".repeat(2000), WAIT);
    world.run(millis(2000));
    assert!(world.node(0).status(world.now).snapshot > first, "though the last one is longer");
}

#[test]
fn entries_are_applied_while_a_snapshot_is_written() {
    let mut world = small(1, 1, 1);
    world.propose(0, 1000, &"x".repeat(600_000), WAIT);
    world.run(millis(2000));
    let first = world.node(0).status(world.now).snapshot;
    world.disk_max = millis(5000);
    world.propose(0, 1001, &"y".repeat(600_000), WAIT);
    world.run_until("it is applied", |world| world.services[0].len() == 2);
    for ticket in 0..5 {
        world.propose(0, ticket, &format!("t{ticket}"), WAIT);
    }
    world.run_until("they are applied", |world| world.services[0].len() == 7);
    assert_eq!(world.node(0).status(world.now).snapshot, first, "pieces of it are still written");
    let at = world.services[0][1].0;
    world.run_until("it is written", |world| world.node(0).status(world.now).snapshot > first);
    assert_eq!(world.node(0).status(world.now).snapshot, at, "it is of the entry that made it due");
    world.crash(0, usize::MAX);
    world.start(0);
    world.run(millis(10_000));
    assert_eq!(world.services[0].len(), 7, "RF-10");
}

#[test]
fn a_snapshot_of_its_own_is_given_up_for_one_of_the_leader() {
    for seed in 1..6 {
        let mut world = World::new(seed, 3);
        world.settings.snapshot_bytes = 1_000_000;
        world.settings.trailing_entries = 0;
        world.begin(3);
        let leader = world.leader().expect("somebody leads");
        let follower = (leader + 1) % 3;
        let long = |world: &mut World, ticket: u64| {
            world.propose(leader, ticket, &format!("{ticket}").repeat(150_000), WAIT);
        };
        long(&mut world, 1000);
        long(&mut world, 1001);
        world.run_until("its snapshot is begun", |world| world.services[follower].len() == 2);
        world.slow = Some(follower);
        world.run(millis(100));
        world.slow = None;
        world.isolate(follower);
        long(&mut world, 1002);
        long(&mut world, 1003);
        fill(&mut world, leader, 0..10);
        world.cut.clear();
        world.run(millis(200_000));
        assert_eq!(world.restored, 1, "seed {seed}: by a snapshot of the leader's");
        world.assert_agreed(&[0, 1, 2]);
        let keys = world.rows(follower).keys().filter(|(room, _)| *room == Room::Snapshot);
        let begun = keys.filter(|(_, key)| key.ends_with("/00000000")).count();
        assert_eq!(begun, 1, "seed {seed}: nothing is left of its own");
    }
}

#[test]
fn a_follower_that_was_away_catches_up_by_snapshot_while_commits_go_on() {
    for seed in 1..6 {
        let mut world = small(seed, 3, 3);
        let leader = world.leader().expect("somebody leads");
        let away = (leader + 1) % 3;
        world.crash(away, 0);
        fill(&mut world, leader, 0..60);
        world.start(away);
        fill(&mut world, leader, 60..90);
        world.assert_agreed(&[0, 1, 2]);
        assert!(world.restored > 0, "by snapshot");
        assert_eq!(world.services[away].len(), 90);
    }
}

#[test]
fn a_new_member_is_sent_a_snapshot_that_names_it() {
    for seed in 1..6 {
        let mut world = small(seed, 4, 3);
        let leader = world.leader().expect("somebody leads");
        fill(&mut world, leader, 0..35);
        let place = (world.member(3), name(3));
        let change = Change {
            steps: vec![ChangeStep::Learner(place.0)].into(),
            joint: false,
            nodes: vec![place].into(),
        };
        world.change(&change);
        world.run(millis(3000));
        world.assert_agreed(&[0, 1, 2, 3]);
    }
}

#[test]
fn whoever_was_away_takes_a_snapshot_of_a_leader_that_joined_meanwhile() {
    for seed in 1..6 {
        let mut world = small(seed, 4, 3);
        let leader = world.leader().expect("somebody leads");
        let away = (leader + 1) % 3;
        world.crash(away, 0);
        let place = (world.member(3), name(3));
        world.change(&Change {
            steps: vec![ChangeStep::Voter(place.0)].into(),
            joint: false,
            nodes: vec![place].into(),
        });
        fill(&mut world, leader, 0..30);
        let transfer = Operation::Transfer { to: Some(name(3)) };
        world.hand(leader, Input::Operate { ticket: Ticket(99), operation: transfer });
        world.run_until("the new member leads", |world| world.leader() == Some(3));
        fill(&mut world, 3, 30..60);
        world.start(away);
        world.introduce();
        world.assert_agreed(&[0, 1, 2, 3]);
    }
}

#[test]
fn a_crash_in_the_middle_of_writing_a_snapshot_leaves_the_old_one() {
    for kept in 0..12 {
        let mut world = small(1, 1, 1);
        // A section of many pieces, so that it takes several batches.
        world.propose(0, 1000, &"x".repeat(600_000), WAIT);
        world.propose(0, 1001, &"y".repeat(600_000), WAIT);
        world.run(millis(3000));
        world.disk_max = millis(5000);
        for ticket in 0..12 {
            world.propose(0, ticket, &format!("t{ticket}"), WAIT);
        }
        world.run_until("the snapshot is on its way", |world| world.pending(0) >= 2);
        world.crash(0, kept);
        world.disk_max = millis(10);
        world.start(0);
        world.run(millis(10_000));
        let held = world.services[0].len();
        assert!((2..=14).contains(&held), "{held} texts after a crash");
        for text in &world.acknowledged {
            assert!(world.services[0].iter().any(|(_, held)| held == text), "RF-12: {text:.9}");
        }
        let slots = world
            .rows(0)
            .keys()
            .filter(|(room, key)| *room == Room::Snapshot && key.ends_with("/00000000"));
        assert_eq!(slots.count(), 1, "what never became current was swept");
    }
}

#[test]
fn a_store_that_lost_rows_is_refused_by_name() {
    let mut world = small(1, 1, 1);
    fill(&mut world, 0, 0..37);
    world.crash(0, 8);
    let whole = world.rows(0).clone();
    assert!(durable::read(&whole).is_ok());
    let mut refused = 0;
    for lost in whole.keys().filter(|(room, _)| *room != Room::Snapshot) {
        let mut rows = whole.clone();
        rows.remove(lost);
        let last = whole.keys().rfind(|(room, _)| *room == Room::Log);
        let first = whole.keys().find(|(room, _)| *room == Room::Log);
        let read = durable::read(&rows);
        // What only the commit index could tell, or what the snapshot covers, may be gone.
        let covered = Some(lost) == first || Some(lost) == last || lost.1 == "state";
        assert!(read.is_err() || covered, "{lost:?} is gone and nobody noticed");
        refused += usize::from(read.is_err());
    }
    assert!(refused > 3);
    for lost in whole.keys().filter(|(room, key)| *room == Room::Snapshot && key != "current") {
        let mut rows = whole.clone();
        rows.remove(lost);
        assert!(durable::read(&rows).is_err(), "{lost:?}");
    }
}

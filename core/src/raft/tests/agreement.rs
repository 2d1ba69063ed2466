//! Elections, replication and reads.

use super::super::*;
use super::world::{Told, World, millis};
use crate::wire::raft::MessageKind;

const WAIT: std::time::Duration = millis_const(5000);

const fn millis_const(count: u64) -> std::time::Duration {
    std::time::Duration::from_millis(count)
}

#[test]
fn one_node_alone_agrees_with_itself() {
    let mut world = World::formed(1, 1, 1);
    world.propose(0, 1, "a", WAIT);
    world.run(millis(200));
    let committed = Committed { index: 3, outcome: Blob::from("a as 1") };
    assert_eq!(world.answer(0, 1), Some(&Told::Proposed(Ok(committed))));
    world.crash(0, 0);
    world.start(0);
    world.run(millis(6000));
    assert_eq!(world.services[0], [(3, "a".to_owned())], "it is replayed from the log");
}

#[test]
fn what_any_node_proposes_every_member_applies_in_one_order() {
    for seed in 1..6 {
        let mut world = World::formed(seed, 5, 3);
        for ticket in 0..60 {
            let from = usize::try_from(ticket % 5).expect("small");
            world.propose(from, ticket, &format!("t{ticket}"), WAIT);
            world.run(millis(7));
        }
        world.run(millis(3000));
        for ticket in 0..60 {
            let from = usize::try_from(ticket % 5).expect("small");
            let told = world.answer(from, ticket);
            assert!(matches!(told, Some(Told::Proposed(Ok(_)))), "{ticket}: {told:?}");
        }
        world.assert_agreed(&[0, 1, 2]);
        assert_eq!(world.services[0].len(), 60);
        assert!(world.services[3].is_empty(), "nodes outside keep no copy");
        assert_eq!(world.misbehaved, []);
    }
}

#[test]
fn a_dead_leader_is_replaced_and_nothing_that_was_acknowledged_is_lost() {
    let mut slowest = 0;
    for seed in 1..20 {
        let mut world = World::formed(seed, 3, 3);
        world.propose(0, 1, "before", WAIT);
        world.run(millis(500));
        let leader = world.leader().expect("somebody leads");
        let survivors: Vec<usize> = (0..3).filter(|index| *index != leader).collect();
        world.propose(survivors[0], 2, "meanwhile", WAIT);
        world.crash(leader, 0);
        let at = world.now;
        world.run_until("another leads", |world| world.leader().is_some());
        slowest = slowest.max(world.now.since(at).as_millis());
        world.run(millis(5000));
        world.assert_agreed(&survivors);
        world.start(leader);
        world.assert_agreed(&[0, 1, 2]);
    }
    assert!(slowest <= 6000, "an election took {slowest} ms");
}

#[test]
fn an_isolated_voter_does_not_raise_its_term_and_deposes_nobody_when_it_returns() {
    for seed in 1..8 {
        let mut world = World::formed(seed, 3, 3);
        world.run(millis(1000));
        let leader = world.leader().expect("somebody leads");
        let term = world.node(leader).term();
        let lonely = (leader + 1) % 3;
        world.isolate(lonely);
        world.run(millis(60_000));
        assert!(world.node(lonely).term() <= term + 1, "RF-15");
        world.cut.clear();
        world.run(millis(10_000));
        assert_eq!(world.leader(), Some(leader), "RF-15: a healthy leader is left in peace");
        assert_eq!(world.node(leader).term(), term, "RF-15");
    }
}

/// Tells `index` that its link to `other` came up or went.
fn link(world: &mut World, index: usize, other: usize, up: bool) {
    world.hand(index, Input::Linked { node: super::world::name(other), up });
}

#[test]
fn a_leader_that_dies_with_its_links_is_followed_long_before_its_time() {
    for seed in 1..20 {
        let mut world = World::formed(seed, 3, 3);
        world.run(millis(1000));
        let leader = world.leader().expect("somebody leads");
        world.crash(leader, 0);
        let at = world.now;
        for index in (0..3).filter(|index| *index != leader) {
            link(&mut world, index, leader, false);
        }
        world.run_until("another leads", |world| world.leader().is_some());
        let took = world.now.since(at);
        assert!(took < millis(600), "seed {seed}: an election took {took:?}");
    }
}

#[test]
fn a_leader_whose_links_are_lost_and_made_again_or_lost_by_one_alone_is_left_in_peace() {
    for seed in 1..20 {
        let mut world = World::formed(seed, 3, 3);
        world.run(millis(1000));
        let leader = world.leader().expect("somebody leads");
        let term = world.node(leader).term();
        let others = [(leader + 1) % 3, (leader + 2) % 3];
        // Between two heartbeats, so that only the link speaks for it.
        for other in others {
            link(&mut world, other, leader, false);
        }
        world.run(millis(100));
        for other in others {
            link(&mut world, other, leader, true);
        }
        world.run(millis(5000));
        // One of them hears nothing of it for a second, and asks the other in vain.
        link(&mut world, others[0], leader, false);
        world.cut.insert((leader, others[0]));
        world.run(millis(1000));
        world.cut.clear();
        world.run(millis(5000));
        assert_eq!(world.leader(), Some(leader), "seed {seed}: a healthy leader is left in peace");
        assert_eq!(world.node(leader).term(), term, "seed {seed}: RF-15");
    }
}

#[test]
fn a_leader_without_a_quorum_stops_to_lead_and_refuses() {
    let mut world = World::formed(1, 3, 3);
    let leader = world.leader().expect("somebody leads");
    world.isolate(leader);
    world.propose(leader, 1, "nobody hears this", millis(4000));
    world.read(leader, 2, millis(4000));
    world.run(millis(5000));
    assert_eq!(world.node(leader).leads(), None);
    assert_eq!(world.node(leader).status(world.now).leader, None, "nobody leads it");
    let refused = Told::Proposed(Err(Refusal::Ambiguous));
    assert_eq!(world.answer(leader, 1), Some(&refused), "it stands in a log that may yet win");
    assert_eq!(world.answer(leader, 2), Some(&Told::Read(Err(Refusal::NoQuorum))));
    world.propose(leader, 3, "nor this", millis(1000));
    world.run(millis(1500));
    assert_eq!(world.answer(leader, 3), Some(&Told::Proposed(Err(Refusal::NoQuorum))));
}

#[test]
fn a_read_sees_whatever_was_committed_before_it() {
    for seed in 1..10 {
        let mut world = World::formed(seed, 3, 3);
        for round in 0..30 {
            let writer = usize::try_from(round % 3).expect("small");
            world.propose(writer, round * 10, &format!("r{round}"), WAIT);
            world.run_until("it is committed", |world| world.answer(writer, round * 10).is_some());
            for reader in 0..3 {
                let ticket = round * 10 + 1 + reader as u64;
                world.read(reader, ticket, WAIT);
            }
            world.run_until("all have read", |world| {
                (0..3).all(|reader| world.answer(reader, round * 10 + 1 + reader as u64).is_some())
            });
            let Some(Told::Proposed(Ok(written))) = world.answer(writer, round * 10).cloned()
            else {
                panic!("round {round} was not committed");
            };
            for reader in 0..3 {
                let told = world.answer(reader, round * 10 + 1 + reader as u64);
                let Some(Told::Read(Ok(index))) = told else { panic!("{told:?}") };
                assert!(*index >= written.index, "a read that misses a write");
                assert!(world.node(reader).applied_hash().0 >= *index);
            }
        }
    }
}

#[test]
fn a_deposed_leader_reads_nothing_stale() {
    for seed in 1..20 {
        let mut world = World::formed(seed, 3, 3);
        let old = world.leader().expect("somebody leads");
        world.isolate(old);
        world.read(old, 1, millis(20_000));
        let other = (old + 1) % 3;
        world.propose(other, 1, "new", millis(20_000));
        world.run_until("the others go on", |world| world.answer(other, 1).is_some());
        assert_eq!(world.answer(old, 1), None, "it cannot know");
        world.cut.clear();
        world.run(millis(10_000));
        let Some(Told::Read(Ok(index))) = world.answer(old, 1) else {
            panic!("{:?}", world.answer(old, 1));
        };
        assert!(world.services[old].iter().any(|(at, text)| at <= index && text == "new"));
    }
}

/// Whether a follower repeats the number of a round of reads.
fn confirms(input: &Input) -> bool {
    let Input::Peer { message: Wire::Message(message), .. } = input else { return false };
    message.kind == MessageKind::HeartbeatReply && !message.context.is_empty()
}

#[test]
fn what_confirmed_the_read_of_another_confirms_none_of_a_leader_that_stood_still() {
    for seed in 1..10 {
        let mut world = World::formed(seed, 3, 3);
        world.run(millis(1000));
        let old = world.leader().expect("somebody leads");
        let (reader, late) = ((old + 1) % 3, (old + 2) % 3);
        world.read(reader, 1, WAIT);
        let mut kept = Vec::new();
        world.run_until("both others have confirmed the first read", |world| {
            kept.extend(world.intercept(late, old));
            kept.iter().any(confirms) && world.answer(reader, 1).is_some()
        });
        let stands_still = world.nodes[old].take();
        world.propose(reader, 2, "new", millis(20_000));
        world.run_until("the others go on", |world| world.answer(reader, 2).is_some());
        world.isolate(old);
        world.nodes[old] = stands_still;
        world.read(old, 3, WAIT);
        kept.into_iter().for_each(|input| world.hand(old, input));
        assert_eq!(world.answer(old, 3), None, "it read without what was written meanwhile");
    }
}

#[test]
fn elections_are_drawn_from_our_own_seed() {
    let story = |seed: u64| {
        let mut world = World::formed(seed, 5, 5);
        for _ in 0..6 {
            let leader = world.leader().expect("somebody leads");
            world.crash(leader, 0);
            world.run_until("another leads", |world| world.leader().is_some());
            world.start(leader);
            world.run(millis(3000));
        }
        (world.now, world.leaders.clone(), world.sent.clone())
    };
    let stories: Vec<_> = (1..6).map(story).collect();
    assert_eq!((1..6).map(story).collect::<Vec<_>>(), stories, "a seed is one story");
    assert!(stories.windows(2).all(|pair| pair[0] != pair[1]), "and each its own");
}

#[test]
fn an_idle_log_is_quiet_but_for_heartbeats() {
    let mut world = World::formed(3, 5, 5);
    world.run(millis(5000));
    world.sent.clear();
    world.run(millis(30_000));
    let sent: u64 = world.sent.values().sum();
    let beats = 30_000 / 300 * 4 * 2;
    assert!(sent <= beats + 8, "{:?}", world.sent);
    assert_eq!(world.pending(0), 0);
}

#[test]
fn the_next_entry_tells_what_is_committed_and_after_the_last_one_a_notice_does() {
    let mut world = World::formed(3, 3, 3);
    world.disk_max = millis(1);
    world.run(millis(5000));
    let leader = world.leader().expect("somebody leads");
    world.sent.clear();
    for ticket in 0..100 {
        world.propose(leader, ticket, &format!("t{ticket}"), WAIT);
        world.run_until("it is answered", |world| world.answer(leader, ticket).is_some());
    }
    let appends = world.sent[&MessageKind::Append];
    assert!((200..250).contains(&appends), "one to each follower for each entry: {appends}");
    let last = crate::limits::RAFT_NOTICE_AFTER + millis(5) + world.disk_max;
    world.run(last);
    assert!(world.services.iter().all(|service| service.len() == 100), "all know within {last:?}");
    world.sent.clear();
    world.run(millis(1000));
    let answers = world.sent.get(&MessageKind::Append).copied().unwrap_or_default();
    assert!(answers <= 2, "and it is said once: {answers}");
}

#[test]
fn a_follower_sleeps_while_its_leader_is_heard_and_does_not_stand_because_it_overslept() {
    let mut world = World::formed(1, 3, 3);
    world.run(millis(5000));
    let leader = world.leader().expect("somebody leads");
    let now = world.now;
    let tick = world.settings.tick;
    let follower = world.nodes.iter_mut().enumerate().find(|(index, _)| *index != leader);
    let follower = follower.and_then(|(_, node)| node.as_mut()).expect("three nodes run");
    let role = |node: &Raft| node.group.as_ref().map(Group::role);
    let wake = follower.next_wake().expect("an election, one day").at;
    assert!(wake.since(now) > 10 * tick, "it ticks all the time: {:?}", wake.since(now));

    let late = now + 600 * tick;
    follower.handle(late, Input::Tick, &mut Vec::new());
    follower.flush(late, &mut Vec::new());
    assert_eq!(role(follower), Some(group::Role::Follower), "the leader may still be heard");
    assert_eq!(follower.next_wake().map(|wake| wake.at), Some(late + tick));
    follower.handle(late + tick, Input::Tick, &mut Vec::new());
    assert_eq!(role(follower), Some(group::Role::PreCandidate), "it was not");
}

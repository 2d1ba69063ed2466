//! How a log begins: by several at once, and what is said where two have begun.

use super::super::*;
use super::world::{World, name};
use crate::ids::Incarnation;

fn up(world: &mut World, to: usize, of: usize) {
    let (born, address) = (Incarnation(1), "127.0.0.1:7420".parse().expect("an address"));
    let replica = Replica { node: name(of), incarnation: born };
    world.hand(to, Input::Notice(Notice::Up { replica, born, address }));
}

/// Three that expect three, all of whom are seeds.
fn three() -> World {
    let mut world = World::new(1, 3);
    world.settings.expect = 3;
    for index in 0..3 {
        world.start(index);
    }
    for to in 0..3 {
        (0..3).filter(|of| *of != to).for_each(|of| up(&mut world, to, of));
        world.hand(to, Input::Seeds { behind: Some((0..3).map(name).collect()) });
    }
    world.introduce();
    world
}

#[test]
fn three_that_expect_three_found_one_log_and_find_it_again_after_a_crash_of_all() {
    let mut world = three();
    world.run_until("somebody leads", |world| world.leader().is_some());
    assert!(world.now >= world.began + 50 * world.settings.tick, "nothing had stood so long");
    let genesis = world.node(0).genesis();
    assert!(genesis.is_some());
    world.propose(1, 1, "first", std::time::Duration::from_secs(5));
    world.run_until("it is applied", |world| world.answer(1, 1).is_some());
    for index in 0..3 {
        assert_eq!(world.node(index).genesis(), genesis);
        assert_eq!(world.node(index).configuration().voters.len(), 3);
        let kept = world.pending(index);
        world.crash(index, kept);
    }
    (0..3).for_each(|index| world.start(index));
    world.run_until("somebody leads again", |world| world.leader().is_some());
    assert!((0..3).all(|index| world.node(index).genesis() == genesis), "none begins anew");
}

#[test]
fn a_crash_between_promise_and_log_ends_in_the_same_log() {
    for stored in 0..12 {
        let mut world = three();
        // A node crashes when its disk has taken so many batches, and loses what it was about to take.
        let before = world.stored(1);
        world.run_until("so much is stored", |world| {
            world.stored(1) >= before + stored || world.leader().is_some()
        });
        world.crash(1, 0);
        world.start(1);
        (0..3).filter(|of| *of != 1).for_each(|of| up(&mut world, 1, of));
        world.hand(1, Input::Seeds { behind: Some((0..3).map(name).collect()) });
        world.introduce();
        world.run_until("somebody leads and all have begun", |world| {
            world.leader().is_some() && (0..3).all(|index| world.node(index).genesis().is_some())
        });
        let all: BTreeSet<_> = (0..3).map(|index| world.node(index).genesis()).collect();
        assert_eq!(all.len(), 1, "RF-9 after {stored} batches");
    }
}

#[test]
fn a_survivor_goes_on_alone_with_everything_it_holds_and_a_dropped_copy_is_taken_in_again() {
    for seed in 1..6 {
        let mut world = World::formed(seed, 3, 3);
        world.settings.expect = 0;
        for ticket in 0..30 {
            world.propose(0, ticket, &format!("t{ticket}"), std::time::Duration::from_secs(20));
            world.run(std::time::Duration::from_millis(100));
        }
        world.run(std::time::Duration::from_secs(2));
        let (before, log_time) = (world.services[1].clone(), world.node(1).log_time());
        assert_eq!(before.len(), 30);
        (0..3).for_each(|index| world.crash(index, usize::MAX));
        let survivor = recover::survivor(world.rows(1), Genesis(99)).expect("it holds all");
        assert_eq!((survivor.node.clone(), survivor.was), (name(1), Genesis(7)));
        assert_eq!(survivor.voters.len(), 3);
        world.forget_what_was_seen();
        world.apply(1, survivor.rows);
        world.start(1);
        world.run_until("it leads alone", |world| world.leader() == Some(1));
        world.propose(1, 99, "after", std::time::Duration::from_secs(5));
        world.run_until("it commits alone", |world| world.answer(1, 99).is_some());
        assert_eq!(world.services[1].len(), 31, "nothing is lost, nothing is twice");
        assert!(world.node(1).log_time() >= log_time, "RF-8");
        assert_eq!(world.node(1).configuration().members().len(), 1);

        let rows = recover::dropped(world.rows(0));
        world.apply(0, rows);
        assert!(world.rows(0).is_empty());
        world.start(0);
        assert_eq!(world.node(0).genesis(), None);
        world.climbs = true;
        (world.nodes.iter_mut().flatten()).for_each(|raft| raft.ladder.held = false);
        world.introduce();
        world.hand(1, Input::Linked { node: name(0), up: true });
        up(&mut world, 1, 0);
        world.run_until("it is added again", |world| world.services[0].len() == 31);
        assert_eq!(world.node(0).genesis(), Some(Genesis(99)));
    }
}

#[test]
fn a_store_without_a_copy_has_no_survivor() {
    let mut world = World::new(1, 1);
    world.start(0);
    world.crash(0, usize::MAX);
    let unfit = recover::survivor(world.rows(0), Genesis(99)).expect_err("it never began");
    assert_eq!(unfit, recover::Unfit::NoCopy);
}

#[test]
fn who_votes_alone_leads_at_once_also_after_a_crash() {
    let mut world = World::new(1, 1);
    world.begin(1);
    world.run_until("it leads", |world| world.leader().is_some());
    assert!(world.now < world.began + world.settings.election_min(), "it waited for nobody");
    world.propose(0, 1, "first", std::time::Duration::from_secs(5));
    world.run_until("it is applied", |world| world.answer(0, 1).is_some());
    let kept = world.pending(0);
    world.crash(0, kept);
    let died = world.now;
    world.start(0);
    world.run_until("it leads again", |world| world.leader().is_some());
    assert!(world.now < died + world.settings.election_min(), "it waited for nobody again");
}

#[test]
fn who_meets_another_log_says_so_once_and_keeps_its_own() {
    let mut world = World::new(1, 2);
    world.begin(1);
    up(&mut world, 0, 1);
    let now = world.now;
    let own = world.node(0).genesis();
    let other = Peer {
        member: Some(MemberId(9)),
        genesis: Some(Genesis(8)),
        eligible: true,
        priority: 100,
        zone: String::new(),
        leaving: false,
        expect: 1,
    };
    let raft = world.nodes[0].as_mut().expect("it runs");
    let mut told = |input: Input| {
        let mut out = Vec::new();
        raft.handle(now, input, &mut out);
        let told: Vec<String> = out
            .into_iter()
            .filter_map(
                |output| if let Output::Conflict { with } = output { Some(with) } else { None },
            )
            .collect();
        (told, raft.status(now).conflicts)
    };
    let one = name(1).to_string();
    let known = |peer: Peer| Input::Known { node: name(1), peer: Some(peer) };
    assert_eq!(told(known(other.clone())), (vec![one.clone()], vec![one.clone()]));
    let again = Peer { priority: 7, ..other.clone() };
    assert_eq!(told(known(again)), (vec![], vec![one.clone()]), "it was told");
    let address = "10.0.0.9:7420".parse().expect("an address");
    let met = vec![address_text(address), one];
    let refused = Input::Conflict { node: None, address };
    assert_eq!(
        told(refused),
        (vec![address_text(address)], met),
        "a refused handshake is one, too"
    );
    let mended = Peer { genesis: None, ..other };
    assert_eq!(told(known(mended)), (vec![], vec![address_text(address)]));
    let raft = world.nodes[0].as_mut().expect("it runs");
    raft.handle(now + std::time::Duration::from_secs(151), Input::Tick, &mut Vec::new());
    assert_eq!(raft.status(now).conflicts, Vec::<String>::new(), "it was not met again");
    assert_eq!(raft.genesis(), own, "nothing merges");
}

fn address_text(address: std::net::SocketAddr) -> String {
    address.to_string()
}

//! Everything at once: cuts, losses, crashes at any batch, slow disks, changes of the leader, load from
//! everywhere. The world checks its invariants after every turn; here it must also find its way back.

use super::super::*;
use super::world::{Told, World, millis, name};
use crate::random::Rng;

fn run(seed: u64) -> (Instant, usize) {
    let mut rng = Rng::from_number(seed).child("chaos");
    let mut world = World::new(seed, 6);
    world.settings.snapshot_bytes = 200 + rng.below(2000);
    world.settings.trailing_entries = rng.below(10);
    world.begin(if rng.chance(1, 2) { 3 } else { 5 });
    let voters: Vec<usize> =
        (0..6).filter(|index| world.node(*index).genesis().is_some()).collect();
    let mut ticket = 0;
    for _ in 0..120 {
        match rng.below(12) {
            0 => drop(world.cut.insert((rng.index(6), rng.index(6)))),
            1 => world.isolate(rng.index(6)),
            2 | 3 => world.cut.clear(),
            4 => world.loss_percent = rng.below(30),
            5 => world.disk_max = millis(2 + rng.below(600)),
            6 => {
                let index = rng.index(6);
                if world.nodes[index].is_some() {
                    let kept = rng.index(world.pending(index) + 1);
                    world.crash(index, kept);
                }
            }
            7 | 8 => {
                for index in 0..6 {
                    if world.nodes[index].is_none() {
                        world.start(index);
                    }
                }
                world.introduce();
            }
            9 => {
                if let Some(leader) = world.leader() {
                    ticket += 1;
                    let to = Some(name(rng.index(6)));
                    let operation = Operation::Transfer { to };
                    world.hand(leader, Input::Operate { ticket: Ticket(ticket), operation });
                }
            }
            _ => {
                ticket += 1;
                world.read(rng.index(6), ticket, millis(3000));
            }
        }
        for _ in 0..rng.below(6) {
            ticket += 1;
            world.propose(rng.index(6), ticket, &format!("t{ticket}"), millis(5000));
        }
        world.run(millis(rng.below(700)));
    }
    world.cut.clear();
    world.loss_percent = 0;
    world.disk_max = millis(10);
    for index in 0..6 {
        if world.nodes[index].is_none() {
            world.start(index);
        }
    }
    world.introduce();
    world.run(millis(20_000));
    ticket += 1;
    world.propose(5, ticket, "the end", millis(10_000));
    world.run(millis(10_000));
    let told = world.answer(5, ticket);
    assert!(matches!(told, Some(Told::Proposed(Ok(_)))), "seed {seed}: {told:?}");
    world.assert_agreed(&voters);
    assert_eq!(world.misbehaved, [], "seed {seed}");
    (world.now, world.services[voters[0]].len())
}

#[test]
fn whatever_happens_the_log_is_one_and_finds_its_way_back() {
    let mut applied = 0;
    for seed in 1..13 {
        applied += run(seed).1;
    }
    assert!(applied > 600, "{applied} requests were applied in all");
}

#[test]
fn a_seed_is_one_story() {
    assert_eq!(run(7), run(7));
}

//! Exactly once, and what callers are told.

use super::super::*;
use super::world::{Told, World, millis};
use crate::ids::Incarnation;
use crate::wire::raft::MessageKind;

const WAIT: std::time::Duration = std::time::Duration::from_secs(5);

fn key(key: u8, body: u8) -> Option<Idempotency> {
    Some(Idempotency { key: [key; 16], body: [body; 8] })
}

#[test]
fn a_request_is_applied_once_however_many_messages_are_lost() {
    for seed in 1..15 {
        let mut world = World::formed(seed, 5, 3);
        world.loss_percent = 20;
        for ticket in 0..80 {
            let from = usize::try_from(ticket % 5).expect("small");
            world.propose(from, ticket, &format!("t{ticket}"), millis(30_000));
            world.run(millis(50));
        }
        world.run(millis(30_000));
        world.loss_percent = 0;
        world.run(millis(5000));
        let committed = |told: &Told| matches!(told, Told::Proposed(Ok(_)));
        let answered = (0..80)
            .filter_map(|ticket| world.answer(usize::try_from(ticket % 5).expect("small"), ticket));
        assert_eq!(answered.filter(|told| committed(told)).count(), 80, "seed {seed}");
        world.assert_agreed(&[0, 1, 2]);
        assert_eq!(world.services[0].len(), 80, "RF-7");
    }
}

#[test]
fn a_retry_through_another_node_with_the_same_key_is_the_first() {
    let mut world = World::formed(1, 3, 3);
    world.propose_with(0, 1, "paid", WAIT, key(1, 1));
    world.run(millis(500));
    world.propose_with(1, 2, "paid", WAIT, key(1, 1));
    world.propose_with(2, 3, "paid more", WAIT, key(1, 2));
    world.run(millis(500));
    assert_eq!(world.answer(0, 1), world.answer(1, 2), "the first outcome");
    let mismatch = Told::Proposed(Err(Refusal::IdempotencyMismatch));
    assert_eq!(world.answer(2, 3), Some(&mismatch));
    assert_eq!(world.services[0].len(), 1, "RF-7");
}

#[test]
fn too_large_and_too_many_are_refused_before_they_enter_the_log() {
    let mut world = World::formed(1, 1, 1);
    world.propose(0, 1, &"x".repeat(crate::limits::RAFT_PAYLOAD_BYTES_MAX + 1), WAIT);
    let told = world.answer(0, 1);
    assert!(matches!(told, Some(Told::Proposed(Err(Refusal::TooLarge { .. })))), "{told:?}");
    world.disk_max = millis(4000);
    for ticket in 2..40 {
        let filler = format!("{ticket}{}", "x".repeat(crate::limits::RAFT_PAYLOAD_BYTES_MAX - 9));
        world.propose(0, ticket, &filler, millis(60_000));
    }
    let full = Told::Proposed(Err(Refusal::QueueFull));
    let refused = (2..40).filter(|ticket| world.answer(0, *ticket) == Some(&full)).count();
    assert!((8..16).contains(&refused), "{refused} of 38 were beyond 16 MiB");
    world.run(millis(60_000));
    assert_eq!(world.services[0].len(), 38 - refused, "the others were not");
}

#[test]
fn nodes_without_a_copy_ask_those_who_have_one() {
    let mut world = World::formed(1, 5, 3);
    world.propose(0, 1, "a", WAIT);
    world.run(millis(500));
    world.read(4, 2, WAIT);
    assert_eq!(world.answer(4, 2), Some(&Told::Read(Err(Refusal::NotHere))));
    for (from, ticket) in [(0, 3), (4, 4)] {
        let (subject, deadline) = (Subject::KV, world.now + WAIT);
        let question = Blob::from("how many?");
        world.hand(from, Input::Query { subject, ticket: Ticket(ticket), question, deadline });
    }
    world.run(millis(1000));
    for (from, ticket) in [(0, 3), (4, 4)] {
        let told = world.answer(from, ticket);
        let Some(Told::Queried(Ok(answer))) = told else { panic!("{told:?}") };
        assert_eq!(answer.outcome, Blob::from("1 texts"));
    }
}

#[test]
fn a_node_that_does_not_lead_never_forwards_on() {
    let mut world = World::formed(1, 3, 3);
    for ticket in 0..20 {
        world.propose(
            usize::try_from(ticket % 3).expect("small"),
            ticket,
            &format!("{ticket}"),
            WAIT,
        );
    }
    world.run(millis(1000));
    assert!(!world.sent.is_empty());
    // The engine's own way to forward has no form on the wire at all: what is sent is what we know.
    assert!(world.sent.keys().all(|kind| *kind <= MessageKind::ReadIndexReply));
    assert_eq!(world.services[0].len(), 20);
}

#[test]
fn time_goes_on_over_elections_and_never_faster_than_real_time() {
    let mut world = World::formed(2, 3, 3);
    for index in 0..3 {
        world.hand(index, Input::Waiting { subject: Subject::KV, waits: true });
    }
    world.run(millis(20_000));
    let leader = world.leader().expect("somebody leads");
    let before = world.node(leader).log_time();
    assert!(before.0 >= 15_000, "{before:?} after twenty seconds");
    world.crash(leader, 0);
    world.run(millis(20_000));
    let after = world.node(world.leader().expect("somebody leads")).log_time();
    let real = 20_000 + 1000;
    assert!(
        after.0 >= before.0 + 15_000 && after.0 <= before.0 + real,
        "RF-8: {before:?} {after:?}"
    );
}

#[test]
fn a_log_nobody_waits_for_writes_nothing() {
    let mut world = World::formed(2, 3, 3);
    world.run(millis(3000));
    let commit = world.node(0).commit();
    world.run(millis(60_000));
    assert_eq!(world.node(0).commit(), commit);
}

#[test]
fn a_forgotten_requester_leaves_the_table_and_is_heard_no_more() {
    let mut world = World::formed(1, 4, 3);
    world.propose(3, 1, "a", WAIT);
    world.run(millis(1000));
    let (node, fence) = (super::world::name(3), Incarnation(1));
    for index in 0..3 {
        let notice = Notice::Forgotten { node: node.clone(), fence };
        world.hand(index, Input::Notice(notice));
    }
    world.run(millis(5000));
    world.propose(3, 2, "late", WAIT);
    world.run(millis(1000));
    assert_eq!(world.answer(3, 2), Some(&Told::Proposed(Err(Refusal::Retired))));
    assert_eq!(world.services[0].len(), 1);
}

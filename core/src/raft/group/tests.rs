//! The rules of the wrapper, one by one. Each test fails without its rule.

#![expect(clippy::wildcard_enum_match_arm, reason = "a test looks at one deed of many")]

use std::collections::BTreeMap;

use super::*;
use crate::raft::state::{Image, State};
use crate::wire::Blob;
use crate::wire::raft::ChangeStep;

const GENESIS: Genesis = Genesis(7);
const TIMING: Timing = Timing { heartbeat: 3, election: (20, 40) };

fn head(voters: &[u64]) -> ImageHead {
    let node = "n1".parse::<crate::ids::NodeId>().expect("a node id");
    let places: BTreeMap<_, _> = voters.iter().map(|one| (MemberId(*one), node.clone())).collect();
    let state = State::formed(GENESIS, places, 5);
    Image { number: 0, state, sections: BTreeMap::new() }.head()
}

fn group_of(member: u64, image: ImageHead, seed: u64) -> Group {
    let boot = Boot {
        genesis: GENESIS,
        member: MemberId(member),
        hard: Hard { term: image.point.term, vote: 0, commit: image.point.index },
        before: image.point,
        image,
        entries: Vec::new(),
        timing: TIMING,
    };
    Group::new(boot, Rng::from_number(seed))
}

fn group(member: u64, voters: &[u64]) -> Group {
    group_of(member, head(voters), 1)
}

/// Everything that the group wants now.
fn drain(group: &mut Group) -> Vec<Deed> {
    let mut deeds = Vec::new();
    group.drain(&mut deeds);
    deeds
}

/// The same, with a disk that is done at once; committed changes are applied.
fn settle(group: &mut Group) -> Vec<Deed> {
    let mut all = Vec::new();
    loop {
        let mut deeds = drain(group);
        if deeds.is_empty() {
            return all;
        }
        let numbers: Vec<u64> = deeds
            .iter()
            .filter_map(|deed| match deed {
                Deed::Store(batch) => Some(batch.number),
                _ => None,
            })
            .collect();
        for number in numbers {
            group.stored(number, &mut deeds);
        }
        for deed in &deeds {
            if let Deed::Commit(entries) = deed {
                for entry in entries {
                    if entry.configuration {
                        let change = crate::wire::decode::<Change, 65_536>(&entry.payload);
                        group.apply_change(&change.unwrap_or_default());
                    }
                    group.applied(entry.index);
                }
            }
        }
        all.extend(deeds);
    }
}

fn sent(deeds: &[Deed]) -> Vec<&Message> {
    deeds
        .iter()
        .filter_map(|deed| match deed {
            Deed::Send(message) => Some(message),
            _ => None,
        })
        .collect()
}

fn message(kind: MessageKind, from: u64, to: u64, term: u64) -> Message {
    Message {
        genesis: GENESIS,
        kind,
        from: MemberId(from),
        to: MemberId(to),
        term,
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
    }
}

/// Ticks until it asks for votes; how many that took.
fn ticks_to_election(group: &mut Group) -> u64 {
    for count in 1..100 {
        group.tick();
        if sent(&settle(group)).iter().any(|message| message.kind == MessageKind::PreVote) {
            return count;
        }
    }
    panic!("no election in 100 ticks");
}

/// Member 1 of `voters`, elected by everybody.
fn leader(voters: &[u64]) -> Group {
    let mut group = group(1, voters);
    if voters.len() > 1 {
        ticks_to_election(&mut group);
        for (kind, term) in [(MessageKind::PreVoteReply, 2), (MessageKind::VoteReply, 2)] {
            for voter in voters.iter().filter(|voter| **voter != 1) {
                group.step(&message(kind, *voter, 1, term), None).expect("a sound vote");
            }
            settle(&mut group);
        }
    } else {
        while !group.leads() {
            group.tick();
            settle(&mut group);
        }
    }
    assert!(group.leads());
    group
}

fn acknowledge(group: &mut Group, from: u64) {
    let mut reply = message(MessageKind::AppendReply, from, 1, group.term());
    reply.index = group.last();
    group.step(&reply, None).expect("a sound reply");
    settle(group);
}

#[test]
fn rule_1_election_timeouts_follow_the_seed_and_are_drawn_anew_each_time() {
    let story = |seed: u64| {
        let mut group = group_of(1, head(&[1, 2, 3]), seed);
        (0..12).map(|_| ticks_to_election(&mut group)).collect::<Vec<u64>>()
    };
    let stories: Vec<_> = (1..5).map(story).collect();
    assert_eq!((1..5).map(story).collect::<Vec<_>>(), stories);
    for story in &stories {
        assert!(story.iter().all(|ticks| (20..40).contains(ticks)), "{story:?}");
        let first = story.first().expect("twelve elections");
        assert!(story.iter().any(|ticks| ticks != first), "drawn once and never again: {story:?}");
    }
    assert!(stories.windows(2).all(|pair| pair[0] != pair[1]));
}

#[test]
fn rule_2_a_leader_that_its_change_removed_follows() {
    let mut group = leader(&[1, 2]);
    acknowledge(&mut group, 2);
    let steps = vec![ChangeStep::Remove(MemberId(1))].into();
    let change = Change { steps, joint: false, nodes: Vec::new().into() };
    group.propose_change(&change).expect("it leads");
    settle(&mut group);
    acknowledge(&mut group, 2);
    assert_eq!(group.role(), Role::Follower);
    // The engine would look for its own progress here, and fail.
    let _ = group.propose(vec![1]);
    acknowledge(&mut group, 2);
}

/// A follower that was offered a snapshot through index 9, and the batch that makes it durable.
fn installing() -> (Group, u64) {
    let mut group = group(2, &[1, 2, 3]);
    let image = ImageHead { point: Point { index: 9, term: 3 }, number: 4, ..head(&[1, 2, 3]) };
    let mut offer = message(MessageKind::Snapshot, 1, 2, 3);
    offer.snapshot = Some(image.id());
    group.step(&offer, Some(&image)).expect("a sound snapshot");
    let deeds = drain(&mut group);
    let batch = deeds.iter().find_map(|deed| match deed {
        Deed::Store(batch) if batch.snapshot.is_some() => Some(batch.number),
        _ => None,
    });
    assert!(sent(&deeds).is_empty(), "rule 9: nothing is said before it is durable");
    (group, batch.expect("a batch with a snapshot"))
}

#[test]
fn rule_3_a_snapshot_counts_as_applied_when_it_is_durable() {
    let (mut group, batch) = installing();
    assert_eq!(group.applied, 1, "not before");
    let mut deeds = Vec::new();
    group.stored(batch, &mut deeds);
    assert_eq!(group.applied, 9);
    let id = SnapshotId { index: 9, term: 3, number: 4 };
    assert!(deeds.contains(&Deed::Installed(id)));
    // An election looks at what is committed and not applied: nothing is, and so nothing is missed.
    ticks_to_election(&mut group);
}

#[test]
fn rule_4_no_election_while_a_snapshot_is_not_durable() {
    let (mut group, batch) = installing();
    for _ in 0..200 {
        group.tick();
    }
    group.step(&message(MessageKind::TimeoutNow, 1, 2, 3), None).expect("dropped");
    group.campaign();
    assert_eq!(group.role(), Role::Follower);
    assert!(drain(&mut group).is_empty());
    group.stored(batch, &mut Vec::new());
    ticks_to_election(&mut group);
}

#[test]
fn rule_5_a_snapshot_that_does_not_name_its_receiver_is_not_sent() {
    let mut group = leader(&[1]);
    let steps = vec![ChangeStep::Learner(MemberId(2))].into();
    let change = Change { steps, joint: false, nodes: Vec::new().into() };
    group.propose_change(&change).expect("it leads");
    let deeds = settle(&mut group);
    let probe = sent(&deeds).into_iter().find(|message| message.kind == MessageKind::Append);
    let mut reply = message(MessageKind::AppendReply, 2, 1, group.term());
    reply.index = probe.expect("the new one is asked what it holds").index;
    reply.reject = true;
    group.step(&reply, None).expect("it has nothing");
    let deeds = settle(&mut group);
    assert!(deeds.contains(&Deed::WantImage), "{deeds:?}");
    assert!(sent(&deeds).iter().all(|message| message.kind != MessageKind::Snapshot));
    let point = Point { index: group.applied, term: group.term() };
    let mut fresh = head(&[1]);
    fresh.point = point;
    fresh.configuration.learners.insert(MemberId(2));
    group.set_image(fresh);
    group.step(&message(MessageKind::HeartbeatReply, 2, 1, group.term()), None).expect("sound");
    let deeds = settle(&mut group);
    assert!(sent(&deeds).iter().any(|message| message.kind == MessageKind::Snapshot), "{deeds:?}");
    // Rule 6: until its fate is told, its receiver gets nothing else.
    group.propose(vec![1]).expect("it leads");
    assert!(sent(&settle(&mut group)).is_empty());
    group.report_snapshot(MemberId(2), false);
    group.step(&message(MessageKind::HeartbeatReply, 2, 1, group.term()), None).expect("sound");
    assert!(!sent(&settle(&mut group)).is_empty(), "rule 6: it is tried again");
}

#[test]
fn rule_7_a_message_that_would_end_the_engine_is_refused() {
    let mut group = group(2, &[1, 2, 3]);
    let mut absurd = message(MessageKind::Heartbeat, 1, 2, 3);
    absurd.commit = 1 << 40;
    let mut gap = message(MessageKind::Append, 1, 2, 3);
    (gap.index, gap.log_term) = (1, 1);
    let entry = |index, term| Entry { index, term, configuration: false, payload: Blob::default() };
    gap.entries = vec![entry(2, 3), entry(4, 3)].into();
    let mut falling = gap.clone();
    falling.entries = vec![entry(2, 3), entry(3, 2)].into();
    let mut stray = message(MessageKind::HeartbeatReply, 1, 2, 3);
    stray.entries = vec![entry(2, 3)].into();
    let bad = [
        absurd,
        gap,
        falling,
        stray,
        message(MessageKind::Heartbeat, 1, 2, u64::MAX),
        message(MessageKind::Heartbeat, 1, 2, 0),
        message(MessageKind::Heartbeat, 2, 2, 3),
        message(MessageKind::Heartbeat, 0, 2, 3),
        message(MessageKind::Snapshot, 1, 2, 3),
    ];
    for message in bad {
        assert!(group.step(&message, None).is_err(), "{message:?}");
        assert_eq!(group.term(), 1, "nothing was stepped");
        assert!(drain(&mut group).is_empty());
    }
    let mut ahead = leader(&[1, 2, 3]);
    let mut lie = message(MessageKind::AppendReply, 2, 1, ahead.term());
    lie.index = 1 << 40;
    assert!(ahead.step(&lie, None).is_err());
}

#[test]
fn rule_8_a_follower_takes_no_proposal() {
    let mut group = group(2, &[1, 2, 3]);
    group.step(&message(MessageKind::Heartbeat, 1, 2, 3), None).expect("a leader lives");
    settle(&mut group);
    assert_eq!(group.propose(vec![1]), Err(Dropped::NotLeader));
    assert!(settle(&mut group).is_empty(), "nothing is forwarded");
}

#[test]
fn rule_9_a_vote_and_an_acknowledgement_wait_until_they_are_durable() {
    let mut group = group(2, &[1, 2, 3]);
    let mut vote = message(MessageKind::Vote, 1, 2, 2);
    (vote.index, vote.log_term) = (1, 1);
    group.step(&vote, None).expect("a sound request");
    let deeds = drain(&mut group);
    assert!(sent(&deeds).is_empty(), "{deeds:?}");
    let [Deed::Store(batch)] = deeds.as_slice() else { panic!("{deeds:?}") };
    assert_eq!(batch.hard, Hard { term: 2, vote: 1, commit: 1 });
    let mut append = message(MessageKind::Append, 1, 2, 2);
    (append.index, append.log_term) = (1, 1);
    append.entries =
        vec![Entry { index: 2, term: 2, configuration: false, payload: Blob::default() }].into();
    group.step(&append, None).expect("sound entries");
    let later = drain(&mut group);
    assert!(sent(&later).is_empty(), "{later:?}");
    let mut released = Vec::new();
    group.stored(batch.number, &mut released);
    let kinds: Vec<_> = sent(&released).iter().map(|message| message.kind).collect();
    assert_eq!(kinds, [MessageKind::VoteReply], "the acknowledgement waits for its own batch");
}

#[test]
fn rule_10_the_only_voter_says_nothing_in_a_term_that_is_not_durable() {
    let mut image = head(&[1]);
    image.configuration.learners.insert(MemberId(2));
    let mut group = group_of(1, image, 1);
    while !group.leads() {
        group.tick();
    }
    group.propose(vec![1]).expect("it leads at once");
    let deeds = drain(&mut group);
    assert!(sent(&deeds).is_empty(), "RF-4: {deeds:?}");
    let numbers: Vec<u64> = deeds
        .iter()
        .filter_map(|deed| match deed {
            Deed::Store(batch) => Some(batch.number),
            _ => None,
        })
        .collect();
    let mut released = Vec::new();
    numbers.iter().for_each(|number| group.stored(*number, &mut released));
    assert!(!sent(&released).is_empty());
}

#[test]
fn at_most_four_batches_are_on_their_way() {
    let mut group = leader(&[1]);
    let mut stores = 0;
    for _ in 0..20 {
        group.propose(vec![1]).expect("it leads");
        let deeds = drain(&mut group);
        stores += deeds.iter().filter(|deed| matches!(deed, Deed::Store(_))).count();
    }
    assert_eq!(stores, limits::RAFT_BATCHES_MAX);
}

#[test]
fn what_needs_no_disk_takes_no_place_among_the_batches() {
    let mut group = leader(&[1, 2, 3]);
    [2, 3].into_iter().for_each(|voter| acknowledge(&mut group, voter));
    let stored = |deeds: Vec<Deed>| {
        let mut batches = deeds.into_iter().filter_map(|deed| match deed {
            Deed::Store(batch) => Some(batch.number),
            _ => None,
        });
        (batches.next(), batches.next())
    };
    group.propose(vec![1]).expect("it leads");
    let (Some(first), None) = stored(drain(&mut group)) else { panic!("one batch") };
    for _ in 0..limits::RAFT_BATCHES_MAX as u64 * TIMING.heartbeat {
        group.tick();
        assert_eq!(stored(drain(&mut group)), (None, None), "heartbeats are not stored");
    }
    group.propose(vec![2]).expect("it leads");
    let (Some(second), None) = stored(drain(&mut group)) else { panic!("the disk has room") };
    let mut deeds = Vec::new();
    [first, second].into_iter().for_each(|number| group.stored(number, &mut deeds));
    acknowledge(&mut group, 2);
    assert_eq!(group.commit(), group.last(), "both are durable on a majority");
}

#[test]
fn a_change_of_configuration_is_not_in_force_before_its_commit_is_stored() {
    let mut group = leader(&[1]);
    let steps = vec![ChangeStep::Learner(MemberId(2))].into();
    let change = Change { steps, joint: false, nodes: Vec::new().into() };
    let index = group.propose_change(&change).expect("it leads");
    let deeds = settle(&mut group);
    let stored = deeds.iter().any(|deed| match deed {
        Deed::Store(batch) => batch.entries.is_empty() && batch.hard.commit >= index,
        _ => false,
    });
    assert!(stored, "{deeds:?}");
}

#[test]
fn what_the_engine_encodes_never_leaves() {
    let mut group = leader(&[1, 2]);
    acknowledge(&mut group, 2);
    let steps = vec![ChangeStep::Learner(MemberId(9))].into();
    let change = Change { steps, joint: false, nodes: Vec::new().into() };
    group.propose_change(&change).expect("it leads");
    let deeds = settle(&mut group);
    let entries = sent(&deeds).into_iter().flat_map(|message| message.entries.iter());
    let ours: Vec<_> = entries.filter(|entry| entry.configuration).collect();
    assert!(!ours.is_empty());
    for entry in ours {
        assert_eq!(crate::wire::decode::<Change, 65_536>(&entry.payload), Ok(change.clone()));
    }
}

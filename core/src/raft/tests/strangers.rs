//! Copies of the log that nobody needs any more: what is remembered of them is bounded.

use std::time::Duration;

use super::super::*;
use super::world::{World, name};
use crate::ids::Incarnation;
use crate::limits::MEMBERS_MAX;
use crate::wire::raft::{Message, MessageKind};

/// What a copy says that changes nothing.
fn word(from: MemberId, to: MemberId) -> Message {
    Message {
        genesis: Genesis(7),
        kind: MessageKind::PreVoteReply,
        from,
        to,
        term: 1,
        log_term: 0,
        index: 0,
        entries: Vec::new().into(),
        commit: 0,
        commit_term: 0,
        reject: true,
        reject_hint: 0,
        priority: 0,
        context: Blob::default(),
        snapshot: None,
    }
}

#[test]
fn who_was_heard_is_bounded_and_whoever_was_heard_last_is_kept() {
    let mut world = World::formed(1, 4, 3);
    let (follower, guest) = ((world.leader().expect("somebody leads") + 1) % 3, 3);
    let to = world.member(follower);
    // A node loses its disk again and again: each time its copy is another.
    for number in 1..=MEMBERS_MAX as u64 + 100 {
        world.now = world.now + Duration::from_micros(1);
        let member = MemberId(number);
        let peer = Peer {
            member: Some(member),
            genesis: None,
            eligible: true,
            priority: 100,
            zone: String::new(),
            leaving: false,
            expect: 0,
        };
        world.hand(follower, Input::Known { node: name(guest), peer: Some(peer) });
        let from = Replica { node: name(guest), incarnation: Incarnation(number) };
        let message = Wire::Message(word(member, to));
        world.hand(follower, Input::Peer { from, message });
    }
    let raft = world.node(follower);
    assert_eq!((raft.heard.len(), raft.routes.len()), (MEMBERS_MAX, MEMBERS_MAX));
    let last = MemberId(MEMBERS_MAX as u64 + 100);
    assert!(raft.heard.contains_key(&last) && raft.routes.contains_key(&last));
    assert!(!raft.heard.contains_key(&MemberId(1)), "it was silent longest");
}

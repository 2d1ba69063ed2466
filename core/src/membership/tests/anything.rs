//! Whatever is said in whatever order, nothing panics and every invariant holds after each input.

use proptest::prelude::{prop_assert, proptest};
use proptest::sample::select;

use super::grammar::MembershipScript;
use crate::script::Script as _;
use crate::time::Instant;

const SAID: [&str; 31] = [
    "packet b/3 ping",
    "packet b/4 ping",
    "packet b/3 gossip c/1=alive d/1=alive",
    "packet c/1 gossip b/3=down d/1=suspect.0",
    "packet c/1 gossip b/3=suspect.0 c/2=alive b/4=down",
    "packet c/2 ping a/5=suspect.3 a/4=down",
    "packet d/1 gossip a/5=down",
    "packet d/1 gossip a/6=suspect.1 e/1=alive",
    "packet b/3 gossip a/5=suspect.65535",
    "frame b/3 ping refutation=3",
    "linked b/3",
    "linked c/2",
    "unlinked b",
    "heard b/3 datagram",
    "heard a/5 link",
    "departed b/3 5",
    "stale 6",
    "persisted 6",
    "persisted 7",
    "bye b/3",
    "bye b/4 restarting",
    "fact c/1 restarting true",
    "fact d/1 evict/b 3",
    "list b/3 wants a/5=alive b/3=alive c/3=alive z/1=down",
    "list b/3 c/1=down d/1=down e/1=down f/1=alive g/1=alive h/1=alive",
    "list b/3 asks a/4=down c/1=down d/1=down z/1=down",
    "list c/1 corrects b/4=alive e/2=alive",
    "evict 1 b",
    "evict 2 c",
    "leave",
    "run",
];

proptest! {
    #[test]
    fn anything_may_be_said_in_any_order(
        said in proptest::collection::vec((select(&SAID[..]), 0_u64..20_000), 1..60),
        members_max in 2_usize..6,
    ) {
        let mut script = MembershipScript::small(members_max);
        let mut at = 0;
        for (words, wait) in said {
            at += wait;
            let words: Vec<&str> = words.split(' ').collect();
            script.when(Instant::from_millis(at), &words);
            prop_assert!(script.life() >= 5, "M-2");
        }
    }
}

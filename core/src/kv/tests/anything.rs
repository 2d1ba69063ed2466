//! Bytes that nobody of ours wrote.

use proptest::prelude::*;

use crate::kv::ask::{heard, question};
use crate::kv::state::Restoring;
use crate::kv::*;
use crate::wire::{Blob, decode, encode};

fn some_state() -> State {
    let mut state = State::default();
    let namespace: Namespace = "app".parse().expect("a namespace");
    let put = |key: &str, value: &str, lease| {
        let put = Operation::Put {
            key: Key::new(key.as_bytes()).expect("a key"),
            value: Blob::from(value),
            lease,
            previous: false,
        };
        Command::Transact(Transaction {
            namespace: namespace.clone(),
            compare: Vec::new().into(),
            then: vec![put].into(),
            otherwise: Vec::new().into(),
        })
    };
    let lock = Lock { namespace: namespace.clone(), name: LockName::new(b"db").expect("a name") };
    let commands = [
        Command::Grant { ttl_ms: 5000 },
        put("a", "1", Binding::Lease(LeaseId(1))),
        put("b", "2", Binding::None),
        put("a", "3", Binding::Keep),
        Command::Acquire(Acquire { lock, lease: Holder::Grant(9000), permits: 2 }),
        Command::Compact { revision: 2 },
        put("b", "4", Binding::Lease(LeaseId(5))),
        Command::Revoke { lease: LeaseId(1) },
    ];
    for (index, command) in (1..).zip(&commands) {
        state.apply(index, index * 100, &encode(command));
    }
    state
}

proptest! {
    #[test]
    fn an_entry_of_any_bytes_is_a_command_or_refused(bytes in any::<Vec<u8>>()) {
        let (mut left, mut right) = (some_state(), some_state());
        let outcome = left.apply(100, 10_000, &bytes);
        prop_assert_eq!(&right.apply(100, 10_000, &bytes), &outcome);
        prop_assert_eq!(left.digest(), right.digest());
        let back = decode::<Outcome, { 1 << 20 }>(&encode(&outcome));
        prop_assert_eq!(back, Ok(outcome));
    }

    #[test]
    fn a_question_of_any_bytes_is_one_or_none(bytes in any::<Vec<u8>>()) {
        if let Some(asked) = question(&bytes) {
            let told = View { state: some_state(), copy: true, ..View::default() }.tell(&asked);
            let bytes = encode(&told.expect("there is a copy"));
            prop_assert!(heard(&bytes).is_some());
        }
        heard(&bytes);
    }

    #[test]
    fn a_section_of_any_bytes_is_a_state_or_an_error(
        bytes in any::<Vec<u8>>(),
        at in any::<prop::sample::Index>(),
        mutation in any::<u8>(),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut restoring = Restoring::default();
        let _ = restoring.push(&bytes).and_then(|()| restoring.finish());
        let state = some_state();
        let mut section = state.section().bytes();
        let place = at.index(section.len());
        section[place] ^= mutation;
        let mut restoring = Restoring::default();
        if let Ok(mut restored) = restoring.push(&section).and_then(|()| restoring.finish()) {
            // Whatever it is, it goes on like a state.
            restored.apply(u64::MAX, u64::MAX, &encode(&Command::Expire));
            restored.apply_again_is_refused();
        }
        let section = state.section().bytes();
        let short = cut.index(section.len());
        let mut restoring = Restoring::default();
        prop_assert!(restoring.push(&section[..short]).is_ok());
        prop_assert!(restoring.finish().is_err(), "a part is not the whole");
    }
}

impl State {
    /// Runs over everything that a restored state holds.
    fn apply_again_is_refused(&mut self) {
        let revision = self.revision();
        assert!(self.since(0).all(|(_, changed)| !changed.changes.is_empty()));
        assert!(
            self.section().bytes().len() > 4,
            "it can be written again, at revision {revision}"
        );
    }
}

#[test]
fn a_reader_of_a_view_is_told_what_the_node_would_tell_and_sent_to_it_for_the_rest() {
    let state = some_state();
    let revision = state.revision();
    let get = |key: &[u8], revision| Question::Get {
        namespace: "app".parse().expect("a namespace"),
        key: Key::new(key).expect("a key"),
        revision,
    };
    let view = View { state, copy: true, ..View::default() };
    for question in [get(b"b", None), get(b"none", None), get(b"b", Some(1)), get(b"b", Some(3))] {
        let told = view.tell_local(&question, revision);
        assert_eq!(told, view.tell(&question), "{question:?}");
        assert!(told.is_some(), "{question:?}");
    }
    assert_eq!(view.tell_local(&get(b"b", None), revision + 1), None, "that is still to come");
    assert_eq!(view.tell_local(&get(b"b", Some(revision + 1)), 0), None, "that, too");
    assert_eq!(view.tell_local(&Question::Lease(LeaseId(5)), 0), None, "its time goes on");
    let elsewhere = View { copy: false, ..view };
    assert_eq!(elsewhere.tell_local(&get(b"b", None), 0), None, "there is no copy here");
}

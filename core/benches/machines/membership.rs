//! The exchange of a list of a thousand members.

use divan::Bencher;
use quorate_core::ids::Incarnation;
use quorate_core::machine::Machine;
use quorate_core::membership::{Input, Membership, Output};
use quorate_core::node::Settings;
use quorate_core::node::settings::Profile;
use quorate_core::random::Rng;
use quorate_core::wire::encode;
use quorate_core::wire::message::{Members, Purpose};

use crate::fixtures::{self, NOW};
use crate::node::listed;

const MEMBERS: usize = 1000;

fn membership() -> Membership {
    let cluster = quorate_core::ids::ClusterId("bench".into());
    let settings = Settings::new(fixtures::node(0), cluster, fixtures::address(0), Profile::Lan);
    let fences = Default::default();
    let (life, rng) = (Incarnation(1), Rng::from_number(1));
    let mut membership = Membership::new(settings.membership, life, fences, NOW, rng);
    membership.handle(NOW, Input::Start, &mut Vec::new());
    membership
}

fn list(purpose: Purpose) -> Input {
    let members = (1..MEMBERS).map(listed).collect::<Vec<_>>().into();
    Input::List { from: fixtures::replica(1), list: Members { purpose, members } }
}

/// A node that knows nobody takes a list in.
#[divan::bench(sample_count = 50, sample_size = 1)]
fn take_in_a_list_of_1000(bencher: Bencher<'_, '_>) {
    bencher.with_inputs(|| (membership(), Some(list(Purpose::News)), Vec::new())).bench_local_refs(
        |(membership, list, out)| {
            membership.handle(NOW, list.take().expect("once"), out);
            assert_eq!(membership.member_count(), MEMBERS);
        },
    );
}

/// Two nodes in step exchange lists: one is taken in, the answer is made and encoded.
#[divan::bench(sample_count = 100, sample_size = 1)]
fn exchange_equal_lists_of_1000(bencher: Bencher<'_, '_>) {
    let mut known = membership();
    known.handle(NOW, list(Purpose::News), &mut Vec::new());
    bencher.with_inputs(|| (list(Purpose::Exchange), Vec::new())).bench_local_values(
        |(list, mut out)| {
            known.handle(NOW, list, &mut out);
            let answer = out.iter().find_map(|output| {
                let Output::SendList { list, .. } = output else { return None };
                Some(encode(list).len())
            });
            let bytes = answer.expect("the list is answered");
            assert!((1..=100 * 1024).contains(&bytes), "an answer of {bytes} bytes");
            bytes
        },
    );
}

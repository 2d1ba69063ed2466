//! The laws of the fold, and the table of what follows a rest.

use proptest::prelude::*;

use super::*;
use crate::ids::Incarnation;
use crate::pools::Cause;

fn node(number: u8) -> NodeId {
    format!("n{number}").parse().expect("a node id")
}

fn said() -> impl Strategy<Value = (NodeId, RestSaid)> {
    let class =
        prop::sample::select(vec![Class::RateLimited, Class::QuotaExhausted, Class::Billing]);
    let numbers = (0_u64..50, proptest::option::of(0_u64..80), 0_u32..4, 0_u64..20);
    (0_u8..4, class, numbers, 0_u8..3, 0_u64..6).prop_map(
        |(author, class, numbers, origin, sequence)| {
            let (rest_until, stated_reset, n, since) = numbers;
            let origin = Origin { node: node(origin), incarnation: Incarnation(1), sequence };
            let (source, evidence) = (Arc::from(format!("s{rest_until}")), Arc::from(""));
            (
                node(author),
                RestSaid { class, source, rest_until, stated_reset, n, since, evidence, origin },
            )
        },
    )
}

fn folded(rests: &[(NodeId, RestSaid)], clears: &[ClearSaid]) -> Option<Folded> {
    let clears: Vec<&ClearSaid> = clears.iter().collect();
    fold(rests.iter().map(|(author, rest)| (author, rest)), &clears)
}

proptest! {
    #[test]
    fn the_fold_does_not_see_the_order(
        (rests, shuffled) in prop::collection::vec(said(), 0..8)
            .prop_flat_map(|rests| (Just(rests.clone()), Just(rests).prop_shuffle())),
        again in 0_usize..3,
    ) {
        let mut repeated = shuffled.clone();
        repeated.extend(shuffled.into_iter().take(again));
        prop_assert_eq!(folded(&rests, &[]), folded(&repeated, &[]));
    }

    #[test]
    fn one_word_for_two_rests_loses_no_time((_, ours) in said(), (_, theirs) in said()) {
        let one = folded(&[(node(1), both(&ours, &theirs))], &[]).expect("a rest");
        let two = folded(&[(node(1), ours), (node(2), theirs)], &[]).expect("a rest");
        prop_assert_eq!(
            (one.rest_until, one.stated_reset, one.n),
            (two.rest_until, two.stated_reset, two.n)
        );
    }

    #[test]
    fn a_covered_rest_never_returns_and_no_other_goes(
        rests in prop::collection::vec(said(), 1..8),
        seen in 0_usize..8,
        late in said(),
    ) {
        let before = folded(rests.get(..seen.min(rests.len())).expect("a prefix"), &[]);
        let mut covers = Vec::new();
        cover(&mut covers, before.as_ref().map_or(&[], |folded| folded.origins.as_slice()));
        let clear = [ClearSaid { covers, cause: Cause::Success }];
        let mut all = rests;
        all.push(late);
        let after = folded(&all, &clear);
        let left: Vec<_> = all.into_iter().filter(|(_, rest)| !clear[0].voids(rest)).collect();
        prop_assert_eq!(after, folded(&left, &[]));
        if let Some(before) = before {
            prop_assert!(left.iter().all(|(_, rest)| !before.origins.contains(&rest.origin)));
        }
    }
}

#[test]
fn what_follows_a_rest_depends_on_its_class_and_on_what_was_stated() {
    let condition = |class, stated_reset, n, now| {
        let (origin, source, evidence) = (
            Origin { node: node(0), incarnation: Incarnation(1), sequence: 1 },
            "".into(),
            "".into(),
        );
        let rest = RestSaid {
            class,
            source,
            rest_until: 100,
            stated_reset,
            n,
            since: 0,
            evidence,
            origin,
        };
        fold([(&node(0), &rest)].into_iter(), &[]).expect("one").condition(now, 50)
    };
    let half_open = |until| Condition::HalfOpen { until };
    assert_eq!(condition(Class::RateLimited, None, 1, 99), Condition::Rests);
    assert_eq!(condition(Class::RateLimited, None, 1, 100), Condition::Over);
    assert_eq!(condition(Class::RateLimited, None, 2, 100), half_open(Some(150)));
    assert_eq!(condition(Class::RateLimited, None, 2, 150), Condition::Over);
    assert_eq!(condition(Class::QuotaExhausted, None, 1, 149), half_open(Some(150)));
    assert_eq!(condition(Class::QuotaExhausted, Some(100), 1, 100), Condition::Over);
    assert_eq!(condition(Class::QuotaExhausted, Some(900), 1, 100), half_open(Some(900)));
    assert_eq!(condition(Class::QuotaExhausted, Some(900), 1, 900), Condition::Over);
    assert_eq!(condition(Class::Overloaded, None, 9, 100), Condition::Over);
    for class in
        [Class::Billing, Class::AuthFailed, Class::PermissionDenied, Class::ModelUnavailable]
    {
        assert_eq!(condition(class, None, 1, u64::MAX), half_open(None));
    }
}

#[test]
fn what_no_clock_can_say_is_cut() {
    let origin = Origin { node: node(0), incarnation: Incarnation(1), sequence: 1 };
    let mut rest = RestSaid {
        class: Class::RateLimited,
        source: "".into(),
        rest_until: u64::MAX,
        stated_reset: Some(u64::MAX),
        n: u32::MAX,
        since: 0,
        evidence: "".into(),
        origin,
    };
    assert!(cut(1000, &mut rest));
    assert_eq!((rest.rest_until, rest.n), (1000 + REST_AHEAD_MS_MAX, limits::POOL_LEVEL_MAX));
    assert_eq!(rest.stated_reset, Some(1000 + STATED_AHEAD_MS_MAX));
    assert!(!cut(1000, &mut rest), "it is honest now");
}

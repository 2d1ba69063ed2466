//! Picks against naive models, through whole snapshots.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::super::lane::{Member, Standing, point};
use super::*;

/// A snapshot with one lane of these members.
fn lane(members: &[Member]) -> Lane {
    Lane::lay_out(Arc::from("m"), Kind::Regular, members, None)
}

fn snapshot(members: &[Member]) -> Snapshot {
    let mut snapshot = Snapshot::default();
    snapshot.lanes[0].insert(Arc::from("m"), Arc::new(lane(members)));
    for member in members {
        snapshot.ids.insert(member.candidate.id.clone(), Arc::clone(&member.candidate.url));
    }
    snapshot
}

fn member(number: u64, weight: u32, priority: u32, standing: Standing) -> Member {
    let url: Arc<str> = Arc::from(format!("http://10.0.0.{number:05}"));
    let labels = BTreeMap::from([("parity".to_owned(), (number % 2).to_string())]);
    let id = Id::from(format!("id{number}").as_str());
    let candidate = Candidate::new(number, id, url, weight, 0, Arc::new(labels));
    Member { candidate: Arc::new(candidate), priority, standing }
}

fn many(count: u64) -> Vec<Member> {
    (0..count).map(|number| member(number, 100, 50, Standing::In)).collect()
}

fn query(policy: PickPolicy) -> Query {
    Query {
        model: "m".to_owned(),
        kind: Kind::Regular,
        labels: BTreeMap::new(),
        key: None,
        policy,
        exclude: Vec::new(),
    }
}

fn members() -> impl Strategy<Value = Vec<Member>> {
    let standing = prop_oneof![
        4 => Just(Standing::In),
        1 => Just(Standing::Out),
        1 => Just(Standing::Draining),
    ];
    proptest::collection::vec((1..30_u32, 49..51_u32, standing), 1..20).prop_map(|rows| {
        let rows = (0..).zip(rows);
        rows.map(|(number, (weight, priority, standing))| {
            member(number, weight, priority, standing)
        })
        .collect()
    })
}

/// The candidates of the specification, slowly.
fn candidates(members: &[Member], query: &Query) -> Vec<Arc<Candidate>> {
    let fits = |member: &&Member| {
        member.standing == Standing::In
            && query
                .labels
                .iter()
                .all(|(key, value)| member.candidate.labels.get(key) == Some(value))
            && !query.exclude.contains(&member.candidate.id)
    };
    let best = members.iter().filter(fits).map(|member| member.priority).max();
    let best = members.iter().filter(fits).filter(|member| Some(member.priority) == best);
    best.map(|member| Arc::clone(&member.candidate)).collect()
}

#[expect(clippy::too_many_lines, reason = "one arm per policy, as the specification has them")]
fn naive(
    members: &[Member],
    query: &Query,
    ticket: u64,
    load: &dyn Fn(&Candidate) -> u32,
) -> Option<u64> {
    let all = candidates(members, query);
    let count = all.len() as u64;
    if count == 0 {
        return None;
    }
    let ratio = |one: &Candidate| (u64::from(load(one)), u64::from(one.weight));
    let lighter = |one: &Candidate, other: &Candidate| {
        ratio(one).0 * ratio(other).1 < ratio(other).0 * ratio(one).1
    };
    let total_weight: u64 = all.iter().map(|one| u64::from(one.weight)).sum();
    let nth = |index: u64| &all[usize::try_from(index).expect("small")];
    let chosen = match query.policy {
        PickPolicy::RoundRobin => nth(ticket % count),
        PickPolicy::Weighted => {
            let mut step = total_weight * 618 / 1000;
            let coprime = |step: u64| {
                (2..=step)
                    .all(|one: u64| !step.is_multiple_of(one) || !total_weight.is_multiple_of(one))
            };
            while step > 1 && !coprime(step) {
                step -= 1;
            }
            let mark = (u128::from(ticket) * u128::from(step.max(1))) % u128::from(total_weight);
            let mut sum = 0;
            all.iter()
                .find(|one| {
                    sum += u128::from(one.weight);
                    sum > mark
                })
                .expect("the mark is below the sum")
        }
        PickPolicy::LeastLoad => {
            let mut best = nth(ticket % count);
            for offset in 1..count {
                let other = nth((ticket % count + offset) % count);
                if lighter(other, best) {
                    best = other;
                }
            }
            best
        }
        PickPolicy::PowerOfTwo => {
            let drawn = splitmix64(ticket);
            let first = drawn % count;
            if count == 1 {
                nth(0)
            } else {
                let mut second = (drawn >> 32) % (count - 1);
                second += u64::from(second >= first);
                if lighter(nth(second), nth(first)) { nth(second) } else { nth(first) }
            }
        }
        PickPolicy::ConsistentHash => {
            let key = place(query.key.as_deref().expect("a key"));
            let priority = members.iter().find(|one| one.candidate.url == all[0].url);
            let tier = members.iter().filter(|one| one.priority == priority.expect("it").priority);
            let mut points: Vec<(u64, u64)> = tier
                .flat_map(|one| {
                    let count = (64 * one.candidate.weight / 100).max(8);
                    let number = one.candidate.number;
                    (0..count)
                        .map(move |index| (index, number))
                        .collect::<Vec<_>>()
                        .into_iter()
                        .map(|(index, number)| (point(&one.candidate.url, index), number))
                })
                .collect();
            points.sort_unstable();
            let total: u64 = all.iter().map(|one| u64::from(load(one))).sum();
            let after = points.iter().filter(|(at, _)| *at >= key);
            let before = points.iter().filter(|(at, _)| *at < key);
            after
                .chain(before)
                .filter_map(|(_, number)| all.iter().find(|one| one.number == *number))
                .find(|one| {
                    let bound =
                        (5 * (total + 1) * u64::from(one.weight)).div_ceil(4 * total_weight);
                    u64::from(load(one)) < bound
                })
                .unwrap_or(nth(0))
        }
    };
    Some(chosen.number)
}

proptest! {
    #[test]
    fn every_policy_picks_what_its_naive_model_picks(
        members in members(),
        ticket in any::<u64>(),
        loads in proptest::collection::vec(0..20_u32, 20),
        key in "[a-z]{1,6}",
        parity in proptest::option::of(0..2_u32),
        excluded in proptest::option::of(0..20_u64),
    ) {
        let snapshot = snapshot(&members);
        let load = |one: &Candidate| loads[usize::try_from(one.number).expect("small")];
        for policy in [
            PickPolicy::RoundRobin,
            PickPolicy::Weighted,
            PickPolicy::LeastLoad,
            PickPolicy::PowerOfTwo,
            PickPolicy::ConsistentHash,
        ] {
            let mut query = query(policy);
            query.key = Some(key.clone());
            query.labels.extend(parity.map(|parity| ("parity".to_owned(), parity.to_string())));
            query.exclude.extend(excluded.map(|number| Id::from(format!("id{number}").as_str())));
            let picked = route(&snapshot, &query, ticket, &load).ok();
            let number = picked.map(|pick| pick.candidate.number);
            prop_assert_eq!(number, naive(&members, &query, ticket, &load), "{:?}", policy);
        }
    }

    #[test]
    fn any_window_of_tickets_as_long_as_the_weights_gives_each_exactly_its_weight(
        weights in proptest::collection::vec(1..40_u32, 1..12),
        start in 0..u64::MAX / 2,
    ) {
        let rows = (0..).zip(&weights);
        let members: Vec<Member> =
            rows.map(|(number, weight)| member(number, *weight, 50, Standing::In)).collect();
        let snapshot = snapshot(&members);
        let total: u64 = weights.iter().copied().map(u64::from).sum();
        let mut given = vec![0_u32; weights.len()];
        for ticket in start..start + total {
            let pick = route(&snapshot, &query(PickPolicy::Weighted), ticket, &|_: &Candidate| 0);
            let number = pick.expect("there is one").candidate.number;
            given[usize::try_from(number).expect("small")] += 1;
        }
        prop_assert_eq!(given, weights);
    }
}

fn owners(members: &[Member]) -> Vec<u64> {
    let snapshot = snapshot(members);
    let keys = (0..2000).map(|key| {
        let query = Query { key: Some(format!("key{key}")), ..query(PickPolicy::ConsistentHash) };
        let pick = route(&snapshot, &query, 0, &|_: &Candidate| 0);
        pick.expect("there is one").candidate.number
    });
    keys.collect()
}

#[test]
fn removing_one_of_a_hundred_workers_from_a_ring_moves_only_its_keys() {
    let all = many(100);
    let mut fewer = all.clone();
    let gone = fewer.remove(37).candidate.number;
    let (before, after) = (owners(&all), owners(&fewer));
    let moved = before.iter().zip(&after).filter(|(one, other)| one != other);
    let moved: BTreeSet<u64> = moved.map(|(one, _)| *one).collect();
    assert_eq!(moved, BTreeSet::from([gone]));
    let mut ill = all;
    ill[37].standing = Standing::Out;
    assert_eq!(owners(&ill), after, "being ill and being gone move the same keys");
}

#[test]
fn a_change_of_health_shares_members_and_ring_with_the_layout_before() {
    let mut members = many(10);
    let before = lane(&members);
    let ring: *const _ = before.tiers[0].ring();
    members[3].standing = Standing::Out;
    let after = Lane::lay_out(Arc::from("m"), Kind::Regular, &members, Some(&before));
    assert!(Arc::ptr_eq(&before.tiers[0].members, &after.tiers[0].members));
    assert!(std::ptr::eq(ring, after.tiers[0].ring()));
    assert_eq!(after.tiers[0].open.len(), 9);
}

fn at(second: u64) -> Instant {
    Instant::from_millis(second * 1000)
}

fn open_of(members: &[Member]) -> Vec<u32> {
    lane(members).tiers.iter().flat_map(|tier| tier.open.clone()).collect()
}

#[test]
fn at_most_half_of_a_lane_is_ejected_and_the_longest_ejected_returns_first() {
    let mut members = many(4);
    members[0].standing = Standing::Ejected { since: at(3) };
    members[1].standing = Standing::Ejected { since: at(1) };
    assert_eq!(open_of(&members), [2, 3]);
    members[2].standing = Standing::Ejected { since: at(2) };
    assert_eq!(open_of(&members), [1, 3], "the one out since 1 s is back");
    members[3].standing = Standing::Out;
    assert_eq!(open_of(&members), [0, 1, 2], "nobody else is left");
}

#[test]
fn a_worker_on_trial_takes_one_request() {
    let mut members = many(2);
    members[0].standing = Standing::Trial { since: at(1) };
    let snapshot = snapshot(&members);
    let round_robin = query(PickPolicy::RoundRobin);
    let free = route(&snapshot, &round_robin, 0, &|_: &Candidate| 0).expect("there is one");
    assert_eq!((free.candidate.number, free.trial), (0, true));
    let busy = route(&snapshot, &round_robin, 0, &|_: &Candidate| 1).expect("there is one");
    assert_eq!((busy.candidate.number, busy.trial), (1, false));
}

#[test]
fn the_reason_says_why_nobody_can() {
    let none = |_: &Candidate| 0_u32;
    let reason = |members: &[Member], query: &Query, load: &dyn Fn(&Candidate) -> u32| {
        route(&snapshot(members), query, 0, &|one: &Candidate| load(one))
            .map_err(|no| no.reason)
            .err()
    };
    let plain = query(PickPolicy::PowerOfTwo);
    let unknown = Query { model: "x".to_owned(), ..plain.clone() };
    assert_eq!(reason(&many(1), &unknown, &none), Some(Reason::UnknownModel));
    let other_kind = Query { kind: Kind::Decode, ..plain.clone() };
    assert_eq!(reason(&many(1), &other_kind, &none), Some(Reason::UnknownModel));
    let out = [member(1, 1, 50, Standing::Out), member(2, 1, 50, Standing::Draining)];
    assert_eq!(reason(&out, &plain, &none), Some(Reason::NoneReady));
    assert_eq!(reason(&out[1..], &plain, &none), Some(Reason::AllDraining));
    let labelled = Query { labels: [("zone".to_owned(), "x".to_owned())].into(), ..plain.clone() };
    assert_eq!(reason(&many(2), &labelled, &none), Some(Reason::NoLabelMatch));
    let limited = Candidate::new(1, Id::from("id1"), Arc::from("u"), 1, 2, Arc::default());
    let limited = [Member { candidate: Arc::new(limited), priority: 50, standing: Standing::In }];
    assert_eq!(reason(&limited, &plain, &|_| 2), Some(Reason::AllFull));
    assert_eq!(reason(&limited, &plain, &|_| 1), None);
}

#[test]
fn workers_that_serve_any_model_stand_in_where_no_exact_one_can() {
    let mut exact = member(1, 100, 50, Standing::In);
    let mut both = snapshot(std::slice::from_ref(&exact));
    let any = member(2, 100, 50, Standing::In);
    both.lanes[0].insert(Arc::from(""), Arc::new(lane(&[any])));
    let pick = |snapshot: &Snapshot| {
        let pick = route(snapshot, &query(PickPolicy::RoundRobin), 0, &|_: &Candidate| 0);
        pick.map(|pick| pick.candidate.number).ok()
    };
    assert_eq!(pick(&both), Some(1));
    exact.standing = Standing::Out;
    both.lanes[0].insert(Arc::from("m"), Arc::new(lane(&[exact])));
    assert_eq!(pick(&both), Some(2));
}

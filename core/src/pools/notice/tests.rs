//! What is told, when, and by whom.

use super::super::pick;
use super::super::view::{MemberView, RestView, State};
use super::super::{Cause, Definition, Pool};
use super::*;

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

fn minute(number: u64) -> Instant {
    Instant::from_millis(number * 60_000)
}

fn exhausted() -> Event {
    let wake_at = Some(crate::time::UnixTime(1));
    Event::Exhausted { pool: name("codex"), lane: "".into(), wake_at, members: 2 }
}

fn recovered(confirmed: bool) -> Event {
    Event::Recovered {
        pool: name("codex"),
        lane: "".into(),
        member: CredentialHandle(1),
        cause: Cause::RestOver,
        confirmed,
        after_ms: 1,
        auth_reset_target: String::new(),
    }
}

/// A credential that rests, as a pool shows it.
fn row(credential: u64, classes: &[Class]) -> MemberView {
    let rest = |class: &Class| RestView {
        target: "".into(),
        scope: "*".into(),
        class: *class,
        source: "default".into(),
        half_open: false,
        rest_until: 1,
        stated_reset: None,
        since: 0,
        n: 1,
        evidence: "".into(),
        seen_by: "n1".parse().expect("an id"),
    };
    MemberView {
        handle: CredentialHandle(credential),
        epoch: 1,
        state: State::Ready,
        parked_until: None,
        next_probe: None,
        rests: classes.iter().map(rest).collect(),
    }
}

/// The common lane, exhausted since the start.
fn dry() -> LaneView {
    LaneView {
        model: "".into(),
        active: None,
        active_since: 0,
        instead_of: None,
        exhausted_since: Some(0),
        is_told: true,
        servable: 0,
        retry_at: None,
        members: Vec::new(),
    }
}

/// The pool `codex`, and what people were told of it last: what, which word, of which minute.
fn shown(rows: Vec<MemberView>, views: Vec<LaneView>, told: &[(&str, &str, u64)]) -> Snapshot {
    let mut snapshot = pools(&["codex"]);
    let pool = snapshot.pools.get_mut(&name("codex")).expect("it is there");
    let pool = Arc::get_mut(pool).expect("nobody else has it");
    let said = |(what, kind, of): &(&str, &str, u64)| {
        (Arc::from(*what), NoticeSaid { of: of * 60_000, kind: Arc::from(*kind) })
    };
    pool.rows = rows.into_iter().map(Arc::new).collect();
    pool.views = views;
    pool.told = told.iter().map(said).collect();
    snapshot
}

fn pools(names: &[&str]) -> Snapshot {
    let pool = |text: &&str| {
        let pool = Pool {
            name: name(text),
            definition: Arc::new(Definition::default()),
            from_document: true,
            members: Arc::from([]),
            any: Arc::new(pick::Lane::default()),
            lanes: BTreeMap::new(),
            families: Vec::new(),
            views: Vec::new(),
            rows: Vec::new(),
            told: BTreeMap::new(),
        };
        (name(text), Arc::new(pool))
    };
    Snapshot { wall: 0, pools: names.iter().map(pool).collect() }
}

/// What the announcer tells once it heard an event.
fn heard(notices: &mut Notices, at: u64, event: &Event) -> Option<Kind> {
    notices.hear(minute(at), at * 60_000, event);
    ticked(notices, at).pop()
}

/// What the announcer tells at a time.
fn ticked(notices: &mut Notices, at: u64) -> Vec<Kind> {
    looked(notices, at, &pools(&["codex"]), true)
}

fn looked(notices: &mut Notices, at: u64, pools: &Snapshot, ours: bool) -> Vec<Kind> {
    let told = notices.due(minute(at), pools, |_| ours);
    told.into_iter().map(|notice| notice.kind).collect()
}

#[test]
fn an_edge_is_told_once_and_its_end_once() {
    let mut notices = Notices::default();
    assert_eq!(heard(&mut notices, 0, &exhausted()), Some(Kind::Exhausted));
    assert_eq!(heard(&mut notices, 5, &recovered(false)), Some(Kind::Recovered));
    assert_eq!(ticked(&mut notices, 14), []);
    assert_eq!(ticked(&mut notices, 15), []);
    assert!(notices.lanes.is_empty(), "what is over is forgotten");
    assert_eq!(heard(&mut notices, 16, &exhausted()), Some(Kind::Exhausted));
    assert_eq!(heard(&mut notices, 17, &recovered(true)), Some(Kind::Recovered));
    assert_eq!(heard(&mut notices, 18, &exhausted()), Some(Kind::Exhausted), "it was proved");
}

#[test]
fn a_lane_that_flaps_is_told_ever_more_rarely_and_its_recovery_is_held_back() {
    let mut notices = Notices::default();
    let still = |attempts| Some(Kind::StillExhausted { attempts });
    assert_eq!(heard(&mut notices, 0, &exhausted()), Some(Kind::Exhausted));
    assert_eq!(heard(&mut notices, 1, &recovered(false)), Some(Kind::Recovered));
    assert_eq!(heard(&mut notices, 2, &exhausted()), still(1), "the first repeat");
    let mut told = Vec::new();
    for at in (3..100).step_by(2) {
        assert_eq!(heard(&mut notices, at, &recovered(false)), None, "held back at {at}");
        assert_eq!(ticked(&mut notices, at), []);
        told.extend(heard(&mut notices, at + 1, &exhausted()).map(|_| at + 1));
    }
    assert_eq!(told, [12, 32, 72], "10, 20 and 40 minutes apart");
    assert_eq!(heard(&mut notices, 101, &recovered(false)), None);
    assert_eq!(ticked(&mut notices, 110), []);
    assert_eq!(ticked(&mut notices, 111), [Kind::Recovered], "open for ten minutes");
    assert_eq!(ticked(&mut notices, 200), []);
}

#[test]
fn a_lane_that_runs_dry_before_its_end_was_told_is_still_dry() {
    let mut notices = Notices::default();
    for (at, event) in
        [(0, exhausted()), (1, recovered(false)), (2, exhausted()), (3, recovered(false))]
    {
        heard(&mut notices, at, &event);
    }
    // The host slept, and finds the lane dry before it hears of that.
    notices.hear(minute(90), 5_400_000, &Event::Changed { pool: name("codex") });
    let dry = shown(Vec::new(), vec![dry()], &[]);
    let told = looked(&mut notices, 90, &dry, true);
    assert_eq!(told, [Kind::StillExhausted { attempts: 2 }]);
}

#[test]
fn a_lane_that_no_timer_ends_is_told_of_at_once() {
    let untimed =
        Event::Exhausted { pool: name("codex"), lane: "".into(), wake_at: None, members: 2 };
    let mut notices = Notices::default();
    assert_eq!(heard(&mut notices, 0, &untimed), Some(Kind::Exhausted));
    assert_eq!(heard(&mut notices, 0, &recovered(true)), Some(Kind::Recovered));
}

#[test]
fn an_answer_ends_an_episode_at_once() {
    let mut notices = Notices::default();
    for (at, event) in [(0, exhausted()), (1, recovered(false)), (2, exhausted())] {
        heard(&mut notices, at, &event);
    }
    assert_eq!(heard(&mut notices, 3, &recovered(true)), Some(Kind::Recovered));
    assert_eq!(ticked(&mut notices, 60), []);
}

#[test]
fn of_a_pool_that_is_gone_nothing_is_told() {
    let mut notices = Notices::default();
    for (at, event) in
        [(0, exhausted()), (1, recovered(false)), (2, exhausted()), (3, recovered(false))]
    {
        heard(&mut notices, at, &event);
    }
    assert_eq!(looked(&mut notices, 30, &pools(&[]), true), []);
    assert!(notices.untold.is_empty());
    assert!(notices.lanes.is_empty());
}

#[test]
fn a_person_is_called_once_per_chain_of_rests_whoever_got_the_answer() {
    let mut notices = Notices::default();
    let person =
        |credential, class| Kind::Person { credential: CredentialHandle(credential), class };
    let mut look = |at, rows: &[(u64, &[Class])]| {
        let changed = Event::Changed { pool: name("codex") };
        notices.hear(minute(at), at * 60_000, &changed);
        let rows = rows.iter().map(|(credential, classes)| row(*credential, classes)).collect();
        looked(&mut notices, at, &shown(rows, Vec::new(), &[]), true)
    };
    let (billing, refused) = (Class::Billing, Class::AuthFailed);
    assert_eq!(look(0, &[(1, &[Class::RateLimited])]), []);
    assert_eq!(look(1, &[(1, &[billing])]), [person(1, billing)]);
    assert_eq!(look(2, &[(1, &[billing])]), []);
    let more = look(3, &[(1, &[billing, refused]), (2, &[billing])]);
    assert_eq!(more.len(), 2);
    assert!(more.contains(&person(1, refused)) && more.contains(&person(2, billing)), "{more:?}");
    assert_eq!(look(4, &[]), [], "nothing of them rests any more");
    assert_eq!(look(5, &[(1, &[billing])]), [person(1, billing)]);
}

#[test]
fn who_is_not_the_announcer_has_it_to_tell_until_a_sink_took_it() {
    let open = || shown(Vec::new(), Vec::new(), &[]);
    let told = |kind, of| shown(Vec::new(), Vec::new(), &[("", kind, of)]);
    let mut second = Notices::default();
    second.hear(minute(1), 60_000, &exhausted());
    assert_eq!(looked(&mut second, 1, &open(), false), []);
    assert_eq!(looked(&mut second, 2, &open(), true), [Kind::Exhausted], "the first one died");
    assert_eq!(looked(&mut second, 3, &open(), true), [], "it is on its way");

    let mut third = Notices::default();
    third.hear(minute(1), 60_000, &exhausted());
    assert_eq!(looked(&mut third, 2, &told("exhausted", 1), false), []);
    assert_eq!(looked(&mut third, 3, &told("exhausted", 1), true), [], "a sink took it");
    third.hear(minute(4), 240_000, &recovered(true));
    assert_eq!(looked(&mut third, 4, &told("exhausted", 1), false), []);
    assert_eq!(looked(&mut third, 5, &told("exhausted", 1), true), [Kind::Recovered]);
    assert_eq!(looked(&mut third, 6, &told("recovered", 4), true), []);
}

#[test]
fn who_was_told_of_a_lane_before_is_told_of_its_end_whatever_was_told_of_an_earlier_one() {
    let before = shown(Vec::new(), Vec::new(), &[("", "recovered", 1)]);
    let mut notices = Notices::default();
    notices.hear(minute(20), 1_200_000, &exhausted());
    assert_eq!(looked(&mut notices, 20, &before, true), [Kind::Exhausted]);
    notices.hear(minute(21), 1_260_000, &recovered(true));
    assert_eq!(looked(&mut notices, 21, &before, true), [Kind::Recovered]);
    let late = shown(Vec::new(), Vec::new(), &[("", "exhausted", 20)]);
    notices.hear(minute(22), 1_320_000, &exhausted());
    assert_eq!(looked(&mut notices, 22, &late, true), [Kind::Exhausted], "the end was on its way");
}

#[test]
fn what_ran_dry_before_a_node_listened_is_told_unless_somebody_did() {
    for (told, kinds) in [
        (&[] as &[_], &[Kind::Exhausted] as &[_]),
        (&[("", "exhausted", 0)], &[]),
        (&[("", "still_exhausted", 9)], &[]),
    ] {
        let mut notices = Notices::default();
        let shown = shown(Vec::new(), vec![dry()], told);
        assert_eq!(looked(&mut notices, 30, &shown, true), kinds);
        // Its edge may be heard after it was seen.
        notices.hear(minute(30), 1_800_000, &exhausted());
        assert_eq!(looked(&mut notices, 31, &shown, true), []);
    }
}

#[test]
fn a_recovery_that_nobody_told_for_ten_minutes_is_no_news() {
    let mut notices = Notices::default();
    notices.hear(minute(1), 60_000, &exhausted());
    notices.hear(minute(2), 120_000, &recovered(false));
    assert_eq!(looked(&mut notices, 11, &pools(&["codex"]), false), []);
    assert_eq!(looked(&mut notices, 12, &pools(&["codex"]), true), []);
}

#[test]
fn one_node_tells_and_pools_are_shared_out() {
    let nodes: Vec<NodeId> =
        ["a", "b", "c"].iter().map(|node| node.parse().expect("an id")).collect();
    let members = || nodes.iter().map(|node| (node, Incarnation(7)));
    let mut told = std::collections::BTreeSet::new();
    for number in 0..64 {
        let pool = name(&format!("p{number}"));
        let first = announcer(&pool, members()).expect("somebody");
        assert_eq!(announcer(&pool, members().collect::<Vec<_>>().into_iter().rev()), Some(first));
        let without = announcer(&pool, members().filter(|(node, _)| *node != first));
        assert!(without.is_some_and(|other| other != first), "somebody else goes on");
        told.insert(first.clone());
    }
    assert_eq!(told.len(), 3, "each tells of some pools");
    assert_eq!(announcer(&name("p"), std::iter::empty()), None);
}

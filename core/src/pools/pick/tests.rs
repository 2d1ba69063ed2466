//! Picks against what a reader of the table would choose.

use super::*;

fn pool(strategy: Strategy, weights: &[u32], lane: Lane) -> Pool {
    let member = |(index, weight): (u64, &u32)| {
        Arc::new(Member {
            handle: CredentialHandle(index),
            epoch: 1,
            credential: None,
            weight: *weight,
            load: Arc::default(),
        })
    };
    let members: Vec<Arc<Member>> = (0..).zip(weights).map(member).collect();
    let shares = Shares::of(lane.open.iter().filter_map(|at| weights.get(*at as usize).copied()));
    Pool {
        name: "p".parse().expect("a name"),
        definition: Arc::default(),
        from_document: true,
        members: members.into(),
        any: Arc::new(Lane { strategy, shares, ..lane }),
        lanes: BTreeMap::new(),
        families: Vec::new(),
        views: Vec::new(),
        rows: Vec::new(),
        told: BTreeMap::new(),
    }
}

fn open(positions: &[u32]) -> Lane {
    Lane { open: positions.to_vec(), ..Lane::default() }
}

fn asked(pool: &Pool, ticket: u64) -> Result<u64, Why> {
    let query = Query { ticket, ..Query::default() };
    pick(pool, &query).map(|picked| picked.member.handle.0).map_err(|refused| refused.why)
}

#[test]
fn each_strategy_chooses_among_the_preferred() {
    let lane = || Lane { start: 1, ..open(&[0, 2, 3]) };
    let chosen = |strategy| {
        let pool = pool(strategy, &[1, 1, 2, 1], lane());
        (0..6).map(|ticket| asked(&pool, ticket).expect("somebody")).collect::<Vec<_>>()
    };
    assert_eq!(chosen(Strategy::Failover), [2; 6]);
    assert_eq!(chosen(Strategy::FillFirst), [0; 6]);
    assert_eq!(chosen(Strategy::RoundRobin), [0, 2, 3, 0, 2, 3]);
    assert_eq!(chosen(Strategy::LeastUsed), [0; 6], "each was given back before the next");
}

#[test]
fn weights_are_shares_and_take_turns() {
    let pool = pool(Strategy::Weighted, &[1, 3, 6], open(&[0, 1, 2]));
    let mut counts = BTreeMap::new();
    for ticket in 0..10 {
        *counts.entry(asked(&pool, ticket).expect("somebody")).or_insert(0) += 1;
    }
    assert_eq!(counts, BTreeMap::from([(0, 1), (1, 3), (2, 6)]));
}

#[test]
fn the_least_used_is_the_one_with_fewest_in_flight() {
    let pool = pool(Strategy::LeastUsed, &[1; 3], open(&[0, 1, 2]));
    let query = Query::default();
    let held: Vec<Picked> = (0..2).map(|_| pick(&pool, &query).expect("somebody")).collect();
    assert_eq!(held.iter().map(|picked| picked.member.handle.0).collect::<Vec<_>>(), [0, 1]);
    assert_eq!(asked(&pool, 0), Ok(2));
    drop(held);
    assert_eq!(asked(&pool, 0), Ok(0));
}

#[test]
fn a_member_that_was_tried_is_passed_over_once() {
    let pool = pool(Strategy::Failover, &[1; 3], Lane { start: 1, ..open(&[0, 1, 2]) });
    let mut tried = Vec::new();
    let mut order = Vec::new();
    loop {
        let query = Query { tried: &tried, ..Query::default() };
        match pick(&pool, &query) {
            Ok(picked) => {
                order.push(picked.member.handle.0);
                tried.push(picked.member.handle);
            }
            Err(refused) => {
                assert_eq!(refused.why, Why::Tried);
                break;
            }
        }
    }
    assert_eq!(order, [1, 2, 0], "from the active one, around");
}

#[test]
fn a_member_that_came_back_is_let_in_slowly() {
    let gate = Gate { position: 0, limit: 1, load: Arc::default() };
    let lane = Lane { gates: vec![gate], ..open(&[0]) };
    let pool = pool(Strategy::Failover, &[1], lane);
    let first = pick(&pool, &Query::default()).expect("one at a time");
    assert!(first.tells, "how it ends moves the ramp");
    assert_eq!(asked(&pool, 1), Err(Why::Ramping));
    drop(first);
    assert_eq!(asked(&pool, 2), Ok(0));
}

#[test]
fn a_probe_is_taken_once_and_given_back_unless_it_went() {
    let slot = Slot { position: 1, free: Arc::new(AtomicBool::new(true)) };
    let lane =
        |open: &[u32]| Lane { slots: vec![slot.clone()], open: open.to_vec(), ..Lane::default() };
    let sticky = pool(Strategy::Failover, &[1; 2], lane(&[0]));
    assert_eq!(asked(&sticky, 0), Ok(0), "ordinary traffic does not probe while another serves");
    let turns = pool(Strategy::RoundRobin, &[1; 2], lane(&[0]));
    let mut probe = pick(&turns, &Query::default()).expect("the probe");
    assert!(probe.probe);
    assert_eq!(asked(&turns, 0), Ok(0));
    assert!(
        pick(&pool(Strategy::Failover, &[1; 2], lane(&[])), &Query::default()).is_err(),
        "taken"
    );
    probe.went();
    drop(probe);
    assert!(!slot.free.load(Ordering::Relaxed));
    slot.free.store(true, Ordering::Relaxed);
    drop(pick(&turns, &Query::default()).expect("the probe"));
    assert!(slot.free.load(Ordering::Relaxed), "it never left");
    let once = Query { no_probe: true, ..Query::default() };
    assert!(!pick(&turns, &once).expect("somebody").probe);
}

#[test]
fn parked_members_serve_before_nobody_does() {
    let lane = Lane { parked: vec![2, 0], forward: Some(1), ..Lane::default() };
    assert_eq!(asked(&pool(Strategy::Failover, &[1; 3], lane), 0), Ok(2));
    let lane = Lane { forward: Some(1), ..Lane::default() };
    assert_eq!(asked(&pool(Strategy::Failover, &[1; 3], lane), 0), Ok(1));
    let retry_at = Some(Instant::from_millis(5000));
    let refusal = Refused { why: Why::Exhausted, retry_at, tells: false };
    let lane = Lane { refusal, ..Lane::default() };
    let pool = pool(Strategy::Failover, &[1; 3], lane);
    let told = pick(&pool, &Query::default()).expect_err("nobody");
    assert_eq!((told.why, told.retry_after_ms(Instant::from_millis(2000))), (Why::Exhausted, 3000));
    assert_eq!(told.retry_after_ms(Instant::from_millis(9000)), 1000);
}

#[test]
fn a_model_without_a_lane_of_its_own_uses_the_common_one() {
    let mut pool = pool(Strategy::Failover, &[1; 2], open(&[0, 1]));
    pool.lanes.insert("m".into(), Arc::new(open(&[1])));
    let asked = |model| {
        let query = Query { model, ..Query::default() };
        pick(&pool, &query).expect("somebody").member.handle.0
    };
    assert_eq!([asked(None), asked(Some("m")), asked(Some("n"))], [0, 1, 0]);
}

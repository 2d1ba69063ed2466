//! Pools: who is picked, and what a report costs the machine.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use divan::Bencher;
use quorate_core::ids::{CredentialHandle, Ticket};
use quorate_core::machine::Machine;
use quorate_core::pools::{
    Class, Command, Credential, Definition, Input, Listed, Members, Name, Outcome, Pools, Query,
    Report, Scope, Settings, Snapshot, Strategy, Verdict, pick,
};
use quorate_core::time::{Instant, UnixTime};

use crate::fixtures::{self, NOW};

const STRATEGIES: [Strategy; 5] = [
    Strategy::Failover,
    Strategy::RoundRobin,
    Strategy::FillFirst,
    Strategy::Weighted,
    Strategy::LeastUsed,
];

fn id(number: usize) -> String {
    format!("codex-{number:04}")
}

fn handle(number: usize) -> CredentialHandle {
    CredentialHandle::of("default", &id(number))
}

fn name() -> Name {
    "codex".parse().expect("a name")
}

fn do_with(pools: &mut Pools, now: Instant, input: Input) {
    pools.handle(now, input, &mut Vec::new());
    pools.flush(now, &mut Vec::new());
}

/// A pool of `members` accounts, of which every second rests for ten minutes if `half_rests`.
fn pools(members: usize, strategy: Strategy, half_rests: bool) -> (Pools, Arc<Snapshot>) {
    let listed = (0..members).map(|number| Listed {
        credential: id(number),
        weight: Some(50 + u32::try_from(number * 7 % 101).expect("a small number")),
        epoch: 1,
    });
    let members_are = Members::Listed(listed.collect());
    let definition = Definition { members: members_are, strategy, ..Definition::default() };
    let pools = BTreeMap::from([(name(), definition)]);
    let settings = Settings { pools, ..Settings::default() };
    let mut pools = Pools::new(settings, fixtures::replica(0), &BTreeMap::new());
    do_with(&mut pools, NOW, Input::Clock { unix: UnixTime(1_700_000_000_000) });
    do_with(&mut pools, NOW, Input::Start);
    for number in 0..members {
        let credential = Credential {
            handle: handle(number),
            id: id(number).into(),
            provider: "codex".into(),
            disabled: false,
            needs_login: false,
            priority: 0,
            weight: 1,
            quota_group: None,
        };
        let (handle, credential) = (credential.handle, Some(Box::new(credential)));
        do_with(&mut pools, NOW, Input::Credential { handle, credential, renewed: false });
    }
    do_with(&mut pools, NOW, Input::Loaded);
    for number in (0..members).step_by(2).filter(|_| half_rests) {
        do_with(&mut pools, NOW, limited(number, NOW, 600_000));
    }
    let snapshot = pools.publish(NOW).expect("a pool was defined");
    (pools, snapshot)
}

/// The report of a throttle for so many ms.
fn limited(number: usize, sent_at: Instant, wait_ms: u64) -> Input {
    let verdict = Verdict {
        class: Class::RateLimited,
        scope: Scope::Credential,
        source: Some("header:retry-after".into()),
        stated_wait_ms: Some(wait_ms),
        is_concurrency: false,
        evidence: [7; 8],
        rejected: None,
    };
    reported(number, sent_at, 429, verdict)
}

fn served(number: usize, sent_at: Instant) -> Input {
    let verdict = Verdict {
        class: Class::Ok,
        scope: Scope::None,
        source: None,
        stated_wait_ms: None,
        is_concurrency: false,
        evidence: [7; 8],
        rejected: None,
    };
    reported(number, sent_at, 200, verdict)
}

fn reported(number: usize, sent_at: Instant, status: u16, verdict: Verdict) -> Input {
    let report = Report {
        pool: name(),
        credential: handle(number),
        epoch: 1,
        model: None,
        sent_at,
        probe: false,
        outcome: Outcome::Judged { status, verdict },
    };
    Input::Command { ticket: Ticket(1), command: Command::Report(Box::new(report)) }
}

/// Half of the members rest. What a pick gives back is given back within.
#[divan::bench(args = [10, 100, 1000], consts = [0, 1, 2, 3, 4], sample_count = 200, sample_size = 1000)]
fn picks<const STRATEGY: usize>(bencher: Bencher<'_, '_>, members: usize) {
    let strategy = STRATEGIES.get(STRATEGY).copied().expect("one of them");
    let (_, snapshot) = pools(members, strategy, true);
    let pool = snapshot.pool("codex").expect("it was defined");
    let mut ticket = 0;
    bencher.bench_local(|| {
        ticket += 1;
        let query = Query { ticket, ..Query::default() };
        pick(pool, &query).is_ok()
    });
}

/// A throttle is reported of one account after the other, and the snapshot that shows it is made.
#[divan::bench(args = [10, 100, 1000], sample_count = 100, sample_size = 10)]
fn throttle_reported(bencher: Bencher<'_, '_>, members: usize) {
    let (mut pools, _) = pools(members, Strategy::Failover, false);
    let (mut number, mut now) = (0, NOW);
    bencher.bench_local(|| {
        number += 1;
        now = now + Duration::from_millis(20);
        do_with(&mut pools, now, limited(number % members, now, 15_000));
        pools.publish(now).is_some()
    });
}

/// A success that clears nothing.
#[divan::bench(args = [10, 100, 1000], sample_count = 100, sample_size = 10)]
fn success_reported(bencher: Bencher<'_, '_>, members: usize) {
    let (mut pools, _) = pools(members, Strategy::Failover, false);
    let (mut number, mut now) = (0, NOW);
    bencher.bench_local(|| {
        number += 1;
        now = now + Duration::from_millis(20);
        do_with(&mut pools, now, served(number % members, now));
        pools.publish(now).is_some()
    });
}

//! What other nodes say, and what becomes of it when they go.

use std::collections::BTreeMap;

use super::super::{Pools, Settings};
use super::PoolScript;
use super::harness::replica;
use crate::limits;
use crate::pools::said::{DemandSaid, ProbeSaid};
use crate::pools::target::{Reach, Subject, Target};
use crate::script::check;

#[test]
fn a_rest_of_another_node_is_obeyed_and_the_longest_counts() {
    check::<PoolScript>(
        "
        given  members=a,b
        when   1s      peer n2 r/@a {'class':'rate_limited','source':'default','rest_until':@60000,'n':1,'since':@1000,'evidence':'','origin':{'node':'n2','incarnation':1,'sequence':1}}
        then   failover * a to b rate_limited
        when   2s      pick
        then   b
        when   3s      429 a 10s
        then   says r/a *
        when   20s     pick
        then   b
        when   20s     429 b 60s
        then   says r/b *
        then   rests b * rate_limited until 80s of 80s
        then   exhausted * until 60s
        when   60s     tick
        then   unsays r/a *
        then   failover * b to a rate_limited
        then   recovered * by a RestOver presumed
        ",
    );
}

#[test]
fn a_clear_covers_what_its_author_saw_and_whoever_restates_it() {
    check::<PoolScript>(
        "
        given  members=a,b
        when   1s      429 a 600s
        then   says r/a *
        then   rests a * rate_limited until 601s of 601s
        then   failover * a to b rate_limited
        when   2s      peer n2 c/@a {'covers':[{'node':'n1','incarnation':1,'sequence':1}],'cause':'success'}
        then   unsays r/a *
        when   3s      429 b 60s
        then   says r/b *
        then   rests b * rate_limited until 63s of 63s
        then   failover * b to a rate_limited
        when   4s      peer n3 r/@a {'class':'rate_limited','source':'default','rest_until':@600000,'n':1,'since':@1000,'evidence':'','origin':{'node':'n1','incarnation':1,'sequence':1}}
        when   5s      pick
        then   a
        when   6s      429 a 30s
        then   says r/a *
        then   rests a * rate_limited until 36s of 36s
        then   exhausted * until 36s
        when   7s      pick
        then   nobody: exhausted, in 29s
        ",
    );
}

#[test]
fn what_a_node_that_is_gone_said_is_restated() {
    check::<PoolScript>(
        "
        given  members=a,b
        when   1s      up n2
        when   2s      peer n2 r/@a {'class':'rate_limited','source':'default','rest_until':@600000,'n':1,'since':@1000,'evidence':'','origin':{'node':'n2','incarnation':1,'sequence':1}}
        then   failover * a to b rate_limited
        when   3s      failed n2
        then   says r/a *
        when   4s      dropped n2
        when   5s      pick
        then   b
        ",
    );
}

#[test]
fn one_of_those_that_are_left_restates_what_a_node_said() {
    check::<PoolScript>(
        "
        given  members=a,b,c,d
        when   0ms     up n2
        when   0ms     up n3
        when   2s      peer n2 r/@a {'class':'rate_limited','source':'default','rest_until':@600000,'n':1,'since':@1000,'evidence':'','origin':{'node':'n2','incarnation':1,'sequence':1}}
        then   failover * a to b rate_limited
        when   2s      peer n2 r/@b {'class':'rate_limited','source':'default','rest_until':@600000,'n':1,'since':@1000,'evidence':'','origin':{'node':'n2','incarnation':1,'sequence':2}}
        then   failover * b to c rate_limited
        when   2s      peer n2 r/@c {'class':'rate_limited','source':'default','rest_until':@600000,'n':1,'since':@1000,'evidence':'','origin':{'node':'n2','incarnation':1,'sequence':3}}
        then   failover * c to d rate_limited
        when   2s      peer n2 r/@d {'class':'rate_limited','source':'default','rest_until':@600000,'n':1,'since':@1000,'evidence':'','origin':{'node':'n2','incarnation':1,'sequence':4}}
        then   exhausted * until 600s
        when   3s      failed n2
        then   says r/a *
        ",
    );
}

#[test]
fn who_says_a_rest_of_its_own_restates_no_other_in_its_place() {
    check::<PoolScript>(
        "
        given  members=a,b,c,d
        when   0ms     up n2
        when   0ms     up n3
        when   1s      429 a 60s
        then   says r/a *
        then   rests a * rate_limited until 61s of 61s
        then   failover * a to b rate_limited
        when   1s      429 b 60s
        then   says r/b *
        then   rests b * rate_limited until 61s of 61s
        then   failover * b to c rate_limited
        when   1s      429 c 60s
        then   says r/c *
        then   rests c * rate_limited until 61s of 61s
        then   failover * c to d rate_limited
        when   1s      429 d 60s
        then   says r/d *
        then   rests d * rate_limited until 61s of 61s
        then   exhausted * until 61s
        when   2s      peer n2 r/@a {'class':'rate_limited','source':'default','rest_until':@600000,'n':1,'since':@1000,'evidence':'','origin':{'node':'n2','incarnation':1,'sequence':1}}
        when   2s      peer n2 r/@b {'class':'rate_limited','source':'default','rest_until':@600000,'n':1,'since':@1000,'evidence':'','origin':{'node':'n2','incarnation':1,'sequence':2}}
        when   2s      peer n2 r/@c {'class':'rate_limited','source':'default','rest_until':@600000,'n':1,'since':@1000,'evidence':'','origin':{'node':'n2','incarnation':1,'sequence':3}}
        when   2s      peer n2 r/@d {'class':'rate_limited','source':'default','rest_until':@600000,'n':1,'since':@1000,'evidence':'','origin':{'node':'n2','incarnation':1,'sequence':4}}
        when   3s      failed n2
        ",
    );
}

#[test]
fn where_nobody_else_is_left_one_word_says_both_rests() {
    check::<PoolScript>(
        "
        given  members=a
        when   0ms     up n2
        when   1s      429 a 36000s
        then   says r/a *
        then   rests a * rate_limited until 21601s of 36001s
        then   exhausted * until 21601s
        when   2s      peer n2 r/@a {'class':'overloaded','source':'default','rest_until':@25000000,'n':1,'since':@1000,'evidence':'','origin':{'node':'n2','incarnation':1,'sequence':1}}
        when   3s      failed n2
        then   says r/a *
        when   4s      dropped n2
        when   21700s  pick
        then   nobody: unavailable, in 3300s
        when   25000s  tick
        when   25001s  pick
        then   nobody: unavailable, in 0ns
        ",
    );
}

#[test]
fn whose_clock_is_ahead_within_what_clocks_may_be_is_no_bad_peer() {
    check::<PoolScript>(
        "
        given  members=a
        when   1s      peer n2 r/@a {'class':'rate_limited','source':'default','rest_until':@60000,'stated_reset':@2678403000,'n':1,'since':@3000,'evidence':'','origin':{'node':'n2','incarnation':1,'sequence':1}}
        then   exhausted * until 60s
        when   2s      peer n2 r/@a {'class':'rate_limited','source':'default','rest_until':@60000,'stated_reset':@2678404001,'n':1,'since':@3000,'evidence':'','origin':{'node':'n2','incarnation':1,'sequence':2}}
        then   misbehaved n2: a rest beyond what any answer may ask for
        ",
    );
}

#[test]
fn a_rest_beyond_all_bounds_is_cut_and_told() {
    check::<PoolScript>(
        "
        given  members=a
        when   1s      peer n2 r/@a {'class':'rate_limited','source':'default','rest_until':@9999999999,'n':99,'since':@1000,'evidence':'','origin':{'node':'n2','incarnation':1,'sequence':1}}
        then   misbehaved n2: a rest beyond what any answer may ask for
        then   exhausted * until 691201s
        when   2s      wake
        then   1801s
        ",
    );
}

#[test]
fn one_of_the_nodes_with_demand_probes_and_each_end_spends_the_attempt() {
    check::<PoolScript>(
        "
        given  members=a
        when   0ms     up n2
        when   0ms     billing a
        then   says r/a *
        then   rests a * billing until 900s
        then   exhausted * until 900s
        when   900s    wanted
        then   says d/a *
        when   900s    peer n2 d/@a {'count':1,'asked':false}
        when   901s    tick
        when   902s    pick
        then   a as a probe
        when   903s    peer n2 p/@a {'rest':@900000,'attempt':0,'spent':false,'idle':0,'next_at':0}
        when   904s    pick
        then   nobody: unavailable, in 0ns
        when   905s    peer n2 p/@a {'rest':@900000,'attempt':0,'spent':true,'idle':1,'next_at':@935000}
        when   935s    tick
        when   936s    pick
        then   a as a probe
        ",
    );
}

#[test]
fn what_a_new_life_does_not_say_is_said_by_another_node() {
    check::<PoolScript>(
        "
        given  members=a,b
        when   1s      up n2
        when   2s      peer n2 r/@a {'class':'rate_limited','source':'default','rest_until':@600000,'n':1,'since':@1000,'evidence':'','origin':{'node':'n2','incarnation':1,'sequence':1}}
        then   failover * a to b rate_limited
        when   3s      up n2/2
        when   3s      switched n2/1 n2/2
        when   3s      peer n2/2 forgets r/@a
        then   says r/a *
        when   5s      pick
        then   b
        when   6s      peer n2/2 c/@a {'covers':[{'node':'n2','incarnation':1,'sequence':1}],'cause':'success'}
        then   unsays r/a *
        ",
    );
}

#[test]
fn a_rest_that_its_author_takes_back_is_not_said_anew() {
    check::<PoolScript>(
        "
        given  members=a,b
        when   1s      up n2
        when   2s      peer n2 r/@a {'class':'rate_limited','source':'default','rest_until':@600000,'n':1,'since':@1000,'evidence':'','origin':{'node':'n2','incarnation':1,'sequence':1}}
        then   failover * a to b rate_limited
        when   3s      peer n2 forgets r/@a
        when   4s      failed n2
        ",
    );
}

#[test]
fn a_try_whose_node_came_back_without_it_is_spent() {
    check::<PoolScript>(
        "
        given  members=a
        when   0ms     up n2
        when   0ms     billing a
        then   says r/a *
        then   rests a * billing until 900s
        then   exhausted * until 900s
        when   900s    wanted
        then   says d/a *
        when   901s    peer n2 p/@a {'rest':@900000,'attempt':0,'spent':false,'idle':0,'next_at':0}
        when   902s    pick
        then   nobody: unavailable, in 0ns
        when   903s    switched n2/1 n2/2
        when   903s    peer n2/2 forgets p/@a
        when   904s    pick
        then   nobody: unavailable, in 29s
        when   933s    wanted
        then   says d/a *
        when   934s    pick
        then   a as a probe
        ",
    );
}

#[test]
fn what_people_were_told_is_said_kept_and_forgotten_once_it_matters_no_more() {
    check::<PoolScript>(
        "
        given  members=a
        when   1s      429 a 60s
        then   says r/a *
        then   rests a * rate_limited until 61s of 61s
        then   exhausted * until 61s
        when   2s      told exhausted 1s
        then   says n/p/
        when   3s      known
        then   exhausted of * at 1s
        when   10s     restart
        then   says n/p/
        then   says r/a *
        when   11s     known
        then   exhausted of * at 1s
        when   61s     tick
        then   unsays r/a *
        then   recovered * by a RestOver presumed
        when   62s     told recovered 61s
        then   says n/p/
        when   63s     told exhausted 1s
        when   64s     known
        then   recovered of * at 61s
        when   661s    park a 10s
        then   says k/a *
        then   unsays n/p/
        when   662s    known
        ",
    );
}

#[test]
fn what_people_were_told_is_said_by_another_node_once_its_author_is_gone() {
    check::<PoolScript>(
        "
        given  members=a
        when   1s      up n2
        when   1s      429 a 60s
        then   says r/a *
        then   rests a * rate_limited until 61s of 61s
        then   exhausted * until 61s
        when   2s      peer n2 n/p/ {'kind':'exhausted','of':@1000}
        when   3s      known
        then   exhausted of * at 1s
        when   4s      failed n2/1
        then   says n/p/
        when   5s      dropped n2/1
        when   6s      known
        then   exhausted of * at 1s
        ",
    );
}

#[test]
fn of_a_pool_that_is_gone_nobody_says_what_people_were_told() {
    check::<PoolScript>(
        "
        given  members=a
        when   1s      told exhausted 1s
        then   says n/p/
        when   2s      undefine
        then   unsays n/p/
        when   3s      told recovered 2s
        then   refused not_found
        ",
    );
}

#[test]
fn a_notice_of_no_pool_is_refused_at_merge() {
    use super::super::super::said::read_entry;
    let value = crate::wire::Blob::from(&b"{\"kind\":\"exhausted\",\"of\":1}"[..]);
    let long = format!("n/p/{}", "m".repeat(300));
    for (key, refused) in
        [("n/p/", false), ("n/p/m", false), ("n/p", true), ("n/-p/", true), (&long, true)]
    {
        let read = read_entry(&key.into(), Some(&value));
        assert_eq!(read.is_err(), refused, "{key}");
    }
}

#[test]
fn demand_that_nobody_renews_and_tries_of_what_rests_no_more_make_room() {
    let mut pools = Pools::new(Settings::default(), replica("n1/1"), &BTreeMap::new());
    let target = |number: usize| Target {
        whom: (Subject::Group(format!("g{number}").into()), 0),
        reach: Reach::All,
    };
    let own = pools.books.entry(pools.local.node.clone()).or_default();
    let wanted = DemandSaid { count: 1, asked: false };
    let tried = ProbeSaid { rest: 1, attempt: 0, spent: true, idle: 0, next_at: 0 };
    own.probes.insert(target(0), (tried, 0));
    own.demands.extend((1..limits::POOL_ENTRIES_MAX).map(|at| (target(at), (wanted, 1))));
    let mut out = Vec::new();
    assert!(!pools.make_room(60_000, &mut out), "all of it but the try is fresh");
    assert!(pools.make_room(60_001, &mut out));
    assert_eq!(out.len(), limits::POOL_ENTRIES_MAX, "everybody hears that it is gone");
}

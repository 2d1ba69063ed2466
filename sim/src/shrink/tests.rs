//! Failing plans made small.

use super::*;

/// A plan whose `then` cannot hold: nobody counts that many.
const LONG: &str = "
scenario swarm/long
about    much happens, and one crash is enough
given    nodes=5 time=40s+60s gossip.fanout=2 gossip.burst=4 store=n1,n2
load     0s..40s worker.add rate=0.5/s keys=3 value=64
load     0s..40s labels.set rate=0.5/s
when     1234567us delay all max=20ms for 30s
when     5s cut n1->n2 for 3s
when     9s pause n3 for 2s
when     17654321us crash n5 for 3333333us
when     20s reset n1<->n4
then     count quorate_membership_members{state=\"alive\"} > 999
seeds    3..3
";

#[test]
fn what_is_left_of_a_failing_plan_is_short_and_fails_in_the_same_way() {
    let plan = text::parse("long.scn", LONG).expect("a good plan");
    let budget = Budget { time: Duration::from_secs(600), runs: 300 };
    let small = shrink(&plan, 3, budget).expect("it fails");
    let text = small.plan.to_string();
    assert!(small.plan.events.is_empty() && small.plan.loads.is_empty(), "{text}");
    assert!(small.plan.nodes() == 1 && small.lines() <= 6, "{text}");
    let again = run::run(&small.plan, small.seed, &Options::default());
    let failure = again.failure.expect("the small one fails as well");
    assert_eq!(Symptom::of(&failure), Symptom::of(&small.failure));
    assert_eq!(failure.id, "count");
}

#[test]
fn a_plan_that_holds_is_not_shrunk() {
    let plan = text::parse("short.scn", "scenario a/b\ngiven nodes=2 time=5s+30s\n");
    assert!(shrink(&plan.expect("a plan"), 1, Budget::default()).is_none());
}

#[test]
fn a_plan_is_named_by_where_it_lies() {
    for (path, name) in [
        ("tests/scenarios/kv/two_halves.scn", "kv/two_halves"),
        ("target/sim/8123/plan.small.scn", "8123/plan"),
        ("x.scn", "plan/x"),
        ("My-Runs/A b.scn", "my_runs/a_b"),
    ] {
        assert_eq!(name_of(Path::new(path)), name);
    }
}

#[test]
fn a_node_goes_with_everything_that_only_it_was_about() {
    let plan = text::parse(
        "a.scn",
        "scenario a/b\ngiven nodes=4 store=n2,n4 core=n1..n3\ngiven n2.gossip.burst=2 n3.gossip.burst=3\nwhen 1s crash n2\n\
         when 2s cut {n2,n3}|{n1,n4} for 1s\nwhen 3s pause n1..n4\nwhen 4s evict n1 node=n3\n",
    );
    let fewer = nodes::without(&plan.expect("a plan"), 2).expect("nothing insists");
    let events: Vec<String> = fewer.events.iter().map(ToString::to_string).collect();
    assert_eq!(events, ["2s cut n2|{n1,n3} for 1s", "3s pause n1..n3", "4s evict n1 node=n2"]);
    let given = |key: &str| fewer.given.get(key).map(String::as_str);
    assert_eq!((given("store"), given("core")), (Some("n3"), Some("n1,n2")));
    assert_eq!((given("n2.gossip.burst"), given("n3.gossip.burst")), (Some("3"), None));
}

//! Plans as text.

use super::*;

const STORY: &str = "
scenario gossip/starved_topic   # a comment
about    one topic always has more to say than a datagram holds
given    nodes=4 time=90s+30s gossip.direct_max=0 outside=n4 wire=n1:-1,n3:+1
load     0s..90s  labels.set rate=0.5/s value=64 keys=5000
when     30s  cut n1->n2 udp for 5s
when     50s  crash n3 for 5s
when     5s every 10s x3 cut {n1,n2}|{n3..n4}
when     7s n1 as=first worker.add http://10.0.0.7:8000 interval=1000
when     9s server set http://10.0.0.7:8000 hang
then     always G-1 M-4
then     by 120s G-13
when     9s point name=gossip.one_want for 9s
when     11s isolate leader for 1s
when     12s upgrade {voter,n2} wire=+1
then     answer first = created
then     mark link.duplicate
then     count quorate_gossip_over_budget_total = 0
seeds    1..9
";

#[test]
fn what_is_printed_reads_as_the_same_plan() {
    let plan = parse("story.scn", STORY).expect("a good story");
    assert_eq!(parse("story.scn", &plan.to_string()).as_ref(), Ok(&plan));
    assert_eq!((plan.nodes(), plan.time()), (4, (90_000_000, 30_000_000)));
    assert_eq!(plan.faults(Class("cut")), 4);
}

#[test]
fn an_error_says_where_and_what_may_have_been_meant() {
    for (line, told) in [
        ("wehn 5s crash n1", "no line begins with `wehn`; did you mean `when`?"),
        ("when 5s crahs n1", "no fault is called `crahs`; did you mean `crash`?"),
        ("when 5s notify n1", "the fault `notify` has no subject yet: there is no a listener"),
        ("when 5s cut all", "`cut all` parts nobody from anybody"),
        ("when 5s cut n2<->n2", "`cut n2<->n2` parts nobody from anybody"),
        ("when 5s isolate {n1..n2,n3} for 2s", "`isolate {n1..n2,n3}` parts nobody from anybody"),
        ("when 5s crash n9", "`n9` is not among 3 nodes"),
        ("when 5s crash owner(x)", "nobody is `owner` yet: the domain that says so does not exist"),
        ("when 5s crash laeder", "`laeder` names no node; did you mean `leader`?"),
        ("when 5s upgrade n1 wire=2", "`2` is no version: -1, 0 or +1"),
        ("given wire=n1:2", "`wire=n1:2` cannot be used"),
        ("when 5 crash n1", "`5` is no time like `200ms` or `1.5s`"),
        (
            "given gossip.fanuot=3",
            "no key is called `gossip.fanuot`; did you mean `gossip.fanout`?",
        ),
        ("given gossip.fanout=0", "`gossip.fanout=0` cannot be used"),
        ("then always M-99", "no invariant is called `M-99`; did you mean `M-9`?"),
        (
            "then mark link.duplicat",
            "no mark is called `link.duplicat`; did you mean `link.duplicate`?",
        ),
        (
            "when 5s point name=gossip.one_wnat",
            "no point is called `gossip.one_wnat`; did you mean `gossip.one_want`?",
        ),
        ("when 5s point", "a point needs `name=<point>`"),
        (
            "load 0s..9s groups.join rate=1/s",
            "the operation `groups.join` has no subject yet: there is no groups",
        ),
        ("load 0s..9s worker.add", "a load needs `rate=<n>/s`"),
        ("seeds 9..1", "`9..1` is no range of seeds like `1..9`"),
    ] {
        let error = parse("a.scn", &format!("scenario a/b\n{line}")).expect_err(line);
        assert_eq!(error.what, told);
    }
    let error = parse("a.scn", "scenario a/b\n\nnonsense x").expect_err("no such line");
    assert!(error.to_string().starts_with("a.scn:3: "), "{error}");
}

#[test]
fn a_file_over_its_bound_is_refused() {
    let long = format!("scenario a/b\nabout {}", "x".repeat(FILE_BYTES_MAX));
    assert!(parse("a.scn", &long).is_err());
}

#[test]
fn times_print_in_their_largest_whole_unit() {
    for (text, micros, printed) in
        [("1.5s", 1_500_000, "1500ms"), ("2min", 120_000_000, "120s"), ("7us", 7, "7us")]
    {
        assert_eq!(parse_time(text), Ok(micros));
        assert_eq!(Time(micros).to_string(), printed);
    }
}

//! What rests for some models alone, and the lanes that requests for them use.

use std::fmt::Write as _;

use super::PoolScript;
use crate::limits;
use crate::script::check;

#[test]
fn a_name_of_two_families_that_rest_reaches_neither() {
    check::<PoolScript>(
        "
        given  members=a,b,c
        when   1s      429 a 600s model=claude-opus-4 scope=opus
        then   says r/a f:opus
        then   rests a f:opus rate_limited until 601s of 601s
        then   failover opus a to b rate_limited
        when   2s      429 b 600s model=claude-sonnet-4 scope=sonnet
        then   says r/b f:sonnet
        then   rests b f:sonnet rate_limited until 602s of 602s
        when   3s      pick model=claude-opus-4
        then   b
        when   3s      pick model=claude-sonnet-4
        then   a
        when   4s      pick model=opus-or-sonnet
        then   c
        when   4s      pick model=sonnet-or-opus
        then   c
        when   5s      429 c 600s
        then   says r/c *
        then   rests c * rate_limited until 605s of 605s
        when   6s      pick model=opus-or-sonnet
        then   nobody: exhausted, in 595s
        when   7s      wanted model=opus-or-sonnet
        then   exhausted opus-or-sonnet until 601s
        when   8s      pick model=opus-or-sonnet
        then   nobody: exhausted, in 593s
        when   601s    tick
        then   unsays r/a f:opus
        then   recovered opus-or-sonnet by a RestOver presumed
        when   601s    pick model=opus-or-sonnet
        then   a
        ",
    );
}

#[test]
fn a_lane_stays_as_long_as_anything_of_it_rests() {
    check::<PoolScript>(
        "
        given  members=a,b
        when   1s      429 a 5h model=m scope=model
        then   says r/a m:m
        then   rests a m:m rate_limited until 18001s of 18001s
        then   failover m a to b rate_limited
        when   3h      ok b
        then   taught nothing
        when   3h      429 b 10s
        then   says r/b *
        then   rests b * rate_limited until 10810s of 10810s
        then   exhausted m until 10810s
        when   3h      pick model=m
        then   nobody: exhausted, in 10s
        when   3h      pick
        then   a
        ",
    );
}

#[test]
fn what_rests_without_a_lane_counts_for_all_models_without_one() {
    // Sixty-three models have a lane beside the common one; the next rests in that.
    let rest = "{'class':'rate_limited','source':'default','rest_until':@600000,'n':1,'since':@1000,'evidence':'','origin':{'node':'n2','incarnation':1,'sequence':1}}";
    let mut script = String::from("given members=a,b\n");
    for number in 1..limits::POOL_LANES_MAX {
        writeln!(script, "when 1s peer n2 r/@{{a}}m:m{number:02} {rest}").expect("a string");
        writeln!(script, "then failover m{number:02} a to b rate_limited").expect("a string");
    }
    script.push_str("when 2s pick\nthen a\n");
    writeln!(script, "when 3s peer n2 r/@{{a}}m:other {rest}").expect("a string");
    script.push_str("then failover * a to b rate_limited\n");
    script.push_str("when 4s pick model=other\nthen b\nwhen 4s pick model=m07\nthen b\n");
    check::<PoolScript>(&script);
}

#[test]
fn requests_for_a_model_ask_for_a_try_of_its_family() {
    check::<PoolScript>(
        "
        given  members=a
        when   0ms     quota a model=claude-opus-4 scope=opus
        then   says r/a f:opus
        then   rests a f:opus quota_exhausted until 900s
        then   exhausted opus until 900s
        when   900s    tick
        when   900s    wanted model=claude-opus-4
        then   says d/a f:opus
        when   901s    tick
        when   901s    pick model=claude-opus-4
        then   a as a probe
        when   902s    probing a model=claude-opus-4
        then   says p/a f:opus
        ",
    );
}

//! Coming and going, row by row: leave, restart, eviction, joins, bridges, sleep.

use std::time::Duration;

use super::super::*;
use super::grammar::{MembershipScript, address};
use super::world;
use crate::script::check;

#[test]
fn a_leave_is_told_as_left_and_fenced_a_crash_as_failed_and_remembered() {
    check::<MembershipScript>(
        "
        given  forget_after_ms=60000
        when   0ms     packet d/1 gossip b/3=alive c/1=alive
        then   up b/3
        then   up c/1
        then   up d/1
        when   1ms     bye b/3
        then   gone b/3 left
        then   persist 5 fences b/3
        then   forgotten b/3
        when   2ms     packet d/1 gossip c/1=down
        then   departed 1 to c/1 by datagram
        then   gone c/1 failed
        when   3ms     show b
        then   b/3 is left
        when   4ms     show c
        then   c/1 is failed
        when   5ms     fact d/1 leaving true
        when   6ms     list e/1 d/1=down
        then   gone d/1 left
        then   persist 5 fences b/3 d/1
        then   forgotten d/1
        when   59s     run
        then   1.0s departed 1 to c/1 by datagram
        then   1.0s converged 6ms
        then   2.0s departed 1 to c/1 by datagram
        then   3.0s departed 1 to c/1 by datagram
        then   4.0s departed 1 to c/1 by datagram
        when   70s     run
        then   60.0s persist 5 fences b/3 c/1 d/1
        then   60.0s forgotten c/1
        when   70s     show b
        then   no b
        when   70s     show c
        then   no c
        ",
    );
}

#[test]
fn the_news_that_a_node_left_may_come_after_its_death() {
    check::<MembershipScript>(
        "
        given  incarnation=5
        when   0ms     packet d/1 gossip b/3=alive
        then   up b/3
        then   up d/1
        when   1ms     packet d/1 gossip b/3=down
        then   departed 3 to b/3 by datagram
        then   gone b/3 failed
        when   2ms     fact b/3 leaving true
        then   persist 5 fences b/3
        then   forgotten b/3
        when   3ms     show b
        then   b/3 is left
        when   4ms     bye b/3
        ",
    );
}

#[test]
fn who_goes_down_unsuspected_while_its_link_is_up_has_a_moment_to_say_goodbye() {
    check::<MembershipScript>(
        "
        given  incarnation=5
        when   0ms     packet d/1 gossip b/3=alive c/1=alive
        then   up b/3
        then   up c/1
        then   up d/1
        when   1ms     linked b/3
        then   list to b a/5=alive b/3=alive c/1=alive d/1=alive
        when   2ms     linked c/1
        then   list to c a/5=alive b/3=alive c/1=alive d/1=alive
        when   3ms     linked d/1
        then   list to d a/5=alive b/3=alive c/1=alive d/1=alive
        when   4ms     packet d/1 gossip b/3=down c/1=down
        then   suspect b/3
        then   suspect c/1
        when   5ms     fact b/3 leaving true
        then   gone b/3 left
        then   persist 5 fences b/3
        then   forgotten b/3
        when   1100ms  run
        then   1.0s departed 1 to c/1 by datagram
        then   1.0s departed 1 to c/1 by link
        then   1.0s gone c/1 failed
        ",
    );
}

#[test]
fn the_death_of_a_restarting_node_is_withheld_until_its_grace_ends() {
    check::<MembershipScript>(
        "
        given  restart_grace_ms=10000
        when   0ms     packet d/1 gossip b/3=alive c/1=alive
        then   up b/3
        then   up c/1
        then   up d/1
        when   1ms     bye b/3 restarting
        when   2ms     fact c/1 restarting true
        when   3ms     packet d/1 gossip b/3=down c/1=down
        then   suspect b/3
        then   suspect c/1
        when   4ms     show b
        then   b/3 is suspect
        when   5s      packet b/4 ping
        then   ack a/5.0 to b by datagram c/1=down.0 d/1=alive.0 b/4=alive.0
        then   renamed b/3 b/4
        then   up b/4
        when   5s      bye d/1
        then   gone d/1 left
        then   persist 5 fences d/1
        then   forgotten d/1
        when   5s      bye b/4
        then   gone b/4 left
        then   persist 5 fences b/4 d/1
        then   forgotten b/4
        when   9s      show c
        then   c/1 is suspect
        when   11s     run
        then   6.0s converged 5s
        then   10.0s departed 1 to c/1 by datagram
        then   10.0s gone c/1 failed
        ",
    );
}

#[test]
fn a_goodbye_takes_its_time_and_a_second_one_none() {
    check::<MembershipScript>(
        "
        given  incarnation=5
        when   0ms     packet b/3 ping
        then   ack a/5.0 to b by datagram b/3=alive.0
        then   up b/3
        when   1ms     linked b/3
        then   list to b a/5=alive b/3=alive
        when   2ms     leave 7
        then   answer 7 done
        then   fact leaving true
        when   3ms     join 8 c:1
        then   answer 8 this node is leaving the cluster
        when   4ms     labels 9 k=v
        then   answer 9 this node is leaving the cluster
        when   5ms     evict 10 b
        then   answer 10 this node is leaving the cluster
        when   10s     run
        then   0.1s left restarting=false
        then   1.0s converged 0ns
        then   1.5s stopped
        ",
    );
    check::<MembershipScript>(
        "
        given  incarnation=5
        when   0ms     packet b/3 ping
        then   ack a/5.0 to b by datagram b/3=alive.0
        then   up b/3
        when   1ms     leave
        then   fact leaving true
        when   2ms     leave
        then   stopped
        when   3ms     leave
        ",
    );
    check::<MembershipScript>(
        "
        given  incarnation=5
        when   0ms     packet b/3 ping
        then   ack a/5.0 to b by datagram b/3=alive.0
        then   up b/3
        when   1ms     restart
        then   fact restarting true
        when   10s     run
        then   0.1s left restarting=true
        then   1.0s converged 0ns
        then   1.2s stopped
        ",
    );
}

#[test]
fn who_leaves_does_not_mind_being_called_gone() {
    check::<MembershipScript>(
        "
        given  incarnation=5
        when   0ms     packet b/3 ping
        then   ack a/5.0 to b by datagram b/3=alive.0
        then   up b/3
        when   1ms     leave
        then   fact leaving true
        when   2ms     packet b/3 gossip a/5=down
        when   3ms     departed b/3 5
        ",
    );
}

#[test]
fn only_a_failed_node_can_be_evicted_and_everybody_reads_of_it() {
    check::<MembershipScript>(
        "
        given  forget_after_ms=60000
        when   0ms     packet d/1 gossip b/3=alive c/1=alive
        then   up b/3
        then   up c/1
        then   up d/1
        when   1ms     evict 1 b
        then   answer 1 `b` is alive; only a failed node can be evicted
        when   2ms     evict 2 x
        then   answer 2 no node `x` is known
        when   3ms     evict 3 a
        then   answer 3 `a` is alive; only a failed node can be evicted
        when   4ms     packet d/1 gossip b/3=down
        then   departed 3 to b/3 by datagram
        then   gone b/3 failed
        when   5ms     evict 4 b
        then   persist 5 fences b/3
        then   forgotten b/3
        then   fact evict/b 3
        then   answer 4 done
        when   6ms     show b
        then   b/3 is evicted
        when   7ms     evict 5 b
        then   answer 5 `b` is evicted; only a failed node can be evicted
        when   8ms     fact d/1 evict/c 1
        then   gone c/1 evicted
        then   persist 5 fences b/3 c/1
        then   forgotten c/1
        when   9ms     fact d/1 evict/d 0
        when   10ms    fact d/1 evict/z 4
        then   persist 5 fences b/3 c/1 z/4
        then   forgotten z/4
        when   11ms    bye d/1
        then   gone d/1 left
        then   persist 5 fences b/3 c/1 d/1 z/4
        then   forgotten d/1
        when   60010ms run
        then   1.0s converged 11ms
        then   60.0s fact evict/b gone
        ",
    );
}

#[test]
fn labels_are_replaced_or_refused_whole() {
    check::<MembershipScript>(
        "
        given  incarnation=5
        when   0ms     labels 1 tier=gpu zone=
        then   fact labels {'tier':'gpu','zone':''}
        then   answer 1 done
        when   1ms     labels 2 =x
        then   answer 2 the key of label `` has not 1 to 63 bytes
        when   2ms     labels 3
        then   fact labels {}
        then   answer 3 done
        ",
    );
}

#[test]
fn an_operator_joins_through_addresses_that_are_addresses() {
    check::<MembershipScript>(
        "
        given  incarnation=5
        when   0ms     join 1 b:7420 [::1]:7420
        then   resolve b:7420
        then   resolve [::1]:7420
        then   answer 1 done
        when   1ms     join 2 b
        then   answer 2 `b` is no host:port: there is no port
        when   2ms     resolved b:7420 10.0.0.2:7420
        then   dial 10.0.0.2:7420
        when   3ms     seed_failed 10.0.0.2:7420 refused
        then   join failed b:7420 1
        when   4ms     resolved [::1]:7420
        then   join failed [::1]:7420 1
        ",
    );
}

#[test]
fn a_bridge_is_tried_to_seeds_that_are_no_members() {
    check::<MembershipScript>(
        "
        given  join=b:7420
        when   0ms     resolved b:7420
        then   join failed b:7420 1
        when   0ms     linked b/3
        then   list to b a/5=alive b/3=alive
        then   announce a/5.0 to b by datagram
        then   up b/3
        when   1ms     list b/3 b/3=alive
        when   72s     tick
        then   resolve b:7420
        then   converged 0ns
        then   gossip a/5.0 to b by datagram b/3=alive.0
        then   ping a/5.0 to b by datagram b/3=alive.0
        when   72001ms resolved b:7420 10.0.0.2:7420 10.0.0.9:7420
        then   dial 10.0.0.9:7420
        ",
    );
}

#[test]
fn a_link_that_is_silent_while_datagrams_flow_is_told_once_and_clears() {
    check::<MembershipScript>(
        "
        given  incarnation=5
        when   0ms     packet b/3 gossip
        then   up b/3
        when   29s     heard b/3 datagram
        when   31s     tick
        then   converged 0ns
        then   asymmetric b link
        then   gossip a/5.0 to b by datagram b/3=alive.0
        then   ping a/5.0 to b by datagram b/3=alive.0
        when   32s     tick
        then   gossip a/5.0 to b by datagram b/3=alive.0
        then   ping a/5.0 to b by datagram b/3=suspect.0
        then   ping a/5.0 to b by datagram b/3=suspect.0
        then   suspect b/3
        when   33s     show b
        then   b/3 is suspect without link
        when   34s     heard b/3 link
        then   asymmetric b no longer
        when   34s     show b
        then   b/3 is suspect
        ",
    );
}

#[test]
fn a_sleeper_forgets_everybody_and_is_born_again() {
    check::<MembershipScript>(
        "
        given  forget_after_ms=60000
        when   0ms     packet b/3 gossip c/1=alive
        then   up b/3
        then   up c/1
        when   1ms     packet b/3 gossip c/1=down
        then   departed 1 to c/1 by datagram
        then   gone c/1 failed
        when   60002ms packet b/3 ping
        then   slept
        then   persist 6 fences
        then   up b/3
        when   60003ms persisted 6
        then   raised a/6
        then   gossip a/6.0 to b by datagram a/5=down.0 b/3=alive.0
        when   60004ms show c
        then   no c
        when   60005ms packet b/3 ping
        then   ack a/6.0 to b by datagram a/5=down.0 b/3=alive.0
        ",
    );
}

#[test]
fn a_used_up_refutation_counter_is_a_raise() {
    check::<MembershipScript>(
        "
        given  incarnation=5
        when   0ms     packet b/3 ping
        then   ack a/5.0 to b by datagram b/3=alive.0
        then   up b/3
        when   1ms     packet b/3 gossip a/5=suspect.65535
        then   persist 6 fences
        when   2ms     persisted 6
        then   raised a/6
        then   gossip a/6.0 to b by datagram b/3=alive.0
        ",
    );
}

#[test]
fn a_list_does_not_hand_on_the_tale_of_somebody_whom_we_never_met() {
    check::<MembershipScript>(
        "
        given  incarnation=5
        when   0ms     list b/3 b/3=alive c/1=alive d/1=down
        then   up b/3
        then   up c/1
        then   look for d/1
        when   1ms     list b/3 wants c/1=down
        then   list to b a/5=alive c/1=down b/3=alive
        then   departed 1 to c/1 by datagram
        then   gone c/1 failed
        ",
    );
}

#[test]
fn whoever_stays_alone_counts_as_started_after_ten_seconds_and_tries_for_ever() {
    let settings = world::settings("a", address("a"), vec!["seed:7420".into()]);
    let rng = Rng::from_number(1);
    let mut node = Membership::new(settings, Incarnation(1), BTreeMap::new(), Instant::ZERO, rng);
    let mut out = Vec::new();
    node.handle(Instant::ZERO, Input::Start, &mut out);
    let (mut attempts, mut joined_at) = (Vec::new(), None);
    let end = Instant::from_millis(300_000);
    while let Some(at) = node.next_wake().map(|wake| wake.at).filter(|at| *at < end) {
        out.clear();
        node.handle(at, Input::Tick, &mut out);
        let tried = out.iter().filter(|output| matches!(output, Output::Resolve { .. }));
        attempts.extend(tried.map(|_| at));
        if node.joined() {
            joined_at.get_or_insert(at);
        }
    }
    assert_eq!(joined_at, Some(Instant::from_millis(10_000)));
    let gaps = attempts.windows(2).map(|pair| pair[1].since(pair[0]));
    assert!(gaps.max().expect("many") <= Duration::from_millis(9600), "M-10: never idle for long");
}

#[test]
fn every_series_is_there_from_the_start() {
    use crate::machine::Counted as _;
    let settings = world::settings("a", address("a"), vec![]);
    let rng = Rng::from_number(1);
    let node = Membership::new(settings, Incarnation(1), BTreeMap::new(), Instant::ZERO, rng);
    let mut names = BTreeSet::new();
    node.counts(&mut |count| {
        assert!(names.insert((count.name, count.labels)), "{} is there twice", count.name);
        let own = count.name == "membership_members";
        assert!(own || count.value == 0, "{} begins at {}", count.name, count.value);
    });
    assert_eq!(names.len(), 3 + 1 + 7 + 4 + 3 + 2 + 2 + 4);
}

#[test]
fn who_was_evicted_stays_so_when_its_fence_made_room_for_others() {
    check::<MembershipScript>(
        "
        given  incarnation=5 fences_max=1
        when   0ms     packet d/1 gossip b/3=alive c/1=alive
        then   up b/3
        then   up c/1
        then   up d/1
        when   1ms     packet d/1 gossip b/3=down c/1=down
        then   departed 3 to b/3 by datagram
        then   gone b/3 failed
        then   departed 1 to c/1 by datagram
        then   gone c/1 failed
        when   2ms     evict 1 b
        then   persist 5 fences b/3
        then   forgotten b/3
        then   fact evict/b 3
        then   answer 1 done
        when   3ms     evict 2 c
        then   persist 5 fences c/1 not b
        then   forgotten c/1
        then   fact evict/c 1
        then   answer 2 done
        when   4ms     list d/1 corrects b/3=alive
        when   5ms     show b
        then   b/3 is evicted
        when   6ms     list d/1 corrects b/4=alive
        then   renamed b/3 b/4
        then   up b/4
        ",
    );
}

//! Behaviour of one node, row by row.

use std::time::Duration;

use super::super::*;
use super::grammar::{MembershipScript, address};
use super::world;
use crate::script::check;

#[test]
fn at_the_start_a_node_says_everything_about_itself_and_tries_its_seeds() {
    check::<MembershipScript>(
        "
        given  started=false join=seed:7420
        when   0ms     tick
        when   0ms     start
        then   fact addresses {'datagram':'10.0.0.1:7420','http':'','link':'10.0.0.1:7420'}
        then   fact zone ''
        then   fact versions {'protocol_max':1,'protocol_min':1,'software':'1.0.0'}
        then   fact labels {}
        then   facts ready
        then   resolve seed:7420
        when   1ms     resolved seed:7420 10.0.0.1:7420 10.0.0.2:7420
        then   dial 10.0.0.2:7420
        when   2ms     resolved seed:7420 10.0.0.3:7420
        when   3ms     seed_failed 10.0.0.2:7420 failed
        then   join failed seed:7420 1
        when   4ms     seed_failed 10.0.0.2:7420 failed
        when   4s      run
        then   0.5s resolve seed:7420
        then   1.3s resolve seed:7420
        then   3.4s resolve seed:7420
        ",
    );
}

#[test]
fn a_link_is_met_with_a_list_and_an_announcement_and_ends_the_search() {
    check::<MembershipScript>(
        "
        given  join=seed:7420
        when   1ms     resolved seed:7420 10.0.0.2:7420
        then   dial 10.0.0.2:7420
        when   2ms     linked b/3
        then   list to b a/5=alive b/3=alive
        then   announce a/5.0 to b by datagram
        then   up b/3
        when   3ms     list b/3 wants b/3=alive c/1=alive d/2=down
        then   list to b a/5=alive c/1=alive b/3=alive
        then   up c/1
        when   4ms     show d
        then   d/2 is failed
        when   5ms     list b/3 wants b/3=alive
        then   list to b a/5=alive c/1=alive b/3=alive
        when   400ms   run
        ",
    );
}

#[test]
fn a_ping_is_answered_the_way_it_came_and_brings_its_sender_up() {
    check::<MembershipScript>(
        "
        given  incarnation=5
        when   1ms     packet b/3 ping
        then   ack a/5.0 to b by datagram b/3=alive.0
        then   up b/3
        when   3ms     linked b/3
        then   list to b a/5=alive b/3=alive
        when   4ms     frame b/3 ping
        then   ack a/5.0 to b by link b/3=alive.0
        when   5ms     packet b/3 detour
        then   indirectping a/5.0 to c by datagram b/3=alive.0
        ",
    );
}

#[test]
fn a_suspicion_of_ours_is_refuted_in_the_very_answer_and_raises_nothing() {
    check::<MembershipScript>(
        "
        given  incarnation=5
        when   1ms     packet b/3 ping
        then   ack a/5.0 to b by datagram b/3=alive.0
        then   up b/3
        when   2ms     packet b/3 ping a/5=suspect.0
        then   gossip a/5.1 to b by datagram b/3=alive.0
        then   ack a/5.1 to b by datagram b/3=alive.0
        when   3ms     packet b/3 ping a/5=suspect.0
        then   gossip a/5.1 to b by datagram b/3=alive.0
        then   ack a/5.1 to b by datagram b/3=alive.0
        when   4ms     packet b/3 ping a/4=suspect.7
        then   ack a/5.1 to b by datagram b/3=alive.0
        ",
    );
}

#[test]
fn a_silent_peer_is_probed_suspected_told_and_given_up() {
    check::<MembershipScript>(
        "
        given  incarnation=5
        when   0ms     linked b/3
        then   list to b a/5=alive b/3=alive
        then   up b/3
        when   0ms     list b/3 b/3=alive
        when   1s      tick
        then   converged 0ns
        then   gossip a/5.0 to b by datagram b/3=alive.0
        then   ping a/5.0 to b by datagram b/3=alive.0
        when   1500ms  tick
        then   gossip a/5.0 to b by datagram b/3=alive.0
        then   ping a/5.0 to b by link b/3=alive.0
        when   2s      tick
        then   gossip a/5.0 to b by datagram b/3=alive.0
        then   ping a/5.0 to b by datagram b/3=suspect.0
        then   ping a/5.0 to b by datagram b/3=suspect.0
        then   ping a/5.0 to b by link b/3=suspect.0
        then   suspect b/3
        when   20s     run
        then   6.0s departed 3 to b/3 by datagram
        then   6.0s departed 3 to b/3 by link
        then   6.0s gone b/3 failed
        then   7.0s departed 3 to b/3 by datagram
        then   7.0s departed 3 to b/3 by link
        then   7.0s converged 0ns
        then   8.0s departed 3 to b/3 by datagram
        then   8.0s departed 3 to b/3 by link
        then   9.0s departed 3 to b/3 by datagram
        then   9.0s departed 3 to b/3 by link
        then   10.0s departed 3 to b/3 by datagram
        then   10.0s departed 3 to b/3 by link
        when   20s     show b
        then   b/3 is failed
        ",
    );
}

#[test]
fn a_suspect_that_refutes_is_alive_again() {
    check::<MembershipScript>(
        "
        given  incarnation=5
        when   0ms     packet b/3 gossip c/1=suspect.0
        then   up b/3
        then   up c/1
        then   suspect c/1
        when   1ms     show c
        then   c/1 is suspect
        when   2ms     packet c/1 gossip refutation=1
        then   refuted c/1
        when   3ms     packet b/3 gossip c/1=suspect.0
        when   4ms     packet b/3 gossip c/1=suspect.1
        then   suspect c/1
        when   5ms     packet b/3 gossip c/1=alive.2
        then   refuted c/1
        ",
    );
}

#[test]
fn any_number_of_notices_about_one_life_cause_one_raise_and_nothing_is_sent_before_it_is_durable() {
    check::<MembershipScript>(
        "
        given  incarnation=5
        when   0ms     linked b/3
        then   list to b a/5=alive b/3=alive
        then   up b/3
        when   1ms     departed b/3 4
        when   2ms     departed b/3 5
        then   persist 6 fences
        when   3ms     departed b/3 5
        when   4ms     packet b/3 ping
        when   5ms     list b/3 wants b/3=alive
        when   6ms     persisted 5
        when   7ms     persisted 6
        then   raised a/6
        then   gossip a/6.0 to b by datagram a/5=down.0 b/3=alive.0
        when   8ms     departed b/3 5
        ",
    );
}

#[test]
fn a_higher_word_while_a_raise_is_stored_raises_the_raise() {
    check::<MembershipScript>(
        "
        given  incarnation=5
        when   0ms     linked b/3
        then   list to b a/5=alive b/3=alive
        then   up b/3
        when   1ms     departed b/3 5
        then   persist 6 fences
        when   2ms     stale 9
        then   persist 10 fences
        when   3ms     persisted 6
        when   4ms     persisted 10
        then   raised a/10
        then   gossip a/10.0 to b by datagram b/3=alive.0 a/5=down.0
        ",
    );
}

#[test]
fn every_way_to_learn_that_we_are_given_up_raises_once() {
    check::<MembershipScript>(
        "
        given  incarnation=5
        when   1ms     retired b/3 c/9
        when   2ms     retired b/3 a/5
        then   persist 6 fences
        when   3ms     persisted 6
        then   raised a/6
        when   4ms     overtaken 6
        then   persist 7 fences
        when   5ms     persisted 7
        then   raised a/7
        when   6ms     list b/3 a/7=down
        then   persist 8 fences
        when   7ms     persisted 8
        then   raised a/8
        when   8ms     packet b/3 gossip a/8=down
        then   persist 9 fences
        then   up b/3
        when   9ms     persisted 9
        then   raised a/9
        then   gossip a/9.0 to b by datagram b/3=alive.0 a/8=down.0
        when   10ms    heard a/9 datagram
        then   misbehaved a it speaks in our name
        then   persist 10 fences
        when   11ms    persisted 10
        then   raised a/10
        then   gossip a/10.0 to b by datagram a/9=down.0 b/3=alive.0
        when   12ms    fact b/3 evict/a 10
        then   persist 11 fences
        when   13ms    persisted 11
        then   raised a/11
        then   gossip a/11.0 to b by datagram a/10=down.0 b/3=alive.0
        when   14ms    list b/3 a/11@z=alive
        then   persist 12 fences
        when   15ms    persisted 12
        then   raised a/12
        then   gossip a/12.0 to b by datagram a/11=down.0 b/3=alive.0
        when   16ms    list b/3 a/11=down a/3=suspect
        when   17ms    packet b/3 gossip a/11=down
        when   18ms    heard a/4 datagram
        then   misbehaved a it speaks in our name
        ",
    );
}

#[test]
fn three_raises_against_lives_that_were_never_ours_mean_a_second_process() {
    check::<MembershipScript>(
        "
        given  incarnation=5
        when   1s      stale 9
        then   persist 10 fences
        when   1s      persisted 10
        then   raised a/10
        when   20s     stale 12
        then   persist 13 fences
        when   20s     persisted 13
        then   raised a/13
        when   59s     list b/3 a/20=alive
        then   duplicate at Some(10.0.0.1:7420)
        then   persist 21 fences
        ",
    );
    check::<MembershipScript>(
        "
        given  incarnation=5
        when   1s      stale 9
        then   persist 10 fences
        when   1s      persisted 10
        then   raised a/10
        when   2s      stale 12
        then   persist 13 fences
        when   2s      persisted 13
        then   raised a/13
        when   62s     stale 15
        then   persist 16 fences
        ",
    );
}

#[test]
fn a_restart_at_another_address_wins_at_once_and_the_old_life_is_deaf() {
    check::<MembershipScript>(
        "
        given  incarnation=5
        when   0ms     packet b/3 ping
        then   ack a/5.0 to b by datagram b/3=alive.0
        then   up b/3
        when   1ms     packet b/4 ping
        then   ack a/5.0 to b by datagram b/4=alive.0
        then   renamed b/3 b/4
        then   up b/4
        when   2ms     packet b/3 ping
        when   3ms     packet c/1 gossip b/5@d=alive b/3=down b/3=alive
        then   renamed b/4 b/5
        then   up b/5
        then   up c/1
        when   4ms     show b
        then   b/5 is alive
        ",
    );
}

#[test]
fn who_is_held_failed_is_told_five_times_a_second_apart_and_comes_back_as_another_life() {
    check::<MembershipScript>(
        "
        given  incarnation=5
        when   0ms     packet c/1 gossip b/3=alive
        then   up b/3
        then   up c/1
        when   1ms     packet c/1 gossip b/3=down
        then   departed 3 to b/3 by datagram
        then   gone b/3 failed
        when   500ms   heard b/3 datagram
        when   6s      run
        then   1.0s departed 3 to b/3 by datagram
        then   1.0s converged 1ms
        then   2.0s suspect c/1
        then   2.0s departed 3 to b/3 by datagram
        then   3.0s departed 3 to b/3 by datagram
        then   4.0s departed 3 to b/3 by datagram
        then   6.0s departed 1 to c/1 by datagram
        then   6.0s gone c/1 failed
        when   6s      packet b/3 ping
        when   6s      linked b/3
        then   departed 3 to b/3 by datagram
        then   departed 3 to b/3 by link
        when   6100ms  heard b/3 link
        when   6200ms  packet b/4 ping
        then   ack a/5.0 to b by datagram c/1=down.0 b/4=alive.0
        then   renamed b/3 b/4
        then   up b/4
        ",
    );
}

#[test]
fn a_fenced_sender_is_answered_once_a_second_and_nothing_of_it_enters() {
    check::<MembershipScript>(
        "
        given  fences=b/3,c/9
        when   0ms     heard b/3 datagram
        then   retired b/3 to b by datagram
        when   1ms     packet b/3 ping
        when   500ms   heard b/2 datagram
        when   600ms   linked c/9
        then   retired c/9 to c by link
        when   1100ms  heard b/3 link
        then   retired b/3 to b by link
        when   1200ms  list d/1 b/3=alive c/9=suspect d/1=alive
        then   up d/1
        when   1300ms  packet b/4 ping
        then   ack a/5.0 to b by datagram b/4=alive.0
        then   up b/4
        ",
    );
}

#[test]
fn what_does_not_decode_or_lies_about_its_sender_is_reported() {
    check::<MembershipScript>(
        "
        given  incarnation=5
        when   0ms     bytes b/3 nonsense
        then   misbehaved b swim: malformed
        when   1ms     heard a/4 datagram
        then   misbehaved a it speaks in our name
        when   2ms     packet b/3 ping
        then   ack a/5.0 to b by datagram b/3=alive.0
        then   up b/3
        when   3ms     packet b/3 detour_to_us
        then   misbehaved b swim: a detour to ourselves
        when   4ms     packet b/3 ping to=a/4
        ",
    );
}

#[test]
fn a_full_table_ignores_strangers_and_keeps_the_known() {
    check::<MembershipScript>(
        "
        given  members_max=3
        when   0ms     packet b/3 gossip c/1=alive d/1=alive
        then   up b/3
        then   up c/1
        when   1ms     packet e/1 ping
        when   2ms     packet c/2 gossip
        then   renamed c/1 c/2
        then   up c/2
        when   3ms     list b/3 d/1=alive c/3=alive
        then   renamed c/2 c/3
        then   up c/3
        when   4ms     linked f/1
        ",
    );
}

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

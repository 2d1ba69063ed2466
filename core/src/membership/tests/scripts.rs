//! Behaviour of one node, row by row.

use super::grammar::MembershipScript;
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
fn a_dial_of_a_seed_is_awaited_for_as_long_as_links_try() {
    check::<MembershipScript>(
        "
        given  join=seed:7420 dial_timeout_ms=20000
        when   1ms     resolved seed:7420 10.0.0.2:7420
        then   dial 10.0.0.2:7420
        when   15s     run
        then   0.5s resolve seed:7420
        then   1.3s resolve seed:7420
        then   3.4s resolve seed:7420
        then   6.9s resolve seed:7420
        then   14.0s resolve seed:7420
        when   15s     resolved seed:7420 10.0.0.3:7420
        then   dial 10.0.0.3:7420
        when   16s     seed_failed 10.0.0.2:7420 failed
        then   join failed seed:7420 1
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
        then   look for d/2
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
fn who_is_only_known_to_be_failed_is_looked_for() {
    check::<MembershipScript>(
        "
        given  incarnation=5
        when   0ms     list c/1 b/3=down
        then   look for b/3
        when   1ms     show b
        then   b/3 is failed
        when   2ms     packet c/1 gossip b/4=down
        then   look for b/4
        then   up c/1
        when   3ms     packet b/5 ping
        then   ack a/5.0 to b by datagram c/1=alive.0 b/5=alive.0
        then   up b/5
        ",
    );
}

#[test]
fn others_are_asked_about_the_failed_and_what_they_know_better_is_spread() {
    check::<MembershipScript>(
        "
        given  incarnation=5
        when   0ms     packet c/1 gossip b/3=alive d/1=alive
        then   up b/3
        then   up c/1
        then   up d/1
        when   1ms     linked c/1
        then   list to c a/5=alive b/3=alive d/1=alive c/1=alive
        when   2ms     packet c/1 gossip b/3=down
        then   departed 3 to b/3 by datagram
        then   gone b/3 failed
        when   5s      run
        then   1.0s departed 3 to b/3 by datagram
        then   1.0s converged 2ms
        then   2.0s suspect d/1
        then   2.0s departed 3 to b/3 by datagram
        then   3.0s suspect c/1
        then   3.0s departed 3 to b/3 by datagram
        then   4.0s departed 3 to b/3 by datagram
        then   5.0s list to c asks b/3=down
        when   5s      list c/1 corrects b/4=alive
        then   renamed b/3 b/4
        then   up b/4
        when   5300ms  tick
        then   gossip a/5.0 to b by datagram b/4=alive.0
        then   gossip a/5.0 to c by datagram b/4=alive.0
        then   gossip a/5.0 to d by datagram b/4=alive.0
        ",
    );
}

#[test]
fn who_is_asked_says_what_it_knows_better_and_tells_the_living_that_they_were_given_up() {
    check::<MembershipScript>(
        "
        given  incarnation=5
        when   0ms     packet b/3 gossip c/2=alive d/1=alive e/2=down
        then   up b/3
        then   up c/2
        then   up d/1
        then   look for e/2
        when   1ms     list b/3 asks c/1=down d/1=down e/1=down f/9=down
        then   departed 1 to d/1 by datagram
        then   dial 10.0.0.6:7420
        then   list to b corrects c/2=alive
        when   2ms     list b/3 asks d/1=down
        when   3ms     show f
        then   no f
        when   4ms     bye c/2
        then   gone c/2 left
        then   persist 5 fences c/2
        then   forgotten c/2
        when   5ms     list b/3 asks f/9=down c/1=down
        then   dial 10.0.0.3:7420
        when   10s     list b/3 asks f/9=down
        when   11s     list b/3 asks a/5=down
        then   persist 6 fences c/2
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
        when   1600ms  list d/1 b/3=alive c/9=suspect d/1=alive
        then   retired c/9 to c by datagram
        then   up d/1
        when   3s      list d/1 b/3=down c/9=alive
        then   retired c/9 to c by datagram
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
fn who_departed_longest_ago_makes_room_for_somebody_who_is_here() {
    check::<MembershipScript>(
        "
        given  members_max=4
        when   0ms     packet b/3 gossip c/1=alive d/1=alive
        then   up b/3
        then   up c/1
        then   up d/1
        when   1ms     packet b/3 gossip d/1=down
        then   departed 1 to d/1 by datagram
        then   gone d/1 failed
        when   2ms     packet b/3 gossip c/1=down
        then   departed 1 to c/1 by datagram
        then   gone c/1 failed
        when   3ms     packet b/3 gossip e/1=down
        when   4ms     packet b/3 gossip f/1=alive d/1=alive
        then   persist 5 fences d/1
        then   forgotten d/1
        then   retired d/1 to d by datagram
        then   up f/1
        when   5ms     show d
        then   no d
        when   6ms     list b/3 c/1=down g/1=alive b/3=alive
        then   persist 5 fences c/1 d/1
        then   forgotten c/1
        then   up g/1
        when   7ms     show c
        then   no c
        ",
    );
}

#[test]
fn who_slept_has_room_until_somebody_is_ignored_again() {
    check::<MembershipScript>(
        "
        given  members_max=3 forget_after_ms=60000
        when   0ms     packet b/3 gossip c/1=alive
        then   up b/3
        then   up c/1
        when   0ms     room
        then   enough
        when   1ms     packet e/1 ping
        when   1ms     room
        then   none
        when   120s    packet b/3 gossip c/1=alive
        then   slept
        then   persist 6 fences
        then   up b/3
        then   up c/1
        when   120s    room
        then   enough
        when   120s    packet e/1 ping
        when   120s    room
        then   none
        ",
    );
}

#[test]
fn what_is_kept_of_fences_is_no_more_than_the_table_holds() {
    check::<MembershipScript>(
        "
        # A former process kept more: they go by name.
        given  started=false fences=b/1,c/1,d/1 fences_max=2
        when   0ms     start
        then   fact addresses {'datagram':'10.0.0.1:7420','http':'','link':'10.0.0.1:7420'}
        then   fact zone ''
        then   fact versions {'protocol_max':1,'protocol_min':1,'software':'1.0.0'}
        then   fact labels {}
        then   facts ready
        then   persist 5 fences c/1 d/1 not b
        when   1ms     packet e/3 gossip
        then   up e/3
        when   2ms     bye e/3
        then   gone e/3 left
        then   persist 5 fences d/1 e/3 not c
        then   forgotten e/3
        when   3ms     retired e/3 a/5
        then   persist 6 fences d/1 e/3
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

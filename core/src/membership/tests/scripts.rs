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
        when   1ms     resolved seed:7420 10.0.0.1:7420 10.0.0.2:7420
        when   2ms     resolved seed:7420 10.0.0.3:7420
        when   3ms     seed_failed 10.0.0.2:7420 failed
        when   4ms     seed_failed 10.0.0.2:7420 failed
        when   4s      run
        ",
    );
}

#[test]
fn a_link_is_met_with_a_list_and_an_announcement_and_ends_the_search() {
    check::<MembershipScript>(
        "
        given  join=seed:7420
        when   1ms     resolved seed:7420 10.0.0.2:7420
        when   2ms     linked b/3
        when   3ms     list b/3 wants b/3=alive c/1=alive d/2=down
        when   4ms     show d
        when   5ms     list b/3 wants b/3=alive
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
        when   3ms     linked b/3
        when   4ms     frame b/3 ping
        when   5ms     packet b/3 detour
        ",
    );
}

#[test]
fn a_suspicion_of_ours_is_refuted_in_the_very_answer_and_raises_nothing() {
    check::<MembershipScript>(
        "
        given  incarnation=5
        when   1ms     packet b/3 ping
        when   2ms     packet b/3 ping a/5=suspect.0
        when   3ms     packet b/3 ping a/5=suspect.0
        when   4ms     packet b/3 ping a/4=suspect.7
        ",
    );
}

#[test]
fn a_silent_peer_is_probed_suspected_told_and_given_up() {
    check::<MembershipScript>(
        "
        given  incarnation=5
        when   0ms     linked b/3
        when   0ms     list b/3 b/3=alive
        when   1s      tick
        when   1500ms  tick
        when   2s      tick
        when   20s     run
        when   20s     show b
        ",
    );
}

#[test]
fn a_suspect_that_refutes_is_alive_again() {
    check::<MembershipScript>(
        "
        given  incarnation=5
        when   0ms     packet b/3 gossip c/1=suspect.0
        when   1ms     show c
        when   2ms     packet c/1 gossip refutation=1
        when   3ms     packet b/3 gossip c/1=suspect.0
        when   4ms     packet b/3 gossip c/1=suspect.1
        when   5ms     packet b/3 gossip c/1=alive.2
        ",
    );
}

#[test]
fn any_number_of_notices_about_one_life_cause_one_raise_and_nothing_is_sent_before_it_is_durable() {
    check::<MembershipScript>(
        "
        given  incarnation=5
        when   0ms     linked b/3
        when   1ms     departed b/3 4
        when   2ms     departed b/3 5
        when   3ms     departed b/3 5
        when   4ms     packet b/3 ping
        when   5ms     list b/3 wants b/3=alive
        when   6ms     persisted 5
        when   7ms     persisted 6
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
        when   1ms     departed b/3 5
        when   2ms     stale 9
        when   3ms     persisted 6
        when   4ms     persisted 10
        ",
    );
}

#[test]
fn every_way_to_learn_that_we_are_given_up_raises_once() {
    check::<MembershipScript>(
        "
        given  incarnation=5
        # A notice about another is nothing to us.
        when   1ms     retired b/3 c/9
        when   2ms     retired b/3 a/5
        when   3ms     persisted 6
        when   4ms     overtaken 6
        when   5ms     persisted 7
        when   6ms     list b/3 a/7=down
        when   7ms     persisted 8
        when   8ms     packet b/3 gossip a/8=down
        when   9ms     persisted 9
        when   10ms    heard a/9 datagram
        when   11ms    persisted 10
        when   12ms    fact b/3 evict/a 10
        when   13ms    persisted 11
        # A life of ours at another address is somebody else.
        when   14ms    list b/3 a/11@z=alive
        when   15ms    persisted 12
        # What is old teaches nothing.
        when   16ms    list b/3 a/11=down a/3=suspect
        when   17ms    packet b/3 gossip a/11=down
        when   18ms    heard a/4 datagram
        ",
    );
}

#[test]
fn three_raises_against_lives_that_were_never_ours_mean_a_second_process() {
    check::<MembershipScript>(
        "
        given  incarnation=5
        when   1s      stale 9
        when   1s      persisted 10
        when   20s     stale 12
        when   20s     persisted 13
        when   59s     list b/3 a/20=alive
        ",
    );
    check::<MembershipScript>(
        "
        given  incarnation=5
        when   1s      stale 9
        when   1s      persisted 10
        when   2s      stale 12
        when   2s      persisted 13
        # The first is more than a minute ago.
        when   62s     stale 15
        ",
    );
}

#[test]
fn a_restart_at_another_address_wins_at_once_and_the_old_life_is_deaf() {
    check::<MembershipScript>(
        "
        given  incarnation=5
        when   0ms     packet b/3 ping
        when   1ms     packet b/4 ping
        when   2ms     packet b/3 ping
        when   3ms     packet c/1 gossip b/5@d=alive b/3=down b/3=alive
        when   4ms     show b
        ",
    );
}

#[test]
fn who_is_held_failed_is_told_five_times_a_second_apart_and_comes_back_as_another_life() {
    check::<MembershipScript>(
        "
        given  incarnation=5
        when   0ms     packet c/1 gossip b/3=alive
        when   1ms     packet c/1 gossip b/3=down
        when   500ms   heard b/3 datagram
        when   6s      run
        when   6s      packet b/3 ping
        when   6s      linked b/3
        when   6100ms  heard b/3 link
        when   6200ms  packet b/4 ping
        ",
    );
}

#[test]
fn a_fenced_sender_is_answered_once_a_second_and_nothing_of_it_enters() {
    check::<MembershipScript>(
        "
        given  fences=b/3,c/9
        when   0ms     heard b/3 datagram
        when   1ms     packet b/3 ping
        when   500ms   heard b/2 datagram
        when   600ms   linked c/9
        when   1100ms  heard b/3 link
        when   1200ms  list d/1 b/3=alive c/9=suspect d/1=alive
        when   1300ms  packet b/4 ping
        ",
    );
}

#[test]
fn what_does_not_decode_or_lies_about_its_sender_is_reported() {
    check::<MembershipScript>(
        "
        given  incarnation=5
        when   0ms     bytes b/3 nonsense
        when   1ms     heard a/4 datagram
        when   2ms     packet b/3 ping
        when   3ms     packet b/3 detour_to_us
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
        when   1ms     packet e/1 ping
        when   2ms     packet c/2 gossip
        when   3ms     list b/3 d/1=alive c/3=alive
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
        when   1ms     bye b/3
        when   2ms     packet d/1 gossip c/1=down
        when   3ms     show b
        when   4ms     show c
        # By its facts alone.
        when   5ms     fact d/1 leaving true
        when   6ms     list e/1 d/1=down
        when   59s     run
        when   70s     run
        when   70s     show b
        when   70s     show c
        ",
    );
}

#[test]
fn the_news_that_a_node_left_may_come_after_its_death() {
    check::<MembershipScript>(
        "
        given  incarnation=5
        when   0ms     packet d/1 gossip b/3=alive
        when   1ms     packet d/1 gossip b/3=down
        when   2ms     fact b/3 leaving true
        when   3ms     show b
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
        when   1ms     bye b/3 restarting
        when   2ms     fact c/1 restarting true
        when   3ms     packet d/1 gossip b/3=down c/1=down
        when   4ms     show b
        when   5s      packet b/4 ping
        when   5s      bye d/1
        when   5s      bye b/4
        when   9s      show c
        when   11s     run
        ",
    );
}

#[test]
fn a_goodbye_takes_its_time_and_a_second_one_none() {
    check::<MembershipScript>(
        "
        given  incarnation=5
        when   0ms     packet b/3 ping
        when   1ms     linked b/3
        when   2ms     leave 7
        when   3ms     join 8 c:1
        when   4ms     labels 9 k=v
        when   5ms     evict 10 b
        when   10s     run
        ",
    );
    check::<MembershipScript>(
        "
        given  incarnation=5
        when   0ms     packet b/3 ping
        when   1ms     leave
        when   2ms     leave
        when   3ms     leave
        ",
    );
    check::<MembershipScript>(
        "
        given  incarnation=5
        when   0ms     packet b/3 ping
        when   1ms     restart
        when   10s     run
        ",
    );
}

#[test]
fn who_leaves_does_not_mind_being_called_gone() {
    check::<MembershipScript>(
        "
        given  incarnation=5
        when   0ms     packet b/3 ping
        when   1ms     leave
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
        when   1ms     evict 1 b
        when   2ms     evict 2 x
        when   3ms     evict 3 a
        when   4ms     packet d/1 gossip b/3=down
        when   5ms     evict 4 b
        when   6ms     show b
        when   7ms     evict 5 b
        # Another node's eviction holds for whoever is a member here, but not for its newer life.
        when   8ms     fact d/1 evict/c 1
        when   9ms     fact d/1 evict/d 0
        when   10ms    fact d/1 evict/z 4
        when   11ms    bye d/1
        when   60010ms run
        ",
    );
}

#[test]
fn labels_are_replaced_or_refused_whole() {
    check::<MembershipScript>(
        "
        given  incarnation=5
        when   0ms     labels 1 tier=gpu zone=
        when   1ms     labels 2 =x
        when   2ms     labels 3
        ",
    );
}

#[test]
fn an_operator_joins_through_addresses_that_are_addresses() {
    check::<MembershipScript>(
        "
        given  incarnation=5
        when   0ms     join 1 b:7420 [::1]:7420
        when   1ms     join 2 b
        when   2ms     resolved b:7420 10.0.0.2:7420
        when   3ms     seed_failed 10.0.0.2:7420 refused
        when   4ms     resolved [::1]:7420
        ",
    );
}

#[test]
fn a_bridge_is_tried_to_seeds_that_are_no_members() {
    check::<MembershipScript>(
        "
        given  join=b:7420
        when   0ms     resolved b:7420
        when   0ms     linked b/3
        when   1ms     list b/3 b/3=alive
        when   72s     tick
        when   72001ms resolved b:7420 10.0.0.2:7420 10.0.0.9:7420
        ",
    );
}

#[test]
fn a_link_that_is_silent_while_datagrams_flow_is_told_once_and_clears() {
    check::<MembershipScript>(
        "
        given  incarnation=5
        when   0ms     packet b/3 gossip
        when   29s     heard b/3 datagram
        when   31s     tick
        when   32s     tick
        when   33s     show b
        when   34s     heard b/3 link
        when   34s     show b
        ",
    );
}

#[test]
fn a_sleeper_forgets_everybody_and_is_born_again() {
    check::<MembershipScript>(
        "
        given  forget_after_ms=60000
        when   0ms     packet b/3 gossip c/1=alive
        when   1ms     packet b/3 gossip c/1=down
        when   60002ms packet b/3 ping
        when   60003ms persisted 6
        when   60004ms show c
        when   60005ms packet b/3 ping
        ",
    );
}

#[test]
fn a_used_up_refutation_counter_is_a_raise() {
    check::<MembershipScript>(
        "
        given  incarnation=5
        when   0ms     packet b/3 ping
        when   1ms     packet b/3 gossip a/5=suspect.65535
        when   2ms     persisted 6
        ",
    );
}

#[test]
fn a_list_does_not_hand_on_the_tale_of_somebody_whom_we_never_met() {
    check::<MembershipScript>(
        "
        given  incarnation=5
        when   0ms     list b/3 b/3=alive c/1=alive d/1=down
        when   1ms     list b/3 wants c/1=down
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

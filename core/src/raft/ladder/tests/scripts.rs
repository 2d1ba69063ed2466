//! Every row of the ladder, told.

use super::LadderScript;
use crate::raft::ladder::{choice::target, voters_max};
use crate::script::check;

#[test]
fn the_table_says_how_many_vote() {
    let row = |max| (0..=9).map(|eligible| target(eligible, max)).collect::<Vec<_>>();
    assert_eq!(row(7), [0, 1, 2, 3, 3, 5, 5, 7, 7, 7]);
    assert_eq!(row(5), [0, 1, 2, 3, 3, 5, 5, 5, 5, 5]);
    assert_eq!(row(3), [0, 1, 2, 3, 3, 3, 3, 3, 3, 3]);
    assert_eq!(row(1), [0, 1, 1, 1, 1, 1, 1, 1, 1, 1]);
    let asked = [0, 1, 2, 3, 4, 5, 6, 7, 8, 100].map(voters_max);
    assert_eq!(asked, [5, 1, 1, 3, 3, 5, 5, 7, 7, 7]);
}

#[test]
fn one_voter_grows_to_five_and_four_stand_by() {
    check::<LadderScript>(
        "
        when   0s      run nodes=a,b,c,d,e,f,g,h,i,j voters=a*
        then   add b as learner
        then   add c as learner
        then   add d as learner
        then   add e as learner
        then   promote b
        then   promote c
        then   promote d
        then   promote e
        then   add f as standby
        then   add g as standby
        then   add h as standby
        then   add i as standby
        then   settled
        ",
    );
}

#[test]
fn a_leader_that_has_heard_of_few_so_far_takes_no_vote_away() {
    check::<LadderScript>(
        "
        when   0s      plan nodes=a,b,c,d,e voters=a*,b,c,d,e unread=e
        then   settled
        when   0s      plan nodes=a,b,c voters=a*,b,c,d,e
        then   settled
        when   0s      plan nodes=a,b,c,d,f voters=a*,b,c,d,e
        then   add f as standby
        then   unsettled
        # Once it is lost it is one less.
        when   0s      plan nodes=a,b,c,d,e,f voters=a*,b,c,d,e unread=e lost=e
        then   add f as learner
        then   unsettled
        ",
    );
}

#[test]
fn who_failed_keeps_its_place_for_the_grace_however_long_it_is_silent() {
    check::<LadderScript>(
        "
        when   0s      plan nodes=a,b,c,d voters=a*,b,c ready=d lost=c mute=c
        then   swap c for d
        then   finish the joint change
        then   unsettled
        when   0s      plan nodes=a,b,c,d voters=a*,b,c ready=d lost=c mute=c grace=600
        then   settled
        # Membership believes in it: then silence alone must do.
        when   0s      plan nodes=a,b,c,d voters=a*,b,c ready=d mute=c grace=600
        then   swap c for d
        then   finish the joint change
        then   add c as standby
        then   unsettled
        ",
    );
}

#[test]
fn who_is_silent_for_less_than_an_election_takes_counts() {
    check::<LadderScript>(
        "
        when   0s      plan nodes=a,b,c voters=a*,b,c quiet=b,c
        then   unsettled
        when   0s      plan nodes=a,b,c voters=a*,b,c quiet=b,c patience=6
        then   settled
        # Nobody is lost before it is silent.
        when   0s      plan nodes=a,b,c,d voters=a*,b,c ready=d mute=c patience=80
        then   settled
        ",
    );
}

#[test]
fn zones_fill_evenly_then_priority_then_habit_then_names() {
    check::<LadderScript>(
        "
        when   0s      run standbys=0 nodes=a1@a,a2@a,a3@a,b1@b,b2@b,c1@c voters=a1*
        then   add b1 as learner
        then   add c1 as learner
        then   add a2 as learner
        then   add b2 as learner
        then   promote b1
        then   promote c1
        then   promote a2
        then   promote b2
        then   settled
        when   0s      ranked nodes=a1@a,a2@a,a3@a,b1@b,b2@b,c1@c
        then   a1
        then   b1
        then   c1
        then   a2
        then   b2
        then   a3
        # Priority is asked inside a zone and between zones that are equally full, not before.
        when   0s      run standbys=0 max=3 nodes=a1@a,a2@a:1,a3@a:2,b1@b:200 voters=a1*
        then   add a2 as learner
        then   add b1 as learner
        then   add a3 as learner
        then   promote a2
        then   promote b1
        then   transfer to a2
        then   swap a1 for a3
        then   finish the joint change
        then   settled
        # Habit: c votes, so it stays, although a comes first by name.
        when   0s      plan standbys=0 max=1 nodes=a,b,c voters=c*
        then   settled
        # Nodes without a zone share the empty one.
        when   0s      run standbys=0 max=3 nodes=a,b,c,d@z voters=a*
        then   add d as learner
        then   add b as learner
        then   promote d
        then   promote b
        then   settled
        ",
    );
}

#[test]
fn whoever_may_not_vote_is_no_candidate() {
    check::<LadderScript>(
        "
        when   0s      plan nodes=a,b,c,d,e,f,g,h,i voters=a* unwilling=b old=c leaving=d foreign=e failed=f left=g silent=h diskless=i
        then   settled
        when   0s      plan nodes=a,b voters=a* unread=b
        then   settled
        # One with our genesis may, one without any may.
        when   0s      plan nodes=a,b,c voters=a* native=b
        then   add b as learner
        then   add c as learner
        then   unsettled
        # Nobody may: whoever votes keeps the log.
        when   0s      plan nodes=a,b,c voters=a*,b,c unwilling=a,b,c
        then   settled
        ",
    );
}

#[test]
fn a_learner_votes_only_after_two_seconds_within_reach() {
    check::<LadderScript>(
        "
        when   0s      plan nodes=a,b voters=a* learners=b
        then   unsettled
        when   0s      plan nodes=a,b voters=a* ready=b fresh=b
        then   unsettled
        when   0s      plan nodes=a,b voters=a* ready=b quiet=b
        then   settled
        when   0s      plan nodes=a,b voters=a* ready=b
        then   promote b
        then   unsettled
        ",
    );
}

#[test]
fn a_joint_change_is_finished_first() {
    check::<LadderScript>(
        "
        when   0s      plan nodes=a,b,c,d voters=a*,b,d outgoing=a,b,c
        then   finish the joint change
        then   add c as standby
        then   unsettled
        # Not while the voters to come are no majority.
        when   0s      plan nodes=a,b,c,d voters=a*,b,d outgoing=a,b,c behind=b,d
        then   unsettled
        # The leader is left out: another leads first.
        when   0s      plan nodes=a,b voters=b outgoing=a* unwilling=a
        then   transfer to b
        then   finish the joint change
        then   unsettled
        ",
    );
}

#[test]
fn a_voter_that_is_gone_is_swapped_for_a_learner() {
    check::<LadderScript>(
        "
        when   0s      run standbys=0 nodes=a,b,c,d voters=a*,b,c ready=d lost=c
        then   swap c for d
        then   finish the joint change
        then   settled
        when   0s      run standbys=0 nodes=a,b,c,d voters=a*,b,c ready=d left=c
        then   swap c for d
        then   finish the joint change
        then   settled
        when   0s      run standbys=0 nodes=a,b,c,d voters=a*,b,c ready=d mute=c
        then   swap c for d
        then   finish the joint change
        then   settled
        # It failed a moment ago, or is silent for less than a minute: it may return.
        when   0s      plan standbys=0 nodes=a,b,c,d voters=a*,b,c failed=c
        then   settled
        when   0s      plan standbys=0 nodes=a,b,c,d voters=a*,b,c silent=c
        then   settled
        # Two are gone: the one gone for good goes first.
        when   0s      run standbys=0 nodes=a,b,c,d,e,f,g voters=a*,b,c,d,e ready=f,g lost=d left=e
        then   swap e for f
        then   finish the joint change
        then   swap d for g
        then   finish the joint change
        then   settled
        # An operator prefers another.
        when   0s      run standbys=0 max=3 nodes=a,b,c,d:50 voters=a*,b,c
        then   add d as learner
        then   swap c for d
        then   finish the joint change
        then   settled
        ",
    );
}

#[test]
fn a_diskless_voter_that_restarted_is_replaced_by_itself() {
    check::<LadderScript>(
        "
        when   0s      run nodes=a,b,c voters=a*,b,c reborn=c
        then   add c as learner
        then   swap c for c
        then   finish the joint change
        then   settled
        ",
    );
}

#[test]
fn the_leader_hands_over_before_it_goes() {
    check::<LadderScript>(
        "
        when   0s      run standbys=0 nodes=a,b,c voters=a*,b,c leaving=a
        then   transfer to b
        then   remove a
        then   settled
        when   0s      run standbys=0 nodes=a,b,c,d voters=a*,b,c leaving=a
        then   add d as learner
        then   transfer to b
        then   swap a for d
        then   finish the joint change
        then   settled
        # To the highest match, then by rank.
        when   0s      plan standbys=0 nodes=a,b,c voters=a*,b,c leaving=a ahead=c
        then   transfer to c
        then   remove a
        then   unsettled
        when   0s      plan standbys=0 nodes=a,b,c voters=a*,b,c leaving=a behind=b
        then   settled
        # Alone: the other votes and leads before it goes.
        when   0s      run standbys=0 nodes=a,b voters=a* leaving=a
        then   add b as learner
        then   swap a for b
        then   transfer to b
        then   finish the joint change
        then   settled
        # With one lost it cannot go, so it keeps the lead.
        when   0s      plan standbys=0 nodes=a:200,b,c,d,e voters=a*,b,c,d,e lost=e
        then   settled
        ",
    );
}

#[test]
fn two_of_three_or_four_of_five_wait_and_three_of_five_go_on_alone() {
    check::<LadderScript>(
        "
        when   0s      plan nodes=a,b,c voters=a*,b,c lost=c
        then   settled
        when   0s      plan nodes=a,b,c,d,e voters=a*,b,c,d,e lost=e
        then   settled
        when   0s      run nodes=a,b,c,d,e voters=a*,b,c,d,e lost=d,e
        then   remove lost e d
        then   finish the joint change
        then   settled
        # Of seven with three lost, two go: that helps as much as three would.
        when   0s      run max=7 nodes=a,b,c,d,e,f,g voters=a*,b,c,d,e,f,g lost=e,f,g
        then   remove lost g f
        then   finish the joint change
        then   settled
        # Replacements are on the way: they are waited for.
        when   0s      plan standbys=0 nodes=a,b,c,d,e,f,g voters=a*,b,c,d,e learners=f,g lost=d,e
        then   unsettled
        ",
    );
}

#[test]
fn a_lost_majority_has_no_steps() {
    check::<LadderScript>(
        "
        when   0s      plan nodes=a,b,c,d voters=a*,b,c ready=d lost=b,c
        then   unsettled
        when   0s      plan nodes=a,b,c,d voters=a*,b,c ready=d quiet=b behind=c
        then   unsettled
        ",
    );
}

#[test]
fn voters_max_changes_while_everything_runs() {
    check::<LadderScript>(
        "
        when   0s      run max=3 nodes=a,b,c,d,e voters=a,b,c,d,e*
        then   transfer to a
        then   remove e
        then   remove d
        then   add d as standby
        then   add e as standby
        then   settled
        when   0s      run max=1 nodes=a,b,c voters=a*,b,c
        then   remove c
        then   remove b
        then   add b as standby
        then   add c as standby
        then   settled
        when   0s      run max=5 nodes=a,b,c,d,e voters=a*,b,c ready=d,e
        then   promote d
        then   promote e
        then   settled
        # Four of five live: one goes for good, and a live one goes after it.
        when   0s      run standbys=0 nodes=a,b,c,d,e voters=a*,b,c,d,e left=e
        then   remove e
        then   remove d
        then   settled
        # The lost one may return, so no live one goes.
        # The lost one may return, so no live one goes.
        when   0s      plan standbys=0 max=3 nodes=a,b,c,d,e voters=a*,b,c,d,e lost=e
        then   settled
        ",
    );
}

#[test]
fn standbys_are_the_next_in_rank() {
    check::<LadderScript>(
        "
        when   0s      run max=1 standbys=2 nodes=a,b,c,d voters=a* ready=d
        then   add b as standby
        then   settled
        when   0s      run max=1 standbys=1 nodes=a,b:50,c voters=a* ready=c
        then   add b as learner
        then   swap a for b
        then   transfer to b
        then   finish the joint change
        then   settled
        # A silent learner stays for the grace, then goes and is not added again while it is silent.
        when   0s      plan max=1 nodes=a,b voters=a* ready=b quiet=b
        then   settled
        when   0s      plan max=1 nodes=a,b voters=a* ready=b silent=b
        then   remove learner b
        then   unsettled
        when   0s      plan max=1 nodes=a,b voters=a* silent=b
        then   settled
        when   0s      plan max=1 nodes=a,b voters=a* ready=b failed=b
        then   settled
        when   0s      plan max=1 nodes=a,b voters=a* ready=b lost=b
        then   remove learner b
        then   unsettled
        ",
    );
}

#[test]
fn former_lives_that_still_listen_leave_no_more_than_their_room() {
    check::<LadderScript>(
        "
        when   0s      plan max=3 standbys=1 nodes=a,b,c voters=a* learners=u,v,w
        then   add b as learner
        then   remove learner u
        then   add c as learner
        then   remove learner v
        then   remove learner w
        then   unsettled
        when   0s      plan max=3 standbys=1 nodes=a,b,c voters=a* learners=u,v,w,x
        then   remove learner u
        then   add b as learner
        then   remove learner v
        then   add c as learner
        then   remove learner w
        then   remove learner x
        then   unsettled
        ",
    );
}

#[test]
fn a_live_voter_whose_facts_have_not_arrived_stays() {
    check::<LadderScript>(
        "
        when   0s      plan nodes=a,b,c voters=a*,b,c unread=b,c
        then   settled
        ",
    );
}

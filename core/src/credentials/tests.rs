//! Scripts: a folder that is edited behind the machine's back, and what comes of it.

mod folder;
mod laws;

use crate::script::check;
use folder::FolderScript;

#[test]
fn an_edit_arrives_once_and_a_repeated_hint_changes_nothing() {
    check::<FolderScript>(
        "
        given  files=a,b
        when   0s      start
        then   pools hear a r1 in use
        then   Added a r1
        then   pools hear b r1 in use
        then   Added b r1
        then   pools hear that this is all
        when   1s      put a 2
        when   1s      hint a a
        then   Offered { queued: 1, coalesced: 1, overflowed: 0 }
        then   pools hear a r2 in use anew
        then   Updated a r2
        when   2s      hint a
        then   Offered { queued: 1, coalesced: 0, overflowed: 0 }
        ",
    );
}

#[test]
fn a_revision_outlives_deletion_and_restart() {
    check::<FolderScript>(
        "
        given  files=a
        when   0s      start
        then   pools hear a r1 in use
        then   Added a r1
        then   pools hear that this is all
        when   1s      put a 2
        when   1s      hint a
        then   Offered { queued: 1, coalesced: 0, overflowed: 0 }
        then   pools hear a r2 in use anew
        then   Updated a r2
        when   2s      remove a
        when   2s      hint a
        then   Offered { queued: 1, coalesced: 0, overflowed: 0 }
        when   2050ms  tick
        when   2100ms  tick
        then   pools hear a r3 deleted
        then   Removed a r3
        when   3s      put a 3
        when   3s      hint a
        then   Offered { queued: 1, coalesced: 0, overflowed: 0 }
        then   pools hear a r4 in use anew
        then   Added a r4
        when   4s      restart
        when   4s      start
        then   pools hear a r4 in use
        then   pools hear that this is all
        when   4s      heads
        then   a r4 in use
        ",
    );
}

#[test]
fn pools_hear_of_another_body_across_a_deletion_and_a_restart_and_not_of_the_same_one() {
    check::<FolderScript>(
        "
        given  files=a,b
        when   0s      start
        then   pools hear a r1 in use
        then   Added a r1
        then   pools hear b r1 in use
        then   Added b r1
        then   pools hear that this is all
        when   1s      remove a
        when   1s      hint a
        then   Offered { queued: 1, coalesced: 0, overflowed: 0 }
        when   1200ms  tick
        then   pools hear a r2 deleted
        then   Removed a r2
        when   2s      put a 1
        when   2s      hint a
        then   Offered { queued: 1, coalesced: 0, overflowed: 0 }
        then   pools hear a r3 in use
        then   Added a r3
        when   3s      remove a
        when   3s      hint a
        then   Offered { queued: 1, coalesced: 0, overflowed: 0 }
        when   3200ms  tick
        then   pools hear a r4 deleted
        then   Removed a r4
        when   4s      restart
        when   4s      put a 2
        when   4s      put b 2
        when   4s      start
        then   pools hear a r5 in use anew
        then   Added a r5
        then   pools hear b r2 in use anew
        then   Updated b r2
        then   pools hear that this is all
        when   5s      restart
        when   5s      start
        then   pools hear a r5 in use
        then   pools hear b r2 in use
        then   pools hear that this is all
        # Whoever is forgotten is new.
        when   6s      remove a
        when   6s      hint a
        then   Offered { queued: 1, coalesced: 0, overflowed: 0 }
        when   6200ms  tick
        then   pools hear a r6 deleted
        then   Removed a r6
        when   7s      purge 100
        then   Purged { count: 1 }
        when   8s      put a 3
        when   8s      hint a
        then   Offered { queued: 1, coalesced: 0, overflowed: 0 }
        then   pools hear a r1 in use
        then   Added a r1
        ",
    );
}

#[test]
fn a_file_that_is_away_for_a_moment_is_not_deleted() {
    check::<FolderScript>(
        "
        given  files=a
        when   0s      start
        then   pools hear a r1 in use
        then   Added a r1
        then   pools hear that this is all
        when   1s      remove a
        when   1s      hint a
        then   Offered { queued: 1, coalesced: 0, overflowed: 0 }
        when   1050ms  put a 1
        when   1100ms  tick
        when   1200ms  heads
        then   a r1 in use
        # Taken away and put back with other content, it is one update.
        when   2s      remove a
        when   2s      hint a
        then   Offered { queued: 1, coalesced: 0, overflowed: 0 }
        when   2050ms  put a 2
        when   2050ms  hint a
        then   Offered { queued: 1, coalesced: 0, overflowed: 0 }
        then   pools hear a r2 in use anew
        then   Updated a r2
        when   3s      tick
        ",
    );
}

#[test]
fn half_a_file_leaves_the_last_good_one_in_use_and_is_reported_when_it_stays() {
    check::<FolderScript>(
        "
        given  files=a
        when   0s      start
        then   pools hear a r1 in use
        then   Added a r1
        then   pools hear that this is all
        when   1s      tear a
        when   1s      hint a
        then   Offered { queued: 1, coalesced: 0, overflowed: 0 }
        when   2999ms  tick
        when   3s      tick
        then   invalid a: it breaks off
        when   4s      hint a
        then   Offered { queued: 1, coalesced: 0, overflowed: 0 }
        when   4s      heads
        then   a r1 in use
        when   5s      put a 2
        when   5s      hint a
        then   Offered { queued: 1, coalesced: 0, overflowed: 0 }
        then   pools hear a r2 in use anew
        then   Updated a r2
        ",
    );
}

#[test]
fn an_emptied_folder_removes_nothing_until_somebody_says_so() {
    check::<FolderScript>(
        "
        given  files=a,b,c,d,e
        when   0s      start
        then   pools hear a r1 in use
        then   Added a r1
        then   pools hear b r1 in use
        then   Added b r1
        then   pools hear c r1 in use
        then   Added c r1
        then   pools hear d r1 in use
        then   Added d r1
        then   pools hear e r1 in use
        then   Added e r1
        then   pools hear that this is all
        when   1s      empty
        when   1s      hint a b c d e
        then   Offered { queued: 5, coalesced: 0, overflowed: 0 }
        when   1100ms  tick
        then   BreakerOpened { held: 5 }
        when   1200ms  heads
        then   a r1 in use
        then   b r1 in use
        then   c r1 in use
        then   d r1 in use
        then   e r1 in use
        # It stays so when everything is listed again.
        when   61s     tick
        when   62s     tick
        when   63s     accept
        then   BreakerClosed
        then   pools hear a r2 deleted
        then   Removed a r2
        then   pools hear b r2 deleted
        then   Removed b r2
        then   pools hear c r2 deleted
        then   Removed c r2
        then   pools hear d r2 deleted
        then   Removed d r2
        then   pools hear e r2 deleted
        then   Removed e r2
        then   Settled { held: 5 }
        when   64s     accept
        then   Settled { held: 0 }
        ",
    );
}

#[test]
fn what_the_breaker_holds_can_be_written_back() {
    check::<FolderScript>(
        "
        given  files=a,b,c,d,e
        when   0s      start
        then   pools hear a r1 in use
        then   Added a r1
        then   pools hear b r1 in use
        then   Added b r1
        then   pools hear c r1 in use
        then   Added c r1
        then   pools hear d r1 in use
        then   Added d r1
        then   pools hear e r1 in use
        then   Added e r1
        then   pools hear that this is all
        when   1s      empty
        when   1s      rescan
        then   Done
        when   1s      tick
        when   1100ms  tick
        then   BreakerOpened { held: 5 }
        when   2s      restore
        then   Settled { held: 5 }
        when   3s      hint a b c d e
        then   Offered { queued: 5, coalesced: 0, overflowed: 0 }
        then   BreakerClosed
        when   4s      heads
        then   a r1 in use
        then   b r1 in use
        then   c r1 in use
        then   d r1 in use
        then   e r1 in use
        ",
    );
}

#[test]
fn three_of_many_may_go_at_once() {
    check::<FolderScript>(
        "
        given  files=a,b,c,d,e
        when   0s      start
        then   pools hear a r1 in use
        then   Added a r1
        then   pools hear b r1 in use
        then   Added b r1
        then   pools hear c r1 in use
        then   Added c r1
        then   pools hear d r1 in use
        then   Added d r1
        then   pools hear e r1 in use
        then   Added e r1
        then   pools hear that this is all
        when   1s      remove a
        when   1s      remove b
        when   1s      remove c
        when   1s      hint a b c
        then   Offered { queued: 3, coalesced: 0, overflowed: 0 }
        when   1100ms  tick
        then   pools hear a r2 deleted
        then   Removed a r2
        then   pools hear b r2 deleted
        then   Removed b r2
        then   pools hear c r2 deleted
        then   Removed c r2
        when   1200ms  heads
        then   a r2 deleted
        then   b r2 deleted
        then   c r2 deleted
        then   d r1 in use
        then   e r1 in use
        ",
    );
}

#[test]
fn a_store_that_does_not_answer_costs_nothing_but_news() {
    check::<FolderScript>(
        "
        given  files=a
        when   0s      down
        when   0s      start
        then   the store fails: gone away
        then   pools hear that this is all
        when   999ms   tick
        when   1s      tick
        when   2s      up
        when   3s      tick
        then   the store answers
        then   pools hear a r1 in use
        then   Added a r1
        when   4s      down
        when   4s      hint a
        then   Offered { queued: 1, coalesced: 0, overflowed: 0 }
        then   the store fails: gone away
        when   4s      heads
        then   a r1 in use
        when   5s      up
        when   5s      tick
        then   the store answers
        ",
    );
}

#[test]
fn what_a_surface_wrote_is_in_use_at_once_and_the_watcher_finds_nothing_new() {
    check::<FolderScript>(
        "
        given  files=a
        when   0s      start
        then   pools hear a r1 in use
        then   Added a r1
        then   pools hear that this is all
        when   1s      write b 1
        then   pools hear b r1 in use
        then   Added b r1
        then   applied r1 changed
        when   1s      hint b
        then   Offered { queued: 1, coalesced: 0, overflowed: 0 }
        when   2s      write a 1
        then   applied r1 unchanged
        when   3s      delete a
        then   pools hear a r2 deleted
        then   Removed a r2
        then   applied r2 changed
        when   3s      delete a
        then   applied r2 unchanged
        when   3s      hint a
        then   Offered { queued: 1, coalesced: 0, overflowed: 0 }
        # A look that began before the write says nothing about what was written.
        when   4s      hold
        when   4s      hint b
        then   Offered { queued: 1, coalesced: 0, overflowed: 0 }
        when   4s      write b 2
        then   pools hear b r2 in use anew
        then   Updated b r2
        then   applied r2 changed
        when   5s      release
        when   5s      heads
        then   a r2 deleted
        then   b r2 in use
        ",
    );
}

#[test]
fn what_was_missed_twice_and_is_listed_again_before_the_pass_ends_is_not_removed() {
    check::<FolderScript>(
        "
        given  files=a,b
        when   0s      start
        then   pools hear a r1 in use
        then   Added a r1
        then   pools hear b r1 in use
        then   Added b r1
        then   pools hear that this is all
        when   1s      remove a
        when   1s      remove b
        when   1s      hint a
        then   Offered { queued: 1, coalesced: 0, overflowed: 0 }
        when   1050ms  hint b
        then   Offered { queued: 1, coalesced: 0, overflowed: 0 }
        when   1100ms  tick
        # The pass waits for b, and a is back meanwhile.
        when   1110ms  put a 2
        when   1120ms  hold
        when   1120ms  rescan
        then   Done
        when   1120ms  tick
        when   1150ms  tick
        when   1160ms  release
        then   pools hear b r2 deleted
        then   Removed b r2
        then   pools hear a r2 in use anew
        then   Updated a r2
        ",
    );
}

#[test]
fn what_is_found_again_is_not_removed_while_that_look_waits_for_its_turn() {
    check::<FolderScript>(
        "
        given  files=a,b,c
        when   0s      start
        then   pools hear a r1 in use
        then   Added a r1
        then   pools hear b r1 in use
        then   Added b r1
        then   pools hear c r1 in use
        then   Added c r1
        then   pools hear that this is all
        when   1s      remove a
        when   1s      remove b
        when   1s      hint a
        then   Offered { queued: 1, coalesced: 0, overflowed: 0 }
        when   1050ms  hint b
        then   Offered { queued: 1, coalesced: 0, overflowed: 0 }
        when   1100ms  tick
        # Everybody is looked at again, and the look at c is slow.
        when   1110ms  put a 2
        when   1120ms  hold
        when   1120ms  hint c a
        then   Offered { queued: 2, coalesced: 0, overflowed: 0 }
        when   1130ms  release last
        when   2s      tick
        when   2100ms  tick
        when   2200ms  release
        then   pools hear a r2 in use anew
        then   Updated a r2
        then   pools hear b r2 deleted
        then   Removed b r2
        ",
    );
}

#[test]
fn what_a_surface_deleted_is_not_brought_back_by_a_look_that_began_before() {
    check::<FolderScript>(
        "
        given  files=a
        when   0s      start
        then   pools hear a r1 in use
        then   Added a r1
        then   pools hear that this is all
        when   1s      delete a
        then   pools hear a r2 deleted
        then   Removed a r2
        then   applied r2 changed
        # Somebody puts it back, and it is deleted again before the look at it is answered.
        when   2s      hold
        when   2s      put a 2
        when   2s      hint a
        then   Offered { queued: 1, coalesced: 0, overflowed: 0 }
        when   2s      delete a
        then   applied r2 unchanged
        when   3s      release
        when   3s      heads
        then   a r2 deleted
        # What was no record and is deleted is reported no more.
        when   4s      tear a
        when   4s      hint a
        then   Offered { queued: 1, coalesced: 0, overflowed: 0 }
        when   5s      delete a
        then   applied r2 unchanged
        when   7s      tick
        ",
    );
}

#[test]
fn switching_off_and_on_is_said_as_that() {
    check::<FolderScript>(
        "
        given  files=a
        when   0s      start
        then   pools hear a r1 in use
        then   Added a r1
        then   pools hear that this is all
        when   1s      put a 1 disabled
        when   1s      hint a
        then   Offered { queued: 1, coalesced: 0, overflowed: 0 }
        then   pools hear a r2 disabled anew
        then   Disabled a r2
        when   2s      put a 1
        when   2s      hint a
        then   Offered { queued: 1, coalesced: 0, overflowed: 0 }
        then   pools hear a r3 in use anew
        then   Enabled a r3
        when   3s      expose a
        when   3s      hint a
        then   Offered { queued: 1, coalesced: 0, overflowed: 0 }
        then   exposed a
        then   pools hear a r3 in use
        ",
    );
}

#[test]
fn tombstones_are_forgotten_by_an_operator_alone() {
    check::<FolderScript>(
        "
        given  files=a,b
        when   0s      start
        then   pools hear a r1 in use
        then   Added a r1
        then   pools hear b r1 in use
        then   Added b r1
        then   pools hear that this is all
        when   1s      delete a
        then   pools hear a r2 deleted
        then   Removed a r2
        then   applied r2 changed
        when   9s      delete b
        then   pools hear b r2 deleted
        then   Removed b r2
        then   applied r2 changed
        when   10s     purge 5
        then   Purged { count: 1 }
        when   10s     heads
        then   b r2 deleted
        ",
    );
}

#[test]
fn a_folder_that_holds_too_much_is_no_evidence_of_absence() {
    check::<FolderScript>(
        "
        given  files=a,b
        when   0s      start
        then   pools hear a r1 in use
        then   Added a r1
        then   pools hear b r1 in use
        then   Added b r1
        then   pools hear that this is all
        when   1s      shorten
        when   1s      rescan
        then   Done
        then   LimitReached { left_out: 1 }
        when   1s      tick
        when   3s      heads
        then   a r1 in use
        then   b r1 in use
        ",
    );
}

#[test]
fn a_node_that_leaves_looks_no_more() {
    check::<FolderScript>(
        "
        given  files=a
        when   0s      start
        then   pools hear a r1 in use
        then   Added a r1
        then   pools hear that this is all
        when   1s      put a 2
        when   1s      stop
        when   1s      hint a
        then   Offered { queued: 0, coalesced: 0, overflowed: 0 }
        when   61s     tick
        when   62s     heads
        then   a r1 in use
        ",
    );
}

#[test]
fn a_node_that_leaves_before_it_has_read_everything_never_says_that_it_has() {
    check::<FolderScript>(
        "
        given  files=a,b
        when   0s      hold
        when   0s      start
        when   1s      stop
        when   2s      release
        then   pools hear a r1 in use
        then   Added a r1
        then   pools hear b r1 in use
        then   Added b r1
        ",
    );
}

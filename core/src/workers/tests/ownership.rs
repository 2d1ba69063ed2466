//! Registering and changing; claims beside claims; refusals; late answers; policy.

use super::harness::WorkersScript;
use crate::script::check;

#[test]
fn registering_twice_is_one_registration_and_another_spec_is_refused() {
    check::<WorkersScript>(
        "
        when   0ms     start
        then   ready
        when   1s      post w7 weight=3
        then   keep own
        then   w7 - > Pending Registered
        then   write w7 active unknown v1 r1
        then   reply created w7
        then   probe #1 w7 own
        when   1s      post w7 weight=3
        then   reply w7 r1
        when   1s      post w7 weight=4
        then   reply worker_exists
        ",
    );
}

#[test]
fn a_change_names_the_revision_it_was_made_for() {
    check::<WorkersScript>(
        "
        when   0ms     start
        then   ready
        when   1s      post w7
        then   keep own
        then   w7 - > Pending Registered
        then   write w7 active unknown v1 r1
        then   reply created w7
        then   probe #1 w7 own
        when   1s      put - w7 weight=3
        then   reply precondition_required
        when   1s      put 2 w7 weight=3
        then   reply precondition_failed
        when   1s      put 1 w7 weight=3
        then   keep own
        then   write w7 active unknown v1 r2
        then   reply w7 r2
        when   1s      put 2 w7 weight=3
        then   reply w7 r2
        when   1s      put 2 w7 weight=0
        then   reply spec_weight
        when   1s      patch 2 w7 weight=9
        then   keep own
        then   write w7 active unknown v1 r3
        then   reply w7 r3
        when   1s      patch 3 w7 weight=null
        then   keep own
        then   write w7 active unknown v1 r4
        then   reply w7 r4
        when   1s      patch 4 w7 url=http://10.0.0.8
        then   reply spec_url
        when   1s      patch 4 w7 wieght=1
        then   reply invalid_request
        when   1s      patch 4 w7 weight=much
        then   reply invalid_request
        when   1s      put 1 w9
        then   reply not_found
        ",
    );
}

#[test]
fn what_breaks_a_bound_is_refused_by_name() {
    check::<WorkersScript>(
        "
        when   0ms     start
        then   ready
        when   1s      post ftp://10.0.0.7
        then   reply url_scheme
        when   1s      post http://u:p@10.0.0.7
        then   reply url_userinfo
        when   1s      post http://10.0.0.7?q
        then   reply url_query
        when   1s      post http://10.7
        then   reply url_host
        when   1s      post grpc://10.0.0.7
        then   reply url_port
        when   1s      post http://10.0.0.7/..
        then   reply url_path
        when   1s      post http://169.254.169.254
        then   reply url_denied
        when   1s      post w7 rank=5000
        then   reply spec_rank
        when   1s      post w7 rank=70000
        then   reply url_rank
        when   1s      post w7 kind=oracle
        then   reply spec_kind
        when   1s      post w7 mode=grpc
        then   reply spec_mode
        when   1s      post w7 mode=pigeon
        then   reply spec_mode
        when   1s      post w7 runtime=
        then   reply spec_runtime
        when   1s      post w7 label=hf-token:x
        then   reply label_secret
        when   1s      post w7 label=api-key:x
        then   reply label_secret
        when   1s      post w7 label=:x
        then   reply spec_labels
        when   1s      post w7 priority=101
        then   reply spec_priority
        when   1s      post w7 weight=1001
        then   reply spec_weight
        when   1s      post w7 max_in_flight=65536
        then   reply spec_max_in_flight
        when   1s      post w7 interval=999
        then   reply spec_health
        when   1s      post w7 interval=2000 timeout=2001
        then   reply spec_health
        when   1s      post w7 rise=11
        then   reply spec_health
        when   1s      post w7 by=nobody
        then   reply spec_health
        when   1s      post w7 settle=600001
        then   reply spec_drain_settle
        when   1s      post w7 auth=maybe
        then   reply spec_auth
        when   1s      drain w7
        then   reply not_found
        when   1s      remove w7
        then   reply not_found
        when   1s      probe nonsense
        then   reply url_scheme
        when   1s      view w7
        then   gone
        ",
    );
}

#[test]
fn only_its_owner_changes_a_claim() {
    check::<WorkersScript>(
        "
        when   0ms     start
        then   ready
        when   1s      up b/1
        when   1s      peer b/1 lease 1
        when   1s      peer b/1 claims w7 healthy v2
        then   w7 - > Pending Imported
        then   probe #1 w7
        when   1s      remove w7
        then   reply owned_by b alive=true
        when   1s      drain w7
        then   reply owned_by b alive=true
        when   1s      put 1 w7
        then   reply owned_by b alive=true
        when   1s      post w7
        then   keep own
        then   write w7 active unknown v1 r1
        then   reply created w7
        when   2s      drain b:w7
        then   reply owned_by b alive=true
        when   2s      drain a:w7
        then   keep own
        then   w7 Pending > Draining Drained
        then   write w7 draining unknown v1 r2
        then   reply w7 r2
        when   40s     tick
        when   40s     down b/1
        when   40s     drain b:w7
        then   reply owned_by b alive=false
        ",
    );
}

#[test]
fn late_answers_change_nothing() {
    check::<WorkersScript>(
        "
        when   0ms     start
        then   ready
        when   0s      post w7 rise=1
        then   keep own
        then   w7 - > Pending Registered
        then   write w7 active unknown v1 r1
        then   reply created w7
        then   probe #1 w7 own
        when   1s      put 1 w7 rise=1 path=/other
        then   keep own
        then   write w7 active unknown v1 r2
        then   reply w7 r2
        when   2s      answer 1 good
        then   probe #2 w7 own
        when   2s      remove w7
        then   unwrite
        then   forget own
        then   w7 Pending > - Removed
        then   reply removing 1 after 0ms
        when   3s      post w7 rise=1
        then   keep own
        then   w7 - > Pending Registered
        then   write w7 active unknown v2 r3
        then   reply created w7
        then   probe #3 w7 own
        when   3s      answer 2 good
        when   3s      answer 3 good
        then   w7 Pending > Ready ProbesGood
        then   write w7 active healthy v3 r3
        when   3s      answer 3 bad
        when   3s      answer 99 bad
        ",
    );
}

#[test]
fn a_name_that_leads_to_a_denied_address_is_refused_until_it_does_not() {
    check::<WorkersScript>(
        "
        when   0ms     start
        then   ready
        when   1s      peer b/1 claims http://host.gpu unknown v1 rise=1
        then   http://host.gpu - > Pending Imported
        then   probe #1 http://host.gpu
        when   1s      policy http://host.gpu
        when   1s      view http://host.gpu
        then   Pending by b of b/1:Stale:Unknown good=0 bad=0 next=846ms refused:address
        when   3s      tick
        then   probe #2 http://host.gpu
        when   3s      good http://host.gpu
        then   http://host.gpu Pending > Ready ProbesGood
        when   3s      view http://host.gpu
        then   Ready by b of b/1:Stale:Unknown good=0 bad=0 next=3846ms
        when   4s      peer b/1 claims http://169.254.169.254 healthy v1
        then   http://169.254.169.254 - > Pending Imported
        when   4s      view http://169.254.169.254
        then   Pending by b of b/1:Stale:Healthy good=0 bad=0 next=- refused:link-local
        when   5s      peer b/1 claims http://8.8.8.8 healthy v1
        then   http://8.8.8.8 - > Pending Imported
        when   5s      view http://8.8.8.8
        then   Pending by b of b/1:Stale:Healthy good=0 bad=0 next=- refused:allow
        when   6s      peer b/1 claims http://127.0.0.1 healthy v1
        then   http://127.0.0.1 - > Pending Imported
        when   6s      post http://127.0.0.1
        then   keep own
        then   write http://127.0.0.1 active unknown v1 r1
        then   reply created http://127.0.0.1
        then   probe #3 http://127.0.0.1 own
        ",
    );
}

#[test]
fn no_evidence_is_neither_good_nor_bad() {
    check::<WorkersScript>(
        "
        when   0ms     start
        then   ready
        when   0s      post w7 rise=1 fall=1
        then   keep own
        then   w7 - > Pending Registered
        then   write w7 active unknown v1 r1
        then   reply created w7
        then   probe #1 w7 own
        when   0s      good w7
        then   w7 Pending > Ready ProbesGood
        then   write w7 active healthy v2 r1
        when   15s     tick
        then   probe #2 w7 own
        when   15s     local w7
        when   15s     view w7
        then   Ready by a of a/1:Own:Healthy good=0 bad=0 next=8688ms
        ",
    );
}

#[test]
fn a_probe_carries_the_key_of_its_own_prefix_and_of_no_other_port() {
    check::<WorkersScript>(
        "
        given  keys=w7
        when   0ms     start
        then   ready
        when   1s      peer b/1 claims w7 unknown v1 auth=required
        then   w7 - > Pending Imported
        then   probe #1 w7 key=w7
        when   1s      peer b/1 claims http://10.0.0.7:8000 unknown v1
        then   w7:8000 - > Pending Imported
        then   probe #2 w7:8000
        when   1s      peer b/1 claims http://10.0.0.7/v1 unknown v1
        then   w7/v1 - > Pending Imported
        then   probe #3 w7/v1 key=w7
        when   1s      post_keyed w9
        then   keep own
        then   w9 - > Pending Registered
        then   write w9 active unknown v1 r1
        then   reply created w9
        then   probe #4 w9 own key=w9
        ",
    );
}

#[test]
fn a_socket_of_this_host_is_never_published() {
    check::<WorkersScript>(
        "
        when   0ms     start
        then   ready
        when   1s      post ipc:///run/w.sock rise=1
        then   keep own
        then   ipc:///run/w.sock - > Pending Registered
        then   reply created ipc:///run/w.sock
        then   probe #1 ipc:///run/w.sock own
        when   1s      good ipc:///run/w.sock
        then   ipc:///run/w.sock Pending > Ready ProbesGood
        when   1s      post w7 mode=ipc
        then   keep own
        then   w7 - > Pending Registered
        then   reply created w7
        then   probe #2 w7 own
        when   1s      remove ipc:///run/w.sock now
        then   forget own
        then   ipc:///run/w.sock Ready > - Removed
        then   reply removing 1 after 0ms
        ",
    );
}

#[test]
fn what_no_honest_owner_writes_is_misbehaviour_and_leaves_no_trace() {
    check::<WorkersScript>(
        "
        when   0ms     start
        then   ready
        when   1s      peer b/1 claims ipc:///run/x unknown v1
        then   misbehaved b a worker of another host's sockets
        when   1s      peer b/1 claims w7 unknown v1 weight=1001
        then   misbehaved b a worker spec over bounds
        when   1s      view w7
        then   gone
        when   2s      peer b/1 claims w7 unknown v1 kind=oracle
        then   w7 - > Pending Imported
        then   probe #1 w7
        when   2s      view w7
        then   Pending by b of b/1:Stale:Unknown good=0 bad=0 next=-
        when   2s      peer b/1 claims w8 unknown v1 mode=pigeon
        then   w8 - > Pending Imported
        when   2s      view w8
        then   Pending by b of b/1:Stale:Unknown good=0 bad=0 next=-
        ",
    );
}

#[test]
fn suppressing_hides_an_import_here_and_over_a_restart() {
    check::<WorkersScript>(
        "
        when   0ms     start
        then   ready
        when   1s      peer b/1 claims w7 unknown v1 rise=1
        then   w7 - > Pending Imported
        then   probe #1 w7
        when   1s      good w7
        then   w7 Pending > Ready ProbesGood
        when   2s      suppress w7
        then   keep suppressed
        then   reply w7 r1
        when   2s      suppress w7
        then   reply w7 r1
        when   2s      view w7
        then   Ready by b of b/1:Stale:Unknown good=0 bad=0 next=6860ms suppressed
        when   3s      restart
        then   ready
        when   4s      peer b/1 claims w7 unknown v1 rise=1
        then   w7 - > Pending Imported
        then   probe #1 w7
        when   4s      view w7
        then   Pending by b of b/1:Stale:Unknown good=0 bad=0 next=- suppressed
        when   5s      unsuppress w7
        then   forget suppressed
        then   reply w7 r1
        when   5s      view w7
        then   Pending by b of b/1:Stale:Unknown good=0 bad=0 next=-
        when   6s      suppress w9
        then   reply not_found
        ",
    );
}

#[test]
fn five_bad_outcomes_eject_and_a_good_trial_ends_it() {
    check::<WorkersScript>(
        "
        when   0ms     start
        then   ready
        when   0s      post w7 rise=1 enabled=false
        then   keep own
        then   w7 - > Ready Registered
        then   write w7 active healthy v2 r1
        then   reply created w7
        when   1s      report w7 bad
        then   reply noted
        when   1s      report w7 bad
        then   reply noted
        when   1s      report w7 bad
        then   reply noted
        when   1s      report w7 bad
        then   reply noted
        when   1s      report w7 bad
        then   reply noted
        when   1s      view w7
        then   Ready by a of a/1:Own:Healthy good=0 bad=0 next=- ejected
        when   11s     tick
        when   11s     report w7 good
        then   reply noted
        when   11s     view w7
        then   Ready by a of a/1:Own:Healthy good=0 bad=0 next=-
        ",
    );
}

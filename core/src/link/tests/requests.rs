//! Scripts of requests, breakers, relays, messages of the log, and pieces of snapshots.

use super::LinkScript;
use crate::script::check;

#[test]
fn a_request_ends_with_its_reply() {
    check::<LinkScript>(
        "
        given  local=m/1
        when   0ms     accepted a1 z
        when   0ms     frame a1 hello z/5
        then   write a1 welcome m/1 protocol=1
        then   up z/5 at 10.0.0.122:7420
        when   0ms     writable a1 100000
        when   1ms     ask z 7 100ms
        then   write a1 Request(Request { from: m/1, number: 1, remaining_ms: 99, body: why })
        # Another's, or a former life's: it ends nothing.
        when   2ms     frame a1 reply m/2 1
        then   heard z/5
        when   2ms     frame a1 reply m/1 9
        then   heard z/5
        when   3ms     frame a1 reply m/1 1
        then   heard z/5
        then   ended 7 Ok(because)
        when   4ms     frame a1 reply m/1 1
        then   heard z/5
        when   5ms     frame a1 unmarked_reply m/1 1
        then   heard z/5
        then   misbehaved z: a reply that is not marked as one
        then   disconnect a1
        then   down z
        ",
    );
}

#[test]
fn a_request_that_nobody_answers_ends_at_its_deadline() {
    check::<LinkScript>(
        "
        given  local=m/1
        when   0ms     accepted a1 z
        when   0ms     frame a1 hello z/5
        then   write a1 welcome m/1 protocol=1
        then   up z/5 at 10.0.0.122:7420
        when   0ms     writable a1 100000
        when   1ms     ask z 7 100ms
        then   write a1 Request(Request { from: m/1, number: 1, remaining_ms: 99, body: why })
        when   1ms     ask z 8 50ms
        then   write a1 Request(Request { from: m/1, number: 2, remaining_ms: 49, body: why })
        when   2ms     next
        then   0.05s a request's deadline
        when   50ms    tick
        then   ended 8 Err(Deadline)
        when   100ms   tick
        then   ended 7 Err(Deadline)
        when   100ms   ask z 9 100ms
        then   ended 9 Err(Deadline)
        ",
    );
}

#[test]
fn a_request_without_a_way_ends_at_once() {
    check::<LinkScript>(
        "
        given  local=m/1
        when   0ms     ask z 7 100ms
        then   ended 7 Err(Unreachable)
        when   0ms     member z/5
        when   0ms     ask z 8 100ms
        then   ended 8 Err(Unreachable)
        when   1ms     accepted a1 z
        when   1ms     frame a1 hello z/5
        then   write a1 welcome m/1 protocol=1
        then   up z/5 at 10.0.0.122:7420
        when   1ms     ask z 9 100ms
        when   2ms     closed a1
        then   down z
        then   ended 9 Err(Unreachable)
        ",
    );
}

#[test]
fn a_peer_owes_no_more_than_1024_answers() {
    check::<LinkScript>(
        "
        given  local=m/1
        when   0ms     accepted a1 z
        when   0ms     frame a1 hello z/5
        then   write a1 welcome m/1 protocol=1
        then   up z/5 at 10.0.0.122:7420
        when   1ms     ask z 1 100ms ×1024
        when   2ms     ask z 2 100ms
        then   ended 2 Err(QueueFull)
        ",
    );
}

#[test]
fn a_question_is_answered_to_the_life_that_asked() {
    check::<LinkScript>(
        "
        given  local=m/1
        when   0ms     accepted a1 z
        when   0ms     frame a1 hello z/5
        then   write a1 welcome m/1 protocol=1
        then   up z/5 at 10.0.0.122:7420
        when   0ms     writable a1 100000
        when   1ms     frame a1 request z/5 3
        then   heard z/5
        then   asked 3 by z/5 until 0.101s: why
        when   2ms     answer z/5 3
        then   write a1 Reply(Reply { to: z/5, number: 3, body: because })
        ",
    );
}

#[test]
fn five_failures_open_the_breaker_and_one_probe_passes_it() {
    check::<LinkScript>(
        "
        given  local=m/1
        when   0ms     accepted a1 z
        when   0ms     frame a1 hello z/5
        then   write a1 welcome m/1 protocol=1
        then   up z/5 at 10.0.0.122:7420
        when   0ms     writable a1 100000
        when   1ms     ask z 1 10ms
        then   write a1 Request(Request { from: m/1, number: 1, remaining_ms: 9, body: why })
        when   1ms     ask z 2 10ms
        then   write a1 Request(Request { from: m/1, number: 2, remaining_ms: 9, body: why })
        when   1ms     ask z 3 10ms
        then   write a1 Request(Request { from: m/1, number: 3, remaining_ms: 9, body: why })
        when   1ms     ask z 4 10ms
        then   write a1 Request(Request { from: m/1, number: 4, remaining_ms: 9, body: why })
        when   1ms     ask z 5 10ms
        then   write a1 Request(Request { from: m/1, number: 5, remaining_ms: 9, body: why })
        when   10ms    tick
        then   ended 1 Err(Deadline)
        then   ended 2 Err(Deadline)
        then   ended 3 Err(Deadline)
        then   ended 4 Err(Deadline)
        then   ended 5 Err(Deadline)
        when   20ms    ask z 6 5s
        then   ended 6 Err(Unreachable)
        when   2s      ask z 7 5s
        then   write a1 Request(Request { from: m/1, number: 7, remaining_ms: 3000, body: why })
        when   2s      ask z 8 5s
        then   ended 8 Err(Unreachable)
        when   2s      frame a1 reply m/1 7
        then   heard z/5
        then   ended 7 Ok(because)
        when   2s      ask z 9 5s
        then   write a1 Request(Request { from: m/1, number: 9, remaining_ms: 3000, body: why })
        ",
    );
}

#[test]
fn without_a_link_a_small_message_takes_a_hop() {
    check::<LinkScript>(
        "
        given  local=m/1
        when   0ms     member b/1
        when   0ms     member z/5
        when   0ms     accepted a1 b
        when   0ms     frame a1 hello b/1
        then   write a1 welcome m/1 protocol=1
        then   up b/1 at 10.0.0.98:7420
        when   0ms     writable a1 100000
        when   1ms     ask z 7 100ms
        then   write a1 relay of m/1 to z: Request(Request { from: m/1, number: 1, remaining_ms: 99, body: why })
        when   2ms     frame a1 relay m z/5 reply m/1 1
        then   heard b/1
        then   ended 7 Ok(because)
        # The log has a way of its own to live with a cut.
        when   3ms     send z raft 10
        then   refused control to z: unreachable
        when   4ms     send z departed 5
        then   write a1 relay of m/1 to z: Departed(Departed { incarnation: 5 })
        ",
    );
}

#[test]
fn a_relay_passes_on_what_its_author_sent_and_nothing_else() {
    check::<LinkScript>(
        "
        given  local=m/1
        when   0ms     accepted a1 z
        when   0ms     frame a1 hello z/5
        then   write a1 welcome m/1 protocol=1
        then   up z/5 at 10.0.0.122:7420
        when   0ms     writable a1 100000
        when   0ms     accepted a2 y
        when   0ms     frame a2 hello y/5
        then   write a2 welcome m/1 protocol=1
        then   up y/5 at 10.0.0.121:7420
        when   0ms     writable a2 100000
        when   1ms     frame a1 relay y z/5 request z/5 1
        then   heard z/5
        then   write a2 relay of z/5 to y: Request(Request { from: z/5, number: 1, remaining_ms: 100, body: why })
        # A relay of a relay, and one to somebody without a link.
        when   2ms     frame a1 relay y x/5 request x/5 1
        then   heard z/5
        when   3ms     frame a1 relay w z/5 request z/5 1
        then   heard z/5
        # For us: a request in the name of another, and a message of the log.
        when   4ms     frame a1 relay m x/5 request x/5 1
        then   heard z/5
        then   asked 1 by x/5 until 0.104s: why
        when   5ms     frame a1 relay m x/5 request y/5 1
        then   heard z/5
        then   misbehaved z: a relayed message that may not be relayed
        when   6ms     frame a1 relay m x/5 raft
        then   heard z/5
        then   misbehaved z: a relayed message that may not be relayed
        ",
    );
}

#[test]
fn a_message_of_the_log_that_waited_too_long_is_not_sent() {
    check::<LinkScript>(
        "
        given  local=m/1
        when   0ms     accepted a1 z
        when   0ms     frame a1 hello z/5
        then   write a1 welcome m/1 protocol=1
        then   up z/5 at 10.0.0.122:7420
        when   1ms     send_by 100ms z raft 100
        when   1ms     send_by 300ms z raft 200
        when   2ms     row z
        then   up generation=Some(3) at=10.0.0.122:7420 dialed_by=Some(z) since_ms=2 round_trip_ms=None control=(2, 336) gossip=(0, 0) last_error=None next_dial_ms=None
        when   200ms   writable a1 100000
        then   write a1 raft of 200 bytes
        when   200ms   row z
        then   up generation=Some(3) at=10.0.0.122:7420 dialed_by=Some(z) since_ms=200 round_trip_ms=None control=(0, 0) gossip=(0, 0) last_error=None next_dial_ms=None
        # What arrives is handed over as it came.
        when   201ms   frame a1 raft vote
        then   heard z/5
        then   message of z/5: Raft(vote)
        ",
    );
}

#[test]
fn in_a_full_queue_the_oldest_message_of_the_log_goes() {
    check::<LinkScript>(
        "
        given  local=m/1
        when   0ms     accepted a1 z
        when   0ms     frame a1 hello z/5
        then   write a1 welcome m/1 protocol=1
        then   up z/5 at 10.0.0.122:7420
        when   1ms     send z raft 100
        when   1ms     send z raft 200 ×4095
        when   1ms     row z
        then   up generation=Some(3) at=10.0.0.122:7420 dialed_by=Some(z) since_ms=1 round_trip_ms=None control=(4096, 892828) gossip=(0, 0) last_error=None next_dial_ms=None
        when   2ms     send z raft 300
        when   2ms     row z
        then   up generation=Some(3) at=10.0.0.122:7420 dialed_by=Some(z) since_ms=2 round_trip_ms=None control=(4096, 893030) gossip=(0, 0) last_error=None next_dial_ms=None
        when   3ms     send z departed 1
        then   refused control to z: queue_full
        when   3ms     ask z 7 100ms
        then   ended 7 Err(QueueFull)
        ",
    );
}

#[test]
fn a_producer_of_bulk_waits_for_room() {
    check::<LinkScript>(
        "
        given  local=m/1
        when   0ms     accepted a1 z
        when   0ms     frame a1 hello z/5
        then   write a1 welcome m/1 protocol=1
        then   up z/5 at 10.0.0.122:7420
        when   1ms     send z bulk 60000 ×16
        when   2ms     send z bulk 60000
        then   refused bulk to z: queue_full
        when   3ms     writable a1 240000
        then   write a1 bulk of 60000 bytes
        then   write a1 bulk of 60000 bytes
        then   write a1 bulk of 60000 bytes
        then   write a1 bulk of 60000 bytes
        when   4ms     writable a1 300000
        then   write a1 bulk of 60000 bytes
        then   write a1 bulk of 60000 bytes
        then   write a1 bulk of 60000 bytes
        then   write a1 bulk of 60000 bytes
        then   write a1 bulk of 60000 bytes
        then   room for z
        when   5ms     frame a1 bulk piece
        then   heard z/5
        then   message of z/5: Bulk(piece)
        ",
    );
}

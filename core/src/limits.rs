//! The bounds of the machines, by name.
//!
//! A queue, table, buffer or loop that has none is a defect. What one file alone needs stands in it as a
//! constant, and so do the bounds of surfaces and of a host's queues. What an operator may change has its
//! default here and its legal range in the configuration catalogue.

use std::time::Duration;

// Names and values.

/// Bytes of a node id.
pub const NODE_ID_BYTES_MAX: usize = 63;
/// Bytes of a cluster id.
pub const CLUSTER_ID_BYTES_MAX: usize = 255;
/// Bytes of the key of an owner map's entry.
pub const ENTRY_KEY_BYTES_MAX: usize = 512;
/// Bytes of the value of an owner map's entry.
pub const ENTRY_VALUE_BYTES_MAX: usize = 64 * 1024;

// Datagrams.

/// Bytes of a datagram on the wire, sent or accepted.
pub const DATAGRAM_BYTES_MAX: usize = 1400;
/// Bytes that the seal adds: magic and version 2, key id 4, nonce 24, tag 16.
pub const SEAL_BYTES: usize = 46;
/// Bytes of a section's header: kind 1, length 2.
pub const SECTION_HEADER_BYTES: usize = 3;
/// Bytes that SWIM may fill of one datagram.
pub const SWIM_PACKET_BYTES_MAX: usize = 700;
/// Keys in the ring that opens datagrams.
pub const KEYRING_KEYS_MAX: usize = 4;

// Frames.

/// Bytes of a frame's header.
pub const FRAME_HEADER_BYTES: usize = 16;
/// Payload bytes of a `control` frame.
pub const FRAME_CONTROL_BYTES_MAX: usize = 1024 * 1024;
/// Payload bytes of a `gossip` frame.
pub const FRAME_GOSSIP_BYTES_MAX: usize = 256 * 1024;
/// Payload bytes of a `bulk` frame.
pub const FRAME_BULK_BYTES_MAX: usize = 64 * 1024;
/// Payload bytes of a `broadcast` frame.
pub const FRAME_BROADCAST_BYTES_MAX: usize = 1024 * 1024;
/// Payload bytes of a `session` frame.
pub const FRAME_SESSION_BYTES_MAX: usize = 4 * 1024;

// Messages.

/// Topics a node knows.
pub const TOPICS_MAX: usize = 32;
/// Entries of one segment.
pub const SEGMENT_ENTRIES_MAX: usize = 4096;
/// Segments of one message.
pub const SEGMENTS_MAX: usize = 256;
/// Bytes of the segments of one frame, so that header and count always fit beside them.
pub const SEGMENTS_BYTES_MAX: usize = FRAME_GOSSIP_BYTES_MAX - 1024;
/// Rows of one message.
pub const ROWS_MAX: usize = 1024;
/// Replicas asked for in one pull.
pub const PULLS_PER_MESSAGE_MAX: usize = 256;
/// Members in one list.
pub const LISTED_MAX: usize = 4096;
/// Sequenced classes or settings that a handshake names.
pub const HANDSHAKE_ITEMS_MAX: usize = 16;
/// Addresses that a node advertises.
pub const ADDRESSES_MAX: usize = 8;

// The loop.

/// Inputs of one turn.
pub const TURN_INPUTS_MAX: usize = 64;
/// Steps between machines that one input may cause; more mean that two answer each other for ever.
pub const STEPS_MAX: usize = 1_000_000;

// Membership.

/// Members known, departed ones included.
pub const MEMBERS_MAX: usize = 2048;
/// Fences kept.
pub const FENCES_MAX: usize = 65_536;
/// Raises against an unused incarnation within [`DUPLICATE_WINDOW`] that mean a second process.
pub const DUPLICATE_RAISES_MAX: usize = 3;
/// See [`DUPLICATE_RAISES_MAX`].
pub const DUPLICATE_WINDOW: Duration = Duration::from_secs(60);
/// The health score's ceiling.
pub const HEALTH_SCORE_MAX: u32 = 8;
/// `Departed` notices in a row to one peer.
pub const DEPARTED_NOTICES_MAX: u32 = 5;
/// Bytes of all facts of a node.
pub const FACTS_BYTES_MAX: usize = 4096;
/// Labels of a node or a worker.
pub const LABELS_MAX: usize = 32;
/// Bytes of a label's key.
pub const LABEL_KEY_BYTES_MAX: usize = 63;
/// Bytes of a label's value.
pub const LABEL_VALUE_BYTES_MAX: usize = 255;
/// Bytes of a zone's name.
pub const ZONE_BYTES_MAX: usize = 63;
/// Seeds configured or joined.
pub const SEEDS_MAX: usize = 256;
/// Addresses that a seed's name may stand for.
pub const ADDRESSES_PER_SEED_MAX: usize = 16;
/// Seeds tried at a time while others are members.
pub const BRIDGES_MAX: usize = 8;
/// Failed nodes that one question is about.
pub const QUESTION_ROWS_MAX: usize = 64;
/// Members that are asked the same question.
pub const QUESTION_HELPERS_MAX: usize = 3;

// Gossip.

/// Items that wait per topic.
pub const BACKLOG_ITEMS_MAX: usize = 4096;
/// Items looked at by one spend of the drain.
pub const DRAIN_WALK_MAX: usize = 64;
/// Drains an item may be skipped before it ages.
pub const DRAIN_SKIPS_MAX: u32 = 8;
/// Items passed by in one topic because the target has them.
pub const DRAIN_PASSED_MAX: usize = 1024;
/// Segments that wait for one target.
pub const LANE_SEGMENTS_MAX: usize = 64;
/// Pulls outstanding in all.
pub const PULLS_MAX: usize = 64;
/// Useless answers in a row after which a peer is left alone for [`PULL_REST`].
pub const PULL_STRIKES_MAX: u32 = 3;
/// See [`PULL_STRIKES_MAX`].
pub const PULL_REST: Duration = Duration::from_secs(5);
/// Shortest wait for another path before a gap is pulled.
pub const GAP_WAIT_MIN: Duration = Duration::from_millis(50);
/// Longest wait for another path before a gap is pulled.
pub const GAP_WAIT_MAX: Duration = Duration::from_millis(150);
/// Buckets answered per digest.
pub const DIGEST_BUCKETS_PER_ANSWER: usize = 8;
/// Buckets of a digest.
pub const DIGEST_BUCKETS: usize = 64;
/// Members up to which direct push is used.
pub const DIRECT_MEMBERS_MAX: usize = 64;
/// Datagrams per target and round.
pub const GOSSIP_BURST: u32 = 4;

// Replica.

/// Tombstones of one owner map.
pub const TOMBSTONES_MAX: usize = 4096;
/// Live entries of one owner map, where its topic names no lower limit.
pub const ENTRIES_MAX: usize = 100_000;
/// Sequences below this are plausible at all.
pub const SEQUENCE_MAX: u64 = 1 << 56;
/// How far ahead of what was seen an owner may plausibly be.
pub const SEQUENCE_LEAP_MAX: u64 = 1 << 32;

// Links.

/// Frames that wait per link in `control`.
pub const CONTROL_FRAMES_MAX: usize = 4096;
/// Bytes that wait per link in `control`.
pub const CONTROL_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Frames that wait per link in `gossip`.
pub const GOSSIP_FRAMES_MAX: usize = 1024;
/// Bytes that wait per link in `gossip`.
pub const GOSSIP_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Frames that wait per link in `bulk`.
pub const BULK_FRAMES_MAX: usize = 16;
/// Bytes that wait per link in `bulk`.
pub const BULK_BYTES_MAX: usize = 1024 * 1024;
/// Frames that wait per link in `broadcast`, or that the peer has not acknowledged.
pub const BROADCAST_FRAMES_MAX: usize = 4096;
/// Bytes that wait per link in `broadcast`, or that the peer has not acknowledged.
pub const BROADCAST_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Sequenced frames after which they are acknowledged at once.
pub const ACKNOWLEDGE_FRAMES: u64 = 64;
/// How long an acknowledgement may wait for more to acknowledge.
pub const ACKNOWLEDGE_DELAY: Duration = Duration::from_millis(50);
/// Bytes of a message that takes a hop through another node.
pub const RELAY_BYTES_MAX: usize = 64 * 1024;
/// Nodes through which it is sent.
pub const RELAYS_MAX: usize = 2;
/// Requests that one peer may owe an answer for.
pub const REQUESTS_PER_PEER_MAX: usize = 1024;
/// Pings, pongs, replies and acknowledgements that fit beside a full `control` queue.
pub const RESERVE_FRAMES_MAX: usize = 256;
/// Their bytes.
pub const RESERVE_BYTES_MAX: usize = 1024 * 1024;
/// Bytes that a unit of weight may send per round of the drain.
pub const QUANTUM_BYTES: usize = 4 * 1024;
/// Weight of `control` in the drain.
pub const CONTROL_WEIGHT: usize = 8;
/// Weight of `bulk` in the drain.
pub const BULK_WEIGHT: usize = 2;
/// Weight of `broadcast` in the drain.
pub const BROADCAST_WEIGHT: usize = 4;
/// Weight of `gossip` in the drain.
pub const GOSSIP_WEIGHT: usize = 4;
/// Bytes that wait in all queues of a node.
pub const QUEUE_BYTES_MAX: usize = 512 * 1024 * 1024;
/// Bytes that the host holds per connection.
pub const WINDOW_BYTES: usize = 256 * 1024;
/// Handshakes at a time, accepted side.
pub const ACCEPTS_MAX: usize = 64;
/// Handshakes at a time from one address.
pub const ACCEPTS_PER_ADDRESS_MAX: usize = 8;
/// Finished connections of one peer beside the one in use: each side may have dialled twice.
pub const SPARES_MAX: usize = 3;
/// Frames that one connection may hand over per turn.
pub const FRAMES_PER_TURN: usize = 64;

// Raft.

/// Entries of one message of the log.
pub const RAFT_MESSAGE_ENTRIES_MAX: usize = 16_384;
/// Bytes of entries in one message, beyond its first entry.
pub const RAFT_MESSAGE_BYTES_MAX: usize = 256 * 1024;
/// Entries behind the leader that count as caught up.
pub const RAFT_CLOSE_ENTRIES: u64 = 64;
/// Messages with entries that one follower may owe an answer for.
pub const RAFT_INFLIGHT_MAX: usize = 64;
/// Bytes of entries that are not committed; beyond them proposals are refused.
pub const RAFT_UNCOMMITTED_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes of entries that are applied in one turn.
pub const RAFT_APPLY_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of the payload of one entry.
pub const RAFT_PAYLOAD_BYTES_MAX: usize = 640 * 1024;
/// Steps of one change of the configuration.
pub const RAFT_CHANGE_STEPS_MAX: usize = 16;
/// How long a follower may not know of what is committed while nothing else is sent to it: the entries of a caller that
/// asks one thing after another tell it, at no cost.
pub const RAFT_NOTICE_AFTER: Duration = Duration::from_millis(2);
/// Batches that wait to be durable.
pub const RAFT_BATCHES_MAX: usize = 4;
/// Learners that are kept warm.
pub const RAFT_STANDBYS_MAX: usize = 4;
/// Requests of one node that wait for the log.
pub const RAFT_PENDING_MAX: usize = 4096;
/// Requests of one replica whose outcome is remembered.
pub const RAFT_WINDOW: u64 = 1024;
/// Replicas whose requests are remembered.
pub const RAFT_REQUESTERS_MAX: usize = 4096;
/// Bytes of an outcome that are remembered.
pub const RAFT_OUTCOME_BYTES_MAX: usize = 1024;
/// Idempotency keys that are remembered.
pub const RAFT_KEYS_MAX: usize = 65_536;
/// How long an idempotency key is remembered, in log time.
pub const RAFT_KEY_AGE: Duration = Duration::from_secs(24 * 3600);
/// Bytes of a piece of a snapshot.
pub const RAFT_CHUNK_BYTES: usize = 60 * 1024;
/// Bytes of a snapshot that are encoded in one turn and stored in one batch: some milliseconds of each.
pub const RAFT_PIECE_BYTES: usize = 16 * RAFT_CHUNK_BYTES;
/// Pieces of a snapshot on their way.
pub const RAFT_CHUNKS_INFLIGHT_MAX: usize = 16;
/// Snapshots sent at a time.
pub const RAFT_SNAPSHOTS_SENT_MAX: usize = 2;
/// Bytes of a snapshot.
pub const RAFT_SNAPSHOT_BYTES_MAX: usize = 1024 * 1024 * 1024;
/// Applied entries that operators are shown.
pub const RAFT_RECENT_MAX: usize = 1024;
/// Addresses at which another log was met, remembered.
pub const RAFT_STRANGERS_MAX: usize = 64;
/// Longest deadline of a request.
pub const RAFT_DEADLINE_MAX: Duration = Duration::from_secs(60);
/// Voters that an operator may ask for.
pub const VOTERS_MAX: usize = 7;
/// Steps that one plan may show: all of a full turnover of voters and standbys, and then some.
pub const LADDER_STEPS_MAX: usize = 64;

// Workers.

/// Entries a node keeps, one per URL.
pub const WORKERS_MAX: usize = 10_000;
/// Claims of one owner.
pub const WORKER_CLAIMS_OWN_MAX: usize = 1000;
/// Claims of one URL.
pub const WORKER_CLAIMS_PER_URL_MAX: usize = 64;
/// Models of one worker.
pub const WORKER_MODELS_MAX: usize = 256;
/// Lanes, a lane being a model and a kind.
pub const WORKER_LANES_MAX: usize = 16_384;
/// Probes in flight.
pub const PROBES_MAX: usize = 128;
/// Bytes of a URL.
pub const URL_BYTES_MAX: usize = 2048;
/// Bytes of an encoded worker spec.
pub const WORKER_SPEC_BYTES_MAX: usize = 8 * 1024;
/// Bytes of a worker's secret.
pub const WORKER_KEY_BYTES_MAX: usize = 4 * 1024;
/// Bytes of a probe's answer that are read.
pub const PROBE_BODY_BYTES_MAX: usize = 4 * 1024;

// Pools.

/// Bytes of a pool's name, and of a target of an auth reset.
pub const POOL_NAME_BYTES_MAX: usize = 64;
/// Bytes of the body of the request that a pool sends by itself.
pub const POOL_PROBE_BODY_BYTES_MAX: usize = 16_384;
/// Pools.
pub const POOLS_MAX: usize = 1024;
/// Members that a definition may list.
pub const POOL_LISTED_MAX: usize = 1000;
/// Members of all pools.
pub const POOL_MEMBERS_MAX: usize = 10_000;
/// The greatest weight of a member.
pub const POOL_WEIGHT_MAX: u32 = 1_000_000;
/// Bytes of the name of a model that a pool keeps apart.
pub const POOL_MODEL_BYTES_MAX: usize = 256;
/// Lanes of a pool.
pub const POOL_LANES_MAX: usize = 64;
/// Targets of a credential, a group or a provider; beyond them what rests is the whole.
pub const POOL_TARGETS_MAX: usize = 16;
/// Entries of one node's map of pools.
pub const POOL_ENTRIES_MAX: usize = 4096;
/// Failures in a row that count.
pub const POOL_LEVEL_MAX: u32 = 32;
/// Lives whose rests one clear covers.
pub const POOL_COVERS_MAX: usize = 64;
/// Bytes of the name of where a wait stood.
pub const POOL_SOURCE_BYTES_MAX: usize = 128;
/// Leases out at a time.
pub const POOL_LEASES_MAX: usize = 65_536;
/// Bytes of what joins the leases of one request.
pub const POOL_REQUEST_BYTES_MAX: usize = 128;

// Credentials.

/// Bytes of a credential's id.
pub const CREDENTIAL_ID_BYTES_MAX: usize = 512;
/// Bytes of a tenant's name.
pub const TENANT_BYTES_MAX: usize = 64;
/// Bytes of a credential's body.
pub const CREDENTIAL_BODY_BYTES_MAX: usize = 256 * 1024;
/// Bytes of a text that is shown of a credential.
pub const CREDENTIAL_TEXT_BYTES_MAX: usize = 1024;
/// Models that a credential names.
pub const CREDENTIAL_MODELS_MAX: usize = 1024;
/// Weight of a credential.
pub const CREDENTIAL_WEIGHT_MAX: u32 = 1_000_000;
/// Credentials in use: files of a folder.
pub const CREDENTIALS_MAX: usize = 4096;
/// Deleted credentials whose revision is remembered; beyond them the oldest give way.
pub const CREDENTIAL_TOMBSTONES_MAX: usize = 65_536;
/// Credentials that wait to be looked at.
pub const AUTH_UPDATES_MAX: usize = 256;
/// Depth from which a queue that overflowed takes up everything again.
pub const AUTH_UPDATES_RESUME: usize = 128;
/// Credentials that are taken from the queue at a time.
pub const AUTH_DRAIN_KEYS_MAX: usize = 64;
/// Looks at the store at a time.
pub const AUTH_LOOKS_MAX: usize = 16;
/// Between two looks that both find nothing, before that is believed.
pub const CREDENTIAL_ABSENCE_GAP: Duration = Duration::from_millis(100);
/// Longest time for which absences are gathered into one pass.
pub const CREDENTIAL_ABSENCE_PASS: Duration = Duration::from_secs(1);
/// A file that is no record is reported after so long; it may be in the middle of being written.
pub const CREDENTIAL_INVALID_REPORT: Duration = Duration::from_secs(2);
/// Every file is looked for at least so often.
pub const CREDENTIAL_RESCAN_INTERVAL: Duration = Duration::from_secs(60);
/// A store that failed is asked again after one second, then after twice as long each time, up to this.
pub const CREDENTIAL_RETRY_MAX: Duration = Duration::from_secs(30);

// Keys and values.

/// Bytes of a namespace.
pub const KV_NAMESPACE_BYTES_MAX: usize = 63;
/// Bytes of a key, without its namespace.
pub const KV_KEY_BYTES_MAX: usize = 1024;
/// Bytes of a value.
pub const KV_VALUE_BYTES_MAX: usize = 256 * 1024;
/// Bytes of the name of a lock or semaphore.
pub const KV_LOCK_NAME_BYTES_MAX: usize = 255;
/// Conditions of a transaction, and operations of both its branches.
pub const KV_TRANSACTION_OPERATIONS_MAX: usize = 128;
/// Keys and values of a transaction.
pub const KV_TRANSACTION_BYTES_MAX: usize = 512 * 1024;
/// Keys and values that the reads of a transaction may answer with.
pub const KV_RESULT_BYTES_MAX: usize = 512 * 1024;
/// Bytes of an encoded command: what raft takes as one entry.
pub const KV_COMMAND_BYTES_MAX: usize = 640 * 1024;
/// Bytes of an encoded outcome.
pub const KV_OUTCOME_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of an outcome that is kept for its retries.
pub const KV_OUTCOME_KEPT_BYTES_MAX: usize = 1024;
/// Keys of one page of a list.
pub const KV_PAGE_ITEMS_MAX: usize = 1000;
/// Keys and values of one page of a list, so that it fits a frame with its header.
pub const KV_PAGE_BYTES_MAX: usize = FRAME_CONTROL_BYTES_MAX - 64 * 1024;
/// Bytes that a version, and a change in history, count beside its key and value.
pub const KV_VERSION_BYTES: u64 = 64;
/// Keys.
pub const KV_KEYS_MAX: u64 = 1_000_000;
/// Bytes of keys and values, live and in history.
pub const KV_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Leases.
pub const KV_LEASES_MAX: u64 = 100_000;
/// Keys of one lease.
pub const KV_LEASE_KEYS_MAX: u64 = 10_000;
/// Shortest life of a lease.
pub const KV_LEASE_TTL_MIN: Duration = Duration::from_secs(1);
/// Longest life of a lease.
pub const KV_LEASE_TTL_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// Leases renewed by one entry.
pub const KV_RENEWALS_MAX: usize = 10_000;
/// Contenders of one lock.
pub const KV_CONTENDERS_MAX: u64 = 1024;
/// Permits of a semaphore.
pub const KV_PERMITS_MAX: u32 = 1024;
/// Revisions of history that compaction leaves.
pub const KV_HISTORY_REVISIONS: u64 = 10_000;
/// Time of history that compaction leaves.
pub const KV_HISTORY: Duration = Duration::from_secs(5 * 60);
/// Bytes of history beyond which compaction takes more.
pub const KV_HISTORY_BYTES: u64 = 64 * 1024 * 1024;
/// Revisions that one compaction of the leader forgets.
pub const KV_COMPACTION_REVISIONS_MAX: u64 = 4096;
/// Watches of a node.
pub const KV_WATCHES_MAX: usize = 10_000;
/// Changes that wait for a watcher.
pub const KV_WATCH_BUFFER_CHANGES: usize = 1024;
/// Bytes that wait for a watcher.
pub const KV_WATCH_BUFFER_BYTES: u64 = 4 * 1024 * 1024;
/// Changes that all lagging watchers get per turn.
pub const KV_WATCH_CHANGES_PER_TURN: usize = 256;
/// Changes that are looked at for lagging watchers per turn.
pub const KV_WATCH_EXAMINED_PER_TURN: usize = 4096;
/// Calls that wait at a node.
pub const KV_CALLS_MAX: usize = 4096;
/// Bytes of a piece of a snapshot's section.
pub const KV_SECTION_ITEM_BYTES_MAX: usize = 512 * 1024;
/// Contenders that one answer tells of.
pub const KV_LINE_TOLD_MAX: usize = 2048;
/// How often keep-alives are gathered into one entry.
pub const KV_KEEP_ALIVE_INTERVAL: Duration = Duration::from_millis(250);
/// How often a leader proposes that leases end.
pub const KV_EXPIRE_INTERVAL: Duration = Duration::from_secs(1);
/// How long nothing ends by time after a change of leader, so that holders can reach it.
pub const KV_LEADER_GRACE: Duration = Duration::from_secs(5);
/// How often a node without a copy asks for what it waits for.
pub const KV_POLL_INTERVAL: Duration = Duration::from_millis(250);
/// How often a quiet watch hears how far it is.
pub const KV_PROGRESS_INTERVAL: Duration = Duration::from_secs(30);
/// Pause between two helpings for lagging watchers.
pub const KV_FEED_INTERVAL: Duration = Duration::from_millis(1);
/// Longest wait for a lock.
pub const KV_LOCK_WAIT_MAX: Duration = Duration::from_secs(10 * 60);
/// Longest deadline of a call.
pub const KV_DEADLINE_MAX: Duration = Duration::from_secs(60);

// Pools.

/// Bytes of an upstream's answer that are looked at, after content decoding.
pub const ANSWER_BODY_BYTES_MAX: usize = 64 * 1024;
/// Milliseconds of a stated wait that are believed: 31 days.
pub const STATED_WAIT_MS_MAX: u64 = 31 * 24 * 3600 * 1000;
/// Milliseconds of a stated wait up to which a throttle is no quota.
pub const THROTTLE_WAIT_MS_MAX: u64 = 3600 * 1000;
/// Milliseconds from which a stated wait is believed where a quota of a day is violated.
pub const DAILY_WAIT_MS_MIN: u64 = 900 * 1000;
/// Milliseconds by which an answer's `Date` may differ from our clock and still be what it measures from.
pub const ANSWER_DATE_SKEW_MS_MAX: u64 = 24 * 3600 * 1000;

// The gateway.

/// Bytes of a request's body that are kept, so that another account can be asked.
pub const GATEWAY_REPLAY_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Bytes of all bodies that are kept; what comes beyond them is sent once.
pub const GATEWAY_REPLAY_TOTAL_BYTES_MAX: usize = 512 * 1024 * 1024;
/// Requests on their way at once, until their last byte.
pub const GATEWAY_REQUESTS_MAX: usize = 1024;
/// Accounts that one request is sent to.
pub const GATEWAY_ATTEMPTS_MAX: usize = 8;
/// Bytes that a connection to an upstream reads ahead of its client.
pub const GATEWAY_READ_AHEAD_BYTES_MAX: usize = 64 * 1024;
/// Connections to an upstream's host that one thread keeps unused.
pub const GATEWAY_UNUSED_PER_HOST_MAX: usize = 256;
/// How long one of them is kept.
pub const GATEWAY_UNUSED_MAX: Duration = Duration::from_secs(60);

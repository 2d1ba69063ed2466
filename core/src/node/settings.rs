//! The numbers that an operator may change, as data: key, unit, legal range, what it does.
//!
//! The configuration file, the command line and the simulator's knobs all read this one table. A key's
//! default depends on the profile of the site.
//!
//! Absent on purpose: where a value came from (the host's layers know), and keys that are no number.

use std::net::SocketAddr;
use std::time::Duration;

use super::contract::Settings;
use crate::ids::{ClusterId, NodeId};
use crate::wire::PROTOCOL;
use crate::{credentials, gossip, kv, limits, link, membership, pools, raft, time, workers};

/// What a number counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Milliseconds; the key ends in `_ms`.
    Millis,
    /// Things.
    Count,
    /// Bytes.
    Bytes,
}

/// How far apart the nodes of a cluster are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// One machine, and tests.
    Local,
    /// One site.
    Lan,
    /// Several sites.
    Wan,
}

/// One number of a node's settings.
pub struct Setting {
    /// Its key in a configuration.
    pub key: &'static str,
    /// What it counts.
    pub unit: Unit,
    /// The least legal value.
    pub min: u64,
    /// The greatest legal value.
    pub max: u64,
    /// What it does, in a line.
    pub about: &'static str,
    get: fn(&Settings) -> u64,
    set: fn(&mut Settings, u64),
}

impl Setting {
    /// What `settings` have of it.
    pub fn of(&self, settings: &Settings) -> u64 {
        (self.get)(settings)
    }

    /// Gives `settings` what `others` have of it.
    pub fn keep(&self, settings: &mut Settings, others: &Settings) {
        (self.set)(settings, (self.get)(others));
    }
}

/// Why a setting was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingError {
    /// No such key.
    #[error("`{key}` is not a key")]
    Unknown {
        /// As written.
        key: String,
    },
    /// Outside the legal range.
    #[error("`{key}` is {value}; it must be {min} to {max}")]
    Range {
        /// Which.
        key: &'static str,
        /// As written.
        value: u64,
        /// The least legal value.
        min: u64,
        /// The greatest legal value.
        max: u64,
    },
    /// Two settings that cannot work together.
    #[error("`{left}` must be less than `{right}`")]
    Order {
        /// Must be less.
        left: &'static str,
        /// Must be greater.
        right: &'static str,
    },
}

macro_rules! millis {
    ($key:literal, $range:expr, $($field:ident).+, $about:literal) => {
        Setting {
            key: $key,
            unit: Unit::Millis,
            min: *$range.start(),
            max: *$range.end(),
            about: $about,
            get: |settings| time::millis(settings.$($field).+),
            set: |settings, value| settings.$($field).+ = Duration::from_millis(value),
        }
    };
}

macro_rules! number {
    ($key:literal, $unit:ident, $range:expr, $($field:ident).+, $about:literal) => {
        Setting {
            key: $key,
            unit: Unit::$unit,
            min: *$range.start(),
            max: *$range.end(),
            about: $about,
            get: |settings| u64::try_from(settings.$($field).+).unwrap_or(u64::MAX),
            set: |settings, value| {
                settings.$($field).+ = value.try_into().expect("the range fits the field");
            },
        }
    };
}

const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;

/// Every number, in order of key.
#[rustfmt::skip]
pub const SETTINGS: &[Setting] = &[
    number!("cluster.expect", Count, 0..=7, raft.expect, "nodes that found the agreed log together, the same number on each; 0 waits to be added to a log. Default: 1 without cluster.join, else 0"),
    number!("gossip.backlog_max", Count, 1..=1_000_000, gossip.backlog_max, "rumours that wait per topic"),
    number!("gossip.burst", Count, 1..=64, gossip.burst, "datagrams per target and round"),
    millis!("gossip.digest_interval_ms", 10..=HOUR, gossip.digest_interval, "time between two digests"),
    number!("gossip.direct_max", Count, 0..=4096, gossip.direct_max, "members up to which changes are pushed directly; 0 is never"),
    number!("gossip.fanout", Count, 1..=64, gossip.fanout, "members that a round goes to"),
    millis!("gossip.interval_ms", 5..=HOUR, gossip.interval, "time between two rounds"),
    millis!("gossip.pull_timeout_ms", 10..=HOUR, gossip.pull_timeout, "how long a pull waits for its answer"),
    number!("kv.bytes_max", Bytes, 1024..=1 << 40, kv.bounds.bytes_max, "bytes of keys and values, live and in history, beyond which puts are refused"),
    number!("kv.contenders_max", Count, 1..=100_000, kv.bounds.contenders_max, "contenders of one lock"),
    millis!("kv.deadline_ms", 1..=MINUTE, kv.deadline, "how long a call waits; by HTTP at most 25 s"),
    number!("kv.history_bytes", Bytes, 1..=1 << 40, kv.history_bytes, "bytes of history beyond which more is forgotten"),
    millis!("kv.history_ms", 0..=24 * HOUR, kv.history, "time of history that is kept"),
    number!("kv.history_revisions", Count, 0..=10_000_000, kv.history_revisions, "revisions of history that are kept"),
    number!("kv.keys_max", Count, 1..=100_000_000, kv.bounds.keys_max, "keys beyond which puts are refused"),
    number!("kv.lease_keys_max", Count, 1..=1_000_000, kv.bounds.lease_keys_max, "keys of one lease"),
    number!("kv.leases_max", Count, 1..=10_000_000, kv.bounds.leases_max, "leases"),
    number!("kv.txn_bytes_max", Bytes, 1..=512 * 1024, kv.transaction_bytes_max, "bytes of a transaction"),
    number!("kv.txn_operations_max", Count, 1..=128, kv.transaction_operations_max, "operations of a transaction"),
    number!("kv.value_max", Bytes, 1..=256 * 1024, kv.value_max, "bytes of a value"),
    number!("kv.watch_buffer", Count, 1..=1_000_000, kv.watch_buffer_changes, "changes that wait for a watcher"),
    number!("kv.watch_buffer_bytes", Bytes, 1..=1 << 32, kv.watch_buffer_bytes, "bytes that wait for a watcher"),
    number!("kv.watches_max", Count, 1..=1_000_000, kv.watches_max, "watches of this node"),
    number!("link.accepts_max", Count, 1..=4096, link.accepts_max, "handshakes at a time"),
    millis!("link.connect_timeout_ms", 10..=HOUR, link.connect_timeout, "all of a dial"),
    millis!("link.handshake_timeout_ms", 10..=HOUR, link.handshake_timeout, "all of a handshake"),
    millis!("link.idle_timeout_ms", 10..=HOUR, link.idle_timeout, "silence after which a connection is closed"),
    millis!("link.ping_interval_ms", 10..=HOUR, link.ping_interval, "time between two pings of a link"),
    number!("link.queue_bytes_max", Bytes, 1 << 20..=1 << 40, link.queue_bytes_max, "bytes that wait in all queues of the node"),
    millis!("link.redial_max_ms", 1..=HOUR, link.redial_max, "longest wait before a redial"),
    millis!("link.redial_min_ms", 1..=HOUR, link.redial_min, "shortest wait before a redial"),
    number!("membership.fences_max", Count, 1..=1_000_000, membership.fences_max, "fences kept"),
    millis!("membership.forget_after_ms", 5_000..=30 * 24 * HOUR, membership.forget_after, "how long a failed node is remembered"),
    number!("membership.indirect_probes", Count, 1..=16, membership.indirect_probes, "helpers asked for an indirect probe"),
    millis!("membership.leave_timeout_ms", 100..=HOUR, membership.leave_timeout, "how long a leave may take"),
    number!("membership.members_max", Count, 2..=2048, membership.members_max, "members known, departed ones included"),
    millis!("membership.probe_interval_ms", 20..=HOUR, membership.probe_interval, "time between two probes"),
    millis!("membership.probe_timeout_ms", 5..=HOUR, membership.probe_timeout, "wait for a direct acknowledgement"),
    millis!("membership.restart_grace_ms", 0..=HOUR, membership.restart_grace, "how long the death of a restarting node is withheld"),
    number!("membership.suspicion_mult", Count, 1..=100, membership.suspicion_mult, "factor of the suspicion time"),
    millis!("membership.sync_interval_ms", 100..=HOUR, membership.sync_interval, "time between two exchanges of member lists"),
    millis!("raft.dead_grace_ms", 10_000..=24 * HOUR, raft.dead_grace, "how long a failed member of the log may return"),
    number!("raft.election_ticks", Count, 4..=10_000, raft.election_ticks, "ticks without a leader before an election, at least; at most twice that"),
    number!("raft.heartbeat_ticks", Count, 1..=1000, raft.heartbeat_ticks, "ticks between two heartbeats of a leader"),
    number!("raft.priority", Count, 0..=1_000_000, raft.priority, "who keeps the log: lower is chosen first"),
    number!("raft.snapshot_bytes", Bytes, 1..=1 << 40, raft.snapshot_bytes, "bytes of entries after which a snapshot is taken in any case"),
    number!("raft.snapshot_entries", Count, 2..=10_000_000, raft.snapshot_entries, "entries after which a snapshot is taken, if they are as long as the last one"),
    number!("raft.standbys_max", Count, 0..=4, raft.standbys_max, "copies of the log that are kept warm and do not vote"),
    millis!("raft.tick_ms", 10..=10_000, raft.tick, "one tick of the log"),
    number!("raft.trailing_entries", Count, 0..=10_000_000, raft.trailing_entries, "entries that are kept behind a snapshot"),
    number!("raft.voters_max", Count, 1..=7, raft.voters_max, "how many vote, when the log is formed"),
    millis!("replica.ready_timeout_ms", 100..=HOUR, ready_timeout, "how long a node's old maps wait for its new life"),
    number!("replica.tombstones_max", Count, 1..=1_000_000, tombstones_max, "tombstones of one owner map"),
];

impl Settings {
    /// The defaults of a node at `address`, for a site of this profile.
    pub fn new(
        node: NodeId,
        cluster: ClusterId,
        address: SocketAddr,
        profile: Profile,
    ) -> Settings {
        let membership = membership_defaults(node, address, profile);
        let gossip = gossip_defaults(profile);
        Settings {
            membership,
            gossip,
            link: link_defaults(cluster, address),
            workers: workers::Settings::default(),
            credentials: credentials::Settings::default(),
            pools: pools::Settings::default(),
            raft: raft_defaults(profile),
            kv: kv::Settings::default(),
            tombstones_max: limits::TOMBSTONES_MAX,
            ready_timeout: Duration::from_secs(60),
            counts_interval: Duration::from_millis(250),
        }
    }

    /// Changes one number.
    pub fn set(&mut self, key: &str, value: u64) -> Result<(), SettingError> {
        let setting = setting(key).ok_or_else(|| SettingError::Unknown { key: key.to_owned() })?;
        let (min, max) = (setting.min, setting.max);
        if !(min..=max).contains(&value) {
            return Err(SettingError::Range { key: setting.key, value, min, max });
        }
        (setting.set)(self, value);
        Ok(())
    }

    /// One number; `None` if there is no such key.
    pub fn get(&self, key: &str) -> Option<u64> {
        setting(key).map(|setting| (setting.get)(self))
    }

    /// Every pair of settings that cannot work together.
    pub fn conflicts(&self) -> Vec<SettingError> {
        let ordered = [
            ("membership.probe_timeout_ms", "membership.probe_interval_ms"),
            ("link.ping_interval_ms", "link.idle_timeout_ms"),
        ];
        let wrong = ordered.into_iter().filter(|(left, right)| self.get(left) >= self.get(right));
        wrong.map(|(left, right)| SettingError::Order { left, right }).collect()
    }
}

/// The row of a key.
pub fn setting(key: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.key == key)
}

fn membership_defaults(
    node: NodeId,
    address: SocketAddr,
    profile: Profile,
) -> membership::Settings {
    let (interval, timeout, mult, sync) = match profile {
        Profile::Local => (200, 80, 3, 5_000),
        Profile::Lan => (1000, 500, 4, 30_000),
        Profile::Wan => (5000, 2000, 6, 60_000),
    };
    membership::Settings {
        node,
        address,
        http: String::new(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        protocol: PROTOCOL,
        zone: String::new(),
        labels: Default::default(),
        join: Vec::new(),
        probe_interval: Duration::from_millis(interval),
        probe_timeout: Duration::from_millis(timeout),
        indirect_probes: 3,
        suspicion_mult: mult,
        sync_interval: Duration::from_millis(sync),
        forget_after: Duration::from_secs(30 * 60),
        restart_grace: Duration::from_secs(30),
        leave_timeout: Duration::from_secs(15),
        members_max: limits::MEMBERS_MAX,
        fences_max: limits::FENCES_MAX,
        dial_timeout: Duration::from_secs(10),
    }
}

fn gossip_defaults(profile: Profile) -> gossip::Settings {
    let (interval, fanout, digest) = match profile {
        Profile::Local => (50, 3, 2_000),
        Profile::Lan => (200, 3, 2_000),
        Profile::Wan => (500, 4, 10_000),
    };
    gossip::Settings {
        interval: Duration::from_millis(interval),
        fanout,
        burst: limits::GOSSIP_BURST,
        digest_interval: Duration::from_millis(digest),
        direct_max: limits::DIRECT_MEMBERS_MAX,
        pull_timeout: Duration::from_secs(2),
        backlog_max: limits::BACKLOG_ITEMS_MAX,
    }
}

fn raft_defaults(profile: Profile) -> raft::Settings {
    let (heartbeat_ticks, election_ticks) = match profile {
        Profile::Local | Profile::Lan => (3, 20),
        Profile::Wan => (10, 80),
    };
    raft::Settings { heartbeat_ticks, election_ticks, ..raft::Settings::default() }
}

fn link_defaults(cluster: ClusterId, address: SocketAddr) -> link::Settings {
    link::Settings {
        cluster,
        address,
        ping_interval: Duration::from_secs(10),
        idle_timeout: Duration::from_secs(30),
        handshake_timeout: Duration::from_secs(5),
        connect_timeout: Duration::from_secs(5),
        redial_min: Duration::from_millis(50),
        redial_max: Duration::from_secs(5),
        queue_bytes_max: limits::QUEUE_BYTES_MAX,
        accepts_max: limits::ACCEPTS_MAX,
        fences_max: limits::FENCES_MAX,
        protocol: PROTOCOL,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(profile: Profile) -> Settings {
        let node = "n1".parse().expect("a node id");
        let address = "127.0.0.1:7420".parse().expect("an address");
        Settings::new(node, ClusterId("c".into()), address, profile)
    }

    #[test]
    fn every_default_is_legal_and_conflicts_with_none() {
        for profile in [Profile::Local, Profile::Lan, Profile::Wan] {
            let settings = settings(profile);
            assert_eq!(settings.conflicts(), []);
            for setting in SETTINGS {
                let value = settings.get(setting.key).expect("its own key");
                assert!((setting.min..=setting.max).contains(&value), "{}", setting.key);
            }
        }
    }

    #[test]
    fn a_number_written_is_the_number_read() {
        let mut settings = settings(Profile::Lan);
        for setting in SETTINGS {
            for value in [setting.min, setting.max] {
                settings.set(setting.key, value).expect("a legal value");
                assert_eq!(settings.get(setting.key), Some(value), "{}", setting.key);
            }
        }
    }

    #[test]
    fn a_refusal_names_the_key_and_the_range() {
        let mut settings = settings(Profile::Lan);
        let told = settings.set("gossip.fanout", 0).expect_err("none is too few").to_string();
        assert_eq!(told, "`gossip.fanout` is 0; it must be 1 to 64");
        let told = settings.set("gossip.fan", 1).expect_err("no key").to_string();
        assert_eq!(told, "`gossip.fan` is not a key");
        settings.set("membership.probe_timeout_ms", 1000).expect("legal by itself");
        let told = settings.conflicts().first().expect("a conflict").to_string();
        let wanted =
            "`membership.probe_timeout_ms` must be less than `membership.probe_interval_ms`";
        assert_eq!(told, wanted);
    }

    #[test]
    fn keys_stand_in_order_and_name_their_unit() {
        assert!(SETTINGS.is_sorted_by_key(|setting| setting.key));
        for setting in SETTINGS {
            assert_eq!(
                setting.key.ends_with("_ms"),
                setting.unit == Unit::Millis,
                "{}",
                setting.key
            );
        }
    }
}

//! Every key: what it holds, its default, who may set it, what it does.

use quorate_core::node::settings::{SETTINGS, Setting};

/// What a key holds.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    /// A number of a protocol, with its range.
    Number(&'static Setting),
    /// Milliseconds that only the host knows, up to this many.
    Millis(u64),
    /// Bytes that only the host knows, up to this many.
    Bytes(u64),
    /// A text.
    Text,
    /// `true` or `false`.
    Flag,
    /// A list of texts.
    Texts,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A table of texts under keys of the operator's choice.
    Map,
    /// A list of tables.
    Tables,
    /// A table per pool.
    Pools,
}

/// Who may set a key. A served document can set those of the fleet only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// Who the node is, whom it trusts: set on the node alone.
    Node,
    /// How the fleet behaves.
    Fleet,
}

/// One key.
#[derive(Clone, Copy)]
pub(super) struct Key {
    pub(super) path: &'static str,
    pub(super) kind: Kind,
    /// As TOML; empty where nothing is the default or the protocol's row knows it.
    pub(super) default: &'static str,
    pub(super) owner: Owner,
    /// Whether a change takes effect without a restart.
    pub(super) live: bool,
    pub(super) about: &'static str,
}

const fn key(
    path: &'static str,
    kind: Kind,
    default: &'static str,
    owner: Owner,
    live: bool,
    about: &'static str,
) -> Key {
    Key { path, kind, default, owner, live, about }
}

use Kind::{Bytes, Choice, Flag, Map, Millis, Pools, Tables, Text, Texts};
use Owner::{Fleet, Node};

const DAY_MS: u64 = 86_400_000;

/// Keys that are no number of a protocol, in order.
#[rustfmt::skip]
const KEYS: &[Key] = &[
    key("access.tokens", Tables, "[]", Node, true, "bearer tokens: { hash, scopes, label } each"),
    key("auth_reset.argv", Texts, "[]", Node, false, "program that resets a login once its pool is back: an absolute path and arguments, one of them {target}"),
    key("auth_reset.user", Text, "\"\"", Node, false, "who runs it, as uid:gid; needed where the node runs as root"),
    key("chat.telegram.chats", Tables, "[]", Node, false, "chats that may give orders: { id, scopes } each"),
    key("chat.telegram.secret", Text, "\"\"", Node, false, "the secret_token of the bot's webhook: env:NAME or file:/path; empty: no chat"),
    key("cluster.advertise", Text, "", Node, false, "host:port at which peers reach this node; default: the bound address"),
    key("cluster.id", Text, "", Node, false, "the cluster's name; `local` while cluster.join is empty"),
    key("cluster.insecure", Flag, "false", Node, false, "permits a cluster address beyond loopback without keyring and TLS"),
    key("cluster.join", Texts, "[]", Node, false, "host:port of seeds"),
    key("cluster.keyring", Texts, "[]", Node, true, "1 to 4 keys of 32 bytes in base64; the first seals, all open"),
    key("cluster.keyring_file", Text, "", Node, true, "a file of such keys, one a line; wins over cluster.keyring"),
    key("cluster.listen", Text, "\"127.0.0.1:7420\"", Node, false, "UDP and TCP address for peers"),
    key("credentials.folder", Text, "\"\"", Node, false, "the folder of credentials, one `<id>.json` each; default: `auths` in the data folder"),
    key("credentials.store", Choice(&["file", "none"]), "\"file\"", Node, false, "where credentials are kept: in a folder, or not at all"),
    key("data", Text, "\"/var/lib/quorate\"", Node, false, "the folder for store, socket and audit log"),
    key("gateway.ca", Text, "\"\"", Node, false, "certificates in PEM of authorities that sign providers, beside those of the web"),
    key("gateway.head_timeout_ms", Millis(600_000), "60000", Fleet, false, "how long a provider may take to begin its answer: at least 1000"),
    key("http.hosts", Texts, "[]", Node, false, "names beside loopback by which the HTTP surface may be called"),
    key("link.verify_names", Flag, "true", Node, true, "whether a peer's certificate must name the node that shows it"),
    key("listen.http", Text, "\"127.0.0.1:8420\"", Node, false, "address of the HTTP surface"),
    key("listen.plaintext", Flag, "false", Node, false, "permits listen.http beyond loopback without TLS, behind a proxy"),
    key("log.filter", Text, "\"info\"", Fleet, false, "which log lines are written, as in `info,quorate::http=debug`"),
    key("log.format", Choice(&["auto", "text", "json"]), "\"auto\"", Fleet, false, "auto is text on a terminal, else json"),
    key("membership.profile", Choice(&["local", "lan", "wan"]), "\"lan\"", Fleet, false, "how far apart the nodes are; sets the defaults of many times"),
    key("metrics.open", Flag, "false", Fleet, false, "serves /metrics without a token"),
    key("node.id", Text, "", Node, false, "this node's name; default: the host name, lower-cased"),
    key("node.labels", Map, "{}", Node, true, "labels of this node"),
    key("node.zone", Text, "\"\"", Node, false, "failure domain"),
    key("pools", Pools, "{}", Fleet, true, "pools by name: { members, strategy, profile, early_probe_ms, degrade, auth_reset_target, upstream, notify, probe_request = { method, path, body } } each"),
    key("notices.sinks", Tables, "[]", Node, false, "who is told of pools: { kind = \"webhook\", name, url, secret } or { kind = \"telegram\", name, token, chat }"),
    key("raft.eligible", Flag, "true", Node, false, "whether this node may keep a copy of the agreed log"),
    key("ready.exclude", Texts, "[]", Fleet, false, "checks that /readyz leaves out"),
    key("ready.require", Texts, "[]", Fleet, false, "checks that /readyz counts though it would only show them: raft, pool/<name>"),
    key("schema", Choice(&["1"]), "1", Node, false, "the format of this file"),
    key("shutdown.delay_ms", Millis(600_000), "0", Fleet, true, "unready for so long before an orderly stop begins"),
    key("tls.ca", Text, "\"\"", Node, true, "certificates in PEM that links trust; with tls.cert and tls.key, links are secured"),
    key("tls.cert", Text, "\"\"", Node, true, "this node's certificate in PEM; it names node.id"),
    key("tls.key", Text, "\"\"", Node, true, "its key in PEM, readable by its owner alone"),
    key("trace.record_bytes_max", Bytes(1 << 40), "4294967296", Node, false, "a flight record (`serve --record`) ends when it holds so many bytes"),
    key("workers.allow", Texts, "[\"10.0.0.0/8\", \"172.16.0.0/12\", \"192.168.0.0/16\", \"100.64.0.0/10\", \"fc00::/7\"]", Fleet, true, "networks, host suffixes or `*` at which imported workers may be called"),
    key("workers.deny", Texts, "[]", Fleet, true, "looked at before workers.allow; always contains link-local, multicast, unspecified and, unless all peers are on this machine, loopback"),
    key("workers.keys", Map, "{}", Node, true, "secrets by URL prefix: env:NAME or file:/path"),
    key("workers.linger_ms", Millis(DAY_MS), "600000", Fleet, true, "how long workers of an owner that left are kept"),
    key("workers.metrics_per_worker", Flag, "false", Fleet, true, "shows a series for each worker by its id, at most 512 of a metric, the rest as `other`"),
    key("workers.register", Tables, "[]", Fleet, true, "workers that this node owns: { url, models, … } each"),
    key("workers.remove_failed_after_ms", Millis(30 * DAY_MS), "0", Fleet, true, "removes own workers that failed for so long; 0 is never"),
];

/// Whether a number takes effect while the node runs: the consistent store takes its own, no other protocol does.
pub(crate) fn is_live(setting: &Setting) -> bool {
    setting.key.starts_with("kv.")
}

/// Every key, in order.
pub(super) fn keys() -> Vec<Key> {
    let numbers = SETTINGS.iter().map(|setting| {
        key(setting.key, Kind::Number(setting), "", Owner::Fleet, is_live(setting), setting.about)
    });
    let mut keys: Vec<Key> = KEYS.iter().copied().chain(numbers).collect();
    keys.sort_by_key(|key| key.path);
    keys
}

/// The key that `path` sets: itself, or the map above it.
pub(super) fn find(path: &str) -> Option<Key> {
    let exact = keys().into_iter().find(|key| key.path == path);
    exact.or_else(|| {
        keys().into_iter().find(|key| {
            let below = path.strip_prefix(key.path).is_some_and(|rest| rest.starts_with('.'));
            matches!(key.kind, Kind::Map | Kind::Pools) && below
        })
    })
}

/// Whether some key lies below the table `path`.
pub(super) fn is_table(path: &str) -> bool {
    keys().iter().any(|key| key.path.strip_prefix(path).is_some_and(|rest| rest.starts_with('.')))
}

/// The known key that is closest to `path`, if one is close at all.
pub(super) fn nearest(path: &str) -> Option<&'static str> {
    let known = keys();
    let closest = known.iter().map(|key| (distance(path, key.path), key.path)).min()?;
    (closest.0 <= 1 + path.len() / 5).then_some(closest.1)
}

/// The number of single-letter edits between two texts (Levenshtein 1966), by rows.
pub(crate) fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (above, letter) in left.chars().enumerate() {
        let mut next = vec![above + 1];
        for (pair, other) in row.windows(2).zip(&right) {
            let [diagonal, up] = pair else { continue };
            let beside = next.last().copied().unwrap_or_default();
            next.push((diagonal + usize::from(letter != *other)).min(up + 1).min(beside + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_stands_twice_and_every_default_is_toml() {
        let keys = keys();
        assert!(keys.is_sorted_by(|left, right| left.path < right.path));
        for key in keys {
            let text = format!("x = {}", if key.default.is_empty() { "0" } else { key.default });
            assert!(text.parse::<toml::Table>().is_ok(), "{}: {text}", key.path);
        }
    }

    #[test]
    fn a_misspelt_key_finds_the_one_that_was_meant() {
        assert_eq!(nearest("gossip.fanot"), Some("gossip.fanout"));
        assert_eq!(nearest("membership.probe_intervall_ms"), Some("membership.probe_interval_ms"));
        assert_eq!(nearest("zzz"), None);
        assert_eq!(distance("kitten", "sitting"), 3);
    }

    #[test]
    fn a_map_takes_any_key_below_it_and_a_table_is_no_key() {
        assert_eq!(find("node.labels.rack").map(|key| key.path), Some("node.labels"));
        assert!(find("node.labelsx").is_none() && find("gossip").is_none() && is_table("gossip"));
    }
}

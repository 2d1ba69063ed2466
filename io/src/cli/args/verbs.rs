//! What each noun of the command line can be asked to do.

use std::path::PathBuf;

use clap::Subcommand;

use super::SourceArgs;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Config {
    /// Report every wrong key, type and value
    #[command(
        after_help = "Examples:\n  quorate config check\n  quorate config check --config quorate.toml --set node.id=gw-a"
    )]
    Check(SourceArgs),
    /// Print the merged configuration
    #[command(
        after_help = "Examples:\n  quorate config show gossip\n  quorate config show --effective --origin membership"
    )]
    Show {
        #[command(flatten)]
        sources: SourceArgs,
        /// Include defaults
        #[arg(long)]
        effective: bool,
        /// Say where each value comes from
        #[arg(long)]
        origin: bool,
        /// Only keys at or below this one
        #[arg(default_value = "")]
        prefix: String,
    },
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Ca {
    /// Make an authority: ca.pem, which every node trusts, and ca.key, which stays where it is
    #[command(
        after_help = "Examples:\n  quorate ca init\n  quorate ca init --folder /etc/quorate/ca"
    )]
    Init {
        /// Where it is kept
        #[arg(long, default_value = "ca")]
        folder: PathBuf,
    },
    /// Issue a node's certificate and key; again before it ends, and the node reads it again
    #[command(after_help = "Examples:\n  quorate ca issue gw-a\n  quorate ca issue gw-a --years 1")]
    Issue {
        /// The node, as in node.id
        node: String,
        /// Where the authority is kept
        #[arg(long, default_value = "ca")]
        folder: PathBuf,
        /// How many years it is valid for
        #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=10))]
        years: u32,
    },
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Key {
    /// Ids of the keys in use, the sealing one first; never the keys
    #[command(after_help = "Examples:\n  quorate key list\n  quorate key list --output json")]
    List,
    /// Print a new random key
    #[command(after_help = "Examples:\n  quorate key new\n  quorate key new >> keyring")]
    New,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Token {
    /// Print a new token, and the line for access.tokens that admits it
    #[command(
        after_help = "Examples:\n  quorate token new --scope read\n  quorate token new --scope admin --scope use --label ops"
    )]
    New(TokenNew),
}

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct TokenNew {
    /// What it permits
    #[arg(long = "scope", required = true, value_parser = ["read", "use", "operate", "admin", "secrets"])]
    pub(in crate::cli) scopes: Vec<String>,
    /// What it is for
    #[arg(long, default_value = "")]
    pub(in crate::cli) label: String,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Audit {
    /// Lines of the node's log
    #[command(
        after_help = "Examples:\n  quorate audit tail\n  quorate audit tail --after 100 --output json"
    )]
    Tail {
        /// Lines with a greater sequence
        #[arg(long, default_value_t = 0)]
        after: u64,
    },
    /// Name the first broken line, if there is one
    #[command(
        after_help = "Examples:\n  quorate audit verify ./data/audit\n  quorate audit verify /var/lib/quorate/audit"
    )]
    Verify {
        /// The folder `audit` of a data directory
        directory: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Member {
    /// Everybody, departed ones included
    #[command(
        after_help = "Examples:\n  quorate member list --watch\n  quorate member list --state failed"
    )]
    List {
        /// Only this state
        #[arg(long)]
        state: Option<String>,
        /// Go on printing changes
        #[arg(long)]
        watch: bool,
    },
    /// One member, with its link
    #[command(
        after_help = "Examples:\n  quorate member show gw-b\n  quorate member show gw-b --output json"
    )]
    Show {
        /// Its node id
        id: String,
    },
    /// Try these seeds as well
    #[command(
        after_help = "Examples:\n  quorate member join 10.0.0.2:7420\n  quorate member join gw-b:7420 gw-c:7420"
    )]
    Join {
        /// host:port each
        #[arg(required = true)]
        addresses: Vec<String>,
    },
    /// Leave the cluster, and stop
    #[command(
        after_help = "Examples:\n  quorate member leave\n  quorate member leave --remove-workers --yes"
    )]
    Leave {
        /// Withdraw this node's workers first
        #[arg(long)]
        remove_workers: bool,
    },
    /// Forget a failed node now
    #[command(
        after_help = "Examples:\n  quorate member evict gw-c\n  quorate member evict gw-c --yes"
    )]
    Evict {
        /// Its node id
        id: String,
    },
}

impl Default for Member {
    fn default() -> Member {
        Member::List { state: None, watch: false }
    }
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Worker {
    /// All workers
    #[command(
        after_help = "Examples:\n  quorate worker list --watch\n  quorate worker list --model llama --status ready"
    )]
    List {
        /// Only those that serve this model
        #[arg(long)]
        model: Option<String>,
        /// Only this status
        #[arg(long)]
        status: Option<String>,
        /// Only those that this node claims
        #[arg(long)]
        owner: Option<String>,
        /// Go on printing changes
        #[arg(long)]
        watch: bool,
    },
    /// One worker
    #[command(
        after_help = "Examples:\n  quorate worker show http://10.0.0.7:8000\n  quorate worker show http://10.0.0.7:8000 --output json"
    )]
    Show {
        /// Its id or URL
        worker: String,
    },
    /// Claim a worker
    #[command(
        after_help = "Examples:\n  quorate worker add http://10.0.0.7:8000 --model llama\n  quorate worker add http://10.0.0.7:8000 --set weight=200 --set health.path=/ready"
    )]
    Add {
        /// Its URL
        url: String,
        /// A model it serves; any, without one
        #[arg(long = "model")]
        models: Vec<String>,
        /// Further fields, as in `weight=200` or `health.path=/ready`
        #[arg(long = "set", value_name = "KEY=VALUE")]
        set: Vec<String>,
    },
    /// Change fields of our own worker
    #[command(
        after_help = "Examples:\n  quorate worker set http://10.0.0.7:8000 weight=200\n  quorate worker set http://10.0.0.7:8000 priority=10 health.path=/ready"
    )]
    Set {
        /// Its id or URL
        worker: String,
        /// As in `weight=200`
        #[arg(required = true, value_name = "KEY=VALUE")]
        fields: Vec<String>,
    },
    /// Take it out of routing
    #[command(
        after_help = "Examples:\n  quorate worker drain http://10.0.0.7:8000\n  quorate worker drain http://10.0.0.7:8000 --output json"
    )]
    Drain {
        /// Its id or URL
        worker: String,
    },
    /// Take it back in
    #[command(
        after_help = "Examples:\n  quorate worker undrain http://10.0.0.7:8000\n  quorate worker undrain http://10.0.0.7:8000 --output json"
    )]
    Undrain {
        /// Its id or URL
        worker: String,
    },
    /// Drain it, wait, and withdraw our claim
    #[command(
        after_help = "Examples:\n  quorate worker remove http://10.0.0.7:8000\n  quorate worker remove http://10.0.0.7:8000 --now"
    )]
    Remove {
        /// Its id or URL
        worker: String,
        /// Do not wait for requests in flight
        #[arg(long)]
        now: bool,
    },
    /// Probe it now
    #[command(
        after_help = "Examples:\n  quorate worker probe http://10.0.0.7:8000\n  quorate worker probe http://10.0.0.7:8000 --output json"
    )]
    Probe {
        /// Its id or URL
        worker: String,
    },
    /// Hide another node's worker on this node
    #[command(
        after_help = "Examples:\n  quorate worker suppress http://10.0.0.7:8000\n  quorate worker suppress http://10.0.0.7:8000 --output json"
    )]
    Suppress {
        /// Its id or URL
        worker: String,
    },
    /// Show it again
    #[command(
        after_help = "Examples:\n  quorate worker unsuppress http://10.0.0.7:8000\n  quorate worker unsuppress http://10.0.0.7:8000 --output json"
    )]
    Unsuppress {
        /// Its id or URL
        worker: String,
    },
    /// Which worker should take the next request
    #[command(
        after_help = "Examples:\n  quorate worker pick --model llama\n  quorate worker pick --model llama --policy consistent_hash --key user-7"
    )]
    Pick(Query),
    /// Why each worker would be picked or skipped
    #[command(
        after_help = "Examples:\n  quorate worker explain --model llama\n  quorate worker explain --model llama --output json"
    )]
    Explain(Query),
}

impl Default for Worker {
    fn default() -> Worker {
        Worker::List { model: None, status: None, owner: None, watch: false }
    }
}

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Query {
    /// The model to serve
    #[arg(long)]
    pub(in crate::cli) model: Option<String>,
    /// regular, prefill, decode or encode
    #[arg(long)]
    pub(in crate::cli) kind: Option<String>,
    /// round_robin, weighted, least_load, power_of_two or consistent_hash
    #[arg(long)]
    pub(in crate::cli) policy: Option<String>,
    /// What consistent_hash hashes
    #[arg(long)]
    pub(in crate::cli) key: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Gossip {
    /// Topics and peers
    #[command(after_help = "Examples:\n  quorate gossip show\n  quorate gossip show --output json")]
    Show,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Event {
    /// Print events until interrupted
    #[command(
        after_help = "Examples:\n  quorate event follow\n  quorate event follow --type worker.changed --type member.failed"
    )]
    Follow {
        /// Only these types
        #[arg(long = "type")]
        types: Vec<String>,
    },
}

#[derive(Debug, Clone, Copy, Subcommand)]
pub(in crate::cli) enum Node {
    /// Who it is and how it runs
    #[command(after_help = "Examples:\n  quorate node show\n  quorate node show --output json")]
    Show,
    /// Read its configuration again
    #[command(
        after_help = "Examples:\n  quorate node reload\n  quorate node reload --address 127.0.0.1:8430"
    )]
    Reload,
    /// Take it out of readiness
    #[command(
        after_help = "Examples:\n  quorate node drain\n  quorate node drain --address 127.0.0.1:8430"
    )]
    Drain,
    /// Take it back in
    #[command(
        after_help = "Examples:\n  quorate node undrain\n  quorate node undrain --address 127.0.0.1:8430"
    )]
    Undrain,
    /// Members, workers, pools, gossip, links, maps, checks and counts, as JSON
    #[command(
        after_help = "Examples:\n  quorate node dump\n  quorate node dump --output json > dump.json"
    )]
    Dump,
}

#[derive(Debug, Clone, Copy, Subcommand)]
pub(in crate::cli) enum Trace {
    /// Write every turn into a file on the node's machine, for `quorate-sim view`
    #[command(
        after_help = "Examples:\n  quorate trace record\n  quorate trace record --seconds 300 --address 127.0.0.1:8430"
    )]
    Record {
        /// How long
        #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=600))]
        seconds: u64,
    },
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Raft {
    /// Who leads, who keeps it, and what is due
    #[command(after_help = "Examples:\n  quorate raft status\n  quorate raft status --output json")]
    Status,
    /// The last entries that this node has applied
    #[command(after_help = "Examples:\n  quorate raft log\n  quorate raft log --count 100")]
    Log {
        /// How many
        #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u64).range(1..=1024))]
        count: u64,
    },
    /// Hand the lead over; ask the leader
    #[command(after_help = "Examples:\n  quorate raft transfer\n  quorate raft transfer --to gw-b")]
    Transfer {
        /// To this node; else to the one that holds most
        #[arg(long)]
        to: Option<String>,
    },
    /// Change how many may vote
    #[command(
        after_help = "Examples:\n  quorate raft voters-max 3\n  quorate raft voters-max 5 --output json"
    )]
    VotersMax {
        /// 1, 3, 5 or 7; 0 is the default
        #[arg(value_parser = clap::value_parser!(u64).range(0..=7))]
        voters_max: u64,
    },
    /// Where a majority is gone for good: let one stopped node go on alone, or drop another's copy
    #[command(
        after_help = "Examples:\n  quorate raft recover --store /var/lib/quorate\n  quorate raft recover --store /var/lib/quorate --rejoin"
    )]
    Recover(Recover),
}

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Recover {
    /// The data folder of the node, which does not run
    #[arg(long, value_name = "DIR")]
    pub(in crate::cli) store: PathBuf,
    /// Drop its copy instead, so that it is added again to the log that the survivor goes on with
    #[arg(long)]
    pub(in crate::cli) rejoin: bool,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Kv {
    /// One key
    #[command(
        after_help = "Examples:\n  quorate kv get app/leader\n  quorate kv get app/leader --revision 41 --output json"
    )]
    Get {
        /// namespace/key
        key: String,
        /// As it was at this revision
        #[arg(long)]
        revision: Option<u64>,
        /// What this node has, at once
        #[arg(long)]
        local: bool,
    },
    /// Write one key
    #[command(
        after_help = "Examples:\n  quorate kv put app/leader gw-a\n  quorate kv put app/leader gw-b --if-revision 41"
    )]
    Put {
        /// namespace/key
        key: String,
        /// Its value
        value: String,
        /// The lease it ends with
        #[arg(long)]
        lease: Option<String>,
        /// Only if its last change is of this revision
        #[arg(long, conflicts_with = "create")]
        if_revision: Option<u64>,
        /// Only if there is none
        #[arg(long)]
        create: bool,
    },
    /// Delete one key, or all that begin so
    #[command(
        after_help = "Examples:\n  quorate kv delete app/leader\n  quorate kv delete app/jobs/ --prefix"
    )]
    Delete {
        /// namespace/key
        key: String,
        /// All keys that begin so
        #[arg(long)]
        prefix: bool,
    },
    /// Keys that begin so, in order
    #[command(
        after_help = "Examples:\n  quorate kv scan app/\n  quorate kv scan app/jobs/ --keys-only"
    )]
    Scan {
        /// namespace/prefix
        prefix: String,
        /// Leave the values out
        #[arg(long)]
        keys_only: bool,
    },
    /// Reads and writes under conditions, as JSON on standard input
    #[command(after_help = "Examples:\n  quorate kv txn app\n  quorate kv txn app --output json")]
    Txn {
        /// Whose keys
        namespace: String,
    },
    /// Changes as they happen
    #[command(
        after_help = "Examples:\n  quorate kv watch app/\n  quorate kv watch app/jobs/ --from-revision 41"
    )]
    Watch {
        /// namespace/prefix
        prefix: String,
        /// From this revision on
        #[arg(long)]
        from_revision: Option<u64>,
    },
}

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Lock {
    /// namespace/name; without a slash, in the namespace `default`
    pub(in crate::cli) name: String,
    /// Seconds to stand in line
    #[arg(long, default_value_t = 3600)]
    pub(in crate::cli) wait: u64,
    /// Seconds after which the lock is free if this machine dies
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u64).range(3..=86_400))]
    pub(in crate::cli) ttl: u64,
    /// What to run; it sees the fence as QUORATE_FENCE
    #[arg(required = true, last = true)]
    pub(in crate::cli) command: Vec<String>,
}

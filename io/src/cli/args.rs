//! The command line's words.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

/// Coordination node for fleets of AI gateways.
#[derive(Debug, Parser)]
#[command(name = "quorate", version, arg_required_else_help = true)]
#[command(after_help = "Examples:\n  quorate dev\n  quorate worker list --output json")]
pub(super) struct Args {
    #[command(flatten)]
    pub(super) target: Target,
    #[command(subcommand)]
    pub(super) command: Command,
}

/// Whom to ask, and how to show the answer.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Target {
    /// The node's HTTP address, or the path of its Unix socket
    #[arg(long, global = true, env = "QUORATE_ADDR")]
    pub(super) address: Option<String>,
    /// Bearer token
    #[arg(long, global = true, env = "QUORATE_TOKEN", hide_env_values = true)]
    pub(super) token: Option<String>,
    /// A file that holds the token
    #[arg(long, global = true, conflicts_with = "token")]
    pub(super) token_file: Option<PathBuf>,
    /// How to print
    #[arg(long, global = true, value_enum, default_value_t = Output::Table)]
    pub(super) output: Output,
    /// Print whole values
    #[arg(long, global = true)]
    pub(super) no_truncate: bool,
    /// Do not ask before what cannot be undone
    #[arg(long, global = true)]
    pub(super) yes: bool,
    /// Seconds to wait for an answer
    #[arg(long, global = true, default_value_t = 30)]
    pub(super) timeout: u64,
}

/// How an answer is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    /// Columns for people.
    Table,
    /// The HTTP answer.
    Json,
    /// The HTTP answer as YAML.
    Yaml,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Start three nodes on this machine, with two demonstration workers
    #[command(after_help = "Examples:\n  quorate dev\n  quorate dev --once --clean")]
    Dev(Dev),
    /// Run a node
    #[command(
        after_help = "Examples:\n  quorate serve --config quorate.toml\n  quorate serve --set node.id=gw-a --set data=./data"
    )]
    Serve(Serve),
    /// Write a commented quorate.toml
    #[command(after_help = "Examples:\n  quorate init\n  quorate init gw-a.toml")]
    Init(Init),
    /// Check or show configuration
    #[command(
        subcommand,
        after_help = "Examples:\n  quorate config check --config quorate.toml\n  quorate config show --effective --origin gossip"
    )]
    Config(Config),
    /// Make keys for the datagrams' keyring
    #[command(
        subcommand,
        after_help = "Examples:\n  quorate key new >> keyring\n  quorate keyring"
    )]
    Key(Key),
    /// Make bearer tokens
    #[command(
        subcommand,
        after_help = "Examples:\n  quorate token new --scope read\n  quorate token new --scope admin --label ops"
    )]
    Token(Token),
    /// Check an audit log
    #[command(
        subcommand,
        after_help = "Examples:\n  quorate audit verify ./data/audit\n  quorate audit-tail --after 100"
    )]
    Audit(Audit),
    /// Say what an error code means and what to do
    #[command(after_help = "Examples:\n  quorate explain owned_by\n  quorate explain url_scheme")]
    Explain {
        /// As in `code` of an error
        code: String,
    },
    /// Print completions for a shell
    #[command(
        after_help = "Examples:\n  quorate completion bash > /etc/bash_completion.d/quorate\n  quorate completion zsh > _quorate"
    )]
    Completion {
        /// Which
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    #[command(after_help = "Examples:\n  quorate man | man -l -\n  quorate man > quorate.1")]
    Man,
    #[command(flatten)]
    Remote(Noun),
}

/// What is asked of a running node.
#[derive(Debug, Subcommand)]
pub(super) enum Noun {
    /// One screen: the node, its members, its workers
    #[command(after_help = "Examples:\n  quorate status\n  quorate status --output json")]
    Status,
    /// Exit 0 if the node is live and started
    #[command(
        after_help = "Examples:\n  quorate health\n  quorate health --address 127.0.0.1:8430"
    )]
    Health,
    /// Look for what is wrong; changes nothing
    #[command(after_help = "Examples:\n  quorate doctor\n  quorate doctor --output json")]
    Doctor,
    /// Members of the cluster
    #[command(
        subcommand,
        after_help = "Examples:\n  quorate member list --watch\n  quorate member evict gw-c"
    )]
    Member(Member),
    /// List members
    #[command(hide = true)]
    Members,
    /// Model servers
    #[command(
        subcommand,
        after_help = "Examples:\n  quorate worker add http://10.0.0.7:8000 --model llama\n  quorate worker pick --model llama"
    )]
    Worker(Worker),
    /// List workers
    #[command(hide = true)]
    Workers,
    /// What gossip holds back and owes
    #[command(
        subcommand,
        after_help = "Examples:\n  quorate gossip show\n  quorate gossip show --output json"
    )]
    Gossip(Gossip),
    /// Events as they happen
    #[command(
        subcommand,
        after_help = "Examples:\n  quorate event follow\n  quorate event follow --type worker.changed"
    )]
    Event(Event),
    /// Follow events
    #[command(hide = true)]
    Events,
    /// This node
    #[command(subcommand, after_help = "Examples:\n  quorate node show\n  quorate node drain")]
    Node(Node),
    /// Ids of the keys that open datagrams
    #[command(after_help = "Examples:\n  quorate keyring\n  quorate keyring --output json")]
    Keyring,
    /// Lines of the audit log
    #[command(after_help = "Examples:\n  quorate audit-tail\n  quorate audit-tail --after 100")]
    AuditTail {
        /// Lines with a greater sequence
        #[arg(long, default_value_t = 0)]
        after: u64,
    },
}

#[derive(Debug, clap::Args)]
pub(super) struct Dev {
    /// Exit 0 as soon as everything is ready
    #[arg(long)]
    pub(super) once: bool,
    /// Remove what an earlier run left
    #[arg(long)]
    pub(super) clean: bool,
    /// Where nodes keep their files
    #[arg(long, default_value = ".quorate-dev")]
    pub(super) directory: PathBuf,
}

#[derive(Debug, Clone, clap::Args)]
pub(super) struct Serve {
    #[command(flatten)]
    pub(super) sources: SourceArgs,
    /// Stop when standard input ends
    #[arg(long, hide = true)]
    pub(super) with_parent: bool,
}

#[derive(Debug, Clone, clap::Args)]
pub(super) struct SourceArgs {
    /// The configuration file
    #[arg(long)]
    pub(super) config: Option<PathBuf>,
    /// A key and its value, above file and environment
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(super) set: Vec<String>,
}

#[derive(Debug, clap::Args)]
pub(super) struct Init {
    /// Where to write
    #[arg(default_value = "quorate.toml")]
    pub(super) path: PathBuf,
    /// Overwrite
    #[arg(long)]
    pub(super) force: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum Config {
    /// Report every wrong key, type and value
    Check(SourceArgs),
    /// Print the merged configuration
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
pub(super) enum Key {
    /// Print a new random key
    New,
}

#[derive(Debug, Subcommand)]
pub(super) enum Token {
    /// Print a new token, and the line for access.tokens that admits it
    New(TokenNew),
}

#[derive(Debug, clap::Args)]
pub(super) struct TokenNew {
    /// What it permits: read, use, operate, admin
    #[arg(long = "scope", required = true)]
    pub(super) scopes: Vec<String>,
    /// What it is for
    #[arg(long, default_value = "")]
    pub(super) label: String,
}

#[derive(Debug, Subcommand)]
pub(super) enum Audit {
    /// Name the first broken line, if there is one
    Verify {
        /// The folder `audit` of a data directory
        directory: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Member {
    /// Everybody, departed ones included
    List {
        /// Only this state
        #[arg(long)]
        state: Option<String>,
        /// Go on printing changes
        #[arg(long)]
        watch: bool,
    },
    /// One member, with its link
    Show {
        /// Its node id
        id: String,
    },
    /// Try these seeds as well
    Join {
        /// host:port each
        #[arg(required = true)]
        addresses: Vec<String>,
    },
    /// Leave the cluster, and stop
    Leave {
        /// Withdraw this node's workers first
        #[arg(long)]
        remove_workers: bool,
    },
    /// Forget a failed node now
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
pub(super) enum Worker {
    /// All workers
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
    Show {
        /// Its id or URL
        worker: String,
    },
    /// Claim a worker
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
    Set {
        /// Its id or URL
        worker: String,
        /// As in `weight=200`
        #[arg(required = true, value_name = "KEY=VALUE")]
        fields: Vec<String>,
    },
    /// Take it out of routing
    Drain {
        /// Its id or URL
        worker: String,
    },
    /// Take it back in
    Undrain {
        /// Its id or URL
        worker: String,
    },
    /// Drain it, wait, and withdraw our claim
    Remove {
        /// Its id or URL
        worker: String,
        /// Do not wait for requests in flight
        #[arg(long)]
        now: bool,
    },
    /// Probe it now
    Probe {
        /// Its id or URL
        worker: String,
    },
    /// Hide another node's worker on this node
    Suppress {
        /// Its id or URL
        worker: String,
    },
    /// Show it again
    Unsuppress {
        /// Its id or URL
        worker: String,
    },
    /// Which worker should take the next request
    Pick(Query),
    /// Why each worker would be picked or skipped
    Explain(Query),
}

impl Default for Worker {
    fn default() -> Worker {
        Worker::List { model: None, status: None, owner: None, watch: false }
    }
}

#[derive(Debug, clap::Args)]
pub(super) struct Query {
    /// The model to serve
    #[arg(long)]
    pub(super) model: Option<String>,
    /// regular, prefill, decode or encode
    #[arg(long)]
    pub(super) kind: Option<String>,
    /// round_robin, weighted, least_load, power_of_two or consistent_hash
    #[arg(long)]
    pub(super) policy: Option<String>,
    /// What consistent_hash hashes
    #[arg(long)]
    pub(super) key: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Gossip {
    /// Topics and peers
    Show,
}

#[derive(Debug, Subcommand)]
pub(super) enum Event {
    /// Print events until interrupted
    Follow {
        /// Only these types
        #[arg(long = "type")]
        types: Vec<String>,
    },
}

#[derive(Debug, Clone, Copy, Subcommand)]
pub(super) enum Node {
    /// Who it is and how it runs
    Show,
    /// Take it out of readiness
    Drain,
    /// Take it back in
    Undrain,
    /// Everything it knows, as JSON
    Dump,
}

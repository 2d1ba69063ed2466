//! The command line's words.

mod credentials;
pub(crate) mod operator;
mod verbs;

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

pub(super) use credentials::{BreakerDecision, Credential};
pub(super) use verbs::{
    Audit, Ca, Config, Event, Gossip, Key, Kv, Lock, Member, Node, Query, Raft, Recover, Token,
    TokenNew, Trace, Worker,
};

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
    /// Start three nodes on this machine, with two demonstration providers and two workers
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
    /// Make bearer tokens
    #[command(
        subcommand,
        after_help = "Examples:\n  quorate token new --scope read\n  quorate token new --scope admin --label ops"
    )]
    Token(Token),
    /// Make certificates for links, for clusters without an authority of their own
    #[command(
        subcommand,
        after_help = "Examples:\n  quorate ca init\n  quorate ca issue gw-a --folder ca"
    )]
    Ca(Ca),
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

/// What is asked of a running node, but for making a key and checking a log.
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
    #[command(
        hide = true,
        after_help = "Examples:\n  quorate members\n  quorate members --output json"
    )]
    Members,
    /// Model servers
    #[command(
        subcommand,
        after_help = "Examples:\n  quorate worker add http://10.0.0.7:8000 --model llama\n  quorate worker pick --model llama"
    )]
    Worker(Worker),
    /// List workers
    #[command(
        hide = true,
        after_help = "Examples:\n  quorate workers\n  quorate workers --output json"
    )]
    Workers,
    /// Accounts that this node may use
    #[command(
        subcommand,
        after_help = "Examples:\n  quorate credential list\n  quorate credential put codex-1 --file codex-1.json"
    )]
    Credential(Credential),
    /// List credentials
    #[command(
        hide = true,
        after_help = "Examples:\n  quorate credentials\n  quorate credentials --output json"
    )]
    Credentials,
    #[command(flatten)]
    Operator(operator::Operator),
    /// List pools
    #[command(
        hide = true,
        after_help = "Examples:\n  quorate pools\n  quorate pools --output json"
    )]
    Pools,
    /// Keys and values that everybody agrees on
    #[command(
        subcommand,
        after_help = "Examples:\n  quorate kv put app/leader gw-a\n  quorate kv watch app/"
    )]
    Kv(Kv),
    /// Hold a lock while a command runs
    #[command(
        after_help = "Examples:\n  quorate lock app/nightly -- ./backup.sh\n  quorate lock app/deploy --wait 600 -- make deploy"
    )]
    Lock(Lock),
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
    #[command(
        hide = true,
        after_help = "Examples:\n  quorate events\n  quorate events --output json"
    )]
    Events,
    /// The agreed log
    #[command(
        subcommand,
        after_help = "Examples:\n  quorate raft status\n  quorate raft transfer --to gw-b"
    )]
    Raft(Raft),
    /// This node
    #[command(subcommand, after_help = "Examples:\n  quorate node show\n  quorate node drain")]
    Node(Node),
    /// What this node is given and what it says to that
    #[command(
        subcommand,
        after_help = "Examples:\n  quorate trace record\n  quorate trace record --seconds 300"
    )]
    Trace(Trace),
    /// Keys that seal and open datagrams
    #[command(
        subcommand,
        after_help = "Examples:
  quorate key new >> keyring
  quorate key list"
    )]
    Key(Key),
    /// List keys
    #[command(
        hide = true,
        after_help = "Examples:
  quorate keys
  quorate keys --output json"
    )]
    Keys,
    /// The log of who changed what
    #[command(
        subcommand,
        after_help = "Examples:
  quorate audit tail --after 100
  quorate audit verify ./data/audit"
    )]
    Audit(Audit),
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
    /// Record every turn there, for `quorate-sim replay`
    #[arg(long, value_name = "DIR")]
    pub(super) record: Option<PathBuf>,
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

#[cfg(test)]
mod tests;

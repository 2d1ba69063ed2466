//! What `quorate credential` can be asked to do.

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Credential {
    /// All of them, without their secrets
    #[command(
        after_help = "Examples:\n  quorate credential list\n  quorate credential list --provider codex --state disabled"
    )]
    List {
        /// Only accounts of this provider
        #[arg(long)]
        provider: Option<String>,
        /// Only this state
        #[arg(long, value_parser = ["enabled", "disabled", "expired"])]
        state: Option<String>,
    },
    /// One of them, without its secrets
    #[command(
        after_help = "Examples:\n  quorate credential show codex-1\n  quorate credential show team/codex-1 --output json"
    )]
    Show {
        /// Its id
        id: String,
    },
    /// Write one, over what is there
    #[command(
        after_help = "Examples:\n  quorate credential put codex-1 --file codex-1.json\n  quorate credential put codex-1 --file -"
    )]
    Put {
        /// Its id
        id: String,
        /// Where the body stands, `-` for standard input
        #[arg(long)]
        file: String,
    },
    /// Delete one
    #[command(
        after_help = "Examples:\n  quorate credential delete codex-1\n  quorate credential delete codex-1 --yes"
    )]
    Delete {
        /// Its id
        id: String,
    },
    /// Keep one from being used
    #[command(
        after_help = "Examples:\n  quorate credential disable codex-1\n  quorate credential disable team/codex-1"
    )]
    Disable {
        /// Its id
        id: String,
    },
    /// Let one be used again
    #[command(
        after_help = "Examples:\n  quorate credential enable codex-1\n  quorate credential enable team/codex-1"
    )]
    Enable {
        /// Its id
        id: String,
    },
    /// Print the body of one, secrets too
    #[command(
        after_help = "Examples:\n  quorate credential reveal codex-1\n  quorate credential reveal codex-1 --output json"
    )]
    Reveal {
        /// Its id
        id: String,
    },
    /// Write what another program keeps; what is there already stays
    #[command(
        after_help = "Examples:\n  quorate credential import --from cliproxy:$HOME/.cli-proxy-api\n  quorate credential import --from cliproxy:auths --force"
    )]
    Import {
        /// `cliproxy:<folder>`
        #[arg(long)]
        from: String,
        /// Write over what is there, too
        #[arg(long)]
        force: bool,
    },
    /// Write bodies, secrets too, into a new file that only you can read
    #[command(
        after_help = "Examples:\n  quorate credential export --reveal --to accounts.json\n  quorate credential export codex-1 codex-2 --reveal --to two.json"
    )]
    Export {
        /// Their ids; without, all
        ids: Vec<String>,
        /// That secrets are meant to leave
        #[arg(long, required = true)]
        reveal: bool,
        /// The file
        #[arg(long)]
        to: String,
    },
    /// Look at every one now
    #[command(
        after_help = "Examples:\n  quorate credential reconcile\n  quorate credential reconcile --address 127.0.0.1:8430"
    )]
    Reconcile,
    /// Forget the revisions of those that were deleted long ago
    #[command(
        after_help = "Examples:\n  quorate credential purge --older-than 90d\n  quorate credential purge --older-than 12h"
    )]
    Purge {
        /// Deleted longer ago than this: 90d, 12h, 30m
        #[arg(long)]
        older_than: String,
    },
    /// Say whether so many that are missing at once were meant to go
    #[command(
        after_help = "Examples:\n  quorate credential breaker restore\n  quorate credential breaker accept --yes"
    )]
    Breaker {
        /// `accept` deletes them, `restore` writes them back
        decision: BreakerDecision,
    },
}

impl Default for Credential {
    fn default() -> Credential {
        Credential::List { provider: None, state: None }
    }
}

/// What the breaker is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(in crate::cli) enum BreakerDecision {
    /// They were meant to go
    Accept,
    /// They were not
    Restore,
}

//! The words of `quorate pool`, `cooldown` and `provider`.

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Pool {
    /// All pools
    #[command(after_help = "Examples:\n  quorate pool list\n  quorate pool list --output json")]
    List,
    /// One pool: its members and what they rest on
    #[command(
        after_help = "Examples:\n  quorate pool show codex\n  quorate pool show codex --output yaml"
    )]
    Show {
        /// Its name
        pool: String,
    },
    /// Who would be picked, and why each other would not
    #[command(
        after_help = "Examples:\n  quorate pool explain codex\n  quorate pool explain codex --model gpt-5"
    )]
    Explain {
        /// Its name
        pool: String,
        /// For requests of this model
        #[arg(long)]
        model: Option<String>,
    },
    /// Park the active account for five minutes and go on to the next
    #[command(
        after_help = "Examples:\n  quorate pool rotate codex\n  quorate pool rotate codex --output json"
    )]
    Rotate {
        /// Its name
        pool: String,
    },
    /// Set an account aside
    #[command(
        after_help = "Examples:\n  quorate pool park codex 04ef958ab3e85752\n  quorate pool park codex 04ef958ab3e85752 --minutes 60"
    )]
    Park {
        /// The pool's name
        pool: String,
        /// The account's handle, or its credential's id
        member: String,
        /// For how long, up to 10080 (seven days)
        #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=10_080))]
        minutes: u64,
    },
    /// Take an account back that was set aside
    #[command(
        after_help = "Examples:\n  quorate pool unpark codex 04ef958ab3e85752\n  quorate pool unpark codex codex-1"
    )]
    Unpark {
        /// The pool's name
        pool: String,
        /// The account's handle, or its credential's id
        member: String,
    },
    /// Forget what an account rests on, on every node
    #[command(
        after_help = "Examples:\n  quorate pool clear codex codex-1 --reason topped-up\n  quorate pool clear codex codex-1 --model gpt-5 --reason limit-raised"
    )]
    Clear {
        /// The pool's name
        pool: String,
        /// The account's handle, or its credential's id
        member: String,
        /// What rests for this model alone
        #[arg(long)]
        model: Option<String>,
        /// Why, for the audit log
        #[arg(long)]
        reason: String,
    },
    /// Let the next request try an account that rests
    #[command(
        after_help = "Examples:\n  quorate pool probe codex codex-1\n  quorate pool probe codex 04ef958ab3e85752"
    )]
    Probe {
        /// The pool's name
        pool: String,
        /// The account's handle, or its credential's id
        member: String,
    },
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Cooldown {
    /// Everything that rests
    #[command(
        after_help = "Examples:\n  quorate cooldown list\n  quorate cooldown list --output json"
    )]
    List,
    /// Forget what an account rests on, on every node
    #[command(
        after_help = "Examples:\n  quorate cooldown clear 04ef958ab3e85752 --reason topped-up\n  quorate cooldown clear 04ef958ab3e85752 --model gpt-5 --reason limit-raised"
    )]
    Clear {
        /// The account's handle
        credential: String,
        /// What rests for this model alone
        #[arg(long)]
        model: Option<String>,
        /// Why, for the audit log
        #[arg(long)]
        reason: String,
    },
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Provider {
    /// All providers and how many of their accounts may be used
    #[command(
        after_help = "Examples:\n  quorate provider list\n  quorate provider list --output json"
    )]
    List,
    /// Let every account of a provider rest
    #[command(
        after_help = "Examples:\n  quorate provider cool claude --seconds 600 --reason outage\n  quorate provider cool codex --seconds 60 --reason maintenance"
    )]
    Cool {
        /// Its name
        provider: String,
        /// For how long, up to 86400 (a day)
        #[arg(long, value_parser = clap::value_parser!(u64).range(1..=86_400))]
        seconds: u64,
        /// Why, for the audit log
        #[arg(long)]
        reason: String,
    },
    /// Forget what every account of a provider rests on
    #[command(
        after_help = "Examples:\n  quorate provider recover claude --reason outage-over\n  quorate provider recover codex --reason checked"
    )]
    Recover {
        /// Its name
        provider: String,
        /// Why, for the audit log
        #[arg(long)]
        reason: String,
    },
}

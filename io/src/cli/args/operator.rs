//! The words for pools, cooldowns and providers, as the command line and chats take them.

use clap::{Args, Subcommand};
use serde_json::Value;

/// A noun that operators say the same way everywhere.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Operator {
    /// Pools of accounts
    #[command(
        subcommand,
        after_help = "Examples:\n  quorate pool list\n  quorate pool rotate codex"
    )]
    Pool(Pool),
    /// Accounts that rest
    #[command(
        subcommand,
        after_help = "Examples:\n  quorate cooldown list\n  quorate cooldown clear codex-1 --reason quota-raised"
    )]
    Cooldown(Cooldown),
    /// Providers, over all pools
    #[command(
        subcommand,
        after_help = "Examples:\n  quorate provider list\n  quorate provider cool codex --for 10m --reason maintenance"
    )]
    Provider(Provider),
    /// Figures about requests
    #[command(
        subcommand,
        after_help = "Examples:\n  quorate metric providers\n  quorate metric providers --output json"
    )]
    Metric(Metric),
}

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Pool {
    /// All pools
    #[command(after_help = "Examples:\n  quorate pool list\n  quorate pool list --output json")]
    List,
    /// One pool with its members
    #[command(
        after_help = "Examples:\n  quorate pool show codex\n  quorate pool show codex --output json"
    )]
    Show {
        /// Its name
        pool: String,
    },
    /// Who would be picked now, and why nobody else
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
    /// Make a pool
    #[command(
        after_help = "Examples:\n  quorate pool create codex --member codex-1 --member codex-2=3\n  quorate pool create claude --provider claude --strategy round_robin"
    )]
    Create {
        /// Its name
        pool: String,
        #[command(flatten)]
        what: Box<Defined>,
    },
    /// Replace what a pool is; what is not said is as by default
    #[command(
        after_help = "Examples:\n  quorate pool set codex --member codex-1 --strategy fill_first\n  quorate pool set claude --provider claude --degrade forward"
    )]
    Set {
        /// Its name
        pool: String,
        #[command(flatten)]
        what: Box<Defined>,
    },
    /// Remove a pool
    #[command(
        after_help = "Examples:\n  quorate pool remove codex\n  quorate pool remove codex --output json"
    )]
    Remove {
        /// Its name
        pool: String,
    },
    /// Put a credential into a pool, or change its share
    #[command(
        after_help = "Examples:\n  quorate pool add codex codex-3\n  quorate pool add codex codex-3 --weight 5"
    )]
    Add {
        /// The pool's name
        pool: String,
        /// The credential's id or handle
        credential: String,
        /// Its share; else that of its record
        #[arg(long)]
        weight: Option<u32>,
    },
    /// Take a credential out of a pool
    #[command(
        after_help = "Examples:\n  quorate pool drop codex codex-3\n  quorate pool drop codex 04ef958ab3e85752"
    )]
    Drop {
        /// The pool's name
        pool: String,
        /// The credential's id or handle
        member: String,
    },
    /// Say what is reset once the pool is back; without a target, nothing
    #[command(
        after_help = "Examples:\n  quorate pool set-auth-reset codex login-1\n  quorate pool set-auth-reset codex"
    )]
    SetAuthReset {
        /// The pool's name
        pool: String,
        /// The target
        #[arg(default_value = "")]
        target: String,
    },
    /// Set the active member aside for five minutes and go on to the next
    #[command(
        after_help = "Examples:\n  quorate pool rotate codex\n  quorate pool rotate codex --output json"
    )]
    Rotate {
        /// Its name
        pool: String,
    },
    /// Set a member aside
    #[command(
        after_help = "Examples:\n  quorate pool park codex codex-1 --for 30m\n  quorate pool park codex 04ef958ab3e85752 --for 2h"
    )]
    Park {
        /// The pool's name
        pool: String,
        /// The credential's id or handle
        member: String,
        /// For how long, as in 90s, 30m, 2h or 7d
        #[arg(long = "for", value_name = "TIME", default_value = "30m", value_parser = span)]
        span: u64,
    },
    /// Take a member back
    #[command(
        after_help = "Examples:\n  quorate pool unpark codex codex-1\n  quorate pool unpark codex codex-1 --output json"
    )]
    Unpark {
        /// The pool's name
        pool: String,
        /// The credential's id or handle
        member: String,
    },
    /// Forget what a member rests on
    #[command(
        after_help = "Examples:\n  quorate pool clear codex codex-1 --reason quota-raised\n  quorate pool clear codex codex-1 --model gpt-5 --reason wrong-hint"
    )]
    Clear {
        /// The pool's name
        pool: String,
        /// The credential's id or handle
        member: String,
        /// Of this model alone
        #[arg(long)]
        model: Option<String>,
        /// Why, for the audit log
        #[arg(long)]
        reason: String,
    },
    /// What an upstream's answer would mean; nothing is learnt from it
    #[command(
        after_help = "Examples:\n  quorate pool classify '{\"provider\":\"openai\",\"endpoint\":\"api\",\"model\":\"\",\"status\":429,\"headers\":[],\"body\":\"\"}'\n  quorate pool classify \"$ANSWER\" --output json"
    )]
    Classify {
        /// The answer, as JSON: provider, endpoint, model, status, headers, body
        answer: String,
    },
    /// Let the next request, or the pool's own, try a member that rests
    #[command(
        after_help = "Examples:\n  quorate pool probe codex codex-1\n  quorate pool probe codex codex-1 --output json"
    )]
    Probe {
        /// The pool's name
        pool: String,
        /// The credential's id or handle
        member: String,
    },
}

/// What a pool is.
#[derive(Debug, Clone, Args)]
pub(crate) struct Defined {
    /// A credential's id, with its share behind `=`; once for each, in order
    #[arg(long = "member", value_name = "ID[=WEIGHT]", required_unless_present = "provider")]
    pub(crate) members: Vec<String>,
    /// All credentials of this provider instead
    #[arg(long, conflicts_with = "members")]
    pub(crate) provider: Option<String>,
    /// failover, round_robin, fill_first, weighted or least_used
    #[arg(long)]
    pub(crate) strategy: Option<String>,
    /// `forward`: with nothing servable, use the member whose rest ends first
    #[arg(long)]
    pub(crate) degrade: Option<String>,
    /// Replaces the provider's base URL
    #[arg(long)]
    pub(crate) upstream: Option<String>,
    /// What is reset once the pool is back
    #[arg(long)]
    pub(crate) auth_reset_target: Option<String>,
    /// How long members rest where nothing is stated, in ms, as in floor_ms=5000; once for each number
    #[arg(long, value_name = "NAME=MS", value_parser = number)]
    pub(crate) profile: Vec<(String, u64)>,
    /// How often a long rest may be tried early while nothing serves, 5m to 6h; `off` for never
    #[arg(long, value_name = "TIME", value_parser = span_or_off)]
    pub(crate) early_probe: Option<u64>,
    /// A sink that hears of it, once for each; else all of them
    #[arg(long, value_name = "SINK")]
    pub(crate) notify: Vec<String>,
    /// No sink hears of it
    #[arg(long, conflicts_with = "notify")]
    pub(crate) no_notices: bool,
    /// What to try an account with once nobody has asked for a minute, as in '{"method":"GET","path":"/v1/models"}'
    #[arg(long, value_name = "JSON", value_parser = json)]
    pub(crate) probe_request: Option<Value>,
}

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Cooldown {
    /// Everything that rests, soonest end first
    #[command(
        after_help = "Examples:\n  quorate cooldown list\n  quorate cooldown list --output json"
    )]
    List,
    /// Forget what a credential rests on
    #[command(
        after_help = "Examples:\n  quorate cooldown clear codex-1 --reason quota-raised\n  quorate cooldown clear codex-1 --model gpt-5 --reason wrong-hint"
    )]
    Clear {
        /// The credential's id or handle
        credential: String,
        /// Of this model alone
        #[arg(long)]
        model: Option<String>,
        /// Why, for the audit log
        #[arg(long)]
        reason: String,
    },
}

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Provider {
    /// All providers
    #[command(
        after_help = "Examples:\n  quorate provider list\n  quorate provider list --output json"
    )]
    List,
    /// One provider
    #[command(
        after_help = "Examples:\n  quorate provider show codex\n  quorate provider show codex --output json"
    )]
    Show {
        /// Its name
        provider: String,
    },
    /// Let every credential of a provider rest
    #[command(
        after_help = "Examples:\n  quorate provider cool codex --for 10m --reason maintenance\n  quorate provider cool claude --for 1h --reason outage"
    )]
    Cool {
        /// Its name
        provider: String,
        /// For how long, as in 90s, 30m or 2h; a day at most
        #[arg(long = "for", value_name = "TIME", value_parser = span)]
        span: u64,
        /// Why, for the audit log
        #[arg(long)]
        reason: String,
    },
    /// Forget what every credential of a provider rests on
    #[command(
        after_help = "Examples:\n  quorate provider recover codex --reason outage-over\n  quorate provider recover claude --reason tested"
    )]
    Recover {
        /// Its name
        provider: String,
        /// Why, for the audit log
        #[arg(long)]
        reason: String,
    },
}

#[derive(Debug, Clone, Copy, Subcommand)]
pub(crate) enum Metric {
    /// Requests, failures and latencies by provider, over the last fifteen minutes
    #[command(
        after_help = "Examples:\n  quorate metric providers\n  quorate metric providers --output json"
    )]
    Providers,
}

/// Milliseconds of a time such as `90s`.
fn span(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is no time; write 90s, 30m, 2h or 7d");
    let unit = text.chars().last().ok_or_else(wrong)?;
    let count: u64 =
        text.strip_suffix(unit).and_then(|count| count.parse().ok()).ok_or_else(wrong)?;
    let unit_ms = match unit {
        's' => 1000,
        'm' => 60_000,
        'h' => 3_600_000,
        'd' => 86_400_000,
        _ => return Err(wrong()),
    };
    count.checked_mul(unit_ms).filter(|span| *span > 0).ok_or_else(wrong)
}

fn span_or_off(text: &str) -> Result<u64, String> {
    if text == "off" { Ok(0) } else { span(text) }
}

fn number(text: &str) -> Result<(String, u64), String> {
    let wrong = || format!("`{text}` is no number of a profile; write it as in floor_ms=5000");
    let (name, number) = text.split_once('=').ok_or_else(wrong)?;
    Ok((name.to_owned(), number.parse().map_err(|_| wrong())?))
}

fn json(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| format!("it is no JSON: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_a_number_and_a_unit() {
        assert_eq!(span("90s"), Ok(90_000));
        assert_eq!(span("7d"), Ok(604_800_000));
        for wrong in ["", "m", "10", "-5m", "0s", "1.5h", "10 m", "99999999999999999999d", "5µ"] {
            assert!(span(wrong).is_err(), "{wrong}");
        }
    }
}

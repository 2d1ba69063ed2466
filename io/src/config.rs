//! The configuration of a node: one TOML file, the environment, flags; checked as a whole.
//!
//! Layers, lowest first: defaults, local file, environment (`QUORATE__GOSSIP__FANOUT=4`), flags
//! (`--set gossip.fanout=4`). Tables merge by key; scalars and arrays replace. Every wrong key, type and
//! value is reported at once, with its place and what to do, and nothing is half applied.
//!
//! Absent on purpose: what a value means to a machine. Numbers of the protocols are rows of
//! [`quorate_core::node::settings::SETTINGS`].

mod catalogue;
mod layers;
mod pools;
mod read;
mod secret;
mod show;

pub use catalogue::Owner;
pub(crate) use catalogue::is_live;
pub use layers::{Layers, Place, Sources};
pub use read::{Config, HttpConfig, Outward, TokenConfig, read_keyring};
pub use secret::{Secret, SecretError};
pub use show::{reference, report, show};

use std::fmt;

/// One thing that is wrong, where, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// A stable word for it.
    pub code: &'static str,
    /// What is wrong, naming the key.
    pub message: String,
    /// Where it was written.
    pub place: Place,
    /// What to do.
    pub help: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error[{}]: {}\n  --> {}", self.code, self.message, self.place)?;
        match &self.help {
            Some(help) => write!(f, "        help: {help}"),
            None => Ok(()),
        }
    }
}

impl Config {
    /// Reads, merges and checks all layers. On failure nothing of them is used.
    pub fn load(sources: &Sources) -> Result<(Config, Layers), Vec<Problem>> {
        let mut problems = Vec::new();
        let layers = Layers::read(sources, &mut problems);
        let config = read::config(&layers, &mut problems);
        match config {
            Some(config) if problems.is_empty() => Ok((config, layers)),
            _ => Err(problems),
        }
    }
}

#[cfg(test)]
mod tests;

//! What one owner publishes of one worker.

use serde::{Deserialize, Serialize};

use super::{Id, Spec};
use crate::ids::{NodeId, Replica};
use crate::wire::Blob;
use crate::wire::segment::Key;

/// What an owner says about health.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Statement {
    /// No evidence.
    Unknown,
    /// Ready there.
    Healthy,
    /// Ill there.
    Unhealthy,
}

/// What an owner's operator wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Admin {
    /// Use it.
    Active,
    /// Send nothing new.
    Draining,
}

/// The value of a `w/<id>` entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// Of this form: 1.
    pub v: u32,
    /// Canonical, with the rank.
    pub url: String,
    /// Spec and admin writes of the owner.
    pub revision: u64,
    /// What it is, probing resolved.
    pub spec: Spec,
    /// What the operator wants.
    pub admin: Admin,
    /// What the owner says about health.
    pub statement: Statement,
    /// Rises with the statement, from 1 with each incarnation.
    pub statement_version: u64,
}

impl From<&str> for Id {
    fn from(text: &str) -> Id {
        Id(text.into())
    }
}

/// The id of `node`'s claim on a canonical URL.
pub fn id(node: &NodeId, url: &str) -> Id {
    let length = |text: &str| u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes();
    let (node, mut name) = (node.as_str(), Vec::with_capacity(8 + url.len() + 63));
    name.extend_from_slice(&length(node));
    name.extend_from_slice(node.as_bytes());
    name.extend_from_slice(&length(url));
    name.extend_from_slice(url.as_bytes());
    let mut text = uuid::Uuid::encode_buffer();
    Id::from(&*uuid::Uuid::new_v5(&NAMESPACE, &name).as_hyphenated().encode_lower(&mut text))
}

const NAMESPACE: uuid::Uuid = uuid::Uuid::from_u128(0x36ba_dffd_b0ba_5337_991c_c95a_4040_f704);

/// W-1: whether an entry may stand in `author`'s map of the workers topic.
pub fn check_entry(author: &Replica, key: &Key, value: Option<&Blob>) -> Result<(), &'static str> {
    let _ = (author, key, value);
    Ok(())
}

//! What one owner publishes of one worker, and what a merge refuses.
//!
//! The map of an owner has `w/<id>` per claim, `lease` as heartbeat, and the ready marker. Everything
//! else, and everything that an honest owner would not write, is refused at merge and leaves no trace
//! (W-1): a foreign id, a URL that differs from the spec's or is not canonical, a socket of another
//! host, anything out of bounds or named like a secret (W-11).
//!
//! Absent on purpose: probe counts and load. They are nobody else's.

use serde::{Deserialize, Serialize};

use super::url::Url;
use super::{Id, Spec};
use crate::ids::{NodeId, Replica};
use crate::limits;
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

/// What an entry of the topic says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said {
    /// Everything of this life is written.
    Ready,
    /// The owner's heartbeat.
    Lease,
    /// A claim, or (`None`) its end.
    Claim(Id, Option<Box<Published>>),
}

/// W-1: whether an entry may stand in `author`'s map of the workers topic.
pub fn check_entry(author: &Replica, key: &Key, value: Option<&Blob>) -> Result<(), &'static str> {
    read_entry(author, key, value).map(|_| ())
}

/// Reads an entry of `author`'s map, refusing what no honest owner writes.
pub(super) fn read_entry(
    author: &Replica,
    key: &Key,
    value: Option<&Blob>,
) -> Result<Said, &'static str> {
    if key.is_empty() {
        return Ok(Said::Ready);
    }
    if &**key == LEASE_KEY {
        let sound = value.is_none_or(|value| serde_json::from_slice::<Beat>(value).is_ok());
        return if sound { Ok(Said::Lease) } else { Err("a lease without a count") };
    }
    let id = key.strip_prefix(CLAIM_PREFIX).ok_or("a key that is none of the topic's")?;
    let Some(value) = value else {
        uuid::Uuid::try_parse(id).map_err(|_| "a worker's key without an id")?;
        return Ok(Said::Claim(Id::from(id), None));
    };
    if value.len() > VALUE_BYTES_MAX {
        return Err("a worker's entry over bounds");
    }
    let mut said: Published =
        serde_json::from_slice(value).map_err(|_| "a malformed worker entry")?;
    if canary!("workers.forgets_a_field") {
        said.spec.bootstrap_port = None;
    }
    said.check(author, id)?;
    Ok(Said::Claim(Id::from(id), Some(Box::new(said))))
}

impl Published {
    fn check(&self, author: &Replica, id: &str) -> Result<(), &'static str> {
        if self.v != 1 {
            return Err("a worker entry of an unknown version");
        }
        if self.spec.is_local() {
            return Err("a worker of another host's sockets");
        }
        let url = Url::canonical(&self.spec.url, self.spec.dp_rank);
        let url = url.map_err(|_| "a worker url that is none")?;
        if *url.base != *self.spec.url {
            return Err("a worker url that is not canonical");
        }
        if *url.identity != *self.url {
            return Err("a worker entry whose url is not its spec's");
        }
        if self::id(&author.node, &self.url).as_str() != id {
            return Err("a worker entry under an id that is not its author's");
        }
        self.spec.check(false).map_err(|_| "a worker spec over bounds")?;
        self.spec.check_secrets().map_err(|_| "a worker spec with a secret")
    }

    /// Its bytes in the map.
    pub(super) fn encode(&self) -> Blob {
        Blob::from(serde_json::to_vec(self).expect("a claim is a JSON object"))
    }
}

/// The value of `lease`.
#[derive(Serialize, Deserialize)]
struct Beat {
    count: u64,
}

/// The value of the `count`th heartbeat.
pub(super) fn lease(count: u64) -> Blob {
    Blob::from(serde_json::to_vec(&Beat { count }).expect("a count is a JSON object"))
}

/// The key of a claim.
pub(super) fn key(id: &Id) -> Key {
    Key::from(format!("{CLAIM_PREFIX}{id}"))
}

/// The key of the heartbeat.
pub(super) const LEASE_KEY: &str = "lease";
const CLAIM_PREFIX: &str = "w/";
/// A spec of the greatest size, and room for what stands beside it.
const VALUE_BYTES_MAX: usize = limits::WORKER_SPEC_BYTES_MAX + limits::URL_BYTES_MAX + 512;

#[cfg(test)]
mod tests;

//! What a node says of itself: keys with JSON values in its own map of topic `facts`.
//!
//! What other machines say of themselves (`raft`, `audit`) is handed in by `Input::Tell`, and not read here.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Membership, Output, Refusal, Settings};
use crate::ids::{Incarnation, NodeId, Replica};
use crate::limits;
use crate::time::Instant;
use crate::wire::Blob;
use crate::wire::segment::Key;

/// The facts of one node as they are visible now.
#[derive(Debug, Clone, Default)]
pub(super) struct Facts {
    pub(super) entries: BTreeMap<Key, Blob>,
    /// The life that says it is leaving.
    pub(super) leaving: Option<Incarnation>,
    /// The life that says its process is about to be replaced.
    pub(super) restarting: Option<Incarnation>,
}

impl Facts {
    fn set(&mut self, owner: &Replica, key: Key, value: Option<Blob>) {
        let said = value.is_some().then_some(owner.incarnation);
        match &*key {
            LEAVING => self.leaving = said,
            RESTARTING => self.restarting = said,
            _ => {}
        }
        match value {
            Some(value) => self.entries.insert(key, value),
            None => self.entries.remove(&key),
        };
    }
}

/// Whether an entry may stand in somebody's facts: JSON, and within the bound of all facts. For the
/// registration of the topic.
pub fn check_fact(_owner: &Replica, key: &Key, value: Option<&Blob>) -> Result<(), &'static str> {
    let Some(value) = value else { return Ok(()) };
    if key.len() + value.len() > limits::FACTS_BYTES_MAX {
        return Err("a fact is too large");
    }
    match serde_json::from_slice::<serde::de::IgnoredAny>(value) {
        Ok(_) => Ok(()),
        Err(_) => Err("a fact is no JSON"),
    }
}

/// Whether zone and labels can be published at all, so that a start or a request fails instead of
/// publishing nothing.
pub fn check_settings(settings: &Settings) -> Result<(), Refusal> {
    let wrong = |what: String| Err(Refusal::Labels { what });
    if settings.zone.len() > limits::ZONE_BYTES_MAX {
        return wrong(format!("the zone is longer than {} bytes", limits::ZONE_BYTES_MAX));
    }
    if settings.labels.len() > limits::LABELS_MAX {
        return wrong(format!("there are more than {} labels", limits::LABELS_MAX));
    }
    for (key, value) in &settings.labels {
        if key.is_empty() || key.len() > limits::LABEL_KEY_BYTES_MAX {
            let max = limits::LABEL_KEY_BYTES_MAX;
            return wrong(format!("the key of label `{key}` has not 1 to {max} bytes"));
        }
        if value.len() > limits::LABEL_VALUE_BYTES_MAX {
            let max = limits::LABEL_VALUE_BYTES_MAX;
            return wrong(format!("the value of label `{key}` is longer than {max} bytes"));
        }
    }
    let size_bytes: usize =
        settled(settings).iter().map(|(key, value)| key.len() + value.len()).sum();
    if size_bytes > limits::FACTS_BYTES_MAX - RESERVED_BYTES {
        return wrong(format!("all facts together are {size_bytes} bytes, which is too much"));
    }
    Ok(())
}

impl Membership {
    /// Writes everything that is known from the start.
    pub(super) fn write_facts(&mut self, out: &mut Vec<Output>) {
        for (key, value) in settled(&self.settings) {
            self.write_fact(key, Some(value), out);
        }
        out.push(Output::FactsReady);
    }

    pub(super) fn write_fact(&mut self, key: Key, value: Option<Blob>, out: &mut Vec<Output>) {
        let own = self.facts.entry(self.identity.replica.node.clone()).or_default();
        own.set(&self.identity.replica, key.clone(), value.clone());
        out.push(Output::WriteFact { key, value });
        out.push(Output::Changed { node: self.identity.replica.node.clone() });
    }

    pub(super) fn write_flag(&mut self, key: &str, out: &mut Vec<Output>) {
        self.write_fact(Key::from(key), Some(blob(&json!(true))), out);
    }

    pub(super) fn set_labels(
        &mut self,
        labels: BTreeMap<String, String>,
        out: &mut Vec<Output>,
    ) -> Result<(), Refusal> {
        let settings = Settings { labels, ..self.settings.clone() };
        check_settings(&settings)?;
        self.settings = settings;
        let value = blob(&json!(self.settings.labels));
        self.write_fact(Key::from(LABELS), Some(value), out);
        Ok(())
    }

    /// A fact of somebody became visible, or went.
    pub(super) fn fact(
        &mut self,
        now: Instant,
        owner: &Replica,
        key: Key,
        value: Option<Blob>,
        out: &mut Vec<Output>,
    ) {
        if owner.node == self.identity.replica.node {
            return; // We know what we said.
        }
        let full = self.facts.len() >= self.settings.members_max;
        if full && !self.facts.contains_key(&owner.node) {
            return;
        }
        let evicted = evicted(&key, value.as_ref());
        let facts = self.facts.entry(owner.node.clone()).or_default();
        facts.set(owner, key, value);
        if facts.entries.is_empty() {
            self.facts.remove(&owner.node);
        }
        if self.rows.contains_key(&owner.node) {
            out.push(Output::Changed { node: owner.node.clone() });
        }
        self.left_after_all(now, owner, out);
        if let Some(replica) = evicted {
            self.evicted(now, &replica, out);
        }
    }

    /// Publishes that `replica` is to be forgotten by everybody.
    pub(super) fn publish_eviction(
        &mut self,
        now: Instant,
        replica: &Replica,
        out: &mut Vec<Output>,
    ) {
        let key = Key::from(format!("{EVICT}{}", replica.node));
        // A few evictions fill the facts; the eldest have long been read.
        while self.evictions.len() >= EVICTIONS_MAX
            && let Some((_, eldest)) = self.evictions.pop_first()
        {
            self.withdraw(eldest, out);
        }
        self.evictions
            .insert((now + self.settings.forget_after, self.eviction_number), key.clone());
        self.eviction_number += 1;
        self.write_fact(key, Some(blob(&json!(replica.incarnation.0))), out);
    }

    /// Withdraws evictions that everybody has read.
    pub(super) fn expire_evictions(&mut self, now: Instant, out: &mut Vec<Output>) {
        while let Some(entry) = self.evictions.first_entry()
            && entry.key().0 <= now
        {
            let key = entry.remove();
            self.withdraw(key, out);
        }
    }

    fn withdraw(&mut self, eviction: Key, out: &mut Vec<Output>) {
        if !self.evictions.values().any(|other| *other == eviction) {
            sometimes!("membership.eviction_withdrawn");
            self.write_fact(eviction, None, out);
        }
    }
}

fn evicted(key: &Key, value: Option<&Blob>) -> Option<Replica> {
    let node: NodeId = key.strip_prefix(EVICT)?.parse().ok()?;
    let incarnation = Incarnation(serde_json::from_slice(value?).ok()?);
    Some(Replica { node, incarnation })
}

/// The facts that follow from the settings.
fn settled(settings: &Settings) -> Vec<(Key, Blob)> {
    let (low, high) = settings.protocol;
    let address = settings.address.to_string();
    let facts = [
        ("addresses", json!({ "link": address, "datagram": address, "http": settings.http })),
        ("zone", json!(settings.zone)),
        (
            "versions",
            json!({ "software": settings.version, "protocol_min": low, "protocol_max": high }),
        ),
        (LABELS, json!(settings.labels)),
    ];
    facts.into_iter().map(|(key, value)| (Key::from(key), blob(&value))).collect()
}

fn blob(value: &Value) -> Blob {
    Blob::from(value.to_string().as_str())
}

/// The fact of a node that says goodbye.
pub(super) const LEAVING: &str = "leaving";
/// The fact of a node whose process is about to be replaced.
pub(super) const RESTARTING: &str = "restarting";
const LABELS: &str = "labels";
const EVICT: &str = "evict/";
const EVICTIONS_MAX: usize = 8;
/// Bytes of all facts that are kept for what a node says at run time.
const RESERVED_BYTES: usize = 1024;

//! Keys, values, leases and lines as JSON.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use quorate_core::node::kv::{Cause, Changed, Done, Key, LeaseId, Line, Version, What};
use serde_json::{Map, Value, json};

use crate::http::problem::Problem;
use crate::http::strict::{self, Fields};

/// A member `name` where the bytes are UTF-8, else `<name>_base64`.
fn put_bytes(into: &mut Map<String, Value>, name: &str, bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(text) => into.insert(name.to_owned(), json!(text)),
        Err(_) => into.insert(format!("{name}_base64"), json!(STANDARD.encode(bytes))),
    };
}

/// A lease's name, as texts go.
pub(super) fn lease(lease: LeaseId) -> String {
    lease.0.to_string()
}

/// A key with a version of it.
pub(super) fn item(key: &Key, held: &Version, with_value: bool) -> Value {
    let mut shown = Map::new();
    put_bytes(&mut shown, "key", key.as_slice());
    version(&mut shown, held, with_value);
    Value::Object(shown)
}

fn version(into: &mut Map<String, Value>, held: &Version, with_value: bool) {
    if with_value {
        put_bytes(into, "value", &held.value);
    }
    into.insert("create_revision".to_owned(), json!(held.create_revision));
    into.insert("mod_revision".to_owned(), json!(held.mod_revision));
    into.insert("version".to_owned(), json!(held.version));
    if let Some(bound) = held.lease {
        into.insert("lease".to_owned(), json!(lease(bound)));
    }
}

/// A version whose key is named elsewhere.
pub(super) fn previous(held: &Version) -> Value {
    let mut shown = Map::new();
    version(&mut shown, held, true);
    Value::Object(shown)
}

/// A key that was just put.
pub(super) fn put(key: &Key, revision: u64, done: &Done) -> Value {
    let mut shown = Map::new();
    put_bytes(&mut shown, "key", key.as_slice());
    if let Done::Put { create_revision, version, lease: bound, .. } = done {
        shown.insert("create_revision".to_owned(), json!(create_revision));
        shown.insert("mod_revision".to_owned(), json!(revision));
        shown.insert("version".to_owned(), json!(version));
        if let Some(bound) = bound {
            shown.insert("lease".to_owned(), json!(lease(*bound)));
        }
    }
    Value::Object(shown)
}

/// A change, for a watcher.
pub(super) fn change(change: &Changed) -> Value {
    let mut shown = Map::new();
    put_bytes(&mut shown, "key", change.key.as_slice());
    match &change.what {
        What::Put(held) => {
            shown.insert("type".to_owned(), json!("put"));
            version(&mut shown, held, true);
        }
        What::Delete(cause) => {
            shown.insert("type".to_owned(), json!("delete"));
            shown.insert("cause".to_owned(), json!(cause_word(*cause)));
            shown.insert("mod_revision".to_owned(), json!(change.revision));
        }
    }
    if let Some(held) = &change.previous {
        shown.insert("previous".to_owned(), previous(held));
    }
    Value::Object(shown)
}

fn cause_word(cause: Cause) -> &'static str {
    match cause {
        Cause::Deleted => "deleted",
        Cause::Expired => "expired",
        Cause::Revoked => "revoked",
    }
}

/// Who holds.
pub(super) fn holders(line: &Line) -> Value {
    let holders = line.contenders.iter().filter(|waiting| waiting.contender.held);
    let shown = holders.map(|waiting| {
        json!({
            "fence": waiting.contender.fence,
            "lease": lease(waiting.contender.lease),
            "remaining_ms": waiting.remaining_ms,
        })
    });
    shown.collect()
}

/// How many wait.
pub(super) fn waiting(line: &Line) -> usize {
    line.contenders.iter().filter(|waiting| !waiting.contender.held).count()
}

/// The bytes that a body names as `name` or `<name>_base64`.
pub(super) fn bytes(fields: &mut Fields, name: &str) -> Option<Vec<u8>> {
    let base64 = format!("{name}_base64");
    let coded =
        fields.optional(&base64, "standard base64", |value| STANDARD.decode(value.as_str()?).ok());
    let text = fields.optional(name, "a string", strict::string).map(String::into_bytes);
    if coded.is_some() && text.is_some() {
        fields.fault(&base64, "ambiguous", format!("give `{name}` or `{base64}`, not both"));
    }
    coded.or(text)
}

/// The same, where there must be some.
pub(super) fn needed_bytes(fields: &mut Fields, name: &str) -> Option<Vec<u8>> {
    let faults = fields.fault_count();
    let bytes = bytes(fields, name);
    if bytes.is_none() && fields.fault_count() == faults {
        fields.fault(name, "missing", format!("`{name}` or `{name}_base64` is needed"));
    }
    bytes
}

/// A lease that a body names.
pub(super) fn lease_of(fields: &mut Fields) -> Option<LeaseId> {
    fields.optional("lease", "the id of a lease", |value| value.as_str()?.parse().ok().map(LeaseId))
}

/// A key of these bytes.
pub(super) fn key_of(bytes: &[u8]) -> Result<Key, Problem> {
    Key::new(bytes).map_err(|error| super::invalid(error.to_string()))
}

/// The bytes of a base64 parameter.
pub(super) fn decoded(text: &str, name: &str) -> Result<Vec<u8>, Problem> {
    let url = base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let bytes = STANDARD.decode(text).or_else(|_| url.decode(text));
    bytes.map_err(|_| super::invalid(format!("`{name}` is no base64")))
}

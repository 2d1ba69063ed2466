//! A body: the record that it is, and its secrets, each where only [`Secret::expose`] reaches it.
//!
//! Absent on purpose: a way to change one. A changed body is another body.

use std::collections::BTreeMap;

use quorate_core::limits;
use quorate_core::node::credentials::{Fault, PERSONAL, PUBLIC, Record, record};
use serde_json::{Map, Value};
use zeroize::Zeroize as _;

use super::canonical;
use super::secret::Secret;
use crate::http::strict;

/// See the module.
pub struct Body {
    record: Record,
    /// Public and personal members, as they are written.
    shown: Map<String, Value>,
    /// Texts that are secret, by dotted path.
    secrets: BTreeMap<String, Secret>,
    whole: Secret,
    digest: [u8; 32],
}

/// Why bytes are no body. No variant quotes a value of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// Too large for one of the stores.
    #[error("a body has at most 262144 bytes")]
    TooLarge,
    /// Not one JSON value, or one that some reader would read otherwise.
    #[error("it is not one JSON object that every reader reads alike: {detail}")]
    Malformed {
        /// What is wrong, without what is there.
        detail: &'static str,
    },
    /// JSON, and no record.
    #[error("it is no record: {}", first(.0))]
    Invalid(Vec<Fault>),
}

fn first(faults: &[Fault]) -> &str {
    faults.first().map_or("", |fault| fault.detail.as_str())
}

impl Body {
    /// Reads what a store holds.
    pub fn read(bytes: &[u8]) -> Result<Body, BodyError> {
        if bytes.len() > limits::CREDENTIAL_BODY_BYTES_MAX {
            return Err(BodyError::TooLarge);
        }
        let value = strict::parse(bytes)
            .map_err(|fault| BodyError::Malformed { detail: malformed(fault.code) })?;
        Body::of(value)
    }

    /// The body that `value` is. What it held is wiped.
    pub fn of(mut value: Value) -> Result<Body, BodyError> {
        let read = Body::of_ref(&value);
        wipe(&mut value);
        read
    }

    fn of_ref(value: &Value) -> Result<Body, BodyError> {
        let object = record::check(value).map_err(|fault| BodyError::Invalid(vec![fault]))?;
        let record = Record::read(object).map_err(BodyError::Invalid)?;
        let mut whole = canonical::form(value);
        if whole.len() > limits::CREDENTIAL_BODY_BYTES_MAX {
            return Err(BodyError::TooLarge);
        }
        let digest = canonical::digest(&whole);
        let mut secrets = BTreeMap::new();
        for (name, member) in object.iter().filter(|(name, member)| !is_shown(name, member)) {
            gather(name, member, &mut secrets);
        }
        let shown = object.iter().filter(|(name, member)| is_shown(name, member));
        let shown = shown.map(|(name, member)| (name.clone(), member.clone())).collect();
        let whole = Secret::new(std::mem::take(&mut *whole));
        Ok(Body { record, shown, secrets, whole, digest })
    }

    /// What is public of it and decided over.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// Public and personal members, for readers of credentials. Personal ones go nowhere else.
    pub fn shown(&self) -> &Map<String, Value> {
        &self.shown
    }

    /// A public member that is a text.
    pub fn public(&self, name: &str) -> Option<&str> {
        self.shown.get(name)?.as_str()
    }

    /// The secret text at `path`: a key, or keys with points between them, as in `token.access_token`.
    pub fn secret(&self, path: &str) -> Option<&Secret> {
        self.secrets.get(path)
    }

    /// Whether its account is to be reached through a proxy.
    pub fn names_proxy(&self) -> bool {
        let plain = self.public(PROXY).is_some_and(|url| !url.trim().is_empty());
        plain || self.secrets.contains_key(PROXY)
    }

    /// The whole body in canonical form.
    pub fn whole(&self) -> &Secret {
        &self.whole
    }

    /// The SHA-256 of the canonical form: equal bodies have equal ones.
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }
}

/// The member that names the proxy of an account.
const PROXY: &str = "proxy_url";

/// Whether readers of credentials see a member. A proxy is shown unless its URL says who we are there.
fn is_shown(name: &str, value: &Value) -> bool {
    let plain_proxy = || name == PROXY && value.as_str().is_some_and(|url| !url.contains('@'));
    PUBLIC.contains(&name) || PERSONAL.contains(&name) || plain_proxy()
}

fn gather(path: &str, value: &Value, secrets: &mut BTreeMap<String, Secret>) {
    match value {
        Value::String(text) => {
            secrets.insert(path.to_owned(), Secret::new(text.clone()));
        }
        Value::Object(members) => {
            for (name, member) in members {
                gather(&format!("{path}.{name}"), member, secrets);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => {}
    }
}

/// Overwrites every text of `value`.
pub(crate) fn wipe(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Array(items) => items.iter_mut().for_each(wipe),
        Value::Object(members) => members.values_mut().for_each(wipe),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// The parser's own sentences may quote what they stumbled over.
fn malformed(code: &str) -> &'static str {
    match code {
        "encoding" => "it is not UTF-8",
        "duplicate_key" => "a key stands twice in one object",
        "trailing_data" => "something follows the object",
        "too_deep" => "it is nested deeper than 32",
        _ => "it breaks off, or is no JSON",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::Purpose;

    const BODY: &str = r#"{"type":"Codex","email":"a@example.org","note":"n","priority":2,
        "access_token":"canary-1","token":{"refresh_token":"canary-2","n":1},"odd":["canary-3"],
        "proxy_url":"http://u:canary-4@proxy"}"#;

    #[test]
    fn what_is_not_listed_as_public_is_a_secret() {
        let body = Body::read(BODY.as_bytes()).expect("a record");
        let shown: Vec<&str> = body.shown().keys().map(String::as_str).collect();
        assert_eq!(shown, ["email", "note", "priority", "type"]);
        assert_eq!((&*body.record().provider, body.public("type")), ("codex", Some("Codex")));
        for (path, text) in [
            ("access_token", "canary-1"),
            ("token.refresh_token", "canary-2"),
            ("proxy_url", "http://u:canary-4@proxy"),
        ] {
            let secret = body.secret(path).expect(path);
            assert_eq!(secret.expose(Purpose::Test), text);
        }
        assert!(body.secret("email").is_none() && body.secret("token.n").is_none());
        let plain = Body::read(br#"{"type":"x","proxy_url":"http://proxy:1"}"#).expect("a record");
        assert_eq!(plain.public("proxy_url"), Some("http://proxy:1"));
    }

    #[test]
    fn a_body_is_the_same_in_any_order_and_with_any_blanks() {
        let digest = |text: &str| Body::read(text.as_bytes()).expect(text).digest();
        assert_eq!(digest(r#"{"type":"x","a":1.0}"#), digest("{ \"a\":1, \"type\" : \"x\" }"));
        assert_ne!(digest(r#"{"type":"x","a":1}"#), digest(r#"{"type":"x","a":2}"#));
    }

    #[test]
    fn no_refusal_quotes_a_body() {
        let refused = |text: &str| match Body::read(text.as_bytes()) {
            Ok(_) => panic!("{text} must be refused"),
            Err(error) => error.to_string(),
        };
        for text in [
            r#"{"type":"x","key":"canary"#,
            r#"{"type":"x","canary":1,"canary":1}"#,
            r#"{"type":"x"} canary"#,
            r#"{"type":"CA NARY canary"}"#,
            r#"{"key":"canary"}"#,
            r#"{"type":"x","key":"\ud800canary"}"#,
            r#"["canary"]"#,
            r#"{"type":"x","key":"canary\u0000"}"#,
            r#"{"type":"x","canary":12345678901234567890}"#,
            "",
        ] {
            let told = refused(text);
            assert!(!told.to_lowercase().contains("canary"), "{told}");
        }
        let large = format!(r#"{{"type":"x","key":"{}"}}"#, "x".repeat(300_000));
        assert_eq!(refused(&large), "a body has at most 262144 bytes");
    }
}

//! What is public of a credential's body, and which bodies every store can hold.
//!
//! A body is one JSON object. [`check`] refuses what one of the stores could not keep: it looks at the
//! value and keeps nothing. [`Record::read`] takes the public keys out. The list is of what is public: a key
//! that nobody listed is a secret.
//!
//! Absent on purpose: the secrets, and what is personal (`email`, `account_id`, `project_id`): hosts show
//! that from the body itself, and it is never decided over.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::moment;
use crate::limits;
use crate::time::UnixTime;

/// Keys that everybody who may read credentials may read, and that logs may hold.
pub const PUBLIC: [&str; 18] = [
    "type",
    "label",
    "prefix",
    "disabled",
    "priority",
    "weight",
    "note",
    "quota_group",
    "models",
    "refresh_interval_seconds",
    "refresh_driver",
    "last_refresh",
    "expired",
    "expire",
    "expires_at",
    "expiresAt",
    "expiry",
    "expires",
];
/// Keys that readers of credentials see, and that logs, metrics, events and gossip do not.
pub const PERSONAL: [&str; 3] = ["email", "account_id", "project_id"];

/// The keys under which bodies write when they expire, the first usable one counts.
const EXPIRY: [&str; 6] = ["expired", "expire", "expires_at", "expiresAt", "expiry", "expires"];
/// The largest integer that every reader of JSON holds exactly.
const INTEGER_MAX: f64 = 9_007_199_254_740_991.0;

/// What is public of a body, read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Whose account it is: `type`, lower-cased.
    pub provider: Arc<str>,
    /// What people call it.
    pub label: Option<Arc<str>>,
    /// What its models are offered under.
    pub prefix: Option<Arc<str>>,
    /// Whether it must not be used.
    pub disabled: bool,
    /// Whether any text that is not empty stands under a key that nobody listed: without, there is nothing to show.
    pub has_secret: bool,
    /// Higher ones are used first.
    pub priority: i64,
    /// Its share where shares are given, 1 to 1 000 000.
    pub weight: u32,
    /// Which others share its quota.
    pub quota_group: Option<Arc<str>>,
    /// Models that it may be used for; empty is any.
    pub models: Vec<Arc<str>>,
    /// How often its token is refreshed, if somebody said so.
    pub refresh_interval: Option<Duration>,
    /// How its token is refreshed.
    pub refresh_driver: Option<Arc<str>>,
    /// When it was last.
    pub last_refresh: Option<UnixTime>,
    /// When its token expires.
    pub expires_at: Option<UnixTime>,
}

/// One thing that is wrong with a body. It quotes none of the body's values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Where, as a JSON pointer (RFC 6901).
    pub pointer: String,
    /// What it should be, a sentence.
    pub detail: String,
}

impl Fault {
    fn new(pointer: impl Into<String>, detail: impl Into<String>) -> Fault {
        Fault { pointer: pointer.into(), detail: detail.into() }
    }
}

/// Whether every store can hold `body`: an object without zero characters and without integers that some
/// reader would round. The parser has refused duplicate keys, lone surrogates and depth before.
pub fn check(body: &Value) -> Result<&Map<String, Value>, Fault> {
    let object = body.as_object().ok_or_else(|| Fault::new("", "a record is one JSON object"))?;
    check_value(body, &mut String::new())?;
    Ok(object)
}

fn check_value(value: &Value, pointer: &mut String) -> Result<(), Fault> {
    let depth = pointer.len();
    match value {
        Value::Null | Value::Bool(_) => {}
        Value::Number(number) => check_number(number, pointer)?,
        Value::String(text) => check_text(text, pointer)?,
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                pointer.push_str(&format!("/{at}"));
                check_value(item, pointer)?;
                pointer.truncate(depth);
            }
        }
        Value::Object(members) => {
            for (name, member) in members {
                check_text(name, pointer)?;
                pointer.push('/');
                pointer.push_str(&name.replace('~', "~0").replace('/', "~1"));
                check_value(member, pointer)?;
                pointer.truncate(depth);
            }
        }
    }
    Ok(())
}

fn check_text(text: &str, pointer: &str) -> Result<(), Fault> {
    if text.contains('\0') {
        return Err(Fault::new(pointer, "no text may hold the character U+0000"));
    }
    Ok(())
}

fn check_number(number: &serde_json::Number, pointer: &str) -> Result<(), Fault> {
    let value = number.as_f64().unwrap_or(f64::INFINITY);
    let exact = number.is_f64() && value.fract() != 0.0;
    if exact || value.abs() <= INTEGER_MAX {
        return Ok(());
    }
    Err(Fault::new(pointer, "an integer lies within ±(2^53 - 1)"))
}

impl Record {
    /// The public part of `body`. Everything that is wrong is told at once.
    pub fn read(body: &Map<String, Value>) -> Result<Record, Vec<Fault>> {
        let mut reader = Reader { body, faults: Vec::new() };
        let provider = reader.provider();
        let prefix = reader.text("prefix");
        if prefix.as_ref().is_some_and(|prefix| prefix.trim_matches('/').contains('/')) {
            reader.fault("prefix", "has no `/` within");
        }
        let record = Record {
            provider: provider.unwrap_or_else(|| Arc::from("")),
            label: reader.text("label"),
            prefix,
            disabled: reader.flag("disabled"),
            has_secret: body.iter().any(|(name, value)| !is_open(name) && holds_text(value)),
            priority: reader.integer("priority", i64::MIN..=i64::MAX).unwrap_or(0),
            weight: reader.weight(),
            quota_group: reader.text("quota_group"),
            models: reader.texts("models"),
            refresh_interval: reader.seconds("refresh_interval_seconds"),
            refresh_driver: reader.text("refresh_driver"),
            last_refresh: body.get("last_refresh").and_then(moment::read),
            expires_at: expires_at(body),
        };
        reader.text("note");
        if reader.faults.is_empty() { Ok(record) } else { Err(reader.faults) }
    }
}

fn is_open(name: &str) -> bool {
    // A way to an account is no account.
    PUBLIC.contains(&name) || PERSONAL.contains(&name) || name == "proxy_url"
}

fn holds_text(value: &Value) -> bool {
    match value {
        Value::String(text) => !text.trim().is_empty(),
        Value::Array(items) => items.iter().any(holds_text),
        Value::Object(members) => {
            members.iter().any(|(name, member)| !is_open(name) && holds_text(member))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// The first usable moment among the keys for it, and then among those inside `token`.
fn expires_at(body: &Map<String, Value>) -> Option<UnixTime> {
    let token = body.get("token").and_then(Value::as_object);
    let within = |object: &Map<String, Value>| {
        EXPIRY.iter().filter_map(|key| object.get(*key)).find_map(moment::read)
    };
    within(body).or_else(|| token.and_then(within))
}

/// Takes the public keys of a body apart. A `null` is as good as nothing: other programs write it so.
struct Reader<'a> {
    body: &'a Map<String, Value>,
    faults: Vec<Fault>,
}

impl Reader<'_> {
    fn get(&self, name: &str) -> Option<&Value> {
        self.body.get(name).filter(|value| !value.is_null())
    }

    fn fault(&mut self, name: &str, what: &str) {
        self.faults.push(Fault::new(format!("/{name}"), format!("`{name}` {what}")));
    }

    fn provider(&mut self) -> Option<Arc<str>> {
        let Some(written) = self.get("type").map(|value| value.as_str().map(str::to_lowercase))
        else {
            self.fault("type", "is missing: it names the provider, as in \"codex\"");
            return None;
        };
        let provider = written.and_then(|text| provider_named(&text));
        if provider.is_none() {
            self.fault("type", "is 1 to 64 of a-z, 0-9 and `-`, and begins with no `-`");
        }
        provider
    }

    fn text(&mut self, name: &str) -> Option<Arc<str>> {
        let value = self.get(name)?;
        let text = value.as_str().filter(|text| text.len() <= limits::CREDENTIAL_TEXT_BYTES_MAX);
        let text = text.map(Arc::from);
        if text.is_none() {
            self.fault(name, "is a text of at most 1024 bytes");
        }
        text.filter(|text: &Arc<str>| !text.is_empty())
    }

    fn texts(&mut self, name: &str) -> Vec<Arc<str>> {
        let Some(value) = self.get(name) else { return Vec::new() };
        let text = |item: &Value| {
            let text = item.as_str()?;
            (text.len() <= limits::CREDENTIAL_TEXT_BYTES_MAX).then(|| Arc::from(text))
        };
        let items = value.as_array().filter(|items| items.len() <= limits::CREDENTIAL_MODELS_MAX);
        match items.and_then(|items| items.iter().map(text).collect::<Option<Vec<_>>>()) {
            Some(texts) => texts,
            None => {
                self.fault(name, "is a list of at most 1024 texts");
                Vec::new()
            }
        }
    }

    fn flag(&mut self, name: &str) -> bool {
        let Some(value) = self.get(name) else { return false };
        match value.as_bool() {
            Some(flag) => flag,
            None => {
                self.fault(name, "is true or false");
                // Who tried to say something about use is better not used.
                true
            }
        }
    }

    fn integer(&mut self, name: &str, range: std::ops::RangeInclusive<i64>) -> Option<i64> {
        let value = self.get(name)?;
        let number = value.as_i64().filter(|number| range.contains(number));
        if number.is_none() {
            self.fault(name, "is an integer in its range");
        }
        number
    }

    fn weight(&mut self) -> u32 {
        let range = 1..=i64::from(limits::CREDENTIAL_WEIGHT_MAX);
        let weight = self.integer("weight", range).unwrap_or(1);
        u32::try_from(weight).unwrap_or(1)
    }

    fn seconds(&mut self, name: &str) -> Option<Duration> {
        let seconds = self.integer(name, 1..=31_536_000)?;
        u64::try_from(seconds).ok().map(Duration::from_secs)
    }
}

/// The name of a provider, which some programs write otherwise.
fn provider_named(text: &str) -> Option<Arc<str>> {
    let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let begins = text.bytes().next().is_some_and(letter);
    let word = begins && text.len() <= 64 && text.bytes().all(|byte| letter(byte) || byte == b'-');
    let name = if text == "gemini" { "gemini-cli" } else { text };
    word.then(|| Arc::from(name))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(body: Value) -> Result<Record, Vec<String>> {
        let told = |faults: Vec<Fault>| faults.into_iter().map(|fault| fault.pointer).collect();
        Record::read(check(&body).expect("an object")).map_err(told)
    }

    #[test]
    fn the_public_keys_are_read_and_the_rest_is_left_alone() {
        let record = read(json!({
            "type": "Codex", "label": "main", "priority": -3, "weight": 5, "quota_group": "org-1",
            "models": ["gpt-5"], "refresh_interval_seconds": 60, "access_token": {"any": ["shape"]},
            "email": 7, "expired": "2026-01-01T12:00:00Z",
        }))
        .expect("a record");
        assert_eq!((&*record.provider, record.label.as_deref()), ("codex", Some("main")));
        assert_eq!((record.priority, record.weight, record.disabled), (-3, 5, false));
        assert_eq!(record.refresh_interval, Some(Duration::from_secs(60)));
        assert_eq!(record.expires_at, Some(UnixTime(1_767_268_800_000)));
        let plain = read(json!({"type": "gemini", "label": null, "disabled": null})).expect("one");
        assert_eq!((&*plain.provider, plain.priority, plain.weight), ("gemini-cli", 0, 1));
        assert_eq!(plain.label, None);
    }

    #[test]
    fn everything_wrong_is_told_at_once_and_no_value_is_quoted() {
        let body = json!({
            "type": "-x", "label": 1, "prefix": "a/b", "disabled": "yes", "priority": 1.5, "weight": 0,
            "models": "all", "refresh_interval_seconds": 0, "note": ["canary"],
        });
        let faults = Record::read(body.as_object().expect("one")).expect_err("nine are wrong");
        let mut told: Vec<&str> = faults.iter().map(|fault| fault.pointer.as_str()).collect();
        told.sort_unstable();
        let expected = [
            "/disabled",
            "/label",
            "/models",
            "/note",
            "/prefix",
            "/priority",
            "/refresh_interval_seconds",
            "/type",
            "/weight",
        ];
        assert_eq!(told, expected);
        assert!(!format!("{faults:?}").contains("canary"));
        assert_eq!(read(json!({})).expect_err("no type"), ["/type"]);
    }

    #[test]
    fn a_record_without_a_text_that_is_secret_has_nothing_to_show() {
        let shows = |body| read(body).expect("a record").has_secret;
        for empty in [
            json!({"type": "x"}),
            json!({"type": "x", "api_key": ""}),
            json!({"type": "x", "api_key": null, "token": {"access_token": " ", "expiry": "2030-01-01"}}),
            json!({"type": "x", "email": "a@example.org", "note": "n", "proxy_url": "http://u:p@h"}),
            json!({"type": "x", "api_key": 7}),
        ] {
            assert!(!shows(empty.clone()), "{empty}");
        }
        assert!(shows(json!({"type": "x", "api_key": "k"})));
        assert!(shows(json!({"type": "x", "token": {"access_token": "k"}})));
        assert!(shows(json!({"type": "x", "cookies": [{"value": "k"}]})));
    }

    #[test]
    fn the_first_usable_expiry_counts_and_then_those_inside_the_token() {
        let expiry = |body| expires_at(check(&body).expect("an object")).map(|at| at.0);
        let both = json!({"expired": "soon", "expires_at": 20, "expires": 30});
        assert_eq!(expiry(both), Some(20_000));
        assert_eq!(expiry(json!({"expiresAt": "", "token": {"expiry": 40}})), Some(40_000));
        assert_eq!(expiry(json!({"expires": 30, "token": {"expired": 40}})), Some(30_000));
        assert_eq!(expiry(json!({"token": 5})), None);
    }

    #[test]
    fn what_one_store_could_not_hold_is_refused_with_its_place() {
        let wrong = |body: Value| check(&body).expect_err("refused").pointer;
        assert_eq!(wrong(json!([])), "");
        assert_eq!(wrong(json!({"a": {"b/c": [0, "x\0"]}})), "/a/b~1c/1");
        assert_eq!(wrong(json!({"a\0": 1})), "");
        assert_eq!(wrong(json!({"n": 9_007_199_254_740_992_u64})), "/n");
        assert_eq!(wrong(json!({"n": -9_007_199_254_740_992_i64})), "/n");
        assert_eq!(wrong(json!({"n": 1e21})), "/n");
        assert!(check(&json!({"n": 9_007_199_254_740_991_u64, "f": 0.5, "z": -0.0})).is_ok());
    }
}

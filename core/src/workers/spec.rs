//! What a worker is: its spec, with every field optional and unknown ones kept.
//!
//! The wire form is a JSON object that omits what is unset (W-13: decoding what was encoded gives the
//! same spec, whatever is set). A caller's spec is read strictly ([`Spec::from_request`]); a peer's may
//! name fields, kinds and modes that this build does not know, and they are passed on.
//!
//! Absent on purpose: `api_key`. The host takes it out before a spec comes here.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Number, Value};

use super::Refusal;
use super::url::Url;
use crate::limits;

/// A word of a set that may grow: an unknown one is kept and not acted on.
macro_rules! open_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)+
            /// A word of a newer version.
            Unknown(String),
        }

        impl $name {
            /// The word.
            pub fn as_str(&self) -> &str {
                match self {
                    $($name::$variant => $word,)+
                    $name::Unknown(word) => word,
                }
            }
        }

        impl From<&str> for $name {
            fn from(word: &str) -> $name {
                match word {
                    $($word => $name::$variant,)+
                    other => $name::Unknown(other.to_owned()),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<$name, D::Error> {
                Ok($name::from(String::deserialize(deserializer)?.as_str()))
            }
        }
    };
}

open_enum! {
    /// Which half of a disaggregated pair a worker is, if any.
    Kind {
        /// Serves whole requests.
        Regular = "regular",
        /// Fills caches.
        Prefill = "prefill",
        /// Continues from caches.
        Decode = "decode",
        /// Encodes inputs.
        Encode = "encode",
    }
}

open_enum! {
    /// How a worker is spoken to.
    Mode {
        /// HTTP.
        Http = "http",
        /// gRPC.
        Grpc = "grpc",
        /// A socket of this host; never published.
        Ipc = "ipc",
    }
}

open_enum! {
    /// Who probes.
    By {
        /// Every node for itself.
        Each = "each",
        /// The owner; the others follow its statements.
        Owner = "owner",
    }
}

open_enum! {
    /// Whether callers must bring a key.
    Auth {
        /// No.
        None = "none",
        /// Yes.
        Required = "required",
    }
}

/// One model that a worker serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Model {
    /// Its name.
    pub id: String,
    /// Other names for it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// Fields of a newer version.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// How a worker is probed; unset fields have the defaults of [`Health`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct HealthSpec {
    /// Whether it is probed at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Appended to the base URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Between two probes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval_ms: Option<u64>,
    /// Counted from the send.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// Good probes in a row that make it Ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rise: Option<u32>,
    /// Bad probes in a row that make it NotReady.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fall: Option<u32>,
    /// Who probes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<By>,
    /// Fields of a newer version.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// What a worker is. Every field but `url` may be unset.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Spec {
    /// The base URL.
    pub url: String,
    /// Which rank of a data-parallel group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dp_rank: Option<u32>,
    /// Ranks of the group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dp_size: Option<u32>,
    /// What it serves; empty: any model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub models: Option<Vec<Model>>,
    /// Which half of a pair.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
    /// How it is spoken to; from the scheme if unset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// The server's program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<String>,
    /// Whose machine it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// What queries select by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
    /// Only the highest tier that can serve is used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<u32>,
    /// Its share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
    /// What it costs; nothing here decides by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<Number>,
    /// Requests at a time from one routing node; 0: unlimited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_in_flight: Option<u32>,
    /// For pairing; opaque.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bootstrap_port: Option<u16>,
    /// For pairing; opaque: `connector`, `role`, `engine_id`, `block_size`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kv: Option<Map<String, Value>>,
    /// How it is probed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthSpec>,
    /// From drain to deletion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain_settle_ms: Option<u64>,
    /// Whether callers must bring a key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
    /// Fields of a newer version, kept and passed on.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// How a worker is probed, every default filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// Whether it is probed at all.
    pub enabled: bool,
    /// Appended to the base URL.
    pub path: String,
    /// Between two probes.
    pub interval: Duration,
    /// Counted from the send.
    pub timeout: Duration,
    /// Good probes in a row that make it Ready.
    pub rise: u32,
    /// Bad probes in a row that make it NotReady.
    pub fall: u32,
    /// Whether the owner alone probes.
    pub by_owner: bool,
}

/// A field of a spec that is out of bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum SpecError {
    /// `dp_rank`, `dp_size`.
    #[error("`dp_rank` is below `dp_size`, which is at most 4096")]
    Rank,
    /// `models`.
    #[error("at most 256 models, each an id of 1 to 256 bytes with at most 8 aliases")]
    Models,
    /// `kind`.
    #[error("`kind` is one of regular, prefill, decode, encode")]
    Kind,
    /// `mode`.
    #[error("`mode` is one of http, grpc, ipc, and fits the scheme of the url")]
    Mode,
    /// `runtime`.
    #[error("`runtime` has 1 to 63 bytes")]
    Runtime,
    /// `provider`.
    #[error("`provider` has 1 to 63 bytes")]
    Provider,
    /// `labels`.
    #[error("at most 32 labels, keys of 1 to 63 and values of at most 255 bytes")]
    Labels,
    /// A label that looks like a secret.
    #[error("a label's key looks like a secret; labels are spread to every node, use `api_key`")]
    LabelSecret,
    /// `priority`.
    #[error("`priority` is 0 to 100")]
    Priority,
    /// `weight`.
    #[error("`weight` is 1 to 1000")]
    Weight,
    /// `cost`.
    #[error("`cost` is 0 to 1000000")]
    Cost,
    /// `max_in_flight`.
    #[error("`max_in_flight` is 0 to 65535")]
    MaxInFlight,
    /// `health`.
    #[error("a field of `health` is out of bounds")]
    Health,
    /// `drain_settle_ms`.
    #[error("`drain_settle_ms` is 0 to 600000")]
    DrainSettle,
    /// `auth`.
    #[error("`auth` is none or required")]
    Auth,
    /// A secret where none may be.
    #[error("a spec carries no secret")]
    Secret,
    /// The URL of a worker cannot change.
    #[error("the url of a worker cannot change; register another worker")]
    UrlChanged,
    /// All of it.
    #[error("a spec has at most 8 KiB as JSON")]
    TooLarge,
}

impl SpecError {
    /// The word of the error surface.
    pub fn code(self) -> &'static str {
        match self {
            SpecError::Rank => "spec_rank",
            SpecError::Models => "spec_models",
            SpecError::Kind => "spec_kind",
            SpecError::Mode => "spec_mode",
            SpecError::Runtime => "spec_runtime",
            SpecError::Provider => "spec_provider",
            SpecError::Labels => "spec_labels",
            SpecError::LabelSecret => "label_secret",
            SpecError::Priority => "spec_priority",
            SpecError::Weight => "spec_weight",
            SpecError::Cost => "spec_cost",
            SpecError::MaxInFlight => "spec_max_in_flight",
            SpecError::Health => "spec_health",
            SpecError::DrainSettle => "spec_drain_settle",
            SpecError::Auth => "spec_auth",
            SpecError::Secret => "spec_secret",
            SpecError::UrlChanged => "spec_url",
            SpecError::TooLarge => "spec_too_large",
        }
    }
}

/// A place in a JSON value (RFC 6901).
fn pointer(parts: &[&str]) -> String {
    parts.iter().map(|part| format!("/{}", part.replace('~', "~0").replace('/', "~1"))).collect()
}

impl Spec {
    /// Reads a caller's spec: a field that nothing here knows is refused, and no value is echoed.
    /// `api_key` must have been taken out.
    pub fn from_request(value: Value) -> Result<Spec, Refusal> {
        let invalid = |pointer: String, detail: &str| Refusal::InvalidRequest {
            pointer,
            detail: detail.to_owned(),
        };
        let fields = value.as_object().ok_or_else(|| invalid(String::new(), "not an object"))?;
        for field in fields.keys() {
            let one = Value::Object(Map::from_iter([
                ("url".to_owned(), Value::String(String::new())),
                (field.clone(), fields.get(field).cloned().unwrap_or_default()),
            ]));
            let read = Spec::deserialize(one)
                .map_err(|_| invalid(pointer(&[field]), "a value of the wrong type"))?;
            if let Some(path) = read.first_unknown() {
                return Err(invalid(path, "no such field"));
            }
        }
        let spec = Spec::deserialize(value);
        let spec = spec.map_err(|_| invalid("/url".to_owned(), "`url` is missing"))?;
        Url::canonical(&spec.url, spec.dp_rank)?;
        let mut labels = spec.labels.iter().flatten();
        rule(!labels.any(|(key, _)| looks_secret(key)), SpecError::LabelSecret)?;
        Ok(spec)
    }

    /// W-11: what a caller took for a place of secrets is refused before any node takes it in, where it
    /// would be recorded. The rest of a patch is judged with the spec that comes of it.
    pub fn check_patch(patch: &Map<String, Value>) -> Result<(), Refusal> {
        if let Some(url) = patch.get("url").and_then(Value::as_str) {
            Url::canonical(url, None)?;
        }
        let labels = patch.get("labels").and_then(Value::as_object);
        let mut named = patch.keys().chain(labels.into_iter().flat_map(Map::keys));
        rule(!named.any(|key| looks_secret(key)), SpecError::LabelSecret)?;
        Ok(())
    }

    fn first_unknown(&self) -> Option<String> {
        let top = self.other.keys().map(|key| pointer(&[key]));
        let health = self.health.iter().flat_map(|health| health.other.keys());
        let models = self.models.iter().flatten().enumerate().flat_map(|(index, model)| {
            model.other.keys().map(move |key| pointer(&["models", &index.to_string(), key]))
        });
        let kv = self.kv.iter().flat_map(Map::keys).filter(|key| {
            !matches!(key.as_str(), "connector" | "role" | "engine_id" | "block_size")
        });
        top.chain(health.map(|key| pointer(&["health", key])))
            .chain(models)
            .chain(kv.map(|key| pointer(&["kv", key])))
            .next()
    }

    /// The probing, defaults filled in.
    pub fn health(&self) -> Health {
        let unset = HealthSpec::default();
        let set = self.health.as_ref().unwrap_or(&unset);
        Health {
            enabled: set.enabled.unwrap_or(true),
            path: set.path.clone().unwrap_or_else(|| "/health".to_owned()),
            interval: Duration::from_millis(set.interval_ms.unwrap_or(10_000)),
            timeout: Duration::from_millis(set.timeout_ms.unwrap_or(5000)),
            rise: set.rise.unwrap_or(2),
            fall: set.fall.unwrap_or(3),
            by_owner: set.by == Some(By::Owner),
        }
    }

    /// This spec with the probing spelled out, as it is published.
    pub fn resolved(mut self) -> Spec {
        let health = self.health();
        let set = self.health.get_or_insert_default();
        set.enabled = Some(health.enabled);
        set.path = Some(health.path);
        set.interval_ms = Some(crate::time::millis(health.interval));
        set.timeout_ms = Some(crate::time::millis(health.timeout));
        set.rise = Some(health.rise);
        set.fall = Some(health.fall);
        set.by = Some(set.by.take().unwrap_or(By::Each));
        self
    }

    /// Which half of a pair.
    pub fn kind(&self) -> Kind {
        self.kind.clone().unwrap_or(Kind::Regular)
    }

    /// How it is spoken to: as said, else as the scheme says.
    pub fn mode(&self) -> Mode {
        let scheme = self.url.split(':').next().unwrap_or_default();
        self.mode.clone().unwrap_or(match scheme {
            "grpc" | "grpcs" => Mode::Grpc,
            "ipc" => Mode::Ipc,
            _ => Mode::Http,
        })
    }

    /// The tier.
    pub fn priority(&self) -> u32 {
        self.priority.unwrap_or(50)
    }

    /// The share.
    pub fn weight(&self) -> u32 {
        self.weight.unwrap_or(100)
    }

    /// From drain to deletion.
    pub fn drain_settle(&self) -> Duration {
        Duration::from_millis(self.drain_settle_ms.unwrap_or(5000))
    }

    /// Whether a probe needs a key.
    pub fn needs_key(&self) -> bool {
        self.auth == Some(Auth::Required)
    }

    /// Whether it stays on this host.
    pub fn is_local(&self) -> bool {
        self.mode() == Mode::Ipc || self.url.starts_with("ipc:")
    }

    /// Whether every bound is held. Words of newer versions are none of a caller's business.
    pub fn check(&self, strict: bool) -> Result<(), SpecError> {
        self.check_numbers()?;
        self.check_texts()?;
        self.check_health()?;
        if strict {
            self.check_words()?;
        }
        let encoded = serde_json::to_vec(self).map_or(usize::MAX, |bytes| bytes.len());
        rule(encoded <= limits::WORKER_SPEC_BYTES_MAX, SpecError::TooLarge)
    }

    fn check_numbers(&self) -> Result<(), SpecError> {
        let size = self.dp_size.unwrap_or(if self.dp_rank.is_some() { 4096 } else { 1 });
        let rank = self.dp_rank.unwrap_or(0);
        rule((1..=4096).contains(&size) && rank < size, SpecError::Rank)?;
        rule(self.priority() <= 100, SpecError::Priority)?;
        rule((1..=1000).contains(&self.weight()), SpecError::Weight)?;
        rule(self.max_in_flight.unwrap_or(0) <= 65_535, SpecError::MaxInFlight)?;
        rule(self.drain_settle() <= Duration::from_secs(600), SpecError::DrainSettle)?;
        // The reason for a float here: a bound on an opaque number, and no decision follows from it.
        let cost = self.cost.as_ref().and_then(Number::as_f64).unwrap_or(1.0);
        rule((0.0..=1_000_000.0).contains(&cost), SpecError::Cost)
    }

    fn check_texts(&self) -> Result<(), SpecError> {
        let named = |text: &String| (1..=63).contains(&text.len());
        rule(self.runtime.as_ref().is_none_or(named), SpecError::Runtime)?;
        rule(self.provider.as_ref().is_none_or(named), SpecError::Provider)?;
        let models = self.models.as_deref().unwrap_or_default();
        let name = |text: &String| (1..=256).contains(&text.len());
        let model = |model: &Model| {
            name(&model.id) && model.aliases.len() <= 8 && model.aliases.iter().all(name)
        };
        let fits = models.len() <= limits::WORKER_MODELS_MAX && models.iter().all(model);
        rule(fits, SpecError::Models)?;
        let Some(labels) = &self.labels else { return Ok(()) };
        let fits = |(key, value): (&String, &String)| {
            (1..=limits::LABEL_KEY_BYTES_MAX).contains(&key.len())
                && value.len() <= limits::LABEL_VALUE_BYTES_MAX
        };
        rule(labels.len() <= limits::LABELS_MAX && labels.iter().all(fits), SpecError::Labels)?;
        rule(!labels.keys().any(|key| looks_secret(key)), SpecError::LabelSecret)
    }

    fn check_health(&self) -> Result<(), SpecError> {
        let health = self.health();
        let (second, hour) = (Duration::from_secs(1), Duration::from_secs(3600));
        let (short, minute) = (Duration::from_millis(100), Duration::from_secs(60));
        let fits = health.path.len() <= 256
            && health.path.starts_with('/')
            && !health.path.chars().any(|letter| letter.is_control() || letter == ' ')
            && (second..=hour).contains(&health.interval)
            && (short..=minute).contains(&health.timeout)
            && health.timeout <= health.interval
            && (1..=10).contains(&health.rise)
            && (1..=10).contains(&health.fall);
        rule(fits, SpecError::Health)
    }

    fn check_words(&self) -> Result<(), SpecError> {
        rule(!matches!(self.kind, Some(Kind::Unknown(_))), SpecError::Kind)?;
        rule(!matches!(self.auth, Some(Auth::Unknown(_))), SpecError::Auth)?;
        let by = self.health.as_ref().and_then(|health| health.by.as_ref());
        rule(!matches!(by, Some(By::Unknown(_))), SpecError::Health)?;
        let implied = Spec { mode: None, ..self.clone() }.mode();
        let fits = match self.mode() {
            Mode::Ipc => true,
            Mode::Http | Mode::Grpc => self.mode() == implied,
            Mode::Unknown(_) => false,
        };
        rule(fits, SpecError::Mode)
    }
}

impl Spec {
    /// W-11: no field, known or not, is named like the secret that must not travel.
    pub fn check_secrets(&self) -> Result<(), SpecError> {
        let health = self.health.iter().flat_map(|health| health.other.keys());
        let secret = self.other.keys().chain(health).any(|key| looks_secret(key));
        rule(!secret, SpecError::Secret)
    }
}

fn rule(holds: bool, error: SpecError) -> Result<(), SpecError> {
    if holds { Ok(()) } else { Err(error) }
}

/// Whether one of the words of `key`, split at `-`, `_` and `.`, names a secret.
fn looks_secret(key: &str) -> bool {
    let key = key.to_lowercase();
    let words: Vec<&str> = key.split(['-', '_', '.']).collect();
    let word =
        |word: &&str| matches!(*word, "secret" | "token" | "password" | "apikey" | "credential");
    words.iter().any(word) || words.windows(2).any(|pair| pair == ["api", "key"])
}

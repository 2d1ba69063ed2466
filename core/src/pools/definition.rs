//! What a pool is: its members, and how they are chosen.
//!
//! Definitions come from the configuration document, or from callers. One validator serves every surface.
//!
//! Absent on purpose: anything that was learnt about a member.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::model;
use crate::ids::CredentialHandle;
use crate::limits;

/// What a node is told about pools by its configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// The pools of the document.
    pub pools: BTreeMap<Name, Definition>,
    /// How long what was cleared may come back from a node that was away.
    pub forget_after: Duration,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { pools: BTreeMap::new(), forget_after: Duration::from_secs(30 * 60) }
    }
}

/// The name of a pool: `[a-z0-9][a-z0-9._-]{0,63}`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

/// Why a text is no [`Name`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is no name of a pool: use 1 to 64 of a-z, 0-9, `.`, `_`, `-`, with a letter or digit first"
)]
pub struct NameError {
    text: String,
}

impl Name {
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Name, NameError> {
        if is_label(text) {
            return Ok(Name(Arc::from(text)));
        }
        let shown = text.chars().take(80).flat_map(char::escape_default).collect();
        Err(NameError { text: shown })
    }
}

impl std::borrow::Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Name, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Whether a text is a name of a pool, or a target of an auth reset. It is never trimmed.
pub fn is_label(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let (first, rest) = match text.as_bytes().split_first() {
        Some((first, rest)) => (*first, rest),
        None => return false,
    };
    text.len() <= limits::POOL_NAME_BYTES_MAX
        && word(first)
        && rest.iter().all(|byte| word(*byte) || matches!(byte, b'.' | b'_' | b'-'))
}

/// Who belongs to a pool, and how it chooses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Definition {
    /// Who.
    pub members: Members,
    /// How one of them is chosen.
    pub strategy: Strategy,
    /// How long they rest.
    pub profile: Profile,
    /// How often a long rest may be tried early while the lane is exhausted, in ms: 5 min..6 h; 0 is never.
    pub early_probe_ms: u64,
    /// What to do with nothing servable.
    pub degrade: Degrade,
    /// What to reset once the pool is back; empty: nothing.
    pub auth_reset_target: String,
    /// Replaces the provider's base URL; empty: it stands.
    pub upstream: String,
    /// Names of the sinks that hear of it; without: all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notify: Option<Vec<String>>,
    /// What is sent to a member that may be tried once nobody has asked for a minute; without: nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probe_request: Option<ProbeRequest>,
}

/// A request that stands in for a caller's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProbeRequest {
    /// `GET` or `POST`.
    pub method: String,
    /// Below the base URL, with a query if there is one.
    pub path: String,
    /// Its body; may be empty.
    #[serde(default)]
    pub body: String,
}

impl ProbeRequest {
    fn check(&self) -> Result<(), DefinitionError> {
        let wrong = |field: &str, detail: &str| {
            let field = format!("probe_request.{field}");
            Err(DefinitionError { field, detail: detail.to_owned() })
        };
        let path = self.path.split('?').next().unwrap_or_default();
        let plain = |byte: u8| byte.is_ascii_graphic() && !b"\"<>\\^`{|}#".contains(&byte);
        if !matches!(self.method.as_str(), "GET" | "POST") {
            return wrong("method", "must be GET or POST");
        }
        if !self.path.starts_with('/') || !self.path.bytes().all(plain) || climbs(path) {
            return wrong(
                "path",
                "must be a path with a leading /, without `..`, blanks or fragment",
            );
        }
        if self.path.len() > limits::URL_BYTES_MAX {
            return wrong("path", "must be at most 2048 bytes");
        }
        if self.body.len() > limits::POOL_PROBE_BODY_BYTES_MAX {
            return wrong("body", "must be at most 16384 bytes");
        }
        Ok(())
    }
}

/// The members of a pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Members {
    /// These, in this order.
    Listed(Vec<Listed>),
    /// All credentials of a provider, in order of id.
    Of {
        /// Which.
        provider: String,
    },
}

/// One listed member: an object, or a credential's id alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Written")]
pub struct Listed {
    /// The credential's id, in the tenant `default`.
    pub credential: String,
    /// Its share; without: the record's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
    /// What was learnt under another epoch says nothing about this one.
    pub epoch: u64,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Id(String),
    Member(Member),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Member {
    credential: String,
    #[serde(default)]
    weight: Option<u32>,
    #[serde(default = "first_epoch")]
    epoch: u64,
}

impl From<Written> for Listed {
    fn from(written: Written) -> Listed {
        match written {
            Written::Id(credential) => Listed { credential, weight: None, epoch: first_epoch() },
            Written::Member(Member { credential, weight, epoch }) => {
                Listed { credential, weight, epoch }
            }
        }
    }
}

fn first_epoch() -> u64 {
    1
}

impl Listed {
    /// Whom it names.
    pub fn handle(&self) -> CredentialHandle {
        CredentialHandle::of(DEFAULT_TENANT, &self.credential)
    }
}

/// The tenant of ids that name none.
pub const DEFAULT_TENANT: &str = "default";

/// How a member is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// The active one until it fails.
    #[default]
    #[serde(alias = "sticky")]
    Failover,
    /// In turn.
    #[serde(alias = "rr", alias = "round-robin")]
    RoundRobin,
    /// The first that may be used.
    #[serde(alias = "ff", alias = "fill-first", alias = "fillfirst")]
    FillFirst,
    /// In proportion to weight.
    Weighted,
    /// Who has the fewest requests of this node in flight.
    LeastUsed,
}

impl Strategy {
    /// The word on every surface.
    pub fn word(self) -> &'static str {
        match self {
            Strategy::Failover => "failover",
            Strategy::RoundRobin => "round_robin",
            Strategy::FillFirst => "fill_first",
            Strategy::Weighted => "weighted",
            Strategy::LeastUsed => "least_used",
        }
    }
}

/// What happens to a request with nothing servable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Degrade {
    /// It is refused.
    #[default]
    Refuse,
    /// It goes to the member whose rest ends first.
    Forward,
}

impl Default for Members {
    fn default() -> Members {
        Members::Listed(Vec::new())
    }
}

impl Default for Definition {
    fn default() -> Definition {
        Definition {
            members: Members::default(),
            strategy: Strategy::default(),
            profile: Profile::default(),
            early_probe_ms: 30 * 60_000,
            degrade: Degrade::default(),
            auth_reset_target: String::new(),
            upstream: String::new(),
            notify: None,
            probe_request: None,
        }
    }
}

/// The numbers of a pool, in ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Profile {
    /// No rest is shorter. 1 s..10 min.
    pub floor_ms: u64,
    /// No rest is longer. `floor_ms`..8 d.
    pub cap_ms: u64,
    /// A throttle that states no wait. 1 s..`cap_ms`.
    pub fallback_ms: u64,
    /// An exhausted quota that states no wait, and billing. 1 s..`cap_ms`.
    pub quota_ms: u64,
    /// A throttle of requests at once. 1 s..60 s.
    pub concurrency_ms: u64,
    /// A refused credential. 10 s..24 h.
    pub auth_ms: u64,
    /// A permission or a model that is missing. 10 s..24 h.
    pub permission_ms: u64,
    /// A provider without capacity. 1 s..1 h.
    pub overload_ms: u64,
    /// The longest of those. 1 s..1 h.
    pub overload_cap_ms: u64,
    /// How long an untried half-open throttle stays so. 10 s..24 h.
    pub half_open_max_ms: u64,
}

impl Default for Profile {
    fn default() -> Profile {
        Profile {
            floor_ms: 10_000,
            cap_ms: 21_600_000,
            fallback_ms: 60_000,
            quota_ms: 900_000,
            concurrency_ms: 10_000,
            auth_ms: 300_000,
            permission_ms: 1_800_000,
            overload_ms: 10_000,
            overload_cap_ms: 300_000,
            half_open_max_ms: 600_000,
        }
    }
}

/// Why a definition is none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("`{field}` {detail}")]
pub struct DefinitionError {
    /// Which field, dotted from the definition.
    pub field: String,
    /// What is wrong with it and what would be right.
    pub detail: String,
}

impl Definition {
    /// Checks every bound; the first that is broken is told.
    pub fn check(&self) -> Result<(), DefinitionError> {
        let wrong =
            |field: &str, detail: String| Err(DefinitionError { field: field.to_owned(), detail });
        match &self.members {
            Members::Of { provider } if !is_provider(provider) => {
                return wrong(
                    "members.provider",
                    "is no provider: use [a-z0-9][a-z0-9-]{0,63}".into(),
                );
            }
            Members::Of { .. } => {}
            Members::Listed(members) => check_members(members)?,
        }
        if !self.auth_reset_target.is_empty() && !is_label(&self.auth_reset_target) {
            let detail = "must be empty or [a-z0-9][a-z0-9._-]{0,63}, without blanks around it";
            return wrong("auth_reset_target", detail.into());
        }
        if self.early_probe_ms != 0 && !(EARLY_MIN_MS..=EARLY_MAX_MS).contains(&self.early_probe_ms)
        {
            let detail = format!("must be 0 (off) or {EARLY_MIN_MS} to {EARLY_MAX_MS}");
            return wrong("early_probe_ms", detail);
        }
        let upstream = &self.upstream;
        let web = upstream.starts_with("http://") || upstream.starts_with("https://");
        if !upstream.is_empty() && (!web || upstream.len() > limits::URL_BYTES_MAX) {
            return wrong("upstream", "must be empty or a URL of http or https".into());
        }
        if let Some(fault) = self.profile.faults().first() {
            let field = format!("profile.{}", fault.field);
            return Err(DefinitionError { field, detail: fault.range() });
        }
        match &self.probe_request {
            Some(request) => request.check(),
            None => Ok(()),
        }
    }

    /// The model that the pool's own request is for, empty where it names none; `None` without such a request.
    pub(super) fn own_model(&self) -> Option<Arc<str>> {
        let own = self.probe_request.as_ref()?;
        let path = own.path.split('?').next().unwrap_or_default();
        Some(model::of(own.body.as_bytes(), path).unwrap_or_default().into())
    }
}

/// Whether a path has a segment that means its parent, or itself: what a server makes of it is not said.
pub fn climbs(path: &str) -> bool {
    let mut doubtful = path.split('/').filter(|segment| segment.starts_with(['.', '%']));
    doubtful.any(|segment| {
        let plain = segment.replace("%2e", ".").replace("%2E", ".");
        plain == "." || plain == ".."
    })
}

fn check_members(members: &[Listed]) -> Result<(), DefinitionError> {
    let wrong =
        |field: String, detail: &str| Err(DefinitionError { field, detail: detail.to_owned() });
    if members.is_empty() || members.len() > limits::POOL_LISTED_MAX {
        return wrong("members".to_owned(), "must be 1 to 1000 credentials, or one provider");
    }
    let mut seen = BTreeSet::new();
    for (index, member) in members.iter().enumerate() {
        if member.credential.is_empty() || member.credential.len() > limits::CREDENTIAL_ID_BYTES_MAX
        {
            return wrong(format!("members[{index}].credential"), "must be 1 to 512 bytes");
        }
        if !seen.insert(&member.credential) {
            return wrong(format!("members[{index}].credential"), "is listed twice");
        }
        if member.weight.is_some_and(|weight| !(1..=limits::POOL_WEIGHT_MAX).contains(&weight)) {
            return wrong(format!("members[{index}].weight"), "must be 1 to 1000000");
        }
    }
    Ok(())
}

fn is_provider(text: &str) -> bool {
    is_label(text) && !text.contains(['.', '_'])
}

const EARLY_MIN_MS: u64 = 5 * 60_000;
const EARLY_MAX_MS: u64 = 6 * 3_600_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn defined(members: &[&str]) -> Definition {
        let listed = |id: &&str| Listed { credential: (*id).to_owned(), weight: None, epoch: 1 };
        Definition {
            members: Members::Listed(members.iter().map(listed).collect()),
            ..Definition::default()
        }
    }

    #[test]
    fn a_path_that_climbs_is_told_from_one_that_has_points_in_it() {
        for path in ["/v1/../admin", "/..", "/a/%2e%2E/b", "/./a", "/a/.%2e"] {
            assert!(climbs(path), "{path}");
        }
        for path in ["/v1/models/gpt-5.1", "/a..b/c", "/...", "/"] {
            assert!(!climbs(path), "{path}");
        }
    }

    #[test]
    fn a_request_of_a_pool_that_could_not_be_sent_is_refused_by_its_field() {
        let of = |method: &str, path: &str, body: &str| {
            let (method, path, body) = (method.to_owned(), path.to_owned(), body.to_owned());
            let probe_request = Some(ProbeRequest { method, path, body });
            let checked = Definition { probe_request, ..defined(&["a"]) }.check();
            checked.map_err(|error| error.field).err().unwrap_or_default()
        };
        assert_eq!(of("GET", "/v1/models?limit=1", ""), "");
        assert_eq!(of("POST", "/v1/messages", r#"{"model":"m"}"#), "");
        assert_eq!(of("PUT", "/", ""), "probe_request.method");
        for path in ["", "v1", "/a b", "/a\nb", "/..", "/a#b", "/\u{fc}"] {
            assert_eq!(of("GET", path, ""), "probe_request.path", "{path:?}");
        }
        assert_eq!(of("GET", &format!("/{}", "a".repeat(2048)), ""), "probe_request.path");
        assert_eq!(of("POST", "/", &"a".repeat(16_385)), "probe_request.body");
        assert_eq!(of("POST", "/", &"a".repeat(16_384)), "");
    }

    #[test]
    fn a_target_that_could_mislead_a_command_is_refused() {
        for wrong in ["-x", "a b", "../x", "a;b", " a", "a\n", "A", "a\u{202e}b", &"a".repeat(65)] {
            let definition = Definition { auth_reset_target: wrong.to_owned(), ..defined(&["a"]) };
            let told = definition.check().expect_err("no target");
            assert_eq!(told.field, "auth_reset_target", "{wrong:?}");
        }
        for right in ["", "a", "0", "codex-1", "a.b_c", &"a".repeat(64)] {
            let definition = Definition { auth_reset_target: right.to_owned(), ..defined(&["a"]) };
            assert_eq!(definition.check(), Ok(()), "{right}");
        }
    }

    #[test]
    fn a_pool_has_members_and_each_once() {
        assert_eq!(defined(&["a", "b"]).check(), Ok(()));
        let told = defined(&[]).check().expect_err("nobody");
        assert_eq!(told.to_string(), "`members` must be 1 to 1000 credentials, or one provider");
        let told = defined(&["a", "b", "a"]).check().expect_err("twice");
        assert_eq!(told.to_string(), "`members[2].credential` is listed twice");
    }

    #[test]
    fn a_strategy_has_short_names() {
        for (text, strategy) in [
            ("\"sticky\"", Strategy::Failover),
            ("\"rr\"", Strategy::RoundRobin),
            ("\"fillfirst\"", Strategy::FillFirst),
            ("\"least_used\"", Strategy::LeastUsed),
        ] {
            assert_eq!(serde_json::from_str::<Strategy>(text).expect(text), strategy);
        }
        assert!(serde_json::from_str::<Strategy>("\"fastest\"").is_err());
    }

    #[test]
    fn a_name_is_a_short_lower_case_label() {
        assert_eq!("codex".parse::<Name>().expect("a name").as_str(), "codex");
        for wrong in ["", "-a", "A", "a/b", "ä", &"x".repeat(65)] {
            assert!(wrong.parse::<Name>().is_err(), "{wrong}");
        }
    }
}

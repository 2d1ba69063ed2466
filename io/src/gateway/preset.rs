//! Providers: where each is, and how a key is shown to it.

use axum::http::{HeaderMap, HeaderValue};

/// What is known of a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preset {
    /// Its name in records, in lower case.
    pub name: &'static str,
    /// Where it is; empty where that differs by customer and the pool must say so.
    pub base: &'static str,
    /// The header that a key stands in.
    pub header: &'static str,
    /// What stands before the key.
    pub before: &'static str,
    /// Headers beside it: their names, and the public or personal field of the record that they carry, or
    /// (after `=`) their value.
    pub beside: &'static [(&'static str, &'static str)],
    /// A header that it asks of every request, for those that bring none of that name.
    pub wants: Option<(&'static str, &'static str)>,
}

impl Preset {
    /// Gives a request what its provider asks of every one.
    pub(super) fn complete(&self, headers: &mut HeaderMap) {
        if let Some((name, value)) = self.wants {
            headers.entry(name).or_insert(HeaderValue::from_static(value));
        }
    }
}

/// Where a key stands in a record: the first of these that is there.
pub const KEY_PATHS: [&str; 5] =
    ["api_key", "access_token", "token.access_token", "tokens.access_token", "key"];

static BEARER: Preset = BEARER_TOKEN;
const BEARER_TOKEN: Preset = Preset {
    name: "",
    base: "",
    header: "authorization",
    before: "Bearer ",
    beside: &[],
    wants: None,
};
const ANTHROPIC: Option<(&str, &str)> = Some(("anthropic-version", "2023-06-01"));

/// Every provider with something of its own. Whoever is not listed shows a bearer token at its pool's base.
pub static PRESETS: [Preset; 10] = [
    Preset { name: "openai", base: "https://api.openai.com", ..BEARER_TOKEN },
    Preset {
        name: "codex",
        base: "https://chatgpt.com/backend-api/codex",
        beside: &[("chatgpt-account-id", "account_id")],
        ..BEARER_TOKEN
    },
    Preset {
        name: "anthropic",
        base: "https://api.anthropic.com",
        header: "x-api-key",
        before: "",
        wants: ANTHROPIC,
        ..BEARER_TOKEN
    },
    Preset {
        name: "claude",
        base: "https://api.anthropic.com",
        beside: &[("anthropic-beta", "=oauth-2025-04-20")],
        wants: ANTHROPIC,
        ..BEARER_TOKEN
    },
    Preset {
        name: "gemini",
        base: "https://generativelanguage.googleapis.com",
        header: "x-goog-api-key",
        before: "",
        ..BEARER_TOKEN
    },
    Preset { name: "gemini-cli", base: "https://cloudcode-pa.googleapis.com", ..BEARER_TOKEN },
    Preset { name: "openrouter", base: "https://openrouter.ai/api", ..BEARER_TOKEN },
    Preset { name: "zai", base: "https://api.z.ai/api/paas", ..BEARER_TOKEN },
    Preset { name: "azure", header: "api-key", before: "", ..BEARER_TOKEN },
    Preset { name: "bedrock", ..BEARER_TOKEN },
];

/// The preset of a provider.
pub fn of(provider: &str) -> &'static Preset {
    PRESETS.iter().find(|preset| preset.name == provider).unwrap_or(&BEARER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_provider_asks_of_every_request_is_given_to_those_that_lack_it() {
        let version = |provider: &str, brought: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            headers.extend(brought.map(|value| {
                (
                    axum::http::HeaderName::from_static("anthropic-version"),
                    HeaderValue::from_static(value),
                )
            }));
            of(provider).complete(&mut headers);
            let all = headers.get_all("anthropic-version").iter();
            all.map(|one| one.to_str().expect("text").to_owned()).collect::<Vec<String>>()
        };
        assert_eq!(version("anthropic", None), ["2023-06-01"]);
        assert_eq!(version("claude", Some("2024-01-01")), ["2024-01-01"]);
        assert!(version("openai", None).is_empty());
    }
}

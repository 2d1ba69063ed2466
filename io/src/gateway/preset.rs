//! Providers: where each is, and how a key is shown to it.

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
}

/// Where a key stands in a record: the first of these that is there.
pub const KEY_PATHS: [&str; 5] =
    ["api_key", "access_token", "token.access_token", "tokens.access_token", "key"];

static BEARER: Preset = BEARER_TOKEN;
const BEARER_TOKEN: Preset =
    Preset { name: "", base: "", header: "authorization", before: "Bearer ", beside: &[] };

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
        beside: &[],
    },
    Preset {
        name: "claude",
        base: "https://api.anthropic.com",
        beside: &[("anthropic-beta", "=oauth-2025-04-20")],
        ..BEARER_TOKEN
    },
    Preset {
        name: "gemini",
        base: "https://generativelanguage.googleapis.com",
        header: "x-goog-api-key",
        before: "",
        beside: &[],
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

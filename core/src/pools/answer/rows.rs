//! The table of rules: what an answer of a status of 400 or more means, by the first row that matches.
//!
//! One function per row, in the table's order and with its number. A row answers `None` for *go on*. What a
//! row looks at is typed by the upstream; where it reads a message, it compares its beginning alone.

use super::heard::{Heard, Trial, USAGE_LIMIT, has_words, is_one_of};
use super::plans::{AnthropicWindows, CodexWindow};
use crate::pools::wait::number::Number;
use crate::pools::wait::stated;
use crate::pools::{Class, Scope};

/// What a row says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) class: Class,
    pub(super) scope: Scope,
    pub(super) is_concurrency: bool,
}

type Row = fn(&Heard<'_>, u16) -> Option<Finding>;

const ROWS: [Row; 15] = [c1, c2, c3, c4, c5, c6, c7, c8, c9, c10, c11, c12, c13, c14, c15];

/// What an answer of the host that serves models means.
pub(super) fn api(heard: &Heard<'_>) -> Finding {
    let status = heard.effective_status();
    if status < 400 {
        return finding(Class::Ok, Scope::None);
    }
    ROWS.iter().find_map(|row| row(heard, status)).unwrap_or_else(|| c16(heard, status))
}

/// What an answer of the host that gives tokens means.
pub(super) fn token(heard: &Heard<'_>) -> Finding {
    let refused = ["invalid_grant", "invalid_token", "refresh_token_reused"];
    let said = &heard.said;
    let is_refused = is_one_of(&said.error_text, &refused)
        || said.own.iter().any(|word| is_one_of(word, &refused));
    match heard.status {
        429 => finding(Class::RateLimited, Scope::Credential),
        401 => finding(Class::AuthFailed, Scope::Credential),
        400..500 if is_refused => finding(Class::AuthFailed, Scope::Credential),
        400..500 => finding(Class::ClientError, Scope::None),
        500..600 => finding(Class::Transient, Scope::None),
        _ => finding(Class::Ok, Scope::None),
    }
}

fn finding(class: Class, scope: Scope) -> Finding {
    Finding { class, scope, is_concurrency: false }
}

fn some(class: Class, scope: Scope) -> Option<Finding> {
    Some(finding(class, scope))
}

/// Amazon names the kind of an error in a header, or else in `__type`.
fn c1(heard: &Heard<'_>, _: u16) -> Option<Finding> {
    let said = heard.said.aws_type.as_deref();
    let named = heard.headers.first("x-amzn-errortype").or(said)?;
    let named = named.split(':').next().unwrap_or_default();
    match named.rsplit('#').next().unwrap_or_default().trim() {
        "ThrottlingException" | "TooManyRequestsException" => {
            let is_daily = heard.said.begins(&["Too many tokens per day"]);
            let class = if is_daily { Class::QuotaExhausted } else { Class::RateLimited };
            some(class, Scope::Model)
        }
        "ServiceQuotaExceededException" => some(Class::QuotaExhausted, Scope::Credential),
        "ModelNotReadyException" | "ServiceUnavailableException" | "ModelTimeoutException" => {
            some(Class::Overloaded, Scope::ProviderModel)
        }
        "ExpiredTokenException" | "UnrecognizedClientException" | "InvalidSignatureException" => {
            some(Class::AuthFailed, Scope::Credential)
        }
        "AccessDeniedException" => some(Class::PermissionDenied, Scope::Model),
        "ResourceNotFoundException" => some(Class::ModelUnavailable, Scope::Model),
        "ValidationException" => some(Class::ClientError, Scope::None),
        _ => None,
    }
}

/// A plan of Codex is used up, or has no Codex.
fn c2(heard: &Heard<'_>, status: u16) -> Option<Finding> {
    let is_full = || CodexWindow::full(&heard.headers).next().is_some();
    if heard.said.type_is(&[USAGE_LIMIT]) || (status == 429 && is_full()) {
        let limit = heard.headers.first("x-codex-active-limit").filter(|limit| !limit.is_empty());
        let limit = limit.map(|limit| limit.to_ascii_lowercase().replace('-', "_"));
        let is_of_a_model = limit.is_some_and(|limit| limit != "codex");
        let scope = if is_of_a_model { Scope::Model } else { Scope::Credential };
        return some(Class::QuotaExhausted, scope);
    }
    let is_without = heard.said.type_is(&["usage_not_included"]);
    is_without.then(|| finding(Class::PermissionDenied, Scope::Credential))
}

/// No capacity, said by the upstream itself.
fn c3(heard: &Heard<'_>, _: u16) -> Option<Finding> {
    let said = &heard.said;
    let is_overloaded = said.code_is(&["server_is_overloaded", "slow_down", "3505"])
        || said.type_is(&[
            "overloaded_error",
            "service_unavailable_error",
            "service_tier_capacity_exceeded",
        ])
        || said.begins(&["Selected model is at capacity"]);
    is_overloaded.then(|| finding(Class::Overloaded, Scope::ProviderModel))
}

/// Money is missing.
fn c4(heard: &Heard<'_>, _: u16) -> Option<Finding> {
    let said = &heard.said;
    let is_billing = said.type_is(&["insufficient_quota"])
        || said.code_is(&["insufficient_quota"])
        || said.type_is(&["exceeded_current_quota_error", "billing_error"])
        || (heard.provider == "zai" && said.code_is(&["1113"]))
        || said.begins(&["Your credit balance is too low"])
        || said.message().eq_ignore_ascii_case("insufficient balance");
    is_billing.then(|| finding(Class::Billing, Scope::Credential))
}

/// OpenRouter says which of its limits it was.
fn c5(heard: &Heard<'_>, _: u16) -> Option<Finding> {
    match heard.said.limit_source.as_deref()? {
        "openrouter_in_flight_budget" => some(Class::RateLimited, Scope::Credential),
        "openrouter_free_tier_daily" => some(Class::QuotaExhausted, Scope::family("free")),
        "openrouter_credits" | "openrouter_key_limit" => some(Class::Billing, Scope::Credential),
        _ => None,
    }
}

/// Codes that mean one thing.
fn c6(heard: &Heard<'_>, status: u16) -> Option<Finding> {
    let said = &heard.said;
    if heard.provider == "zai" && said.code_is(&["1308", "1310"]) {
        return some(Class::QuotaExhausted, Scope::Credential);
    }
    if said.code_is(&["unsupported_country_region_territory"]) {
        return some(Class::PermissionDenied, Scope::Provider);
    }
    let is_unknown = status == 404 && said.code_is(&["model_not_found"]);
    is_unknown.then(|| finding(Class::ModelUnavailable, Scope::Model))
}

/// The credential was withdrawn; Google has no capacity.
fn c7(heard: &Heard<'_>, _: u16) -> Option<Finding> {
    let said = &heard.said;
    let is_withdrawn = said.code_is(&["token_revoked"])
        || said.begins(&["OAuth token has been revoked", "This organization has been disabled"])
        || said.reason_is(&["API_KEY_INVALID", "CONSUMER_SUSPENDED"]);
    if is_withdrawn {
        return some(Class::AuthFailed, Scope::Credential);
    }
    let is_overloaded = said.reason_is(&["MODEL_CAPACITY_EXHAUSTED"])
        || said.status.as_deref() == Some("UNAVAILABLE");
    is_overloaded.then(|| finding(Class::Overloaded, Scope::ProviderModel))
}

/// A quota of Google's: of a day or shorter, of a model or of all.
fn c8(heard: &Heard<'_>, _: u16) -> Option<Finding> {
    let said = &heard.said;
    if said.status.as_deref() != Some("RESOURCE_EXHAUSTED") {
        return None;
    }
    let is_bound = said.violations.iter().any(|violation| violation.is_model_bound);
    let scope = match said.violations.is_empty() || is_bound {
        true => Scope::Model,
        false => Scope::Credential,
    };
    if said.is_daily() {
        return some(Class::QuotaExhausted, scope);
    }
    if said.reason_is(&["QUOTA_EXHAUSTED"]) {
        return some(Class::QuotaExhausted, Scope::Model);
    }
    some(Class::RateLimited, scope)
}

/// A window of an Anthropic plan is full.
fn c9(heard: &Heard<'_>, status: u16) -> Option<Finding> {
    if status != 429 {
        return None;
    }
    let windows = AnthropicWindows::of(&heard.headers);
    if windows.refuses() {
        let claim = heard.headers.first("anthropic-ratelimit-unified-representative-claim");
        let scope = match claim {
            _ if windows.rejects(&["5h", "7d"]) => Scope::Credential,
            Some("seven_day_opus") => Scope::family("opus"),
            Some("seven_day_sonnet") => Scope::family("sonnet"),
            Some("seven_day_overage_included") => Scope::Model,
            _ if windows.rejects(&["7d_oi"]) => Scope::Model,
            _ => Scope::Credential,
        };
        return some(Class::QuotaExhausted, scope);
    }
    let is_said = heard.said.begins(&["Claude AI usage limit reached"]);
    is_said.then(|| finding(Class::QuotaExhausted, Scope::Credential))
}

/// The limit names itself in a header.
fn c10(heard: &Heard<'_>, status: u16) -> Option<Finding> {
    let kind = heard.headers.first("x-ratelimit-type").filter(|_| status == 429)?;
    let is_daily = has_words(kind, &["By", "Day"]);
    Some(Finding {
        class: if is_daily { Class::QuotaExhausted } else { Class::RateLimited },
        scope: if has_words(kind, &["By", "Model"]) { Scope::Model } else { Scope::Credential },
        is_concurrency: !is_daily && has_words(kind, &["Concurrent"]),
    })
}

/// The edge in front of the upstream limits our address.
fn c11(heard: &Heard<'_>, status: u16) -> Option<Finding> {
    let server = heard.headers.first("server").unwrap_or_default();
    let is_edge = status == 429 && server.eq_ignore_ascii_case("cloudflare");
    let is_page = heard.media == "text/html";
    let is_limit = is_page || heard.said.error_code.as_deref() == Some("1015");
    (is_edge && is_limit).then(|| finding(Class::RateLimited, Scope::Provider))
}

/// Requests in flight; trial keys.
fn c12(heard: &Heard<'_>, status: u16) -> Option<Finding> {
    if status != 429 {
        return None;
    }
    if heard.said.begins(&["Number of concurrent connections has exceeded"]) {
        let throttle = finding(Class::RateLimited, Scope::Credential);
        return Some(Finding { is_concurrency: true, ..throttle });
    }
    match Trial::of(heard.said.message())? {
        Trial::Minute => some(Class::RateLimited, Scope::Credential),
        Trial::Month => some(Class::QuotaExhausted, Scope::Credential),
    }
}

/// A rolling day, which only the message tells from a minute.
fn c13(heard: &Heard<'_>, status: u16) -> Option<Finding> {
    let message = heard.said.message();
    let is_daily = message.contains("(TPD)") || message.contains("(RPD)");
    let is_limit = status == 429 && heard.said.begins(&["Rate limit reached for"]);
    (is_limit && is_daily).then(|| finding(Class::QuotaExhausted, Scope::Model))
}

/// What three statuses mean.
fn c14(_: &Heard<'_>, status: u16) -> Option<Finding> {
    match status {
        429 => some(Class::RateLimited, Scope::Model),
        401 => some(Class::AuthFailed, Scope::Credential),
        402 => some(Class::Billing, Scope::Credential),
        _ => None,
    }
}

/// Forbidden: by a quota, by a limit, or at all.
fn c15(heard: &Heard<'_>, status: u16) -> Option<Finding> {
    if status != 403 {
        return None;
    }
    let said = &heard.said;
    let is = |word| said.code_is(&[word]) || said.type_is(&[word]);
    if is("quota_exceeded") {
        return some(Class::QuotaExhausted, Scope::Credential);
    }
    let remaining = heard.headers.first("x-ratelimit-remaining").and_then(Number::parse);
    let beginnings = ["API rate limit exceeded", "You have exceeded a secondary rate limit"];
    let is_limited = is("rate_limit_exceeded")
        || remaining.is_some_and(Number::is_zero)
        || said.begins(&beginnings);
    match is_limited {
        true => some(Class::RateLimited, Scope::Credential),
        false => some(Class::PermissionDenied, Scope::Model),
    }
}

/// What is left.
fn c16(heard: &Heard<'_>, status: u16) -> Finding {
    match status {
        529 => finding(Class::Overloaded, Scope::ProviderModel),
        503 if stated::delays(heard).is_some() => finding(Class::Overloaded, Scope::ProviderModel),
        408 | 500.. => finding(Class::Transient, Scope::None),
        _ => finding(Class::ClientError, Scope::None),
    }
}

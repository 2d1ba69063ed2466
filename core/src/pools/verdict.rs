//! What an answer of an upstream means for the member that got it.
//!
//! Absent on purpose: how it is read from an answer, and for how long it holds.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// It works.
    Ok,
    /// The request's own fault.
    ClientError,
    /// No evidence.
    Transient,
    /// The provider's capacity.
    Overloaded,
    /// A throttle.
    RateLimited,
    /// A window of hours.
    QuotaExhausted,
    /// Money.
    Billing,
    /// The credential is refused.
    AuthFailed,
    /// Not for this credential.
    PermissionDenied,
    /// This credential has no such model.
    ModelUnavailable,
}

impl Class {
    /// All of them, in order.
    pub const ALL: [Class; 10] = [
        Class::Ok,
        Class::ClientError,
        Class::Transient,
        Class::Overloaded,
        Class::RateLimited,
        Class::QuotaExhausted,
        Class::Billing,
        Class::AuthFailed,
        Class::PermissionDenied,
        Class::ModelUnavailable,
    ];

    /// The word on every surface.
    pub const fn name(self) -> &'static str {
        match self {
            Class::Ok => "ok",
            Class::ClientError => "client_error",
            Class::Transient => "transient",
            Class::Overloaded => "overloaded",
            Class::RateLimited => "rate_limited",
            Class::QuotaExhausted => "quota_exhausted",
            Class::Billing => "billing",
            Class::AuthFailed => "auth_failed",
            Class::PermissionDenied => "permission_denied",
            Class::ModelUnavailable => "model_unavailable",
        }
    }

    /// Whether something rests because of it.
    pub const fn rests(self) -> bool {
        !matches!(self, Class::Ok | Class::ClientError | Class::Transient)
    }

    /// Whether only a success, an operator or a changed credential ends its half-open state.
    pub const fn needs_proof(self) -> bool {
        matches!(
            self,
            Class::Billing | Class::AuthFailed | Class::PermissionDenied | Class::ModelUnavailable
        )
    }
}

/// Whether a refused request may go to another member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// To any.
    Any,
    /// To one of another provider.
    OtherProvider,
    /// To none.
    Never,
}

impl Class {
    /// Whether another member is tried.
    pub const fn retry(self) -> Retry {
        match self {
            Class::RateLimited
            | Class::QuotaExhausted
            | Class::Billing
            | Class::AuthFailed
            | Class::PermissionDenied
            | Class::ModelUnavailable => Retry::Any,
            Class::Overloaded => Retry::OtherProvider,
            Class::Transient | Class::ClientError | Class::Ok => Retry::Never,
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Of what an answer speaks, seen from the request that got it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Of nothing that is kept.
    None,
    /// The request's model, of this credential.
    Model,
    /// Every model that has this word in its name, of this credential.
    Family(Arc<str>),
    /// This credential.
    Credential,
    /// The request's model there, whoever asks.
    ProviderModel,
    /// This node's address there.
    Provider,
}

impl Scope {
    /// The scope of a family.
    pub fn family(word: &str) -> Scope {
        Scope::Family(word.into())
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scope::None => f.write_str("none"),
            Scope::Model => f.write_str("model"),
            Scope::Family(word) => write!(f, "family:{word}"),
            Scope::Credential => f.write_str("credential"),
            Scope::ProviderModel => f.write_str("provider_model"),
            Scope::Provider => f.write_str("provider"),
        }
    }
}

/// Why a delay that an answer states is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rejected {
    /// It is nothing that a delay may be, or not greater than zero.
    Unusable,
    /// It is of seconds, and the quota is of a day.
    Daily,
}

impl Rejected {
    /// Every reason.
    pub const ALL: [Rejected; 2] = [Rejected::Unusable, Rejected::Daily];

    /// The word on every surface.
    pub const fn name(self) -> &'static str {
        match self {
            Rejected::Unusable => "unusable",
            Rejected::Daily => "daily",
        }
    }
}

/// What an answer means.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// What happened.
    pub class: Class,
    /// To what.
    pub scope: Scope,
    /// Where the wait stood (`header:retry-after`, `message`, …), `default` where none was stated, `None`
    /// where nothing rests.
    pub source: Option<Arc<str>>,
    /// The wait that the answer stated, in ms, unclamped but for its ceiling of 31 days.
    pub stated_wait_ms: Option<u64>,
    /// Whether a throttle is of requests at once, not of requests in a time.
    pub is_concurrency: bool,
    /// The first bytes of SHA-256 over status and the text the wait was read from.
    pub evidence: [u8; 8],
    /// Why a delay that it states is none, if one is not: counted where it was heard, and said to nobody.
    #[serde(skip)]
    pub rejected: Option<Rejected>,
}

impl Verdict {
    /// What a request that got no answer is worth.
    pub fn transport_failure() -> Verdict {
        Verdict {
            class: Class::Transient,
            scope: Scope::None,
            source: None,
            stated_wait_ms: None,
            is_concurrency: false,
            evidence: [0; 8],
            rejected: None,
        }
    }

    /// Whether anything rests by it.
    pub fn rests(&self) -> bool {
        self.class.rests() && self.scope != Scope::None
    }
}

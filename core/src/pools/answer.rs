//! What an upstream's answer means: a [`Verdict`] with its class, its scope and the wait it states.
//!
//! Typed fields decide before the status does, and text that a user can write never decides. [`heard`]
//! takes from an answer what has a name in the rules and drops the rest unread; [`rows`] is the table of
//! rules, one function per row, in order; [`super::wait`] reads how long.
//!
//! Invariants: P-9, a verdict depends on no byte of the body beyond [`limits::ANSWER_BODY_BYTES_MAX`] and on
//! no field that is not named; P-16, for any bytes whatever a stated wait is within
//! [`limits::STATED_WAIT_MS_MAX`].
//!
//! Absent on purpose: decoding of `gzip` and the like (the host's), and what follows from a verdict.

pub(super) mod body;
pub(super) mod headers;
pub(super) mod heard;
pub(super) mod plans;
pub(super) mod protobuf;
mod rows;

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

pub use headers::is_heard;

use super::wait::{self, Evidence};
use super::{Class, Scope, Verdict};
use crate::limits;
use crate::time::UnixTime;
use heard::Heard;

/// One answer of an upstream, as it came.
#[derive(Debug, Clone, Copy)]
pub struct Answer<'a> {
    /// The provider's name, in lower case.
    pub provider: &'a str,
    /// Whom the request was for.
    pub endpoint: Endpoint,
    /// The model that was asked for; empty where none is known.
    pub model: &'a str,
    /// Our wall clock when the answer came.
    pub now: UnixTime,
    /// 100 to 599.
    pub status: u16,
    /// Every line of which [`is_heard`], in the order in which it came; names in any case.
    pub headers: &'a [(String, String)],
    /// After content decoding; what is beyond [`limits::ANSWER_BODY_BYTES_MAX`] is not seen.
    pub body: &'a [u8],
}

/// Which host of a provider answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Endpoint {
    /// The one that serves models.
    Api,
    /// The one that gives tokens.
    Token,
}

/// Which evidence of a wait a class listens to.
fn listens(class: Class) -> Evidence {
    match class {
        Class::RateLimited | Class::QuotaExhausted => Evidence::All,
        Class::Overloaded => Evidence::Capacity,
        Class::Billing
        | Class::AuthFailed
        | Class::PermissionDenied
        | Class::ModelUnavailable
        | Class::Transient
        | Class::ClientError
        | Class::Ok => Evidence::Nothing,
    }
}

/// The scope of a verdict of `class` where no model is known.
fn without_a_model(scope: Scope, class: Class) -> Scope {
    let needs_it = matches!(class, Class::PermissionDenied | Class::ModelUnavailable);
    match scope {
        Scope::Model if needs_it => Scope::None,
        Scope::Model | Scope::Family(_) => Scope::Credential,
        Scope::ProviderModel => Scope::Provider,
        Scope::Credential | Scope::Provider | Scope::None => scope,
    }
}

/// The source of a rest that no usable wait was stated for.
const DEFAULT: &str = "default";

/// What `answer` means.
pub fn judge(answer: &Answer<'_>) -> Verdict {
    let heard = Heard::new(answer);
    let finding = match answer.endpoint {
        Endpoint::Api => rows::api(&heard),
        Endpoint::Token => rows::token(&heard),
    };
    let wait = wait::read(&heard, listens(finding.class));
    let mut class = finding.class;
    // A limit that is stated longer than an hour is a quota.
    let is_long = wait.is_some_and(|wait| wait.ms > limits::THROTTLE_WAIT_MS_MAX);
    if class == Class::RateLimited && is_long {
        class = Class::QuotaExhausted;
    }
    let scope = match answer.model {
        "" => without_a_model(finding.scope, class),
        _ => finding.scope,
    };
    let mut verdict = Verdict {
        class,
        scope,
        source: None,
        stated_wait_ms: wait.map(|wait| wait.ms),
        is_concurrency: finding.is_concurrency,
        evidence: evidence(answer.status, wait.map_or("", |wait| wait.line)),
        rejected: wait::rejected(&heard, listens(finding.class)),
    };
    if verdict.rests() {
        verdict.source =
            Some(wait.map_or_else(|| DEFAULT.into(), |wait| wait.place.to_string().into()));
    }
    verdict
}

fn evidence(status: u16, line: &str) -> [u8; 8] {
    let mut hash = Sha256::new();
    hash.update(status.to_string());
    hash.update(b"\n");
    hash.update(line);
    let mut evidence = [0; 8];
    evidence.iter_mut().zip(hash.finalize()).for_each(|(to, from)| *to = from);
    evidence
}

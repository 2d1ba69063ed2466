//! What a caller is told when a request is refused: `application/problem+json`, one code per reason.
//!
//! Every [`Code`] has an entry in `docs/ERRORS.md`; a test compares both ways. `detail` says what
//! happened and what to do. A problem with status 429 or 503 always says when to come back.
//!
//! Absent on purpose: debug prints and secrets; what a caller sent is quoted only where it is a name.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde_json::{Value, json};

/// A refusal on its way to the caller.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Problem {
    /// Which.
    pub(crate) code: Code,
    /// What happened and what to do, a sentence.
    pub(crate) detail: String,
    /// When a repetition may succeed.
    pub(crate) retry_after: Option<Duration>,
    /// What is wrong with which part of the body.
    pub(crate) faults: Vec<Fault>,
    /// Further members of the document, such as the present owner.
    pub(crate) extra: serde_json::Map<String, Value>,
    /// Further headers, such as `allow`.
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
}

/// One thing that is wrong with a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Where, as a JSON pointer (RFC 6901).
    pub(crate) pointer: String,
    /// Which kind of wrong.
    pub(crate) code: &'static str,
    /// A sentence.
    pub(crate) detail: String,
}

impl Problem {
    /// A refusal with a sentence.
    pub(crate) fn new(code: Code, detail: impl Into<String>) -> Problem {
        let retry_after = match code.status() {
            429 | 503 => Some(Duration::from_secs(1)),
            _ => None,
        };
        Problem {
            code,
            detail: detail.into(),
            retry_after,
            faults: Vec::new(),
            extra: serde_json::Map::new(),
            headers: Vec::new(),
        }
    }

    /// A body with these faults.
    pub(crate) fn faults(faults: Vec<Fault>) -> Problem {
        let detail = match faults.as_slice() {
            [one] => format!("{} at `{}`", one.detail, one.pointer),
            many => format!("{} fields are wrong; see `errors`", many.len()),
        };
        Problem { faults, ..Problem::new(Code::InvalidRequest, detail) }
    }

    /// The same, not before `wait` has passed.
    pub(crate) fn retry_after(mut self, wait: Duration) -> Problem {
        self.retry_after = Some(wait);
        self
    }

    /// The same with one more member.
    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Problem {
        self.extra.insert(name.to_owned(), value.into());
        self
    }

    /// The same with one more header.
    pub(crate) fn header(mut self, name: HeaderName, value: HeaderValue) -> Problem {
        self.headers.push((name, value));
        self
    }

    /// Its status.
    pub(crate) fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.code.status()).expect("the table holds valid statuses")
    }

    /// The document.
    pub(crate) fn document(&self, request_id: &str) -> Value {
        let mut document = json!({
            "type": format!("urn:quorate:error:{}", self.code.name()),
            "title": self.code.title(),
            "status": self.code.status(),
            "code": self.code.name(),
            "detail": self.detail,
            "request_id": request_id,
            "help": format!("quorate explain {}", self.code.name()),
        });
        let members = document.as_object_mut().expect("it was written as an object");
        if let Some(wait) = self.retry_after {
            members.insert("retry_after_ms".into(), json!(quorate_core::time::millis(wait)));
        }
        if !self.faults.is_empty() {
            let list = self.faults.iter().map(
                |fault| json!({"pointer": fault.pointer, "code": fault.code, "detail": fault.detail}),
            );
            members.insert("errors".into(), list.collect());
        }
        for (name, value) in &self.extra {
            members.insert(name.clone(), value.clone());
        }
        document
    }

    /// The headers that go with it.
    pub(crate) fn headers(&self) -> HeaderMap {
        let mut headers: HeaderMap = self.headers.iter().cloned().collect();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(wait) = self.retry_after {
            let seconds = wait.as_millis().div_ceil(1000).max(1).to_string();
            let value = HeaderValue::from_str(&seconds).expect("digits are a header value");
            headers.insert(header::RETRY_AFTER, value);
        }
        headers
    }
}

impl Fault {
    /// A fault at a place.
    pub(crate) fn new(
        pointer: impl Into<String>,
        code: &'static str,
        detail: impl Into<String>,
    ) -> Fault {
        Fault { pointer: pointer.into(), code, detail: detail.into() }
    }
}

macro_rules! codes {
    ($($variant:ident $status:literal $name:literal $title:literal)*) => {
        /// Why a request was refused. The list is closed.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum Code { $($variant),* }

        impl Code {
            /// All of them.
            pub(crate) const ALL: &'static [Code] = &[$(Code::$variant),*];

            /// Its name, as callers match it.
            pub(crate) fn name(self) -> &'static str {
                match self { $(Code::$variant => $name),* }
            }

            /// The code of this name.
            pub(crate) fn named(name: &str) -> Option<Code> {
                Code::ALL.iter().copied().find(|code| code.name() == name)
            }

            /// The HTTP status it comes with.
            pub(crate) fn status(self) -> u16 {
                match self { $(Code::$variant => $status),* }
            }

            /// A few words for humans.
            pub(crate) fn title(self) -> &'static str {
                match self { $(Code::$variant => $title),* }
            }
        }
    };
}

codes! {
    InvalidRequest 400 "invalid_request" "the request could never be right"
    Unauthenticated 401 "unauthenticated" "a valid token is needed"
    ScopeMissing 403 "scope_missing" "the token lacks a scope"
    Reserved 403 "reserved" "the namespace belongs to Quorate"
    RevealRefused 403 "reveal_refused" "secrets are not sent in the open"
    NotFound 404 "not_found" "there is no such thing"
    LeaseNotFound 404 "lease_not_found" "the lease has ended"
    MethodNotAllowed 405 "method_not_allowed" "the path does not take this method"
    RequestTimeout 408 "request_timeout" "the request took too long to arrive"
    Conflict 409 "conflict" "something else is in the way"
    WorkerExists 409 "worker_exists" "the worker is registered with another specification"
    OwnedBy 409 "owned_by" "another node owns it"
    NotLeader 409 "not_leader" "this node does not lead the log"
    CredentialPooled 409 "credential_pooled" "the credential is in another pool"
    ManagedByConfig 409 "managed_by_config" "the configuration document defines it"
    NotResting 409 "not_resting" "nothing of it rests"
    NowhereToRotate 409 "nowhere_to_rotate" "no other member can serve"
    PoolExists 409 "pool_exists" "the pool exists"
    SlotTaken 409 "slot_taken" "another request tries this member"
    Removing 409 "removing" "it is being removed"
    Contended 409 "contended" "others hold it"
    NotHeld 409 "not_held" "there is no such hold"
    PermitsDiffer 409 "permits_differ" "the semaphore is in use with other permits"
    NotHere 409 "not_here" "this node keeps no copy"
    Compacted 410 "compacted" "that revision is forgotten"
    LeaseExpired 410 "lease_expired" "the lease has expired"
    UnknownTicket 410 "unknown_ticket" "the ticket was never issued or is settled"
    PreconditionFailed 412 "precondition_failed" "it has changed since it was read"
    TooLarge 413 "too_large" "the body is too large"
    UnsupportedMediaType 415 "unsupported_media_type" "the body is not JSON by its own word"
    WrongHost 421 "wrong_host" "this node does not answer to that host name"
    ConfigInvalid 422 "config_invalid" "the configuration is not valid"
    IdempotencyMismatch 422 "idempotency_mismatch" "the key was used with another request"
    RecordInvalid 422 "record_invalid" "it is no record of a credential"
    UrlMalformed 422 "url_malformed" "the URL is malformed"
    UrlScheme 422 "url_scheme" "the URL's scheme is not known"
    UrlUserinfo 422 "url_userinfo" "the URL carries credentials"
    UrlQuery 422 "url_query" "the URL has a query or fragment"
    UrlHost 422 "url_host" "the URL's host is no host"
    UrlPort 422 "url_port" "the URL's port is missing or impossible"
    UrlPath 422 "url_path" "the URL's path is not canonical"
    UrlRank 422 "url_rank" "the rank is too high"
    UrlDenied 422 "url_denied" "policy denies this address"
    SpecRank 422 "spec_rank" "the rank is impossible"
    SpecModels 422 "spec_models" "the models are too many or too long"
    SpecKind 422 "spec_kind" "the kind is not known"
    SpecMode 422 "spec_mode" "the mode is not known or does not fit the URL"
    SpecRuntime 422 "spec_runtime" "the runtime's name is too long"
    SpecProvider 422 "spec_provider" "the provider's name is too long"
    SpecLabels 422 "spec_labels" "the labels are too many or too long"
    SpecPriority 422 "spec_priority" "the priority is out of bounds"
    SpecWeight 422 "spec_weight" "the weight is out of bounds"
    SpecCost 422 "spec_cost" "the cost is out of bounds"
    SpecMaxInFlight 422 "spec_max_in_flight" "the bound of requests in flight is out of bounds"
    SpecHealth 422 "spec_health" "a field of `health` is out of bounds"
    SpecDrainSettle 422 "spec_drain_settle" "the settling time is out of bounds"
    SpecAuth 422 "spec_auth" "the kind of authentication is not known"
    SpecSecret 422 "spec_secret" "the specification carries a secret"
    SpecUrl 422 "spec_url" "the URL of a worker cannot change"
    SpecTooLarge 422 "spec_too_large" "the specification is too large"
    LabelSecret 422 "label_secret" "a label looks like a secret"
    PreconditionRequired 428 "precondition_required" "say which revision is meant"
    RateLimited 429 "rate_limited" "too many attempts"
    PoolExhausted 429 "pool_exhausted" "every account of the pool is limited"
    LimitReached 429 "limit_reached" "a limit is reached"
    HeadersTooLarge 431 "headers_too_large" "the headers are too large"
    Internal 500 "internal" "a bug in this node"
    AccountUnusable 502 "account_unusable" "no account can be used as it is"
    UpstreamUnreachable 502 "upstream_unreachable" "the provider cannot be reached"
    ShuttingDown 503 "shutting_down" "the node is shutting down"
    QueueFull 503 "queue_full" "too much waits already"
    StoreUnavailable 503 "store_unavailable" "it cannot be stored"
    AuditUnavailable 503 "audit_unavailable" "the audit log cannot be written"
    NoQuorum 503 "no_quorum" "no leader with a quorum answered"
    NeedsUpgrade 503 "needs_upgrade" "not every member understands this yet"
    PoolUnavailable 503 "pool_unavailable" "no account of the pool can serve"
    NoWorker 503 "no_worker" "no worker can take the request"
    OwnerUnreachable 503 "owner_unreachable" "the owner cannot be reached"
    Deadline 504 "deadline" "the answer did not come in time"
    UpstreamTimeout 504 "upstream_timeout" "the provider did not answer in time"
    Ambiguous 504 "ambiguous" "it may or may not have happened"
    WorkersFull 507 "workers_full" "no more workers can be registered"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_told_in_whole_seconds_rounded_up_and_at_least_one() {
        for (millis, seconds) in [(0, "1"), (1, "1"), (1000, "1"), (1001, "2"), (41_500, "42")] {
            let wait = Duration::from_millis(millis);
            let problem = Problem::new(Code::RateLimited, "slow down").retry_after(wait);
            assert_eq!(problem.headers()["retry-after"], seconds);
            assert_eq!(problem.document("r")["retry_after_ms"], millis);
        }
        for code in Code::ALL.iter().filter(|code| matches!(code.status(), 429 | 503)) {
            let headers = Problem::new(*code, "").headers();
            assert!(headers.contains_key("retry-after"), "{code:?} must say when to come back");
        }
    }

    #[test]
    fn every_code_is_explained_and_nothing_else_is() {
        let documented: Vec<&str> = include_str!("../../../docs/ERRORS.md")
            .lines()
            .filter_map(|line| line.strip_prefix("## `")?.strip_suffix('`'))
            .collect();
        for code in Code::ALL {
            assert!(documented.contains(&code.name()), "docs/ERRORS.md lacks `{}`", code.name());
        }
        for name in documented {
            let known = Code::ALL.iter().any(|code| code.name() == name);
            assert!(known, "docs/ERRORS.md explains `{name}`, which nothing answers");
        }
    }

    #[test]
    fn every_explanation_names_the_status_that_is_sent() {
        let text = include_str!("../../../docs/ERRORS.md");
        for code in Code::ALL {
            let heading = format!("## `{}`\n\n**{}** ", code.name(), code.status());
            assert!(text.contains(&heading), "docs/ERRORS.md tells another status: {heading:?}");
        }
    }
}

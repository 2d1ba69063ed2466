//! What is heard of an answer: everything that a rule may ask, and nothing else.

use std::borrow::Cow;

use super::Answer;
use super::body::{self, ErrorObject, Json, Leaf, Top, number, text, text_or_number, word};
use super::headers::Headers;
use super::protobuf;
use crate::limits;
use crate::pools::wait::Clock;
use crate::pools::wait::number::trim;

/// An answer, read once.
#[derive(Debug)]
pub(in crate::pools) struct Heard<'a> {
    pub(in crate::pools) provider: &'a str,
    /// As it came.
    pub(in crate::pools) status: u16,
    pub(in crate::pools) headers: Headers<'a>,
    pub(in crate::pools) said: Said<'a>,
    pub(in crate::pools) clock: Clock,
    /// The type of the body without its parameters, in lower case.
    pub(in crate::pools) media: String,
}

impl<'a> Heard<'a> {
    pub(in crate::pools) fn new(answer: &Answer<'a>) -> Heard<'a> {
        let headers = Headers::read(answer.headers);
        let media = headers.first("content-type").unwrap_or_default();
        let media = trim(media.split(';').next().unwrap_or_default()).to_ascii_lowercase();
        let seen = answer.body.len().min(limits::ANSWER_BODY_BYTES_MAX);
        let seen = answer.body.get(..seen).unwrap_or_default();
        let said = match media.as_str() {
            "application/x-protobuf" | "application/protobuf" => {
                protobuf::status(seen).map(Said::from_protobuf)
            }
            // Of a success nothing is asked but whether it holds an error.
            _ if answer.status < 400 && !may_hold_error(seen) => None,
            "text/event-stream" => body::first_error_event(seen).map(|top| Said::from_json(&top)),
            _ => {
                let top = std::str::from_utf8(seen).ok().and_then(body::parse);
                top.map(|top| Said::from_json(&top))
            }
        };
        let clock = Clock::new(answer.now, headers.first("date"));
        let said = said.unwrap_or_default();
        Heard { provider: answer.provider, status: answer.status, headers, said, clock, media }
    }

    /// The status, or what a failure inside a success counts as.
    pub(super) fn effective_status(&self) -> u16 {
        let said = &self.said;
        if !(200..300).contains(&self.status) || !said.has_error_object {
            return self.status;
        }
        let is_one_of = |words: &[&str]| said.type_is(words) || said.code_is(words);
        match said.code_number {
            Some(code) if (400..600).contains(&code) => code,
            _ if is_one_of(&["rate_limit_error", "rate_limit_exceeded"]) => 429,
            _ if said.type_is(&["overloaded_error"]) => 529,
            _ if said.code_is(&["server_is_overloaded"]) => 503,
            _ => self.status,
        }
    }
}

/// The fields of a body that some rule names.
#[derive(Debug, Default)]
pub(in crate::pools) struct Said<'a> {
    has_error_object: bool,
    /// The error object's code, if it is a JSON integer of a status' size.
    code_number: Option<u16>,
    kind: Option<Cow<'a, str>>,
    code: Option<Cow<'a, str>>,
    message: Option<Cow<'a, str>>,
    /// An `error` that is text.
    pub(super) error_text: Option<Cow<'a, str>>,
    /// Type and code of the error object alone.
    pub(super) own: [Option<Cow<'a, str>>; 2],
    /// `error.status`.
    pub(super) status: Option<Cow<'a, str>>,
    pub(super) limit_source: Option<Cow<'a, str>>,
    pub(super) aws_type: Option<Cow<'a, str>>,
    pub(super) error_code: Option<Cow<'a, str>>,
    pub(super) reasons: Vec<Cow<'a, str>>,
    pub(super) violations: Vec<Violation>,
    pub(in crate::pools) usage_limit: Option<UsageLimit<'a>>,
    pub(in crate::pools) retry_delays: Vec<Cow<'a, str>>,
    pub(in crate::pools) quota_reset_time_stamps: Vec<Cow<'a, str>>,
    pub(in crate::pools) quota_reset_delays: Vec<Cow<'a, str>>,
    pub(in crate::pools) carried_retry_after: Vec<Cow<'a, str>>,
    pub(in crate::pools) carried_resets: Vec<Cow<'a, str>>,
}

/// When a plan is free again, under the type `usage_limit_reached`.
#[derive(Debug)]
pub(in crate::pools) struct UsageLimit<'a> {
    pub(in crate::pools) resets_at: Option<&'a str>,
    pub(in crate::pools) resets_in_seconds: Option<&'a str>,
}

/// A violated quota.
#[derive(Debug, Clone, Copy)]
pub(super) struct Violation {
    pub(super) is_daily: bool,
    pub(super) is_model_bound: bool,
}

impl Violation {
    fn of(quota_id: &str, has_model: bool) -> Violation {
        Violation {
            is_daily: has_words(quota_id, &["Per", "Day"]),
            is_model_bound: has_model || has_words(quota_id, &["Per", "Model"]),
        }
    }
}

impl<'a> Said<'a> {
    fn from_json(top: &Top<'a>) -> Said<'a> {
        let none = ErrorObject::default();
        let error = top.error_object();
        let is_there = error.is_some();
        let error = error.unwrap_or(&none);
        let either = |own: Leaf<'a>, outer: Leaf<'a>| word(own).or_else(|| word(outer));
        let error_text = top.error_text().filter(|_| !is_there).cloned();
        let mut said = Said {
            has_error_object: is_there,
            code_number: number(error.code).and_then(|code| code.parse().ok()),
            kind: either(error.kind, top.kind),
            code: either(error.code, top.code),
            message: error_text.clone().or_else(|| either(error.message, top.message)),
            error_text,
            own: [word(error.kind), word(error.code)],
            status: text(error.status),
            aws_type: text(top.aws_type),
            error_code: word(top.error_code),
            ..Said::default()
        };
        if text(error.kind).as_deref() == Some(USAGE_LIMIT) {
            said.usage_limit = Some(UsageLimit {
                resets_at: number(error.resets_at),
                resets_in_seconds: number(error.resets_in_seconds),
            });
        }
        if let Some(metadata) = error.metadata.object() {
            said.limit_source = text(metadata.limit_source);
            if let Some(carried) = metadata.headers.object() {
                let texts = |leaves: &[Leaf<'a>]| {
                    leaves.iter().filter_map(|leaf| text_or_number(*leaf)).collect()
                };
                said.carried_retry_after = texts(&carried.retry_after);
                said.carried_resets = texts(&carried.reset);
            }
        }
        for detail in error.details.list() {
            said.hear_detail(detail);
        }
        said
    }

    fn hear_detail(&mut self, detail: &body::Detail<'a>) {
        let kind = text(detail.kind).unwrap_or_default();
        match kind_of(&kind) {
            "google.rpc.RetryInfo" => self.retry_delays.extend(text(detail.retry_delay)),
            "google.rpc.ErrorInfo" => {
                self.reasons.extend(text(detail.reason));
                if let Some(metadata) = detail.metadata.object() {
                    self.quota_reset_time_stamps.extend(text(metadata.reset_time_stamp));
                    self.quota_reset_delays.extend(text(metadata.reset_delay));
                }
            }
            "google.rpc.QuotaFailure" => {
                self.violations.extend(detail.violations.list().iter().map(|violation| {
                    let quota_id = text(violation.quota_id).unwrap_or_default();
                    Violation::of(&quota_id, has_model(&violation.dimensions))
                }));
            }
            _ => {}
        }
    }

    /// The JSON form of a binary status is its error object.
    fn from_protobuf(status: protobuf::Status<'a>) -> Said<'a> {
        let borrowed = |texts: Vec<&'a str>| texts.into_iter().map(Cow::Borrowed).collect();
        let name = STATUS_NAMES.iter().find(|(code, _)| *code == status.code);
        let code: Cow<'a, str> = Cow::Owned(status.code.to_string());
        let violations = status.violations.iter();
        let violation = |one: &protobuf::Violation<'_>| Violation::of(one.quota_id, one.has_model);
        Said {
            has_error_object: true,
            code_number: u16::try_from(status.code).ok(),
            code: Some(code.clone()),
            message: Some(Cow::Borrowed(status.message)),
            own: [None, Some(code)],
            status: name.map(|(_, name)| Cow::Borrowed(*name)),
            violations: violations.map(violation).collect(),
            reasons: borrowed(status.reasons),
            retry_delays: status.retry_delays,
            quota_reset_time_stamps: borrowed(status.reset_time_stamps),
            quota_reset_delays: borrowed(status.reset_delays),
            ..Said::default()
        }
    }

    /// Whether the error's type is one of `words`.
    pub(super) fn type_is(&self, words: &[&str]) -> bool {
        is_one_of(&self.kind, words)
    }

    /// Whether the error's code is one of `words`.
    pub(super) fn code_is(&self, words: &[&str]) -> bool {
        is_one_of(&self.code, words)
    }

    /// Whether some `ErrorInfo` gives one of `words` as its reason.
    pub(super) fn reason_is(&self, words: &[&str]) -> bool {
        self.reasons.iter().any(|reason| words.contains(&reason.as_ref()))
    }

    /// The message, without the white space around it.
    pub(in crate::pools) fn message(&self) -> &str {
        self.message.as_deref().unwrap_or_default().trim()
    }

    /// Whether the message begins with one of `beginnings`, ignoring case.
    pub(super) fn begins(&self, beginnings: &[&str]) -> bool {
        beginnings.iter().any(|beginning| begins(self.message(), beginning))
    }

    /// Whether a quota of a day is violated.
    pub(in crate::pools) fn is_daily(&self) -> bool {
        self.violations.iter().any(|violation| violation.is_daily)
    }
}

/// Whether `error` may be a key in JSON: it is spelt out, or letters are written as escapes.
fn may_hold_error(json: &[u8]) -> bool {
    // What is no text as a whole may hold some all the same, as a line of events.
    let text = std::str::from_utf8(json);
    text.map_or(true, |text| text.contains("error") || text.contains("\\u"))
}

fn has_model(dimensions: &Json<'_, body::Dimensions<'_>>) -> bool {
    let model = dimensions.object().and_then(|dimensions| dimensions.model);
    model.is_some_and(|model| model.get() != "null")
}

pub(super) fn is_one_of(word: &Option<Cow<'_, str>>, words: &[&str]) -> bool {
    word.as_deref().is_some_and(|word| words.contains(&word))
}

/// What stands behind the last `/` of a type's URL.
pub(super) fn kind_of(url: &str) -> &str {
    url.rsplit('/').next().unwrap_or_default()
}

/// Codes of `google.rpc` that rules name, with their names.
const STATUS_NAMES: [(i32, &str); 5] = [
    (3, "INVALID_ARGUMENT"),
    (7, "PERMISSION_DENIED"),
    (8, "RESOURCE_EXHAUSTED"),
    (14, "UNAVAILABLE"),
    (16, "UNAUTHENTICATED"),
];

pub(super) const USAGE_LIMIT: &str = "usage_limit_reached";

/// What follows `beginning`, ignoring case.
pub(in crate::pools) fn strip<'a>(text: &'a str, beginning: &str) -> Option<&'a str> {
    let (head, rest) = text.split_at_checked(beginning.len())?;
    head.eq_ignore_ascii_case(beginning).then_some(rest)
}

/// Whether `text` begins with `beginning`, ignoring case.
pub(in crate::pools) fn begins(text: &str, beginning: &str) -> bool {
    strip(text, beginning).is_some()
}

/// Whether `words` follow each other in `text`, read as CamelCase. A word begins with a capital that ends
/// no run of them, or behind what is neither letter nor digit.
pub(super) fn has_words(text: &str, words: &[&str]) -> bool {
    let all = camel_words(text);
    all.windows(words.len()).any(|window| window == words)
}

fn camel_words(text: &str) -> Vec<&str> {
    let bytes = text.as_bytes();
    let at = |index: usize| bytes.get(index).copied().unwrap_or_default();
    let (mut words, mut start) = (Vec::new(), 0);
    for index in 0..=bytes.len() {
        let ends_run = at(index.wrapping_sub(1)).is_ascii_uppercase();
        let begins_word =
            at(index).is_ascii_uppercase() && (!ends_run || at(index + 1).is_ascii_lowercase());
        let is_between = !at(index).is_ascii_alphanumeric();
        if is_between || begins_word {
            words.extend(text.get(start..index).filter(|word| !word.is_empty()));
            start = index + usize::from(is_between);
        }
    }
    words
}

/// A trial key's limit, which only its window is told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::pools) enum Trial {
    Minute,
    Month,
}

impl Trial {
    /// What Cohere says of its trial keys.
    pub(in crate::pools) fn of(message: &str) -> Option<Trial> {
        let rest = strip(message, "You are using a Trial key, which is limited to ")?;
        let after = rest.trim_start_matches(|digit: char| digit.is_ascii_digit());
        let window = strip(after, " API calls / ").filter(|_| after.len() < rest.len())?;
        if begins(window, "minute") {
            return Some(Trial::Minute);
        }
        begins(window, "month").then_some(Trial::Month)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_within_a_success_is_found_however_its_key_is_written() {
        let judged = |media: &str, body: &str| {
            let headers = [("content-type".to_owned(), media.to_owned())];
            let verdict = super::super::judge(&Answer {
                provider: "openai",
                endpoint: super::super::Endpoint::Api,
                model: "m",
                now: crate::time::UnixTime(1_700_000_000_000),
                status: 200,
                headers: &headers,
                body: body.as_bytes(),
            });
            verdict.class
        };
        use crate::pools::Class;
        for (media, body, class) in [
            ("application/json", r#"{"id":"x","choices":[]}"#, Class::Ok),
            ("application/json", r#"{"text":"an error of \u0065"}"#, Class::Ok),
            ("application/json", r#"{"error":{"type":"rate_limit_error"}}"#, Class::RateLimited),
            (
                "application/json",
                r#"{"\u0065rror":{"code":"rate_limit_exceeded"}}"#,
                Class::RateLimited,
            ),
            ("text/event-stream", "data: {\"n\":1}\n\n", Class::Ok),
            (
                "text/event-stream",
                "data: {\"n\":1}\n\ndata: {\"err\\u006fr\":{\"type\":\"overloaded_error\"}}\n\n",
                Class::Overloaded,
            ),
        ] {
            assert_eq!(judged(media, body), class, "{body}");
        }
    }

    #[test]
    fn camel_case_falls_into_words() {
        assert_eq!(
            camel_words("GenerateRPMPerDay-FreeTier2PerModel"),
            ["Generate", "RPM", "Per", "Day", "Free", "Tier2", "Per", "Model"]
        );
        let daily = |id| has_words(id, &["Per", "Day"]);
        assert!(daily("RequestsPerDay") && daily("requestsPerDayPerUser") && daily("Per-Day"));
        assert!(!daily("SuperDay") && !daily("RequestsPerDays") && !daily("PerProjectDay"));
        assert!(!daily("RequestsPerDAY") && !daily("requestsperday") && !daily("") && !daily("é"));
    }
}

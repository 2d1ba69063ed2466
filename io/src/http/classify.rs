//! `POST /v1/classify`: what an upstream's answer would mean, for whoever wonders. Nothing is learnt from it.

use std::borrow::Cow;

use base64::Engine as _;
use quorate_core::limits;
use quorate_core::node::pools::answer::{Answer as Told, Endpoint, judge};
use quorate_core::node::pools::{Profile, Verdict};
use quorate_core::time::UnixTime;
use serde_json::{Value, json};

use super::problem::Problem;
use super::route::{Answer, AuditRule, Call, Outcome, Route, Takes, Verb};
use super::strict::{self, Fields};
use crate::access::Scope;
use crate::encoding::decoded;

/// Headers of one answer.
const HEADERS_MAX: usize = 256;
/// Bytes of a name, be it a provider's, a model's or that of a test vector.
const NAME_BYTES_MAX: usize = 256;
/// Blanks that may stand for bytes before a body.
const PAD_MAX: u64 = 1024 * 1024;
/// The end of the year 9999.
const NOW_MS_MAX: u64 = 253_402_300_799_999;

pub(super) fn routes() -> [Route; 1] {
    let handler = |call| -> futures_util::future::BoxFuture<'static, Outcome> {
        Box::pin(async move { classify(call) })
    };
    let route = Route::change(Verb::Post, "/v1/classify", Scope::Read, "pool.classify", handler);
    [Route { audit: AuditRule::Never, ..route.takes(Takes::Body) }]
}

/// An answer as a caller describes it.
struct Described {
    provider: String,
    endpoint: Endpoint,
    model: String,
    now: UnixTime,
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

fn classify(mut call: Call) -> Outcome {
    let mut fields = call.fields()?;
    let described = described(&mut fields, call.surface.host.wall());
    fields.finish().map_err(Problem::faults)?;
    call.query.finish()?;
    let body = seen(&described);
    let verdict = judge(&Told {
        provider: &described.provider,
        endpoint: described.endpoint,
        model: &described.model,
        now: described.now,
        status: described.status,
        headers: &described.headers,
        body: &body,
    });
    Ok(Answer::json(shown(&verdict)))
}

fn described(fields: &mut Fields, now: UnixTime) -> Described {
    let name = |value: &Value| strict::string(value).filter(|text| text.len() <= NAME_BYTES_MAX);
    let number = |most: u64| move |value: &Value| value.as_u64().filter(|number| *number <= most);
    // A test vector comes with a name and a reason, which mean nothing here.
    fields.optional("id", "a string of at most 256 bytes", name);
    fields.optional("note", "a string", strict::string);
    let provider = fields.required("provider", "a string of at most 256 bytes", name);
    let endpoint =
        fields.optional("endpoint", "`api` or `token`", |value| match value.as_str()? {
            "api" => Some(Endpoint::Api),
            "token" => Some(Endpoint::Token),
            _ => None,
        });
    let model = fields.optional("model", "a string of at most 256 bytes", name);
    let now_ms = fields.optional("now_ms", "milliseconds since 1970", number(NOW_MS_MAX));
    let status = fields.required("status", "a status, 100 to 599", |value| {
        let status = u16::try_from(value.as_u64()?).ok()?;
        (100..600).contains(&status).then_some(status)
    });
    let headers = fields.optional("headers", "at most 256 pairs of a name and a value", pairs);
    let pad = fields.optional("body_pad", "how many blanks, at most 1048576", number(PAD_MAX));
    let mut body = vec![b' '; pad.and_then(|pad| usize::try_from(pad).ok()).unwrap_or(0)];
    let text = fields.optional("body", "a string", strict::string);
    let binary = fields.optional("body_base64", "a body in base64", |value| {
        base64::engine::general_purpose::STANDARD.decode(value.as_str()?).ok()
    });
    if text.is_some() && binary.is_some() {
        fields.fault("body_base64", "conflict", "give `body` or `body_base64`, not both");
    }
    body.extend(text.map(String::into_bytes).or(binary).unwrap_or_default());
    Described {
        provider: provider.unwrap_or_default().to_lowercase(),
        endpoint: endpoint.unwrap_or(Endpoint::Api),
        model: model.unwrap_or_default(),
        now: now_ms.map_or(now, UnixTime),
        status: status.unwrap_or_default(),
        headers: headers.unwrap_or_default(),
        body,
    }
}

fn pairs(value: &Value) -> Option<Vec<(String, String)>> {
    let list = value.as_array().filter(|list| list.len() <= HEADERS_MAX)?;
    let pair = |pair: &Value| match pair.as_array()?.as_slice() {
        [name, value] => Some((strict::string(name)?, strict::string(value)?)),
        _ => None,
    };
    list.iter().map(pair).collect()
}

/// The body without its content coding; one that does not decode is absent.
fn seen(described: &Described) -> Cow<'_, [u8]> {
    let is_coding = |(name, _): &&(String, String)| name.eq_ignore_ascii_case("content-encoding");
    let codings: Vec<&str> =
        described.headers.iter().filter(is_coding).map(|(_, value)| value.as_str()).collect();
    decoded(&described.body, &codings.join(","), limits::ANSWER_BODY_BYTES_MAX).unwrap_or_default()
}

fn shown(verdict: &Verdict) -> Value {
    json!({
        "class": verdict.class.name(),
        "scope": verdict.scope.to_string(),
        "source": verdict.source.as_deref(),
        "stated_wait_ms": verdict.stated_wait_ms,
        "rest_ms": Profile::default().rest_ms(verdict, 1),
    })
}

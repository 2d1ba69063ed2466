//! The second provider: the interface of messages, windows of a plan, and now and then no capacity.

use std::time::Duration;

use axum::response::Response;
use serde_json::{Value, json};

use super::{Asked, Limit, answer, events, refusal, words};
use crate::clock;

/// 90 requests a minute, then 30 s of rest.
pub(super) const LIMIT: Limit = Limit { requests: 90, block: Duration::from_secs(30) };
/// One request of so many finds no capacity.
const OVERLOADED_EVERY: u64 = 100;

pub(super) fn respond(
    asked: &Asked,
    used: Result<u32, Duration>,
    refuses: bool,
    number: u64,
) -> Response {
    if refuses || number.is_multiple_of(OVERLOADED_EVERY) {
        return refusal(529, &error("overloaded_error", "Overloaded"));
    }
    let used = match used {
        Ok(used) => used,
        Err(wait) => return limited(wait),
    };
    let percent = used * 100 / LIMIT.requests;
    let headers = [
        ("anthropic-ratelimit-unified-status", "allowed".to_owned()),
        ("anthropic-ratelimit-unified-5h-status", "allowed".to_owned()),
        ("anthropic-ratelimit-unified-5h-utilization", format!("0.{percent:02}")),
    ];
    match asked.path.as_str() {
        "/v1/messages" if asked.streams => events(&headers, message_events(asked)),
        "/v1/messages" => answer(200, &headers, &message(asked, &words(asked).concat())),
        _ => refusal(404, &error("not_found_error", "this demonstration has no such path")),
    }
}

fn limited(wait: Duration) -> Response {
    let seconds = wait.as_millis().div_ceil(1000);
    let reset = u128::from(clock::wall().0 / 1000) + seconds;
    let headers = [
        ("retry-after", seconds.to_string()),
        ("anthropic-ratelimit-unified-status", "rejected".to_owned()),
        ("anthropic-ratelimit-unified-5h-status", "rejected".to_owned()),
        ("anthropic-ratelimit-unified-5h-reset", reset.to_string()),
        ("anthropic-ratelimit-unified-reset", reset.to_string()),
    ];
    let words = "This request would exceed your account's rate limit. Please try again later.";
    answer(429, &headers, &error("rate_limit_error", words))
}

fn error(kind: &str, message: &str) -> Value {
    json!({"type": "error", "error": {"type": kind, "message": message}})
}

fn message(asked: &Asked, text: &str) -> Value {
    let content = if text.is_empty() { json!([]) } else { json!([{"type": "text", "text": text}]) };
    json!({
        "id": "msg_demo", "type": "message", "role": "assistant", "model": asked.model,
        "content": content, "stop_reason": "end_turn", "stop_sequence": null,
        "usage": {"input_tokens": 5, "output_tokens": 5},
    })
}

fn message_events(asked: &Asked) -> Vec<String> {
    let event = |kind: &str, mut body: Value| {
        if let Some(fields) = body.as_object_mut() {
            fields.insert("type".to_owned(), json!(kind));
        }
        format!("event: {kind}\ndata: {body}\n\n")
    };
    let start = json!({"index": 0, "content_block": {"type": "text", "text": ""}});
    let mut events = vec![
        event("message_start", json!({"message": message(asked, "")})),
        event("content_block_start", start),
        event("ping", json!({})),
    ];
    events.extend(words(asked).into_iter().map(|word| {
        let delta = json!({"index": 0, "delta": {"type": "text_delta", "text": word}});
        event("content_block_delta", delta)
    }));
    events.push(event("content_block_stop", json!({"index": 0})));
    let delta = json!({"delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 5}});
    events.push(event("message_delta", delta));
    events.push(event("message_stop", json!({})));
    events
}

//! The first provider: the interfaces of chats and of responses, and the limit of a plan.

use std::time::Duration;

use axum::response::Response;
use serde_json::{Value, json};

use super::{Asked, Limit, answer, events, refusal, words};
use crate::clock;

/// 20 requests a minute, then 45 s of rest.
pub(super) const LIMIT: Limit = Limit { requests: 20, block: Duration::from_secs(45) };

pub(super) fn respond(asked: &Asked, used: Result<u32, Duration>, refuses: bool) -> Response {
    let used = if refuses { Err(used.err().unwrap_or(LIMIT.block)) } else { used };
    let used = match used {
        Ok(used) => used,
        Err(wait) => return limited(wait),
    };
    let percent = (used * 100 / LIMIT.requests).to_string();
    let headers = [("x-codex-primary-used-percent", percent)];
    match asked.path.rsplit('/').next() {
        Some("completions") if asked.streams => events(&headers, chat_events(asked)),
        Some("completions") => answer(200, &headers, &chat(asked)),
        Some("responses") if asked.streams => events(&headers, response_events(asked)),
        Some("responses") => answer(200, &headers, &response(asked, "completed")),
        Some("models") => {
            let model = json!({"id": "gpt-5", "object": "model", "owned_by": "demo"});
            answer(200, &headers, &json!({"object": "list", "data": [model]}))
        }
        _ => refusal(404, &json!({"error": {"message": "this demonstration has no such path"}})),
    }
}

fn limited(wait: Duration) -> Response {
    let seconds = wait.as_millis().div_ceil(1000);
    let resets_at = u128::from(clock::wall().0 / 1000) + seconds;
    let headers = [
        ("x-codex-primary-used-percent", "100".to_owned()),
        ("x-codex-primary-window-minutes", "1".to_owned()),
        ("x-codex-primary-reset-after-seconds", seconds.to_string()),
    ];
    let error = json!({
        "type": "usage_limit_reached", "message": "The usage limit has been reached",
        "plan_type": "demo", "resets_at": u64::try_from(resets_at).unwrap_or_default(),
        "resets_in_seconds": u64::try_from(seconds).unwrap_or_default(),
    });
    answer(429, &headers, &json!({"error": error}))
}

fn chat(asked: &Asked) -> Value {
    let message = json!({"role": "assistant", "content": words(asked).concat()});
    json!({
        "id": "chatcmpl-demo", "object": "chat.completion", "created": clock::wall().0 / 1000,
        "model": asked.model,
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 5, "total_tokens": 10},
    })
}

fn chat_events(asked: &Asked) -> Vec<String> {
    let chunk = |delta: Value, end: Value| {
        let choice = json!({"index": 0, "delta": delta, "finish_reason": end});
        let chunk = json!({
            "id": "chatcmpl-demo", "object": "chat.completion.chunk",
            "created": clock::wall().0 / 1000, "model": asked.model, "choices": [choice],
        });
        format!("data: {chunk}\n\n")
    };
    let pieces = words(asked).into_iter().map(|word| chunk(json!({"content": word}), Value::Null));
    let mut events: Vec<String> = pieces.collect();
    events.push(chunk(json!({}), json!("stop")));
    events.push("data: [DONE]\n\n".to_owned());
    events
}

fn response(asked: &Asked, status: &str) -> Value {
    let output = if status == "completed" { json!([message(asked, status)]) } else { json!([]) };
    json!({
        "id": "resp_demo", "object": "response", "created_at": clock::wall().0 / 1000,
        "status": status, "model": asked.model, "output": output, "parallel_tool_calls": true,
        "tool_choice": "auto", "tools": [],
    })
}

fn message(asked: &Asked, status: &str) -> Value {
    let content =
        if status == "completed" { json!([part(words(asked).concat())]) } else { json!([]) };
    json!({"type": "message", "id": "msg_demo", "role": "assistant", "status": status,
        "content": content})
}

fn part(text: String) -> Value {
    json!({"type": "output_text", "text": text, "annotations": []})
}

/// The course of an answer: it is there, has an item, has a part, which grows, and then each is whole.
fn response_events(asked: &Asked) -> Vec<String> {
    let whole = words(asked).concat();
    let mut events = vec![
        ("response.created", json!({"response": response(asked, "in_progress")})),
        ("response.output_item.added", json!({"item": message(asked, "in_progress")})),
        ("response.content_part.added", json!({"part": part(String::new())})),
    ];
    let delta = |word| ("response.output_text.delta", json!({"delta": word, "logprobs": []}));
    events.extend(words(asked).into_iter().map(delta));
    events.extend([
        ("response.output_text.done", json!({"text": whole, "logprobs": []})),
        ("response.content_part.done", json!({"part": part(whole)})),
        ("response.output_item.done", json!({"item": message(asked, "completed")})),
        ("response.completed", json!({"response": response(asked, "completed")})),
    ]);
    let place = json!({"item_id": "msg_demo", "output_index": 0, "content_index": 0});
    let events = events.into_iter().zip(0_usize..).map(|((kind, mut body), number)| {
        if let (Some(fields), Some(place)) = (body.as_object_mut(), place.as_object()) {
            fields.insert("type".to_owned(), json!(kind));
            fields.insert("sequence_number".to_owned(), json!(number));
            if !fields.contains_key("response") {
                fields.extend(place.clone());
            }
        }
        format!("event: {kind}\ndata: {body}\n\n")
    });
    events.collect()
}

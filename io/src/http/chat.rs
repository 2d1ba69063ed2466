//! `POST /v1/chat/telegram`: what a bot hears, answered in the same breath.
//!
//! The service shows the secret of `chat.telegram.secret` in a header; the chat's number says what its
//! writers may do. A line then takes the very way that a request of the command line takes, through the same
//! routes with their scopes, audit and answers. The answer to the service is the message to the chat, in
//! HTML with everything escaped; a message that comes again (the service did not hear the answer) is
//! answered with nothing, so that nothing happens twice.
//!
//! Absent on purpose: strictness about fields, since the body is the service's and not a caller's.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::extract::Request;
use axum::http::header;
use http_body_util::BodyExt as _;
use hyper::Method;
use serde_json::{Value, json};
use tower::Service as _;

use super::Surface;
use super::guard::Inside;
use super::problem::{Code, Problem};
use super::route::{self, Answer, Call, Needs, Outcome, Route, Takes, Verb};
use crate::access::{Actor, Caller, Scope, hash};
use crate::cli::client::{Answer as Told, Failure, refused};
use crate::cli::operator::{Asks, perform};
use crate::pools::chat::{html, words_of};

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::change(Verb::Post, "/v1/chat/telegram", Scope::Use, "chat.telegram", |call| {
            Box::pin(telegram(call))
        })
        .needs(Needs::Nothing)
        .counted("chat.telegram")
        .takes(Takes::Body)
        .statuses(&[200, 401, 404]),
    ]
}

/// Messages whose numbers are remembered.
const REMEMBERED_MAX: usize = 256;
/// Where the service shows its secret.
const SECRET: &str = "x-telegram-bot-api-secret-token";

/// The numbers of messages that were answered.
#[derive(Debug, Default)]
pub(super) struct Answered(Mutex<VecDeque<i64>>);

impl Answered {
    /// Whether this message is new; it is not any more.
    fn first(&self, number: i64) -> bool {
        let mut numbers = self.0.lock().expect("no holder of this lock panics");
        if numbers.contains(&number) {
            return false;
        }
        if numbers.len() >= REMEMBERED_MAX {
            numbers.pop_front();
        }
        numbers.push_back(number);
        true
    }
}

async fn telegram(mut call: Call) -> Outcome {
    call.query.finish()?;
    let surface = call.surface.clone();
    let Some(settings) = &surface.settings.chat else {
        let detail = "no chat is configured here: set `chat.telegram.secret`";
        return Err(Problem::new(Code::NotFound, detail));
    };
    let shown = call.headers.get(SECRET).and_then(|value| value.to_str().ok()).unwrap_or_default();
    // Hashes are compared: how long that takes says nothing about the secret.
    if hash(shown) != hash(settings.secret.reveal()) {
        surface.meters.auth_failure("unknown");
        let detail = format!("`{SECRET}` is not the secret of `chat.telegram.secret`");
        return Err(Problem::new(Code::Unauthenticated, detail));
    }
    let update = call.body.take().unwrap_or_default();
    let number = update.get("update_id").and_then(Value::as_i64);
    let chat = update.pointer("/message/chat/id").and_then(Value::as_i64);
    let line = update.pointer("/message/text").and_then(Value::as_str);
    // A sticker, or an edit: there is nothing to do, and a refusal would bring it again.
    let (Some(number), Some(chat), Some(line)) = (number, chat, line) else {
        return Ok(Answer::json(json!({})));
    };
    let Some(scopes) = settings.chats.get(&chat) else {
        surface.meters.auth_failure("scope");
        return Ok(Answer::json(json!({})).about(format!("chat {chat} is not listed")));
    };
    if !surface.answered.first(number) {
        return Ok(Answer::json(json!({})));
    }
    let actor = Actor { name: format!("telegram:{chat}"), scopes: scopes.clone() };
    let text = answer(&Chat { surface: surface.clone(), actor }, line).await;
    let said = json!({
        "method": "sendMessage",
        "chat_id": chat,
        "text": html(&text),
        "parse_mode": "HTML",
    });
    Ok(Answer::json(said).about(format!("chat {chat}")))
}

async fn answer(chat: &Chat, line: &str) -> String {
    let words = match words_of(line) {
        Ok(words) => words,
        Err(help) => return help,
    };
    match perform(chat, words).await {
        Ok(shown) => shown.text,
        Err(failure) => failure.to_string(),
    }
}

/// A chat, asking the surface that it reached.
struct Chat {
    surface: Arc<Surface>,
    actor: Actor,
}

impl Asks for Chat {
    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        revision: Option<&str>,
    ) -> Result<Told, Failure> {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(revision) = revision {
            request = request.header(header::IF_MATCH, revision);
        }
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        let request =
            request.extension(Caller::Unix { uid: 0 }).extension(Inside(self.actor.clone()));
        let request = request.body(body).map_err(|error| Failure::Usage(error.to_string()))?;
        let mut router = route::router(self.surface.clone());
        let answered = router.call(request).await;
        let response = answered.unwrap_or_else(|never| match never {});
        let status = response.status();
        let etag = response.headers().get(header::ETAG).and_then(|etag| etag.to_str().ok());
        let etag = etag.map(str::to_owned);
        let bytes = response.into_body().collect().await;
        let bytes = bytes.map_err(|error| Failure::Failed(error.to_string()))?.to_bytes();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let answer = Told { status, etag, text };
        if status.is_success() { Ok(answer) } else { Err(refused(&answer)) }
    }

    fn truncates(&self) -> bool {
        true
    }
}

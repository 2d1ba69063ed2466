//! Tells people what became of a pool: webhooks and Telegram chats.
//!
//! Each sink has a queue of 256 and a task of its own; nothing waits for it. A message that waits gives way
//! to a newer one of the same lane, so whoever was away hears how it is and not everything that was. A try
//! has 5 s; four more come 1, 2, 4 and 8 s after the one before; then the message is dropped and counted.
//!
//! A webhook's body is JSON, signed: `Quorate-Signature: t=<unix seconds>,v1=<hex HMAC-SHA-256 of "t.body">`.
//! A receiver compares the signature and that `t` is recent. Telegram's is `sendMessage` with plain text.
//!
//! Absent on purpose: which node tells, and what is worth telling; both are decisions of the node.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use hyper::header::{HeaderName, HeaderValue};
use quorate_core::node::pools::Name;
use quorate_core::node::pools::said::NoticeSaid;
use ring::hmac;
use serde_json::{Value, json};
use tokio::sync::{Notify, mpsc};

use super::post::Courier;
use crate::access::hex;
use crate::clock;
use crate::config::Secret;
use crate::metrics::Meters;

/// Messages that wait for one sink.
const QUEUE_MAX: usize = 256;
/// How long one try may take.
const TRY_TIME: Duration = Duration::from_secs(5);
/// How long after a failed try the next one comes.
const RETRIES: [Duration; 4] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
];
/// Bytes of a text for a chat.
const TEXT_BYTES_MAX: usize = 1024;
/// Where a webhook's signature stands.
const SIGNATURE: HeaderName = HeaderName::from_static("quorate-signature");

/// What became of a message, as `pool_notices_total` tells it.
pub(crate) const RESULTS: [&str; 4] = ["ok", "failed", "dropped", "coalesced"];

/// A sink as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SinkSettings {
    /// What pools call it.
    pub name: String,
    /// What it is.
    pub kind: SinkKind,
}

/// Where messages go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SinkKind {
    /// Signed JSON.
    Webhook {
        /// Whereto.
        url: String,
        /// What signs it.
        secret: Secret,
    },
    /// A chat of a bot.
    Telegram {
        /// The base of the bots' interface.
        url: String,
        /// The bot's token.
        token: Secret,
        /// The chat's number, or a channel's `@name`.
        chat: String,
    },
}

/// Something worth telling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    /// Of which pool.
    pub(crate) pool: Name,
    /// Of what of it: a newer message of the same takes its place.
    pub(crate) what: Arc<str>,
    /// What the node says once somebody took it.
    pub(crate) said: NoticeSaid,
    /// What programs read.
    pub(crate) document: Value,
    /// What people read.
    pub(crate) text: String,
}

/// Every sink of this node.
pub(crate) struct Sinks {
    lines: Vec<Line>,
}

struct Line {
    name: String,
    queue: Arc<Queue>,
}

/// Messages that a sink took.
pub(crate) type Taken = mpsc::UnboundedSender<Message>;

impl Sinks {
    /// Starts a task for each sink; it ends when this is dropped. `taken` hears what arrived.
    pub(crate) fn start(sinks: Vec<SinkSettings>, meters: &Arc<Meters>, taken: &Taken) -> Sinks {
        let courier = Courier::new();
        let line = |sink: SinkSettings| {
            meters.open_sink(&sink.name);
            let queue = Arc::new(Queue::default());
            let name = sink.name.clone();
            let work = Work {
                sink,
                queue: queue.clone(),
                courier: courier.clone(),
                meters: meters.clone(),
                taken: taken.clone(),
            };
            tokio::spawn(work.run());
            Line { name, queue }
        };
        Sinks { lines: sinks.into_iter().map(line).collect() }
    }

    /// Hands a message to the sinks of these names; without names, to all.
    pub(crate) fn offer(&self, names: Option<&[String]>, message: &Message, meters: &Meters) {
        for line in &self.lines {
            if names.is_none_or(|names| names.contains(&line.name))
                && let Some(lost) = line.queue.push(message.clone())
            {
                meters.notice(&line.name, lost);
            }
        }
    }
}

impl Drop for Sinks {
    fn drop(&mut self) {
        self.lines.iter().for_each(|line| line.queue.close());
    }
}

/// What waits for one sink.
#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    changed: Notify,
}

#[derive(Default)]
struct Waiting {
    messages: VecDeque<Message>,
    closed: bool,
}

impl Queue {
    /// Adds a message; says what was lost by it.
    fn push(&self, message: Message) -> Option<&'static str> {
        let mut waiting = self.waiting.lock().expect("no holder of this lock panics");
        let messages = &mut waiting.messages;
        let before = messages.len();
        messages.retain(|older| (&older.pool, &older.what) != (&message.pool, &message.what));
        let coalesced = messages.len() < before;
        let dropped = messages.len() >= QUEUE_MAX && messages.pop_front().is_some();
        messages.push_back(message);
        drop(waiting);
        self.changed.notify_one();
        if dropped { Some("dropped") } else { coalesced.then_some("coalesced") }
    }

    /// The oldest message; `None` once the queue is closed.
    async fn next(&self) -> Option<Message> {
        loop {
            {
                let mut waiting = self.waiting.lock().expect("no holder of this lock panics");
                if waiting.closed {
                    return None;
                }
                if let Some(message) = waiting.messages.pop_front() {
                    return Some(message);
                }
            }
            self.changed.notified().await;
        }
    }

    fn close(&self) {
        self.waiting.lock().expect("no holder of this lock panics").closed = true;
        self.changed.notify_one();
    }
}

/// The task of one sink.
struct Work {
    sink: SinkSettings,
    queue: Arc<Queue>,
    courier: Courier,
    meters: Arc<Meters>,
    taken: Taken,
}

impl Work {
    async fn run(self) {
        while let Some(message) = self.queue.next().await {
            let arrived = self.deliver(&message).await;
            self.meters.notice(&self.sink.name, if arrived { "ok" } else { "failed" });
            if arrived {
                let _ = self.taken.send(message); // Nobody asks any more.
            }
        }
    }

    async fn deliver(&self, message: &Message) -> bool {
        let mut retries = RETRIES.iter();
        loop {
            let why = match self.attempt(message).await {
                Ok(()) => return true,
                Err(why) => why,
            };
            let Some(wait) = retries.next() else {
                let (sink, pool) = (self.sink.name.as_str(), message.pool.as_str());
                tracing::warn!(sink, pool, why, "a notice was not delivered");
                return false;
            };
            tokio::time::sleep(*wait).await;
        }
    }

    async fn attempt(&self, message: &Message) -> Result<(), String> {
        let (url, headers, body) = match &self.sink.kind {
            SinkKind::Webhook { url, secret } => {
                let body = Bytes::from(message.document.to_string());
                let signature = signature(secret, clock::wall().0 / 1000, &body);
                let signature = HeaderValue::from_str(&signature).expect("it is visible text");
                (url.clone(), vec![(SIGNATURE, signature)], body)
            }
            SinkKind::Telegram { url, token, chat } => {
                let text = cut(&message.text, TEXT_BYTES_MAX);
                let body = json!({"chat_id": chat, "text": text}).to_string();
                let base = url.trim_end_matches('/');
                (format!("{base}/bot{}/sendMessage", token.reveal()), Vec::new(), body.into())
            }
        };
        match self.courier.post(&url, &headers, body, TRY_TIME).await {
            Ok(status) if status.is_success() => Ok(()),
            Ok(status) => Err(format!("it answered {}", status.as_u16())),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// What a receiver recomputes: over the time, a dot and the body.
fn signature(secret: &Secret, unix: u64, body: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.reveal().as_bytes());
    let mut context = hmac::Context::with_key(&key);
    context.update(format!("{unix}.").as_bytes());
    context.update(body);
    format!("t={unix},v1={}", hex(context.sign().as_ref()))
}

/// The longest beginning of `text` that has so many bytes.
fn cut(text: &str, bytes_max: usize) -> &str {
    let ends = text.char_indices().map(|(at, letter)| at + letter.len_utf8());
    let end = ends.take_while(|end| *end <= bytes_max).last().unwrap_or(0);
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests;
